import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Foundation
import Logging
import Synchronization

/// Brings every down log to its lot: in order, at most 100 in flight, each entry again until the lot's signed reply (section 5).
final class Deliverer: DurableListener {
    private struct InFlight {
        var row: DownRow
        var sendings: Int
        var nextAt: Millis
    }

    private struct Line {
        /// Highest seq handed to the broker since the lot became reachable.
        var sentThrough: Int64 = 0
        var inFlight: [Int64: InFlight] = [:]
        /// Where the next rows come from while they are fresh: the commit that made them, without asking the disk.
        var fresh: [DownRow] = []
        var epoch = ""
        var isPumping = false
        var pumpAgain = false
        /// After a refusal that is not final (610, 5xx, 30x), when to try again, and how often that was.
        var pausedUntil: Millis = 0
        var refusals = 0
        /// Over the callback: somebody is posting, how often it failed, and when to try again.
        var isPosting = false
        var failures = 0
        var postAt: Millis = 0
    }

    private struct Waiter {
        var id: UInt64
        var resume: @Sendable () -> Void
    }

    private struct State {
        var lines: [String: Line] = [:]
        var waiters: [String: [Waiter]] = [:]
        /// The server ends: nobody waits any more.
        var isFinished = false
        var lastWaiter: UInt64 = 0
    }

    private let state = Mutex(State())
    private let store: any Store
    private let credentials: CredentialBook
    private let presence: Presence
    private let clock: @Sendable () -> Millis
    private let logger: Logger
    private let sequencer: Sequencer
    private let relay: LotCalls
    private let callbacks: CallbackClient
    private let trail: RequestTrail
    private let mqtt = Mutex<MQTTClient?>(nil)
    private let lineage = Mutex<Lineage?>(nil)

    func start(lineage: Lineage) { self.lineage.withLock { $0 = lineage } }

    init(
        sequencer: Sequencer, credentials: CredentialBook, presence: Presence, relay: LotCalls, callbacks: CallbackClient,
        trail: RequestTrail, clock: @escaping @Sendable () -> Millis, logger: Logger
    ) {
        self.sequencer = sequencer
        self.relay = relay
        self.callbacks = callbacks
        self.trail = trail
        store = sequencer.store
        self.credentials = credentials
        self.presence = presence
        self.clock = clock
        self.logger = logger
    }

    func start(mqtt: MQTTClient) {
        self.mqtt.withLock { $0 = mqtt }
        // Entries of these lots waited when the server stopped.
        let waiting = sequencer.readUndurable { city in city.lots.values.filter { $0.downAck < $0.downLast }.map(\.parkCode) }
        for parkCode in waiting { postNext(parkCode) }
    }

    // MARK: Causes of delivery

    /// Fresh entries are durable: they may go now.
    func committed(_ durable: Durable) {
        let events = durable.events
        var lots: [String] = []
        var called: [String] = []
        let resumed = state.withLock { state in
            var resumed: [Waiter] = []
            for case .down(let entry) in events {
                if presence.isReachable(entry.parkCode) {
                    let (service, data) = Encode.lotMessage(entry.message)
                    state.lines[entry.parkCode, default: Line()].fresh.append(
                        DownRow(epoch: entry.epoch, seq: entry.seq, at: entry.at, service: service, data: data.string))
                    if lots.last != entry.parkCode { lots.append(entry.parkCode) }
                } else if called.last != entry.parkCode {
                    called.append(entry.parkCode)
                }
                resumed += state.waiters.removeValue(forKey: entry.parkCode) ?? []
            }
            return resumed
        }
        for waiter in resumed { waiter.resume() }
        for parkCode in lots { pump(parkCode) }
        for parkCode in called { postNext(parkCode) }
    }

    /// The lot can be reached again: back-off is over, and the oldest unacknowledged entry goes first.
    func reachable(_ parkCode: String) {
        let position = sequencer.readUndurable { city in
            let lot = city.lots[parkCode]
            // An entry below the position whose own reply was lost is asked again: its result is not known yet.
            return (lot?.downEpoch, min(lot?.downAck ?? 0, (lot?.awaiting.keys.min() ?? .max) - 1))
        }
        state.withLock { state in
            var line = state.lines[parkCode] ?? Line()
            line.epoch = position.0 ?? ""
            line.sentThrough = position.1
            line.inFlight = [:]
            line.fresh = []
            line.pausedUntil = 0
            line.refusals = 0
            state.lines[parkCode] = line
        }
        pump(parkCode)
    }

