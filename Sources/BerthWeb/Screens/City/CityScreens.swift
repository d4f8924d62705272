import BerthCore
import BerthWire

// City: the overview by district, appeals, areas, rules with "what if", compliance, audit, plates.
extension Site {
    static var cityRoutes: [Route] {
        [
            .get("/city", .cityPage("overview")) { try await $0.cityOverview($1) },
            .get("/city/appeals", .cityPage("appeals")) { try await $0.appeals($1) },
            .post("/city/appeals/:appeal", .cityPage("appeals")) { try await $0.answerAppeal($1) },
            .get("/city/areas", .cityPage("flow")) { try await $0.areas($1) },
            .post("/city/areas", .cityPage("flow")) { try await $0.saveArea($1) },
            .get("/city/areas/:area", .cityPage("flow")) { try await $0.areaFlow($1) },
            .post("/city/areas/:area", .cityPage("flow")) { try await $0.setAreaFlow($1) },
            .get("/city/rules", .cityPage("policy")) { try await $0.rules($1) },
            .post("/city/rules", .cityPage("policy")) { try await $0.changeRules($1) },
            .get("/city/compliance", .cityPage("compliance")) { try await $0.compliance($1) },
            .get("/city/audit", .cityPage("audit")) { try await $0.audit($1) },
            .get("/city/plates", .cityPage("plates")) { try await $0.plates($1) },
            .post("/city/plates", .cityPage("plates")) { try await $0.lookUpPlate($1) },
        ]
    }

    static let districts = [
        "440303": ("罗湖区", "Luohu"), "440304": ("福田区", "Futian"), "440305": ("南山区", "Nanshan"), "440306": ("宝安区", "Bao'an"),
        "440307": ("龙岗区", "Longgang"), "440308": ("盐田区", "Yantian"), "440309": ("龙华区", "Longhua"), "440310": ("坪山区", "Pingshan"),
        "440311": ("光明区", "Guangming"), "440343": ("大鹏新区", "Dapeng"), "441521": ("深汕特别合作区", "Shenshan"),
    ]

    func district(_ code: String, _ language: Language) -> String {
        guard let names = Site.districts[code] else { return code.isEmpty ? words.say(language, "city.noDistrict") : code }
        return language == .zh ? names.0 : names.1
    }

    // MARK: Overview

    func cityOverview(_ web: WebRequest) async throws -> WebResult {
        let (rows, asOf) = try await cache.boards(city)
        let today = try await city.call("stat.daily.query", [("groupBy", ["lot"])], as: .staff)
        var counts: [String: JSON] = [:]
        for row in today["rows"]?.arrayValue ?? [] { if let code = row["parkCode"]?.stringValue { counts[code] = row } }
        let groups = Dictionary(grouping: rows) { $0["regionCode"]?.stringValue ?? "" }
        let districts = groups.sorted { $0.key < $1.key }.map { code, lots in
            summary(lots, counts, web, name: district(code, web.language))
        }
        let hospitals = rows.filter { $0["lotType"]?.intValue == 4 }
        var all = summary(rows, counts, web, name: words.say(web.language, "city.all")).objectValue ?? JSONObject()
        let fresh = rows.count { ($0["asOf"]?.intValue ?? 0) > web.now - 120_000 }
        let refusals = try await city.call("stat.daily.query", [("groupBy", [])], as: .staff)
        // The number is the whole city's: a refusal of a service provider is of no lot.
        all["refused"] = refusals["rows"]?.arrayValue?.first?["refused"] ?? 0
        let codes = (refusals["rows"]?.arrayValue?.first?["refusals"]?.arrayValue ?? []).sorted {
            ($0["count"]?.intValue ?? 0) > ($1["count"]?.intValue ?? 0)
        }.prefix(8).map { row -> JSON in
            let code = Dialect.current.codes[Int(row["code"]?.intValue ?? 0)]
            return .compact([
                ("code", row["code"] ?? .null), ("count", row["count"] ?? .null),
                ("text", .optional(web.language == .zh ? code?.zh : code?.en)),
            ])
        }
        let days = try await week(web)
        return .page(
            Page(
                "city/overview",
                [
                    ("all", .object(all)), ("districts", .array(districts)),
                    ("hospital", summary(hospitals, counts, web, name: words.say(web.language, "city.hospitals"))),
                    (
                        "hospitals",
                        .array(
                            hospitals.sorted { ($0["saturationPct"]?.intValue ?? 0) > ($1["saturationPct"]?.intValue ?? 0) }.prefix(8).map {
                                boardView($0, web)
                            })
                    ), ("asOf", .int(asOf)), ("refusals", .array(Array(codes))), ("week", .string(days)),
                    ("day", .string(web.format.day(CivilTime.day(of: web.now)))),
                    (
                        "fresh",
                        .string(rows.isEmpty ? "–" : web.format.percent(perMille: Int64(fresh * 1000 / rows.count)))
                    ), ("tabOverview", true),
                ], live: "city/overview.live"))
    }

