import BerthCore
import BerthLink
import BerthWire
import Crypto

// Owner: publishing a space in three steps, its state, income and withdrawal.
extension Site {
    static var ownerRoutes: [Route] {
        [
            .get("/owner", .signedIn) { try await $0.owner($1) },
            .post("/owner/join", .role("driver")) { try await $0.joinOwners($1) },
            .get("/owner/agreement", .anyone) { try await $0.agreement($1) },
            .get("/owner/publish", .role("owner")) { try await $0.publishPage($1) },
            .post("/owner/publish", .role("owner")) { try await $0.publish($1) },
            .get("/owner/offers/:offer", .role("owner")) { try await $0.offerPage($1) },
            .post("/owner/offers/:offer/close", .role("owner")) { try await $0.closeOffer($1) },
            .post("/owner/offers/:offer/update", .role("owner")) { try await $0.updateOffer($1) },
            .get("/owner/income", .role("owner")) { try await $0.income($1) },
            .post("/owner/withdraw", .role("owner")) { try await $0.withdraw($1) },
        ]
    }

    static let agreementVersion = "1.0"

    func agreement(_ web: WebRequest) async throws -> WebResult {
        guard limiter.admit("agreement|\(web.source)", burst: 60, minutes: 1, now: web.now) else { throw WebError.tooMany }
        return .page(
            Page("owner/agreement", [("version", .string(Site.agreementVersion)), ("split", .string(try await splitText("", web)))]))
    }

    func owner(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        guard person.may("owner") else {
            guard person.may("driver") else { throw WebError.forbidden }
            return .page(
                Page("owner/join", [("version", .string(Site.agreementVersion)), ("split", .string(try await splitText("", web)))]))
        }
        let (offers, income) = try await ownOffers(person, web)
        return .page(
            Page(
                "owner/owner",
                [
                    ("offers", .array(offers)), ("none", .bool(offers.isEmpty)),
                    ("balance", .string(web.format.money(income["balance"]?.intValue ?? 0))),
                    ("owed", (income["owed"]?.intValue ?? 0) > 0 ? .string(web.format.money(income["owed"]?.intValue ?? 0)) : .null),
                    ("tabOffers", true),
                ], live: "owner/owner.live"))
    }

    func joinOwners(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person, web.isOn("agree") else { return .redirect("/owner") }
        try await city.call(
            "person.save",
            [("personId", .string(person.personId)), ("roles", .array(person.roles.union(["owner"]).sorted().map { .string($0) }))],
            as: .accounts)
        return .redirect("/owner/publish")
    }

    private func ownOffers(_ person: SignedIn, _ web: WebRequest) async throws -> (offers: [JSON], income: JSON) {
        let list = try await city.call("share.offer.list", [("providerToken", .string(person.userToken))], as: .provider)
        let income = try await city.call("share.income.query", [("providerToken", .string(person.userToken))], as: .provider)
        let names = try await lotNames()
        let offers = (list["offers"]?.arrayValue ?? []).map { offer -> JSON in
            let status = offer["offerStatus"]?.intValue ?? 0
            let code = offer["parkCode"]?.stringValue ?? ""
            let to = offer["validTo"]?.intValue ?? 0
            return .compact([
                ("id", offer["offerId"] ?? .null), ("lotName", .string(names[code] ?? code)), ("space", offer["spaceNo"] ?? .null),
                ("status", .string(words.say(web.language, "offer.status.\(status)"))), ("statusClass", .string("o\(status)")),
                ("times", .array(segments(offer["segments"], web).map { .string($0) })), ("price", .optional(price(offer["price"], web))),
                ("remark", offer["remark"] ?? .null), ("isOpen", .bool([1, 2, 4].contains(status))),
                (
                    "until",
                    to > web.now && to < web.now + 20 * 366 * CivilTime.dayLength ? .string(web.format.day(CivilTime.day(of: to))) : .null
                ),
                ("link", .string("/owner/offers/\(WebRequest.escape(offer["offerId"]?.stringValue ?? ""))")),
            ])
        }
        return (offers, income)
    }

