import BerthCore
import BerthStore
import BerthWire

// O01 `policy.preview`: what other values would have meant for the reservations of a day.
extension Pipeline {
    /// The effect of one value on the reservations of a day.
    private struct Effect {
        var name: String
        var value: Int
        /// Reservations (or arrivals, or cancels) that the value is about.
        var looked = 0
        /// Those that it would have refused or judged otherwise.
        var changed = 0
        var users: Set<String> = []
    }

    /// The values whose effect can be read off reservations; others change what cannot be replayed from them.
    private static let readable: Set<String> = [
        "advanceMaxMin", "dailyMaxPerUser", "dailyMaxPerPlate", "earlyMin", "lateMin", "cancelMaxPerDay", "noShowMaxPerMonth",
    ]
    private static let reservationsMax = 200_000

    func policyPreview(
        _ request: VerifiedRequest, _ fields: FieldReader, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        guard
            case .setPolicy(let scope, let values) = try Decode.command(
                service: "policy.set", data: request.envelope.data,
                Decode.Caller(appId: request.envelope.appId, parkCode: "", requestId: "", dataHash: "", now: now))
        else { throw WireError("illegalValue", "scope") }
        var probe = Policy()
        for (name, value) in values where !probe.set(name, value) {
            // An empty value falls back to the wider scope; the name has to be one all the same.
            guard value.isEmpty, Policy().values.contains(where: { $0.name == name }) else {
                throw WireError("illegalValue", "values: \(name.prefix(40))")
            }
        }
        let day = fields.has("date") ? try Decode.day(fields, "date") : CivilTime.day(of: now) - 1
        let (from, to) = (CivilTime.start(ofDay: day), CivilTime.start(ofDay: day + 1))
        let groups = sequencer.readUndurable { $0.lots.mapValues { $0.profile?.group ?? "" } }
        fromDisk(completion) { [store] () throws(StoreError) in
            var filter = ReservationFilter()
            filter.limit = 1_000
            var found: [Reservation] = []
            var isCut = false
            // Serial numbers rise with the time at which reservations are made.
            while true {
                let page = try store.reservations(filter)
                found += page.filter { $0.createdAt < to && $0.createdAt >= from && scope.covers($0, group: groups[$0.parkCode] ?? "") }
                guard let last = page.last, page.count == 1_000, last.createdAt >= from else { break }
                guard found.count < Pipeline.reservationsMax else { isCut = true; break }
                filter.beforeSerial = last.serial
            }
            let effects = values.sorted { $0.key < $1.key }.map { name, value in
                Pipeline.effect(name, Int(value) ?? 0, isReadable: Pipeline.readable.contains(name) && Int(value) != nil, found)
            }
            return Reply(data: [
                "date": .string(CivilTime.text(ofDay: day)), "orders": .int(found.count), "cut": .bool(isCut),
                "effects": .array(
                    effects.map { effect in
                        guard let effect = effect.effect else { return ["name": .string(effect.name), "known": false] }
                        return [
                            "name": .string(effect.name), "known": true, "looked": .int(effect.looked), "changed": .int(effect.changed),
                            "users": .int(effect.users.count),
                        ]
                    }),
            ])
        }
    }

    private static func effect(_ name: String, _ value: Int, isReadable: Bool, _ found: [Reservation]) -> (name: String, effect: Effect?) {
        guard isReadable else { return (name, nil) }
        var effect = Effect(name: name, value: value)
        func note(_ reservation: Reservation, isChanged: Bool) {
            effect.looked += 1
            guard isChanged else { return }
            effect.changed += 1
            effect.users.insert("\(reservation.appId)|\(reservation.userToken)")
        }
        var counts: [String: Int] = [:]
        func next(_ key: String) -> Int {
            let count = counts[key, default: 0] + 1
            counts[key] = count
            return count
        }
        for reservation in found.reversed() {
            let minutes = (reservation.planTime - reservation.createdAt) / CivilTime.minute
            let user = "\(reservation.appId)|\(reservation.userToken)"
            switch name {
            case "advanceMaxMin": note(reservation, isChanged: minutes > value)
            case "dailyMaxPerUser": note(reservation, isChanged: next("\(CivilTime.day(of: reservation.planTime))|\(user)") > value)
            case "dailyMaxPerPlate":
                note(reservation, isChanged: next("\(CivilTime.day(of: reservation.planTime))|\(reservation.plate.revealed)") > value)
            case "earlyMin":
                if let enter = reservation.enterTime {
                    note(reservation, isChanged: enter < reservation.planTime - Millis(value) * CivilTime.minute)
                }
            case "lateMin":
                if let enter = reservation.enterTime {
                    note(reservation, isChanged: enter > reservation.planTime + Millis(value) * CivilTime.minute)
                }
            case "cancelMaxPerDay":
                if reservation.status == .cancelled || reservation.status == .cancelledBreach {
                    note(reservation, isChanged: next(user) > value)
                }
            default:
                if reservation.status == .noShow { note(reservation, isChanged: next(user) == value) }
            }
        }
        return (name, effect)
    }
}

extension PolicyScope {
    /// Whether a value of this scope is about a reservation.
    fileprivate func covers(_ reservation: Reservation, group: String) -> Bool {
        switch self {
        case .city: true
        case .product(let purpose): reservation.purpose == purpose
        case .group(let name): name == group
        case .lot(let parkCode): reservation.parkCode == parkCode
        case .lotProduct(let parkCode, let purpose): reservation.parkCode == parkCode && reservation.purpose == purpose
        }
    }
}
