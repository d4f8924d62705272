import BerthCore
import Testing

/// The life of a reservation, transition by transition (interface.md, section 6).
@Suite struct RuleTests {
    @Test func everyTransitionOfATrustedLot() throws {
        var world = World(quota: 5)
        let done = try #require(world.book(in: 20).reservation)
        #expect(done.status == .booked && done.orderVer == 1)
        #expect(world.enter(done, record: "r1") == .recorded(recordNo: "r1", .inLot, isRepeat: false))
        #expect(world.status(done.orderNo) == .inLot)
        let entered = world.now
        world.pass(minutes: 30)
        #expect(
            world.leave(world.reservation(done.orderNo), record: "r1", entered: entered)
                == .recorded(recordNo: "r1", .done, isRepeat: false))

        let free = try #require(world.book(in: 50).reservation)
        #expect(world.decide(.cancel(appId: "app1", orderNo: free.orderNo, confirmBreach: false)).outcome != .refused(.breachNeedsConfirm))
        #expect(world.status(free.orderNo) == .cancelled)

        let late = try #require(world.book(in: 10).reservation)
        #expect(world.decide(.cancel(appId: "app1", orderNo: late.orderNo, confirmBreach: false)).outcome == .refused(.breachNeedsConfirm))
        _ = world.decide(.cancel(appId: "app1", orderNo: late.orderNo, confirmBreach: true))
        #expect(world.status(late.orderNo) == .cancelledBreach)

        let refused = try #require(world.book(in: 20).reservation)
        _ = world.decide(
            .settle(
                parkCode: "P1", epoch: "d1", ackSeq: refused.downSeq, [DownResult(seq: refused.downSeq, isAccepted: false)],
                assumesRest: false))
        #expect(world.status(refused.orderNo) == .rejected && world.reservation(refused.orderNo).deliver == .refused)

