import BerthCore
import BerthWire
import Foundation

// Lot operator: the live board, one lot, reviews, exceptions, money.
extension Site {
    static var operatorRoutes: [Route] {
        [
            .get("/operator", .lots) { try await $0.operatorBoard($1) },
            .get("/operator/lots/:lot", .lots) { try await $0.operatorLot($1) },
            .get("/operator/reviews", .lots) { try await $0.reviews($1) },
            .post("/operator/reviews", .lots) { try await $0.review($1) },
            .get("/operator/proofs/:lot/:offer/:index", .lots) { try await $0.proof($1) },
            .get("/operator/exceptions", .lots) { try await $0.exceptions($1) },
            .get("/operator/money", .lots) { try await $0.money($1) },
            .get("/operator/money.csv", .lots) { try await $0.moneyFile($1) },
            .get("/operator/people", .people) { try await $0.people($1) },
            .post("/operator/people", .people) { try await $0.addPerson($1) },
            .post("/operator/people/:person", .people) { try await $0.changePerson($1) },
        ]
    }

    /// Whether this member of staff works for a lot; the city's staff work for all.
    func works(_ web: WebRequest, for parkCode: String) -> Bool {
        guard let person = web.person else { return false }
        return person.mayInCity("lots") || (person.may("operator") && person.parkCodes.contains { $0 == parkCode })
    }

    /// A lot of the caller; another one is not found.
    func ownLot(_ web: WebRequest, _ name: String? = nil) throws -> String {
        let parkCode = name ?? web.names["lot"] ?? web.text("lot", max: 32)
        guard works(web, for: parkCode) else { throw WebError.notFound }
        return parkCode
    }

    /// The boards of the caller's lots.
    func ownBoards(_ web: WebRequest) async throws -> (rows: [JSON], asOf: Int64) {
        let (rows, asOf) = try await cache.boards(city)
        guard web.person?.mayInCity("lots") != true else { return (rows, asOf) }
        return (rows.filter { works(web, for: $0["parkCode"]?.stringValue ?? "") }, asOf)
    }

    /// The reason that goes on record with a look or a deed.
    func onRecord(_ web: WebRequest, _ reason: String) -> String { "\(web.person?.actor ?? "?"): \(reason)".cut(to: 250) }

    func boardView(_ row: JSON, _ web: WebRequest) -> JSON {
        let percent = row["saturationPct"]?.intValue ?? 0
        let level = row["level"]?.intValue ?? 3
        var view = JSONObject((row.objectValue?.members ?? []).map { ($0.name, $0.value) })
        view["link"] = .string("/operator/lots/\(WebRequest.escape(row["parkCode"]?.stringValue ?? ""))")
        view["gauge"] = .string(Chart.gauge(percent, style: "l\(level)", label: "\(percent)%"))
        view["levelText"] = .string(words.say(web.language, "level.\(level)"))
        view["levelClass"] = .string("l\(level)")
        view["standing"] = standing(row, web)
        view["kindText"] = .string(words.say(web.language, "kind.\(row["lotType"]?.intValue ?? 99)"))
        view["stageText"] = row["stage"]?.stringValue.map { .string(words.say(web.language, "stage.\($0)")) }
        let mode = row["flowMode"]?.intValue ?? 0
        view["flowText"] = mode == 0 ? nil : .string(words.say(web.language, "flow.mode.\(mode)"))
        for name in [
            "openCases", "overstays", "endangering", "excess", "deadLetters", "offersToReview", "subscriptionsToReview", "waiting",
        ]
        where view[name] == 0 { view[name] = nil }
        view["clockBad"] = abs(row["clockOffsetMs"]?.intValue ?? 0) > 5_000 ? row["clockOffsetMs"] : nil
        view["queueLong"] = (row["queueDepth"]?.intValue ?? 0) > 100 ? row["queueDepth"] : nil
        return .object(view)
    }

