import BerthCore
import BerthWire
import GRDB

/// Tables of the embedded store. A shipped migration is never edited.
package enum Schema {
    /// A database as an older release left it, for tests of what happens to it.
    package static func create(path: String, upTo migration: String, sql: String) throws {
        let queue = try DatabaseQueue(path: path)
        try migrator.migrate(queue, upTo: migration)
        try queue.write { try $0.execute(sql: sql) }
        try queue.close()
    }

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
        "SELECT lot, kind, key, at, body FROM reports ORDER BY lot, kind, key",
        "SELECT bill_no, expire_at, body FROM bills ORDER BY bill_no",
        "SELECT pay_no, state, body FROM payments ORDER BY pay_no",
    ]
}
