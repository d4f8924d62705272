public import BerthCore
import BerthWire
import Foundation

// Rows whose time is over are deleted: whole partitions of replies, logs, ledger and journal, and slices of the other tables, each slice in
// a transaction of its own under the term.
extension PostgresStore {
    /// Rows that one transaction takes out, and rows that one search finds.
    private static let slice = 2_000
    private static let searched: Int64 = 50_000

    /// Finds rows on a reading connection, however long that takes, and deletes them a slice at a time: no commit waits for the search.
    /// - Parameters:
    ///   - condition: `$1` is not for it; it holds still when the row is deleted.
    ///   - returning: a number of each row that went.
    private func delete(
        _ table: String, where condition: String, _ values: [PostgresValue], returning: String = "0::bigint",
        _ gone: ([Int64]) -> Void = { _ in }
    ) throws(StoreError) {
        var isMore = true
        while isMore {
            let found = try read { connection in
                try connection.query(
                    "SELECT ctid::text FROM \(table) WHERE \(condition) LIMIT $1", [.int(PostgresStore.searched)] + values
                ).rows.map { try $0.text(0) }
            }
            isMore = Int64(found.count) == PostgresStore.searched
            for start in stride(from: 0, to: found.count, by: PostgresStore.slice) {
                let places = PostgresArray(Array(found[start..<min(start + PostgresStore.slice, found.count)]))
                let rows = try writer.run([
                    .init(
                        sql: "DELETE FROM \(table) WHERE ctid = ANY($1::tid[]) AND (\(condition)) RETURNING \(returning)",
                        values: [.array(places)] + values)
                ]).first?.rows
                do { gone(try rows?.map { try $0.int(0) } ?? []) } catch { throw PostgresStore.translate(error) }
                PostgresWriter.wait(milliseconds: 2)
            }
        }
    }

    private func inSlices(_ body: () throws(StoreError) -> Int) throws(StoreError) {
        while try body() >= PostgresStore.slice { PostgresWriter.wait(milliseconds: 2) }
    }

    /// Drops the partitions that end before a value. One that somebody reads is dropped another time.
    private func drop(_ table: PostgresSchema.Partitioned, before value: Int64) throws(StoreError) {
        let last = table.number(of: value)
        let present = try read { try table.present($0) }
        for number in present.sorted() where number < last {
            do throws(StoreError) {
                try writer.run([
                    .init(sql: "SET LOCAL lock_timeout = '200ms'", isPrepared: false),
                    .init(sql: "DROP TABLE IF EXISTS \(table.name(number))", isPrepared: false),
                ])
            } catch {
                // A reader holds it; commits do not wait for readers. The next turn tries again.
                if case .unavailable = error { return }
                throw error
            }
            writer.change { $0.partitions.remove(table.name(number)) }
        }
    }

    /// Deletes from the partition in which a value lies; the ones before it are dropped.
    private func deletePart(of table: PostgresSchema.Partitioned, before value: Int64) throws(StoreError) {
        let number = table.number(of: value)
        guard try read({ try table.present($0) }).contains(number) else { return }
        try delete(table.name(number), where: "at < $2", [.int(value)])
    }

    public func prune(_ retention: Retention, now: Millis) throws(StoreError) {
        let replies = now - retention.repliesMillis
        let gone = try read { connection in
            try connection.query("SELECT key FROM replies WHERE at < $1", [.int(replies)]).rows.map { try $0.int(0) as Int64 }
        }
        try drop(.replies, before: replies)
        try deletePart(of: .replies, before: replies)
        let kept = try read { connection in
            try connection.query("SELECT key FROM replies WHERE key = ANY($1)", [.array(PostgresArray(gone))]).rows
                .map { try $0.int(0) as Int64 }
        }
        forget(replies: Array(Set(gone).subtracting(kept)))
        try delete(
            "down_log",
            where: """
                at < $2 AND EXISTS(SELECT FROM positions p WHERE p.lot = down_log.lot
                    AND (p.down_epoch IS DISTINCT FROM down_log.epoch OR (down_log.settled AND p.down_ack >= down_log.seq)))
                """, [.int(now - retention.downMillis)])
        // A bill is asked for again when it is over; a day later nobody disputes it by its number.
        try delete("bills", where: "expire_at < $2", [.int(now - 86_400_000)])
        try delete("reports", where: "kind = $2 AND at < $3", [.text(City.onceKind), .int(now - City.onceMillis)])
        let periods = try read { connection in
            try connection.query("SELECT DISTINCT period FROM counters").rows.map { try $0.text(0) }
        }
        for period in periods where City.isPast(counter: period + "|x", at: now) {
            try delete("counters", where: "period = $2", [.text(period)])
        }
    }