    /// How much a lot wants its operator's eyes; the most urgent first.
    private static func urgency(_ row: JSON) -> Int64 {
        func count(_ name: String) -> Int64 { row[name]?.intValue ?? 0 }
        return count("openCases") * 1_000 + count("endangering") * 500 + (row["online"]?.boolValue == true ? 0 : 200) + count("excess") * 50
            + count("overstays") * 10 + count("deadLetters") + max(0, count("saturationPct") - 80)
    }

    func operatorBoard(_ web: WebRequest) async throws -> WebResult {
        let (rows, asOf) = try await ownBoards(web)
        let text = web.text("q", max: 64).lowercased()
        let filter = web.text("show", max: 16)
        let shown = rows.filter { row in
            (text.isEmpty || (row["parkName"]?.stringValue ?? "").lowercased().contains(text)
                || (row["parkCode"]?.stringValue ?? "").lowercased().contains(text))
                && (filter.isEmpty || (filter == "offline" && row["online"]?.boolValue != true)
                    || (filter == "cases" && (row["openCases"]?.intValue ?? 0) > 0)
                    || (filter == "full" && (row["level"]?.intValue ?? 3) <= 1))
        }.sorted { (Site.urgency($0), $1["parkCode"]?.stringValue ?? "") > (Site.urgency($1), $0["parkCode"]?.stringValue ?? "") }
        func sum(_ name: String) -> JSON { .int(rows.reduce(0) { $0 + ($1[name]?.intValue ?? 0) }) }
        return .page(
            Page(
                "operator/board",
                [
                    ("lots", .array(shown.prefix(60).map { boardView($0, web) })), ("count", .int(rows.count)),
                    ("shown", .int(shown.count)),
                    ("more", .bool(shown.count > 60)), ("asOf", .int(asOf)), ("q", .string(web.text("q", max: 64))),
                    ("show", .string(filter)),
                    ("isAll", .bool(filter.isEmpty)), ("isOffline", .bool(filter == "offline")), ("isCases", .bool(filter == "cases")),
                    ("isFullOnly", .bool(filter == "full")),
                    ("allOnline", .int(rows.count { $0["online"]?.boolValue == true })), ("allInside", sum("occupied")),
                    ("allBooked", sum("booked")),
                    ("allDue30", sum("due30")), ("allDue60", sum("due60")), ("allCases", sum("openCases")), ("allStays", sum("overstays")),
                    (
                        "reviews",
                        .int(rows.reduce(0) { $0 + ($1["offersToReview"]?.intValue ?? 0) + ($1["subscriptionsToReview"]?.intValue ?? 0) })
                    ),
                    ("tabBoard", true), ("none", .bool(rows.isEmpty)), ("noHit", .bool(shown.isEmpty && !rows.isEmpty)),
                ], live: "operator/board.live"))
    }

    /// The board of one lot. A lot that was opened after the last look at all of them is asked for by itself.
    private func board(of parkCode: String) async throws -> (row: JSON, asOf: Int64) {
        let (rows, asOf) = try await cache.boards(city)
        if let row = rows.first(where: { $0["parkCode"]?.stringValue == parkCode }) { return (row, asOf) }
        let found = try await city.call("lot.board.query", [("parkCode", .string(parkCode))], as: .staff)
        guard let row = found["lots"]?.arrayValue?.first else { throw WebError.notFound }
        return (row, found["asOf"]?.intValue ?? 0)
    }

    func operatorLot(_ web: WebRequest) async throws -> WebResult { .page(try await operatorLotPage(web)) }

