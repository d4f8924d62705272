public import BerthCore
public import BerthWire
import Synchronization

/// The reference: the same behaviour as the durable stores, without durability. Kept as plain as it can be.
public final class MemoryStore: Store {
    private struct State {
        var journal: [Commit] = []
        var lots: [String: LotImage] = [:]
        var reservations: [Int64: Reservation] = [:]
        var serials: [String: Int64] = [:]
        var visits: [String: [String: Visit]] = [:]
        var down: [String: [(entry: DownEntry, isSettled: Bool)]] = [:]
        var up: [String: UpResult] = [:]
        var replies: [String: KeptReply] = [:]
        var counters: [String: (count: Int, max: Int)] = [:]
        var notices: [LotEvent] = []
        var reports: [String: KeptRecord] = [:]
        var bills: [String: Bill] = [:]
        var payments: [String: Payment] = [:]
        var ledger: [LedgerRow] = []
        var occupancy: [String: OccupancyDay] = [:]
        var credentials: [String: Credential] = [:]
        var audit: [AuditRecord] = []
        var pictures: [String: Picture] = [:]
        var dayCounts: [DayCount.Key: [String: Int64]] = [:]
        var countedThrough: Int64 = 0
        var lastNotification: Int64 = 0
    }

    private let state = Mutex(State())

    public init() {}

    @discardableResult public func commit(_ batch: [Commit]) throws(StoreError) -> Int64 {
        try state.withLock { (state) throws(StoreError) -> Int64 in
            // Whole or not at all: the only thing that can refuse is looked at before anything is changed.
            var counts: [String: Int] = [:]
            for case .counted(let key, let delta, let max) in batch.flatMap(\.events) {
                counts[key, default: state.counters[key]?.count ?? 0] += delta
                guard delta <= 0 || counts[key]! <= max else { throw .claimRefused(key) }
            }
            for commit in batch {
                if !commit.events.isEmpty { state.journal.append(Commit(at: commit.at, events: commit.events)) }
                for event in commit.events { MemoryStore.apply(event, to: &state) }
                for result in commit.up { state.up["\(result.parkCode)|\(result.epoch)|\(result.seq)"] = result }
                for dead in commit.mended { state.up["\(dead.parkCode)|\(dead.epoch)|\(dead.seq)"]?.isMended = true }
                if let reply = commit.reply { state.replies["\(reply.appId)|\(reply.requestId)"] = reply }
                if var record = commit.audit {
                    record.id = (state.audit.last?.id ?? 0) + 1
                    record.hash = record.hash(after: state.audit.last?.hash ?? "")
                    state.audit.append(record)
                }
            }
            return Int64(state.journal.count)
        }
    }

    private static func apply(_ event: Event, to state: inout State) {
        switch event {
        case .registered(let lot):
            if state.lots[lot] == nil { state.lots[lot] = LotImage(parkCode: lot) }
        case .policy(let lot, let policy): state.lots[lot]?.policy = policy
        case .lot(let profile): state.lots[profile.parkCode]?.profile = profile
        case .gates(let lot, let gates): state.lots[lot]?.gates = gates
        case .remaining(let lot, let remaining): state.lots[lot]?.marks.remaining = remaining
        case .reservation(let reservation):
            var reservation = reservation
            if reservation.deliver == .sent { reservation.deliver = .new }
            state.reservations[reservation.serial] = reservation
            state.serials[reservation.orderNo] = reservation.serial
        case .visit(let visit): state.visits[visit.parkCode, default: [:]][visit.recordNo] = visit
        case .notice(let notice): state.notices.append(notice)
        case .report(let report):
            if report.kind == ProviderNotification.kind { state.lastNotification = max(state.lastNotification, Int64(report.key) ?? 0) }
            state.reports["\(report.parkCode)|\(report.kind)|\(report.key)"] = report.isGone ? nil : report
        case .bill(let bill): state.bills[bill.key] = bill
        case .payment(let payment): state.payments[payment.key] = payment
        case .entity(let entity):
            let report = RowEncoding.row(entity)
            state.reports["\(report.parkCode)|\(report.kind)|\(report.key)"] = report
        case .posting(let posting):
            for leg in posting.legs {
                state.ledger.append(
                    LedgerRow(
                        id: Int64(state.ledger.count + 1), at: posting.at, kind: posting.kind.rawValue, reference: posting.reference,
                        account: leg.account.text, fen: leg.fen))
            }
        case .down(let entry):
            state.down[entry.parkCode, default: []].append((entry, false))
            if entry.seq == 1 {
                state.lots[entry.parkCode]?.marks.downAck = 0
                state.lots[entry.parkCode]?.marks.awaiting = [:]
            }
            state.lots[entry.parkCode]?.marks.downEpoch = entry.epoch
            state.lots[entry.parkCode]?.marks.downLast = entry.seq
            state.lots[entry.parkCode]?.marks.awaiting[entry.seq] = entry.message.orderNo
        case .downSettled(let lot, let epoch, let ackSeq, let results):
            let settled = Set(results.map(\.seq))
            for index in state.down[lot, default: []].indices
            where state.down[lot]![index].entry.epoch == epoch && settled.contains(state.down[lot]![index].entry.seq) {
                state.down[lot]![index].isSettled = true
            }
            for seq in settled { state.lots[lot]?.marks.awaiting[seq] = nil }
            state.lots[lot]?.marks.downAck = ackSeq
        case .upConsumed(let lot, let epoch, let seq): state.lots[lot]?.marks.up.consume(epoch: epoch, seq: seq)
        case .counted(let key, let delta, let max):
            var counter = state.counters[key] ?? (0, max)
            counter.count += delta
            if delta > 0 { counter.max = max }
            state.counters[key] = counter
        }
    }

