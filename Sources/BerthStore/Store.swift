public import BerthCore
public import BerthWire
import Foundation

/// Why the store did not do what it was asked.
public enum StoreError: Error, Sendable, Equatable {
    /// No space on the disk: nothing of the batch was written.
    case full
    /// The disk does not do what it is asked (EIO), or takes nothing (EROFS); with SQLite's message.
    case disk(String)
    /// A counted claim was over its maximum: another writer took it.
    case claimRefused(String)
    case unavailable(String)
    /// The rows were sealed under another master key.
    case wrongKey
    /// Acknowledged data is not in the database any more: its end was cut off, or a backup was put back.
    case lost(String)
    /// Another server leads the city: this one may write nothing more.
    case fenced(String)

    /// The fault in a sentence, for people.
    public var reason: String {
        switch self {
        case .full: "no space on the disk of the database"
        case .disk(let what): "the disk of the database fails: \(what)"
        case .claimRefused(let what): "the database refused a claim: \(what)"
        case .unavailable(let what): "the database cannot be used: \(what)"
        case .wrongKey: "the database was sealed under another master key"
        case .lost(let what), .fenced(let what): what
        }
    }
}

/// The kept answer to a plain request (interface.md, section 3), with the nonce that must not be seen again.
public final class KeptReply: Sendable, Equatable {
    public let appId: String
    public let requestId: String
    /// Under which it is looked up.
    public let key: Int64
    public let nonce: String
    public let service: String
    public let dataHash: String
    public let code: Int
    /// canon(data).
    public let data: [UInt8]
    public let at: Millis
    /// The data is what ``Encode/orderText(_:alternatives:waitPosition:)`` says of the one order of its commit, with no alternatives:
    /// a store need not keep it twice.
    public let showsOrder: Bool

    public init(
        appId: String, requestId: String, nonce: String, service: String, dataHash: String, code: Int, data: [UInt8],
        at: Millis, showsOrder: Bool = false, key: Int64? = nil
    ) {
        self.appId = appId
        self.requestId = requestId
        self.key = key ?? KeptReply.key(appId, requestId)
        self.nonce = nonce
        self.service = service
        self.dataHash = dataHash
        self.code = code
        self.data = data
        self.at = at
        self.showsOrder = showsOrder
    }

    public static func == (left: KeptReply, right: KeptReply) -> Bool {
        (left.appId, left.requestId, left.nonce, left.service, left.dataHash) == (
            right.appId, right.requestId, right.nonce, right.service, right.dataHash
        ) && (left.code, left.at, left.showsOrder) == (right.code, right.at, right.showsOrder) && left.data == right.data
    }

    /// Digest of appId and requestId; a caller that finds a reply by it compares both.
    public static func key(_ appId: String, _ requestId: String) -> Int64 { Signature.digest64(appId, requestId) }
}

/// An entry of an up log as it was consumed, with its first result; a code other than 0 makes it a dead letter.
public struct UpResult: Sendable, Equatable {
    public var parkCode: String
    public var epoch: String
    public var seq: Int64
    public var requestId: String
    public var service: String
    public var code: Int
    public var reply: String
    public var data: String
    public var at: Millis
    /// Of a refused record: under which a correction finds it; "" where it has none.
    public var recordNo: String
    /// A dead letter that a correction has made good.
    public var isMended: Bool

    public init(
        parkCode: String, epoch: String, seq: Int64, requestId: String, service: String, code: Int, reply: String,
        data: String, at: Millis, recordNo: String = "", isMended: Bool = false
    ) {
        self.parkCode = parkCode
        self.epoch = epoch
        self.seq = seq
        self.requestId = requestId
        self.service = service
        self.code = code
        self.reply = reply
        self.data = data
        self.at = at
        self.recordNo = recordNo
        self.isMended = isMended
    }
}

