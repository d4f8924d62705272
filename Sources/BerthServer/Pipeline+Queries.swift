import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Synchronization

// Services that change nothing, and those of the resume mechanism, which carry their own guard.
extension Pipeline {
    func query(
        _ request: Authentic, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let envelope = request.envelope
        let fields = Fields(envelope.data)
        switch envelope.service {
        case "sys.time.get":
            _ = try fields.optionalTime("deviceSendTime")
            completion(
                Answer(
                    data: [
                        "serverRecvTime": .int(now), "serverSendTime": .int(clock()),
                        "ntpServers": .array(settings.ntpServers.map { .string($0) }),
                    ]))
        case "sys.heartbeat": try heartbeat(fields, parkCode, sentAt: envelope.timestamp, now: now, completion: completion)
        case "vehicle.preentry.check": try preentry(fields, parkCode, now: now, completion: completion)
        case "sync.cursor.query": try cursor(fields, parkCode, completion: completion)
        case "sync.batch.report": try batch(fields, parkCode, now: now, completion: completion)
        case "sync.down.pull": try pull(fields, parkCode, completion: completion)
        case "sync.down.ack": try acknowledge(fields, parkCode, now: now, completion: completion)
        case "sync.snapshot.query":
            let isShown = try reveals(request, fields)
            let isOverMQTT = request.isOverMQTT
            looked(request, now: now, completion) { [self] in
                snapshot(parkCode, reveals: isShown, isOverMQTT: isOverMQTT, now: now, completion: completion)
            }
        case "recon.inlot.count":
            sequencer.read(
                parkCode,
                { city in
                    let lot = city.lots[parkCode]
                    return Answer(data: ["count": .int(lot?.inside.count ?? 0), "asOfSeq": .int(lot?.up.ackSeq ?? 0)])
                }, completion: completion)
        case "recon.inlot.list":
            let work = try inlotList(fields, parkCode, reveals: reveals(request, fields), completion: completion)
            looked(request, now: now, completion, work)
        case "recon.order.digest": orderDigest(parkCode, completion: completion)
        case "vehicle.preexit.report": try preexit(fields, parkCode, now: now, completion: completion)
        case "image.upload.query":
            Blocking.run { [pictures] in
                completion(
                    Pipeline.answer { () throws(WireError) in try pictures.progress(request, now: now) })
            }
        case "stat.daily.query": try statistic(request, fields, parkCode, now: now, completion: completion)
        case "sync.dead.list": try deadLetters(request, fields, parkCode, completion: completion)
        case "event.list": try events(request, fields, completion: completion)
        case "payment.result.query", "pay.query": try paymentQuery(request, fields, parkCode, completion: completion)
        case "vehicle.list": try vehicles(request, fields, completion: completion)
        case "vehicle.verify": try verify(request, fields, completion: completion)
        case "user.credit.query": try credit(request, fields, now: now, completion: completion)
        case "lot.search": try search(request, fields, now: now, completion: completion)
        case "lot.detail": try detail(fields, now: now, completion: completion)
        case "slot.query":
            let (lot, purpose, day) = try Decode.slotQuery(envelope.data)
            slots(lot, purpose, day, now: now, completion: completion)
        case "order.detail": try orderDetail(request, fields, completion: completion)
        case "order.list": try orderList(request, fields, completion: completion)
        default:
            guard try ruleQuery(request, fields, parkCode, now: now, completion: completion) else {
                throw WireError("maintenance", envelope.service)
            }
        }
    }

    /// Plates that are shown whole outside the lot concerned: on record before they are shown.
    func looked(
        _ request: Authentic, now: Millis, _ completion: @escaping Sequencer.Completion, _ work: @escaping @Sendable () -> Void
    ) {
        guard request.credential.role == .operator else { return work() }
        sequencer.record(Audit.look(request, reason: request.envelope.data["reason"]?.stringValue ?? "", now: now)) { recorded in
            recorded.code == 0 ? work() : completion(recorded)
        }
    }

