/// The state of one lot: the unit of order, of locking and of sharding.
public struct Lot: Sendable {
    public let parkCode: String
    public internal(set) var profile: LotProfile?
    public internal(set) var policy: Policy
    public internal(set) var stage = LotStage.applied
    /// What it may be booked for, where lots are reviewed.
    public internal(set) var opened: Set<Purpose> = []
    public internal(set) var gates: TextTable<Gate> = [:]
    public internal(set) var remaining: Remaining?
    /// Orders that are active, and those that ended lately.
    public internal(set) var reservations = ReservationTable()
    /// Cars inside, and visits that ended lately, by recordNo.
    public internal(set) var visits: TextTable<Visit> = [:]
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

    /// Subscriptions and offers of this lot, by number.
    public internal(set) var offers: TextTable<SharedOffer> = [:]
    public internal(set) var subscriptions: TextTable<SharedSubscription> = [:]
    /// The policy of each product; what differs by product only.
    var productPolicies: [Purpose: Policy] = [:]
    /// The newest version of the overrides that its policies come from.
    public internal(set) var policyVersion: Int64 = 0
    /// Quotas that policies set in place of what the lot opened.
    var poolRules: [PoolRule] = []
    var tariffs: [LotTariff] = []
    /// How the lot usually fills, by weekday.
    public internal(set) var occupancy: [Int: OccupancyProfile] = [:]
    /// Which level of saturation was told last (events 4001 to 4003).
    var toldLevel = 0
    /// Cars that came without an order, lately: for the throttle.
    var walkIns: [Millis] = []

    private var pools: [Pool: CapacityCalendar] = [:]
    /// Of appointments and subscriptions, by their numbers; what an order holds stands with the order.
    private var holds: TextTable<Hold> = [:]
    private(set) var spaces = SpaceCalendar()
    private var nextExtension: Millis = .max

    struct Hold: Sendable {
        var pool: Pool
        var space: String?
        var from: Millis
        var to: Millis
        /// The car is inside: the hold grows with the clock until its exit is reported.
        var grows: Bool
    }

    public init(parkCode: String, policy: Policy) {
        self.parkCode = parkCode
        self.policy = policy
    }

    public func policy(_ purpose: Purpose) -> Policy { productPolicies[purpose] ?? policy }
    /// What the lot opened to a business.
    public func quota(_ purpose: Purpose) -> Int { profile?.quotas[purpose] ?? 0 }
    public var occupied: Int { max(inside.count, remaining?.occupied ?? 0) }
    public var saturation: Saturation { Saturation(occupied: occupied, capacity: profile?.totalCount ?? 0) }

    // MARK: Quotas

    private func opened(_ pool: Pool) -> Int {
        switch pool {
        case .personal: quota(.reservation)
        case .publicService: quota(.publicService)
        case .shared: quota(.shared)
        case .merchant, .charging, .walkIn, .rolling: 0
        }
    }

    /// Places of a pool at a moment: what a policy says, else what the lot opened.
    public func quota(_ pool: Pool, at time: Millis) -> Int {
        poolRules.last { $0.pool == pool && !$0.spans(from: time, to: time + 1).isEmpty }?.count ?? opened(pool)
    }

    /// Whether a policy names the pool at some moment of the interval: then its being full is 1110 and not 1101.
    func isNamed(_ pool: Pool, from: Millis, to: Millis) -> Bool {
        poolRules.contains { $0.pool == pool && !$0.spans(from: from, to: to).isEmpty }
    }

    /// The interval cut where quotas change.
    private func pieces(from: Millis, to: Millis) -> [Window] {
        var cuts: Set<Millis> = [from]
        for span in poolRules.flatMap({ $0.spans(from: from, to: to) }) {
            if span.from > from { cuts.insert(span.from) }
            if span.to < to { cuts.insert(span.to) }
        }
        let points = cuts.sorted() + [to]
        return zip(points, points.dropFirst()).map { Window($0, $1) }
    }

    // MARK: Holding places

    /// Lets the hold of every car that is inside beyond its time reach the end of the present step.
    package mutating func advance(to now: Millis) {
        guard now >= nextExtension else { return }
        nextExtension = .max
        for (reservation, hold) in reservations.holds where hold.grows {
            guard let longer = extended(hold, now) else { continue }
            unplace(hold, reservation.orderNo)
            place(longer, reservation.orderNo)
            reservations.set(longer, of: reservation.serial)
        }
        for (holder, hold) in holds where hold.grows {
            guard let longer = extended(hold, now) else { continue }
            unplace(hold, holder)
            place(longer, holder)
            holds[holder] = longer
        }
    }

