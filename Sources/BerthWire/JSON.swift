import BerthCore

/// A JSON value of the wire: integers only, no floating point anywhere (interface.md, sections 1 and 3).
public enum JSON: Sendable, Equatable {
    case null
    case bool(Bool)
    case int(Int64)
    /// A number that the wire does not allow, as it was written (102). It stands only in a message whose signature is still to be checked.
    case illegalNumber(String)
    case string(String)
    case array([JSON])
    case object(JSONObject)
}

/// The members of an object in the order in which they were written; names are unique.
public struct JSONObject: Sendable, Equatable {
    public private(set) var members: [(name: String, value: JSON)] = []

    public init() {}
    public init(_ members: [(String, JSON)]) { self.members = members.map { (name: $0.0, value: $0.1) } }

    public subscript(name: String) -> JSON? {
        get {
            // Most names are told apart by their length.
            let count = name.utf8.count
            for member in members where member.name.utf8.count == count && member.name == name { return member.value }
            return nil
        }
        set {
            if let index = members.firstIndex(where: { $0.name == name }) {
                if let newValue { members[index].value = newValue } else { members.remove(at: index) }
            } else if let newValue {
                members.append((name: name, value: newValue))
            }
        }
    }

    mutating func reserve(_ count: Int) { members.reserveCapacity(count) }

    /// Appends without looking for the name; the caller knows that it is new.
    public mutating func append(_ name: String, _ value: JSON) { members.append((name: name, value: value)) }

    /// Whether the members are in canonical order, as they mostly are, because Berth itself writes canonical texts.
    var isSorted: Bool {
        for index in members.indices.dropFirst() where !JSON.precedes(members[index - 1].name, members[index].name) {
            return false
        }
        return true
    }

    /// The order of members does not count.
    public static func == (left: JSONObject, right: JSONObject) -> Bool {
        guard left.members.count == right.members.count else { return false }
        if left.members.count <= 16 { return left.members.allSatisfy { member in right[member.name] == member.value } }
        let others = TextTable(right.members.map { ($0.name, $0.value) })
        return left.members.allSatisfy { member in others[member.name] == member.value }
    }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int64) { self = .int(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(arrayLiteral elements: JSON...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, JSON)...) { self = .object(JSONObject(elements)) }
}

extension JSON {
    public static func int(_ value: Int) -> JSON { .int(Int64(value)) }
    /// A member that is left out when there is no value.
    public static func optional(_ value: String?) -> JSON { value.map { .string($0) } ?? .null }
    public static func optional(_ value: Int64?) -> JSON { value.map { .int($0) } ?? .null }

    public var stringValue: String? { if case .string(let value) = self { value } else { nil } }
    public var intValue: Int64? { if case .int(let value) = self { value } else { nil } }
    public var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }
    public var arrayValue: [JSON]? { if case .array(let value) = self { value } else { nil } }
    public var objectValue: JSONObject? { if case .object(let value) = self { value } else { nil } }
    public subscript(name: String) -> JSON? { objectValue?[name] }

    /// An object without the members that are null: how optional fields are left out.
    public static func compact(_ members: [(String, JSON)]) -> JSON {
        var object = JSONObject()
        object.reserve(members.count)
        for (name, value) in members {
            if case .null = value { continue }
            object.append(name, value)
        }
        return .object(object)
    }
}

// MARK: - Writing

