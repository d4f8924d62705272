/// The whole city in memory, and the only place where it changes. A command gives a decision, and the state is then already the one
/// after it. The same city, command and time give the same answer.
public struct City: Sendable {
    public internal(set) var lots = LotTable()
    /// The values that the city's settings give; scopes are laid over them.
    public let policy: Policy
    /// Whether a lot comes into service only when its checklist is passed (annex A); otherwise as soon as it describes itself.
    public let reviewsLots: Bool
    /// Providers that are told what changes (A17).
    public var listeners: Set<String> = []
    var lastNotification: Int64 = 0
    /// The day on which the holds that last "for ever" were last renewed.
    var heldDay: Int64 = 0
    /// The lot of each reservation in memory, by serial number.
    var lotOfSerial: [Int64: String] = [:]
    /// Serial numbers of reservations in memory, by the hash of the provider's own key; nobody outside knows the seed of the hash. The
    /// caller compares the key of the reservation that it finds.
    var clientOrders: [Int: Int64] = [:]
    /// Counters beyond one lot: bookings and cancels per user and plate.
    var counters = CounterTable()
    /// Intervals in which a plate has an active reservation, anywhere in the city.
    var plateSpans: [Plate: [PlateWindow]] = [:]
    var lastSerial: Int64 = 0
    var reports: [RecordKind: TextTable<KeptRecord>] = [:]
    /// Plates on lists of lots (D07, D08).
    var lists: [RecordKind: [Plate: ListEntry]] = [:]
    /// By giver and number (``Bill/key``).
    var bills: TextTable<Bill> = [:]
    /// Recent payments, by giver and number (``Payment/key``); older ones are in the history.
    var payments: TextTable<Payment> = [:]
    /// Name of the epoch that a lot's down log gets at its first entry.
    let newEpoch: String
    /// Holidays and make-up workdays.
    public internal(set) var calendar: WorkCalendar
    /// The values that each scope sets now.
    public internal(set) var overrides: [PolicyScope: PolicyOverride] = [:]
    var lastPolicyVersion: Int64 = 0
    public internal(set) var places: TextTable<PublicPlace> = [:]
    /// By provider and number.
    public internal(set) var appointments: TextTable<Appointment> = [:]
    /// Indexes of the appointments: by their own number, by provider, by place and day, and those with a right by lot.
    var appointmentKeys: TextTable<Set<ByteKey>> = [:]
    var appointmentsOf: [String: Set<ByteKey>] = [:]
    var appointmentsOn: [PlaceDay: Set<ByteKey>] = [:]
    var rightsIn: [String: Set<ByteKey>] = [:]
    public internal(set) var areas: TextTable<FlowArea> = [:]
    /// By place in the store: area or lot, and policy.
    public internal(set) var flows: [FlowKey: FlowPolicy] = [:]
    public internal(set) var penalties: TextTable<Penalty> = [:]
    public internal(set) var appeals: TextTable<Appeal> = [:]
    public internal(set) var gateCases: TextTable<GateCase> = [:]
    /// The lot of each offer and subscription whose number the server gave. Numbers that a lot or an operator gives are looked up in the
    /// lot.
    var lotOfShare: TextTable<String> = [:]
    /// The balance of each account, fen.
    public internal(set) var balances: [Account: Int64] = [:]
    var lastShare: Int64 = 0
    /// The time at which the message that is being decided was sent; `.max` for a command without a message.
    var sentAt: Millis = .max
    /// Waiting reservations by user and by lot.
    var waitingOf: TextTable<Int> = [:]
    var waitingIn: [String: Int] = [:]
    /// Appointments that found no place in the reserved quota, by lot.
    var rightless: [String: Set<ByteKey>] = [:]
    /// Lots in which a place has become free in the present command, and lots whose count of cars has changed.
    var freed: Set<String> = []
    var refilled: Set<String> = []
    /// The lots in which each plate is inside.
    var insideLots: [Plate: Set<String>] = [:]
    /// The time of the last event 7001 for a refused check, by plate: a waiting car is reported once a minute.
    var blackSeen: [Plate: Millis] = [:]
    /// Accounts of people, by number, and the ways to them.
    public internal(set) var people: TextTable<Person> = [:]
    var personOfLogin: TextTable<String> = [:]
    var sessionOwners: TextTable<String> = [:]
    var signInCodes: TextTable<SignInCode> = [:]
    var lastPerson: Int64 = 0
    /// The positions of the lots, for the search of the nearest ones.
    var grid = GeoGrid()

    public struct FlowKey: Hashable, Sendable {
        public var parkCode: String
        public var areaId: String
        public var policyId: String

        public init(parkCode: String, areaId: String, policyId: String) {
            self.parkCode = parkCode
            self.areaId = areaId
            self.policyId = policyId
        }
    }

    struct PlateWindow: Sendable {
        var serial: Int64
        var from: Millis
        var to: Millis
    }

    public init(policy: Policy, newEpoch: String, reviewsLots: Bool = false, calendar: WorkCalendar = WorkCalendar()) {
        self.policy = policy
        self.calendar = calendar
        self.reviewsLots = reviewsLots
        self.newEpoch = newEpoch
    }

}
