// Prefetch: the things that a decision may ask of the past are known before it, so that the store is read before the city's lock is taken.
extension City {
    /// The things that a decision of this command may ask for and that neither memory nor `past` has. Empty for nearly every command. The
    /// caller reads them and asks again, since a thing that was read may name another one; after at most three rounds nothing is lacking.
    public func lacks(_ command: Command, _ past: Past) -> [Past.Key] {
        switch command {
        case .create(let booking):
            // The most frequent command: no list is made for it.
            if hasReservation(appId: booking.appId, clientOrderNo: booking.clientOrderNo) { return [] }
            let key = Past.Key.clientOrder(appId: ByteKey(booking.appId), clientOrderNo: ByteKey(booking.clientOrderNo))
            return past.has(key) ? [] : [key]
        default: return lacks(asked(by: command), past)
        }
    }

    /// As ``lacks(_:_:)``, for a reader that names the things itself. A reservation brings its visit and its deposit, a visit its
    /// reservation, a payment its visit.
    public func lacks(_ keys: [Past.Key], _ past: Past) -> [Past.Key] {
        guard !keys.isEmpty else { return [] }
        let read = past.quiet
        var (lacking, seen, open) = ([Past.Key](), Set<Past.Key>(), keys)
        while let key = open.popLast() {
            guard seen.insert(key).inserted else { continue }
            switch key {
            case .reservation(let orderNo):
                guard Reservation.serial(in: orderNo.text) != nil else { continue }
                guard let reservation = known(orderNo.text) ?? read.reservation(orderNo.text) else {
                    if !past.has(key) { lacking.append(key) }
                    continue
                }
                open += City.asked(by: reservation)
            case .clientOrder(let appId, let clientOrderNo):
                guard let reservation = reservation(appId: appId.text, clientOrderNo: clientOrderNo.text, past: read) else {
                    if !past.has(key) { lacking.append(key) }
                    continue
                }
                open += City.asked(by: reservation)
            case .visit(let parkCode, let recordNo):
                guard let visit = visit(parkCode.text, recordNo.text, past: read) else {
                    if !past.has(key) { lacking.append(key) }
                    continue
                }
                if let orderNo = visit.orderNo { open.append(.reservation(ByteKey(orderNo))) }
            case .payment(let number):
                guard let payment = payments[number.text] ?? read.payment(key: number.text) else {
                    if !past.has(key) { lacking.append(key) }
                    continue
                }
                if !payment.recordNo.isEmpty { open.append(.visit(payment.parkCode, payment.recordNo)) }
            }
        }
        return lacking
    }

    private static func asked(by reservation: Reservation) -> [Past.Key] {
        var keys: [Past.Key] = []
        if let recordNo = reservation.recordNo { keys.append(.visit(reservation.parkCode, recordNo)) }
        if let payNo = reservation.prepayNo { keys.append(.payment(ByteKey(Payment.key(reservation.appId, "", payNo)))) }
        return keys
    }

    /// The lot whose state a command changes; nil where it changes that of none, or of many.
    func lot(of command: Command) -> String? {
        switch command {
        case .create(let booking): booking.parkCode
        case .modify(_, let orderNo, _, _, _), .cancel(_, let orderNo, _), .delay(_, let orderNo), .leaveWaitlist(_, let orderNo):
            parkCode(ofOrder: orderNo)
        case .enter(let parkCode, _), .exit(let parkCode, _), .state(let parkCode, _, _, _, _, _), .correct(let parkCode, _, _),
            .mend(let parkCode, _, _), .check(let parkCode, _), .decideCase(let parkCode, _, _, _), .settle(let parkCode, _, _, _, _),
            .expire(let parkCode), .reportRemaining(let parkCode, _), .reportOffers(let parkCode, _, _), .post(let parkCode, _, _, _),
            .reviewOffer(let parkCode, _, _, _), .reviewShare(let parkCode, _, _, _), .revokeShare(let parkCode, _, _, _):
            parkCode
        case .updateOffer(_, let number, _, _, _), .closeOffer(_, let number, _, _), .endShare(_, let number),
            .renewShare(_, let number, _):
            lotIndex.lot(ofShare: number)
        case .publishOffer(let offer): offer.parkCode
        case .subscribeShare(let subscription, _), .pushShare(let subscription): subscription.parkCode
        case .takeIn(let payment): payment.parkCode
        default: nil
        }
    }

