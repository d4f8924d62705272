public import BerthCore
import BerthWire
import Foundation

// Every row is what the journal makes of it.
extension PostgresStore {
    /// The rows of a table, unsealed, each with its name.
    func each(_ table: DerivedTable, _ connection: PostgresConnection, _ body: (_ name: String, _ line: String) throws -> Void) throws {
        try connection.each(PostgresStore.sql(table)) { row in
            func columns(_ range: Range<Int>) throws -> String {
                try range.map { try row.optionalText($0) ?? "NULL" }.joined(separator: "|")
            }
            switch table {
            case .lots: try body(row.text(0), columns(0..<5))
            case .positions: try body(row.text(0), columns(0..<6))
            case .closedEpochs: try body(columns(0..<2), columns(0..<2))
            case .notices: try body(columns(0..<4), columns(0..<4))
            case .ledger: try body(columns(0..<5), columns(0..<5))
            case .bills, .payments: try body(row.text(0), columns(0..<3))
            case .reservations:
                let text = RowEncoding.plain.text(try reservation(connection, row)).string
                let serial = "\(try row.int(0) as Int64)"
                try body(serial, "\(serial)|\(try columns(3..<7))|\(text)")
            case .visits:
                let text = RowEncoding.plain.encode(try codec.visit(RowEncoding.parse(row.text(3)))).string
                try body(columns(0..<2), "\(try columns(0..<3))|\(text)")
            case .downLog:
                let down = try down(connection, row)
                let name = "\(try columns(0..<2))|\(down.seq)"
                try body(name, "\(name)|\(down.at)|\(try row.text(7))|\(down.service)|\(down.data)|\(try row.text(8))")
            case .counters:
                let name = try counterName(row, 0)
                try body(name, "\(name)|\(try row.text(1))")
            case .reports:
                let kept = try report(row)
                let name = "\(kept.parkCode)|\(kept.kind)|\(kept.key)"
                try body(name, "\(name)|\(kept.at)|\(kept.body)")
            }
        }
    }

    /// Numbers that only stand in a line come as texts.
    private static func sql(_ table: DerivedTable) -> String {
        switch table {
        case .lots: "SELECT lot, policy, profile, gates, remaining FROM lots ORDER BY lot"
        case .positions: "SELECT lot, up_epoch, up_ack::text, down_epoch, down_last::text, down_ack::text FROM positions ORDER BY lot"
        case .closedEpochs: "SELECT lot, epoch FROM closed_epochs ORDER BY lot, epoch"
        case .reservations: "SELECT \(orderColumns), lot, app_id, client_key::text, status::text FROM orders ORDER BY serial"
        case .visits: "SELECT lot, record_no, is_open::int::text, body FROM visits ORDER BY lot, record_no"
        case .downLog: "SELECT \(downColumns), order_no, settled::int::text FROM down_log ORDER BY lot, epoch, seq"
        case .counters: "SELECT name, count::text FROM counters WHERE count <> 0"
        case .notices: "SELECT lot, type::text, at::text, body FROM notices ORDER BY id"
        case .reports: "SELECT lot, kind, key, at, body FROM reports ORDER BY lot, kind, key"
        case .bills: "SELECT key, expire_at::text, body FROM bills ORDER BY key"
        case .payments: "SELECT key, state::text, body FROM payments ORDER BY key"
        case .ledger: "SELECT at::text, kind, ref, account, fen::text FROM ledger ORDER BY id"
        }
    }

    /// The derived rows as they are when nothing is sealed.
    public func dump() throws(StoreError) -> [String] {
        try snapshot { connection in
            var lines: [String] = []
            for table in DerivedTable.allCases {
                var own: [String] = []
                try each(table, connection) { _, line in own.append(line) }
                lines += table.isSorted ? own : own.sorted()
            }
            return lines
        }
    }

