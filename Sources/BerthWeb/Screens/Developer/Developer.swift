import BerthCore
import BerthWire

// Developer: the link state of own test lots, the last calls with the field that was wrong, and a console that shows the string to sign.
extension Site {
    static var developerRoutes: [Route] {
        [
            .get("/developer", .roles(["developer", "city"])) { try await $0.developer($1) },
            .get("/developer/console", .anyone) { try await $0.console($1) },
            .post("/developer/console", .anyone) { try await $0.forward($1) },
        ]
    }

    /// The applications of a developer are in the rights of the account; the city's staff may look at any.
    func developer(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        let apps = person.may("city") ? [] : person.rights
        let asked = web.text("app", max: 32)
        let appId = asked.isEmpty ? apps.first ?? "" : asked
        if !person.may("city"), !appId.isEmpty, !apps.contains(where: { $0 == appId }) { throw WebError.notFound }
        var calls: [JSON] = []
        if !appId.isEmpty {
            let list = try await city.call("sys.call.list", [("appId", .string(appId))], as: .staff)
            calls = (list["calls"]?.arrayValue ?? []).map { call in
                let code = call["code"]?.intValue ?? 0
                let row = Dialect.current.codes[Int(code)]
                return .compact([
                    ("at", .string(web.format.time(call["at"]?.intValue ?? 0))), ("service", call["service"] ?? .null),
                    ("code", .int(code)), ("isOk", .bool(code == 0)),
                    ("reason", .optional(web.language == .zh ? row?.zh : row?.en)), ("hint", call["hint"] ?? .null),
                    ("request", call["requestId"] ?? .null),
                    ("lot", call["parkCode"] ?? .null), ("carrier", .string(call["mqtt"]?.boolValue == true ? "MQTT" : "HTTPS")),
                    ("doc", .string("/docs#\(call["service"]?.stringValue ?? "")")),
                ])
            }
        }
        let (rows, _) = try await cache.boards(city)
        let lots = rows.filter { row in person.parkCodes.contains { $0 == row["parkCode"]?.stringValue } }.map { boardView($0, web) }
        return .page(
            Page(
                "developer/developer",
                [
                    ("apps", .array(apps.map { ["id": .string($0), "isOn": .bool($0 == appId)] })), ("app", .string(appId)),
                    ("calls", .array(calls)), ("hasCalls", .bool(!calls.isEmpty)),
                    ("noCalls", .bool(!appId.isEmpty && calls.isEmpty)), ("lots", .array(lots)), ("isCityStaff", .bool(person.may("city"))),
                    ("tabDeveloper", true),
                ], live: "developer/developer.live"))
    }

    /// Carries a message that the browser has signed to the interface, and its answer back as it is: the pages may have another address than it.
    func forward(_ web: WebRequest) async throws -> WebResult {
        guard limiter.admit("console|\(web.source)", burst: 120, minutes: 1, now: web.now) else { return .later(60) }
        let service = web.text("service", max: 48)
        guard Dialect.current.services[service] != nil, let message = web.form["message"] else { throw WebError.badRequest }
        return .file(try await city.forward(Array(message.utf8), service: service), type: "application/json; charset=utf-8")
    }

    func console(_ web: WebRequest) async throws -> WebResult {
        let services = Dialect.current.catalogue.filter { $0.kind != .callback }.map { service -> JSON in
            [
                "name": .string(service.name), "title": .string(web.language == .zh ? service.zh : service.en),
                "isOn": .bool(service.name == (web.text("service", max: 48).isEmpty ? "lot.search" : web.text("service", max: 48))),
                "example": .string(Site.example(service.request.fields).string), "needsLot": .bool(service.direction != "app"),
            ]
        }
        return .page(Page("developer/console", [("services", .array(services)), ("tabConsole", true)]))
    }

    /// A message with the mandatory fields of a service, to begin with.
    private static func example(_ fields: [Field]) -> JSON {
        .object(
            JSONObject(
                fields.filter(\.isRequired).map { field in
                    let one: JSON =
                        switch field.type {
                        case .string: "…"
                        case .int(let range): .int(max(range.lowerBound, min(1, range.upperBound)))
                        case .code(let codes): .int(codes.min() ?? 0)
                        case .bool: true
                        case .time: 1_767_225_600_000
                        case .date: "2026-01-01"
                        case .hm: "08:00"
                        case .hmEnd: "18:00"
                        case .money: 100
                        case .plateNo, .reading: "粤B12345"
                        case .plateColor: 0
                        case .plateType: "02"
                        case .parkCode: "SZ00001"
                        case .lng: "114.0579"
                        case .lat: "22.5431"
                        case .region: "440304"
                        case .sha256: .string(String(repeating: "0", count: 64))
                        case .uuid: "0f8fad5b-d9cb-469f-a165-70867728950e"
                        case .object(let children): example(children)
                        case .any: [:]
                        }
                    return (field.name, field.maxCount == nil ? one : .array([one]))
                }))
    }
}
