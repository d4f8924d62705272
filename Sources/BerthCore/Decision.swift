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
    case noBill, noPaymentNeeded, billExpired, amountMismatch, alreadyPaid, paymentFailed, refundNotAllowed, refundTooLarge
}

extension Rejection {
    /// What a refusal of a user's wish rests on where nothing more exact is said: the field or state that speaks against it.
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

/// A wish of a driver, already understood.
public struct Booking: Sendable {
    public var appId: String
    public var clientOrderNo: String
    public var requestHash: String
    public var userToken: String
    public var plate: Plate
    public var plateColor: Int
    public var parkCode: String
    public var purpose: Purpose
    public var planTime: Millis
    public var mobile: String
    public var extNo: String?
    /// Waits where it is full (候补).
    public var waits = false
    public var otherPlates: [Plate] = []
    public var pool: Pool?
    public var offerId: String?
    /// How long he wants to stay in a shared place, minutes.
    public var stayMin: Int?
    public var seats: Int?
    public var heightMm: Int?
    /// Plate category (section 15.3).
    public var plateType: String?

    public init(
        appId: String, clientOrderNo: String, requestHash: String, userToken: String, plate: Plate, plateColor: Int,
        parkCode: String, purpose: Purpose, planTime: Millis, mobile: String, extNo: String?
    ) {
        self.appId = appId
        self.clientOrderNo = clientOrderNo
        self.requestHash = requestHash
        self.userToken = userToken
        self.plate = plate
        self.plateColor = plateColor
        self.parkCode = parkCode
        self.purpose = purpose
        self.planTime = planTime
        self.mobile = mobile
        self.extNo = extNo
    }
}

/// An entry or exit as the lot reports it. An exit carries its entry's time too.
public struct Passage: Sendable {
    public var recordNo: String
    public var plate: Plate
    public var gateCode: String
    public var enterTime: Millis
    public var carKind: Int
    public var orderNo: String?
    public var leaveTime: Millis?
    public var exitGateCode: String?
    public var feeFen: Int64
    /// U10 `enterMode`: 4 is a QR code, 5 tailgating.
    public var enterMode = 1
    public var vehicleClass = 0
    /// What the lot took for it (U11 `payments[]`).
    public var payments: [Payment] = []
    /// How many places the lot counts after the passage (U10 `remain`).
    public var remain: Remaining?
    /// U11 `leaveKind` 5: the driver left without paying.
    public var isInArrears = false

