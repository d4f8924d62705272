import BerthCore
public import BerthLink
import BerthWire
import Foundation
import HTTPTypes
public import Hummingbird
public import Logging
import NIOCore

/// How the pages are run.
public struct WebSettings: Sendable {
    /// Codes may be shown, payments are the sandbox, and staff may do without a time-based password.
    public var isTest = false
    public var codeSender = CodeSender.none
    /// The pages of the city's own server: where paths that are no page of this site are answered. "" for the same address.
    public var documentsURL = ""
    /// Uploads a picture to the address of a ticket.
    public var upload: @Sendable (String, [UInt8]) async -> Bool = { _, _ in false }
    /// Fetches a picture from the address that a look at it gave; nil where there is none.
    public var download: @Sendable (String) async -> [UInt8]? = { _ in nil }

    public init() {}
}

/// The pages of drivers, owners, operators and the city: a client of the interface (pages.md). Any number of sites may serve one city.
public final class Site: Sendable {
    let city: CityClient
    let settings: WebSettings
    let words: Words
    let templates: Templates
    let assets: Assets
    let keyed: Keyed
    let limiter = Limiter()
    let streams = Streams()
    let cache = BoardCache()
    let logger: Logger
    let clock: @Sendable () -> Int64
    private let router: Router
    /// Changes with each start: an open page that sees another one loads itself anew.
    let runId = SystemRandom.token(10)

    /// Reads templates, words and files.
    /// - Throws: ``Resources/Missing`` or the fault of a file.
    public init(
        carrier: CityCarrier, credentials: WebCredentials, settings: WebSettings,
        clock: @escaping @Sendable () -> Int64 = { SystemClock.now() },
        logger: Logger
    ) throws {
        let folder = try Resources.folder("Web", of: "BerthWeb")
        city = CityClient(carrier: carrier, credentials: credentials)
        self.settings = settings
        self.clock = clock
        self.logger = logger
        words = try Words(folder: folder)
        templates = try Templates(folder: folder + "/templates")
        assets = try Assets(folder: folder + "/assets")
        keyed = Keyed(secret: credentials.accounts.secret)
        router = Router(Site.routes)
    }

    /// All routes of the site with who may use them, for tests and documents: method, pattern, access.
    public static var routeTable: [(method: String, pattern: String, access: String)] {
        routes.map { ($0.method, $0.pattern, $0.access.name) }
    }

    static let routes: [Route] =
        accountRoutes + driverRoutes + ticketRoutes + mineRoutes + messageRoutes + shareRoutes + ownerRoutes + operatorRoutes
        + controlRoutes + listRoutes + lotRecordRoutes + quotaRoutes + cityRoutes
        + developerRoutes + openDataRoutes + linkRoutes

    /// The longest bodies: a form of somebody who is not signed in, any other form, and one with proof pictures.
    private static let strangerBytesMax = 64 << 10
    private static let formBytesMax = 512 << 10
    private static let pictureBytesMax = 6 << 20

    /// - Parameters:
    ///   - source: the address of the browser.
    ///   - isPlain: the connection is plain HTTP on loopback.
    /// - Returns: nil where the path is no page of this site.
    public func respond(to request: Request, source: String, isPlain: Bool) async -> Response? {
        let path = request.uri.path
        if path.hasPrefix("/assets/") { return asset(String(path.dropFirst(8)), request) }
        if path == "/sw.js" { return asset("sw.js", request, isPinned: false) }
        if path == "/favicon.ico" || path == "/favicon.svg" { return asset("favicon.svg", request, isPinned: false) }
        if path == "/stream" { return await stream(request, source: source, isPlain: isPlain) }
        let method = request.method == .head ? "GET" : request.method.rawValue
        guard let (route, names) = router.find(method, path) else {
            return router.knows(path) ? Response(status: .methodNotAllowed) : nil
        }
        var web = await read(request, source: source, isPlain: isPlain)
        guard web != nil else { return Response(status: .contentTooLarge) }
        web!.names = names
        return await serve(route, web!)
    }

    /// The page for an address at which there is nothing.
    public func missing(_ request: Request, source: String, isPlain: Bool) async -> Response {
        guard let web = await readForStream(request, source: source, isPlain: isPlain) else { return Response(status: .notFound) }
        return languageChoice(web) ?? render(.page(errorPage(.notFound, web)), web)
    }

