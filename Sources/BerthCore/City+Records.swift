// What a lot reports of cars and orders (interface.md, U10, U11, U14), and how it answers its down log.
extension City {
    // The lot is not held on to here: it changes, and what is held twice is copied first, with all its visits and orders.
    mutating func enter(_ parkCode: String, _ passage: Passage, at now: Millis, history: some History) -> Decision {
        guard lots.contains(parkCode) else { return Decision(.refused(.lotNotRegistered)) }
        var decision = takeEntry(parkCode, passage, at: now, history: history)
        // A record that could not be taken shows all the same that the car was there: nothing is held against its order.
        // So does one of a booked plate that names no order.
        let standsAlone = lots[parkCode]?.visits[passage.recordNo].map { $0.orderNo == nil && $0.enterTime == passage.enterTime } ?? false
        if decision.outcome.refusal != nil || standsAlone { dispute(parkCode, passage, at: now, &decision.events) }
        notePassed(parkCode, through: passage.enterTime, at: now)
        return decision
    }

    /// Orders of a plate whose window holds the time of a record that was refused, or that names none of them.
    private mutating func dispute(_ parkCode: String, _ passage: Passage, at now: Millis, _ events: inout [Event]) {
        let his = lots[parkCode]!.orders.values.filter { order in
            (order.status == .booked || order.status == .noShow) && !order.isDisputed && order.enterStart <= passage.enterTime
                && passage.enterTime <= order.enterEnd && (order.speaks(for: passage.plate) || order.orderNo == passage.orderNo)
        }
        for order in his.sorted(by: { $0.serial < $1.serial }) {
            guard var order = lots[parkCode]?.orders[order.orderNo] else { continue }
            order.isDisputed = true
            if order.isPenalised {
                undo("\(order.orderNo)-\(Penalty.Kind.noShow.letter)", by: "record \(passage.recordNo)", at: now, &events)
                order.isPenalised = false
            }
            update(order, at: now, &events)
        }
    }

    private mutating func takeEntry(_ parkCode: String, _ passage: Passage, at now: Millis, history: some History) -> Decision {
        let gates = lots[parkCode]!.gates
        if !gates.isEmpty, gates[passage.gateCode] == nil { return Decision(.refused(.unknownGate)) }
        if passage.enterTime < now - City.recordDaysMax * CivilTime.dayLength { return Decision(.refused(.recordTooOld)) }
        if let known = visit(parkCode, passage.recordNo, history: history) {
            guard known.plate == passage.plate else { return Decision(.refused(.repeatedEntry)) }
            guard known.enterTime == passage.enterTime else { return Decision(.refused(.enterTimeDiffers)) }
            let status = known.orderNo.flatMap { order($0, history: history)?.status }
            return Decision(.recorded(recordNo: passage.recordNo, status, isRepeat: true))
        }
        var events: [Event] = []
        if let inside = lots[parkCode]!.inside[passage.plate] {
            return Decision(
                .refused(.repeatedEntry),
                [
                    .notice(
                        Notice(
                            parkCode: parkCode, eventType: 1015, occurredAt: passage.enterTime, recordNo: passage.recordNo, detail: inside))
                ])
        }

        var refusal: Refusal?
        var linked: Order?
        var subscription: SharedSubscription?
        if let orderNo = passage.orderNo {
            let policy = lots[parkCode]!.policy
            if let found = lots[parkCode]!.subscriptions[orderNo] {
                guard
                    mayStand(
                        passage.plate, for: found.plates, orderNo: orderNo, passage: passage, policy: policy, parkCode: parkCode)
                else { return Decision(.refused(.plateDiffers)) }
                let plate = found.plates.contains(passage.plate) ? passage.plate : found.plates[0]
                refusal = GatePolicy.refuse(found, plate: plate, at: passage.enterTime, calendar)
                subscription = found
                noteReading(found.plates, orderNo, passage, parkCode, at: now, &events)
            } else {
                guard let order = order(orderNo, history: history), order.parkCode == parkCode else {
                    return Decision(.refused(.orderNotFound))
                }
                guard
                    mayStand(
                        passage.plate, for: order.plates, orderNo: orderNo, passage: passage, policy: policy, parkCode: parkCode)
                else { return Decision(.refused(.plateDiffers)) }
                refusal = refuseEntry(of: order, passage, at: now)
                linked = order
                noteReading(order.plates, orderNo, passage, parkCode, at: now, &events)
            }
        }
        noteEntry(parkCode, passage, at: now, &events)
        // The car is inside whatever its order says: the record stands, a code beside it tells that the order did not carry it.
        var visit = Visit(
            parkCode: parkCode, recordNo: passage.recordNo, plate: passage.plate, enterTime: passage.enterTime,
            gateCode: passage.gateCode, carKind: passage.carKind, orderNo: nil)
        visit.vehicleClass = passage.vehicleClass
        if let order = linked, order.status == .inLot, order.recordNo == passage.recordNo {
            // The lot said before (U14) that it is in, under this record.
            visit.orderNo = order.orderNo
        } else if var order = linked, refusal == nil, order.status.canEnter {
            visit.orderNo = order.orderNo
            admit(&order, recordNo: passage.recordNo, enterTime: passage.enterTime, at: now, &events)
            linked = order
        }
        if let subscription, refusal == nil {
            visit.orderNo = subscription.authNo
            enter(subscription, visit, at: now, &events)
        }
        with(parkCode) {
            $0.visits[visit.recordNo] = visit
            $0.inside[visit.plate] = visit.recordNo
            guard visit.orderNo == nil else { return }
            $0.walkIns.removeAll { $0 < now - 5 * CivilTime.minute }
            if visit.enterTime > now - 5 * CivilTime.minute { $0.walkIns.append(min(visit.enterTime, now)) }
        }
        noteInside(visit.plate, parkCode, isInside: true)
        events.append(.visit(visit))
        if let refusal { return Decision(.recordedWith(refusal, recordNo: visit.recordNo), events) }
        return Decision(.recorded(recordNo: visit.recordNo, linked?.status, isRepeat: false), events)
    }

