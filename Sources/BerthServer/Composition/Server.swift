import BerthCore
import BerthLink
import BerthStore
public import BerthWire
import CBerthPosix
import Foundation
import Hummingbird
import HummingbirdTLS
public import Logging
import Metrics
import NIOCore
import NIOSSL
import ServiceLifecycle
import Synchronization

/// The city's server: puts the parts together, and is the only place that names the concrete ones.
public final class Server: Sendable {
    var settings: ServerSettings { prepared }
    /// The settings with what only a running server knows: its own address.
    private let prepared: ServerSettings
    let folder: DataFolder
    let logger: Logger

    public init(settings: ServerSettings, logger: Logger) {
        var settings = settings
        if settings.httpsPort == 0, let port = try? Server.freePort() { settings.httpsPort = port }
        if settings.publicURL.isEmpty { settings.publicURL = "https://127.0.0.1:\(settings.httpsPort)" }
        prepared = settings
        folder = DataFolder(settings.dataDirectory)
        self.logger = logger
    }

    /// The facts that a client must know, once everything listens.
    public struct Ready: Sendable {
        public var https: String
        public var mqtt: String
        public var ca: String
        public var page: String?

        public var json: JSON {
            .compact([
                ("event", "ready"), ("https", .string(https)), ("mqtt", .string(mqtt)), ("ca", .string(ca)),
                ("page", .optional(page)),
            ])
        }
    }

    /// Keeps what swift-metrics is told for `/metrics`; once, before anything is measured.
    public static func collectMetrics() { MetricsSystem.bootstrap(MetricsRegistry.shared) }

