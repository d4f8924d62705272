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
    /// The time until which it waits for its payment or its review.
    public var holdDeadline: Millis?
    public var billNo: String?
    public var createdAt: Millis
    public var recordNo: String?
    public var insidePlate: Plate?
    /// The time by which the car that is inside must leave.
    public var leaveBy: Millis?
    public var isLate = false
    /// A renewal that waits for its payment.
    public var renewTo: Millis?
    /// The amount paid for its time and not refunded, fen.
    public var paidFen: Int64?
    /// The amount paid for it and refunded, fen.
    public var refundedFen: Int64?
    /// Why it ended: "user", "offerClosed", "expired", or the words of the operator.
    public var endReason: String?
    /// The last payment for it.
    public var payNo: String?
    /// The time to leave of which the driver has been reminded, and the minutes before it at which the reminder is due.
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
