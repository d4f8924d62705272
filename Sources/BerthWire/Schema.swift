import BerthCore

/// The type of a business field (interface.md, section 2), with its bounds.
public enum FieldType: Sendable, Equatable {
    /// At most so many Unicode scalars.
    case string(max: Int)
    case int(ClosedRange<Int64>)
    case code(Set<Int64>)
    case bool, time, date, hm, hmEnd, money, plateNo, plateColor, plateType, parkCode, lng, lat, region, sha256, uuid
    /// The reading of a camera, which need not be a legal plate (section 2).
    case reading
    case object([Field])
    /// Any value that the sender puts there; kept, never interpreted.
    case any
}

/// One field of a service: from one line of `services.json`, which the check, the documents and the tests share.
public struct Field: Sendable, Equatable {
    public let name: String
    public let isRequired: Bool
    public let type: FieldType
    /// Elements at most, where the field is an array.
    public let maxCount: Int?
    public let zh: String
    public let en: String
}

/// The fields of a request or of a reply.
public struct Schema: Sendable, Equatable {
    public let fields: [Field]

    /// No field at all.
    static let nothing = Schema()

    private init() { fields = [] }

    struct Unreadable: Error { let line: String }

    /// Lines `name[!] type[max count] zh | en`; `!` is mandatory, a leading space a level deeper.
    init(lines: [String]) throws {
        var index = 0
        fields = try Schema.read(lines, &index, depth: 0)
    }

    private static func read(_ lines: [String], _ index: inout Int, depth: Int) throws -> [Field] {
        var fields: [Field] = []
        while index < lines.count {
            let line = lines[index]
            let level = line.prefix { $0 == " " }.count
            guard level >= depth else { break }
            let parts = line.dropFirst(level).split(separator: " ", maxSplits: 2).map(String.init)
            guard level == depth, parts.count == 3, let bar = parts[2].range(of: " | ") else { throw Unreadable(line: line) }
            index += 1
            let isRequired = parts[0].hasSuffix("!")
            var typeName = Substring(parts[1])
            var maxCount: Int?
            if typeName.hasSuffix("]"), let open = typeName.lastIndex(of: "[") {
                maxCount = Int(typeName[typeName.index(after: open)...].dropLast())
                typeName = typeName[..<open]
            }
            let children = typeName == "object" ? try read(lines, &index, depth: depth + 1) : []
            guard let type = type(String(typeName), children) else { throw Unreadable(line: line) }
            fields.append(
                Field(
                    name: isRequired ? String(parts[0].dropLast()) : parts[0], isRequired: isRequired, type: type,
                    maxCount: maxCount, zh: String(parts[2][..<bar.lowerBound]), en: String(parts[2][bar.upperBound...])))
        }
        return fields
    }

    private static let simple: [String: FieldType] = [
        "bool": .bool, "time": .time, "date": .date, "hm": .hm, "hmEnd": .hmEnd, "money": .money, "plateNo": .plateNo,
        "reading": .reading, "plateType": .plateType, "plateColor": .plateColor, "parkCode": .parkCode, "lng": .lng, "lat": .lat,
        "region": .region,
        "sha256": .sha256, "uuid": .uuid, "any": .any, "int": .int(-WireLimits.intMax...WireLimits.intMax),
    ]

    private static func type(_ text: String, _ children: [Field]) -> FieldType? {
        if text == "object" { return .object(children) }
        if let type = simple[text] { return type }
        guard let open = text.firstIndex(of: "("), text.hasSuffix(")") else { return nil }
        let argument = text[text.index(after: open)...].dropLast()
        switch text[..<open] {
        case "string": return Int(argument).map { .string(max: $0) }
        case "int":
            if let dots = argument.range(of: "..") {
                guard let low = Int64(argument[..<dots.lowerBound]), let high = Int64(argument[dots.upperBound...]), low <= high
                else { return nil }
                return .int(low...high)
            }
            let codes = argument.split(separator: ",").compactMap { Int64($0) }
            return codes.isEmpty ? nil : .code(Set(codes))
        default: return nil
        }
    }

    /// A missing field is 100, one of the wrong type, form or range 102, an impossible plate 1010; the hint names them all. Unknown fields are
    /// not looked at.
    public func check(_ data: JSONObject) throws(WireError) {
        let faults = faults(in: data)
        guard let worst = Schema.worst(faults.map(\.error)) else { return }
        throw worst
    }

    /// One field that is not as it must be.
    public struct Fault: Sendable {
        public let error: WireError
        /// Whether the message means something without the field.
        public let isOptional: Bool
    }

    /// Faults that one hint names at most.
    private static let faultsMax = 20

    /// Everything that is wrong with the fields of a message, in their order.
    public func faults(in data: JSONObject) -> [Fault] {
        var faults: [Fault] = []
        Schema.check(fields, FieldReader(data), isOptional: false, &faults)
        return faults
    }

