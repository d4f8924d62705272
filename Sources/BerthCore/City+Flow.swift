// Flow control 流量管控 and saturation 饱和度 (section 8): policies of lots and areas, by hand, schedule or saturation; what they do to bookings,
// to gates, and to orders already made.
extension City {
    /// Policies that concern a lot: its own, and those of areas that it belongs to.
    public func flows(of parkCode: String) -> [FlowPolicy] {
        flows.values.filter { $0.parkCode == parkCode || (!$0.areaId.isEmpty && areas[$0.areaId]?.parkCodes.contains(parkCode) == true) }
            .sorted { ($0.areaId, $0.policyId) < ($1.areaId, $1.policyId) }
    }

    /// What is demanded of a lot at a moment: the strictest of its policies.
    public func flowMode(_ parkCode: String, at time: Millis) -> FlowMode {
        guard !flows.isEmpty else { return .off }
        return flows(of: parkCode).map { $0.mode(at: time, calendar) }.max() ?? .off
    }

    private func lots(of policy: FlowPolicy) -> [String] {
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

    // MARK: Setting

    mutating func setArea(_ area: FlowArea, at now: Millis) -> Decision {
        guard area.parkCodes.allSatisfy({ lots[$0] != nil }) else { return Decision(.refused(.lotNotRegistered)) }
        if area.parkCodes.isEmpty, flows.values.contains(where: { $0.areaId == area.areaId && now < $0.validTo }) {
            return Decision(.refused(.wrongState))
        }
        var events: [Event] = []
        let old = areas[area.areaId]?.parkCodes ?? []
        set(.area(area), &events)
        refreshPoolRules(old + area.parkCodes)
        for policy in flows.values where policy.areaId == area.areaId { tellLots(of: policy, always: true, at: now, &events) }
        return Decision(.entity(.area(area)), events)
    }

    mutating func setFlow(_ draft: FlowPolicy, at now: Millis) -> Decision {
        if draft.areaId.isEmpty {
            guard lots[draft.parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
        } else {
            guard areas[draft.areaId] != nil else { return Decision(.refused(.notFound)) }
        }
        var policy = draft
        if let open = policy.saturationOpen, let close = policy.saturationClose, open > close {
            return Decision(.illegalValue, RuleNote("saturationOpen", used: open, max: close))
        }
        guard policy.validFrom <= policy.validTo else { return Decision(.refused(.illegalValue)) }
        guard policy.pools.keys.allSatisfy({ Pool(rawValue: $0) != nil }), policy.dailyQuotas.keys.allSatisfy({ Pool(rawValue: $0) != nil })
        else { return Decision(.illegalValue, RuleNote("pools")) }
        policy.isOn = policy.isBySaturation && policy.isOn(atPerMille: saturation(of: policy))
        let revoked = policy.revokes ? affected(by: policy, at: now) : []
        var events: [Event] = []
        set(.flow(policy), &events)
        refreshPoolRules(lots(of: policy))
        tellLots(of: policy, always: true, at: now, &events)
        events.append(
            .notice(
                Notice(
                    parkCode: lots(of: policy).first ?? "", eventType: policy.mode(at: now, calendar) == .off ? 4005 : 4004,
                    occurredAt: now,
                    detail: policy.policyId)))
        for var order in revoked { revoke(&order, .server, at: now, &events) }
        for parkCode in lots(of: policy) { noteFreed(parkCode) }
        return Decision(
            .entity(.flow(flows[City.FlowKey(parkCode: policy.parkCode, areaId: policy.areaId, policyId: policy.policyId)]!)), events)
    }

    /// Orders already made that a policy would hit: those whose window it closes. What it does to them is shown before it is done.
    public func affected(by policy: FlowPolicy, at now: Millis) -> [Order] {
        guard policy.mode == .closed else { return [] }
        return lots(of: policy).flatMap { lots[$0]?.orders.values.map { $0 } ?? [] }.filter { order in
            guard order.status == .held || order.status == .booked else { return false }
            let from = max(now, order.enterStart)
            guard policy.validFrom < order.enterEnd, from < policy.validTo else { return false }
            // Part of a window that stays open is enough to come.
            let window = Span(max(from, policy.validFrom), min(order.enterEnd, policy.validTo))
            let closed =
                policy.segments.isEmpty ? [window] : Segment.spans(policy.segments, from: window.from, to: window.to, calendar)
            return closed == [Span(from, order.enterEnd)] || closed.first.map { $0.from <= from && $0.to >= order.enterEnd } == true
        }.sorted { $0.serial < $1.serial }
    }

    /// Ends an order without anybody's fault (state 8).
    mutating func revoke(_ order: inout Order, _ type: CancelType, at now: Millis, _ events: inout [Event]) {
        order.status = .revoked
        order.isCompensated = true
        order.orderVer += 1
        order.holdDeadline = nil
        giveBackDailyCount(of: order, &events)
        returnDeposit(of: order, at: now, &events)
        giveBackAppointment(of: order, &events)
        sendCancel(&order, type, at: now, &events)
        update(order, at: now, &events)
        events.append(
            .notice(Notice(parkCode: order.parkCode, eventType: 2012, occurredAt: now, orderNo: order.orderNo, detail: "\(type)")))
    }

    /// Pools that policies name, as each lot counts them.
    mutating func refreshPoolRules(_ parkCodes: [String]) {
        for parkCode in Set(parkCodes) where lots[parkCode] != nil {
            lots[parkCode]!.poolRules = flows(of: parkCode).flatMap { policy in
                policy.pools.sorted { $0.key < $1.key }.compactMap { name, count in
                    Pool(rawValue: name).map { PoolRule(pool: $0, count: count, from: policy.validFrom, to: policy.validTo) }
                }
            }
        }
    }

    /// D18: a lot's own policy goes to it whole, and it follows its own saturation and clock, also alone; of an area's policy it is told what
    /// is demanded now.
    private mutating func tellLots(of policy: FlowPolicy, always: Bool, at now: Millis, _ events: inout [Event]) {
        var policy = policy
        let mode = policy.areaId.isEmpty ? policy.mode : policy.mode(at: now, calendar)
        guard always || policy.told != mode else { return }
        policy.told = mode
        set(.flow(policy), &events)
        for parkCode in lots(of: policy) where lots[parkCode] != nil {
            append(.flow(policy, mode), to: parkCode, about: "", at: now, &events)
        }
    }

    // MARK: Following

    /// A lot has filled or emptied: switches of policies, and the levels that are told (events 4001 to 4003).
    mutating func followSaturation(at now: Millis, _ events: inout [Event]) {
        let lots = refilled.sorted()
        refilled = []
        for parkCode in lots {
            let level = self.lots[parkCode]!.saturation.perMille
            let told = self.lots[parkCode]!.toldLevel
            // 2 full, 1 nearly full; back to normal only well below, so that one car does not make a row of events.
            let now2 = level >= 1000 ? 2 : level >= 900 ? max(1, told == 2 && level > 950 ? 2 : 1) : told > 0 && level > 850 ? told : 0
            if now2 != told {
                self.lots[parkCode]!.toldLevel = now2
                events.append(
                    .notice(
                        Notice(
                            parkCode: parkCode, eventType: now2 == 2 ? 4002 : now2 == 1 ? 4001 : 4003, occurredAt: now,
                            detail: "\(level / 10)")))
            }
        }
        guard !flows.isEmpty else { return }
        var seen: Set<FlowKey> = []
        for parkCode in lots {
            for policy in flows(of: parkCode) {
                guard seen.insert(FlowKey(parkCode: policy.parkCode, areaId: policy.areaId, policyId: policy.policyId)).inserted else {
                    continue
                }
                followSwitch(policy, at: now, &events)
            }
        }
    }

    private mutating func followSwitch(_ policy: FlowPolicy, at now: Millis, _ events: inout [Event]) {
        guard policy.isBySaturation, policy.mode != .off, now < policy.validTo else { return }
        let isOn = policy.isOn(atPerMille: saturation(of: policy))
        guard isOn != policy.isOn else { return }
        var policy = policy
        policy.isOn = isOn
        set(.flow(policy), &events)
        for parkCode in lots(of: policy) {
            events.append(
                .notice(Notice(parkCode: parkCode, eventType: isOn ? 4004 : 4005, occurredAt: now, detail: policy.policyId)))
            if !isOn { noteFreed(parkCode) }
        }
        if !policy.areaId.isEmpty { tellLots(of: policy, always: false, at: now, &events) }
    }

    /// Policies of areas that follow the clock: their lots are told when the demand changes. Called with the lot's deadlines.
    mutating func followClock(_ parkCode: String, at now: Millis, _ events: inout [Event]) {
        guard !flows.isEmpty else { return }
        for policy in flows(of: parkCode) where !policy.areaId.isEmpty && areas[policy.areaId]?.parkCodes.first == parkCode {
            tellLots(of: policy, always: false, at: now, &events)
        }
    }

    // MARK: Booking under flow control

    /// What flow control says to a new order, and which daily quotas of areas it counts against.
    func flowDemands(on order: Order, at now: Millis, isNew: Bool = true) -> (refusal: Decision?, claims: [(key: String, max: Int)]) {
        guard !flows.isEmpty else { return (nil, []) }
        for policy in flows(of: order.parkCode) {
            // A policy by saturation says how it is now; what it will say at the time of entry nobody knows.
            let time = policy.isBySaturation ? now : max(now, order.planTime)
            let mode = policy.mode(at: time, calendar)
            guard mode != .off else { continue }
            if mode == .closed {
                return (Decision(.flowControlActive, RuleNote(policy.policyId, until: policy.validTo)), [])
            }
            let limit = policy.bookingLimitPercent * 10
            let expected = bookedSaturation(order.parkCode, at: max(now, order.planTime), now: now)
            if expected >= limit {
                return (Decision(.saturated, RuleNote(policy.policyId, used: expected, max: limit)), [])
            }
        }
        guard isNew else { return (nil, []) }
        let claims = areaClaims(of: order)
        for claim in claims where counters[claim.key, default: 0] >= claim.max {
            return (
                Decision(
                    .poolEmpty,
                    RuleNote(
                        order.pool.rawValue, used: counters[claim.key], max: claim.max,
                        until: CivilTime.start(ofDay: CivilTime.day(of: order.planTime) + 1))), []
            )
        }
        return (nil, claims)
    }

    /// The daily quotas that an order counts against.
    func areaClaims(of order: Order) -> [(key: String, max: Int)] {
        guard !flows.isEmpty else { return [] }
        let day = CivilTime.day(of: order.planTime)
        return flows(of: order.parkCode).compactMap { policy in
            guard policy.mode != .off, policy.validFrom <= order.planTime, order.planTime < policy.validTo,
                let max = policy.dailyQuotas[order.pool.rawValue]
            else { return nil }
            return ("fd|\(day)|\(policy.areaId.isEmpty ? policy.parkCode : policy.areaId)|\(policy.policyId)|\(order.pool.rawValue)", max)
        }
    }

    // MARK: Forecast

    /// S_book(t) of section 8, per thousand: expected cars, and orders that hold a place and are not in yet, of the capacity.
    public func bookedSaturation(_ parkCode: String, at time: Millis, now: Millis) -> Int {
        guard let lot = lots[parkCode], let capacity = lot.profile?.totalCount else { return 0 }
        return Saturation(
            occupied: lot.expectedOccupied(at: time, now: now, calendar).count + lot.notArrived(from: time, to: time + 1),
            capacity: capacity
        ).perMille
    }
}

extension Lot {
    /// Cars expected at a moment: those of now, and how the lot usually changes from now until then (last four same weekdays). Without that
    /// history, those of now; `dayCount` says what it rests on.
    public func expectedOccupied(at time: Millis, now: Millis, _ calendar: WorkCalendar) -> (count: Int, dayCount: Int) {
        let present = occupied
        guard time > now else { return (present, 0) }
        func usual(_ time: Millis) -> (count: Int, days: Int)? {
            guard let profile = occupancy[calendar.weekday(ofDay: CivilTime.day(of: time))], profile.occupied.count == 48 else {
                return nil
            }
            let minute = CivilTime.minuteOfDay(time)
            let (index, part) = (minute / 30, minute % 30)
            let next = profile.occupied[min(47, index + 1)]
            return (profile.occupied[index] + (next - profile.occupied[index]) * part / 30, profile.dayCount)
        }
        guard let then = usual(time), let today = usual(now) else { return (present, 0) }
        let capacity = profile?.totalCount ?? 0
        return (min(capacity, max(0, present + then.count - today.count)), min(then.days, today.days))
    }
}

extension OccupancyProfile {
    /// The profile of a weekday from days of it, each 48 counts, the newest last; at most four are used. Its error is measured by forecasting
    /// the newest day from those before it.
    public static func make(parkCode: String, weekday: Int, days: [[Int]], capacity: Int) -> OccupancyProfile? {
        let days = days.filter { $0.count == 48 }
        guard !days.isEmpty else { return nil }
        func mean(_ days: ArraySlice<[Int]>) -> [Int] {
            (0..<48).map { slot in (days.reduce(0) { $0 + $1[slot] } + days.count / 2) / days.count }
        }
        var error: Int?
        if days.count >= 2, capacity > 0 {
            let (held, before) = (days.last!, mean(days.dropLast().suffix(4)))
            error = zip(held, before).reduce(0) { $0 + abs($1.0 - $1.1) } * 1000 / (48 * capacity)
        }
        return OccupancyProfile(
            parkCode: parkCode, weekday: weekday, occupied: mean(days.suffix(4)), dayCount: min(4, days.count), errorPerMille: error)
    }
}