/// An entry of a down log as it is delivered.
public struct DownRow: Sendable, Equatable {
    public var epoch: String
    public var seq: Int64
    public var at: Millis
    public var service: String
    public var data: String

    public init(epoch: String, seq: Int64, at: Millis, service: String, data: String) {
        self.epoch = epoch
        self.seq = seq
        self.at = at
        self.service = service
        self.data = data
    }
}

/// An action and its actor (section 13): one link of a chain that shows when a row was changed or taken out. Personal data in it is masked.
public struct AuditRecord: Sendable, Equatable {
    public var id: Int64
    public var at: Millis
    public var actor: String
    public var action: String
    public var target: String
    public var detail: String
    /// SHA-256 over the hash of the record before and all that stands in this one.
    public var hash: String

    public init(
        id: Int64 = 0, at: Millis, actor: String, action: String, target: String, detail: String, hash: String = ""
    ) {
        // The database's texts end at a NUL: the hashed text would not be the text that is read.
        func whole(_ text: String) -> String {
            text.utf8.contains(0) ? text.replacingOccurrences(of: "\0", with: "\u{FFFD}") : text
        }
        self.id = id
        self.at = at
        self.actor = whole(actor)
        self.action = whole(action)
        self.target = whole(target)
        self.detail = whole(detail)
        self.hash = hash
    }

    /// The hash that this record must have after one with the hash `previous`.
    public func hash(after previous: String) -> String {
        let body = JSON.array([.string(previous), .int(id), .int(at), .string(actor), .string(action), .string(target), .string(detail)])
        return Signature.hash(canonical: body.text(canonical: true))
    }

    /// The first record whose hash does not follow from the one before; nil when the chain holds. Records that were pruned before the
    /// first one are not looked for.
    public static func firstBroken(_ records: [AuditRecord]) -> AuditRecord? {
        for (record, next) in zip(records, records.dropFirst()) where next.hash != next.hash(after: record.hash) || next.id != record.id + 1
        {
            return next
        }
        return nil
    }
}

/// A picture that a lot may upload, is uploading, or has uploaded (U18).
public struct Picture: Sendable, Equatable {
    public var imageId: String
    public var appId: String
    public var parkCode: String
    public var type: Int
    public var ext: String
    public var size: Int64
    public var sha256: String
    public var createdAt: Millis
    /// When the ticket ends.
    public var expireAt: Millis
    public var completedAt: Millis?

    public init(
        imageId: String, appId: String, parkCode: String, type: Int, ext: String, size: Int64, sha256: String, createdAt: Millis,
        expireAt: Millis, completedAt: Millis? = nil
    ) {
        self.imageId = imageId
        self.appId = appId
        self.parkCode = parkCode
        self.type = type
        self.ext = ext
        self.size = size
        self.sha256 = sha256
        self.createdAt = createdAt
        self.expireAt = expireAt
        self.completedAt = completedAt
    }
}

/// The counts of one lot, day and provider ("" for events without a provider), by the name of the count (section 6.1 of the seed).
public struct DayCount: Sendable, Equatable {
    public struct Key: Hashable, Sendable {
        /// Civil day, days since 1970-01-01 in the city's zone.
        public var day: Int64
        public var parkCode: String
        public var appId: String

        public init(day: Int64, parkCode: String, appId: String) {
            self.day = day
            self.parkCode = parkCode
            self.appId = appId
        }
    }

    public var key: Key
    public var counts: [String: Int64]

    public init(key: Key, counts: [String: Int64]) {
        self.key = key
        self.counts = counts
    }
}

/// How long each class of data is kept after its time, ms; older rows are deleted by a job.
public struct Retention: Sendable {
    public var repliesMillis = WireLimits.replyMillis
    public var downMillis = WireLimits.downKeepMillis
    /// Orders, visits, up logs, events, payments and the journal.
    public var recordsMillis: Int64 = 400 * 86_400_000
    public var auditMillis: Int64 = 400 * 86_400_000
    public var picturesMillis: Int64 = 90 * 86_400_000

