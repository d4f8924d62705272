extension City {
    /// Everything that decides what the city answers next, in words and in a fixed order: two cities with the same summary decide the same.
    /// Hints that no decision rests on (what is on its way, levels that were told) are left out.
    package func summary(at now: Millis) -> [String] {
        var lines: [String] = []
        for lot in lots.values.sorted(by: { $0.parkCode < $1.parkCode }) {
            var lot = lot
            lot.advance(to: now)
            let code = lot.parkCode
            lines.append(
                "\(code) policy \(lot.policyVersion) \(Purpose.allCases.map { lot.policy($0).values.map(\.value).joined(separator: ",") })")
            lines.append(
                "\(code) \(lot.stage) \(lot.opened.map(\.rawValue).sorted()) \(String(describing: lot.profile?.group)) \(lot.downLast)/\(lot.downAck)"
            )
            for pool in Pool.allCases {
                let held = (0..<96).map { step -> Int in
                    let time = now + Millis(step * 15) * CivilTime.minute
                    return lot.peak(pool, from: time, to: time + 1, now: now)
                }
                let quotas = (0..<96).map { lot.quota(pool, at: now + Millis($0 * 15) * CivilTime.minute) }
                if held.contains(where: { $0 != 0 }) { lines.append("\(code) \(pool.rawValue) held \(held)") }
                if quotas.contains(where: { $0 != 0 }) { lines.append("\(code) \(pool.rawValue) quota \(quotas)") }
            }
            for (space, entries) in lot.spaces.entries.sorted(by: { $0.key < $1.key }) {
                let open = entries.filter { $0.span.to > now }.sorted { ($0.span.from, $0.holder) < ($1.span.from, $1.holder) }
                if !open.isEmpty { lines.append("\(code) \(space) \(open.map { "\($0.holder) \(max(now, $0.span.from))-\($0.span.to)" })") }
            }
            for reservation in lot.reservations.values.filter({ $0.status.isOpen }).sorted(by: { $0.serial < $1.serial }) {
                var reservation = reservation
                if reservation.deliver == .sent { reservation.deliver = .new }
                lines.append("\(reservation)")
            }
            lines += lot.offers.values.sorted { $0.offerId < $1.offerId }.map { "\($0)" }
            lines += lot.subscriptions.values.sorted { $0.authNo < $1.authNo }.map { "\($0)" }
            lines += lot.inside.sorted { $0.key.revealed < $1.key.revealed }.map { "\(code) inside \($0.key.revealed) \($0.value)" }
            lines += lot.occupancy.sorted { $0.key < $1.key }.map { "\($0.value)" }
        }
        lines += claims.counters.all.filter { $0.value != 0 }.map { "\($0.key.text) = \($0.value)" }.sorted()
        lines += claims.windows.sorted { $0.key.revealed < $1.key.revealed }.map { plate, spans in
            "\(plate.revealed) \(spans.map { "\($0.serial) \($0.from)-\($0.to)" }.sorted())"
        }
        lines += flows.values.sorted { ($0.areaId, $0.parkCode, $0.policyId) < ($1.areaId, $1.parkCode, $1.policyId) }.map { "\($0)" }
        lines += areas.values.sorted { $0.areaId < $1.areaId }.map { "\($0)" }
        lines += places.values.sorted { $0.placeCode < $1.placeCode }.map { "\($0)" }
        lines += appointments.sorted { $0.key < $1.key }.map { "\($0.value)" }
        lines += penalties.sorted { $0.key < $1.key }.map { "\($0.value)" }
        lines += appeals.sorted { $0.key < $1.key }.map { "\($0.value)" }
        lines += gateCases.sorted { $0.key < $1.key }.map { "\($0.value)" }
        lines += people.sorted { $0.key < $1.key }.map { "\($0.value)" }
        lines += accounts.codes.sorted { $0.key < $1.key }.map { "\($0.value)" }
        lines += balances.sorted { $0.key < $1.key }.map { "\($0.key.text) = \($0.value)" }
        lines += claims.waitingOf.filter { $0.value != 0 }.sorted { $0.key < $1.key }.map { "waiting \($0.key) \($0.value)" }
        lines += appointmentTable.rightless.sorted { $0.key < $1.key }.compactMap { parkCode, keys in
            let open = keys.map(\.text).filter { (appointments[$0]?.appointTime ?? 0) > now }.sorted()
            return open.isEmpty ? nil : "without \(parkCode) \(open)"
        }
        lines.append("serial \(numbers.reservation) share \(numbers.share) policy \(numbers.policyVersion)")
        return lines
    }
}
