import BerthCore
public import BerthLink
public import BerthWire
import Foundation
import GRDB
import Logging
import Synchronization

/// One lot's side of the interface: decides at its gates from its own list, keeps both logs, and needs nobody for either.
public final class LotBox: Sendable {
    struct State {
        var upEpoch = ""
        /// Last seq written, and last acknowledged.
        var upLast: Int64 = 0
        var upAck: Int64 = 0
        var down = LogPosition()
        /// Orders, and what the platform set.
        var list = LocalList()
        var inside: [Plate: InsideCar] = [:]
        var lastRecord: Int64 = 0
        var deadCount = 0
        var remainChanged = true
        /// Readings that were decided lately, and on which order or subscription; nil where on none.
        var decided: [Plate: (number: String?, at: Int64)] = [:]
        /// Cars that the PMS counts beyond those recorded here (loops, season tickets).
        var reportedOccupied = 0
        /// The server knows where we stand, since we asked it after the last break.
        var isSynchronised = false
        var clockOffset: Int64 = 0
        /// It is beyond the limit, and that has been reported.
        var isClockOff = false
        /// How often memory went back to what is on the disk.
        var reloads = 0

        /// Where an entry of the up log goes.
        struct Place {
            var epoch: String
            var seq: Int64
            var reloads: Int
        }

        mutating func readStanding(_ parkCode: String) {
            let cars = inside
            list.read(parkCode: parkCode) { authNo in cars.values.first { $0.orderNo == authNo }?.plate }
        }

        /// Epochs that ended here while places in them were under way: which one follows, and how many entries it leaves behind.
        var moves: [String: (epoch: String, behind: Int64)] = [:]

        /// Where an entry stands now, whatever began since its place was given.
        func current(_ place: Place) -> (epoch: String, seq: Int64) {
            var (epoch, seq) = (place.epoch, place.seq)
            while let move = moves[epoch] { (epoch, seq) = (move.epoch, seq - move.behind) }
            return (epoch, seq)
        }

        mutating func next() -> Place {
            upLast += 1
            return Place(epoch: upEpoch, seq: upLast, reloads: reloads)
        }

        var lastError = ""
    }

    /// Why the local API refuses.
    public struct Refused: Error, CustomStringConvertible {
        public let status: Int
        public let name: String
        public let description: String
    }

    public let entry: GatewayConfiguration.LotEntry
    let spool: Spool
    let desk = Desk()
    let state: Mutex<State>
    let logger: Logger
    /// Wakes the uplink when there is something to send.
    let wake: AsyncStream<Void>.Continuation
    let wakes: AsyncStream<Void>

    init(_ entry: GatewayConfiguration.LotEntry, spool: Spool, logger: Logger) throws {
        self.entry = entry
        self.spool = spool
        self.logger = logger
        (wakes, wake) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let image = try spool.load(entry.parkCode)
        var state = LotBox.state(from: image, entry.parkCode)
        if let epoch = image.upEpoch {
            state.upEpoch = epoch
        } else {
            // No disk, or a lost one: a new epoch, and a snapshot will be asked for.
            state.upEpoch = "g" + Ambient.token(11)
            let epoch = state.upEpoch
            let lot = entry.parkCode
            spool.write { db in
                try db.execute(sql: "INSERT INTO positions(lot, up_epoch) VALUES(?,?)", arguments: [lot, epoch])
            }
        }
        self.state = Mutex(state)
        spool.onRecovery { [weak self] in self?.reload() }
    }

    private static func state(from image: Spool.LotImage, _ parkCode: String) -> State {
        var state = State()
        state.upEpoch = image.upEpoch ?? ""
        state.upLast = image.upLast
        state.upAck = image.upAck
        state.down = image.down
        state.deadCount = image.deadCount
        state.list.standing = image.standing
        for order in image.orders { state.list.orders[order.orderNo] = order }
        for car in image.inside { state.inside[car.plate] = car }
        state.list.walkIns = image.inside.filter { $0.orderNo == nil }.map(\.enterTime)
        state.readStanding(parkCode)
        return state
    }

