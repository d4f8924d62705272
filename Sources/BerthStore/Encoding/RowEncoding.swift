import BerthCore
import BerthWire
import Foundation
import GRDB

/// Values of the core ↔ the JSON that stands in rows and in the journal. Names are short: a row is written a million times.
/// A shipped name never changes meaning; a value that is missing in an old row has its default.
///
/// With a vault, plates, phones and the bodies that others wrote are sealed in them.
/// Values that an older release wrote in clear are read too.
struct RowEncoding: Sendable {
    struct Unreadable: Error { let what: String }

    /// Nothing sealed: for comparing what stores hold.
    static let plain = RowEncoding(vault: nil)
    let vault: FieldCipher?

    /// The first character of a sealed text; no JSON and no counter begins with it.
    static let mark: Character = "~"

    func seal(_ text: String) -> String {
        guard let vault, !text.isEmpty else { return text }
        return "\(RowEncoding.mark)\(vault.seal(text))"
    }

    func open(_ value: DatabaseValue) throws -> String {
        switch value.storage {
        case .blob(let data):
            guard let vault else { throw Unreadable(what: "sealed, and no master key") }
            return try vault.open(data)
        case .string(let text): return try open(text)
        default: throw Unreadable(what: "column")
        }
    }

    func open(_ text: String) throws -> String {
        // Without a vault nothing is sealed, and a text that begins with the mark is somebody's own.
        guard text.first == RowEncoding.mark, let vault else { return text }
        return try vault.open(String(text.dropFirst()))
    }

    /// Under which a report's key stands in its table: a plate may be one.
    func name(_ key: String) -> String { vault?.digest(key) ?? key }

    /// Of a plate, for the narrow column by which its orders are found; 0 without a vault.
    func plateKey(_ plate: Plate) -> Int64 { vault?.digest64(plate.revealed) ?? 0 }

    /// The key of a counter's row where sealed names cannot be one: 16 bytes of a keyed hash, or the name where nothing is sealed.
    func counterDigest(_ key: String) -> [UInt8] { vault?.digest16(key) ?? Array(key.utf8) }

    /// The kind of a counter and its day, month or year: all that ``City/isPast(counter:at:)`` asks for, and nobody's name.
    static func period(ofCounter key: String) -> String { key.split(separator: "|", maxSplits: 2).prefix(2).joined(separator: "|") }

    /// A text as a whole column of bytes.
    func column(_ text: String) -> [UInt8] {
        guard let vault, !text.isEmpty else { return Array(text.utf8) }
        var bytes: [UInt8] = []
        vault.seal(Array(text.utf8), into: &bytes)
        return bytes
    }

    /// A whole column of bytes.
    func open(_ bytes: [UInt8]) throws -> String {
        guard !bytes.isEmpty, let vault else { return String(decoding: bytes, as: UTF8.self) }
        return try vault.open(Data(bytes))
    }

    /// A counter of a plate names it; the others name nobody.
    static func namesPlate(counter key: String) -> Bool { key.hasPrefix("pd|") || key.hasPrefix("pm|") }

    // MARK: Visits

    func encode(_ v: Visit) -> JSON {
        .compact([
            ("lot", .string(v.parkCode)), ("r", .string(v.recordNo)), ("p", .string(seal(v.plate.revealed))),
            ("et", .int(v.enterTime)), ("g", .string(v.gateCode)), ("k", .int(v.carKind)),
            ("no", .optional(v.orderNo)), ("lt", .optional(v.leaveTime)), ("xg", .optional(v.exitGateCode)),
            ("fee", v.feeFen == 0 ? .null : .int(v.feeFen)), ("void", v.isVoid ? true : .null),
            ("vc", v.vehicleClass == 0 ? .null : .int(v.vehicleClass)), ("paid", v.paidFen == 0 ? .null : .int(v.paidFen)),
            ("pa", .optional(v.paidAt)), ("cf", v.compensatedFen == 0 ? .null : .int(v.compensatedFen)),
            ("ret", .optional(v.reportedEnterTime)), ("em", v.isExitMissed ? true : .null), ("arr", v.isInArrears ? true : .null),
        ])
    }

