public import BerthCore
import BerthWire
import Foundation
import GRDB
import Synchronization

// Reading: rows of the present, and the city as it is at a start.
extension SQLiteStore {
    /// The events of one commit.
    func events(_ db: Database, entry: Int64) throws -> [Event] {
        let statement = try db.cachedStatement(sql: "SELECT body FROM journal WHERE id = ?")
        guard let body = try DatabaseValue.fetchOne(statement, arguments: [entry]) else {
            throw RowEncoding.Unreadable(what: "entry \(entry) of the journal")
        }
        return try RowEncoding.plain.events(RowEncoding.parse(codec.open(body)))
    }

    /// An order as it stands in its row, or in the entry that the row points at.
    func reservation(_ db: Database, _ row: GRDB.Row) throws -> Reservation {
        let (serial, entry): (Int64, Int64) = (try row.int("serial"), try row.int("entry"))
        guard entry > 0 else { return try codec.reservation(RowEncoding.parse(row.text("body"))) }
        let reservations = try events(db, entry: entry).compactMap {
            if case .reservation(let reservation) = $0, reservation.serial == serial { reservation } else { nil }
        }
        guard let reservation = reservations.last else { throw RowEncoding.Unreadable(what: "order \(serial)") }
        return reservation
    }

    private func reservations(_ db: Database, where condition: String, _ arguments: StatementArguments = []) throws -> [Reservation] {
        try GRDB.Row.fetchAll(db, sql: "SELECT serial, body, entry FROM orders WHERE \(condition)", arguments: arguments)
            .map { try reservation(db, $0) }
    }

    func down(_ db: Database, _ row: GRDB.Row) throws -> DownRow {
        var down = try DownRow(
            epoch: row.text("epoch"), seq: row.int("seq"), at: row.int("at"), service: row.text("service"),
            data: codec.open(row["data"] as DatabaseValue)
        )
        if (try row.int("entry")) > 0 {
            let entries = try events(db, entry: row.int("entry")).compactMap {
                if case .down(let entry) = $0, entry.seq == down.seq, entry.epoch == down.epoch { entry } else { nil }
            }
            let lot: String = try row.text("lot")
            guard let entry = entries.first(where: { $0.parkCode == lot }) else {
                throw RowEncoding.Unreadable(what: "message \(down.epoch) \(down.seq)")
            }
            let (service, data) = Encode.lotMessage(entry.message)
            (down.service, down.data) = (service, data.string)
        }
        return down
    }

    /// A failed read is an error, and never "nothing".
    func read<Value>(_ body: (Database) throws -> Value) throws(StoreError) -> Value {
        do { return try pool.read(body) } catch { throw said(error) }
    }

    /// One row that cannot be opened, where others can, is damaged; the key is right.
    private func said(_ error: any Error) -> StoreError {
        guard error is FieldCipher.Unopened else { return SQLiteStore.translate(error) }
        let rows = (try? pool.read { try DatabaseValue.fetchAll($0, sql: "SELECT body FROM journal ORDER BY id LIMIT 20") }) ?? []
        return rows.contains { (try? codec.open($0)) != nil }
            ? .disk("a row cannot be opened: it is damaged (`berth verify` says which)") : .wrongKey
    }

    public func reservation(_ orderNo: String) throws(StoreError) -> Reservation? {
        guard let serial = Reservation.serial(in: orderNo) else { return nil }
        return try reservation(serial: serial).flatMap { $0.orderNo == orderNo ? $0 : nil }
    }

    public func reservation(appId: String, clientOrderNo: String) throws(StoreError) -> Reservation? {
        let digest = Signature.digest64(appId, clientOrderNo)
        guard let serial = places.withLock({ $0.reservations[digest] }) else { return nil }
        guard let reservation = try reservation(serial: serial) else { throw .disk("order \(serial) is missing") }
        if reservation.appId == appId, reservation.clientOrderNo == clientOrderNo { return reservation }
        guard Signature.digest64(reservation.appId, reservation.clientOrderNo) == digest else {
            throw .disk("order \(serial) is not what it was")
        }
        return nil
    }

    public func knowsReservation(appId: String, clientOrderNo: String) -> Bool {
        let digest = Signature.digest64(appId, clientOrderNo)
        return places.withLock { $0.reservations[digest] != nil }
    }

