import BerthCore
import BerthLink
import BerthStore
public import BerthWire
import Foundation

/// A backup that is put back into a folder that holds no data, checked before and after.
public struct Restore: Sendable {
    private typealias Failed = Backup.Failed

    let backup: String
    let target: DataFolder

    /// - Parameters:
    ///   - path: a backup, or a folder of backups, of which the newest is taken.
    ///   - data: the folder of the new server; it is made.
    public init(from path: String, data: String) throws {
        let path = DataFolder(path).path
        if FileCopy.size("\(path)/\(Backup.manifestName)") != nil {
            backup = path
        } else if let newest = try Backup.list(path).last {
            backup = "\(path)/\(newest)"
        } else {
            throw Failed(description: "\(path) is no backup and holds none")
        }
        target = DataFolder(data)
    }

    /// Puts the backup back: order numbers are skipped, and every lot's down log begins anew, since the city has gone on after it.
    /// Blocks the calling thread.
    /// - Parameters:
    ///   - keyFile: the master key, which is copied into the folder; nil: `BERTH_MASTER_KEY_FILE`, or the key that lies in the folder.
    ///   - verifies: looks through the whole database before it may be started.
    /// - Returns: what was put back, and `findings` of the look, which are empty in a sound database.
    public func run(keyFile: String?, verifies: Bool, progress: Backup.Progress) throws -> JSON {
        let manifest = try readManifest()
        try checkTarget()
        let key = try masterKey(keyFile)
        let vault = FieldCipher(masterKey: key)
        guard let check = manifest["keyCheck"]?.stringValue, let tls = manifest["tls"]?.stringValue else {
            throw Failed(description: "\(backup)/\(Backup.manifestName) is not whole")
        }
        guard (try? vault.open(check)) == Backup.keyText, let tlsFiles = try? JSON.parse(Array(vault.open(tls).utf8)) else {
            throw Failed(description: "the backup was sealed under another master key than the one given")
        }
        umask(0o077)
        do {
            try FileManager.default.createDirectory(
                atPath: target.path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch { throw Failed(description: "\(target.path) cannot be made: \(error.localizedDescription)") }
        try target.open()
        try copyDatabase(manifest, progress)
        let pictures = try copyPictures(manifest, progress)
        try writeFiles(tlsFiles, key: keyFile == nil ? nil : key)
        progress("verify", 0, 1)
        let (findings, lineage) = try begin(vault, verifies: verifies)
        progress("verify", 1, 1)
        guard let lineage else { return ["path": .string(backup), "findings": .array(findings.map { .string($0) })] }
        // The database gets its name last: a restoration that ended before is no server's data.
        for name in ["mark", Backup.databaseName] {
            guard rename("\(draft)/\(name)", "\(target.path)/\(name)") == 0 else {
                throw Failed(description: "\(target.path)/\(name) cannot be named: \(String(cString: strerror(errno)))")
            }
        }
        try FileCopy.syncFolder(target.path)
        try? FileManager.default.removeItem(atPath: draft)
        return [
            "path": .string(backup), "createdAt": manifest["createdAt"] ?? .null, "lastEntry": manifest["database"]?["lastEntry"] ?? .null,
            "pictures": .int(pictures), "lineage": .int(lineage), "verified": .bool(verifies), "findings": [],
        ]
    }

    /// The folder in which the database lies until its lineage has begun.
    private var draft: String { target.path + "/restoring" }

    /// Looks through the database that was put back and, when it is sound, begins a new lineage.
    private func begin(_ vault: FieldCipher, verifies: Bool) throws -> (findings: [String], lineage: Int64?) {
        do throws(StoreError) {
            let store = try SQLiteStore(path: "\(draft)/\(Backup.databaseName)", vault: vault, acceptsLoss: true)
            defer { store.close() }
            let findings = verifies ? try store.verify(retention(), now: SystemClock.now(), isWanted: { true }) : []
            guard findings.isEmpty else { return (findings, nil) }
            return ([], try store.beginLineage(at: SystemClock.now(), actor: "desk", reason: "a backup was put back"))
        } catch { throw Failed(description: "\(draft)/\(Backup.databaseName): \(error.reason)") }
    }

    /// How long the city keeps what, by its settings; a file that cannot be read is the next start's to refuse.
    private func retention() -> Retention {
        var retention = Retention()
        let given = (try? SettingNames.file(target.path + "/berth.json")) ?? [:]
        func millis(_ key: String) -> Int64? {
            given[key].flatMap { Int64($0) }.flatMap { (30...36_500).contains($0) ? $0 * 86_400_000 : nil }
        }
        if let time = millis("retention.recordsDays") { retention.recordsMillis = time }
        if let time = millis("retention.auditDays") { retention.auditMillis = time }
        if let time = millis("retention.picturesDays") { retention.picturesMillis = time }
        return retention
    }

    private func readManifest() throws -> JSON {
        let file = "\(backup)/\(Backup.manifestName)"
        guard let size = FileCopy.size(file), size <= Backup.manifestBytesMax, let data = FileManager.default.contents(atPath: file) else {
            throw Failed(description: "\(file) cannot be read")
        }
        guard let manifest = try? JSON.parse([UInt8](data)), manifest["kind"]?.stringValue == "berth backup" else {
            throw Failed(description: "\(file) is no manifest of a backup")
        }
        guard manifest["format"]?.intValue == 1 else {
            throw Failed(
                description: "\(backup) was made by version \(manifest["version"]?.stringValue ?? "?"), whose backups this one cannot read")
        }
        return manifest
    }

    /// A folder that already holds a city is left as it is.
    private func checkTarget() throws {
        for name in [Backup.databaseName, Backup.databaseName + "-wal", "mark"] where FileCopy.size("\(target.path)/\(name)") != nil {
            throw Failed(description: "\(target.path) holds a server's data (\(name)): give a folder that holds none, or move them away")
        }
    }

    private func masterKey(_ keyFile: String?) throws -> [UInt8] {
        if let keyFile {
            let inFolder = target.masterKeyFile
            if FileCopy.size(inFolder) != nil { throw Failed(description: "\(inFolder) is there already: leave --key out to use it") }
            return try DataFolder.masterKey(in: keyFile)
        }
        if let named = ProcessInfo.processInfo.environment["BERTH_MASTER_KEY_FILE"] { return try DataFolder.masterKey(in: named) }
        guard FileCopy.size(target.masterKeyFile) != nil else {
            throw Failed(description: "the master key is missing: name its file by --key, or by BERTH_MASTER_KEY_FILE")
        }
        return try DataFolder.masterKey(in: target.masterKeyFile)
    }

    private func copyDatabase(_ manifest: JSON, _ progress: Backup.Progress) throws {
        try? FileManager.default.removeItem(atPath: draft)
        guard mkdir(draft, 0o700) == 0 else {
            throw Failed(description: "\(draft) cannot be made: \(String(cString: strerror(errno)))")
        }
        let file = "\(draft)/\(Backup.databaseName)"
        progress("database", 0, 1)
        let facts = manifest["database"]
        let (sha256, bytes) = try FileCopy.copy(
            "\(backup)/\(Backup.databaseName)", to: file, bytesMax: facts?["bytes"]?.intValue ?? 0)
        progress("database", 1, 1)
        guard facts?["sha256"]?.stringValue == sha256 else {
            try? FileManager.default.removeItem(atPath: draft)
            throw Failed(
                description:
                    "\(backup)/\(Backup.databaseName) has changed since the backup: \(bytes) bytes, SHA-256 \(sha256.prefix(16))…; the manifest says \(facts?["bytes"]?.intValue ?? 0) bytes, \((facts?["sha256"]?.stringValue ?? "").prefix(16))…"
            )
        }
    }

    private func copyPictures(_ manifest: JSON, _ progress: Backup.Progress) throws -> Int {
        let names = try Backup.names(in: backup + "/pictures")
        do {
            try FileManager.default.createDirectory(
                atPath: target.pictures, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch { throw Failed(description: "\(target.pictures) cannot be made: \(error.localizedDescription)") }
        var bytes: Int64 = 0
        for (index, name) in names.enumerated() {
            if index % 100 == 0 { progress("pictures", Int64(index), Int64(names.count)) }
            let to = "\(target.pictures)/\(name)"
            if FileCopy.size(to) != nil { unlink(to) }
            bytes += try FileCopy.copy("\(backup)/pictures/\(name)", to: to, bytesMax: 20_000_000).bytes
        }
        progress("pictures", Int64(names.count), Int64(names.count))
        let facts = manifest["pictures"]
        guard facts?["count"]?.intValue == Int64(names.count), facts?["bytes"]?.intValue == bytes else {
            throw Failed(
                description:
                    "\(backup)/pictures has \(names.count) pictures of \(bytes) bytes; the manifest says \(facts?["count"]?.intValue ?? 0) of \(facts?["bytes"]?.intValue ?? 0)"
            )
        }
        return names.count
    }

    /// The TLS files, the settings where there are none, and the key.
    private func writeFiles(_ tls: JSON, key: [UInt8]?) throws {
        mkdir(target.tls, 0o700)
        for member in tls.objectValue?.members ?? [] {
            guard Backup.isTLSName(member.name), let text = member.value.stringValue,
                FileCopy.size("\(target.tls)/\(member.name)") == nil
            else { continue }
            try FileCopy.write(text, to: "\(target.tls)/\(member.name)")
        }
        let settings = target.path + "/berth.json"
        if FileCopy.size(settings) == nil, FileCopy.size(backup + "/berth.json") != nil {
            try FileCopy.copy(backup + "/berth.json", to: settings)
        }
        if let key {
            try FileCopy.write(Signature.hex(key) + "\n", to: target.masterKeyFile)
        }
        try FileCopy.syncFolder(target.path)
    }
}
