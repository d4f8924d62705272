/// The number of held places of one pool at each moment: a row of counters per day, one per step (default 15 minutes).
///
/// "Never more than the quota at any moment" is a check over a run of counters. Places of a pool are interchangeable and
/// intervals are counted, so a count that never exceeds the quota means that an assignment of places exists.
public struct CapacityCalendar: Sendable, Equatable {
    public let stepMillis: Millis
    private let stepsPerDay: Int64
    private var days: [Int64: [Int32]] = [:]

    public init(stepMin: Int) {
        stepMillis = Millis(stepMin) * CivilTime.minute
        stepsPerDay = CivilTime.dayLength / stepMillis
    }

    /// Intervals are rounded outward, so a place may be refused up to a step early, never oversold (section 6).
    private func steps(_ from: Millis, _ to: Millis) -> Range<Int64> {
        let first = floorDiv(from, stepMillis)
        return first..<max(first, floorDiv(to + stepMillis - 1, stepMillis))
    }

    /// The end of the step that holds `time`.
    public func endOfStep(holding time: Millis) -> Millis { (floorDiv(time, stepMillis) + 1) * stepMillis }

    private func forEachRun(_ steps: Range<Int64>, _ body: (_ day: Int64, _ run: Range<Int>) -> Void) {
        CapacityCalendar.forEachRun(steps, stepsPerDay, body)
    }

    private static func forEachRun(_ steps: Range<Int64>, _ stepsPerDay: Int64, _ body: (_ day: Int64, _ run: Range<Int>) -> Void) {
        var step = steps.lowerBound
        while step < steps.upperBound {
            let day = floorDiv(step, stepsPerDay)
            let end = min(steps.upperBound, (day + 1) * stepsPerDay)
            body(day, Int(step - day * stepsPerDay)..<Int(end - day * stepsPerDay))
            step = end
        }
    }

    /// The most places held at any moment of the interval.
    public func peak(from: Millis, to: Millis) -> Int {
        var peak: Int32 = 0
        forEachRun(steps(from, to)) { day, run in
            guard let counters = days[day] else { return }
            for index in run where counters[index] > peak { peak = counters[index] }
        }
        return Int(peak)
    }

    /// The most places held together in several calendars of the same step at any moment of the interval.
    static func peak(of calendars: [CapacityCalendar], from: Millis, to: Millis) -> Int {
        guard let first = calendars.first else { return 0 }
        var most = 0
        first.forEachRun(first.steps(from, to)) { day, run in
            let held = calendars.compactMap { $0.days[day] }
            guard !held.isEmpty else { return }
            for index in run { most = max(most, held.reduce(0) { $0 + Int($1[index]) }) }
        }
        return most
    }

    /// Holds (`delta` 1) or releases (-1) one place over the interval.
    /// - Returns: false where a place was released that was not held: the counters cannot be right then.
    @discardableResult public mutating func add(_ delta: Int32, from: Millis, to: Millis) -> Bool {
        let stepsPerDay = stepsPerDay
        var isSound = true
        CapacityCalendar.forEachRun(steps(from, to), stepsPerDay) { day, run in
            days[day, default: [Int32](repeating: 0, count: Int(stepsPerDay))].withUnsafeMutableBufferPointer { counters in
                for index in run {
                    counters[index] += delta
                    if counters[index] < 0 { isSound = false }
                }
            }
        }
        return isSound
    }

    /// Forgets days that are over; nothing asks for them again.
    public mutating func forget(before time: Millis) {
        let day = floorDiv(floorDiv(time, stepMillis), stepsPerDay) - 1
        days = days.filter { $0.key >= day || !$0.value.allSatisfy { $0 == 0 } }
    }
}
