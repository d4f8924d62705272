import BerthCore
import BerthStore
import BerthWire

// An operator watches boards of lots (O12) and the audit record (O13).
extension Pipeline {
    /// A question of a control room; false for every other service.
    func boardQuery(
        _ request: VerifiedRequest, _ fields: FieldReader, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) -> Bool {
        switch request.envelope.service {
        case "lot.board.query": try board(request, fields, now: now, completion: completion)
        case "lot.compliance.query": try compliance(request, fields, now: now, completion: completion)
        case "credential.list": try credentialList(request, fields, now: now, completion: completion)
        case "audit.list": try auditList(fields, completion: completion)
        default: return false
        }
        return true
    }

    /// The lots that a question names, after a code and at most so many; with whether there are more.
    func chosen(
        _ request: VerifiedRequest, _ fields: FieldReader, limit most: Int64
    ) throws(WireError) -> @Sendable (City) -> (codes: [String], hasMore: Bool) {
        let parkCode = try fields.optionalString("parkCode", max: 32)
        let after = try fields.optionalString("after", max: 32) ?? ""
        let limit = Int(try fields.optionalInt("limit", in: 1...most) ?? min(100, most))
        let own = Pipeline.lots(of: request.credential)
        if let parkCode, !(own?.contains(parkCode) ?? true) {
            throw WireError("lotNotAuthorised", "parkCode: not one of the caller's lots")
        }
        if let parkCode, !sequencer.knows(parkCode) { throw WireError("lotNotRegistered", "parkCode") }
        return { city in
            if let parkCode { return city.lots[parkCode] == nil ? ([], false) : ([parkCode], false) }
            let codes = (own.map { own in own.filter { city.lots[$0] != nil } } ?? Set(city.lots.keys)).filter { $0 > after }.sorted()
            return (Array(codes.prefix(limit)), codes.count > limit)
        }
    }

    private func board(
        _ request: VerifiedRequest, _ fields: FieldReader, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let choose = try chosen(request, fields, limit: 1000)
        let links = presence.snapshot
        let dead = sequencer.state.withLockedValue { $0.deadCounts }
        sequencer.read(
            nil,
            { city in
                let (codes, hasMore) = choose(city)
                var open: [String: Int] = [:]
                for gateCase in city.gateCases.values where gateCase.state == .open { open[gateCase.parkCode, default: 0] += 1 }
                let rows = codes.map { parkCode -> JSON in
                    city.advance(parkCode, to: now)
                    guard let lot = city.lots[parkCode] else { return [:] }
                    return Pipeline.boardRow(
                        lot, links[parkCode], openCases: open[parkCode] ?? 0, dead: dead[parkCode] ?? 0, city, now: now)
                }
                return Reply(data: ["lots": .array(rows), "asOf": .int(now), "hasMore": .bool(hasMore)])
            }, completion: completion)
    }

    static func boardRow(_ lot: Lot, _ link: Presence.Link?, openCases: Int, dead: Int, _ city: City, now: Millis) -> JSON {
        let board = lot.board(at: now)
        let profile = lot.profile
        let total = profile?.totalCount ?? 0
        return LotView.with(
            LotView.standing(lot, link),
            .compact([
                ("parkCode", .string(lot.parkCode)), ("parkName", .string(profile?.name ?? "")),
                ("address", .string(profile?.address ?? "")),
                ("regionCode", .string(profile?.regionCode ?? "")), ("lotType", .int(profile?.lotType ?? 99)),
                ("lotClass", .int(profile?.lotClass ?? 0)),
                ("lng", .string(profile?.longitude ?? "")), ("lat", .string(profile?.latitude ?? "")),
                ("totalSpace", .int(total)), ("occupied", .int(board.occupied)), ("inside", .int(board.inside)),
                ("publicFree", .int(max(0, total - board.occupied))), ("saturationPct", .int(lot.saturation.perMille / 10)),
                ("level", .int(lot.saturation.level)), ("reserveQuota", .int(lot.quota(.reservation))),
                ("reserveFree", .int(lot.free(.personal, at: now))), ("shareQuota", .int(lot.quota(.shared))),
                ("shareFree", .int(lot.free(.shared, at: now))),
                ("bizQuota", .int(lot.quota(.publicService))), ("booked", .int(board.booked)), ("due30", .int(board.due30)),
                ("due60", .int(board.due60)), ("waiting", .int(board.waiting)), ("sharedInside", .int(board.sharedInside)),
                ("overstays", .int(board.overstays)), ("endangering", .int(board.endangering)), ("excess", .int(board.excess)),
                ("openCases", .int(openCases)), ("offersToReview", .int(board.offersToReview)),
                ("subscriptionsToReview", .int(board.subscriptionsToReview)),
                ("flowMode", .int(city.flowMode(lot.parkCode, at: now).rawValue)), ("stage", .string(city.stage(of: lot).rawValue)),
                ("queueDepth", .int(link?.queueDepth ?? 0)), ("clockOffsetMs", .int(link?.clockOffsetMillis ?? 0)),
                ("downBehind", .int(lot.downLast - lot.downAck)), ("deadLetters", .int(dead)),
            ]))
    }

    /// O13: the audit record, the newest first.
    private func auditList(_ fields: FieldReader, completion: @escaping Sequencer.Completion) throws(WireError) {
        var filter = AuditFilter()
        filter.actor = try fields.optionalString("actor", max: 64)
        filter.action = try fields.optionalString("action", max: 64)
        filter.target = try fields.optionalString("target", max: 64)
        filter.text = try fields.optionalString("text", max: 64)
        filter.person = try fields.optionalString("person", max: 64)
        filter.from = try fields.optionalTime("from") ?? 0
        filter.to = try fields.optionalTime("to") ?? .max
        if let cursor = try fields.optionalString("cursor", max: 20) {
            guard let id = Int64(cursor), id > 0 else { throw WireError("illegalValue", "cursor") }
            filter.before = id
        }
        let limit = Int(try fields.optionalInt("limit", in: 1...200) ?? 50)
        filter.limit = limit + 1
        let asked = filter
        fromDisk(completion) { [store] () throws(StoreError) in
            let records = try store.audit(matching: asked)
            let shown = records.prefix(limit)
            return Reply(
                data: .compact([
                    (
                        "records",
                        .array(
                            shown.map {
                                [
                                    "id": .int($0.id), "at": .int($0.at), "actor": .string($0.actor), "action": .string($0.action),
                                    "target": .string($0.target),
                                    "detail": .string(String(String.UnicodeScalarView($0.detail.unicodeScalars.prefix(1024)))),
                                ]
                            })
                    ),
                    ("nextCursor", records.count > limit ? .string(String(shown.last?.id ?? 0)) : .null),
                    ("hasMore", .bool(records.count > limit)),
                ]))
        }
    }
}