    private func heartbeat(
        _ fields: Fields, _ parkCode: String, sentAt: Millis, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let count: ClosedRange<Int64> = 0...1_000_000_000
        let depth = try fields.optionalInt("queueDepth", in: count)
        _ = try fields.optionalInt("onlineGates", in: count)
        _ = try fields.optionalInt("offlineGates", in: count)
        let offset = try fields.optionalInt("clockOffsetMs", in: -count.upperBound...count.upperBound)
        _ = try fields.optionalString("softVersion", max: 32)
        let localTime = try fields.optionalTime("localTime") ?? now
        presence.heard(parkCode)
        let isOff = presence.noteHeartbeat(
            parkCode, queueDepth: depth ?? 0, clockOffset: offset ?? 0, offsetMax: settings.clockMaxOffsetMillis)
        if isOff {
            sequencer.perform(
                .raise(Notice(parkCode: parkCode, eventType: 6010, occurredAt: now, detail: "\(offset ?? 0) ms")), now: now)
        }
        // An empty queue says that everything up to the lot's own time has been told: the message's own time, never later than its sending.
        if depth == 0 { sequencer.peek { $0.notePassed(parkCode, through: min(localTime, sentAt, now)) } }
        completion(Answer())
    }

    private func preentry(
        _ fields: Fields, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let gateCode = try fields.string("gateCode", max: 32)
        let plate = try Decode.reading(fields)
        let color = Int(try fields.int("plateColor", among: Plate.colors))
        let confidence = try fields.optionalInt("confidence", in: 0...100).map { Int($0) }
        var question = GateQuestion(
            plate: plate, time: try fields.time("captureTime"), gateCode: gateCode, confidence: confidence,
            orderNo: try fields.optionalString("orderNo", max: 32))
        question.color = color
        // An almost-match goes on record with its answer, so this is asked of the rules like a command.
        sequencer.perform(.check(parkCode: parkCode, question), now: now, completion: completion)
    }

    // MARK: Resume (section 5)

    private func cursor(
        _ fields: Fields, _ parkCode: String, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let asked = try fields.optionalString("epoch", max: 16)
        // It knows how to go on after a break: annex A.
        if sequencer.peek({ ($0.lots[parkCode]?.downAck ?? 0) > 0 }) {
            onboarding.note(parkCode, "resume", "sync.cursor.query", now: clock())
        }
        sequencer.read(
            parkCode,
            { city in
                guard let lot = city.lots[parkCode] else { return Answer(WireError("lotNotRegistered")) }
                let epoch = asked ?? lot.up.epoch ?? ""
                return Answer(data: [
                    "up": .compact([
                        ("epoch", .string(epoch)), ("ackSeq", .int(epoch == lot.up.epoch ? lot.up.ackSeq : 0)),
                        ("closed", lot.up.closed.contains(epoch) ? true : .null),
                    ]),
                    "down": [
                        "epoch": .string(lot.downEpoch ?? ""), "lastSeq": .int(lot.downLast),
                        "ackSeq": .int(lot.downAck),
                    ],
                ])
            }, completion: completion)
    }

