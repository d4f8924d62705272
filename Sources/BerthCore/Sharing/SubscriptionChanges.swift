// Changes of subscriptions: renewal, review, payment, end.
extension City {
    /// Tells the lot of an agreement that is in force, and its provider.
    mutating func authorise(_ subscription: SharedSubscription, at now: Millis, _ events: inout [Event]) {
        append(.authorise(subscription), to: subscription.parkCode, about: "", at: now, &events)
        events.append(.notice(LotEvent(parkCode: subscription.parkCode, eventType: 3007, occurredAt: now, detail: subscription.authNo)))
        tell(subscription.appId, .share(authNo: subscription.authNo, subscription.status), at: now, &events)
    }

    mutating func end(_ subscription: SharedSubscription, as status: ShareStatus, reason: String, at now: Millis, _ events: inout [Event]) {
        guard var current = lots[subscription.parkCode]?.subscriptions[subscription.authNo], current.status.holds else { return }
        let wasTold = current.status != .pending
        current.status = status
        current.version = max(current.version, subscription.version) + 1
        current.holdDeadline = nil
        current.endReason = reason
        if subscription.refundedFen != nil {
            current.refundedFen = subscription.refundedFen
            current.paidFen = subscription.paidFen
        }
        set(.subscription(current), &events)
        lots[known: current.parkCode].drop(spansOf: current.authNo)
        // A car that is inside keeps its place until it has left.
        lots[known: current.parkCode].occupy(current, now: now)
        noteFreed(current.parkCode)
        if wasTold {
            append(
                .revoke(authNo: current.authNo, authVer: current.version, reason: reason), to: current.parkCode, about: "", at: now, &events
            )
        }
        events.append(.notice(LotEvent(parkCode: current.parkCode, eventType: 3009, occurredAt: now, detail: current.authNo)))
        tell(current.appId, .share(authNo: current.authNo, status), at: now, &events)
    }

    mutating func endShare(appId: String, _ authNo: String, at now: Millis) -> Decision {
        guard let subscription = find(authNo, of: appId) else { return Decision(.refused(.notFound)) }
        guard subscription.status.holds else {
            return Decision(.refused(subscription.status == .expired ? .subscriptionExpired : .wrongState))
        }
        guard subscription.insidePlate == nil else { return Decision(.refused(.sharedSpaceOccupied)) }
        var events: [Event] = []
        end(subscription, as: .cancelled, reason: "user", at: now, &events)
        return Decision(.share(find(authNo, of: appId) ?? subscription, feeFen: 0), events)
    }

    mutating func renewShare(appId: String, _ authNo: String, validTo: Millis, at now: Millis) -> Decision {
        if let parkCode = lotIndex.lot(ofShare: authNo) { lots[parkCode]?.advance(to: now) }
        guard var subscription = find(authNo, of: appId), let lot = lots[subscription.parkCode] else {
            return Decision(.refused(.notFound))
        }
        switch subscription.status {
        case .pending: return Decision(.refused(.approvalPending))
        case .active, .inUse: if subscription.validTo <= now { return Decision(.refused(.subscriptionExpired)) }
        case .expired: return Decision(.refused(.subscriptionExpired))
        case .terminated: return Decision(.refused(.lateDepartureStrikes))
        default: return Decision(.refused(.wrongState))
        }
        guard validTo > subscription.validTo, validTo - now <= 366 * CivilTime.dayLength, subscription.renewTo == nil else {
            return Decision(.illegalValue, RuleNote("periodTo", until: subscription.validTo))
        }
        var longer = subscription
        longer.validFrom = max(now, subscription.validTo)
        longer.validTo = validTo
        let spans = times(of: longer, from: longer.validFrom)
        if let offerId = subscription.offerId, let space = subscription.spaceNo {
            guard let offer = lot.offers[offerId], offer.isBookable, validTo <= offer.validTo else {
                return Decision(.refused(.offerClosed))
            }
            guard spans.allSatisfy({ lot.spaces.isFree(space, from: $0.from, to: $0.to, except: authNo) }) else {
                return Decision(.refused(.segmentOverlap))
            }
        } else {
            // The subscription's own places do not count against it.
            lots[known: subscription.parkCode].drop(spansOf: authNo)
            let hasRoom = spans.allSatisfy { lots[known: subscription.parkCode].hasRoom(.shared, from: $0.from, to: $0.to, now: now) }
            holdTimes(of: subscription, now: now)
            guard hasRoom else {
                var refused = Decision(.refused(.noBookableSpace))
                refused.alternatives = alternatives(to: longer, policy: lot.policy(.shared), at: now)
                return refused
            }
        }
        let policy = lot.policy(.shared)
        let months = CivilTime.months(from: subscription.validTo, to: validTo)
        let fee = subscription.price?.mode == .month ? subscription.price!.fen * Int64(months) : 0
        var events: [Event] = []
        subscription.version += 1
        if fee > 0 {
            subscription.renewTo = validTo
            askPayment(of: &subscription, fee, policy, at: now, &events)
        } else {
            subscription.validTo = validTo
        }
        set(.subscription(subscription), &events)
        holdTimes(of: subscription, now: now)
        if fee == 0 { authorise(subscription, at: now, &events) }
        return Decision(.share(subscription, feeFen: fee), events)
    }

