import AsyncHTTPClient
import BerthLink
import BerthWire
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOHTTP1
import NIOHTTPTypesHTTP1
import Synchronization

/// The fields that a front adds to a request for the leader. A connection of the link is trusted; anywhere else they mean nothing.
enum LinkField {
    /// The address of the client.
    static let source = "berth-source"
    /// SHA-256 of the certificate that the client showed to the front, lower hex.
    static let certificate = "berth-certificate"
    /// How often the front has sent the request, from 1.
    static let attempt = "berth-attempt"
    /// The browser came over plain HTTP on loopback.
    static let plain = "berth-plain"
    static let all: Set<String> = [source, certificate, attempt, plain]
}

/// Carries requests that a server gets while another one leads. A signed request is held while nobody leads, and is sent again to the next leader
/// when its answer was lost; a command that is executed now or not at all is sent once (distributed.md, sections 5.1 and 8).
final class Carrier: Sendable {
    let link: LeaderLink
    private let clock: @Sendable () -> Int64
    private let logger: Logger
    /// Requests that are carried now.
    private let held = Atomic<Int>(0)
    private let resends = Atomic<Int>(0)
    private static let heldMax = 2_000
    /// Bytes of the bodies that they have together.
    private let heldBytes = Atomic<Int>(0)
    private static let heldBytesMax = 64 << 20
    /// When it was last logged that the leader cannot be reached, on the monotonic clock, ms.
    private let complainedAt = Atomic<Int64>(.min)
    private static let complaintMillis: Int64 = 10_000
    /// How long a request is held while nobody leads.
    private static let holdTime = TimeAmount.seconds(6)
    private static let pause = Duration.milliseconds(40)
    /// Fields that belong to one connection, or that only the link may carry.
    private static let hopFields: Set<String> = [
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade", "expect",
        "host", "content-length",
    ]

    init(link: LeaderLink, clock: @escaping @Sendable () -> Int64, logger: Logger) {
        self.link = link
        self.clock = clock
        self.logger = logger
    }

    /// Requests that are being carried, and how often one was sent again.
    var facts: (held: Int, resends: Int) { (held.load(ordering: .relaxed), resends.load(ordering: .relaxed)) }

    func carry(_ request: Request, context: ConnectionContext) async -> Response {
        guard held.add(1, ordering: .relaxed).newValue <= Carrier.heldMax else {
            held.subtract(1, ordering: .relaxed)
            return refusal(Echo(), "too many requests wait for the leader", .serviceUnavailable)
        }
        defer { held.subtract(1, ordering: .relaxed) }
        // An address that is no address would be held as if nobody led.
        guard URL(string: "https://leader\(Carrier.target(of: request))") != nil else { return Response(status: .badRequest) }
        let isSigned = request.uri.path.hasPrefix(SignedFront.prefix) && request.method == .post
        return isSigned ? await ask(request, context) : await pass(request, context)
    }

    // MARK: Signed requests

    private func ask(_ request: Request, _ context: ConnectionContext) async -> Response {
        guard let body = try? await request.body.collect(upTo: WireLimits.bodyBytesMax) else {
            let answer = Reply(WireError("tooLarge", "body over 1 MiB"))
            return reply(answer, Echo(), .init(code: answer.resultCode.httpStatus))
        }
        let room = heldBytes.add(body.readableBytes, ordering: .relaxed).newValue
        defer { heldBytes.subtract(body.readableBytes, ordering: .relaxed) }
        guard room <= Carrier.heldBytesMax else { return refusal(Echo(), "too many requests wait for the leader", .serviceUnavailable) }
        var echo = Echo()
        _ = try? Envelope.read(Array(buffer: body), echo: &echo)
        let name = String(request.uri.path.dropFirst(SignedFront.prefix.count)).replacing("/", with: ".")
        let kind = Dialect.current.services[name]?.kind
        let certificate = await context.certificate()
        let end = NIODeadline.now() + Carrier.holdTime
        // A long poll and a question to a lot take their time; what waits for the disk alone does not.
        let patience: TimeAmount = kind == .kept || kind == .log ? Carrier.holdTime : .seconds(Limits.idleSeconds)
        var attempt = 1
        while true {
            if let leader = link.leader {
                var ask = head(request, context, leader)
                if let certificate { ask.headers.add(name: LinkField.certificate, value: certificate) }
                ask.headers.add(name: LinkField.attempt, value: String(attempt))
                ask.body = .bytes(body)
                switch await link.ask(leader, ask, deadline: .now() + patience) {
                case .answered(let response, let bytes): return Carrier.response(response, .init(byteBuffer: bytes))
                case .notTaken: break
                case .lost:
                    if kind == .live {
                        return refusal(
                            echo, "the leader was lost while it executed the command; nobody knows whether it was done", .badGateway)
                    }
                    attempt += 1
                    resends.add(1, ordering: .relaxed)
                }
            }
            guard NIODeadline.now() < end, !Task.isCancelled else {
                complain()
                return refusal(echo, "no server leads the city now; send the request again", .serviceUnavailable)
            }
            try? await Task.sleep(for: Carrier.pause)
        }
    }