    /// The things that a command names itself.
    private func asked(by command: Command) -> [Past.Key] {
        switch command {
        case .modify(_, let orderNo, _, _, _), .cancel(_, let orderNo, _), .delay(_, let orderNo), .leaveWaitlist(_, let orderNo):
            return [.reservation(ByteKey(orderNo))]
        case .enter(let parkCode, let passage): return asked(by: passage, parkCode)
        case .exit(let parkCode, let passage):
            return asked(by: passage, parkCode)
                + passage.payments.flatMap { [.payment(ByteKey($0.key)), .visit($0.parkCode, $0.recordNo)] }
        case .state(_, let orderNo, _, _, _, _): return [.reservation(ByteKey(orderNo))]
        case .correct(let parkCode, let recordNo, .merge(let other)), .mend(let parkCode, let recordNo, .merge(let other)):
            return [.visit(parkCode, recordNo), .visit(parkCode, other)]
        case .correct(let parkCode, let recordNo, _), .mend(let parkCode, let recordNo, _): return [.visit(parkCode, recordNo)]
        case .settle(let parkCode, let epoch, let ackSeq, let results, let assumesRest):
            return asked(bySettling: parkCode, epoch: epoch, ackSeq: ackSeq, results, assumesRest: assumesRest)
        case .takeIn(let payment): return [.payment(ByteKey(payment.key)), .visit(payment.parkCode, payment.recordNo)]
        case .pay(let appId, _, _, let payNo, _, _, _), .conclude(let appId, let payNo, _, _), .refund(let appId, let payNo, _, _, _):
            return [.payment(ByteKey(Payment.key(appId, "", payNo)))]
        case .answerAppeal(let appealId, _, _):
            guard let penalty = appeals[appealId].flatMap({ penalties[$0.penaltyId] }) else { return [] }
            return [.reservation(ByteKey(penalty.orderNo))]
        case .moveAppointment(let appId, let extNo, _), .cancelAppointment(let appId, let extNo):
            return appointments[City.key(appId, extNo)]?.orderNo.map { [.reservation(ByteKey($0))] } ?? []
        default: return []
        }
    }

    private func asked(by passage: Passage, _ parkCode: String) -> [Past.Key] {
        var keys: [Past.Key] = [.visit(parkCode, passage.recordNo)]
        if let orderNo = passage.orderNo { keys.append(.reservation(ByteKey(orderNo))) }
        // The car may still be inside by another record, whose exit was missed.
        let key = Visit.insideKey(passage.plate, passage.recordNo)
        if let inside = lots[parkCode]?.inside[key], let orderNo = lots[parkCode]?.visits[inside]?.orderNo {
            keys.append(.reservation(ByteKey(orderNo)))
        }
        return keys
    }

    private func asked(
        bySettling parkCode: String, epoch: String, ackSeq: Int64, _ results: [DownResult], assumesRest: Bool
    ) -> [Past.Key] {
        guard lots[parkCode]?.downEpoch == epoch, let awaiting = lots[parkCode]?.awaiting, !awaiting.isEmpty else { return [] }
        var orders = results.compactMap { awaiting[$0.seq] }
        if assumesRest { orders += awaiting.filter { $0.key <= ackSeq }.map(\.value) }
        return orders.filter { known($0) == nil }.map { .reservation(ByteKey($0)) }
    }
}

extension Past.Key {
    static func visit(_ parkCode: String, _ recordNo: String) -> Past.Key {
        .visit(parkCode: ByteKey(parkCode), recordNo: ByteKey(recordNo))
    }
}
