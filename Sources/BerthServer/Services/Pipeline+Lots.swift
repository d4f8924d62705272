import BerthCore
import BerthLink
import BerthStore
import BerthWire

// Questions to lots through the server, and the server's knowledge of records, payments and vehicles.
extension Pipeline {
    /// D04 to D23 that are answered now: the lot's own answer, within the message's own time.
    func live(_ request: VerifiedRequest, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion) throws(WireError) {
        let envelope = request.envelope
        let service = Dialect.current.services[envelope.service]!
        var data = service.request.known(envelope.data)
        if envelope.service == "fee.query" { return try feeQuery(request, data, now: now, completion: completion) }
        guard sequencer.knows(parkCode) else { throw WireError("lotNotRegistered", "parkCode") }
        var time = Limits.relayMillis
        switch envelope.service {
        case "gate.control":
            guard ["OPEN", "CLOSE", "KEEP_OPEN", "RELEASE"].contains(data["action"]?.stringValue) else {
                throw WireError("illegalValue", "action")
            }
            time = data["ttlMs"]?.intValue ?? Limits.commandMillisMax
        case "space.lock.control":
            guard ["UP", "DOWN"].contains(data["action"]?.stringValue) else { throw WireError("illegalValue", "action") }
            time = data["ttlMs"]?.intValue ?? Limits.commandMillisMax
        default: break
        }
        // The lot has to know when it would be too late.
        if service.request.fields.contains(where: { $0.name == "ttlMs" }) { data["ttlMs"] = .int(time) }
        let (milliseconds, known) = (time, data)
        guard Pipeline.executedOnce.contains(envelope.service) else {
            return onRecord(request, now: now, completion) { [relay] in
                relay.ask(parkCode, service: envelope.service, data: .object(known), milliseconds: milliseconds, completion: completion)
            }
        }
        // A command that moves something is executed at most once for each requestId (section 3).
        let key = "\(envelope.appId)|\(envelope.requestId)"
        guard liveAnswers.begin(key) else {
            throw WireError("tooManyInFlight", "the first request is under way", data: ["retryAfterMs": 200])
        }
        let finish: Sequencer.Completion = { [liveAnswers] answer in
            liveAnswers.end(key)
            completion(answer)
        }
        // That it is about to be done is durable before it is done: a server that dies meanwhile answers its repeat with a time-out, and
        // moves nothing again.
        sequencer.begin(request, assumed: Reply(WireError("timeOut")), now: now, completion: finish) { [self] in
            relay.ask(parkCode, service: envelope.service, data: .object(known), milliseconds: milliseconds) { [self] answer in
                // A lot that could not be reached has done nothing: the same request may come again.
                sequencer.end(request, answer, now: clock(), completion: finish)
            }
        }
    }

    /// D13 to D17, D22 and D23.
    private static let executedOnce: Set<String> = [
        "gate.control", "gate.status.query", "gate.capture", "space.realtime.query", "space.lock.control", "time.sync", "display.push",
    ]

    /// An operator's deed is on record before it is done; others do it at once.
    private func onRecord(
        _ request: VerifiedRequest, now: Millis, _ completion: @escaping Sequencer.Completion, _ work: @escaping @Sendable () -> Void
    ) {
        guard request.credential.role == .operator else { return work() }
        sequencer.record(Audit.write(request, code: nil, now: now)) { recorded in
            recorded.code == 0 ? work() : completion(recorded)
        }
    }

    // MARK: Beyond the rules

    func applyTicket(_ request: VerifiedRequest, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion) {
        Blocking.write { [self] in
            let made = Pipeline.attempt { () throws(WireError) -> Reply in
                try Dialect.current.services["image.ticket.apply"]!.request.check(request.envelope.data)
                return try pictures.ticket(request, parkCode: parkCode, now: now)
            }
            keep(request, made, now: now, completion: completion)
        }
    }

