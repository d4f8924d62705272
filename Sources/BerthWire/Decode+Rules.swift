public import BerthCore

// Services of waiting, standing, sharing, public service, flow control and settlement (A09, A12, A14 to A16, O01 to O11).
extension Decode {
    // MARK: Times

    /// `segments[]`: times that come again (U16, D05). Nil when there are none.
    public static func segments(_ fields: FieldReader, _ name: String = "segments") throws(WireError) -> [RecurringWindow]? {
        guard let rows = try fields.optionalObjects(name, max: 100), !rows.isEmpty else { return nil }
        var segments: [RecurringWindow] = []
        for row in rows { segments.append(try segment(row)) }
        return segments
    }

    /// Days that one segment may name.
    private static let repeatsMax = 366

    private static func segment(_ row: FieldReader) throws(WireError) -> RecurringWindow {
        let start = try row.minuteOfDay("start", isEnd: false)
        let end = try row.minuteOfDay("end", isEnd: true)
        guard let repeats = RecurringWindow.Repeat(rawValue: try row.string("repeatType", max: 8)) else {
            throw row.illegal("repeatType", "daily, weekly, monthly or date")
        }
        let values = row.object["repeatData"]?.arrayValue ?? []
        switch repeats {
        case .daily: return RecurringWindow(.daily, start: start, end: end)
        case .weekly, .monthly:
            guard values.count <= repeatsMax else { throw row.illegal("repeatData", "more than \(repeatsMax)") }
            let range: ClosedRange<Int64> = repeats == .weekly ? 1...7 : 1...31
            let days = values.compactMap(\.intValue)
            guard !days.isEmpty, days.count == values.count, days.allSatisfy(range.contains) else {
                throw row.illegal("repeatData", "days from \(range.lowerBound) to \(range.upperBound)")
            }
            return RecurringWindow(repeats, days: days.map { Int($0) }, start: start, end: end)
        case .date:
            guard values.count <= repeatsMax else { throw row.illegal("repeatData", "more than \(repeatsMax)") }
            var dates: [Int64] = []
            for value in values {
                dates.append(try day(FieldReader(JSONObject([("repeatData", value)]), path: row.path), "repeatData"))
            }
            guard !dates.isEmpty else { throw row.missing("repeatData") }
            return RecurringWindow(.date, dates: dates, start: start, end: end)
        }
    }

    /// `quietHours[]`: when nobody passes, every day.
    static func quietHours(_ fields: FieldReader) throws(WireError) -> [RecurringWindow] {
        var quiet: [RecurringWindow] = []
        for row in try fields.optionalObjects("quietHours", max: 10) ?? [] {
            quiet.append(
                RecurringWindow(.daily, start: try row.minuteOfDay("start", isEnd: false), end: try row.minuteOfDay("end", isEnd: true)))
        }
        return quiet
    }

    static func price(_ fields: FieldReader) throws(WireError) -> SharePrice? {
        guard let price = try fields.optionalObject("price") else { return nil }
        guard let mode = SharePrice.Mode(rawValue: Int(try price.int("mode", in: 1...3))) else { throw price.illegal("mode", "1 to 3") }
        return SharePrice(mode: mode, fen: try price.int("amount", in: 0...WireLimits.moneyMax))
    }

    static func plates(_ fields: FieldReader, _ name: String = "plateNos") throws(WireError) -> [Plate] {
        var plates: [Plate] = []
        for value in fields.object[name]?.arrayValue ?? [] {
            guard let plate = value.stringValue.flatMap({ Plate($0) }) else {
                throw WireError("illegalPlate", "\(name): not a plate number")
            }
            if !plates.contains(plate) { plates.append(plate) }
        }
        return plates
    }

    // MARK: Sharing

