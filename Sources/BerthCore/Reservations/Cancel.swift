// Cancelling a reservation, and the counters of days and cancels.
extension City {
    mutating func cancel(
        appId: String, orderNo: String, confirmBreach: Bool, at now: Millis, past: Past
    ) -> Decision {
        guard var reservation = reservation(orderNo, past: past), reservation.appId == appId else {
            return Decision(.refused(.orderNotFound))
        }
        switch reservation.status {
        case .held, .booked: break
        case .waitlisted: return leaveWaitlist(appId: appId, orderNo: orderNo, at: now, past: past)
        case .cancelled, .cancelledBreach: return Decision(.refused(.orderCancelled))
        case .done: return Decision(.refused(.orderFinished))
        default: return Decision(.refused(.notCancellable))
        }
        // After the end of the window a cancel is refused, because the lot's log says whether the driver came.
        if reservation.status == .booked, now > reservation.enterEnd {
            return Decision(.notCancellable, RuleNote("enterEnd", until: reservation.enterEnd))
        }
        let policy = lots[reservation.parkCode]?.policy(reservation.purpose) ?? self.policy
        let keys = City.cancelKeys(reservation, at: now)
        let (dayKey, monthKey) = (keys[0], keys[1])
        let leftToday = policy.cancelMaxPerDay - counted(dayKey)
        let leftThisMonth = policy.cancelMaxPerMonth - counted(monthKey)
        let isLate = now >= reservation.terms.freeCancelUntil && reservation.status == .booked
        if isLate, !confirmBreach {
            return Decision(.breachNeedsConfirm, RuleNote("freeCancelUntil", until: reservation.terms.freeCancelUntil))
        }
        // A held reservation was never certain, so the limits of cancels do not apply to it.
        let isOverLimit = reservation.status == .booked && (leftToday <= 0 || leftThisMonth <= 0)
        if isOverLimit, !confirmBreach {
            return Decision(
                .cancelLimit,
                leftThisMonth <= 0
                    ? RuleNote(
                        "cancelMaxPerMonth", used: counted(monthKey), max: policy.cancelMaxPerMonth, until: CivilTime.endOfMonth(now))
                    : RuleNote(
                        "cancelMaxPerDay", used: counted(dayKey), max: policy.cancelMaxPerDay,
                        until: CivilTime.start(ofDay: CivilTime.day(of: now) + 1)))
        }
        let isBreach = isLate || isOverLimit

        var events: [Event] = []
        // A reservation whose deposit was not paid was never certain, so it does not count as a cancel.
        let wasHeld = reservation.terms.prepayFen > 0 && reservation.prepayNo == nil
        if !wasHeld {
            count(dayKey, by: 1, &events)
            count(monthKey, by: 1, &events)
        }
        end(
            &reservation, as: isBreach ? .cancelledLate : .cancelled,
            evidence: "cancelled at \(now); free until \(reservation.terms.freeCancelUntil); left \(leftToday)/\(leftThisMonth)", now: now,
            &events)
        return Decision(
            .cancelled(
                known(orderNo) ?? reservation, isBreach: isBreach, leftToday: max(0, leftToday - (wasHeld ? 0 : 1)),
                leftThisMonth: max(0, leftThisMonth - (wasHeld ? 0 : 1))), events)
    }

    /// Takes a reservation that ended without the user's fault out of the counters of its day.
    mutating func giveBackDailyCount(of reservation: Reservation, _ events: inout [Event]) {
        for key in City.dayKeys(reservation) + reservation.quotaKeys { count(key, by: -1, &events) }
    }

    /// The counters of the day in which a reservation is counted: its user's, and those of its plates.
    static func dayKeys(_ reservation: Reservation) -> [String] {
        let day = CivilTime.day(of: reservation.planTime)
        return [userDayKey(reservation, day: day)] + reservation.plates.map { plateDayKey($0, day: day) }
    }

    /// The counters of a cancel: of its day, and of its month.
    static func cancelKeys(_ reservation: Reservation, at time: Millis) -> [String] {
        [
            counterKey("cd", CivilTime.day(of: time), reservation.appId, reservation.userToken),
            counterKey("cm", CivilTime.month(of: time), reservation.appId, reservation.userToken),
        ]
    }

    static func userDayKey(_ reservation: Reservation, day: Int64) -> String {
        counterKey("ud", day, reservation.appId, reservation.userToken)
    }

    static func plateDayKey(_ plate: Plate, day: Int64) -> String { counterKey("pd", day, plate.revealed) }
}
