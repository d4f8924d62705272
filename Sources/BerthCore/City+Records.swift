// What a lot reports of cars and orders (interface.md, U10, U11, U14), and how it answers its down log.
extension City {
    // The lot is not held on to here: it changes, and a value that is held twice is copied first, with all its visits and orders.
    mutating func enter(_ parkCode: String, _ passage: Passage, at now: Millis, history: some History) -> Decision {
        guard lots.contains(parkCode) else { return Decision(.refused(.lotNotRegistered)) }
        var decision = takeEntry(parkCode, passage, at: now, history: history)
        // A record that could not be taken shows all the same that the car was there: nothing is held against its order.
        // So does a record of a booked plate that names no order, or whose order did not carry it.
        let standsAlone = lots[parkCode]?.visits[passage.recordNo].map { $0.orderNo == nil } ?? false
        if decision.outcome.refusal != nil || standsAlone {
            dispute(
                parkCode, plate: passage.plate, orderNo: passage.orderNo, time: passage.enterTime, recordNo: passage.recordNo, at: now,
                &decision.events)
        }
        notePassed(parkCode, through: passage.enterTime, at: now)
        return decision
    }

    /// Marks orders whose car may have come: those whose window holds the time of a record that was refused or that names no order.
    /// - Parameter plate: as it was read; nil where nobody could read it.
    mutating func dispute(
        _ parkCode: String, plate: Plate?, orderNo: String?, time: Millis, recordNo: String, at now: Millis, _ events: inout [Event]
    ) {
        let most = lots[parkCode]!.policy.fuzzyCharsMax
        let concerned = lots[parkCode]!.reservations.values.filter { reservation in
            guard reservation.status == .booked || reservation.status == .noShow, !reservation.isDisputed, reservation.enterStart <= time, time <= reservation.enterEnd
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

    private mutating func takeEntry(_ parkCode: String, _ reported: Passage, at now: Millis, history: some History) -> Decision {
        var passage = reported
        var events: [Event] = []
        var flags: [String] = []
        if let known = visit(parkCode, passage.recordNo, history: history) {
            guard known.plate == passage.plate else { return Decision(.refused(.repeatedEntry)) }
            guard known.enterTime == passage.enterTime || known.reportedEnterTime == passage.enterTime else {
                return Decision(.refused(.enterTimeDiffers))
            }
            let status = known.orderNo.flatMap { reservation($0, history: history)?.status }
            return Decision(.recorded(recordNo: passage.recordNo, status, isRepeat: true))
        }
        if passage.enterTime < now - City.recordDaysMax * CivilTime.dayLength { return Decision(.refused(.recordTooOld)) }
        passage.enterTime = present(passage.enterTime, "enterTime", parkCode, at: now, &events)
        if passage.enterTime != reported.enterTime { flags.append("timeAhead") }
        if !passage.plate.isLegal { flags.append("unreadPlate") }
        let gates = lots[parkCode]!.gates
        if !gates.isEmpty, gates[passage.gateCode] == nil { flags.append("unknownGate") }
        var visit = Visit(
            parkCode: parkCode, recordNo: passage.recordNo, plate: passage.plate, enterTime: passage.enterTime,
            gateCode: passage.gateCode, carKind: passage.carKind, orderNo: nil)
        visit.vehicleClass = passage.vehicleClass
        if passage.enterTime != reported.enterTime { visit.reportedEnterTime = reported.enterTime }
        if let inside = lots[parkCode]!.inside[visit.insideKey] {
            let older = lots[parkCode]!.visits[inside]
            if let older, abs(passage.enterTime - older.enterTime) <= City.seenTwiceMillis {
                return Decision(
                    .refused(.repeatedEntry),
                    [
                        .notice(
                            LotEvent(
                                parkCode: parkCode, eventType: 1015, occurredAt: passage.enterTime, recordNo: passage.recordNo,
                                detail: inside))
                    ])
            }
            flags.append("exitMissed")
            if let older, passage.enterTime < older.enterTime {
                // A late record of an earlier stay: its exit may follow.
                visit.isExitMissed = true
                visit.leaveTime = visit.enterTime
            } else {
                closeMissed(parkCode, inside, by: passage.recordNo, at: now, history: history, &events)
            }
        }

        var refusal: Rejection?
        var linked: Reservation?
        var subscription: SharedSubscription?
        if let orderNo = passage.orderNo {
            let policy = lots[parkCode]!.policy
            if let found = lots[parkCode]!.subscriptions[orderNo] {
                if mayStand(passage.plate, for: found.plates, orderNo: orderNo, passage: passage, policy: policy, parkCode: parkCode) {
                    let plate = found.plates.contains(passage.plate) ? passage.plate : found.plates[0]
                    refusal = GatePolicy.refuse(found, plate: plate, at: passage.enterTime, calendar)
                    subscription = found
                    noteReading(found.plates, orderNo, passage, parkCode, at: now, &events)
                } else {
                    refusal = .plateDiffers
                }
            } else if let reservation = reservation(orderNo, history: history), reservation.parkCode == parkCode {
                if mayStand(passage.plate, for: reservation.plates, orderNo: orderNo, passage: passage, policy: policy, parkCode: parkCode) {
                    refusal = refuseEntry(of: reservation, passage, at: now)
                    linked = reservation
                    noteReading(reservation.plates, orderNo, passage, parkCode, at: now, &events)
                } else {
                    refusal = .plateDiffers
                }
            } else {
                refusal = .orderNotFound
            }
        }
        noteEntry(parkCode, passage, at: now, &events)
        // The car is inside whatever its order says: the record stands, and a code beside it tells that the order did not carry it.
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
        with(parkCode) {
            $0.visits[visit.recordNo] = visit
            if !visit.isExitMissed { $0.inside[visit.insideKey] = visit.recordNo }
            guard visit.orderNo == nil else { return }
            $0.walkIns.removeAll { $0 < now - 5 * CivilTime.minute }
            if visit.enterTime > now - 5 * CivilTime.minute { $0.walkIns.append(min(visit.enterTime, now)) }
        }
        if !visit.isExitMissed { noteInside(visit.insideKey, parkCode, isInside: true) }
        events.append(.visit(visit))
        note(passage, at: passage.enterTime, parkCode, now: now, &events)
        var decision =
            refusal.map { Decision(.recordedWith($0, recordNo: visit.recordNo), events) }
            ?? Decision(.recorded(recordNo: visit.recordNo, linked?.status, isRepeat: false), events)
        decision.flags = flags
        return decision
    }

    /// The count of places that a passage states.
    private mutating func note(_ passage: Passage, at time: Millis, _ parkCode: String, now: Millis, _ events: inout [Event]) {
        guard var remain = passage.remain else { return }
        remain.reportedAt = time
        note(remain, parkCode, at: now, &events)
    }

    /// The exit of a car was missed: its stay ends at its last proof and costs nothing beyond it (section 5.5).
    private mutating func closeMissed(
        _ parkCode: String, _ recordNo: String, by other: String, at now: Millis, history: some History, _ events: inout [Event]
    ) {
        guard var visit = lots[parkCode]!.visits[recordNo] else {
            return
        }
        let proof = min(now, max(visit.enterTime, visit.paidAt ?? 0))
        if let subscription = visit.orderNo.flatMap({ lots[parkCode]!.subscriptions[$0] }), subscription.recordNo == recordNo {
            leave(subscription, at: min(proof, subscription.leaveBy ?? proof), now: now, &events)
        } else if var reservation = visit.orderNo.flatMap({ reservation($0, history: history) }), reservation.status == .inLot, reservation.recordNo == recordNo {
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
            .notice(LotEvent(parkCode: parkCode, eventType: 1015, occurredAt: now, recordNo: recordNo, detail: "exit missed, then \(other)")))
    }

    /// Records older than this many days are not taken any more (1503; section 13 keeps them for a year).
    static let recordDaysMax: Millis = 365

    /// Why an entry at this time is not the order's, or nil.
    private func refuseEntry(of reservation: Reservation, _ passage: Passage, at now: Millis) -> Rejection? {
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

    /// Whether the place that an order gave back when its car left is somebody else's by now: then it cannot come in again on it.
    func refuseReturn(of reservation: Reservation, at now: Millis) -> Rejection? {
        guard let lot = lots[reservation.parkCode] else { return nil }
        if let space = reservation.spaceNo {
            return lot.spaces.isFree(space, from: now, to: max(now + 1, reservation.expectedLeave), except: reservation.orderNo)
                ? nil : .sharedSpaceOccupied
        }
        return lot.hasRoom(reservation.pool, from: now, to: max(now + 1, reservation.expectedLeave), now: now) || reservation.pool == .rolling
            ? nil : .noBookableSpace
    }

    /// The order's car is in. A no-show that this disproves loses its penalty (section 5.5).
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

    mutating func exit(_ parkCode: String, _ reported: Passage, at now: Millis, history: some History) -> Decision {
        guard lots[parkCode] != nil, let reportedLeave = reported.leaveTime else { return Decision(.refused(.lotNotRegistered)) }
        notePassed(parkCode, through: reportedLeave, at: now)
        var events: [Event] = []
        var flags: [String] = []
        var passage = reported
        let known = visit(parkCode, passage.recordNo, history: history)
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
                let status = known.orderNo.flatMap { reservation($0, history: history)?.status }
                return Decision(.recorded(recordNo: passage.recordNo, status, isRepeat: true))
            }
            leaveTime = max(leaveTime, known.enterTime)
        }
        var visit =
            known
            ?? Visit(
                parkCode: parkCode, recordNo: passage.recordNo, plate: passage.plate, enterTime: passage.enterTime,
                gateCode: passage.gateCode, carKind: passage.carKind, orderNo: nil)
        var status: ReservationStatus?
        if known == nil {
            visit.vehicleClass = passage.vehicleClass
            if passage.enterTime != reported.enterTime { visit.reportedEnterTime = reported.enterTime }
            if !visit.plate.isLegal { flags.append("unreadPlate") }
        }
        if let subscription = visit.orderNo.flatMap({ lots[parkCode]!.subscriptions[$0] }), subscription.recordNo == passage.recordNo {
            leave(subscription, at: leaveTime, now: now, &events)
        } else if var reservation = (visit.orderNo ?? passage.orderNo).flatMap({ reservation($0, history: history) }),
            reservation.parkCode == parkCode
        {
            if known == nil, reservation.speaks(for: passage.plate), reservation.status.canEnter,
                refuseEntry(of: reservation, passage, at: now) == nil
            {
                admit(&reservation, recordNo: passage.recordNo, enterTime: passage.enterTime, at: now, &events)
                visit.orderNo = reservation.orderNo
            }
            if visit.orderNo == reservation.orderNo, reservation.status == .inLot {
                reservation = lots[parkCode]?.reservations[reservation.orderNo] ?? reservation
                leave(&reservation, at: leaveTime, now: now, &events)
            } else if visit.isExitMissed, visit.orderNo == reservation.orderNo, reservation.status == .done, reservation.recordNo == passage.recordNo {
                // The exit that was missed has come after all.
                reservation.leaveTime = leaveTime
                update(reservation, at: now, &events)
            }
            status = reservation.status
        }
        visit.leaveTime = leaveTime
        visit.isExitMissed = false
        visit.exitGateCode = passage.exitGateCode
        visit.feeFen = passage.feeFen
        visit.isInArrears = passage.isInArrears
        if let reservation = visit.orderNo.flatMap({ reservation($0, history: history) }), reservation.discountFen > 0 {
            with(parkCode) { $0.visits[visit.recordNo] = visit }
            settleCompensation(of: reservation, &visit, at: now, history: history, &events)
        }
        let key = visit.insideKey
        let isLast = lots[parkCode]!.inside[key] == visit.recordNo
        with(parkCode) {
            $0.visits[visit.recordNo] = visit
            if isLast { $0.inside[key] = nil }
        }
        if isLast { noteInside(key, parkCode, isInside: false) } else { noteRefilled(parkCode) }
        events.append(.visit(visit))
        note(passage, at: leaveTime, parkCode, now: now, &events)
        // Payments that came by themselves before (U22) are known; where the city bills, the lot takes none.
        for payment in passage.payments {
            let taken = takeIn(payment, at: now, history: history)
            if case .paid(_, isRepeat: false) = taken.outcome { events += taken.events }
        }
        if let orderNo = visit.orderNo { settleStay(orderNo, visit.recordNo, parkCode, at: now, history: history, &events) }
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

    /// How the stay of an order is paid, when its car has left (section 6, `payState`).
    mutating func settleStay(
        _ orderNo: String, _ recordNo: String, _ parkCode: String, at now: Millis, history: some History, _ events: inout [Event]
    ) {
        guard var reservation = known(orderNo), let visit = visit(parkCode, recordNo, history: history) else { return }
        let isInside = visit.leaveTime == nil
        var state = 0
        if City.isBilledByCity(reservation.purpose) {
            let fee = sessionFee(parkCode, recordNo: recordNo, at: now, history: history)
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

    mutating func state(
        _ parkCode: String, orderNo: String, orderVer: Int64, _ statement: LotStatement, occurred: Millis,
        recordNo: String?, at now: Millis, history: some History
    ) -> Decision {
        guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
        guard var reservation = reservation(orderNo, history: history), reservation.parkCode == parkCode else {
            return Decision(.refused(.orderNotFound))
        }
        notePassed(parkCode, through: occurred, at: now)
        var events: [Event] = []
        let occurred = present(occurred, "occurTime", parkCode, at: now, &events)
        // A statement about an agreement must be of the version that the lot was told last; a statement about a car is a fact.
        if statement == .accepted || statement == .refused, reservation.status == .held || reservation.status == .booked, orderVer < reservation.pushedVer {
            return Decision(.refused(.newerVersionExists))
        }
        switch (statement, reservation.status) {
        case (.accepted, .held), (.accepted, .booked):
            accept(&reservation, occurred: occurred, at: now, &events)
        case (.refused, .held), (.refused, .booked):
            end(&reservation, as: .refusedByLot, now: now, &events)
        case (.revoked, .held), (.revoked, .booked):
            end(&reservation, as: .revokedByLot, at: occurred, now: now, &events)
        case (.arrived, .held), (.arrived, .booked), (.arrived, .noShow):
            guard occurred <= reservation.enterEnd else { return Decision(.refused(.tooLateToEnter)) }
            guard occurred >= now - City.recordDaysMax * CivilTime.dayLength else { return Decision(.refused(.recordTooOld)) }
            admit(&reservation, recordNo: recordNo ?? "", enterTime: occurred, at: now, &events)
        case (.left, .inLot):
            leave(&reservation, at: occurred, now: now, &events)
        case (.left, .held), (.left, .booked), (.left, .noShow): return Decision(.refused(.noEntryRecord))
        case (.overstay, .inLot):
            if !reservation.overstay {
                reservation.overstay = true
                update(reservation, at: now, &events)
                events.append(
                    .notice(LotEvent(parkCode: parkCode, eventType: 2008, occurredAt: occurred, orderNo: orderNo)))
            }
        case (.notArrived, .booked):
            // Its log must have passed the window, whatever it says.
            guard now > reservation.enterEnd, lots[parkCode]!.passedThrough >= reservation.enterEnd else {
                return Decision(.wrongState, RuleNote("enterEnd", until: reservation.enterEnd))
            }
            judgeNoShow(&reservation, at: now, &events)
        case (.accepted, .inLot), (.arrived, .inLot), (.left, .done), (.notArrived, .noShow), (.revoked, .revoked),
            (.refused, .rejected), (.accepted, .done):
            break  // It is so already.
        case (_, .cancelled), (_, .cancelledBreach): return Decision(.refused(.orderCancelled))
        case (_, .done): return Decision(.refused(.orderFinished))
        default: return Decision(.refused(.wrongState))
        }
        return Decision(.recorded(recordNo: recordNo ?? "", reservation.status, isRepeat: false), events)
    }

    /// The lot has the order and will honour it: where it got it before the window was over.
    private mutating func accept(_ reservation: inout Reservation, occurred: Millis, at now: Millis, _ events: inout [Event]) {
        let old = reservation
        reservation.deliver = reservation.status == .booked && (occurred > reservation.enterEnd || reservation.deliver == .expired) ? .expired : .accepted
        if reservation.status == .held {
            reservation.status = .booked
            reservation.holdDeadline = nil
            reservation.orderVer += 1
        }
        if reservation != old { update(reservation, at: now, &events) }
    }

    mutating func settle(
        _ parkCode: String, epoch: String, ackSeq: Int64, results: [DownResult], assumesRest: Bool, at now: Millis,
        history: some History
    ) -> Decision {
        guard lots.contains(parkCode) else { return Decision(.refused(.lotNotRegistered)) }
        guard epoch == lots[parkCode]!.downEpoch, ackSeq <= lots[parkCode]!.downLast else { return Decision(.refused(.wrongState)) }
        var settled = results.filter { lots[parkCode]!.awaiting[$0.seq] != nil }
        if assumesRest {
            let answered = Set(settled.map(\.seq))
            settled += lots[parkCode]!.awaiting.keys.filter { $0 <= ackSeq && !answered.contains($0) }
                .map { DownResult(seq: $0, isAccepted: true) }
        }
        settled.sort { $0.seq < $1.seq }
        guard !settled.isEmpty || ackSeq > lots[parkCode]!.downAck else { return Decision(.done) }
        var events: [Event] = []
        for result in settled {
            guard let orderNo = lots[parkCode]!.awaiting.removeValue(forKey: result.seq),
                var reservation = reservation(orderNo, history: history)
            else { continue }
            if result.isAccepted {
                if reservation.downSeq == result.seq { accept(&reservation, occurred: now, at: now, &events) }
            } else if reservation.status == .held || reservation.status == .booked {
                end(&reservation, as: .refusedByLot, now: now, &events)
            } else if reservation.downSeq == result.seq {
                reservation.deliver = .refused
                update(reservation, at: now, &events)
            }
        }
        lots[parkCode]!.downAck = max(lots[parkCode]!.downAck, ackSeq)
        events.append(
            .downSettled(parkCode: parkCode, epoch: epoch, ackSeq: lots[parkCode]!.downAck, settled))
        return Decision(.done, events)
    }
}

extension ReservationStatus {
    /// States from which a car's entry leads to IN_LOT, when its time and count allow (section 6; DONE only where entries are left).
    var canEnter: Bool { self == .held || self == .booked || self == .noShow || self == .done }
}
