/// Appointments of public places, and where they are looked for.
struct AppointmentTable: Sendable {
    struct PlaceDay: Hashable, Sendable {
        var place: String
        var day: Int64
    }

    /// By provider and number (`City.key`).
    private(set) var all: TextTable<Appointment> = [:]
    private var byNumber: TextTable<Set<ByteKey>> = [:]
    private var byProvider: [String: Set<ByteKey>] = [:]
    private var byDay: [PlaceDay: Set<ByteKey>] = [:]
    /// Those that have a right, by lot.
    private var rights: [String: Set<ByteKey>] = [:]
    /// Those that found no place in the reserved quota, by each lot that they may park in.
    private(set) var rightless: [String: Set<ByteKey>] = [:]

    subscript(key: String) -> Appointment? { all[key] }

    func count(of appId: String) -> Int { byProvider[appId]?.count ?? 0 }

    /// The appointments with a number, of any provider.
    func numbered(_ extNo: String) -> [(key: String, appointment: Appointment)] { found(byNumber[extNo]) }

    /// Those of a place on a day.
    func of(_ place: String, day: Int64) -> [Appointment] { found(byDay[PlaceDay(place: place, day: day)]).map(\.appointment) }

    func withRight(in parkCode: String) -> [(key: String, appointment: Appointment)] { found(rights[parkCode]) }

    /// Those without a right that may park in a lot, the earliest first.
    func waiting(in parkCode: String) -> [(key: String, appointment: Appointment)] {
        found(rightless[parkCode]).sorted { ($0.appointment.appointTime, $0.key) < ($1.appointment.appointTime, $1.key) }
    }

    func isWaiting(in parkCode: String) -> Bool { rightless[parkCode] != nil }

    private func found(_ keys: Set<ByteKey>?) -> [(key: String, appointment: Appointment)] {
        (keys ?? []).compactMap { key in all[key.text].map { (key.text, $0) } }
    }

    /// Puts an appointment where it is looked for, in place of what it was.
    mutating func keep(_ appointment: Appointment) {
        let key = City.key(appointment.appId, appointment.extNo)
        if let old = all[key] { unindex(old) }
        all[key] = appointment
        let name = ByteKey(key)
        byNumber[appointment.extNo, default: []].insert(name)
        byProvider[appointment.appId, default: []].insert(name)
        byDay[PlaceDay(place: appointment.placeCode, day: CivilTime.day(of: appointment.appointTime)), default: []].insert(name)
        if let parkCode = appointment.parkCode, appointment.state == .made { rights[parkCode, default: []].insert(name) }
    }

    mutating func remove(_ key: String) {
        guard let old = all.removeValue(forKey: key) else { return }
        unindex(old)
    }

    private mutating func unindex(_ appointment: Appointment) {
        let name = ByteKey(City.key(appointment.appId, appointment.extNo))
        byNumber[appointment.extNo]?.remove(name)
        if byNumber[appointment.extNo]?.isEmpty == true { byNumber.removeValue(forKey: appointment.extNo) }
        byProvider[appointment.appId]?.remove(name)
        let place = PlaceDay(place: appointment.placeCode, day: CivilTime.day(of: appointment.appointTime))
        byDay[place]?.remove(name)
        if byDay[place]?.isEmpty == true { byDay[place] = nil }
        if let parkCode = appointment.parkCode {
            rights[parkCode]?.remove(name)
            if rights[parkCode]?.isEmpty == true { rights[parkCode] = nil }
        }
    }

    /// Notes whether an appointment waits for a right in these lots.
    mutating func note(_ key: String, isWaiting: Bool, in parkCodes: [String]) {
        for parkCode in parkCodes {
            if isWaiting {
                rightless[parkCode, default: []].insert(ByteKey(key))
            } else {
                rightless[parkCode]?.remove(ByteKey(key))
                if rightless[parkCode]?.isEmpty == true { rightless[parkCode] = nil }
            }
        }
    }

    mutating func forget(where isOver: (Appointment) -> Bool) {
        for appointment in all.values where isOver(appointment) { remove(City.key(appointment.appId, appointment.extNo)) }
    }
}
