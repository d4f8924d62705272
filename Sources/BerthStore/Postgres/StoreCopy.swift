import BerthCore
import BerthWire
import Foundation
import GRDB

/// Moves a city between SQLite and PostgreSQL while no server runs on either. Rows are taken as they are: numbers of entries, epochs, order
/// numbers, the audit chain, sealed columns (both stores have one master key). Both sides are compared at the end.
public struct StoreCopy {
    /// The facts of a copy, for people.
    public struct Facts: Sendable, Equatable {
        /// Rows by table.
        public var rows: [(table: String, count: Int)] = []
        /// The number of the last entry of the journal.
        public var entry: Int64 = 0
        /// Digest of all rows that the journal makes, unsealed; equal on both sides.
        public var digest = ""

        public static func == (left: Facts, right: Facts) -> Bool {
            left.entry == right.entry && left.digest == right.digest && left.rows.elementsEqual(right.rows, by: { $0 == $1 })
        }
    }

    let sqlite: SQLiteStore
    let postgres: PostgresStore
    private let say: (String) -> Void
    /// Rows of one statement.
    private static let chunk = 1_000
    /// Replies without an entry are ordered before all that have one.
    private static let oldReply: Int64 = -4_000_000_000_000_000_000

    /// - Parameter say: told what is being done.
    public init(_ sqlite: SQLiteStore, _ postgres: PostgresStore, say: @escaping (String) -> Void) {
        self.sqlite = sqlite
        self.postgres = postgres
        self.say = say
    }

    // MARK: To PostgreSQL

    /// - Throws: ``StoreError/unavailable(_:)`` where the target is not empty, or where the sides differ at the end.
    public func toPostgres() throws(StoreError) -> Facts {
        if try postgres.isUnfinishedCopy() { try empty() }
        let entries = try postgres.read { try $0.query("SELECT count(*) FROM journal").first?.int(0) as Int64? ?? 0 }
        let lots = try postgres.read { try $0.query("SELECT count(*) FROM lots").first?.int(0) as Int64? ?? 0 }
        guard entries == 0, lots == 0 else { throw .unavailable("the target holds a city already; a copy goes into an empty realm") }
        // No server leads a city that is there in part, whatever becomes of this process.
        try postgres.mark(movedTo: StoreCopy.unfinished)
        var facts = Facts()
        do {
            try sqlite.pool.read { db in
                for source in StoreCopy.sources { facts.rows.append((source.table, try copy(source, db))) }
                facts.entry = try Int64.fetchOne(db, sql: "SELECT max(id) FROM journal") ?? 0
                let lineage = try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = 'lineage'") ?? 0
                try postgres.write("UPDATE realm SET lineage = $1, last = $2 WHERE id = 1", [.int(lineage), .int(facts.entry)])
                let last = facts.entry
                postgres.writer.change { $0.last = last }
            }
        } catch { throw error is StoreError || error is PostgresFailure ? PostgresStore.translate(error) : SQLiteStore.translate(error) }
        facts.digest = try compare()
        return facts
    }

    /// The mark of a target whose copy has not ended.
    static let unfinished = "another store: a copy was not finished; `berth store copy` begins it anew"

    /// Takes out what a copy that was broken off has left.
    private func empty() throws(StoreError) {
        say("what was left of a copy is taken out")
        let tables = try postgres.read { connection in
            try connection.query(
                "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'realm'"
            ).rows.map { "\"\(try $0.text(0))\"" }
        }
        try postgres.write("TRUNCATE \(tables.joined(separator: ", "))", [])
    }

    /// A table of SQLite, and how its rows stand in PostgreSQL.
    private struct Source {
        var table: String
        var sql: String
        var insert: String
        var types: [PostgresType.Element]
        /// The partitions that a row needs, by the column that says where it belongs.
        var partition: (table: PostgresSchema.Partitioned, column: Int)?
        var cells: (StoreCopy, Database, GRDB.Row) throws -> [PostgresValue]
    }

