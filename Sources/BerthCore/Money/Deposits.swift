// Deposits of reservations.
extension City {
    /// Makes a reservation certain because its deposit is paid, and tells its lot. Returns false when it is too late for that.
    mutating func certifyPaid(_ orderNo: String, by payNo: String, at now: Millis, _ events: inout [Event]) -> Bool {
        guard var reservation = known(orderNo), reservation.status == .held, reservation.prepayNo == nil
        else { return false }
        reservation.prepayNo = payNo
        reservation.orderVer += 1
        certify(&reservation, policy: lots[known: reservation.parkCode].policy(reservation.purpose), at: now, &events)
        return true
    }

    /// Returns the deposit of a reservation that ended without a fault.
    mutating func returnDeposit(of reservation: Reservation, at now: Millis, _ events: inout [Event]) {
        if let payNo = reservation.prepayNo {
            giveBack(
                Payment.key(reservation.appId, "", payNo), of: reservation.orderNo, refundNo: "R\(reservation.orderNo)", at: now, &events)
        }
    }

    /// Gives the deposit to the lot: as income when the driver came, as a penalty when they did not come or cancelled too late.
    mutating func settleDeposit(of reservation: Reservation, _ kind: Posting.Kind, at now: Millis, _ events: inout [Event]) {
        let held = -money.balance(.deposit(reservation.orderNo))
        guard held > 0 else { return }
        post(
            Posting(
                at: now, kind: kind, reference: reservation.orderNo,
                [(.deposit(reservation.orderNo), held), (.lot(reservation.parkCode), -held)]),
            &events)
    }

    /// Returns the deposit that was kept for a breach or no-show, because an appeal has undone it.
    mutating func returnForfeit(
        of reservation: Reservation, reference: String, at now: Millis, past: Past, _ events: inout [Event]
    ) {
        guard reservation.status == .noShow || reservation.status == .cancelledBreach, let payNo = reservation.prepayNo,
            var payment = payment(payNo, appId: reservation.appId, past: past), payment.state == .paid,
            payment.subject == reservation.orderNo
        else { return }
        let fen = payment.amountFen
        post(
            Posting(at: now, kind: .refund, reference: reference, [(.lot(reservation.parkCode), fen), (.provider(payment.appId), -fen)]),
            &events)
        payment.refundedFen = fen
        payment.state = .refunded
        money.keep(payment)
        events.append(.payment(payment))
        tell(payment.appId, .refund(payNo: payment.payNo, refundNo: reference, amountFen: fen), at: now, &events)
    }
}
