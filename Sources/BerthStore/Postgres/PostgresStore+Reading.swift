public import BerthCore
import BerthWire
import Foundation

// Reading: rows of the present.
extension PostgresStore {
    static let orderColumns = "serial, body, entry"

    /// The events of one commit.
    func events(_ connection: PostgresConnection, entry: Int64) throws -> [Event] {
        guard let row = try connection.query("SELECT body FROM journal WHERE id = $1", [.int(entry)]).first else {
            throw RowEncoding.Unreadable(what: "entry \(entry) of the journal")
        }
        return try events(row, 0)
    }

    func events(_ row: PostgresRow, _ column: Int) throws -> [Event] {
        row.isNull(column) ? [] : try RowEncoding.plain.events(RowEncoding.parse(codec.open(row.bytes(column))))
    }

    /// An order as it stands in its row (``orderColumns``), or in the entry that the row points at.
    func reservation(_ connection: PostgresConnection, _ row: PostgresRow) throws -> Reservation {
        let (serial, entry): (Int64, Int64) = (try row.int(0), try row.int(2))
        guard entry > 0 else { return try codec.reservation(RowEncoding.parse(row.text(1))) }
        let reservations = try events(connection, entry: entry).compactMap {
            if case .reservation(let reservation) = $0, reservation.serial == serial { reservation } else { nil }
        }
        guard let reservation = reservations.last else { throw RowEncoding.Unreadable(what: "order \(serial)") }
        return reservation
    }

    func reservations(_ connection: PostgresConnection, where condition: String, _ values: [PostgresValue] = []) throws -> [Reservation] {
        try connection.query("SELECT \(PostgresStore.orderColumns) FROM orders WHERE \(condition)", values).rows
            .map { try reservation(connection, $0) }
    }

    public func reservation(_ orderNo: String) throws(StoreError) -> Reservation? {
        guard let serial = Reservation.serial(in: orderNo) else { return nil }
        return try read { try reservations($0, where: "serial = $1", [.int(serial)]).first }.flatMap { $0.orderNo == orderNo ? $0 : nil }
    }

    public func reservation(appId: String, clientOrderNo: String) throws(StoreError) -> Reservation? {
        guard knowsReservation(appId: appId, clientOrderNo: clientOrderNo) else { return nil }
        return try read { connection in
            try reservations(connection, where: "app_id = $1 AND client_no = $2", [.text(appId), .text(clientOrderNo)])
                .first { $0.appId == appId && $0.clientOrderNo == clientOrderNo }
        }
    }

    public func visit(parkCode: String, recordNo: String) throws(StoreError) -> Visit? {
        try read { connection in
            try connection.query("SELECT body FROM visits WHERE lot = $1 AND record_no = $2", [.text(parkCode), .text(recordNo)])
                .first.map { try codec.visit(RowEncoding.parse($0.text(0))) }
        }
    }

    public func payment(key: String) throws(StoreError) -> Payment? {
        try read { connection in
            try connection.query("SELECT body FROM payments WHERE key = $1", [.text(key)]).first
                .map { try RowEncoding.payment(RowEncoding.parse($0.text(0))) }
        }
    }

    public func reservations(_ filter: ReservationFilter) throws(StoreError) -> [Reservation] {
        var conditions = ["serial < $1"]
        var values: [PostgresValue] = [.int(filter.beforeSerial)]
        func add(_ column: String, _ value: PostgresValue?) {
            guard let value else { return }
            values.append(value)
            conditions.append("\(column) = $\(values.count)")
        }
        add("app_id", filter.appId.map { .text($0) })
        add("lot", filter.parkCode.map { .text($0) })
        add("status", filter.status.map { .int(Int64($0.rawValue)) })
        add("plate_key", filter.plate.map { .int(codec.plateKey($0)) })
        add("user_token", filter.userToken.map { .text($0) })
        values += [.int(Int64(filter.limit)), .int(Int64(filter.skip))]
        let condition =
            "\(conditions.joined(separator: " AND ")) ORDER BY serial DESC LIMIT $\(values.count - 1) OFFSET $\(values.count)"
        let arguments = values
        return try read { connection in
            let found = try reservations(connection, where: condition, arguments)
            // Two plates may share a digest, however unlikely.
            return filter.plate.map { plate in found.filter { $0.plate == plate } } ?? found
        }
    }

