import BerthCore
import BerthLink
import BerthWire

// Driver: the ticket of a reservation, and its verbs. Each verb shows its consequence before it is done.
extension Site {
    static var ticketRoutes: [Route] {
        [
            .get("/tickets/:order", .role("driver")) { try await $0.ticket($1) },
            .get("/tickets/:order/cancel", .role("driver")) { try await $0.cancelPage($1) },
            .post("/tickets/:order/cancel", .role("driver")) { try await $0.cancel($1) },
            .get("/tickets/:order/change", .role("driver")) { try await $0.changePage($1) },
            .post("/tickets/:order/change", .role("driver")) { try await $0.change($1) },
            .get("/tickets/:order/delay", .role("driver")) { try await $0.delayPage($1) },
            .post("/tickets/:order/delay", .role("driver")) { try await $0.delay($1) },
            .get("/tickets/:order/pay", .role("driver")) { try await $0.payPage($1) },
            .post("/tickets/:order/pay", .role("driver")) { try await $0.pay($1) },
            .post("/tickets/:order/leave", .role("driver")) { try await $0.leaveWaitlist($1) },
        ]
    }

    /// The order of the signed-in driver; another driver's is not found.
    func ownOrder(_ web: WebRequest) async throws -> JSON {
        guard let person = web.person else { throw WebError.forbidden }
        return try await city.call(
            "order.detail",
            [("orderNo", .string(web.names["order"] ?? "")), ("userToken", .string(person.userToken))], as: .provider)
    }

    func ticket(_ web: WebRequest) async throws -> WebResult {
        let order = try await ownOrder(web)
        var page = try await ticketPage(order, web)
        page.isKept = true
        return .page(page)
    }

    private func ticketPage(_ order: JSON, _ web: WebRequest, error: CityError? = nil) async throws -> Page {
        let parkCode = order["parkCode"]?.stringValue ?? ""
        let lot = try? await city.call("lot.detail", [("parkCode", .string(parkCode))], as: .provider)
        var members = orderView(order, web)
        members += [
            ("lotName", lot?["parkName"] ?? .string(parkCode)), ("address", lot?["address"] ?? .null),
            ("phone", lot?["servicePhone"] ?? .null),
            ("entrances", .array((lot?["entrances"]?.arrayValue ?? []).compactMap { $0["gateName"] })), ("lng", lot?["lng"] ?? .null),
            ("lat", lot?["lat"] ?? .null), ("points", .optional(lot.map(Site.ticketPoint))),
            ("isOffline", .bool(lot?["online"]?.boolValue == false)),
            ("standing", lot.map { standing($0, web) } ?? .null),
            ("qr", .optional(QRCode.svg(order["orderNo"]?.stringValue ?? "", label: order["orderNo"]?.stringValue ?? ""))),
            ("error", .optional(error.map { refusal($0, web) })),
        ]
        return Page("driver/ticket", members, live: "driver/ticket.live", status: error == nil ? 200 : 409)
    }

    /// The lot as the one point of a small map.
    static func ticketPoint(_ lot: JSON) -> String {
        JSON.array([["x": lot["lng"] ?? "", "y": lot["lat"] ?? "", "n": lot["parkName"] ?? "", "k": "l3"]]).string
    }

