import BerthCore
import BerthDocs
import BerthScene
import BerthWire
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import Synchronization

/// The public page: the city live. No personal data, no third parties; libraries come from Debian packages at run time.
struct PublicSite: HTTPResponder {
    typealias Context = ConnectionContext

    let live: LiveFeed
    let redirects: Redirects
    let health: Health
    /// The pages of people; nil for a server without them.
    let host: (any PageHost)?
    let clock: @Sendable () -> Millis
    /// Serves the plain port on loopback.
    private(set) var isPlain = false
    /// Our own files; `serve` does not start without them.
    private static let folder = (try? Resources.folder("Pages", of: "BerthServer")) ?? ""
    /// Where Debian's package libjs-leaflet puts its files.
    static let leafletDirectory = "/usr/share/javascript/leaflet"
    private static let types = [
        "html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
        "png": "image/png", "svg": "image/svg+xml",
    ]

    init(live: LiveFeed, redirects: Redirects, health: Health, host: (any PageHost)?, clock: @escaping @Sendable () -> Millis) {
        self.live = live
        self.redirects = redirects
        self.health = health
        self.host = host
        self.clock = clock
    }

    /// The same pages on plain HTTP.
    var plain: PublicSite {
        var site = self
        site.isPlain = true
        return site
    }

    @Sendable func respond(to request: Request, context: ConnectionContext) async throws -> Response {
        var response = try await answer(to: request, context: context)
        // The head of a compressed body would say another length than that of a GET.
        if request.method == .head { response.headers[CityChannel.compressed] = nil }
        return response
    }

    private func answer(to request: Request, context: ConnectionContext) async throws -> Response {
        if let response = await host?.respond(to: request, source: context.remoteAddress ?? "", isPlain: isPlain) { return response }
        guard request.method == .get || request.method == .head else { return Response(status: .methodNotAllowed) }
        switch request.uri.path {
        // Made or read when it is asked for: on a thread that may wait.
        case "/favicon.svg", "/favicon.ico": return try await Blocking.value { file(own: "favicon.svg") }
        case "/docs", "/docs/": return large(try await Blocking.value { PublicSite.referenceZh }, "text/html; charset=utf-8")
        case "/docs/en", "/docs/en/": return large(try await Blocking.value { PublicSite.referenceEn }, "text/html; charset=utf-8")
        case "/docs.css": return try await Blocking.value { file(own: "docs.css") }
        case "/docs.js": return try await Blocking.value { file(own: "docs.js") }
        case "/scenes", "/scenes/": return try await scene(Scene.names[0])
        case let path where path.hasPrefix("/scenes/"): return try await scene(String(path.dropFirst("/scenes/".utf8.count)))
        case "/openapi.json": return large(try await Blocking.value { PublicSite.openAPI }, "application/json; charset=utf-8")
        case "/asyncapi.json": return large(try await Blocking.value { PublicSite.asyncAPI }, "application/json; charset=utf-8")
        case "/live/city":
            return json(await live.city())
        case "/live/events":
            // The head of the stream, which has no end.
            guard request.method == .get else { return Response(status: .ok, headers: PublicSite.stream) }
            return events()
        case "/livez", "/healthz": return json(health.alive.string)
        case "/leader": return Response(status: health.sequencer.store.mayAnswer ? .ok : .serviceUnavailable)
        case "/readyz":
            let (isReady, text) = try await Blocking.value { health.ready() }
            var response = json(text.string)
            if !isReady { response.status = .serviceUnavailable }
            return response
        case let path where path.hasPrefix("/lib/leaflet/"):
            let name = String(path.dropFirst("/lib/leaflet/".utf8.count))
            guard !name.contains(".."), !name.hasPrefix("/") else { return Response(status: .notFound) }
            return try await Blocking.value { file(path: "\(PublicSite.leafletDirectory)/\(name)") }
        case let path where path.hasPrefix("/r/"): return await redirect(request)
        default:
            // A person gets a page, a program an empty answer.
            guard let host, request.method == .get, request.headers[.accept]?.contains("text/html") == true else {
                return Response(status: .notFound)
            }
            return await host.missing(request, source: context.remoteAddress ?? "", isPlain: isPlain)
        }
    }

