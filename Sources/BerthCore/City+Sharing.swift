// Shared parking 共享停车: offers of owners, single uses and subscriptions of drivers, and what happens when somebody does not leave in time.
extension City {
    struct SharedPlace {
        var offer: SharedOffer?
        var space: String?
    }

    // MARK: Finding a place

    /// When a booking fits into open times: its window of entry, its time to leave, and the open time that holds both.
    private struct SharedFit {
        var window: Window
        var leave: Millis
        var open: Window
    }

    /// Entry and leave inside one open time, before it is taken back, and at no time at which nobody may pass.
    private func fit(
        _ segments: [RecurringWindow], _ quiet: [RecurringWindow], until: Millis, plan: Millis, stay: Millis, policy: Policy
    ) -> Result<SharedFit, Rejection> {
        guard var open = RecurringWindow.span(segments, holding: plan, calendar) else { return .failure(.outsideSegment) }
        open.to = min(open.to, until)
        var window = Window(
            max(plan - Millis(policy.earlyMin) * CivilTime.minute, open.from),
            min(plan + Millis(policy.lateMin) * CivilTime.minute, open.to)
        )
        var leave = min(plan + stay, open.to)
        if !quiet.isEmpty {
            for span in RecurringWindow.spans(quiet, from: window.from, to: leave + 1, calendar) {
                if span.from <= plan, plan < span.to { return .failure(.quietHours) }
                if span.to <= plan { window.from = max(window.from, span.to) }
                if span.from > plan { window.to = min(window.to, span.from) }
                // A car that cannot drive out then has to leave before.
                if span.from > plan, span.from <= leave, leave < span.to { leave = span.from }
            }
        }
        guard leave > plan else { return .failure(.outsideSegment) }
        return .success(SharedFit(window: window, leave: leave, open: open))
    }

    /// Open times that many offers share are looked at once.
    private struct OpenTimes: Hashable {
        var segments: [RecurringWindow]
        var quiet: [RecurringWindow]
        var until: Millis
    }

    /// The offers that could hold a booking, each with how it fits; and why those that could not do not.
    private func fitting(_ offers: some Sequence<SharedOffer>, plan: Millis, stay: Millis, policy: Policy) -> (
        fits: [(offer: SharedOffer, fit: SharedFit)], worst: Rejection
    ) {
        var worst = Rejection.outsideSegment
        var known: [OpenTimes: Result<SharedFit, Rejection>] = [:]
        var fits: [(SharedOffer, SharedFit)] = []
        let quiet = policy.quiet
        for offer in offers where offer.isBookable && offer.validFrom <= plan && plan < offer.validTo {
            // An offer that ends long after the stay ends at no time that matters.
            let until = min(offer.validTo, plan + stay + 400 * CivilTime.dayLength)
            let times = OpenTimes(segments: offer.segments, quiet: offer.quietHours + quiet, until: until)
            let found: Result<SharedFit, Rejection>
            if let earlier = known[times] {
                found = earlier
            } else {
                found = fit(times.segments, times.quiet, until: until, plan: plan, stay: stay, policy: policy)
                known[times] = found
            }
            switch found {
            case .success(let fit): fits.append((offer, fit))
            case .failure(let refusal): if refusal == .quietHours { worst = .quietHours }
            }
        }
        return (fits, worst)
    }