    private func batch(
        _ fields: Fields, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        guard fields.has("entries") else { throw fields.missing("entries") }
        guard case .array(let rows)? = fields.object["entries"] else { throw fields.illegal("entries", "an array") }
        guard rows.count <= WireLimits.batchEntriesMax else { throw WireError("tooLarge", "over 500 entries") }
        var entries: [Sequencer.LogEntry] = []
        entries.reserveCapacity(rows.count)
        for (index, row) in rows.enumerated() {
            // Only a place in the log that cannot be read refuses the batch; every other fault is that entry's own (section 6, "Settled" c).
            guard let object = row.objectValue else { throw WireError("illegalValue", "entries[\(index)]: not an object") }
            let row = Fields(object, path: "entries[\(index)].")
            let epoch = try row.string("epoch", max: 16)
            guard Envelope.isSafe(epoch) else { throw WireError("illegalValue", "entries[\(index)].epoch") }
            let seq = try row.int("seq", in: 1...(1 << 53))
            let service = (try? row.string("service", max: 48)) ?? ""
            let requestId = (try? row.string("requestId", max: 36)).flatMap { Envelope.isUUID($0) ? $0 : nil } ?? ""
            let data = object["data"]?.objectValue ?? JSONObject()
            let timestamp = try? row.time("timestamp")
            let command = Pipeline.attempt { () throws(WireError) in
                _ = try row.string("service", max: 48)
                guard !requestId.isEmpty else { throw row.has("requestId") ? row.illegal("requestId", "a UUID") : row.missing("requestId") }
                _ = try row.time("timestamp")
                switch object["data"] {
                case nil, .null, .object: break
                default: throw row.illegal("data", "an object")
                }
                return try Decode.logEntry(service: service, data: data, parkCode: parkCode, now: now)
            }
            entries.append(
                Sequencer.LogEntry(
                    epoch: epoch, seq: seq, requestId: requestId, service: service, data: data, command: command, sentAt: timestamp ?? now))
        }
        guard entries.allSatisfy({ $0.epoch == entries[0].epoch }) else {
            throw WireError("illegalValue", "entries: two epochs in one batch")
        }
        presence.heard(parkCode)
        sequencer.batch(parkCode, entries, now: now, completion: completion)
    }

    /// `sync.dead.list`: what was refused in a lot's up log and nothing has made good.
    private func deadLetters(
        _ request: Authentic, _ fields: Fields, _ parkCode: String, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let since = try fields.optionalTime("since") ?? 0
        let limit = Int(try fields.optionalInt("limit", in: 1...1000) ?? 100)
        let before = try fields.optionalString("cursor", max: 64).map { text throws(WireError) in
            guard let place = DeadLetterPlace(text) else { throw WireError("illegalValue", "cursor") }
            return place
        }
        let isShown = try reveals(request, fields)
        let work: @Sendable () -> Void = { [self] in
            fromDisk(completion) { [store] () throws(StoreError) in
                let rows = try store.deadLetters(parkCode: parkCode, since: since, before: before, limit: limit + 1)
                var shown: [JSON] = []
                var size = 0
                for row in rows.prefix(limit) {
                    // A message of the broker's holds 1 MiB: the rest comes with a later question.
                    size += row.data.utf8.count + 500
                    if size > 900_000, !shown.isEmpty { break }
                    let code = Profile.current.codes[row.code]
                    let data = (try? JSON.parse(Array(row.data.utf8))) ?? [:]
                    shown.append(
                        .compact([
                            ("epoch", .string(row.epoch)), ("seq", .int(row.seq)), ("requestId", .string(row.requestId)),
                            ("service", .string(row.service)), ("code", .int(row.code)),
                            ("reason", .string(code.map { "\($0.zh) \($0.en)" } ?? "")),
                            ("recordNo", row.recordNo.isEmpty ? .null : .string(row.recordNo)), ("at", .int(row.at)),
                            ("data", isShown ? data : Audit.mask(data)),
                        ]))
                }
                let hasMore = rows.count > shown.count
                return Answer(
                    data: .compact([
                        ("entries", .array(shown)), ("hasMore", .bool(hasMore)),
                        ("nextCursor", hasMore ? .string(DeadLetterPlace(rows[shown.count - 1]).text) : .null),
                    ]))
            }
        }
        isShown ? looked(request, now: clock(), completion, work) : work()
    }

