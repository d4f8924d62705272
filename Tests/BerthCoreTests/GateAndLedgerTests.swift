import BerthCore
import Testing

/// The decision at a gate, as a table: the same rule for the server and for a box without a line.
@Suite struct GateTests {
    private static let now: Millis = CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 3, day: 4)!) + 9 * 3_600_000

    private static func entry(
        _ number: String, _ plate: String, from: Int64 = -10, to: Int64 = 10, _ change: (inout AuthorisedEntry) -> Void = { _ in }
    ) -> AuthorisedEntry {
        var entry = AuthorisedEntry(
            orderNo: number, purpose: .reservation, plate: Plate(plate)!, enterStart: now + from * 60_000, enterEnd: now + to * 60_000,
            entryLimit: 1, entriesUsed: 0, isInForce: true)
        change(&entry)
        return entry
    }

    private static func ask(_ plate: String, confidence: Int? = nil, gate: String = "G1") -> GateQuestion {
        GateQuestion(plate: Plate(plate)!, time: now, gateCode: gate, confidence: confidence)
    }

    @Test func theTable() {
        func decide(_ plate: String, _ reservations: [AuthorisedEntry], gate: String = "G1", _ change: (inout GateBook) -> Void = { _ in })
            -> (
                GateVerdict, Rejection?
            )
        {
            var book = GateBook()
            book.fuzzyCharsMax = 1
            change(&book)
            let decision = GatePolicy.decide(GateTests.ask(plate, gate: gate), reservations: reservations, book)
            return (decision.verdict, decision.refusal)
        }
        let own = "粤B12345"
        typealias Row = (name: String, got: (GateVerdict, Rejection?), wanted: (GateVerdict, Rejection?))
        let rows: [Row] = [
            ("in its window", decide(own, [GateTests.entry("a", own)]), (.allow, nil)),
            ("too early", decide(own, [GateTests.entry("a", own, from: 1, to: 9)]), (.refuse, .tooEarlyToEnter)),
            ("too late", decide(own, [GateTests.entry("a", own, from: -9, to: -1)]), (.refuse, .tooLateToEnter)),
            ("used up", decide(own, [GateTests.entry("a", own) { $0.entriesUsed = 1 }]), (.refuse, .entriesUsedUp)),
            (
                "entries without limit",
                decide(
                    own,
                    [
                        GateTests.entry("a", own) {
                            $0.entriesUsed = 9; $0.entryLimit = -1
                        }
                    ]), (.allow, nil)
            ),
            (
                "a used-up one and a good one", decide(own, [GateTests.entry("a", own) { $0.entriesUsed = 1 }, GateTests.entry("b", own)]),
                (.allow, nil)
            ),
            (
                "not yet certain",
                decide(
                    own,
                    [
                        GateTests.entry("a", own) {
                            $0.isPending = true; $0.isInForce = false
                        }
                    ]), (.refuse, .approvalPending)
            ),
            ("another gate", decide(own, [GateTests.entry("a", own) { $0.gateCodes = ["G2", "G3"] }]), (.refuse, .gateNotCovered)),
            ("one of its gates", decide(own, [GateTests.entry("a", own) { $0.gateCodes = ["G2", "G3"] }], gate: "G3"), (.allow, nil)),
            ("nobody's plate", decide("粤B99999", [GateTests.entry("a", own)]), (.local, nil)),
            ("a cancelled order", decide(own, [GateTests.entry("a", own) { $0.isInForce = false }]), (.local, nil)),
            (
                "black list before everything", decide(own, [GateTests.entry("a", own)]) { $0.isBlacklisted = true },
                (.refuse, .plateBlacklisted)
            ),
            ("inside already", decide(own, [GateTests.entry("a", own)]) { $0.isInside = true }, (.refuse, .repeatedEntry)),
            (
                "white list",
                decide("粤B99999", []) {
                    $0.isWhitelisted = true; $0.flow = .closed
                }, (.allow, nil)
            ),
            (
                "exempt",
                decide("粤B0123警", []) {
                    $0.isExempt = true; $0.flow = .closed
                }, (.allow, nil)
            ),
            ("booking only", decide("粤B99999", []) { $0.flow = .bookingOnly }, (.refuse, .flowControlActive)),
            ("booking only, with an order", decide(own, [GateTests.entry("a", own)]) { $0.flow = .bookingOnly }, (.allow, nil)),
            (
                "throttle, below",
                decide("粤B99999", []) {
                    $0.flow = .throttle; $0.walkInsMax = 2; $0.walkIns = 1
                }, (.local, nil)
            ),
            (
                "throttle, reached",
                decide("粤B99999", []) {
                    $0.flow = .throttle; $0.walkInsMax = 2; $0.walkIns = 2
                }, (.refuse, .flowControlActive)
            ),
        ]
        for row in rows { #expect(row.got == row.wanted, "\(row.name)") }
    }

    /// An almost-match: confusable characters and neighbouring provinces; one candidate is admitted, several go to the control room.
    @Test func almostMatches() {
        func misread(_ read: String, _ real: String) -> Int? { Plate(read)!.misreadings(as: Plate(real)!) }
        #expect(misread("粤B8A123", "粤BBA123") == 1 && misread("粤BD1234", "粤B01234") == 1 && misread("湘B12345", "粤B12345") == 1)
        #expect(misread("粤B12345", "粤B12345") == 0)
        #expect(misread("粤B12345", "粤B92345") == nil && misread("粤BD12345", "粤B12345") == nil && misread("京B12345", "粤B12345") == nil)
        #expect(misread("粤B1Z5S6", "粤B1255G") == nil || misread("粤B1Z5S6", "粤B1255G")! > 1)
        func decide(_ plate: String, _ reservations: [AuthorisedEntry], confidence: Int? = nil, max: Int = 1) -> GateDecision {
            var book = GateBook()
            book.fuzzyCharsMax = max
            book.fuzzyConfidenceMax = 90
            return GatePolicy.decide(GateTests.ask(plate, confidence: confidence), reservations: reservations, book)
        }
        let reservations = [GateTests.entry("a", "粤B8A123"), GateTests.entry("b", "粤B7C321")]
        let one = decide("粤BBA123", reservations, confidence: 70)
        #expect(one.verdict == .allow && one.entry?.orderNo == "a" && one.candidates == ["a"])
        #expect(decide("粤BBA123", reservations, confidence: 99).verdict == .local, "a reading that is sure is another car")
        #expect(decide("粤BBA123", reservations, max: 0).verdict == .local)
        #expect(decide("粤BBA123", [GateTests.entry("a", "粤B8A123", from: 5, to: 9)]).verdict == .local, "nobody is expected now")
        let two = decide("赣B8A123", [GateTests.entry("a", "粤B8A123"), GateTests.entry("b", "湘B8A123")])
        #expect(two.verdict == .refuse && two.refusal == .plateDiffers && two.candidates == ["a", "b"])
    }

    @Test func theControlRoomAndTheRecord() throws {
        var world = World(quota: 9)
        func book(_ plate: String) -> Reservation {
            world.create("u\(world.keys)", in: 10) { $0.plate = Plate(plate)! }.outcome.reservation!
        }
        let (one, two) = (book("粤B8A123"), book("湘B8A123"))
        func check(_ plate: String) -> (GateDecision, String?) {
            if case .gate(let gate, let number) = world.decide(
                .check(parkCode: "P1", GateQuestion(plate: Plate(plate)!, time: world.now, gateCode: "G1"))
            ).outcome {
                return (gate, number)
            }
            preconditionFailure()
        }
        let (gate, number) = check("赣B8A123")
        let caseNo = try #require(number)
        #expect(gate.verdict == .refuse && world.city.gateCases[caseNo]?.state == .open)
        #expect(check("赣B8A123").1 == caseNo, "asked again it is the same case")
        #expect(world.come(one.orderNo, plate: Plate("京B99999")!, record: "x") == .recordedWith(.plateDiffers, recordNo: "x"))
        #expect(world.decide(.decideCase(parkCode: "P1", caseNo: caseNo, orderNo: "YY9", by: "op")).outcome == .refused(.orderNotFound))
        world.decide(.decideCase(parkCode: "P1", caseNo: caseNo, orderNo: one.orderNo, by: "op"))
        #expect(world.decide(.decideCase(parkCode: "P1", caseNo: caseNo, orderNo: nil, by: "op")).outcome == .refused(.wrongState))
        let (admitted, again) = check("赣B8A123")
        #expect(admitted.verdict == .allow && admitted.entry?.orderNo == one.orderNo && again == caseNo)
        #expect(world.come(one.orderNo, plate: Plate("赣B8A123")!, record: "r1") == .recorded(recordNo: "r1", .inLot, isRepeat: false))
        // One candidate is left: the next reading of it is admitted by rule, and on record.
        #expect(world.come(two.orderNo, plate: Plate("湘BBA123")!, record: "r2") == .recorded(recordNo: "r2", .inLot, isRepeat: false))
        #expect(world.city.gateCases.values.filter { $0.state == .admittedByRule && $0.orderNo == two.orderNo }.count == 1)
    }

    @Test func tailgatingPlatelessAndTwoLots() throws {
        var world = World(quota: 9)
        world.add("P2", reserve: 5)
        func enter(_ lot: String, _ plate: String, mode: Int = 1, reservation: String? = nil, record: String) -> [Int] {
            var passage = Passage(
                recordNo: record, plate: Plate(plate)!, gateCode: "G1", enterTime: world.now, carKind: 1, orderNo: reservation)
            passage.enterMode = mode
            return world.decide(.enter(parkCode: lot, passage)).events.compactMap {
                if case .notice(let n) = $0 { n.eventType } else { nil }
            }
        }
        #expect(enter("P1", "粤B11111", mode: 5, record: "a") == [1006])
        #expect(enter("P2", "粤B11111", record: "b") == [7002], "the same plate in two lots")
        #expect(enter("P1", "粤B11111", record: "c") == [1015])
        #expect(enter("P1", "无ES16V2A", record: "d") == [1014])
        let reservation = try #require(world.create("u", in: 10).outcome.reservation)
        #expect(
            enter("P1", "无QR12345", mode: 4, reservation: reservation.orderNo, record: "e").contains(2004)
                || world.status(reservation.orderNo) == .inLot,
            "a code instead of a plate")
        var old = Passage(
            recordNo: "z", plate: World.plate(7), gateCode: "G1", enterTime: world.now - 366 * 86_400_000, carKind: 1, orderNo: nil)
        old.enterMode = 1
        #expect(world.decide(.enter(parkCode: "P1", old)).outcome == .refused(.recordTooOld))
    }
}

