import BerthCore
import Testing

/// Shared parking 共享停车: offers, single uses, subscriptions, and the owner's return as a hard limit.
@Suite struct SharingTests {
    /// A lot whose places are all owners'. 2026-03-04 is a Wednesday; it is 06:00.
    private func world(pool: Int = 0) -> World {
        let start = CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 3, day: 4)!) + 6 * 3_600_000
        var world = World(quota: 5, now: start)
        var elsewhere = World.profile(quota: 5)
        elsewhere.enabled = [.reservation]
        world.decide(.openLot(elsewhere))
        world.add("S1", metres: 100, share: pool)
        return world
    }

    private func at(_ hour: Int64, _ minute: Int64 = 0, day: Int64 = 4) -> Millis {
        CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 3, day: day)!) + (hour * 60 + minute) * 60_000
    }

    private static let work = [RecurringWindow(.weekly, days: [1, 2, 3, 4, 5], start: 480, end: 1080)]

    @Test func segmentsFollowTheWorkCalendar() {
        let day = CivilTime.day(year: 2026, month: 10, day: 1)!
        var calendar = WorkCalendar(exceptions: [day: .holiday, day + 9: .workday])
        // Thursday, 1 October, is a holiday; Saturday, 10 October, makes up for it.
        #expect(calendar.weekday(ofDay: day) == 7 && calendar.weekday(ofDay: day + 9) == 1 && calendar.weekday(ofDay: day + 1) == 5)
        func open(_ segments: [RecurringWindow], _ day: Int64, _ hour: Int64) -> Bool {
            RecurringWindow.span(segments, holding: CivilTime.start(ofDay: day) + hour * 3_600_000, calendar) != nil
        }
        #expect(!open(SharingTests.work, day, 10) && open(SharingTests.work, day + 9, 10) && open(SharingTests.work, day + 1, 10))
        #expect(
            open(RecurringWindow.offPeak, day, 10) && !open(RecurringWindow.offPeak, day + 1, 10)
                && open(RecurringWindow.offPeak, day + 1, 7),
            "until 08:00 of the next workday")
        calendar.exceptions = [:]
        #expect(
            RecurringWindow.parse("1-5 18:00-08:00; 6-7 00:00-24:00")?.count == 2
                && RecurringWindow.parse("22:00-06:00")?[0].repeats == .daily)
        for text in ["", "25:00-26:00", "8-9 00:00-01:00", "1-5", "18:00", "24:00-25:00"] {
            #expect(RecurringWindow.parse(text) == nil, "\(text)")
        }
        let night = RecurringWindow.spans([RecurringWindow(.daily, start: 1080, end: 480)], from: at(0), to: at(0, day: 6), calendar)
        #expect(night.count == 3 && night[0] == Window(at(0), at(8)) && night[1] == Window(at(18), at(8, day: 5)))
        #expect(RecurringWindow.covers(RecurringWindow.always, from: at(3), to: at(3, day: 9), calendar), "days join at midnight")
    }

    @Test func anOfferIsReviewedBeforeItOpens() throws {
        var world = world()
        func publish(_ change: (inout SharedOffer) -> Void = { _ in }) -> Decision {
            var offer = SharedOffer(
                offerId: "", appId: "app1", providerToken: "w", parkCode: "S1", spaceNo: "A1", count: 1, segments: SharingTests.work,
                price: nil,
                validFrom: world.now, validTo: .max / 4, status: .draft, proofs: ["p"], agreementVersion: "1.0", createdAt: world.now)
            change(&offer)
            return world.decide(.publishOffer(offer))
        }
        #expect(publish { $0.proofs = [] }.outcome == .refused(.providerNotCertified))
        #expect(publish { $0.agreementVersion = "" }.outcome == .refused(.providerNotCertified))
        #expect(publish { $0.parkCode = "P9" }.outcome == .refused(.lotNotRegistered))
        world.decide(.setPolicy(.lot("S1"), ["agreementVersion": "2.0"]))
        #expect(publish().note?.rule == "agreementVersion")
        world.decide(.setPolicy(.lot("S1"), ["agreementVersion": ""]))
        guard case .entity(.offer(let offer)) = publish().outcome else { Issue.record("no offer"); return }
        #expect(offer.status == .underReview && offer.offerId.hasPrefix("SO20260304"))
        #expect(publish().outcome == .refused(.unknownSpace), "one space is offered once")
        world.now = at(8)
        #expect(world.create("u", lot: "S1", purpose: .shared, in: 10) { $0.offerId = offer.offerId }.outcome == .refused(.offerUnderAudit))
        #expect(world.subscribe("u", lot: "S1", offerId: offer.offerId, plates: [World.plate(1)]).refusal == .offerUnderAudit)
        world.decide(.reviewOffer(parkCode: "S1", offerId: offer.offerId, isPassed: false, remark: "证明不清"))
        #expect(world.city.offer(offer.offerId)?.status == .draft && world.city.offer(offer.offerId)?.remark == "证明不清")
        world.decide(.updateOffer(appId: "app1", offerId: offer.offerId, segments: nil, price: SharePrice(mode: .hour, fen: 500)))
        #expect(world.city.offer(offer.offerId)?.status == .underReview, "put right, it is looked at again")
        world.decide(.reviewOffer(parkCode: "S1", offerId: offer.offerId, isPassed: true, remark: ""))
        #expect(world.city.offer(offer.offerId)?.status == .open)
        #expect(
            world.decide(.reviewOffer(parkCode: "S1", offerId: offer.offerId, isPassed: true, remark: "")).outcome == .refused(.wrongState))
        #expect(
            world.decide(.updateOffer(appId: "other", offerId: offer.offerId, segments: nil, price: nil)).outcome == .refused(.notFound))
        #expect(world.create("u", lot: "S1", purpose: .shared, in: 10) { $0.offerId = "SO9" }.outcome == .refused(.offerClosed))
    }

    @Test func aUseIsCutToTheOpenTime() throws {
        var world = world()
        _ = world.offer("A1", lot: "S1", segments: SharingTests.work)
        world.now = at(7, 40)
        let reservation = try #require(world.create("a", lot: "S1", purpose: .shared, in: 30) { $0.stayMin = 60 }.outcome.reservation)
        #expect(reservation.spaceNo == "A1" && reservation.enterStart == at(8) && reservation.leaveDeadline == at(9, 10))
        #expect(
            world.create("b", lot: "S1", purpose: .shared, in: 40) { $0.stayMin = 30 }.outcome == .refused(.noBookableSpace),
            "no space for two cars")
        #expect(world.create("c", lot: "S1", purpose: .shared, in: 10).outcome == .refused(.outsideSegment))
        world.now = at(17, 10)
        let last = try #require(world.create("d", lot: "S1", purpose: .shared, in: 10) { $0.stayMin = 300 }.outcome.reservation)
        #expect(last.leaveDeadline == at(18) && last.stayMin == 40, "the owner comes home at six")
        world.decide(.setPolicy(.lot("S1"), ["quietHours": "17:30-19:00"]))
        #expect(world.create("e", lot: "S1", purpose: .shared, in: 30).outcome == .refused(.quietHours))
    }

    @Test func theSpaceThatIsCutUpLeastIsTaken() throws {
        var world = world()
        _ = world.offer("A1", lot: "S1")
        _ = world.offer("A2", lot: "S1")
        world.now = at(8)
        func book(_ minutes: Int, stay: Int) -> String? {
            world.create("u\(world.keys)", lot: "S1", purpose: .shared, in: minutes) { $0.stayMin = stay }.outcome.reservation?.spaceNo
        }
        #expect(book(60, stay: 30) == "A1")
        #expect(book(0, stay: 30) == "A1", "beside the other, and not into the empty space")
        #expect(book(0, stay: 60) == "A2")
        #expect(book(5, stay: 15) == nil)
    }

    @Test func aNumberOfSpacesAreAsManyPlaces() {
        var world = world()
        _ = world.offer(nil, lot: "S1", count: 3)
        world.now = at(8)
        let spaces = (0..<4).map { world.create("u\($0)", lot: "S1", purpose: .shared, in: 10).outcome.reservation?.spaceNo }
        #expect(Set(spaces.compactMap { $0 }).count == 3 && spaces[3] == nil)
    }

    @Test func firstCarOfAGroupInTheOthersWait() throws {
        var world = world()
        _ = world.offer("A1", lot: "S1")
        let (one, two) = (World.plate(1), World.plate(2))
        let reservation = try #require(
            world.create("a", lot: "S1", purpose: .shared, in: 10) {
                $0.plate = one; $0.otherPlates = [two]
            }.outcome.reservation)
        func ask(_ plate: Plate) -> GateDecision? {
            if case .gate(let gate, _) = world.decide(.check(parkCode: "S1", GateQuestion(plate: plate, time: world.now, gateCode: "G1")))
                .outcome
            {
                gate
            } else {
                nil
            }
        }
        #expect(ask(one)?.verdict == .allow && ask(two)?.verdict == .allow)
        #expect(world.come(reservation.orderNo, plate: two, lot: "S1", record: "r1") == .recorded(recordNo: "r1", .inLot, isRepeat: false))
        #expect(ask(one)?.refusal == .sharedSpaceOccupied)
        #expect(world.create("b", in: 10) { $0.plate = two }.outcome == .refused(.overlappingBooking), "each of the group is spoken for")
        #expect(
            world.create("c", lot: "S1", purpose: .shared, in: 10) { $0.otherPlates = (10...20).map(World.plate) }.note?.rule
                == "platesPerOrderMax")
    }

    /// Grace, then a strike; the evidence is the lot's log. A late record undoes it. After so many no sharing for the year.
    @Test func lateDepartures() throws {
        var world = world()
        _ = world.offer("A1", lot: "S1", price: SharePrice(mode: .hour, fen: 500))
        world.city.listeners = ["app1"]
        func stay(_ plate: Plate, isLinked: Bool = true) -> Reservation {
            let reservation = world.create("u", lot: "S1", purpose: .shared, in: 1) {
                $0.plate = plate; $0.stayMin = 60
            }.outcome.reservation!
            world.run(minutes: 1)
            _ = world.come(reservation.orderNo, plate: plate, lot: "S1", record: "r\(world.keys)")
            world.run(minutes: 46)
            #expect(
                world.reservation(reservation.orderNo).isWarned && !world.reservation(reservation.orderNo).overstay,
                "reminded fifteen minutes before")
            world.run(minutes: 14)
            #expect(world.reservation(reservation.orderNo).overstay && !world.reservation(reservation.orderNo).isLate)
            world.run(minutes: 16, isLinked: isLinked)
            return world.reservation(reservation.orderNo)
        }
        let entered = world.now + 60_000
        let first = stay(World.plate(1), isLinked: false)
        #expect(!first.isLate, "the line is down: nothing is charged")
        world.run(minutes: 1)
        #expect(world.reservation(first.orderNo).isLate && world.evidence().map(\.kind) == [.lateDeparture])
        // The exit record comes late, and says that he was gone in time.
        let gone = world.reservation(first.orderNo).leaveDeadline! + 5 * 60_000
        var exit = Passage(recordNo: "r1", plate: World.plate(1), gateCode: "G1", enterTime: entered, carKind: 6, orderNo: nil)
        exit.leaveTime = gone
        exit.exitGateCode = "G2"
        exit.recordNo = world.reservation(first.orderNo).recordNo!
        world.decide(.exit(parkCode: "S1", exit))
        #expect(world.status(first.orderNo) == .done && world.evidence().map(\.state) == [.undone])
        for number in 2...3 {
            let late = stay(World.plate(number))
            #expect(late.isLate)
            _ = world.go(plate: World.plate(number), lot: "S1", record: late.recordNo!, entered: late.enterTime!)
        }
        let refused = world.create("u", lot: "S1", purpose: .shared, in: 10)
        #expect(refused.outcome == .refused(.lateDepartureStrikes) && refused.note?.used == 2)
        #expect(world.subscribe("u", lot: "S1", plates: [World.plate(9)]).refusal == .lateDepartureStrikes)
    }

    @Test func whoDoesNotLeaveReHomesTheNextOneAndPays() throws {
        var world = world()
        _ = world.offer("A1", lot: "S1", price: SharePrice(mode: .hour, fen: 500))
        world.add("S2", metres: 600, share: 0)
        _ = world.offer("B1", lot: "S2", owner: "other", price: SharePrice(mode: .hour, fen: 800))
        let stays = try #require(world.create("a", lot: "S1", purpose: .shared, in: 1, plate: 1) { $0.stayMin = 60 }.outcome.reservation)
        world.run(minutes: 1)
        _ = world.come(stays.orderNo, plate: World.plate(1), lot: "S1", record: "r1")
        world.run(minutes: 45)
        let next = try #require(world.create("b", lot: "S1", purpose: .shared, in: 45, plate: 2) { $0.stayMin = 60 }.outcome.reservation)
        #expect(next.spaceNo == "A1")
        world.run(minutes: 14)
        #expect(world.status(next.orderNo) == .booked, "his time is not over yet")
        world.run(minutes: 2)
        let moved = world.reservation(next.orderNo)
        #expect(moved.status == .revoked && moved.isCompensated)
        let new = world.reservation(try #require(moved.rehomedTo))
        #expect(
            new.parkCode == "S2" && new.spaceNo == "B1" && new.status == .booked && new.rehomedFrom == next.orderNo
                && new.planTime == next.planTime)
        #expect(new.discountFen == 300 && new.discountBy == "user|app1|a")
        #expect(world.city.balances[.user("app1", "a")] == 300 && world.city.ledgerSum == 0)
        #expect(world.city.counters(of: "b", at: world.now) == 1, "it counts once against his day")
        // Where the same lot has room he stays in it.
        _ = world.go(plate: World.plate(1), lot: "S1", record: "r1", entered: world.reservation(stays.orderNo).enterTime!)
    }

    @Test func inTheSameLotHeOnlyChangesTheSpace() throws {
        var world = world()
        _ = world.offer("A1", lot: "S1")
        let stays = try #require(world.create("a", lot: "S1", purpose: .shared, in: 1, plate: 1) { $0.stayMin = 60 }.outcome.reservation)
        world.run(minutes: 1)
        _ = world.come(stays.orderNo, plate: World.plate(1), lot: "S1", record: "r1")
        let next = try #require(
            world.create("b", lot: "S1", purpose: .shared, in: 55, plate: 2) {
                $0.planTime += 36 * 60_000; $0.stayMin = 30
            }.outcome.reservation
                ?? {
                    world.run(minutes: 40)
                    return world.create("b", lot: "S1", purpose: .shared, in: 55, plate: 2) { $0.stayMin = 30 }.outcome.reservation
                }())
        _ = world.offer("A2", lot: "S1")
        world.run(minutes: 62)
        let moved = world.reservation(next.orderNo)
        #expect(moved.status == .booked && moved.spaceNo == "A2" && moved.orderVer > next.orderVer && moved.rehomedTo == nil)
    }

    @Test func anOwnerComesBackEarly() throws {
        var world = world()
        let offer = world.offer("A1", lot: "S1", price: SharePrice(mode: .hour, fen: 500))
        let inside = try #require(world.create("a", lot: "S1", purpose: .shared, in: 1, plate: 1) { $0.stayMin = 30 }.outcome.reservation)
        world.run(minutes: 1)
        _ = world.come(inside.orderNo, plate: World.plate(1), lot: "S1", record: "r1")
        let booked = try #require(
            world.create("b", lot: "S1", purpose: .shared, in: 60, plate: 2) {
                $0.planTime += 60_000; $0.planTime -= 60_000
            }.outcome.reservation)
        let before = world.city.summary(at: world.now)
        guard
            case .consequences(_, let reservations, _, _) = world.decide(
                .closeOffer(appId: "app1", offerId: offer.offerId, isConfirmed: false)
            )
            .outcome
        else { Issue.record("not shown"); return }
        #expect(
            reservations.map(\.orderNo) == [inside.orderNo, booked.orderNo] && world.city.summary(at: world.now) == before,
            "shown, not done")
        world.decide(.closeOffer(appId: "app1", offerId: offer.offerId, isConfirmed: true))
        #expect(world.city.offer(offer.offerId)?.status == .closed)
        #expect(world.status(booked.orderNo) == .revoked && world.status(inside.orderNo) == .inLot)
        #expect(world.reservation(inside.orderNo).leaveDeadline == inside.leaveDeadline, "who is inside has his time")
        #expect(world.decide(.closeOffer(appId: "app1", offerId: offer.offerId, isConfirmed: true)).outcome == .refused(.offerClosed))
    }

    @Test func subscriptions() throws {
        var world = world()
        let offer = world.offer("A1", lot: "S1", segments: SharingTests.work)
        let (one, two) = (World.plate(1), World.plate(2))
        #expect(
            world.subscribe("a", lot: "S1", offerId: offer.offerId, plates: [one], segments: [RecurringWindow(.daily, start: 0, end: 60)])
                .refusal
                == .outsideSegment)
        let subscription = try #require(world.subscribe("a", lot: "S1", offerId: offer.offerId, plates: [one, two]).subscription)
        #expect(subscription.status == .active && subscription.spaceNo == "A1" && subscription.segments == SharingTests.work)
        #expect(world.subscribe("b", lot: "S1", offerId: offer.offerId, plates: [World.plate(3)]).refusal == .segmentOverlap)
        world.now = at(9)
        #expect(
            world.create("c", lot: "S1", purpose: .shared, in: 30).outcome == .refused(.noBookableSpace), "the space is his at work hours")
        // In at nine, the other plate waits; out in time.
        #expect(world.come(subscription.authNo, plate: one, lot: "S1", record: "r1") == .recorded(recordNo: "r1", nil, isRepeat: false))
        #expect(world.city.subscription(subscription.authNo)?.status == .inUse && world.city.offer(offer.offerId)?.status == .inUse)
        #expect(world.come(subscription.authNo, plate: two, lot: "S1", record: "r2") == .recordedWith(.sharedSpaceOccupied, recordNo: "r2"))
        #expect(world.decide(.endShare(appId: "app1", authNo: subscription.authNo)).outcome == .refused(.sharedSpaceOccupied))
        world.now = at(17, 50)
        _ = world.go(plate: one, lot: "S1", record: "r1", entered: at(9))
        _ = world.go(plate: two, lot: "S1", record: "r2", entered: at(9))
        #expect(world.city.subscription(subscription.authNo)?.status == .active && world.evidence().isEmpty)
        // Two late departures end it (R10).
        for day in Int64(5)...6 {
            world.now = at(16, day: day)
            _ = world.come(subscription.authNo, plate: one, lot: "S1", record: "d\(day)")
            world.run(minutes: 140)
            _ = world.go(plate: one, lot: "S1", record: "d\(day)", entered: at(16, day: day))
        }
        #expect(world.city.subscription(subscription.authNo)?.status == .terminated && world.evidence().count == 2)
        let gate = world.decide(.check(parkCode: "S1", GateQuestion(plate: one, time: at(9, day: 9), gateCode: "G1")))
        guard case .gate(let decision, _) = gate.outcome else { return }
        #expect(decision.refusal == .lateDepartureStrikes && decision.verdict == .local)
        #expect(
            world.decide(.renewShare(appId: "app1", authNo: subscription.authNo, validTo: .max / 4)).outcome
                == .refused(.lateDepartureStrikes))
    }

    @Test func aMonthIsPaidReviewedRenewedAndOver() throws {
        var world = world(pool: 1)
        world.decide(.setPolicy(.lot("S1"), ["shareMonthlyFen": "10000", "shareWindow": "1-5 18:00-08:00; 6-7 00:00-24:00"]))
        func pay(_ number: String) {
            let subscription = world.city.subscription(number)!
            world.decide(
                .pay(
                    appId: "app1", parkCode: "", billNo: subscription.billNo!, payNo: "p\(world.now)", amountFen: 10_000, channel: "c",
                    requestHash: "h")
            )
            world.decide(.conclude(appId: "app1", payNo: "p\(world.now)", isPaid: true, message: "{}"))
        }
        guard case .share(let pending, let fee) = world.subscribe("a", lot: "S1", plates: [World.plate(1)]) else {
            Issue.record("no"); return
        }
        #expect(pending.status == .pending && fee == 10_000 && pending.spaceNo == nil)
        #expect(world.decide(.renewShare(appId: "app1", authNo: pending.authNo, validTo: .max / 4)).outcome == .refused(.approvalPending))
        world.run(minutes: 6)
        #expect(world.city.subscription(pending.authNo)?.status == .cancelled, "not paid in time")
        guard case .share(let second, _) = world.subscribe("a", lot: "S1", plates: [World.plate(1)]) else { return }
        pay(second.authNo)
        #expect(world.city.subscription(second.authNo)?.status == .active)
        #expect(world.city.balances[.lot("S1")] == -9_000 && world.city.balances[.platform] == -1_000, "the pool is the lot's")
        #expect(world.subscribe("b", lot: "S1", plates: [World.plate(2)]).refusal == .noBookableSpace, "one place, one subscription")
        let end = second.validTo
        let renewal = world.decide(.renewShare(appId: "app1", authNo: second.authNo, validTo: end + 30 * 86_400_000))
        #expect(renewal.outcome.subscription?.renewTo == end + 30 * 86_400_000, "\(renewal)")
        world.now += 1000
        guard renewal.outcome.subscription != nil else { return }
        pay(second.authNo)
        #expect(world.city.subscription(second.authNo)?.validTo == end + 30 * 86_400_000)
        world.now = end + 30 * 86_400_000 + 1
        world.run(minutes: 1)
        #expect(world.city.subscription(second.authNo)?.status == .expired)
        #expect(
            world.decide(.renewShare(appId: "app1", authNo: second.authNo, validTo: .max / 4)).outcome == .refused(.subscriptionExpired))
        world.decide(.setPolicy(.lot("S1"), ["subscriptionReview": "1", "shareMonthlyFen": "0"]))
        let asked = try #require(world.subscribe("c", lot: "S1", plates: [World.plate(3)]).subscription)
        #expect(asked.status == .pending)
        world.decide(.reviewShare(parkCode: "S1", authNo: asked.authNo, isPassed: false, remark: "不符合条件"))
        #expect(world.city.subscription(asked.authNo)?.status == .rejected)
    }
}

extension City {
    /// Bookings of a user on a day.
    func counters(of user: String, at time: Millis) -> Int? {
        standing(appId: "app1", userToken: user, at: time).first { $0.name == "dailyMaxPerUser" }?.used
    }
}
