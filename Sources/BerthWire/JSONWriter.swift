import BerthCore

/// Writes a text value by value, without a tree: for the few texts that every reservation makes. A caller that wants the canonical form
/// (section 3) writes the members of an object in its order.
public struct JSONWriter: Sendable {
    public private(set) var bytes: [UInt8] = []
    private var isFirst = true

    /// - Parameter capacity: bytes that the text probably has.
    public init(capacity: Int = 928) { bytes.reserveCapacity(capacity) }

    public var string: String { String(decoding: bytes, as: UTF8.self) }
    /// The text as a tree; every text that is written here can be read.
    var json: JSON { (try? JSON.parse(bytes)) ?? [:] }

    private mutating func separate() {
        if !isFirst { bytes.append(UInt8(ascii: ",")) }
        isFirst = false
    }

    private mutating func name(_ name: StaticString) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        bytes.append(contentsOf: UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
        bytes.append(UInt8(ascii: "\""))
        bytes.append(UInt8(ascii: ":"))
    }

    // MARK: Objects and arrays

    public mutating func beginObject() { begin("{") }
    public mutating func beginArray() { begin("[") }

    public mutating func beginObject(_ name: StaticString) {
        self.name(name)
        isFirst = true
        begin("{")
    }

    public mutating func beginArray(_ name: StaticString) {
        self.name(name)
        isFirst = true
        begin("[")
    }

    public mutating func endObject() { end("}") }
    public mutating func endArray() { end("]") }

    private mutating func begin(_ bracket: Unicode.Scalar) {
        separate()
        bytes.append(UInt8(ascii: bracket))
        isFirst = true
    }

    private mutating func end(_ bracket: Unicode.Scalar) {
        bytes.append(UInt8(ascii: bracket))
        isFirst = false
    }

    // MARK: Members; a nil value is left out

    public mutating func add(_ name: StaticString, _ value: Int64?) {
        guard let value else { return }
        self.name(name)
        bytes.append(decimal: value)
    }

    public mutating func add(_ name: StaticString, _ value: Int) { add(name, Int64(value)) }

    public mutating func add(_ name: StaticString, _ value: String?) {
        guard let value else { return }
        self.name(name)
        JSON.write(string: value, into: &bytes)
    }

    public mutating func add(_ name: StaticString, _ value: Bool) {
        self.name(name)
        bytes.append(utf8: value ? "true" : "false")
    }

    /// A flag that is left out where it is not set.
    public mutating func add(_ name: StaticString, isSet: Bool) {
        if isSet { add(name, true) }
    }

    // MARK: Elements

    public mutating func add(_ value: Int64) {
        separate()
        bytes.append(decimal: value)
    }

    public mutating func add(_ value: String) {
        separate()
        JSON.write(string: value, into: &bytes)
    }

    /// A value that has its text already.
    public mutating func add(text: [UInt8]) {
        separate()
        bytes.append(contentsOf: text)
    }
}
