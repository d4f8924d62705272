/// The purpose of a booking (业务类型): 1 reservation parking 预约停车, 2 shared parking 共享停车, 3 public-service parking 公共业务停车.
public enum Purpose: Int, Sendable, CaseIterable, Codable {
    case reservation = 1
    case shared = 2
    case publicService = 3
}

/// Hours in which a lot takes cars: days 1 (Monday) to 7, minutes of the day; an end before the start passes midnight.
public struct OpenHours: Sendable, Equatable {
    public var days: Set<Int>
    public var start: Int
    public var end: Int

    public init(days: Set<Int>, start: Int, end: Int) {
        self.days = days
        self.start = start
        self.end = end
    }

    /// - Parameter calendar: on a public holiday Sunday's hours hold, on a make-up workday Monday's (section 2).
    func contains(_ time: Millis, _ calendar: WorkCalendar) -> Bool {
        let day = CivilTime.day(of: time)
        let minute = CivilTime.minuteOfDay(time)
        let weekday = calendar.weekday(ofDay: day)
        if start < end { return days.contains(weekday) && minute >= start && minute < end }
        let yesterday = calendar.weekday(ofDay: day - 1)
        return (days.contains(weekday) && minute >= start) || (days.contains(yesterday) && minute < end)
    }
}

/// A parking lot 停车库（场） as it describes itself by `lot.info.report`. Only what the rules need is a field of its own;
/// the rest of the report is kept whole beside it by the server.
public struct LotProfile: Sendable, Equatable {
    public var parkCode: String
    public var name: String
    public var address: String
    public var regionCode: String
    public var longitude: String
    public var latitude: String
    public var coordType: Int
    public var lotType: Int
    public var lotClass: Int
    public var totalCount: Int
    /// Places opened to each purpose: the quota of its pool.
    public var quotas: [Purpose: Int]
    public var enabled: Set<Purpose>
    public var openHours: [OpenHours]
    public var freeMin: Int
    public var leaveBufferMin: Int
    /// The operator's code or name: lots of one operator share no-shows, bans and lists (section 7, scope group). "" is the city's own
    /// group.
    public var group = ""
    /// The vehicles that fit; 0 and an empty set say nothing.
    public var maxSeats = 0
    public var maxHeightMm = 0
    /// Plate categories admitted (section 15.3).
    public var plateTypes: Set<String> = []
    /// Its position on the ground, for distances.
    public var position: GeoPoint

    public init(
        parkCode: String, name: String, address: String, regionCode: String, longitude: String, latitude: String,
        coordType: Int, lotType: Int, lotClass: Int, totalCount: Int, quotas: [Purpose: Int], enabled: Set<Purpose>,
        openHours: [OpenHours], freeMin: Int, leaveBufferMin: Int
    ) {
        self.parkCode = parkCode
        self.name = name
        self.address = address
        self.regionCode = regionCode
        self.longitude = longitude
        self.latitude = latitude
        self.coordType = coordType
        self.lotType = lotType
        self.lotClass = lotClass
        self.totalCount = totalCount
        self.quotas = quotas
        self.enabled = enabled
        self.openHours = openHours
        self.freeMin = freeMin
        self.leaveBufferMin = leaveBufferMin
        position = GeoPoint(longitude: longitude, latitude: latitude)
    }

    public func isOpen(at time: Millis, _ calendar: WorkCalendar) -> Bool { openHours.contains { $0.contains(time, calendar) } }

    /// The time at which it opens after a moment at which it is closed, to the minute; nil when it does not within a fortnight.
    func opens(after time: Millis, _ calendar: WorkCalendar) -> Millis? {
        let day = CivilTime.day(of: time)
        for day in day...(day + 14) {
            let starts = openHours.filter { $0.days.contains(calendar.weekday(ofDay: day)) }
                .map { CivilTime.start(ofDay: day) + Millis($0.start) * CivilTime.minute }.filter { $0 > time }
            if let first = starts.min() { return first }
        }
        return nil
    }
}

/// One entrance or exit 出入口.
public struct Gate: Sendable, Equatable {
    public var gateCode: String
    public var name: String
    /// 1 in, 2 out, 3 both.
    public var direction: Int

    public init(gateCode: String, name: String, direction: Int) {
        self.gateCode = gateCode
        self.name = name
        self.direction = direction
    }
}

/// Live counts of a lot as it last reported them.
public struct Remaining: Sendable, Equatable {
    public var reportedAt: Millis
    public var total: Int
    public var occupied: Int
    public var remain: Int

    public init(reportedAt: Millis, total: Int, occupied: Int, remain: Int) {
        self.reportedAt = reportedAt
        self.total = total
        self.occupied = occupied
        self.remain = remain
    }
}

/// Saturation 饱和度: occupied places per thousand, an integer.
public struct Saturation: Sendable, Equatable, Comparable {
    public let perMille: Int

    public init(occupied: Int, capacity: Int) { perMille = capacity > 0 ? occupied * 1000 / capacity : 0 }

    /// Display level (section 8): 3 green (over 20 % free), 2 orange, 1 red (at most 10 % free), 0 full.
    public var level: Int { perMille >= 1000 ? 0 : perMille >= 900 ? 1 : perMille >= 800 ? 2 : 3 }

    public static func < (left: Saturation, right: Saturation) -> Bool { left.perMille < right.perMille }
}

extension LotProfile {
    /// The text of event 4006: each number of places that changed, before and after. Nil where none changed.
    func capacityChange(since before: LotProfile) -> String? {
        let names: [(String, KeyPath<LotProfile, Int>)] = [
            ("totalSpace", \.totalCount), ("reserveSpace", \.[quota: .reservation]), ("shareSpace", \.[quota: .shared]),
            ("publicBizSpace", \.[quota: .publicService]),
        ]
        let changes = names.compactMap { name, path in
            before[keyPath: path] == self[keyPath: path] ? nil : "\(name) \(before[keyPath: path])>\(self[keyPath: path])"
        }
        return changes.isEmpty ? nil : changes.joined(separator: " ")
    }

    private subscript(quota purpose: Purpose) -> Int { quotas[purpose] ?? 0 }
}
