// Offers of owners: publication, review, change, withdrawal.
extension City {
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
            let known = records[RecordKind(parkCode: draft.parkCode, kind: "space")]
            guard known.isEmpty || known[space] != nil else { return Decision(.refused(.unknownSpace)) }
            guard !lot.offers.values.contains(where: { $0.spaceNo == space && $0.status != .withdrawn && $0.status != .closed }) else {
                return Decision(.refused(.unknownSpace))
            }
        }
        guard lot.offers.count < City.offersMax else {
            return Decision(.illegalValue, RuleNote("offers", used: lot.offers.count, max: City.offersMax))
        }
        let number = numbers.next(.share)
        offer.offerId = "SO" + CivilTime.text(ofDay: CivilTime.day(of: now), separator: "") + CivilTime.pad(number, 8)
        if offer.segments.isEmpty { offer.segments = defaultSegments(policy) }
        offer.status = policy.shareReview == 1 ? .underReview : .open
        var events: [Event] = []
        set(.offer(offer), &events)
        if offer.status == .open { announce(offer, 3001, at: now, &events) }
        return Decision(.entity(.offer(offer)), events)
    }

    /// The hours in which the lot's own shared places may be used: off-peak where no policy says otherwise (section 7, `shareWindow`).
    public func poolWindow(_ policy: Policy) -> [RecurringWindow] { defaultSegments(policy) }

    func defaultSegments(_ policy: Policy) -> [RecurringWindow] {
        policy.shareWindow.isEmpty ? RecurringWindow.offPeak : RecurringWindow.parse(policy.shareWindow) ?? RecurringWindow.offPeak
    }

    private mutating func announce(_ offer: SharedOffer, _ eventType: Int, at now: Millis, _ events: inout [Event]) {
        events.append(.notice(LotEvent(parkCode: offer.parkCode, eventType: eventType, occurredAt: now, detail: offer.offerId)))
        if offer.status == .open { noteFreed(offer.parkCode) }
    }

    mutating func review(_ parkCode: String, offerId: String, isPassed: Bool, remark: String, at now: Millis) -> Decision {
        guard let lotOfOffer = lotIndex.lot(ofShare: offerId), parkCode.isEmpty || parkCode == lotOfOffer,
            var offer = lots[lotOfOffer]?.offers[offerId]
        else {
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

    /// Changes an offer. New times must hold the bookings or, if the owner confirms, move them at the owner's cost (an early return for one
    /// evening). A new price is for new bookings.
    mutating func updateOffer(
        appId: String, _ offerId: String, segments: [RecurringWindow]?, price: SharePrice?, isConfirmed: Bool, at now: Millis
    ) -> Decision {
        guard let parkCode = lotIndex.lot(ofShare: offerId), var offer = lots[parkCode]?.offers[offerId], offer.appId == appId else {
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

    /// The reservations and subscriptions that new times would not hold.
    func outside(_ segments: [RecurringWindow], _ reservations: [Reservation], _ subscriptions: [SharedSubscription], at now: Millis) -> (
        reservations: [Reservation], subscriptions: [SharedSubscription]
    ) {
        (
            reservations.filter { !RecurringWindow.covers(segments, from: $0.enterStart, to: $0.expectedLeave, calendar) },
            subscriptions.filter { share in
                !times(of: share, from: now).allSatisfy { RecurringWindow.covers(segments, from: $0.from, to: $0.to, calendar) }
            }
        )
    }

    /// The reservations and subscriptions in force in an offer from now on, those of cars inside among them.
    func affected(by offer: SharedOffer, at now: Millis) -> (reservations: [Reservation], subscriptions: [SharedSubscription]) {
        guard let lot = lots[offer.parkCode] else { return ([], []) }
        return (
            lot.reservations.values.filter { $0.offerId == offer.offerId && $0.status.isActive }.sorted { $0.serial < $1.serial },
            lot.subscriptions.values.filter { $0.offerId == offer.offerId && $0.status.holds }.sorted { $0.authNo < $1.authNo }
        )
    }

    /// Closes an offer before its end. The owner first sees the bookings that this hits, and then confirms it. A driver who is inside stays
    /// until their time is up; a driver who has booked is re-homed at the owner's cost.
    /// - Parameter isPreview: nothing is changed; the answer says whom the closing would hit.
    mutating func closeOffer(
        appId: String, _ offerId: String, isConfirmed: Bool, isPreview: Bool, at now: Millis, past: Past
    ) -> Decision {
        guard let parkCode = lotIndex.lot(ofShare: offerId), let offer = lots[parkCode]?.offers[offerId], offer.appId == appId else {
            return Decision(.refused(.notFound))
        }
        if offer.status == .closed || offer.status == .withdrawn { return Decision(.refused(.offerClosed)) }
        let (reservations, subscriptions) = affected(by: offer, at: now)
        if isPreview || !isConfirmed && (!reservations.isEmpty || !subscriptions.isEmpty) {
            return consequences(offer, reservations, subscriptions, at: now)
        }
        var events: [Event] = []
        let closed = withdraw(offer, reservations, subscriptions, as: .closed, at: now, &events)
        return Decision(.entity(.offer(closed)), events)
    }

    mutating func withdraw(
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

    /// The bookings that a change would hit, and its cost for the owner. The cost is found by making the change in a copy of the city.
    func consequences(
        _ offer: SharedOffer, _ reservations: [Reservation], _ subscriptions: [SharedSubscription], at now: Millis
    ) -> Decision {
        var trial = self
        var events: [Event] = []
        var closed = offer
        closed.status = .closed
        trial.set(.offer(closed), &events)
        trial.move(reservations, subscriptions, outOf: offer, at: now, &events)
        let payer = payer(of: offer)
        let cost = trial.money.balance(payer) - money.balance(payer)
        return Decision(.consequences(offer, reservations: reservations, subscriptions: subscriptions, costFen: cost))
    }

    /// The account that pays the costs that an offer's owner causes.
    func payer(of offer: SharedOffer) -> Account {
        offer.providerToken.isEmpty ? .lot(offer.parkCode) : .owner(offer.appId, offer.providerToken)
    }

    mutating func move(
        _ reservations: [Reservation], _ subscriptions: [SharedSubscription], outOf offer: SharedOffer, at now: Millis,
        _ events: inout [Event]
    ) {
        for reservation in reservations {
            guard let reservation = lots[reservation.parkCode]?.reservations[reservation.orderNo] else { continue }
            if reservation.status == .inLot {
                events.append(
                    .notice(
                        LotEvent(
                            parkCode: offer.parkCode, eventType: 3006, occurredAt: now, orderNo: reservation.orderNo,
                            recordNo: reservation.recordNo,
                            detail: offer.offerId)))
            } else {
                displace(reservation, payer: payer(of: offer), at: now, &events)
            }
        }
        for subscription in subscriptions {
            let settled = giveBackRest(of: subscription, payer: payer(of: offer), at: now, &events)
            end(settled, as: .cancelled, reason: "offerClosed", at: now, &events)
        }
    }

    /// The most offers of one lot, and the most places of all of them together.
    static let offersMax = 10_000

    static let offeredPlacesMax = 1_000_000_000

    mutating func report(_ parkCode: String, _ offers: [SharedOffer], gone: [String], at now: Millis, past: Past) -> Decision {
        guard let lot = lots[parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        for offer in offers {
            let known = records[RecordKind(parkCode: parkCode, kind: "space")]
            if let space = offer.spaceNo {
                guard known.isEmpty || known[space] != nil else { return Decision(.refused(.unknownSpace)) }
                guard !lot.offers.values.contains(where: { $0.spaceNo == space && $0.offerId != offer.offerId && $0.isBookable }) else {
                    return Decision(.refused(.unknownSpace))
                }
            }
            // A lot may not change an owner's own offer, and may not give a number of the server's series.
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
