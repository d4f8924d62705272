// Flow policies 流量管控: setting them, and which reservations they hit.
extension City {
    /// Policies that concern a lot: its own, and those of areas that it belongs to.
    public func flows(of parkCode: String) -> [FlowPolicy] {
        flows.values.filter { $0.parkCode == parkCode || (!$0.areaId.isEmpty && areas[$0.areaId]?.parkCodes.contains(parkCode) == true) }
            .sorted { ($0.areaId, $0.policyId) < ($1.areaId, $1.policyId) }
    }

    /// The mode that is demanded of a lot at a moment: that of the strictest of its policies.
    public func flowMode(_ parkCode: String, at time: Millis) -> FlowMode {
        guard !flows.isEmpty else { return .off }
        return flows(of: parkCode).map { $0.mode(at: time, calendar) }.max() ?? .off
    }

    func lots(of policy: FlowPolicy) -> [String] {
        policy.areaId.isEmpty ? [policy.parkCode] : areas[policy.areaId]?.parkCodes ?? []
    }

    /// Occupied places of all the lots of a policy, per thousand.
    public func saturation(of policy: FlowPolicy) -> Int { saturation(of: lots(of: policy)) }

    public func saturation(of parkCodes: [String]) -> Int {
        let (occupied, capacity) = parkCodes.reduce((0, 0)) { sum, code in
            (sum.0 + (lots[code]?.occupied ?? 0), sum.1 + (lots[code]?.profile?.totalCount ?? 0))
        }
        return Saturation(occupied: occupied, capacity: capacity).perMille
    }

    /// Whether another policy of these lots has this `policyId`: a lot keeps policies by `policyId` alone, so each needs its own.
    func isNameTaken(_ policy: FlowPolicy, by parkCodes: [String], at now: Millis) -> Bool {
        parkCodes.contains { parkCode in
            flows(of: parkCode).contains {
                $0.policyId == policy.policyId && now < $0.validTo && ($0.parkCode, $0.areaId) != (policy.parkCode, policy.areaId)
            }
        }
    }

