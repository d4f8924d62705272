import BerthCore
import BerthWire
import Synchronization

/// The looks that went on record within the last five minutes: a screen that asks the same again and again is one look. Any thread; bounded.
final class RecentLooks: Sendable {
    private let times = Mutex<[String: Millis]>([:])
    private static let sameMillis: Millis = 300_000
    private static let most = 10_000

    /// Whether this look has to go on record; the same question of the same caller within five minutes has not.
    func isNew(_ request: VerifiedRequest, now: Millis) -> Bool {
        let key = "\(request.envelope.appId)|\(request.envelope.service)|\(request.dataHash)"
        return times.withLock { times in
            if let last = times[key], now >= last, now - last < RecentLooks.sameMillis { return false }
            if times.count >= RecentLooks.most { times = times.filter { now - $0.value < RecentLooks.sameMillis && now >= $0.value } }
            if times.count >= RecentLooks.most { times.removeAll() }
            times[key] = now
            return true
        }
    }
}
