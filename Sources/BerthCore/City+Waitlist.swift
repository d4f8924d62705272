// Waiting for a place 候补 (R1): one a user, in order, promoted by itself, closed ten minutes before.
extension City {
    /// Puts a new order on the list, since it found its window full.
    mutating func wait(_ order: inout Order, policy: Policy, at now: Millis) -> Decision {
        let closes = order.planTime - Millis(policy.waitlistCloseMin) * CivilTime.minute
        guard now < closes else {
            return full(
                .waitlistClosed, order, note: RuleNote("waitlistCloseMin", max: policy.waitlistCloseMin, until: closes), policy: policy,
                at: now)
        }
        let own = waitingOf["\(order.appId)|\(order.userToken)", default: 0]
        guard own < policy.waitlistPerUser else {
            return full(
                .waitlistFull, order, note: RuleNote("waitlistPerUser", used: own, max: policy.waitlistPerUser), policy: policy, at: now)
        }
        let inLot = waitingIn[order.parkCode, default: 0]
        guard inLot < policy.waitlistMax else {
            return full(.waitlistFull, order, note: RuleNote("waitlistMax", used: inLot, max: policy.waitlistMax), policy: policy, at: now)
        }
        lastSerial = order.serial
        order.status = .waitlisted
        order.holdDeadline = closes
        order.deliver = .notNeeded
        order.spaceNo = nil
        var events: [Event] = []
        update(order, at: now, &events)
        var decision = Decision(.order(lots[order.parkCode]!.orders[order.orderNo]!, isRepeat: false), events)
        decision.alternatives = alternatives(to: order, policy: policy, at: now)
        return decision
    }

    /// Its place in the order of those who wait at the lot, from 1.
    public func position(of order: Order) -> Int? {
        guard order.status == .waitlisted else { return nil }
        return lots[order.parkCode]?.waiting.firstIndex { $0.orderNo == order.orderNo }.map { $0 + 1 }
    }

    mutating func leaveWaitlist(appId: String, orderNo: String, at now: Millis, history: some History) -> Decision {
        guard var order = order(orderNo, history: history), order.appId == appId else { return Decision(.refused(.orderNotFound)) }
        guard order.status == .waitlisted else {
            return Decision(.refused(order.status == .cancelled ? .orderCancelled : .wrongState))
        }
        var events: [Event] = []
        end(&order, as: .leftWaitlist, now: now, &events)
        return Decision(
            .cancelled(
                order, isBreach: false, leftToday: cancelsLeft(order, at: now).today, leftThisMonth: cancelsLeft(order, at: now).month),
            events)
    }

    /// Who waits comes before who asks now, also for a place that has become free by time alone.
    mutating func promoteFirst(_ parkCode: String, at now: Millis) -> [Event] {
        guard waitingIn[parkCode, default: 0] > 0 else { return [] }
        var events: [Event] = []
        freed.insert(parkCode)
        giveFreedPlaces(at: now, &events)
        return events
    }

    /// Gives what has become free to appointments without a place and to those who wait, in their order.
    mutating func giveFreedPlaces(at now: Millis, _ events: inout [Event]) {
        // Giving frees nothing, but an order that is promoted may end others' waiting: one round looks at every one of them.
        let lots = freed.sorted()
        freed = []
        for parkCode in lots {
            self.lots[parkCode]!.advance(to: now)
            giveRights(parkCode, at: now, &events)
            guard waitingIn[parkCode, default: 0] > 0 else { continue }
            for order in self.lots[parkCode]!.waiting { promote(order, at: now, &events) }
        }
        freed = []
    }

    private mutating func promote(_ waiting: Order, at now: Millis, _ events: inout [Event]) {
        var order = waiting
        let lot = lots[order.parkCode]!
        let policy = lot.policy(order.purpose)
        guard now < order.holdDeadline ?? 0, let profile = lot.profile, profile.enabled.contains(order.purpose),
            isOpened(lot, for: order.purpose)
        else { return }
        if order.purpose == .shared {
            guard case .success(let place) = sharedPlace(for: &order, offerId: order.offerId, stayMin: order.stayMin, lot: lot, at: now)
            else { return }
            order.spaceNo = place.space
            order.offerId = place.offer?.offerId
        } else {
            guard lacksRoom(&order, now: now) == nil else { return }
        }
        let controls = flowDemands(on: order, at: now)
        guard controls.refusal == nil else { return }
        // What he may not do any more, he may not get either; he goes on waiting.
        let day = CivilTime.day(of: order.planTime)
        guard counted(City.userDayKey(order, day: day)) < policy.dailyMaxPerUser,
            order.plates.allSatisfy({ counted(City.plateDayKey($0, day: day)) < policy.dailyMaxPerPlate }),
            !order.plates.contains(where: { overlap($0, with: order) != nil }),
            order.plates.allSatisfy({ plate in
                refusePlate(plate, lot: lot, policy: policy, at: now) == nil
                    && standing(of: order.appId, order.userToken, plate, lot: lot, purpose: order.purpose, policy: policy, at: now) == nil
            })
        else { return }
        order.orderVer += 1
        claim(&order, policy: policy, &events)
        certify(&order, policy: policy, at: now, &events)
        events.append(.notice(Notice(parkCode: order.parkCode, eventType: 2013, occurredAt: now, orderNo: order.orderNo)))
    }
}
