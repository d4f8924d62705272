// Subscriptions of shared places: the times that they hold, the space that they get.
extension City {
    /// The times from a moment on at which a subscription holds its place, for a year and a month ahead. A hold "for ever" is renewed when
    /// the past is forgotten.
    func times(of subscription: SharedSubscription, from: Millis) -> [Window] {
        let start = max(from, subscription.validFrom)
        let end = min(max(subscription.validTo, subscription.renewTo ?? 0), start + City.heldDays * CivilTime.dayLength)
        return start < end ? RecurringWindow.spans(subscription.segments, from: start, to: end, calendar) : []
    }

    static let heldDays: Millis = 396

    mutating func holdTimes(of subscription: SharedSubscription, now: Millis) {
        lots[known: subscription.parkCode].hold(times(of: subscription, from: now), for: subscription)
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
            let number = numbers.next(.share)
            subscription.authNo = "SA" + CivilTime.text(ofDay: CivilTime.day(of: now), separator: "") + CivilTime.pad(number, 8)
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

    mutating func askPayment(
        of subscription: inout SharedSubscription, _ fee: Int64, _ policy: Policy, at now: Millis, _ events: inout [Event]
    ) {
        let deadline = now + Millis(policy.holdMin) * CivilTime.minute
        var bill = Bill(
            billNo: "S\(subscription.authNo)-\(subscription.version)", parkCode: subscription.parkCode, recordNo: "", payableFen: fee,
            expireAt: deadline, subject: subscription.authNo)
        bill.askedBy = [subscription.appId]
        money.keep(bill)
        events.append(.bill(bill))
        subscription.billNo = bill.billNo
        subscription.holdDeadline = deadline
    }

    /// The nearest lots that would take a subscription that finds no place here.
    func alternatives(to draft: SharedSubscription, policy: Policy, at now: Millis) -> [Alternative] {
        elsewhere(draft.parkCode, [.shared], policy: policy, planTime: max(now, draft.validFrom), freeMin: 0, at: now) { lot, _, _ in
            var probe = draft
            probe.parkCode = lot.parkCode
            probe.offerId = nil
            return (try? chooseSpace(for: probe, lot: lot, policy: lot.policy(.shared), at: now).get()) != nil
        }
    }

    /// Refunds to the subscriber the amount paid for the time that an owner takes back, at the owner's cost.
    mutating func giveBackRest(of given: SharedSubscription, payer: Account, at now: Millis, _ events: inout [Event]) -> SharedSubscription
    {
        var subscription = given
        guard let paid = subscription.paidFen, paid > 0, subscription.validFrom < subscription.validTo else { return given }
        let rest = max(0, subscription.validTo - max(now, subscription.validFrom))
        let fen = share(paid, rest, of: subscription.validTo - subscription.validFrom)
        guard fen > 0 else { return given }
        subscription.paidFen = paid - fen
        subscription.refundedFen = (subscription.refundedFen ?? 0) + fen
        if let payNo = subscription.payNo, var payment = payments[Payment.key(subscription.appId, "", payNo)] {
            payment.refundedFen = min(payment.amountFen, payment.refundedFen + fen)
            payment.state = payment.refundedFen == payment.amountFen ? .refunded : .partlyRefunded
            money.keep(payment)
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
    private func chooseSpace(for draft: SharedSubscription, lot: Lot, policy: Policy, at now: Millis) -> Result<
        SharedSubscription, Rejection
    > {
        var draft = draft
        if let offerId = draft.offerId {
            guard let offer = lot.offers[offerId] else { return .failure(.offerClosed) }
            if offer.status == .underReview || offer.status == .draft { return .failure(.offerUnderAudit) }
            guard offer.isBookable else { return .failure(.offerClosed) }
        }
        // A plate may not have two rights at one lot for the same time.
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
            guard !spans.isEmpty, spans.allSatisfy({ RecurringWindow.covers(offer.segments, from: $0.from, to: $0.to, calendar) }) else {
                continue
            }
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

    func find(_ authNo: String, of appId: String) -> SharedSubscription? {
        lotIndex.lot(ofShare: authNo).flatMap { lots[$0]?.subscriptions[authNo] }.flatMap { $0.appId == appId ? $0 : nil }
    }

    /// A subscription by the number that the server gave.
    public func subscription(_ authNo: String) -> SharedSubscription? {
        lotIndex.lot(ofShare: authNo).flatMap { lots[$0]?.subscriptions[authNo] }
    }

    /// Subscriptions and offers of a lot; their numbers may be the lot's or an operator's own.
    public func subscription(_ authNo: String, in parkCode: String) -> SharedSubscription? { lots[parkCode]?.subscriptions[authNo] }

    /// An offer by a number that the server gave.
    public func offer(_ offerId: String) -> SharedOffer? { lotIndex.lot(ofShare: offerId).flatMap { lots[$0]?.offers[offerId] } }

    func offer(_ offerId: String, in parkCode: String) -> SharedOffer? { lots[parkCode]?.offers[offerId] }
}