    /// - Parameter gateError: why a gate was not opened, or that nobody knows.
    func operatorLotPage(_ web: WebRequest, gateError: String? = nil) async throws -> Page {
        let parkCode = try ownLot(web)
        let (row, asOf) = try await board(of: parkCode)
        let format = web.format
        let forecast = try? await city.call("saturation.query", [("parkCode", .string(parkCode)), ("hours", 12)], as: .staff)
        let bars = (forecast?["windows"]?.arrayValue ?? []).map { window -> Chart.Bar in
            let (expected, booked) = (window["expectedPct"]?.intValue ?? 0, window["bookedPct"]?.intValue ?? 0)
            let start = window["start"]?.intValue ?? 0
            return Chart.Bar(
                label: format.clock(start), value: booked,
                title: words.say(
                    web.language, "board.forecast", ["at": format.clock(start), "expected": "\(expected)%", "booked": "\(booked)%"]),
                style: booked >= 90 ? "l1" : booked >= 80 ? "l2" : "l3")
        }
        let flows = try await city.call("flow.policy.list", [("parkCode", .string(parkCode))], as: .staff)
        let arrivals = try await city.call(
            "order.list", [("parkCode", .string(parkCode)), ("status", 1), ("limit", 30)], as: .staff)
        let events = try await city.call("event.list", [("parkCode", .string(parkCode)), ("limit", 15)], as: .staff)
        var members: [(String, JSON)] = (boardView(row, web).objectValue?.members ?? []).map { ($0.name, $0.value) }
        members += [
            ("asOfBoard", .int(asOf)),
            ("chart", .string(Chart.bars(bars, most: 110, every: 4, label: words.say(web.language, "board.forecastTitle")))),
            (
                "forecastWhat",
                .string(
                    words.say(
                        web.language, forecast?["historyDays"]?.intValue ?? 0 > 0 ? "board.forecastWhat" : "board.forecastNoHistory",
                        ["days": String(forecast?["historyDays"]?.intValue ?? 0)]))
            ),
            (
                "flows",
                .array(
                    (flows["policies"]?.arrayValue ?? []).filter {
                        // A rule for places alone stands on its own page, and one that is over nowhere.
                        ($0["mode"] != 0 || $0["pools"] == nil) && ($0["validTo"]?.intValue ?? 0) > web.now
                    }.map { flowView($0, web) })
            ),
            (
                "arrivals",
                .array(
                    (arrivals["orders"]?.arrayValue ?? []).sorted { ($0["planTime"]?.intValue ?? 0) < ($1["planTime"]?.intValue ?? 0) }.map
                    {
                        [
                            "order": $0["orderNo"] ?? "", "plate": $0["plateNo"] ?? "",
                            "window": .string(format.window($0["enterStart"]?.intValue ?? 0, $0["enterEnd"]?.intValue ?? 0)),
                            "delivered": .string(words.say(web.language, "delivery.\($0["deliverStatus"]?.intValue ?? 0)")),
                        ]
                    })
            ), ("events", .array((events["events"]?.arrayValue ?? []).map { eventView($0, web) })),
            ("tabBoard", true), ("gateError", .optional(gateError)),
            ("gateCode", .string(gateError == nil ? "" : web.text("gate", max: 32))),
            ("gateReason", .string(gateError == nil ? "" : web.text("reason", max: 200))),
            ("gates", .array(try await gates(of: parkCode))), ("isOffline", .bool(row["online"]?.boolValue == false)),
        ]
        return Page("operator/lot", members, live: "operator/lot.live", status: gateError == nil ? 200 : 409)
    }

    /// The gates of a lot by which cars come in, for a choice.
    private func gates(of parkCode: String) async throws -> [JSON] {
        let lot = try? await city.call("lot.detail", [("parkCode", .string(parkCode))], as: .provider)
        return (lot?["entrances"]?.arrayValue ?? []).map { ["code": $0["gateCode"] ?? "", "name": $0["gateName"] ?? ""] }
    }

    func eventView(_ event: JSON, _ web: WebRequest) -> JSON {
        let type = event["eventType"]?.intValue ?? 0
        let name = Dialect.current.events[Int(type)]
        return .compact([
            ("at", .string(web.format.time(event["occurTime"]?.intValue ?? 0))), ("type", .int(type)),
            ("name", .string((web.language == .zh ? name?.zh : name?.en) ?? String(type))),
            ("detail", .optional(event["detail"]?.stringValue.map { words.remark($0, web.format) })),
            ("order", event["orderNo"] ?? .null), ("lot", event["parkCode"] ?? .null),
        ])
    }

    // MARK: Reviews