    func completeUpload(_ request: VerifiedRequest, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion) {
        // Reads and hashes up to 20 MB.
        Blocking.write { [self] in
            let made = Pipeline.attempt { () throws(WireError) -> Reply in
                try Dialect.current.services["image.upload.complete"]!.request.check(request.envelope.data)
                let (answer, picture) = try pictures.complete(request, now: now)
                if let size = pictures.dimensions(picture), request.credential.role.speaksForLots {
                    onboarding.note(parkCode, "picture", "\(size.width)x\(size.height)", now: now)
                }
                return answer
            }
            keep(request, made, now: now, completion: completion)
        }
    }

    func buildRedirect(_ request: VerifiedRequest, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion) {
        let orderNo = request.envelope.data["orderNo"]?.stringValue
        sequencer.prefetch(orderNo.map { [.reservation(ByteKey($0))] } ?? [], completion: completion) { [self] past in
            let made = Pipeline.attempt { () throws(WireError) -> Reply in
                try Dialect.current.services["url.redirect.build"]!.request.check(request.envelope.data)
                return try redirects.build(request, past, now: now)
            }
            keep(request, made, now: now, completion: completion)
        }
    }

    func keep(
        _ request: VerifiedRequest, _ made: Result<Reply, WireError>, now: Millis, completion: @escaping Sequencer.Completion
    ) {
        switch made {
        case .success(let answer): sequencer.kept(request, command: .success(.nothing), answering: answer, now: now, completion: completion)
        case .failure(let error):
            // A repeat of the same request may still succeed, because a picture can still be on its way: such a failure is not kept.
            if ["wrongState", "imageHashMismatch", "dependencyUnavailable"].contains(error.name) { return completion(Reply(error)) }
            sequencer.kept(request, command: .failure(error), now: now, completion: completion)
        }
    }

    // MARK: Statistics

    /// `stat.daily.query`: an operator sees the city, a provider its own orders, a lot itself.
    func statistic(
        _ request: VerifiedRequest, _ fields: FieldReader, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let today = CivilTime.day(of: now)
        let from = fields.has("dateFrom") ? try Decode.day(fields, "dateFrom") : today
        let to = fields.has("dateTo") ? try Decode.day(fields, "dateTo") : max(from, today)
        guard from <= to, to - from < 400 else { throw WireError("illegalValue", "dateFrom, dateTo: at most 400 days") }
        var by: Set<String> = []
        for value in fields.object["groupBy"]?.arrayValue ?? [] {
            guard let name = value.stringValue, ["day", "lot", "provider"].contains(name) else {
                throw WireError("illegalValue", "groupBy: day, lot, provider")
            }
            by.insert(name)
        }
        let asked = try fields.optionalString("parkCode", max: 32)
        let credential = request.credential
        let lot: String? =
            switch credential.role {
            case .lot, .cloud: parkCode
            default: asked?.isEmpty == false ? asked : nil
            }
        let provider: String? = credential.role == .provider ? credential.appId : try fields.optionalString("appId", max: 32)
        let grouping = fields.object["groupBy"]?.arrayValue == nil ? ["day"] : by
        fromDisk(completion) { [statistics] () throws(StoreError) in
            let rows = try statistics.query(
                days: from...to, parkCode: lot, appId: provider?.isEmpty == false ? provider : nil, by: grouping)
            return Reply(data: [
                "rows": .array(Array(rows.prefix(Limits.statisticRowsMax))), "hasMore": .bool(rows.count > Limits.statisticRowsMax),
            ])
        }
    }

    /// An answer that is read from the disk: on a thread that may wait. A failed read is 501.
    func fromDisk(_ completion: @escaping Sequencer.Completion, _ work: @escaping @Sendable () throws(StoreError) -> Reply) {
        Blocking.run { [logger] in
            do throws(StoreError) { completion(try work()) } catch {
                logger.error("the store could not be read", metadata: ["why": "\(error.reason)"])
                completion(Reply(WireError("dependencyUnavailable", error.reason)))
            }
        }
    }