    private static func plain(_ table: String, _ sql: String, _ target: PostgresTable, partition: (PostgresSchema.Partitioned, Int)? = nil)
        -> Source
    {
        Source(table: table, sql: sql, insert: target.sql, types: target.types, partition: partition) { _, _, row in
            try zip(row, target.types).map { try StoreCopy.value($0.1, $1) }
        }
    }

    private static func value(_ value: DatabaseValue, _ type: PostgresType.Element) throws -> PostgresValue {
        switch (value.storage, type) {
        case (.null, _): return .null(type)
        case (.int64(let number), _): return .int(number)
        case (.string(let text), .bytea): return .bytes(Array(text.utf8))
        case (.string(let text), _): return .text(text)
        case (.blob(let data), _): return .bytes(Array(data))
        default: throw RowEncoding.Unreadable(what: "column")
        }
    }

    /// A column of bytes. SQLite's upkeep leaves sealed texts in some; here they are bytes.
    private func sealed(_ value: DatabaseValue, _ type: PostgresType.Element) throws -> PostgresValue {
        guard type == .bytea, case .string(let text) = value.storage, text.first == RowEncoding.mark, sqlite.codec.vault != nil else {
            return try StoreCopy.value(value, type)
        }
        return .bytes(postgres.codec.column(try sqlite.codec.open(text)))
    }

