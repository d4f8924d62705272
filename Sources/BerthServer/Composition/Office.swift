import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Foundation
import Hummingbird
import Logging
import ServiceLifecycle
import Synchronization

/// The parts of a server that only the city's leader runs: the sequencer, deliveries and notifications, the broker and its client, the pages, the
/// operator's desk, and the loops that look after them (distributed.md, section 5). A server that is alone with its city is always its leader.
final class Office: Sendable {
    /// The parts that every server has, whether it leads or not.
    struct Node: Sendable {
        let settings: ServerSettings
        let folder: DataFolder
        let authority: LocalCA
        let vault: FieldCipher
        let broker: EmbeddedBroker
        let certificate: ServerCertificate
        let connections: Connections
        let door: Door
        let gate: ReadyGate
        let startedAt: Millis
        let clock: @Sendable () -> Millis
        let logger: Logger
        /// Hands the city to another server.
        let onStepDown: @Sendable () -> Void
    }

    let fronts: Door.Fronts
    /// The services to run: the operator's desk and the loops.
    let services: [any Service]
    private let store: any Store
    private let core: ServerCore
    private let node: Node
    private let client: MQTTClient
    private let ears: MQTTFront

    /// Whether the server is connected to its broker.
    var isConnected: Bool { ears.isUp }

    /// Starts everything but the services. The broker runs when the call returns.
    init(
        _ node: Node, store: any Store, image: CityImage, makePages: (@Sendable (PageEntrance) throws -> any PageHost)?
    ) async throws {
        let (settings, clock, logger, broker) = (node.settings, node.clock, node.logger, node.broker)
        let core = try ServerCore(
            store: store, image: image, settings: settings, vault: node.vault, picturesDirectory: node.folder.pictures, broker: broker,
            clock: clock, logger: logger)
        let (sequencer, keys, presence, deliverer, pipeline) = (core.sequencer, core.keys, core.presence, core.deliverer, core.pipeline)
        let live = LiveFeed(sequencer: sequencer, presence: presence, clock: clock)
        try broker.start(image.credentials)

        core.start([live])
        let lineage = Lineage(sequencer: sequencer, clock: clock, logger: logger)
        deliverer.start(lineage: lineage)
        do throws(StoreError) { try lineage.begin() } catch { throw DataFolder.Failed(description: error.reason) }
        let links = LinkWatch(deliverer: deliverer, live: live, sequencer: sequencer)
        presence.start(links)
        let ears = MQTTFront(
            pipeline: pipeline, credentials: keys.book, presence: presence, deliverer: deliverer, clock: clock, logger: logger)
        let client = MQTTReactor(logger: logger).open(broker.serverConfiguration(), listener: ears)
        ears.start(client)
        deliverer.start(mqtt: client)
        core.relay.start(mqtt: client)

        let health = Health(sequencer: sequencer, isBrokerUp: { ears.isUp }, dataDirectory: node.folder.path)
        let tus = Tus(pictures: core.pictures)
        var host: (any PageHost)?
        if let makePages {
            host = try makePages(
                try await Server.entrance(pipeline, keys: keys, tus: tus, settings: settings, clock: clock, logger: logger))
        }
        let certificate = node.certificate
        fronts = Door.Fronts(
            https: HTTPFront(
                pages: PublicSite(live: live, redirects: core.redirects, health: health, host: host, clock: clock), tus: tus,
                backstage: InternalEndpoints(
                    settings: settings, credentials: keys.book, live: live, presence: presence, statistics: core.statistics,
                    pipeline: pipeline, health: health, door: node.door, certificateEnds: { certificate.ends }, startedAt: node.startedAt,
                    clock: clock)),
            signed: SignedFront(
                pipeline: pipeline, connections: node.connections, asksCertificates: { [book = keys.book] in book.asksCertificates }))
        services = [
            try Office.desk(
                AdminService(
                    sequencer: sequencer, keys: keys, onboarding: core.onboarding, notifier: core.notifier, authority: node.authority,
                    settings: settings,
                    status: {
                        Server.status(
                            sequencer, presence, live, broker, isConnected: ears.isUp, startedAt: node.startedAt,
                            certificateEnds: certificate.ends)
                    },
                    calls: { pipeline.callRows(of: $0).map(Server.inEnglishToo) }, links: { presence.snapshot },
                    stepDown: node.door.carrier == nil ? nil : node.onStepDown, clock: clock),
                node),
            MaintenanceLoop(
                sequencer: sequencer, presence: presence, deliverer: deliverer, live: live, notifier: core.notifier,
                onboarding: core.onboarding, statistics: core.statistics, pictures: core.pictures, store: store,
                retention: settings.retention, occupancy: OccupancyRecorder(sequencer: sequencer, store: store, logger: logger),
                logger: logger, clock: clock, links: links, dataDirectory: settings.dataDirectory, verifies: true),
        ]
        (self.node, self.store, self.core, self.client, self.ears) = (node, store, core, client, ears)
    }

    private static func desk(_ desk: AdminService, _ node: Node) throws -> any Service {
        let path = try node.folder.socketPath()
        unlink(path)
        umask(0o077)
        return Application(
            responder: Admin(desk: desk), server: .city(node.connections),
            configuration: .init(address: .unixDomainSocket(path: path), serverName: "berth"),
            onServerRunning: { [gate = node.gate] _ in await gate.opened("admin", 0) }, logger: Server.quiet(node.logger))
    }

    /// Makes everything durable and ends; the services have ended before.
    func close() async {
        client.close()
        (store as? PostgresStore)?.stops()
        await core.stop()
        node.broker.stop()
        (store as? any HistoryStore)?.close()
    }
}

/// The office of a server as a service: opened before anything listens where the server is alone with its city, and when its turn comes where it is
/// one of several.
final class OfficeSeat: Service {
    private struct State {
        var office: Office?
        var isStopping = false
    }

    private let node: Office.Node
    private let making: @Sendable (OfficeSeat) async throws -> Office
    private let state = Mutex(State())

    init(_ node: Office.Node, making: @escaping @Sendable (OfficeSeat) async throws -> Office) {
        self.node = node
        self.making = making
    }

    var office: Office? { state.withLock { $0.office } }
    var isStopping: Bool { state.withLock { $0.isStopping } }

    /// Opens the office; of one of several servers, once no other one leads.
    func open() async throws {
        // The wait for a turn and the reading of a large city are signs of life too.
        let life = Task {
            while !Task.isCancelled {
                ServiceManager.alive()
                try? await Task.sleep(for: .seconds(5))
            }
        }
        defer { life.cancel() }
        let made = try await making(self)
        state.withLock { $0.office = made }
        node.door.open(made.fronts)
    }

    func run() async throws {
        try await withGracefulShutdownHandler {
            if office == nil {
                do { try await open() } catch {
                    // A server that is stopped while it stands by has nothing to do any more.
                    guard isStopping else { throw error }
                    return
                }
            }
            guard let office else { return }
            let group = ServiceGroup(
                configuration: .init(
                    services: office.services.map { .init(service: $0, successTerminationBehavior: .gracefullyShutdownGroup) },
                    logger: Server.quiet(node.logger)))
            try await group.run()
        } onGracefulShutdown: { [self] in
            state.withLock { $0.isStopping = true }
        }
    }
}
