// The choice of a shared place for a stay.
extension City {
    struct SharedPlace {
        var offer: SharedOffer?
        var space: String?
    }

    /// The fit of a booking into open times: its entry window, its time to leave, and the open time that holds both.
    private struct SharedFit {
        var window: Window
        var leave: Millis
        var open: Window
    }

    /// Fits entry and exit into one open time, before the space is taken back and outside quiet hours.
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
                // The car cannot drive out in quiet hours, so it has to leave before them.
                if span.from > plan, span.from <= leave, leave < span.to { leave = span.from }
            }
        }
        guard leave > plan else { return .failure(.outsideSegment) }
        return .success(SharedFit(window: window, leave: leave, open: open))
    }

    /// The key of open times; those that many offers share are computed once.
    private struct OpenTimes: Hashable {
        var segments: [RecurringWindow]
        var quiet: [RecurringWindow]
        var until: Millis
    }

    /// The offers that can hold a booking, each with its fit, and the reason for which the others cannot.
    private func fitting(_ offers: some Sequence<SharedOffer>, plan: Millis, stay: Millis, policy: Policy) -> (
        fits: [(offer: SharedOffer, fit: SharedFit)], worst: Rejection
    ) {
        var worst = Rejection.outsideSegment
        var known: [OpenTimes: Result<SharedFit, Rejection>] = [:]
        var fits: [(SharedOffer, SharedFit)] = []
        let quiet = policy.quiet
        for offer in offers where offer.isBookable && offer.validFrom <= plan && plan < offer.validTo {
            // An end long after the stay does not matter, so it is cut off and more offers share their open times.
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

    /// The place that a reservation could get: of the offer it names, else the offered space that it cuts up least, else the lot's own
    /// shared pool. Its window and its time to leave are cut to the times in which that place is shared.
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
            worst == .noBookableSpace && lot.isNamed(.shared, from: reservation.enterStart, to: reservation.expectedLeave)
                ? .poolEmpty : worst)
    }

    /// The fit of a booking into the lot's own shared pool.
    private func poolFit(_ plan: Millis, _ stay: Millis, _ policy: Policy) -> Result<SharedFit, Rejection> {
        fit(poolWindow(policy), policy.quiet, until: .max / 4, plan: plan, stay: stay, policy: policy)
    }

    /// The number of shared places that could still be booked for a reservation's time (`slot.query`).
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
            worst == .noBookableSpace && lot.isNamed(.shared, from: reservation.enterStart, to: reservation.expectedLeave)
                ? .poolEmpty : worst)
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

    /// The next time, within a fortnight, at which a place that the reservation asks for is shared.
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

    /// The end of the quiet hours in which the reservation's time lies.
    func quietEnd(for reservation: Reservation, in lot: Lot) -> Millis? {
        let offers = reservation.offerId.flatMap { lot.offers[$0] }.map { [$0] } ?? lot.offers.values.filter(\.isBookable)
        let quiet = lot.policy(.shared).quiet
        return (offers.map { $0.quietHours + quiet } + [quiet]).compactMap {
            RecurringWindow.span($0, holding: reservation.planTime, calendar)?.to
        }.min()
    }
}