    /// Played once, when it is first asked for: the rules do not change while the server runs.
    private func scene(_ name: String) async throws -> Response {
        guard Scene.names.contains(name) else { return Response(status: .notFound) }
        if let page = PublicSite.scenes.withLock({ $0[name] }) { return html(page) }
        let made = try await Blocking.value { () -> String? in
            guard let scene = try? Scene.load(name), let results = try? SceneRunner.run(scene) else { return nil }
            return ScenePage.html(scene, results)
        }
        guard let made else { return Response(status: .notFound) }
        PublicSite.scenes.withLock { $0[name] = made }
        return html(made)
    }

    private static let scenes = Mutex<[String: String]>([:])

    // MARK: Redirects (section 12)

    private func redirect(_ request: Request) async -> Response {
        let query = request.uri.queryParameters.map { (String($0.key), String($0.value)) }
        let wantsJSON = request.headers[.accept]?.contains("application/json") == true
        do throws(WireError) {
            let arrival = try await redirects.follow(request.uri.path, query)
            guard let host else { return html(RedirectPage.text(arrival), noStore: true) }
            // The page lives until the link ends: a reload finds it again, and the address itself stays good for one use.
            var headers = PublicSite.security
            headers[.location] = host.address(of: arrival.json)
            headers[.cacheControl] = "no-store"
            headers[.referrerPolicy] = "no-referrer"
            return Response(status: .seeOther, headers: headers)
        } catch {
            let code = error.code
            let body =
                wantsJSON
                ? JSON.object(JSONObject([("code", .int(code.code)), ("message", .string(code.zh))])).string
                : RedirectPage.refusal(code)
            var response = wantsJSON ? json(body) : html(body, noStore: true)
            response.status = .init(code: code.httpStatus)
            return response
        }
    }

    // Made once, when first asked for.
    private static let referenceZh = ByteBuffer(string: Reference(.zh).page)
    private static let referenceEn = ByteBuffer(string: Reference(.en).page)
    private static let openAPI = ByteBuffer(string: OpenAPI.document().pretty)
    private static let asyncAPI = ByteBuffer(string: AsyncAPI.document().pretty)

    /// A page of megabytes is sent in pieces: other connections on the same network thread get their turn between two of them.
    private func large(_ buffer: ByteBuffer, _ type: String) -> Response {
        var headers = PublicSite.security
        headers[.contentType] = type
        if type.hasPrefix("text/html") { headers[.referrerPolicy] = "no-referrer" }
        headers[.contentLength] = String(buffer.readableBytes)
        headers[CityChannel.compressed] = "1"
        return Response(
            status: .ok, headers: headers,
            body: .init(contentLength: buffer.readableBytes) { writer in
                var rest = buffer
                while let piece = rest.readSlice(length: min(16_384, rest.readableBytes)), piece.readableBytes > 0 {
                    try await writer.write(piece)
                    await Task.yield()
                }
                try await writer.finish(nil)
            })
    }