    func visit(_ j: JSON) throws -> Visit {
        let r = CodedRow(j)
        var v = Visit(
            parkCode: try r.text("lot"), recordNo: try r.text("r"), plate: try RowEncoding.plate(open(r.text("p"))),
            enterTime: try r.int("et"),
            gateCode: try r.text("g"), carKind: Int(try r.int("k")), orderNo: r.optionalText("no"))
        v.leaveTime = r.optionalInt("lt")
        v.exitGateCode = r.optionalText("xg")
        v.feeFen = r.optionalInt("fee") ?? 0
        v.isVoid = r.flag("void")
        v.vehicleClass = Int(r.optionalInt("vc") ?? 0)
        v.paidFen = r.optionalInt("paid") ?? 0
        v.paidAt = r.optionalInt("pa")
        v.compensatedFen = r.optionalInt("cf") ?? 0
        v.reportedEnterTime = r.optionalInt("ret")
        v.isExitMissed = r.flag("em")
        v.isInArrears = r.flag("arr")
        return v
    }

    static func plate(_ text: String) throws -> Plate {
        guard let plate = Plate(reading: text) else { throw Unreadable(what: "plate") }
        return plate
    }

    // MARK: Lots

    static func encode(_ p: LotProfile) -> JSON {
        func counts(_ purpose: Purpose) -> JSON { .int(p.quotas[purpose] ?? 0) }
        return [
            "lot": .string(p.parkCode), "name": .string(p.name), "addr": .string(p.address),
            "reg": .string(p.regionCode), "lng": .string(p.longitude), "lat": .string(p.latitude),
            "ct": .int(p.coordType), "lt": .int(p.lotType), "lc": .int(p.lotClass), "n": .int(p.totalCount),
            "q1": counts(.reservation), "q2": counts(.shared), "q3": counts(.publicService),
            "on": .array(p.enabled.map(\.rawValue).sorted().map { .int($0) }),
            "hours": .array(
                p.openHours.map {
                    ["d": .array($0.days.sorted().map { .int($0) }), "s": .int($0.start), "e": .int($0.end)]
                }),
            "free": .int(p.freeMin), "buf": .int(p.leaveBufferMin), "grp": .string(p.group), "seats": .int(p.maxSeats),
            "high": .int(p.maxHeightMm), "types": .array(p.plateTypes.sorted().map { .string($0) }), "px": .int(p.position.longitude),
            "py": .int(p.position.latitude),
        ]
    }

    static func profile(_ j: JSON) throws -> LotProfile {
        let r = CodedRow(j)
        var profile = LotProfile(
            parkCode: try r.text("lot"), name: try r.text("name"), address: try r.text("addr"),
            regionCode: try r.text("reg"), longitude: try r.text("lng"), latitude: try r.text("lat"),
            coordType: Int(try r.int("ct")), lotType: Int(try r.int("lt")), lotClass: Int(try r.int("lc")),
            totalCount: Int(try r.int("n")),
            quotas: [
                .reservation: Int(try r.int("q1")), .shared: Int(try r.int("q2")), .publicService: Int(try r.int("q3")),
            ],
            enabled: Set((j["on"]?.arrayValue ?? []).compactMap { Purpose(rawValue: Int($0.intValue ?? 0)) }),
            openHours: try (j["hours"]?.arrayValue ?? []).map {
                OpenHours(
                    days: Set(($0["d"]?.arrayValue ?? []).map { Int($0.intValue ?? 0) }),
                    start: Int(try CodedRow($0).int("s")), end: Int(try CodedRow($0).int("e")))
            }, freeMin: Int(try r.int("free")), leaveBufferMin: Int(try r.int("buf")))
        profile.group = r.optionalText("grp") ?? ""
        profile.maxSeats = Int(r.optionalInt("seats") ?? 0)
        profile.maxHeightMm = Int(r.optionalInt("high") ?? 0)
        profile.plateTypes = Set((j["types"]?.arrayValue ?? []).compactMap(\.stringValue))
        if let x = r.optionalInt("px"), let y = r.optionalInt("py") { profile.position = GeoPoint(longitude: x, latitude: y) }
        return profile
    }