/// Settlement: tariffs as data, and a ledger that always sums to zero.
@Suite struct LedgerTests {
    /// Fees over random tariffs and stays: never negative, monotone in time, additive over a split where a cap begins anew.
    @Test func feesOverRandomTariffs() {
        var random = Seeded(11)
        let midnight = CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 3, day: 4)!)
        var split = 0
        for _ in 0..<3_000 {
            func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &random) }
            var rules: [Tariff.Rule] = []
            for _ in 0..<number(1...3) {
                var rule = Tariff.Rule()
                rule.stepMin = [15, 30, 60].randomElement(using: &random)!
                rule.stepFen = Int64(number(0...900))
                rule.capFen = number(0...1) == 0 ? nil : Int64(number(0...4_000))
                rule.freeMin = number(0...3) == 0 ? 15 : 0
                if number(0...2) == 0 { rule.days = Set([number(1...7), number(1...7)]) }
                if number(0...2) == 0 { (rule.start, rule.end) = (60 * number(0...12), 60 * number(13...24)) }
                rules.append(rule)
            }
            let tariff = Tariff(
                tariffId: "T", rules: rules, dailyCapFen: number(0...1) == 0 ? nil : Int64(number(0...6_000)),
                overtimePercent: number(100...300))
            let enter = midnight + Millis(number(0...2_880)) * 60_000
            let deadline = number(0...1) == 0 ? enter + Millis(number(0...2_000)) * 60_000 : nil
            var last: Int64 = 0
            for minutes in stride(from: 0, through: 3_000, by: 37) {
                let fee = tariff.fee(from: enter, to: enter + Millis(minutes) * 60_000, deadline: deadline)
                #expect(fee >= last, "a longer stay never costs less")
                last = fee
            }
            // All day, whole steps, no free minutes: at midnight the day's cap begins anew, and the stay can be cut there.
            var plain = Tariff.Rule()
            plain.stepMin = 30
            plain.stepFen = Int64(number(1...500))
            plain.capFen = Int64(number(500...5_000))
            let simple = Tariff(tariffId: "T", rules: [plain], dailyCapFen: Int64(number(500...9_000)))
            let (from, to) = (midnight - Millis(30 * number(1...60)) * 60_000, midnight + Millis(30 * number(1...60)) * 60_000)
            #expect(simple.fee(from: from, to: to) == simple.fee(from: from, to: midnight) + simple.fee(from: midnight, to: to))
            split += 1
        }
        #expect(split == 3_000)
    }

    @Test func holidaysAndClasses() {
        var weekend = Tariff.Rule()
        weekend.days = [6, 7]
        weekend.stepFen = 100
        var workday = Tariff.Rule()
        workday.stepFen = 500
        let tariff = Tariff(tariffId: "T", rules: [weekend, workday])
        let day = CivilTime.day(year: 2026, month: 10, day: 1)!
        let calendar = WorkCalendar(exceptions: [day: .holiday, day + 9: .workday])
        func fee(_ day: Int64, _ calendar: WorkCalendar) -> Int64 {
            tariff.fee(from: CivilTime.start(ofDay: day) + 36_000_000, to: CivilTime.start(ofDay: day) + 39_600_000, calendar: calendar)
        }
        #expect((fee(day, calendar), fee(day, WorkCalendar())) == (100, 500))
        #expect((fee(day + 9, calendar), fee(day + 9, WorkCalendar())) == (500, 100))
        var world = World(quota: 1)
        func take(_ id: String, business: Int, vehicleClass: Int, fen: Int64, from: Millis) {
            var rule = Tariff.Rule()
            rule.stepFen = fen
            let tariff = LotTariff(from: from, business: business, vehicleClass: vehicleClass, tariff: Tariff(tariffId: id, rules: [rule]))
            world.decide(
                .file(
                    parkCode: "P1", [KeptRecord(parkCode: "P1", kind: "tariff", key: id, body: id, at: 1)], replaces: nil, knownBy: nil,
                    notice: nil, tariff: tariff))
        }
        take("all", business: 0, vehicleClass: 0, fen: 1, from: 0)
        take("shared", business: 2, vehicleClass: 0, fen: 2, from: 0)
        take("large", business: 2, vehicleClass: 2, fen: 3, from: 0)
        take("later", business: 2, vehicleClass: 2, fen: 4, from: 1_000)
        func id(_ purpose: Purpose, _ vehicleClass: Int, at time: Millis) -> String? {
            world.city.tariff("P1", purpose, vehicleClass: vehicleClass, at: time)?.tariffId
        }
        #expect(
            [id(.reservation, 1, at: 10), id(.shared, 1, at: 10), id(.shared, 2, at: 10), id(.shared, 2, at: 2_000)] == [
                "all", "shared", "large", "later",
            ])
    }

    @Test func splitsAddUpWhateverTheAmount() {
        var policy = Policy()
        for (platform, lot) in [(10, 20), (0, 0), (100, 100), (33, 33), (7, 93)] {
            policy.platformPercent = platform
            policy.lotPercent = lot
            for fen in Int64(0)...500 {
                for hasOwner in [true, false] {
                    let split = FeeSplit(fen: fen, policy: policy, hasOwner: hasOwner)
                    #expect(split.platform + split.lot + split.owner == fen && min(split.platform, split.lot, split.owner) >= 0)
                    #expect(hasOwner || split.owner == 0)
                }
            }
        }
    }

    @Test func whoseTheMoneyIs() throws {
        var world = World(quota: 5)
        world.add("S1", share: 0)
        let offer = world.offer("A1", lot: "S1", owner: "王", price: SharePrice(mode: .hour, fen: 999))
        let reservation = try #require(
            world.create("a", lot: "S1", purpose: .shared, in: 1, plate: 1) { $0.offerId = offer.offerId }.outcome.reservation)
        world.run(minutes: 1)
        let entered = world.now
        _ = world.come(reservation.orderNo, plate: World.plate(1), lot: "S1", record: "r1")
        world.run(minutes: 59)
        let fee = try #require(world.city.sessionFee("S1", recordNo: "r1", at: world.now, past: Past()))
        #expect(fee.payableFen == 999)
        // The lot may not take it itself (1210).
        let till = Payment(
            payNo: "t1", appId: "", parkCode: "S1", recordNo: "r1", billNo: nil, amountFen: 999, channel: "", state: .paid,
            payTime: world.now, requestHash: "h")
        #expect(world.decide(.takeIn(till)).outcome == .refused(.platformBilled))
        world.decide(.bill(World.bill("b1", "S1", "r1", 999, until: world.now + 300_000)))
        world.decide(.pay(appId: "app1", parkCode: "", billNo: "b1", payNo: "p1", amountFen: 999, channel: "c", requestHash: "h"))
        world.decide(.conclude(appId: "app1", payNo: "p1", isPaid: true, message: "{}"))
        world.decide(.conclude(appId: "app1", payNo: "p1", isPaid: true, message: "{}"))
        func balance(_ account: Account) -> Int64 { world.city.balances[account, default: 0] }
        #expect(
            [balance(.provider("app1")), balance(.platform), balance(.lot("S1")), balance(.owner("app1", "王"))] == [999, -99, -199, -701])
        for (refund, fen) in [("f1", Int64(333)), ("f2", 333), ("f3", 333)] {
            world.decide(.refund(appId: "app1", payNo: "p1", refundNo: refund, amountFen: fen, message: "{}"))
            world.decide(.refund(appId: "app1", payNo: "p1", refundNo: refund, amountFen: fen, message: "{}"))
            #expect(world.city.ledgerSum == 0)
        }
        #expect(world.city.balances.isEmpty, "all of it went back, and rounding left nothing behind")
        let over = world.decide(.withdrawIncome(appId: "app1", providerToken: "王", fen: 1, reference: "w"))
        #expect(over.outcome == .refused(.refundTooLarge) && over.note == RuleNote("income", used: 1, max: 0))
        // What a lot takes itself is its own, and it has it.
        _ = world.go(plate: World.plate(1), lot: "S1", record: "r1", entered: entered)
        var own = till
        own.recordNo = "other"
        world.decide(.takeIn(own))
        #expect(balance(.till("S1")) == 999 && balance(.lot("S1")) == -999 && world.city.ledgerSum == 0)
        for account in [
            Account.provider("a"), .lot("l"), .till("l"), .owner("a", "o|x"), .user("a", "u"), .deposit("d"), .platform, .compensation,
            .payout,
        ] {
            #expect(Account(account.text) == account)
        }
        #expect(Account("nobody") == nil && Account("lot") == nil)
    }
}
