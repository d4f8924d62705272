// Entries of cars, as lots report them (U10).
extension City {
    // No reference to the lot is kept here. The lot changes, and a value that is held twice is copied first, with its visits and
    // reservations.
    mutating func enter(_ parkCode: String, _ passage: Passage, at now: Millis, past: Past) -> Decision {
        guard lots.contains(parkCode) else { return Decision(.refused(.lotNotRegistered)) }
        var decision = takeEntry(parkCode, passage, at: now, past: past)
        // A refused record still shows that the car was there, so its reservation gets no penalty. The same holds for a record of a booked
        // plate that names no reservation, or whose reservation did not cover it.
        let standsAlone = lots[parkCode]?.visits[passage.recordNo].map { $0.orderNo == nil } ?? false
        if decision.outcome.refusal != nil || standsAlone {
            dispute(
                parkCode, plate: passage.plate, orderNo: passage.orderNo, time: passage.enterTime, recordNo: passage.recordNo, at: now,
                &decision.events)
        }
        notePassed(parkCode, through: passage.enterTime, at: now)
        return decision
    }

    /// Marks reservations whose car may have come: their window holds the time of a record that was refused or names no reservation.
    /// - Parameter plate: as it was read; nil where it could not be read.
    mutating func dispute(
        _ parkCode: String, plate: Plate?, orderNo: String?, time: Millis, recordNo: String, at now: Millis, _ events: inout [Event]
    ) {
        let most = lots[known: parkCode].policy.fuzzyCharsMax
        let concerned = lots[known: parkCode].reservations.values.filter { reservation in
            guard reservation.status == .booked || reservation.status == .noShow, !reservation.isDisputed, reservation.enterStart <= time,
                time <= reservation.enterEnd
            else { return false }
            if reservation.orderNo == orderNo { return true }
            guard let plate else { return false }
            return reservation.speaks(for: plate)
                || (!plate.isLegal && reservation.plates.contains { own in own.misreadings(as: plate).map { $0 <= max(1, most) } ?? false })
        }
        for reservation in concerned.sorted(by: { $0.serial < $1.serial }) {
            guard var reservation = lots[parkCode]?.reservations[reservation.orderNo] else { continue }
            reservation.isDisputed = true
            if reservation.isPenalised {
                undo("\(reservation.orderNo)-\(Penalty.Kind.noShow.letter)", by: "record \(recordNo)", at: now, &events)
                reservation.isPenalised = false
            }
            update(reservation, at: now, &events)
        }
    }

    /// A second entry within this time is the same car seen twice, ms (section 5.5).
    static let seenTwiceMillis: Millis = 300_000

    private mutating func takeEntry(_ parkCode: String, _ reported: Passage, at now: Millis, past: Past) -> Decision {
        if let known = visit(parkCode, reported.recordNo, past: past) { return repeatEntry(known, reported, past: past) }
        if reported.enterTime < now - City.recordDaysMax * CivilTime.dayLength { return Decision(.refused(.recordTooOld)) }
        var passage = reported
        var events: [Event] = []
        var flags: [String] = []
        passage.enterTime = present(passage.enterTime, "enterTime", parkCode, at: now, &events)
        if passage.enterTime != reported.enterTime { flags.append("timeAhead") }
        if !passage.plate.isLegal { flags.append("unreadPlate") }
        let gates = lots[known: parkCode].gates
        if !gates.isEmpty, gates[passage.gateCode] == nil { flags.append("unknownGate") }
        var visit = Visit(
            parkCode: parkCode, recordNo: passage.recordNo, plate: passage.plate, enterTime: passage.enterTime,
            gateCode: passage.gateCode, carKind: passage.carKind, orderNo: nil)
        visit.vehicleClass = passage.vehicleClass
        if passage.enterTime != reported.enterTime { visit.reportedEnterTime = reported.enterTime }
        if let inside = lots[known: parkCode].inside[visit.insideKey] {
            if let seenTwice = seenTwice(parkCode, inside, passage) { return seenTwice }
            flags.append("exitMissed")
            if let older = lots[known: parkCode].visits[inside], passage.enterTime < older.enterTime {
                // A late record of an earlier stay: its exit may follow.
                visit.isExitMissed = true
                visit.leaveTime = visit.enterTime
            } else {
                closeMissed(parkCode, inside, by: passage.recordNo, at: now, past: past, &events)
            }
        }
        let (refusal, reservation, subscription) = claim(parkCode, passage, at: now, past: past, &events)
        var linked = reservation
        noteEntry(parkCode, passage, at: now, &events)
        // The car is inside even without a valid reservation: the record is kept, and a code says that the reservation did not cover it.
        if let reservation = linked, reservation.status == .inLot, reservation.recordNo == passage.recordNo {
            // The lot said before (U14) that it is in, under this record.
            visit.orderNo = reservation.orderNo
        } else if var reservation = linked, refusal == nil, reservation.status.canEnter {
            visit.orderNo = reservation.orderNo
            admit(&reservation, recordNo: passage.recordNo, enterTime: passage.enterTime, at: now, &events)
            linked = reservation
        }
        if let subscription, refusal == nil {
            visit.orderNo = subscription.authNo
            enter(subscription, visit, at: now, &events)
        }
        putInside(visit, at: now, &events)
        note(passage, at: passage.enterTime, parkCode, now: now, &events)
        var decision =
            refusal.map { Decision(.recordedWith($0, recordNo: visit.recordNo), events) }
            ?? Decision(.recorded(recordNo: visit.recordNo, linked?.status, isRepeat: false), events)
        decision.flags = flags
        return decision
    }