    public func prepare(_ commit: Commit) {}

    public func save(_ credential: Credential) throws(StoreError) {
        state.withLock { $0.credentials[credential.appId] = credential }
    }

    public func save(_ picture: Picture) throws(StoreError) { state.withLock { $0.pictures[picture.imageId] = picture } }
    public func picture(_ imageId: String) -> Picture? { state.withLock { $0.pictures[imageId] } }

    public func removePictures(madeBefore: Millis, ticketsBefore: Millis) throws(StoreError) -> [String] {
        state.withLock { state in
            let gone = state.pictures.values.filter {
                $0.createdAt < madeBefore || ($0.completedAt == nil && $0.expireAt < ticketsBefore)
            }.map(\.imageId)
            for imageId in gone { state.pictures[imageId] = nil }
            return gone
        }
    }

    public func add(_ counts: [DayCount], through journalId: Int64) throws(StoreError) {
        state.withLock { state in
            for count in counts {
                for (name, value) in count.counts {
                    let before = state.dayCounts[count.key]?[name] ?? 0
                    state.dayCounts[count.key, default: [:]][name] = name.hasPrefix("peak") ? max(before, value) : before + value
                }
            }
            state.countedThrough = journalId
        }
    }

    public func counts(days: ClosedRange<Int64>, parkCode: String?, appId: String?) -> [DayCount] {
        state.withLock { state in
            state.dayCounts.filter { key, _ in
                days.contains(key.day) && (parkCode == nil || key.parkCode == parkCode) && (appId == nil || key.appId == appId)
            }.map { DayCount(key: $0, counts: $1) }
                .sorted { ($0.key.day, $0.key.parkCode, $0.key.appId) < ($1.key.day, $1.key.parkCode, $1.key.appId) }
        }
    }

    public func countedThrough() -> Int64 { state.withLock { $0.countedThrough } }

    public func prune(_ retention: Retention, now: Millis) throws(StoreError) {
        state.withLock { state in
            state.bills = state.bills.filter { $0.value.expireAt >= now - 86_400_000 }
            state.reports = state.reports.filter { $0.value.kind != City.onceKind || $0.value.at >= now - City.onceMillis }
            state.counters = state.counters.filter { !City.isPast(counter: $0.key, at: now) }
            state.replies = state.replies.filter { $0.value.at >= now - retention.repliesMillis }
            for (lot, rows) in state.down {
                let image = state.lots[lot]
                state.down[lot] = rows.filter {
                    !($0.isSettled && $0.entry.at < now - retention.downMillis
                        && ($0.entry.epoch != image?.marks.downEpoch || $0.entry.seq <= image?.marks.downAck ?? 0))
                }
            }
        }
    }

