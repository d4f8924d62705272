import BerthCore
import GRDB
import GRDBSQLite

/// The statements of a batch, each looked up once.
final class Statements {
    enum Name: Int, CaseIterable, Sendable {
        case journal, upLog, reservation, down, reply, count
        case registered, policy, profile, gates, remaining, visit, notice, settle, recount, report, reportGone, bill, payment, mended

        /// Columns of the tables that every message adds to: their rows are written several at a time. 0 for other statements.
        var columns: Int {
            switch self {
            case .journal: 2
            case .count: 3
            case .down: 8
            case .reply: 9
            case .upLog: 11
            case .reservation: 10
            default: 0
            }
        }

        func sql(rows: Int) -> String {
            guard columns > 0 else { return sql }
            let row = "(" + Array(repeating: "?", count: columns).joined(separator: ",") + ")"
            let text = sql + Array(repeating: row, count: rows).joined(separator: ",")
            guard self == .reservation else { return text }
            return text + """
                 ON CONFLICT(serial) DO UPDATE SET status = excluded.status, body = excluded.body, plate_key = excluded.plate_key,
                    entry = excluded.entry, changed_at = excluded.changed_at
                """
        }

        private var sql: String {
            switch self {
            case .journal: "INSERT INTO journal(at, body) VALUES"
            case .upLog: "INSERT INTO up_log(lot, epoch, seq, request_id, service, code, reply, data, at, record_no, mended) VALUES"
            case .reservation:
                "INSERT INTO orders(serial, lot, app_id, client_key, status, body, plate_key, entry, user, changed_at) VALUES"
            case .down: "INSERT INTO down_log(lot, epoch, seq, at, order_no, service, data, entry) VALUES"
            case .reply: "INSERT INTO replies(app_id, request_id, nonce, service, data_hash, code, data, at, entry) VALUES"
            case .count: "INSERT INTO counters(key, count, max) VALUES"
            case .registered: "INSERT OR IGNORE INTO lots(lot) VALUES(?)"
            case .policy: "UPDATE lots SET policy = ? WHERE lot = ?"
            case .profile: "UPDATE lots SET profile = ? WHERE lot = ?"
            case .gates: "UPDATE lots SET gates = ? WHERE lot = ?"
            case .remaining: "UPDATE lots SET remaining = ? WHERE lot = ?"
            case .visit:
                """
                INSERT INTO visits VALUES(?,?,?,?)
                ON CONFLICT(lot, record_no) DO UPDATE SET is_open = excluded.is_open, body = excluded.body
                """
            case .notice: "INSERT INTO notices(lot, type, at, body) VALUES(?,?,?,?)"
            case .settle: "UPDATE down_log SET settled = 1 WHERE id = ?"
            case .recount:
                "UPDATE counters SET count = count + ?1, max = CASE WHEN ?1 > 0 THEN ?2 ELSE max END WHERE id = ?3"
            case .report:
                """
                INSERT INTO reports VALUES(?,?,?,?,?)
                ON CONFLICT(lot, kind, key) DO UPDATE SET at = excluded.at, body = excluded.body
                """
            case .mended: "UPDATE up_log SET mended = 1 WHERE lot = ? AND epoch = ? AND seq = ?"
            case .reportGone: "DELETE FROM reports WHERE lot = ? AND kind = ? AND key = ?"
            case .bill:
                "INSERT INTO bills VALUES(?,?,?) ON CONFLICT(key) DO UPDATE SET body = excluded.body"
            case .payment:
                """
                INSERT INTO payments VALUES(?,?,?)
                ON CONFLICT(key) DO UPDATE SET state = excluded.state, body = excluded.body
                """
            }
        }
    }

    /// Statements for 1, 2, 4, 8 and 16 rows: few of them write every number of rows.
    private static let sizes = 5
    private static let texts: [[String]] = Name.allCases.map { name in (0..<sizes).map { name.sql(rows: 1 << $0) } }
    private let db: Database
    private var prepared: [Statement?] = Array(repeating: nil, count: Name.allCases.count * sizes)

    init(_ db: Database) { self.db = db }

    func run(_ name: Name, _ numbers: [Int64]) throws {
        let pointer = try statement(name).sqliteStatement
        for (index, number) in numbers.enumerated() { sqlite3_bind_int64(pointer, Int32(index + 1), number) }
        try step(pointer)
    }

