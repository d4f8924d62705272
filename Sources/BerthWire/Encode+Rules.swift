public import BerthCore

// The entities that the rules keep beside reservations → fields of the wire.
extension Encode {
    public static func segments(_ segments: [RecurringWindow]) -> JSON {
        .array(
            segments.map { segment in
                let data: JSON? =
                    switch segment.repeats {
                    case .daily: nil
                    case .weekly, .monthly: .array(segment.days.map { .int($0) })
                    case .date: .array(segment.dates.map { .string(CivilTime.text(ofDay: $0)) })
                    }
                return .compact([
                    ("repeatType", .string(segment.repeats.rawValue)), ("repeatData", data ?? .null),
                    ("start", .string(RecurringWindow.text(minute: segment.start))),
                    ("end", .string(RecurringWindow.text(minute: segment.end))),
                ])
            })
    }

    static func quietHours(_ segments: [RecurringWindow]) -> JSON {
        segments.isEmpty
            ? .null
            : .array(
                segments.map {
                    ["start": .string(RecurringWindow.text(minute: $0.start)), "end": .string(RecurringWindow.text(minute: $0.end))]
                })
    }

    static func price(_ price: SharePrice?) -> JSON {
        price.map { ["mode": .int($0.mode.rawValue), "amount": .int($0.fen)] } ?? .null
    }

    /// The terms, from the one source: shown before booking, in the order, to the lot.
    public static func terms(_ terms: Terms, purpose: Purpose, earlyMin: Int, lateMin: Int, entryLimit: Int, stayMin: Int) -> JSON {
        var writer = JSONWriter()
        writer.beginObject()
        write(terms, purpose: purpose, earlyMin: earlyMin, lateMin: lateMin, entryLimit: entryLimit, stayMin: stayMin, to: &writer)
        writer.endObject()
        return writer.json
    }

    /// The members, in canonical order.
    static func write(
        _ terms: Terms, purpose: Purpose, earlyMin: Int, lateMin: Int, entryLimit: Int, stayMin: Int, to writer: inout JSONWriter
    ) {
        writer.add("billingParty", purpose == .shared ? 2 : 1)
        writer.add("delayMin", terms.delayMin)
        writer.add("earlyMin", earlyMin)
        writer.add("entryLimit", entryLimit)
        writer.add("freeCancelUntil", terms.freeCancelUntil)
        if terms.freeMin != 0 { writer.add("freeMin", terms.freeMin) }
        if !terms.gateCodes.isEmpty {
            writer.beginArray("gateCodes")
            for code in terms.gateCodes { writer.add(code) }
            writer.endArray()
        }
        if purpose == .shared { writer.add("lateGraceMin", terms.graceMin) }
        writer.add("lateMin", lateMin)
        if terms.overtimePercent != 100 { writer.add("overtimePct", terms.overtimePercent) }
        writer.add("plateChangesMax", terms.plateChangesMax)
        if terms.prepayFen != 0 { writer.add("prepayAmount", terms.prepayFen) }
        if let price = terms.price {
            writer.beginObject("price")
            writer.add("amount", price.fen)
            writer.add("mode", price.mode.rawValue)
            writer.endObject()
        }
        writer.add("stayMin", stayMin)
        writer.add("version", terms.version)
    }

    /// The facts for a person beside the code of a refusal.
    public static func note(_ decision: Decision) -> JSON {
        let note = decision.note
        return .compact([
            ("alternatives", decision.alternatives.isEmpty ? .null : .array(decision.alternatives.map(alternative))),
            ("max", .optional(note?.max.map { Int64($0) })), ("rule", .optional(note?.rule)),
            ("until", .optional(note?.until)), ("used", .optional(note?.used.map { Int64($0) })),
        ])
    }

    public static func alternative(_ a: Alternative) -> JSON {
        .compact([
            ("bizType", .int(a.purpose.rawValue)), ("distance", .int(a.metres)), ("freeMin", a.freeMin == 0 ? .null : .int(a.freeMin)),
            ("name", .string(a.name)), ("parkCode", .string(a.parkCode)), ("planTime", .int(a.planTime)), ("walkMin", .int(a.walkMin)),
        ])
    }

    public static func offer(_ o: SharedOffer) -> JSON {
        .compact([
            ("offerId", .string(o.offerId)), ("offerVer", .int(o.version)), ("offerStatus", .int(o.status.rawValue)),
            ("parkCode", .string(o.parkCode)), ("spaceNo", .optional(o.spaceNo)), ("count", .int(o.count)),
            ("segments", segments(o.segments)), ("quietHours", quietHours(o.quietHours)), ("price", price(o.price)),
            ("validTo", .int(o.validTo)), ("remark", .optional(o.remark)),
        ])
    }

