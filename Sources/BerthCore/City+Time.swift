// What time brings about: holds that run out, no-shows, deliveries that came too late, overstays.
extension City {
    mutating func expire(_ parkCode: String, at now: Millis) -> Decision {
        guard lots.contains(parkCode) else { return Decision(.refused(.lotNotRegistered)) }
        lots[parkCode]!.advance(to: now)
        guard lots[parkCode]!.nextDeadline <= now else { return Decision(.done) }
        var events: [Event] = []
        lots[parkCode]!.nextDeadline = .max
        let due = lots[parkCode]!.orders.values.filter { Lot.deadline(of: $0).map { $0 <= now } ?? false }
            .sorted { $0.serial < $1.serial }
        for order in due { expire(order, at: now, &events) }
        for subscription in lots[parkCode]!.subscriptions.values.sorted(by: { $0.authNo < $1.authNo })
        where Lot.deadline(of: subscription).map({ $0 <= now }) ?? false {
            expire(subscription, at: now, &events)
        }
        rehomeFollowers(parkCode, at: now, &events)
        followClock(parkCode, at: now, &events)
        var next = nextClock(parkCode, after: now)
        if waitingIn[parkCode, default: 0] > 0 {
            // A place may come back by time alone.
            noteFreed(parkCode)
            next = min(next, now + CivilTime.minute / 2)
        }
        dropRights(parkCode, at: now, next: &next)
        let current = lots[parkCode]!
        // What waits for the lot's log is looked at again every second.
        func note(_ deadline: Millis) { next = min(next, deadline <= now ? now + 1000 : deadline) }
        for order in current.orders.values {
            if let deadline = Lot.deadline(of: order) { note(deadline) }
            if order.spaceNo != nil, order.status == .booked, current.look(before: order) > now { note(current.look(before: order)) }
        }
        for subscription in current.subscriptions.values { if let deadline = Lot.deadline(of: subscription) { note(deadline) } }
        lots[parkCode]!.nextDeadline = next
        return Decision(.done, events)
    }

    private mutating func expire(_ order: Order, at now: Millis, _ events: inout [Event]) {
        var order = order
        switch order.status {
        case .held:
            end(&order, as: .holdRanOut, now: now, &events)
        case .waitlisted: end(&order, as: .waitlistClosed, now: now, &events)
        case .booked:
            guard now > order.enterEnd else { return }
            if order.deliver == .new || order.deliver == .sent {
                // The lot never had it: the provider is told now, and the deposit does not wait for evidence that may take days.
                order.deliver = .expired
                order.orderVer += 1
                returnDeposit(of: order, at: now, &events)
                update(order, at: now, &events)
                tellOf(order, at: now, &events)
            }
            guard lots[order.parkCode]!.passedThrough >= order.enterEnd else { return }
            judgeNoShow(&order, at: now, &events)
        case .inLot: stay(&order, at: now, &events)
        default: break
        }
    }

    /// A car whose time is nearly up, up, or over: reminded, marked as overstaying, and charged when the grace is over and the lot's log shows
    /// no exit.
    private mutating func stay(_ order: inout Order, at now: Millis, _ events: inout [Event]) {
        guard let deadline = order.leaveDeadline else { return }
        if order.purpose == .shared, !order.isWarned {
            order.isWarned = true
            // A version of its own, so that an app can tell the reminder from a repeat.
            order.orderVer += 1
            update(order, at: now, &events)
            tellOf(order, at: now, &events)
        }
        if deadline <= now, !order.overstay {
            order.overstay = true
            update(order, at: now, &events)
            events.append(
                .notice(
                    Notice(
                        parkCode: order.parkCode, eventType: 2008, occurredAt: deadline, orderNo: order.orderNo, recordNo: order.recordNo)))
        }
        let limit = deadline + Millis(order.terms.graceMin) * CivilTime.minute
        guard order.purpose == .shared, !order.isLate, limit < now, lots[order.parkCode]!.passedThrough > limit else { return }
        chargeLate(&order, limit: limit, at: now, &events)
        update(order, at: now, &events)
    }

    mutating func chargeLate(_ order: inout Order, limit: Millis, at now: Millis, _ events: inout [Event]) {
        order.isLate = true
        charge(
            order, .lateDeparture,
            evidence:
                "record \(order.recordNo ?? ""): to leave by \(limit), log passed \(lots[order.parkCode]!.passedThrough) without an exit",
            at: now, &events)
        events.append(
            .notice(
                Notice(
                    parkCode: order.parkCode, eventType: 3005, occurredAt: limit, orderNo: order.orderNo, recordNo: order.recordNo)))
    }
}