    /// A hold that has run out, up to the end of the present step; nil while it has time.
    private mutating func extended(_ hold: Hold, _ now: Millis) -> Hold? {
        var longer = hold
        if hold.to <= now { longer.to = endOfStep(now) }
        nextExtension = min(nextExtension, longer.to)
        return hold.to <= now ? longer : nil
    }

    private func endOfStep(_ now: Millis) -> Millis {
        let step = Millis(policy.calendarStepMin) * CivilTime.minute
        return (floorDiv(now, step) + 1) * step
    }

    private mutating func place(_ hold: Hold, _ holder: String) {
        if let space = hold.space {
            spaces.hold(space, Window(hold.from, hold.to), for: holder)
        } else {
            pools[hold.pool, default: CapacityCalendar(stepMin: policy.calendarStepMin)].add(1, from: hold.from, to: hold.to)
        }
    }

    private mutating func unplace(_ hold: Hold, _ holder: String) {
        if let space = hold.space {
            spaces.release(space, of: holder)
        } else {
            pools[hold.pool]!.add(-1, from: hold.from, to: hold.to)
        }
    }

    /// Makes the hold that an order of the lot has by its present state, in place of the one it had.
    mutating func rehold(_ reservation: Reservation, now: Millis) {
        release(reservation)
        let hold = hold(of: reservation, now: now)
        if let hold { place(hold, reservation.orderNo) }
        reservations.set(hold, of: reservation.serial)
    }

    /// Ends what an order holds, until ``rehold(_:now:)``.
    mutating func release(_ reservation: Reservation) {
        guard let hold = reservations.hold(of: reservation.serial) else { return }
        unplace(hold, reservation.orderNo)
        reservations.set(nil, of: reservation.serial)
    }

    private mutating func hold(of reservation: Reservation, now: Millis) -> Hold? {
        var hold = Hold(pool: reservation.pool, space: reservation.spaceNo, from: reservation.enterStart, to: reservation.expectedLeave, grows: false)
        switch reservation.status {
        case .held, .booked: return hold
        case .inLot:
            // What is long past is no hold any more.
            hold.from = max(min(reservation.enterStart, reservation.enterTime ?? reservation.enterStart), reservation.enterStart - CivilTime.dayLength)
            hold.grows = true
            // On whole steps from here on, so that what is released is what was held.
            if hold.to <= now { hold.to = endOfStep(now) } else if hold.space == nil { hold.to = endOfStep(hold.to - 1) }
            nextExtension = min(nextExtension, hold.to)
            return hold
        default: return nil
        }
    }

    /// Ends what an appointment or a subscription holds.
    mutating func release(_ holder: String) {
        guard let hold = holds.removeValue(forKey: holder) else { return }
        unplace(hold, holder)
    }

    private mutating func hold(_ hold: Hold, for holder: String) {
        place(hold, holder)
        holds[holder] = hold
    }

    /// Keeps a place of a pool for something that is not an order: the right of an appointment.
    mutating func keep(_ holder: String, _ pool: Pool, _ span: Window?) {
        release(holder)
        guard let span else { return }
        hold(Hold(pool: pool, space: nil, from: span.from, to: span.to, grows: false), for: holder)
    }

    /// Keeps all the times of a subscription.
    mutating func hold(_ spans: [Window], for subscription: SharedSubscription) {
        drop(spansOf: subscription.authNo)
        for (index, span) in spans.enumerated() {
            let holder = index == 0 ? subscription.authNo : "\(subscription.authNo)#\(index)"
            if let space = subscription.spaceNo {
                spaces.hold(space, span, for: subscription.authNo)
            } else {
                pools[.shared, default: CapacityCalendar(stepMin: policy.calendarStepMin)].add(1, from: span.from, to: span.to)
                holds[holder] = Hold(pool: .shared, space: nil, from: span.from, to: span.to, grows: false)
            }
        }
        subscriptionSpaces[subscription.authNo] = subscription.spaceNo ?? ""
    }

    /// A subscriber's car is inside: beyond the time that it is inside for it keeps its place until it has left.
    mutating func occupy(_ subscription: SharedSubscription, now: Millis) {
        vacate(subscription.authNo)
        guard subscription.insidePlate != nil else { return }
        // One that has ended holds nothing else any more.
        let from = endOfStep((subscription.status.holds ? subscription.leaveBy ?? now : now) - 1)
        let hold = Hold(
            pool: .shared, space: subscription.spaceNo, from: from, to: max(from, now < from ? from : endOfStep(now)), grows: true)
        nextExtension = min(nextExtension, hold.to)
        self.hold(hold, for: "\(subscription.authNo)^")
    }

