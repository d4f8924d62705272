/// Why a reservation ends without a stay. Each reason has one row of ``effects``; nothing else decides what an ending brings with it
/// (interface.md, section 6; decision 0007).
enum EndReason: CaseIterable, Sendable {
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
    /// The hall cancels the appointment, or moves it to a time at which there is no place.
    case appointmentCancelled, appointmentMoved
    /// The space is taken beyond its time, or its owner takes it back.
    case displaced
    /// The window is over and the lot's log shows no entry: by the driver's fault, without it, or because the lot never had the reservation.
    case noShow, noShowExcused, neverDelivered

    /// What becomes of a deposit that was paid.
    enum Deposit: Sendable {
        case returned
        /// It is the lot's, as a penalty.
        case kept
        /// There is none.
        case none
    }

    /// One row of the table.
    struct Effects: Sendable {
        var status: OrderStatus
        /// The reservation counts no more against the day of its user and plates, nor against daily quotas.
        var freesDay = true
        /// Its appointment can be used again.
        var freesAppointment = true
        var deposit = Deposit.returned
        var penalty: Penalty.Kind?
        /// What the lot is told, if it has heard of the reservation.
        var message: CancelType?
        /// How far the lot's latest message is, where the ending itself says so.
        var deliver: DeliverStatus?
        /// The event that is raised (section 10).
        var event: Int?
        /// The driver is owed compensation.
        var isCompensated = false
    }

    var effects: Effects {
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
    ///   - time: when what ended it happened, where that was not now: the time of the event.
    ///   - evidence: of a penalty.
    ///   - detail: of the event.
    mutating func end(
        _ order: inout Order, as reason: EndReason, evidence: String = "", at time: Millis? = nil, detail: String = "", now: Millis,
        _ events: inout [Event]
    ) {
        let effects = reason.effects
        order.status = effects.status
        order.orderVer += 1
        order.holdDeadline = nil
        if let deliver = effects.deliver { order.deliver = deliver }
        if effects.isCompensated { order.isCompensated = true }
        if effects.penalty == .noShow { order.isPenalised = true }
        if let penalty = effects.penalty { charge(order, penalty, evidence: evidence, at: now, &events) }
        if effects.freesDay { giveBackDailyCount(of: order, &events) }
        if effects.freesAppointment { giveBackAppointment(of: order, &events) }
        switch effects.deposit {
        case .returned: returnDeposit(of: order, at: now, &events)
        case .kept: settleDeposit(of: order, .forfeited, at: now, &events)
        case .none: break
        }
        if let message = effects.message { sendCancel(&order, message, at: now, &events) }
        update(order, at: now, &events)
        guard let event = effects.event else { return }
        events.append(
            .notice(Notice(parkCode: order.parkCode, eventType: event, occurredAt: time ?? now, orderNo: order.orderNo, detail: detail)))
    }

    /// The window is over and the lot's log shows no entry. A car on a black list could not come in, and a record that was refused leaves it open
    /// whether the driver came: nothing is held against them. Where the lot never had the reservation, the driver is owed compensation.
    mutating func judgeNoShow(_ order: inout Order, at now: Millis, _ events: inout [Event]) {
        let isBanned = order.plates.contains { blacklisted(order.parkCode, $0, at: order.enterEnd) != nil }
        let reason: EndReason =
            if order.isDisputed || isBanned { .noShowExcused } else if order.deliver == .expired || order.deliver == .refused {
                .neverDelivered
            } else { .noShow }
        let evidence =
            "window \(order.enterStart) to \(order.enterEnd), log passed \(lots[order.parkCode]!.passedThrough) without an entry, deliverStatus \(order.deliver.rawValue)"
        end(&order, as: reason, evidence: evidence, at: order.enterEnd, now: now, &events)
    }

    /// Tells the lot that an order is no more, when it has heard of it at all.
    private mutating func sendCancel(_ order: inout Order, _ type: CancelType, at now: Millis, _ events: inout [Event]) {
        guard order.downSeq > 0 else {
            order.deliver = .notNeeded
            return
        }
        send(.cancel(orderNo: order.orderNo, orderVer: order.orderVer, type), for: &order, at: now, &events)
    }
}
