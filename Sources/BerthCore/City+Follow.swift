// Events bring a city to the state after them. A follower, a start from the journal and the tests use `follow`; `City+Undo` uses the same
// verbs to put back what is durable.
extension City {
    /// The part of a report that the rules use. The wire reads it from the body, which the core does not know.
    public enum RecordMeaning: Sendable {
        case none
        case tariff(LotTariff)
        case listed(Plate, ListEntry)
    }

    /// Brings the city to its state after an event that was decided at `time`. It is the state of the city that decided it, apart from
    /// hints (messages on their way, the level of saturation reported last).
    /// - Parameter meaning: of a report that is not gone.
    public mutating func follow(_ event: Event, at time: Millis, meaning: (KeptRecord) -> RecordMeaning) {
        switch event {
        case .registered(let parkCode):
            guard !lots.contains(parkCode) else { return }
            lots[parkCode] = Lot(parkCode: parkCode, policy: policy)
            resolvePolicies(of: parkCode)
        case .policy, .notice: break
        case .lot(let profile): put(profile)
        case .gates(let parkCode, let gates): lots[parkCode]?.gates = TextTable(gates.map { ($0.gateCode, $0) })
        case .remaining(let parkCode, let remaining): lots[parkCode]?.remaining = remaining
        case .reservation(let reservation):
            numbers.given(.reservation, reservation.serial)
            index(reservation, now: time)
        case .visit(let visit): put(visit, at: time)
        case .report(let report): put(report, meaning: report.isGone ? .none : meaning(report))
        case .bill(let bill): money.keep(bill)
        case .payment(let payment): money.keep(payment)
        case .entity(let entity): put(entity, at: time)
        case .posting(let posting): money.add(posting)
        case .down(let entry):
            guard lots.contains(entry.parkCode) else { return }
            with(entry.parkCode) { lot in
                if lot.downEpoch != entry.epoch {
                    lot.downEpoch = entry.epoch
                    lot.downAck = 0
                    lot.awaiting = [:]
                }
                lot.downLast = entry.seq
                lot.awaiting[entry.seq] = entry.message.orderNo
            }
        case .downSettled(let parkCode, _, let ackSeq, let results):
            guard lots.contains(parkCode) else { return }
            with(parkCode) { lot in
                for result in results { lot.awaiting[result.seq] = nil }
                lot.downAck = ackSeq
            }
        case .upConsumed(let parkCode, let epoch, let seq): lots[parkCode]?.up.consume(epoch: epoch, seq: seq)
        case .counted(let key, let delta, _): claims.add(delta, to: ByteKey(key))
        }
        // The city that decided has promoted and told whom it had to; these decisions are events of their own.
        freed.removeAll()
        refilled.removeAll()
    }

    private mutating func put(_ profile: LotProfile) {
        guard lots.contains(profile.parkCode) else { return }
        directory.put(profile.parkCode, at: profile.position)
        lots[known: profile.parkCode].profile = profile
        resolvePolicies(of: profile.parkCode)
    }

    /// Puts the value of a visit everywhere it is known.
    mutating func put(_ visit: Visit, at time: Millis) {
        let (parkCode, recordNo) = (visit.parkCode, visit.recordNo)
        guard lots.contains(parkCode) else { return }
        let old = lots[known: parkCode].visits[recordNo]
        if let old { takeOutside(old) }
        if old != nil || visit.leaveTime == nil { lots[known: parkCode].visits[recordNo] = visit }
        guard visit.leaveTime == nil else { return }
        lots[known: parkCode].inside[visit.insideKey] = recordNo
        noteInside(visit.insideKey, parkCode, isInside: true)
        if old == nil, visit.orderNo == nil { lots[known: parkCode].walkIns.append(min(visit.enterTime, time)) }
    }

    /// Takes the car of a record out of the cars inside, where it is among them under this record.
    private mutating func takeOutside(_ visit: Visit) {
        guard lots[known: visit.parkCode].inside[visit.insideKey] == visit.recordNo else { return }
        lots[known: visit.parkCode].inside[visit.insideKey] = nil
        noteInside(visit.insideKey, visit.parkCode, isInside: false)
    }

    /// Removes a visit that never happened.
    mutating func remove(visit parkCode: String, _ recordNo: String) {
        guard let visit = lots[parkCode]?.visits[recordNo] else { return }
        takeOutside(visit)
        lots[known: parkCode].visits[recordNo] = nil
        if let place = lots[known: parkCode].walkIns.lastIndex(of: visit.enterTime) { lots[known: parkCode].walkIns.remove(at: place) }
    }