    /// Records older than this many days are not taken any more (1503; section 13 keeps them for a year).
    static let recordDaysMax: Millis = 365

    /// Why an entry at this time is not the order's, or nil.
    private func refuseEntry(of order: Order, _ passage: Passage, at now: Millis) -> Refusal? {
        switch order.status {
        case .held, .booked, .noShow: return passage.enterTime > order.enterEnd ? .tooLateToEnter : nil
        case .inLot, .done:
            if order.status == .inLot, order.recordNo == passage.recordNo { return nil }
            let isUsedUp = order.entryLimit >= 0 && order.entriesUsed >= order.entryLimit
            if isUsedUp { return .entriesUsedUp }
            if passage.enterTime > order.enterEnd { return .tooLateToEnter }
            return order.status == .inLot ? .repeatedEntry : refuseReturn(of: order, at: now)
        default: return nil
        }
    }

    /// Whether the place that an order gave back when its car left is somebody else's by now: then it cannot come in again on it.
    func refuseReturn(of order: Order, at now: Millis) -> Refusal? {
        guard let lot = lots[order.parkCode] else { return nil }
        if let space = order.spaceNo {
            return lot.spaces.isFree(space, from: now, to: max(now + 1, order.expectedLeave), except: order.orderNo)
                ? nil : .sharedSpaceOccupied
        }
        return lot.hasRoom(order.pool, from: now, to: max(now + 1, order.expectedLeave), now: now) || order.pool == .rolling
            ? nil : .noBookableSpace
    }

    /// The order's car is in. A no-show that this disproves loses its penalty (section 5.5).
    mutating func admit(
        _ order: inout Order, recordNo: String, enterTime: Millis, at now: Millis, _ events: inout [Event]
    ) {
        let wasNoShow = order.status == .noShow
        if order.isPenalised {
            undo("\(order.orderNo)-\(Penalty.Kind.noShow.letter)", by: "record \(recordNo)", at: now, &events)
            order.isPenalised = false
        }
        settleDeposit(of: order, .earned, at: now, &events)
        useAppointment(of: order, &events)
        let eventType = enterTime < order.enterStart ? 2004 : 2003
        order.status = .inLot
        order.holdDeadline = nil
        order.recordNo = recordNo
        order.enterTime = enterTime
        order.leaveTime = nil
        order.entriesUsed += 1
        update(order, at: now, &events)
        if order.purpose == .shared {
            mark(order.offerId, in: order.parkCode, .inUse, &events)
            if wasNoShow { makeWay(for: order, at: now, &events) }
        }
        events.append(
            .notice(
                Notice(
                    parkCode: order.parkCode, eventType: eventType, occurredAt: enterTime, orderNo: order.orderNo,
                    recordNo: recordNo)))
    }

