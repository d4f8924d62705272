import BerthCore
import Testing

/// Flow control over time: by the clock, by saturation, over areas, and what it does to those who have booked.
@Suite struct FlowFollowsTests {
    private static let start = CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 3, day: 4)!) + 7 * 3_600_000

    private func world(quota: Int = 50) -> World { World(quota: quota, now: FlowFollowsTests.start) }

    private func flow(_ world: World, _ mode: FlowMode, area: String = "", _ change: (inout FlowPolicy) -> Void = { _ in }) -> FlowPolicy {
        var policy = FlowPolicy(
            policyId: "F", parkCode: area.isEmpty ? "P1" : "", areaId: area, mode: mode, validFrom: world.now,
            validTo: world.now + 8 * 3_600_000)
        change(&policy)
        return policy
    }

    /// What a lot's box was told of flow control, in order.
    private func told(_ events: [Event], _ lot: String) -> [FlowMode] {
        events.compactMap { event in
            if case .down(let entry) = event, entry.parkCode == lot, case .flow(_, let mode) = entry.message { mode } else { nil }
        }
    }

    @Test func aThresholdRevokesWhenItIsReached() throws {
        var world = world()
        let now = try #require(world.create("now", in: 10).outcome.reservation)
        let later = try #require(world.create("later", in: 59).outcome.reservation)
        let policy = flow(world, .closed) {
            $0.saturationClose = 95; $0.revokes = true
        }
        #expect(world.city.affected(by: policy, at: world.now).map(\.orderNo) == [now.orderNo], "what it would hit if it switched on now")
        world.decide(.setFlow(policy))
        #expect(world.status(now.orderNo) == .booked && world.status(later.orderNo) == .booked, "the lot is empty: it is off")
        world.fill(96)
        #expect(world.status(now.orderNo) == .revoked && world.reservation(now.orderNo).isCompensated && world.evidence().isEmpty)
        #expect(world.status(later.orderNo) == .booked, "whose window is not open yet may find it open")
    }

    @Test func aChangedTextKeepsTheSwitch() {
        var world = world()
        func policy(_ hours: Int64) -> FlowPolicy {
            flow(world, .bookingOnly) {
                $0.saturationOpen = 90; $0.saturationClose = 95; $0.validTo = FlowFollowsTests.start + hours * 3_600_000
            }
        }
        world.decide(.setFlow(policy(8)))
        world.fill(96)
        world.fill(92)
        #expect(world.city.flowMode("P1", at: world.now) == .bookingOnly)
        world.decide(.setFlow(policy(9)))
        #expect(world.city.flowMode("P1", at: world.now) == .bookingOnly, "between the two ends it stays as it was")
        // One end alone keeps the other five beside it.
        world.decide(.setFlow(flow(world, .bookingOnly) { $0.saturationClose = 80 }))
        world.fill(78)
        #expect(world.city.flowMode("P1", at: world.now) == .bookingOnly)
        world.fill(74)
        #expect(world.city.flowMode("P1", at: world.now) == .off)
    }

    @Test func anAreaFollowsTheClock() {
        var world = world()
        world.add("A1", reserve: 5)
        world.add("A2", metres: 200, reserve: 5)
        world.decide(.setArea(FlowArea(areaId: "A", name: "A", parkCodes: ["A1", "A2"])))
        var events = world.decide(
            .setFlow(
                flow(world, .bookingOnly, area: "A") {
                    $0.validFrom += 10 * 60_000; $0.validTo = $0.validFrom + 20 * 60_000
                })
        ).events
        #expect(told(events, "A2") == [.off])
        func pass(_ minutes: Int) {
            for _ in 0..<minutes {
                world.now += 60_000
                for lot in ["A1", "A2"] where world.city.isDue(lot, at: world.now) { events += world.decide(.expire(parkCode: lot)).events }
            }
        }
        pass(11)
        #expect(
            told(events, "A1") == [.off, .bookingOnly] && told(events, "A2") == [.off, .bookingOnly], "nobody has booked, and it begins")
        pass(21)
        #expect(told(events, "A2") == [.off, .bookingOnly, .off], "and it ends")
        let notices = events.compactMap { event in
            if case .notice(let notice) = event, notice.parkCode == "A2" { notice.eventType } else { nil }
        }
        #expect(notices.filter { $0 == 4004 || $0 == 4005 } == [4004, 4005])
    }

    @Test func aLotThatLeavesAnAreaIsFree() {
        var world = world()
        world.add("A1", reserve: 5)
        world.add("A2", metres: 200, reserve: 5)
        world.decide(.setArea(FlowArea(areaId: "A", name: "A", parkCodes: ["A1", "A2"])))
        world.decide(.setFlow(flow(world, .closed, area: "A")))
        #expect(world.city.flowMode("A2", at: world.now) == .closed)
        let events = world.decide(.setArea(FlowArea(areaId: "A", name: "A", parkCodes: ["A1"]))).events
        #expect(world.city.flowMode("A2", at: world.now) == .off && told(events, "A2") == [.off] && told(events, "A1") == [.closed])
        // A lot keeps policies by their name alone: two that meet in a lot have two names.
        let taken = world.decide(
            .setFlow(FlowPolicy(policyId: "F", parkCode: "A1", areaId: "", mode: .off, validFrom: world.now, validTo: world.now + 1000)))
        #expect(taken.outcome == .refused(.illegalValue) && taken.note?.rule == "policyId")
    }

    @Test func aQuotaOfTheDayCountsEveryOrderOnce() throws {
        var policy = World.roomy
        policy.advanceMaxMin = 3 * 1440
        var world = World(quota: 50, policy: policy, now: FlowFollowsTests.start)
        let early = try #require(world.create("e", in: 60).outcome.reservation)
        world.decide(
            .setFlow(
                flow(world, .bookingOnly) {
                    $0.dailyQuotas = ["PERSONAL": 2]; $0.validTo = world.now + 3 * 86_400_000; $0.bookingLimitPercent = 1000
                }))
        let second = try #require(world.create("a", in: 60).outcome.reservation)
        #expect(world.create("b", in: 60).outcome == .refused(.poolEmpty), "the one that was there before counts")
        world.decide(.cancel(appId: "app1", orderNo: early.orderNo, confirmBreach: false))
        #expect(world.create("b", in: 60).outcome.reservation != nil && world.create("c", in: 60).outcome == .refused(.poolEmpty))
        let slots = world.city.slots("P1", .reservation, day: CivilTime.day(of: world.now), now: world.now).filter {
            $0.end > world.now + 3_600_000
        }
        #expect(
            slots.allSatisfy { $0.remain == 0 && $0.isFull && $0.reason == .poolEmpty }, "what the day may not have is not shown as free")
        // To another day, and back: the quota goes along.
        func move(_ days: Int64) -> Outcome {
            world.decide(
                .modify(appId: "app1", orderNo: second.orderNo, planTime: second.planTime + days * 86_400_000, plate: nil, plateColor: nil)
            ).outcome
        }
        #expect(move(1).reservation != nil && world.create("c", in: 60).outcome.reservation != nil)
        #expect(move(0) == .refused(.poolEmpty), "its old day is full again")
    }

    @Test func itsOwnPlaceStandsInNobodysWay() throws {
        var world = world()
        world.add("H1", publicBiz: 2, total: 3)
        world.decide(
            .makeAppointment(
                Appointment(
                    extNo: "e", appId: "app1", bizCode: "hospital", placeCode: "H1", appointTime: world.now + 2 * 3_600_000,
                    personToken: "p",
                    plate: nil, createdAt: world.now)))
        world.fill(2, lot: "H1", total: 3)
        world.decide(
            .setFlow(FlowPolicy(policyId: "F", parkCode: "H1", areaId: "", mode: .bookingOnly, validFrom: 0, validTo: .max / 4)))
        let reservation = try #require(
            world.create("p", lot: "H1", purpose: .publicService, in: 100) { $0.extNo = "e" }.outcome.reservation,
            "two are in, the third place is his")
        world.decide(.setFlow(flow(world, .bookingOnly)))
        world.fill(98)
        _ = try #require(world.create("a", in: 30).outcome.reservation)
        let last = try #require(world.create("b", in: 30).outcome.reservation)
        #expect(world.create("c", in: 30).outcome == .refused(.saturated))
        #expect(
            world.decide(.modify(appId: "app1", orderNo: last.orderNo, planTime: last.planTime + 300_000, plate: nil, plateColor: nil))
                .outcome
                .reservation != nil, "moved by five minutes it needs no more room than before")
        _ = reservation
    }

    @Test func nobodyIsCountedTwice() throws {
        var world = world()
        world.add("S1", share: 60, total: 100)
        world.decide(.setFlow(FlowPolicy(policyId: "F", parkCode: "S1", areaId: "", mode: .bookingOnly, validFrom: 0, validTo: .max / 4)))
        for number in 0..<50 {
            let share = try #require(
                world.subscribe("s\(number)", lot: "S1", plates: [World.plate(number)], segments: RecurringWindow.always).subscription)
            _ = world.come(share.authNo, plate: World.plate(number), lot: "S1", record: "r\(number)")
        }
        #expect(
            world.city.bookedSaturation("S1", at: world.now + 600_000, now: world.now) == 500, "fifty subscribers inside are fifty cars")
        #expect(world.create("x", lot: "S1", purpose: .shared, in: 10, plate: 99).outcome.reservation != nil)
        // A car whose booked time is over by then is not expected to be there still.
        let reservation = try #require(world.create("a", in: 0, plate: 500).outcome.reservation)
        _ = world.come(reservation.orderNo, plate: World.plate(500), record: "z")
        let lot = world.city.lots["P1"]!
        #expect(lot.expectedOccupied(at: reservation.expectedLeave - 1, now: world.now, world.city.calendar).count == 1)
        #expect(lot.expectedOccupied(at: reservation.expectedLeave, now: world.now, world.city.calendar).count == 0)
        #expect(lot.walkInCount == 0 && lot.occupied == 1)
    }

    @Test func oneAfterTheOtherNeedsOnePlace() throws {
        var world = world()
        world.add("H1", publicBiz: 1, total: 3)
        func appointment(_ ext: String, minutes: Int64) {
            world.decide(
                .makeAppointment(
                    Appointment(
                        extNo: ext, appId: "app1", bizCode: "hospital", placeCode: "H1", appointTime: world.now + minutes * 60_000,
                        personToken: "p" + ext, plate: nil, createdAt: world.now)))
        }
        func book(_ ext: String, in minutes: Int) -> Decision {
            world.create("p" + ext, lot: "H1", purpose: .publicService, in: minutes) { $0.extNo = ext }
        }
        // One place of the quota is a right; two are outside, and two visitors come one after the other on one of them.
        appointment("a", minutes: 120)
        appointment("b", minutes: 90)
        appointment("c", minutes: 400)
        appointment("d", minutes: 410)
        world.fill(1, lot: "H1", total: 3)
        #expect(book("b", in: 90).outcome.reservation?.pool == .rolling)
        #expect(book("d", in: 410).outcome.reservation?.pool == .rolling, "the one before him has left by then")
    }

    @Test func slotsSayWhatABookingWouldFind() {
        var world = world(quota: 10)
        let day = CivilTime.day(of: world.now)
        func slot() -> Lot.Slot {
            world.city.slots("P1", .reservation, day: day, now: world.now).first { $0.start == FlowFollowsTests.start + 1_800_000 }!
        }
        #expect(slot().remain == 10 && slot().reason == nil)
        world.decide(.setFlow(flow(world, .closed)))
        #expect(slot().isFull && slot().remain == 0 && slot().reason == .flowControlActive)
        world.decide(.setFlow(flow(world, .bookingOnly)))
        world.fill(97)
        #expect(slot().remain == 3 && !slot().isFull)
        world.fill(100)
        #expect(slot().isFull && slot().reason == .saturated)
        world.decide(.setFlow(flow(world, .off)))
        #expect(slot().remain == 10)
    }

    @Test func poolsHoldInTheirHoursAlone() {
        var world = world(quota: 10)
        world.decide(
            .setFlow(
                flow(world, .bookingOnly) {
                    $0.pools = ["PERSONAL": 1]; $0.segments = [RecurringWindow(.daily, start: 720, end: 840)]; $0.bookingLimitPercent = 1000
                }))
        #expect(
            world.create("a", in: 30).outcome.reservation != nil && world.create("b", in: 30).outcome.reservation != nil,
            "at half past seven nobody cut it")
        world.now += 4 * 3_600_000
        #expect(world.create("c", in: 60).outcome.reservation != nil)
        #expect(world.create("d", in: 60).outcome == .refused(.poolEmpty), "at noon it is one")
    }
}

