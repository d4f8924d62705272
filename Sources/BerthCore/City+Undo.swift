// A commit that the store refuses is undone: what its decisions changed gets the values that are durable, and nothing else is touched. The
// size of the city does not matter; the number of refused decisions does.

/// What refused decisions changed, by the names under which the store keeps it. A value; it belongs to one thread.
public struct Touched: Sendable {
    /// Lots whose positions, counts or deadlines changed.
    public internal(set) var lots: Set<String> = []
    /// The last value of each thing, which is void now.
    public internal(set) var orders: [Int64: Order] = [:]
    public internal(set) var visits: TextTable<Visit> = [:]
    public internal(set) var reports: TextTable<Report> = [:]
    public internal(set) var entities: TextTable<Entity> = [:]
    public internal(set) var bills: TextTable<Bill> = [:]
    public internal(set) var payments: TextTable<Payment> = [:]
    /// By how much counters and accounts changed.
    var counters: TextTable<Int> = [:]
    var balances: [Account: Int64] = [:]
    /// Entries of down logs that were settled in vain, by lot.
    public internal(set) var settled: [String: Set<Int64>] = [:]
    /// Something changed that many lots rest on (a registration, a profile, a policy, a tariff, a list): the whole city is read back.
    public internal(set) var isWholeCity = false

    public init() {}

    /// Notes what the events of a decision changed.
    public mutating func add(_ events: [Event]) {
        for event in events { add(event) }
    }

    private mutating func add(_ event: Event) {
        switch event {
        case .registered, .policy, .lot, .gates: isWholeCity = true
        case .remaining(let parkCode, _), .upConsumed(let parkCode, _, _): lots.insert(parkCode)
        case .order(let order):
            orders[order.serial] = order
            lots.insert(order.parkCode)
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
            case .offer, .subscription, .appointment, .flow, .penalty, .appeal, .gateCase: break
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

    /// Under which ``DurableValues`` has a thing.
    public static func name(_ parts: String...) -> String { parts.joined(separator: "|") }
}

/// The values that the store has of what was ``Touched``. What is missing in it does not exist.
public struct DurableValues: Sendable {
    /// Where the two logs of a lot stand, and what its gates counted.
    public struct LotMarks: Sendable {
        public var remaining: Remaining?
        public var up = LogPosition()
        public var downEpoch: String?
        public var downLast: Int64 = 0
        public var downAck: Int64 = 0
        /// Of the entries that were asked for: those without a result, and their orders.
        public var awaiting: [Int64: String] = [:]
        public var deadLetters = 0

        public init() {}
    }

    public var lots: [String: LotMarks] = [:]
    public var orders: [Int64: Order] = [:]
    public var visits: TextTable<Visit> = [:]
    public var reports: TextTable<Report> = [:]
    public var entities: TextTable<Entity> = [:]
    public var bills: TextTable<Bill> = [:]
    public var payments: TextTable<Payment> = [:]

    public init() {}
}

extension City {
    /// Reports that rules of many things rest on.
    static func isStructural(_ kind: String) -> Bool {
        kind == stageKind || kind == "tariff" || kind.hasPrefix("list") || kind == "share.auth.push"
    }

    /// Parts of ``undo(_:_:part:at:)``; nobody waits for more than one of them.
    public static func undoParts(_ touched: Touched) -> Range<Int> { 0..<(touched.orders.count / ordersInPart + 2) }

    private static let ordersInPart = 500

    /// Gives everything that refused decisions changed its durable value. Numbers that were given in vain are not given again.
    /// - Parameters:
    ///   - part: one of ``undoParts(_:)``, in order; the city may be used for nothing else before the last one is done, but what is not
    ///     touched may be read.
    ///   - serials: of the touched orders, in the order of the parts.
    public mutating func undo(_ touched: Touched, _ durable: DurableValues, serials: [Int64], part: Int, at now: Millis) {
        defer {
            freed.removeAll()
            refilled.removeAll()
        }
        guard part > 0 else { return undoShared(touched, durable, at: now) }
        let first = (part - 1) * City.ordersInPart
        for serial in serials.dropFirst(first).prefix(City.ordersInPart) {
            if let order = durable.orders[serial] {
                index(order, now: now)
            } else if let void = touched.orders[serial] {
                remove(order: serial, of: void.parkCode)
            }
        }
    }

    private mutating func undoShared(_ touched: Touched, _ durable: DurableValues, at now: Millis) {
        for (key, delta) in touched.counters { counters[ByteKey(key), default: 0] -= delta }
        for (account, fen) in touched.balances {
            let balance = balances[account, default: 0] - fen
            balances[account] = balance == 0 ? nil : balance
        }
        for (name, void) in touched.reports {
            let kind = ReportKind(parkCode: void.parkCode, kind: void.kind)
            if let report = durable.reports[name] {
                reports[kind, default: [:]][report.key] = report
            } else {
                reports[kind]?[void.key] = nil
            }
        }
        for key in touched.bills.keys { bills[key] = durable.bills[key] }
        for key in touched.payments.keys { payments[key] = durable.payments[key] }
        // First all that is void goes: two records may claim the same car.
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
                // What was looked at in vain is looked at again.
                lot.nextDeadline = min(lot.nextDeadline, now)
            }
        }
    }

    /// A visit was in memory if its car was inside, or had left lately; one more does no harm.
    private mutating func putBack(_ visit: Visit) {
        guard lots.contains(visit.parkCode) else { return }
        lots[visit.parkCode]!.visits[visit.recordNo] = visit
        guard visit.leaveTime == nil else { return }
        lots[visit.parkCode]!.inside[visit.insideKey] = visit.recordNo
        noteInside(visit.insideKey, visit.parkCode, isInside: true)
    }
}