    /// U21 `recon.inlot.list`, by record number.
    /// - Parameter reveals: plates whole, as the lot itself sees them.
    func inlotList(
        _ fields: FieldReader, _ parkCode: String, reveals: Bool, completion: @escaping Sequencer.Completion
    ) throws(WireError) -> @Sendable () -> Void {
        let isFull = try fields.optionalInt("detailType", in: 1...2) ?? 1 == 2
        let after = try fields.optionalString("afterRecordNo", max: 48) ?? ""
        let limit = Int(try fields.optionalInt("limit", in: 1...1000) ?? 1000)
        return { [sequencer] in
            sequencer.read(
                parkCode,
                { city in
                    guard let lot = city.lots[parkCode] else { return Reply(WireError("lotNotRegistered")) }
                    let numbers = lot.inside.values.filter { $0 > after }.sorted()
                    let items = numbers.prefix(limit).map { recordNo -> JSON in
                        guard isFull, let visit = lot.visits[recordNo] else { return ["recordNo": .string(recordNo)] }
                        return .compact([
                            ("recordNo", .string(recordNo)), ("plateNo", .string(reveals ? visit.plate.revealed : visit.plate.masked)),
                            ("enterTime", .int(visit.enterTime)), ("orderNo", .optional(visit.orderNo)),
                        ])
                    }
                    return Reply(data: [
                        "asOfSeq": .int(lot.up.ackSeq), "items": .array(items), "hasMore": .bool(numbers.count > limit),
                    ])
                }, completion: completion)
        }
    }

    /// `recon.order.digest`: both sides hash the same lines, and see at once whether their lists are the same.
    func orderDigest(_ parkCode: String, completion: @escaping Sequencer.Completion) {
        sequencer.read(
            parkCode,
            { city in
                guard let lot = city.lots[parkCode] else { return Reply(WireError("lotNotRegistered")) }
                let lines = lot.inForce.map { "\($0.orderNo):\($0.pushedVer)" }.sorted()
                return Reply(data: [
                    "count": .int(lines.count), "digest": .string(Signature.hash(canonical: Array(lines.joined(separator: "\n").utf8))),
                    "downSeq": .int(lot.downLast),
                ])
            }, completion: completion)
    }

    /// U23, A13 `pay.query`: a provider sees its own payments, a lot those at its own gates.
    func paymentQuery(
        _ request: VerifiedRequest, _ fields: FieldReader, _ parkCode: String, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let payNo = try fields.string("payNo", max: 64)
        let credential = request.credential
        let key = credential.role == .provider ? Payment.key(credential.appId, "", payNo) : Payment.key("", parkCode, payNo)
        sequencer.read(
            nil, asking: [.payment(ByteKey(key))],
            { city, past in
                // A number is unique in its giver: a provider's own; at a lot its own, or that of a provider who paid for it.
                let payment =
                    credential.role == .provider
                    ? city.payment(payNo, appId: credential.appId, past: past)
                    : city.payment(payNo, appId: "", parkCode: parkCode, past: past) ?? city.payment(payNo, at: parkCode)
                guard let payment else { return Reply(WireError("paymentFailed", "payNo")) }
                return Reply(data: Encode.payment(payment))
            }, completion: completion)
    }

    /// Whose data is asked for: the caller's own, or those of the application that an operator names.
    static func party(_ request: VerifiedRequest, _ fields: FieldReader) throws(WireError) -> String {
        request.credential.role == .operator ? try fields.optionalString("appId", max: 32) ?? "" : request.envelope.appId
    }

    /// A10 `vehicle.list`.
    func vehicles(_ request: VerifiedRequest, _ fields: FieldReader, completion: @escaping Sequencer.Completion) throws(WireError) {
        let user = "\(try Pipeline.party(request, fields))|\(try fields.user())"
        let isMasked = request.credential.role == .operator
        sequencer.read(
            nil,
            { city in
                let rows = city.reports(user, kind: "vehicle").compactMap { report -> JSON? in
                    guard var row = (try? JSON.parse(Array(report.body.utf8)))?.objectValue else { return nil }
                    if isMasked, let plate = Plate(report.key) { row["plateNo"] = .string(plate.masked) }
                    return .object(row)
                }
                return Reply(data: ["vehicles": .array(rows)])
            }, completion: completion)
    }