    mutating func exit(_ parkCode: String, _ passage: Passage, at now: Millis, history: some History) -> Decision {
        guard lots[parkCode] != nil, let leaveTime = passage.leaveTime else {
            return Decision(.refused(.lotNotRegistered))
        }
        notePassed(parkCode, through: leaveTime, at: now)
        var events: [Event] = []
        let known = visit(parkCode, passage.recordNo, history: history)
        if let known {
            guard known.enterTime == passage.enterTime else { return Decision(.refused(.enterTimeDiffers)) }
            if let left = known.leaveTime {
                guard left == leaveTime else { return Decision(.refused(.orderFinished)) }
                let status = known.orderNo.flatMap { order($0, history: history)?.status }
                return Decision(.recorded(recordNo: passage.recordNo, status, isRepeat: true))
            }
        }
        var visit =
            known
            ?? Visit(
                parkCode: parkCode, recordNo: passage.recordNo, plate: passage.plate, enterTime: passage.enterTime,
                gateCode: passage.gateCode, carKind: passage.carKind, orderNo: nil)
        var status: OrderStatus?
        if known == nil { visit.vehicleClass = passage.vehicleClass }
        if let subscription = visit.orderNo.flatMap({ lots[parkCode]!.subscriptions[$0] }), subscription.recordNo == passage.recordNo {
            leave(subscription, at: leaveTime, now: now, &events)
        } else if var order = (visit.orderNo ?? passage.orderNo).flatMap({ order($0, history: history) }),
            order.parkCode == parkCode
        {
            if known == nil, order.speaks(for: passage.plate), order.status.canEnter,
                refuseEntry(of: order, passage, at: now) == nil
            {
                admit(&order, recordNo: passage.recordNo, enterTime: passage.enterTime, at: now, &events)
                visit.orderNo = order.orderNo
            }
            if visit.orderNo == order.orderNo, order.status == .inLot {
                order = lots[parkCode]?.orders[order.orderNo] ?? order
                leave(&order, at: leaveTime, now: now, &events)
            }
            status = order.status
        }
        visit.leaveTime = leaveTime
        visit.exitGateCode = passage.exitGateCode
        visit.feeFen = passage.feeFen
        if let order = visit.orderNo.flatMap({ order($0, history: history) }), order.discountFen > 0 {
            with(parkCode) { $0.visits[visit.recordNo] = visit }
            settleCompensation(of: order, &visit, at: now, history: history, &events)
        }
        with(parkCode) {
            $0.visits[visit.recordNo] = visit
            if $0.inside[visit.plate] == visit.recordNo { $0.inside[visit.plate] = nil }
        }
        noteInside(visit.plate, parkCode, isInside: false)
        events.append(.visit(visit))
        // Payments that came by themselves before (U22) are known; where the city bills, the lot takes none.
        for payment in passage.payments {
            let taken = takeIn(payment, history: history)
            if case .paid(_, isRepeat: false) = taken.outcome { events += taken.events }
        }
        if known == nil { return Decision(.recordedWith(.exitWithoutEntry, recordNo: visit.recordNo), events) }
        return Decision(.recorded(recordNo: visit.recordNo, status, isRepeat: false), events)
    }