    /// U16 `share.space.report`: the lot vouches for what it offers.
    public static func lotOffers(_ data: JSONObject, parkCode: String, now: Int64) throws(WireError) -> Command {
        var offers: [SharedOffer] = []
        var gone: [String] = []
        for row in try FieldReader(data).objects("offers", max: 1000) {
            let offerId = try row.string("offerId", max: 32)
            if City.isOwnNumber(offerId) { throw row.illegal("offerId", "a number of the server's own series") }
            if try row.optionalInt("op", in: 1...3) == 3 {
                gone.append(offerId)
                continue
            }
            let space = try row.optionalString("spaceNo", max: 32)
            let count = Int(try row.optionalInt("count", in: 1...100_000) ?? 1)
            let from = try row.optionalTime("validFrom") ?? now
            let to = try row.optionalTime("validTo") ?? 4_102_444_800_000
            guard from < to else { throw row.illegal("validTo", "not after validFrom") }
            offers.append(
                SharedOffer(
                    offerId: offerId, appId: "", providerToken: try row.optionalString("providerId", max: 64) ?? "", parkCode: parkCode,
                    spaceNo: space, count: space == nil ? count : 1, areaCode: try row.optionalString("areaCode", max: 32),
                    segments: try segments(row) ?? [], quietHours: try quietHours(row), price: try price(row), validFrom: from, validTo: to,
                    status: .open, createdAt: now))
        }
        return .reportOffers(parkCode: parkCode, offers, gone: gone)
    }

    /// A15 `share.offer.publish`.
    public static func offer(_ data: JSONObject, appId: String, now: Int64) throws(WireError) -> Command {
        let fields = FieldReader(data)
        let space = try fields.optionalString("spaceNo", max: 32)
        let count = try fields.optionalInt("count", in: 1...10_000)
        guard space?.isEmpty == false || count != nil else { throw fields.missing("spaceNo or count") }
        let from = try fields.optionalTime("validFrom") ?? now
        let to = try fields.optionalTime("validTo") ?? 4_102_444_800_000
        guard from < to else { throw fields.illegal("validTo", "not after validFrom") }
        return .publishOffer(
            SharedOffer(
                offerId: "", appId: appId, providerToken: try fields.string("providerToken", max: 64), parkCode: try parkCode(fields),
                spaceNo: space?.isEmpty == false ? space : nil, count: space?.isEmpty == false ? 1 : Int(count ?? 1),
                areaCode: try fields.optionalString("areaCode", max: 32), segments: try segments(fields) ?? [],
                quietHours: try quietHours(fields), price: try price(fields), validFrom: from, validTo: to, status: .draft,
                proofs: (data["proofImages"]?.arrayValue ?? []).compactMap(\.stringValue).filter { !$0.isEmpty },
                agreementVersion: try fields.string("agreementVersion", max: 32), createdAt: now))
    }

    /// A14 `share.apply`.
    public static func subscription(_ data: JSONObject, appId: String, now: Int64) throws(WireError) -> Command {
        let fields = FieldReader(data)
        let plates = try plates(fields)
        guard !plates.isEmpty else { throw fields.missing("plateNos") }
        let from = try fields.time("periodFrom")
        let to = try fields.time("periodTo")
        guard from <= to else { throw fields.illegal("periodTo", "before periodFrom") }
        return .subscribeShare(
            SharedSubscription(
                authNo: "", appId: appId, userToken: try fields.string("userToken", max: 64), parkCode: try parkCode(fields),
                offerId: try fields.optionalString("offerId", max: 32).flatMap { $0.isEmpty ? nil : $0 }, spaceNo: nil, plates: plates,
                segments: try segments(fields) ?? [], quietHours: [], validFrom: from, validTo: to, graceMin: 0, price: nil,
                status: .pending,
                strikesMax: 1, createdAt: now), months: CivilTime.months(from: from, to: to))
    }