    // MARK: Publishing: space, times, price

    private func publishView(_ web: WebRequest, step: Int64, error: String? = nil) async throws -> Page {
        let format = web.format
        let (rows, _) = try await cache.boards(city)
        let text = web.text("q", max: 64).lowercased()
        func has(_ row: JSON, _ name: String) -> Bool { (row[name]?.stringValue ?? "").lowercased().contains(text) }
        let lots = rows.filter {
            ($0["shareQuota"]?.intValue ?? 0) > 0 && (text.isEmpty || has($0, "parkName") || has($0, "address"))
        }.sorted { ($0["parkName"]?.stringValue ?? "") < ($1["parkName"]?.stringValue ?? "") }.prefix(Site.lotChoicesMax).map {
            row -> JSON in
            [
                "code": row["parkCode"] ?? "", "name": row["parkName"] ?? "", "address": row["address"] ?? "",
                "isOn": .bool(row["parkCode"]?.stringValue == web.text("lot", max: 32)),
            ]
        }
        let code = web.text("lot", max: 32)
        let days = Set((web.lists["days"] ?? []).compactMap { Int64($0) })
        let lotName = rows.first { $0["parkCode"]?.stringValue == code }?["parkName"]
        return Page(
            "owner/publish",
            [
                ("step", .int(step)), ("is1", .bool(step == 1)), ("is2", .bool(step == 2)), ("is3", .bool(step == 3)),
                ("lots", .array(Array(lots))),
                ("lot", .string(code)), ("lotName", lotName ?? .null), ("space", .string(web.text("space", max: 32))),
                ("proofs", .string(web.text("proofs", max: 1400))),
                ("q", .string(web.text("q", max: 64))),
                ("proofCount", .int(web.text("proofs", max: 1400).split(separator: ",").count)),
                (
                    "days",
                    .array(
                        (1...7).map { day in
                            [
                                "value": .int(day), "text": .string(format.weekday(day)),
                                "isOn": .bool(days.isEmpty ? day <= 5 : days.contains(Int64(day))),
                            ]
                        })
                ),
                ("dayFields", .array(days.sorted().map { .int($0) })),
                ("start", .string(web.text("start", max: 5).isEmpty ? "08:00" : web.text("start", max: 5))),
                ("end", .string(web.text("end", max: 5).isEmpty ? "18:00" : web.text("end", max: 5))),
                ("mode1", .bool(web.text("mode") == "1")), ("mode2", .bool(["", "2"].contains(web.text("mode")))),
                ("mode3", .bool(web.text("mode") == "3")),
                ("amount", .string(web.text("amount", max: 10).isEmpty ? "5" : web.text("amount", max: 10))), ("error", .optional(error)),
                ("version", .string(Site.agreementVersion)),
                ("split", step == 3 ? .string(try await splitText(code, web)) : .null), ("found", .int(lots.count)),
                ("isCut", .bool(lots.count == Site.lotChoicesMax)),
            ], status: error == nil ? 200 : 422)
    }

    /// The most lots that a choice lists.
    private static let lotChoicesMax = 300

    /// How a fee is shared between platform, lot and owner, by the rules of the lot, or of the city where none is chosen.
    func splitText(_ parkCode: String, _ web: WebRequest) async throws -> String {
        let found = try await city.call(
            "policy.query", [("parkCode", parkCode.isEmpty ? .null : .string(parkCode)), ("bizType", 2)], as: .provider)
        func percent(_ name: String) -> Int64 {
            let value = found["inForce"]?[name]
            return value?.intValue ?? value?.stringValue.flatMap { Int64($0) } ?? 0
        }
        let (platform, lot) = (percent("platformPercent"), percent("lotPercent"))
        return words.say(
            web.language, parkCode.isEmpty ? "owner.splitUsual" : "owner.split",
            ["platform": String(platform), "lot": String(lot), "owner": String(max(0, 100 - platform - lot))])
    }

