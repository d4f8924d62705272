public import BerthCore

// Services whose fields are kept as they came (U05, U06, U08, U13, U16, U22, U24, U25, A10) and what operators send to lots (9.2).
extension Decode {
    /// The services that only file what they say under names, and how.
    private struct Filing {
        let kind: String
        /// The array of things filed; nil when the message itself is one.
        let list: String?
        let key: String
        var knownBy: String?
    }

    private static let filings: [String: Filing] = [
        "lot.space.report": Filing(kind: "space", list: "spaces", key: "spaceNo"),
        "lot.tariff.report": Filing(kind: "tariff", list: nil, key: "tariffId"),
        "space.status.report": Filing(kind: "spaceStatus", list: "items", key: "spaceNo", knownBy: "space"),
        "device.status.report": Filing(kind: "device", list: "devices", key: "deviceCode"),
        "list.local.report": Filing(kind: "list", list: "items", key: "plateNo"),
    ]

    /// A report that is filed as it is; nil for every other service. The data has passed its shape.
    public static func filing(service: String, data: JSONObject, parkCode: String, now: Int64) -> Command? {
        guard let filing = filings[service], let shape = Dialect.current.services[service]?.request else { return nil }
        let known = shape.known(data)
        let rows = filing.list.map { known[$0]?.arrayValue ?? [] } ?? [.object(known)]
        // The lot's lists are three, each replaced for itself.
        let kind = filing.kind + (known["listType"]?.intValue.map(String.init) ?? "")
        let reports = rows.compactMap { row -> KeptRecord? in
            guard case .object(var fields) = row, let name = fields[filing.key]?.stringValue else { return nil }
            let isGone = fields["op"]?.intValue == 3
            fields["op"] = nil
            for name in ["changeTime", "deviceTime"] {
                if let time = fields[name]?.intValue, time > now + City.aheadMillisMax { fields[name] = .int(now) }
            }
            var key = filing.key == "plateNo" ? Plate(name)?.revealed ?? name : name
            // Of a tariff the one in force stays until the next one is.
            if service == "lot.tariff.report", let from = fields["effectiveFrom"]?.intValue { key += "@\(from)" }
            return KeptRecord(
                parkCode: parkCode, kind: kind, key: key, body: isGone ? "" : JSON.object(fields).canonicalString, at: now)
        }
        // A change that is dated far ahead counts as of now, and is an event.
        let ahead = rows.lazy.compactMap { ($0["changeTime"] ?? $0["deviceTime"])?.intValue }.first { $0 > now + City.aheadMillisMax }
        return .file(
            parkCode: parkCode, reports, replaces: known["complete"]?.boolValue == true ? kind : nil,
            knownBy: filing.knownBy,
            notice: ahead.map { LotEvent(parkCode: parkCode, eventType: 6010, occurredAt: now, detail: "\(service) \($0)") },
            tariff: service == "lot.tariff.report" ? reports.first.flatMap { lotTariff($0.body) } : nil,
            entries: service == "list.local.report"
                ? reports.reduce(into: [:]) { $0[$1.key] = $1.isGone ? nil : listEntry($1.body) } : [:])
    }

    /// U13 `vehicle.record.correct`.
    public static func correction(_ data: JSONObject, parkCode: String) throws(WireError) -> Command {
        let fields = FieldReader(data)
        let recordNo = try fields.string("recordNo", max: 48)
        let kind = try fields.int("correctType", in: 1...5)
        let after = try fields.optionalObject("after") ?? FieldReader(JSONObject(), path: "after.")
        let correction: Correction
        switch kind {
        case 1: correction = .plate(try plate(after))
        case 2:
            let times = (try after.optionalTime("enterTime"), try after.optionalTime("leaveTime"))
            guard times.0 != nil || times.1 != nil else { throw after.missing("enterTime or after.leaveTime") }
            correction = .times(enter: times.0, leave: times.1)
        case 3: correction = .fee(try after.int("totalFee", in: 0...WireLimits.moneyMax))
        case 4: correction = .void
        default: correction = .merge(into: try after.string("recordNo", max: 48))
        }
        return .correct(parkCode: parkCode, recordNo: recordNo, correction)
    }

