// Settlement: who bills, what it costs, and whose the money is.

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
    // MARK: Tariffs

    public mutating func restore(tariff: LotTariff, of parkCode: String) { set(tariff, of: parkCode) }

    mutating func set(_ tariff: LotTariff, of parkCode: String) {
        lots[parkCode]?.tariffs.removeAll { $0.tariff.tariffId == tariff.tariff.tariffId }
        lots[parkCode]?.tariffs.append(tariff)
    }

    /// The tariff of a lot for a business and a class of vehicle at a time: the latest in force, the more exact one first.
    public func tariff(_ parkCode: String, _ purpose: Purpose, vehicleClass: Int = 0, at time: Millis) -> Tariff? {
        let rows = (lots[parkCode]?.tariffs ?? []).filter {
            $0.from <= time && ($0.business == 0 || $0.business == purpose.rawValue)
                && ($0.vehicleClass == 0 || vehicleClass == 0 || $0.vehicleClass == vehicleClass)
        }
        return rows.max {
            ($0.business == 0 ? 0 : 1, $0.vehicleClass == 0 ? 0 : 1, $0.from) < (
                $1.business == 0 ? 0 : 1, $1.vehicleClass == 0 ? 0 : 1, $1.from
            )
        }?.tariff
    }

    /// By what an order is charged where the city bills: its offer's price when it was booked, else the lot's tariff.
    func sessionTariff(of order: Order, vehicleClass: Int = 0, at time: Millis) -> Tariff? {
        if let price = order.terms.price, price.mode != .month { return Tariff(price: price, overtimePercent: order.terms.overtimePercent) }
        return tariff(order.parkCode, order.purpose, vehicleClass: vehicleClass, at: time)
    }

    /// What a car owes now, where the city bills; nil where the lot does.
    public func sessionFee(_ parkCode: String, recordNo: String, at now: Millis, history: some History) -> SessionFee? {
        guard let visit = visit(parkCode, recordNo, history: history), !visit.isVoid, let number = visit.orderNo,
            let stay = sharedStay(parkCode, recordNo, history: history)
        else { return nil }
        let left = visit.leaveTime ?? now
        var fee = SessionFee(visit: visit, orderNo: number, totalFen: 0, discountFen: 0, paidFen: 0)
        switch stay {
        case .order(let order):
            // What was in force when the car came in; a lot that reported none until later is billed by that.
            let tariff =
                sessionTariff(of: order, vehicleClass: visit.vehicleClass, at: visit.enterTime)
                ?? sessionTariff(of: order, vehicleClass: visit.vehicleClass, at: now)
            let relief = Millis(order.terms.freeMin) * CivilTime.minute
            fee.totalFen = tariff?.fee(from: visit.enterTime + relief, to: left, deadline: order.leaveDeadline, calendar: calendar) ?? 0
            fee.discountFen = min(fee.totalFen, order.discountFen)
        case .subscription(let subscription):
            // A month is paid beforehand.
            if let price = subscription.price, price.mode != .month {
                fee.totalFen = Tariff(price: price, overtimePercent: lots[parkCode]?.policy(.shared).overtimePercent ?? 100)
                    .fee(from: visit.enterTime, to: left, calendar: calendar)
            }
        }
        fee.paidFen = payments.values.filter {
            $0.parkCode == parkCode && $0.recordNo == recordNo && $0.state != .failed && $0.state != .pending
        }
        .reduce(0) { $0 + $1.amountFen - $1.refundedFen }
        return fee
    }

    // MARK: Postings

    mutating func post(_ posting: Posting, _ events: inout [Event]) {
        guard !posting.legs.isEmpty else { return }
        for leg in posting.legs {
            let balance = balances[leg.account, default: 0] + leg.fen
            balances[leg.account] = balance == 0 ? nil : balance
        }
        events.append(.posting(posting))
    }

    /// Whose a fee is that the city bills.
    private func shares(_ fen: Int64, _ parkCode: String, offer: SharedOffer?) -> [(Account, Int64)] {
        let hasOwner = offer.map { !$0.providerToken.isEmpty } ?? false
        let split = FeeSplit(fen: fen, policy: lots[parkCode]?.policy(.shared) ?? policy, hasOwner: hasOwner)
        var legs: [(Account, Int64)] = [(.platform, -split.platform), (.lot(parkCode), -split.lot)]
        if let offer, hasOwner { legs.append((.owner(offer.appId, offer.providerToken), -split.owner)) }
        return legs
    }

    /// Money that a provider has collected.
    mutating func post(paid payment: Payment, bill: Bill?, at now: Millis, history: some History, _ events: inout [Event]) {
        var legs: [(Account, Int64)] = [(.provider(payment.appId), payment.amountFen)]
        if let subject = bill?.subject {
            if let subscription = subscription(subject) {
                let offer = subscription.offerId.flatMap { lots[subscription.parkCode]?.offers[$0] }
                legs += shares(payment.amountFen, payment.parkCode, offer: offer)
                post(Posting(at: now, kind: .payment, reference: payment.payNo, legs), &events)
                paid(subject, at: now, &events)
            } else {
                legs.append((.deposit(subject), -payment.amountFen))
                post(Posting(at: now, kind: .deposit, reference: payment.payNo, legs), &events)
                certifyPaid(subject, by: payment.payNo, at: now, &events)
            }
            return
        }
        switch sharedStay(payment.parkCode, payment.recordNo, history: history) {
        case nil:
            // The lot bills: all of it is the lot's.
            legs.append((.lot(payment.parkCode), -payment.amountFen))
        case .subscription(let subscription):
            legs += shares(payment.amountFen, payment.parkCode, offer: subscription.offerId.flatMap { self.offer($0) })
        case .order(let order):
            // What re-homing cost more is paid by whoever caused it.
            let helped = discount(of: order, payment.parkCode, payment.recordNo, history: history)
            legs.append((.compensation, helped))
            legs += shares(payment.amountFen + helped, payment.parkCode, offer: order.offerId.flatMap { self.offer($0) })
        }
        post(Posting(at: now, kind: .payment, reference: payment.payNo, legs), &events)
    }

    /// What a stay that the city bills rests on.
    private enum SharedStay {
        case order(Order)
        case subscription(SharedSubscription)

        var offerId: String? {
            switch self {
            case .order(let order): order.offerId
            case .subscription(let subscription): subscription.offerId
            }
        }
    }

    private func sharedStay(_ parkCode: String, _ recordNo: String, history: some History) -> SharedStay? {
        guard let number = visit(parkCode, recordNo, history: history)?.orderNo else { return nil }
        if let subscription = subscription(number) { return .subscription(subscription) }
        guard let order = order(number, history: history), City.isBilledByCity(order.purpose) else { return nil }
        return .order(order)
    }

    /// Of an order's discount, what its first payment uses.
    private func discount(of order: Order, _ parkCode: String, _ recordNo: String, history: some History) -> Int64 {
        guard order.discountFen > 0 else { return 0 }
        let earlier = payments.values.filter {
            $0.parkCode == parkCode && $0.recordNo == recordNo
                && ($0.state == .paid || $0.state == .partlyRefunded || $0.state == .refunded)
        }
        guard earlier.count <= 1, let fee = sessionFee(parkCode, recordNo: recordNo, at: .max / 4, history: history) else { return 0 }
        return min(order.discountFen, fee.totalFen)
    }

    /// The deposit is there: the order is certain, and its lot is told.
    private mutating func certifyPaid(_ orderNo: String, by payNo: String, at now: Millis, _ events: inout [Event]) {
        guard let parkCode = lotOfOrder[orderNo], var order = lots[parkCode]?.orders[orderNo], order.status == .held else { return }
        order.prepayNo = payNo
        order.orderVer += 1
        certify(&order, policy: lots[parkCode]!.policy(order.purpose), at: now, &events)
    }

    /// Nobody's fault: the deposit goes back.
    mutating func returnDeposit(of order: Order, at now: Millis, _ events: inout [Event]) {
        let held = -balances[.deposit(order.orderNo), default: 0]
        guard held > 0 else { return }
        post(
            Posting(at: now, kind: .refund, reference: order.orderNo, [(.deposit(order.orderNo), held), (.provider(order.appId), -held)]),
            &events)
        if let payNo = order.prepayNo, var payment = payments[payNo] {
            payment.refundedFen = payment.amountFen
            payment.state = .refunded
            payments[payNo] = payment
            events.append(.payment(payment))
            tell(payment.appId, .refund(payNo: payNo, refundNo: "R\(order.orderNo)", amountFen: held), at: now, &events)
        }
    }

    /// He came: the deposit is the lot's. He did not, or cancelled too late: it is the lot's as a penalty.
    mutating func settleDeposit(of order: Order, _ kind: Posting.Kind, at now: Millis, _ events: inout [Event]) {
        let held = -balances[.deposit(order.orderNo), default: 0]
        guard held > 0 else { return }
        post(
            Posting(at: now, kind: kind, reference: order.orderNo, [(.deposit(order.orderNo), held), (.lot(order.parkCode), -held)]),
            &events)
    }

    mutating func forfeitDeposit(of order: Order, at now: Millis, _ events: inout [Event]) {
        settleDeposit(of: order, .forfeited, at: now, &events)
    }

    /// Money that a lot took itself: it is the lot's, and it has it.
    mutating func post(till payment: Payment, at now: Millis, _ events: inout [Event]) {
        post(
            Posting(
                at: now, kind: .till, reference: payment.payNo,
                [(.till(payment.parkCode), payment.amountFen), (.lot(payment.parkCode), -payment.amountFen)]), &events)
    }

    /// A refund takes from everybody what the payment gave him, in the same proportions.
    mutating func post(
        refund fen: Int64, of payment: Payment, reference: String, at now: Millis, history: some History, _ events: inout [Event]
    ) {
        var legs: [(Account, Int64)] = [(.provider(payment.appId), -fen)]
        let subscription = payment.billNo.flatMap { bills[$0]?.subject }.flatMap { self.subscription($0) }
        if let stay = sharedStay(payment.parkCode, payment.recordNo, history: history) ?? subscription.map({ .subscription($0) }) {
            let offer = stay.offerId.flatMap { self.offer($0) }
            // What all refunds together take is what one of that amount would, so that rounding adds nothing up.
            let whole = shares(payment.refundedFen, payment.parkCode, offer: offer)
            let earlier = shares(payment.refundedFen - fen, payment.parkCode, offer: offer)
            for (now, old) in zip(whole, earlier) { legs.append((now.0, old.1 - now.1)) }
        } else {
            legs.append((.lot(payment.parkCode), fen))
        }
        post(Posting(at: now, kind: .refund, reference: reference, legs), &events)
    }

    /// A15 `share.withdraw.apply`: an owner takes out what he has earned.
    mutating func withdraw(appId: String, providerToken: String, fen: Int64, reference: String, at now: Millis) -> Decision {
        let account = Account.owner(appId, providerToken)
        let earned = -balances[account, default: 0]
        guard fen > 0, fen <= earned else {
            return Decision(.refundTooLarge, RuleNote("income", used: Int(clamping: fen), max: Int(clamping: max(0, earned))))
        }
        var events: [Event] = []
        post(Posting(at: now, kind: .payout, reference: reference, [(account, fen), (.payout, -fen)]), &events)
        return Decision(.withdrawn(reference: reference, fen: fen, left: earned - fen), events)
    }

    /// What all accounts come to: nothing, always.
    public var ledgerSum: Int64 { balances.values.reduce(0, +) }
}
