import BerthCore
import BerthLink
public import BerthWire
import Foundation

// Redirect addresses (section 12) as deep links: the server checks an address once and sends the browser to a page of this site that
// does what the scene says, and goes on doing it until the link ends.
extension Site {
    static var linkRoutes: [Route] {
        [
            .get("/arrive/:token", .anyone) { try await $0.arrive($1) },
            .post("/arrive/:token/pay", .anyone) { try await $0.payLink($1) },
        ]
    }

    /// The address of the page for an arrival that the server has checked.
    /// - Parameter arrival: scene, party, parkCode?, lotName?, orderNo?, plate? (masked), state?, window?, returnUrl?, cancelUrl?, until (ms).
    public func address(of arrival: JSON) -> String {
        let body = Data(arrival.canonicalString.utf8).base64EncodedString()
            .replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "=", with: "")
        return "/arrive/\(body).\(keyed.hex("arrive", body).prefix(40))"
    }

    private func arrival(_ token: String, now: Int64) throws -> JSON {
        let parts = token.split(separator: ".")
        guard parts.count == 2, Signature.equal(String(keyed.hex("arrive", String(parts[0])).prefix(40)), String(parts[1])) else {
            throw WebError.notFound
        }
        var text = parts[0].replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
        while text.utf8.count % 4 != 0 { text += "=" }
        guard let data = Data(base64Encoded: text), let json = try? JSON.parse([UInt8](data)) else { throw WebError.notFound }
        guard now <= json["until"]?.intValue ?? 0 else { throw WebError(status: 410, word: "error.linkOver") }
        return json
    }

    func arrive(_ web: WebRequest) async throws -> WebResult {
        .page(try await arrivalPage(try arrival(web.names["token"] ?? "", now: web.now), web))
    }

    /// - Parameters:
    ///   - outcome: the key of the words about a payment that was just begun.
    ///   - attempt: the number of the next attempt to pay.
    private func arrivalPage(_ arrival: JSON, _ web: WebRequest, outcome: String? = nil, attempt: Int64 = 1) async throws -> Page {
        let scene = arrival["scene"]?.stringValue ?? ""
        let format = web.format
        let orderNo = arrival["orderNo"]?.stringValue
        let lot = arrival["parkCode"]?.stringValue
        var plan = Plan(web)
        var members: [(String, JSON)] = [
            ("scene", .string(scene)), ("title", .string(words.say(web.language, "scene.\(scene)"))), ("party", arrival["party"] ?? .null),
            ("lotName", arrival["lotName"] ?? .null), ("orderNo", .optional(orderNo)), ("plate", arrival["plate"] ?? .null),
            ("returnUrl", arrival["returnUrl"] ?? .null), ("cancelUrl", arrival["cancelUrl"] ?? .null),
            ("until", .string(format.clock(arrival["until"]?.intValue ?? 0))),
        ]
        if scene != "PAY", let state = arrival["status"]?.intValue {
            members.append(("statusText", .string(words.say(web.language, "status.\(state)"))))
        }
        if let from = arrival["enterStart"]?.intValue, let to = arrival["enterEnd"]?.intValue {
            members.append(("window", .string(format.window(from, to))))
        }
        let own = try? await city.call("order.detail", [("orderNo", .optional(orderNo))], as: .provider)
        switch scene {
        case "RESERVE", "PUBLIC_BIZ":
            plan.purpose = scene == "PUBLIC_BIZ" ? 3 : 1
            if let lot {
                let detail = try? await city.call("lot.detail", [("parkCode", .string(lot))], as: .provider)
                if let detail, detail[plan.purpose == 3 ? "publicBizEnabled" : "reserveEnabled"]?.boolValue == false {
                    members.append(("problem", .string(words.say(web.language, plan.purpose == 3 ? "link.noPublic" : "link.noReserve"))))
                }
                members += [
                    ("primary", .string("/lots/\(WebRequest.escape(lot))?\(plan.query(format))")),
                    ("primaryText", .string(words.say(web.language, "link.book"))),
                ]
            } else {
                members += [("primary", "/"), ("primaryText", .string(words.say(web.language, "link.find")))]
            }
        case "SHARE":
            members += [
                ("primary", .string(lot.map { "/share/\(WebRequest.escape($0))" } ?? "/share")),
                ("primaryText", .string(words.say(web.language, "link.share"))),
            ]
        case "ENTRY_QR", "EXIT_QR":
            if let orderNo { members.append(("qr", .optional(QRCode.svg(orderNo, label: orderNo)))) }
            let isIn = arrival["status"]?.intValue == 2
            if scene == "EXIT_QR", !isIn { members.append(("note", .string(words.say(web.language, "link.notInside")))) }
            if scene == "ENTRY_QR", isIn { members.append(("note", .string(words.say(web.language, "link.inside")))) }
        case "PAY": members += await payMembers(arrival, web, outcome: outcome, attempt: attempt)
        case "NAVI":
            if let lot, let detail = try? await city.call("lot.detail", [("parkCode", .string(lot))], as: .provider) {
                members += [
                    ("points", .string(Site.ticketPoint(detail))), ("address", detail["address"] ?? .null), ("lng", detail["lng"] ?? .null),
                    ("lat", detail["lat"] ?? .null),
                    ("entrances", .array((detail["entrances"]?.arrayValue ?? []).compactMap { $0["gateName"] })),
                ]
            }
        case "INVOICE":
            if let orderNo, own != nil {
                members += [
                    ("primary", .string("/tickets/\(orderNo)/receipt")),
                    ("primaryText", .string(words.say(web.language, "ticket.receipt"))),
                ]
            } else {
                members.append(("note", .string(words.say(web.language, "link.invoiceElsewhere"))))
            }
        case "CREDIT": members += [("primary", "/mine/standing"), ("primaryText", .string(words.say(web.language, "link.credit")))]
        default:
            if let orderNo, own != nil {
                members += [("primary", .string("/tickets/\(orderNo)")), ("primaryText", .string(words.say(web.language, "link.ticket")))]
            }
        }
        return Page("driver/arrive", members)
    }

    // MARK: Paying

    /// The amount of a PAY link with its form; or that nothing is due, and why.
    private func payMembers(_ arrival: JSON, _ web: WebRequest, outcome: String?, attempt: Int64) async -> [(String, JSON)] {
        func say(_ key: String) -> JSON { .string(words.say(web.language, key)) }
        guard let appId = arrival["appId"], let orderNo = arrival["orderNo"] else { return [("problem", say("link.noOrder"))] }
        var members: [(String, JSON)] = []
        do throws(CityError) {
            let bill = try await city.call("link.bill.query", [("appId", appId), ("orderNo", orderNo)], as: .accounts)
            let status = bill["status"]?.intValue ?? 0
            // The state now, and not that of the time of the link.
            members.append(("statusText", say("status.\(status)")))
            let fen = bill["payable"]?.intValue ?? 0
            if fen > 0, outcome != "link.pending", outcome != "link.paid", let billNo = bill["billNo"] {
                members += [
                    ("amount", .string(web.format.money(fen))), ("fen", .int(fen)), ("billNo", billNo), ("attempt", .int(attempt)),
                    ("isSandbox", .bool(settings.isTest)), ("action", .string("/arrive/\(web.names["token"] ?? "")/pay")),
                ]
            } else if outcome == nil {
                members.append(("note", say([4, 5, 6, 7, 8, 10].contains(status) ? "link.ended" : "link.nothingDue")))
            }
        } catch { if outcome == nil { members.append(("problem", .string(refusal(error, web)))) } }
        if let outcome { members.append((outcome == "link.paid" || outcome == "link.pending" ? "note" : "problem", say(outcome))) }
        members += [("isPending", .bool(outcome == "link.pending")), ("again", .string("/arrive/\(web.names["token"] ?? "")"))]
        return members
    }

    /// Pays the order of a link in the name of its provider, who is notified. Any holder of the link may pay, once. The answer says what has
    /// become of it, also when the link has ended meanwhile.
    func payLink(_ web: WebRequest) async throws -> WebResult {
        let token = web.names["token"] ?? ""
        let arrival = try arrival(token, now: web.now)
        guard arrival["scene"]?.stringValue == "PAY", arrival["orderNo"] != nil else { throw WebError.notFound }
        guard limiter.admit("link|\(token)", burst: 20, minutes: 5, now: web.now) else { throw WebError.tooMany }
        let attempt = web.number("attempt", in: 1...20) ?? 1
        let data: [(String, JSON)] = [
            ("appId", arrival["appId"] ?? .null), ("orderNo", arrival["orderNo"] ?? .null),
            ("billNo", .string(web.text("billNo", max: 64))),
            ("amount", .int(web.number("fen", in: 1...1_000_000_000_000) ?? 0)),
            ("channel", .string(settings.isTest ? "sandbox" : "wechat")), ("attempt", .int(attempt)),
        ]
        var outcome = "link.pending"
        var next = attempt
        do throws(CityError) {
            var payment = try await city.call("link.pay", data, as: .accounts)
            if let url = payment["payUrl"]?.stringValue, url.hasPrefix("https://") { return .redirect(url) }
            // The channel mostly answers within a second or two; the page names a longer wait.
            for _ in 0..<6 where payment["state"] == 0 {
                try? await Task.sleep(for: .milliseconds(500))
                payment = (try? await city.call("link.pay", data, as: .accounts)) ?? payment
            }
            switch payment["state"]?.intValue {
            case 1: outcome = "link.paid"
            case 2:
                outcome = "link.failed"
                next = min(20, attempt + 1)
            default: break
            }
        } catch {
            switch error.code {
            case 1400, 1402, 1403: outcome = "link.changed"
            // Paid, or another payment of the same stay is under way.
            case 1404: outcome = error.data["rule"]?.stringValue?.hasPrefix("pending") == true ? "link.pending" : "link.paid"
            default: throw error
            }
        }
        return .page(try await arrivalPage(arrival, web, outcome: outcome, attempt: next))
    }
}
