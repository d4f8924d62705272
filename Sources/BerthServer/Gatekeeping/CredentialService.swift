import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Foundation
import Logging

/// The life of credentials: issued, rotated, taken up, changed, revoked; kept by the store, known to the broker at once.
final class CredentialService: Sendable {
    let book: CredentialBook
    private let store: any Store
    private let sequencer: Sequencer
    private let broker: EmbeddedBroker?
    private let settings: ServerSettings
    private let logger: Logger
    private let background = DispatchQueue(label: "berth.keys")

    init(
        _ credentials: [Credential], sequencer: Sequencer, broker: EmbeddedBroker?, settings: ServerSettings, logger: Logger
    ) {
        book = CredentialBook(credentials)
        store = sequencer.store
        self.sequencer = sequencer
        self.broker = broker
        self.settings = settings
        self.logger = logger
    }

    /// The party has signed with its new secret: the old one ends after its grace, and the broker's password is the new one's.
    func takeUp(_ appId: String, now: Millis) {
        let until = now + settings.secretGraceMillis
        guard let credential = book.change(appId, { $0.takeUpNextSecret(until: until) }) else { return }
        background.async { [self] in
            do { try store.save(credential) } catch {
                logger.error("a credential's rotation was not kept; its next use repeats it", metadata: ["appId": "\(appId)"])
            }
            Task { try? await broker?.admit([credential]) }
        }
    }

    /// Keeps new or changed credentials; returns when the broker knows them.
    func save(_ credentials: [Credential]) async throws {
        for credential in credentials {
            try store.save(credential)
            book.insert(credential)
            listen(credential)
        }
        try await broker?.admit(credentials)
    }

    /// A party that has a callback is notified of changes.
    private func listen(_ credential: Credential) {
        let isListening = credential.isEnabled && credential.callback != nil
        sequencer.readUndurable { city in
            if isListening { city.listeners.insert(credential.appId) } else { city.listeners.remove(credential.appId) }
        }
    }

    /// Ends a credential at once: requests get 200, open MQTT connections are closed.
    func revoke(_ appId: String) async throws -> Bool {
        guard let credential = book.change(appId, { $0.isEnabled = false }) else { return book.find(appId) != nil }
        try store.save(credential)
        listen(credential)
        try await broker?.admit([credential])
        return true
    }

    /// A second secret beside the first, which stays good until the party has used the new one, and then for its grace.
    func rotate(_ appId: String) throws -> String? {
        let secret = SystemRandom.token(40)
        guard let credential = book.change(appId, { $0.rotate(to: secret) }) else { return nil }
        try store.save(credential)
        return secret
    }

    func change(_ appId: String, _ body: (inout Credential) -> Void) async throws -> Credential? {
        guard let credential = book.change(appId, body) else { return book.find(appId) }
        try await save([credential])
        return credential
    }
}
