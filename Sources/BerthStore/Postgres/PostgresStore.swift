public import BerthCore
public import BerthWire
import Foundation
import Synchronization

/// A city's store in PostgreSQL, for cities that outgrow one machine or must not stop with one (distributed.md).
///
/// One server writes at a time, under a term that the database itself checks in every transaction; each commit appends to the journal and
/// brings the rows that are derived from it up to date. Reads go to the same primary over connections of their own, never to a standby,
/// where an entry can be seen before it is safe.
public final class PostgresStore: HistoryStore {
    let codec: RowEncoding
    let writer: PostgresWriter
    private let address: PostgresAddress
    private let pool: ReaderPool
    private let seats = DispatchSemaphore(value: PostgresStore.readersMax)
    private static let readersMax = 4

    /// Idle connections that read.
    private final class ReaderPool: Sendable {
        private let idle = Mutex<[PostgresConnection]>([])

        func take() -> PostgresConnection? { idle.withLock { $0.popLast() } }
        func put(_ connection: PostgresConnection) { idle.withLock { $0.append(connection) } }
        /// One connection was lost: the others lead to the same server.
        func clear() { idle.withLock { $0 = [] } }
    }

    /// Digests of names that there are, so that the disk is not asked whether a new name is new.
    private struct Names {
        var clients: Set<Int64> = []
        var replies: Set<Int64> = []
    }
    private let names: Mutex<Names>
    /// How often counts of days were written in this term.
    private let flushes = Mutex(0)

    /// How a server takes part.
    public struct Seat: Sendable {
        /// The server, for people: its name and the address where it is reached.
        public var name: String
        public var address: String
        /// Where the other servers of the city reach it: host and port.
        public var link = ""
        /// ms since the machine started, pauses included; and ms since 1970.
        public var boot: @Sendable () -> Int64
        public var wall: @Sendable () -> Millis
        /// Whether it waits as a standby while another server leads.
        public var waits = true
        /// Told where the server that leads is reached; nil while nobody is known to lead.
        public var onLeader: @Sendable (String?) -> Void = { _ in }
        /// Whether it goes on waiting; asked several times a second.
        public var isWanted: @Sendable () -> Bool = { true }
        /// Opens what a copy has left that was broken off.
        public var takesCopies = false
        /// Opens a city whose last entries are missing (`berth restored`).
        public var acceptsLoss = false
        /// Told in a sentence what happens to the connection and to the office.
        public var log: @Sendable (String) -> Void
        /// Told that another server leads: this process has to end.
        public var onEnd: @Sendable (String) -> Void

        public init(
            name: String, address: String, boot: @escaping @Sendable () -> Int64, wall: @escaping @Sendable () -> Millis,
            log: @escaping @Sendable (String) -> Void = { _ in }, onEnd: @escaping @Sendable (String) -> Void = { _ in }
        ) {
            (self.name, self.address, self.boot, self.wall, self.log, self.onEnd) = (name, address, boot, wall, log, onEnd)
        }
    }