    /// The place in which an order could stand: of the offer it names, else the offered space whose calendar it cuts up least, else the lot's
    /// own shared pool. Its window and its time to leave are cut to the times in which that place is shared.
    func sharedPlace(
        for reservation: inout Reservation, offerId: String?, stayMin: Int?, lot: Lot, except taken: String? = nil, at now: Millis
    ) -> Result<SharedPlace, Rejection> {
        let policy = lot.policy(.shared)
        let plan = reservation.planTime
        let stay = Millis(stayMin ?? policy.stayMin) * CivilTime.minute
        func use(_ fit: SharedFit) {
            reservation.enterStart = fit.window.from
            reservation.enterEnd = min(fit.window.to, fit.leave)
            reservation.leaveDeadline = fit.leave
            reservation.stayMin = Int((fit.leave - plan) / CivilTime.minute)
        }

        let named = offerId.flatMap { lot.offers[$0] }
        if offerId != nil {
            guard let named else { return .failure(.offerClosed) }
            if named.status == .underReview || named.status == .draft { return .failure(.offerUnderAudit) }
            guard named.isBookable, named.validFrom <= plan, plan < named.validTo else { return .failure(.offerClosed) }
        }
        var best: (slack: Millis, offer: SharedOffer, space: String, fit: SharedFit)?
        let found =
            named.map { fitting([$0], plan: plan, stay: stay, policy: policy) }
            ?? fitting(lot.offers.values, plan: plan, stay: stay, policy: policy)
        var worst = found.fits.isEmpty ? found.worst : .noBookableSpace
        let overstayed = found.fits.isEmpty ? [] : overstayedSpaces(in: lot, after: now, by: reservation.orderNo)
        for (offer, fit) in found.fits {
            for unit in lot.spaces.candidates(of: offer)
            where unit != taken && !overstayed.contains(ByteKey(unit))
                && lot.spaces.isFree(unit, from: max(now, fit.window.from), to: fit.leave, except: reservation.orderNo)
            {
                let slack = lot.spaces.slack(unit, from: fit.window.from, to: fit.leave, within: fit.open)
                if let best, (best.slack, best.offer.offerId) <= (slack, offer.offerId) { continue }
                best = (slack, offer, unit, fit)
            }
        }
        if let best {
            use(best.fit)
            reservation.terms.price = best.offer.price
            return .success(SharedPlace(offer: best.offer, space: best.space))
        }
        if named == nil, lot.quota(.shared, at: plan) > 0 {
            switch poolFit(plan, stay, policy) {
            case .success(let fit):
                if lot.hasRoom(.shared, from: fit.window.from, to: fit.leave, now: now) {
                    use(fit)
                    reservation.terms.price = nil
                    return .success(SharedPlace())
                }
                worst = .noBookableSpace
            case .failure(let refusal): if refusal == .quietHours, found.fits.isEmpty { worst = .quietHours }
            }
        } else if named == nil, lot.offers.isEmpty {
            worst = .noBookableSpace
        }
        return .failure(
            worst == .noBookableSpace && lot.isNamed(.shared, from: reservation.enterStart, to: reservation.expectedLeave) ? .poolEmpty : worst)
    }

    /// How a booking fits into the lot's own shared pool.
    private func poolFit(_ plan: Millis, _ stay: Millis, _ policy: Policy) -> Result<SharedFit, Rejection> {
        fit(poolWindow(policy), policy.quiet, until: .max / 4, plan: plan, stay: stay, policy: policy)
    }

    /// How many shared places could still be booked for an order's time (`slot.query`).
    func sharedRoom(for reservation: inout Reservation, lot: Lot, at now: Millis) -> Result<Int, Rejection> {
        let policy = lot.policy(.shared)
        let (plan, stay) = (reservation.planTime, Millis(policy.stayMin) * CivilTime.minute)
        let found = fitting(lot.offers.values, plan: plan, stay: stay, policy: policy)
        var worst = found.fits.isEmpty ? found.worst : .noBookableSpace
        var count = 0
        let overstayed = found.fits.isEmpty ? [] : overstayedSpaces(in: lot, after: now, by: "")
        for (offer, fit) in found.fits {
            let from = max(now, fit.window.from)
            count += lot.spaces.free(of: offer, from: from, to: fit.leave) { overstayed.contains(ByteKey($0)) }
        }
        if lot.quota(.shared, at: plan) > 0 {
            switch poolFit(plan, stay, policy) {
            case .success(let fit):
                count += lot.room(.shared, from: fit.window.from, to: fit.leave, now: now).left
                worst = .noBookableSpace
            case .failure(let refusal): if refusal == .quietHours, found.fits.isEmpty { worst = .quietHours }
            }
        } else if lot.offers.isEmpty {
            worst = .noBookableSpace
        }
        guard count == 0 else { return .success(count) }
        return .failure(
            worst == .noBookableSpace && lot.isNamed(.shared, from: reservation.enterStart, to: reservation.expectedLeave) ? .poolEmpty : worst)
    }

    /// Spaces in which a car stands beyond its time.
    private func overstayedSpaces(in lot: Lot, after now: Millis, by holder: String) -> Set<ByteKey> {
        var spaces: Set<ByteKey> = []
        for reservation in lot.reservations.values
        where reservation.status == .inLot && reservation.orderNo != holder && (reservation.leaveDeadline ?? .max) <= now {
            if let space = reservation.spaceNo { spaces.insert(ByteKey(space)) }
        }
        for share in lot.subscriptions.values where share.insidePlate != nil && (share.leaveBy ?? .max) <= now {
            if let space = share.spaceNo { spaces.insert(ByteKey(space)) }
        }
        return spaces
    }

    /// When what an order asks for is shared next, within a fortnight.
    func opening(for reservation: Reservation, in lot: Lot) -> Millis? {
        let offers = reservation.offerId.flatMap { lot.offers[$0] }.map { [$0] } ?? lot.offers.values.filter(\.isBookable)
        var windows = offers.map(\.segments)
        if reservation.offerId == nil, lot.quota(.shared, at: reservation.planTime) > 0 { windows.append(poolWindow(lot.policy(.shared))) }
        let end = reservation.planTime + 14 * CivilTime.dayLength
        return windows.compactMap {
            RecurringWindow.spans($0, from: reservation.planTime, to: end, calendar).map(\.from).filter { $0 > reservation.planTime }.min()
        }
        .min()
    }