    private func reservation(serial: Int64) throws(StoreError) -> Reservation? {
        try read { db in try reservations(db, where: "serial = ?", [serial]).first }
    }

    public func visit(parkCode: String, recordNo: String) throws(StoreError) -> Visit? {
        try read { db in
            try String.fetchOne(
                db, sql: "SELECT body FROM visits WHERE lot = ? AND record_no = ?", arguments: [parkCode, recordNo]
            ).map { try codec.visit(RowEncoding.parse($0)) }
        }
    }

    public func payment(key: String) throws(StoreError) -> Payment? {
        try read { db in
            try String.fetchOne(db, sql: "SELECT body FROM payments WHERE key = ?", arguments: [key])
                .map { try RowEncoding.payment(RowEncoding.parse($0)) }
        }
    }

    public func reservations(_ filter: ReservationFilter) throws(StoreError) -> [Reservation] {
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
        // Rows that are passed over are walked along the table, and not opened.
        let condition = "\(conditions.joined(separator: " AND ")) ORDER BY serial DESC LIMIT ? OFFSET ?"
        arguments += [filter.limit, filter.skip]
        return try read { db in
            let found = try reservations(db, where: condition, arguments)
            // Two plates may share a digest, however unlikely.
            return filter.plate.map { plate in found.filter { $0.plate == plate } } ?? found
        }
    }

    public func reply(key: Int64, appId: String, requestId: String) throws(StoreError) -> KeptReply? {
        guard let id = places.withLock({ $0.replies[key] }) else { return nil }
        return try read { db in
            guard let row = try GRDB.Row.fetchOne(db, sql: "SELECT * FROM replies WHERE id = ?", arguments: [id]) else {
                throw RowEncoding.Unreadable(what: "reply \(requestId)")
            }
            let (foundApp, foundRequest): (String, String) = (try row.text("app_id"), try row.text("request_id"))
            guard foundApp == appId, foundRequest == requestId else {
                // Two names may share a digest; a row that is not what it was put there as is damaged.
                if KeptReply.key(foundApp, foundRequest) == key { return nil }
                throw RowEncoding.Unreadable(what: "reply \(requestId)")
            }
            return try Optional(row).map {
                var data = Array(try codec.open($0["data"] as DatabaseValue).utf8)
                let showsOrder = (try $0.int("entry")) > 0
                if showsOrder {
                    let reservations = try events(db, entry: $0.int("entry")).compactMap {
                        if case .reservation(let reservation) = $0 { reservation } else { nil }
                    }
                    guard let reservation = reservations.first else { throw RowEncoding.Unreadable(what: "reply \(requestId)") }
                    data = Encode.orderText(reservation, alternatives: [])
                }
                return try KeptReply(
                    appId: appId, requestId: requestId, nonce: $0.text("nonce"), service: $0.text("service"),
                    dataHash: $0.text("data_hash"),
                    code: $0.int("code"), data: data, at: $0.int("at"), showsOrder: showsOrder)
            }
        }
    }

    public func knowsReply(key: Int64) -> Bool { places.withLock { $0.replies[key] != nil } }

    private func upResult(_ row: GRDB.Row) throws -> UpResult {
        try UpResult(
            parkCode: row.text("lot"), epoch: row.text("epoch"), seq: row.int("seq"), requestId: row.text("request_id"),
            service: row.text("service"), code: row.int("code"), reply: row.text("reply"), data: codec.open(row["data"] as DatabaseValue),
            at: row.int("at"), recordNo: row.text("record_no"), isMended: row.int("mended") != 0)
    }

    public func up(parkCode: String, epoch: String, seq: Int64) throws(StoreError) -> UpResult? {
        try read { db in
            try GRDB.Row.fetchOne(
                db, sql: "SELECT * FROM up_log WHERE lot = ? AND epoch = ? AND seq = ?",
                arguments: [parkCode, epoch, seq]
            ).map(upResult)
        }
    }

