import BerthCore
import BerthWire

// A01 `lot.search`: lots near a point or a destination, with room and price for the driver's own window.
extension Pipeline {
    /// The question of a search.
    private struct LotQuestion {
        var here: GeoPoint?
        var text: String
        var radius: Int
        /// Any business that the lot offers.
        var isAny: Bool
        var purpose: Purpose
        var arrive: Millis
        var stayMin: Int
        var page: Int
        var pageSize: Int
    }

    func search(
        _ request: VerifiedRequest, _ fields: FieldReader, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let isAny = try fields.optionalInt("bizType", in: 0...3) == 0
        let text = try fields.optionalString("text", max: 64) ?? ""
        let hasPoint = fields.has("lng") || fields.has("lat")
        guard hasPoint || !text.isEmpty else { throw WireError("missingParameter", "lng, lat; or text") }
        let question = LotQuestion(
            here: hasPoint
                ? CoordinateConversion.point(
                    longitude: try fields.coordinate("lng", limit: 180), latitude: try fields.coordinate("lat", limit: 90),
                    type: Int(try fields.optionalInt("coordType", in: 1...3) ?? 1)) : nil,
            text: text.lowercased(), radius: Int(try fields.optionalInt("radius", in: 1...Limits.searchRadiusMax) ?? 1000), isAny: isAny,
            purpose: isAny ? .reservation : try Decode.purpose(fields, default: .reservation),
            arrive: try fields.optionalTime("arriveTime") ?? now, stayMin: Int(try fields.optionalInt("stayMin", in: 15...10_080) ?? 120),
            page: Int(try fields.optionalInt("page", in: 1...1_000_000) ?? 1),
            pageSize: Int(try fields.optionalInt("pageSize", in: 1...100) ?? Int64(Limits.searchPage)))
        let own = Pipeline.lots(of: request.credential)
        let links = presence.snapshot
        sequencer.read(
            nil,
            { city in
                let (center, near) = Pipeline.candidates(question, city)
                let found = near.filter { _, parkCode in
                    city.lots.withLot(parkCode) { lot in
                        let purpose = Pipeline.purpose(question.purpose, of: lot, isAny: question.isAny)
                        return lot.profile?.enabled.contains(purpose) == true && city.isOpened(lot, for: purpose)
                            && own?.contains(parkCode) ?? true
                    } ?? false
                }
                // `sorted` is stable in the order of candidates where distances are equal.
                let start = (question.page - 1) * question.pageSize
                let rows = found.dropFirst(start).prefix(question.pageSize).map { metres, parkCode in
                    Pipeline.row(parkCode, metres: metres, question, &city, links[parkCode], now: now)
                }
                return Reply(
                    data: .compact([
                        ("lots", .array(rows)), ("page", .int(question.page)), ("total", .int(found.count)),
                        ("hasMore", .bool(found.count > start + rows.count)), ("center", center ?? .null),
                    ]))
            }, completion: completion)
    }

    /// The lots near the point, or near the destination that the text names best; with the destination where a text names one.
    private static func candidates(_ question: LotQuestion, _ city: City) -> (center: JSON?, [(metres: Int, parkCode: String)]) {
        if question.text.isEmpty, let here = question.here { return (nil, city.lots(near: here, within: question.radius)) }
        // A public place leads to its own lots; a lot is found by its name and its address.
        let places = city.places.values.filter { $0.name.lowercased().contains(question.text) }.sorted { $0.placeCode < $1.placeCode }
        let matches = city.lots.values.compactMap { lot -> (rank: Int, metres: Int, lot: Lot)? in
            guard let profile = lot.profile else { return nil }
            let metres = question.here.map { $0.metres(to: profile.position) } ?? 0
            if places.contains(where: { $0.parkCodes.contains(lot.parkCode) }) { return (0, metres, lot) }
            let name = profile.name.lowercased()
            if name.hasPrefix(question.text) || lot.parkCode.lowercased() == question.text { return (1, metres, lot) }
            if name.contains(question.text) { return (2, metres, lot) }
            return profile.address.lowercased().contains(question.text) ? (3, metres, lot) : nil
        }.sorted { ($0.rank, $0.metres, $0.lot.parkCode) < ($1.rank, $1.metres, $1.lot.parkCode) }
        guard let best = matches.first, let profile = best.lot.profile else { return (nil, []) }
        let center: JSON = [
            "name": .string(places.first?.name ?? profile.name), "lng": .string(profile.longitude), "lat": .string(profile.latitude),
            "coordType": .int(profile.coordType),
        ]
        let near = city.lots(near: profile.position, within: question.radius)
        let known = Set(near.map(\.parkCode))
        // Other lots of that name follow, wherever they are.
        let others = matches.prefix(1000).filter { !known.contains($0.lot.parkCode) }.compactMap { match in
            match.lot.profile.map { (metres: $0.position.metres(to: profile.position), parkCode: match.lot.parkCode) }
        }
        return (center, near + others)
    }

