// Lists of plates: of one lot, of a group of lots, of the city.
extension City {
    /// The places of the list entries that concern a lot: its own, those of its group, those of the city.
    static func listPlaces(_ parkCode: String, group: String) -> [String] { [parkCode, "@\(group)", ""] }

    /// The lists of a kind that hold at a lot.
    func lists(_ kind: String, at parkCode: String) -> [[Plate: ListEntry]] {
        guard !lists.isEmpty else { return [] }
        return City.listPlaces(parkCode, group: group(of: parkCode)).compactMap { lists[RecordKind(parkCode: $0, kind: kind)] }
    }

    /// Whether a plate stands on a list of a lot, its group or the city at a moment.
    public func isListed(_ kind: String, _ parkCode: String, _ plate: Plate, at time: Millis) -> Bool {
        !lists.isEmpty && lists(kind, at: parkCode).contains { $0[plate]?.holds(at: time) ?? false }
    }

    /// The time until which a plate is on a black list that holds at a lot, also the lot's own; nil when there is none.
    public func blacklisted(_ parkCode: String, _ plate: Plate, at time: Millis) -> Millis? {
        guard !lists.isEmpty else { return nil }
        return (lists(City.blackKind, at: parkCode) + lists(City.localBlackKind, at: parkCode)).compactMap { list in
            list[plate].flatMap { $0.holds(at: time) ? $0.to : nil }
        }.max()
    }

    /// Restores a kept list entry, in the form that the rules read.
    public mutating func restore(list kind: String, _ place: String, _ plate: Plate, _ entry: ListEntry) {
        directory.set(entry, of: plate, on: RecordKind(parkCode: place, kind: kind))
    }

    /// A list entry of one lot, of its group, or of the city. It is kept in its scope, so that it holds for lots that are added later too.
    /// Each lot that it concerns is told through its own log.
    mutating func list(
        _ scope: ListScope, service: String, body: String, kind: String, plate: Plate, _ entry: ListEntry?, kept: String, isExempt: Bool,
        at now: Millis
    ) -> Decision {
        let concerned: [String]
        let place: String
        var asked: String?
        switch scope {
        case .lot(let parkCode):
            guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            (concerned, place, asked) = ([parkCode], parkCode, parkCode)
        case .group(let parkCode):
            guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            let group = group(of: parkCode)
            concerned = lots.values.filter { ($0.profile?.group ?? "") == group }.map(\.parkCode).sorted()
            (place, asked) = ("@\(group)", parkCode)
        case .city: (concerned, place) = (lots.keys.sorted(), "")
        }
        var events: [Event] = []
        let kinds = isExempt || lists[RecordKind(parkCode: place, kind: City.exemptKind)]?[plate] != nil ? [kind, City.exemptKind] : [kind]
        for kind in kinds {
            // A filed vehicle is on the white list, and needs no booking.
            let isGone = entry == nil || (kind == City.exemptKind && !isExempt)
            keep(KeptRecord(parkCode: place, kind: kind, key: plate.revealed, body: isGone ? "" : kept, at: now), &events)
            directory.set(isGone ? nil : entry, of: plate, on: RecordKind(parkCode: place, kind: kind))
        }
        var position: (String, Int64)?
        for parkCode in concerned {
            append(.relay(service: service, body: body), to: parkCode, about: "", at: now, &events)
            // A lot keeps one entry a plate, so an entry of another scope that lasts longer is sent again.
            let longest = City.listPlaces(parkCode, group: group(of: parkCode)).filter { $0 != place }.compactMap { other in
                lists[RecordKind(parkCode: other, kind: kind)]?[plate].map { (other, $0) }
            }.filter { $0.1.isInForce && now <= $0.1.to }.max { $0.1.to < $1.1.to }
            if let (other, wider) = longest, entry.map({ !$0.isInForce || $0.to < wider.to }) ?? true,
                let report = report(other, kind: kind, key: plate.revealed)
            {
                append(.relay(service: service, body: report.body), to: parkCode, about: "", at: now, &events)
            }
            if asked == nil || parkCode == asked { position = (lots[known: parkCode].downEpoch!, lots[known: parkCode].downLast) }
        }
        return Decision(.posted(epoch: position?.0 ?? "", seq: position?.1 ?? 0), events)
    }

    /// Sends the entries of its lists to a lot that is new in the city or in a group.
    mutating func tellLists(_ parkCode: String, at now: Millis, _ events: inout [Event]) {
        for kind in [City.blackKind, City.whiteKind] {
            for place in City.listPlaces(parkCode, group: group(of: parkCode)).dropFirst() {
                for report in reports(place, kind: kind) {
                    append(.relay(service: kind, body: report.body), to: parkCode, about: "", at: now, &events)
                }
            }
        }
    }

    /// The entries of a kind that hold at a lot, for its snapshot: the wider ones first, so that the lot's own come last.
    public func listReports(_ parkCode: String, kind: String) -> [KeptRecord] {
        City.listPlaces(parkCode, group: group(of: parkCode)).reversed().flatMap { reports($0, kind: kind) }
    }
}

/// The time in which a list entry holds.
public struct ListEntry: Sendable, Equatable {
    public var isInForce: Bool
    public var from: Millis
    public var to: Millis

    public init(isInForce: Bool, from: Millis, to: Millis) {
        self.isInForce = isInForce
        self.from = from
        self.to = to
    }

    public func holds(at time: Millis) -> Bool { isInForce && from <= time && time <= to }
}
