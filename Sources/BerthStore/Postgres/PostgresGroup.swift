import BerthCore
import BerthWire

/// The rows of one group of commits, gathered by table: one statement a table, whatever the size of the group. A row that the group writes
/// several times is written once, as it is at the end. Pure: nothing is sent.
struct PostgresGroup {
    /// How far both logs of a lot are.
    struct Position: Sendable {
        var upEpoch: String?
        var upAck: Int64 = 0
        var downEpoch: String?
        var downLast: Int64 = 0
        var downAck: Int64 = 0
    }

    /// The state of the tables that the next group follows from.
    struct Known: Sendable {
        /// The number of the last entry.
        var last: Int64 = 0
        var positions: [String: Position] = [:]
        var auditId: Int64 = 0
        var auditHash = ""
        var partitions: Set<String> = []
    }

    private enum Cell {
        case null
        case int(Int64)
        /// Of a text or of a column of bytes.
        case bytes([UInt8])

        init(_ text: String) { self = .bytes(Array(text.utf8)) }
        init(_ text: String?) { self = text.map { Cell($0) } ?? .null }
        init(_ number: Int64?) { self = number.map { .int($0) } ?? .null }
    }

    /// Rows of one table. Under a key the last row counts.
    private struct Rows {
        var cells: [[Cell]] = []
        private var places: [[UInt8]: Int] = [:]

        mutating func add(_ row: [Cell]) { cells.append(row) }

        mutating func put(_ key: [UInt8], _ row: [Cell]) {
            if let place = places[key] {
                cells[place] = row
            } else {
                places[key] = cells.count
                cells.append(row)
            }
        }
    }

    private let codec: RowEncoding
    private let term: Int64
    private let before: Known
    /// As it is when the group is committed.
    private(set) var after: Known
    private var tables: [PostgresTable: Rows] = [:]
    private var claims: [ByteKey: Claim] = [:]
    private var balances: [String: Int64] = [:]
    private var positions: Set<String> = []
    private var making: [String] = []
    private var lastNotification: Int64 = 0
    /// Digests of the orders' and the replies' names, for the index in memory.
    private(set) var clientKeys: [Int64] = []
    private(set) var replyKeys: [Int64] = []

    /// The changes of one counter.
    private struct Claim {
        var name: [UInt8]
        var delta: Int64 = 0
        var max: Int64
        /// The highest count before the group with which every claim of the group is within its maximum.
        var room: Int64 = .max
    }

    init(_ codec: RowEncoding, term: Int64, known: Known) {
        self.codec = codec
        self.term = term
        before = known
        after = known
    }

    /// - Throws: ``StoreError/claimRefused(_:)`` where a place of a down log is given twice or left out.
    mutating func add(_ commit: Commit) throws(StoreError) {
        after.last += 1
        let content = commit.draft.content(of: commit, codec)
        var reader = Reader(content: content, entry: after.last)
        let hasEntry = if case .row(.journal) = content.steps.first { true } else { false }
        if !hasEntry { addRow(.journal, [.int(after.last), .int(term), .int(commit.at), .null]) }
        need(.journal, after.last)
        // The columns that a prepared row has not are the event's own.
        var visits = commit.events.lazy.compactMap { if case .visit(let visit) = $0 { visit } else { nil } }.makeIterator()
        var payments = commit.events.lazy.compactMap { if case .payment(let payment) = $0 { payment } else { nil } }.makeIterator()
        var reservations = commit.events.lazy.compactMap { if case .reservation(let one) = $0 { one } else { nil } }.makeIterator()
        for step in content.steps {
            switch step {
            case .row(.journal): addRow(.journal, [.int(after.last), .int(term)] + reader.next(2))
            case .row(.visit):
                var row = reader.next(4)
                let visit = visits.next()
                row[2] = .int(visit?.leaveTime == nil ? 1 : 0)
                row.insert(Cell(visit?.leaveTime), at: 3)
                put(.visits, key: 2, row)
            case .row(.payment):
                let (row, payment) = (reader.next(3), payments.next())
                put(.payments, key: 1, [row[0], row[1], Cell(payment?.parkCode ?? ""), Cell(payment?.payTime), row[2]])
            case .row(.report): reports(reader.next(5))
            case .row(.reportGone): reports(reader.next(3))
            case .row(.upLog):
                let row = reader.next(11)
                if case .int(let at) = row[8] { need(.upLog, at) }
                addRow(.upLog, row)
            case .row(let name):
                guard let table = PostgresTable(plain: name) else { throw .unavailable("no table for \(name)") }
                put(table, key: table.keyColumns, reader.next(table.types.count))
            case .reservation(let key, let serial):
                var row = reader.next(10)
                row.insert(Cell(reservations.next()?.clientOrderNo ?? ""), at: 4)
                put(.orders, key: 1, row)
                _ = serial
                clientKeys.append(key)
            case .down(let log, let seq):
                try follow(log, seq)
                addRow(.downLog, reader.next(8))
            case .reply(let key):
                let row = reader.next(9)
                if case .int(let at) = row[7] { need(.replies, at) }
                let showsOrder: Cell = if case .int(0) = row[8] { .int(0) } else { .int(1) }
                addRow(.replies, [.int(key), .int(after.last), row[7]] + row[0..<5] + [row[5], row[6], showsOrder])
                replyKeys.append(key)
            case .counted(let key, let delta, let max): count(key, reader.next(3), delta: Int64(delta), max: Int64(max))
            case .event(let event): add(event)
            }
        }
        if let record = commit.audit { add(record) }
        for case .report(let report) in commit.events where report.kind == ProviderNotification.kind {
            lastNotification = max(lastNotification, Int64(report.key) ?? 0)
        }
    }

