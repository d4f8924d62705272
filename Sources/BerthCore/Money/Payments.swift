// Bills and payments.
extension City {
    public mutating func restore(bill: Bill) { money.keep(bill) }

    public mutating func restore(payment: Payment) { money.keep(payment) }

    /// A payment of a provider (`appId`), or one that a lot took itself (`appId` "").
    public func payment(_ payNo: String, appId: String, parkCode: String = "", past: Past) -> Payment? {
        let key = Payment.key(appId, parkCode, payNo)
        return payments[key] ?? past.payment(key: key)
    }

    /// A bill that a provider asked for.
    public func bill(_ billNo: String, askedBy appId: String) -> Bill? { bill(billNo, appId: appId, parkCode: "", amountFen: nil) }

    /// A recent payment that a provider took for a lot.
    public func payment(_ payNo: String, at parkCode: String) -> Payment? {
        payments.values.filter { $0.payNo == payNo && $0.parkCode == parkCode }.min { $0.key < $1.key }
    }

    /// The bill of a provider's number: the city's own, or a lot's that this provider asked for. Two lots may have given the same number.
    /// Then the lot that the caller names, the amount, and the time of asking tell which bill is meant.
    func bill(_ billNo: String, appId: String, parkCode: String, amountFen: Int64?) -> Bill? {
        if let own = bills[Bill.key("", billNo)] { return own.askedBy.contains { $0 == appId } ? own : nil }
        let known = bills.values.filter {
            $0.billNo == billNo && $0.askedBy.contains { $0 == appId } && (parkCode.isEmpty || $0.parkCode == parkCode)
        }
        guard known.count > 1 else { return known.first }
        return known.max { ($0.payableFen == amountFen ? 1 : 0, $0.expireAt) < ($1.payableFen == amountFen ? 1 : 0, $1.expireAt) }
    }

    /// Payments whose channel has not reported a final result.
    public var pendingPayments: [Payment] { payments.values.filter { $0.state == .pending }.sorted { $0.payNo < $1.payNo } }

