import BerthCore
import BerthLink
import CBerthPosix
import Foundation

/// The folder in which one server keeps everything.
public struct DataFolder: Sendable {
    public let path: String

    public struct Failed: Error, CustomStringConvertible {
        public let description: String
    }

    /// - Parameter path: Absolute, or from the current folder. Empty and `.` parts are left out, so that one folder has one spelling.
    public init(_ path: String) {
        let whole = path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
        let parts = whole.split(separator: "/").filter { $0 != "." }
        self.path = "/" + parts.joined(separator: "/")
    }

    public var database: String { path + "/berth.sqlite" }
    public var tls: String { path + "/tls" }
    public var pictures: String { path + "/pictures" }
    public var masterKeyFile: String { path + "/master.key" }
    public var broker: String { path + "/broker" }

    /// Makes the folder when it may, and locks it for this process; the lock ends with the process, however it ends. Group and others
    /// lose their rights to its files.
    /// - Parameter makes: Whether a folder that does not exist is made. Only a server makes one.
    /// - Returns: the changes of rights, and the files whose rights cannot be changed, for the log.
    @discardableResult public func open(makes: Bool = true) throws -> [String] {
        guard path.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F }) else {
            throw Failed(description: "the path of the data folder holds a control character")
        }
        if makes {
            do {
                try FileManager.default.createDirectory(
                    atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            } catch { throw Failed(description: "the data folder \(path) cannot be made: \(error.localizedDescription)") }
        } else {
            try requireData()
        }
        var info = stat()
        guard stat(path, &info) == 0, info.st_mode & S_IFMT == S_IFDIR else { throw Failed(description: "\(path) is not a folder") }
        guard info.st_mode & S_ISVTX == 0 else {
            throw Failed(description: "\(path) is shared by all users of this machine; give a data folder of its own")
        }
        let descriptor = Glibc.open(path + "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw Failed(description: "the data folder \(path) cannot be written: \(String(cString: strerror(errno)))")
        }
        guard berth_lock_file(descriptor) == 0 else {
            Glibc.close(descriptor)
            throw Failed(description: "another server is running on \(path)")
        }
        // The descriptor is never closed: it is the lock.
        return tighten()
    }

    /// - Throws: ``Failed`` when no server has ever kept its data here; nothing is changed.
    public func requireData() throws(Failed) {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
            throw Failed(description: "there is no data folder \(path); `berth serve` makes it")
        }
        guard isFolder.boolValue else { throw Failed(description: "\(path) is not a folder") }
        guard exists(path + "/lock") || exists(database) else {
            throw Failed(description: "\(path) holds no data of a server; `berth serve` makes them")
        }
    }

    // MARK: Rights of the files

    /// Takes the rights of group and others from the folder, its own folders, and every file in it and in `tls`.
    private func tighten() -> [String] {
        var told: [String] = []
        for folder in [path, tls, pictures, broker] { restrict(folder, to: 0o700, &told) }
        for folder in [path, tls, broker] {
            for name in (try? FileManager.default.contentsOfDirectory(atPath: folder))?.sorted() ?? [] {
                let file = "\(folder)/\(name)"
                var info = stat()
                // A link is left as it is, because its target may be meant for others.
                guard lstat(file, &info) == 0, info.st_mode & S_IFMT == S_IFREG else { continue }
                // Certificates are public, and others cannot reach them through the folder anyway.
                if folder == tls, name.hasSuffix(".pem") { continue }
                restrict(file, to: 0o600, &told)
            }
        }
        return told
    }

    private func restrict(_ path: String, to mode: mode_t, _ told: inout [String]) {
        var info = stat()
        guard stat(path, &info) == 0, info.st_mode & 0o077 != 0 else { return }
        let before = String(info.st_mode & 0o777, radix: 8)
        if chmod(path, mode) == 0 {
            told.append("\(path): \(before) became \(String(mode, radix: 8))")
        } else {
            told.append("\(path): stays \(before): \(String(cString: strerror(errno)))")
        }
    }

    // MARK: The master key

    /// The longest file that is read as a key, bytes.
    private static let keyFileMax = 4_096

    /// The key under which everything sensitive is sealed: from the file that `BERTH_MASTER_KEY_FILE` names, else from the folder.
    ///
    /// A key is made only in a folder that has neither key nor database. In every other case a key that is missing or cannot be read is an
    /// error with its reason, and the file stays as it is: a new key would make the data unreadable for ever.
    public func masterKey() throws -> [UInt8] {
        if let named = ProcessInfo.processInfo.environment["BERTH_MASTER_KEY_FILE"] {
            guard let key = try DataFolder.readKey(named) else {
                throw Failed(description: "the master key \(named) is missing (BERTH_MASTER_KEY_FILE names it)")
            }
            return key
        }
        if let key = try DataFolder.readKey(masterKeyFile) { return key }
        guard !exists(database), !exists(database + "-wal") else {
            throw Failed(
                description:
                    "the master key \(masterKeyFile) is missing, and \(database) cannot be read without it; put the key back, or name it by BERTH_MASTER_KEY_FILE"
            )
        }
        return try makeKey()
    }

    /// The master key in a file.
    static func masterKey(in file: String) throws(Failed) -> [UInt8] {
        guard let key = try readKey(file) else { throw Failed(description: "the master key \(file) is missing") }
        return key
    }

    /// - Returns: nil when there is no such file.
    private static func readKey(_ file: String) throws(Failed) -> [UInt8]? {
        // Not blocking: the other end of a pipe may never come.
        let descriptor = Glibc.open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            if errno == ENOENT, !exists(file) { return nil }
            throw Failed(description: "the master key \(file) cannot be read: \(String(cString: strerror(errno)))")
        }
        defer { Glibc.close(descriptor) }
        var info = stat()
        guard fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG else {
            throw Failed(description: "the master key \(file) is not a file")
        }
        guard info.st_size <= DataFolder.keyFileMax else {
            throw Failed(description: "the master key \(file) has \(info.st_size) bytes; 64 hexadecimal digits expected")
        }
        var bytes = [UInt8](repeating: 0, count: DataFolder.keyFileMax)
        let count = read(descriptor, &bytes, bytes.count)
        guard count >= 0 else { throw Failed(description: "the master key \(file) cannot be read: \(String(cString: strerror(errno)))") }
        let isSpace = { (byte: UInt8) in [0x20, 0x09, 0x0A, 0x0D].contains(byte) }
        let digits = Array(bytes[0..<count].drop(while: isSpace).reversed().drop(while: isSpace).reversed())
        let values = digits.compactMap { digit -> UInt8? in
            switch digit {
            case 48...57: digit - 48
            case 65...70: digit - 55
            case 97...102: digit - 87
            default: nil
            }
        }
        let expected = "64 hexadecimal digits or more expected, an even number of them"
        guard values.count == digits.count else { throw Failed(description: "the master key \(file) is not hexadecimal: \(expected)") }
        guard values.count >= 64 else {
            throw Failed(description: "the master key \(file) is too short, \(values.count) digits: \(expected)")
        }
        guard values.count % 2 == 0 else { throw Failed(description: "the master key \(file) has \(values.count) digits: \(expected)") }
        return stride(from: 0, to: values.count, by: 2).map { values[$0] << 4 | values[$0 + 1] }
    }

    /// Makes a key. It gets its name when it is whole and on the disk, and never takes the place of another.
    private func makeKey() throws(Failed) -> [UInt8] {
        func failed(_ what: String) -> Failed {
            Failed(description: "the master key \(masterKeyFile) cannot be \(what): \(String(cString: strerror(errno)))")
        }
        let key = SystemRandom.bytes(32)
        let text = Array((key.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() + "\n").utf8)
        let draft = masterKeyFile + ".new"
        // Of an earlier start that did not get further; the folder is locked.
        unlink(draft)
        let descriptor = Glibc.open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failed("made") }
        defer { unlink(draft) }
        let isWritten = write(descriptor, text, text.count) == text.count && fsync(descriptor) == 0
        guard Glibc.close(descriptor) == 0, isWritten else { throw failed("written") }
        // link(), unlike rename(), fails where a file has this name. Some file systems have no links; the lock of the folder then does.
        if link(draft, masterKeyFile) != 0 {
            guard [EPERM, EOPNOTSUPP, ENOSYS].contains(errno), !exists(masterKeyFile), rename(draft, masterKeyFile) == 0 else {
                throw failed("made")
            }
        }
        let folder = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        defer { if folder >= 0 { Glibc.close(folder) } }
        guard folder >= 0, fsync(folder) == 0 else { throw failed("kept") }
        return key
    }

    /// Whether something has this name, even if it cannot be read, or is a link to nothing.
    private func exists(_ file: String) -> Bool { DataFolder.exists(file) }

    private static func exists(_ file: String) -> Bool {
        var info = stat()
        return lstat(file, &info) == 0 || errno != ENOENT && errno != ENOTDIR
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
