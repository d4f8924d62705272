// Exits of cars, as lots report them (U11).
extension City {
    mutating func exit(_ parkCode: String, _ reported: Passage, at now: Millis, past: Past) -> Decision {
        guard lots[parkCode] != nil, let reportedLeave = reported.leaveTime else { return Decision(.refused(.lotNotRegistered)) }
        notePassed(parkCode, through: reportedLeave, at: now)
        var events: [Event] = []
        var flags: [String] = []
        var passage = reported
        let known = visit(parkCode, passage.recordNo, past: past)
        if known == nil, reportedLeave < now - City.recordDaysMax * CivilTime.dayLength { return Decision(.refused(.recordTooOld)) }
        var leaveTime = present(reportedLeave, "leaveTime", parkCode, at: now, &events)
        passage.enterTime = min(passage.enterTime, leaveTime)
        if leaveTime != reportedLeave { flags.append("timeAhead") }
        if let known {
            guard known.enterTime == reported.enterTime || known.reportedEnterTime == reported.enterTime else {
                return Decision(.refused(.enterTimeDiffers))
            }
            if let left = known.leaveTime, !known.isExitMissed {
                guard left == leaveTime || leaveTime != reportedLeave else { return Decision(.refused(.orderFinished)) }
                let status = known.orderNo.flatMap { reservation($0, past: past)?.status }
                return Decision(.recorded(recordNo: passage.recordNo, status, isRepeat: true))
            }
            leaveTime = max(leaveTime, known.enterTime)
        }
        var visit =
            known
            ?? Visit(
                parkCode: parkCode, recordNo: passage.recordNo, plate: passage.plate, enterTime: passage.enterTime,
                gateCode: passage.gateCode, carKind: passage.carKind, orderNo: nil)
        if known == nil {
            visit.vehicleClass = passage.vehicleClass
            if passage.enterTime != reported.enterTime { visit.reportedEnterTime = reported.enterTime }
            if !visit.plate.isLegal { flags.append("unreadPlate") }
        }
        let status = end(&visit, passage, isKnown: known != nil, at: leaveTime, now: now, past: past, &events)
        visit.leaveTime = leaveTime
        visit.isExitMissed = false
        visit.exitGateCode = passage.exitGateCode
        visit.feeFen = passage.feeFen
        visit.isInArrears = passage.isInArrears
        if let reservation = visit.orderNo.flatMap({ reservation($0, past: past) }), reservation.discountFen > 0 {
            with(parkCode) { $0.visits[visit.recordNo] = visit }
            settleCompensation(of: reservation, &visit, at: now, past: past, &events)
        }
        takeOut(visit)
        events.append(.visit(visit))
        note(passage, at: leaveTime, parkCode, now: now, &events)
        // Payments that came by themselves before (U22) are known; where the city bills, the lot takes none.
        for payment in passage.payments {
            let taken = takeIn(payment, at: now, past: past)
            if case .paid(_, isRepeat: false) = taken.outcome { events += taken.events }
        }
        if let orderNo = visit.orderNo { settleStay(orderNo, visit.recordNo, parkCode, at: now, past: past, &events) }
        if passage.isInArrears {
            events.append(
                .notice(
                    LotEvent(
                        parkCode: parkCode, eventType: 5005, occurredAt: leaveTime, orderNo: visit.orderNo, recordNo: visit.recordNo,
                        detail: String(passage.feeFen))))
        }
        var decision =
            known == nil
            ? Decision(.recordedWith(.exitWithoutEntry, recordNo: visit.recordNo), events)
            : Decision(.recorded(recordNo: visit.recordNo, status, isRepeat: false), events)
        decision.flags = flags
        return decision
    }

