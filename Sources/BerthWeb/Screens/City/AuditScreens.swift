import BerthCore
import BerthWire

// City: the audit record, and reservations of a plate with a reason.
extension Site {
    /// The names of parties by their appId.
    private func partyNames() async throws -> [String: String] {
        var names: [String: String] = [:]
        var after: JSON = .null
        for _ in 0..<10 {
            let list = try await city.call("credential.list", [("limit", 200), ("after", after)], as: .staff)
            let rows = list["credentials"]?.arrayValue ?? []
            for row in rows { names[row["appId"]?.stringValue ?? ""] = row["name"]?.stringValue ?? "" }
            guard list["hasMore"]?.boolValue == true, let last = rows.last?["appId"] else { break }
            after = last
        }
        return names
    }

    /// A record as a person reads it: the person behind the pages, and the fields with their times. A record that was cut is shown as it is.
    private func auditRow(_ row: JSON, _ names: [String: String], _ web: WebRequest) -> JSON {
        let text = row["detail"]?.stringValue ?? ""
        let detail = try? JSON.parse(Array(text.utf8))
        let party = row["actor"]?.stringValue ?? ""
        var fields: [JSON] = []
        for member in detail?["data"]?.objectValue?.members ?? [] where member.name != "actor" {
            let isTime = (member.value.intValue ?? 0) > 1_500_000_000_000
            let value = isTime ? web.format.time(member.value.intValue ?? 0) : member.value.stringValue ?? member.value.string
            let key = "field.\(member.name)"
            let name = words.say(web.language, key)
            fields.append(["name": .string(name == key ? member.name : name), "value": .string(value)])
        }
        let code = detail?["code"]?.intValue.flatMap { Int($0) } ?? 0
        return .compact([
            ("id", row["id"] ?? 0), ("at", .string(web.format.time(row["at"]?.intValue ?? 0))),
            ("actor", .string((city.isOwn(party) ? person(in: text, detail) : nil) ?? names[party] ?? party)),
            ("party", .string(party)),
            ("action", row["action"] ?? ""), ("actionText", .optional(actionText(row["action"]?.stringValue ?? "", web))),
            ("target", row["target"] ?? ""), ("fields", .array(fields)),
            ("plain", fields.isEmpty ? .string(text) : .null),
            (
                "refused",
                code == 0
                    ? .null
                    : .string((web.language == .zh ? Dialect.current.codes[code]?.zh : Dialect.current.codes[code]?.en) ?? String(code))
            ),
        ])
    }

    /// A deed by the title of its service; nil where it is none.
    private func actionText(_ action: String, _ web: WebRequest) -> String? {
        let isLook = action.hasPrefix("look ")
        guard let service = Dialect.current.services[isLook ? String(action.dropFirst(5)) : action] else { return nil }
        return (isLook ? words.say(web.language, "audit.look") : "") + (web.language == .zh ? service.zh : service.en)
    }

    /// The person whom the pages put on record: as the actor, or before a reason: "name (login): reason".
    private func person(in text: String, _ detail: JSON?) -> String? {
        if let actor = detail?["data"]?["actor"]?.stringValue { return actor }
        let reason = detail?["data"]?["reason"]?.stringValue ?? (detail == nil ? text : "")
        guard let end = reason.range(of: "): ") else { return nil }
        return String(reason[..<end.lowerBound]) + ")"
    }

    func audit(_ web: WebRequest) async throws -> WebResult {
        func field(_ name: String) -> JSON { web.text(name, max: 64).isEmpty ? .null : .string(web.text(name, max: 64)) }
        let names = try await partyNames()
        // A party is found by its appId, or by a name that no other has; a person by the words that the pages put on record.
        let actor = web.text("actor", max: 64)
        let named = names.filter { $0.value == actor && !actor.isEmpty }
        let party = Site.isPartyId(actor) || names[actor] != nil ? actor : named.count == 1 ? named.first?.key : nil
        func day(_ name: String, plus days: Int64) -> JSON {
            .optional(Plan.day(web.text(name, max: 10)).map { CivilTime.start(ofDay: $0 + days) })
        }
        let list = try await city.call(
            "audit.list",
            [
                ("actor", .optional(party)), ("person", party == nil ? field("actor") : .null), ("action", field("action")),
                ("target", field("target")), ("text", field("text")),
                ("from", day("from", plus: 0)), ("to", day("to", plus: 1)), ("cursor", field("cursor")),
                ("limit", 50),
            ], as: .staff)
        let rows = (list["records"]?.arrayValue ?? []).map { auditRow($0, names, web) }
        return .page(
            Page(
                "city/audit",
                [
                    ("records", .array(rows)), ("none", .bool(rows.isEmpty)), ("actor", field("actor")), ("action", field("action")),
                    ("target", field("target")),
                    ("text", field("text")), ("from", field("from")), ("to", field("to")),
                    (
                        "next",
                        .optional(
                            list["nextCursor"]?.stringValue.map { cursor in
                                "/city/audit?"
                                    + ["actor", "action", "target", "text", "from", "to"].map {
                                        "\($0)=\(WebRequest.escape(web.text($0, max: 64)))&"
                                    }
                                    .joined()
                                    + "cursor=\(WebRequest.escape(cursor))"
                            })
                    ), ("tabAudit", true),
                ]))
    }

    /// The form of an appId, or the desk: also that of a party which is no longer there.
    private static func isPartyId(_ text: String) -> Bool {
        text == "desk"
            || text.utf8.count == 16 && ["op", "sp", "lt", "cl", "wb"].contains(String(text.prefix(2)))
                && text.utf8.allSatisfy { (97...122).contains($0) || (65...90).contains($0) || (48...57).contains($0) }
    }

    func plates(_ web: WebRequest) async throws -> WebResult { .page(Page("city/plates", [("tabPlates", true)])) }

    /// The reservations of a plate; the reason goes on record before anything is shown.
    func lookUpPlate(_ web: WebRequest) async throws -> WebResult {
        let reason = web.text("reason", max: 200)
        var members: [(String, JSON)] = [("plate", .string(web.text("plate", max: 16))), ("reason", .string(reason)), ("tabPlates", true)]
        guard !reason.isEmpty else {
            return .page(Page("city/plates", members + [("error", .string(words.say(web.language, "error.needsReason")))], status: 422))
        }
        guard let plate = Plate(web.text("plate", max: 16)) else {
            return .page(Page("city/plates", members + [("error", .string(words.say(web.language, "vehicles.bad")))], status: 422))
        }
        let list = try await city.call(
            "order.list",
            [
                ("plateNo", .string(plate.revealed)), ("limit", 50), ("reveal", true), ("reason", .string(onRecord(web, reason))),
            ], as: .staff)
        let names = try await lotNames()
        members += [
            ("searched", true),
            (
                "orders",
                .array(
                    (list["orders"]?.arrayValue ?? []).map { order in
                        let code = order["parkCode"]?.stringValue ?? ""
                        return [
                            "order": order["orderNo"] ?? "", "plate": .string(web.format.plate(order["plateNo"]?.stringValue ?? "")),
                            "lot": .string(names[code] ?? code),
                            "window": .string(web.format.window(order["enterStart"]?.intValue ?? 0, order["enterEnd"]?.intValue ?? 0)),
                            "status": .string(words.say(web.language, "status.\(order["status"]?.intValue ?? 0)")),
                        ]
                    })
            ),
        ]
        return .page(Page("city/plates", members))
    }
}
