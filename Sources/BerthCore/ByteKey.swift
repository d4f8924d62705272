/// A text as a key: hashed and compared by its bytes. Two texts that only Unicode calls equal are two keys; what the city counts by is
/// in one form, and most of it is not ASCII, for which the language's own comparison takes the long way.
public struct ByteKey: Hashable, Sendable {
    public let text: String

    public init(_ text: String) { self.text = text }

    public static func == (left: ByteKey, right: ByteKey) -> Bool {
        var (left, right) = (left.text, right.text)
        return left.withUTF8 { l in right.withUTF8 { r in l.count == r.count && zip(l, r).allSatisfy { $0 == $1 } } }
    }

    public func hash(into hasher: inout Hasher) {
        var text = text
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}
