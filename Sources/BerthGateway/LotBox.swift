import BerthCore
import BerthLink
public import BerthWire
import Foundation
import GRDB
import Logging
import Synchronization

/// One lot's side of the interface: decides at its gates from its own list, keeps both logs, and needs nobody for either.
///
/// Memory changes and the spool's write of it are handed over under one lock, so that the disk sees changes in the order of memory. A number
/// of the up log is given where its row is written.
public final class LotBox: Sendable {
    struct State {
        var upEpoch = ""
        /// Last seq on the disk, and last acknowledged.
        var upLast: Int64 = 0
        var upAck: Int64 = 0
        /// No entry beyond it was handed to a carrier, unless `mayHaveSent` says that every entry may have been.
        var upSent: Int64 = 0
        var mayHaveSent = false
        /// This process made the epoch.
        var isEpochNew = false
        /// The server has not been asked yet what this lot had before.
        var isFresh = false
        var lostAt: Int64?
        var down = LogPosition()
        /// Orders, and what the platform set.
        var list = LocalList()
        var inside: [Plate: InsideCar] = [:]
        var lastRecord: Int64 = 0
        var deadCount = 0
        var badCount = 0
        var remainChanged = true
        /// Readings that were decided lately, and on which order or subscription; nil where on none.
        var decided: [Plate: Decided] = [:]
        /// Cars that the PMS counts beyond those recorded here (loops, season tickets).
        var reportedOccupied = 0
        /// The server knows where both logs stand, since it was asked after the last break.
        var isSynchronised = false
        /// The clock is beyond the limit, and that has been reported.
        var isClockOff = false
        /// Cars inside by the entries on the disk, at their seqs; a count of the server is compared with them.
        var counts = InsideCounts()
        /// Plates that left lately, and when on the monotonic clock: an older list of the server still names them.
        var left: [Plate: Int64] = [:]
        /// Last seq of a backlog that is being sent after a break, and how many entries it had.
        var resume: (through: Int64, count: Int64)?
        var recon: ReconResult?
        /// Records that the server asked for again are on their way.
        var isResending = false
        var lastError = ""
        /// The last repair; shown while there is no error.
        var note = ""

        struct Decided {
            var number: String?
            var at: Int64
            var monotonic: Int64
        }

        mutating func readStanding(_ parkCode: String) {
            let cars = inside
            list.read(parkCode: parkCode) { authNo in cars.values.first { $0.orderNo == authNo }?.plate }
        }

        /// The highest seq that a server can know.
        var sentBound: Int64 { mayHaveSent ? max(upLast, upSent) : upSent }

        /// Takes the values of the disk; values that only memory has stay.
        mutating func take(_ image: Spool.LotImage, _ parkCode: String) {
            mayHaveSent = mayHaveSent && image.upEpoch == upEpoch
            upEpoch = image.upEpoch
            upLast = image.upLast
            upAck = image.upAck
            upSent = image.upSent
            isEpochNew = isEpochNew || image.isEpochNew
            isFresh = image.isFresh
            lostAt = image.lostAt
            down = image.down
            deadCount = image.deadCount
            badCount = image.badCount
            list = LocalList()
            list.standing = image.standing
            for reservation in image.reservations { list.reservations[reservation.orderNo] = reservation }
            inside = [:]
            for car in image.inside { inside[car.plate] = car }
            list.walkIns = image.inside.filter { $0.orderNo == nil && !$0.isFromServer }.map(\.enterTime)
            readStanding(parkCode)
            counts = InsideCounts(count: inside.count, at: upLast)
            resume = nil
        }
    }

    /// Why the local API refuses.
    public struct Refused: Error, CustomStringConvertible {
        public let status: Int
        public let name: String
        public let description: String
    }

    public let entry: GatewayConfiguration.LotEntry
    /// The bytes of the codes that the configuration lists; empty where it lists none.
    let gateCodes: Set<[UInt8]>
    let spool: Spool
    let clock: BoxClock
    package let commands = PMSCommandQueue()
    let state = Mutex(State())
    let logger: Logger
    /// Wakes the uplink when there is something to send.
    let wake: AsyncStream<Void>.Continuation
    let wakes: AsyncStream<Void>

    package init(_ entry: GatewayConfiguration.LotEntry, spool: Spool, clock: BoxClock = BoxClock(), logger: Logger) throws {
        self.entry = entry
        gateCodes = Set((entry.gates?.arrayValue ?? []).compactMap { $0["gateCode"]?.stringValue.map { Array($0.utf8) } })
        self.spool = spool
        self.clock = clock
        self.logger = logger
        (wakes, wake) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let image = try spool.load(entry.parkCode, now: clock.now())
        state.withLock { $0.take(image, entry.parkCode) }
        tell(image.notes)
        spool.onRecovery { [weak self] in self?.reload() ?? true }
    }

    /// Says on the log and in the status what was mended; the status keeps it until the process ends.
    private func tell(_ notes: [String]) {
        guard let first = notes.first else { return }
        for note in notes.prefix(20) { logger.warning("the spool was mended", metadata: ["lot": "\(entry.parkCode)", "what": "\(note)"]) }
        if notes.count > 20 { logger.warning("and \(notes.count - 20) more", metadata: ["lot": "\(entry.parkCode)"]) }
        let text = notes.count == 1 ? first : "\(notes.last ?? first); \(notes.count) repairs in all, see the log"
        state.withLock { $0.note = text }
    }

