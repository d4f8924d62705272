/// An event of the dictionary of section 11, reported by a lot or found by the server.
public struct LotEvent: Sendable, Equatable {
    public var parkCode: String
    public var eventType: Int
    public var occurredAt: Millis
    public var orderNo: String?
    public var recordNo: String?
    public var detail: String

    public init(
        parkCode: String, eventType: Int, occurredAt: Millis, orderNo: String? = nil, recordNo: String? = nil,
        detail: String = ""
    ) {
        self.parkCode = parkCode
        self.eventType = eventType
        self.occurredAt = occurredAt
        self.orderNo = orderNo
        self.recordNo = recordNo
        self.detail = detail
    }
}

/// A fact of the journal. Each event carries the whole new value of the thing that it names, so the journal can be read back without the
/// rules. An event is boxed, because it is passed on many times and need not be copied.
public indirect enum Event: Sendable, Equatable {
    case registered(parkCode: String)
    case policy(parkCode: String, Policy)
    case lot(LotProfile)
    case gates(parkCode: String, [Gate])
    case remaining(parkCode: String, Remaining)
    case reservation(Reservation)
    case visit(Visit)
    case notice(LotEvent)
    case report(KeptRecord)
    case bill(Bill)
    case payment(Payment)
    case entity(Entity)
    case posting(Posting)
    case down(DownEntry)
    /// The lot consumed its down log up to `ackSeq`, and answered these entries.
    case downSettled(parkCode: String, epoch: String, ackSeq: Int64, [DownResult])
    case upConsumed(parkCode: String, epoch: String, seq: Int64)
    /// A counted claim on something that one lot cannot see: bookings of a user or plate in a day, cancels in a month.
    case counted(key: String, delta: Int, max: Int)
}