    /// When the hours end in which nobody may pass.
    func quietEnd(for reservation: Reservation, in lot: Lot) -> Millis? {
        let offers = reservation.offerId.flatMap { lot.offers[$0] }.map { [$0] } ?? lot.offers.values.filter(\.isBookable)
        let quiet = lot.policy(.shared).quiet
        return (offers.map { $0.quietHours + quiet } + [quiet]).compactMap { RecurringWindow.span($0, holding: reservation.planTime, calendar)?.to }.min()
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
            let known = reports[RecordKind(parkCode: draft.parkCode, kind: "space")] ?? [:]
            guard known.isEmpty || known[space] != nil else { return Decision(.refused(.unknownSpace)) }
            guard !lot.offers.values.contains(where: { $0.spaceNo == space && $0.status != .withdrawn && $0.status != .closed }) else {
                return Decision(.refused(.unknownSpace))
            }
        }
        guard lot.offers.count < City.offersMax else {
            return Decision(.illegalValue, RuleNote("offers", used: lot.offers.count, max: City.offersMax))
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

    /// When the lot's own shared places may be used: off-peak hours where no policy says otherwise (section 7, `shareWindow`).
    public func poolWindow(_ policy: Policy) -> [RecurringWindow] { defaultSegments(policy) }

    func defaultSegments(_ policy: Policy) -> [RecurringWindow] {
        policy.shareWindow.isEmpty ? RecurringWindow.offPeak : RecurringWindow.parse(policy.shareWindow) ?? RecurringWindow.offPeak
    }

    private mutating func announce(_ offer: SharedOffer, _ eventType: Int, at now: Millis, _ events: inout [Event]) {
        events.append(.notice(LotEvent(parkCode: offer.parkCode, eventType: eventType, occurredAt: now, detail: offer.offerId)))
        if offer.status == .open { noteFreed(offer.parkCode) }
    }

    mutating func review(_ parkCode: String, offerId: String, isPassed: Bool, remark: String, at now: Millis) -> Decision {
        guard let parkCode = lotOfShare[offerId], var offer = lots[parkCode]?.offers[offerId] else {
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

    /// New times must hold what is booked, or, confirmed, move it at the owner's cost (an early return for one evening); a new price is for new
    /// bookings.
    mutating func updateOffer(
        appId: String, _ offerId: String, segments: [RecurringWindow]?, price: SharePrice?, isConfirmed: Bool, at now: Millis
    ) -> Decision {
        guard let parkCode = lotOfShare[offerId], var offer = lots[parkCode]?.offers[offerId], offer.appId == appId else {
            return Decision(.refused(.notFound))
        }
        if offer.status == .closed || offer.status == .withdrawn { return Decision(.refused(.offerClosed)) }
        if let segments, isConfirmed {
            let (reservations, subscriptions) = affected(by: offer, at: now)
            let (hit, hitShares) = outside(segments, reservations, subscriptions, at: now)
            offer.segments = segments
            if let price { offer.price = price }
            offer.version += 1
            var events: [Event] = []
            set(.offer(offer), &events)
            move(hit, hitShares, outOf: offer, at: now, &events)
            return Decision(.entity(.offer(offer)), events)
        }
        if let segments {
            let (reservations, subscriptions) = affected(by: offer, at: now)
            let (hit, hitShares) = outside(segments, reservations, subscriptions, at: now)
            guard hit.isEmpty, hitShares.isEmpty else { return consequences(offer, hit, hitShares, at: now) }
            offer.segments = segments
        }
        if let price { offer.price = price }
        offer.version += 1
        if offer.status == .draft { offer.status = .underReview }
        var events: [Event] = []
        set(.offer(offer), &events)
        return Decision(.entity(.offer(offer)), events)
    }

    /// Of what is booked, what new times would not hold.
    private func outside(_ segments: [RecurringWindow], _ reservations: [Reservation], _ subscriptions: [SharedSubscription], at now: Millis) -> (
        reservations: [Reservation], subscriptions: [SharedSubscription]
    ) {
        (
            reservations.filter { !RecurringWindow.covers(segments, from: $0.enterStart, to: $0.expectedLeave, calendar) },
            subscriptions.filter { share in
                !times(of: share, from: now).allSatisfy { RecurringWindow.covers(segments, from: $0.from, to: $0.to, calendar) }
            }
        )
    }

    /// Who is booked into an offer from now on, beside cars that are inside.
    private func affected(by offer: SharedOffer, at now: Millis) -> (reservations: [Reservation], subscriptions: [SharedSubscription]) {
        guard let lot = lots[offer.parkCode] else { return ([], []) }
        return (
            lot.reservations.values.filter { $0.offerId == offer.offerId && $0.status.isActive }.sorted { $0.serial < $1.serial },
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
        let (reservations, subscriptions) = affected(by: offer, at: now)
        if !isConfirmed, !reservations.isEmpty || !subscriptions.isEmpty {
            return consequences(offer, reservations, subscriptions, at: now)
        }
        var events: [Event] = []
        let closed = withdraw(offer, reservations, subscriptions, as: .closed, at: now, &events)
        return Decision(.entity(.offer(closed)), events)
    }

    private mutating func withdraw(
        _ offer: SharedOffer, _ reservations: [Reservation], _ subscriptions: [SharedSubscription], as status: OfferStatus, at now: Millis,
        _ events: inout [Event]
    ) -> SharedOffer {
        var offer = offer
        offer.status = status
        offer.version += 1
        set(.offer(offer), &events)
        announce(offer, 3002, at: now, &events)
        move(reservations, subscriptions, outOf: offer, at: now, &events)
        return offer
    }

    /// Whom a change would hit, and what it would cost its owner: found by doing it to a copy.
    private func consequences(
        _ offer: SharedOffer, _ reservations: [Reservation], _ subscriptions: [SharedSubscription], at now: Millis
    ) -> Decision {
        var trial = self
        var events: [Event] = []
        var closed = offer
        closed.status = .closed
        trial.set(.offer(closed), &events)
        trial.move(reservations, subscriptions, outOf: offer, at: now, &events)
        let payer = payer(of: offer)
        let cost = trial.balances[payer, default: 0] - balances[payer, default: 0]
        return Decision(.consequences(offer, reservations: reservations, subscriptions: subscriptions, costFen: cost))
    }

    /// Who bears what an offer's owner causes.
    func payer(of offer: SharedOffer) -> Account {
        offer.providerToken.isEmpty ? .lot(offer.parkCode) : .owner(offer.appId, offer.providerToken)
    }

    private mutating func move(
        _ reservations: [Reservation], _ subscriptions: [SharedSubscription], outOf offer: SharedOffer, at now: Millis, _ events: inout [Event]
    ) {
        for reservation in reservations {
            guard let reservation = lots[reservation.parkCode]?.reservations[reservation.orderNo] else { continue }
            if reservation.status == .inLot {
                events.append(
                    .notice(
                        LotEvent(
                            parkCode: offer.parkCode, eventType: 3006, occurredAt: now, orderNo: reservation.orderNo, recordNo: reservation.recordNo,
                            detail: offer.offerId)))
            } else {
                displace(reservation, payer: payer(of: offer), at: now, &events)
            }
        }
        for subscription in subscriptions {
            let settled = giveBackRest(of: subscription, payer: payer(of: offer), at: now, &events)
            end(settled, as: .cancelled, reason: "offer closed", at: now, &events)
        }
    }

    /// Offers of one lot, and places that all of them stand for.
    static let offersMax = 10_000
    static let offeredPlacesMax = 1_000_000_000

    mutating func report(_ parkCode: String, _ offers: [SharedOffer], gone: [String], at now: Millis, history: some History) -> Decision {
        guard let lot = lots[parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        for offer in offers {
            let known = reports[RecordKind(parkCode: parkCode, kind: "space")] ?? [:]
            if let space = offer.spaceNo {
                guard known.isEmpty || known[space] != nil else { return Decision(.refused(.unknownSpace)) }
                guard !lot.offers.values.contains(where: { $0.spaceNo == space && $0.offerId != offer.offerId && $0.isBookable }) else {
                    return Decision(.refused(.unknownSpace))
                }
            }
            // An owner's own offer is not the lot's to change, and no lot gives a number of the server's series.
            if let old = lot.offers[offer.offerId], !old.appId.isEmpty { return Decision(.refused(.wrongState)) }
            if City.isOwnNumber(offer.offerId) { return Decision(.illegalValue, RuleNote("offerId")) }
        }
        let fresh = offers.filter { lot.offers[$0.offerId] == nil }.count
        if lot.offers.count + fresh > City.offersMax {
            return Decision(.illegalValue, RuleNote("offers", used: lot.offers.count + fresh, max: City.offersMax))
        }
        let changed = Set(offers.map { ByteKey($0.offerId) })
        let places =
            lot.offers.values.reduce(0) { $0 + ($1.isBookable && !changed.contains(ByteKey($1.offerId)) ? $1.unitCount : 0) }
            + offers.reduce(0) { $0 + $1.unitCount }
        if places > City.offeredPlacesMax { return Decision(.illegalValue, RuleNote("count", used: places, max: City.offeredPlacesMax)) }
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
            let (reservations, subscriptions) = affected(by: offer, at: now)
            _ = withdraw(offer, reservations, subscriptions, as: .withdrawn, at: now, &events)
        }
        return Decision(.filed(offers.count + gone.count), events)
    }
}
