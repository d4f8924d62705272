// Tariffs and fees of stays.

// Settlement: the party that bills, the fee, and the owners of the money.

/// A tariff as a lot reported it (U06): from when, for which business and class of vehicle.
public struct LotTariff: Sendable, Equatable {
    public var from: Millis
    /// 0 for every business.
    public var business: Int
    /// 0 for every class.
    public var vehicleClass: Int
    public var tariff: Tariff

    public init(from: Millis, business: Int, vehicleClass: Int, tariff: Tariff) {
        self.from = from
        self.business = business
        self.vehicleClass = vehicleClass
        self.tariff = tariff
    }
}

extension City {
    public mutating func restore(tariff: LotTariff, of parkCode: String) { set(tariff, of: parkCode) }

    mutating func set(_ tariff: LotTariff, of parkCode: String) {
        // A tariff that is reported again for a later time leaves the one in force until then.
        lots[parkCode]?.tariffs.removeAll { $0.tariff.tariffId == tariff.tariff.tariffId && $0.from == tariff.from }
        lots[parkCode]?.tariffs.append(tariff)
    }

    /// The tariff of a lot for a business and a class of vehicle at a time: the latest in force, the more exact one first.
    public func tariff(_ parkCode: String, _ purpose: Purpose, vehicleClass: Int = 0, at time: Millis) -> Tariff? {
        let rows = (lots[parkCode]?.tariffs ?? []).filter { $0.from <= time && ($0.business == 0 || $0.business == purpose.rawValue) }
        // An unknown class is charged by the tariff for all classes, else as a small car.
        let general = rows.filter { $0.vehicleClass == 0 }
        let fitting =
            vehicleClass > 0
            ? rows.filter { $0.vehicleClass == 0 || $0.vehicleClass == vehicleClass }
            : !general.isEmpty ? general : rows.filter { $0.vehicleClass == rows.map(\.vehicleClass).min() }
        return fitting.max {
            ($0.business == 0 ? 0 : 1, $0.vehicleClass == 0 ? 0 : 1, $0.from) < (
                $1.business == 0 ? 0 : 1, $1.vehicleClass == 0 ? 0 : 1, $1.from
            )
        }?.tariff
    }

    /// The tariff of a reservation where the city bills: its offer's price at the time of booking, else the lot's tariff.
    func sessionTariff(of reservation: Reservation, vehicleClass: Int = 0, at time: Millis) -> Tariff? {
        if let price = reservation.terms.price, price.mode != .month {
            return Tariff(price: price, overtimePercent: reservation.terms.overtimePercent)
        }
        var tariff = tariff(reservation.parkCode, reservation.purpose, vehicleClass: vehicleClass, at: time)
        // The lot's own multiplier counts, else the one under which the reservation was made.
        if tariff?.overtimePercent == 100 { tariff?.overtimePercent = reservation.terms.overtimePercent }
        return tariff
    }

    /// The price of a stay of the usual length from the start of a slot, fen; nil where none is known.
    public func slotPrice(_ parkCode: String, _ purpose: Purpose, _ slot: Lot.Slot) -> Int64? {
        guard let lot = lots[parkCode] else { return nil }
        let policy = lot.policy(purpose)
        if purpose == .shared {
            let offers = lot.offers.values.filter { $0.isBookable && $0.validFrom <= slot.start && slot.start < $0.validTo }
            if let price = offers.compactMap(\.price).filter({ $0.mode != .month }).min(by: { $0.fen < $1.fen }) { return price.fen }
        }
        let stay = Millis(purpose == .publicService ? policy.bizStayMin : policy.stayMin) * CivilTime.minute
        return tariff(parkCode, purpose, at: slot.start)?.fee(from: slot.start, to: slot.start + stay, calendar: calendar)
    }

    /// The fee that a car owes now where the city bills; nil where the lot bills.
    public func sessionFee(_ parkCode: String, recordNo: String, at now: Millis, past: Past) -> SessionFee? {
        guard let visit = visit(parkCode, recordNo, past: past), !visit.isVoid, let number = visit.orderNo,
            let stay = sharedStay(parkCode, recordNo, past: past)
        else { return nil }
        var left = visit.leaveTime ?? now
        // A driver who has paid gets time to drive out: within it the fee ends at the payment.
        let buffer = Millis(lots[parkCode]?.profile?.leaveBufferMin ?? 0) * CivilTime.minute
        if let paidAt = visit.paidAt, visit.paidFen > 0, paidAt < left, left <= paidAt + buffer { left = paidAt }
        /// The start of overtime: the deadline for a car that stays beyond the grace, nil for any other car.
        func overtime(from deadline: Millis?, graceMin: Int) -> Millis? {
            deadline.flatMap { left > $0 + Millis(graceMin) * CivilTime.minute ? $0 : nil }
        }
        var fee = SessionFee(visit: visit, orderNo: number, totalFen: 0, discountFen: 0, paidFen: visit.paidFen)
        switch stay {
        case .reservation(let reservation):
            // The tariff in force at the entry counts; where the lot had not reported one by then, the present one counts.
            let tariff =
                sessionTariff(of: reservation, vehicleClass: visit.vehicleClass, at: visit.enterTime)
                ?? sessionTariff(of: reservation, vehicleClass: visit.vehicleClass, at: now)
            let relief = Millis(reservation.terms.freeMin) * CivilTime.minute
            fee.totalFen =
                tariff?.fee(
                    from: visit.enterTime + relief, to: left,
                    deadline: overtime(from: reservation.leaveDeadline, graceMin: reservation.terms.graceMin),
                    calendar: calendar) ?? 0
            fee.discountFen = min(fee.totalFen, reservation.discountFen)
        case .subscription(let subscription):
            let percent = lots[parkCode]?.policy(.shared).overtimePercent ?? 100
            let leaveBy = timeToLeave(subscription, enteredAt: visit.enterTime)
            if let price = subscription.price, price.mode != .month {
                fee.totalFen = Tariff(price: price, overtimePercent: percent)
                    .fee(
                        from: visit.enterTime, to: left, deadline: overtime(from: leaveBy, graceMin: subscription.graceMin),
                        calendar: calendar)
            } else if left > leaveBy + Millis(subscription.graceMin) * CivilTime.minute,
                var tariff = tariff(parkCode, .shared, vehicleClass: visit.vehicleClass, at: visit.enterTime)
            {
                // A month is paid beforehand; a stay beyond the time to leave is charged by the lot's tariff.
                if tariff.overtimePercent == 100 { tariff.overtimePercent = percent }
                fee.totalFen = tariff.fee(from: leaveBy, to: left, deadline: leaveBy, calendar: calendar)
            }
        }
        return fee
    }

    /// Keeps a record's new value.
    mutating func keep(_ visit: Visit, _ events: inout [Event]) {
        with(visit.parkCode) { lot in if lot.visits[visit.recordNo] != nil || visit.leaveTime == nil { lot.visits[visit.recordNo] = visit }
        }
        events.append(.visit(visit))
    }
}