    public func retire(_ retention: Retention, now: Millis) throws(StoreError) {
        let records = now - retention.recordsMillis
        state.withLock { state in
            for reservation in state.reservations.values where !reservation.status.isOpen && reservation.changedAt < records {
                state.reservations[reservation.serial] = nil
                state.serials[reservation.orderNo] = nil
            }
            state.visits = state.visits.mapValues { $0.filter { ($0.value.leaveTime ?? .max) >= records } }
            state.up = state.up.filter { $0.value.at >= records }
            state.notices.removeAll { $0.occurredAt < records }
            state.payments = state.payments.filter { $0.value.state == .pending || ($0.value.payTime ?? .max) >= records }
            state.audit.removeAll { $0.at < now - retention.auditMillis }
        }
    }

    public func load(noncesSince: Millis) throws(StoreError) -> CityImage {
        state.withLock { state in
            var image = CityImage()
            image.lots = state.lots.values.sorted { $0.parkCode < $1.parkCode }
            image.activeOrders = state.reservations.values.filter { $0.status.isOpen }.sorted { $0.serial < $1.serial }
            image.openVisits = state.visits.values.flatMap { $0.values.filter { $0.leaveTime == nil } }
            let rows = state.reports.values.sorted { ($0.parkCode, $0.kind, $0.key) < ($1.parkCode, $1.kind, $1.key) }
            image.entities = rows.compactMap { try? RowEncoding.entity($0) }
            image.reports = rows.filter { !$0.kind.hasPrefix(RowEncoding.entityMark) }
            for row in state.ledger { if let account = Account(row.account) { image.balances[account, default: 0] += row.fen } }
            image.balances = image.balances.filter { $0.value != 0 }
            image.bills = Array(state.bills.values)
            let deposits = Set(
                image.activeOrders.compactMap { reservation in reservation.prepayNo.map { Payment.key(reservation.appId, "", $0) } })
            image.pendingPayments = state.payments.values.filter { $0.state == .pending || deposits.contains($0.key) }
            image.counters = state.counters.mapValues(\.count).filter { $0.value != 0 }
            image.lastSerial = state.reservations.keys.max() ?? 0
            image.lastNotification = state.lastNotification
            for index in image.lots.indices {
                let parkCode = image.lots[index].parkCode
                image.lots[index].marks.deadLetters = state.up.values.count { $0.parkCode == parkCode && $0.code != 0 && !$0.isMended }
            }
            image.credentials = state.credentials.values.sorted { $0.appId < $1.appId }
            image.nonces = state.replies.values.filter { $0.at >= noncesSince }.map { ($0.appId, $0.nonce, $0.at) }
            return image
        }
    }

    public func values(of touched: Touched) -> DurableValues {
        state.withLock { state in
            var values = DurableValues()
            for parkCode in touched.lots {
                guard var marks = state.lots[parkCode]?.marks else { continue }
                marks.awaiting = marks.awaiting.filter { touched.settled[parkCode]?.contains($0.key) == true }
                marks.deadLetters = state.up.values.count { $0.parkCode == parkCode && $0.code != 0 && !$0.isMended }
                values.lots[parkCode] = marks
            }
            for serial in touched.reservations.keys { values.reservations[serial] = state.reservations[serial] }
            for (name, visit) in touched.visits { values.visits[name] = state.visits[visit.parkCode]?[visit.recordNo] }
            for (name, report) in touched.reports { values.reports[name] = state.reports[name].flatMap { $0.key == report.key ? $0 : nil } }
            for (name, entity) in touched.entities {
                let row = RowEncoding.row(entity)
                values.entities[name] = state.reports["\(row.parkCode)|\(row.kind)|\(row.key)"].flatMap { try? RowEncoding.entity($0) }
            }
            for key in touched.bills.keys { values.bills[key] = state.bills[key] }
            for key in touched.payments.keys { values.payments[key] = state.payments[key] }
            return values
        }
    }

    public func reservation(_ orderNo: String) -> Reservation? { state.withLock { s in s.serials[orderNo].flatMap { s.reservations[$0] } } }

    public func reservation(appId: String, clientOrderNo: String) -> Reservation? {
        state.withLock { $0.reservations.values.first { $0.appId == appId && $0.clientOrderNo == clientOrderNo } }
    }

    public func knowsReservation(appId: String, clientOrderNo: String) -> Bool {
        reservation(appId: appId, clientOrderNo: clientOrderNo) != nil
    }

    public func payment(key: String) -> Payment? { state.withLock { $0.payments[key] } }
    public func visit(parkCode: String, recordNo: String) -> Visit? { state.withLock { $0.visits[parkCode]?[recordNo] } }