    /// Back to what is on the disk, after a time in which it took nothing.
    private func reload() {
        guard let image = try? spool.load(entry.parkCode) else { return }
        state.withLock { state in
            let (offset, reloads, isOff) = (state.clockOffset, state.reloads, state.isClockOff)
            state = LotBox.state(from: image, entry.parkCode)
            state.clockOffset = offset
            state.reloads = reloads + 1
            state.isClockOff = isOff
        }
        wake.yield()
    }

    /// Our clock, brought to the server's.
    func now() -> Int64 { Ambient.now() + state.withLock { $0.clockOffset } }

    // MARK: The gate

    /// The decision from the local list alone.
    func decideLocally(
        plate: Plate, gateCode: String, confidence: Int? = nil, orderNo: String? = nil, at time: Int64
    ) -> (GateDecision, admits: Bool) {
        state.withLock { state in
            let question = GateQuestion(plate: plate, time: time, gateCode: gateCode, confidence: confidence, orderNo: orderNo)
            let decision = decide(question, &state)
            return (decision, admits(decision.verdict, state))
        }
    }

    /// The rule that the server has too, over what this box knows.
    private func decide(_ question: GateQuestion, exactly: Bool = false, _ state: inout State) -> GateDecision {
        state.list.decide(
            question, exactly: exactly, isInside: state.inside[question.plate] != nil,
            occupied: min(entry.totalCount, state.inside.count + state.reportedOccupied), capacity: entry.totalCount)
    }

    /// The lot's own rule for plates that no order speaks for.
    private func admits(_ verdict: GateVerdict, _ state: borrowing State) -> Bool {
        switch verdict {
        case .allow: true
        case .refuse: false
        case .local: entry.admitsUnknownPlates && state.inside.count < entry.totalCount
        }
    }

    func admitsUnknown() -> Bool { state.withLock { admits(.local, $0) } }

    /// What was decided on a reading: the entry that follows is on that, whoever decided it.
    func note(_ plate: Plate, number: String?, at time: Int64) {
        state.withLock { state in
            state.decided = state.decided.filter { $0.value.at > time - LotBox.decidedMillis }
            state.decided[plate] = (number, time)
        }
    }

    /// How long a decision is remembered: a car drives in, or it does not.
    private static let decidedMillis: Int64 = 600_000

    // MARK: Records