    /// An order as its driver sees it.
    func orderView(_ order: JSON, _ web: WebRequest) -> [(String, JSON)] {
        let format = web.format
        let status = order["status"]?.intValue ?? 0
        func time(_ name: String) -> Int64? { order[name]?.intValue }
        let (enterStart, enterEnd) = (time("enterStart") ?? 0, time("enterEnd") ?? 0)
        let terms = order["terms"]
        let isIn = status == 2
        let isDelayed = order["delayed"]?.boolValue == true
        let leaveBy = time("leaveDeadline")
        let fees = order["fees"]
        let payable = fees?["payable"]?.intValue ?? 0
        let deposit = order["payInfo"]
        let notes = notes(of: order, web)
        let wasWaiting = status == 9 || time("promoteTime") != nil
        let timeline: [(String, Int64?)] = [
            (wasWaiting ? "joined" : "made", time("createTime")), ("made", wasWaiting ? time("promoteTime") : nil),
            ("entered", time("enterTime")), ("left", time("leaveTime")), ("ended", time("endTime")),
        ]
        let color = order["plateColor"]?.intValue ?? -1
        return [
            ("orderNo", order["orderNo"] ?? .null), ("lotCode", order["parkCode"] ?? .null), ("status", .int(status)),
            ("statusText", .string(words.say(web.language, "status.\(status)"))), ("statusClass", .string("s\(status)")),
            ("bizText", .string(words.say(web.language, "biz.\(order["bizType"]?.intValue ?? 1)"))),
            ("plate", .string(format.plate(order["plateNo"]?.stringValue ?? ""))), ("isGreen", .bool([4, 5].contains(color))),
            ("isYellow", .bool(color == 1)), ("window", .string(format.window(enterStart, enterEnd))),
            ("from", .string(format.clock(enterStart))), ("until", .string(format.clock(enterEnd))),
            ("day", .string(format.day(CivilTime.day(of: enterStart)))),
            ("planTime", .int(time("planTime") ?? 0)), ("enterStart", .int(enterStart)), ("enterEnd", .int(enterEnd)),
            ("leaveBy", .optional(leaveBy.map(format.time))), ("spaceNo", order["spaceNo"] ?? .null),
            ("delivered", .string(words.say(web.language, "delivery.\(order["deliverStatus"]?.intValue ?? 0)"))),
            ("waitPosition", order["waitPosition"] ?? .null), ("notes", .array(notes.map { .string($0) })),
            (
                "timeline",
                .array(
                    timeline.compactMap { key, at in
                        at.map {
                            let what = words.say(web.language, key == "ended" ? "status.\(status)" : "ticket.t.\(key)")
                            return ["what": .string(what), "at": .string(format.time($0))]
                        }
                    })
            ),
            ("isOpen", .bool([0, 1, 2, 9].contains(status))), ("hasCode", .bool([0, 1, 2].contains(status))),
            ("isBooked", .bool(status == 1)), ("isHeld", .bool(status == 0)),
            ("isIn", .bool(isIn)), ("isWaiting", .bool(status == 9)), ("isOver", .bool(![0, 1, 2, 9].contains(status))),
            ("mayCancel", .bool([0, 1].contains(status))), ("mayChange", .bool(status == 1)),
            ("mayDelay", .bool(status == 1 && !isDelayed && order["bizType"]?.intValue == 1 && (terms?["delayMin"]?.intValue ?? 0) > 0)),
            ("hasReceipt", .bool(time("leaveTime") != nil)),
            ("isLost", .bool([6, 8, 10].contains(status))), ("isNoShow", .bool(status == 7)), ("isBreach", .bool(status == 5)),
            ("overstay", order["overstay"] ?? .null),
            ("total", .optional(fees?["total"]?.intValue.map(format.money))),
            ("paid", .optional(fees?["paid"]?.intValue.map(format.money))),
            ("payable", payable > 0 ? .string(format.money(payable)) : .null),
            ("mustPay", .bool(deposit != nil || (payable > 0 && isIn) || (payable > 0 && status == 3))),
            ("deposit", .optional(deposit?["amount"]?.intValue.map(format.money))), ("holdDeadline", order["holdDeadline"] ?? .null),
            ("others", others(of: order, web)),
        ]
    }

