import BerthCore
import BerthLink
import BerthWire
import Foundation
import GRDB
import Logging
import Synchronization

// Entries, exits and events of the lot: on the disk before anybody hears of them.
extension LotBox {
    static let noDisk = Refused(
        status: 503, name: "dependencyUnavailable", description: "the spool cannot be written")

    /// The record that was made of an entry.
    public struct Entered: Sendable {
        public let recordNo: String
        public let orderNo: String?
        /// The record of an older visit of the plate whose exit was missed; it is closed at the box by this entry.
        public let missedExit: String?
    }

    /// Records that a car has entered. Returns when it is on the disk.
    ///
    /// A plate that is inside since less than five minutes is refused with 409; later its older visit ends as exit missed (contract 5.5).
    /// - Parameters:
    ///   - text: any reading of the camera.
    ///   - enterTime: ms; the present when nil.
    ///   - orderNo: the order that the PMS names; the one decided at the gate when nil.
    @discardableResult
    public func enter(
        plate text: String, plateColor: Int = 9, gateCode: String, enterTime: Int64? = nil, orderNo: String? = nil,
        recordNo wanted: String? = nil, enterMode: Int = 1
    ) async throws -> Entered {
        let plate = try LotBox.reading(text)
        try demandGate(gateCode)
        try LotBox.demandTime(enterTime, "enterTime")
        let lot = entry.parkCode
        return try await recorded { [self] state, done in
            let time = enterTime ?? now()
            let older = state.inside[plate]
            if let older, LotBox.isRepeat(of: older, at: time) {
                throw Refused(status: 409, name: "repeatedEntry", description: "this plate is inside already")
            }
            let (reservation, authNo) = entitlement(
                of: plate, at: time, isPast: enterTime != nil, named: orderNo, gateCode: gateCode, &state)
            if let older, older.enterTime < time { state.list.leave(older.orderNo) }
            state.list.enter(plate, orderNo: reservation?.orderNo, authNo: authNo, at: time)
            let used = reservation.flatMap { state.list.reservations[$0.orderNo] }
            state.lastRecord = max(state.lastRecord + 1, time)
            let car = InsideCar(
                recordNo: wanted ?? "R\(state.lastRecord)-\(SystemRandom.token(4))", plate: plate, plateColor: plateColor,
                enterTime: time, gateCode: gateCode, orderNo: orderNo ?? reservation?.orderNo ?? authNo,
                carKind: reservation.map { LotBox.carKind($0.entry.purpose) } ?? (authNo != nil ? 6 : orderNo == nil ? 1 : 5))
            // A late record of an earlier entry does not take the place of the car that is inside now.
            let isLatest = older.map { $0.enterTime < time } ?? true
            if isLatest { state.inside[plate] = car }
            state.left[plate] = nil
            state.remainChanged = true
            let missed = older?.orderNo.flatMap { isLatest ? state.list.reservations[$0] : nil }
            let rows = [missed, used].compactMap { $0 }
            append(
                &state, service: "vehicle.entry.report", data: passageData(car, occupied: occupied(state), enterMode: enterMode), at: time,
                change: older == nil ? 1 : 0
            ) { db in
                if isLatest {
                    try db.execute(
                        sql: "INSERT OR REPLACE INTO inside VALUES(?,?,?)", arguments: [lot, car.plate.revealed, car.json.string])
                }
                for reservation in rows { try LotBox.write(reservation, lot, db) }
            } completion: {
                done($0 ? Entered(recordNo: car.recordNo, orderNo: car.orderNo, missedExit: isLatest ? older?.recordNo : nil) : nil)
            }
        }
    }

    private static func carKind(_ purpose: Purpose) -> Int {
        switch purpose {
        case .reservation: 5
        case .shared: 6
        case .publicService: 7
        }
    }

    /// The order or subscription that an entry is on: the one that the PMS names, the one that was decided at the gate, or the one that speaks
    /// for the plate itself.
    /// - Parameter isPast: the PMS gives the time; then a decision counts by that time, and otherwise by the monotonic clock.
    private func entitlement(
        of plate: Plate, at time: Int64, isPast: Bool, named: String?, gateCode: String, _ state: inout State
    ) -> (LocalReservation?, authNo: String?) {
        let known = state.decided.removeValue(forKey: plate)
        if let named { return (state.list.reservations[named], state.list.authorisations[named]?.authNo) }
        if let known, let number = known.number {
            let age = isPast ? abs(time - known.at) : SystemClock.monotonic() - known.monotonic
            if age < LotBox.decidedMillis { return (state.list.reservations[number], state.list.authorisations[number]?.authNo) }
        }
        // An almost-match that was not looked at: the plate itself, or none.
        let decision = decide(GateQuestion(plate: plate, time: time, gateCode: gateCode), exactly: true, &state)
        guard decision.verdict == .allow else { return (nil, nil) }
        return (decision.entry.flatMap { state.list.reservations[$0.orderNo] }, decision.subscription?.authNo)
    }

