// The city undoes the decisions of a commit that the store refused. Each thing that they changed gets its durable value, and nothing else
// is touched. The work grows with the number of refused decisions and not with the size of the city.

/// The things that refused decisions changed, by the names under which the store keeps them. A value; it belongs to one thread.
public struct Touched: Sendable {
    /// Lots whose positions, counts or deadlines changed.
    public internal(set) var lots: Set<String> = []
    /// The last decided value of each reservation, by its serial number; it is void. The tables below hold void values in the same way.
    public internal(set) var reservations: [Int64: Reservation] = [:]
    /// By ``name(_:)`` of lot and record.
    public internal(set) var visits: TextTable<Visit> = [:]
    /// By ``name(_:)`` of lot, kind and key.
    public internal(set) var reports: TextTable<KeptRecord> = [:]
    /// By ``name(_:)`` of lot, kind and key of ``Entity/place``.
    public internal(set) var entities: TextTable<Entity> = [:]
    /// By ``Bill/key``.
    public internal(set) var bills: TextTable<Bill> = [:]
    /// By ``Payment/key``.
    public internal(set) var payments: TextTable<Payment> = [:]
    /// By how much counters and accounts changed.
    var counters: TextTable<Int> = [:]
    var balances: [Account: Int64] = [:]
    /// Entries of down logs that were settled in vain, by lot.
    public internal(set) var settled: [String: Set<Int64>] = [:]
    /// Something changed that many lots rest on (a registration, a profile, a policy, a tariff, a list): the whole city is read back.
    public internal(set) var isWholeCity = false

    /// Nothing is touched.
    public init() {}

    /// Notes the things that the events of a decision changed.
    public mutating func add(_ events: [Event]) {
        for event in events { add(event) }
    }

    private mutating func add(_ event: Event) {
        switch event {
        case .registered, .policy, .lot, .gates: isWholeCity = true
        case .remaining(let parkCode, _), .upConsumed(let parkCode, _, _): lots.insert(parkCode)
        case .reservation(let reservation):
            reservations[reservation.serial] = reservation
            lots.insert(reservation.parkCode)
        case .visit(let visit):
            visits[Touched.name(visit.parkCode, visit.recordNo)] = visit
            lots.insert(visit.parkCode)
        case .notice: break
        case .report(let report):
            if City.isStructural(report.kind) { isWholeCity = true }
            reports[Touched.name(report.parkCode, report.kind, report.key)] = report
        case .bill(let bill): bills[bill.key] = bill
        case .payment(let payment): payments[payment.key] = payment
        case .entity(let entity):
            switch entity {
            case .policy, .calendarDay, .area, .place, .occupancy: isWholeCity = true
            case .offer, .subscription, .appointment, .flow, .penalty, .appeal, .gateCase, .person, .signInCode: break
            }
            let place = entity.place
            entities[Touched.name(place.parkCode, place.kind, place.key)] = entity
            if !place.parkCode.isEmpty { lots.insert(place.parkCode) }
        case .posting(let posting): for leg in posting.legs { balances[leg.account, default: 0] += leg.fen }
        case .down(let entry):
            lots.insert(entry.parkCode)
        case .downSettled(let parkCode, _, _, let results):
            lots.insert(parkCode)
            settled[parkCode, default: []].formUnion(results.map(\.seq))
        case .counted(let key, let delta, _): counters[key, default: 0] += delta
        }
    }

    /// The name of a thing here and in ``DurableValues``.
    public static func name(_ parts: String...) -> String { parts.joined(separator: "|") }
}

/// The state of a lot that its messages move: the positions of its two logs, and the count of its gates.
public struct LotMarks: Sendable, Equatable {
    /// The last count of free places; nil before the first one.
    public var remaining: Remaining?
    /// Position of the up log.
    public var up = LogPosition()
    /// Epoch of the down log; nil before its first entry.
    public var downEpoch: String?
    /// Last entry of the down log, and the last one that the lot has consumed; 0 for none.
    public var downLast: Int64 = 0
    public var downAck: Int64 = 0
    /// Entries of the down log without a result, each with the reservation that it carries. In ``DurableValues``: the touched entries
    /// alone.
    public var awaiting: [Int64: String] = [:]
    /// Dead letters that no correction has mended.
    public var deadLetters = 0

    /// The marks of a lot from which nothing has come.
    public init() {}
}

