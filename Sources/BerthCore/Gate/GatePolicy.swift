/// The part of a reservation that a gate needs: the same at the server and in a lot's local list.
public struct AuthorisedEntry: Sendable, Equatable {
    public var orderNo: String
    public var purpose: Purpose
    public var plate: Plate
    /// Further plates that may come in its place.
    public var otherPlates: [Plate] = []
    public var enterStart: Millis
    public var enterEnd: Millis
    public var entryLimit: Int
    public var entriesUsed: Int
    public var isInForce: Bool
    /// Gates that it may use; empty: all.
    public var gateCodes: [String] = []
    /// It waits for the lot's answer or for its deposit.
    public var isPending = false
    public var isInside = false

    public init(
        orderNo: String, purpose: Purpose, plate: Plate, enterStart: Millis, enterEnd: Millis, entryLimit: Int,
        entriesUsed: Int, isInForce: Bool
    ) {
        self.orderNo = orderNo
        self.purpose = purpose
        self.plate = plate
        self.enterStart = enterStart
        self.enterEnd = enterEnd
        self.entryLimit = entryLimit
        self.entriesUsed = entriesUsed
        self.isInForce = isInForce
    }

    public init(reservation: Reservation) {
        self.init(
            orderNo: reservation.orderNo, purpose: reservation.purpose, plate: reservation.plate, enterStart: reservation.enterStart,
            enterEnd: reservation.enterEnd, entryLimit: reservation.entryLimit, entriesUsed: reservation.entriesUsed,
            isInForce: reservation.status == .booked || reservation.status == .inLot || reservation.status == .done)
        otherPlates = reservation.otherPlates
        gateCodes = reservation.terms.gateCodes
        isPending = reservation.status == .held
        isInside = reservation.status == .inLot
    }

    public func speaks(for plate: Plate) -> Bool { self.plate == plate || otherPlates.contains(plate) }
    var plates: [Plate] { [plate] + otherPlates }
}

/// A car at a gate, as the camera sees it.
public struct GateQuestion: Sendable, Equatable {
    public var plate: Plate
    public var time: Millis
    public var gateCode: String
    /// Per cent; nil where the camera does not say.
    public var confidence: Int?
    /// The reservation whose code a car without a plate shows.
    public var orderNo: String?
    /// Colour code of section 15.2; nil where it is not given.
    public var color: Int?
    /// The picture of the car, where the lot has sent one.
    public var imageId: String?

    public init(plate: Plate, time: Millis, gateCode: String, confidence: Int? = nil, orderNo: String? = nil, color: Int? = nil) {
        self.color = color
        self.plate = plate
        self.time = time
        self.gateCode = gateCode
        self.confidence = confidence
        self.orderNo = orderNo
    }
}

/// The rules and facts in force at a gate, beside the reservations that name a plate.
public struct GateBook: Sendable {
    public var subscriptions: [SharedSubscription] = []
    public var isInside = false
    public var isBlacklisted = false
    public var isWhitelisted = false
    public var isExempt = false
    public var flow = FlowMode.off
    /// The policy that demands it, and its end.
    public var flowNote: RuleNote?
    /// Cars without a reservation in the last five minutes, and the most that are let in.
    public var walkIns = 0
    public var walkInsMax: Int?
    /// The plate is known elsewhere in the city, so it is no misreading.
    public var isKnown = false
    public var calendar = WorkCalendar()
    /// The number of confusable characters in which an almost-match may differ.
    public var fuzzyCharsMax = 0
    public var fuzzyConfidenceMax = 100
    /// Whether a plate that a reading may stand for is on a black list.
    public var isBlack: @Sendable (Plate) -> Bool = { _ in false }

    public init() {}
}

/// The decision at the barrier: the codes of U09.
public enum GateVerdict: Int, Sendable {
    case allow = 1
    /// The lot's own rule decides, because no reservation names this plate.
    case local = 0
    case refuse = -1
}

public struct GateDecision: Sendable, Equatable {
    public var verdict: GateVerdict
    public var refusal: Rejection?
    public var entry: AuthorisedEntry?
    public var subscription: SharedSubscription?
    /// Reservations and subscriptions that an almost-match could mean; one of them was admitted, or the control room is asked.
    public var candidates: [String] = []
    /// Beside a refusal: the rule, and when it ends.
    public var note: RuleNote?

    public init(verdict: GateVerdict, refusal: Rejection?, entry: AuthorisedEntry?, subscription: SharedSubscription? = nil) {
        self.verdict = verdict
        self.refusal = refusal
        self.entry = entry
        self.subscription = subscription
    }
}

/// The policy values that a gate decides by.
public struct GateRules: Sendable, Equatable {
    public var fuzzyCharsMax: Int
    public var fuzzyConfidenceMax: Int
    public var exemptClasses: Int

