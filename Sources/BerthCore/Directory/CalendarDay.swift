/// A day whose kind differs from that of its weekday.
public struct CalendarDay: Sendable, Equatable, Codable {
    public var day: Int64
    /// Nil: an ordinary day again.
    public var kind: WorkCalendar.Kind?

    public init(day: Int64, kind: WorkCalendar.Kind?) {
        self.day = day
        self.kind = kind
    }
}
