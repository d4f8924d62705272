import BerthCore
import BerthWire
import GRDB
import Synchronization

/// What a commit writes, made ready by the thread that decided it: the one thread that commits only binds and steps.
/// Whoever comes first makes it, once.
final class Draft: Sendable {
    enum Step: Sendable {
        case row(Statements.Name, StatementArguments)
        case order(key: Int64, serial: Int64, StatementArguments)
        case down(Places.LogName, seq: Int64, StatementArguments)
        case reply(key: Int64, StatementArguments)
        /// Depends on what stands in the tables.
        case event(Event)
    }

    private let made = Mutex<[Step]?>(nil)

    func steps(of commit: Commit, _ codec: Codec) -> [Step] {
        made.withLock { made in
            if let made { return made }
            let steps = Draft.make(commit, codec)
            made = steps
            return steps
        }
    }

    private static func make(_ commit: Commit, _ codec: Codec) -> [Step] {
        var steps: [Step] = []
        var encoded: [String: String] = [:]
        if !commit.events.isEmpty {
            let journal = codec.journal(commit.events)
            encoded = journal.orders
            steps.append(.row(.journal, [commit.at, journal.text]))
        }
        for event in commit.events { steps.append(step(event, encoded: encoded, codec)) }
        for result in commit.up {
            steps.append(
                .row(
                    .upLog,
                    [
                        result.parkCode, result.epoch, result.seq, result.requestId, result.service, result.code,
                        result.reply, codec.column(result.data), result.at,
                    ]))
        }
        if let reply = commit.reply {
            steps.append(
                .reply(
                    key: Signature.digest64(reply.appId, reply.requestId),
                    [
                        reply.appId, reply.requestId, reply.nonce, reply.service, reply.dataHash, reply.code, codec.column(reply.data),
                        reply.at,
                    ]))
        }
        return steps
    }

    private static func step(_ event: Event, encoded: [String: String], _ codec: Codec) -> Step {
        switch event {
        case .registered(let lot): return .row(.registered, [lot])
        case .policy(let lot, let policy): return .row(.policy, [Codec.encode(policy).string, lot])
        case .lot(let profile): return .row(.profile, [Codec.encode(profile).string, profile.parkCode])
        case .gates(let lot, let gates): return .row(.gates, [Codec.encode(gates).string, lot])
        case .remaining(let lot, let remaining): return .row(.remaining, [Codec.encode(remaining).string, lot])
        case .order(let order):
            let key = Signature.digest64(order.appId, order.clientOrderNo)
            return .order(
                key: key, serial: order.serial,
                [
                    order.serial, order.parkCode, order.appId, key, order.status.rawValue, encoded[order.orderNo]!,
                    codec.plateKey(order.plate),
                ])
        case .visit(let visit):
            return .row(
                .visit, [visit.parkCode, visit.recordNo, visit.leaveTime == nil, codec.encode(visit).string])
        case .notice(let notice):
            return .row(
                .notice, [notice.parkCode, notice.eventType, notice.occurredAt, Codec.encode(notice).string])
        case .down(let entry):
            let (service, data) = Encode.lotMessage(entry.message)
            return .down(
                Places.LogName(lot: entry.parkCode, epoch: entry.epoch), seq: entry.seq,
                [entry.parkCode, entry.epoch, entry.seq, entry.at, entry.message.orderNo, service, codec.column(data.string)])
        case .report(let report):
            return report.isGone
                ? .row(.reportGone, [report.parkCode, report.kind, codec.name(report.key)])
                : .row(.report, [report.parkCode, report.kind, codec.name(report.key), report.at, codec.body(of: report)])
        case .bill(let bill): return .row(.bill, [bill.billNo, bill.expireAt, Codec.encode(bill).string])
        case .payment(let payment):
            return .row(.payment, [payment.payNo, payment.state.rawValue, Codec.encode(payment).string])
        case .entity(let entity):
            let report = Codec.row(entity)
            return .row(.report, [report.parkCode, report.kind, codec.name(report.key), report.at, codec.body(of: report)])
        case .posting, .downSettled, .upConsumed, .counted: return .event(event)
        }
    }
}

