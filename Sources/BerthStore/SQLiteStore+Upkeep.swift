public import BerthCore
import BerthWire
import GRDB

// What is over goes: replies and settled messages soon, records and the journal after their time.
extension SQLiteStore {
    public func prune(_ retention: Retention, now: Millis) throws(StoreError) {
        try write { db in
            let replies = try GRDB.Row.fetchAll(
                db, sql: "DELETE FROM replies WHERE at < ? RETURNING app_id, request_id", arguments: [now - retention.repliesMillis])
            // How far each log goes, before the rows that say it go.
            try db.execute(
                sql: """
                    UPDATE positions SET down_last = max(down_last, log.seq)
                    FROM (SELECT lot, epoch, max(seq) AS seq FROM down_log GROUP BY lot, epoch) AS log
                    WHERE log.lot = positions.lot AND log.epoch = positions.down_epoch
                    """)
            let down = try GRDB.Row.fetchAll(
                db,
                sql: """
                    DELETE FROM down_log WHERE at < ? AND settled = 1 AND EXISTS(SELECT 1 FROM positions p
                        WHERE p.lot = down_log.lot AND (p.down_epoch <> down_log.epoch OR p.down_ack >= down_log.seq))
                    RETURNING lot, epoch, seq
                    """, arguments: [now - retention.downMillis])
            // Inside the transaction: a commit that comes after it must not have its places overwritten.
            places.withLock { places in
                for row in replies { places.replies[KeptReply.key(row[0], row[1])] = nil }
                for row in down { places.down[Places.LogName(lot: row[0], epoch: row[1])]?.drop(row[2]) }
            }
            // A bill is asked for again when it is over; a day later nobody disputes it by its number.
            try db.execute(sql: "DELETE FROM bills WHERE expire_at < ?", arguments: [now - 86_400_000])
            try db.execute(
                sql: "DELETE FROM reports WHERE kind = ? AND at < ?", arguments: [City.onceKind, now - City.onceMillis])
            let old = places.withLock { $0.counters.filter { City.isPast(counter: $0.key.text, at: now) } }
            for (key, id) in old {
                try db.execute(sql: "DELETE FROM counters WHERE id = ?", arguments: [id])
                places.withLock { $0.counters[key] = nil }
            }
        }
    }

    public func retire(_ retention: Retention, now: Millis) throws(StoreError) {
        let records = now - retention.recordsMillis
        try write { db in
            let orders = try GRDB.Row.fetchAll(
                db, sql: "DELETE FROM orders WHERE status >= 3 AND status <> 9 AND changed_at < ? RETURNING client_key",
                arguments: [records])
            places.withLock { places in for row in orders { places.orders[row[0]] = nil } }
            try db.execute(
                sql: "DELETE FROM visits WHERE is_open = 0 AND json_extract(body, '$.lt') < ?", arguments: [records])
            try db.execute(sql: "DELETE FROM up_log WHERE at < ?", arguments: [records])
            try db.execute(sql: "DELETE FROM notices WHERE at < ?", arguments: [records])
            try db.execute(
                sql: "DELETE FROM payments WHERE state <> 0 AND json_extract(body, '$.t') < ?", arguments: [records])
            try db.execute(
                sql: "DELETE FROM reports WHERE kind >= ?1 AND kind < ?1 || char(1114111) AND at < ?2",
                arguments: [Codec.entityMark, records])
            try takeOut(db, before: records)
            try db.execute(sql: "DELETE FROM journal WHERE at < ?", arguments: [records])
            try db.execute(sql: "DELETE FROM audit WHERE at < ?", arguments: [now - retention.auditMillis])
        }
    }

    /// Rows that stand longer than the entries that they point at, take what they are out of them.
    private func takeOut(_ db: Database, before time: Millis) throws {
        guard let last = try Int64.fetchOne(db, sql: "SELECT max(id) FROM journal WHERE at < ?", arguments: [time]) else { return }
        for row in try GRDB.Row.fetchAll(
            db, sql: "SELECT serial, body, entry FROM orders WHERE entry BETWEEN 1 AND ?", arguments: [last])
        {
            try db.execute(
                sql: "UPDATE orders SET body = ?, entry = 0 WHERE serial = ?",
                arguments: [codec.text(try order(db, row)).string, row["serial"] as Int64])
        }
        for row in try GRDB.Row.fetchAll(
            db, sql: "SELECT id, lot, epoch, seq, at, service, data, entry FROM down_log WHERE entry BETWEEN 1 AND ?", arguments: [last])
        {
            let down = try down(db, row)
            try db.execute(
                sql: "UPDATE down_log SET service = ?, data = ?, entry = 0 WHERE id = ?",
                arguments: [down.service, codec.seal(down.data), row["id"] as Int64])
        }
    }
}