    public func reply(key: Int64, appId: String, requestId: String) throws(StoreError) -> KeptReply? {
        guard knowsReply(key: key) else { return nil }
        return try read { connection in
            let row = try connection.query(
                """
                SELECT nonce, service, data_hash, code, data, at, shows_order, number FROM replies
                    WHERE key = $1 AND app_id = $2 AND request_id = $3 ORDER BY number DESC LIMIT 1
                """, [.int(key), .text(appId), .text(requestId)]
            ).first
            guard let row else { return nil }
            let showsOrder = try row.flag(6)
            let data = showsOrder ? try shown(connection, entry: row.int(7), requestId) : Array(try codec.open(row.bytes(4)).utf8)
            return try KeptReply(
                appId: appId, requestId: requestId, nonce: row.text(0), service: row.text(1), dataHash: row.text(2), code: row.int(3),
                data: data, at: row.int(5), showsOrder: showsOrder)
        }
    }

    /// The data of a reply that shows the order of its commit.
    func shown(_ connection: PostgresConnection, entry: Int64, _ requestId: String) throws -> [UInt8] {
        for case .reservation(let reservation) in try events(connection, entry: entry) {
            return Encode.orderText(reservation, alternatives: [])
        }
        throw RowEncoding.Unreadable(what: "reply \(requestId)")
    }

    // MARK: Logs

    private static let upColumns = "lot, epoch, seq, request_id, service, code, reply, data, at, record_no, mended"

    private func upResult(_ row: PostgresRow) throws -> UpResult {
        try UpResult(
            parkCode: row.text(0), epoch: row.text(1), seq: row.int(2), requestId: row.text(3), service: row.text(4), code: row.int(5),
            reply: row.text(6), data: codec.open(row.bytes(7)), at: row.int(8), recordNo: row.text(9), isMended: row.flag(10))
    }

    public func up(parkCode: String, epoch: String, seq: Int64) throws(StoreError) -> UpResult? {
        try read { connection in
            try connection.query(
                "SELECT \(PostgresStore.upColumns) FROM up_log WHERE lot = $1 AND epoch = $2 AND seq = $3",
                [.text(parkCode), .text(epoch), .int(seq)]
            ).first.map(upResult)
        }
    }

    public func deadLetters(parkCode: String?, since: Millis, before: DeadLetterPlace?, limit: Int) throws(StoreError) -> [UpResult] {
        var conditions = ["code <> 0", "NOT mended", "at >= $1"]
        var values: [PostgresValue] = [.int(since), .int(Int64(limit))]
        if let parkCode {
            values.append(.text(parkCode))
            conditions.append("lot = $\(values.count)")
        }
        if let before {
            let first = values.count + 1
            values += [.int(before.at), .int(before.seq), .text(before.epoch)]
            conditions.append("at <= $\(first) AND (at, seq, epoch) < ($\(first), $\(first + 1), $\(first + 2))")
        }
        let (condition, arguments) = (conditions.joined(separator: " AND "), values)
        return try read { connection in
            try connection.query(
                """
                SELECT \(PostgresStore.upColumns) FROM up_log WHERE \(condition) ORDER BY at DESC, lot DESC, seq DESC, epoch DESC LIMIT $2
                """, arguments
            ).rows.map(upResult)
        }
    }

    public func deadLetter(parkCode: String, recordNo: String) throws(StoreError) -> UpResult? {
        try read { connection in
            try connection.query(
                """
                SELECT \(PostgresStore.upColumns) FROM up_log WHERE lot = $1 AND record_no = $2 AND code <> 0 AND NOT mended
                    ORDER BY at DESC, seq DESC LIMIT 1
                """, [.text(parkCode), .text(recordNo)]
            ).first.map(upResult)
        }
    }

    static let downColumns = "lot, epoch, seq, at, service, data, entry"

