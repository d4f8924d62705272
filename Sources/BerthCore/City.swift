/// The whole city in memory, and the only place where it changes: a command goes in, a decision comes out, and the state is
/// already the one after it. Same city, same command, same time: same answer.
public struct City: Sendable {
    public internal(set) var lots = LotTable()
    /// The values that the city's settings give; scopes are laid over them.
    public let policy: Policy
    /// Whether a lot is in service as soon as it describes itself, or when its checklist is passed (annex A).
    public let reviewsLots: Bool
    /// Providers that are told what changes (A17).
    public var listeners: Set<String> = []
    var lastNotification: Int64 = 0
    /// The day on which what is held "for ever" was held anew.
    var heldDay: Int64 = 0
    /// The lot of each order in memory, by serial number.
    private var lotOfSerial: [Int64: String] = [:]
    /// Orders in memory, their serial numbers by the provider's own key: by its hash, of which nobody outside knows the seed. Who finds one
    /// compares.
    private var clientOrders: [Int: Int64] = [:]
    /// What one lot cannot see: bookings and cancels per user and plate.
    var counters = CounterTable()
    /// Intervals in which a plate has an active order, anywhere in the city.
    var plateSpans: [Plate: [PlateWindow]] = [:]
    var lastSerial: Int64 = 0
    var reports: [RecordKind: TextTable<KeptRecord>] = [:]
    /// Plates on lists of lots (D07, D08).
    var lists: [RecordKind: [Plate: ListEntry]] = [:]
    /// By giver and number (``Bill/key``).
    var bills: TextTable<Bill> = [:]
    /// Payments of late, by giver and number (``Payment/key``); older ones are in the history.
    var payments: TextTable<Payment> = [:]
    /// Name of the epoch that a lot's down log gets at its first entry.
    let newEpoch: String
    /// Holidays and make-up workdays.
    public internal(set) var calendar: WorkCalendar
    /// What each scope sets now.
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
    /// The lot of each offer and subscription whose number the server gave; numbers that a lot or an operator gives are looked up in the lot.
    var lotOfShare: TextTable<String> = [:]
    /// What each account stands at, fen.
    public internal(set) var balances: [Account: Int64] = [:]
    var lastShare: Int64 = 0
    /// When the message that is being decided was sent; `.max` where nobody sent it.
    var sentAt: Millis = .max
    /// Waiting orders by user and by lot.
    var waitingOf: TextTable<Int> = [:]
    var waitingIn: [String: Int] = [:]
    /// Appointments that found no place in the reserved quota, by lot.
    var rightless: [String: Set<ByteKey>] = [:]
    /// Lots in which a place has become free in the present command, and lots whose count of cars has changed.
    var freed: Set<String> = []
    var refilled: Set<String> = []
    /// In which lots a plate is inside.
    var insideLots: [Plate: Set<String>] = [:]
    /// When event 7001 was raised last for a refused check, by plate: a car that waits is told of once a minute.
    var blackSeen: [Plate: Millis] = [:]
    /// Where the lots are, for the nearest ones.
    var points: [(parkCode: String, at: GeoPoint)] = []

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

    // MARK: Deciding

    /// - Parameter sentAt: when the lot sent the message that says it; its log has passed no later time by it (section 5.5).
    public mutating func decide(_ command: Command, at now: Millis, history: some History, sentAt: Millis = .max) -> Decision {
        self.sentAt = sentAt
        defer { self.sentAt = .max }
        var decision = carryOut(command, at: now, history: history)
        if !refilled.isEmpty { followSaturation(at: now, &decision.events) }
        if !freed.isEmpty { giveFreedPlaces(at: now, &decision.events) }
        // No refusal is without the rule that it comes from.
        if decision.note == nil, let rule = decision.outcome.refusal?.rule { decision.note = RuleNote(rule) }
        return decision
    }

