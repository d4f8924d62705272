import BerthCore
import BerthStore
import BerthWire
import Synchronization

/// A store in memory that fails when it is told to: each read, each commit, or the n-th read; and that says when it is read.
final class FaultyStore: Store {
    private struct State {
        var failsReads = false
        var failsCommits = false
        var failsRead: Int?
        var reads = 0
        var commits = 0
    }

    private let inner: any Store = MemoryStore()
    private let state = Mutex(State())
    private let watcher = Mutex<(@Sendable (String) -> Void)?>(nil)

    func failReads(_ fails: Bool) { state.withLock { $0.failsReads = fails } }
    func failCommits(_ fails: Bool) { state.withLock { $0.failsCommits = fails } }
    /// Fails one read, counted from 1 from now on.
    func failRead(_ number: Int) {
        state.withLock { state in
            state.reads = 0
            state.failsRead = number
        }
    }
    /// Called before each look at the past, with its kind, on the thread that reads.
    func watch(_ watch: (@Sendable (String) -> Void)?) { watcher.withLock { $0 = watch } }
    var reads: Int { state.withLock { $0.reads } }
    var commits: Int { state.withLock { $0.commits } }

    private func look(_ kind: String) throws(StoreError) {
        watcher.withLock { $0 }?(kind)
        let fails = state.withLock { state in
            state.reads += 1
            return state.failsReads || state.failsRead == state.reads
        }
        if fails { throw .disk("a test") }
    }

    func commit(_ batch: [Commit]) throws(StoreError) -> Int64 {
        let fails = state.withLock { state in
            state.commits += state.failsCommits ? 0 : 1
            return state.failsCommits
        }
        if fails { throw .full }
        return try inner.commit(batch)
    }

    // The past, as decisions and queries look it up.
    func reservation(_ orderNo: String) throws(StoreError) -> Reservation? {
        try look("reservation")
        return try inner.reservation(orderNo)
    }
    func reservation(appId: String, clientOrderNo: String) throws(StoreError) -> Reservation? {
        try look("clientOrder")
        return try inner.reservation(appId: appId, clientOrderNo: clientOrderNo)
    }
    func visit(parkCode: String, recordNo: String) throws(StoreError) -> Visit? {
        try look("visit")
        return try inner.visit(parkCode: parkCode, recordNo: recordNo)
    }
    func payment(key: String) throws(StoreError) -> Payment? {
        try look("payment")
        return try inner.payment(key: key)
    }
    func reply(key: Int64, appId: String, requestId: String) throws(StoreError) -> KeptReply? {
        try look("reply")
        return try inner.reply(key: key, appId: appId, requestId: requestId)
    }
    func up(parkCode: String, epoch: String, seq: Int64) throws(StoreError) -> UpResult? {
        try look("up")
        return try inner.up(parkCode: parkCode, epoch: epoch, seq: seq)
    }
    func deadLetter(parkCode: String, recordNo: String) throws(StoreError) -> UpResult? {
        try look("deadLetter")
        return try inner.deadLetter(parkCode: parkCode, recordNo: recordNo)
    }
    func reservations(_ filter: ReservationFilter) throws(StoreError) -> [Reservation] {
        try look("reservations")
        return try inner.reservations(filter)
    }
    func values(of touched: Touched) throws(StoreError) -> DurableValues {
        try look("values")
        return try inner.values(of: touched)
    }

    // Everything else is the inner store's.
    func load(noncesSince: Millis) throws(StoreError) -> CityImage { try inner.load(noncesSince: noncesSince) }
    func prepare(_ commit: Commit) { inner.prepare(commit) }
    func save(_ credential: Credential) throws(StoreError) { try inner.save(credential) }
    func knowsReservation(appId: String, clientOrderNo: String) -> Bool {
        inner.knowsReservation(appId: appId, clientOrderNo: clientOrderNo)
    }
    func knowsReply(key: Int64) -> Bool { inner.knowsReply(key: key) }
    func deadLetters(parkCode: String?, since: Millis, before: DeadLetterPlace?, limit: Int) throws(StoreError) -> [UpResult] {
        try inner.deadLetters(parkCode: parkCode, since: since, before: before, limit: limit)
    }
    func down(parkCode: String, epoch: String, after seq: Int64, limit: Int) throws(StoreError) -> [DownRow] {
        try inner.down(parkCode: parkCode, epoch: epoch, after: seq, limit: limit)
    }
    func notices(_ filter: LotEventFilter) throws(StoreError) -> [(id: Int64, notice: LotEvent)] { try inner.notices(filter) }
    func audit(after id: Int64, limit: Int) throws(StoreError) -> [AuditRecord] { try inner.audit(after: id, limit: limit) }
    func audit(matching filter: AuditFilter) throws(StoreError) -> [AuditRecord] { try inner.audit(matching: filter) }
    func save(_ picture: Picture) throws(StoreError) { try inner.save(picture) }
    func picture(_ imageId: String) throws(StoreError) -> Picture? { try inner.picture(imageId) }
    func removePictures(madeBefore: Millis, ticketsBefore: Millis) throws(StoreError) -> [String] {
        try inner.removePictures(madeBefore: madeBefore, ticketsBefore: ticketsBefore)
    }
    func add(_ counts: [DayCount], through journalId: Int64) throws(StoreError) { try inner.add(counts, through: journalId) }
    func counts(days: ClosedRange<Int64>, parkCode: String?, appId: String?) throws(StoreError) -> [DayCount] {
        try inner.counts(days: days, parkCode: parkCode, appId: appId)
    }
    func countedThrough() throws(StoreError) -> Int64 { try inner.countedThrough() }
    func count(occupancy: [OccupancyCount]) throws(StoreError) { try inner.count(occupancy: occupancy) }
    func occupancy(days: ClosedRange<Int64>) throws(StoreError) -> [OccupancyDay] { try inner.occupancy(days: days) }
    func ledger(_ account: Account, from: Millis, to: Millis, limit: Int) throws(StoreError) -> (before: Int64, rows: [LedgerRow]) {
        try inner.ledger(account, from: from, to: to, limit: limit)
    }
    func visits(parkCode: String, leftFrom: Millis, to: Millis, limit: Int) throws(StoreError) -> [Visit] {
        try inner.visits(parkCode: parkCode, leftFrom: leftFrom, to: to, limit: limit)
    }
    func payments(parkCode: String, from: Millis, to: Millis, limit: Int) throws(StoreError) -> [Payment] {
        try inner.payments(parkCode: parkCode, from: from, to: to, limit: limit)
    }
    func prune(_ retention: Retention, now: Millis) throws(StoreError) { try inner.prune(retention, now: now) }
    func retire(_ retention: Retention, now: Millis) throws(StoreError) { try inner.retire(retention, now: now) }
    func dump() throws(StoreError) -> [String] { try inner.dump() }
    func journal(after id: Int64, limit: Int) throws(StoreError) -> [(id: Int64, commit: Commit)] {
        try inner.journal(after: id, limit: limit)
    }
}