    public func reservations(_ filter: ReservationFilter) -> [Reservation] {
        state.withLock {
            Array($0.reservations.values.filter(filter.admits).sorted { $0.serial > $1.serial }.dropFirst(filter.skip).prefix(filter.limit))
        }
    }

    public func reply(key: Int64, appId: String, requestId: String) -> KeptReply? {
        state.withLock { $0.replies["\(appId)|\(requestId)"] }
    }

    public func knowsReply(key: Int64) -> Bool { state.withLock { $0.replies.values.contains { $0.key == key } } }

    public func up(parkCode: String, epoch: String, seq: Int64) -> UpResult? {
        state.withLock { $0.up["\(parkCode)|\(epoch)|\(seq)"] }
    }

    public func deadLetters(parkCode: String?, since: Millis, before: DeadLetterPlace?, limit: Int) -> [UpResult] {
        state.withLock {
            Array(
                $0.up.values.filter { row in
                    (parkCode == nil || row.parkCode == parkCode) && row.code != 0 && !row.isMended && row.at >= since
                        && (before.map { (row.at, row.seq, row.epoch) < ($0.at, $0.seq, $0.epoch) } ?? true)
                }.sorted { ($0.at, $0.parkCode, $0.seq, $0.epoch) > ($1.at, $1.parkCode, $1.seq, $1.epoch) }.prefix(limit))
        }
    }

    public func deadLetter(parkCode: String, recordNo: String) -> UpResult? {
        state.withLock {
            $0.up.values.filter { $0.parkCode == parkCode && $0.recordNo == recordNo && $0.code != 0 && !$0.isMended }
                .max { ($0.at, $0.seq) < ($1.at, $1.seq) }
        }
    }

    public func down(parkCode: String, epoch: String, after seq: Int64, limit: Int) -> [DownRow] {
        state.withLock {
            ($0.down[parkCode] ?? []).filter { $0.entry.epoch == epoch && $0.entry.seq > seq }.prefix(limit).map {
                let (service, data) = Encode.lotMessage($0.entry.message)
                return DownRow(
                    epoch: epoch, seq: $0.entry.seq, at: $0.entry.at, service: service, data: data.string)
            }
        }
    }

    public func notices(_ filter: LotEventFilter) -> [(id: Int64, notice: LotEvent)] {
        state.withLock { state in
            let all = state.notices.enumerated().map { (id: Int64($0.offset) + 1, notice: $0.element) }
            return Array(all.reversed().filter { $0.id < filter.before && filter.admits($0.notice) }.prefix(filter.limit))
        }
    }

    public func journal(after id: Int64, limit: Int) -> [(id: Int64, commit: Commit)] {
        state.withLock { state in
            state.journal.enumerated().dropFirst(Int(id)).prefix(limit).map { (Int64($0.offset) + 1, $0.element) }
        }
    }

    public func audit(matching filter: AuditFilter) -> [AuditRecord] {
        state.withLock { state in Array(state.audit.reversed().lazy.filter { filter.matches($0) }.prefix(filter.limit)) }
    }

    public func audit(after id: Int64, limit: Int) -> [AuditRecord] {
        state.withLock { Array($0.audit.filter { $0.id > id }.prefix(limit)) }
    }

