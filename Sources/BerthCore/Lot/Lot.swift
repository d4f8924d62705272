/// The state of one lot: the unit of order, of locking and of sharding.
public struct Lot: Sendable {
    public let parkCode: String
    public internal(set) var profile: LotProfile?
    public internal(set) var policy: Policy
    public internal(set) var stage = LotStage.applied
    /// The purposes for which it may be booked, where lots are reviewed.
    public internal(set) var opened: Set<Purpose> = []
    public internal(set) var gates: TextTable<Gate> = [:]
    public internal(set) var remaining: Remaining?
    /// Reservations that are active, and those that ended lately.
    public internal(set) var reservations = ReservationTable()
    /// Cars inside, and visits that ended lately, by recordNo.
    public internal(set) var visits: TextTable<Visit> = [:]
    /// The record of each car that is inside.
    public internal(set) var inside: [Plate: String] = [:]
    public internal(set) var up = LogPosition()
    public internal(set) var downEpoch: String?
    public internal(set) var downLast: Int64 = 0
    public internal(set) var downAck: Int64 = 0
    /// Entries of the down log whose result is not known yet, and the reservation that each one carries.
    public internal(set) var awaiting: [Int64: String] = [:]
    /// The time before which the lot has reported everything: its log has passed it (section 5.5).
    public internal(set) var passedThrough: Millis = 0
    /// The next time at which something of the lot falls due; `.max` when nothing does.
    public internal(set) var nextDeadline: Millis = .max

    /// Subscriptions and offers of this lot, by number.
    public internal(set) var offers: TextTable<SharedOffer> = [:]
    public internal(set) var subscriptions: TextTable<SharedSubscription> = [:]
    /// The policies of the products that differ from the lot's common one.
    var productPolicies: [Purpose: Policy] = [:]
    /// The newest version of the overrides that its policies come from.
    public internal(set) var policyVersion: Int64 = 0
    /// Quotas that policies set in place of what the lot opened.
    var poolRules: [PoolRule] = []
    var tariffs: [LotTariff] = []
    /// The usual filling of the lot, by weekday.
    public internal(set) var occupancy: [Int: OccupancyProfile] = [:]
    /// The level of saturation that was reported last (events 4001 to 4003).
    var toldLevel = 0
    /// Cars that came without a reservation, lately: for the throttle.
    var walkIns: [Millis] = []

    var pools: [Pool: CapacityCalendar] = [:]
    /// The holds of appointments and subscriptions, by their numbers; the hold of a reservation is kept with the reservation.
    var holds: TextTable<Hold> = [:]
    var spaces = SpaceCalendar()
    var nextExtension: Millis = .max

    struct Hold: Sendable {
        var pool: Pool
        var space: String?
        var from: Millis
        var to: Millis
        /// The car is inside: the hold grows with the clock until its exit is reported.
        var grows: Bool
    }

    public init(parkCode: String, policy: Policy) {
        self.parkCode = parkCode
        self.policy = policy
    }

    public func policy(_ purpose: Purpose) -> Policy { productPolicies[purpose] ?? policy }
    public var occupied: Int { max(inside.count, remaining?.occupied ?? 0) }
    public var saturation: Saturation { Saturation(occupied: occupied, capacity: profile?.totalCount ?? 0) }

    var subscriptionSpaces: TextTable<String> = [:]

    /// The contradiction that was found in the lot's own state. Nothing is decided for the lot until the city is read back from its store;
    /// the other lots go on.
    public private(set) var fault: String?

    /// Stops the lot: what it holds cannot be right.
    mutating func stop(_ fault: String) { self.fault = self.fault ?? fault }

    /// The reservations that wait for a place, the oldest first.
    public var waiting: [Reservation] { reservations.values.filter { $0.status == .waitlisted }.sorted { $0.serial < $1.serial } }

    /// Whether another car stands in an individual space.
    func isTaken(_ space: String, except holder: String, by plate: Plate) -> Bool {
        reservations.values.contains { $0.spaceNo == space && $0.status == .inLot && $0.orderNo != holder && !$0.speaks(for: plate) }
            || subscriptions.values.contains {
                $0.spaceNo == space && $0.insidePlate != nil && $0.insidePlate != plate && $0.authNo != holder
            }
    }

    /// Reservations that the lot must have in its local list now.
    public var inForce: [Reservation] {
        reservations.values.filter { $0.status.isActive }.sorted { $0.serial < $1.serial }
    }

    /// Drops things that ended a while ago, except reservations: they are in the store, and every reader asks there.
    mutating func forget(endedBefore time: Millis) {
        for (recordNo, visit) in visits {
            if let leave = visit.leaveTime, leave < time, inside[visit.insideKey] != recordNo { visits.removeValue(forKey: recordNo) }
        }
        for pool in pools.keys { pools[pool]?.forget(before: time) }
        spaces.forget(before: time - CivilTime.dayLength)
    }
}