    /// The language is one tap away and remembered.
    private func languageChoice(_ web: WebRequest) -> Response? {
        guard let wish = web.query["lang"].flatMap(Language.init), web.method == "GET" else { return nil }
        return render(.redirect(web.address, cookies: [Cookie(name: "berth_lang", value: wish.rawValue, maxAge: 31_536_000)]), web)
    }

    private func serve(_ route: Route, _ web: WebRequest) async -> Response {
        do {
            if let choice = languageChoice(web) { return choice }
            if route.method != "GET", !keyed.isFormToken(web.form["csrf"] ?? "", formKey(web)) { throw WebError.stale }
            switch route.access.verdict(web.person) {
            case .allowed: break
            case .signInFirst:
                guard web.method == "GET" else { throw WebError.forbidden }
                return render(.redirect("\(route.access.signIn)?next=\(WebRequest.escape(web.address))"), web)
            case .forbidden: throw WebError.forbidden
            }
            if needsSecondFactor(web, route) {
                guard web.method == "GET" else { throw WebError.forbidden }
                return render(.redirect("/account"), web)
            }
            return render(try await route.handler(self, web), web)
        } catch let error as WebError {
            return render(.page(errorPage(error, web)), web)
        } catch let error as CityError {
            return render(.page(errorPage(error, web)), web)
        } catch {
            logger.error("a page failed", metadata: ["path": "\(web.path)", "why": "\(error)"])
            return render(.page(errorPage(WebError(status: 500, word: "error.internal"), web)), web)
        }
    }

    /// Staff without a second factor may do nothing but get one (pages.md, section 1). A test environment does without.
    func needsSecondFactor(_ web: WebRequest, _ route: Route) -> Bool {
        guard let person = web.person, person.isStaff, !person.hasTotp, !settings.isTest else { return false }
        if case .anyone = route.access { return false }
        return !["/account", "/account/totp", "/account/password", "/signout"].contains { $0 == route.pattern }
    }

    // MARK: Requests

    /// A request for the live part of a page.
    func readForStream(_ request: Request, source: String, isPlain: Bool) async -> WebRequest? {
        await read(request, source: source, isPlain: isPlain, isVisit: false)
    }

    func liveRoute(_ path: String) -> (Route, TextTable<String>)? { router.find("GET", path) }

    /// The view that every live part has. Its forms have the token of the page around them.
    func liveCommon(_ web: WebRequest) -> [(String, JSON)] {
        // A token looks different each time, and would make every part a new one.
        common(web, visit: web.cookies["berth_visit"] ?? "").filter { !["csrf", "now"].contains($0.0) } + [("csrf", "live")]
    }

    /// - Parameter isVisit: false for a look that nobody asked for, which keeps no session open.
    private func read(_ request: Request, source: String, isPlain: Bool, isVisit: Bool = true) async -> WebRequest? {
        let cookies = WebRequest.cookies(request.headers[.cookie] ?? "")
        var web = WebRequest(
            method: request.method == .head ? "GET" : request.method.rawValue, path: request.uri.path,
            query: TextTable(WebRequest.pairs(request.uri.query ?? "").reversed()), form: [:], lists: [:], files: [], cookies: cookies,
            source: source, userAgent: request.headers[.userAgent] ?? "", isPlain: isPlain,
            language: cookies["berth_lang"].flatMap(Language.init) ?? .zh, now: clock())
        web.isStream = !isVisit
        if let cookie = cookies[Site.sessionCookie(isPlain: isPlain)], cookie.utf8.count == 64 {
            let hash = Signature.hash(canonical: Array(cookie.utf8))
            if let found = try? await city.call("person.find", [("sessionHash", .string(hash)), ("visit", .bool(isVisit))], as: .accounts) {
                web.person = SignedIn(found, sessionHash: hash)
            }
        }
        if request.method == .post {
            let most = web.person == nil ? Site.strangerBytesMax : web.path == "/owner/publish" ? Site.pictureBytesMax : Site.formBytesMax
            guard let buffer = try? await request.body.collect(upTo: most) else { return nil }
            let type = request.headers[.contentType] ?? ""
            if type.lowercased().hasPrefix("multipart/form-data") {
                if let (fields, files) = Multipart.read(Array(buffer: buffer), contentType: type) {
                    web.take(fields)
                    web.files = files
                }
            } else {
                web.take(WebRequest.pairs(String(buffer: buffer)))
            }
        }
        return web
    }

