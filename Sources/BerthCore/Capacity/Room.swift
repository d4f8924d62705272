// The free places of a lot.
extension Lot {
    /// The number of places that the lot opened to a business.
    public func quota(_ purpose: Purpose) -> Int { profile?.quotas[purpose] ?? 0 }

    func opened(_ pool: Pool) -> Int {
        switch pool {
        case .personal: quota(.reservation)
        case .publicService: quota(.publicService)
        case .shared: quota(.shared)
        case .merchant, .charging, .walkIn, .rolling: 0
        }
    }

    /// Places of a pool at a moment: the number that a policy sets, else the number that the lot opened.
    public func quota(_ pool: Pool, at time: Millis) -> Int {
        poolRules.last { $0.pool == pool && !$0.spans(from: time, to: time + 1).isEmpty }?.count ?? opened(pool)
    }

    /// Whether a policy names the pool at some moment of the interval: then a full pool is refused with 1110 and not with 1101.
    func isNamed(_ pool: Pool, from: Millis, to: Millis) -> Bool {
        poolRules.contains { $0.pool == pool && !$0.spans(from: from, to: to).isEmpty }
    }

    /// The interval cut where quotas change.
    func pieces(from: Millis, to: Millis) -> [Window] {
        var cuts: Set<Millis> = [from]
        for span in poolRules.flatMap({ $0.spans(from: from, to: to) }) {
            if span.from > from { cuts.insert(span.from) }
            if span.to < to { cuts.insert(span.to) }
        }
        let points = cuts.sorted() + [to]
        return zip(points, points.dropFirst()).map { Window($0, $1) }
    }

    /// The most places of a pool held at any moment of the interval from now on. The past does not count, because it cannot be booked.
    func peak(_ pool: Pool, from: Millis, to: Millis, now: Millis) -> Int {
        pools[pool]?.peak(from: max(from, now), to: max(to, now + 1)) ?? 0
    }

    /// Whether one more reservation may hold the interval. The pool must be below its quota at every moment of it, and the places for
    /// walk-ins must stay free.
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

    /// The times for which places are promised to cars that are not in yet (reservations, rights, subscriptions), cut to the interval.
    /// - Parameter except: holders that do not count, because their own booking is being decided.
    private func promised(from: Millis, to: Millis, now: Millis, except: Set<String>) -> [Window] {
        /// Whether the holder is a subscriber whose car is inside; until the time of that hold is over the car counts as inside.
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

    /// Whether the hold of a holder grows, because the holder's car is inside.
    func grows(_ holder: String) -> Bool {
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

    /// One slot of `slot.query`: the places that can still be booked for an arrival inside it.
    public struct Slot: Sendable, Equatable {
        public var start: Millis
        public var end: Millis
        public var quota: Int
        /// The smallest number of places over the arrival times in it that can still be booked; never negative.
        public var remain: Int
        /// The number of places by which the pool is over its quota at the worst moment (overstays, a lowered quota).
        public var excess: Int
        public var isFull: Bool
        public var reason: Rejection?
    }

    /// Places of a pool that are free during the whole interval, and the number by which it is over its quota at the worst moment.
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

    /// Free places of a pool at this moment.
    public func free(_ pool: Pool, at time: Millis) -> Int {
        max(0, quota(pool, at: time) - (pools[pool]?.peak(from: time, to: time + 1) ?? 0))
    }

    /// The number of places by which the pool is over its quota at this moment, through overstays, disproved no-shows or a lowered quota.
    public func excess(_ pool: Pool, at time: Millis) -> Int {
        max(0, (pools[pool]?.peak(from: time, to: time + 1) ?? 0) - quota(pool, at: time))
    }
}
