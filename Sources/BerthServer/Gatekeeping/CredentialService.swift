import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Foundation
import Logging
import Synchronization

/// The life of credentials: issued, rotated, taken up, changed, revoked; kept by the store, known to the broker at once.
final class CredentialService: Sendable {
    let book: CredentialBook
    private let store: any Store
    private let sequencer: Sequencer
    private let broker: EmbeddedBroker?
    private let settings: ServerSettings
    private let logger: Logger
    private let background = DispatchQueue(label: "berth.keys")
    /// One change of a credential at a time is kept.
    private let turn = Mutex(())
    /// The request that made the secret of a credential that waits to be used.
    private let rotated = Mutex<[String: String]>([:])

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
        guard book.change(appId, { $0.takeUpNextSecret(until: until) }) != nil else { return }
        background.async { [self] in
            do { try keep(appId) } catch {
                logger.error("a credential's rotation was not kept; its next use repeats it", metadata: ["appId": "\(appId)"])
            }
            guard let credential = book.find(appId) else { return }
            Task { try? await broker?.admit([credential]) }
        }
    }

    /// Keeps a credential as it stands now.
    private func keep(_ appId: String) throws {
        try turn.withLock { _ in
            if let credential = book.find(appId) { try store.save(credential) }
        }
    }

    /// Changes a credential, first what is kept and then what holds: a change that cannot be kept is none.
    /// - Returns: the credential as it stands then; nil where there is none.
    private func apply(_ appId: String, _ body: (inout Credential) -> Void) throws -> Credential? {
        try turn.withLock { _ in
            guard var credential = book.find(appId) else { return nil }
            let before = credential
            body(&credential)
            if credential != before { try store.save(credential) }
            _ = book.change(appId, body)
            // The party may have taken up its new secret meanwhile.
            if let present = book.find(appId), present != credential { try store.save(present) }
            return book.find(appId)
        }
    }

    /// Keeps new or changed credentials; returns when the broker knows them.
    func save(_ credentials: [Credential]) async throws {
        for credential in credentials {
            try turn.withLock { _ in
                try store.save(credential)
                book.insert(credential)
            }
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
        guard let credential = try apply(appId, { $0.isEnabled = false }) else { return false }
        listen(credential)
        try await broker?.admit([credential])
        return true
    }

    /// A second secret beside the first, which stays good until the party has used the new one, and then for its grace.
    /// - Parameter requestId: of the request that wants it; the same request gets the same secret again while it waits to be used.
    /// - Returns: the secret, and whether the same request had it before; nil where there is no such credential.
    func rotate(_ appId: String, for requestId: String? = nil) throws -> (secret: String, isRepeated: Bool)? {
        try rotated.withLock { rotated in
            if let requestId, let last = rotated[appId], last == requestId, let secret = book.find(appId)?.nextSecret {
                return (secret, true)
            }
            let secret = SystemRandom.token(40)
            guard try apply(appId, { $0.rotate(to: secret) }) != nil else { return nil }
            rotated[appId] = requestId
            return (secret, false)
        }
    }

    /// Whether the secret that waits to be used was made for this request.
    func isWaiting(_ appId: String, for requestId: String) -> Bool {
        rotated.withLock { $0[appId] == requestId } && book.find(appId)?.nextSecret != nil
    }

    func change(_ appId: String, _ body: (inout Credential) -> Void) async throws -> Credential? {
        guard let credential = try apply(appId, body) else { return nil }
        listen(credential)
        try await broker?.admit([credential])
        return credential
    }

    // MARK: The city's own pages

    /// The name under which the credentials of the city's own pages are kept.
    static let pagesName = "berth pages"

    /// The three credentials of the city's own pages: roles web, provider and operator. They are made where they do not exist.
    func pages() async throws -> JSON {
        var rows = JSONObject()
        for (role, prefix) in [(Role.web, "wb"), (.provider, "sp"), (.operator, "op")] {
            let known = book.all.first { $0.role == role && $0.name == CredentialService.pagesName && $0.isEnabled }
            // All people of the city come through them, so their limit is raised.
            let credential =
                known
                ?? Credential(
                    appId: prefix + SystemRandom.token(14), secret: SystemRandom.token(40), role: role, name: CredentialService.pagesName,
                    ratePerSecond: 1_000_000, burst: 1_000_000)
            if known == nil { try await save([credential]) }
            rows[role.rawValue] = ["appId": .string(credential.appId), "appSecret": .string(credential.secret)]
        }
        return .object(rows)
    }
}
