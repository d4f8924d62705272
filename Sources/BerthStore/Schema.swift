import BerthCore
import BerthWire
import GRDB

/// Tables of the embedded store. A shipped migration is never edited.
enum Schema {
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1 first light") { db in
            try db.execute(
                sql: """
                    -- What happened, in order; every other table but replies, up_log and credentials can be made from it.
                    CREATE TABLE journal(id INTEGER PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL);
                    CREATE TABLE lots(lot TEXT PRIMARY KEY, policy TEXT, profile TEXT, gates TEXT, remaining TEXT)
                        WITHOUT ROWID;
                    CREATE TABLE positions(lot TEXT PRIMARY KEY, up_epoch TEXT, up_ack INTEGER NOT NULL DEFAULT 0,
                        down_epoch TEXT, down_last INTEGER NOT NULL DEFAULT 0, down_ack INTEGER NOT NULL DEFAULT 0,
                        CHECK(down_ack <= down_last)) WITHOUT ROWID;
                    CREATE TABLE closed_epochs(lot TEXT, epoch TEXT, PRIMARY KEY(lot, epoch)) WITHOUT ROWID;
                    CREATE TABLE orders(serial INTEGER PRIMARY KEY, lot TEXT NOT NULL, app_id TEXT NOT NULL,
                        client_key INTEGER NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL);
                    CREATE INDEX orders_app ON orders(app_id, serial);
                    CREATE INDEX orders_active ON orders(status) WHERE status < 3;
                    CREATE TABLE visits(lot TEXT, record_no TEXT, is_open INTEGER NOT NULL, body TEXT NOT NULL,
                        PRIMARY KEY(lot, record_no)) WITHOUT ROWID;
                    CREATE INDEX visits_open ON visits(is_open) WHERE is_open = 1;
                    CREATE TABLE down_log(lot TEXT, epoch TEXT, seq INTEGER, at INTEGER NOT NULL, order_no TEXT NOT NULL,
                        service TEXT NOT NULL, data TEXT NOT NULL, settled INTEGER NOT NULL DEFAULT 0,
                        PRIMARY KEY(lot, epoch, seq)) WITHOUT ROWID;
                    CREATE INDEX down_log_open ON down_log(lot) WHERE settled = 0;
                    CREATE TABLE up_log(lot TEXT, epoch TEXT, seq INTEGER, request_id TEXT NOT NULL,
                        service TEXT NOT NULL, code INTEGER NOT NULL, reply TEXT NOT NULL, data TEXT NOT NULL,
                        at INTEGER NOT NULL, PRIMARY KEY(lot, epoch, seq)) WITHOUT ROWID;
                    CREATE INDEX up_log_dead ON up_log(lot, at) WHERE code <> 0;
                    -- No index on random keys: each would cost a page of its own for every booking. The store keeps digests in memory.
                    CREATE TABLE replies(id INTEGER PRIMARY KEY, app_id TEXT NOT NULL, request_id TEXT NOT NULL,
                        nonce TEXT NOT NULL, service TEXT NOT NULL, data_hash TEXT NOT NULL, code INTEGER NOT NULL,
                        data TEXT NOT NULL, at INTEGER NOT NULL);
                    -- Claims on what one lot cannot see; the check is the database's own word that a limit holds.
                    CREATE TABLE counters(key TEXT PRIMARY KEY, count INTEGER NOT NULL, max INTEGER NOT NULL,
                        CHECK(count <= max)) WITHOUT ROWID;
                    CREATE TABLE notices(id INTEGER PRIMARY KEY, lot TEXT NOT NULL, type INTEGER NOT NULL,
                        at INTEGER NOT NULL, body TEXT NOT NULL);
                    CREATE TABLE credentials(app_id TEXT PRIMARY KEY, secret TEXT NOT NULL, role TEXT NOT NULL,
                        name TEXT NOT NULL, enabled INTEGER NOT NULL, rate INTEGER NOT NULL, burst INTEGER NOT NULL)
                        WITHOUT ROWID;
                    CREATE TABLE credential_lots(app_id TEXT, lot TEXT, PRIMARY KEY(app_id, lot)) WITHOUT ROWID;
                    """)
        }
        return migrator
    }

    /// The tables that the journal must be able to make again.
    static let derivedQueries = [
        "SELECT lot, policy, profile, gates, remaining FROM lots ORDER BY lot",
        "SELECT lot, up_epoch, up_ack, down_epoch, down_last, down_ack FROM positions ORDER BY lot",
        "SELECT lot, epoch FROM closed_epochs ORDER BY lot, epoch",
        "SELECT serial, lot, app_id, client_key, status, body FROM orders ORDER BY serial",
        "SELECT lot, record_no, is_open, body FROM visits ORDER BY lot, record_no",
        "SELECT lot, epoch, seq, at, order_no, service, data, settled FROM down_log ORDER BY lot, epoch, seq",
        "SELECT key, count FROM counters WHERE count <> 0 ORDER BY key",
        "SELECT lot, type, at, body FROM notices ORDER BY id",
    ]
}

