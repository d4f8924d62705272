public import BerthCore
import BerthWire
import Foundation
import GRDB

// Rows whose time is over are deleted: replies and settled messages soon, records and the journal after their time. Each transaction
// takes a slice: a writer waits for one slice, and not for a year of records.
extension SQLiteStore {
    /// Rows that one transaction takes out.
    private static let slice = 2_000

    /// - Parameter body: takes out one slice; returns how many rows it was.
    private func inSlices(_ body: (Database) throws -> Int) throws(StoreError) {
        while true {
            var count = 0
            try write { count = try body($0) }
            guard count >= SQLiteStore.slice else { return }
            // A writer that waits gets its turn between two slices.
            _ = DispatchSemaphore(value: 0).wait(timeout: .now() + .milliseconds(2))
        }
    }

    private func delete(_ sql: String, _ arguments: StatementArguments = []) throws(StoreError) {
        try inSlices { db in
            try db.execute(sql: sql + " LIMIT \(SQLiteStore.slice))", arguments: arguments)
            return db.changesCount
        }
    }

    public func prune(_ retention: Retention, now: Millis) throws(StoreError) {
        try inSlices { db in
            let replies = try GRDB.Row.fetchAll(
                db,
                sql: """
                    DELETE FROM replies WHERE id IN (SELECT id FROM replies WHERE at < ? LIMIT \(SQLiteStore.slice))
                    RETURNING app_id, request_id
                    """, arguments: [now - retention.repliesMillis])
            // Inside the transaction: a commit that comes after it must not have its places overwritten.
            places.withLock { places in
                for row in replies {
                    guard let appId: String = row[0], let requestId: String = row[1] else { continue }
                    places.replies[KeptReply.key(appId, requestId)] = nil
                }
            }
            return replies.count
        }
        try inSlices { db in
            // How far each log goes, before the rows that say it go.
            try db.execute(
                sql: """
                    UPDATE positions SET down_last = max(down_last, log.seq)
                    FROM (SELECT lot, epoch, max(seq) AS seq FROM down_log GROUP BY lot, epoch) AS log
                    WHERE log.lot = positions.lot AND log.epoch = positions.down_epoch AND log.seq > down_last
                    """)
            let down = try GRDB.Row.fetchAll(
                db,
                sql: """
                    DELETE FROM down_log WHERE id IN (SELECT id FROM down_log WHERE at < ? AND EXISTS(
                        SELECT 1 FROM positions p WHERE p.lot = down_log.lot
                            AND (p.down_epoch <> down_log.epoch OR (down_log.settled = 1 AND p.down_ack >= down_log.seq)))
                        LIMIT \(SQLiteStore.slice))
                    RETURNING lot, epoch, seq
                    """, arguments: [now - retention.downMillis])
            places.withLock { places in
                for row in down {
                    guard let lot: String = row[0], let epoch: String = row[1], let seq: Int64 = row[2] else { continue }
                    places.down[RowIndex.LogName(lot: lot, epoch: epoch)]?.drop(seq)
                }
            }
            return down.count
        }
        // A bill is asked for again when it is over; a day later nobody disputes it by its number.
        try delete("DELETE FROM bills WHERE key IN (SELECT key FROM bills WHERE expire_at < ?", [now - 86_400_000])
        try delete(
            "DELETE FROM reports WHERE (lot, kind, key) IN (SELECT lot, kind, key FROM reports WHERE kind = ? AND at < ?",
            [City.onceKind, now - City.onceMillis])
        var old = places.withLock { $0.counters.filter { City.isPast(counter: $0.key.text, at: now) } }.makeIterator()
        try inSlices { db in
            var count = 0
            while count < SQLiteStore.slice, let (key, id) = old.next() {
                try db.execute(sql: "DELETE FROM counters WHERE id = ?", arguments: [id])
                places.withLock { $0.counters[key] = nil }
                count += 1
            }
            return count
        }
    }

