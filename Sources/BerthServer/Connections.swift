import BerthCore
import BerthLink
import BerthWire
import CBerthPosix
import Foundation
import HTTPTypes
import NIOCore
import NIOHTTPTypes
import Synchronization

/// The open connections and their limit: no descriptor is missing elsewhere, and room is kept for lots, operators and probes.
/// Methods are called on the network threads.
final class Connections: Sendable {
    private struct Entry {
        let source: String
        let order: UInt64
        let channel: any Channel
        /// A request is being read or answered.
        var isBusy = false
    }

    private struct State {
        var open: [ObjectIdentifier: Entry] = [:]
        var bySource: [String: Int] = [:]
        var last: UInt64 = 0
        /// Sources from which somebody has signed a message, and when that was last.
        var known: [String: Int64] = [:]
        /// Bytes of bodies that are not complete yet.
        var bodyBytes = 0
    }

    private let state = Mutex(State())
    /// Connections in all; strangers have nine tenths of them, and one source a quarter.
    let most: Int
    private static let knownMax = 10_000
    private static let knownMillis: Int64 = 86_400_000
    /// Descriptors that are not for connections: the database, the broker's link, callbacks, pictures, logs.
    private static let keptDescriptors = 120
    /// Unfinished bodies in memory, over all connections.
    private static let bodyBytesMax = 64 << 20

    init(descriptors: Int = Connections.descriptorLimit()) {
        most = min(50_000, max(32, descriptors - Connections.keptDescriptors))
    }

    private static func descriptorLimit() -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
        return Int(clamping: limit.rlim_cur)
    }

    /// Whether a new connection may stay; at the limit the newest idle one of a stranger goes for it.
    func open(_ channel: any Channel) -> Bool {
        let source = channel.remoteAddress?.ipAddress ?? ""
        let tick = Ambient.monotonic()
        let (mayStay, victim) = state.withLock { state -> (Bool, (any Channel)?) in
            let isKnown = Connections.isKnown(source, state, tick)
            var victim: (any Channel)?
            let own = state.bySource[source, default: 0]
            let limit = isKnown ? most : most - most / 10
            if !isKnown, own >= max(8, most / 4) {
                guard let idle = Connections.newestIdle(state, of: source, tick) else { return (false, nil) }
                victim = Connections.take(idle, &state)
            } else if state.open.count >= limit {
                guard let idle = Connections.newestIdle(state, of: nil, tick) else { return (false, nil) }
                victim = Connections.take(idle, &state)
            }
            state.last += 1
            state.open[ObjectIdentifier(channel)] = Entry(source: source, order: state.last, channel: channel)
            state.bySource[source, default: 0] += 1
            return (true, victim)
        }
        victim?.close(promise: nil)
        return mayStay
    }

    private static func isKnown(_ source: String, _ state: State, _ tick: Int64) -> Bool {
        state.known[source].map { tick - $0 < knownMillis } ?? false
    }

    private static func newestIdle(_ state: State, of source: String?, _ tick: Int64) -> ObjectIdentifier? {
        state.open.lazy.filter { !$0.value.isBusy && (source == nil ? !isKnown($0.value.source, state, tick) : $0.value.source == source) }
            .max { $0.value.order < $1.value.order }?.key
            // Among those that are known too, where strangers have none.
            ?? (source == nil ? state.open.lazy.filter { !$0.value.isBusy }.max { $0.value.order < $1.value.order }?.key : nil)
    }

    private static func take(_ key: ObjectIdentifier, _ state: inout State) -> (any Channel)? {
        guard let entry = state.open.removeValue(forKey: key) else { return nil }
        let left = state.bySource[entry.source, default: 1] - 1
        state.bySource[entry.source] = left > 0 ? left : nil
        return entry.channel
    }

    func close(_ channel: any Channel) { state.withLock { _ = Connections.take(ObjectIdentifier(channel), &$0) } }

    func setBusy(_ channel: any Channel, _ isBusy: Bool) {
        state.withLock { $0.open[ObjectIdentifier(channel)]?.isBusy = isBusy }
    }

    /// Notes an address from which a signed message came: room is kept for it.
    func noteKnown(_ source: String) {
        let tick = Ambient.monotonic()
        state.withLock { state in
            if state.known.count >= Connections.knownMax, state.known[source] == nil {
                state.known = state.known.filter { tick - $0.value < Connections.knownMillis / 24 }
                guard state.known.count < Connections.knownMax else { return }
            }
            state.known[source] = tick
        }
    }

    var count: Int { state.withLock { $0.open.count } }

    /// Room for bytes of a body that is not complete yet; false when all unfinished bodies together have too many.
    func takeBody(_ bytes: Int) -> Bool {
        state.withLock { state in
            guard state.bodyBytes + bytes <= Connections.bodyBytesMax else { return false }
            state.bodyBytes += bytes
            return true
        }
    }

    func giveBody(_ bytes: Int) { state.withLock { $0.bodyBytes -= bytes } }
}

