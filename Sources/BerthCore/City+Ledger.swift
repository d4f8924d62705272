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
        // A tariff that is reported again for a later time leaves the one in force until then.
        lots[parkCode]?.tariffs.removeAll { $0.tariff.tariffId == tariff.tariff.tariffId && $0.from == tariff.from }
        lots[parkCode]?.tariffs.append(tariff)
    }

    /// The tariff of a lot for a business and a class of vehicle at a time: the latest in force, the more exact one first.
    public func tariff(_ parkCode: String, _ purpose: Purpose, vehicleClass: Int = 0, at time: Millis) -> Tariff? {
        let rows = (lots[parkCode]?.tariffs ?? []).filter { $0.from <= time && ($0.business == 0 || $0.business == purpose.rawValue) }
        // A class that is not known is charged by what holds for all, else as a small car.
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

    /// By what an order is charged where the city bills: its offer's price when it was booked, else the lot's tariff.
    func sessionTariff(of reservation: Reservation, vehicleClass: Int = 0, at time: Millis) -> Tariff? {
        if let price = reservation.terms.price, price.mode != .month { return Tariff(price: price, overtimePercent: reservation.terms.overtimePercent) }
        var tariff = tariff(reservation.parkCode, reservation.purpose, vehicleClass: vehicleClass, at: time)
        // The lot's own multiplier, else the one that the order was made under.
        if tariff?.overtimePercent == 100 { tariff?.overtimePercent = reservation.terms.overtimePercent }
        return tariff
    }

    /// What a stay of the usual length would cost from the start of a slot, fen; nil where no price is known.
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

    /// What a car owes now, where the city bills; nil where the lot does.
    public func sessionFee(_ parkCode: String, recordNo: String, at now: Millis, history: some History) -> SessionFee? {
        guard let visit = visit(parkCode, recordNo, history: history), !visit.isVoid, let number = visit.orderNo,
            let stay = sharedStay(parkCode, recordNo, history: history)
        else { return nil }
        var left = visit.leaveTime ?? now
        // Who has paid has time to drive out.
        let buffer = Millis(lots[parkCode]?.profile?.leaveBufferMin ?? 0) * CivilTime.minute
        if let paidAt = visit.paidAt, visit.paidFen > 0, paidAt < left, left <= paidAt + buffer { left = paidAt }
        /// Overtime begins with the deadline for whoever stays beyond the grace, and for nobody else.
        func overtime(from deadline: Millis?, graceMin: Int) -> Millis? {
            deadline.flatMap { left > $0 + Millis(graceMin) * CivilTime.minute ? $0 : nil }
        }
        var fee = SessionFee(visit: visit, orderNo: number, totalFen: 0, discountFen: 0, paidFen: visit.paidFen)
        switch stay {
        case .reservation(let reservation):
            // What was in force when the car came in; a lot that reported none until later is billed by that.
            let tariff =
                sessionTariff(of: reservation, vehicleClass: visit.vehicleClass, at: visit.enterTime)
                ?? sessionTariff(of: reservation, vehicleClass: visit.vehicleClass, at: now)
            let relief = Millis(reservation.terms.freeMin) * CivilTime.minute
            fee.totalFen =
                tariff?.fee(
                    from: visit.enterTime + relief, to: left, deadline: overtime(from: reservation.leaveDeadline, graceMin: reservation.terms.graceMin),
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
                // A month is paid beforehand; what goes beyond its times costs what the lot charges.
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

    // MARK: Postings

    mutating func post(_ posting: Posting, _ events: inout [Event]) {
        guard !posting.legs.isEmpty else { return }
        add(posting)
        events.append(.posting(posting))
    }

    mutating func add(_ posting: Posting) {
        for leg in posting.legs {
            let balance = balances[leg.account, default: 0] + leg.fen
            balances[leg.account] = balance == 0 ? nil : balance
        }
    }

    /// Whose a fee is that the city bills.
    private func shares(_ fen: Int64, _ parkCode: String, offer: SharedOffer?) -> [(Account, Int64)] {
        let hasOwner = offer.map { !$0.providerToken.isEmpty } ?? false
        let split = FeeSplit(fen: fen, policy: lots[parkCode]?.policy(.shared) ?? policy, hasOwner: hasOwner)
        var legs: [(Account, Int64)] = [(.platform, -split.platform), (.lot(parkCode), -split.lot)]
        if let offer, hasOwner { legs.append((.owner(offer.appId, offer.providerToken), -split.owner)) }
        return legs
    }

    /// Money that a provider has collected. What it was for may have ended meanwhile: then it goes back.
    mutating func post(paid payment: Payment, at now: Millis, history: some History, _ events: inout [Event]) {
        if let subject = payment.subject {
            if let share = subscription(subject), share.status.holds, share.billNo == payment.billNo {
                let offer = share.offerId.flatMap { lots[share.parkCode]?.offers[$0] }
                shareOut(payment, shares(payment.amountFen, payment.parkCode, offer: offer), at: now, &events)
                return paid(subject, at: now, &events)
            }
            post(
                Posting(
                    at: now, kind: .deposit, reference: payment.payNo,
                    [(.provider(payment.appId), payment.amountFen), (.deposit(subject), -payment.amountFen)]), &events)
            if certifyPaid(subject, by: payment.payNo, at: now, &events) { return }
            giveBack(payment.key, of: subject, refundNo: "R\(subject)", at: now, &events)
            return
        }
        switch sharedStay(payment.parkCode, payment.recordNo, history: history) {
        case nil:
            // The lot bills: all of it is the lot's.
            shareOut(payment, [(.lot(payment.parkCode), -payment.amountFen)], at: now, &events)
        case .subscription(let subscription):
            shareOut(
                payment,
                shares(payment.amountFen, payment.parkCode, offer: subscription.offerId.flatMap { offer($0, in: subscription.parkCode) }),
                at: now,
                &events)
        case .reservation(let reservation):
            // What re-homing cost more is paid by whoever caused it.
            let helped = compensation(of: reservation, payment.parkCode, payment.recordNo, history: history)
            shareOut(
                payment,
                [(.compensation, helped)]
                    + shares(payment.amountFen + helped, payment.parkCode, offer: reservation.offerId.flatMap { offer($0, in: reservation.parkCode) }),
                helped: helped, at: now, &events)
        }
        guard var visit = visit(payment.parkCode, payment.recordNo, history: history) else { return }
        visit.paidFen += payment.amountFen
        visit.paidAt = now
        visit.compensatedFen += payments[payment.key]?.legs.first { $0.account == .compensation }?.fen ?? 0
        keep(visit, &events)
        if let orderNo = visit.orderNo { settleStay(orderNo, visit.recordNo, visit.parkCode, at: now, history: history, &events) }
    }

    /// Posts a payment and keeps with it who got how much.
    private mutating func shareOut(
        _ payment: Payment, _ legs: [(Account, Int64)], helped: Int64 = 0, at now: Millis, _ events: inout [Event]
    ) {
        let posting = Posting(
            at: now, kind: .payment, reference: payment.payNo, [(.provider(payment.appId), payment.amountFen)] + legs)
        post(posting, &events)
        guard var kept = payments[payment.key] else { return }
        kept.legs = Array(posting.legs.dropFirst())
        payments[payment.key] = kept
        events.append(.payment(kept))
    }

    /// A deposit that nothing stands for any more.
    /// - Parameter key: of the payment (``Payment/key``).
    private mutating func giveBack(_ key: String, of subject: String, refundNo: String, at now: Millis, _ events: inout [Event]) {
        let held = -balances[.deposit(subject), default: 0]
        guard held > 0, var payment = payments[key] else { return }
        post(
            Posting(at: now, kind: .refund, reference: refundNo, [(.deposit(subject), held), (.provider(payment.appId), -held)]), &events)
        payment.refundedFen = payment.amountFen
        payment.state = .refunded
        payments[payment.key] = payment
        events.append(.payment(payment))
        tell(payment.appId, .refund(payNo: payment.payNo, refundNo: refundNo, amountFen: held), at: now, &events)
    }

    /// A stay that was re-homed and costs its driver nothing: the lot and the owner get from its compensation what it costs.
    mutating func settleCompensation(of reservation: Reservation, _ visit: inout Visit, at now: Millis, history: some History, _ events: inout [Event])
    {
        guard reservation.discountFen > 0, visit.compensatedFen == 0, City.isBilledByCity(reservation.purpose),
            let fee = sessionFee(reservation.parkCode, recordNo: visit.recordNo, at: visit.leaveTime ?? now, history: history),
            fee.discountFen > 0, fee.payableFen == 0, fee.paidFen == 0
        else { return }
        visit.compensatedFen = fee.discountFen
        post(
            Posting(
                at: now, kind: .payment, reference: reservation.orderNo,
                [(.compensation, fee.discountFen)]
                    + shares(fee.discountFen, reservation.parkCode, offer: reservation.offerId.flatMap { offer($0, in: reservation.parkCode) })), &events)
    }

    /// What a stay that the city bills rests on.
    enum SharedStay {
        case reservation(Reservation)
        case subscription(SharedSubscription)
    }

    func sharedStay(_ parkCode: String, _ recordNo: String, history: some History) -> SharedStay? {
        guard let number = visit(parkCode, recordNo, history: history)?.orderNo else { return nil }
        if let subscription = subscription(number, in: parkCode) { return .subscription(subscription) }
        guard let reservation = reservation(number, history: history), City.isBilledByCity(reservation.purpose) else { return nil }
        return .reservation(reservation)
    }

    /// Of an order's compensation, what its first payment uses.
    private func compensation(of reservation: Reservation, _ parkCode: String, _ recordNo: String, history: some History) -> Int64 {
        guard reservation.discountFen > 0, visit(parkCode, recordNo, history: history)?.compensatedFen == 0,
            let fee = sessionFee(parkCode, recordNo: recordNo, at: .max / 4, history: history)
        else { return 0 }
        return min(reservation.discountFen, fee.totalFen)
    }

    /// The deposit is there: the order is certain, and its lot is told. False when it is too late for that.
    private mutating func certifyPaid(_ orderNo: String, by payNo: String, at now: Millis, _ events: inout [Event]) -> Bool {
        guard var reservation = known(orderNo), reservation.status == .held, reservation.prepayNo == nil
        else { return false }
        reservation.prepayNo = payNo
        reservation.orderVer += 1
        certify(&reservation, policy: lots[reservation.parkCode]!.policy(reservation.purpose), at: now, &events)
        return true
    }

    /// Nobody's fault: the deposit goes back.
    mutating func returnDeposit(of reservation: Reservation, at now: Millis, _ events: inout [Event]) {
        if let payNo = reservation.prepayNo {
            giveBack(Payment.key(reservation.appId, "", payNo), of: reservation.orderNo, refundNo: "R\(reservation.orderNo)", at: now, &events)
        }
    }

    /// The driver came: the deposit is the lot's. The driver did not come, or cancelled too late: it is the lot's as a penalty.
    mutating func settleDeposit(of reservation: Reservation, _ kind: Posting.Kind, at now: Millis, _ events: inout [Event]) {
        let held = -balances[.deposit(reservation.orderNo), default: 0]
        guard held > 0 else { return }
        post(
            Posting(at: now, kind: kind, reference: reservation.orderNo, [(.deposit(reservation.orderNo), held), (.lot(reservation.parkCode), -held)]),
            &events)
    }

    /// A breach or no-show that an appeal undid: the deposit that was kept for it goes back.
    mutating func returnForfeit(of reservation: Reservation, reference: String, at now: Millis, history: some History, _ events: inout [Event]) {
        guard reservation.status == .noShow || reservation.status == .cancelledBreach, let payNo = reservation.prepayNo,
            var payment = payment(payNo, appId: reservation.appId, history: history), payment.state == .paid, payment.subject == reservation.orderNo
        else { return }
        let fen = payment.amountFen
        post(
            Posting(at: now, kind: .refund, reference: reference, [(.lot(reservation.parkCode), fen), (.provider(payment.appId), -fen)]), &events)
        payment.refundedFen = fen
        payment.state = .refunded
        payments[payment.key] = payment
        events.append(.payment(payment))
        tell(payment.appId, .refund(payNo: payment.payNo, refundNo: reference, amountFen: fen), at: now, &events)
    }
    /// Money that a lot took itself: it is the lot's, and it has it.
    mutating func post(till payment: Payment, at now: Millis, _ events: inout [Event]) {
        post(
            Posting(
                at: now, kind: .till, reference: payment.payNo,
                [(.till(payment.parkCode), payment.amountFen), (.lot(payment.parkCode), -payment.amountFen)]), &events)
    }

    /// Money that a lot took although the city bills: the lot has it, and those get it whose it is.
    mutating func post(till payment: Payment, of stay: SharedStay, at now: Millis, history: some History, _ events: inout [Event]) {
        let offerId: String? =
            switch stay {
            case .reservation(let reservation): reservation.offerId
            case .subscription(let subscription): subscription.offerId
            }
        post(
            Posting(
                at: now, kind: .till, reference: payment.payNo,
                [(.till(payment.parkCode), payment.amountFen)]
                    + shares(payment.amountFen, payment.parkCode, offer: offerId.flatMap { offer($0, in: payment.parkCode) })), &events)
        guard var visit = visit(payment.parkCode, payment.recordNo, history: history) else { return }
        visit.paidFen += payment.amountFen
        visit.paidAt = payment.payTime
        keep(visit, &events)
    }

    /// A refund takes from everybody what the payment gave him, in the same proportions.
    mutating func post(refund fen: Int64, of payment: Payment, reference: String, at now: Millis, _ events: inout [Event]) {
        // What all refunds together take is what one of that amount would, so that rounding adds nothing up.
        func taken(_ sum: Int64) -> [Int64] {
            var parts = payment.legs.map { share(-$0.fen, sum, of: payment.amountFen) }
            if !parts.isEmpty { parts[0] += sum - parts.reduce(0, +) }
            return parts
        }
        var legs: [(Account, Int64)] = [(.provider(payment.appId), -fen)]
        if payment.legs.isEmpty {
            legs.append((.lot(payment.parkCode), fen))
        } else {
            for (leg, (whole, earlier)) in zip(payment.legs, zip(taken(payment.refundedFen), taken(payment.refundedFen - fen))) {
                legs.append((leg.account, whole - earlier))
            }
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
