// Standing of users and plates: limits, bans, exempt vehicles.
extension City {
    public static let blackKind = "list.black.push"

    public static let whiteKind = "list.white.push"

    /// The lot's own lists (U24).
    public static let localMonthlyKind = "list1"

    public static let localWhiteKind = "list2"

    public static let localBlackKind = "list3"

    func group(of parkCode: String) -> String { lots[parkCode]?.profile?.group ?? "" }

    /// The ban on a user or plate at a lot; nil when there is none.
    func standing(
        of appId: String, _ userToken: String, _ plate: Plate, lot: Lot, purpose: Purpose, policy: Policy, at now: Millis
    ) -> (Rejection, RuleNote)? {
        let group = lot.profile?.group ?? ""
        let month = counted(City.noShowKey(now, appId, userToken, group))
        if month >= policy.noShowMaxPerMonth {
            return (.noShowBan, RuleNote("noShowMaxPerMonth", used: month, max: policy.noShowMaxPerMonth, until: CivilTime.endOfMonth(now)))
        }
        if policy.noShowMaxPerPlate > 0 {
            let used = counted(City.noShowPlateKey(now, plate, group))
            if used >= policy.noShowMaxPerPlate {
                return (
                    .noShowBan, RuleNote("noShowMaxPerPlate", used: used, max: policy.noShowMaxPerPlate, until: CivilTime.endOfMonth(now))
                )
            }
        }
        if policy.noShowMaxPerYear > 0 {
            let used = counted(City.noShowYearKey(now, appId, userToken, group))
            if used >= policy.noShowMaxPerYear {
                return (
                    .yearlyBlacklist,
                    RuleNote("noShowMaxPerYear", used: used, max: policy.noShowMaxPerYear, until: CivilTime.endOfYear(now))
                )
            }
        }
        if purpose == .shared {
            let strikes = counted(City.strikeKey(now, appId, userToken, group))
            if strikes >= policy.shareLateStrikes {
                return (
                    .lateDepartureStrikes,
                    RuleNote("shareLateStrikes", used: strikes, max: policy.shareLateStrikes, until: CivilTime.endOfYear(now))
                )
            }
        }
        return nil
    }

    func refuseStanding(of booking: Booking, lot: Lot, policy: Policy, at now: Millis) -> Decision? {
        for plate in [booking.plate] + booking.otherPlates {
            if let (refusal, note) = standing(
                of: booking.appId, booking.userToken, plate, lot: lot, purpose: booking.purpose, policy: policy, at: now)
            {
                return Decision(refusal, note)
            }
        }
        return nil
    }

    /// Vehicles that need no booking and never use a quota (R5): police, armed police, military, and filed ones.
    public func isExempt(_ plate: Plate, lot: Lot, policy: Policy, at now: Millis) -> Bool {
        guard policy.exemptClasses == 1 else { return false }
        return plate.isExemptClass || isListed(City.exemptKind, lot.parkCode, plate, at: now)
    }

    public static let exemptKind = "list.exempt"

    public struct Counter: Sendable, Equatable {
        public var name: String
        public var used: Int
        public var max: Int
        public var until: Millis
        /// The operator of the lots that it is for; "" for all lots without one.
        public var group: String
        /// The refusal when it is reached.
        public var refusal: Rejection
    }

    func cancelsLeft(_ reservation: Reservation, at now: Millis) -> (today: Int, month: Int) {
        let policy = lots[reservation.parkCode]?.policy(reservation.purpose) ?? self.policy
        let key = "\(reservation.appId)|\(reservation.userToken)"
        return (
            max(0, policy.cancelMaxPerDay - counted("cd|\(CivilTime.day(of: now))|\(key)")),
            max(0, policy.cancelMaxPerMonth - counted("cm|\(CivilTime.month(of: now))|\(key)"))
        )
    }

