// The forecast of saturation.
extension City {
    /// S_book(t) of section 8, per thousand of the capacity: expected cars, and reservations that hold a place and are not in yet.
    public func bookedSaturation(_ parkCode: String, at time: Millis, now: Millis, except: Set<String> = []) -> Int {
        guard let lot = lots[parkCode], let capacity = lot.profile?.totalCount else { return 0 }
        return Saturation(
            occupied: lot.expectedOccupied(at: time, now: now, calendar).count + lot.notArrived(at: time, now: now, except: except),
            capacity: capacity
        ).perMille
    }
}

extension Lot {
    /// Cars expected at a moment (section 8): those of now, less those of reservations and subscriptions whose time is over by then. The
    /// usual change of cars without a reservation until then is added (last four same weekdays). Without that history their number stays;
    /// `dayCount` is the number of days used.
    public func expectedOccupied(at time: Millis, now: Millis, _ calendar: WorkCalendar) -> (count: Int, dayCount: Int) {
        let present = occupied
        guard time > now else { return (present, 0) }
        let leaving =
            reservations.values.reduce(0) { $0 + ($1.status == .inLot && now < $1.expectedLeave && $1.expectedLeave <= time ? 1 : 0) }
            + subscriptions.values.reduce(0) { sum, share in
                sum + (share.insidePlate != nil && share.leaveBy.map { now < $0 && $0 <= time } == true ? 1 : 0)
            }
        guard let then = usual(at: time, calendar), let today = usual(at: now, calendar) else { return (max(0, present - leaving), 0) }
        let capacity = profile?.totalCount ?? 0
        return (min(capacity, max(0, present - leaving + then.count - today.count)), min(then.days, today.days))
    }

    /// The usual number of cars without a reservation at this time of this weekday.
    func usual(at time: Millis, _ calendar: WorkCalendar) -> (count: Int, days: Int)? {
        guard let profile = occupancy[calendar.weekday(ofDay: CivilTime.day(of: time))], profile.occupied.count == 48 else { return nil }
        let minute = CivilTime.minuteOfDay(time)
        let (index, part) = (minute / 30, minute % 30)
        let next = profile.occupied[min(47, index + 1)]
        return (profile.occupied[index] + (next - profile.occupied[index]) * part / 30, profile.dayCount)
    }

    /// Cars that are in without a reservation or a subscription, as profiles count them.
    public var walkInCount: Int {
        max(0, occupied - inside.values.reduce(0) { $0 + (visits[$1]?.orderNo == nil ? 0 : 1) })
    }
}

extension OccupancyProfile {
    /// The times ahead for which the error is measured: half an hour to two hours, in half hours.
    private static let horizons = 1...4

    /// The profile of a weekday from days of it, each 48 counts, the newest last; at most four are used. Its error is measured on each day
    /// held out, half an hour to two hours ahead. The forecast is made as in use: the count of a moment plus the change of the other days
    /// from then on.
    public static func make(parkCode: String, weekday: Int, days: [[Int]], capacity: Int) -> OccupancyProfile? {
        let days = Array(days.filter { $0.count == 48 }.suffix(5))
        guard !days.isEmpty else { return nil }
        func mean(_ days: [[Int]]) -> [Int] {
            (0..<48).map { slot in (days.reduce(0) { $0 + $1[slot] } + days.count / 2) / days.count }
        }
        var error: Int?
        if days.count >= 2, capacity > 0 {
            var (sum, count) = (0, 0)
            for held in days.indices {
                let usual = mean(days.indices.filter { $0 != held }.map { days[$0] })
                for horizon in horizons {
                    for slot in 0..<(48 - horizon) {
                        let forecast = min(capacity, max(0, days[held][slot] + usual[slot + horizon] - usual[slot]))
                        sum += abs(days[held][slot + horizon] - forecast)
                        count += 1
                    }
                }
            }
            error = sum * 1000 / (count * capacity)
        }
        return OccupancyProfile(
            parkCode: parkCode, weekday: weekday, occupied: mean(Array(days.suffix(4))), dayCount: min(4, days.count), errorPerMille: error)
    }
}
