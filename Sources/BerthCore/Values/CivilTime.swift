/// Milliseconds since the epoch, UTC: the only form of time in the core.
public typealias Millis = Int64

/// Days, months and weekdays of the city's zone, Asia/Shanghai (UTC+8, no daylight saving; interface.md, section 2).
public enum CivilTime {
    public static let minute: Millis = 60_000
    public static let dayLength: Millis = 86_400_000
    static let offset: Millis = 8 * 3_600_000

    /// Days since 1970-01-01 in the zone.
    public static func day(of time: Millis) -> Int64 { floorDiv(time + offset, dayLength) }
    /// The first moment of a day.
    public static func start(ofDay day: Int64) -> Millis { day * dayLength - offset }
    public static func minuteOfDay(_ time: Millis) -> Int { Int((time - start(ofDay: day(of: time))) / minute) }
    /// 1 Monday … 7 Sunday.
    public static func weekday(ofDay day: Int64) -> Int { Int(floorMod(day + 3, 7)) + 1 }

    /// Year, month and day of the month (Howard Hinnant's `civil_from_days`).
    public static func date(ofDay day: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let z = day + 719_468
        let era = floorDiv(z, 146_097)
        let dayOfEra = z - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        let month = shifted < 10 ? shifted + 3 : shifted - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shifted + 2) / 5 + 1)
    }

    /// The inverse; nil when there is no such day.
    public static func day(year: Int64, month: Int64, day: Int64) -> Int64? {
        guard (1970...9999).contains(year), (1...12).contains(month), (1...31).contains(day) else { return nil }
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = floorDiv(shiftedYear, 400)
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let result = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
        let back = date(ofDay: result)
        return back == (year, month, day) ? result : nil
    }

    /// `yyyy-MM-dd`.
    public static func text(ofDay day: Int64, separator: String = "-") -> String {
        let date = date(ofDay: day)
        return pad(date.year, 4) + separator + pad(date.month, 2) + separator + pad(date.day, 2)
    }

    /// Months since year 0, for counters per month.
    static func month(of time: Millis) -> Int64 {
        let date = date(ofDay: day(of: time))
        return date.year * 12 + date.month - 1
    }

    /// The first moment of the next month, and of the next year.
    static func endOfMonth(_ time: Millis) -> Millis {
        let date = date(ofDay: day(of: time))
        let next = date.month == 12 ? (date.year + 1, Int64(1)) : (date.year, date.month + 1)
        return start(ofDay: day(year: next.0, month: next.1, day: 1) ?? day(of: time) + 31)
    }

    static func endOfYear(_ time: Millis) -> Millis {
        start(ofDay: day(year: year(of: time) + 1, month: 1, day: 1) ?? day(of: time) + 366)
    }

    static func year(of time: Millis) -> Int64 { date(ofDay: day(of: time)).year }

    /// Started calendar months between two moments, at least one. A month lasts to the same day and time of the next one, or to the end of
    /// its last day (section 2).
    public static func months(from: Millis, to: Millis) -> Int {
        let day = day(of: from)
        let rest = from - start(ofDay: day)
        let first = date(ofDay: day)
        var count = max(1, Int((to - from) / (31 * dayLength)))
        while true {
            let month = first.month - 1 + Int64(count)
            let (year, number) = (first.year + month / 12, month % 12 + 1)
            var dayOfMonth = first.day
            while dayOfMonth > 28, self.day(year: year, month: number, day: dayOfMonth) == nil { dayOfMonth -= 1 }
            guard let end = self.day(year: year, month: number, day: dayOfMonth) else { return count }
            if start(ofDay: end) + rest >= to { return count }
            count += 1
        }
    }

    static func pad(_ number: Int64, _ width: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
    }
}

func floorDiv(_ value: Int64, _ by: Int64) -> Int64 { (value >= 0 ? value : value - by + 1) / by }
/// `value` × `part` / `whole`, rounded down, where the product may be larger than a number holds: 0 ≤ part ≤ whole.
func share(_ value: Int64, _ part: Int64, of whole: Int64) -> Int64 {
    let product = value.magnitude.multipliedFullWidth(by: part.magnitude)
    let (quotient, remainder) = whole.magnitude.dividingFullWidth(product)
    return value >= 0 ? Int64(quotient) : -Int64(quotient) - (remainder > 0 ? 1 : 0)
}
func floorMod(_ value: Int64, _ by: Int64) -> Int64 { value - floorDiv(value, by) * by }
