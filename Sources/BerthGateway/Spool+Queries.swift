import BerthCore
import BerthLink
import BerthWire
import GRDB

// Reads of the spool while the box works. Others may change the file, so no column is believed.
extension Spool {
    package struct UpEntry: Sendable {
        package var epoch: String
        package var seq: Int64
        package var requestId: String
        package var service: String
        package var at: Int64
        package var data: JSON
    }

    private static func entry(_ row: Row, _ text: String) -> UpEntry? {
        guard let epoch = row.text("epoch"), let seq = row.number("seq"), let requestId = row.text("request_id"),
            let service = row.text("service"), let at = row.number("at"), let data = try? JSON.parse(Array(text.utf8)),
            data.objectValue != nil
        else { return nil }
        return UpEntry(epoch: epoch, seq: seq, requestId: requestId, service: service, at: at, data: data)
    }

    /// Entries after `seq`, without a gap, at most `limit` and about `bytes`. One that is too deep for a batch comes alone.
    package func entries(_ lot: String, epoch: String, after seq: Int64, limit: Int, bytes: Int) async throws -> [UpEntry] {
        try await read { db in
            var entries: [UpEntry] = []
            var (size, next) = (0, seq)
            let rows = try Row.fetchCursor(
                db,
                sql: """
                    SELECT epoch, seq, request_id, service, at, data FROM up WHERE lot = ? AND epoch = ? AND seq > ? ORDER BY seq LIMIT ?
                    """, arguments: [lot, epoch, seq, limit])
            while let row = try rows.next() {
                let text = row.text("data") ?? ""
                size += text.utf8.count + 200
                next += 1
                if size > bytes, !entries.isEmpty { break }
                guard let entry = Spool.entry(row, text), entry.seq == next else { break }
                let isDeep = entry.data.depth > Bounds.batchDepthMax
                if isDeep, !entries.isEmpty { break }
                entries.append(entry)
                if isDeep { break }
            }
            return entries
        }
    }

    /// The acknowledged entries that a D20 asks for.
    package struct Range: Sendable {
        package var seqs: ClosedRange<Int64>
        package var times: ClosedRange<Int64>
        /// Entries of this epoch; of every epoch when nil.
        package var epoch: String?

        package init(seqs: ClosedRange<Int64>, times: ClosedRange<Int64>, epoch: String?) {
            self.seqs = seqs
            self.times = times
            self.epoch = epoch
        }
    }

    /// Acknowledged entries of a range, oldest acknowledgement first.
    package func sent(_ lot: String, _ range: Range, limit: Int) async throws -> [UpEntry] {
        try await read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT epoch, seq, request_id, service, at, data FROM sent WHERE lot = ?1 AND seq BETWEEN ?2 AND ?3 AND at BETWEEN ?4 AND ?5
                    AND (?6 IS NULL OR epoch = ?6) ORDER BY acked_at, epoch, seq LIMIT ?7
                    """,
                arguments: [
                    lot, range.seqs.lowerBound, range.seqs.upperBound, range.times.lowerBound, range.times.upperBound, range.epoch, limit,
                ]
            ).compactMap { row in Spool.entry(row, row.text("data") ?? "") }
        }
    }

    /// Records that the server refused for good, the newest first.
    package func dead(_ lot: String, limit: Int) async throws -> [JSON] {
        try await read { db in
            try Row.fetchAll(
                db, sql: "SELECT epoch, seq, code, service, data, at FROM dead WHERE lot = ? ORDER BY at DESC, epoch, seq DESC LIMIT ?",
                arguments: [lot, limit]
            ).map { row in
                let code = row.number("code").flatMap { Dialect.current.codes[Int($0)] }
                return .compact([
                    ("epoch", .optional(row.text("epoch"))), ("seq", .optional(row.number("seq"))), ("code", .optional(row.number("code"))),
                    ("error", .optional(code?.name)), ("message", .optional(code?.zh)), ("service", .optional(row.text("service"))),
                    ("at", .optional(row.number("at"))), ("data", (try? JSON.parse(Array((row.text("data") ?? "").utf8))) ?? .null),
                ])
            }
        }
    }

    /// Whether the server refused the entry of this record for good.
    package func isDead(_ lot: String, recordNo: String) async throws -> Bool {
        try await read { db in
            try Bool.fetchOne(
                db,
                sql: """
                    SELECT EXISTS(SELECT 1 FROM dead WHERE lot = ? AND service = 'vehicle.entry.report'
                        AND iif(json_valid(data), json_extract(data, '$.recordNo'), NULL) = ?)
                    """, arguments: [lot, recordNo]) ?? false
        }
    }

    /// Messages that the PMS has not taken yet, oldest first.
    package func inbox(_ lot: String, limit: Int) async throws -> [JSON] {
        try await read { db in
            try Row.fetchAll(db, sql: "SELECT id, service, body FROM inbox WHERE lot = ? ORDER BY id LIMIT ?", arguments: [lot, limit])
                .map { row in
                    [
                        "id": .int(row.number("id") ?? 0), "service": .string(row.text("service") ?? ""),
                        "data": (try? JSON.parse(Array((row.text("body") ?? "").utf8))) ?? [:],
                    ]
                }
        }
    }

    /// The first result of an entry of the down log; nil where it is not kept any more.
    package func downResult(_ lot: String, epoch: String, seq: Int64) async throws -> Reply? {
        try await read { db in
            let row = try Row.fetchOne(
                db, sql: "SELECT code, data FROM down_results WHERE lot = ? AND epoch = ? AND seq = ?", arguments: [lot, epoch, seq])
            guard let row, let code = row.number("code"), (0...9999).contains(code) else { return nil }
            return Reply(code: Int(code), data: (try? JSON.parse(Array((row.text("data") ?? "").utf8))) ?? [:])
        }
    }

    /// Acknowledged entries are kept for D20 for so long, ms.
    package static let sentMillis: Int64 = 30 * 86_400_000
    /// Acknowledged entries and dead letters of one lot at most.
    package static let sentMax = 300_000
    package static let deadMax = 10_000
    /// Rows that one transaction of the upkeep deletes at most.
    private static let sliceRows = 2_000

    /// Deletes a slice of the rows that have been kept long enough.
    /// - Returns: through `completion`, whether more is left to delete.
    func prune(_ lot: String, now: Int64, completion: @escaping @Sendable (Bool) -> Void) {
        let more = Slot(false)
        write({ db in
            try db.execute(
                sql: """
                    DELETE FROM sent WHERE lot = ?1 AND (epoch, seq) IN
                        (SELECT epoch, seq FROM sent WHERE lot = ?1 AND acked_at < ?2 ORDER BY acked_at LIMIT ?3)
                    """, arguments: [lot, now - Spool.sentMillis, Spool.sliceRows])
            var isFull = db.changesCount == Spool.sliceRows
            for (table, reservation, most) in [("sent", "acked_at", Spool.sentMax), ("dead", "at", Spool.deadMax)] {
                let count = try Int.fetchOne(db, sql: "SELECT count(*) FROM \(table) WHERE lot = ?", arguments: [lot]) ?? 0
                guard count > most else { continue }
                try db.execute(
                    sql: """
                        DELETE FROM \(table) WHERE lot = ?1 AND (epoch, seq) IN
                            (SELECT epoch, seq FROM \(table) WHERE lot = ?1 ORDER BY \(reservation), epoch, seq LIMIT ?2)
                        """, arguments: [lot, min(count - most, Spool.sliceRows)])
                isFull = isFull || count - most > Spool.sliceRows
            }
            more.set(isFull)
        }) { completion($0 && more.value) }
    }
}