    private mutating func carryOut(_ command: Command, at now: Millis, history: some History) -> Decision {
        switch command {
        case .register(let parkCode):
            guard lots[parkCode] == nil else { return Decision(.done) }
            lots[parkCode] = Lot(parkCode: parkCode, policy: policy)
            resolvePolicies(of: parkCode)
            return Decision(.done, [.registered(parkCode: parkCode)])
        case .setPolicy(let scope, let values): return setPolicy(scope, values, at: now)
        case .openLot(let profile, let info):
            guard lots[profile.parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            let before = lots[profile.parkCode]!.profile
            lots[profile.parkCode]!.profile = profile
            if before?.position != profile.position {
                points.removeAll { $0.parkCode == profile.parkCode }
                points.append((profile.parkCode, profile.position))
            }
            noteFreed(profile.parkCode)
            var events: [Event] = [.lot(profile)]
            if let before, let change = profile.capacityChange(since: before) {
                events.append(.notice(LotEvent(parkCode: profile.parkCode, eventType: 4006, occurredAt: now, detail: change)))
            }
            if before == nil || before!.group != profile.group || before!.lotType != profile.lotType {
                let told = GateRules(lots[profile.parkCode]!.policy)
                resolvePolicies(of: profile.parkCode)
                // A new lot's box begins with a snapshot.
                tellGateRules(profile.parkCode, since: before == nil ? GateRules() : told, inLog: before != nil, at: now, &events)
                if before != nil { tellLists(profile.parkCode, at: now, &events) }
            }
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
            var events: [Event] = []
            var remaining = remaining
            remaining.reportedAt = present(remaining.reportedAt, "reportTime", parkCode, at: now, &events)
            note(remaining, parkCode, at: now, &events)
            return Decision(.done, events)
        case .create(let booking):
            let promoted = promoteFirst(booking.parkCode, at: now)
            var decision = create(booking, at: now, history: history)
            if !promoted.isEmpty { decision.events = promoted + decision.events }
            return decision
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
        case .notice(var notice):
            guard lots[notice.parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            notePassed(notice.parkCode, through: notice.occurredAt, at: now)
            var events: [Event] = []
            notice.occurredAt = present(notice.occurredAt, "occurTime", notice.parkCode, at: now, &events)
            return Decision(.done, [.notice(notice)] + events)
        case .raise(let notice):
            guard notice.parkCode.isEmpty || lots[notice.parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            return Decision(.done, [.notice(notice)])
        case .dispute(let parkCode, let plate, let orderNo, let time, let recordNo):
            guard lots.contains(parkCode) else { return Decision(.refused(.lotNotRegistered)) }
            var events: [Event] = []
            dispute(parkCode, plate: plate, orderNo: orderNo, time: time, recordNo: recordNo, at: now, &events)
            return Decision(.done, events)
        case .settle(let parkCode, let epoch, let ackSeq, let results, let assumesRest):
            return settle(
                parkCode, epoch: epoch, ackSeq: ackSeq, results: results, assumesRest: assumesRest, at: now,
                history: history)
        case .file(let parkCode, let filed, let replaces, let knownBy, let notice, let tariff, let entries):
            let decision = file(parkCode, filed, replaces: replaces, at: now, knownBy: knownBy, notice: notice)
            guard case .filed = decision.outcome else { return decision }
            if let tariff { set(tariff, of: parkCode) }
            if let replaces, replaces.hasPrefix("list") { lists[RecordKind(parkCode: parkCode, kind: replaces)] = nil }
            for report in filed where report.kind.hasPrefix("list") {
                guard let plate = Plate(report.key) else { continue }
                lists[RecordKind(parkCode: parkCode, kind: report.kind), default: [:]][plate] = entries[report.key]
            }
            return decision
        case .post(let parkCode, let service, let body, let report):
            return post(parkCode, service: service, body: body, sets: report, at: now)
        case .renewDown(let parkCode, let epoch): return renewDown(parkCode, epoch: epoch, at: now)
        case .mend(let parkCode, let recordNo, let correction):
            return correct(parkCode, recordNo: recordNo, correction, mends: true, at: now, history: history)
        case .correct(let parkCode, let recordNo, let correction):
            return correct(parkCode, recordNo: recordNo, correction, at: now, history: history)
        case .bind(let appId, let userToken, let plate, let body):
            return bind(appId: appId, userToken: userToken, plate: plate, body: body, at: now)
        case .subscribe(let appId, let parkCodes, let minSeconds):
            return subscribe(appId, parkCodes, minSeconds: minSeconds, at: now)
        case .setStage(let parkCode, let stage, let opened): return setStage(parkCode, stage, opened: opened, at: now)
        case .useOnce(let key): return useOnce(key, at: now)
        case .settleNotification(let notification, let isDelivered): return settle(notification, isDelivered: isDelivered)
        case .reviveNotification(let appId, let key): return revive(appId, key: key)
        case .nothing: return Decision(.done)
        case .delay(let appId, let orderNo): return delay(appId: appId, orderNo: orderNo, at: now, history: history)
        case .takeIn(let payment):
            var decision = takeIn(payment, at: now, history: history)
            if case .paid(let taken, isRepeat: false) = decision.outcome,
                let orderNo = lots[taken.parkCode]?.visits[taken.recordNo]?.orderNo
            {
                settleStay(orderNo, taken.recordNo, taken.parkCode, at: now, history: history, &decision.events)
            }
            return decision
        case .bill(let bill): return self.bill(bill)
        case .pay(let appId, let parkCode, let billNo, let payNo, let amountFen, let channel, let requestHash):
            return pay(
                appId: appId, parkCode: parkCode, billNo: billNo, payNo: payNo, amountFen: amountFen, channel: channel,
                requestHash: requestHash, at: now,
                history: history)
        case .conclude(let appId, let payNo, let isPaid, let message):
            return conclude(appId, payNo, isPaid: isPaid, message: message, at: now, history: history)
        case .refund(let appId, let payNo, let refundNo, let amountFen, let message):
            return refund(
                appId: appId, payNo: payNo, refundNo: refundNo, amountFen: amountFen, message: message, at: now,
                history: history)
        case .expire(let parkCode): return expire(parkCode, at: now)
        case .leaveWaitlist(let appId, let orderNo): return leaveWaitlist(appId: appId, orderNo: orderNo, at: now, history: history)
        case .appeal(let appId, let penaltyId, let text, let images):
            return appeal(appId: appId, penaltyId: penaltyId, text: text, images: images, at: now)
        case .answerAppeal(let appealId, let isGranted, let answer):
            return answerAppeal(appealId, isGranted: isGranted, answer: answer, at: now, history: history)
        case .setCalendarDay(let day):
            var events: [Event] = []
            set(.calendarDay(day), &events)
            refreshPoolRules(Array(lots.keys))
            return Decision(.entity(.calendarDay(day)), events)
        case .publishOffer(let offer): return publish(offer, at: now)
        case .reviewOffer(let parkCode, let offerId, let isPassed, let remark):
            return review(parkCode, offerId: offerId, isPassed: isPassed, remark: remark, at: now)
        case .updateOffer(let appId, let offerId, let segments, let price, let isConfirmed):
            return updateOffer(appId: appId, offerId, segments: segments, price: price, isConfirmed: isConfirmed, at: now)
        case .closeOffer(let appId, let offerId, let isConfirmed):
            return closeOffer(appId: appId, offerId, isConfirmed: isConfirmed, at: now, history: history)
        case .reportOffers(let parkCode, let offers, let gone): return report(parkCode, offers, gone: gone, at: now, history: history)
        case .subscribeShare(let subscription, let months): return subscribe(subscription, months: months, at: now)
        case .endShare(let appId, let authNo): return endShare(appId: appId, authNo, at: now)
        case .renewShare(let appId, let authNo, let validTo): return renewShare(appId: appId, authNo, validTo: validTo, at: now)
        case .reviewShare(let parkCode, let authNo, let isPassed, let remark):
            return reviewShare(parkCode, authNo, isPassed: isPassed, remark: remark, at: now)
        case .withdrawIncome(let appId, let providerToken, let fen, let reference):
            return withdraw(appId: appId, providerToken: providerToken, fen: fen, reference: reference, at: now)
        case .setPlace(let place):
            guard place.parkCodes.allSatisfy({ lots[$0] != nil }) else { return Decision(.refused(.lotNotRegistered)) }
            var events: [Event] = []
            set(.place(place), &events)
            return Decision(.entity(.place(place)), events)
        case .makeAppointment(let appointment): return make(appointment, at: now)
        case .moveAppointment(let appId, let extNo, let time):
            return moveAppointment(appId: appId, extNo, to: time, at: now, history: history)
        case .cancelAppointment(let appId, let extNo): return cancelAppointment(appId: appId, extNo, at: now, history: history)
        case .setArea(let area): return setArea(area, at: now)
        case .setFlow(let policy): return setFlow(policy, at: now)
        case .pushFlow(let policy):
            var decision = setFlow(policy, at: now)
            if case .entity = decision.outcome, let lot = lots[policy.parkCode] {
                decision.outcome = .posted(epoch: lot.downEpoch ?? "", seq: lot.downLast)
            }
            return decision
        case .pushShare(let subscription): return push(subscription, at: now)
        case .revokeShare(let parkCode, let authNo, let authVer, let reason):
            return revokeShare(parkCode, authNo, authVer: authVer, reason: reason, at: now)
        case .setOccupancy(let profiles):
            var events: [Event] = []
            for profile in profiles where lots[profile.parkCode] != nil { set(.occupancy(profile), &events) }
            return Decision(.done, events)
        case .list(let scope, let service, let body, let kind, let plate, let entry, let kept, let isExempt):
            return list(scope, service: service, body: body, kind: kind, plate: plate, entry, kept: kept, isExempt: isExempt, at: now)
        case .check(let parkCode, let question): return check(parkCode, question, at: now)
        case .decideCase(let parkCode, let caseNo, let orderNo, let by):
            return decideCase(parkCode, caseNo, orderNo: orderNo, by: by, at: now)
        }
    }

    /// Takes an entry of a lot's up log; the caller has asked ``LogPosition/admit(epoch:seq:)`` before.
    public mutating func consume(_ parkCode: String, epoch: String, seq: Int64) -> Event {
        lots[parkCode]!.up.consume(epoch: epoch, seq: seq)
        return .upConsumed(parkCode: parkCode, epoch: epoch, seq: seq)
    }

    /// Asks that the lot's deadlines are looked at again, since new evidence may have come.
    public func isDue(_ parkCode: String, at now: Millis) -> Bool { lots[parkCode].map { $0.nextDeadline <= now } ?? false }

    /// `deliverStatus` 1: on its way. A hint that is not kept over a restart.
    public mutating func noteSent(_ parkCode: String, seq: Int64) {
        guard let orderNo = lots[parkCode]?.awaiting[seq], let reservation = lots[parkCode]?.reservations[orderNo],
            reservation.downSeq == seq, reservation.deliver == .new
        else { return }
        lots[parkCode]!.reservations.change(orderNo) { $0.deliver = .sent }
    }

    /// Moves a lot's holds to the present; needed before its calendar is read.
    public mutating func advance(_ parkCode: String, to now: Millis) { lots[parkCode]?.advance(to: now) }

    // MARK: Looking up

    /// An order by number, from memory or from the past.
    public func reservation(_ orderNo: String, history: some History) -> Reservation? {
        known(orderNo) ?? history.reservation(orderNo)
    }

    /// An order that is in memory.
    func known(_ orderNo: String) -> Reservation? {
        guard let serial = Reservation.serial(in: orderNo), let reservation = known(serial: serial), reservation.orderNo == orderNo else { return nil }
        return reservation
    }

    /// The lot of an order that is in memory.
    public func parkCode(ofOrder orderNo: String) -> String? { Reservation.serial(in: orderNo).flatMap { lotOfSerial[$0] } }

    private func known(serial: Int64) -> Reservation? { lotOfSerial[serial].flatMap { lots[$0]!.reservations[serial: serial] } }

    /// An order that has left its lot's memory is found there no more.
    mutating func forget(_ reservation: Reservation) {
        lotOfSerial[reservation.serial] = nil
        clientOrders[City.clientKey(reservation.appId, reservation.clientOrderNo)] = nil
    }

    private static func clientKey(_ appId: String, _ clientOrderNo: String) -> Int {
        var hasher = Hasher()
        ByteKey.feed(clientOrderNo, to: &hasher)
        ByteKey.feed(appId, to: &hasher)
        return hasher.finalize()
    }

    public func reservation(appId: String, clientOrderNo: String, history: some History) -> Reservation? {
        if let reservation = clientOrders[City.clientKey(appId, clientOrderNo)].flatMap(known(serial:)), reservation.appId == appId,
            reservation.clientOrderNo == clientOrderNo
        {
            return reservation
        }
        return history.reservation(appId: appId, clientOrderNo: clientOrderNo)
    }

    func visit(_ parkCode: String, _ recordNo: String, history: some History) -> Visit? {
        lots[parkCode]?.visits[recordNo] ?? history.visit(parkCode: parkCode, recordNo: recordNo)
    }

    // MARK: Changing

    /// Puts an order's new value everywhere it is known, and its hold where its state says.
    /// - Returns: what it was before.
    @discardableResult mutating func index(_ reservation: Reservation, now: Millis) -> Reservation? {
        guard lots.contains(reservation.parkCode) else { return nil }
        let old = lots[reservation.parkCode]!.reservations.put(reservation)
        if old == nil {
            lotOfSerial[reservation.serial] = reservation.parkCode
            clientOrders[City.clientKey(reservation.appId, reservation.clientOrderNo)] = reservation.serial
        }
        let holdChanged =
            old == nil || old!.status != reservation.status || old!.enterStart != reservation.enterStart || old!.plate != reservation.plate
            || old!.expectedLeave != reservation.expectedLeave || old!.spaceNo != reservation.spaceNo
        if holdChanged {
            if (old?.status == .waitlisted) != (reservation.status == .waitlisted) {
                countWaiting(reservation, by: reservation.status == .waitlisted ? 1 : -1)
            }
            with(reservation.parkCode) { lot in
                lot.rehold(reservation, now: now)
                lot.noteDeadline(of: reservation)
            }
            if let old {
                removeSpans(old)
                if old.status.isActive { noteFreed(reservation.parkCode) }
            }
            if reservation.status.isActive {
                for plate in reservation.plates {
                    plateSpans[plate, default: []].append(
                        PlateWindow(serial: reservation.serial, from: reservation.enterStart, to: reservation.expectedLeave))
                }
            }
        } else {
            lots[reservation.parkCode]!.noteDeadline(of: reservation)
        }
        return old
    }

    /// Takes an order out of what the city knows beyond its lot.
    mutating func clearTraces(of reservation: Reservation) {
        if reservation.status == .waitlisted { countWaiting(reservation, by: -1) }
        removeSpans(reservation)
    }

    private mutating func removeSpans(_ reservation: Reservation) {
        for plate in reservation.plates {
            plateSpans[plate]?.removeAll { $0.serial == reservation.serial }
            if plateSpans[plate]?.isEmpty == true { plateSpans[plate] = nil }
        }
    }

    private mutating func countWaiting(_ reservation: Reservation, by delta: Int) {
        let user = "\(reservation.appId)|\(reservation.userToken)"
        waitingOf[user, default: 0] += delta
        if waitingOf[user] == 0 { waitingOf[user] = nil }
        waitingIn[reservation.parkCode, default: 0] += delta
    }

    /// A place may have become free: who waits for one in this lot is looked at when the command is done.
    mutating func noteFreed(_ parkCode: String) {
        if waitingIn[parkCode, default: 0] > 0 || rightless[parkCode] != nil { freed.insert(parkCode) }
    }

    mutating func noteRefilled(_ parkCode: String) { refilled.insert(parkCode) }

    /// When the plate has another active order whose interval meets that of this one.
    func overlap(_ plate: Plate, with reservation: Reservation) -> PlateWindow? {
        plateSpans[plate]?.first { $0.serial != reservation.serial && $0.from < reservation.expectedLeave && reservation.enterStart < $0.to }
    }

    mutating func update(_ reservation: Reservation, at now: Millis, _ events: inout [Event]) {
        var reservation = reservation
        // One that has just been made says so already, and need not be copied.
        if reservation.changedAt != now { reservation.changedAt = now }
        let before = index(reservation, now: now)?.status
        events.append(.reservation(reservation))
        if before != reservation.status {
            tellOf(reservation, at: now, &events)
        }
    }

    func counted(_ key: String) -> Int { counters[ByteKey(key), default: 0] }

    /// `kind|period|part|…`
    static func counterKey(_ kind: String, _ period: Int64, _ parts: String...) -> String {
        var key = kind
        key.reserveCapacity(72)
        key += "|"
        key += String(period)
        for part in parts {
            key += "|"
            key += part
        }
        return key
    }

    mutating func count(_ key: String, by delta: Int, max: Int = Int(Int32.max), _ events: inout [Event]) {
        counters[ByteKey(key), default: 0] += delta
        events.append(.counted(key: key, delta: delta, max: max))
    }

    /// Appends a message to the lot's down log and notes in the order where it stands.
    mutating func send(_ message: LotMessage, for reservation: inout Reservation, at now: Millis, _ events: inout [Event]) {
        send({ _ in message }, of: &reservation, at: now, &events)
    }

    /// The same for a message that carries the order as it is from here on.
    mutating func send(_ message: (Reservation) -> LotMessage, of reservation: inout Reservation, at now: Millis, _ events: inout [Event]) {
        reservation.downSeq = lots[reservation.parkCode]!.downLast + 1
        reservation.deliver = .new
        reservation.pushedVer = reservation.orderVer
        append(message(reservation), to: reservation.parkCode, about: reservation.orderNo, at: now, &events)
    }

    mutating func append(
        _ message: LotMessage, to parkCode: String, about orderNo: String, at now: Millis, _ events: inout [Event]
    ) {
        let (epoch, seq) = next(parkCode, of: orderNo)
        events.append(.down(DownEntry(parkCode: parkCode, epoch: epoch, seq: seq, at: now, message: message)))
    }

    /// The next place of a lot's down log.
    private mutating func next(_ parkCode: String, of orderNo: String) -> (epoch: String, seq: Int64) {
        let newEpoch = newEpoch
        func take(_ lot: inout Lot) -> (String, Int64) {
            if lot.downEpoch == nil { lot.downEpoch = newEpoch }
            lot.downLast += 1
            lot.awaiting[lot.downLast] = orderNo
            return (lot.downEpoch ?? newEpoch, lot.downLast)
        }
        return take(&lots[parkCode]!)
    }

    mutating func with(_ parkCode: String, _ body: (inout Lot) -> Void) { body(&lots[parkCode]!) }
}
