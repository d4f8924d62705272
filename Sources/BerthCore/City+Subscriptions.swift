// Subscriptions to shared places: a group of plates, a place, its times; how they come into force, are used, renewed, and end.
extension City {
    /// The times of a subscription from a moment on.
    /// The times that it holds its place, for a year and a month ahead: "for ever" is held anew when the past is forgotten.
    func times(of subscription: SharedSubscription, from: Millis) -> [Window] {
        let start = max(from, subscription.validFrom)
        let end = min(max(subscription.validTo, subscription.renewTo ?? 0), start + City.heldDays * CivilTime.dayLength)
        return start < end ? RecurringWindow.spans(subscription.segments, from: start, to: end, calendar) : []
    }

    static let heldDays: Millis = 396

    mutating func holdTimes(of subscription: SharedSubscription, now: Millis) {
        lots[subscription.parkCode]!.hold(times(of: subscription, from: now), for: subscription)
    }

    mutating func subscribe(_ draft: SharedSubscription, months: Int, at now: Millis) -> Decision {
        lots[draft.parkCode]?.advance(to: now)
        guard let lot = lots[draft.parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        guard let profile = lot.profile, profile.enabled.contains(.shared), isOpened(lot, for: .shared) else {
            return Decision(.refused(.sharingNotEnabled))
        }
        let policy = lot.policy(.shared)
        if draft.plates.count > policy.platesPerOrderMax {
            return Decision(.illegalValue, RuleNote("platesPerOrderMax", used: draft.plates.count, max: policy.platesPerOrderMax))
        }
        guard draft.validTo >= draft.validFrom, draft.validTo - max(now, draft.validFrom) <= 366 * CivilTime.dayLength else {
            return Decision(.illegalValue, RuleNote("periodTo", max: 366))
        }
        for plate in draft.plates {
            if let until = blacklisted(lot.parkCode, plate, at: now) {
                return Decision(.plateBlacklisted, RuleNote("blackList", until: until))
            }
            if let (refusal, note) = standing(
                of: draft.appId, draft.userToken, plate, lot: lot, purpose: .shared, policy: policy, at: now)
            {
                return Decision(refusal, note)
            }
        }
        switch chooseSpace(for: draft, lot: lot, policy: policy, at: now) {
        case .failure(let refusal):
            var refused = Decision(.refused(refusal))
            refused.alternatives = alternatives(to: draft, policy: policy, at: now)
            return refused
        case .success(var subscription):
            lastShare += 1
            subscription.authNo = "SA" + CivilTime.text(ofDay: CivilTime.day(of: now), separator: "") + CivilTime.pad(lastShare, 8)
            subscription.graceMin = policy.shareLateGraceMin
            subscription.warnMin = policy.shareWarnMin
            subscription.strikesMax = policy.shareLateStrikes
            var events: [Event] = []
            let fee = subscription.price?.mode == .month ? subscription.price!.fen * Int64(max(1, months)) : 0
            if policy.subscriptionReview == 1 {
                subscription.status = .pending
            } else if fee > 0 {
                subscription.status = .pending
                askPayment(of: &subscription, fee, policy, at: now, &events)
            } else {
                subscription.status = .active
            }
            set(.subscription(subscription), &events)
            holdTimes(of: subscription, now: now)
            if subscription.status == .active { authorise(subscription, at: now, &events) }
            return Decision(.share(subscription, feeFen: fee), events)
        }
    }

    private mutating func askPayment(
        of subscription: inout SharedSubscription, _ fee: Int64, _ policy: Policy, at now: Millis, _ events: inout [Event]
    ) {
        let deadline = now + Millis(policy.holdMin) * CivilTime.minute
        var bill = Bill(
            billNo: "S\(subscription.authNo)-\(subscription.version)", parkCode: subscription.parkCode, recordNo: "", payableFen: fee,
            expireAt: deadline, subject: subscription.authNo)
        bill.askedBy = [subscription.appId]
        bills[bill.key] = bill
        events.append(.bill(bill))
        subscription.billNo = bill.billNo
        subscription.holdDeadline = deadline
    }

    /// The nearest lots that would take a subscription that finds no place here.
    private func alternatives(to draft: SharedSubscription, policy: Policy, at now: Millis) -> [Alternative] {
        guard let here = lots[draft.parkCode]?.profile?.position else { return [] }
        let near = points.filter { $0.parkCode != draft.parkCode }.map { (metres: here.metres(to: $0.at), parkCode: $0.parkCode) }
            .filter { $0.metres <= policy.alternativesMetres }.sorted { ($0.metres, $0.parkCode) < ($1.metres, $1.parkCode) }
        var found: [Alternative] = []
        for candidate in near {
            guard found.count < policy.alternativesMax else { break }
            guard var lot = lots[candidate.parkCode], let profile = lot.profile, profile.enabled.contains(.shared),
                isOpened(lot, for: .shared)
            else { continue }
            lot.advance(to: now)
            var probe = draft
            probe.parkCode = candidate.parkCode
            probe.offerId = nil
            guard case .success = chooseSpace(for: probe, lot: lot, policy: lot.policy(.shared), at: now) else { continue }
            found.append(
                Alternative(
                    parkCode: candidate.parkCode, name: profile.name, purpose: .shared, metres: candidate.metres,
                    walkMin: (candidate.metres * 13 / 10 + policy.walkMetresPerMin - 1) / policy.walkMetresPerMin,
                    planTime: max(now, draft.validFrom), freeMin: 0))
        }
        return found
    }

    /// What has been paid for the time that an owner takes back goes back to the subscriber, at the owner's cost.
    mutating func giveBackRest(of given: SharedSubscription, payer: Account, at now: Millis, _ events: inout [Event]) -> SharedSubscription
    {
        var subscription = given
        guard let paid = subscription.paidFen, paid > 0, subscription.validFrom < subscription.validTo else { return given }
        let rest = max(0, subscription.validTo - max(now, subscription.validFrom))
        let fen = share(paid, rest, of: subscription.validTo - subscription.validFrom)
        guard fen > 0 else { return given }
        subscription.paidFen = paid - fen
        if let payNo = subscription.payNo, var payment = payments[Payment.key(subscription.appId, "", payNo)] {
            payment.refundedFen = min(payment.amountFen, payment.refundedFen + fen)
            payment.state = payment.refundedFen == payment.amountFen ? .refunded : .partlyRefunded
            payments[payment.key] = payment
            events.append(.payment(payment))
        }
        post(
            Posting(
                at: now, kind: .refund, reference: subscription.authNo, [(payer, fen), (.provider(subscription.appId), -fen)]), &events)
        tell(
            subscription.appId, .refund(payNo: subscription.payNo ?? "", refundNo: "R\(subscription.authNo)", amountFen: fen), at: now,
            &events)
        return subscription
    }

    /// A space whose open times hold all of the subscription's and in which nobody else is, else the lot's pool.
    private func chooseSpace(for draft: SharedSubscription, lot: Lot, policy: Policy, at now: Millis) -> Result<SharedSubscription, Rejection>
    {
        var draft = draft
        if let offerId = draft.offerId {
            guard let offer = lot.offers[offerId] else { return .failure(.offerClosed) }
            if offer.status == .underReview || offer.status == .draft { return .failure(.offerUnderAudit) }
            guard offer.isBookable else { return .failure(.offerClosed) }
        }
        // The same plate twice at one lot in one time is one right too many.
        let asked = draft.segments
        let candidates = (draft.offerId.flatMap { lot.offers[$0] }.map { [$0] } ?? lot.offers.values.sorted { $0.offerId < $1.offerId })
            .filter { $0.isBookable && $0.validFrom <= max(now, draft.validFrom) && draft.validTo <= $0.validTo }
        var worst = Rejection.outsideSegment
        func collides(_ spans: [Window]) -> Bool {
            lot.subscriptions.values.contains { other in
                other.status.holds && other.authNo != draft.authNo && !Set(other.plates).isDisjoint(with: draft.plates)
                    && times(of: other, from: now).contains { time in spans.contains { $0.meets(time.from, time.to) } }
            }
        }
        for offer in candidates {
            draft.segments = asked.isEmpty ? offer.segments : asked
            let spans = times(of: draft, from: now)
            guard !spans.isEmpty, spans.allSatisfy({ RecurringWindow.covers(offer.segments, from: $0.from, to: $0.to, calendar) }) else { continue }
            if collides(spans) { return .failure(.segmentOverlap) }
            worst = .segmentOverlap
            for unit in lot.spaces.candidates(of: offer) where spans.allSatisfy({ lot.spaces.isFree(unit, from: $0.from, to: $0.to) }) {
                draft.offerId = offer.offerId
                draft.spaceNo = unit
                draft.quietHours = offer.quietHours + policy.quiet
                draft.price = offer.price
                return .success(draft)
            }
        }
        guard draft.offerId == nil, lot.quota(.shared) > 0 else {
            return .failure(candidates.isEmpty && draft.offerId == nil ? .noBookableSpace : worst)
        }
        let window = defaultSegments(policy)
        draft.segments = asked.isEmpty ? window : asked
        draft.quietHours = policy.quiet
        let spans = times(of: draft, from: now)
        guard !spans.isEmpty else { return .failure(.outsideSegment) }
        if !policy.shareWindow.isEmpty, !spans.allSatisfy({ RecurringWindow.covers(window, from: $0.from, to: $0.to, calendar) }) {
            return .failure(.outsideSegment)
        }
        if collides(spans) { return .failure(.segmentOverlap) }
        guard spans.allSatisfy({ lot.hasRoom(.shared, from: $0.from, to: $0.to, now: now) }) else { return .failure(.noBookableSpace) }
        draft.price = policy.shareMonthlyFen > 0 ? SharePrice(mode: .month, fen: Int64(policy.shareMonthlyFen)) : nil
        return .success(draft)
    }

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
        set(.subscription(current), &events)
        lots[current.parkCode]!.drop(spansOf: current.authNo)
        // A car that is inside keeps its place until it has left.
        lots[current.parkCode]!.occupy(current, now: now)
        noteFreed(current.parkCode)
        if wasTold {
            append(
                .revoke(authNo: current.authNo, authVer: current.version, reason: reason), to: current.parkCode, about: "", at: now, &events
            )
        }
        events.append(.notice(LotEvent(parkCode: current.parkCode, eventType: 3009, occurredAt: now, detail: current.authNo)))
        tell(current.appId, .share(authNo: current.authNo, status), at: now, &events)
    }

