import BerthCore

/// Why bytes are not a JSON text of the wire (section 3).
public enum JSONError: Error, Equatable, CustomStringConvertible {
    /// Not JSON, not UTF-8, a duplicate key, a lone surrogate, or nested deeper than 32: code 101.
    case malformed(String)
    /// A number with a fraction or exponent, -0, or outside ±2^53: code 102.
    case illegalNumber

    public var description: String {
        switch self {
        case .malformed(let why): why
        case .illegalNumber: "a whole number between -2^53 and 2^53 expected"
        }
    }
}

extension JSON {
    /// Reads a whole text. Strict: RFC 8259 with the refusals of section 3; one pass, bounded depth, no recursion on input length.
    public static func parse(_ bytes: [UInt8]) throws(JSONError) -> JSON {
        try bytes.withUnsafeBufferPointer { (buffer) throws(JSONError) in try parse(buffer) }
    }

    public static func parse(_ bytes: UnsafeBufferPointer<UInt8>) throws(JSONError) -> JSON {
        var reader = JSONReader(bytes: bytes)
        let value = try reader.value(depth: 1)
        reader.skipSpace()
        guard reader.atEnd else { throw .malformed("text after the value") }
        if reader.sawIllegalNumber { throw .illegalNumber }
        return value
    }

    /// Reads a message. Beside its value: where the value of its member `data` stands, if the bytes there are already canon(data), as those of most
    /// senders are; then the hash of the data needs no second writing.
    static func parseMessage(_ bytes: [UInt8]) throws(JSONError) -> (value: JSON, canonicalData: Range<Int>?) {
        try bytes.withUnsafeBufferPointer { (buffer) throws(JSONError) in
            var reader = JSONReader(bytes: buffer)
            reader.watchesData = true
            let value = try reader.value(depth: 1)
            reader.skipSpace()
            guard reader.atEnd else { throw .malformed("text after the value") }
            if reader.sawIllegalNumber { throw .illegalNumber }
            return (value, reader.canonicalData)
        }
    }
}

extension JSON {
    /// Reads a text whose numbers are not all of the wire, and keeps these as they were written: for saying to whom the refusal goes, and for
    /// checking the signature of a log entry, which is consumed with its refusal. Nil for what is no JSON.
    static func readKeepingNumbers(_ bytes: [UInt8]) -> JSON? {
        bytes.withUnsafeBufferPointer { buffer in
            var reader = JSONReader(bytes: buffer)
            return try? reader.value(depth: 1)
        }
    }

    /// The value with such numbers as texts, which no integer field takes; and the path of the first of them.
    func withoutIllegalNumbers(path: String = "", first: inout String?) -> JSON {
        switch self {
        case .illegalNumber(let text):
            if first == nil { first = path }
            return .string(text)
        case .array(let values):
            return .array(values.enumerated().map { index, value in value.withoutIllegalNumbers(path: "\(path)[\(index)]", first: &first) })
        case .object(let object):
            return .object(
                JSONObject(
                    object.members.map { name, value in
                        (name, value.withoutIllegalNumbers(path: path.isEmpty ? name : "\(path).\(name)", first: &first))
                    }))
        case .null, .bool, .int, .string: return self
        }
    }
}

private struct JSONReader {
    let bytes: UnsafeBufferPointer<UInt8>
    var position = 0
    /// Remembered, not thrown at once: a text that is no JSON at all is 101 even when it also holds 1.5.
    var sawIllegalNumber = false
    /// Whether it is to be noted where the member `data` of the outermost object stands.
    var watchesData = false
    /// The bytes of that member, if they are canonical (``JSON/parseMessage(_:)``).
    private(set) var canonicalData: Range<Int>?
    /// The text since the member began is canonical: no space, no escape, names in their order. An escape can be canonical too; then the
    /// data is written once more.
    private var isCanonical = false

