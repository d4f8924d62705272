public import BerthCore

/// Business fields → command (section 9). Each function reads one service; a field that it does not read has no effect.
public enum Decode {
    public static func plate(_ fields: FieldReader, _ name: String = "plateNo") throws(WireError) -> Plate {
        let text = try fields.string(name, max: 16)
        guard let plate = Plate(text) else { throw WireError("illegalPlate", "\(fields.path)\(name): not a plate number") }
        return plate
    }

    /// A camera's reading; it need not be a legal plate, and none is lost for its length (section 5.5).
    public static func reading(_ fields: FieldReader, _ name: String = "plateNo") throws(WireError) -> Plate {
        guard case .string(let text)? = fields.object[name], !text.isEmpty else { throw fields.missing(name) }
        if let plate = Plate(reading: text) { return plate }
        var short = String.UnicodeScalarView()
        for scalar in text.unicodeScalars where scalar.value > 0x20 && scalar.value != 0x7F {
            guard short.count < 16 else { break }
            short.append(scalar)
        }
        guard let plate = Plate(reading: String(short)) else { throw fields.illegal(name, "nothing that can be read") }
        return plate
    }

    public static func plateColor(_ fields: FieldReader, _ name: String = "plateColor") throws(WireError) -> Int {
        Int(try fields.int(name, among: Plate.colors))
    }

    public static func parkCode(_ fields: FieldReader, _ name: String = "parkCode") throws(WireError) -> String {
        let text = try fields.string(name, max: 32)
        guard Envelope.isParkCode(text) else { throw fields.illegal(name, "not the code of a lot") }
        return text
    }

    public static func purpose(_ fields: FieldReader, default fallback: Purpose?) throws(WireError) -> Purpose {
        guard let value = try fields.optionalInt("bizType", in: 1...3) else {
            if let fallback { return fallback }
            throw fields.missing("bizType")
        }
        return Purpose(rawValue: Int(value))!
    }