    /// `event.list`: what happened at lots, and at the server itself, newest first.
    private func events(_ request: Authentic, _ fields: Fields, completion: @escaping Sequencer.Completion) throws(WireError) {
        var filter = NoticeFilter()
        filter.parkCode = try fields.optionalString("parkCode", max: 32)
        filter.eventType = try fields.optionalInt("eventType", in: 1000...9999).map { Int($0) }
        filter.from = try fields.optionalTime("from") ?? 0
        filter.to = try fields.optionalTime("to") ?? .max
        let limit = Int(try fields.optionalInt("limit", in: 1...1000) ?? 100)
        filter.limit = limit + 1
        if let cursor = try fields.optionalString("cursor", max: 20) {
            guard let id = Decode.cursor(cursor) else { throw WireError("illegalValue", "cursor") }
            filter.before = id
        }
        let asked = filter
        fromDisk(completion) { [store] () throws(StoreError) in
            let rows = try store.notices(asked)
            let shown = rows.prefix(limit)
            return Answer(
                data: .compact([
                    (
                        "events",
                        .array(
                            shown.map { _, notice in
                                .compact([
                                    ("eventType", .int(notice.eventType)),
                                    ("parkCode", notice.parkCode.isEmpty ? .null : .string(notice.parkCode)),
                                    ("occurTime", .int(notice.occurredAt)), ("orderNo", .optional(notice.orderNo)),
                                    ("recordNo", .optional(notice.recordNo)),
                                    ("detail", notice.detail.isEmpty ? .null : .string(Plate(notice.detail)?.masked ?? notice.detail)),
                                ])
                            })
                    ), ("nextCursor", rows.count > limit ? .string(String(shown.last?.id ?? 0)) : .null),
                    ("hasMore", .bool(rows.count > limit)),
                ]))
        }
    }

    /// The answer to a question that is asked on another thread.
    static func answer(_ body: () throws(WireError) -> Answer) -> Answer {
        do throws(WireError) { return try body() } catch { return Answer(error) }
    }

    private func pull(
        _ fields: Fields, _ parkCode: String, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let asked = try fields.optionalString("epoch", max: 16)
        let after = try fields.int("afterSeq", in: 0...(1 << 53))
        let limit = Int(try fields.optionalInt("limit", in: 1...Int64(WireLimits.batchEntriesMax)) ?? 100)
        let wait = try fields.optionalInt("waitMs", in: 0...WireLimits.waitMillisMax) ?? 0
        sequencer.read(
            parkCode,
            { city in
                guard let lot = city.lots[parkCode] else { return Answer(WireError("lotNotRegistered")) }
                let open = lot.downEpoch ?? ""
                if let asked, !asked.isEmpty, asked != open {
                    return Answer(WireError("epochClosed", data: ["epoch": .string(open)]))
                }
                return Answer(data: ["epoch": .string(open), "lastSeq": .int(lot.downLast)])
            }
        ) { [self] position in
            guard position.code == 0 else { return completion(position) }
            let epoch = position.data["epoch"]?.stringValue ?? ""
            Blocking.run { [self] in
                let answer = pulled(parkCode, epoch, after: after, limit: limit)
                guard wait > 0, answer.code == 0, answer.data["entries"]?.arrayValue?.isEmpty == true else {
                    return completion(answer)
                }
                let isWaiting = deliverer.waitForEntry(parkCode, milliseconds: wait) { [self] in
                    // The first entry of all may just have made the epoch.
                    let epoch = sequencer.peek { $0.lots[parkCode]?.downEpoch ?? "" }
                    Blocking.run { [self] in completion(pulled(parkCode, epoch, after: after, limit: limit)) }
                }
                guard isWaiting else {
                    return completion(Answer(WireError("tooManyInFlight", "too many wait for this lot", data: ["retryAfterMs": 1000])))
                }
                // What became durable between the look and the wait.
                let now = sequencer.peek { $0.lots[parkCode]?.downEpoch ?? "" }
                if pulled(parkCode, now, after: after, limit: 1).data["entries"]?.arrayValue?.isEmpty == false { deliverer.wake(parkCode) }
            }
        }
    }

