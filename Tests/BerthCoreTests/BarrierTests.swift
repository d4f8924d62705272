import BerthCore
import Testing

/// What the barrier must not be talked into.
@Suite struct BarrierTests {
    private func check(_ world: inout World, _ plate: String, reservation: String? = nil, confidence: Int? = nil) -> GateDecision {
        if case .gate(let gate, _) = world.decide(
            .check(
                parkCode: "P1",
                GateQuestion(plate: Plate(plate)!, time: world.now, gateCode: "G1", confidence: confidence, orderNo: reservation))
        ).outcome {
            return gate
        }
        preconditionFailure()
    }

    private func book(_ world: inout World, _ plate: String) -> Reservation {
        world.create("u\(world.keys)", in: 10) { $0.plate = Plate(plate)! }.outcome.reservation!
    }

    private func ban(_ world: inout World, _ plate: String) {
        world.decide(
            .list(
                .lot("P1"), service: "list.black.push", body: "{}", kind: City.blackKind, plate: Plate(plate)!,
                ListEntry(isInForce: true, from: 0, to: world.now + 86_400_000), kept: "{}", isExempt: false))
    }

    @Test func aBannedPlateIsNotReadAroundItsBan() {
        var world = World(quota: 9)
        _ = book(&world, "粤B8A123")
        #expect(check(&world, "粤BBA123").verdict == .allow)
        world.now += 700_000
        ban(&world, "粤B8A123")
        #expect(check(&world, "粤B8A123").refusal == .plateBlacklisted)
        #expect(check(&world, "粤B8A123").note?.until != nil)
        #expect(check(&world, "粤BBA123").verdict == .local, "misread it is nobody's car")
        let refused = world.create("x", in: 20) { $0.plate = Plate("粤B8A123")! }
        #expect(refused.outcome == .refused(.plateBlacklisted) && refused.note?.until == world.now + 86_400_000)
    }

