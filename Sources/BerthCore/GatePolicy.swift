/// What a gate needs to know of an order: the same at the server and in a lot's local list.
public struct AuthorisedEntry: Sendable, Equatable {
    public var orderNo: String
    public var purpose: Purpose
    public var plate: Plate
    public var enterStart: Millis
    public var enterEnd: Millis
    public var entryLimit: Int
    public var entriesUsed: Int
    public var isInForce: Bool

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

    public init(order: Order) {
        self.init(
            orderNo: order.orderNo, purpose: order.purpose, plate: order.plate, enterStart: order.enterStart,
            enterEnd: order.enterEnd, entryLimit: order.entryLimit, entriesUsed: order.entriesUsed,
            isInForce: order.status == .booked || order.status == .inLot || order.status == .done)
    }
}

/// The decision at the barrier: the codes of U09.
public enum GateVerdict: Int, Sendable {
    case allow = 1
    /// Decide by the lot's own rule: no order speaks for this plate.
    case local = 0
    case refuse = -1
}

public struct GateDecision: Sendable, Equatable {
    public var verdict: GateVerdict
    public var refusal: Refusal?
    public var entry: AuthorisedEntry?
}

/// May this plate enter now? One rule for the server's pre-entry check and for a gateway whose line is down.
public enum GatePolicy {
    public static func decide(
        plate: Plate, at time: Millis, gateCode: String, orders: [AuthorisedEntry], isInside: Bool,
        isBlacklisted: Bool = false, isWhitelisted: Bool = false
    ) -> GateDecision {
        if isBlacklisted { return GateDecision(verdict: .refuse, refusal: .plateBlacklisted, entry: nil) }
        if isInside { return GateDecision(verdict: .refuse, refusal: .repeatedEntry, entry: nil) }
        let own = orders.filter { $0.plate == plate && $0.isInForce }.sorted { $0.enterStart < $1.enterStart }
        var best: GateDecision?
        for entry in own {
            let refusal: Refusal? =
                entry.entryLimit >= 0 && entry.entriesUsed >= entry.entryLimit
                ? .entriesUsedUp : time < entry.enterStart ? .tooEarlyToEnter : time > entry.enterEnd ? .tooLateToEnter : nil
            guard let refusal else { return GateDecision(verdict: .allow, refusal: nil, entry: entry) }
            // The reason that helps the driver most: what is still to come before what is over.
            if best == nil || refusal == .tooEarlyToEnter {
                best = GateDecision(verdict: .refuse, refusal: refusal, entry: entry)
            }
        }
        if isWhitelisted { return GateDecision(verdict: .allow, refusal: nil, entry: nil) }
        // What is used up or long over does not stand in the way of an ordinary visit.
        if let best, best.refusal == .tooEarlyToEnter || best.refusal == .tooLateToEnter { return best }
        if let best, best.refusal == .entriesUsedUp, let entry = best.entry, time <= entry.enterEnd { return best }
        return GateDecision(verdict: .local, refusal: nil, entry: nil)
    }
}