        let revoked = try #require(world.book(in: 20).reservation)
        _ = world.decide(.state(parkCode: "P1", orderNo: revoked.orderNo, orderVer: 1, .revoked, at: world.now, recordNo: nil))
        #expect(world.status(revoked.orderNo) == .revoked && world.reservation(revoked.orderNo).isCompensated)
    }

    @Test func whoAsksForAnUnknownLotMakesNone() throws {
        var world = World(quota: 1)
        #expect(world.book(in: 20, lot: "P9") == .refused(.lotNotRegistered))
        #expect(world.city.lots.count == 1 && Array(world.city.lots.keys) == ["P1"] && world.city.lots.map(\.key) == ["P1"])
        world.city.forget(endedBefore: world.now)
        #expect(world.city.lots.mapValues(\.parkCode) == ["P1": "P1"])
    }

    @Test func aLotThatIsAskedHoldsUntilItAnswers() throws {
        var policy = World.roomy
        policy.confirmMode = .ask
        var world = World(quota: 2, policy: policy)
        let yes = try #require(world.book(in: 20).reservation)
        #expect(yes.status == .held && yes.holdDeadline == world.now + 5 * 60_000)
        world.acknowledge()
        #expect(world.status(yes.orderNo) == .booked)
        let silent = try #require(world.book(in: 20).reservation)
        world.pass(minutes: 4)
        #expect(world.status(silent.orderNo) == .held)
        #expect(world.book(in: 20).refusal == .noBookableSpace, "a held place is held")
        world.pass(minutes: 2)
        #expect(world.status(silent.orderNo) == .rejected)
        #expect(world.book(in: 20).reservation != nil, "its place is free")
    }

    /// A no-show is never judged while the lot's log has not passed the end of the window; a late record undoes it.
    @Test func noShowsAreJudgedOnEvidence() throws {
        var world = World(quota: 5)
        let reservation = try #require(world.book(in: 10).reservation)
        world.acknowledge()
        world.pass(minutes: 41, isLinked: false)
        #expect(world.status(reservation.orderNo) == .booked, "the line is down: nothing is judged")
        world.pass(minutes: 1, isLinked: true)
        #expect(world.status(reservation.orderNo) == .noShow && world.reservation(reservation.orderNo).isPenalised)
        #expect(
            world.enter(world.reservation(reservation.orderNo), record: "r1", at: reservation.planTime)
                == .recorded(recordNo: "r1", .inLot, isRepeat: false))
        #expect(!world.reservation(reservation.orderNo).isPenalised)

        let late = try #require(world.book(in: 10).reservation)
        world.acknowledge()
        world.pass(minutes: 45)
        #expect(world.status(late.orderNo) == .noShow)
        let outcome = world.enter(world.reservation(late.orderNo), record: "r2")
        #expect(outcome == .recordedWith(.tooLateToEnter, recordNo: "r2"), "after the window it proves nothing")
        #expect(world.status(late.orderNo) == .noShow)
    }

    /// An order that never reached the lot is nobody's no-show.
    @Test func anUndeliveredOrderIsRejectedWithoutPenalty() throws {
        var world = World(quota: 5)
        let reservation = try #require(world.book(in: 10).reservation)
        world.pass(minutes: 41, isLinked: false)
        #expect(world.reservation(reservation.orderNo).deliver == .expired)
        world.pass(minutes: 1)
        #expect(world.status(reservation.orderNo) == .rejected && !world.reservation(reservation.orderNo).isPenalised)
    }

    @Test func overstaysHoldTheirPlace() throws {
        var world = World(quota: 1)
        let reservation = try #require(world.book(in: 0, purpose: .shared).reservation)
        _ = world.enter(reservation, record: "r1")
        let entered = world.now
        world.pass(minutes: 121)
        #expect(world.reservation(reservation.orderNo).overstay)
        #expect(world.book(in: 5, purpose: .shared).refusal == .noBookableSpace, "the car is still there")
        #expect(world.book(in: 60, purpose: .shared).reservation != nil, "what lies ahead can be booked: the car is expected to go")
        _ = world.leave(world.reservation(reservation.orderNo), record: "r1", entered: entered)
        #expect(world.status(reservation.orderNo) == .done)
    }

    @Test func limitsPerUserAndPlate() {
        var world = World(quota: 50, policy: Policy())
        #expect(world.book(in: 10, user: "u").reservation != nil)
        #expect(world.book(in: 10, user: "u").reservation != nil)
        #expect(world.book(in: 10, user: "u").refusal == .dailyLimit)
        let plate = World.plate(5000)
        for _ in 0..<3 {
            let reservation = world.book(in: 55, plate: plate).reservation
            #expect(reservation != nil)
            _ = world.decide(.state(parkCode: "P1", orderNo: reservation!.orderNo, orderVer: 1, .arrived, at: world.now, recordNo: nil))
            _ = world.decide(.state(parkCode: "P1", orderNo: reservation!.orderNo, orderVer: 1, .left, at: world.now, recordNo: nil))
        }
        #expect(world.book(in: 55, plate: plate).refusal == .dailyLimit)
    }

    @Test func onePlateOneInterval() {
        var world = World(quota: 50)
        let plate = World.plate(1)
        #expect(world.book(in: 10, plate: plate).reservation != nil)
        #expect(world.book(in: 60, plate: plate).refusal == .overlappingBooking)
        _ = world.decide(.register(parkCode: "P2"))
        _ = world.decide(.openLot(World.profile(quota: 9, parkCode: "P2")))
        #expect(world.book(in: 20, plate: plate, lot: "P2").refusal == .overlappingBooking, "anywhere in the city")
    }

    @Test func openHoursPassMidnight() {
        var world = World(quota: 5, now: CivilTime.start(ofDay: 20_000) + 23 * 3_600_000)
        let night = OpenHours(days: [CivilTime.weekday(ofDay: 20_000)], start: 22 * 60, end: 60)
        _ = world.decide(.openLot(World.profile(quota: 5, openHours: [night])))
        #expect(world.book(in: 30).reservation != nil)
        world.now += 90 * 60_000
        #expect(world.book(in: 5).reservation != nil, "half past midnight belongs to yesterday's hours")
        #expect(world.book(in: 45).refusal == .lotClosed)
    }

    @Test func sameCitySameCommandSameAnswer() {
        var one = World(quota: 3)
        var two = World(quota: 3)
        for minutes in [5, 10, 15, 20, 25] { #expect(one.book(in: minutes) == two.book(in: minutes)) }
    }

    /// A whole month through the deadlines, without sleeping: a thousand orders, each fate in its turn.
    @Test func aMonthInSeconds() throws {
        var world = World(quota: 4)
        let end = world.now + 30 * CivilTime.dayLength
        var random = Seeded(30)
        var fates: [ReservationStatus: Int] = [:]
        var open: [Reservation] = []
        var inside: [(Reservation, String, Millis)] = []
        var records = 0
        while world.now < end {
            if let reservation = world.book(in: Int.random(in: 5...60, using: &random)).reservation { open.append(reservation) }
            world.acknowledge()
            for reservation in open where world.status(reservation.orderNo) == .booked && world.now >= reservation.enterStart {
                guard Int.random(in: 0..<3, using: &random) == 0 else { continue }
                records += 1
                _ = world.enter(world.reservation(reservation.orderNo), record: "m\(records)")
                inside.append((reservation, "m\(records)", world.now))
            }
            inside.removeAll { reservation, record, entered in
                guard Bool.random(using: &random) else { return false }
                _ = world.leave(world.reservation(reservation.orderNo), record: record, entered: entered)
                return true
            }
            for reservation in open where !world.status(reservation.orderNo).isActive {
                fates[world.status(reservation.orderNo), default: 0] += 1
            }
            open.removeAll { !world.status($0.orderNo).isActive }
            world.pass(minutes: 30)
            world.city.forget(endedBefore: world.now - 2 * CivilTime.dayLength)
        }
        #expect(fates[.done]! > 300 && fates[.noShow]! > 30, "\(fates)")
        #expect(open.count < 20, "nothing is forgotten on the way")
        #expect(world.city.lots["P1"]!.reservations.count < 250, "ended orders leave the memory")
    }
}