    /// A record that is known: it is the same, or contradicts what was reported first.
    private func repeatEntry(_ known: Visit, _ passage: Passage, past: Past) -> Decision {
        guard known.plate == passage.plate else { return Decision(.refused(.repeatedEntry)) }
        guard known.enterTime == passage.enterTime || known.reportedEnterTime == passage.enterTime else {
            return Decision(.refused(.enterTimeDiffers))
        }
        let status = known.orderNo.flatMap { reservation($0, past: past)?.status }
        return Decision(.recorded(recordNo: passage.recordNo, status, isRepeat: true))
    }

    /// The refusal of a record of a car that a camera has just seen under another one (event 1015); nil where it is another entry.
    private func seenTwice(_ parkCode: String, _ inside: String, _ passage: Passage) -> Decision? {
        guard let older = lots[known: parkCode].visits[inside], abs(passage.enterTime - older.enterTime) <= City.seenTwiceMillis else {
            return nil
        }
        let notice = LotEvent(
            parkCode: parkCode, eventType: 1015, occurredAt: passage.enterTime, recordNo: passage.recordNo, detail: inside)
        return Decision(.refused(.repeatedEntry), [.notice(notice)])
    }

    /// The reservation or subscription that an entry names, and why it does not cover the entry; nil where it does, and without a number.
    private mutating func claim(
        _ parkCode: String, _ passage: Passage, at now: Millis, past: Past, _ events: inout [Event]
    ) -> (refusal: Rejection?, reservation: Reservation?, subscription: SharedSubscription?) {
        guard let orderNo = passage.orderNo else { return (nil, nil, nil) }
        let policy = lots[known: parkCode].policy
        if let found = lots[known: parkCode].subscriptions[orderNo] {
            guard mayStand(passage.plate, for: found.plates, orderNo: orderNo, passage: passage, policy: policy, parkCode: parkCode) else {
                return (.plateDiffers, nil, nil)
            }
            let plate = found.plates.contains(passage.plate) ? passage.plate : found.plates[0]
            noteReading(found.plates, orderNo, passage, parkCode, at: now, &events)
            return (GatePolicy.refuse(found, plate: plate, at: passage.enterTime, calendar), nil, found)
        }
        guard let reservation = reservation(orderNo, past: past), reservation.parkCode == parkCode else {
            return (.orderNotFound, nil, nil)
        }
        guard mayStand(passage.plate, for: reservation.plates, orderNo: orderNo, passage: passage, policy: policy, parkCode: parkCode)
        else {
            return (.plateDiffers, nil, nil)
        }
        let refusal = refuseEntry(of: reservation, passage, at: now)
        noteReading(reservation.plates, orderNo, passage, parkCode, at: now, &events)
        return (refusal, reservation, nil)
    }

    private mutating func putInside(_ visit: Visit, at now: Millis, _ events: inout [Event]) {
        with(visit.parkCode) {
            $0.visits[visit.recordNo] = visit
            if !visit.isExitMissed { $0.inside[visit.insideKey] = visit.recordNo }
            guard visit.orderNo == nil else { return }
            $0.walkIns.removeAll { $0 < now - 5 * CivilTime.minute }
            if visit.enterTime > now - 5 * CivilTime.minute { $0.walkIns.append(min(visit.enterTime, now)) }
        }
        if !visit.isExitMissed { noteInside(visit.insideKey, visit.parkCode, isInside: true) }
        events.append(.visit(visit))
    }

    /// The count of places that a passage states.
    mutating func note(_ passage: Passage, at time: Millis, _ parkCode: String, now: Millis, _ events: inout [Event]) {
        guard var remain = passage.remain else { return }
        remain.reportedAt = time
        note(remain, parkCode, at: now, &events)
    }

