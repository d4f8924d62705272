import BerthCore
import BerthGateway
import BerthLink
import BerthWire
import Foundation
import Synchronization

/// Simulated drivers: they reserve over the signed interface like any provider's app, arrive at real gateways, park, leave, cancel,
/// and fail to show up.
final class Drivers: Sendable {
    /// The counts of what has happened so far.
    struct Tally: Sendable {
        var reserved = 0
        var full = 0
        var otherwiseRefused = 0
        var cancelled = 0
        var entered = 0
        var turnedAway = 0
        var left = 0
        var staysAway = 0
        var waiting = 0
        var appealed = 0
        var failures = 0
        var lastFailure = ""
    }

    private let lots: [PlannedLot]
    private let gateway: Gateway
    private let client: SignedClient
    private let appId: String
    private let secret: String
    /// How much faster than life: Shenzhen's 4,514 orders a day, trips of a quarter of an hour, stays of an hour.
    private let speed: Double
    private let demand: Demand
    private let byKind: [PlannedLot.Kind: [PlannedLot]]
    private let tallied = Mutex(Tally())
    private let happenings = ActivityFeed()
    /// Drivers under way; bounded, so that a slow server is not buried.
    private let underWay = Mutex(0)
    private static let underWayMax = 20_000

    init(lots: [PlannedLot], gateway: Gateway, client: SignedClient, appId: String, secret: String, speed: Double, demand: Demand) {
        self.lots = lots
        byKind = Dictionary(grouping: lots, by: \.kind)
        self.demand = demand
        self.gateway = gateway
        self.client = client
        self.appId = appId
        self.secret = secret
        self.speed = speed
    }

    var tally: Tally { tallied.withLock { $0 } }
    func recent(_ count: Int) -> [String] { happenings.recent(count) }

    private func count(_ body: (inout Tally) -> Void) { tallied.withLock { body(&$0) } }

    private func tell(_ text: String) { happenings.add(text) }

    /// Lets drivers come until the task is cancelled.
    func run() async {
        let ordersPerSecond = 4_514.0 / 86_400 * speed
        await withDiscardingTaskGroup { group in
            while !Task.isCancelled {
                let pause = -log(Double.random(in: 0.0001...1)) / ordersPerSecond
                try? await Task.sleep(for: .milliseconds(Int64(min(pause, 10) * 1000)))
                guard !Task.isCancelled else { return }
                let mayStart = underWay.withLock { count in
                    guard count < Drivers.underWayMax else { return false }
                    count += 1
                    return true
                }
                guard mayStart else { continue }
                group.addTask { [self] in
                    await drive()
                    underWay.withLock { $0 -= 1 }
                }
            }
        }
    }

    private func pause(minutes: Double) async { try? await Task.sleep(for: .milliseconds(Int64(minutes * 60_000 / speed))) }

    /// Half of all wish for what everybody wishes for at this hour.
    private func pickLot() -> PlannedLot {
        guard Bool.random() else { return lots.randomElement()! }
        let kinds = byKind.keys.map { ($0, demand.weight($0)) }
        var left = Int.random(in: 0..<max(1, kinds.reduce(0) { $0 + $1.1 }))
        for (kind, weight) in kinds {
            left -= weight
            if left < 0, let lot = byKind[kind]?.randomElement() { return lot }
        }
        return lots.randomElement()!
    }

    private static func plate() -> (String, Int) {
        if Int.random(in: 0..<4) == 0 {
            return ("粤B\(["D", "F", "A"].randomElement()!)\(String(format: "%05d", Int.random(in: 0..<100_000)))", 4)
        }
        let letters = Array("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789")
        return ("粤B" + String((0..<5).map { _ in letters.randomElement()! }), 0)
    }

    private func call(_ service: String, _ data: JSON) async -> Reply? {
        do { return try await client.call(service, data: data, appId: appId, secret: secret) } catch {
            guard !Task.isCancelled else { return nil }
            count {
                $0.failures += 1
                $0.lastFailure = "\(service): \(error)"
            }
            return nil
        }
    }