    private func find(_ authNo: String, of appId: String) -> SharedSubscription? {
        lotOfShare[authNo].flatMap { lots[$0]?.subscriptions[authNo] }.flatMap { $0.appId == appId ? $0 : nil }
    }

    /// A subscription by the number that the server gave.
    public func subscription(_ authNo: String) -> SharedSubscription? { lotOfShare[authNo].flatMap { lots[$0]?.subscriptions[authNo] } }
    /// Subscriptions and offers of a lot; their numbers may be the lot's or an operator's own.
    public func subscription(_ authNo: String, in parkCode: String) -> SharedSubscription? { lots[parkCode]?.subscriptions[authNo] }
    /// An offer by a number that the server gave.
    public func offer(_ offerId: String) -> SharedOffer? { lotOfShare[offerId].flatMap { lots[$0]?.offers[offerId] } }
    func offer(_ offerId: String, in parkCode: String) -> SharedOffer? { lots[parkCode]?.offers[offerId] }

    mutating func endShare(appId: String, _ authNo: String, at now: Millis) -> Decision {
        guard let subscription = find(authNo, of: appId) else { return Decision(.refused(.notFound)) }
        guard subscription.status.holds else {
            return Decision(.refused(subscription.status == .expired ? .subscriptionExpired : .wrongState))
        }
        guard subscription.insidePlate == nil else { return Decision(.refused(.sharedSpaceOccupied)) }
        var events: [Event] = []
        end(subscription, as: .cancelled, reason: "user", at: now, &events)
        return Decision(.share(lots[subscription.parkCode]!.subscriptions[authNo]!, feeFen: 0), events)
    }

