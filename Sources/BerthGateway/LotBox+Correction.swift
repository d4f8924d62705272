import BerthCore
import BerthWire

extension LotBox {
    /// Records a correction (U13) in the up log, and applies it to the car inside of that record. Returns when it is on the disk.
    ///
    /// The record of a car that is inside is corrected only where the server refused its entry (section 5.3): the dead letter is judged anew.
    /// - Parameter data: the body of `vehicle.record.correct`.
    /// - Throws: ``LotBox/Refused``: 400 or 422 for a body that the server would refuse by its form, with the field; 422 (1502) for a car inside.
    package func correct(_ data: JSONObject) async throws {
        let lot = entry.parkCode
        guard case .correct(_, let recordNo, let correction) = try command("vehicle.record.correct", data) else { return }
        let wasRefused: Bool
        do { wasRefused = try await spool.isDead(lot, recordNo: recordNo) } catch { throw LotBox.noDisk }
        _ = try await recorded { [self] state, done in
            let car = state.inside.values.first { $0.recordNo == recordNo }
            guard car == nil || wasRefused else {
                throw Refused(
                    status: 422, name: "correctionWhileInside", description: "recordNo: its car is inside; the exit comes first")
            }
            let corrected = car.flatMap { LotBox.corrected($0, by: correction) }
            if let car { state.inside[car.plate] = nil }
            // A plate that is inside under another record keeps that record.
            let isFree = corrected.map { state.inside[$0.plate] == nil } ?? false
            if let corrected, isFree { state.inside[corrected.plate] = corrected }
            let change = car == nil || isFree ? 0 : -1
            if change != 0 { state.remainChanged = true }
            append(&state, service: "vehicle.record.correct", data: .object(data), at: now(), change: change) { db in
                guard let car else { return }
                try db.execute(sql: "DELETE FROM inside WHERE lot = ? AND plate = ?", arguments: [lot, car.plate.revealed])
                guard let corrected, isFree else { return }
                try db.execute(
                    sql: "INSERT OR REPLACE INTO inside VALUES(?,?,?)", arguments: [lot, corrected.plate.revealed, corrected.json.string])
            } completion: {
                done($0 ? true : nil)
            }
        }
    }

    /// The command of a body that goes into the up log as it is.
    /// - Throws: ``LotBox/Refused`` for one that the server would refuse by its form, with the field.
    func command(_ service: String, _ data: JSONObject) throws -> Command {
        let command: Command
        do throws(WireError) {
            command = try Decode.logEntry(service: service, data: data, parkCode: entry.parkCode, now: now())
        } catch {
            throw Refused(status: Dialect.current.code(error.name).httpStatus, name: error.name, description: error.hint)
        }
        guard JSON.object(data).depth <= Bounds.batchDepthMax else {
            throw Refused(status: 400, name: "illegalValue", description: "nested deeper than \(Bounds.batchDepthMax)")
        }
        return command
    }

    /// The car as it is after a correction; nil where its record does not stand for a car inside any more.
    private static func corrected(_ car: InsideCar, by correction: Correction) -> InsideCar? {
        var car = car
        switch correction {
        case .plate(let plate): car.plate = plate
        case .times(let enter, let leave):
            if leave != nil { return nil }
            if let enter { car.enterTime = enter }
        case .fee: break
        case .void, .merge: return nil
        }
        return car
    }
}