/// The guard of each connection of a front: its place among the connections, the time that heads and bodies may take, the room that unfinished bodies
/// have together, `100 Continue`, and answers to HEAD without a body.
final class ConnectionGuard: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private let connections: Connections
    private var deadline: Scheduled<Void>?
    private var isInRequest = false
    private var hasEnded = true
    /// Pieces of a long upload extend its time.
    private var isUpload = false
    /// Bytes of the body that have come; of an upload, since its time was last extended.
    private var cameBytes = 0
    /// Of each answer that is still to come: whether its body is left out.
    private var isHead: [Bool] = []
    private var isRegistered = false
    /// The length of the body that the head announced; the most that a body may have where it announced none.
    private var announced = 0
    /// The room that this connection's unfinished body has taken.
    private var taken = 0
    /// The connection is about to be closed: what still comes is dropped.
    private var isRefused = false
    /// The context of the handler beside the socket: it closes without the farewell of TLS, for which a hostile sender can be waited for.
    private var socket: ChannelHandlerContext?
    private let noRoom: (@Sendable () -> (head: HTTPResponse, body: ByteBuffer))?
    private static let extensionBytes = 65_536
    /// The time that a refused sender has to read the answer.
    private static let farewellMillis: Int64 = 100

    /// - Parameter noRoom: what is answered to a body for which all unfinished bodies together leave no room; without it the connection is closed.
    init(connections: Connections, noRoom: (@Sendable () -> (head: HTTPResponse, body: ByteBuffer))? = nil) {
        self.connections = connections
        self.noRoom = noRoom
    }

    func handlerAdded(context: ChannelHandlerContext) {
        guard connections.open(context.channel) else {
            context.close(promise: nil)
            return
        }
        isRegistered = true
        let listener = ByteWatch { [weak self] context in self?.bytesCame(context) }
        try? context.pipeline.syncOperations.addHandler(listener, position: .first)
        socket = try? context.pipeline.syncOperations.context(handler: listener)
        expectWithinTime(context)
    }

    func handlerRemoved(context: ChannelHandlerContext) { leave(context) }

    func channelInactive(context: ChannelHandlerContext) {
        leave(context)
        context.fireChannelInactive()
    }

    private func leave(_ context: ChannelHandlerContext) {
        deadline?.cancel()
        deadline = nil
        socket = nil
        giveRoom()
        guard isRegistered else { return }
        isRegistered = false
        connections.close(context.channel)
    }

    private func giveRoom() {
        if taken > 0 { connections.giveBody(taken) }
        taken = 0
    }

    /// Takes room for the whole of a body that comes in pieces; where there is none, the sender is told and loses its connection.
    private func takeRoom(_ context: ChannelHandlerContext) {
        guard !isUpload, taken == 0, cameBytes > 0 else { return }
        if connections.takeBody(announced) {
            taken = announced
            return
        }
        isRefused = true
        if let noRoom, !isHead.isEmpty {
            let (head, body) = noRoom()
            context.write(wrapOutboundOut(.head(head)), promise: nil)
            context.write(wrapOutboundOut(.body(body)), promise: nil)
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: .milliseconds(ConnectionGuard.farewellMillis)) { bound.value.socket?.close(promise: nil) }
    }

    /// The first byte of a head has come: the rest follows within the time.
    private func bytesCame(_ context: ChannelHandlerContext) {
        guard !isInRequest, deadline == nil else { return }
        expectWithinTime(context)
    }

    private func expectWithinTime(_ context: ChannelHandlerContext) {
        deadline?.cancel()
        let channel = context.channel
        deadline = context.eventLoop.scheduleTask(in: .seconds(Limits.requestSeconds - 1)) { channel.close(promise: nil) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isRefused else { return }
        switch unwrapInboundIn(data) {
        case .head(let head):
            deadline?.cancel()
            deadline = nil
            isInRequest = true
            hasEnded = false
            isUpload = head.path?.hasPrefix("/upload/") ?? false
            cameBytes = 0
            let length = head.headerFields[.contentLength].flatMap { Int($0) } ?? WireLimits.bodyBytesMax
            announced = min(max(0, length), WireLimits.bodyBytesMax)
            isHead.append(head.method == .head)
            connections.setBusy(context.channel, true)
            if head.headerFields[.expect]?.lowercased() == "100-continue", ConnectionGuard.mayContinue(head) {
                context.writeAndFlush(wrapOutboundOut(.head(.init(status: .continue))), promise: nil)
            }
        case .body(let bytes):
            cameBytes += bytes.readableBytes
            if isUpload, cameBytes >= ConnectionGuard.extensionBytes {
                cameBytes = 0
                expectWithinTime(context)
            }
        case .end:
            hasEnded = true
            giveRoom()
            deadline?.cancel()
            deadline = nil
        }
        context.fireChannelRead(data)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // Only a body in pieces can be slow, and waits in memory; the usual one costs no timer and no room.
        if isInRequest, !hasEnded, !isRefused {
            if deadline == nil { expectWithinTime(context) }
            takeRoom(context)
        }
        context.fireChannelReadComplete()
    }

    /// A body that is too long is refused before it is sent: then no `100 Continue` is said.
    private static func mayContinue(_ head: HTTPRequest) -> Bool {
        guard let text = head.headerFields[.contentLength] else { return true }
        guard let length = Int(text) else { return false }
        return head.path?.hasPrefix("/api/") != true || length <= WireLimits.bodyBytesMax
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .body where isHead.first == true:
            promise?.succeed(())
        case .end:
            if !isHead.isEmpty { isHead.removeFirst() }
            if isHead.isEmpty, hasEnded {
                isInRequest = false
                connections.setBusy(context.channel, false)
            }
            context.write(data, promise: promise)
        default: context.write(data, promise: promise)
        }
    }
}

/// Tells that bytes have come, before anybody knows what they are.
private final class ByteWatch: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    private let came: (ChannelHandlerContext) -> Void

    init(came: @escaping (ChannelHandlerContext) -> Void) { self.came = came }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        came(context)
        context.fireChannelRead(data)
    }
}
