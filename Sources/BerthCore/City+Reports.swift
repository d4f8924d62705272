// What is reported and kept by name, without a rule of its own: spaces, tariffs, devices, lists, subscriptions (U05 to U25), and
// what an operator sends to a lot (section 9.2).

/// Something reported under a name of its own; the latest wins. The core knows its kind and key, the wire what its body says.
public struct KeptRecord: Sendable, Equatable {
    /// Of the lot concerned; "" where it belongs to none.
    public var parkCode: String
    public var kind: String
    public var key: String
    /// Its fields as they came, in canonical JSON; "" when it is no more.
    public var body: String
    public var at: Millis

    public init(parkCode: String, kind: String, key: String, body: String, at: Millis) {
        self.parkCode = parkCode
        self.kind = kind
        self.key = key
        self.body = body
        self.at = at
    }

    public var isGone: Bool { body.isEmpty }
}

/// What is wrong with a record (U13).
public enum Correction: Sendable, Equatable {
    case plate(Plate)
    case times(enter: Millis?, leave: Millis?)
    case fee(Int64)
    case void
    case merge(into: String)
}

extension City {
    struct RecordKind: Hashable, Sendable {
        var parkCode: String
        var kind: String
    }

    public mutating func restore(report: KeptRecord) {
        reports[RecordKind(parkCode: report.parkCode, kind: report.kind), default: [:]][report.key] = report
        if report.kind == City.stageKind { restoreStage(report) }
        if report.kind == ProviderNotification.kind || report.kind == ProviderNotification.failedKind { lastNotification = max(lastNotification, Int64(report.key) ?? 0) }
    }

    /// What is in force of one kind, by key.
    public func reports(_ parkCode: String, kind: String) -> [KeptRecord] {
        (reports[RecordKind(parkCode: parkCode, kind: kind)] ?? [:]).values.sorted { $0.key < $1.key }
    }

    public func report(_ parkCode: String, kind: String, key: String) -> KeptRecord? {
        reports[RecordKind(parkCode: parkCode, kind: kind)]?[key]
    }

    mutating func keep(_ report: KeptRecord, _ events: inout [Event]) {
        let kind = RecordKind(parkCode: report.parkCode, kind: report.kind)
        let old = reports[kind]?[report.key]
        if report.isGone {
            guard old != nil else { return }
            reports[kind]![report.key] = nil
        } else {
            guard old?.body != report.body else { return }
            reports[kind, default: [:]][report.key] = report
        }
        events.append(.report(report))
    }

    /// - Parameter replaces: what was there before of this kind is gone.
    mutating func file(
        _ parkCode: String, _ filed: [KeptRecord], replaces: String?, at now: Millis, knownBy: String?, notice: LotEvent?
    ) -> Decision {
        guard parkCode.isEmpty || lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
        // A space is looked up where the lot has said which ones it has.
        if let knownBy, let known = reports[RecordKind(parkCode: parkCode, kind: knownBy)], !known.isEmpty,
            !filed.allSatisfy({ known[$0.key] != nil })
        {
            return Decision(.refused(.unknownSpace))
        }
        var events: [Event] = []
        if let kind = replaces {
            let keys = Set(filed.map(\.key))
            for old in reports(parkCode, kind: kind) where !keys.contains(old.key) {
                keep(KeptRecord(parkCode: parkCode, kind: kind, key: old.key, body: "", at: now), &events)
            }
        }
        for report in filed { keep(report, &events) }
        if let notice, lots[parkCode] != nil { events.append(.notice(notice)) }
        return Decision(.filed(filed.count), events)
    }

    /// A message of an operator for a lot's down log; what it sets stays in force for snapshots.
    mutating func post(_ parkCode: String, service: String, body: String, sets report: KeptRecord?, at now: Millis) -> Decision {
        guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
        var events: [Event] = []
        if let report { keep(report, &events) }
        append(.relay(service: service, body: body), to: parkCode, about: "", at: now, &events)
        return Decision(.posted(epoch: lots[parkCode]!.downEpoch!, seq: lots[parkCode]!.downLast), events)
    }

    /// A10: a plate belongs to one user. An empty body unbinds.
    mutating func bind(appId: String, userToken: String, plate: Plate, body: String, at now: Millis) -> Decision {
        let user = "\(appId)|\(userToken)"
        let owner = report("", kind: "plateOwner", key: plate.revealed)
        if let owner, owner.body != user { return Decision(.refused(.plateBoundElsewhere)) }
        var events: [Event] = []
        keep(KeptRecord(parkCode: user, kind: "vehicle", key: plate.revealed, body: body, at: now), &events)
        keep(
            KeptRecord(parkCode: "", kind: "plateOwner", key: plate.revealed, body: body.isEmpty ? "" : user, at: now), &events)
        return Decision(.bound(plate), events)
    }

    /// U13. Nothing is corrected while the car is inside: until it has left, its record is still being made.
    mutating func correct(
        _ parkCode: String, recordNo: String, _ correction: Correction, mends: Bool = false, at now: Millis, history: some History
    ) -> Decision {
        guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
        guard var visit = visit(parkCode, recordNo, history: history), !visit.isVoid else {
            return Decision(.refused(.noEntryRecord))
        }
        guard visit.leaveTime != nil else {
            if case .plate(let plate) = correction, !visit.plate.isLegal || (mends && visit.orderNo == nil) {
                return name(&visit, plate, at: now, history: history)
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
            guard other != recordNo, let target = self.visit(parkCode, other, history: history), !target.isVoid else {
                return Decision(.refused(.noEntryRecord))
            }
            visit.isVoid = true
            eventType = 1013
        }
        with(parkCode) { $0.visits[recordNo] = visit }
        var events: [Event] = []
        followCorrection(&visit, correction, at: now, history: history, &events)
        with(parkCode) { $0.visits[recordNo] = visit }
        events.append(.visit(visit))
        events.append(.notice(LotEvent(parkCode: parkCode, eventType: eventType, occurredAt: now, recordNo: recordNo)))
        return Decision(.recorded(recordNo: recordNo, nil, isRepeat: false), events)
    }

    /// A reading that was no plate gets its plate while the car is inside: its order, if it has one, finds it.
    private mutating func name(_ visit: inout Visit, _ plate: Plate, at now: Millis, history: some History) -> Decision {
        let old = visit.insideKey
        let recordNo = visit.recordNo
        guard lots[visit.parkCode]!.inside[plate] == nil else { return Decision(.refused(.repeatedEntry)) }
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
        if visit.orderNo == nil { followCorrection(&visit, .plate(plate), at: now, history: history, &events) }
        let named = visit
        with(visit.parkCode) { $0.visits[recordNo] = named }
        events.append(.visit(visit))
        events.append(.notice(LotEvent(parkCode: visit.parkCode, eventType: 1012, occurredAt: now, recordNo: recordNo)))
        return Decision(.recorded(recordNo: recordNo, nil, isRepeat: false), events)
    }

    /// A late departure that this record was the evidence of.
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

    /// What a corrected record proves: that somebody came after all, or left in time.
    private mutating func followCorrection(
        _ visit: inout Visit, _ correction: Correction, at now: Millis, history: some History, _ events: inout [Event]
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
        } else if var reservation = visit.orderNo.flatMap({ reservation($0, history: history) }), reservation.status == .done, let left = visit.leaveTime,
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
