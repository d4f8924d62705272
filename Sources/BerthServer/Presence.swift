import BerthCore
import BerthWire
import Synchronization

/// Which lots can be reached over MQTT now (interface.md, section 4). A hint for sending and for people; only `ackSeq` proves delivery.
final class Presence: Sendable {
    struct Link: Sendable {
        var isOnline = false
        var heardAt: Millis = 0
        var since: Millis = 0
        var queueDepth: Int64 = 0
        var clockOffsetMillis: Int64 = 0
    }

    private let links = Mutex<[String: Link]>([:])
    /// Called when a lot comes (true) or goes (false), outside the lock.
    private let onChange = Mutex<(@Sendable (String, Bool, Millis) -> Void)?>(nil)

    func start(onChange: @escaping @Sendable (String, Bool, Millis) -> Void) { self.onChange.withLock { $0 = onChange } }

    /// A verified MQTT uplink, or `online:true`.
    func isReachable(_ parkCode: String) -> Bool { links.withLock { $0[parkCode]?.isOnline ?? false } }

    func online(_ parkCode: String, now: Millis) {
        let came = links.withLock { links in
            var link = links[parkCode] ?? Link()
            let came = !link.isOnline
            if came { link.since = now }
            link.isOnline = true
            link.heardAt = now
            links[parkCode] = link
            return came
        }
        if came { onChange.withLock { $0 }?(parkCode, true, now) }
    }

    func offline(_ parkCode: String, now: Millis) {
        let went = links.withLock { links in
            guard links[parkCode]?.isOnline == true else { return false }
            links[parkCode]!.isOnline = false
            links[parkCode]!.since = now
            return true
        }
        if went { onChange.withLock { $0 }?(parkCode, false, now) }
    }

    /// Anything verified from the lot, over any carrier: it lives, whether or not it listens on MQTT.
    func heard(_ parkCode: String, now: Millis) { links.withLock { $0[parkCode, default: Link()].heardAt = now } }

    func noteHeartbeat(_ parkCode: String, queueDepth: Int64, clockOffset: Int64) {
        links.withLock {
            $0[parkCode, default: Link()].queueDepth = queueDepth
            $0[parkCode]!.clockOffsetMillis = clockOffset
        }
    }

    /// 90 s of silence count as offline.
    func sweep(now: Millis) {
        let silent = links.withLock { links in
            links.filter { $0.value.isOnline && now - $0.value.heardAt > WireLimits.silenceMillis }.map(\.key)
        }
        for parkCode in silent { offline(parkCode, now: now) }
    }

    /// The broker is lost: nobody can be reached until it is back.
    func allOffline(now: Millis) {
        for parkCode in links.withLock({ $0.filter(\.value.isOnline).map(\.key) }) { offline(parkCode, now: now) }
    }

    var snapshot: [String: Link] { links.withLock { $0 } }
}
