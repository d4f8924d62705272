import BerthCore
import BerthWire

// Driver: shared places, once or by the month.
extension Site {
    static var shareRoutes: [Route] {
        [
            .get("/share", .anyone) { try await $0.share($1) },
            .get("/share/:lot", .anyone) { try await $0.shareLot($1) },
            .post("/share/:lot", .role("driver")) { try await $0.subscribe($1) },
            .post("/subscriptions/:auth/cancel", .role("driver")) { try await $0.endSubscription($1) },
            .post("/subscriptions/:auth/renew", .role("driver")) { try await $0.renewSubscription($1) },
            .post("/subscriptions/:auth/pay", .role("driver")) { try await $0.paySubscription($1) },
        ]
    }

    func share(_ web: WebRequest, error: String? = nil) async throws -> WebResult {
        let (rows, _) = try await cache.boards(city)
        let text = web.text("q", max: 64).lowercased()
        let lots = rows.filter { row in
            (row["shareQuota"]?.intValue ?? 0) > 0
                && (text.isEmpty || (row["parkName"]?.stringValue ?? "").lowercased().contains(text)
                    || (row["address"]?.stringValue ?? "").lowercased().contains(text))
        }.prefix(30).map { row -> JSON in
            .compact([
                ("name", row["parkName"] ?? .null), ("address", row["address"] ?? .null),
                ("free", row["shareFree"] ?? 0),
                ("link", .string("/share/\(WebRequest.escape(row["parkCode"]?.stringValue ?? ""))")), ("standing", standing(row, web)),
            ])
        }
        var members: [(String, JSON)] = [
            ("lots", .array(Array(lots))), ("q", .string(web.text("q", max: 64))), ("error", .optional(error)),
        ]
        if let person = web.person, person.may("driver") { members.append(("subscriptions", .array(try await subscriptions(person, web)))) }
        return .page(Page("driver/share", members, status: error == nil ? 200 : 409))
    }

    private func subscriptions(_ person: SignedIn, _ web: WebRequest) async throws -> [JSON] {
        let format = web.format
        let list = try await city.call("share.list", [("userToken", .string(person.userToken))], as: .provider)
        let names = try await lotNames()
        return (list["subscriptions"]?.arrayValue ?? []).map { row in
            let code = row["parkCode"]?.stringValue ?? ""
            let status = row["shareStatus"]?.intValue ?? 0
            return .compact([
                ("authNo", row["authNo"] ?? .null), ("lotName", .string(names[code] ?? code)),
                ("status", .string(words.say(web.language, "share.status.\(status)"))),
                ("space", row["spaceNo"] ?? .null),
                ("plates", .string((row["plateNos"]?.arrayValue ?? []).compactMap(\.stringValue).map(format.plate).joined(separator: "、"))),
                ("from", .string(format.day(CivilTime.day(of: row["validFrom"]?.intValue ?? 0)))),
                ("to", .string(format.day(CivilTime.day(of: row["validTo"]?.intValue ?? 0)))),
                ("times", .array(segments(row["segments"], web).map { .string($0) })), ("strikes", row["strikes"] ?? 0),
                ("isOpen", .bool([0, 1, 2, 3].contains(status))), ("mayRenew", .bool([1, 2].contains(status))),
                ("pay", .optional(row["payInfo"]?["amount"]?.intValue.map(format.money))),
            ])
        }
    }

    /// Weekly times as a person writes them.
    func segments(_ json: JSON?, _ web: WebRequest) -> [String] {
        (json?.arrayValue ?? []).map { segment in
            let hours = "\(segment["start"]?.stringValue ?? "")–\(segment["end"]?.stringValue ?? "")"
            switch segment["repeatType"]?.stringValue {
            case "weekly":
                let days = (segment["repeatData"]?.arrayValue ?? []).compactMap(\.intValue).sorted()
                let text =
                    days == [1, 2, 3, 4, 5]
                    ? words.say(web.language, "times.workdays")
                    : days == [6, 7]
                        ? words.say(web.language, "times.weekend") : days.map { web.format.weekday(Int($0)) }.joined(separator: " ")
                return "\(text) \(hours)"
            case "monthly":
                return
                    "\((segment["repeatData"]?.arrayValue ?? []).compactMap(\.intValue).map(String.init).joined(separator: ", ")) \(hours)"
            case "date": return "\((segment["repeatData"]?.arrayValue ?? []).compactMap(\.stringValue).joined(separator: ", ")) \(hours)"
            default: return "\(words.say(web.language, "times.daily")) \(hours)"
            }
        }
    }

    func price(_ json: JSON?, _ web: WebRequest) -> String? {
        guard let mode = json?["mode"]?.intValue, let fen = json?["amount"]?.intValue else { return nil }
        return words.say(web.language, "price.\(mode)", ["amount": web.format.money(fen)])
    }

    func shareLot(_ web: WebRequest) async throws -> WebResult { .page(try await shareLotPage(web)) }

