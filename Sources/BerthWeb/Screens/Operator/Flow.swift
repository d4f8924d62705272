import BerthCore
import BerthLink
import BerthWire

// Lot operator and city: flow policies with their preview.
extension Site {
    func flowView(_ policy: JSON, _ web: WebRequest) -> JSON {
        let mode = policy["mode"]?.intValue ?? 0
        var conditions: [String] = []
        func condition(_ key: String, _ values: [String: String] = [:]) {
            conditions.append(words.say(web.language, "flow.if.\(key)", values))
        }
        if let close = policy["saturationClose"]?.intValue, close > 0 {
            condition("saturation", ["close": String(close), "open": String(policy["saturationOpen"]?.intValue ?? 0)])
        }
        if let entries = policy["maxEntriesPer5min"]?.intValue, mode == 2 { condition("entries", ["count": String(entries)]) }
        if policy["revokeOrders"]?.boolValue == true { condition("revoke") }
        conditions += segments(policy["segments"], web)
        return .compact([
            ("conditions", .array(conditions.map { .string($0) })),
            ("isOwn", .bool(Site.isPagePolicy(policy["policyId"]?.stringValue ?? ""))),
            ("id", policy["policyId"] ?? .null), ("area", policy["areaId"] ?? .null), ("lot", policy["parkCode"] ?? .null),
            ("mode", .string(words.say(web.language, "flow.mode.\(mode)"))), ("isInForce", policy["inForce"] ?? .null),
            ("from", .optional(policy["validFrom"]?.intValue.map(web.format.time))),
            ("to", .optional(policy["validTo"]?.intValue.map(web.format.time))),
            ("open", policy["saturationOpen"] ?? .null), ("close", policy["saturationClose"] ?? .null),
        ])
    }

    /// Policies that these pages have made, each with a number of its own.
    private static func isPagePolicy(_ id: String) -> Bool { id == "page" || id.hasPrefix("p-") }

    /// A field of the flow form that cannot be what it is: the key of the words that say so.
    struct FlowFault: Error { let word: String }

    /// The fields of a policy, as a form gives them.
    func flowFields(_ web: WebRequest, of scope: [(String, JSON)]) throws(FlowFault) -> [(String, JSON)] {
        guard let mode = web.number("mode", in: 0...3) else { throw FlowFault(word: "flow.noMode") }
        guard let from = Plan.time(web.text("fromDay", max: 10), web.text("fromAt", max: 5), now: web.now) else {
            throw FlowFault(word: "flow.badFrom")
        }
        guard let to = Plan.time(web.text("toDay", max: 10), web.text("toAt", max: 5), now: web.now) else {
            throw FlowFault(word: "flow.badTo")
        }
        guard to > from else { throw FlowFault(word: "flow.badTimes") }
        guard to > web.now else { throw FlowFault(word: "flow.isOver") }
        guard to - from <= 400 * CivilTime.dayLength else { throw FlowFault(word: "flow.tooLong") }
        let (close, entries) = (web.number("close", in: 1...100), web.number("entries", in: 0...10_000))
        guard close != nil || web.text("close", max: 8).isEmpty else { throw FlowFault(word: "flow.badClose") }
        guard mode != 2 || entries != nil else { throw FlowFault(word: "flow.badEntries") }
        let id = web.text("policy", max: 32)
        return scope + [
            ("policyId", .string(Site.isPagePolicy(id) ? id : "p-" + SystemRandom.token(8))), ("mode", .int(mode)),
            ("validFrom", .int(from)),
            ("validTo", .int(to)), ("revokeOrders", .bool(web.isOn("revoke"))),
            ("maxEntriesPer5min", mode == 2 ? .optional(entries) : .null), ("saturationClose", .optional(close)),
            ("saturationOpen", .optional(close.map { max(0, $0 - 5) })),
        ]
    }

    /// The policies of a lot or an area that are not over, with a way to change and to end those that these pages have made.
    func flowPolicies(_ scope: [(String, JSON)], _ web: WebRequest) async throws -> [JSON] {
        let list = try await city.call("flow.policy.list", scope, as: .staff)
        let isArea = scope.first?.0 == "areaId"
        return (list["policies"]?.arrayValue ?? []).filter {
            // A rule for places alone stands on its own page, and the policy of an area is the area's to change.
            ($0["mode"] != 0 || $0["pools"] == nil) && ($0["validTo"]?.intValue ?? 0) > web.now && (isArea || $0["areaId"] == nil)
        }.map { policy in
            var view = flowView(policy, web).objectValue ?? JSONObject()
            view["edit"] = .string("?policy=\(WebRequest.escape(policy["policyId"]?.stringValue ?? ""))")
            return .object(view)
        }
    }

