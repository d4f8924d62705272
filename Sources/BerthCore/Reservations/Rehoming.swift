// The owner's return is a hard limit. A driver who stays too long, or an owner who takes a space back, pays for moving the next driver.
extension City {
    /// Gives another space to each reservation whose space is still taken, without a request: the owner's return is a hard limit.
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

    /// Moves later reservations out of a space whose car had seemed not to come, because a late record shows it there. It is nobody's
    /// fault, so the platform bears the extra cost.
    mutating func makeWay(for reservation: Reservation, at now: Millis, _ events: inout [Event]) {
        guard let space = reservation.spaceNo, let lot = lots[reservation.parkCode] else { return }
        let others = lot.reservations.values.filter {
            $0.spaceNo == space && $0.orderNo != reservation.orderNo && ($0.status == .booked || $0.status == .held)
                && $0.enterStart < reservation.expectedLeave && now < $0.expectedLeave
        }
        for other in others.sorted(by: { $0.serial < $1.serial }) { displace(other, payer: .platform, at: now, &events) }
    }

    /// The account of the user whose car is in a space although its time is over; nil when there is none.
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

    /// Gives a reservation another place: in the same lot, else in the nearest one. The payer bears the extra cost, and the user is always
    /// told.
    mutating func displace(_ displaced: Reservation, payer: Account, at now: Millis, _ events: inout [Event]) {
        var reservation = displaced
        lots[known: reservation.parkCode].advance(to: now)
        let lot = lots[known: reservation.parkCode]
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
            // The state is unchanged, but the provider is told because the space is another one.
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
        next.serial = numbers.next(.reservation)
        next.orderNo = "YY" + CivilTime.text(ofDay: CivilTime.day(of: now), separator: "") + CivilTime.pad(next.serial, 10)
        reservation.rehomedTo = next.orderNo
        end(&reservation, as: .displaced, detail: "re-homed to \(next.orderNo), paid by \(payer.text)", now: now, &events)
        record(estimate(next, at: now) - old, of: &next, payer: payer, at: now, &events)
        // The user did not ask for it, so none of their limits applies.
        next.quotaKeys = []
        claim(&next, policy: lots[known: next.parkCode].policy(next.purpose), isAsked: false, &events)
        certify(&next, policy: lots[known: next.parkCode].policy(next.purpose), at: now, &events)
    }

    private func neighbour(of reservation: Reservation, lot: Lot, at now: Millis) -> Reservation? {
        var policy = lot.policy(.shared)
        policy.alternativesMetres = policy.rehomeMetres
        policy.alternativesMax = 1
        guard let place = alternatives(to: reservation, policy: policy, at: now).first, let there = lots[place.parkCode] else { return nil }
        var next = reservation
        next.parkCode = place.parkCode
        next.clientOrderNo = reservation.clientOrderNo.cut(to: 60) + "~\(reservation.orderVer)"
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

    /// The price of the booked stay, fen; 0 where no tariff is known.
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
