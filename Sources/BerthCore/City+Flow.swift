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

    // MARK: Setting

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
            // A lot that left the area is free of it.
            for parkCode in old where !area.parkCodes.contains(parkCode) && now < policy.validTo {
                append(.flow(policy, .off), to: parkCode, about: "", at: now, &events)
                noteFreed(parkCode)
            }
        }
        return Decision(.entity(.area(area)), events)
    }

    /// A lot keeps what it is told by `policyId` alone, so two policies that meet in a lot have two names.
    private func isNameTaken(_ policy: FlowPolicy, by parkCodes: [String], at now: Millis) -> Bool {
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
        // What its saturation has switched on stays on until the lower end, also over a change of its text.
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
        return Decision(.entity(.flow(flows[key(of: policy)]!)), events)
    }

    private func key(of policy: FlowPolicy) -> FlowKey {
        FlowKey(parkCode: policy.parkCode, areaId: policy.areaId, policyId: policy.policyId)
    }

    /// Orders already made that a policy hits when it is set, or, by saturation, when that switches it on: those whose window it closes. Of a
    /// policy by saturation nobody knows how long it will be on: it hits windows that are open at that moment.
    public func affected(by policy: FlowPolicy, at now: Millis) -> [Reservation] {
        guard policy.mode == .closed else { return [] }
        return lots(of: policy).flatMap { lots[$0]?.reservations.values.map { $0 } ?? [] }.filter { reservation in
            guard reservation.status == .held || reservation.status == .booked else { return false }
            let from = max(now, reservation.enterStart)
            guard policy.validFrom < reservation.enterEnd, from < policy.validTo else { return false }
            if policy.isBySaturation {
                return from == now && now <= reservation.enterEnd && policy.validFrom <= now && policy.holdsSegment(at: now, calendar)
            }
            // Part of a window that stays open is enough to come.
            let window = Window(max(from, policy.validFrom), min(reservation.enterEnd, policy.validTo))
            let closed =
                policy.segments.isEmpty ? [window] : RecurringWindow.spans(policy.segments, from: window.from, to: window.to, calendar)
            return closed == [Window(from, reservation.enterEnd)] || closed.first.map { $0.from <= from && $0.to >= reservation.enterEnd } == true
        }.sorted { $0.serial < $1.serial }
    }

    /// Orders that exist already count against a quota of the day that is set now.
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
            lots[parkCode]!.poolRules = flows(of: parkCode).filter { !$0.isBySaturation || $0.isOn }.flatMap { policy in
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
            let policies = flows.isEmpty ? [] : flows(of: parkCode).filter { $0.areaId.isEmpty && $0.isBySaturation && now < $0.validTo }
            // Nearly full from where the lot's policy opens again, else from 90 %; back to normal only well below, so that one car does not
            // make a row of events.
            let nearly = (policies.map(\.openPercent).min() ?? 90) * 10
            let now2 =
                level >= 1000 ? 2 : level >= nearly ? max(1, told == 2 && level > 950 ? 2 : 1) : told > 0 && level > nearly - 50 ? told : 0
            if now2 != told {
                self.lots[parkCode]!.toldLevel = now2
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

    /// Tells that flow control begins (4004) or ends (4005) at the lots of a policy; where it ends, or its pools change, somebody may get a place.
    private mutating func noteSwitch(_ policy: FlowPolicy, from was: Bool, at now: Millis, _ events: inout [Event]) {
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

    /// When a policy that a lot looks at may begin or end next.
    func nextClock(_ parkCode: String, after now: Millis) -> Millis {
        guard !flows.isEmpty else { return .max }
        return flows(of: parkCode).filter { lots(of: $0).first == parkCode }.map { $0.nextChange(after: now) }.min() ?? .max
    }

    // MARK: Booking under flow control

    /// What flow control says to a new or moved order, and which daily quotas it counts against.
    /// - Parameters:
    ///   - except: holders of places that are its own: they do not stand in its way.
    ///   - hasRight: its place is kept for it already, so nothing is added by booking it.
    func flowDemands(on reservation: Reservation, at now: Millis, except: Set<String> = [], hasRight: Bool = false) -> (
        refusal: Decision?, claims: [(key: String, max: Int)]
    ) {
        guard !flows.isEmpty else { return (nil, []) }
        for policy in flows(of: reservation.parkCode) {
            // A policy by saturation says how it is now; what it will say at the time of entry nobody knows.
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

    /// The daily quotas (R5) that an order falls under by its day.
    func quotas(of reservation: Reservation) -> [(key: String, max: Int)] { quotas(reservation.parkCode, reservation.pool, planTime: reservation.planTime) }

    static func quotaKey(_ policy: FlowPolicy, day: Int64, pool: String) -> String {
        "fd|\(day)|\(policy.areaId.isEmpty ? policy.parkCode : policy.areaId)|\(policy.policyId)|\(pool)"
    }

    private func quotas(_ parkCode: String, _ pool: Pool, planTime: Millis) -> [(key: String, max: Int)] {
        guard !flows.isEmpty else { return [] }
        let day = CivilTime.day(of: planTime)
        return flows(of: parkCode).compactMap { policy in
            guard policy.mode != .off, policy.validFrom <= planTime, planTime < policy.validTo, let max = policy.dailyQuotas[pool.rawValue]
            else { return nil }
            return (City.quotaKey(policy, day: day, pool: pool.rawValue), max)
        }
    }

    /// Counts an order against the daily quotas that it falls under now, and no longer against those of its old day.
    mutating func countQuotas(of reservation: inout Reservation, _ events: inout [Event]) {
        let keys = quotas(of: reservation).map(\.key)
        for key in reservation.quotaKeys where !keys.contains(key) { count(key, by: -1, &events) }
        for key in keys where !reservation.quotaKeys.contains(key) { count(key, by: 1, &events) }
        // Most have none, and an order that is written to may be copied.
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

    /// The slots of a day as `reservation.create` would find them: a slot is full exactly when no time in it can be booked (A03).
    ///
    /// The room that a booking finds changes at steps of the calendar, at opening hours and at windows, all of them on whole minutes: each slot is
    /// looked at every five minutes, and from the first moments at which something opens in it.
    public func slots(_ parkCode: String, _ purpose: Purpose, day: Int64, now: Millis) -> [Lot.Slot] {
        guard let lot = lots[parkCode], let profile = lot.profile else { return [] }
        let policy = lot.policy(purpose)
        let length = Millis(policy.slotMin) * CivilTime.minute
        let dayStart = CivilTime.start(ofDay: day)
        let dayEnd = dayStart + CivilTime.dayLength
        let marks = openings(of: lot, purpose, from: dayStart, to: dayEnd)
        let offers = purpose == .shared ? lot.offers.values.filter(\.isBookable) : []
        return stride(from: dayStart, to: dayEnd, by: Int(length)).map { start in
            let end = min(start + length, dayEnd)
            let at = max(start, now)
            var slot = Lot.Slot(
                start: start, end: end, quota: lot.quota(purpose.pool, at: at), remain: 0, excess: 0, isFull: true, reason: nil)
            for offer in offers where offer.validFrom <= at && at < offer.validTo { slot.quota += offer.unitCount }
            guard end > now else {
                slot.reason = .tooLate
                return slot
            }
            var times = Set(stride(from: start, to: end, by: Int(5 * CivilTime.minute)))
            times.formUnion(marks.filter { start <= $0 && $0 < end })
            var least = Int.max
            for time in times.sorted() {
                let found = bookable(lot, profile, purpose, at: time, now: now)
                slot.excess = max(slot.excess, found.excess)
                if found.left > 0 {
                    least = min(least, found.left)
                } else if slot.reason == nil || slot.reason == .tooLate || slot.reason == .lotClosed {
                    // The reason that helps most: a shortage rather than a closed door.
                    slot.reason = found.refusal ?? slot.reason
                }
            }
            slot.isFull = least == .max
            slot.remain = slot.isFull ? 0 : least
            if !slot.isFull { slot.reason = nil }
            return slot
        }
    }

    /// Moments of a day at which something opens or closes at a lot.
    private func openings(of lot: Lot, _ purpose: Purpose, from: Millis, to: Millis) -> [Millis] {
        var marks: [Millis] = []
        for hours in lot.profile?.openHours ?? [] {
            for minute in [hours.start, hours.end] { marks.append(from + Millis(minute) * CivilTime.minute) }
        }
        if purpose == .shared {
            var seen: [[RecurringWindow]] = [poolWindow(lot.policy(.shared))]
            for offer in lot.offers.values where offer.isBookable && !seen.contains(offer.segments) && seen.count < 50 {
                seen.append(offer.segments)
            }
            for span in seen.flatMap({ RecurringWindow.spans($0, from: from, to: to, calendar) }) { marks += [span.from, span.to] }
        }
        return marks
    }

    /// How many more orders of a business a lot would take for a time of arrival, and why it takes none.
    private func bookable(
        _ lot: Lot, _ profile: LotProfile, _ purpose: Purpose, at planTime: Millis, now: Millis
    ) -> (left: Int, excess: Int, refusal: Rejection?) {
        if let refused = refuseTime(planTime, lot: lot, profile: profile, purpose: purpose, at: now) {
            return (0, 0, refused.outcome.refusal)
        }
        let policy = lot.policy(purpose)
        let isPublic = purpose == .publicService
        let early = Millis(isPublic ? policy.bizBeforeMin : policy.earlyMin) * CivilTime.minute
        let late = Millis(isPublic ? policy.bizAfterMin : policy.lateMin) * CivilTime.minute
        let stay = Millis(isPublic ? policy.bizStayMin : policy.stayMin) * CivilTime.minute
        var probe = City.probe(lot.parkCode, purpose, planTime: planTime, stayMin: Int(stay / CivilTime.minute))
        probe.enterStart = planTime - early
        probe.enterEnd = planTime + late
        if purpose != .reservation { probe.leaveDeadline = planTime + stay }
        var (left, excess) = (0, 0)
        var refusal: Rejection = lot.isNamed(purpose.pool, from: probe.enterStart, to: probe.expectedLeave) ? .poolEmpty : .noBookableSpace
        if purpose == .shared {
            switch sharedRoom(for: &probe, lot: lot, at: now) {
            case .success(let count): left = count
            case .failure(let why): refusal = why
            }
            excess = lot.excess(.shared, at: max(planTime, now))
        } else {
            (left, excess) = lot.room(purpose.pool, from: probe.enterStart, to: probe.expectedLeave, now: now)
            if left == 0, isPublic {
                if CivilTime.day(of: planTime) != CivilTime.day(of: now) {
                    refusal = .publicQuotaUsedUp
                } else {
                    left = max(0, lot.rollingRoom(from: probe.enterStart, to: probe.expectedLeave, now: now))
                    refusal = .saturated
                }
            }
        }
        guard left > 0 else { return (0, excess, refusal) }
        guard !flows.isEmpty else { return (left, excess, nil) }
        if let refused = flowDemands(on: probe, at: now).refusal { return (0, excess, refused.outcome.refusal) }
        for claim in quotas(of: probe) { left = min(left, max(0, claim.max - counted(claim.key))) }
        if let limit = bookingLimit(lot.parkCode, at: max(now, planTime), now: now) {
            let used = bookedSaturation(lot.parkCode, at: max(now, planTime), now: now)
            left = min(left, max(0, (limit - used) * profile.totalCount + 999) / 1000)
        }
        return (left, excess, left > 0 ? nil : .saturated)
    }

    private static let probePlate = Plate("粤B00000")!

    /// An order of nobody, for asking what one would find.
    private static func probe(_ parkCode: String, _ purpose: Purpose, planTime: Millis, stayMin: Int) -> Reservation {
        Reservation(
            serial: 0, orderNo: "", clientOrderNo: "", requestHash: "", appId: "", userToken: "", parkCode: parkCode, purpose: purpose,
            plate: probePlate, plateColor: 9, mobile: "", extNo: nil, planTime: planTime, enterStart: planTime, enterEnd: planTime,
            leaveDeadline: nil, stayMin: stayMin, entryLimit: 1, status: .booked, createdAt: 0)
    }

    // MARK: Forecast

    /// S_book(t) of section 8, per thousand: expected cars, and orders that hold a place and are not in yet, of the capacity.
    public func bookedSaturation(_ parkCode: String, at time: Millis, now: Millis, except: Set<String> = []) -> Int {
        guard let lot = lots[parkCode], let capacity = lot.profile?.totalCount else { return 0 }
        return Saturation(
            occupied: lot.expectedOccupied(at: time, now: now, calendar).count + lot.notArrived(at: time, now: now, except: except),
            capacity: capacity
        ).perMille
    }
}

extension Lot {
    /// Cars expected at a moment (section 8): those of now, less those of orders and subscriptions whose time is over by then, and how cars
    /// without an order usually change from now until then (last four same weekdays). Without that history they stay as they are; `dayCount`
    /// says what it rests on.
    public func expectedOccupied(at time: Millis, now: Millis, _ calendar: WorkCalendar) -> (count: Int, dayCount: Int) {
        let present = occupied
        guard time > now else { return (present, 0) }
        let leaving =
            reservations.values.reduce(0) { $0 + ($1.status == .inLot && now < $1.expectedLeave && $1.expectedLeave <= time ? 1 : 0) }
            + subscriptions.values.reduce(0) { sum, share in
                sum + (share.insidePlate != nil && share.leaveBy.map { now < $0 && $0 <= time } == true ? 1 : 0)
            }
        guard let then = usual(at: time, calendar), let today = usual(at: now, calendar) else { return (max(0, present - leaving), 0) }
        let capacity = profile?.totalCount ?? 0
        return (min(capacity, max(0, present - leaving + then.count - today.count)), min(then.days, today.days))
    }

    /// Cars without an order, as a rule, at this time of this weekday.
    private func usual(at time: Millis, _ calendar: WorkCalendar) -> (count: Int, days: Int)? {
        guard let profile = occupancy[calendar.weekday(ofDay: CivilTime.day(of: time))], profile.occupied.count == 48 else { return nil }
        let minute = CivilTime.minuteOfDay(time)
        let (index, part) = (minute / 30, minute % 30)
        let next = profile.occupied[min(47, index + 1)]
        return (profile.occupied[index] + (next - profile.occupied[index]) * part / 30, profile.dayCount)
    }

    /// Cars that are in without an order or a subscription, as profiles count them.
    public var walkInCount: Int {
        max(0, occupied - inside.values.reduce(0) { $0 + (visits[$1]?.orderNo == nil ? 0 : 1) })
    }
}

extension OccupancyProfile {
    /// How far ahead the error is measured: half an hour to two hours, in half hours.
    private static let horizons = 1...4

    /// The profile of a weekday from days of it, each 48 counts, the newest last; at most four are used. Its error is that of the forecast as it
    /// is made (the count of a moment, and how the other days changed from then on), half an hour to two hours ahead, on each day held out.
    public static func make(parkCode: String, weekday: Int, days: [[Int]], capacity: Int) -> OccupancyProfile? {
        let days = Array(days.filter { $0.count == 48 }.suffix(5))
        guard !days.isEmpty else { return nil }
        func mean(_ days: [[Int]]) -> [Int] {
            (0..<48).map { slot in (days.reduce(0) { $0 + $1[slot] } + days.count / 2) / days.count }
        }
        var error: Int?
        if days.count >= 2, capacity > 0 {
            var (sum, count) = (0, 0)
            for held in days.indices {
                let usual = mean(days.indices.filter { $0 != held }.map { days[$0] })
                for horizon in horizons {
                    for slot in 0..<(48 - horizon) {
                        let forecast = min(capacity, max(0, days[held][slot] + usual[slot + horizon] - usual[slot]))
                        sum += abs(days[held][slot + horizon] - forecast)
                        count += 1
                    }
                }
            }
            error = sum * 1000 / (count * capacity)
        }
        return OccupancyProfile(
            parkCode: parkCode, weekday: weekday, occupied: mean(Array(days.suffix(4))), dayCount: min(4, days.count), errorPerMille: error)
    }
}
