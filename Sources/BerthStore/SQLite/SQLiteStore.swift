public import BerthCore
public import BerthWire
import Foundation
import GRDB
import Synchronization

/// The embedded store: SQLite in WAL mode with `synchronous=FULL`, one writer, several readers.
///
/// Each commit appends to the journal and brings the rows that are derived from it up to date in the same transaction.
public final class SQLiteStore: HistoryStore {
    let pool: DatabasePool
    private let checkpointer: Checkpointer
    let places = Mutex(RowIndex())
    let codec: RowEncoding
    let mark: HighWaterMark
    private let loss_: String?
    /// Describes acknowledged data that is missing, where the opener accepts the loss; nil when nothing is missing.
    public var loss: String? { loss_ }

    /// - Parameters:
    ///   - path: of the database file; its folder exists.
    ///   - vault: seals personal data and secrets; nil for measurements without it.
    ///   - acceptsLoss: goes on with what there is where acknowledged transactions are gone; ``loss`` tells.
    /// - Throws: ``StoreError/lost(_:)`` where the database ends before the mark beside it, or was another one then.
    public init(path: String, vault: FieldCipher?, acceptsLoss: Bool = false) throws(StoreError) {
        let codec = RowEncoding(vault: vault)
        self.codec = codec
        var configuration = Configuration()
        configuration.maximumReaderCount = 4
        configuration.busyMode = .timeout(5)
        do {
            pool = try DatabasePool(path: path, configuration: configuration)
            try DatabaseSchema.prepare(pool)
            // DatabasePool sets NORMAL after the preparation of a connection, so FULL is forced here and read back.
            try pool.writeWithoutTransaction { db in
                try db.execute(sql: "PRAGMA synchronous=FULL")
                let mode = try Int.fetchOne(db, sql: "PRAGMA synchronous")
                guard mode == 2 else { throw StoreError.unavailable("synchronous is \(mode ?? -1), not FULL") }
            }
            checkpointer = try Checkpointer(path: path)
            pool.writeWithoutTransaction { [checkpointer] in checkpointer.watch($0) }
            let mark = try HighWaterMark(beside: path)
            let loss = try pool.read { try mark.loss(in: $0) }
            if let loss, !acceptsLoss { throw StoreError.lost(loss) }
            loss_ = loss
            self.mark = mark
            let loaded = try pool.read { try RowIndex.load($0, codec) }
            places.withLock { $0 = loaded }
        } catch { throw SQLiteStore.translate(error) }
    }

