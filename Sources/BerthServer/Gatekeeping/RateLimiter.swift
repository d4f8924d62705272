import BerthCore
import BerthWire
import Synchronization

/// A token bucket per credential, and per lot for those who speak for lots (section 8).
final class RateLimiter: Sendable {
    private struct Bucket {
        var tokens: Double
        var at: Int64
    }

    private let buckets = Mutex<[String: Bucket]>([:])

    /// 0 when the call may pass, else after how many ms it may come again.
    /// - Parameter now: of a clock that never goes back, ms.
    func admit(_ credential: Credential, parkCode: String?, now: Int64) -> Int64 {
        let key = credential.role.speaksForLots ? "\(credential.appId)|\(parkCode ?? "")" : credential.appId
        let rate = Double(max(1, credential.ratePerSecond))
        let burst = Double(max(1, credential.burst))
        return buckets.withLock { buckets in
            var bucket = buckets[key] ?? Bucket(tokens: burst, at: now)
            bucket.tokens = min(burst, bucket.tokens + Double(max(0, now - bucket.at)) * rate / 1000)
            bucket.at = max(bucket.at, now)
            defer { buckets[key] = bucket }
            guard bucket.tokens < 1 else {
                bucket.tokens -= 1
                return 0
            }
            return max(1, Int64((1 - bucket.tokens) * 1000 / rate))
        }
    }
}
