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
    private let places = Mutex(Places())

    /// - Parameter path: of the database file; its folder exists.
    public init(path: String) throws(StoreError) {
        var configuration = Configuration()
        configuration.maximumReaderCount = 4
        configuration.busyMode = .timeout(5)
        do {
            pool = try DatabasePool(path: path, configuration: configuration)
            try Schema.migrator.migrate(pool)
            // DatabasePool sets NORMAL after the preparation of a connection, so FULL is forced here and read back.
            try pool.writeWithoutTransaction { db in
                try db.execute(sql: "PRAGMA synchronous=FULL")
                let mode = try Int.fetchOne(db, sql: "PRAGMA synchronous")
                guard mode == 2 else { throw StoreError.unavailable("synchronous is \(mode ?? -1), not FULL") }
                try db.execute(sql: "PRAGMA wal_autocheckpoint=4000")
            }
            let loaded = try pool.read { try Places.load($0) }
            places.withLock { $0 = loaded }
        } catch { throw SQLiteStore.translate(error) }
    }

    public func close() { try? pool.close() }

    private static func translate(_ error: any Error) -> StoreError {
        if let error = error as? StoreError { return error }
        guard let error = error as? DatabaseError else { return .unavailable("\(error)") }
        switch error.resultCode {
        case .SQLITE_FULL: return .full
        case .SQLITE_IOERR: return .full
        case .SQLITE_CONSTRAINT: return .claimRefused(error.message ?? "")
        default: return .unavailable(error.message ?? "\(error.resultCode)")
        }
    }

    // MARK: Writing

    public func prepare(_ commit: Commit) { _ = commit.draft.steps(of: commit) }

    public func commit(_ batch: [Commit]) throws(StoreError) {
        do {
            let written = try pool.write { db in
                // One writer: what is known now stays known while this transaction runs.
                let writer = BatchWriter(db: db, known: places.withLock { $0 })
                for commit in batch { try writer.write(commit) }
                try writer.finish()
                return writer.written
            }
            places.withLock { $0.merge(written) }
        } catch { throw SQLiteStore.translate(error) }
    }

    public func save(_ credential: Credential) throws(StoreError) {
        do {
            try pool.write { db in
                try db.execute(
                    sql: """
                        INSERT INTO credentials(app_id, secret, role, name, enabled, rate, burst) VALUES(?,?,?,?,?,?,?)
                        ON CONFLICT(app_id) DO UPDATE SET secret=excluded.secret, enabled=excluded.enabled,
                            rate=excluded.rate, burst=excluded.burst, name=excluded.name
                        """,
                    arguments: [
                        credential.appId, credential.secret, credential.role.rawValue, credential.name,
                        credential.isEnabled, credential.ratePerSecond, credential.burst,
                    ])
                for parkCode in credential.parkCodes {
                    try db.execute(
                        sql: "INSERT OR IGNORE INTO credential_lots(app_id, lot) VALUES(?,?)",
                        arguments: [credential.appId, parkCode])
                }
            }
        } catch { throw SQLiteStore.translate(error) }
    }

    public func prune(repliesBefore: Millis, downBefore: Millis, now: Millis) throws(StoreError) {
        do {
            try pool.write { db in
                let replies = try GRDB.Row.fetchAll(
                    db, sql: "DELETE FROM replies WHERE at < ? RETURNING app_id, request_id", arguments: [repliesBefore])
                let down = try GRDB.Row.fetchAll(
                    db,
                    sql: """
                        DELETE FROM down_log WHERE at < ? AND settled = 1 AND EXISTS(SELECT 1 FROM positions p
                            WHERE p.lot = down_log.lot AND (p.down_epoch <> down_log.epoch OR p.down_ack >= down_log.seq))
                        RETURNING lot, epoch, seq
                        """, arguments: [downBefore])
                // Inside the transaction: a commit that comes after it must not have its places overwritten.
                places.withLock { places in
                    for row in replies { places.replies[Signature.digest64(row[0], row[1])] = nil }
                    for row in down { places.down[Places.LogName(lot: row[0], epoch: row[1])]?.drop(row[2]) }
                }
                // A bill is asked for again when it is over; a day later nobody disputes it by its number.
                try db.execute(sql: "DELETE FROM bills WHERE expire_at < ?", arguments: [now - 86_400_000])
                let old = places.withLock { $0.counters.filter { City.isPast(counter: $0.key, at: now) } }
                for (key, id) in old {
                    try db.execute(sql: "DELETE FROM counters WHERE id = ?", arguments: [id])
                    places.withLock { $0.counters[key] = nil }
                }
            }
        } catch { throw SQLiteStore.translate(error) }
    }

    // MARK: Reading

    private func read<Value>(_ fallback: Value, _ body: (Database) throws -> Value) -> Value {
        do { return try pool.read(body) } catch {
            // A reader that fails finds nothing; the writer's next commit will say what is wrong with the disk.
            return fallback
        }
    }

    public func order(_ orderNo: String) -> Order? {
        // The number ends with the serial, which is the key.
        guard orderNo.utf8.count >= 12, let serial = Int64(orderNo.suffix(10)) else { return nil }
        return order(serial: serial).flatMap { $0.orderNo == orderNo ? $0 : nil }
    }

    public func order(appId: String, clientOrderNo: String) -> Order? {
        let digest = Signature.digest64(appId, clientOrderNo)
        guard let serial = places.withLock({ $0.orders[digest] }) else { return nil }
        return order(serial: serial).flatMap { $0.appId == appId && $0.clientOrderNo == clientOrderNo ? $0 : nil }
    }

    private func order(serial: Int64) -> Order? {
        read(nil) { db in
            try String.fetchOne(db, sql: "SELECT body FROM orders WHERE serial = ?", arguments: [serial])
                .map { try Codec.order(Codec.parse($0)) }
        }
    }

    public func visit(parkCode: String, recordNo: String) -> Visit? {
        read(nil) { db in
            try String.fetchOne(
                db, sql: "SELECT body FROM visits WHERE lot = ? AND record_no = ?", arguments: [parkCode, recordNo]
            ).map { try Codec.visit(Codec.parse($0)) }
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
        add("json_extract(body, '$.u') = ?", filter.userToken)
        let sql = "SELECT body FROM orders WHERE \(conditions.joined(separator: " AND ")) ORDER BY serial DESC LIMIT ?"
        arguments += [filter.limit]
        return read([]) { db in
            try String.fetchAll(db, sql: sql, arguments: arguments).map { try Codec.order(Codec.parse($0)) }
        }
    }

    public func reply(appId: String, requestId: String) -> KeptReply? {
        let digest = Signature.digest64(appId, requestId)
        guard let id = places.withLock({ $0.replies[digest] }) else { return nil }
        return read(nil) { db in
            try GRDB.Row.fetchOne(
                db, sql: "SELECT * FROM replies WHERE id = ? AND app_id = ? AND request_id = ?",
                arguments: [id, appId, requestId]
            ).map {
                KeptReply(
                    appId: appId, requestId: requestId, nonce: $0["nonce"], service: $0["service"],
                    dataHash: $0["data_hash"], code: $0["code"], data: $0["data"], at: $0["at"])
            }
        }
    }

    private static func upResult(_ row: GRDB.Row) -> UpResult {
        UpResult(
            parkCode: row["lot"], epoch: row["epoch"], seq: row["seq"], requestId: row["request_id"],
            service: row["service"], code: row["code"], reply: row["reply"], data: row["data"], at: row["at"])
    }

    public func up(parkCode: String, epoch: String, seq: Int64) -> UpResult? {
        read(nil) { db in
            try GRDB.Row.fetchOne(
                db, sql: "SELECT * FROM up_log WHERE lot = ? AND epoch = ? AND seq = ?",
                arguments: [parkCode, epoch, seq]
            ).map(SQLiteStore.upResult)
        }
    }

    public func deadLetters(parkCode: String, limit: Int) -> [UpResult] {
        read([]) { db in
            try GRDB.Row.fetchAll(
                db, sql: "SELECT * FROM up_log WHERE lot = ? AND code <> 0 ORDER BY at DESC LIMIT ?",
                arguments: [parkCode, limit]
            ).map(SQLiteStore.upResult)
        }
    }

    public func down(parkCode: String, epoch: String, after seq: Int64, limit: Int) -> [DownRow] {
        let rows = places.withLock { places -> [Int64] in
            guard let run = places.down[Places.LogName(lot: parkCode, epoch: epoch)] else { return [] }
            return (max(seq + 1, run.first)..<max(seq + 1, run.next)).lazy.compactMap { run.row($0) }.prefix(limit).map { $0 }
        }
        return read([]) { db in
            let statement = try db.cachedStatement(sql: "SELECT seq, at, service, data FROM down_log WHERE id = ?")
            return try rows.compactMap { id in
                try GRDB.Row.fetchOne(statement, arguments: [id]).map {
                    DownRow(epoch: epoch, seq: $0["seq"], at: $0["at"], service: $0["service"], data: $0["data"])
                }
            }
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
        do { return try pool.read { db in try SQLiteStore.load(db, noncesSince: noncesSince) } } catch {
            throw SQLiteStore.translate(error)
        }
    }

    private static func load(_ db: Database, noncesSince: Millis) throws -> CityImage {
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
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT lot, seq, order_no FROM down_log WHERE settled = 0") {
            if let at = index[row["lot"]] { image.lots[at].awaiting[row["seq"]] = row["order_no"] }
        }
        image.activeOrders = try String.fetchAll(
            db, sql: "SELECT body FROM orders WHERE status < 3 ORDER BY serial"
        ).map { try Codec.order(Codec.parse($0)) }
        image.lastSerial = try Int64.fetchOne(db, sql: "SELECT max(serial) FROM orders") ?? 0
        image.openVisits = try String.fetchAll(db, sql: "SELECT body FROM visits WHERE is_open = 1")
            .map { try Codec.visit(Codec.parse($0)) }
        image.reports = try GRDB.Row.fetchAll(db, sql: "SELECT * FROM reports").map {
            Report(parkCode: $0["lot"], kind: $0["kind"], key: $0["key"], body: $0["body"], at: $0["at"])
        }
        image.bills = try String.fetchAll(db, sql: "SELECT body FROM bills").map { try Codec.bill(Codec.parse($0)) }
        image.pendingPayments = try String.fetchAll(db, sql: "SELECT body FROM payments WHERE state = 0")
            .map { try Codec.payment(Codec.parse($0)) }
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT key, count FROM counters WHERE count <> 0") {
            image.counters[row["key"]] = row["count"]
        }
        var granted: [String: Set<String>] = [:]
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT app_id, lot FROM credential_lots") {
            granted[row["app_id"], default: []].insert(row["lot"])
        }
        image.credentials = try GRDB.Row.fetchAll(db, sql: "SELECT * FROM credentials ORDER BY app_id").map { row in
            guard let role = Role(rawValue: row["role"]) else { throw Codec.Unreadable(what: "role") }
            return Credential(
                appId: row["app_id"], secret: row["secret"], role: role, name: row["name"],
                parkCodes: granted[row["app_id"]] ?? [], isEnabled: row["enabled"], ratePerSecond: row["rate"],
                burst: row["burst"])
        }
        image.replyKeys = try GRDB.Row.fetchAll(db, sql: "SELECT app_id, request_id FROM replies").map {
            Signature.digest64($0["app_id"], $0["request_id"])
        }
        image.nonces = try GRDB.Row.fetchAll(
            db, sql: "SELECT app_id, nonce, at FROM replies WHERE at >= ?", arguments: [noncesSince]
        ).map { ($0["app_id"], $0["nonce"], $0["at"]) }
        return image
    }

    public func journal() -> [Commit] {
        read([]) { db in
            try GRDB.Row.fetchAll(db, sql: "SELECT at, body FROM journal ORDER BY id").map {
                Commit(at: $0["at"], events: try Codec.events(Codec.parse($0["body"])))
            }
        }
    }

    public func dump() -> [String] {
        read([]) { db in
            try Schema.derivedQueries.flatMap { sql in
                try GRDB.Row.fetchAll(db, sql: sql).map { row in
                    row.map { "\($0.1.storage.value.map { "\($0)" } ?? "NULL")" }.joined(separator: "|")
                }
            }
        }
    }
}
