import BerthCore
import BerthWire

// Accounts of people (W02, W03) for the city's pages, and the calls of a party.
extension Pipeline {
    /// A query about people or parties; false for every other one.
    func peopleQuery(
        _ request: VerifiedRequest, _ fields: FieldReader, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) -> Bool {
        switch request.envelope.service {
        case "person.find": try findPerson(fields, now: now, completion: completion)
        case "person.list":
            let isUsers = try fields.optionalString("kind", max: 8) == "user"
            let parkCode = try fields.optionalString("parkCode", max: 32)
            let after = try fields.optionalString("after", max: 64) ?? ""
            let limit = Int(try fields.optionalInt("limit", in: 1...1000) ?? 200)
            sequencer.read(
                nil,
                { city in
                    let found = city.people.values.filter {
                        $0.kind == (isUsers ? .user : .staff) && $0.state != .deleted && $0.login > after
                            && (parkCode.map($0.parkCodes.contains) ?? true)
                    }.sorted { $0.login < $1.login }
                    return Reply(data: [
                        "persons": .array(found.prefix(limit).map(Encode.person)), "hasMore": .bool(found.count > limit),
                    ])
                }, completion: completion)
        case "link.bill.query": try linkBill(fields, now: now, completion: completion)
        case "sys.call.list":
            let asked = try fields.optionalString("appId", max: 32)
            let appId = request.credential.role == .operator ? asked ?? request.envelope.appId : request.envelope.appId
            // A caller that is limited to lots sees the calls of parties that speak for no other lot.
            if let own = Pipeline.lots(of: request.credential), appId != request.envelope.appId {
                guard let party = credentials.find(appId), party.role.speaksForLots, party.parkCodes.isSubset(of: own) else {
                    throw WireError("lotNotAuthorised", "appId: it speaks for other lots as well")
                }
            }
            completion(Reply(data: ["calls": .array(callRows(of: appId))]))
        default: return false
        }
        return true
    }

    /// The last calls of a party, the newest first.
    func callRows(of appId: String) -> [JSON] {
        calls.calls(of: appId).map { call in
            .compact([
                ("at", .int(call.at)), ("service", .string(call.service)), ("requestId", .string(call.requestId)),
                ("parkCode", call.parkCode.isEmpty ? .null : .string(call.parkCode)), ("code", .int(call.code)),
                ("reason", .string(Dialect.current.codes[call.code]?.zh ?? "")),
                ("hint", call.hint.isEmpty ? .null : .string(call.hint)), ("mqtt", .bool(call.isOverMQTT)),
            ])
        }
    }

    private func findPerson(_ fields: FieldReader, now: Millis, completion: @escaping Sequencer.Completion) throws(WireError) {
        let personId = try fields.optionalString("personId", max: 16)
        let login = try fields.optionalString("login", max: 64)
        let hash = try fields.optionalString("sessionHash", max: 64)?.lowercased()
        let isVisit = try fields.optionalBool("visit") ?? true
        guard personId != nil || login != nil || hash != nil else { throw WireError("missingParameter", "personId, login or sessionHash") }
        var seenAt: Millis?
        sequencer.read(
            nil,
            { city in
                let person =
                    if let hash { city.person(withSession: hash, at: now) } else if let personId { city.people[personId] } else {
                        city.person(withLogin: login ?? "")
                    }
                guard let person else { return Reply(WireError(hash == nil ? "notFound" : "ticketInvalid")) }
                if let hash { seenAt = person.sessions.first { $0.hash == hash }?.seenAt }
                return Reply(data: Encode.personWithVerifiers(person))
            }, completion: completion)
        // The time of a visit is kept to five minutes, so that a visit is not a write.
        if isVisit, let hash, let seenAt, now - seenAt > Pipeline.seenMillis {
            sequencer.perform(.people(.touchSession(hash: hash)), now: now)
        }
    }

    private static let seenMillis: Millis = 300_000
}
