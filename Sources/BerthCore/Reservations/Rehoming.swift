// The owner's return is a hard limit: who stays too long, or takes his space back, moves the next one and pays for it.
extension City {
    /// The owner's return is a hard limit: whoever is booked into a space that is still taken gets another one by himself.
    mutating func rehomeFollowers(_ parkCode: String, at now: Millis, _ events: inout [Event]) {
        guard let lot = lots[parkCode] else { return }
        let lead = Millis(lot.policy(.shared).rehomeLeadMin) * CivilTime.minute
        let due = lot.reservations.values.filter {
            $0.spaceNo != nil && ($0.status == .booked || $0.status == .held) && $0.enterStart - lead <= now
        }
        for reservation in due.sorted(by: { $0.serial < $1.serial }) {
            guard let payer = overstayer(in: reservation.spaceNo!, of: lot, before: reservation, at: now) else { continue }
            events.append(
                .notice(
                    LotEvent(
                        parkCode: parkCode, eventType: 2010, occurredAt: now, orderNo: reservation.orderNo, detail: reservation.spaceNo!)))
            displace(reservation, payer: payer, at: now, &events)
        }
    }

    /// A late record has put a car into a space that was given on when nobody seemed to come: whoever booked it since gets another one. It is
    /// nobody's fault; what it costs more is the platform's.
    mutating func makeWay(for reservation: Reservation, at now: Millis, _ events: inout [Event]) {
        guard let space = reservation.spaceNo, let lot = lots[reservation.parkCode] else { return }
        let others = lot.reservations.values.filter {
            $0.spaceNo == space && $0.orderNo != reservation.orderNo && ($0.status == .booked || $0.status == .held)
                && $0.enterStart < reservation.expectedLeave && now < $0.expectedLeave
        }
        for other in others.sorted(by: { $0.serial < $1.serial }) { displace(other, payer: .platform, at: now, &events) }
    }

    /// Who stands in a space although his time is over.
    private func overstayer(in space: String, of lot: Lot, before reservation: Reservation, at now: Millis) -> Account? {
        if let other = lot.reservations.values.first(where: {
            $0.spaceNo == space && $0.status == .inLot && $0.orderNo != reservation.orderNo && ($0.leaveDeadline ?? .max) <= now
        }) {
            return .user(other.appId, other.userToken)
        }
        if let other = lot.subscriptions.values.first(where: { $0.spaceNo == space && $0.insidePlate != nil && ($0.leaveBy ?? .max) <= now }
        ) {
            return .user(other.appId, other.userToken)
        }
        return nil
    }

    /// Gives an order another place: in the same lot, else in the nearest one; what that costs more is the payer's. Nobody is left without a word.
    mutating func displace(_ displaced: Reservation, payer: Account, at now: Millis, _ events: inout [Event]) {
        var reservation = displaced
        lots[reservation.parkCode]!.advance(to: now)
        let lot = lots[reservation.parkCode]!
        let old = estimate(reservation, at: now)
        var moved = reservation
        if case .success(let place) = sharedPlace(
            for: &moved, offerId: nil, stayMin: reservation.stayMin, lot: lot, except: reservation.spaceNo, at: now),
            moved.expectedLeave >= reservation.expectedLeave
        {
            moved.spaceNo = place.space
            moved.offerId = place.offer?.offerId
            moved.orderVer += 1
            record(estimate(moved, at: now) - old, of: &moved, payer: payer, at: now, &events)
            sendChange(&moved, at: now, &events)
            update(moved, at: now, &events)
            // Its state is as it was; that its space is another one is news all the same.
            tellOf(moved, at: now, &events)
            events.append(
                .notice(
                    LotEvent(
                        parkCode: reservation.parkCode, eventType: 2011, occurredAt: now, orderNo: reservation.orderNo,
                        detail: "\(reservation.spaceNo ?? "") to \(moved.spaceNo ?? Pool.shared.rawValue), paid by \(payer.text)")))
            return
        }
        let next = neighbour(of: reservation, lot: lot, at: now)
        guard var next else {
            end(&reservation, as: .displaced, detail: "re-homed to nowhere, paid by \(payer.text)", now: now, &events)
            return
        }
        lastSerial += 1
        next.serial = lastSerial
        next.orderNo = "YY" + CivilTime.text(ofDay: CivilTime.day(of: now), separator: "") + CivilTime.pad(lastSerial, 10)
        reservation.rehomedTo = next.orderNo
        end(&reservation, as: .displaced, detail: "re-homed to \(next.orderNo), paid by \(payer.text)", now: now, &events)
        record(estimate(next, at: now) - old, of: &next, payer: payer, at: now, &events)
        // The user did not ask for it: no limit of theirs stands in its way.
        next.quotaKeys = []
        claim(&next, policy: lots[next.parkCode]!.policy(next.purpose), isAsked: false, &events)
        certify(&next, policy: lots[next.parkCode]!.policy(next.purpose), at: now, &events)
    }

    private func neighbour(of reservation: Reservation, lot: Lot, at now: Millis) -> Reservation? {
        var policy = lot.policy(.shared)
        policy.alternativesMetres = policy.rehomeMetres
        policy.alternativesMax = 1
        guard let place = alternatives(to: reservation, policy: policy, at: now).first, let there = lots[place.parkCode] else { return nil }
        var next = reservation
        next.parkCode = place.parkCode
        next.clientOrderNo = String(reservation.clientOrderNo.prefix(60)) + "~\(reservation.orderVer)"
        next.orderVer = 1
        next.createdAt = now
        next.downSeq = 0
        next.deliver = .new
        next.rehomedFrom = reservation.orderNo
        next.rehomedTo = nil
        next.spaceNo = nil
        next.offerId = nil
        next.terms = terms(there, .shared, planTime: reservation.planTime)
        guard case .success(let found) = sharedPlace(for: &next, offerId: nil, stayMin: reservation.stayMin, lot: there, at: now) else {
            return nil
        }
        next.spaceNo = found.space
        next.offerId = found.offer?.offerId
        return next
    }

    /// What the booked stay would cost, fen.
    func estimate(_ reservation: Reservation, at now: Millis) -> Int64 {
        sessionTariff(of: reservation, at: now)?.fee(from: reservation.planTime, to: reservation.expectedLeave, calendar: calendar) ?? 0
    }

    private mutating func record(
        _ difference: Int64, of reservation: inout Reservation, payer: Account, at now: Millis, _ events: inout [Event]
    ) {
        guard difference > 0 else { return }
        reservation.discountFen += difference
        reservation.discountBy = payer.text
        post(
            Posting(at: now, kind: .rehoming, reference: reservation.orderNo, [(payer, difference), (.compensation, -difference)]), &events)
    }
}
