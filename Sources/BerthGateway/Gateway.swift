import BerthCore
public import BerthLink
public import BerthWire
import Foundation
import HTTPTypes
import Hummingbird
public import Logging
import NIOCore
import ServiceLifecycle
import Synchronization

/// The box at a lot, or at many: one spool, one MQTT thread, a few tasks a lot.
public final class Gateway: Sendable {
    let configuration: GatewayConfiguration
    let links: [String: LotLink]
    private let spool: Spool
    private let http: SignedClient
    private let reactor: MQTTReactor
    private let logger: Logger
    private let isStopping = StopFlag()

    public init(_ configuration: GatewayConfiguration, logger: Logger) throws {
        self.configuration = configuration
        self.logger = logger
        spool = try Spool(path: configuration.spoolFile)
        http = try SignedClient(base: configuration.serverURL, caFile: configuration.caFile)
        reactor = MQTTReactor(logger: logger)
        var links: [String: LotLink] = [:]
        for lot in configuration.lots {
            let box = try LotBox(lot, spool: spool, logger: logger)
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
        _ parkCode: String, plate: String, plateColor: Int, gateCode: String, confidence: Int? = nil, orderNo: String? = nil
    ) async throws -> JSON {
        guard let link = links[parkCode] else { throw LotBox.Refused(status: 404, name: "lotNotRegistered", description: "no such lot") }
        return try await link.decide(plate: plate, plateColor: plateColor, gateCode: gateCode, confidence: confidence, orderNo: orderNo)
    }

    /// Keeps both logs moving until the task is cancelled. Connections start a little apart, so that a city does not handshake at once.
    public func run() async {
        // Outlives the tasks that it watches: what they wait for when the end comes is given up by it.
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

    /// Times out what is not answered, and lets each lot make its regular reports.
    private func keep() async {
        var beat = 0
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(200))
            let now = isStopping.isSet ? .max : Ambient.monotonic()
            for link in links.values {
                link.sweep(now: now)
                link.box.desk.sweep()
            }
            beat += 1
            guard beat % 5 == 0, now != .max else { continue }
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

    /// The gateway as a process: the local API beside it, until SIGTERM or SIGINT.
    public func runService(onReady: @escaping @Sendable (Int?) -> Void) async throws {
        var services: [any Service] = [LinkService(gateway: self)]
        if let listen = configuration.listen {
            var quiet = logger
            quiet.logLevel = max(logger.logLevel, .warning)
            services.append(
                Application(
                    responder: LocalAPI(gateway: self),
                    configuration: .init(address: .hostname(listen.host, port: listen.port), serverName: "berth-gateway"),
                    onServerRunning: { onReady($0.localAddress?.port) }, logger: quiet))
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

/// The local API by which a PMS asks for a decision and reports what passed (docs/gateway.md). Loopback; plain HTTP.
struct LocalAPI: HTTPResponder {
    typealias Context = BasicRequestContext

    let gateway: Gateway
    private static let bodyBytesMax = 64 << 10

    @Sendable func respond(to request: Request, context: BasicRequestContext) async throws -> Response {
        let parts = request.uri.path.split(separator: "/").map(String.init)
        if request.method == .get {
            switch parts {
            case ["status"]: return json(gateway.status)
            case []: return page()
            case let parts where parts.count == 3 && parts[0] == "pms" && parts[2] == "list":
                guard let box = gateway.box(parts[1]) else { return refuse(404, "lotNotRegistered", "no such lot") }
                return json(box.localList)
            case let parts where parts.count == 3 && parts[0] == "pms" && parts[2] == "inbox":
                guard let box = gateway.box(parts[1]) else { return refuse(404, "lotNotRegistered", "no such lot") }
                return json(box.inbox(limit: 100))
            case let parts where parts.count == 3 && parts[0] == "pms" && parts[2] == "commands":
                guard let box = gateway.box(parts[1]) else { return refuse(404, "lotNotRegistered", "no such lot") }
                let wait = request.uri.queryParameters["waitMs"].flatMap { Int64($0) } ?? 0
                let orders = await box.desk.take(milliseconds: min(max(0, wait), WireLimits.waitMillisMax))
                return json(
                    .array(
                        orders.map {
                            [
                                "id": .string($0.id), "service": .string($0.service), "data": $0.data,
                                "ttlMs": .int(max(0, $0.deadline - Ambient.monotonic())),
                            ]
                        }))
            default: return refuse(404, "notFound", "GET /, /status, /pms/{parkCode}/list, inbox or commands")
            }
        }
        guard request.method == .post, parts.count == 3, parts[0] == "pms", let box = gateway.box(parts[1]) else {
            return refuse(404, "notFound", "POST /pms/{parkCode}/decide, entry, exit, occupied or event")
        }
        guard let body = try? await request.body.collect(upTo: LocalAPI.bodyBytesMax) else {
            return refuse(413, "tooLarge", "at most 64 KiB")
        }
        guard let data = try? JSON.parse(Array(buffer: body)), data.objectValue != nil else {
            return refuse(400, "malformedBody", "a JSON object expected")
        }
        func text(_ name: String) throws -> String {
            guard let value = data[name]?.stringValue, !value.isEmpty else {
                throw LotBox.Refused(status: 400, name: "missingParameter", description: name)
            }
            return value
        }
        do {
            try LocalAPI.check(data)
            switch parts[2] {
            case "decide":
                return json(
                    try await gateway.decide(
                        parts[1], plate: text("plateNo"), plateColor: Int(data["plateColor"]?.intValue ?? 9),
                        gateCode: text("gateCode"), confidence: data["confidence"]?.intValue.map { Int($0) },
                        orderNo: data["orderNo"]?.stringValue))
            case "entry":
                // A car without a plate gets a number of the lot's own; it leaves under it.
                let isPlateless = data["plateless"]?.boolValue == true
                let plate = isPlateless ? "无" + Ambient.token(8).uppercased() : try text("plateNo")
                let mode = data["enterMode"]?.intValue ?? 1
                guard (1...6).contains(mode) else {
                    throw LotBox.Refused(status: 400, name: "illegalValue", description: "enterMode: 1 to 6")
                }
                let result = try await box.enter(
                    plate: plate, plateColor: Int(data["plateColor"]?.intValue ?? 9),
                    gateCode: text("gateCode"), enterTime: data["enterTime"]?.intValue,
                    orderNo: data["orderNo"]?.stringValue, recordNo: data["recordNo"]?.stringValue, enterMode: Int(mode))
                return json(
                    .compact([
                        ("recordNo", .string(result.recordNo)), ("orderNo", .optional(result.orderNo)),
                        ("plateNo", isPlateless ? .string(plate) : .null),
                    ]))
            case "exit":
                let recordNo = try await box.exit(
                    plate: data["plateNo"]?.stringValue, recordNo: data["recordNo"]?.stringValue,
                    gateCode: text("gateCode"), leaveTime: data["leaveTime"]?.intValue,
                    feeFen: data["totalFee"]?.intValue ?? 0)
                return json(["recordNo": .string(recordNo)])
            case "occupied":
                guard let count = data["occupied"]?.intValue, (0...1_000_000).contains(count) else {
                    throw LotBox.Refused(status: 400, name: "illegalValue", description: "occupied")
                }
                box.reportOccupied(Int(count))
                return json([:])
            case "answer":
                let answer = Answer(code: Int(data["code"]?.intValue ?? 0), data: data["data"] ?? [:])
                guard box.desk.answer(try text("id"), answer) else {
                    throw LotBox.Refused(status: 409, name: "expiredBeforeDelivery", description: "nobody waits for this answer any more")
                }
                return json([:])
            case "inbox":
                guard let id = data["through"]?.intValue, id >= 0 else {
                    throw LotBox.Refused(status: 400, name: "missingParameter", description: "through")
                }
                guard await box.clearInbox(through: id) else { throw LotBox.noDisk }
                return json([:])
            case "event":
                guard let type = data["eventType"]?.intValue, (1000...9999).contains(type) else {
                    throw LotBox.Refused(status: 400, name: "illegalValue", description: "eventType")
                }
                try await box.event(type: Int(type), detail: data["detail"] ?? [:])
                return json([:])
            default: return refuse(404, "notFound", "decide, entry, exit, occupied, event, answer or inbox")
            }
        } catch let error as LotBox.Refused {
            return refuse(error.status, error.name, error.description)
        }
    }

    /// What the server would refuse for good is refused here, before it stands in the log.
    private static func check(_ data: JSON) throws {
        let fields = Fields(data.objectValue ?? JSONObject())
        do throws(WireError) {
            for (name, max) in [("gateCode", 32), ("orderNo", 32), ("recordNo", 48)] { _ = try fields.optionalString(name, max: max) }
            for name in ["enterTime", "leaveTime"] { _ = try fields.optionalTime(name) }
            if fields.object["plateColor"] != nil { _ = try fields.int("plateColor", among: Plate.colors) }
            _ = try fields.optionalInt("totalFee", in: 0...WireLimits.moneyMax)
            _ = try fields.optionalInt("confidence", in: 0...100)
        } catch { throw LotBox.Refused(status: 400, name: error.name, description: error.hint) }
    }

    private func json(_ value: JSON, status: Int = 200) -> Response {
        Response(
            status: .init(code: status), headers: [.contentType: "application/json; charset=utf-8"],
            body: .init(byteBuffer: ByteBuffer(bytes: value.text())))
    }

    private func refuse(_ status: Int, _ name: String, _ why: String) -> Response {
        let code = Profile.current.codesByName[name]
        return json(
            ["code": .int(code?.code ?? 1), "error": .string(name), "message": .string(code?.zh ?? ""), "detail": .string(why)],
            status: status)
    }

    /// How the links stand, for a person.
    private func page() -> Response {
        var rows = ""
        for lot in gateway.status.arrayValue ?? [] {
            func cell(_ value: JSON?) -> String {
                let text = value?.stringValue ?? value?.string ?? "–"
                return "<td>" + text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;") + "</td>"
            }
            let isOnline = lot["online"]?.boolValue == true
            rows +=
                "<tr><td>" + (isOnline ? "🟢 在线 online" : "🔴 离线 offline") + "</td>" + cell(lot["parkCode"])
                + cell(lot["carrier"]) + cell(lot["up"]?["backlog"]) + cell(lot["up"]?["deadLetters"])
                + cell(lot["down"]?["ackSeq"]) + cell(lot["orders"]) + cell(lot["inside"]) + cell(lot["clockOffsetMs"])
                + cell(lot["lastError"]) + "</tr>"
        }
        let html = """
            <!doctype html><html lang="zh-CN"><meta charset="utf-8"><meta http-equiv="refresh" content="2">
            <meta name="viewport" content="width=device-width, initial-scale=1"><title>泊位 前置机 Berth gateway</title>
            <style>body{font:15px system-ui,"Noto Sans CJK SC",sans-serif;margin:1rem}table{border-collapse:collapse}
            td,th{border:1px solid #ccc;padding:.3rem .6rem;text-align:left}div{overflow-x:auto}</style>
            <h1>车场前置机 <small>Berth gateway</small></h1><div><table><tr><th>链路 link<th>车场 lot<th>通道 carrier
            <th>待上报 backlog<th>死信 dead letters<th>下行 down<th>预约 orders<th>在场 inside<th>时钟偏差 clock ms
            <th>最近错误 last error</tr>\(rows)</table></div></html>
            """
        return Response(
            status: .ok, headers: [.contentType: "text/html; charset=utf-8"],
            body: .init(byteBuffer: ByteBuffer(string: html)))
    }
}