    /// A payment taken at the lot. The number counts once in that lot.
    mutating func takeIn(_ reported: Payment, at now: Millis, past: Past) -> Decision {
        guard lots[reported.parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
        var payment = reported
        if let known = self.payment(payment.payNo, appId: "", parkCode: payment.parkCode, past: past) {
            // The same payment may come beside an exit (U11) and by itself (U22).
            let isSame =
                known.requestHash == payment.requestHash
                || (known.appId.isEmpty && known.parkCode == payment.parkCode && known.recordNo == payment.recordNo
                    && known.amountFen == payment.amountFen && known.cameWithExit != payment.cameWithExit)
            return isSame ? Decision(.paid(known, isRepeat: true)) : Decision(.refused(.alreadyPaid))
        }
        // A lot takes no payment beforehand for a stay that the city bills; a payment with the exit is accepted all the same.
        let stay = sharedStay(payment.parkCode, payment.recordNo, past: past)
        if stay != nil, !payment.cameWithExit { return Decision(.refused(.platformBilled)) }
        var events: [Event] = []
        payment.payTime = present(payment.payTime ?? now, "payTime", payment.parkCode, at: now, &events)
        money.keep(payment)
        events += [
            .payment(payment),
            .notice(
                LotEvent(
                    parkCode: payment.parkCode, eventType: 5001, occurredAt: payment.payTime ?? 0,
                    recordNo: payment.recordNo, detail: payment.payNo)),
        ]
        guard let stay else {
            post(till: payment, at: payment.payTime ?? 0, &events)
            return Decision(.paid(payment, isRepeat: false), events)
        }
        post(till: payment, of: stay, at: payment.payTime ?? 0, past: past, &events)
        return Decision(.paid(payment, isRepeat: false), events)
    }

    mutating func bill(_ bill: Bill) -> Decision {
        var bill = bill
        // A bill that is asked for again under the same number keeps its payment, made or pending.
        if let known = bills[bill.key] {
            if let paidBy = known.paidBy, !isVoid(paidBy) { bill.paidBy = paidBy }
            for appId in known.askedBy where !bill.askedBy.contains(where: { $0 == appId }) { bill.askedBy.append(appId) }
        }
        money.keep(bill)
        return Decision(.done, [.bill(bill)])
    }

    /// Whether a payment is known not to have paid anything, or to have been given back.
    /// - Parameter key: ``Payment/key``.
    func isVoid(_ key: String) -> Bool { payments[key].map { $0.state == .failed || $0.state == .refunded } ?? false }

    /// Whether a reservation or subscription still waits for the payment of a bill.
    private func awaits(_ subject: String, _ billNo: String) -> Bool {
        if let share = subscription(subject) { return share.status.holds && share.billNo == billNo }
        guard let reservation = known(subject) else { return false }
        return reservation.status == .held && reservation.billNo == billNo && reservation.prepayNo == nil
    }

    /// Closes the other bills of a stay that is paid, so that none of them is paid as well.
    private mutating func close(billsOf payment: Payment, _ events: inout [Event]) {
        guard !payment.recordNo.isEmpty else { return }
        for var other in bills.values.sorted(by: { $0.billNo < $1.billNo })
        where other.parkCode == payment.parkCode && other.recordNo == payment.recordNo && other.billNo != payment.billNo
            && other.paidBy.map({ isVoid($0) }) ?? true
        {
            other.paidBy = payment.key
            money.keep(other)
            events.append(.bill(other))
        }
    }

    /// A13 `pay.create`: a payment begins; money has moved only when ``conclude(_:isPaid:at:)`` says so.
    mutating func pay(
        appId: String, parkCode: String, billNo: String, payNo: String, amountFen: Int64, channel: String, requestHash: String,
        at now: Millis,
        past: Past
    ) -> Decision {
        if let known = payment(payNo, appId: appId, past: past) {
            return known.requestHash == requestHash
                ? Decision(.paid(known, isRepeat: true)) : Decision(.refused(.keyReused))
        }
        guard var bill = bill(billNo, appId: appId, parkCode: parkCode, amountFen: amountFen) else { return Decision(.refused(.noBill)) }
        if let earlier = bill.paidBy, !isVoid(earlier) { return Decision(.refused(.alreadyPaid)) }
        guard now <= bill.expireAt, bill.subject.map({ awaits($0, bill.billNo) }) ?? true else { return Decision(.refused(.billExpired)) }
        // A stay has one pending payment at a time, because the other one may succeed at any moment.
        if !bill.recordNo.isEmpty,
            let other = payments.values.first(where: {
                $0.state == .pending && $0.parkCode == bill.parkCode && $0.recordNo == bill.recordNo
            })
        {
            return Decision(.alreadyPaid, RuleNote(other.appId == appId ? "pending \(other.payNo)" : "pending", until: bill.expireAt))
        }
        guard amountFen == bill.payableFen else { return Decision(.refused(.amountMismatch)) }
        guard amountFen > 0 else { return Decision(.refused(.noPaymentNeeded)) }
        var payment = Payment(
            payNo: payNo, appId: appId, parkCode: bill.parkCode, recordNo: bill.recordNo, billNo: billNo,
            amountFen: amountFen, channel: channel, state: .pending, payTime: nil, requestHash: requestHash)
        payment.subject = bill.subject
        bill.paidBy = payment.key
        money.keep(bill)
        money.keep(payment)
        return Decision(.paid(payment, isRepeat: false), [.bill(bill), .payment(payment)])
    }

    /// Takes the payment channel's result. A payment that succeeded is sent to the lot through its down log, until the lot has it.
    mutating func conclude(_ appId: String, _ payNo: String, isPaid: Bool, message: String, at now: Millis, past: Past)
        -> Decision
    {
        guard var payment = payments[Payment.key(appId, "", payNo)] else { return Decision(.refused(.paymentFailed)) }
        guard payment.state == .pending else { return Decision(.paid(payment, isRepeat: true)) }
        payment.state = isPaid ? .paid : .failed
        payment.payTime = isPaid ? now : nil
        money.keep(payment)
        var events: [Event] = [.payment(payment)]
        if isPaid {
            // Only a payment for a stay is sent to the lot, because the gate needs no other.
            if payment.subject == nil {
                append(.relay(service: "payment.result.push", body: message), to: payment.parkCode, about: "", at: now, &events)
                close(billsOf: payment, &events)
            }
            post(paid: payment, at: now, past: past, &events)
            payment = payments[payment.key] ?? payment
            if payment.subject == nil, let orderNo = visit(payment.parkCode, payment.recordNo, past: past)?.orderNo {
                settleStay(orderNo, payment.recordNo, payment.parkCode, at: now, past: past, &events)
            }
        }
        tell(
            payment.appId,
            .payment(payNo: payNo, payment.state, amountFen: payment.amountFen, payTime: payment.payTime), at: now, &events)
        events.append(
            .notice(
                LotEvent(
                    parkCode: payment.parkCode, eventType: isPaid ? 5001 : 5002, occurredAt: now,
                    recordNo: payment.recordNo, detail: payNo)))
        return Decision(.paid(payment, isRepeat: false), events)
    }

    /// A13 `refund.apply`: whole or in part, each `refundNo` once.
    mutating func refund(
        appId: String, payNo: String, refundNo: String, amountFen: Int64, message: String, at now: Millis,
        past: Past
    ) -> Decision {
        guard var payment = payment(payNo, appId: appId, past: past) else {
            return Decision(.refused(.paymentFailed))
        }
        // A refund number is unique in its provider.
        let key = "\(appId)|\(refundNo)"
        let body = "\(amountFen)|\(payNo)"
        if let known = report("", kind: "refund", key: key) {
            return known.body == body
                ? Decision(.refunded(payment, refundNo: refundNo, amountFen: amountFen, isRepeat: true)) : Decision(.refused(.keyReused))
        }
        guard payment.state == .paid || payment.state == .partlyRefunded, amountFen > 0 else {
            return Decision(.refused(.refundNotAllowed))
        }
        // A deposit follows its reservation: it is returned with a free cancel and kept with a breach.
        var share = payment.subject.flatMap { subscription($0) }
        if let orderNo = payment.subject, share == nil { return Decision(.refundNotAllowed, RuleNote("deposit of \(orderNo)")) }
        // The part that an owner's early return has refunded already is not refunded again.
        let left = min(payment.amountFen - payment.refundedFen, share.map { $0.paidFen ?? 0 } ?? .max)
        guard amountFen <= left else {
            return Decision(.refundTooLarge, RuleNote("paid", used: Int(payment.amountFen - left), max: Int(payment.amountFen)))
        }
        payment.refundedFen += amountFen
        payment.state = payment.refundedFen == payment.amountFen ? .refunded : .partlyRefunded
        money.keep(payment)
        var events: [Event] = [.payment(payment)]
        keep(KeptRecord(parkCode: "", kind: "refund", key: key, body: body, at: now), &events)
        append(.relay(service: "refund.result.push", body: message), to: payment.parkCode, about: "", at: now, &events)
        post(refund: amountFen, of: payment, reference: refundNo, at: now, &events)
        if share != nil {
            share!.paidFen = max(0, (share!.paidFen ?? 0) - amountFen)
            set(.subscription(share!), &events)
        }
        if !payment.recordNo.isEmpty, var visit = visit(payment.parkCode, payment.recordNo, past: past) {
            visit.paidFen = max(0, visit.paidFen - amountFen)
            keep(visit, &events)
            if payment.state == .refunded, let orderNo = visit.orderNo, var reservation = known(orderNo), reservation.stayPayState == 2 {
                reservation.stayPayState = 3
                update(reservation, at: now, &events)
            }
        }
        tell(payment.appId, .refund(payNo: payNo, refundNo: refundNo, amountFen: amountFen), at: now, &events)
        events.append(
            .notice(
                LotEvent(
                    parkCode: payment.parkCode, eventType: 5003, occurredAt: now, recordNo: payment.recordNo,
                    detail: refundNo)))
        return Decision(.refunded(payment, refundNo: refundNo, amountFen: amountFen, isRepeat: false), events)
    }
}
