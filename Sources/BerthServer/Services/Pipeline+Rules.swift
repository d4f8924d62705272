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
        let terms =
            known.map { city.terms(of: $0, at: parkCode) }
            ?? RightTerms(city.lots[parkCode]?.policy(.publicService) ?? city.usualPolicy(.publicService))
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

    /// A query of the rules: what was asked, by whom, when, and who waits for the answer.
    struct RuleAsk: Sendable {
        let request: VerifiedRequest
        let fields: FieldReader
        let parkCode: String
        let now: Millis
        let completion: Sequencer.Completion

        var appId: String { request.envelope.appId }
        var isOperator: Bool { request.credential.role == .operator }

        /// The lots that the caller may see; one of them where it names one.
        func lots(of city: City, named parkCode: String?) -> [Lot] {
            let own = Pipeline.lots(of: request.credential)
            return city.lots.values.filter { (parkCode == nil || $0.parkCode == parkCode) && (own?.contains($0.parkCode) ?? true) }
        }
    }

    private typealias RuleQuery = @Sendable (Pipeline, RuleAsk) throws(WireError) -> Void

    /// The queries of the rules, by the name of their service.
    private static let ruleQueries: [String: RuleQuery] = [
        "waitlist.list": { pipeline, ask throws(WireError) in try pipeline.waitlistList(ask) },
        "share.product.list": { pipeline, ask throws(WireError) in try pipeline.shareProductList(ask) },
        "share.list": { pipeline, ask throws(WireError) in try pipeline.shareList(ask) },
        "share.offer.list": { pipeline, ask throws(WireError) in try pipeline.shareOfferList(ask) },
        "share.income.query": { pipeline, ask throws(WireError) in try pipeline.shareIncomeQuery(ask) },
        "biz.quota.query": { pipeline, ask throws(WireError) in try pipeline.bizQuotaQuery(ask) },
        "policy.query": { pipeline, ask throws(WireError) in try pipeline.policyQuery(ask) },
        "flow.policy.preview": { pipeline, ask throws(WireError) in try pipeline.flowPolicyPreview(ask) },
        "flow.area.list": { pipeline, ask throws(WireError) in try pipeline.flowAreaList(ask) },
        "policy.preview": { pipeline, ask throws(WireError) in
            try pipeline.policyPreview(ask.request, ask.fields, now: ask.now, completion: ask.completion)
        },
        "flow.policy.list": { pipeline, ask throws(WireError) in try pipeline.flowPolicyList(ask) },
        "saturation.query": { pipeline, ask throws(WireError) in
            try pipeline.saturation(ask.fields, now: ask.now, completion: ask.completion)
        },
        "share.review.list": { pipeline, ask throws(WireError) in try pipeline.shareReviewList(ask) },
        "credit.appeal.list": { pipeline, ask throws(WireError) in try pipeline.creditAppealList(ask) },
        "gate.case.list": { pipeline, ask throws(WireError) in try pipeline.gateCaseList(ask) },
        "ledger.statement.query": { pipeline, ask throws(WireError) in
            try pipeline.statement(ask.request, ask.fields, ask.parkCode, completion: ask.completion)
        },
        "ledger.recon.query": { pipeline, ask throws(WireError) in
            try pipeline.reconcile(ask.request, ask.fields, ask.parkCode, completion: ask.completion)
        },
    ]

    /// A query of the rules; false for every other one.
    func ruleQuery(
        _ request: VerifiedRequest, _ fields: FieldReader, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) -> Bool {
        guard let query = Pipeline.ruleQueries[request.envelope.service] else { return false }
        try query(self, RuleAsk(request: request, fields: fields, parkCode: parkCode, now: now, completion: completion))
        return true
    }

    func read(_ ask: RuleAsk, _ body: (inout City) -> Reply) { sequencer.read(nil, body, completion: ask.completion) }

    /// R2: reservations that wait, by lot.
    private func waitlistList(_ ask: RuleAsk) throws(WireError) {
        let (fields, appId, isOperator) = (ask.fields, ask.appId, ask.isOperator)
        let user = try fields.optionalString("userToken", max: 64)
        let lot = try fields.optionalString("parkCode", max: 32)
        read(ask) { city in
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
    }

    /// Appeals, the oldest first.
    private func creditAppealList(_ ask: RuleAsk) throws(WireError) {
        let (request, fields, now, appId, isOperator) = (ask.request, ask.fields, ask.now, ask.appId, ask.isOperator)
        let state = try fields.optionalString("state", max: 16).flatMap { $0.isEmpty ? nil : $0 }
        if let state, Appeal.State(rawValue: state) == nil { throw WireError("illegalValue", "state") }
        let own = Pipeline.lots(of: request.credential)
        let user = try fields.optionalString("userToken", max: 64)
        read(ask) { city in
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
    }

    /// Cases at the gates.
    private func gateCaseList(_ ask: RuleAsk) throws(WireError) {
        let (request, fields, now, completion) = (ask.request, ask.fields, ask.now, ask.completion)
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
    }

    static func products(_ city: City, _ parkCode: String, now: Millis) -> Reply {
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
