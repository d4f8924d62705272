import BerthCore
import BerthStore
import BerthWire

/// The audit record (section 13) has every write by an operator, and every look at personal data that is shown whole.
enum Audit {
    /// A write, with its fields (personal data masked) and the code it was answered with.
    static func write(_ request: VerifiedRequest, code: Int?, now: Millis) -> AuditRecord {
        let envelope = request.envelope
        var detail = JSONObject([("data", mask(.object(envelope.data)))])
        if let code { detail.append("code", .int(code)) }
        return AuditRecord(
            at: now, actor: envelope.appId, action: envelope.service, target: target(envelope),
            detail: String(JSON.object(detail).canonicalString.prefix(detailMax)))
    }

    /// A look, with its reason.
    static func look(_ request: VerifiedRequest, reason: String, now: Millis) -> AuditRecord {
        AuditRecord(
            at: now, actor: request.envelope.appId, action: "look " + request.envelope.service, target: target(request.envelope),
            detail: reason)
    }

    /// A command of an operator at the server's own desk.
    static func desk(_ command: String, target: String, detail: String, now: Millis) -> AuditRecord {
        AuditRecord(at: now, actor: "desk", action: command, target: target, detail: String(detail.prefix(detailMax)))
    }

    private static let detailMax = 1000

    private static func target(_ envelope: Envelope) -> String {
        envelope.data["orderNo"]?.stringValue ?? envelope.parkCode ?? envelope.data["parkCode"]?.stringValue ?? ""
    }

    private static let phones: Set<String> = ["mobile", "contactMobile", "managerMobile", "servicePhone"]
    private static let plates: Set<String> = ["plateNo", "plateNos", "virtualPlate"]

    /// The same message with plates and phones masked, at every level.
    static func mask(_ json: JSON, name: String = "") -> JSON {
        switch json {
        case .object(let object): .object(JSONObject(object.members.map { ($0.name, mask($0.value, name: $0.name)) }))
        case .array(let values): .array(values.map { mask($0, name: name) })
        case .string(let text) where plates.contains(name): .string(Plate(text)?.masked ?? "***")
        case .string(let text) where phones.contains(name): .string(Encode.mask(mobile: text))
        default: json
        }
    }
}
