public import BerthCore

/// An order in a lot's local list.
public struct LocalReservation: Sendable, Equatable {
    public var orderNo: String
    public var orderVer: Int64
    public var entry: AuthorisedEntry

    /// Longest order number, scalars (section 2).
    static let numberMax = 32
    /// Entries that an order may have or have used: -1 is without limit.
    private static let entries: ClosedRange<Int64> = -1...1_000_000

    /// From D01, from a snapshot, or from the lot's own row; nil when a field is missing or no value that the wire can carry.
    public init?(json: JSON) {
        guard let orderNo = json["orderNo"]?.stringValue, LocalReservation.isNumber(orderNo),
            let orderVer = json["orderVer"]?.intValue, (0...WireLimits.intMax).contains(orderVer),
            let plate = json["plateNo"]?.stringValue.flatMap({ Plate($0) }), let enterStart = json["enterStart"]?.intValue,
            let enterEnd = json["enterEnd"]?.intValue, FieldReader.times.contains(enterStart), FieldReader.times.contains(enterEnd),
            let purpose = json["bizType"]?.intValue.flatMap({ Purpose(rawValue: Int($0)) })
        else { return nil }
        let (limit, used) = (json["entryLimit"]?.intValue ?? 1, json["entriesUsed"]?.intValue ?? 0)
        guard LocalReservation.entries.contains(limit), LocalReservation.entries.contains(used) else { return nil }
        self.orderNo = orderNo
        self.orderVer = orderVer
        entry = AuthorisedEntry(
            orderNo: orderNo, purpose: purpose, plate: plate, enterStart: enterStart, enterEnd: enterEnd,
            entryLimit: Int(limit), entriesUsed: Int(used), isInForce: json["inForce"]?.boolValue ?? true)
        entry.otherPlates = LocalReservation.plates(json)
        entry.gateCodes = (json["gateCodes"]?.arrayValue ?? []).prefix(LocalReservation.gatesMax).compactMap(\.stringValue)
        // In a snapshot the state says it; in the lot's own row the lot does.
        entry.isInside = json["inside"]?.boolValue ?? (json["status"]?.intValue == 2)
        entry.isPending = json["status"]?.intValue == 0
    }

    /// Further plates and gates of one order at most.
    private static let platesMax = 1_000
    private static let gatesMax = 1_000

    static func plates(_ json: JSON) -> [Plate] {
        (json["plateNos"]?.arrayValue ?? []).prefix(platesMax).compactMap { $0.stringValue.flatMap { Plate($0) } }
    }

    static func isNumber(_ text: String) -> Bool {
        // Bytes first: a long text is not counted.
        !text.utf8.isEmpty && text.utf8.count <= 4 * numberMax && text.unicodeScalars.count <= numberMax
    }

    public var json: JSON {
        .compact([
            ("orderNo", .string(orderNo)), ("orderVer", .int(orderVer)), ("plateNo", .string(entry.plate.revealed)),
            ("enterStart", .int(entry.enterStart)), ("enterEnd", .int(entry.enterEnd)),
            ("bizType", .int(entry.purpose.rawValue)), ("entryLimit", .int(entry.entryLimit)),
            ("entriesUsed", .int(entry.entriesUsed)), ("inForce", .bool(entry.isInForce)),
            ("plateNos", entry.otherPlates.isEmpty ? .null : .array(entry.otherPlates.map { .string($0.revealed) })),
            ("gateCodes", entry.gateCodes.isEmpty ? .null : .array(entry.gateCodes.map { .string($0) })),
            ("inside", entry.isInside ? true : .null),
        ])
    }
}

/// The local list of a lot: its orders, and the lists and policies that the platform set. The gate decides from it with and without a line.
/// A pure value: the box at a lot keeps it on its disk, a scene in memory.
public struct LocalList: Sendable {
    public var reservations: [String: LocalReservation] = [:]
    /// Lists and policies of the platform, by kind and key (D05 to D08, D18, D19, D21).
    public var standing: [String: [String: String]] = [:]
    /// Of that, sharing authorisations and flow control as the gate reads them.
    public var authorisations: [String: SharedSubscription] = [:]
    public var flows: [String: FlowPolicy] = [:]
    /// Values of the lot's policy that a gate decides by (D19).
    public var rules = GateRules()
    /// When cars without an order came in, lately.
    public var walkIns: [Int64] = []

