import BerthCore
public import BerthLink
import BerthStore
public import BerthWire
import CBerthPosix
import Foundation
import Hummingbird
import HummingbirdTLS
public import Logging
import NIOCore
import NIOPosix
import NIOSSL
import ServiceLifecycle
import Synchronization

/// The city's server: puts the parts together, and is the only place that names the concrete ones.
public final class Server: Sendable {
    private let settings: ServerSettings
    private let folder: DataFolder
    private let logger: Logger

    public init(settings: ServerSettings, logger: Logger) {
        self.settings = settings
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

    /// Lets tasks run on the network's own threads: a request then needs no change of thread between its bytes and its decision.
    /// Called once, before any task does anything.
    public static func shareThreads() {
        _ = NIOSingletons.unsafeTryInstallSingletonPosixEventLoopGroupAsConcurrencyGlobalExecutor()
    }

    /// Runs until SIGTERM or SIGINT; then stops listening, makes everything durable and ends the broker.
    public func run(onReady: @escaping @Sendable (Ready) -> Void) async throws {
        Limits.check()
        berth_survive_full_disk()
        try folder.open()
        let authority = Authority(directory: folder.tls)
        try authority.prepare(directory: folder.tls, hosts: ["127.0.0.1", "localhost", "::1"] + extraHosts())
        let clock: @Sendable () -> Millis = { Ambient.now() }
        let (store, image) = try openStore(now: clock())
        let sequencer = Sequencer(
            store: store, image: image, replyKeys: image.replyKeys, policy: settings.policy,
            newEpoch: "d" + String(clock() / 1000, radix: 36), clock: clock, logger: logger)
        let credentials = CredentialBook(image.credentials)
        let presence = Presence()
        let relay = Relay(credentials: credentials, presence: presence, clock: clock)
        let deliverer = Deliverer(
            sequencer: sequencer, credentials: credentials, presence: presence, relay: relay, clock: clock, logger: logger)
        let pipeline = Pipeline(
            sequencer: sequencer, credentials: credentials, presence: presence, deliverer: deliverer, relay: relay, settings: settings,
            clock: clock, logger: logger)
        for (appId, nonce, at) in image.nonces { _ = pipeline.nonces.insert(appId: appId, nonce: nonce, now: at) }
        let live = Live(sequencer: sequencer, presence: presence)

        let mqttPort = settings.mqttPort == 0 ? try Server.freePort() : settings.mqttPort
        let broker = Broker(
            directory: folder.broker, port: mqttPort, bindAddress: settings.bindAddress, authority: authority,
            logger: logger)
        try broker.start(image.credentials)

        sequencer.start { events in
            deliverer.committed(events)
            live.committed(events)
        }
        presence.start { parkCode, isOnline, now in
            if isOnline { deliverer.reachable(parkCode) } else { deliverer.unreachable(parkCode) }
            live.linkChanged(parkCode)
            sequencer.perform(
                .notice(Notice(parkCode: parkCode, eventType: isOnline ? 6001 : 6002, occurredAt: now)), now: now)
        }
        let reactor = MQTTReactor(logger: logger)
        let ears = MQTTFront(
            pipeline: pipeline, credentials: credentials, presence: presence, deliverer: deliverer, clock: clock,
            logger: logger)
        let client = reactor.open(broker.serverConfiguration(), listener: ears)
        ears.start(client)
        deliverer.start(mqtt: client)
        relay.start(mqtt: client)

        let gate = ReadyGate()
        let pages = Pages(live: live, clock: clock)
        let services: [any Service] =
            try fronts(pipeline: pipeline, pages: pages, authority: authority, gate: gate)
            + [
                try adminFront(
                    Desk(
                        sequencer: sequencer, credentials: credentials, broker: broker,
                        status: { Server.status(sequencer, presence, live, broker) }, clock: clock), gate: gate),
                Ticker(
                    sequencer: sequencer, presence: presence, deliverer: deliverer, live: live, store: store,
                    clock: clock),
            ]
        let group = ServiceGroup(
            configuration: .init(
                services: services.map {
                    .init(service: $0, successTerminationBehavior: .gracefullyShutdownGroup)
                }, gracefulShutdownSignals: [.sigterm, .sigint], logger: Server.quiet(logger)))
        let announce = Task { [settings] in
            let ports = await gate.ports(count: settings.pagePort > 0 ? 3 : 2)
            for _ in 0..<200 where !ears.isUp { try? await Task.sleep(for: .milliseconds(50)) }
            guard !Task.isCancelled else { return }
            onReady(
                Ready(
                    https: "https://127.0.0.1:\(ports["https"] ?? 0)", mqtt: "mqtts://127.0.0.1:\(mqttPort)",
                    ca: authority.caFile, page: ports["page"].map { "http://127.0.0.1:\($0)/" }))
        }
        defer { announce.cancel() }
        do { try await group.run() } catch {
            broker.stop()
            throw error
        }
        client.close()
        sequencer.stop()
        broker.stop()
        (store as? SQLiteStore)?.close()
    }

    private func extraHosts() -> [String] {
        settings.bindAddress == "127.0.0.1" || settings.bindAddress == "0.0.0.0" ? [] : [settings.bindAddress]
    }

    private func openStore(now: Millis) throws -> (any Store, CityImage) {
        let store: any Store = settings.store == "memory" ? MemoryStore() : try SQLiteStore(path: folder.database)
        try store.prune(repliesBefore: now - WireLimits.replyMillis, downBefore: now - WireLimits.downKeepMillis, now: now)
        return (store, try store.load(noncesSince: now - WireLimits.nonceMillis))
    }

    private func fronts(
        pipeline: Pipeline, pages: Pages, authority: Authority, gate: ReadyGate
    ) throws -> [any Service] {
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMFile(authority.certificateFile).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: authority.keyFile, format: .pem)))
        tls.minimumTLSVersion = .tlsv12
        let quiet = Server.quiet(logger)
        let https = Application(
            responder: HTTPFront(pipeline: pipeline, pages: pages),
            server: try .tls(
                .http1(configuration: .init(idleTimeout: .seconds(Limits.idleSeconds))), tlsConfiguration: tls),
            configuration: .init(address: .hostname(settings.bindAddress, port: settings.httpsPort), serverName: "berth"),
            onServerRunning: { channel in await gate.opened("https", channel.localAddress?.port ?? 0) }, logger: quiet)
        guard settings.pagePort > 0 else { return [https] }
        let page = Application(
            responder: pages, server: .http1(configuration: .init(idleTimeout: .seconds(Limits.idleSeconds))),
            configuration: .init(address: .hostname("127.0.0.1", port: settings.pagePort), serverName: "berth"),
            onServerRunning: { channel in await gate.opened("page", channel.localAddress?.port ?? 0) }, logger: quiet)
        return [https, page]
    }

    private func adminFront(_ desk: Desk, gate: ReadyGate) throws -> any Service {
        let path = try folder.socketPath()
        unlink(path)
        umask(0o077)
        return Application(
            responder: Admin(desk: desk), configuration: .init(address: .unixDomainSocket(path: path), serverName: "berth"),
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
        _ sequencer: Sequencer, _ presence: Presence, _ live: Live, _ broker: Broker
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
            "brokerPid": .int(Int(broker.processIdentifier ?? 0)),
        ]
    }

    /// Works on a stopped server's folder: what `berth keys issue` does when nobody listens on the admin socket.
    public static func runOffline(_ command: JSON, settings: ServerSettings, logger: Logger) async throws -> JSON {
        let server = Server(settings: settings, logger: logger)
        try server.folder.open()
        let (store, image) = try server.openStore(now: Ambient.now())
        let clock: @Sendable () -> Millis = { Ambient.now() }
        let sequencer = Sequencer(
            store: store, image: image, replyKeys: image.replyKeys, policy: settings.policy, newEpoch: "d0",
            clock: clock, logger: logger)
        sequencer.start { _ in }
        defer { sequencer.stop() }
        let desk = Desk(
            sequencer: sequencer, credentials: CredentialBook(image.credentials), broker: nil, status: { [:] },
            clock: clock)
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

/// Time, once a second: deadlines, silence, sendings to repeat; twice a second the viewers; now and then the memory.
struct Ticker: Service {
    let sequencer: Sequencer
    let presence: Presence
    let deliverer: Deliverer
    let live: Live
    let store: any Store
    let clock: @Sendable () -> Millis

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var beat = 0
            while !Task.isCancelled {
                try? await Task.sleep(for: .milliseconds(500))
                let now = clock()
                live.tick(now: now)
                beat += 1
                guard beat % 2 == 0 else { continue }
                deliverer.tick(now: now)
                presence.sweep(now: now)
                PaymentChannel.tick(sequencer, now: now)
                let due = sequencer.peek { city in city.lots.keys.filter { city.isDue($0, at: now) } }
                for parkCode in due { sequencer.perform(.expire(parkCode: parkCode), now: now) }
                if beat % 120 == 0 {
                    _ = sequencer.peek { $0.forget(endedBefore: now - Limits.keepEndedMillis) }
                }
                if beat % 7200 == 0 {
                    try? store.prune(
                        repliesBefore: now - WireLimits.replyMillis, downBefore: now - WireLimits.downKeepMillis,
                        now: now)
                }
            }
        }
        // A viewer's stream has no end of its own; the fronts wait for it.
        live.finish()
    }
}
