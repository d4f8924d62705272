import BerthCore
import HTTPTypes
import NIOCore
import NIOHTTPTypes
import Synchronization

/// The API's messages to the guard of a connection: how far a request is.
enum RequestMark: Sendable {
    /// The head is complete; a body may follow.
    case head
    /// The body is complete, or nobody reads it any more.
    case body
    /// The answer is made.
    case served
}

/// Closes a connection whose head or body does not come to its end in time. It sees bytes before they are parsed, so that a head that comes
/// byte by byte is noticed.
final class SlowRequestGuard: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let limit: TimeAmount
    private var deadline: Scheduled<Void>?
    private var isServing = false
    /// Bytes came while a request was being served: the next request has begun.
    private var hasMore = false

    init(limit: TimeAmount) { self.limit = limit }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if isServing { hasMore = true } else if deadline == nil { arm(context) }
        context.fireChannelRead(data)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let mark = event as? RequestMark else { return context.fireUserInboundEventTriggered(event) }
        switch mark {
        case .head:
            isServing = true
            hasMore = false
            arm(context)
        case .body: disarm()
        case .served:
            isServing = false
            if hasMore, deadline == nil { arm(context) }
            hasMore = false
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        disarm()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { disarm() }

    private func arm(_ context: ChannelHandlerContext) {
        disarm()
        let channel = context.channel
        deadline = context.eventLoop.scheduleTask(in: limit) { channel.close(promise: nil) }
    }

    private func disarm() {
        deadline?.cancel()
        deadline = nil
    }
}

/// The count of connections, and its limit.
final class ConnectionRoom: Sendable {
    private let count = Atomic<Int>(0)
    private let max: Int

    init(max: Int) { self.max = max }

    /// Counts one in; false when there is no room.
    func enter() -> Bool { count.add(1, ordering: .relaxed).newValue <= max }
    func leave() { count.subtract(1, ordering: .relaxed) }
}

/// Puts the guard before everything else of a connection, since the server lets handlers in only behind its parser; closes a connection
/// that has no room; and says `100 Continue` to a client that asks for it, where its body is not over the limit.
final class SlowRequestInstaller: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundOut = HTTPResponsePart
    private let limit: TimeAmount
    private let room: ConnectionRoom

    init(limit: TimeAmount, room: ConnectionRoom) {
        self.limit = limit
        self.room = room
    }

    func handlerAdded(context: ChannelHandlerContext) {
        if room.enter() {
            try? context.pipeline.syncOperations.addHandler(SlowRequestGuard(limit: limit), position: .first)
        } else {
            context.close(promise: nil)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { room.leave() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let head) = unwrapInboundIn(data), head.headerFields[.expect]?.lowercased() == "100-continue",
            head.headerFields[.contentLength].map({ Int($0).map { $0 <= LocalAPI.bodyBytesMax } ?? false }) ?? true
        {
            context.writeAndFlush(wrapOutboundOut(.head(.init(status: .continue))), promise: nil)
        }
        context.fireChannelRead(data)
    }
}
