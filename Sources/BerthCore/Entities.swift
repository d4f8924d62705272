// What the rules of standing, sharing, public service and flow control keep beside orders. Each is a whole value that the journal carries;
// a field that is added later is optional, so that old rows can be read.

/// State of a space that is offered for sharing (section 6, `offerStatus`).
public enum OfferStatus: Int, Sendable, Codable {
    case draft = 0
    case underReview = 1
    case open = 2
    case closed = 3
    case inUse = 4
    case withdrawn = 5
}

/// What sharing costs (U16): for one use, for a started hour, or for a month.
public struct SharePrice: Sendable, Equatable, Codable {
    public enum Mode: Int, Sendable, Codable { case once = 1, hour = 2, month = 3 }
    public var mode: Mode
    public var fen: Int64

    public init(mode: Mode, fen: Int64) {
        self.mode = mode
        self.fen = fen
    }
}

/// A space, or a number of spaces, that an owner or company shares (共享车位).
public struct SharedOffer: Sendable, Equatable, Codable {
    public var offerId: String
    public var version: Int64 = 1
    /// The app through which the owner publishes it; "" when the lot reported it.
    public var appId: String
    /// The owner's pseudonym 车位提供方.
    public var providerToken: String
    public var parkCode: String
    /// One space, or `count` places that are as good as each other.
    public var spaceNo: String?
    public var count: Int
    public var areaCode: String?
    public var segments: [RecurringWindow]
    public var quietHours: [RecurringWindow]
    public var price: SharePrice?
    public var validFrom: Millis
    public var validTo: Millis
    public var status: OfferStatus
    public var proofs: [String]
    public var agreementVersion: String
    public var createdAt: Millis
    /// Why a review did not pass it, or why it was taken down.
    public var remark: String?

    public init(
        offerId: String, appId: String, providerToken: String, parkCode: String, spaceNo: String?, count: Int, areaCode: String? = nil,
        segments: [RecurringWindow], quietHours: [RecurringWindow] = [], price: SharePrice?, validFrom: Millis, validTo: Millis, status: OfferStatus,
        proofs: [String] = [], agreementVersion: String = "", createdAt: Millis
    ) {
        self.offerId = offerId
        self.appId = appId
        self.providerToken = providerToken
        self.parkCode = parkCode
        self.spaceNo = spaceNo
        self.count = count
        self.areaCode = areaCode
        self.segments = segments
        self.quietHours = quietHours
        self.price = price
        self.validFrom = validFrom
        self.validTo = validTo
        self.status = status
        self.proofs = proofs
        self.agreementVersion = agreementVersion
        self.createdAt = createdAt
    }

    /// How many places it stands for.
    public var unitCount: Int { spaceNo == nil ? max(1, count) : 1 }

    /// What the names of its places begin with; a space's name has 32 characters at most.
    var unitPrefix: String {
        guard offerId.unicodeScalars.count > 24 else { return offerId + "#" }
        return String(offerId.fingerprint, radix: 16) + "#"
    }

    public var isBookable: Bool { status == .open || status == .inUse }
}

/// State of a subscription (section 6, `shareStatus`).
public enum ShareStatus: Int, Sendable, Codable {
    case pending = 0
    case active = 1
    case inUse = 2
    case suspended = 3
    case expired = 4
    case cancelled = 5
    case terminated = 6
    case rejected = 7

    public var holds: Bool { self == .pending || self == .active || self == .inUse || self == .suspended }
}

/// The right of a group of plates to one place in its times (D05): the first to enter occupies it.
public struct SharedSubscription: Sendable, Equatable, Codable {
    public var authNo: String
    public var version: Int64 = 1
    public var appId: String
    public var userToken: String
    public var parkCode: String
    /// The offer it rests on; nil for the lot's own shared pool.
    public var offerId: String?
    public var spaceNo: String?
    public var plates: [Plate]
    public var segments: [RecurringWindow]
    public var quietHours: [RecurringWindow]
    public var validFrom: Millis
    public var validTo: Millis
    public var graceMin: Int
    public var price: SharePrice?
    public var status: ShareStatus
    public var strikes = 0
    public var strikesMax: Int
    /// Until when it waits for its payment or its review.
    public var holdDeadline: Millis?
    public var billNo: String?
    public var createdAt: Millis
    public var recordNo: String?
    public var insidePlate: Plate?
    /// When the car that is inside has to be gone.
    public var leaveBy: Millis?
    public var isLate = false
    /// A renewal that waits for its payment.
    public var renewTo: Millis?
    /// What has been paid for its time and not given back, fen.
    public var paidFen: Int64?
    /// By which payment last.
    public var payNo: String?
    /// The time to leave of which it has been reminded, and how many minutes before that is.
    public var warnedFor: Millis?
    public var warnMin: Int?
    var warnMillis: Millis { Millis(warnMin ?? 15) * CivilTime.minute }

