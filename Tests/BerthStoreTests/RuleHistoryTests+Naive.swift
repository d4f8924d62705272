import BerthCore
import BerthStore

// The naive reading of the rules: it looks at orders, subscriptions, appointments, penalties and payments as they stand after each step.
extension RuleHistoryTests {
    /// Who holds a place of a pool at a moment, by the orders alone.
    static func holders(_ street: Street, _ lot: String, _ pool: Pool, at time: Millis, except: String? = nil) -> Int {
        var count = 0
        for reservation in street.city.lots[lot]!.reservations.values
        where reservation.pool == pool && reservation.spaceNo == nil && reservation.orderNo != except {
            switch reservation.status {
            case .held, .booked: if reservation.enterStart <= time, time < reservation.expectedLeave { count += 1 }
            case .inLot:
                if min(reservation.enterStart, reservation.enterTime!) <= time, time < max(reservation.expectedLeave, street.now + 1) {
                    count += 1
                }
            default: break
            }
        }
        if pool == .shared {
            for subscription in street.city.lots[lot]!.subscriptions.values where subscription.status.holds && subscription.spaceNo == nil {
                let end = max(subscription.validTo, subscription.renewTo ?? 0)
                if !RecurringWindow.spans(
                    subscription.segments, from: max(time, subscription.validFrom), to: min(time + 1, end), street.city.calendar
                ).isEmpty {
                    count += 1
                }
            }
        }
        if pool == .publicService {
            for appointment in street.city.appointments.values where appointment.parkCode == lot && appointment.state == .made {
                let terms = appointment.terms!
                let from = appointment.appointTime - Millis(terms.beforeMin) * minute
                let until = appointment.appointTime + Millis(terms.afterMin) * minute
                if street.now < until, from <= time, time < until + Millis(terms.stayMin) * minute { count += 1 }
            }
        }
        return count
    }

    static func quota(_ street: Street, _ lot: String, _ pool: Pool, at time: Millis) -> Int {
        let named = street.city.flows(of: lot).last {
            $0.pools[pool.rawValue] != nil && $0.validFrom <= time && time < $0.validTo && ($0.saturationClose == nil || $0.isOn)
                && ($0.segments.isEmpty || $0.segments.contains { isIn($0, time) })
        }
        if let named { return named.pools[pool.rawValue]! }
        let quotas = street.city.lots[lot]!.profile!.quotas
        switch pool {
        case .personal: return quotas[.reservation]!
        case .shared: return quotas[.shared]!
        case .publicService: return quotas[.publicService]!
        case .rolling: return .max
        default: return 0
        }
    }

    /// Daily segments as a clock shows them.
    private static func isIn(_ segment: RecurringWindow, _ time: Millis) -> Bool {
        let minuteOfDay = Int((time + 8 * 60 * minute) % (1440 * minute) / minute)
        return segment.start <= minuteOfDay && minuteOfDay < segment.end
    }

    /// Accepting takes no instant over the quota: where an order holds more than before, no moment of it is beyond. What was over already
    /// (overstays, a lowered quota, a right that became an order) is not taken further.
    static func overQuota(_ number: String, _ street: Street, before: Street) -> String? {
        guard let reservation = street.reservation(number), reservation.status == .held || reservation.status == .booked,
            reservation.spaceNo == nil,
            reservation.pool != .rolling
        else { return nil }
        var time = max(street.now, reservation.enterStart)
        while time < reservation.expectedLeave {
            let held = holders(street, reservation.parkCode, reservation.pool, at: time)
            let quota = quota(street, reservation.parkCode, reservation.pool, at: time)
            if held > quota, held > holders(before, reservation.parkCode, reservation.pool, at: time) {
                return
                    "\(number) was accepted into \(reservation.pool.rawValue) with \(held) of \(quota) at +\((time - start) / minute) min"
            }
            time += 5 * minute
        }
        return nil
    }

