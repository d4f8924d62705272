import BerthCore
import Testing

/// Standing 信用: what is charged, on which evidence, what it forbids and until when, and how it is undone (R1 to R5, R7).
@Suite struct StandingTests {
    private static let limits: Policy = {
        var policy = World.roomy
        policy.noShowMaxPerMonth = 3
        return policy
    }()

    /// A no-show of a user at a lot.
    private func missOne(_ world: inout World, _ user: String = "u", lot: String? = nil, plate: Int? = nil) -> Reservation? {
        guard let reservation = world.create(user, lot: lot, in: 1, plate: plate).outcome.reservation else { return nil }
        world.run(minutes: 35)
        return world.reservation(reservation.orderNo)
    }

    @Test func threeNoShowsEndBookingForTheMonthInTheWholeGroup() throws {
        var world = World(quota: 9, policy: StandingTests.limits)
        world.add("A1", reserve: 5, group: "甲公司")
        world.add("A2", reserve: 5, group: "甲公司")
        for count in 1...3 {
            let reservation = try #require(missOne(&world, lot: "A1"))
            #expect(reservation.status == .noShow && reservation.isPenalised)
            #expect(
                world.city.standing(appId: "app1", userToken: "u", at: world.now).first {
                    $0.name == "noShowMaxPerMonth" && $0.group == "甲公司"
                }?.used == count)
        }
        let refused = world.create("u", lot: "A2", in: 10)
        #expect(refused.outcome == .refused(.noShowBan))
        let monthEnd = CivilTime.start(ofDay: CivilTime.day(year: 2023, month: 12, day: 1)!)
        #expect(refused.note == RuleNote("noShowMaxPerMonth", used: 3, max: 3, until: monthEnd))
        #expect(world.create("u", in: 10).outcome.reservation != nil, "another operator's lots are another matter")
        #expect(world.create("v", lot: "A1", in: 10).outcome.reservation != nil, "another user too")
        world.now = monthEnd + 60_000
        #expect(world.create("u", lot: "A2", in: 10).outcome.reservation != nil, "a new month")
    }

    @Test func plateAndYear() throws {
        var world = World(quota: 9, policy: StandingTests.limits)
        world.decide(.setPolicy(.lot("P1"), ["noShowMaxPerPlate": "2", "noShowMaxPerMonth": "100"]))
        _ = missOne(&world, "a", plate: 5)
        _ = missOne(&world, "b", plate: 5)
        #expect(world.create("c", in: 10, plate: 5).note?.rule == "noShowMaxPerPlate", "the plate, whoever books it (R3)")
        world.decide(.setPolicy(.lot("P1"), ["noShowMaxPerPlate": "0", "noShowMaxPerYear": "3"]))
        for plate in 20...22 { _ = missOne(&world, "y", plate: plate) }
        let refused = world.create("y", in: 10)
        #expect(refused.outcome == .refused(.yearlyBlacklist))
        #expect(
            refused.note
                == RuleNote(
                    "noShowMaxPerYear", used: 3, max: 3, until: CivilTime.start(ofDay: CivilTime.day(year: 2024, month: 1, day: 1)!)))
    }

    /// Every penalty has evidence, and is undone with it.
    @Test func aLateRecordUndoesThePenaltyAndTellsTheUser() throws {
        var world = World(quota: 5, policy: StandingTests.limits)
        world.city.listeners = ["app1"]
        let reservation = try #require(missOne(&world))
        let penalty = try #require(world.evidence().first)
        #expect(penalty.kind == .noShow && penalty.state == .inForce && penalty.evidence.contains("without an entry"))
        _ = world.enter(reservation, record: "late", at: reservation.planTime)
        #expect(world.evidence().map(\.state) == [.undone] && world.evidence()[0].undoneBy == "record late")
        #expect(world.city.standing(appId: "app1", userToken: "u", at: world.now).first { $0.name == "noShowMaxPerMonth" }?.used == 0)
        let told = world.city.notifications("app1").compactMap {
            if case .credit(_, let reason, _, let isUndone) = $0.subject { (reason, isUndone) } else { nil }
        }
        #expect(told.map(\.0) == [.noShowBan, .noShowBan] && told.map(\.1) == [false, true])
    }

    @Test func anAppealIsAnsweredInTwoWorkdays() throws {
        // 2023-11-15 is a Wednesday; with Friday made a holiday the second workday is Monday.
        var world = World(quota: 5, policy: StandingTests.limits)
        world.decide(.setCalendarDay(CalendarDay(day: CivilTime.day(year: 2023, month: 11, day: 17)!, kind: .holiday)))
        let reservation = try #require(missOne(&world))
        let id = try #require(world.evidence().first?.penaltyId)
        #expect(world.decide(.appeal(appId: "other", penaltyId: id, text: "t", images: [])).outcome == .refused(.notFound))
        guard case .entity(.appeal(let appeal)) = world.decide(.appeal(appId: "app1", penaltyId: id, text: "道闸坏了", images: ["i1"])).outcome
        else { Issue.record("no appeal"); return }
        #expect(appeal.answerBy == CivilTime.start(ofDay: CivilTime.day(year: 2023, month: 11, day: 21)!))
        #expect(world.decide(.appeal(appId: "app1", penaltyId: id, text: "again", images: [])).outcome == .refused(.wrongState))
        world.decide(.answerAppeal(appealId: appeal.appealId, isGranted: true, answer: "属实"))
        #expect(world.evidence()[0].state == .undone && !world.reservation(reservation.orderNo).isPenalised)
        #expect(world.decide(.answerAppeal(appealId: appeal.appealId, isGranted: false, answer: "")).outcome == .refused(.wrongState))

        _ = missOne(&world)
        let second = try #require(world.evidence().first { $0.state == .inForce }?.penaltyId)
        _ = world.decide(.appeal(appId: "app1", penaltyId: second, text: "t", images: []))
        world.decide(.answerAppeal(appealId: "AP" + second, isGranted: false, answer: "无依据"))
        #expect(world.city.penalties[second]?.state == .inForce && world.city.appeals["AP" + second]?.state == .rejected)
        let third = try #require(missOne(&world))
        world.now += 31 * 86_400_000
        let late = world.decide(.appeal(appId: "app1", penaltyId: third.orderNo + "-N", text: "t", images: []))
        #expect(late.outcome == .refused(.wrongState) && late.note?.rule == "appealDays")
    }

    @Test func aBreachIsOnRecordAndCountsNothingElse() throws {
        var world = World(quota: 5, policy: StandingTests.limits)
        let reservation = try #require(world.create("u", in: 10).outcome.reservation)
        let asked = world.decide(.cancel(appId: "app1", orderNo: reservation.orderNo, confirmBreach: false))
        #expect(asked.outcome == .refused(.breachNeedsConfirm) && asked.note == RuleNote("freeCancelUntil", until: reservation.enterStart))
        world.decide(.cancel(appId: "app1", orderNo: reservation.orderNo, confirmBreach: true))
        #expect(world.evidence().map(\.kind) == [.breach])
        #expect(world.city.standing(appId: "app1", userToken: "u", at: world.now).first { $0.name == "noShowMaxPerMonth" }?.used == 0)
    }

    @Test func everyRefusalOfALimitNamesItsCounterAndItsEnd() {
        var world = World(quota: 50, policy: Policy())
        world.decide(.setPolicy(.city, ["dailyMaxPerUser": "1", "dailyMaxPerPlate": "1", "cancelMaxPerDay": "0"]))
        let reservation = world.create("u", in: 50, plate: 1).outcome.reservation!
        let dayEnd = CivilTime.start(ofDay: CivilTime.day(of: world.now) + 1)
        #expect(world.create("u", in: 50).note == RuleNote("dailyMaxPerUser", used: 1, max: 1, until: dayEnd))
        #expect(world.create("v", in: 50, plate: 1).outcome == .refused(.overlappingBooking))
        world.now += 5 * 3_600_000
        #expect(world.create("v", in: 50, plate: 1).note == RuleNote("dailyMaxPerPlate", used: 1, max: 1, until: dayEnd))
        world.now -= 5 * 3_600_000
        #expect(world.decide(.cancel(appId: "app1", orderNo: reservation.orderNo, confirmBreach: false)).note?.until == dayEnd)
        #expect(world.create("w", in: 61).note?.rule == "advanceMaxMin")
    }

    @Test func vehicles() {
        var world = World(quota: 9)
        var profile = World.profile(quota: 9)
        profile.maxSeats = 7
        profile.maxHeightMm = 2_000
        profile.plateTypes = ["02", "52"]
        world.decide(.openLot(profile))
        func plate(_ text: String, color: Int = 0) -> Decision {
            world.create("u\(world.keys)", in: 20) {
                $0.plate = Plate(text)!
                $0.plateColor = color
            }
        }
        for exempt in ["粤B0123警", "WJ粤1234X", "VA12345"] {
            #expect(plate(exempt, color: 3).outcome == .refused(.exemptVehicle), "\(exempt)")
        }
        #expect(plate("粤B12345", color: 1).outcome == .refused(.vehicleNotAdmitted), "a yellow plate is a large vehicle")
        #expect(world.create("s", in: 20) { $0.seats = 9 }.note == RuleNote("maxSeats", used: 9, max: 7))
        #expect(world.create("h", in: 20) { $0.heightMm = 2_100 }.note == RuleNote("maxHeightMm", used: 2_100, max: 2_000))
        #expect(world.create("t", in: 20) { $0.plateType = "01" }.note?.rule == "plateTypes")
        #expect(
            world.create("ok", in: 20) {
                $0.seats = 5; $0.plateType = "02"
            }.outcome.reservation != nil)
        world.decide(.setPolicy(.lot("P1"), ["membersOnly": "1", "exemptClasses": "0"]))
        #expect(plate("粤B0123警", color: 3).outcome == .refused(.notWhitelisted))
        let entry = ListEntry(isInForce: true, from: 0, to: .max)
        world.decide(
            .list(
                .lot("P1"), service: "list.white.push", body: "{}", kind: City.whiteKind, plate: Plate("粤B12345")!, entry, kept: "{}",
                isExempt: false))
        #expect(plate("粤B12345").outcome.reservation != nil)
    }

    @Test func listsOfLotsGroupsAndTheCity() {
        var world = World(quota: 9)
        world.add("A1", reserve: 5, group: "甲")
        world.add("A2", reserve: 5, group: "甲")
        let bad = Plate("粤B66666")!
        let entry = ListEntry(isInForce: true, from: 0, to: .max)
        func list(_ scope: ListScope, _ entry: ListEntry?) {
            world.decide(
                .list(scope, service: "list.black.push", body: "{}", kind: City.blackKind, plate: bad, entry, kept: "{}", isExempt: false))
        }
        func books(_ lot: String) -> Bool {
            let decision = world.create("u\(world.keys)", lot: lot, in: 20) { $0.plate = bad }
            if let reservation = decision.outcome.reservation {
                world.decide(.cancel(appId: "app1", orderNo: reservation.orderNo, confirmBreach: true))
            }
            return decision.outcome.reservation != nil
        }
        list(.lot("P1"), entry)
        #expect((books("P1"), books("A1"), books("A2")) == (false, true, true))
        list(.lot("P1"), nil)
        list(.group(of: "A1"), entry)
        #expect((books("P1"), books("A1"), books("A2")) == (true, false, false))
        list(.city, entry)
        #expect((books("P1"), books("A1"), books("A2")) == (false, false, false))
        #expect(world.city.lots["A2"]!.downLast >= 2, "each lot was told through its own log")
        list(.lot("A1"), nil)
        #expect(!books("A1"), "what one lot takes back, the city has not")
        world.add("A3", reserve: 5, group: "甲")
        #expect(!books("A3"), "a lot that comes later is under the same lists")
        #expect(world.city.listReports("A3", kind: City.blackKind).count == 2, "and its box finds them in its snapshot")
        list(.city, nil)
        #expect((books("P1"), books("A2")) == (true, false), "the group has not taken it back")
        list(.group(of: "A1"), nil)
        #expect(books("A2"))
        // Filed with the city: a fire engine needs no booking anywhere.
        world.decide(
            .list(.city, service: "list.white.push", body: "{}", kind: City.whiteKind, plate: bad, entry, kept: "{}", isExempt: true))
        #expect(world.create("x", lot: "A1", in: 20) { $0.plate = bad }.outcome == .refused(.exemptVehicle))
        list(.group(of: "A1"), entry)
        var moved = world.city.lots["P1"]!.profile!
        moved.group = "甲"
        #expect(
            world.decide(.openLot(moved)).events.contains { if case .down = $0 { true } else { false } }, "one that joins the group is told"
        )
        // Filed at one lot it is exempt there alone.
        let filed = Plate("粤B77777")!
        world.decide(
            .list(.lot("A1"), service: "list.white.push", body: "{}", kind: City.whiteKind, plate: filed, entry, kept: "{}", isExempt: true)
        )
        #expect(world.create("y", lot: "A1", in: 20) { $0.plate = filed }.outcome == .refused(.exemptVehicle))
        #expect(world.create("y", lot: "A2", in: 20) { $0.plate = filed }.outcome.reservation != nil)
    }
}