    private func shareLotPage(_ web: WebRequest, error: String? = nil) async throws -> Page {
        let parkCode = web.names["lot"] ?? ""
        let lot = try await city.call("lot.detail", [("parkCode", .string(parkCode))], as: .provider)
        let list = try await city.call("share.product.list", [("parkCode", .string(parkCode))], as: .provider)
        let plan = Plan(web)
        let products = (list["products"]?.arrayValue ?? []).prefix(50).map { product -> JSON in
            let offerId = product["offerId"]?.stringValue
            let isMonthly = product["price"]?["mode"]?.intValue == 3 || offerId == nil
            return .compact([
                ("offerId", .optional(offerId)), ("space", product["spaceNo"] ?? .null), ("count", product["count"] ?? .null),
                ("times", .array(segments(product["segments"], web).map { .string($0) })),
                ("price", .optional(price(product["price"], web))),
                ("grace", product["lateGraceMin"] ?? .null), ("isMonthly", .bool(isMonthly)), ("isPool", .bool(offerId == nil)),
                (
                    "once",
                    isMonthly
                        ? .null
                        : .string(
                            "/lots/\(WebRequest.escape(parkCode))?\(plan.query(web.format, purpose: 2))\(offerId.map { "&offerId=\(WebRequest.escape($0))" } ?? "")"
                        )
                ),
            ])
        }
        var members: [(String, JSON)] = [
            ("code", .string(parkCode)), ("name", lot["parkName"] ?? .null), ("address", lot["address"] ?? .null),
            ("standing", standing(lot, web)),
            ("products", .array(Array(products))), ("error", .optional(error)),
            ("today", .string(CivilTime.text(ofDay: CivilTime.day(of: web.now)))),
        ]
        if let person = web.person, person.may("driver") {
            members += [("vehicles", .array(try await vehicles(person, web))), ("canBook", true)]
        }
        return Page("driver/shareLot", members, status: error == nil ? 200 : 409)
    }

    func subscribe(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        let plates = (web.lists["plates"] ?? []).prefix(5).compactMap { Plate($0) }
        guard !plates.isEmpty else { return .page(try await shareLotPage(web, error: words.say(web.language, "share.choosePlate"))) }
        let from = max(web.now, Plan.day(web.text("from", max: 10)).map { CivilTime.start(ofDay: $0) } ?? web.now)
        let months = web.number("months", in: 1...12) ?? 1
        let date = CivilTime.date(ofDay: CivilTime.day(of: from))
        let month = date.month - 1 + months
        let end = (0...3).compactMap { CivilTime.day(year: date.year + month / 12, month: month % 12 + 1, day: date.day - $0) }.first
        do {
            try await city.call(
                "share.apply",
                [
                    ("parkCode", .string(web.names["lot"] ?? "")), ("userToken", .string(person.userToken)),
                    ("plateNos", .array(plates.map { .string($0.revealed) })),
                    ("offerId", web.text("offerId", max: 32).isEmpty ? .null : .string(web.text("offerId", max: 32))),
                    ("periodFrom", .int(from)),
                    ("periodTo", .int(CivilTime.start(ofDay: end ?? CivilTime.day(of: from) + 30 * months))),
                ], as: .provider)
        } catch { return .page(try await shareLotPage(web, error: refusal(error, web))) }
        return .redirect("/share")
    }

    /// A subscription of the signed-in driver; another driver's is not found.
    private func ownSubscription(_ web: WebRequest) async throws -> JSON {
        guard let person = web.person else { throw WebError.forbidden }
        let list = try await city.call("share.list", [("userToken", .string(person.userToken))], as: .provider)
        guard let row = (list["subscriptions"]?.arrayValue ?? []).first(where: { $0["authNo"]?.stringValue == web.names["auth"] }) else {
            throw WebError.notFound
        }
        return row
    }

    func endSubscription(_ web: WebRequest) async throws -> WebResult {
        let own = try await ownSubscription(web)
        do { try await city.call("share.cancel", [("authNo", own["authNo"] ?? .null)], as: .provider) } catch {
            return try await share(web, error: refusal(error, web))
        }
        return .redirect("/share")
    }

    func renewSubscription(_ web: WebRequest) async throws -> WebResult {
        let own = try await ownSubscription(web)
        let to = own["validTo"]?.intValue ?? web.now
        let date = CivilTime.date(ofDay: CivilTime.day(of: to))
        let next = (0...3).compactMap { CivilTime.day(year: date.year + date.month / 12, month: date.month % 12 + 1, day: date.day - $0) }
            .first
        do {
            try await city.call(
                "share.renew",
                [
                    ("authNo", own["authNo"] ?? .null),
                    ("periodTo", .int(next.map { CivilTime.start(ofDay: $0) } ?? to + 30 * CivilTime.dayLength)),
                ],
                as: .provider)
        } catch { return try await share(web, error: refusal(error, web)) }
        return .redirect("/share")
    }

    func paySubscription(_ web: WebRequest) async throws -> WebResult {
        let own = try await ownSubscription(web)
        guard let billNo = own["payInfo"]?["billNo"], let amount = own["payInfo"]?["amount"] else { return .redirect("/share") }
        do {
            try await city.call(
                "pay.create",
                [
                    ("billNo", billNo), ("payNo", .string("W-\(web.names["auth"] ?? "")-\(billNo.stringValue ?? "")")), ("amount", amount),
                    ("channel", .string(settings.isTest ? "sandbox" : "wechat")),
                ], as: .provider, parkCode: own["parkCode"]?.stringValue)
        } catch { return try await share(web, error: refusal(error, web)) }
        return .redirect("/share")
    }
}
