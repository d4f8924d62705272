/// The most that is booked in a pool while a policy's rule for it would hold, beside the places that the rule leaves.
public struct PoolDemand: Sendable, Equatable {
    public var pool: Pool
    /// The number of the rule: places of the pool, or places that stay free for walk-ins.
    public var count: Int
    /// Places held at the worst moment; for walk-ins those of all pools together.
    public var booked: Int
    /// The number by which that is over what the rule leaves.
    public var excess: Int
    public var parkCode: String
}

extension City {
    /// The demands on the pools of a policy, for its preview: per pool those of the lot that is worst off, over the next 31 days. Nothing is
    /// revoked when a pool becomes smaller; the time of an excess sells nothing until it is gone.
    public func poolDemands(on policy: FlowPolicy, at now: Millis) -> [PoolDemand] {
        let parkCodes = lots(of: policy)
        let rule = PoolRule(
            pool: .personal, count: 0, from: policy.validFrom, to: policy.validTo, segments: policy.segments, calendar: calendar)
        // The same times hold for all pools. A large area with very many times is looked at for as long as its size allows.
        let spans = rule.spans(from: now, to: now + 31 * CivilTime.dayLength)
            .prefix(max(31, 100_000 / max(1, parkCodes.count * policy.pools.count)))
        return policy.pools.sorted { $0.key < $1.key }.compactMap { name, count in
            guard let pool = Pool(rawValue: name) else { return nil }
            var worst = PoolDemand(pool: pool, count: count, booked: 0, excess: 0, parkCode: "")
            for parkCode in parkCodes {
                guard let lot = lots[parkCode] else { continue }
                let booked = spans.reduce(0) { most, span in
                    max(
                        most,
                        pool == .walkIn
                            ? CapacityCalendar.peak(of: Array(lot.pools.values), from: span.from, to: span.to)
                            : lot.peak(pool, from: span.from, to: span.to, now: now))
                }
                let left = pool == .walkIn ? (lot.profile?.totalCount ?? 0) - count : count
                let excess = max(0, booked - left)
                if worst.parkCode.isEmpty || (excess, booked) > (worst.excess, worst.booked) {
                    worst = PoolDemand(pool: pool, count: count, booked: booked, excess: excess, parkCode: parkCode)
                }
            }
            return worst
        }
    }
}