    func reviews(_ web: WebRequest, error: String? = nil) async throws -> WebResult {
        let list = try await city.call("share.review.list", [("parkCodes", ownLots(web))], as: .staff)
        let names = try await lotNames()
        func own(_ row: JSON) -> Bool { works(web, for: row["parkCode"]?.stringValue ?? "") }
        var offers: [JSON] = []
        for offer in (list["offers"]?.arrayValue ?? []).filter(own).prefix(30) {
            let code = offer["parkCode"]?.stringValue ?? ""
            let offerId = WebRequest.escape(offer["offerId"]?.stringValue ?? "")
            let proofs = Array((offer["proofImages"]?.arrayValue ?? []).prefix(4))
            var pictures: [JSON] = []
            for (index, imageId) in proofs.enumerated() {
                let found = try? await city.call("image.upload.query", [("imageId", imageId)], as: .staff, parkCode: code)
                guard found?["downloadUrl"] != nil else { continue }
                pictures.append(.string("/operator/proofs/\(WebRequest.escape(code))/\(offerId)/\(index)"))
            }
            let isWithoutProof = pictures.isEmpty
            offers.append(
                .compact([
                    ("id", offer["offerId"] ?? .null), ("lotName", .string(names[code] ?? code)), ("lot", .string(code)),
                    ("space", offer["spaceNo"] ?? .null),
                    ("times", .array(segments(offer["segments"], web).map { .string($0) })),
                    ("price", .optional(price(offer["price"], web))),
                    ("pictures", .array(pictures)), ("isWithoutProof", .bool(isWithoutProof)),
                    ("isCut", .bool(!isWithoutProof && pictures.count < proofs.count)),
                    ("proofs", .int(offer["proofImages"]?.arrayValue?.count ?? 0)),
                    ("agreement", offer["agreementVersion"] ?? .null),
                ]))
        }
        let subscriptions = (list["subscriptions"]?.arrayValue ?? []).filter(own).prefix(30).map { row -> JSON in
            let code = row["parkCode"]?.stringValue ?? ""
            return .compact([
                ("id", row["authNo"] ?? .null), ("lotName", .string(names[code] ?? code)), ("lot", .string(code)),
                ("space", row["spaceNo"] ?? .null),
                ("plates", .string((row["plateNos"]?.arrayValue ?? []).compactMap(\.stringValue).joined(separator: "、"))),
                ("times", .array(segments(row["segments"], web).map { .string($0) })),
                ("from", .string(web.format.day(CivilTime.day(of: row["validFrom"]?.intValue ?? 0)))),
                ("to", .string(web.format.day(CivilTime.day(of: row["validTo"]?.intValue ?? 0)))),
            ])
        }
        return .page(
            Page(
                "operator/reviews",
                [
                    ("offers", .array(offers)), ("subscriptions", .array(Array(subscriptions))),
                    ("none", .bool(offers.isEmpty && subscriptions.isEmpty)),
                    ("error", .optional(error)), ("tabReviews", true),
                ], status: error == nil ? 200 : 409))
    }

    /// A proof of an offer that is under review: papers of a person, for the reviewer's eyes.
    func proof(_ web: WebRequest) async throws -> WebResult {
        let parkCode = try ownLot(web)
        let list = try await city.call("share.review.list", [("parkCode", .string(parkCode))], as: .staff)
        let offer = (list["offers"]?.arrayValue ?? []).first { $0["offerId"]?.stringValue == web.names["offer"] }
        let proofs = offer?["proofImages"]?.arrayValue ?? []
        guard let index = Int(web.names["index"] ?? ""), proofs.indices.contains(index) else { throw WebError.notFound }
        return try await picture(proofs[index], of: parkCode)
    }

    /// The bytes of a picture of a lot.
    func picture(_ imageId: JSON, of parkCode: String) async throws -> WebResult {
        let found = try await city.call("image.upload.query", [("imageId", imageId)], as: .staff, parkCode: parkCode)
        guard let url = found["downloadUrl"]?.stringValue, let bytes = await settings.download(url) else { throw WebError.notFound }
        return .file(bytes, type: bytes.starts(with: [0xFF, 0xD8]) ? "image/jpeg" : "image/png", cache: "private, max-age=600")
    }

