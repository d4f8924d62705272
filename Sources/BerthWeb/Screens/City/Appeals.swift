import BerthCore
import BerthWire

// City: appeals of drivers.
extension Site {
    func appeals(_ web: WebRequest, error: String? = nil) async throws -> WebResult {
        let state = web.text("state", max: 16)
        let list = try await city.call(
            "credit.appeal.list", [("state", .string(["open", "granted", "rejected"].contains(state) ? state : "open"))], as: .staff)
        let names = try await lotNames()
        let rows = (list["appeals"]?.arrayValue ?? []).prefix(100).map { row -> JSON in
            .compact([
                ("id", row["appealId"] ?? .null), ("penalty", row["penaltyId"] ?? .null), ("text", row["text"] ?? .null),
                ("kind", .string(words.say(web.language, "penalty.\(row["kind"]?.stringValue ?? "")"))),
                ("lotName", .optional(row["parkCode"]?.stringValue.map { names[$0] ?? $0 })), ("order", row["orderNo"] ?? .null),
                ("at", .optional(row["at"]?.intValue.map(web.format.time))),
                ("evidence", .optional(row["evidence"]?.stringValue.map { words.remark($0, web.format) })),
                ("answerBy", .string(web.format.time(row["answerBy"]?.intValue ?? 0))),
                ("overdue", row["overdue"] ?? .null), ("isOpen", .bool(row["state"]?.stringValue == "open")),
                ("answer", row["answer"] ?? .null),
                ("state", .string(words.say(web.language, "appeal.\(row["state"]?.stringValue ?? "")"))),
            ])
        }
        return .page(
            Page(
                "city/appeals",
                [
                    ("appeals", .array(Array(rows))), ("none", .bool(rows.isEmpty)), ("error", .optional(error)), ("tabAppeals", true),
                    ("isOpenList", .bool(!["granted", "rejected"].contains(state))),
                ], status: error == nil ? 200 : 409))
    }

    func answerAppeal(_ web: WebRequest) async throws -> WebResult {
        let answer = web.text("answer", max: 1000)
        guard !answer.isEmpty else { return try await appeals(web, error: words.say(web.language, "appeals.sayWhy")) }
        do {
            try await city.call(
                "credit.appeal.answer",
                [
                    ("appealId", .string(web.names["appeal"] ?? "")), ("grant", .bool(web.isOn("grant"))), ("answer", .string(answer)),
                    ("actor", .string(web.person?.actor ?? "")),
                ], as: .staff)
        } catch { return try await appeals(web, error: refusal(error, web)) }
        return .redirect("/city/appeals")
    }
}
