import BerthCore
import BerthGateway
import BerthLink
import BerthWire
import Foundation
import Synchronization

/// The parties that use the rules beside the drivers. Hospitals report appointments, and patients come with them. Space providers share
/// their spaces, and drivers subscribe to them. The city's desk reviews, answers appeals and controls the flow.
///
/// Everything goes over the signed interface, like the apps and consoles of a real city.
final class SimulatedUsers: Sendable {
    struct Tally: Sendable {
        var appointments = 0
        var granted = 0
        var patients = 0
        var offers = 0
        var subscriptions = 0
        var appeals = 0
        var flow = 0
        var misread = 0
        var cases = 0
        var plateless = 0
        var banned = 0
        var rehomed = 0
        var revoked = 0
        var waited = 0
        var promoted = 0
    }

    let lots: [PlannedLot]
    let gateway: Gateway
    private let client: SignedClient
    private let app: (id: String, secret: String)
    private let desk: (id: String, secret: String)
    private let speed: Double
    private let tallied = Mutex(Tally())
    private let happenings = ActivityFeed()

    init(
        lots: [PlannedLot], gateway: Gateway, client: SignedClient, app: (String, String), desk: (String, String), speed: Double
    ) {
        self.lots = lots
        self.gateway = gateway
        self.client = client
        self.app = app
        self.desk = desk
        self.speed = speed
    }

    var tally: Tally { tallied.withLock { $0 } }
    func recent(_ count: Int) -> [String] { happenings.recent(count) }

    func tell(_ text: String, _ body: (inout Tally) -> Void) {
        tallied.withLock { body(&$0) }
        happenings.add(text)
    }

    func call(_ service: String, _ data: JSON, asDesk: Bool = false, parkCode: String? = nil) async -> Reply? {
        let party = asDesk ? desk : app
        return try? await client.call(service, data: data, appId: party.id, secret: party.secret, parkCode: parkCode)
    }

    func send(_ picture: [UInt8], to url: String) async -> Bool { await client.upload(url, picture) }

    func pause(minutes: Double) async {
        try? await Task.sleep(for: .milliseconds(Int64(max(100, minutes * 60_000 / speed))))
    }

    func run() async {
        await prepare()
        await withDiscardingTaskGroup { group in
            group.addTask { [self] in await hospitals() }
            group.addTask { [self] in await owners() }
            group.addTask { [self] in await deskWork() }
            group.addTask { [self] in await incidents() }
        }
    }

    private func chosen(_ kind: PlannedLot.Kind) -> [PlannedLot] { lots.filter { $0.kind == kind && !$0.isShared } }

    /// Sets once the places of the hospitals and the area of the scenic spots.
    private func prepare() async {
        await prepareIncidents()
        for hospital in chosen(.hospital) {
            _ = await call(
                "biz.place.set",
                ["placeCode": .string(hospital.parkCode), "name": .string(hospital.name), "parkCodes": [.string(hospital.parkCode)]],
                asDesk: true)
        }
        let scenic = chosen(.scenic).map(\.parkCode)
        guard !scenic.isEmpty else { return }
        _ = await call(
            "flow.area.set", ["areaId": "scenic", "name": "景区", "parkCodes": .array(scenic.map { .string($0) })], asDesk: true)
    }

    // MARK: Hospitals

    private func hospitals() async {
        let hospitals = chosen(.hospital)
        guard !hospitals.isEmpty else { return }
        var number = SystemClock.now() / 1000
        while !Task.isCancelled {
            let hospital = hospitals[Int(number) % hospitals.count]
            number += 1
            await visit(hospital, extNo: "V\(number)")
            await pause(minutes: 4)
        }
    }

    /// Somebody has an appointment, books with it, comes, and leaves; or the appointment is moved or cancelled.
    private func visit(_ hospital: PlannedLot, extNo: String) async {
        let time = SystemClock.now() + 20 * 60_000
        let person = SystemRandom.token(12)
        guard
            let made = await call(
                "biz.appointment.push",
                [
                    "extNo": .string(extNo), "bizCode": "hospital", "placeCode": .string(hospital.parkCode), "appointTime": .int(time),
                    "personToken": .string(person),
                ]), made.code == 0
        else { return }
        let granted = made.data["granted"]?.boolValue == true
        tell("\(hospital.name)  挂号 appointment\(granted ? "，留位 a place is kept" : "")") {
            $0.appointments += 1
            $0.granted += granted ? 1 : 0
        }
        let plate = "粤B\(10_000 + Int(time / 7 % 90_000))"
        guard
            let reservation = await call(
                "order.create",
                [
                    "clientOrderNo": .string(SystemRandom.uuid()), "userToken": .string(person), "plateNo": .string(plate), "plateColor": 0,
                    "parkCode": .string(hospital.parkCode), "bizType": 3, "planTime": .int(time), "extNo": .string(extNo),
                ]), reservation.code == 0
        else { return }
        switch Int(time) % 10 {
        case 0:
            _ = await call("biz.appointment.cancel", ["extNo": .string(extNo)])
            tell("\(hospital.name)  退号，车位放出 cancelled, its place is free") { _ in }
        case 1:
            _ = await call("biz.appointment.change", ["extNo": .string(extNo), "appointTime": .int(time + 30 * 60_000)])
            tell("\(hospital.name)  改期，车位跟着走 moved, its place with it") { _ in }
        default: break
        }
        let box = gateway.box(hospital.parkCode)
        guard Int(time) % 10 > 0, let box else { return }
        Task { [self] in
            await pause(minutes: 10)
            guard !Task.isCancelled,
                let decision = try? await gateway.decide(hospital.parkCode, plate: plate, plateColor: 0, gateCode: "G1"),
                decision["admit"]?.boolValue == true, (try? await box.enter(plate: plate, plateColor: 0, gateCode: "G1")) != nil
            else { return }
            tell("\(Plate(plate)?.masked ?? "")  \(hospital.name)  就诊入场 a patient is in") { $0.patients += 1 }
            await pause(minutes: 60)
            _ = try? await box.exit(plate: plate, gateCode: "G2")
        }
    }

