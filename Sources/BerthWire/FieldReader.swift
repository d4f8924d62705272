import BerthCore

/// Reads the business fields of a message: missing is 100, of the wrong type or out of range is 102.
/// Unknown fields are never looked at, and so never in the effect (section 9).
public struct FieldReader: Sendable {
    public let object: JSONObject
    let path: String

    public init(_ object: JSONObject, path: String = "") {
        self.object = object
        self.path = path
    }

    public func missing(_ name: String) -> WireError { WireError("missingParameter", "\(path)\(name): missing") }

    /// Whether a member is there: one that is null or "" counts as absent (section 2).
    public func has(_ name: String) -> Bool {
        switch object[name] {
        case nil, .null, .string(""): false
        default: true
        }
    }
    public func illegal(_ name: String, _ why: String) -> WireError { WireError("illegalValue", "\(path)\(name): \(why)") }

    /// Nil also for "" (section 2).
    public func optionalString(_ name: String, max: Int) throws(WireError) -> String? {
        guard let text = try string(in: object[name], name, max: max), !text.isEmpty else { return nil }
        return text
    }

    func string(in value: JSON?, _ name: String, max: Int) throws(WireError) -> String? {
        switch value {
        case nil, .null: return nil
        case .string(let value):
            let trimmed = value.trimmed
            guard trimmed.utf8.count <= max || trimmed.unicodeScalars.count <= max else { throw illegal(name, "longer than \(max)") }
            guard trimmed.hasControls else { return trimmed }
            // A short string is a name or a number of something: only texts have lines.
            let hasLines = max > WireLimits.nameMax || name.hasSuffix("text") || name.hasSuffix("Text")
            guard trimmed.unicodeScalars.allSatisfy({ $0.value >= 0x20 || (hasLines && ($0 == "\n" || $0 == "\t")) }) else {
                throw illegal(name, "control character")
            }
            return trimmed
        default: throw illegal(name, "not a string")
        }
    }

    public func string(_ name: String, max: Int) throws(WireError) -> String {
        guard let value = try optionalString(name, max: max), !value.isEmpty else { throw missing(name) }
        return value
    }

    /// A10: whose vehicles, under either of the names that the field has.
    public func user() throws(WireError) -> String {
        if let user = try optionalString("userToken", max: 64), !user.isEmpty { return user }
        guard let owner = try optionalString("ownerToken", max: 64), !owner.isEmpty else { throw missing("userToken") }
        return owner
    }

    public func optionalInt(_ name: String, in range: ClosedRange<Int64>) throws(WireError) -> Int64? {
        try int(in: object[name], name, range)
    }

    func int(in value: JSON?, _ name: String, _ range: ClosedRange<Int64>) throws(WireError) -> Int64? {
        switch value {
        case nil, .null, .string(""): return nil
        case .int(let value):
            guard range.contains(value) else { throw illegal(name, "outside \(range.lowerBound)...\(range.upperBound)") }
            return value
        default: throw illegal(name, "not an integer")
        }
    }

    public func int(_ name: String, in range: ClosedRange<Int64>) throws(WireError) -> Int64 {
        guard let value = try optionalInt(name, in: range) else { throw missing(name) }
        return value
    }

    public func int(_ name: String, among values: Set<Int64>) throws(WireError) -> Int64 {
        let value = try int(name, in: -(1 << 53)...(1 << 53))
        guard values.contains(value) else { throw illegal(name, "not one of the codes") }
        return value
    }

    /// `time`: ms since the epoch, 13 digits.
    static let times: ClosedRange<Int64> = 1_000_000_000_000...9_999_999_999_999

    public func time(_ name: String) throws(WireError) -> Int64 { try int(name, in: FieldReader.times) }
    public func optionalTime(_ name: String) throws(WireError) -> Int64? { try optionalInt(name, in: FieldReader.times) }

    public func optionalBool(_ name: String) throws(WireError) -> Bool? {
        switch object[name] {
        case nil, .null, .string(""): return nil
        case .bool(let value): return value
        default: throw illegal(name, "not a boolean")
        }
    }

    public func bool(_ name: String) throws(WireError) -> Bool {
        guard let value = try optionalBool(name) else { throw missing(name) }
        return value
    }

