import BerthCore
import BerthWire

// Driver: finding a place.
extension Site {
    static var driverRoutes: [Route] {
        [
            .get("/", .anyone) { try await $0.find($1) },
            .get("/suggest", .anyone) { try await $0.suggest($1) },
            .get("/lots/:lot", .anyone) { try await $0.lot($1) },
            .post("/book", .role("driver")) { try await $0.book($1) },
        ]
    }

    func find(_ web: WebRequest) async throws -> WebResult {
        let plan = Plan(web)
        let format = web.format
        let to = web.text("to", max: 64)
        let (lng, lat) = (web.text("lng", max: 16), web.text("lat", max: 16))
        let hasPoint = Double(lng).map { abs($0) <= 180 } == true && Double(lat).map { abs($0) <= 90 } == true
        var members: [(String, JSON)] = [
            ("plan", plan.view(format)), ("to", .string(to)), ("lng", hasPoint ? .string(lng) : .null),
            ("lat", hasPoint ? .string(lat) : .null),
        ]
        if to.isEmpty, !hasPoint {
            let (rows, asOf) = try await cache.boards(city)
            members += [("places", .array(places(rows, plan, format))), ("asOf", .int(asOf)), ("lotCount", .int(rows.count))]
            return .page(Page("driver/find", members))
        }
        guard limiter.admit("find|\(web.source)", burst: 600, minutes: 1, now: web.now) else { throw WebError.tooMany }
        let page = web.number("page", in: 1...1000) ?? 1
        let found: JSON
        do {
            found = try await city.call(
                "lot.search",
                [
                    ("text", to.isEmpty ? .null : .string(to)), ("lng", hasPoint ? .string(Site.decimal(lng)) : .null),
                    ("lat", hasPoint ? .string(Site.decimal(lat)) : .null), ("radius", 3000), ("bizType", .int(plan.purpose)),
                    ("arriveTime", .int(plan.arrive)), ("stayMin", .int(plan.stayMin)), ("pageSize", 30),
                    ("page", .int(page)),
                ], as: .provider)
        }
        let all = found["lots"]?.arrayValue ?? []
        let lots = all.map { card($0, plan, web) }
        let free = lots.count { $0["isFree"]?.boolValue == true }
        // A lot that cannot be booked yet is not full.
        let isEarly =
            !all.isEmpty && all.allSatisfy { ($0["freeInWindow"]?.intValue ?? 0) > 0 || $0["reason"]?.intValue == 1100 } && free == 0
        let isUnknown = !to.isEmpty && found["center"] == nil
        // To look for names that are like it costs more than a search, and is done for people alone.
        let mayLook = !isUnknown || limiter.admit("likeness|\(web.source)", burst: 60, minutes: 1, now: web.now)
        let names =
            to.isEmpty || !mayLook ? [] : try await destinations(to, isUnknown: isUnknown, except: found["center"]?["name"]?.stringValue)
        members += [
            ("searched", true), ("lots", .array(lots)),
            ("none", .bool(lots.isEmpty && !isUnknown)), ("hasLots", .bool(!lots.isEmpty)),
            ("unknown", isUnknown ? .string(words.say(web.language, "find.unknown", ["text": to])) : .null), ("isEarly", .bool(isEarly)),
            ("meant", .bool(!names.isEmpty)),
            (
                "names",
                .array(names.map { ["name": .string($0), "link": .string("/?to=\(WebRequest.escape($0))&\(plan.query(format))")] })
            ),
            ("center", found["center"]?["name"] ?? .null),
            ("centerPoint", .optional(Site.point(found["center"], lng: lng, lat: lat, hasPoint))),
            ("query", .string(plan.query(format))),
            ("count", found["total"] ?? 0),
            (
                "more",
                found["hasMore"]?.boolValue == true
                    ? .string(
                        "/?to=\(WebRequest.escape(to))" + (hasPoint ? "&lng=\(WebRequest.escape(lng))&lat=\(WebRequest.escape(lat))" : "")
                            + "&\(plan.query(format))&page=\(page + 1)")
                    : .null
            ), ("free", .int(free)), ("allFull", .bool(!lots.isEmpty && free == 0 && !isEarly)),
            ("points", .string(Site.points(lots))),
        ]
        return .page(Page("driver/find", members))
    }

