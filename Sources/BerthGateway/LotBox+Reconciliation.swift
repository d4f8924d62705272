import BerthCore
import BerthLink
import BerthWire
import GRDB
import Logging
import Synchronization

/// Cars inside at the last entries of the up log: a count of the server is as of a seq, and more may have happened since.
package struct InsideCounts: Sendable {
    private var steps: [(seq: Int64, count: Int)]
    private static let stepsMax = 1_024

    package init(count: Int = 0, at seq: Int64 = 0) { steps = [(seq, count)] }

    /// The count after the last entry.
    package var last: Int { steps[steps.count - 1].count }

    /// An entry on the disk changed the count.
    package mutating func note(_ change: Int, at seq: Int64) {
        guard change != 0, seq > steps[steps.count - 1].seq else { return }
        steps.append((seq, last + change))
        if steps.count > InsideCounts.stepsMax { steps.removeFirst(InsideCounts.stepsMax / 2) }
    }

    /// The count as of an entry; nil where that is longer ago than is remembered.
    package func count(asOf seq: Int64) -> Int? {
        guard let first = steps.first, seq >= first.seq else { return nil }
        return steps.last { $0.seq <= seq }?.count
    }
}

/// The result of a reconciliation with the server (section 5.9).
package struct ReconResult: Sendable, Equatable {
    package var at: Int64
    package var insideHere: Int
    package var insideThere: Int
    package var ordersMatch: Bool
    /// Cars that only the server had inside, and that are inside here now.
    package var carsAdded = 0
    /// Cars inside here that the server does not have.
    package var carsOnlyHere = 0

    var json: JSON {
        [
            "at": .int(at), "insideHere": .int(insideHere), "insideThere": .int(insideThere), "ordersMatch": .bool(ordersMatch),
            "carsAdded": .int(carsAdded), "carsOnlyHere": .int(carsOnlyHere),
        ]
    }
}

// Both sides compare cars inside and orders in force: daily, and after each long break.
extension LotBox {
    /// Cars inside as of an entry of the open epoch; nil where that is not remembered.
    func insideCount(asOf seq: Int64) -> Int? { state.withLock { $0.counts.count(asOf: seq) } }

    /// Adds cars that only the server has inside, so that their exit finds them.
    ///
    /// A plate that left here lately stays out: the server's list may be older than its exit.
    /// - Returns: how many were added, or nil when the disk takes nothing.
    package func addInside(_ cars: [InsideCar]) async -> Int? {
        guard !cars.isEmpty else { return 0 }
        let lot = entry.parkCode
        return await withCheckedContinuation { continuation in
            state.withLock { state in
                guard spool.isWritable else { return continuation.resume(returning: nil) }
                let numbers = Set(state.inside.values.map(\.recordNo))
                var added: [InsideCar] = []
                for var car in cars where state.inside[car.plate] == nil && state.left[car.plate] == nil && !numbers.contains(car.recordNo)
                {
                    car.isFromServer = true
                    if let orderNo = car.orderNo, let reservation = state.list.reservations[orderNo] {
                        car.carKind = reservation.entry.purpose == .reservation ? 5 : reservation.entry.purpose == .shared ? 6 : 7
                        state.list.reservations[orderNo]?.entry.isInside = true
                    }
                    state.inside[car.plate] = car
                    added.append(car)
                }
                guard !added.isEmpty else { return continuation.resume(returning: 0) }
                state.counts = InsideCounts(count: state.counts.last + added.count, at: state.upLast)
                state.remainChanged = true
                let rows = added
                spool.write({ db in
                    for car in rows {
                        try db.execute(
                            sql: "INSERT OR REPLACE INTO inside VALUES(?,?,?)", arguments: [lot, car.plate.revealed, car.json.string])
                    }
                }) { continuation.resume(returning: $0 ? rows.count : nil) }
            }
        }
    }

    /// The numbers of the records of cars inside.
    func insideRecords() -> Set<String> { state.withLock { Set($0.inside.values.map(\.recordNo)) } }

    /// The digest of `recon.order.digest` over the orders that are in force here.
    package func orderDigest() -> String {
        let lines = state.withLock { $0.list.linesInForce(at: now()) }
        return Signature.hash(canonical: Array(lines.joined(separator: "\n").utf8))
    }

    /// Whether the orders of a snapshot are those here. Versions are compared where no car is inside: an entry raises the server's alone.
    package func matches(snapshot: JSON) -> Bool {
        let reservations = (snapshot["orders"]?.arrayValue ?? []).compactMap { LocalReservation(json: $0) }
        let now = now()
        return state.withLock { state in
            let here = state.list.reservations
            var numbers: Set<String> = []
            for reservation in reservations {
                numbers.insert(reservation.orderNo)
                guard let known = here[reservation.orderNo], known.entry.isInForce else { return false }
                if !reservation.entry.isInside, !known.entry.isInside, known.entry.entriesUsed == 0, known.orderVer < reservation.orderVer {
                    return false
                }
            }
            return here.values.allSatisfy { !LocalList.isOpen($0, at: now) || $0.entry.isInside || numbers.contains($0.orderNo) }
        }
    }

    // MARK: A lost disk

    var isFresh: Bool { state.withLock { $0.isFresh } }

    /// The server has been asked what this lot had before.
    /// - Parameter isLost: it had something, so its disk was lost.
    func settleFresh(isLost: Bool) async {
        let (lot, time) = (entry.parkCode, isLost ? now() : nil)
        if isLost {
            logger.warning(
                "this lot lost its disk: the server knows of an earlier log; a new epoch began, and the cars inside are asked for",
                metadata: ["lot": "\(lot)"])
        }
        await withCheckedContinuation { continuation in
            state.withLock { state in
                state.isFresh = false
                if let time {
                    state.lostAt = time
                    state.note = "the disk was lost: a new epoch began, and the cars inside were asked of the server"
                }
                spool.write({ db in
                    try db.execute(
                        sql: "UPDATE positions SET is_fresh = 0, lost_at = coalesce(?, lost_at) WHERE lot = ?", arguments: [time, lot])
                }) { _ in continuation.resume() }
            }
        }
    }

    /// Shows a repair in the status, while there is no error.
    func note(_ text: String) { state.withLock { $0.note = text } }
}
