import BerthCore
import Foundation
import NIOPosix

/// Runs work that waits for a disk, a process or much arithmetic: never on a network thread, where all other requests would wait too.
/// Reads and syncs have separate threads, so that a read does not wait behind a sync.
enum Blocking {
    private static func started(_ count: Int) -> NIOThreadPool {
        let pool = NIOThreadPool(numberOfThreads: count)
        pool.start()
        return pool
    }

    private static let readers = started(4)
    private static let writers = started(16)

    /// Soon, on a thread that may wait: reading and arithmetic.
    static func run(_ work: @escaping @Sendable () -> Void) { submit(readers, work) }
    /// The same for work that syncs to a disk.
    static func write(_ work: @escaping @Sendable () -> Void) { submit(writers, work) }

    private static func submit(_ pool: NIOThreadPool, _ work: @escaping @Sendable () -> Void) {
        pool.submit { state in
            if case .active = state { work() }
        }
    }

    static func value<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            run { continuation.resume(with: Result { try work() }) }
        }
    }

    /// Tasks of the operator's desk, which run programs and sync files.
    static let desk = AdminExecutor()

    final class AdminExecutor: TaskExecutor {
        private let queue = DispatchQueue(label: "berth.desk", attributes: .concurrent)

        func enqueue(_ job: consuming ExecutorJob) {
            let job = UnownedJob(job)
            queue.async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
        }
    }
}