    private func statement(_ name: Name, size: Int = 0) throws -> Statement {
        let place = name.rawValue * Statements.sizes + size
        if let statement = prepared[place] { return statement }
        let statement = try db.cachedStatement(sql: Statements.texts[name.rawValue][size])
        prepared[place] = statement
        return statement
    }

    /// The values of a row, as they lie in the draft that they come from.
    struct Row {
        let values: [PreparedCommit.Value]
        var first: Int
        /// Where the draft's bytes begin.
        let base: Int
        /// The number of the commit's entry in the journal.
        let entry: Int64
    }

    /// Writes rows of one table in their order.
    /// - Parameter done: told where each one stands.
    func insert(
        _ name: Name, _ rows: [Row], _ bytes: UnsafeBufferPointer<UInt8>, _ done: (_ index: Int, _ id: Int64) -> Void
    ) throws {
        let columns = name.columns
        var at = 0
        while at < rows.count {
            let size = min(Statements.sizes - 1, Int.bitWidth - 1 - (rows.count - at).leadingZeroBitCount)
            let count = 1 << size
            let pointer = try statement(name, size: size).sqliteStatement
            for index in 0..<count { bind(pointer, rows[at + index], columns, after: index * columns, bytes) }
            try step(pointer)
            // Rows without a number get the next ones, one after the other.
            let last = db.lastInsertedRowID
            for index in 0..<count { done(at + index, last - Int64(count - 1 - index)) }
            at += count
        }
    }

    /// - Returns: how many values it took.
    func run(_ name: Name, _ row: Row, _ bytes: UnsafeBufferPointer<UInt8>) throws -> Int {
        let pointer = try statement(name).sqliteStatement
        let columns = Int(sqlite3_bind_parameter_count(pointer))
        bind(pointer, row, columns, after: 0, bytes)
        try step(pointer)
        return columns
    }

    /// The bytes stay where they are until the statement has run: no copies.
    private func bind(
        _ pointer: SQLiteStatement, _ row: Row, _ columns: Int, after: Int, _ bytes: UnsafeBufferPointer<UInt8>
    ) {
        for column in 0..<columns {
            let index = Int32(after + column + 1)
            switch row.values[row.first + column] {
            case .int(let value): sqlite3_bind_int64(pointer, index, value)
            case .entry: sqlite3_bind_int64(pointer, index, row.entry)
            case .text(let range):
                let start = UnsafeRawPointer(bytes.baseAddress! + row.base + Int(range.lowerBound)).assumingMemoryBound(to: CChar.self)
                sqlite3_bind_text(pointer, index, start, Int32(range.count), nil)
            case .blob(let range):
                sqlite3_bind_blob(pointer, index, bytes.baseAddress! + row.base + Int(range.lowerBound), Int32(range.count), nil)
            }
        }
    }

    private func step(_ pointer: SQLiteStatement) throws {
        let code = sqlite3_step(pointer)
        let message = code == SQLITE_DONE ? nil : db.lastErrorMessage
        sqlite3_reset(pointer)
        guard code == SQLITE_DONE else { throw DatabaseError(resultCode: ResultCode(rawValue: code), message: message) }
    }
}

/// Writes the commits of one transaction. Positions that many commits move are written once, at the end.
final class BatchWriter {
    private let db: Database
    private let statements: Statements
    private var up: [String: (epoch: String, ack: Int64)] = [:]
    private var downEpochs: [String: String] = [:]
    private var downAck: [String: (ack: Int64, last: Int64)] = [:]
    /// Where rows stood before this transaction, and where it put its own.
    private let known: RowIndex
    private(set) var written = RowIndex.Fresh()
    private(set) var journalId: Int64 = 0
    private(set) var transaction: Int64 = 0
    /// Digest of the last entry, as it stands in the journal.
    private(set) var entryHash = ""

    private let codec: RowEncoding

    init(db: Database, known: RowIndex, codec: RowEncoding) {
        self.db = db
        self.codec = codec
        self.known = known
        statements = Statements(db)
    }

    /// Rows of tables that grow by every message wait here, to be written several at a time.
    private var waiting: [[Statements.Row]] = Array(repeating: [], count: Statements.Name.allCases.count)
    /// Which ones they are, by their numbers in `written`.
    private var waitingDown: [(at: Int, seq: Int64)] = []
    private var waitingReplies: [Int64] = []
    private var waitingCounters: [Int] = []
    /// The highest number of a notification in this transaction.
    private var lastNotification: Int64 = 0

