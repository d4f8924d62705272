import BerthCore
import BerthLink
import BerthWire
import Foundation
import HTTPTypes
import Hummingbird
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOSSL

/// What a handler needs to know of its connection: how to end it, and who is at its other end.
struct ConnectionContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel
    /// A message in this request was signed by the party that it names.
    let isKnown = Flag()

    /// Closes the connection after the answer, without waiting for what the other end still sends.
    func closeAfterAnswer() {
        let channel = channel
        channel.eventLoop.scheduleTask(in: .milliseconds(100)) { channel.close(promise: nil) }
    }

    /// The other end's address, without its port.
    var remoteAddress: String? { channel.remoteAddress?.ipAddress }

    /// SHA-256 of the client's certificate, lower hex; nil when it showed none.
    func certificate() async -> String? {
        guard let certificate = try? await channel.nioSSL_peerCertificate().get(), let bytes = try? certificate.toDERBytes() else {
            return nil
        }
        return Signature.hash(canonical: bytes)
    }

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }
}

/// Notes once for a connection that somebody signs messages on it.
private struct KnownSource: Sendable {
    let connections: Connections
    let context: ConnectionContext

    func note() {
        guard let source = context.remoteAddress, !context.isKnown.set(true) else { return }
        connections.noteKnown(source)
    }
}

/// Replies on their way to the connections of one network thread. A group of orders that has become durable is told to each thread once,
/// and a request goes on where its connection is: on another thread its answer would have to change threads once more.
private final class Outbox: Sendable {
    private typealias Waiting = (reply: Pipeline.Reply, continuation: CheckedContinuation<Pipeline.Reply, Never>)
    private let loop: any EventLoop
    private let replies = NIOLockedValueBox<[Waiting]>([])

    init(loop: any EventLoop) { self.loop = loop }

    func deliver(_ reply: Pipeline.Reply, to continuation: CheckedContinuation<Pipeline.Reply, Never>) {
        if loop.inEventLoop { return continuation.resume(returning: reply) }
        let isFirst = replies.withLockedValue { replies in
            replies.append((reply, continuation))
            return replies.count == 1
        }
        guard isFirst else { return }
        loop.execute { [self] in
            let replies = replies.withLockedValue { replies in
                var all: [Waiting] = []
                swap(&all, &replies)
                return all
            }
            for (reply, continuation) in replies { continuation.resume(returning: reply) }
        }
    }
}

/// The signed interface over HTTPS (interface.md, section 3) and, beside it, the public page.
struct HTTPFront: HTTPResponder {
    typealias Context = ConnectionContext

    let pipeline: Pipeline
    let pages: Pages
    let tus: Tus
    let backstage: Backstage
    let connections: Connections
    /// Whether some credential needs a client certificate.
    let asksCertificates: @Sendable () -> Bool
    private let outboxes = Dictionary(
        uniqueKeysWithValues: MultiThreadedEventLoopGroup.singleton.makeIterator().map { (ObjectIdentifier($0), Outbox(loop: $0)) })
    private static let prefix = "/api/v1/"
    private static let json = "application/json; charset=utf-8"