    public init(
        recordNo: String, plate: Plate, gateCode: String, enterTime: Millis, carKind: Int, orderNo: String?,
        leaveTime: Millis? = nil, exitGateCode: String? = nil, feeFen: Int64 = 0
    ) {
        self.recordNo = recordNo
        self.plate = plate
        self.gateCode = gateCode
        self.enterTime = enterTime
        self.carKind = carKind
        self.orderNo = orderNo
        self.leaveTime = leaveTime
        self.exitGateCode = exitGateCode
        self.feeFen = feeFen
    }
}

/// What the lot says of an order (`reservation.status.report`).
public enum LotStatement: Int, Sendable {
    case accepted = 2
    case refused = 3
    case arrived = 4
    case left = 5
    case overstay = 6
    case notArrived = 7
    case revoked = 8
}

/// What can be asked of the rules. Time comes with it, never from a clock.
public enum Command: Sendable {
    case register(parkCode: String)
    /// Sets values of one scope; those that are not named stay.
    case setPolicy(PolicyScope, [String: String])
    /// `info`: the whole report, of which the profile is what the rules need.
    case openLot(LotProfile, info: KeptRecord? = nil)
    /// `kept`: the gates as they were reported.
    case reportGates(parkCode: String, upsert: [Gate], delete: [String], kept: [KeptRecord] = [])
    case reportRemaining(parkCode: String, Remaining)
    case create(Booking)
    case modify(appId: String, orderNo: String, planTime: Millis?, plate: Plate?, plateColor: Int?)
    case cancel(appId: String, orderNo: String, confirmBreach: Bool)
    case enter(parkCode: String, Passage)
    case exit(parkCode: String, Passage)
    case state(parkCode: String, orderNo: String, orderVer: Int64, LotStatement, at: Millis, recordNo: String?)
    /// An event of a lot's own log: its time is evidence.
    case notice(LotEvent)
    /// An event that the server itself found: evidence of nothing. `parkCode` "" where it belongs to no lot.
    case raise(LotEvent)
    /// A lot's down log begins anew in an epoch that it has never had, with everything in force (section 5.6): the lot knows more of the old one
    /// than this city does, or the store was restored.
    case renewDown(parkCode: String, epoch: String)
    /// As `correct`, of a record whose first report was refused in part: the car may still be inside.
    case mend(parkCode: String, recordNo: String, Correction)
    /// A record that could not be taken shows that a car was there: nothing is held against its order.
    case dispute(parkCode: String, plate: Plate?, orderNo: String?, time: Millis, recordNo: String)
    /// What is reported and kept by name. `knownBy`: the kind under which each key must be known.
    /// `tariff`, `entries`: what a kept report says, as the rules compute with it; entries of a list by plate.
    case file(
        parkCode: String, [KeptRecord], replaces: String?, knownBy: String?, notice: LotEvent?, tariff: LotTariff? = nil,
        entries: [String: ListEntry] = [:])
    /// A message of an operator for a lot's down log, and what it sets there.
    case post(parkCode: String, service: String, body: String, sets: KeptRecord?)
    case correct(parkCode: String, recordNo: String, Correction)
    case bind(appId: String, userToken: String, plate: Plate, body: String)
    case delay(appId: String, orderNo: String)
    case leaveWaitlist(appId: String, orderNo: String)
    case appeal(appId: String, penaltyId: String, text: String, images: [String])
    case answerAppeal(appealId: String, isGranted: Bool, answer: String)
    case setCalendarDay(CalendarDay)
    // Sharing.
    case publishOffer(SharedOffer)
    case reviewOffer(parkCode: String, offerId: String, isPassed: Bool, remark: String)
    case updateOffer(appId: String, offerId: String, segments: [RecurringWindow]?, price: SharePrice?, isConfirmed: Bool = false)
    case closeOffer(appId: String, offerId: String, isConfirmed: Bool)
    /// What a lot reports of offers of its own (U16).
    case reportOffers(parkCode: String, [SharedOffer], gone: [String])
    case subscribeShare(SharedSubscription, months: Int)
    case endShare(appId: String, authNo: String)
    case renewShare(appId: String, authNo: String, validTo: Millis)
    case reviewShare(parkCode: String, authNo: String, isPassed: Bool, remark: String)
    case withdrawIncome(appId: String, providerToken: String, fen: Int64, reference: String)
    // Public service.
    case setPlace(PublicPlace)
    case makeAppointment(Appointment)
    case moveAppointment(appId: String, extNo: String, to: Millis)
    case cancelAppointment(appId: String, extNo: String)
    // Flow control.
    case setArea(FlowArea)
    case setFlow(FlowPolicy)
    /// The same for one lot, as a message of its down log (D18 by an operator); and an authorisation of his (D05, D06).
    case pushFlow(FlowPolicy)
    case pushShare(SharedSubscription)
    case revokeShare(parkCode: String, authNo: String, authVer: Int64, reason: String)
    case setOccupancy([OccupancyProfile])
    /// A list entry for every lot of a group, or of the city.
    case list(ListScope, service: String, body: String, kind: String, plate: Plate, ListEntry?, kept: String, isExempt: Bool)
    // At the gate.
    case check(parkCode: String, GateQuestion)
    case decideCase(parkCode: String, caseNo: String, orderNo: String?, by: String)
    /// A18: remaining spaces of these lots, each told at most once in so many seconds; replaces what the provider had.
    case subscribe(appId: String, parkCodes: [String], minSeconds: Int)
    /// How far a lot's onboarding is, and for what it may be booked.
    case setStage(parkCode: String, LotStage, opened: Set<Purpose>)
    /// A key that is good once: a redirect's nonce.
    case useOnce(key: String)
    /// What became of telling a provider (A17).
    case settleNotification(ProviderNotification, isDelivered: Bool)
    case reviveNotification(appId: String, key: String)
    /// Changes nothing; the caller knows the answer.
    case nothing
    case takeIn(Payment)
    case bill(Bill)
    /// `parkCode`: of the lot, where the caller names one; "" otherwise.
    case pay(appId: String, parkCode: String, billNo: String, payNo: String, amountFen: Int64, channel: String, requestHash: String)
    /// The channel's word on a payment; `message` is what its lot is told (D11).
    case conclude(appId: String, payNo: String, isPaid: Bool, message: String)
    /// `message` is what the lot is told (D12).
    case refund(appId: String, payNo: String, refundNo: String, amountFen: Int64, message: String)
    /// The lot's answers to entries of its down log. `assumesRest`: entries up to `ackSeq` without a result were accepted.
    case settle(parkCode: String, epoch: String, ackSeq: Int64, [DownResult], assumesRest: Bool)
    /// Everything of a lot that has fallen due.
    case expire(parkCode: String)
}

/// For which lots a list entry holds (D07 `scope`).
public enum ListScope: Sendable, Equatable {
    case lot(String)
    /// Every lot of the group of this one.
    case group(of: String)
    case city
}

/// The lot's answer to one entry of the down log.
public struct DownResult: Sendable, Equatable {
    public var seq: Int64
    public var isAccepted: Bool

