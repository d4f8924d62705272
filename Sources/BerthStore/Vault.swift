import Crypto
import Foundation

/// Seals what must not be readable at rest (interface.md, section 13): personal data and secrets. AES-256-GCM under a key derived
/// from the city's master key, and a keyed hash by which a sealed plate can still be looked up.
public struct Vault: Sendable {
    private let sealing: SymmetricKey
    private let hashing: SymmetricKey

    /// What was sealed cannot be opened: another master key, or a changed row.
    public struct Unopened: Error, CustomStringConvertible {
        public var description: String { "sealed under another master key, or changed" }
    }

    /// - Parameter masterKey: at least 32 bytes; whoever holds it reads everything.
    public init(masterKey: [UInt8]) {
        precondition(masterKey.count >= 32, "a master key has at least 32 bytes")
        let root = SymmetricKey(data: masterKey)
        func derive(_ purpose: String) -> SymmetricKey {
            HKDF<SHA256>.deriveKey(inputKeyMaterial: root, info: Data("berth/\(purpose)/1".utf8), outputByteCount: 32)
        }
        sealing = derive("seal")
        hashing = derive("hash")
    }

    /// Base64 of nonce, ciphertext and tag; another text every time.
    public func seal(_ text: String) -> String {
        guard let box = try? AES.GCM.seal(Array(text.utf8), using: sealing), let data = box.combined else {
            preconditionFailure("AES-GCM takes every text")
        }
        return data.base64EncodedString()
    }

    public func open(_ sealed: String) throws(Unopened) -> String {
        guard let data = Data(base64Encoded: sealed), let box = try? AES.GCM.SealedBox(combined: data),
            let plain = try? AES.GCM.open(box, using: sealing)
        else { throw Unopened() }
        return String(decoding: plain, as: UTF8.self)
    }

    /// The same text has the same digest, which says nothing of the text to whoever has no master key: 32 hexadecimal digits.
    public func digest(_ text: String) -> String {
        HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: hashing).prefix(16)
            .map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// The first 64 bits of the keyed hash, for narrow columns.
    public func digest64(_ text: String) -> Int64 {
        HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: hashing).prefix(8).reduce(Int64(0)) { $0 << 8 | Int64($1) }
    }
}