    /// Whether none of the pictures of an offer can be seen.
    private func isWithoutProof(_ offerId: String, of parkCode: String) async throws -> Bool {
        let list = try await city.call("share.review.list", [("parkCode", .string(parkCode))], as: .staff)
        guard let offer = (list["offers"]?.arrayValue ?? []).first(where: { $0["offerId"]?.stringValue == offerId }) else { return false }
        for imageId in offer["proofImages"]?.arrayValue ?? [] {
            let found = try? await city.call("image.upload.query", [("imageId", imageId)], as: .staff, parkCode: parkCode)
            if found?["downloadUrl"] != nil { return false }
        }
        return true
    }

    func review(_ web: WebRequest) async throws -> WebResult {
        let parkCode = try ownLot(web, web.text("lot", max: 32))
        let isPassed = web.isOn("pass")
        let remark = web.text("remark", max: 200)
        if isPassed, !web.text("offer", max: 32).isEmpty, try await isWithoutProof(web.text("offer", max: 32), of: parkCode) {
            return try await reviews(web, error: words.say(web.language, "reviews.noProof"))
        }
        if !isPassed, remark.isEmpty { return try await reviews(web, error: words.say(web.language, "reviews.sayWhy")) }
        do {
            try await city.call(
                "share.review",
                [
                    ("parkCode", .string(parkCode)),
                    ("offerId", web.text("offer", max: 32).isEmpty ? .null : .string(web.text("offer", max: 32))),
                    ("authNo", web.text("auth", max: 32).isEmpty ? .null : .string(web.text("auth", max: 32))), ("pass", .bool(isPassed)),
                    ("remark", remark.isEmpty ? .null : .string(remark)), ("actor", .string(web.person?.actor ?? "")),
                ], as: .staff)
        } catch { return try await reviews(web, error: refusal(error, web)) }
        return .redirect("/operator/reviews")
    }

    // MARK: Exceptions

    func exceptions(_ web: WebRequest) async throws -> WebResult {
        let (rows, _) = try await ownBoards(web)
        let format = web.format
        let bad = rows.filter {
            ($0["endangering"]?.intValue ?? 0) > 0 || ($0["overstays"]?.intValue ?? 0) > 0 || ($0["excess"]?.intValue ?? 0) > 0
        }
        .sorted { Site.urgency($0) > Site.urgency($1) }.prefix(30).map { boardView($0, web) }
        let offline = rows.filter { $0["online"]?.boolValue != true }.prefix(30).map { boardView($0, web) }
        let clocks = rows.filter { abs($0["clockOffsetMs"]?.intValue ?? 0) > 5_000 }.prefix(30).map { boardView($0, web) }
        var letters: [JSON] = []
        for row in rows.filter({ ($0["deadLetters"]?.intValue ?? 0) > 0 }).prefix(20) {
            let code = row["parkCode"]?.stringValue ?? ""
            guard let list = try? await city.call("sync.dead.list", [("limit", 5)], as: .staff, parkCode: code) else { continue }
            for entry in list["entries"]?.arrayValue ?? [] {
                letters.append(
                    .compact([
                        ("lot", row["parkName"] ?? .string(code)), ("link", .string("/operator/lots/\(WebRequest.escape(code))")),
                        ("service", entry["service"] ?? .null), ("code", entry["code"] ?? .null), ("reason", entry["reason"] ?? .null),
                        ("record", entry["recordNo"] ?? .null), ("at", .string(format.time(entry["at"]?.intValue ?? 0))),
                    ]))
            }
        }
        return .page(
            Page(
                "operator/exceptions",
                [
                    ("stays", .array(Array(bad))), ("offline", .array(Array(offline))), ("clocks", .array(Array(clocks))),
                    ("letters", .array(letters)),
                    ("none", .bool(bad.isEmpty && offline.isEmpty && clocks.isEmpty && letters.isEmpty)), ("tabExceptions", true),
                ], live: "operator/exceptions.live"))
    }

    // MARK: Money