    public init(
        authNo: String, appId: String, userToken: String, parkCode: String, offerId: String?, spaceNo: String?, plates: [Plate],
        segments: [RecurringWindow], quietHours: [RecurringWindow], validFrom: Millis, validTo: Millis, graceMin: Int, price: SharePrice?,
        status: ShareStatus, strikesMax: Int, createdAt: Millis
    ) {
        self.authNo = authNo
        self.appId = appId
        self.userToken = userToken
        self.parkCode = parkCode
        self.offerId = offerId
        self.spaceNo = spaceNo
        self.plates = plates
        self.segments = segments
        self.quietHours = quietHours
        self.validFrom = validFrom
        self.validTo = validTo
        self.graceMin = graceMin
        self.price = price
        self.status = status
        self.strikesMax = strikesMax
        self.createdAt = createdAt
    }
}

/// An appointment of a hospital or government hall (A16). Of the person only a pseudonym is kept.
public struct Appointment: Sendable, Equatable, Codable {
    public enum State: String, Sendable, Codable { case made, booked, used, cancelled }

    public var extNo: String
    public var appId: String
    public var bizCode: String
    public var placeCode: String
    public var appointTime: Millis
    public var personToken: String
    public var plate: Plate?
    public var state: State = .made
    /// The lot at which a place of the reserved quota is kept for it; nil when the quota was used up.
    public var parkCode: String?
    /// Under what times that place is kept; a policy that changes later changes nothing in it.
    public var terms: RightTerms?
    public var orderNo: String?
    public var createdAt: Millis

    public init(
        extNo: String, appId: String, bizCode: String, placeCode: String, appointTime: Millis, personToken: String, plate: Plate?,
        createdAt: Millis
    ) {
        self.extNo = extNo
        self.appId = appId
        self.bizCode = bizCode
        self.placeCode = placeCode
        self.appointTime = appointTime
        self.personToken = personToken
        self.plate = plate
        self.createdAt = createdAt
    }
}

/// When somebody with an appointment may drive in, and for how long he may stay, minutes.
public struct RightTerms: Sendable, Equatable, Codable {
    /// How long before the appointment he may come.
    public var beforeMin: Int
    /// And how long after it.
    public var afterMin: Int
    /// How long he may stay, from the time he booked.
    public var stayMin: Int

    public init(_ policy: Policy) {
        beforeMin = policy.bizBeforeMin
        afterMin = policy.bizAfterMin
        stayMin = policy.bizStayMin
    }
}

/// A hospital or hall, and the lots at which its visitors park, the nearest first.
public struct PublicPlace: Sendable, Equatable, Codable {
    public var placeCode: String
    public var name: String
    public var parkCodes: [String]

    public init(placeCode: String, name: String, parkCodes: [String]) {
        self.placeCode = placeCode
        self.name = name
        self.parkCodes = parkCodes
    }
}

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

/// How a lot takes cars (D18 `mode`).
public enum FlowMode: Int, Sendable, Codable, Comparable {
    case off = 0
    /// No walk-ins.
    case bookingOnly = 1
    case throttle = 2
    case closed = 3

    /// The stricter is the greater: throttle, booking only, closed.
    private var rank: Int { [.off: 0, .throttle: 1, .bookingOnly: 2, .closed: 3][self]! }
    public static func < (left: FlowMode, right: FlowMode) -> Bool { left.rank < right.rank }
}

