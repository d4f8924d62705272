import BerthCore
import BerthLink
import BerthWire

// Driver: one lot, its times, its terms, and the booking.
extension Site {
    func lot(_ web: WebRequest) async throws -> WebResult { .page(try await lotPage(web, web.names["lot"] ?? "")) }

    /// - Parameters:
    ///   - error: why the last try to book failed, with the lots that it named instead.
    ///   - plateError: the key of the words for a plate that was not given, or cannot be.
    func lotPage(
        _ web: WebRequest, _ parkCode: String, refusal error: CityError? = nil, plateError: String? = nil
    ) async throws -> Page {
        var plan = Plan(web)
        let format = web.format
        let lot = try await city.call(
            "lot.detail", [("parkCode", .string(parkCode)), ("planTime", .int(plan.arrive)), ("stayMin", .int(plan.stayMin))], as: .provider
        )
        let offered: [Int64] = [("reserveEnabled", 1), ("shareEnabled", 2), ("publicBizEnabled", 3)].compactMap {
            lot[$0.0]?.boolValue == true ? Int64($0.1) : nil
        }
        if !offered.contains(plan.purpose), let first = offered.first { plan.purpose = first }
        let slots = try await slotChips(parkCode, plan, web)
        let stay = lot["stay"]?[String(plan.purpose)]
        // A time that cannot be booked yet is not full: the page says from when on, and offers neither a booking nor the waitlist.
        let opens = (stay?["bookableFrom"]?.intValue).flatMap { $0 > web.now ? $0 : nil }
        let isFull =
            opens == nil
            && (slots.chosen.map { $0["full"]?.boolValue == true }
                ?? (slots.chips.isEmpty || slots.chips.allSatisfy { $0["full"]?.boolValue == true }))
        var members: [(String, JSON)] = [
            ("code", .string(parkCode)), ("name", lot["parkName"] ?? .null), ("address", lot["address"] ?? .null),
            ("plan", plan.view(format)),
            ("standing", standing(lot, web)), ("remain", lot["remain"] ?? 0), ("total", lot["totalSpace"] ?? 0),
            ("height", .optional(lot["maxHeightMm"]?.intValue.map(Site.metres))),
            ("phone", lot["servicePhone"] ?? .null), ("tariff", lot["tariffText"] ?? .null),
            ("entrances", .array((lot["entrances"]?.arrayValue ?? []).compactMap { $0["gateName"] })), ("lng", lot["lng"] ?? .null),
            ("lat", lot["lat"] ?? .null), ("rules", web.language == .zh ? lot["rulesText"] ?? .null : lot["rulesTextEn"] ?? .null),
            (
                "tabs",
                .array(
                    offered.map {
                        [
                            "text": .string(words.say(web.language, "biz.\($0)")), "isOn": .bool($0 == plan.purpose),
                            "link": .string("/lots/\(WebRequest.escape(parkCode))?\(plan.query(format, purpose: $0))"),
                        ]
                    })
            ),
            ("slotOf", .optional(slotText(slots.chosen, plan, web))),
            ("mayDiffer", .bool((slots.chosen?["remain"]?.intValue ?? 0) > (lot["remain"]?.intValue ?? 0))),
            ("opens", .optional(opens.map { words.say(web.language, "lot.opens", ["at": format.time($0)]) })),
            ("isOffline", .bool(lot["online"]?.boolValue == false)), ("stayText", .string(format.duration(plan.stayMin))),
            ("chips", .array(slots.chips)), ("isFull", .bool(isFull)), ("isPublic", .bool(plan.purpose == 3)),
            ("isShare", .bool(plan.purpose == 2)), ("planTime", .int(plan.arrive)), ("hasBusiness", .bool(!offered.isEmpty)),
            ("extNo", .string(web.text("extNo", max: 64))), ("offerId", .string(web.text("offerId", max: 32))),
        ]
        if let terms = lot["terms"]?[String(plan.purpose)] {
            let counters = try await counters(web, parkCode, plan.purpose)
            members.append(("terms", .array(sentences(terms, plan, stay, counters, web).map { .string($0) })))
        }
        if let person = web.person, person.may("driver") {
            let vehicles = try await vehicles(person, web)
            members.append(("vehicles", .array(vehicles)))
            members.append(("hasSeveral", .bool(vehicles.count > 1)))
            members.append(("hasVehicles", .bool(!vehicles.isEmpty)))
            members.append(("canBook", .bool(opens == nil)))
            members.append(("isDriver", true))
            members.append(("key", .string(SystemRandom.uuid())))
        }
        let typed = web.text("plate", max: 16)
        let problem = plateError.map { words.say(web.language, $0, ["plate": typed]) } ?? error.map { refusal($0, web) }
        if let problem { members += [("error", .string(problem)), ("typed", .string(typed))] }
        if isFull || error != nil {
            let others = try await others(near: lot, except: parkCode, plan, web, named: error?.data["alternatives"])
            members += [("others", .array(others)), ("hasOthers", .bool(!others.isEmpty))]
            members.append(("mayWait", .bool(isFull || [1101, 1110].contains(error?.code ?? 0))))
        }
        return Page("driver/lot", members, status: problem == nil ? 200 : 409)
    }

