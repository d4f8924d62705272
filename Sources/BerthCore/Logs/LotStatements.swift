// Statements of lots about reservations (U09), and the results of down entries.
extension City {
    mutating func state(
        _ parkCode: String, orderNo: String, orderVer: Int64, _ statement: LotStatement, occurred: Millis,
        recordNo: String?, at now: Millis, past: Past
    ) -> Decision {
        guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
        guard var reservation = reservation(orderNo, past: past), reservation.parkCode == parkCode else {
            return Decision(.refused(.orderNotFound))
        }
        notePassed(parkCode, through: occurred, at: now)
        var events: [Event] = []
        let occurred = present(occurred, "occurTime", parkCode, at: now, &events)
        // A statement about an agreement must be of the version that the lot was told last; a statement about a car is a fact.
        if statement == .accepted || statement == .refused, reservation.status == .held || reservation.status == .booked,
            orderVer < reservation.pushedVer
        {
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
            // The lot's log must have passed the window; its statement alone is not enough.
            guard now > reservation.enterEnd, lots[known: parkCode].passedThrough >= reservation.enterEnd else {
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

    /// Notes that the lot has the reservation and will honour it, if it got the reservation before the window was over.
    private mutating func accept(_ reservation: inout Reservation, occurred: Millis, at now: Millis, _ events: inout [Event]) {
        let old = reservation
        reservation.deliver =
            reservation.status == .booked && (occurred > reservation.enterEnd || reservation.deliver == .expired) ? .expired : .accepted
        if reservation.status == .held {
            reservation.status = .booked
            reservation.holdDeadline = nil
            reservation.orderVer += 1
        }
        if reservation != old { update(reservation, at: now, &events) }
    }

    mutating func settle(
        _ parkCode: String, epoch: String, ackSeq: Int64, results: [DownResult], assumesRest: Bool, at now: Millis,
        past: Past
    ) -> Decision {
        guard lots.contains(parkCode) else { return Decision(.refused(.lotNotRegistered)) }
        guard epoch == lots[known: parkCode].downEpoch, ackSeq <= lots[known: parkCode].downLast else {
            return Decision(.refused(.wrongState))
        }
        var settled = results.filter { lots[known: parkCode].awaiting[$0.seq] != nil }
        if assumesRest {
            let answered = Set(settled.map(\.seq))
            settled += lots[known: parkCode].awaiting.keys.filter { $0 <= ackSeq && !answered.contains($0) }
                .map { DownResult(seq: $0, isAccepted: true) }
        }
        settled.sort { $0.seq < $1.seq }
        guard !settled.isEmpty || ackSeq > lots[known: parkCode].downAck else { return Decision(.done) }
        var events: [Event] = []
        for result in settled {
            guard let orderNo = lots[known: parkCode].awaiting.removeValue(forKey: result.seq),
                var reservation = reservation(orderNo, past: past)
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
        lots[known: parkCode].downAck = max(lots[known: parkCode].downAck, ackSeq)
        events.append(
            .downSettled(parkCode: parkCode, epoch: epoch, ackSeq: lots[known: parkCode].downAck, settled))
        return Decision(.done, events)
    }
}
