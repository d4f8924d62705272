import BerthCore
import Testing

/// Public-service parking 公共业务停车 (R6).
@Suite struct PublicServiceTests {
    private static let start = CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 3, day: 4)!) + 6 * 3_600_000

    private func world(quota: Int, total: Int = 100) -> World {
        var world = World(quota: 5, now: PublicServiceTests.start)
        world.add("H1", publicBiz: quota, total: total)
        return world
    }

    private func appointment(_ world: inout World, _ extNo: String, hours: Int64, person: String = "p", plate: Plate? = nil) -> Appointment?
    {
        let draft = Appointment(
            extNo: extNo, appId: "app1", bizCode: "hospital", placeCode: "H1", appointTime: world.now + hours * 3_600_000,
            personToken: person,
            plate: plate, createdAt: world.now)
        if case .entity(.appointment(let made)) = world.decide(.makeAppointment(draft)).outcome { return made }
        return nil
    }

    private func book(_ world: inout World, _ extNo: String?, plan: Millis, user: String = "p", plate: Int? = nil, app: String = "app1")
        -> Decision
    {
        world.create(user, lot: "H1", purpose: .publicService, in: 0, plate: plate) {
            $0.planTime = plan
            $0.extNo = extNo
            $0.appId = app
        }
    }

    @Test func placesGoInTheOrderOfAppointments() throws {
        var world = world(quota: 1)
        let first = try #require(appointment(&world, "a", hours: 26))
        #expect(first.parkCode == "H1")
        let later = try #require(appointment(&world, "b", hours: 27))
        let earlier = try #require(appointment(&world, "c", hours: 25, person: "q"))
        #expect(later.parkCode == nil && earlier.parkCode == nil)
        world.decide(.cancelAppointment(appId: "app1", extNo: "a"))
        #expect(world.city.appointments["app1|c"]?.parkCode == "H1", "the earliest appointment without a place gets it")
        #expect(world.city.appointments["app1|b"]?.parkCode == nil)
        #expect(appointment(&world, "a", hours: 26) == nil, "a cancelled number stays cancelled")
        let quota = world.city.quota(ofPlace: "H1", day: CivilTime.day(of: world.now) + 1, at: world.now)
        #expect(quota.map { [$0.quota, $0.kept, $0.booked, $0.without] } == [[1, 1, 0, 1]])
    }

    @Test func aBookingNeedsItsAppointment() throws {
        var world = world(quota: 3)
        let time = world.now + 26 * 3_600_000
        _ = appointment(&world, "a", hours: 26, person: "p")
        _ = appointment(&world, "z", hours: 26, person: "zz", plate: World.plate(500))
        #expect(book(&world, nil, plan: time).outcome == .refused(.appointmentNotFound))
        #expect(book(&world, "x", plan: time).outcome == .refused(.appointmentNotFound))
        #expect(book(&world, "a", plan: time - 61 * 60_000).outcome == .refused(.outsideAppointment))
        #expect(book(&world, "a", plan: time + 31 * 60_000).outcome == .refused(.outsideAppointment))
        #expect(book(&world, "z", plan: time, plate: 501).outcome == .refused(.plateDiffers))
        #expect(book(&world, "a", plan: time, user: "stranger", app: "app2").outcome == .refused(.appointmentNotFound))
        let reservation = try #require(
            book(&world, "a", plan: time - 60 * 60_000, app: "app2").outcome.reservation, "the same pseudonym in another app")
        #expect(
            reservation.enterStart == time - 60 * 60_000 && reservation.enterEnd == time + 30 * 60_000
                && reservation.leaveDeadline == time + 120 * 60_000)
        #expect(book(&world, "a", plan: time).outcome == .refused(.appointmentUsed))
        #expect(
            world.decide(.modify(appId: "app2", orderNo: reservation.orderNo, planTime: time, plate: nil, plateColor: nil)).outcome
                == .refused(.wrongState))
        world.decide(.cancel(appId: "app2", orderNo: reservation.orderNo, confirmBreach: false))
        #expect(world.city.appointments["app1|a"]?.state == .made, "the appointment stands, and can be used again")
        #expect(book(&world, "a", plan: time).outcome.reservation != nil)
        world.decide(.cancelAppointment(appId: "app1", extNo: "a"))
        #expect(book(&world, "a", plan: time).outcome == .refused(.appointmentCancelled))
        let named = try #require(book(&world, "z", plan: time, user: "zz", plate: 500).outcome.reservation)
        let other = world.decide(
            .modify(appId: "app1", orderNo: named.orderNo, planTime: nil, plate: World.plate(501), plateColor: nil))
        #expect(other.outcome == .refused(.plateDiffers), "an appointment that names its car is for that car")
    }

    @Test func theAppointmentMovesItsPlace() throws {
        var world = world(quota: 1)
        _ = appointment(&world, "a", hours: 26)
        let time = world.now + 26 * 3_600_000
        let reservation = try #require(book(&world, "a", plan: time).outcome.reservation)
        world.decide(.moveAppointment(appId: "app1", extNo: "a", to: time + 3_600_000))
        let moved = world.reservation(reservation.orderNo)
        #expect(moved.status == .booked && moved.planTime == time + 3_600_000 && moved.enterStart == time && moved.orderVer == 2)
        // At another time the quota is somebody else's: the order ends without fault, the appointment waits.
        _ = appointment(&world, "b", hours: 40, person: "q")
        world.decide(.moveAppointment(appId: "app1", extNo: "a", to: world.now + 40 * 3_600_000))
        #expect(world.status(reservation.orderNo) == .revoked && world.reservation(reservation.orderNo).isCompensated)
        #expect(world.city.appointments["app1|a"]?.state == .made && world.city.appointments["app1|a"]?.parkCode == nil)
        #expect(world.evidence().isEmpty)
        world.decide(.cancelAppointment(appId: "app1", extNo: "b"))
        #expect(world.city.appointments["app1|a"]?.parkCode == "H1")
    }

    @Test func rollingReleaseByTheGatesUntilFull() throws {
        var world = world(quota: 1, total: 3)
        _ = appointment(&world, "a", hours: 3)
        let reservation = try #require(book(&world, "a", plan: world.now + 3 * 3_600_000).outcome.reservation)
        for (number, hours) in [("b", Int64(3)), ("c", 3), ("d", 3), ("t", 27), ("u", 27)] {
            _ = appointment(&world, number, hours: hours, person: number)
        }
        let tomorrow = book(&world, "u", plan: world.now + 27 * 3_600_000, user: "u")
        #expect(tomorrow.outcome == .refused(.publicQuotaUsedUp))
        #expect(tomorrow.note?.until == CivilTime.start(ofDay: CivilTime.day(of: world.now) + 1), "released from the day itself on")
        let released = try #require(book(&world, "b", plan: world.now + 3 * 3_600_000, user: "b").outcome.reservation)
        #expect(released.pool == .rolling)
        world.decide(.reportRemaining(parkCode: "H1", Remaining(reportedAt: world.now, total: 3, occupied: 1, remain: 2)))
        let full = book(&world, "c", plan: world.now + 3 * 3_600_000, user: "c")
        #expect(full.outcome == .refused(.saturated), "one is inside, two are promised: 1:1")
        #expect(full.note?.max == 3)
        _ = reservation
    }

    @Test func aRightThatIsNotUsedGoesBack() throws {
        var world = world(quota: 1)
        _ = appointment(&world, "a", hours: 2)
        _ = appointment(&world, "b", hours: 4, person: "q")
        #expect(world.city.appointments["app1|b"]?.parkCode == nil)
        world.run(minutes: 151)
        #expect(world.city.appointments["app1|b"]?.parkCode == "H1", "nobody came in the window: the place is the next one's")
    }

    @Test func aPlaceOfManyLots() throws {
        var world = world(quota: 1)
        world.add("H2", metres: 500, publicBiz: 1)
        world.decide(.setPlace(PublicPlace(placeCode: "医院", name: "医院", parkCodes: ["H1", "H2"])))
        func make(_ number: String) -> String? {
            let draft = Appointment(
                extNo: number, appId: "app1", bizCode: "hospital", placeCode: "医院", appointTime: world.now + 26 * 3_600_000,
                personToken: "p",
                plate: nil, createdAt: world.now)
            if case .entity(.appointment(let made)) = world.decide(.makeAppointment(draft)).outcome { return made.parkCode ?? "none" }
            return nil
        }
        #expect([make("a"), make("b"), make("c")] == ["H1", "H2", "none"])
        #expect(world.decide(.setPlace(PublicPlace(placeCode: "x", name: "", parkCodes: ["P9"]))).outcome == .refused(.lotNotRegistered))
    }
}

