// Shared parking 共享停车: offers of owners, single uses and subscriptions of drivers, and what happens when somebody does not leave in time.
extension City {
    struct SharedPlace {
        var offer: SharedOffer?
        var space: String?
    }

    // MARK: Finding a place

    /// The place in which an order could stand: of the offer it names, else the offered space whose calendar it cuts up least, else the lot's
    /// own shared pool. Its window and its time to leave are cut to the times in which that place is shared.
    func sharedPlace(
        for order: inout Order, offerId: String?, stayMin: Int?, lot: Lot, except taken: String? = nil, at now: Millis
    ) -> Result<SharedPlace, Refusal> {
        let policy = lot.policy(.shared)
        let plan = order.planTime
        let stay = Millis(stayMin ?? policy.stayMin) * CivilTime.minute
        var worst = Refusal.outsideSegment
        /// Entry and leave inside one open time.
        func fit(_ segments: [Segment], _ quiet: [Segment]) -> (window: Span, leave: Millis, open: Span)? {
            guard let open = Segment.span(segments, holding: plan, calendar) else { return nil }
            if !quiet.isEmpty, Segment.span(quiet, holding: plan, calendar) != nil {
                worst = .quietHours
                return nil
            }
            let enterStart = max(plan - Millis(policy.earlyMin) * CivilTime.minute, open.from)
            let enterEnd = min(plan + Millis(policy.lateMin) * CivilTime.minute, open.to)
            return (Span(enterStart, enterEnd), min(plan + stay, open.to), open)
        }
        func use(_ fit: (window: Span, leave: Millis, open: Span)) {
            order.enterStart = fit.window.from
            order.enterEnd = min(fit.window.to, fit.leave)
            order.leaveDeadline = fit.leave
            order.stayMin = Int((fit.leave - plan) / CivilTime.minute)
        }

        var best: (slack: Millis, offer: SharedOffer, space: String, fit: (window: Span, leave: Millis, open: Span))?
        let named = offerId.flatMap { lot.offers[$0] }
        if offerId != nil {
            guard let named else { return .failure(.offerClosed) }
            if named.status == .underReview || named.status == .draft { return .failure(.offerUnderAudit) }
            guard named.isBookable, named.validFrom <= plan, plan < named.validTo else { return .failure(.offerClosed) }
        }
        for offer in (named.map { [$0] } ?? lot.offers.values.sorted { $0.offerId < $1.offerId })
        where offer.isBookable && offer.validFrom <= plan && plan < offer.validTo {
            guard let fit = fit(offer.segments, offer.quietHours + policy.quiet) else { continue }
            worst = .noBookableSpace
            for unit in offer.units
            where unit != taken && lot.spaces.isFree(unit, from: max(now, fit.window.from), to: fit.leave, except: order.orderNo)
                && !isOccupied(unit, in: lot, after: now, by: order.orderNo)
            {
                let slack = lot.spaces.slack(unit, from: fit.window.from, to: fit.leave, within: fit.open)
                if best == nil || slack < best!.slack { best = (slack, offer, unit, fit) }
            }
        }
        if let best {
            use(best.fit)
            order.terms.price = best.offer.price
            return .success(SharedPlace(offer: best.offer, space: best.space))
        }
        if named == nil, lot.quota(.shared, at: plan) > 0 {
            let window = policy.shareWindow.isEmpty ? Segment.always : Segment.parse(policy.shareWindow) ?? Segment.always
            if let fit = policy.shareWindow.isEmpty && policy.quietHours.isEmpty ? unbounded(plan, stay, policy) : fit(window, policy.quiet) {
                if lot.hasRoom(.shared, from: fit.window.from, to: fit.leave, now: now) {
                    use(fit)
                    order.terms.price = nil
                    return .success(SharedPlace())
                }
                worst = .noBookableSpace
            }
        } else if named == nil, lot.offers.isEmpty {
            worst = .noBookableSpace
        }
        return .failure(worst == .noBookableSpace && lot.isNamed(.shared, from: order.enterStart, to: order.expectedLeave) ? .poolEmpty : worst)
    }

