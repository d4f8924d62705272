import BerthCore
import BerthLink
import BerthWire
import Foundation
import Synchronization

/// The credentials that may call, in memory because every request looks one up.
final class CredentialBook: Sendable {
    private struct State {
        var byAppId: [String: Credential] = [:]
        /// Each lot has exactly one delivery credential at a time: the lot's own, else its cloud's.
        var delivery: [String: String] = [:]
        var asksCertificates = false
    }

    private let state = Mutex(State())

    init(_ credentials: [Credential]) { for credential in credentials { insert(credential) } }

    /// Takes a credential in, or its new state; one that is disabled delivers no more.
    func insert(_ credential: Credential) {
        state.withLock { state in
            state.byAppId[credential.appId] = credential
            if credential.certificate != nil { state.asksCertificates = true }
            guard credential.role.speaksForLots else { return }
            for parkCode in credential.parkCodes {
                let present = state.delivery[parkCode].flatMap { state.byAppId[$0] }
                if !credential.isEnabled {
                    guard present?.appId == credential.appId else { continue }
                    // Another credential that speaks for the lot takes over: the lot's own before its cloud's.
                    state.delivery[parkCode] =
                        state.byAppId.values
                        .filter { $0.isEnabled && $0.role.speaksForLots && $0.parkCodes.contains(parkCode) }
                        .min { ($0.role == .lot ? 0 : 1, $0.appId) < ($1.role == .lot ? 0 : 1, $1.appId) }?.appId
                } else if present == nil || !present!.isEnabled || present!.role == .cloud || credential.role == .lot {
                    state.delivery[parkCode] = credential.appId
                }
            }
        }
    }

    /// Changes one credential; nil when there is none, or when `body` leaves it as it is.
    func change(_ appId: String, _ body: (inout Credential) -> Void) -> Credential? {
        let changed = state.withLock { state -> Credential? in
            guard var credential = state.byAppId[appId] else { return nil }
            let before = credential
            body(&credential)
            guard credential != before else { return nil }
            state.byAppId[appId] = credential
            return credential
        }
        if let changed { insert(changed) }
        return changed
    }

    func find(_ appId: String) -> Credential? { state.withLock { $0.byAppId[appId] } }

    /// The credential with which messages to a lot are addressed and signed (section 3).
    func delivery(to parkCode: String) -> Credential? {
        state.withLock { state in state.delivery[parkCode].flatMap { state.byAppId[$0] } }
    }

    /// Whether any request has to show a certificate.
    var asksCertificates: Bool { state.withLock { state in state.asksCertificates } }

    var all: [Credential] { state.withLock { $0.byAppId.values.sorted { $0.appId < $1.appId } } }
}

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

/// One line for each refused request. The network threads do not wait for the reader of the log. A refusal that comes faster than lines are
/// written is only counted.
final class RefusalLog: Sendable {
    private let queue = DispatchQueue(label: "berth.refusals")
    private let waiting = Atomic<Int>(0)
    private static let waitingMax = 2_000

    func note(_ write: @escaping @Sendable () -> Void) {
        guard waiting.load(ordering: .relaxed) < RefusalLog.waitingMax else { return }
        waiting.add(1, ordering: .relaxed)
        queue.async { [self] in
            write()
            waiting.subtract(1, ordering: .relaxed)
        }
    }
}

/// Wrong signatures by the party that they name.
final class BadSignatures: Sendable {
    private struct Count {
        var since: Int64
        var count = 0
        var toldAt: Int64?
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
            let isEvent = one.count > BadSignatures.most && one.toldAt.map { now - $0 >= 3_600_000 } ?? true
            if isEvent { one.toldAt = now }
            counts[appId] = one
            return isEvent ? one.count : nil
        }
    }
}

/// Commands to lots that are under way (D13 to D17, D22, D23): the same one does not go out twice at a time.
final class CommandsUnderWay: Sendable {
    private let underWay = Mutex<Set<ByteKey>>([])

    /// False when it is under way already.
    func begin(_ key: String) -> Bool { underWay.withLock { $0.insert(ByteKey(key)).inserted } }
    func end(_ key: String) { underWay.withLock { _ = $0.remove(ByteKey(key)) } }
}
