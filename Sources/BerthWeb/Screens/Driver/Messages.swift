import BerthCore
import BerthWire

// Driver: messages. They are read from the orders, penalties and subscriptions themselves, so that a message cannot contradict them.
extension Site {
    static var messageRoutes: [Route] {
        [
            .get("/mine/messages", .role("driver")) { try await $0.messagesPage($1) },
            .get("/tickets/:order/receipt", .role("driver")) { try await $0.receipt($1) },
        ]
    }

    /// Something that a driver should know.
    struct Message: Sendable {
        /// The time at which it came about; nil for what holds now.
        var at: Int64?
        var text: String
        /// The lot or the subject.
        var about: String
        var link: String
        var isBad = false
    }

    /// The cookie with the account and the time up to which its messages have been seen.
    private static let seenCookie = "berth_seen"
    private static let messagesMax = 100

    /// ms; 0 where this account has looked at none in this browser.
    private func seen(_ person: SignedIn, _ web: WebRequest) -> Int64 {
        let parts = (web.cookies[Site.seenCookie] ?? "").split(separator: ".", maxSplits: 1)
        guard parts.count == 2, String(parts[0]) == person.personId else { return 0 }
        return Int64(parts[1]) ?? 0
    }

    func messagesPage(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        let messages = try await messages(of: person, web)
        let seen = seen(person, web)
        let rows = messages.map { message -> JSON in
            [
                "at": .string(message.at.map(web.format.time) ?? words.say(web.language, "message.now")), "text": .string(message.text),
                "about": .string(message.about), "link": .string(message.link), "isBad": .bool(message.isBad),
                "isNew": .bool((message.at ?? 0) > seen),
            ]
        }
        var page = Page("driver/messages", [("messages", .array(rows)), ("none", .bool(rows.isEmpty)), ("tabMessages", true)])
        page.cookies.append(Cookie(name: Site.seenCookie, value: "\(person.personId).\(web.now)", maxAge: 31_536_000))
        return .page(page)
    }

    /// The number of messages since the last look; nil where there are none.
    func newMessages(_ web: WebRequest) async -> Int? {
        // The tabs are no part of what follows the data.
        guard let person = web.person, !web.isStream, let messages = try? await messages(of: person, web) else { return nil }
        let seen = seen(person, web)
        let count = messages.count { ($0.at ?? 0) > seen }
        return count == 0 ? nil : count
    }

    /// Messages of what holds now, then the others, the newest first.
    private func messages(of person: SignedIn, _ web: WebRequest) async throws -> [Message] {
        let token: JSON = .string(person.userToken)
        let orders = try await city.call("order.list", [("userToken", token), ("limit", .int(Int64(Site.messagesMax)))], as: .provider)
        let credit = try await city.call("user.credit.query", [("userToken", token)], as: .provider)
        let appeals = try await city.call("credit.appeal.list", [("userToken", token)], as: .provider)
        let shares = try await city.call("share.list", [("userToken", token)], as: .provider)
        let names = try await lotNames()
        func name(_ row: JSON) -> String { row["parkCode"]?.stringValue.map { names[$0] ?? $0 } ?? "" }
        let penalties = credit["penalties"]?.arrayValue ?? []
        var messages: [Message] = []
        var open = 0
        for order in orders["orders"]?.arrayValue ?? [] {
            let number = order["orderNo"]?.stringValue
            let penalty = penalties.first { $0["orderNo"]?.stringValue == number }
            messages += self.messages(of: order, penalty, name(order), web)
            // The list has no fees: those of the few stays that are not paid are asked for. No lot is asked, which might be away.
            guard [2, 3].contains(order["status"]?.intValue), [1, 4].contains(order["payState"]?.intValue), open < 5 else { continue }
            open += 1
            let detail = try? await city.call(
                "order.detail", [("orderNo", order["orderNo"] ?? .null), ("userToken", token)], as: .provider)
            if let fen = detail?["fees"]?["payable"]?.intValue, fen > 0 {
                messages.append(message("pay", order, name(order), at: nil, ["amount": web.format.money(fen)], isBad: true, web))
            }
        }
        for appeal in appeals["appeals"]?.arrayValue ?? [] {
            guard let at = appeal["answerTime"]?.intValue else { continue }
            let isGranted = appeal["state"]?.stringValue == "granted"
            messages.append(
                Message(
                    at: at, text: words.say(web.language, isGranted ? "message.granted" : "message.rejected"),
                    about: words.say(web.language, "mine.standing"), link: "/mine/standing", isBad: !isGranted))
        }
        for share in shares["subscriptions"]?.arrayValue ?? [] { messages += self.messages(ofShare: share, name(share), web) }
        return Array(
            messages.filter { ($0.at ?? 0) <= web.now }.sorted { ($0.at ?? .max) > ($1.at ?? .max) }.prefix(Site.messagesMax))
    }

    private func message(
        _ key: String, _ order: JSON, _ lot: String, at: Int64?, _ values: [String: String] = [:], isBad: Bool = false, _ web: WebRequest
    ) -> Message {
        let window = web.format.window(order["enterStart"]?.intValue ?? 0, order["enterEnd"]?.intValue ?? 0)
        return Message(
            at: at, text: words.say(web.language, "message." + key, ["window": window].merging(values) { $1 }), about: lot,
            link: "/tickets/\(WebRequest.escape(order["orderNo"]?.stringValue ?? ""))", isBad: isBad)
    }