    /// Why a subscription ended, as drivers' clients read it; a lot is told the reason in words.
    private static func endReason(of s: SharedSubscription) -> String? {
        if s.status == .expired { return "expired" }
        return s.endReason.map { ["late departures": "strikes", "not paid": "notPaid"][$0] ?? $0.cut(to: 32) }
    }

    public static func share(_ s: SharedSubscription, feeFen: Int64 = 0, revealsPlates: Bool = true) -> JSON {
        .compact([
            ("authNo", .string(s.authNo)), ("authVer", .int(s.version)), ("shareStatus", .int(s.status.rawValue)),
            ("parkCode", .string(s.parkCode)), ("offerId", .optional(s.offerId)), ("spaceNo", .optional(known(s.spaceNo))),
            ("plateNos", .array(s.plates.map { .string(revealsPlates ? $0.revealed : $0.masked) })),
            ("validFrom", .int(s.validFrom)), ("validTo", .int(s.validTo)), ("segments", segments(s.segments)),
            ("strikes", .int(s.strikes)), ("fee", .int(feeFen)),
            ("price", s.price.map { ["mode": .int($0.mode.rawValue), "amount": .int($0.fen)] } ?? .null),
            ("paid", .optional(s.paidFen)), ("refunded", .optional(s.refundedFen)),
            ("endReason", .optional(endReason(of: s))),
            (
                "payInfo",
                feeFen > 0 && s.billNo != nil
                    ? ["billNo": .string(s.billNo!), "amount": .int(feeFen), "payBy": .int(s.holdDeadline ?? 0)] : .null
            ),
        ])
    }

    /// D05.
    public static func authorisation(_ s: SharedSubscription) -> JSON {
        .compact([
            ("authNo", .string(s.authNo)), ("authVer", .int(s.version)), ("plateNos", .array(s.plates.map { .string($0.revealed) })),
            ("spaceNo", .optional(known(s.spaceNo))), ("count", known(s.spaceNo) == nil ? 1 : .null), ("validFrom", .int(s.validFrom)),
            ("validTo", .int(s.validTo)), ("segments", segments(s.segments)), ("quietHours", quietHours(s.quietHours)),
            ("lateGraceMin", .int(s.graceMin)), ("billingParty", 2), ("feeMode", s.price.map { .int($0.mode.rawValue) } ?? .null),
        ])
    }

    /// D18: a lot's own policy whole; of an area's what is demanded now.
    public static func flow(_ p: FlowPolicy, _ mode: FlowMode) -> JSON {
        let isOwn = p.areaId.isEmpty
        func pools(_ pools: [String: Int]) -> JSON {
            pools.isEmpty
                ? .null : .array(pools.sorted { $0.key < $1.key }.map { ["pool": .string($0.key), "count": .int($0.value)] })
        }
        return .compact([
            ("policyId", .string(p.policyId)), ("mode", .int(mode.rawValue)),
            ("saturationOpen", isOwn ? .optional(p.saturationOpen.map { Int64($0) }) : .null),
            ("saturationClose", isOwn ? .optional(p.saturationClose.map { Int64($0) }) : .null),
            ("maxEntriesPer5min", .optional(p.maxEntriesPer5min.map { Int64($0) })), ("pools", pools(p.pools)),
            ("segments", isOwn && !p.segments.isEmpty ? segments(p.segments) : .null), ("validFrom", .int(p.validFrom)),
            ("validTo", .int(p.validTo)),
        ])
    }

    /// A policy as an operator set it, and how it stands.
    public static func policy(_ p: FlowPolicy, at now: Int64, _ calendar: WorkCalendar) -> JSON {
        guard case .object(var row) = flow(p, p.mode) else { return [:] }
        if !p.areaId.isEmpty {
            row.append("areaId", .string(p.areaId))
            if let open = p.saturationOpen { row.append("saturationOpen", .int(open)) }
            if let close = p.saturationClose { row.append("saturationClose", .int(close)) }
            if !p.segments.isEmpty { row.append("segments", segments(p.segments)) }
        } else {
            row.append("parkCode", .string(p.parkCode))
        }
        row.append("bookingLimitPct", .int(p.bookingLimitPercent))
        if !p.dailyQuotas.isEmpty {
            row.append(
                "dailyQuotas", .array(p.dailyQuotas.sorted { $0.key < $1.key }.map { ["pool": .string($0.key), "count": .int($0.value)] }))
        }
        if p.revokes { row.append("revokeOrders", true) }
        row.append("inForce", .bool(p.mode(at: now, calendar) != .off))
        row.append("modeNow", .int(p.mode(at: now, calendar).rawValue))
        return .object(row)
    }

