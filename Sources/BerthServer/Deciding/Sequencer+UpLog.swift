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

    /// One message with entries of a lot's log: a single entry or a batch.
    struct LogMessage: Sendable {
        var parkCode: String
        var entries: [LogEntry]
        var isBatch: Bool
        var now: Millis
        var completion: Completion
        var prefetched: Prefetched
    }

    /// A single entry: answered with its own result.
    func entry(_ parkCode: String, _ entry: LogEntry, now: Millis, completion: @escaping Completion) {
        arrive(
            LogMessage(
                parkCode: parkCode, entries: [entry], isBatch: false, now: now, completion: completion,
                prefetched: Prefetched(unknownPast)))
    }

    /// A batch (section 5.8): consumed in order up to its end or its first gap.
    func batch(_ parkCode: String, _ entries: [LogEntry], now: Millis, completion: @escaping Completion) {
        arrive(
            LogMessage(
                parkCode: parkCode, entries: entries, isBatch: true, now: now, completion: completion,
                prefetched: Prefetched(unknownPast)))
    }

    private func arrive(_ message: LogMessage) {
        locked { state in
            guard let behind = state.behind[message.parkCode]?.count else { return take(&state, message) }
            // A message of the same log waits for the disk: the order of arrival is kept.
            guard behind + state.logBacklog[message.parkCode, default: 0] < Limits.logBacklogPerLotMax else {
                return answerNow(&state, Reply(WireError("tooManyInFlight", data: ["retryAfterMs": 200])), message.completion)
            }
            state.behind[message.parkCode]!.append(message)
        }
    }

    /// Takes a message, or reads what its decision needs of the past and takes it then, before those behind it.
    private func take(_ state: inout State, _ message: LogMessage) {
        var message = message
        message.prefetched = current(message.prefetched, state)
        let (keys, records) = lacks(state, message)
        guard !keys.isEmpty || !records.isEmpty else {
            return message.isBatch ? takeBatch(&state, message) : takeEntry(&state, message)
        }
        let lot = message.parkCode
        state.behind[lot] = []
        let waiting = message
        fetch(&state, keys, dead: (lot, records), into: message.prefetched) { [self] result in
            locked { state in
                let behind = state.behind.removeValue(forKey: lot) ?? []
                switch result {
                case .success(let read):
                    var message = waiting
                    message.prefetched = read
                    take(&state, message)
                case .failure(let error):
                    answerNow(&state, Reply(WireError("dependencyUnavailable", error.reason)), waiting.completion)
                }
                for message in behind {
                    if state.behind[lot] == nil { take(&state, message) } else { state.behind[lot]!.append(message) }
                }
            }
        }
    }

    /// The things that memory lacks for the entries of a message that are new, and the records whose dead letters are wanted.
    private func lacks(_ state: State, _ message: LogMessage) -> (keys: [Past.Key], records: [String]) {
        guard let position = state.city.lots[message.parkCode]?.up, state.halt == nil else { return ([], []) }
        var (keys, records) = ([Past.Key](), [String]())
        let past = message.prefetched.past
        for entry in message.entries {
            switch position.admit(epoch: entry.epoch, seq: entry.seq) {
            case .next: break
            case .gap where message.isBatch: break
            default: continue
            }
            guard case .success(let command) = entry.command else { continue }
            keys += state.city.lacks(command, past)
            guard case .correct(_, let recordNo, let correction) = command, state.deadCounts[message.parkCode, default: 0] > 0 else {
                continue
            }
            switch deadLetter(state, message, recordNo) {
            case .none: records.append(recordNo)
            case .some(let dead?):
                // The dead letter may be taken as corrected; that decision asks for things of its own.
                if let mended = try? Sequencer.mended(dead, entry, correction, now: message.now) { keys += state.city.lacks(mended, past) }
            case .some(nil): break
            }
        }
        return (keys, records)
    }

    private func takeEntry(_ state: inout State, _ message: LogMessage) {
        let (parkCode, entry, completion) = (message.parkCode, message.entries[0], message.completion)
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
        if let stopped = Sequencer.stopped(state, parkCode) { return answerNow(&state, stopped, completion) }
        if state.deadCounts[parkCode, default: 0] >= Limits.deadLettersMax, !Sequencer.mends(entry) {
            return answerNow(
                &state, Reply(WireError("logFrozen", "\(Limits.deadLettersMax) dead letters wait to be mended")), completion)
        }
        guard let (commit, answer) = consume(&state, message, entry) else {
            return answerNow(&state, Sequencer.refused(state), completion)
        }
        state.logBacklog[parkCode, default: 0] += 1
        enqueue(&state, Pending(commit: commit, answer: answer, completion: completion))
    }

    private func takeBatch(_ state: inout State, _ message: LogMessage) {
        let (parkCode, completion) = (message.parkCode, message.completion)
        guard let position = state.city.lots[parkCode]?.up else {
            return answerNow(&state, Reply(WireError("lotNotRegistered")), completion)
        }
        guard let first = message.entries.first else {
            let answer = Reply(
                data: [
                    "epoch": .string(position.epoch ?? ""), "ackSeq": .int(position.ackSeq), "failed": [],
                ], epoch: position.epoch, ackSeq: position.ackSeq)
            return enqueue(&state, Pending(commit: nil, answer: answer, completion: completion))
        }
        guard state.halt == nil else { return answerNow(&state, Sequencer.refused(state), completion) }
        if let stopped = Sequencer.stopped(state, parkCode) { return answerNow(&state, stopped, completion) }
        var events: [Event] = []
        var up: [UpResult] = []
        var mended: [UpResult] = []
        var failed: [JSON] = []
        var answer: Reply?
        for entry in message.entries {
            guard let position = state.city.lots[parkCode]?.up else { break }
            if let refusal = refusePosition(position, epoch: entry.epoch, seq: entry.seq) {
                answer = refusal
                break
            }
            if position.admit(epoch: entry.epoch, seq: entry.seq) == .duplicate { continue }
            if state.deadCounts[parkCode, default: 0] >= Limits.deadLettersMax, !Sequencer.mends(entry) {
                answer = Reply(WireError("logFrozen", "\(Limits.deadLettersMax) dead letters wait to be mended"))
                break
            }
            guard let (one, result) = consume(&state, message, entry) else {
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
        let commit = events.isEmpty ? nil : Commit(at: message.now, events: events, up: up, mended: mended)
        let ackSeq = state.city.lots[parkCode]?.up.ackSeq ?? 0
        enqueue(
            &state,
            Pending(
                commit: commit, answer: Sequencer.answer(toBatch: first.epoch, ackSeq: ackSeq, failed: failed, stoppedBy: answer),
                completion: completion))
    }

    private static func answer(toBatch epoch: String, ackSeq: Int64, failed: [JSON], stoppedBy refusal: Reply?) -> Reply {
        guard var answer = refusal else {
            return Reply(
                code: failed.isEmpty ? 0 : Dialect.current.code("batchPartlyFailed").code,
                data: ["epoch": .string(epoch), "ackSeq": .int(ackSeq), "failed": .array(failed)], epoch: epoch, ackSeq: ackSeq)
        }
        if case .object(var data) = answer.data, !failed.isEmpty {
            data["failed"] = .array(failed)
            answer.data = .object(data)
        }
        return answer
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

    /// 503: the entries of a lot that is stopped wait in its log.
    private static func stopped(_ state: State, _ parkCode: String) -> Reply? {
        state.city.lots[parkCode]?.fault.map { Reply(WireError("maintenance", "\(parkCode) is stopped: \($0)")) }
    }

    /// A log whose dead-letter list is full takes what mends it.
    private static func mends(_ entry: LogEntry) -> Bool { entry.service == "vehicle.record.correct" }

    /// The command by which a dead letter is taken after its correction; nil where the correction only takes it from the list.
    private static func mended(
        _ dead: UpResult, _ entry: LogEntry, _ correction: Correction, now: Millis
    ) throws(WireError) -> Command? {
        if case .void = correction { return nil }
        return try Decode.logEntry(service: dead.service, data: Decode.corrected(dead.data, entry.data), parkCode: dead.parkCode, now: now)
    }

    /// - Returns: nil where the decision is void: nothing is consumed.
    private func consume(_ state: inout State, _ message: LogMessage, _ entry: LogEntry) -> (Commit, Reply)? {
        let (parkCode, now, past) = (message.parkCode, message.now, message.prefetched.past)
        var answer: Reply
        var events: [Event] = []
        var mended: [UpResult] = []
        switch entry.command {
        case .failure(let error):
            answer = Reply(error)
            // A record that cannot be taken shows all the same that a car was there (section 5.5).
            if let dispute = Decode.dispute(service: entry.service, data: entry.data, parkCode: parkCode, now: now) {
                guard let decision = decide(dispute, &state, past, now: now, sentAt: entry.sentAt) else { return nil }
                events = decision.events
            }
        case .success(.correct(_, let recordNo, let correction)):
            guard let correction = correct(&state, message, entry, recordNo, correction) else { return nil }
            (answer, events, mended) = correction
        case .success(let command):
            guard let decision = decide(command, &state, past, now: now, sentAt: entry.sentAt) else { return nil }
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

    /// U13: the correction of a record of the city, or of a dead letter, which it mends.
    /// - Returns: nil where a decision is void.
    private func correct(
        _ state: inout State, _ message: LogMessage, _ entry: LogEntry, _ recordNo: String, _ correction: Correction
    ) -> (answer: Reply, events: [Event], mended: [UpResult])? {
        let (parkCode, now, past) = (message.parkCode, message.now, message.prefetched.past)
        let known = Command.correct(parkCode: parkCode, recordNo: recordNo, correction)
        guard let decision = decide(known, &state, past, now: now, sentAt: entry.sentAt) else { return nil }
        let dead = deadLetter(state, message, recordNo) ?? nil
        guard decision.outcome.refusal != nil else {
            if let dead { noteMended(&state, dead) }
            return (Sequencer.answer(decision, state.city), decision.events, dead.map { [$0] } ?? [])
        }
        // It is not in the city's records: it may be a dead letter, which the correction mends.
        guard let dead else { return (Sequencer.answer(decision, state.city), decision.events, []) }
        var command: Command?
        if decision.outcome.refusal == .correctionWhileInside, dead.service == "vehicle.entry.report" {
            // The car is inside, and only its reservation was refused.
            command = .mend(parkCode: parkCode, recordNo: recordNo, correction)
        } else {
            do throws(WireError) { command = try Sequencer.mended(dead, entry, correction, now: now) } catch {
                return (Reply(error), decision.events, [])
            }
        }
        var (answer, events) = (Reply(data: ["recordNo": .string(recordNo)]), [Event]())
        if let command {
            guard let decision = decide(command, &state, past, now: now, sentAt: entry.sentAt) else {
                state.halt?.void.add(decision.events)
                return nil
            }
            (answer, events) = (Sequencer.answer(decision, state.city), decision.events)
        }
        guard answer.code == 0 || answer.data["recordNo"] != nil else { return (answer, events, []) }
        noteMended(&state, dead)
        return (answer, events, [dead])
    }

    private func noteMended(_ state: inout State, _ dead: UpResult) {
        state.freshDead[Sequencer.deadKey(dead.parkCode, dead.recordNo)] = nil
        state.deadCounts[dead.parkCode, default: 1] -= 1
    }

    static func deadKey(_ parkCode: String, _ recordNo: String) -> ByteKey { ByteKey("\(parkCode)|\(recordNo)") }

    /// A dead letter of a record, fresh or read before; nil where it has not been looked for, nil inside where there is none.
    private func deadLetter(_ state: State, _ message: LogMessage, _ recordNo: String) -> UpResult?? {
        guard state.deadCounts[message.parkCode, default: 0] > 0 else { return .some(nil) }
        if let fresh = state.freshDead[Sequencer.deadKey(message.parkCode, recordNo)] { return fresh }
        return message.prefetched.dead[ByteKey(recordNo)]
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