    /// A decision that charges somebody without evidence, or refuses him without saying why and until when.
    static func unfair(_ decision: Decision, _ street: Street, _ command: Command) throws -> String? {
        for case .entity(.penalty(let penalty)) in decision.events where penalty.kind == .noShow && penalty.state == .inForce {
            guard let reservation = street.reservation(penalty.orderNo) else { return "\(penalty.penaltyId): no order" }
            if street.city.lots[reservation.parkCode]!.passedThrough < reservation.enterEnd {
                return "\(penalty.penaltyId) was judged before the log had passed"
            }
            let came = try street.seen.contains { sight in
                try sight.lot == reservation.parkCode && reservation.speaks(for: sight.plate) && reservation.enterStart <= sight.at
                    && sight.at <= reservation.enterEnd
                    && (street.store.visit(parkCode: sight.lot, recordNo: sight.record))?.orderNo.map { $0 == reservation.orderNo } ?? true
            }
            if came { return "\(penalty.penaltyId): the car had been seen" }
        }
        guard let refusal = decision.outcome.refusal else { return nil }
        switch command {
        case .create, .modify, .cancel, .delay, .subscribeShare, .pay: break
        default: return nil
        }
        switch refusal {
        // What was asked for does not exist, or came twice: there is no rule behind it.
        case .orderNotFound, .notFound, .keyReused, .lotNotRegistered: return nil
        case .dailyLimit, .cancelLimit, .noShowBan, .yearlyBlacklist, .notOpenYet, .breachNeedsConfirm, .overlappingBooking,
            .waitlistClosed:
            guard decision.note?.until != nil else { return "\(refusal) does not say until when" }
        case .noBookableSpace, .poolEmpty, .saturated, .publicQuotaUsedUp:
            if case .create = command, decision.note?.max == nil, decision.note?.until == nil { return "\(refusal) names no counter" }
        default: break
        }
        return decision.note == nil ? "\(refusal) names no rule" : nil
    }

    /// Why a pool may hold more than its quota: a car beyond its time or let in before it, a no-show that was disproved, a quota that was lowered.
    static func hasCause(_ street: Street, _ lot: Lot, _ pool: Pool) -> Bool {
        if (street.highest["\(lot.parkCode)|\(pool.rawValue)"] ?? 0) > quota(street, lot.parkCode, pool, at: street.now) { return true }
        return lot.reservations.values.contains {
            $0.pool == pool && $0.status == .inLot
                && ($0.expectedLeave <= street.now || ($0.enterTime! < $0.enterStart && street.now < $0.enterStart)
                    || street.city.penalties["\($0.orderNo)-N"]?.state == .undone || $0.isDisputed)
        }
    }

