/// The things that hold for many lots: policies by scope, the work calendar, public places, areas and their flow policies, lists of plates,
/// and the positions of the lots.
struct Directory: Sendable {
    /// The values that the city's settings give; scopes are laid over them.
    let policy: Policy
    /// Holidays and make-up workdays.
    private(set) var calendar: WorkCalendar
    /// The values that each scope sets now.
    private(set) var overrides: [PolicyScope: PolicyOverride] = [:]
    private(set) var places: TextTable<PublicPlace> = [:]
    private(set) var areas: TextTable<FlowArea> = [:]
    private(set) var flows: [City.FlowKey: FlowPolicy] = [:]
    /// Plates on lists of lots, groups and the city (D07, D08).
    private(set) var lists: [City.RecordKind: [Plate: ListEntry]] = [:]
    /// The positions of the lots, for the search of the nearest ones.
    private(set) var grid = GeoGrid()

    init(policy: Policy, calendar: WorkCalendar) {
        self.policy = policy
        self.calendar = calendar
    }

    /// Takes a new version of a scope's values; an older one changes nothing.
    mutating func keep(_ override: PolicyOverride) {
        guard let scope = PolicyScope(override.scope), overrides[scope].map({ $0.version < override.version }) ?? true else { return }
        overrides[scope] = override
    }

    mutating func keep(_ day: CalendarDay) { calendar.exceptions[day.day] = day.kind }
    mutating func keep(_ place: PublicPlace) { places[place.placeCode] = place }

    /// An area without lots is no more.
    mutating func keep(_ area: FlowArea) { areas[area.areaId] = area.parkCodes.isEmpty ? nil : area }
    mutating func keep(_ flow: FlowPolicy) { flows[City.FlowKey(flow)] = flow }
    mutating func remove(_ flow: FlowPolicy) { flows[City.FlowKey(flow)] = nil }
    mutating func forgetFlows(where isOver: (FlowPolicy) -> Bool) { flows = flows.filter { !isOver($0.value) } }

    mutating func set(_ entry: ListEntry?, of plate: Plate, on list: City.RecordKind) { lists[list, default: [:]][plate] = entry }
    mutating func clear(_ list: City.RecordKind) { lists[list] = nil }

    mutating func put(_ parkCode: String, at position: GeoPoint) { grid.put(parkCode, at: position) }
}
