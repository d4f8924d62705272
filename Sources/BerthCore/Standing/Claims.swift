/// The claims of users and plates anywhere in the city: counted limits, the windows of a plate's reservations, places in waitlists, and the
/// lots in which a plate is inside.
struct Claims: Sendable {
    struct PlateWindow: Sendable {
        var serial: Int64
        var from: Millis
        var to: Millis
    }

    /// Bookings, cancels and penalties by user and plate, of a day, month or year.
    private(set) var counters = CounterTable()
    /// Windows in which a plate has an active reservation.
    private(set) var windows: [Plate: [PlateWindow]] = [:]
    /// Waiting reservations by user (`appId|userToken`) and by lot.
    private(set) var waitingOf: TextTable<Int> = [:]
    private(set) var waitingIn: [String: Int] = [:]
    /// The lots in which each plate is inside.
    private(set) var insideLots: [Plate: Set<String>] = [:]

    // MARK: Counted limits

    func count(_ key: ByteKey) -> Int { counters[key, default: 0] }
    mutating func add(_ delta: Int, to key: ByteKey) { counters[key, default: 0] += delta }
    mutating func set(_ count: Int, of key: ByteKey) { counters[key] = count }
    mutating func forget(shard: Int, where isOver: (String) -> Bool) { counters.forget(shard: shard, where: isOver) }

    // MARK: One car in one place

    /// The window of another active reservation of the plate that meets the window of this one; nil when there is none.
    func overlap(_ plate: Plate, with reservation: Reservation) -> PlateWindow? {
        windows[plate]?.first {
            $0.serial != reservation.serial && $0.from < reservation.expectedLeave && reservation.enterStart < $0.to
        }
    }

    mutating func hold(_ reservation: Reservation) {
        for plate in reservation.plates {
            windows[plate, default: []].append(
                PlateWindow(serial: reservation.serial, from: reservation.enterStart, to: reservation.expectedLeave))
        }
    }

    mutating func release(_ reservation: Reservation) {
        for plate in reservation.plates {
            windows[plate]?.removeAll { $0.serial == reservation.serial }
            if windows[plate]?.isEmpty == true { windows[plate] = nil }
        }
    }

    mutating func note(_ plate: Plate, inside parkCode: String, isInside: Bool) {
        if isInside {
            insideLots[plate, default: []].insert(parkCode)
        } else {
            insideLots[plate]?.remove(parkCode)
            if insideLots[plate]?.isEmpty == true { insideLots[plate] = nil }
        }
    }

    // MARK: Waiting

    func waiting(in parkCode: String) -> Int { waitingIn[parkCode, default: 0] }
    func waiting(of appId: String, _ userToken: String) -> Int { waitingOf["\(appId)|\(userToken)", default: 0] }

    mutating func countWaiting(_ reservation: Reservation, by delta: Int) {
        let user = "\(reservation.appId)|\(reservation.userToken)"
        waitingOf[user, default: 0] += delta
        if waitingOf[user] == 0 { waitingOf[user] = nil }
        waitingIn[reservation.parkCode, default: 0] += delta
    }
}