    // MARK: Rows

    private mutating func addRow(_ table: PostgresTable, _ row: [Cell]) { tables[table, default: Rows()].add(row) }

    /// - Parameter key: how many of the first columns name the row; 0 where every row is a new one.
    private mutating func put(_ table: PostgresTable, key: Int, _ row: [Cell]) {
        guard key > 0 else { return addRow(table, row) }
        var name: [UInt8] = []
        // The name of a lot's column stands behind its value.
        for cell in table.isField ? row.suffix(1) : row.prefix(key) {
            switch cell {
            case .null: name.append(0)
            case .int(let number): withUnsafeBytes(of: number) { name.append(contentsOf: $0) }
            case .bytes(let bytes): name.append(contentsOf: bytes + [0xFF])
            }
        }
        tables[table, default: Rows()].put(name, row)
    }

    /// A report that is written or taken out; the last word under its name counts.
    private mutating func reports(_ row: [Cell]) {
        put(.reports, key: 3, row.count == 5 ? row : row + [.null, .null])
    }

    private mutating func need(_ table: PostgresSchema.Partitioned, _ value: Int64) {
        let number = table.number(of: value)
        if after.partitions.insert(table.name(number)).inserted { making += table.making(number) }
    }

    private mutating func count(_ key: ByteKey, _ row: [Cell], delta: Int64, max: Int64) {
        let text = key.text
        var claim =
            claims[key]
            ?? Claim(
                name: RowEncoding.namesPlate(counter: text) ? [1] + PostgresGroup.bytes(row[0]) : [0] + Array(text.utf8), max: max)
        claim.delta += delta
        if delta > 0 {
            claim.max = max
            claim.room = min(claim.room, max - claim.delta)
        }
        claims[key] = claim
    }

    private static func bytes(_ cell: Cell) -> [UInt8] { if case .bytes(let bytes) = cell { bytes } else { [] } }

    // MARK: Logs and money

    /// The database's own word that a place is given once: the next one and no other.
    private mutating func follow(_ log: RowIndex.LogName, _ seq: Int64) throws(StoreError) {
        var position = after.positions[log.lot] ?? Position()
        if seq == 1, position.downEpoch != log.epoch { (position.downEpoch, position.downLast, position.downAck) = (log.epoch, 0, 0) }
        guard position.downEpoch == log.epoch, seq == position.downLast + 1 else {
            throw .claimRefused("down log \(log.lot) \(log.epoch): \(seq) after \(position.downLast)")
        }
        position.downLast = seq
        set(log.lot, position)
    }

    private mutating func set(_ lot: String, _ position: Position) {
        after.positions[lot] = position
        positions.insert(lot)
    }

