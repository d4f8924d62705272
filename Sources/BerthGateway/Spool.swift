import BerthCore
import BerthWire
import Foundation
import GRDB
import Synchronization

/// Both logs of a lot, its local list and the cars inside, in one SQLite file with `synchronous=FULL`. One file may hold many lots.
///
/// Writes of all lots are collected into one transaction while the one before is being written; who wrote is told when it is on the disk.
public final class Spool: Sendable {
    typealias Write = @Sendable (Database) throws -> Void

    private struct State {
        var pending: [(write: Write, completion: @Sendable (Bool) -> Void)] = []
        var isStopped = false
        /// Its thread is gone: what comes now is refused, and nobody waits for it.
        var hasEnded = false
        /// The disk refused a batch. Nothing more is taken, so that no log gets a hole, until it works again.
        var hasFailed = false
        var onRecovery: [@Sendable () -> Void] = []
    }

    private let queue: DatabaseQueue
    private let state = Mutex(State())
    private let hasWork = DispatchSemaphore(value: 0)

    public init(path: String) throws {
        var configuration = Configuration()
        configuration.journalMode = .wal
        configuration.busyMode = .timeout(5)
        queue = try DatabaseQueue(path: path, configuration: configuration)
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1 first light") { db in
            try db.execute(
                sql: """
                    CREATE TABLE up(lot TEXT, epoch TEXT, seq INTEGER, request_id TEXT NOT NULL, service TEXT NOT NULL,
                        at INTEGER NOT NULL, data TEXT NOT NULL, PRIMARY KEY(lot, epoch, seq)) WITHOUT ROWID;
                    CREATE TABLE positions(lot TEXT PRIMARY KEY, up_epoch TEXT NOT NULL, up_last INTEGER NOT NULL DEFAULT 0,
                        up_ack INTEGER NOT NULL DEFAULT 0, down_epoch TEXT, down_ack INTEGER NOT NULL DEFAULT 0)
                        WITHOUT ROWID;
                    CREATE TABLE closed_epochs(lot TEXT, epoch TEXT, PRIMARY KEY(lot, epoch)) WITHOUT ROWID;
                    CREATE TABLE down_results(lot TEXT, epoch TEXT, seq INTEGER, code INTEGER NOT NULL, data TEXT NOT NULL,
                        PRIMARY KEY(lot, epoch, seq)) WITHOUT ROWID;
                    CREATE TABLE orders(lot TEXT, order_no TEXT, body TEXT NOT NULL, PRIMARY KEY(lot, order_no))
                        WITHOUT ROWID;
                    CREATE TABLE inside(lot TEXT, plate TEXT, body TEXT NOT NULL, PRIMARY KEY(lot, plate)) WITHOUT ROWID;
                    CREATE TABLE dead(lot TEXT, epoch TEXT, seq INTEGER, code INTEGER NOT NULL, service TEXT NOT NULL,
                        data TEXT NOT NULL, PRIMARY KEY(lot, epoch, seq)) WITHOUT ROWID;
                    """)
        }
        migrator.registerMigration("2 what the platform sets") { db in
            try db.execute(
                sql: """
                    CREATE TABLE standing(lot TEXT, kind TEXT, key TEXT, body TEXT NOT NULL, PRIMARY KEY(lot, kind, key))
                        WITHOUT ROWID;
                    CREATE TABLE inbox(id INTEGER PRIMARY KEY AUTOINCREMENT, lot TEXT NOT NULL, service TEXT NOT NULL,
                        body TEXT NOT NULL);
                    """)
        }
        try migrator.migrate(queue)
        try queue.writeWithoutTransaction { db in
            try db.execute(sql: "PRAGMA synchronous=FULL")
            let mode = try Int.fetchOne(db, sql: "PRAGMA synchronous")
            precondition(mode == 2, "a spool must survive a power cut")
        }
        let thread = Thread { [self] in loop() }
        thread.name = "spool"
        thread.start()
    }

    /// Hands over a write; `completion` says, on the spool's thread, whether it is on the disk.
    func write(_ write: @escaping Write, completion: @escaping @Sendable (Bool) -> Void = { _ in }) {
        let isFirst: Bool? = state.withLock { state in
            if state.hasFailed || state.hasEnded { return nil }
            state.pending.append((write, completion))
            return state.pending.count == 1
        }
        guard let isFirst else { return completion(false) }
        if isFirst { hasWork.signal() }
    }

    /// False from a refused batch until the disk works again, and after the end.
    var isWritable: Bool { state.withLock { !$0.hasFailed && !$0.hasEnded } }

    /// Called when the disk works again, before new writes are taken: memory must go back to what is on it.
    func onRecovery(_ body: @escaping @Sendable () -> Void) { state.withLock { $0.onRecovery.append(body) } }

    private func tryAgain() {
        DispatchQueue.global().asyncAfter(deadline: .now() + 1) { [self] in
            do { try queue.write { try $0.execute(sql: "UPDATE positions SET up_ack = up_ack") } } catch { return tryAgain() }
            for body in state.withLock({ $0.onRecovery }) { body() }
            state.withLock { $0.hasFailed = false }
        }
    }

    private func loop() {
        while true {
            hasWork.wait()
            while true {
                let (batch, hasEnded) = state.withLock { state in
                    defer { state.pending = [] }
                    state.hasEnded = state.isStopped && state.pending.isEmpty
                    return (state.pending, state.hasEnded)
                }
                if hasEnded { return }
                if batch.isEmpty { break }
                var isDurable = true
                do { try queue.write { db in for item in batch { try item.write(db) } } } catch { isDurable = false }
                if !isDurable {
                    let void = state.withLock { state in
                        state.hasFailed = true
                        defer { state.pending = [] }
                        return state.pending
                    }
                    for item in void { item.completion(false) }
                    tryAgain()
                }
                for item in batch { item.completion(isDurable) }
            }
        }
    }

    /// Waits until everything handed over is written.
    public func flush() async {
        await withCheckedContinuation { continuation in write({ _ in }) { _ in continuation.resume() } }
    }

    public func stop() {
        state.withLock { $0.isStopped = true }
        hasWork.signal()
    }

    func read<Value>(_ body: (Database) throws -> Value) throws -> Value { try queue.read(body) }

    // MARK: What a lot finds when it comes up

    struct UpEntry: Sendable {
        var seq: Int64
        var requestId: String
        var service: String
        var at: Int64
        var data: String
    }

    struct LotImage: Sendable {
        var upEpoch: String?
        var upLast: Int64 = 0
        var upAck: Int64 = 0
        var down = LogPosition()
        var orders: [LocalOrder] = []
        var inside: [InsideCar] = []
        var deadCount = 0
        var standing: [String: [String: String]] = [:]
    }

    func load(_ lot: String) throws -> LotImage {
        try queue.read { db in
            var image = LotImage()
            let closed = try String.fetchSet(db, sql: "SELECT epoch FROM closed_epochs WHERE lot = ?", arguments: [lot])
            if let row = try Row.fetchOne(db, sql: "SELECT * FROM positions WHERE lot = ?", arguments: [lot]) {
                image.upEpoch = row["up_epoch"]
                image.upLast = row["up_last"]
                image.upAck = row["up_ack"]
                image.down = LogPosition(epoch: row["down_epoch"], ackSeq: row["down_ack"], closed: closed)
            }
            image.orders = try String.fetchAll(db, sql: "SELECT body FROM orders WHERE lot = ?", arguments: [lot])
                .compactMap { LocalOrder(json: try JSON.parse(Array($0.utf8))) }
            image.inside = try String.fetchAll(db, sql: "SELECT body FROM inside WHERE lot = ?", arguments: [lot])
                .compactMap { InsideCar(json: try JSON.parse(Array($0.utf8))) }
            image.deadCount = try Int.fetchOne(db, sql: "SELECT count(*) FROM dead WHERE lot = ?", arguments: [lot]) ?? 0
            for row in try Row.fetchAll(db, sql: "SELECT kind, key, body FROM standing WHERE lot = ?", arguments: [lot]) {
                image.standing[row["kind"], default: [:]][row["key"]] = row["body"]
            }
            return image
        }
    }

    /// Entries after `seq`, in order, at most `limit` and about `bytes`.
    func entries(_ lot: String, epoch: String, after seq: Int64, limit: Int, bytes: Int) throws -> [UpEntry] {
        try queue.read { db in
            var entries: [UpEntry] = []
            var size = 0
            let rows = try Row.fetchCursor(
                db,
                sql: "SELECT seq, request_id, service, at, data FROM up WHERE lot = ? AND epoch = ? AND seq > ? ORDER BY seq LIMIT ?",
                arguments: [lot, epoch, seq, limit])
            while let row = try rows.next() {
                let data: String = row["data"]
                size += data.utf8.count + 200
                if size > bytes, !entries.isEmpty { break }
                entries.append(
                    UpEntry(seq: row["seq"], requestId: row["request_id"], service: row["service"], at: row["at"], data: data))
            }
            return entries
        }
    }

    func downResult(_ lot: String, epoch: String, seq: Int64) throws -> Answer? {
        try queue.read { db in
            try Row.fetchOne(
                db, sql: "SELECT code, data FROM down_results WHERE lot = ? AND epoch = ? AND seq = ?",
                arguments: [lot, epoch, seq]
            ).map { row in
                let data: String = row["data"]
                return Answer(code: row["code"], data: (try? JSON.parse(Array(data.utf8))) ?? [:])
            }
        }
    }
}

