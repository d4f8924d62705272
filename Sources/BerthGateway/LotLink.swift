import BerthCore
import BerthLink
import BerthWire
import Foundation
import Logging
import Synchronization

/// Connects one lot's box with the server: MQTT first, HTTPS when it must, in the middle of either log.
final class LotLink: MQTTListener {
    /// No answer: the link is down, or the server did not answer within its time.
    struct NoAnswer: Error {
        /// The reason, for the log and the status: one line, even if the other side sent line breaks.
        let why: String
        private static let bytesMax = 300

        init(why: String) {
            var line = String.UnicodeScalarView()
            for scalar in String(decoding: why.utf8.prefix(NoAnswer.bytesMax), as: UTF8.self).unicodeScalars {
                line.append(scalar.properties.generalCategory == .control ? " " : scalar)
            }
            self.why = String(line)
        }
    }

    struct Waiting {
        var continuation: CheckedContinuation<Reply?, Never>
        var deadline: Int64
    }

    struct State {
        var waiting: [String: Waiting] = [:]
        var carrier: CarrierChoice
        var hasReported = false
        var lastHeartbeat: Int64?
        var lastRemain: Int64?
        var lastUpkeep: Int64?
        var lastPrune: Int64?
        /// When the server last answered, on the monotonic clock.
        var lastAnswer: Int64?
        /// When HTTPS last failed, on the monotonic clock.
        var httpsFailedAt: Int64?
        /// Counts the times that MQTT came up.
        var connections = 0
        /// When both sides were last compared, on the monotonic clock; and whether that is due.
        var lastRecon: Int64?
        var isReconDue = true
        /// A batch was refused as a whole: entries go one by one until they are through.
        var isSingle = false
        /// New epochs in a row without any acknowledgement between them.
        var fruitlessEpochs = 0
        var reason = "not connected yet"
        /// The gateway has stopped: nobody would end a wait that begins now.
        var isClosed = false
    }

    let box: LotBox
    let configuration: GatewayConfiguration
    let http: SignedClient
    let state: Mutex<State>
    private let client = Mutex<MQTTClient?>(nil)
    let logger: Logger
    var clock: BoxClock { box.clock }

    init(_ box: LotBox, configuration: GatewayConfiguration, http: SignedClient, logger: Logger) {
        self.box = box
        self.configuration = configuration
        self.http = http
        self.logger = logger
        state = Mutex(State(carrier: CarrierChoice(configuration.carrier)))
    }

    var lot: GatewayConfiguration.LotEntry { box.entry }
    var isOnline: Bool { client.withLock { $0 }?.isUp ?? false }
    /// The carrier of the next call.
    var way: CarrierChoice.Way {
        let isUp = isOnline
        return state.withLock { $0.carrier.way(isMQTTUp: isUp) }
    }
    var carrierName: String {
        switch way {
        case .mqtt: "mqtt"
        case .https: "https"
        case .none: "none"
        }
    }
    var mqtt: MQTTClient? { client.withLock { $0 } }

    func connect(_ reactor: MQTTReactor) {
        guard configuration.carrier != .https else { return }
        let clientId = MQTTIdentity.clientId(appId: lot.appId, role: .lot, parkCode: lot.parkCode)
        var mqtt = MQTTConfiguration(
            places: configuration.brokers, caFile: configuration.caFile, clientId: clientId,
            username: lot.appId, password: MQTTIdentity.staticPassword(secret: lot.appSecret, clientId: clientId))
        mqtt.will = (Topic.presence(lot.parkCode), "{\"online\":false}")
        mqtt.filters = [Topic.downFilter(lot.parkCode)]
        let opened = reactor.open(mqtt, listener: self)
        client.withLock { $0 = opened }
    }

    // MARK: MQTT

    func mqttIsUp() {
        let online: JSON = ["online": true, "since": .int(box.now())]
        mqtt?.publish(topic: Topic.presence(lot.parkCode), payload: online.text(), retain: true)
        state.withLock { state in
            state.carrier.mqttCameUp()
            state.connections += 1
        }
        box.state.withLock { $0.isSynchronised = false }
        box.wake.yield()
    }

    func mqttIsDown(_ reason: String) {
        let waiting = state.withLock { state in
            state.reason = reason
            defer { state.waiting = [:] }
            return state.waiting.values
        }
        for wait in waiting { wait.continuation.resume(returning: nil) }
        box.state.withLock { $0.isSynchronised = false }
    }

    func mqttReceived(topic: String, payload: [UInt8]) {
        if topic == Topic.downReply(lot.parkCode) {
            guard let reply = ReplyEnvelope(payload, secret: lot.appSecret), Envelope.isUUID(reply.requestId) else { return }
            let (wait, isBack) = state.withLock { state in
                (state.waiting.removeValue(forKey: reply.requestId), state.carrier.mqttAnswered())
            }
            if isBack { tell("MQTT is answered again; calls go over it") }
            wait?.continuation.resume(returning: reply.answer)
            return
        }
        receive(payload, service: String(topic.split(separator: "/").last ?? ""))
    }

