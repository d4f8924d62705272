import BerthCore
import BerthWire

// Lot operator: the black and the white list of a lot.
extension Site {
    static var listRoutes: [Route] {
        [
            .get("/operator/lots/:lot/lists", .lots) { try await $0.listsPage($1) },
            .post("/operator/lots/:lot/lists", .lots) { try await $0.changeList($1) },
        ]
    }

    /// The fields of the form whose consequences are shown: with others they are shown anew.
    private static let listFields = ["kind", "plate", "toDay"]

    private static let listServices = ["black": "list.black.push", "white": "list.white.push"]

    /// Both lists as they are in force at the lot, with whole plates: the look is on record.
    func listsPage(_ web: WebRequest, error: String? = nil, asks: String? = nil) async throws -> WebResult {
        let parkCode = try ownLot(web)
        let names = try await lotNames()
        let found = try await city.call(
            "sync.snapshot.query", [("reveal", true), ("reason", .string(onRecord(web, "lists")))], as: .staff, parkCode: parkCode)
        let format = web.format
        func rows(_ name: String, _ kind: String) -> JSON {
            .array(
                // An entry that is over holds no more.
                (found[name]?.arrayValue ?? []).filter { ($0["to"]?.intValue ?? .max) > web.now }.prefix(500).map { row in
                    let scope = row["scope"]?.stringValue ?? ""
                    return .compact([
                        ("plate", row["plateNo"] ?? .null), ("shown", .string(format.plate(row["plateNo"]?.stringValue ?? ""))),
                        ("kind", .string(kind)), ("reason", row["reason"] ?? .null),
                        ("from", .optional(row["from"]?.intValue.map(format.time))),
                        ("to", .optional(row["to"]?.intValue.map(format.time))),
                        ("isExempt", row["exempt"] ?? .null), ("isSuspended", .bool(row["status"]?.intValue == 0)),
                        // The city's own entries, and those of a group, are the city's to change.
                        ("scope", ["", "lot"].contains(scope) ? .null : .string(words.say(web.language, "lists.scope.\(scope)"))),
                        ("isOwn", .bool(["", "lot"].contains(scope))),
                    ])
                })
        }
        return .page(
            Page(
                "operator/lists",
                [
                    ("name", .string(names[parkCode] ?? parkCode)),
                    ("action", .string("/operator/lots/\(WebRequest.escape(parkCode))/lists")),
                    ("back", .string("/operator/lots/\(WebRequest.escape(parkCode))")), ("black", rows("blackList", "black")),
                    ("white", rows("whiteList", "white")), ("error", .optional(error)), ("tabBoard", true),
                    ("plate", .string(web.text("plate", max: 16))), ("reason", .string(web.text("reason", max: 200))),
                    ("toDay", .string(web.text("toDay", max: 10))), ("asks", .optional(asks)),
                    ("seen", .string(seen(web, Site.listFields))),
                    ("isWhite", .bool(web.text("kind", max: 8) == "white")),
                ], status: error == nil ? 200 : 422))
    }

    /// The consequences of an entry: reservations of the plate at this lot, and an entry of the other list; nil where there are none.
    private func consequence(_ plate: Plate, _ parkCode: String, _ web: WebRequest) async throws -> String? {
        let isBlack = web.text("kind", max: 8) == "black"
        var lines: [String] = []
        if isBlack {
            let list = try await city.call(
                "order.list",
                [
                    ("plateNo", .string(plate.revealed)), ("parkCode", .string(parkCode)), ("limit", 50),
                    ("reason", .string(onRecord(web, "black list"))),
                ], as: .staff)
            let open = (list["orders"]?.arrayValue ?? []).count { [0, 1, 9].contains($0["status"]?.intValue ?? -1) }
            if open > 0 { lines.append(words.say(web.language, "lists.hits", ["count": String(open)])) }
        }
        let found = try await city.call(
            "sync.snapshot.query", [("reveal", true), ("reason", .string(onRecord(web, "lists")))], as: .staff, parkCode: parkCode)
        let other = found[isBlack ? "whiteList" : "blackList"]?.arrayValue ?? []
        if other.contains(where: { $0["plateNo"]?.stringValue == plate.revealed && ($0["to"]?.intValue ?? .max) > web.now }) {
            lines.append(words.say(web.language, isBlack ? "lists.alsoWhite" : "lists.alsoBlack"))
        }
        return lines.isEmpty ? nil : lines.joined(separator: " ")
    }

    /// Adds a plate to a list of the lot, or takes it off; the lot gets it through its down log.
    func changeList(_ web: WebRequest) async throws -> WebResult {
        let parkCode = try ownLot(web)
        guard let service = Site.listServices[web.text("kind", max: 8)] else { throw WebError.badRequest }
        guard let plate = Plate(web.text("plate", max: 16)), plate.isLegal else {
            return try await listsPage(web, error: words.say(web.language, "vehicles.bad"))
        }
        let isRemoved = web.isOn("remove")
        let reason = web.text("reason", max: 200)
        guard isRemoved || !reason.isEmpty else { return try await listsPage(web, error: words.say(web.language, "error.needsReason")) }
        let until = Plan.time(web.text("toDay", max: 10), "23:59", now: web.now)
        guard isRemoved || web.text("toDay", max: 10).isEmpty || until ?? 0 > web.now else {
            return try await listsPage(web, error: words.say(web.language, "lists.badDay"))
        }
        if !isRemoved, !isAsPreviewed(web, Site.listFields), let asks = try await consequence(plate, parkCode, web) {
            return try await listsPage(web, asks: asks)
        }
        do {
            try await city.call(
                service,
                [
                    ("plateNo", .string(plate.revealed)), ("status", isRemoved ? -1 : 1), ("scope", "lot"),
                    ("reason", .string(onRecord(web, isRemoved ? "removed" : reason))), ("from", isRemoved ? .null : .int(web.now)),
                    ("to", isRemoved || web.text("toDay", max: 10).isEmpty ? .null : .optional(until)),
                ], as: .staff, parkCode: parkCode)
        } catch { return try await listsPage(web, error: refusal(error, web)) }
        return .redirect("/operator/lots/\(WebRequest.escape(parkCode))/lists")
    }
}