    /// Records that a car has left. A car that the box does not know is recorded all the same, under a new number.
    /// - Parameters:
    ///   - text: any reading of the camera.
    ///   - recordNo: finds a car whose plate was read otherwise; with `enterTime` also the number of a record that only the PMS has.
    ///   - enterTime: of a car that the box does not know; the exit's own time when nil.
    /// - Returns: the number of the record.
    @discardableResult
    public func exit(
        plate text: String?, recordNo: String? = nil, gateCode: String, enterTime: Int64? = nil, leaveTime: Int64? = nil,
        feeFen: Int64 = 0
    ) async throws -> String {
        guard text != nil || recordNo != nil else {
            throw Refused(status: 400, name: "missingParameter", description: "plateNo or recordNo")
        }
        let plate = try text.map { try LotBox.reading($0) }
        try demandGate(gateCode)
        try LotBox.demandTime(enterTime, "enterTime")
        try LotBox.demandTime(leaveTime, "leaveTime")
        let lot = entry.parkCode
        return try await recorded { [self] state, done in
            let time = leaveTime ?? now()
            let known =
                plate.flatMap { state.inside[$0] } ?? recordNo.flatMap { wanted in state.inside.values.first { $0.recordNo == wanted } }
            let car: InsideCar
            if let known {
                car = known
            } else if let plate {
                // Without the time of the entry a number that the server may know would be refused (1500).
                state.lastRecord = max(state.lastRecord + 1, time)
                let number = enterTime == nil ? nil : recordNo
                car = InsideCar(
                    recordNo: number ?? "R\(state.lastRecord)-\(SystemRandom.token(4))", plate: plate, plateColor: 9,
                    enterTime: min(enterTime ?? time, time), gateCode: "", orderNo: nil, carKind: 1)
            } else {
                throw Refused(
                    status: 404, name: "noEntryRecord", description: "no such record is inside, and without plateNo nothing can be recorded"
                )
            }
            let reservation = known?.orderNo
            if known != nil {
                state.inside[car.plate] = nil
                state.list.leave(reservation)
            }
            let now = SystemClock.monotonic()
            state.left = state.left.filter { now - $0.value < LotBox.leftMillis }
            state.left[car.plate] = now
            state.remainChanged = true
            let used = reservation.flatMap { state.list.reservations[$0] }
            append(
                &state, service: "vehicle.exit.report", data: exitData(car, occupied: occupied(state), gateCode, at: time, feeFen: feeFen),
                at: time, change: known == nil ? 0 : -1
            ) { db in
                try db.execute(sql: "DELETE FROM inside WHERE lot = ? AND plate = ?", arguments: [lot, car.plate.revealed])
                if let used { try LotBox.write(used, lot, db) }
            } completion: {
                done($0 ? car.recordNo : nil)
            }
        }
    }

    /// A plate that left is remembered for so long, ms: a reconciliation takes less.
    private static let leftMillis: Int64 = 900_000

    /// Records an event of the dictionary (section 11), or of a vendor (9000 to 9999).
    public func event(type: Int, level: Int = 2, detail: JSON = [:]) async throws {
        guard Dialect.current.events[type] != nil || (9000...9999).contains(type) else {
            throw Refused(
                status: 400, name: "illegalValue", description: "eventType: \(type) is not in the dictionary and not 9000 to 9999")
        }
        guard (1...4).contains(level) else { throw Refused(status: 400, name: "illegalValue", description: "level: 1 to 4") }
        guard detail.depth <= Bounds.detailDepthMax else {
            throw Refused(
                status: 400, name: "illegalValue", description: "detail: nested deeper than \(Bounds.detailDepthMax)")
        }
        _ = try await recorded { [self] state, done in
            let time = now()
            append(
                &state, service: "event.report",
                data: [
                    "eventId": .string(SystemRandom.uuid()), "eventType": .int(type), "level": .int(level), "occurTime": .int(time),
                    "detail": detail,
                ], at: time
            ) { _ in
            } completion: {
                done($0 ? true : nil)
            }
        }
    }

    // MARK: Refusals before anything stands in the log

    static func reading(_ text: String) throws -> Plate {
        guard let plate = Plate(reading: text) else {
            throw Refused(status: 422, name: "illegalPlate", description: "plateNo: 1 to 16 characters, none of them a control")
        }
        return plate
    }

    private static func demandTime(_ time: Int64?, _ name: String) throws {
        guard let time, !Bounds.times.contains(time) else { return }
        throw Refused(status: 400, name: "illegalValue", description: "\(name): ms since the epoch, 13 digits")
    }

    /// A configuration that lists gates knows no other: the record of another one would come back as a dead letter.
    func demandGate(_ gateCode: String) throws {
        guard !gateCodes.isEmpty, !gateCodes.contains(Array(gateCode.utf8)) else { return }
        throw Refused(status: 422, name: "unknownGate", description: "gateCode: \(gateCode) is not a gate of the configuration")
    }