    static func encode(_ p: Policy) -> JSON {
        var object = JSONObject(Policy.numbers.map { ($0.name, .int(p[keyPath: $0.path])) })
        object.append("confirmMode", .string(p.confirmMode.rawValue))
        return .object(object)
    }

    static func policy(_ j: JSON) throws -> Policy {
        var p = Policy()
        for number in Policy.numbers {
            if let value = j[number.name]?.intValue { p[keyPath: number.path] = Int(value) }
        }
        p.confirmMode = ConfirmMode(rawValue: j["confirmMode"]?.stringValue ?? "") ?? .trust
        return p
    }

    static func encode(_ gates: [Gate]) -> JSON {
        .array(gates.map { ["c": .string($0.gateCode), "n": .string($0.name), "d": .int($0.direction)] })
    }

    static func gates(_ j: JSON) throws -> [Gate] {
        try (j.arrayValue ?? []).map {
            Gate(gateCode: try CodedRow($0).text("c"), name: try CodedRow($0).text("n"), direction: Int(try CodedRow($0).int("d")))
        }
    }

    static func encode(_ r: Remaining) -> JSON {
        ["at": .int(r.reportedAt), "n": .int(r.total), "o": .int(r.occupied), "r": .int(r.remain)]
    }

    static func remaining(_ j: JSON) throws -> Remaining {
        let r = CodedRow(j)
        return Remaining(
            reportedAt: try r.int("at"), total: Int(try r.int("n")), occupied: Int(try r.int("o")),
            remain: Int(try r.int("r")))
    }

    static func encode(_ n: LotEvent) -> JSON {
        .compact([
            ("lot", .string(n.parkCode)), ("t", .int(n.eventType)), ("at", .int(n.occurredAt)),
            ("no", .optional(n.orderNo)), ("r", .optional(n.recordNo)), ("x", .string(n.detail)),
        ])
    }

    static func notice(_ j: JSON) throws -> LotEvent {
        let r = CodedRow(j)
        return LotEvent(
            parkCode: try r.text("lot"), eventType: Int(try r.int("t")), occurredAt: try r.int("at"),
            orderNo: r.optionalText("no"), recordNo: r.optionalText("r"), detail: r.optionalText("x") ?? "")
    }

    func encode(_ r: KeptRecord) -> JSON {
        [
            "lot": .string(r.parkCode), "k": .string(r.kind), "key": .string(seal(r.key)), "b": .string(seal(r.body)),
            "at": .int(r.at),
        ]
    }

    func report(_ j: JSON) throws -> KeptRecord {
        let r = CodedRow(j)
        return KeptRecord(
            parkCode: try r.text("lot"), kind: try r.text("k"), key: try open(r.text("key")), body: try open(r.text("b")),
            at: try r.int("at"))
    }

    /// A report's row carries its key with its body, since the column holds a digest: the key is the first line.
    func body(of r: KeptRecord) -> String {
        let key = r.key.replacingOccurrences(of: "\\", with: "\\\\").replacingOccurrences(of: "\n", with: "\\n")
        return seal("\(key)\n\(r.body)")
    }

    private static func unescaped(_ line: String) -> String {
        guard line.contains("\\") else { return line }
        var (text, isEscaped) = ("", false)
        for scalar in line.unicodeScalars {
            if !isEscaped, scalar == "\\" {
                isEscaped = true
                continue
            }
            text.unicodeScalars.append(isEscaped && scalar == "n" ? "\n" : scalar)
            isEscaped = false
        }
        return text
    }

    func report(lot: String, kind: String, key: String, at: Int64, body: String) throws -> KeptRecord {
        guard body.first == RowEncoding.mark else { return KeptRecord(parkCode: lot, kind: kind, key: key, body: body, at: at) }
        let parts = try open(body).split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        return KeptRecord(parkCode: lot, kind: kind, key: RowEncoding.unescaped(parts[0]), body: parts.count > 1 ? parts[1] : "", at: at)
    }

