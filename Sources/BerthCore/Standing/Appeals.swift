// Appeals against penalties.
extension City {
    mutating func appeal(appId: String, penaltyId: String, text: String, images: [String], at now: Millis) -> Decision {
        guard let penalty = penalties[penaltyId], penalty.appId == appId else { return Decision(.refused(.notFound)) }
        guard penalty.state == .inForce else { return Decision(.refused(.wrongState)) }
        let policy = lots[penalty.parkCode]?.policy ?? self.policy
        let until = penalty.at + Millis(policy.appealDays) * CivilTime.dayLength
        guard now <= until else { return Decision(.wrongState, RuleNote("appealDays", max: policy.appealDays, until: until)) }
        let earlier = appeals.values.filter { $0.penaltyId == penaltyId }
        guard earlier.isEmpty else { return Decision(.wrongState, RuleNote("appeal", used: earlier.count, max: 1)) }
        let appeal = Appeal(
            appealId: "AP" + penaltyId, penaltyId: penaltyId, appId: appId, userToken: penalty.userToken, text: text, images: images,
            createdAt: now, answerBy: calendar.deadline(workdays: policy.appealWorkdays, after: now))
        var events: [Event] = []
        set(.appeal(appeal), &events)
        return Decision(.entity(.appeal(appeal)), events)
    }

    mutating func answerAppeal(_ appealId: String, isGranted: Bool, answer: String, at now: Millis, past: Past) -> Decision {
        guard var appeal = appeals[appealId] else { return Decision(.refused(.notFound)) }
        guard appeal.state == .open else { return Decision(.refused(.wrongState)) }
        appeal.state = isGranted ? .granted : .rejected
        appeal.answer = answer
        appeal.answeredAt = now
        var events: [Event] = []
        set(.appeal(appeal), &events)
        if isGranted {
            undo(appeal.penaltyId, by: appealId, at: now, &events)
            if let penalty = penalties[appeal.penaltyId] { makeGood(penalty, by: appealId, at: now, past: past, &events) }
        } else if let penalty = penalties[appeal.penaltyId] {
            tell(
                penalty.appId, .credit(userToken: penalty.userToken, penalty.kind.refusal, orderNo: penalty.orderNo, isUndone: false),
                at: now,
                &events)
        }
        return Decision(.entity(.appeal(appeal)), events)
    }

    /// Undoes the consequences of a penalty beside its counters: the deposit that was kept, the subscription that it ended.
    private mutating func makeGood(_ penalty: Penalty, by reference: String, at now: Millis, past: Past, _ events: inout [Event]) {
        if var reservation = reservation(penalty.orderNo, past: past) {
            if reservation.isPenalised {
                reservation.isPenalised = false
                update(reservation, at: now, &events)
            }
            if penalty.kind == .breach {
                // The cancel is treated as a free one: it counts against no limit.
                for key in City.cancelKeys(reservation, at: penalty.at) where counted(key) > 0 { count(key, by: -1, &events) }
                for key in City.dayKeys(reservation) + reservation.quotaKeys where counted(key) > 0 { count(key, by: -1, &events) }
            }
            if penalty.kind != .lateDeparture { returnForfeit(of: reservation, reference: reference, at: now, past: past, &events) }
            return
        }
        guard penalty.kind == .lateDeparture, let share = subscription(penalty.orderNo, in: penalty.parkCode), share.strikes > 0 else {
            return
        }
        forgive(share, at: now, &events)
    }

    /// Takes a strike from a subscription, and with it the end that it brought, where its times are still free.
    mutating func forgive(_ given: SharedSubscription, at now: Millis, _ events: inout [Event]) {
        var share = given
        share.strikes = max(0, share.strikes - 1)
        let spans = times(of: share, from: now)
        let lot = lots[known: share.parkCode]
        if share.status == .terminated, share.strikes < share.strikesMax, now < share.validTo,
            spans.allSatisfy({ span in
                share.spaceNo.map { lot.spaces.isFree($0, from: span.from, to: span.to, except: share.authNo) }
                    ?? lot.hasRoom(.shared, from: span.from, to: span.to, now: now)
            })
        {
            share.status = share.insidePlate == nil ? .active : .inUse
            share.version += 1
            set(.subscription(share), &events)
            holdTimes(of: share, now: now)
            authorise(share, at: now, &events)
        } else {
            set(.subscription(share), &events)
        }
    }
}
