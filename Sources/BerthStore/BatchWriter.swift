import BerthCore
import GRDB
import GRDBSQLite

/// The statements of a batch, each looked up once.
final class Statements {
    enum Name: Int, CaseIterable, Sendable {
        case journal, upLog, registered, policy, profile, gates, remaining, order, visit, notice, down, reply
        case settle, recount, count, report, reportGone, bill, payment

        var sql: String {
            switch self {
            case .journal: "INSERT INTO journal(at, body) VALUES(?,?)"
            case .upLog: "INSERT INTO up_log VALUES(?,?,?,?,?,?,?,?,?)"
            case .registered: "INSERT OR IGNORE INTO lots(lot) VALUES(?)"
            case .policy: "UPDATE lots SET policy = ? WHERE lot = ?"
            case .profile: "UPDATE lots SET profile = ? WHERE lot = ?"
            case .gates: "UPDATE lots SET gates = ? WHERE lot = ?"
            case .remaining: "UPDATE lots SET remaining = ? WHERE lot = ?"
            case .order:
                """
                INSERT INTO orders(serial, lot, app_id, client_key, status, body, plate_key, entry, user, changed_at)
                VALUES(?,?,?,?,?,?,?,?,?,?)
                ON CONFLICT(serial) DO UPDATE SET status = excluded.status, body = excluded.body, plate_key = excluded.plate_key,
                    entry = excluded.entry, changed_at = excluded.changed_at
                """
            case .visit:
                """
                INSERT INTO visits VALUES(?,?,?,?)
                ON CONFLICT(lot, record_no) DO UPDATE SET is_open = excluded.is_open, body = excluded.body
                """
            case .notice: "INSERT INTO notices(lot, type, at, body) VALUES(?,?,?,?)"
            case .down: "INSERT INTO down_log(lot, epoch, seq, at, order_no, service, data, entry) VALUES(?,?,?,?,?,?,?,?)"
            case .reply:
                "INSERT INTO replies(app_id, request_id, nonce, service, data_hash, code, data, at, entry) VALUES(?,?,?,?,?,?,?,?,?)"
            case .settle: "UPDATE down_log SET settled = 1 WHERE id = ?"
            case .recount:
                "UPDATE counters SET count = count + ?1, max = CASE WHEN ?1 > 0 THEN ?2 ELSE max END WHERE id = ?3"
            case .report:
                """
                INSERT INTO reports VALUES(?,?,?,?,?)
                ON CONFLICT(lot, kind, key) DO UPDATE SET at = excluded.at, body = excluded.body
                """
            case .reportGone: "DELETE FROM reports WHERE lot = ? AND kind = ? AND key = ?"
            case .bill:
                "INSERT INTO bills VALUES(?,?,?) ON CONFLICT(bill_no) DO UPDATE SET body = excluded.body"
            case .payment:
                """
                INSERT INTO payments VALUES(?,?,?)
                ON CONFLICT(pay_no) DO UPDATE SET state = excluded.state, body = excluded.body
                """
            case .count: "INSERT INTO counters(key, count, max) VALUES(?,?,?)"
            }
        }
    }

    private let db: Database
    private var prepared: [Statement?] = Array(repeating: nil, count: Name.allCases.count)

    init(_ db: Database) { self.db = db }

    func run(_ name: Name, _ numbers: [Int64]) throws {
        let pointer = try statement(name).sqliteStatement
        for (index, number) in numbers.enumerated() { sqlite3_bind_int64(pointer, Int32(index + 1), number) }
        try step(pointer)
    }

    private func statement(_ name: Name) throws -> Statement {
        if let statement = prepared[name.rawValue] { return statement }
        let statement = try db.cachedStatement(sql: name.sql)
        prepared[name.rawValue] = statement
        return statement
    }

