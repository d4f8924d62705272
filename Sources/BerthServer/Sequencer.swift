import BerthCore
import BerthStore
import BerthWire
import CBerthPosix
import Foundation
import Logging
import Metrics
import NIOConcurrencyHelpers
import NIOPosix
import Synchronization

/// The one writer. Decides in the order of arrival, in memory, without waiting; makes everything durable in groups over all
/// lots; answers only then.
///
/// While one transaction is being written, the next collects everything that arrives. A reader of a lot that has undurable
/// changes waits for them, so nobody ever sees what could still be lost.
final class Sequencer: Sendable {
    typealias Completion = @Sendable (Answer) -> Void

    private struct Pending: Sendable {
        var commit: Commit?
        var answer: Answer
        var completion: Completion
    }

    private struct State: Sendable {
        var city: City
        var pending: [Pending] = []
        /// Number of the last commit decided, and of the last one durable.
        var decided: UInt64 = 0
        var durable: UInt64 = 0
        /// Number of the last commit that touched a lot, while it is not durable.
        var touched: [String: UInt64] = [:]
        /// Log entries of a lot that are decided and not durable.
        var logBacklog: [String: Int] = [:]
        /// Kept replies that are not durable yet, by the digest of their key.
        var freshReplies: [Int64: KeptReply] = [:]
        var isStopped = false
        /// Answers that need no waiting; given as soon as the lock is free, since who is answered may ask again.
        var immediate: [(Completion, Answer)] = []
        /// Decided under this lock and not yet made ready for the store.
        var unprepared: [Commit] = []
        /// The committer had nothing to do, and now has.
        var wakesCommitter = false
    }

    let store: any Store
    /// A plain lock, held for microseconds; nothing waits for anything while it holds it.
    private let state: NIOLockedValueBox<State>
    private let hasWork = DispatchSemaphore(value: 0)
    private let policy: Policy
    private let newEpoch: String
    private let reviewsLots: Bool
    private let clock: @Sendable () -> Millis
    private let logger: Logger
    /// Told what has just become durable, in order, while the committer goes on. References: a closure that is read out of a
    /// generic box is wrapped once more at every reading.
    private let listeners: Mutex<[any DurableListener]> = Mutex([])
    private let durableQueue = DispatchQueue(label: "berth.durable")
    private let commitTimer = Metrics.Timer(label: "berth_commit_duration")

    init(
        store: any Store, image: CityImage, policy: Policy, newEpoch: String, reviewsLots: Bool = false,
        clock: @escaping @Sendable () -> Millis, logger: Logger
    ) {
        self.store = store
        self.policy = policy
        self.newEpoch = newEpoch
        self.reviewsLots = reviewsLots
        self.clock = clock
        self.logger = logger
        let city = image.city(policy: policy, newEpoch: newEpoch, reviewsLots: reviewsLots, now: clock())
        state = NIOLockedValueBox(State(city: city))
    }

    func start(_ listeners: [any DurableListener]) {
        self.listeners.withLock { $0 = listeners }
        Thread { [self] in
            berth_name_thread("commit")
            // Everybody waits for this thread, and it needs little: where the system lets it, it goes first.
            _ = berth_put_thread_first()
            commitLoop()
        }.start()
    }

    /// Stops after everything decided so far is durable.
    func stop() {
        state.withLockedValue { $0.isStopped = true }
        hasWork.signal()
    }

    private func locked(_ body: (inout State) -> Void) { follow(decide(body)) }

    /// What is left to do when the lock is free again.
    private struct Rest {
        var immediate: [(Completion, Answer)] = []
        var unprepared: [Commit] = []
        var wakesCommitter = false
    }

    private func decide(_ body: (inout State) -> Void) -> Rest {
        state.withLockedValue { state in
            body(&state)
            var rest = Rest()
            swap(&rest.immediate, &state.immediate)
            swap(&rest.unprepared, &state.unprepared)
            swap(&rest.wakesCommitter, &state.wakesCommitter)
            return rest
        }
    }

    private func follow(_ rest: Rest) {
        // The committer is the narrow place: what can be done before it is done here, on as many threads as there are.
        for commit in rest.unprepared { store.prepare(commit) }
        if rest.wakesCommitter { hasWork.signal() }
        for (completion, answer) in rest.immediate { completion(answer) }
    }

