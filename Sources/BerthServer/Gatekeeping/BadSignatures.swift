import BerthCore
import Synchronization

/// Wrong signatures by the party that they name.
final class BadSignatures: Sendable {
    private struct Count {
        var since: Int64
        var count = 0
        var toldAt: Int64?
        /// Since the server started.
        var total = 0
    }

    /// More than this in a minute are an event; it is raised once an hour.
    private static let most = 10
    private let counts = Mutex<[String: Count]>([:])

    /// - Parameter now: of a clock that never goes back, ms.
    /// - Returns: how many it were in the minute, when that is an event.
    func note(_ appId: String, now: Int64) -> Int? {
        counts.withLock { counts in
            var one = counts[appId] ?? Count(since: now)
            if now - one.since >= 60_000 { (one.since, one.count) = (now, 0) }
            one.count += 1
            one.total += 1
            let isEvent = one.count > BadSignatures.most && one.toldAt.map { now - $0 >= 3_600_000 } ?? true
            if isEvent { one.toldAt = now }
            counts[appId] = one
            return isEvent ? one.count : nil
        }
    }

    /// All of a party since the server started.
    func total(_ appId: String) -> Int { counts.withLock { $0[appId]?.total ?? 0 } }
}
