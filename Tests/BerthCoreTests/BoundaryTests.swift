import BerthCore
import Testing

/// Both sides of each boundary: the last moment at which something holds, and the first at which it does not.
@Suite struct BoundaryTests {
    private static func far(_ change: (inout Policy) -> Void = { _ in }) -> Policy {
        var policy = World.roomy
        policy.advanceMaxMin = 10_000
        change(&policy)
        return policy
    }

    @Test(arguments: [(-1, false), (0, true), (1, true)]) func freeUntilThatMomentAndNotAtIt(_ millis: Millis, isBreach: Bool) throws {
        var world = World(quota: 1)
        let reservation = try #require(world.book(in: 50).reservation)
        world.now = reservation.terms.freeCancelUntil + millis
        let outcome = world.decide(.cancel(appId: "app1", orderNo: reservation.orderNo, confirmBreach: false)).outcome
        if isBreach {
            #expect(outcome == .refused(.breachNeedsConfirm))
            #expect(world.status(reservation.orderNo) == .booked)
        } else {
            guard case .cancelled(_, isBreach: false, _, _) = outcome else { Issue.record("\(outcome)"); return }
        }
    }

    @Test(arguments: [(-1, true), (0, false), (1, false)]) func intervalsOfOnePlateMayTouch(_ minutes: Int, overlaps: Bool) throws {
        var world = World(quota: 5, policy: BoundaryTests.far())
        let plate = World.plate(1)
        let first = try #require(world.book(in: 60, plate: plate).reservation)
        let early = Int((first.planTime - first.enterStart) / World.minute)
        let until = Int((first.expectedLeave - world.now) / World.minute)
        let second = world.book(in: until + early + minutes, plate: plate)
        #expect(second.refusal == (overlaps ? .overlappingBooking : nil))
    }

    /// The other interval's end, from the other side.
    @Test(arguments: [(-1, false), (0, false), (1, true)]) func intervalsOfOnePlateMayTouchBefore(_ minutes: Int, overlaps: Bool) throws {
        var world = World(quota: 5, policy: BoundaryTests.far())
        let plate = World.plate(1)
        let later = try #require(world.book(in: 600, plate: plate).reservation)
        let probe = try #require(world.book(in: 60).reservation)
        let stay = Int((probe.expectedLeave - probe.planTime) / World.minute)
        let start = Int((later.enterStart - world.now) / World.minute)
        #expect(world.book(in: start - stay + minutes, plate: plate).refusal == (overlaps ? .overlappingBooking : nil))
    }

    @Test(arguments: [1, 2]) func whoWaitsIsPromotedWithinHisDay(_ limit: Int) throws {
        var world = World(quota: 1, policy: BoundaryTests.far { $0.dailyMaxPerUser = limit })
        world.add("P2", reserve: 5)
        let holder = try #require(world.create("a", in: 50).outcome.reservation)
        let waiting = try #require(world.create("b", in: 50) { $0.waits = true }.outcome.reservation)
        _ = try #require(world.create("b", lot: "P2", in: 300).outcome.reservation, "he books elsewhere on the same day meanwhile")
        world.decide(.cancel(appId: "app1", orderNo: holder.orderNo, confirmBreach: false))
        #expect(world.status(waiting.orderNo) == (limit == 1 ? .waitlisted : .booked))
    }

    @Test(arguments: [1, 2]) func whoWaitsIsPromotedWithinTheDayOfHisPlate(_ limit: Int) throws {
        var world = World(quota: 1, policy: BoundaryTests.far { $0.dailyMaxPerPlate = limit })
        world.add("P2", reserve: 5)
        let holder = try #require(world.create("a", in: 50).outcome.reservation)
        let waiting = try #require(world.create("b", in: 50, plate: 777) { $0.waits = true }.outcome.reservation)
        _ = try #require(world.create("c", lot: "P2", in: 300, plate: 777).outcome.reservation)
        world.decide(.cancel(appId: "app1", orderNo: holder.orderNo, confirmBreach: false))
        #expect(world.status(waiting.orderNo) == (limit == 1 ? .waitlisted : .booked))
    }

