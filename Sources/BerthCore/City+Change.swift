// The consequences of every change of a reservation.
extension City {
    /// Puts a reservation's new value wherever it is known, and makes the hold that its state asks for.
    /// - Returns: the value before.
    @discardableResult mutating func index(_ reservation: Reservation, now: Millis) -> Reservation? {
        guard lots.contains(reservation.parkCode) else { return nil }
        let old = lots[known: reservation.parkCode].reservations.put(reservation)
        if old == nil {
            lotIndex.add(reservation)
        }
        let holdChanged =
            old == nil || old!.status != reservation.status || old!.enterStart != reservation.enterStart || old!.plate != reservation.plate
            || old!.expectedLeave != reservation.expectedLeave || old!.spaceNo != reservation.spaceNo
        if holdChanged {
            if (old?.status == .waitlisted) != (reservation.status == .waitlisted) {
                claims.countWaiting(reservation, by: reservation.status == .waitlisted ? 1 : -1)
            }
            with(reservation.parkCode) { lot in
                lot.rehold(reservation, now: now)
                lot.noteDeadline(of: reservation)
            }
            if let old {
                claims.release(old)
                if old.status.isActive { noteFreed(reservation.parkCode) }
            }
            if reservation.status.isActive { claims.hold(reservation) }
        } else {
            lots[known: reservation.parkCode].noteDeadline(of: reservation)
        }
        return old
    }

    /// Removes a reservation from the indexes that the city keeps beyond the lot.
    mutating func clearTraces(of reservation: Reservation) {
        if reservation.status == .waitlisted { claims.countWaiting(reservation, by: -1) }
        claims.release(reservation)
    }

    /// Notes that a place may have become free: the reservations and appointments that wait in this lot are looked at after the command.
    mutating func noteFreed(_ parkCode: String) {
        if claims.waiting(in: parkCode) > 0 || appointmentTable.isWaiting(in: parkCode) { freed.insert(parkCode) }
    }

    mutating func noteRefilled(_ parkCode: String) { refilled.insert(parkCode) }

    mutating func update(_ reservation: Reservation, at now: Millis, _ events: inout [Event]) {
        var reservation = reservation
        // A reservation that was made just now has this time already and need not be copied.
        if reservation.changedAt != now { reservation.changedAt = now }
        let before = index(reservation, now: now)?.status
        events.append(.reservation(reservation))
        if before != reservation.status {
            tellOf(reservation, at: now, &events)
        }
    }

    func counted(_ key: String) -> Int { claims.count(ByteKey(key)) }

    /// `kind|period|part|…`
    static func counterKey(_ kind: String, _ period: Int64, _ parts: String...) -> String {
        var key = kind
        key.reserveCapacity(72)
        key += "|"
        key += String(period)
        for part in parts {
            key += "|"
            key += part
        }
        return key
    }

    mutating func count(_ key: String, by delta: Int, max: Int = Int(Int32.max), _ events: inout [Event]) {
        claims.add(delta, to: ByteKey(key))
        events.append(.counted(key: key, delta: delta, max: max))
    }
}