    private func drive() async {
        let lot = pickLot()
        let (plate, color) = Drivers.plate()
        let fate = Int.random(in: 0..<100)
        let cancels = fate < 8
        let staysAway = (8..<15).contains(fate)
        // A driver who will cancel reserves early enough to cancel free of charge; the others arrive within their window.
        let ahead = cancels ? Int64.random(in: 40...55) : staysAway ? 0 : Int64.random(in: 1...25)
        let plan = SystemClock.now() + ahead * 60_000 + 2_000
        let wish: JSON = [
            "clientOrderNo": .string(SystemRandom.uuid()), "userToken": .string(SystemRandom.token(20)), "plateNo": .string(plate),
            "plateColor": .int(color), "parkCode": .string(lot.parkCode), "bizType": .int(lot.isShared ? 2 : 1),
            "planTime": .int(plan), "mobile": "13800000000",
            // Every third driver waits where it is full.
            "waitlist": .bool(fate % 3 == 0),
        ]
        guard let made = await call("order.create", wish) else { return }
        let masked = Plate(plate)?.masked ?? "***"
        guard made.code == 0, let orderNo = made.data["orderNo"]?.stringValue else {
            count { if made.code == 1101 { $0.full += 1 } else { $0.otherwiseRefused += 1 } }
            let other = made.data["alternatives"]?.arrayValue?.first
            let hint = other.flatMap { $0["name"]?.stringValue }.map { " → \($0) \(other?["distance"]?.intValue ?? 0) m" } ?? ""
            tell("\(masked)  \(lot.name)  \(made.code) \(made.resultCode.zh)\(hint)")
            return
        }
        if made.data["status"]?.intValue == 9 {
            count { $0.waiting += 1 }
            return tell("\(masked)  \(lot.name)  候补第 \(made.data["waitPosition"]?.intValue ?? 0) 位 waits")
        }
        count { $0.reserved += 1 }
        tell("\(masked)  \(lot.name)  已预约 reserved")
        if cancels {
            await pause(minutes: .random(in: 1...10))
            guard let answer = await call("order.cancel", ["orderNo": .string(orderNo), "reason": "changed plans"]),
                answer.code == 0
            else { return }
            count { $0.cancelled += 1 }
            return tell("\(masked)  \(lot.name)  已取消 cancelled")
        }
        if staysAway {
            count { $0.staysAway += 1 }
            return await appeal(orderNo)
        }
        await pause(minutes: .random(in: 8...20))
        await park(lot, plate: plate, color: color, masked: masked)
    }

    /// Every other driver who stayed away appeals.
    private func appeal(_ orderNo: String) async {
        guard Int.random(in: 0..<2) == 0 else { return }
        for _ in 0..<20 {
            await pause(minutes: 15)
            guard !Task.isCancelled else { return }
            guard let detail = await call("order.detail", ["orderNo": .string(orderNo)]), detail.data["status"]?.intValue == 7 else {
                continue
            }
            guard
                let answer = await call("credit.appeal", ["penaltyId": .string(orderNo + "-N"), "text": "道闸没有抬杆 the barrier stayed down"]),
                answer.code == 0
            else { return }
            count { $0.appealed += 1 }
            return tell("\(orderNo)  申诉 appeals")
        }
    }

    private func park(_ lot: PlannedLot, plate: String, color: Int, masked: String) async {
        guard let box = gateway.box(lot.parkCode), !Task.isCancelled else { return }
        do {
            let decision = try await gateway.decide(lot.parkCode, plate: plate, plateColor: color, gateCode: "G1")
            guard decision["admit"]?.boolValue == true else {
                count { $0.turnedAway += 1 }
                return tell("\(masked)  \(lot.name)  未放行 turned away \(decision["reasonCode"]?.intValue ?? 0)")
            }
            let record = try await box.enter(plate: plate, plateColor: color, gateCode: "G1").recordNo
            count { $0.entered += 1 }
            tell("\(masked)  \(lot.name)  入场 entered")
            await pause(minutes: .random(in: 20...100))
            // The city bills shared stays. Of the others one in thirty leaves without a record of its payment, for the reconciliation to find.
            if !lot.isShared, Int.random(in: 0..<30) > 0 {
                try await box.pay(JSONObject([("recordNo", .string(record)), ("payType", 2), ("amount", 1000), ("totalFee", 1000)]))
            }
            _ = try await box.exit(plate: plate, gateCode: "G2", feeFen: 1000)
            count { $0.left += 1 }
            tell("\(masked)  \(lot.name)  离场 left")
        } catch {
            count {
                $0.failures += 1
                $0.lastFailure = "gate: \(error)"
            }
        }
    }
}
