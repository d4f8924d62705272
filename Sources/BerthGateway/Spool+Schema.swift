import BerthCore
import GRDB

extension Spool {
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1 first light") { db in
            try db.execute(
                sql: """
                    CREATE TABLE up(lot TEXT, epoch TEXT, seq INTEGER, request_id TEXT NOT NULL, service TEXT NOT NULL,
                        at INTEGER NOT NULL, data TEXT NOT NULL, PRIMARY KEY(lot, epoch, seq)) WITHOUT ROWID;
                    CREATE TABLE positions(lot TEXT PRIMARY KEY, up_epoch TEXT NOT NULL, up_last INTEGER NOT NULL DEFAULT 0,
                        up_ack INTEGER NOT NULL DEFAULT 0, down_epoch TEXT, down_ack INTEGER NOT NULL DEFAULT 0)
                        WITHOUT ROWID;
                    CREATE TABLE closed_epochs(lot TEXT, epoch TEXT, PRIMARY KEY(lot, epoch)) WITHOUT ROWID;
                    CREATE TABLE down_results(lot TEXT, epoch TEXT, seq INTEGER, code INTEGER NOT NULL, data TEXT NOT NULL,
                        PRIMARY KEY(lot, epoch, seq)) WITHOUT ROWID;
                    CREATE TABLE orders(lot TEXT, order_no TEXT, body TEXT NOT NULL, PRIMARY KEY(lot, order_no))
                        WITHOUT ROWID;
                    CREATE TABLE inside(lot TEXT, plate TEXT, body TEXT NOT NULL, PRIMARY KEY(lot, plate)) WITHOUT ROWID;
                    CREATE TABLE dead(lot TEXT, epoch TEXT, seq INTEGER, code INTEGER NOT NULL, service TEXT NOT NULL,
                        data TEXT NOT NULL, PRIMARY KEY(lot, epoch, seq)) WITHOUT ROWID;
                    """)
        }
        migrator.registerMigration("2 what the platform sets") { db in
            try db.execute(
                sql: """
                    CREATE TABLE standing(lot TEXT, kind TEXT, key TEXT, body TEXT NOT NULL, PRIMARY KEY(lot, kind, key))
                        WITHOUT ROWID;
                    CREATE TABLE inbox(id INTEGER PRIMARY KEY AUTOINCREMENT, lot TEXT NOT NULL, service TEXT NOT NULL,
                        body TEXT NOT NULL);
                    """)
        }
        // `up_sent`: no entry beyond it was ever handed to a carrier. `is_fresh`: the server has not been asked what this lot had before.
        migrator.registerMigration("3 what was sent") { db in
            try db.execute(
                sql: """
                    ALTER TABLE positions ADD COLUMN up_sent INTEGER NOT NULL DEFAULT 0;
                    ALTER TABLE positions ADD COLUMN is_fresh INTEGER NOT NULL DEFAULT 0;
                    ALTER TABLE positions ADD COLUMN lost_at INTEGER;
                    UPDATE positions SET up_sent = up_last;
                    ALTER TABLE dead ADD COLUMN at INTEGER NOT NULL DEFAULT 0;
                    CREATE TABLE sent(lot TEXT, epoch TEXT, seq INTEGER, request_id TEXT NOT NULL, service TEXT NOT NULL,
                        at INTEGER NOT NULL, data TEXT NOT NULL, acked_at INTEGER NOT NULL, PRIMARY KEY(lot, epoch, seq))
                        WITHOUT ROWID;
                    CREATE INDEX sent_by_ack ON sent(lot, acked_at);
                    CREATE TABLE bad_rows(id INTEGER PRIMARY KEY AUTOINCREMENT, lot TEXT NOT NULL, source TEXT NOT NULL, key TEXT NOT NULL,
                        body TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL);
                    """)
        }
        return migrator
    }
}
