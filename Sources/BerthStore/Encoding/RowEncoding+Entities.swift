import BerthCore
import BerthWire
import Foundation

/// The entities that the rules keep beside reservations, as the coder of the language writes them: plain values, keys sorted. They are
/// read by us alone and never from the wire.
extension RowEncoding {
    /// Kinds of reports that are entities begin with it.
    static let entityMark = "="

    static func json(_ entity: Entity) throws -> String {
        switch entity {
        case .policy(let v): try json(v)
        case .calendarDay(let v): try json(v)
        case .offer(let v): try json(v)
        case .subscription(let v): try json(v)
        case .place(let v): try json(v)
        case .appointment(let v): try json(v)
        case .area(let v): try json(v)
        case .flow(let v): try json(v)
        case .penalty(let v): try json(v)
        case .appeal(let v): try json(v)
        case .gateCase(let v): try json(v)
        case .occupancy(let v): try json(v)
        case .person(let v): try json(v)
        case .signInCode(let v): try json(v)
        }
    }

    private static func json(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    static func entity(kind: String, json: String) throws -> Entity {
        func read<Value: Decodable>(_ type: Value.Type) throws -> Value { try JSONDecoder().decode(type, from: Data(json.utf8)) }
        return switch kind {
        case "policy": .policy(try read(PolicyOverride.self))
        case "calendar": .calendarDay(try read(CalendarDay.self))
        case "sharedOffer": .offer(try read(SharedOffer.self))
        case "subscription": .subscription(try read(SharedSubscription.self))
        case "publicPlace": .place(try read(PublicPlace.self))
        case "appointment": .appointment(try read(Appointment.self))
        case "flowArea": .area(try read(FlowArea.self))
        case "flow": .flow(try read(FlowPolicy.self))
        case "penalty": .penalty(try read(Penalty.self))
        case "appeal": .appeal(try read(Appeal.self))
        case "gateCase": .gateCase(try read(GateCase.self))
        case "occupancy": .occupancy(try read(OccupancyProfile.self))
        case "person": .person(try read(Person.self))
        case "signInCode": .signInCode(try read(SignInCode.self))
        default: throw Unreadable(what: kind)
        }
    }

    /// An entity as the row that keeps it; its time is when it may be forgotten.
    static func row(_ entity: Entity) -> KeptRecord {
        let place = entity.place
        // The values are plain numbers and texts: encoding cannot fail.
        let body = (try? json(entity)) ?? ""
        return KeptRecord(
            parkCode: place.parkCode, kind: entityMark + place.kind, key: place.key, body: body, at: place.endsAt ?? WireLimits.intMax)
    }

    static func entity(_ row: KeptRecord) throws -> Entity? {
        guard row.kind.hasPrefix(entityMark) else { return nil }
        return try entity(kind: String(row.kind.dropFirst()), json: row.body)
    }

    static func encode(_ p: Posting) -> JSON {
        [
            "at": .int(p.at), "k": .string(p.kind.rawValue), "ref": .string(p.reference),
            "legs": .array(p.legs.map { [.string($0.account.text), .int($0.fen)] }),
        ]
    }

    static func posting(_ j: JSON) throws -> Posting {
        let r = CodedRow(j)
        guard let kind = Posting.Kind(rawValue: try r.text("k")) else { throw Unreadable(what: "posting") }
        return Posting(
            at: try r.int("at"), kind: kind, reference: try r.text("ref"),
            try (j["legs"]?.arrayValue ?? []).map { row in
                guard let leg = row.arrayValue, leg.count == 2, let account = leg[0].stringValue.flatMap(Account.init),
                    let fen = leg[1].intValue
                else { throw Unreadable(what: "leg") }
                return (account, fen)
            })
    }
}
