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
        var heartbeatAt: Millis = 0
    }

    private let links = Mutex<[String: Link]>([:])
    /// Told when a lot comes or goes, outside the lock.
    private let listener = Mutex<(any PresenceListener)?>(nil)

    func start(_ listener: any PresenceListener) { self.listener.withLock { $0 = listener } }

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
        if came { listener.withLock { $0 }?.linkChanged(parkCode, isOnline: true, now: now) }
    }

    func offline(_ parkCode: String, now: Millis) {
        let went = links.withLock { links in
            guard links[parkCode]?.isOnline == true else { return false }
            links[parkCode]!.isOnline = false
            links[parkCode]!.since = now
            return true
        }
        if went { listener.withLock { $0 }?.linkChanged(parkCode, isOnline: false, now: now) }
    }

    /// Anything verified from the lot, over any carrier: it lives, whether or not it listens on MQTT.
    func heard(_ parkCode: String, now: Millis) { links.withLock { $0[parkCode, default: Link()].heardAt = now } }

    /// True when the lot's clock has just gone beyond the limit.
    func noteHeartbeat(_ parkCode: String, queueDepth: Int64, clockOffset: Int64, offsetMax: Int64, now: Millis) -> Bool {
        links.withLock { links in
            var link = links[parkCode] ?? Link()
            let wasRight = abs(link.clockOffsetMillis) <= offsetMax
            link.queueDepth = queueDepth
            link.clockOffsetMillis = clockOffset
            link.heartbeatAt = now
            links[parkCode] = link
            return wasRight && abs(clockOffset) > offsetMax
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

protocol PresenceListener: AnyObject, Sendable {
    func linkChanged(_ parkCode: String, isOnline: Bool, now: Millis)
}