    static func encode(_ b: Bill) -> JSON {
        .compact([
            ("no", .string(b.billNo)), ("lot", .string(b.parkCode)), ("r", .string(b.recordNo)),
            ("fen", .int(b.payableFen)), ("by", .optional(b.paidBy)), ("x", .int(b.expireAt)), ("for", .optional(b.subject)),
            ("g", b.giver.isEmpty ? .null : .string(b.giver)),
            ("ask", b.askedBy.isEmpty ? .null : .array(b.askedBy.map { .string($0) })),
        ])
    }

    static func bill(_ j: JSON) throws -> Bill {
        let r = CodedRow(j)
        var bill = Bill(
            billNo: try r.text("no"), parkCode: try r.text("lot"), recordNo: try r.text("r"),
            payableFen: try r.int("fen"), expireAt: try r.int("x"))
        bill.paidBy = r.optionalText("by")
        bill.subject = r.optionalText("for")
        bill.giver = r.optionalText("g") ?? ""
        bill.askedBy = (j["ask"]?.arrayValue ?? []).compactMap(\.stringValue)
        return bill
    }

    static func encode(_ p: Payment) -> JSON {
        .compact([
            ("no", .string(p.payNo)), ("app", .string(p.appId)), ("lot", .string(p.parkCode)),
            ("r", .string(p.recordNo)), ("b", .optional(p.billNo)), ("fen", .int(p.amountFen)),
            ("ch", .string(p.channel)), ("st", .int(p.state.rawValue)), ("t", .optional(p.payTime)),
            ("back", p.refundedFen == 0 ? .null : .int(p.refundedFen)), ("h", .string(p.requestHash)), ("sub", .optional(p.subject)),
            ("wx", p.cameWithExit ? true : .null),
            ("legs", p.legs.isEmpty ? .null : .array(p.legs.map { [.string($0.account.text), .int($0.fen)] })),
        ])
    }

    static func payment(_ j: JSON) throws -> Payment {
        let r = CodedRow(j)
        var payment = Payment(
            payNo: try r.text("no"), appId: try r.text("app"), parkCode: try r.text("lot"), recordNo: try r.text("r"),
            billNo: r.optionalText("b"), amountFen: try r.int("fen"), channel: try r.text("ch"), state: try r.raw("st"),
            payTime: r.optionalInt("t"), requestHash: try r.text("h"))
        payment.refundedFen = r.optionalInt("back") ?? 0
        payment.subject = r.optionalText("sub")
        payment.cameWithExit = r.flag("wx")
        payment.legs = (j["legs"]?.arrayValue ?? []).compactMap { row in
            guard let pair = row.arrayValue, pair.count == 2, let account = pair[0].stringValue.flatMap({ Account($0) }),
                let fen = pair[1].intValue
            else { return nil }
            return Posting.Leg(account: account, fen: fen)
        }
        return payment
    }

    // MARK: Events