    public static func appeal(_ a: Appeal) -> JSON {
        .compact([
            ("appealId", .string(a.appealId)), ("penaltyId", .string(a.penaltyId)), ("state", .string(a.state.rawValue)),
            ("answerBy", .int(a.answerBy)), ("answer", .optional(a.answer)), ("answerTime", .optional(a.answeredAt)),
        ])
    }

    /// The answer to a command about one of them.
    static func entity(_ entity: Entity) -> JSON {
        switch entity {
        case .policy(let o): ["scope": .string(o.scope), "version": .int(o.version), "values": values(o.values)]
        case .calendarDay(let d): ["date": .string(CivilTime.text(ofDay: d.day)), "kind": .string(d.kind?.rawValue ?? "normal")]
        case .offer(let o): offer(o)
        case .subscription(let s): share(s)
        case .place(let p): ["placeCode": .string(p.placeCode), "parkCodes": .array(p.parkCodes.map { .string($0) })]
        // The window depends on the lots' policies: a caller that knows them adds it.
        case .appointment(let a):
            .compact([
                ("extNo", .string(a.extNo)), ("placeCode", .string(a.placeCode)), ("appointTime", .int(a.appointTime)),
                ("state", .string(a.state.rawValue)), ("granted", .bool(a.parkCode != nil)), ("parkCode", .optional(a.parkCode)),
                ("orderNo", .optional(a.orderNo)),
            ])
        case .area(let a): ["areaId": .string(a.areaId), "parkCodes": .array(a.parkCodes.map { .string($0) })]
        case .flow(let p): ["policyId": .string(p.policyId), "mode": .int(p.mode.rawValue)]
        case .penalty(let p): ["penaltyId": .string(p.penaltyId), "state": .string(p.state.rawValue)]
        case .appeal(let a): appeal(a)
        case .gateCase(let c):
            .compact([("caseNo", .string(c.caseNo)), ("state", .string(c.state.rawValue)), ("orderNo", .optional(c.orderNo))])
        case .occupancy(let o): ["parkCode": .string(o.parkCode), "weekday": .int(o.weekday)]
        case .person(let p): person(p)
        case .signInCode(let c): ["login": .string(mask(mobile: c.login)), "expireAt": .int(c.expiresAt)]
        }
    }

    /// Policy values by name: numbers as numbers, all others as texts.
    public static func values(_ policy: Policy) -> JSON {
        values(Dictionary(policy.values.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first }))
    }

    public static func values(_ values: [String: String]) -> JSON {
        .object(JSONObject(values.sorted { $0.key < $1.key }.map { ($0.key, Int64($0.value).map { .int($0) } ?? .string($0.value)) }))
    }

    /// The decision at a gate (U09).
    public static func gate(_ decision: GateDecision, caseNo: String? = nil) -> JSON {
        let code = decision.refusal.map { Dialect.current.code($0.rawValue) }
        let isAllowed = decision.verdict == .allow
        let number = decision.entry?.orderNo ?? decision.subscription?.authNo
        let isShared = decision.entry?.purpose == .shared || decision.subscription != nil
        let isAsked = !isAllowed && caseNo != nil
        let match: String? = caseNo == nil ? (isAllowed && number != nil ? "exact" : nil) : decision.candidates.isEmpty ? "desk" : "almost"
        return .compact([
            ("decision", .int(decision.verdict.rawValue)), ("reasonCode", .int(code?.code ?? 0)),
            ("displayText", .string(isAllowed ? (number == nil ? "欢迎光临" : "预约车辆 欢迎光临") : isAsked ? "请稍候 人工核对" : code?.zh ?? "")),
            ("voiceText", .string(isAllowed ? "欢迎光临" : isAsked ? "请稍候" : code?.zh ?? "")), ("orderNo", .optional(number)),
            ("bizType", .int(decision.entry?.purpose.rawValue ?? (decision.subscription == nil ? 0 : 2))),
            ("shareStatus", decision.subscription.map { .int($0.status.rawValue) } ?? .null),
            ("billingParty", .int(isShared ? 2 : 1)),
            ("allowUntil", .optional(isAllowed ? decision.entry?.enterEnd ?? decision.subscription?.validTo : nil)),
            ("caseNo", .optional(caseNo)),
            ("candidates", decision.candidates.isEmpty ? .null : .array(decision.candidates.map { .string($0) })),
            ("matchedBy", .optional(match)), ("rule", .optional(decision.note?.rule)),
            ("until", .optional(decision.note?.until.flatMap { $0 < WireLimits.intMax ? $0 : nil })),
        ])
    }
}
