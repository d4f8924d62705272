import BerthCore
import BerthWire

// Driver: shared places, once or by the month.
extension Site {
    static var shareRoutes: [Route] {
        [
            .get("/share", .anyone) { try await $0.share($1) },
            .get("/share/:lot", .anyone) { try await $0.shareLot($1) },
            .post("/share/:lot", .role("driver")) { try await $0.subscribe($1) },
            .get("/subscriptions/:auth/cancel", .role("driver")) { try await $0.endPage($1) },
            .get("/subscriptions/:auth/renew", .role("driver")) { try await $0.renewPage($1) },
            .post("/subscriptions/:auth/cancel", .role("driver")) { try await $0.endSubscription($1) },
            .post("/subscriptions/:auth/renew", .role("driver")) { try await $0.renewSubscription($1) },
            .post("/subscriptions/:auth/pay", .role("driver")) { try await $0.paySubscription($1) },
        ]
    }

    func share(_ web: WebRequest, error: String? = nil) async throws -> WebResult {
        let page = web.number("page", in: 1...1000) ?? 1
        let (lng, lat) = (web.text("lng", max: 16), web.text("lat", max: 16))
        let hasPoint = Double(lng).map { abs($0) <= 180 } == true && Double(lat).map { abs($0) <= 90 } == true
        let text = hasPoint ? "" : web.text("q", max: 64)
        let (lots, hasMore) = try await sharedLots(text, hasPoint ? (lng, lat) : nil, page: page, web)
        let place = hasPoint ? "lng=\(WebRequest.escape(lng))&lat=\(WebRequest.escape(lat))" : "q=\(WebRequest.escape(text))"
        var members: [(String, JSON)] = [
            ("lots", .array(lots)), ("q", .string(text)), ("error", .optional(error)), ("isNear", .bool(hasPoint)),
            ("more", hasMore ? .string("/share?\(place)&page=\(page + 1)") : .null),
        ]
        if let person = web.person, person.may("driver") { members.append(("subscriptions", .array(try await subscriptions(person, web)))) }
        return .page(Page("driver/share", members, status: error == nil ? 200 : 409))
    }

    /// Lots with shared places: near a point or a name with distance and price, else those with the most free places.
    private func sharedLots(_ text: String, _ point: (lng: String, lat: String)?, page: Int64, _ web: WebRequest) async throws -> (
        rows: [JSON], hasMore: Bool
    ) {
        let size: Int64 = 30
        guard point == nil, text.isEmpty else {
            let found = try await city.call(
                "lot.search",
                [
                    ("text", text.isEmpty ? .null : .string(text)), ("lng", .optional(point.map { Site.decimal($0.lng) })),
                    ("lat", .optional(point.map { Site.decimal($0.lat) })), ("radius", 5000), ("bizType", 2), ("pageSize", .int(size)),
                    ("page", .int(page)),
                ], as: .provider)
            let rows = (found["lots"]?.arrayValue ?? []).map { row -> JSON in
                .compact([
                    ("name", row["name"] ?? .null), ("address", row["address"] ?? .null), ("free", row["reserveRemain"] ?? 0),
                    ("distance", .string(web.format.distance(row["walkDistance"]?.intValue ?? 0))),
                    ("priceText", row["priceText"] ?? .null),
                    ("link", .string("/share/\(WebRequest.escape(row["parkCode"]?.stringValue ?? ""))")), ("standing", standing(row, web)),
                ])
            }
            return (rows, found["hasMore"]?.boolValue == true)
        }
        let (boards, _) = try await cache.boards(city)
        let all = boards.filter { ($0["shareQuota"]?.intValue ?? 0) > 0 }.sorted {
            ($1["shareFree"]?.intValue ?? 0, $0["parkCode"]?.stringValue ?? "") < (
                $0["shareFree"]?.intValue ?? 0, $1["parkCode"]?.stringValue ?? ""
            )
        }
        let rows = all.dropFirst(Int((page - 1) * size)).prefix(Int(size)).map { row -> JSON in
            .compact([
                ("name", row["parkName"] ?? .null), ("address", row["address"] ?? .null), ("free", row["shareFree"] ?? 0),
                ("link", .string("/share/\(WebRequest.escape(row["parkCode"]?.stringValue ?? ""))")), ("standing", standing(row, web)),
            ])
        }
        return (rows, all.count > Int(page * size))
    }