/// The values that the store has of the things that were ``Touched``, under the same names. A thing that is missing here does not exist.
public struct DurableValues: Sendable {
    public var lots: [String: LotMarks] = [:]
    public var reservations: [Int64: Reservation] = [:]
    public var visits: TextTable<Visit> = [:]
    public var reports: TextTable<KeptRecord> = [:]
    public var entities: TextTable<Entity> = [:]
    public var bills: TextTable<Bill> = [:]
    public var payments: TextTable<Payment> = [:]

    /// Nothing exists.
    public init() {}
}

/// The work of undoing refused decisions, in parts: the caller gives up the city's lock between two of them.
public struct Undoing: Sendable {
    fileprivate let touched: Touched
    fileprivate let durable: DurableValues
    fileprivate let serials: [Int64]

    /// - Parameter durable: of everything in `touched`, read after the last commit that succeeded.
    public init(_ touched: Touched, _ durable: DurableValues) {
        self.touched = touched
        self.durable = durable
        serials = touched.reservations.keys.sorted()
    }

    /// The parts; they are done in this order, and all of them.
    public var parts: Range<Int> { 0..<(serials.count / Undoing.ordersInPart + 2) }

    fileprivate static let ordersInPart = 500
}

extension City {
    /// Whether the rules of many things rest on a report of this kind.
    static func isStructural(_ kind: String) -> Bool { kind == stageKind || kind == "tariff" || kind.hasPrefix("list") }

    /// Gives the things that refused decisions changed their durable values. Numbers that these decisions gave are not given again. Between
    /// the first and the last part nothing is decided; things that are not touched may be read.
    /// - Parameter part: one of ``Undoing/parts``.
    public mutating func undo(_ undoing: Undoing, part: Int, at now: Millis) {
        defer {
            freed.removeAll()
            refilled.removeAll()
        }
        guard part > 0 else { return undoShared(undoing.touched, undoing.durable, at: now) }
        for serial in undoing.serials.dropFirst((part - 1) * Undoing.ordersInPart).prefix(Undoing.ordersInPart) {
            if let reservation = undoing.durable.reservations[serial] {
                index(reservation, now: now)
            } else if let void = undoing.touched.reservations[serial] {
                remove(reservation: serial, of: void.parkCode)
            }
        }
    }

    private mutating func undoShared(_ touched: Touched, _ durable: DurableValues, at now: Millis) {
        for (key, delta) in touched.counters { claims.add(-delta, to: ByteKey(key)) }
        for (account, fen) in touched.balances { money.add(-fen, to: account) }
        for (name, void) in touched.reports {
            let kind = RecordKind(parkCode: void.parkCode, kind: void.kind)
            records.putBack(durable.reports[name], kind, void.key)
        }
        for key in touched.bills.keys { money.putBack(bill: durable.bills[key], key) }
        for key in touched.payments.keys { money.putBack(payment: durable.payments[key], key) }
        // All void visits go before a durable one comes: two records may claim the same car.
        for void in touched.visits.values { remove(visit: void.parkCode, void.recordNo) }
        for visit in durable.visits.values { putBack(visit) }
        for (name, void) in touched.entities {
            if let entity = durable.entities[name] { put(entity, at: now) } else { remove(void) }
        }
        for parkCode in touched.lots {
            guard lots.contains(parkCode), let marks = durable.lots[parkCode] else { continue }
            let settled = touched.settled[parkCode] ?? []
            with(parkCode) { lot in
                lot.remaining = marks.remaining
                lot.up = marks.up
                lot.downEpoch = marks.downEpoch
                lot.downLast = marks.downLast
                lot.downAck = marks.downAck
                lot.awaiting = lot.awaiting.filter { $0.key <= marks.downLast }
                for seq in settled { lot.awaiting[seq] = marks.awaiting[seq] }
                // The next tick looks at all deadlines of the lot again.
                lot.nextDeadline = min(lot.nextDeadline, now)
            }
        }
    }

    /// A visit was in memory if its car was inside, or had left lately; one more does no harm.
    private mutating func putBack(_ visit: Visit) {
        guard lots.contains(visit.parkCode) else { return }
        lots[known: visit.parkCode].visits[visit.recordNo] = visit
        guard visit.leaveTime == nil else { return }
        lots[known: visit.parkCode].inside[visit.insideKey] = visit.recordNo
        noteInside(visit.insideKey, visit.parkCode, isInside: true)
    }
}
