// What a driver can do: create, modify, cancel (interface.md, section 6; defaults of section 7).
extension City {
    mutating func create(_ booking: Booking, at now: Millis, history: some History) -> Decision {
        // The provider's own key, before any state: an equal request gets its order in its present state.
        if let known = order(appId: booking.appId, clientOrderNo: booking.clientOrderNo, history: history) {
            return known.requestHash == booking.requestHash
                ? Decision(.order(known, isRepeat: true)) : Decision(.refused(.keyReused))
        }
        guard let lot = lots[booking.parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        guard let profile = lot.profile else { return Decision(.refused(.lotIncomplete)) }
        if !profile.enabled.contains(booking.purpose) || !isOpened(lot, for: booking.purpose) {
            return Decision(.refused(booking.purpose == .shared ? .sharingNotEnabled : .reservationNotEnabled))
        }
        // Appointments of halls and hospitals come with the public-service rules; until then there is none to find.
        if booking.purpose == .publicService { return Decision(.refused(.appointmentNotFound)) }
        guard booking.plate.fits(color: booking.plateColor) else { return Decision(.refused(.plateColorMismatch)) }
        if let refusal = refuseTime(booking.planTime, lot: lot, profile: profile, at: now) {
            return Decision(.refused(refusal))
        }

        let policy = lot.policy
        let orderSerial = lastSerial + 1
        let day = CivilTime.day(of: booking.planTime)
        var order = Order(
            serial: orderSerial,
            orderNo: "YY" + CivilTime.text(ofDay: CivilTime.day(of: now), separator: "") + CivilTime.pad(orderSerial, 10),
            clientOrderNo: booking.clientOrderNo, requestHash: booking.requestHash, appId: booking.appId,
            userToken: booking.userToken, parkCode: booking.parkCode, purpose: booking.purpose, plate: booking.plate,
            plateColor: booking.plateColor, mobile: booking.mobile, extNo: booking.extNo, planTime: booking.planTime,
            enterStart: booking.planTime - Millis(policy.earlyMin) * CivilTime.minute,
            enterEnd: booking.planTime + Millis(policy.lateMin) * CivilTime.minute,
            leaveDeadline: booking.purpose == .shared
                ? booking.planTime + Millis(policy.stayMin) * CivilTime.minute : nil,
            stayMin: policy.stayMin, entryLimit: policy.entriesPerOrder,
            status: policy.confirmMode == .trust ? .booked : .held, createdAt: now)
        if order.status == .held { order.holdDeadline = now + Millis(policy.holdMin) * CivilTime.minute }

        if overlaps(order.plate, from: order.enterStart, to: order.expectedLeave, except: nil) {
            return Decision(.refused(.overlappingBooking))
        }
        let userKey = City.userDayKey(order, day: day)
        let plateKey = City.plateDayKey(order.plate, day: day)
        if counters[userKey, default: 0] >= policy.dailyMaxPerUser
            || counters[plateKey, default: 0] >= policy.dailyMaxPerPlate
        {
            return Decision(.refused(.dailyLimit))
        }
        lots[booking.parkCode]!.advance(to: now)
        guard
            lots[booking.parkCode]!.hasRoom(
                order.purpose, from: order.enterStart, to: order.expectedLeave, now: now)
        else { return Decision(.refused(.noBookableSpace)) }

        lastSerial = orderSerial
        var events: [Event] = []
        count(userKey, by: 1, max: policy.dailyMaxPerUser, &events)
        count(plateKey, by: 1, max: policy.dailyMaxPerPlate, &events)
        send(.reserve(order), for: &order, at: now, &events)
        update(order, at: now, &events)
        return Decision(.order(lots[order.parkCode]!.orders[order.orderNo]!, isRepeat: false), events)
    }

    /// Whether the city lets the lot do this business: in review it is switched on when its checklist is passed.
    public func isOpened(_ lot: Lot, for purpose: Purpose) -> Bool {
        lot.stage != .suspended && (!reviewsLots || (lot.stage == .live && lot.opened.contains(purpose)))
    }

    /// Whether a lot takes arrivals at this time at all, and whether it can be booked yet and still.
    private func refuseTime(_ planTime: Millis, lot: Lot, profile: LotProfile, at now: Millis) -> Refusal? {
        if planTime < now { return .tooLate }
        if planTime > now + Millis(lot.policy.advanceMaxMin) * CivilTime.minute { return .notOpenYet }
        if !profile.isOpen(at: planTime) { return .lotClosed }
        return nil
    }

    mutating func modify(
        appId: String, orderNo: String, planTime: Millis?, plate: Plate?, plateColor: Int?, at now: Millis,
        history: some History
    ) -> Decision {
        guard var order = order(orderNo, history: history), order.appId == appId else {
            return Decision(.refused(.orderNotFound))
        }
        switch order.status {
        case .held, .booked: break
        case .inLot: return Decision(.refused(.modifyAfterEntry))
        case .done: return Decision(.refused(.orderFinished))
        case .cancelled, .cancelledBreach: return Decision(.refused(.orderCancelled))
        default: return Decision(.refused(.wrongState))
        }
        guard let lot = lots[order.parkCode], let profile = lot.profile else { return Decision(.refused(.lotIncomplete)) }
        if now > order.enterEnd { return Decision(.refused(.tooLate)) }
        let policy = lot.policy
        let old = order
        if let plate { order.plate = plate }
        if let plateColor { order.plateColor = plateColor }
        if let planTime {
            order.planTime = planTime
            order.enterStart = planTime - Millis(policy.earlyMin) * CivilTime.minute
            order.enterEnd = planTime + Millis(policy.lateMin) * CivilTime.minute
            if order.leaveDeadline != nil { order.leaveDeadline = planTime + Millis(order.stayMin) * CivilTime.minute }
        }
        if order == old { return Decision(.order(old, isRepeat: false)) }
        guard order.plate.fits(color: order.plateColor) else { return Decision(.refused(.plateColorMismatch)) }
        if order.plate != old.plate {
            if order.plateChanges >= policy.plateChangesMax { return Decision(.refused(.wrongState)) }
            order.plateChanges += 1
        }
        if order.planTime != old.planTime,
            let refusal = refuseTime(order.planTime, lot: lot, profile: profile, at: now)
        {
            return Decision(.refused(refusal))
        }
        if overlaps(order.plate, from: order.enterStart, to: order.expectedLeave, except: orderNo) {
            return Decision(.refused(.overlappingBooking))
        }
        let oldDay = CivilTime.day(of: old.planTime)
        let day = CivilTime.day(of: order.planTime)
        let userKeys = (City.userDayKey(old, day: oldDay), City.userDayKey(order, day: day))
        let plateKeys = (City.plateDayKey(old.plate, day: oldDay), City.plateDayKey(order.plate, day: day))
        if userKeys.0 != userKeys.1, counters[userKeys.1, default: 0] >= policy.dailyMaxPerUser {
            return Decision(.refused(.dailyLimit))
        }
        if plateKeys.0 != plateKeys.1, counters[plateKeys.1, default: 0] >= policy.dailyMaxPerPlate {
            return Decision(.refused(.dailyLimit))
        }
        if order.planTime != old.planTime {
            // Its own place does not stand in its way.
            lots[order.parkCode]!.advance(to: now)
            lots[order.parkCode]!.release(orderNo)
            let hasRoom = lots[order.parkCode]!.hasRoom(
                order.purpose, from: order.enterStart, to: order.expectedLeave, now: now)
            guard hasRoom else {
                lots[order.parkCode]!.rehold(old, now: now)
                return Decision(.refused(.noBookableSpace))
            }
        }
        var events: [Event] = []
        if userKeys.0 != userKeys.1 {
            count(userKeys.0, by: -1, &events)
            count(userKeys.1, by: 1, max: policy.dailyMaxPerUser, &events)
        }
        if plateKeys.0 != plateKeys.1 {
            count(plateKeys.0, by: -1, &events)
            count(plateKeys.1, by: 1, max: policy.dailyMaxPerPlate, &events)
        }
        order.orderVer += 1
        send(.modify(order), for: &order, at: now, &events)
        update(order, at: now, &events)
        return Decision(.order(lots[order.parkCode]!.orders[orderNo]!, isRepeat: false), events)
    }

    /// A08: once, a later end of the entry window; the place is held as long as before, so nobody is pushed out by it.
    mutating func delay(appId: String, orderNo: String, at now: Millis, history: some History) -> Decision {
        guard var order = order(orderNo, history: history), order.appId == appId else {
            return Decision(.refused(.orderNotFound))
        }
        switch order.status {
        case .held, .booked: break
        case .inLot: return Decision(.refused(.modifyAfterEntry))
        case .done: return Decision(.refused(.orderFinished))
        case .cancelled, .cancelledBreach: return Decision(.refused(.orderCancelled))
        default: return Decision(.refused(.wrongState))
        }
        guard let policy = lots[order.parkCode]?.policy else { return Decision(.refused(.lotNotRegistered)) }
        if now > order.enterEnd { return Decision(.refused(.tooLate)) }
        // Where the place would not be the driver's any more when he comes, there is nothing to extend.
        let later = min(order.enterEnd + Millis(policy.delayMin) * CivilTime.minute, order.expectedLeave)
        guard !order.isDelayed, later > order.enterEnd else { return Decision(.refused(.delayNotAllowed)) }
        order.enterEnd = later
        order.isDelayed = true
        order.orderVer += 1
        var events: [Event] = []
        send(.modify(order), for: &order, at: now, &events)
        update(order, at: now, &events)
        return Decision(.order(lots[order.parkCode]!.orders[orderNo]!, isRepeat: false), events)
    }

    mutating func cancel(
        appId: String, orderNo: String, confirmBreach: Bool, at now: Millis, history: some History
    ) -> Decision {
        guard var order = order(orderNo, history: history), order.appId == appId else {
            return Decision(.refused(.orderNotFound))
        }
        switch order.status {
        case .held, .booked: break
        case .cancelled, .cancelledBreach: return Decision(.refused(.orderCancelled))
        case .done: return Decision(.refused(.orderFinished))
        default: return Decision(.refused(.notCancellable))
        }
        let policy = lots[order.parkCode]?.policy ?? self.policy
        let dayKey = "cd|\(CivilTime.day(of: now))|\(order.appId)|\(order.userToken)"
        let monthKey = "cm|\(CivilTime.month(of: now))|\(order.appId)|\(order.userToken)"
        let leftToday = policy.cancelMaxPerDay - counters[dayKey, default: 0]
        let leftThisMonth = policy.cancelMaxPerMonth - counters[monthKey, default: 0]
        let isLate = now >= order.enterStart && order.status == .booked
        if isLate, !confirmBreach { return Decision(.refused(.breachNeedsConfirm)) }
        let isOverLimit = leftToday <= 0 || leftThisMonth <= 0
        if isOverLimit, !confirmBreach { return Decision(.refused(.cancelLimit)) }
        let isBreach = isLate || isOverLimit

        var events: [Event] = []
        order.status = isBreach ? .cancelledBreach : .cancelled
        order.orderVer += 1
        count(dayKey, by: 1, &events)
        count(monthKey, by: 1, &events)
        if !isBreach { giveBackDailyCount(of: order, &events) }
        send(
            .cancel(orderNo: orderNo, orderVer: order.orderVer, isBreach ? .breach : .user), for: &order, at: now,
            &events)
        update(order, at: now, &events)
        return Decision(
            .cancelled(
                lots[order.parkCode]!.orders[orderNo]!, isBreach: isBreach, leftToday: max(0, leftToday - 1),
                leftThisMonth: max(0, leftThisMonth - 1)), events)
    }

    /// A booking that ended without the user's fault does not count against his day.
    mutating func giveBackDailyCount(of order: Order, _ events: inout [Event]) {
        let day = CivilTime.day(of: order.planTime)
        count(City.userDayKey(order, day: day), by: -1, &events)
        count(City.plateDayKey(order.plate, day: day), by: -1, &events)
    }

    static func userDayKey(_ order: Order, day: Int64) -> String { "ud|\(day)|\(order.appId)|\(order.userToken)" }
    static func plateDayKey(_ plate: Plate, day: Int64) -> String { "pd|\(day)|\(plate.revealed)" }
    static func noShowKey(_ order: Order) -> String {
        "nm|\(CivilTime.month(of: order.planTime))|\(order.appId)|\(order.userToken)"
    }
}