    /// The slot that a time belongs to, in words; nil where the chip shows the time itself.
    private func slotText(_ slot: JSON?, _ plan: Plan, _ web: WebRequest) -> String? {
        let format = web.format
        guard let start = slot?["start"]?.intValue, let end = slot?["end"]?.intValue,
            format.clock(max(start, web.now)) != format.clock(plan.arrive)
        else { return nil }
        return words.say(
            web.language, "lot.slotOf", ["at": format.clock(plan.arrive), "slot": "\(format.clock(start))–\(format.clock(end))"])
    }

    /// The times that can be chosen, from the lot's own slots: what a chip says is what a booking gets.
    private func slotChips(_ parkCode: String, _ plan: Plan, _ web: WebRequest) async throws -> (chips: [JSON], chosen: JSON?) {
        let format = web.format
        let day = CivilTime.day(of: plan.arrive)
        let reply: JSON
        do {
            reply = try await city.call(
                "slot.query",
                [
                    ("parkCode", .string(parkCode)), ("date", .string(CivilTime.text(ofDay: day))), ("bizType", .int(plan.purpose)),
                ], as: .provider)
        } catch {
            guard [1001, 1200].contains(error.code) else { throw error }
            return ([], nil)
        }
        let slots = (reply["slots"]?.arrayValue ?? []).filter { ($0["end"]?.intValue ?? 0) > web.now }
        let chosen = slots.first { ($0["start"]?.intValue ?? 0) <= plan.arrive && plan.arrive < ($0["end"]?.intValue ?? 0) }
        // The times around the chosen one.
        let open = slots.filter { $0["reason"]?.intValue != 1100 }
        let at = open.firstIndex { ($0["end"]?.intValue ?? 0) > plan.arrive } ?? 0
        let chips = open.dropFirst(max(0, min(at - 6, open.count - 24))).prefix(24).map { slot -> JSON in
            let start = max(slot["start"]?.intValue ?? 0, web.now)
            let isOn = slot["start"] == chosen?["start"]
            let reason = (slot["reason"]?.intValue).flatMap { Dialect.current.codes[Int($0)] }
            return .compact([
                ("text", .string(format.clock(start))),
                ("link", .string("/lots/\(WebRequest.escape(parkCode))?\(plan.query(format, at: start))")),
                ("full", slot["full"] ?? false), ("remain", slot["remain"] ?? 0), ("isOn", .bool(isOn)),
                ("price", .optional(slot["price"]?.intValue.map(format.money))),
                ("reason", slot["full"]?.boolValue == true ? .optional(reason.map { web.language == .zh ? $0.zh : $0.en }) : .null),
            ])
        }
        return (Array(chips), chosen)
    }

    /// The counters of the signed-in driver at this lot; none for anybody else.
    private func counters(_ web: WebRequest, _ parkCode: String, _ purpose: Int64) async throws -> [JSON] {
        guard let person = web.person, person.may("driver") else { return [] }
        let credit = try await city.call(
            "user.credit.query",
            [("userToken", .string(person.userToken)), ("parkCode", .string(parkCode)), ("bizType", .int(purpose))], as: .provider)
        return credit["counters"]?.arrayValue ?? []
    }

