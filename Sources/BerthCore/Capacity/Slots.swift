// Bookable places by slot (`slot.query`).
extension City {
    /// The slots of a day as `order.create` would find them: a slot is full exactly when no time in it can be booked (A03).
    ///
    /// The room that a booking finds changes at steps of the calendar, at opening hours and at windows, all of them on whole minutes. So
    /// each slot is looked at every five minutes, and from the first moments at which something opens in it.
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
                    // A shortage is named rather than a closed lot, because that reason helps the driver more.
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

    /// The number of further reservations of a business that a lot would take for a time of arrival; where it is 0, also the reason.
    func bookable(
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

    /// A reservation without a user, to find out the answer that a real one would get.
    static func probe(_ parkCode: String, _ purpose: Purpose, planTime: Millis, stayMin: Int) -> Reservation {
        Reservation(
            serial: 0, orderNo: "", clientOrderNo: "", requestHash: "", appId: "", userToken: "", parkCode: parkCode, purpose: purpose,
            plate: probePlate, plateColor: 9, mobile: "", extNo: nil, planTime: planTime, enterStart: planTime, enterEnd: planTime,
            leaveDeadline: nil, stayMin: stayMin, entryLimit: 1, status: .booked, createdAt: 0)
    }
}