/// A rule of flow control 流量管控 for one lot or one area: by hand (in force while it is valid), by schedule, or by saturation.
public struct FlowPolicy: Sendable, Equatable, Codable {
    public var policyId: String
    /// One of them is "".
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
    /// Orders of a civil day by pool, over all lots of the area (R5).
    public var dailyQuotas: [String: Int] = [:]
    /// Orders already made for its time are revoked when it is set.
    public var revokes = false
    public var validFrom: Millis
    public var validTo: Millis
    /// Whether its saturation has switched it on.
    public var isOn = false
    /// What the lots were told last.
    public var told: FlowMode?
    /// Whether it was in force when it was last looked at: what begins and ends by the clock is told once.
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

    /// The two ends of the hysteresis, 90 and 95 where nothing is said; one that is given alone keeps the other five beside it.
    public var openPercent: Int { saturationOpen ?? min(90, max(0, (saturationClose ?? 95) - 5)) }
    public var closePercent: Int { saturationClose ?? max(95, min(100, openPercent + 5)) }

    /// What it demands at a moment.
    public func mode(at time: Millis, _ calendar: WorkCalendar) -> FlowMode {
        isInForce(at: time, calendar) ? mode : .off
    }

    public func isInForce(at time: Millis, _ calendar: WorkCalendar) -> Bool {
        validFrom <= time && time < validTo && (!isBySaturation || isOn) && holdsSegment(at: time, calendar)
    }

    /// When the clock may begin or end it next; `.max` when it does not any more.
    func nextChange(after now: Millis) -> Millis {
        if now < validFrom { return validFrom }
        if now >= validTo { return wasInForce == true ? now : .max }
        return segments.isEmpty ? validTo : min(validTo, now + CivilTime.minute / 2)
    }

    func holdsSegment(at time: Millis, _ calendar: WorkCalendar) -> Bool {
        segments.isEmpty || !RecurringWindow.spans(segments, from: time, to: time + 1, calendar).isEmpty
    }
}

/// What a user is charged with, and the evidence for it. It is undone with its evidence, or by an appeal.
public struct Penalty: Sendable, Equatable, Codable {
    public enum Kind: String, Sendable, Codable { case noShow, breach, lateDeparture }
    public enum State: String, Sendable, Codable { case inForce, undone }

    public var penaltyId: String
    public var kind: Kind
    public var appId: String
    public var userToken: String
    public var plate: Plate
    public var parkCode: String
    public var group: String
    /// The order or subscription.
    public var orderNo: String
    public var at: Millis
    /// The time that the counters charge it to.
    public var chargedAt: Millis
    /// What was seen: the window and how far the lot's log had come, the deadline and the exit.
    public var evidence: String
    public var state: State = .inForce
    public var undoneBy: String?

    public init(
        penaltyId: String, kind: Kind, appId: String, userToken: String, plate: Plate, parkCode: String, group: String, orderNo: String,
        at: Millis, chargedAt: Millis, evidence: String
    ) {
        self.penaltyId = penaltyId
        self.kind = kind
        self.appId = appId
        self.userToken = userToken
        self.plate = plate
        self.parkCode = parkCode
        self.group = group
        self.orderNo = orderNo
        self.at = at
        self.chargedAt = chargedAt
        self.evidence = evidence
    }
}

/// An objection to a penalty (R7): answered within two workdays.
public struct Appeal: Sendable, Equatable, Codable {
    public enum State: String, Sendable, Codable { case open, granted, rejected }

    public var appealId: String
    public var penaltyId: String
    public var appId: String
    public var userToken: String
    public var text: String
    public var images: [String]
    public var createdAt: Millis
    public var answerBy: Millis
    public var state: State = .open
    public var answer: String?
    public var answeredAt: Millis?

    public init(
        appealId: String, penaltyId: String, appId: String, userToken: String, text: String, images: [String], createdAt: Millis,
        answerBy: Millis
    ) {
        self.appealId = appealId
        self.penaltyId = penaltyId
        self.appId = appId
        self.userToken = userToken
        self.text = text
        self.images = images
        self.createdAt = createdAt
        self.answerBy = answerBy
    }
}

/// A car at a gate that somebody has to look at, or that a rule admitted although its plate was not read as ordered.
public struct GateCase: Sendable, Equatable, Codable {
    public enum State: String, Sendable, Codable {
        /// One candidate: admitted by the rule of almost-matches.
        case admittedByRule
        /// Several: the control room decides.
        case open
        case admitted
        case refused
    }

