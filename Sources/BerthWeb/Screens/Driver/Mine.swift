import BerthCore
import BerthWire

// Driver: the own reservations, vehicles, standing and appeals.
extension Site {
    static var mineRoutes: [Route] {
        [
            .get("/mine", .role("driver")) { try await $0.mine($1) },
            .get("/mine/vehicles", .role("driver")) { try await $0.vehiclesPage($1) },
            .post("/mine/vehicles", .role("driver")) { try await $0.addVehicle($1) },
            .post("/mine/vehicles/remove", .role("driver")) { try await $0.removeVehicle($1) },
            .get("/mine/standing", .role("driver")) { try await $0.standingPage($1) },
            .post("/mine/appeal", .role("driver")) { try await $0.appeal($1) },
        ]
    }

    func mine(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        let cursor = web.text("cursor", max: 20)
        let list = try await city.call(
            "order.list",
            [("userToken", .string(person.userToken)), ("limit", 30), ("cursor", cursor.isEmpty ? .null : .string(cursor))], as: .provider)
        let names = try await lotNames()
        var (open, past): ([JSON], [JSON]) = ([], [])
        for order in list["orders"]?.arrayValue ?? [] {
            var row = JSONObject(orderView(order, web).filter { $0.1 != .null })
            let code = order["parkCode"]?.stringValue ?? ""
            row["lotName"] = .string(names[code] ?? code)
            if row["isOpen"] == true { open.append(.object(row)) } else { past.append(.object(row)) }
        }
        open.sort { ($0["enterStart"]?.intValue ?? 0) < ($1["enterStart"]?.intValue ?? 0) }
        return .page(
            Page(
                "driver/mine",
                [
                    ("open", .array(open)), ("past", .array(past)), ("none", .bool(open.isEmpty && past.isEmpty)),
                    ("next", list["hasMore"]?.boolValue == true ? list["nextCursor"] ?? .null : .null), ("tabMine", true),
                    ("newMessages", .optional(await newMessages(web).map { Int64($0) })),
                ], live: "driver/mine.live"))
    }

    /// The names of all lots.
    func lotNames() async throws -> [String: String] {
        var names: [String: String] = [:]
        for row in try await cache.boards(city).rows {
            if let code = row["parkCode"]?.stringValue { names[code] = row["parkName"]?.stringValue ?? code }
        }
        return names
    }

    // MARK: Vehicles