    /// The sentences that a ticket has for its present state.
    private func notes(of order: JSON, _ web: WebRequest) -> [String] {
        let (format, status) = (web.format, order["status"]?.intValue ?? 0)
        func time(_ name: String) -> Int64? { order[name]?.intValue }
        let (enterStart, enterEnd) = (time("enterStart") ?? 0, time("enterEnd") ?? 0)
        var notes: [String] = []
        func note(_ key: String, _ values: [String: String] = [:]) { notes.append(words.say(web.language, "ticket." + key, values)) }
        if status == 1 {
            if web.now < enterStart { note("opens", ["at": format.time(enterStart)]) }
            if enterStart <= web.now, web.now <= enterEnd { note("openNow", ["until": format.clock(enterEnd)]) }
            if web.now > enterEnd { note("windowOver") }
            if order["delayed"]?.boolValue == true, web.now <= enterEnd { note("delayed", ["until": format.time(enterEnd)]) }
        }
        if status == 2, let leaveBy = time("leaveDeadline") {
            let left = leaveBy - web.now
            if left < 0 {
                note("over", ["min": String(-left / 60_000)])
            } else if left < 30 * 60_000 {
                note("soon", ["min": String(left / 60_000)])
            }
        }
        if status == 0, let until = time("holdDeadline") {
            note(order["payInfo"] == nil ? "held" : "payBy", ["until": format.clock(until)])
        }
        if let other = order["rehomedTo"]?.stringValue { note("rehomed", ["order": other]) }
        if status == 9 { note("waits") }
        return notes
    }

    /// Up to four lots with room instead.
    private func others(of order: JSON, _ web: WebRequest) -> JSON {
        let format = web.format
        return .array(
            (order["alternatives"]?.arrayValue ?? []).prefix(4).map { other in
                let plan = Plan(web)
                let code = WebRequest.escape(other["parkCode"]?.stringValue ?? "")
                return .compact([
                    ("name", other["name"] ?? .null),
                    ("walk", .string(words.say(web.language, "find.walk", ["min": String(other["walkMin"]?.intValue ?? 0)]))),
                    (
                        "link",
                        .string(
                            "/lots/\(code)?\(plan.query(format, purpose: other["bizType"]?.intValue, at: other["planTime"]?.intValue))"
                        )
                    ),
                ])
            })
    }

    /// After a refusal the ticket itself says why.
    private func refused(_ web: WebRequest, _ error: CityError) async throws -> WebResult {
        if error.isUnreachable { throw error }
        return .page(try await ticketPage(try await ownOrder(web), web, error: error))
    }

    private func ticketAddress(_ web: WebRequest) -> String { "/tickets/\(WebRequest.escape(web.names["order"] ?? ""))" }

    // MARK: Cancelling

    func cancelPage(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        let order = try await ownOrder(web)
        guard [0, 1].contains(order["status"]?.intValue ?? -1) else { return .redirect(ticketAddress(web)) }
        let until = order["terms"]?["freeCancelUntil"]?.intValue ?? 0
        let isLate = order["status"]?.intValue == 1 && web.now >= until
        let credit = try await city.call(
            "user.credit.query",
            [
                ("userToken", .string(person.userToken)), ("parkCode", order["parkCode"] ?? .null), ("bizType", order["bizType"] ?? .null),
            ], as: .provider)
        func left(_ name: String) -> Int64? {
            (credit["counters"]?.arrayValue ?? []).first { $0["name"]?.stringValue == name }.flatMap { counter in
                counter["max"]?.intValue.flatMap { most in counter["used"]?.intValue.map { max(0, most - $0) } }
            }
        }
        let day = left("cancelMaxPerDay").map(String.init) ?? "?"
        let month = left("cancelMaxPerMonth").map(String.init) ?? "?"
        return .page(
            Page(
                "driver/confirm",
                orderView(order, web) + [
                    ("title", .string(words.say(web.language, "cancel.title"))), ("action", .string(ticketAddress(web) + "/cancel")),
                    (
                        "consequence",
                        .string(
                            isLate
                                ? words.say(web.language, "cancel.breach", ["until": web.format.time(until)])
                                : words.say(web.language, "cancel.free", ["until": web.format.time(until), "day": day, "month": month]))
                    ), ("isBad", .bool(isLate)), ("confirm", .bool(isLate)), ("back", .string(ticketAddress(web))),
                    ("verb", .string(words.say(web.language, isLate ? "cancel.anyway" : "cancel.verb"))),
                ]))
    }

