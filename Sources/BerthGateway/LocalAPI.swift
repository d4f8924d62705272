import BerthCore
import BerthLink
import BerthWire
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import ServiceLifecycle

/// A request's context: a handler needs to know the connection.
struct LocalContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }
}

/// The local API by which a PMS asks for a decision and reports what passed (docs/gateway.md). Loopback or the lot's network; plain HTTP.
struct LocalAPI: HTTPResponder {
    typealias Context = LocalContext

    let gateway: Gateway
    let door: Doorkeeper
    static let bodyBytesMax = 64 << 10
    /// A picture of a car.
    static let pictureBytesMax = 2 << 20
    /// A head and a body must each be there within this time, s.
    private static let requestSeconds: Int64 = 20
    /// A connection on which nothing happens is closed, s; longer than a long poll.
    private static let idleSeconds: Int64 = 75
    /// Connections at one time: many PMS terminals and a few people.
    private static let connectionsMax = 512
    private static let headBytesMax = 16 << 10

    func application(
        _ listen: (host: String, port: Int), logger: Logger, onReady: @escaping @Sendable (Int?) -> Void
    ) -> any Service {
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        let (limit, room) = (TimeAmount.seconds(LocalAPI.requestSeconds), ConnectionRoom(max: LocalAPI.connectionsMax))
        return Application(
            responder: self,
            server: .http1(
                configuration: .init(
                    additionalChannelHandlers: [SlowRequestInstaller(limit: limit, room: room)],
                    idleTimeout: .seconds(LocalAPI.idleSeconds),
                    httpDecoderConfiguration: .init(maxHeaderFieldSize: LocalAPI.headBytesMax, maxHeaderListSize: LocalAPI.headBytesMax))),
            configuration: .init(address: .hostname(listen.host, port: listen.port), serverName: "berth-gateway"),
            onServerRunning: { onReady($0.localAddress?.port) }, logger: quiet)
    }

    @Sendable func respond(to request: Request, context: LocalContext) async throws -> Response {
        let channel = context.channel
        func mark(_ mark: RequestMark) { channel.pipeline.fireUserInboundEventTriggered(mark) }
        mark(.head)
        defer { mark(.served) }
        let local = channel.localAddress?.ipAddress
        do {
            try door.checkHost(request.head.authority, local: local)
            try door.checkOrigin(request.headers[.origin], local: local)
            // The token is checked before a byte of the body is kept. A small body is read all the same, so that the connection stays usable.
            // A body over the limit leaves the deadline standing.
            let isAllowed = (try? door.checkToken(request.headers[.authorization])) != nil
            let (body, isWhole) = try await collect(request, isKept: isAllowed)
            if isWhole { mark(.body) }
            var response = try await respond(to: request, body: body)
            if request.method == .head { response.body = .init() }
            return response
        } catch let refusal as Doorkeeper.Rejection {
            return refuse(refusal.status, refusal.name, refusal.why)
        } catch let error as LotBox.Refused {
            return refuse(error.status, error.name, error.description)
        }
    }

    /// Reads the body to its end or to the limit.
    /// - Returns: its bytes, nil where they are over the limit or nobody is to have them; and whether its end was read.
    private func collect(_ request: Request, isKept: Bool) async throws -> (ByteBuffer?, isWhole: Bool) {
        let most = request.uri.path.hasSuffix("/picture") ? LocalAPI.pictureBytesMax : LocalAPI.bodyBytesMax
        var bytes = ByteBuffer()
        var total = 0
        for try await var part in request.body {
            total += part.readableBytes
            guard total <= most else { return (nil, false) }
            if isKept { bytes.writeBuffer(&part) }
        }
        return (isKept ? bytes : nil, true)
    }

    private func respond(to request: Request, body: ByteBuffer?) async throws -> Response {
        let path = request.uri.path
        if request.method == .get || request.method == .head {
            if path == "/healthz" { return json(["status": "ok"]) }
            if path == "/" { return page(request) }
        }
        try door.checkToken(request.headers[.authorization])
        let parts = path.split(separator: "/").map(String.init)
        guard request.method == .get || request.method == .post else { return refuse(405, "methodNotAllowed", "GET or POST") }
        if request.method == .get, parts == ["status"] { return json(gateway.status) }
        // Nothing that is no code of a lot is looked up.
        guard parts.count == 3, parts[0] == "pms", Envelope.isParkCode(parts[1]), let box = gateway.box(parts[1]) else {
            return refuse(
                404, parts.first == "pms" ? "lotNotRegistered" : "notFound", "GET /, /healthz, /status; GET and POST /pms/{parkCode}/…")
        }
        if request.method == .get { return try await get(parts[2], box, request) }
        if parts[2] == "picture" { return try await picture(box, request, body) }
        try Doorkeeper.checkContentType(request.headers[.contentType])
        guard let body else { return refuse(413, "tooLarge", "at most 64 KiB") }
        guard let data = try? JSON.parse(Array(buffer: body)), data.objectValue != nil else {
            return refuse(400, "malformedBody", "a JSON object expected")
        }
        return try await LocalPost(gateway: gateway, box: box, data: data).respond(
            parts[2], session: try Doorkeeper.session(request.headers[LocalAPI.sessionHeader]))
    }

