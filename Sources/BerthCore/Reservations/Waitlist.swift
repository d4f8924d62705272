// Waiting for a place 候补 (R1): one reservation a user, in order, promoted automatically, closed ten minutes before.
extension City {
    /// Puts a new reservation on the waitlist, because its window is full.
    mutating func wait(_ reservation: inout Reservation, policy: Policy, at now: Millis) -> Decision {
        let closes = reservation.planTime - Millis(policy.waitlistCloseMin) * CivilTime.minute
        guard now < closes else {
            return full(
                .waitlistClosed, reservation, note: RuleNote("waitlistCloseMin", max: policy.waitlistCloseMin, until: closes),
                policy: policy,
                at: now)
        }
        let own = claims.waiting(of: reservation.appId, reservation.userToken)
        guard own < policy.waitlistPerUser else {
            return full(
                .waitlistFull, reservation, note: RuleNote("waitlistPerUser", used: own, max: policy.waitlistPerUser), policy: policy,
                at: now)
        }
        let inLot = claims.waiting(in: reservation.parkCode)
        guard inLot < policy.waitlistMax else {
            return full(
                .waitlistFull, reservation, note: RuleNote("waitlistMax", used: inLot, max: policy.waitlistMax), policy: policy, at: now)
        }
        numbers.given(.reservation, reservation.serial)
        reservation.status = .waitlisted
        reservation.holdDeadline = closes
        reservation.deliver = .notNeeded
        reservation.spaceNo = nil
        var events: [Event] = []
        update(reservation, at: now, &events)
        var decision = Decision(.reservation(known(reservation.orderNo) ?? reservation, isRepeat: false), events)
        decision.alternatives = alternatives(to: reservation, policy: policy, at: now)
        return decision
    }

    /// The position of a reservation among those that wait at the lot, from 1.
    public func position(of reservation: Reservation) -> Int? {
        guard reservation.status == .waitlisted else { return nil }
        return lots[reservation.parkCode]?.waiting.firstIndex { $0.orderNo == reservation.orderNo }.map { $0 + 1 }
    }

    mutating func leaveWaitlist(appId: String, orderNo: String, at now: Millis, past: Past) -> Decision {
        guard var reservation = reservation(orderNo, past: past), reservation.appId == appId else {
            return Decision(.refused(.orderNotFound))
        }
        guard reservation.status == .waitlisted else {
            return Decision(.refused(reservation.status == .cancelled ? .orderCancelled : .wrongState))
        }
        var events: [Event] = []
        end(&reservation, as: .leftWaitlist, now: now, &events)
        return Decision(
            .cancelled(
                reservation, isBreach: false, leftToday: cancelsLeft(reservation, at: now).today,
                leftThisMonth: cancelsLeft(reservation, at: now).month),
            events)
    }

    /// Promotes waiting reservations before a new booking is decided, also into a place that has become free by time alone.
    mutating func promoteFirst(_ parkCode: String, at now: Millis) -> [Event] {
        guard claims.waiting(in: parkCode) > 0 else { return [] }
        var events: [Event] = []
        freed.insert(parkCode)
        giveFreedPlaces(at: now, &events)
        return events
    }

    /// Gives places that have become free to appointments without a place and to waiting reservations, in their order.
    mutating func giveFreedPlaces(at now: Millis, _ events: inout [Event]) {
        // A promotion frees no place, but it may end the waiting of others: one round looks at every waiting reservation.
        let lots = freed.sorted()
        freed = []
        for parkCode in lots {
            self.lots[known: parkCode].advance(to: now)
            giveRights(parkCode, at: now, &events)
            guard claims.waiting(in: parkCode) > 0 else { continue }
            for reservation in self.lots[known: parkCode].waiting { promote(reservation, at: now, &events) }
        }
        freed = []
    }

    private mutating func promote(_ waiting: Reservation, at now: Millis, _ events: inout [Event]) {
        var reservation = waiting
        let lot = lots[known: reservation.parkCode]
        let policy = lot.policy(reservation.purpose)
        guard now < reservation.holdDeadline ?? 0, let profile = lot.profile, profile.enabled.contains(reservation.purpose),
            isOpened(lot, for: reservation.purpose)
        else { return }
        if reservation.purpose == .shared {
            guard
                case .success(let place) = sharedPlace(
                    for: &reservation, offerId: reservation.offerId, stayMin: reservation.stayMin, lot: lot, at: now)
            else { return }
            reservation.spaceNo = place.space
            reservation.offerId = place.offer?.offerId
        } else {
            guard lacksRoom(&reservation, now: now) == nil else { return }
        }
        let controls = flowDemands(on: reservation, at: now)
        guard controls.refusal == nil else { return }
        // A reservation that its user or plates may not make any more is not promoted and keeps its position.
        let day = CivilTime.day(of: reservation.planTime)
        guard counted(City.userDayKey(reservation, day: day)) < policy.dailyMaxPerUser,
            reservation.plates.allSatisfy({ counted(City.plateDayKey($0, day: day)) < policy.dailyMaxPerPlate }),
            !reservation.plates.contains(where: { claims.overlap($0, with: reservation) != nil }),
            reservation.plates.allSatisfy({ plate in
                refusePlate(plate, lot: lot, policy: policy, at: now) == nil
                    && standing(
                        of: reservation.appId, reservation.userToken, plate, lot: lot, purpose: reservation.purpose, policy: policy, at: now
                    ) == nil
            })
        else { return }
        reservation.orderVer += 1
        reservation.promotedAt = now
        claim(&reservation, policy: policy, &events)
        certify(&reservation, policy: policy, at: now, &events)
        events.append(.notice(LotEvent(parkCode: reservation.parkCode, eventType: 2013, occurredAt: now, orderNo: reservation.orderNo)))
    }
}