    /// The reservations of the last seven days, and how many of them were honoured.
    private func week(_ web: WebRequest) async throws -> String {
        let today = CivilTime.day(of: web.now)
        let rows = try await city.call(
            "stat.daily.query",
            [
                ("dateFrom", .string(CivilTime.text(ofDay: today - 6))), ("dateTo", .string(CivilTime.text(ofDay: today))),
                ("groupBy", ["day"]),
            ], as: .staff)
        let days = rows["rows"]?.arrayValue ?? []
        let most = days.map { $0["orders"]?.intValue ?? 0 }.max() ?? 0
        let bars = (0..<7).map { back -> Chart.Bar in
            let day = today - 6 + Int64(back)
            let row = days.first { $0["date"]?.stringValue == CivilTime.text(ofDay: day) }
            let orders = row?["orders"]?.intValue ?? 0
            let honour = row?["honourPerMille"]?.intValue.map { web.format.percent(perMille: $0) } ?? "–"
            return Chart.Bar(
                label: String(CivilTime.text(ofDay: day).suffix(2)), value: orders,
                title: words.say(web.language, "city.dayTitle", ["day": web.format.day(day), "orders": String(orders), "honour": honour]),
                style: "l3")
        }
        return Chart.bars(bars, most: max(1, most), every: 1, label: words.say(web.language, "city.weekTitle"))
    }

    private func summary(_ rows: [JSON], _ counts: [String: JSON], _ web: WebRequest, name: String) -> JSON {
        func sum(_ field: String) -> Int64 { rows.reduce(0) { $0 + ($1[field]?.intValue ?? 0) } }
        func today(_ field: String) -> Int64 {
            rows.reduce(0) { $0 + (counts[$1["parkCode"]?.stringValue ?? ""]?[field]?.intValue ?? 0) }
        }
        let (taken, places) = (sum("occupied"), sum("totalSpace"))
        let percent = places > 0 ? taken * 100 / places : 0
        let due = today("entered") + today("noShows") + today("breach")
        return .compact([
            ("name", .string(name)), ("lots", .int(rows.count)), ("online", .int(rows.count { $0["online"]?.boolValue == true })),
            ("percent", .int(percent)),
            ("gauge", .string(Chart.gauge(percent, style: percent >= 90 ? "l1" : percent >= 80 ? "l2" : "l3", label: "\(percent)%"))),
            ("inside", .int(sum("inside"))), ("booked", .int(sum("booked"))), ("sharedInside", .int(sum("sharedInside"))),
            ("cases", .int(sum("openCases"))),
            ("orders", .int(today("orders"))), ("entered", .int(today("entered"))), ("noShows", .int(today("noShows"))),
            ("refused", .int(today("refused"))),
            ("honour", .string(due > 0 ? web.format.percent(perMille: today("entered") * 1000 / due) : "–")),
        ])
    }

    // MARK: Appeals

