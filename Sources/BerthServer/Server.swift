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
import NIOPosix
import NIOSSL
import ServiceLifecycle
import Synchronization

/// The city's server: puts the parts together, and is the only place that names the concrete ones.
public final class Server: Sendable {
    private var settings: ServerSettings { prepared }
    /// The settings with what only a running server knows: its own address.
    private let prepared: ServerSettings
    private let folder: DataFolder
    private let logger: Logger

    public init(settings: ServerSettings, logger: Logger) {
        var settings = settings
        if settings.httpsPort == 0, let port = try? Server.freePort() { settings.httpsPort = port }
        if settings.publicURL.isEmpty { settings.publicURL = "https://127.0.0.1:\(settings.httpsPort)" }
        prepared = settings
        folder = DataFolder(settings.dataDirectory)
        self.logger = logger
    }

    /// What a client must know, once everything listens.
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

    /// Lets tasks run on the network's own threads: a request then needs no change of thread between its bytes and its decision.
    /// Called once, before any task does anything.
    public static func shareThreads() {
        _ = NIOSingletons.unsafeTryInstallSingletonPosixEventLoopGroupAsConcurrencyGlobalExecutor()
    }

    /// Runs until SIGTERM or SIGINT; then stops listening, makes everything durable and ends the broker.
    public func run(onReady: @escaping @Sendable (Ready) -> Void) async throws {
        Limits.check()
        berth_survive_full_disk()
        berth_keep_memory()
        for change in try folder.open() { logger.notice("rights of the data folder: \(change)") }
        let mqttPort = settings.mqttPort == 0 ? try Server.freePort() : settings.mqttPort
        Broker.endLeftover(directory: folder.broker, logger: logger)
        let places = Server.places(settings, mqttPort: mqttPort)
        try Ports.check(places)
        let authority = Authority(directory: folder.tls)
        try authority.prepare(directory: folder.tls, hosts: ["127.0.0.1", "localhost", "::1"] + extraHosts())
        let clock: @Sendable () -> Millis = { Ambient.now() }
        let vault = Vault(masterKey: try folder.masterKey())
        let (store, image) = try openStore(vault, now: clock())
        let sequencer = Sequencer(
            store: store, image: image, policy: settings.policy,
            newEpoch: "d" + String(clock(), radix: 36), reviewsLots: settings.reviewsLots, clock: clock, logger: logger)
        let broker = Broker(
            directory: folder.broker, port: mqttPort, bindAddress: settings.bindAddress, authority: authority,
            logger: logger)
        let keys = KeyKeeper(image.credentials, sequencer: sequencer, broker: broker, settings: settings, logger: logger)
        let credentials = keys.book
        let presence = Presence(clock: clock)
        let callbacks = CallbackClient(rules: settings.callbackRules)
        let relay = Relay(credentials: credentials, presence: presence, callbacks: callbacks, clock: clock)
        let deliverer = Deliverer(
            sequencer: sequencer, credentials: credentials, presence: presence, relay: relay, callbacks: callbacks, clock: clock,
            logger: logger)
        let statistics = try Statistics(store: store, logger: logger)
        let onboarding = Onboarding(
            sequencer: sequencer, presence: presence, credentials: credentials, settings: settings, clock: clock)
        let notifier = Notifier(
            sequencer: sequencer, credentials: credentials, callbacks: callbacks, retrySeconds: settings.callbackRetrySeconds,
            clock: clock, logger: logger)
        let pictures = try PictureStore(
            directory: folder.pictures, store: store, addresses: AddressSigner(vault: vault), settings: settings, clock: clock)
        let redirects = Redirects(sequencer: sequencer, credentials: credentials, settings: settings, clock: clock)
        let pipeline = Pipeline(
            sequencer: sequencer, keys: keys, presence: presence, deliverer: deliverer, relay: relay, pictures: pictures,
            redirects: redirects, statistics: statistics, onboarding: onboarding, settings: settings, clock: clock, logger: logger)
        for (appId, nonce, _) in image.nonces { _ = pipeline.nonces.insert(appId: appId, nonce: nonce, now: Ambient.monotonic()) }
        let live = Live(sequencer: sequencer, presence: presence)
        try broker.start(image.credentials)

        sequencer.start([deliverer, live, notifier, statistics, onboarding])
        let lineage = Lineage(sequencer: sequencer, clock: clock, logger: logger)
        deliverer.start(lineage: lineage)
        do throws(StoreError) { try lineage.begin() } catch { throw DataFolder.Failed(description: error.reason) }
        presence.start(LinkWatch(deliverer: deliverer, live: live, sequencer: sequencer))
        let reactor = MQTTReactor(logger: logger)
        let ears = MQTTFront(
            pipeline: pipeline, credentials: credentials, presence: presence, deliverer: deliverer, clock: clock,
            logger: logger)
        let client = reactor.open(broker.serverConfiguration(), listener: ears)
        ears.start(client)
        deliverer.start(mqtt: client)
        relay.start(mqtt: client)

        let gate = ReadyGate()
        let connections = Connections()
        logger.info("connections", metadata: ["most": "\(connections.most)"])
        let pages = Pages(live: live, redirects: redirects, clock: clock)
        let backstage = Backstage(
            settings: settings, credentials: credentials, live: live, presence: presence, statistics: statistics, clock: clock)
        let front = HTTPFront(
            pipeline: pipeline, pages: pages, tus: Tus(pictures: pictures), backstage: backstage, connections: connections,
            asksCertificates: { credentials.asksCertificates })
        let services: [any Service] =
            try fronts(front, pages: pages, authority: authority, connections: connections, gate: gate)
            + [
                try adminFront(
                    Desk(
                        sequencer: sequencer, keys: keys, onboarding: onboarding, notifier: notifier, authority: authority,
                        settings: settings, status: { Server.status(sequencer, presence, live, broker, isConnected: ears.isUp) },
                        clock: clock), connections: connections, gate: gate),
                Ticker(
                    sequencer: sequencer, presence: presence, deliverer: deliverer, live: live, notifier: notifier,
                    onboarding: onboarding, statistics: statistics, pictures: pictures, store: store, retention: settings.retention,
                    occupancy: OccupancyKeeper(sequencer: sequencer, store: store, logger: logger), logger: logger, clock: clock,
                    dataDirectory: settings.dataDirectory, verifies: true),
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
            onReady(
                Ready(
                    https: "https://127.0.0.1:\(ports["https"] ?? 0)", mqtt: "mqtts://127.0.0.1:\(mqttPort)",
                    ca: authority.caFile, page: ports["page"].map { "http://127.0.0.1:\($0)/" }))
        }
        defer { announce.cancel() }
        do { try await group.run() } catch {
            broker.stop()
            // A port that somebody took since it was tried is named with its setting.
            if error is IOError { try Ports.check(places) }
            throw error
        }
        client.close()
        statistics.flush()
        await callbacks.close()
        sequencer.stop()
        broker.stop()
        (store as? SQLiteStore)?.close()
        if isCutOff.withLock({ $0 }) {
            throw DataFolder.Failed(description: "the server cannot connect to its broker; the broker's log is \(broker.logFile)")
        }
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

    private func extraHosts() -> [String] {
        settings.bindAddress == "127.0.0.1" || settings.bindAddress == "0.0.0.0" ? [] : [settings.bindAddress]
    }

    private func openStore(_ vault: Vault, now: Millis) throws -> (any Store, CityImage) {
        do throws(StoreError) {
            guard settings.store != "memory" else {
                let store = MemoryStore()
                return (store, try store.load(noncesSince: 0))
            }
            let store = try SQLiteStore(path: folder.database, vault: vault, acceptsLoss: settings.acceptsLoss)
            if let loss = store.loss {
                let lineage = try store.beginLineage(at: now, actor: "serve", reason: loss)
                logger.warning("the city goes on without what was lost", metadata: ["loss": "\(loss)", "lineage": "\(lineage)"])
            }
            return (store, try store.load(noncesSince: now - WireLimits.nonceMillis))
        } catch {
            switch error {
            case .wrongKey:
                throw DataFolder.Failed(description: "\(folder.database) was sealed under another master key than the one given")
            case .lost(let what):
                throw DataFolder.Failed(
                    description: """
                        \(what). Put the whole data folder back, or go on without it: `berth serve --accept-loss` begins new down logs and skips \
                        order numbers, and every lot takes a snapshot. After a backup was put back on purpose: `berth restored`.
                        """)
            default: throw DataFolder.Failed(description: "\(folder.database): \(error.reason)")
            }
        }
    }

    private func fronts(
        _ front: HTTPFront, pages: Pages, authority: Authority, connections: Connections, gate: ReadyGate
    ) throws -> [any Service] {
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMFile(authority.certificateFile).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: authority.keyFile, format: .pem)))
        tls.minimumTLSVersion = .tlsv12
        // Whoever has a certificate of our authority may show it; who must, is the credential's affair.
        tls.certificateVerification = .optionalVerification
        tls.trustRoots = .file(authority.caFile)
        let quiet = Server.quiet(logger)
        let https = Application(
            responder: front,
            server: try .tls(
                .http1(
                    configuration: .init(
                        additionalChannelHandlers: [ConnectionGuard(connections: connections, noRoom: front.noRoom)],
                        idleTimeout: .seconds(Limits.idleSeconds))), tlsConfiguration: tls),
            configuration: .init(address: .hostname(settings.bindAddress, port: settings.httpsPort), serverName: "berth"),
            onServerRunning: { channel in await gate.opened("https", channel.localAddress?.port ?? 0) }, logger: quiet)
        guard settings.pagePort > 0 else { return [https] }
        let page = Application(
            responder: pages,
            server: .http1(
                configuration: .init(
                    additionalChannelHandlers: [ConnectionGuard(connections: connections)], idleTimeout: .seconds(Limits.idleSeconds))),
            configuration: .init(address: .hostname("127.0.0.1", port: settings.pagePort), serverName: "berth"),
            onServerRunning: { channel in await gate.opened("page", channel.localAddress?.port ?? 0) }, logger: quiet)
        return [https, page]
    }

    private func adminFront(_ desk: Desk, connections: Connections, gate: ReadyGate) throws -> any Service {
        let path = try folder.socketPath()
        unlink(path)
        umask(0o077)
        return Application(
            responder: Admin(desk: desk),
            server: .http1(
                configuration: .init(
                    additionalChannelHandlers: [ConnectionGuard(connections: connections)], idleTimeout: .seconds(Limits.idleSeconds))),
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
        _ sequencer: Sequencer, _ presence: Presence, _ live: Live, _ broker: Broker, isConnected: Bool
    ) -> JSON {
        let links = presence.snapshot
        let totals = live.totals
        let (lots, active) = sequencer.peek { city in
            (city.lots.count, city.lots.values.reduce(0) { $0 + $1.inForce.count })
        }
        return [
            "lots": .int(lots), "online": .int(links.values.filter(\.isOnline).count), "activeOrders": .int(active),
            "created": .int(totals.created), "entered": .int(totals.entered), "left": .int(totals.left),
            "cancelled": .int(totals.cancelled), "noShows": .int(totals.noShows), "refused": .int(totals.refused),
            "brokerPid": .int(Int(broker.processIdentifier ?? 0)), "mqtt": .bool(isConnected),
        ]
    }

    /// Looks through a stopped server's database (`berth verify`).
    /// - Returns: what differs; empty when all is as it must be.
    public static func verify(settings: ServerSettings, logger: Logger) throws -> [String] {
        let (store, _) = try openDatabase(settings, logger)
        defer { store.close() }
        var findings = try store.verify(settings.retention, now: Ambient.now())
        if let loss = store.loss { findings.insert(loss, at: 0) }
        return findings
    }

    /// A backup was put back (`berth restored`): order numbers are skipped, and every lot's down log begins anew.
    /// - Returns: the number of the lineage.
    public static func restored(settings: ServerSettings, logger: Logger) throws -> Int64 {
        let (store, _) = try openDatabase(settings, logger)
        defer { store.close() }
        return try store.beginLineage(at: Ambient.now(), actor: "desk", reason: store.loss ?? "a backup was put back")
    }

    private static func openDatabase(_ settings: ServerSettings, _ logger: Logger) throws -> (SQLiteStore, Server) {
        let server = Server(settings: settings, logger: logger)
        try server.folder.open()
        let vault = Vault(masterKey: try server.folder.masterKey())
        do throws(StoreError) {
            return (try SQLiteStore(path: server.folder.database, vault: vault, acceptsLoss: true), server)
        } catch { throw DataFolder.Failed(description: "\(server.folder.database): \(error.reason)") }
    }

    /// Works on a stopped server's folder: what `berth keys issue` does when nobody listens on the admin socket.
    public static func runOffline(_ command: JSON, settings: ServerSettings, logger: Logger) async throws -> JSON {
        let server = Server(settings: settings, logger: logger)
        try server.folder.open(makes: false)
        let vault = Vault(masterKey: try server.folder.masterKey())
        let (store, image) = try server.openStore(vault, now: Ambient.now())
        let clock: @Sendable () -> Millis = { Ambient.now() }
        let sequencer = Sequencer(
            store: store, image: image, policy: settings.policy, newEpoch: "d0",
            reviewsLots: settings.reviewsLots, clock: clock, logger: logger)
        sequencer.start([])
        defer { sequencer.stop() }
        let keys = KeyKeeper(image.credentials, sequencer: sequencer, broker: nil, settings: settings, logger: logger)
        let authority = Authority(directory: server.folder.tls)
        try authority.prepare(directory: server.folder.tls, hosts: ["127.0.0.1", "localhost", "::1"] + server.extraHosts())
        let desk = Desk(
            sequencer: sequencer, keys: keys,
            onboarding: Onboarding(
                sequencer: sequencer, presence: Presence(), credentials: keys.book, settings: settings, clock: clock),
            notifier: nil, authority: authority, settings: settings, status: { [:] }, clock: clock)
        return try await desk.run(command)
    }
}