    /// Opens the city and leads it. While another server leads, the call waits: this server is its cold standby.
    /// - Parameters:
    ///   - vault: seals personal data and secrets; all servers of a city have the same master key.
    ///   - again: opens a city that was moved to another store, and takes the mark away.
    /// - Throws: ``StoreError/wrongKey`` under another master key; ``StoreError/unavailable(_:)`` where the database cannot be used.
    public init(_ address: PostgresAddress, vault: FieldCipher?, seat: Seat, again: Bool = false) throws(StoreError) {
        let codec = RowEncoding(vault: vault)
        let clocks = PostgresWriter.Clocks(boot: seat.boot, wall: seat.wall)
        do {
            var connection = try PostgresConnection(address)
            try PostgresStore.check(connection)
            _ = try PostgresSchema.prepare(connection, address)
            try PostgresStore.probe(connection, codec)
            var isTold = false
            var takenAt = seat.boot()
            var office: (term: Int64, last: Int64)?
            while true {
                guard seat.isWanted() else { throw StoreError.unavailable("the server was stopped while it stood by") }
                do {
                    takenAt = seat.boot()
                    office = try PostgresWriter.take(connection, seat: seat)
                    if office != nil { break }
                    let leader = try PostgresStore.leader(connection)
                    guard seat.waits else {
                        throw StoreError.unavailable("this city is led by \(leader.name); do it there, or stop that server")
                    }
                    if !isTold { seat.log("standing by: this city is led by \(leader.name)") }
                    isTold = true
                    seat.onLeader(leader.link)
                    PostgresWriter.wait(milliseconds: 200)
                } catch {
                    // A standby outlives the database's own failover.
                    guard isTold, (error as? PostgresFailure)?.isBroken == true else { throw error }
                    PostgresWriter.wait(milliseconds: 500)
                    guard let again = try? PostgresConnection(address) else { continue }
                    try PostgresStore.check(again)
                    connection = again
                }
            }
            guard let office else { throw StoreError.unavailable("the office was not taken") }
            // Another release may have led meanwhile.
            _ = try PostgresSchema.prepare(connection, address)
            seat.log("leading this city in term \(office.term)")
            let pool = ReaderPool()
            self.codec = codec
            self.address = address
            self.pool = pool
            // The lease is renewed from here on, however long the reading takes.
            writer = PostgresWriter(
                connection, address: address, codec: codec, term: office.term, known: PostgresGroup.Known(last: office.last),
                takenAt: takenAt, clocks: clocks, logger: seat.log, onEnd: seat.onEnd, onReconnect: { pool.clear() })
            names = Mutex(Names())
        } catch { throw PostgresStore.translate(error) }
        do throws(StoreError) { try read(into: seat, again: again) } catch {
            writer.close()
            throw error
        }
    }

    /// Reads what the writer has to know, on a connection of its own.
    private func read(into seat: Seat, again: Bool) throws(StoreError) {
        if again { try write("UPDATE realm SET moved_to = NULL WHERE id = 1", []) }
        let (moved, lost) = try read { connection in
            let row = try connection.query("SELECT moved_to, lost FROM realm WHERE id = 1").first
            return (try row?.optionalText(0), try row?.optionalText(1))
        }
        if let moved, !(seat.takesCopies && moved == StoreCopy.unfinished) {
            throw .unavailable("this city was moved to \(moved): two copies would sell the same places twice")
        }
        if let lost, !seat.acceptsLoss { throw .lost(lost) }
        let known = try read { try PostgresStore.known($0, last: 0) }
        writer.change { present in
            let last = present.last
            present = known
            present.last = last
        }
        let found = try snapshot { try PostgresStore.names($0) }
        names.withLock { $0 = found }
        seat.onLeader(seat.link)
    }

    /// From now on nothing waits for a database that cannot be reached; the server is about to stop.
    public func stops() { writer.stops() }

    public func close() {
        writer.close()
        pool.clear()
    }

    public var mayAnswer: Bool { writer.mayAnswer }
    /// Commits whose answer was lost, by what became of them: `committed`, or `again` where they were sent again.
    public var doubts: [String: Int] { writer.doubts.withLock { $0 } }
    /// How often leadership has changed.
    public var term: Int64 { writer.term }
    /// How long this server may still answer without another word of the database, ms; 0 when it may not.
    public var sureMillis: Int64 { writer.sureMillis }

    /// The row that says who leads a city.
    public struct Office: Sendable {
        public var term: Int64
        /// The number of the last entry.
        public var last: Int64
        /// The server that leads, or led last, and its address.
        public var holder: String?
        public var address: String?
        /// Where the other servers reach it.
        public var link: String?
        /// How long its lease still runs without another word, ms; nil when it has ended.
        public var leaseMillis: Int64?
        public var format: Int64
        public var lineage: Int64
        /// Whether a standby of the database confirms every commit.
        public var isReplicated: Bool
        public var database: String
    }

