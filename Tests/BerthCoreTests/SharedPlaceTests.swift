import BerthCore
import Testing

/// Where a shared place ends: the owner's day, quiet hours, a car that stays, a subscriber who is still there.
@Suite struct SharedPlaceTests {
    private static let start = CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 3, day: 4)!) + 19 * 3_600_000

    private func world(share: Int = 0) -> World {
        var world = World(quota: 5, now: SharedPlaceTests.start)
        world.add("S1", share: share)
        return world
    }

    @Test func nobodyStaysBeyondTheOffer() throws {
        var world = world()
        var offer = world.offer("A1", lot: "S1")
        offer.validTo = world.now + 60 * 60_000
        world.decide(.reportOffers(parkCode: "S1", [], gone: []))
        var short = offer
        short.offerId = "L1"
        short.appId = ""
        short.providerToken = ""
        short.spaceNo = "B1"
        short.status = .open
        world.decide(.reportOffers(parkCode: "S1", [short], gone: []))
        let reservation = try #require(
            world.create("a", lot: "S1", purpose: .shared, in: 30) {
                $0.offerId = "L1"; $0.stayMin = 120
            }.outcome.reservation)
        #expect(reservation.leaveDeadline == short.validTo && reservation.enterEnd <= short.validTo)
        _ = world.come(reservation.orderNo, plate: reservation.plate, lot: "S1", record: "r")
        let late = world.decide(.delay(appId: "app1", orderNo: reservation.orderNo))
        #expect(late.outcome == .refused(.delayNotAllowed) && late.note?.until == reservation.leaveDeadline)
    }

    @Test func quietHoursCutAWindow() throws {
        var world = world(share: 2)
        world.decide(.setPolicy(.lot("S1"), ["quietHours": "22:00-06:00"]))
        world.now += 150 * 60_000  // 21:30
        let reservation = try #require(
            world.create("a", lot: "S1", purpose: .shared, in: 20) { $0.stayMin = 60 }.outcome.reservation)
        #expect(reservation.enterEnd == SharedPlaceTests.start + 180 * 60_000, "nobody drives in after 22:00")
        #expect(reservation.leaveDeadline == reservation.enterEnd, "and who could not drive out at 22:50 leaves before")
        #expect(world.create("b", lot: "S1", purpose: .shared, in: 40).outcome == .refused(.quietHours))
    }

    @Test func aSubscriberWhoIsStillThereKeepsHisPlace() throws {
        var world = world(share: 1)
        let night = [RecurringWindow(.daily, start: 19 * 60, end: 20 * 60)]
        let share = try #require(world.subscribe("s", lot: "S1", plates: [World.plate(1)], segments: night).subscription)
        _ = world.come(share.authNo, plate: World.plate(1), lot: "S1", record: "r")
        let entered = world.now
        world.run(minutes: 65)
        #expect(world.create("b", lot: "S1", purpose: .shared, in: 10, plate: 2).outcome == .refused(.noBookableSpace))
        _ = world.go(plate: World.plate(1), lot: "S1", record: "r", entered: entered)
        #expect(world.create("b", lot: "S1", purpose: .shared, in: 10, plate: 2).outcome.reservation != nil)
    }

    @Test func aRevokedSubscriberStillStandsThere() throws {
        var world = world()
        let offer = world.offer("A1", lot: "S1")
        let share = try #require(world.subscribe("s", lot: "S1", offerId: offer.offerId, plates: [World.plate(1)]).subscription)
        _ = world.come(share.authNo, plate: World.plate(1), lot: "S1", record: "r")
        world.decide(.revokeShare(parkCode: "S1", authNo: share.authNo, authVer: 9, reason: "operator"))
        #expect(world.create("b", lot: "S1", purpose: .shared, in: 10, plate: 2).outcome.reservation == nil)
    }

    @Test func aWeekInsideIsNotTooLong() throws {
        var world = world(share: 1)
        let share = try #require(
            world.subscribe("s", lot: "S1", plates: [World.plate(1)], segments: RecurringWindow.always, days: 30).subscription)
        _ = world.come(share.authNo, plate: World.plate(1), lot: "S1", record: "r")
        #expect(world.city.subscription(share.authNo)?.leaveBy == share.validTo)
        // Round the Spring Festival of 2026 the off-peak times are open for ten days.
        let calendar = WorkCalendar(
            exceptions: Dictionary(
                uniqueKeysWithValues: (15...23).map { (CivilTime.day(year: 2026, month: 2, day: $0)!, WorkCalendar.Kind.holiday) }))
        let evening = CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 2, day: 14)!) + 19 * 3_600_000
        let open = RecurringWindow.span(RecurringWindow.offPeak, holding: evening, calendar)
        #expect(open?.to == CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 2, day: 24)!) + 8 * 3_600_000)
    }

    @Test func aSaturdayBeforeAMakeUpWorkday() {
        let sunday = CivilTime.day(year: 2026, month: 9, day: 20)!
        let calendar = WorkCalendar(exceptions: [sunday: .workday])
        let night = CivilTime.start(ofDay: sunday) + 3 * 3_600_000
        #expect(
            RecurringWindow.span(RecurringWindow.offPeak, holding: night, calendar)?.to == CivilTime.start(ofDay: sunday) + 8 * 3_600_000)
    }

    @Test func anEarlyReturnForOneEvening() throws {
        var world = world()
        world.add("S2", metres: 200, share: 3)
        let offer = world.offer("A1", lot: "S1", price: SharePrice(mode: .hour, fen: 500))
        let reservation = try #require(
            world.create("a", lot: "S1", purpose: .shared, in: 30, plate: 1) { $0.stayMin = 60 }.outcome.reservation)
        let times = [RecurringWindow(.daily, start: 0, end: 19 * 60)]
        let before = world.city.summary(at: world.now)
        guard
            case .consequences(_, let reservations, _, let cost) = world.decide(
                .updateOffer(appId: "app1", offerId: offer.offerId, segments: times, price: nil)
            ).outcome
        else { Issue.record("not shown"); return }
        #expect(reservations.map(\.orderNo) == [reservation.orderNo] && cost == 0, "the neighbour costs nothing more")
        #expect(world.city.summary(at: world.now) == before, "shown, not done")
        world.decide(.updateOffer(appId: "app1", offerId: offer.offerId, segments: times, price: nil, isConfirmed: true))
        #expect(world.status(reservation.orderNo) == .revoked && world.reservation(reservation.orderNo).rehomedTo != nil)
        #expect(world.city.offer(offer.offerId)?.isBookable == true, "the space stays shared at other times")
    }

    @Test func whoPaidForAMonthGetsTheRestBack() throws {
        var world = world()
        let offer = world.offer("A1", lot: "S1", price: SharePrice(mode: .month, fen: 30_000))
        let share = try #require(
            world.subscribe("s", lot: "S1", offerId: offer.offerId, plates: [World.plate(1)], segments: RecurringWindow.always, days: 30)
                .subscription)
        _ = world.decide(
            .pay(appId: "app1", parkCode: "", billNo: share.billNo!, payNo: "p", amountFen: 30_000, channel: "c", requestHash: "p"))
        world.decide(.conclude(appId: "app1", payNo: "p", isPaid: true, message: "{}"))
        world.now += 10 * 86_400_000
        guard
            case .consequences(_, _, let shares, let cost) = world.decide(
                .closeOffer(appId: "app1", offerId: offer.offerId, isConfirmed: false)
            ).outcome
        else { Issue.record("not shown"); return }
        #expect(shares.count == 1 && cost == 20_000, "two thirds of the month, before he confirms it")
        world.decide(.closeOffer(appId: "app1", offerId: offer.offerId, isConfirmed: true))
        #expect(world.city.balances[.provider("app1")] == 10_000 && world.city.ledgerSum == 0)
    }

    @Test func reHomingKnowsNoLimitOfTheUser() throws {
        var world = world()
        world.add("S2", metres: 200, share: 3)
        let offer = world.offer("A1", lot: "S1")
        let reservation = try #require(world.create("a", lot: "S1", purpose: .shared, in: 30, plate: 1).outcome.reservation)
        world.decide(.setPolicy(.lot("S2"), ["dailyMaxPerUser": "1", "dailyMaxPerPlate": "1"]))
        let decision = world.decide(.closeOffer(appId: "app1", offerId: offer.offerId, isConfirmed: true))
        let counted = decision.events.compactMap { if case .counted(_, 1, let max) = $0 { max } else { nil } }
        #expect(
            !counted.isEmpty && counted.allSatisfy { $0 > 1_000 },
            "the store would refuse a count over its limit, and the whole batch with it")
        #expect(world.status(reservation.orderNo) == .revoked)
    }
}
