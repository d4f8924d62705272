public import BerthCore

/// Business fields → command (section 9). Each function reads one service; what it does not read has no effect.
public enum Decode {
    public static func plate(_ fields: Fields, _ name: String = "plateNo") throws(WireError) -> Plate {
        let text = try fields.string(name, max: 16)
        guard let plate = Plate(text) else { throw WireError("illegalPlate", name) }
        return plate
    }

    public static func plateColor(_ fields: Fields, _ name: String = "plateColor") throws(WireError) -> Int {
        Int(try fields.int(name, among: Plate.colors))
    }

    public static func parkCode(_ fields: Fields, _ name: String = "parkCode") throws(WireError) -> String {
        let text = try fields.string(name, max: 32)
        guard Envelope.isParkCode(text) else { throw WireError("illegalValue", name) }
        return text
    }

    public static func purpose(_ fields: Fields, default fallback: Purpose?) throws(WireError) -> Purpose {
        guard let value = try fields.optionalInt("bizType", in: 1...3) else {
            if let fallback { return fallback }
            throw WireError("missingParameter", "bizType")
        }
        return Purpose(rawValue: Int(value))!
    }

    /// U03 `lot.info.report`.
    public static func lotInfo(_ data: JSONObject, parkCode: String) throws(WireError) -> LotProfile {
        let fields = Fields(data)
        guard try self.parkCode(fields) == parkCode else {
            throw WireError("illegalValue", "parkCode: not the envelope's")
        }
        let count: ClosedRange<Int64> = 0...1_000_000
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
        profile.position = Ground.point(longitude: profile.longitude, latitude: profile.latitude, type: profile.coordType)
        return profile
    }