    /// The exit of a car was missed: its stay ends at its last proof and costs nothing beyond it (section 5.5).
    private mutating func closeMissed(
        _ parkCode: String, _ recordNo: String, by other: String, at now: Millis, past: Past, _ events: inout [Event]
    ) {
        guard var visit = lots[known: parkCode].visits[recordNo] else {
            return
        }
        let proof = min(now, max(visit.enterTime, visit.paidAt ?? 0))
        if let subscription = visit.orderNo.flatMap({ lots[known: parkCode].subscriptions[$0] }), subscription.recordNo == recordNo {
            leave(subscription, at: min(proof, subscription.leaveBy ?? proof), now: now, &events)
        } else if var reservation = visit.orderNo.flatMap({ reservation($0, past: past) }), reservation.status == .inLot,
            reservation.recordNo == recordNo
        {
            leave(&reservation, at: min(proof, reservation.leaveDeadline ?? proof), now: now, &events)
        }
        visit.leaveTime = proof
        visit.isExitMissed = true
        with(parkCode) {
            $0.visits[recordNo] = visit
            $0.inside[visit.insideKey] = nil
        }
        noteInside(visit.insideKey, parkCode, isInside: false)
        events.append(.visit(visit))
        events.append(
            .notice(
                LotEvent(parkCode: parkCode, eventType: 1015, occurredAt: now, recordNo: recordNo, detail: "exit missed, then \(other)")))
    }

    /// Records older than this many days are not taken any more (1503; section 13 keeps them for a year).
    static let recordDaysMax: Millis = 365

    /// The reason for which an entry at this time is not the reservation's; nil when it is.
    func refuseEntry(of reservation: Reservation, _ passage: Passage, at now: Millis) -> Rejection? {
        switch reservation.status {
        case .held, .booked, .noShow: return passage.enterTime > reservation.enterEnd ? .tooLateToEnter : nil
        case .inLot, .done:
            if reservation.status == .inLot, reservation.recordNo == passage.recordNo { return nil }
            let isUsedUp = reservation.entryLimit >= 0 && reservation.entriesUsed >= reservation.entryLimit
            if isUsedUp { return .entriesUsedUp }
            if passage.enterTime > reservation.enterEnd { return .tooLateToEnter }
            return reservation.status == .inLot ? .repeatedEntry : refuseReturn(of: reservation, at: now)
        default: return nil
        }
    }

    /// The refusal of a further entry when the place that the reservation gave back at the exit is taken by another one; nil otherwise.
    func refuseReturn(of reservation: Reservation, at now: Millis) -> Rejection? {
        guard let lot = lots[reservation.parkCode] else { return nil }
        if let space = reservation.spaceNo {
            return lot.spaces.isFree(space, from: now, to: max(now + 1, reservation.expectedLeave), except: reservation.orderNo)
                ? nil : .sharedSpaceOccupied
        }
        return lot.hasRoom(reservation.pool, from: now, to: max(now + 1, reservation.expectedLeave), now: now)
            || reservation.pool == .rolling
            ? nil : .noBookableSpace
    }

    /// Notes that the reservation's car is inside. A no-show that this disproves loses its penalty (section 5.5).
    mutating func admit(
        _ reservation: inout Reservation, recordNo: String, enterTime: Millis, at now: Millis, _ events: inout [Event]
    ) {
        let wasNoShow = reservation.status == .noShow
        if reservation.isPenalised {
            undo("\(reservation.orderNo)-\(Penalty.Kind.noShow.letter)", by: "record \(recordNo)", at: now, &events)
            reservation.isPenalised = false
        }
        settleDeposit(of: reservation, .earned, at: now, &events)
        useAppointment(of: reservation, &events)
        let eventType = enterTime < reservation.enterStart ? 2004 : 2003
        reservation.status = .inLot
        reservation.holdDeadline = nil
        reservation.recordNo = recordNo
        reservation.enterTime = enterTime
        reservation.leaveTime = nil
        reservation.entriesUsed += 1
        reservation.orderVer += 1
        if City.isBilledByCity(reservation.purpose) { reservation.stayPayState = 1 }
        update(reservation, at: now, &events)
        if reservation.purpose == .shared {
            mark(reservation.offerId, in: reservation.parkCode, .inUse, &events)
            if wasNoShow { makeWay(for: reservation, at: now, &events) }
        }
        events.append(
            .notice(
                LotEvent(
                    parkCode: reservation.parkCode, eventType: eventType, occurredAt: enterTime, orderNo: reservation.orderNo,
                    recordNo: recordNo)))
    }
}

extension ReservationStatus {
    /// States from which a car's entry leads to IN_LOT, when its time and count allow (section 6; DONE only where entries are left).
    var canEnter: Bool { self == .held || self == .booked || self == .noShow || self == .done }
}