    func unreachable(_ parkCode: String) {
        state.withLock { state in
            state.lines[parkCode]?.inFlight = [:]
            state.lines[parkCode]?.fresh = []
        }
        postNext(parkCode)
    }

    /// Calls back at the next fresh entry of the lot, or after the time.
    /// - Returns: false where too many wait for this lot already; `resume` is not called then.
    func waitForEntry(_ parkCode: String, milliseconds: Int64, then resume: @escaping @Sendable () -> Void) -> Bool {
        let id: UInt64? = state.withLock { state in
            guard state.waiters[parkCode, default: []].count < Limits.pollsPerLotMax else { return nil }
            guard !state.isFinished else { return 0 }
            state.lastWaiter += 1
            state.waiters[parkCode, default: []].append(Waiter(id: state.lastWaiter, resume: resume))
            return state.lastWaiter
        }
        guard let id else { return false }
        guard id > 0 else {
            resume()
            return true
        }
        DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(Int(milliseconds))) { [self] in
            let waiter = state.withLock { state -> Waiter? in
                guard let index = state.waiters[parkCode]?.firstIndex(where: { $0.id == id }) else { return nil }
                let waiter = state.waiters[parkCode]!.remove(at: index)
                if state.waiters[parkCode]!.isEmpty { state.waiters[parkCode] = nil }
                return waiter
            }
            waiter?.resume()
        }
        return true
    }

    /// Ends the waits for an entry of the lot.
    func wake(_ parkCode: String) {
        for waiter in state.withLock({ $0.waiters.removeValue(forKey: parkCode) }) ?? [] { waiter.resume() }
    }

    /// Ends all waits, and those to come: the fronts end when their last request is answered.
    func finish() {
        let waiters = state.withLock { state in
            state.isFinished = true
            let waiters = state.waiters.values.flatMap { $0 }
            state.waiters = [:]
            return waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Fills the window of 100. Only one thread pumps a lot at a time, so its entries stay in order.
    private func pump(_ parkCode: String) {
        guard let client = mqtt.withLock({ $0 }), let credential = credentials.delivery(to: parkCode) else { return }
        let mayPump = state.withLock { state in
            guard state.lines[parkCode] != nil else { return false }
            if state.lines[parkCode]!.isPumping {
                state.lines[parkCode]!.pumpAgain = true
                return false
            }
            state.lines[parkCode]!.isPumping = true
            return true
        }
        guard mayPump else { return }
        while true {
            let rows = nextRows(parkCode)
            for row in rows { publish(row, to: parkCode, credential, client) }
            if !rows.isEmpty {
                sequencer.readUndurable { city in for row in rows { city.noteSent(parkCode, seq: row.seq) } }
            }
            let isDone = state.withLock { state in
                let again = !rows.isEmpty || state.lines[parkCode]!.pumpAgain
                state.lines[parkCode]!.pumpAgain = false
                state.lines[parkCode]!.isPumping = again
                return !again
            }
            if isDone { return }
        }
    }

    private func nextRows(_ parkCode: String) -> [DownRow] {
        let now = SystemClock.monotonic()
        // The epoch is made with the first entry; a lot that was reachable before knows none.
        let wanted: (epoch: String, after: Int64, count: Int, rows: [DownRow])? = state.withLock { state in
            guard presence.isReachable(parkCode), var line = state.lines[parkCode], now >= line.pausedUntil else {
                return nil
            }
            // After a refusal the oldest entry goes alone until it is taken.
            let room = (line.refusals > 0 ? 1 : WireLimits.inFlightMax) - line.inFlight.count
            guard room > 0 else { return nil }
            if let first = line.fresh.first, line.epoch != first.epoch {
                line.epoch = first.epoch
                line.sentThrough = max(0, first.seq - 1)
            }
            var rows: [DownRow] = []
            line.fresh.removeAll { $0.seq <= line.sentThrough }
            while let next = line.fresh.first, next.seq == line.sentThrough + 1, rows.count < room {
                rows.append(line.fresh.removeFirst())
                line.sentThrough = next.seq
            }
            for row in rows { line.inFlight[row.seq] = Deliverer.sent(row, now: now) }
            state.lines[parkCode] = line
            return (line.epoch, line.sentThrough, room - rows.count, rows)
        }
        guard let wanted else { return [] }
        if !wanted.rows.isEmpty || wanted.epoch.isEmpty { return wanted.rows }
        let stored: [DownRow]
        do throws(StoreError) {
            stored = try store.down(parkCode: parkCode, epoch: wanted.epoch, after: wanted.after, limit: wanted.count)
        } catch {
            logger.error("a down log cannot be read", metadata: ["lot": "\(parkCode)", "why": "\(error.reason)"])
            state.withLock { $0.lines[parkCode]?.pausedUntil = now + 1000 }
            return []
        }
        return state.withLock { state in
            guard state.lines[parkCode]?.sentThrough == wanted.after else { return [] }
            for row in stored {
                state.lines[parkCode]!.inFlight[row.seq] = Deliverer.sent(row, now: now)
                state.lines[parkCode]!.sentThrough = row.seq
            }
            return stored
        }
    }

    private static func sent(_ row: DownRow, now: Millis) -> InFlight {
        InFlight(row: row, sendings: 1, nextAt: now + WireLimits.resendSeconds[0] * 1000)
    }

    /// timestamp, nonce and sign belong to this sending; requestId, epoch, seq and data to the entry.
    private func message(_ row: DownRow, to parkCode: String, _ credential: Credential) -> [UInt8] {
        MessageWriter.request(
            service: row.service, data: (try? JSON.parse(Array(row.data.utf8))) ?? [:], appId: credential.appId,
            secret: credential.secret, parkCode: parkCode,
            requestId: Encode.downRequestId(parkCode: parkCode, epoch: row.epoch, seq: row.seq, at: row.at), timestamp: clock(),
            nonce: SystemRandom.nonce(), epoch: row.epoch, seq: row.seq)
    }

    private func publish(_ row: DownRow, to parkCode: String, _ credential: Credential, _ client: MQTTClient) {
        client.publish(topic: Topic.down(parkCode, row.service), payload: message(row, to: parkCode, credential))
        trail.sent(row, to: parkCode, over: "mqtt")
    }

    /// Every second: entries without a reply go again after 5, 10, 20, 30, 60 s, while the lot is reachable.
    func tick() {
        let now = SystemClock.monotonic()
        guard let client = mqtt.withLock({ $0 }) else { return }
        let due = state.withLock { state in
            var due: [(String, DownRow)] = []
            for (parkCode, line) in state.lines where presence.isReachable(parkCode) && now >= line.pausedUntil {
                for (seq, flight) in line.inFlight.sorted(by: { $0.key < $1.key }) where flight.nextAt <= now {
                    let schedule = WireLimits.resendSeconds
                    let wait = schedule[min(flight.sendings, schedule.count - 1)]
                    state.lines[parkCode]!.inFlight[seq]!.sendings += 1
                    state.lines[parkCode]!.inFlight[seq]!.nextAt = now + wait * 1000
                    due.append((parkCode, flight.row))
                }
            }
            return due
        }
        for parkCode in state.withLock({
            $0.lines.filter { !$0.value.isPosting && $0.value.failures > 0 && $0.value.postAt <= now }.map(\.key)
        }) {
            postNext(parkCode)
        }
        for (parkCode, row) in due {
            if let credential = credentials.delivery(to: parkCode) { publish(row, to: parkCode, credential, client) }
        }
        for parkCode in state.withLock({ $0.lines.filter { $0.value.pausedUntil > 0 && $0.value.pausedUntil <= now }.map(\.key) }) {
            state.withLock { $0.lines[parkCode]?.pausedUntil = 0 }
            pump(parkCode)
        }
    }

    // MARK: HTTPS callback

    /// Posts the log to the registered address while no MQTT client listens: one entry after the other, each until it is consumed.
    private func postNext(_ parkCode: String) {
        guard let credential = credentials.delivery(to: parkCode), let url = credential.callback, !presence.isReachable(parkCode)
        else { return }
        let now = SystemClock.monotonic()
        let mayPost = state.withLock { state in
            var line = state.lines[parkCode] ?? Line()
            defer { state.lines[parkCode] = line }
            guard !line.isPosting, now >= line.postAt else { return false }
            line.isPosting = true
            return true
        }
        guard mayPost else { return }
        Task {
            while await postOne(parkCode, url) {}
        }
    }

    /// True when the next one may follow at once.
    private func postOne(_ parkCode: String, _ url: String) async -> Bool {
        let position = sequencer.readUndurable { ($0.lots[parkCode]?.downEpoch, $0.lots[parkCode]?.downAck ?? 0) }
        guard !presence.isReachable(parkCode), let credential = credentials.delivery(to: parkCode), let epoch = position.0,
            let row = try? store.down(parkCode: parkCode, epoch: epoch, after: position.1, limit: 1).first
        else { return rest(parkCode, isFailed: false) }
        sequencer.readUndurable { $0.noteSent(parkCode, seq: row.seq) }
        trail.sent(row, to: parkCode, over: "https")
        let outcome = await callbacks.post(url, body: message(row, to: parkCode, credential))
        guard case .answered(_, let bytes) = outcome, let reply = ReplyEnvelope(bytes, secret: credential.secret),
            reply.requestId == Encode.downRequestId(parkCode: parkCode, epoch: row.epoch, seq: row.seq, at: row.at)
        else {
            logger.warning("a callback did not take its entry", metadata: ["lot": "\(parkCode)", "why": "\(Deliverer.why(outcome))"])
            return rest(parkCode, isFailed: true)
        }
        presence.heard(parkCode)
        let answer = reply.answer
        trail.confirmed(row, by: parkCode, code: answer.code)
        guard answer.resultCode.isFinal || Dialect.current.codes[answer.code] == nil else { return rest(parkCode, isFailed: true) }
        let result = DownResult(seq: row.seq, isAccepted: Decode.downAccepted(code: answer.code, data: answer.data))
        let settled = await withCheckedContinuation { continuation in
            sequencer.perform(
                .settle(parkCode: parkCode, epoch: row.epoch, ackSeq: row.seq, [result], assumesRest: false), now: clock()
            ) { continuation.resume(returning: $0.code == 0) }
        }
        guard settled else { return rest(parkCode, isFailed: true) }
        state.withLock { $0.lines[parkCode]?.failures = 0 }
        return true
    }

    private static func why(_ outcome: CallbackClient.Outcome) -> String {
        switch outcome {
        case .answered(let status, _): "HTTP \(status), without a signed reply"
        case .unreachable(let why), .forbidden(let why): why
        }
    }

    private func rest(_ parkCode: String, isFailed: Bool) -> Bool {
        let now = SystemClock.monotonic()
        let again = state.withLock { state -> Bool in
            guard var line = state.lines[parkCode] else { return false }
            line.isPosting = false
            if isFailed {
                let schedule = WireLimits.reconnectSeconds
                let wait = schedule[min(line.failures, schedule.count - 1)] * 1000
                line.postAt = now + wait + SystemRandom.jitter(wait)
                line.failures += 1
            }
            state.lines[parkCode] = line
            return !isFailed
        }
        // Entries may have been added while the last one was being settled.
        if again, sequencer.readUndurable({ ($0.lots[parkCode]?.downAck ?? 0) < ($0.lots[parkCode]?.downLast ?? 0) }) { postNext(parkCode) }
        return false
    }

    // MARK: Answers of the lot

    /// A reply on `…/up/reply`.
    func replied(_ parkCode: String, _ bytes: [UInt8], now: Millis) {
        guard let credential = credentials.delivery(to: parkCode),
            let reply = ReplyEnvelope(bytes, secret: credential.secret),
            (now - WireLimits.clockSkewMillisMax...now + WireLimits.clockSkewMillisMax).contains(reply.timestamp)
        else {
            logger.warning("a reply is not signed by the lot", metadata: ["lot": "\(parkCode)"])
            return
        }
        presence.online(parkCode)
        let found = state.withLock { state -> DownRow? in
            state.lines[parkCode]?.inFlight.values.first {
                Encode.downRequestId(parkCode: parkCode, epoch: $0.row.epoch, seq: $0.row.seq, at: $0.row.at) == reply.requestId
            }?.row
        }
        guard let row = found else { return relay.replied(reply) }
        let answer = reply.answer
        trail.confirmed(row, by: parkCode, code: answer.code)
        guard answer.resultCode.isFinal || Dialect.current.codes[answer.code] == nil else {
            return goBack(parkCode, row, answer)
        }
        // The answer claims what cannot be: all of it is a fault of the lot's, and nothing is settled by it.
        let sentThrough = state.withLock { max($0.lines[parkCode]?.sentThrough ?? 0, row.seq) }
        if let claimed = answer.ackSeq, claimed > sentThrough {
            // It had this very entry before: the store is older than what the lot has seen.
            let last = sequencer.readUndurable { $0.lots[parkCode]?.downLast ?? 0 }
            if answer.duplicate, answer.epoch == row.epoch, claimed > last { return isAhead(parkCode, has: claimed, of: last) }
            return logger.warning(
                "a lot acknowledges what was never sent",
                metadata: ["lot": "\(parkCode)", "ackSeq": "\(claimed)", "sent": "\(sentThrough)"])
        }
        let isAccepted = Decode.downAccepted(code: answer.code, data: answer.data)
        let ackSeq = min(answer.ackSeq ?? row.seq, sequencer.readUndurable { $0.lots[parkCode]?.downLast ?? 0 })
        sequencer.perform(
            .settle(
                parkCode: parkCode, epoch: row.epoch, ackSeq: max(ackSeq, row.seq),
                [DownResult(seq: row.seq, isAccepted: isAccepted)], assumesRest: false), now: now
        ) { [self] settled in
            guard settled.code == 0 else { return }
            state.withLock { state in
                state.lines[parkCode]?.inFlight.removeValue(forKey: row.seq)
                state.lines[parkCode]?.refusals = 0
            }
            pump(parkCode)
        }
    }

    private func isAhead(_ parkCode: String, has seq: Int64, of last: Int64) {
        lineage.withLock { $0 }?.ahead(parkCode, has: seq, of: last) { [weak self] in self?.reachable(parkCode) }
    }

    /// Not consumed: the lot says from where it wants the log (610), or that it cannot take it now (300 to 302, 500 to 503). The log pauses
    /// for 5, 10, 20, 30, 60 s, except after the first 610, which only says where to go on; then the oldest entry goes alone, and the window
    /// behind it follows when it is taken.
    private func goBack(_ parkCode: String, _ row: DownRow, _ answer: Reply) {
        let now = SystemClock.monotonic()
        let (epoch, last, ack) = sequencer.readUndurable { city in
            (city.lots[parkCode]?.downEpoch ?? "", city.lots[parkCode]?.downLast ?? 0, city.lots[parkCode]?.downAck ?? 0)
        }
        guard row.epoch == epoch else { return }
        let isGap = answer.code == Dialect.current.code("sequenceGap").code
        var from = row.seq
        if isGap {
            guard let expected = answer.data["expectedSeq"]?.intValue, expected >= 1 else { return }
            if expected > last + 1 {
                isAhead(parkCode, has: expected - 1, of: last)
                return
            }
            from = min(expected, last + 1)
        } else {
            from = min(row.seq, ack + 1)
        }
        let wait: Int64? = state.withLock { state in
            guard var line = state.lines[parkCode], now >= line.pausedUntil else { return nil }
            // A refusal of what waits behind the entry that the lot cannot take says nothing new.
            guard isGap || row.seq <= (line.inFlight.keys.min() ?? row.seq) else { return nil }
            // The window behind comes back as one wave; one return is enough.
            let schedule = WireLimits.resendSeconds
            let wait = isGap && line.refusals == 0 ? 250 : schedule[min(max(0, line.refusals - (isGap ? 1 : 0)), schedule.count - 1)] * 1000
            line.inFlight = [:]
            line.fresh = []
            line.sentThrough = from - 1
            line.refusals += 1
            line.pausedUntil = now + wait
            state.lines[parkCode] = line
            return wait
        }
        guard let wait else { return }
        DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(Int(wait) + 10)) { [self] in pump(parkCode) }
    }

    /// The lot acknowledged by `sync.down.ack`: another carrier in the middle of the log.
    func acknowledged(_ parkCode: String, through ackSeq: Int64) {
        state.withLock { state in
            guard var line = state.lines[parkCode] else { return }
            line.inFlight = line.inFlight.filter { $0.key > ackSeq }
            line.sentThrough = max(line.sentThrough, ackSeq)
            state.lines[parkCode] = line
        }
    }
}
