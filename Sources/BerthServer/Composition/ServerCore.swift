import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Foundation
import Logging

/// The parts of a server that need no socket: the city with its one writer, the checks of a request, and what follows the journal.
/// ``Server`` gives them fronts and a broker; a test drives them by bytes, with a store and a clock of its own.
package final class ServerCore: Sendable {
    let sequencer: Sequencer
    let keys: CredentialService
    let presence: Presence
    let trail: RequestTrail
    let callbacks: CallbackClient
    let relay: LotCalls
    let deliverer: Deliverer
    let statistics: Statistics
    let onboarding: Onboarding
    let notifier: Notifier
    let pictures: PictureStore
    let redirects: Redirects
    let pipeline: Pipeline

    init(
        store: any Store, image: CityImage, settings: ServerSettings, vault: FieldCipher, picturesDirectory: String,
        broker: EmbeddedBroker?, clock: @escaping @Sendable () -> Millis, logger: Logger
    ) throws {
        sequencer = Sequencer(
            store: store, image: image, policy: settings.policy, newEpoch: "d" + String(clock(), radix: 36),
            reviewsLots: settings.reviewsLots, clock: clock, logger: logger)
        keys = CredentialService(image.credentials, sequencer: sequencer, broker: broker, settings: settings, logger: logger)
        presence = Presence(clock: clock)
        trail = RequestTrail(isComplete: settings.logsAllRequests, logger: logger)
        callbacks = CallbackClient(rules: settings.callbackRules)
        relay = LotCalls(credentials: keys.book, presence: presence, callbacks: callbacks, clock: clock)
        deliverer = Deliverer(
            sequencer: sequencer, credentials: keys.book, presence: presence, relay: relay, callbacks: callbacks, trail: trail,
            clock: clock, logger: logger)
        statistics = try Statistics(store: store, logger: logger)
        onboarding = Onboarding(sequencer: sequencer, presence: presence, credentials: keys.book, settings: settings, clock: clock)
        notifier = Notifier(
            sequencer: sequencer, credentials: keys.book, callbacks: callbacks, retrySeconds: settings.callbackRetrySeconds,
            trail: trail, clock: clock, logger: logger)
        pictures = try PictureStore(
            directory: picturesDirectory, store: store, addresses: AddressSigner(vault: vault), settings: settings, clock: clock)
        redirects = Redirects(sequencer: sequencer, credentials: keys.book, settings: settings, clock: clock)
        pipeline = Pipeline(
            sequencer: sequencer, keys: keys, presence: presence, deliverer: deliverer, relay: relay, pictures: pictures,
            redirects: redirects, trail: trail, statistics: statistics, onboarding: onboarding, settings: settings, clock: clock,
            logger: logger)
        for (appId, nonce, _) in image.nonces { _ = pipeline.nonces.insert(appId: appId, nonce: nonce, now: SystemClock.monotonic()) }
    }

    /// Starts the thread that commits, and tells these what becomes durable; the trail first: it knows the request behind a message before
    /// the message goes.
    func start(_ more: [any DurableListener]) { sequencer.start([trail, deliverer] + more + [notifier, statistics, onboarding]) }

    /// Makes everything durable and ends; the store is the caller's.
    package func stop() async {
        statistics.flush()
        await callbacks.close()
        sequencer.stop()
    }
}

// The core by itself, as tests drive it.
extension ServerCore {
    /// A running core without broker and fronts.
    /// - Parameters:
    ///   - directory: a folder for pictures; it has to be there.
    ///   - clock: ms since 1970, read from any thread.
    package convenience init(
        store: any Store, settings: ServerSettings, directory: String, clock: @escaping @Sendable () -> Millis, logger: Logger
    ) throws {
        try self.init(
            store: store, image: try store.load(noncesSince: 0), settings: settings,
            vault: FieldCipher(masterKey: [UInt8](repeating: 7, count: 32)), picturesDirectory: directory, broker: nil, clock: clock,
            logger: logger)
        start([])
    }

    /// Keeps a credential, new or changed; it may call from then on.
    package func admit(_ credential: Credential) async throws { try await keys.save([credential]) }

    /// A command of the operator's desk.
    /// - Returns: the code of the answer, when it is durable.
    @discardableResult package func perform(_ command: Command) async -> Int {
        await withCheckedContinuation { continuation in
            sequencer.perform(command, now: sequencer.clock()) { continuation.resume(returning: $0.code) }
        }
    }

    /// The signed reply to the bytes of a request, as a carrier would send it.
    /// - Parameters:
    ///   - service: the name that the address says.
    ///   - attempt: how often a front has sent it, from 1.
    package func reply(to bytes: [UInt8], service: String, attempt: Int = 1) async -> [UInt8] {
        await send(bytes, service: service, attempt: attempt).value
    }

    /// Hands over the bytes of a request; its signed reply comes when it is durable, on any thread.
    /// - Parameter attempt: how often a front has sent it, from 1.
    package func receive(_ bytes: [UInt8], service: String, attempt: Int = 1, completion: @escaping @Sendable ([UInt8]) -> Void) {
        pipeline.receive(bytes, .init(service: service, attempt: attempt)) { [pipeline] reply in
            Blocking.run { completion(pipeline.render(reply)) }
        }
    }

    /// As ``receive(_:service:attempt:completion:)``, for a task that asks for the reply later.
    package func send(_ bytes: [UInt8], service: String, attempt: Int = 1) -> Task<[UInt8], Never> {
        let (replies, source) = AsyncStream<[UInt8]>.makeStream()
        receive(bytes, service: service, attempt: attempt) { reply in
            source.yield(reply)
            source.finish()
        }
        return Task {
            for await reply in replies { return reply }
            return []
        }
    }

    /// Lets the deadlines of all lots fall due, as the maintenance loop does every second.
    package func expire() async {
        let now = sequencer.clock()
        for parkCode in sequencer.readUndurable({ city in city.lots.keys.filter { city.isDue($0, at: now) } }) {
            await perform(.expire(parkCode: parkCode))
        }
    }

    /// Drops what ended before `time` from memory, as the maintenance loop does every minute.
    package func sweep(endedBefore time: Millis) {
        for parkCode in sequencer.readUndurable({ Array($0.lots.keys) }) { sequencer.forget(parkCode, endedBefore: time) }
        for part in City.sharedParts { sequencer.forgetShared(part, endedBefore: time) }
    }

    /// Stops one lot, as a contradiction in its state would.
    package func stop(_ parkCode: String, because fault: String) { sequencer.readUndurable { $0.stop(parkCode, because: fault) } }

    /// Why nothing is decided now; nil when all is well.
    package var haltReason: String? { sequencer.haltReason }
}
