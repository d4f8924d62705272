import BerthCore
import BerthLink
import BerthWire

// Lot operator: the control room, flow control with its preview, and the people of an operator.
extension Site {
    static var controlRoutes: [Route] {
        [
            .get("/operator/cases", .lots) { try await $0.cases($1) },
            .post("/operator/cases/:case", .lots) { try await $0.decide($1) },
            .get("/operator/lots/:lot/cases/:case/picture", .lots) { try await $0.casePicture($1) },
            .post("/operator/lots/:lot/gate", .lots) { try await $0.openGate($1) },
            .get("/operator/lots/:lot/flow", .lots) { try await $0.flowPage($1) },
            .post("/operator/lots/:lot/flow", .lots) { try await $0.setFlow($1) },
        ]
    }

    /// Cases of the own lots, the newest first.
    /// - Parameter state: one state; null for all.
    private func caseList(_ web: WebRequest, _ limit: Int64, _ state: JSON, lots: JSON, caseNo: JSON = .null) async throws -> [JSON] {
        let found = try await city.call(
            "gate.case.list",
            [
                ("limit", .int(limit)), ("state", state), ("parkCodes", lots), ("caseNo", caseNo),
                ("reason", .string(onRecord(web, "control room"))),
            ],
            as: .staff)
        return found["cases"]?.arrayValue ?? []
    }

    func cases(_ web: WebRequest) async throws -> WebResult {
        let own = ownLots(web)
        // The cars that wait are asked for by themselves, so that none of them is behind many others.
        let waiting = try await caseList(web, 200, "open", lots: own)
        let decided = try await caseList(web, 60, .null, lots: own).filter { $0["state"]?.stringValue != "open" }
        let format = web.format
        let away = Set(
            try await cache.boards(city).rows.filter { $0["online"]?.boolValue == false }.compactMap { $0["parkCode"]?.stringValue })
        let rows = (waiting + decided).filter { works(web, for: $0["parkCode"]?.stringValue ?? "") }.map { row -> JSON in
            let state = row["state"]?.stringValue ?? ""
            let reading = row["plateNo"]?.stringValue ?? ""
            return .compact([
                ("id", row["caseNo"] ?? .null), ("lot", row["parkCode"] ?? .null), ("lotName", row["parkName"] ?? .null),
                ("gate", row["gateCode"] ?? .null),
                ("plate", .string(format.plate(reading))), ("at", row["at"] ?? 0),
                ("atText", .string(format.time(row["at"]?.intValue ?? 0))),
                ("isOffline", .bool(away.contains(row["parkCode"]?.stringValue ?? ""))),
                ("isOpen", .bool(state == "open")), ("state", .string(words.say(web.language, "case.\(state)"))),
                ("confidence", row["confidence"] ?? .null),
                ("orderNo", row["orderNo"] ?? .null), ("by", row["decidedBy"] ?? .null), ("isIn", .bool(row["recordNo"] != nil)),
                (
                    "picture",
                    row["imageId"] == nil
                        ? .null
                        : .string(
                            "/operator/lots/\(WebRequest.escape(row["parkCode"]?.stringValue ?? ""))/cases/\(WebRequest.escape(row["caseNo"]?.stringValue ?? ""))/picture"
                        )
                ),
                (
                    "candidates",
                    .array(
                        (row["candidates"]?.arrayValue ?? []).map { candidate in
                            let plates = (candidate["plateNos"]?.arrayValue ?? []).compactMap(\.stringValue)
                            return .compact([
                                ("order", candidate["orderNo"] ?? .null),
                                ("plates", .string(plates.map(format.plate).joined(separator: " / "))),
                                ("marked", .string(plates.map { Site.marked($0, against: reading) }.joined(separator: " / "))),
                                ("plan", .optional(candidate["planTime"]?.intValue.map(format.time))),
                            ])
                        })
                ),
            ])
        }
        let open = rows.filter { $0["isOpen"]?.boolValue == true }
        return .page(
            Page(
                "operator/cases",
                [
                    ("open", .array(open)), ("closed", .array(Array(rows.filter { $0["isOpen"]?.boolValue != true }.prefix(20)))),
                    ("none", .bool(open.isEmpty)), ("tabCases", true), ("done", .optional(result(of: web.text("done", max: 16), web))),
                ], live: "operator/cases.live"))
    }

