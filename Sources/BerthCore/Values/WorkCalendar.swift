/// The public days of rest: weekends, with public holidays and the workdays that make up for them as exceptions.
///
/// Rules that name weekdays follow it: on a public holiday Sunday's rules hold, on a make-up workday Monday's.
public struct WorkCalendar: Sendable, Equatable {
    public enum Kind: String, Sendable, Codable { case holiday, workday }

    /// Days whose kind differs from that of their weekday.
    public var exceptions: [Int64: Kind]

    public init(exceptions: [Int64: Kind] = [:]) { self.exceptions = exceptions }

    /// 1 Monday … 7 Sunday, as the rules see the day.
    public func weekday(ofDay day: Int64) -> Int {
        switch exceptions[day] {
        case .holiday: 7
        case .workday: 1
        case nil: CivilTime.weekday(ofDay: day)
        }
    }

    public func isWorkday(_ day: Int64) -> Bool { weekday(ofDay: day) < 6 }

    /// The end of the n-th workday after the day of `time`.
    public func deadline(workdays: Int, after time: Millis) -> Millis {
        var day = CivilTime.day(of: time)
        var left = workdays
        while left > 0 {
            day += 1
            if isWorkday(day) { left -= 1 }
        }
        return CivilTime.start(ofDay: day + 1)
    }
}