/// Passes on that a lot has come or gone.
private final class LinkWatch: PresenceListener {
    private let deliverer: Deliverer
    private let live: Live
    private let sequencer: Sequencer

    init(deliverer: Deliverer, live: Live, sequencer: Sequencer) {
        self.deliverer = deliverer
        self.live = live
        self.sequencer = sequencer
    }

    func linkChanged(_ parkCode: String, isOnline: Bool, isTold: Bool, now: Millis) {
        if isOnline { deliverer.reachable(parkCode) } else { deliverer.unreachable(parkCode) }
        live.linkChanged(parkCode)
        guard isTold else { return }
        sequencer.perform(
            .raise(Notice(parkCode: parkCode, eventType: isOnline ? 6001 : 6002, occurredAt: now)), now: now)
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

/// Time, once a second: deadlines, silence, sendings to repeat; twice a second the viewers; now and then the memory.
struct Ticker: Service {
    let sequencer: Sequencer
    let presence: Presence
    let deliverer: Deliverer
    let live: Live
    let notifier: Notifier
    let onboarding: Onboarding
    let statistics: Statistics
    let pictures: PictureStore
    let store: any Store
    let retention: Retention
    let occupancy: OccupancyKeeper
    let logger: Logger
    let clock: @Sendable () -> Millis
    let dataDirectory: String
    /// Looks through the database after the start.
    let verifies: Bool
    private let isUpkeeping = Flag()
    private let isCounting = Flag()
    private let isStopping = Flag()
    private let diskWasFull = Flag()

    init(
        sequencer: Sequencer, presence: Presence, deliverer: Deliverer, live: Live, notifier: Notifier, onboarding: Onboarding,
        statistics: Statistics, pictures: PictureStore, store: any Store, retention: Retention, occupancy: OccupancyKeeper, logger: Logger,
        clock: @escaping @Sendable () -> Millis, dataDirectory: String, verifies: Bool
    ) {
        self.sequencer = sequencer
        self.presence = presence
        self.deliverer = deliverer
        self.live = live
        self.notifier = notifier
        self.onboarding = onboarding
        self.statistics = statistics
        self.pictures = pictures
        self.store = store
        self.retention = retention
        self.occupancy = occupancy
        self.logger = logger
        self.clock = clock
        self.dataDirectory = dataDirectory
        self.verifies = verifies
    }

    /// Deletes what is over: on a thread of its own, since it looks at everything; one such job at a time.
    private func upkeep(isDaily: Bool, now: Millis) {
        guard !isUpkeeping.set(true) else { return }
        Blocking.write { [self] in
            defer { isUpkeeping.set(false) }
            pictures.retire(now: now)
            do throws(StoreError) {
                try store.prune(retention, now: now)
                if isDaily { try store.retire(retention, now: now) }
            } catch { logger.error("what is over could not be deleted", metadata: ["why": "\(error.reason)"]) }
        }
    }

    private func every(_ job: @escaping @Sendable () -> Void, _ isRunning: Flag) {
        guard !isRunning.set(true) else { return }
        Blocking.write {
            job()
            isRunning.set(false)
        }
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var beat = 0
            var deadlines = DeadlineClock(wall: clock(), tick: Ambient.monotonic())
            upkeep(isDaily: true, now: clock())
            verifySoon()
            while !Task.isCancelled {
                try? await Task.sleep(for: .milliseconds(500))
                let now = clock()
                let deadline = deadlines.now(wall: now, tick: Ambient.monotonic())
                live.tick(now: now)
                beat += 1
                guard beat % 2 == 0 else { continue }
                deliverer.tick()
                presence.sweep()
                PaymentChannel.tick(sequencer, now: now)
                notifier.tick()
                onboarding.tick(now: now)
                if beat % 10 == 0 {
                    every(
                        { [self] in
                            statistics.sample(sequencer.peek { $0.lots.values.map { ($0.parkCode, $0.saturation.perMille) } }, now: now)
                            statistics.flush()
                            let (links, tick) = (presence.snapshot, Ambient.monotonic())
                            occupancy.tick(now: now) { links[$0].map { !$0.isSilent(tick) } ?? false }
                            watchDisk(now: now)
                        }, isCounting)
                }
                let due = sequencer.peek { city in city.lots.keys.filter { city.isDue($0, at: deadline) } }
                for parkCode in due { sequencer.perform(.expire(parkCode: parkCode), now: deadline) }
                if beat % 120 == 0 {
                    let ended = min(now, deadline) - Limits.keepEndedMillis
                    for parkCode in sequencer.peek({ Array($0.lots.keys) }) { sequencer.peek { $0.forget(parkCode, endedBefore: ended) } }
                    sequencer.peek { $0.forgetShared(endedBefore: ended) }
                }
                if beat % 7200 == 0 { upkeep(isDaily: beat % 172_800 == 0, now: now) }
            }
            isStopping.set(true)
        }
        // A viewer's stream has no end of its own; the fronts wait for it.
        live.finish()
    }

    /// Event 6011 for a data disk that is nearly full; once for each time.
    private func watchDisk(now: Millis) {
        guard let usage = DiskUsage(path: dataDirectory) else { return }
        let isFull = usage.percent >= Limits.diskPercentMax
        guard diskWasFull.set(isFull) != isFull, isFull else { return }
        logger.warning("the data disk is nearly full", metadata: ["percent": "\(usage.percent)", "folder": "\(dataDirectory)"])
        sequencer.perform(.raise(Notice(parkCode: "", eventType: 6011, occurredAt: now, detail: "\(usage.percent)")), now: now)
    }

    /// After a start, the database is looked through beside the work: what differs stands in the log.
    private func verifySoon() {
        guard verifies, let store = store as? SQLiteStore else { return }
        let (retention, clock, logger, isStopping) = (retention, clock, logger, isStopping)
        DispatchQueue(label: "berth.verify", qos: .background).asyncAfter(deadline: .now() + .seconds(Limits.verifyAfterSeconds)) {
            guard !isStopping.isSet else { return }
            do throws(StoreError) {
                let findings = try store.verify(retention, now: clock()) { !isStopping.isSet }
                for finding in findings {
                    logger.error("the database is not what its journal makes of it", metadata: ["finding": "\(finding)"])
                }
                if findings.isEmpty { logger.info("the database is what its journal makes of it") }
            } catch { logger.error("the database could not be looked through", metadata: ["why": "\(error.reason)"]) }
        }
    }
}

/// The clock of deadlines: the server's own, except that a step forward lets no time pass that did not pass. It catches up by a tenth, so that
/// a hold of five minutes lasts at least four and a half; after a step back it stands with the server's clock.
struct DeadlineClock {
    private var time: Millis
    private var tick: Int64

    init(wall: Millis, tick: Int64) { (time, self.tick) = (wall, tick) }

    /// - Parameters:
    ///   - wall: the server's clock, ms since 1970.
    ///   - tick: a clock that never goes back, ms.
    mutating func now(wall: Millis, tick: Int64) -> Millis {
        let passed = max(0, tick - self.tick)
        self.tick = tick
        time = min(wall, time + passed + passed / 10 + 1)
        return time
    }
}

/// A flag that several threads set.
final class Flag: Sendable {
    private let value: Atomic<Bool>
    init(_ value: Bool = false) { self.value = Atomic(value) }
    var isSet: Bool { value.load(ordering: .acquiring) }
    /// - Returns: what it was.
    @discardableResult func set(_ new: Bool) -> Bool { value.exchange(new, ordering: .acquiringAndReleasing) }
}

/// How full the disk of a folder is.
struct DiskUsage {
    let percent: Int

    init?(path: String) {
        var figures = statvfs()
        guard statvfs(path, &figures) == 0, figures.f_blocks > 0 else { return nil }
        let used = Double(figures.f_blocks - figures.f_bavail)
        percent = Int(used * 100 / Double(figures.f_blocks))
    }
}
