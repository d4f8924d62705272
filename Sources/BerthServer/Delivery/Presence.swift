import BerthCore
import BerthLink
import BerthWire
import Synchronization

/// Which lots can be reached over MQTT now (interface.md, section 4). A hint for sending and for people; only `ackSeq` proves delivery.
/// Silence is measured on a clock that never steps; times that are shown are of the server's clock.
final class Presence: Sendable {
    struct Link: Sendable {
        var isOnline = false
        /// Of the server's clock, ms since 1970.
        var heardAt: Millis = 0
        var since: Millis = 0
        var queueDepth: Int64 = 0
        var clockOffsetMillis: Int64 = 0
        var heartbeatAt: Millis = 0
        /// Of a clock that never goes back.
        fileprivate(set) var heardTick: Int64 = 0
        /// When it went and came lately, to tell of a link that flaps once and not every second.
        fileprivate var flips = 0
        fileprivate var flipsSince: Int64 = 0

        func isSilent(_ tick: Int64) -> Bool { tick - heardTick > WireLimits.silenceMillis }
    }

    private let links = Mutex<[String: Link]>([:])
    /// Told when a lot comes or goes, outside the lock.
    private let listener = Mutex<(any PresenceListener)?>(nil)
    private let clock: @Sendable () -> Millis
    /// Changes of one lot that are told as events in a minute.
    private static let flipsMax = 6

    init(clock: @escaping @Sendable () -> Millis = { SystemClock.now() }) { self.clock = clock }

    func start(_ listener: any PresenceListener) { self.listener.withLock { $0 = listener } }

    /// A verified MQTT uplink, or `online:true`.
    func isReachable(_ parkCode: String) -> Bool { links.withLock { $0[parkCode]?.isOnline ?? false } }

    func link(_ parkCode: String) -> Link? { links.withLock { $0[parkCode] } }

    func online(_ parkCode: String) { turn(parkCode, isOnline: true) }
    func offline(_ parkCode: String) { turn(parkCode, isOnline: false) }

    private func turn(_ parkCode: String, isOnline: Bool) {
        let (now, tick) = (clock(), SystemClock.monotonic())
        let (isTurned, isTold) = links.withLock { links -> (Bool, Bool) in
            var link = links[parkCode] ?? Link()
            defer { links[parkCode] = link }
            if isOnline { (link.heardAt, link.heardTick) = (now, tick) }
            guard link.isOnline != isOnline else { return (false, false) }
            link.isOnline = isOnline
            link.since = now
            if tick - link.flipsSince >= 60_000 { (link.flips, link.flipsSince) = (0, tick) }
            link.flips += 1
            return (true, link.flips <= Presence.flipsMax)
        }
        if isTurned { listener.withLock { $0 }?.linkChanged(parkCode, isOnline: isOnline, isTold: isTold, now: now) }
    }

    /// Anything verified from the lot, over any carrier: it lives, whether or not it listens on MQTT.
    func heard(_ parkCode: String) {
        let (now, tick) = (clock(), SystemClock.monotonic())
        links.withLock { links in
            links[parkCode, default: Link()].heardAt = now
            links[parkCode]!.heardTick = tick
        }
    }

    /// True when the lot's clock has just gone beyond the limit.
    func noteHeartbeat(_ parkCode: String, queueDepth: Int64, clockOffset: Int64, offsetMax: Int64) -> Bool {
        let now = clock()
        return links.withLock { links in
            var link = links[parkCode] ?? Link()
            link.heartbeatAt = now
            let wasRight = link.clockOffsetMillis.magnitude <= offsetMax.magnitude
            link.queueDepth = queueDepth
            link.clockOffsetMillis = clockOffset
            links[parkCode] = link
            return wasRight && clockOffset.magnitude > offsetMax.magnitude
        }
    }

    /// 90 s of silence count as offline.
    func sweep() {
        let tick = SystemClock.monotonic()
        let silent = links.withLock { links in links.filter { $0.value.isOnline && $0.value.isSilent(tick) }.map(\.key) }
        for parkCode in silent { offline(parkCode) }
    }

    /// The broker is lost: nobody can be reached until it is back.
    func allOffline() { for parkCode in links.withLock({ $0.filter(\.value.isOnline).map(\.key) }) { offline(parkCode) } }

    var snapshot: [String: Link] { links.withLock { $0 } }
}

protocol PresenceListener: AnyObject, Sendable {
    /// - Parameter isTold: false for a link that comes and goes faster than anybody wants to hear of it.
    func linkChanged(_ parkCode: String, isOnline: Bool, isTold: Bool, now: Millis)
}