    private func pulled(_ parkCode: String, _ epoch: String, after: Int64, limit: Int) -> Answer {
        let rows: [DownRow]
        do throws(StoreError) {
            rows = epoch.isEmpty ? [] : try store.down(parkCode: parkCode, epoch: epoch, after: after, limit: limit + 1)
        } catch { return Answer(WireError("dependencyUnavailable", error.reason)) }
        // Whoever is further behind than we keep goes on from a snapshot; it may be that nothing is kept at all.
        let oldest = rows.first?.seq ?? sequencer.peek { $0.lots[parkCode]?.downAck ?? 0 } + 1
        if !epoch.isEmpty, oldest > after + 1 {
            return Answer(
                WireError("sequenceGap", data: ["expectedSeq": .int(oldest), "snapshot": true, "epoch": .string(epoch)]))
        }
        let entries = rows.prefix(limit).map { row -> JSON in
            [
                "epoch": .string(epoch), "seq": .int(row.seq),
                "requestId": .string(Encode.downRequestId(parkCode: parkCode, epoch: epoch, seq: row.seq, at: row.at)),
                "service": .string(row.service), "timestamp": .int(row.at),
                "data": (try? JSON.parse(Array(row.data.utf8))) ?? [:],
            ]
        }
        return Answer(
            data: ["epoch": .string(epoch), "entries": .array(entries), "hasMore": .bool(rows.count > limit)])
    }

    private func acknowledge(
        _ fields: Fields, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let epoch = try fields.string("epoch", max: 16)
        let ackSeq = try fields.int("ackSeq", in: 0...(1 << 53))
        var results: [DownResult] = []
        for row in try fields.optionalObjects("results", max: 10_000) ?? [] {
            let code = Int(try row.int("code", in: 0...9999))
            let seq = try row.int("seq", in: 1...(1 << 53))
            guard Profile.current.codes[code]?.isFinal ?? true, seq <= ackSeq else { continue }
            results.append(
                DownResult(seq: seq, isAccepted: Decode.downAccepted(code: code, data: row.object["data"] ?? .null)))
        }
        let position = sequencer.peek { ($0.lots[parkCode]?.downEpoch, $0.lots[parkCode]?.downLast ?? 0) }
        guard epoch == position.0 else {
            throw WireError("epochClosed", data: ["epoch": .string(position.0 ?? "")])
        }
        guard ackSeq <= position.1 else { throw WireError("illegalValue", "ackSeq: beyond the last entry") }
        presence.heard(parkCode)
        deliverer.acknowledged(parkCode, through: ackSeq)
        sequencer.perform(
            .settle(parkCode: parkCode, epoch: epoch, ackSeq: ackSeq, results, assumesRest: true), now: now
        ) { [sequencer] answer in
            // Where the log stands: an older acknowledgement takes nothing back.
            let stands = sequencer.peek { max(ackSeq, $0.lots[parkCode]?.downAck ?? 0) }
            completion(answer.code == 0 ? Answer(data: ["epoch": .string(epoch), "ackSeq": .int(stands)]) : answer)
        }
    }