    /// Binds the next values of a draft as they lie there, and runs.
    /// - Parameter at: the first of the values; the one behind the last afterwards.
    func run(
        _ name: Name, _ values: [Draft.Value], _ at: inout Int, _ bytes: UnsafeBufferPointer<UInt8>, entry: Int64
    ) throws {
        let pointer = try statement(name).sqliteStatement
        let count = sqlite3_bind_parameter_count(pointer)
        for index in 1...count {
            // The bytes stay where they are until the statement has run: no copies.
            switch values[at] {
            case .int(let value): sqlite3_bind_int64(pointer, index, value)
            case .entry: sqlite3_bind_int64(pointer, index, entry)
            case .text(let range):
                let start = UnsafeRawPointer(bytes.baseAddress! + Int(range.lowerBound)).assumingMemoryBound(to: CChar.self)
                sqlite3_bind_text(pointer, index, start, Int32(range.count), nil)
            case .blob(let range):
                sqlite3_bind_blob(pointer, index, bytes.baseAddress! + Int(range.lowerBound), Int32(range.count), nil)
            }
            at += 1
        }
        try step(pointer)
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
    private let known: Places
    private(set) var written = Places.Fresh()
    private(set) var journalId: Int64 = 0

    private let codec: Codec

    init(db: Database, known: Places, codec: Codec) {
        self.db = db
        self.codec = codec
        self.known = known
        statements = Statements(db)
    }

    func write(_ commit: Commit) throws {
        let content = commit.draft.content(of: commit, codec)
        try content.bytes.withUnsafeBufferPointer { bytes in
            var at = 0
            func run(_ name: Statements.Name) throws { try statements.run(name, content.values, &at, bytes, entry: journalId) }
            for step in content.steps {
                switch step {
                case .row(let name):
                    try run(name)
                    if name == .journal { journalId = db.lastInsertedRowID }
                case .order(let key, let serial):
                    try run(.order)
                    written.orders.append((key, serial))
                case .down(let log, let seq):
                    // The database's own word that a position is given once: the next one and no other.
                    if let next = written.down[log]?.next ?? known.down[log]?.next, next != seq {
                        throw StoreError.claimRefused("down log \(log.lot) \(log.epoch): \(seq) after \(next - 1)")
                    }
                    try run(.down)
                    written.down[log, default: Places.Run(first: seq)].set(seq, db.lastInsertedRowID)
                    if seq == 1 { downEpochs[log.lot] = log.epoch }
                case .reply(let key):
                    try run(.reply)
                    written.replies.append((key, db.lastInsertedRowID))
                case .counted(let key, let delta, let max):
                    if let row = written.counters[key] ?? known.counters[key] {
                        at += 3
                        try statements.run(.recount, [Int64(delta), Int64(max), row])
                    } else {
                        try run(.count)
                        written.counters[key] = db.lastInsertedRowID
                    }
                case .event(let event): try write(event)
                }
            }
        }
        if let record = commit.audit { try write(record) }
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
            let log = Places.LogName(lot: lot, epoch: epoch)
            for result in results {
                guard let row = written.down[log]?.row(result.seq) ?? known.down[log]?.row(result.seq) else { continue }
                try statements.run(.settle, [row])
            }
            let last = (written.down[log]?.next ?? known.down[log]?.next ?? 1) - 1
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

    private func run(_ sql: String, _ arguments: StatementArguments) throws {
        try db.cachedStatement(sql: sql).execute(arguments: arguments)
    }

    private func closeEpoch(before epoch: String, of lot: String) throws {
        let open = try up[lot]?.epoch ?? String.fetchOne(db, sql: "SELECT up_epoch FROM positions WHERE lot = ?", arguments: [lot])
        guard let open, open != epoch else { return }
        try run("INSERT OR IGNORE INTO closed_epochs VALUES(?,?)", [lot, open])
    }

    func finish() throws {
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
                ON CONFLICT(lot) DO UPDATE SET down_epoch = excluded.down_epoch, down_last = 0
                """, [lot, epoch])
        }
        for (lot, position) in downAck {
            try run("UPDATE positions SET down_last = max(down_last, ?), down_ack = ? WHERE lot = ?", [position.last, position.ack, lot])
        }
    }
}

extension LotMessage {
    /// The order that a message is about.
    var orderNo: String {
        switch self {
        case .reserve(let order), .modify(let order): order.orderNo
        case .cancel(let orderNo, _, _): orderNo
        case .relay, .authorise, .revoke, .flow: ""
        }
    }
}
