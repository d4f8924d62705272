import BerthCore
import Testing

/// What a no-show may rest on, and what undoes it (section 5.5): each of these once charged somebody who had come.
@Suite struct EvidenceTests {
    private static let start = CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 3, day: 4)!) + 9 * 3_600_000

    private func world() -> World { World(quota: 5, now: EvidenceTests.start) }

    @Test func aRecordOfTomorrowHasPassedNothing() {
        var world = world()
        let reservation = world.reservation(world.create("a", in: 30).outcome)
        world.decide(.notice(LotEvent(parkCode: "P1", eventType: 1001, occurredAt: world.now + 86_400_000)))
        #expect(world.city.lots["P1"]!.passedThrough == 0, "it is evidence of nothing")
        world.run(minutes: 90, isLinked: false)
        #expect(world.status(reservation.orderNo) == .booked, "the lot is away: nobody knows whether he came")
    }

    @Test func aRefusedRecordIsEvidenceToo() {
        var world = world()
        let reservation = world.reservation(world.create("a", in: 30, plate: 1).outcome)
        world.acknowledge("P1")
        // A record that could not be decoded says all the same that the car was there.
        world.now += 20 * 60_000
        _ = world.decide(.dispute(parkCode: "P1", plate: World.plate(1), orderNo: nil, time: world.now, recordNo: "r1"))
        world.run(minutes: 60)
        #expect(
            world.reservation(reservation.orderNo).status == .noShow && world.evidence().isEmpty, "over, and nothing is held against him")
        #expect(world.city.standing(appId: "app1", userToken: "a", at: world.now).first { $0.name == "noShowMaxPerMonth" }?.used == 0)
    }

    @Test func whatTheLotSaysOfNobodyNeedsItsLogToo() {
        var world = world()
        let reservation = world.reservation(world.create("a", in: 30).outcome)
        world.acknowledge("P1")
        world.now += 70 * 60_000
        func absent(_ occurred: Millis) -> Outcome {
            world.decide(
                .state(parkCode: "P1", orderNo: reservation.orderNo, orderVer: 1, .notArrived, at: occurred, recordNo: nil)
            ).outcome
        }
        #expect(absent(reservation.enterEnd - 1) == .refused(.wrongState))
        if case .recorded = absent(reservation.enterEnd) {} else { Issue.record("its log has passed the window") }
        #expect(world.status(reservation.orderNo) == .noShow && world.evidence().count == 1)
    }

    @Test func anOrderThatCameTooLateToTheLotIsNobodysFault() {
        var world = world()
        let reservation = world.reservation(world.create("a", in: 30).outcome)
        world.now += 61 * 60_000
        world.decide(.expire(parkCode: "P1"))
        // It was away all the time; back again, it reads its log without a word about each entry.
        world.acknowledge("P1")
        world.run(minutes: 2)
        #expect(
            world.status(reservation.orderNo) == .rejected && world.reservation(reservation.orderNo).isCompensated
                && world.evidence().isEmpty)
    }

    @Test func aCorrectedPlateProvesThatHeCame() {
        var world = world()
        let reservation = world.reservation(world.create("a", in: 30, plate: 1).outcome)
        world.now += 30 * 60_000
        _ = world.decide(
            .enter(
                parkCode: "P1",
                Passage(recordNo: "r", plate: World.plate(2), gateCode: "G1", enterTime: world.now, carKind: 1, orderNo: nil)))
        let entered = world.now
        world.run(minutes: 40)
        #expect(world.status(reservation.orderNo) == .noShow && world.evidence().first?.state == .inForce)
        _ = world.go(plate: World.plate(2), record: "r", entered: entered)
        world.decide(.correct(parkCode: "P1", recordNo: "r", .plate(World.plate(1))))
        #expect(world.status(reservation.orderNo) == .done && world.evidence().first?.state == .undone)
    }

    @Test func anEntryThatNamesNoOrderIsEvidenceToo() {
        var world = world()
        let reservation = world.reservation(world.create("a", in: 30, plate: 1).outcome)
        world.acknowledge("P1")
        world.now += 30 * 60_000
        world.decide(
            .enter(
                parkCode: "P1",
                Passage(recordNo: "r", plate: World.plate(1), gateCode: "G1", enterTime: world.now, carKind: 1, orderNo: nil)))
        world.run(minutes: 60)
        #expect(world.reservation(reservation.orderNo).status == .noShow && world.evidence().isEmpty)
    }

    @Test func whoIsBannedAfterwardsIsNotBlamedAndNotPromoted() {
        var world = world()
        let banned = world.reservation(world.create("a", in: 30, plate: 1).outcome)
        for number in 2...5 { _ = world.create("u\(number)", in: 30, plate: number) }
        let waits = world.reservation(world.create("w", in: 30, plate: 6) { $0.waits = true }.outcome)
        #expect(waits.status == .waitlisted)
        for number in [1, 6] {
            world.city.restore(list: "list.black.push", "P1", World.plate(number), ListEntry(isInForce: true, from: 0, to: .max))
        }
        let refused = world.create("a", in: 30, plate: 1)
        #expect(refused.outcome == .refused(.plateBlacklisted) && refused.note?.until == nil, "what never ends names no end")
        _ = world.decide(.cancel(appId: "app1", orderNo: world.city.lots["P1"]!.inForce[1].orderNo, confirmBreach: true))
        #expect(world.status(waits.orderNo) == .waitlisted)
        world.acknowledge("P1")
        world.run(minutes: 70)
        #expect(world.reservation(banned.orderNo).status == .noShow)
        #expect(!world.evidence().contains { $0.orderNo == banned.orderNo }, "he was not let in")
    }

    /// Every refusal of a shared place says when it is different.
    @Test func refusalsOfSharedPlacesNameTheirEnd() {
        var world = World(quota: 5, now: EvidenceTests.start)
        world.add("S1", share: 0)
        let evening = RecurringWindow.parse("1-7 18:00-22:00")!
        let offer = world.offer("A1", lot: "S1", segments: evening)
        func ask(_ minutes: Int) -> Decision {
            world.create("u\(world.keys)", lot: "S1", purpose: .shared, in: minutes) {
                $0.offerId = offer.offerId
                $0.stayMin = 60
            }
        }
        let outside = ask(60)
        #expect(outside.outcome == .refused(.outsideSegment) && outside.note?.until == EvidenceTests.start + 9 * 3_600_000)
        world.now += 8 * 3_600_000 + 30 * 60_000
        #expect(ask(40).outcome.reservation != nil)
        let taken = ask(45)
        #expect(taken.outcome == .refused(.noBookableSpace) && taken.note?.used == 1 && taken.note?.max == 1 && taken.note?.until != nil)
    }

    /// What a lot allows is shown as that lot counts; a breach that was none counts nowhere.
    @Test func countersAsTheLotCounts() {
        var world = world()
        world.decide(.setPolicy(.lot("P1"), ["dailyMaxPerUser": "1", "cancelMaxPerDay": "1", "noShowMaxPerMonth": "2"]))
        func counter(_ name: String, lot: String? = "P1") -> City.Counter? {
            world.city.standing(appId: "app1", userToken: "a", parkCode: lot, at: world.now).first { $0.name == name }
        }
        #expect(counter("dailyMaxPerUser")?.max == 1 && counter("dailyMaxPerUser", lot: nil)?.max != 1)
        #expect(counter("noShowMaxPerMonth")?.max == 2)
        let reservation = world.reservation(world.create("a", in: 30, plate: 1).outcome)
        world.now += 20 * 60_000
        world.decide(.cancel(appId: "app1", orderNo: reservation.orderNo, confirmBreach: true))
        #expect(world.status(reservation.orderNo) == .cancelledBreach)
        #expect(counter("cancelMaxPerDay")?.used == 1 && counter("dailyMaxPerUser")?.used == 1)
        let penalty = world.evidence()[0].penaltyId
        world.decide(.appeal(appId: "app1", penaltyId: penalty, text: "x", images: []))
        world.decide(.answerAppeal(appealId: "AP" + penalty, isGranted: true, answer: "y"))
        #expect(counter("cancelMaxPerDay")?.used == 0 && counter("dailyMaxPerUser")?.used == 0)
    }

    @Test func aRecordThatSaysAnotherTime() {
        var world = world()
        func say(_ time: Millis, _ plate: Int) -> Outcome {
            world.decide(
                .enter(
                    parkCode: "P1",
                    Passage(recordNo: "r", plate: World.plate(plate), gateCode: "G1", enterTime: time, carKind: 1, orderNo: nil))
            ).outcome
        }
        _ = say(world.now, 1)
        #expect(say(world.now - 5_000, 1) == .refused(.enterTimeDiffers) && say(world.now, 2) == .refused(.repeatedEntry))
    }

    /// A subscriber's strike falls with the record that it came from.
    @Test(arguments: [true, false]) func aStrikeFallsWithItsRecord(_ isVoid: Bool) throws {
        var world = World(quota: 5, now: EvidenceTests.start)
        world.add("S1", share: 1)
        world.decide(.setPolicy(.lot("S1"), ["shareWindow": "1-7 08:00-10:00"]))
        let share = try #require(world.subscribe("a", lot: "S1", plates: [World.plate(1)]).subscription)
        let entered = world.now
        _ = world.come(share.authNo, plate: World.plate(1), lot: "S1", record: "r")
        world.run(minutes: 90)
        _ = world.go(plate: World.plate(1), lot: "S1", record: "r", entered: entered)
        #expect(world.evidence().map(\.state) == [.inForce] && world.city.subscription(share.authNo)?.strikes == 1)
        world.decide(.correct(parkCode: "S1", recordNo: "r", isVoid ? .void : .times(enter: nil, leave: entered + 30 * 60_000)))
        #expect(world.evidence().map(\.state) == [.undone] && world.city.subscription(share.authNo)?.strikes == 0)
    }

    @Test func theStateAndTheRecordOfOneArrival() {
        var world = world()
        let reservation = world.reservation(world.create("a", in: 0, plate: 1).outcome)
        _ = world.decide(
            .state(parkCode: "P1", orderNo: reservation.orderNo, orderVer: 1, .arrived, at: world.now, recordNo: "r"))
        #expect(world.status(reservation.orderNo) == .inLot)
        if case .recorded(_, .inLot, false) = world.come(reservation.orderNo, plate: World.plate(1), record: "r") {
        } else {
            Issue.record("the record is of the same arrival")
        }
        let entered = world.now
        world.now += 60_000
        _ = world.go(plate: World.plate(1), record: "r", entered: entered)
        #expect(world.status(reservation.orderNo) == .done && world.reservation(reservation.orderNo).entriesUsed == 1)
    }

    @Test func whoIsBackAfterHisWindowDoesNotComeInOnIt() {
        var policy = World.roomy
        policy.entriesPerOrder = -1
        var world = World(quota: 1, policy: policy, now: EvidenceTests.start)
        let reservation = world.reservation(world.create("a", in: 0, plate: 1).outcome)
        func visit(_ record: String) -> Outcome {
            let outcome = world.come(reservation.orderNo, plate: World.plate(1), record: record)
            let entered = world.now
            world.now += 60_000
            _ = world.go(plate: World.plate(1), record: record, entered: entered)
            return outcome
        }
        if case .recorded = visit("r1") {} else { Issue.record("first") }
        if case .recorded = visit("r2") {} else { Issue.record("again, inside the window") }
        #expect(world.create("b", in: 5, plate: 2).outcome.reservation != nil, "his place is free while he is out")
        #expect(visit("r3") == .recordedWith(.noBookableSpace, recordNo: "r3"))
        world.now += 3_600_000
        #expect(visit("r4") == .recordedWith(.tooLateToEnter, recordNo: "r4"))
    }
}