    func vehiclesPage(_ web: WebRequest, error: String? = nil) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        return .page(
            Page(
                "driver/vehicles",
                [
                    ("vehicles", .array(try await vehicles(person, web))), ("error", .optional(error)), ("tabVehicles", true),
                    ("plate", .string(web.text("plate", max: 16))),
                ], status: error == nil ? 200 : 422))
    }

    func addVehicle(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        guard let plate = Plate(web.text("plate", max: 16)), plate.isLegal else {
            return try await vehiclesPage(web, error: words.say(web.language, "vehicles.bad"))
        }
        do {
            try await city.call(
                "vehicle.bind",
                [
                    ("userToken", .string(person.userToken)), ("plateNo", .string(plate.revealed)),
                    ("plateColor", .int(web.number("color", in: 0...12) ?? Site.usualColor(of: plate))),
                ], as: .provider)
        } catch { return try await vehiclesPage(web, error: refusal(error, web)) }
        return .redirect("/mine/vehicles")
    }

    func removeVehicle(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        let plate = web.text("plate", max: 16)
        let list = try await city.call(
            "order.list", [("userToken", .string(person.userToken)), ("plateNo", .string(plate)), ("limit", 20)], as: .provider)
        if (list["orders"]?.arrayValue ?? []).contains(where: { [0, 1, 2, 9].contains($0["status"]?.intValue ?? -1) }) {
            return try await vehiclesPage(web, error: words.say(web.language, "vehicles.inUse", ["plate": web.format.plate(plate)]))
        }
        do {
            try await city.call(
                "vehicle.unbind", [("userToken", .string(person.userToken)), ("plateNo", .string(web.text("plate", max: 16)))],
                as: .provider)
        } catch { return try await vehiclesPage(web, error: refusal(error, web)) }
        return .redirect("/mine/vehicles")
    }

    // MARK: Standing

    func standingPage(_ web: WebRequest, error: String? = nil) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        let format = web.format
        let credit = try await city.call("user.credit.query", [("userToken", .string(person.userToken))], as: .provider)
        let appeals = try await city.call("credit.appeal.list", [("userToken", .string(person.userToken))], as: .provider)
        let counters = (credit["counters"]?.arrayValue ?? []).map { counter -> JSON in
            let (used, most) = (counter["used"]?.intValue ?? 0, counter["max"]?.intValue ?? 0)
            let group = counter["group"]?.stringValue ?? ""
            return .compact([
                ("name", .string(words.say(web.language, "counter.\(counter["name"]?.stringValue ?? "")"))), ("used", .int(used)),
                ("max", .int(most)),
                ("until", .string(format.time(counter["until"]?.intValue ?? 0))),
                ("group", group.isEmpty ? .null : .string(groupText(group, web))),
                ("what", .string(words.say(web.language, "counter.what.\(counter["name"]?.stringValue ?? "")"))),
                ("isFull", .bool(used >= most && most > 0)),
                (
                    "gauge",
                    .string(
                        Chart.gauge(
                            most > 0 ? used * 100 / most : 0, style: used >= most ? "l1" : used * 2 >= most ? "l2" : "l3",
                            label: "\(used)/\(most)"))
                ),
            ])
        }
        let bans = (credit["bans"]?.arrayValue ?? []).map { ban -> JSON in
            let code = Dialect.current.codes[Int(ban["reason"]?.intValue ?? 0)]
            return .compact([
                ("reason", .optional(web.language == .zh ? code?.zh : code?.en)),
                ("until", .string(format.time(ban["until"]?.intValue ?? 0))),
                ("group", .optional(ban["group"]?.stringValue.flatMap { $0.isEmpty ? nil : groupText($0, web) })),
            ])
        }
        let penalties = (credit["penalties"]?.arrayValue ?? []).map { penalty -> JSON in
            let id = penalty["penaltyId"]?.stringValue ?? ""
            let appeal = (appeals["appeals"]?.arrayValue ?? []).first { $0["penaltyId"]?.stringValue == id }
            let isInForce = penalty["state"]?.stringValue == "inForce"
            let until = penalty["appealUntil"]?.intValue ?? 0
            return .compact([
                ("id", .string(id)), ("kind", .string(words.say(web.language, "penalty.\(penalty["kind"]?.stringValue ?? "")"))),
                ("order", penalty["orderNo"] ?? .null), ("at", .string(format.time(penalty["at"]?.intValue ?? 0))),
                ("evidence", .string(words.remark(penalty["evidence"]?.stringValue ?? "", format))), ("isUndone", .bool(!isInForce)),
                ("mayAppeal", .bool(isInForce && appeal == nil && web.now < until)), ("until", .string(format.time(until))),
                ("appeal", .optional(appeal?["state"]?.stringValue.map { words.say(web.language, "appeal.\($0)") })),
                ("answer", appeal?["answer"] ?? .null), ("answerBy", .optional(appeal?["answerBy"]?.intValue.map(format.time))),
            ])
        }
        return .page(
            Page(
                "driver/standing",
                [
                    ("counters", .array(counters)), ("bans", .array(bans)), ("penalties", .array(penalties)), ("tabStanding", true),
                    ("error", .optional(error)),
                ], status: error == nil ? 200 : 409))
    }

    /// A group of operators in words; a name that the city has given itself stays as it is.
    private func groupText(_ group: String, _ web: WebRequest) -> String {
        let key = "group.\(group)"
        let text = words.say(web.language, key)
        return text == key ? group : text
    }

    func appeal(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        let id = web.text("penalty", max: 64)
        let text = web.text("text", max: 1000)
        guard !text.isEmpty else { return try await standingPage(web, error: words.say(web.language, "standing.sayWhy")) }
        let credit = try await city.call("user.credit.query", [("userToken", .string(person.userToken))], as: .provider)
        guard (credit["penalties"]?.arrayValue ?? []).contains(where: { $0["penaltyId"]?.stringValue == id }) else {
            throw WebError.notFound
        }
        do { try await city.call("credit.appeal", [("penaltyId", .string(id)), ("text", .string(text))], as: .provider) } catch {
            return try await standingPage(web, error: refusal(error, web))
        }
        return .redirect("/mine/standing")
    }
}
