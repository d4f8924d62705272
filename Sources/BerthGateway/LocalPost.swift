import BerthCore
import BerthLink
import BerthWire
import Hummingbird

/// One POST of the local API. Data that the server would refuse for good is refused here, before it is written to the log.
struct LocalPost {
    let gateway: Gateway
    let box: LotBox
    let data: JSON

    /// - Parameter session: of the PMS, for answers to commands.
    func respond(_ what: String, session: String) async throws -> Response {
        try check()
        switch what {
        case "decide":
            return LocalAPI.json(
                try await gateway.decide(
                    box.entry.parkCode, plate: text("plateNo"), plateColor: plateColor, gateCode: text("gateCode"),
                    confidence: data["confidence"]?.intValue.map { Int($0) }, orderNo: optional("orderNo"), imageId: optional("imageId")))
        case "entry": return try await entry()
        case "exit":
            let recordNo = try await box.exit(
                plate: optional("plateNo"), recordNo: optional("recordNo"), gateCode: text("gateCode"),
                enterTime: data["enterTime"]?.intValue, leaveTime: data["leaveTime"]?.intValue, feeFen: data["totalFee"]?.intValue ?? 0)
            return LocalAPI.json(["recordNo": .string(recordNo)])
        case "occupied":
            guard let count = data["occupied"]?.intValue, (0...Bounds.places.upperBound).contains(count) else { throw illegal("occupied") }
            box.reportOccupied(Int(count))
            return LocalAPI.json([:])
        case "correct":
            try await box.correct(data.objectValue ?? JSONObject())
            return LocalAPI.json([:])
        case "payment": return LocalAPI.json(["payNo": .string(try await box.pay(data.objectValue ?? JSONObject()))])
        case "answer": return try answer(session)
        case "inbox":
            guard let id = data["through"]?.intValue, id >= 0 else {
                throw LotBox.Refused(status: 400, name: "missingParameter", description: "through")
            }
            guard await box.clearInbox(through: id) else { throw LotBox.noDisk }
            return LocalAPI.json([:])
        case "event":
            guard let type = data["eventType"]?.intValue, (1000...9999).contains(type) else { throw illegal("eventType: 1000 to 9999") }
            try await box.event(type: Int(type), level: Int(data["level"]?.intValue ?? 2), detail: data["detail"] ?? [:])
            return LocalAPI.json([:])
        default:
            return LocalAPI.refuse(
                404, "notFound", "POST /pms/{parkCode}/decide, picture, entry, exit, payment, correct, occupied, event, answer or inbox")
        }
    }

    private func entry() async throws -> Response {
        // A car without a plate gets a number of the lot's own; it leaves under it.
        let isPlateless = data["plateless"]?.boolValue == true
        let plate = isPlateless ? "无" + SystemRandom.token(8).uppercased() : try text("plateNo")
        let result = try await box.enter(
            plate: plate, plateColor: plateColor, gateCode: text("gateCode"), enterTime: data["enterTime"]?.intValue,
            orderNo: optional("orderNo"), recordNo: optional("recordNo"), enterMode: Int(data["enterMode"]?.intValue ?? 1))
        return LocalAPI.json(
            .compact([
                ("recordNo", .string(result.recordNo)), ("orderNo", .optional(result.orderNo)),
                ("plateNo", isPlateless ? .string(plate) : .null), ("missedExit", .optional(result.missedExit)),
            ]))
    }

    private func answer(_ session: String) throws -> Response {
        let code = data["code"]?.intValue ?? 0
        guard (0...9999).contains(code) else { throw illegal("code: 0 to 9999") }
        switch box.commands.answer(try text("id"), session: session, Reply(code: Int(code), data: data["data"] ?? [:])) {
        case .taken: return LocalAPI.json([:])
        case .unknown: return LocalAPI.refuse(409, "expiredBeforeDelivery", "nobody waits for this answer any more")
        case .otherSession: return LocalAPI.refuse(409, "otherSession", "another X-PMS-Session took this command")
        }
    }

    // MARK: Fields

    private func illegal(_ why: String) -> LotBox.Refused { LotBox.Refused(status: 400, name: "illegalValue", description: why) }

    private func text(_ name: String) throws -> String {
        guard let value = optional(name) else {
            throw LotBox.Refused(status: 400, name: "missingParameter", description: name)
        }
        return value
    }

    /// An optional member that is null or "" is absent (section 2).
    private func optional(_ name: String) -> String? { data[name]?.stringValue.flatMap { $0.isEmpty ? nil : $0 } }

    /// The wire's code of the colour; 9 (undetermined) where none is said.
    private var plateColor: Int {
        guard let color = data["plateColor"], fields.has("plateColor") else { return 9 }
        guard let table = box.entry.plateColors else { return Int(color.intValue ?? 9) }
        return table.wireCode(color, plate: optional("plateNo").flatMap { Plate(reading: $0) }) ?? 9
    }

    private var fields: FieldReader { FieldReader(data.objectValue ?? JSONObject()) }

    private func check() throws {
        do throws(WireError) {
            for (name, max) in [("plateNo", 64), ("gateCode", 32), ("orderNo", 32), ("recordNo", 48), ("imageId", 64)] {
                _ = try fields.optionalString(name, max: max)
            }
            for name in ["enterTime", "leaveTime"] { _ = try fields.optionalTime(name) }
            if let color = data["plateColor"], fields.has("plateColor") {
                if let table = box.entry.plateColors {
                    guard table.wireCode(color, plate: nil) != nil else {
                        throw WireError(
                            "illegalValue", "plateColor: \(table.rows.map(\.theirs).joined(separator: ", ")) expected (\(table.name))")
                    }
                } else {
                    _ = try fields.int("plateColor", among: Plate.colors)
                }
            }
            _ = try fields.optionalInt("totalFee", in: 0...WireLimits.moneyMax)
            _ = try fields.optionalInt("confidence", in: 0...100)
            _ = try fields.optionalInt("enterMode", in: 1...6)
            _ = try fields.optionalInt("level", in: 1...4)
        } catch { throw LotBox.Refused(status: 400, name: error.name, description: error.hint) }
    }
}
