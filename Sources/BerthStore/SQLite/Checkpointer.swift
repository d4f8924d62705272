import BerthCore
import Foundation
import GRDB
import GRDBSQLite
import Synchronization

/// Brings the write-ahead log back into the database file beside the committer, which would otherwise stand still for it: tens of
/// milliseconds in which nothing is answered.
final class Checkpointer: Sendable {
    /// Pages in the log at which its turn comes: 16 MB.
    private static let pagesMax = 4000

    /// How long the log's new beginning waits for those who still read the old one, ms. The writer waits with it, so it is short.
    private static let restartMillis = 20

    private let isRunning = Atomic<Bool>(false)
    /// Pages at which its turn comes next: more of them where somebody reads for a long time and the log could not begin anew.
    private let nextPages = Atomic<Int>(pagesMax)
    private let connection: DatabaseQueue
    private let thread = DispatchQueue(label: "berth.checkpoint")

    /// - Parameter path: of a database that is in WAL mode already.
    init(path: String) throws {
        var configuration = Configuration()
        configuration.busyMode = .timeout(Double(Checkpointer.restartMillis) / 1000)
        connection = try DatabaseQueue(path: path, configuration: configuration)
    }

    /// Hears of each commit, in place of SQLite's own checkpoints. This must live as long as the connection.
    func watch(_ writer: Database) {
        sqlite3_wal_hook(
            writer.sqliteConnection,
            { context, _, _, pages in
                guard let context else { return SQLITE_OK }
                Unmanaged<Checkpointer>.fromOpaque(context).takeUnretainedValue().committed(pages: Int(pages))
                return SQLITE_OK
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    private func committed(pages count: Int) {
        guard count >= nextPages.load(ordering: .relaxed),
            isRunning.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged
        else { return }
        thread.async { [self] in
            // The passive checkpoint takes what is there while the writer goes on. The restart takes the little that has come meanwhile, so that
            // the log begins anew; the writer waits for it for a moment. A failure comes again with a later commit, which names the disk's fault.
            let isAnew = try? connection.inDatabase { db in
                _ = try db.checkpoint(.passive)
                _ = try db.checkpoint(.restart)
                return true
            }
            nextPages.store(isAnew == true ? Checkpointer.pagesMax : count + Checkpointer.pagesMax, ordering: .relaxed)
            isRunning.store(false, ordering: .releasing)
        }
    }

    func close() {
        thread.sync {}
        try? connection.close()
    }
}
