import BerthCore
import BerthWire
import Synchronization

/// Nonces seen, in two generations that are turned every `nonceMillis`: each one is remembered for at least that long.
final class NonceCache: Sendable {
    private struct State {
        var young: Set<ByteKey> = []
        var old: Set<ByteKey> = []
        var turnedAt: Int64 = 0
    }

    private let state = Mutex(State())

    /// True when it is new; it is remembered from now on.
    /// - Parameter now: of a clock that never goes back, ms.
    func insert(appId: String, nonce: String, now: Int64) -> Bool {
        let key = ByteKey("\(appId)|\(nonce)")
        return state.withLock { state in
            if now - state.turnedAt >= WireLimits.nonceMillis || state.young.count >= Limits.nonceMax {
                state.old = state.young
                state.young = []
                state.turnedAt = now
            }
            guard !state.old.contains(key) else { return false }
            return state.young.insert(key).inserted
        }
    }
}