    public init() {}

    // MARK: The down log

    /// D01 to D03. An older version never undoes a newer one; it is consumed all the same.
    public mutating func apply(reservation service: String, _ data: JSON, now: Int64) -> (Reply, LocalReservation?) {
        guard let orderNo = data["orderNo"]?.stringValue, let orderVer = data["orderVer"]?.intValue else {
            return (Reply(WireError("missingParameter")), nil)
        }
        guard LocalReservation.isNumber(orderNo), (0...WireLimits.intMax).contains(orderVer) else {
            return (Reply(WireError("illegalValue")), nil)
        }
        let known = reservations[orderNo]
        if let known, known.orderVer >= orderVer { return (Reply(data: ["accepted": true]), nil) }
        let isOver = data["validTo"]?.intValue.map { $0 < now } ?? false
        var reservation: LocalReservation
        switch service {
        case "order.reserve.push":
            if isOver { return (Reply(WireError("expiredBeforeDelivery")), nil) }
            guard let new = LocalReservation(json: data) else { return (Reply(WireError("illegalValue")), nil) }
            reservation = new
        case "order.reserve.modify":
            guard let known else { return (Reply(WireError("orderNotFound")), nil) }
            if isOver { return (Reply(WireError("expiredBeforeDelivery")), nil) }
            reservation = known
            if let text = data["plateNo"]?.stringValue, !text.isEmpty {
                guard let plate = Plate(text) else { return (Reply(WireError("illegalPlate")), nil) }
                reservation.entry.plate = plate
            }
            if data["plateNos"]?.arrayValue != nil { reservation.entry.otherPlates = LocalReservation.plates(data) }
            for name in ["enterStart", "enterEnd"] {
                guard let time = data[name]?.intValue else { continue }
                guard FieldReader.times.contains(time) else { return (Reply(WireError("illegalValue", name)), nil) }
                if name == "enterStart" { reservation.entry.enterStart = time } else { reservation.entry.enterEnd = time }
            }
            reservation.orderVer = orderVer
        case "order.reserve.cancel":
            guard let known else { return (Reply(data: ["accepted": true]), nil) }
            reservation = known
            reservation.entry.isInForce = false
            reservation.orderVer = orderVer
        default: return (Reply(WireError("unknownService")), nil)
        }
        reservations[orderNo] = reservation
        return (Reply(data: ["accepted": true, "localNo": .string(orderNo)]), reservation)
    }

    /// Applies a message of the log that is not about a reservation: its settings are kept by name. Nil for any other service.
    public mutating func apply(
        standing service: String, _ data: JSON, parkCode: String, now: Int64, inside: (_ authNo: String) -> Plate?
    ) -> (Reply, KeptRecord?)? {
        guard let definition = Dialect.current.services[service], definition.direction == "down", definition.kind == .log,
            let object = data.objectValue
        else { return nil }
        do { try definition.request.check(object) } catch { return (Reply(error), nil) }
        guard case .post(_, _, _, let report) = Decode.post(service: service, data: object, parkCode: parkCode, now: now)
        else { return nil }
        if let report {
            standing[report.kind, default: [:]][report.key] = report.isGone ? nil : report.body
            if ["share.auth.push", "flow.policy.push", City.gateRulesKind].contains(report.kind) {
                read(parkCode: parkCode, inside: inside)
            }
        }
        return (Reply(data: ["accepted": true]), report)
    }

    /// Reads authorisations and flow control from what stands; how far a switch is stays known.
    public mutating func read(parkCode: String, inside: (_ authNo: String) -> Plate?) {
        let oldFlows = flows
        let told = standing[City.gateRulesKind]?[""].flatMap { try? JSON.parse(Array($0.utf8)) }?.objectValue
        rules = told.flatMap { Decode.gateRules($0) } ?? GateRules()
        authorisations = [:]
        for (authNo, body) in standing["share.auth.push"] ?? [:] {
            guard let object = (try? JSON.parse(Array(body.utf8)))?.objectValue,
                var subscription = try? Decode.authorisation(object, parkCode: parkCode, now: 0)
            else { continue }
            subscription.insidePlate = inside(authNo)
            authorisations[authNo] = subscription
        }
        flows = [:]
        for (policyId, body) in standing["flow.policy.push"] ?? [:] {
            guard let object = (try? JSON.parse(Array(body.utf8)))?.objectValue, var policy = try? Decode.flow(object, parkCode: parkCode)
            else { continue }
            policy.isOn = oldFlows[policyId]?.isOn ?? false
            flows[policyId] = policy
        }
    }