    /// A picture of a car at the gate: the bytes themselves; the answer is its number for `decide`.
    private func picture(_ box: LotBox, _ request: Request, _ body: ByteBuffer?) async throws -> Response {
        guard ["image/jpeg", "image/png"].contains(request.headers[.contentType]?.lowercased()) else {
            return refuse(415, "malformedBody", "content-type: image/jpeg or image/png expected")
        }
        guard let body else { return refuse(413, "tooLarge", "at most 2 MiB") }
        return json(["imageId": .string(try await gateway.sendPicture(box.entry.parkCode, Array(buffer: body)))])
    }

    private static let sessionHeader = HTTPField.Name("X-PMS-Session")!

    // MARK: Questions

    private func get(_ what: String, _ box: LotBox, _ request: Request) async throws -> Response {
        switch what {
        case "list": return json(box.localList)
        case "inbox": return try await read { try await box.inbox(limit: 100) }
        case "dead":
            let limit = Int(try number("limit", request, 1...1_000) ?? 100)
            return try await read { try await box.deadLetters(limit: limit) }
        case "commands":
            let session = try Doorkeeper.session(request.headers[LocalAPI.sessionHeader])
            let wait = try number("waitMs", request, 0...WireLimits.waitMillisMax) ?? 0
            let commands = await box.commands.take(session: session, milliseconds: wait)
            let now = SystemClock.monotonic()
            return json(
                .array(
                    commands.map {
                        [
                            "id": .string($0.id), "service": .string($0.service), "data": $0.data,
                            "ttlMs": .int(max(0, $0.deadline - now)),
                        ]
                    }))
        default: return refuse(404, "notFound", "GET /pms/{parkCode}/list, inbox, commands or dead")
        }
    }

    /// An answer from the spool; 503 when the disk does not give it.
    private func read(_ body: () async throws -> JSON) async throws -> Response {
        let rows: JSON
        do { rows = try await body() } catch {
            throw LotBox.Refused(status: 503, name: "dependencyUnavailable", description: "the spool cannot be read")
        }
        return json(rows)
    }

    /// A number of the query, brought into its range; nil where there is none.
    private func number(_ name: String, _ request: Request, _ range: ClosedRange<Int64>) throws -> Int64? {
        guard let text = request.uri.queryParameters[name[...]], !text.isEmpty else { return nil }
        let digits = text.hasPrefix("-") ? text.dropFirst() : text
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }) else {
            throw LotBox.Refused(status: 400, name: "illegalValue", description: "\(name): a number expected")
        }
        // More digits than a number has are beyond every range.
        let value = Int64(text) ?? (text.hasPrefix("-") ? .min : .max)
        return min(max(value, range.lowerBound), range.upperBound)
    }

    /// The status page: it is opened once with `?token=`, then by a cookie.
    private func page(_ request: Request) -> Response {
        let query = request.uri.queryParameters["token"].map { String($0) }
        let mayPage = door.mayPage(query: query, cookies: request.headers[.cookie], authorization: request.headers[.authorization])
        var headers: HTTPFields = [.contentType: "text/html; charset=utf-8", .cacheControl: "no-store"]
        if let policy = HTTPField.Name("Referrer-Policy") { headers[policy] = "no-referrer" }
        if let policy = HTTPField.Name("Content-Security-Policy") {
            headers[policy] = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        }
        guard mayPage else {
            headers[.wwwAuthenticate] = "Bearer"
            return Response(status: .unauthorized, headers: headers, body: .init(byteBuffer: ByteBuffer(string: StatusPage.locked)))
        }
        if query != nil { headers[.setCookie] = door.cookie }
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: ByteBuffer(string: StatusPage.html(gateway.status))))
    }

    // MARK: Answers

    private func json(_ value: JSON) -> Response { LocalAPI.json(value) }
    private func refuse(_ status: Int, _ name: String, _ why: String) -> Response { LocalAPI.refuse(status, name, why) }

    static func json(_ value: JSON, status: Int = 200) -> Response {
        var headers: HTTPFields = [.contentType: "application/json; charset=utf-8", .cacheControl: "no-store"]
        if status == 401 { headers[.wwwAuthenticate] = "Bearer" }
        return Response(status: .init(code: status), headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: value.text())))
    }

    static func refuse(_ status: Int, _ name: String, _ why: String) -> Response {
        let code = Dialect.current.codesByName[name]
        return json(
            ["code": .int(code?.code ?? 1), "error": .string(name), "message": .string(code?.zh ?? ""), "detail": .string(why)],
            status: status)
    }
}
