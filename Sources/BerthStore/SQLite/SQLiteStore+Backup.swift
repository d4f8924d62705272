import Foundation
import GRDB

/// The end of a copied database.
public struct DatabaseCopy: Sendable, Equatable {
    /// The last entry of the journal, and its digest.
    public var lastEntry: Int64
    public var lastHash: String
    public var transaction: Int64
}

extension SQLiteStore {
    /// Copies a database into a new file: one state of it, whole, also while a server writes to it. The copy needs no file beside it. It reads
    /// in one go; the write-ahead log of the server grows meanwhile. Blocks the calling thread.
    /// - Throws: ``StoreError``, also where the copy does not pass SQLite's own check.
    public static func copy(_ path: String, to file: String) throws(StoreError) -> DatabaseCopy {
        do {
            var configuration = Configuration()
            configuration.busyMode = .timeout(30)
            let source = try DatabaseQueue(path: path, configuration: configuration)
            let target = try DatabaseQueue(path: file, configuration: configuration)
            try source.backup(to: target)
            try source.close()
            let facts = try target.writeWithoutTransaction { db in
                try db.execute(sql: "PRAGMA journal_mode = DELETE")
                let findings = try String.fetchAll(db, sql: "PRAGMA quick_check(5)")
                guard findings == ["ok"] else { throw StoreError.disk("the copy is damaged: \(findings.joined(separator: "; "))") }
                let row = try Row.fetchOne(db, sql: "SELECT id, body FROM journal ORDER BY id DESC LIMIT 1")
                return DatabaseCopy(
                    lastEntry: row.map { $0["id"] } ?? 0, lastHash: row.map { HighWaterMark.digest($0["body"]) } ?? "-",
                    transaction: try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = 'commit'") ?? 0)
            }
            try target.close()
            return facts
        } catch { throw SQLiteStore.translate(error) }
    }
}
