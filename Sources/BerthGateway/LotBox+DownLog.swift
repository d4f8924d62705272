import BerthCore
import BerthLink
import BerthWire
import Foundation
import GRDB
import Synchronization

// The down log as its reader: in order, once, on the disk before the answer (section 5).
extension LotBox {
    private enum Step {
        case answer(Reply), stored
        case write(Reply, LocalReservation?, KeptRecord?, toPMS: Bool, closed: String?)
    }

    /// Takes one entry of the down log.
    /// - Parameter completion: gets the answer when the entry is on the disk, or at once where nothing is to be written.
    package func consume(
        epoch: String, seq: Int64, service: String, data: JSON, completion: @escaping @Sendable (Reply) -> Void
    ) {
        guard Bounds.isEpoch(epoch), seq >= 1, Bounds.seqs.contains(seq) else {
            return completion(Reply(WireError("illegalValue", "epoch, seq")))
        }
        let now = now()
        let lot = entry.parkCode
        let outcome: Step? = state.withLock { state in
            let step = step(epoch: epoch, seq: seq, service: service, data: data, now: now, &state)
            guard case .write(let answer, let reservation, let report, let toPMS, let closed) = step else { return step }
            spool.write({ db in
                if let report { try LotBox.write(report, db) }
                if toPMS {
                    try db.execute(
                        sql: "INSERT INTO inbox(lot, service, body) VALUES(?,?,?)", arguments: [lot, service, data.string])
                    try LotBox.boundInbox(lot, after: db.lastInsertedRowID, db)
                }
                if let reservation { try LotBox.write(reservation, lot, db) }
                if let closed {
                    try db.execute(sql: "INSERT OR IGNORE INTO closed_epochs VALUES(?,?)", arguments: [lot, closed])
                    try db.execute(sql: "DELETE FROM down_results WHERE lot = ? AND epoch <> ?", arguments: [lot, epoch])
                }
                try db.execute(
                    sql: "UPDATE positions SET down_epoch = ?, down_ack = ? WHERE lot = ?", arguments: [epoch, seq, lot])
                try db.execute(
                    sql: "INSERT OR REPLACE INTO down_results VALUES(?,?,?,?,?)",
                    arguments: [lot, epoch, seq, answer.code, answer.data.string])
                try db.execute(
                    sql: "DELETE FROM down_results WHERE lot = ? AND epoch = ? AND seq < ?", arguments: [lot, epoch, seq - 2000])
            }) { isDurable in
                completion(isDurable ? answer : Reply(WireError("dependencyUnavailable")))
            }
            return nil
        }
        switch outcome {
        case .answer(let answer): completion(answer)
        case .stored: repeatFirstAnswer(epoch: epoch, seq: seq, completion: completion)
        case .write, nil: break
        }
    }

    private func step(
        epoch: String, seq: Int64, service: String, data: JSON, now: Int64, _ state: inout State
    ) -> Step {
        switch state.down.admit(epoch: epoch, seq: seq) {
        case .duplicate: return .stored
        case .gap(let expected):
            let data: JSON = [
                "expectedSeq": .int(expected), "epoch": .string(state.down.epoch ?? ""), "ackSeq": .int(state.down.ackSeq),
            ]
            return .answer(positioned(Reply(WireError("sequenceGap", data: data)), state.down))
        case .closed:
            return .answer(
                positioned(
                    Reply(WireError("epochClosed", data: ["epoch": .string(state.down.epoch ?? "")])), state.down))
        case .next:
            let old = state.down.epoch
            let closed = old == nil || old == epoch ? nil : old
            let isOrder = service.hasPrefix("order.reserve.")
            let cars = state.inside
            if !isOrder,
                let (answer, report) = state.list.apply(
                    standing: service, data, parkCode: entry.parkCode, now: now,
                    inside: { authNo in cars.values.first { $0.orderNo == authNo }?.plate })
            {
                state.down.consume(epoch: epoch, seq: seq)
                return .write(positioned(answer, state.down), nil, report, toPMS: answer.code == 0, closed: closed)
            }
            let (answer, reservation) =
                isOrder ? state.list.apply(reservation: service, data, now: now) : (Reply(WireError("unknownService")), nil)
            state.down.consume(epoch: epoch, seq: seq)
            return .write(positioned(answer, state.down), reservation, nil, toPMS: false, closed: closed)
        }
    }