    /// Runs until SIGTERM or SIGINT; then stops listening, makes everything durable and ends the broker.
    /// - Parameter makePages: makes the pages of people; nil for a server without them.
    public func run(
        makePages: (@Sendable (PageEntrance) throws -> any PageHost)? = nil, onReady: @escaping @Sendable (Ready) -> Void
    ) async throws {
        Limits.check()
        berth_survive_full_disk()
        berth_keep_memory()
        for change in try folder.open() { logger.notice("rights of the data folder: \(change)") }
        let mqttPort = settings.mqttPort == 0 ? try Server.freePort() : settings.mqttPort
        EmbeddedBroker.endLeftover(directory: folder.broker, logger: logger)
        let places = Server.places(settings, mqttPort: mqttPort)
        try Ports.check(places)
        let clock: @Sendable () -> Millis = { SystemClock.now() }
        let authority = LocalCA(directory: folder.tls, settings: settings)
        try authority.prepare(now: clock())
        try ServerCertificate.check(authority)
        let vault = FieldCipher(masterKey: try folder.masterKey())
        let (store, image) = try openStore(vault, now: clock(), waits: true)
        let broker = EmbeddedBroker(
            directory: folder.broker, port: mqttPort, bindAddress: settings.bindAddress, authority: authority,
            logger: logger)
        let core = try ServerCore(
            store: store, image: image, settings: settings, vault: vault, picturesDirectory: folder.pictures, broker: broker, clock: clock,
            logger: logger)
        let (sequencer, keys, presence, deliverer) = (core.sequencer, core.keys, core.presence, core.deliverer)
        let (pipeline, statistics, pictures, onboarding, notifier) = (
            core.pipeline, core.statistics, core.pictures, core.onboarding, core.notifier
        )
        let credentials = keys.book
        let live = LiveFeed(sequencer: sequencer, presence: presence, clock: clock)
        try broker.start(image.credentials)

        core.start([live])
        let lineage = Lineage(sequencer: sequencer, clock: clock, logger: logger)
        deliverer.start(lineage: lineage)
        do throws(StoreError) { try lineage.begin() } catch { throw DataFolder.Failed(description: error.reason) }
        let links = LinkWatch(deliverer: deliverer, live: live, sequencer: sequencer)
        presence.start(links)
        let reactor = MQTTReactor(logger: logger)
        let ears = MQTTFront(
            pipeline: pipeline, credentials: credentials, presence: presence, deliverer: deliverer, clock: clock,
            logger: logger)
        let client = reactor.open(broker.serverConfiguration(), listener: ears)
        ears.start(client)
        deliverer.start(mqtt: client)
        core.relay.start(mqtt: client)

        let gate = ReadyGate()
        let connections = Connections()
        logger.info("berth \(Version.text)", metadata: ["connections": "\(connections.most)"])
        let health = Health(sequencer: sequencer, isBrokerUp: { ears.isUp }, dataDirectory: folder.path)
        let tus = Tus(pictures: pictures)
        var host: (any PageHost)?
        if let makePages {
            host = try makePages(
                try await Server.entrance(pipeline, keys: keys, tus: tus, settings: settings, clock: clock, logger: logger))
        }
        let pages = PublicSite(live: live, redirects: core.redirects, health: health, host: host, clock: clock)
        let startedAt = clock()
        let certificate = try ServerCertificate(authority: authority, broker: broker, clock: clock, logger: logger)
        let backstage = InternalEndpoints(
            settings: settings, credentials: credentials, live: live, presence: presence, statistics: statistics, pipeline: pipeline,
            health: health, certificateEnds: { certificate.ends }, startedAt: startedAt, clock: clock)
        let front = HTTPFront(pages: pages, tus: tus, backstage: backstage)
        let signed = SignedFront(pipeline: pipeline, connections: connections, asksCertificates: { credentials.asksCertificates })
        let services: [any Service] =
            try fronts(front, signed: signed, pages: pages, certificate: certificate, connections: connections, gate: gate)
            + [
                certificate,
                try adminFront(
                    AdminService(
                        sequencer: sequencer, keys: keys, onboarding: onboarding, notifier: notifier, authority: authority,
                        settings: settings,
                        status: {
                            Server.status(
                                sequencer, presence, live, broker, isConnected: ears.isUp, startedAt: startedAt,
                                certificateEnds: certificate.ends)
                        },
                        calls: { pipeline.callRows(of: $0).map(Server.inEnglishToo) }, links: { presence.snapshot }, clock: clock),
                    connections: connections, gate: gate),
                MaintenanceLoop(
                    sequencer: sequencer, presence: presence, deliverer: deliverer, live: live, notifier: notifier,
                    onboarding: onboarding, statistics: statistics, pictures: pictures, store: store, retention: settings.retention,
                    occupancy: OccupancyRecorder(sequencer: sequencer, store: store, logger: logger), logger: logger, clock: clock,
                    links: links, dataDirectory: settings.dataDirectory, verifies: true),
            ]
        let group = ServiceGroup(
            configuration: .init(
                services: services.map {
                    .init(service: $0, successTerminationBehavior: .gracefullyShutdownGroup)
                }, gracefulShutdownSignals: [.sigterm, .sigint], logger: Server.quiet(logger)))
        let isCutOff = Mutex(false)
        let announce = Task { [settings] in
            let ports = await gate.ports(count: settings.pagePort > 0 ? 3 : 2)
            for _ in 0..<Server.brokerAttempts where !ears.isUp && !Task.isCancelled { try? await Task.sleep(for: .milliseconds(50)) }
            guard !Task.isCancelled else { return }
            guard ears.isUp else {
                isCutOff.withLock { $0 = true }
                return await group.triggerGracefulShutdown()
            }
            ServiceManager.ready()
            onReady(
                Ready(
                    https: "https://127.0.0.1:\(ports["https"] ?? 0)", mqtt: "mqtts://127.0.0.1:\(mqttPort)",
                    ca: authority.trustFile, page: ports["page"].map { "http://127.0.0.1:\($0)/" }))
        }
        defer { announce.cancel() }
        do { try await group.run() } catch {
            broker.stop()
            // A port that somebody took since it was tried is named with its setting.
            if error is IOError { try Ports.check(places) }
            throw error
        }
        ServiceManager.stopping()
        client.close()
        await core.stop()
        broker.stop()
        (store as? any HistoryStore)?.close()
        if isCutOff.withLock({ $0 }) {
            throw DataFolder.Failed(description: "the server cannot connect to its broker; the broker's log is \(broker.logFile)")
        }
    }

    /// The pages get a way to the signed interface, and credentials of their own, which are made at the first start.
    private static func entrance(
        _ pipeline: Pipeline, keys: CredentialService, tus: Tus, settings: ServerSettings, clock: @escaping @Sendable () -> Millis,
        logger: Logger
    ) async throws -> PageEntrance {
        PageEntrance(
            send: { bytes, service in
                await withCheckedContinuation { continuation in
                    pipeline.receive(bytes, .init(service: service)) { reply in
                        // Not on the committer's thread, which everybody waits for.
                        Blocking.run { continuation.resume(returning: pipeline.render(reply)) }
                    }
                }
            }, credentials: try await keys.pages(),
            upload: { url, bytes in
                guard let path = url.range(of: "/upload/") else { return false }
                let request = Request(
                    head: .init(method: .put, scheme: nil, authority: nil, path: String(url[path.lowerBound...])),
                    body: .init(buffer: ByteBuffer(bytes: bytes)))
                return (try? await tus.respond(to: request)).map { (200..<300).contains($0.status.code) } ?? false
            },
            download: { url in
                guard let path = url.range(of: "/picture/") else { return nil }
                return await tus.picture(String(url[path.lowerBound...]))
            }, isTestEnvironment: settings.isTestEnvironment, codes: settings.webCodes, callbackRules: settings.callbackRules, clock: clock,
            logger: logger)
    }

