import BerthCore
import BerthServer
import BerthStore
import BerthWire
import Foundation
import Logging
import Synchronization

/// A clock in the hand, read from any thread.
final class HandClock: Sendable {
    private let time: Atomic<Int64>

    init(_ time: Millis) { self.time = Atomic(time) }

    var now: Millis { time.load(ordering: .sequentiallyConsistent) }
    func set(_ now: Millis) { time.store(now, ordering: .sequentiallyConsistent) }
    func pass(minutes: Int) { set(now + Millis(minutes) * 60_000) }
}

/// A server without sockets: two lots of five places, and a party of each role.
final class RunningCity: Sendable {
    static let start: Millis = 1_700_000_000_000 - 1_700_000_000_000 % 900_000
    let store = FaultyStore()
    let clock = HandClock(RunningCity.start)
    let core: ServerCore
    private let directory: String

    static let provider = Credential(
        appId: "sp10000001", secret: "s-provider", role: .provider, name: "p", ratePerSecond: 100_000, burst: 100_000)
    static let other = Credential(
        appId: "sp10000002", secret: "s-other", role: .provider, name: "o", ratePerSecond: 100_000, burst: 100_000)
    static let lot = Credential(
        appId: "pk10000001", secret: "s-lot", role: .lot, name: "l", parkCodes: ["P1"], ratePerSecond: 100_000, burst: 100_000)
    static let otherLot = Credential(
        appId: "pk10000002", secret: "s-lot2", role: .lot, name: "l2", parkCodes: ["P2"], ratePerSecond: 100_000, burst: 100_000)
    static let cityOperator = Credential(
        appId: "op10000001", secret: "s-city", role: .operator, name: "c", ratePerSecond: 100_000, burst: 100_000)
    static let lotOperator = Credential(
        appId: "op10000002", secret: "s-own", role: .operator, name: "w", parkCodes: ["P1"], ratePerSecond: 100_000, burst: 100_000)
    static let pages = Credential(appId: "wb10000001", secret: "s-web", role: .web, name: "w", ratePerSecond: 100_000, burst: 100_000)
    static let everybody = [provider, other, lot, otherLot, cityOperator, lotOperator, pages]

    init() async throws {
        directory = NSTemporaryDirectory() + "berth-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        var settings = ServerSettings(dataDirectory: directory)
        settings.isTestEnvironment = true
        settings.policy.dailyMaxPerUser = 1_000
        settings.policy.dailyMaxPerPlate = 1_000
        var logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        logger.logLevel = .critical
        let clock = clock
        core = try ServerCore(store: store, settings: settings, directory: directory, clock: { clock.now }, logger: logger)
        for credential in RunningCity.everybody { try await core.admit(credential) }
        for parkCode in ["P1", "P2"] {
            await core.perform(.register(parkCode: parkCode))
            await core.perform(
                .openLot(
                    LotProfile(
                        parkCode: parkCode, name: "测试", address: "深圳", regionCode: "440305", longitude: "113.9", latitude: "22.5",
                        coordType: 1, lotType: 4, lotClass: 1, totalCount: 100,
                        quotas: [.reservation: 5, .shared: 0, .publicService: 0], enabled: [.reservation],
                        openHours: [OpenHours(days: [1, 2, 3, 4, 5, 6, 7], start: 0, end: 1440)], freeMin: 15, leaveBufferMin: 15)))
        }
    }

    func end() async {
        await core.stop()
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// The reply to a call: its code, its data, and the whole of it.
    struct Answer: Sendable {
        var code: Int
        var data: JSON
        var json: JSON

        var orderNo: String { data["orderNo"]?.stringValue ?? "" }
    }

    private static let calls = Atomic<Int>(0)
    static func fresh() -> Int { calls.wrappingAdd(1, ordering: .relaxed).newValue }

    func call(
        _ who: Credential, _ service: String, _ data: JSON, parkCode: String? = nil, requestId: String = UUID().uuidString.lowercased(),
        at timestamp: Millis? = nil, secret: String? = nil, log: (epoch: String, seq: Int64)? = nil
    ) async throws -> Answer {
        let bytes = MessageWriter.request(
            service: service, data: data, appId: who.appId, secret: secret ?? who.secret, parkCode: parkCode, requestId: requestId,
            timestamp: timestamp ?? clock.now, nonce: "nonce-\(1_000_000 + RunningCity.fresh())", epoch: log?.epoch, seq: log?.seq)
        let reply = try JSON.parse(await core.reply(to: bytes, service: service))
        return Answer(code: Int(reply["code"]?.intValue ?? -1), data: reply["data"] ?? .null, json: reply)
    }

    func book(
        _ number: Int, in minutes: Int = 60, lot: String = "P1", by who: Credential = provider,
        requestId: String = UUID().uuidString.lowercased()
    ) async throws -> Answer {
        try await call(
            who, "order.create", RunningCity.booking(number, at: clock.now + Millis(minutes) * 60_000, lot: lot), requestId: requestId)
    }

    static func booking(_ number: Int, at time: Millis, lot: String = "P1") -> JSON {
        [
            "clientOrderNo": .string("c\(number)"), "userToken": .string("u\(number)"), "plateNo": .string("粤B\(10_000 + number)"),
            "plateColor": 0, "parkCode": .string(lot), "bizType": 1, "planTime": .int(time),
        ]
    }

    static func entry(_ number: Int, at time: Millis, orderNo: String? = nil) -> JSON {
        .compact([
            ("recordNo", .string("R\(number)")), ("plateNo", .string("粤B\(10_000 + number)")), ("plateColor", 0), ("vehicleClass", 1),
            ("carKind", orderNo == nil ? 1 : 5), ("enterTime", .int(time)), ("gateCode", "G1"), ("gateName", "G1"),
            ("orderNo", .optional(orderNo)), ("enterMode", 1), ("remain", ["total": 100, "remain": 50]),
        ])
    }

    static func exit(_ number: Int, entered: Millis, at time: Millis, orderNo: String? = nil) -> JSON {
        .compact([
            ("recordNo", .string("R\(number)")), ("plateNo", .string("粤B\(10_000 + number)")), ("enterTime", .int(entered)),
            ("leaveTime", .int(time)), ("exitGateCode", "G2"), ("orderNo", .optional(orderNo)),
        ])
    }
}