    /// Takes an entry of the down log or a command: signature, clock, then the box; the reply goes back signed.
    private func receive(_ payload: [UInt8], service: String) {
        var echo = Echo()
        let credential = Credential(appId: lot.appId, secret: lot.appSecret, role: .lot, name: "")
        do throws(WireError) {
            let envelope = try Envelope.read(payload, echo: &echo)
            let push = try envelope.verify(credential: credential, now: box.now()).envelope
            guard push.service == service else { throw WireError("unknownService") }
            guard push.parkCode == lot.parkCode else { throw WireError("lotNotAuthorised") }
            let finalEcho = echo
            if Dialect.current.services[push.service]?.kind == .live {
                return try live(push) { [self] answer in reply(answer, finalEcho) }
            }
            guard let epoch = push.epoch, let seq = push.seq else { throw WireError("missingParameter", "epoch, seq") }
            box.consume(epoch: epoch, seq: seq, service: service, data: .object(push.data)) { [self] answer in
                reply(answer, finalEcho)
            }
        } catch {
            if error.name == "clockSkew" { suspectClock() }
            reply(Reply(error), echo)
        }
    }

    /// Answers a command now or not at all: by the box itself, or by the PMS within the message's own time.
    private func live(_ push: Envelope, completion: @escaping @Sendable (Reply) -> Void) throws(WireError) {
        guard let definition = Dialect.current.services[push.service] else { throw WireError("unknownService") }
        try definition.request.check(push.data)
        let now = box.now()
        if push.service == "record.resend" {
            Task { completion(await resend(push.data)) }
            return
        }
        if let answer = box.answerLive(push.service, push.data, receivedAt: now) { return completion(answer) }
        let wanted = push.data["ttlMs"]?.intValue ?? (push.service.hasPrefix("fee.") ? 4_500 : 5_000)
        let time = min(max(0, wanted), PMSCommandQueue.commandMillisMax)
        // Never executed late: the time runs from the sending, by a clock that is brought to the server's.
        let left = push.timestamp + time - now
        guard left > 0 else { throw WireError("expiredBeforeDelivery") }
        box.commands.post(push.service, .object(push.data), milliseconds: min(left, time), completion: completion)
    }

    private func reply(_ answer: Reply, _ echo: Echo) {
        let bytes = MessageWriter.reply(
            answer, echo: echo, secret: lot.appSecret, timestamp: box.now(), nonce: SystemRandom.nonce(), showHints: false)
        mqtt?.publish(topic: Topic.upReply(lot.parkCode), payload: bytes)
    }

    // MARK: Calling the server

    /// Calls over the carrier that is there, or over the one named.
    func call(
        _ service: String, _ data: JSON, requestId: String = SystemRandom.uuid(), epoch: String? = nil, seq: Int64? = nil,
        timeoutMillis: Int64 = 10_000, over named: CarrierChoice.Way? = nil
    ) async throws(NoAnswer) -> Reply {
        let answer: Reply
        switch named ?? way {
        case .mqtt:
            answer = try await callMQTT(service, data, requestId: requestId, epoch: epoch, seq: seq, timeoutMillis: timeoutMillis)
        case .https:
            answer = try await callHTTPS(service, data, requestId: requestId, epoch: epoch, seq: seq, timeoutMillis: timeoutMillis)
        case .none: throw NoAnswer(why: state.withLock { $0.reason })
        }
        let now = SystemClock.monotonic()
        state.withLock { state in
            if let last = state.lastAnswer, now - last > LotLink.longBreakMillis { state.isReconDue = true }
            state.lastAnswer = now
        }
        if answer.code == LotLink.clockSkew, service != "sys.time.get" { suspectClock() }
        return answer
    }

    /// After a break that was longer, both sides are compared, ms (section 5.9).
    private static let longBreakMillis: Int64 = 600_000
    private static let clockSkew = Dialect.current.code("clockSkew").code