    public func retire(_ retention: Retention, now: Millis) throws(StoreError) {
        let records = now - retention.recordsMillis
        try delete(
            "orders", where: "status >= 3 AND status <> 9 AND changed_at < $2", [.int(records)], returning: "client_key"
        ) { forget(clients: $0) }
        try delete("visits", where: "NOT is_open AND left_at < $2", [.int(records)])
        try drop(.upLog, before: records)
        try deletePart(of: .upLog, before: records)
        try delete("notices", where: "at < $2", [.int(records)])
        try delete("payments", where: "state <> 0 AND pay_time < $2", [.int(records)])
        // Entities end at a time of their own.
        try delete(
            "reports", where: "kind >= $2 AND kind < $3 AND at < $4",
            [.text(RowEncoding.entityMark), .text(RowEncoding.entityMark + "\u{10FFFF}"), .int(records)])
        let last = try read { connection in
            try connection.query("SELECT coalesce(max(id), 0) FROM journal WHERE at < $1", [.int(records)]).first?.int(0) as Int64? ?? 0
        }
        try takeOut(through: last)
        try drop(.journal, before: last + 1)
        try delete("audit", where: "at < $2 AND id < (SELECT max(id) FROM audit)", [.int(now - retention.auditMillis)])
    }

    /// Rows that outlive the entries that they point at take what they are out of them.
    private func takeOut(through last: Int64) throws(StoreError) {
        guard last > 0 else { return }
        try inSlices { () throws(StoreError) in
            let rows = try read { connection in
                try connection.query(
                    "SELECT \(PostgresStore.orderColumns) FROM orders WHERE entry BETWEEN 1 AND $1 LIMIT $2",
                    [.int(last), .int(Int64(PostgresStore.slice))]
                ).rows.map { (entry: try $0.int(2) as Int64, order: try reservation(connection, $0)) }
            }
            var (serials, entries, bodies) = (PostgresArray(.int8), PostgresArray(.int8), PostgresArray(.text))
            for row in rows {
                serials.append(row.order.serial)
                entries.append(row.entry)
                bodies.append(codec.text(row.order).string)
            }
            // An order that has changed meanwhile points at another entry.
            try write(
                """
                UPDATE orders o SET body = v.body, entry = 0 FROM unnest($1, $2, $3) AS v(serial, entry, body)
                    WHERE o.serial = v.serial AND o.entry = v.entry
                """, [.array(serials), .array(entries), .array(bodies)])
            return rows.count
        }
        try inSlices { () throws(StoreError) in
            let rows = try read { connection in
                try connection.query(
                    "SELECT \(PostgresStore.downColumns) FROM down_log WHERE entry BETWEEN 1 AND $1 LIMIT $2",
                    [.int(last), .int(Int64(PostgresStore.slice))]
                ).rows.map { (lot: try $0.text(0), row: try down(connection, $0)) }
            }
            var (lots, epochs, seqs) = (PostgresArray(.text), PostgresArray(.text), PostgresArray(.int8))
            var (services, bodies) = (PostgresArray(.text), PostgresArray(.bytea))
            for (lot, row) in rows {
                lots.append(lot)
                epochs.append(row.epoch)
                seqs.append(row.seq)
                services.append(row.service)
                bodies.append(bytes: codec.column(row.data))
            }
            try write(
                """
                UPDATE down_log d SET service = v.service, data = v.data, entry = 0
                    FROM unnest($1, $2, $3, $4, $5) AS v(lot, epoch, seq, service, data) WHERE d.lot = v.lot AND d.epoch = v.epoch AND d.seq = v.seq
                """, [.array(lots), .array(epochs), .array(seqs), .array(services), .array(bodies)])
            return rows.count
        }
    }

    // MARK: A history that was cut

    public func lineage() throws(StoreError) -> Int64 {
        try read { try $0.query("SELECT lineage FROM realm WHERE id = 1").first?.int(0) ?? 0 }
    }

    public func skipSerials(through serial: Int64) throws(StoreError) {
        try write(
            "INSERT INTO marks VALUES('serial', $1) ON CONFLICT (name) DO UPDATE SET value = greatest(marks.value, excluded.value)",
            [.int(serial)])
    }

    @discardableResult public func beginLineage(at now: Millis, actor: String, reason: String) throws(StoreError) -> Int64 {
        let (lineage, highest) = try read { connection -> (Int64, Int64) in
            let highest: Int64 = try connection.query("SELECT coalesce(max(serial), 0) FROM orders").first?.int(0) ?? 0
            let lineage: Int64 = try connection.query("SELECT lineage FROM realm WHERE id = 1").first?.int(0) ?? 0
            return (lineage + 1, max(highest, try mark(connection, "serial")))
        }
        try writer.run([
            .init(sql: "UPDATE realm SET lineage = $1, lost = NULL WHERE id = 1", values: [.int(lineage)]),
            .init(
                sql:
                    "INSERT INTO marks VALUES('serial', $1) ON CONFLICT (name) DO UPDATE SET value = greatest(marks.value, excluded.value)",
                values: [.int(highest + PostgresStore.skippedSerials)]),
            .init(sql: "UPDATE positions SET down_epoch = NULL, down_last = 0, down_ack = 0 WHERE down_epoch IS NOT NULL"),
        ])
        writer.change { known in
            known.positions = known.positions.mapValues { PostgresGroup.Position(upEpoch: $0.upEpoch, upAck: $0.upAck) }
        }
        try commit([
            Commit(
                at: now, events: [],
                audit: AuditRecord(at: now, actor: actor, action: "store.lineage", target: "lineage \(lineage)", detail: reason))
        ])
        return lineage
    }
}
