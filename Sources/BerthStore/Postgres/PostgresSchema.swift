/// The tables of a city in PostgreSQL: one schema a city, found by the search path. A shipped version is never edited.
enum PostgresSchema {
    /// The highest format of the tables that this release reads.
    static let format: Int64 = 1
    /// Texts that are names are compared and ordered by their bytes.
    private static let name = "text COLLATE \"C\""

    /// Makes the schema where there is none. Two servers that start at once do so one after the other.
    /// - Returns: true where a city was there already.
    static func prepare(_ connection: PostgresConnection, _ address: PostgresAddress) throws -> Bool {
        guard connection.serverVersion >= 150_000 else {
            throw StoreError.unavailable("PostgreSQL 15 or newer is needed; this server is \(connection.serverVersion / 10_000)")
        }
        try connection.query("SELECT pg_advisory_lock(hashtext($1))", [.text("berth \(address.schema)")])
        defer { _ = try? connection.query("SELECT pg_advisory_unlock(hashtext($1))", [.text("berth \(address.schema)")]) }
        let known = try connection.query("SELECT to_regclass($1) IS NOT NULL", [.text("\(address.quoted).realm")])
        if try known.first?.flag(0) == true {
            let format: Int64 = try connection.query("SELECT format FROM realm WHERE id = 1").first?.int(0) ?? 0
            guard format <= PostgresSchema.format else {
                throw StoreError.unavailable(
                    "the tables in schema \(address.schema) were made by a later version (format \(format)); this one does not read them. Nothing was changed"
                )
            }
            return true
        }
        try connection.run(
            "BEGIN; CREATE SCHEMA IF NOT EXISTS \(address.quoted); \(office) \(history) \(lots) \(reservations) \(logs) \(money) \(records) COMMIT"
        )
        return false
    }

    /// The fence, the lease and the number of the last entry are one row. Each commit changes it in its own transaction:
    /// a server whose term has ended can write nothing more, nor can an older connection of the same server (distributed.md, section 6).
    private static let office = """
        CREATE TABLE realm(id int PRIMARY KEY CHECK(id = 1), format int NOT NULL, key_probe bytea NOT NULL, lineage bigint NOT NULL DEFAULT 0,
            moved_to text, term bigint NOT NULL DEFAULT 0, last bigint NOT NULL DEFAULT 0, holder text, address text, link text, backend_pid int,
            backend_start timestamptz, postmaster_start timestamptz, lost text, expires timestamptz NOT NULL DEFAULT '-infinity') WITH (fillfactor = 10);
        CREATE FUNCTION advance(t bigint, prev bigint, next bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
            UPDATE realm SET last = next, expires = clock_timestamp() + interval '5 s' WHERE term = t AND last = prev AND backend_pid = pg_backend_pid();
            IF NOT FOUND THEN RAISE EXCEPTION 'another server leads this city' USING ERRCODE = 'BF001'; END IF; END $$;
        CREATE FUNCTION hold(t bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
            UPDATE realm SET expires = clock_timestamp() + interval '5 s' WHERE term = t AND backend_pid = pg_backend_pid();
            IF NOT FOUND THEN RAISE EXCEPTION 'another server leads this city' USING ERRCODE = 'BF001'; END IF; END $$;
        """

    /// The journal is the truth: numbers without gaps, in the order of the commits. An entry without events (a refusal that is kept) has a
    /// number too. Old entries and replies are dropped a partition at a time.
    private static let history = """
        CREATE TABLE journal(id bigint PRIMARY KEY, term bigint NOT NULL, at bigint NOT NULL, body bytea) PARTITION BY RANGE (id);
        ALTER TABLE journal ALTER body SET STORAGE EXTERNAL;
        CREATE TABLE replies(key bigint NOT NULL, number bigint NOT NULL, at bigint NOT NULL, app_id \(name) NOT NULL,
            request_id \(name) NOT NULL, nonce text NOT NULL, service text NOT NULL, data_hash text NOT NULL, code int NOT NULL,
            data bytea NOT NULL, shows_order bool NOT NULL) PARTITION BY RANGE (at);
        CREATE INDEX replies_key ON replies(key);
        CREATE TABLE marks(name text PRIMARY KEY, value bigint NOT NULL);
        CREATE TABLE credentials(app_id \(name) PRIMARY KEY, body text NOT NULL);
        """

