public import BerthCore

// Accounts of people (W01 to W07): fields → commands, values → fields.
extension Decode {
    static func people(service: String, data: JSONObject) throws(WireError) -> PeopleCommand? {
        let fields = FieldReader(data)
        switch service {
        case "person.save": return .save(try personChange(fields, data))
        case "person.code.issue":
            return .issueCode(login: try fields.string("login", max: 64), hash: try fields.string("codeHash", max: 64))
        case "person.code.check":
            return .useCode(
                login: try fields.string("login", max: 64), hash: try fields.string("codeHash", max: 64),
                userToken: try fields.string("userToken", max: 64), language: try fields.optionalString("language", max: 8) ?? "")
        case "session.open":
            let idle = try fields.int("idleMin", in: 1...525_600) * CivilTime.minute
            return .openSession(
                personId: try fields.string("personId", max: 16),
                Person.Session(
                    hash: try fields.string("sessionHash", max: 64).lowercased(), openedAt: 0, idleMillis: idle,
                    endsAt: try fields.time("endsAt"), device: try fields.optionalString("device", max: 128) ?? ""))
        case "session.end":
            let sessionId = try fields.optionalString("sessionId", max: 16)
            if let sessionId, sessionId.utf8.count < 16 { throw fields.illegal("sessionId", "16 hexadecimal digits") }
            return .endSession(personId: try fields.string("personId", max: 16), sessionId: sessionId)
        default: return nil
        }
    }

    private static func personChange(_ fields: FieldReader, _ data: JSONObject) throws(WireError) -> PersonChange {
        var change = PersonChange()
        change.personId = try fields.optionalString("personId", max: 16)
        for name in ["login", "userToken"] where change.personId == nil && !fields.has(name) { throw fields.missing(name) }
        if let kind = try fields.optionalString("kind", max: 8) {
            guard let kind = Person.Kind(rawValue: kind) else { throw fields.illegal("kind", "user, staff") }
            change.kind = kind
        }
        change.login = try fields.optionalString("login", max: 64)
        change.name = try fields.optionalString("name", max: 64)
        func list(_ name: String) -> [String]? { data[name]?.arrayValue.map { $0.compactMap(\.stringValue) } }
        change.roles = list("roles")
        if let wrong = change.roles?.first(where: { !Person.roleNames.contains($0) }) {
            throw fields.illegal("roles", "\(wrong.prefix(20)): one of \(Person.roleNames.joined(separator: ", "))")
        }
        change.parkCodes = list("parkCodes")
        change.rights = list("rights")
        change.userToken = try fields.optionalString("userToken", max: 64)
        change.passwordHash = try fields.optionalString("passwordHash", max: 256)
        change.totpSecret = try fields.optionalString("totpSecret", max: 64)
        change.totpStep = try fields.optionalInt("totpStep", in: 1...WireLimits.intMax)
        change.language = try fields.optionalString("language", max: 8)
        if let state = try fields.optionalString("state", max: 16) {
            guard let state = Person.State(rawValue: state) else { throw fields.illegal("state", "active, disabled, deleted") }
            change.state = state
        }
        for name in list("clear") ?? [] {
            switch name {
            case "name": change.name = ""
            case "totpSecret": change.totpSecret = ""
            case "passwordHash": change.passwordHash = ""
            default: throw fields.illegal("clear", "name, totpSecret, passwordHash")
            }
        }
        return change
    }
}

extension Person {
    /// The roles that an account can have.
    public static let roleNames = ["driver", "owner", "operator", "city", "developer"]
}

extension Encode {
    /// An account without its verifiers.
    public static func person(_ person: Person) -> JSON {
        func list(_ values: [String]) -> JSON { .array(values.map { .string($0) }) }
        return .compact([
            ("personId", .string(person.personId)), ("kind", .string(person.kind.rawValue)), ("login", .string(person.login)),
            ("name", .string(person.name)), ("roles", list(person.roles)), ("parkCodes", list(person.parkCodes)),
            ("rights", list(person.rights)), ("userToken", .string(person.userToken)), ("language", .string(person.language)),
            ("state", .string(person.state.rawValue)), ("createTime", .int(person.createdAt)),
            ("hasTotp", .bool(!person.totpSecret.isEmpty)),
            (
                "sessions",
                .array(
                    person.sessions.map {
                        [
                            "sessionId": .string(String($0.hash.prefix(16))), "openTime": .int($0.openedAt), "seenTime": .int($0.seenAt),
                            "endsAt": .int($0.endsAt), "device": .string($0.device),
                        ]
                    })
            ),
        ])
    }

    /// An account with its verifiers, for the pages that check them.
    public static func personWithVerifiers(_ person: Person) -> JSON {
        guard case .object(var row) = self.person(person) else { return [:] }
        if !person.passwordHash.isEmpty { row.append("passwordHash", .string(person.passwordHash)) }
        if !person.totpSecret.isEmpty {
            row.append("totpSecret", .string(person.totpSecret))
            row.append("totpStep", .int(person.totpStep))
        }
        return .object(row)
    }
}