    /// Back to what is on the disk, after a time in which it took nothing.
    private func reload() -> Bool {
        // The lock is not held while the disk is read: a write that comes between is refused and counted, and causes another reload.
        guard let image = try? spool.load(entry.parkCode, now: clock.now()) else { return false }
        state.withLock { $0.take(image, entry.parkCode) }
        tell(image.notes)
        wake.yield()
        return true
    }

    /// The server's time as far as the box knows it, ms.
    package func now() -> Int64 { clock.now() }

    // MARK: The gate

    /// The decision from the local list alone.
    package func decideLocally(
        plate: Plate, gateCode: String, confidence: Int? = nil, orderNo: String? = nil, at time: Int64
    ) -> (GateDecision, admits: Bool) {
        state.withLock { state in
            let question = GateQuestion(plate: plate, time: time, gateCode: gateCode, confidence: confidence, orderNo: orderNo)
            let decision = decide(question, &state)
            return (decision, admits(decision.verdict, state))
        }
    }

    /// The rule that the server has too, over what this box knows. A plate whose exit was missed is not inside for it (contract 5.5).
    func decide(_ question: GateQuestion, exactly: Bool = false, _ state: inout State) -> GateDecision {
        let isInside = state.inside[question.plate].map { LotBox.isRepeat(of: $0, at: question.time) } ?? false
        return state.list.decide(
            question, exactly: exactly, isInside: isInside,
            occupied: occupied(state), capacity: entry.totalCount)
    }

    /// The lot's own rule for plates that no order speaks for.
    private func admits(_ verdict: GateVerdict, _ state: borrowing State) -> Bool {
        switch verdict {
        case .allow: true
        case .refuse: false
        case .local: entry.admitsUnknownPlates && occupied(state) < entry.totalCount
        }
    }

    func admitsUnknown() -> Bool { state.withLock { admits(.local, $0) } }

    /// Keeps the decision on a reading. The entry that follows is on that decision, no matter which side made it.
    func note(_ plate: Plate, number: String?, at time: Int64) {
        let now = SystemClock.monotonic()
        state.withLock { state in
            state.decided = state.decided.filter { now - $0.value.monotonic < LotBox.decidedMillis }
            state.decided[plate] = State.Decided(number: number, at: time, monotonic: now)
        }
    }

    /// A decision is remembered for so long, ms: a car drives in, or it does not.
    static let decidedMillis: Int64 = 600_000
    /// An entry of a plate that is inside, within this time of the first one: the camera saw the car twice (contract 5.5), ms.
    package static let repeatMillis: Int64 = 300_000

    static func isRepeat(of car: InsideCar, at time: Int64) -> Bool { abs(time - car.enterTime) < repeatMillis }

    // MARK: Status

    /// Orders whose window is long over leave the list, unless their car is inside; the server has judged them.
    func forgetOldOrders() {
        let limit = now() - 6 * 3_600_000
        let lot = entry.parkCode
        state.withLock { state in
            let gone = state.list.reservations.values.filter { $0.entry.enterEnd < limit && !$0.entry.isInside }.map(\.orderNo)
            guard !gone.isEmpty else { return }
            for orderNo in gone { state.list.reservations[orderNo] = nil }
            spool.write { db in
                for orderNo in gone {
                    try db.execute(sql: "DELETE FROM orders WHERE lot = ? AND order_no = ?", arguments: [lot, orderNo])
                }
            }
        }
    }

    public var backlog: Int64 { state.withLock { $0.upLast - $0.upAck } }
    /// Spaces taken: the count of the PMS, and never less than the cars recorded.
    public var occupied: Int { state.withLock { occupied($0) } }

    /// Cars that passed here, and those that the PMS counts beside them.
    func occupied(_ state: borrowing State) -> Int { min(entry.totalCount, state.inside.count + state.reportedOccupied) }

    /// The PMS counts cars that never came past this box.
    public func reportOccupied(_ count: Int) {
        state.withLock {
            $0.reportedOccupied = min(max(0, count), Int(Bounds.places.upperBound))
            $0.remainChanged = true
        }
    }

    /// A lost disk is shown for so long, ms.
    private static let lostMillis: Int64 = 7 * 86_400_000

    public func status(isOnline: Bool, carrier: String) -> JSON {
        let now = now()
        return state.withLock { state in
            let lost = state.lostAt.flatMap { now - $0 < LotBox.lostMillis ? $0 : nil }
            let error = state.lastError.isEmpty ? state.note : state.lastError
            return .compact([
                ("parkCode", .string(entry.parkCode)), ("online", .bool(isOnline)), ("carrier", .string(carrier)),
                ("synchronised", .bool(state.isSynchronised)),
                (
                    "up",
                    [
                        "epoch": .string(state.upEpoch), "lastSeq": .int(state.upLast), "ackSeq": .int(state.upAck),
                        "backlog": .int(state.upLast - state.upAck), "deadLetters": .int(state.deadCount),
                    ]
                ),
                ("down", ["epoch": .string(state.down.epoch ?? ""), "ackSeq": .int(state.down.ackSeq)]),
                ("orders", .int(state.list.reservations.values.filter(\.entry.isInForce).count)),
                ("inside", .int(state.inside.count)), ("totalSpace", .int(entry.totalCount)), ("badRows", .int(state.badCount)),
                ("lostDisk", lost == nil ? .null : true), ("lostDiskAt", .optional(lost)), ("recon", state.recon?.json ?? .null),
                ("clockOffsetMs", .int(clock.offset)), ("lastError", error.isEmpty ? .null : .string(error)),
            ])
        }
    }

    /// The local list, for the engineer at the lot.
    public var localList: JSON {
        state.withLock { state in .array(state.list.reservations.values.sorted { $0.orderNo < $1.orderNo }.map(\.json)) }
    }
}