    /// - Parameter reveals: plates whole, as the lot itself sees them.
    private func snapshot(
        _ parkCode: String, reveals: Bool, isOverMQTT: Bool, now: Millis, completion answered: @escaping Sequencer.Completion
    ) {
        let completion: Sequencer.Completion = { answer in
            var answer = answer
            // A message of the broker's holds 1 MiB (section 4).
            if isOverMQTT, answer.code == 0, answer.data.string.utf8.count > WireLimits.bodyBytesMax - 4096 {
                answer = Answer(WireError("tooLarge", "the snapshot is over 1 MiB: ask for it over HTTPS"))
            }
            if !reveals { answer.data = Audit.mask(answer.data) }
            answered(answer)
        }
        func standing(_ city: inout City, _ kind: String) -> JSON {
            .array(
                (kind.hasPrefix("list.") ? city.listReports(parkCode, kind: kind) : city.reports(parkCode, kind: kind))
                    .compactMap { try? JSON.parse(Array($0.body.utf8)) })
        }
        sequencer.read(
            parkCode,
            { city in
                guard let lot = city.lots[parkCode] else { return Answer(WireError("lotNotRegistered")) }
                return Answer(data: [
                    "orders": .array(
                        lot.inForce.map { order in
                            guard case .object(var row) = Encode.reserve(order) else { return [:] }
                            row.append("status", .int(order.status.rawValue))
                            if let recordNo = order.recordNo { row.append("recordNo", .string(recordNo)) }
                            row.append("entriesUsed", .int(order.entriesUsed))
                            return .object(row)
                        }),
                    "shareAuths": .array(
                        lot.subscriptions.values.filter { $0.status.holds && $0.status != .pending }.sorted { $0.authNo < $1.authNo }
                            .map(Encode.authorisation)),
                    "blackList": standing(&city, "list.black.push"), "whiteList": standing(&city, "list.white.push"),
                    "flowPolicies": .array(
                        city.flows(of: parkCode).filter { now < $0.validTo }.map {
                            Encode.flow($0, $0.areaId.isEmpty ? $0.mode : $0.mode(at: now, city.calendar))
                        }),
                    "config": .array(
                        [standing(&city, "config.push"), standing(&city, City.gateRulesKind)].flatMap { $0.arrayValue ?? [] }),
                    "vehicleLocks": standing(&city, "vehicle.lock"),
                    "downEpoch": .string(lot.downEpoch ?? ""), "downSeq": .int(lot.downLast),
                ])
            }, completion: completion)
    }

    // MARK: What a driver asks

    private func search(
        _ request: Authentic, _ fields: Fields, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let here = Ground.point(
            longitude: try fields.coordinate("lng", limit: 180), latitude: try fields.coordinate("lat", limit: 90),
            type: Int(try fields.optionalInt("coordType", in: 1...3) ?? 1))
        let radius = try fields.optionalInt("radius", in: 1...Limits.searchRadiusMax) ?? 1000
        // 0: whatever the lot offers.
        let isAny = try fields.optionalInt("bizType", in: 0...3) == 0
        let asked = isAny ? .reservation : try Decode.purpose(fields, default: .reservation)
        let arrive = try fields.optionalTime("arriveTime") ?? now
        let page = Int(try fields.optionalInt("page", in: 1...1_000_000) ?? 1)
        let pageSize = Int(try fields.optionalInt("pageSize", in: 1...100) ?? Int64(Limits.searchPage))
        let own = Pipeline.lots(of: request.credential)
        let links = presence.snapshot
        sequencer.read(
            nil,
            { city in
                var found: [(Int, Lot)] = []
                for lot in city.lots.values {
                    let purpose = Pipeline.purpose(asked, of: lot, isAny: isAny)
                    guard let profile = lot.profile, profile.enabled.contains(purpose), city.isOpened(lot, for: purpose),
                        own?.contains(lot.parkCode) ?? true
                    else { continue }
                    let distance = here.metres(to: profile.position)
                    if distance <= Int(radius) { found.append((distance, lot)) }
                }
                found.sort { ($0.0, $0.1.parkCode) < ($1.0, $1.1.parkCode) }
                let start = (page - 1) * pageSize
                let rows = found.dropFirst(start).prefix(pageSize).map { distance, lot -> JSON in
                    city.advance(lot.parkCode, to: now)
                    let lot = city.lots[lot.parkCode]!
                    let profile = lot.profile!
                    let purpose = Pipeline.purpose(asked, of: lot, isAny: isAny)
                    return LotView.with(
                        LotView.standing(lot, links[lot.parkCode]),
                        [
                            "parkCode": .string(lot.parkCode), "name": .string(profile.name),
                            "address": .string(profile.address), "distance": .int(distance),
                            // Streets are longer than the crow's way: the usual detour factor of 1.3.
                            "walkDistance": .int(distance * 13 / 10), "lng": .string(profile.longitude),
                            "lat": .string(profile.latitude), "coordType": .int(profile.coordType),
                            "remain": .int(max(0, profile.totalCount - lot.occupied)),
                            "reserveRemain": .int(lot.free(purpose.pool, at: max(now, arrive))),
                            "level": .int(lot.saturation.level),
                            "priceText": .string(city.tariff(lot.parkCode, purpose, at: now)?.text ?? ""),
                            "tags": .array(LotView.tags(lot, profile, flow: city.flowMode(lot.parkCode, at: now)).map { .string($0) }),
                            "imageUrls": [],
                        ])
                }
                return Answer(data: [
                    "lots": .array(rows), "page": .int(page), "total": .int(found.count),
                    "hasMore": .bool(found.count > start + rows.count),
                ])
            }, completion: completion)
    }

