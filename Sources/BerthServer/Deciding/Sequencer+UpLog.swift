import BerthCore
import BerthStore
import BerthWire

// The reports of lots, in the order of their logs; a refused report can be made good (section 5).
extension Sequencer {
    // MARK: Up logs

    /// One decoded entry of an up log.
    struct LogEntry: Sendable {
        var epoch: String
        var seq: Int64
        var requestId: String
        var service: String
        var data: JSONObject
        var command: Result<Command, WireError>
        /// When it was sent (its own `timestamp`): it is evidence of nothing later.
        var sentAt: Millis = .max
    }

    /// A single entry: answered with its own result.
    func entry(_ parkCode: String, _ entry: LogEntry, now: Millis, completion: @escaping Completion) {
        locked { state in
            guard let position = state.city.lots[parkCode]?.up else {
                return answerNow(&state, Reply(WireError("lotNotRegistered")), completion)
            }
            guard state.logBacklog[parkCode, default: 0] < Limits.logBacklogPerLotMax else {
                return answerNow(&state, Reply(WireError("tooManyInFlight", data: ["retryAfterMs": 200])), completion)
            }
            if let answer = refusePosition(position, epoch: entry.epoch, seq: entry.seq) {
                return enqueue(&state, Pending(commit: nil, answer: answer, completion: completion))
            }
            if position.admit(epoch: entry.epoch, seq: entry.seq) == .duplicate {
                // Its result may still be on its way to the disk: read it when everything decided is durable.
                let store = store
                let ackSeq = position.ackSeq
                enqueue(
                    &state,
                    Pending(commit: nil, answer: Reply()) { _ in
                        Blocking.run { completion(Sequencer.repeated(store, parkCode, entry, ackSeq: ackSeq)) }
                    })
                return
            }
            guard state.halt == nil else { return answerNow(&state, Sequencer.refused(state), completion) }
            if state.deadCounts[parkCode, default: 0] >= Limits.deadLettersMax, !Sequencer.mends(entry) {
                return answerNow(
                    &state, Reply(WireError("logFrozen", "\(Limits.deadLettersMax) dead letters wait to be mended")), completion)
            }
            guard let (commit, answer) = consume(&state, parkCode, entry, now: now) else {
                return answerNow(&state, Sequencer.refused(state), completion)
            }
            state.logBacklog[parkCode, default: 0] += 1
            enqueue(&state, Pending(commit: commit, answer: answer, completion: completion))
        }
    }

    /// A batch (section 5.8): consumed in order up to its end or its first gap.
    func batch(_ parkCode: String, _ entries: [LogEntry], now: Millis, completion: @escaping Completion) {
        locked { state in
            guard let position = state.city.lots[parkCode]?.up else {
                return answerNow(&state, Reply(WireError("lotNotRegistered")), completion)
            }
            guard let first = entries.first else {
                let answer = Reply(
                    data: [
                        "epoch": .string(position.epoch ?? ""), "ackSeq": .int(position.ackSeq), "failed": [],
                    ], epoch: position.epoch, ackSeq: position.ackSeq)
                return enqueue(&state, Pending(commit: nil, answer: answer, completion: completion))
            }
            guard state.halt == nil else { return answerNow(&state, Sequencer.refused(state), completion) }
            var events: [Event] = []
            var up: [UpResult] = []
            var mended: [UpResult] = []
            var failed: [JSON] = []
            var answer: Reply?
            for entry in entries {
                let position = state.city.lots[parkCode]!.up
                if let refusal = refusePosition(position, epoch: entry.epoch, seq: entry.seq) {
                    answer = refusal
                    break
                }
                if position.admit(epoch: entry.epoch, seq: entry.seq) == .duplicate { continue }
                if state.deadCounts[parkCode, default: 0] >= Limits.deadLettersMax, !Sequencer.mends(entry) {
                    answer = Reply(WireError("logFrozen", "\(Limits.deadLettersMax) dead letters wait to be mended"))
                    break
                }
                guard let (one, result) = consume(&state, parkCode, entry, now: now) else {
                    // The entries before it in the batch are void with it: none of them was acknowledged.
                    state.halt?.void.add(events)
                    return answerNow(&state, Sequencer.refused(state), completion)
                }
                events += one.events
                up += one.up
                mended += one.mended
                if result.code != 0 {
                    failed.append([
                        "seq": .int(entry.seq), "code": .int(result.code),
                        "message": .string(result.hint.isEmpty ? result.resultCode.zh : "\(result.resultCode.zh): \(result.hint)"),
                    ])
                }
            }
            let ackSeq = state.city.lots[parkCode]!.up.ackSeq
            if answer == nil {
                answer = Reply(
                    code: failed.isEmpty ? 0 : Dialect.current.code("batchPartlyFailed").code,
                    data: ["epoch": .string(first.epoch), "ackSeq": .int(ackSeq), "failed": .array(failed)],
                    epoch: first.epoch, ackSeq: ackSeq)
            } else if case .object(var data) = answer!.data, !failed.isEmpty {
                data["failed"] = .array(failed)
                answer!.data = .object(data)
            }
            let commit = events.isEmpty ? nil : Commit(at: now, events: events, up: up, mended: mended)
            enqueue(&state, Pending(commit: commit, answer: answer!, completion: completion))
        }
    }

