public enum PaymentState: Int, Sendable {
    case pending = 0
    case paid = 1
    case failed = 2
    case refunded = 3
    case partlyRefunded = 4
}

/// One payment: taken at a lot (`appId` ""), or by a provider.
public struct Payment: Sendable, Equatable {
    public var payNo: String
    public var appId: String
    public var parkCode: String
    public var recordNo: String
    public var billNo: String?
    public var amountFen: Int64
    public var channel: String
    public var state: PaymentState
    public var payTime: Millis?
    public var refundedFen: Int64 = 0
    /// Digest of the request, to tell a repeat from another use of the number.
    public var requestHash: String
    /// The reservation whose deposit it is, or the subscription; nil for a stay.
    public var subject: String?
    /// The accounts that got it, each with its amount; a refund takes it back in the same proportions.
    public var legs: [Posting.Leg] = []
    /// It was part of an exit's record (U11).
    public var cameWithExit = false

    /// Its place among all payments: a number is unique in the provider or lot that gave it (section 2).
    public static func key(_ appId: String, _ parkCode: String, _ payNo: String) -> String {
        appId.isEmpty ? "@\(parkCode)|\(payNo)" : "\(appId)|\(payNo)"
    }
    public var key: String { Payment.key(appId, parkCode, payNo) }

    public init(
        payNo: String, appId: String, parkCode: String, recordNo: String, billNo: String?, amountFen: Int64,
        channel: String, state: PaymentState, payTime: Millis?, requestHash: String
    ) {
        self.payNo = payNo
        self.appId = appId
        self.parkCode = parkCode
        self.recordNo = recordNo
        self.billNo = billNo
        self.amountFen = amountFen
        self.channel = channel
        self.state = state
        self.payTime = payTime
        self.requestHash = requestHash
    }
}
