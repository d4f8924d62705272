import BerthCore
import BerthWire
import GRDB

/// The places of rows, in memory. Nearly every reservation is new, and the disk must not be asked to know that. No index on random keys
/// has to be written for it.
struct RowIndex: Sendable {
    struct LogName: Hashable, Sendable {
        let lot: String
        let epoch: String
    }

    /// The rows of one epoch of a down log by seq; 0 where a row is gone.
    struct Run: Sendable {
        private(set) var first: Int64
        private(set) var rows: [Int64] = []

        init(first: Int64) { self.first = first }

        var next: Int64 { first + Int64(rows.count) }

        func row(_ seq: Int64) -> Int64? {
            guard seq >= first, seq < next, rows[Int(seq - first)] != 0 else { return nil }
            return rows[Int(seq - first)]
        }

        mutating func set(_ seq: Int64, _ row: Int64) {
            guard seq >= first else { return }
            while next < seq { rows.append(0) }
            if seq == next { rows.append(row) } else { rows[Int(seq - first)] = row }
        }

        /// Appends the run that comes behind this one.
        mutating func append(_ later: Run) {
            if later.first == next {
                rows += later.rows
            } else {
                for (offset, row) in later.rows.enumerated() { set(later.first + Int64(offset), row) }
            }
        }

        mutating func drop(_ seq: Int64) {
            guard row(seq) != nil else { return }
            rows[Int(seq - first)] = 0
            // The front goes when it is all gone, so that a run is as long as what is kept.
            let gone = rows.prefix { $0 == 0 }.count
            if gone == rows.count || gone >= 64 {
                rows.removeFirst(gone)
                first += Int64(gone)
            }
        }
    }

    /// Digest of appId and clientOrderNo → serial.
    var reservations: [Int64: Int64] = [:]
    /// Digest of appId and requestId → row.
    var replies: [Int64: Int64] = [:]
    var counters: [ByteKey: Int64] = [:]
    /// The end of the audit chain.
    var auditId: Int64 = 0
    var auditHash = ""
    var down: [LogName: Run] = [:]

    /// The places of one transaction's rows. A row's place is known when it has been written; it is noted by its number in the list.
    struct Fresh: Sendable {
        var reservations: [(key: Int64, serial: Int64)] = []
        var replies: [(key: Int64, row: Int64)] = []
        /// Row 0: not written yet.
        var counters: [(key: ByteKey, row: Int64)] = []
        private(set) var counterAt: [ByteKey: Int] = [:]
        var auditId: Int64 = 0
        var auditHash = ""
        var down: [(log: LogName, run: Run)] = []
        private(set) var downAt: [LogName: Int] = [:]

        mutating func add(counter key: ByteKey) {
            counterAt[key] = counters.count
            counters.append((key, 0))
        }

        mutating func add(_ log: LogName, from seq: Int64) -> Int {
            downAt[log] = down.count
            down.append((log, Run(first: seq)))
            return down.count - 1
        }
    }

    mutating func merge(_ fresh: Fresh) {
        for (key, serial) in fresh.reservations { reservations[key] = serial }
        for (key, row) in fresh.replies { replies[key] = row }
        for (key, row) in fresh.counters { counters[key] = row }
        if fresh.auditId > auditId { (auditId, auditHash) = (fresh.auditId, fresh.auditHash) }
        for (log, run) in fresh.down { down[log, default: Run(first: run.first)].append(run) }
    }

    static func load(_ db: Database, _ codec: RowEncoding) throws -> RowIndex {
        var places = RowIndex()
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT client_key, serial FROM orders ORDER BY serial") {
            places.reservations[row[0]] = row[1]
        }
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT app_id, request_id, id FROM replies") {
            places.replies[KeptReply.key(row[0], row[1])] = row[2]
        }
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT key, id FROM counters") {
            places.counters[ByteKey(try codec.open(row[0] as DatabaseValue))] = row[1]
        }
        if let last = try GRDB.Row.fetchOne(db, sql: "SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1") {
            places.auditId = last[0]
            places.auditHash = last[1]
        }
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT id, lot, epoch, seq FROM down_log ORDER BY id") {
            places.down[LogName(lot: row[1], epoch: row[2]), default: Run(first: row[3])].set(row[3], row[0])
        }
        return places
    }
}