    /// 610 or 613, or nil when the entry is the next one or a repeat.
    private func refusePosition(_ up: LogPosition, epoch: String, seq: Int64) -> Reply? {
        switch up.admit(epoch: epoch, seq: seq) {
        case .next, .duplicate: return nil
        case .gap(let expected):
            var answer = Reply(
                WireError(
                    "sequenceGap",
                    data: [
                        "expectedSeq": .int(expected), "epoch": .string(up.epoch ?? ""),
                        "ackSeq": .int(up.ackSeq),
                    ]))
            answer.epoch = up.epoch ?? ""
            answer.ackSeq = up.ackSeq
            return answer
        case .closed:
            var answer = Reply(
                WireError(
                    "epochClosed", data: ["epoch": .string(up.epoch ?? ""), "ackSeq": .int(up.ackSeq)]))
            answer.epoch = up.epoch
            answer.ackSeq = up.ackSeq
            return answer
        }
    }

    /// A log whose dead-letter list is full takes what mends it.
    private static func mends(_ entry: LogEntry) -> Bool { entry.service == "vehicle.record.correct" }

    /// - Returns: nil where the store could not be read: nothing is consumed.
    private func consume(_ state: inout State, _ parkCode: String, _ entry: LogEntry, now: Millis) -> (Commit, Reply)? {
        var answer: Reply
        var events: [Event] = []
        var mended: [UpResult] = []
        switch entry.command {
        case .failure(let error):
            answer = Reply(error)
            // A record that cannot be taken shows all the same that a car was there (section 5.5).
            if let dispute = Decode.dispute(service: entry.service, data: entry.data, parkCode: parkCode, now: now) {
                guard let decision = decide(dispute, &state, now: now, sentAt: entry.sentAt) else { return nil }
                events = decision.events
            }
        case .success(.correct(_, let recordNo, let correction)):
            let known = Command.correct(parkCode: parkCode, recordNo: recordNo, correction)
            guard let decision = decide(known, &state, now: now, sentAt: entry.sentAt) else { return nil }
            events = decision.events
            answer = Sequencer.answer(decision, state.city)
            guard decision.outcome.refusal != nil else {
                if let dead = try? deadLetter(state, parkCode, recordNo) {
                    mended = [dead]
                    noteMended(&state, dead)
                }
                break
            }
            // It is not in the city's records: it may be a dead letter, which the correction mends.
            do throws(StoreError) {
                guard let dead = try deadLetter(state, parkCode, recordNo) else { break }
                let data = Decode.corrected(dead.data, entry.data)
                var result = Reply()
                if decision.outcome.refusal == .correctionWhileInside, dead.service == "vehicle.entry.report" {
                    // The car stands inside, and only its order was refused.
                    let command = Command.mend(parkCode: parkCode, recordNo: recordNo, correction)
                    guard let decision = decide(command, &state, now: now, sentAt: entry.sentAt) else {
                        state.halt?.void.add(events)
                        return nil
                    }
                    events = decision.events
                    result = Sequencer.answer(decision, state.city)
                } else if case .void = correction {
                    events = []
                    result = Reply(data: ["recordNo": .string(recordNo)])
                } else {
                    switch Pipeline.attempt({ () throws(WireError) in
                        try Decode.logEntry(service: dead.service, data: data, parkCode: parkCode, now: now)
                    }) {
                    case .failure(let error): result = Reply(error)
                    case .success(let command):
                        guard let decision = decide(command, &state, now: now, sentAt: entry.sentAt) else {
                            state.halt?.void.add(events)
                            return nil
                        }
                        events = decision.events
                        result = Sequencer.answer(decision, state.city)
                    }
                }
                answer = result
                if answer.code == 0 || answer.data["recordNo"] != nil {
                    mended = [dead]
                    noteMended(&state, dead)
                }
            } catch {
                halt(&state, error, void: events)
                return nil
            }
        case .success(let command):
            guard let decision = decide(command, &state, now: now, sentAt: entry.sentAt) else { return nil }
            events = decision.events
            answer = Sequencer.answer(decision, state.city)
        }
        events.append(state.city.consume(parkCode, epoch: entry.epoch, seq: entry.seq))
        let recordNo =
            Sequencer.mends(entry) ? "" : entry.data["recordNo"]?.stringValue.flatMap { $0.unicodeScalars.count <= 48 ? $0 : nil } ?? ""
        if answer.code != 0 {
            events.append(
                .notice(
                    LotEvent(
                        parkCode: parkCode, eventType: 6090, occurredAt: now,
                        detail: "seq \(entry.seq) code \(answer.code)")))
        }
        let up = UpResult(
            parkCode: parkCode, epoch: entry.epoch, seq: entry.seq, requestId: entry.requestId, service: entry.service,
            code: answer.code, reply: answer.data.string, data: JSON.object(entry.data).string, at: now, recordNo: recordNo)
        if answer.code != 0 {
            state.deadCounts[parkCode, default: 0] += 1
            if !recordNo.isEmpty { state.freshDead[Sequencer.deadKey(parkCode, recordNo)] = up }
        }
        answer.epoch = entry.epoch
        answer.ackSeq = entry.seq
        return (Commit(at: now, events: events, up: [up], mended: mended), answer)
    }

