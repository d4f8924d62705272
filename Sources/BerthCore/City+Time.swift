// What time brings about: holds that run out, no-shows, deliveries that came too late, overstays.
extension City {
    mutating func expire(_ parkCode: String, at now: Millis) -> Decision {
        guard let lot = lots[parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        lots[parkCode]!.advance(to: now)
        guard lot.nextDeadline <= now else { return Decision(.done) }
        var events: [Event] = []
        lots[parkCode]!.nextDeadline = .max
        let due = lot.orders.values.filter { Lot.deadline(of: $0).map { $0 <= now } ?? false }
            .sorted { $0.serial < $1.serial }
        for order in due { expire(order, at: now, &events) }
        var next = Millis.max
        for order in lots[parkCode]!.orders.values {
            guard let deadline = Lot.deadline(of: order) else { continue }
            // What waits for the lot's log is looked at again every second.
            next = min(next, deadline <= now ? now + 1000 : deadline)
        }
        lots[parkCode]!.nextDeadline = next
        return Decision(.done, events)
    }

    private mutating func expire(_ order: Order, at now: Millis, _ events: inout [Event]) {
        var order = order
        switch order.status {
        case .held:
            order.status = .rejected
            order.orderVer += 1
            order.holdDeadline = nil
            giveBackDailyCount(of: order, &events)
            send(.cancel(orderNo: order.orderNo, orderVer: order.orderVer, .server), for: &order, at: now, &events)
            update(order, at: now, &events)
        case .booked:
            guard now > order.enterEnd else { return }
            if order.deliver == .new || order.deliver == .sent {
                order.deliver = .expired
                update(order, at: now, &events)
            }
            guard lots[order.parkCode]!.passedThrough >= order.enterEnd else { return }
            judgeNoShow(&order, at: now, &events)
        case .inLot:
            order.overstay = true
            update(order, at: now, &events)
            events.append(
                .notice(
                    Notice(
                        parkCode: order.parkCode, eventType: 2008, occurredAt: order.leaveDeadline ?? now,
                        orderNo: order.orderNo, recordNo: order.recordNo)))
        default: break
        }
    }

    /// The window is over and the lot's log shows no entry. Without fault of the user when the lot never had the order.
    mutating func judgeNoShow(_ order: inout Order, at now: Millis, _ events: inout [Event]) {
        order.orderVer += 1
        if order.deliver == .expired || order.deliver == .refused {
            order.status = .rejected
            order.isCompensated = true
            giveBackDailyCount(of: order, &events)
            send(.cancel(orderNo: order.orderNo, orderVer: order.orderVer, .server), for: &order, at: now, &events)
        } else {
            order.status = .noShow
            order.isPenalised = true
            count(City.noShowKey(order), by: 1, &events)
            tell(
                order.appId, .credit(userToken: order.userToken, .noShowBan, orderNo: order.orderNo, isUndone: false), at: now, &events)
            send(.cancel(orderNo: order.orderNo, orderVer: order.orderVer, .noShow), for: &order, at: now, &events)
        }
        update(order, at: now, &events)
        events.append(
            .notice(
                Notice(
                    parkCode: order.parkCode, eventType: 2006, occurredAt: order.enterEnd, orderNo: order.orderNo)))
    }
}
