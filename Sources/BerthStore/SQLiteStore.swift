public import BerthCore
public import BerthWire
import Foundation
import GRDB
import Synchronization

/// The embedded store: SQLite in WAL mode with `synchronous=FULL`, one writer, several readers.
///
/// Each commit appends to the journal and brings the rows that are derived from it up to date in the same transaction.
public final class SQLiteStore: Store {
    private let pool: DatabasePool
    private let checkpointer: Checkpointer
    let places = Mutex(Places())
    let codec: Codec

    /// - Parameters:
    ///   - path: of the database file; its folder exists.
    ///   - vault: seals personal data and secrets; nil for measurements without it.
    public init(path: String, vault: Vault?) throws(StoreError) {
        let codec = Codec(vault: vault)
        self.codec = codec
        var configuration = Configuration()
        configuration.maximumReaderCount = 4
        configuration.busyMode = .timeout(5)
        do {
            pool = try DatabasePool(path: path, configuration: configuration)
            try Schema.migrator(codec).migrate(pool)
            // DatabasePool sets NORMAL after the preparation of a connection, so FULL is forced here and read back.
            try pool.writeWithoutTransaction { db in
                try db.execute(sql: "PRAGMA synchronous=FULL")
                let mode = try Int.fetchOne(db, sql: "PRAGMA synchronous")
                guard mode == 2 else { throw StoreError.unavailable("synchronous is \(mode ?? -1), not FULL") }
            }
            checkpointer = try Checkpointer(path: path)
            try pool.writeWithoutTransaction { [checkpointer] in checkpointer.watch($0) }
            let loaded = try pool.read { try Places.load($0, codec) }
            places.withLock { $0 = loaded }
        } catch { throw SQLiteStore.translate(error) }
    }

    public func close() {
        checkpointer.close()
        try? pool.close()
    }

    private static func translate(_ error: any Error) -> StoreError {
        if let error = error as? StoreError { return error }
        if error is Vault.Unopened { return .wrongKey }
        guard let error = error as? DatabaseError else { return .unavailable("\(error)") }
        switch error.resultCode {
        case .SQLITE_FULL: return .full
        case .SQLITE_IOERR: return .full
        case .SQLITE_CONSTRAINT: return .claimRefused(error.message ?? "")
        default: return .unavailable(error.message ?? "\(error.resultCode)")
        }
    }

    // MARK: Writing

    public func prepare(_ commit: Commit) { _ = commit.draft.content(of: commit, codec) }

    @discardableResult public func commit(_ batch: [Commit]) throws(StoreError) -> Int64 {
        do {
            let (written, journalId) = try pool.write { db in
                // One writer: what is known now stays known while this transaction runs.
                let writer = BatchWriter(db: db, known: places.withLock { $0 }, codec: codec)
                try writer.write(batch)
                return (writer.written, writer.journalId)
            }
            places.withLock { $0.merge(written) }
            return journalId
        } catch { throw SQLiteStore.translate(error) }
    }

    func write(_ body: (Database) throws -> Void) throws(StoreError) {
        do { try pool.write(body) } catch { throw SQLiteStore.translate(error) }
    }

    public func save(_ credential: Credential) throws(StoreError) {
        try write { db in
            try db.execute(
                sql: "INSERT INTO credentials VALUES(?,?) ON CONFLICT(app_id) DO UPDATE SET body = excluded.body",
                arguments: [credential.appId, codec.seal(credential.record.string)])
        }
    }

    public func save(_ picture: Picture) throws(StoreError) {
        try write { db in
            try db.execute(
                sql: """
                    INSERT INTO pictures VALUES(?,?,?,?,?,?,?,?,?,?)
                    ON CONFLICT(image_id) DO UPDATE SET completed_at = excluded.completed_at
                    """,
                arguments: [
                    picture.imageId, picture.createdAt, picture.expireAt, picture.completedAt, picture.appId, picture.parkCode,
                    picture.type, picture.ext, picture.size, picture.sha256,
                ])
        }
    }

    public func picture(_ imageId: String) -> Picture? {
        read(nil) { db in
            try GRDB.Row.fetchOne(db, sql: "SELECT * FROM pictures WHERE image_id = ?", arguments: [imageId]).map {
                Picture(
                    imageId: imageId, appId: $0["app_id"], parkCode: $0["lot"], type: $0["type"], ext: $0["ext"], size: $0["size"],
                    sha256: $0["sha256"], createdAt: $0["at"], expireAt: $0["expire_at"], completedAt: $0["completed_at"])
            }
        }
    }