    /// All errors as one: the code of the first check that fails (section 3), with everything that is wrong in its hint.
    public static func worst(_ errors: [WireError]) -> WireError? {
        guard let first = errors.first else { return nil }
        guard errors.count > 1 else { return first }
        let name = ["missingParameter", "illegalValue"].first { name in errors.contains { $0.name == name } } ?? first.name
        return WireError(name, errors.map(\.hint).joined(separator: "; "))
    }

    private static func check(_ shape: [Field], _ fields: FieldReader, isOptional: Bool, _ faults: inout [Fault]) {
        // By index: a field is large, and would be copied.
        for index in shape.indices {
            guard faults.count < faultsMax else { return }
            let value = fields.object[shape[index].name]
            let isOptional = isOptional || !shape[index].isRequired
            if let maxCount = shape[index].maxCount {
                check(elements: value, of: shape[index], maxCount, fields, isOptional: isOptional, &faults)
            } else {
                check(
                    shape[index].type, value, shape[index].name, fields, isRequired: shape[index].isRequired, isOptional: isOptional,
                    &faults)
            }
        }
    }

    private static func check(
        elements value: JSON?, of field: Field, _ maxCount: Int, _ fields: FieldReader, isOptional: Bool, _ faults: inout [Fault]
    ) {
        func fault(_ error: WireError) { faults.append(Fault(error: error, isOptional: isOptional)) }
        switch value {
        case nil, .null, .string(""):
            if field.isRequired { fault(fields.missing(field.name)) }
        case .array(let values):
            guard values.count <= maxCount else { return fault(fields.illegal(field.name, "more than \(maxCount)")) }
            for (index, value) in values.enumerated() {
                guard faults.count < faultsMax else { return }
                // One element is checked as a field of its own, so that the hint names its place.
                let name = "\(field.name)[\(index)]"
                guard value != .null else {
                    fault(fields.illegal(name, "null"))
                    continue
                }
                check(
                    field.type, value, name, FieldReader(JSONObject([(name, value)]), path: fields.path), isRequired: true,
                    isOptional: isOptional, &faults)
            }
        default: fault(fields.illegal(field.name, "not an array"))
        }
    }

    private static func check(
        _ type: FieldType, _ value: JSON?, _ name: String, _ fields: FieldReader, isRequired: Bool, isOptional: Bool,
        _ faults: inout [Fault]
    ) {
        switch value {
        case nil, .null, .string(""):
            if isRequired { faults.append(Fault(error: fields.missing(name), isOptional: isOptional)) }
            return
        default: break
        }
        do throws(WireError) {
            if case .object(let children) = type {
                guard let inner = try fields.optionalObject(name) else { return }
                return check(children, inner, isOptional: isOptional, &faults)
            }
            try check(type, value, name, fields)
        } catch { faults.append(Fault(error: error, isOptional: isOptional)) }
    }

    private static func check(_ type: FieldType, _ value: JSON?, _ name: String, _ fields: FieldReader) throws(WireError) {
        switch type {
        case .string(let max): _ = try fields.string(in: value, name, max: max)
        case .int(let range): _ = try fields.int(in: value, name, range)
        case .code(let codes):
            guard let code = try fields.int(in: value, name, -(1 << 53)...(1 << 53)), codes.contains(code) else {
                throw fields.illegal(name, "not one of the codes")
            }
        case .bool: _ = try fields.optionalBool(name)
        case .time: _ = try fields.int(in: value, name, FieldReader.times)
        case .date: _ = try Decode.day(fields, name)
        case .hm: _ = try fields.minuteOfDay(name, isEnd: false)
        case .hmEnd: _ = try fields.minuteOfDay(name, isEnd: true)
        case .money: _ = try fields.int(in: value, name, 0...WireLimits.moneyMax)
        case .plateNo: _ = try Decode.plate(fields, name)
        case .reading: guard case .string = value else { throw fields.illegal(name, "not a string") }
        case .plateColor: _ = try Decode.plateColor(fields, name)
        case .plateType:
            guard PlateCategory.codes.contains(try fields.string(name, max: 2)) else {
                throw fields.illegal(name, "not one of the codes of section 15.3")
            }
        case .parkCode: _ = try Decode.parkCode(fields, name)
        case .lng: _ = try fields.coordinate(name, limit: 180)
        case .lat: _ = try fields.coordinate(name, limit: 90)
        case .region: try fields.digits(name, count: 6)
        case .sha256: try fields.hex(name, count: 64)
        case .uuid:
            guard Envelope.isUUID(try fields.string(name, max: 36)) else { throw fields.illegal(name, "not a UUID") }
        case .object, .any: break
        }
    }
}

/// Plate categories 号牌种类 (section 15.3).
public enum PlateCategory {
    public static let codes: Set<String> = [
        "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "21", "22",
        "23", "24", "25", "26", "27", "31", "32", "41", "42", "43", "51", "52", "99",
    ]
}
