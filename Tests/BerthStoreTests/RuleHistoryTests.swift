import BerthCore
import BerthStore
import Testing

/// Random histories of the whole rules against a second, naive reading of them, and against what the journal makes again.
///
/// The naive side knows no calendars, counters or books: it looks at the orders, subscriptions, appointments, penalties and payments as they
/// stand after each step, and at nothing that the rules keep for themselves.
@Suite struct RuleHistoryTests {
    static let historyCount = 6_000
    static let moves = 60
    static let minute: Millis = 60_000
    /// A Wednesday morning; deadlines, working hours and the turn of a day all come near.
    static let start = CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 3, day: 4)!) + 7 * 60 * minute

    struct Tally {
        var accepted = 0
        var full = 0
        var promoted = 0
        var rehomed = 0
        var penalties = 0
        var undone = 0
        var postings = 0
        var revoked = 0
        var rolling = 0
        var subscriptions = 0
        var excesses = 0
        var refused = 0
    }

    /// A city on a store; whatever is decided is committed before the next.
    struct Street {
        var city: City
        let store: any Store
        var now = RuleHistoryTests.start
        var count = 0
        var records = 0
        /// Of every car inside: lot, plate, record, entry.
        var inside: [(lot: String, plate: Plate, record: String, since: Millis)] = []
        /// Money that providers took and gave back, as the test saw it.
        var collected: Int64 = 0
        var orderNos: [String] = []
        var subscriptions: [String] = []
        var offers: [String] = []
        var appointments: [String] = []
        var linked = true
        /// Commands that were asked for, and those that were refused by the store with something to undo.
        var refusal = 0
        var refuseEvery = 24
        var refused = 0
        /// The summaries after every entry of the journal, where they are wanted.
        var watched: [[String]] = []
        let isWatched: Bool
        /// What was accepted beyond the quota.
        var acceptFault: String?
        /// The highest quota that each pool of a lot ever had: where it is lower now, an excess may come from that.
        var highest: [String: Int] = [:]
        /// Where and when cars were really seen to come in, for judging no-shows.
        var seen: [(lot: String, plate: Plate, at: Millis, record: String)] = []

        init(_ store: any Store, policy: Policy, isWatched: Bool = false) throws {
            self.store = store
            self.isWatched = isWatched
            city = City(policy: policy, newEpoch: "d1")
            for (code, reserve, share, biz) in [("P1", 2, 1, 1), ("P2", 2, 1, 0)] {
                try run(.register(parkCode: code))
                try open(code, reserve: reserve, share: share, biz: biz)
            }
            try run(.setArea(FlowArea(areaId: "A", name: "A", parkCodes: ["P1", "P2"])))
        }

        mutating func open(_ code: String, reserve: Int, share: Int, biz: Int) throws {
            var profile = LotProfile(
                parkCode: code, name: code, address: "深圳", regionCode: "440305", longitude: "113.9", latitude: "22.5", coordType: 1,
                lotType: 4,
                lotClass: 1, totalCount: 12, quotas: [.reservation: reserve, .shared: share, .publicService: biz],
                enabled: [.reservation, .shared, .publicService], openHours: [OpenHours(days: [1, 2, 3, 4, 5, 6, 7], start: 0, end: 1440)],
                freeMin: 15, leaveBufferMin: 15)
            if code == "P2" { profile.position.longitude += 40_000 }
            try run(.openLot(profile))
        }

        /// Decides what the store then refuses, and undoes it: the city must be the one before.
        mutating func refuse(_ command: Command) throws -> String? {
            let (saved, before) = (city, city.summary(at: now).dropLast())
            let decision = try city.decide(command, at: now, reading: store)
            var touched = Touched()
            touched.add(decision.events)
            if touched.isWholeCity {
                city = saved
                return nil
            }
            refused += decision.events.isEmpty ? 0 : 1
            let undoing = Undoing(touched, try store.values(of: touched))
            for part in undoing.parts { city.undo(undoing, part: part, at: now) }
            // Serial numbers that were given in vain are not given again: they are the last line.
            let after = city.summary(at: now).dropLast()
            // A right whose window is over ends without an event at the next deadline: both cities would end it now.
            let endsRight = city.appointments.values.contains { appointment in
                appointment.state == .made
                    && appointment.terms.map { appointment.appointTime + Millis($0.afterMin) * RuleHistoryTests.minute <= now } == true
            }
            guard before != after, !endsRight else { return nil }
            return "\(command) was not undone: \(Set(before).symmetricDifference(after).sorted().prefix(4).joined(separator: "\n   "))"
        }

        @discardableResult mutating func run(_ command: Command) throws -> Decision {
            // The store refuses some commands at first; the caller sends them again.
            refusal += 1
            if refusal % refuseEvery == 0 { acceptFault = try acceptFault ?? refuse(command) }
            let before = self
            let decision = try city.decide(command, at: now, reading: store)
            if !decision.events.isEmpty {
                try store.commit([Commit(at: now, events: decision.events)])
                if isWatched { watched.append(city.summary(at: now)) }
            }
            let changed = decision.events.compactMap { if case .reservation(let reservation) = $0 { reservation } else { nil } }
            for reservation in changed where !orderNos.contains(reservation.orderNo) { orderNos.append(reservation.orderNo) }
            for reservation in changed {
                acceptFault = acceptFault ?? RuleHistoryTests.overQuota(reservation.orderNo, self, before: before)
            }
            acceptFault = try acceptFault ?? RuleHistoryTests.unfair(decision, self, command)
            for code in ["P1", "P2"] where city.lots[code] != nil {
                for pool in [Pool.personal, .shared, .publicService] where city.lots[code]!.profile != nil {
                    let key = "\(code)|\(pool.rawValue)"
                    highest[key] = max(highest[key] ?? 0, RuleHistoryTests.quota(self, code, pool, at: now))
                }
            }
            return decision
        }

        mutating func pass(_ minutes: Int) throws {
            for _ in 0..<minutes {
                now += RuleHistoryTests.minute
                for code in ["P1", "P2"] {
                    if linked { city.notePassed(code, through: now) }
                    if city.isDue(code, at: now) { try run(.expire(parkCode: code)) }
                }
            }
        }

        func reservation(_ number: String) -> Reservation? {
            let past = try? store.gather { city.lacks([.reservation(ByteKey(number))], $0) }
            return past.flatMap { city.reservation(number, past: $0) }
        }
    }

    // MARK: Moves

    static func plate(_ number: Int) -> Plate { Plate("粤B\(10_000 + number)")! }

    func history(_ seed: UInt64, _ store: any Store, _ tally: inout Tally, isWatched: Bool = false, refuseEvery: Int = 24) throws
        -> (fault: String?, street: Street)
    {
        var random = Seeded(seed)
        var policy = Policy()
        policy.dailyMaxPerUser = 1_000
        policy.dailyMaxPerPlate = 1_000
        policy.cancelMaxPerDay = 1_000
        policy.cancelMaxPerMonth = 1_000
        policy.noShowMaxPerMonth = 50
        policy.shareWindow = "00:00-24:00"
        policy.shareLateStrikes = 50
        policy.shareReview = 0
        policy.waitlistPerUser = 3
        policy.prepayFen = seed % 3 == 0 ? 300 : 0
        policy.shareMonthlyFen = seed % 2 == 0 ? 1_000 : 0
        policy.confirmMode = seed % 5 == 0 ? .ask : .trust
        var street = try Street(store, policy: policy, isWatched: isWatched)
        street.refuseEvery = refuseEvery
        func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &random) }
        func lot() -> String { number(0...2) == 0 ? "P2" : "P1" }
        func pay(_ billNo: String?) throws {
            guard let billNo, let bill = street.city.bill(billNo, askedBy: "app1") else { return }
            street.count += 1
            let made = try street.run(
                .pay(
                    appId: "app1", parkCode: "", billNo: billNo, payNo: "pay\(street.count)", amountFen: bill.payableFen, channel: "c",
                    requestHash: "h\(street.count)"))
            guard case .paid = made.outcome else { return }
            // The channel may say so later than anybody likes.
            if number(0...5) == 0 {
                let before = street.city.balances[.provider("app1"), default: 0]
                try street.pass(number(1...12))
                street.collected += street.city.balances[.provider("app1"), default: 0] - before
            }
            let before = street.city.balances[.provider("app1"), default: 0]
            let concluded = try street.run(.conclude(appId: "app1", payNo: "pay\(street.count)", isPaid: true, message: "{}"))
            if case .paid(let payment, _) = concluded.outcome, payment.state == .refunded {
                // What it was for had ended: it has gone back.
                if street.city.balances[.provider("app1"), default: 0] != before { throw Broken("money for nothing was kept") }
                return
            }
            street.collected += bill.payableFen
            if street.city.balances[.provider("app1"), default: 0] - before != bill.payableFen {
                throw Broken("a payment posted something else")
            }
            tally.postings += 1
            // Paying twice is not possible.
            let again = try street.run(
                .pay(
                    appId: "app1", parkCode: "", billNo: billNo, payNo: "again\(street.count)", amountFen: bill.payableFen, channel: "c",
                    requestHash: "x"
                ))
            if case .paid = again.outcome { throw Broken("a bill was paid twice") }
        }
        /// What a stay owes now, under two bills that were asked for one after the other: one of them can be paid.
        func settle(_ lot: String, _ record: String) throws {
            guard let fee = try street.city.sessionFee(lot, recordNo: record, at: street.now, reading: street.store), fee.payableFen > 0
            else { return }
            var bills: [String] = []
            for _ in 0..<2 {
                street.count += 1
                bills.append("b\(street.count)")
                var bill = Bill(
                    billNo: bills.last!, parkCode: lot, recordNo: record, payableFen: fee.payableFen, expireAt: street.now + 1_800_000)
                bill.askedBy = ["app1"]
                try street.run(.bill(bill))
            }
            try pay(bills[1])
            let other = try street.run(
                .pay(
                    appId: "app1", parkCode: "", billNo: bills[0], payNo: "other\(street.count)", amountFen: fee.payableFen, channel: "c",
                    requestHash: "y"))
            if case .paid = other.outcome { throw Broken("a stay was paid twice") }
            // The channel may have taken its time: what has come up since is paid as well.
            try settle(lot, record)
        }
        /// Deposits that went back are the provider's again.
        func follow(_ decision: Decision) {
            for case .posting(let posting) in decision.events where posting.kind == .refund {
                street.collected += posting.legs.filter { $0.account == .provider("app1") }.reduce(0) { $0 + $1.fen }
            }
        }

        for move in 0..<RuleHistoryTests.moves {
            var decision: Decision?
            switch number(0...21) {
            case 0...4:
                street.count += 1
                let purpose: Purpose = [.reservation, .reservation, .shared, .publicService][number(0...3)]
                var wish = Booking(
                    appId: "app1", clientOrderNo: "c\(street.count)", requestHash: "h\(street.count)", userToken: "u\(number(0...3))",
                    plate: RuleHistoryTests.plate(number(0...40)), plateColor: 0, parkCode: lot(), purpose: purpose,
                    planTime: street.now + Millis(number(0...60)) * RuleHistoryTests.minute, mobile: "", extNo: nil)
                wish.waits = number(0...1) == 0
                if purpose == .shared { wish.stayMin = 30 * number(1...4) }
                if purpose == .publicService, let ext = street.appointments.randomElement(using: &random) {
                    wish.extNo = ext
                    wish.parkCode = "P1"
                    wish.planTime = street.city.appointments["app1|\(ext)"]?.appointTime ?? wish.planTime
                    wish.userToken = "person"
                }
                decision = try street.run(.create(wish))
                if let reservation = decision!.outcome.reservation {
                    tally.accepted += reservation.status == .waitlisted ? 0 : 1
                    tally.rolling += reservation.pool == .rolling ? 1 : 0
                } else if decision!.outcome.refusal == .noBookableSpace {
                    tally.full += 1
                }
            case 5:
                guard let reservation = street.orderNos.randomElement(using: &random) else { continue }
                decision = try street.run(.cancel(appId: "app1", orderNo: reservation, confirmBreach: true))
            case 6:
                guard let reservation = street.orderNos.randomElement(using: &random) else { continue }
                let plan = street.now + Millis(number(0...60)) * RuleHistoryTests.minute
                decision = try street.run(.modify(appId: "app1", orderNo: reservation, planTime: plan, plate: nil, plateColor: nil))
            case 7:
                guard let reservation = street.orderNos.randomElement(using: &random) else { continue }
                decision = try street.run(.delay(appId: "app1", orderNo: reservation))
            case 8...10:
                // Somebody comes, or a record of somebody who came is late.
                let open = street.orderNos.compactMap { street.reservation($0) }.filter { [.booked, .noShow, .held].contains($0.status) }
                guard let reservation = open.randomElement(using: &random) else { continue }
                let time = number(0...3) == 0 ? min(street.now, reservation.enterEnd) : street.now
                guard time >= reservation.enterStart - 20 * RuleHistoryTests.minute,
                    street.city.lots[reservation.parkCode]!.inside[reservation.plate] == nil
                else { continue }
                street.records += 1
                let passage = Passage(
                    recordNo: "r\(street.records)", plate: reservation.plate, gateCode: "G1", enterTime: time, carKind: 5,
                    orderNo: reservation.orderNo)
                street.seen.append((reservation.parkCode, reservation.plate, time, passage.recordNo))
                decision = try street.run(.enter(parkCode: reservation.parkCode, passage))
                street.inside.append((reservation.parkCode, reservation.plate, passage.recordNo, time))
            case 11, 12:
                guard !street.inside.isEmpty else { continue }
                let car = street.inside.remove(at: number(0...(street.inside.count - 1)))
                var passage = Passage(
                    recordNo: car.record, plate: car.plate, gateCode: "G1", enterTime: car.since, carKind: 5, orderNo: nil)
                passage.leaveTime = number(0...3) == 0 ? max(car.since, street.now - 40 * RuleHistoryTests.minute) : street.now
                passage.exitGateCode = "G2"
                try settle(car.lot, car.record)
                decision = try street.run(.exit(parkCode: car.lot, passage))
                // He has paid what it costs, once: not less, and never more than the whole of it.
                if let fee = try street.city.sessionFee(car.lot, recordNo: car.record, at: street.now, reading: street.store),
                    passage.leaveTime == street.now, fee.payableFen > 0 || fee.paidFen > max(0, fee.totalFen - fee.discountFen)
                {
                    throw Broken("\(car.record) paid \(fee.paidFen) of \(fee.totalFen) less \(fee.discountFen)")
                }
            case 13:
                if let car = street.inside.randomElement(using: &random), number(0...1) == 0 { try settle(car.lot, car.record) }
                try pay(
                    street.orderNos.compactMap { street.reservation($0) }.filter { $0.status == .held }.randomElement(using: &random)?
                        .billNo)
                try pay(street.subscriptions.compactMap { street.city.subscription($0) }.randomElement(using: &random)?.billNo)
            case 14:
                let offer = SharedOffer(
                    offerId: "", appId: "app1", providerToken: "owner", parkCode: lot(), spaceNo: "A\(number(1...4))", count: 1,
                    segments: number(0...1) == 0 ? RecurringWindow.always : [RecurringWindow(.daily, start: 480, end: 1080)],
                    price: SharePrice(mode: .hour, fen: Int64(100 * number(1...9))), validFrom: street.now,
                    validTo: street.now + 90 * 86_400_000,
                    status: .draft, proofs: ["p"], agreementVersion: "1", createdAt: street.now)
                decision = try street.run(.publishOffer(offer))
                if case .entity(.offer(let made)) = decision!.outcome { street.offers.append(made.offerId) }
            case 15:
                guard let offer = street.offers.randomElement(using: &random) else { continue }
                decision = try street.run(.closeOffer(appId: "app1", offerId: offer, isConfirmed: number(0...1) == 0))
            case 16:
                let draft = SharedSubscription(
                    authNo: "", appId: "app1", userToken: "u\(number(0...3))", parkCode: lot(), offerId: nil, spaceNo: nil,
                    plates: [RuleHistoryTests.plate(60 + number(0...9))],
                    segments: number(0...1) == 0 ? [] : [RecurringWindow(.daily, start: 60 * number(0...20), end: 60 * number(21...24))],
                    quietHours: [], validFrom: street.now, validTo: street.now + Millis(number(1...30)) * 86_400_000, graceMin: 0,
                    price: nil,
                    status: .pending, strikesMax: 1, createdAt: street.now)
                decision = try street.run(.subscribeShare(draft, months: 1))
                if case .share(let made, _) = decision!.outcome {
                    street.subscriptions.append(made.authNo)
                    tally.subscriptions += 1
                }
            case 17:
                guard let subscription = street.subscriptions.compactMap({ street.city.subscription($0) }).randomElement(using: &random)
                else { continue }
                if number(0...2) == 0 {
                    decision = try street.run(.endShare(appId: "app1", authNo: subscription.authNo))
                } else if street.city.lots[subscription.parkCode]!.inside[subscription.plates[0]] == nil {
                    // A car of a subscription, when the gate would let it in.
                    let ask = try street.run(
                        .check(
                            parkCode: subscription.parkCode, GateQuestion(plate: subscription.plates[0], time: street.now, gateCode: "G1")))
                    guard case .gate(let gate, _) = ask.outcome, gate.subscription?.authNo == subscription.authNo, gate.verdict == .allow
                    else { continue }
                    street.records += 1
                    decision = try street.run(
                        .enter(
                            parkCode: subscription.parkCode,
                            Passage(
                                recordNo: "r\(street.records)", plate: subscription.plates[0], gateCode: "G1", enterTime: street.now,
                                carKind: 6,
                                orderNo: subscription.authNo)))
                    street.inside.append((subscription.parkCode, subscription.plates[0], "r\(street.records)", street.now))
                }
            case 18:
                street.count += 1
                let ext = "e\(street.count)"
                decision = try street.run(
                    .makeAppointment(
                        Appointment(
                            extNo: ext, appId: "app1", bizCode: "hospital", placeCode: "P1",
                            appointTime: street.now + Millis(number(30...400)) * RuleHistoryTests.minute, personToken: "person", plate: nil,
                            createdAt: street.now)))
                street.appointments.append(ext)
            case 19:
                guard let ext = street.appointments.randomElement(using: &random) else { continue }
                decision =
                    number(0...1) == 0
                    ? try street.run(.cancelAppointment(appId: "app1", extNo: ext))
                    : try street.run(
                        .moveAppointment(appId: "app1", extNo: ext, to: street.now + Millis(number(30...400)) * RuleHistoryTests.minute))
            case 20:
                switch number(0...3) {
                case 0: try street.open("P1", reserve: number(0...3), share: number(0...2), biz: number(0...2))
                case 1:
                    var flow = FlowPolicy(
                        policyId: "F\(number(0...1))", parkCode: "P1", areaId: "", mode: FlowMode(rawValue: number(0...3))!,
                        validFrom: street.now + Millis(number(0...60)) * RuleHistoryTests.minute,
                        validTo: street.now + Millis(number(61...300)) * RuleHistoryTests.minute)
                    flow.pools = number(0...1) == 0 ? [:] : ["PERSONAL": number(0...3)]
                    flow.revokes = number(0...1) == 0
                    flow.bookingLimitPercent = number(0...1) == 0 ? 1000 : 100
                    switch number(0...5) {
                    case 0: flow.saturationClose = number(1...3) * 20
                    case 1: flow.segments = [RecurringWindow(.daily, start: 60 * number(6...9), end: 60 * number(10...20))]
                    case 2:
                        flow.policyId = "area"
                        flow.parkCode = ""
                        flow.areaId = "A"
                        flow.pools = [:]
                        flow.dailyQuotas = ["PERSONAL": number(3...12)]
                    default: break
                    }
                    decision = try street.run(.setFlow(flow))
                case 2:
                    decision = try street.run(
                        .setPolicy(
                            .lot(lot()),
                            [
                                "lateMin": String(number(10...40)), "delayMin": String(number(5...60)),
                                "bizStayMin": String(number(60...200)),
                                "bizAfterMin": String(number(0...60)), "dailyMaxPerUser": String(number(0...3) == 0 ? 1 : 1_000),
                            ]))
                default:
                    let penalty = street.city.penalties.values.filter { $0.state == .inForce }.min { $0.penaltyId < $1.penaltyId }
                    guard let penalty else { continue }
                    try street.run(.appeal(appId: "app1", penaltyId: penalty.penaltyId, text: "t", images: []))
                    decision = try street.run(.answerAppeal(appealId: "AP" + penalty.penaltyId, isGranted: true, answer: "ok"))
                }
            default:
                street.linked = number(0...3) != 0
                for code in ["P1", "P2"] {
                    let lot = street.city.lots[code]!
                    guard let epoch = lot.downEpoch, lot.downAck < lot.downLast, number(0...3) != 0 else { continue }
                    try street.run(.settle(parkCode: code, epoch: epoch, ackSeq: lot.downLast, [], assumesRest: true))
                }
                let before = street.city.balances[.provider("app1"), default: 0]
                try street.pass(number(1...50))
                // As the server does every minute.
                if number(0...2) == 0 { street.city.forget(endedBefore: street.now - 10 * RuleHistoryTests.minute) }
                // What time brought about posts refunds of deposits and nothing else to the provider.
                street.collected += street.city.balances[.provider("app1"), default: 0] - before
            }
            if let decision { follow(decision) }
            if let decision {
                for case .reservation(let reservation) in decision.events {
                    tally.promoted += reservation.status == .booked && reservation.orderVer == 2 && reservation.downSeq > 0 ? 1 : 0
                    tally.rehomed += reservation.rehomedFrom != nil && reservation.orderVer == 1 ? 1 : 0
                    tally.revoked += reservation.status == .revoked ? 1 : 0
                }
                for case .entity(.penalty(let penalty)) in decision.events { tally.undone += penalty.state == .undone ? 1 : 0 }
            }
            if let fault = RuleHistoryTests.fault(street, &tally) { return ("move \(move): \(fault)", street) }
        }
        tally.penalties += street.city.penalties.count
        tally.refused += street.refused
        return (nil, street)
    }

    struct Broken: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    @Test func theRulesHoldOverRandomHistories() throws {
        var tally = Tally()
        for seed in 0..<UInt64(RuleHistoryTests.historyCount) {
            let store = MemoryStore()
            let (fault, street) = try history(seed, store, &tally)
            if let fault {
                Issue.record("seed \(seed): \(fault)")
                return
            }
            // What comes up from the store decides as what is in memory.
            guard seed % 5 == 0 else { continue }
            let again = try store.load(noncesSince: 0).city(policy: street.city.policy, newEpoch: "d1", now: street.now)
            if let difference = RuleHistoryTests.difference(street.city, again, at: street.now) {
                Issue.record("seed \(seed): read back, \(difference)")
                return
            }
        }
        print("rule histories: \(RuleHistoryTests.historyCount) of \(RuleHistoryTests.moves) moves, \(tally)")
        #expect(tally.accepted > 3_000 && tally.full > 300 && tally.promoted > 50 && tally.rehomed > 3 && tally.revoked > 50)
        #expect(tally.penalties > 300 && tally.undone > 30 && tally.postings > 300 && tally.rolling > 5 && tally.subscriptions > 100)
        #expect(tally.excesses > 50 && tally.refused > 3_000, "the histories reach every corner")
    }

    static func difference(_ one: City, _ two: City, at now: Millis) -> String? {
        // The work calendar of a city that was read back is the profile's.
        let (left, right) = (one.summary(at: now), two.summary(at: now))
        guard left != right else { return nil }
        let only = Set(left).symmetricDifference(right).sorted()
        return only.prefix(4).joined(separator: "\n   ")
    }

    /// The database gives back the durable values of a refused commit, by their keys.
    @Test func aRefusedCommitIsUndoneFromSQLite() throws {
        var tally = Tally()
        for seed in UInt64(100)..<108 {
            let (fault, _) = try history(seed, StoreTests.make(.sqlite), &tally, refuseEvery: 2)
            #expect(fault == nil, "seed \(seed): \(fault ?? "")")
        }
        #expect(tally.refused > 100)
    }

    /// A second city that follows the journal decides as the first one, after every entry.
    @Test func aFollowerIsTheSameCityAfterEveryEntry() throws {
        for seed in UInt64(0)..<40 {
            var tally = Tally()
            let store = MemoryStore()
            let (fault, street) = try history(seed, store, &tally, isWatched: true)
            #expect(fault == nil)
            var follower = City(policy: street.city.policy, newEpoch: "d1")
            for (at, (commit, expected)) in zip(try store.journal(), street.watched).enumerated() {
                for event in commit.events { follower.follow(event, at: commit.at) { CityImage.meaning(of: $0) } }
                let summary = follower.summary(at: commit.at)
                guard summary != expected else { continue }
                Issue.record(
                    "seed \(seed), entry \(at): \(Set(summary).symmetricDifference(expected).sorted().prefix(4).joined(separator: "\n   "))"
                )
                return
            }
        }
    }

    /// The journal alone makes the same city again, through either store.
    @Test func theJournalMakesTheSameCityAgain() throws {
        for seed in UInt64(0)..<12 {
            var tally = Tally()
            let memory = MemoryStore()
            let (fault, street) = try history(seed, memory, &tally)
            #expect(fault == nil)
            let sqlite = try StoreTests.make(.sqlite)
            for entry in try memory.journal() { try sqlite.commit([entry]) }
            let (one, other) = (try sqlite.dump(), memory.dump())
            let at = zip(one, other).first { $0 != $1 }
            #expect(one == other, "seed \(seed): the stores differ: \(at.map { "\($0.0)\n\($0.1)" } ?? "\(one.count) \(other.count)")")
            let again = MemoryStore()
            for entry in try sqlite.journal() { try again.commit([entry]) }
            #expect(again.dump() == memory.dump(), "seed \(seed): the journal of SQLite tells another story")
            for store in [sqlite, again] as [any Store] {
                let city = try store.load(noncesSince: 0).city(policy: street.city.policy, newEpoch: "d1", now: street.now)
                let difference = RuleHistoryTests.difference(street.city, city, at: street.now)
                #expect(difference == nil, "seed \(seed): \(difference ?? "")")
            }
        }
    }
}

/// SplitMix64: one number reproduces a whole history.
private struct Seeded: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

extension Outcome {
    fileprivate var reservation: Reservation? { if case .reservation(let reservation, _) = self { reservation } else { nil } }
}