    public init(_ policy: Policy = Policy()) {
        fuzzyCharsMax = policy.fuzzyCharsMax
        fuzzyConfidenceMax = policy.fuzzyConfidenceMax
        exemptClasses = policy.exemptClasses
    }

    /// As D19 carries it.
    var json: String {
        #"{"exemptClasses":\#(exemptClasses),"fuzzyCharsMax":\#(fuzzyCharsMax),"fuzzyConfidenceMax":\#(fuzzyConfidenceMax)}"#
    }
}

/// Decides whether a plate may enter now. The server's pre-entry check and a gateway that is offline use the same rule.
public enum GatePolicy {
    public static func decide(_ question: GateQuestion, reservations: [AuthorisedEntry], _ book: GateBook) -> GateDecision {
        if book.isBlacklisted { return GateDecision(verdict: .refuse, refusal: .plateBlacklisted, entry: nil) }
        if book.isInside { return GateDecision(verdict: .refuse, refusal: .repeatedEntry, entry: nil) }
        if question.plate.isVirtual, let number = question.orderNo {
            return decide(question, named: number, reservations: reservations, book)
        }
        let own = decideExact(question, reservations: reservations, book)
        if own.verdict == .allow { return own }
        if book.isExempt || book.isWhitelisted { return GateDecision(verdict: .allow, refusal: nil, entry: nil) }
        if own.verdict == .refuse { return own }
        // A known plate is no misreading of another one.
        let isKnown =
            book.isKnown || reservations.contains { $0.speaks(for: question.plate) }
            || book.subscriptions.contains { $0.plates.contains(question.plate) }
        if !isKnown, let almost = decideAlmost(question, reservations: reservations, book) { return almost }
        // A car without a reservation: first flow control decides, then the lot's own rule.
        var isTurnedAway = book.flow == .bookingOnly || book.flow == .closed
        if book.flow == .throttle, let most = book.walkInsMax { isTurnedAway = book.walkIns >= most }
        guard isTurnedAway else { return own }
        var decision = GateDecision(verdict: .refuse, refusal: .flowControlActive, entry: nil)
        decision.note = book.flowNote
        return decision
    }

    /// Decides for a car that uses a reservation or subscription by other means than its plate: its code, or the control room's decision.
    public static func decide(_ question: GateQuestion, named number: String, reservations: [AuthorisedEntry], _ book: GateBook)
        -> GateDecision
    {
        if book.isBlacklisted { return GateDecision(verdict: .refuse, refusal: .plateBlacklisted, entry: nil) }
        if book.isInside { return GateDecision(verdict: .refuse, refusal: .repeatedEntry, entry: nil) }
        var refusal: Rejection?
        if let entry = reservations.first(where: { $0.orderNo == number }) {
            refusal = entry.isPending ? .approvalPending : entry.isInForce ? refuse(entry, question) : .orderCancelled
            if entry.isInside { refusal = .entriesUsedUp }
            if entry.plates.contains(where: book.isBlack) { refusal = .plateBlacklisted }
            var decision = GateDecision(verdict: refusal == nil ? .allow : .refuse, refusal: refusal, entry: entry)
            decision.note = refusal.flatMap { note($0, entry) }
            return decision
        }
        guard let subscription = book.subscriptions.first(where: { $0.authNo == number }) else {
            return GateDecision(verdict: .refuse, refusal: .orderNotFound, entry: nil)
        }
        refusal = refuse(subscription, plate: subscription.plates[0], at: question.time, book.calendar)
        if subscription.insidePlate != nil { refusal = .sharedSpaceOccupied }
        if subscription.plates.contains(where: book.isBlack) { refusal = .plateBlacklisted }
        return GateDecision(
            verdict: refusal == nil ? .allow : .refuse, refusal: refusal, entry: nil, subscription: subscription)
    }

    /// The time of a reservation's window that a refusal is about.
    private static func note(_ refusal: Rejection, _ entry: AuthorisedEntry) -> RuleNote? {
        switch refusal {
        case .tooEarlyToEnter: RuleNote("enterStart", until: entry.enterStart)
        case .tooLateToEnter: RuleNote("enterEnd", until: entry.enterEnd)
        case .entriesUsedUp: RuleNote("entriesPerOrder", used: entry.entriesUsed, max: entry.entryLimit)
        default: nil
        }
    }

