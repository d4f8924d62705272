import BerthCore
import BerthLink
import BerthWire
import Foundation
import HummingbirdCore
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization

/// The signed interface over HTTPS (interface.md, section 3): the state that all connections of one front share.
final class SignedFront: Sendable {
    let pipeline: Pipeline
    let connections: Connections
    /// Whether some credential needs a client certificate.
    let asksCertificates: @Sendable () -> Bool
    private let queues: [ObjectIdentifier: ReplyQueue]
    static let prefix = "/api/v1/"
    private static let json = "application/json; charset=utf-8"

    init(
        pipeline: Pipeline, connections: Connections, loops: MultiThreadedEventLoopGroup = .singleton,
        asksCertificates: @escaping @Sendable () -> Bool
    ) {
        self.pipeline = pipeline
        self.connections = connections
        self.asksCertificates = asksCertificates
        queues = Dictionary(uniqueKeysWithValues: loops.makeIterator().map { (ObjectIdentifier($0), ReplyQueue(loop: $0)) })
    }

    /// The queue of replies of one network thread; a thread that the front does not know gets a queue for each of its connections.
    fileprivate func queue(of loop: any EventLoop) -> ReplyQueue { queues[ObjectIdentifier(loop)] ?? ReplyQueue(loop: loop) }

    /// The head and the body of a reply, as HTTP carries them.
    fileprivate func message(
        _ reply: Pipeline.SignedReply, status: HTTPResponseStatus? = nil, date: String, closes: Bool
    ) -> (head: HTTPResponseHead, body: ByteBuffer) {
        let code = reply.answer.resultCode
        let bytes = pipeline.render(reply)
        var headers = HTTPHeaders()
        headers.reserveCapacity(6)
        headers.add(name: "Content-Type", value: SignedFront.json)
        headers.add(name: "Content-Length", value: String(bytes.count))
        headers.add(name: "Date", value: date)
        headers.add(name: "Server", value: "berth")
        if code.httpStatus == 429 {
            var wait = reply.answer.data["retryAfterMs"]?.intValue ?? 1000
            // Flow control ends when its policy does.
            if code.code == 302, let until = reply.answer.data["until"]?.intValue { wait = until - pipeline.clock() }
            headers.add(name: "Retry-After", value: String(max(1, (min(max(0, wait), 3_600_000) + 999) / 1000)))
        }
        if closes { headers.add(name: "Connection", value: "close") }
        let head = HTTPResponseHead(version: .http1_1, status: status ?? .init(statusCode: code.httpStatus), headers: headers)
        return (head, ByteBuffer(bytes: bytes))
    }

    /// The reply to a body for which all unfinished bodies together leave no room (``ConnectionGuard``).
    @Sendable func noRoom() -> (head: HTTPResponseHead, body: ByteBuffer) {
        message(pipeline.refuse("tooManyInFlight", "too many unfinished bodies"), date: ReplyQueue.text(of: pipeline.clock()), closes: true)
    }
}

/// Replies on their way to the connections of one network thread. The committer wakes each thread once for a group of orders that has become durable.
private final class ReplyQueue: Sendable {
    private typealias Waiting = (reply: Pipeline.SignedReply, handler: NIOLoopBound<SignedHandler>)
    private let loop: any EventLoop
    private let replies = Mutex<[Waiting]>([])
    private let lastDate = Mutex<(second: Int64, text: String)>((0, ""))

    init(loop: any EventLoop) { self.loop = loop }

    /// Gives a reply to its connection, on the connection's thread. Any thread may call it.
    func deliver(_ reply: Pipeline.SignedReply, to handler: NIOLoopBound<SignedHandler>) {
        if loop.inEventLoop { return handler.value.send(reply) }
        let isFirst = replies.withLock { replies in
            replies.append((reply, handler))
            return replies.count == 1
        }
        guard isFirst else { return }
        loop.execute { [self] in
            let all = replies.withLock { replies in
                var all: [Waiting] = []
                swap(&all, &replies)
                return all
            }
            for (reply, handler) in all { handler.value.send(reply) }
        }
    }

    /// The `Date` of a response (RFC 9110, section 5.6.7); it is written once a second.
    func date(at now: Millis) -> String {
        let second = now / 1000
        return lastDate.withLock { last in
            if last.second != second { last = (second, ReplyQueue.text(of: now)) }
            return last.text
        }
    }