    /// A car has entered: recorded durably, then told to the server. Answers when it is on the disk.
    /// - Parameter enterTime: ms; the present when nil.
    public func enter(
        plate text: String, plateColor: Int = 9, gateCode: String, enterTime: Int64? = nil, orderNo: String? = nil,
        recordNo wanted: String? = nil, enterMode: Int = 1
    ) async throws -> (recordNo: String, orderNo: String?) {
        guard let plate = Plate(text) else {
            throw Refused(status: 422, name: "illegalPlate", description: "not a plate number")
        }
        try demandDisk()
        let time = enterTime ?? now()
        let (car, place, data, used): (InsideCar, State.Place, JSON, LocalOrder?) = try state.withLock { state in
            guard state.inside[plate] == nil else {
                throw Refused(status: 409, name: "repeatedEntry", description: "this plate is inside already")
            }
            // The order that speaks for the plate now, unless the PMS names one.
            var order = orderNo.flatMap { state.list.orders[$0] }
            var authNo = orderNo.flatMap { state.list.authorisations[$0]?.authNo }
            let known = state.decided.removeValue(forKey: plate)
            if orderNo == nil, let known, let number = known.number, known.at > time - LotBox.decidedMillis {
                order = state.list.orders[number]
                authNo = state.list.authorisations[number]?.authNo
            } else if orderNo == nil {
                // Nobody looked at an almost-match: the plate itself, or none.
                let decision = decide(GateQuestion(plate: plate, time: time, gateCode: gateCode), exactly: true, &state)
                if decision.verdict == .allow {
                    order = decision.entry.flatMap { state.list.orders[$0.orderNo] }
                    authNo = decision.subscription?.authNo
                }
            }
            state.list.enter(plate, orderNo: order?.orderNo, authNo: authNo, at: time)
            order = order.flatMap { state.list.orders[$0.orderNo] }
            state.lastRecord = max(state.lastRecord + 1, time)
            let purposeKind = [Purpose.reservation: 5, .shared: 6, .publicService: 7]
            let car = InsideCar(
                recordNo: wanted ?? "R\(state.lastRecord)-\(Ambient.token(4))", plate: plate, plateColor: plateColor,
                enterTime: time, gateCode: gateCode, orderNo: orderNo ?? order?.orderNo ?? authNo,
                carKind: order.map { purposeKind[$0.entry.purpose]! } ?? (authNo != nil ? 6 : orderNo == nil ? 1 : 5))
            state.inside[plate] = car
            state.remainChanged = true
            return (car, state.next(), passageData(car, inside: state.inside.count, enterMode: enterMode), order)
        }
        let lot = entry.parkCode
        try await append(place, service: "vehicle.entry.report", data: data, at: time) { db in
            try db.execute(
                sql: "INSERT OR REPLACE INTO inside VALUES(?,?,?)",
                arguments: [lot, car.plate.revealed, car.json.string])
            if let used {
                try db.execute(
                    sql: "INSERT OR REPLACE INTO orders VALUES(?,?,?)", arguments: [lot, used.orderNo, used.json.string])
            }
        }
        return (car.recordNo, car.orderNo)
    }

    /// A car has left.
    public func exit(
        plate text: String?, recordNo: String? = nil, gateCode: String, leaveTime: Int64? = nil, feeFen: Int64 = 0
    ) async throws -> String {
        let plate = text.flatMap { Plate($0) }
        try demandDisk()
        let time = leaveTime ?? now()
        let (car, place, data): (InsideCar, State.Place, JSON) = try state.withLock { state in
            let found = plate.flatMap { state.inside[$0] } ?? state.inside.values.first { $0.recordNo == recordNo }
            guard let car = found else {
                throw Refused(status: 404, name: "noEntryRecord", description: "no such car is inside")
            }
            state.inside[car.plate] = nil
            state.list.leave(car.orderNo)
            state.remainChanged = true
            guard case .object(var data) = passageData(car, inside: state.inside.count) else {
                preconditionFailure("a passage is an object")
            }
            data.append("leaveTime", .int(max(time, car.enterTime)))
            data.append("parkSeconds", .int(max(0, time - car.enterTime) / 1000))
            data.append("exitGateCode", .string(gateCode))
            data.append("exitMode", 1)
            data.append("leaveKind", feeFen > 0 ? 1 : 2)
            for name in ["totalFee", "payableFee", "paidFee"] { data.append(name, .int(feeFen)) }
            data.append("discountFee", 0)
            data.append("payments", [])
            return (car, state.next(), .object(data))
        }
        let lot = entry.parkCode
        try await append(place, service: "vehicle.exit.report", data: data, at: time) { db in
            try db.execute(
                sql: "DELETE FROM inside WHERE lot = ? AND plate = ?", arguments: [lot, car.plate.revealed])
        }
        return car.recordNo
    }

    /// Something happened that the dictionary of section 11 names.
    public func event(type: Int, level: Int = 2, detail: JSON = [:]) async throws {
        let time = now()
        try demandDisk()
        let place = state.withLock { $0.next() }
        try await append(
            place, service: "event.report",
            data: [
                "eventId": .string(Ambient.uuid()), "eventType": .int(type), "level": .int(level), "occurTime": .int(time),
                "detail": detail,
            ], at: time
        ) { _ in }
    }