    mutating func setFlow(_ draft: FlowPolicy, at now: Millis) -> Decision {
        if draft.areaId.isEmpty {
            guard lots[draft.parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
        } else {
            guard areas[draft.areaId] != nil else { return Decision(.refused(.notFound)) }
        }
        var policy = draft
        guard !policy.isBySaturation || policy.openPercent <= policy.closePercent else {
            return Decision(.illegalValue, RuleNote("saturationOpen", used: policy.openPercent, max: policy.closePercent))
        }
        guard policy.validFrom <= policy.validTo else { return Decision(.refused(.illegalValue)) }
        guard policy.pools.keys.allSatisfy({ Pool(rawValue: $0) != nil }), policy.dailyQuotas.keys.allSatisfy({ Pool(rawValue: $0) != nil })
        else { return Decision(.illegalValue, RuleNote("pools")) }
        guard !isNameTaken(policy, by: lots(of: policy), at: now) else { return Decision(.illegalValue, RuleNote("policyId")) }
        let old = flows[key(of: policy)]
        // A policy that its saturation has switched on stays on until the lower end, also when its text changes.
        policy.isOn = old?.isOn ?? false
        policy.isOn = policy.isBySaturation && policy.isOn(atPerMille: saturation(of: policy))
        let isInForce = policy.isInForce(at: now, calendar)
        policy.wasInForce = isInForce
        let revoked = policy.revokes && (!policy.isBySaturation || policy.isOn) ? affected(by: policy, at: now) : []
        var events: [Event] = []
        set(.flow(policy), &events)
        refreshPoolRules(lots(of: policy))
        tellLots(of: policy, always: true, at: now, &events)
        noteSwitch(policy, from: old.map { ($0.wasInForce ?? false) && $0.mode != .off } ?? false, at: now, &events)
        noteClock(policy, at: now)
        for var reservation in revoked { end(&reservation, as: .closedByFlow, detail: "server", now: now, &events) }
        countDailyQuotas(of: policy, at: now, &events)
        for parkCode in lots(of: policy) { noteFreed(parkCode) }
        return Decision(.entity(.flow(flows[key(of: policy)] ?? policy)), events)
    }

    func key(of policy: FlowPolicy) -> FlowKey {
        FlowKey(parkCode: policy.parkCode, areaId: policy.areaId, policyId: policy.policyId)
    }

    /// Reservations whose window a policy closes when it is set or, by saturation, when that switches it on. A policy by saturation hits
    /// the windows that are open at that moment, because the time at which it ends is not known.
    public func affected(by policy: FlowPolicy, at now: Millis) -> [Reservation] {
        guard policy.mode == .closed else { return [] }
        return lots(of: policy).flatMap { lots[$0]?.reservations.values.map { $0 } ?? [] }.filter { reservation in
            guard reservation.status == .held || reservation.status == .booked else { return false }
            let from = max(now, reservation.enterStart)
            guard policy.validFrom < reservation.enterEnd, from < policy.validTo else { return false }
            if policy.isBySaturation {
                return from == now && now <= reservation.enterEnd && policy.validFrom <= now && policy.holdsSegment(at: now, calendar)
            }
            // A window that stays open in part is not hit, because the car can still come.
            let window = Window(max(from, policy.validFrom), min(reservation.enterEnd, policy.validTo))
            let closed =
                policy.segments.isEmpty ? [window] : RecurringWindow.spans(policy.segments, from: window.from, to: window.to, calendar)
            return closed == [Window(from, reservation.enterEnd)]
                || closed.first.map { $0.from <= from && $0.to >= reservation.enterEnd } == true
        }.sorted { $0.serial < $1.serial }
    }

    /// How many reservations have a window that meets the times of a policy from now on, whatever its mode.
    public func countInWindow(of policy: FlowPolicy, at now: Millis) -> Int {
        func meets(_ reservation: Reservation) -> Bool {
            guard reservation.status == .held || reservation.status == .booked else { return false }
            let window = Window(max(now, reservation.enterStart, policy.validFrom), min(reservation.enterEnd, policy.validTo))
            guard window.from < window.to else { return false }
            return policy.segments.isEmpty || !RecurringWindow.spans(policy.segments, from: window.from, to: window.to, calendar).isEmpty
        }
        return lots(of: policy).reduce(0) { sum, parkCode in sum + (lots[parkCode]?.reservations.values.count(where: meets) ?? 0) }
    }

    /// Counts the reservations that exist already against a daily quota that is set now.
    private mutating func countDailyQuotas(of policy: FlowPolicy, at now: Millis, _ events: inout [Event]) {
        guard !policy.dailyQuotas.isEmpty else { return }
        for parkCode in lots(of: policy) {
            for var reservation in (lots[parkCode]?.reservations.values.map { $0 } ?? []).sorted(by: { $0.serial < $1.serial }) {
                switch reservation.status {
                case .held, .booked, .inLot, .done, .noShow, .cancelledBreach: break
                default: continue
                }
                let fresh = quotas(of: reservation).map(\.key).filter { !reservation.quotaKeys.contains($0) }
                guard !fresh.isEmpty else { continue }
                for key in fresh { count(key, by: 1, &events) }
                reservation.quotaKeys += fresh
                update(reservation, at: reservation.changedAt, &events)
            }
        }
    }

    /// Pools that policies name, as each lot counts them. Those of a policy by saturation hold while that has switched it on.
    mutating func refreshPoolRules(_ parkCodes: [String]) {
        for parkCode in Set(parkCodes) where lots[parkCode] != nil {
            lots[known: parkCode].poolRules = flows(of: parkCode).filter { !$0.isBySaturation || $0.isOn }.flatMap { policy in
                policy.pools.sorted { $0.key < $1.key }.compactMap { name, count in
                    Pool(rawValue: name).map {
                        PoolRule(
                            pool: $0, count: count, from: policy.validFrom, to: policy.validTo, segments: policy.segments,
                            calendar: calendar)
                    }
                }
            }
        }
    }

    /// D18: a lot gets its own policy whole, and follows its own saturation and clock, also offline. Of an area's policy it gets the mode
    /// that is demanded now.
    mutating func tellLots(of policy: FlowPolicy, always: Bool, at now: Millis, _ events: inout [Event]) {
        var policy = policy
        let mode = policy.areaId.isEmpty ? policy.mode : policy.mode(at: now, calendar)
        guard always || policy.told != mode else { return }
        policy.told = mode
        set(.flow(policy), &events)
        for parkCode in lots(of: policy) where lots[parkCode] != nil {
            append(.flow(policy, mode), to: parkCode, about: "", at: now, &events)
        }
    }
}
