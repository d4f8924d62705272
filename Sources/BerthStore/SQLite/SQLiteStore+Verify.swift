public import BerthCore
import BerthWire
import Foundation
import GRDB

/// A table whose rows the journal can make again.
enum DerivedTable: String, CaseIterable {
    case lots, positions, closedEpochs = "closed_epochs", reservations = "orders", visits, downLog = "down_log", counters, notices, reports,
        bills, payments,
        ledger

    /// The name of a row is its first columns.
    fileprivate var sql: String {
        switch self {
        case .lots: "SELECT lot, policy, profile, gates, remaining FROM lots ORDER BY lot"
        case .positions:
            """
            SELECT lot, up_epoch, up_ack, down_epoch, max(down_last, coalesce((SELECT max(seq) FROM down_log
                WHERE down_log.lot = positions.lot AND epoch = down_epoch), 0)), down_ack FROM positions ORDER BY lot
            """
        case .closedEpochs: "SELECT lot, epoch FROM closed_epochs ORDER BY lot, epoch"
        case .reservations: "SELECT * FROM orders ORDER BY serial"
        case .visits: "SELECT * FROM visits ORDER BY lot, record_no"
        case .downLog: "SELECT * FROM down_log ORDER BY lot, epoch, seq"
        case .counters: "SELECT key, count FROM counters WHERE count <> 0"
        case .notices: "SELECT lot, type, at, body FROM notices ORDER BY id"
        case .reports: "SELECT * FROM reports ORDER BY lot, kind, key"
        case .bills: "SELECT key, expire_at, body FROM bills ORDER BY key"
        case .payments: "SELECT key, state, body FROM payments ORDER BY key"
        case .ledger: "SELECT at, kind, ref, account, fen FROM ledger ORDER BY id"
        }
    }

    /// Rows come in an order that does not depend on how they are sealed.
    var isSorted: Bool { self != .counters && self != .reports }
    /// Rows say what there is, and not what was added: a journal that begins later makes them too.
    fileprivate var isWhole: Bool {
        switch self {
        case .reservations, .visits, .bills, .payments, .reports: true
        default: false
        }
    }
}

extension SQLiteStore {
    /// The rows of a table, unsealed, each with its name.
    func each(_ table: DerivedTable, _ db: Database, _ body: (_ name: String, _ line: String) throws -> Void) throws {
        let rows = try GRDB.Row.fetchCursor(db, sql: table.sql)
        while let row = try rows.next() {
            func columns(_ names: String...) -> String { names.map { SQLiteStore.text(row[$0]) }.joined(separator: "|") }
            switch table {
            case .lots, .positions, .bills, .payments: try body(SQLiteStore.text(row[0]), SQLiteStore.line(row))
            case .closedEpochs, .notices, .ledger: try body(SQLiteStore.line(row), SQLiteStore.line(row))
            case .reservations:
                let text = RowEncoding.plain.text(try reservation(db, row)).string
                try body(columns("serial"), columns("serial", "lot", "app_id", "client_key", "status") + "|" + text)
            case .visits:
                let text = RowEncoding.plain.encode(try codec.visit(RowEncoding.parse(row.text("body")))).string
                try body(columns("lot", "record_no"), columns("lot", "record_no", "is_open") + "|" + text)
            case .downLog:
                let down = try down(db, row)
                try body(
                    columns("lot", "epoch", "seq"),
                    columns("lot", "epoch", "seq", "at", "order_no") + "|\(down.service)|\(down.data)|" + columns("settled"))
            case .counters:
                let key = try codec.open(row["key"] as DatabaseValue)
                try body(key, "\(key)|\(try row.int("count") as Int64)")
            case .reports:
                let r = try codec.report(
                    lot: row.text("lot"), kind: row.text("kind"), key: row.text("key"), at: row.int("at"), body: row.text("body"))
                let name = "\(r.parkCode)|\(r.kind)|\(r.key)"
                try body(name, "\(name)|\(r.at)|\(r.body)")
            }
        }
    }

