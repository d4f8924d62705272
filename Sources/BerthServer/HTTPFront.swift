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
            try await drain(request, context)
            return refusal
        }
        let type = (request.headers[.contentType] ?? "").split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces).lowercased() }
        let isUTF8 = type.dropFirst().allSatisfy {
            !$0.hasPrefix("charset=") || ["charset=utf-8", "charset=\"utf-8\"", "charset=utf8"].contains($0)
        }
        guard type.first == "application/json", isUTF8 else {
            try await drain(request, context)
            var response = respond(pipeline.refuse("malformedBody", "content-type: application/json; charset=utf-8"))
            response.status = .unsupportedMediaType
            return response
        }
        guard let bytes = try await collect(request, context) else {
            return respond(pipeline.refuse("tooLarge", "body over 1 MiB"))
        }
        let service = String(path.dropFirst(HTTPFront.prefix.utf8.count).map { $0 == "/" ? "." : $0 })
        let certificate = asksCertificates() ? await context.certificate() : nil
        let outbox = outboxes[ObjectIdentifier(context.channel.eventLoop)]
        let reply = await withCheckedContinuation { continuation in
            pipeline.receive(bytes, .init(service: service, certificate: certificate)) { reply in
                if let outbox { outbox.deliver(reply, to: continuation) } else { continuation.resume(returning: reply) }
            }
        }
        return respond(reply)
    }

    private func respond(_ reply: Pipeline.Reply) -> Response {
        let code = reply.answer.resultCode
        var headers: HTTPFields = [.contentType: HTTPFront.json]
        if code.httpStatus == 429 {
            let wait = reply.answer.data["retryAfterMs"]?.intValue ?? 1000
            headers[.retryAfter] = String(max(1, (wait + 999) / 1000))
        }
        return Response(
            status: .init(code: code.httpStatus), headers: headers,
            body: .init(byteBuffer: ByteBuffer(bytes: pipeline.render(reply))))
    }

    /// The whole body; nil when it is over the limit. A sender that does not finish in time loses its connection.
    private func collect(_ request: Request, _ context: ConnectionContext) async throws -> [UInt8]? {
        var bytes: [UInt8] = []
        var total = 0
        let expected = request.headers[.contentLength].flatMap { Int($0) }
        var deadline: Scheduled<Void>?
        defer { deadline?.cancel() }
        for try await buffer in request.body {
            total += buffer.readableBytes
            if total <= WireLimits.bodyBytesMax {
                if bytes.isEmpty { bytes = Array(buffer: buffer) } else { bytes.append(contentsOf: buffer.readableBytesView) }
            } else {
                bytes = []
                guard total <= Limits.drainBytesMax else { throw CancellationError() }
            }
            if total == expected { continue }
            // Only a body in pieces can be slow; the usual one costs no timer.
            if deadline == nil { deadline = close(context, after: Limits.requestSeconds) }
        }
        return total <= WireLimits.bodyBytesMax ? bytes : nil
    }

    private func drain(_ request: Request, _ context: ConnectionContext) async throws {
        let deadline = close(context, after: Limits.requestSeconds)
        defer { deadline.cancel() }
        var total = 0
        for try await buffer in request.body {
            total += buffer.readableBytes
            guard total <= Limits.drainBytesMax else { throw CancellationError() }
        }
    }

    private func close(_ context: ConnectionContext, after seconds: Int64) -> Scheduled<Void> {
        let channel = context.channel
        return channel.eventLoop.scheduleTask(in: .seconds(seconds)) { channel.close(promise: nil) }
    }
}