    /// The counters of a user (A11), also below their limits: those of the city, and those of each group in which one is not zero.
    /// - Parameters:
    ///   - parkCode: of the lot whose limits are asked for, and its operator's; the city's and every operator's with a record when nil.
    ///   - purpose: of the booking there.
    public func standing(
        appId: String, userToken: String, plate: Plate? = nil, parkCode: String? = nil, purpose: Purpose = .reservation, at now: Millis
    ) -> [Counter] {
        let day = CivilTime.day(of: now)
        let dayEnd = CivilTime.start(ofDay: day + 1)
        let (monthEnd, yearEnd) = (CivilTime.endOfMonth(now), CivilTime.endOfYear(now))
        let key = "\(appId)|\(userToken)"
        var city = policy
        for (name, value) in overrides[.city]?.values ?? [:] { _ = city.set(name, value) }
        let asked = parkCode.flatMap { lots[$0] }
        if let asked { city = asked.policy(purpose) }
        func used(_ key: String) -> Int { counted(key) }
        var rows = [
            Counter(
                name: "dailyMaxPerUser", used: used("ud|\(day)|\(key)"), max: city.dailyMaxPerUser, until: dayEnd, group: "",
                refusal: .dailyLimit),
            Counter(
                name: "cancelMaxPerDay", used: used("cd|\(day)|\(key)"), max: city.cancelMaxPerDay, until: dayEnd, group: "",
                refusal: .cancelLimit),
            Counter(
                name: "cancelMaxPerMonth", used: used("cm|\(CivilTime.month(of: now))|\(key)"), max: city.cancelMaxPerMonth,
                until: monthEnd,
                group: "", refusal: .cancelLimit),
            Counter(
                name: "waitlistPerUser", used: claims.waiting(of: appId, userToken), max: city.waitlistPerUser, until: dayEnd, group: "",
                refusal: .waitlistFull),
        ]
        if let plate {
            rows.append(
                Counter(
                    name: "dailyMaxPerPlate", used: used(City.plateDayKey(plate, day: day)), max: city.dailyMaxPerPlate, until: dayEnd,
                    group: "",
                    refusal: .dailyLimit))
        }
        let own = penalties.values.filter { $0.appId == appId && $0.userToken == userToken }
        let groups = asked.map { [$0.profile?.group ?? ""] } ?? Set(own.map(\.group)).union([""]).sorted()
        for group in groups {
            // The strictest lot of the group says what the group's counters mean, unless one lot is asked for.
            let members = asked == nil ? lots.values.filter { ($0.profile?.group ?? "") == group } : []
            let months = members.map(\.policy.noShowMaxPerMonth).min() ?? city.noShowMaxPerMonth
            let years = members.map(\.policy.noShowMaxPerYear).filter { $0 > 0 }.min() ?? city.noShowMaxPerYear
            let plates = members.map(\.policy.noShowMaxPerPlate).filter { $0 > 0 }.min() ?? city.noShowMaxPerPlate
            let strikes = members.map { $0.policy(.shared).shareLateStrikes }.min() ?? city.shareLateStrikes
            rows.append(
                Counter(
                    name: "noShowMaxPerMonth", used: used(City.noShowKey(now, appId, userToken, group)), max: months, until: monthEnd,
                    group: group,
                    refusal: .noShowBan))
            if years > 0 {
                rows.append(
                    Counter(
                        name: "noShowMaxPerYear", used: used(City.noShowYearKey(now, appId, userToken, group)), max: years, until: yearEnd,
                        group: group, refusal: .yearlyBlacklist))
            }
            if plates > 0, let plate {
                rows.append(
                    Counter(
                        name: "noShowMaxPerPlate", used: used(City.noShowPlateKey(now, plate, group)), max: plates, until: monthEnd,
                        group: group,
                        refusal: .noShowBan))
            }
            rows.append(
                Counter(
                    name: "shareLateStrikes", used: used(City.strikeKey(now, appId, userToken, group)), max: strikes, until: yearEnd,
                    group: group,
                    refusal: .lateDepartureStrikes))
        }
        return rows
    }
}