    /// The terms, a sentence each, from the values that the gate enforces.
    private func sentences(
        _ terms: JSON, _ plan: Plan, _ stay: JSON?, _ counters: [JSON], _ web: WebRequest
    ) -> [String] {
        let format = web.format
        func say(_ key: String, _ values: [String: String] = [:]) -> String { words.say(web.language, "terms." + key, values) }
        func number(_ name: String) -> Int64 { terms[name]?.intValue ?? 0 }
        var out: [String] = []
        let from = plan.arrive - number("earlyMin") * 60_000
        out.append(say("enter", ["window": format.window(max(from, web.now / 60_000 * 60_000), plan.arrive + number("lateMin") * 60_000)]))
        let cancelUntil = number("freeCancelUntil")
        out.append(cancelUntil > web.now ? say("cancel", ["until": format.time(cancelUntil)]) : say("cancelLate"))
        if let leaveBy = stay?["leaveBy"]?.intValue {
            out.append(say("leave", ["until": format.time(leaveBy), "grace": String(number("lateGraceMin"))]))
        }
        if let fen = terms["prepayAmount"]?.intValue, fen > 0 { out.append(say("deposit", ["amount": format.money(fen)])) }
        if let price = stay?["priceFen"]?.intValue {
            out.append(say("price", ["amount": format.money(price), "stay": format.duration(stay?["stayMin"]?.intValue ?? plan.stayMin)]))
        }
        if number("freeMin") > 0 { out.append(say("free", ["min": String(number("freeMin"))])) }
        if plan.purpose == 1, number("delayMin") > 0 { out.append(say("delay", ["min": String(number("delayMin"))])) }
        for counter in counters {
            guard let name = counter["name"]?.stringValue, let used = counter["used"]?.intValue, let most = counter["max"]?.intValue,
                ["noShowMaxPerMonth", "dailyMaxPerUser"].contains(name)
            else { continue }
            out.append(say(name, ["used": String(used), "max": String(most)]))
        }
        return out
    }

    func vehicles(_ person: SignedIn, _ web: WebRequest) async throws -> [JSON] {
        let list = try await city.call("vehicle.list", [("userToken", .string(person.userToken))], as: .provider)
        // The car of the last reservation comes first.
        let last = try? await city.call("order.list", [("userToken", .string(person.userToken)), ("limit", 1)], as: .provider)
        let usual = last?["orders"]?.arrayValue?.first?["plateNo"]?.stringValue
        let all = list["vehicles"]?.arrayValue ?? []
        let sorted = all.filter { $0["plateNo"]?.stringValue == usual } + all.filter { $0["plateNo"]?.stringValue != usual }
        return sorted.enumerated().map { index, vehicle in
            .compact([
                ("plate", vehicle["plateNo"] ?? .null), ("shown", .string(web.format.plate(vehicle["plateNo"]?.stringValue ?? ""))),
                ("color", vehicle["plateColor"] ?? .null), ("isFirst", .bool(index == 0)),
                ("isGreen", .bool([4, 5].contains(vehicle["plateColor"]?.intValue ?? -1))),
                ("isYellow", .bool(vehicle["plateColor"]?.intValue == 1)),
            ])
        }
    }

    /// Lots near a full one with room for the same window: those that the refusal named, else the nearest.
    private func others(near lot: JSON, except parkCode: String, _ plan: Plan, _ web: WebRequest, named: JSON?) async throws -> [JSON] {
        if let named = named?.arrayValue, !named.isEmpty {
            return named.prefix(5).map { other in
                let code = other["parkCode"]?.stringValue ?? ""
                return .compact([
                    ("name", other["name"] ?? .null), ("walk", .string(walkText(other["walkMin"]?.intValue ?? 0, web))),
                    ("link", .string("/lots/\(WebRequest.escape(code))?\(plan.query(web.format, purpose: other["bizType"]?.intValue))")),
                    ("biz", .string(words.say(web.language, "biz.\(other["bizType"]?.intValue ?? 1)"))),
                ])
            }
        }
        guard let lng = lot["lng"], let lat = lot["lat"] else { return [] }
        let found = try await city.call(
            "lot.search",
            [
                ("lng", lng), ("lat", lat), ("coordType", lot["coordType"] ?? .null), ("radius", 2000),
                ("bizType", plan.purpose == 3 ? 1 : .int(plan.purpose)),
                ("arriveTime", .int(plan.arrive)), ("stayMin", .int(plan.stayMin)), ("pageSize", 40),
            ], as: .provider)
        return (found["lots"]?.arrayValue ?? []).filter {
            ($0["freeInWindow"]?.intValue ?? 0) > 0 && $0["parkCode"]?.stringValue != parkCode
        }.prefix(4).map { card($0, plan, web) }
    }

    private func walkText(_ minutes: Int64, _ web: WebRequest) -> String { words.say(web.language, "find.walk", ["min": String(minutes)]) }

    // MARK: Booking

