import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Synchronization

// Services of the rules: waiting, standing, sharing, public service, flow control, the control room.
extension Pipeline {
    /// Adds to an accepted appointment its window for entry, which the lots' policies define, and to a flow policy its present mode.
    func enrich(_ answer: Reply, to asked: JSONObject, service: String, city: City, now: Millis) -> Reply {
        if service == "flow.policy.set" {
            guard answer.code == 0, case .object(var row) = answer.data,
                let policyId = row["policyId"]?.stringValue,
                let policy = city.flows[
                    City.FlowKey(
                        parkCode: Pipeline.name(asked, "parkCode"), areaId: Pipeline.name(asked, "areaId"), policyId: policyId)]
            else { return answer }
            let mode = policy.mode(at: now, city.calendar)
            row.append("inForce", .bool(mode != .off))
            row.append("modeNow", .int(mode.rawValue))
            return Reply(data: .object(row))
        }
        guard service.hasPrefix("biz.appointment."), answer.code == 0, case .object(var row) = answer.data,
            let time = row["appointTime"]?.intValue
        else { return answer }
        let parkCodes = city.lots(ofPlace: row["placeCode"]?.stringValue ?? "")
        let parkCode = row["parkCode"]?.stringValue ?? parkCodes.first
        guard let parkCode, city.lots[parkCode] != nil else { return answer }
        let known = row["extNo"]?.stringValue.flatMap { extNo in
            city.appointments.values.first { $0.extNo == extNo && $0.placeCode == row["placeCode"]?.stringValue && $0.appointTime == time }
        }
        let terms = known.map { city.terms(of: $0, at: parkCode) } ?? RightTerms(city.lots[parkCode]!.policy(.publicService))
        row.append("parkCodes", .array(parkCodes.map { .string($0) }))
        row.append("enterStart", .int(time - Millis(terms.beforeMin) * CivilTime.minute))
        row.append("enterEnd", .int(time + Millis(terms.afterMin) * CivilTime.minute))
        if row["granted"]?.boolValue == false, row["state"]?.stringValue == "made" {
            row.append("rollingFrom", .int(CivilTime.start(ofDay: CivilTime.day(of: time))))
        }
        var answer = answer
        answer.data = .object(row)
        return answer
    }

    /// As the decoder read it: without white space around it.
    private static func name(_ asked: JSONObject, _ field: String) -> String {
        (try? FieldReader(asked).optionalString(field, max: 32)).flatMap { $0 } ?? ""
    }

