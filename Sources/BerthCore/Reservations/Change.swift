// Changing a reservation: another time, another plate, a delay (A03, A08).
extension City {
    mutating func modify(
        appId: String, orderNo: String, planTime: Millis?, plate: Plate?, plateColor: Int?, at now: Millis,
        past: Past
    ) -> Decision {
        guard var reservation = reservation(orderNo, past: past), reservation.appId == appId else {
            return Decision(.refused(.orderNotFound))
        }
        switch reservation.status {
        case .held, .booked: break
        case .inLot: return Decision(.refused(.modifyAfterEntry))
        case .done: return Decision(.refused(.orderFinished))
        case .cancelled, .cancelledBreach: return Decision(.refused(.orderCancelled))
        default: return Decision(.refused(.wrongState))
        }
        guard let lot = lots[reservation.parkCode], let profile = lot.profile else { return Decision(.refused(.lotIncomplete)) }
        if now > reservation.enterEnd { return Decision(.refused(.tooLate)) }
        // A place of an appointment moves with the appointment, a shared one is chosen anew.
        if reservation.purpose == .publicService, planTime != nil { return Decision(.refused(.wrongState)) }
        let policy = lot.policy(reservation.purpose)
        // No reference to the lot is kept, because a change would then copy it.
        let policyVersion = lot.policyVersion
        let old = reservation
        City.apply(planTime: planTime, plate: plate, plateColor: plateColor, to: &reservation, at: now)
        if reservation == old { return Decision(.reservation(old, isRepeat: false)) }
        if let refused = refuseChange(of: old, to: &reservation, lot, profile, policy, at: now) { return refused }
        if let refused = refuseOverlap(of: reservation) { return refused }
        // Days that it counts in and did not before: of its user, and of each of its plates.
        let (gone, fresh) = (City.dayKeys(old), City.dayKeys(reservation))
        if let refused = refuseDay(of: reservation, fresh, policy: policy, except: Set(gone)) { return refused }
        if reservation.planTime != old.planTime, let shortage = move(old, to: &reservation, at: now) {
            return full(shortage, reservation, policy: policy, at: now)
        }
        // The other terms stay the old ones; the version is the one under which the change was made.
        reservation.terms.version = max(reservation.terms.version, policyVersion)
        var events: [Event] = []
        for key in gone where !fresh.contains(key) { count(key, by: -1, &events) }
        for key in fresh where !gone.contains(key) {
            count(key, by: 1, max: key.hasPrefix("ud|") ? policy.dailyMaxPerUser : policy.dailyMaxPerPlate, &events)
        }
        countQuotas(of: &reservation, &events)
        reservation.orderVer += 1
        sendChange(&reservation, at: now, &events)
        update(reservation, at: now, &events)
        return Decision(.reservation(known(orderNo) ?? reservation, isRepeat: false), events)
    }

    private static func apply(planTime: Millis?, plate: Plate?, plateColor: Int?, to reservation: inout Reservation, at now: Millis) {
        let old = reservation
        if let plate { reservation.plate = plate }
        if let plateColor { reservation.plateColor = plateColor }
        if let planTime {
            // Early and late minutes as they were agreed, with a delay that was granted.
            reservation.planTime = planTime
            reservation.enterStart += planTime - old.planTime
            reservation.enterEnd += planTime - old.planTime
            // A reservation that can no longer be cancelled freely does not become free to cancel by a move.
            if now < reservation.terms.freeCancelUntil { reservation.terms.freeCancelUntil += planTime - old.planTime }
            if reservation.leaveDeadline != nil { reservation.leaveDeadline = planTime + Millis(reservation.stayMin) * CivilTime.minute }
        }
    }

    /// The reason for which a change cannot be made, whatever room there is; nil when it can.
    private func refuseChange(
        of old: Reservation, to reservation: inout Reservation, _ lot: Lot, _ profile: LotProfile, _ policy: Policy, at now: Millis
    ) -> Decision? {
        guard reservation.plate.fits(color: reservation.plateColor) else { return Decision(.refused(.plateColorMismatch)) }
        if reservation.plate != old.plate {
            if reservation.plateChanges >= reservation.terms.plateChangesMax {
                return Decision(
                    .wrongState, RuleNote("plateChangesMax", used: reservation.plateChanges, max: reservation.terms.plateChangesMax))
            }
            if let refused = refusePlate(reservation.plate, lot: lot, policy: policy, at: now) { return refused }
            // An appointment that names its car is for that car.
            if let named = appointment(of: reservation)?.1.plate, named != reservation.plate {
                return Decision(.plateDiffers, RuleNote("appointment"))
            }
            let standing = standing(
                of: reservation.appId, reservation.userToken, reservation.plate, lot: lot, purpose: reservation.purpose, policy: policy,
                at: now)
            if let standing, standing.1.rule == "noShowMaxPerPlate" { return Decision(standing.0, standing.1) }
            reservation.plateChanges += 1
        }
        if reservation.planTime != old.planTime {
            if let refused = refuseTime(
                reservation.planTime, lot: lot, profile: profile, purpose: reservation.purpose, pool: reservation.pool, at: now)
            {
                return refused
            }
            if let refused = flowDemands(on: reservation, at: now, except: [reservation.orderNo]).refusal,
                let refusal = refused.outcome.refusal
            {
                return full(refusal, reservation, note: refused.note, policy: policy, at: now)
            }
        }
        return nil
    }