    private mutating func add(_ event: Event) {
        switch event {
        case .downSettled(let lot, let epoch, let ackSeq, let results):
            for result in results { addRow(.settled, [Cell(lot), Cell(epoch), .int(result.seq)]) }
            var position = after.positions[lot] ?? Position()
            position.downAck = ackSeq
            set(lot, position)
        case .upConsumed(let lot, let epoch, let seq):
            var position = after.positions[lot] ?? Position()
            if seq == 1, let open = position.upEpoch, open != epoch { addRow(.closedEpochs, [Cell(lot), Cell(open)]) }
            (position.upEpoch, position.upAck) = (epoch, seq)
            set(lot, position)
        case .posting(let posting):
            need(.ledger, posting.at)
            for leg in posting.legs {
                addRow(
                    .ledger,
                    [.int(posting.at), Cell(posting.kind.rawValue), Cell(posting.reference), Cell(leg.account.text), .int(leg.fen)])
                balances[leg.account.text, default: 0] += leg.fen
            }
        default: preconditionFailure("a step of its own")
        }
    }

    private mutating func add(_ record: AuditRecord) {
        var record = record
        record.id = after.auditId + 1
        record.hash = record.hash(after: after.auditHash)
        addRow(
            .audit,
            [
                .int(record.id), .int(record.at), Cell(record.actor), Cell(record.action), Cell(record.target), Cell(record.detail),
                Cell(record.hash),
            ])
        (after.auditId, after.auditHash) = (record.id, record.hash)
    }

    // MARK: Statements

    /// One transaction: the fence first.
    func statements() -> [PostgresConnection.Statement] {
        var statements: [PostgresConnection.Statement] = [
            .init(sql: "BEGIN"), .init(sql: "SELECT advance($1, $2, $3)", values: [.int(term), .int(before.last), .int(after.last)]),
        ]
        statements += making.map { .init(sql: $0, isPrepared: false) }
        var all = tables
        for lot in positions.sorted() {
            guard let p = after.positions[lot] else { continue }
            all[.positions, default: Rows()].add(
                [Cell(lot), Cell(p.upEpoch), .int(p.upAck), Cell(p.downEpoch), .int(p.downLast), .int(p.downAck)])
        }
        for (account, fen) in balances.sorted(by: { $0.key < $1.key }) { all[.balances, default: Rows()].add([Cell(account), .int(fen)]) }
        if lastNotification > 0 { all[.marks, default: Rows()].add([Cell("tiding"), .int(lastNotification)]) }
        for table in PostgresTable.allCases {
            if table == .settled, let counts = counters() { statements.append(counts) }
            if let rows = all[table]?.cells, !rows.isEmpty { statements += PostgresGroup.statement(table, rows) }
        }
        statements.append(.init(sql: "COMMIT"))
        return statements
    }

    private static func statement(_ table: PostgresTable, _ rows: [[Cell]]) -> [PostgresConnection.Statement] {
        if table == .reports {
            // A row without a body is taken out.
            let isGone: ([Cell]) -> Bool = { if case .null = $0[4] { true } else { false } }
            let (gone, kept) = (rows.filter(isGone), rows.filter { !isGone($0) })
            return [(PostgresTable.reportsGone, gone.map { Array($0[0..<3]) }), (.reports, kept)].filter { !$0.1.isEmpty }.map {
                .init(sql: $0.0.sql, values: columns($0.0.types, $0.1))
            }
        }
        return [.init(sql: table.sql, values: columns(table.types, rows))]
    }

    private static func columns(_ types: [PostgresType.Element], _ rows: [[Cell]]) -> [PostgresValue] {
        types.enumerated().map { column, type in
            var array = PostgresArray(type)
            for row in rows {
                switch row[column] {
                case .null: if type == .int8 { array.append(nil as Int64?) } else { array.append(nil as String?) }
                case .int(let number): array.append(number)
                case .bytes(let bytes): if type == .text { array.append(text: bytes) } else { array.append(bytes: bytes) }
                }
            }
            return .array(array)
        }
    }

    private func counters() -> PostgresConnection.Statement? {
        guard !claims.isEmpty else { return nil }
        var (digests, names, periods) = (PostgresArray(.bytea), PostgresArray(.bytea), PostgresArray(.text))
        var (deltas, maxes, rooms) = (PostgresArray(.int8), PostgresArray(.int8), PostgresArray(.int8))
        // Always in one order, so that two transactions never wait for each other.
        let all = claims.map { (codec.counterDigest($0.key.text), $0.key.text, $0.value) }.sorted { $0.0.lexicographicallyPrecedes($1.0) }
        for (digest, name, claim) in all {
            digests.append(bytes: digest)
            names.append(bytes: claim.name)
            periods.append(RowEncoding.period(ofCounter: name))
            deltas.append(claim.delta)
            maxes.append(claim.max)
            rooms.append(claim.room)
        }
        return .init(
            sql: "SELECT count_up($1, $2, $3, $4, $5, $6)",
            values: [.array(digests), .array(names), .array(periods), .array(deltas), .array(maxes), .array(rooms)])
    }

