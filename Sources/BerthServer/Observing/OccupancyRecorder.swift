import BerthCore
import BerthStore
import Logging
import Synchronization

/// Counts at every half hour how many cars each lot has without a reservation. From the last four same weekdays it makes how the lot
/// usually fills (section 8). A lot that cannot be heard is not counted: its last known count says nothing about now.
final class OccupancyRecorder: Sendable {
    private struct State {
        /// Number of the last half hour that was counted.
        var lastSlot: Int64 = -1
        var madeDay: Int64 = -1
    }

    private let sequencer: Sequencer
    private let store: any Store
    private let logger: Logger
    private let state = Mutex(State())
    /// Days that are kept: four of each weekday, and one to hold out.
    static let daysMax: Int64 = 42
    /// A day with fewer counts says too little.
    private static let countsMin = 40

    init(sequencer: Sequencer, store: any Store, logger: Logger) {
        self.sequencer = sequencer
        self.store = store
        self.logger = logger
    }

    func tick(now: Millis, heard: (String) -> Bool) {
        let half = 30 * CivilTime.minute
        let day = CivilTime.day(of: now)
        let slot = (now - CivilTime.start(ofDay: day)) / half
        let (isNew, isNewDay) = state.withLock { state in
            let number = day * 48 + slot
            defer {
                state.lastSlot = number
                state.madeDay = day
            }
            return (state.lastSlot != number, state.madeDay != day)
        }
        guard isNew else { return }
        let counts = sequencer.readUndurable { city in city.lots.values.filter { $0.profile != nil }.map { ($0.parkCode, $0.walkInCount) } }
            .filter { heard($0.0) }
        do {
            try store.count(occupancy: counts.map { OccupancyCount(parkCode: $0.0, day: day, slot: Int(slot), count: $0.1) })
        } catch { logger.error("how full the lots are could not be kept", metadata: ["error": "\(error)"]) }
        if isNewDay { make(upTo: day, now: now) }
    }

    /// Makes the profiles from the days before this one.
    func make(upTo day: Int64, now: Millis) {
        let (calendar, capacities) = sequencer.readUndurable { city in
            (city.calendar, city.lots.mapValues { $0.profile?.totalCount ?? 0 })
        }
        var days: [String: [(day: Int64, counts: [Int])]] = [:]
        let known: [OccupancyDay]
        do throws(StoreError) { known = try store.occupancy(days: (day - OccupancyRecorder.daysMax)...(day - 1)) } catch {
            return logger.error("how full the lots were cannot be read", metadata: ["why": "\(error.reason)"])
        }
        for row in known {
            days[row.parkCode, default: []].append((row.day, row.counts))
        }
        var profiles: [OccupancyProfile] = []
        for (parkCode, rows) in days {
            for weekday in 1...7 {
                let same = rows.filter { calendar.weekday(ofDay: $0.day) == weekday }.sorted { $0.day < $1.day }
                    .compactMap { OccupancyRecorder.filled($0.counts) }
                if let profile = OccupancyProfile.make(
                    parkCode: parkCode, weekday: weekday, days: same, capacity: capacities[parkCode] ?? 0)
                {
                    profiles.append(profile)
                }
            }
        }
        let changed = sequencer.readUndurable { city in profiles.filter { city.lots[$0.parkCode]?.occupancy[$0.weekday] != $0 } }
        for start in stride(from: 0, to: changed.count, by: 500) {
            sequencer.perform(.setOccupancy(Array(changed[start..<min(changed.count, start + 500)])), now: now)
        }
    }

    /// A day's counts without holes: a missing count is the one before it. Nil for a day with too few.
    static func filled(_ counts: [Int]) -> [Int]? {
        guard counts.filter({ $0 >= 0 }).count >= countsMin, let first = counts.first(where: { $0 >= 0 }) else { return nil }
        var last = first
        return counts.map { count in
            if count >= 0 { last = count }
            return last
        }
    }
}
