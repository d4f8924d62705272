/// The whole city in memory, and the only place where it changes: a command goes in, a decision comes out, and the state is
/// already the one after it. Same city, same command, same time: same answer.
public struct City: Sendable {
    public internal(set) var lots: [String: Lot] = [:]
    public let policy: Policy
    /// Whether a lot is in service as soon as it describes itself, or when its checklist is passed (annex A).
    public let reviewsLots: Bool
    /// Providers that are told what changes (A17).
    public var listeners: Set<String> = []
    var lastTiding: Int64 = 0
    /// The lot of each order in memory.
    var lotOfOrder: [String: String] = [:]
    /// Orders in memory by the provider's own key.
    var clientOrders: [ClientKey: String] = [:]
    /// What one lot cannot see: bookings and cancels per user and plate.
    var counters: [String: Int] = [:]
    /// Intervals in which a plate has an active order, anywhere in the city.
    var plateSpans: [Plate: [Span]] = [:]
    var lastSerial: Int64 = 0
    var reports: [ReportKind: [String: Report]] = [:]
    var bills: [String: Bill] = [:]
    /// Payments of late; older ones are in the history.
    var payments: [String: Payment] = [:]
    /// Name of the epoch that a lot's down log gets at its first entry.
    let newEpoch: String

    struct ClientKey: Hashable, Sendable {
        var appId: String
        var clientOrderNo: String
    }

    struct Span: Sendable {
        var orderNo: String
        var from: Millis
        var to: Millis
    }

    public init(policy: Policy, newEpoch: String, reviewsLots: Bool = false) {
        self.policy = policy
        self.reviewsLots = reviewsLots
        self.newEpoch = newEpoch
    }

    // MARK: Coming up from the store

    public mutating func restore(
        registered parkCode: String, policy: Policy?, profile: LotProfile?, gates: [Gate], remaining: Remaining?,
        up: LogPosition, downEpoch: String?, downLast: Int64, downAck: Int64, awaiting: [Int64: String]
    ) {
        var lot = Lot(parkCode: parkCode, policy: policy ?? self.policy)
        lot.profile = profile
        lot.gates = Dictionary(uniqueKeysWithValues: gates.map { ($0.gateCode, $0) })
        lot.remaining = remaining
        lot.up = up
        lot.downEpoch = downEpoch
        lot.downLast = downLast
        lot.downAck = downAck
        lot.awaiting = awaiting
        lots[parkCode] = lot
    }

    public mutating func restore(order: Order, now: Millis) {
        lastSerial = max(lastSerial, order.serial)
        index(order, now: now)
    }

    public mutating func restore(visit: Visit) {
        lots[visit.parkCode]?.visits[visit.recordNo] = visit
        if visit.leaveTime == nil { lots[visit.parkCode]?.inside[visit.plate] = visit.recordNo }
    }

    public mutating func restore(counter key: String, count: Int) { counters[key] = count }
    public mutating func restore(lastSerial: Int64) { self.lastSerial = max(self.lastSerial, lastSerial) }

    // MARK: Deciding

