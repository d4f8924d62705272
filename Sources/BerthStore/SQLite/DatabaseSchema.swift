import GRDB

/// The tables of the embedded store. No release has been shipped: there is one schema. A shipped migration is never edited.
enum DatabaseSchema {
    /// A database of a development build from before this schema.
    struct Unreleased: Error, CustomStringConvertible {
        let description =
            "the database was made by a development build with other tables; no release reads it. Begin with a new data folder."
    }

    /// A database with tables that this release does not know.
    struct Later: Error, CustomStringConvertible {
        let description = "the database was made by a later version; this one does not read it. Nothing was changed (docs/upgrading.md)."
    }

    /// Brings the tables to this version.
    /// - Throws: ``Later``, ``Unreleased``, or the database's own error; nothing is changed then.
    static func prepare(_ pool: DatabasePool) throws {
        let (isSuperseded, applied) = try pool.read { (try migrator.hasBeenSuperseded($0), try migrator.appliedIdentifiers($0)) }
        if isSuperseded { throw applied.contains("1 one schema") ? Later() as any Error : Unreleased() }
        try migrator.migrate(pool)
    }

    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1 one schema") { db in
            if try db.tableExists("journal") { throw Unreleased() }
            for sql in [history, lots, reservations, logs, money, records] { try db.execute(sql: sql) }
        }
        return migrator
    }

    /// The journal holds what happened, in order, sealed as a whole (decision 0004). Every other table but replies, up_log, credentials and audit
    /// can be made from it. Replies have no index on random keys: each would cost a page of its own for every booking, so that the store keeps
    /// digests in memory. A reply that moved money is stored once.
    private static let history = """
        CREATE TABLE journal(id INTEGER PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL);
        CREATE TABLE replies(id INTEGER PRIMARY KEY, app_id TEXT NOT NULL, request_id TEXT NOT NULL, nonce TEXT NOT NULL, service TEXT NOT NULL,
            data_hash TEXT NOT NULL, code INTEGER NOT NULL, data TEXT NOT NULL, at INTEGER NOT NULL, entry INTEGER NOT NULL DEFAULT 0);
        CREATE UNIQUE INDEX replies_money ON replies(app_id, request_id)
            WHERE service IN ('share.withdraw.apply', 'pay.create', 'refund.apply');
        CREATE TABLE marks(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE credentials(app_id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
        """

    private static let lots = """
        CREATE TABLE lots(lot TEXT PRIMARY KEY, policy TEXT, profile TEXT, gates TEXT, remaining TEXT) WITHOUT ROWID;
        CREATE TABLE occupancy(day INTEGER, lot TEXT, counts TEXT NOT NULL, PRIMARY KEY(day, lot)) WITHOUT ROWID;
        CREATE TABLE day_counts(day INTEGER, lot TEXT, app_id TEXT, name TEXT, value INTEGER NOT NULL,
            PRIMARY KEY(day, lot, app_id, name)) WITHOUT ROWID;
        """

    /// Tables that a booking writes grow at their end only: a page for a group of bookings instead of a page for each lot or user. Their rows are
    /// found by places that the store keeps in memory (``RowIndex``). The check of a counter is the database's own word that a limit holds.
    private static let reservations = """
        CREATE TABLE orders(serial INTEGER PRIMARY KEY, lot TEXT NOT NULL, app_id TEXT NOT NULL, client_key INTEGER NOT NULL,
            status INTEGER NOT NULL, body TEXT NOT NULL, plate_key INTEGER NOT NULL DEFAULT 0, entry INTEGER NOT NULL DEFAULT 0,
            user TEXT NOT NULL DEFAULT '', changed_at INTEGER NOT NULL DEFAULT 0);
        CREATE INDEX orders_app ON orders(app_id, serial);
        CREATE TABLE visits(lot TEXT, record_no TEXT, is_open INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY(lot, record_no)) WITHOUT ROWID;
        CREATE INDEX visits_open ON visits(is_open) WHERE is_open = 1;
        CREATE INDEX visits_left ON visits(lot, json_extract(body, '$.lt')) WHERE is_open = 0;
        CREATE TABLE counters(id INTEGER PRIMARY KEY, key TEXT NOT NULL, count INTEGER NOT NULL, max INTEGER NOT NULL, CHECK(count <= max));
        """

    /// Both logs of a lot, and how far each is.
    private static let logs = """
        CREATE TABLE positions(lot TEXT PRIMARY KEY, up_epoch TEXT, up_ack INTEGER NOT NULL DEFAULT 0, down_epoch TEXT,
            down_last INTEGER NOT NULL DEFAULT 0, down_ack INTEGER NOT NULL DEFAULT 0, CHECK(down_ack <= down_last)) WITHOUT ROWID;
        CREATE TABLE closed_epochs(lot TEXT, epoch TEXT, PRIMARY KEY(lot, epoch)) WITHOUT ROWID;
        CREATE TABLE down_log(id INTEGER PRIMARY KEY, lot TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL,
            order_no TEXT NOT NULL, service TEXT NOT NULL, data TEXT NOT NULL, settled INTEGER NOT NULL DEFAULT 0,
            entry INTEGER NOT NULL DEFAULT 0);
        CREATE TABLE up_log(lot TEXT, epoch TEXT, seq INTEGER, request_id TEXT NOT NULL, service TEXT NOT NULL, code INTEGER NOT NULL,
            reply TEXT NOT NULL, data TEXT NOT NULL, at INTEGER NOT NULL, record_no TEXT NOT NULL DEFAULT '',
            mended INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(lot, epoch, seq)) WITHOUT ROWID;
        CREATE INDEX up_log_dead ON up_log(lot, at) WHERE code <> 0 AND mended = 0;
        CREATE INDEX up_log_record ON up_log(lot, record_no) WHERE code <> 0 AND mended = 0;
        """

    /// Double entry: the legs of one posting stand together and sum to zero. Numbers of bills and payments are unique in their giver.
    private static let money = """
        CREATE TABLE ledger(id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, ref TEXT NOT NULL, account TEXT NOT NULL,
            fen INTEGER NOT NULL);
        CREATE INDEX ledger_account ON ledger(account, at);
        CREATE TABLE payments(key TEXT PRIMARY KEY, state INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
        CREATE INDEX payments_open ON payments(state) WHERE state = 0;
        CREATE INDEX payments_lot ON payments(json_extract(body, '$.lot'), json_extract(body, '$.t'));
        CREATE TABLE bills(key TEXT PRIMARY KEY, expire_at INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
        """

    private static let records = """
        CREATE TABLE notices(id INTEGER PRIMARY KEY, lot TEXT NOT NULL, type INTEGER NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL);
        CREATE INDEX notices_lot ON notices(lot, id);
        CREATE TABLE reports(lot TEXT, kind TEXT, key TEXT, at INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY(lot, kind, key)) WITHOUT ROWID;
        CREATE TABLE audit(id INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL,
            detail TEXT NOT NULL, hash TEXT NOT NULL);
        CREATE TABLE pictures(image_id TEXT PRIMARY KEY, at INTEGER NOT NULL, expire_at INTEGER NOT NULL, completed_at INTEGER,
            app_id TEXT NOT NULL, lot TEXT NOT NULL, type INTEGER NOT NULL, ext TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL)
            WITHOUT ROWID;
        """
}