    private func reconciliation(_ web: WebRequest) async throws -> (parkCode: String, day: Int64, report: JSON) {
        let (rows, _) = try await ownBoards(web)
        let asked = web.text("lot", max: 32)
        let parkCode = try ownLot(web, asked.isEmpty ? rows.first?["parkCode"]?.stringValue ?? "" : asked)
        let today = CivilTime.day(of: web.now)
        // A day to come has no accounts.
        let day = min(today, Plan.day(web.text("day", max: 10)) ?? today)
        return (
            parkCode, day,
            try await city.call(
                "ledger.recon.query", [("parkCode", .string(parkCode)), ("date", .string(CivilTime.text(ofDay: day)))], as: .staff)
        )
    }

    private func moneyReason(_ row: JSON, _ web: WebRequest) -> String {
        words.say(web.language, "money.why.\((row["why"]?.stringValue ?? "").replacingOccurrences(of: " ", with: "_"))")
    }

    func money(_ web: WebRequest) async throws -> WebResult {
        let (rows, _) = try await ownBoards(web)
        guard !rows.isEmpty else { return .page(Page("operator/money", [("none", true), ("tabMoney", true)])) }
        let (parkCode, day, report) = try await reconciliation(web)
        let format = web.format
        func amount(_ name: String) -> JSON { .string(format.money(report[name]?.intValue ?? 0)) }
        let differences = (report["differences"]?.arrayValue ?? []).map { row -> JSON in
            [
                "record": row["recordNo"] ?? "", "fee": .string(format.money(row["fee"]?.intValue ?? 0)),
                "paid": .string(format.money(row["paid"]?.intValue ?? 0)),
                "difference": .string(format.money(row["difference"]?.intValue ?? 0)),
                "why": .string(moneyReason(row, web)),
            ]
        }
        return .page(
            Page(
                "operator/money",
                [
                    (
                        "lots",
                        .array(
                            rows.prefix(1000).map {
                                [
                                    "code": $0["parkCode"] ?? "", "name": $0["parkName"] ?? "",
                                    "isOn": .bool($0["parkCode"]?.stringValue == parkCode),
                                ]
                            })
                    ), ("day", .string(CivilTime.text(ofDay: day))), ("visits", report["visits"] ?? 0),
                    ("reported", amount("feesReported")),
                    ("known", amount("paymentsKnown")), ("refunded", amount("refunded")), ("differences", .array(differences)),
                    ("balanced", report["balanced"] ?? false),
                    ("file", .string("/operator/money.csv?lot=\(WebRequest.escape(parkCode))&day=\(CivilTime.text(ofDay: day))")),
                    ("tabMoney", true),
                ]))
    }

    /// The differences as CSV with a byte-order mark, so that spreadsheets read the Chinese.
    func moneyFile(_ web: WebRequest) async throws -> WebResult {
        let (parkCode, day, report) = try await reconciliation(web)
        func cell(_ text: String) -> String {
            // A text that a spreadsheet would compute is quoted as text.
            let safe =
                text.hasPrefix("=") || text.hasPrefix("+") || text.hasPrefix("-") && Int64(text) == nil || text.hasPrefix("@")
                ? "'" + text : text
            return "\"" + safe.replacingOccurrences(of: "\"", with: "\"\"") + "\""
        }
        func yuan(_ name: String, _ row: JSON) -> String {
            let fen = row[name]?.intValue ?? 0
            let cents = fen.magnitude % 100
            return "\(fen < 0 ? "-" : "")\(fen.magnitude / 100).\(cents < 10 ? "0" : "")\(cents)"
        }
        var lines = [words.say(web.language, "money.columns")]
        for row in report["differences"]?.arrayValue ?? [] {
            lines.append(
                [
                    cell(parkCode), CivilTime.text(ofDay: day), cell(row["recordNo"]?.stringValue ?? ""), yuan("fee", row),
                    yuan("paid", row),
                    yuan("difference", row), cell(moneyReason(row, web)),
                ].joined(separator: ","))
        }
        return .file(
            [0xEF, 0xBB, 0xBF] + Array((lines.joined(separator: "\r\n") + "\r\n").utf8), type: "text/csv; charset=utf-8",
            name: "recon-\(parkCode)-\(CivilTime.text(ofDay: day)).csv")
    }
}