    /// Ends the stay of the reservation or subscription of a record.
    /// - Returns: the status of the reservation then; nil where there is none.
    private mutating func end(
        _ visit: inout Visit, _ passage: Passage, isKnown: Bool, at leaveTime: Millis, now: Millis, past: Past, _ events: inout [Event]
    ) -> ReservationStatus? {
        let parkCode = visit.parkCode
        if let subscription = visit.orderNo.flatMap({ lots[known: parkCode].subscriptions[$0] }), subscription.recordNo == passage.recordNo
        {
            leave(subscription, at: leaveTime, now: now, &events)
        } else if var reservation = (visit.orderNo ?? passage.orderNo).flatMap({ reservation($0, past: past) }),
            reservation.parkCode == parkCode
        {
            if !isKnown, reservation.speaks(for: passage.plate), reservation.status.canEnter,
                refuseEntry(of: reservation, passage, at: now) == nil
            {
                admit(&reservation, recordNo: passage.recordNo, enterTime: passage.enterTime, at: now, &events)
                visit.orderNo = reservation.orderNo
            }
            if visit.orderNo == reservation.orderNo, reservation.status == .inLot {
                reservation = lots[parkCode]?.reservations[reservation.orderNo] ?? reservation
                leave(&reservation, at: leaveTime, now: now, &events)
            } else if visit.isExitMissed, visit.orderNo == reservation.orderNo, reservation.status == .done,
                reservation.recordNo == passage.recordNo
            {
                // The exit that was missed has come after all.
                reservation.leaveTime = leaveTime
                update(reservation, at: now, &events)
            }
            return reservation.status
        }
        return nil
    }

    /// Takes the car of a record out of its lot, where it is inside under this record.
    private mutating func takeOut(_ visit: Visit) {
        let parkCode = visit.parkCode
        let key = visit.insideKey
        let isLast = lots[known: parkCode].inside[key] == visit.recordNo
        with(parkCode) {
            $0.visits[visit.recordNo] = visit
            if isLast { $0.inside[key] = nil }
        }
        if isLast { noteInside(key, parkCode, isInside: false) } else { noteRefilled(parkCode) }
    }

    /// Sets how the stay of a reservation is paid, when its car has left (section 6, `payState`).
    mutating func settleStay(
        _ orderNo: String, _ recordNo: String, _ parkCode: String, at now: Millis, past: Past, _ events: inout [Event]
    ) {
        guard var reservation = known(orderNo), let visit = visit(parkCode, recordNo, past: past) else { return }
        let isInside = visit.leaveTime == nil
        var state = 0
        if City.isBilledByCity(reservation.purpose) {
            let fee = sessionFee(parkCode, recordNo: recordNo, at: now, past: past)
            state = (fee?.payableFen ?? 0) > 0 ? (isInside ? 1 : 4) : visit.paidFen > 0 ? 2 : isInside ? 1 : 0
        } else {
            state = visit.isInArrears ? 4 : visit.feeFen > 0 ? 2 : 0
        }
        guard state != reservation.stayPayState else { return }
        reservation.stayPayState = state
        update(reservation, at: now, &events)
    }

    mutating func leave(_ reservation: inout Reservation, at leaveTime: Millis, now: Millis, _ events: inout [Event]) {
        reservation.status = .done
        reservation.leaveTime = leaveTime
        reservation.orderVer += 1
        let wasOverstay = reservation.overstay
        // A late record may show that the driver left in time.
        reservation.overstay = reservation.leaveDeadline.map { leaveTime > $0 } ?? false
        if reservation.purpose == .shared, let deadline = reservation.leaveDeadline {
            let limit = deadline + Millis(reservation.terms.graceMin) * CivilTime.minute
            if leaveTime > limit, !reservation.isLate {
                chargeLate(&reservation, limit: limit, at: now, &events)
            } else if leaveTime <= limit, reservation.isLate {
                // A late record shows that the driver left in time.
                undo("\(reservation.orderNo)-\(Penalty.Kind.lateDeparture.letter)", by: "record", at: now, &events)
                reservation.isLate = false
            }
        }
        update(reservation, at: now, &events)
        if reservation.purpose == .shared { mark(reservation.offerId, in: reservation.parkCode, .open, &events) }
        var notice = LotEvent(
            parkCode: reservation.parkCode, eventType: 2007, occurredAt: leaveTime, orderNo: reservation.orderNo,
            recordNo: reservation.recordNo)
        events.append(.notice(notice))
        if wasOverstay {
            notice.eventType = 2009
            events.append(.notice(notice))
        }
    }
}