    func book(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        let parkCode = web.text("lot", max: 32)
        let key = web.text("key", max: 64)
        guard !key.isEmpty, let planTime = web.number("planTime", in: 1_000_000_000_000...9_999_999_999_999) else {
            throw WebError.badRequest
        }
        let purpose = web.number("biz", in: 1...3) ?? 1
        let entered = web.text("plate", max: 16)
        let chosen = entered.isEmpty ? web.text("vehicle", max: 16) : entered
        guard let plate = Plate(chosen), plate.isLegal else {
            return .page(try await lotPage(web, parkCode, plateError: chosen.isEmpty ? "lot.choosePlate" : "lot.badPlate"))
        }
        let color = web.number("color", in: 0...12) ?? Site.usualColor(of: plate)
        let bound = try await vehicles(person, web).compactMap { $0["plate"]?.stringValue }
        // A car that is typed becomes this driver's first: one that is another driver's cannot be booked.
        var isKept = false
        do {
            if !bound.contains(where: { $0 == plate.revealed }) {
                try await keep(plate, color, of: person)
                isKept = true
            }
            // Further plates are the driver's own; the first car to come takes the place.
            let also = web.lists["also"] ?? []
            let others = also.filter { other in other != plate.revealed && bound.contains { $0 == other } }.prefix(5)
            let order = try await createOrder(
                [
                    ("clientOrderNo", .string("\(person.personId)-\(key)")), ("userToken", .string(person.userToken)),
                    ("plateNo", .string(plate.revealed)), ("plateColor", .int(color)), ("parkCode", .string(parkCode)),
                    ("plateNos", others.isEmpty ? .null : .array(others.map { .string($0) })),
                    ("bizType", .int(purpose)),
                    ("planTime", .int(planTime)), ("mobile", .string(person.login)),
                    ("extNo", web.text("extNo", max: 64).isEmpty ? .null : .string(web.text("extNo", max: 64))),
                    ("offerId", web.text("offerId", max: 32).isEmpty ? .null : .string(web.text("offerId", max: 32))),
                    ("stayMin", purpose == 2 ? .int(web.number("stay", in: 15...10_080) ?? 120) : .null),
                    ("waitlist", web.isOn("waitlist") ? true : .null),
                ])
            guard let orderNo = order["orderNo"]?.stringValue else { throw CityError.unreachable }
            return .redirect("/tickets/\(orderNo)")
        } catch let error as CityError {
            if error.isUnreachable { throw error }
            if error.code == 1107, let orderNo = try await orderInTheWay(person, plate, planTime) {
                return .redirect("/tickets/\(orderNo)", said: words.say(web.language, "ticket.again"))
            }
            // A booking that was refused leaves no car behind.
            if isKept { try? await forget(plate, of: person) }
            return .page(try await lotPage(web, parkCode, refusal: error))
        }
    }

    private func keep(_ plate: Plate, _ color: Int64, of person: SignedIn) async throws {
        try await city.call(
            "vehicle.bind",
            [("userToken", .string(person.userToken)), ("plateNo", .string(plate.revealed)), ("plateColor", .int(color))], as: .provider)
    }

    private func forget(_ plate: Plate, of person: SignedIn) async throws {
        try await city.call(
            "vehicle.unbind", [("userToken", .string(person.userToken)), ("plateNo", .string(plate.revealed))], as: .provider)
    }

    /// The colour that most plates of this form have.
    static func usualColor(of plate: Plate) -> Int64 { [4, 5, 0, 1, 3, 2].first { plate.fits(color: Int($0)) } ?? 9 }

    /// Books; after a lost answer the same request is sent once more, since its number binds one reservation.
    private func createOrder(_ data: [(String, JSON)]) async throws(CityError) -> JSON {
        let requestId = SystemRandom.uuid()
        do throws(CityError) { return try await city.call("order.create", data, as: .provider, requestId: requestId) } catch {
            guard error.isUnreachable else { throw error }
            return try await city.call("order.create", data, as: .provider, requestId: requestId)
        }
    }

    /// The driver's own reservation of this plate at this time: a second tab finds the first one's.
    private func orderInTheWay(_ person: SignedIn, _ plate: Plate, _ planTime: Int64) async throws -> String? {
        let list = try await city.call(
            "order.list", [("userToken", .string(person.userToken)), ("plateNo", .string(plate.revealed)), ("limit", 20)], as: .provider)
        return (list["orders"]?.arrayValue ?? []).first { order in
            [0, 1, 2, 9].contains(order["status"]?.intValue ?? -1) && (order["enterStart"]?.intValue ?? 0) <= planTime
                && planTime <= max(order["enterEnd"]?.intValue ?? 0, order["expectedLeave"]?.intValue ?? 0)
        }?["orderNo"]?.stringValue
    }
}
