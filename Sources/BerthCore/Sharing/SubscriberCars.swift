// Cars of subscribers: entry, time to leave, late departure, expiry.
extension City {
    mutating func enter(_ subscription: SharedSubscription, _ visit: Visit, at now: Millis, _ events: inout [Event]) {
        var subscription = subscription
        subscription.status = .inUse
        subscription.insidePlate = visit.plate
        subscription.recordNo = visit.recordNo
        subscription.isLate = false
        subscription.leaveBy = timeToLeave(subscription, enteredAt: visit.enterTime)
        set(.subscription(subscription), &events)
        lots[known: subscription.parkCode].occupy(subscription, now: now)
        mark(subscription.offerId, in: subscription.parkCode, .inUse, &events)
        events.append(
            .notice(
                LotEvent(
                    parkCode: visit.parkCode, eventType: 3003, occurredAt: visit.enterTime, recordNo: visit.recordNo,
                    detail: subscription.authNo)))
        tell(subscription.appId, .share(authNo: subscription.authNo, .inUse), at: now, &events)
    }

    /// The time to leave of a subscription's car that entered at a moment.
    func timeToLeave(_ subscription: SharedSubscription, enteredAt time: Millis) -> Millis {
        min(subscription.validTo, RecurringWindow.span(subscription.segments, holding: time, calendar)?.to ?? subscription.validTo)
    }

    mutating func leave(_ subscription: SharedSubscription, at leaveTime: Millis, now: Millis, _ events: inout [Event]) {
        var subscription = subscription
        let recordNo = subscription.recordNo
        let deadline = (subscription.leaveBy ?? .max - CivilTime.dayLength) + Millis(subscription.graceMin) * CivilTime.minute
        let (wasLate, isLate) = (subscription.isLate, leaveTime > deadline)
        subscription.insidePlate = nil
        subscription.recordNo = nil
        subscription.leaveBy = nil
        subscription.isLate = false
        if subscription.status == .inUse { subscription.status = now >= subscription.validTo ? .expired : .active }
        set(.subscription(subscription), &events)
        lots[known: subscription.parkCode].vacate(subscription.authNo)
        noteFreed(subscription.parkCode)
        mark(subscription.offerId, in: subscription.parkCode, .open, &events)
        events.append(
            .notice(
                LotEvent(
                    parkCode: subscription.parkCode, eventType: 3004, occurredAt: leaveTime, recordNo: recordNo, detail: subscription.authNo
                )))
        if isLate, !wasLate {
            strike(subscription, deadline: deadline, recordNo: recordNo ?? "", at: now, &events)
        } else if wasLate, !isLate {
            // A late record shows that the driver left in time.
            undo("\(subscription.authNo)-L\(recordNo ?? "")", by: "record", at: now, &events)
            if var current = self.subscription(subscription.authNo, in: subscription.parkCode), current.strikes > 0 {
                current.strikes -= 1
                set(.subscription(current), &events)
            }
        }
        if let current = self.subscription(subscription.authNo, in: subscription.parkCode), current.status == .active {
            tell(current.appId, .share(authNo: current.authNo, .active), at: now, &events)
        }
        if subscription.status == .expired { end(afterExpiry: subscription, at: now, &events) }
    }

    /// An offer is in use while a car stands in it.
    mutating func mark(_ offerId: String?, in parkCode: String, _ status: OfferStatus, _ events: inout [Event]) {
        guard let offerId, var offer = lots[parkCode]?.offers[offerId], offer.isBookable, offer.status != status else { return }
        offer.status = status
        set(.offer(offer), &events)
    }

    /// Counts a stay beyond the grace; after so many of them the subscription ends (R10).
    mutating func strike(
        _ subscription: SharedSubscription, deadline: Millis, recordNo: String, at now: Millis, _ events: inout [Event]
    ) {
        guard var current = self.subscription(subscription.authNo, in: subscription.parkCode) else { return }
        current.strikes += 1
        set(.subscription(current), &events)
        charge(
            Penalty(
                penaltyId: "\(current.authNo)-L\(recordNo)", kind: .lateDeparture, appId: current.appId, userToken: current.userToken,
                plate: subscription.insidePlate ?? current.plates[0], parkCode: current.parkCode, group: group(of: current.parkCode),
                orderNo: current.authNo, at: now, chargedAt: now, evidence: "record \(recordNo): to leave by \(deadline), seen inside later"
            ),
            at: now, &events)
        if current.strikes >= current.strikesMax { end(current, as: .terminated, reason: "late departures", at: now, &events) }
    }

    /// Applies the deadlines of a subscription.
    mutating func expire(_ subscription: SharedSubscription, at now: Millis, _ events: inout [Event]) {
        var subscription = subscription
        if let deadline = subscription.holdDeadline, deadline <= now {
            if subscription.status == .pending {
                return end(subscription, as: .cancelled, reason: "not paid", at: now, &events)
            }
            subscription.renewTo = nil
            subscription.holdDeadline = nil
            subscription.billNo = nil
            set(.subscription(subscription), &events)
            holdTimes(of: subscription, now: now)
        }
        if let leaveBy = subscription.leaveBy, !subscription.isLate {
            if subscription.warnedFor != leaveBy, leaveBy - subscription.warnMillis <= now {
                subscription.warnedFor = leaveBy
                set(.subscription(subscription), &events)
                tell(subscription.appId, .share(authNo: subscription.authNo, .inUse), at: now, &events)
            }
            let limit = leaveBy + Millis(subscription.graceMin) * CivilTime.minute
            // On evidence only: the lot's log must have passed the limit without an exit.
            if limit < now, lots[known: subscription.parkCode].passedThrough > limit {
                subscription.isLate = true
                set(.subscription(subscription), &events)
                events.append(
                    .notice(
                        LotEvent(
                            parkCode: subscription.parkCode, eventType: 3005, occurredAt: limit, recordNo: subscription.recordNo,
                            detail: subscription.authNo)))
                strike(subscription, deadline: limit, recordNo: subscription.recordNo ?? "", at: now, &events)
            }
        }
        if subscription.status == .active, subscription.validTo <= now, subscription.renewTo == nil {
            subscription.status = .expired
            set(.subscription(subscription), &events)
            end(afterExpiry: subscription, at: now, &events)
        }
    }
}