    mutating func leave(_ order: inout Order, at leaveTime: Millis, now: Millis, _ events: inout [Event]) {
        order.status = .done
        order.leaveTime = leaveTime
        let wasOverstay = order.overstay
        if order.purpose == .shared, let deadline = order.leaveDeadline {
            let limit = deadline + Millis(order.terms.graceMin) * CivilTime.minute
            if leaveTime > limit, !order.isLate {
                chargeLate(&order, limit: limit, at: now, &events)
            } else if leaveTime <= limit, order.isLate {
                // A late record shows that he was gone in time.
                undo("\(order.orderNo)-\(Penalty.Kind.lateDeparture.letter)", by: "record", at: now, &events)
                order.isLate = false
            }
        }
        update(order, at: now, &events)
        if order.purpose == .shared { mark(order.offerId, in: order.parkCode, .open, &events) }
        var notice = Notice(
            parkCode: order.parkCode, eventType: 2007, occurredAt: leaveTime, orderNo: order.orderNo,
            recordNo: order.recordNo)
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
        guard var order = order(orderNo, history: history), order.parkCode == parkCode else {
            return Decision(.refused(.orderNotFound))
        }
        notePassed(parkCode, through: occurred, at: now)
        // What the lot says of an agreement must be of the newest one; what it says of a car is a fact.
        if statement == .accepted || statement == .refused, orderVer < order.orderVer {
            return Decision(.refused(.newerVersionExists))
        }
        var events: [Event] = []
        switch (statement, order.status) {
        case (.accepted, .held), (.accepted, .booked):
            accept(&order, occurred: occurred, at: now, &events)
        case (.refused, .held), (.refused, .booked):
            reject(&order, at: now, &events)
        case (.revoked, .held), (.revoked, .booked):
            order.status = .revoked
            order.isCompensated = true
            order.orderVer += 1
            order.deliver = .notNeeded
            giveBackDailyCount(of: order, &events)
            giveBackAppointment(of: order, &events)
            returnDeposit(of: order, at: now, &events)
            update(order, at: now, &events)
            events.append(
                .notice(Notice(parkCode: parkCode, eventType: 2012, occurredAt: occurred, orderNo: orderNo)))
        case (.arrived, .held), (.arrived, .booked), (.arrived, .noShow):
            guard occurred <= order.enterEnd else { return Decision(.refused(.tooLateToEnter)) }
            guard occurred >= now - City.recordDaysMax * CivilTime.dayLength else { return Decision(.refused(.recordTooOld)) }
            admit(&order, recordNo: recordNo ?? "", enterTime: occurred, at: now, &events)
        case (.left, .inLot):
            leave(&order, at: occurred, now: now, &events)
        case (.left, .held), (.left, .booked), (.left, .noShow): return Decision(.refused(.noEntryRecord))
        case (.overstay, .inLot):
            if !order.overstay {
                order.overstay = true
                update(order, at: now, &events)
                events.append(
                    .notice(Notice(parkCode: parkCode, eventType: 2008, occurredAt: occurred, orderNo: orderNo)))
            }
        case (.notArrived, .booked):
            // Its log must have passed the window, whatever it says.
            guard now > order.enterEnd, lots[parkCode]!.passedThrough >= order.enterEnd else {
                return Decision(.wrongState, RuleNote("enterEnd", until: order.enterEnd))
            }
            judgeNoShow(&order, at: now, &events)
        case (.accepted, .inLot), (.arrived, .inLot), (.left, .done), (.notArrived, .noShow), (.revoked, .revoked),
            (.refused, .rejected), (.accepted, .done):
            break  // It is so already.
        case (_, .cancelled), (_, .cancelledBreach): return Decision(.refused(.orderCancelled))
        case (_, .done): return Decision(.refused(.orderFinished))
        default: return Decision(.refused(.wrongState))
        }
        return Decision(.recorded(recordNo: recordNo ?? "", order.status, isRepeat: false), events)
    }

    /// The lot has the order and will honour it: where it got it before the window was over.
    private mutating func accept(_ order: inout Order, occurred: Millis, at now: Millis, _ events: inout [Event]) {
        let old = order
        order.deliver = order.status == .booked && (occurred > order.enterEnd || order.deliver == .expired) ? .expired : .accepted
        if order.status == .held {
            order.status = .booked
            order.holdDeadline = nil
        }
        if order != old { update(order, at: now, &events) }
    }

    /// A final refusal by the lot: no penalty, the place is free, the user is told.
    private mutating func reject(_ order: inout Order, at now: Millis, _ events: inout [Event]) {
        order.deliver = .refused
        order.status = .rejected
        order.holdDeadline = nil
        giveBackDailyCount(of: order, &events)
        giveBackAppointment(of: order, &events)
        returnDeposit(of: order, at: now, &events)
        update(order, at: now, &events)
        events.append(
            .notice(Notice(parkCode: order.parkCode, eventType: 2002, occurredAt: now, orderNo: order.orderNo)))
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
                var order = order(orderNo, history: history)
            else { continue }
            if result.isAccepted {
                if order.downSeq == result.seq { accept(&order, occurred: now, at: now, &events) }
            } else if order.status == .held || order.status == .booked {
                reject(&order, at: now, &events)
            } else if order.downSeq == result.seq {
                order.deliver = .refused
                update(order, at: now, &events)
            }
        }
        lots[parkCode]!.downAck = max(lots[parkCode]!.downAck, ackSeq)
        events.append(
            .downSettled(parkCode: parkCode, epoch: epoch, ackSeq: lots[parkCode]!.downAck, settled))
        return Decision(.done, events)
    }
}

extension OrderStatus {
    /// States from which a car's entry leads to IN_LOT, when its time and count allow (section 6; DONE only where entries are left).
    var canEnter: Bool { self == .held || self == .booked || self == .noShow || self == .done }
}
