/// The whole city in memory, and the only place where it changes. A command gives a decision, and the state is then already the one
/// after it. The same city, command and time give the same answer.
public struct City: Sendable {
    public internal(set) var lots = LotTable()
    /// Whether a lot comes into service only when its checklist is passed (annex A); otherwise as soon as it describes itself.
    public let reviewsLots: Bool
    /// Name of the epoch that a lot's down log gets at its first entry.
    let newEpoch: String
    /// Providers that are told what changes (A17).
    public var listeners: Set<String> = []

    // The parts beside the lots. Each keeps its own invariants: its fields are changed by its verbs alone.
    var directory: Directory
    var money = Money()
    var claims = Claims()
    var penaltyBook = PenaltyBook()
    var caseBook = CaseBook()
    var accounts = Accounts()
    var appointmentTable = AppointmentTable()
    var records = RecordBook()
    var lotIndex = LotIndex()
    var numbers = Numbers()

    /// The day on which the holds that last "for ever" were last renewed.
    var heldDay: Int64 = 0
    /// Notes of the present decision for its end: the time at which its message was sent (`.max` without a message), the lots in which a
    /// place has become free, and those whose count of cars has changed.
    var sentAt: Millis = .max
    var freed: Set<String> = []
    var refilled: Set<String> = []

    public struct FlowKey: Hashable, Sendable {
        public var parkCode: String
        public var areaId: String
        public var policyId: String

        public init(parkCode: String, areaId: String, policyId: String) {
            self.parkCode = parkCode
            self.areaId = areaId
            self.policyId = policyId
        }

        init(_ flow: FlowPolicy) { self.init(parkCode: flow.parkCode, areaId: flow.areaId, policyId: flow.policyId) }
    }

    public init(policy: Policy, newEpoch: String, reviewsLots: Bool = false, calendar: WorkCalendar = WorkCalendar()) {
        directory = Directory(policy: policy, calendar: calendar)
        self.reviewsLots = reviewsLots
        self.newEpoch = newEpoch
    }

    // MARK: What the rules and others read

    public var policy: Policy { directory.policy }
    public var calendar: WorkCalendar { directory.calendar }
    public var overrides: [PolicyScope: PolicyOverride] { directory.overrides }
    public var places: TextTable<PublicPlace> { directory.places }
    public var areas: TextTable<FlowArea> { directory.areas }
    public var flows: [FlowKey: FlowPolicy] { directory.flows }
    var lists: [RecordKind: [Plate: ListEntry]] { directory.lists }
    public var balances: [Account: Int64] { money.balances }
    var bills: TextTable<Bill> { money.bills }
    var payments: TextTable<Payment> { money.payments }
    public var penalties: TextTable<Penalty> { penaltyBook.penalties }
    public var appeals: TextTable<Appeal> { penaltyBook.appeals }
    public var gateCases: TextTable<GateCase> { caseBook.cases }
    public var people: TextTable<Person> { accounts.people }
    public var appointments: TextTable<Appointment> { appointmentTable.all }
}
