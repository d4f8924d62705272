import Synchronization

/// Token buckets by name: sign-ins and codes by source and by login. In memory, bounded; a name that is not seen for its whole refill time
/// is forgotten.
final class Limiter: Sendable {
    private struct Bucket {
        var left: Double
        var at: Int64
    }

    private let buckets = Mutex<[String: Bucket]>([:])
    private static let most = 100_000

    /// - Parameters:
    ///   - burst: tries at once.
    ///   - minutes: after so many all of them are there again.
    /// - Returns: whether the try is allowed.
    func admit(_ name: String, burst: Double, minutes: Double, now: Int64) -> Bool {
        buckets.withLock { buckets in
            if buckets.count >= Limiter.most, buckets[name] == nil {
                buckets = buckets.filter { Double(now - $0.value.at) < minutes * 60_000 }
                guard buckets.count < Limiter.most else { return false }
            }
            var bucket = buckets[name] ?? Bucket(left: burst, at: now)
            bucket.left = min(burst, bucket.left + Double(max(0, now - bucket.at)) * burst / (minutes * 60_000))
            bucket.at = now
            guard bucket.left >= 1 else {
                buckets[name] = bucket
                return false
            }
            bucket.left -= 1
            buckets[name] = bucket
            return true
        }
    }
}