    public func retire(_ retention: Retention, now: Millis) throws(StoreError) {
        let records = now - retention.recordsMillis
        try inSlices { db in
            let reservations = try GRDB.Row.fetchAll(
                db,
                sql: """
                    DELETE FROM orders WHERE serial IN (SELECT serial FROM orders WHERE status >= 3 AND status <> 9 AND changed_at < ?
                        LIMIT \(SQLiteStore.slice)) RETURNING serial, client_key
                    """, arguments: [records])
            places.withLock { places in
                for row in reservations {
                    guard let serial: Int64 = row[0], let key: Int64 = row[1], places.reservations[key] == serial else { continue }
                    places.reservations[key] = nil
                }
            }
            return reservations.count
        }
        try delete(
            """
            DELETE FROM visits WHERE (lot, record_no) IN (SELECT lot, record_no FROM visits WHERE is_open = 0 AND
                json_extract(body, '$.lt') < ?
            """, [records])
        try delete("DELETE FROM up_log WHERE (lot, epoch, seq) IN (SELECT lot, epoch, seq FROM up_log WHERE at < ?", [records])
        try delete("DELETE FROM notices WHERE id IN (SELECT id FROM notices WHERE at < ?", [records])
        try delete(
            "DELETE FROM payments WHERE key IN (SELECT key FROM payments WHERE state <> 0 AND json_extract(body, '$.t') < ?", [records])
        try delete(
            """
            DELETE FROM reports WHERE (lot, kind, key) IN (SELECT lot, kind, key FROM reports
                WHERE kind >= ?1 AND kind < ?1 || char(1114111) AND at < ?2
            """, [RowEncoding.entityMark, records])
        try takeOut(before: records)
        try delete(
            "DELETE FROM journal WHERE id IN (SELECT id FROM journal WHERE at < ? AND id < (SELECT max(id) FROM journal)", [records])
        // The numbers go on: an entry of nothing takes the place of the last one.
        try write { db in
            guard let last = try GRDB.Row.fetchOne(db, sql: "SELECT id, at FROM journal ORDER BY id DESC LIMIT 1"),
                try last.int("at") < records
            else { return }
            let id: Int64 = try last.int("id")
            try db.execute(
                sql: "INSERT INTO journal VALUES(?,?,?)",
                arguments: [id + 1, now, String(decoding: codec.journal([]), as: UTF8.self)])
            try db.execute(sql: "DELETE FROM journal WHERE id = ?", arguments: [id])
        }
        try delete(
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? AND id < (SELECT max(id) FROM audit)",
            [now - retention.auditMillis])
    }

    /// Rows that stand longer than the entries that they point at, take what they are out of them.
    private func takeOut(before time: Millis) throws(StoreError) {
        let found = try read { db in
            try Int64.fetchOne(
                db, sql: "SELECT max(id) FROM journal WHERE at < ?", arguments: [time])
        }
        guard let last = found else { return }
        try inSlices { db in
            let rows = try GRDB.Row.fetchAll(
                db, sql: "SELECT serial, body, entry FROM orders WHERE entry BETWEEN 1 AND ? LIMIT \(SQLiteStore.slice)", arguments: [last])
            for row in rows {
                try db.execute(
                    sql: "UPDATE orders SET body = ?, entry = 0 WHERE serial = ?",
                    arguments: [codec.text(try reservation(db, row)).string, row.int("serial") as Int64])
            }
            return rows.count
        }
        try inSlices { db in
            let rows = try GRDB.Row.fetchAll(
                db,
                sql: """
                    SELECT id, lot, epoch, seq, at, service, data, entry FROM down_log WHERE entry BETWEEN 1 AND ?
                        LIMIT \(SQLiteStore.slice)
                    """, arguments: [last])
            for row in rows {
                let down = try down(db, row)
                try db.execute(
                    sql: "UPDATE down_log SET service = ?, data = ?, entry = 0 WHERE id = ?",
                    arguments: [down.service, codec.seal(down.data), row.int("id") as Int64])
            }
            return rows.count
        }
        try inSlices { db in
            let rows = try GRDB.Row.fetchAll(
                db, sql: "SELECT * FROM replies WHERE entry BETWEEN 1 AND ? LIMIT \(SQLiteStore.slice)", arguments: [last])
            for row in rows {
                let reservations = try events(db, entry: row.int("entry")).compactMap {
                    if case .reservation(let reservation) = $0 { reservation } else { nil }
                }
                guard let reservation = reservations.first else { throw RowEncoding.Unreadable(what: "reply") }
                try db.execute(
                    sql: "UPDATE replies SET data = ?, entry = 0 WHERE id = ?",
                    arguments: [
                        codec.seal(String(decoding: Encode.orderText(reservation, alternatives: []), as: UTF8.self)),
                        row.int("id") as Int64,
                    ])
            }
            return rows.count
        }
    }

