import BerthCore
import BerthLink
import BerthWire

// Lot operator: the control room, and gates opened from afar.
extension Site {
    static var controlRoutes: [Route] {
        [
            .get("/operator/cases", .lots) { try await $0.cases($1) },
            .post("/operator/cases/:case", .lots) { try await $0.decide($1) },
            .get("/operator/lots/:lot/cases/:case/picture", .lots) { try await $0.casePicture($1) },
            .post("/operator/lots/:lot/gate", .lots) { try await $0.openGate($1) },
            .get("/operator/lots/:lot/flow", .lots) { try await $0.flowPage($1) },
            .post("/operator/lots/:lot/flow", .lots) { try await $0.setFlow($1) },
        ]
    }

    /// Cases of the own lots, the newest first.
    /// - Parameter state: one state; null for all.
    private func caseList(_ web: WebRequest, _ limit: Int64, _ state: JSON, lots: JSON, caseNo: JSON = .null) async throws -> [JSON] {
        let found = try await city.call(
            "gate.case.list",
            [
                ("limit", .int(limit)), ("state", state), ("parkCodes", lots), ("caseNo", caseNo),
                ("reason", .string(onRecord(web, "control room"))),
            ],
            as: .staff)
        return found["cases"]?.arrayValue ?? []
    }

    func cases(_ web: WebRequest) async throws -> WebResult {
        let own = ownLots(web)
        // The cars that wait are asked for by themselves, so that none of them is behind many others.
        let waiting = try await caseList(web, 200, "open", lots: own)
        let decided = try await caseList(web, 60, .null, lots: own).filter { $0["state"]?.stringValue != "open" }
        let format = web.format
        let away = Set(
            try await cache.boards(city).rows.filter { $0["online"]?.boolValue == false }.compactMap { $0["parkCode"]?.stringValue })
        let rows = (waiting + decided).filter { works(web, for: $0["parkCode"]?.stringValue ?? "") }.map { row -> JSON in
            let state = row["state"]?.stringValue ?? ""
            let reading = row["plateNo"]?.stringValue ?? ""
            return .compact([
                ("id", row["caseNo"] ?? .null), ("lot", row["parkCode"] ?? .null), ("lotName", row["parkName"] ?? .null),
                ("gate", row["gateCode"] ?? .null),
                ("plate", .string(format.plate(reading))), ("at", row["at"] ?? 0),
                ("atText", .string(format.time(row["at"]?.intValue ?? 0))),
                ("isOffline", .bool(away.contains(row["parkCode"]?.stringValue ?? ""))),
                ("isOpen", .bool(state == "open")), ("state", .string(words.say(web.language, "case.\(state)"))),
                ("confidence", row["confidence"] ?? .null),
                ("orderNo", row["orderNo"] ?? .null), ("by", row["decidedBy"] ?? .null), ("isIn", .bool(row["recordNo"] != nil)),
                (
                    "picture",
                    row["imageId"] == nil
                        ? .null
                        : .string(
                            "/operator/lots/\(WebRequest.escape(row["parkCode"]?.stringValue ?? ""))/cases/\(WebRequest.escape(row["caseNo"]?.stringValue ?? ""))/picture"
                        )
                ),
                (
                    "candidates",
                    .array(
                        (row["candidates"]?.arrayValue ?? []).map { candidate in
                            let plates = (candidate["plateNos"]?.arrayValue ?? []).compactMap(\.stringValue)
                            return .compact([
                                ("order", candidate["orderNo"] ?? .null),
                                ("plates", .string(plates.map(format.plate).joined(separator: " / "))),
                                ("marked", .string(plates.map { Site.marked($0, against: reading) }.joined(separator: " / "))),
                                ("plan", .optional(candidate["planTime"]?.intValue.map(format.time))),
                            ])
                        })
                ),
            ])
        }
        let open = rows.filter { $0["isOpen"]?.boolValue == true }
        return .page(
            Page(
                "operator/cases",
                [
                    ("open", .array(open)), ("closed", .array(Array(rows.filter { $0["isOpen"]?.boolValue != true }.prefix(20)))),
                    ("none", .bool(open.isEmpty)), ("tabCases", true),
                ], live: "operator/cases.live"))
    }