    private static var sources: [Source] {
        [
            Source(
                table: "journal", sql: "SELECT id, at, body FROM journal ORDER BY id", insert: PostgresTable.journal.sql,
                types: PostgresTable.journal.types, partition: (.journal, 0)
            ) { _, _, row in
                // An entry of nothing has no body.
                let body = row[2] as DatabaseValue == "[]".databaseValue ? PostgresValue.null(.bytea) : try value(row[2], .bytea)
                return [.int(row[0]), .int(0), .int(row[1]), body]
            },
            Source(
                table: "lots", sql: "SELECT lot, policy, profile, gates, remaining FROM lots",
                insert: "INSERT INTO lots SELECT * FROM unnest($1, $2, $3, $4, $5)", types: [.text, .text, .text, .text, .text]
            ) { _, _, row in try row.map { try value($0.1, .text) } },
            plain(
                "positions",
                """
                SELECT lot, up_epoch, up_ack, down_epoch, max(down_last, coalesce((SELECT max(seq) FROM down_log
                    WHERE down_log.lot = positions.lot AND epoch = down_epoch), 0)), down_ack FROM positions
                """, .positions),
            plain("closed_epochs", "SELECT lot, epoch FROM closed_epochs", .closedEpochs),
            Source(
                table: "orders", sql: "SELECT * FROM orders ORDER BY serial", insert: PostgresTable.orders.sql,
                types: PostgresTable.orders.types
            ) {
                copy, db, row in
                let reservation = try copy.sqlite.reservation(db, row)
                return try [
                    .int(row.int("serial")), .text(row.text("lot")), .text(row.text("app_id")), .int(row.int("client_key")),
                    .text(reservation.clientOrderNo), .int(row.int("status")), .text(row.text("body")), .int(row.int("plate_key")),
                    .int(row.int("entry")), .text(row.text("user")), .int(row.int("changed_at")),
                ]
            },
            Source(table: "visits", sql: "SELECT * FROM visits", insert: PostgresTable.visits.sql, types: PostgresTable.visits.types) {
                copy, _, row in
                let visit = try copy.sqlite.codec.visit(RowEncoding.parse(row.text("body")))
                return try [
                    .text(row.text("lot")), .text(row.text("record_no")), .int(row.int("is_open")), .optional(visit.leaveTime),
                    .text(row.text("body")),
                ]
            },
            Source(
                table: "down_log", sql: "SELECT lot, epoch, seq, at, order_no, service, data, entry, settled FROM down_log ORDER BY id",
                insert:
                    "INSERT INTO down_log SELECT d.a, d.b, d.c, d.d, d.e, d.f, d.g, d.h, d.i = 1 FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS d(a, b, c, d, e, f, g, h, i)",
                types: PostgresTable.downLog.types + [.int8]
            ) { copy, _, row in try zip(row, PostgresTable.downLog.types + [.int8]).map { try copy.sealed($0.1, $1) } },
            Source(
                table: "up_log", sql: "SELECT lot, epoch, seq, request_id, service, code, reply, data, at, record_no, mended FROM up_log",
                insert: PostgresTable.upLog.sql, types: PostgresTable.upLog.types, partition: (.upLog, 8)
            ) { copy, _, row in try zip(row, PostgresTable.upLog.types).map { try copy.sealed($0.1, $1) } },
            Source(
                table: "replies", sql: "SELECT * FROM replies ORDER BY id", insert: PostgresTable.replies.sql,
                types: PostgresTable.replies.types,
                partition: (.replies, 2)
            ) { copy, _, row in
                let (appId, requestId, entry): (String, String, Int64) = (
                    try row.text("app_id"), try row.text("request_id"), try row.int("entry")
                )
                return try [
                    .int(KeptReply.key(appId, requestId)), .int(entry > 0 ? entry : oldReply + row.int("id")), .int(row.int("at")),
                    .text(appId),
                    .text(requestId), .text(row.text("nonce")), .text(row.text("service")), .text(row.text("data_hash")),
                    .int(row.int("code")),
                    copy.sealed(row["data"], .bytea), .int(entry > 0 ? 1 : 0),
                ]
            },
            Source(
                table: "counters", sql: "SELECT key, count, max FROM counters",
                insert: "INSERT INTO counters SELECT * FROM unnest($1, $2, $3, $4, $5)",
                types: [.bytea, .bytea, .text, .int8, .int8]
            ) { copy, _, row in
                let key = try copy.sqlite.codec.open(row[0] as DatabaseValue)
                let name: [UInt8] = if case .blob(let data) = (row[0] as DatabaseValue).storage { [1] + data } else { [0] + key.utf8 }
                return [
                    .bytes(copy.postgres.codec.counterDigest(key)), .bytes(name), .text(RowEncoding.period(ofCounter: key)),
                    try value(row[1], .int8), try value(row[2], .int8),
                ]
            },
            plain("ledger", "SELECT at, kind, ref, account, fen FROM ledger ORDER BY id", .ledger, partition: (.ledger, 0)),
            plain("balances", "SELECT account, sum(fen) FROM ledger GROUP BY account", .balances),
            Source(
                table: "payments", sql: "SELECT key, state, body FROM payments", insert: PostgresTable.payments.sql,
                types: PostgresTable.payments.types
            ) {
                _, _, row in
                let payment = try RowEncoding.payment(RowEncoding.parse(row.text("body")))
                return try [
                    .text(row.text("key")), .int(row.int("state")), .text(payment.parkCode), .optional(payment.payTime),
                    .text(row.text("body")),
                ]
            },
            plain("bills", "SELECT key, expire_at, body FROM bills", .bills),
            plain("notices", "SELECT lot, type, at, body FROM notices ORDER BY id", .notices),
            plain("reports", "SELECT lot, kind, key, at, body FROM reports", .reports),
            plain("audit", "SELECT id, at, actor, action, target, detail, hash FROM audit ORDER BY id", .audit),
            plain("marks", "SELECT name, value FROM marks WHERE name IN ('tiding', 'counted', 'serial')", .marks),
            Source(
                table: "credentials", sql: "SELECT app_id, body FROM credentials",
                insert: "INSERT INTO credentials SELECT * FROM unnest($1, $2)",
                types: [.text, .text]
            ) { _, _, row in try row.map { try value($0.1, .text) } },
            Source(
                table: "pictures", sql: "SELECT image_id, at, expire_at, completed_at, app_id, lot, type, ext, size, sha256 FROM pictures",
                insert: "INSERT INTO pictures SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", types: pictureTypes
            ) { _, _, row in try zip(row, pictureTypes).map { try value($0.1, $1) } },
            Source(
                table: "occupancy", sql: "SELECT day, lot, counts FROM occupancy",
                insert: "INSERT INTO occupancy SELECT * FROM unnest($1, $2, $3)",
                types: [.int8, .text, .text]
            ) { _, _, row in try zip(row, [PostgresType.Element.int8, .text, .text]).map { try value($0.1, $1) } },
            Source(
                table: "day_counts", sql: "SELECT day, lot, app_id, name, value FROM day_counts",
                insert: "INSERT INTO day_counts SELECT * FROM unnest($1, $2, $3, $4, $5)", types: dayTypes
            ) { _, _, row in try zip(row, dayTypes).map { try value($0.1, $1) } },
        ]
    }