    public func removePictures(madeBefore: Millis, ticketsBefore: Millis) throws(StoreError) -> [String] {
        do {
            return try pool.write { db in
                try String.fetchAll(
                    db,
                    sql: """
                        DELETE FROM pictures WHERE at < ? OR (completed_at IS NULL AND expire_at < ?) RETURNING image_id
                        """, arguments: [madeBefore, ticketsBefore])
            }
        } catch { throw SQLiteStore.translate(error) }
    }

    public func add(_ counts: [DayCount], through journalId: Int64) throws(StoreError) {
        try write { db in
            let statement = try db.cachedStatement(
                sql: """
                    INSERT INTO day_counts VALUES(?,?,?,?,?) ON CONFLICT DO UPDATE SET value = CASE
                        WHEN name LIKE 'peak%' THEN max(value, excluded.value) ELSE value + excluded.value END
                    """)
            for count in counts {
                for (name, value) in count.counts {
                    try statement.execute(arguments: [count.key.day, count.key.parkCode, count.key.appId, name, value])
                }
            }
            try db.execute(
                sql: "INSERT INTO marks VALUES('counted', ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
                arguments: [journalId])
        }
    }

    public func counts(days: ClosedRange<Int64>, parkCode: String?, appId: String?) -> [DayCount] {
        read([]) { db in
            var found: [DayCount.Key: DayCount] = [:]
            let rows = try GRDB.Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM day_counts WHERE day BETWEEN ?1 AND ?2 AND (?3 IS NULL OR lot = ?3) AND (?4 IS NULL OR app_id = ?4)
                    ORDER BY day, lot, app_id
                    """, arguments: [days.lowerBound, days.upperBound, parkCode, appId])
            for row in rows {
                let key = DayCount.Key(day: row["day"], parkCode: row["lot"], appId: row["app_id"])
                found[key, default: DayCount(key: key, counts: [:])].counts[row["name"]] = row["value"]
            }
            return found.values.sorted { ($0.key.day, $0.key.parkCode, $0.key.appId) < ($1.key.day, $1.key.parkCode, $1.key.appId) }
        }
    }

    public func countedThrough() -> Int64 {
        read(0) { db in try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = 'counted'") ?? 0 }
    }

    // MARK: Reading

    /// What happened in one commit.
    private func events(_ db: Database, entry: Int64) throws -> [Event] {
        let statement = try db.cachedStatement(sql: "SELECT body FROM journal WHERE id = ?")
        guard let body = try DatabaseValue.fetchOne(statement, arguments: [entry]) else {
            throw Codec.Unreadable(what: "entry \(entry) of the journal")
        }
        return try codec.events(Codec.parse(codec.open(body)))
    }

    /// An order as it stands in its row, or in the entry that the row points at.
    func order(_ db: Database, _ row: GRDB.Row) throws -> Order {
        let (serial, entry): (Int64, Int64) = (row["serial"], row["entry"])
        guard entry > 0 else { return try codec.order(Codec.parse(row["body"])) }
        let orders = try events(db, entry: entry).compactMap {
            if case .order(let order) = $0, order.serial == serial { order } else { nil }
        }
        guard let order = orders.last else { throw Codec.Unreadable(what: "order \(serial)") }
        return order
    }

    private func orders(_ db: Database, where condition: String, _ arguments: StatementArguments = []) throws -> [Order] {
        try GRDB.Row.fetchAll(db, sql: "SELECT serial, body, entry FROM orders WHERE \(condition)", arguments: arguments)
            .map { try order(db, $0) }
    }

    func down(_ db: Database, _ row: GRDB.Row) throws -> DownRow {
        var down = DownRow(
            epoch: row["epoch"], seq: row["seq"], at: row["at"], service: row["service"], data: try codec.open(row["data"] as DatabaseValue)
        )
        if (row["entry"] as Int64) > 0 {
            let entries = try events(db, entry: row["entry"]).compactMap {
                if case .down(let entry) = $0, entry.seq == down.seq, entry.epoch == down.epoch { entry } else { nil }
            }
            guard let entry = entries.first(where: { $0.parkCode == row["lot"] }) else {
                throw Codec.Unreadable(what: "message \(down.epoch) \(down.seq)")
            }
            let (service, data) = Encode.lotMessage(entry.message)
            (down.service, down.data) = (service, data.string)
        }
        return down
    }

    private func read<Value>(_ fallback: Value, _ body: (Database) throws -> Value) -> Value {
        do { return try pool.read(body) } catch {
            // A reader that fails finds nothing; the writer's next commit will say what is wrong with the disk.
            return fallback
        }
    }

    public func order(_ orderNo: String) -> Order? {
        guard let serial = Order.serial(in: orderNo) else { return nil }
        return order(serial: serial).flatMap { $0.orderNo == orderNo ? $0 : nil }
    }

    public func order(appId: String, clientOrderNo: String) -> Order? {
        let digest = Signature.digest64(appId, clientOrderNo)
        guard let serial = places.withLock({ $0.orders[digest] }) else { return nil }
        return order(serial: serial).flatMap { $0.appId == appId && $0.clientOrderNo == clientOrderNo ? $0 : nil }
    }

    private func order(serial: Int64) -> Order? {
        read(nil) { db in try orders(db, where: "serial = ?", [serial]).first }
    }

    public func visit(parkCode: String, recordNo: String) -> Visit? {
        read(nil) { db in
            try String.fetchOne(
                db, sql: "SELECT body FROM visits WHERE lot = ? AND record_no = ?", arguments: [parkCode, recordNo]
            ).map { try codec.visit(Codec.parse($0)) }
        }
    }

    public func payment(_ payNo: String) -> Payment? {
        read(nil) { db in
            try String.fetchOne(db, sql: "SELECT body FROM payments WHERE pay_no = ?", arguments: [payNo])
                .map { try Codec.payment(Codec.parse($0)) }
        }
    }

    public func orders(_ filter: OrderFilter) -> [Order] {
        var conditions = ["serial < ?"]
        var arguments: StatementArguments = [filter.beforeSerial]
        func add(_ condition: String, _ value: (any DatabaseValueConvertible)?) {
            guard let value else { return }
            conditions.append(condition)
            arguments += [value]
        }
        add("app_id = ?", filter.appId)
        add("lot = ?", filter.parkCode)
        add("status = ?", filter.status?.rawValue)
        add("plate_key = ?", filter.plate.map(codec.plateKey))
        add("user = ?", filter.userToken)
        let condition = "\(conditions.joined(separator: " AND ")) ORDER BY serial DESC LIMIT ?"
        arguments += [filter.limit]
        return read([]) { db in
            let found = try orders(db, where: condition, arguments)
            // Two plates may share a digest, however unlikely.
            return filter.plate.map { plate in found.filter { $0.plate == plate } } ?? found
        }
    }

    public func reply(key: Int64, appId: String, requestId: String) -> KeptReply? {
        guard let id = places.withLock({ $0.replies[key] }) else { return nil }
        return read(nil) { db in
            try GRDB.Row.fetchOne(
                db, sql: "SELECT * FROM replies WHERE id = ? AND app_id = ? AND request_id = ?",
                arguments: [id, appId, requestId]
            ).map {
                var data = Array(try codec.open($0["data"] as DatabaseValue).utf8)
                let showsOrder = ($0["entry"] as Int64) > 0
                if showsOrder {
                    let orders = try events(db, entry: $0["entry"]).compactMap { if case .order(let order) = $0 { order } else { nil } }
                    guard let order = orders.first else { throw Codec.Unreadable(what: "reply \(requestId)") }
                    data = Encode.orderText(order, alternatives: [])
                }
                return KeptReply(
                    appId: appId, requestId: requestId, nonce: $0["nonce"], service: $0["service"], dataHash: $0["data_hash"],
                    code: $0["code"], data: data, at: $0["at"], showsOrder: showsOrder)
            }
        }
    }

    private func upResult(_ row: GRDB.Row) throws -> UpResult {
        UpResult(
            parkCode: row["lot"], epoch: row["epoch"], seq: row["seq"], requestId: row["request_id"],
            service: row["service"], code: row["code"], reply: row["reply"], data: try codec.open(row["data"] as DatabaseValue),
            at: row["at"])
    }

    public func up(parkCode: String, epoch: String, seq: Int64) -> UpResult? {
        read(nil) { db in
            try GRDB.Row.fetchOne(
                db, sql: "SELECT * FROM up_log WHERE lot = ? AND epoch = ? AND seq = ?",
                arguments: [parkCode, epoch, seq]
            ).map(upResult)
        }
    }

    public func deadLetters(parkCode: String, limit: Int) -> [UpResult] {
        read([]) { db in
            try GRDB.Row.fetchAll(
                db, sql: "SELECT * FROM up_log WHERE lot = ? AND code <> 0 ORDER BY at DESC LIMIT ?",
                arguments: [parkCode, limit]
            ).map(upResult)
        }
    }

    public func down(parkCode: String, epoch: String, after seq: Int64, limit: Int) -> [DownRow] {
        let rows = places.withLock { places -> [Int64] in
            guard let run = places.down[Places.LogName(lot: parkCode, epoch: epoch)] else { return [] }
            return (max(seq + 1, run.first)..<max(seq + 1, run.next)).lazy.compactMap { run.row($0) }.prefix(limit).map { $0 }
        }
        return read([]) { db in
            let statement = try db.cachedStatement(sql: "SELECT lot, epoch, seq, at, service, data, entry FROM down_log WHERE id = ?")
            return try rows.compactMap { id in try GRDB.Row.fetchOne(statement, arguments: [id]).map { try down(db, $0) } }
        }
    }

    public func count(occupancy: [OccupancyCount]) throws(StoreError) {
        try write { db in
            struct Place: Hashable { let lot: String, day: Int64 }
            for (place, ones) in Dictionary(grouping: occupancy, by: { Place(lot: $0.parkCode, day: $0.day) }) {
                let old = try String.fetchOne(
                    db, sql: "SELECT counts FROM occupancy WHERE day = ? AND lot = ?", arguments: [place.day, place.lot])
                var counts = SQLiteStore.counts(old ?? "")
                for one in ones where counts.indices.contains(one.slot) { counts[one.slot] = one.count }
                try db.cachedStatement(
                    sql: "INSERT INTO occupancy VALUES(?,?,?) ON CONFLICT(day, lot) DO UPDATE SET counts = excluded.counts"
                ).execute(arguments: [place.day, place.lot, counts.map { String($0) }.joined(separator: ",")])
            }
            // Counts of long ago are no history any more; an import of old days must not forget itself.
            if let day = occupancy.map(\.day).max() { try db.execute(sql: "DELETE FROM occupancy WHERE day < ?", arguments: [day - 60]) }
        }
    }

    private static func counts(_ text: String) -> [Int] {
        var counts = [Int](repeating: -1, count: 48)
        for (index, value) in text.split(separator: ",").prefix(48).enumerated() { counts[index] = Int(value) ?? -1 }
        return counts
    }

    public func occupancy(days: ClosedRange<Int64>) -> [OccupancyDay] {
        read([]) { db in
            try GRDB.Row.fetchAll(
                db, sql: "SELECT * FROM occupancy WHERE day BETWEEN ? AND ? ORDER BY lot, day",
                arguments: [days.lowerBound, days.upperBound]
            ).map { OccupancyDay(parkCode: $0["lot"], day: $0["day"], counts: SQLiteStore.counts($0["counts"])) }
        }
    }

    public func ledger(_ account: Account, from: Millis, to: Millis, limit: Int) -> (before: Int64, rows: [LedgerRow]) {
        read((0, [])) { db in
            let before = try Int64.fetchOne(
                db, sql: "SELECT sum(fen) FROM ledger WHERE account = ? AND at < ?", arguments: [account.text, from])
            let rows = try GRDB.Row.fetchAll(
                db, sql: "SELECT * FROM ledger WHERE account = ? AND at >= ? AND at < ? ORDER BY at, id LIMIT ?",
                arguments: [account.text, from, to, limit]
            ).map {
                LedgerRow(id: $0["id"], at: $0["at"], kind: $0["kind"], reference: $0["ref"], account: $0["account"], fen: $0["fen"])
            }
            return (before ?? 0, rows)
        }
    }

    public func visits(parkCode: String, leftFrom: Millis, to: Millis, limit: Int) -> [Visit] {
        read([]) { db in
            try String.fetchAll(
                db,
                sql: """
                    SELECT body FROM visits WHERE lot = ? AND is_open = 0 AND json_extract(body, '$.lt') >= ? AND json_extract(body, '$.lt') < ?
                    ORDER BY record_no LIMIT ?
                    """, arguments: [parkCode, leftFrom, to, limit]
            ).map { try codec.visit(Codec.parse($0)) }
        }
    }

    public func payments(parkCode: String, from: Millis, to: Millis, limit: Int) -> [Payment] {
        read([]) { db in
            try String.fetchAll(
                db,
                sql: """
                    SELECT body FROM payments WHERE json_extract(body, '$.lot') = ? AND json_extract(body, '$.t') >= ?
                        AND json_extract(body, '$.t') < ? ORDER BY pay_no LIMIT ?
                    """, arguments: [parkCode, from, to, limit]
            ).map { try Codec.payment(Codec.parse($0)) }
        }
    }

    public func notices(parkCode: String?, limit: Int) -> [Notice] {
        read([]) { db in
            try String.fetchAll(
                db, sql: "SELECT body FROM notices WHERE ? IS NULL OR lot = ? ORDER BY id DESC LIMIT ?",
                arguments: [parkCode, parkCode, limit]
            ).map { try Codec.notice(Codec.parse($0)) }
        }
    }

    public func load(noncesSince: Millis) throws(StoreError) -> CityImage {
        do { return try pool.read { db in try load(db, noncesSince: noncesSince) } } catch {
            throw SQLiteStore.translate(error)
        }
    }

    private func load(_ db: Database, noncesSince: Millis) throws -> CityImage {
        var image = CityImage()
        var closed: [String: Set<String>] = [:]
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT lot, epoch FROM closed_epochs") {
            closed[row["lot"], default: []].insert(row["epoch"])
        }
        let lots = try GRDB.Row.fetchAll(
            db, sql: "SELECT * FROM lots LEFT JOIN positions USING(lot) ORDER BY lot")
        for row in lots {
            var lot = LotImage(parkCode: row["lot"])
            lot.policy = try (row["policy"] as String?).map { try Codec.policy(Codec.parse($0)) }
            lot.profile = try (row["profile"] as String?).map { try Codec.profile(Codec.parse($0)) }
            lot.gates = try (row["gates"] as String?).map { try Codec.gates(Codec.parse($0)) } ?? []
            lot.remaining = try (row["remaining"] as String?).map { try Codec.remaining(Codec.parse($0)) }
            lot.up = LogPosition(
                epoch: row["up_epoch"], ackSeq: row["up_ack"] ?? 0, closed: closed[lot.parkCode] ?? [])
            lot.downEpoch = row["down_epoch"]
            lot.downLast = row["down_last"] ?? 0
            lot.downAck = row["down_ack"] ?? 0
            image.lots.append(lot)
        }
        let index = Dictionary(uniqueKeysWithValues: image.lots.enumerated().map { ($1.parkCode, $0) })
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT lot, epoch, seq, order_no, settled FROM down_log") {
            guard let at = index[row["lot"]] else { continue }
            let seq: Int64 = row["seq"]
            if (row["settled"] as Int) == 0 { image.lots[at].awaiting[seq] = row["order_no"] }
            if image.lots[at].downEpoch == row["epoch"] { image.lots[at].downLast = max(image.lots[at].downLast, seq) }
        }
        // Those that wait for a place (9) are open too.
        image.activeOrders = try orders(db, where: "status < 3 OR status = 9 ORDER BY serial")
        image.lastSerial = try Int64.fetchOne(db, sql: "SELECT max(serial) FROM orders") ?? 0
        image.openVisits = try String.fetchAll(db, sql: "SELECT body FROM visits WHERE is_open = 1")
            .map { try codec.visit(Codec.parse($0)) }
        image.reports = try GRDB.Row.fetchAll(db, sql: "SELECT * FROM reports").map {
            try codec.report(lot: $0["lot"], kind: $0["kind"], key: $0["key"], at: $0["at"], body: $0["body"])
        }
        image.entities = try image.reports.compactMap(Codec.entity)
        image.reports.removeAll { $0.kind.hasPrefix(Codec.entityMark) }
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT account, sum(fen) AS fen FROM ledger GROUP BY account HAVING sum(fen) <> 0") {
            if let account = Account(row["account"] as String) { image.balances[account] = row["fen"] }
        }
        image.bills = try String.fetchAll(db, sql: "SELECT body FROM bills").map { try Codec.bill(Codec.parse($0)) }
        image.pendingPayments = try String.fetchAll(db, sql: "SELECT body FROM payments WHERE state = 0")
            .map { try Codec.payment(Codec.parse($0)) }
        for payNo in image.activeOrders.compactMap(\.prepayNo) {
            let body = try String.fetchOne(db, sql: "SELECT body FROM payments WHERE pay_no = ?", arguments: [payNo])
            if let body { image.pendingPayments.append(try Codec.payment(Codec.parse(body))) }
        }
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT key, count FROM counters WHERE count <> 0") {
            image.counters[try codec.open(row["key"] as DatabaseValue)] = row["count"]
        }
        image.credentials = try String.fetchAll(db, sql: "SELECT body FROM credentials ORDER BY app_id").map { body in
            guard let credential = Credential(record: try Codec.parse(codec.open(body))) else { throw Codec.Unreadable(what: "credential") }
            return credential
        }
        image.nonces = try GRDB.Row.fetchAll(
            db, sql: "SELECT app_id, nonce, at FROM replies WHERE at >= ?", arguments: [noncesSince]
        ).map { ($0["app_id"], $0["nonce"], $0["at"]) }
        return image
    }

    public func journal(after id: Int64, limit: Int) -> [(id: Int64, commit: Commit)] {
        read([]) { db in
            try GRDB.Row.fetchAll(db, sql: "SELECT id, at, body FROM journal WHERE id > ? ORDER BY id LIMIT ?", arguments: [id, limit]).map
            {
                ($0["id"], Commit(at: $0["at"], events: try codec.events(Codec.parse(codec.open($0["body"] as DatabaseValue)))))
            }
        }
    }

    public func audit(after id: Int64, limit: Int) -> [AuditRecord] {
        read([]) { db in
            try GRDB.Row.fetchAll(db, sql: "SELECT * FROM audit WHERE id > ? ORDER BY id LIMIT ?", arguments: [id, limit]).map {
                AuditRecord(
                    id: $0["id"], at: $0["at"], actor: $0["actor"], action: $0["action"], target: $0["target"], detail: $0["detail"],
                    hash: $0["hash"])
            }
        }
    }

    /// The derived rows as they are when nothing is sealed.
    public func dump() -> [String] {
        read([]) { db in
            func rows(_ sql: String, _ line: (GRDB.Row) throws -> String = SQLiteStore.line) throws -> [String] {
                try GRDB.Row.fetchAll(db, sql: sql).map(line)
            }
            func sealed(_ columns: [String], _ body: @escaping (GRDB.Row) throws -> String) -> (GRDB.Row) throws -> String {
                { row in try columns.map { SQLiteStore.text(row[$0]) }.joined(separator: "|") + "|" + body(row) }
            }
            var lines = try rows("SELECT lot, policy, profile, gates, remaining FROM lots ORDER BY lot")
            lines += try rows(
                """
                SELECT lot, up_epoch, up_ack, down_epoch, max(down_last, coalesce((SELECT max(seq) FROM down_log
                    WHERE down_log.lot = positions.lot AND epoch = down_epoch), 0)), down_ack FROM positions ORDER BY lot
                """)
            lines += try rows("SELECT lot, epoch FROM closed_epochs ORDER BY lot, epoch")
            lines += try rows(
                "SELECT * FROM orders ORDER BY serial",
                sealed(["serial", "lot", "app_id", "client_key", "status"]) { Codec.plain.text(try self.order(db, $0)).string })
            lines += try rows(
                "SELECT * FROM visits ORDER BY lot, record_no",
                sealed(["lot", "record_no", "is_open"]) { [codec] in
                    Codec.plain.encode(try codec.visit(Codec.parse($0["body"]))).string
                })
            lines += try rows(
                "SELECT * FROM down_log ORDER BY lot, epoch, seq",
                sealed(["lot", "epoch", "seq", "at", "order_no"]) {
                    let down = try self.down(db, $0)
                    return "\(down.service)|\(down.data)|\(SQLiteStore.text($0["settled"]))"
                })
            lines += try GRDB.Row.fetchAll(db, sql: "SELECT key, count FROM counters WHERE count <> 0")
                .map { "\(try codec.open($0["key"] as DatabaseValue))|\($0["count"] as Int)" }.sorted()
            lines += try rows("SELECT lot, type, at, body FROM notices ORDER BY id")
            lines += try GRDB.Row.fetchAll(db, sql: "SELECT * FROM reports").map {
                try codec.report(lot: $0["lot"], kind: $0["kind"], key: $0["key"], at: $0["at"], body: $0["body"])
            }.sorted { ($0.parkCode, $0.kind, $0.key) < ($1.parkCode, $1.kind, $1.key) }
                .map { "\($0.parkCode)|\($0.kind)|\($0.key)|\($0.at)|\($0.body)" }
            lines += try rows("SELECT bill_no, expire_at, body FROM bills ORDER BY bill_no")
            lines += try rows("SELECT pay_no, state, body FROM payments ORDER BY pay_no")
            lines += try rows("SELECT at, kind, ref, account, fen FROM ledger ORDER BY id")
            return lines
        }
    }

    private static func text(_ value: DatabaseValue) -> String { value.storage.value.map { "\($0)" } ?? "NULL" }
    private static func line(_ row: GRDB.Row) -> String { row.map { text($0.1) }.joined(separator: "|") }
}