    private func callMQTT(
        _ service: String, _ data: JSON, requestId: String, epoch: String?, seq: Int64?, timeoutMillis: Int64
    ) async throws(NoAnswer) -> Reply {
        guard let mqtt, mqtt.isUp else { throw NoAnswer(why: state.withLock { $0.reason }) }
        let bytes = MessageWriter.request(
            service: service, data: data, appId: lot.appId, secret: lot.appSecret, parkCode: lot.parkCode,
            requestId: requestId, timestamp: box.now(), nonce: SystemRandom.nonce(), epoch: epoch, seq: seq)
        let answer = await withCheckedContinuation { continuation in
            let patience: Int64? = state.withLock { state in
                // A requestId that is waited for already has one answer to come.
                guard !state.isClosed, state.waiting[requestId] == nil else { return nil }
                let patience = state.carrier.patience(timeoutMillis)
                state.waiting[requestId] = Waiting(continuation: continuation, deadline: SystemClock.monotonic() + patience)
                return patience
            }
            guard let patience else { return continuation.resume(returning: nil) }
            // A car at the barrier does not wait for the next round of the keeper.
            if patience < 2_000 {
                DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(Int(patience))) { [self] in
                    sweep(now: SystemClock.monotonic())
                }
            }
            mqtt.publish(topic: Topic.up(lot.parkCode, service), payload: bytes)
        }
        guard let answer else { throw NoAnswer(why: "no answer over MQTT") }
        return answer
    }

    private func callHTTPS(
        _ service: String, _ data: JSON, requestId: String, epoch: String?, seq: Int64?, timeoutMillis: Int64
    ) async throws(NoAnswer) -> Reply {
        do throws(CallError) {
            let answer = try await http.call(
                service, data: data, appId: lot.appId, secret: lot.appSecret, parkCode: lot.parkCode,
                requestId: requestId, now: box.now(), epoch: epoch, seq: seq, timeoutMillis: timeoutMillis)
            state.withLock { $0.httpsFailedAt = nil }
            return answer
        } catch {
            state.withLock { $0.httpsFailedAt = SystemClock.monotonic() }
            throw NoAnswer(why: "\(error)")
        }
    }

    /// Whether HTTPS answered the last time; a car at the barrier does not wait for one that did not.
    var isHTTPSWell: Bool {
        let now = SystemClock.monotonic()
        return state.withLock { $0.httpsFailedAt.map { now - $0 > 5_000 } ?? true }
    }

    /// Ends every wait.
    func close() {
        state.withLock { $0.isClosed = true }
        sweep(now: .max)
    }

    /// Ends the waits that are over; called several times a second.
    func sweep(now: Int64) {
        let (late, isGivenUp) = state.withLock { state in
            let late = state.waiting.filter { $0.value.deadline <= now }
            var isGivenUp = false
            for key in late.keys {
                state.waiting[key] = nil
                if now != .max, state.carrier.mqttUnanswered(at: now) { isGivenUp = true }
            }
            return (late, isGivenUp)
        }
        if isGivenUp { tell("MQTT is up and nobody answers behind it; calls go over HTTPS") }
        for wait in late.values { wait.continuation.resume(returning: nil) }
    }

    func tell(_ text: String) {
        guard configuration.logsLinks else { return }
        logger.notice("\(text)", metadata: ["lot": "\(lot.parkCode)"])
    }

    func warn(_ why: String) {
        guard configuration.logsLinks else { return }
        logger.warning("no answer from the server", metadata: ["lot": "\(lot.parkCode)", "why": "\(why)"])
    }

    // MARK: The clock

    /// Something contradicts our clock: it is measured at once, at most every 2 s.
    func suspectClock() {
        clock.suspect()
        guard clock.beginMeasuring() else { return }
        Task {
            try? await measure()
            box.wake.yield()
        }
    }

    /// Measures the clock if another lot of this gateway does not; the caller has begun the measurement.
    private func measure() async throws(NoAnswer) {
        defer { clock.endMeasuring() }
        let sent = clock.reading()
        // Without its 13 digits the question would be refused; it is as good without a time.
        let asked: JSON = Bounds.times.contains(sent.realtime) ? ["deviceSendTime": .int(sent.realtime)] : [:]
        let answer = try await call("sys.time.get", asked)
        let received = clock.reading()
        guard answer.code == 0, let serverReceived = answer.data["serverRecvTime"]?.intValue,
            let serverSent = answer.data["serverSendTime"]?.intValue
        else { return }
        let outcome = clock.take(sent: sent, serverReceived: serverReceived, serverSent: serverSent, received: received)
        if case .stepped(let millis) = outcome, configuration.logsLinks {
            logger.notice("the clock was brought to the server's", metadata: ["lot": "\(lot.parkCode)", "byMs": "\(millis)"])
        }
    }

    /// Measures if nobody does; called each second by the gateway where a measurement is due.
    func measureIfIdle() async {
        guard clock.beginMeasuring() else { return }
        try? await measure()
    }

    /// Returns when the clock has been measured once, by this lot or by another one.
    func demandClock() async throws(NoAnswer) {
        let until = SystemClock.monotonic() + 15_000
        while !clock.isMeasured, !Task.isCancelled {
            if clock.beginMeasuring() {
                try await measure()
                guard clock.isMeasured else { throw NoAnswer(why: "sys.time.get has no usable answer") }
            } else {
                guard SystemClock.monotonic() < until else { throw NoAnswer(why: "the clock is not measured yet") }
                try? await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    /// Event 6010, once each time that the clock goes beyond the limit.
    func reportClock() async {
        let offset = clock.offset
        let isNews = box.state.withLock { state in
            let (wasOff, isOff) = (state.isClockOff, abs(offset) > BoxClock.offsetMax)
            state.isClockOff = isOff
            return isOff && !wasOff
        }
        if isNews { try? await box.event(type: 6010, detail: ["offsetMs": .int(offset)]) }
    }
}