extension JSON {
    /// The text as the members stand; `canonical` sorts names by UTF-16 code unit at every level (section 3).
    public func text(canonical: Bool = false) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(256)
        write(into: &out, canonical: canonical)
        return out
    }

    public var string: String { String(decoding: text(), as: UTF8.self) }
    public var canonicalString: String { String(decoding: text(canonical: true), as: UTF8.self) }

    func write(into out: inout [UInt8], canonical: Bool = false) {
        switch self {
        case .null: out.append(contentsOf: "null".utf8)
        case .bool(let value): out.append(contentsOf: (value ? "true" : "false").utf8)
        case .int(let value): out.append(decimal: value)
        case .illegalNumber(let text): out.append(contentsOf: text.utf8)
        case .string(let value): JSON.write(string: value, into: &out)
        case .array(let values):
            out.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { out.append(UInt8(ascii: ",")) }
                value.write(into: &out, canonical: canonical)
            }
            out.append(UInt8(ascii: "]"))
        case .object(let object):
            out.append(UInt8(ascii: "{"))
            if canonical, !object.isSorted {
                JSON.write(object.members.sorted { JSON.precedes($0.name, $1.name) }, into: &out, canonical: true)
            } else {
                JSON.write(object.members, into: &out, canonical: canonical)
            }
            out.append(UInt8(ascii: "}"))
        }
    }

    private static func write(_ members: [(name: String, value: JSON)], into out: inout [UInt8], canonical: Bool) {
        var isFirst = true
        for (name, value) in members {
            if !isFirst { out.append(UInt8(ascii: ",")) }
            isFirst = false
            write(string: name, into: &out)
            out.append(UInt8(ascii: ":"))
            value.write(into: &out, canonical: canonical)
        }
    }

    /// Order by UTF-16 code unit (RFC 8785). It differs from the order of Unicode scalars, which is that of UTF-8 bytes, only
    /// where a surrogate pair meets U+E000 to U+FFFF; a byte from 0xEE on can begin such a character.
    static func precedes(_ left: String, _ right: String) -> Bool {
        var left = left
        var right = right
        let order: Bool? = left.withUTF8 { l in
            right.withUTF8 { r in
                for index in 0..<Swift.min(l.count, r.count) where l[index] != r[index] {
                    return l[index] >= 0xEE || r[index] >= 0xEE ? nil : l[index] < r[index]
                }
                return l.count < r.count
            }
        }
        return order ?? left.utf16.lexicographicallyPrecedes(right.utf16)
    }

    private static let hex = Array("0123456789abcdef".utf8)

    /// A string with its quotes and escapes.
    static func write(string: String, into out: inout [UInt8]) {
        var string = string
        string.withUTF8 { text in
            out.append(UInt8(ascii: "\""))
            // Nearly every string stands as it is.
            var special: UInt8 = 0
            for byte in text {
                special |= (byte < 0x20 ? 1 : 0) | (byte == UInt8(ascii: "\"") ? 1 : 0) | (byte == UInt8(ascii: "\\") ? 1 : 0)
            }
            if special == 0 { out.append(contentsOf: text) } else { escape(text, into: &out) }
            out.append(UInt8(ascii: "\""))
        }
    }

    private static func escape(_ text: UnsafeBufferPointer<UInt8>, into out: inout [UInt8]) {
        for byte in text {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): out.append(UInt8(ascii: "\\")); out.append(byte)
            case 0x08: out.append(contentsOf: "\\b".utf8)
            case 0x09: out.append(contentsOf: "\\t".utf8)
            case 0x0A: out.append(contentsOf: "\\n".utf8)
            case 0x0C: out.append(contentsOf: "\\f".utf8)
            case 0x0D: out.append(contentsOf: "\\r".utf8)
            case 0..<0x20:
                out.append(contentsOf: "\\u00".utf8)
                out.append(hex[Int(byte >> 4)])
                out.append(hex[Int(byte & 15)])
            default: out.append(byte)
            }
        }
    }
}

extension [UInt8] {
    mutating func append(utf8 text: String) {
        var text = text
        text.withUTF8 { append(contentsOf: $0) }
    }

    mutating func append(decimal value: Int64) {
        if value < 0 { append(UInt8(ascii: "-")) }
        var (rest, start) = (value.magnitude, count)
        repeat {
            append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10))
            rest /= 10
        } while rest > 0
        var end = count - 1
        while start < end {
            swapAt(start, end)
            start += 1
            end -= 1
        }
    }
}