    /// D05 as the rules know it: pushed by an operator, or read from a lot's own list.
    public static func authorisation(_ data: JSONObject, parkCode: String, now: Int64) throws(WireError) -> SharedSubscription {
        let fields = FieldReader(data)
        let plates = try plates(fields)
        guard !plates.isEmpty else { throw fields.missing("plateNos") }
        guard try fields.time("validFrom") < fields.time("validTo") else { throw fields.illegal("validTo", "not after validFrom") }
        let mode = try fields.optionalInt("feeMode", in: 1...3).flatMap { SharePrice.Mode(rawValue: Int($0)) }
        var subscription = SharedSubscription(
            authNo: try fields.string("authNo", max: 32), appId: "", userToken: "", parkCode: parkCode, offerId: nil,
            spaceNo: try fields.optionalString("spaceNo", max: 32), plates: plates,
            segments: try segments(fields) ?? RecurringWindow.always,
            quietHours: try quietHours(fields), validFrom: try fields.time("validFrom"), validTo: try fields.time("validTo"),
            graceMin: Int(try fields.optionalInt("lateGraceMin", in: 0...1440) ?? 15), price: mode.map { SharePrice(mode: $0, fen: 0) },
            status: .active, strikesMax: 1_000, createdAt: now)
        subscription.version = try fields.int("authVer", in: 1...WireLimits.intMax)
        return subscription
    }

    /// A15 `share.offer.update`.
    public static func offerUpdate(_ data: JSONObject, appId: String) throws(WireError) -> Command {
        let fields = FieldReader(data)
        let (segments, price) = (try segments(fields), try price(fields))
        guard segments != nil || price != nil else { throw fields.missing("segments or price") }
        return .updateOffer(
            appId: appId, offerId: try fields.string("offerId", max: 32), segments: segments, price: price,
            isConfirmed: try fields.optionalBool("confirm") ?? false)
    }

    // MARK: Public service

    static let businesses = ["hospital", "gov", "vehicle", "other"]

    /// A16 `biz.appointment.push`.
    public static func appointment(_ data: JSONObject, appId: String, now: Int64) throws(WireError) -> Command {
        let fields = FieldReader(data)
        let bizCode = try fields.string("bizCode", max: 16)
        guard businesses.contains(bizCode) else { throw fields.illegal("bizCode", businesses.joined(separator: ", ")) }
        let hasPlate = fields.has("plateNo")
        return .makeAppointment(
            Appointment(
                extNo: try fields.string("extNo", max: 64), appId: appId, bizCode: bizCode,
                placeCode: try fields.string("placeCode", max: 32),
                appointTime: try fields.time("appointTime"), personToken: try pseudonym(fields, "personToken"),
                plate: hasPlate ? try plate(fields) : nil, createdAt: now))
    }

    // MARK: Flow control

    /// D18, O05. An operator's `flow.policy.push` is for the envelope's lot.
    public static func flow(_ data: JSONObject, parkCode: String?) throws(WireError) -> FlowPolicy {
        let fields = FieldReader(data)
        let areaId = try fields.optionalString("areaId", max: 32) ?? ""
        let named = try fields.optionalString("parkCode", max: 32)
        let lot = parkCode ?? named ?? ""
        guard areaId.isEmpty != lot.isEmpty else { throw fields.missing("areaId or parkCode") }
        let mode = FlowMode(rawValue: Int(try fields.int("mode", in: 0...3))) ?? .off
        var policy = FlowPolicy(
            policyId: try fields.string("policyId", max: 32), parkCode: lot, areaId: areaId,
            mode: mode, validFrom: try fields.time("validFrom"),
            validTo: try fields.time("validTo"))
        guard policy.validFrom <= policy.validTo else { throw fields.illegal("validTo", "before validFrom") }
        func number(_ name: String, _ range: ClosedRange<Int64>) throws(WireError) -> Int? {
            try fields.optionalInt(name, in: range).map { Int($0) }
        }
        policy.saturationOpen = try number("saturationOpen", 0...100)
        policy.saturationClose = try number("saturationClose", 0...100)
        policy.maxEntriesPer5min = try number("maxEntriesPer5min", 0...10_000)
        policy.segments = try segments(fields) ?? []
        policy.bookingLimitPercent = Int(try fields.optionalInt("bookingLimitPct", in: 1...1000) ?? 100)
        policy.revokes = try fields.optionalBool("revokeOrders") ?? false
        policy.pools = try pools(fields, "pools")
        policy.dailyQuotas = try pools(fields, "dailyQuotas")
        return policy
    }