    /// How often the first connection to the broker is looked for, every 50 ms: 30 s.
    private static let brokerAttempts = 600

    private static func places(_ settings: ServerSettings, mqttPort: Int) -> [Ports.Place] {
        [
            Ports.Place(key: "https.port", hosts: [settings.bindAddress], port: settings.httpsPort),
            Ports.Place(key: "mqtt.port", hosts: Ports.brokerHosts(settings.bindAddress), port: mqttPort),
            Ports.Place(key: "page.port", hosts: ["127.0.0.1"], port: settings.pagePort),
        ]
    }

    /// - Parameter waits: stands by while another server leads.
    private func openStore(_ vault: FieldCipher, now: Millis, waits: Bool) throws -> (any Store, CityImage) {
        do throws(StoreError) {
            guard settings.store != "memory" else {
                let store = MemoryStore()
                return (store, try store.load(noncesSince: 0))
            }
            if let address = PostgresAddress(settings.store) {
                let store = try PostgresStore(address, vault: vault, seat: seat(waits: waits), again: settings.startsAgain)
                return (store, try store.load(noncesSince: now - WireLimits.nonceMillis))
            }
            let store = try SQLiteStore(path: folder.database, vault: vault, acceptsLoss: settings.acceptsLoss)
            if settings.startsAgain { try store.mark(movedAt: nil) }
            guard try store.movedAt() == nil else {
                throw StoreError.unavailable(
                    "this city was moved to another store: two copies would sell the same places twice (`--again` goes on with this one)")
            }
            if let loss = store.loss {
                let lineage = try store.beginLineage(at: now, actor: "serve", reason: loss)
                logger.warning("the city goes on without what was lost", metadata: ["loss": "\(loss)", "lineage": "\(lineage)"])
            }
            return (store, try store.load(noncesSince: now - WireLimits.nonceMillis))
        } catch {
            switch error {
            case .wrongKey:
                throw DataFolder.Failed(description: "\(database) was sealed under another master key than the one given")
            case .lost(let what):
                throw DataFolder.Failed(
                    description: """
                        \(what). Put the whole data folder back, or go on without it: `berth serve --accept-loss` begins new down logs and skips \
                        order numbers, and every lot takes a snapshot. After a backup was put back on purpose: `berth restored`.
                        """)
            default: throw DataFolder.Failed(description: "\(database): \(error.reason)")
            }
        }
    }

    /// The name of the store for people: a file, or an address without its password.
    private var database: String { PostgresAddress(settings.store) == nil ? folder.database : PostgresAddress.shown(settings.store) }

    private func fronts(
        _ front: HTTPFront, signed: SignedFront, pages: PublicSite, certificate: ServerCertificate, connections: Connections,
        gate: ReadyGate
    ) throws -> [any Service] {
        let quiet = Server.quiet(logger)
        let https = Application(
            responder: front,
            server: try .tls(.city(connections, signed: signed), tlsConfiguration: certificate.configuration()),
            configuration: .init(address: .hostname(settings.bindAddress, port: settings.httpsPort), serverName: "berth"),
            onServerRunning: { channel in await gate.opened("https", channel.localAddress?.port ?? 0) }, logger: quiet)
        guard settings.pagePort > 0 else { return [https] }
        let page = Application(
            responder: pages.plain,
            server: .city(connections),
            configuration: .init(address: .hostname("127.0.0.1", port: settings.pagePort), serverName: "berth"),
            onServerRunning: { channel in await gate.opened("page", channel.localAddress?.port ?? 0) }, logger: quiet)
        return [https, page]
    }

    private func adminFront(_ desk: AdminService, connections: Connections, gate: ReadyGate) throws -> any Service {
        let path = try folder.socketPath()
        unlink(path)
        umask(0o077)
        return Application(
            responder: Admin(desk: desk),
            server: .city(connections),
            configuration: .init(address: .unixDomainSocket(path: path), serverName: "berth"),
            onServerRunning: { _ in await gate.opened("admin", 0) }, logger: Server.quiet(logger))
    }

    /// The frameworks' own messages, down to what an operator must see.
    static func quiet(_ logger: Logger) -> Logger {
        var quiet = logger
        quiet.logLevel = logger.logLevel <= .debug ? logger.logLevel : max(logger.logLevel, .warning)
        return quiet
    }