    private func noteMended(_ state: inout State, _ dead: UpResult) {
        state.freshDead[Sequencer.deadKey(dead.parkCode, dead.recordNo)] = nil
        state.deadCounts[dead.parkCode, default: 1] -= 1
    }

    static func deadKey(_ parkCode: String, _ recordNo: String) -> ByteKey { ByteKey("\(parkCode)|\(recordNo)") }

    private func deadLetter(_ state: State, _ parkCode: String, _ recordNo: String) throws(StoreError) -> UpResult? {
        guard state.deadCounts[parkCode, default: 0] > 0 else { return nil }
        if let fresh = state.freshDead[Sequencer.deadKey(parkCode, recordNo)] { return fresh }
        return try store.deadLetter(parkCode: parkCode, recordNo: recordNo)
    }

    private static func repeated(_ store: any Store, _ parkCode: String, _ entry: LogEntry, ackSeq: Int64) -> Reply {
        let known: UpResult?
        do throws(StoreError) { known = try store.up(parkCode: parkCode, epoch: entry.epoch, seq: entry.seq) } catch {
            return Reply(WireError("dependencyUnavailable", error.reason))
        }
        guard let known else { return Reply(WireError("dependencyUnavailable", "the first answer is not kept any more")) }
        var answer = Reply(code: known.code, data: (try? JSON.parse(Array(known.reply.utf8))) ?? [:])
        answer.duplicate = true
        answer.epoch = entry.epoch
        answer.ackSeq = ackSeq
        return answer
    }
}