    func encode(_ event: Event) -> JSON {
        switch event {
        case .registered(let lot): return ["registered", .string(lot)]
        case .policy(let lot, let policy): return ["policy", .string(lot), RowEncoding.encode(policy)]
        case .lot(let profile): return ["lot", RowEncoding.encode(profile)]
        case .gates(let lot, let gates): return ["gates", .string(lot), RowEncoding.encode(gates)]
        case .remaining(let lot, let remaining): return ["remaining", .string(lot), RowEncoding.encode(remaining)]
        case .reservation, .counted: preconditionFailure("written without a tree")
        case .visit(let visit): return ["visit", encode(visit)]
        case .notice(let notice): return ["notice", RowEncoding.encode(notice)]
        case .report(let report): return ["report", encode(report)]
        case .bill(let bill): return ["bill", RowEncoding.encode(bill)]
        case .payment(let payment): return ["payment", RowEncoding.encode(payment)]
        case .entity(let entity): return ["entity", .string(entity.place.kind), .string(seal(RowEncoding.row(entity).body))]
        case .posting(let posting): return ["posting", RowEncoding.encode(posting)]
        case .down(let e):
            let message: JSON
            switch e.message {
            case .reserve(let reservation): message = ["r", .string(reservation.orderNo)]
            case .modify(let reservation): message = ["m", .string(reservation.orderNo)]
            case .cancel(let orderNo, let ver, let type):
                message = ["c", .string(orderNo), .int(ver), .int(type.rawValue)]
            case .relay(let service, let body): message = ["x", .string(service), .string(seal(body))]
            case .authorise(let subscription): message = ["a", .string(seal(RowEncoding.row(.subscription(subscription)).body))]
            case .revoke(let authNo, let ver, let reason): message = ["v", .string(authNo), .int(ver), .string(reason)]
            case .flow(let policy, let mode): message = ["f", .string(RowEncoding.row(.flow(policy)).body), .int(mode.rawValue)]
            }
            return ["down", .string(e.parkCode), .string(e.epoch), .int(e.seq), .int(e.at), message]
        case .downSettled(let lot, let epoch, let ackSeq, let results):
            return [
                "settled", .string(lot), .string(epoch), .int(ackSeq),
                .array(results.map { .int($0.isAccepted ? $0.seq : -$0.seq) }),
            ]
        case .upConsumed(let lot, let epoch, let seq): return ["up", .string(lot), .string(epoch), .int(seq)]
        }
    }

    /// The journal's text of one commit. Nothing is sealed in it: it is sealed as a whole.
    func journal(_ events: [Event]) -> [UInt8] {
        var text = JSONWriter()
        text.beginArray()
        for event in events { RowEncoding.plain.write(event, to: &text) }
        text.endArray()
        return text.bytes
    }

    /// Writes an event; the events of a new reservation are written without a tree.
    private func write(_ event: Event, to text: inout JSONWriter) {
        switch event {
        case .reservation(let reservation):
            text.beginArray()
            text.add("order")
            write(reservation, to: &text)
            text.endArray()
        case .counted(let key, let delta, let max):
            text.beginArray()
            text.add("count")
            text.add(key)
            text.add(Int64(delta))
            text.add(Int64(max))
            text.endArray()
        case .down(let entry):
            guard case .reserve(let reservation) = entry.message else { return text.add(text: encode(event).text()) }
            text.beginArray()
            text.add("down")
            text.add(entry.parkCode)
            text.add(entry.epoch)
            text.add(entry.seq)
            text.add(entry.at)
            text.beginArray()
            text.add("r")
            text.add(reservation.orderNo)
            text.endArray()
            text.endArray()
        default: text.add(text: encode(event).text())
        }
    }

    /// Reads the events of one commit. A message that carries an order takes it from the order's own event in the same commit.
    func events(_ j: JSON) throws -> [Event] {
        let rows = j.arrayValue ?? []
        var reservations: [String: Reservation] = [:]
        for row in rows where row.arrayValue?.first == "order" {
            guard let parts = row.arrayValue, parts.count > 1 else { throw Unreadable(what: "order") }
            let reservation = try reservation(parts[1])
            reservations[reservation.orderNo] = reservation
        }
        return try rows.map { try event($0.arrayValue ?? [], reservations: reservations) }
    }