    private func html(_ text: String, noStore: Bool = false) -> Response {
        var headers = PublicSite.security
        if noStore { headers[.cacheControl] = "no-store" }
        headers[.referrerPolicy] = "no-referrer"
        headers[.contentType] = "text/html; charset=utf-8"
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: ByteBuffer(string: text)))
    }

    private static let security: HTTPFields = {
        var fields: HTTPFields = [.xContentTypeOptions: "nosniff", .cacheControl: "no-cache"]
        fields[.contentSecurityPolicy] = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
        return fields
    }()

    private func file(own name: String) -> Response {
        file(path: "\(PublicSite.folder)/\(name)")
    }

    private func file(path: String) -> Response {
        guard let data = FileManager.default.contents(atPath: path) else { return Response(status: .notFound) }
        var headers = PublicSite.security
        headers[.contentType] = PublicSite.types[(path as NSString).pathExtension] ?? "application/octet-stream"
        if path.hasSuffix(".js") || path.hasSuffix(".css") { headers[CityChannel.compressed] = "1" }
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: data)))
    }

    private func json(_ text: String) -> Response {
        var headers = PublicSite.security
        headers[.contentType] = "application/json; charset=utf-8"
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: ByteBuffer(string: text)))
    }

    private static let stream: HTTPFields = {
        var headers = security
        headers[.contentType] = "text/event-stream"
        return headers
    }()

    /// Server-sent events: one stream per viewer.
    private func events() -> Response {
        guard let watch = live.watch() else { return Response(status: .serviceUnavailable) }
        return Response(
            status: .ok, headers: PublicSite.stream,
            body: .init { writer in
                try await writer.write(ByteBuffer(string: "retry: 2000\n\n"))
                for await update in watch.updates { try await writer.write(ByteBuffer(string: "data: \(update)\n\n")) }
                try await writer.finish(nil)
            })
    }
}

extension HTTPField.Name {
    static let referrerPolicy = Self("Referrer-Policy")!
}

/// The page on which somebody arrives who followed an address of section 12.
enum RedirectPage {
    private static func page(_ title: String, _ body: String) -> String {
        """
        <!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
        <title>\(HTML.escape(title)) · 泊位 Berth</title><link rel="icon" href="/favicon.svg"><link rel="stylesheet" href="/docs.css"></head>
        <body><main class="card">\(body)</main></body></html>
        """
    }

    static func text(_ arrival: Redirects.Arrival) -> String {
        let title = arrival.scene.title
        var rows = ""
        func row(_ zh: String, _ en: String, _ value: String?) {
            guard let value else { return }
            rows += "<tr><th>\(zh) <small lang=\"en\">\(en)</small></th><td>\(HTML.escape(value))</td></tr>"
        }
        row("车场", "lot", arrival.lotName)
        row("订单", "order", arrival.reservation?.orderNo)
        if let reservation = arrival.reservation,
            let state = Dialect.current.machines.first?.states.first(where: { $0.code == reservation.status.rawValue })
        {
            row("状态", "state", "\(state.zh) \(state.en)")
            row("入场时段", "enter", "\(local(reservation.enterStart)) – \(local(reservation.enterEnd))")
        }
        row("车牌", "plate", (arrival.plate ?? arrival.reservation?.plate)?.masked)
        row("来自", "from", arrival.partyName)
        var links = ""
        if let url = arrival.returnURL {
            links += "<a class=\"button\" href=\"\(HTML.escape(url))\">返回 <small lang=\"en\">go back</small></a> "
        }
        if let url = arrival.cancelURL {
            links += "<a class=\"button plain\" href=\"\(HTML.escape(url))\">取消 <small lang=\"en\">cancel</small></a>"
        }
        return page(
            title.zh,
            "<h1>\(title.zh) <small lang=\"en\">\(title.en)</small></h1><div class=\"wide\"><table>\(rows)</table></div><p>\(links)</p>")
    }

    static func refusal(_ code: ResultCode) -> String {
        // A link is good once: the nonce of a second tap is known.
        let isUsed = code.name == "nonceRepeated"
        let (zh, en) = isUsed ? ("本链接已使用过一次。", "This link has been used once already.") : (code.zh, code.en)
        return page(
            isUsed ? "链接已使用" : code.zh,
            "<h1>无法打开 <small lang=\"en\">cannot be opened</small></h1><p>\(HTML.escape(zh))<br><small lang=\"en\">\(HTML.escape(en))</small></p>"
                + "<p>请回到原应用重新打开。 <small lang=\"en\">Please open it again from the app.</small></p><p class=\"wide\"><a class=\"button plain\" href=\"/\">泊位首页 <small lang=\"en\">home</small></a></p>"
        )
    }

    private static func local(_ time: Int64) -> String {
        let minute = CivilTime.minuteOfDay(time)
        return CivilTime.text(ofDay: CivilTime.day(of: time)) + String(format: " %02d:%02d", minute / 60, minute % 60)
    }
}
