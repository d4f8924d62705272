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
    typealias Completion = @Sendable (Reply) -> Void

    struct Pending: Sendable {
        var commit: Commit?
        var answer: Reply
        var completion: Completion
    }

    struct State: Sendable {
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
        /// Answers that need no waiting; given as soon as the lock is free, since an answered caller may ask again.
        var immediate: [(Completion, Reply)] = []
        /// Decided under this lock and not yet made ready for the store.
        var unprepared: [Commit] = []
        /// The committer had nothing to do, and now has.
        var wakesCommitter = false
        /// Kept answers to be read from the store as soon as the lock is free.
        var lookups: [@Sendable () -> Void] = []
        /// Dead letters that nothing has made good, by lot; and those that are not durable yet, by lot and record.
        var deadCounts: [String: Int] = [:]
        var freshDead: [ByteKey: UpResult] = [:]
        /// The logs whose next message waits for the disk, by lot, with the messages that have come behind it.
        var behind: [String: [LogMessage]] = [:]
        /// How often memory has been swept, and the last commit that was decided before the last sweep.
        var sweeps: UInt64 = 0
        var sweptAt: UInt64 = 0
        /// How many lots are stopped and logged.
        var stoppedLots = 0
        /// Why nothing is decided now: a commit was refused.
        var halt: Halt?
    }

    /// The city in memory holds what was decided in vain until that is undone; until the store takes something again, nothing is decided.
    struct Halt: Sendable {
        var reason: String
        /// The city in memory holds what was decided in vain.
        var isStale = true
        /// The things that were decided in vain.
        var void = Touched()
        /// The store refused a commit: it has to take one before work goes on.
        var refusedCommit: Bool
        var answer: Reply { Reply(WireError("dependencyUnavailable", reason)) }
    }

    let store: any Store
    /// A plain lock, held for microseconds; nothing waits for anything while it holds it.
    let state: NIOLockedValueBox<State>
    let hasWork = DispatchSemaphore(value: 0)
    /// When the commit that the disk works on began, on the monotonic clock, ms; 0 where it works on none.
    let committingSince = Atomic<Int64>(0)
    let policy: Policy
    let newEpoch: String
    let reviewsLots: Bool
    /// Look-ups by the rules of things that `City.lacks` did not name. Not zero is a fault of ours.
    private let unread: UnreadLooks
    /// A past of which nothing is known yet.
    let unknownPast: Past
    let clock: @Sendable () -> Millis
    let logger: Logger
    /// Told what has just become durable, in order, while the committer goes on. References: a closure that is read out of a
    /// generic box is wrapped once more at every reading.
    let listeners: Mutex<[any DurableListener]> = Mutex([])
    let durableQueue = DispatchQueue(label: "berth.durable")
    let commitTimer = Metrics.Timer(label: "berth_commit_duration")

    init(
        store: any Store, image: CityImage, policy: Policy, newEpoch: String, reviewsLots: Bool = false,
        clock: @escaping @Sendable () -> Millis, logger: Logger
    ) {
        self.store = store
        let unread = UnreadLooks()
        self.unread = unread
        unknownPast = Past { unread.count.add(1, ordering: .relaxed) }
        self.policy = policy
        self.newEpoch = newEpoch
        self.reviewsLots = reviewsLots
        self.clock = clock
        self.logger = logger
        let city = image.city(policy: policy, newEpoch: newEpoch, reviewsLots: reviewsLots, now: clock())
        var state = State(city: city)
        for lot in image.lots where lot.marks.deadLetters > 0 { state.deadCounts[lot.parkCode] = lot.marks.deadLetters }
        self.state = NIOLockedValueBox(state)
    }

    /// Why nothing is decided now; nil when all is well.
    var haltReason: String? { state.withLockedValue { $0.halt?.reason } }

    private final class UnreadLooks: Sendable {
        let count = Atomic<Int>(0)
    }

    /// A decision, or nil where a rule asked for what nobody had read: then it is void, and so is the city in memory.
    func decide(_ command: Command, _ state: inout State, _ past: Past, now: Millis, sentAt: Millis = .max) -> Decision? {
        let before = unread.count.load(ordering: .relaxed)
        let decision = state.city.decide(command, at: now, past: past, sentAt: sentAt)
        let faults = state.city.lots.faults
        if faults.count != state.stoppedLots {
            state.stoppedLots = faults.count
            for (parkCode, fault) in faults {
                logger.critical(
                    "a lot is stopped, because its state contradicts itself; a restart reads it back from the store",
                    metadata: ["lot": "\(parkCode)", "why": "\(fault)"])
            }
        }
        guard unread.count.load(ordering: .relaxed) != before else { return decision }
        halt(&state, .unavailable("a rule asked for something of the past that was not read"), void: decision.events)
        return nil
    }

    /// - Parameter void: the events that were decided and will not be committed.
    func halt(_ state: inout State, _ failure: StoreError, void: [Event]) {
        logger.error("a decision is void; nothing is decided until it is undone", metadata: ["why": "\(failure.reason)"])
        state.halt = Halt(reason: failure.reason, refusedCommit: false)
        state.halt?.void.add(void)
        state.wakesCommitter = true
    }

    static func refused(_ state: State) -> Reply {
        state.halt?.answer ?? Reply(WireError("dependencyUnavailable"))
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

    func locked(_ body: (inout State) -> Void) { follow(decide(body)) }

    /// The work that is left to do when the lock is free again.
    private struct Rest {
        var immediate: [(Completion, Reply)] = []
        var unprepared: [Commit] = []
        var lookups: [@Sendable () -> Void] = []
        var wakesCommitter = false
    }

    private func decide(_ body: (inout State) -> Void) -> Rest {
        state.withLockedValue { state in
            body(&state)
            var rest = Rest()
            swap(&rest.immediate, &state.immediate)
            swap(&rest.unprepared, &state.unprepared)
            swap(&rest.lookups, &state.lookups)
            swap(&rest.wakesCommitter, &state.wakesCommitter)
            return rest
        }
    }

    private func follow(_ rest: Rest) {
        // The committer is the bottleneck: work that can be done before it is done here, on as many threads as there are.
        for commit in rest.unprepared { store.prepare(commit) }
        if rest.wakesCommitter { hasWork.signal() }
        for (completion, answer) in rest.immediate { completion(answer) }
        for lookup in rest.lookups { Blocking.run(lookup) }
    }

    /// Requests on their way to a decision, by the network thread that they came on.
    private typealias Queue = NIOLockedValueBox<[@Sendable (inout State) -> Void]>
    private let queues = Dictionary(
        uniqueKeysWithValues: MultiThreadedEventLoopGroup.singleton.makeIterator().map { (ObjectIdentifier($0), Queue([])) })

    /// Decides soon. The requests that a network thread has read in one go are decided in one go. The city is then still in the cache, and
    /// the lock is waited for once and not for each request.
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

    static func answer(_ decision: Decision, _ city: City) -> Reply {
        guard case .reservation(let reservation, _) = decision.outcome, reservation.status == .waitlisted else {
            return Encode.answer(decision)
        }
        return Encode.answer(decision, waitPosition: city.position(of: reservation))
    }

    // MARK: Plain requests

    /// A plain request on its way to its decision.
    private struct KeptRequest: Sendable {
        let request: VerifiedRequest
        let key: Int64
        let command: Result<Command, WireError>
        let answering: Reply?
        let adapting: (@Sendable (Reply, City) -> Reply)?
        let now: Millis
        /// The disk was asked: the request was not answered before.
        var isNew = false
        var prefetched: Prefetched
        let completion: Completion
    }

    /// A request whose final result is kept by requestId (section 3).
    /// - Parameters:
    ///   - command: already decoded; a decoding error is a final result too.
    ///   - answering: the answer to a command that is accepted, where the rules do not make it.
    ///   - adapting: adds to an answer what other parts of the city say.
    func kept(
        _ request: VerifiedRequest, command: Result<Command, WireError>, answering: Reply? = nil,
        adapting: (@Sendable (Reply, City) -> Reply)? = nil, now: Millis, completion: @escaping Completion
    ) {
        take(
            KeptRequest(
                request: request, key: KeptReply.key(request.envelope.appId, request.envelope.requestId), command: command,
                answering: answering, adapting: adapting, now: now, prefetched: prefetched(for: command), completion: completion))
    }

    private func take(_ kept: KeptRequest) {
        submit { [self] state in
            let (envelope, dataHash, completion) = (kept.request.envelope, kept.request.dataHash, kept.completion)
            if let known = Sequencer.fresh(state, kept.key, envelope) {
                // Not before the first one is durable.
                return enqueue(
                    &state, Pending(commit: nil, answer: Sequencer.again(known, envelope, dataHash), completion: completion))
            }
            // A new request is new without asking the disk: the store has the digests of all keys in memory. An old one is read off the lock.
            if !kept.isNew, store.knowsReply(key: kept.key) { return state.lookups.append { [self] in answerAgain(kept) } }
            guard state.halt == nil else { return answerNow(&state, Sequencer.refused(state), completion) }
            guard state.pending.count < Limits.backlogMax else {
                return answerNow(&state, Reply(WireError("tooManyInFlight", data: ["retryAfterMs": 100])), completion)
            }
            var kept = kept
            kept.prefetched = current(kept.prefetched, state)
            guard case .success(let command) = kept.command else { return decide(kept, &state) }
            let lacking = state.city.lacks(command, kept.prefetched.past)
            guard !lacking.isEmpty else { return decide(kept, &state) }
            let waiting = kept
            fetch(&state, lacking, into: kept.prefetched) { [self] result in
                switch result {
                case .success(let read):
                    var kept = waiting
                    kept.prefetched = read
                    take(kept)
                case .failure(let error): completion(Reply(WireError("dependencyUnavailable", error.reason)))
                }
            }
        }
    }

    /// Gives the kept answer of a request, or decides it where the answer under its key is another request's. Reads the disk.
    private func answerAgain(_ kept: KeptRequest) {
        let envelope = kept.request.envelope
        do throws(StoreError) {
            if let known = try store.reply(key: kept.key, appId: envelope.appId, requestId: envelope.requestId) {
                return kept.completion(Sequencer.again(known, envelope, kept.request.dataHash))
            }
            var kept = kept
            kept.isNew = true
            take(kept)
        } catch {
            logger.error("a kept answer cannot be read", metadata: ["requestId": "\(envelope.requestId)", "why": "\(error.reason)"])
            kept.completion(Reply(WireError("dependencyUnavailable", error.reason)))
        }
    }

    private func decide(_ kept: KeptRequest, _ state: inout State) {
        var answer: Reply
        var events: [Event] = []
        var showsOrder = false
        switch kept.command {
        case .failure(let error): answer = Reply(error)
        case .success(let command):
            guard let decision = decide(command, &state, kept.prefetched.past, now: kept.now) else {
                return answerNow(&state, Sequencer.refused(state), kept.completion)
            }
            events = decision.events
            answer = Sequencer.answer(decision, state.city)
            showsOrder = kept.adapting == nil && kept.answering == nil && decision.showsItsOrder
            if let adapting = kept.adapting { answer = adapting(answer, state.city) }
            if answer.code == 0, let answering = kept.answering { answer = answering }
        }
        var reply: KeptReply?
        if answer.resultCode.isKept {
            let envelope = kept.request.envelope
            reply = KeptReply(
                appId: envelope.appId, requestId: envelope.requestId, nonce: envelope.nonce, service: envelope.service,
                dataHash: kept.request.dataHash, code: answer.code, data: answer.canonical, at: kept.now, showsOrder: showsOrder,
                key: kept.key)
            state.freshReplies[kept.key] = reply
        }
        let audit = Audit.isWanted(kept.request) ? Audit.write(kept.request, code: answer.code, now: kept.now) : nil
        enqueue(
            &state,
            Pending(commit: Commit(at: kept.now, events: events, reply: reply, audit: audit), answer: answer, completion: kept.completion))
    }

    /// Prepares a command that is executed at most once: the answer to its repeat is made durable and the command is audited first.
    /// - Parameters:
    ///   - assumed: the answer to a repeat while nobody knows how it ended.
    ///   - completion: told the known answer of a repeat, or why it cannot be executed.
    ///   - work: called once, when it may be executed.
    func begin(
        _ request: VerifiedRequest, assumed: Reply, now: Millis, completion: @escaping Completion, work: @escaping @Sendable () -> Void
    ) {
        let envelope = request.envelope
        let key = KeptReply.key(envelope.appId, envelope.requestId)
        Blocking.run { [self] in
            do throws(StoreError) {
                var found = state.withLockedValue { Sequencer.fresh($0, key, envelope) }
                if found == nil { found = try store.reply(key: key, appId: envelope.appId, requestId: envelope.requestId) }
                if let known = found,
                    known.code != Sequencer.nothingDone || known.service != envelope.service || known.dataHash != request.dataHash
                {
                    return completion(Sequencer.again(known, envelope, request.dataHash))
                }
            } catch { return completion(Reply(WireError("dependencyUnavailable", error.reason))) }
            let audit = request.credential.role == .operator ? Audit.write(request, code: nil, now: now) : nil
            keep(request, key, assumed, audit: audit, now: now) { kept in kept.code == 0 ? work() : completion(kept) }
        }
    }

    /// How a command that ``begin(_:assumed:now:completion:work:)`` let go has ended.
    func end(_ request: VerifiedRequest, _ answer: Reply, now: Millis, completion: @escaping Completion) {
        let key = KeptReply.key(request.envelope.appId, request.envelope.requestId)
        keep(request, key, answer, audit: nil, now: now) { _ in completion(answer) }
    }

    /// The lot could not be reached (600).
    private static let nothingDone = 600

    private func keep(
        _ request: VerifiedRequest, _ key: Int64, _ answer: Reply, audit: AuditRecord?, now: Millis, completion: @escaping Completion
    ) {
        let envelope = request.envelope
        var answer = answer
        let data = answer.canonical
        locked { state in
            guard state.halt == nil else { return answerNow(&state, Sequencer.refused(state), completion) }
            let reply = KeptReply(
                appId: envelope.appId, requestId: envelope.requestId, nonce: envelope.nonce, service: envelope.service,
                dataHash: request.dataHash, code: answer.code, data: data, at: now, key: key)
            state.freshReplies[key] = reply
            enqueue(
                &state,
                Pending(commit: Commit(at: now, events: [], reply: reply, audit: audit), answer: Reply(), completion: completion))
        }
    }

    private static func again(_ known: KeptReply, _ envelope: Envelope, _ dataHash: String) -> Reply {
        guard known.service == envelope.service, known.dataHash == dataHash else {
            return Reply(WireError("keyReused", "requestId: it came with other content before"))
        }
        var answer = Reply(code: known.code, canonical: known.data)
        answer.duplicate = true
        return answer
    }

    /// A command of the server itself: a deadline, a lot's answer, an operator's setting.
    func perform(
        _ command: Command, audit: AuditRecord? = nil, now: Millis, prefetched: Prefetched? = nil,
        completion: @escaping Completion = { _ in }
    ) {
        let prefetched = prefetched ?? self.prefetched(for: .success(command))
        locked { state in
            guard state.halt == nil else { return answerNow(&state, Sequencer.refused(state), completion) }
            let prefetched = current(prefetched, state)
            let lacking = state.city.lacks(command, prefetched.past)
            guard lacking.isEmpty else {
                return fetch(&state, lacking, into: prefetched) { [self] result in
                    switch result {
                    case .success(let read): perform(command, audit: audit, now: now, prefetched: read, completion: completion)
                    case .failure(let error): completion(Reply(WireError("dependencyUnavailable", error.reason)))
                    }
                }
            }
            guard let decision = decide(command, &state, prefetched.past, now: now) else {
                return answerNow(&state, Sequencer.refused(state), completion)
            }
            let answer = Sequencer.answer(decision, state.city)
            guard !decision.events.isEmpty || audit != nil else {
                // Nothing changed; but the state that was looked at may not be durable yet.
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
    func record(_ audit: AuditRecord, answer: Reply = Reply(), completion: @escaping Completion) {
        locked { state in
            guard state.halt == nil else { return answerNow(&state, Sequencer.refused(state), completion) }
            enqueue(
                &state, Pending(commit: Commit(at: audit.at, events: [], audit: audit), answer: answer, completion: completion))
        }
    }

    // MARK: Reading

    /// Reads the city as it is decided, and answers when all that was read is durable.
    /// - Parameters:
    ///   - keys: what `body` looks up of the past; where the store cannot be read, the answer is 501.
    ///   - body: runs under the lock.
    func read(
        _ parkCode: String?, asking keys: [Past.Key], _ body: @escaping @Sendable (inout City, Past) -> Reply,
        completion: @escaping Completion
    ) {
        prefetch(keys, completion: completion) { [self] past in
            read(parkCode, { city in body(&city, past) }, completion: completion)
        }
    }

    /// As ``read(_:asking:_:completion:)``, of what is in memory.
    func read(_ parkCode: String?, _ body: (inout City) -> Reply, completion: @escaping Completion) {
        locked { state in
            // While the city is stale, its untouched parts are as they were.
            if let halt = state.halt, halt.isStale,
                !halt.refusedCommit || (parkCode.map({ state.touched[$0] != nil }) ?? (state.decided != state.durable))
            {
                return answerNow(&state, halt.answer, completion)
            }
            let answer = body(&state.city)
            let isDurable = parkCode.map { state.touched[$0] == nil } ?? (state.decided == state.durable)
            if isDurable { return answerNow(&state, answer, completion) }
            enqueue(&state, Pending(commit: nil, answer: answer, completion: completion))
        }
    }

    func knows(_ parkCode: String) -> Bool { readUndurable { $0.lots[parkCode] != nil } }

    /// Looks at the city without waiting: for hints, pages and measurements only.
    func readUndurable<Value: Sendable>(_ body: (inout City) -> Value) -> Value { state.withLockedValue { body(&$0.city) } }

    func read(_ parkCode: String?, _ body: (inout City) -> Reply) async -> Reply {
        await withCheckedContinuation { continuation in
            read(parkCode, body) { continuation.resume(returning: $0) }
        }
    }
}

extension Decision {
    /// The answer is the order as its only event has it.
    fileprivate var showsItsOrder: Bool {
        guard case .reservation(let reservation, isRepeat: false) = outcome, reservation.status != .waitlisted, alternatives.isEmpty else {
            return false
        }
        let reservations = events.lazy.compactMap { if case .reservation(let reservation) = $0 { reservation.orderNo } else { nil } }
        return Array(reservations) == [reservation.orderNo]
    }
}