    public func deadLetters(parkCode: String?, since: Millis, before: DeadLetterPlace?, limit: Int) throws(StoreError) -> [UpResult] {
        let isOfLot = parkCode == nil ? "" : "lot = ? AND "
        var arguments: StatementArguments = parkCode.map { [$0] } ?? []
        arguments += [since]
        if let before { arguments += [before.at, before.at, before.seq, before.epoch] }
        arguments += [limit]
        let isBefore = before == nil ? "" : "at <= ? AND (at, seq, epoch) < (?, ?, ?) AND "
        return try read { db in
            try GRDB.Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM up_log WHERE \(isOfLot)at >= ? AND \(isBefore)code <> 0 AND mended = 0
                        ORDER BY at DESC, lot DESC, seq DESC, epoch DESC LIMIT ?
                    """, arguments: arguments
            ).map(upResult)
        }
    }

    public func deadLetter(parkCode: String, recordNo: String) throws(StoreError) -> UpResult? {
        try read { db in
            try GRDB.Row.fetchOne(
                db,
                sql: """
                    SELECT * FROM up_log WHERE lot = ? AND record_no = ? AND code <> 0 AND mended = 0 ORDER BY at DESC, seq DESC LIMIT 1
                    """, arguments: [parkCode, recordNo]
            ).map(upResult)
        }
    }

    public func down(parkCode: String, epoch: String, after seq: Int64, limit: Int) throws(StoreError) -> [DownRow] {
        let rows = places.withLock { places -> [Int64] in
            guard let run = places.down[RowIndex.LogName(lot: parkCode, epoch: epoch)] else { return [] }
            return (max(seq + 1, run.first)..<max(seq + 1, run.next)).lazy.compactMap { run.row($0) }.prefix(limit).map { $0 }
        }
        return try read { db in
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
                var counts = OccupancyDay.counts(old ?? "")
                for one in ones where counts.indices.contains(one.slot) { counts[one.slot] = one.count }
                try db.cachedStatement(
                    sql: "INSERT INTO occupancy VALUES(?,?,?) ON CONFLICT(day, lot) DO UPDATE SET counts = excluded.counts"
                ).execute(arguments: [place.day, place.lot, OccupancyDay.text(counts)])
            }
            // Counts of long ago are no history any more; an import of old days must not forget itself.
            if let day = occupancy.map(\.day).max() { try db.execute(sql: "DELETE FROM occupancy WHERE day < ?", arguments: [day - 60]) }
        }
    }

    public func occupancy(days: ClosedRange<Int64>) throws(StoreError) -> [OccupancyDay] {
        try read { db in
            try GRDB.Row.fetchAll(
                db, sql: "SELECT * FROM occupancy WHERE day BETWEEN ? AND ? ORDER BY lot, day",
                arguments: [days.lowerBound, days.upperBound]
            ).map { try OccupancyDay(parkCode: $0.text("lot"), day: $0.int("day"), counts: OccupancyDay.counts($0.text("counts"))) }
        }
    }

    public func ledger(_ account: Account, from: Millis, to: Millis, limit: Int) throws(StoreError) -> (before: Int64, rows: [LedgerRow]) {
        try read { db in
            let before = try Int64.fetchOne(
                db, sql: "SELECT sum(fen) FROM ledger WHERE account = ? AND at < ?", arguments: [account.text, from])
            let rows = try GRDB.Row.fetchAll(
                db, sql: "SELECT * FROM ledger WHERE account = ? AND at >= ? AND at < ? ORDER BY at, id LIMIT ?",
                arguments: [account.text, from, to, limit]
            ).map {
                try LedgerRow(
                    id: $0.int("id"), at: $0.int("at"), kind: $0.text("kind"), reference: $0.text("ref"), account: $0.text("account"),
                    fen: $0.int("fen"))
            }
            return (before ?? 0, rows)
        }
    }

    public func visits(parkCode: String, leftFrom: Millis, to: Millis, limit: Int) throws(StoreError) -> [Visit] {
        try read { db in
            try String.fetchAll(
                db,
                sql: """
                    SELECT body FROM visits WHERE lot = ? AND is_open = 0 AND json_extract(body, '$.lt') >= ? AND json_extract(body, '$.lt') < ?
                    ORDER BY record_no LIMIT ?
                    """, arguments: [parkCode, leftFrom, to, limit]
            ).map { try codec.visit(RowEncoding.parse($0)) }
        }
    }

    public func payments(parkCode: String, from: Millis, to: Millis, limit: Int) throws(StoreError) -> [Payment] {
        try read { db in
            try String.fetchAll(
                db,
                sql: """
                    SELECT body FROM payments WHERE json_extract(body, '$.lot') = ? AND json_extract(body, '$.t') >= ?
                        AND json_extract(body, '$.t') < ? ORDER BY key LIMIT ?
                    """, arguments: [parkCode, from, to, limit]
            ).map { try RowEncoding.payment(RowEncoding.parse($0)) }
        }
    }

    public func notices(_ filter: LotEventFilter) throws(StoreError) -> [(id: Int64, notice: LotEvent)] {
        try read { db in
            try GRDB.Row.fetchAll(
                db,
                sql: """
                    SELECT id, body FROM notices WHERE id < ?1 AND (?2 IS NULL OR lot = ?2) AND (?3 IS NULL OR type = ?3)
                        AND at >= ?4 AND at < ?5 ORDER BY id DESC LIMIT ?6
                    """, arguments: [filter.before, filter.parkCode, filter.eventType, filter.from, filter.to, filter.limit]
            ).map { (try $0.int("id"), try RowEncoding.notice(RowEncoding.parse($0.text("body")))) }
        }
    }

    public func load(noncesSince: Millis) throws(StoreError) -> CityImage {
        do { return try pool.read { db in try load(db, noncesSince: noncesSince) } } catch {
            throw said(error)
        }
    }

    private func load(_ db: Database, noncesSince: Millis) throws -> CityImage {
        var image = CityImage()
        var closed: [String: Set<String>] = [:]
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT lot, epoch FROM closed_epochs") {
            closed[try row.text("lot"), default: []].insert(try row.text("epoch"))
        }
        let lots = try GRDB.Row.fetchAll(
            db, sql: "SELECT * FROM lots LEFT JOIN positions USING(lot) ORDER BY lot")
        for row in lots {
            var lot = LotImage(parkCode: try row.text("lot"))
            lot.policy = try row.optionalText("policy").map { try RowEncoding.policy(RowEncoding.parse($0)) }
            lot.profile = try row.optionalText("profile").map { try RowEncoding.profile(RowEncoding.parse($0)) }
            lot.gates = try row.optionalText("gates").map { try RowEncoding.gates(RowEncoding.parse($0)) } ?? []
            lot.marks = try SQLiteStore.marks(row, closed: closed[lot.parkCode] ?? [])
            image.lots.append(lot)
        }
        let index = Dictionary(uniqueKeysWithValues: image.lots.enumerated().map { ($1.parkCode, $0) })
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT lot, epoch, seq, order_no, settled FROM down_log") {
            guard let at = index[try row.text("lot")] else { continue }
            let seq: Int64 = try row.int("seq")
            let epoch: String = try row.text("epoch")
            guard image.lots[at].marks.downEpoch == epoch else { continue }
            if (try row.int("settled")) == 0 { image.lots[at].marks.awaiting[seq] = try row.text("order_no") }
            image.lots[at].marks.downLast = max(image.lots[at].marks.downLast, seq)
        }
        // Those that wait for a place (9) are open too.
        image.activeOrders = try reservations(db, where: "status < 3 OR status = 9 ORDER BY serial")
        func mark(_ name: String) throws -> Int64 {
            try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = ?", arguments: [name]) ?? 0
        }
        image.lastSerial = max(try Int64.fetchOne(db, sql: "SELECT max(serial) FROM orders") ?? 0, try mark("serial"))
        image.lastNotification = try mark("tiding")
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT lot, count(*) AS n FROM up_log WHERE code <> 0 AND mended = 0 GROUP BY lot") {
            if let at = index[try row.text("lot")] { image.lots[at].marks.deadLetters = try row.int("n") }
        }
        image.openVisits = try String.fetchAll(db, sql: "SELECT body FROM visits WHERE is_open = 1")
            .map { try codec.visit(RowEncoding.parse($0)) }
        image.reports = try GRDB.Row.fetchAll(db, sql: "SELECT * FROM reports").map {
            try codec.report(lot: $0.text("lot"), kind: $0.text("kind"), key: $0.text("key"), at: $0.int("at"), body: $0.text("body"))
        }
        image.entities = try image.reports.compactMap(RowEncoding.entity)
        image.reports.removeAll { $0.kind.hasPrefix(RowEncoding.entityMark) }
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT account, sum(fen) AS fen FROM ledger GROUP BY account HAVING sum(fen) <> 0") {
            if let account = Account(try row.text("account")) { image.balances[account] = try row.int("fen") }
        }
        image.bills = try String.fetchAll(db, sql: "SELECT body FROM bills").map { try RowEncoding.bill(RowEncoding.parse($0)) }
        image.pendingPayments = try String.fetchAll(db, sql: "SELECT body FROM payments WHERE state = 0")
            .map { try RowEncoding.payment(RowEncoding.parse($0)) }
        for reservation in image.activeOrders {
            guard let payNo = reservation.prepayNo else { continue }
            let body = try String.fetchOne(
                db, sql: "SELECT body FROM payments WHERE key = ?", arguments: [Payment.key(reservation.appId, "", payNo)])
            if let body { image.pendingPayments.append(try RowEncoding.payment(RowEncoding.parse(body))) }
        }
        for row in try GRDB.Row.fetchAll(db, sql: "SELECT key, count FROM counters WHERE count <> 0") {
            image.counters[try codec.open(row["key"] as DatabaseValue)] = try row.int("count")
        }
        image.credentials = try String.fetchAll(db, sql: "SELECT body FROM credentials ORDER BY app_id").map { body in
            guard let credential = Credential(record: try RowEncoding.parse(codec.open(body))) else {
                throw RowEncoding.Unreadable(what: "credential")
            }
            return credential
        }
        image.nonces = try GRDB.Row.fetchAll(
            db, sql: "SELECT app_id, nonce, at FROM replies WHERE at >= ?", arguments: [noncesSince]
        ).map { (try $0.text("app_id"), try $0.text("nonce"), try $0.int("at")) }
        return image
    }

    public func journal(after id: Int64, limit: Int) throws(StoreError) -> [(id: Int64, commit: Commit)] {
        try read { db in
            try GRDB.Row.fetchAll(db, sql: "SELECT id, at, body FROM journal WHERE id > ? ORDER BY id LIMIT ?", arguments: [id, limit]).map
            {
                (
                    try $0.int("id"),
                    Commit(
                        at: try $0.int("at"),
                        events: try RowEncoding.plain.events(RowEncoding.parse(codec.open($0["body"] as DatabaseValue))))
                )
            }
        }
    }

    func audit(_ row: GRDB.Row) throws -> AuditRecord {
        try AuditRecord(
            id: row.int("id"), at: row.int("at"), actor: row.text("actor"), action: row.text("action"), target: row.text("target"),
            detail: row.text("detail"), hash: row.text("hash"))
    }

    public func audit(matching filter: AuditFilter) throws(StoreError) -> [AuditRecord] {
        try read { db in
            var found: [AuditRecord] = []
            // The newest come first and the look ends with the last one that is wanted, or after a bounded number of rows.
            let rows = try GRDB.Row.fetchCursor(
                db, sql: "SELECT * FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?", arguments: [filter.before, SQLiteStore.auditLookMax])
            while found.count < filter.limit, let row = try rows.next() {
                let record = try audit(row)
                if record.at < filter.from { break }
                if filter.matches(record) { found.append(record) }
            }
            return found
        }
    }

    /// Audit records that one search looks at.
    private static let auditLookMax = 200_000

    public func audit(after id: Int64, limit: Int) throws(StoreError) -> [AuditRecord] {
        try read { db in
            try GRDB.Row.fetchAll(db, sql: "SELECT * FROM audit WHERE id > ? ORDER BY id LIMIT ?", arguments: [id, limit]).map {
                try audit($0)
            }
        }
    }

    /// The derived rows as they are when nothing is sealed.
    public func dump() throws(StoreError) -> [String] {
        try read { db in
            var lines: [String] = []
            for table in DerivedTable.allCases {
                var own: [String] = []
                try each(table, db) { _, line in own.append(line) }
                lines += table.isSorted ? own : own.sorted()
            }
            return lines
        }
    }

    static func text(_ value: DatabaseValue) -> String { value.storage.value.map { "\($0)" } ?? "NULL" }
    static func line(_ row: GRDB.Row) -> String { row.map { text($0.1) }.joined(separator: "|") }
}