    public init() {}
}

/// Everything that follows from one message: committed whole or not at all. One object: it goes through many hands.
public final class Commit: Sendable {
    /// When it was decided, ms since 1970.
    public let at: Millis
    /// The events, in order; empty when a message changed nothing.
    public let events: [Event]
    /// The answer that is kept for repeats of the request (section 3).
    public let reply: KeptReply?
    /// The results of the log entries that it took (section 5).
    public let up: [UpResult]
    /// The audit record of the commit, where one is kept (section 13).
    public let audit: AuditRecord?
    /// Dead letters that it makes good.
    public let mended: [UpResult]
    /// The lots that it touches.
    public let parkCodes: [String]
    /// Made once, when the store first sees it.
    let draft = PreparedCommit()

    /// Bytes that it brings to the store, nearly.
    public var weight: Int {
        (reply?.data.count ?? 0) + up.reduce(0) { $0 + $1.data.utf8.count + $1.reply.utf8.count } + events.count * 1_000 + 500
    }

    public init(
        at: Millis, events: [Event], reply: KeptReply? = nil, up: [UpResult] = [], audit: AuditRecord? = nil, mended: [UpResult] = []
    ) {
        self.mended = mended
        self.at = at
        self.events = events
        self.reply = reply
        self.up = up
        self.audit = audit
        var parkCodes: [String] = []
        for event in events { if let parkCode = event.parkCode, !parkCodes.contains(parkCode) { parkCodes.append(parkCode) } }
        self.parkCodes = parkCodes
    }
}

extension Event {
    /// The lot that an event belongs to; a counter belongs to none.
    public var parkCode: String? {
        switch self {
        case .registered(let lot), .policy(let lot, _), .gates(let lot, _), .remaining(let lot, _),
            .downSettled(let lot, _, _, _), .upConsumed(let lot, _, _):
            lot
        case .lot(let profile): profile.parkCode
        case .reservation(let reservation): reservation.parkCode
        case .visit(let visit): visit.parkCode
        case .notice(let notice): notice.parkCode
        case .report(let report): report.parkCode
        case .bill(let bill): bill.parkCode
        case .payment(let payment): payment.parkCode
        case .down(let entry): entry.parkCode
        case .entity(let entity): entity.place.parkCode.isEmpty ? nil : entity.place.parkCode
        case .counted, .posting: nil
        }
    }
}

/// How many places of a lot were occupied at the beginning of a half hour of a day (slot 0 to 47).
public struct OccupancyCount: Sendable, Equatable {
    public var parkCode: String
    public var day: Int64
    public var slot: Int
    public var count: Int

    public init(parkCode: String, day: Int64, slot: Int, count: Int) {
        self.parkCode = parkCode
        self.day = day
        self.slot = slot
        self.count = count
    }
}

/// The counts of one lot and day; -1 where nobody counted.
public struct OccupancyDay: Sendable, Equatable {
    public var parkCode: String
    public var day: Int64
    public var counts: [Int]

    /// The 48 counts as a column holds them.
    static func text(_ counts: [Int]) -> String { counts.map { String($0) }.joined(separator: ",") }

    static func counts(_ text: String) -> [Int] {
        var counts = [Int](repeating: -1, count: 48)
        for (index, value) in text.split(separator: ",").prefix(48).enumerated() { counts[index] = Int(value) ?? -1 }
        return counts
    }
}

/// One leg of a posting, as it stands in an account.
public struct LedgerRow: Sendable, Equatable {
    public var id: Int64
    public var at: Millis
    public var kind: String
    public var reference: String
    public var account: String
    public var fen: Int64
}

