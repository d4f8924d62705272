import BerthWire

/// Shapes → JSON Schema 2020-12, the same for OpenAPI 3.1 and AsyncAPI 3.0.
enum Schemas {
    static func object(_ fields: [Field], isRequest: Bool) -> JSON {
        var properties = JSONObject()
        for field in fields { properties[field.name] = property(field, isRequest: isRequest) }
        var schema = JSONObject([("type", "object")])
        if !fields.isEmpty { schema.append("properties", .object(properties)) }
        let required = fields.filter(\.isRequired).map { JSON.string($0.name) }
        if !required.isEmpty { schema.append("required", .array(required)) }
        return .object(schema)
    }

    private static func property(_ field: Field, isRequest: Bool) -> JSON {
        var schema = type(field.type, isRequired: field.isRequired, isRequest: isRequest)
        if let maxCount = field.maxCount {
            schema = JSONObject([("type", "array"), ("maxItems", .int(maxCount)), ("items", .object(schema))])
        }
        // A request may say null for what it leaves out.
        if isRequest, !field.isRequired, let type = schema["type"]?.stringValue, schema["enum"] == nil {
            schema["type"] = [.string(type), "null"]
        }
        schema["description"] = .string("\(field.zh) / \(field.en)")
        return .object(schema)
    }

    private static func type(_ type: FieldType, isRequired: Bool, isRequest: Bool) -> JSONObject {
        func text(_ max: Int, pattern: String? = nil) -> JSONObject {
            var schema = JSONObject([("type", "string"), ("maxLength", .int(max))])
            if isRequired, isRequest { schema.append("minLength", 1) }
            if let pattern { schema.append("pattern", .string(pattern)) }
            return schema
        }
        func number(_ range: ClosedRange<Int64>) -> JSONObject {
            JSONObject([("type", "integer"), ("minimum", .int(range.lowerBound)), ("maximum", .int(range.upperBound))])
        }
        switch type {
        case .string(let max): return text(max)
        case .int(let range): return number(range)
        case .code(let codes): return JSONObject([("type", "integer"), ("enum", .array(codes.sorted().map { .int($0) }))])
        case .bool: return JSONObject([("type", "boolean")])
        case .time: return number(1_000_000_000_000...9_999_999_999_999)
        case .date: return text(10, pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
        case .hm: return text(5, pattern: "^([01][0-9]|2[0-3]):[0-5][0-9]$")
        case .hmEnd: return text(5, pattern: "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")
        case .money: return number(0...WireLimits.moneyMax)
        case .plateNo: return text(16)
        case .plateColor: return number(0...99)
        case .parkCode: return text(32, pattern: "^[A-Za-z0-9.-][A-Za-z0-9._-]*$")
        case .lng, .lat: return text(16, pattern: "^-?[0-9]{1,3}(\\.[0-9]{1,7})?$")
        case .region: return text(6, pattern: "^[0-9]{6}$")
        case .sha256: return text(64, pattern: "^[0-9A-Fa-f]{64}$")
        case .reading: return text(16)
        case .plateType: return text(2, pattern: "^(0[1-9]|1[0-9]|2[0-7]|3[12]|4[123]|5[12]|99)$")
        case .uuid: return text(36, pattern: "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$")
        case .object(let children):
            guard case .object(let schema) = object(children, isRequest: isRequest) else { return JSONObject() }
            return schema
        case .any: return JSONObject()
        }
    }

    static let time: JSON = ["type": "integer", "minimum": 1_000_000_000_000, "maximum": 9_999_999_999_999]

    /// The members of a request that every message has (section 3).
    static func envelope(_ service: ServiceDefinition, isLog: Bool) -> JSON {
        var properties = JSONObject([
            ("version", ["const": "1.0"]),
            ("requestId", ["type": "string", "pattern": "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"]),
            ("appId", ["type": "string", "pattern": "^[A-Za-z0-9]{4,32}$"]),
            ("service", ["const": .string(service.name)]), ("timestamp", time),
            ("nonce", ["type": "string", "pattern": "^[A-Za-z0-9_-]{8,32}$"]), ("signType", ["const": "HMACSHA256"]),
            ("sign", ["type": "string", "description": "HMAC-SHA256, lower hex; see /docs"]),
        ])
        var required: [JSON] = ["version", "requestId", "appId", "service", "timestamp", "nonce", "sign", "data"]
        let lot: JSON = ["type": "string", "pattern": "^[A-Za-z0-9.-][A-Za-z0-9._-]{0,31}$"]
        properties.append("parkCode", lot)
        if service.direction == "up" || service.direction == "down", service.name != "sys.time.get", !service.callers.contains(.provider) {
            required.append("parkCode")
        }
        if isLog {
            properties.append("epoch", ["type": "string", "minLength": 1, "maxLength": 16])
            properties.append("seq", ["type": "integer", "minimum": 1, "maximum": .int(WireLimits.intMax)])
            required += ["epoch", "seq"]
        }
        properties.append("data", object(service.request.fields, isRequest: true))
        return ["type": "object", "properties": .object(properties), "required": .array(required)]
    }

    /// The members that every reply has; `data` has the service's shape when the code is 0.
    static func reply(_ service: ServiceDefinition) -> JSON {
        [
            "allOf": [
                ["$ref": "#/components/schemas/Reply"],
                [
                    "if": ["properties": ["code": ["const": 0]]],
                    "then": ["properties": ["data": object(service.reply.fields, isRequest: false)]],
                ],
            ]
        ]
    }

    static let replyEnvelope: JSON = [
        "type": "object",
        "properties": [
            "version": ["const": "1.0"], "requestId": ["type": "string", "maxLength": 36],
            "appId": ["type": "string", "maxLength": 32], "service": ["type": "string", "maxLength": 48],
            "parkCode": ["type": "string", "maxLength": 32], "timestamp": time,
            "nonce": ["type": "string", "minLength": 8, "maxLength": 32],
            "code": ["type": "integer", "minimum": 0, "maximum": 9999], "message": ["type": "string"],
            "hint": ["type": "string"], "duplicate": ["type": "boolean"], "epoch": ["type": "string"],
            "ackSeq": ["type": "integer", "minimum": 0], "sign": ["type": "string", "maxLength": 64], "data": ["type": "object"],
        ],
        "required": ["version", "requestId", "appId", "service", "timestamp", "nonce", "code", "message", "sign", "data"],
    ]
}

extension JSON {
    /// For people and for version control: two spaces a level, small things on one line.
    public var pretty: String {
        var out = ""
        write(to: &out, indent: 0)
        return out + "\n"
    }

    private func write(to out: inout String, indent: Int) {
        let inline = string
        let pad = String(repeating: "  ", count: indent + 1)
        switch self {
        case .object(let object) where inline.utf8.count > 100:
            out += "{\n"
            for (index, member) in object.members.enumerated() {
                out += pad + JSON.string(member.name).string + ": "
                member.value.write(to: &out, indent: indent + 1)
                out += index + 1 < object.members.count ? ",\n" : "\n"
            }
            out += pad.dropLast(2) + "}"
        case .array(let values) where inline.utf8.count > 100:
            out += "[\n"
            for (index, value) in values.enumerated() {
                out += pad
                value.write(to: &out, indent: indent + 1)
                out += index + 1 < values.count ? ",\n" : "\n"
            }
            out += pad.dropLast(2) + "]"
        default: out += inline
        }
    }
}
