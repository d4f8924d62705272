import BerthCore
import BerthLink
import BerthWire
import Foundation
import GRDB
import Logging
import Synchronization

// The up log, from its writer's side: entries to send, acknowledgements, new epochs (section 5).
extension LotBox {
    /// The meaning of an `ackSeq` of the server.
    package enum Acknowledgement: Sendable, Equatable {
        /// It is believed; `isNew` when more is acknowledged than before.
        case taken(isNew: Bool)
        /// It stands behind what the server had acknowledged: the server lost that, and this log cannot go on.
        case behind
        /// It stands beyond everything that was ever sent: the spool is older than the server's position, or the server does not tell the truth.
        case beyond
    }

    /// The next entries to send: one alone, or a batch; nil where entries must be there and cannot be read.
    package func nextEntries(limit: Int = WireLimits.batchEntriesMax) async -> (epoch: String, entries: [Spool.UpEntry])? {
        let (epoch, ack, last) = state.withLock { ($0.upEpoch, $0.upAck, $0.upLast) }
        let entries = try? await spool.entries(
            entry.parkCode, epoch: epoch, after: ack, limit: limit, bytes: WireLimits.batchBytesMax)
        guard let entries, let end = entries.last else { return last > ack ? nil : (epoch, []) }
        state.withLock { if $0.upEpoch == epoch { $0.upSent = max($0.upSent, end.seq) } }
        return (epoch, entries)
    }

    /// Lets the spool go back to what is on the disk and mend it, as after a disk that was full: a row was damaged while the box works.
    package func mendLog() {
        spool.write { _ in throw DatabaseError(resultCode: .SQLITE_ABORT, message: "an entry of the up log cannot be read") }
    }

    /// Puts on the disk that entries are sent from now on: after a later start, everything that stands in the log by then may be known.
    /// - Returns: false when the disk takes nothing.
    package func beginSending() async -> Bool {
        let isDurable = await withCheckedContinuation { continuation in
            state.withLock { state in
                guard !state.mayHaveSent else { return continuation.resume(returning: true) }
                state.mayHaveSent = true
                let lot = entry.parkCode
                spool.write({ db in
                    try db.execute(sql: "UPDATE positions SET up_sent = max(up_sent, up_last) WHERE lot = ?", arguments: [lot])
                }) { continuation.resume(returning: $0) }
            }
        }
        if !isDurable { state.withLock { $0.mayHaveSent = false } }
        return isDurable
    }

    /// The server has consumed up to `ackSeq`. Acknowledged entries are kept aside for 30 days (D20). An entry that the server refused for
    /// good is a dead letter.
    package func acknowledged(_ ackSeq: Int64, failed: [(seq: Int64, code: Int)] = []) -> Acknowledgement {
        let lot = entry.parkCode
        let now = now()
        let failed = failed.filter { $0.code != 0 && $0.seq <= ackSeq }
        return state.withLock { state in
            guard ackSeq >= state.upAck else { return .behind }
            guard ackSeq <= state.sentBound else { return .beyond }
            let isNew = ackSeq > state.upAck
            guard isNew else { return .taken(isNew: false) }
            state.upAck = ackSeq
            let epoch = state.upEpoch
            let letters = Slot<[(service: String, code: Int, seq: Int64)]>([])
            spool.write({ db in
                var dead: [(service: String, code: Int, seq: Int64)] = []
                for (seq, code) in failed {
                    let row = try Row.fetchOne(
                        db, sql: "SELECT service FROM up WHERE lot = ? AND epoch = ? AND seq = ?", arguments: [lot, epoch, seq])
                    guard let row else { continue }
                    try db.execute(
                        sql: """
                            INSERT OR IGNORE INTO dead(lot, epoch, seq, code, service, data, at)
                            SELECT lot, epoch, seq, ?, service, data, ? FROM up WHERE lot = ? AND epoch = ? AND seq = ?
                            """, arguments: [code, now, lot, epoch, seq])
                    if db.changesCount > 0 { dead.append((row.text("service") ?? "", code, seq)) }
                }
                try db.execute(
                    sql: "UPDATE positions SET up_ack = ? WHERE lot = ? AND up_epoch = ?", arguments: [ackSeq, lot, epoch])
                try db.execute(
                    sql: """
                        INSERT OR REPLACE INTO sent SELECT lot, epoch, seq, request_id, service, at, data, ?
                        FROM up WHERE lot = ? AND epoch = ? AND seq <= ?
                        """, arguments: [now, lot, epoch, ackSeq])
                try db.execute(
                    sql: "DELETE FROM up WHERE lot = ? AND epoch = ? AND seq <= ?", arguments: [lot, epoch, ackSeq])
                letters.set(dead)
            }) { [self] isDurable in if isDurable { bury(letters.value) } }
            return .taken(isNew: true)
        }
    }