    /// Requests on their way to a decision, by the network thread that they came on.
    private typealias Queue = NIOLockedValueBox<[@Sendable (inout State) -> Void]>
    private let queues = Dictionary(
        uniqueKeysWithValues: MultiThreadedEventLoopGroup.singleton.makeIterator().map { (ObjectIdentifier($0), Queue([])) })

    /// Decides soon. What a network thread has read in one go is decided in one go: the city is looked at while it is near, and nobody has
    /// to wait for the lock for each request.
    private func submit(_ work: @escaping @Sendable (inout State) -> Void) {
        guard let loop = MultiThreadedEventLoopGroup.currentEventLoop, let queue = queues[ObjectIdentifier(loop)] else {
            return locked(work)
        }
        let isFirst = queue.withLockedValue { queue in
            queue.append(work)
            return queue.count == 1
        }
        guard isFirst else { return }
        loop.execute { [self] in
            let all = queue.withLockedValue { queue in
                var all: [@Sendable (inout State) -> Void] = []
                swap(&all, &queue)
                return all
            }
            locked { state in for work in all { work(&state) } }
        }
    }

    private static func fresh(_ state: State, _ key: Int64, _ envelope: Envelope) -> KeptReply? {
        guard let reply = state.freshReplies[key], reply.appId == envelope.appId, reply.requestId == envelope.requestId else { return nil }
        return reply
    }

    private static func answer(_ decision: Decision, _ city: City) -> Answer {
        guard case .order(let order, _) = decision.outcome, order.status == .waitlisted else { return Encode.answer(decision) }
        return Encode.answer(decision, waitPosition: city.position(of: order))
    }

    // MARK: Plain requests

    /// A request whose final result is kept by requestId (section 3).
    /// - Parameters:
    ///   - command: already decoded; a decoding error is a final result too.
    ///   - answering: the answer to a command that is accepted, where the rules do not make it.
    ///   - adapting: adds to an answer what other parts of the city say.
    func kept(
        _ request: Authentic, command: Result<Command, WireError>, answering: Answer? = nil,
        adapting: (@Sendable (Answer, City) -> Answer)? = nil, now: Millis, completion: @escaping Completion
    ) {
        let envelope = request.envelope
        let key = KeptReply.key(envelope.appId, envelope.requestId)
        let dataHash = request.dataHash
        submit { [self] state in
            // A new request is new without asking the disk: the store has the digests of all keys in memory.
            if let known = Sequencer.fresh(state, key, envelope)
                ?? store.reply(key: key, appId: envelope.appId, requestId: envelope.requestId)
            {
                var answer: Answer
                if known.service == envelope.service, known.dataHash == dataHash {
                    answer = Answer(code: known.code, canonical: known.data)
                    answer.duplicate = true
                } else {
                    answer = Answer(WireError("keyReused", "this requestId came with other content before"))
                }
                // Not before the first one is durable.
                enqueue(&state, Pending(commit: nil, answer: answer, completion: completion))
                return
            }
            guard state.pending.count < Limits.backlogMax else {
                return answerNow(&state, Answer(WireError("tooManyInFlight", data: ["retryAfterMs": 100])), completion)
            }
            var answer: Answer
            var events: [Event] = []
            var showsOrder = false
            switch command {
            case .failure(let error): answer = Answer(error)
            case .success(let command):
                let decision = state.city.decide(command, at: now, history: store)
                events = decision.events
                answer = Sequencer.answer(decision, state.city)
                showsOrder = adapting == nil && answering == nil && decision.showsItsOrder
                if let adapting { answer = adapting(answer, state.city) }
                if answer.code == 0, let answering { answer = answering }
            }
            var reply: KeptReply?
            if answer.resultCode.isKept {
                reply = KeptReply(
                    appId: envelope.appId, requestId: envelope.requestId, nonce: envelope.nonce,
                    service: envelope.service, dataHash: dataHash, code: answer.code, data: answer.canonical, at: now,
                    showsOrder: showsOrder, key: key)
                state.freshReplies[key] = reply
            }
            let audit = request.credential.role == .operator ? Audit.write(request, code: answer.code, now: now) : nil
            let commit = Commit(at: now, events: events, reply: reply, audit: audit)
            enqueue(&state, Pending(commit: commit, answer: answer, completion: completion))
        }
    }

