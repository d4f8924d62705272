public import BerthCore
import BerthWire
import Foundation

// The city as it is at a start, and the durable values of things that a refused commit changed in memory.
extension PostgresStore {
    public func load(noncesSince: Millis) throws(StoreError) -> CityImage {
        try snapshot { connection in
            var image = CityImage()
            try loadLots(connection, &image)
            image.activeOrders = try reservations(connection, where: "status < 3 OR status = 9 ORDER BY serial")
            let highest: Int64 = try connection.query("SELECT coalesce(max(serial), 0) FROM orders").first?.int(0) ?? 0
            image.lastSerial = max(highest, try mark(connection, "serial"))
            image.lastNotification = try mark(connection, "tiding")
            image.openVisits = try connection.query("SELECT body FROM visits WHERE is_open").rows
                .map { try codec.visit(RowEncoding.parse($0.text(0))) }
            image.reports = try connection.query("SELECT lot, kind, key, at, body FROM reports ORDER BY lot, kind, key").rows.map(report)
            image.entities = try image.reports.compactMap(RowEncoding.entity)
            image.reports.removeAll { $0.kind.hasPrefix(RowEncoding.entityMark) }
            try loadMoney(connection, &image)
            for row in try connection.query("SELECT name, count FROM counters WHERE count <> 0").rows {
                image.counters[try counterName(row, 0)] = try row.int(1)
            }
            image.credentials = try connection.query("SELECT body FROM credentials ORDER BY app_id").rows.map { row in
                guard let credential = Credential(record: try RowEncoding.parse(codec.open(row.text(0)))) else {
                    throw RowEncoding.Unreadable(what: "credential")
                }
                return credential
            }
            image.nonces = try connection.query("SELECT app_id, nonce, at FROM replies WHERE at >= $1", [.int(noncesSince)]).rows
                .map { (try $0.text(0), try $0.text(1), try $0.int(2)) }
            return image
        }
    }

    private func loadLots(_ connection: PostgresConnection, _ image: inout CityImage) throws {
        var closed: [String: Set<String>] = [:]
        for row in try connection.query("SELECT lot, epoch FROM closed_epochs").rows {
            closed[try row.text(0), default: []].insert(try row.text(1))
        }
        for row in try connection.query("SELECT \(PostgresStore.lotColumns) FROM lots LEFT JOIN positions USING (lot) ORDER BY lot").rows {
            var lot = LotImage(parkCode: try row.text(0))
            lot.policy = try row.optionalText(1).map { try RowEncoding.policy(RowEncoding.parse($0)) }
            lot.profile = try row.optionalText(2).map { try RowEncoding.profile(RowEncoding.parse($0)) }
            lot.gates = try row.optionalText(3).map { try RowEncoding.gates(RowEncoding.parse($0)) } ?? []
            lot.marks = try marks(row, closed: closed[lot.parkCode] ?? [])
            image.lots.append(lot)
        }
        let index = Dictionary(uniqueKeysWithValues: image.lots.enumerated().map { ($1.parkCode, $0) })
        for row in try connection.query("SELECT lot, epoch, seq, order_no FROM down_log WHERE NOT settled").rows {
            guard let at = index[try row.text(0)], image.lots[at].marks.downEpoch == (try row.text(1)) else { continue }
            image.lots[at].marks.awaiting[try row.int(2)] = try row.text(3)
        }
        for row in try connection.query("SELECT lot, count(*) FROM up_log WHERE code <> 0 AND NOT mended GROUP BY lot").rows {
            if let at = index[try row.text(0)] { image.lots[at].marks.deadLetters = try row.int(1) }
        }
    }

    private static let lotColumns = "lot, policy, profile, gates, remaining, up_epoch, up_ack, down_epoch, down_last, down_ack"

    private func marks(_ row: PostgresRow, closed: Set<String>) throws -> LotMarks {
        var marks = LotMarks()
        marks.remaining = try row.optionalText(4).map { try RowEncoding.remaining(RowEncoding.parse($0)) }
        marks.up = LogPosition(epoch: try row.optionalText(5), ackSeq: try row.optionalInt(6) ?? 0, closed: closed)
        marks.downEpoch = try row.optionalText(7)
        marks.downLast = try row.optionalInt(8) ?? 0
        marks.downAck = try row.optionalInt(9) ?? 0
        return marks
    }

