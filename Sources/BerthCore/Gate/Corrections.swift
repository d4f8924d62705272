// Corrections of records by operators and lots (U13).

/// The correction of a record (U13).
public enum Correction: Sendable, Equatable {
    case plate(Plate)
    case times(enter: Millis?, leave: Millis?)
    case fee(Int64)
    case void
    case merge(into: String)
}

extension City {
    /// U13. Nothing is corrected while the car is inside: until it has left, its record is still being made.
    mutating func correct(
        _ parkCode: String, recordNo: String, _ correction: Correction, mends: Bool = false, at now: Millis, past: Past
    ) -> Decision {
        guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
        guard var visit = visit(parkCode, recordNo, past: past), !visit.isVoid else {
            return Decision(.refused(.noEntryRecord))
        }
        guard visit.leaveTime != nil else {
            if case .plate(let plate) = correction, !visit.plate.isLegal || (mends && visit.orderNo == nil) {
                return name(&visit, plate, at: now, past: past)
            }
            return Decision(.refused(.correctionWhileInside))
        }
        var eventType = 1012
        switch correction {
        case .plate(let plate): visit.plate = plate
        case .times(let enter, let leave):
            visit.enterTime = enter ?? visit.enterTime
            visit.leaveTime = leave ?? visit.leaveTime
            guard visit.leaveTime! >= visit.enterTime else { return Decision(.refused(.wrongState)) }
        case .fee(let fen): visit.feeFen = fen
        case .void:
            visit.isVoid = true
            eventType = 1013
        case .merge(let other):
            guard other != recordNo, let target = self.visit(parkCode, other, past: past), !target.isVoid else {
                return Decision(.refused(.noEntryRecord))
            }
            visit.isVoid = true
            eventType = 1013
        }
        with(parkCode) { $0.visits[recordNo] = visit }
        var events: [Event] = []
        followCorrection(&visit, correction, at: now, past: past, &events)
        with(parkCode) { $0.visits[recordNo] = visit }
        events.append(.visit(visit))
        events.append(.notice(LotEvent(parkCode: parkCode, eventType: eventType, occurredAt: now, recordNo: recordNo)))
        return Decision(.recorded(recordNo: recordNo, nil, isRepeat: false), events)
    }

    /// Gives a reading that was no plate its plate while the car is inside; a reservation of that plate is then found.
    mutating func name(_ visit: inout Visit, _ plate: Plate, at now: Millis, past: Past) -> Decision {
        let old = visit.insideKey
        let recordNo = visit.recordNo
        guard lots[known: visit.parkCode].inside[plate] == nil else { return Decision(.refused(.repeatedEntry)) }
        visit.plate = plate
        let fresh = visit
        with(visit.parkCode) {
            $0.visits[recordNo] = fresh
            $0.inside[old] = nil
            $0.inside[plate] = recordNo
        }
        noteInside(old, visit.parkCode, isInside: false)
        noteInside(plate, visit.parkCode, isInside: true)
        var events: [Event] = []
        if visit.orderNo == nil { followCorrection(&visit, .plate(plate), at: now, past: past, &events) }
        let named = visit
        with(visit.parkCode) { $0.visits[recordNo] = named }
        events.append(.visit(visit))
        events.append(.notice(LotEvent(parkCode: visit.parkCode, eventType: 1012, occurredAt: now, recordNo: recordNo)))
        return Decision(.recorded(recordNo: recordNo, nil, isRepeat: false), events)
    }

    /// Undoes a late departure of which this record was the evidence.
    private mutating func undoLate(_ visit: Visit, by: String, at now: Millis, _ events: inout [Event]) {
        guard let number = visit.orderNo else { return }
        let letter = Penalty.Kind.lateDeparture.letter
        if let subscription = subscription(number, in: visit.parkCode), penalties["\(number)-L\(visit.recordNo)"]?.state == .inForce {
            undo("\(number)-L\(visit.recordNo)", by: by, at: now, &events)
            forgive(subscription, at: now, &events)
        } else if var reservation = known(number), reservation.isLate, reservation.recordNo == visit.recordNo {
            undo("\(number)-\(letter)", by: by, at: now, &events)
            reservation.isLate = false
            update(reservation, at: now, &events)
        }
    }

    /// Applies the proof of a corrected record: the driver came after all, or left in time.
    private mutating func followCorrection(
        _ visit: inout Visit, _ correction: Correction, at now: Millis, past: Past, _ events: inout [Event]
    ) {
        switch correction {
        case .fee: return
        case .void, .merge: return undoLate(visit, by: "void \(visit.recordNo)", at: now, &events)
        case .plate, .times: break
        }
        if let subscription = visit.orderNo.flatMap({ subscription($0, in: visit.parkCode) }), let left = visit.leaveTime {
            let limit = timeToLeave(subscription, enteredAt: visit.enterTime) + Millis(subscription.graceMin) * CivilTime.minute
            if left <= limit { undoLate(visit, by: "correction \(visit.recordNo)", at: now, &events) }
            return
        }
        if visit.orderNo == nil {
            let (plate, time) = (visit.plate, visit.enterTime)
            let came = lots[visit.parkCode]?.reservations.values.filter {
                $0.speaks(for: plate) && ($0.status == .booked || $0.status == .noShow) && $0.enterStart <= time && time <= $0.enterEnd
            }.min { $0.serial < $1.serial }
            guard var reservation = came else { return }
            visit.orderNo = reservation.orderNo
            admit(&reservation, recordNo: visit.recordNo, enterTime: time, at: now, &events)
            reservation = lots[reservation.parkCode]?.reservations[reservation.orderNo] ?? reservation
            if let left = visit.leaveTime { leave(&reservation, at: left, now: now, &events) }
        } else if var reservation = visit.orderNo.flatMap({ reservation($0, past: past) }), reservation.status == .done,
            let left = visit.leaveTime,
            reservation.recordNo == visit.recordNo
        {
            reservation.enterTime = visit.enterTime
            reservation.leaveTime = left
            let limit = (reservation.leaveDeadline ?? .max / 4) + Millis(reservation.terms.graceMin) * CivilTime.minute
            if reservation.isLate, left <= limit {
                undo("\(reservation.orderNo)-\(Penalty.Kind.lateDeparture.letter)", by: "correction \(visit.recordNo)", at: now, &events)
                reservation.isLate = false
            }
            update(reservation, at: now, &events)
        }
    }
}