    public var caseNo: String
    public var parkCode: String
    public var gateCode: String
    public var plate: Plate
    public var at: Millis
    public var confidence: Int?
    /// Orders or subscriptions whose plates could have been read so.
    public var candidates: [String]
    public var state: State
    public var orderNo: String?
    public var decidedBy: String?
    /// The entry that it led to; afterwards it says nothing about the next car of that reading.
    public var recordNo: String?

    public init(
        caseNo: String, parkCode: String, gateCode: String, plate: Plate, at: Millis, confidence: Int?, candidates: [String], state: State,
        orderNo: String?
    ) {
        self.caseNo = caseNo
        self.parkCode = parkCode
        self.gateCode = gateCode
        self.plate = plate
        self.at = at
        self.confidence = confidence
        self.candidates = candidates
        self.state = state
        self.orderNo = orderNo
    }
}

/// How a lot usually fills on one weekday (section 8): per half hour the change from the day's mean of occupied places without an order.
public struct OccupancyProfile: Sendable, Equatable, Codable {
    public var parkCode: String
    /// 1 Monday … 7 Sunday, as the work calendar sees the day.
    public var weekday: Int
    /// Occupied places expected in each half hour of the day.
    public var occupied: [Int]
    /// How many days it rests on, at most four.
    public var dayCount: Int
    /// Mean absolute error on days that were held out, per mille of the capacity; nil while there are too few days.
    public var errorPerMille: Int?

    public init(parkCode: String, weekday: Int, occupied: [Int], dayCount: Int, errorPerMille: Int?) {
        self.parkCode = parkCode
        self.weekday = weekday
        self.occupied = occupied
        self.dayCount = dayCount
        self.errorPerMille = errorPerMille
    }
}

/// A day that is not what its weekday says.
public struct CalendarDay: Sendable, Equatable, Codable {
    public var day: Int64
    /// Nil: an ordinary day again.
    public var kind: WorkCalendar.Kind?

    public init(day: Int64, kind: WorkCalendar.Kind?) {
        self.day = day
        self.kind = kind
    }
}

/// Any of them, as the journal and the store carry it.
public enum Entity: Sendable, Equatable {
    case policy(PolicyOverride)
    case calendarDay(CalendarDay)
    case offer(SharedOffer)
    case subscription(SharedSubscription)
    case place(PublicPlace)
    case appointment(Appointment)
    case area(FlowArea)
    case flow(FlowPolicy)
    case penalty(Penalty)
    case appeal(Appeal)
    case gateCase(GateCase)
    case occupancy(OccupancyProfile)

    /// Under which name it is kept, for which lot ("" for none), and when it can be forgotten (nil: never).
    public var place: (kind: String, parkCode: String, key: String, endsAt: Millis?) {
        switch self {
        case .policy(let o): ("policy", "", "\(o.scope)@\(CivilTime.pad(o.version, 12))", nil)
        case .calendarDay(let d): ("calendar", "", CivilTime.pad(d.day, 8), nil)
        case .offer(let o): ("sharedOffer", o.parkCode, o.offerId, o.status == .withdrawn ? o.validTo : nil)
        case .subscription(let s): ("subscription", s.parkCode, s.authNo, s.status.holds ? nil : s.validTo)
        case .place(let p): ("publicPlace", "", p.placeCode, nil)
        case .appointment(let a): ("appointment", "", "\(a.appId)|\(a.extNo)", a.appointTime)
        case .area(let a): ("flowArea", "", a.areaId, nil)
        case .flow(let f): ("flow", f.parkCode, "\(f.areaId)|\(f.policyId)", f.validTo)
        case .penalty(let p): ("penalty", p.parkCode, p.penaltyId, p.at)
        case .appeal(let a): ("appeal", "", a.appealId, a.createdAt)
        case .gateCase(let c): ("gateCase", c.parkCode, c.caseNo, c.at)
        case .occupancy(let o): ("occupancy", o.parkCode, "\(o.weekday)", nil)
        }
    }
}

extension Plate: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let plate = Plate(reading: text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a plate")
        }
        self = plate
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(revealed)
    }
}
