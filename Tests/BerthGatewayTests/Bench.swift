import BerthGateway
import BerthLink
import BerthWire
import Foundation
import GRDB
import Logging
import Synchronization

/// A spool in a folder of its own, with boxes on it, and a clock that the test sets.
final class Bench: Sendable {
    let folder: URL
    let path: String
    let spool: Spool
    let clock: BoxClock
    private let time: Time

    /// Both clocks of a machine.
    final class Time: Sendable {
        private let both: Mutex<(realtime: Int64, monotonic: Int64)>
        init(realtime: Int64 = 1_800_000_000_000) { both = Mutex((realtime, 5_000)) }
        var realtime: Int64 { both.withLock { $0.realtime } }
        var monotonic: Int64 { both.withLock { $0.monotonic } }
        /// Time passes.
        func pass(_ millis: Int64) {
            both.withLock {
                $0.realtime += millis
                $0.monotonic += millis
            }
        }
        /// Somebody sets the machine's clock.
        func step(_ millis: Int64) { both.withLock { $0.realtime += millis } }
    }

    init(folder: URL? = nil, time: Time = Time()) throws {
        self.folder = folder ?? FileManager.default.temporaryDirectory.appendingPathComponent("berth-\(SystemRandom.uuid())")
        path = self.folder.appendingPathComponent("spool.sqlite").path
        spool = try Spool(path: path)
        self.time = time
        clock = BoxClock(realtime: { time.realtime }, monotonic: { time.monotonic })
    }

    deinit {
        spool.stop()
        try? FileManager.default.removeItem(at: folder)
    }

    func pass(_ millis: Int64) { time.pass(millis) }

    static let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    func box(_ parkCode: String = "P1", total: Int = 100, gates: JSON? = nil, on other: Spool? = nil) throws -> LotBox {
        try LotBox(
            .init(parkCode: parkCode, appId: "app1", appSecret: "secret", totalCount: total, gates: gates), spool: other ?? spool,
            clock: clock,
            logger: Bench.silent)
    }

    /// Reads beside the gateway.
    func rows(_ sql: String, _ arguments: StatementArguments = []) throws -> [Row] {
        try DatabaseQueue(path: path).read { try Row.fetchAll($0, sql: sql, arguments: arguments) }
    }

    /// Changes the file, as a disk that rots or a person with a tool.
    func write(_ sql: String, _ arguments: StatementArguments = []) throws {
        try DatabaseQueue(path: path).write { try $0.execute(sql: sql, arguments: arguments) }
    }

    /// The seqs of the up log of a lot, in order.
    func seqs(_ lot: String = "P1") throws -> [Int64] {
        try rows("SELECT seq FROM up WHERE lot = ? ORDER BY seq", [lot]).map { $0["seq"] }
    }
}

extension LotBox {
    var up: JSON { status(isOnline: false, carrier: "none")["up"] ?? [:] }
    var epoch: String { up["epoch"]?.stringValue ?? "" }
    var lastSeq: Int64 { up["lastSeq"]?.intValue ?? -1 }
    var ackSeq: Int64 { up["ackSeq"]?.intValue ?? -1 }
    func member(_ name: String) -> JSON? { status(isOnline: false, carrier: "none")[name] }
    func note() -> String { member("lastError")?.stringValue ?? "" }

    /// What the uplink does: the entries that it hands to a carrier.
    @discardableResult
    func handOut(limit: Int = 500) async -> [Spool.UpEntry] {
        _ = await beginSending()
        return await nextEntries(limit: limit)?.entries ?? []
    }
}
