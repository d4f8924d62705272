// Places that a lot holds.
extension Lot {
    /// Whether no hold has to grow until now: then ``advance(to:)`` changes nothing.
    func isCurrent(at now: Millis) -> Bool { now < nextExtension }

    /// Lets the hold of every car that is inside beyond its time reach the end of the present step.
    package mutating func advance(to now: Millis) {
        guard now >= nextExtension else { return }
        nextExtension = .max
        for (reservation, hold) in reservations.holds where hold.grows {
            guard let longer = extended(hold, now) else { continue }
            unplace(hold, reservation.orderNo)
            place(longer, reservation.orderNo)
            reservations.set(longer, of: reservation.serial)
        }
        for (holder, hold) in holds where hold.grows {
            guard let longer = extended(hold, now) else { continue }
            unplace(hold, holder)
            place(longer, holder)
            holds[holder] = longer
        }
    }

    /// A hold that has run out, up to the end of the present step; nil while it has time.
    private mutating func extended(_ hold: Hold, _ now: Millis) -> Hold? {
        var longer = hold
        if hold.to <= now { longer.to = endOfStep(now) }
        nextExtension = min(nextExtension, longer.to)
        return hold.to <= now ? longer : nil
    }

    func endOfStep(_ now: Millis) -> Millis {
        let step = Millis(policy.calendarStepMin) * CivilTime.minute
        return (floorDiv(now, step) + 1) * step
    }

    mutating func place(_ hold: Hold, _ holder: String) {
        if let space = hold.space {
            spaces.hold(space, Window(hold.from, hold.to), for: holder)
        } else {
            pools[hold.pool, default: CapacityCalendar(stepMin: policy.calendarStepMin)].add(1, from: hold.from, to: hold.to)
        }
    }

    private mutating func unplace(_ hold: Hold, _ holder: String) {
        if let space = hold.space {
            spaces.release(space, of: holder)
        } else {
            let isSound = pools[hold.pool]?.add(-1, from: hold.from, to: hold.to) ?? false
            if !isSound { stop("a place of \(hold.pool.rawValue) was released that was not held, by \(holder)") }
        }
    }

    /// Replaces the hold of a reservation by the one that its present state asks for.
    mutating func rehold(_ reservation: Reservation, now: Millis) {
        release(reservation)
        let hold = hold(of: reservation, now: now)
        if let hold { place(hold, reservation.orderNo) }
        reservations.set(hold, of: reservation.serial)
    }

    /// Ends the hold of a reservation until ``rehold(_:now:)``.
    mutating func release(_ reservation: Reservation) {
        guard let hold = reservations.hold(of: reservation.serial) else { return }
        unplace(hold, reservation.orderNo)
        reservations.set(nil, of: reservation.serial)
    }

    mutating func hold(of reservation: Reservation, now: Millis) -> Hold? {
        var hold = Hold(
            pool: reservation.pool, space: reservation.spaceNo, from: reservation.enterStart, to: reservation.expectedLeave, grows: false)
        switch reservation.status {
        case .held, .booked: return hold
        case .inLot:
            // The hold begins at most one day before the entry window; an older past needs no hold.
            hold.from = max(
                min(reservation.enterStart, reservation.enterTime ?? reservation.enterStart), reservation.enterStart - CivilTime.dayLength)
            hold.grows = true
            // The hold ends on a whole step from here on, so that its release takes back exactly what was added.
            if hold.to <= now { hold.to = endOfStep(now) } else if hold.space == nil { hold.to = endOfStep(hold.to - 1) }
            nextExtension = min(nextExtension, hold.to)
            return hold
        default: return nil
        }
    }

    /// Ends the hold of an appointment or a subscription.
    mutating func release(_ holder: String) {
        guard let hold = holds.removeValue(forKey: holder) else { return }
        unplace(hold, holder)
    }

    mutating func hold(_ hold: Hold, for holder: String) {
        place(hold, holder)
        holds[holder] = hold
    }

    /// Keeps a place of a pool for something that is not a reservation: the right of an appointment.
    mutating func keep(_ holder: String, _ pool: Pool, _ span: Window?) {
        release(holder)
        guard let span else { return }
        hold(Hold(pool: pool, space: nil, from: span.from, to: span.to, grows: false), for: holder)
    }

    /// Keeps all the times of a subscription.
    mutating func hold(_ spans: [Window], for subscription: SharedSubscription) {
        drop(spansOf: subscription.authNo)
        for (index, span) in spans.enumerated() {
            let holder = index == 0 ? subscription.authNo : "\(subscription.authNo)#\(index)"
            if let space = subscription.spaceNo {
                spaces.hold(space, span, for: subscription.authNo)
            } else {
                pools[.shared, default: CapacityCalendar(stepMin: policy.calendarStepMin)].add(1, from: span.from, to: span.to)
                holds[holder] = Hold(pool: .shared, space: nil, from: span.from, to: span.to, grows: false)
            }
        }
        subscriptionSpaces[subscription.authNo] = subscription.spaceNo ?? ""
    }

    /// Holds the place of a subscriber's car that is inside: beyond its time the car keeps the place until it has left.
    mutating func occupy(_ subscription: SharedSubscription, now: Millis) {
        vacate(subscription.authNo)
        guard subscription.insidePlate != nil else { return }
        // A subscription that has ended holds nothing else.
        let from = endOfStep((subscription.status.holds ? subscription.leaveBy ?? now : now) - 1)
        let hold = Hold(
            pool: .shared, space: subscription.spaceNo, from: from, to: max(from, now < from ? from : endOfStep(now)), grows: true)
        nextExtension = min(nextExtension, hold.to)
        self.hold(hold, for: "\(subscription.authNo)^")
    }

    mutating func vacate(_ authNo: String) { release("\(authNo)^") }

    mutating func drop(spansOf authNo: String) {
        guard let space = subscriptionSpaces.removeValue(forKey: authNo) else { return }
        guard space.isEmpty else { return spaces.release(space, of: authNo) }
        release(authNo)
        var index = 1
        while holds["\(authNo)#\(index)"] != nil {
            release("\(authNo)#\(index)")
            index += 1
        }
    }
}
