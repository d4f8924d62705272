import BerthCore
import BerthWire
import Foundation
import Synchronization

/// The office of the leader: the one connection that writes, the term under which it writes, and the lease.
///
/// A server leads for as long as no other one has begun a later term. Every transaction says its term (`advance`, `hold`) and fails once that
/// has ended. A server that hears nothing for 4 s stops answering, 1 s before anybody else can lead. One whose connection has ended stops within
/// 0.2 s, since the database may have noticed it too and given the office away; the next leader waits 0.25 s before it answers.
final class PostgresWriter: Sendable {
    private struct State {
        /// nil while it has to be opened anew.
        var connection: PostgresConnection?
        var known: PostgresGroup.Known
        var hasEnded: String?
        var isClosed = false
        /// The last reason for which the database could not be reached, as it was logged.
        var complaint = ""
        /// Renewals in a row that found the clocks too far apart.
        var wrongClocks = 0
    }

    /// The clocks of this server.
    struct Clocks: Sendable {
        /// ms since the machine started, in which a pause of the machine counts (CLOCK_BOOTTIME).
        var boot: @Sendable () -> Int64
        /// ms since 1970.
        var wall: @Sendable () -> Millis
    }

    /// How long a server answers after it sent the last word that the database took, ms. The lease is 5 s by the database's clock.
    static let sureMillis: Int64 = 4_000
    private static let renewMillis: Int64 = 1_000
    /// How long a server goes on answering once it has seen that its connection is gone, ms; and how often an idle one looks.
    private static let graceMillis: Int64 = 120
    private static let lookMillis = 50
    private static let quietMillis = 250
    /// The longest that the clocks of server and database may differ, ms: deadlines are judged by the server's.
    static let clockDifferenceMax: Int64 = 500

    let term: Int64
    private let address: PostgresAddress
    private let codec: RowEncoding
    private let clocks: Clocks
    private let logger: @Sendable (String) -> Void
    private let onEnd: @Sendable (String) -> Void
    private let onReconnect: @Sendable () -> Void
    private let state: Mutex<State>
    private let sureUntil: Atomic<Int64>
    private let isStopping = Atomic<Bool>(false)
    /// Nothing waits for a database that cannot be reached.
    private let isImpatient = Atomic<Bool>(false)
    /// Commits whose answer was lost, by what became of them.
    let doubts = Mutex<[String: Int]>([:])

    var sureMillis: Int64 { max(0, sureUntil.load(ordering: .acquiring) - clocks.boot()) }
    var mayAnswer: Bool { clocks.boot() < sureUntil.load(ordering: .acquiring) }

    /// - Parameters:
    ///   - connection: on which the term was taken; from now on this object's.
    ///   - onEnd: told once that another server leads; the process has to end.
    ///   - onReconnect: told that the connection was lost and is back: other connections may lead to a machine that is not the database any more.
    init(
        _ connection: sending PostgresConnection, address: PostgresAddress, codec: RowEncoding, term: Int64, known: PostgresGroup.Known,
        takenAt: Int64, clocks: Clocks, logger: @escaping @Sendable (String) -> Void, onEnd: @escaping @Sendable (String) -> Void,
        onReconnect: @escaping @Sendable () -> Void
    ) {
        self.address = address
        self.codec = codec
        self.term = term
        self.clocks = clocks
        self.logger = logger
        self.onEnd = onEnd
        self.onReconnect = onReconnect
        state = Mutex(State(connection: connection, known: known))
        sureUntil = Atomic(takenAt + PostgresWriter.sureMillis)
        Thread { [self] in renewLoop() }.start()
    }

    // MARK: Taking office

    /// A former leader is replaced before its lease ends where this run of the database has seen its connection end. After a restart of the
    /// database, or on another machine of it, nothing is known of connections, and the lease counts.
    /// - Returns: the term and the last entry; nil while another server leads, or while the clocks cannot be compared.
    static func take(_ connection: PostgresConnection, seat: PostgresStore.Seat) throws -> (term: Int64, last: Int64)? {
        let (difference, error) = try clockDifference(connection, wall: seat.wall)
        // A slow question says nothing of the clocks.
        guard error <= clockDifferenceMax else { return nil }
        guard abs(difference) - error <= clockDifferenceMax else {
            throw StoreError.unavailable(
                "the clocks of this server and of the database differ by \(difference) ms; a server leads with at most \(clockDifferenceMax)"
            )
        }
        let row = try connection.query(
            """
            UPDATE realm r SET term = r.term + 1, holder = $1, address = $2, link = $3, backend_pid = pg_backend_pid(),
                backend_start = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()),
                postmaster_start = pg_postmaster_start_time(), expires = clock_timestamp() + interval '5 s'
                FROM (SELECT expires FROM realm WHERE id = 1) old
                WHERE r.id = 1 AND (r.expires < clock_timestamp() OR (
                    r.backend_start IS NOT NULL AND r.postmaster_start = pg_postmaster_start_time() AND NOT EXISTS(
                        SELECT FROM pg_stat_activity a WHERE a.pid = r.backend_pid AND (a.backend_start IS NULL OR a.backend_start = r.backend_start))))
                RETURNING r.term, r.last, old.expires >= clock_timestamp()
            """, [.text(seat.name), .text(seat.address), .text(seat.link)]
        ).first
        guard let row else { return nil }
        // The former leader's connection is gone before its lease has ended: it gets the time to notice.
        if try row.flag(2) { wait(milliseconds: quietMillis) }
        return (try row.int(0), try row.int(1))
    }