/// The statements of a batch, each looked up once.
final class Statements {
    enum Name: Int, CaseIterable, Sendable {
        case journal, upLog, registered, policy, profile, gates, remaining, order, visit, notice, down, reply
        case settle, recount, count, report, reportGone, bill, payment, ledger

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
                INSERT INTO orders VALUES(?,?,?,?,?,?,?)
                ON CONFLICT(serial) DO UPDATE SET status = excluded.status, body = excluded.body, plate_key = excluded.plate_key
                """
            case .visit:
                """
                INSERT INTO visits VALUES(?,?,?,?)
                ON CONFLICT(lot, record_no) DO UPDATE SET is_open = excluded.is_open, body = excluded.body
                """
            case .notice: "INSERT INTO notices(lot, type, at, body) VALUES(?,?,?,?)"
            case .down: "INSERT INTO down_log(lot, epoch, seq, at, order_no, service, data) VALUES(?,?,?,?,?,?,?)"
            case .reply:
                "INSERT INTO replies(app_id, request_id, nonce, service, data_hash, code, data, at) VALUES(?,?,?,?,?,?,?,?)"
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
            case .ledger: "INSERT INTO ledger(at, kind, ref, account, fen) VALUES(?,?,?,?,?)"
            case .count: "INSERT INTO counters(key, count, max) VALUES(?,?,?)"
            }
        }
    }

    private let db: Database
    private var prepared: [Statement?] = Array(repeating: nil, count: Name.allCases.count)

    init(_ db: Database) { self.db = db }

    func run(_ name: Name, _ arguments: StatementArguments) throws {
        if prepared[name.rawValue] == nil { prepared[name.rawValue] = try db.cachedStatement(sql: name.sql) }
        try prepared[name.rawValue]!.execute(arguments: arguments)
    }
}

/// Writes the commits of one transaction. Positions that many commits move are written once, at the end.
final class BatchWriter {
    private let db: Database
    private let statements: Statements
    private var up: [String: (epoch: String, ack: Int64)] = [:]
    private var downLast: [String: (epoch: String, last: Int64)] = [:]
    private var downAck: [String: Int64] = [:]
    /// Where rows stood before this transaction, and where it put its own.
    private let known: Places
    private(set) var written = Places()
    private(set) var journalId: Int64 = 0

    private let codec: Codec

    init(db: Database, known: Places, codec: Codec) {
        self.db = db
        self.codec = codec
        self.known = known
        statements = Statements(db)
    }

    func write(_ commit: Commit) throws {
        for step in commit.draft.steps(of: commit, codec) {
            switch step {
            case .row(let name, let arguments):
                try statements.run(name, arguments)
                if name == .journal { journalId = db.lastInsertedRowID }
            case .order(let key, let serial, let arguments):
                written.orders[key] = serial
                try statements.run(.order, arguments)
            case .down(let log, let seq, let arguments):
                // The database's own word that a position is given once: the next one and no other.
                if let next = written.down[log]?.next ?? known.down[log]?.next, next != seq {
                    throw StoreError.claimRefused("down log \(log.lot) \(log.epoch): \(seq) after \(next - 1)")
                }
                try statements.run(.down, arguments)
                written.down[log, default: Places.Run(first: seq)].set(seq, db.lastInsertedRowID)
                downLast[log.lot] = (log.epoch, seq)
            case .reply(let key, let arguments):
                try statements.run(.reply, arguments)
                written.replies[key] = db.lastInsertedRowID
            case .event(let event): try write(event)
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
            downAck[lot] = ackSeq
        case .upConsumed(let lot, let epoch, let seq):
            if seq == 1 { try closeEpoch(before: epoch, of: lot) }
            up[lot] = (epoch, seq)
        case .posting(let posting):
            for leg in posting.legs {
                try statements.run(.ledger, [posting.at, posting.kind.rawValue, posting.reference, leg.account.text, leg.fen])
            }
        case .counted(let key, let delta, let max):
            if let row = written.counters[key] ?? known.counters[key] {
                try statements.run(.recount, [delta, max, row])
            } else {
                try statements.run(.count, [codec.counterKey(key), delta, max])
                written.counters[key] = db.lastInsertedRowID
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
        for (lot, position) in downLast {
            try run(
                """
                INSERT INTO positions(lot, down_epoch, down_last) VALUES(?,?,?)
                ON CONFLICT(lot) DO UPDATE SET down_epoch = excluded.down_epoch, down_last = excluded.down_last
                """, [lot, position.epoch, position.last])
        }
        for (lot, ack) in downAck { try run("UPDATE positions SET down_ack = ? WHERE lot = ?", [ack, lot]) }
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
