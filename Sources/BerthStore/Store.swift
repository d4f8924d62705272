public import BerthCore
public import BerthWire

/// Why the store did not do what it was asked.
public enum StoreError: Error, Sendable, Equatable {
    /// The disk is full, or the file cannot grow: nothing of the batch was written.
    case full
    /// A counted claim was over its maximum: another writer took it.
    case claimRefused(String)
    case unavailable(String)
}

/// The kept answer to a plain request (interface.md, section 3), with the nonce that must not be seen again.
public struct KeptReply: Sendable, Equatable {
    public var appId: String
    public var requestId: String
    public var nonce: String
    public var service: String
    public var dataHash: String
    public var code: Int
    public var data: String
    public var at: Millis

    public init(
        appId: String, requestId: String, nonce: String, service: String, dataHash: String, code: Int, data: String,
        at: Millis
    ) {
        self.appId = appId
        self.requestId = requestId
        self.nonce = nonce
        self.service = service
        self.dataHash = dataHash
        self.code = code
        self.data = data
        self.at = at
    }
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

    public init(
        parkCode: String, epoch: String, seq: Int64, requestId: String, service: String, code: Int, reply: String,
        data: String, at: Millis
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

/// Everything that follows from one message: committed whole or not at all.
public struct Commit: Sendable {
    public var at: Millis
    public var events: [Event]
    public var reply: KeptReply?
    public var up: [UpResult]
    /// Made once, from the commit as it is when the store first sees it; it must not change afterwards.
    let draft = Draft()

    public init(at: Millis, events: [Event], reply: KeptReply? = nil, up: [UpResult] = []) {
        self.at = at
        self.events = events
        self.reply = reply
        self.up = up
    }
}

/// One lot as it comes up from the store.
public struct LotImage: Sendable, Equatable {
    public var parkCode: String
    public var policy: Policy?
    public var profile: LotProfile?
    public var gates: [Gate] = []
    public var remaining: Remaining?
    public var up = LogPosition()
    public var downEpoch: String?
    public var downLast: Int64 = 0
    public var downAck: Int64 = 0
    public var awaiting: [Int64: String] = [:]

    public init(parkCode: String) { self.parkCode = parkCode }
}

/// What a server needs in memory to go on where it was.
public struct CityImage: Sendable {
    public var lots: [LotImage] = []
    public var activeOrders: [Order] = []
    public var openVisits: [Visit] = []
    public var reports: [Report] = []
    public var bills: [Bill] = []
    /// Those that are not concluded.
    public var pendingPayments: [Payment] = []
    public var counters: [String: Int] = [:]
    public var lastSerial: Int64 = 0
    public var credentials: [Credential] = []
    /// appId and nonce of writes since the time that was asked for.
    public var nonces: [(appId: String, nonce: String, at: Millis)] = []
    /// Digests (``Signature/digest64(_:)`` of appId and requestId) of all kept replies.
    public var replyKeys: [Int64] = []

    public init() {}
}

/// Which orders a list asks for; newest first.
public struct OrderFilter: Sendable {
    public var appId: String?
    public var parkCode: String?
    public var status: OrderStatus?
    public var userToken: String?
    /// Only orders made before this one.
    public var beforeSerial: Int64
    public var limit: Int

    public init(
        appId: String? = nil, parkCode: String? = nil, status: OrderStatus? = nil, userToken: String? = nil,
        beforeSerial: Int64 = .max, limit: Int = 50
    ) {
        self.appId = appId
        self.parkCode = parkCode
        self.status = status
        self.userToken = userToken
        self.beforeSerial = beforeSerial
        self.limit = limit
    }

    func admits(_ order: Order) -> Bool {
        (appId == nil || order.appId == appId) && (parkCode == nil || order.parkCode == parkCode)
            && (status == nil || order.status == status) && (userToken == nil || order.userToken == userToken)
            && order.serial < beforeSerial
    }
}

/// The one narrow door to durability. Calls block until the data is where they say; none suspends.
/// The in-memory reference, SQLite and (later) PostgreSQL pass one behaviour suite.
public protocol Store: Sendable, History {
    func load(noncesSince: Millis) throws(StoreError) -> CityImage
    /// One transaction for many messages of many lots; when it returns, all of it survives a power cut.
    func commit(_ batch: [Commit]) throws(StoreError)
    /// Does beforehand, on any thread, what ``commit(_:)`` would have to do for this commit; it may be left out.
    func prepare(_ commit: Commit)
    func save(_ credential: Credential) throws(StoreError)

    func orders(_ filter: OrderFilter) -> [Order]
    func reply(appId: String, requestId: String) -> KeptReply?
    func up(parkCode: String, epoch: String, seq: Int64) -> UpResult?
    func deadLetters(parkCode: String, limit: Int) -> [UpResult]
    /// Entries after `seq`, in order.
    func down(parkCode: String, epoch: String, after seq: Int64, limit: Int) -> [DownRow]
    func notices(parkCode: String?, limit: Int) -> [Notice]
    /// Deletes replies and settled down entries that are older than said, and counters whose period is long over at `now`.
    func prune(repliesBefore: Millis, downBefore: Millis, now: Millis) throws(StoreError)
    /// The rows that the journal must be able to make again, in a fixed order, for comparing stores.
    func dump() -> [String]
    /// The journal from its beginning.
    func journal() -> [Commit]
}
