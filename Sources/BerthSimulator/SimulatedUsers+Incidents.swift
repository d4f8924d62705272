import BerthCore
import BerthGateway
import BerthLink
import BerthWire
import Foundation

// Incidents outside the plan, and the reaction of the rules to them. Plates are misread, missing or banned; a driver does not leave; a
// space provider comes back early; an evening is closed.
extension SimulatedUsers {
    /// Lots at which the incidents happen: they keep windows and stays of a minute, so that a viewer sees their end.
    func prepareIncidents() async {
        for lot in incidentLots {
            _ = await call(
                "policy.set",
                [
                    "scope": .string("lot:\(lot.parkCode)"),
                    "values": [
                        "earlyMin": 0, "lateMin": 1, "stayMin": 1, "shareLateGraceMin": 0, "shareWarnMin": 0, "rehomeLeadMin": 0,
                        "shareLateStrikes": 1000, "dailyMaxPerUser": 1000, "dailyMaxPerPlate": 1000,
                    ],
                ], asDesk: true)
        }
    }

    private var gateLot: PlannedLot? { CityPlan.gateLot(of: lots) }
    private var venue: PlannedLot? { lots.last { $0.kind == .venue } }
    private var homes: [PlannedLot] { Array(lots.filter(\.isShared).prefix(3)) }
    private var incidentLots: [PlannedLot] { homes }

    func incidents() async {
        var round = 0
        while !Task.isCancelled {
            switch round % 8 {
            case 0: await misread(decides: round % 16 == 0)
            case 1: await stayTooLong()
            case 2: await withoutPlate()
            case 3: await banned(round)
            case 4: await comeBackEarly()
            case 5: await waitForAPlace()
            case 6: await offerWithProof()
            default: await closeAnEvening()
            }
            round += 1
            await pause(minutes: 5)
        }
    }

    private func plate(_ head: String) -> String { head + String(10_000 + Int(SystemClock.now() / 5 % 90_000)) }

    private func book(_ lot: PlannedLot, _ plate: String, purpose: Int = 1, at time: Int64? = nil, _ more: [(String, JSON)] = []) async
        -> String?
    {
        let wish = JSON.object(
            JSONObject(
                [
                    ("clientOrderNo", .string(SystemRandom.uuid())), ("userToken", .string(SystemRandom.token(12))),
                    ("plateNo", .string(plate)),
                    ("plateColor", 0), ("parkCode", .string(lot.parkCode)), ("bizType", .int(purpose)),
                    ("planTime", .int(time ?? SystemClock.now() + 60_000)),
                ] + more))
        guard let made = await call("order.create", wish), made.code == 0 else { return nil }
        return made.data["orderNo"]?.stringValue
    }

    /// A camera takes one province for its neighbour. With one candidate the car drives in and is on record; with two the control room decides.
    /// - Parameter decides: the desk decides; otherwise the car waits for the person who looks at the demo.
    private func misread(decides: Bool) async {
        guard let lot = gateLot, let box = gateway.box(lot.parkCode) else { return }
        let number = String(plate("B").dropFirst())
        let (one, two, read) = ("粤B" + number, "湘B" + number, "桂B" + number)
        guard let first = await book(lot, one) else { return }
        await untilDelivered()
        guard let alone = try? await gateway.decide(lot.parkCode, plate: read, plateColor: 0, gateCode: "G1", confidence: 60) else {
            return
        }
        if alone["admit"]?.boolValue == true, (try? await box.enter(plate: read, plateColor: 0, gateCode: "G1")) != nil {
            tell("\(lot.name)  误读一字，唯一候选，放行并留痕 misread, one candidate: admitted, on record") { $0.misread += 1 }
            await pause(minutes: 5)
            _ = try? await box.exit(plate: read, gateCode: "G2")
        }
        let next = String(plate("B").dropFirst())
        guard await book(lot, "粤B" + next) != nil, await book(lot, "湘B" + next) != nil else { return }
        await untilDelivered()
        let question = "桂B" + next
        let imageId = try? await gateway.sendPicture(lot.parkCode, PlatePicture.png("B" + next))
        guard
            let asked = try? await gateway.decide(
                lot.parkCode, plate: question, plateColor: 0, gateCode: "G1", confidence: 60, imageId: imageId),
            let caseNo = asked["caseNo"]?.stringValue, let candidate = asked["candidates"]?.arrayValue?.first
        else { return }
        tell("\(lot.name)  误读两名候选，转人工 misread, two candidates: to the control room") { $0.cases += 1 }
        await pause(minutes: 1)
        guard decides else { return }
        _ = await call(
            "gate.case.decide", ["parkCode": .string(lot.parkCode), "caseNo": .string(caseNo), "orderNo": candidate], asDesk: true)
        if let admitted = try? await gateway.decide(lot.parkCode, plate: question, plateColor: 0, gateCode: "G1"),
            admitted["admit"]?.boolValue == true, (try? await box.enter(plate: question, plateColor: 0, gateCode: "G1")) != nil
        {
            tell("\(lot.name)  人工核对后放行 the control room let it in") { _ in }
            await pause(minutes: 5)
            _ = try? await box.exit(plate: question, gateCode: "G2")
        }
        _ = (first, two)
    }

