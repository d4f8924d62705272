// The place of each kind of entity in the city.
extension City {
    /// Puts an entity where the rules find it.
    mutating func place(_ entity: Entity) {
        switch entity {
        case .policy(let override):
            guard PolicyScope(override.scope) != nil else { return }
            numbers.given(.policyVersion, override.version)
            directory.keep(override)
        case .calendarDay(let day): directory.keep(day)
        case .offer(let offer):
            lots[offer.parkCode]?.offers[offer.offerId] = offer
            if !offer.appId.isEmpty {
                lotIndex.add(share: offer.offerId, in: offer.parkCode)
                noteShare(offer.offerId)
            }
        case .subscription(let subscription):
            lots[subscription.parkCode]?.subscriptions[subscription.authNo] = subscription
            if !subscription.appId.isEmpty {
                lotIndex.add(share: subscription.authNo, in: subscription.parkCode)
                noteShare(subscription.authNo)
            }
            lots[subscription.parkCode]?.noteDeadline(of: subscription)
        case .place(let place): directory.keep(place)
        case .appointment(let appointment): appointmentTable.keep(appointment)
        case .area(let area): directory.keep(area)
        case .flow(let flow): directory.keep(flow)
        case .penalty(let penalty): penaltyBook.keep(penalty)
        case .appeal(let appeal): penaltyBook.keep(appeal)
        case .gateCase(let gateCase): caseBook.keep(gateCase)
        case .occupancy(let profile): lots[profile.parkCode]?.occupancy[profile.weekday] = profile
        case .person(let person):
            numbers.given(.person, Int64(person.personId.dropFirst()) ?? 0)
            accounts.keep(person)
        case .signInCode(let code): accounts.keep(code)
        }
    }

    /// Numbers that the server gives end with a serial.
    private mutating func noteShare(_ number: String) {
        guard City.isOwnNumber(number), let serial = Int64(number.suffix(8)) else { return }
        numbers.given(.share, serial)
    }

    /// Whether a number has the form of those that the server gives to offers and subscriptions: nobody else may give one (section 2).
    public static func isOwnNumber(_ number: String) -> Bool {
        let bytes = Array(number.utf8)
        return bytes.count == 18 && bytes[0] == UInt8(ascii: "S") && (bytes[1] == UInt8(ascii: "O") || bytes[1] == UInt8(ascii: "A"))
            && bytes[2...].allSatisfy { (48...57).contains($0) }
    }

    mutating func set(_ entity: Entity, _ events: inout [Event]) {
        place(entity)
        events.append(.entity(entity))
    }
}
