import Crypto
import Foundation
import Synchronization

/// Seals what must not be readable at rest (interface.md, section 13): personal data and secrets. AES-256-GCM under a key derived
/// from the city's master key, and a keyed hash by which a sealed plate can still be looked up.
public struct Vault: Sendable {
    private let sealing: SymmetricKey
    private let hashing: SymmetricKey
    private let nonces = NonceSource()

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

    /// Nonce, ciphertext and tag; other bytes every time.
    public func sealed(_ text: String) -> Data {
        var text = text
        let box = text.withUTF8 { try? AES.GCM.seal($0, using: sealing, nonce: nonces.next()) }
        guard let data = box?.combined else { preconditionFailure("AES-GCM takes every text") }
        return data
    }

    public func open(_ sealed: Data) throws(Unopened) -> String {
        guard let box = try? AES.GCM.SealedBox(combined: sealed), let plain = try? AES.GCM.open(box, using: sealing) else {
            throw Unopened()
        }
        return String(decoding: plain, as: UTF8.self)
    }

    /// The same in base64, for what stands inside a text.
    public func seal(_ text: String) -> String { sealed(text).base64EncodedString() }

    public func open(_ sealed: String) throws(Unopened) -> String {
        guard let data = Data(base64Encoded: sealed) else { throw Unopened() }
        return try open(data)
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

/// Nonces that never come twice under one key: 64 random bits of this process and a counter of 32, and other random bits when the counter
/// is used up. Asking the kernel for every one would cost a booking four system calls.
private final class NonceSource: Sendable {
    private let state = Mutex<(prefix: [UInt8], count: UInt32)>(([], .max))

    func next() throws -> AES.GCM.Nonce {
        let bytes = state.withLock { state in
            if state.count == .max {
                let fresh = SymmetricKey(size: .bits128)
                state = (fresh.withUnsafeBytes { Array($0.prefix(8)) }, 0)
            }
            state.count += 1
            return state.prefix + withUnsafeBytes(of: state.count.bigEndian) { Array($0) }
        }
        return try AES.GCM.Nonce(data: bytes)
    }
}