    public init(seq: Int64, isAccepted: Bool) {
        self.seq = seq
        self.isAccepted = isAccepted
    }
}

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

/// A message to a lot, before the wire gives it words.
public indirect enum LotMessage: Sendable, Equatable {
    case reserve(Reservation)
    case modify(Reservation)
    case cancel(orderNo: String, orderVer: Int64, CancelType)
    /// D05, D06.
    case authorise(SharedSubscription)
    case revoke(authNo: String, authVer: Int64, reason: String)
    /// D18, with the mode that is demanded now.
    case flow(FlowPolicy, FlowMode)
    /// A message that the core only carries: its service, and its data in canonical JSON.
    case relay(service: String, body: String)

    /// The order that the message is about; "" where it is about none.
    public var orderNo: String {
        switch self {
        case .reserve(let reservation), .modify(let reservation): reservation.orderNo
        case .cancel(let orderNo, _, _): orderNo
        case .relay, .authorise, .revoke, .flow: ""
        }
    }
}

/// Why a lot is told to drop an order (D03 `cancelType`).
public enum CancelType: Int, Sendable {
    case user = 1
    case breach = 2
    case noShow = 3
    case server = 4
    case appointment = 5
}

/// One entry of a lot's down log.
public struct DownEntry: Sendable, Equatable {
    public var parkCode: String
    public var epoch: String
    public var seq: Int64
    public var at: Millis
    public var message: LotMessage

    public init(parkCode: String, epoch: String, seq: Int64, at: Millis, message: LotMessage) {
        self.parkCode = parkCode
        self.epoch = epoch
        self.seq = seq
        self.at = at
        self.message = message
    }
}

/// What happened. Each event carries the whole new value of what it names, so the journal can be read back without the rules.
/// Boxed: an event is passed along many hands and copied by none.
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

/// The answer to a command, for the caller.
public indirect enum Outcome: Sendable, Equatable {
    case done
    case reservation(Reservation, isRepeat: Bool)
    case cancelled(Reservation, isBreach: Bool, leftToday: Int, leftThisMonth: Int)
    case recorded(recordNo: String, ReservationStatus?, isRepeat: Bool)
    case filed(Int)
    case subscribed(Int)
    case bound(Plate)
    /// Stands in the lot's down log at this place.
    case posted(epoch: String, seq: Int64)
    case paid(Payment, isRepeat: Bool)
    case refunded(Payment, refundNo: String, amountFen: Int64, isRepeat: Bool)
    case refused(Rejection)
    /// Recorded, but with a code: an exit without an entry is accepted as a pair (1501).
    case recordedWith(Rejection, recordNo: String)
    case entity(Entity)
    /// A subscription, what it costs, and until when that is to be paid.
    case share(SharedSubscription, feeFen: Int64)
    /// Closing this offer would hit these orders and subscriptions: nothing has been done yet.
    case consequences(SharedOffer, reservations: [Reservation], subscriptions: [SharedSubscription], costFen: Int64)
    case gate(GateDecision, caseNo: String?)
    case withdrawn(reference: String, fen: Int64, left: Int64)
}

extension Outcome {
    public var refusal: Rejection? { if case .refused(let refusal) = self { refusal } else { nil } }
}

/// Which rule refused, how far its counter is, and when it ends: what a person is told beside the code.
public struct RuleNote: Sendable, Equatable {
    /// Name of the policy value.
    public var rule: String
    public var used: Int?
    public var max: Int?
    /// From when it is different.
    public var until: Millis?

    private static let never: Millis = 9_000_000_000_000_000

    public init(_ rule: String, used: Int? = nil, max: Int? = nil, until: Millis? = nil) {
        self.rule = rule
        self.used = used
        self.max = max
        // What ends never has no end to name.
        self.until = until.flatMap { $0 < RuleNote.never ? $0 : nil }
    }
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

/// All that follows from one command: to be committed whole, and only then answered.
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

/// What the rules ask of the past, beyond what is in memory: ended orders and visits. Reads only, without waiting.
public protocol History {
    func reservation(_ orderNo: String) -> Reservation?
    func reservation(appId: String, clientOrderNo: String) -> Reservation?
    func visit(parkCode: String, recordNo: String) -> Visit?
    /// - Parameter key: ``Payment/key``.
    func payment(key: String) -> Payment?
}

/// A history that remembers nothing.
public struct NoHistory: History {
    public init() {}
    public func reservation(_ orderNo: String) -> Reservation? { nil }
    public func reservation(appId: String, clientOrderNo: String) -> Reservation? { nil }
    public func visit(parkCode: String, recordNo: String) -> Visit? { nil }
    public func payment(key: String) -> Payment? { nil }
}