    func appeals(_ web: WebRequest, error: String? = nil) async throws -> WebResult {
        let state = web.text("state", max: 16)
        let list = try await city.call(
            "credit.appeal.list", [("state", .string(["open", "granted", "rejected"].contains(state) ? state : "open"))], as: .staff)
        let names = try await lotNames()
        let rows = (list["appeals"]?.arrayValue ?? []).prefix(100).map { row -> JSON in
            .compact([
                ("id", row["appealId"] ?? .null), ("penalty", row["penaltyId"] ?? .null), ("text", row["text"] ?? .null),
                ("kind", .string(words.say(web.language, "penalty.\(row["kind"]?.stringValue ?? "")"))),
                ("lotName", .optional(row["parkCode"]?.stringValue.map { names[$0] ?? $0 })), ("order", row["orderNo"] ?? .null),
                ("at", .optional(row["at"]?.intValue.map(web.format.time))),
                ("evidence", .optional(row["evidence"]?.stringValue.map { words.remark($0, web.format) })),
                ("answerBy", .string(web.format.time(row["answerBy"]?.intValue ?? 0))),
                ("overdue", row["overdue"] ?? .null), ("isOpen", .bool(row["state"]?.stringValue == "open")),
                ("answer", row["answer"] ?? .null),
                ("state", .string(words.say(web.language, "appeal.\(row["state"]?.stringValue ?? "")"))),
            ])
        }
        return .page(
            Page(
                "city/appeals",
                [
                    ("appeals", .array(Array(rows))), ("none", .bool(rows.isEmpty)), ("error", .optional(error)), ("tabAppeals", true),
                    ("isOpenList", .bool(!["granted", "rejected"].contains(state))),
                ], status: error == nil ? 200 : 409))
    }

    func answerAppeal(_ web: WebRequest) async throws -> WebResult {
        let answer = web.text("answer", max: 1000)
        guard !answer.isEmpty else { return try await appeals(web, error: words.say(web.language, "appeals.sayWhy")) }
        do {
            try await city.call(
                "credit.appeal.answer",
                [
                    ("appealId", .string(web.names["appeal"] ?? "")), ("grant", .bool(web.isOn("grant"))), ("answer", .string(answer)),
                    ("actor", .string(web.person?.actor ?? "")),
                ], as: .staff)
        } catch { return try await appeals(web, error: refusal(error, web)) }
        return .redirect("/city/appeals")
    }

    // MARK: Areas

    func areas(_ web: WebRequest, error: String? = nil) async throws -> WebResult {
        let list = try await city.call("flow.area.list", [], as: .staff)
        let policies = try await city.call("flow.policy.list", [], as: .staff)
        let names = try await lotNames()
        let rows = (list["areas"]?.arrayValue ?? []).map { area -> JSON in
            let id = area["areaId"]?.stringValue ?? ""
            let lots = (area["parkCodes"]?.arrayValue ?? []).compactMap(\.stringValue)
            return .compact([
                ("id", .string(id)), ("name", area["name"] ?? .null), ("count", .int(lots.count)),
                ("lots", .string(lots.prefix(5).map { names[$0] ?? $0 }.joined(separator: "、") + (lots.count > 5 ? " …" : ""))),
                ("codes", .string(lots.joined(separator: "\n"))), ("link", .string("/city/areas/\(WebRequest.escape(id))")),
                (
                    "policies",
                    .array(
                        (policies["policies"]?.arrayValue ?? []).filter {
                            $0["areaId"]?.stringValue == id && ($0["validTo"]?.intValue ?? 0) > web.now
                        }.map { flowView($0, web) })
                ),
            ])
        }
        return .page(
            Page(
                "city/areas",
                [
                    ("areas", .array(rows)), ("none", .bool(rows.isEmpty)), ("error", .optional(error)), ("tabAreas", true),
                    ("typedArea", .string(web.text("area", max: 32))), ("typedName", .string(web.text("name", max: 64))),
                    ("typedCodes", .string(web.text("codes", max: 40_000))),
                ],
                status: error == nil ? 200 : 409))
    }

