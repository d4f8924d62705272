import BerthCore
import Testing

/// Values by scope and version; the terms of an order are those under which it was made (section 7).
@Suite struct PolicyTests {
    @Test func aNarrowerScopeLiesOverAWiderOne() throws {
        var world = World(quota: 5)
        world.add("P2", reserve: 5, share: 0, group: "甲公司")
        func late(_ parkCode: String, _ purpose: Purpose = .reservation) -> Int { world.city.lots[parkCode]!.policy(purpose).lateMin }
        #expect(late("P1") == 30)
        world.decide(.setPolicy(.city, ["lateMin": "31"]))
        #expect((late("P1"), late("P2"), late("P2", .shared)) == (31, 31, 31))
        world.decide(.setPolicy(.product(.shared), ["lateMin": "32"]))
        #expect((late("P2"), late("P2", .shared)) == (31, 32))
        world.decide(.setPolicy(.group("甲公司"), ["lateMin": "33"]))
        #expect((late("P1"), late("P2"), late("P2", .shared)) == (31, 33, 33))
        world.decide(.setPolicy(.lot("P2"), ["lateMin": "34"]))
        world.decide(.setPolicy(.lotProduct("P2", .shared), ["lateMin": "35"]))
        #expect((late("P2"), late("P2", .shared)) == (34, 35))
        // A value that is taken away falls back to the scope above.
        world.decide(.setPolicy(.lot("P2"), ["lateMin": ""]))
        #expect(late("P2") == 33)
        #expect(world.city.lots["P2"]!.policyVersion == 6 && world.city.lots["P1"]!.policyVersion == 2)
    }

    @Test func whatCannotBeIsRefusedAndChangesNothing() {
        var world = World(quota: 1)
        let before = world.city.summary(at: world.now)
        for values in [
            ["lateMin": "1441"], ["lateMin": "x"], ["nothing": "1"], ["quietHours": "late"], ["confirmMode": "perhaps"],
            ["lateMin": "5", "slotMin": "1"],
        ] {
            let decision = world.decide(.setPolicy(.city, values))
            #expect(decision.outcome == .refused(.illegalValue) && decision.note != nil)
        }
        #expect(world.decide(.setPolicy(.lot("P9"), ["lateMin": "5"])).outcome == .refused(.lotNotRegistered))
        #expect(world.city.summary(at: world.now) == before)
        for text in ["", "lot:", "product:9", "group:", "lot:P1/7", "town"] { #expect(PolicyScope(text) == nil, "\(text)") }
        for text in ["city", "product:2", "group:甲", "lot:P1", "lot:P1/3"] { #expect(PolicyScope(text)?.text == text) }
    }

    @Test func anOrderKeepsTheTermsUnderWhichItWasMade() throws {
        var world = World(quota: 5)
        world.decide(.setPolicy(.lot("P1"), ["delayMin": "20", "freeCancelMin": "10", "plateChangesMax": "0"]))
        let reservation = try #require(world.book(in: 40).reservation)
        #expect(
            reservation.terms.version == 1 && reservation.terms.delayMin == 20
                && reservation.terms.freeCancelUntil == reservation.planTime - 10 * 60_000)
        world.decide(.setPolicy(.lot("P1"), ["delayMin": "5", "freeCancelMin": "-1", "plateChangesMax": "3", "lateMin": "5"]))
        world.now += 25 * 60_000
        #expect(
            world.reservation(reservation.orderNo).terms == reservation.terms
                && world.reservation(reservation.orderNo).enterEnd == reservation.enterEnd)
        let plate = world.decide(
            .modify(appId: "app1", orderNo: reservation.orderNo, planTime: nil, plate: Plate("粤B55555")!, plateColor: nil))
        #expect(plate.outcome == .refused(.wrongState) && plate.note?.rule == "plateChangesMax")
        let later = world.decide(.delay(appId: "app1", orderNo: reservation.orderNo)).outcome.reservation
        #expect(later?.enterEnd == reservation.enterEnd + 20 * 60_000)
        // Within its window already, but free to cancel by its own terms.
        guard
            case .cancelled(_, let isBreach, _, _) = world.decide(
                .cancel(appId: "app1", orderNo: reservation.orderNo, confirmBreach: false)
            )
            .outcome
        else { Issue.record("not cancelled"); return }
        #expect(!isBreach)
        #expect(
            world.city.terms(world.city.lots["P1"]!, .reservation, planTime: world.now).delayMin == 5, "what is shown before booking is new"
        )
    }

    @Test func aDepositMakesAnOrderCertain() throws {
        var world = World(quota: 3)
        world.decide(.setPolicy(.lot("P1"), ["prepayFen": "500"]))
        func pay(_ reservation: Reservation, _ number: String) -> Outcome {
            _ = world.decide(
                .pay(
                    appId: "app1", parkCode: "", billNo: reservation.billNo!, payNo: number, amountFen: 500, channel: "c",
                    requestHash: number))
            return world.decide(.conclude(appId: "app1", payNo: number, isPaid: true, message: "{}")).outcome
        }
        let came = try #require(world.book(in: 20).reservation)
        #expect(came.status == .held && came.downSeq == 0 && came.billNo != nil, "its lot hears of it when it is paid")
        #expect(
            world.decide(
                .pay(appId: "app1", parkCode: "", billNo: came.billNo!, payNo: "p0", amountFen: 400, channel: "c", requestHash: "x")
            ).outcome
                == .refused(.amountMismatch))
        _ = pay(came, "p1")
        #expect(world.status(came.orderNo) == .booked && world.reservation(came.orderNo).downSeq > 0)
        #expect(world.city.balances[.deposit(came.orderNo)] == -500 && world.city.ledgerSum == 0)
        _ = world.enter(world.reservation(came.orderNo), record: "r1")
        #expect(world.city.balances[.deposit(came.orderNo)] == nil && world.city.balances[.lot("P1")] == -500)

        let free = try #require(world.book(in: 50).reservation)
        _ = pay(free, "p2")
        world.decide(.cancel(appId: "app1", orderNo: free.orderNo, confirmBreach: false))
        #expect(world.city.balances[.provider("app1")] == 500, "what was paid for the cancelled one went back")
        #expect(world.city.payment("p2", appId: "app1", past: Past())?.state == .refunded)

        let late = try #require(world.book(in: 20).reservation)
        _ = pay(late, "p3")
        world.decide(.cancel(appId: "app1", orderNo: late.orderNo, confirmBreach: true))
        #expect(world.city.balances[.lot("P1")] == -1000 && world.city.ledgerSum == 0, "a breach forfeits it")

        // A reservation whose deposit was not paid counts as no cancel, and its reply says so.
        let doubtful = try #require(world.book(in: 60).reservation)
        guard
            case .cancelled(_, isBreach: false, let left, _) = world.decide(
                .cancel(appId: "app1", orderNo: doubtful.orderNo, confirmBreach: false)
            ).outcome
        else { Issue.record("not cancelled"); return }
        #expect(left == world.city.policy.cancelMaxPerDay)

        let unpaid = try #require(world.book(in: 20).reservation)
        world.run(minutes: 6)
        #expect(world.status(unpaid.orderNo) == .rejected && world.reservation(unpaid.orderNo).downSeq == 0)
    }
}

