/// The price of parking (U06), for sessions that the city bills itself.
///
/// A stay is cut into started steps. The price of a step is that of the first rule in force when the step starts: by weekday, time of day
/// and length of the stay so far. A rule's cap holds for one period of a day, the tariff's for one civil day. A stay not longer than the
/// free minutes of the rule in force at its entry costs nothing; a longer one is charged from its entry. After the leave deadline a step
/// costs `overtimePercent`.
public struct Tariff: Sendable, Equatable {
    public struct Rule: Sendable, Equatable {
        /// 1 Monday … 7 Sunday; empty is every day.
        public var days: Set<Int> = []
        /// Minutes of the day; an end not after the start passes midnight.
        public var start = 0
        public var end = 1440
        public var freeMin = 0
        public var stepMin = 60
        public var stepFen: Int64 = 0
        public var capFen: Int64?
        /// Minutes of the stay from which, and up to which, it holds.
        public var fromMin = 0
        public var toMin: Int?

        public init() {}

        /// The minutes for which it still holds from a moment at which it holds.
        func minutesLeft(at time: Millis, elapsed: Int, _ calendar: WorkCalendar) -> Int {
            let minute = CivilTime.minuteOfDay(time)
            var left = toMin.map { $0 - elapsed } ?? .max
            if start < end {
                if start > 0 || end < 1440 { left = min(left, end - minute) }
            } else {
                left = min(left, minute < end ? end - minute : 1440 - minute + end)
            }
            if !days.isEmpty, !days.contains(calendar.weekday(ofDay: CivilTime.day(of: time) + 1)) { left = min(left, 1440 - minute) }
            return max(1, left)
        }

        func holds(weekday: Int, minute: Int, elapsed: Int) -> Bool {
            let isInside = start < end ? minute >= start && minute < end : minute >= start || minute < end
            return isInside && (days.isEmpty || days.contains(weekday)) && elapsed >= fromMin && (toMin.map { elapsed < $0 } ?? true)
        }
    }

    public var tariffId: String
    public var rules: [Rule]
    public var dailyCapFen: Int64?
    public var overtimePercent = 100
    /// In words, as the lot gave it.
    public var text = ""
    /// Longest stay that is computed, minutes: a year; a longer stay costs as much as a year.
    static let minutesMax = 366 * 1440
    /// One price for one use; beyond the time to leave it is due again, at the overtime rate, for each started day.
    var perUseFen: Int64?

    /// An offer's price: for one use, or for each started hour.
    init(price: SharePrice, overtimePercent: Int) {
        var rule = Rule()
        rule.stepFen = price.fen
        self.init(tariffId: "", rules: [rule], overtimePercent: overtimePercent)
        if price.mode == .once { perUseFen = price.fen }
    }

    public init(tariffId: String, rules: [Rule], dailyCapFen: Int64? = nil, overtimePercent: Int = 100) {
        self.tariffId = tariffId
        self.rules = rules
        self.dailyCapFen = dailyCapFen
        self.overtimePercent = overtimePercent
    }

    private func rule(at time: Millis, elapsed: Int, weekday: Int) -> Int? {
        let minute = CivilTime.minuteOfDay(time)
        return rules.firstIndex { $0.holds(weekday: weekday, minute: minute, elapsed: elapsed) }
    }

    /// fen. Started minutes count whole; on public holidays Sunday's rules hold, on make-up workdays Monday's.
    public func fee(from enter: Millis, to leave: Millis, deadline: Millis? = nil, calendar: WorkCalendar = WorkCalendar()) -> Int64 {
        let total = min(Tariff.minutesMax, Int(max(0, leave - enter) + CivilTime.minute - 1) / Int(CivilTime.minute))
        guard total > 0 else { return 0 }
        if let perUseFen {
            let over = deadline.map { max(0, leave - $0) } ?? 0
            let days = min(366, (over + CivilTime.dayLength - 1) / CivilTime.dayLength)
            return perUseFen + days * (perUseFen * Int64(overtimePercent) / 100)
        }
        var known: (day: Int64, weekday: Int) = (.min, 0)
        func weekday(_ time: Millis) -> Int {
            let day = CivilTime.day(of: time)
            if day != known.day { known = (day, calendar.weekday(ofDay: day)) }
            return known.weekday
        }
        if let first = rule(at: enter, elapsed: 0, weekday: weekday(enter)), total <= rules[first].freeMin { return 0 }
        struct Period: Hashable { let rule: Int, day: Int64 }
        var periods: [Period: Int64] = [:]
        var days: [Int64: Int64] = [:]
        var elapsed = 0
        while elapsed < total {
            let time = enter + Millis(elapsed) * CivilTime.minute
            guard let index = rule(at: time, elapsed: elapsed, weekday: weekday(time)) else {
                elapsed += 1
                continue
            }
            let rule = rules[index]
            let day = CivilTime.day(of: time)
            // A step ends with its rule at the latest; a free rule has no step (U06).
            let length = rule.stepFen == 0 ? 1 : min(max(1, rule.stepMin), rule.minutesLeft(at: time, elapsed: elapsed, calendar))
            var fen = rule.stepFen
            if let deadline, time >= deadline { fen = fen * Int64(overtimePercent) / 100 }
            // A period that passes midnight belongs to the day on which it began.
            let period = Period(rule: index, day: rule.start >= rule.end && CivilTime.minuteOfDay(time) < rule.end ? day - 1 : day)
            if let cap = rule.capFen { fen = min(fen, max(0, cap - periods[period, default: 0])) }
            if let cap = dailyCapFen { fen = min(fen, max(0, cap - days[day, default: 0])) }
            periods[period, default: 0] += fen
            days[day, default: 0] += fen
            elapsed += length
        }
        return days.values.reduce(0, +)
    }
}

/// The bill of a session that the city itself charges.
public struct SessionFee: Sendable, Equatable {
    public var visit: Visit
    /// The reservation or subscription.
    public var orderNo: String
    public var totalFen: Int64
    public var discountFen: Int64
    public var paidFen: Int64
    /// The fee without the extra cost of re-homing, which another party bears, and without payments.
    public var payableFen: Int64 { max(0, totalFen - discountFen - paidFen) }
}

extension City {
    /// Whether the city charges it, and not the lot: shared parking (section 7, `billingParty`).
    public static func isBilledByCity(_ purpose: Purpose) -> Bool { purpose == .shared }
}