    public func close() {
        checkpointer.close()
        // The file alone then holds everything: a copy of it from a stopped server needs nothing beside it.
        try? pool.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) }
        try? pool.close()
    }

    static func translate(_ error: any Error) -> StoreError {
        if let error = error as? StoreError { return error }
        if error is FieldCipher.Unopened { return .wrongKey }
        guard let error = error as? DatabaseError else { return .unavailable("\(error)") }
        switch error.resultCode {
        case .SQLITE_FULL: return .full
        case .SQLITE_IOERR, .SQLITE_READONLY, .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_CANTOPEN:
            // The shared memory file grows without a code of its own for a full disk.
            return error.extendedResultCode == .SQLITE_IOERR_SHMSIZE
                ? .full : .disk("\(error.message ?? "") (SQLite \(error.extendedResultCode.rawValue))")
        case .SQLITE_CONSTRAINT: return .claimRefused(error.message ?? "")
        default: return .unavailable(error.message ?? "\(error.resultCode)")
        }
    }

    // MARK: Writing

    public func prepare(_ commit: Commit) { _ = commit.draft.content(of: commit, codec) }

    @discardableResult public func commit(_ batch: [Commit]) throws(StoreError) -> Int64 {
        do {
            // The writer holds the known index and is gone before the index is changed, since a value that is held twice is copied whole.
            let done = try pool.write { db in
                // There is one writer: the index that is known now stays valid while this transaction runs.
                let writer = BatchWriter(db: db, known: places.withLock { $0 }, codec: codec)
                try writer.write(batch)
                return (written: writer.written, transaction: writer.transaction, entry: writer.journalId, hash: writer.entryHash)
            }
            places.withLock { $0.merge(done.written) }
            mark.raise(transaction: done.transaction, entry: done.entry, hash: done.hash)
            return done.entry
        } catch { throw SQLiteStore.translate(error) }
    }

    func write(_ body: (Database) throws -> Void) throws(StoreError) {
        do { try pool.write(body) } catch { throw SQLiteStore.translate(error) }
    }

    public func save(_ credential: Credential) throws(StoreError) {
        try write { db in
            try db.execute(
                sql: "INSERT INTO credentials VALUES(?,?) ON CONFLICT(app_id) DO UPDATE SET body = excluded.body",
                arguments: [credential.appId, codec.seal(credential.record.string)])
        }
    }

    public func save(_ picture: Picture) throws(StoreError) {
        try write { db in
            try db.execute(
                sql: """
                    INSERT INTO pictures VALUES(?,?,?,?,?,?,?,?,?,?)
                    ON CONFLICT(image_id) DO UPDATE SET completed_at = excluded.completed_at
                    """,
                arguments: [
                    picture.imageId, picture.createdAt, picture.expireAt, picture.completedAt, picture.appId, picture.parkCode,
                    picture.type, picture.ext, picture.size, picture.sha256,
                ])
        }
    }

    public func picture(_ imageId: String) throws(StoreError) -> Picture? {
        try read { db in
            try GRDB.Row.fetchOne(db, sql: "SELECT * FROM pictures WHERE image_id = ?", arguments: [imageId]).map {
                try Picture(
                    imageId: imageId, appId: $0.text("app_id"), parkCode: $0.text("lot"), type: $0.int("type"), ext: $0.text("ext"),
                    size: $0.int("size"),
                    sha256: $0.text("sha256"), createdAt: $0.int("at"), expireAt: $0.int("expire_at"),
                    completedAt: $0.optionalInt("completed_at"))
            }
        }
    }

    public func removePictures(madeBefore: Millis, ticketsBefore: Millis) throws(StoreError) -> [String] {
        do {
            return try pool.write { db in
                try String.fetchAll(
                    db,
                    sql: """
                        DELETE FROM pictures WHERE at < ? OR (completed_at IS NULL AND expire_at < ?) RETURNING image_id
                        """, arguments: [madeBefore, ticketsBefore])
            }
        } catch { throw SQLiteStore.translate(error) }
    }

    public func add(_ counts: [DayCount], through journalId: Int64) throws(StoreError) {
        try write { db in
            let statement = try db.cachedStatement(
                sql: """
                    INSERT INTO day_counts VALUES(?,?,?,?,?) ON CONFLICT DO UPDATE SET value = CASE
                        WHEN name LIKE 'peak%' THEN max(value, excluded.value) ELSE value + excluded.value END
                    """)
            for count in counts {
                for (name, value) in count.counts {
                    try statement.execute(arguments: [count.key.day, count.key.parkCode, count.key.appId, name, value])
                }
            }
            try db.execute(
                sql: "INSERT INTO marks VALUES('counted', ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
                arguments: [journalId])
        }
    }

    public func counts(days: ClosedRange<Int64>, parkCode: String?, appId: String?) throws(StoreError) -> [DayCount] {
        try read { db in
            var found: [DayCount.Key: DayCount] = [:]
            let rows = try GRDB.Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM day_counts WHERE day BETWEEN ?1 AND ?2 AND (?3 IS NULL OR lot = ?3) AND (?4 IS NULL OR app_id = ?4)
                    ORDER BY day, lot, app_id
                    """, arguments: [days.lowerBound, days.upperBound, parkCode, appId])
            for row in rows {
                let key = try DayCount.Key(day: row.int("day"), parkCode: row.text("lot"), appId: row.text("app_id"))
                found[key, default: DayCount(key: key, counts: [:])].counts[try row.text("name")] = try row.int("value")
            }
            return found.values.sorted { ($0.key.day, $0.key.parkCode, $0.key.appId) < ($1.key.day, $1.key.parkCode, $1.key.appId) }
        }
    }

    public func countedThrough() throws(StoreError) -> Int64 {
        try read { db in try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = 'counted'") ?? 0 }
    }
}