    /// Reads who leads, without taking part.
    public static func office(_ address: PostgresAddress) throws(StoreError) -> Office? {
        do {
            let connection = try PostgresConnection(address)
            guard try connection.query("SELECT to_regclass($1) IS NOT NULL", [.text("\(address.schema).realm")]).first?.flag(0) == true
            else {
                return nil
            }
            let row = try connection.query(
                """
                SELECT term, last, holder, address, CASE WHEN expires > clock_timestamp() THEN (extract(epoch FROM expires - clock_timestamp()) * 1000)::bigint ELSE 0 END, format, lineage,
                    current_setting('synchronous_standby_names') <> '', version(), expires > clock_timestamp(), link FROM realm WHERE id = 1
                """
            ).first
            return try row.map { row in
                Office(
                    term: try row.int(0), last: try row.int(1), holder: try row.optionalText(2), address: try row.optionalText(3),
                    link: try row.optionalText(10),
                    leaseMillis: try row.flag(9) ? try row.int(4) : nil, format: try row.int(5), lineage: try row.int(6),
                    isReplicated: try row.flag(7), database: try row.text(8))
            }
        } catch { throw translate(error) }
    }

    /// Marks the city as moved: no server leads it any more until the mark is taken away.
    public func mark(movedTo place: String?) throws(StoreError) {
        try write("UPDATE realm SET moved_to = $1 WHERE id = 1", [.optional(place)])
    }

    /// Whether the city here is what a copy has left that was broken off.
    public func isUnfinishedCopy() throws(StoreError) -> Bool {
        try read { try $0.query("SELECT moved_to FROM realm WHERE id = 1").first?.optionalText(0) } == StoreCopy.unfinished
    }

    static func translate(_ error: any Error) -> StoreError {
        switch error {
        case let error as StoreError: error
        case let error as PostgresFailure: error.storeError
        case is FieldCipher.Unopened: .wrongKey
        case let error as RowEncoding.Unreadable: .disk("a row cannot be read: \(error.what)")
        default: .unavailable("\(error)")
        }
    }

    // MARK: Opening

    /// An acknowledged commit survives a power cut: the server's settings are read back. Rows are found by their keys, whatever the planner
    /// knew of a table when it was small: a plan that is kept would else read the whole table for each group.
    static func check(_ connection: PostgresConnection) throws {
        try connection.run(
            """
            SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan
            """)
        func setting(_ name: String) throws -> String { try connection.run("SHOW \(name)").first?.text(0) ?? "" }
        if try setting("synchronous_commit") == "off" || setting("synchronous_commit") == "local" {
            try connection.run("SET synchronous_commit = on")
        }
        guard try setting("synchronous_commit") != "off" else { throw StoreError.unavailable("synchronous_commit cannot be turned on") }
        guard try setting("fsync") == "on" else {
            throw StoreError.unavailable("the database runs with fsync = off: it can lose what it acknowledged")
        }
    }

    /// The master key opens what another server has sealed. The first server puts the row there.
    private static func probe(_ connection: PostgresConnection, _ codec: RowEncoding) throws {
        var sealed: [UInt8] = Array("berth".utf8)
        if let vault = codec.vault {
            sealed = []
            vault.seal(Array("berth".utf8), into: &sealed)
        }
        try connection.query(
            "INSERT INTO realm(id, format, key_probe) VALUES(1, $1, $2) ON CONFLICT DO NOTHING",
            [.int(PostgresSchema.format), .bytes(sealed)])
        guard let row = try connection.query("SELECT key_probe FROM realm WHERE id = 1").first, try codec.open(row.bytes(0)) == "berth"
        else {
            throw StoreError.wrongKey
        }
    }

    /// The server that leads, or led last, for people; and where its link is while its lease holds.
    private static func leader(_ connection: PostgresConnection) throws -> (name: String, link: String?) {
        let row = try connection.query(
            "SELECT holder, address, CASE WHEN expires > clock_timestamp() THEN link END FROM realm WHERE id = 1"
        ).first
        guard let row else { return ("nobody", nil) }
        return ("\(try row.optionalText(0) ?? "?") at \(try row.optionalText(1) ?? "?")", try row.optionalText(2))
    }

