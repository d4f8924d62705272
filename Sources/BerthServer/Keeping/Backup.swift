public import BerthCore
import BerthLink
import BerthStore
public import BerthWire
import CBerthPosix
import Foundation

/// A backup of a city: a folder with the database, the pictures, the settings, the TLS files sealed, and a manifest. The master key is not in
/// it, and without the key nobody can read names, plates, secrets or private keys from it.
public struct Backup: Sendable {
    public struct Failed: Error, CustomStringConvertible { public let description: String }

    /// Steps of long work with how much of it is done.
    public typealias Progress = @Sendable (_ what: String, _ done: Int64, _ all: Int64) -> Void

    static let prefix = "berth-"
    static let partial = ".partial"
    static let manifestName = "manifest.json"
    static let databaseName = "berth.sqlite"
    static let keyText = "berth backup"
    /// The most bytes of `tls/` that a backup takes: sealed they have to fit into the manifest.
    private static let tlsBytesMax: Int64 = 384 << 10
    private static let tlsFilesMax = 64

    /// Whether a file of `tls/` belongs to a backup: the local authority's, the server's, and an own certificate that lies there.
    static func isTLSName(_ name: String) -> Bool {
        (1...64).contains(name.utf8.count) && name.utf8.first != UInt8(ascii: ".")
            && name.utf8.allSatisfy {
                (97...122).contains($0) || (65...90).contains($0) || (48...57).contains($0) || "._-".utf8.contains($0)
            }
    }

    /// The longest manifest that is read: it holds the sealed TLS files.
    static let manifestBytesMax = 1 << 20

    let source: DataFolder
    let target: String

    /// - Parameters:
    ///   - data: the folder of the server, which may run.
    ///   - target: the folder that holds the backups; it is made.
    public init(data: String, target: String) {
        source = DataFolder(data)
        self.target = DataFolder(target).path
    }

    // MARK: Making one