    /// The fields that end a policy now; nil where there is none of this number.
    func flowEnding(_ id: String, _ scope: [(String, JSON)], _ web: WebRequest) async throws -> [(String, JSON)]? {
        let list = try await city.call("flow.policy.list", scope, as: .staff)
        guard Site.isPagePolicy(id), let policy = (list["policies"]?.arrayValue ?? []).first(where: { $0["policyId"]?.stringValue == id })
        else {
            return nil
        }
        let from = min(policy["validFrom"]?.intValue ?? web.now, web.now)
        return scope + [
            ("policyId", .string(id)), ("mode", policy["mode"] ?? 0), ("validFrom", .int(from)), ("validTo", .int(web.now)),
            ("maxEntriesPer5min", policy["maxEntriesPer5min"] ?? .null),
        ]
    }

    /// The form filled with a policy that is to be changed.
    func flowForm(of policy: JSON?, _ web: WebRequest) -> [(String, JSON)] {
        var form = flowForm(web)
        guard let policy, web.form["mode"] == nil, let from = policy["validFrom"]?.intValue, let to = policy["validTo"]?.intValue else {
            return form
        }
        let mode = policy["mode"]?.intValue ?? 0
        let known: [(String, JSON)] = [
            ("fromDay", .string(CivilTime.text(ofDay: CivilTime.day(of: from)))), ("fromAt", .string(web.format.clock(from))),
            ("toDay", .string(CivilTime.text(ofDay: CivilTime.day(of: to)))), ("toAt", .string(web.format.clock(to))),
            ("revoke", policy["revokeOrders"] ?? false), ("entries", .string(String(policy["maxEntriesPer5min"]?.intValue ?? 10))),
            ("close", .string((policy["saturationClose"]?.intValue).map { $0 > 0 ? String($0) : "" } ?? "")),
            ("policy", policy["policyId"] ?? .null), ("isChange", true), ("modes", modes(mode, web)),
        ]
        let names = Set(known.map(\.0))
        form.removeAll { names.contains($0.0) }
        return form + known
    }

    private func modes(_ mode: Int64, _ web: WebRequest) -> JSON {
        .array(
            ([3, 1, 2] + (mode == 0 ? [0] : [])).map {
                ["value": .int($0), "text": .string(words.say(web.language, "flow.mode.\($0)")), "isOn": .bool($0 == mode)]
            })
    }

    /// The policy that the address names, to be changed.
    func flowChange(_ scope: [(String, JSON)], _ web: WebRequest) async throws -> JSON? {
        let id = web.text("policy", max: 32)
        guard Site.isPagePolicy(id) else { return nil }
        let list = try await city.call("flow.policy.list", scope, as: .staff)
        return (list["policies"]?.arrayValue ?? []).first { $0["policyId"]?.stringValue == id }
    }

    /// The fields of the form that a preview is of.
    static let flowFields = ["policy", "mode", "fromDay", "fromAt", "toDay", "toAt", "entries", "close", "revoke"]

    /// A digest of a form's fields, which the preview gives to the confirmation.
    func seen(_ web: WebRequest, _ names: [String]) -> String {
        Signature.hash(canonical: Array(JSON.array(names.map { .string(web.text($0, max: 64)) }).string.utf8))
    }

    /// Whether a confirmation is of the fields that were previewed; with other fields there is a new preview.
    func isAsPreviewed(_ web: WebRequest, _ names: [String]) -> Bool { web.text("seen", max: 64) == seen(web, names) }

    func flowForm(_ web: WebRequest) -> [(String, JSON)] {
        let format = web.format
        let (from, to) = (web.now, web.now + 2 * 3_600_000)
        func text(_ name: String, _ fallback: String) -> JSON {
            .string(web.text(name, max: 10).isEmpty ? fallback : web.text(name, max: 10))
        }
        let mode = web.number("mode", in: 0...3) ?? 3
        return [
            ("fromDay", text("fromDay", CivilTime.text(ofDay: CivilTime.day(of: from)))), ("fromAt", text("fromAt", format.clock(from))),
            ("toDay", text("toDay", CivilTime.text(ofDay: CivilTime.day(of: to)))), ("toAt", text("toAt", format.clock(to))),
            ("modes", modes(mode, web)), ("revoke", .bool(web.isOn("revoke"))), ("entries", text("entries", "10")),
            ("close", .string(web.text("close", max: 3))),
            (
                "policy",
                .string(Site.isPagePolicy(web.text("policy", max: 32)) ? web.text("policy", max: 32) : "p-" + SystemRandom.token(8))
            ),
        ]
    }

