import BerthCore
import Testing

/// Accepting never takes any instant over the quota: 100,000 random histories against a naive second implementation that knows
/// neither steps nor counters, only intervals.
@Suite struct QuotaPropertyTests {
    static let historyCount = 100_000

    /// The naive model: who holds which interval, to the millisecond.
    struct Naive {
        struct Hold {
            var from: Millis
            var to: Millis
            var isInside: Bool
        }
        var holds: [String: Hold] = [:]

        /// How many hold a place at one instant, seen from `now`: a car inside holds at least until now.
        func count(at time: Millis, now: Millis, except: String? = nil, step: Millis = 1) -> Int {
            holds.reduce(0) { sum, entry in
                guard entry.key != except else { return sum }
                let hold = entry.value
                let end = hold.isInside ? max(hold.to, now + 1) : hold.to
                // Rounded outward when a step is given.
                let from = hold.from / step * step
                let to = (end + step - 1) / step * step
                return sum + (from <= time && time < to ? 1 : 0)
            }
        }

        /// The most at any instant of an interval, from now on.
        func peak(from: Millis, to: Millis, now: Millis, except: String? = nil, step: Millis = 1) -> Int {
            let from = max(from, now) / step * step
            let to = (to + step - 1) / step * step
            var points = [from]
            for hold in holds.values {
                let start = hold.from / step * step
                if start > from, start < to { points.append(start) }
            }
            return points.map { count(at: $0, now: now, except: except, step: step) }.max() ?? 0
        }
    }

    @Test func acceptingNeverTakesAnyInstantOverTheQuota() {
        var accepted = 0
        var refused = 0
        var excesses = 0
        for seed in 0..<QuotaPropertyTests.historyCount {
            guard let failure = history(UInt64(seed), &accepted, &refused, &excesses) else { continue }
            Issue.record("seed \(seed): \(failure)")
            return
        }
        print(
            "quota property: \(QuotaPropertyTests.historyCount) histories, \(accepted) accepted, \(refused) refused for want of room, \(excesses) steps with a permitted excess"
        )
        #expect(accepted > 100_000 && refused > 50_000 && excesses > 1_000, "the histories reach every corner")
    }

    private func history(_ seed: UInt64, _ accepted: inout Int, _ refused: inout Int, _ excesses: inout Int) -> String? {
        var random = Seeded(seed)
        var quota = Int.random(in: 1...3, using: &random)
        var world = World(quota: quota)
        var naive = Naive()
        var entered: [String: (record: String, time: Millis)] = [:]
        var known: [Reservation] = []
        let step = Millis(15 * 60_000)
        world.now += Millis.random(in: 0..<step, using: &random)

        for move in 0..<14 {
            // Every order's place in the model follows its state, not the calendar.
            func follow(_ number: String) {
                let reservation = world.reservation(number)
                switch reservation.status {
                case .held, .booked:
                    naive.holds[number] = .init(from: reservation.enterStart, to: reservation.expectedLeave, isInside: false)
                case .inLot:
                    naive.holds[number] = .init(
                        from: min(reservation.enterStart, reservation.enterTime!), to: reservation.expectedLeave, isInside: true)
                default: naive.holds[number] = nil
                }
            }
            func checkAccepted(_ reservation: Reservation) -> String? {
                let peak = naive.peak(from: reservation.enterStart, to: reservation.expectedLeave, now: world.now)
                return peak > quota ? "accepting took an instant to \(peak) of \(quota) at move \(move)" : nil
            }
            func checkRefused(_ from: Millis, _ to: Millis, except: String?) -> String? {
                let peak = naive.peak(from: from, to: to, now: world.now, except: except, step: step)
                return peak < quota ? "refused although at most \(peak) of \(quota) are held, rounded outward, at move \(move)" : nil
            }
            switch Int.random(in: 0..<11, using: &random) {
            case 0...3:
                let minutes = Int.random(in: 0...60, using: &random)
                let outcome = world.book(in: minutes)
                if let reservation = outcome.reservation {
                    known.append(reservation)
                    follow(reservation.orderNo)
                    accepted += 1
                    if let failure = checkAccepted(reservation) { return failure }
                } else if outcome.refusal == .noBookableSpace {
                    refused += 1
                    let plan = world.now + Millis(minutes) * 60_000
                    if let failure = checkRefused(plan - 30 * 60_000, plan + 120 * 60_000, except: nil) { return failure }
                } else {
                    return "unexpected \(outcome)"
                }
            case 4:
                guard let reservation = known.randomElement(using: &random) else { continue }
                let plan = world.now + Millis.random(in: 0...60, using: &random) * 60_000
                let outcome = world.decide(
                    .modify(appId: "app1", orderNo: reservation.orderNo, planTime: plan, plate: nil, plateColor: nil)
                ).outcome
                if let changed = outcome.reservation {
                    let moved = naive.holds[reservation.orderNo].map { $0.from != changed.enterStart } ?? true
                    follow(reservation.orderNo)
                    if moved, let failure = checkAccepted(changed) { return failure }
                } else if outcome.refusal == .noBookableSpace {
                    if let failure = checkRefused(plan - 30 * 60_000, plan + 120 * 60_000, except: reservation.orderNo) { return failure }
                }
            case 5:
                guard let reservation = known.randomElement(using: &random) else { continue }
                _ = world.decide(.cancel(appId: "app1", orderNo: reservation.orderNo, confirmBreach: true))
                follow(reservation.orderNo)
            case 6, 7:
                guard let reservation = known.randomElement(using: &random) else { continue }
                // In time, or a late record of what happened within the window.
                let present = world.reservation(reservation.orderNo)
                let time = Bool.random(using: &random) ? world.now : min(world.now, present.enterEnd)
                let record = "r\(move)"
                if case .recorded(_, .inLot?, false) = world.enter(present, record: record, at: time) {
                    entered[reservation.orderNo] = (record, time)
                }
                follow(reservation.orderNo)
            case 8:
                guard let (number, stay) = entered.randomElement(using: &random) else { continue }
                _ = world.leave(world.reservation(number), record: stay.record, entered: stay.time)
                if world.status(number) == .done { entered[number] = nil }
                follow(number)
            case 9:
                quota = Int.random(in: 0...3, using: &random)
                _ = world.decide(.openLot(World.profile(quota: quota)))
            default:
                world.acknowledge()
                world.pass(minutes: Int.random(in: 1...150, using: &random), isLinked: Bool.random(using: &random))
                for reservation in known { follow(reservation.orderNo) }
            }
            // An excess is visible, and the window sells nothing until it is gone.
            let over = naive.count(at: world.now, now: world.now) - quota
            world.city.advance(world.lot, to: world.now)
            if over > 0 {
                excesses += 1
                if world.city.lots[world.lot]!.excess(.personal, at: world.now) < over { return "an excess of \(over) is hidden" }
                if world.book(in: 10).reservation != nil { return "sold while over the quota" }
            }
        }
        return nil
    }
}
