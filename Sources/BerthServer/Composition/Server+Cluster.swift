import BerthLink
import BerthStore
public import BerthWire
import Foundation
public import Logging

// A city on PostgreSQL: the part of a server among several, and moving a city there and back (docs/cluster.md).
extension Server {
    /// The part of this server among those of its city. A server that loses its office ends its process: there is no half-stopped leader, and
    /// the supervisor starts it again as a standby.
    func seat(waits: Bool) -> PostgresStore.Seat {
        let logger = logger
        var seat = PostgresStore.Seat(
            name: "\(ProcessInfo.processInfo.hostName) (\(getpid()))", address: settings.publicURL, boot: { SystemClock.boot() },
            wall: { SystemClock.now() },
            log: { line in
                logger.notice("database: \(line)")
            },
            onEnd: { reason in
                logger.critical("this server leads the city no more and ends", metadata: ["why": "\(reason)"])
                // Nothing is flushed or closed: whatever this process still does, it may not do.
                _exit(Server.lostOffice)
            })
        seat.waits = waits
        return seat
    }

    /// EX_TEMPFAIL: the supervisor starts the process again.
    static let lostOffice: Int32 = 75

    /// The leader of the city in PostgreSQL (`berth cluster status`), read from the database itself.
    public static func clusterStatus(settings: ServerSettings) throws -> JSON {
        guard let address = PostgresAddress(settings.store) else {
            throw DataFolder.Failed(description: "store = \(settings.store): a city on one machine has no cluster (docs/cluster.md)")
        }
        do throws(StoreError) {
            guard let office = try PostgresStore.office(address) else { return ["realm": .string(address.schema), "exists": false] }
            return .compact([
                ("realm", .string(address.schema)), ("leader", .optional(office.holder)), ("address", .optional(office.address)),
                ("link", .optional(office.link)),
                ("leads", .bool(office.leaseMillis != nil)), ("leaseMillis", .int(office.leaseMillis ?? 0)), ("term", .int(office.term)),
                ("lastEntry", .int(office.last)), ("format", .int(office.format)), ("lineage", .int(office.lineage)),
                ("replicated", .bool(office.isReplicated)), ("database", .string(office.database)),
            ])
        } catch { throw DataFolder.Failed(description: "\(PostgresAddress.shown(settings.store)): \(error.reason)") }
    }

    /// Moves a stopped city between the database of the data folder and PostgreSQL (`berth store copy`). The source is marked, and does not
    /// start again by itself.
    /// - Parameters:
    ///   - address: of PostgreSQL.
    ///   - isBack: from PostgreSQL into the folder.
    public static func copyStore(
        settings: ServerSettings, address text: String, isBack: Bool, logger: Logger, say: @escaping (String) -> Void
    ) throws -> JSON {
        guard let address = PostgresAddress(text) else {
            throw DataFolder.Failed(description: "\(PostgresAddress.shown(text)): postgres://… expected")
        }
        let server = Server(settings: settings, logger: logger)
        try server.folder.open(makes: isBack)
        let vault = FieldCipher(masterKey: try server.folder.masterKey())
        do throws(StoreError) {
            let sqlite = try SQLiteStore(path: server.folder.database, vault: vault)
            defer { sqlite.close() }
            var seat = server.seat(waits: false)
            seat.takesCopies = !isBack
            let isMoved = try sqlite.movedAt() != nil
            let postgres = try PostgresStore(address, vault: vault, seat: seat)
            defer { postgres.close() }
            // A source that was marked before its copy was released is copied again.
            let isUnfinished = try postgres.isUnfinishedCopy()
            guard isBack || !isMoved || isUnfinished else { throw .unavailable("this city was moved already") }
            let copy = StoreCopy(sqlite, postgres, say: say)
            let facts = try isBack ? copy.toSQLite() : copy.toPostgres()
            // The source is closed before the target opens: there is no moment at which both could start.
            if isBack {
                try postgres.mark(movedTo: server.folder.database)
                try sqlite.mark(movedAt: nil)
            } else {
                try sqlite.mark(movedAt: SystemClock.now())
                try postgres.mark(movedTo: nil)
            }
            return [
                "tables": .object(JSONObject(facts.rows.map { ($0.table, .int($0.count)) })), "entry": .int(facts.entry),
                "digest": .string(facts.digest),
            ]
        } catch { throw DataFolder.Failed(description: error.reason) }
    }
}
