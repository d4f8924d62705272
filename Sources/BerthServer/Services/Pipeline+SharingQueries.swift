import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Synchronization

// Queries about shared places, their income, and the quotas of public places.
extension Pipeline {
    /// A14: the products of a lot that can be subscribed to.
    func shareProductList(_ ask: RuleAsk) throws(WireError) {
        let (fields, now) = (ask.fields, ask.now)
        let lot = try Decode.parkCode(fields)
        read(ask) { city in Pipeline.products(city, lot, now: now) }
    }

    /// The subscriptions of a user, or of lots with masked plates.
    func shareList(_ ask: RuleAsk) throws(WireError) {
        let (fields, appId, isOperator) = (ask.fields, ask.appId, ask.isOperator)
        // A provider sees what its own users have, an operator the subscriptions of lots with masked plates.
        let user = try fields.optionalString("userToken", max: 64)
        let lot = try fields.optionalString("parkCode", max: 32)
        if !isOperator, user == nil { throw fields.missing("userToken") }
        read(ask) { city in
            let found = ask.lots(of: city, named: lot).flatMap(\.subscriptions.values).filter {
                (isOperator || $0.appId == appId) && (user == nil || $0.userToken == user)
            }.sorted { ($0.validTo, $0.authNo) > ($1.validTo, $1.authNo) }
            return Reply(data: [
                "subscriptions": .array(
                    found.prefix(Limits.ruleRowsMax).map { Encode.share($0, feeFen: city.openFee(of: $0), revealsPlates: !isOperator) })
            ])
        }
    }

    /// The offers of an owner, or of lots.
    func shareOfferList(_ ask: RuleAsk) throws(WireError) {
        let (fields, appId, isOperator) = (ask.fields, ask.appId, ask.isOperator)
        let owner = try fields.optionalString("providerToken", max: 64)
        let lot = try fields.optionalString("parkCode", max: 32)
        if !isOperator, owner == nil { throw fields.missing("providerToken") }
        read(ask) { city in
            let found = ask.lots(of: city, named: lot).flatMap(\.offers.values).filter {
                (isOperator || $0.appId == appId) && (owner == nil || $0.providerToken == owner)
            }.sorted { $0.offerId > $1.offerId }
            return Reply(data: ["offers": .array(found.prefix(Limits.ruleRowsMax).map(Encode.offer))])
        }
    }

    /// The income of an owner.
    func shareIncomeQuery(_ ask: RuleAsk) throws(WireError) {
        let (request, fields, completion) = (ask.request, ask.fields, ask.completion)
        let appId = try Pipeline.party(request, fields)
        let token = try fields.string("providerToken", max: 64)
        let from = try fields.optionalTime("from") ?? 0
        let to = try fields.optionalTime("to") ?? WireLimits.intMax
        let account = Account.owner(appId, token)
        fromDisk(completion) { [sequencer, store] () throws(StoreError) in
            let rows = try store.ledger(account, from: from, to: to, limit: Limits.ruleRowsMax).rows
            let (offers, balance) = sequencer.readUndurable { city in
                (
                    city.lots.values.flatMap { $0.offers.values }.filter { $0.appId == appId && $0.providerToken == token }
                        .sorted { $0.offerId < $1.offerId }, -(city.balances[account] ?? 0)
                )
            }
            return Reply(data: [
                // The amounts still to come, and the amount that a refund after a withdrawal left to be given back.
                "balance": .int(max(0, balance)), "owed": .int(max(0, -balance)),
                "offers": .array(
                    offers.prefix(Limits.ruleRowsMax).map {
                        .compact([
                            ("offerId", .string($0.offerId)), ("parkCode", .string($0.parkCode)), ("spaceNo", .optional($0.spaceNo)),
                            ("offerStatus", .int($0.status.rawValue)),
                        ])
                    }),
                "rows": .array(rows.map { Pipeline.ledgerRow($0, sign: -1) }),
            ])
        }
    }

    /// The use of a place's quota on one day; the windows are computed without the city's lock.
    func bizQuotaQuery(_ ask: RuleAsk) throws(WireError) {
        let (fields, now, completion) = (ask.fields, ask.now, ask.completion)
        let place = try fields.string("placeCode", max: 32)
        let day = try Decode.day(fields, "date")
        let aside = Mutex<([City.PlaceQuota], [String: City])>(([], [:]))
        sequencer.read(
            nil,
            { city in
                let quotas = city.quota(ofPlace: place, day: day, at: now)
                guard !quotas.isEmpty else { return Reply(WireError("notFound", "placeCode")) }
                var alone: [String: City] = [:]
                for quota in quotas { alone[quota.parkCode] = city.alone(quota.parkCode, day: day) }
                aside.withLock { [alone] in $0 = (quotas, alone) }
                return Reply()
            }
        ) { answer in
            guard answer.code == 0 else { return completion(answer) }
            let (quotas, cities) = aside.withLock { $0 }
            Blocking.run {
                completion(
                    Reply(data: [
                        "placeCode": .string(place), "date": .string(CivilTime.text(ofDay: day)),
                        "lots": .array(
                            quotas.map { quota in
                                let city = cities[quota.parkCode]
                                let windows = city?.slots(quota.parkCode, .publicService, day: day, now: now) ?? []
                                return [
                                    "parkCode": .string(quota.parkCode), "quota": .int(quota.quota), "kept": .int(quota.kept),
                                    "booked": .int(quota.booked), "without": .int(quota.without), "rolling": .int(quota.rolling),
                                    "windows": .array(windows.map { LotView.slot($0) }),
                                ]
                            }),
                    ]))
            }
        }
    }

    /// Offers and subscriptions that wait for a review.
    func shareReviewList(_ ask: RuleAsk) throws(WireError) {
        let (request, fields) = (ask.request, ask.fields)
        let lot = try fields.optionalString("parkCode", max: 32)
        try Pipeline.checkLot(lot, request)
        let own = Pipeline.shownLots(request)
        read(ask) { city in
            let lots = city.lots.values.filter { (lot == nil || $0.parkCode == lot) && (own?.contains($0.parkCode) ?? true) }
                .sorted { $0.parkCode < $1.parkCode }
            return Reply(data: [
                "offers": .array(
                    lots.flatMap { $0.offers.values.filter { $0.status == .underReview } }.prefix(Limits.ruleRowsMax).map { offer in
                        guard case .object(var row) = Encode.offer(offer) else { return [:] }
                        row.append("proofImages", .array(offer.proofs.map { .string($0) }))
                        row.append("agreementVersion", .string(offer.agreementVersion))
                        return .object(row)
                    }),
                "subscriptions": .array(
                    lots.flatMap { $0.subscriptions.values.filter { $0.status == .pending && $0.billNo == nil } }.prefix(
                        Limits.ruleRowsMax
                    )
                    .map { Encode.share($0, revealsPlates: false) }),
            ])
        }
    }
}
