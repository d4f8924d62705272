// Penalties, and how they are undone.
extension City {
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

    static func counters(of penalty: Penalty) -> [String] {
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