    // MARK: A history that was cut

    /// After acknowledged transactions were lost, or a backup was put back (contract, sections 5.6 and 6 e): order numbers are skipped, every
    /// lot's down log ends, and the mark begins anew. The lots' next down entries open new epochs.
    /// - Returns: the number of the lineage, 1 for the first loss.
    @discardableResult public func beginLineage(at now: Millis, actor: String, reason: String) throws(StoreError) -> Int64 {
        var lineage: Int64 = 0
        var position = HighWaterMark.Position()
        try write { db in
            func raise(_ mark: String, _ value: Int64) throws {
                try db.execute(
                    sql: "INSERT INTO marks VALUES(?,?) ON CONFLICT(name) DO UPDATE SET value = max(value, excluded.value)",
                    arguments: [mark, value])
            }
            func mark(_ name: String) throws -> Int64 {
                try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = ?", arguments: [name]) ?? 0
            }
            lineage = try mark("lineage") + 1
            try raise("lineage", lineage)
            let serial = max(try Int64.fetchOne(db, sql: "SELECT max(serial) FROM orders") ?? 0, try mark("serial"))
            try raise("serial", serial + SQLiteStore.skippedSerials)
            let skipped = self.mark.position
            try raise("commit", skipped.transaction + 1)
            try db.execute(sql: "UPDATE positions SET down_epoch = NULL, down_last = 0, down_ack = 0 WHERE down_epoch IS NOT NULL")
            // The journal goes on after what was lost, so that statistics and copies see no entry twice.
            let last = max(try Int64.fetchOne(db, sql: "SELECT max(id) FROM journal") ?? 0, skipped.entry)
            let body: [UInt8] = codec.journal([])
            let text = String(decoding: body, as: UTF8.self)
            try db.execute(sql: "INSERT INTO journal VALUES(?,?,?)", arguments: [last + 1, now, text])
            let (id, hash) = places.withLock { ($0.auditId, $0.auditHash) }
            var record = AuditRecord(
                id: id + 1, at: now, actor: actor, action: "store.lineage", target: "lineage \(lineage)", detail: reason)
            record.hash = record.hash(after: hash)
            try db.execute(
                sql: "INSERT INTO audit VALUES(?,?,?,?,?,?,?)",
                arguments: [record.id, record.at, record.actor, record.action, record.target, record.detail, record.hash])
            places.withLock { ($0.auditId, $0.auditHash) = (record.id, record.hash) }
            position = HighWaterMark.Position(
                transaction: try mark("commit"), entry: last + 1, hash: HighWaterMark.digest(body))
        }
        mark.reset(to: position)
        return lineage
    }

    /// Order numbers up to this one are not given again.
    public func skipSerials(through serial: Int64) throws(StoreError) {
        try write { db in
            try db.execute(
                sql: "INSERT INTO marks VALUES('serial', ?) ON CONFLICT(name) DO UPDATE SET value = max(value, excluded.value)",
                arguments: [serial])
        }
    }

    /// How many times acknowledged history was lost and the city went on without it.
    public func lineage() throws(StoreError) -> Int64 {
        try read { try Int64.fetchOne($0, sql: "SELECT value FROM marks WHERE name = 'lineage'") ?? 0 }
    }

    // MARK: A city that was moved

    /// When this city was moved to another store, ms since 1970; nil for one that lives here. Two living copies would sell the same places.
    public func movedAt() throws(StoreError) -> Millis? {
        let at = try read { try Int64.fetchOne($0, sql: "SELECT value FROM marks WHERE name = 'moved'") ?? 0 }
        return at > 0 ? at : nil
    }

    /// - Parameter time: nil takes the mark away.
    public func mark(movedAt time: Millis?) throws(StoreError) {
        try write { db in
            try db.execute(
                sql: "INSERT INTO marks VALUES('moved', ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value", arguments: [time ?? 0])
        }
    }
}