    /// Says which records the server refused for good.
    private func bury(_ letters: [(service: String, code: Int, seq: Int64)]) {
        guard !letters.isEmpty else { return }
        state.withLock { $0.deadCount += letters.count }
        for letter in letters.prefix(20) {
            logger.warning(
                "a record is a dead letter: the server refused it for good",
                metadata: [
                    "lot": "\(entry.parkCode)", "service": "\(letter.service)", "code": "\(letter.code)", "seq": "\(letter.seq)",
                    "why": "\(Dialect.current.codes[letter.code]?.en ?? "")",
                ])
        }
        if letters.count > 20 {
            logger.warning("and \(letters.count - 20) more dead letters", metadata: ["lot": "\(entry.parkCode)"])
        }
    }

    /// Begins a new epoch: the entries that are not acknowledged move into it, in order.
    /// - Returns: false when the disk takes nothing.
    @discardableResult
    package func startEpoch() async -> Bool {
        let (lot, new) = (entry.parkCode, "g" + SystemRandom.token(11))
        let last = Slot<Int64>(0)
        return await withCheckedContinuation { continuation in
            spool.write({ db in
                let row = try Row.fetchOne(db, sql: "SELECT up_epoch, up_ack FROM positions WHERE lot = ?", arguments: [lot])
                guard let old = row?.text("up_epoch"), let ack = row?.number("up_ack") else {
                    throw DatabaseError(resultCode: .SQLITE_ABORT, message: "the lot's positions are not readable")
                }
                try db.execute(
                    sql: "UPDATE up SET epoch = ?, seq = seq - ? WHERE lot = ? AND epoch = ? AND seq > ?",
                    arguments: [new, ack, lot, old, ack])
                let count = try Int64.fetchOne(
                    db, sql: "SELECT coalesce(max(seq), 0) FROM up WHERE lot = ? AND epoch = ?", arguments: [lot, new])
                try db.execute(
                    sql: "UPDATE positions SET up_epoch = ?, up_ack = 0, up_last = ?, up_sent = 0 WHERE lot = ?",
                    arguments: [new, count ?? 0, lot])
                last.set(count ?? 0)
            }) { [self] isDurable in
                if isDurable {
                    state.withLock { state in
                        let inside = state.counts.last
                        state.upEpoch = new
                        state.upAck = 0
                        state.upLast = last.value
                        state.upSent = 0
                        state.mayHaveSent = false
                        state.isEpochNew = true
                        state.counts = InsideCounts(count: inside, at: last.value)
                        state.resume = nil
                    }
                }
                continuation.resume(returning: isDurable)
            }
        }
    }

    /// Whether a server can know nothing of the open epoch: this process made it and has sent nothing of it.
    var isEpochUnknown: Bool { state.withLock { $0.isEpochNew && $0.sentBound == 0 } }
    var sentBound: Int64 { state.withLock { $0.sentBound } }

    // MARK: Resume after a break

    /// Backlogs that are longer are reported as events 6012 and 6013.
    package static let resumeMin: Int64 = 100

    /// Event 6012, where a long backlog begins to be sent.
    func reportResumeStarted() async {
        let count: Int64? = state.withLock { state in
            let count = state.upLast - state.upAck
            guard state.resume == nil, count > LotBox.resumeMin else { return nil }
            state.resume = (state.upLast, count)
            return count
        }
        if let count { try? await event(type: 6012, detail: ["stream": "up", "count": .int(count)]) }
    }

    /// Event 6013, where its last entry is acknowledged.
    func reportResumeFinished() async {
        let count: Int64? = state.withLock { state in
            guard let resume = state.resume, state.upAck >= resume.through else { return nil }
            state.resume = nil
            return resume.count
        }
        if let count { try? await event(type: 6013, detail: ["stream": "up", "count": .int(count)]) }
    }

    // MARK: Records again

    /// Entries that one D20 sends again at most.
    package static let resendMax = 10_000

    /// Acknowledged entries of a range, as they were sent.
    package func sent(_ range: Spool.Range) async -> [Spool.UpEntry]? {
        try? await spool.sent(entry.parkCode, range, limit: LotBox.resendMax)
    }

    /// Deletes what has been kept long enough, a slice at a time.
    func prune() {
        spool.prune(entry.parkCode, now: now()) { [weak self] more in if more { self?.prune() } }
    }
}
