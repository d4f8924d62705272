/// The reason for which a reservation ends without a stay. Each reason has one row of ``effects``, and that row alone decides the effects
/// of the ending (interface.md, section 6; decision 0007). docs/rules.md shows
/// the table to integrators, in the order of these cases.
package enum EndReason: String, CaseIterable, Sendable {
    /// The user cancels while that is free.
    case cancelled
    /// The user cancels too late, or more often than is free, and confirmed the breach.
    case cancelledLate
    /// The user leaves the waitlist, or the waitlist closes without a place.
    case leftWaitlist, waitlistClosed
    /// The deposit was not paid, or the lot did not answer, while the place was held.
    case holdRanOut
    /// The lot refuses the reservation when it gets it, or takes it back later.
    case refusedByLot, revokedByLot
    /// A flow policy closes the lot for the whole entry window.
    case closedByFlow
    /// The space is taken beyond its time, or its owner takes it back.
    case displaced
    /// The hall cancels the appointment, or moves it to a time at which there is no place.
    case appointmentCancelled, appointmentMoved
    /// The window is over and the log shows no entry: by the driver's fault, without it, or because the lot never had the reservation.
    case noShow, noShowExcused, neverDelivered

    /// The treatment of a deposit that was paid.
    package enum Deposit: Sendable {
        case returned
        /// It is the lot's, as a penalty.
        case kept
        /// There is none.
        case none
    }

    /// One row of the table.
    package struct Effects: Sendable {
        package var status: ReservationStatus
        /// The reservation counts no more against the day of its user and plates, nor against daily quotas.
        package var freesDay = true
        /// Its appointment can be used again.
        package var freesAppointment = true
        package var deposit = Deposit.returned
        package var penalty: Penalty.Kind?
        /// The message to the lot, if it has heard of the reservation.
        package var message: CancelType?
        /// The delivery state of the lot's latest message, where the ending itself sets it.
        package var deliver: DeliverStatus?
        /// The event that is raised (section 10).
        package var event: Int?
        /// The driver is owed compensation.
        package var isCompensated = false
    }

    package var effects: Effects {
        switch self {
        case .cancelled: Effects(status: .cancelled, message: .user)
        case .cancelledLate: Effects(status: .cancelledBreach, freesDay: false, deposit: .kept, penalty: .breach, message: .breach)
        case .leftWaitlist: Effects(status: .cancelled, freesDay: false, freesAppointment: false, deposit: .none)
        case .waitlistClosed: Effects(status: .waitlistFailed, freesDay: false, freesAppointment: false, deposit: .none)
        case .holdRanOut: Effects(status: .rejected, message: .server)
        case .refusedByLot: Effects(status: .rejected, deliver: .refused, event: 2002)
        case .revokedByLot: Effects(status: .revoked, deliver: .notNeeded, event: 2012, isCompensated: true)
        case .closedByFlow, .displaced: Effects(status: .revoked, message: .server, event: 2012, isCompensated: true)
        case .appointmentCancelled: Effects(status: .cancelled, freesAppointment: false, message: .appointment)
        case .appointmentMoved: Effects(status: .revoked, message: .appointment, event: 2012, isCompensated: true)
        case .noShow:
            Effects(
                status: .noShow, freesDay: false, freesAppointment: false, deposit: .kept, penalty: .noShow, message: .noShow, event: 2006)
        case .noShowExcused: Effects(status: .noShow, freesDay: false, freesAppointment: false, message: .noShow, event: 2006)
        case .neverDelivered: Effects(status: .rejected, message: .server, event: 2006, isCompensated: true)
        }
    }
}

extension City {
    /// Ends a reservation, with everything that the reason brings with it (``EndReason/effects``). A held place is free from here on.
    /// - Parameters:
    ///   - time: the time of the event that ended it, where that was not now.
    ///   - evidence: of a penalty.
    ///   - detail: of the event.
    mutating func end(
        _ reservation: inout Reservation, as reason: EndReason, evidence: String = "", at time: Millis? = nil, detail: String = "",
        now: Millis,
        _ events: inout [Event]
    ) {
        let effects = reason.effects
        reservation.status = effects.status
        reservation.endedAt = now
        reservation.endReason = reason.rawValue
        reservation.orderVer += 1
        reservation.holdDeadline = nil
        if let deliver = effects.deliver { reservation.deliver = deliver }
        if effects.isCompensated { reservation.isCompensated = true }
        if effects.penalty == .noShow { reservation.isPenalised = true }
        if let penalty = effects.penalty { charge(reservation, penalty, evidence: evidence, at: now, &events) }
        if effects.freesDay { giveBackDailyCount(of: reservation, &events) }
        if effects.freesAppointment { giveBackAppointment(of: reservation, &events) }
        switch effects.deposit {
        case .returned: returnDeposit(of: reservation, at: now, &events)
        case .kept: settleDeposit(of: reservation, .forfeited, at: now, &events)
        case .none: break
        }
        if let message = effects.message { sendCancel(&reservation, message, at: now, &events) }
        update(reservation, at: now, &events)
        guard let event = effects.event else { return }
        events.append(
            .notice(
                LotEvent(
                    parkCode: reservation.parkCode, eventType: event, occurredAt: time ?? now, orderNo: reservation.orderNo, detail: detail)
            ))
    }

    /// Tells the lot that a reservation has ended, if the lot has heard of it.
    private mutating func sendCancel(_ reservation: inout Reservation, _ type: CancelType, at now: Millis, _ events: inout [Event]) {
        guard reservation.downSeq > 0 else {
            reservation.deliver = .notNeeded
            return
        }
        send(.cancel(orderNo: reservation.orderNo, orderVer: reservation.orderVer, type), for: &reservation, at: now, &events)
    }
}