    /// A command of the server itself: a deadline, a lot's answer, an operator's setting.
    func perform(
        _ command: Command, audit: AuditRecord? = nil, now: Millis, completion: @escaping Completion = { _ in }
    ) {
        locked { state in
            let decision = state.city.decide(command, at: now, history: store)
            let answer = Sequencer.answer(decision, state.city)
            guard !decision.events.isEmpty || audit != nil else {
                // Nothing changed; but what was looked at may not be durable yet.
                return state.decided == state.durable
                    ? answerNow(&state, answer, completion) : enqueue(&state, Pending(commit: nil, answer: answer, completion: completion))
            }
            enqueue(
                &state,
                Pending(
                    commit: Commit(at: now, events: decision.events, audit: audit), answer: answer, completion: completion))
        }
    }

    /// Puts a look or a deed on record before it happens; the answer is given, or made, when the record is durable.
    func record(_ audit: AuditRecord, answer: Answer = Answer(), completion: @escaping Completion) {
        locked { state in
            enqueue(
                &state, Pending(commit: Commit(at: audit.at, events: [], audit: audit), answer: answer, completion: completion))
        }
    }

    // MARK: Up logs

    /// One decoded entry of an up log.
    struct LogEntry: Sendable {
        var epoch: String
        var seq: Int64
        var requestId: String
        var service: String
        var data: JSONObject
        var command: Result<Command, WireError>
    }

