// The deadlines of a lot.
extension Lot {
    /// The time at which a reservation falls due by time alone; nil when it does not.
    static func deadline(of reservation: Reservation) -> Millis? {
        switch reservation.status {
        case .held: return reservation.holdDeadline
        case .booked: return reservation.enterEnd
        case .inLot:
            guard let deadline = reservation.leaveDeadline else { return nil }
            if !reservation.isWarned, reservation.purpose == .shared { return deadline - reservation.terms.warnMillis }
            if !reservation.overstay { return deadline }
            return reservation.isLate || reservation.purpose != .shared
                ? nil : deadline + Millis(reservation.terms.graceMin) * CivilTime.minute
        case .waitlisted: return reservation.holdDeadline
        default: return nil
        }
    }

    mutating func noteDeadline(of reservation: Reservation) {
        if let deadline = Lot.deadline(of: reservation) { nextDeadline = min(nextDeadline, deadline) }
        // The individual space of a reservation is looked at before its window, because another car may still be in it.
        if reservation.spaceNo != nil, reservation.status == .booked { noteDeadline(at: look(before: reservation)) }
    }

    func look(before reservation: Reservation) -> Millis {
        reservation.enterStart - Millis(policy(.shared).rehomeLeadMin) * CivilTime.minute
    }

    mutating func noteDeadline(at time: Millis) { nextDeadline = min(nextDeadline, time) }

    static func deadline(of subscription: SharedSubscription) -> Millis? {
        var times: [Millis] = []
        if let hold = subscription.holdDeadline { times.append(hold) }
        if let leaveBy = subscription.leaveBy, !subscription.isLate {
            if subscription.warnedFor != leaveBy { times.append(leaveBy - subscription.warnMillis) }
            // At the time to leave, the next holder of the place may have to be re-homed.
            times.append(leaveBy)
            times.append(leaveBy + Millis(subscription.graceMin) * CivilTime.minute)
        }
        if subscription.status == .active { times.append(subscription.validTo) }
        return times.min()
    }

    mutating func noteDeadline(of subscription: SharedSubscription) {
        if let deadline = Lot.deadline(of: subscription) { noteDeadline(at: deadline) }
    }
}