/// The one narrow door to durability. Calls block until the data is where they say; none suspends.
/// A read that fails throws: it never says that there is nothing.
/// The in-memory reference, SQLite and PostgreSQL pass one behaviour suite.
public protocol Store: Sendable {
    /// False while another server may lead the city: then memory may be old, and nothing is answered from it. Costs no wait.
    var mayAnswer: Bool { get }
    func load(noncesSince: Millis) throws(StoreError) -> CityImage
    /// The durable values of the things that refused decisions changed. The time grows with the number of these things.
    func values(of touched: Touched) throws(StoreError) -> DurableValues
    /// One transaction for many messages of many lots; when it returns, all of it survives a power cut.
    /// - Returns: the number of the last entry of the journal.
    @discardableResult func commit(_ batch: [Commit]) throws(StoreError) -> Int64
    /// Does beforehand, on any thread, the work that ``commit(_:)`` would have to do for this commit; it may be left out.
    func prepare(_ commit: Commit)
    func save(_ credential: Credential) throws(StoreError)

    func reservation(_ orderNo: String) throws(StoreError) -> Reservation?
    func reservation(appId: String, clientOrderNo: String) throws(StoreError) -> Reservation?
    /// Whether there may be such a reservation, without asking the disk.
    func knowsReservation(appId: String, clientOrderNo: String) -> Bool
    func visit(parkCode: String, recordNo: String) throws(StoreError) -> Visit?
    /// - Parameter key: ``Payment/key``.
    func payment(key: String) throws(StoreError) -> Payment?
    func reservations(_ filter: ReservationFilter) throws(StoreError) -> [Reservation]
    /// The kept reply of a request; nil when it is new, or older than a day.
    /// - Parameter key: ``KeptReply/key(_:_:)`` of the two names.
    func reply(key: Int64, appId: String, requestId: String) throws(StoreError) -> KeptReply?
    /// Whether there may be a kept reply under the key, without asking the disk.
    func knowsReply(key: Int64) -> Bool
    func up(parkCode: String, epoch: String, seq: Int64) throws(StoreError) -> UpResult?
    /// Those that nothing has made good, newest first.
    /// - Parameters:
    ///   - parkCode: nil for all lots.
    ///   - before: the last one of the page before; only of one lot.
    func deadLetters(parkCode: String?, since: Millis, before: DeadLetterPlace?, limit: Int) throws(StoreError) -> [UpResult]
    /// The newest dead letter of a record.
    func deadLetter(parkCode: String, recordNo: String) throws(StoreError) -> UpResult?
    /// Entries after `seq`, in order.
    func down(parkCode: String, epoch: String, after seq: Int64, limit: Int) throws(StoreError) -> [DownRow]
    /// Newest first.
    func notices(_ filter: LotEventFilter) throws(StoreError) -> [(id: Int64, notice: LotEvent)]
    func audit(after id: Int64, limit: Int) throws(StoreError) -> [AuditRecord]
    /// The records that a filter names, the newest first.
    func audit(matching filter: AuditFilter) throws(StoreError) -> [AuditRecord]

    func save(_ picture: Picture) throws(StoreError)
    func picture(_ imageId: String) throws(StoreError) -> Picture?
    /// Deletes what was made before the time, and tickets that ended unused before `ticketsBefore`.
    /// - Returns: their ids; their files go with them.
    func removePictures(madeBefore: Millis, ticketsBefore: Millis) throws(StoreError) -> [String]

    /// Adds to the counts of days, and notes up to which entry of the journal they count.
    func add(_ counts: [DayCount], through journalId: Int64) throws(StoreError)
    /// - Parameter days: civil days, both included.
    func counts(days: ClosedRange<Int64>, parkCode: String?, appId: String?) throws(StoreError) -> [DayCount]
    /// The entry of the journal up to which days are counted.
    func countedThrough() throws(StoreError) -> Int64

    func count(occupancy: [OccupancyCount]) throws(StoreError)
    /// By lot and day.
    func occupancy(days: ClosedRange<Int64>) throws(StoreError) -> [OccupancyDay]

