import BerthLink
import CBerthPosix
import Foundation

/// The folder in which one server keeps everything.
public struct DataFolder: Sendable {
    public let path: String

    public struct Failed: Error, CustomStringConvertible {
        public let description: String
    }

    public init(_ path: String) {
        self.path = path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
    }

    public var database: String { path + "/berth.sqlite" }
    public var tls: String { path + "/tls" }
    public var pictures: String { path + "/pictures" }
    public var masterKeyFile: String { path + "/master.key" }
    public var broker: String { path + "/broker" }

    /// Makes the folder and locks it for this process; the lock ends with the process, however it ends.
    public func open() throws {
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch { throw Failed(description: "the data folder \(path) cannot be made: \(error.localizedDescription)") }
        let descriptor = Glibc.open(path + "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Failed(description: "the data folder \(path) cannot be written") }
        guard berth_lock_file(descriptor) == 0 else {
            throw Failed(description: "another server is running on \(path)")
        }
        // The descriptor is never closed: it is the lock.
    }

    /// The key under which everything sensitive is sealed: from the file that `BERTH_MASTER_KEY_FILE` names, else from the folder, made when
    /// the folder is new. Whoever backs the folder up keeps the key elsewhere; without it the data cannot be read.
    public func masterKey() throws -> [UInt8] {
        let named = ProcessInfo.processInfo.environment["BERTH_MASTER_KEY_FILE"]
        let file = named ?? masterKeyFile
        if let text = try? String(contentsOfFile: file, encoding: .utf8) {
            let digits = Array(text.trimmingCharacters(in: .whitespacesAndNewlines).utf8)
            let key = stride(from: 0, to: digits.count - 1, by: 2).compactMap {
                UInt8(String(decoding: digits[$0..<$0 + 2], as: UTF8.self), radix: 16)
            }
            guard key.count >= 32, key.count * 2 == digits.count else {
                throw Failed(description: "\(file): 64 hexadecimal digits or more expected, an even number of them")
            }
            return key
        }
        guard named == nil else { throw Failed(description: "the master key \(file) cannot be read") }
        let key = Ambient.bytes(32)
        let text = key.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() + "\n"
        guard FileManager.default.createFile(atPath: file, contents: Data(text.utf8), attributes: [.posixPermissions: 0o600]) else {
            throw Failed(description: "the master key \(file) cannot be written")
        }
        return key
    }

    /// A path of the admin socket that is short enough for the kernel (107 bytes), however deep the folder is.
    public func socketPath() throws -> String {
        let plain = path + "/admin.sock"
        if plain.utf8.count <= 100 { return plain }
        let descriptor = berth_open_folder(path)
        guard descriptor >= 0 else { throw Failed(description: "the data folder \(path) is not there") }
        return "/proc/self/fd/\(descriptor)/admin.sock"
    }
}
