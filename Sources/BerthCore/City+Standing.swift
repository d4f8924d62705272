// Standing 信用: what a user is charged with, on evidence only; what it forbids him and until when; how it is undone.
extension City {
    public static let blackKind = "list.black.push"
    public static let whiteKind = "list.white.push"
    /// The lot's own lists (U24).
    public static let localMonthlyKind = "list1"
    public static let localWhiteKind = "list2"
    public static let localBlackKind = "list3"

    static func noShowKey(_ time: Millis, _ appId: String, _ userToken: String, _ group: String) -> String {
        // The city's own group has no name, and keys of older releases had none.
        let month = CivilTime.month(of: time)
        return group.isEmpty ? counterKey("nm", month, appId, userToken) : counterKey("nm", month, appId, userToken, group)
    }
    static func noShowPlateKey(_ time: Millis, _ plate: Plate, _ group: String) -> String {
        counterKey("pm", CivilTime.month(of: time), group, plate.revealed)
    }
    static func noShowYearKey(_ time: Millis, _ appId: String, _ userToken: String, _ group: String) -> String {
        counterKey("ny", CivilTime.year(of: time), appId, userToken, group)
    }
    static func strikeKey(_ time: Millis, _ appId: String, _ userToken: String, _ group: String) -> String {
        counterKey("ly", CivilTime.year(of: time), appId, userToken, group)
    }

    func group(of parkCode: String) -> String { lots[parkCode]?.profile?.group ?? "" }

    // MARK: What it forbids

    /// The ban under which a user or plate stands at a lot; nil when there is none.
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

    // MARK: Charging and undoing

    mutating func charge(_ reservation: Reservation, _ kind: Penalty.Kind, evidence: String, at now: Millis, _ events: inout [Event]) {
        charge(
            Penalty(
                penaltyId: "\(reservation.orderNo)-\(kind.letter)", kind: kind, appId: reservation.appId, userToken: reservation.userToken,
                plate: reservation.plate,
                parkCode: reservation.parkCode, group: group(of: reservation.parkCode), orderNo: reservation.orderNo, at: now,
                chargedAt: kind == .noShow ? reservation.planTime : now, evidence: evidence), at: now, &events)
    }

    mutating func charge(_ penalty: Penalty, at now: Millis, _ events: inout [Event]) {
        set(.penalty(penalty), &events)
        for key in City.counters(of: penalty) { count(key, by: 1, &events) }
        tell(
            penalty.appId, .credit(userToken: penalty.userToken, penalty.kind.refusal, orderNo: penalty.orderNo, isUndone: false), at: now,
            &events)
    }

    private static func counters(of penalty: Penalty) -> [String] {
        let (time, appId, user, group) = (penalty.chargedAt, penalty.appId, penalty.userToken, penalty.group)
        switch penalty.kind {
        case .noShow:
            return [
                noShowKey(time, appId, user, group), noShowYearKey(time, appId, user, group), noShowPlateKey(time, penalty.plate, group),
            ]
        case .lateDeparture: return [strikeKey(time, appId, user, group)]
        case .breach: return []
        }
    }

    /// Takes a penalty back, with everything that it counted.
    mutating func undo(_ penaltyId: String, by: String, at now: Millis, _ events: inout [Event]) {
        guard var penalty = penalties[penaltyId], penalty.state == .inForce else { return }
        penalty.state = .undone
        penalty.undoneBy = by
        set(.penalty(penalty), &events)
        for key in City.counters(of: penalty) where counted(key) > 0 { count(key, by: -1, &events) }
        tell(
            penalty.appId, .credit(userToken: penalty.userToken, penalty.kind.refusal, orderNo: penalty.orderNo, isUndone: true), at: now,
            &events)
    }

    // MARK: Appeals

    mutating func appeal(appId: String, penaltyId: String, text: String, images: [String], at now: Millis) -> Decision {
        guard let penalty = penalties[penaltyId], penalty.appId == appId else { return Decision(.refused(.notFound)) }
        guard penalty.state == .inForce else { return Decision(.refused(.wrongState)) }
        let policy = lots[penalty.parkCode]?.policy ?? self.policy
        let until = penalty.at + Millis(policy.appealDays) * CivilTime.dayLength
        guard now <= until else { return Decision(.wrongState, RuleNote("appealDays", max: policy.appealDays, until: until)) }
        let earlier = appeals.values.filter { $0.penaltyId == penaltyId }
        guard earlier.isEmpty else { return Decision(.wrongState, RuleNote("appeal", used: earlier.count, max: 1)) }
        let appeal = Appeal(
            appealId: "AP" + penaltyId, penaltyId: penaltyId, appId: appId, userToken: penalty.userToken, text: text, images: images,
            createdAt: now, answerBy: calendar.deadline(workdays: policy.appealWorkdays, after: now))
        var events: [Event] = []
        set(.appeal(appeal), &events)
        return Decision(.entity(.appeal(appeal)), events)
    }

