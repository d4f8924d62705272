import BerthCore
import BerthLink
import BerthWire
import CBerthPosix
import Foundation
import NIOCore
import Synchronization

/// The open connections and their limit: no descriptor is missing elsewhere, and room is kept for lots, operators and probes.
/// Methods are called on the network threads.
final class Connections: Sendable {
    /// One open connection.
    final class Entry: Sendable {
        fileprivate let source: String
        fileprivate let order: UInt64
        fileprivate let channel: any Channel
        private let busy = Atomic(false)

        fileprivate init(source: String, order: UInt64, channel: any Channel) {
            self.source = source
            self.order = order
            self.channel = channel
        }

        /// A request is being read or answered: the connection is not closed for another.
        var isBusy: Bool {
            get { busy.load(ordering: .relaxed) }
            set { busy.store(newValue, ordering: .relaxed) }
        }
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
    /// Connections of the link between servers, in both directions together.
    private static let linkMax = 1_000

    /// - Parameter hasLink: room is kept for the link to the other servers of the city.
    init(hasLink: Bool = false) {
        let kept = Connections.keptDescriptors + (hasLink ? Connections.linkMax : 0)
        most = min(50_000, max(32, Connections.descriptorLimit() - kept))
    }

    private init(most: Int) { self.most = most }

    /// The connections that other servers open to this one.
    static func link() -> Connections { Connections(most: linkMax / 2) }

    private static func descriptorLimit() -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
        return Int(clamping: limit.rlim_cur)
    }

    /// Counts a new connection; at the limit the newest idle one of a stranger is closed for it.
    /// - Returns: nil when there is no room for it.
    func open(_ channel: any Channel) -> Entry? {
        let source = channel.remoteAddress?.ipAddress ?? ""
        let tick = SystemClock.monotonic()
        let (entry, victim) = state.withLock { state -> (Entry?, Entry?) in
            let isKnown = Connections.isKnown(source, state, tick)
            var victim: Entry?
            let own = state.bySource[source, default: 0]
            let limit = isKnown ? most : most - most / 10
            if !isKnown, own >= max(8, most / 4) {
                victim = Connections.newestIdle(state, of: source, tick)
                guard victim != nil else { return (nil, nil) }
            } else if state.open.count >= limit {
                victim = Connections.newestIdle(state, of: nil, tick)
                guard victim != nil else { return (nil, nil) }
            }
            if let victim { Connections.remove(victim, &state) }
            state.last += 1
            let entry = Entry(source: source, order: state.last, channel: channel)
            state.open[ObjectIdentifier(entry)] = entry
            state.bySource[source, default: 0] += 1
            return (entry, victim)
        }
        victim?.channel.close(promise: nil)
        return entry
    }

    private static func isKnown(_ source: String, _ state: State, _ tick: Int64) -> Bool {
        state.known[source].map { tick - $0 < knownMillis } ?? false
    }

    private static func newestIdle(_ state: State, of source: String?, _ tick: Int64) -> Entry? {
        let idle = state.open.values.lazy.filter { !$0.isBusy }
        if let source { return idle.filter { $0.source == source }.max { $0.order < $1.order } }
        return idle.filter { !isKnown($0.source, state, tick) }.max { $0.order < $1.order }
            // Among those that are known too, where strangers have none.
            ?? idle.max { $0.order < $1.order }
    }

    private static func remove(_ entry: Entry, _ state: inout State) {
        guard state.open.removeValue(forKey: ObjectIdentifier(entry)) != nil else { return }
        let left = state.bySource[entry.source, default: 1] - 1
        state.bySource[entry.source] = left > 0 ? left : nil
    }

    func close(_ entry: Entry) { state.withLock { Connections.remove(entry, &$0) } }

    /// Notes an address from which a signed message came: room is kept for it.
    func noteKnown(_ source: String) {
        let tick = SystemClock.monotonic()
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