    private static let lots = """
        CREATE TABLE lots(lot \(name) PRIMARY KEY, policy text, profile text, gates text, remaining text);
        CREATE TABLE occupancy(day bigint, lot \(name), counts text NOT NULL, PRIMARY KEY(day, lot));
        CREATE TABLE day_counts(day bigint, lot \(name), app_id \(name), name \(name), value bigint NOT NULL, PRIMARY KEY(day, lot, app_id, name));
        """

    /// The check of a counter and the key of a provider's own number are the database's word that a limit holds. A reservation that was moved to
    /// another lot has a number of the server's making (`number~version`), which may come twice.
    private static let reservations = """
        CREATE TABLE orders(serial bigint PRIMARY KEY, lot \(name) NOT NULL, app_id \(name) NOT NULL, client_key bigint NOT NULL,
            client_no \(name) NOT NULL, status smallint NOT NULL, body text NOT NULL, plate_key bigint NOT NULL, entry bigint NOT NULL,
            user_token \(name) NOT NULL, changed_at bigint NOT NULL,
            moved bigint GENERATED ALWAYS AS (CASE WHEN client_no LIKE '%~%' THEN serial ELSE 0 END) STORED,
            UNIQUE(app_id, client_no, moved)) WITH (fillfactor = 85);
        CREATE INDEX orders_app ON orders(app_id, serial DESC);
        CREATE INDEX orders_lot ON orders(lot, serial DESC);
        CREATE INDEX orders_plate ON orders(plate_key, serial);
        CREATE INDEX orders_open ON orders(serial) WHERE status < 3 OR status = 9;
        CREATE TABLE visits(lot \(name), record_no \(name), is_open bool NOT NULL, left_at bigint, body text NOT NULL, PRIMARY KEY(lot, record_no));
        CREATE INDEX visits_open ON visits(lot) WHERE is_open;
        CREATE INDEX visits_left ON visits(lot, left_at) WHERE NOT is_open;
        CREATE TABLE counters(digest bytea PRIMARY KEY, name bytea NOT NULL, period \(name) NOT NULL, count bigint NOT NULL, max bigint NOT NULL,
            CHECK(count <= max)) WITH (fillfactor = 80);
        CREATE FUNCTION count_up(digests bytea[], names bytea[], periods text[], deltas bigint[], maxes bigint[], rooms bigint[])
            RETURNS void LANGUAGE plpgsql AS $$ DECLARE changed bigint; added bigint; BEGIN
            UPDATE counters c SET count = c.count + d.delta, max = CASE WHEN d.room < 9223372036854775807 THEN d.max ELSE c.max END
                FROM unnest(digests, deltas, maxes, rooms) AS d(digest, delta, max, room) WHERE c.digest = d.digest AND c.count <= d.room;
            GET DIAGNOSTICS changed = ROW_COUNT;
            INSERT INTO counters SELECT d.digest, d.name, d.period, d.delta, d.max
                FROM unnest(digests, names, periods, deltas, maxes, rooms) AS d(digest, name, period, delta, max, room)
                WHERE d.room >= 0 AND NOT EXISTS (SELECT FROM counters c WHERE c.digest = d.digest);
            GET DIAGNOSTICS added = ROW_COUNT;
            IF changed + added <> cardinality(digests) THEN
                RAISE EXCEPTION 'a counted claim is over its maximum' USING ERRCODE = 'BF002'; END IF; END $$;
        """

    /// Both logs of a lot, and how far each is. A place of a down log is given once.
    private static let logs = """
        CREATE TABLE positions(lot \(name) PRIMARY KEY, up_epoch text, up_ack bigint NOT NULL, down_epoch text, down_last bigint NOT NULL,
            down_ack bigint NOT NULL, CHECK(down_ack <= down_last)) WITH (fillfactor = 50);
        CREATE TABLE closed_epochs(lot \(name), epoch \(name), PRIMARY KEY(lot, epoch));
        CREATE TABLE down_log(lot \(name), epoch \(name), seq bigint, at bigint NOT NULL, order_no text NOT NULL, service text NOT NULL,
            data bytea NOT NULL, entry bigint NOT NULL, settled bool NOT NULL DEFAULT false, PRIMARY KEY(lot, epoch, seq)) WITH (fillfactor = 85);
        CREATE INDEX down_open ON down_log(lot, seq) WHERE NOT settled;
        CREATE TABLE up_log(lot \(name), epoch \(name), seq bigint, request_id text NOT NULL, service text NOT NULL, code int NOT NULL,
            reply text NOT NULL, data bytea NOT NULL, at bigint NOT NULL, record_no \(name) NOT NULL, mended bool NOT NULL,
            PRIMARY KEY(lot, epoch, seq, at)) PARTITION BY RANGE (at);
        CREATE INDEX up_log_dead ON up_log(lot, at) WHERE code <> 0 AND NOT mended;
        CREATE INDEX up_log_record ON up_log(lot, record_no) WHERE code <> 0 AND NOT mended;
        """