    /// U04 `lot.gate.report`.
    /// - Parameter kind: under which each gate is kept as it was reported.
    public static func gates(_ data: JSONObject, parkCode: String, kind: String, now: Int64) throws(WireError) -> Command {
        var upsert: [Gate] = []
        var delete: [String] = []
        let known = Profile.current.services["lot.gate.report"]!.request.known(data)["gates"]?.arrayValue ?? []
        let kept = known.compactMap { row -> Report? in
            guard case .object(var fields) = row, let code = fields["gateCode"]?.stringValue else { return nil }
            let isGone = fields["op"]?.intValue == 3
            fields["op"] = nil
            return Report(parkCode: parkCode, kind: kind, key: code, body: isGone ? "" : JSON.object(fields).canonicalString, at: now)
        }
        for gate in try Fields(data).objects("gates", max: 1000) {
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
        let fields = Fields(data)
        let count: ClosedRange<Int64> = 0...1_000_000
        let total = try fields.int("total", in: count)
        let remain = try fields.int("remain", in: count)
        let occupied = try fields.optionalInt("occupied", in: count) ?? max(0, total - remain)
        return Remaining(
            reportedAt: try fields.optionalTime("reportTime") ?? now, total: Int(total), occupied: Int(occupied),
            remain: Int(remain))
    }

    private static func color(_ fields: Fields, isMandatory: Bool) throws(WireError) -> Int? {
        if !isMandatory, fields.object["plateColor"] == nil || fields.object["plateColor"] == .null { return nil }
        return Int(try fields.int("plateColor", among: Plate.colors))
    }

    /// A04 `order.create`; `plateColor` left out means undetermined (9).
    public static func booking(_ data: JSONObject, appId: String, dataHash: String) throws(WireError) -> Booking {
        let fields = Fields(data)
        var booking = Booking(
            appId: appId, clientOrderNo: try fields.string("clientOrderNo", max: 64),
            requestHash: dataHash, userToken: try fields.string("userToken", max: 64),
            plate: try plate(fields), plateColor: try color(fields, isMandatory: false) ?? 9,
            parkCode: try parkCode(fields), purpose: try purpose(fields, default: nil),
            planTime: try fields.time("planTime"), mobile: try fields.optionalString("mobile", max: 20) ?? "",
            extNo: try fields.optionalString("extNo", max: 64))
        booking.waits = try fields.optionalBool("waitlist") ?? false
        // Most orders say nothing of what follows.
        for (name, value) in data.members where value != .null {
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
        let fields = Fields(data)
        let orderNo = try fields.string("orderNo", max: 32)
        let hasPlate = fields.object["plateNo"] != nil && fields.object["plateNo"] != .null
        let planTime = try fields.optionalTime("planTime")
        guard hasPlate || planTime != nil else { throw WireError("missingParameter", "planTime or plateNo") }
        return .modify(
            appId: appId, orderNo: orderNo, planTime: planTime, plate: hasPlate ? try plate(fields) : nil,
            plateColor: try color(fields, isMandatory: false))
    }

    /// A06 `order.cancel`.
    public static func cancellation(_ data: JSONObject, appId: String) throws(WireError) -> Command {
        let fields = Fields(data)
        _ = try fields.optionalString("reason", max: 256)
        return .cancel(
            appId: appId, orderNo: try fields.string("orderNo", max: 32),
            confirmBreach: try fields.optionalBool("confirmBreach") ?? false)
    }

    /// U10 `vehicle.entry.report`.
    public static func entry(_ data: JSONObject) throws(WireError) -> Passage {
        let fields = Fields(data)
        let carKind = try fields.int("carKind", in: 1...9)
        let orderNo = try fields.optionalString("orderNo", max: 32)
        if (5...7).contains(carKind), orderNo == nil { throw WireError("missingParameter", "orderNo") }
        var passage = Passage(
            recordNo: try fields.string("recordNo", max: 48), plate: try plate(fields),
            gateCode: try fields.string("gateCode", max: 32), enterTime: try fields.time("enterTime"),
            carKind: Int(carKind), orderNo: orderNo)
        _ = try color(fields, isMandatory: true)
        passage.vehicleClass = Int(try fields.int("vehicleClass", in: 1...6))
        _ = try fields.string("gateName", max: 64)
        passage.enterMode = Int(try fields.int("enterMode", in: 1...6))
        guard let remain = try fields.optionalObject("remain") else { throw WireError("missingParameter", "remain") }
        _ = try remain.optionalInt("total", in: 0...1_000_000)
        _ = try remain.optionalInt("remain", in: 0...1_000_000)
        return passage
    }

    /// U11 `vehicle.exit.report`.
    public static func exit(_ data: JSONObject, parkCode: String) throws(WireError) -> Passage {
        let fields = Fields(data)
        let enterTime = try fields.time("enterTime")
        let leaveTime = try fields.time("leaveTime")
        guard leaveTime >= enterTime else { throw WireError("illegalValue", "leaveTime: before enterTime") }
        var passage = Passage(
            recordNo: try fields.string("recordNo", max: 48), plate: try plate(fields),
            gateCode: try fields.optionalString("gateCode", max: 32) ?? "", enterTime: enterTime,
            carKind: Int(try fields.optionalInt("carKind", in: 1...9) ?? 1),
            orderNo: try fields.optionalString("orderNo", max: 32), leaveTime: leaveTime,
            exitGateCode: try fields.string("exitGateCode", max: 32),
            feeFen: try fields.optionalInt("totalFee", in: 0...1_000_000_000) ?? 0)
        passage.vehicleClass = Int(try fields.optionalInt("vehicleClass", in: 1...6) ?? 0)
        for row in try fields.optionalObjects("payments", max: 100) ?? [] {
            var payment = Payment(
                payNo: try row.string("payNo", max: 64), appId: "", parkCode: parkCode, recordNo: passage.recordNo, billNo: nil,
                amountFen: try row.optionalInt("amount", in: 0...WireLimits.moneyMax) ?? 0, channel: "", state: .paid,
                payTime: try row.optionalTime("payTime") ?? leaveTime, requestHash: Signature.dataHash(.object(row.object)))
            payment.cameWithExit = true
            passage.payments.append(payment)
        }
        return passage
    }

    /// U14 `order.status.report`.
    public static func orderStatus(_ data: JSONObject, parkCode: String) throws(WireError) -> Command {
        let fields = Fields(data)
        return .state(
            parkCode: parkCode, orderNo: try fields.string("orderNo", max: 32),
            orderVer: try fields.int("orderVer", in: 1...(1 << 53)),
            LotStatement(rawValue: Int(try fields.int("status", in: 2...8)))!, at: try fields.time("occurTime"),
            recordNo: try fields.optionalString("recordNo", max: 48))
    }

    /// U17 `event.report`; an event type that the dictionary does not know is kept as it is.
    public static func event(_ data: JSONObject, parkCode: String) throws(WireError) -> Notice {
        let fields = Fields(data)
        let eventId = try fields.string("eventId", max: 64)
        _ = try fields.optionalInt("level", in: 1...4)
        return Notice(
            parkCode: parkCode, eventType: Int(try fields.int("eventType", in: 1000...9999)),
            occurredAt: try fields.time("occurTime"), orderNo: try fields.optionalString("orderNo", max: 32),
            recordNo: try fields.optionalString("recordNo", max: 48), detail: eventId)
    }

    /// An entry of the up log → command.
    public static func logEntry(service: String, data: JSONObject, parkCode: String, now: Int64) throws(WireError) -> Command {
        guard let definition = Profile.current.services[service], definition.direction == "up", definition.kind == .log else {
            throw WireError("unknownService", service)
        }
        try definition.request.check(data)
        if let command = filing(service: service, data: data, parkCode: parkCode, now: now) { return command }
        switch service {
        case "share.space.report": return try lotOffers(data, parkCode: parkCode, now: now)
        case "vehicle.record.correct": return try correction(data, parkCode: parkCode)
        case "payment.record.report": return try paymentRecord(data, parkCode: parkCode)
        case "vehicle.entry.report": return .enter(parkCode: parkCode, try entry(data))
        case "vehicle.exit.report": return .exit(parkCode: parkCode, try exit(data, parkCode: parkCode))
        case "order.status.report": return try orderStatus(data, parkCode: parkCode)
        case "event.report": return .notice(try event(data, parkCode: parkCode))
        default: throw WireError("unknownService", service)
        }
    }

    /// A lot's answer to an entry of its down log.
    public static func downAccepted(code: Int, data: JSON) -> Bool {
        code == 0 && data["accepted"]?.boolValue != false
    }

    /// `date`: yyyy-MM-dd → day.
    public static func day(_ fields: Fields, _ name: String) throws(WireError) -> Int64 {
        let text = try fields.string(name, max: 10)
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard text.utf8.count == 10, parts.count == 3, let year = Int64(parts[0]), let month = Int64(parts[1]),
            let dayOfMonth = Int64(parts[2]),
            let day = CivilTime.day(year: year, month: month, day: dayOfMonth)
        else { throw WireError("illegalValue", "\(name): yyyy-MM-dd") }
        return day
    }

    /// Reads what names a lot, a purpose and a day (A03).
    public static func slotQuery(_ data: JSONObject) throws(WireError) -> (parkCode: String, purpose: Purpose, day: Int64) {
        let fields = Fields(data)
        return (try parkCode(fields), try purpose(fields, default: .reservation), try day(fields, "date"))
    }
}