/// A right keeps the times under which it was given (R6).
@Suite struct RightTests {
    private static let start = CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 3, day: 4)!) + 6 * 3_600_000

    private func world(quota: Int) -> World {
        var world = World(quota: 5, now: RightTests.start)
        world.add("H1", publicBiz: quota, total: 100)
        return world
    }

    private func appointment(_ world: inout World, _ ext: String, minutes: Int64) {
        world.decide(
            .makeAppointment(
                Appointment(
                    extNo: ext, appId: "app1", bizCode: "hospital", placeCode: "H1", appointTime: world.now + minutes * 60_000,
                    personToken: "p" + ext, plate: nil, createdAt: world.now)))
    }

    @Test func aPolicyThatChangesLaterTakesNothingFromTheNext() throws {
        var world = world(quota: 1)
        world.decide(.setPolicy(.lot("H1"), ["bizStayMin": "60", "bizAfterMin": "0"]))
        appointment(&world, "a", minutes: 240)
        appointment(&world, "b", minutes: 360)
        #expect(world.city.appointments["app1|b"]?.parkCode == "H1", "one after the other on one place")
        world.decide(.setPolicy(.lot("H1"), ["bizStayMin": "180"]))
        let reservation = try #require(
            world.create("pa", lot: "H1", purpose: .publicService, in: 240) { $0.extNo = "a" }.outcome.reservation)
        #expect(reservation.stayMin == 60, "the right was given for an hour")
        let most = stride(from: world.now, to: world.now + 12 * 3_600_000, by: 600_000).map {
            world.city.lots["H1"]!.excess(.publicService, at: $0)
        }
        #expect(most.max() == 0)
    }

    @Test func whoMissedHisTimeAndGetsAnotherComesBack() throws {
        var world = world(quota: 1)
        appointment(&world, "a", minutes: 120)
        let reservation = try #require(
            world.create("pa", lot: "H1", purpose: .publicService, in: 100) { $0.extNo = "a" }.outcome.reservation)
        world.run(minutes: 200)
        #expect(world.status(reservation.orderNo) == .noShow)
        let version = world.reservation(reservation.orderNo).orderVer
        world.decide(.moveAppointment(appId: "app1", extNo: "a", to: world.now + 26 * 3_600_000))
        #expect(
            world.status(reservation.orderNo) == .noShow && world.reservation(reservation.orderNo).orderVer == version,
            "what is over stays as it is")
        #expect(world.city.appointments["app1|a"]?.parkCode == "H1" && world.city.appointments["app1|a"]?.state == .made)
        #expect(
            world.create("pa", lot: "H1", purpose: .publicService, in: 26 * 60) { $0.extNo = "a" }.outcome.reservation != nil,
            "and he may book again")
    }

    @Test func reliefGoesAlongToANeighbour() throws {
        var world = world(quota: 1)
        world.add("M1", metres: 200, reserve: 5)
        world.decide(.setPolicy(.lot("H1"), ["bizFreeMin": "60"]))
        appointment(&world, "x", minutes: 50)
        appointment(&world, "a", minutes: 50)
        var occupied = Remaining(reportedAt: world.now + 1, total: 100, occupied: 100, remain: 0)
        occupied.reportedAt = world.now + 1
        world.now += 1000
        world.decide(.reportRemaining(parkCode: "H1", occupied))
        let full = world.create("pa", lot: "H1", purpose: .publicService, in: 50) { $0.extNo = "a" }
        let other = try #require(full.alternatives.first)
        #expect(full.outcome == .refused(.saturated) && other.parkCode == "M1" && other.freeMin == 60)
        let reservation = try #require(world.create("pa", lot: "M1", in: 50) { $0.extNo = "a" }.outcome.reservation)
        #expect(reservation.terms.freeMin == 60, "what was promised stands in the order, and goes to its lot")
        #expect(world.create("z", lot: "M1", in: 50).outcome.reservation?.terms.freeMin == 0)
    }
}