    static func sessionCookie(isPlain: Bool) -> String { isPlain ? "berth" : "__Host-berth" }

    /// The name to which the tokens of forms belong: the visit, and the session where there is one.
    func formKey(_ web: WebRequest) -> String {
        guard let visit = web.cookies["berth_visit"], !visit.isEmpty else { return "" }
        return visit + "|" + (web.person?.sessionId ?? "")
    }

    // MARK: Responses

    /// The view that every page has.
    private func common(_ web: WebRequest, visit: String) -> [(String, JSON)] {
        let key = visit + "|" + (web.person?.sessionId ?? "")
        var members: [(String, JSON)] = [
            ("t", words.tree(web.language)), ("lang", .string(web.language.tag)), ("isZh", .bool(web.language == .zh)),
            ("otherLang", .string(web.language.other.rawValue)), ("a", assets.addresses), ("csrf", .string(keyed.formToken(key))),
            ("run", .string(runId)), ("now", .int(web.now)), ("here", .string(web.address)),
            ("hereEscaped", .string(WebRequest.escape(web.address))),
            (
                "langLink",
                .string(
                    web.path + "?"
                        + (web.query.filter { $0.key != "lang" }.sorted { $0.key < $1.key }
                        .map { "\(WebRequest.escape($0.key))=\(WebRequest.escape($0.value))" } + ["lang=\(web.language.other.rawValue)"])
                        .joined(separator: "&"))
            ),
            ("isTest", .bool(settings.isTest)), ("documents", .string(settings.documentsURL)),
        ]
        if let person = web.person {
            members.append(
                (
                    "me",
                    .compact([
                        (
                            "name",
                            .string(!person.name.isEmpty ? person.name : person.isStaff ? person.login : Encode.mask(mobile: person.login))
                        ), ("isStaff", .bool(person.isStaff)),
                        ("isDriver", .bool(person.may("driver"))), ("isOwner", .bool(person.may("owner"))),
                        ("isOperator", .bool(person.may("operator"))), ("isCity", .bool(person.may("city"))),
                        ("isDeveloper", .bool(person.may("developer"))),
                        ("hasLots", .bool(person.may("operator") || person.mayInCity("lots"))),
                    ])
                ))
        }
        return members
    }