    @Sendable func respond(to request: Request, context: ConnectionContext) async throws -> Response {
        let path = request.uri.path
        guard path.hasPrefix(HTTPFront.prefix) else {
            if Tus.isMine(path) { return try await tus.respond(to: request) }
            if Backstage.isMine(path) { return try await backstage.respond(to: request, context: context) }
            return try await pages.respond(to: request, context: context)
        }
        guard request.method == .post else {
            return respond(pipeline.refuse("unknownService", "services are called by POST"))
        }
        // Whether the body is acceptable is known before it is read; what remains of it is read and thrown away.
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > WireLimits.bodyBytesMax {
            let refusal = respond(pipeline.refuse("tooLarge", "body over 1 MiB"))
            // A client that asked first is told, and sends nothing.
            if request.headers[.expect] == nil { try await drain(request) } else { context.closeAfterAnswer() }
            return refusal
        }
        let type = (request.headers[.contentType] ?? "").split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces).lowercased() }
        let isUTF8 = type.dropFirst().allSatisfy {
            !$0.hasPrefix("charset=") || ["charset=utf-8", "charset=\"utf-8\"", "charset=utf8"].contains($0)
        }
        guard type.first == "application/json", isUTF8 else {
            try await drain(request)
            var response = respond(pipeline.refuse("malformedBody", "content-type: application/json; charset=utf-8"))
            response.status = .unsupportedMediaType
            return response
        }
        let bytes: [UInt8]
        switch try await collect(request) {
        case .whole(let body): bytes = body
        case .tooLong: return respond(pipeline.refuse("tooLarge", "body over 1 MiB"))
        }
        let service = String(path.dropFirst(HTTPFront.prefix.utf8.count).map { $0 == "/" ? "." : $0 })
        let certificate = asksCertificates() ? await context.certificate() : nil
        let known = KnownSource(connections: connections, context: context)
        let outbox = outboxes[ObjectIdentifier(context.channel.eventLoop)]
        let reply = await withCheckedContinuation { continuation in
            pipeline.receive(bytes, .init(service: service, certificate: certificate)) { reply in
                if reply.isAuthentic { known.note() }
                if let outbox { outbox.deliver(reply, to: continuation) } else { continuation.resume(returning: reply) }
            }
        }
        return respond(reply)
    }

    private func respond(_ reply: Pipeline.Reply) -> Response {
        let code = reply.answer.resultCode
        var headers: HTTPFields = [.contentType: HTTPFront.json]
        if code.httpStatus == 429 {
            var wait = reply.answer.data["retryAfterMs"]?.intValue ?? 1000
            // Flow control ends when its policy does.
            if code.code == 302, let until = reply.answer.data["until"]?.intValue { wait = until - pipeline.clock() }
            headers[.retryAfter] = String(max(1, (min(max(0, wait), 3_600_000) + 999) / 1000))
        }
        return Response(
            status: .init(code: code.httpStatus), headers: headers,
            body: .init(byteBuffer: ByteBuffer(bytes: pipeline.render(reply))))
    }

    private enum Body {
        case whole([UInt8])
        case tooLong
    }

    /// The answer to a body for which there is no room (``ConnectionGuard``).
    @Sendable func noRoom() -> (head: HTTPResponse, body: ByteBuffer) {
        let bytes = pipeline.render(pipeline.refuse("tooManyInFlight", "too many unfinished bodies"))
        let headers: HTTPFields = [
            .contentType: HTTPFront.json, .contentLength: String(bytes.count), .retryAfter: "1", .connection: "close",
        ]
        return (.init(status: .tooManyRequests, headerFields: headers), ByteBuffer(bytes: bytes))
    }

    /// The whole body. A sender that does not finish in time, or for whose body there is no room, loses its connection (``ConnectionGuard``).
    private func collect(_ request: Request) async throws -> Body {
        var bytes: [UInt8] = []
        var total = 0
        let expected = request.headers[.contentLength].flatMap { Int($0) }
        for try await buffer in request.body {
            total += buffer.readableBytes
            guard total <= WireLimits.bodyBytesMax else {
                bytes = []
                guard total <= Limits.drainBytesMax else { throw CancellationError() }
                continue
            }
            if bytes.isEmpty, total == expected {
                bytes = Array(buffer: buffer)
                continue
            }
            if bytes.isEmpty { bytes.reserveCapacity(min(max(0, expected ?? 0), WireLimits.bodyBytesMax)) }
            bytes.append(contentsOf: buffer.readableBytesView)
        }
        return total <= WireLimits.bodyBytesMax ? .whole(bytes) : .tooLong
    }

    private func drain(_ request: Request) async throws {
        var total = 0
        for try await buffer in request.body {
            total += buffer.readableBytes
            guard total <= Limits.drainBytesMax else { throw CancellationError() }
        }
    }
}