    /// The picture of a car that the control room looks at; on record like the list.
    func casePicture(_ web: WebRequest) async throws -> WebResult {
        let parkCode = try ownLot(web)
        guard let caseNo = web.names["case"], caseNo.unicodeScalars.count <= 32 else { throw WebError.notFound }
        let rows = try await caseList(web, 1, .null, lots: [.string(parkCode)], caseNo: .string(caseNo))
        guard let imageId = rows.first?["imageId"] else { throw WebError.notFound }
        return try await picture(imageId, of: parkCode)
    }

    /// The lots of the person, as services take them; null for all.
    func ownLots(_ web: WebRequest) -> JSON {
        web.person?.mayInCity("lots") == true ? .null : .array((web.person?.parkCodes ?? []).map { .string($0) })
    }

    /// A plate as HTML with the characters marked in which it differs from the reading.
    private static func marked(_ plate: String, against reading: String) -> String {
        let (ours, read) = (Array(plate.unicodeScalars), Array(reading.unicodeScalars))
        return ours.enumerated().map { index, scalar in
            let text = HTML.escape(String(Character(scalar)))
            return index < read.count && read[index] == scalar ? text : "<mark>\(text)</mark>"
        }.joined()
    }

    /// One tap: this reservation's car, or none of them. The answer says what has become of it at the gate.
    func decide(_ web: WebRequest) async throws -> WebResult {
        let parkCode = try ownLot(web, web.text("lot", max: 32))
        let order = web.text("order", max: 32)
        guard !order.isEmpty else { throw WebError.badRequest }
        let isRefused = order == "none"
        do {
            try await city.call(
                "gate.case.decide",
                [
                    ("parkCode", .string(parkCode)), ("caseNo", .string(web.names["case"] ?? "")),
                    ("orderNo", isRefused ? .null : .string(order)),
                    ("actor", .string((web.person?.actor ?? "").cut(to: 64))), ("reason", .string(web.text("reason", max: 200))),
                ], as: .staff)
        } catch {
            guard error.code == 403 else { throw error }
            return .redirect("/operator/cases", said: words.say(web.language, "case.done.late"))
        }
        return .redirect("/operator/cases", said: words.say(web.language, isRefused ? "case.done.refused" : "case.done.admitted"))
    }

    /// Opens a gate from afar, now or not at all; the lot's own answer is the result. A form that could not be done stays as it was typed.
    func openGate(_ web: WebRequest) async throws -> WebResult {
        let parkCode = try ownLot(web)
        let reason = web.text("reason", max: 200)
        let gate = web.text("gate", max: 32)
        guard !reason.isEmpty else {
            return .page(try await operatorLotPage(web, gateError: words.say(web.language, "op.gateSaid.reason")))
        }
        func notDone(_ key: String, why: String = "") async throws -> WebResult {
            let text = words.say(web.language, "op.gateSaid.\(key)", ["gate": gate, "why": why])
            return .page(try await operatorLotPage(web, gateError: text))
        }
        let reply: JSON
        do throws(CityError) {
            reply = try await city.call(
                "gate.control",
                [
                    ("gateCode", .string(gate)), ("action", "OPEN"), ("reason", .string(reason)),
                    ("operator", .string((web.person?.actor ?? "").cut(to: 64))), ("ttlMs", 3000),
                ], as: .staff, parkCode: parkCode)
        } catch {
            // No answer says nothing of the gate: the lot may have opened it.
            let isUnknown = error.isUnreachable || [501, 502].contains(error.code)
            return try await notDone(isUnknown ? "unknown" : "refused", why: error.words(web.language))
        }
        guard reply["executed"]?.boolValue == true else { return try await notDone("not") }
        return .redirect(
            "/operator/lots/\(WebRequest.escape(parkCode))", said: words.say(web.language, "op.gateSaid.opened", ["gate": gate]))
    }
}