    mutating func vacate(_ authNo: String) { release("\(authNo)^") }

    private var subscriptionSpaces: TextTable<String> = [:]

    mutating func drop(spansOf authNo: String) {
        guard let space = subscriptionSpaces.removeValue(forKey: authNo) else { return }
        guard space.isEmpty else { return spaces.release(space, of: authNo) }
        release(authNo)
        var index = 1
        while holds["\(authNo)#\(index)"] != nil {
            release("\(authNo)#\(index)")
            index += 1
        }
    }

    /// The most places of a pool held at any moment of the interval, from now on: the past cannot be sold any more.
    func peak(_ pool: Pool, from: Millis, to: Millis, now: Millis) -> Int {
        pools[pool]?.peak(from: max(from, now), to: max(to, now + 1)) ?? 0
    }

    /// Whether one more order may hold the interval: at no moment of it is the pool at, or over, its quota, and what is kept for walk-ins
    /// stays free.
    func hasRoom(_ pool: Pool, from: Millis, to: Millis, now: Millis) -> Bool {
        guard !poolRules.isEmpty else { return peak(pool, from: from, to: to, now: now) < opened(pool) }
        let (from, to) = (max(from, now), max(to, now + 1))
        return pieces(from: from, to: to).allSatisfy { piece in
            guard peak(pool, from: piece.from, to: piece.to, now: now) < quota(pool, at: piece.from) else { return false }
            let kept = quota(.walkIn, at: piece.from)
            guard kept > 0, let total = profile?.totalCount else { return true }
            return CapacityCalendar.peak(of: Array(pools.values), from: piece.from, to: piece.to) < total - kept
        }
    }

    /// When places are promised to cars that are not in yet: orders, rights and subscriptions, cut to the interval.
    /// - Parameter except: holders that do not count, since it is their own booking that is looked at.
    private func promised(from: Millis, to: Millis, now: Millis, except: Set<String>) -> [Window] {
        /// A subscriber who is inside is counted there, until the time that he is inside for is over.
        func isInside(_ holder: String, _ from: Millis) -> Bool {
            guard from <= now, !subscriptions.isEmpty else { return false }
            return subscriptions[String(holder.prefix { $0 != "#" && $0 != "^" })]?.insidePlate != nil
        }
        var spans: [Window] = []
        func add(_ hold: Hold) { spans.append(Window(max(from, hold.from), min(to, hold.to))) }
        func counts(_ hold: Hold) -> Bool { hold.space == nil && !hold.grows && hold.from < to && from < hold.to }
        for (reservation, hold) in reservations.holds where counts(hold) && !except.contains(reservation.orderNo) { add(hold) }
        for (holder, hold) in holds where counts(hold) && !except.contains(holder) && !isInside(holder, hold.from) { add(hold) }
        for entry in spaces.entries.values.joined()
        where entry.span.meets(from, to) && !grows(entry.holder) && !except.contains(entry.holder)
            && !isInside(entry.holder, entry.span.from)
        {
            spans.append(Window(max(from, entry.span.from), min(to, entry.span.to)))
        }
        return spans
    }

    /// Whether what somebody holds grows, since his car is inside.
    private func grows(_ holder: String) -> Bool {
        (holds[holder] ?? reservations[holder].flatMap { reservations.hold(of: $0.serial) })?.grows == true
    }

    /// Cars that have a place at a moment and are not in yet.
    public func notArrived(at time: Millis, now: Millis, except: Set<String> = []) -> Int {
        promised(from: time, to: time + 1, now: now, except: except).count
    }

    /// Places that the gates show to be free beyond what is promised at the worst moment of the interval (R6: rolling release, 1:1).
    func rollingRoom(from: Millis, to: Millis, now: Millis, except: Set<String> = []) -> Int {
        let from = max(from, now)
        var changes: [(at: Millis, by: Int)] = []
        for span in promised(from: from, to: to, now: now, except: except) {
            changes.append((span.from, 1))
            changes.append((span.to, -1))
        }
        var (level, most) = (0, 0)
        for change in changes.sorted(by: { ($0.at, $0.by) < ($1.at, $1.by) }) {
            level += change.by
            most = max(most, level)
        }
        return (profile?.totalCount ?? 0) - occupied - most - quota(.walkIn, at: from)
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
        public var reason: Rejection?
    }