    func down(_ connection: PostgresConnection, _ row: PostgresRow) throws -> DownRow {
        var down = try DownRow(
            epoch: row.text(1), seq: row.int(2), at: row.int(3), service: row.text(4), data: codec.open(row.bytes(5)))
        let (lot, entry): (String, Int64) = (try row.text(0), try row.int(6))
        guard entry > 0 else { return down }
        for case .down(let message) in try events(connection, entry: entry)
        where message.seq == down.seq && message.epoch == down.epoch && message.parkCode == lot {
            let (service, data) = Encode.lotMessage(message.message)
            (down.service, down.data) = (service, data.string)
            return down
        }
        throw RowEncoding.Unreadable(what: "message \(down.epoch) \(down.seq)")
    }

    public func down(parkCode: String, epoch: String, after seq: Int64, limit: Int) throws(StoreError) -> [DownRow] {
        try read { connection in
            try connection.query(
                "SELECT \(PostgresStore.downColumns) FROM down_log WHERE lot = $1 AND epoch = $2 AND seq > $3 ORDER BY seq LIMIT $4",
                [.text(parkCode), .text(epoch), .int(seq), .int(Int64(limit))]
            ).rows.map { try down(connection, $0) }
        }
    }

    // MARK: Records

    public func notices(_ filter: LotEventFilter) throws(StoreError) -> [(id: Int64, notice: LotEvent)] {
        try read { connection in
            try connection.query(
                """
                SELECT id, body FROM notices WHERE id < $1 AND ($2::text IS NULL OR lot = $2) AND ($3 = -1 OR type = $3)
                    AND at >= $4 AND at < $5 ORDER BY id DESC LIMIT $6
                """,
                [
                    .int(filter.before), .optional(filter.parkCode), .int(Int64(filter.eventType ?? -1)), .int(filter.from),
                    .int(filter.to), .int(Int64(filter.limit)),
                ]
            ).rows.map { (try $0.int(0), try RowEncoding.notice(RowEncoding.parse($0.text(1)))) }
        }
    }

    public func picture(_ imageId: String) throws(StoreError) -> Picture? {
        try read { connection in
            try connection.query(
                "SELECT app_id, lot, type, ext, size, sha256, at, expire_at, completed_at FROM pictures WHERE image_id = $1",
                [.text(imageId)]
            ).first.map { row in
                try Picture(
                    imageId: imageId, appId: row.text(0), parkCode: row.text(1), type: row.int(2), ext: row.text(3), size: row.int(4),
                    sha256: row.text(5), createdAt: row.int(6), expireAt: row.int(7), completedAt: row.optionalInt(8))
            }
        }
    }

    public func counts(days: ClosedRange<Int64>, parkCode: String?, appId: String?) throws(StoreError) -> [DayCount] {
        try read { connection in
            var found: [DayCount.Key: DayCount] = [:]
            let rows = try connection.query(
                """
                SELECT day, lot, app_id, name, value FROM day_counts WHERE day BETWEEN $1 AND $2 AND ($3::text IS NULL OR lot = $3)
                    AND ($4::text IS NULL OR app_id = $4)
                """, [.int(days.lowerBound), .int(days.upperBound), .optional(parkCode), .optional(appId)]
            ).rows
            for row in rows {
                let key = try DayCount.Key(day: row.int(0), parkCode: row.text(1), appId: row.text(2))
                found[key, default: DayCount(key: key, counts: [:])].counts[try row.text(3)] = try row.int(4)
            }
            return found.values.sorted { ($0.key.day, $0.key.parkCode, $0.key.appId) < ($1.key.day, $1.key.parkCode, $1.key.appId) }
        }
    }

    func mark(_ connection: PostgresConnection, _ name: String) throws -> Int64 {
        try connection.query("SELECT value FROM marks WHERE name = $1", [.text(name)]).first?.int(0) ?? 0
    }

    public func countedThrough() throws(StoreError) -> Int64 { try read { try mark($0, "counted") } }

    public func occupancy(days: ClosedRange<Int64>) throws(StoreError) -> [OccupancyDay] {
        try read { connection in
            try connection.query(
                "SELECT lot, day, counts FROM occupancy WHERE day BETWEEN $1 AND $2 ORDER BY lot, day",
                [.int(days.lowerBound), .int(days.upperBound)]
            ).rows.map { try OccupancyDay(parkCode: $0.text(0), day: $0.int(1), counts: OccupancyDay.counts($0.text(2))) }
        }
    }

