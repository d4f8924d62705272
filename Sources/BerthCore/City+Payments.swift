// Money that has moved (U22, U23, D11, D12, A13): a payNo pays once, a refundNo refunds once, nobody gets back more than he paid.

/// What a car owes at a moment, as its lot or the server said.
public struct Bill: Sendable, Equatable {
    public var billNo: String
    public var parkCode: String
    public var recordNo: String
    public var payableFen: Int64
    public var paidBy: String?
    /// Afterwards the fee has to be asked again.
    public var expireAt: Millis
    /// An order's deposit or a subscription that it makes certain, where it is not for a stay.
    public var subject: String?

    public init(
        billNo: String, parkCode: String, recordNo: String, payableFen: Int64, expireAt: Millis, subject: String? = nil
    ) {
        self.billNo = billNo
        self.parkCode = parkCode
        self.recordNo = recordNo
        self.payableFen = payableFen
        self.expireAt = expireAt
        self.subject = subject
    }
}

public enum PaymentState: Int, Sendable {
    case pending = 0
    case paid = 1
    case failed = 2
    case refunded = 3
    case partlyRefunded = 4
}

/// One payment: taken at a lot (`appId` ""), or by a provider.
public struct Payment: Sendable, Equatable {
    public var payNo: String
    public var appId: String
    public var parkCode: String
    public var recordNo: String
    public var billNo: String?
    public var amountFen: Int64
    public var channel: String
    public var state: PaymentState
    public var payTime: Millis?
    public var refundedFen: Int64 = 0
    /// Digest of what was asked, so that a repeat is known from another use of the number.
    public var requestHash: String
    /// The order whose deposit it is, or the subscription; nil for a stay.
    public var subject: String?
    /// Who got how much of it: what a refund takes back in the same proportions.
    public var legs: [Posting.Leg] = []
    /// It stood in an exit's record (U11).
    public var cameWithExit = false

    public init(
        payNo: String, appId: String, parkCode: String, recordNo: String, billNo: String?, amountFen: Int64,
        channel: String, state: PaymentState, payTime: Millis?, requestHash: String
    ) {
        self.payNo = payNo
        self.appId = appId
        self.parkCode = parkCode
        self.recordNo = recordNo
        self.billNo = billNo
        self.amountFen = amountFen
        self.channel = channel
        self.state = state
        self.payTime = payTime
        self.requestHash = requestHash
    }
}

extension City {
    public mutating func restore(bill: Bill) { bills[bill.billNo] = bill }
    public mutating func restore(payment: Payment) { payments[payment.payNo] = payment }

    public func payment(_ payNo: String, history: some History) -> Payment? {
        payments[payNo] ?? history.payment(payNo)
    }

    public func bill(_ billNo: String) -> Bill? { bills[billNo] }

    /// Payments whose channel has not had the last word.
    public var pendingPayments: [Payment] { payments.values.filter { $0.state == .pending }.sorted { $0.payNo < $1.payNo } }