    func write(_ batch: [Commit]) throws {
        let contents = batch.map { $0.draft.content(of: $0, codec) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(contents.reduce(1) { $0 + $1.bytes.count })
        var rows: [Statements.Row] = []
        for content in contents {
            rows.append(Statements.Row(values: content.values, first: 0, base: bytes.count, entry: 0))
            bytes.append(contentsOf: content.bytes)
        }
        try bytes.withUnsafeBufferPointer { bytes in
            // Entries first: other rows point at them.
            let withEntry = contents.indices.filter { if case .row(.journal) = contents[$0].steps.first { true } else { false } }
            var entries: [Int64] = Array(repeating: 0, count: batch.count)
            try statements.insert(.journal, withEntry.map { rows[$0] }, bytes) { entries[withEntry[$0]] = $1 }
            if let last = withEntry.last {
                journalId = entries[last]
                entryHash = HighWaterMark.digest(contents[last].entryBytes)
            }
            for (index, content) in contents.enumerated() {
                try write(content, Statements.Row(values: content.values, first: 0, base: rows[index].base, entry: entries[index]), bytes)
                if let record = batch[index].audit { try write(record) }
                for case .report(let report) in batch[index].events where report.kind == ProviderNotification.kind {
                    lastNotification = max(lastNotification, Int64(report.key) ?? 0)
                }
            }
            for name in Statements.Name.allCases { try flush(name, bytes) }
        }
        try finish()
    }

    private func write(_ content: PreparedCommit.Content, _ origin: Statements.Row, _ bytes: UnsafeBufferPointer<UInt8>) throws {
        var row = origin
        func wait(_ name: Statements.Name, columns: Int) {
            waiting[name.rawValue].append(row)
            row.first += columns
        }
        for step in content.steps {
            switch step {
            case .row(.journal): row.first += Statements.Name.journal.columns
            case .row(.upLog): wait(.upLog, columns: Statements.Name.upLog.columns)
            case .row(.mended):
                // The dead letter may have been written just before.
                try flush(.upLog, bytes)
                row.first += try statements.run(.mended, row, bytes)
            case .row(let name): row.first += try statements.run(name, row, bytes)
            case .reservation(let key, let serial):
                wait(.reservation, columns: Statements.Name.reservation.columns)
                written.reservations.append((key, serial))
            case .down(let log, let seq):
                let at: Int
                // The database's own word that a position is given once: the next one and no other.
                if let known = written.downAt[log] {
                    at = known
                    try check(log, seq, follows: written.down[at].run.next)
                } else {
                    if let run = known.down[log] { try check(log, seq, follows: run.next) }
                    at = written.add(log, from: seq)
                }
                wait(.down, columns: Statements.Name.down.columns)
                waitingDown.append((at, seq))
                written.down[at].run.set(seq, 0)
                if seq == 1 { downEpochs[log.lot] = log.epoch }
            case .reply(let key):
                wait(.reply, columns: Statements.Name.reply.columns)
                waitingReplies.append(key)
            case .counted(let key, let delta, let max):
                if let at = written.counterAt[key] {
                    if written.counters[at].row == 0 { try flush(.count, bytes) }
                    try statements.run(.recount, [Int64(delta), Int64(max), written.counters[at].row])
                    row.first += Statements.Name.count.columns
                } else if let place = known.counters[key] {
                    try statements.run(.recount, [Int64(delta), Int64(max), place])
                    row.first += Statements.Name.count.columns
                } else {
                    wait(.count, columns: Statements.Name.count.columns)
                    waitingCounters.append(written.counters.count)
                    written.add(counter: key)
                }
            case .event(let event):
                // The settled entry may have been written just before.
                try flush(.down, bytes)
                try write(event)
            }
        }
    }

    private func check(_ log: RowIndex.LogName, _ seq: Int64, follows next: Int64) throws {
        guard seq == next else { throw StoreError.claimRefused("down log \(log.lot) \(log.epoch): \(seq) after \(next - 1)") }
    }

    private func flush(_ name: Statements.Name, _ bytes: UnsafeBufferPointer<UInt8>) throws {
        guard !waiting[name.rawValue].isEmpty else { return }
        let rows = waiting[name.rawValue]
        waiting[name.rawValue] = []
        try statements.insert(name, rows, bytes) { index, id in
            switch name {
            case .down: written.down[waitingDown[index].at].run.set(waitingDown[index].seq, id)
            case .reply: written.replies.append((waitingReplies[index], id))
            case .count: written.counters[waitingCounters[index]].row = id
            default: break
            }
        }
        switch name {
        case .down: waitingDown.removeAll()
        case .reply: waitingReplies.removeAll()
        case .count: waitingCounters.removeAll()
        default: break
        }
    }

    /// Links a record to the chain; here, where records come one after the other.
    private func write(_ record: AuditRecord) throws {
        let (id, hash) = written.auditId > 0 ? (written.auditId, written.auditHash) : (known.auditId, known.auditHash)
        var record = record
        record.id = id + 1
        record.hash = record.hash(after: hash)
        try run(
            "INSERT INTO audit VALUES(?,?,?,?,?,?,?)",
            [record.id, record.at, record.actor, record.action, record.target, record.detail, record.hash])
        (written.auditId, written.auditHash) = (record.id, record.hash)
    }

    private func write(_ event: Event) throws {
        switch event {
        case .downSettled(let lot, let epoch, let ackSeq, let results):
            let log = RowIndex.LogName(lot: lot, epoch: epoch)
            let fresh = written.downAt[log].map { written.down[$0].run }
            for result in results {
                guard let row = fresh?.row(result.seq) ?? known.down[log]?.row(result.seq) else { continue }
                try statements.run(.settle, [row])
            }
            let last = (fresh?.next ?? known.down[log]?.next ?? 1) - 1
            downAck[lot] = (ackSeq, last)
        case .upConsumed(let lot, let epoch, let seq):
            if seq == 1 { try closeEpoch(before: epoch, of: lot) }
            up[lot] = (epoch, seq)
        case .posting(let posting):
            for leg in posting.legs {
                try run(
                    "INSERT INTO ledger(at, kind, ref, account, fen) VALUES(?,?,?,?,?)",
                    [posting.at, posting.kind.rawValue, posting.reference, leg.account.text, leg.fen])
            }
        default: preconditionFailure("a step of its own")
        }
    }

    /// A mark only ever rises.
    private func keep(_ mark: String, _ value: Int64) throws {
        try run(
            "INSERT INTO marks VALUES(?,?) ON CONFLICT(name) DO UPDATE SET value = max(value, excluded.value)", [mark, value])
    }

    private func run(_ sql: String, _ arguments: StatementArguments) throws {
        try db.cachedStatement(sql: sql).execute(arguments: arguments)
    }

    private func closeEpoch(before epoch: String, of lot: String) throws {
        let open = try up[lot]?.epoch ?? String.fetchOne(db, sql: "SELECT up_epoch FROM positions WHERE lot = ?", arguments: [lot])
        guard let open, open != epoch else { return }
        try run("INSERT OR IGNORE INTO closed_epochs VALUES(?,?)", [lot, open])
    }

    private func finish() throws {
        if lastNotification > 0 { try keep("tiding", lastNotification) }
        // Every transaction has a number, so that a database that has lost its last ones is noticed.
        transaction = try (Int64.fetchOne(db.cachedStatement(sql: "SELECT value FROM marks WHERE name = 'commit'")) ?? 0) + 1
        try keep("commit", transaction)
        for (lot, position) in up {
            try run(
                """
                INSERT INTO positions(lot, up_epoch, up_ack) VALUES(?,?,?)
                ON CONFLICT(lot) DO UPDATE SET up_epoch = excluded.up_epoch, up_ack = excluded.up_ack
                """, [lot, position.epoch, position.ack])
        }
        // How far a down log goes its rows say; the column says it of those that are pruned.
        for (lot, epoch) in downEpochs {
            try run(
                """
                INSERT INTO positions(lot, down_epoch, down_last) VALUES(?,?,0)
                ON CONFLICT(lot) DO UPDATE SET down_epoch = excluded.down_epoch, down_last = 0, down_ack = 0
                """, [lot, epoch])
        }
        for (lot, position) in downAck {
            try run("UPDATE positions SET down_last = max(down_last, ?), down_ack = ? WHERE lot = ?", [position.last, position.ack, lot])
        }
    }
}