    /// The business by which a lot is shown.
    private static func purpose(_ asked: Purpose, of lot: Lot, isAny: Bool) -> Purpose {
        guard isAny, let enabled = lot.profile?.enabled, !enabled.contains(asked) else { return asked }
        return Purpose.allCases.first { enabled.contains($0) } ?? asked
    }

    private func detail(_ fields: Fields, now: Millis, completion: @escaping Sequencer.Completion) throws(WireError) {
        let parkCode = try Decode.parkCode(fields)
        let link = presence.link(parkCode)
        sequencer.read(
            parkCode,
            { city in
                city.advance(parkCode, to: now)
                guard let lot = city.lots[parkCode] else { return Answer(WireError("lotNotRegistered")) }
                guard let profile = lot.profile else { return Answer(WireError("lotIncomplete")) }
                return Answer(data: LotView.with(LotView.standing(lot, link), LotView.detail(lot, profile, city, now: now)))
            }, completion: completion)
    }

    private func slots(
        _ parkCode: String, _ purpose: Purpose, _ day: Int64, now: Millis,
        completion: @escaping Sequencer.Completion
    ) {
        let link = presence.link(parkCode)
        let aside = Mutex<City?>(nil)
        sequencer.read(
            parkCode,
            { city in
                city.advance(parkCode, to: now)
                guard let lot = city.lots[parkCode] else { return Answer(WireError("lotNotRegistered", "parkCode")) }
                guard let profile = lot.profile else { return Answer(WireError("lotIncomplete")) }
                guard profile.enabled.contains(purpose), city.isOpened(lot, for: purpose) else {
                    return Answer(WireError(purpose == .shared ? "sharingNotEnabled" : "reservationNotEnabled"))
                }
                aside.withLock { $0 = city.alone(parkCode, day: day) }
                return Answer()
            }
        ) { answer in
            guard answer.code == 0, let city = aside.withLock({ $0 }), let lot = city.lots[parkCode] else { return completion(answer) }
            // A day has hundreds of moments to be looked at: nobody else waits for them.
            Blocking.run {
                let city = city
                let slots = city.slots(parkCode, purpose, day: day, now: now)
                completion(
                    Answer(
                        data: LotView.with(
                            LotView.standing(lot, link),
                            [
                                "parkCode": .string(parkCode), "bizType": .int(purpose.rawValue),
                                "slots": .array(slots.map { LotView.slot($0, price: city.slotPrice(parkCode, purpose, $0)) }),
                            ])))
            }
        }
    }

    private func orderDetail(
        _ request: Authentic, _ fields: Fields, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let orderNo = try fields.optionalString("orderNo", max: 32)
        let clientOrderNo = try fields.optionalString("clientOrderNo", max: 64)
        guard orderNo != nil || clientOrderNo != nil else { throw WireError("missingParameter", "orderNo") }
        let appId = request.credential.appId
        let isOperator = request.credential.role == .operator
        let reveals = try reveals(request, fields)
        let now = clock()
        let own = Pipeline.lots(of: request.credential)
        let work: @Sendable () -> Void = { [sequencer] in
            sequencer.read(
                nil,
                { city, past in
                    let order =
                        orderNo.map { city.order($0, history: past) }
                        ?? city.order(appId: appId, clientOrderNo: clientOrderNo!, history: past)
                    // Another provider's order is not found, rather than forbidden.
                    guard let order, isOperator || order.appId == appId else { return Answer(WireError("orderNotFound")) }
                    guard own?.contains(order.parkCode) ?? true else {
                        return Answer(WireError("lotNotAuthorised", "orderNo: not in one of the caller's lots"))
                    }
                    return Answer(data: Pipeline.detail(order, city, history: past, revealsPlate: reveals, now: now))
                }, completion: completion)
        }
        isOperator && reveals ? looked(request, now: clock(), completion, work) : work()
    }