    // MARK: Reconciliation

    /// Whether an order can still bring a car in, or has one inside; the server calls these in force.
    public static func isOpen(_ reservation: LocalReservation, at now: Int64) -> Bool {
        guard reservation.entry.isInForce else { return false }
        return reservation.entry.isInside || (reservation.entry.entriesUsed == 0 && now <= reservation.entry.enterEnd)
    }

    /// The lines that `recon.order.digest` hashes: number and version of each order in force, ascending by bytes.
    public func linesInForce(at now: Int64) -> [String] {
        reservations.values.filter { LocalList.isOpen($0, at: now) }.map { "\($0.orderNo):\($0.orderVer)" }
            .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    // MARK: The gate

    /// The rule that the server has too, over what the lot knows. A policy by saturation follows the cars that are counted here.
    /// - Parameter exactly: without almost-matches.
    public mutating func decide(_ question: GateQuestion, exactly: Bool = false, isInside: Bool, occupied: Int, capacity: Int)
        -> GateDecision
    {
        let perMille = Saturation(occupied: occupied, capacity: capacity).perMille
        for policyId in flows.keys where flows[policyId]!.isBySaturation {
            flows[policyId]!.isOn = flows[policyId]!.isOn(atPerMille: perMille)
        }
        var book = GateBook()
        book.calendar = Dialect.current.calendar
        book.subscriptions = Array(authorisations.values)
        book.isInside = isInside
        book.isBlacklisted = isListed(City.blackKind, question.plate, at: question.time)
        book.isWhitelisted = isListed(City.whiteKind, question.plate, at: question.time)
        book.isExempt =
            rules.exemptClasses == 1 && question.plate.isExemptClass && (question.color.map { question.plate.fits(color: $0) } ?? true)
        let demanding = flows.values.filter { $0.mode(at: question.time, book.calendar) != .off }
        if let strictest = demanding.max(by: { $0.mode < $1.mode }) {
            book.flow = strictest.mode
            book.flowNote = RuleNote(strictest.policyId, until: strictest.validTo)
        }
        // After a clock went back, times that are still to come count no more than those long past.
        book.walkIns = walkIns.filter { abs($0 - question.time) < LocalList.walkInMillis }.count
        book.walkInsMax = demanding.filter { $0.mode == .throttle }.compactMap(\.maxEntriesPer5min).min()
        book.fuzzyCharsMax = exactly ? 0 : rules.fuzzyCharsMax
        book.fuzzyConfidenceMax = rules.fuzzyConfidenceMax
        let (black, time) = (standing[City.blackKind] ?? [:], question.time)
        book.isBlack = { plate in black[plate.revealed].map { Decode.isInForce($0, at: time) } ?? false }
        return GatePolicy.decide(question, reservations: reservations.values.map(\.entry), book)
    }

    private func isListed(_ kind: String, _ plate: Plate, at time: Int64) -> Bool {
        standing[kind]?[plate.revealed].map { Decode.isInForce($0, at: time) } ?? false
    }

    /// Cars without an order count against a throttle for so long, ms.
    private static let walkInMillis: Int64 = 300_000

    /// A car is in, on an order, a subscription, or on neither.
    public mutating func enter(_ plate: Plate, orderNo: String?, authNo: String?, at time: Int64) {
        if let orderNo, reservations[orderNo] != nil {
            reservations[orderNo]!.entry.entriesUsed += 1
            reservations[orderNo]!.entry.isInside = true
        } else if let authNo, authorisations[authNo] != nil {
            authorisations[authNo]!.insidePlate = plate
        } else {
            walkIns.removeAll { abs($0 - time) >= LocalList.walkInMillis }
            walkIns.append(time)
        }
    }

    public mutating func leave(_ number: String?) {
        guard let number else { return }
        reservations[number]?.entry.isInside = false
        authorisations[number]?.insidePlate = nil
    }
}