    /// Logs that requests cannot be carried, now and then.
    private func complain() {
        let (now, last) = (SystemClock.monotonic(), complainedAt.load(ordering: .relaxed))
        guard last == .min || now - last >= Carrier.complaintMillis,
            complainedAt.compareExchange(expected: last, desired: now, ordering: .relaxed).exchanged
        else { return }
        logger.warning(
            "requests cannot be carried to the leader", metadata: ["leader": "\(link.leader?.address ?? "nobody is known to lead")"])
    }

    /// An answer of the front itself. It is not signed: the secrets are the leader's.
    private func refusal(_ echo: Echo, _ hint: String, _ status: HTTPResponse.Status) -> Response {
        var response = reply(Reply(WireError("dependencyUnavailable", hint)), echo, status)
        response.headers[.retryAfter] = "1"
        return response
    }

    private func reply(_ answer: Reply, _ echo: Echo, _ status: HTTPResponse.Status) -> Response {
        let bytes = MessageWriter.reply(
            answer, echo: echo, secret: nil, timestamp: clock(), nonce: SystemRandom.nonce(), showHints: true)
        return Response(
            status: status, headers: [.contentType: "application/json; charset=utf-8"], body: .init(byteBuffer: ByteBuffer(bytes: bytes)))
    }

    // MARK: Pages, documents and uploads

    /// Passes a request on as it is. One that the leader did not take is held; one that it took is not sent again.
    private func pass(_ request: Request, _ context: ConnectionContext) async -> Response {
        let length = request.headers[.contentLength].flatMap { Int64($0) }
        var body: HTTPClientRequest.Body?
        if let length, length > WireLimits.bodyBytesMax || length < 0 {
            body = .stream(request.body, length: length < 0 ? .unknown : .known(length))
        } else if let collected = try? await request.body.collect(upTo: WireLimits.bodyBytesMax) {
            body = collected.readableBytes > 0 ? .bytes(collected) : nil
        } else {
            return Response(status: .contentTooLarge)
        }
        // The pieces of a long body pass once.
        let isOnce = length.map { $0 > WireLimits.bodyBytesMax } ?? false
        let end = NIODeadline.now() + Carrier.holdTime
        while true {
            if let leader = link.leader {
                var ask = head(request, context, leader)
                ask.body = body
                switch await link.stream(leader, ask, deadline: .distantFuture) {
                case .success(let response): return Carrier.response(response, .init(asyncSequence: response.body))
                case .failure(let failure):
                    let mayRepeat = !failure.isTaken || request.method == .get || request.method == .head
                    if isOnce || !mayRepeat { return Response(status: .badGateway) }
                }
            }
            guard NIODeadline.now() < end, !Task.isCancelled else {
                complain()
                return Response(status: .serviceUnavailable, headers: [.retryAfter: "1"])
            }
            try? await Task.sleep(for: Carrier.pause)
        }
    }

    /// Path and query; they begin with a slash, so that no part of them can name another host.
    private static func target(of request: Request) -> String {
        let text = request.uri.string
        if text.utf8.first == UInt8(ascii: "/") { return text }
        let path = request.uri.path + (request.uri.query.map { "?" + $0 } ?? "")
        return path.utf8.first == UInt8(ascii: "/") ? path : "/" + path
    }

    private func head(_ request: Request, _ context: ConnectionContext, _ leader: LeaderLink.Leader) -> HTTPClientRequest {
        var ask = HTTPClientRequest(url: "https://\(leader.address)\(Carrier.target(of: request))")
        ask.method = HTTPMethod(rawValue: request.method.rawValue)
        for field in request.headers {
            let name = field.name.canonicalName
            guard !Carrier.hopFields.contains(name), !LinkField.all.contains(name) else { continue }
            ask.headers.add(name: field.name.rawName, value: field.value)
        }
        if let host = request.head.authority { ask.headers.add(name: "host", value: host) }
        if context.isPlain { ask.headers.add(name: LinkField.plain, value: "1") }
        // Without it the leader would take the front for the client.
        ask.headers.add(name: LinkField.source, value: context.remoteAddress ?? "unknown")
        return ask
    }

    private static func response(_ answer: HTTPClientResponse, _ body: ResponseBody) -> Response {
        var headers = HTTPFields()
        for (name, value) in answer.headers {
            let lower = name.lowercased()
            guard !hopFields.contains(lower) || lower == "content-length", let field = HTTPField.Name(name) else { continue }
            headers.append(HTTPField(name: field, value: value))
        }
        return Response(status: .init(code: Int(answer.status.code)), headers: headers, body: body)
    }

    func close() async { await link.close() }
}
