// A city is restored from the store: first the lots, then the things of each lot, then the values that follow from several parts.
extension City {
    public mutating func restore(
        registered parkCode: String, policy: Policy?, profile: LotProfile?, gates: [Gate], marks: LotMarks
    ) {
        var lot = Lot(parkCode: parkCode, policy: self.policy)
        lot.profile = profile
        lot.gates = TextTable(gates.map { ($0.gateCode, $0) })
        lot.remaining = marks.remaining
        lot.up = marks.up
        lot.downEpoch = marks.downEpoch
        lot.downLast = marks.downLast
        lot.downAck = marks.downAck
        lot.awaiting = marks.awaiting
        lots[parkCode] = lot
        if let profile { directory.put(parkCode, at: profile.position) }
        // An older release kept a whole policy with the lot: its differences become the lot's scope, in version 0.
        if let values = policy?.differences(from: Policy()), !values.isEmpty, overrides[.lot(parkCode)] == nil {
            let scope = PolicyScope.lot(parkCode)
            directory.keep(PolicyOverride(scope: scope.text, version: 0, at: 0, values: values))
        }
    }

    /// Computes the values that follow from several parts. Called after everything is restored.
    public mutating func finishRestoring(now: Millis) {
        // An older release did not keep the highest number: the clock was above it unless there was a rush.
        numbers.given(.notification, now)
        for parkCode in lots.keys { resolvePolicies(of: parkCode) }
        refreshPoolRules(Array(lots.keys))
        for policy in flows.values { noteClock(policy, at: now) }
        for lot in lots.values {
            for subscription in lot.subscriptions.values {
                if subscription.status.holds { holdTimes(of: subscription, now: now) }
                if subscription.insidePlate != nil { lots[known: lot.parkCode].occupy(subscription, now: now) }
            }
            for (plate, _) in lot.inside { claims.note(plate, inside: lot.parkCode, isInside: true) }
        }
        for (key, appointment) in appointments where appointment.state == .made { restoreRight(key, appointment, now: now) }
    }

    public mutating func restore(reservation: Reservation, now: Millis) {
        numbers.given(.reservation, reservation.serial)
        index(reservation, now: now)
    }

    public mutating func restore(visit: Visit) {
        lots[visit.parkCode]?.visits[visit.recordNo] = visit
        guard visit.leaveTime == nil else { return }
        lots[visit.parkCode]?.inside[visit.insideKey] = visit.recordNo
        if visit.orderNo == nil { lots[visit.parkCode]?.walkIns.append(visit.enterTime) }
    }

    public mutating func restore(entity: Entity) { place(entity) }
    public mutating func restore(balance fen: Int64, of account: Account) { money.set(fen, of: account) }
    public mutating func restore(counter key: String, count: Int) { claims.set(count, of: ByteKey(key)) }
    public mutating func restore(lastNotification: Int64) { numbers.given(.notification, lastNotification) }
    public var lastOrderSerial: Int64 { numbers.reservation }
    public mutating func restore(lastSerial: Int64) { numbers.given(.reservation, lastSerial) }
}
