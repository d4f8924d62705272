/// An entity as the journal and the store carry it.
public enum Entity: Sendable, Equatable {
    case policy(PolicyOverride)
    case calendarDay(CalendarDay)
    case offer(SharedOffer)
    case subscription(SharedSubscription)
    case place(PublicPlace)
    case appointment(Appointment)
    case area(FlowArea)
    case flow(FlowPolicy)
    case penalty(Penalty)
    case appeal(Appeal)
    case gateCase(GateCase)
    case occupancy(OccupancyProfile)
    case person(Person)
    case signInCode(SignInCode)

    /// The name under which it is kept, its lot ("" for none), and the time from which it can be forgotten (nil: never).
    public var place: (kind: String, parkCode: String, key: String, endsAt: Millis?) {
        switch self {
        case .policy(let o): ("policy", "", "\(o.scope)@\(CivilTime.pad(o.version, 12))", nil)
        case .calendarDay(let d): ("calendar", "", CivilTime.pad(d.day, 8), nil)
        case .offer(let o): ("sharedOffer", o.parkCode, o.offerId, o.status == .withdrawn ? o.validTo : nil)
        case .subscription(let s): ("subscription", s.parkCode, s.authNo, s.status.holds ? nil : s.validTo)
        case .place(let p): ("publicPlace", "", p.placeCode, nil)
        case .appointment(let a): ("appointment", "", "\(a.appId)|\(a.extNo)", a.appointTime)
        case .area(let a): ("flowArea", "", a.areaId, nil)
        case .flow(let f): ("flow", f.parkCode, "\(f.areaId)|\(f.policyId)", f.validTo)
        case .penalty(let p): ("penalty", p.parkCode, p.penaltyId, p.at)
        case .appeal(let a): ("appeal", "", a.appealId, a.createdAt)
        case .gateCase(let c): ("gateCase", c.parkCode, c.caseNo, c.at)
        case .occupancy(let o): ("occupancy", o.parkCode, "\(o.weekday)", nil)
        case .person(let p): ("person", "", p.personId, p.state == .deleted ? p.changedAt : nil)
        case .signInCode(let c): ("signInCode", "", c.login, c.expiresAt)
        }
    }
}