    init(bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

    var atEnd: Bool { position == bytes.count }

    mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x09, 0x0A, 0x0D:
                position += 1
                isCanonical = false
            default: return
            }
        }
    }

    mutating func value(depth: Int) throws(JSONError) -> JSON {
        skipSpace()
        guard position < bytes.count else { throw .malformed("unexpected end") }
        switch bytes[position] {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): try literal("true"); return .bool(true)
        case UInt8(ascii: "f"): try literal("false"); return .bool(false)
        case UInt8(ascii: "n"): try literal("null"); return .null
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        default: throw .malformed("unexpected character")
        }
    }

    private mutating func literal(_ word: StaticString) throws(JSONError) {
        let count = word.utf8CodeUnitCount
        guard position + count <= bytes.count else { throw .malformed("unexpected end") }
        for index in 0..<count where bytes[position + index] != word.utf8Start[index] {
            throw .malformed("unknown word")
        }
        position += count
    }

    private mutating func object(depth: Int) throws(JSONError) -> JSON {
        guard depth <= WireLimits.depthMax else { throw .malformed("nested deeper than \(WireLimits.depthMax)") }
        position += 1
        var object = JSONObject()
        // Only for large objects; small ones are searched. Names are told apart by their bytes, as texts everywhere (section 2).
        var names: Set<ByteKey>?
        skipSpace()
        if position < bytes.count, bytes[position] == UInt8(ascii: "}") { position += 1; return .object(object) }
        // Many small objects in one body must not take many times its size.
        object.reserve(depth <= 2 ? 12 : 2)
        while true {
            skipSpace()
            guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else { throw .malformed("name expected") }
            let name = try string()
            if object.members.count == 16 { names = Set(object.members.map { ByteKey($0.name) }) }
            let isNew = names == nil ? !object.members.contains { $0.name == name } : names!.insert(ByteKey(name)).inserted
            guard isNew else { throw .malformed("duplicate key") }
            skipSpace()
            guard position < bytes.count, bytes[position] == UInt8(ascii: ":") else { throw .malformed("colon expected") }
            position += 1
            if isCanonical, let last = object.members.last, !JSON.precedes(last.name, name) { isCanonical = false }
            object.append(name, watchesData && depth == 1 && name == "data" ? try data() : try value(depth: depth + 1))
            skipSpace()
            guard position < bytes.count else { throw .malformed("unexpected end") }
            let next = bytes[position]
            position += 1
            if next == UInt8(ascii: "}") { return .object(object) }
            guard next == UInt8(ascii: ",") else { throw .malformed("comma expected") }
        }
    }

    private mutating func data() throws(JSONError) -> JSON {
        skipSpace()
        isCanonical = true
        let start = position
        let data = try value(depth: 2)
        if isCanonical { canonicalData = start..<position }
        isCanonical = false
        return data
    }

    private mutating func array(depth: Int) throws(JSONError) -> JSON {
        guard depth <= WireLimits.depthMax else { throw .malformed("nested deeper than \(WireLimits.depthMax)") }
        position += 1
        var values: [JSON] = []
        skipSpace()
        if position < bytes.count, bytes[position] == UInt8(ascii: "]") { position += 1; return .array(values) }
        while true {
            values.append(try value(depth: depth + 1))
            skipSpace()
            guard position < bytes.count else { throw .malformed("unexpected end") }
            let next = bytes[position]
            position += 1
            if next == UInt8(ascii: "]") { return .array(values) }
            guard next == UInt8(ascii: ",") else { throw .malformed("comma expected") }
        }
    }

    private mutating func digits() -> Int {
        let start = position
        while position < bytes.count, bytes[position] >= UInt8(ascii: "0"), bytes[position] <= UInt8(ascii: "9") {
            position += 1
        }
        return position - start
    }

    private mutating func number() throws(JSONError) -> JSON {
        let isNegative = bytes[position] == UInt8(ascii: "-")
        if isNegative { position += 1 }
        let first = position
        let count = digits()
        guard count > 0 else { throw .malformed("digit expected") }
        guard count == 1 || bytes[first] != UInt8(ascii: "0") else { throw .malformed("leading zero") }
        let end = position
        var isInteger = true
        if position < bytes.count, bytes[position] == UInt8(ascii: ".") {
            position += 1
            isInteger = false
            guard digits() > 0 else { throw .malformed("digit expected") }
        }
        if position < bytes.count, bytes[position] | 0x20 == UInt8(ascii: "e") {
            position += 1
            isInteger = false
            if position < bytes.count, bytes[position] == UInt8(ascii: "+") || bytes[position] == UInt8(ascii: "-") {
                position += 1
            }
            guard digits() > 0 else { throw .malformed("digit expected") }
        }
        var magnitude: Int64 = 0
        if isInteger, count <= 16 {
            for index in first..<end { magnitude = magnitude * 10 + Int64(bytes[index] - UInt8(ascii: "0")) }
        }
        let isLegal = isInteger && count <= 16 && magnitude < 1 << 53 && !(isNegative && magnitude == 0)
        if !isLegal {
            sawIllegalNumber = true
            let start = isNegative ? first - 1 : first
            return .illegalNumber(String(decoding: bytes[start..<position], as: UTF8.self))
        }
        return .int(isNegative ? -magnitude : magnitude)
    }

    private mutating func string() throws(JSONError) -> String {
        position += 1
        let start = position
        var union: UInt8 = 0
        while position < bytes.count {
            let byte = bytes[position]
            union |= byte
            if byte == UInt8(ascii: "\"") {
                let slice = UnsafeBufferPointer(rebasing: bytes[start..<position])
                position += 1
                // ASCII is UTF-8 in any case.
                if union < 0x80 { return String(decoding: slice, as: UTF8.self) }
                guard let text = String(validating: slice, as: UTF8.self) else { throw .malformed("invalid UTF-8") }
                return text
            }
            if byte == UInt8(ascii: "\\") { return try escapedString(from: start) }
            if byte < 0x20 { throw .malformed("control character in a string") }
            position += 1
        }
        throw .malformed("unexpected end")
    }

    private mutating func escapedString(from start: Int) throws(JSONError) -> String {
        isCanonical = false
        var text = Array(bytes[start..<position])
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            if byte == UInt8(ascii: "\"") {
                guard let string = String(validating: text, as: UTF8.self) else { throw .malformed("invalid UTF-8") }
                return string
            }
            if byte < 0x20 { throw .malformed("control character in a string") }
            guard byte == UInt8(ascii: "\\") else { text.append(byte); continue }
            guard position < bytes.count else { break }
            let escape = bytes[position]
            position += 1
            switch escape {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(escape)
            case UInt8(ascii: "b"): text.append(0x08)
            case UInt8(ascii: "f"): text.append(0x0C)
            case UInt8(ascii: "n"): text.append(0x0A)
            case UInt8(ascii: "r"): text.append(0x0D)
            case UInt8(ascii: "t"): text.append(0x09)
            case UInt8(ascii: "u"):
                var code = try hexQuad()
                if (0xD800..<0xDC00).contains(code) {
                    guard position + 1 < bytes.count, bytes[position] == UInt8(ascii: "\\"),
                        bytes[position + 1] == UInt8(ascii: "u")
                    else { throw .malformed("lone surrogate") }
                    position += 2
                    let low = try hexQuad()
                    guard (0xDC00..<0xE000).contains(low) else { throw .malformed("lone surrogate") }
                    code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
                }
                guard let scalar = Unicode.Scalar(code) else { throw .malformed("lone surrogate") }
                text.append(contentsOf: UTF8.encode(scalar)!)
            default: throw .malformed("unknown escape")
            }
        }
        throw .malformed("unexpected end")
    }

    private mutating func hexQuad() throws(JSONError) -> UInt32 {
        guard position + 4 <= bytes.count else { throw .malformed("unexpected end") }
        var code: UInt32 = 0
        for _ in 0..<4 {
            let byte = bytes[position]
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
            default: throw .malformed("hexadecimal digit expected")
            }
            code = code << 4 | UInt32(digit)
            position += 1
        }
        return code
    }
}
