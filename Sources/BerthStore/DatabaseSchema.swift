import BerthCore
import BerthWire
import GRDB

/// Tables of the embedded store. A shipped migration is never edited.
package enum DatabaseSchema {
    /// A database as an older release left it, for tests of what happens to it.
    package static func create(path: String, upTo migration: String, sql: String) throws {
        let queue = try DatabaseQueue(path: path)
        try migrator(.plain).migrate(queue, upTo: migration)
        try queue.write { try $0.execute(sql: sql) }
        try queue.close()
    }

    static func migrator(_ codec: RowEncoding) -> DatabaseMigrator {
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
        // Every table that a booking writes grows at its end only: a page per group of bookings and not a page per lot or user.
        // Rows are found by places that the store keeps in memory; the narrow index lets it read them at its start without
        // reading what they carry.
        migrator.registerMigration("2 tables that grow at their end") { db in
            try db.execute(
                sql: """
                    CREATE TABLE down_log_2(id INTEGER PRIMARY KEY, lot TEXT NOT NULL, epoch TEXT NOT NULL,
                        seq INTEGER NOT NULL, at INTEGER NOT NULL, order_no TEXT NOT NULL, service TEXT NOT NULL,
                        data TEXT NOT NULL, settled INTEGER NOT NULL DEFAULT 0);
                    INSERT INTO down_log_2(lot, epoch, seq, at, order_no, service, data, settled)
                        SELECT lot, epoch, seq, at, order_no, service, data, settled FROM down_log ORDER BY at, lot, seq;
                    DROP TABLE down_log;
                    ALTER TABLE down_log_2 RENAME TO down_log;
                    CREATE INDEX down_log_open ON down_log(id) WHERE settled = 0;
                    CREATE INDEX down_log_places ON down_log(id, lot, epoch, seq);
                    CREATE TABLE counters_2(id INTEGER PRIMARY KEY, key TEXT NOT NULL, count INTEGER NOT NULL,
                        max INTEGER NOT NULL, CHECK(count <= max));
                    INSERT INTO counters_2(key, count, max) SELECT key, count, max FROM counters ORDER BY key;
                    DROP TABLE counters;
                    ALTER TABLE counters_2 RENAME TO counters;
                    CREATE INDEX orders_places ON orders(serial, client_key);
                    """)
        }
        migrator.registerMigration("3 reports and payments") { db in
            try db.execute(
                sql: """
                    CREATE TABLE reports(lot TEXT, kind TEXT, key TEXT, at INTEGER NOT NULL, body TEXT NOT NULL,
                        PRIMARY KEY(lot, kind, key)) WITHOUT ROWID;
                    CREATE TABLE bills(bill_no TEXT PRIMARY KEY, expire_at INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
                    CREATE TABLE payments(pay_no TEXT PRIMARY KEY, state INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
                    CREATE INDEX payments_open ON payments(state) WHERE state = 0;
                    """)
        }
        // Plates, phones, secrets and what others wrote stand sealed; the rows of older releases are sealed here.
        migrator.registerMigration("4 sealed") { db in
            try db.execute(
                sql: """
                    ALTER TABLE orders ADD COLUMN plate_key INTEGER NOT NULL DEFAULT 0;
                    DROP INDEX orders_places;
                    CREATE TABLE audit(id INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
                        target TEXT NOT NULL, detail TEXT NOT NULL, hash TEXT NOT NULL);
                    CREATE TABLE pictures(image_id TEXT PRIMARY KEY, at INTEGER NOT NULL, expire_at INTEGER NOT NULL,
                        completed_at INTEGER, app_id TEXT NOT NULL, lot TEXT NOT NULL, type INTEGER NOT NULL, ext TEXT NOT NULL,
                        size INTEGER NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID;
                    CREATE TABLE day_counts(day INTEGER, lot TEXT, app_id TEXT, name TEXT, value INTEGER NOT NULL,
                        PRIMARY KEY(day, lot, app_id, name)) WITHOUT ROWID;
                    CREATE TABLE marks(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
                    """)
            try seal(db, codec)
            try db.execute(sql: "CREATE INDEX orders_places ON orders(serial, client_key, plate_key)")
        }
        migrator.registerMigration("5 rules") { db in
            try db.execute(
                sql: """
                    -- Double entry: the legs of one posting stand together and sum to zero.
                    CREATE TABLE ledger(id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, ref TEXT NOT NULL,
                        account TEXT NOT NULL, fen INTEGER NOT NULL);
                    CREATE INDEX ledger_account ON ledger(account, at);
                    CREATE TABLE occupancy(day INTEGER, lot TEXT, counts TEXT NOT NULL, PRIMARY KEY(day, lot)) WITHOUT ROWID;
                    CREATE INDEX orders_waiting ON orders(status) WHERE status = 9;
                    CREATE INDEX payments_lot ON payments(json_extract(body, '$.lot'), json_extract(body, '$.t'));
                    """)
        }
        // The exits of a day, for the reconciliation.
        migrator.registerMigration("6 exits") { db in
            try db.execute(sql: "CREATE INDEX visits_left ON visits(lot, json_extract(body, '$.lt')) WHERE is_open = 0")
        }
        // What happened stands once, sealed as a whole, in its entry of the journal; rows of orders, of messages to lots and of replies
        // point at the entry. Narrow rows need no indices for being found by what stands in memory.
        migrator.registerMigration("7 rows that point") { db in
            try db.execute(
                sql: """
                    ALTER TABLE orders ADD COLUMN entry INTEGER NOT NULL DEFAULT 0;
                    ALTER TABLE orders ADD COLUMN user TEXT NOT NULL DEFAULT '';
                    ALTER TABLE orders ADD COLUMN changed_at INTEGER NOT NULL DEFAULT 0;
                    UPDATE orders SET user = coalesce(json_extract(body, '$.u'), ''), changed_at = coalesce(json_extract(body, '$.at'), 0);
                    ALTER TABLE down_log ADD COLUMN entry INTEGER NOT NULL DEFAULT 0;
                    ALTER TABLE replies ADD COLUMN entry INTEGER NOT NULL DEFAULT 0;
                    DROP INDEX orders_places;
                    DROP INDEX orders_active;
                    DROP INDEX orders_waiting;
                    DROP INDEX down_log_places;
                    DROP INDEX down_log_open;
                    """)
        }
        // A number is unique in its giver; a dead letter can be found and mended; an answer that moved money stands once.
        migrator.registerMigration("8 givers and dead letters") { db in
            try db.execute(
                sql: """
                    CREATE TABLE payments_2(key TEXT PRIMARY KEY, state INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
                    CREATE TABLE bills_2(key TEXT PRIMARY KEY, expire_at INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
                    """)
            var keys: [String: String] = [:]
            for row in try GRDB.Row.fetchAll(db, sql: "SELECT state, body FROM payments") {
                let payment = try RowEncoding.payment(RowEncoding.parse(row.text("body")))
                keys[payment.payNo] = payment.key
                try db.execute(
                    sql: "INSERT INTO payments_2 VALUES(?,?,?)",
                    arguments: [payment.key, row.int("state") as Int64, row.text("body")])
            }
            for body in try String.fetchAll(db, sql: "SELECT body FROM bills") {
                var bill = try RowEncoding.bill(RowEncoding.parse(body))
                if bill.subject == nil { bill.giver = bill.parkCode }
                bill.paidBy = bill.paidBy.map { keys[$0] ?? $0 }
                try db.execute(
                    sql: "INSERT INTO bills_2 VALUES(?,?,?)", arguments: [bill.key, bill.expireAt, RowEncoding.encode(bill).string])
            }
            try db.execute(
                sql: """
                    DROP TABLE payments;
                    DROP TABLE bills;
                    ALTER TABLE payments_2 RENAME TO payments;
                    ALTER TABLE bills_2 RENAME TO bills;
                    CREATE INDEX payments_open ON payments(state) WHERE state = 0;
                    CREATE INDEX payments_lot ON payments(json_extract(body, '$.lot'), json_extract(body, '$.t'));
                    ALTER TABLE up_log ADD COLUMN record_no TEXT NOT NULL DEFAULT '';
                    ALTER TABLE up_log ADD COLUMN mended INTEGER NOT NULL DEFAULT 0;
                    DROP INDEX up_log_dead;
                    CREATE INDEX up_log_dead ON up_log(lot, at) WHERE code <> 0 AND mended = 0;
                    CREATE INDEX up_log_record ON up_log(lot, record_no) WHERE code <> 0 AND mended = 0;
                    CREATE INDEX notices_lot ON notices(lot, id);
                    DELETE FROM replies WHERE service IN ('share.withdraw.apply', 'pay.create', 'refund.apply') AND id NOT IN
                        (SELECT min(id) FROM replies GROUP BY app_id, request_id);
                    CREATE UNIQUE INDEX replies_money ON replies(app_id, request_id)
                        WHERE service IN ('share.withdraw.apply', 'pay.create', 'refund.apply');
                    """)
            for row in try GRDB.Row.fetchAll(db, sql: "SELECT lot, epoch, seq, data FROM up_log WHERE code <> 0") {
                let data = try? RowEncoding.parse(codec.open(row["data"] as DatabaseValue))
                guard let recordNo = data?["recordNo"]?.stringValue else { continue }
                try db.execute(
                    sql: "UPDATE up_log SET record_no = ? WHERE lot = ? AND epoch = ? AND seq = ?",
                    arguments: [recordNo, row.text("lot"), row.text("epoch"), row.int("seq") as Int64])
            }
        }
        return migrator
    }

    private static func seal(_ db: Database, _ codec: RowEncoding) throws {
        func column(_ text: String) -> any DatabaseValueConvertible {
            guard let vault = codec.vault, !text.isEmpty else { return text }
            return vault.sealed(text)
        }
        func each(_ sql: String, _ update: String, _ body: (GRDB.Row) throws -> StatementArguments) throws {
            for row in try GRDB.Row.fetchAll(db, sql: sql) { try db.execute(sql: update, arguments: body(row)) }
        }
        try each("SELECT serial, body FROM orders", "UPDATE orders SET body = ?, plate_key = ? WHERE serial = ?") { row in
            let reservation = try codec.reservation(RowEncoding.parse(row["body"]))
            return [codec.text(reservation).string, codec.plateKey(reservation.plate), row["serial"] as Int64]
        }
        try each("SELECT lot, record_no, body FROM visits", "UPDATE visits SET body = ? WHERE lot = ? AND record_no = ?") { row in
            let visit = try codec.visit(RowEncoding.parse(row["body"]))
            return [codec.encode(visit).string, row["lot"] as String, row["record_no"] as String]
        }
        try each("SELECT id, body FROM journal", "UPDATE journal SET body = ? WHERE id = ?") { row in
            let events = try codec.events(RowEncoding.parse(row["body"]))
            return [column(String(decoding: codec.journal(events), as: UTF8.self)), row["id"] as Int64]
        }
        try each("SELECT id, data FROM down_log", "UPDATE down_log SET data = ? WHERE id = ?") { row in
            [column(row["data"]), row["id"] as Int64]
        }
        try each(
            "SELECT lot, epoch, seq, data FROM up_log", "UPDATE up_log SET data = ? WHERE lot = ? AND epoch = ? AND seq = ?"
        ) { row in [column(row["data"]), row["lot"] as String, row["epoch"] as String, row["seq"] as Int64] }
        try each("SELECT id, data FROM replies", "UPDATE replies SET data = ? WHERE id = ?") { row in
            [column(row["data"]), row["id"] as Int64]
        }
        try each("SELECT id, key FROM counters", "UPDATE counters SET key = ? WHERE id = ?") { row in
            let key: String = row["key"]
            return [RowEncoding.namesPlate(counter: key) ? codec.seal(key) : key, row["id"] as Int64]
        }
        let reports = try GRDB.Row.fetchAll(db, sql: "SELECT * FROM reports").map {
            KeptRecord(parkCode: $0["lot"], kind: $0["kind"], key: $0["key"], body: $0["body"], at: $0["at"])
        }
        try db.execute(sql: "DELETE FROM reports")
        for report in reports {
            try db.execute(
                sql: "INSERT INTO reports VALUES(?,?,?,?,?)",
                arguments: [report.parkCode, report.kind, codec.name(report.key), report.at, codec.body(of: report)])
        }
        var granted: [String: Set<String>] = [:]
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT app_id, lot FROM credential_lots") {
            granted[row["app_id"], default: []].insert(row["lot"])
        }
        let credentials = try GRDB.Row.fetchAll(db, sql: "SELECT * FROM credentials").map { row in
            guard let role = Role(rawValue: row["role"]) else { throw RowEncoding.Unreadable(what: "role") }
            return Credential(
                appId: row["app_id"], secret: row["secret"], role: role, name: row["name"], parkCodes: granted[row["app_id"]] ?? [],
                isEnabled: row["enabled"], ratePerSecond: row["rate"], burst: row["burst"])
        }
        try db.execute(
            sql: """
                DROP TABLE credentials;
                DROP TABLE credential_lots;
                CREATE TABLE credentials(app_id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
                """)
        for credential in credentials {
            try db.execute(
                sql: "INSERT INTO credentials VALUES(?,?)", arguments: [credential.appId, codec.seal(credential.record.string)])
        }
    }
}