    /// Removes a reservation that was never made, and its holds.
    mutating func remove(reservation serial: Int64, of parkCode: String) {
        guard let reservation = lots[parkCode]?.reservations[serial: serial] else { return }
        lots[known: parkCode].release(reservation)
        clearTraces(of: reservation)
        lots[known: parkCode].reservations.remove(reservation)
        forget(reservation)
    }

    private mutating func put(_ report: KeptRecord, meaning: RecordMeaning) {
        let kind = RecordKind(parkCode: report.parkCode, kind: report.kind)
        if report.isGone {
            records.putBack(nil, kind, report.key)
            if report.kind.hasPrefix("list"), let plate = Plate(report.key) { directory.set(nil, of: plate, on: kind) }
            return
        }
        restore(report: report)
        switch meaning {
        case .none: break
        case .tariff(let tariff): set(tariff, of: report.parkCode)
        case .listed(let plate, let entry): restore(list: report.kind, report.parkCode, plate, entry)
        }
    }

    /// Puts the value of an entity everywhere it is known, and what it holds where its state says.
    mutating func put(_ entity: Entity, at time: Millis) {
        switch entity {
        case .policy(let override):
            place(entity)
            guard let scope = PolicyScope(override.scope) else { return }
            for parkCode in scope.parkCode.map({ [$0] }) ?? Array(lots.keys) { resolvePolicies(of: parkCode) }
        case .calendarDay:
            place(entity)
            refreshPoolRules(Array(lots.keys))
        case .subscription(let subscription):
            guard lots.contains(subscription.parkCode) else { return }
            releaseTimes(of: subscription)
            place(entity)
            if subscription.status.holds { holdTimes(of: subscription, now: time) }
            if subscription.insidePlate != nil { lots[known: subscription.parkCode].occupy(subscription, now: time) }
        case .appointment(let appointment):
            let key = City.key(appointment.appId, appointment.extNo)
            releaseRight(key)
            place(entity)
            if appointment.state == .made { restoreRight(key, appointment, now: time) }
        case .area(let area):
            let old = areas[area.areaId]?.parkCodes ?? []
            place(entity)
            refreshPoolRules(old + area.parkCodes)
        case .flow(let flow):
            place(entity)
            refreshPoolRules(lots(of: flow))
            noteClock(flow, at: time)
        case .offer, .place, .penalty, .appeal, .gateCase, .occupancy, .person, .signInCode: place(entity)
        }
    }

    private mutating func releaseTimes(of subscription: SharedSubscription) {
        lots[known: subscription.parkCode].drop(spansOf: subscription.authNo)
        lots[known: subscription.parkCode].vacate(subscription.authNo)
    }

    /// Ends the right that an appointment has now.
    private mutating func releaseRight(_ key: String) {
        guard let old = appointments[key] else { return }
        if let parkCode = old.parkCode { lots[parkCode]?.release(City.holder(key)) }
        var gone = old
        gone.state = .cancelled
        note(rightless: key, gone)
    }

    /// Removes an entity that was decided in vain. Entities on which many lots rest stay: ``Touched/isWholeCity`` names them, and the whole
    /// city is read back.
    mutating func remove(_ entity: Entity) {
        switch entity {
        case .policy, .calendarDay, .area, .place, .occupancy: break
        case .offer(let offer):
            lots[offer.parkCode]?.offers[offer.offerId] = nil
            lotIndex.remove(share: offer.offerId)
        case .subscription(let subscription):
            guard lots.contains(subscription.parkCode) else { return }
            releaseTimes(of: subscription)
            lots[known: subscription.parkCode].subscriptions[subscription.authNo] = nil
            lotIndex.remove(share: subscription.authNo)
        case .appointment(let appointment):
            let key = City.key(appointment.appId, appointment.extNo)
            releaseRight(key)
            appointmentTable.remove(key)
        case .flow(let flow):
            let concerned = lots(of: flow)
            directory.remove(flow)
            refreshPoolRules(concerned)
        case .penalty(let penalty): penaltyBook.remove(penalty)
        case .appeal(let appeal): penaltyBook.remove(appeal)
        case .gateCase(let gateCase): caseBook.remove(gateCase)
        case .person(let person): accounts.remove(person)
        case .signInCode(let code): accounts.remove(code)
        }
    }
}