    /// Finds the place of a reservation that moves to another time. Where there is none, the old place is held as before.
    /// - Returns: the shortage; nil when there is a place.
    private mutating func move(_ old: Reservation, to reservation: inout Reservation, at now: Millis) -> Rejection? {
        // The reservation's own place does not count against it.
        lots[known: reservation.parkCode].advance(to: now)
        lots[known: reservation.parkCode].release(reservation)
        var shortage: Rejection?
        if reservation.purpose == .shared {
            let offerId = reservation.offerId
            reservation.leaveDeadline = reservation.planTime + Millis(reservation.stayMin) * CivilTime.minute
            switch sharedPlace(
                for: &reservation, offerId: offerId, stayMin: reservation.stayMin, lot: lots[known: reservation.parkCode], at: now)
            {
            case .success(let place):
                reservation.spaceNo = place.space
                reservation.offerId = place.offer?.offerId
                // A reservation that moves within its offer keeps the agreed price.
                if reservation.offerId == offerId { reservation.terms.price = old.terms.price }
            case .failure(let refusal): shortage = refusal
            }
        } else if !lots[known: reservation.parkCode].hasRoom(
            reservation.pool, from: reservation.enterStart, to: reservation.expectedLeave, now: now)
        {
            let isNamed = lots[known: reservation.parkCode].isNamed(
                reservation.pool, from: reservation.enterStart, to: reservation.expectedLeave)
            shortage = isNamed ? .poolEmpty : .noBookableSpace
        }
        if let shortage {
            lots[known: reservation.parkCode].rehold(old, now: now)
            return shortage
        }
        return nil
    }

    /// Tells the lot of a change, if the lot has heard of the reservation.
    mutating func sendChange(_ reservation: inout Reservation, at now: Millis, _ events: inout [Event]) {
        guard reservation.downSeq > 0 else { return }
        send(LotMessage.modify, of: &reservation, at: now, &events)
    }

    /// A08: extends the entry window once; for a car inside that has a time to leave, extends that time. A place whose hold would end
    /// before the new window ends is held for longer, if nobody follows.
    mutating func delay(appId: String, orderNo: String, at now: Millis, past: Past) -> Decision {
        guard var reservation = reservation(orderNo, past: past), reservation.appId == appId else {
            return Decision(.refused(.orderNotFound))
        }
        switch reservation.status {
        case .held, .booked: break
        case .inLot:
            guard reservation.leaveDeadline != nil else { return Decision(.refused(.modifyAfterEntry)) }
        case .done: return Decision(.refused(.orderFinished))
        case .cancelled, .cancelledBreach: return Decision(.refused(.orderCancelled))
        default: return Decision(.refused(.wrongState))
        }
        guard !reservation.isDelayed, reservation.terms.delayMin > 0 else {
            return Decision(
                .delayNotAllowed, RuleNote("delayMin", used: reservation.isDelayed ? 1 : 0, max: reservation.terms.delayMin > 0 ? 1 : 0))
        }
        let more = Millis(reservation.terms.delayMin) * CivilTime.minute
        lots[reservation.parkCode]?.advance(to: now)
        if reservation.status == .inLot {
            guard let deadline = reservation.leaveDeadline, now <= deadline,
                canStay(reservation, from: deadline, to: deadline + more, now: now)
            else {
                return Decision(.delayNotAllowed, RuleNote("delayMin", until: reservation.leaveDeadline))
            }
            reservation.leaveDeadline = deadline + more
            reservation.isWarned = false
        } else {
            if now > reservation.enterEnd { return Decision(.tooLate, RuleNote("enterEnd", until: reservation.enterEnd)) }
            var later = reservation.enterEnd + more
            if later > reservation.expectedLeave {
                // The end of the stay moves as far as the end of the window, so that the driver keeps as much of the stay.
                let added = later - reservation.enterEnd
                if canStay(reservation, from: reservation.expectedLeave, to: reservation.expectedLeave + added, now: now) {
                    if let deadline = reservation.leaveDeadline { reservation.leaveDeadline = deadline + added }
                    reservation.stayMin += Int(added / CivilTime.minute)
                } else {
                    later = reservation.expectedLeave
                }
            }
            guard later > reservation.enterEnd else { return Decision(.delayNotAllowed, RuleNote("delayMin", until: reservation.enterEnd)) }
            reservation.enterEnd = later
        }
        reservation.isDelayed = true
        reservation.orderVer += 1
        var events: [Event] = []
        sendChange(&reservation, at: now, &events)
        update(reservation, at: now, &events)
        return Decision(.reservation(known(orderNo) ?? reservation, isRepeat: false), events)
    }

    /// Whether the reservation's place has no next holder in this time.
    private func canStay(_ reservation: Reservation, from: Millis, to: Millis, now: Millis) -> Bool {
        guard let lot = lots[reservation.parkCode] else { return false }
        guard let space = reservation.spaceNo else {
            if reservation.purpose == .shared {
                let policy = lot.policy(.shared)
                guard RecurringWindow.spans(policy.quiet, from: to, to: to + 1, calendar).isEmpty,
                    RecurringWindow.covers(poolWindow(policy), from: from, to: to, calendar)
                else { return false }
            }
            return lot.hasRoom(reservation.pool, from: from, to: to, now: now)
        }
        guard let offer = reservation.offerId.flatMap({ lot.offers[$0] }), offer.isBookable, to <= offer.validTo,
            RecurringWindow.spans(offer.quietHours + lot.policy(.shared).quiet, from: to, to: to + 1, calendar).isEmpty
        else { return false }
        return lot.spaces.isFree(space, from: from, to: to, except: reservation.orderNo)
            && RecurringWindow.covers(offer.segments, from: from, to: to, calendar)
    }
}