    // MARK: Sharing

    private func owners() async {
        let shared = lots.filter(\.isShared)
        guard !shared.isEmpty else { return }
        var number = 0
        while !Task.isCancelled {
            let lot = shared[(number * 7 + Int(SystemClock.now() / 1000)) % shared.count]
            number += 1
            await share(lot, space: "D\(SystemClock.now() % 100_000)")
            await pause(minutes: 15)
        }
    }

    /// An owner publishes, the desk reviews, somebody subscribes, another takes it once.
    private func share(_ lot: PlannedLot, space: String) async {
        guard
            let made = await call(
                "share.offer.publish",
                [
                    "parkCode": .string(lot.parkCode), "providerToken": .string(SystemRandom.token(10)), "spaceNo": .string(space),
                    "proofImages": ["demo"], "agreementVersion": "1.0",
                    "segments": [["repeatType": "daily", "start": "00:00", "end": "24:00"]], "price": ["mode": 2, "amount": 500],
                ]), made.code == 0, let offerId = made.data["offerId"]?.stringValue
        else { return }
        tell("\(lot.name)  车位 \(space) 发布共享 offered") { $0.offers += 1 }
        await pause(minutes: 2)
        // Every fourth offer waits for the person who looks at the demo.
        guard SystemClock.now() % 4 > 0 else { return }
        guard await call("share.review", ["offerId": .string(offerId), "pass": true], asDesk: true)?.code == 0 else { return }
        let number = SystemClock.now()
        let plates = [0, 1].map { JSON.string("粤B\(10_000 + (Int(number) / 3 + $0) % 90_000)") }
        guard
            let taken = await call(
                "share.apply",
                [
                    "parkCode": .string(lot.parkCode), "userToken": .string(SystemRandom.token(12)), "plateNos": .array(plates),
                    "offerId": .string(offerId), "periodFrom": .int(number), "periodTo": .int(number + 20 * 86_400_000),
                ]), taken.code == 0
        else { return }
        tell("\(lot.name)  车位 \(space) 有人订阅，两块车牌 subscribed by two plates") { $0.subscriptions += 1 }
        guard let box = gateway.box(lot.parkCode), let plate = plates[0].stringValue else { return }
        Task { [self] in
            await pause(minutes: 5)
            guard !Task.isCancelled, (try? await box.enter(plate: plate, gateCode: "G1")) != nil else { return }
            await pause(minutes: 40)
            _ = try? await box.exit(plate: plate, gateCode: "G2")
        }
    }

    // MARK: The city's desk

    private func deskWork() async {
        var round = 0
        while !Task.isCancelled {
            await pause(minutes: 10)
            round += 1
            // Every other appeal is granted: the demo's doors do stick now and then.
            let open = await call("credit.appeal.list", ["state": "open"], asDesk: true)?.data["appeals"]?.arrayValue ?? []
            // The latest ones wait for the person who looks at the demo.
            for (index, appeal) in open.dropLast(3).prefix(5).enumerated() {
                let isGranted = index % 2 == 0
                _ = await call(
                    "credit.appeal.answer",
                    [
                        "appealId": appeal["appealId"] ?? "", "grant": .bool(isGranted),
                        "answer": .string(isGranted ? "经核实成立 granted" : "无依据 no evidence"),
                    ], asDesk: true)
                tell(isGranted ? "申诉成立，撤销处罚 an appeal is granted" : "申诉不成立 an appeal is rejected") { $0.appeals += 1 }
            }
            guard !chosen(.scenic).isEmpty else { continue }
            let isOn = round % 2 == 1
            let now = SystemClock.now()
            _ = await call(
                "flow.policy.set",
                [
                    "areaId": "scenic", "policyId": "peak", "mode": .int(isOn ? 1 : 0), "validFrom": .int(now - 1000),
                    "validTo": .int(now + 86_400_000), "dailyQuotas": [["pool": "PERSONAL", "count": 30_000]],
                ], asDesk: true)
            tell(isOn ? "景区管控：只放预约车 scenic area: bookings only" : "景区管控解除 scenic area: control off") { $0.flow += 1 }
        }
    }
}