    private func passageData(_ car: InsideCar, inside: Int, enterMode: Int = 1) -> JSON {
        .compact([
            ("recordNo", .string(car.recordNo)), ("plateNo", .string(car.plate.revealed)),
            ("plateColor", .int(car.plateColor)), ("vehicleClass", 1), ("carKind", .int(car.carKind)),
            ("enterTime", .int(car.enterTime)), ("gateCode", .string(car.gateCode)), ("gateName", .string(car.gateCode)),
            ("orderNo", .optional(car.orderNo)), ("enterMode", .int(enterMode)),
            ("remain", ["total": .int(entry.totalCount), "remain": .int(max(0, entry.totalCount - inside))]),
        ])
    }

    static let noDisk = Refused(
        status: 503, name: "dependencyUnavailable", description: "the spool cannot be written")

    /// While the disk takes nothing, memory may be ahead of it: nothing is decided on it.
    private func demandDisk() throws { guard spool.isWritable else { throw LotBox.noDisk } }

    /// Store, then send.
    private func append(
        _ place: State.Place, service: String, data: JSON, at: Int64,
        beside write: @escaping Spool.Write
    ) async throws {
        let lot = entry.parkCode
        let requestId = Ambient.uuid()
        let text = data.string
        let isDurable = await withCheckedContinuation { continuation in
            spool.write({ [self] db in
                // A place given before the log went back to what is on the disk would leave a hole in it.
                let (reloads, epoch, seq) = state.withLock { state in
                    let (epoch, seq) = state.current(place)
                    return (state.reloads, epoch, seq)
                }
                guard reloads == place.reloads else {
                    throw DatabaseError(resultCode: .SQLITE_ABORT, message: "the place is no longer the log's")
                }
                try db.cachedStatement(sql: "INSERT INTO up VALUES(?,?,?,?,?,?,?)").execute(
                    arguments: [lot, epoch, seq, requestId, service, at, text])
                try db.cachedStatement(sql: "UPDATE positions SET up_last = max(up_last, ?) WHERE lot = ?").execute(
                    arguments: [seq, lot])
                try write(db)
            }) { continuation.resume(returning: $0) }
        }
        guard isDurable else { throw LotBox.noDisk }
        wake.yield()
    }

    // MARK: The down log

    /// Takes one entry of the down log: in order, once, on the disk before the answer (section 5).
    func consume(
        epoch: String, seq: Int64, service: String, data: JSON, completion: @escaping @Sendable (Answer) -> Void
    ) {
        enum Step { case answer(Answer), stored, write(Answer, LocalOrder?, Report?, toPMS: Bool, closed: String?) }
        let now = now()
        let step: Step = state.withLock { state in
            switch state.down.admit(epoch: epoch, seq: seq) {
            case .duplicate: return .stored
            case .gap(let expected):
                return .answer(
                    positioned(
                        Answer(
                            WireError(
                                "sequenceGap",
                                data: [
                                    "expectedSeq": .int(expected), "epoch": .string(state.down.epoch ?? ""),
                                    "ackSeq": .int(state.down.ackSeq),
                                ])), state.down))
            case .closed:
                return .answer(
                    positioned(
                        Answer(WireError("epochClosed", data: ["epoch": .string(state.down.epoch ?? "")])), state.down))
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
                let (answer, order) =
                    isOrder ? state.list.apply(order: service, data, now: now) : (Answer(WireError("unknownService")), nil)
                state.down.consume(epoch: epoch, seq: seq)
                return .write(positioned(answer, state.down), order, nil, toPMS: false, closed: closed)
            }
        }
        let lot = entry.parkCode
        switch step {
        case .answer(let answer): completion(answer)
        case .stored:
            // Behind everything being written, so that its first result is there.
            spool.write({ _ in }) { [self] _ in
                var answer = (try? spool.downResult(lot, epoch: epoch, seq: seq)) ?? Answer()
                answer.duplicate = true
                completion(positioned(answer, state.withLock { $0.down }))
            }
        case .write(let answer, let order, let report, let toPMS, let closed):
            spool.write({ db in
                if let report { try LotBox.write(report, db) }
                if toPMS {
                    try db.execute(
                        sql: "INSERT INTO inbox(lot, service, body) VALUES(?,?,?)", arguments: [lot, service, data.string])
                }
                if let order {
                    try db.execute(
                        sql: "INSERT OR REPLACE INTO orders VALUES(?,?,?)",
                        arguments: [lot, order.orderNo, order.json.string])
                }
                if let closed {
                    try db.execute(sql: "INSERT OR IGNORE INTO closed_epochs VALUES(?,?)", arguments: [lot, closed])
                }
                try db.execute(
                    sql: "UPDATE positions SET down_epoch = ?, down_ack = ? WHERE lot = ?", arguments: [epoch, seq, lot])
                try db.execute(
                    sql: "INSERT OR REPLACE INTO down_results VALUES(?,?,?,?,?)",
                    arguments: [lot, epoch, seq, answer.code, answer.data.string])
                try db.execute(
                    sql: "DELETE FROM down_results WHERE lot = ? AND seq < ?", arguments: [lot, seq - 2000])
            }) { isDurable in
                completion(isDurable ? answer : Answer(WireError("dependencyUnavailable")))
            }
        }
    }