    func saveArea(_ web: WebRequest) async throws -> WebResult {
        let codes = web.text("codes", max: 40_000).split { $0 == "\n" || $0 == "," || $0 == " " }.map {
            $0.trimmingCharacters(in: .whitespaces)
        }.filter { !$0.isEmpty }
        do {
            try await city.call(
                "flow.area.set",
                [
                    ("areaId", .string(web.text("area", max: 32))), ("name", .string(web.text("name", max: 64))),
                    ("parkCodes", .array(codes.map { .string($0) })), ("actor", .string(web.person?.actor ?? "")),
                ], as: .staff)
        } catch {
            let known = Set(try await lotNames().keys)
            let unknown = codes.filter { !known.contains($0) }.prefix(5)
            let why =
                error.code == 1000 && !unknown.isEmpty
                ? words.say(web.language, "areas.unknownLots", ["codes": unknown.joined(separator: ", ")])
                : codes.isEmpty && error.code == 403 ? words.say(web.language, "areas.hasPolicies") : refusal(error, web)
            return try await areas(web, error: why)
        }
        return .redirect("/city/areas")
    }

    func areaFlow(_ web: WebRequest) async throws -> WebResult {
        let id = web.names["area"] ?? ""
        let name = try await areaName(id)
        let scope: [(String, JSON)] = [("areaId", .string(id))]
        return .page(
            Page(
                "operator/flow",
                flowForm(of: try await flowChange(scope, web), web) + [
                    ("policies", .array(try await flowPolicies(scope, web))),
                    ("name", .string(name)), ("action", .string("/city/areas/\(WebRequest.escape(id))")), ("back", "/city/areas"),
                    ("tabAreas", true), ("isArea", true),
                ]))
    }

    /// The name of an area; one that is not there is not found.
    private func areaName(_ id: String) async throws -> String {
        let list = try await city.call("flow.area.list", [], as: .staff)
        guard let area = (list["areas"]?.arrayValue ?? []).first(where: { $0["areaId"]?.stringValue == id }) else {
            throw WebError.notFound
        }
        return area["name"]?.stringValue.flatMap { $0.isEmpty ? nil : $0 } ?? id
    }

    func setAreaFlow(_ web: WebRequest) async throws -> WebResult {
        let id = web.names["area"] ?? ""
        let name = try await areaName(id)
        let scope: [(String, JSON)] = [("areaId", .string(id))]
        var members =
            flowForm(web) + [
                ("policies", .array(try await flowPolicies(scope, web))), ("name", .string(name)),
                ("action", .string("/city/areas/\(WebRequest.escape(id))")), ("back", "/city/areas"),
                ("tabAreas", true), ("isArea", true),
            ]
        let ended = web.text("end-policy", max: 32)
        let fields: [(String, JSON)]
        do throws(FlowFault) { fields = ended.isEmpty ? try flowFields(web, of: scope) : [] } catch {
            return .page(Page("operator/flow", members + [("error", .string(words.say(web.language, error.word)))], status: 422))
        }
        do {
            if !ended.isEmpty {
                guard let ending = try await flowEnding(ended, scope, web) else { throw WebError.notFound }
                try await city.call("flow.policy.set", ending + [("actor", .string(web.person?.actor ?? ""))], as: .staff)
                return .redirect("/city/areas/\(WebRequest.escape(id))")
            }
            if web.isOn("confirm"), isAsPreviewed(web, Site.flowFields) {
                try await city.call("flow.policy.set", fields + [("actor", .string(web.person?.actor ?? ""))], as: .staff)
                return .redirect("/city/areas")
            }
            members += try await preview(fields, web)
            members.append(("seen", .string(seen(web, Site.flowFields))))
            return .page(Page("operator/flow", members))
        } catch let error as CityError {
            return .page(Page("operator/flow", members + [("error", .string(refusal(error, web)))], status: 409))
        }
    }

    // MARK: Rules