    private static let pictureTypes: [PostgresType.Element] = [.text, .int8, .int8, .int8, .text, .text, .int8, .text, .int8, .text]
    private static let dayTypes: [PostgresType.Element] = [.int8, .text, .text, .text, .int8]

    private func copy(_ source: Source, _ db: Database) throws -> Int {
        say(source.table)
        let rows = try GRDB.Row.fetchCursor(db, sql: source.sql)
        var (count, columns) = (0, source.types.map { PostgresArray($0) })
        var partitions: Set<Int64> = []
        func send() throws {
            guard count > 0, columns[0].count > 0 else { return }
            var statements: [PostgresConnection.Statement] = []
            if let (table, _) = source.partition {
                statements += partitions.sorted().flatMap { table.making($0) }.map { .init(sql: $0, isPrepared: false) }
                let names = partitions.map(table.name)
                postgres.writer.change { $0.partitions.formUnion(names) }
            }
            try postgres.writer.run(statements + [.init(sql: source.insert, values: columns.map { .array($0) })])
            columns = source.types.map { PostgresArray($0) }
        }
        while let row = try rows.next() {
            let cells = try source.cells(self, db, row)
            for (column, cell) in cells.enumerated() { columns[column].append(cell) }
            if let (table, column) = source.partition, case .int(let value) = cells[column] { partitions.insert(table.number(of: value)) }
            count += 1
            if columns[0].count >= StoreCopy.chunk { try send() }
        }
        try send()
        return count
    }

    // MARK: To SQLite

    /// - Throws: ``StoreError/unavailable(_:)`` where the target is not empty, or where the sides differ at the end.
    public func toSQLite() throws(StoreError) -> Facts {
        var facts = Facts()
        let isEmpty = try sqlite.read { db in
            try Int.fetchOne(db, sql: "SELECT (SELECT count(*) FROM journal) + (SELECT count(*) FROM lots)") == 0
        }
        guard isEmpty else { throw .unavailable("the target holds a city already; a copy goes into an empty database") }
        try postgres.snapshot { connection in
            try sqlite.pool.write { db in
                for (table, query, columns) in StoreCopy.back {
                    facts.rows.append((String(table.prefix { $0 != "(" }), try copy(connection, table, query, columns, db)))
                }
                try counters(connection, db)
                // It does not start before both sides are compared and the source is marked.
                try db.execute(sql: "INSERT INTO marks VALUES('moved', 1) ON CONFLICT(name) DO UPDATE SET value = 1")
                facts.entry = try Int64.fetchOne(db, sql: "SELECT max(id) FROM journal") ?? 0
            }
        }
        facts.digest = try compare()
        return facts
    }

