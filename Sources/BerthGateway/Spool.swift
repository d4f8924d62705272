import BerthCore
import BerthLink
import BerthWire
import Foundation
import GRDB
import Synchronization

/// Both logs of a lot, its local list and the cars inside, in one SQLite file with `synchronous=FULL`. One file may hold many lots.
///
/// One thread writes. Writes of all lots are collected into one transaction while the one before is being written; each writer is told when
/// its own is on the disk. Readers have connections of their own and wait for nobody.
public final class Spool: Sendable {
    package typealias Write = @Sendable (Database) throws -> Void

    private struct State {
        var pending: [(write: Write, completion: @Sendable (Bool) -> Void)] = []
        var isStopped = false
        /// Its thread is gone: a write that arrives now is refused, and nobody waits for it.
        var hasEnded = false
        /// The disk refused a batch. Nothing more is taken until it works again and memory is what the disk has.
        var hasFailed = false
        /// Writes that were refused since the failure: memory may be ahead of the disk by each of them.
        var refusals = 0
        var reloads: [@Sendable () -> Bool] = []
    }

    private let pool: DatabasePool
    private let state = Mutex(State())
    private let hasWork = DispatchSemaphore(value: 0)
    let path: String

    /// Opens the file, or makes it: readable and writable by its owner only, as its log files are.
    public init(path: String) throws {
        self.path = path
        try Spool.secure(path)
        var configuration = Configuration()
        configuration.busyMode = .timeout(5)
        configuration.maximumReaderCount = 2
        pool = try DatabasePool(path: path, configuration: configuration)
        let (isSuperseded, applied) = try pool.read {
            (try Spool.migrator.hasBeenSuperseded($0), try Spool.migrator.appliedIdentifiers($0))
        }
        if isSuperseded { throw applied.contains("1 one schema") ? Later() as any Error : Unreleased() }
        try Spool.migrator.migrate(pool)
        try pool.writeWithoutTransaction { db in
            try db.execute(sql: "PRAGMA synchronous=FULL")
            let mode = try Int.fetchOne(db, sql: "PRAGMA synchronous")
            precondition(mode == 2, "a spool must survive a power cut")
        }
        // SQLite made them with the rights of the file; an older gateway may have left others.
        Spool.restrict(path)
        let thread = Thread { [self] in loop() }
        thread.name = "spool"
        thread.start()
    }

    // MARK: Writing

    /// Hands over a write. `completion` says whether it is on the disk; it never runs on the caller's stack, so the caller may hold a lock.
    package func write(_ write: @escaping Write, completion: @escaping @Sendable (Bool) -> Void = { _ in }) {
        let isFirst: Bool? = state.withLock { state in
            if state.hasFailed || state.hasEnded {
                state.refusals += 1
                return nil
            }
            state.pending.append((write, completion))
            return state.pending.count == 1
        }
        guard let isFirst else { return DispatchQueue.global().async { completion(false) } }
        if isFirst { hasWork.signal() }
    }

    /// False from a refused batch until the disk works again, and after the end.
    var isWritable: Bool { state.withLock { !$0.hasFailed && !$0.hasEnded } }

    /// Called when the disk works again, before new writes are taken: brings memory back to what is on it. False when it could not.
    func onRecovery(_ reload: @escaping @Sendable () -> Bool) { state.withLock { $0.reloads.append(reload) } }

    private func recoverLater() {
        DispatchQueue.global().asyncAfter(deadline: .now() + 1) { [self] in
            do { try pool.write { try $0.execute(sql: "UPDATE positions SET up_ack = up_ack") } } catch { return recoverLater() }
            while true {
                let (reloads, refusals) = state.withLock { ($0.reloads, $0.refusals) }
                for reload in reloads where !reload() { return recoverLater() }
                // A write that was refused meanwhile may have changed memory after its reload.
                let isDone = state.withLock { state in
                    guard state.refusals == refusals else { return false }
                    state.hasFailed = false
                    return true
                }
                if isDone { return }
            }
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
                do {
                    try pool.write { db in for item in batch { try item.write(db) } }
                    for item in batch { item.completion(true) }
                } catch {
                    let void = state.withLock { state in
                        state.hasFailed = true
                        defer { state.pending = [] }
                        return state.pending
                    }
                    for item in batch + void { item.completion(false) }
                    recoverLater()
                }
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

    // MARK: Reading

    /// Reads what is on the disk, on a thread that may block.
    package func read<Value: Sendable>(_ body: @escaping @Sendable (Database) throws -> Value) async throws -> Value {
        try await pool.read(body)
    }

    /// Reads and mends in one transaction. Blocks: for the start, and for a recovery on its own thread.
    func mend<Value>(_ body: (Database) throws -> Value) throws -> Value { try pool.write(body) }

    // MARK: The files

    public struct Unusable: Error, CustomStringConvertible {
        public let description: String
    }

    private static func secure(_ path: String) throws {
        let folder = (path as NSString).deletingLastPathComponent
        if !folder.isEmpty, !FileManager.default.fileExists(atPath: folder) {
            try FileManager.default.createDirectory(
                atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        }
        // Made here, so that it is never readable by others, not even for a moment.
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw Unusable(description: "the spool \(path) cannot be opened: \(String(cString: strerror(errno)))")
        }
        close(descriptor)
        restrict(path)
    }

    private static func restrict(_ path: String) {
        for suffix in ["", "-wal", "-shm"] { _ = chmod(path + suffix, 0o600) }
    }
}

extension Row {
    /// A column as text; nil when it is something else. The file may hold anything in any column.
    func text(_ column: String) -> String? { String.fromDatabaseValue(self[column]) }
    /// A column as an integer; nil when it is something else.
    func number(_ column: String) -> Int64? {
        let value: DatabaseValue = self[column]
        if case .int64(let number) = value.storage { return number }
        return nil
    }
}