    private static func known(_ connection: PostgresConnection, last: Int64) throws -> PostgresGroup.Known {
        var known = PostgresGroup.Known(last: last)
        for row in try connection.query("SELECT lot, up_epoch, up_ack, down_epoch, down_last, down_ack FROM positions").rows {
            known.positions[try row.text(0)] = PostgresGroup.Position(
                upEpoch: try row.optionalText(1), upAck: try row.int(2), downEpoch: try row.optionalText(3), downLast: try row.int(4),
                downAck: try row.int(5))
        }
        if let row = try connection.query("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1").first {
            (known.auditId, known.auditHash) = (try row.int(0), try row.text(1))
        }
        for table in PostgresSchema.Partitioned.allCases { known.partitions.formUnion(try table.present(connection).map(table.name)) }
        return known
    }

    private static func names(_ connection: PostgresConnection) throws -> Names {
        var names = Names()
        try connection.each("SELECT client_key FROM orders") { names.clients.insert(try $0.int(0)) }
        try connection.each("SELECT key FROM replies") { names.replies.insert(try $0.int(0)) }
        return names
    }

    // MARK: Writing

    public func prepare(_ commit: Commit) { _ = commit.draft.content(of: commit, codec) }

    @discardableResult public func commit(_ batch: [Commit]) throws(StoreError) -> Int64 {
        let done = try writer.commit(batch)
        names.withLock { names in
            names.clients.formUnion(done.clientKeys)
            names.replies.formUnion(done.replyKeys)
        }
        return done.last
    }

    func write(_ sql: String, _ values: [PostgresValue]) throws(StoreError) { try writer.run([.init(sql: sql, values: values)]) }

    public func save(_ credential: Credential) throws(StoreError) {
        try write(
            "INSERT INTO credentials VALUES($1, $2) ON CONFLICT (app_id) DO UPDATE SET body = excluded.body",
            [.text(credential.appId), .text(codec.seal(credential.record.string))])
    }

    public func save(_ picture: Picture) throws(StoreError) {
        try write(
            """
            INSERT INTO pictures VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                ON CONFLICT (image_id) DO UPDATE SET completed_at = excluded.completed_at
            """,
            [
                .text(picture.imageId), .int(picture.createdAt), .int(picture.expireAt), .optional(picture.completedAt),
                .text(picture.appId),
                .text(picture.parkCode), .int(Int64(picture.type)), .text(picture.ext), .int(picture.size), .text(picture.sha256),
            ])
    }

    public func removePictures(madeBefore: Millis, ticketsBefore: Millis) throws(StoreError) -> [String] {
        let names = try read { connection in
            try connection.query(
                "SELECT image_id FROM pictures WHERE at < $1 OR (completed_at IS NULL AND expire_at < $2)",
                [.int(madeBefore), .int(ticketsBefore)]
            ).rows.map { try $0.text(0) }
        }
        guard !names.isEmpty else { return [] }
        try write("DELETE FROM pictures WHERE image_id = ANY($1)", [.array(PostgresArray(names))])
        return names
    }

    public func add(_ counts: [DayCount], through journalId: Int64) throws(StoreError) {
        var (days, lots, apps) = (PostgresArray(.int8), PostgresArray(.text), PostgresArray(.text))
        var (counted, values) = (PostgresArray(.text), PostgresArray(.int8))
        for count in counts {
            for (name, value) in count.counts.sorted(by: { $0.key < $1.key }) {
                days.append(count.key.day)
                lots.append(count.key.parkCode)
                apps.append(count.key.appId)
                counted.append(name)
                values.append(value)
            }
        }
        // The mark is compared and set: counts whose answer was lost are not added twice. The turn keeps the marks in order.
        try flushes.withLock { number throws(StoreError) in
            number += 1
            try add(number, days, lots, apps, counted, values, through: journalId)
        }
    }

