/// Every reason to refuse that the rules know. Each has one row of the same name in the profile's code dictionary.
public enum Rejection: String, Error, Sendable, CaseIterable {
    case lotNotRegistered, reservationNotEnabled, lotClosed, lotIncomplete, unknownGate
    case plateColorMismatch
    case notOpenYet, noBookableSpace, dailyLimit, cancelLimit, overlappingBooking, tooLate
    case orderNotFound, orderCancelled, orderFinished, notCancellable, breachNeedsConfirm, modifyAfterEntry
    case tooEarlyToEnter, tooLateToEnter, entriesUsedUp, plateDiffers, repeatedEntry, noEntryRecord
    case sharingNotEnabled, appointmentNotFound
    case enterTimeDiffers, exitWithoutEntry, countersInconsistent
    case newerVersionExists, wrongState, keyReused
    case unknownSpace, plateBlacklisted, correctionWhileInside, delayNotAllowed, plateBoundElsewhere
    case nonceRepeated, noShowBan
    case vehicleNotAdmitted, notWhitelisted, exemptVehicle, flowControlActive
    case saturated, yearlyBlacklist, approvalPending, poolEmpty, waitlistFull, waitlistClosed, gateNotCovered
    case offerUnderAudit, offerClosed, segmentOverlap, sharedSpaceOccupied, outsideSegment, quietHours, subscriptionExpired
    case lateDepartureStrikes, providerNotCertified, platformBilled
    case appointmentCancelled, appointmentUsed, outsideAppointment, publicQuotaUsedUp
    case recordTooOld, notFound, illegalValue
    case ticketInvalid, rateLimited
    /// The lot is stopped, because its own state contradicts itself (``Lot/fault``).
    case maintenance
    case noBill, noPaymentNeeded, billExpired, amountMismatch, alreadyPaid, paymentFailed, refundNotAllowed, refundTooLarge
}

extension Rejection {
    /// The field or state that the refusal of a user's request rests on, where no note is more exact.
    var rule: String? {
        switch self {
        case .reservationNotEnabled, .sharingNotEnabled: "bizType"
        case .lotClosed: "openHours"
        case .plateColorMismatch: "plateColor"
        case .tooLate: "planTime"
        case .noBookableSpace, .poolEmpty, .segmentOverlap: "quota"
        case .overlappingBooking: "overlap"
        case .plateBlacklisted: "blackList"
        case .orderCancelled, .orderFinished, .notCancellable, .modifyAfterEntry, .wrongState, .correctionWhileInside: "status"
        case .delayNotAllowed: "delayMin"
        case .approvalPending: "confirmMode"
        case .offerUnderAudit: "shareReview"
        case .offerClosed: "offerStatus"
        case .outsideSegment: "segments"
        case .quietHours: "quietHours"
        case .sharedSpaceOccupied: "spaceNo"
        case .subscriptionExpired: "periodTo"
        case .lateDepartureStrikes: "shareLateStrikes"
        case .appointmentNotFound, .appointmentCancelled, .appointmentUsed: "extNo"
        case .outsideAppointment: "bizBeforeMin"
        case .publicQuotaUsedUp: "PUBLIC_BIZ"
        case .saturated: "saturation"
        case .billExpired: "expireAt"
        case .amountMismatch: "amount"
        case .alreadyPaid, .noPaymentNeeded, .noBill: "billNo"
        case .refundNotAllowed: "payNo"
        default: nil
        }
    }
}

/// The rule that refused, the state of its counter, and its end: the explanation that a person gets beside the code.
public struct RuleNote: Sendable, Equatable {
    /// Name of the policy value.
    public var rule: String
    public var used: Int?
    public var max: Int?
    /// The time from which it is different.
    public var until: Millis?

    static let never: Millis = 9_000_000_000_000_000

    public init(_ rule: String, used: Int? = nil, max: Int? = nil, until: Millis? = nil) {
        self.rule = rule
        self.used = used
        self.max = max
        // A rule that never ends names no end.
        self.until = until.flatMap { $0 < RuleNote.never ? $0 : nil }
    }
}