    public mutating func decide(_ command: Command, at now: Millis, history: some History) -> Decision {
        switch command {
        case .register(let parkCode):
            guard lots[parkCode] == nil else { return Decision(.done) }
            lots[parkCode] = Lot(parkCode: parkCode, policy: policy)
            return Decision(.done, [.registered(parkCode: parkCode)])
        case .setPolicy(let parkCode, let policy):
            guard let lot = lots[parkCode] else { return Decision(.refused(.lotNotRegistered)) }
            var policy = policy
            // Intervals already held stand on the lot's calendar step.
            policy.calendarStepMin = lot.policy.calendarStepMin
            lots[parkCode]!.policy = policy
            return Decision(.done, [.policy(parkCode: parkCode, policy)])
        case .openLot(let profile, let info):
            guard lots[profile.parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            lots[profile.parkCode]!.profile = profile
            var events: [Event] = [.lot(profile)]
            if let info { keep(info, &events) }
            if reviewsLots, lots[profile.parkCode]!.stage == .applied {
                events += setStage(profile.parkCode, .testing, opened: [], at: now).events
            }
            return Decision(.done, events)
        case .reportGates(let parkCode, let upsert, let delete, let kept):
            guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            guard delete.allSatisfy({ lots[parkCode]!.gates[$0] != nil }) else { return Decision(.refused(.unknownGate)) }
            for gateCode in delete { lots[parkCode]!.gates[gateCode] = nil }
            for gate in upsert { lots[parkCode]!.gates[gate.gateCode] = gate }
            let gates = lots[parkCode]!.gates.values.sorted { $0.gateCode < $1.gateCode }
            var events: [Event] = [.gates(parkCode: parkCode, gates)]
            for report in kept { keep(report, &events) }
            return Decision(.done, events)
        case .reportRemaining(let parkCode, let remaining):
            guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            guard remaining.remain <= remaining.total else { return Decision(.refused(.countersInconsistent)) }
            // The latest wins; an older one changes nothing.
            if let old = lots[parkCode]!.remaining, old.reportedAt > remaining.reportedAt { return Decision(.done) }
            lots[parkCode]!.remaining = remaining
            return Decision(.done, [.remaining(parkCode: parkCode, remaining)])
        case .create(let booking): return create(booking, at: now, history: history)
        case .modify(let appId, let orderNo, let planTime, let plate, let plateColor):
            return modify(
                appId: appId, orderNo: orderNo, planTime: planTime, plate: plate, plateColor: plateColor, at: now,
                history: history)
        case .cancel(let appId, let orderNo, let confirmBreach):
            return cancel(appId: appId, orderNo: orderNo, confirmBreach: confirmBreach, at: now, history: history)
        case .enter(let parkCode, let passage): return enter(parkCode, passage, at: now, history: history)
        case .exit(let parkCode, let passage): return exit(parkCode, passage, at: now, history: history)
        case .state(let parkCode, let orderNo, let orderVer, let statement, let occurred, let recordNo):
            return state(
                parkCode, orderNo: orderNo, orderVer: orderVer, statement, occurred: occurred, recordNo: recordNo,
                at: now, history: history)
        case .notice(let notice):
            guard lots[notice.parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            notePassed(notice.parkCode, through: notice.occurredAt)
            return Decision(.done, [.notice(notice)])
        case .settle(let parkCode, let epoch, let ackSeq, let results, let assumesRest):
            return settle(
                parkCode, epoch: epoch, ackSeq: ackSeq, results: results, assumesRest: assumesRest, at: now,
                history: history)
        case .file(let parkCode, let filed, let replaces, let knownBy, let notice):
            return file(parkCode, filed, replaces: replaces, at: now, knownBy: knownBy, notice: notice)
        case .post(let parkCode, let service, let body, let report):
            return post(parkCode, service: service, body: body, sets: report, at: now)
        case .correct(let parkCode, let recordNo, let correction):
            return correct(parkCode, recordNo: recordNo, correction, at: now, history: history)
        case .bind(let appId, let userToken, let plate, let body):
            return bind(appId: appId, userToken: userToken, plate: plate, body: body, at: now)
        case .subscribe(let appId, let parkCodes, let minSeconds):
            return subscribe(appId, parkCodes, minSeconds: minSeconds, at: now)
        case .setStage(let parkCode, let stage, let opened): return setStage(parkCode, stage, opened: opened, at: now)
        case .useOnce(let key): return useOnce(key, at: now)
        case .settleTiding(let tiding, let isDelivered): return settle(tiding, isDelivered: isDelivered)
        case .reviveTiding(let appId, let key): return revive(appId, key: key)
        case .nothing: return Decision(.done)
        case .delay(let appId, let orderNo): return delay(appId: appId, orderNo: orderNo, at: now, history: history)
        case .takeIn(let payment): return takeIn(payment, history: history)
        case .bill(let bill): return self.bill(bill)
        case .pay(let appId, let billNo, let payNo, let amountFen, let channel, let requestHash):
            return pay(
                appId: appId, billNo: billNo, payNo: payNo, amountFen: amountFen, channel: channel, requestHash: requestHash, at: now,
                history: history)
        case .conclude(let payNo, let isPaid, let message):
            return conclude(payNo, isPaid: isPaid, message: message, at: now)
        case .refund(let appId, let payNo, let refundNo, let amountFen, let message):
            return refund(
                appId: appId, payNo: payNo, refundNo: refundNo, amountFen: amountFen, message: message, at: now,
                history: history)
        case .expire(let parkCode): return expire(parkCode, at: now)
        }
    }

    /// Takes an entry of a lot's up log; the caller has asked ``LogPosition/admit(epoch:seq:)`` before.
    public mutating func consume(_ parkCode: String, epoch: String, seq: Int64) -> Event {
        lots[parkCode]!.up.consume(epoch: epoch, seq: seq)
        return .upConsumed(parkCode: parkCode, epoch: epoch, seq: seq)
    }

    /// The lot's log has passed `time`: by an entry that says when it happened, or by a heartbeat with an empty queue.
    public mutating func notePassed(_ parkCode: String, through time: Millis) {
        guard let lot = lots[parkCode], time > lot.passedThrough else { return }
        lots[parkCode]!.passedThrough = time
    }

    /// Asks that the lot's deadlines are looked at again, since new evidence may have come.
    public func isDue(_ parkCode: String, at now: Millis) -> Bool { lots[parkCode].map { $0.nextDeadline <= now } ?? false }

    /// `deliverStatus` 1: on its way. A hint that is not kept over a restart.
    public mutating func noteSent(_ parkCode: String, seq: Int64) {
        guard let orderNo = lots[parkCode]?.awaiting[seq], let order = lots[parkCode]?.orders[orderNo],
            order.downSeq == seq, order.deliver == .new
        else { return }
        lots[parkCode]!.orders[orderNo]!.deliver = .sent
    }

    /// Moves a lot's holds to the present; needed before its calendar is read.
    public mutating func advance(_ parkCode: String, to now: Millis) { lots[parkCode]?.advance(to: now) }

    /// Drops from memory what ended before `time`.
    public mutating func forget(endedBefore time: Millis) {
        for parkCode in lots.keys {
            let before = lots[parkCode]!.orders.filter { !$0.value.status.isActive && $0.value.changedAt < time }
            for (orderNo, order) in before {
                lotOfOrder[orderNo] = nil
                clientOrders[ClientKey(appId: order.appId, clientOrderNo: order.clientOrderNo)] = nil
            }
            lots[parkCode]!.forget(endedBefore: time)
        }
        bills = bills.filter { $0.value.expireAt >= time }
        let once = ReportKind(parkCode: "", kind: City.onceKind)
        reports[once] = reports[once]?.filter { $0.value.at >= time - City.onceMillis }
        payments = payments.filter { $0.value.state == .pending || ($0.value.payTime ?? 0) >= time }
        for key in counters.keys where City.isPast(counter: key, at: time) { counters[key] = nil }
    }

    /// Whether a counter's period is long over. The second letter of its key says the period: d for a day, m for a month
    /// (kept: few, and needed for appeals).
    public static func isPast(counter key: String, at time: Millis) -> Bool {
        let parts = key.split(separator: "|", maxSplits: 2)
        guard parts.count == 3, parts[0].last == "d", let day = Int64(parts[1]) else { return false }
        return day < CivilTime.day(of: time) - 40
    }

    // MARK: Looking up

    /// An order by number, from memory or from the past.
    public func order(_ orderNo: String, history: some History) -> Order? {
        if let parkCode = lotOfOrder[orderNo] { return lots[parkCode]?.orders[orderNo] }
        return history.order(orderNo)
    }

    public func order(appId: String, clientOrderNo: String, history: some History) -> Order? {
        if let orderNo = clientOrders[ClientKey(appId: appId, clientOrderNo: clientOrderNo)],
            let parkCode = lotOfOrder[orderNo]
        {
            return lots[parkCode]?.orders[orderNo]
        }
        return history.order(appId: appId, clientOrderNo: clientOrderNo)
    }

    func visit(_ parkCode: String, _ recordNo: String, history: some History) -> Visit? {
        lots[parkCode]?.visits[recordNo] ?? history.visit(parkCode: parkCode, recordNo: recordNo)
    }

    // MARK: Changing

    /// Puts an order's new value everywhere it is known, and its hold where its state says.
    mutating func index(_ order: Order, now: Millis) {
        guard lots[order.parkCode] != nil else { return }
        let old = lots[order.parkCode]!.orders[order.orderNo]
        lots[order.parkCode]!.orders[order.orderNo] = order
        lotOfOrder[order.orderNo] = order.parkCode
        clientOrders[ClientKey(appId: order.appId, clientOrderNo: order.clientOrderNo)] = order.orderNo
        let holdChanged =
            old == nil || old!.status != order.status || old!.planTime != order.planTime || old!.plate != order.plate
            || old!.leaveDeadline != order.leaveDeadline
        if holdChanged {
            lots[order.parkCode]!.rehold(order, now: now)
            if let old { removeSpan(old) }
            if order.status.isActive {
                plateSpans[order.plate, default: []].append(
                    Span(orderNo: order.orderNo, from: order.enterStart, to: order.expectedLeave))
            }
        }
        lots[order.parkCode]!.noteDeadline(of: order)
    }

    private mutating func removeSpan(_ order: Order) {
        plateSpans[order.plate]?.removeAll { $0.orderNo == order.orderNo }
        if plateSpans[order.plate]?.isEmpty == true { plateSpans[order.plate] = nil }
    }

    /// Whether the plate has another active order whose interval meets this one.
    func overlaps(_ plate: Plate, from: Millis, to: Millis, except orderNo: String?) -> Bool {
        plateSpans[plate]?.contains { $0.orderNo != orderNo && $0.from < to && from < $0.to } ?? false
    }

    mutating func update(_ order: Order, at now: Millis, _ events: inout [Event]) {
        var order = order
        order.changedAt = now
        let before = lots[order.parkCode]?.orders[order.orderNo]?.status
        index(order, now: now)
        events.append(.order(order))
        if before != order.status {
            tell(
                order.appId,
                .order(orderNo: order.orderNo, clientOrderNo: order.clientOrderNo, orderVer: order.orderVer, order.status),
                at: now, &events)
        }
    }

    mutating func count(_ key: String, by delta: Int, max: Int = Int(Int32.max), _ events: inout [Event]) {
        counters[key, default: 0] += delta
        events.append(.counted(key: key, delta: delta, max: max))
    }

    /// Appends a message to the lot's down log and notes in the order where it stands.
    mutating func send(_ message: LotMessage, for order: inout Order, at now: Millis, _ events: inout [Event]) {
        order.downSeq = lots[order.parkCode]!.downLast + 1
        order.deliver = .new
        var message = message
        // The message carries the order as it is from here on.
        switch message {
        case .reserve: message = .reserve(order)
        case .modify: message = .modify(order)
        case .cancel, .relay: break
        }
        append(message, to: order.parkCode, about: order.orderNo, at: now, &events)
    }

    mutating func append(
        _ message: LotMessage, to parkCode: String, about orderNo: String, at now: Millis, _ events: inout [Event]
    ) {
        if lots[parkCode]!.downEpoch == nil { lots[parkCode]!.downEpoch = newEpoch }
        lots[parkCode]!.downLast += 1
        let seq = lots[parkCode]!.downLast
        lots[parkCode]!.awaiting[seq] = orderNo
        events.append(
            .down(
                DownEntry(parkCode: parkCode, epoch: lots[parkCode]!.downEpoch!, seq: seq, at: now, message: message)))
    }

    mutating func with(_ parkCode: String, _ body: (inout Lot) -> Void) { body(&lots[parkCode]!) }
}
