// The consequences of every change of a reservation.
extension City {
    /// Puts a reservation's new value wherever it is known, and makes the hold that its state asks for.
    /// - Returns: the value before.
    @discardableResult mutating func index(_ reservation: Reservation, now: Millis) -> Reservation? {
        guard lots.contains(reservation.parkCode) else { return nil }
        let old = lots[reservation.parkCode]!.reservations.put(reservation)
        if old == nil {
            lotOfSerial[reservation.serial] = reservation.parkCode
            clientOrders[City.clientKey(reservation.appId, reservation.clientOrderNo)] = reservation.serial
        }
        let holdChanged =
            old == nil || old!.status != reservation.status || old!.enterStart != reservation.enterStart || old!.plate != reservation.plate
            || old!.expectedLeave != reservation.expectedLeave || old!.spaceNo != reservation.spaceNo
        if holdChanged {
            if (old?.status == .waitlisted) != (reservation.status == .waitlisted) {
                countWaiting(reservation, by: reservation.status == .waitlisted ? 1 : -1)
            }
            with(reservation.parkCode) { lot in
                lot.rehold(reservation, now: now)
                lot.noteDeadline(of: reservation)
            }
            if let old {
                removeSpans(old)
                if old.status.isActive { noteFreed(reservation.parkCode) }
            }
            if reservation.status.isActive {
                for plate in reservation.plates {
                    plateSpans[plate, default: []].append(
                        PlateWindow(serial: reservation.serial, from: reservation.enterStart, to: reservation.expectedLeave))
                }
            }
        } else {
            lots[reservation.parkCode]!.noteDeadline(of: reservation)
        }
        return old
    }

    /// Removes a reservation from the indexes that the city keeps beyond the lot.
    mutating func clearTraces(of reservation: Reservation) {
        if reservation.status == .waitlisted { countWaiting(reservation, by: -1) }
        removeSpans(reservation)
    }

    private mutating func removeSpans(_ reservation: Reservation) {
        for plate in reservation.plates {
            plateSpans[plate]?.removeAll { $0.serial == reservation.serial }
            if plateSpans[plate]?.isEmpty == true { plateSpans[plate] = nil }
        }
    }

    private mutating func countWaiting(_ reservation: Reservation, by delta: Int) {
        let user = "\(reservation.appId)|\(reservation.userToken)"
        waitingOf[user, default: 0] += delta
        if waitingOf[user] == 0 { waitingOf[user] = nil }
        waitingIn[reservation.parkCode, default: 0] += delta
    }

    /// Notes that a place may have become free: the reservations and appointments that wait in this lot are looked at after the command.
    mutating func noteFreed(_ parkCode: String) {
        if waitingIn[parkCode, default: 0] > 0 || rightless[parkCode] != nil { freed.insert(parkCode) }
    }

    mutating func noteRefilled(_ parkCode: String) { refilled.insert(parkCode) }

    /// The interval of another active reservation of the plate that meets the interval of this one; nil when there is none.
    func overlap(_ plate: Plate, with reservation: Reservation) -> PlateWindow? {
        plateSpans[plate]?.first {
            $0.serial != reservation.serial && $0.from < reservation.expectedLeave && reservation.enterStart < $0.to
        }
    }

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

    func counted(_ key: String) -> Int { counters[ByteKey(key), default: 0] }

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
        counters[ByteKey(key), default: 0] += delta
        events.append(.counted(key: key, delta: delta, max: max))
    }
}