    private static func pools(_ fields: FieldReader, _ name: String) throws(WireError) -> [String: Int] {
        var pools: [String: Int] = [:]
        for row in try fields.optionalObjects(name, max: 10) ?? [] {
            let pool = try row.string("pool", max: 16)
            guard let known = Pool(rawValue: pool), known != .rolling else {
                throw row.illegal("pool", Pool.allCases.filter { $0 != .rolling }.map(\.rawValue).joined(separator: ", "))
            }
            pools[pool] = Int(try row.int("count", in: 0...100_000_000))
        }
        return pools
    }

    // MARK: Settings of operators

    /// O01 `policy.set`.
    public static func policyValues(_ data: JSONObject) throws(WireError) -> Command {
        let fields = FieldReader(data)
        guard let scope = PolicyScope(try fields.string("scope", max: 96)) else {
            throw fields.illegal("scope", "city, product:2, group:NAME, lot:CODE or lot:CODE/2")
        }
        guard case .object(let object)? = data["values"], !object.members.isEmpty else { throw fields.missing("values") }
        var values: [String: String] = [:]
        for (name, value) in object.members {
            switch value {
            case .string(let text): values[name] = text
            case .int(let number): values[name] = String(number)
            case .bool(let flag): values[name] = flag ? "1" : "0"
            default: throw fields.illegal("values.\(name)", "a number or a text")
            }
        }
        return .setPolicy(scope, values)
    }

    /// O02 `calendar.set`.
    public static func calendarDay(_ data: JSONObject) throws(WireError) -> Command {
        let fields = FieldReader(data)
        let kind = try fields.string("kind", max: 8)
        guard ["holiday", "workday", "normal"].contains(kind) else { throw fields.illegal("kind", "holiday, workday, normal") }
        return .setCalendarDay(CalendarDay(day: try day(fields, "date"), kind: WorkCalendar.Kind(rawValue: kind)))
    }

    public static func parkCodes(_ data: JSONObject) throws(WireError) -> [String] {
        var codes: [String] = []
        var seen: Set<String> = []
        for value in data["parkCodes"]?.arrayValue ?? [] {
            guard let code = value.stringValue, Envelope.isParkCode(code) else {
                throw WireError("illegalValue", "parkCodes: not the code of a lot")
            }
            if seen.insert(code).inserted { codes.append(code) }
        }
        return codes
    }

    /// D07, D08 and filed vehicles, for a lot, its group or the city.
    static func list(service: String, data: JSONObject, parkCode: String) -> Command? {
        var known = Dialect.current.services[service]?.request.known(data) ?? data
        guard let plate = known["plateNo"]?.stringValue.flatMap({ Plate($0) }) else { return nil }
        // Stored and sent bare (section 15.1), however the operator typed it.
        known["plateNo"] = .string(plate.revealed)
        let body = JSON.object(known).canonicalString
        let scope: ListScope =
            switch known["scope"]?.stringValue {
            case "group": .group(of: parkCode)
            case "city": .city
            default: .lot(parkCode)
            }
        return .list(
            scope, service: service, body: body, kind: service, plate: plate,
            known["status"]?.intValue == -1 ? nil : listEntry(body), kept: body,
            isExempt: service == "list.white.push" && known["exempt"]?.boolValue == true)
    }

    /// A token that names nobody: not the number of a telephone or of a card, however a person writes it.
    static func pseudonym(_ fields: FieldReader, _ name: String) throws(WireError) -> String {
        let text = try fields.string(name, max: 64)
        guard !namesSomebody(text) else { throw fields.illegal(name, "a pseudonym, not the number of a card or telephone") }
        return text
    }