@Suite struct LogPositionTests {
    @Test func everyAdmission() {
        var position = LogPosition()
        #expect(position.admit(epoch: "a", seq: 2) == .gap(expectedSeq: 1))
        #expect(position.admit(epoch: "a", seq: 1) == .next)
        position.consume(epoch: "a", seq: 1)
        #expect(position.admit(epoch: "a", seq: 1) == .duplicate)
        #expect(position.admit(epoch: "a", seq: 3) == .gap(expectedSeq: 2))
        #expect(position.admit(epoch: "b", seq: 2) == .gap(expectedSeq: 1))
        position.consume(epoch: "b", seq: 1)
        #expect(position.admit(epoch: "a", seq: 2) == .closed)
        #expect(position.epoch == "b" && position.ackSeq == 1)
    }
}

@Suite struct PlateTests {
    @Test(arguments: [
        "粤B12345", "粤-B·12345", "沪A.A8888", "粤b12345", "粤Ｂ１２３４５", "粤Z1234港", "粤BD12345", "粤B12345D", "224578使", "WJ粤1234X",
        "VA12345", "粤B0123警", "粤B1234学", "无ES16V2A", "粤O12345",
    ])
    func plates(_ text: String) { #expect(Plate(text) != nil) }

    @Test(arguments: [
        "", "粤B1234", "粤B1234I", "粤B1234O", "粤I12345", "B12345", "粤BX12345", "粤B123456", "京A1234使", "无", "粤B12345\u{0}", "<script>",
        // Letters that are two when they are made large: no scalar of a plate.
        "粤Bß2345", "ŉ", "粤Bﬁ2345",
    ])
    func notPlates(_ text: String) { #expect(Plate(text) == nil) }

    @Test func printsMasked() {
        #expect("\(Plate("粤B12345")!)" == "粤B***45")
        #expect(Plate("粤B12345")!.fits(color: 0) && !Plate("粤B12345")!.fits(color: 4))
        #expect(Plate("粤BD12345")!.fits(color: 4) && !Plate("粤BD12345")!.fits(color: 0) && Plate("粤BD12345")!.fits(color: 9))
    }
}

@Suite struct CivilTimeTests {
    @Test func daysAndDates() {
        #expect(CivilTime.text(ofDay: CivilTime.day(of: 1_677_628_500_000)) == "2023-03-01")
        #expect(CivilTime.weekday(ofDay: CivilTime.day(of: 1_677_628_500_000)) == 3)
        for day in Int64(0)..<40_000 {
            let date = CivilTime.date(ofDay: day)
            #expect(CivilTime.day(year: date.year, month: date.month, day: date.day) == day)
        }
        #expect(CivilTime.day(year: 2026, month: 2, day: 29) == nil)
    }
}