    /// Makes a backup and removes the oldest ones. Blocks the calling thread.
    /// - Parameter keep: how many stay, the new one included; nil: all.
    /// - Returns: the manifest, with `path`, and what was removed.
    /// - Throws: ``Failed``; nothing of a backup that is not whole keeps a backup's name.
    public func make(keep: Int?, now: Millis, progress: Progress) throws -> JSON {
        try source.requireData()
        guard FileManager.default.fileExists(atPath: source.database) else {
            throw Failed(description: "\(source.database) is not there: a server with `store = memory` keeps nothing")
        }
        guard target != source.path, !target.hasPrefix(source.path + "/") else {
            throw Failed(description: "--to \(target): a folder outside of the data folder expected")
        }
        let vault = FieldCipher(masterKey: try source.masterKey())
        let files = FileManager.default
        do {
            try files.createDirectory(atPath: target, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch { throw Failed(description: "\(target) cannot be made: \(error.localizedDescription)") }
        try lockTarget()
        let name = Backup.prefix + Backup.stamp(now)
        let (whole, draft) = ("\(target)/\(name)", "\(target)/\(name)\(Backup.partial)")
        let own = try Backup.list(target).filter { Backup.isSealed("\(target)/\($0)", under: vault) }
        let earlier = own.last
        guard mkdir(draft, 0o700) == 0 else {
            throw Failed(description: "\(draft) cannot be made: \(String(cString: strerror(errno)))")
        }
        do {
            let manifest = try fill(draft, earlier: earlier.map { "\(target)/\($0)" }, vault, now: now, progress)
            guard rename(draft, whole) == 0 else {
                throw Failed(description: "\(whole) cannot be named: \(String(cString: strerror(errno)))")
            }
            try FileCopy.syncFolder(target)
            let removed = try keep.map { try Backup.prune(target, own, keep: $0 - 1) } ?? []
            var answer = manifest
            answer["tls"] = nil
            answer["keyCheck"] = nil
            answer.append("path", .string(whole))
            answer.append("removed", .array(removed.map { .string($0) }))
            return .object(answer)
        } catch {
            try? files.removeItem(atPath: draft)
            throw Failed(description: (error as? StoreError).map { "\(source.database): \($0.reason)" } ?? "\(error)")
        }
    }

    private func fill(_ draft: String, earlier: String?, _ vault: FieldCipher, now: Millis, _ progress: Progress) throws -> JSONObject {
        let database = "\(draft)/\(Backup.databaseName)"
        progress("database", 0, 1)
        let facts = try SQLiteStore.copy(source.database, to: database)
        chmod(database, 0o600)
        let (sha256, bytes) = try FileCopy.copy(database, to: nil)
        progress("database", 1, 1)
        // The pictures come after the database: a picture that it names is in its file.
        let pictures = try copyPictures(to: draft + "/pictures", earlier: earlier.map { $0 + "/pictures" }, progress)
        let settings = source.path + "/berth.json"
        if FileManager.default.fileExists(atPath: settings) {
            // The text is read, since the file may be a link to one that a tool keeps.
            try FileCopy.write(try text(settings), to: draft + "/berth.json")
        }
        let manifest = JSONObject([
            ("kind", "berth backup"), ("format", 1), ("version", .string(Version.text)), ("createdAt", .int(now)),
            (
                "database",
                [
                    "bytes": .int(bytes), "sha256": .string(sha256), "lastEntry": .int(facts.lastEntry),
                    "lastHash": .string(facts.lastHash),
                    "transaction": .int(facts.transaction),
                ]
            ), ("pictures", ["count": .int(pictures.count), "bytes": .int(pictures.bytes), "linked": .int(pictures.linked)]),
            ("keyCheck", .string(vault.seal(Backup.keyText))), ("tls", .string(vault.seal(try tlsFiles().string))),
        ])
        try FileCopy.write(JSON.object(manifest).string + "\n", to: "\(draft)/\(Backup.manifestName)")
        try FileCopy.syncFolder(draft)
        return manifest
    }

    /// The files of `tls/` by name: first those of the local authority and of the server, then an own certificate with its key. Any other
    /// file that is not PEM text, or for which there is no room, stays where it is: what is foreign never stops a backup.
    private func tlsFiles() throws -> JSON {
        let own = ["ca.pem", "ca.key", "server.pem", "server.key", "server.made"]
        let names = try Backup.names(in: source.tls).sorted().filter(Backup.isTLSName)
        var files = JSONObject()
        var room = Backup.tlsBytesMax
        for name in own.filter(names.contains) + names.filter({ !own.contains($0) }).prefix(Backup.tlsFilesMax) {
            let file = "\(source.tls)/\(name)"
            // A link to a file that a tool keeps is read like the file.
            guard let bytes = FileCopy.size(following: file), bytes <= room else { continue }
            if own.contains(name) {
                files.append(name, .string(try text(file)))
            } else if let pem = try? text(file), pem.contains("-----BEGIN ") {
                files.append(name, .string(pem))
            } else {
                continue
            }
            room -= bytes
        }
        return .object(files)
    }

    private func text(_ file: String) throws -> String {
        do { return try String(contentsOfFile: file, encoding: .utf8) } catch {
            throw Failed(description: "\(file) cannot be read: \(error.localizedDescription)")
        }
    }

    /// Copies the pictures whose upload is complete. A picture never changes: one that the backup before has is linked.
    private func copyPictures(
        to folder: String, earlier: String?, _ progress: Progress
    ) throws -> (count: Int, bytes: Int64, linked: Int) {
        guard mkdir(folder, 0o700) == 0 else {
            throw Failed(description: "\(folder) cannot be made: \(String(cString: strerror(errno)))")
        }
        let names = try Backup.names(in: source.pictures)
        var (count, bytes, linked) = (0, Int64(0), 0)
        for (index, name) in names.enumerated() where !name.hasSuffix(".part") {
            if index % 100 == 0 { progress("pictures", Int64(index), Int64(names.count)) }
            let (from, to) = ("\(source.pictures)/\(name)", "\(folder)/\(name)")
            // One that its retention has just ended is gone.
            guard let size = FileCopy.size(from) else { continue }
            if let earlier, FileCopy.size("\(earlier)/\(name)") == size, link("\(earlier)/\(name)", to) == 0 {
                linked += 1
            } else {
                do throws(FileCopy.Failed) { try FileCopy.copy(from, to: to) } catch {
                    guard FileCopy.size(from) == nil else { throw error }
                    unlink(to)
                    continue
                }
            }
            count += 1
            bytes += size
        }
        progress("pictures", Int64(names.count), Int64(names.count))
        try FileCopy.syncFolder(folder)
        return (count, bytes, linked)
    }

    // MARK: Those that are there

    /// The whole backups in a folder, the oldest first.
    static func list(_ folder: String) throws -> [String] {
        try names(in: folder).filter {
            $0.hasPrefix(prefix) && !$0.hasSuffix(partial) && FileCopy.size("\(folder)/\($0)/\(manifestName)") != nil
        }
    }

    /// Whether a backup is one of the city that has this key. Another city may keep its backups in the same folder.
    private static func isSealed(_ backup: String, under vault: FieldCipher) -> Bool {
        guard let data = FileManager.default.contents(atPath: "\(backup)/\(manifestName)"), data.count <= manifestBytesMax,
            let check = (try? JSON.parse([UInt8](data)))?["keyCheck"]?.stringValue
        else { return false }
        return (try? vault.open(check)) == keyText
    }

    /// Removes the oldest ones of those that were there before the new one.
    private static func prune(_ folder: String, _ earlier: [String], keep: Int) throws -> [String] {
        let old = Array(earlier.dropLast(keep))
        for name in old {
            // The name goes first: a backup that is removed in part is none.
            let dying = "\(folder)/\(name)\(partial)"
            guard rename("\(folder)/\(name)", dying) == 0, (try? FileManager.default.removeItem(atPath: dying)) != nil else {
                throw Failed(description: "the backup is made; \(name) cannot be removed: \(String(cString: strerror(errno)))")
            }
        }
        return old
    }

    /// One backup at a time goes into a folder; what a backup that was killed has left there is removed. The lock ends with the process.
    private func lockTarget() throws {
        let descriptor = open("\(target)/.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw Failed(description: "\(target) cannot be written: \(String(cString: strerror(errno)))") }
        guard berth_lock_file(descriptor) == 0 else {
            close(descriptor)
            throw Failed(description: "another backup goes into \(target)")
        }
        for name in try Backup.names(in: target) where name.hasPrefix(Backup.prefix) && name.hasSuffix(Backup.partial) {
            try? FileManager.default.removeItem(atPath: "\(target)/\(name)")
        }
    }

    /// The names in a folder; none in one that is not there.
    static func names(in folder: String) throws -> [String] {
        var info = stat()
        if stat(folder, &info) != 0, errno == ENOENT { return [] }
        do { return try FileManager.default.contentsOfDirectory(atPath: folder).sorted() } catch {
            throw Failed(description: "\(folder) cannot be read: \(error.localizedDescription)")
        }
    }

    /// `20261130T081500.123Z`: names sort by time.
    static func stamp(_ now: Millis) -> String { SystemClock.utc(now).filter { $0 != "-" && $0 != ":" } }
}