    private func subscriptions(_ person: SignedIn, _ web: WebRequest) async throws -> [JSON] {
        let format = web.format
        let list = try await city.call("share.list", [("userToken", .string(person.userToken))], as: .provider)
        let names = try await lotNames()
        return (list["subscriptions"]?.arrayValue ?? []).map { row in
            let code = row["parkCode"]?.stringValue ?? ""
            let status = row["shareStatus"]?.intValue ?? 0
            // Before it is in force it waits for the review, for its payment, or for the answer to the payment.
            let isWaiting = status == 0
            let step = row["payInfo"] != nil ? "pay" : "review"
            let ended = row["endReason"]?.stringValue == "offerClosed" ? "share.ownerClosed" : nil
            return .compact([
                ("authNo", row["authNo"] ?? .null), ("lotName", .string(names[code] ?? code)),
                ("status", .string(words.say(web.language, isWaiting ? "share.wait.\(step)" : "share.status.\(status)"))),
                ("why", .optional(ended.map { words.say(web.language, $0, ["amount": format.money(row["refunded"]?.intValue ?? 0)]) })),
                ("price", .optional(price(row["price"], web))), ("paidText", .optional(row["paid"]?.intValue.map(format.money))),
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
                ("grace", product["lateGraceMin"] ?? .null), ("isMonthly", .bool(isMonthly)),
                ("noPrice", .bool(price(product["price"], web) == nil)), ("isPool", .bool(offerId == nil)),
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
            ("products", .array(Array(products))), ("error", .optional(error)), ("months", .int(web.number("months", in: 1...12) ?? 1)),
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
        let until = CivilTime.start(ofDay: end ?? CivilTime.day(of: from) + 30 * months)
        // Its price and its times are shown first.
        guard web.isOn("confirm") else { return .page(try await subscriptionOffer(web, plates, from: from, until: until, months: months)) }
        do {
            try await city.call(
                "share.apply",
                [
                    ("parkCode", .string(web.names["lot"] ?? "")), ("userToken", .string(person.userToken)),
                    ("plateNos", .array(plates.map { .string($0.revealed) })),
                    ("offerId", web.text("offerId", max: 32).isEmpty ? .null : .string(web.text("offerId", max: 32))),
                    ("periodFrom", .int(from)),
                    ("periodTo", .int(until)),
                ], as: .provider)
        } catch { return .page(try await shareLotPage(web, error: refusal(error, web))) }
        return .redirect("/share", said: words.say(web.language, "share.done.applied"))
    }

    /// A subscription before it is asked for: its place, its times and its price.
    private func subscriptionOffer(_ web: WebRequest, _ plates: [Plate], from: Int64, until: Int64, months: Int64) async throws -> Page {
        let parkCode = web.names["lot"] ?? ""
        let format = web.format
        let offerId = web.text("offerId", max: 32)
        let lot = try await city.call("lot.detail", [("parkCode", .string(parkCode))], as: .provider)
        let list = try await city.call("share.product.list", [("parkCode", .string(parkCode))], as: .provider)
        let product = (list["products"]?.arrayValue ?? []).first { ($0["offerId"]?.stringValue ?? "") == offerId }
        let fen = product?["price"]?["amount"]?.intValue ?? 0
        let isMonthly = product?["price"]?["mode"]?.intValue == 3
        var lines = [lot["parkName"]?.stringValue ?? parkCode]
        lines.append(
            offerId.isEmpty
                ? words.say(web.language, "share.anySpace")
                : "\(words.say(web.language, "share.space")) \(product?["spaceNo"]?.stringValue ?? offerId)")
        lines += segments(product?["segments"], web)
        lines.append("\(format.day(CivilTime.day(of: from))) – \(format.day(CivilTime.day(of: until)))")
        let cost =
            isMonthly
            ? words.say(web.language, "share.costMonths", ["amount": format.money(fen * months), "months": String(months)])
            : fen > 0
                ? words.say(web.language, "share.costStay", ["price": price(product?["price"], web) ?? ""])
                : words.say(web.language, "share.costNone")
        var fields: [JSON] = [
            ["name": "offerId", "value": .string(offerId)], ["name": "from", "value": .string(web.text("from", max: 10))],
            ["name": "months", "value": .int(months)],
        ]
        for plate in plates { fields.append(["name": "plates", "value": .string(plate.revealed)]) }
        return Page(
            "driver/confirm",
            [
                ("title", .string(words.say(web.language, "share.monthly"))), ("action", .string("/share/\(WebRequest.escape(parkCode))")),
                ("plate", .string(plates.map { format.plate($0.revealed) }.joined(separator: " / "))),
                ("lines", .array(lines.map { .string($0) })),
                ("consequence", .string(cost)), ("confirm", true), ("fields", .array(fields)),
                ("back", .string("/share/\(WebRequest.escape(parkCode))")), ("verb", .string(words.say(web.language, "share.apply"))),
            ])
    }

    /// A page that shows what a change of a subscription brings, before it is made.
    private func confirmation(_ own: JSON, _ web: WebRequest, _ key: String, values: [String: String], isBad: Bool) async throws -> Page {
        let names = try await lotNames()
        let code = own["parkCode"]?.stringValue ?? ""
        return Page(
            "driver/confirm",
            [
                ("title", .string(words.say(web.language, "share.\(key)"))),
                ("action", .string("/subscriptions/\(WebRequest.escape(web.names["auth"] ?? ""))/\(key == "end" ? "cancel" : key)")),
                (
                    "plate",
                    .string((own["plateNos"]?.arrayValue ?? []).compactMap(\.stringValue).map(web.format.plate).joined(separator: " / "))
                ), ("lines", [.string(names[code] ?? code)]),
                ("consequence", .string(words.say(web.language, "share.what.\(key)", values))),
                ("isBad", .bool(isBad)), ("confirm", true), ("back", "/share"),
                ("verb", .string(words.say(web.language, "share.verb.\(key)"))),
            ])
    }

    func endPage(_ web: WebRequest) async throws -> WebResult {
        let own = try await ownSubscription(web)
        guard [0, 1, 2, 3].contains(own["shareStatus"]?.intValue ?? -1) else { return .redirect("/share") }
        let values = [
            "until": web.format.day(CivilTime.day(of: own["validTo"]?.intValue ?? 0)),
            "amount": web.format.money(own["paid"]?.intValue ?? 0),
        ]
        let isPaid = (own["paid"]?.intValue ?? 0) > 0
        return .page(
            try await confirmation(
                own, web, "end", values: values.merging(["paid": isPaid ? words.say(web.language, "share.noRefund", values) : ""]) { $1 },
                isBad: true))
    }

    func renewPage(_ web: WebRequest) async throws -> WebResult {
        let own = try await ownSubscription(web)
        guard [1, 2].contains(own["shareStatus"]?.intValue ?? -1) else { return .redirect("/share") }
        let until = Site.renewed(own, now: web.now)
        let isMonthly = own["price"]?["mode"]?.intValue == 3
        let cost =
            isMonthly
            ? words.say(
                web.language, "share.costMonths", ["amount": web.format.money(own["price"]?["amount"]?.intValue ?? 0), "months": "1"])
            : own["price"] == nil
                ? words.say(web.language, "share.costNone")
                : words.say(web.language, "share.costStay", ["price": price(own["price"], web) ?? ""])
        return .page(
            try await confirmation(
                own, web, "renew", values: ["until": web.format.day(CivilTime.day(of: until)), "cost": cost], isBad: false))
    }

    /// The end of a subscription that is renewed by a month.
    private static func renewed(_ own: JSON, now: Int64) -> Int64 {
        let to = own["validTo"]?.intValue ?? now
        let date = CivilTime.date(ofDay: CivilTime.day(of: to))
        let next = (0...3).compactMap { CivilTime.day(year: date.year + date.month / 12, month: date.month % 12 + 1, day: date.day - $0) }
            .first
        return next.map { CivilTime.start(ofDay: $0) } ?? to + 30 * CivilTime.dayLength
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
        guard web.isOn("confirm") else { return .redirect("/subscriptions/\(WebRequest.escape(web.names["auth"] ?? ""))/cancel") }
        do { try await city.call("share.cancel", [("authNo", own["authNo"] ?? .null)], as: .provider) } catch {
            return try await share(web, error: refusal(error, web))
        }
        return .redirect("/share", said: words.say(web.language, "share.done.ended"))
    }

    func renewSubscription(_ web: WebRequest) async throws -> WebResult {
        let own = try await ownSubscription(web)
        guard web.isOn("confirm") else { return .redirect("/subscriptions/\(WebRequest.escape(web.names["auth"] ?? ""))/renew") }
        do {
            try await city.call(
                "share.renew", [("authNo", own["authNo"] ?? .null), ("periodTo", .int(Site.renewed(own, now: web.now)))], as: .provider)
        } catch { return try await share(web, error: refusal(error, web)) }
        return .redirect("/share", said: words.say(web.language, "share.done.renewed"))
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
        return .redirect("/share", said: words.say(web.language, "share.paid", ["amount": web.format.money(amount.intValue ?? 0)]))
    }
}
