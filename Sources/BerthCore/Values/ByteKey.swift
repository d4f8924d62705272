/// A text as a key: hashed and compared by its bytes. Two texts that are equal only by Unicode rules are two keys. The city's keys are in
/// one form, and most are not ASCII, for which the language's own comparison is slow.
public struct ByteKey: Hashable, Sendable {
    public let text: String
    /// Made once: a table that grows need not look at its texts again, and keys that differ are told apart without them.
    private let hash: Int

    public init(_ text: String) {
        self.text = text
        var hasher = Hasher()
        ByteKey.feed(text, to: &hasher)
        hash = hasher.finalize()
    }

    public static func == (left: ByteKey, right: ByteKey) -> Bool {
        left.hash == right.hash && left.text.utf8.elementsEqual(right.text.utf8)
    }
    public func hash(into hasher: inout Hasher) { hasher.combine(hash) }

    /// One of so many parts of a table; the count is a power of two.
    func shard(of count: Int) -> Int { hash & (count - 1) }

    static func feed(_ text: String, to hasher: inout Hasher) {
        let isFed: Void? = text.utf8.withContiguousStorageIfAvailable { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
        if isFed == nil { for byte in text.utf8 { hasher.combine(byte) } }
    }
}
