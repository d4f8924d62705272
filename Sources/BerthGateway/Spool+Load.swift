import BerthCore
import BerthLink
import BerthWire
import GRDB

// The state of a lot at the start. A row that cannot be read is put aside with its reason; it keeps neither the lot nor others from working.
extension Spool {
    package struct LotImage: Sendable {
        package var upEpoch = ""
        package var upLast: Int64 = 0
        package var upAck: Int64 = 0
        /// No entry beyond it was ever handed to a carrier.
        package var upSent: Int64 = 0
        /// The epoch was made by this load; nothing of it is known to anybody.
        package var isEpochNew = false
        /// The server has not been asked yet what this lot had before.
        package var isFresh = false
        package var lostAt: Int64?
        package var down = LogPosition()
        package var reservations: [LocalReservation] = []
        package var inside: [InsideCar] = []
        package var deadCount = 0
        package var badCount = 0
        package var standing: [String: [String: String]] = [:]
        /// Repairs, for the log and the status.
        package var notes: [String] = []
    }

    /// - Parameter now: ms, for rows that are put aside.
    package func load(_ lot: String, now: Int64) throws -> LotImage {
        try mend { db in
            var image = LotImage()
            try loadPositions(db, lot, now, &image)
            try loadUpLog(db, lot, now, &image)
            try loadList(db, lot, now, &image)
            image.deadCount = try Int.fetchOne(db, sql: "SELECT count(*) FROM dead WHERE lot = ?", arguments: [lot]) ?? 0
            image.badCount = try Int.fetchOne(db, sql: "SELECT count(*) FROM bad_rows WHERE lot = ?", arguments: [lot]) ?? 0
            return image
        }
    }

    private static func newEpoch() -> String { "g" + SystemRandom.token(11) }

    // MARK: Positions

    private func loadPositions(_ db: Database, _ lot: String, _ now: Int64, _ image: inout LotImage) throws {
        var closed: Set<String> = []
        for row in try Row.fetchAll(db, sql: "SELECT epoch FROM closed_epochs WHERE lot = ?", arguments: [lot]) {
            if let epoch = row.text("epoch") { closed.insert(epoch) }
        }
        if let row = try Row.fetchOne(db, sql: "SELECT * FROM positions WHERE lot = ?", arguments: [lot]) {
            if read(row, closed, &image) { return }
            let values = row.map { "\($0.0)=\($0.1)" }.joined(separator: " ")
            try putAside(db, lot, "positions", key: lot, body: values, reason: "positions of the logs out of range", now, &image)
            try db.execute(sql: "DELETE FROM positions WHERE lot = ?", arguments: [lot])
        }
        // No disk yet, or a lost one: a new epoch; the server is asked what the lot had.
        image.upEpoch = Spool.newEpoch()
        image.isEpochNew = true
        image.isFresh = true
        image.down = LogPosition(closed: closed)
        try db.execute(
            sql: "INSERT INTO positions(lot, up_epoch, is_fresh) VALUES(?,?,1)", arguments: [lot, image.upEpoch])
    }

    private func read(_ row: Row, _ closed: Set<String>, _ image: inout LotImage) -> Bool {
        let downEpoch: DatabaseValue = row["down_epoch"]
        guard let epoch = row.text("up_epoch"), Bounds.isEpoch(epoch), let last = row.number("up_last"), let ack = row.number("up_ack"),
            let sent = row.number("up_sent"), let downAck = row.number("down_ack"), Bounds.seqs.contains(ack), Bounds.seqs.contains(last),
            ack <= last, Bounds.seqs.contains(sent), Bounds.seqs.contains(downAck),
            downEpoch.isNull || row.text("down_epoch").map(Bounds.isEpoch) == true
        else { return false }
        image.upEpoch = epoch
        image.upLast = last
        image.upAck = ack
        image.upSent = sent
        image.isFresh = row.number("is_fresh") == 1
        image.lostAt = row.number("lost_at").flatMap { Bounds.times.contains($0) ? $0 : nil }
        image.down = LogPosition(epoch: row.text("down_epoch"), ackSeq: downAck, closed: closed)
        return true
    }

    // MARK: The up log

    /// Looks at each entry that is not acknowledged. A log with a hole is renumbered into a new epoch: the server would wait for the missing
    /// entry for ever, and a number that was given once is not given again.
    private func loadUpLog(_ db: Database, _ lot: String, _ now: Int64, _ image: inout LotImage) throws {
        var kept: [(epoch: String, seq: Int64)] = []
        var bad: [(key: String, body: String, reason: String, epoch: DatabaseValue, seq: DatabaseValue)] = []
        // Entries of another epoch than the open one were written before it.
        let rows = try Row.fetchCursor(
            db,
            sql: """
                SELECT epoch, seq, request_id, service, at, data FROM up WHERE lot = ?1 AND NOT (epoch = ?2 AND typeof(seq) = 'integer' AND seq <= ?3)
                ORDER BY epoch = ?2, epoch, seq
                """, arguments: [lot, image.upEpoch, image.upAck])
        while let row = try rows.next() {
            if let reason = Spool.fault(of: row) {
                let (epoch, seq): (DatabaseValue, DatabaseValue) = (row["epoch"], row["seq"])
                bad.append(("\(epoch) \(seq)", row.text("data") ?? "", reason, epoch, seq))
            } else if let epoch = row.text("epoch"), let seq = row.number("seq") {
                kept.append((epoch, seq))
            }
        }
        for row in bad {
            try putAside(db, lot, "up", key: row.key, body: row.body, reason: row.reason, now, &image)
            try db.execute(sql: "DELETE FROM up WHERE lot = ? AND epoch IS ? AND seq IS ?", arguments: [lot, row.epoch, row.seq])
        }
        // Acknowledged entries have their place elsewhere.
        try db.execute(
            sql: "DELETE FROM up WHERE lot = ? AND epoch = ? AND seq <= ?", arguments: [lot, image.upEpoch, image.upAck])
        var next = image.upAck
        let isWhole = kept.allSatisfy { entry in
            next += 1
            return entry.seq == next && entry.epoch.utf8.elementsEqual(image.upEpoch.utf8)
        }
        if isWhole, next >= image.upLast {
            if next > image.upLast {
                image.upLast = next
                try db.execute(sql: "UPDATE positions SET up_last = ? WHERE lot = ?", arguments: [next, lot])
            }
            return
        }
        try renumber(db, lot, kept, &image)
    }