    /// Opens every entry of the journal, makes the derived rows again from it in a SQLite database beside, and compares; adds up ledger and
    /// balances, opens the kept replies, and walks the audit chain.
    public func verify(_ retention: Retention, now: Millis, isWanted: () -> Bool) throws(StoreError) -> [String] {
        var template = Array((FileManager.default.temporaryDirectory.path + "/berth-verify-XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else { throw .unavailable("no folder for the copy: \(String(cString: strerror(errno)))") }
        let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let folded = try SQLiteStore(path: folder + "/berth.db", vault: codec.vault)
        defer { folded.close() }
        return try snapshot { connection in
            var findings: [String] = []
            func add(_ line: String) { if findings.count < 100 { findings.append(line) } }
            let first = try fold(connection, into: folded, add, isWanted)
            guard isWanted() else { return findings }
            if first <= 1 { try compare(connection, folded, retention, now: now, add) }
            let row = try connection.query(
                """
                SELECT coalesce(sum(fen), 0)::bigint, (SELECT count(*) FROM balances b WHERE b.fen <>
                    coalesce((SELECT sum(fen) FROM ledger l WHERE l.account = b.account), 0)) FROM balances
                """
            ).first
            if let row {
                let (sum, wrong): (Int64, Int64) = (try row.int(0), try row.int(1))
                if sum != 0 { add("ledger: all accounts together come to \(sum) fen and not to 0") }
                if wrong > 0, first <= 1 { add("ledger: \(wrong) accounts have another balance than their rows make") }
            }
            try connection.each("SELECT data, request_id FROM replies") { row in
                if (try? codec.open(row.bytes(0))) == nil { add("replies: \(try row.text(1)) cannot be opened") }
            }
            try walkAudit(connection) { add("audit: record \($0) does not follow from the one before") }
            return findings
        }
    }

    private func walkAudit(_ connection: PostgresConnection, _ broken: (Int64) -> Void) throws {
        var last: AuditRecord?
        try connection.each("SELECT id, at, actor, action, target, detail, hash FROM audit ORDER BY id") { row in
            let record = try audit(row)
            if let last, AuditRecord.firstBroken([last, record]) != nil { broken(record.id) }
            last = record
        }
    }

    /// The number of the first audit record that does not follow from the one before; nil where the chain is whole.
    func brokenAudit() throws(StoreError) -> Int64? {
        try snapshot { connection in
            var first: Int64?
            try walkAudit(connection) { if first == nil { first = $0 } }
            return first
        }
    }

    /// - Returns: the number of the first entry.
    private func fold(
        _ connection: PostgresConnection, into folded: SQLiteStore, _ add: (String) -> Void, _ isWanted: () -> Bool
    ) throws -> Int64 {
        var (first, last): (Int64, Int64) = (0, 0)
        while isWanted() {
            let rows = try connection.query("SELECT id, at, body FROM journal WHERE id > $1 ORDER BY id LIMIT 500", [.int(last)]).rows
            guard !rows.isEmpty else { break }
            var batch: [Commit] = []
            for row in rows {
                let id: Int64 = try row.int(0)
                if first == 0 { first = id }
                if last > 0, id != last + 1 { add("journal: entries \(last + 1) to \(id - 1) are missing") }
                last = id
                do {
                    let events = try events(row, 2)
                    if !events.isEmpty { batch.append(Commit(at: try row.int(1), events: events)) }
                } catch { add("journal: entry \(id) cannot be opened") }
            }
            // One entry that cannot follow is named, and its neighbours follow.
            do { try folded.commit(batch) } catch {
                for commit in batch {
                    do { try folded.commit([commit]) } catch { add("journal: an entry up to \(last) cannot follow: \(error.reason)") }
                }
            }
        }
        return first
    }

    private func compare(
        _ connection: PostgresConnection, _ folded: SQLiteStore, _ retention: Retention, now: Millis, _ add: (String) -> Void
    ) throws {
        let tables: [DerivedTable] = [.lots, .closedEpochs, .reservations, .visits, .downLog, .counters, .reports, .bills, .payments]
        func made(_ table: DerivedTable) throws -> [ByteKey: Int64] {
            var lines: [ByteKey: Int64] = [:]
            try folded.pool.read { db in try folded.each(table, db) { lines[ByteKey($0)] = Signature.digest64($1, "") } }
            return lines
        }
        var standing: [DerivedTable: Set<ByteKey>] = [:]
        for table in tables {
            let expected = try made(table)
            try each(table, connection) { name, line in
                standing[table, default: []].insert(ByteKey(name))
                guard let wanted = expected[ByteKey(name)] else {
                    return add("\(table.rawValue): \(SQLiteStore.masked(name)) stands there, and the journal knows nothing of it")
                }
                if wanted != Signature.digest64(line, "") {
                    add("\(table.rawValue): \(SQLiteStore.masked(name)) is not what the journal makes of it")
                }
            }
        }
        // A row past its time need not be there.
        try folded.prune(retention, now: now)
        try folded.retire(retention, now: now)
        for table in tables {
            for name in try made(table).keys where standing[table]?.contains(name) != true {
                add("\(table.rawValue): \(SQLiteStore.masked(name.text)) is missing")
            }
        }
    }
}