    /// The picture of a car that the control room looks at; on record like the list.
    func casePicture(_ web: WebRequest) async throws -> WebResult {
        let parkCode = try ownLot(web)
        guard let caseNo = web.names["case"], caseNo.unicodeScalars.count <= 32 else { throw WebError.notFound }
        let rows = try await caseList(web, 1, .null, lots: [.string(parkCode)], caseNo: .string(caseNo))
        guard let imageId = rows.first?["imageId"] else { throw WebError.notFound }
        return try await picture(imageId, of: parkCode)
    }

    /// The lots of the person, as services take them; null for all.
    func ownLots(_ web: WebRequest) -> JSON {
        web.person?.mayInCity("lots") == true ? .null : .array((web.person?.parkCodes ?? []).map { .string($0) })
    }

    private func result(of done: String, _ web: WebRequest) -> String? {
        ["admitted", "refused", "late"].contains(done) ? words.say(web.language, "case.done.\(done)") : nil
    }

    /// A plate as HTML with the characters marked in which it differs from the reading.
    private static func marked(_ plate: String, against reading: String) -> String {
        let (ours, read) = (Array(plate.unicodeScalars), Array(reading.unicodeScalars))
        return ours.enumerated().map { index, scalar in
            let text = HTML.escape(String(Character(scalar)))
            return index < read.count && read[index] == scalar ? text : "<mark>\(text)</mark>"
        }.joined()
    }

    /// One tap: this reservation's car, or none of them. The answer says what has become of it at the gate.
    func decide(_ web: WebRequest) async throws -> WebResult {
        let parkCode = try ownLot(web, web.text("lot", max: 32))
        let order = web.text("order", max: 32)
        guard !order.isEmpty else { throw WebError.badRequest }
        let isRefused = order == "none"
        do {
            try await city.call(
                "gate.case.decide",
                [
                    ("parkCode", .string(parkCode)), ("caseNo", .string(web.names["case"] ?? "")),
                    ("orderNo", isRefused ? .null : .string(order)),
                    ("actor", .string((web.person?.actor ?? "").cut(to: 64))), ("reason", .string(web.text("reason", max: 200))),
                ], as: .staff)
        } catch {
            guard error.code == 403 else { throw error }
            return .redirect("/operator/cases?done=late")
        }
        return .redirect("/operator/cases?done=\(isRefused ? "refused" : "admitted")")
    }

    /// Opens a gate from afar, now or not at all; the lot's own answer is the result.
    func openGate(_ web: WebRequest) async throws -> WebResult {
        let parkCode = try ownLot(web)
        let reason = web.text("reason", max: 200)
        let gate = web.text("gate", max: 32)
        let back =
            "/operator/lots/\(WebRequest.escape(parkCode))?gateCode=\(WebRequest.escape(gate))&gateReason=\(WebRequest.escape(reason))&gate="
        guard !reason.isEmpty else { return .redirect(back + "reason") }
        do throws(CityError) {
            let reply = try await city.call(
                "gate.control",
                [
                    ("gateCode", .string(gate)), ("action", "OPEN"), ("reason", .string(reason)),
                    ("operator", .string((web.person?.actor ?? "").cut(to: 64))), ("ttlMs", 3000),
                ], as: .staff, parkCode: parkCode)
            return .redirect(back + (reply["executed"]?.boolValue == true ? "opened" : "not"))
        } catch { return .redirect(back + String(error.code)) }
    }

    // MARK: Flow control

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

    func flowPage(_ web: WebRequest) async throws -> WebResult {
        let parkCode = try ownLot(web)
        let names = try await lotNames()
        let scope: [(String, JSON)] = [("parkCode", .string(parkCode))]
        return .page(
            Page(
                "operator/flow",
                flowForm(of: try await flowChange(scope, web), web) + [
                    ("policies", .array(try await flowPolicies(scope, web))),
                    ("lot", .string(parkCode)), ("name", .string(names[parkCode] ?? parkCode)),
                    ("action", .string("/operator/lots/\(WebRequest.escape(parkCode))/flow")), ("tabBoard", true),
                    ("back", .string("/operator/lots/\(WebRequest.escape(parkCode))")),
                ]))
    }