    /// U22 `payment.record.report`.
    public static func paymentRecord(_ data: JSONObject, parkCode: String) throws(WireError) -> Command {
        let fields = FieldReader(data)
        return .takeIn(
            Payment(
                payNo: try fields.string("payNo", max: 64), appId: "", parkCode: parkCode,
                recordNo: try fields.string("recordNo", max: 48), billNo: try fields.optionalString("billNo", max: 64),
                amountFen: try fields.int("amount", in: 0...WireLimits.moneyMax), channel: "", state: .paid,
                payTime: try fields.time("payTime"), requestHash: Signature.dataHash(.object(data))))
    }

    /// Where what an operator sends stays in force, by service: its key, and the field that says that it is over.
    private static let standing: [String: (kind: String, key: String?)] = [
        "list.black.push": ("list.black.push", "plateNo"), "list.white.push": ("list.white.push", "plateNo"),
        "flow.policy.push": ("flow.policy.push", "policyId"), "config.push": ("config.push", nil),
        "share.auth.push": ("share.auth.push", "authNo"), "share.auth.revoke": ("share.auth.push", "authNo"),
        "vehicle.lock": ("vehicle.lock", "plateNo"),
    ]

    /// A message of section 9.2 that an operator sends to a lot, as the rules take it. The data has passed its shape.
    public static func operatorPost(service: String, data: JSONObject, parkCode: String, now: Int64) throws(WireError) -> Command {
        switch service {
        case "flow.policy.push": return .pushFlow(try flow(data, parkCode: parkCode))
        case "share.auth.push": return .pushShare(try authorisation(data, parkCode: parkCode, now: now))
        case "share.auth.revoke":
            let fields = FieldReader(data)
            return .revokeShare(
                parkCode: parkCode, authNo: try fields.string("authNo", max: 32),
                authVer: try fields.int("authVer", in: 1...WireLimits.intMax),
                reason: try fields.optionalString("reason", max: 256) ?? "operator")
        case "list.black.push", "list.white.push":
            let fields = FieldReader(data)
            if let scope = try fields.optionalString("scope", max: 8), !["", "lot", "group", "city"].contains(scope) {
                throw fields.illegal("scope", "lot, group or city")
            }
            if let from = try fields.optionalTime("from"), let to = try fields.optionalTime("to"), to < from {
                throw fields.illegal("to", "before from")
            }
            if let command = list(service: service, data: data, parkCode: parkCode) { return command }
        default: break
        }
        return post(service: service, data: data, parkCode: parkCode, now: now)
    }

    /// A message of section 9.2 as it is kept at the lot. The data has passed its shape.
    public static func post(service: String, data: JSONObject, parkCode: String, now: Int64) -> Command {
        var known = Dialect.current.services[service]?.request.known(data) ?? data
        // Plates are stored and sent bare (section 15.1), however they were typed.
        if let plate = known["plateNo"]?.stringValue.flatMap({ Plate($0) }) { known["plateNo"] = .string(plate.revealed) }
        let body = JSON.object(known).canonicalString
        var report: KeptRecord?
        if service == "config.push", gateRules(known) != nil {
            report = KeptRecord(parkCode: parkCode, kind: City.gateRulesKind, key: "", body: body, at: now)
        } else if let (kind, keyName) = standing[service] {
            let name = keyName.flatMap { known[$0]?.stringValue } ?? ""
            let isOver = service == "share.auth.revoke" || known["status"]?.intValue == -1 || known["locked"]?.boolValue == false
            report = KeptRecord(
                parkCode: parkCode, kind: kind, key: name,
                body: isOver ? "" : body, at: now)
        }
        return .post(parkCode: parkCode, service: service, body: body, sets: report)
    }