    /// An order as it stands; where it lost its place without its user's fault, with the lots that have room in its window.
    private static func detail(_ order: Order, _ city: City, history: Past, revealsPlate: Bool, now: Millis) -> JSON {
        let isLost = [.rejected, .revoked, .waitlisted, .waitlistFailed].contains(order.status) && order.enterEnd > now
        let policy = city.lots[order.parkCode]?.policy(order.purpose)
        // In the window itself he may come at once.
        var wanted = order
        if order.planTime < now {
            wanted.planTime = now
            wanted.leaveDeadline = order.leaveDeadline.map { $0 + now - order.planTime }
        }
        let shown = Encode.order(
            order, revealsPlate: revealsPlate,
            alternatives: isLost ? policy.map { city.alternatives(to: wanted, policy: $0, at: now) } : nil,
            waitPosition: city.position(of: order))
        // What it costs, where the city bills it.
        guard case .object(var row) = shown, let recordNo = order.recordNo,
            let fee = city.sessionFee(order.parkCode, recordNo: recordNo, at: now, history: history)
        else { return shown }
        row.append(
            "fees",
            [
                "total": .int(fee.totalFen), "discount": .int(fee.discountFen), "paid": .int(fee.paidFen), "payable": .int(fee.payableFen),
            ])
        return .object(row)
    }

    /// A provider sees its users' plates; an operator sees them masked, or whole for a reason that goes on record.
    func reveals(_ request: Authentic, _ fields: Fields) throws(WireError) -> Bool {
        guard request.credential.role == .operator else { return true }
        guard try fields.optionalBool("reveal") == true else { return false }
        _ = try fields.string("reason", max: 256)
        return true
    }

    private func orderList(
        _ request: Authentic, _ fields: Fields, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let isOperator = request.credential.role == .operator
        var filter = OrderFilter()
        filter.appId = isOperator ? nil : request.credential.appId
        filter.parkCode = try fields.optionalString("parkCode", max: 32)
        filter.userToken = try fields.optionalString("userToken", max: 64)
        if let status = try fields.optionalInt("status", in: 0...10) { filter.status = OrderStatus(rawValue: Int(status)) }
        if fields.has("plateNo") { filter.plate = try Decode.plate(fields) }
        let reveals = try reveals(request, fields)
        let pageSize = try fields.optionalInt("pageSize", in: 1...100)
        let limit = Int(try fields.optionalInt("limit", in: 1...100) ?? pageSize ?? 50)
        if let cursor = try fields.optionalString("cursor", max: 20) {
            guard let serial = Decode.cursor(cursor) else { throw WireError("illegalValue", "cursor") }
            filter.beforeSerial = serial
        }
        let page = try fields.optionalInt("page", in: 1...1_000_000) ?? 1
        filter.skip = limit * (Int(page) - 1)
        filter.limit = limit + 1
        let asked = filter
        let work: @Sendable () -> Void = { [self] in
            fromDisk(completion) { [store] () throws(StoreError) in
                let orders = try store.orders(asked)
                let shown = orders.prefix(limit)
                return Answer(
                    data: .compact([
                        ("orders", .array(shown.map { Encode.order($0, revealsPlate: reveals) })),
                        ("nextCursor", orders.count > limit ? .string(String(shown.last?.serial ?? 0)) : .null),
                        ("hasMore", .bool(orders.count > limit)),
                    ]))
            }
        }
        // To ask for a plate is to know it: that goes on record too.
        isOperator && (reveals || filter.plate != nil) ? looked(request, now: clock(), completion, work) : work()
    }
}