    public func optionalObject(_ name: String) throws(WireError) -> FieldReader? {
        switch object[name] {
        case nil, .null, .string(""): return nil
        case .object(let value): return FieldReader(value, path: path + name + ".")
        default: throw illegal(name, "not an object")
        }
    }

    public func optionalObjects(_ name: String, max: Int) throws(WireError) -> [FieldReader]? {
        switch object[name] {
        case nil, .null, .string(""): return nil
        case .array(let values):
            guard values.count <= max else { throw illegal(name, "more than \(max)") }
            var fields: [FieldReader] = []
            for (index, value) in values.enumerated() {
                guard let value = value.objectValue else { throw illegal(name, "not an array of objects") }
                fields.append(FieldReader(value, path: "\(path)\(name)[\(index)]."))
            }
            return fields
        default: throw illegal(name, "not an array")
        }
    }

    public func objects(_ name: String, max: Int) throws(WireError) -> [FieldReader] {
        guard let values = try optionalObjects(name, max: max) else { throw missing(name) }
        return values
    }

    /// `lng`, `lat`: a decimal string with at most 7 places, within ±limit degrees.
    public func coordinate(_ name: String, limit: Double) throws(WireError) -> String {
        let text = try string(name, max: 16)
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let whole = parts[0].first == "-" ? parts[0].dropFirst() : parts[0]
        guard parts.count <= 2, !whole.isEmpty, whole.count <= 3, whole.utf8.allSatisfy({ (48...57).contains($0) }),
            parts.count == 1
                || (!parts[1].isEmpty && parts[1].count <= 7 && parts[1].utf8.allSatisfy({ (48...57).contains($0) })),
            let number = Double(text), abs(number) <= limit
        else { throw illegal(name, "not a decimal string of at most 7 places") }
        return text
    }

    func digits(_ name: String, count: Int) throws(WireError) {
        let text = try string(name, max: count)
        guard text.utf8.count == count, text.utf8.allSatisfy({ (48...57).contains($0) }) else {
            throw illegal(name, "\(count) digits")
        }
    }

    /// Hexadecimal in either case.
    func hex(_ name: String, count: Int) throws(WireError) {
        let text = try string(name, max: count)
        guard text.utf8.count == count, text.utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0 | 0x20) }) else {
            throw illegal(name, "\(count) hexadecimal digits")
        }
    }

    /// `hm`: HH:mm as minutes of the day, `24:00` as end only.
    public func minuteOfDay(_ name: String, isEnd: Bool) throws(WireError) -> Int {
        let text = try string(name, max: 5)
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard object[name]?.stringValue?.utf8.count == 5, text.utf8.count == 5, parts.count == 2,
            parts[0].utf8.allSatisfy({ (48...57).contains($0) }),
            parts[1].utf8.allSatisfy({ (48...57).contains($0) }), let hour = Int(parts[0]), let minute = Int(parts[1]),
            minute < 60, hour < 24 || (isEnd && hour == 24 && minute == 0)
        else { throw illegal(name, "HH:mm expected") }
        return hour * 60 + minute
    }
}

extension String {
    /// Without white space at both ends.
    var trimmed: String {
        guard let first = unicodeScalars.first, let last = unicodeScalars.last, first.mayBeSpace || last.mayBeSpace else { return self }
        var view = Substring(self)
        while let first = view.unicodeScalars.first, first.properties.isWhitespace { view.unicodeScalars.removeFirst() }
        while let last = view.unicodeScalars.last, last.properties.isWhitespace { view.unicodeScalars.removeLast() }
        return String(view)
    }

    /// Whether a character below U+0020 stands in it.
    fileprivate var hasControls: Bool {
        var text = self
        return text.withUTF8 { bytes in
            var least = UInt8.max
            for byte in bytes { least = min(least, byte) }
            return least < 0x20
        }
    }
}

extension Unicode.Scalar {
    /// Neither printable ASCII nor an ideograph: only then the tables are asked.
    fileprivate var mayBeSpace: Bool { !(0x21...0x7E).contains(value) && !(0x3400...0x9FFF).contains(value) }
}