    @Test func aPlateThatSomebodyHasIsNoMisreading() throws {
        var world = World(quota: 9)
        world.decide(
            .openLot(World.profile(quota: 9)))
        _ = try #require(
            world.subscribe("s", plates: [Plate("粤BBA123")!], segments: [RecurringWindow(.daily, start: 0, end: 1)]).subscription)
        _ = book(&world, "粤B8A123")
        #expect(check(&world, "粤BBA123").entry == nil, "outside his hours a subscriber is not somebody else")
    }

    @Test func theWordOfTheControlRoomIsAboutWhoseCarItIs() throws {
        var world = World(quota: 9)
        let (one, _) = (book(&world, "粤B8A123"), book(&world, "湘B8A123"))
        _ = check(&world, "赣B8A123")
        func number() -> String { world.city.gateCases.values.filter { $0.state == .open }.map(\.caseNo).max()! }
        world.decide(.decideCase(parkCode: "P1", caseNo: number(), orderNo: one.orderNo, by: "op"))
        #expect(check(&world, "赣B8A123").verdict == .allow)
        world.decide(.cancel(appId: "app1", orderNo: one.orderNo, confirmBreach: true))
        #expect(check(&world, "赣B8A123").refusal == .orderCancelled, "his order is gone meanwhile")
        ban(&world, "赣B8A123")
        #expect(check(&world, "赣B8A123").refusal == .plateBlacklisted)
    }

    @Test func aWordIsUsedUpByTheEntry() throws {
        var world = World(quota: 9)
        let (one, two) = (book(&world, "粤B8A123"), book(&world, "湘B8A123"))
        _ = check(&world, "赣B8A123")
        let caseNo = world.city.gateCases.values.first!.caseNo
        world.decide(.decideCase(parkCode: "P1", caseNo: caseNo, orderNo: one.orderNo, by: "op"))
        if case .recorded = world.come(one.orderNo, plate: Plate("赣B8A123")!, record: "r1") {} else { Issue.record("admitted") }
        #expect(world.city.gateCases[caseNo]?.recordNo == "r1")
        #expect(check(&world, "赣B8A123").refusal == .repeatedEntry, "a second car of that reading is another question")
        _ = two
    }

    @Test func noMeansNo() {
        var world = World(quota: 9)
        let (one, two) = (book(&world, "粤B8A123"), book(&world, "湘B8A123"))
        _ = check(&world, "赣B8A123")
        world.decide(.decideCase(parkCode: "P1", caseNo: world.city.gateCases.values.first!.caseNo, orderNo: nil, by: "op"))
        #expect(world.come(two.orderNo, plate: Plate("湘B8A123")!, record: "r1") == .recorded(recordNo: "r1", .inLot, isRepeat: false))
        #expect(check(&world, "赣B8A123").verdict == .local, "one candidate is left, and it was said that it is not he")
        #expect(world.come(one.orderNo, plate: Plate("赣B8A123")!, record: "r2") == .recordedWith(.plateDiffers, recordNo: "r2"))
    }

    @Test func aCodeInPlaceOfAPlate() throws {
        var world = World(quota: 9)
        let reservation = book(&world, "粤B8A123")
        #expect(check(&world, "无A1", reservation: reservation.orderNo).entry?.orderNo == reservation.orderNo)
        #expect(check(&world, "无A1", reservation: "YY0").refusal == .orderNotFound)
        let later = world.create("z", in: 59) { $0.plate = Plate("粤B55555")! }.outcome.reservation!
        let early = check(&world, "无A1", reservation: later.orderNo)
        #expect(early.refusal == .tooEarlyToEnter && early.note?.until == later.enterStart)
    }

    @Test func theLotsOwnListsCount() {
        var world = World(quota: 9)
        func file(_ kind: String, _ plate: String) {
            world.decide(
                .file(
                    parkCode: "P1", [KeptRecord(parkCode: "P1", kind: kind, key: plate, body: "{}", at: world.now)], replaces: nil,
                    knownBy: nil,
                    notice: nil, entries: [plate: ListEntry(isInForce: true, from: 0, to: .max)]))
        }
        file(City.localBlackKind, "粤B66666")
        #expect(check(&world, "粤B66666").refusal == .plateBlacklisted)
        #expect(world.create("a", in: 10) { $0.plate = Plate("粤B66666")! }.outcome == .refused(.plateBlacklisted))
        file(City.localMonthlyKind, "粤B77777")
        world.decide(
            .setFlow(FlowPolicy(policyId: "F", parkCode: "P1", areaId: "", mode: .bookingOnly, validFrom: 0, validTo: .max / 4)))
        #expect(check(&world, "粤B77777").verdict == .allow, "a season ticket is no walk-in")
        let away = check(&world, "粤B12345")
        #expect(away.refusal == .flowControlActive && away.note == RuleNote("F", until: .max / 4))
        world.decide(
            .file(parkCode: "P1", [], replaces: City.localBlackKind, knownBy: nil, notice: nil))
        #expect(check(&world, "粤B66666").refusal == .flowControlActive)
    }

    @Test func theGatesRulesGoToTheBox() {
        var world = World(quota: 9)
        let events = world.decide(.setPolicy(.city, ["fuzzyCharsMax": "0", "fuzzyConfidenceMax": "90"])).events
        let told = events.compactMap { event in
            if case .down(let entry) = event, case .relay(let service, let body) = entry.message { "\(service) \(body)" } else { nil }
        }
        #expect(told == [#"config.push {"exemptClasses":1,"fuzzyCharsMax":0,"fuzzyConfidenceMax":90}"#])
        #expect(world.decide(.setPolicy(.city, ["lateMin": "20"])).events.allSatisfy { if case .down = $0 { false } else { true } })
    }

    @Test func recordsOfYesterdayAreNoRushOfToday() {
        var world = World(quota: 9)
        var policy = FlowPolicy(policyId: "F", parkCode: "P1", areaId: "", mode: .throttle, validFrom: 0, validTo: .max / 4)
        policy.maxEntriesPer5min = 2
        world.decide(.setFlow(policy))
        for number in 0..<9 {
            world.decide(
                .enter(
                    parkCode: "P1",
                    Passage(
                        recordNo: "r\(number)", plate: World.plate(number), gateCode: "G1", enterTime: world.now - 7_200_000, carKind: 1,
                        orderNo: nil)))
        }
        #expect(check(&world, "粤B12345").verdict == .local)
    }

    @Test func everyPlateOfAnOrderIsLookedAt() {
        var world = World(quota: 9)
        world.decide(.setPolicy(.city, ["noShowMaxPerPlate": "1"]))
        let banned = World.plate(700)
        _ = world.create("a", in: 10, plate: 700)
        world.acknowledge("P1")
        world.run(minutes: 60)
        #expect(world.create("b", in: 10) { $0.plate = banned }.outcome == .refused(.noShowBan))
        #expect(world.create("b", in: 10, plate: 701) { $0.otherPlates = [banned] }.outcome == .refused(.noShowBan))
        let reservation = world.create("b", in: 10, plate: 702).outcome.reservation!
        #expect(
            world.decide(.modify(appId: "app1", orderNo: reservation.orderNo, planTime: nil, plate: banned, plateColor: nil)).outcome
                == .refused(.noShowBan))
        #expect(world.create("c", in: 10, plate: 703) { $0.otherPlates = [Plate("粤B0123警")!] }.outcome == .refused(.exemptVehicle))
    }

    @Test func movedOverMidnightEveryPlateCountsOnItsDay() throws {
        var policy = World.roomy
        policy.dailyMaxPerPlate = 1
        policy.advanceMaxMin = 3 * 1440
        var world = World(quota: 9, policy: policy, now: CivilTime.start(ofDay: 20_000) + 10 * 3_600_000)
        let reservation = try #require(
            world.create("a", in: 60, plate: 1) { $0.otherPlates = [World.plate(2)] }.outcome.reservation)
        _ = world.decide(
            .modify(appId: "app1", orderNo: reservation.orderNo, planTime: reservation.planTime + 86_400_000, plate: nil, plateColor: nil))
        #expect(world.create("b", in: 300, plate: 2).outcome.reservation != nil, "today is free again")
        #expect(world.create("c", in: 60 + 1440, plate: 2).outcome.reservation == nil, "tomorrow is not")
        world.decide(.cancel(appId: "app1", orderNo: reservation.orderNo, confirmBreach: false))
        #expect(world.create("c", in: 60 + 1440, plate: 2).outcome.reservation != nil)
        #expect(world.create("d", in: 700 + 1440, plate: 2).outcome == .refused(.dailyLimit), "one a day, not two")
    }

    @Test func whatIsOverIsNotCancelled() {
        var world = World(quota: 9)
        let reservation = world.create("a", in: 30).outcome.reservation!
        world.now += 61 * 60_000
        let late = world.decide(.cancel(appId: "app1", orderNo: reservation.orderNo, confirmBreach: true))
        #expect(late.outcome == .refused(.notCancellable) && late.note?.until == reservation.enterEnd)
        // Nor can what is not free any more be moved into being free again.
        let other = world.create("b", in: 30).outcome.reservation!
        world.now += 10 * 60_000
        _ = world.decide(
            .modify(appId: "app1", orderNo: other.orderNo, planTime: world.now + 59 * 60_000, plate: nil, plateColor: nil))
        #expect(world.decide(.cancel(appId: "app1", orderNo: other.orderNo, confirmBreach: false)).outcome == .refused(.breachNeedsConfirm))
    }
}