    /// The values that a gate decides by, as D19 carries them; nil where it carries none.
    static func gateRules(_ data: JSONObject) -> GateRules? {
        guard let chars = data["fuzzyCharsMax"]?.intValue, let confidence = data["fuzzyConfidenceMax"]?.intValue,
            let exempt = data["exemptClasses"]?.intValue
        else { return nil }
        var rules = GateRules()
        rules.fuzzyCharsMax = Int(chars)
        rules.fuzzyConfidenceMax = Int(confidence)
        rules.exemptClasses = Int(exempt)
        return rules
    }

    /// A10 `vehicle.bind` and `vehicle.unbind`.
    public static func binding(service: String, _ data: JSONObject, appId: String) throws(WireError) -> Command {
        let fields = FieldReader(data)
        let plate = try plate(fields)
        let color = try fields.optionalInt("plateColor", in: 0...99).map { Int($0) }
        if let color, !plate.fits(color: color) { throw WireError("plateColorMismatch", "plateColor: does not fit the plate") }
        var body = Dialect.current.services[service]?.request.known(data) ?? data
        if !fields.has("userToken") { body["ownerToken"] = nil }
        body["userToken"] = nil
        return .bind(
            appId: appId, userToken: try fields.user(), plate: plate,
            body: service == "vehicle.bind" ? JSON.object(body).canonicalString : "")
    }

    /// U06 as the rules compute with it; nil when the kept report cannot be read.
    public static func tariff(_ body: String) -> Tariff? {
        guard let json = try? JSON.parse(Array(body.utf8)), let tariffId = json["tariffId"]?.stringValue else { return nil }
        let rules = (json["rules"]?.arrayValue ?? []).compactMap { row -> Tariff.Rule? in
            guard let object = row.objectValue else { return nil }
            let fields = FieldReader(object)
            var rule = Tariff.Rule()
            rule.days = Set((row["days"]?.arrayValue ?? []).compactMap { $0.intValue.map { Int($0) } })
            rule.start = (try? fields.minuteOfDay("start", isEnd: false)) ?? 0
            rule.end = (try? fields.minuteOfDay("end", isEnd: true)) ?? 1440
            rule.freeMin = Int(row["freeMin"]?.intValue ?? 0)
            rule.stepMin = Int(row["stepMin"]?.intValue ?? 60)
            rule.stepFen = row["stepFee"]?.intValue ?? 0
            rule.capFen = row["capFee"]?.intValue
            rule.fromMin = Int(row["durStartMin"]?.intValue ?? 0)
            rule.toMin = row["durEndMin"]?.intValue.flatMap { $0 < 0 ? nil : Int($0) }
            return rule
        }
        var tariff = Tariff(
            tariffId: tariffId, rules: rules, dailyCapFen: json["dailyCap"]?.intValue,
            overtimePercent: Int(json["overtimeMultiplierPct"]?.intValue ?? 100))
        tariff.text = (json["text"]?.stringValue ?? "").trimmed
        return tariff
    }

    /// Whether a black or white list entry is in force at a time.
    public static func isInForce(_ body: String, at time: Int64) -> Bool {
        listEntry(body)?.holds(at: time) ?? false
    }
}

extension Schema {
    /// The fields that the service knows, and nothing else of what was sent.
    public func known(_ data: JSONObject) -> JSONObject { Schema.known(fields, data) }

    private static func known(_ shape: [Field], _ data: JSONObject) -> JSONObject {
        var kept = JSONObject()
        for field in shape {
            guard let value = data[field.name] else { continue }
            switch value {
            case .null where !field.isRequired, .string("") where !field.isRequired: continue
            default: break
            }
            guard case .object(let children) = field.type else {
                kept.append(field.name, value)
                continue
            }
            switch value {
            case .object(let inner): kept.append(field.name, .object(known(children, inner)))
            case .array(let values):
                kept.append(
                    field.name, .array(values.map { $0.objectValue.map { .object(known(children, $0)) } ?? $0 }))
            default: kept.append(field.name, value)
            }
        }
        return kept
    }
}
