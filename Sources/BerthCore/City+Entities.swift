// The place of each kind of entity in the city.
extension City {
    /// Puts an entity where the rules find it.
    mutating func place(_ entity: Entity) {
        switch entity {
        case .policy(let override):
            guard let scope = PolicyScope(override.scope) else { return }
            lastPolicyVersion = max(lastPolicyVersion, override.version)
            if overrides[scope].map({ $0.version < override.version }) ?? true { overrides[scope] = override }
        case .calendarDay(let day): calendar.exceptions[day.day] = day.kind
        case .offer(let offer):
            lots[offer.parkCode]?.offers[offer.offerId] = offer
            if !offer.appId.isEmpty {
                lotOfShare[offer.offerId] = offer.parkCode
                noteShare(offer.offerId)
            }
        case .subscription(let subscription):
            lots[subscription.parkCode]?.subscriptions[subscription.authNo] = subscription
            if !subscription.appId.isEmpty {
                lotOfShare[subscription.authNo] = subscription.parkCode
                noteShare(subscription.authNo)
            }
            lots[subscription.parkCode]?.noteDeadline(of: subscription, calendar)
        case .place(let place): places[place.placeCode] = place
        case .appointment(let appointment): index(appointment)
        case .area(let area): areas[area.areaId] = area.parkCodes.isEmpty ? nil : area
        case .flow(let flow):
            flows[FlowKey(parkCode: flow.parkCode, areaId: flow.areaId, policyId: flow.policyId)] = flow
        case .penalty(let penalty): penalties[penalty.penaltyId] = penalty
        case .appeal(let appeal): appeals[appeal.appealId] = appeal
        case .gateCase(let gateCase): gateCases[gateCase.caseNo] = gateCase
        case .occupancy(let profile): lots[profile.parkCode]?.occupancy[profile.weekday] = profile
        case .person(let person): place(person)
        case .signInCode(let code): signInCodes[code.login] = code
        }
    }

    /// Numbers that the server gives end with a serial.
    private mutating func noteShare(_ number: String) {
        guard City.isOwnNumber(number), let serial = Int64(number.suffix(8)) else { return }
        lastShare = max(lastShare, serial)
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

    // MARK: Policies
}
