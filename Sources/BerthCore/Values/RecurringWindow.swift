/// A half-open interval of time, ms.
public struct Window: Sendable, Equatable, Codable {
    public var from: Millis
    public var to: Millis

    public init(_ from: Millis, _ to: Millis) {
        self.from = from
        self.to = to
    }

    public func meets(_ from: Millis, _ to: Millis) -> Bool { self.from < to && from < self.to }

    /// Overlapping and adjacent spans joined, in order.
    public static func joined(_ spans: [Window]) -> [Window] {
        var result: [Window] = []
        for span in spans.sorted(by: { $0.from < $1.from }) where span.from < span.to {
            if let last = result.last, span.from <= last.to {
                result[result.count - 1].to = max(last.to, span.to)
            } else {
                result.append(span)
            }
        }
        return result
    }
}

/// A time of day that comes again: the windows of an offer, a subscription, quiet hours (U16, D05).
public struct RecurringWindow: Sendable, Hashable, Codable {
    public enum Repeat: String, Sendable, Codable { case daily, weekly, monthly, date }

    public var repeats: Repeat
    /// Weekdays 1 to 7, or days of the month 1 to 31.
    public var days: [Int]
    /// Civil days, days since 1970-01-01.
    public var dates: [Int64]
    /// Minutes of the day; an end not after the start passes midnight.
    public var start: Int
    public var end: Int

    public init(_ repeats: Repeat, days: [Int] = [], dates: [Int64] = [], start: Int, end: Int) {
        self.repeats = repeats
        self.days = days
        self.dates = dates
        self.start = start
        self.end = end
    }

    /// Off-peak sharing where nothing else is said (section 7): workdays 18:00 to 08:00, days of rest all day and until 08:00 of the next
    /// workday. That may be any day, since a make-up workday may follow a Saturday.
    public static let offPeak = [
        RecurringWindow(.daily, start: 1080, end: 480), RecurringWindow(.weekly, days: [6, 7], start: 0, end: 1440),
    ]
    public static let always = [RecurringWindow(.daily, start: 0, end: 1440)]

    func begins(onDay day: Int64, _ calendar: WorkCalendar) -> Bool {
        switch repeats {
        case .daily: true
        case .weekly: days.contains(calendar.weekday(ofDay: day))
        case .monthly: days.contains(Int(CivilTime.date(ofDay: day).day))
        case .date: dates.contains(day)
        }
    }

    /// The times between two moments at which these segments are open, joined and in order.
    public static func spans(_ segments: [RecurringWindow], from: Millis, to: Millis, _ calendar: WorkCalendar) -> [Window] {
        guard from < to else { return [] }
        var spans: [Window] = []
        for day in (CivilTime.day(of: from) - 1)...CivilTime.day(of: to) {
            let midnight = CivilTime.start(ofDay: day)
            for segment in segments where segment.begins(onDay: day, calendar) {
                let length = segment.end > segment.start ? segment.end - segment.start : segment.end + 1440 - segment.start
                let start = midnight + Millis(segment.start) * CivilTime.minute
                let span = Window(max(from, start), min(to, start + Millis(length) * CivilTime.minute))
                if span.from < span.to { spans.append(span) }
            }
        }
        return Window.joined(spans)
    }

    /// The open time that holds a moment, looked at up to a year each way.
    public static func span(_ segments: [RecurringWindow], holding time: Millis, _ calendar: WorkCalendar) -> Window? {
        let year = 366 * CivilTime.dayLength
        if segments.contains(where: { $0.repeats == .daily && $0.start == 0 && $0.end == 1440 }) { return Window(time - year, time + year) }
        // The search widens until both ends are seen: most are within a day or a week.
        for days in [2, 10, 60] as [Millis] {
            let (from, to) = (time - days * CivilTime.dayLength, time + days * CivilTime.dayLength)
            guard let span = spans(segments, from: from, to: to, calendar).first(where: { $0.from <= time && time < $0.to }) else {
                return nil
            }
            if from < span.from, span.to < to { return span }
        }
        return spans(segments, from: time - year, to: time + year, calendar).first { $0.from <= time && time < $0.to }
    }

    public static func covers(_ segments: [RecurringWindow], from: Millis, to: Millis, _ calendar: WorkCalendar) -> Bool {
        spans(segments, from: from, to: to, calendar) == [Window(from, to)]
    }

    /// `18:00-08:00`, or with weekdays `1-5 18:00-08:00; 6-7 00:00-24:00`. Nil when it is neither.
    public static func parse(_ text: String) -> [RecurringWindow]? {
        var segments: [RecurringWindow] = []
        for part in text.split(separator: ";", omittingEmptySubsequences: false) {
            // One space may stand after a semicolon.
            let words = (segments.isEmpty || part.first != " " ? part : part.dropFirst()).split(
                separator: " ", omittingEmptySubsequences: false)
            guard let hours = words.last, words.count <= 2 else { return nil }
            let ends = hours.split(separator: "-", omittingEmptySubsequences: false)
            guard ends.count == 2, let start = minute(ends[0]), let end = minute(ends[1]), start < 1440 else { return nil }
            if words.count == 1 { segments.append(RecurringWindow(.daily, start: start, end: end)); continue }
            var days: [Int] = []
            for range in words[0].split(separator: ",", omittingEmptySubsequences: false) {
                let parts = range.split(separator: "-", omittingEmptySubsequences: false)
                let ends = parts.compactMap { $0.utf8.count == 1 ? Int($0) : nil }
                guard ends.count == parts.count, let first = ends.first, let last = ends.last, ends.count <= 2, (1...7).contains(first),
                    (first...7).contains(last)
                else { return nil }
                days += first...last
            }
            segments.append(RecurringWindow(.weekly, days: days, start: start, end: end))
        }
        return segments.isEmpty ? nil : segments
    }

    private static func minute(_ text: Substring) -> Int? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ $0.utf8.count == 2 && $0.utf8.allSatisfy { (48...57).contains($0) } }),
            let hour = Int(parts[0]), let minute = Int(parts[1]), (0..<60).contains(minute),
            (0..<24).contains(hour) || (hour == 24 && minute == 0)
        else { return nil }
        return hour * 60 + minute
    }

    public static func text(minute: Int) -> String { CivilTime.pad(Int64(minute / 60), 2) + ":" + CivilTime.pad(Int64(minute % 60), 2) }
}
