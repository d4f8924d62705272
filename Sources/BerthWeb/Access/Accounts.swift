import BerthCore
import BerthLink
import BerthWire
import Crypto
import CryptoExtras
import Foundation
import NIOPosix

/// The person behind a session, as the city knows them.
struct SignedIn: Sendable {
    var personId: String
    var isStaff: Bool
    var login: String
    var name: String
    var roles: Set<String>
    var parkCodes: [String]
    var rights: [String]
    var userToken: String
    var language: String
    var hasTotp: Bool
    var sessions: JSON
    /// First digits of the digest of the session; "" where it is not known.
    var sessionId: String

    init?(_ json: JSON, sessionHash: String = "") {
        guard let personId = json["personId"]?.stringValue, let token = json["userToken"]?.stringValue else { return nil }
        func list(_ name: String) -> [String] { (json[name]?.arrayValue ?? []).compactMap(\.stringValue) }
        self.personId = personId
        isStaff = json["kind"]?.stringValue == "staff"
        login = json["login"]?.stringValue ?? ""
        name = json["name"]?.stringValue ?? ""
        roles = Set(list("roles"))
        parkCodes = list("parkCodes")
        rights = list("rights")
        userToken = token
        language = json["language"]?.stringValue ?? ""
        hasTotp = json["hasTotp"]?.boolValue ?? false
        sessions = json["sessions"] ?? []
        sessionId = String(sessionHash.prefix(16))
    }

    func may(_ role: String) -> Bool { roles.contains(role) }

    /// Whether this is one of the city's staff with a right; no rights at all are every right.
    func mayInCity(_ right: String) -> Bool { may("city") && (rights.isEmpty || rights.contains { $0 == right }) }

    /// The name under which this person's deeds are on record.
    var actor: String { name.isEmpty ? login : "\(name) (\(login))" }
}

/// Passwords: scrypt (RFC 7914), N = 2^15, r = 8, p = 1: 32 MiB and some 60 ms for each try.
enum Password {
    private static let rounds = 32_768

    /// `scrypt$32768$8$1$salt$hash`, in hexadecimal.
    static func verifier(_ password: String) async throws -> String {
        let salt = Array(SystemRandom.token(24).utf8)
        let key = try await derive(password, salt: salt, rounds: rounds)
        return "scrypt$\(rounds)$8$1$\(Signature.hex(salt))$\(Signature.hex(key))"
    }

    static func matches(_ password: String, _ verifier: String) async -> Bool {
        let parts = verifier.split(separator: "$").map(String.init)
        guard parts.count == 6, parts[0] == "scrypt", let rounds = Int(parts[1]), (1024...1_048_576).contains(rounds),
            let salt = bytes(parts[4]), let key = try? await derive(password, salt: salt, rounds: rounds)
        else {
            // As long as a real try, so that the time says nothing about which names exist.
            _ = try? await derive(password, salt: Array("no such account".utf8), rounds: Password.rounds)
            return false
        }
        return Signature.equal(Signature.hex(key), parts[5])
    }

    static func bytes(_ hex: String) -> [UInt8]? {
        guard hex.utf8.count % 2 == 0 else { return nil }
        let digits = Array(hex)
        var out: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let byte = UInt8(String(digits[index...index + 1]), radix: 16) else { return nil }
            out.append(byte)
        }
        return out
    }

    private static func derive(_ password: String, salt: [UInt8], rounds: Int) async throws -> [UInt8] {
        // Much arithmetic: on a thread that may be busy.
        try await NIOThreadPool.singleton.runIfActive {
            try KDF.Scrypt.deriveKey(
                from: Array(password.utf8), salt: salt, outputByteCount: 32, rounds: rounds, blockSize: 8, parallelism: 1
            ).withUnsafeBytes { Array($0) }
        }
    }
}

/// Time-based one-time passwords (RFC 6238): SHA-1, six digits, 30 s; one step to either side is taken.
enum TOTP {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")

    static func newSecret() -> String { String((0..<32).map { _ in alphabet[Int(SystemRandom.bytes(1)[0]) % 32] }) }

    /// The step in which a code is good now; nil for a wrong code.
    static func step(of code: String, secret: String, now: Int64) -> Int64? {
        guard code.utf8.count == 6, let key = decode(secret) else { return nil }
        let present = now / 30_000
        return (present - 1...present + 1).first { Signature.equal(self.code($0, key: key), code) }
    }

    static func code(_ step: Int64, key: [UInt8]) -> String {
        let message = withUnsafeBytes(of: step.bigEndian) { Array($0) }
        let mac = Array(HMAC<Insecure.SHA1>.authenticationCode(for: message, using: SymmetricKey(data: key)))
        let offset = Int(mac[19] & 0x0F)
        let number = mac[offset..<offset + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) } & 0x7FFF_FFFF
        return String(format: "%06d", number % 1_000_000)
    }

    static func decode(_ secret: String) -> [UInt8]? {
        var out: [UInt8] = []
        var (bits, value) = (0, 0)
        for character in secret {
            guard let digit = alphabet.firstIndex(of: character) else { return nil }
            (value, bits) = (value << 5 | digit, bits + 5)
            if bits >= 8 {
                out.append(UInt8(value >> (bits - 8) & 0xFF))
                bits -= 8
            }
        }
        return out.count >= 10 ? out : nil
    }

    static func address(secret: String, login: String) -> String {
        "otpauth://totp/Berth:\(WebRequest.escape(login))?secret=\(secret)&issuer=Berth"
    }
}

/// Digests under a key that no browser knows.
struct Keyed: Sendable {
    private let key: SymmetricKey

    init(secret: String) { key = SymmetricKey(data: SHA256.hash(data: Array("berth web|\(secret)".utf8))) }

    func digest(_ parts: [String]) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: Array(parts.joined(separator: "\u{0}").utf8), using: key))
    }

    func hex(_ parts: String...) -> String { Signature.hex(digest(parts)) }

    /// The token of a form. It looks different in each page, so that compression tells nothing of it (BREACH).
    func formToken(_ visit: String) -> String {
        let own = Array(digest(["form", visit]).prefix(16))
        let mask = SystemRandom.bytes(16)
        return Signature.hex(mask + zip(own, mask).map { $0 ^ $1 })
    }

    func isFormToken(_ token: String, _ visit: String) -> Bool {
        let digits = Array(token.utf8)
        guard digits.count == 64, !visit.isEmpty else { return false }
        func nibble(_ digit: UInt8) -> UInt8? {
            switch digit {
            case 48...57: digit - 48
            case 97...102: digit - 87
            default: nil
            }
        }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: 64, by: 2) {
            guard let high = nibble(digits[index]), let low = nibble(digits[index + 1]) else { return false }
            bytes.append(high << 4 | low)
        }
        let own = zip(bytes[0..<16], bytes[16..<32]).map { $0 ^ $1 }
        return Signature.equal(Signature.hex(own), Signature.hex(Array(digest(["form", visit]).prefix(16))))
    }
}

/// The verifier of a password, for commands that make accounts.
public enum StaffPassword {
    /// scrypt, some 60 ms of arithmetic.
    public static func verifier(_ password: String) async throws -> String { try await Password.verifier(password) }
}