    private func renumber(_ db: Database, _ lot: String, _ kept: [(epoch: String, seq: Int64)], _ image: inout LotImage) throws {
        let (old, ack, last) = (image.upEpoch, image.upAck, image.upLast)
        image.upEpoch = Spool.newEpoch()
        image.isEpochNew = true
        image.upAck = 0
        image.upSent = 0
        image.upLast = Int64(kept.count)
        let move = try db.makeStatement(sql: "UPDATE up SET epoch = ?, seq = ? WHERE lot = ? AND epoch = ? AND seq = ?")
        for (index, entry) in kept.enumerated() {
            try move.execute(arguments: [image.upEpoch, Int64(index) + 1, lot, entry.epoch, entry.seq])
        }
        try db.execute(
            sql: "UPDATE positions SET up_epoch = ?, up_last = ?, up_ack = 0, up_sent = 0 WHERE lot = ?",
            arguments: [image.upEpoch, image.upLast, lot])
        image.notes.append(
            "the up log had a hole (epoch \(old), acknowledged \(ack), last \(last)): \(kept.count) entries begin the epoch \(image.upEpoch)"
        )
    }

    /// Why an entry of the up log cannot be sent; nil when it can.
    private static func fault(of row: Row) -> String? {
        guard let epoch = row.text("epoch"), Bounds.isEpoch(epoch) else { return "epoch" }
        guard let seq = row.number("seq"), seq > 0, Bounds.seqs.contains(seq) else { return "seq out of range" }
        guard let requestId = row.text("request_id"), Envelope.isUUID(requestId) else { return "request_id is not a UUID" }
        guard let service = row.text("service"), let definition = Dialect.current.services[service], definition.kind == .log,
            definition.direction == "up"
        else { return "not a service of the up log" }
        guard let at = row.number("at"), Bounds.times.contains(at) else { return "at is not a time" }
        guard let text = row.text("data"), let data = try? JSON.parse(Array(text.utf8)), data.objectValue != nil else {
            return "data is not a JSON object"
        }
        return data.depth > Bounds.aloneDepthMax ? "data is nested too deep" : nil
    }

    // MARK: The local list

    private func loadList(_ db: Database, _ lot: String, _ now: Int64, _ image: inout LotImage) throws {
        try eachRow(db, lot, table: "orders", keys: ["order_no"], now, &image) { image, row, json in
            guard let reservation = json.flatMap({ LocalReservation(json: $0) }), row.text("order_no") == reservation.orderNo else {
                return "not an order"
            }
            image.reservations.append(reservation)
            return nil
        }
        try eachRow(db, lot, table: "inside", keys: ["plate"], now, &image) { image, row, json in
            guard let car = json.flatMap({ InsideCar(json: $0) }), row.text("plate") == car.plate.revealed else { return "not a car" }
            image.inside.append(car)
            return nil
        }
        let rows = try Row.fetchAll(db, sql: "SELECT kind, key, body FROM standing WHERE lot = ?", arguments: [lot])
        for row in rows {
            let body = row.text("body")
            if let kind = row.text("kind"), let key = row.text("key"), let body, LotBox.canStand(kind, body, parkCode: lot) {
                image.standing[kind, default: [:]][key] = body
                continue
            }
            let (kind, key): (DatabaseValue, DatabaseValue) = (row["kind"], row["key"])
            try putAside(db, lot, "standing", key: "\(kind) \(key)", body: body ?? "", reason: "cannot be read", now, &image)
            try db.execute(sql: "DELETE FROM standing WHERE lot = ? AND kind IS ? AND key IS ?", arguments: [lot, kind, key])
        }
    }

    /// Reads each row's body; `take` says why it cannot be used.
    private func eachRow(
        _ db: Database, _ lot: String, table: String, keys: [String], _ now: Int64, _ image: inout LotImage,
        take: (inout LotImage, Row, JSON?) -> String?
    ) throws {
        for row in try Row.fetchAll(db, sql: "SELECT * FROM \(table) WHERE lot = ?", arguments: [lot]) {
            let body = row.text("body")
            let json = body.flatMap { try? JSON.parse(Array($0.utf8)) }
            guard let reason = take(&image, row, json) else { continue }
            let values = keys.map { row[$0] as DatabaseValue }
            try putAside(
                db, lot, table, key: values.map { "\($0)" }.joined(separator: " "), body: body ?? "", reason: reason, now, &image)
            let condition = keys.map { "\($0) IS ?" }.joined(separator: " AND ")
            try db.execute(
                sql: "DELETE FROM \(table) WHERE lot = ? AND \(condition)", arguments: StatementArguments([lot.databaseValue] + values))
        }
    }

    private func putAside(
        _ db: Database, _ lot: String, _ source: String, key: String, body: String, reason: String, _ now: Int64, _ image: inout LotImage
    ) throws {
        try db.execute(
            sql: "INSERT INTO bad_rows(lot, source, key, body, reason, at) VALUES(?,?,?,?,?,?)",
            arguments: [lot, source, key, body, reason, now])
        image.notes.append("a row of \(source) was put aside (\(reason))")
    }
}