/// A car inside, by the lot's own record.
struct InsideCar: Sendable, Equatable {
    var recordNo: String
    var plate: Plate
    var plateColor: Int
    var enterTime: Int64
    var gateCode: String
    var orderNo: String?
    var carKind: Int

    init(
        recordNo: String, plate: Plate, plateColor: Int, enterTime: Int64, gateCode: String, orderNo: String?,
        carKind: Int
    ) {
        self.recordNo = recordNo
        self.plate = plate
        self.plateColor = plateColor
        self.enterTime = enterTime
        self.gateCode = gateCode
        self.orderNo = orderNo
        self.carKind = carKind
    }

    init?(json: JSON) {
        guard let recordNo = json["recordNo"]?.stringValue, let plate = json["plateNo"]?.stringValue.flatMap({ Plate($0) }),
            let enterTime = json["enterTime"]?.intValue
        else { return nil }
        self.init(
            recordNo: recordNo, plate: plate, plateColor: Int(json["plateColor"]?.intValue ?? 9), enterTime: enterTime,
            gateCode: json["gateCode"]?.stringValue ?? "", orderNo: json["orderNo"]?.stringValue,
            carKind: Int(json["carKind"]?.intValue ?? 1))
    }

    var json: JSON {
        .compact([
            ("recordNo", .string(recordNo)), ("plateNo", .string(plate.revealed)), ("plateColor", .int(plateColor)),
            ("enterTime", .int(enterTime)), ("gateCode", .string(gateCode)), ("orderNo", .optional(orderNo)),
            ("carKind", .int(carKind)),
        ])
    }
}
