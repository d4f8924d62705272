import BerthWire
import NIOCore
import NIOHTTP1

/// The guard of each connection of a front: its place among the connections, the time that heads and bodies may take, the room that unfinished
/// bodies have together, `100 Continue`, and responses to HEAD without a body. One request is open at a time (``CityChannel``).
/// All methods run on the connection's thread.
final class ConnectionGuard: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private let connections: Connections
    private var entry: Connections.Entry?
    /// When the connection is closed, if nothing changes that; nil while a request is being answered.
    private var deadline: NIODeadline?
    /// The one timer of the connection: it looks at the deadline, which moves without it.
    private var timer: Scheduled<Void>?
    private var timerAt = NIODeadline.distantFuture
    private var isInRequest = false
    private var hasEnded = true
    /// The head of the response has been written.
    private var hasResponse = false
    /// The response has been written; the request may still be coming.
    private var isAnswered = false
    /// Bytes have come since the last look.
    private var sawBytes = false
    /// A part of a head has come, and its time runs; at first it is the time of the handshake too.
    private var hasPartialHead = true
    /// Pieces of a long upload extend its time.
    private var isUpload = false
    /// Bytes of the body that have come; of an upload, since its time was last extended.
    private var cameBytes = 0
    /// The response's body is left out.
    private var isHead = false
    /// The length of the body that the head announced; the most that a body may have where it announced none.
    private var announced = 0
    /// The room that this connection's unfinished body has taken.
    private var taken = 0
    /// The connection is about to be closed: bytes that still arrive are dropped.
    private var isRefused = false
    /// The context of the handler beside the socket: it closes without the farewell of TLS, for which a hostile sender can be waited for.
    private var socket: ChannelHandlerContext?
    private let noRoom: (@Sendable () -> (head: HTTPResponseHead, body: ByteBuffer))?
    private static let extensionBytes = 65_536
    /// The time that a refused sender has to read the response.
    private static let farewellMillis: Int64 = 100
    private static let requestTime = TimeAmount.seconds(Limits.requestSeconds - 1)
    private static let idleTime = TimeAmount.seconds(Limits.idleSeconds)

    /// - Parameter noRoom: the response to a body for which all unfinished bodies together leave no room; without it the connection is closed.
    init(connections: Connections, noRoom: (@Sendable () -> (head: HTTPResponseHead, body: ByteBuffer))? = nil) {
        self.connections = connections
        self.noRoom = noRoom
    }

    func handlerAdded(context: ChannelHandlerContext) {
        guard let entry = connections.open(context.channel) else {
            context.close(promise: nil)
            return
        }
        self.entry = entry
        let watch = ByteWatch { [weak self] in
            self?.sawBytes = true
        } complete: { [weak self] in
            self?.settle(context)
        }
        try? context.pipeline.syncOperations.addHandler(watch, position: .first)
        socket = try? context.pipeline.syncOperations.context(handler: watch)
        expect(within: ConnectionGuard.requestTime, context)
    }

    func handlerRemoved(context: ChannelHandlerContext) { leave() }

    func channelInactive(context: ChannelHandlerContext) {
        leave()
        context.fireChannelInactive()
    }

    private func leave() {
        timer?.cancel()
        timer = nil
        deadline = nil
        socket = nil
        giveRoom()
        if let entry { connections.close(entry) }
        entry = nil
    }

    private func giveRoom() {
        if taken > 0 { connections.giveBody(taken) }
        taken = 0
    }

    // MARK: Time

    /// Sets the deadline. A timer that ends before it stays: it sets itself anew.
    private func expect(within time: TimeAmount, _ context: ChannelHandlerContext) {
        let end = NIODeadline.now() + time
        deadline = end
        if timer == nil || timerAt > end { schedule(end, context) }
    }

    private func schedule(_ end: NIODeadline, _ context: ChannelHandlerContext) {
        timer?.cancel()
        timerAt = end
        timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: end) { [weak self] in self?.timeIsUp(context) }
    }

    private func timeIsUp(_ context: ChannelHandlerContext) {
        timer = nil
        guard entry != nil, let deadline else { return }
        if deadline <= .now() { context.close(promise: nil) } else { schedule(deadline, context) }
    }

    /// All bytes that came together are read: a head or a body of which the rest is missing must follow in time, and takes room. The usual
    /// request comes whole, and costs no timer and no room.
    private func settle(_ context: ChannelHandlerContext) {
        let sawBytes = sawBytes
        self.sawBytes = false
        guard entry != nil, !isRefused else { return }
        if isInRequest {
            guard !hasEnded else { return }
            if deadline == nil { expect(within: ConnectionGuard.requestTime, context) }
            takeRoom(context)
        } else if sawBytes, !hasPartialHead {
            hasPartialHead = true
            expect(within: ConnectionGuard.requestTime, context)
        }
    }

    /// Takes room for the whole of a body that comes in pieces; where there is none, the sender is told and loses its connection.
    private func takeRoom(_ context: ChannelHandlerContext) {
        guard !isUpload, taken == 0, cameBytes > 0 else { return }
        if connections.takeBody(announced) {
            taken = announced
            return
        }
        isRefused = true
        if let noRoom, isInRequest, !hasResponse {
            let (head, body) = noRoom()
            context.write(wrapOutboundOut(.head(head)), promise: nil)
            context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
        context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(ConnectionGuard.farewellMillis)) { [weak self] in
            self?.socket?.close(promise: nil)
        }
    }

    // MARK: Parts

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isRefused else { return }
        switch unwrapInboundIn(data) {
        case .head(let head):
            deadline = nil
            sawBytes = false
            hasPartialHead = false
            isInRequest = true
            hasEnded = false
            isAnswered = false
            hasResponse = false
            isUpload = SignedHandler.path(of: head)?.hasPrefix("/upload/") ?? false
            cameBytes = 0
            isHead = head.method == .HEAD
            let length = head.headers.first(name: "content-length").flatMap { Int($0) } ?? WireLimits.bodyBytesMax
            announced = min(max(0, length), WireLimits.bodyBytesMax)
            entry?.isBusy = true
            if head.headers.first(name: "expect")?.lowercased() == "100-continue", ConnectionGuard.mayContinue(head) {
                context.writeAndFlush(wrapOutboundOut(.head(.init(version: .http1_1, status: .continue))), promise: nil)
            }
        case .body(let bytes):
            cameBytes += bytes.readableBytes
            if isUpload, cameBytes >= ConnectionGuard.extensionBytes {
                cameBytes = 0
                expect(within: ConnectionGuard.requestTime, context)
            }
        case .end:
            // The bytes that have come are those of this request.
            sawBytes = false
            hasEnded = true
            giveRoom()
            deadline = nil
            if isAnswered { rest(context) }
        }
        context.fireChannelRead(data)
    }

    /// A body that is too long is refused before it is sent: then no `100 Continue` is said.
    private static func mayContinue(_ head: HTTPRequestHead) -> Bool {
        guard let text = head.headers.first(name: "content-length") else { return true }
        guard let length = Int(text) else { return false }
        return SignedHandler.path(of: head)?.hasPrefix("/api/") != true || length <= WireLimits.bodyBytesMax
    }

    /// A request that was sent ahead is delivered after the response to the one before, when no bytes come: it is looked at here.
    func channelReadComplete(context: ChannelHandlerContext) {
        settle(context)
        context.fireChannelReadComplete()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .body where isHead:
            promise?.succeed(())
        case .end:
            isAnswered = true
            if hasEnded { rest(context) }
            context.write(data, promise: promise)
        case .head(let head):
            if head.status.code >= 200 { hasResponse = true }
            context.write(data, promise: promise)
        case .body: context.write(data, promise: promise)
        }
    }

    /// The request is answered: the connection is idle until bytes come.
    private func rest(_ context: ChannelHandlerContext) {
        isInRequest = false
        entry?.isBusy = false
        expect(within: ConnectionGuard.idleTime, context)
    }
}

/// Tells that bytes have come, before they are read, and when all of them are read.
private final class ByteWatch: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    private let came: () -> Void
    private let complete: () -> Void

    init(came: @escaping () -> Void, complete: @escaping () -> Void) {
        self.came = came
        self.complete = complete
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        came()
        context.fireChannelRead(data)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        context.fireChannelReadComplete()
        complete()
    }
}