    /// Table, query and the types of its columns, which stand in the order of the target's.
    private static let back: [(table: String, query: String, columns: [PostgresType.Element])] = [
        ("journal(id, at, body)", "SELECT id, at, coalesce(body, '[]'::bytea) FROM journal ORDER BY id", [.int8, .int8, .bytea]),
        (
            "lots(lot, policy, profile, gates, remaining)", "SELECT lot, policy, profile, gates, remaining FROM lots",
            [.text, .text, .text, .text, .text]
        ),
        (
            "positions(lot, up_epoch, up_ack, down_epoch, down_last, down_ack)",
            "SELECT lot, up_epoch, up_ack, down_epoch, down_last, down_ack FROM positions", [.text, .text, .int8, .text, .int8, .int8]
        ),
        ("closed_epochs(lot, epoch)", "SELECT lot, epoch FROM closed_epochs", [.text, .text]),
        (
            "orders(serial, lot, app_id, client_key, status, body, plate_key, entry, user, changed_at)",
            "SELECT serial, lot, app_id, client_key, status::bigint, body, plate_key, entry, user_token, changed_at FROM orders ORDER BY serial",
            [.int8, .text, .text, .int8, .int8, .text, .int8, .int8, .text, .int8]
        ),
        (
            "visits(lot, record_no, is_open, body)", "SELECT lot, record_no, is_open::int::bigint, body FROM visits",
            [.text, .text, .int8, .text]
        ),
        (
            "down_log(lot, epoch, seq, at, order_no, service, data, entry, settled)",
            "SELECT lot, epoch, seq, at, order_no, service, data, entry, settled::int::bigint FROM down_log ORDER BY at, lot, epoch, seq",
            [.text, .text, .int8, .int8, .text, .text, .bytea, .int8, .int8]
        ),
        (
            "up_log(lot, epoch, seq, request_id, service, code, reply, data, at, record_no, mended)",
            "SELECT lot, epoch, seq, request_id, service, code::bigint, reply, data, at, record_no, mended::int::bigint FROM up_log",
            [.text, .text, .int8, .text, .text, .int8, .text, .bytea, .int8, .text, .int8]
        ),
        (
            "replies(app_id, request_id, nonce, service, data_hash, code, data, at, entry)",
            """
            SELECT app_id, request_id, nonce, service, data_hash, code::bigint, data, at, CASE WHEN shows_order THEN number ELSE 0 END FROM replies
                ORDER BY number
            """, [.text, .text, .text, .text, .text, .int8, .bytea, .int8, .int8]
        ),
        (
            "ledger(at, kind, ref, account, fen)", "SELECT at, kind, ref, account, fen FROM ledger ORDER BY id",
            [.int8, .text, .text, .text, .int8]
        ),
        ("payments(key, state, body)", "SELECT key, state::bigint, body FROM payments", [.text, .int8, .text]),
        ("bills(key, expire_at, body)", "SELECT key, expire_at, body FROM bills", [.text, .int8, .text]),
        ("notices(lot, type, at, body)", "SELECT lot, type::bigint, at, body FROM notices ORDER BY id", [.text, .int8, .int8, .text]),
        ("reports(lot, kind, key, at, body)", "SELECT lot, kind, key, at, body FROM reports", [.text, .text, .text, .int8, .text]),
        (
            "audit(id, at, actor, action, target, detail, hash)",
            "SELECT id, at, actor, action, target, detail, hash FROM audit ORDER BY id",
            [.int8, .int8, .text, .text, .text, .text, .text]
        ),
        (
            "marks(name, value)",
            """
            SELECT name, value FROM marks WHERE name IN ('tiding', 'counted', 'serial')
                UNION ALL SELECT 'lineage', lineage FROM realm WHERE lineage > 0
            """, [.text, .int8]
        ),
        ("credentials(app_id, body)", "SELECT app_id, body FROM credentials", [.text, .text]),
        (
            "pictures(image_id, at, expire_at, completed_at, app_id, lot, type, ext, size, sha256)",
            "SELECT image_id, at, expire_at, completed_at, app_id, lot, type::bigint, ext, size, sha256 FROM pictures", pictureTypes
        ),
        ("occupancy(day, lot, counts)", "SELECT day, lot, counts FROM occupancy", [.int8, .text, .text]),
        ("day_counts(day, lot, app_id, name, value)", "SELECT day, lot, app_id, name, value FROM day_counts", dayTypes),
    ]