    private func positioned(_ answer: Answer, _ position: LogPosition) -> Answer {
        var answer = answer
        answer.epoch = position.epoch ?? ""
        answer.ackSeq = position.ackSeq
        return answer
    }

    /// Goes on from a snapshot: everything in force, and the place in the down log from which to go on.
    func restore(snapshot: JSON) async {
        guard let epoch = snapshot["downEpoch"]?.stringValue, let seq = snapshot["downSeq"]?.intValue else { return }
        // Before its first entry the log has no epoch, and no place to go on from.
        let hasLog = !epoch.isEmpty
        let orders = (snapshot["orders"]?.arrayValue ?? []).compactMap { LocalOrder(json: $0) }
        let standing = LotBox.standing(of: snapshot, parkCode: entry.parkCode, now: now())
        state.withLock { state in
            state.list.orders = Dictionary(orders.map { ($0.orderNo, $0) }) { $1 }
            state.list.standing = [:]
            for report in standing { state.list.standing[report.kind, default: [:]][report.key] = report.body }
            state.readStanding(entry.parkCode)
            if hasLog { state.down.jump(epoch: epoch, seq: seq) }
        }
        let lot = entry.parkCode
        await withCheckedContinuation { continuation in
            spool.write({ db in
                try db.execute(sql: "DELETE FROM orders WHERE lot = ?", arguments: [lot])
                try db.execute(sql: "DELETE FROM standing WHERE lot = ?", arguments: [lot])
                for report in standing { try LotBox.write(report, db) }
                for order in orders {
                    try db.execute(
                        sql: "INSERT INTO orders VALUES(?,?,?)", arguments: [lot, order.orderNo, order.json.string])
                }
                guard hasLog else { return }
                try db.execute(
                    sql: "UPDATE positions SET down_epoch = ?, down_ack = ? WHERE lot = ?", arguments: [epoch, seq, lot])
            }) { _ in continuation.resume() }
        }
    }

    // MARK: The up log

    /// The next entries to send: one alone, or a batch.
    func nextEntries() -> (epoch: String, entries: [Spool.UpEntry]) {
        let (epoch, ack) = state.withLock { ($0.upEpoch, $0.upAck) }
        let entries = try? spool.entries(
            entry.parkCode, epoch: epoch, after: ack, limit: WireLimits.batchEntriesMax, bytes: WireLimits.batchBytesMax)
        // Two writers may reach the disk in the other order: what is not yet contiguous goes next time.
        var next = ack
        let contiguous = (entries ?? []).prefix {
            next += 1
            return $0.seq == next
        }
        return (epoch, Array(contiguous))
    }