    // MARK: The log

    private func passageData(_ car: InsideCar, occupied: Int, enterMode: Int = 1) -> JSON {
        .object(passage(car, occupied: occupied, enterMode: enterMode))
    }

    private func passage(_ car: InsideCar, occupied: Int, enterMode: Int = 1) -> JSONObject {
        var data = JSONObject([
            ("recordNo", .string(car.recordNo)), ("plateNo", .string(car.plate.revealed)), ("plateColor", .int(car.plateColor)),
            ("vehicleClass", 1), ("carKind", .int(car.carKind)), ("enterTime", .int(car.enterTime)),
        ])
        // The gate of a car that the box did not see come in is not known.
        if !car.gateCode.isEmpty {
            data.append("gateCode", .string(car.gateCode))
            data.append("gateName", .string(car.gateCode))
        }
        if let orderNo = car.orderNo { data.append("orderNo", .string(orderNo)) }
        data.append("enterMode", .int(enterMode))
        data.append("remain", ["total": .int(entry.totalCount), "remain": .int(max(0, entry.totalCount - occupied))])
        return data
    }

    private func exitData(_ car: InsideCar, occupied: Int, _ gateCode: String, at time: Int64, feeFen: Int64) -> JSON {
        var data = passage(car, occupied: occupied)
        data.append("leaveTime", .int(max(time, car.enterTime)))
        data.append("parkSeconds", .int(max(0, time - car.enterTime) / 1000))
        data.append("exitGateCode", .string(gateCode))
        data.append("exitMode", 1)
        data.append("leaveKind", feeFen > 0 ? 1 : 2)
        for name in ["totalFee", "payableFee", "paidFee"] { data.append(name, .int(feeFen)) }
        data.append("discountFee", 0)
        data.append("payments", [])
        return .object(data)
    }

    /// Runs `body` under the lock and returns what it says when its write is on the disk; throws 503 where it is not.
    func recorded<Value: Sendable>(
        _ body: @Sendable (inout State, @escaping @Sendable (Value?) -> Void) throws -> Void
    ) async throws -> Value {
        let result: Result<Value, any Error> = await withCheckedContinuation { continuation in
            state.withLock { state in
                // While the disk takes nothing, memory may be ahead of it: nothing is decided on it.
                guard spool.isWritable else { return continuation.resume(returning: .failure(LotBox.noDisk)) }
                do {
                    try body(&state) { value in
                        continuation.resume(returning: value.map { .success($0) } ?? .failure(LotBox.noDisk))
                    }
                } catch { continuation.resume(returning: .failure(error)) }
            }
        }
        return try result.get()
    }

    static func write(_ reservation: LocalReservation, _ lot: String, _ db: Database) throws {
        try db.execute(sql: "INSERT OR REPLACE INTO orders VALUES(?,?,?)", arguments: [lot, reservation.orderNo, reservation.json.string])
    }

    /// Hands one entry of the up log to the spool, with what belongs to it; its number is given where the row is written. Called with the state
    /// locked.
    /// - Parameters:
    ///   - change: by how much the entry changes the count of cars inside.
    ///   - completion: says whether the entry is on the disk; without the lock.
    func append(
        _ state: inout State, service: String, data: JSON, at: Int64, change: Int = 0, beside write: @escaping Spool.Write,
        completion: @escaping @Sendable (Bool) -> Void
    ) {
        let (lot, requestId, text, mayHaveSent) = (entry.parkCode, SystemRandom.uuid(), data.string, state.mayHaveSent)
        let place = Slot<(epoch: String, seq: Int64)>(("", 0))
        spool.write({ db in
            let row = try Row.fetchOne(
                db.cachedStatement(sql: "SELECT up_epoch, up_last FROM positions WHERE lot = ?"), arguments: [lot])
            guard let epoch = row?.text("up_epoch"), let last = row?.number("up_last"), (0..<WireLimits.intMax).contains(last) else {
                throw DatabaseError(resultCode: .SQLITE_ABORT, message: "the lot's positions are not readable")
            }
            let seq = last + 1
            try db.cachedStatement(sql: "INSERT INTO up VALUES(?,?,?,?,?,?,?)").execute(
                arguments: [lot, epoch, seq, requestId, service, at, text])
            try db.cachedStatement(
                sql: "UPDATE positions SET up_last = ?1, up_sent = CASE WHEN ?2 THEN ?1 ELSE up_sent END WHERE lot = ?3"
            ).execute(arguments: [seq, mayHaveSent, lot])
            place.set((epoch, seq))
            try write(db)
        }) { [self] isDurable in
            guard isDurable else { return completion(false) }
            let (epoch, seq) = place.value
            self.state.withLock { state in
                guard state.upEpoch == epoch else { return }
                state.upLast = max(state.upLast, seq)
                state.counts.note(change, at: seq)
            }
            wake.yield()
            completion(true)
        }
    }
}