    func render(_ result: WebResult, _ web: WebRequest) -> Response {
        var headers = Site.security
        switch result {
        case .redirect(let address, var cookies, let said):
            headers[.location] = address
            if let said { cookies.append(Said(keyed: keyed).cookie(said, to: address, web)) }
            for cookie in cookies { headers.append(HTTPField(name: .setCookie, value: text(of: cookie, web))) }
            headers[.cacheControl] = "no-store"
            return Response(status: .seeOther, headers: headers)
        case .later(let seconds):
            headers[.retryAfter] = String(seconds)
            return Response(status: .tooManyRequests, headers: headers)
        case .file(let bytes, let type, let name, let cache):
            headers[.contentType] = type
            headers[.cacheControl] = cache
            if let name { headers[.contentDisposition] = "attachment; filename=\"\(name)\"" }
            headers[Site.compressed] = "1"
            return Response(status: .ok, headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: bytes)))
        case .page(var page):
            let known = web.cookies["berth_visit"].flatMap { $0.utf8.count == 32 ? $0 : nil }
            let visit = known ?? SystemRandom.token(32)
            if known == nil { page.cookies.append(Cookie(name: "berth_visit", value: visit, maxAge: nil)) }
            var view = page.view
            for (name, value) in common(web, visit: visit) { view[name] = value }
            if web.method == "GET", web.cookies[Said.cookie] != nil {
                view["said"] = .optional(Said(keyed: keyed).text(web))
                page.cookies.append(Cookie(name: Said.cookie, value: "", maxAge: 0))
            }
            // An answer to a form stands still: what makes it anew would send the form again.
            view["isAnswer"] = .bool(web.method != "GET")
            if page.live != nil, web.method == "GET" { view["stream"] = .string("/stream?path=\(WebRequest.escape(web.address))") }
            guard let text = templates.render(page.template, view) else {
                logger.error("there is no template \(page.template)")
                return Response(status: .internalServerError, headers: headers)
            }
            headers[.contentType] = "text/html; charset=utf-8"
            headers[.cacheControl] = page.isKept ? "private, no-cache" : "no-store"
            headers[.contentLanguage] = web.language.tag
            headers[Site.compressed] = "1"
            for cookie in page.cookies { headers.append(HTTPField(name: .setCookie, value: self.text(of: cookie, web))) }
            return Response(status: .init(code: page.status), headers: headers, body: .init(byteBuffer: ByteBuffer(string: text)))
        }
    }

    private func text(of cookie: Cookie, _ web: WebRequest) -> String {
        var text = "\(cookie.name)=\(cookie.value); Path=/; SameSite=Lax"
        if !web.isPlain { text += "; Secure" }
        if cookie.isHTTPOnly { text += "; HttpOnly" }
        if let age = cookie.maxAge { text += "; Max-Age=\(age)" }
        return text
    }

    /// Marks a response that the carrier may compress; it removes the mark.
    public static let compressed = HTTPField.Name("X-Berth-Compress")!

    /// No script, style or picture from elsewhere or from within a page; nobody frames a page (pages.md, section 1).
    static let security: HTTPFields = {
        var fields: HTTPFields = [.xContentTypeOptions: "nosniff"]
        fields[.contentSecurityPolicy] =
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        fields[HTTPField.Name("Referrer-Policy")!] = "no-referrer"
        fields[HTTPField.Name("Permissions-Policy")!] = "geolocation=(self)"
        return fields
    }()

    private func asset(_ name: String, _ request: Request, isPinned: Bool = true) -> Response {
        guard let file = assets[name] else { return Response(status: .notFound) }
        var headers = Site.security
        headers[.contentType] = file.type
        let isExact = isPinned && request.uri.queryParameters.get("v") == file.digest
        headers[.cacheControl] = isExact ? "public, max-age=31536000, immutable" : "no-cache"
        headers[.eTag] = "\"\(file.digest)\""
        if request.headers[.ifNoneMatch] == "\"\(file.digest)\"" { return Response(status: .notModified, headers: headers) }
        headers[Site.compressed] = "1"
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: file.bytes)))
    }

    // MARK: Errors

    func errorPage(_ error: WebError, _ web: WebRequest) -> Page {
        Page(
            "error",
            [
                ("title", .string(words.say(web.language, error.word + "Title"))), ("text", .string(words.say(web.language, error.word))),
                ("detail", .string(error.detail)), ("start", .string(start(of: web))),
            ], status: error.status)
    }

    func errorPage(_ error: CityError, _ web: WebRequest) -> Page {
        let isMissing = [400, 1120, 1000, 1134].contains(error.code)
        return Page(
            "error",
            [
                (
                    "title",
                    .string(
                        words.say(
                            web.language,
                            error.isUnreachable ? "error.noCityTitle" : isMissing ? "error.notFoundTitle" : "error.refusedTitle"))
                ),
                ("text", .string(error.isUnreachable ? words.say(web.language, "error.noCity") : refusal(error, web))),
                ("start", .string(start(of: web))),
            ], status: error.isUnreachable ? 503 : isMissing ? 404 : 409)
    }

    /// The page from which a person goes on: that of their work, else the search.
    private func start(of web: WebRequest) -> String {
        guard let person = web.person else { return "/" }
        if person.may("city") { return "/city" }
        if person.may("operator") { return "/operator" }
        return person.may("developer") ? "/developer" : "/"
    }

    /// A refusal of the rules as a person reads it: what, the counter, and until when.
    func refusal(_ error: CityError, _ web: WebRequest) -> String {
        if error.isUnreachable { return words.say(web.language, "error.noCity") }
        var text = error.words(web.language)
        // A wrong field by the name that it has on the pages.
        if [100, 102].contains(error.code), let field = error.hint.split(whereSeparator: { ": ,[".contains($0) }).first {
            let key = "field.\(field)"
            let name = words.say(web.language, key)
            if name != key { text += words.say(web.language, "refusal.field", ["field": name]) }
        }
        if let used = error.data["used"]?.intValue, let max = error.data["max"]?.intValue {
            text += words.say(web.language, "refusal.counter", ["used": String(used), "max": String(max)])
        }
        if let until = error.data["until"]?.intValue, until > web.now {
            text += words.say(web.language, "refusal.until", ["until": web.format.time(until)])
        }
        return text
    }
}

extension WebRequest {
    var format: Format { Format(language: language, now: now) }

    /// Takes the fields of a form.
    mutating func take(_ fields: [(String, String)]) {
        form = TextTable(fields.reversed())
        for (name, value) in fields { lists[name, default: []].append(value) }
    }
}
