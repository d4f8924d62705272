import BerthCore
import Foundation
import NIOPosix

/// Runs work that waits for a disk, a process or much arithmetic: never on a network thread, where all other requests would wait too.
/// Reads of signed requests, syncs and pages have separate threads: a read waits neither behind a sync nor behind a document of megabytes that
/// is made when it is first asked for.
enum Blocking {
    private static func started(_ count: Int) -> NIOThreadPool {
        let pool = NIOThreadPool(numberOfThreads: count)
        pool.start()
        return pool
    }

    private static let readers = started(4)
    private static let writers = started(16)
    private static let pages = started(4)

    /// Soon, on a thread that may wait: reading and arithmetic.
    static func run(_ work: @escaping @Sendable () -> Void) { submit(readers, work) }
    /// The same for work that syncs to a disk.
    static func write(_ work: @escaping @Sendable () -> Void) { submit(writers, work) }

    private static func submit(_ pool: NIOThreadPool, _ work: @escaping @Sendable () -> Void) {
        pool.submit { state in
            if case .active = state { work() }
        }
    }

    /// The value of work that no signed request waits for: a page, a document, metrics, an operator's check of the database.
    static func value<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            submit(pages) { continuation.resume(with: Result { try work() }) }
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
