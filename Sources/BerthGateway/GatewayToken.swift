import BerthCore
import BerthLink
import BerthWire
import Foundation

/// The token of the local API: made at the first start and kept in the configuration file, or beside the spool where that file cannot be
/// written.
public enum GatewayToken {
    /// The place where the token is kept.
    public enum Place: Sendable, Equatable {
        case configuration
        /// A file of its own, with its name.
        case file(String)
    }

    /// About 250 bits.
    private static let length = 43

    /// Gives the configuration its token: its own, the one beside the spool, or a new one.
    /// - Returns: where it is kept, and whether it was made now.
    public static func ensure(_ configuration: inout GatewayConfiguration, file: String) throws -> (place: Place, isNew: Bool) {
        if configuration.token != nil { return (.configuration, false) }
        let beside = configuration.spoolFile + ".token"
        if let bytes = FileManager.default.contents(atPath: beside) {
            let text = String(decoding: bytes.prefix(1024), as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
            if GatewayConfiguration.isToken(text) {
                _ = chmod(beside, 0o600)
                configuration.token = text
                return (.file(beside), false)
            }
        }
        let token = SystemRandom.token(length)
        configuration.token = token
        do {
            try add(token, to: file)
            return (.configuration, true)
        } catch {
            do { try replace(beside, with: Array((token + "\n").utf8)) } catch {
                throw GatewayConfiguration.Invalid(description: "the token can be kept neither in \(file) nor in \(beside): \(error)")
            }
            return (.file(beside), true)
        }
    }

    /// Puts the member `token` first in the file; the rest stays as its owner laid it out.
    private static func add(_ token: String, to file: String) throws {
        let path = URL(fileURLWithPath: file).resolvingSymlinksInPath().path
        guard let bytes = FileManager.default.contents(atPath: path).map({ [UInt8]($0) }),
            let brace = bytes.firstIndex(of: UInt8(ascii: "{")),
            let old = try? JSON.parse(bytes), case .object(var members) = old
        else { throw GatewayConfiguration.Invalid(description: "\(file) cannot be read") }
        var text = Array(bytes[...brace])
        text.append(contentsOf: "\n  \"token\": \"\(token)\"".utf8)
        if !members.members.isEmpty { text.append(UInt8(ascii: ",")) }
        text.append(contentsOf: bytes[(brace + 1)...])
        members["token"] = .string(token)
        // Only a text that reads as the same configuration with its token takes the file's place.
        guard (try? JSON.parse(text)) == .object(members) else {
            throw GatewayConfiguration.Invalid(description: "\(file) has a member token already, and it is no token")
        }
        try replace(path, with: text)
    }

    /// Writes a file anew, whole or not at all, for its owner only.
    private static func replace(_ path: String, with bytes: [UInt8]) throws {
        struct Failed: Error, CustomStringConvertible { let description: String }
        func failed(_ what: String) -> Failed { Failed(description: "\(what): \(String(cString: strerror(errno)))") }
        let new = path + ".new"
        unlink(new)
        let descriptor = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw failed("open") }
        defer { close(descriptor) }
        do {
            var written = 0
            while written < bytes.count {
                let count = bytes[written...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
                guard count > 0 else { throw failed("write") }
                written += count
            }
            // The owner stays who it was, where the system lets us.
            var old = stat()
            if stat(path, &old) == 0 { _ = fchown(descriptor, old.st_uid, old.st_gid) }
            guard fsync(descriptor) == 0 else { throw failed("fsync") }
            guard rename(new, path) == 0 else { throw failed("rename") }
        } catch {
            unlink(new)
            throw error
        }
    }
}