    /// The lot has to have a reservation before its gate can know the plate, however fast the city lives.
    private func untilDelivered() async {
        try? await Task.sleep(for: .seconds(2))
        await pause(minutes: 1)
    }

    /// A driver stays in a shared space beyond their time; the next driver's order moves to another space by itself.
    private func stayTooLong() async {
        guard let lot = homes.first, let box = gateway.box(lot.parkCode), let offerId = await offer(lot) else { return }
        let stays = plate("粤B")
        guard
            let first = await book(
                lot, stays, purpose: 2, at: SystemClock.now() + 5_000, [("offerId", .string(offerId)), ("stayMin", 1)])
        else { return }
        try? await Task.sleep(for: .seconds(6))
        guard (try? await box.enter(plate: stays, gateCode: "G1", orderNo: first)) != nil else { return }
        let next = await book(
            lot, plate("粤B"), purpose: 2, at: SystemClock.now() + 70_000, [("offerId", .string(offerId)), ("stayMin", 5)])
        guard let next else { return }
        await whenMoved(next, "\(lot.name)  前车超时不走，后车自动改派 the next driver is re-homed: somebody stays")
        // They stay for some minutes more, for the person who looks at the exceptions.
        Task {
            try? await Task.sleep(for: .seconds(240))
            _ = try? await box.exit(plate: stays, gateCode: "G2")
        }
    }

    /// The owner is home early, sees the orders that this ends and its cost, and confirms.
    private func comeBackEarly() async {
        guard let lot = homes.last, let offerId = await offer(lot) else { return }
        let booked = await book(
            lot, plate("粤B"), purpose: 2, at: SystemClock.now() + 120_000, [("offerId", .string(offerId)), ("stayMin", 30)])
        guard let booked else { return }
        let shown = await call("share.offer.close", ["offerId": .string(offerId)])
        let count = shown?.data["orders"]?.arrayValue?.count ?? 0
        tell("\(lot.name)  业主要提前回来：先看影响 \(count) 单 the owner comes back early: \(count) orders are shown first") { _ in }
        _ = await call("share.offer.close", ["offerId": .string(offerId), "confirm": true])
        await whenMoved(booked, "\(lot.name)  业主回来，预约改派，差价由业主承担 re-homed at the owner's cost")
    }

    private func offer(_ lot: PlannedLot) async -> String? {
        let made = await call(
            "share.offer.publish",
            [
                "parkCode": .string(lot.parkCode), "providerToken": .string(SystemRandom.token(10)),
                "spaceNo": .string("E\(SystemClock.now() % 1_000_000)"),
                "proofImages": ["demo"], "agreementVersion": "1.0",
                "segments": [["repeatType": "daily", "start": "00:00", "end": "24:00"]], "price": ["mode": 2, "amount": 500],
            ])
        guard let offerId = made?.data["offerId"]?.stringValue,
            await call("share.review", ["offerId": .string(offerId), "pass": true], asDesk: true)?.code == 0
        else { return nil }
        return offerId
    }

    /// An owner publishes with a picture of the deed, and waits for the person who looks at the demo; three at most wait.
    private func offerWithProof() async {
        guard let lot = homes.dropFirst().first ?? homes.first else { return }
        let waiting = await call("share.review.list", ["parkCode": .string(lot.parkCode)], asDesk: true)
        guard (waiting?.data["offers"]?.arrayValue?.count ?? 0) < 3 else { return }
        let space = "F\(SystemClock.now() % 1_000)"
        let picture = PlatePicture.png("B" + space.dropFirst())
        guard
            let ticket = await call(
                "image.ticket.apply",
                [
                    "type": 4, "ext": "png", "size": .int(Int64(picture.count)), "sha256": .string(Signature.hash(canonical: picture)),
                ])?.data, let url = ticket["uploadUrl"]?.stringValue, let imageId = ticket["imageId"], await send(picture, to: url)
        else { return }
        _ = await call("image.upload.complete", ["imageId": imageId])
        let made = await call(
            "share.offer.publish",
            [
                "parkCode": .string(lot.parkCode), "providerToken": .string(SystemRandom.token(10)), "spaceNo": .string(space),
                "proofImages": [imageId], "agreementVersion": "1.0",
                "segments": [["repeatType": "weekly", "repeatData": [1, 2, 3, 4, 5], "start": "09:00", "end": "18:00"]],
                "price": ["mode": 2, "amount": 400],
            ])
        if made?.code == 0 { tell("\(lot.name)  车位 \(space) 待审核 waits for a review") { $0.offers += 1 } }
    }

    private func whenMoved(_ orderNo: String, _ text: String) async {
        for _ in 0..<100 where !Task.isCancelled {
            guard let reservation = await call("order.detail", ["orderNo": .string(orderNo)])?.data else { return }
            if reservation["rehomedTo"]?.stringValue != nil || (reservation["orderVer"]?.intValue ?? 1) > 1 {
                return tell(text) { $0.rehomed += 1 }
            }
            try? await Task.sleep(for: .seconds(1))
        }
    }

