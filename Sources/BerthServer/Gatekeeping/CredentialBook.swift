import BerthCore
import BerthWire
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

    var all: [Credential] { state.withLock { Array($0.byAppId.values) }.sorted { $0.appId < $1.appId } }
}