    /// The server has consumed up to `ackSeq`: what it acknowledged needs no place any more; what it refused for good is a dead letter.
    /// - Returns: false when it stands behind what it had acknowledged: it lost that, and this log cannot go on.
    func acknowledged(_ ackSeq: Int64, failed: [(seq: Int64, code: Int)]) -> Bool {
        let epoch: String? = state.withLock { state in
            guard ackSeq >= state.upAck else { return nil }
            state.upAck = min(ackSeq, state.upLast)
            state.deadCount += failed.count
            return state.upEpoch
        }
        guard let epoch else { return false }
        let lot = entry.parkCode
        spool.write { db in
            for (seq, code) in failed {
                try db.execute(
                    sql:
                        "INSERT OR IGNORE INTO dead SELECT lot, epoch, seq, ?, service, data FROM up WHERE lot = ? AND epoch = ? AND seq = ?",
                    arguments: [code, lot, epoch, seq])
            }
            try db.execute(sql: "UPDATE positions SET up_ack = ? WHERE lot = ?", arguments: [ackSeq, lot])
            try db.execute(
                sql: "DELETE FROM up WHERE lot = ? AND epoch = ? AND seq <= ?", arguments: [lot, epoch, ackSeq])
        }
        return true
    }

    /// Our epoch is over, or the server does not know any more what it had of it: what is not acknowledged goes into a new one, in order.
    func startEpoch() async {
        let lot = entry.parkCode
        let (old, ack, new) = state.withLock { state in
            let old = state.upEpoch
            state.upEpoch = "g" + Ambient.token(11)
            let ack = state.upAck
            state.upLast -= ack
            state.upAck = 0
            state.moves[old] = (state.upEpoch, ack)
            return (old, ack, state.upEpoch)
        }
        await withCheckedContinuation { continuation in
            spool.write({ db in
                try db.execute(
                    sql: "UPDATE up SET epoch = ?, seq = seq - ? WHERE lot = ? AND epoch = ? AND seq > ?",
                    arguments: [new, ack, lot, old, ack])
                try db.execute(
                    sql: """
                        UPDATE positions SET up_epoch = ?1, up_ack = 0,
                            up_last = coalesce((SELECT max(seq) FROM up WHERE lot = ?2 AND epoch = ?1), 0) WHERE lot = ?2
                        """, arguments: [new, lot])
            }) { _ in continuation.resume() }
        }
    }

    // MARK: How it stands

    /// Orders whose window is long over leave the list; the server has judged them.
    func forgetOldOrders() {
        let limit = now() - 6 * 3_600_000
        let gone = state.withLock { state in
            let gone = state.list.orders.values.filter { $0.entry.enterEnd < limit }.map(\.orderNo)
            for orderNo in gone { state.list.orders[orderNo] = nil }
            return gone
        }
        guard !gone.isEmpty else { return }
        let lot = entry.parkCode
        spool.write { db in
            for orderNo in gone {
                try db.execute(sql: "DELETE FROM orders WHERE lot = ? AND order_no = ?", arguments: [lot, orderNo])
            }
        }
    }

    public var backlog: Int64 { state.withLock { $0.upLast - $0.upAck } }
    /// Places taken: what the PMS counts, and never less than the cars recorded.
    public var occupied: Int { state.withLock { min(entry.totalCount, $0.inside.count + $0.reportedOccupied) } }

    /// The PMS counts cars that never came past this box.
    public func reportOccupied(_ count: Int) {
        state.withLock {
            $0.reportedOccupied = max(0, count)
            $0.remainChanged = true
        }
    }

    public func status(isOnline: Bool, carrier: String) -> JSON {
        state.withLock { state in
            .compact([
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
                ("orders", .int(state.list.orders.values.filter(\.entry.isInForce).count)),
                ("inside", .int(state.inside.count)), ("totalSpace", .int(entry.totalCount)),
                ("clockOffsetMs", .int(state.clockOffset)),
                ("lastError", state.lastError.isEmpty ? .null : .string(state.lastError)),
            ])
        }
    }

    /// The local list as it stands, for the engineer at the lot.
    public var localList: JSON {
        state.withLock { state in .array(state.list.orders.values.sorted { $0.orderNo < $1.orderNo }.map(\.json)) }
    }
}
