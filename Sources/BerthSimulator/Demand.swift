import BerthCore
import BerthLink

/// The wishes of a city by the hour: the hospitals fill in the morning, offices by day, malls in the afternoon, venues in the evening, homes
/// by night. The hour is that of the pages. A viewer may choose another one to begin with.
struct Demand: Sendable {
    /// Added to the present minute of the day.
    private let shift: Int

    /// - Parameter hour: the hour, 0 to 23, with which the demand begins; nil for the present one.
    init(hour: Int?, now: Millis = SystemClock.now()) {
        shift = hour.map { $0 * 60 - CivilTime.minuteOfDay(now) } ?? 0
    }

    /// The hour of the demand, 0 to 23.
    func hour(_ now: Millis = SystemClock.now()) -> Int { minute(now) / 60 }

    private func minute(_ now: Millis) -> Int { (CivilTime.minuteOfDay(now) + shift + 1440) % 1440 }

    /// Occupied places of a hundred at 0, 3, 6, …, 21 and 24 o'clock.
    private static let levels: [PlannedLot.Kind: [Int]] = [
        .hospital: [35, 30, 55, 93, 88, 80, 62, 45, 35], .school: [15, 15, 40, 70, 60, 65, 40, 20, 15],
        .scenic: [10, 10, 25, 60, 80, 82, 55, 25, 10], .venue: [12, 10, 15, 30, 40, 50, 85, 75, 12],
        .office: [22, 20, 35, 85, 88, 86, 60, 35, 22], .mall: [18, 15, 15, 40, 70, 78, 84, 70, 18],
        .residence: [88, 90, 82, 55, 45, 46, 65, 80, 88],
    ]

    /// The share of the places of a kind of lot that cars without a reservation take now, of a hundred.
    func level(_ kind: PlannedLot.Kind, at now: Millis = SystemClock.now()) -> Int {
        guard let levels = Demand.levels[kind] else { return 50 }
        let (slot, rest) = (minute(now) / 180, minute(now) % 180)
        return levels[slot] + (levels[slot + 1] - levels[slot]) * rest / 180
    }

    /// How much drivers who reserve wish for a kind of lot now.
    func weight(_ kind: PlannedLot.Kind, at now: Millis = SystemClock.now()) -> Int {
        switch (kind, hour(now)) {
        case (.hospital, 6...11): 40
        case (.hospital, 13...16): 15
        case (.school, 7...8), (.school, 16...17): 20
        case (.scenic, 9...16): 10
        case (.venue, 18...22): 20
        case (.hospital, _), (.school, _), (.scenic, _), (.venue, _): 5
        case (.office, 7...17), (.mall, 11...21), (.residence, 18...23), (.residence, 0...7): 3
        default: 1
        }
    }
}