    /// The preview of a policy: whom it hits, and where they could go.
    func preview(_ fields: [(String, JSON)], _ web: WebRequest) async throws -> [(String, JSON)] {
        let found = try await city.call("flow.policy.preview", fields, as: .staff)
        let orders = (found["orders"]?.arrayValue ?? []).map { order -> JSON in
            [
                "order": order["orderNo"] ?? "", "lot": order["parkCode"] ?? "",
                "at": .string(web.format.time(order["planTime"]?.intValue ?? 0)),
                "alternatives": order["alternatives"] ?? 0,
            ]
        }
        func count(_ name: String) -> String { String(found[name]?.intValue ?? 0) }
        let isClosing = web.number("mode", in: 0...3) == 3
        var more: [String] = []
        if isClosing, (found["looked"]?.intValue ?? 0) < (found["affected"]?.intValue ?? 0) {
            more.append(words.say(web.language, "flow.looked", ["count": count("looked")]))
        }
        if (found["shortened"]?.intValue ?? 0) > 0 { more.append(words.say(web.language, "flow.shortened", ["count": count("shortened")])) }
        return [
            ("previewed", true), ("affected", found["affected"] ?? 0), ("orders", .array(orders)),
            ("more", .array(more.map { .string($0) })),
            ("inForceNow", found["inForce"] ?? false), ("saturation", found["saturationPct"] ?? 0),
            (
                "sum",
                .string(
                    words.say(
                        web.language, !isClosing ? "flow.inWindow" : web.isOn("revoke") ? "flow.hits" : "flow.spares",
                        ["count": count(isClosing ? "affected" : "inWindow"), "homeless": count("without")]))
            ),
        ]
    }

    /// A lot or an area as the place of flow policies: how services and pages name it.
    struct FlowPlace {
        var scope: (String, JSON)
        /// Address of its flow page, and of the page that shows what was set.
        var action: String
        var back: String
        var view: [(String, JSON)]
    }

    private func flowPlace(ofLot parkCode: String) async throws -> FlowPlace {
        let names = try await lotNames()
        let back = "/operator/lots/\(WebRequest.escape(parkCode))"
        return FlowPlace(
            scope: ("parkCode", .string(parkCode)), action: back + "/flow", back: back,
            view: [("lot", .string(parkCode)), ("name", .string(names[parkCode] ?? parkCode)), ("tabBoard", true)])
    }

    func flowPage(_ web: WebRequest) async throws -> WebResult {
        try await flowPage(of: try await flowPlace(ofLot: try ownLot(web)), web)
    }

    func setFlow(_ web: WebRequest) async throws -> WebResult {
        try await setFlow(of: try await flowPlace(ofLot: try ownLot(web)), web)
    }

    private func flowPage(
        _ place: FlowPlace, _ form: [(String, JSON)], _ web: WebRequest, more: [(String, JSON)] = [], status: Int = 200
    ) async throws -> WebResult {
        let view: [(String, JSON)] = [
            ("policies", .array(try await flowPolicies([place.scope], web))), ("action", .string(place.action)),
            ("back", .string(place.back)),
        ]
        return .page(Page("operator/flow", form + place.view + view + more, status: status))
    }

    func flowPage(of place: FlowPlace, _ web: WebRequest) async throws -> WebResult {
        try await flowPage(place, flowForm(of: try await flowChange([place.scope], web), web), web)
    }

    /// Without `confirm` the preview; with it the policy is set.
    func setFlow(of place: FlowPlace, _ web: WebRequest) async throws -> WebResult {
        let ended = web.text("end-policy", max: 32)
        let fields: [(String, JSON)]
        do throws(FlowFault) { fields = ended.isEmpty ? try flowFields(web, of: [place.scope]) : [] } catch {
            return try await flowPage(
                place, flowForm(web), web, more: [("error", .string(words.say(web.language, error.word)))], status: 422)
        }
        do {
            if !ended.isEmpty {
                guard let ending = try await flowEnding(ended, [place.scope], web) else { throw WebError.notFound }
                try await city.call("flow.policy.set", ending + [("actor", .string(web.person?.actor ?? ""))], as: .staff)
                return .redirect(place.action)
            }
            if web.isOn("confirm"), isAsPreviewed(web, Site.flowFields) {
                try await city.call("flow.policy.set", fields + [("actor", .string(web.person?.actor ?? ""))], as: .staff)
                return .redirect(place.back)
            }
            let preview = try await preview(fields, web)
            return try await flowPage(place, flowForm(web), web, more: preview + [("seen", .string(seen(web, Site.flowFields)))])
        } catch let error as CityError {
            return try await flowPage(place, flowForm(web), web, more: [("error", .string(refusal(error, web)))], status: 409)
        }
    }
}