    /// Takes the values of a prepared commit in their order.
    private struct Reader {
        let content: PreparedCommit.Content
        let entry: Int64
        private var at = 0

        init(content: PreparedCommit.Content, entry: Int64) {
            self.content = content
            self.entry = entry
        }

        mutating func next(_ count: Int) -> [Cell] {
            let values = content.values[at..<at + count]
            at += count
            return values.map { value in
                switch value {
                case .int(let number): .int(number)
                case .entry: .int(entry)
                case .text(let range), .blob(let range): .bytes(Array(content.bytes[Int(range.lowerBound)..<Int(range.upperBound)]))
                }
            }
        }
    }
}

/// The tables in the order in which a group writes them: rows before the changes to rows of the same group.
enum PostgresTable: CaseIterable {
    case journal, registered, policy, profile, gates, remaining, orders, visits, downLog, settled, replies, upLog, mended, notices, reports,
        reportsGone, bills, payments, ledger, balances, audit, closedEpochs, positions, marks

    /// The table of a prepared row that needs nothing more.
    init?(plain name: Statements.Name) {
        switch name {
        case .registered: self = .registered
        case .policy: self = .policy
        case .profile: self = .profile
        case .gates: self = .gates
        case .remaining: self = .remaining
        case .notice: self = .notices
        case .bill: self = .bills
        case .mended: self = .mended
        default: return nil
        }
    }

    /// A column of a lot: its value, then the lot.
    var isField: Bool { [.policy, .profile, .gates, .remaining].contains(self) }

    /// How many of the first columns name a row; 0 where every row is a new one.
    var keyColumns: Int {
        switch self {
        case .policy, .profile, .gates, .remaining, .bills: 1
        default: 0
        }
    }

    var types: [PostgresType.Element] {
        switch self {
        case .journal: [.int8, .int8, .int8, .bytea]
        case .registered: [.text]
        case .policy, .profile, .gates, .remaining, .closedEpochs: [.text, .text]
        case .orders: [.int8, .text, .text, .int8, .text, .int8, .text, .int8, .int8, .text, .int8]
        case .visits: [.text, .text, .int8, .int8, .text]
        case .downLog: [.text, .text, .int8, .int8, .text, .text, .bytea, .int8]
        case .settled, .mended: [.text, .text, .int8]
        case .replies: [.int8, .int8, .int8, .text, .text, .text, .text, .text, .int8, .bytea, .int8]
        case .upLog: [.text, .text, .int8, .text, .text, .int8, .text, .bytea, .int8, .text, .int8]
        case .notices: [.text, .int8, .int8, .text]
        case .reports: [.text, .text, .text, .int8, .text]
        case .reportsGone: [.text, .text, .text]
        case .bills: [.text, .int8, .text]
        case .payments: [.text, .int8, .text, .int8, .text]
        case .ledger: [.int8, .text, .text, .text, .int8]
        case .balances, .marks: [.text, .int8]
        case .audit: [.int8, .int8, .text, .text, .text, .text, .text]
        case .positions: [.text, .text, .int8, .text, .int8, .int8]
        }
    }

    /// `unnest` of all columns.
    private var rows: String { "unnest(" + types.indices.map { "$\($0 + 1)" }.joined(separator: ", ") + ")" }

    private func field(_ column: String) -> String {
        "UPDATE lots SET \(column) = v.value FROM \(rows) AS v(value, lot) WHERE lots.lot = v.lot"
    }