    public func ledger(_ account: Account, from: Millis, to: Millis, limit: Int) throws(StoreError) -> (before: Int64, rows: [LedgerRow]) {
        try snapshot { connection in
            let before: Int64 =
                try connection.query(
                    "SELECT coalesce(sum(fen), 0)::bigint FROM ledger WHERE account = $1 AND at < $2", [.text(account.text), .int(from)]
                ).first?.int(0) ?? 0
            let rows = try connection.query(
                "SELECT id, at, kind, ref, account, fen FROM ledger WHERE account = $1 AND at >= $2 AND at < $3 ORDER BY at, id LIMIT $4",
                [.text(account.text), .int(from), .int(to), .int(Int64(limit))]
            ).rows.map {
                try LedgerRow(
                    id: $0.int(0), at: $0.int(1), kind: $0.text(2), reference: $0.text(3), account: $0.text(4), fen: $0.int(5))
            }
            return (before, rows)
        }
    }

    public func visits(parkCode: String, leftFrom: Millis, to: Millis, limit: Int) throws(StoreError) -> [Visit] {
        try read { connection in
            try connection.query(
                """
                SELECT body FROM visits WHERE lot = $1 AND NOT is_open AND left_at >= $2 AND left_at < $3 ORDER BY record_no LIMIT $4
                """, [.text(parkCode), .int(leftFrom), .int(to), .int(Int64(limit))]
            ).rows.map { try codec.visit(RowEncoding.parse($0.text(0))) }
        }
    }

    public func payments(parkCode: String, from: Millis, to: Millis, limit: Int) throws(StoreError) -> [Payment] {
        try read { connection in
            try connection.query(
                "SELECT body FROM payments WHERE lot = $1 AND pay_time >= $2 AND pay_time < $3 ORDER BY key LIMIT $4",
                [.text(parkCode), .int(from), .int(to), .int(Int64(limit))]
            ).rows.map { try RowEncoding.payment(RowEncoding.parse($0.text(0))) }
        }
    }

    // MARK: Journal and audit

    public func journal(after id: Int64, limit: Int) throws(StoreError) -> [(id: Int64, commit: Commit)] {
        try read { connection in
            try connection.query(
                "SELECT id, at, body FROM journal WHERE id > $1 ORDER BY id LIMIT $2", [.int(id), .int(Int64(limit))]
            ).rows.map { (try $0.int(0), Commit(at: try $0.int(1), events: try events($0, 2))) }
        }
    }

    private static let auditColumns = "id, at, actor, action, target, detail, hash"

    func audit(_ row: PostgresRow) throws -> AuditRecord {
        try AuditRecord(
            id: row.int(0), at: row.int(1), actor: row.text(2), action: row.text(3), target: row.text(4), detail: row.text(5),
            hash: row.text(6))
    }

    public func audit(after id: Int64, limit: Int) throws(StoreError) -> [AuditRecord] {
        try read { connection in
            try connection.query(
                "SELECT \(PostgresStore.auditColumns) FROM audit WHERE id > $1 ORDER BY id LIMIT $2", [.int(id), .int(Int64(limit))]
            ).rows.map(audit)
        }
    }

    /// The newest come first. The look ends with the last one that is wanted, or after a bounded number of rows.
    public func audit(matching filter: AuditFilter) throws(StoreError) -> [AuditRecord] {
        try read { connection in
            var found: [AuditRecord] = []
            var before = filter.before
            for _ in 0..<200 {
                let rows = try connection.query(
                    "SELECT \(PostgresStore.auditColumns) FROM audit WHERE id < $1 ORDER BY id DESC LIMIT 1000", [.int(before)]
                ).rows.map(audit)
                for record in rows {
                    if record.at < filter.from || found.count >= filter.limit { return found }
                    if filter.matches(record) { found.append(record) }
                }
                guard let last = rows.last, rows.count == 1000 else { return found }
                before = last.id
            }
            return found
        }
    }
}
