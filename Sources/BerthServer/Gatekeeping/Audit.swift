import BerthCore
import BerthStore
import BerthWire

/// The audit record (section 13) has every write by an operator, and every look at personal data that is shown whole.
enum Audit {
    /// Whether a write goes on record: every one of an operator, and changes of accounts by the city's pages.
    static func isWanted(_ request: VerifiedRequest) -> Bool {
        request.credential.role == .operator || (request.credential.role == .web && request.envelope.service == "person.save")
    }

    /// A write, with its fields (personal data masked) and the code it was answered with.
    static func write(_ request: VerifiedRequest, code: Int?, now: Millis) -> AuditRecord {
        let envelope = request.envelope
        var detail = JSONObject([("data", mask(.object(envelope.data)))])
        if let code { detail.append("code", .int(code)) }
        return AuditRecord(
            at: now, actor: envelope.appId, action: envelope.service, target: target(envelope),
            detail: JSON.object(detail).canonicalString.cut(to: detailMax))
    }

    /// A look, with its reason.
    static func look(_ request: VerifiedRequest, reason: String, now: Millis) -> AuditRecord {
        AuditRecord(
            at: now, actor: request.envelope.appId, action: "look " + request.envelope.service, target: target(request.envelope),
            detail: reason.cut(to: detailMax))
    }

    /// A command of an operator at the server's own desk.
    static func desk(_ command: String, target: String, detail: String, now: Millis) -> AuditRecord {
        AuditRecord(at: now, actor: "desk", action: command, target: target.cut(to: targetMax), detail: detail.cut(to: detailMax))
    }

    private static let detailMax = 1000
    private static let targetMax = 64

    /// The order, the lot or the masked plate that a request names; it is on record when it was refused too, so its length is anything.
    private static func target(_ envelope: Envelope) -> String {
        let plate = envelope.data["plateNo"]?.stringValue.map { Plate($0)?.masked ?? "***" }
        return (envelope.data["orderNo"]?.stringValue ?? envelope.parkCode ?? envelope.data["parkCode"]?.stringValue ?? plate ?? "")
            .cut(to: targetMax)
    }

    private static let phones: Set<String> = ["mobile", "contactMobile", "managerMobile", "servicePhone"]
    private static let secrets: Set<String> = ["passwordHash", "totpSecret", "codeHash", "sessionHash", "login"]
    private static let plates: Set<String> = ["plateNo", "plateNos", "virtualPlate"]

    /// The same message with plates and phones masked, at every level.
    static func mask(_ json: JSON, name: String = "") -> JSON {
        switch json {
        case .object(let object): .object(JSONObject(object.members.map { ($0.name, mask($0.value, name: $0.name)) }))
        case .array(let values): .array(values.map { mask($0, name: name) })
        case .string(let text) where plates.contains(name): .string(Plate(text)?.masked ?? "***")
        case .string where secrets.contains(name): .string("***")
        case .string(let text) where phones.contains(name): .string(Encode.mask(mobile: text))
        default: json
        }
    }
}