    private func loadMoney(_ connection: PostgresConnection, _ image: inout CityImage) throws {
        for row in try connection.query("SELECT account, fen FROM balances WHERE fen <> 0").rows {
            if let account = Account(try row.text(0)) { image.balances[account] = try row.int(1) }
        }
        image.bills = try connection.query("SELECT body FROM bills").rows.map { try RowEncoding.bill(RowEncoding.parse($0.text(0))) }
        image.pendingPayments = try connection.query("SELECT body FROM payments WHERE state = 0").rows
            .map { try RowEncoding.payment(RowEncoding.parse($0.text(0))) }
        for reservation in image.activeOrders {
            guard let payNo = reservation.prepayNo else { continue }
            let key = Payment.key(reservation.appId, "", payNo)
            if let row = try connection.query("SELECT body FROM payments WHERE key = $1 AND state <> 0", [.text(key)]).first {
                image.pendingPayments.append(try RowEncoding.payment(RowEncoding.parse(row.text(0))))
            }
        }
    }

    func report(_ row: PostgresRow) throws -> KeptRecord {
        try codec.report(lot: row.text(0), kind: row.text(1), key: row.text(2), at: row.int(3), body: row.text(4))
    }

    /// The first byte says whether the name is sealed.
    func counterName(_ row: PostgresRow, _ column: Int) throws -> String {
        let bytes = try row.bytes(column)
        return bytes.first == 1 ? try codec.open(Array(bytes.dropFirst())) : String(decoding: bytes.dropFirst(), as: UTF8.self)
    }

    // MARK: Undoing

    public func values(of touched: Touched) throws(StoreError) -> DurableValues {
        try snapshot { connection in
            var values = DurableValues()
            for lot in touched.lots { values.lots[lot] = try marks(connection, lot, settled: touched.settled[lot] ?? []) }
            for serial in touched.reservations.keys {
                values.reservations[serial] = try reservations(connection, where: "serial = $1", [.int(serial)]).first
            }
            for (name, visit) in touched.visits {
                values.visits[name] = try connection.query(
                    "SELECT body FROM visits WHERE lot = $1 AND record_no = $2", [.text(visit.parkCode), .text(visit.recordNo)]
                ).first.map { try codec.visit(RowEncoding.parse($0.text(0))) }
            }
            for (name, kept) in touched.reports { values.reports[name] = try row(connection, kept) }
            for (name, entity) in touched.entities {
                values.entities[name] = try row(connection, RowEncoding.row(entity)).flatMap(RowEncoding.entity)
            }
            for key in touched.bills.keys {
                values.bills[key] = try connection.query("SELECT body FROM bills WHERE key = $1", [.text(key)]).first
                    .map { try RowEncoding.bill(RowEncoding.parse($0.text(0))) }
            }
            for key in touched.payments.keys {
                values.payments[key] = try connection.query("SELECT body FROM payments WHERE key = $1", [.text(key)]).first
                    .map { try RowEncoding.payment(RowEncoding.parse($0.text(0))) }
            }
            return values
        }
    }

    /// The row that keeps a report or an entity under the same names.
    private func row(_ connection: PostgresConnection, _ kept: KeptRecord) throws -> KeptRecord? {
        try connection.query(
            "SELECT lot, kind, key, at, body FROM reports WHERE lot = $1 AND kind = $2 AND key = $3",
            [.text(kept.parkCode), .text(kept.kind), .text(codec.name(kept.key))]
        ).first.map(report)
    }

    private func marks(_ connection: PostgresConnection, _ lot: String, settled: Set<Int64>) throws -> LotMarks? {
        let row = try connection.query(
            "SELECT \(PostgresStore.lotColumns) FROM lots LEFT JOIN positions USING (lot) WHERE lots.lot = $1", [.text(lot)]
        ).first
        guard let row else { return nil }
        let closed = try connection.query("SELECT epoch FROM closed_epochs WHERE lot = $1", [.text(lot)]).rows.map { try $0.text(0) }
        var marks = try marks(row, closed: Set(closed))
        marks.deadLetters =
            try connection.query("SELECT count(*) FROM up_log WHERE lot = $1 AND code <> 0 AND NOT mended", [.text(lot)]).first?.int(0) ?? 0
        guard let epoch = marks.downEpoch else { return marks }
        let rows = try connection.query(
            "SELECT seq, order_no FROM down_log WHERE lot = $1 AND epoch = $2 AND seq = ANY($3) AND NOT settled",
            [.text(lot), .text(epoch), .array(PostgresArray(settled.sorted()))]
        ).rows
        for row in rows { marks.awaiting[try row.int(0)] = try row.text(1) }
        return marks
    }
}