    /// - Parameter named: the lot that the reviewer names; "" for none.
    mutating func reviewShare(_ named: String, _ authNo: String, isPassed: Bool, remark: String, at now: Millis) -> Decision {
        guard let parkCode = lotIndex.lot(ofShare: authNo), named.isEmpty || named == parkCode,
            var subscription = lots[parkCode]?.subscriptions[authNo]
        else {
            return Decision(.refused(.notFound))
        }
        guard subscription.status == .pending, subscription.billNo == nil else { return Decision(.refused(.wrongState)) }
        var events: [Event] = []
        guard isPassed else {
            end(subscription, as: .rejected, reason: remark, at: now, &events)
            return Decision(.share(lots[parkCode]?.subscriptions[authNo] ?? subscription, feeFen: 0), events)
        }
        let months = CivilTime.months(from: subscription.validFrom, to: subscription.validTo)
        let fee = subscription.price?.mode == .month ? subscription.price!.fen * Int64(months) : 0
        subscription.version += 1
        if fee > 0 {
            askPayment(of: &subscription, fee, lots[known: parkCode].policy(.shared), at: now, &events)
        } else {
            subscription.status = .active
        }
        set(.subscription(subscription), &events)
        if subscription.status == .active { authorise(subscription, at: now, &events) }
        return Decision(.share(subscription, feeFen: fee), events)
    }

    /// D05 by an operator: an authorisation that the operator made elsewhere. A newer version replaces an older one.
    mutating func push(_ pushed: SharedSubscription, at now: Millis) -> Decision {
        var subscription = pushed
        guard let lot = lots[subscription.parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        // An operator may not give a new number of the server's series; a newer version of a known subscription gives none.
        if City.isOwnNumber(subscription.authNo), lot.subscriptions[subscription.authNo] == nil {
            return Decision(.illegalValue, RuleNote("authNo"))
        }
        if let old = lot.subscriptions[subscription.authNo] {
            // The owner of a subscription does not change with its version.
            subscription.appId = old.appId
            subscription.userToken = old.userToken
            guard old.version < subscription.version else { return Decision(.refused(.newerVersionExists)) }
            // The car that is inside is a fact; a new version does not change it.
            subscription.insidePlate = old.insidePlate
            subscription.recordNo = old.recordNo
            subscription.leaveBy = old.leaveBy
            subscription.isLate = old.isLate
            subscription.strikes = old.strikes
            if old.insidePlate != nil, subscription.status == .active { subscription.status = .inUse }
        }
        // A space has one holder at a time.
        if let space = subscription.spaceNo {
            let spans = times(of: subscription, from: now)
            guard spans.allSatisfy({ lot.spaces.isFree(space, from: $0.from, to: $0.to, except: subscription.authNo) }) else {
                return Decision(.refused(.segmentOverlap))
            }
        }
        var events: [Event] = []
        set(.subscription(subscription), &events)
        holdTimes(of: subscription, now: now)
        append(.authorise(subscription), to: subscription.parkCode, about: "", at: now, &events)
        return Decision(
            .posted(epoch: lots[known: subscription.parkCode].downEpoch!, seq: lots[known: subscription.parkCode].downLast), events)
    }

    mutating func revokeShare(_ parkCode: String, _ authNo: String, authVer: Int64, reason: String, at now: Millis) -> Decision {
        guard let lot = lots[parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        // A revocation of an older version does not end a newer one.
        if let known = lot.subscriptions[authNo], authVer < known.version { return Decision(.refused(.newerVersionExists)) }
        var events: [Event] = []
        if var subscription = lot.subscriptions[authNo], subscription.status.holds {
            subscription.version = max(subscription.version, authVer - 1)
            end(subscription, as: .cancelled, reason: reason, at: now, &events)
        } else {
            append(.revoke(authNo: authNo, authVer: authVer, reason: reason), to: parkCode, about: "", at: now, &events)
        }
        return Decision(.posted(epoch: lots[known: parkCode].downEpoch!, seq: lots[known: parkCode].downLast), events)
    }

    /// Puts a subscription into force or renews it, because its bill is paid.
    mutating func paid(_ authNo: String, at now: Millis, _ events: inout [Event]) {
        guard var subscription = subscription(authNo), subscription.status.holds else { return }
        if let validTo = subscription.renewTo {
            subscription.validTo = validTo
            subscription.renewTo = nil
        }
        if subscription.status == .pending { subscription.status = .active }
        subscription.holdDeadline = nil
        if let billNo = subscription.billNo,
            let payment = payments.values.first(where: { $0.billNo == billNo && $0.state == .paid && $0.subject == authNo })
        {
            subscription.paidFen = (subscription.paidFen ?? 0) + payment.amountFen
            subscription.payNo = payment.payNo
        }
        subscription.billNo = nil
        subscription.version += 1
        set(.subscription(subscription), &events)
        holdTimes(of: subscription, now: now)
        authorise(subscription, at: now, &events)
    }

    mutating func end(afterExpiry subscription: SharedSubscription, at now: Millis, _ events: inout [Event]) {
        lots[known: subscription.parkCode].drop(spansOf: subscription.authNo)
        noteFreed(subscription.parkCode)
        append(
            .revoke(authNo: subscription.authNo, authVer: subscription.version + 1, reason: "expired"), to: subscription.parkCode,
            about: "",
            at: now, &events)
        events.append(.notice(LotEvent(parkCode: subscription.parkCode, eventType: 3009, occurredAt: now, detail: subscription.authNo)))
        tell(subscription.appId, .share(authNo: subscription.authNo, .expired), at: now, &events)
    }
}