    /// An entry that came before is answered with its first result.
    private func repeatFirstAnswer(epoch: String, seq: Int64, completion: @escaping @Sendable (Reply) -> Void) {
        // Behind everything being written, so that the result is there.
        spool.write({ _ in }) { [self] isDurable in
            guard isDurable else { return completion(Reply(WireError("dependencyUnavailable"))) }
            Task {
                let first = try? await spool.downResult(entry.parkCode, epoch: epoch, seq: seq)
                var answer = (first ?? nil) ?? Reply()
                answer.duplicate = true
                completion(positioned(answer, state.withLock { $0.down }))
            }
        }
    }

    private func positioned(_ answer: Reply, _ position: LogPosition) -> Reply {
        var answer = answer
        answer.epoch = position.epoch ?? ""
        answer.ackSeq = position.ackSeq
        return answer
    }

    // MARK: Snapshots

    /// The fate of a snapshot.
    package enum Restored: Sendable, Equatable {
        case done
        /// Entries that the snapshot does not hold were taken while it was on its way: it is asked for again.
        case older
        /// It cannot be read, or the disk does not take it.
        case unusable
    }

    /// Goes on from a snapshot: everything in force, and the place in the down log from which to go on.
    /// - Parameter isBehind: the server is known to stand behind this box in the same epoch; then its place is taken all the same.
    package func restore(snapshot: JSON, isBehind: Bool = false) async -> Restored {
        guard let epoch = snapshot["downEpoch"]?.stringValue, let seq = snapshot["downSeq"]?.intValue, Bounds.seqs.contains(seq),
            epoch.isEmpty || Bounds.isEpoch(epoch)
        else { return .unusable }
        // Before its first entry the log has no epoch, and no place to go on from.
        let hasLog = !epoch.isEmpty
        let reservations = (snapshot["orders"]?.arrayValue ?? []).compactMap { LocalReservation(json: $0) }
        let lot = entry.parkCode
        let standing = LotBox.standing(of: snapshot, parkCode: lot, now: now())
        return await withCheckedContinuation { continuation in
            state.withLock { state in
                if hasLog, !isBehind, state.down.epoch == epoch, state.down.ackSeq > seq { return continuation.resume(returning: .older) }
                let numbers = Set(state.inside.values.compactMap(\.orderNo))
                var table: [String: LocalReservation] = [:]
                for reservation in reservations {
                    table[reservation.orderNo] = LotBox.known(reservation, state.list.reservations[reservation.orderNo], numbers)
                }
                state.list.reservations = table
                state.list.standing = [:]
                for report in standing where !report.isGone { state.list.standing[report.kind, default: [:]][report.key] = report.body }
                state.readStanding(lot)
                let closed = hasLog ? state.down.epoch.flatMap { $0 == epoch ? nil : $0 } : nil
                if hasLog { state.down.jump(epoch: epoch, seq: seq) }
                let rows = Array(table.values)
                spool.write({ db in
                    try db.execute(sql: "DELETE FROM orders WHERE lot = ?", arguments: [lot])
                    try db.execute(sql: "DELETE FROM standing WHERE lot = ?", arguments: [lot])
                    for report in standing { try LotBox.write(report, db) }
                    for reservation in rows { try LotBox.write(reservation, lot, db) }
                    guard hasLog else { return }
                    try db.execute(sql: "DELETE FROM closed_epochs WHERE lot = ? AND epoch = ?", arguments: [lot, epoch])
                    if let closed {
                        try db.execute(sql: "INSERT OR IGNORE INTO closed_epochs VALUES(?,?)", arguments: [lot, closed])
                    }
                    try db.execute(
                        sql: "UPDATE positions SET down_epoch = ?, down_ack = ? WHERE lot = ?", arguments: [epoch, seq, lot])
                }) { continuation.resume(returning: $0 ? .done : .unusable) }
            }
        }
    }

    /// An order of a snapshot, with what the box knows better: its own entries may not have reached the server yet.
    private static func known(_ reservation: LocalReservation, _ old: LocalReservation?, _ inside: Set<String>) -> LocalReservation {
        var reservation = reservation
        if let old {
            reservation.entry.entriesUsed = max(reservation.entry.entriesUsed, old.entry.entriesUsed)
            reservation.entry.isInside = inside.contains(reservation.orderNo)
        } else if inside.contains(reservation.orderNo) {
            reservation.entry.isInside = true
        }
        return reservation
    }

    /// Whether a row of the spool can be read as the thing of its kind.
    static func canStand(_ kind: String, _ body: String, parkCode: String) -> Bool {
        guard let object = (try? JSON.parse(Array(body.utf8)))?.objectValue else { return false }
        switch kind {
        case "share.auth.push": return (try? Decode.authorisation(object, parkCode: parkCode, now: 0)) != nil
        case "flow.policy.push": return (try? Decode.flow(object, parkCode: parkCode)) != nil
        default: return true
        }
    }
}
