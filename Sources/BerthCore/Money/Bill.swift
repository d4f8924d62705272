// Money that has moved (U22, U23, D11, D12, A13): a payNo pays once, a refundNo refunds once, nobody gets back more than they paid.

/// The amount that a car owes at a moment, as its lot or the server stated it.
public struct Bill: Sendable, Equatable {
    public var billNo: String
    public var parkCode: String
    public var recordNo: String
    public var payableFen: Int64
    public var paidBy: String?
    /// The time after which the fee has to be asked for again.
    public var expireAt: Millis
    /// The reservation whose deposit it is, or the subscription; nil for a stay.
    public var subject: String?
    /// The lot that gave the number; "" for a bill of the city's own (section 2).
    public var giver = ""
    /// Providers that asked for it: nobody else may pay it.
    public var askedBy: [String] = []

    /// Its place among all bills: a number is unique in its giver.
    public static func key(_ giver: String, _ billNo: String) -> String { "\(giver)|\(billNo)" }
    public var key: String { Bill.key(giver, billNo) }

    public init(
        billNo: String, parkCode: String, recordNo: String, payableFen: Int64, expireAt: Millis, subject: String? = nil
    ) {
        self.billNo = billNo
        self.parkCode = parkCode
        self.recordNo = recordNo
        self.payableFen = payableFen
        self.expireAt = expireAt
        self.subject = subject
    }
}

extension City {
    /// The fee of a subscription that is still to be paid, fen; 0 for none.
    public func openFee(of subscription: SharedSubscription) -> Int64 {
        guard let billNo = subscription.billNo, let bill = bills[Bill.key("", billNo)], bill.paidBy == nil else { return 0 }
        return bill.payableFen
    }
}