/// 候补 (R1).
@Suite struct WaitlistTests {
    @Test func joinedInOrderPromotedByItselfClosedInTime() throws {
        var world = World(quota: 1)
        world.add("P2", metres: 300, reserve: 5)
        world.add("P3", metres: 800, reserve: 5)
        world.add("P4", metres: 9_000, reserve: 5)
        let first = try #require(world.create("a", in: 50).outcome.reservation)
        let full = world.create("b", in: 50)
        #expect(full.outcome == .refused(.noBookableSpace))
        #expect(full.alternatives.map(\.parkCode) == ["P2", "P3"], "the nearest first, and none that is too far")
        #expect((297...303).contains(full.alternatives[0].metres) && full.alternatives[0].walkMin == 5)
        #expect(full.note == RuleNote("PERSONAL", used: 1, max: 1))
        let second = world.create("b", in: 50) { $0.waits = true }
        let third = world.create("c", in: 50) { $0.waits = true }
        let (b, c) = (try #require(second.outcome.reservation), try #require(third.outcome.reservation))
        #expect(b.status == .waitlisted && b.downSeq == 0 && world.city.position(of: b) == 1 && world.city.position(of: c) == 2)
        #expect(second.alternatives.count == 2)
        let again = world.create("b", in: 50) { $0.waits = true }
        #expect(again.outcome == .refused(.waitlistFull) && again.note == RuleNote("waitlistPerUser", used: 1, max: 1))
        let promotion = world.decide(.cancel(appId: "app1", orderNo: first.orderNo, confirmBreach: false))
        #expect(
            world.status(b.orderNo) == .booked && world.reservation(b.orderNo).downSeq > 0 && world.reservation(b.orderNo).orderVer == 2)
        #expect(promotion.events.contains { if case .notice(let n) = $0 { n.eventType == 2013 && n.orderNo == b.orderNo } else { false } })
        #expect(world.status(c.orderNo) == .waitlisted && world.city.position(of: world.reservation(c.orderNo)) == 1)
        world.run(minutes: 41)
        #expect(world.status(c.orderNo) == .waitlistFailed, "ten minutes before it is over")
        let late = world.create("d", in: 9) { $0.waits = true }
        #expect(late.outcome == .refused(.waitlistClosed) && late.note?.rule == "waitlistCloseMin")
    }

    @Test func whoMayNotBookIsNotPromoted() throws {
        var world = World(quota: 1)
        let holder = try #require(world.create("a", in: 50).outcome.reservation)
        let waiting = try #require(world.create("b", in: 50, plate: 777) { $0.waits = true }.outcome.reservation)
        world.add("P2", reserve: 5)
        // Meanwhile the same plate books elsewhere for the same time.
        _ = try #require(world.create("b2", lot: "P2", in: 50, plate: 777).outcome.reservation)
        world.decide(.cancel(appId: "app1", orderNo: holder.orderNo, confirmBreach: false))
        #expect(world.status(waiting.orderNo) == .waitlisted)
        #expect(world.create("c", in: 50).outcome.reservation != nil, "the place is not kept for him")
        world.decide(.leaveWaitlist(appId: "app1", orderNo: waiting.orderNo))
        #expect(world.status(waiting.orderNo) == .cancelled)
        #expect(world.decide(.leaveWaitlist(appId: "app1", orderNo: waiting.orderNo)).outcome == .refused(.orderCancelled))
        #expect(world.create("b", in: 50) { $0.waits = true }.outcome.reservation?.status == .waitlisted, "he may wait again")
    }

    @Test func aHigherQuotaPromotesToo() throws {
        var world = World(quota: 1)
        _ = world.create("a", in: 50)
        let b = try #require(world.create("b", in: 50) { $0.waits = true }.outcome.reservation)
        world.decide(.openLot(World.profile(quota: 2)))
        #expect(world.status(b.orderNo) == .booked)
        world.decide(.setPolicy(.lot("P1"), ["waitlistMax": "0"]))
        #expect(world.create("c", in: 50) { $0.waits = true }.note?.rule == "waitlistMax")
    }
}
