import Crypto

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

    /// `dataHash`: SHA-256 over canon(data); a missing or null `data` counts as `{}`.
    public static func dataHash(_ data: JSON?) -> String {
        let value: JSON = data == nil || data == .null ? .object(JSONObject()) : data!
        return hash(canonical: value.text(canonical: true))
    }

    public static func hash(canonical: [UInt8]) -> String { hex(SHA256.hash(data: canonical)) }

    /// `S`: every member of the envelope except sign, data, message, hint, and what is null or empty; plus data=dataHash.
    public static func stringToSign(_ envelope: JSONObject, dataHash: String) -> String {
        var pairs: [(name: String, value: String)] = [("data", dataHash)]
        pairs.reserveCapacity(envelope.members.count)
        for (name, value) in envelope.members {
            switch name {
            case "sign", "data", "message", "hint": continue
            default: break
            }
            switch value {
            case .string(let text) where !text.isEmpty: pairs.append((name, text))
            case .int(let number): pairs.append((name, String(number)))
            case .bool(let flag): pairs.append((name, flag ? "true" : "false"))
            default: continue
            }
        }
        pairs.sort { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        var text = ""
        text.reserveCapacity(320)
        for (index, pair) in pairs.enumerated() {
            if index > 0 { text += "&" }
            text += pair.name
            text += "="
            text += pair.value
        }
        return text
    }

    public static func sign(_ stringToSign: String, secret: String) -> String {
        hex(
            HMAC<SHA256>.authenticationCode(
                for: Array(stringToSign.utf8), using: SymmetricKey(data: Array(secret.utf8))))
    }

    /// The signature that a complete envelope must carry.
    public static func sign(_ envelope: JSONObject, secret: String) -> String {
        sign(stringToSign(envelope, dataHash: dataHash(envelope["data"])), secret: secret)
    }

    /// Equal in a time that depends on the length only.
    public static func equal(_ left: String, _ right: String) -> Bool {
        let left = Array(left.utf8)
        let right = Array(right.utf8)
        guard left.count == right.count else { return false }
        var difference: UInt8 = 0
        for index in left.indices { difference |= left[index] ^ right[index] }
        return difference == 0
    }

    /// A stable 64-bit digest for look-up tables; never for authenticity.
    public static func digest64(_ parts: String...) -> Int64 {
        var hash = SHA256()
        for part in parts {
            hash.update(data: Array(part.utf8))
            hash.update(data: [0])
        }
        return hash.finalize().prefix(8).reduce(Int64(0)) { $0 << 8 | Int64($1) }
    }
}