    /// Double entry. A balance is kept beside the ledger, which is not summed at a start.
    private static let money = """
        CREATE TABLE ledger(id bigint GENERATED ALWAYS AS IDENTITY, at bigint NOT NULL, kind text NOT NULL, ref text NOT NULL,
            account \(name) NOT NULL, fen bigint NOT NULL) PARTITION BY RANGE (at);
        CREATE INDEX ledger_account ON ledger(account, at);
        CREATE TABLE balances(account \(name) PRIMARY KEY, fen bigint NOT NULL);
        CREATE TABLE payments(key \(name) PRIMARY KEY, state smallint NOT NULL, lot \(name) NOT NULL, pay_time bigint, body text NOT NULL);
        CREATE INDEX payments_open ON payments(state) WHERE state = 0;
        CREATE INDEX payments_lot ON payments(lot, pay_time);
        CREATE TABLE bills(key \(name) PRIMARY KEY, expire_at bigint NOT NULL, body text NOT NULL);
        """

    private static let records = """
        CREATE TABLE notices(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, lot \(name) NOT NULL, type int NOT NULL, at bigint NOT NULL,
            body text NOT NULL);
        CREATE INDEX notices_lot ON notices(lot, id);
        CREATE TABLE reports(lot \(name), kind \(name), key \(name), at bigint NOT NULL, body text NOT NULL, PRIMARY KEY(lot, kind, key));
        CREATE TABLE audit(id bigint PRIMARY KEY, at bigint NOT NULL, actor text NOT NULL, action text NOT NULL, target text NOT NULL,
            detail text NOT NULL, hash text NOT NULL);
        CREATE TABLE pictures(image_id \(name) PRIMARY KEY, at bigint NOT NULL, expire_at bigint NOT NULL, completed_at bigint,
            app_id text NOT NULL, lot text NOT NULL, type int NOT NULL, ext text NOT NULL, size bigint NOT NULL, sha256 text NOT NULL);
        """

    // MARK: Partitions

    /// A table whose rows are dropped by ranges of one column.
    enum Partitioned: String, CaseIterable {
        case journal, replies, upLog = "up_log", ledger

        /// Entries, or ms.
        var width: Int64 {
            switch self {
            case .journal: 10_000_000
            case .replies: 86_400_000
            case .upLog, .ledger: 30 * 86_400_000
            }
        }

        func number(of value: Int64) -> Int64 { value >= 0 ? value / width : -((-value - 1) / width) - 1 }

        func name(_ number: Int64) -> String { "\(rawValue)_\(number < 0 ? "m\(-number)" : "\(number)")" }

        /// Makes the partition; a reply that moved money is stored once.
        func making(_ number: Int64) -> [String] {
            let (from, isOver) = number.multipliedReportingOverflow(by: width)
            guard !isOver, !from.addingReportingOverflow(width).overflow else { return [] }
            let money =
                self == .replies
                ? """
                CREATE UNIQUE INDEX \(name(number))_money ON \(name(number))(app_id, request_id)
                    WHERE service IN ('share.withdraw.apply', 'pay.create', 'refund.apply');
                """ : ""
            // A table that is made by itself and then attached waits for no reader of the others; `PARTITION OF` would.
            return [
                """
                DO $$ BEGIN IF to_regclass('\(name(number))') IS NULL THEN
                    CREATE TABLE \(name(number)) (LIKE \(rawValue) INCLUDING STORAGE); \(money)
                    ALTER TABLE \(rawValue) ATTACH PARTITION \(name(number)) FOR VALUES FROM (\(from)) TO (\(from + width));
                END IF; END $$
                """
            ]
        }

        /// The numbers of the partitions that there are.
        func present(_ connection: PostgresConnection) throws -> [Int64] {
            let rows = try connection.query(
                """
                SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                    WHERE i.inhparent = to_regclass($1)
                """, [.text(rawValue)]
            ).rows
            return try rows.compactMap { row in
                let text = try row.text(0).dropFirst(rawValue.utf8.count + 1)
                return text.hasPrefix("m") ? Int64(text.dropFirst()).map { -$0 } : Int64(text)
            }
        }
    }
}
