// Areas, and when a policy switches on and off.
extension City {
    mutating func setArea(_ area: FlowArea, at now: Millis) -> Decision {
        guard area.parkCodes.allSatisfy({ lots[$0] != nil }) else { return Decision(.refused(.lotNotRegistered)) }
        let own = flows.values.filter { $0.areaId == area.areaId && now < $0.validTo }
        if area.parkCodes.isEmpty, !own.isEmpty { return Decision(.refused(.wrongState)) }
        for policy in own where isNameTaken(policy, by: area.parkCodes, at: now) {
            return Decision(.wrongState, RuleNote("policyId \(policy.policyId)"))
        }
        var events: [Event] = []
        let old = areas[area.areaId]?.parkCodes ?? []
        set(.area(area), &events)
        refreshPoolRules(old + area.parkCodes)
        for policy in flows.values where policy.areaId == area.areaId {
            tellLots(of: policy, always: true, at: now, &events)
            noteClock(policy, at: now)
            // A policy of the area ends at a lot that left the area.
            for parkCode in old where !area.parkCodes.contains(parkCode) && now < policy.validTo {
                append(.flow(policy, .off), to: parkCode, about: "", at: now, &events)
                noteFreed(parkCode)
            }
        }
        return Decision(.entity(.area(area)), events)
    }

    /// A lot has filled or emptied: switches of policies, and the levels that are told (events 4001 to 4003).
    mutating func followSaturation(at now: Millis, _ events: inout [Event]) {
        let lots = refilled.sorted()
        refilled = []
        for parkCode in lots {
            let level = self.lots[known: parkCode].saturation.perMille
            let told = self.lots[known: parkCode].toldLevel
            let policies = flows.isEmpty ? [] : flows(of: parkCode).filter { $0.areaId.isEmpty && $0.isBySaturation && now < $0.validTo }
            // A lot is nearly full from the lower end of its policies on, else from 90 %. It is normal again only well below, so that one
            // car does not cause a series of events.
            let nearly = (policies.map(\.openPercent).min() ?? 90) * 10
            let now2 =
                level >= 1000 ? 2 : level >= nearly ? max(1, told == 2 && level > 950 ? 2 : 1) : told > 0 && level > nearly - 50 ? told : 0
            if now2 != told {
                self.lots[known: parkCode].toldLevel = now2
                events.append(
                    .notice(
                        LotEvent(
                            parkCode: parkCode, eventType: now2 == 2 ? 4002 : now2 == 1 ? 4001 : 4003, occurredAt: now,
                            detail: "\(level / 10)")))
            }
        }
        guard !flows.isEmpty else { return }
        var seen: Set<FlowKey> = []
        for parkCode in lots {
            for policy in flows(of: parkCode) where seen.insert(key(of: policy)).inserted { followSwitch(policy, at: now, &events) }
        }
    }

    private mutating func followSwitch(_ policy: FlowPolicy, at now: Millis, _ events: inout [Event]) {
        guard policy.isBySaturation, now < policy.validTo else { return }
        let isOn = policy.isOn(atPerMille: saturation(of: policy))
        guard isOn != policy.isOn else { return }
        var policy = policy
        policy.isOn = isOn
        set(.flow(policy), &events)
        if !policy.pools.isEmpty { refreshPoolRules(lots(of: policy)) }
        let revoked = isOn && policy.revokes ? affected(by: policy, at: now) : []
        followForce(policy, at: now, &events)
        for var reservation in revoked { end(&reservation, as: .closedByFlow, detail: "server", now: now, &events) }
    }

    /// A policy begins or ends, by its switch or by the clock.
    private mutating func followForce(_ policy: FlowPolicy, at now: Millis, _ events: inout [Event]) {
        let isInForce = policy.isInForce(at: now, calendar)
        let was = policy.wasInForce ?? false
        guard isInForce != was else { return }
        var policy = policy
        policy.wasInForce = isInForce
        set(.flow(policy), &events)
        noteSwitch(policy, from: was && policy.mode != .off, at: now, &events)
        if !policy.areaId.isEmpty { tellLots(of: policy, always: false, at: now, &events) }
    }

    /// Reports that flow control begins (4004) or ends (4005) at the lots of a policy. When it ends or its pools change, a waiting
    /// reservation may get a place.
    mutating func noteSwitch(_ policy: FlowPolicy, from was: Bool, at now: Millis, _ events: inout [Event]) {
        let isOn = policy.mode(at: now, calendar) != .off
        for parkCode in lots(of: policy) where lots[parkCode] != nil {
            noteFreed(parkCode)
            guard isOn != was else { continue }
            events.append(
                .notice(LotEvent(parkCode: parkCode, eventType: isOn ? 4004 : 4005, occurredAt: now, detail: policy.policyId)))
        }
    }

    /// Policies that follow the clock. Called with the deadlines of the first lot of each.
    mutating func followClock(_ parkCode: String, at now: Millis, _ events: inout [Event]) {
        guard !flows.isEmpty else { return }
        for policy in flows(of: parkCode) where lots(of: policy).first == parkCode { followForce(policy, at: now, &events) }
    }

    /// The first lot of a policy looks at it when the clock may change it.
    mutating func noteClock(_ policy: FlowPolicy, at now: Millis) {
        guard let first = lots(of: policy).first else { return }
        let isBehind = policy.isInForce(at: now, calendar) != (policy.wasInForce ?? false)
        lots[first]?.noteDeadline(at: isBehind ? now : policy.nextChange(after: now))
    }

    /// The next time at which a policy that a lot looks at may begin or end.
    func nextClock(_ parkCode: String, after now: Millis) -> Millis {
        guard !flows.isEmpty else { return .max }
        return flows(of: parkCode).filter { lots(of: $0).first == parkCode }.map { $0.nextChange(after: now) }.min() ?? .max
    }
}
