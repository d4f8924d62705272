/// The answer to a command, for the caller.
public indirect enum Outcome: Sendable, Equatable {
    case done
    case reservation(Reservation, isRepeat: Bool)
    case cancelled(Reservation, isBreach: Bool, leftToday: Int, leftThisMonth: Int)
    case recorded(recordNo: String, ReservationStatus?, isRepeat: Bool)
    case filed(Int)
    case subscribed(Int)
    case bound(Plate)
    /// The message is in the lot's down log at this position.
    case posted(epoch: String, seq: Int64)
    case paid(Payment, isRepeat: Bool)
    case refunded(Payment, refundNo: String, amountFen: Int64, isRepeat: Bool)
    case refused(Rejection)
    /// Recorded, but with a code: an exit without an entry is accepted as a pair (1501).
    case recordedWith(Rejection, recordNo: String)
    case entity(Entity)
    /// A subscription and its fee; the subscription says until when the fee is to be paid.
    case share(SharedSubscription, feeFen: Int64)
    /// Closing this offer would hit these reservations and subscriptions: nothing has been done yet.
    case consequences(SharedOffer, reservations: [Reservation], subscriptions: [SharedSubscription], costFen: Int64)
    case gate(GateDecision, caseNo: String?)
    case withdrawn(reference: String, fen: Int64, left: Int64)
}

extension Outcome {
    public var refusal: Rejection? { if case .refused(let refusal) = self { refusal } else { nil } }
}

/// Another lot with room in the window that was asked for.
public struct Alternative: Sendable, Equatable {
    public var parkCode: String
    public var name: String
    public var purpose: Purpose
    public var metres: Int
    public var walkMin: Int
    public var planTime: Millis
    /// Minutes of fee relief that come with it.
    public var freeMin: Int
}

/// All consequences of one command. They are committed together, and only then is the command answered.
public struct Decision: Sendable {
    public var outcome: Outcome
    public var events: [Event]
    /// Beside a refusal.
    public var note: RuleNote?
    /// Unusual features of a record that was taken all the same: `unreadPlate`, `unknownGate`, `timeAhead`, `exitMissed`.
    public var flags: [String] = []
    public var alternatives: [Alternative] = []

    public init(_ outcome: Outcome, _ events: [Event] = []) {
        self.outcome = outcome
        self.events = events
    }

    public init(_ refusal: Rejection, _ note: RuleNote) {
        self.init(.refused(refusal))
        self.note = note
    }
}