    /// The database's clock less this server's, ms, and how wrong that can be: half of the time that the question took.
    private static func clockDifference(_ connection: PostgresConnection, wall: () -> Millis) throws -> (difference: Int64, error: Int64) {
        let before = wall()
        let there: Int64 = try connection.query("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").first?.int(0) ?? 0
        let after = wall()
        return (there - (before + after) / 2, abs(after - before) / 2)
    }

    static func wait(milliseconds: Int) { _ = DispatchSemaphore(value: 0).wait(timeout: .now() + .milliseconds(milliseconds)) }

    // MARK: Writing

    /// Commits a group; returns when it is durable. An answer that was lost is looked for: the group is not there, and is sent again, or it is.
    /// - Returns: the number of the last entry, and the names that are new.
    func commit(_ batch: [Commit]) throws(StoreError) -> (last: Int64, clientKeys: [Int64], replyKeys: [Int64]) {
        try state.withLock { state throws(StoreError) in
            var group = PostgresGroup(codec, term: term, known: state.known)
            for commit in batch { try group.add(commit) }
            let statements = group.statements()
            var isInDoubt = false
            while true {
                let (connection, last) = try open(&state, mayHave: isInDoubt ? group.after.last : nil)
                if isInDoubt {
                    isInDoubt = false
                    let isThere = last == group.after.last
                    note(isThere ? "committed" : "again")
                    if isThere { break }
                }
                let sentAt = clocks.boot()
                do throws(PostgresFailure) {
                    _ = try connection.pipeline(statements)
                    confirm(sentAt)
                    break
                } catch {
                    do throws(StoreError) { try failed(error, &state) } catch {
                        // The transaction could not be rolled back either: nobody knows what became of it.
                        if state.connection != nil || state.hasEnded != nil { throw error }
                    }
                    isInDoubt = true
                }
            }
            state.known = group.after
            return (group.after.last, group.clientKeys, group.replyKeys)
        }
    }

    /// Runs statements under the term in one transaction; they may run twice when the answer is lost, and must not mind.
    @discardableResult
    func run(_ statements: [PostgresConnection.Statement]) throws(StoreError) -> [PostgresResult] {
        let all =
            [PostgresConnection.Statement(sql: "BEGIN"), .init(sql: "SELECT hold($1)", values: [.int(term)])] + statements
            + [.init(sql: "COMMIT")]
        return try state.withLock { state throws(StoreError) in
            while true {
                let (connection, _) = try open(&state, mayHave: nil)
                let sentAt = clocks.boot()
                do throws(PostgresFailure) {
                    let results = try connection.pipeline(all)
                    confirm(sentAt)
                    return Array(results.dropFirst(2).dropLast())
                } catch { try failed(error, &state) }
            }
        }
    }

    /// Tells the next group of rows that were written beside the groups.
    func change(_ body: (inout PostgresGroup.Known) -> Void) { state.withLock { body(&$0.known) } }
    var known: PostgresGroup.Known { state.withLock { $0.known } }

    private func confirm(_ sentAt: Int64) { sureUntil.store(sentAt + PostgresWriter.sureMillis, ordering: .releasing) }

    private func note(_ outcome: String) {
        doubts.withLock { $0[outcome, default: 0] += 1 }
        logger("the answer to a commit was lost; the database says: \(outcome)")
    }

    /// Returns where the statements have to be sent again, over a new connection.
    private func failed(_ failure: PostgresFailure, _ state: inout State) throws(StoreError) {
        if failure.state == PostgresFailure.fenced { throw end(&state, failure.storeError) }
        guard failure.isBroken else {
            // A transaction that failed is open until it is rolled back.
            if (try? state.connection?.run("ROLLBACK")) == nil { giveUp(&state) }
            throw failure.storeError
        }
        logger("the connection to the database is lost: \(failure.message)")
        giveUp(&state)
    }

    /// The database may notice the end of the connection as well, and may give the office to another server.
    private func giveUp(_ state: inout State) {
        state.connection = nil
        let until = clocks.boot() + PostgresWriter.graceMillis
        if until < sureUntil.load(ordering: .acquiring) { sureUntil.store(until, ordering: .releasing) }
    }

    private func end(_ state: inout State, _ error: StoreError) -> StoreError {
        sureUntil.store(0, ordering: .releasing)
        if state.hasEnded == nil {
            state.hasEnded = error.reason
            onEnd(error.reason)
        }
        return error
    }