    /// The rows of an account in a time, oldest first, and its balance before them.
    func ledger(_ account: Account, from: Millis, to: Millis, limit: Int) throws(StoreError) -> (before: Int64, rows: [LedgerRow])
    /// Visits of a lot that ended in a time, and payments for it made in a time.
    func visits(parkCode: String, leftFrom: Millis, to: Millis, limit: Int) throws(StoreError) -> [Visit]
    func payments(parkCode: String, from: Millis, to: Millis, limit: Int) throws(StoreError) -> [Payment]

    /// Deletes replies and settled down entries that are over, and counters whose period is long over at `now`.
    func prune(_ retention: Retention, now: Millis) throws(StoreError)
    /// Deletes records, journal and audit entries whose time is over; once a day, since it looks at everything.
    func retire(_ retention: Retention, now: Millis) throws(StoreError)
    /// The rows that the journal must be able to make again, in a fixed order, for comparing stores.
    func dump() throws(StoreError) -> [String]
    /// The journal after an entry.
    func journal(after id: Int64, limit: Int) throws(StoreError) -> [(id: Int64, commit: Commit)]
}

/// A durable store, which can lose the end of its history and go on (contract, sections 5.6 and 6 e).
public protocol HistoryStore: Store {
    /// How many times acknowledged history was lost and the city went on without it.
    func lineage() throws(StoreError) -> Int64
    /// After acknowledged transactions were lost, or a backup was put back: order numbers are skipped and every lot's down log ends. The
    /// lots' next down entries open new epochs.
    /// - Returns: the number of the lineage, 1 for the first loss.
    @discardableResult func beginLineage(at now: Millis, actor: String, reason: String) throws(StoreError) -> Int64
    /// Order numbers up to this one are not given again.
    func skipSerials(through serial: Int64) throws(StoreError)
    /// Looks through everything while the city runs.
    /// - Parameters:
    ///   - retention: how long rows are kept; a row past its time need not be there.
    ///   - isWanted: false ends it early.
    /// - Returns: the differences, at most 100 lines; empty when all is as it must be.
    func verify(_ retention: Retention, now: Millis, isWanted: () -> Bool) throws(StoreError) -> [String]
    /// Makes everything durable and ends.
    func close()
}

extension HistoryStore {
    /// Orders that are skipped after a loss: more than can have been sold since the last backup.
    public static var skippedSerials: Int64 { 1_000_000 }
}

extension Store {
    public var mayAnswer: Bool { true }

    public func reply(appId: String, requestId: String) throws(StoreError) -> KeptReply? {
        try reply(key: KeptReply.key(appId, requestId), appId: appId, requestId: requestId)
    }

    /// A thing of the past; ``Past/Value/nothing`` where there is none.
    public func past(_ key: Past.Key) throws(StoreError) -> Past.Value {
        switch key {
        case .reservation(let orderNo): try reservation(orderNo.text).map { .reservation($0) } ?? .nothing
        case .clientOrder(let appId, let clientOrderNo):
            try reservation(appId: appId.text, clientOrderNo: clientOrderNo.text).map { .reservation($0) } ?? .nothing
        case .visit(let parkCode, let recordNo): try visit(parkCode: parkCode.text, recordNo: recordNo.text).map { .visit($0) } ?? .nothing
        case .payment(let key): try payment(key: key.text).map { .payment($0) } ?? .nothing
        }
    }

    /// Reads what is lacking until nothing is, for callers that hold no lock.
    /// - Parameter lacking: `City.lacks` of a city that does not change meanwhile.
    public func gather(_ past: Past = Past(), _ lacking: (Past) -> [Past.Key]) throws(StoreError) -> Past {
        var past = past
        while case let keys = lacking(past), !keys.isEmpty { for key in keys { past.note(key, try self.past(key)) } }
        return past
    }

    /// The journal from its beginning.
    public func journal() throws(StoreError) -> [Commit] { try journal(after: 0, limit: .max).map(\.commit) }
}