    private func unbounded(_ plan: Millis, _ stay: Millis, _ policy: Policy) -> (window: Span, leave: Millis, open: Span) {
        let window = Span(plan - Millis(policy.earlyMin) * CivilTime.minute, plan + Millis(policy.lateMin) * CivilTime.minute)
        return (window, plan + stay, window)
    }

    /// Whether somebody stands in a space beyond his time.
    private func isOccupied(_ space: String, in lot: Lot, after now: Millis, by holder: String) -> Bool {
        lot.orders.values.contains { $0.spaceNo == space && $0.status == .inLot && $0.orderNo != holder && ($0.leaveDeadline ?? .max) <= now }
            || lot.subscriptions.values.contains { $0.spaceNo == space && $0.insidePlate != nil && ($0.leaveBy ?? .max) <= now }
    }

    // MARK: Offers

    mutating func publish(_ draft: SharedOffer, at now: Millis) -> Decision {
        guard let lot = lots[draft.parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        guard let profile = lot.profile, profile.enabled.contains(.shared), isOpened(lot, for: .shared) else {
            return Decision(.refused(.sharingNotEnabled))
        }
        let policy = lot.policy(.shared)
        guard !draft.proofs.isEmpty, !draft.agreementVersion.isEmpty,
            policy.agreementVersion.isEmpty || policy.agreementVersion == draft.agreementVersion
        else { return Decision(.providerNotCertified, RuleNote("agreementVersion")) }
        var offer = draft
        if let space = offer.spaceNo {
            let known = reports[ReportKind(parkCode: draft.parkCode, kind: "space")] ?? [:]
            guard known.isEmpty || known[space] != nil else { return Decision(.refused(.unknownSpace)) }
            guard !lot.offers.values.contains(where: { $0.spaceNo == space && $0.status != .withdrawn && $0.status != .closed }) else {
                return Decision(.refused(.unknownSpace))
            }
        }
        lastShare += 1
        offer.offerId = "SO" + CivilTime.text(ofDay: CivilTime.day(of: now), separator: "") + CivilTime.pad(lastShare, 8)
        if offer.segments.isEmpty { offer.segments = defaultSegments(policy) }
        offer.status = policy.shareReview == 1 ? .underReview : .open
        var events: [Event] = []
        set(.offer(offer), &events)
        if offer.status == .open { announce(offer, 3001, at: now, &events) }
        return Decision(.entity(.offer(offer)), events)
    }

    private func defaultSegments(_ policy: Policy) -> [Segment] {
        policy.shareWindow.isEmpty ? Segment.offPeak : Segment.parse(policy.shareWindow) ?? Segment.offPeak
    }

    private mutating func announce(_ offer: SharedOffer, _ eventType: Int, at now: Millis, _ events: inout [Event]) {
        events.append(.notice(Notice(parkCode: offer.parkCode, eventType: eventType, occurredAt: now, detail: offer.offerId)))
        if offer.status == .open { noteFreed(offer.parkCode) }
    }

    mutating func review(_ parkCode: String, offerId: String, isPassed: Bool, remark: String, at now: Millis) -> Decision {
        guard let parkCode = lotOfShare[offerId] ?? Optional(parkCode), var offer = lots[parkCode]?.offers[offerId] else {
            return Decision(.refused(.notFound))
        }
        guard offer.status == .underReview else { return Decision(.refused(.wrongState)) }
        offer.status = isPassed ? .open : .draft
        offer.remark = remark.isEmpty ? nil : remark
        offer.version += 1
        var events: [Event] = []
        set(.offer(offer), &events)
        if isPassed { announce(offer, 3001, at: now, &events) }
        return Decision(.entity(.offer(offer)), events)
    }

    /// New times must hold what is booked; a new price is for new bookings.
    mutating func updateOffer(appId: String, _ offerId: String, segments: [Segment]?, price: SharePrice?, at now: Millis) -> Decision {
        guard let parkCode = lotOfShare[offerId], var offer = lots[parkCode]?.offers[offerId], offer.appId == appId else {
            return Decision(.refused(.notFound))
        }
        if offer.status == .closed || offer.status == .withdrawn { return Decision(.refused(.offerClosed)) }
        if let segments {
            let (orders, subscriptions) = affected(by: offer, at: now)
            let fits =
                orders.allSatisfy { Segment.covers(segments, from: $0.enterStart, to: $0.expectedLeave, calendar) }
                && subscriptions.allSatisfy { sub in
                    times(of: sub, from: now).allSatisfy { Segment.covers(segments, from: $0.from, to: $0.to, calendar) }
                }
            guard fits else { return Decision(.consequences(offer, orders: orders, subscriptions: subscriptions)) }
            offer.segments = segments
        }
        if let price { offer.price = price }
        offer.version += 1
        if offer.status == .draft { offer.status = .underReview }
        var events: [Event] = []
        set(.offer(offer), &events)
        return Decision(.entity(.offer(offer)), events)
    }

    /// Who is booked into an offer from now on, beside cars that are inside.
    private func affected(by offer: SharedOffer, at now: Millis) -> (orders: [Order], subscriptions: [SharedSubscription]) {
        guard let lot = lots[offer.parkCode] else { return ([], []) }
        return (
            lot.orders.values.filter { $0.offerId == offer.offerId && $0.status.isActive }.sorted { $0.serial < $1.serial },
            lot.subscriptions.values.filter { $0.offerId == offer.offerId && $0.status.holds }.sorted { $0.authNo < $1.authNo }
        )
    }

    /// The owner wants his space back before the time he gave it for: first he sees whom it hits, then he confirms it. Who is inside stays until
    /// his time is up; who has booked is re-homed at the owner's cost.
    mutating func closeOffer(appId: String, _ offerId: String, isConfirmed: Bool, at now: Millis, history: some History) -> Decision {
        guard let parkCode = lotOfShare[offerId], let offer = lots[parkCode]?.offers[offerId], offer.appId == appId else {
            return Decision(.refused(.notFound))
        }
        if offer.status == .closed || offer.status == .withdrawn { return Decision(.refused(.offerClosed)) }
        let (orders, subscriptions) = affected(by: offer, at: now)
        if !isConfirmed, !orders.isEmpty || !subscriptions.isEmpty {
            return Decision(.consequences(offer, orders: orders, subscriptions: subscriptions))
        }
        var events: [Event] = []
        let closed = withdraw(offer, orders, subscriptions, as: .closed, at: now, &events)
        return Decision(.entity(.offer(closed)), events)
    }

    private mutating func withdraw(
        _ offer: SharedOffer, _ orders: [Order], _ subscriptions: [SharedSubscription], as status: OfferStatus, at now: Millis,
        _ events: inout [Event]
    ) -> SharedOffer {
        var offer = offer
        offer.status = status
        offer.version += 1
        set(.offer(offer), &events)
        announce(offer, 3002, at: now, &events)
        let payer: Account = offer.providerToken.isEmpty ? .lot(offer.parkCode) : .owner(offer.appId, offer.providerToken)
        for order in orders {
            guard let order = lots[order.parkCode]?.orders[order.orderNo] else { continue }
            if order.status == .inLot {
                events.append(
                    .notice(
                        Notice(
                            parkCode: offer.parkCode, eventType: 3006, occurredAt: now, orderNo: order.orderNo, recordNo: order.recordNo,
                            detail: offer.offerId)))
            } else {
                displace(order, payer: payer, at: now, &events)
            }
        }
        for subscription in subscriptions { end(subscription, as: .cancelled, reason: "offer closed", at: now, &events) }
        return offer
    }

    mutating func report(_ parkCode: String, _ offers: [SharedOffer], gone: [String], at now: Millis, history: some History) -> Decision {
        guard let lot = lots[parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        for offer in offers {
            let known = reports[ReportKind(parkCode: parkCode, kind: "space")] ?? [:]
            if let space = offer.spaceNo {
                guard known.isEmpty || known[space] != nil else { return Decision(.refused(.unknownSpace)) }
                guard !lot.offers.values.contains(where: { $0.spaceNo == space && $0.offerId != offer.offerId && $0.isBookable }) else {
                    return Decision(.refused(.unknownSpace))
                }
            }
            // An owner's own offer is not the lot's to change.
            if let old = lot.offers[offer.offerId], !old.appId.isEmpty { return Decision(.refused(.wrongState)) }
        }
        var events: [Event] = []
        for offer in offers {
            var offer = offer
            offer.version = (lot.offers[offer.offerId]?.version ?? 0) + 1
            if offer.segments.isEmpty { offer.segments = defaultSegments(lot.policy(.shared)) }
            set(.offer(offer), &events)
            if lot.offers[offer.offerId]?.isBookable != true { announce(offer, 3001, at: now, &events) }
        }
        for offerId in gone {
            guard let offer = lots[parkCode]?.offers[offerId], offer.appId.isEmpty, offer.isBookable else { continue }
            let (orders, subscriptions) = affected(by: offer, at: now)
            _ = withdraw(offer, orders, subscriptions, as: .withdrawn, at: now, &events)
        }
        return Decision(.filed(offers.count + gone.count), events)
    }

    // MARK: Subscriptions

    /// The times of a subscription from a moment on.
    func times(of subscription: SharedSubscription, from: Millis) -> [Span] {
        Segment.spans(
            subscription.segments, from: max(from, subscription.validFrom), to: max(subscription.validTo, subscription.renewTo ?? 0), calendar)
    }

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
            if isListed(City.blackKind, lot.parkCode, plate, at: now) { return Decision(.refused(.plateBlacklisted)) }
            if let (refusal, note) = standing(
                of: draft.appId, draft.userToken, plate, lot: lot, purpose: .shared, policy: policy, at: now)
            {
                return Decision(refusal, note)
            }
        }
        switch chooseSpace(for: draft, lot: lot, policy: policy, at: now) {
        case .failure(let refusal): return Decision(.refused(refusal))
        case .success(var subscription):
            lastShare += 1
            subscription.authNo = "SA" + CivilTime.text(ofDay: CivilTime.day(of: now), separator: "") + CivilTime.pad(lastShare, 8)
            subscription.graceMin = policy.shareLateGraceMin
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
        let bill = Bill(
            billNo: "S\(subscription.authNo)-\(subscription.version)", parkCode: subscription.parkCode, recordNo: "", payableFen: fee,
            expireAt: deadline, subject: subscription.authNo)
        bills[bill.billNo] = bill
        events.append(.bill(bill))
        subscription.billNo = bill.billNo
        subscription.holdDeadline = deadline
    }

    /// A space whose open times hold all of the subscription's and in which nobody else is, else the lot's pool.
    private func chooseSpace(for draft: SharedSubscription, lot: Lot, policy: Policy, at now: Millis) -> Result<SharedSubscription, Refusal> {
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
        var worst = Refusal.outsideSegment
        func collides(_ spans: [Span]) -> Bool {
            lot.subscriptions.values.contains { other in
                other.status.holds && other.authNo != draft.authNo && !Set(other.plates).isDisjoint(with: draft.plates)
                    && times(of: other, from: now).contains { time in spans.contains { $0.meets(time.from, time.to) } }
            }
        }
        for offer in candidates {
            draft.segments = asked.isEmpty ? offer.segments : asked
            let spans = times(of: draft, from: now)
            guard !spans.isEmpty, spans.allSatisfy({ Segment.covers(offer.segments, from: $0.from, to: $0.to, calendar) }) else { continue }
            if collides(spans) { return .failure(.segmentOverlap) }
            worst = .segmentOverlap
            for unit in offer.units where spans.allSatisfy({ lot.spaces.isFree(unit, from: $0.from, to: $0.to) }) {
                draft.offerId = offer.offerId
                draft.spaceNo = unit
                draft.quietHours = offer.quietHours + policy.quiet
                draft.price = offer.price
                return .success(draft)
            }
        }
        guard draft.offerId == nil, lot.quota(.shared) > 0 else { return .failure(candidates.isEmpty && draft.offerId == nil ? .noBookableSpace : worst) }
        let window = defaultSegments(policy)
        draft.segments = asked.isEmpty ? window : asked
        draft.quietHours = policy.quiet
        let spans = times(of: draft, from: now)
        guard !spans.isEmpty else { return .failure(.outsideSegment) }
        if !policy.shareWindow.isEmpty, !spans.allSatisfy({ Segment.covers(window, from: $0.from, to: $0.to, calendar) }) {
            return .failure(.outsideSegment)
        }
        if collides(spans) { return .failure(.segmentOverlap) }
        guard spans.allSatisfy({ lot.hasRoom(.shared, from: $0.from, to: $0.to, now: now) }) else { return .failure(.noBookableSpace) }
        draft.price = policy.shareMonthlyFen > 0 ? SharePrice(mode: .month, fen: Int64(policy.shareMonthlyFen)) : nil
        return .success(draft)
    }

    /// Tells the lot of an agreement that is in force, and its provider.
    private mutating func authorise(_ subscription: SharedSubscription, at now: Millis, _ events: inout [Event]) {
        append(.authorise(subscription), to: subscription.parkCode, about: "", at: now, &events)
        events.append(.notice(Notice(parkCode: subscription.parkCode, eventType: 3007, occurredAt: now, detail: subscription.authNo)))
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
        noteFreed(current.parkCode)
        if wasTold {
            append(
                .revoke(authNo: current.authNo, authVer: current.version, reason: reason), to: current.parkCode, about: "", at: now, &events)
        }
        events.append(.notice(Notice(parkCode: current.parkCode, eventType: 3009, occurredAt: now, detail: current.authNo)))
        tell(current.appId, .share(authNo: current.authNo, status), at: now, &events)
    }

    private func find(_ authNo: String, of appId: String) -> SharedSubscription? {
        lotOfShare[authNo].flatMap { lots[$0]?.subscriptions[authNo] }.flatMap { $0.appId == appId ? $0 : nil }
    }

    public func subscription(_ authNo: String) -> SharedSubscription? { lotOfShare[authNo].flatMap { lots[$0]?.subscriptions[authNo] } }
    public func offer(_ offerId: String) -> SharedOffer? { lotOfShare[offerId].flatMap { lots[$0]?.offers[offerId] } }

    mutating func endShare(appId: String, _ authNo: String, at now: Millis) -> Decision {
        guard let subscription = find(authNo, of: appId) else { return Decision(.refused(.notFound)) }
        guard subscription.status.holds else { return Decision(.refused(subscription.status == .expired ? .subscriptionExpired : .wrongState)) }
        guard subscription.insidePlate == nil else { return Decision(.refused(.sharedSpaceOccupied)) }
        var events: [Event] = []
        end(subscription, as: .cancelled, reason: "user", at: now, &events)
        return Decision(.share(lots[subscription.parkCode]!.subscriptions[authNo]!, feeFen: 0), events)
    }

    mutating func renewShare(appId: String, _ authNo: String, validTo: Millis, at now: Millis) -> Decision {
        if let parkCode = lotOfShare[authNo] { lots[parkCode]?.advance(to: now) }
        guard var subscription = find(authNo, of: appId), let lot = lots[subscription.parkCode] else { return Decision(.refused(.notFound)) }
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
            guard let offer = lot.offers[offerId], offer.isBookable, validTo <= offer.validTo else { return Decision(.refused(.offerClosed)) }
            guard spans.allSatisfy({ lot.spaces.isFree(space, from: $0.from, to: $0.to, except: authNo) }) else {
                return Decision(.refused(.segmentOverlap))
            }
        } else {
            // Its own places do not stand in its way.
            lots[subscription.parkCode]!.drop(spansOf: authNo)
            let hasRoom = spans.allSatisfy { lots[subscription.parkCode]!.hasRoom(.shared, from: $0.from, to: $0.to, now: now) }
            holdTimes(of: subscription, now: now)
            guard hasRoom else { return Decision(.refused(.noBookableSpace)) }
        }
        let policy = lot.policy(.shared)
        let months = max(1, Int((validTo - subscription.validTo + 29 * CivilTime.dayLength) / (30 * CivilTime.dayLength)))
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
        let months = max(1, Int((subscription.validTo - subscription.validFrom + 29 * CivilTime.dayLength) / (30 * CivilTime.dayLength)))
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
    mutating func push(_ subscription: SharedSubscription, at now: Millis) -> Decision {
        guard let lot = lots[subscription.parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        if let old = lot.subscriptions[subscription.authNo] {
            guard old.version < subscription.version else { return Decision(.refused(.newerVersionExists)) }
        }
        var events: [Event] = []
        set(.subscription(subscription), &events)
        holdTimes(of: subscription, now: now)
        append(.authorise(subscription), to: subscription.parkCode, about: "", at: now, &events)
        return Decision(.posted(epoch: lots[subscription.parkCode]!.downEpoch!, seq: lots[subscription.parkCode]!.downLast), events)
    }

    mutating func revokeShare(_ parkCode: String, _ authNo: String, authVer: Int64, reason: String, at now: Millis) -> Decision {
        guard let lot = lots[parkCode] else { return Decision(.refused(.lotNotRegistered)) }
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
        subscription.billNo = nil
        subscription.version += 1
        set(.subscription(subscription), &events)
        holdTimes(of: subscription, now: now)
        authorise(subscription, at: now, &events)
    }

    // MARK: Cars of subscriptions

    /// Why a car may not use a subscription at this moment.
    static func refuse(_ subscription: SharedSubscription, _ plate: Plate, at time: Millis, _ calendar: WorkCalendar) -> Refusal? {
        GatePolicy.refuse(subscription, plate: plate, at: time, calendar)
    }

    mutating func enter(_ subscription: SharedSubscription, _ visit: Visit, at now: Millis, _ events: inout [Event]) {
        var subscription = subscription
        subscription.status = .inUse
        subscription.insidePlate = visit.plate
        subscription.recordNo = visit.recordNo
        subscription.isLate = false
        subscription.leaveBy = min(
            subscription.validTo,
            Segment.span(subscription.segments, holding: visit.enterTime, calendar)?.to ?? subscription.validTo)
        set(.subscription(subscription), &events)
        mark(subscription.offerId, in: subscription.parkCode, .inUse, &events)
        events.append(
            .notice(
                Notice(
                    parkCode: visit.parkCode, eventType: 3003, occurredAt: visit.enterTime, recordNo: visit.recordNo, detail: subscription.authNo)))
        tell(subscription.appId, .share(authNo: subscription.authNo, .inUse), at: now, &events)
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
        mark(subscription.offerId, in: subscription.parkCode, .open, &events)
        events.append(
            .notice(
                Notice(parkCode: subscription.parkCode, eventType: 3004, occurredAt: leaveTime, recordNo: recordNo, detail: subscription.authNo)))
        if isLate, !wasLate {
            strike(subscription, deadline: deadline, recordNo: recordNo ?? "", at: now, &events)
        } else if wasLate, !isLate {
            // A late record shows that he was gone in time.
            undo("\(subscription.authNo)-L\(recordNo ?? "")", by: "record", at: now, &events)
            if var current = self.subscription(subscription.authNo), current.strikes > 0 {
                current.strikes -= 1
                set(.subscription(current), &events)
            }
        }
        if let current = self.subscription(subscription.authNo), current.status == .active { tell(current.appId, .share(authNo: current.authNo, .active), at: now, &events) }
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
        guard var current = self.subscription(subscription.authNo) else { return }
        current.strikes += 1
        set(.subscription(current), &events)
        charge(
            Penalty(
                penaltyId: "\(current.authNo)-L\(recordNo)", kind: .lateDeparture, appId: current.appId, userToken: current.userToken,
                plate: subscription.insidePlate ?? current.plates[0], parkCode: current.parkCode, group: group(of: current.parkCode),
                orderNo: current.authNo, at: now, chargedAt: now, evidence: "record \(recordNo): to leave by \(deadline), seen inside later"),
            at: now, &events)
        if current.strikes >= current.strikesMax { end(current, as: .terminated, reason: "late departures", at: now, &events) }
    }

    private mutating func end(afterExpiry subscription: SharedSubscription, at now: Millis, _ events: inout [Event]) {
        lots[subscription.parkCode]!.drop(spansOf: subscription.authNo)
        noteFreed(subscription.parkCode)
        append(
            .revoke(authNo: subscription.authNo, authVer: subscription.version + 1, reason: "expired"), to: subscription.parkCode, about: "",
            at: now, &events)
        events.append(.notice(Notice(parkCode: subscription.parkCode, eventType: 3009, occurredAt: now, detail: subscription.authNo)))
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
            let limit = leaveBy + Millis(subscription.graceMin) * CivilTime.minute
            // On evidence only: the lot's log must have passed the limit without an exit.
            if limit < now, lots[subscription.parkCode]!.passedThrough > limit {
                subscription.isLate = true
                set(.subscription(subscription), &events)
                events.append(
                    .notice(
                        Notice(
                            parkCode: subscription.parkCode, eventType: 3005, occurredAt: limit, recordNo: subscription.recordNo,
                            detail: subscription.authNo)))
                strike(subscription, deadline: limit, recordNo: subscription.recordNo ?? "", at: now, &events)
            }
        }
        if subscription.status == .active, subscription.validTo <= now {
            subscription.status = .expired
            set(.subscription(subscription), &events)
            end(afterExpiry: subscription, at: now, &events)
        }
    }

    // MARK: Re-homing

    /// The owner's return is a hard limit: whoever is booked into a space that is still taken gets another one by himself.
    mutating func rehomeFollowers(_ parkCode: String, at now: Millis, _ events: inout [Event]) {
        guard let lot = lots[parkCode] else { return }
        let lead = Millis(lot.policy(.shared).rehomeLeadMin) * CivilTime.minute
        let due = lot.orders.values.filter { $0.spaceNo != nil && ($0.status == .booked || $0.status == .held) && $0.enterStart - lead <= now }
        for order in due.sorted(by: { $0.serial < $1.serial }) {
            guard let payer = overstayer(in: order.spaceNo!, of: lot, before: order, at: now) else { continue }
            events.append(
                .notice(Notice(parkCode: parkCode, eventType: 2010, occurredAt: now, orderNo: order.orderNo, detail: order.spaceNo!)))
            displace(order, payer: payer, at: now, &events)
        }
    }

    /// A late record has put a car into a space that was given on when nobody seemed to come: whoever booked it since gets another one. It is
    /// nobody's fault; what it costs more is the platform's.
    mutating func makeWay(for order: Order, at now: Millis, _ events: inout [Event]) {
        guard let space = order.spaceNo, let lot = lots[order.parkCode] else { return }
        let others = lot.orders.values.filter {
            $0.spaceNo == space && $0.orderNo != order.orderNo && ($0.status == .booked || $0.status == .held)
                && $0.enterStart < order.expectedLeave && now < $0.expectedLeave
        }
        for other in others.sorted(by: { $0.serial < $1.serial }) { displace(other, payer: .platform, at: now, &events) }
    }

    /// Who stands in a space although his time is over.
    private func overstayer(in space: String, of lot: Lot, before order: Order, at now: Millis) -> Account? {
        if let other = lot.orders.values.first(where: {
            $0.spaceNo == space && $0.status == .inLot && $0.orderNo != order.orderNo && ($0.leaveDeadline ?? .max) <= now
        }) {
            return .user(other.appId, other.userToken)
        }
        if let other = lot.subscriptions.values.first(where: { $0.spaceNo == space && $0.insidePlate != nil && ($0.leaveBy ?? .max) <= now }) {
            return .user(other.appId, other.userToken)
        }
        return nil
    }

    /// Gives an order another place: in the same lot, else in the nearest one; what that costs more is the payer's. Nobody is left without a word.
    mutating func displace(_ displaced: Order, payer: Account, at now: Millis, _ events: inout [Event]) {
        var order = displaced
        lots[order.parkCode]!.advance(to: now)
        let lot = lots[order.parkCode]!
        let old = estimate(order, at: now)
        var moved = order
        if case .success(let place) = sharedPlace(
            for: &moved, offerId: nil, stayMin: order.stayMin, lot: lot, except: order.spaceNo, at: now), moved.expectedLeave >= order.expectedLeave
        {
            moved.spaceNo = place.space
            moved.offerId = place.offer?.offerId
            moved.orderVer += 1
            record(estimate(moved, at: now) - old, of: &moved, payer: payer, at: now, &events)
            sendChange(&moved, at: now, &events)
            update(moved, at: now, &events)
            events.append(
                .notice(
                    Notice(
                        parkCode: order.parkCode, eventType: 2011, occurredAt: now, orderNo: order.orderNo,
                        detail: "\(order.spaceNo ?? "") to \(moved.spaceNo ?? Pool.shared.rawValue), paid by \(payer.text)")))
            return
        }
        let next = neighbour(of: order, lot: lot, at: now)
        order.status = .revoked
        order.isCompensated = true
        order.orderVer += 1
        giveBackDailyCount(of: order, &events)
        returnDeposit(of: order, at: now, &events)
        if var next {
            lastSerial += 1
            next.serial = lastSerial
            next.orderNo = "YY" + CivilTime.text(ofDay: CivilTime.day(of: now), separator: "") + CivilTime.pad(lastSerial, 10)
            order.rehomedTo = next.orderNo
            sendCancel(&order, .server, at: now, &events)
            update(order, at: now, &events)
            record(estimate(next, at: now) - old, of: &next, payer: payer, at: now, &events)
            claim(next, policy: lots[next.parkCode]!.policy(next.purpose), areaClaims(of: next), &events)
            certify(&next, policy: lots[next.parkCode]!.policy(next.purpose), at: now, &events)
        } else {
            sendCancel(&order, .server, at: now, &events)
            update(order, at: now, &events)
        }
        events.append(
            .notice(
                Notice(
                    parkCode: order.parkCode, eventType: 2012, occurredAt: now, orderNo: order.orderNo,
                    detail: "re-homed to \(order.rehomedTo ?? "nowhere"), paid by \(payer.text)")))
    }

    private func neighbour(of order: Order, lot: Lot, at now: Millis) -> Order? {
        var policy = lot.policy(.shared)
        policy.alternativesMetres = policy.rehomeMetres
        policy.alternativesMax = 1
        guard let place = alternatives(to: order, policy: policy, at: now).first, let there = lots[place.parkCode] else { return nil }
        var next = order
        next.parkCode = place.parkCode
        next.clientOrderNo = String(order.clientOrderNo.prefix(60)) + "~\(order.orderVer)"
        next.orderVer = 1
        next.createdAt = now
        next.downSeq = 0
        next.deliver = .new
        next.rehomedFrom = order.orderNo
        next.rehomedTo = nil
        next.spaceNo = nil
        next.offerId = nil
        next.terms = terms(there, .shared, planTime: order.planTime)
        guard case .success(let found) = sharedPlace(for: &next, offerId: nil, stayMin: order.stayMin, lot: there, at: now) else { return nil }
        next.spaceNo = found.space
        next.offerId = found.offer?.offerId
        return next
    }

    /// What the booked stay would cost, fen.
    func estimate(_ order: Order, at now: Millis) -> Int64 {
        sessionTariff(of: order, at: now)?.fee(from: order.planTime, to: order.expectedLeave, calendar: calendar) ?? 0
    }

    private mutating func record(_ difference: Int64, of order: inout Order, payer: Account, at now: Millis, _ events: inout [Event]) {
        guard difference > 0 else { return }
        order.discountFen += difference
        order.discountBy = payer.text
        post(Posting(at: now, kind: .rehoming, reference: order.orderNo, [(payer, difference), (.compensation, -difference)]), &events)
    }
}
