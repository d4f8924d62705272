import BerthCore
import BerthLink
public import BerthWire
import Foundation
import Hummingbird
public import Logging
import NIOCore
import ServiceLifecycle
import Synchronization

/// The box at a lot, or at many: one spool, one clock, one MQTT thread, a few tasks a lot.
public final class Gateway: Sendable {
    let configuration: GatewayConfiguration
    let links: [String: LotLink]
    private let spool: Spool
    private let clock = BoxClock()
    private let http: SignedClient
    private let reactor: MQTTReactor
    private let logger: Logger
    private let isStopping = StopFlag()

    public init(_ configuration: GatewayConfiguration, logger: Logger) throws {
        self.configuration = configuration
        self.logger = logger
        spool = try Spool(path: configuration.spoolFile)
        http = try SignedClient(bases: configuration.servers, caFile: configuration.caFile)
        reactor = MQTTReactor(logger: logger)
        var links: [String: LotLink] = [:]
        for lot in configuration.lots {
            let box = try LotBox(lot, spool: spool, clock: clock, logger: logger)
            links[lot.parkCode] = LotLink(box, configuration: configuration, http: http, logger: logger)
        }
        self.links = links
    }

    public func box(_ parkCode: String) -> LotBox? { links[parkCode]?.box }
    public func isOnline(_ parkCode: String) -> Bool { links[parkCode]?.isOnline ?? false }
    public var onlineCount: Int { links.values.reduce(0) { $0 + ($1.isOnline ? 1 : 0) } }
    public var backlog: Int64 { links.values.reduce(0) { $0 + $1.box.backlog } }
    /// Breaks a lot's connection as a network would.
    public func sever(_ parkCode: String) { links[parkCode]?.mqtt?.sever() }

    public func decide(
        _ parkCode: String, plate: String, plateColor: Int, gateCode: String, confidence: Int? = nil, orderNo: String? = nil,
        imageId: String? = nil
    ) async throws -> JSON {
        guard let link = links[parkCode] else { throw LotBox.Refused(status: 404, name: "lotNotRegistered", description: "no such lot") }
        return try await link.decide(
            plate: plate, plateColor: plateColor, gateCode: gateCode, confidence: confidence, orderNo: orderNo, imageId: imageId)
    }

    /// Sends a picture of a car to the server, for the control room (U18).
    /// - Parameter bytes: a JPEG or PNG of at most ``LocalAPI/pictureBytesMax``.
    /// - Returns: its imageId.
    /// - Throws: `LotBox.Refused` for what is no picture, and when the server cannot be reached or refuses it.
    public func sendPicture(_ parkCode: String, _ bytes: [UInt8]) async throws -> String {
        guard let link = links[parkCode] else { throw LotBox.Refused(status: 404, name: "lotNotRegistered", description: "no such lot") }
        return try await link.sendPicture(bytes)
    }

    /// Keeps both logs moving until the task is cancelled. Connections start a little apart, so that a city does not handshake at once.
    public func run() async {
        // The keeper outlives the tasks that it watches: at the end it gives up the calls that they still wait for.
        let keeper = Task.detached { [self] in await keep() }
        await withDiscardingTaskGroup { group in
            for (index, link) in links.values.enumerated() {
                group.addTask {
                    if index >= 50 { try? await Task.sleep(for: .milliseconds(index * 4)) }
                    link.connect(self.reactor)
                    await link.uplink()
                }
                group.addTask { await link.downlink() }
            }
            group.addTask { [isStopping] in
                await withTaskCancellationHandler {
                    while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
                } onCancel: {
                    isStopping.set()
                }
            }
        }
        keeper.cancel()
        for link in links.values { link.close() }
        for link in links.values { link.farewell() }
        await spool.flush()
        try? await Task.sleep(for: .milliseconds(200))
        spool.stop()
        await http.close()
    }

    /// Times out what is not answered, watches the clock, and lets each lot make its regular reports.
    private func keep() async {
        var beat = 0
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(200))
            let now = isStopping.isSet ? .max : SystemClock.monotonic()
            for link in links.values {
                link.sweep(now: now)
                link.box.commands.sweep()
            }
            beat += 1
            guard beat % 5 == 0, now != .max else { continue }
            if clock.watch(), let link = links.values.first(where: { $0.way != .none }) { Task { await link.measureIfIdle() } }
            // A lot whose server does not answer must not hold up the others.
            for link in links.values { Task { await link.beat(now: now) } }
        }
    }

    public var status: JSON {
        .array(
            links.values.sorted { $0.box.entry.parkCode < $1.box.entry.parkCode }.map {
                $0.box.status(isOnline: $0.isOnline, carrier: $0.carrierName)
            })
    }

    /// Runs the gateway as a process, the local API beside it, until SIGTERM or SIGINT.
    public func runService(onReady: @escaping @Sendable (Int?) -> Void) async throws {
        var services: [any Service] = [LinkService(gateway: self)]
        if let listen = configuration.listen {
            guard let token = configuration.token else {
                throw GatewayConfiguration.Invalid(description: "the local API needs a token")
            }
            let door = Doorkeeper(token: token, listen: listen, hosts: configuration.hosts)
            services.append(
                LocalAPI(gateway: self, door: door).application(listen, logger: logger) { port in
                    door.opened(port: port)
                    onReady(port)
                })
        } else {
            onReady(nil)
        }
        let group = ServiceGroup(
            configuration: .init(
                services: services.map { .init(service: $0, successTerminationBehavior: .gracefullyShutdownGroup) },
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        try await group.run()
    }

    private struct LinkService: Service {
        let gateway: Gateway
        func run() async throws { await cancelWhenGracefulShutdown { await gateway.run() } }
    }
}

/// Set once, read by many.
private final class StopFlag: Sendable {
    private let flag = Atomic<Bool>(false)
    var isSet: Bool { flag.load(ordering: .acquiring) }
    func set() { flag.store(true, ordering: .releasing) }
}

extension LotLink {
    /// A clean goodbye: offline at once, not after the will.
    func farewell() {
        guard let mqtt, mqtt.isUp else { return }
        mqtt.publish(topic: Topic.presence(box.entry.parkCode), payload: Array("{\"online\":false}".utf8), retain: true)
        mqtt.close()
    }
}
