// Reports that are kept by name.

// Records that are reported and kept by name, without a rule of their own: spaces, tariffs, devices, lists, subscriptions (U05 to U25).
// Messages of an operator to a lot are kept as well (section 9.2).

/// A record that is reported under a name of its own; the latest one counts. The core knows its kind and key, the wire knows its body.
public struct KeptRecord: Sendable, Equatable {
    /// Of the lot concerned; "" where it belongs to none.
    public var parkCode: String
    public var kind: String
    public var key: String
    /// Its fields as they came, in canonical JSON; "" when it is no more.
    public var body: String
    public var at: Millis

    public init(parkCode: String, kind: String, key: String, body: String, at: Millis) {
        self.parkCode = parkCode
        self.kind = kind
        self.key = key
        self.body = body
        self.at = at
    }

    public var isGone: Bool { body.isEmpty }
}

extension City {
    struct RecordKind: Hashable, Sendable {
        var parkCode: String
        var kind: String
    }

    public mutating func restore(report: KeptRecord) {
        records.putBack(report, RecordKind(parkCode: report.parkCode, kind: report.kind), report.key)
        if report.kind == City.stageKind { restoreStage(report) }
        if report.kind == ProviderNotification.kind || report.kind == ProviderNotification.failedKind {
            numbers.given(.notification, Int64(report.key) ?? 0)
        }
    }

    /// The records of one kind that are in force, by key.
    public func reports(_ parkCode: String, kind: String) -> [KeptRecord] {
        records[RecordKind(parkCode: parkCode, kind: kind)].values.sorted { $0.key < $1.key }
    }

    public func report(_ parkCode: String, kind: String, key: String) -> KeptRecord? {
        records[RecordKind(parkCode: parkCode, kind: kind)][key]
    }

    mutating func keep(_ report: KeptRecord, _ events: inout [Event]) {
        if records.keep(report) { events.append(.report(report)) }
    }

    /// - Parameter replaces: the kind whose earlier records are removed.
    mutating func file(
        _ parkCode: String, _ filed: [KeptRecord], replaces: String?, at now: Millis, knownBy: String?, notice: LotEvent?
    ) -> Decision {
        guard parkCode.isEmpty || lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
        // A space is looked up where the lot has said which ones it has.
        if let knownBy {
            let known = records[RecordKind(parkCode: parkCode, kind: knownBy)]
            guard known.isEmpty || filed.allSatisfy({ known[$0.key] != nil }) else { return Decision(.refused(.unknownSpace)) }
        }
        var events: [Event] = []
        if let kind = replaces {
            let keys = Set(filed.map(\.key))
            for old in reports(parkCode, kind: kind) where !keys.contains(old.key) {
                keep(KeptRecord(parkCode: parkCode, kind: kind, key: old.key, body: "", at: now), &events)
            }
        }
        for report in filed { keep(report, &events) }
        if let notice, lots[parkCode] != nil { events.append(.notice(notice)) }
        return Decision(.filed(filed.count), events)
    }

    /// A message of an operator for a lot's down log; the record that it sets stays in force for snapshots.
    mutating func post(_ parkCode: String, service: String, body: String, sets report: KeptRecord?, at now: Millis) -> Decision {
        guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
        var events: [Event] = []
        if let report { keep(report, &events) }
        append(.relay(service: service, body: body), to: parkCode, about: "", at: now, &events)
        return Decision(.posted(epoch: lots[known: parkCode].downEpoch!, seq: lots[known: parkCode].downLast), events)
    }

    /// A10: a plate belongs to one user. An empty body unbinds.
    mutating func bind(appId: String, userToken: String, plate: Plate, body: String, at now: Millis) -> Decision {
        let user = "\(appId)|\(userToken)"
        let owner = report("", kind: "plateOwner", key: plate.revealed)
        if let owner, owner.body != user { return Decision(.refused(.plateBoundElsewhere)) }
        var events: [Event] = []
        keep(KeptRecord(parkCode: user, kind: "vehicle", key: plate.revealed, body: body, at: now), &events)
        keep(
            KeptRecord(parkCode: "", kind: "plateOwner", key: plate.revealed, body: body.isEmpty ? "" : user, at: now), &events)
        return Decision(.bound(plate), events)
    }
}
