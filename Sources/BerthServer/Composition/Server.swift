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
        /// The server leads its city; otherwise it carries requests to the one that does.
        public var leads = true
        public var https: String
        public var mqtt: String?
        public var ca: String
        public var page: String?

        public var json: JSON {
            .compact([
                ("event", .string(leads ? "ready" : "standing by")), ("https", .string(https)), ("mqtt", .optional(mqtt)),
                ("ca", .string(ca)),
                ("page", .optional(page)),
            ])
        }
    }

    /// Keeps what swift-metrics is told for `/metrics`; once, before anything is measured.
    public static func collectMetrics() { MetricsSystem.bootstrap(MetricsRegistry.shared) }

    /// Runs until SIGTERM or SIGINT; then stops listening, makes everything durable and ends the broker.
    /// - Parameters:
    ///   - makePages: makes the pages of people; nil for a server without them.
    ///   - onReady: told when everything listens; and before that, of one of several servers, that it carries to the leader.
    /// - Returns: the exit code: 0, or that of a server that has handed its city over and wants to be started again.
    public func run(
        makePages: (@Sendable (PageEntrance) throws -> any PageHost)? = nil, onReady: @escaping @Sendable (Ready) -> Void
    ) async throws -> Int32 {
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
        let masterKey = try folder.masterKey()
        let broker = EmbeddedBroker(
            directory: folder.broker, port: mqttPort, bindAddress: settings.bindAddress, authority: authority, logger: logger)
        let identity = PostgresAddress(settings.store) == nil ? nil : try LinkIdentity(masterKey: masterKey)
        let carrier = identity.map { Carrier(link: LeaderLink(identity: $0), clock: clock, logger: logger) }
        let startedAt = clock()
        let ending = Ending()
        let node = Office.Node(
            settings: settings, folder: folder, authority: authority, vault: FieldCipher(masterKey: masterKey), broker: broker,
            certificate: try ServerCertificate(authority: authority, broker: broker, clock: clock, logger: logger),
            connections: Connections(hasLink: carrier != nil),
            door: Door(carrier: carrier, settings: settings, startedAt: startedAt), gate: ReadyGate(), startedAt: startedAt, clock: clock,
            logger: logger, onStepDown: { ending.stepDown() })
        logger.info("berth \(Version.text)", metadata: ["connections": "\(node.connections.most)"])
        let announce = announcing(node, mqttPort: mqttPort, onReady)
        let seat = OfficeSeat(node) { [self] seat in
            let (store, image) = try await openStore(node, seat, onStandby: { announce(false) })
            return try await Office(node, store: store, image: image, makePages: makePages)
        }
        // A server that is alone with its city listens when it can answer.
        if carrier == nil { try await seat.open() }
        let group = ServiceGroup(
            configuration: .init(
                services: (try doors(node, identity) + [node.certificate, seat]).map {
                    .init(service: $0, successTerminationBehavior: .gracefullyShutdownGroup)
                }, gracefulShutdownSignals: [.sigterm, .sigint], logger: Server.quiet(logger)))
        ending.begin { Task { await group.triggerGracefulShutdown() } }
        let watch = Task {
            _ = await node.gate.ports(["admin"])
            for _ in 0..<Server.brokerAttempts where seat.office?.isConnected != true && !Task.isCancelled {
                try? await Task.sleep(for: .milliseconds(50))
            }
            guard !Task.isCancelled else { return }
            guard seat.office?.isConnected == true else { return ending.cutOff() }
            announce(true)
        }
        defer { watch.cancel() }
        do { try await group.run() } catch {
            broker.stop()
            // A port that somebody took since it was tried is named with its setting.
            if error is IOError { try Ports.check(places) }
            throw error
        }
        ServiceManager.stopping()
        await carrier?.close()
        await seat.office?.close()
        if ending.isCutOff {
            throw DataFolder.Failed(description: "the server cannot connect to its broker; the broker's log is \(broker.logFile)")
        }
        return ending.hasSteppedDown ? Server.lostOffice : 0
    }

    /// Why a server ends by itself.
    private final class Ending: Sendable {
        private struct State {
            var end: (@Sendable () -> Void)?
            var isCutOff = false
            var hasSteppedDown = false
        }
        private let state = Mutex(State())

        func begin(_ end: @escaping @Sendable () -> Void) { state.withLock { $0.end = end } }
        /// The server cannot connect to its broker.
        func cutOff() {
            state.withLock { state in
                state.isCutOff = true; return state.end
            }?()
        }
        /// The city is handed to another server.
        func stepDown() {
            state.withLock { state in
                state.hasSteppedDown = true; return state.end
            }?()
        }
        var isCutOff: Bool { state.withLock { $0.isCutOff } }
        var hasSteppedDown: Bool { state.withLock { $0.hasSteppedDown } }
    }

    /// Tells the service manager and the caller that the server leads (`true`), or that it carries to the leader.
    private func announcing(_ node: Office.Node, mqttPort: Int, _ onReady: @escaping @Sendable (Ready) -> Void) -> @Sendable (Bool) -> Void
    {
        let names = settings.pagePort > 0 ? ["https", "page"] : ["https"]
        return { leads in
            Task {
                let ports = await node.gate.ports(names)
                if leads { ServiceManager.ready() } else { ServiceManager.standingBy() }
                onReady(
                    Ready(
                        leads: leads, https: "https://127.0.0.1:\(ports["https"] ?? 0)",
                        mqtt: leads ? "mqtts://127.0.0.1:\(mqttPort)" : nil,
                        ca: node.authority.trustFile, page: ports["page"].map { "http://127.0.0.1:\($0)/" }))
            }
        }
    }

    /// The pages get a way to the signed interface, and credentials of their own, which are made at the first start.
    static func entrance(
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
            Ports.Place(
                key: "cluster.port", hosts: [settings.bindAddress], port: PostgresAddress(settings.store) == nil ? 0 : settings.clusterPort),
        ]
    }

    /// Opens the store on a thread that may wait: a server stands by while another one leads.
    private func openStore(
        _ node: Office.Node, _ seat: OfficeSeat, onStandby: @escaping @Sendable () -> Void
    ) async throws -> (any Store, CityImage) {
        guard let carrier = node.door.carrier else { return try openStore(node.vault, now: node.clock(), seat: nil) }
        let port = await node.gate.ports(["link"])["link"] ?? 0
        var place = self.seat(waits: true)
        place.link = "\(linkHost):\(port)"
        place.onLeader = { carrier.link.note($0) }
        place.isWanted = { !seat.isStopping }
        let log = place.log
        place.log = { line in
            log(line)
            if line.hasPrefix("standing by") { onStandby() }
        }
        return try await withCheckedThrowingContinuation { [place] continuation in
            Thread { [self] in continuation.resume(with: Result { try openStore(node.vault, now: node.clock(), seat: place) }) }.start()
        }
    }

    /// - Parameter seat: the part among several servers; nil where no other server is waited for.
    private func openStore(_ vault: FieldCipher, now: Millis, seat: PostgresStore.Seat?) throws -> (any Store, CityImage) {
        do throws(StoreError) {
            guard settings.store != "memory" else {
                let store = MemoryStore()
                return (store, try store.load(noncesSince: 0))
            }
            if let address = PostgresAddress(settings.store) {
                let store = try PostgresStore(address, vault: vault, seat: seat ?? self.seat(waits: false), again: settings.startsAgain)
                // A standby has waited, for a week perhaps.
                return (store, try store.load(noncesSince: SystemClock.now() - WireLimits.nonceMillis))
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

    /// The ports that listen while the server lives, whether it leads or not.
    private func doors(_ node: Office.Node, _ identity: LinkIdentity?) throws -> [any Service] {
        let quiet = Server.quiet(logger)
        func opened(_ name: String) -> @Sendable (any Channel) async -> Void {
            { [gate = node.gate] channel in await gate.opened(name, channel.localAddress?.port ?? 0) }
        }
        var doors: [any Service] = [
            Application(
                responder: Door.Outside(door: node.door),
                server: try .tls(.city(node.connections, signed: node.door.signed), tlsConfiguration: node.certificate.configuration()),
                configuration: .init(address: .hostname(settings.bindAddress, port: settings.httpsPort), serverName: "berth"),
                onServerRunning: opened("https"), logger: quiet)
        ]
        if settings.pagePort > 0 {
            doors.append(
                Application(
                    responder: Door.Page(door: node.door), server: .city(node.connections),
                    configuration: .init(address: .hostname("127.0.0.1", port: settings.pagePort), serverName: "berth"),
                    onServerRunning: opened("page"), logger: quiet))
        }
        if let identity {
            doors.append(
                Application(
                    responder: Door.Inside(door: node.door),
                    server: try .tls(.city(.link(), signed: node.door.signed, isLink: true), tlsConfiguration: identity.server),
                    configuration: .init(address: .hostname(settings.bindAddress, port: settings.clusterPort), serverName: "berth"),
                    onServerRunning: opened("link"), logger: quiet))
        }
        return doors
    }

    /// The host at which other servers reach this one.
    private var linkHost: String {
        let host = settings.clusterHost.isEmpty ? settings.bindAddress : settings.clusterHost
        if ["0.0.0.0", "::"].contains(host) { return ProcessInfo.processInfo.hostName }
        return host.contains(":") ? "[\(host)]" : host
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

    static func status(
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
    static func inEnglishToo(_ call: JSON) -> JSON {
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
                var seat = server.seat(waits: false)
                seat.acceptsLoss = true
                return (try PostgresStore(address, vault: vault, seat: seat), server)
            }
            return (try SQLiteStore(path: server.folder.database, vault: vault, acceptsLoss: true), server)
        } catch { throw DataFolder.Failed(description: "\(server.database): \(error.reason)") }
    }

    /// Works on a stopped server's folder: `berth keys issue` does so when nobody listens on the admin socket.
    public static func runOffline(_ command: JSON, settings: ServerSettings, logger: Logger) async throws -> JSON {
        let server = Server(settings: settings, logger: logger)
        try server.folder.open(makes: false)
        let vault = FieldCipher(masterKey: try server.folder.masterKey())
        let (store, image) = try server.openStore(vault, now: SystemClock.now(), seat: nil)
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

/// The ports that listen by now, by name; and those who wait for some of them.
actor ReadyGate {
    private var open: [String: Int] = [:]
    private var waiting: [(names: [String], continuation: CheckedContinuation<[String: Int], Never>)] = []

    func opened(_ name: String, _ port: Int) {
        open[name] = port
        let ready = waiting.filter { isOpen($0.names) }
        waiting.removeAll { isOpen($0.names) }
        for (_, continuation) in ready { continuation.resume(returning: open) }
    }

    private func isOpen(_ names: [String]) -> Bool { names.allSatisfy { open[$0] != nil } }

    /// Returns when all of these listen.
    func ports(_ names: [String]) async -> [String: Int] {
        if isOpen(names) { return open }
        return await withCheckedContinuation { waiting.append((names, $0)) }
    }
}
