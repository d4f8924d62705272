import BerthCore
import BerthStore
import BerthWire

// Both logs: where they stand, batches, long polls, acknowledgements, snapshots, dead letters and events (section 5).
extension Pipeline {
    func cursor(
        _ fields: FieldReader, _ parkCode: String, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let asked = try fields.optionalString("epoch", max: 16)
        // It knows how to go on after a break: annex A.
        if sequencer.readUndurable({ ($0.lots[parkCode]?.downAck ?? 0) > 0 }) {
            onboarding.note(parkCode, "resume", "sync.cursor.query", now: clock())
        }
        sequencer.read(
            parkCode,
            { city in
                guard let lot = city.lots[parkCode] else { return Reply(WireError("lotNotRegistered")) }
                let epoch = asked ?? lot.up.epoch ?? ""
                return Reply(data: [
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

    func batch(
        _ fields: FieldReader, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        guard fields.has("entries") else { throw fields.missing("entries") }
        guard case .array(let rows)? = fields.object["entries"] else { throw fields.illegal("entries", "an array") }
        guard rows.count <= WireLimits.batchEntriesMax else { throw WireError("tooLarge", "over 500 entries") }
        var entries: [Sequencer.LogEntry] = []
        entries.reserveCapacity(rows.count)
        for (index, row) in rows.enumerated() {
            // Only a place in the log that cannot be read refuses the batch; every other fault is that entry's own (section 6, "Settled" c).
            guard let object = row.objectValue else { throw WireError("illegalValue", "entries[\(index)]: not an object") }
            let row = FieldReader(object, path: "entries[\(index)].")
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

    /// `sync.dead.list`: the entries that were refused in a lot's up log and that nothing has made good.
    func deadLetters(
        _ request: VerifiedRequest, _ fields: FieldReader, _ parkCode: String, completion: @escaping Sequencer.Completion
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
                    let code = Dialect.current.codes[row.code]
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
                return Reply(
                    data: .compact([
                        ("entries", .array(shown)), ("hasMore", .bool(hasMore)),
                        ("nextCursor", hasMore ? .string(DeadLetterPlace(rows[shown.count - 1]).text) : .null),
                    ]))
            }
        }
        isShown ? looked(request, now: clock(), completion, work) : work()
    }

    /// `event.list`: the events at lots, and at the server itself, newest first.
    func events(_ request: VerifiedRequest, _ fields: FieldReader, completion: @escaping Sequencer.Completion) throws(WireError) {
        var filter = LotEventFilter()
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
            return Reply(
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
    static func answer(_ body: () throws(WireError) -> Reply) -> Reply {
        do throws(WireError) { return try body() } catch { return Reply(error) }
    }

    func pull(
        _ fields: FieldReader, _ parkCode: String, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let asked = try fields.optionalString("epoch", max: 16)
        let after = try fields.int("afterSeq", in: 0...(1 << 53))
        let limit = Int(try fields.optionalInt("limit", in: 1...Int64(WireLimits.batchEntriesMax)) ?? 100)
        let wait = try fields.optionalInt("waitMs", in: 0...WireLimits.waitMillisMax) ?? 0
        sequencer.read(
            parkCode,
            { city in
                guard let lot = city.lots[parkCode] else { return Reply(WireError("lotNotRegistered")) }
                let open = lot.downEpoch ?? ""
                if let asked, !asked.isEmpty, asked != open {
                    return Reply(WireError("epochClosed", data: ["epoch": .string(open)]))
                }
                return Reply(data: ["epoch": .string(open), "lastSeq": .int(lot.downLast)])
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
                    let epoch = sequencer.readUndurable { $0.lots[parkCode]?.downEpoch ?? "" }
                    Blocking.run { [self] in completion(pulled(parkCode, epoch, after: after, limit: limit)) }
                }
                guard isWaiting else {
                    return completion(Reply(WireError("tooManyInFlight", "too many wait for this lot", data: ["retryAfterMs": 1000])))
                }
                // An entry may have become durable between the look and the wait.
                let now = sequencer.readUndurable { $0.lots[parkCode]?.downEpoch ?? "" }
                if pulled(parkCode, now, after: after, limit: 1, isSent: false).data["entries"]?.arrayValue?.isEmpty == false {
                    deliverer.wake(parkCode)
                }
            }
        }
    }

    /// - Parameter isSent: whether the reply goes to the lot, or somebody only looks.
    func pulled(_ parkCode: String, _ epoch: String, after: Int64, limit: Int, isSent: Bool = true) -> Reply {
        let rows: [DownRow]
        do throws(StoreError) {
            rows = epoch.isEmpty ? [] : try store.down(parkCode: parkCode, epoch: epoch, after: after, limit: limit + 1)
        } catch { return Reply(WireError("dependencyUnavailable", error.reason)) }
        // A lot that is further behind than the kept entries goes on from a snapshot; perhaps no entry is kept at all.
        let oldest = rows.first?.seq ?? sequencer.readUndurable { $0.lots[parkCode]?.downAck ?? 0 } + 1
        if !epoch.isEmpty, oldest > after + 1 {
            return Reply(
                WireError("sequenceGap", data: ["expectedSeq": .int(oldest), "snapshot": true, "epoch": .string(epoch)]))
        }
        let entries = rows.prefix(limit).map { row -> JSON in
            if isSent { trail.sent(row, to: parkCode, over: "pull") }
            return [
                "epoch": .string(epoch), "seq": .int(row.seq),
                "requestId": .string(Encode.downRequestId(parkCode: parkCode, epoch: epoch, seq: row.seq, at: row.at)),
                "service": .string(row.service), "timestamp": .int(row.at),
                "data": (try? JSON.parse(Array(row.data.utf8))) ?? [:],
            ]
        }
        return Reply(
            data: ["epoch": .string(epoch), "entries": .array(entries), "hasMore": .bool(rows.count > limit)])
    }

    func acknowledge(
        _ fields: FieldReader, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let epoch = try fields.string("epoch", max: 16)
        let ackSeq = try fields.int("ackSeq", in: 0...(1 << 53))
        var results: [DownResult] = []
        for row in try fields.optionalObjects("results", max: 10_000) ?? [] {
            let code = Int(try row.int("code", in: 0...9999))
            let seq = try row.int("seq", in: 1...(1 << 53))
            guard Dialect.current.codes[code]?.isFinal ?? true, seq <= ackSeq else { continue }
            results.append(
                DownResult(seq: seq, isAccepted: Decode.downAccepted(code: code, data: row.object["data"] ?? .null)))
        }
        let position = sequencer.readUndurable { ($0.lots[parkCode]?.downEpoch, $0.lots[parkCode]?.downLast ?? 0) }
        guard epoch == position.0 else {
            throw WireError("epochClosed", data: ["epoch": .string(position.0 ?? "")])
        }
        guard ackSeq <= position.1 else { throw WireError("illegalValue", "ackSeq: beyond the last entry") }
        presence.heard(parkCode)
        deliverer.acknowledged(parkCode, through: ackSeq)
        sequencer.perform(
            .settle(parkCode: parkCode, epoch: epoch, ackSeq: ackSeq, results, assumesRest: true), now: now
        ) { [sequencer] answer in
            // The answer says where the log stands; an older acknowledgement takes nothing back.
            let stands = sequencer.readUndurable { max(ackSeq, $0.lots[parkCode]?.downAck ?? 0) }
            completion(answer.code == 0 ? Reply(data: ["epoch": .string(epoch), "ackSeq": .int(stands)]) : answer)
        }
    }
}