    /// Places of a pool that nobody holds at any moment of the interval, and by how many the pool is over its quota at the worst one.
    func room(_ pool: Pool, from: Millis, to: Millis, now: Millis) -> (left: Int, excess: Int) {
        let (from, to) = (max(from, now), max(to, now + 1))
        guard !poolRules.isEmpty else {
            let left = opened(pool) - peak(pool, from: from, to: to, now: now)
            return (max(0, left), max(0, -left))
        }
        var least = Int.max
        for piece in pieces(from: from, to: to) {
            var left = quota(pool, at: piece.from) - peak(pool, from: piece.from, to: piece.to, now: now)
            let kept = quota(.walkIn, at: piece.from)
            if kept > 0, let total = profile?.totalCount {
                left = min(left, total - kept - CapacityCalendar.peak(of: Array(pools.values), from: piece.from, to: piece.to))
            }
            least = min(least, left)
        }
        return (max(0, least), max(0, -least))
    }

    /// Places of a pool that nobody holds at this moment.
    public func free(_ pool: Pool, at time: Millis) -> Int {
        max(0, quota(pool, at: time) - (pools[pool]?.peak(from: time, to: time + 1) ?? 0))
    }

    /// By how many places the pool is over its quota at this moment: what overstays, disproved no-shows and a lowered quota may bring about.
    public func excess(_ pool: Pool, at time: Millis) -> Int {
        max(0, (pools[pool]?.peak(from: time, to: time + 1) ?? 0) - quota(pool, at: time))
    }

    /// Orders that wait for a place, in their order.
    public var waiting: [Reservation] { reservations.values.filter { $0.status == .waitlisted }.sorted { $0.serial < $1.serial } }

    /// Whether another car stands in an individual space.
    func isTaken(_ space: String, except holder: String, by plate: Plate) -> Bool {
        reservations.values.contains { $0.spaceNo == space && $0.status == .inLot && $0.orderNo != holder && !$0.speaks(for: plate) }
            || subscriptions.values.contains {
                $0.spaceNo == space && $0.insidePlate != nil && $0.insidePlate != plate && $0.authNo != holder
            }
    }

    /// Orders that the lot must have in its local list now.
    public var inForce: [Reservation] {
        reservations.values.filter { $0.status.isActive }.sorted { $0.serial < $1.serial }
    }

    // MARK: Deadlines

    /// When an order falls due by time alone; nil when time brings nothing about.
    static func deadline(of reservation: Reservation) -> Millis? {
        switch reservation.status {
        case .held: return reservation.holdDeadline
        case .booked: return reservation.enterEnd
        case .inLot:
            guard let deadline = reservation.leaveDeadline else { return nil }
            if !reservation.isWarned, reservation.purpose == .shared { return deadline - reservation.terms.warnMillis }
            if !reservation.overstay { return deadline }
            return reservation.isLate || reservation.purpose != .shared ? nil : deadline + Millis(reservation.terms.graceMin) * CivilTime.minute
        case .waitlisted: return reservation.holdDeadline
        default: return nil
        }
    }

    mutating func noteDeadline(of reservation: Reservation) {
        if let deadline = Lot.deadline(of: reservation) { nextDeadline = min(nextDeadline, deadline) }
        // Before an order's time its individual space is looked at: somebody may still be in it.
        if reservation.spaceNo != nil, reservation.status == .booked { noteDeadline(at: look(before: reservation)) }
    }

    func look(before reservation: Reservation) -> Millis { reservation.enterStart - Millis(policy(.shared).rehomeLeadMin) * CivilTime.minute }

    mutating func noteDeadline(at time: Millis) { nextDeadline = min(nextDeadline, time) }

    static func deadline(of subscription: SharedSubscription) -> Millis? {
        var times: [Millis] = []
        if let hold = subscription.holdDeadline { times.append(hold) }
        if let leaveBy = subscription.leaveBy, !subscription.isLate {
            if subscription.warnedFor != leaveBy { times.append(leaveBy - subscription.warnMillis) }
            // Then the next one is looked after.
            times.append(leaveBy)
            times.append(leaveBy + Millis(subscription.graceMin) * CivilTime.minute)
        }
        if subscription.status == .active { times.append(subscription.validTo) }
        return times.min()
    }

    mutating func noteDeadline(of subscription: SharedSubscription, _ calendar: WorkCalendar) {
        if let deadline = Lot.deadline(of: subscription) { noteDeadline(at: deadline) }
    }

    /// Drops what ended a while ago, orders excepted: it is in the store, and every reader of it asks there.
    mutating func forget(endedBefore time: Millis) {
        for (recordNo, visit) in visits {
            if let leave = visit.leaveTime, leave < time, inside[visit.insideKey] != recordNo { visits.removeValue(forKey: recordNo) }
        }
        for pool in pools.keys { pools[pool]!.forget(before: time) }
        spaces.forget(before: time - CivilTime.dayLength)
    }
}