    static func freePort() throws -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(descriptor, pointer, length) == 0 && getsockname(descriptor, pointer, &length) == 0
            }
        }
        guard result else { throw DataFolder.Failed(description: "no free port on 127.0.0.1") }
        return Int(UInt16(bigEndian: address.sin_port))
    }

    private static func status(
        _ sequencer: Sequencer, _ presence: Presence, _ live: LiveFeed, _ broker: EmbeddedBroker, isConnected: Bool, startedAt: Millis,
        certificateEnds: Millis
    ) -> JSON {
        let links = presence.snapshot
        let totals = live.totals
        let (lots, active, queued) = sequencer.readUndurable { city in
            (
                city.lots.count, city.lots.values.reduce(0) { $0 + $1.inForce.count },
                city.lots.values.reduce(0) { $0 + $1.downLast - $1.downAck }
            )
        }
        return [
            "lots": .int(lots), "online": .int(links.values.filter(\.isOnline).count), "activeOrders": .int(active),
            "queued": .int(queued),
            "created": .int(totals.created), "entered": .int(totals.entered), "left": .int(totals.left),
            "cancelled": .int(totals.cancelled), "noShows": .int(totals.noShows), "refused": .int(totals.refused),
            "brokerPid": .int(Int(broker.processIdentifier ?? 0)), "mqtt": .bool(isConnected), "version": .string(Version.text),
            "startedAt": .int(startedAt), "certificateEnds": .int(certificateEnds),
        ]
    }

    /// A call of `sys.call.list` with the meaning of its code in English as well.
    private static func inEnglishToo(_ call: JSON) -> JSON {
        var row = call.objectValue ?? JSONObject()
        row.append("meaning", .string(call["code"]?.intValue.flatMap { Dialect.current.codes[Int($0)]?.en } ?? ""))
        return .object(row)
    }

    /// Looks through a stopped server's database (`berth verify`).
    /// - Returns: the differences; empty when all is as it must be.
    public static func verify(settings: ServerSettings, logger: Logger) throws -> [String] {
        let (store, _) = try openDatabase(settings, logger)
        defer { store.close() }
        var findings = try store.verify(settings.retention, now: SystemClock.now(), isWanted: { true })
        if let loss = (store as? SQLiteStore)?.loss { findings.insert(loss, at: 0) }
        return findings
    }

    /// A backup was put back (`berth restored`): order numbers are skipped, and every lot's down log begins anew.
    /// - Returns: the number of the lineage.
    public static func restored(settings: ServerSettings, logger: Logger) throws -> Int64 {
        let (store, _) = try openDatabase(settings, logger)
        defer { store.close() }
        return try store.beginLineage(
            at: SystemClock.now(), actor: "desk", reason: (store as? SQLiteStore)?.loss ?? "a backup was put back")
    }

    private static func openDatabase(_ settings: ServerSettings, _ logger: Logger) throws -> (any HistoryStore, Server) {
        let server = Server(settings: settings, logger: logger)
        try server.folder.open()
        let vault = FieldCipher(masterKey: try server.folder.masterKey())
        do throws(StoreError) {
            if let address = PostgresAddress(settings.store) {
                return (try PostgresStore(address, vault: vault, seat: server.seat(waits: false)), server)
            }
            return (try SQLiteStore(path: server.folder.database, vault: vault, acceptsLoss: true), server)
        } catch { throw DataFolder.Failed(description: "\(server.database): \(error.reason)") }
    }

    /// Works on a stopped server's folder: `berth keys issue` does so when nobody listens on the admin socket.
    public static func runOffline(_ command: JSON, settings: ServerSettings, logger: Logger) async throws -> JSON {
        let server = Server(settings: settings, logger: logger)
        try server.folder.open(makes: false)
        let vault = FieldCipher(masterKey: try server.folder.masterKey())
        let (store, image) = try server.openStore(vault, now: SystemClock.now(), waits: false)
        let clock: @Sendable () -> Millis = { SystemClock.now() }
        let sequencer = Sequencer(
            store: store, image: image, policy: settings.policy, newEpoch: "d0",
            reviewsLots: settings.reviewsLots, clock: clock, logger: logger)
        sequencer.start([])
        defer { sequencer.stop() }
        let keys = CredentialService(image.credentials, sequencer: sequencer, broker: nil, settings: settings, logger: logger)
        let authority = LocalCA(directory: server.folder.tls, settings: settings)
        try authority.prepare(now: clock())
        let desk = AdminService(
            sequencer: sequencer, keys: keys,
            onboarding: Onboarding(
                sequencer: sequencer, presence: Presence(), credentials: keys.book, settings: settings, clock: clock),
            notifier: nil, authority: authority, settings: settings, status: { [:] }, calls: { _ in [] }, links: { [:] }, clock: clock)
        return try await desk.run(command)
    }
}

/// Waits until every front listens.
actor ReadyGate {
    private var open: [String: Int] = [:]
    private var waiting: (Int, CheckedContinuation<[String: Int], Never>)?

    func opened(_ name: String, _ port: Int) {
        open[name] = port
        if let (count, continuation) = waiting, open.count >= count {
            waiting = nil
            continuation.resume(returning: open)
        }
    }

    func ports(count: Int) async -> [String: Int] {
        if open.count >= count { return open }
        return await withCheckedContinuation { waiting = (count, $0) }
    }
}
