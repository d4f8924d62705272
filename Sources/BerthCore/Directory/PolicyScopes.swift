// Policy values by scope, and the entities that the journal carries whole.
extension City {
    /// Sets values of a scope in a new version; an empty value removes the scope's own value.
    mutating func setPolicy(_ scope: PolicyScope, _ values: [String: String], at now: Millis) -> Decision {
        if let parkCode = scope.parkCode, lots[parkCode] == nil { return Decision(.refused(.lotNotRegistered)) }
        var probe = policy
        var all = overrides[scope]?.values ?? [:]
        for (name, value) in values {
            if value.isEmpty, !Policy.texts.contains(where: { $0.name == name }) {
                all[name] = nil
                continue
            }
            guard probe.set(name, value) else { return Decision(.illegalValue, RuleNote(name)) }
            all[name] = value
        }
        let override = PolicyOverride(scope: scope.text, version: numbers.policyVersion + 1, at: now, values: all)
        var events: [Event] = []
        set(.policy(override), &events)
        let concerned = scope.parkCode.map { [$0] } ?? Array(lots.keys)
        for parkCode in concerned.sorted() {
            let told = GateRules(lots[known: parkCode].policy)
            resolvePolicies(of: parkCode)
            noteFreed(parkCode)
            tellGateRules(parkCode, since: told, at: now, &events)
        }
        return Decision(.entity(.policy(override)), events)
    }

    /// Sends the policy values by which a lot's gateway decides as the server does, through the lot's log (D19), when they have changed.
    mutating func tellGateRules(_ parkCode: String, since told: GateRules, inLog: Bool = true, at now: Millis, _ events: inout [Event]) {
        guard let lot = lots[parkCode], lot.profile != nil else { return }
        let rules = GateRules(lot.policy)
        guard rules != told else { return }
        keep(KeptRecord(parkCode: parkCode, kind: City.gateRulesKind, key: "", body: rules.json, at: now), &events)
        if inLog { append(.relay(service: "config.push", body: rules.json), to: parkCode, about: "", at: now, &events) }
    }

    public static let gateRulesKind = "gate.rules"

    /// Lays the scopes that concern a lot over each other.
    mutating func resolvePolicies(of parkCode: String) {
        guard let lot = lots[parkCode] else { return }
        let group = PolicyScope.group(lot.profile?.group ?? "")
        // Scenic areas have defaults of their own (section 7, R5), where the city's settings leave the general ones.
        var base = policy
        if let type = lot.profile?.lotType, type == 8 || type == 11 {
            let usual = Policy()
            if base.delayMin == usual.delayMin { base.delayMin = 360 }
            if base.noShowMaxPerYear == usual.noShowMaxPerYear { base.noShowMaxPerYear = 3 }
        }
        func own(_ purpose: Purpose?) -> (Policy, Int64) {
            lay([.city, purpose.map { .product($0) }, group, .lot(parkCode), purpose.map { .lotProduct(parkCode, $0) }], over: base)
        }
        let (common, version) = own(nil)
        var (newest, products) = (version, [Purpose: Policy]())
        for purpose in Purpose.allCases {
            let (values, version) = own(purpose)
            newest = max(newest, version)
            if values != common { products[purpose] = values }
        }
        lots[parkCode]?.policy = common
        lots[parkCode]?.policyVersion = newest
        lots[parkCode]?.productPolicies = products
    }

    /// - Returns: the values with those of the scopes over them, the last one on top, and the newest version of them.
    private func lay(_ scopes: [PolicyScope?], over base: Policy) -> (Policy, Int64) {
        var result = base
        var version: Int64 = 0
        for case let override? in scopes.map({ $0.flatMap { overrides[$0] } }) {
            for (name, value) in override.values { _ = result.set(name, value) }
            version = max(version, override.version)
        }
        // The city's calendar step stays, because the intervals already held are counted in it.
        result.calendarStepMin = policy.calendarStepMin
        return (result, version)
    }

    /// The values of a business at a lot for which nothing else is set.
    public func usualPolicy(_ purpose: Purpose) -> Policy { lay([.city, .product(purpose)], over: policy).0 }

    /// The terms under which a reservation for this time would be made now.
    public func terms(_ lot: Lot, _ purpose: Purpose, planTime: Millis) -> Terms {
        let policy = lot.policy(purpose)
        let early = purpose == .publicService ? policy.bizBeforeMin : policy.earlyMin
        return Terms(
            policy, version: lot.policyVersion, purpose: purpose, planTime: planTime,
            enterStart: planTime - Millis(early) * CivilTime.minute)
    }
}
