// The effects of time: holds that run out, no-shows, deliveries that came too late, overstays.
extension City {
    mutating func expire(_ parkCode: String, at now: Millis) -> Decision {
        guard lots.contains(parkCode) else { return Decision(.refused(.lotNotRegistered)) }
        lots[known: parkCode].advance(to: now)
        guard lots[known: parkCode].nextDeadline <= now else { return Decision(.done) }
        var events: [Event] = []
        lots[known: parkCode].nextDeadline = .max
        let due = lots[known: parkCode].reservations.values.filter { Lot.deadline(of: $0).map { $0 <= now } ?? false }
            .sorted { $0.serial < $1.serial }
        for reservation in due { expire(reservation, at: now, &events) }
        for subscription in lots[known: parkCode].subscriptions.values.sorted(by: { $0.authNo < $1.authNo })
        where Lot.deadline(of: subscription).map({ $0 <= now }) ?? false {
            expire(subscription, at: now, &events)
        }
        rehomeFollowers(parkCode, at: now, &events)
        followClock(parkCode, at: now, &events)
        var next = nextClock(parkCode, after: now)
        if claims.waiting(in: parkCode) > 0 {
            // A place may come back by time alone.
            noteFreed(parkCode)
            next = min(next, now + CivilTime.minute / 2)
        }
        dropRights(parkCode, at: now, next: &next)
        let current = lots[known: parkCode]
        // A deadline that waits for the lot's log is looked at again every second.
        func note(_ deadline: Millis) { next = min(next, deadline <= now ? now + 1000 : deadline) }
        for reservation in current.reservations.values {
            if let deadline = Lot.deadline(of: reservation) { note(deadline) }
            if reservation.spaceNo != nil, reservation.status == .booked, current.look(before: reservation) > now {
                note(current.look(before: reservation))
            }
        }
        for subscription in current.subscriptions.values { if let deadline = Lot.deadline(of: subscription) { note(deadline) } }
        lots[known: parkCode].nextDeadline = next
        return Decision(.done, events)
    }

    private mutating func expire(_ reservation: Reservation, at now: Millis, _ events: inout [Event]) {
        var reservation = reservation
        switch reservation.status {
        case .held:
            end(&reservation, as: .holdRanOut, now: now, &events)
        case .waitlisted: end(&reservation, as: .waitlistClosed, now: now, &events)
        case .booked:
            guard now > reservation.enterEnd else { return }
            if reservation.deliver == .new || reservation.deliver == .sent {
                // The lot never had it: the provider is told now, and the deposit does not wait for evidence that may take days.
                reservation.deliver = .expired
                reservation.orderVer += 1
                returnDeposit(of: reservation, at: now, &events)
                update(reservation, at: now, &events)
                tellOf(reservation, at: now, &events)
            }
            guard lots[known: reservation.parkCode].passedThrough >= reservation.enterEnd else { return }
            judgeNoShow(&reservation, at: now, &events)
        case .inLot: stay(&reservation, at: now, &events)
        default: break
        }
    }

    /// Reminds a driver whose time is nearly up, and marks a car whose time is over as overstaying. The user is charged when the grace is
    /// over and the lot's log shows no exit.
    private mutating func stay(_ reservation: inout Reservation, at now: Millis, _ events: inout [Event]) {
        guard let deadline = reservation.leaveDeadline else { return }
        if reservation.purpose == .shared, !reservation.isWarned {
            reservation.isWarned = true
            // A version of its own, so that an app can tell the reminder from a repeat.
            reservation.orderVer += 1
            update(reservation, at: now, &events)
            tellOf(reservation, at: now, &events)
        }
        if deadline <= now, !reservation.overstay {
            reservation.overstay = true
            update(reservation, at: now, &events)
            events.append(
                .notice(
                    LotEvent(
                        parkCode: reservation.parkCode, eventType: 2008, occurredAt: deadline, orderNo: reservation.orderNo,
                        recordNo: reservation.recordNo)))
        }
        let limit = deadline + Millis(reservation.terms.graceMin) * CivilTime.minute
        guard reservation.purpose == .shared, !reservation.isLate, limit < now, lots[known: reservation.parkCode].passedThrough > limit
        else {
            return
        }
        chargeLate(&reservation, limit: limit, at: now, &events)
        update(reservation, at: now, &events)
    }

    mutating func chargeLate(_ reservation: inout Reservation, limit: Millis, at now: Millis, _ events: inout [Event]) {
        reservation.isLate = true
        charge(
            reservation, .lateDeparture,
            evidence:
                "record \(reservation.recordNo ?? ""): to leave by \(limit), log passed \(lots[known: reservation.parkCode].passedThrough) without an exit",
            at: now, &events)
        events.append(
            .notice(
                LotEvent(
                    parkCode: reservation.parkCode, eventType: 3005, occurredAt: limit, orderNo: reservation.orderNo,
                    recordNo: reservation.recordNo)))
    }
}
