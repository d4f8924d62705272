// Postings: the shares of a payment, refunds, withdrawals.
extension City {
    mutating func post(_ posting: Posting, _ events: inout [Event]) {
        guard !posting.legs.isEmpty else { return }
        money.add(posting)
        events.append(.posting(posting))
    }

    /// The accounts that share a fee that the city bills, each with its amount (negative).
    func shares(_ fen: Int64, _ parkCode: String, offer: SharedOffer?) -> [(Account, Int64)] {
        let hasOwner = offer.map { !$0.providerToken.isEmpty } ?? false
        let split = FeeSplit(fen: fen, policy: lots[parkCode]?.policy(.shared) ?? policy, hasOwner: hasOwner)
        var legs: [(Account, Int64)] = [(.platform, -split.platform), (.lot(parkCode), -split.lot)]
        if let offer, hasOwner { legs.append((.owner(offer.appId, offer.providerToken), -split.owner)) }
        return legs
    }

    /// Posts money that a provider has collected. It is returned if the reservation that it was for has ended meanwhile.
    mutating func post(paid payment: Payment, at now: Millis, past: Past, _ events: inout [Event]) {
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
        switch sharedStay(payment.parkCode, payment.recordNo, past: past) {
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
            // The party that caused the re-homing pays its extra cost.
            let helped = compensation(of: reservation, payment.parkCode, payment.recordNo, past: past)
            shareOut(
                payment,
                [(.compensation, helped)]
                    + shares(
                        payment.amountFen + helped, payment.parkCode,
                        offer: reservation.offerId.flatMap { offer($0, in: reservation.parkCode) }),
                helped: helped, at: now, &events)
        }
        guard var visit = visit(payment.parkCode, payment.recordNo, past: past) else { return }
        visit.paidFen += payment.amountFen
        visit.paidAt = now
        visit.compensatedFen += payments[payment.key]?.legs.first { $0.account == .compensation }?.fen ?? 0
        keep(visit, &events)
        if let orderNo = visit.orderNo { settleStay(orderNo, visit.recordNo, visit.parkCode, at: now, past: past, &events) }
    }

    /// Posts a payment and keeps with it the amount that each account got.
    private mutating func shareOut(
        _ payment: Payment, _ legs: [(Account, Int64)], helped: Int64 = 0, at now: Millis, _ events: inout [Event]
    ) {
        let posting = Posting(
            at: now, kind: .payment, reference: payment.payNo, [(.provider(payment.appId), payment.amountFen)] + legs)
        post(posting, &events)
        guard var kept = payments[payment.key] else { return }
        kept.legs = Array(posting.legs.dropFirst())
        money.keep(kept)
        events.append(.payment(kept))
    }

    /// Returns a deposit that no longer secures anything.
    /// - Parameter key: of the payment (``Payment/key``).
    mutating func giveBack(_ key: String, of subject: String, refundNo: String, at now: Millis, _ events: inout [Event]) {
        let held = -money.balance(.deposit(subject))
        guard held > 0, var payment = payments[key] else { return }
        post(
            Posting(at: now, kind: .refund, reference: refundNo, [(.deposit(subject), held), (.provider(payment.appId), -held)]), &events)
        payment.refundedFen = payment.amountFen
        payment.state = .refunded
        money.keep(payment)
        events.append(.payment(payment))
        tell(payment.appId, .refund(payNo: payment.payNo, refundNo: refundNo, amountFen: held), at: now, &events)
    }

    /// Settles a re-homed stay that costs its driver nothing: the lot and the owner get its fee from the compensation.
    mutating func settleCompensation(
        of reservation: Reservation, _ visit: inout Visit, at now: Millis, past: Past, _ events: inout [Event]
    ) {
        guard reservation.discountFen > 0, visit.compensatedFen == 0, City.isBilledByCity(reservation.purpose),
            let fee = sessionFee(reservation.parkCode, recordNo: visit.recordNo, at: visit.leaveTime ?? now, past: past),
            fee.discountFen > 0, fee.payableFen == 0, fee.paidFen == 0
        else { return }
        visit.compensatedFen = fee.discountFen
        post(
            Posting(
                at: now, kind: .payment, reference: reservation.orderNo,
                [(.compensation, fee.discountFen)]
                    + shares(
                        fee.discountFen, reservation.parkCode, offer: reservation.offerId.flatMap { offer($0, in: reservation.parkCode) })),
            &events)
    }

    /// The reservation or subscription of a stay that the city bills.
    enum SharedStay {
        case reservation(Reservation)
        case subscription(SharedSubscription)
    }

    func sharedStay(_ parkCode: String, _ recordNo: String, past: Past) -> SharedStay? {
        guard let number = visit(parkCode, recordNo, past: past)?.orderNo else { return nil }
        if let subscription = subscription(number, in: parkCode) { return .subscription(subscription) }
        guard let reservation = reservation(number, past: past), City.isBilledByCity(reservation.purpose) else { return nil }
        return .reservation(reservation)
    }

    /// The part of a reservation's compensation that its first payment uses.
    func compensation(of reservation: Reservation, _ parkCode: String, _ recordNo: String, past: Past) -> Int64 {
        guard reservation.discountFen > 0, visit(parkCode, recordNo, past: past)?.compensatedFen == 0,
            let fee = sessionFee(parkCode, recordNo: recordNo, at: .max / 4, past: past)
        else { return 0 }
        return min(reservation.discountFen, fee.totalFen)
    }

    /// Posts money that a lot took itself: the lot owns it and has it already.
    mutating func post(till payment: Payment, at now: Millis, _ events: inout [Event]) {
        post(
            Posting(
                at: now, kind: .till, reference: payment.payNo,
                [(.till(payment.parkCode), payment.amountFen), (.lot(payment.parkCode), -payment.amountFen)]), &events)
    }

    /// Posts money that a lot took although the city bills: the lot has it, and the accounts that share the fee are credited.
    mutating func post(till payment: Payment, of stay: SharedStay, at now: Millis, past: Past, _ events: inout [Event]) {
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
        guard var visit = visit(payment.parkCode, payment.recordNo, past: past) else { return }
        visit.paidFen += payment.amountFen
        visit.paidAt = payment.payTime
        keep(visit, &events)
    }

    /// Posts a refund: it takes from each account in the proportions in which the payment gave to them.
    mutating func post(refund fen: Int64, of payment: Payment, reference: String, at now: Millis, _ events: inout [Event]) {
        // All refunds together take the same as one refund of their sum, so that rounding errors do not add up.
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

    /// A15 `share.withdraw.apply`: an owner withdraws their income.
    mutating func withdraw(appId: String, providerToken: String, fen: Int64, reference: String, at now: Millis) -> Decision {
        let account = Account.owner(appId, providerToken)
        let earned = -money.balance(account)
        guard fen > 0, fen <= earned else {
            return Decision(.refundTooLarge, RuleNote("income", used: Int(clamping: fen), max: Int(clamping: max(0, earned))))
        }
        var events: [Event] = []
        post(Posting(at: now, kind: .payout, reference: reference, [(account, fen), (.payout, -fen)]), &events)
        return Decision(.withdrawn(reference: reference, fen: fen, left: earned - fen), events)
    }

    /// The sum of all accounts; it is always 0.
    public var ledgerSum: Int64 { balances.values.reduce(0, +) }
}