    /// The connection, and the last entry where it was opened anew. Tries for as long as the server runs: what the database says of a commit
    /// is never guessed. The row's lock waits for a former backend that still commits.
    /// - Parameter mayHave: the number of the entry that the database may have beyond those that are known.
    private func open(_ state: inout State, mayHave: Int64?) throws(StoreError) -> (PostgresConnection, last: Int64) {
        var pause = 50
        while !state.isClosed {
            if let reason = state.hasEnded { throw .fenced(reason) }
            if let connection = state.connection { return (connection, state.known.last) }
            do {
                let last = try reconnect(&state, mayHave: mayHave)
                if let connection = state.connection { return (connection, last) }
            } catch let error as StoreError { throw end(&state, error) } catch {
                complain(error, &state)
                if isStopping.load(ordering: .relaxed) || isImpatient.load(ordering: .relaxed) {
                    throw .unavailable("the server stops, and the database cannot be reached")
                }
                PostgresWriter.wait(milliseconds: pause)
                pause = min(pause * 2, 500)
            }
        }
        throw .unavailable("the store is closed")
    }

    /// Logs why the database cannot be reached, once for each reason.
    private func complain(_ error: any Error, _ state: inout State) {
        let reason = (error as? PostgresFailure)?.message ?? "\(error)"
        guard reason != state.complaint else { return }
        state.complaint = reason
        logger("the database cannot be reached: \(reason)")
    }

    private func reconnect(_ state: inout State, mayHave: Int64?) throws -> Int64 {
        let connection = try PostgresConnection(address)
        try PostgresStore.check(connection)
        let sentAt = clocks.boot()
        try connection.run("BEGIN")
        guard let row = try connection.query("SELECT term, last FROM realm WHERE id = 1 FOR UPDATE").first else {
            throw StoreError.lost("the schema \(address.schema) holds no city any more")
        }
        guard try row.int(0) == term else { throw StoreError.fenced("another server leads this city (term \(try row.int(0) as Int64))") }
        let last: Int64 = try row.int(1)
        guard last == state.known.last || last == mayHave else {
            let reason = "the database ends at entry \(last); this server knows \(state.known.last)"
            // Nobody leads a shorter history than the world has seen, until somebody says so (`berth restored`).
            try connection.query("UPDATE realm SET lost = $1 WHERE id = 1", [.text(reason)])
            try connection.run("COMMIT")
            throw StoreError.lost(reason)
        }
        try connection.query(
            """
            UPDATE realm SET backend_pid = pg_backend_pid(), postmaster_start = pg_postmaster_start_time(),
                expires = clock_timestamp() + interval '5 s',
                backend_start = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()) WHERE id = 1
            """)
        try connection.run("COMMIT")
        confirm(sentAt)
        state.connection = connection
        state.complaint = ""
        onReconnect()
        logger("connected to the database again")
        return last
    }

    // MARK: The lease

    private func renewLoop() {
        while !isStopping.load(ordering: .relaxed) {
            PostgresWriter.wait(milliseconds: PostgresWriter.lookMillis)
            // A commit that is under way renews by itself, and notices the end of its connection.
            state.withLockIfAvailable { state in
                guard state.hasEnded == nil, !state.isClosed else { return }
                guard let connection = state.connection else {
                    do { _ = try reconnect(&state, mayHave: nil) } catch let error as StoreError { _ = end(&state, error) } catch {
                        complain(error, &state)
                    }
                    return
                }
                if connection.hasEnded {
                    logger("the connection to the database is lost while nothing was asked")
                    return giveUp(&state)
                }
                let left = sureUntil.load(ordering: .acquiring) - clocks.boot()
                if left < PostgresWriter.sureMillis - PostgresWriter.renewMillis { renew(connection, &state) }
            }
        }
    }

    private func renew(_ connection: PostgresConnection, _ state: inout State) {
        let sentAt = clocks.boot()
        do {
            try connection.query("SELECT hold($1)", [.int(term)])
            confirm(sentAt)
            let (difference, error) = try PostgresWriter.clockDifference(connection, wall: clocks.wall)
            state.wrongClocks = abs(difference) - error > PostgresWriter.clockDifferenceMax ? state.wrongClocks + 1 : 0
            guard state.wrongClocks >= PostgresWriter.wrongClocksMax else { return }
            // Deadlines are judged by this clock: another server may have a better one.
            _ = end(&state, .fenced("the clocks of this server and of the database differ by \(difference) ms"))
        } catch let failure as PostgresFailure {
            // A failure that is no loss of the connection is tried again at the next turn.
            try? failed(failure, &state)
        } catch { complain(error, &state) }
    }

    /// Renewals in a row with wrong clocks, after which the server gives its office up.
    private static let wrongClocksMax = 3

    /// From now on nothing waits for a database that cannot be reached.
    func stops() { isImpatient.store(true, ordering: .relaxed) }

    /// Ends the term at once, so that another server need not wait for the lease to end.
    func close() {
        isStopping.store(true, ordering: .relaxed)
        state.withLock { state in
            state.isClosed = true
            _ = try? state.connection?.query("UPDATE realm SET expires = '-infinity' WHERE term = $1", [.int(term)])
            state.connection = nil
            sureUntil.store(0, ordering: .releasing)
        }
    }
}
