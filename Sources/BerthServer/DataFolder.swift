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

    /// A path of the admin socket that is short enough for the kernel (107 bytes), however deep the folder is.
    public func socketPath() throws -> String {
        let plain = path + "/admin.sock"
        if plain.utf8.count <= 100 { return plain }
        let descriptor = berth_open_folder(path)
        guard descriptor >= 0 else { throw Failed(description: "the data folder \(path) is not there") }
        return "/proc/self/fd/\(descriptor)/admin.sock"
    }
}
