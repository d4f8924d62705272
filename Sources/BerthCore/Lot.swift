/// The state of one lot: the unit of order, of locking and of sharding.
public struct Lot: Sendable {
    public let parkCode: String
    public internal(set) var profile: LotProfile?
    public internal(set) var policy: Policy
    public internal(set) var stage = LotStage.applied
    /// What it may be booked for, where lots are reviewed.
    public internal(set) var opened: Set<Purpose> = []
    public internal(set) var gates: [String: Gate] = [:]
    public internal(set) var remaining: Remaining?
    /// Orders that are active, and those that ended lately.
    public internal(set) var orders: [String: Order] = [:]
    /// Cars inside, and visits that ended lately, by recordNo.
    public internal(set) var visits: [String: Visit] = [:]
    /// Which record a car inside stands under.
    public internal(set) var inside: [Plate: String] = [:]
    public internal(set) var up = LogPosition()
    public internal(set) var downEpoch: String?
    public internal(set) var downLast: Int64 = 0
    public internal(set) var downAck: Int64 = 0
    /// Entries of the down log whose result is not known yet, and the order that each one carries.
    public internal(set) var awaiting: [Int64: String] = [:]
    /// The lot has told us everything that happened before this time: its log has passed it (section 5.5).
    public internal(set) var passedThrough: Millis = 0
    /// When something of the lot falls due next; `.max` when nothing does.
    public internal(set) var nextDeadline: Millis = .max

    private var pools: [Purpose: Calendar] = [:]
    private var holds: [String: Hold] = [:]
    private var nextExtension: Millis = .max

    struct Hold: Sendable {
        var purpose: Purpose
        var from: Millis
        var to: Millis
        /// The car is inside: the hold grows with the clock until its exit is reported.
        var grows: Bool
    }

    public init(parkCode: String, policy: Policy) {
        self.parkCode = parkCode
        self.policy = policy
    }

    public func quota(_ purpose: Purpose) -> Int { profile?.quotas[purpose] ?? 0 }
    public var occupied: Int { max(inside.count, remaining?.occupied ?? 0) }
    public var saturation: Saturation { Saturation(occupied: occupied, capacity: profile?.totalCount ?? 0) }

    // MARK: Holding places

    /// Lets the hold of every car that is inside beyond its time reach the end of the present step.
    mutating func advance(to now: Millis) {
        guard now >= nextExtension else { return }
        nextExtension = .max
        for (orderNo, hold) in holds where hold.grows {
            var hold = hold
            if hold.to <= now {
                let end = endOfStep(now, hold.purpose)
                pools[hold.purpose]!.add(1, from: hold.to, to: end)
                hold.to = end
                holds[orderNo] = hold
            }
            nextExtension = min(nextExtension, hold.to)
        }
    }

    private func endOfStep(_ now: Millis, _ purpose: Purpose) -> Millis {
        (pools[purpose] ?? Calendar(stepMin: policy.calendarStepMin)).endOfStep(holding: now)
    }

    /// Makes the hold that an order has by its present state, in place of the one it had.
    mutating func rehold(_ order: Order, now: Millis) {
        release(order.orderNo)
        var hold: Hold
        switch order.status {
        case .held, .booked:
            hold = Hold(purpose: order.purpose, from: order.enterStart, to: order.expectedLeave, grows: false)
        case .inLot:
            hold = Hold(
                purpose: order.purpose, from: min(order.enterStart, order.enterTime ?? order.enterStart),
                to: order.expectedLeave, grows: true)
            // On whole steps from here on, so that what is released is what was held.
            if hold.to <= now { hold.to = endOfStep(now, order.purpose) } else { hold.to = endOfStep(hold.to - 1, order.purpose) }
            nextExtension = min(nextExtension, hold.to)
        default: return
        }
        pools[hold.purpose, default: Calendar(stepMin: policy.calendarStepMin)].add(1, from: hold.from, to: hold.to)
        holds[order.orderNo] = hold
    }

    mutating func release(_ orderNo: String) {
        guard let hold = holds.removeValue(forKey: orderNo) else { return }
        pools[hold.purpose]!.add(-1, from: hold.from, to: hold.to)
    }

