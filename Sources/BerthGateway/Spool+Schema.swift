import GRDB

extension Spool {
    /// The tables of the spool. No release has been shipped: there is one schema. A shipped migration is never edited.
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1 one schema") { db in
            if try db.tableExists("up") { throw Unreleased() }
            for sql in [logs, lists, faults] { try db.execute(sql: sql) }
        }
        return migrator
    }

    /// A spool with tables that this release does not know.
    struct Later: Error, CustomStringConvertible {
        let description = "the spool was made by a later version; this one does not read it. Nothing was changed (docs/upgrading.md)."
    }

    /// A spool of a development build from before this schema.
    struct Unreleased: Error, CustomStringConvertible {
        let description = "the spool was made by a development build with other tables; no release reads it. Begin with a new file."
    }

    /// Both logs. `up_sent`: no entry beyond it was ever handed to a carrier. `is_fresh`: the server has not been asked what this lot had before.
    private static let logs = """
        CREATE TABLE up(lot TEXT, epoch TEXT, seq INTEGER, request_id TEXT NOT NULL, service TEXT NOT NULL, at INTEGER NOT NULL,
            data TEXT NOT NULL, PRIMARY KEY(lot, epoch, seq)) WITHOUT ROWID;
        CREATE TABLE positions(lot TEXT PRIMARY KEY, up_epoch TEXT NOT NULL, up_last INTEGER NOT NULL DEFAULT 0,
            up_ack INTEGER NOT NULL DEFAULT 0, down_epoch TEXT, down_ack INTEGER NOT NULL DEFAULT 0, up_sent INTEGER NOT NULL DEFAULT 0,
            is_fresh INTEGER NOT NULL DEFAULT 0, lost_at INTEGER) WITHOUT ROWID;
        CREATE TABLE closed_epochs(lot TEXT, epoch TEXT, PRIMARY KEY(lot, epoch)) WITHOUT ROWID;
        CREATE TABLE down_results(lot TEXT, epoch TEXT, seq INTEGER, code INTEGER NOT NULL, data TEXT NOT NULL,
            PRIMARY KEY(lot, epoch, seq)) WITHOUT ROWID;
        CREATE TABLE sent(lot TEXT, epoch TEXT, seq INTEGER, request_id TEXT NOT NULL, service TEXT NOT NULL, at INTEGER NOT NULL,
            data TEXT NOT NULL, acked_at INTEGER NOT NULL, PRIMARY KEY(lot, epoch, seq)) WITHOUT ROWID;
        CREATE INDEX sent_by_ack ON sent(lot, acked_at);
        """

    /// The local list: reservations, cars inside, settings of the server, and messages for the PMS.
    private static let lists = """
        CREATE TABLE orders(lot TEXT, order_no TEXT, body TEXT NOT NULL, PRIMARY KEY(lot, order_no)) WITHOUT ROWID;
        CREATE TABLE inside(lot TEXT, plate TEXT, body TEXT NOT NULL, PRIMARY KEY(lot, plate)) WITHOUT ROWID;
        CREATE TABLE standing(lot TEXT, kind TEXT, key TEXT, body TEXT NOT NULL, PRIMARY KEY(lot, kind, key)) WITHOUT ROWID;
        CREATE TABLE inbox(id INTEGER PRIMARY KEY AUTOINCREMENT, lot TEXT NOT NULL, service TEXT NOT NULL, body TEXT NOT NULL);
        """

    private static let faults = """
        CREATE TABLE dead(lot TEXT, epoch TEXT, seq INTEGER, code INTEGER NOT NULL, service TEXT NOT NULL, data TEXT NOT NULL,
            at INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(lot, epoch, seq)) WITHOUT ROWID;
        CREATE TABLE bad_rows(id INTEGER PRIMARY KEY AUTOINCREMENT, lot TEXT NOT NULL, source TEXT NOT NULL, key TEXT NOT NULL,
            body TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL);
        """
}
