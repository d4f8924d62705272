import BerthCore
import BerthWire

// Lot operator: what the lot has of annex A, and the credentials that speak for it.
extension Site {
    static var lotRecordRoutes: [Route] {
        [
            .get("/operator/lots/:lot/checklist", .lots) { try await $0.checklist($1) },
            .get("/operator/lots/:lot/credentials", .lots) { try await $0.credentials($1) },
            .post("/operator/lots/:lot/credentials", .lots) { try await $0.rotateCredential($1) },
        ]
    }

    /// The members that each page of a lot has.
    func lotMembers(_ parkCode: String) async throws -> [(String, JSON)] {
        let names = try await lotNames()
        let back = "/operator/lots/\(WebRequest.escape(parkCode))"
        return [("lot", .string(parkCode)), ("name", .string(names[parkCode] ?? parkCode)), ("back", .string(back)), ("tabBoard", true)]
    }

    func checklist(_ web: WebRequest) async throws -> WebResult {
        let parkCode = try ownLot(web)
        let found = try await city.call("lot.compliance.query", [("parkCode", .string(parkCode))], as: .staff)
        guard let row = found["lots"]?.arrayValue?.first else { throw WebError.notFound }
        func items(_ name: String) -> JSON {
            .array(
                (row[name]?.arrayValue ?? []).map {
                    .compact([
                        ("text", $0[web.language == .zh ? "zh" : "en"] ?? .null),
                        ("why", $0[web.language == .zh ? "whyZh" : "why"] ?? .null),
                        ("isFailed", .bool($0["verdict"]?.stringValue == "failed")),
                    ])
                })
        }
        let (passed, required) = (row["passed"]?.intValue ?? 0, row["required"]?.intValue ?? 0)
        let percent = required > 0 ? passed * 100 / required : 0
        return .page(
            Page(
                "operator/checklist",
                try await lotMembers(parkCode) + [
                    ("passed", .int(passed)), ("required", .int(required)), ("open", items("open")), ("met", items("met")),
                    ("gauge", .string(Chart.gauge(percent, style: "l3", label: "\(percent)%"))),
                    ("stageText", .string(words.say(web.language, "stage.\(row["stage"]?.stringValue ?? "applied")"))),
                    ("isTrusting", .bool(found["mode"]?.stringValue == "trust")),
                    ("vendor", row["vendor"] ?? .null), ("version", row["softVersion"] ?? .null),
                ]))
    }

    // MARK: Credentials

    func credentials(_ web: WebRequest, error: String? = nil, made: JSON? = nil) async throws -> WebResult {
        let parkCode = try ownLot(web)
        let found = try await city.call(
            "credential.list", [("parkCode", .string(parkCode)), ("parkCodes", ownLots(web))], as: .staff)
        let format = web.format
        let rows = (found["credentials"]?.arrayValue ?? []).map { row -> JSON in
            // A platform for other people's lots as well is the city's to change.
            let isOwn = row["others"]?.boolValue == false
            let isEnabled = row["enabled"]?.boolValue == true
            return .compact([
                ("id", row["appId"] ?? .null), ("name", row["name"] ?? .null),
                ("role", .string(words.say(web.language, "credential.role.\(row["role"]?.stringValue ?? "lot")"))),
                ("others", row["others"] ?? .null),
                ("isEnabled", .bool(isEnabled)), ("isUsed", .bool(row["delivers"]?.intValue ?? 0 > 0)),
                ("isOnline", .bool(row["online"]?.intValue ?? 0 > 0)), ("certificate", row["certificate"] ?? .null),
                ("callback", row["callback"] ?? .null), ("rotating", row["rotating"] ?? .null),
                ("oldUntil", .optional(row["oldUntil"]?.intValue.map(format.time))),
                ("lastCall", .optional(row["lastCallAt"]?.intValue.map(format.time))), ("mayChange", .bool(isEnabled && isOwn)),
            ])
        }
        return .page(
            Page(
                "operator/credentials",
                try await lotMembers(parkCode) + [
                    ("credentials", .array(rows)), ("error", .optional(error)), ("newId", made?["appId"] ?? .null),
                    ("newSecret", made?["appSecret"] ?? .null),
                    ("grace", .optional(made?["graceSec"]?.intValue.map { format.duration(max(1, $0 / 60)) })),
                ], status: error == nil ? 200 : 409))
    }

    /// A new secret, shown once on the page that answers.
    func rotateCredential(_ web: WebRequest) async throws -> WebResult {
        let parkCode = try ownLot(web)
        let appId = web.text("id", max: 32)
        // The credentials of the pages may change every lot's; a person may change those of their own.
        let found = try await city.call(
            "credential.list", [("parkCode", .string(parkCode)), ("parkCodes", ownLots(web))], as: .staff)
        let row = (found["credentials"]?.arrayValue ?? []).first { $0["appId"]?.stringValue == appId }
        guard let row, row["others"]?.boolValue == false else { throw WebError.notFound }
        do {
            let made = try await city.call(
                "credential.rotate",
                [
                    ("appId", .string(appId)), ("replace", web.isOn("replace") ? true : .null),
                    ("actor", .string(web.person?.actor ?? "")),
                ], as: .staff)
            return try await credentials(web, made: made)
        } catch let error as CityError { return try await credentials(web, error: refusal(error, web)) }
    }
}
