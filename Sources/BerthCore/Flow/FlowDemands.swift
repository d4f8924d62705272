// Flow policies at booking: their demands, and daily quotas.
extension City {
    /// The refusal of flow control for a new or moved reservation, and the daily quotas that it counts against.
    /// - Parameters:
    ///   - except: holders of places that are its own: they do not stand in its way.
    ///   - hasRight: its place is kept for it already, so nothing is added by booking it.
    func flowDemands(on reservation: Reservation, at now: Millis, except: Set<String> = [], hasRight: Bool = false) -> (
        refusal: Decision?, claims: [(key: String, max: Int)]
    ) {
        guard !flows.isEmpty else { return (nil, []) }
        for policy in flows(of: reservation.parkCode) {
            // A policy by saturation is read as it is now, because its state at the time of entry is not known.
            let time = policy.isBySaturation ? now : max(now, reservation.planTime)
            let mode = policy.mode(at: time, calendar)
            guard mode != .off else { continue }
            if mode == .closed {
                return (Decision(.flowControlActive, RuleNote(policy.policyId, until: policy.validTo)), [])
            }
            guard !hasRight else { continue }
            let limit = policy.bookingLimitPercent * 10
            let expected = bookedSaturation(reservation.parkCode, at: max(now, reservation.planTime), now: now, except: except)
            if expected >= limit {
                return (Decision(.saturated, RuleNote(policy.policyId, used: expected, max: limit, until: policy.validTo)), [])
            }
        }
        let claims = quotas(of: reservation).filter { !reservation.quotaKeys.contains($0.key) }
        for claim in claims where counted(claim.key) >= claim.max {
            return (
                Decision(
                    .poolEmpty,
                    RuleNote(
                        reservation.pool.rawValue, used: counted(claim.key), max: claim.max,
                        until: CivilTime.start(ofDay: CivilTime.day(of: reservation.planTime) + 1))), []
            )
        }
        return (nil, claims)
    }

    /// The daily quotas (R5) that a reservation falls under by its day.
    func quotas(of reservation: Reservation) -> [(key: String, max: Int)] {
        quotas(reservation.parkCode, reservation.pool, planTime: reservation.planTime)
    }

    static func quotaKey(_ policy: FlowPolicy, day: Int64, pool: String) -> String {
        "fd|\(day)|\(policy.areaId.isEmpty ? policy.parkCode : policy.areaId)|\(policy.policyId)|\(pool)"
    }

    func quotas(_ parkCode: String, _ pool: Pool, planTime: Millis) -> [(key: String, max: Int)] {
        guard !flows.isEmpty else { return [] }
        let day = CivilTime.day(of: planTime)
        return flows(of: parkCode).compactMap { policy in
            guard policy.mode != .off, policy.validFrom <= planTime, planTime < policy.validTo, let max = policy.dailyQuotas[pool.rawValue]
            else { return nil }
            return (City.quotaKey(policy, day: day, pool: pool.rawValue), max)
        }
    }

    /// Counts a reservation against the daily quotas that it falls under now, and no longer against those of its old day.
    mutating func countQuotas(of reservation: inout Reservation, _ events: inout [Event]) {
        let keys = quotas(of: reservation).map(\.key)
        for key in reservation.quotaKeys where !keys.contains(key) { count(key, by: -1, &events) }
        for key in keys where !reservation.quotaKeys.contains(key) { count(key, by: 1, &events) }
        // Most reservations have no quotas, and a write may copy the reservation.
        if reservation.quotaKeys != keys { reservation.quotaKeys = keys }
    }

    /// The lowest limit of S_book that a policy sets at a lot at a moment, per thousand; nil while none is in force.
    public func bookingLimit(_ parkCode: String, at time: Millis, now: Millis) -> Int? {
        guard !flows.isEmpty else { return nil }
        return flows(of: parkCode).filter { $0.mode(at: $0.isBySaturation ? now : time, calendar) != .off }.map {
            $0.bookingLimitPercent * 10
        }
        .min()
    }
}