    static func text(of time: Millis) -> String {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(secondsFromGMT: 0)
        formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        return formatter.string(from: Date(timeIntervalSince1970: Double(time) / 1000))
    }
}

/// The signed interface of one connection. Requests below `/api/v1/` are read, decided and answered here, without a task; every other
/// request goes on to Hummingbird. One request is open at a time (``CityChannel``). All methods run on the connection's thread.
final class SignedHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private enum Phase {
        /// No request of the signed interface is open: parts belong to Hummingbird.
        case passing
        /// A body is coming for this service.
        case reading(service: String, expected: Int?)
        /// A request is refused; the rest of its body is read and thrown away.
        case draining(Pipeline.SignedReply, HTTPResponseStatus?)
        /// The request is being decided.
        case deciding
        /// The connection is about to be closed: bytes that still arrive are dropped.
        case closing
    }

    private let front: SignedFront
    private let queue: ReplyQueue
    private var phase = Phase.passing
    private var body: ByteBuffer?
    private var bodyBytes = 0
    private var keepsAlive = true
    /// The reply goes out before the body has come.
    private var isUnread = false
    /// The other end has closed its side; Hummingbird is told after the reply, since it closes the connection at once.
    private var isHalfClosed = false
    private var context: ChannelHandlerContext?
    /// A reply is being written.
    private var isSending = false
    private var hasNotedSource = false
    private var certificate: String?
    private var trace: TraceParent?
    private var attempt = 1
    /// The connection is another server's (``Carrier``).
    private let isLink: Bool
    /// The time that a refused sender has to read the reply.
    private static let farewellMillis: Int64 = 100

    init(front: SignedFront, loop: any EventLoop, isLink: Bool) {
        self.front = front
        self.isLink = isLink
        queue = front.queue(of: loop)
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        context.fireChannelInactive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event {
            switch phase {
            case .passing: break
            case .deciding:
                isHalfClosed = true
                return
            case .closing: return
            case .reading, .draining:
                context.close(promise: nil)
                return
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (unwrapInboundIn(data), phase) {
        case (.head(let head), .passing):
            guard let path = SignedHandler.path(of: head), path.hasPrefix(SignedFront.prefix) else { return context.fireChannelRead(data) }
            begin(head, path)
        case (.body, .passing), (.end, .passing): context.fireChannelRead(data)
        case (.body(let bytes), .reading(_, let expected)): append(bytes, expected, context)
        case (.body(let bytes), .draining): drop(bytes.readableBytes, context)
        case (.end, .reading(let service, _)): decide(service, context)
        case (.end, .draining(let reply, let status)): send(reply, status: status)
        case (.head, _), (_, .deciding), (_, .closing): break
        }
    }

    /// The path of a request; of an absolute address too.
    static func path(of head: HTTPRequestHead) -> Substring? {
        let uri = head.uri
        guard uri.utf8.first == UInt8(ascii: "/") else { return Substring(URI(uri).path) }
        return uri.prefix { $0 != "?" && $0 != "#" }
    }

    private func begin(_ head: HTTPRequestHead, _ path: Substring) {
        body = nil
        bodyBytes = 0
        keepsAlive = head.isKeepAlive
        trace = head.headers.first(name: "traceparent").flatMap(TraceParent.init)
        if isLink {
            certificate = head.headers.first(name: LinkField.certificate)
            attempt = head.headers.first(name: LinkField.attempt).flatMap { Int($0) } ?? 1
        }
        func refuse(_ name: String, _ hint: String, status: HTTPResponseStatus? = nil) {
            phase = .draining(front.pipeline.refuse(name, hint), status)
        }
        guard head.method == .POST else { return refuse("unknownService", "services are called by POST") }
        let length = head.headers.first(name: "content-length").flatMap { Int($0) }
        // The head tells whether the body is acceptable, before the body is read. The rest of a refused body is read and thrown away.
        if let length, length > WireLimits.bodyBytesMax {
            refuse("tooLarge", "body over 1 MiB")
            // A client that asked first is told, and sends nothing.
            if head.headers.contains(name: "expect"), case .draining(let reply, _) = phase {
                keepsAlive = false
                isUnread = true
                send(reply)
            }
            return
        }
        guard SignedHandler.isJSON(head.headers.first(name: "content-type") ?? "") else {
            return refuse("malformedBody", "content-type: application/json; charset=utf-8", status: .unsupportedMediaType)
        }
        let name = path.utf8.dropFirst(SignedFront.prefix.utf8.count).map { $0 == UInt8(ascii: "/") ? UInt8(ascii: ".") : $0 }
        phase = .reading(service: String(decoding: name, as: UTF8.self), expected: length)
    }

    private static func isJSON(_ type: String) -> Bool {
        if type == "application/json" || type == "application/json; charset=utf-8" { return true }
        let parts = type.split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces).lowercased() }
        return parts.first == "application/json"
            && parts.dropFirst().allSatisfy {
                !$0.hasPrefix("charset=") || ["charset=utf-8", "charset=\"utf-8\"", "charset=utf8"].contains($0)
            }
    }

    private func append(_ bytes: ByteBuffer, _ expected: Int?, _ context: ChannelHandlerContext) {
        guard bodyBytes + bytes.readableBytes <= WireLimits.bodyBytesMax else {
            body = nil
            phase = .draining(front.pipeline.refuse("tooLarge", "body over 1 MiB"), nil)
            return drop(bytes.readableBytes, context)
        }
        bodyBytes += bytes.readableBytes
        if body == nil {
            // The usual body comes in one piece, which is used as it is.
            body = bytes
            if let expected, expected > bytes.readableBytes { body?.reserveCapacity(expected) }
        } else {
            body?.writeImmutableBuffer(bytes)
        }
    }

    private func drop(_ bytes: Int, _ context: ChannelHandlerContext) {
        bodyBytes += bytes
        guard bodyBytes > Limits.drainBytesMax else { return }
        phase = .closing
        context.close(promise: nil)
    }

    private func decide(_ service: String, _ context: ChannelHandlerContext) {
        phase = .deciding
        let bytes = body.map { Array(buffer: $0) } ?? []
        body = nil
        if isLink, !front.pipeline.store.mayAnswer { return misdirect(context) }
        if certificate == nil, !isLink, front.asksCertificates() { certificate = SignedHandler.certificate(context) }
        let handler = NIOLoopBound(self, eventLoop: context.eventLoop)
        front.pipeline.receive(bytes, .init(service: service, certificate: certificate, trace: trace, attempt: attempt)) { [queue] reply in
            queue.deliver(reply, to: handler)
        }
    }

    /// Tells a front that this server is not sure that it leads: nothing was done, and the front asks the next leader.
    private func misdirect(_ context: ChannelHandlerContext) {
        phase = .closing
        let head = HTTPResponseHead(
            version: .http1_1, status: .init(statusCode: LeaderLink.misdirected), headers: ["Content-Length": "0", "Connection": "close"])
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in channel.close(promise: nil) }
    }

    /// SHA-256 of the client's certificate, lower hex; nil when it showed none.
    private static func certificate(_ context: ChannelHandlerContext) -> String? {
        digest(try? context.pipeline.syncOperations.nioSSL_peerCertificate())
    }

    static func digest(_ certificate: NIOSSLCertificate?) -> String? {
        guard let bytes = try? certificate?.toDERBytes() else { return nil }
        return Signature.hash(canonical: bytes)
    }

    fileprivate func send(_ reply: Pipeline.SignedReply) { send(reply, status: nil) }

    private func send(_ reply: Pipeline.SignedReply, status: HTTPResponseStatus?) {
        guard let context else { return }
        // The end of a response delivers the next request that was sent ahead, which may be answered at once: its reply waits for the next turn of
        // the loop, so that ten thousand of them do not use up the stack.
        guard !isSending else {
            phase = .deciding
            return context.eventLoop.assumeIsolated().execute { [weak self] in self?.send(reply, status: status) }
        }
        isSending = true
        defer { isSending = false }
        if reply.isAuthentic, !isLink, !hasNotedSource, let source = context.remoteAddress?.ipAddress {
            hasNotedSource = true
            front.connections.noteKnown(source)
        }
        let closes = !keepsAlive || isHalfClosed
        var (head, body) = front.message(reply, status: status, date: queue.date(at: front.pipeline.clock()), closes: closes)
        if let trace { head.headers.add(name: "traceparent", value: trace.answer()) }
        phase = closes ? .closing : .passing
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
        guard closes else { return context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil) }
        let channel = context.channel
        let end = context.writeAndFlush(wrapOutboundOut(.end(nil)))
        // A sender whose body is not read gets time to read the reply: a close would take it away.
        guard isUnread else { return end.whenComplete { _ in channel.close(promise: nil) } }
        context.eventLoop.scheduleTask(in: .milliseconds(SignedHandler.farewellMillis)) { channel.close(promise: nil) }
    }
}