    func publishPage(_ web: WebRequest) async throws -> WebResult { .page(try await publishView(web, step: 1)) }

    /// Each step carries what the steps before gave, so that the way back and a reload lose nothing.
    func publish(_ request: WebRequest) async throws -> WebResult {
        var web = request
        guard let person = web.person else { throw WebError.forbidden }
        let step = web.number("step", in: 1...3) ?? 1
        if web.isOn("filter") { return .page(try await publishView(web, step: 1)) }
        if web.isOn("back") { return .page(try await publishView(web, step: max(1, step - 1))) }
        func again(_ key: String) async throws -> WebResult {
            .page(try await publishView(web, step: step, error: words.say(web.language, key)))
        }
        switch step {
        case 1:
            guard !web.text("lot", max: 32).isEmpty else { return try await again("publish.chooseLot") }
            guard !web.text("space", max: 32).isEmpty else { return try await again("publish.saySpace") }
            var proofs = web.text("proofs", max: 1400).split(separator: ",").map(String.init)
            for file in web.files.prefix(4) where file.field == "proof" {
                guard let imageId = try await keep(file) else { return try await again("publish.badPicture") }
                proofs.append(imageId)
            }
            guard !proofs.isEmpty else { return try await again("publish.noProof") }
            web.form["proofs"] = proofs.prefix(20).joined(separator: ",")
            return .page(try await publishView(web, step: 2))
        case 2:
            guard !(web.lists["days"] ?? []).isEmpty else { return try await again("publish.chooseDays") }
            guard let start = Plan.time("", web.text("start", max: 5), now: web.now),
                let end = Site.end(web.text("end", max: 5), now: web.now),
                start != end
            else { return try await again("publish.badTimes") }
            return .page(try await publishView(web, step: 3))
        default: return try await offer(person, web)
        }
    }

    private static func end(_ text: String, now: Int64) -> Int64? {
        text == "24:00" ? CivilTime.start(ofDay: CivilTime.day(of: now) + 1) : Plan.time("", text, now: now)
    }

    private func offer(_ person: SignedIn, _ web: WebRequest) async throws -> WebResult {
        guard let fen = Site.fen(web.text("amount", max: 10)), fen > 0, fen <= 1_000_000 else {
            return .page(try await publishView(web, step: 3, error: words.say(web.language, "publish.badPrice")))
        }
        guard web.isOn("agree") else { return .page(try await publishView(web, step: 3, error: words.say(web.language, "publish.agree"))) }
        let days = (web.lists["days"] ?? []).compactMap { Int64($0) }.filter { (1...7).contains($0) }
        do {
            let made = try await city.call(
                "share.offer.publish",
                [
                    ("parkCode", .string(web.text("lot", max: 32))), ("providerToken", .string(person.userToken)),
                    ("spaceNo", .string(web.text("space", max: 32))),
                    ("proofImages", .array(web.text("proofs", max: 1400).split(separator: ",").prefix(20).map { .string(String($0)) })),
                    ("agreementVersion", .string(Site.agreementVersion)),
                    (
                        "segments",
                        [
                            [
                                "repeatType": "weekly", "repeatData": .array(days.map { .int($0) }),
                                "start": .string(web.text("start", max: 5)),
                                "end": .string(web.text("end", max: 5)),
                            ]
                        ]
                    ), ("price", ["mode": .int(web.number("mode", in: 1...3) ?? 2), "amount": .int(fen)]),
                ], as: .provider)
            return .redirect("/owner/offers/\(WebRequest.escape(made["offerId"]?.stringValue ?? ""))")
        } catch { return .page(try await publishView(web, step: 3, error: refusal(error, web))) }
    }