/// Flow control 流量管控 and saturation 饱和度 (section 8).
@Suite struct FlowTests {
    private static let start = CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 3, day: 4)!) + 6 * 3_600_000

    private func world() -> World { World(quota: 50, now: FlowTests.start) }

    private func flow(
        _ world: World, _ mode: FlowMode, id: String = "F", lot: String = "P1", area: String = "", hours: Int64 = 10,
        _ change: (inout FlowPolicy) -> Void = { _ in }
    ) -> FlowPolicy {
        var policy = FlowPolicy(
            policyId: id, parkCode: area.isEmpty ? lot : "", areaId: area, mode: mode, validFrom: world.now,
            validTo: world.now + hours * 3_600_000)
        change(&policy)
        return policy
    }

    private func gate(_ world: inout World, _ plate: Plate, lot: String = "P1") -> GateDecision {
        guard
            case .gate(let gate, _) = world.decide(.check(parkCode: lot, GateQuestion(plate: plate, time: world.now, gateCode: "G1")))
                .outcome
        else { preconditionFailure() }
        return gate
    }

    @Test func modesAtTheGateAndForBookings() throws {
        var world = world()
        let reservation = try #require(world.create("a", in: 10, plate: 1).outcome.reservation)
        #expect(gate(&world, World.plate(9)).verdict == .local)
        world.decide(.setFlow(flow(world, .bookingOnly)))
        #expect(
            gate(&world, World.plate(9)).refusal == .flowControlActive && gate(&world, World.plate(1)).entry?.orderNo == reservation.orderNo
        )
        #expect(world.create("b", in: 10).outcome.reservation != nil, "booking is what it asks for")
        world.decide(.setFlow(flow(world, .closed)))
        let closed = world.create("c", in: 10)
        #expect(closed.outcome == .refused(.flowControlActive) && closed.note?.until == world.now + 10 * 3_600_000)
        #expect(gate(&world, World.plate(1)).verdict == .allow, "who has booked has a right")
        world.decide(.setFlow(flow(world, .throttle) { $0.maxEntriesPer5min = 2 }))
        for (number, verdict) in [(31, GateVerdict.local), (32, .local), (33, .refuse)] {
            #expect(gate(&world, World.plate(number)).verdict == verdict)
            guard verdict == .local else { continue }
            world.decide(
                .enter(
                    parkCode: "P1",
                    Passage(
                        recordNo: "w\(number)", plate: World.plate(number), gateCode: "G1", enterTime: world.now, carKind: 1, orderNo: nil))
            )
        }
        world.now += 5 * 60_000 + 1
        #expect(gate(&world, World.plate(33)).verdict == .local, "five minutes on")
        world.decide(.setFlow(flow(world, .off)))
        #expect(gate(&world, World.plate(9)).verdict == .local)
    }

    @Test func hysteresis() {
        var world = world()
        world.decide(
            .setFlow(
                flow(world, .bookingOnly) {
                    $0.saturationOpen = 90; $0.saturationClose = 95
                }))
        let steps: [(Int, FlowMode)] = [
            (80, .off), (94, .off), (95, .bookingOnly), (91, .bookingOnly), (90, .bookingOnly), (89, .off), (94, .off), (99, .bookingOnly),
        ]
        for (occupied, mode) in steps {
            world.fill(occupied)
            #expect(world.city.flowMode("P1", at: world.now) == mode, "\(occupied) %")
        }
        #expect(
            world.decide(
                .setFlow(
                    flow(world, .bookingOnly) {
                        $0.saturationOpen = 96; $0.saturationClose = 95
                    })
            ).outcome == .refused(.illegalValue))
    }

    @Test func levelsAreTold() {
        var world = world()
        var told: [Int] = []
        for occupied in [50, 89, 90, 92, 100, 97, 90, 86, 84, 91] {
            world.now += 1000
            let decision = world.decide(
                .reportRemaining(parkCode: "P1", Remaining(reportedAt: world.now, total: 100, occupied: occupied, remain: 100 - occupied)))
            for case .notice(let notice) in decision.events where (4001...4003).contains(notice.eventType) { told.append(notice.eventType) }
        }
        #expect(told == [4001, 4002, 4001, 4003, 4001])
    }

    @Test func scheduleAndHolidays() {
        var world = world()
        world.decide(
            .setFlow(
                flow(world, .bookingOnly, hours: 240) {
                    $0.segments = [RecurringWindow(.weekly, days: [1, 2, 3, 4, 5], start: 420, end: 540)]
                }))
        func mode(_ hour: Int64, day: Int64 = 4) -> FlowMode {
            world.city.flowMode("P1", at: CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 3, day: day)!) + hour * 3_600_000)
        }
        #expect((mode(6), mode(7), mode(8), mode(9)) == (.off, .bookingOnly, .bookingOnly, .off))
        #expect(mode(8, day: 7) == .off, "a Saturday")
        world.decide(.setCalendarDay(CalendarDay(day: CivilTime.day(year: 2026, month: 3, day: 7)!, kind: .workday)))
        #expect(mode(8, day: 7) == .bookingOnly, "that makes up for a holiday")
    }

    @Test func poolsOfAPolicy() throws {
        var world = world()
        world.decide(.setFlow(flow(world, .bookingOnly) { $0.pools = ["PERSONAL": 2, "MERCHANT": 1, "CHARGING": 1] }))
        func book(_ pool: Pool?) -> Decision { world.create("u\(world.keys)", in: 20) { $0.pool = pool } }
        #expect(book(nil).outcome.reservation != nil && book(nil).outcome.reservation != nil)
        let full = book(nil)
        #expect(full.outcome == .refused(.poolEmpty) && full.note == RuleNote("PERSONAL", used: 2, max: 2))
        #expect(book(.merchant).outcome.reservation?.pool == .merchant && book(.merchant).outcome == .refused(.poolEmpty))
        #expect(book(.charging).outcome.reservation != nil)
        // Places to charge may be booked for another time ahead than ordinary ones (R2).
        world.decide(.setPolicy(.lot("P1"), ["advanceMaxMin": "120", "chargingAdvanceMaxMin": "60"]))
        let early = world.create("x", in: 90) { $0.pool = .charging }
        #expect(early.outcome == .refused(.notOpenYet) && early.note?.rule == "chargingAdvanceMaxMin" && early.note?.max == 60)
        let slots = world.city.slots("P1", .reservation, day: CivilTime.day(of: world.now), now: world.now)
        #expect(slots.contains { $0.reason == .poolEmpty && $0.quota == 2 })
        #expect(world.decide(.setFlow(flow(world, .bookingOnly) { $0.pools = ["NONE": 1] })).outcome == .refused(.illegalValue))
        // Without a policy the whole of what the lot opened is personal.
        world.decide(.setFlow(flow(world, .off)))
        #expect(book(nil).outcome.reservation != nil && book(.merchant).outcome == .refused(.noBookableSpace))
    }

    @Test func placesForWalkInsStayFree() {
        var world = World(quota: 50, now: FlowTests.start)
        var profile = World.profile(quota: 10)
        profile.totalCount = 10
        world.decide(.openLot(profile))
        world.decide(
            .setFlow(
                flow(world, .throttle) {
                    $0.pools = ["WALK_IN": 7]; $0.bookingLimitPercent = 1000
                }))
        let made = (0..<5).map { world.create("u\($0)", in: 20).outcome.reservation != nil }
        #expect(made == [true, true, true, false, false], "ten places, seven for those who come without")
    }

    @Test func bookingStopsAtTheSaturationThatIsForeseen() throws {
        var world = world()
        world.fill(98)
        #expect(world.create("a", in: 30).outcome.reservation != nil, "no policy is on")
        world.decide(.setFlow(flow(world, .throttle)))
        let reservation = world.create("b", in: 30)
        #expect(reservation.outcome.reservation != nil, "98 and one booked: 99 of 100")
        let full = world.create("c", in: 30)
        #expect(full.outcome == .refused(.saturated) && full.note?.used == 1000 && full.note?.max == 1000)
        // History says that fifty leave by then.
        var usual = Array(repeating: 90, count: 48)
        for slot in 13...15 { usual[slot] = 40 }
        world.decide(.setOccupancy([OccupancyProfile(parkCode: "P1", weekday: 3, occupied: usual, dayCount: 4, errorPerMille: 20)]))
        #expect(world.city.lots["P1"]!.expectedOccupied(at: world.now + 30 * 60_000, now: world.now, world.city.calendar).count < 60)
        #expect(world.create("c", in: 30).outcome.reservation != nil)
    }

    @Test func aForecastIsHonestAboutItsHistory() {
        let days = [[Int](repeating: 10, count: 48), [Int](repeating: 20, count: 48), [Int](repeating: 30, count: 48)]
        let made = OccupancyProfile.make(parkCode: "P", weekday: 1, days: days, capacity: 100)
        #expect(made?.dayCount == 3 && made?.occupied[0] == 20)
        #expect(made?.errorPerMille == 0, "days of one shape are forecast without error, however full they are")
        let odd = [days[0], days[0], (0..<48).map { $0 < 24 ? 10 : 50 }]
        // Held out, each of the three jumps or misses a jump once: 2 · 40/3 + 40 + … over the four horizons, of 100 places.
        #expect(
            (OccupancyProfile.make(parkCode: "P", weekday: 1, days: odd, capacity: 100)?.errorPerMille).map { (12...18).contains($0) }
                == true)
        #expect(OccupancyProfile.make(parkCode: "P", weekday: 1, days: [days[0]], capacity: 100)?.errorPerMille == nil)
        #expect(OccupancyProfile.make(parkCode: "P", weekday: 1, days: [], capacity: 100) == nil)
        let many = OccupancyProfile.make(
            parkCode: "P", weekday: 1, days: Array(repeating: days[0], count: 3) + Array(repeating: days[2], count: 4), capacity: 100)
        #expect(many?.dayCount == 4 && many?.occupied[0] == 30, "the last four")
        let world = world()
        #expect(world.city.lots["P1"]!.expectedOccupied(at: world.now + 3_600_000, now: world.now, world.city.calendar) == (0, 0))
    }

    @Test func anAreaOfManyLots() throws {
        var world = world()
        world.add("A1", metres: 100, reserve: 20)
        world.add("A2", metres: 200, reserve: 20)
        world.add("A3", metres: 300, reserve: 20)
        #expect(world.decide(.setFlow(flow(world, .bookingOnly, area: "景区"))).outcome == .refused(.notFound))
        world.decide(.setArea(FlowArea(areaId: "景区", name: "景区", parkCodes: ["A1", "A2"])))
        world.decide(
            .setFlow(
                flow(world, .bookingOnly, area: "景区") {
                    $0.saturationOpen = 50; $0.saturationClose = 60; $0.dailyQuotas = ["PERSONAL": 2, "MERCHANT": 1]
                }))
        let before = world.city.lots["A1"]!.downLast
        world.fill(100, lot: "A1")
        #expect(world.city.flowMode("A2", at: world.now) == .off, "100 of 200: half")
        world.fill(20, lot: "A2")
        #expect(world.city.flowMode("A1", at: world.now) == .bookingOnly && world.city.flowMode("A3", at: world.now) == .off)
        #expect(world.city.lots["A1"]!.downLast == before + 1, "told when it is demanded")
        world.fill(20, lot: "A1")
        #expect(world.city.flowMode("A2", at: world.now) == .off && world.city.lots["A2"]!.downLast > 0)
        // The day's quota of the area, over both lots (R5); a free cancel gives it back.
        let first = try #require(world.create("a", lot: "A1", in: 20).outcome.reservation)
        #expect(world.create("b", lot: "A2", in: 20).outcome.reservation != nil)
        let full = world.create("c", lot: "A1", in: 20)
        #expect(
            full.outcome == .refused(.poolEmpty) && full.note?.used == 2
                && full.note?.until == CivilTime.start(ofDay: CivilTime.day(of: world.now) + 1))
        #expect(
            full.alternatives.map(\.parkCode).contains("A3") && !full.alternatives.map(\.parkCode).contains("A2"),
            "another lot of the area is no alternative")
        world.now = first.enterStart - 60_000
        world.decide(.cancel(appId: "app1", orderNo: first.orderNo, confirmBreach: false))
        #expect(world.create("c", lot: "A1", in: 40).outcome.reservation != nil)
        #expect(
            world.decide(.setArea(FlowArea(areaId: "景区", name: "", parkCodes: []))).outcome == .refused(.wrongState), "a policy rests on it"
        )
    }

    @Test func whatIsRevokedIsShownFirstAndHasNoPenalty() throws {
        var world = world()
        world.add("P2", metres: 300, reserve: 5)
        let hit = try #require(world.create("a", in: 50).outcome.reservation)
        let spared = try #require(world.create("b", in: 5).outcome.reservation)
        var policy = flow(world, .closed) {
            $0.validFrom += 30 * 60_000 - 60_000; $0.revokes = true
        }
        policy.validFrom = hit.enterStart
        #expect(world.city.affected(by: policy, at: world.now).map(\.orderNo) == [hit.orderNo])
        world.decide(.setFlow(policy))
        #expect(
            world.status(hit.orderNo) == .revoked && world.reservation(hit.orderNo).isCompensated && world.status(spared.orderNo) == .booked
        )
        #expect(world.evidence().isEmpty && world.city.counters(of: "a", at: world.now) == 0)
        let others = world.city.alternatives(to: world.reservation(hit.orderNo), policy: world.city.lots["P1"]!.policy, at: world.now)
        #expect(others.map(\.parkCode) == ["P2"])
    }
}
