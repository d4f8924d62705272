import BerthCore
import BerthWire
import Crypto
import Foundation
import Synchronization

/// Seals what must not be readable at rest (interface.md, section 13): personal data and secrets. AES-256-GCM under a key derived
/// from the city's master key, and a keyed hash by which a sealed plate can still be looked up.
public final class FieldCipher: Sendable {
    private let sealing: SymmetricKey
    /// Has the key's blocks behind it; every use begins with a copy.
    private let hashing: HMAC<SHA256>
    private let nonces = NonceSource()

    /// A sealed value cannot be opened: another master key, or a changed row.
    public struct Unopened: Error, CustomStringConvertible {
        public var description: String { "sealed under another master key, or changed" }
    }

    /// - Parameter masterKey: at least 32 bytes; its holder can read everything.
    public init(masterKey: [UInt8]) {
        precondition(masterKey.count >= 32, "a master key has at least 32 bytes")
        let root = SymmetricKey(data: masterKey)
        func derive(_ purpose: String) -> SymmetricKey {
            HKDF<SHA256>.deriveKey(inputKeyMaterial: root, info: Data("berth/\(purpose)/1".utf8), outputByteCount: 32)
        }
        sealing = derive("seal")
        hashing = HMAC<SHA256>(key: derive("hash"))
    }

    /// Nonce, ciphertext and tag; other bytes every time.
    public func sealed(_ text: String) -> Data {
        var bytes: [UInt8] = []
        seal(Array(text.utf8), into: &bytes)
        return Data(bytes)
    }

    /// Appends nonce, ciphertext and tag.
    func seal(_ text: [UInt8], into out: inout [UInt8]) {
        let box = try? AES.GCM.seal(text, using: sealing, nonce: nonces.next())
        guard let data = box?.combined else { preconditionFailure("AES-GCM takes every text") }
        data.withUnsafeBytes { out.append(contentsOf: $0) }
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

    /// The same text has the same digest: 32 hexadecimal digits, which say nothing of the text without the master key.
    public func digest(_ text: String) -> String { Signature.hex(code(text).prefix(16)) }

    /// The first 16 bytes of the keyed hash.
    func digest16(_ text: String) -> [UInt8] { Array(code(text).prefix(16)) }

    /// The first 64 bits of the keyed hash, for narrow columns.
    public func digest64(_ text: String) -> Int64 {
        code(text).withUnsafeBytes { Int64(bigEndian: $0.loadUnaligned(as: Int64.self)) }
    }

    private func code(_ text: String) -> HMAC<SHA256>.MAC {
        var code = hashing
        code.update(data: Array(text.utf8))
        return code.finalize()
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