    /// Yuan as a person writes it → fen; nil where it is no amount.
    static func fen(_ text: String) -> Int64? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let yuan = Int64(parts[0].isEmpty ? "0" : parts[0]), (0...1_000_000_000).contains(yuan) else {
            return nil
        }
        guard parts.count == 2 else { return yuan * 100 }
        guard (1...2).contains(parts[1].utf8.count), let cents = Int64(parts[1] + (parts[1].utf8.count == 1 ? "0" : "")), cents >= 0 else {
            return nil
        }
        return yuan * 100 + cents
    }

    /// Sends a picture up (U18): ticket, bytes, check.
    /// - Returns: its number; nil for what is no picture or is too large.
    private func keep(_ file: UploadedFile) async throws -> String? {
        let isJPEG = file.bytes.starts(with: [0xFF, 0xD8, 0xFF])
        guard isJPEG || file.bytes.starts(with: [0x89, 0x50, 0x4E, 0x47]) else { return nil }
        do {
            let ticket = try await city.call(
                "image.ticket.apply",
                [
                    ("type", 4), ("ext", isJPEG ? "jpg" : "png"), ("size", .int(file.bytes.count)),
                    ("sha256", .string(Signature.hash(canonical: file.bytes))),
                ], as: .provider)
            guard let url = ticket["uploadUrl"]?.stringValue, let imageId = ticket["imageId"]?.stringValue,
                await settings.upload(url, file.bytes)
            else { return nil }
            try await city.call("image.upload.complete", [("imageId", .string(imageId))], as: .provider)
            return imageId
        } catch {
            guard [701, 700, 702, 403].contains(error.code) else { throw error }
            return nil
        }
    }

    // MARK: One offer

    private func ownOffer(_ web: WebRequest) async throws -> JSON {
        guard let person = web.person else { throw WebError.forbidden }
        let (offers, _) = try await ownOffers(person, web)
        guard let offer = offers.first(where: { $0["id"]?.stringValue == web.names["offer"] }) else { throw WebError.notFound }
        return offer
    }

    func offerPage(_ web: WebRequest) async throws -> WebResult { .page(try await offerView(web)) }

    /// - Parameter consequences: whom closing the offer now would hit, and what it costs.
    private func offerView(_ web: WebRequest, error: String? = nil, consequences: JSON? = nil) async throws -> Page {
        let offer = try await ownOffer(web)
        var members: [(String, JSON)] = (offer.objectValue?.members ?? []).map { ($0.name, $0.value) }
        members.append(("error", .optional(error)))
        if let consequences {
            let format = web.format
            members += [
                ("asks", true), ("cost", .string(format.money(consequences["cost"]?.intValue ?? 0))),
                ("occupiedUntil", .optional(consequences["occupiedUntil"]?.intValue.map(format.time))),
                (
                    "hits",
                    .array(
                        (consequences["orders"]?.arrayValue ?? []).map {
                            ["window": .string(format.window($0["enterStart"]?.intValue ?? 0, $0["until"]?.intValue ?? 0))]
                        })
                ), ("subscribers", .int(consequences["subscriptions"]?.arrayValue?.count ?? 0)),
                ("hasSubscribers", .bool(!(consequences["subscriptions"]?.arrayValue ?? []).isEmpty)),
                (
                    "hitsNobody",
                    .bool((consequences["subscriptions"]?.arrayValue ?? []).isEmpty && (consequences["orders"]?.arrayValue ?? []).isEmpty)
                ),
            ]
        }
        return Page("owner/offer", members, status: error == nil ? 200 : 409)
    }

    /// "I come back early": the first tap shows whom it hits and its cost, also where it hits nobody; the second one does it.
    func closeOffer(_ web: WebRequest) async throws -> WebResult {
        let offer = try await ownOffer(web)
        do {
            let isConfirmed = web.isOn("confirm")
            try await city.call(
                "share.offer.close",
                [("offerId", offer["id"] ?? .null), ("confirm", isConfirmed ? true : .null), ("preview", isConfirmed ? .null : true)],
                as: .provider)
        } catch {
            if error.data["needsConfirm"]?.boolValue == true { return .page(try await offerView(web, consequences: error.data)) }
            return .page(try await offerView(web, error: refusal(error, web)))
        }
        return .redirect("/owner")
    }

    func updateOffer(_ web: WebRequest) async throws -> WebResult {
        let offer = try await ownOffer(web)
        guard let fen = Site.fen(web.text("amount", max: 10)), fen > 0 else {
            return .page(try await offerView(web, error: words.say(web.language, "publish.badPrice")))
        }
        do {
            try await city.call(
                "share.offer.update",
                [
                    ("offerId", offer["id"] ?? .null), ("price", ["mode": .int(web.number("mode", in: 1...3) ?? 2), "amount": .int(fen)]),
                ], as: .provider)
        } catch { return .page(try await offerView(web, error: refusal(error, web))) }
        return .redirect("/owner/offers/\(WebRequest.escape(web.names["offer"] ?? ""))")
    }

    // MARK: Income

    func income(_ web: WebRequest) async throws -> WebResult { .page(try await incomeView(web)) }

    private func incomeView(_ web: WebRequest, error: String? = nil, done: String? = nil) async throws -> Page {
        guard let person = web.person else { throw WebError.forbidden }
        let income = try await city.call("share.income.query", [("providerToken", .string(person.userToken))], as: .provider)
        let format = web.format
        let rows = (income["rows"]?.arrayValue ?? []).reversed().prefix(200).map { row -> JSON in
            let amount = row["amount"]?.intValue ?? 0
            return .compact([
                ("at", .string(format.time(row["at"]?.intValue ?? 0))),
                ("kind", .string(words.say(web.language, "ledger.\(row["kind"]?.stringValue ?? "")"))),
                ("reference", row["reference"] ?? .null), ("amount", .string(format.money(amount))), ("isOut", .bool(amount < 0)),
            ])
        }
        let balance = income["balance"]?.intValue ?? 0
        return Page(
            "owner/income",
            [
                ("balance", .string(format.money(balance))), ("mayWithdraw", .bool(balance > 0)),
                (
                    "yuan",
                    .string(
                        web.text("amount", max: 12).isEmpty || error == nil
                            ? "\(balance / 100).\(balance % 100 < 10 ? "0" : "")\(balance % 100)" : web.text("amount", max: 12))
                ), ("rows", .array(Array(rows))),
                ("owed", (income["owed"]?.intValue ?? 0) > 0 ? .string(format.money(income["owed"]?.intValue ?? 0)) : .null),
                ("error", .optional(error)), ("done", .optional(done)), ("tabIncome", true), ("key", .string(SystemRandom.uuid())),
            ], status: error == nil ? 200 : 409)
    }

    func withdraw(_ web: WebRequest) async throws -> WebResult {
        guard let person = web.person else { throw WebError.forbidden }
        guard let fen = Site.fen(web.text("amount", max: 12)), fen > 0 else {
            return .page(try await incomeView(web, error: words.say(web.language, "publish.badPrice")))
        }
        let income = try await city.call("share.income.query", [("providerToken", .string(person.userToken))], as: .provider)
        let balance = income["balance"]?.intValue ?? 0
        guard fen <= balance else {
            return .page(
                try await incomeView(web, error: words.say(web.language, "income.tooMuch", ["balance": web.format.money(max(0, balance))])))
        }
        // The number of the form is the number of the request: a second tap is the same withdrawal.
        let key = web.text("key", max: 36)
        do {
            let made = try await city.call(
                "share.withdraw.apply", [("providerToken", .string(person.userToken)), ("amount", .int(fen))], as: .provider,
                requestId: key.utf8.count == 36 ? key : SystemRandom.uuid())
            return .page(
                try await incomeView(
                    web,
                    done: words.say(
                        web.language, "income.done", ["amount": web.format.money(fen), "number": made["withdrawNo"]?.stringValue ?? ""])))
        } catch let error as CityError { return .page(try await incomeView(web, error: refusal(error, web))) }
    }
}
