import BerthCore
import BerthWire

// City: what its staff may open, and the overview by district.
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
}