    private func rulesView(_ web: WebRequest, error: String? = nil, effects: JSON? = nil) async throws -> Page {
        let scope = web.text("scope", max: 96).isEmpty ? "city" : web.text("scope", max: 96)
        let known = try await city.call("policy.query", [], as: .staff)
        let set = (known["scopes"]?.arrayValue ?? []).first { $0["scope"]?.stringValue == scope }?["values"]
        // The value that holds without an entry of this scope: for a lot what is in force there, else the city's own over the contract's.
        var usual = Dictionary(Policy().values.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
        var wider = (known["scopes"]?.arrayValue ?? []).first { $0["scope"]?.stringValue == "city" }?["values"]?.objectValue?.members ?? []
        if scope.hasPrefix("lot:"), let lot = scope.dropFirst(4).split(separator: ":").first {
            let found = try? await city.call("policy.query", [("parkCode", .string(String(lot)))], as: .staff)
            wider += found?["inForce"]?.objectValue?.members ?? []
        }
        for member in wider { usual[member.name] = member.value.stringValue ?? member.value.intValue.map { String($0) } ?? "" }
        func text(_ json: JSON?) -> String? { json?.stringValue ?? json?.intValue.map(String.init) }
        let values = Dialect.current.policies.map { policy -> JSON in
            let typed = web.form["v." + policy.name].map { $0.trimmingCharacters(in: .whitespaces) }
            return .compact([
                ("name", .string(policy.name)), ("text", .string(web.language == .zh ? policy.zh : policy.en)),
                ("value", .string(typed ?? text(set?[policy.name]) ?? "")), ("isSet", .bool(set?[policy.name] != nil)),
                ("usual", .string(usual[policy.name] ?? "")),
            ])
        }
        var members: [(String, JSON)] = [
            ("scope", .string(scope)), ("values", .array(values)), ("error", .optional(error)), ("tabRules", true),
            (
                "scopes",
                .array(
                    (known["scopes"]?.arrayValue ?? []).prefix(200).compactMap { row in
                        row["scope"]?.stringValue.map { ["scope": .string($0), "isOn": .bool($0 == scope)] }
                    })
            ),
            (
                "date",
                .string(
                    web.text("date", max: 10).isEmpty ? CivilTime.text(ofDay: CivilTime.day(of: web.now) - 1) : web.text("date", max: 10))
            ), ("seen", .string(seen(web, ["scope"] + Dialect.current.policies.map { "v." + $0.name }))),
        ]
        if let effects { members += effectMembers(effects, web) }
        return Page("city/rules", members, status: error == nil ? 200 : 409)
    }

    /// The effects of other values for the reservations of a day.
    private func effectMembers(_ effects: JSON, _ web: WebRequest) -> [(String, JSON)] {
        [
            ("hasEffects", true), ("isEmptyDay", .bool(effects["orders"] == 0)),
            (
                "effectTitle",
                .string(
                    words.say(
                        web.language, "rules.effects",
                        ["day": effects["date"]?.stringValue ?? "", "orders": String(effects["orders"]?.intValue ?? 0)]))
            ),
            (
                "effects",
                .array(
                    (effects["effects"]?.arrayValue ?? []).map { row in
                        let name = row["name"]?.stringValue ?? ""
                        let what = Dialect.current.policies.first { $0.name == name }
                        return .compact([
                            ("name", .string((web.language == .zh ? what?.zh : what?.en) ?? name)),
                            (
                                "text",
                                .string(
                                    row["known"]?.boolValue == true
                                        ? words.say(
                                            web.language, "rules.effect.\(name)",
                                            [
                                                "changed": String(row["changed"]?.intValue ?? 0),
                                                "looked": String(row["looked"]?.intValue ?? 0),
                                                "users": String(row["users"]?.intValue ?? 0),
                                            ]) : words.say(web.language, "rules.unknown"))
                            ),
                        ])
                    })
            ),
        ]
    }

    func rules(_ web: WebRequest) async throws -> WebResult { .page(try await rulesView(web)) }

    /// The values that the form changes: those that differ from what the scope sets.
    func changeRules(_ web: WebRequest) async throws -> WebResult {
        let scope = web.text("scope", max: 96)
        let known = try await city.call("policy.query", [], as: .staff)
        let set = (known["scopes"]?.arrayValue ?? []).first { $0["scope"]?.stringValue == scope }?["values"]
        var changes: [(String, JSON)] = []
        for policy in Dialect.current.policies {
            guard let typed = web.form["v." + policy.name]?.trimmingCharacters(in: .whitespaces) else { continue }
            let before = set?[policy.name].flatMap { $0.stringValue ?? $0.intValue.map(String.init) } ?? ""
            guard typed != before else { continue }
            changes.append((policy.name, Int64(typed).map { .int($0) } ?? .string(typed)))
        }
        guard !changes.isEmpty else { return .page(try await rulesView(web, error: words.say(web.language, "rules.nothing"))) }
        let values = JSON.object(JSONObject(changes))
        do {
            // Only values that were looked at are applied; other values are looked at first.
            if web.isOn("apply"), isAsPreviewed(web, ["scope"] + Dialect.current.policies.map { "v." + $0.name }) {
                try await city.call(
                    "policy.set", [("scope", .string(scope)), ("values", values), ("actor", .string(web.person?.actor ?? ""))], as: .staff)
                return .redirect("/city/rules?scope=\(WebRequest.escape(scope))")
            }
            let day = web.text("date", max: 10)
            let effects = try await city.call(
                "policy.preview", [("scope", .string(scope)), ("values", values), ("date", day.isEmpty ? .null : .string(day))], as: .staff)
            return .page(try await rulesView(web, effects: effects))
        } catch let error as CityError { return .page(try await rulesView(web, error: ruleRefusal(error, web))) }
    }

    /// A refused value by its name, with the range that it may have.
    private func ruleRefusal(_ error: CityError, _ web: WebRequest) -> String {
        let name = error.hint.split(separator: " ").last.map(String.init) ?? ""
        guard let policy = Dialect.current.policies.first(where: { $0.name == name }) else { return refusal(error, web) }
        let text = web.language == .zh ? policy.zh : policy.en
        guard let range = Policy.numbers.first(where: { $0.name == name })?.range else {
            return words.say(web.language, "rules.badText", ["name": text])
        }
        return words.say(web.language, "rules.badValue", ["name": text, "from": String(range.lowerBound), "to": String(range.upperBound)])
    }

    // MARK: Compliance, audit, plates

    func compliance(_ web: WebRequest) async throws -> WebResult {
        let page = web.number("page", in: 1...1_000_000) ?? 1
        let (text, sort) = (web.text("q", max: 64), web.text("sort", max: 8) == "code" ? "code" : "worst")
        let vendor = web.form["vendor"]
        let list = try await city.call(
            "lot.compliance.query",
            [
                ("limit", 50), ("page", .int(page)), ("text", text.isEmpty ? .null : .string(text)), ("sort", .string(sort)),
                ("vendor", .optional(vendor.map { $0.cut(to: 64) })), ("vendors", page == 1 ? true : .null),
            ], as: .staff)
        let lots = list["lots"]?.arrayValue ?? []
        let rows = lots.map { row -> JSON in
            let (passed, required) = (row["passed"]?.intValue ?? 0, row["required"]?.intValue ?? 0)
            let percent = required > 0 ? passed * 100 / required : 0
            let style = percent == 100 ? "l3" : percent >= 70 ? "l2" : "l1"
            let open = (row["open"]?.arrayValue ?? []).prefix(20).map { item -> JSON in
                let text = web.language == .zh ? item["zh"] : item["en"]
                return [
                    "text": text ?? "", "why": item[web.language == .zh ? "whyZh" : "why"] ?? "",
                    "isFailed": .bool(item["verdict"]?.stringValue == "failed"),
                ]
            }
            var view = JSONObject()
            for (name, field) in [
                ("name", "parkName"), ("code", "parkCode"), ("vendor", "vendor"), ("version", "softVersion"), ("online", "online"),
                ("clock", "clockOffsetMs"), ("queue", "queueDepth"), ("entries", "entries"), ("entriesLate", "entriesLate"),
                ("deliveries", "deliveries"), ("deliveriesLate", "deliveriesLate"), ("refused", "refused"), ("signatures", "badSignatures"),
                ("entryDelay", "entryMillisAverage"), ("pushDelay", "deliveryMillisAverage"),
            ] { view[name] = row[field] }
            view["passed"] = .int(passed)
            view["required"] = .int(required)
            view["gauge"] = .string(Chart.gauge(percent, style: style, label: "\(passed)/\(required)"))
            view["open"] = .array(Array(open))
            view["honour"] = row["honourPerMille"]?.intValue.map { .string(web.format.percent(perMille: $0)) }
            return .object(view)
        }
        let vendors = (list["vendors"]?.arrayValue ?? []).map { row -> JSON in
            let name = row["vendor"]?.stringValue ?? ""
            let (passed, required) = (row["passed"]?.intValue ?? 0, row["required"]?.intValue ?? 0)
            return [
                "name": .string(name.isEmpty ? words.say(web.language, "compliance.noVendor") : name), "lots": row["lots"] ?? 0,
                "link": .string("/city/compliance?vendor=\(WebRequest.escape(name))"), "online": row["online"] ?? 0,
                "percent": .int(required > 0 ? passed * 100 / required : 0),
            ]
        }
        return .page(
            Page(
                "city/compliance",
                [
                    ("lots", .array(rows)), ("vendors", .array(vendors)), ("isFirst", .bool(page == 1)), ("q", .string(text)),
                    ("isWorst", .bool(sort == "worst")),
                    ("chosenVendor", .optional(vendor.map { $0.isEmpty ? words.say(web.language, "compliance.noVendor") : $0 })),
                    ("none", .bool(lots.isEmpty)),
                    ("isTrusting", .bool(list["mode"]?.stringValue == "trust")),
                    (
                        "next",
                        list["hasMore"]?.boolValue == true
                            ? .string(
                                "/city/compliance?q=\(WebRequest.escape(text))&sort=\(sort)"
                                    + (vendor.map { "&vendor=\(WebRequest.escape($0))" } ?? "") + "&page=\(page + 1)") : .null
                    ),
                    ("tabCompliance", true),
                ]))
    }

    /// The names of parties by their appId.
    private func partyNames() async throws -> [String: String] {
        var names: [String: String] = [:]
        var after: JSON = .null
        for _ in 0..<10 {
            let list = try await city.call("credential.list", [("limit", 200), ("after", after)], as: .staff)
            let rows = list["credentials"]?.arrayValue ?? []
            for row in rows { names[row["appId"]?.stringValue ?? ""] = row["name"]?.stringValue ?? "" }
            guard list["hasMore"]?.boolValue == true, let last = rows.last?["appId"] else { break }
            after = last
        }
        return names
    }

    /// A record as a person reads it: the person behind the pages, and the fields with their times. A record that was cut is shown as it is.
    private func auditRow(_ row: JSON, _ names: [String: String], _ web: WebRequest) -> JSON {
        let text = row["detail"]?.stringValue ?? ""
        let detail = try? JSON.parse(Array(text.utf8))
        let party = row["actor"]?.stringValue ?? ""
        var fields: [JSON] = []
        for member in detail?["data"]?.objectValue?.members ?? [] where member.name != "actor" {
            let isTime = (member.value.intValue ?? 0) > 1_500_000_000_000
            let value = isTime ? web.format.time(member.value.intValue ?? 0) : member.value.stringValue ?? member.value.string
            let key = "field.\(member.name)"
            let name = words.say(web.language, key)
            fields.append(["name": .string(name == key ? member.name : name), "value": .string(value)])
        }
        let code = detail?["code"]?.intValue.flatMap { Int($0) } ?? 0
        return .compact([
            ("id", row["id"] ?? 0), ("at", .string(web.format.time(row["at"]?.intValue ?? 0))),
            ("actor", .string(detail?["data"]?["actor"]?.stringValue ?? person(in: text, detail) ?? names[party] ?? party)),
            ("party", .string(party)),
            ("action", row["action"] ?? ""), ("actionText", .optional(actionText(row["action"]?.stringValue ?? "", web))),
            ("target", row["target"] ?? ""), ("fields", .array(fields)),
            ("plain", fields.isEmpty ? .string(text) : .null),
            (
                "refused",
                code == 0
                    ? .null
                    : .string((web.language == .zh ? Dialect.current.codes[code]?.zh : Dialect.current.codes[code]?.en) ?? String(code))
            ),
        ])
    }

    /// A deed by the title of its service; nil where it is none.
    private func actionText(_ action: String, _ web: WebRequest) -> String? {
        let isLook = action.hasPrefix("look ")
        guard let service = Dialect.current.services[isLook ? String(action.dropFirst(5)) : action] else { return nil }
        return (isLook ? words.say(web.language, "audit.look") : "") + (web.language == .zh ? service.zh : service.en)
    }

    /// The person whom the pages put before a reason: "name (login): reason".
    private func person(in text: String, _ detail: JSON?) -> String? {
        let reason = detail?["data"]?["reason"]?.stringValue ?? (detail == nil ? text : "")
        guard let end = reason.range(of: "): ") else { return nil }
        return String(reason[..<end.lowerBound]) + ")"
    }

    func audit(_ web: WebRequest) async throws -> WebResult {
        func field(_ name: String) -> JSON { web.text(name, max: 64).isEmpty ? .null : .string(web.text(name, max: 64)) }
        let names = try await partyNames()
        // A party is found by its appId or its name; a person by the words that the pages put on record.
        let actor = web.text("actor", max: 64)
        let party = actor == "desk" || names[actor] != nil ? actor : names.first { $0.value == actor && !actor.isEmpty }?.key
        let text: JSON = party == nil && !actor.isEmpty ? .string(actor) : field("text")
        func day(_ name: String, plus days: Int64) -> JSON {
            .optional(Plan.day(web.text(name, max: 10)).map { CivilTime.start(ofDay: $0 + days) })
        }
        let list = try await city.call(
            "audit.list",
            [
                ("actor", .optional(party)), ("action", field("action")), ("target", field("target")), ("text", text),
                ("from", day("from", plus: 0)), ("to", day("to", plus: 1)), ("cursor", field("cursor")),
                ("limit", 50),
            ], as: .staff)
        let rows = (list["records"]?.arrayValue ?? []).map { auditRow($0, names, web) }
        return .page(
            Page(
                "city/audit",
                [
                    ("records", .array(rows)), ("none", .bool(rows.isEmpty)), ("actor", field("actor")), ("action", field("action")),
                    ("target", field("target")),
                    ("text", field("text")), ("from", field("from")), ("to", field("to")),
                    (
                        "next",
                        .optional(
                            list["nextCursor"]?.stringValue.map { cursor in
                                "/city/audit?"
                                    + ["actor", "action", "target", "text", "from", "to"].map {
                                        "\($0)=\(WebRequest.escape(web.text($0, max: 64)))&"
                                    }
                                    .joined()
                                    + "cursor=\(WebRequest.escape(cursor))"
                            })
                    ), ("tabAudit", true),
                ]))
    }

    func plates(_ web: WebRequest) async throws -> WebResult { .page(Page("city/plates", [("tabPlates", true)])) }

    /// The reservations of a plate; the reason goes on record before anything is shown.
    func lookUpPlate(_ web: WebRequest) async throws -> WebResult {
        let reason = web.text("reason", max: 200)
        var members: [(String, JSON)] = [("plate", .string(web.text("plate", max: 16))), ("reason", .string(reason)), ("tabPlates", true)]
        guard !reason.isEmpty else {
            return .page(Page("city/plates", members + [("error", .string(words.say(web.language, "error.needsReason")))], status: 422))
        }
        guard let plate = Plate(web.text("plate", max: 16)) else {
            return .page(Page("city/plates", members + [("error", .string(words.say(web.language, "vehicles.bad")))], status: 422))
        }
        let list = try await city.call(
            "order.list",
            [
                ("plateNo", .string(plate.revealed)), ("limit", 50), ("reveal", true), ("reason", .string(onRecord(web, reason))),
            ], as: .staff)
        let names = try await lotNames()
        members += [
            ("searched", true),
            (
                "orders",
                .array(
                    (list["orders"]?.arrayValue ?? []).map { order in
                        let code = order["parkCode"]?.stringValue ?? ""
                        return [
                            "order": order["orderNo"] ?? "", "plate": .string(web.format.plate(order["plateNo"]?.stringValue ?? "")),
                            "lot": .string(names[code] ?? code),
                            "window": .string(web.format.window(order["enterStart"]?.intValue ?? 0, order["enterEnd"]?.intValue ?? 0)),
                            "status": .string(words.say(web.language, "status.\(order["status"]?.intValue ?? 0)")),
                        ]
                    })
            ),
        ]
        return .page(Page("city/plates", members))
    }
}