/// Money that comes twice, late, or for something that has ended.
@Suite struct MoneyTests {
    private static let start = CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 3, day: 4)!) + 9 * 3_600_000

    private func world() -> World {
        var world = World(quota: 5, now: MoneyTests.start)
        world.add("S1", share: 2)
        var rule = Tariff.Rule()
        rule.stepFen = 1_000
        world.decide(
            .file(
                parkCode: "S1", [], replaces: nil, knownBy: nil, notice: nil,
                tariff: LotTariff(from: 0, business: 0, vehicleClass: 0, tariff: Tariff(tariffId: "T", rules: [rule]))))
        return world
    }

    private func parked(_ world: inout World, _ record: String = "r") -> Reservation {
        let reservation = world.reservation(world.create("a", lot: "S1", purpose: .shared, in: 0, plate: 1) { $0.stayMin = 600 }.outcome)
        _ = world.come(reservation.orderNo, plate: World.plate(1), lot: "S1", record: record)
        return reservation
    }

    private func owed(_ world: World, _ record: String = "r") -> SessionFee {
        world.city.sessionFee("S1", recordNo: record, at: world.now, past: Past())!
    }

    private func bill(_ world: inout World, _ number: String, _ fen: Int64) {
        world.decide(
            .bill(World.bill(number, "S1", "r", fen, until: world.now + 300_000)))
    }

    private func pay(_ world: inout World, _ billNo: String, _ payNo: String, _ fen: Int64) -> Outcome {
        world.decide(.pay(appId: "app1", parkCode: "", billNo: billNo, payNo: payNo, amountFen: fen, channel: "c", requestHash: payNo))
            .outcome
    }

    private func conclude(_ world: inout World, _ payNo: String) {
        world.decide(.conclude(appId: "app1", payNo: payNo, isPaid: true, message: "{}"))
    }

    private func settle(_ world: inout World, _ billNo: String, _ payNo: String, _ fen: Int64) {
        bill(&world, billNo, fen)
        _ = pay(&world, billNo, payNo, fen)
        conclude(&world, payNo)
    }

    @Test func aPaidHourStaysPaidForEver() {
        var world = world()
        _ = parked(&world)
        world.now += 50 * 60_000
        settle(&world, "b1", "p1", 1_000)
        world.now += 10 * 60_000 + 30_000
        #expect(owed(world).payableFen == 0, "who has paid has a quarter of an hour to drive out, also into the next hour")
        world.now += 30 * 60_000
        world.city.forget(endedBefore: world.now - 600_000)
        #expect(owed(world).totalFen == 2_000 && owed(world).paidFen == 1_000 && owed(world).payableFen == 1_000)
    }

    @Test func twoBillsOfOneStay() {
        var world = world()
        _ = parked(&world)
        world.now += 60_000
        bill(&world, "b1", 1_000)
        bill(&world, "b2", 1_000)
        _ = pay(&world, "b1", "p1", 1_000)
        #expect(pay(&world, "b2", "p2", 1_000) == .refused(.alreadyPaid), "one payment of a stay at a time")
        bill(&world, "b1", 1_000)
        #expect(pay(&world, "b1", "p3", 1_000) == .refused(.alreadyPaid), "asked again it is the same bill")
        conclude(&world, "p1")
        #expect(pay(&world, "b2", "p4", 1_000) == .refused(.alreadyPaid))
        #expect(world.city.ledgerSum == 0 && world.city.balances[.provider("app1")] == 1_000)
    }

    @Test func moneyForWhatHasEndedGoesBack() {
        var policy = World.roomy
        policy.prepayFen = 500
        policy.holdMin = 5
        var world = World(quota: 5, policy: policy, now: MoneyTests.start)
        let reservation = world.reservation(world.create("a", in: 30).outcome)
        #expect(reservation.status == .held)
        _ = world.decide(
            .pay(appId: "app1", parkCode: "", billNo: reservation.billNo!, payNo: "p1", amountFen: 500, channel: "c", requestHash: "p1"))
        world.run(minutes: 7)
        #expect(world.status(reservation.orderNo) == .rejected)
        world.decide(.conclude(appId: "app1", payNo: "p1", isPaid: true, message: "{}"))
        #expect(world.city.payment("p1", appId: "app1", past: Past())?.state == .refunded)
        #expect(world.city.balances.isEmpty && world.city.ledgerSum == 0)
        #expect(
            world.decide(.refund(appId: "app1", payNo: "p1", refundNo: "x", amountFen: 500, message: "{}")).outcome
                == .refused(.refundNotAllowed))
    }

    @Test func aDepositIsNotRefundedByHand() {
        var policy = World.roomy
        policy.prepayFen = 500
        var world = World(quota: 5, policy: policy, now: MoneyTests.start)
        let reservation = world.reservation(world.create("a", in: 50).outcome)
        _ = world.decide(
            .pay(appId: "app1", parkCode: "", billNo: reservation.billNo!, payNo: "p1", amountFen: 500, channel: "c", requestHash: "p1"))
        world.decide(.conclude(appId: "app1", payNo: "p1", isPaid: true, message: "{}"))
        let refused = world.decide(.refund(appId: "app1", payNo: "p1", refundNo: "x", amountFen: 500, message: "{}"))
        #expect(refused.outcome == .refused(.refundNotAllowed) && refused.note != nil)
        world.decide(.cancel(appId: "app1", orderNo: reservation.orderNo, confirmBreach: false))
        #expect(world.city.balances.isEmpty, "the free cancel gave it back, once")
    }

    @Test func anAppealGivesTheDepositBack() {
        var policy = World.roomy
        policy.prepayFen = 500
        var world = World(quota: 5, policy: policy, now: MoneyTests.start)
        let reservation = world.reservation(world.create("a", in: 30).outcome)
        _ = world.decide(
            .pay(appId: "app1", parkCode: "", billNo: reservation.billNo!, payNo: "p1", amountFen: 500, channel: "c", requestHash: "p1"))
        world.decide(.conclude(appId: "app1", payNo: "p1", isPaid: true, message: "{}"))
        world.run(minutes: 70)
        #expect(world.status(reservation.orderNo) == .noShow && world.city.balances[.lot("P1")] == -500)
        let penalty = world.evidence()[0].penaltyId
        world.decide(.appeal(appId: "app1", penaltyId: penalty, text: "the road was closed", images: []))
        world.decide(.answerAppeal(appealId: "AP" + penalty, isGranted: true, answer: "so it was"))
        #expect(world.city.balances.isEmpty && world.city.payment("p1", appId: "app1", past: Past())?.state == .refunded)
    }

    @Test func aRefundTakesFromEverybodyWhatHeGot() {
        var world = world()
        _ = parked(&world)
        world.now += 60_000
        settle(&world, "b1", "p1", 1_000)
        let shares = world.city.balances
        // The shares of tomorrow are not those of the payment.
        world.decide(.setPolicy(.city, ["platformPercent": "50"]))
        for (number, fen) in [("x1", 333), ("x2", 333), ("x3", 334)] as [(String, Int64)] {
            world.decide(.refund(appId: "app1", payNo: "p1", refundNo: number, amountFen: fen, message: "{}"))
        }
        #expect(!shares.isEmpty && world.city.balances.isEmpty && owed(world).paidFen == 0)
    }

    @Test func tariffsByClassAndVersion() {
        var world = World(quota: 5, now: MoneyTests.start)
        world.add("S1", share: 2)
        func report(_ id: String, _ fen: Int64, from: Millis = 0, vehicleClass: Int = 0) {
            var rule = Tariff.Rule()
            rule.stepFen = fen
            world.decide(
                .file(
                    parkCode: "S1", [], replaces: nil, knownBy: nil, notice: nil,
                    tariff: LotTariff(from: from, business: 0, vehicleClass: vehicleClass, tariff: Tariff(tariffId: id, rules: [rule]))))
        }
        func price(_ vehicleClass: Int, _ time: Millis? = nil) -> Int64? {
            world.city.tariff("S1", .shared, vehicleClass: vehicleClass, at: time ?? world.now)?.rules[0].stepFen
        }
        report("all", 500)
        report("large", 900, vehicleClass: 2)
        #expect(price(0) == 500 && price(1) == 500 && price(2) == 900, "a class that is not known is not a large one")
        report("all", 700, from: world.now + 86_400_000)
        #expect(price(0) == 500 && price(0, world.now + 86_400_000) == 700, "what comes later does not end what holds now")
    }

    @Test func whatTheLotTookStandsBesideTheExit() {
        var world = world()
        _ = world.decide(
            .enter(
                parkCode: "P1",
                Passage(recordNo: "r", plate: World.plate(5), gateCode: "G1", enterTime: world.now, carKind: 1, orderNo: nil)))
        func payment(_ number: String, _ fen: Int64, hash: String, withExit: Bool) -> Payment {
            var payment = Payment(
                payNo: number, appId: "", parkCode: "P1", recordNo: "r", billNo: nil, amountFen: fen, channel: "", state: .paid,
                payTime: world.now, requestHash: hash)
            payment.cameWithExit = withExit
            return payment
        }
        world.decide(.takeIn(payment("a", 300, hash: "u22", withExit: false)))
        var passage = Passage(recordNo: "r", plate: World.plate(5), gateCode: "G1", enterTime: world.now, carKind: 1, orderNo: nil)
        passage.leaveTime = world.now
        passage.exitGateCode = "G2"
        passage.payments = [payment("a", 300, hash: "u11", withExit: true), payment("b", 200, hash: "u11b", withExit: true)]
        world.decide(.exit(parkCode: "P1", passage))
        #expect(world.city.balances[.till("P1")] == 500, "one that came by itself and one that did not, each once")
        if case .paid(_, isRepeat: true) = world.decide(.takeIn(payment("b", 200, hash: "u22b", withExit: false))).outcome {
        } else {
            Issue.record("the same payment, once more by itself")
        }
        #expect(world.decide(.takeIn(payment("b", 201, hash: "u22c", withExit: false))).outcome == .refused(.alreadyPaid))
        #expect(world.city.ledgerSum == 0)
    }

    /// Where the city bills, the lot should take nothing; what it took with the exit is paid all the same.
    @Test func cashAtTheExitOfASharedStay() {
        var world = world()
        let reservation = parked(&world)
        world.now += 50 * 60_000
        let entered = world.reservation(reservation.orderNo).enterTime!
        var passage = Passage(recordNo: "r", plate: World.plate(1), gateCode: "G1", enterTime: entered, carKind: 6, orderNo: nil)
        passage.leaveTime = world.now
        passage.exitGateCode = "G2"
        var cash = Payment(
            payNo: "c", appId: "", parkCode: "S1", recordNo: "r", billNo: nil, amountFen: 1_000, channel: "", state: .paid,
            payTime: world.now, requestHash: "c")
        #expect(world.decide(.takeIn(cash)).outcome == .refused(.platformBilled))
        cash.cameWithExit = true
        passage.payments = [cash]
        world.decide(.exit(parkCode: "S1", passage))
        #expect(owed(world).payableFen == 0 && world.city.balances[.till("S1")] == 1_000 && world.city.ledgerSum == 0)
    }

    @Test func aStayWhosePaymentCameBackIsPaidAgain() {
        var world = world()
        _ = parked(&world)
        world.now += 50 * 60_000
        settle(&world, "b1", "p1", 1_000)
        world.decide(.refund(appId: "app1", payNo: "p1", refundNo: "r1", amountFen: 1_000, message: "{}"))
        settle(&world, "b1", "p2", 1_000)
        #expect(owed(world).payableFen == 0 && world.city.balances[.provider("app1")] == 1_000 && world.city.ledgerSum == 0)
    }

    /// What goes back for a subscription is at most what came in for it, whoever gives it back, however large it is.
    @Test(arguments: [30_000, 80_000_000] as [Int64]) func aSubscriptionIsGivenBackOnce(_ fen: Int64) throws {
        var world = World(quota: 5, now: MoneyTests.start)
        world.add("S1", share: 0)
        let offer = world.offer("A1", lot: "S1", price: SharePrice(mode: .month, fen: fen))
        func subscribed(_ days: Int) throws -> SharedSubscription {
            let asked = try #require(
                world.subscribe("a", lot: "S1", offerId: offer.offerId, plates: [World.plate(1)], days: days).subscription)
            world.decide(
                .pay(appId: "app1", parkCode: "", billNo: asked.billNo!, payNo: "p", amountFen: fen, channel: "c", requestHash: "p"))
            world.decide(.conclude(appId: "app1", payNo: "p", isPaid: true, message: "{}"))
            return try #require(world.city.subscription(asked.authNo))
        }
        let share = try subscribed(355)
        #expect(share.status == .active && share.paidFen == fen)
        world.decide(.refund(appId: "app1", payNo: "p", refundNo: "r1", amountFen: fen / 3, message: "{}"))
        world.now += 86_400_000
        world.decide(.closeOffer(appId: "app1", offerId: offer.offerId, isConfirmed: false))
        world.decide(.closeOffer(appId: "app1", offerId: offer.offerId, isConfirmed: true))
        let held = world.city.balances[.provider("app1"), default: 0]
        #expect(held > 0 && held < fen / 100, "a day of 355 was used: \(held)")
        #expect(
            world.decide(.refund(appId: "app1", payNo: "p", refundNo: "r2", amountFen: fen / 2, message: "{}")).outcome
                == .refused(.refundTooLarge))
        #expect(world.city.ledgerSum == 0)
    }

    @Test func overtimeCosts() {
        let (enter, hour) = (MoneyTests.start, Millis(3_600_000))
        let reservation = SharePrice(mode: .once, fen: 1_000)
        var world = World(quota: 5, now: MoneyTests.start)
        world.add("S1", share: 0)
        world.decide(.setPolicy(.lot("S1"), ["overtimePercent": "200"]))
        _ = world.offer("A1", lot: "S1", price: reservation)
        let booked = world.reservation(world.create("a", lot: "S1", purpose: .shared, in: 0, plate: 1) { $0.stayMin = 60 }.outcome)
        _ = world.come(booked.orderNo, plate: World.plate(1), lot: "S1", record: "r")
        func total(after hours: Int64) -> Int64 {
            world.city.sessionFee("S1", recordNo: "r", at: enter + hours * hour, past: Past())!.totalFen
        }
        let inGrace = world.city.sessionFee("S1", recordNo: "r", at: enter + 75 * 60_000, past: Past())!.totalFen
        #expect(inGrace == 1_000, "the grace costs nothing more")
        #expect(total(after: 1) == 1_000 && total(after: 2) == 3_000 && total(after: 24) == 3_000 && total(after: 26) == 5_000)
    }
}
