import BerthCore
import Crypto
import Synchronization

/// The signature of section 3, one function per step of the contract.
public enum Signature {
    private static let hexDigits = Array("0123456789abcdef".utf8)

    public static func hex(_ bytes: some Sequence<UInt8>) -> String {
        var text: [UInt8] = []
        text.reserveCapacity(64)
        for byte in bytes {
            text.append(hexDigits[Int(byte >> 4)])
            text.append(hexDigits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }

    private static func hex(digest: UnsafeRawBufferPointer) -> String {
        String(unsafeUninitializedCapacity: 2 * digest.count) { text in
            for (index, byte) in digest.enumerated() {
                let (high, low) = (byte >> 4, byte & 15)
                text[2 * index] = high < 10 ? 48 + high : 87 + high
                text[2 * index + 1] = low < 10 ? 48 + low : 87 + low
            }
            return 2 * digest.count
        }
    }

    /// `dataHash`: SHA-256 over canon(data); a missing or null `data` counts as `{}`.
    public static func dataHash(_ data: JSON?) -> String {
        let value: JSON = data == nil || data == .null ? .object(JSONObject()) : data!
        return hash(canonical: value.text(canonical: true))
    }

    public static func hash(canonical: [UInt8]) -> String { canonical.withUnsafeBytes(hash) }

    static func hash(canonical: ArraySlice<UInt8>) -> String { canonical.withUnsafeBytes(hash) }

    private static func hash(_ bytes: UnsafeRawBufferPointer) -> String {
        var hash = SHA256()
        hash.update(bufferPointer: bytes)
        return hash.finalize().withUnsafeBytes { hex(digest: $0) }
    }

    /// `S`: every member of the envelope except sign, data, message, hint, and what is null or empty; plus data=dataHash.
    public static func stringToSign(_ envelope: JSONObject, dataHash: String) -> String {
        String(decoding: bytesToSign(envelope, dataHash: dataHash), as: UTF8.self)
    }

    /// The bytes of `S`.
    static func bytesToSign(_ envelope: JSONObject, dataHash: String) -> [UInt8] {
        var pairs: [(name: String, value: JSON)] = []
        pairs.reserveCapacity(envelope.members.count + 1)
        pairs.append(("data", .string(dataHash)))
        for (name, value) in envelope.members {
            switch name {
            case "sign", "data", "message", "hint": continue
            default: break
            }
            switch value {
            case .string(""), .null, .array, .object: continue
            case .string, .int, .illegalNumber, .bool: pairs.append((name, value))
            }
        }
        sort(&pairs)
        var text: [UInt8] = []
        text.reserveCapacity(384)
        for (name, value) in pairs {
            if !text.isEmpty { text.append(UInt8(ascii: "&")) }
            text.append(utf8: name)
            text.append(UInt8(ascii: "="))
            switch value {
            case .string(let value): text.append(utf8: value)
            case .int(let value): text.append(decimal: value)
            case .illegalNumber(let value): text.append(utf8: value)
            case .bool(let value): text.append(utf8: value ? "true" : "false")
            default: break
            }
        }
        return text
    }

    /// Sorts by the bytes of the names. An envelope has some ten members, of which most senders write many in order already.
    private static func sort(_ pairs: inout [(name: String, value: JSON)]) {
        guard pairs.count <= 24 else { return pairs.sort { precedes($0.name, $1.name) } }
        for index in pairs.indices.dropFirst() {
            var place = index
            while place > 0, precedes(pairs[place].name, pairs[place - 1].name) {
                pairs.swapAt(place, place - 1)
                place -= 1
            }
        }
    }

    private static func precedes(_ left: String, _ right: String) -> Bool {
        var (left, right) = (left, right)
        return left.withUTF8 { left in right.withUTF8 { right in left.lexicographicallyPrecedes(right) } }
    }

    public static func sign(_ stringToSign: String, secret: String) -> String { sign(Array(stringToSign.utf8), secret: secret) }

    static func sign(_ bytes: [UInt8], secret: String) -> String {
        // A copy: the key's blocks are hashed already.
        var code = SecretKeys.shared.code(for: secret)
        code.update(data: bytes)
        return code.finalize().withUnsafeBytes { hex(digest: $0) }
    }

    /// The signature that a complete envelope must carry.
    public static func sign(_ envelope: JSONObject, secret: String) -> String {
        sign(bytesToSign(envelope, dataHash: dataHash(envelope["data"])), secret: secret)
    }

    /// Equal in a time that depends on the length only.
    public static func equal(_ left: String, _ right: String) -> Bool {
        var (left, right) = (left, right)
        return left.withUTF8 { left in
            right.withUTF8 { right in
                guard left.count == right.count else { return false }
                var difference: UInt8 = 0
                for index in left.indices { difference |= left[index] ^ right[index] }
                return difference == 0
            }
        }
    }

    /// A stable 64-bit digest for look-up tables; never for authenticity.
    public static func digest64(_ parts: String...) -> Int64 {
        var text: [UInt8] = []
        text.reserveCapacity(96)
        for part in parts {
            text.append(utf8: part)
            text.append(0)
        }
        var hash = SHA256()
        text.withUnsafeBytes { hash.update(bufferPointer: $0) }
        return hash.finalize().withUnsafeBytes { Int64(bigEndian: $0.loadUnaligned(as: Int64.self)) }
    }
}

/// Message authentication codes that have their key's blocks behind them, by secret: making one anew costs more than a signature.
private final class SecretKeys: Sendable {
    static let shared = SecretKeys()
    /// More than a city has lots; when they are more, all are made anew.
    private static let countMax = 4096
    private let codes = Mutex<[String: HMAC<SHA256>]>([:])

    func code(for secret: String) -> HMAC<SHA256> {
        codes.withLock { codes in
            if let code = codes[secret] { return code }
            if codes.count >= SecretKeys.countMax { codes.removeAll() }
            let code = HMAC<SHA256>(key: SymmetricKey(data: Array(secret.utf8)))
            codes[secret] = code
            return code
        }
    }
}