    func cancel(_ web: WebRequest) async throws -> WebResult {
        let order = try await ownOrder(web)
        do {
            try await city.call(
                "order.cancel",
                [("orderNo", order["orderNo"] ?? .null), ("confirmBreach", web.isOn("confirm") ? true : .null)], as: .provider)
        } catch {
            // The free time ended while the page was open: the consequence is another one now.
            if error.code == 1124 { return .redirect(ticketAddress(web) + "/cancel") }
            if error.code == 1121 { return .redirect(ticketAddress(web)) }
            return try await refused(web, error)
        }
        return .redirect(ticketAddress(web))
    }

    // MARK: Changing, delaying

    func changePage(_ web: WebRequest, error: String? = nil) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        let order = try await ownOrder(web)
        guard order["status"]?.intValue == 1 else { return .redirect(ticketAddress(web)) }
        let planTime = order["planTime"]?.intValue ?? web.now
        let terms = order["terms"]
        let changesLeft = max(0, (terms?["plateChangesMax"]?.intValue ?? 1) - (order["plateChanges"]?.intValue ?? 0))
        let (early, late) = (terms?["earlyMin"]?.intValue ?? 0, terms?["lateMin"]?.intValue ?? 0)
        /// The choice of the driver, after a refusal too.
        func kept(_ name: String, _ present: String) -> String { web.text(name, max: 10).isEmpty ? present : web.text(name, max: 10) }
        return .page(
            Page(
                "driver/change",
                orderView(order, web) + [
                    ("day", .string(kept("day", CivilTime.text(ofDay: CivilTime.day(of: planTime))))),
                    ("at", .string(kept("at", web.format.clock(planTime)))), ("error", .optional(error)),
                    ("vehicles", .array(try await vehicles(person, web))), ("plateNo", order["plateNo"] ?? .null),
                    ("plateChanges", .int(changesLeft)), ("mayChangePlate", .bool(changesLeft > 0)),
                    ("windowWhat", .string(words.say(web.language, "change.window", ["early": String(early), "late": String(late)]))),
                    ("action", .string(ticketAddress(web) + "/change")),
                    ("back", .string(ticketAddress(web))),
                    (
                        "cancelUntil",
                        .optional(
                            (order["terms"]?["freeCancelUntil"]?.intValue).map { until in
                                words.say(
                                    web.language, web.now < until ? "change.cancelUntil" : "change.cancelOver",
                                    ["until": web.format.time(until)])
                            })
                    ),
                ], status: error == nil ? 200 : 409))
    }

    func change(_ web: WebRequest) async throws -> WebResult {
        let order = try await ownOrder(web)
        let old = order["planTime"]?.intValue ?? 0
        var data: [(String, JSON)] = [("orderNo", order["orderNo"] ?? .null)]
        // The form has whole minutes: a minute that was not changed is the moment that was booked.
        if let time = Plan.time(web.text("day", max: 10), web.text("at", max: 5), now: web.now), time != old / 60_000 * 60_000 {
            data.append(("planTime", .int(time)))
        }
        let plate = web.text("plate", max: 16).isEmpty ? web.text("vehicle", max: 16) : web.text("plate", max: 16)
        if let plate = Plate(plate), plate.revealed != order["plateNo"]?.stringValue {
            data.append(("plateNo", .string(plate.revealed)))
            data.append(("plateColor", .int(web.number("color", in: 0...12) ?? Site.usualColor(of: plate))))
        }
        guard data.count > 1 else { return .redirect(ticketAddress(web)) }
        do { try await city.call("order.modify", data, as: .provider) } catch {
            if error.isUnreachable { throw error }
            return try await changePage(web, error: words.say(web.language, "change.refused", ["why": refusal(error, web)]))
        }
        return .redirect(ticketAddress(web), said: words.say(web.language, "ticket.changed"))
    }

    func delayPage(_ web: WebRequest) async throws -> WebResult {
        let order = try await ownOrder(web)
        let minutes = order["terms"]?["delayMin"]?.intValue ?? 0
        // A delay that the ticket does not offer leads back to it.
        guard orderView(order, web).contains(where: { $0.0 == "mayDelay" && $0.1 == true }) else { return .redirect(ticketAddress(web)) }
        let end = (order["enterEnd"]?.intValue ?? 0) + minutes * 60_000
        return .page(
            Page(
                "driver/confirm",
                orderView(order, web) + [
                    ("title", .string(words.say(web.language, "delay.title"))), ("action", .string(ticketAddress(web) + "/delay")),
                    (
                        "consequence",
                        .string(words.say(web.language, "delay.what", ["until": web.format.time(end), "min": String(minutes)]))
                    ),
                    ("back", .string(ticketAddress(web))), ("verb", .string(words.say(web.language, "delay.verb"))),
                ]))
    }

    func delay(_ web: WebRequest) async throws -> WebResult {
        let order = try await ownOrder(web)
        do { try await city.call("order.delay", [("orderNo", order["orderNo"] ?? .null)], as: .provider) } catch {
            return try await refused(web, error)
        }
        return .redirect(ticketAddress(web))
    }

    func leaveWaitlist(_ web: WebRequest) async throws -> WebResult {
        let order = try await ownOrder(web)
        do { try await city.call("waitlist.leave", [("orderNo", order["orderNo"] ?? .null)], as: .provider) } catch {
            return try await refused(web, error)
        }
        return .redirect(ticketAddress(web))
    }

    // MARK: Paying

    /// The bill of an order now: its deposit, or the fee of its stay; nil where nothing is due.
    private func bill(_ order: JSON) async throws -> (billNo: String, fen: Int64)? {
        if let info = order["payInfo"], let billNo = info["billNo"]?.stringValue, let fen = info["amount"]?.intValue {
            return (billNo, fen)
        }
        guard order["recordNo"] != nil else { return nil }
        do {
            let bill = try await city.call("fee.query", [("orderNo", order["orderNo"] ?? .null)], as: .provider)
            guard let billNo = bill["billNo"]?.stringValue, let fen = bill["payable"]?.intValue, fen > 0 else { return nil }
            return (billNo, fen)
        } catch {
            guard [1400, 1401, 1404, 1406, 600].contains(error.code) else { throw error }
            return nil
        }
    }

    func payPage(_ web: WebRequest) async throws -> WebResult {
        let order = try await ownOrder(web)
        guard let bill = try await bill(order) else { return .redirect(ticketAddress(web)) }
        return .page(
            Page(
                "driver/pay",
                orderView(order, web) + [
                    ("amount", .string(web.format.money(bill.fen))), ("fen", .int(bill.fen)), ("billNo", .string(bill.billNo)),
                    ("payNo", .string("W" + SystemRandom.token(20))), ("action", .string(ticketAddress(web) + "/pay")),
                    ("back", .string(ticketAddress(web))), ("isSandbox", .bool(settings.isTest)),
                ]))
    }

    func pay(_ web: WebRequest) async throws -> WebResult {
        let order = try await ownOrder(web)
        // The bill has to be this order's: a foreign bill cannot be paid through it.
        guard let bill = try await bill(order) else { return .redirect(ticketAddress(web)) }
        guard web.number("fen", in: 0...1_000_000_000_000) == bill.fen else { return .redirect(ticketAddress(web) + "/pay") }
        do {
            let payment = try await city.call(
                "pay.create",
                [
                    ("billNo", .string(bill.billNo)), ("payNo", .string(web.text("payNo", max: 64))), ("amount", .int(bill.fen)),
                    ("channel", .string(settings.isTest ? "sandbox" : "wechat")),
                ], as: .provider, parkCode: order["parkCode"]?.stringValue)
            if let url = payment["payUrl"]?.stringValue, url.hasPrefix("https://") { return .redirect(url) }
        } catch {
            if error.code == 1404 { return .redirect(ticketAddress(web)) }
            return try await refused(web, error)
        }
        return .redirect(ticketAddress(web))
    }
}