    private func event(_ a: [JSON], reservations: [String: Reservation]) throws -> Event {
        func text(_ index: Int) throws -> String {
            guard index < a.count, let value = a[index].stringValue else { throw Unreadable(what: "event") }
            return value
        }
        func int(_ index: Int) throws -> Int64 {
            guard index < a.count, let value = a[index].intValue else { throw Unreadable(what: "event") }
            return value
        }
        func value(_ index: Int) throws -> JSON {
            guard index < a.count else { throw Unreadable(what: "event") }
            return a[index]
        }
        switch try text(0) {
        case "registered": return .registered(parkCode: try text(1))
        case "policy": return .policy(parkCode: try text(1), try RowEncoding.policy(value(2)))
        case "lot": return .lot(try RowEncoding.profile(value(1)))
        case "gates": return .gates(parkCode: try text(1), try RowEncoding.gates(value(2)))
        case "remaining": return .remaining(parkCode: try text(1), try RowEncoding.remaining(value(2)))
        case "order": return .reservation(try reservation(value(1)))
        case "visit": return .visit(try visit(value(1)))
        case "notice": return .notice(try RowEncoding.notice(value(1)))
        case "report": return .report(try report(value(1)))
        case "bill": return .bill(try RowEncoding.bill(value(1)))
        case "payment": return .payment(try RowEncoding.payment(value(1)))
        case "entity": return .entity(try RowEncoding.entity(kind: text(1), json: open(text(2))))
        case "posting": return .posting(try RowEncoding.posting(value(1)))
        case "down":
            let m = try value(5).arrayValue ?? []
            guard m.count >= 2, let orderNo = m[1].stringValue else { throw Unreadable(what: "down") }
            func part(_ index: Int) throws -> JSON {
                guard index < m.count else { throw Unreadable(what: "down") }
                return m[index]
            }
            let message: LotMessage
            switch m[0].stringValue {
            case "r", "m":
                guard var reservation = reservations[orderNo] else { throw Unreadable(what: "down without its order") }
                // The message carries the order as it was when it was sent: at this place of the log.
                reservation.downSeq = try int(3)
                message = m[0] == "r" ? .reserve(reservation) : .modify(reservation)
            case "x": message = .relay(service: orderNo, body: try open(part(2).stringValue ?? "{}"))
            case "a":
                guard case .subscription(let subscription) = try RowEncoding.entity(kind: "subscription", json: open(orderNo)) else {
                    throw Unreadable(what: "down")
                }
                message = .authorise(subscription)
            case "v": message = .revoke(authNo: orderNo, authVer: try part(2).intValue ?? 0, reason: try part(3).stringValue ?? "")
            case "f":
                guard case .flow(let policy) = try RowEncoding.entity(kind: "flow", json: orderNo) else { throw Unreadable(what: "down") }
                message = .flow(policy, FlowMode(rawValue: Int(clamping: try part(2).intValue ?? 0)) ?? .off)
            default:
                message = .cancel(
                    orderNo: orderNo, orderVer: try part(2).intValue ?? 0,
                    CancelType(rawValue: Int(clamping: try part(3).intValue ?? 0)) ?? .server)
            }
            return .down(
                DownEntry(
                    parkCode: try text(1), epoch: try text(2), seq: try int(3), at: try int(4), message: message))
        case "settled":
            return .downSettled(
                parkCode: try text(1), epoch: try text(2), ackSeq: try int(3),
                (try value(4).arrayValue ?? []).compactMap(\.intValue).map {
                    DownResult(seq: Int64(clamping: $0.magnitude), isAccepted: $0 > 0)
                })
        case "up": return .upConsumed(parkCode: try text(1), epoch: try text(2), seq: try int(3))
        case "count": return .counted(key: try open(text(1)), delta: Int(try int(2)), max: Int(try int(3)))
        default: throw Unreadable(what: "event")
        }
    }

    static func parse(_ text: String) throws -> JSON { try JSON.parse(Array(text.utf8)) }
}

/// Typed reading of one encoded value.
struct CodedRow {
    let json: JSON
    init(_ json: JSON) { self.json = json }

    func text(_ name: String) throws -> String {
        guard let value = json[name]?.stringValue else { throw RowEncoding.Unreadable(what: name) }
        return value
    }
    func int(_ name: String) throws -> Int64 {
        guard let value = json[name]?.intValue else { throw RowEncoding.Unreadable(what: name) }
        return value
    }
    func optionalText(_ name: String) -> String? { json[name]?.stringValue }
    func optionalInt(_ name: String) -> Int64? { json[name]?.intValue }
    func flag(_ name: String) -> Bool { json[name]?.boolValue ?? false }
    func raw<Value: RawRepresentable>(_ name: String) throws -> Value where Value.RawValue == Int {
        guard let value = Value(rawValue: Int(try int(name))) else { throw RowEncoding.Unreadable(what: name) }
        return value
    }
}
