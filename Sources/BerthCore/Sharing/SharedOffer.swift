// The entities of standing, sharing, public service and flow control, beside reservations. Each is a whole value that the journal
// carries; a field that is added later is optional, so that old rows can be read.

/// State of a space that is offered for sharing (section 6, `offerStatus`).
public enum OfferStatus: Int, Sendable, Codable {
    case draft = 0
    case underReview = 1
    case open = 2
    case closed = 3
    case inUse = 4
    case withdrawn = 5
}

/// The price of sharing (U16): for one use, for a started hour, or for a month.
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
    /// The reason for which a review did not pass it, or for which it was taken down.
    public var remark: String?

    public init(
        offerId: String, appId: String, providerToken: String, parkCode: String, spaceNo: String?, count: Int, areaCode: String? = nil,
        segments: [RecurringWindow], quietHours: [RecurringWindow] = [], price: SharePrice?, validFrom: Millis, validTo: Millis,
        status: OfferStatus,
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

    /// The number of places that it offers.
    public var unitCount: Int { spaceNo == nil ? max(1, count) : 1 }

    /// The prefix of the names of its places; a space's name has 32 characters at most.
    var unitPrefix: String {
        guard offerId.unicodeScalars.count > 24 else { return offerId + "#" }
        return String(offerId.fingerprint, radix: 16) + "#"
    }

    public var isBookable: Bool { status == .open || status == .inUse }
}