    /// A10 `vehicle.verify`: an impossible plate has been refused before.
    func verify(_ request: VerifiedRequest, _ fields: FieldReader, completion: @escaping Sequencer.Completion) throws(WireError) {
        let plate = try Decode.plate(fields)
        let color = try fields.optionalInt("plateColor", in: 0...99).map { Int($0) }
        let owner = "\(try Pipeline.party(request, fields))|\(try fields.optionalString("userToken", max: 64) ?? "")"
        sequencer.read(
            nil,
            { city in
                Reply(data: [
                    "plateNo": .string(plate.revealed), "fits": .bool(color.map { plate.fits(color: $0) } ?? true),
                    "bound": .bool(city.report("", kind: "plateOwner", key: plate.revealed)?.body == owner),
                ])
            }, completion: completion)
    }

    /// A11 `user.credit.query`: the counters before they hurt, the present bans, and the penalties with their evidence.
    func credit(_ request: VerifiedRequest, _ fields: FieldReader, now: Millis, completion: @escaping Sequencer.Completion)
        throws(WireError)
    {
        let userToken = try fields.string("userToken", max: 64)
        let hasPlate = fields.has("plateNo")
        let role = request.credential.role
        let plate = hasPlate ? try Decode.plate(fields) : nil
        let appId = try Pipeline.party(request, fields)
        let parkCode = try fields.optionalString("parkCode", max: 32).flatMap { $0.isEmpty ? nil : $0 }
        let purpose = try fields.optionalInt("bizType", in: 1...3).flatMap { Purpose(rawValue: Int($0)) } ?? .reservation
        sequencer.read(
            nil,
            { city in
                if let parkCode, city.lots[parkCode] == nil { return Reply(WireError("lotNotRegistered")) }
                if let plate, role == .provider,
                    city.report("", kind: "plateOwner", key: plate.revealed)?.body != "\(appId)|\(userToken)"
                {
                    return Reply(WireError("notFound", "plateNo: not bound by this user"))
                }
                let counters = city.standing(
                    appId: appId, userToken: userToken, plate: plate, parkCode: parkCode, purpose: purpose, at: now)
                let listed = plate.flatMap { city.blacklisted(parkCode ?? "", $0, at: now) }
                func code(_ refusal: Rejection) -> JSON { .int(Dialect.current.code(refusal.rawValue).code) }
                let penalties = city.penalties.values.filter { $0.appId == appId && $0.userToken == userToken }
                    .sorted { ($0.at, $0.penaltyId) > ($1.at, $1.penaltyId) }.prefix(Limits.ruleRowsMax)
                return Reply(data: [
                    "counters": .array(
                        counters.map {
                            [
                                "name": .string($0.name), "used": .int($0.used), "max": .int($0.max), "until": .int($0.until),
                                "group": .string($0.group), "reason": code($0.refusal),
                            ]
                        }),
                    "bans": .array(
                        counters.filter { $0.used >= $0.max && $0.refusal.isBan }.map {
                            ["name": .string($0.name), "reason": code($0.refusal), "until": .int($0.until), "group": .string($0.group)]
                        }
                            + (listed.map {
                                [
                                    [
                                        "name": "blackList", "reason": code(.plateBlacklisted), "until": .int(min($0, 4_102_444_800_000)),
                                        "group": "",
                                    ]
                                ]
                            } ?? [])),
                    "penalties": .array(
                        penalties.map { penalty in
                            let policy = city.lots[penalty.parkCode]?.policy ?? city.policy
                            let appeal = city.appeals.values.first { $0.penaltyId == penalty.penaltyId }
                            return .compact([
                                ("penaltyId", .string(penalty.penaltyId)), ("kind", .string(penalty.kind.rawValue)),
                                ("orderNo", .string(penalty.orderNo)), ("at", .int(penalty.at)), ("state", .string(penalty.state.rawValue)),
                                ("evidence", .string(penalty.evidence)),
                                ("appealUntil", .int(penalty.at + Millis(policy.appealDays) * CivilTime.dayLength)),
                                ("appeal", .optional(appeal?.state.rawValue)),
                            ])
                        }),
                ])
            }, completion: completion)
    }
}

extension Rejection {
    /// It keeps a user from booking, and not only from one thing more today.
    fileprivate var isBan: Bool { self == .noShowBan || self == .yearlyBlacklist || self == .lateDepartureStrikes }
}
