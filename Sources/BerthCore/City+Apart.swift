// A lot by itself: for answers that take long, and for a down log that begins anew.
extension City {
    /// The city with one lot in it and what that lot's bookings depend on: for answers that take long, computed without the city's lock.
    /// - Parameter day: the civil day that is asked about.
    public func alone(_ parkCode: String, day: Int64) -> City? {
        guard lots.contains(parkCode) else { return nil }
        var city = City(policy: policy, newEpoch: newEpoch, reviewsLots: reviewsLots, calendar: calendar)
        city.lots[parkCode] = lots[parkCode]
        guard !flows.isEmpty else { return city }
        for policy in flows(of: parkCode) {
            city.directory.keep(policy)
            if let area = areas[policy.areaId] { city.directory.keep(area) }
            for pool in policy.dailyQuotas.keys {
                let key = City.quotaKey(policy, day: day, pool: pool)
                city.claims.set(counted(key), of: ByteKey(key))
            }
        }
        return city
    }

    /// The first entry of the new epoch tells the lot to take a snapshot; the reservations in force follow for lots that take none.
    mutating func renewDown(_ parkCode: String, epoch: String, at now: Millis) -> Decision {
        guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
        with(parkCode) {
            $0.downEpoch = epoch
            $0.downLast = 0
            $0.downAck = 0
            $0.awaiting = [:]
        }
        var events: [Event] = []
        append(.relay(service: "config.push", body: "{}"), to: parkCode, about: "", at: now, &events)
        for reservation in lots[known: parkCode].inForce where reservation.status == .held || reservation.status == .booked {
            guard reservation.deliver != .notNeeded else { continue }
            var reservation = reservation
            send(LotMessage.reserve, of: &reservation, at: now, &events)
            update(reservation, at: now, &events)
        }
        return Decision(.done, events)
    }
}
