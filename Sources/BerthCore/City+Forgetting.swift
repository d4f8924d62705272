// The city drops ended things from memory lot by lot. Tables that belong to no lot are swept in parts, so that each step is short.
extension City {
    /// Drops from memory what ended before `time`.
    public mutating func forget(endedBefore time: Millis) {
        for parkCode in Array(lots.keys) { forget(parkCode, endedBefore: time) }
        for part in City.sharedParts { forgetShared(part, endedBefore: time) }
    }

    /// Drops ended things of one lot.
    public mutating func forget(_ parkCode: String, endedBefore time: Millis) {
        guard lots.contains(parkCode) else { return }
        for reservation in lots[known: parkCode].reservations.values where !reservation.status.isOpen && reservation.changedAt < time {
            lots[known: parkCode].reservations.remove(reservation)
            forget(reservation)
        }
        lots[known: parkCode].forget(endedBefore: time)
        let over = time - City.entityMillis
        if lots[known: parkCode].offers.contains(where: { City.isOver(.offer($0.value), at: over) }) {
            lots[known: parkCode].offers = lots[known: parkCode].offers.filter { !City.isOver(.offer($0.value), at: over) }
        }
        if lots[known: parkCode].subscriptions.contains(where: { City.isOver(.subscription($0.value), at: over) }) {
            lots[known: parkCode].subscriptions = lots[known: parkCode].subscriptions.filter {
                !City.isOver(.subscription($0.value), at: over)
            }
        }
        guard isNewDay(time) else { return }
        for subscription in lots[known: parkCode].subscriptions.values
        where subscription.status.holds && subscription.validTo > time + City.heldDays * CivilTime.dayLength {
            holdTimes(of: subscription, now: time)
        }
    }

    /// The parts of the tables that belong to no lot; they come after the lots, all of them and in order.
    public static let sharedParts = 0..<(SharedPart.allCases.count + CounterTable.shardCount + 1)

    private enum SharedPart: Int, CaseIterable { case bills, keys, appointments, penalties, appeals, cases, flows, payments, people }

    /// One part of ``sharedParts``.
    public mutating func forgetShared(_ part: Int, endedBefore time: Millis) {
        let over = time - City.entityMillis
        // Penalties count for a year and can be undone for as long as records are taken.
        let yearly = over - (City.recordDaysMax - 5) * CivilTime.dayLength
        switch SharedPart(rawValue: part) {
        case .bills: money.forgetBills(expiredBefore: time)
        case .keys:
            records.forget(RecordKind(parkCode: "", kind: City.onceKind), before: time - City.onceMillis)
        case .appointments:
            appointmentTable.forget { City.isOver(.appointment($0), at: over) }
        case .penalties: penaltyBook.forgetPenalties(madeBefore: yearly)
        case .appeals: penaltyBook.forgetAppeals(madeBefore: yearly)
        case .cases: caseBook.forget { City.isOver(.gateCase($0), at: over) }
        case .flows: directory.forgetFlows { City.isOver(.flow($0), at: over) }
        case .payments:
            let deposits = Set(payments.values.filter { isDeposit($0) }.map { ByteKey($0.key) })
            money.forgetPayments(madeBefore: time) { deposits.contains(ByteKey($0.key)) }
        case .people: accounts.forget(endedBefore: time)
        case nil:
            // Periods of counters are days and longer: they are looked at once a day.
            let shard = part - SharedPart.allCases.count
            if shard == CounterTable.shardCount {
                heldDay = CivilTime.day(of: time)
            } else if isNewDay(time) {
                claims.forget(shard: shard) { City.isPast(counter: $0, at: time) }
            }
        }
    }

    private static let entityMillis = 40 * CivilTime.dayLength

    private static func isOver(_ entity: Entity, at time: Millis) -> Bool { entity.place.endsAt.map { $0 < time } ?? false }

    private func isNewDay(_ time: Millis) -> Bool { CivilTime.day(of: time) != heldDay }

    /// Whether a payment is the deposit of a reservation that is in memory.
    private func isDeposit(_ payment: Payment) -> Bool {
        guard let reservation = payment.subject.flatMap({ known($0) }) else { return false }
        return reservation.prepayNo == payment.payNo && reservation.appId == payment.appId
    }

    /// Whether a counter's period is long over. The second letter of its key says the period: d for a day, m for a month,
    /// y for a year; those of months and years are kept longer, since appeals undo them.
    public static func isPast(counter key: String, at time: Millis) -> Bool {
        let parts = key.split(separator: "|", maxSplits: 2)
        guard parts.count == 3, let period = Int64(parts[1]) else { return false }
        return switch parts[0].last {
        case "d": period < CivilTime.day(of: time) - 40
        case "m": period < Int64(CivilTime.month(of: time)) - 13
        case "y": period < Int64(CivilTime.year(of: time)) - 2
        default: false
        }
    }
}