    private func messages(of order: JSON, _ penalty: JSON?, _ lot: String, _ web: WebRequest) -> [Message] {
        let format = web.format
        func time(_ name: String) -> Int64? { order[name]?.intValue }
        var out: [Message] = []
        func add(_ key: String, _ at: Int64?, _ values: [String: String] = [:], isBad: Bool = false) {
            guard let at else { return }
            out.append(message(key, order, lot, at: at, values, isBad: isBad, web))
        }
        add("promoted", time("promoteTime"))
        if order["rehomedFrom"] != nil { add("rehomed", time("createTime")) }
        if let info = order["payInfo"] {
            add(
                "payBy", time("promoteTime") ?? time("createTime"),
                ["amount": format.money(info["amount"]?.intValue ?? 0), "until": format.clock(info["payBy"]?.intValue ?? 0)], isBad: true)
        }
        let isCharged = penalty?["state"]?.stringValue == "inForce"
        switch order["endReason"]?.stringValue {
        case "cancelledLate": add(isCharged ? "breach" : "undone", time("endTime"), isBad: isCharged)
        case "noShow": add(isCharged ? "noShow" : "undone", time("endTime"), isBad: isCharged)
        case "noShowExcused": add("noShowExcused", time("endTime"))
        case "waitlistClosed": add("waitFailed", time("endTime"))
        case "holdRanOut": add("holdRanOut", time("endTime"), isBad: true)
        case "refusedByLot": add("lotRefused", time("endTime"), isBad: true)
        case "neverDelivered": add("neverDelivered", time("endTime"), isBad: true)
        case "revokedByLot", "closedByFlow", "displaced", "appointmentMoved": add("revoked", time("endTime"), isBad: true)
        case "appointmentCancelled": add("appointmentCancelled", time("endTime"))
        default: break
        }
        switch order["status"]?.intValue {
        case 2:
            if let until = time("leaveDeadline") {
                add("soon", until - 30 * 60_000, ["until": format.clock(until)])
                add("over", until, ["until": format.clock(until)], isBad: true)
            }
        case 3: add("done", time("leaveTime"))
        default: break
        }
        return out
    }

    private func messages(ofShare share: JSON, _ lot: String, _ web: WebRequest) -> [Message] {
        let format = web.format
        let to = share["validTo"]?.intValue ?? 0
        var out: [Message] = []
        func add(_ key: String, _ at: Int64?, _ values: [String: String] = [:], isBad: Bool = false) {
            out.append(
                Message(at: at, text: words.say(web.language, "message." + key, values), about: lot, link: "/share", isBad: isBad))
        }
        let week: Int64 = 7 * 86_400_000
        switch share["shareStatus"]?.intValue {
        case 1, 2: add("shareWarn", to - week, ["date": format.day(CivilTime.day(of: to))])
        case 5 where share["endReason"]?.stringValue == "offerClosed" && web.now < to:
            add("shareOwnerClosed", nil, ["amount": format.money(share["refunded"]?.intValue ?? 0)], isBad: true)
        case 6 where web.now < to: add("shareEnded", nil, isBad: true)
        case 7 where web.now < to: add("shareRefused", nil, isBad: true)
        default: break
        }
        if let info = share["payInfo"], let until = info["payBy"]?.intValue, web.now < until {
            add("sharePay", nil, ["amount": format.money(info["amount"]?.intValue ?? 0), "until": format.time(until)], isBad: true)
        }
        return out
    }

    // MARK: Receipt

    /// The cost of a stay and the payments for it, to be printed.
    func receipt(_ web: WebRequest) async throws -> WebResult {
        let order = try await ownOrder(web)
        let format = web.format
        let parkCode = order["parkCode"]?.stringValue ?? ""
        let lot = try? await city.call("lot.detail", [("parkCode", .string(parkCode))], as: .provider)
        let (enter, leave) = (order["enterTime"]?.intValue, order["leaveTime"]?.intValue)
        let fees = order["fees"]
        func money(_ name: String) -> JSON {
            .optional(fees?[name]?.intValue.flatMap { $0 == 0 && name == "discount" ? nil : format.money($0) })
        }
        let deposit = order["terms"]?["prepayAmount"]?.intValue ?? 0
        // Without a fee of the city the payment state is that of the deposit.
        let state: [Int64: String] = fees == nil && deposit == 0 ? [:] : [2: "paidState", 3: "refunded", 4: "arrears"]
        return .page(
            Page(
                "driver/receipt",
                [
                    ("orderNo", order["orderNo"] ?? .null), ("record", order["recordNo"] ?? .null),
                    ("lotName", lot?["parkName"] ?? .string(parkCode)), ("address", lot?["address"] ?? .null),
                    ("plate", .string(format.plate(order["plateNo"]?.stringValue ?? ""))), ("isDone", .bool(leave != nil)),
                    ("enter", .optional(enter.map(format.time))), ("leave", .optional(leave.map(format.time))),
                    ("stay", .optional(leave.flatMap { end in enter.map { format.duration(max(0, end - $0) / 60_000) } })),
                    ("total", money("total")), ("discount", money("discount")), ("discountBy", order["discountBy"] ?? .null),
                    ("paid", money("paid")), ("payable", money("payable")), ("isBilled", .bool(fees != nil)),
                    ("isCitys", .bool(order["terms"]?["billingParty"]?.intValue == 2)),
                    ("deposit", deposit > 0 ? .string(format.money(deposit)) : .null),
                    (
                        "state",
                        .optional(
                            state[order["payState"]?.intValue ?? 0].map {
                                (fees == nil ? words.say(web.language, "receipt.depositState") + " " : "")
                                    + words.say(web.language, "receipt.\($0)")
                            })
                    ),
                    ("made", .string(format.time(web.now))), ("back", .string("/tickets/\(WebRequest.escape(web.names["order"] ?? ""))")),
                ]))
    }
}