    private static func row(
        _ parkCode: String, metres: Int, _ question: LotQuestion, _ city: inout City, _ link: Presence.Link?, now: Millis
    ) -> JSON {
        city.advance(parkCode, to: now)
        guard let lot = city.lots[parkCode], let profile = lot.profile else { return [:] }
        let purpose = Pipeline.purpose(question.purpose, of: lot, isAny: question.isAny)
        let walk = metres * 13 / 10
        let room = city.availability(parkCode, purpose, at: question.arrive, now: now)
        let reason = room.refusal.map { Dialect.current.code($0.rawValue) }
        return LotView.with(
            LotView.standing(lot, link),
            .compact([
                ("parkCode", .string(parkCode)), ("name", .string(profile.name)), ("address", .string(profile.address)),
                ("bizType", .int(purpose.rawValue)), ("distance", .int(metres)),
                // Streets are longer than the crow's way: the usual detour factor of 1.3.
                ("walkDistance", .int(walk)),
                ("walkMin", .int((walk + lot.policy.walkMetresPerMin - 1) / max(1, lot.policy.walkMetresPerMin))),
                ("lng", .string(profile.longitude)), ("lat", .string(profile.latitude)), ("coordType", .int(profile.coordType)),
                ("lotType", .int(profile.lotType)), ("remain", .int(max(0, profile.totalCount - lot.occupied))),
                ("reserveRemain", .int(lot.free(purpose.pool, at: max(now, question.arrive)))),
                ("freeInWindow", .int(room.left)), ("reason", reason.map { .int($0.code) } ?? .null),
                ("reasonText", reason.map { .string($0.zh) } ?? .null), ("reasonTextEn", reason.map { .string($0.en) } ?? .null),
                ("level", .int(lot.saturation.level)), ("totalSpace", .int(profile.totalCount)),
                ("priceFen", .optional(city.price(parkCode, purpose, from: question.arrive, stayMin: question.stayMin))),
                ("priceText", .string((city.tariff(parkCode, purpose, at: now)?.text ?? "").cut(to: 512))),
                ("maxHeightMm", profile.maxHeightMm > 0 ? .int(profile.maxHeightMm) : .null),
                (
                    "entrances",
                    .array(
                        lot.gates.values.filter { $0.direction != 2 }.sorted { $0.gateCode < $1.gateCode }.prefix(20).map {
                            ["gateCode": .string($0.gateCode), "gateName": .string($0.name)]
                        })
                ),
                ("tags", .array(LotView.tags(lot, profile, flow: city.flowMode(parkCode, at: now)).map { .string($0) })), ("imageUrls", []),
            ]))
    }

    /// The business by which a lot is shown.
    private static func purpose(_ asked: Purpose, of lot: Lot, isAny: Bool) -> Purpose {
        guard isAny, let enabled = lot.profile?.enabled, !enabled.contains(asked) else { return asked }
        return Purpose.allCases.first { enabled.contains($0) } ?? asked
    }
}