    /// What must hold after every step; nil when it does.
    static func fault(_ street: Street, _ tally: inout Tally) -> String? {
        let city = street.city
        if let fault = street.acceptFault { return fault }
        for lot in city.lots.values {
            // No space for two: neither promised nor used.
            var spans: [String: [(String, Millis, Millis)]] = [:]
            var standing: [String: [String]] = [:]
            for reservation in lot.reservations.values where reservation.spaceNo != nil {
                if reservation.status == .inLot { standing[reservation.spaceNo!, default: []].append(reservation.orderNo) }
                if reservation.status == .held || reservation.status == .booked {
                    spans[reservation.spaceNo!, default: []].append(
                        (reservation.orderNo, reservation.enterStart, reservation.expectedLeave))
                }
                if reservation.status == .inLot, reservation.expectedLeave > street.now {
                    spans[reservation.spaceNo!, default: []].append(
                        (reservation.orderNo, reservation.enterTime!, reservation.expectedLeave))
                }
            }
            for subscription in lot.subscriptions.values where subscription.status.holds && subscription.spaceNo != nil {
                if subscription.insidePlate != nil { standing[subscription.spaceNo!, default: []].append(subscription.authNo) }
                let end = max(subscription.validTo, subscription.renewTo ?? 0)
                for span in RecurringWindow.spans(
                    subscription.segments, from: max(street.now, subscription.validFrom), to: min(end, street.now + 2 * 1440 * minute),
                    city.calendar)
                {
                    spans[subscription.spaceNo!, default: []].append((subscription.authNo, span.from, span.to))
                }
            }
            for (space, list) in spans {
                for (index, one) in list.enumerated() {
                    for two in list.dropFirst(index + 1) where one.0 != two.0 && one.1 < two.2 && two.1 < one.2 {
                        // A late record may disprove a no-show whose space a subscription got since; its car has to wait.
                        let isDisproved = [one.0, two.0].contains {
                            city.penalties["\($0)-N"]?.state == .undone && lot.reservations[$0]?.status == .inLot
                        }
                        if isDisproved, [one.0, two.0].contains(where: { $0.hasPrefix("SA") }) { continue }
                        return "\(space) of \(lot.parkCode) is promised to \(one.0) and \(two.0)"
                    }
                }
            }
            for (space, cars) in standing where cars.count > 1 { return "\(cars) stand in \(space) together" }
            for reservation in lot.reservations.values {
                if [.cancelled, .cancelledBreach, .rejected, .revoked, .noShow, .waitlisted, .waitlistFailed].contains(reservation.status),
                    reservation.enterTime != nil, reservation.leaveTime == nil
                {
                    return "\(reservation.orderNo) is \(reservation.status) and admitted"
                }
                if reservation.isPenalised != (city.penalties["\(reservation.orderNo)-N"]?.state == .inForce) {
                    return "\(reservation.orderNo): a penalty without its order"
                }
                if reservation.status == .noShow, !reservation.isPenalised, !reservation.isDisputed,
                    city.penalties["\(reservation.orderNo)-N"] == nil
                {
                    return "a no-show without a penalty"
                }
            }
            for visit in lot.visits.values {
                guard let number = visit.orderNo, let reservation = lot.reservations[number] else { continue }
                if ![.inLot, .done].contains(reservation.status) { return "\(number) is \(reservation.status), and a car came in on it" }
            }
            for pool in [Pool.personal, .shared, .publicService] {
                let over = holders(street, lot.parkCode, pool, at: street.now) - quota(street, lot.parkCode, pool, at: street.now)
                if over > 0 {
                    tally.excesses += 1
                    if !hasCause(street, lot, pool) {
                        let who = lot.reservations.values.filter { $0.pool == pool && ($0.status == .inLot || $0.status.isActive) }.map {
                            "\($0.orderNo) \($0.status) \(($0.enterStart - start) / minute)..\(($0.expectedLeave - start) / minute) in \($0.enterTime.map { ($0 - start) / minute } ?? -1) space \($0.spaceNo ?? "-")"
                        }
                        let shares = lot.subscriptions.values.filter { $0.status.holds && $0.spaceNo == nil }.map {
                            "\($0.authNo) \($0.status) from \(($0.validFrom - start) / minute) to \(($0.validTo - start) / minute) renew \($0.renewTo.map { ($0 - start) / minute } ?? -1)"
                        }
                        return
                            "an excess of \(over) in \(pool.rawValue) of \(lot.parkCode) has no cause at +\((street.now - start) / minute): \(who) \(shares)"
                    }
                    var lot = lot
                    lot.advance(to: street.now)
                    if lot.excess(pool, at: street.now) < over { return "an excess of \(over) in \(pool.rawValue) is hidden" }
                }
            }
        }
        // Every penalty has evidence, counts once, and is undone with it.
        var counted: [String: Int] = [:]
        for penalty in city.penalties.values {
            if penalty.evidence.isEmpty { return "\(penalty.penaltyId) has no evidence" }
            guard penalty.state == .inForce else { continue }
            counted["\(penalty.userToken) \(penalty.kind.rawValue)", default: 0] += 1
            if penalty.kind == .noShow, street.reservation(penalty.orderNo)?.status != .noShow {
                return "\(penalty.penaltyId) stands, but its order does not"
            }
        }
        for user in ["u0", "u1", "u2", "u3"] {
            let rows = city.standing(appId: "app1", userToken: user, at: street.now)
            let shows = rows.filter { $0.name == "noShowMaxPerMonth" }.reduce(0) { $0 + $1.used }
            let strikes = rows.filter { $0.name == "shareLateStrikes" }.reduce(0) { $0 + $1.used }
            if shows != counted["\(user) noShow"] ?? 0 {
                return "\(user) has \(shows) no-shows counted, \(counted["\(user) noShow"] ?? 0) on record"
            }
            if strikes != counted["\(user) lateDeparture"] ?? 0 { return "\(user) has \(strikes) strikes counted" }
        }
        // The ledger.
        if city.ledgerSum != 0 { return "the ledger is out by \(city.ledgerSum)" }
        if city.balances[.provider("app1"), default: 0] != street.collected {
            return "the provider owes \(city.balances[.provider("app1"), default: 0]), but has \(street.collected)"
        }
        return nil
    }
}