    var sql: String {
        switch self {
        case .journal: "INSERT INTO journal(id, term, at, body) SELECT * FROM \(rows)"
        case .registered: "INSERT INTO lots(lot) SELECT * FROM \(rows) ON CONFLICT DO NOTHING"
        case .policy: field("policy")
        case .profile: field("profile")
        case .gates: field("gates")
        case .remaining: field("remaining")
        case .orders:
            """
            INSERT INTO orders(serial, lot, app_id, client_key, client_no, status, body, plate_key, entry, user_token, changed_at)
                SELECT * FROM \(rows) ON CONFLICT (serial) DO UPDATE SET status = excluded.status, body = excluded.body,
                plate_key = excluded.plate_key, entry = excluded.entry, changed_at = excluded.changed_at
            """
        case .visits:
            """
            INSERT INTO visits SELECT v.lot, v.record_no, v.is_open = 1, v.left_at, v.body
                FROM \(rows) AS v(lot, record_no, is_open, left_at, body)
                ON CONFLICT (lot, record_no) DO UPDATE SET is_open = excluded.is_open, left_at = excluded.left_at, body = excluded.body
            """
        case .downLog: "INSERT INTO down_log(lot, epoch, seq, at, order_no, service, data, entry) SELECT * FROM \(rows)"
        case .settled:
            """
            UPDATE down_log d SET settled = true FROM \(rows) AS s(lot, epoch, seq)
                WHERE d.lot = s.lot AND d.epoch = s.epoch AND d.seq = s.seq
            """
        case .replies:
            """
            INSERT INTO replies(key, number, at, app_id, request_id, nonce, service, data_hash, code, data, shows_order)
                SELECT r.a, r.b, r.c, r.d, r.e, r.f, r.g, r.h, r.i, r.j, r.k = 1 FROM \(rows) AS r(a, b, c, d, e, f, g, h, i, j, k)
            """
        case .upLog:
            """
            INSERT INTO up_log(lot, epoch, seq, request_id, service, code, reply, data, at, record_no, mended)
                SELECT u.a, u.b, u.c, u.d, u.e, u.f, u.g, u.h, u.i, u.j, u.k = 1 FROM \(rows) AS u(a, b, c, d, e, f, g, h, i, j, k)
            """
        case .mended:
            """
            UPDATE up_log u SET mended = true FROM \(rows) AS m(lot, epoch, seq)
                WHERE u.lot = m.lot AND u.epoch = m.epoch AND u.seq = m.seq
            """
        case .notices:
            """
            INSERT INTO notices(lot, type, at, body) SELECT n.lot, n.type, n.at, n.body
                FROM \(rows) WITH ORDINALITY AS n(lot, type, at, body, place) ORDER BY n.place
            """
        case .reports:
            """
            INSERT INTO reports(lot, kind, key, at, body) SELECT * FROM \(rows)
                ON CONFLICT (lot, kind, key) DO UPDATE SET at = excluded.at, body = excluded.body
            """
        case .reportsGone:
            "DELETE FROM reports r USING \(rows) AS g(lot, kind, key) WHERE r.lot = g.lot AND r.kind = g.kind AND r.key = g.key"
        case .bills: "INSERT INTO bills(key, expire_at, body) SELECT * FROM \(rows) ON CONFLICT (key) DO UPDATE SET body = excluded.body"
        case .payments:
            """
            INSERT INTO payments(key, state, lot, pay_time, body) SELECT * FROM \(rows)
                ON CONFLICT (key) DO UPDATE SET state = excluded.state, pay_time = excluded.pay_time, body = excluded.body
            """
        case .ledger:
            """
            INSERT INTO ledger(at, kind, ref, account, fen) SELECT l.at, l.kind, l.ref, l.account, l.fen
                FROM \(rows) WITH ORDINALITY AS l(at, kind, ref, account, fen, place) ORDER BY l.place
            """
        case .balances:
            "INSERT INTO balances SELECT * FROM \(rows) ON CONFLICT (account) DO UPDATE SET fen = balances.fen + excluded.fen"
        case .audit: "INSERT INTO audit SELECT * FROM \(rows)"
        case .closedEpochs: "INSERT INTO closed_epochs SELECT * FROM \(rows) ON CONFLICT DO NOTHING"
        case .positions:
            """
            INSERT INTO positions SELECT * FROM \(rows) ON CONFLICT (lot) DO UPDATE SET up_epoch = excluded.up_epoch, up_ack = excluded.up_ack,
                down_epoch = excluded.down_epoch, down_last = excluded.down_last, down_ack = excluded.down_ack
            """
        case .marks:
            "INSERT INTO marks SELECT * FROM \(rows) ON CONFLICT (name) DO UPDATE SET value = greatest(marks.value, excluded.value)"
        }
    }
}