    public func dump() -> [String] {
        state.withLock { state in
            var lines: [String] = []
            func text(_ json: JSON?) -> String { json?.string ?? "NULL" }
            func name(_ value: String?) -> String { value ?? "NULL" }
            let lots = state.lots.values.sorted { $0.parkCode < $1.parkCode }
            for lot in lots {
                let gates = lot.gates.isEmpty ? "NULL" : RowEncoding.encode(lot.gates).string
                lines.append(
                    "\(lot.parkCode)|\(text(lot.policy.map(RowEncoding.encode)))|\(text(lot.profile.map(RowEncoding.encode)))|\(gates)|\(text(lot.marks.remaining.map(RowEncoding.encode)))"
                )
            }
            for lot in lots where lot.marks.up.epoch != nil || lot.marks.downEpoch != nil {
                lines.append(
                    "\(lot.parkCode)|\(name(lot.marks.up.epoch))|\(lot.marks.up.ackSeq)|\(name(lot.marks.downEpoch))|\(lot.marks.downLast)|\(lot.marks.downAck)"
                )
            }
            for lot in lots { for epoch in lot.marks.up.closed.sorted() { lines.append("\(lot.parkCode)|\(epoch)") } }
            for reservation in state.reservations.values.sorted(by: { $0.serial < $1.serial }) {
                lines.append(
                    "\(reservation.serial)|\(reservation.parkCode)|\(reservation.appId)|\(Signature.digest64(reservation.appId, reservation.clientOrderNo))|\(reservation.status.rawValue)|\(RowEncoding.plain.text(reservation).string)"
                )
            }
            for lot in state.visits.keys.sorted() {
                for visit in state.visits[lot]!.values.sorted(by: { $0.recordNo < $1.recordNo }) {
                    lines.append(
                        "\(lot)|\(visit.recordNo)|\(visit.leaveTime == nil ? 1 : 0)|\(RowEncoding.plain.encode(visit).string)")
                }
            }
            for lot in state.down.keys.sorted() {
                let rows = state.down[lot]!.sorted { ($0.entry.epoch, $0.entry.seq) < ($1.entry.epoch, $1.entry.seq) }
                for (entry, isSettled) in rows {
                    let (service, data) = Encode.lotMessage(entry.message)
                    lines.append(
                        "\(lot)|\(entry.epoch)|\(entry.seq)|\(entry.at)|\(entry.message.orderNo)|\(service)|\(data.string)|\(isSettled ? 1 : 0)"
                    )
                }
            }
            lines += state.counters.filter { $0.value.count != 0 }.map { "\($0.key)|\($0.value.count)" }.sorted()
            for notice in state.notices {
                lines.append(
                    "\(notice.parkCode)|\(notice.eventType)|\(notice.occurredAt)|\(RowEncoding.encode(notice).string)")
            }
            lines += state.reports.values.map { "\($0.parkCode)|\($0.kind)|\($0.key)|\($0.at)|\($0.body)" }.sorted()
            for bill in state.bills.values.sorted(by: { $0.key < $1.key }) {
                lines.append("\(bill.key)|\(bill.expireAt)|\(RowEncoding.encode(bill).string)")
            }
            for payment in state.payments.values.sorted(by: { $0.key < $1.key }) {
                lines.append("\(payment.key)|\(payment.state.rawValue)|\(RowEncoding.encode(payment).string)")
            }
            for row in state.ledger { lines.append("\(row.at)|\(row.kind)|\(row.reference)|\(row.account)|\(row.fen)") }
            return lines
        }
    }

    public func count(occupancy: [OccupancyCount]) throws(StoreError) {
        state.withLock { state in
            for one in occupancy {
                let key = "\(one.parkCode)|\(one.day)"
                var day =
                    state.occupancy[key] ?? OccupancyDay(parkCode: one.parkCode, day: one.day, counts: Array(repeating: -1, count: 48))
                day.counts[one.slot] = one.count
                state.occupancy[key] = day
            }
            if let day = occupancy.map(\.day).max() { state.occupancy = state.occupancy.filter { $0.value.day >= day - 60 } }
        }
    }

    public func occupancy(days: ClosedRange<Int64>) -> [OccupancyDay] {
        state.withLock { state in
            state.occupancy.values.filter { days.contains($0.day) }.sorted { ($0.parkCode, $0.day) < ($1.parkCode, $1.day) }
        }
    }

    public func ledger(_ account: Account, from: Millis, to: Millis, limit: Int) -> (before: Int64, rows: [LedgerRow]) {
        state.withLock { state in
            let own = state.ledger.filter { $0.account == account.text }
            return (
                own.filter { $0.at < from }.reduce(0) { $0 + $1.fen },
                Array(own.filter { from <= $0.at && $0.at < to }.sorted { ($0.at, $0.id) < ($1.at, $1.id) }.prefix(limit))
            )
        }
    }

    public func visits(parkCode: String, leftFrom: Millis, to: Millis, limit: Int) -> [Visit] {
        state.withLock { state in
            Array(
                (state.visits[parkCode] ?? [:]).values.filter { $0.leaveTime.map { leftFrom <= $0 && $0 < to } ?? false }
                    .sorted { $0.recordNo < $1.recordNo }.prefix(limit))
        }
    }

    public func payments(parkCode: String, from: Millis, to: Millis, limit: Int) -> [Payment] {
        state.withLock { state in
            Array(
                state.payments.values.filter { $0.parkCode == parkCode && $0.payTime.map { from <= $0 && $0 < to } ?? false }
                    .sorted { $0.payNo < $1.payNo }.prefix(limit))
        }
    }
}