    /// Names of lots for a destination that is being typed, a JSON array of at most eight texts; those that begin with it come first.
    func suggest(_ web: WebRequest) async throws -> WebResult {
        guard limiter.admit("suggest|\(web.source)", burst: 300, minutes: 1, now: web.now) else { return .later(60) }
        let typed = web.text("q", max: 64).lowercased()
        guard !typed.isEmpty else { return .file(Array("[]".utf8), type: "application/json") }
        let (rows, _) = try await cache.boards(city)
        var (first, later): ([String], [String]) = ([], [])
        for row in rows where first.count < 8 {
            guard let name = row["parkName"]?.stringValue, row["stage"]?.stringValue != "suspended" else { continue }
            let plain = name.lowercased()
            if plain.hasPrefix(typed) { first.append(name) } else if later.count < 8, plain.contains(typed) { later.append(name) }
        }
        let found = first + later
        return .file(Array(JSON.array(found.prefix(8).map { .string($0) }).string.utf8), type: "application/json")
    }

    /// The lots of a list for its map.
    private static func points(_ lots: [JSON]) -> String {
        JSON.array(
            lots.map { lot in
                .compact([
                    ("x", lot["lng"] ?? .null), ("y", lot["lat"] ?? .null), ("n", lot["name"] ?? .null), ("f", lot["free"] ?? 0),
                    ("u", lot["link"] ?? .null), ("k", lot["levelClass"] ?? .null),
                ])
            }
        ).string
    }

    /// The destination on the map, "lng lat"; nil where none is known.
    private static func point(_ center: JSON?, lng: String, lat: String, _ hasPoint: Bool) -> String? {
        if let x = center?["lng"]?.stringValue, let y = center?["lat"]?.stringValue { return "\(x) \(y)" }
        return hasPoint ? "\(lng) \(lat)" : nil
    }

    /// Other destinations that a text may mean: the names that hold it, or, where none does, those that look like it.
    private func destinations(_ text: String, isUnknown: Bool, except center: String?) async throws -> [String] {
        let (rows, _) = try await cache.boards(city)
        let typed = text.lowercased()
        var names: [String] = []
        for row in rows where row["stage"]?.stringValue != "suspended" {
            guard let name = row["parkName"]?.stringValue, name != center else { continue }
            if !isUnknown, name.lowercased().contains(typed) { names.append(name) }
        }
        if isUnknown {
            let wanted = Site.pairs(typed)
            guard !wanted.isEmpty else { return [] }
            // Each name is scored by the pairs of characters that it shares with the text.
            let scored = rows.compactMap { row -> (score: Int, name: String)? in
                guard let name = row["parkName"]?.stringValue, row["stage"]?.stringValue != "suspended" else { return nil }
                let pairs = Site.pairs(name.lowercased())
                let score = 200 * wanted.intersection(pairs).count / max(1, min(wanted.count, pairs.count) + wanted.count)
                return score >= 30 ? (score, name) : nil
            }
            names = scored.sorted { ($1.score, $0.name) < ($0.score, $1.name) }.map(\.name)
        } else if names.count == 1 && names[0].lowercased() == typed {
            names = []
        }
        // One name once, in the order found.
        var seen: Set<String> = []
        return Array(names.filter { seen.insert($0).inserted }.prefix(8))
    }

    /// The pairs of neighbouring characters of a text of at most 64.
    private static func pairs(_ text: String) -> Set<String> {
        let characters = Array(text.prefix(64))
        guard characters.count > 1 else { return Set(characters.map { String($0) }) }
        return Set((1..<characters.count).map { String(characters[($0 - 1)...$0]) })
    }

    /// At most seven places after the point, as the wire has them.
    static func decimal(_ text: String) -> String {
        let parts = text.split(separator: ".", maxSplits: 1)
        return parts.count == 2 ? "\(parts[0]).\(parts[1].prefix(7))" : text
    }

