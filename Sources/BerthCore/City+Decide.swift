// The decision of a command.
extension City {
    /// Decides a command, in memory and without waiting: the city is then the one after it.
    /// - Parameters:
    ///   - past: what ``lacks(_:_:)`` named, read before.
    ///   - sentAt: the time at which the lot sent the message; the message is no evidence of a later time (section 5.5).
    public mutating func decide(_ command: Command, at now: Millis, past: Past, sentAt: Millis = .max) -> Decision {
        if lots.hasFaults, let parkCode = lot(of: command), let fault = lots[parkCode]?.fault {
            return Decision(.maintenance, RuleNote("\(parkCode) is stopped: \(fault)"))
        }
        self.sentAt = sentAt
        defer { self.sentAt = .max }
        var decision = carryOut(command, at: now, past: past)
        if !refilled.isEmpty { followSaturation(at: now, &decision.events) }
        if !freed.isEmpty { giveFreedPlaces(at: now, &decision.events) }
        // Every refusal names the rule that it comes from.
        if decision.note == nil, let rule = decision.outcome.refusal?.rule { decision.note = RuleNote(rule) }
        return decision
    }

    private mutating func carryOut(_ command: Command, at now: Millis, past: Past) -> Decision {
        switch command {
        case .register(let parkCode):
            guard lots[parkCode] == nil else { return Decision(.done) }
            lots[parkCode] = Lot(parkCode: parkCode, policy: policy)
            resolvePolicies(of: parkCode)
            return Decision(.done, [.registered(parkCode: parkCode)])
        case .setPolicy(let scope, let values): return setPolicy(scope, values, at: now)
        case .openLot(let profile, let info):
            guard lots[profile.parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            let before = lots[known: profile.parkCode].profile
            lots[known: profile.parkCode].profile = profile
            directory.put(profile.parkCode, at: profile.position)
            noteFreed(profile.parkCode)
            var events: [Event] = [.lot(profile)]
            if let before, let change = profile.capacityChange(since: before) {
                events.append(.notice(LotEvent(parkCode: profile.parkCode, eventType: 4006, occurredAt: now, detail: change)))
            }
            if before == nil || before!.group != profile.group || before!.lotType != profile.lotType {
                let told = GateRules(lots[known: profile.parkCode].policy)
                resolvePolicies(of: profile.parkCode)
                // A new lot's box begins with a snapshot.
                tellGateRules(profile.parkCode, since: before == nil ? GateRules() : told, inLog: before != nil, at: now, &events)
                if before != nil { tellLists(profile.parkCode, at: now, &events) }
            }
            if let info { keep(info, &events) }
            if reviewsLots, lots[known: profile.parkCode].stage == .applied {
                events += setStage(profile.parkCode, .testing, opened: [], at: now).events
            }
            return Decision(.done, events)
        case .reportGates(let parkCode, let upsert, let delete, let kept):
            guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            guard delete.allSatisfy({ lots[known: parkCode].gates[$0] != nil }) else { return Decision(.refused(.unknownGate)) }
            for gateCode in delete { lots[known: parkCode].gates[gateCode] = nil }
            for gate in upsert { lots[known: parkCode].gates[gate.gateCode] = gate }
            let gates = lots[known: parkCode].gates.values.sorted { $0.gateCode < $1.gateCode }
            var events: [Event] = [.gates(parkCode: parkCode, gates)]
            for report in kept { keep(report, &events) }
            return Decision(.done, events)
        case .reportRemaining(let parkCode, let remaining):
            guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            guard remaining.remain <= remaining.total else { return Decision(.refused(.countersInconsistent)) }
            var events: [Event] = []
            var remaining = remaining
            remaining.reportedAt = present(remaining.reportedAt, "reportTime", parkCode, at: now, &events)
            note(remaining, parkCode, at: now, &events)
            return Decision(.done, events)
        case .create(let booking):
            let promoted = promoteFirst(booking.parkCode, at: now)
            var decision = create(booking, at: now, past: past)
            if !promoted.isEmpty { decision.events = promoted + decision.events }
            return decision
        case .modify(let appId, let orderNo, let planTime, let plate, let plateColor):
            return modify(
                appId: appId, orderNo: orderNo, planTime: planTime, plate: plate, plateColor: plateColor, at: now,
                past: past)
        case .cancel(let appId, let orderNo, let confirmBreach):
            return cancel(appId: appId, orderNo: orderNo, confirmBreach: confirmBreach, at: now, past: past)
        case .enter(let parkCode, let passage): return enter(parkCode, passage, at: now, past: past)
        case .exit(let parkCode, let passage): return exit(parkCode, passage, at: now, past: past)
        case .state(let parkCode, let orderNo, let orderVer, let statement, let occurred, let recordNo):
            return state(
                parkCode, orderNo: orderNo, orderVer: orderVer, statement, occurred: occurred, recordNo: recordNo,
                at: now, past: past)
        case .notice(var notice):
            guard lots[notice.parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            notePassed(notice.parkCode, through: notice.occurredAt, at: now)
            var events: [Event] = []
            notice.occurredAt = present(notice.occurredAt, "occurTime", notice.parkCode, at: now, &events)
            return Decision(.done, [.notice(notice)] + events)
        case .raise(let notice):
            guard notice.parkCode.isEmpty || lots[notice.parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            return Decision(.done, [.notice(notice)])
        case .dispute(let parkCode, let plate, let orderNo, let time, let recordNo):
            guard lots.contains(parkCode) else { return Decision(.refused(.lotNotRegistered)) }
            var events: [Event] = []
            dispute(parkCode, plate: plate, orderNo: orderNo, time: time, recordNo: recordNo, at: now, &events)
            return Decision(.done, events)
        case .settle(let parkCode, let epoch, let ackSeq, let results, let assumesRest):
            return settle(
                parkCode, epoch: epoch, ackSeq: ackSeq, results: results, assumesRest: assumesRest, at: now,
                past: past)
        case .file(let parkCode, let filed, let replaces, let knownBy, let notice, let tariff, let entries):
            let decision = file(parkCode, filed, replaces: replaces, at: now, knownBy: knownBy, notice: notice)
            guard case .filed = decision.outcome else { return decision }
            if let tariff { set(tariff, of: parkCode) }
            if let replaces, replaces.hasPrefix("list") { directory.clear(RecordKind(parkCode: parkCode, kind: replaces)) }
            for report in filed where report.kind.hasPrefix("list") {
                guard let plate = Plate(report.key) else { continue }
                directory.set(entries[report.key], of: plate, on: RecordKind(parkCode: parkCode, kind: report.kind))
            }
            return decision
        case .post(let parkCode, let service, let body, let report):
            return post(parkCode, service: service, body: body, sets: report, at: now)
        case .renewDown(let parkCode, let epoch): return renewDown(parkCode, epoch: epoch, at: now)
        case .mend(let parkCode, let recordNo, let correction):
            return correct(parkCode, recordNo: recordNo, correction, mends: true, at: now, past: past)
        case .correct(let parkCode, let recordNo, let correction):
            return correct(parkCode, recordNo: recordNo, correction, at: now, past: past)
        case .bind(let appId, let userToken, let plate, let body):
            return bind(appId: appId, userToken: userToken, plate: plate, body: body, at: now)
        case .subscribe(let appId, let parkCodes, let minSeconds):
            return subscribe(appId, parkCodes, minSeconds: minSeconds, at: now)
        case .setStage(let parkCode, let stage, let opened): return setStage(parkCode, stage, opened: opened, at: now)
        case .useOnce(let key): return useOnce(key, at: now)
        case .settleNotification(let notification, let isDelivered): return settle(notification, isDelivered: isDelivered)
        case .reviveNotification(let appId, let key): return revive(appId, key: key)
        case .people(let command): return decide(command, at: now)
        case .nothing: return Decision(.done)
        case .delay(let appId, let orderNo): return delay(appId: appId, orderNo: orderNo, at: now, past: past)
        case .takeIn(let payment):
            var decision = takeIn(payment, at: now, past: past)
            if case .paid(let taken, isRepeat: false) = decision.outcome,
                let orderNo = lots[taken.parkCode]?.visits[taken.recordNo]?.orderNo
            {
                settleStay(orderNo, taken.recordNo, taken.parkCode, at: now, past: past, &decision.events)
            }
            return decision
        case .bill(let bill): return self.bill(bill)
        case .pay(let appId, let parkCode, let billNo, let payNo, let amountFen, let channel, let requestHash):
            return pay(
                appId: appId, parkCode: parkCode, billNo: billNo, payNo: payNo, amountFen: amountFen, channel: channel,
                requestHash: requestHash, at: now,
                past: past)
        case .conclude(let appId, let payNo, let isPaid, let message):
            return conclude(appId, payNo, isPaid: isPaid, message: message, at: now, past: past)
        case .refund(let appId, let payNo, let refundNo, let amountFen, let message):
            return refund(
                appId: appId, payNo: payNo, refundNo: refundNo, amountFen: amountFen, message: message, at: now,
                past: past)
        case .expire(let parkCode): return expire(parkCode, at: now)
        case .leaveWaitlist(let appId, let orderNo): return leaveWaitlist(appId: appId, orderNo: orderNo, at: now, past: past)
        case .appeal(let appId, let penaltyId, let text, let images):
            return appeal(appId: appId, penaltyId: penaltyId, text: text, images: images, at: now)
        case .answerAppeal(let appealId, let isGranted, let answer):
            return answerAppeal(appealId, isGranted: isGranted, answer: answer, at: now, past: past)
        case .setCalendarDay(let day):
            var events: [Event] = []
            set(.calendarDay(day), &events)
            refreshPoolRules(Array(lots.keys))
            return Decision(.entity(.calendarDay(day)), events)
        case .publishOffer(let offer): return publish(offer, at: now)
        case .reviewOffer(let parkCode, let offerId, let isPassed, let remark):
            return review(parkCode, offerId: offerId, isPassed: isPassed, remark: remark, at: now)
        case .updateOffer(let appId, let offerId, let segments, let price, let isConfirmed):
            return updateOffer(appId: appId, offerId, segments: segments, price: price, isConfirmed: isConfirmed, at: now)
        case .closeOffer(let appId, let offerId, let isConfirmed, let isPreview):
            return closeOffer(appId: appId, offerId, isConfirmed: isConfirmed, isPreview: isPreview, at: now, past: past)
        case .reportOffers(let parkCode, let offers, let gone): return report(parkCode, offers, gone: gone, at: now, past: past)
        case .subscribeShare(let subscription, let months): return subscribe(subscription, months: months, at: now)
        case .endShare(let appId, let authNo): return endShare(appId: appId, authNo, at: now)
        case .renewShare(let appId, let authNo, let validTo): return renewShare(appId: appId, authNo, validTo: validTo, at: now)
        case .reviewShare(let parkCode, let authNo, let isPassed, let remark):
            return reviewShare(parkCode, authNo, isPassed: isPassed, remark: remark, at: now)
        case .withdrawIncome(let appId, let providerToken, let fen, let reference):
            return withdraw(appId: appId, providerToken: providerToken, fen: fen, reference: reference, at: now)
        case .setPlace(let place):
            guard place.parkCodes.allSatisfy({ lots[$0] != nil }) else { return Decision(.refused(.lotNotRegistered)) }
            var events: [Event] = []
            set(.place(place), &events)
            return Decision(.entity(.place(place)), events)
        case .makeAppointment(let appointment): return make(appointment, at: now)
        case .moveAppointment(let appId, let extNo, let time):
            return moveAppointment(appId: appId, extNo, to: time, at: now, past: past)
        case .cancelAppointment(let appId, let extNo): return cancelAppointment(appId: appId, extNo, at: now, past: past)
        case .setArea(let area): return setArea(area, at: now)
        case .setFlow(let policy): return setFlow(policy, at: now)
        case .pushFlow(let policy):
            var decision = setFlow(policy, at: now)
            if case .entity = decision.outcome, let lot = lots[policy.parkCode] {
                decision.outcome = .posted(epoch: lot.downEpoch ?? "", seq: lot.downLast)
            }
            return decision
        case .pushShare(let subscription): return push(subscription, at: now)
        case .revokeShare(let parkCode, let authNo, let authVer, let reason):
            return revokeShare(parkCode, authNo, authVer: authVer, reason: reason, at: now)
        case .setOccupancy(let profiles):
            var events: [Event] = []
            for profile in profiles where lots[profile.parkCode] != nil { set(.occupancy(profile), &events) }
            return Decision(.done, events)
        case .list(let scope, let service, let body, let kind, let plate, let entry, let kept, let isExempt):
            return list(scope, service: service, body: body, kind: kind, plate: plate, entry, kept: kept, isExempt: isExempt, at: now)
        case .check(let parkCode, let question): return check(parkCode, question, at: now)
        case .decideCase(let parkCode, let caseNo, let orderNo, let by):
            return decideCase(parkCode, caseNo, orderNo: orderNo, by: by, at: now)
        }
    }

    /// Takes an entry of a lot's up log; the caller has asked ``LogPosition/admit(epoch:seq:)`` before.
    public mutating func consume(_ parkCode: String, epoch: String, seq: Int64) -> Event {
        lots[known: parkCode].up.consume(epoch: epoch, seq: seq)
        return .upConsumed(parkCode: parkCode, epoch: epoch, seq: seq)
    }

    /// Asks that the lot's deadlines are looked at again, since new evidence may have come.
    public func isDue(_ parkCode: String, at now: Millis) -> Bool {
        lots[parkCode].map { $0.nextDeadline <= now && $0.fault == nil } ?? false
    }

    /// `deliverStatus` 1: on its way. A hint that is not kept over a restart.
    public mutating func noteSent(_ parkCode: String, seq: Int64) {
        guard let orderNo = lots[parkCode]?.awaiting[seq], let reservation = lots[parkCode]?.reservations[orderNo],
            reservation.downSeq == seq, reservation.deliver == .new
        else { return }
        lots[known: parkCode].reservations.change(orderNo) { $0.deliver = .sent }
    }

    /// Moves a lot's holds to the present; needed before its calendar is read.
    public mutating func advance(_ parkCode: String, to now: Millis) { lots[parkCode]?.advance(to: now) }
}
