// The owner's return is a hard limit: who stays too long, or takes his space back, moves the next one and pays for it.
extension City {
    /// The owner's return is a hard limit: whoever is booked into a space that is still taken gets another one by himself.
    mutating func rehomeFollowers(_ parkCode: String, at now: Millis, _ events: inout [Event]) {
        guard let lot = lots[parkCode] else { return }
        let lead = Millis(lot.policy(.shared).rehomeLeadMin) * CivilTime.minute
        let due = lot.orders.values.filter {
            $0.spaceNo != nil && ($0.status == .booked || $0.status == .held) && $0.enterStart - lead <= now
        }
        for order in due.sorted(by: { $0.serial < $1.serial }) {
            guard let payer = overstayer(in: order.spaceNo!, of: lot, before: order, at: now) else { continue }
            events.append(
                .notice(Notice(parkCode: parkCode, eventType: 2010, occurredAt: now, orderNo: order.orderNo, detail: order.spaceNo!)))
            displace(order, payer: payer, at: now, &events)
        }
    }

    /// A late record has put a car into a space that was given on when nobody seemed to come: whoever booked it since gets another one. It is
    /// nobody's fault; what it costs more is the platform's.
    mutating func makeWay(for order: Order, at now: Millis, _ events: inout [Event]) {
        guard let space = order.spaceNo, let lot = lots[order.parkCode] else { return }
        let others = lot.orders.values.filter {
            $0.spaceNo == space && $0.orderNo != order.orderNo && ($0.status == .booked || $0.status == .held)
                && $0.enterStart < order.expectedLeave && now < $0.expectedLeave
        }
        for other in others.sorted(by: { $0.serial < $1.serial }) { displace(other, payer: .platform, at: now, &events) }
    }

    /// Who stands in a space although his time is over.
    private func overstayer(in space: String, of lot: Lot, before order: Order, at now: Millis) -> Account? {
        if let other = lot.orders.values.first(where: {
            $0.spaceNo == space && $0.status == .inLot && $0.orderNo != order.orderNo && ($0.leaveDeadline ?? .max) <= now
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
    mutating func displace(_ displaced: Order, payer: Account, at now: Millis, _ events: inout [Event]) {
        var order = displaced
        lots[order.parkCode]!.advance(to: now)
        let lot = lots[order.parkCode]!
        let old = estimate(order, at: now)
        var moved = order
        if case .success(let place) = sharedPlace(
            for: &moved, offerId: nil, stayMin: order.stayMin, lot: lot, except: order.spaceNo, at: now),
            moved.expectedLeave >= order.expectedLeave
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
                    Notice(
                        parkCode: order.parkCode, eventType: 2011, occurredAt: now, orderNo: order.orderNo,
                        detail: "\(order.spaceNo ?? "") to \(moved.spaceNo ?? Pool.shared.rawValue), paid by \(payer.text)")))
            return
        }
        let next = neighbour(of: order, lot: lot, at: now)
        guard var next else {
            end(&order, as: .displaced, detail: "re-homed to nowhere, paid by \(payer.text)", now: now, &events)
            return
        }
        lastSerial += 1
        next.serial = lastSerial
        next.orderNo = "YY" + CivilTime.text(ofDay: CivilTime.day(of: now), separator: "") + CivilTime.pad(lastSerial, 10)
        order.rehomedTo = next.orderNo
        end(&order, as: .displaced, detail: "re-homed to \(next.orderNo), paid by \(payer.text)", now: now, &events)
        record(estimate(next, at: now) - old, of: &next, payer: payer, at: now, &events)
        // The user did not ask for it: no limit of theirs stands in its way.
        next.quotaKeys = []
        claim(&next, policy: lots[next.parkCode]!.policy(next.purpose), isAsked: false, &events)
        certify(&next, policy: lots[next.parkCode]!.policy(next.purpose), at: now, &events)
    }

    private func neighbour(of order: Order, lot: Lot, at now: Millis) -> Order? {
        var policy = lot.policy(.shared)
        policy.alternativesMetres = policy.rehomeMetres
        policy.alternativesMax = 1
        guard let place = alternatives(to: order, policy: policy, at: now).first, let there = lots[place.parkCode] else { return nil }
        var next = order
        next.parkCode = place.parkCode
        next.clientOrderNo = String(order.clientOrderNo.prefix(60)) + "~\(order.orderVer)"
        next.orderVer = 1
        next.createdAt = now
        next.downSeq = 0
        next.deliver = .new
        next.rehomedFrom = order.orderNo
        next.rehomedTo = nil
        next.spaceNo = nil
        next.offerId = nil
        next.terms = terms(there, .shared, planTime: order.planTime)
        guard case .success(let found) = sharedPlace(for: &next, offerId: nil, stayMin: order.stayMin, lot: there, at: now) else {
            return nil
        }
        next.spaceNo = found.space
        next.offerId = found.offer?.offerId
        return next
    }

    /// What the booked stay would cost, fen.
    func estimate(_ order: Order, at now: Millis) -> Int64 {
        sessionTariff(of: order, at: now)?.fee(from: order.planTime, to: order.expectedLeave, calendar: calendar) ?? 0
    }

    private mutating func record(_ difference: Int64, of order: inout Order, payer: Account, at now: Millis, _ events: inout [Event]) {
        guard difference > 0 else { return }
        order.discountFen += difference
        order.discountBy = payer.text
        post(Posting(at: now, kind: .rehoming, reference: order.orderNo, [(payer, difference), (.compensation, -difference)]), &events)
    }
}