    /// Opens every entry of the journal, makes the derived rows again from it beside the database, and compares them with those that stand
    /// there; adds up the ledger, opens the kept replies, and walks the audit chain. Reads one state of the database while others write.
    /// - Parameters:
    ///   - retention: how long rows are kept; a row past its time need not be there.
    ///   - isWanted: false ends it early (the server stops).
    /// - Returns: the differences, at most 100 lines; empty when all is as it must be.
    public func verify(_ retention: Retention, now: Millis, isWanted: () -> Bool) throws(StoreError) -> [String] {
        var template = Array((FileManager.default.temporaryDirectory.path + "/berth-verify-XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else { throw .unavailable("no folder for the copy: \(String(cString: strerror(errno)))") }
        let folder = URL(fileURLWithPath: String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
        defer { try? FileManager.default.removeItem(at: folder) }
        let folded = try SQLiteStore(path: folder.appendingPathComponent("berth.db").path, vault: codec.vault)
        defer { folded.close() }
        return try read { db in
            var findings = Findings()
            for row in try String.fetchAll(db, sql: "PRAGMA quick_check(20)") where row != "ok" { findings.add("file: \(row)") }
            let first = try fold(db, into: folded, &findings, isWanted)
            guard isWanted() else { return findings.lines }
            try compareAll(db, folded, isWhole: first <= 1, &findings)
            try folded.prune(retention, now: now)
            try folded.retire(retention, now: now)
            try findMissing(db, folded, &findings, isWhole: first <= 1)
            let sum = try Int64.fetchOne(db, sql: "SELECT coalesce(sum(fen), 0) FROM ledger") ?? 0
            if sum != 0 { findings.add("ledger: all accounts together come to \(sum) fen and not to 0") }
            try walkReplies(db, &findings)
            try walkAudit(db, &findings)
            return findings.lines
        }
    }

    private struct Findings {
        private(set) var lines: [String] = []
        mutating func add(_ line: String) { if lines.count < 100 { lines.append(line) } }
    }

    /// - Returns: the number of the first entry.
    private func fold(_ db: Database, into folded: SQLiteStore, _ findings: inout Findings, _ isWanted: () -> Bool) throws -> Int64 {
        let rows = try GRDB.Row.fetchCursor(db, sql: "SELECT id, at, body FROM journal ORDER BY id")
        var (first, last): (Int64, Int64) = (0, 0)
        var batch: [Commit] = []
        // Jumps that a lineage made are no holes.
        let lineages = try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = 'lineage'") ?? 0
        var jumps: Int64 = 0
        while let row = try rows.next(), isWanted() {
            let id: Int64 = try row.int("id")
            if first == 0 { first = id }
            if last > 0, id != last + 1 {
                jumps += 1
                if jumps > lineages { findings.add("journal: entries \(last + 1) to \(id - 1) are missing") }
            }
            last = id
            do {
                let events = try RowEncoding.plain.events(RowEncoding.parse(codec.open(row["body"] as DatabaseValue)))
                batch.append(Commit(at: try row.int("at"), events: events.isEmpty ? [] : events))
            } catch { findings.add("journal: entry \(id) cannot be opened") }
            if batch.count >= 500 {
                try commit(batch, to: folded, &findings)
                batch = []
            }
        }
        try commit(batch, to: folded, &findings)
        return first
    }

    private func commit(_ batch: [Commit], to folded: SQLiteStore, _ findings: inout Findings) throws {
        guard !batch.isEmpty else { return }
        do { try folded.commit(batch) } catch {
            // One by one, to say which one it is.
            for one in batch {
                do { try folded.commit([one]) } catch { findings.add("journal: an entry of \(one.at) cannot follow: \(error.reason)") }
            }
        }
    }

    private static let compared: [DerivedTable] = [
        .lots, .closedEpochs, .reservations, .visits, .downLog, .counters, .reports, .bills, .payments,
    ]

    /// Every row that stands there is what the journal makes of it.
    private func compareAll(_ db: Database, _ folded: SQLiteStore, isWhole: Bool, _ findings: inout Findings) throws {
        try folded.pool.read { other in
            for table in SQLiteStore.compared where (isWhole || table.isWhole) {
                do {
                    let expected = try folded.lines(table, other)
                    try each(table, db) { name, line in
                        guard let wanted = expected[ByteKey(name)] else {
                            if isWhole {
                                findings.add(
                                    "\(table.rawValue): \(SQLiteStore.masked(name)) stands there, and the journal knows nothing of it")
                            }
                            return
                        }
                        if wanted != SQLiteStore.digest(line) {
                            findings.add("\(table.rawValue): \(SQLiteStore.masked(name)) is not what the journal makes of it")
                        }
                    }
                } catch { findings.add("\(table.rawValue): a row cannot be opened") }
            }
            guard isWhole else { return }
            let (own, made) = try (count(.ledger, db), folded.count(.ledger, other))
            if own != made { findings.add("ledger: \(own) rows, and the journal makes \(made)") }
        }
    }

    /// Every row that must be there is there.
    private func findMissing(_ db: Database, _ folded: SQLiteStore, _ findings: inout Findings, isWhole: Bool) throws {
        try folded.pool.read { other in
            for table in SQLiteStore.compared where isWhole || table.isWhole {
                guard let own = try? lines(table, db) else { continue }
                try folded.each(table, other) { name, _ in
                    if own[ByteKey(name)] == nil { findings.add("\(table.rawValue): \(SQLiteStore.masked(name)) is missing") }
                }
            }
        }
    }

    /// A counter and a list's row may name a plate.
    static func masked(_ name: String) -> String {
        name.split(separator: "|", omittingEmptySubsequences: false).map { part in
            Plate(String(part)).map { "\($0)" } ?? String(part)
        }.joined(separator: "|")
    }

    private func lines(_ table: DerivedTable, _ db: Database) throws -> [ByteKey: Int64] {
        var lines: [ByteKey: Int64] = [:]
        try each(table, db) { lines[ByteKey($0)] = SQLiteStore.digest($1) }
        return lines
    }

    private static func digest(_ line: String) -> Int64 { Signature.digest64(line, "") }

    private func count(_ table: DerivedTable, _ db: Database) throws -> Int {
        try Int.fetchOne(db, sql: "SELECT count(*) FROM \(table.rawValue)") ?? 0
    }

    private func walkReplies(_ db: Database, _ findings: inout Findings) throws {
        let rows = try GRDB.Row.fetchCursor(db, sql: "SELECT id, request_id, data, entry FROM replies")
        while let row = try rows.next() {
            do {
                _ = try codec.open(row["data"] as DatabaseValue)
                let entry: Int64 = try row.int("entry")
                if entry > 0 { _ = try events(db, entry: entry) }
            } catch { findings.add("replies: row \(row["id"] as DatabaseValue) cannot be opened") }
        }
    }

    private func walkAudit(_ db: Database, _ findings: inout Findings) throws {
        let rows = try GRDB.Row.fetchCursor(db, sql: "SELECT * FROM audit ORDER BY id")
        var last: AuditRecord?
        while let row = try rows.next() {
            let record = try audit(row)
            if let last, AuditRecord.firstBroken([last, record]) != nil {
                findings.add("audit: record \(record.id) does not follow from the one before")
            }
            last = record
        }
    }
}
