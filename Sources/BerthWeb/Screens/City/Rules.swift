import BerthCore
import BerthWire

// City: the values of rules, with what they would have meant.
extension Site {
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
}