/// Writes the commits of one transaction. Positions that many commits move are written once, at the end.
final class BatchWriter {
    private let db: Database
    private var up: [String: (epoch: String, ack: Int64)] = [:]
    private var downLast: [String: (epoch: String, last: Int64)] = [:]
    private var downAck: [String: Int64] = [:]
    /// Where the orders and replies written can be found: digest of their key → key of the row.
    private(set) var clientKeys: [Int64: Int64] = [:]
    private(set) var replyKeys: [Int64: Int64] = [:]

    init(db: Database) { self.db = db }

    private func run(_ sql: String, _ arguments: StatementArguments) throws {
        let statement = try db.cachedStatement(sql: sql)
        try statement.execute(arguments: arguments)
    }

    func write(_ commit: Commit) throws {
        // An order is encoded once, for its row and for the journal; its last value in the commit is the one of the row.
        var encoded: [String: String] = [:]
        if !commit.events.isEmpty {
            var body = "["
            for event in commit.events {
                if body.utf8.count > 1 { body += "," }
                if case .order(let order) = event {
                    let text = Codec.text(order)
                    encoded[order.orderNo] = text
                    body += "[\"order\","
                    body += text
                    body += "]"
                } else {
                    body += Codec.encode(event).string
                }
            }
            body += "]"
            try run("INSERT INTO journal(at, body) VALUES(?,?)", [commit.at, body])
        }
        for event in commit.events { try write(event, encoded: encoded) }
        for result in commit.up {
            try run(
                "INSERT INTO up_log VALUES(?,?,?,?,?,?,?,?,?)",
                [
                    result.parkCode, result.epoch, result.seq, result.requestId, result.service, result.code,
                    result.reply, result.data, result.at,
                ])
        }
        if let reply = commit.reply {
            try run(
                "INSERT INTO replies(app_id, request_id, nonce, service, data_hash, code, data, at) VALUES(?,?,?,?,?,?,?,?)",
                [
                    reply.appId, reply.requestId, reply.nonce, reply.service, reply.dataHash, reply.code, reply.data, reply.at,
                ])
            replyKeys[Signature.digest64(reply.appId, reply.requestId)] = db.lastInsertedRowID
        }
    }

    private func write(_ event: Event, encoded: [String: String]) throws {
        switch event {
        case .registered(let lot): try run("INSERT OR IGNORE INTO lots(lot) VALUES(?)", [lot])
        case .policy(let lot, let policy):
            try run("UPDATE lots SET policy = ? WHERE lot = ?", [Codec.encode(policy).string, lot])
        case .lot(let profile):
            try run("UPDATE lots SET profile = ? WHERE lot = ?", [Codec.encode(profile).string, profile.parkCode])
        case .gates(let lot, let gates):
            try run("UPDATE lots SET gates = ? WHERE lot = ?", [Codec.encode(gates).string, lot])
        case .remaining(let lot, let remaining):
            try run("UPDATE lots SET remaining = ? WHERE lot = ?", [Codec.encode(remaining).string, lot])
        case .order(let order):
            let clientKey = Signature.digest64(order.appId, order.clientOrderNo)
            clientKeys[clientKey] = order.serial
            try run(
                """
                INSERT INTO orders VALUES(?,?,?,?,?,?)
                ON CONFLICT(serial) DO UPDATE SET status = excluded.status, body = excluded.body
                """,
                [
                    order.serial, order.parkCode, order.appId, clientKey, order.status.rawValue,
                    encoded[order.orderNo]!,
                ])
        case .visit(let visit):
            try run(
                """
                INSERT INTO visits VALUES(?,?,?,?)
                ON CONFLICT(lot, record_no) DO UPDATE SET is_open = excluded.is_open, body = excluded.body
                """,
                [visit.parkCode, visit.recordNo, visit.leaveTime == nil, Codec.encode(visit).string])
        case .notice(let notice):
            try run(
                "INSERT INTO notices(lot, type, at, body) VALUES(?,?,?,?)",
                [notice.parkCode, notice.eventType, notice.occurredAt, Codec.encode(notice).string])
        case .down(let entry):
            let (service, data) = Encode.lotMessage(entry.message)
            try run(
                "INSERT INTO down_log VALUES(?,?,?,?,?,?,?,0)",
                [entry.parkCode, entry.epoch, entry.seq, entry.at, entry.message.orderNo, service, data.string])
            downLast[entry.parkCode] = (entry.epoch, entry.seq)
        case .downSettled(let lot, let epoch, let ackSeq, let results):
            for result in results {
                try run(
                    "UPDATE down_log SET settled = 1 WHERE lot = ? AND epoch = ? AND seq = ?",
                    [lot, epoch, result.seq])
            }
            downAck[lot] = ackSeq
        case .upConsumed(let lot, let epoch, let seq):
            if seq == 1 { try closeEpoch(before: epoch, of: lot) }
            up[lot] = (epoch, seq)
        case .counted(let key, let delta, let max):
            try run(
                """
                INSERT INTO counters(key, count, max) VALUES(?,?,?)
                ON CONFLICT(key) DO UPDATE SET count = count + excluded.count,
                    max = CASE WHEN excluded.count > 0 THEN excluded.max ELSE max END
                """, [key, delta, max])
        }
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
        }
    }
}