    /// Whether a text is a telephone number or the number of an identity card: of the mainland (15 or 18 digits), Hong Kong, Macao or Taiwan.
    static func namesSomebody(_ text: String) -> Bool {
        var bare: [UInt8] = []
        for scalar in text.unicodeScalars {
            var value = scalar.value
            if (0xFF01...0xFF5E).contains(value) { value -= 0xFEE0 }
            switch value {
            case 0x30...0x39, 0x41...0x5A: bare.append(UInt8(value))
            case 0x61...0x7A: bare.append(UInt8(value - 32))
            // Characters that people write between the digits: spaces of all kinds, dots, hyphens, brackets, the plus sign.
            case 0x09, 0x20, 0x28, 0x29, 0x2B, 0x2D, 0x2E, 0x2F, 0xA0, 0xB7, 0x2000...0x200B, 0x2010...0x2015, 0x2212, 0x3000: continue
            default: return false
            }
        }
        func isDigits(_ part: ArraySlice<UInt8>) -> Bool { !part.isEmpty && part.allSatisfy { (48...57).contains($0) } }
        func isLetter(_ byte: UInt8) -> Bool { (65...90).contains(byte) }
        func isMobile(_ digits: ArraySlice<UInt8>) -> Bool {
            digits.count == 11 && isDigits(digits) && digits.first == 49 && (51...57).contains(digits[digits.startIndex + 1])
        }
        let all = bare[...]
        let prefixes = ["0086", "86", "086"].map { Array($0.utf8) }
        if isMobile(all) || prefixes.contains(where: { all.starts(with: $0) && isMobile(all.dropFirst($0.count)) }) { return true }
        // A fixed line with its area code; Hong Kong (852), Macao (853), Taiwan (886) and others abroad, as +86 writes them.
        if all.first == 48, (10...12).contains(all.count), isDigits(all), all.dropFirst().first != 48 { return true }
        let isAbroad = text.unicodeScalars.contains { $0.value == 0x2B || $0.value == 0xFF0B } || all.starts(with: Array("00".utf8))
        if isAbroad, (8...17).contains(all.count), isDigits(all) { return true }
        if all.count == 15, isDigits(all) { return true }
        if all.count == 18, isDigits(all.dropLast()), let last = all.last, (48...57).contains(last) || last == 88 { return true }
        // Hong Kong: one or two letters, six digits, a check digit 0 to 9 or A. Taiwan: a letter, nine digits, the first 1, 2, 8 or 9.
        if let first = all.first, isLetter(first) {
            let letters = all.prefix(while: isLetter).count
            let rest = all.dropFirst(letters)
            if letters <= 2, rest.count == 7, isDigits(rest.dropLast()), let last = rest.last, (48...57).contains(last) || last == 65 {
                return true
            }
            if letters == 1, rest.count == 9, isDigits(rest), [49, 50, 56, 57].contains(rest.first ?? 0) { return true }
        }
        return false
    }

    /// The content of a kept list entry.
    public static func listEntry(_ body: String) -> ListEntry? {
        guard let row = try? JSON.parse(Array(body.utf8)) else { return nil }
        return ListEntry(
            isInForce: (row["status"]?.intValue ?? 1) == 1, from: row["from"]?.intValue ?? 0, to: row["to"]?.intValue ?? WireLimits.intMax)
    }

    /// U06 with what says when it holds; nil when the kept report cannot be read.
    public static func lotTariff(_ body: String) -> LotTariff? {
        guard let json = try? JSON.parse(Array(body.utf8)), let tariff = tariff(body) else { return nil }
        return LotTariff(
            from: json["effectiveFrom"]?.intValue ?? 0, business: Int(json["bizType"]?.intValue ?? 0),
            vehicleClass: Int(json["vehicleClass"]?.intValue ?? 0), tariff: tariff)
    }
}