    /// The most places of a pool held at any moment of the interval, from now on: the past cannot be sold any more.
    func peak(_ purpose: Purpose, from: Millis, to: Millis, now: Millis) -> Int {
        pools[purpose]?.peak(from: max(from, now), to: max(to, now + 1)) ?? 0
    }

    /// Whether one more order may hold the interval: at no moment of it is the pool at, or over, its quota.
    func hasRoom(_ purpose: Purpose, from: Millis, to: Millis, now: Millis) -> Bool {
        peak(purpose, from: from, to: to, now: now) < quota(purpose)
    }

    // MARK: Questions

    /// One slot of `slot.query`: what can still be booked for arrival inside it.
    public struct Slot: Sendable, Equatable {
        public var start: Millis
        public var end: Millis
        public var quota: Int
        /// The least over the arrival times in it that can still be booked; never negative.
        public var remain: Int
        /// By how many places the pool is over its quota at the worst moment (overstays, a lowered quota).
        public var excess: Int
        public var isFull: Bool
        public var reason: Refusal?
    }

    /// The slots of a whole civil day.
    public func slots(_ purpose: Purpose, day: Int64, now: Millis) -> [Slot] {
        let length = Millis(policy.slotMin) * CivilTime.minute
        let dayStart = CivilTime.start(ofDay: day)
        let early = Millis(policy.earlyMin) * CivilTime.minute
        let stay = Millis(policy.stayMin) * CivilTime.minute
        let advance = Millis(policy.advanceMaxMin) * CivilTime.minute
        let quota = quota(purpose)
        return stride(from: dayStart, to: dayStart + CivilTime.dayLength, by: Int(length)).map { start in
            let end = min(start + length, dayStart + CivilTime.dayLength)
            var slot = Slot(start: start, end: end, quota: quota, remain: 0, excess: 0, isFull: true, reason: nil)
            if end <= now {
                slot.reason = .tooLate
            } else if profile?.isOpen(at: max(start, now)) != true {
                slot.reason = .lotClosed
            } else {
                let worst = peak(purpose, from: max(start, now) - early, to: end - 1 + stay, now: now)
                slot.remain = max(0, quota - worst)
                slot.excess = max(0, worst - quota)
                slot.isFull = slot.remain == 0
                slot.reason = slot.isFull ? .noBookableSpace : start > now + advance ? .notOpenYet : nil
            }
            return slot
        }
    }

    /// Places of a pool that nobody holds at this moment.
    public func free(_ purpose: Purpose, at time: Millis) -> Int {
        max(0, quota(purpose) - (pools[purpose]?.peak(from: time, to: time + 1) ?? 0))
    }

    /// By how many places the pool is over its quota at this moment: what overstays, disproved no-shows and a lowered quota may bring about.
    public func excess(_ purpose: Purpose, at time: Millis) -> Int {
        max(0, (pools[purpose]?.peak(from: time, to: time + 1) ?? 0) - quota(purpose))
    }

    /// Orders that the lot must have in its local list now.
    public var inForce: [Order] {
        orders.values.filter { $0.status.isActive }.sorted { $0.serial < $1.serial }
    }

    // MARK: Deadlines

    /// When an order falls due by time alone; nil when time brings nothing about.
    static func deadline(of order: Order) -> Millis? {
        switch order.status {
        case .held: return order.holdDeadline
        case .booked: return order.enterEnd
        case .inLot: return order.overstay ? nil : order.leaveDeadline
        default: return nil
        }
    }

    mutating func noteDeadline(of order: Order) {
        if let deadline = Lot.deadline(of: order) { nextDeadline = min(nextDeadline, deadline) }
    }

    /// Drops what ended a while ago: it is in the store, and every reader of it asks there.
    mutating func forget(endedBefore time: Millis) {
        for (orderNo, order) in orders where !order.status.isActive && order.changedAt < time { orders[orderNo] = nil }
        for (recordNo, visit) in visits {
            if let leave = visit.leaveTime, leave < time, inside[visit.plate] != recordNo { visits[recordNo] = nil }
        }
        for purpose in pools.keys { pools[purpose]!.forget(before: time) }
    }
}