    /// Without `confirm` the preview; with it the policy is set.
    func setFlow(_ web: WebRequest) async throws -> WebResult {
        let parkCode = try ownLot(web)
        let back = "/operator/lots/\(WebRequest.escape(parkCode))"
        let names = try await lotNames()
        var members =
            flowForm(web) + [
                ("lot", .string(parkCode)), ("name", .string(names[parkCode] ?? parkCode)), ("action", .string(back + "/flow")),
                ("back", .string(back)),
                ("tabBoard", true),
            ]
        let scope: [(String, JSON)] = [("parkCode", .string(parkCode))]
        members.append(("policies", .array(try await flowPolicies(scope, web))))
        let ended = web.text("end-policy", max: 32)
        let fields: [(String, JSON)]
        do throws(FlowFault) { fields = ended.isEmpty ? try flowFields(web, of: scope) : [] } catch {
            members.append(("error", .string(words.say(web.language, error.word))))
            return .page(Page("operator/flow", members, status: 422))
        }
        do {
            if !ended.isEmpty {
                guard let ending = try await flowEnding(ended, scope, web) else { throw WebError.notFound }
                try await city.call("flow.policy.set", ending + [("actor", .string(web.person?.actor ?? ""))], as: .staff)
                return .redirect(back + "/flow")
            }
            if web.isOn("confirm"), isAsPreviewed(web, Site.flowFields) {
                try await city.call("flow.policy.set", fields + [("actor", .string(web.person?.actor ?? ""))], as: .staff)
                return .redirect(back)
            }
            members += try await preview(fields, web)
            members.append(("seen", .string(seen(web, Site.flowFields))))
            return .page(Page("operator/flow", members))
        } catch let error as CityError {
            members.append(("error", .string(refusal(error, web))))
            return .page(Page("operator/flow", members, status: 409))
        }
    }

    // MARK: People

    /// The staff that the caller may see: those of their own lots, or everybody for the city.
    private func staff(_ web: WebRequest) async throws -> [JSON] {
        let list = try await city.call("person.list", [("kind", "staff"), ("limit", 1000)], as: .accounts)
        guard let me = web.person, !me.may("city") else { return list["persons"]?.arrayValue ?? [] }
        return (list["persons"]?.arrayValue ?? []).filter { row in
            let lots = (row["parkCodes"]?.arrayValue ?? []).compactMap(\.stringValue)
            // A new password can be given only to a person with no rights beyond those of the giver.
            let isOperator = (row["roles"]?.arrayValue ?? []).compactMap(\.stringValue) == ["operator"]
            return isOperator && !lots.isEmpty && lots.allSatisfy { lot in me.parkCodes.contains { $0 == lot } }
        }
    }

    func people(_ web: WebRequest, error: String? = nil, made: (String, String)? = nil) async throws -> WebResult {
        let names = try await lotNames()
        let rows = try await staff(web).map { row -> JSON in
            let lots = (row["parkCodes"]?.arrayValue ?? []).compactMap(\.stringValue)
            return .compact([
                ("id", row["personId"] ?? .null), ("login", row["login"] ?? .null), ("name", row["name"] ?? .null),
                (
                    "roles",
                    .string(
                        (row["roles"]?.arrayValue ?? []).compactMap(\.stringValue).map { words.say(web.language, "role.\($0)") }.joined(
                            separator: "、"))
                ),
                (
                    "lots",
                    .string(lots.prefix(3).map { names[$0] ?? $0 }.joined(separator: "、") + (lots.count > 3 ? " +\(lots.count - 3)" : ""))
                ),
                ("isActive", .bool(row["state"]?.stringValue == "active")), ("hasTotp", row["hasTotp"] ?? false),
                ("isMe", .bool(row["personId"]?.stringValue == web.person?.personId)),
                (
                    "rights",
                    .string((row["rights"]?.arrayValue ?? []).compactMap(\.stringValue).map { rightText($0, web) }.joined(separator: "、"))
                ),
            ])
        }
        let (boards, _) = try await ownBoards(web)
        return .page(
            Page(
                "operator/people",
                [
                    ("people", .array(rows)), ("error", .optional(error)), ("newLogin", .optional(made?.0)),
                    ("newPassword", .optional(made?.1)),
                    ("lotOptions", .array(boards.prefix(1000).map { ["code": $0["parkCode"] ?? "", "name": $0["parkName"] ?? ""] })),
                    ("isCityStaff", .bool(web.person?.may("city") == true)), ("tabPeople", true),
                    ("login", .string(made == nil ? web.text("login", max: 32) : "")),
                    ("personName", .string(made == nil ? web.text("name", max: 40) : "")),
                    ("appId", .string(made == nil ? web.text("appId", max: 32) : "")),
                    (
                        "pages",
                        .array(
                            Site.cityPages.map {
                                [
                                    "value": .string($0), "text": .string(rightText($0, web)),
                                    "isOn": .bool((web.lists["rights"] ?? []).contains($0)),
                                ]
                            })
                    ),
                ], status: error == nil ? 200 : 422))
    }