    /// Destinations to begin with: hospitals first, then places with much room, by name.
    private func places(_ rows: [JSON], _ plan: Plan, _ format: Format) -> [JSON] {
        let wanted: [Int64] = [4, 7, 8, 10, 3]
        return wanted.flatMap { type in
            rows.filter { $0["lotType"]?.intValue == type && $0["stage"]?.stringValue != "suspended" }
                .sorted { ($0["publicFree"]?.intValue ?? 0) > ($1["publicFree"]?.intValue ?? 0) }.prefix(type == 4 ? 5 : 2)
        }.prefix(9).map { row -> JSON in
            let name = row["parkName"]?.stringValue ?? ""
            return [
                "name": .string(name), "kind": .string("kind.\(row["lotType"]?.intValue ?? 99)"),
                "kindText": .string(words.say(format.language, "kind.\(row["lotType"]?.intValue ?? 99)")),
                "link": .string("/?to=\(WebRequest.escape(name))&\(plan.query(format))"), "free": row["publicFree"] ?? 0,
            ]
        }
    }

    /// A lot in a list: what a driver decides by.
    func card(_ lot: JSON, _ plan: Plan, _ web: WebRequest) -> JSON {
        let format = web.format
        let parkCode = lot["parkCode"]?.stringValue ?? ""
        let free = lot["freeInWindow"]?.intValue ?? 0
        let purpose = lot["bizType"]?.intValue ?? plan.purpose
        let reason = web.language == .zh ? lot["reasonText"]?.stringValue : lot["reasonTextEn"]?.stringValue
        let type = lot["lotType"]?.intValue ?? 99
        var view = JSONObject()
        for name in ["name", "address", "remain", "priceText", "lng", "lat"] { view[name] = lot[name] }
        view["code"] = .string(parkCode)
        view["link"] = .string("/lots/\(WebRequest.escape(parkCode))?\(plan.query(format, purpose: purpose))")
        view["free"] = .int(free)
        view["isOffline"] = .bool(lot["online"]?.boolValue == false)
        view["isFree"] = .bool(free > 0)
        if free == 0, let reason { view["reason"] = .string(reason) }
        view["walk"] = .string(walk(lot["walkMin"]?.intValue ?? 0, web))
        view["distance"] = .string(format.distance(lot["walkDistance"]?.intValue ?? 0))
        view["price"] = lot["priceFen"]?.intValue.map { .string(format.money($0)) }
        view["height"] = lot["maxHeightMm"]?.intValue.map { .string(Site.metres($0)) }
        view["entrance"] = lot["entrances"]?.arrayValue?.first?["gateName"]
        view["levelClass"] = .string("l\(lot["level"]?.intValue ?? 3)")
        view["kindText"] = .string(words.say(web.language, "kind.\(type)"))
        view["standing"] = standing(lot, web)
        let tags = (lot["tags"]?.arrayValue ?? []).compactMap(\.stringValue)
        view["tags"] = .array(tags.map { .string(words.say(web.language, "tag.\($0)")) })
        return .object(view)
    }

    /// A height from mm: "2.1 m".
    static func metres(_ millimetres: Int64) -> String { "\(millimetres / 1000).\(millimetres % 1000 / 100) m" }

    private func walk(_ minutes: Int64, _ web: WebRequest) -> String {
        minutes > 60
            ? words.say(web.language, "find.far")
            : words.say(web.language, minutes == 0 ? "find.atPlace" : "find.walk", ["min": String(minutes)])
    }

    /// Whether a lot is connected, since when not, and of when its data are.
    func standing(_ row: JSON, _ web: WebRequest) -> JSON {
        let isOnline = row["online"]?.boolValue ?? false
        let since = row["offlineSince"]?.intValue
        return .compact([
            ("online", .bool(isOnline)), ("asOf", row["asOf"] ?? .null),
            ("asOfText", .optional(row["asOf"]?.intValue.map(web.format.time))),
            ("since", .optional(isOnline ? nil : since.map(web.format.time))),
        ])
    }
}