    /// A payment taken at the lot. The number counts once in the whole city.
    mutating func takeIn(_ payment: Payment, history: some History) -> Decision {
        guard lots[payment.parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
        if let known = self.payment(payment.payNo, history: history) {
            // The same payment may come beside an exit (U11) and by itself (U22).
            let isSame =
                known.requestHash == payment.requestHash
                || (known.appId.isEmpty && known.parkCode == payment.parkCode && known.recordNo == payment.recordNo
                    && known.amountFen == payment.amountFen && known.cameWithExit != payment.cameWithExit)
            return isSame ? Decision(.paid(known, isRepeat: true)) : Decision(.refused(.alreadyPaid))
        }
        // Where the city bills, the lot takes nothing beforehand; what it took with the exit is known all the same.
        let stay = sharedStay(payment.parkCode, payment.recordNo, history: history)
        if stay != nil, !payment.cameWithExit { return Decision(.refused(.platformBilled)) }
        payments[payment.payNo] = payment
        var events: [Event] = [
            .payment(payment),
            .notice(
                Notice(
                    parkCode: payment.parkCode, eventType: 5001, occurredAt: payment.payTime ?? 0,
                    recordNo: payment.recordNo, detail: payment.payNo)),
        ]
        guard let stay else {
            post(till: payment, at: payment.payTime ?? 0, &events)
            return Decision(.paid(payment, isRepeat: false), events)
        }
        post(till: payment, of: stay, at: payment.payTime ?? 0, history: history, &events)
        return Decision(.paid(payment, isRepeat: false), events)
    }

    mutating func bill(_ bill: Bill) -> Decision {
        var bill = bill
        // Asked again under the same number: what is paid, or being paid, stays so.
        if let payNo = bills[bill.billNo]?.paidBy, !isVoid(payNo) { bill.paidBy = payNo }
        bills[bill.billNo] = bill
        return Decision(.done, [.bill(bill)])
    }

    /// Whether a payment is known not to have paid anything, or to have been given back.
    private func isVoid(_ payNo: String) -> Bool { payments[payNo].map { $0.state == .failed || $0.state == .refunded } ?? false }

    /// Whether an order or subscription still waits for the payment of a bill.
    private func awaits(_ subject: String, _ billNo: String) -> Bool {
        if let share = subscription(subject) { return share.status.holds && share.billNo == billNo }
        guard let order = known(subject) else { return false }
        return order.status == .held && order.billNo == billNo && order.prepayNo == nil
    }

    /// A stay that is paid under one bill is not paid under another that was asked for before.
    private mutating func close(billsOf payment: Payment, _ events: inout [Event]) {
        guard !payment.recordNo.isEmpty else { return }
        for var other in bills.values.sorted(by: { $0.billNo < $1.billNo })
        where other.parkCode == payment.parkCode && other.recordNo == payment.recordNo && other.billNo != payment.billNo
            && other.paidBy.map({ isVoid($0) }) ?? true
        {
            other.paidBy = payment.payNo
            bills[other.billNo] = other
            events.append(.bill(other))
        }
    }

    /// A13 `pay.create`: a payment begins; money has moved only when ``conclude(_:isPaid:at:)`` says so.
    mutating func pay(
        appId: String, billNo: String, payNo: String, amountFen: Int64, channel: String, requestHash: String, at now: Millis,
        history: some History
    ) -> Decision {
        if let known = payment(payNo, history: history) {
            return known.appId == appId && known.requestHash == requestHash
                ? Decision(.paid(known, isRepeat: true)) : Decision(.refused(.keyReused))
        }
        guard var bill = bills[billNo] else { return Decision(.refused(.noBill)) }
        if let earlier = bill.paidBy, !isVoid(earlier) { return Decision(.refused(.alreadyPaid)) }
        guard now <= bill.expireAt, bill.subject.map({ awaits($0, bill.billNo) }) ?? true else { return Decision(.refused(.billExpired)) }
        // One payment of a stay at a time: the other one may be through any moment.
        if !bill.recordNo.isEmpty,
            let other = payments.values.first(where: {
                $0.state == .pending && $0.parkCode == bill.parkCode && $0.recordNo == bill.recordNo
            })
        {
            return Decision(.alreadyPaid, RuleNote("pending \(other.payNo)", until: bill.expireAt))
        }
        guard amountFen == bill.payableFen else { return Decision(.refused(.amountMismatch)) }
        guard amountFen > 0 else { return Decision(.refused(.noPaymentNeeded)) }
        bill.paidBy = payNo
        bills[billNo] = bill
        var payment = Payment(
            payNo: payNo, appId: appId, parkCode: bill.parkCode, recordNo: bill.recordNo, billNo: billNo,
            amountFen: amountFen, channel: channel, state: .pending, payTime: nil, requestHash: requestHash)
        payment.subject = bill.subject
        payments[payNo] = payment
        return Decision(.paid(payment, isRepeat: false), [.bill(bill), .payment(payment)])
    }

    /// The payment channel's word. A payment made tells the lot through its down log, until the lot has it.
    mutating func conclude(_ payNo: String, isPaid: Bool, message: String, at now: Millis, history: some History) -> Decision {
        guard var payment = payments[payNo] else { return Decision(.refused(.paymentFailed)) }
        guard payment.state == .pending else { return Decision(.paid(payment, isRepeat: true)) }
        payment.state = isPaid ? .paid : .failed
        payment.payTime = isPaid ? now : nil
        payments[payNo] = payment
        var events: [Event] = [.payment(payment)]
        if isPaid {
            // What is not for a stay is no affair of the gate's.
            if payment.subject == nil {
                append(.relay(service: "payment.result.push", body: message), to: payment.parkCode, about: "", at: now, &events)
                close(billsOf: payment, &events)
            }
            post(paid: payment, at: now, history: history, &events)
            payment = payments[payNo]!
        }
        tell(
            payment.appId,
            .payment(payNo: payNo, payment.state, amountFen: payment.amountFen, payTime: payment.payTime), at: now, &events)
        events.append(
            .notice(
                Notice(
                    parkCode: payment.parkCode, eventType: isPaid ? 5001 : 5002, occurredAt: now,
                    recordNo: payment.recordNo, detail: payNo)))
        return Decision(.paid(payment, isRepeat: false), events)
    }

    /// A13 `refund.apply`: whole or in part, each `refundNo` once.
    mutating func refund(
        appId: String, payNo: String, refundNo: String, amountFen: Int64, message: String, at now: Millis,
        history: some History
    ) -> Decision {
        guard var payment = payment(payNo, history: history), payment.appId == appId else {
            return Decision(.refused(.paymentFailed))
        }
        let key = "\(payNo)|\(refundNo)"
        if let known = report(payment.parkCode, kind: "refund", key: key) {
            return known.body == String(amountFen)
                ? Decision(.refunded(payment, refundNo: refundNo, amountFen: amountFen, isRepeat: true)) : Decision(.refused(.keyReused))
        }
        guard payment.state == .paid || payment.state == .partlyRefunded, amountFen > 0 else {
            return Decision(.refused(.refundNotAllowed))
        }
        // A deposit follows its order: it comes back with a free cancel and is kept with a breach.
        var share = payment.subject.flatMap { subscription($0) }
        if let orderNo = payment.subject, share == nil { return Decision(.refundNotAllowed, RuleNote("deposit of \(orderNo)")) }
        // What an owner who came back has given back is not given again.
        let left = min(payment.amountFen - payment.refundedFen, share.map { $0.paidFen ?? 0 } ?? .max)
        guard amountFen <= left else {
            return Decision(.refundTooLarge, RuleNote("paid", used: Int(payment.amountFen - left), max: Int(payment.amountFen)))
        }
        payment.refundedFen += amountFen
        payment.state = payment.refundedFen == payment.amountFen ? .refunded : .partlyRefunded
        payments[payNo] = payment
        var events: [Event] = [.payment(payment)]
        keep(Report(parkCode: payment.parkCode, kind: "refund", key: key, body: String(amountFen), at: now), &events)
        append(.relay(service: "refund.result.push", body: message), to: payment.parkCode, about: "", at: now, &events)
        post(refund: amountFen, of: payment, reference: refundNo, at: now, &events)
        if share != nil {
            share!.paidFen = max(0, (share!.paidFen ?? 0) - amountFen)
            set(.subscription(share!), &events)
        }
        if !payment.recordNo.isEmpty, var visit = visit(payment.parkCode, payment.recordNo, history: history) {
            visit.paidFen = max(0, visit.paidFen - amountFen)
            keep(visit, &events)
        }
        tell(payment.appId, .refund(payNo: payNo, refundNo: refundNo, amountFen: amountFen), at: now, &events)
        events.append(
            .notice(
                Notice(
                    parkCode: payment.parkCode, eventType: 5003, occurredAt: now, recordNo: payment.recordNo,
                    detail: refundNo)))
        return Decision(.refunded(payment, refundNo: refundNo, amountFen: amountFen, isRepeat: false), events)
    }
}