    mutating func answerAppeal(_ appealId: String, isGranted: Bool, answer: String, at now: Millis, history: some History) -> Decision {
        guard var appeal = appeals[appealId] else { return Decision(.refused(.notFound)) }
        guard appeal.state == .open else { return Decision(.refused(.wrongState)) }
        appeal.state = isGranted ? .granted : .rejected
        appeal.answer = answer
        appeal.answeredAt = now
        var events: [Event] = []
        set(.appeal(appeal), &events)
        if isGranted {
            undo(appeal.penaltyId, by: appealId, at: now, &events)
            if let penalty = penalties[appeal.penaltyId] { makeGood(penalty, by: appealId, at: now, history: history, &events) }
        } else if let penalty = penalties[appeal.penaltyId] {
            tell(
                penalty.appId, .credit(userToken: penalty.userToken, penalty.kind.refusal, orderNo: penalty.orderNo, isUndone: false),
                at: now,
                &events)
        }
        return Decision(.entity(.appeal(appeal)), events)
    }

    /// What a penalty brought with it beside its counters: the deposit that was kept, the subscription that it ended.
    private mutating func makeGood(_ penalty: Penalty, by reference: String, at now: Millis, history: some History, _ events: inout [Event])
    {
        if var reservation = reservation(penalty.orderNo, history: history) {
            if reservation.isPenalised {
                reservation.isPenalised = false
                update(reservation, at: now, &events)
            }
            if penalty.kind == .breach {
                // As if it had been free: it counts against no limit.
                for key in City.cancelKeys(reservation, at: penalty.at) where counted(key) > 0 { count(key, by: -1, &events) }
                for key in City.dayKeys(reservation) + reservation.quotaKeys where counted(key) > 0 { count(key, by: -1, &events) }
            }
            if penalty.kind != .lateDeparture { returnForfeit(of: reservation, reference: reference, at: now, history: history, &events) }
            return
        }
        guard penalty.kind == .lateDeparture, let share = subscription(penalty.orderNo, in: penalty.parkCode), share.strikes > 0 else {
            return
        }
        forgive(share, at: now, &events)
    }

    /// Takes a strike from a subscription, and with it the end that it brought, where its times are still free.
    mutating func forgive(_ given: SharedSubscription, at now: Millis, _ events: inout [Event]) {
        var share = given
        share.strikes = max(0, share.strikes - 1)
        let spans = times(of: share, from: now)
        let lot = lots[share.parkCode]!
        if share.status == .terminated, share.strikes < share.strikesMax, now < share.validTo,
            spans.allSatisfy({ span in
                share.spaceNo.map { lot.spaces.isFree($0, from: span.from, to: span.to, except: share.authNo) }
                    ?? lot.hasRoom(.shared, from: span.from, to: span.to, now: now)
            })
        {
            share.status = share.insidePlate == nil ? .active : .inUse
            share.version += 1
            set(.subscription(share), &events)
            holdTimes(of: share, now: now)
            authorise(share, at: now, &events)
        } else {
            set(.subscription(share), &events)
        }
    }

    // MARK: Shown before it hurts

    public struct Counter: Sendable, Equatable {
        public var name: String
        public var used: Int
        public var max: Int
        public var until: Millis
        /// Of which operator's lots; "" of all that have none.
        public var group: String
        /// What happens when it is reached.
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

    /// The counters of a user (A11), before they hurt: those of the city, and those of each group in which something counts against him.
    /// - Parameters:
    ///   - parkCode: of the lot whose limits are asked for, and its operator's; the city's and every operator's with a record when nil.
    ///   - purpose: of what is to be booked there.
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
                name: "waitlistPerUser", used: waitingOf[key, default: 0], max: city.waitlistPerUser, until: dayEnd, group: "",
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

extension Penalty.Kind {
    var letter: String {
        switch self {
        case .noShow: "N"
        case .breach: "B"
        case .lateDeparture: "L"
        }
    }

    /// The code under which a provider is told of it.
    public var refusal: Rejection {
        switch self {
        case .noShow: .noShowBan
        case .breach: .breachNeedsConfirm
        case .lateDeparture: .lateDepartureStrikes
        }
    }
}
