public import BerthCore
import BerthWire
import GRDB

// The store reads the durable values of things by their keys, one after the other: the city undoes a refused commit with them.
extension SQLiteStore {
    public func values(of touched: Touched) throws(StoreError) -> DurableValues {
        try read { db in
            var values = DurableValues()
            for parkCode in touched.lots { values.lots[parkCode] = try marks(of: parkCode, settled: touched.settled[parkCode] ?? [], db) }
            let reservations = try db.cachedStatement(sql: "SELECT serial, body, entry FROM orders WHERE serial = ?")
            for serial in touched.reservations.keys {
                values.reservations[serial] = try GRDB.Row.fetchOne(reservations, arguments: [serial]).map { try reservation(db, $0) }
            }
            let visits = try db.cachedStatement(sql: "SELECT body FROM visits WHERE lot = ? AND record_no = ?")
            for (name, visit) in touched.visits {
                values.visits[name] = try String.fetchOne(visits, arguments: [visit.parkCode, visit.recordNo])
                    .map { try codec.visit(RowEncoding.parse($0)) }
            }
            for (name, report) in touched.reports { values.reports[name] = try row(report, db) }
            for (name, entity) in touched.entities {
                values.entities[name] = try row(RowEncoding.row(entity), db).flatMap(RowEncoding.entity)
            }
            let bills = try db.cachedStatement(sql: "SELECT body FROM bills WHERE key = ?")
            for key in touched.bills.keys {
                values.bills[key] = try String.fetchOne(bills, arguments: [key]).map { try RowEncoding.bill(RowEncoding.parse($0)) }
            }
            let payments = try db.cachedStatement(sql: "SELECT body FROM payments WHERE key = ?")
            for key in touched.payments.keys {
                values.payments[key] = try String.fetchOne(payments, arguments: [key]).map {
                    try RowEncoding.payment(RowEncoding.parse($0))
                }
            }
            return values
        }
    }

    /// The row that keeps a report or an entity under the same names.
    private func row(_ report: KeptRecord, _ db: Database) throws -> KeptRecord? {
        let statement = try db.cachedStatement(sql: "SELECT * FROM reports WHERE lot = ? AND kind = ? AND key = ?")
        return try GRDB.Row.fetchOne(statement, arguments: [report.parkCode, report.kind, codec.name(report.key)]).map {
            try codec.report(lot: $0.text("lot"), kind: $0.text("kind"), key: $0.text("key"), at: $0.int("at"), body: $0.text("body"))
        }
    }

    /// The marks of a lot as its rows have them. The position of the down log may lag behind the log itself.
    static func marks(_ row: GRDB.Row, closed: Set<String>) throws -> LotMarks {
        var marks = LotMarks()
        marks.remaining = try row.optionalText("remaining").map { try RowEncoding.remaining(RowEncoding.parse($0)) }
        marks.up = LogPosition(epoch: try row.optionalText("up_epoch"), ackSeq: try row.optionalInt("up_ack") ?? 0, closed: closed)
        marks.downEpoch = try row.optionalText("down_epoch")
        marks.downLast = try row.optionalInt("down_last") ?? 0
        marks.downAck = try row.optionalInt("down_ack") ?? 0
        return marks
    }

    private func marks(of parkCode: String, settled: Set<Int64>, _ db: Database) throws -> LotMarks? {
        let statement = try db.cachedStatement(sql: "SELECT * FROM lots LEFT JOIN positions USING(lot) WHERE lots.lot = ?")
        guard let row = try GRDB.Row.fetchOne(statement, arguments: [parkCode]) else { return nil }
        let closed = try String.fetchAll(
            db.cachedStatement(sql: "SELECT epoch FROM closed_epochs WHERE lot = ?"), arguments: [parkCode])
        var marks = try SQLiteStore.marks(row, closed: Set(closed))
        marks.deadLetters =
            try Int.fetchOne(
                db.cachedStatement(sql: "SELECT count(*) FROM up_log WHERE lot = ? AND code <> 0 AND mended = 0"), arguments: [parkCode])
            ?? 0
        guard let epoch = marks.downEpoch, let run = places.withLock({ $0.down[RowIndex.LogName(lot: parkCode, epoch: epoch)] }) else {
            return marks
        }
        marks.downLast = max(marks.downLast, run.next - 1)
        let entry = try db.cachedStatement(sql: "SELECT order_no FROM down_log WHERE id = ? AND settled = 0")
        for seq in settled {
            guard let id = run.row(seq), let orderNo = try String.fetchOne(entry, arguments: [id]) else { continue }
            marks.awaiting[seq] = orderNo
        }
        return marks
    }
}