    /// A car without a plate gets a number, or shows its order's code; one that follows too close is noticed.
    private func withoutPlate() async {
        guard let lot = gateLot, let box = gateway.box(lot.parkCode) else { return }
        let number = "无" + String(SystemRandom.token(8).uppercased().filter { $0.isASCII && ($0.isLetter || $0.isNumber) })
        if (try? await box.enter(plate: number, gateCode: "G1")) != nil {
            tell("\(lot.name)  无牌车入场，编号 \(number) a car without a plate") { $0.plateless += 1 }
            await pause(minutes: 5)
            _ = try? await box.exit(plate: number, gateCode: "G2")
        }
        let close = plate("粤B")
        if (try? await box.enter(plate: close, gateCode: "G1", enterMode: 5)) != nil {
            tell("\(lot.name)  疑似跟车，已告警 tailgating, noticed") { _ in }
            await pause(minutes: 3)
            _ = try? await box.exit(plate: close, gateCode: "G2")
        }
    }

    /// A plate is banned in the whole city: neither app nor gate takes it, and when it ends is said.
    private func banned(_ round: Int) async {
        guard let lot = gateLot else { return }
        let bad = plate("粤B")
        _ = await call(
            "list.black.push",
            [
                "plateNo": .string(bad), "status": 1, "scope": "city", "reason": "demo", "from": .int(SystemClock.now() - 1000),
                "to": .int(SystemClock.now() + 600_000),
            ], asDesk: true, parkCode: lot.parkCode)
        await pause(minutes: 1)
        guard let asked = try? await gateway.decide(lot.parkCode, plate: bad, plateColor: 0, gateCode: "G1") else { return }
        if asked["admit"]?.boolValue == false { tell("\(lot.name)  黑名单车辆不放行 a banned car is turned away") { $0.banned += 1 } }
    }

    /// A small lot is booked out; one more driver waits, and has the place as soon as somebody cancels.
    private func waitForAPlace() async {
        guard let lot = lots.filter({ !$0.isShared && $0.kind != .hospital }).min(by: { $0.capacity < $1.capacity }) else { return }
        let time = SystemClock.now() + 50 * 60_000
        let number = Int(time / 5)
        func plate(_ index: Int) -> String { "粤B\(10_000 + (number + index) % 90_000)" }
        var taken: [String] = []
        for index in 1...60 where !Task.isCancelled {
            guard let orderNo = await book(lot, plate(index), at: time) else { break }
            taken.append(orderNo)
        }
        func status(_ orderNo: String) async -> Int64? {
            await call("order.detail", ["orderNo": .string(orderNo)])?.data["status"]?.intValue
        }
        guard let first = taken.first, let waits = await book(lot, plate(0), at: time, [("waitlist", true)]) else { return }
        if await status(waits) == 9 {
            tell("\(lot.name)  约满，一人候补 booked out, one driver waits") { $0.waited += 1 }
            await pause(minutes: 1)
            _ = await call("order.cancel", ["orderNo": .string(first), "reason": "changed plans"])
            for _ in 0..<20 where !Task.isCancelled {
                if await status(waits) == 1 {
                    tell("\(lot.name)  有人退订，候补自动转正 a place came back: the waiting driver has it") { $0.promoted += 1 }
                    break
                }
                try? await Task.sleep(for: .milliseconds(200))
            }
        }
        for orderNo in taken.dropFirst() + [waits] { _ = await call("order.cancel", ["orderNo": .string(orderNo), "reason": "demo"]) }
    }

    /// A venue closes for a while. The desk looks at the effect first; drivers who lose their place are told of lots with room.
    private func closeAnEvening() async {
        guard let lot = venue else { return }
        let now = SystemClock.now()
        let booked = await book(lot, plate("粤B"), at: now + 90_000)
        func policy(_ mode: Int64, revokes: Bool) -> JSON {
            [
                "parkCode": .string(lot.parkCode), "policyId": "event", "mode": .int(mode), "validFrom": .int(now),
                "validTo": .int(now + 900_000), "revokeOrders": .bool(revokes),
            ]
        }
        let hits = await call("flow.policy.preview", policy(3, revokes: true), asDesk: true)?.data["affected"]?.intValue ?? 0
        guard await call("flow.policy.set", policy(3, revokes: true), asDesk: true)?.code == 0 else { return }
        tell("\(lot.name)  临时关闭：撤销 \(hits) 单，附备选 closed for an event: \(hits) orders get alternatives") {
            $0.flow += 1
            $0.revoked += Int(min(max(hits, 0), 1_000_000))
        }
        await pause(minutes: 3)
        _ = await call("flow.policy.set", policy(0, revokes: false), asDesk: true)
        tell("\(lot.name)  重新开放 open again") { _ in }
        _ = booked
    }
}
