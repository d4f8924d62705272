import Foundation

/// The only file that draws a random number. Everything else gets ids as arguments.
public enum SystemRandom {
    private static let hex = Array("0123456789abcdef".utf8)
    private static let letters = Array("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789".utf8)

    public static func bytes(_ count: Int) -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        return (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
    }

    /// 16 hexadecimal digits: the nonce of one sending.
    public static func nonce() -> String {
        var generator = SystemRandomNumberGenerator()
        var bits = generator.next() as UInt64
        var text: [UInt8] = []
        for _ in 0..<16 {
            text.append(hex[Int(bits & 15)])
            bits >>= 4
        }
        return String(decoding: text, as: UTF8.self)
    }

    public static func uuid() -> String { UUID().uuidString.lowercased() }

    /// Letters and digits that cannot be mistaken for each other; about 5.8 bits each.
    public static func token(_ count: Int) -> String {
        var generator = SystemRandomNumberGenerator()
        return String(decoding: (0..<count).map { _ in letters.randomElement(using: &generator)! }, as: UTF8.self)
    }

    /// A fraction of `base`, 0 to 30 %: so that many who wait do not come back at once.
    public static func jitter(_ base: Int64) -> Int64 { Int64.random(in: 0...max(1, base * 3 / 10)) }
}
