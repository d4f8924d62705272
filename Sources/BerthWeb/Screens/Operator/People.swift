import BerthCore
import BerthLink
import BerthWire

// Lot operator and city: accounts of staff.
extension Site {
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
