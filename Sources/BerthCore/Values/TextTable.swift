/// A dictionary whose keys are texts from outside, told apart by their bytes (interface.md, section 2). A value, like `Dictionary`.
public struct TextTable<Value> {
    public typealias Element = (key: String, value: Value)
    private var values_: [ByteKey: Value] = [:]

    public init() {}

    /// Of two entries with one key the last one is kept.
    public init(_ entries: some Sequence<(String, Value)>) {
        for (key, value) in entries { values_[ByteKey(key)] = value }
    }

    public subscript(key: String) -> Value? {
        get { values_[ByteKey(key)] }
        _modify { yield &values_[ByteKey(key)] }
    }

    public subscript(key: String, default fallback: @autoclosure () -> Value) -> Value {
        get { values_[ByteKey(key)] ?? fallback() }
        _modify { yield &values_[ByteKey(key), default: fallback()] }
    }

    public var count: Int { values_.count }
    public var isEmpty: Bool { values_.isEmpty }
    public var keys: [String] { values_.keys.map(\.text) }
    public var values: Dictionary<ByteKey, Value>.Values { values_.values }

    @discardableResult public mutating func removeValue(forKey key: String) -> Value? { values_.removeValue(forKey: ByteKey(key)) }
    public mutating func removeAll() { values_.removeAll() }

    /// The entries that `isKept` names.
    public func filter(_ isKept: (Element) throws -> Bool) rethrows -> TextTable {
        var kept = self
        kept.values_ = try values_.filter { try isKept(($0.key.text, $0.value)) }
        return kept
    }

    public func mapValues<New>(_ transform: (Value) throws -> New) rethrows -> TextTable<New> {
        var table = TextTable<New>()
        table.values_ = try values_.mapValues(transform)
        return table
    }
}

extension TextTable: Sequence {
    public struct Iterator: IteratorProtocol {
        fileprivate var base: Dictionary<ByteKey, Value>.Iterator
        public mutating func next() -> Element? { base.next().map { ($0.key.text, $0.value) } }
    }

    public func makeIterator() -> Iterator { Iterator(base: values_.makeIterator()) }
    public var underestimatedCount: Int { count }
}

extension TextTable: Sendable where Value: Sendable {}
extension TextTable: Equatable where Value: Equatable {}

extension TextTable: ExpressibleByDictionaryLiteral {
    public init(dictionaryLiteral elements: (String, Value)...) { self.init(elements.map { ($0.0, $0.1) }) }
}