    private static func decideExact(_ question: GateQuestion, reservations: [AuthorisedEntry], _ book: GateBook) -> GateDecision {
        var best: GateDecision?
        for entry in reservations.filter({ $0.speaks(for: question.plate) }).sorted(by: { $0.enterStart < $1.enterStart }) {
            if entry.isPending {
                if question.time <= entry.enterEnd {
                    best = best ?? GateDecision(verdict: .refuse, refusal: .approvalPending, entry: entry)
                }
                continue
            }
            guard entry.isInForce else { continue }
            guard let refusal = refuse(entry, question) else { return GateDecision(verdict: .allow, refusal: nil, entry: entry) }
            // The reason that helps the driver most is kept: a window still to come rather than one that is over.
            if best == nil || refusal == .tooEarlyToEnter || refusal == .gateNotCovered {
                best = GateDecision(verdict: .refuse, refusal: refusal, entry: entry)
                best?.note = note(refusal, entry)
            }
        }
        for subscription in book.subscriptions where subscription.plates.contains(question.plate) {
            guard let refusal = refuse(subscription, plate: question.plate, at: question.time, book.calendar) else {
                return GateDecision(verdict: .allow, refusal: nil, entry: nil, subscription: subscription)
            }
            if best == nil { best = GateDecision(verdict: .refuse, refusal: refusal, entry: nil, subscription: subscription) }
        }
        guard let best else { return GateDecision(verdict: .local, refusal: nil, entry: nil) }
        // A right that is used up or has ended does not prevent an ordinary visit.
        switch best.refusal {
        case .entriesUsedUp: if let entry = best.entry, question.time <= entry.enterEnd { return best }
        case .subscriptionExpired, .lateDepartureStrikes, .outsideSegment: break
        default: return best
        }
        var local = GateDecision(verdict: .local, refusal: best.subscription == nil ? nil : best.refusal, entry: nil)
        local.subscription = best.subscription
        return local
    }

    private static func refuse(_ entry: AuthorisedEntry, _ question: GateQuestion) -> Rejection? {
        // The first car of a group is inside: the others wait until it has left.
        if entry.isInside, !entry.otherPlates.isEmpty, entry.purpose == .shared { return .sharedSpaceOccupied }
        if entry.entryLimit >= 0, entry.entriesUsed >= entry.entryLimit { return .entriesUsedUp }
        if question.time < entry.enterStart { return .tooEarlyToEnter }
        if question.time > entry.enterEnd { return .tooLateToEnter }
        if !entry.gateCodes.isEmpty, !entry.gateCodes.contains(question.gateCode) { return .gateNotCovered }
        return nil
    }

    /// The reason for which a car may not use a subscription at this moment; nil when it may.
    static func refuse(_ subscription: SharedSubscription, plate: Plate, at time: Millis, _ calendar: WorkCalendar) -> Rejection? {
        switch subscription.status {
        case .pending: return .approvalPending
        case .active, .inUse: break
        case .terminated: return .lateDepartureStrikes
        case .suspended, .cancelled, .rejected: return .subscriptionExpired
        case .expired: return .subscriptionExpired
        }
        guard subscription.plates.contains(plate) else { return .plateDiffers }
        if time < subscription.validFrom { return .outsideSegment }
        if time >= subscription.validTo { return .subscriptionExpired }
        if let inside = subscription.insidePlate, inside != plate { return .sharedSpaceOccupied }
        if !subscription.quietHours.isEmpty, RecurringWindow.span(subscription.quietHours, holding: time, calendar) != nil {
            return .quietHours
        }
        if RecurringWindow.span(subscription.segments, holding: time, calendar) == nil { return .outsideSegment }
        return nil
    }

    /// Decides for a reading that is no known plate but nearly one: a single candidate is admitted, several go to the control room.
    private static func decideAlmost(_ question: GateQuestion, reservations: [AuthorisedEntry], _ book: GateBook) -> GateDecision? {
        guard book.fuzzyCharsMax > 0, (question.confidence ?? 0) <= book.fuzzyConfidenceMax else { return nil }
        func isNear(_ plates: [Plate]) -> Bool {
            plates.contains { plate in
                question.plate.misreadings(as: plate).map { $0 > 0 && $0 <= book.fuzzyCharsMax } == true && !book.isBlack(plate)
            }
        }
        let entries = reservations.filter { $0.isInForce && !$0.isInside && isNear($0.plates) && refuse($0, question) == nil }
        let subscriptions = book.subscriptions.filter { subscription in
            isNear(subscription.plates) && subscription.insidePlate == nil
                && refuse(subscription, plate: subscription.plates[0], at: question.time, book.calendar) == nil
        }
        let candidates = entries.map(\.orderNo) + subscriptions.map(\.authNo)
        guard !candidates.isEmpty else { return nil }
        var decision = GateDecision(verdict: .refuse, refusal: .plateDiffers, entry: nil)
        if candidates.count == 1 {
            decision = GateDecision(verdict: .allow, refusal: nil, entry: entries.first, subscription: subscriptions.first)
        }
        decision.candidates = candidates.sorted()
        return decision
    }
}