    /// A query of the rules; false for every other one.
    func ruleQuery(
        _ request: VerifiedRequest, _ fields: FieldReader, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) -> Bool {
        let appId = request.envelope.appId
        let isOperator = request.credential.role == .operator
        let store = store
        func read(_ body: (inout City) -> Reply) { sequencer.read(nil, body, completion: completion) }
        switch request.envelope.service {
        case "waitlist.list":
            let user = try fields.optionalString("userToken", max: 64)
            let lot = try fields.optionalString("parkCode", max: 32)
            read { city in
                let lots = lot.map { city.lots[$0].map { [$0] } ?? [] } ?? Array(city.lots.values)
                let rows = lots.sorted { $0.parkCode < $1.parkCode }.flatMap { lot in
                    lot.waiting.enumerated().filter {
                        (isOperator || $0.element.appId == appId) && (user == nil || user == $0.element.userToken)
                    }.map { position, reservation -> JSON in
                        [
                            "orderNo": .string(reservation.orderNo), "parkCode": .string(reservation.parkCode),
                            "planTime": .int(reservation.planTime),
                            "waitPosition": .int(position + 1), "closesAt": .int(reservation.holdDeadline ?? 0),
                            "status": .int(reservation.status.rawValue),
                            "userToken": .string(reservation.userToken),
                        ]
                    }
                }
                return Reply(data: ["orders": .array(Array(rows.prefix(Limits.ruleRowsMax)))])
            }
        case "share.product.list":
            let lot = try Decode.parkCode(fields)
            read { city in Pipeline.products(city, lot, now: now) }
        case "share.list":
            // A provider sees what its own users have, an operator the subscriptions of lots with masked plates.
            let user = try fields.optionalString("userToken", max: 64)
            let lot = try fields.optionalString("parkCode", max: 32)
            if !isOperator, user == nil { throw fields.missing("userToken") }
            let own = Pipeline.lots(of: request.credential)
            read { city in
                let lots = city.lots.values.filter { (lot == nil || $0.parkCode == lot) && (own?.contains($0.parkCode) ?? true) }
                let found = lots.flatMap(\.subscriptions.values).filter {
                    (isOperator || $0.appId == appId) && (user == nil || $0.userToken == user)
                }.sorted { ($0.validTo, $0.authNo) > ($1.validTo, $1.authNo) }
                return Reply(data: [
                    "subscriptions": .array(
                        found.prefix(Limits.ruleRowsMax).map { Encode.share($0, feeFen: city.openFee(of: $0), revealsPlates: !isOperator) })
                ])
            }
        case "share.offer.list":
            let owner = try fields.optionalString("providerToken", max: 64)
            let lot = try fields.optionalString("parkCode", max: 32)
            if !isOperator, owner == nil { throw fields.missing("providerToken") }
            let own = Pipeline.lots(of: request.credential)
            read { city in
                let lots = city.lots.values.filter { (lot == nil || $0.parkCode == lot) && (own?.contains($0.parkCode) ?? true) }
                let found = lots.flatMap(\.offers.values).filter {
                    (isOperator || $0.appId == appId) && (owner == nil || $0.providerToken == owner)
                }.sorted { $0.offerId > $1.offerId }
                return Reply(data: ["offers": .array(found.prefix(Limits.ruleRowsMax).map(Encode.offer))])
            }
        case "share.income.query":
            let appId = try Pipeline.party(request, fields)
            let token = try fields.string("providerToken", max: 64)
            let from = try fields.optionalTime("from") ?? 0
            let to = try fields.optionalTime("to") ?? WireLimits.intMax
            let account = Account.owner(appId, token)
            fromDisk(completion) { [sequencer] () throws(StoreError) in
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
        case "biz.quota.query":
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
        case "policy.query":
            let lot = try fields.optionalString("parkCode", max: 32)
            let purpose = Purpose(rawValue: Int(try fields.optionalInt("bizType", in: 1...3) ?? 1))!
            read { city in
                if let lot, city.lots[lot] == nil { return Reply(WireError("lotNotRegistered")) }
                let scopes = city.overrides.values.sorted { $0.scope < $1.scope }.prefix(10_000)
                return Reply(
                    data: .compact([
                        (
                            "scopes",
                            .array(
                                scopes.map {
                                    [
                                        "scope": .string($0.scope), "version": .int($0.version), "at": .int($0.at),
                                        "values": Encode.values($0.values),
                                    ]
                                })
                        ),
                        (
                            "inForce",
                            Encode.values(lot.flatMap { city.lots[$0]?.policy(purpose) } ?? city.usualPolicy(purpose))
                        ),
                    ]))
            }
        case "flow.policy.preview":
            let policy = try Decode.flow(request.envelope.data, parkCode: nil)
            read { city in
                let parkCodes = policy.areaId.isEmpty ? [policy.parkCode] : city.areas[policy.areaId]?.parkCodes ?? []
                guard !parkCodes.isEmpty, parkCodes.allSatisfy({ city.lots[$0] != nil }) else { return Reply(WireError("notFound")) }
                let reservations = city.affected(by: policy, at: now)
                var without = 0
                let looked = reservations.prefix(Limits.previewLooksMax)
                let rows = looked.map { reservation -> JSON in
                    let others = city.alternatives(
                        to: reservation, policy: city.lots[reservation.parkCode]!.policy(reservation.purpose), at: now
                    )
                    .filter { !parkCodes.contains($0.parkCode) }
                    if others.isEmpty { without += 1 }
                    return [
                        "orderNo": .string(reservation.orderNo), "parkCode": .string(reservation.parkCode),
                        "planTime": .int(reservation.planTime),
                        "alternatives": .int(others.count),
                    ]
                }
                let inWindow = max(reservations.count, city.countInWindow(of: policy, at: now))
                var probe = policy
                probe.isOn = policy.isOn(atPerMille: city.saturation(of: parkCodes))
                return Reply(data: [
                    "affected": .int(reservations.count), "looked": .int(looked.count), "without": .int(without),
                    "inWindow": .int(inWindow),
                    "shortened": .int(policy.mode == .closed && !policy.isBySaturation ? inWindow - reservations.count : 0),
                    "orders": .array(rows),
                    // By saturation: those that it would hit if it switched on now.
                    "inForce": .bool(probe.isInForce(at: now, city.calendar)),
                    "saturationPct": .int(city.saturation(of: parkCodes) / 10),
                    "pools": .array(
                        city.poolDemands(on: policy, at: now).map {
                            [
                                "pool": .string($0.pool.rawValue), "count": .int($0.count), "booked": .int($0.booked),
                                "excess": .int($0.excess), "parkCode": .string($0.parkCode),
                            ]
                        }),
                ])
            }
        case "flow.area.list":
            read { city in
                Reply(data: [
                    "areas": .array(
                        city.areas.values.sorted { $0.areaId < $1.areaId }.prefix(Limits.ruleRowsMax).map {
                            [
                                "areaId": .string($0.areaId), "name": .string($0.name),
                                "parkCodes": .array($0.parkCodes.map { .string($0) }),
                            ]
                        })
                ])
            }
        case "policy.preview": try policyPreview(request, fields, now: now, completion: completion)
        case "flow.policy.list":
            let lot = try fields.optionalString("parkCode", max: 32)
            let area = try fields.optionalString("areaId", max: 32)
            read { city in
                let policies = lot.map { city.flows(of: $0) } ?? Array(city.flows.values)
                return Reply(data: [
                    "policies": .array(
                        policies.filter { area == nil || $0.areaId == area }
                            .sorted { ($0.areaId, $0.parkCode, $0.policyId) < ($1.areaId, $1.parkCode, $1.policyId) }.prefix(
                                Limits.ruleRowsMax
                            )
                            .map { Encode.policy($0, at: now, city.calendar) })
                ])
            }
        case "saturation.query": try saturation(fields, now: now, completion: completion)
        case "share.review.list":
            let lot = try fields.optionalString("parkCode", max: 32)
            try Pipeline.checkLot(lot, request)
            let own = Pipeline.shownLots(request)
            read { city in
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
        case "credit.appeal.list":
            let state = try fields.optionalString("state", max: 16).flatMap { $0.isEmpty ? nil : $0 }
            if let state, Appeal.State(rawValue: state) == nil { throw WireError("illegalValue", "state") }
            let own = Pipeline.lots(of: request.credential)
            let user = try fields.optionalString("userToken", max: 64)
            read { city in
                let appeals = city.appeals.values.filter { appeal in
                    (user == nil || city.penalties[appeal.penaltyId]?.userToken == user) && (isOperator || appeal.appId == appId)
                        && (state == nil || appeal.state.rawValue == state)
                        && (own.map { own in city.penalties[appeal.penaltyId].map { own.contains($0.parkCode) } ?? false } ?? true)
                }
                .sorted { ($0.createdAt, $0.appealId) < ($1.createdAt, $1.appealId) }
                return Reply(data: [
                    "appeals": .array(
                        appeals.prefix(Limits.ruleRowsMax).map { appeal in
                            guard case .object(var row) = Encode.appeal(appeal) else { return [:] }
                            row.append("text", .string(appeal.text))
                            row.append("overdue", .bool(appeal.state == .open && now > appeal.answerBy))
                            if let penalty = city.penalties[appeal.penaltyId] {
                                row.append("evidence", .string(penalty.evidence))
                                row.append("kind", .string(penalty.kind.rawValue))
                                row.append("parkCode", .string(penalty.parkCode))
                                row.append("orderNo", .string(penalty.orderNo))
                                row.append("at", .int(penalty.at))
                            }
                            return .object(row)
                        })
                ])
            }
        case "gate.case.list":
            let lot = try fields.optionalString("parkCode", max: 32)
            try Pipeline.checkLot(lot, request)
            let caseNo = try fields.optionalString("caseNo", max: 32)
            let shown = Pipeline.shownLots(request)
            let limit = Int(try fields.optionalInt("limit", in: 1...1000) ?? Int64(Limits.ruleRowsMax))
            let state = try fields.optionalString("state", max: 16).flatMap { $0.isEmpty ? nil : $0 }
            if let state, GateCase.State(rawValue: state) == nil { throw WireError("illegalValue", "state") }
            // Whole plates are shown to the caller, who has to tell them apart; the look is put on record first.
            looked(request, now: now, completion, isNew: looks.isNew(request, now: now)) { [sequencer] in
                sequencer.read(
                    nil, { city in Pipeline.cases(city, lot, shown, caseNo: caseNo, state: state, limit: limit) }, completion: completion)
            }
        case "ledger.statement.query": try statement(request, fields, parkCode, completion: completion)
        case "ledger.recon.query": try reconcile(request, fields, parkCode, completion: completion)
        default: return false
        }
        return true
    }

    private static func products(_ city: City, _ parkCode: String, now: Millis) -> Reply {
        guard let lot = city.lots[parkCode] else { return Reply(WireError("lotNotRegistered")) }
        guard let profile = lot.profile, profile.enabled.contains(.shared), city.isOpened(lot, for: .shared) else {
            return Reply(WireError("sharingNotEnabled"))
        }
        let policy = lot.policy(.shared)
        var rows: [JSON] = []
        if lot.quota(.shared) > 0 {
            let window = city.poolWindow(policy)
            rows.append(
                .compact([
                    ("kind", "pool"), ("count", .int(lot.quota(.shared, at: now))), ("segments", Encode.segments(window)),
                    (
                        "price",
                        policy.shareMonthlyFen > 0 ? ["mode": 3, "amount": .int(policy.shareMonthlyFen)] : .null
                    ), ("lateGraceMin", .int(policy.shareLateGraceMin)),
                ]))
        }
        for offer in lot.offers.values.sorted(by: { $0.offerId < $1.offerId }) where offer.isBookable && now < offer.validTo {
            guard case .object(var row) = Encode.offer(offer) else { continue }
            row.append("kind", "space")
            row.append("lateGraceMin", .int(policy.shareLateGraceMin))
            rows.append(.object(row))
        }
        return Reply(data: ["products": .array(Array(rows.prefix(Limits.ruleRowsMax)))])
    }

    /// - Parameters:
    ///   - parkCode: one lot; nil for all that the caller may see.
    ///   - own: the lots of a caller that is limited to lots.
    private static func cases(_ city: City, _ parkCode: String?, _ own: Set<String>?, caseNo: String?, state: String?, limit: Int) -> Reply
    {
        if let parkCode, city.lots[parkCode] == nil { return Reply(WireError("lotNotRegistered")) }
        let cases = city.gateCases.values.filter { found in
            (parkCode.map { $0 == found.parkCode } ?? own?.contains(found.parkCode) ?? true)
                && (state == nil || found.state.rawValue == state) && (caseNo.map { $0 == found.caseNo } ?? true)
        }
        .sorted { $0.caseNo > $1.caseNo }.prefix(limit)
        return Reply(data: [
            "cases": .array(
                cases.map { gateCase in
                    let lot = city.lots[gateCase.parkCode]
                    return .compact([
                        ("caseNo", .string(gateCase.caseNo)), ("parkCode", .string(gateCase.parkCode)),
                        ("parkName", .string(lot?.profile?.name ?? "")), ("gateCode", .string(gateCase.gateCode)),
                        ("plateNo", .string(gateCase.plate.revealed)), ("at", .int(gateCase.at)),
                        ("state", .string(gateCase.state.rawValue)),
                        ("confidence", .optional(gateCase.confidence.map { Int64($0) })),
                        (
                            "candidates",
                            .array(
                                gateCase.candidates.map { number in
                                    let plates = lot?.reservations[number]?.plates ?? lot?.subscriptions[number]?.plates ?? []
                                    return .compact([
                                        ("orderNo", .string(number)), ("plateNos", .array(plates.map { .string($0.revealed) })),
                                        ("planTime", .optional(lot?.reservations[number]?.planTime)),
                                    ])
                                })
                        ), ("orderNo", .optional(gateCase.orderNo)), ("imageId", .optional(gateCase.imageId)),
                        ("recordNo", .optional(gateCase.recordNo)), ("decidedBy", .optional(gateCase.decidedBy)),
                    ])
                })
        ])
    }

    /// O06: saturation now, and by half hours.
    private func saturation(_ fields: FieldReader, now: Millis, completion: @escaping Sequencer.Completion) throws(WireError) {
        let area = try fields.optionalString("areaId", max: 32) ?? ""
        let lot = try fields.optionalString("parkCode", max: 32) ?? ""
        guard area.isEmpty != lot.isEmpty else { throw WireError("missingParameter", "parkCode or areaId") }
        let hours = try fields.optionalInt("hours", in: 1...48) ?? 6
        sequencer.read(
            nil,
            { city in
                let parkCodes = area.isEmpty ? [lot] : city.areas[area]?.parkCodes ?? []
                let lots = parkCodes.compactMap { city.lots[$0] }
                guard !lots.isEmpty else { return Reply(WireError(area.isEmpty ? "lotNotRegistered" : "notFound")) }
                let capacity = lots.reduce(0) { $0 + ($1.profile?.totalCount ?? 0) }
                let occupied = lots.reduce(0) { $0 + $1.occupied }
                guard capacity > 0 else { return Reply(WireError("lotIncomplete")) }
                let half = 30 * CivilTime.minute
                let first = now / half * half + half
                var history = Int.max
                let windows = (0..<Int(hours) * 2).map { index -> JSON in
                    let start = first + Millis(index) * half
                    var (expected, held) = (0, 0)
                    for lot in lots {
                        let forecast = lot.expectedOccupied(at: start, now: now, city.calendar)
                        expected += forecast.count
                        history = min(history, forecast.dayCount)
                        held += lot.notArrived(at: start, now: now)
                    }
                    let limit = lots.compactMap { city.bookingLimit($0.parkCode, at: start, now: now) }.min() ?? 1000
                    let booked = Saturation(occupied: expected + held, capacity: capacity).perMille
                    return [
                        "start": .int(start), "end": .int(start + half), "expectedPct": .int(expected * 100 / capacity),
                        "bookedPct": .int(booked / 10), "full": .bool(booked >= limit),
                    ]
                }
                // Of the weekdays that are asked about.
                let days = CivilTime.day(of: first)...CivilTime.day(of: first + Millis(hours) * 2 * half - 1)
                let weekdays = Set(days.map { city.calendar.weekday(ofDay: $0) })
                let errors = lots.flatMap { lot in weekdays.compactMap { lot.occupancy[$0]?.errorPerMille } }
                let present = Saturation(occupied: occupied, capacity: capacity)
                return Reply(
                    data: .compact([
                        ("saturationPct", .int(present.perMille / 10)), ("occupied", .int(occupied)), ("capacity", .int(capacity)),
                        ("level", .int(present.level)), ("historyDays", .int(history == .max ? 0 : history)),
                        ("errorPerMille", errors.isEmpty ? .null : .int(errors.reduce(0, +) / errors.count)), ("windows", .array(windows)),
                    ]))
            }, completion: completion)
    }
}
