// Refusals for want of room, and the search for room elsewhere.
extension City {
    /// A "full" answer, with the nearest lots that have room in the same window.
    func full(_ refusal: Rejection, _ reservation: Reservation, note: RuleNote? = nil, policy: Policy, at now: Millis) -> Decision {
        var decision = Decision(.refused(refusal))
        decision.note = note
        switch refusal {
        case .noBookableSpace, .poolEmpty, .saturated, .publicQuotaUsedUp, .flowControlActive, .outsideSegment, .waitlistClosed,
            .waitlistFull:
            decision.alternatives = alternatives(to: reservation, policy: policy, at: now)
        default: break
        }
        if note == nil {
            let offer = reservation.offerId.flatMap { lots[known: reservation.parkCode].offers[$0] }
            switch refusal {
            case .noBookableSpace where offer != nil:
                guard let offer else { break }
                let lot = lots[known: reservation.parkCode]
                let free = lot.spaces.free(of: offer, from: max(now, reservation.enterStart), to: reservation.expectedLeave) { _ in false }
                let taken = offer.unitCount - free
                decision.note = RuleNote("offer \(offer.offerId)", used: taken, max: offer.unitCount, until: reservation.expectedLeave)
            case .noBookableSpace, .poolEmpty:
                let lot = lots[known: reservation.parkCode]
                let quota = lot.quota(reservation.pool, at: max(now, reservation.enterStart))
                decision.note = RuleNote(
                    reservation.pool.rawValue,
                    used: lot.peak(reservation.pool, from: reservation.enterStart, to: reservation.expectedLeave, now: now), max: quota)
            case .publicQuotaUsedUp:
                // From the day itself on, places are released by what the gates count.
                decision.note = RuleNote(
                    Pool.publicService.rawValue, until: CivilTime.start(ofDay: CivilTime.day(of: reservation.planTime)))
            case .saturated:
                let lot = lots[known: reservation.parkCode]
                let total = lot.profile?.totalCount ?? 0
                let room = lot.rollingRoom(from: reservation.enterStart, to: reservation.expectedLeave, now: now)
                decision.note = RuleNote("saturation", used: max(lot.occupied, total - room), max: total, until: reservation.expectedLeave)
            case .outsideSegment:
                decision.note = RuleNote("segments", until: opening(for: reservation, in: lots[known: reservation.parkCode]))
            case .quietHours:
                decision.note = RuleNote("quietHours", until: quietEnd(for: reservation, in: lots[known: reservation.parkCode]))
            default: break
            }
        }
        return decision
    }

    /// The nearest lots with room for the same window, by distance. Visitors of a hospital are also offered shared places nearby (R6).
    public func alternatives(to reservation: Reservation, policy: Policy, at now: Millis) -> [Alternative] {
        let purposes: [Purpose] = reservation.purpose == .publicService ? [.reservation, .shared] : [reservation.purpose]
        let (from, to) = (reservation.enterStart, reservation.expectedLeave)
        return elsewhere(
            reservation.parkCode, purposes, policy: policy, planTime: reservation.planTime,
            freeMin: reservation.purpose == .publicService ? policy.bizFreeMin : 0, at: now
        ) { lot, profile, purpose in
            if purpose != .shared, !lot.hasRoom(purpose.pool, from: from, to: to, now: now) { return false }
            guard refuseTime(reservation.planTime, lot: lot, profile: profile, purpose: purpose, at: now) == nil else { return false }
            guard purpose == .shared || !flows.isEmpty else { return true }
            var probe = reservation
            probe.parkCode = lot.parkCode
            probe.purpose = purpose
            probe.pool = purpose.pool
            probe.spaceNo = nil
            if purpose == .shared,
                case .failure = sharedPlace(for: &probe, offerId: nil, stayMin: reservation.stayMin, lot: lot, at: now)
            {
                return false
            }
            return flowDemands(on: probe, at: now).refusal == nil
        }
    }

    /// The one search for room elsewhere: of reservations, of reservations that lose their space, and of subscriptions.
    /// - Parameter fits: whether a lot that does this business has room; it gets the lot with its holds as they are now.
    func elsewhere(
        _ parkCode: String, _ purposes: [Purpose], policy: Policy, planTime: Millis, freeMin: Int, at now: Millis,
        fits: (Lot, LotProfile, Purpose) -> Bool
    ) -> [Alternative] {
        guard policy.alternativesMax > 0, let here = lots[parkCode]?.profile?.position else { return [] }
        var found: [Alternative] = []
        for candidate in directory.grid.nearest(to: here, within: policy.alternativesMetres) where candidate.parkCode != parkCode {
            guard found.count < policy.alternativesMax else { break }
            let fitting: (name: String, purpose: Purpose)? =
                lots.withLot(candidate.parkCode) { lot in
                    guard let profile = lot.profile else { return nil }
                    func look(_ lot: Lot) -> Purpose? {
                        purposes.first { profile.enabled.contains($0) && isOpened(lot, for: $0) && fits(lot, profile, $0) }
                    }
                    if lot.isCurrent(at: now) { return look(lot).map { (profile.name, $0) } }
                    var current = lot
                    current.advance(to: now)
                    return look(current).map { (profile.name, $0) }
                } ?? nil
            guard let fitting else { continue }
            found.append(
                Alternative(
                    parkCode: candidate.parkCode, name: fitting.name, purpose: fitting.purpose, metres: candidate.metres,
                    walkMin: (candidate.metres * 13 / 10 + policy.walkMetresPerMin - 1) / policy.walkMetresPerMin, planTime: planTime,
                    freeMin: freeMin))
        }
        return found
    }
}