    private func copy(
        _ connection: PostgresConnection, _ table: String, _ query: String, _ columns: [PostgresType.Element], _ db: Database
    ) throws -> Int {
        say(String(table.prefix { $0 != "(" }))
        let places = columns.map { _ in "?" }.joined(separator: ",")
        let statement = try db.cachedStatement(sql: "INSERT INTO \(table) VALUES(\(places))")
        // A cursor: a table of years does not fit into memory.
        try connection.run("DECLARE rows BINARY CURSOR FOR \(query)")
        defer { _ = try? connection.run("CLOSE rows") }
        var count = 0
        while true {
            let rows = try connection.query("FETCH \(StoreCopy.chunk) FROM rows").rows
            guard !rows.isEmpty else { return count }
            for row in rows {
                try statement.execute(
                    arguments: StatementArguments(
                        columns.enumerated().map { column, type -> DatabaseValue in
                            guard !row.isNull(column) else { return .null }
                            switch type {
                            case .int8: return (try row.int(column) as Int64).databaseValue
                            case .text: return try row.text(column).databaseValue
                            case .bytea: return try self.column(row.bytes(column))
                            }
                        }))
            }
            count += rows.count
        }
    }

    /// Sealed bytes are a blob; what is not sealed is a text.
    private func column(_ bytes: [UInt8]) throws -> DatabaseValue {
        guard !bytes.isEmpty, bytes != Array("[]".utf8), sqlite.codec.vault != nil else {
            return String(decoding: bytes, as: UTF8.self).databaseValue
        }
        return Data(bytes).databaseValue
    }

    private func counters(_ connection: PostgresConnection, _ db: Database) throws {
        try connection.each("SELECT name, count, max FROM counters") { row in
            let bytes = try row.bytes(0)
            let key =
                bytes.first == 1 ? Data(bytes.dropFirst()).databaseValue : String(decoding: bytes.dropFirst(), as: UTF8.self).databaseValue
            try db.execute(
                sql: "INSERT INTO counters(key, count, max) VALUES(?,?,?)", arguments: [key, row.int(1) as Int64, row.int(2) as Int64])
        }
    }

    // MARK: Proof

    /// - Returns: the digest of the rows of both sides.
    private func compare() throws(StoreError) -> String {
        say("compare")
        var digests: [[DerivedTable: Int64]] = [[:], [:]]
        // Rows are added up: their order may differ, and no table is held in memory.
        func add(_ line: String, _ table: DerivedTable, _ side: Int) {
            digests[side][table, default: 0] &+= Signature.digest64(line, table.rawValue)
        }
        try sqlite.read { db in for table in DerivedTable.allCases { try sqlite.each(table, db) { add($1, table, 0) } } }
        try postgres.snapshot { connection in
            for table in DerivedTable.allCases { try postgres.each(table, connection) { add($1, table, 1) } }
        }
        for table in DerivedTable.allCases where digests[0][table] != digests[1][table] {
            throw .unavailable("the copy differs from its source: \(table.rawValue)")
        }
        let (one, other) = (try sqlite.load(noncesSince: 0), try postgres.load(noncesSince: 0))
        guard one.lots == other.lots, one.activeOrders == other.activeOrders, one.counters == other.counters,
            one.balances == other.balances,
            one.lastSerial == other.lastSerial, one.credentials == other.credentials, one.nonces.count == other.nonces.count
        else { throw .unavailable("a city that starts from the copy is another one") }
        try compareRows()
        guard one.balances.values.reduce(0, +) == 0 else { throw .unavailable("the ledger does not sum to zero") }
        let all = DerivedTable.allCases.map { String(UInt64(bitPattern: digests[0][$0] ?? 0), radix: 16) }.joined(separator: " ")
        return String(Signature.hash(canonical: Array(all.utf8)).prefix(16))
    }
}
