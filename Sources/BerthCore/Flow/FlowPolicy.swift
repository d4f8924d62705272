/// Several lots that flow control treats as one: a hospital block, a scenic area.
public struct FlowArea: Sendable, Equatable, Codable {
    public var areaId: String
    public var name: String
    public var parkCodes: [String]

    public init(areaId: String, name: String, parkCodes: [String]) {
        self.areaId = areaId
        self.name = name
        self.parkCodes = parkCodes
    }
}

/// The way in which a lot takes cars (D18 `mode`).
public enum FlowMode: Int, Sendable, Codable, Comparable {
    case off = 0
    /// No walk-ins.
    case bookingOnly = 1
    case throttle = 2
    case closed = 3

    /// The stricter is the greater: throttle, booking only, closed.
    private var rank: Int { [.off: 0, .throttle: 1, .bookingOnly: 2, .closed: 3][self] ?? 0 }
    public static func < (left: FlowMode, right: FlowMode) -> Bool { left.rank < right.rank }
}

/// A rule of flow control 流量管控 for one lot or one area: by hand (in force while it is valid), by schedule, or by saturation.
public struct FlowPolicy: Sendable, Equatable, Codable {
    public var policyId: String
    /// The lot or the area that it is for; the other one is "".
    public var parkCode: String
    public var areaId: String
    public var mode: FlowMode
    /// Hysteresis, per cent: it starts at `saturationClose` and ends below `saturationOpen`. Nil: not by saturation.
    public var saturationOpen: Int?
    public var saturationClose: Int?
    /// Times of day in which it is in force; empty: always.
    public var segments: [RecurringWindow] = []
    public var maxEntriesPer5min: Int?
    /// While it is in force nothing is booked beyond this saturation, per cent (R6: 1:1).
    public var bookingLimitPercent = 100
    /// Places by pool, in place of what the lot opened.
    public var pools: [String: Int] = [:]
    /// Reservations of a civil day by pool, over all lots of the area (R5).
    public var dailyQuotas: [String: Int] = [:]
    /// Whether reservations already made for its time are revoked when it is set.
    public var revokes = false
    public var validFrom: Millis
    public var validTo: Millis
    /// Whether its saturation has switched it on.
    public var isOn = false
    /// The mode that was sent to the lots last.
    public var told: FlowMode?
    /// Whether it was in force at the last look: a begin or end by the clock is reported once.
    public var wasInForce: Bool?

    public init(policyId: String, parkCode: String, areaId: String, mode: FlowMode, validFrom: Millis, validTo: Millis) {
        self.policyId = policyId
        self.parkCode = parkCode
        self.areaId = areaId
        self.mode = mode
        self.validFrom = validFrom
        self.validTo = validTo
    }

    public var isBySaturation: Bool { saturationClose != nil || saturationOpen != nil }

    /// The switch after this saturation was seen.
    public func isOn(atPerMille saturation: Int) -> Bool {
        guard isBySaturation else { return true }
        return saturation >= closePercent * 10 ? true : saturation < openPercent * 10 ? false : isOn
    }

    /// The two ends of the hysteresis, by default 90 and 95; where one end alone is given, the other one lies five beside it.
    public var openPercent: Int { saturationOpen ?? min(90, max(0, (saturationClose ?? 95) - 5)) }
    public var closePercent: Int { saturationClose ?? max(95, min(100, openPercent + 5)) }

    /// The mode that it demands at a moment.
    public func mode(at time: Millis, _ calendar: WorkCalendar) -> FlowMode {
        isInForce(at: time, calendar) ? mode : .off
    }

    public func isInForce(at time: Millis, _ calendar: WorkCalendar) -> Bool {
        validFrom <= time && time < validTo && (!isBySaturation || isOn) && holdsSegment(at: time, calendar)
    }

    /// The next time at which the clock may begin or end it; `.max` when there is none.
    func nextChange(after now: Millis) -> Millis {
        if now < validFrom { return validFrom }
        if now >= validTo { return wasInForce == true ? now : .max }
        return segments.isEmpty ? validTo : min(validTo, now + CivilTime.minute / 2)
    }

    func holdsSegment(at time: Millis, _ calendar: WorkCalendar) -> Bool {
        segments.isEmpty || !RecurringWindow.spans(segments, from: time, to: time + 1, calendar).isEmpty
    }
}