/// Who waits comes first.
@Suite struct QueueTests {
    @Test func aPlaceThatTimeGivesBackIsTheFirstOnes() throws {
        var world = World(quota: 5, now: CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 3, day: 4)!) + 7 * 3_600_000)
        world.add("S1", share: 1)
        _ = try #require(
            world.subscribe("s", lot: "S1", plates: [World.plate(1)], segments: [RecurringWindow(.daily, start: 0, end: 480)]).subscription)
        world.now += 20 * 60_000
        let first = try #require(
            world.create("w", lot: "S1", purpose: .shared, in: 55) {
                $0.waits = true; $0.planTime = CivilTime.start(ofDay: CivilTime.day(of: $0.planTime)) + 495 * 60_000
            }.outcome.reservation)
        #expect(first.status == .waitlisted)
        world.now = CivilTime.start(ofDay: CivilTime.day(of: world.now)) + 481 * 60_000
        _ = world.create("b", lot: "S1", purpose: .shared, in: 14, plate: 9)
        #expect(world.status(first.orderNo) == .booked, "nobody who asks now goes before him")
    }

    @Test func aNamedPoolThatIsFullCanBeWaitedFor() {
        var world = World(quota: 5)
        world.add("S1", share: 5)
        var policy = FlowPolicy(policyId: "F", parkCode: "S1", areaId: "", mode: .bookingOnly, validFrom: 0, validTo: .max / 4)
        policy.pools = ["SHARED": 0]
        world.decide(.setFlow(policy))
        #expect(world.create("a", lot: "S1", purpose: .shared, in: 30).outcome == .refused(.poolEmpty))
        #expect(world.create("b", lot: "S1", purpose: .shared, in: 30) { $0.waits = true }.outcome.reservation?.status == .waitlisted)
    }

    @Test func everyFullAnswerNamesNeighbours() {
        var world = World(quota: 1)
        world.add("A1", metres: 100, reserve: 5)
        _ = world.create("a", in: 30)
        _ = world.create("b", in: 30) { $0.waits = true }
        let again = world.create("b", in: 35) { $0.waits = true }
        #expect(again.outcome == .refused(.waitlistFull) && again.alternatives.map(\.parkCode) == ["A1"])
        let late = world.create("c", in: 5) { $0.waits = true }
        #expect(late.outcome == .refused(.waitlistClosed) && late.alternatives.map(\.parkCode) == ["A1"])
    }
}