    /// A single entry: answered with its own result.
    func entry(_ parkCode: String, _ entry: LogEntry, now: Millis, completion: @escaping Completion) {
        locked { state in
            guard let position = state.city.lots[parkCode]?.up else {
                return answerNow(&state, Answer(WireError("lotNotRegistered")), completion)
            }
            guard state.logBacklog[parkCode, default: 0] < Limits.logBacklogPerLotMax else {
                return answerNow(&state, Answer(WireError("tooManyInFlight", data: ["retryAfterMs": 200])), completion)
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
                    Pending(commit: nil, answer: Answer()) { _ in
                        completion(Sequencer.repeated(store, parkCode, entry, ackSeq: ackSeq))
                    })
                return
            }
            let (commit, answer) = consume(&state, parkCode, entry, now: now)
            state.logBacklog[parkCode, default: 0] += 1
            enqueue(&state, Pending(commit: commit, answer: answer, completion: completion))
        }
    }

    /// A batch (section 5.8): consumed in order up to its end or its first gap.
    func batch(_ parkCode: String, _ entries: [LogEntry], now: Millis, completion: @escaping Completion) {
        locked { state in
            guard let position = state.city.lots[parkCode]?.up else {
                return answerNow(&state, Answer(WireError("lotNotRegistered")), completion)
            }
            guard let first = entries.first else {
                let answer = Answer(
                    data: [
                        "epoch": .string(position.epoch ?? ""), "ackSeq": .int(position.ackSeq), "failed": [],
                    ], epoch: position.epoch, ackSeq: position.ackSeq)
                return enqueue(&state, Pending(commit: nil, answer: answer, completion: completion))
            }
            var events: [Event] = []
            var up: [UpResult] = []
            var failed: [JSON] = []
            var answer: Answer?
            for entry in entries {
                let position = state.city.lots[parkCode]!.up
                if let refusal = refusePosition(position, epoch: entry.epoch, seq: entry.seq) {
                    answer = refusal
                    break
                }
                if position.admit(epoch: entry.epoch, seq: entry.seq) == .duplicate { continue }
                let (one, result) = consume(&state, parkCode, entry, now: now)
                events += one.events
                up += one.up
                if result.code != 0 {
                    failed.append([
                        "seq": .int(entry.seq), "code": .int(result.code), "message": .string(result.resultCode.zh),
                    ])
                }
            }
            let ackSeq = state.city.lots[parkCode]!.up.ackSeq
            if answer == nil {
                answer = Answer(
                    code: failed.isEmpty ? 0 : Profile.current.code("batchPartlyFailed").code,
                    data: ["epoch": .string(first.epoch), "ackSeq": .int(ackSeq), "failed": .array(failed)],
                    epoch: first.epoch, ackSeq: ackSeq)
            } else if case .object(var data) = answer!.data, !failed.isEmpty {
                data["failed"] = .array(failed)
                answer!.data = .object(data)
            }
            let commit = events.isEmpty ? nil : Commit(at: now, events: events, up: up)
            enqueue(&state, Pending(commit: commit, answer: answer!, completion: completion))
        }
    }

    /// 610 or 613, or nil when the entry is the next one or a repeat.
    private func refusePosition(_ up: LogPosition, epoch: String, seq: Int64) -> Answer? {
        switch up.admit(epoch: epoch, seq: seq) {
        case .next, .duplicate: return nil
        case .gap(let expected):
            var answer = Answer(
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
            var answer = Answer(
                WireError(
                    "epochClosed", data: ["epoch": .string(up.epoch ?? ""), "ackSeq": .int(up.ackSeq)]))
            answer.epoch = up.epoch
            answer.ackSeq = up.ackSeq
            return answer
        }
    }

    private func consume(_ state: inout State, _ parkCode: String, _ entry: LogEntry, now: Millis) -> (Commit, Answer) {
        var answer: Answer
        var events: [Event] = []
        switch entry.command {
        case .failure(let error): answer = Answer(error)
        case .success(let command):
            let decision = state.city.decide(command, at: now, history: store)
            events = decision.events
            answer = Sequencer.answer(decision, state.city)
        }
        events.append(state.city.consume(parkCode, epoch: entry.epoch, seq: entry.seq))
        if answer.code != 0 {
            events.append(
                .notice(
                    Notice(
                        parkCode: parkCode, eventType: 6090, occurredAt: now,
                        detail: "seq \(entry.seq) code \(answer.code)")))
        }
        let up = UpResult(
            parkCode: parkCode, epoch: entry.epoch, seq: entry.seq, requestId: entry.requestId, service: entry.service,
            code: answer.code, reply: answer.data.string, data: JSON.object(entry.data).string, at: now)
        answer.epoch = entry.epoch
        answer.ackSeq = entry.seq
        return (Commit(at: now, events: events, up: [up]), answer)
    }

    private static func repeated(_ store: any Store, _ parkCode: String, _ entry: LogEntry, ackSeq: Int64) -> Answer {
        guard let known = store.up(parkCode: parkCode, epoch: entry.epoch, seq: entry.seq) else {
            return Answer(WireError("dependencyUnavailable"))
        }
        var answer = Answer(code: known.code, data: (try? JSON.parse(Array(known.reply.utf8))) ?? [:])
        answer.duplicate = true
        answer.epoch = entry.epoch
        answer.ackSeq = ackSeq
        return answer
    }

    // MARK: Reading

    /// Reads the city as it is decided, and answers when all that was read is durable.
    func read(_ parkCode: String?, _ body: (inout City) -> Answer, completion: @escaping Completion) {
        locked { state in
            let answer = body(&state.city)
            let isDurable = parkCode.map { state.touched[$0] == nil } ?? (state.decided == state.durable)
            if isDurable { return answerNow(&state, answer, completion) }
            enqueue(&state, Pending(commit: nil, answer: answer, completion: completion))
        }
    }

    /// Looks at the city without waiting: for hints, pages and measurements only.
    func peek<Value: Sendable>(_ body: (inout City) -> Value) -> Value { state.withLockedValue { body(&$0.city) } }

    func read(_ parkCode: String?, _ body: (inout City) -> Answer) async -> Answer {
        await withCheckedContinuation { continuation in
            read(parkCode, body) { continuation.resume(returning: $0) }
        }
    }

    // MARK: Committing

    private func answerNow(_ state: inout State, _ answer: Answer, _ completion: @escaping Completion) {
        state.immediate.append((completion, answer))
    }

    private func enqueue(_ state: inout State, _ pending: consuming Pending) {
        if let commit = pending.commit {
            state.decided += 1
            for parkCode in commit.parkCodes { state.touched[parkCode] = state.decided }
            state.unprepared.append(commit)
        } else if state.decided == state.durable, state.pending.isEmpty {
            state.immediate.append((pending.completion, pending.answer))
            return
        }
        state.pending.append(pending)
        if state.pending.count == 1 { state.wakesCommitter = true }
    }

    private func commitLoop() {
        while true {
            hasWork.wait()
            while true {
                let (batch, isStopped) = state.withLockedValue { state in
                    guard state.pending.count > Limits.batchMax else {
                        var batch: [Pending] = []
                        swap(&batch, &state.pending)
                        return (batch, state.isStopped)
                    }
                    let batch = Array(state.pending.prefix(Limits.batchMax))
                    state.pending.removeFirst(batch.count)
                    return (batch, state.isStopped)
                }
                if batch.isEmpty {
                    if isStopped { return }
                    break
                }
                write(batch)
            }
        }
    }

    private func write(_ batch: [Pending]) {
        let commits = batch.compactMap(\.commit)
        let start = DispatchTime.now().uptimeNanoseconds
        do {
            let journalId = commits.isEmpty ? 0 : try store.commit(commits)
            commitTimer.recordNanoseconds(Int64(DispatchTime.now().uptimeNanoseconds - start))
            // Answers do not wait for the lock; but who is told that a log entry is taken may send the next one at once, and must find room.
            let hasLog = commits.contains { !$0.up.isEmpty }
            if !hasLog { for pending in batch { pending.completion(pending.answer) } }
            state.withLockedValue { state in
                state.durable += UInt64(commits.count)
                let durable = state.durable
                if durable == state.decided {
                    state.touched.removeAll(keepingCapacity: true)
                } else {
                    for commit in commits {
                        for lot in commit.parkCodes where state.touched[lot].map({ $0 <= durable }) == true {
                            state.touched[lot] = nil
                        }
                    }
                }
                for commit in commits {
                    if let reply = commit.reply { state.freshReplies[reply.key] = nil }
                    if let up = commit.up.first, commit.up.count == 1 {
                        let left = state.logBacklog[up.parkCode, default: 1] - 1
                        state.logBacklog[up.parkCode] = left > 0 ? left : nil
                    }
                }
            }
            if hasLog { for pending in batch { pending.completion(pending.answer) } }
            if !commits.isEmpty {
                durableQueue.async { [self] in
                    let durable = Durable(events: commits.flatMap(\.events), at: clock(), journalId: journalId)
                    for listener in listeners.withLock({ $0 }) { listener.committed(durable) }
                }
            }
        } catch {
            recover(from: error, batch)
        }
    }

    /// Nothing of the batch was written. What was decided on top of it is void too: everybody is told to come again, and the
    /// city is read back from the store.
    private func recover(from error: StoreError, _ batch: [Pending]) {
        logger.error("the store refused a commit", metadata: ["error": "\(error)", "messages": "\(batch.count)"])
        let refused = Answer(WireError("dependencyUnavailable", "\(error)"))
        let void = state.withLockedValue { state in
            let void = batch + state.pending
            state.pending.removeAll()
            state.decided = state.durable
            state.touched.removeAll()
            state.logBacklog.removeAll()
            state.freshReplies.removeAll()
            if let image = try? store.load(noncesSince: .max) {
                // What no message said, but the evidence of the present, is carried over.
                let passed = state.city.lots.mapValues(\.passedThrough)
                state.city = image.city(policy: policy, newEpoch: newEpoch, reviewsLots: reviewsLots, now: clock())
                for (parkCode, time) in passed { state.city.notePassed(parkCode, through: time) }
            }
            return void
        }
        // Answers that only waited for others may rest on what is void now.
        for pending in void { pending.completion(refused) }
    }
}

extension Decision {
    /// The answer is the order as its only event has it.
    fileprivate var showsItsOrder: Bool {
        guard case .order(let order, isRepeat: false) = outcome, order.status != .waitlisted, alternatives.isEmpty else { return false }
        let orders = events.lazy.compactMap { if case .order(let order) = $0 { order.orderNo } else { nil } }
        return Array(orders) == [order.orderNo]
    }
}

/// A group of commits that has just become durable.
struct Durable: Sendable {
    var events: [Event]
    var at: Millis
    /// Number of the last entry of the journal; 0 when none was made.
    var journalId: Int64
}

/// Hears what became durable, in order.
protocol DurableListener: AnyObject, Sendable {
    func committed(_ durable: Durable)
}