    private func add(
        _ number: Int, _ days: PostgresArray, _ lots: PostgresArray, _ apps: PostgresArray, _ counted: PostgresArray,
        _ values: PostgresArray, through journalId: Int64
    ) throws(StoreError) {
        let flush = Int64(number) + (writer.term << 32)
        try writer.run([
            .init(
                sql: """
                    INSERT INTO day_counts SELECT d.* FROM unnest($1, $2, $3, $4, $5) AS d(day, lot, app_id, name, value)
                        WHERE coalesce((SELECT value FROM marks WHERE name = 'flush'), 0) < $6
                        ON CONFLICT (day, lot, app_id, name) DO UPDATE SET value = CASE WHEN day_counts.name LIKE 'peak%'
                            THEN greatest(day_counts.value, excluded.value) ELSE day_counts.value + excluded.value END
                    """, values: [.array(days), .array(lots), .array(apps), .array(counted), .array(values), .int(flush)]),
            .init(
                sql: """
                    INSERT INTO marks VALUES('counted', $1), ('flush', $2)
                        ON CONFLICT (name) DO UPDATE SET value = greatest(marks.value, excluded.value)
                    """, values: [.int(journalId), .int(flush)]),
        ])
    }

    public func count(occupancy: [OccupancyCount]) throws(StoreError) {
        struct Place: Hashable { let lot: String, day: Int64 }
        for (place, ones) in Dictionary(grouping: occupancy, by: { Place(lot: $0.parkCode, day: $0.day) }) {
            let old = try read { connection in
                try connection.query("SELECT counts FROM occupancy WHERE day = $1 AND lot = $2", [.int(place.day), .text(place.lot)])
                    .first?.text(0)
            }
            var counts = OccupancyDay.counts(old ?? "")
            for one in ones where counts.indices.contains(one.slot) { counts[one.slot] = one.count }
            try write(
                "INSERT INTO occupancy VALUES($1, $2, $3) ON CONFLICT (day, lot) DO UPDATE SET counts = excluded.counts",
                [.int(place.day), .text(place.lot), .text(OccupancyDay.text(counts))])
        }
        if let day = occupancy.map(\.day).max() { try write("DELETE FROM occupancy WHERE day < $1", [.int(day - 60)]) }
    }

    // MARK: Reading

    /// Reads over a connection of its own; once more over a new one where that was lost. A failed read is an error, and never "nothing".
    func read<Value>(_ body: (PostgresConnection) throws -> Value) throws(StoreError) -> Value {
        seats.wait()
        defer { seats.signal() }
        var attempts = 2
        while true {
            attempts -= 1
            do {
                let connection: PostgresConnection
                if let idle = pool.take() { connection = idle } else { connection = try reader() }
                do {
                    let value = try body(connection)
                    pool.put(connection)
                    return value
                } catch {
                    if (error as? PostgresFailure)?.isBroken == true {
                        pool.clear()
                    } else {
                        if (try? connection.run("ROLLBACK")) != nil { pool.put(connection) }
                    }
                    throw error
                }
            } catch {
                guard attempts > 0, (error as? PostgresFailure)?.isBroken == true else { throw PostgresStore.translate(error) }
            }
        }
    }

    /// A new connection to the database in which this server leads, and to no machine that was the database before.
    private func reader() throws -> PostgresConnection {
        let connection = try PostgresConnection(address)
        let term: Int64? = try connection.query("SELECT term FROM realm WHERE id = 1").first?.int(0)
        guard term == writer.term else {
            throw StoreError.fenced("this database knows term \(term ?? 0), and this server leads in \(writer.term)")
        }
        return connection
    }

    /// One state of the database for several reads.
    func snapshot<Value>(_ body: (PostgresConnection) throws -> Value) throws(StoreError) -> Value {
        try read { connection in
            try connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            let value = try body(connection)
            try connection.run("COMMIT")
            return value
        }
    }

    public func knowsReservation(appId: String, clientOrderNo: String) -> Bool {
        let digest = Signature.digest64(appId, clientOrderNo)
        return names.withLock { $0.clients.contains(digest) }
    }

    public func knowsReply(key: Int64) -> Bool { names.withLock { $0.replies.contains(key) } }

    func forget(clients: [Int64] = [], replies: [Int64] = []) {
        names.withLock { names in
            names.clients.subtract(clients)
            names.replies.subtract(replies)
        }
    }
}