    /// The pages of the city's staff that a right can name.
    private static let cityPages = ["overview", "appeals", "flow", "policy", "compliance", "audit", "plates", "lots"]

    /// A right in words; the appId of a developer stays as it is.
    private func rightText(_ right: String, _ web: WebRequest) -> String {
        Site.cityPages.contains(right) ? words.say(web.language, "right.\(right)") : right
    }

    func addPerson(_ web: WebRequest) async throws -> WebResult {
        guard let me = web.person else { throw WebError.forbidden }
        let login = web.text("login", max: 32).lowercased()
        guard login.utf8.count >= 3, login.utf8.allSatisfy({ (97...122).contains($0) || (48...57).contains($0) || ".-_".utf8.contains($0) })
        else {
            return try await people(web, error: words.say(web.language, "people.badLogin"))
        }
        // An operator makes operators of own lots; the city makes all kinds.
        let role = me.may("city") ? web.text("role", max: 16) : "operator"
        guard ["operator", "city", "developer"].contains(role) else { throw WebError.badRequest }
        let lots = (web.lists["lots"] ?? []).filter { works(web, for: $0) }
        if role == "operator", lots.isEmpty { return try await people(web, error: words.say(web.language, "people.chooseLots")) }
        let appId = web.text("appId", max: 32)
        if role == "developer", appId.isEmpty { return try await people(web, error: words.say(web.language, "people.sayApp")) }
        // Only a member without limits makes accounts, so that nobody gives more than they have.
        let pages = (web.lists["rights"] ?? []).filter { Site.cityPages.contains($0) }
        let rights = role == "developer" ? [appId] : role == "city" ? pages : []
        let password = SystemRandom.token(16)
        do {
            try await city.call(
                "person.save",
                [
                    ("kind", "staff"), ("login", .string(login)),
                    ("name", .optional(web.text("name", max: 40).isEmpty ? nil : web.text("name", max: 40))),
                    ("roles", .array([.string(role)])), ("parkCodes", .array(lots.map { .string($0) })),
                    ("rights", rights.isEmpty ? .null : .array(rights.map { .string($0) })),
                    ("userToken", .string(SystemRandom.token(24))),
                    ("passwordHash", .string(try await Password.verifier(password))), ("actor", .string(me.actor)),
                ], as: .accounts)
        } catch let error as CityError {
            guard error.code == 404 else { throw error }
            return try await people(web, error: words.say(web.language, "people.taken"))
        }
        return try await people(web, made: (login, password))
    }

    /// Closes an account, opens it again, or gives it a new password.
    func changePerson(_ web: WebRequest) async throws -> WebResult {
        guard let me = web.person, let row = try await staff(web).first(where: { $0["personId"]?.stringValue == web.names["person"] }),
            row["personId"]?.stringValue != me.personId
        else { throw WebError.notFound }
        let id = row["personId"] ?? .null
        switch web.text("do", max: 16) {
        case "disable":
            try await city.call("person.save", [("personId", id), ("state", "disabled"), ("actor", .string(me.actor))], as: .accounts)
        case "enable":
            try await city.call("person.save", [("personId", id), ("state", "active"), ("actor", .string(me.actor))], as: .accounts)
        case "reset":
            let password = SystemRandom.token(16)
            try await city.call(
                "person.save",
                [
                    ("personId", id), ("passwordHash", .string(try await Password.verifier(password))), ("clear", ["totpSecret"]),
                    ("actor", .string(me.actor)),
                ], as: .accounts)
            try await city.call("session.end", [("personId", id)], as: .accounts)
            return try await people(web, made: (row["login"]?.stringValue ?? "", password))
        default: throw WebError.badRequest
        }
        return .redirect("/operator/people")
    }
}