    @Test(arguments: [(-1, true), (0, false), (1, false)]) func theWaitlistClosesAtItsTime(_ millis: Millis, isOpen: Bool) throws {
        var world = World(quota: 1)
        let holder = try #require(world.create("a", in: 50).outcome.reservation)
        let closes = holder.planTime - Millis(World.roomy.waitlistCloseMin) * World.minute
        world.now = closes + millis
        let wish = world.create("b", in: 0) {
            $0.planTime = holder.planTime; $0.waits = true
        }
        #expect(wish.outcome.refusal == (isOpen ? nil : .waitlistClosed))
    }

    /// A place that becomes free at the closing time is nobody's of the list.
    @Test(arguments: [(Millis(-1), ReservationStatus.booked), (0, .waitlisted)]) func nobodyIsPromotedAtTheClosingTime(
        _ millis: Millis, status: ReservationStatus
    ) throws {
        var world = World(quota: 1, policy: BoundaryTests.far { $0.freeCancelMin = 0 })
        let holder = try #require(world.create("a", in: 50).outcome.reservation)
        let waiting = try #require(world.create("b", in: 50) { $0.waits = true }.outcome.reservation)
        world.now = try #require(waiting.holdDeadline) + millis
        world.decide(.cancel(appId: "app1", orderNo: holder.orderNo, confirmBreach: false))
        #expect(world.status(waiting.orderNo) == status)
    }

    @Test func oneDelayAndNoSecond() throws {
        var world = World(quota: 2, policy: BoundaryTests.far { $0.delayMin = 15 })
        let reservation = try #require(world.book(in: 50).reservation)
        let delayed = try #require(world.decide(.delay(appId: "app1", orderNo: reservation.orderNo)).outcome.reservation)
        #expect(delayed.enterEnd == reservation.enterEnd + 15 * World.minute)
        let again = world.decide(.delay(appId: "app1", orderNo: reservation.orderNo))
        #expect(again.outcome == .refused(.delayNotAllowed) && again.note?.used == 1)
        #expect(world.reservation(reservation.orderNo).enterEnd == delayed.enterEnd)
    }

    @Test(arguments: [(0, true), (1, false)]) func aDelayIsSaidBeforeTheWindowEnds(_ millis: Millis, isTaken: Bool) throws {
        var world = World(quota: 2, policy: BoundaryTests.far { $0.delayMin = 15 })
        let reservation = try #require(world.book(in: 50).reservation)
        world.now = reservation.enterEnd + millis
        let outcome = world.decide(.delay(appId: "app1", orderNo: reservation.orderNo)).outcome
        #expect((outcome.reservation != nil) == isTaken)
    }

    @Test(arguments: [1, 2]) func soManyChangesOfThePlateAndNoMore(_ most: Int) throws {
        var world = World(quota: 2, policy: BoundaryTests.far { $0.plateChangesMax = most })
        let reservation = try #require(world.book(in: 50).reservation)
        func change(_ number: Int, _ world: inout World) -> Decision {
            world.decide(
                .modify(appId: "app1", orderNo: reservation.orderNo, planTime: nil, plate: World.plate(8_000 + number), plateColor: nil))
        }
        for number in 0..<most { #expect(change(number, &world).outcome.reservation?.plate == World.plate(8_000 + number)) }
        let refused = change(most, &world)
        #expect(refused.outcome == .refused(.wrongState) && refused.note == RuleNote("plateChangesMax", used: most, max: most))
        #expect(world.reservation(reservation.orderNo).plate == World.plate(8_000 + most - 1))
    }

    @Test(arguments: [(0, true), (1, false)]) func aWindowIsOverAfterItsLastMoment(_ millis: Millis, mayCancel: Bool) throws {
        var world = World(quota: 1)
        let reservation = try #require(world.book(in: 50).reservation)
        world.now = reservation.enterEnd + millis
        let outcome = world.decide(.cancel(appId: "app1", orderNo: reservation.orderNo, confirmBreach: true)).outcome
        #expect((outcome.refusal == .notCancellable) != mayCancel)
    }

    @Test(arguments: [(1_000, Rejection?.none), (1_001, .some(.dailyLimit))]) func theDayHasSoManyAndNoMore(_ count: Int, last: Rejection?)
    {
        var world = World(quota: 2_000, policy: BoundaryTests.far { $0.dailyMaxPerUser = 1_000 })
        var outcome: Outcome?
        for _ in 0..<count { outcome = world.book(in: 60, user: "u") }
        #expect(outcome?.refusal == last)
    }
}