    mutating func renewShare(appId: String, _ authNo: String, validTo: Millis, at now: Millis) -> Decision {
        if let parkCode = lotOfShare[authNo] { lots[parkCode]?.advance(to: now) }
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
            // Its own places do not stand in its way.
            lots[subscription.parkCode]!.drop(spansOf: authNo)
            let hasRoom = spans.allSatisfy { lots[subscription.parkCode]!.hasRoom(.shared, from: $0.from, to: $0.to, now: now) }
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

    mutating func reviewShare(_ parkCode: String, _ authNo: String, isPassed: Bool, remark: String, at now: Millis) -> Decision {
        guard let parkCode = lotOfShare[authNo], var subscription = lots[parkCode]?.subscriptions[authNo] else {
            return Decision(.refused(.notFound))
        }
        guard subscription.status == .pending, subscription.billNo == nil else { return Decision(.refused(.wrongState)) }
        var events: [Event] = []
        guard isPassed else {
            end(subscription, as: .rejected, reason: remark, at: now, &events)
            return Decision(.share(lots[parkCode]!.subscriptions[authNo]!, feeFen: 0), events)
        }
        let months = CivilTime.months(from: subscription.validFrom, to: subscription.validTo)
        let fee = subscription.price?.mode == .month ? subscription.price!.fen * Int64(months) : 0
        subscription.version += 1
        if fee > 0 {
            askPayment(of: &subscription, fee, lots[parkCode]!.policy(.shared), at: now, &events)
        } else {
            subscription.status = .active
        }
        set(.subscription(subscription), &events)
        if subscription.status == .active { authorise(subscription, at: now, &events) }
        return Decision(.share(subscription, feeFen: fee), events)
    }

    /// D05 by an operator: an authorisation that he made elsewhere. A newer version replaces an older one.
    mutating func push(_ pushed: SharedSubscription, at now: Millis) -> Decision {
        var subscription = pushed
        guard let lot = lots[subscription.parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        // No operator gives a number of the server's series; a newer version of a subscription that has one is no new number.
        if City.isOwnNumber(subscription.authNo), lot.subscriptions[subscription.authNo] == nil {
            return Decision(.illegalValue, RuleNote("authNo"))
        }
        if let old = lot.subscriptions[subscription.authNo] {
            // The owner of a subscription does not change with its version.
            subscription.appId = old.appId
            subscription.userToken = old.userToken
            guard old.version < subscription.version else { return Decision(.refused(.newerVersionExists)) }
            // Whose car is inside is a fact, whatever is agreed.
            subscription.insidePlate = old.insidePlate
            subscription.recordNo = old.recordNo
            subscription.leaveBy = old.leaveBy
            subscription.isLate = old.isLate
            subscription.strikes = old.strikes
            if old.insidePlate != nil, subscription.status == .active { subscription.status = .inUse }
        }
        // One space, one holder.
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
        return Decision(.posted(epoch: lots[subscription.parkCode]!.downEpoch!, seq: lots[subscription.parkCode]!.downLast), events)
    }

    mutating func revokeShare(_ parkCode: String, _ authNo: String, authVer: Int64, reason: String, at now: Millis) -> Decision {
        guard let lot = lots[parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        // What was said of an older state of it does not touch the newer one.
        if let known = lot.subscriptions[authNo], authVer < known.version { return Decision(.refused(.newerVersionExists)) }
        var events: [Event] = []
        if var subscription = lot.subscriptions[authNo], subscription.status.holds {
            subscription.version = max(subscription.version, authVer - 1)
            end(subscription, as: .cancelled, reason: reason, at: now, &events)
        } else {
            append(.revoke(authNo: authNo, authVer: authVer, reason: reason), to: parkCode, about: "", at: now, &events)
        }
        return Decision(.posted(epoch: lots[parkCode]!.downEpoch!, seq: lots[parkCode]!.downLast), events)
    }

    /// Its bill is paid: it comes into force, or goes on.
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

    // MARK: Cars of subscriptions

    mutating func enter(_ subscription: SharedSubscription, _ visit: Visit, at now: Millis, _ events: inout [Event]) {
        var subscription = subscription
        subscription.status = .inUse
        subscription.insidePlate = visit.plate
        subscription.recordNo = visit.recordNo
        subscription.isLate = false
        subscription.leaveBy = timeToLeave(subscription, enteredAt: visit.enterTime)
        set(.subscription(subscription), &events)
        lots[subscription.parkCode]!.occupy(subscription, now: now)
        mark(subscription.offerId, in: subscription.parkCode, .inUse, &events)
        events.append(
            .notice(
                LotEvent(
                    parkCode: visit.parkCode, eventType: 3003, occurredAt: visit.enterTime, recordNo: visit.recordNo,
                    detail: subscription.authNo)))
        tell(subscription.appId, .share(authNo: subscription.authNo, .inUse), at: now, &events)
    }

    /// Until when a car of a subscription may stay that came in at a moment.
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
        lots[subscription.parkCode]!.vacate(subscription.authNo)
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
            // A late record shows that he was gone in time.
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

    /// He stayed beyond the grace: counted, and after so many the subscription ends (R10).
    private mutating func strike(
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

    private mutating func end(afterExpiry subscription: SharedSubscription, at now: Millis, _ events: inout [Event]) {
        lots[subscription.parkCode]!.drop(spansOf: subscription.authNo)
        noteFreed(subscription.parkCode)
        append(
            .revoke(authNo: subscription.authNo, authVer: subscription.version + 1, reason: "expired"), to: subscription.parkCode,
            about: "",
            at: now, &events)
        events.append(.notice(LotEvent(parkCode: subscription.parkCode, eventType: 3009, occurredAt: now, detail: subscription.authNo)))
        tell(subscription.appId, .share(authNo: subscription.authNo, .expired), at: now, &events)
    }

    /// What time brings about for a subscription.
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
            if limit < now, lots[subscription.parkCode]!.passedThrough > limit {
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