    /// U03 `lot.info.report`.
    public static func lotInfo(_ data: JSONObject, parkCode: String) throws(WireError) -> LotProfile {
        let fields = FieldReader(data)
        guard try self.parkCode(fields) == parkCode else {
            throw WireError("illegalValue", "parkCode: not the envelope's")
        }
        let count: ClosedRange<Int64> = 0...1_000_000
        try checkAreas(fields)
        var hours: [OpenHours] = []
        for entry in try fields.objects("openHours", max: 100) {
            guard case .array(let days)? = entry.object["days"] else { throw WireError("missingParameter", "openHours.days") }
            var set: Set<Int> = []
            for day in days {
                guard let day = day.intValue, (1...7).contains(day) else {
                    throw WireError("illegalValue", "openHours.days: 1 to 7")
                }
                set.insert(Int(day))
            }
            hours.append(
                OpenHours(
                    days: set, start: try entry.minuteOfDay("start", isEnd: false),
                    end: try entry.minuteOfDay("end", isEnd: true)))
        }
        guard !hours.isEmpty else { throw fields.illegal("openHours", "empty: a lot that never opens") }
        let regionCode = try fields.string("regionCode", max: 6)
        guard regionCode.utf8.count == 6, regionCode.utf8.allSatisfy({ (48...57).contains($0) }) else {
            throw WireError("illegalValue", "regionCode: six digits")
        }
        let total = Int(try fields.int("totalSpace", in: count))
        let quotas: [Purpose: Int] = [
            .reservation: Int(try fields.int("reserveSpace", in: count)),
            .shared: Int(try fields.int("shareSpace", in: count)),
            .publicService: Int(try fields.int("publicBizSpace", in: count)),
        ]
        guard quotas.values.allSatisfy({ $0 <= total }) else {
            throw WireError("illegalValue", "reserveSpace, shareSpace, publicBizSpace: at most totalSpace")
        }
        var enabled: Set<Purpose> = []
        if try fields.bool("reserveEnabled") { enabled.insert(.reservation) }
        if try fields.bool("shareEnabled") { enabled.insert(.shared) }
        if try fields.bool("publicBizEnabled") { enabled.insert(.publicService) }
        var profile = LotProfile(
            parkCode: parkCode, name: try fields.string("parkName", max: 64),
            address: try fields.string("address", max: 256), regionCode: regionCode,
            longitude: try fields.coordinate("lng", limit: 180), latitude: try fields.coordinate("lat", limit: 90),
            coordType: Int(try fields.int("coordType", in: 1...3)),
            lotType: Int(try fields.int("lotType", among: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 99])),
            lotClass: Int(try fields.int("lotClass", in: 1...4)), totalCount: total, quotas: quotas, enabled: enabled,
            openHours: hours, freeMin: Int(try fields.int("freeMin", in: 0...100_000)),
            leaveBufferMin: Int(try fields.int("leaveBufferMin", in: 0...100_000)))
        let credit = try fields.optionalString("operatorCreditCode", max: 64) ?? ""
        profile.group = try credit.isEmpty ? fields.optionalString("operatorName", max: 64) ?? "" : credit
        if let limits = try fields.optionalObject("limits") {
            profile.maxSeats = Int(try limits.optionalInt("maxSeats", in: 0...1000) ?? 0)
            profile.maxHeightMm = Int(try limits.optionalInt("maxHeightMm", in: 0...100_000) ?? 0)
            profile.plateTypes = Set((limits.object["plateTypes"]?.arrayValue ?? []).compactMap(\.stringValue))
        }
        profile.position = CoordinateConversion.point(longitude: profile.longitude, latitude: profile.latitude, type: profile.coordType)
        return profile
    }

    /// An area lies in another one, and never in itself.
    private static func checkAreas(_ fields: FieldReader) throws(WireError) {
        var parents = TextTable<String>()
        for area in try fields.optionalObjects("areas", max: 1000) ?? [] {
            guard let code = try area.optionalString("areaCode", max: 32), let parent = try area.optionalString("parentAreaCode", max: 32)
            else { continue }
            parents[code] = parent
        }
        for code in parents.keys {
            var (at, steps) = (code, 0)
            while let parent = parents[at] {
                steps += 1
                guard parent != code, steps <= 1000 else { throw fields.illegal("areas", "parentAreaCode: an area lies in itself") }
                at = parent
            }
        }
    }

    /// U04 `lot.gate.report`.
    /// - Parameter kind: under which each gate is kept as it was reported.
    public static func gates(_ data: JSONObject, parkCode: String, kind: String, now: Int64) throws(WireError) -> Command {
        var upsert: [Gate] = []
        var delete: [String] = []
        let known = Dialect.current.services["lot.gate.report"]!.request.known(data)["gates"]?.arrayValue ?? []
        let kept = known.compactMap { row -> KeptRecord? in
            guard case .object(var fields) = row, let code = fields["gateCode"]?.stringValue else { return nil }
            let isGone = fields["op"]?.intValue == 3
            fields["op"] = nil
            return KeptRecord(parkCode: parkCode, kind: kind, key: code, body: isGone ? "" : JSON.object(fields).canonicalString, at: now)
        }
        for gate in try FieldReader(data).objects("gates", max: 1000) {
            let code = try gate.string("gateCode", max: 32)
            if try gate.optionalInt("op", in: 1...3) == 3 { delete.append(code); continue }
            upsert.append(
                Gate(
                    gateCode: code, name: try gate.string("gateName", max: 64),
                    direction: Int(try gate.int("direction", in: 1...3))))
        }
        return .reportGates(parkCode: parkCode, upsert: upsert, delete: delete, kept: kept)
    }

    /// U07 `space.remain.report`.
    public static func remaining(_ data: JSONObject, now: Int64) throws(WireError) -> Remaining {
        let fields = FieldReader(data)
        let count: ClosedRange<Int64> = 0...1_000_000
        let total = try fields.int("total", in: count)
        let remain = try fields.int("remain", in: count)
        let occupied = try fields.optionalInt("occupied", in: count) ?? max(0, total - remain)
        for (all, left) in [("reserveTotal", "reserveRemain"), ("shareTotal", "shareRemain")] {
            if let most = try fields.optionalInt(all, in: count), let rest = try fields.optionalInt(left, in: count), rest > most {
                throw WireError("countersInconsistent", "\(left): more than \(all)")
            }
        }
        return Remaining(
            reportedAt: try fields.optionalTime("reportTime") ?? now, total: Int(total), occupied: Int(occupied),
            remain: Int(remain))
    }

    private static func color(_ fields: FieldReader, isMandatory: Bool) throws(WireError) -> Int? {
        if !isMandatory, !fields.has("plateColor") { return nil }
        return Int(try fields.int("plateColor", among: Plate.colors))
    }

    /// A04 `order.create`; `plateColor` left out means undetermined (9).
    public static func booking(_ data: JSONObject, appId: String, dataHash: String) throws(WireError) -> Booking {
        let fields = FieldReader(data)
        var booking = Booking(
            appId: appId, clientOrderNo: try fields.string("clientOrderNo", max: 64),
            requestHash: dataHash, userToken: try fields.string("userToken", max: 64),
            plate: try plate(fields), plateColor: try color(fields, isMandatory: false) ?? 9,
            parkCode: try parkCode(fields), purpose: try purpose(fields, default: nil),
            planTime: try fields.time("planTime"), mobile: try fields.optionalString("mobile", max: 20) ?? "",
            extNo: try fields.optionalString("extNo", max: 64))
        booking.waits = try fields.optionalBool("waitlist") ?? false
        // Most orders say nothing of what follows.
        for (name, _) in data.members where fields.has(name) {
            switch name {
            case "plateNos":
                booking.otherPlates = try plates(fields).filter { $0 != booking.plate }
            case "poolType":
                let text = try fields.string(name, max: 16)
                guard let pool = Pool(rawValue: text), [.personal, .merchant, .charging].contains(pool), booking.purpose == .reservation
                else { throw fields.illegal(name, "PERSONAL, MERCHANT or CHARGING of a reservation") }
                booking.pool = pool
            case "offerId": booking.offerId = try fields.optionalString(name, max: 32)
            case "stayMin": booking.stayMin = try fields.optionalInt(name, in: 15...10_080).map { Int($0) }
            case "seats": booking.seats = try fields.optionalInt(name, in: 1...100).map { Int($0) }
            case "heightMm": booking.heightMm = try fields.optionalInt(name, in: 500...6000).map { Int($0) }
            case "plateType": booking.plateType = try fields.optionalString(name, max: 2)
            default: break
            }
        }
        return booking
    }

    /// A05 `order.modify`.
    public static func modification(_ data: JSONObject, appId: String) throws(WireError) -> Command {
        let fields = FieldReader(data)
        let orderNo = try fields.string("orderNo", max: 32)
        let hasPlate = fields.has("plateNo")
        let planTime = try fields.optionalTime("planTime")
        guard hasPlate || planTime != nil else { throw fields.missing("planTime or plateNo") }
        return .modify(
            appId: appId, orderNo: orderNo, planTime: planTime, plate: hasPlate ? try plate(fields) : nil,
            plateColor: try color(fields, isMandatory: false))
    }

    /// A06 `order.cancel`.
    public static func cancellation(_ data: JSONObject, appId: String) throws(WireError) -> Command {
        let fields = FieldReader(data)
        _ = try fields.optionalString("reason", max: 256)
        return .cancel(
            appId: appId, orderNo: try fields.string("orderNo", max: 32),
            confirmBreach: try fields.optionalBool("confirmBreach") ?? false)
    }

    /// U10 `vehicle.entry.report`. A car that came in is a fact: an optional field that is wrong is left out (section 5.5).
    public static func entry(_ data: JSONObject) throws(WireError) -> Passage {
        let fields = FieldReader(data)
        let carKind = try fields.int("carKind", in: 1...9)
        let orderNo = (try? fields.optionalString("orderNo", max: 32)) ?? nil
        if (5...7).contains(carKind), orderNo == nil { throw fields.missing("orderNo") }
        var passage = Passage(
            recordNo: try fields.string("recordNo", max: 48), plate: try reading(fields),
            gateCode: try fields.string("gateCode", max: 32), enterTime: try fields.time("enterTime"),
            carKind: Int(carKind), orderNo: orderNo)
        _ = try color(fields, isMandatory: true)
        passage.vehicleClass = Int(try fields.int("vehicleClass", in: 1...6))
        _ = try fields.string("gateName", max: 64)
        passage.enterMode = Int(try fields.int("enterMode", in: 1...6))
        guard fields.has("remain") else { throw fields.missing("remain") }
        passage.remain = remain(fields)
        return passage
    }

    /// The count of places that a passage states; nil where it states none that can be.
    private static func remain(_ fields: FieldReader) -> Remaining? {
        guard let remain = try? fields.optionalObject("remain"), let total = try? remain.optionalInt("total", in: 0...1_000_000),
            let left = try? remain.optionalInt("remain", in: 0...1_000_000), left <= total
        else { return nil }
        return Remaining(reportedAt: 0, total: Int(total), occupied: Int(total - left), remain: Int(left))
    }

    /// U11 `vehicle.exit.report`. An optional field that is wrong is left out.
    public static func exit(_ data: JSONObject, parkCode: String, now: Int64) throws(WireError) -> Passage {
        let fields = FieldReader(data)
        let enterTime = try fields.time("enterTime")
        let leaveTime = try fields.time("leaveTime")
        // An entry that was dated too far ahead counts as of its receipt: the rules compare.
        guard leaveTime >= enterTime || enterTime > now + City.aheadMillisMax else { throw fields.illegal("leaveTime", "before enterTime") }
        func optional<Value>(_ body: () throws(WireError) -> Value?) -> Value? { (try? body()) ?? nil }
        let fen = { (name: String) in optional { () throws(WireError) in try fields.optionalInt(name, in: 0...WireLimits.moneyMax) } }
        let total = fen("totalFee") ?? 0
        var passage = Passage(
            recordNo: try fields.string("recordNo", max: 48), plate: try reading(fields),
            gateCode: optional { () throws(WireError) in try fields.optionalString("gateCode", max: 32) } ?? "", enterTime: enterTime,
            carKind: Int(optional { () throws(WireError) in try fields.optionalInt("carKind", in: 1...9) } ?? 1),
            orderNo: optional { () throws(WireError) in try fields.optionalString("orderNo", max: 32) }, leaveTime: leaveTime,
            exitGateCode: try fields.string("exitGateCode", max: 32),
            // The amount due is the fee less the discount (U11).
            feeFen: max(0, total - min(total, fen("discountFee") ?? 0)))
        passage.vehicleClass = Int(optional { () throws(WireError) in try fields.optionalInt("vehicleClass", in: 1...6) } ?? 0)
        passage.isInArrears = optional { () throws(WireError) in try fields.optionalInt("leaveKind", in: 1...6) } == 5
        passage.remain = remain(fields)
        for row in optional({ () throws(WireError) in try fields.optionalObjects("payments", max: 100) }) ?? [] {
            guard let payNo = optional({ () throws(WireError) in try row.string("payNo", max: 64) }) else { continue }
            var payment = Payment(
                payNo: payNo, appId: "", parkCode: parkCode, recordNo: passage.recordNo, billNo: nil,
                amountFen: optional { () throws(WireError) in try row.optionalInt("amount", in: 0...WireLimits.moneyMax) } ?? 0,
                channel: "", state: .paid,
                payTime: optional { () throws(WireError) in try row.optionalTime("payTime") } ?? leaveTime,
                requestHash: Signature.dataHash(.object(row.object)))
            payment.cameWithExit = true
            passage.payments.append(payment)
        }
        return passage
    }

    /// U14 `order.status.report`.
    public static func orderStatus(_ data: JSONObject, parkCode: String) throws(WireError) -> Command {
        let fields = FieldReader(data)
        return .state(
            parkCode: parkCode, orderNo: try fields.string("orderNo", max: 32),
            orderVer: try fields.int("orderVer", in: 1...(1 << 53)),
            LotStatement(rawValue: Int(try fields.int("status", in: 2...8)))!, at: try fields.time("occurTime"),
            recordNo: try fields.optionalString("recordNo", max: 48))
    }

    /// U17 `event.report`; an event type that the dictionary does not know is kept as it is.
    public static func event(_ data: JSONObject, parkCode: String) throws(WireError) -> LotEvent {
        let fields = FieldReader(data)
        let eventId = try fields.string("eventId", max: 64)
        _ = try fields.optionalInt("level", in: 1...4)
        return LotEvent(
            parkCode: parkCode, eventType: Int(try fields.int("eventType", in: 1000...9999)),
            occurredAt: try fields.time("occurTime"), orderNo: try fields.optionalString("orderNo", max: 32),
            recordNo: try fields.optionalString("recordNo", max: 48), detail: eventId)
    }

    /// An entry of the up log → command.
    public static func logEntry(service: String, data: JSONObject, parkCode: String, now: Int64) throws(WireError) -> Command {
        guard let definition = Dialect.current.services[service], definition.direction == "up", definition.kind == .log else {
            throw WireError("unknownService", "service: not a service of the up log")
        }
        if service == "vehicle.entry.report" || service == "vehicle.exit.report" {
            // A wrong optional field never loses a record.
            let faults = definition.request.faults(in: data).filter { !$0.isOptional }
            if let worst = Schema.worst(faults.map(\.error)) { throw worst }
        } else {
            try definition.request.check(data)
        }
        if let command = filing(service: service, data: data, parkCode: parkCode, now: now) { return command }
        switch service {
        case "share.space.report": return try lotOffers(data, parkCode: parkCode, now: now)
        case "vehicle.record.correct": return try correction(data, parkCode: parkCode)
        case "payment.record.report": return try paymentRecord(data, parkCode: parkCode)
        case "vehicle.entry.report": return .enter(parkCode: parkCode, try entry(data))
        case "vehicle.exit.report": return .exit(parkCode: parkCode, try exit(data, parkCode: parkCode, now: now))
        case "order.status.report": return try orderStatus(data, parkCode: parkCode)
        case "event.report": return .notice(try event(data, parkCode: parkCode))
        default: throw WireError("unknownService", service)
        }
    }

    /// A place in a list, as an earlier answer gave it: digits alone.
    public static func cursor(_ text: String) -> Int64? {
        guard !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }), let value = Int64(text), value > 0 else { return nil }
        return value
    }

    /// The fact that a record proves although it cannot be taken: a car was at the lot then. Nil where the record does not say when.
    public static func dispute(service: String, data: JSONObject, parkCode: String, now: Int64) -> Command? {
        guard service == "vehicle.entry.report" || service == "vehicle.exit.report" else { return nil }
        let fields = FieldReader(data)
        guard let time = try? fields.optionalTime("enterTime") ?? fields.optionalTime("leaveTime") else { return nil }
        let plate = data["plateNo"]?.stringValue.flatMap { Plate(reading: $0) }
        let orderNo = (try? fields.optionalString("orderNo", max: 32)).flatMap { $0 }
        guard plate != nil || orderNo != nil else { return nil }
        let recordNo = (try? fields.optionalString("recordNo", max: 48)).flatMap { $0 } ?? ""
        return .dispute(parkCode: parkCode, plate: plate, orderNo: orderNo, time: min(time, now), recordNo: recordNo)
    }

    /// A dead letter with its correction: the fields in `after` take the place of the fields of the first report.
    /// - Parameter dead: canon(data) of the first report.
    public static func corrected(_ dead: String, _ correction: JSONObject) -> JSONObject {
        var data = (try? JSON.parse(Array(dead.utf8)))?.objectValue ?? JSONObject()
        for (name, value) in correction["after"]?.objectValue?.members ?? [] where name != "recordNo" { data[name] = value }
        return data
    }

    /// A lot's answer to an entry of its down log.
    public static func downAccepted(code: Int, data: JSON) -> Bool {
        code == 0 && data["accepted"]?.boolValue != false
    }

    /// `date`: yyyy-MM-dd → day.
    public static func day(_ fields: FieldReader, _ name: String) throws(WireError) -> Int64 {
        guard case .string(let text)? = fields.object[name], !text.isEmpty else {
            throw fields.has(name) ? fields.illegal(name, "not a string") : fields.missing(name)
        }
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard text.utf8.count == 10, parts.count == 3, parts.allSatisfy({ $0.utf8.allSatisfy { (48...57).contains($0) } }),
            let year = Int64(parts[0]), let month = Int64(parts[1]),
            let dayOfMonth = Int64(parts[2]),
            let day = CivilTime.day(year: year, month: month, day: dayOfMonth)
        else { throw fields.illegal(name, "yyyy-MM-dd") }
        return day
    }

    /// Reads what names a lot, a purpose and a day (A03).
    public static func slotQuery(_ data: JSONObject) throws(WireError) -> (parkCode: String, purpose: Purpose, day: Int64) {
        let fields = FieldReader(data)
        return (try parkCode(fields), try purpose(fields, default: .reservation), try day(fields, "date"))
    }
}
