import BerthCore
import BerthWire

// City: areas and their flow policies.
extension Site {
    func areas(_ web: WebRequest, error: String? = nil) async throws -> WebResult {
        let list = try await city.call("flow.area.list", [], as: .staff)
        let policies = try await city.call("flow.policy.list", [], as: .staff)
        let names = try await lotNames()
        let rows = (list["areas"]?.arrayValue ?? []).map { area -> JSON in
            let id = area["areaId"]?.stringValue ?? ""
            let lots = (area["parkCodes"]?.arrayValue ?? []).compactMap(\.stringValue)
            return .compact([
                ("id", .string(id)), ("name", area["name"] ?? .null), ("count", .int(lots.count)),
                ("lots", .string(lots.prefix(5).map { names[$0] ?? $0 }.joined(separator: "、") + (lots.count > 5 ? " …" : ""))),
                ("codes", .string(lots.joined(separator: "\n"))), ("link", .string("/city/areas/\(WebRequest.escape(id))")),
                (
                    "policies",
                    .array(
                        (policies["policies"]?.arrayValue ?? []).filter {
                            $0["areaId"]?.stringValue == id && ($0["validTo"]?.intValue ?? 0) > web.now
                        }.map { flowView($0, web) })
                ),
            ])
        }
        return .page(
            Page(
                "city/areas",
                [
                    ("areas", .array(rows)), ("none", .bool(rows.isEmpty)), ("error", .optional(error)), ("tabAreas", true),
                    ("typedArea", .string(web.text("area", max: 32))), ("typedName", .string(web.text("name", max: 64))),
                    ("typedCodes", .string(web.text("codes", max: 40_000))),
                ],
                status: error == nil ? 200 : 409))
    }

    func saveArea(_ web: WebRequest) async throws -> WebResult {
        let codes = web.text("codes", max: 40_000).split { $0 == "\n" || $0 == "," || $0 == " " }.map {
            $0.trimmingCharacters(in: .whitespaces)
        }.filter { !$0.isEmpty }
        do {
            try await city.call(
                "flow.area.set",
                [
                    ("areaId", .string(web.text("area", max: 32))), ("name", .string(web.text("name", max: 64))),
                    ("parkCodes", .array(codes.map { .string($0) })), ("actor", .string(web.person?.actor ?? "")),
                ], as: .staff)
        } catch {
            let known = Set(try await lotNames().keys)
            let unknown = codes.filter { !known.contains($0) }.prefix(5)
            let why =
                error.code == 1000 && !unknown.isEmpty
                ? words.say(web.language, "areas.unknownLots", ["codes": unknown.joined(separator: ", ")])
                : codes.isEmpty && error.code == 403 ? words.say(web.language, "areas.hasPolicies") : refusal(error, web)
            return try await areas(web, error: why)
        }
        return .redirect("/city/areas")
    }

    func areaFlow(_ web: WebRequest) async throws -> WebResult {
        try await flowPage(of: try await flowPlace(ofArea: web.names["area"] ?? ""), web)
    }

    func setAreaFlow(_ web: WebRequest) async throws -> WebResult {
        try await setFlow(of: try await flowPlace(ofArea: web.names["area"] ?? ""), web)
    }

    /// An area that is not there is not found.
    private func flowPlace(ofArea id: String) async throws -> FlowPlace {
        let list = try await city.call("flow.area.list", [], as: .staff)
        guard let area = (list["areas"]?.arrayValue ?? []).first(where: { $0["areaId"]?.stringValue == id }) else {
            throw WebError.notFound
        }
        let name = area["name"]?.stringValue.flatMap { $0.isEmpty ? nil : $0 } ?? id
        return FlowPlace(
            scope: ("areaId", .string(id)), action: "/city/areas/\(WebRequest.escape(id))", back: "/city/areas",
            view: [("name", .string(name)), ("tabAreas", true), ("isArea", true)])
    }
}
