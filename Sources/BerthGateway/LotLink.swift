import BerthCore
import BerthLink
import BerthWire
import Foundation
import Logging
import Synchronization

/// Connects one lot's box with the server: MQTT first, HTTPS when it must, in the middle of either log.
final class LotLink: MQTTListener {
    /// No answer: the link is down, or the server did not answer within its time.
    struct NoAnswer: Error { let why: String }

    private struct Waiting {
        var continuation: CheckedContinuation<Answer?, Never>
        var deadline: Int64
    }

    private struct State {
        var waiting: [String: Waiting] = [:]
        var hasReported = false
        var lastHeartbeat: Int64 = 0
        var lastRemain: Int64 = 0
        var lastClock: Int64 = .min
        var reason = "not connected yet"
        /// The gateway has stopped: nobody would end a wait that begins now.
        var isClosed = false
    }

    let box: LotBox
    private let configuration: GatewayConfiguration
    private let http: SignedClient
    private let state = Mutex(State())
    private let client = Mutex<MQTTClient?>(nil)
    private let logger: Logger

    init(_ box: LotBox, configuration: GatewayConfiguration, http: SignedClient, logger: Logger) {
        self.box = box
        self.configuration = configuration
        self.http = http
        self.logger = logger
    }

    private var lot: GatewayConfiguration.LotEntry { box.entry }
    var isOnline: Bool { client.withLock { $0 }?.isUp ?? false }
    var carrierName: String { isOnline ? "mqtt" : configuration.carrier == .mqtt ? "none" : "https" }
    var mqtt: MQTTClient? { client.withLock { $0 } }

    func connect(_ reactor: MQTTReactor) {
        guard configuration.carrier != .https else { return }
        let clientId = MQTTIdentity.clientId(appId: lot.appId, role: .lot, parkCode: lot.parkCode)
        var mqtt = MQTTConfiguration(
            host: configuration.mqttHost, port: configuration.mqttPort, caFile: configuration.caFile, clientId: clientId,
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
            guard let reply = ReplyEnvelope(payload, secret: lot.appSecret) else { return }
            let wait = state.withLock { $0.waiting.removeValue(forKey: reply.requestId) }
            wait?.continuation.resume(returning: reply.answer)
            return
        }
        receive(payload, service: String(topic.split(separator: "/").last ?? ""))
    }

    /// An entry of the down log: signature, clock, then the box; the reply goes back signed.
    private func receive(_ payload: [UInt8], service: String) {
        var echo = Echo()
        let credential = Credential(appId: lot.appId, secret: lot.appSecret, role: .lot, name: "")
        do throws(WireError) {
            let envelope = try Envelope.read(payload, echo: &echo)
            let push = try envelope.verify(credential: credential, now: box.now()).envelope
            guard push.service == service else { throw WireError("unknownService") }
            guard push.parkCode == lot.parkCode else { throw WireError("lotNotAuthorised") }
            let finalEcho = echo
            if Profile.current.services[push.service]?.kind == .live {
                return try live(push) { [self] answer in reply(answer, finalEcho) }
            }
            guard let epoch = push.epoch, let seq = push.seq else { throw WireError("missingParameter", "epoch, seq") }
            box.consume(epoch: epoch, seq: seq, service: service, data: .object(push.data)) { [self] answer in
                reply(answer, finalEcho)
            }
        } catch {
            reply(Answer(error), echo)
        }
    }

    /// Answered now or not at all: by the box itself, or by the PMS within the message's own time.
    private func live(_ push: Envelope, completion: @escaping @Sendable (Answer) -> Void) throws(WireError) {
        let definition = Profile.current.services[push.service]!
        try definition.request.check(push.data)
        let now = box.now()
        if let answer = box.answerLive(push.service, push.data, receivedAt: now) { return completion(answer) }
        let time = push.data["ttlMs"]?.intValue ?? (push.service.hasPrefix("fee.") ? 4_500 : 5_000)
        // Never executed late: the time runs from the sending, by a clock that is brought to the server's.
        let left = push.timestamp + time - now
        guard left > 0 else { throw WireError("expiredBeforeDelivery") }
        box.desk.post(push.service, .object(push.data), milliseconds: min(left, time), completion: completion)
    }

    private func reply(_ answer: Answer, _ echo: Echo) {
        let bytes = MessageWriter.reply(
            answer, echo: echo, secret: lot.appSecret, timestamp: box.now(), nonce: Ambient.nonce(), showHints: false)
        mqtt?.publish(topic: Topic.upReply(lot.parkCode), payload: bytes)
    }

    // MARK: Calling the server

    /// Calls over whichever carrier is there.
    func call(
        _ service: String, _ data: JSON, requestId: String = Ambient.uuid(), epoch: String? = nil, seq: Int64? = nil,
        timeoutMillis: Int64 = 10_000
    ) async throws(NoAnswer) -> Answer {
        if let mqtt, mqtt.isUp {
            let bytes = MessageWriter.request(
                service: service, data: data, appId: lot.appId, secret: lot.appSecret, parkCode: lot.parkCode,
                requestId: requestId, timestamp: box.now(), nonce: Ambient.nonce(), epoch: epoch, seq: seq)
            let answer = await withCheckedContinuation { continuation in
                let isClosed = state.withLock { state in
                    if !state.isClosed {
                        state.waiting[requestId] = Waiting(
                            continuation: continuation, deadline: Ambient.monotonic() + timeoutMillis)
                    }
                    return state.isClosed
                }
                if isClosed { return continuation.resume(returning: nil) }
                // A car at the barrier does not wait for the next round of the keeper.
                if timeoutMillis < 2_000 {
                    DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(Int(timeoutMillis))) { [self] in
                        sweep(now: Ambient.monotonic())
                    }
                }
                mqtt.publish(topic: Topic.up(lot.parkCode, service), payload: bytes)
            }
            guard let answer else { throw NoAnswer(why: "no answer over MQTT") }
            return answer
        }
        guard configuration.carrier != .mqtt else { throw NoAnswer(why: state.withLock { $0.reason }) }
        do throws(CallError) {
            return try await http.call(
                service, data: data, appId: lot.appId, secret: lot.appSecret, parkCode: lot.parkCode,
                requestId: requestId, now: box.now(), epoch: epoch, seq: seq,
                timeoutSeconds: max(1, timeoutMillis / 1000))
        } catch { throw NoAnswer(why: "\(error)") }
    }

    /// Nothing is waited for any more.
    func close() {
        state.withLock { $0.isClosed = true }
        sweep(now: .max)
    }

    /// Asks for what waits too long; called several times a second.
    func sweep(now: Int64) {
        let late = state.withLock { state in
            let late = state.waiting.filter { $0.value.deadline <= now }
            for key in late.keys { state.waiting[key] = nil }
            return late
        }
        for wait in late.values { wait.continuation.resume(returning: nil) }
    }

    // MARK: The up log

    /// Sends the up log for as long as the process lives: asks where the server stands after every break, then batches.
    func uplink() async {
        var failures = 0
        var wakes = box.wakes.makeAsyncIterator()
        while !Task.isCancelled {
            do throws(NoAnswer) {
                if !box.state.withLock({ $0.isSynchronised }) { try await synchronise() }
                let (epoch, entries) = box.nextEntries()
                if entries.isEmpty {
                    failures = 0
                    _ = await wakes.next()
                    continue
                }
                try await send(epoch, entries)
                failures = 0
            } catch {
                let isNews = box.state.withLock { state in
                    defer { state.lastError = error.why }
                    return state.lastError != error.why
                }
                if isNews { warn(error.why) }
                let schedule = WireLimits.reconnectSeconds
                let wait = schedule[min(failures, schedule.count - 1)] * 1000
                failures += 1
                await pause(wait + Ambient.jitter(wait), &wakes)
            }
        }
    }

    /// Waits, but not longer than until the link is back.
    private func pause(_ milliseconds: Int64, _ wakes: inout AsyncStream<Void>.Iterator) async {
        let until = Ambient.monotonic() + milliseconds
        while Ambient.monotonic() < until, !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(100))
            if isOnline, configuration.carrier != .https { return }
        }
    }

    /// After a break: where the server stands in both logs, our clock, and, on the first time, who we are.
    private func synchronise() async throws(NoAnswer) {
        if configuration.carrier == .mqtt, !isOnline { throw NoAnswer(why: state.withLock { $0.reason }) }
        try await measureClock()
        try await reportLot()
        let (epoch, down) = box.state.withLock { ($0.upEpoch, $0.down) }
        let cursor = try await call("sync.cursor.query", ["epoch": .string(epoch)])
        guard cursor.code == 0, let ackSeq = cursor.data["up"]?["ackSeq"]?.intValue else {
            throw NoAnswer(why: "sync.cursor.query: \(cursor.code) \(cursor.resultCode.en)")
        }
        let isBehind = !box.acknowledged(ackSeq, failed: [])
        if isBehind { await startEpoch(serverAt: ackSeq) }
        let isLost =
            cursor.data["down"]?["epoch"]?.stringValue != down.epoch || (cursor.data["down"]?["lastSeq"]?.intValue ?? 0) < down.ackSeq
        if down.epoch == nil || isLost {
            // We know nothing of the server's log, if there is one yet; or it lost what we have of it: start from what is in force.
            let snapshot = try await call("sync.snapshot.query", [:])
            if snapshot.code == 0 { await box.restore(snapshot: snapshot.data) }
        }
        if configuration.logsLinks { logger.notice("in step with the server", metadata: ["lot": "\(lot.parkCode)"]) }
        box.state.withLock {
            $0.isSynchronised = true
            $0.lastError = isBehind ? "the server stood at \(ackSeq) of our log, behind what it had acknowledged: a new epoch began" : ""
        }
    }

    /// What the server had acknowledged and lost is not here any more; what it never had goes into a new epoch.
    private func startEpoch(serverAt ackSeq: Int64) async {
        logger.warning(
            "the server is behind what it had acknowledged; a new epoch begins",
            metadata: ["lot": "\(lot.parkCode)", "server": "\(ackSeq)", "acknowledged": "\(box.state.withLock { $0.upAck })"])
        await box.startEpoch()
    }

    /// The four-timestamp formula of `sys.time.get`; the estimate moves by half of what is new, so one slow answer does not throw it.
    private func measureClock() async throws(NoAnswer) {
        let sent = Ambient.now()
        let answer = try await call("sys.time.get", ["deviceSendTime": .int(sent)])
        let received = Ambient.now()
        guard answer.code == 0, let serverReceived = answer.data["serverRecvTime"]?.intValue,
            let serverSent = answer.data["serverSendTime"]?.intValue
        else { return }
        let offset = ((serverReceived - sent) + (serverSent - received)) / 2
        let isFirst = state.withLock { state in
            defer { state.lastClock = Ambient.monotonic() }
            return state.lastClock == .min
        }
        // Our own clock is left alone; the estimate is what is slewed, and everything that is signed or recorded goes by it.
        let (wasOff, isOff) = box.state.withLock { state in
            state.clockOffset = isFirst ? offset : (state.clockOffset + offset) / 2
            defer { state.isClockOff = abs(state.clockOffset) > LotLink.clockOffsetMax }
            return (state.isClockOff, abs(state.clockOffset) > LotLink.clockOffsetMax)
        }
        if isOff, !wasOff { try? await box.event(type: 6010, detail: ["offsetMs": .int(offset)]) }
    }

    /// Section 13: a clock that is further off than this is an event, ms.
    private static let clockOffsetMax: Int64 = 5_000

    private func reportLot() async throws(NoAnswer) {
        guard !state.withLock({ $0.hasReported }) else { return }
        for (service, data) in [("lot.info.report", lot.info), ("lot.gate.report", lot.gates.map { ["gates": $0] })] {
            guard let data else { continue }
            let answer = try await call(service, data)
            guard answer.code == 0 else {
                throw NoAnswer(why: "\(service): \(answer.code) \(answer.resultCode.en) \(answer.hint)")
            }
        }
        state.withLock { $0.hasReported = true }
    }

    private func send(_ epoch: String, _ entries: [Spool.UpEntry]) async throws(NoAnswer) {
        func data(_ entry: Spool.UpEntry) -> JSON { (try? JSON.parse(Array(entry.data.utf8))) ?? [:] }
        let answer: Answer
        if entries.count == 1, let only = entries.first {
            answer = try await call(
                only.service, data(only), requestId: only.requestId, epoch: epoch, seq: only.seq)
        } else {
            let rows = entries.map { entry -> JSON in
                [
                    "epoch": .string(epoch), "seq": .int(entry.seq), "requestId": .string(entry.requestId),
                    "service": .string(entry.service), "timestamp": .int(entry.at), "data": data(entry),
                ]
            }
            answer = try await call("sync.batch.report", ["entries": .array(rows)])
        }
        let code = answer.code
        switch code {
        case 610:
            // The server says where to go on; what it has is not sent again.
            guard let expected = answer.data["expectedSeq"]?.intValue else { throw NoAnswer(why: "610 without expectedSeq") }
            if answer.data["epoch"]?.stringValue == epoch || expected == 1, !box.acknowledged(expected - 1, failed: failures(answer)) {
                await startEpoch(serverAt: expected - 1)
            }
        case 613:
            await box.startEpoch()
        default:
            if let ackSeq = answer.ackSeq, answer.resultCode.isFinal, answer.epoch == epoch {
                var failed = failures(answer)
                if entries.count == 1, code != 0 { failed = [(entries[0].seq, code)] }
                if !box.acknowledged(ackSeq, failed: answer.duplicate ? [] : failed) { await startEpoch(serverAt: ackSeq) }
            } else {
                throw NoAnswer(why: "\(code) \(answer.resultCode.en) \(answer.hint)")
            }
        }
    }

    private func failures(_ answer: Answer) -> [(seq: Int64, code: Int)] {
        (answer.data["failed"]?.arrayValue ?? []).compactMap { row in
            guard let seq = row["seq"]?.intValue, let code = row["code"]?.intValue else { return nil }
            return (seq, Int(code))
        }
    }

    // MARK: The down log without MQTT

    /// Long poll, while MQTT is not there and HTTPS is allowed.
    func downlink() async {
        guard configuration.carrier != .mqtt else { return }
        while !Task.isCancelled {
            let isReady = box.state.withLock { $0.isSynchronised }
            guard !isOnline, isReady else {
                try? await Task.sleep(for: .milliseconds(300))
                continue
            }
            do throws(NoAnswer) { try await poll() } catch { try? await Task.sleep(for: .seconds(1)) }
        }
    }

    private func poll() async throws(NoAnswer) {
        let (epoch, after) = box.state.withLock { ($0.down.epoch, $0.down.ackSeq) }
        let answer = try await call(
            "sync.down.pull",
            .compact([("epoch", .optional(epoch)), ("afterSeq", .int(after)), ("limit", 100), ("waitMs", 20_000)]),
            timeoutMillis: 30_000)
        if answer.code == 610 || answer.code == 613 {
            let snapshot = try await call("sync.snapshot.query", [:])
            if snapshot.code == 0 { await box.restore(snapshot: snapshot.data) }
            return
        }
        guard answer.code == 0, let open = answer.data["epoch"]?.stringValue else {
            throw NoAnswer(why: "sync.down.pull: \(answer.code)")
        }
        var results: [JSON] = []
        for entry in answer.data["entries"]?.arrayValue ?? [] {
            guard let seq = entry["seq"]?.intValue, let service = entry["service"]?.stringValue else { continue }
            let result = await withCheckedContinuation { continuation in
                box.consume(epoch: open, seq: seq, service: service, data: entry["data"] ?? [:]) {
                    continuation.resume(returning: $0)
                }
            }
            guard result.resultCode.isFinal else { break }
            results.append(["seq": .int(seq), "code": .int(result.code), "data": result.data])
        }
        guard !results.isEmpty else { return }
        let ackSeq = box.state.withLock { $0.down.ackSeq }
        _ = try await call(
            "sync.down.ack", ["epoch": .string(open), "ackSeq": .int(ackSeq), "results": .array(results)])
    }

    // MARK: Regular reports

    /// Called about once a second: heartbeat, remaining spaces, the clock.
    func beat(now: Int64) async {
        let (heartbeat, remain, clock) = state.withLock { state in
            let heartbeat = now - state.lastHeartbeat >= Int64(configuration.heartbeatSeconds) * 1000
            if heartbeat { state.lastHeartbeat = now }
            let changed = box.state.withLock { box in
                defer { box.remainChanged = box.remainChanged && now - state.lastRemain < 5000 }
                return box.remainChanged
            }
            let remain = (changed && now - state.lastRemain >= 5000) || now - state.lastRemain >= 60_000
            if remain { state.lastRemain = now }
            return (heartbeat, remain, state.lastClock != .min && now - state.lastClock > 600_000)
        }
        guard box.state.withLock({ $0.isSynchronised }) else { return }
        if heartbeat { sendHeartbeat() }
        if remain {
            let inside = box.occupied
            let data: JSON = [
                "reportTime": .int(box.now()), "total": .int(lot.totalCount), "occupied": .int(inside),
                "remain": .int(max(0, lot.totalCount - inside)),
                "saturationPct": .int(inside * 100 / max(1, lot.totalCount)),
            ]
            await ask("space.remain.report", data)
        }
        if clock { try? await measureClock() }
        box.forgetOldOrders()
    }

    /// A report whose answer says that somebody is there: the broker may be up while the server behind it is not.
    private func ask(_ service: String, _ data: JSON) async {
        do throws(NoAnswer) {
            _ = try await call(service, data)
        } catch {
            let isNews = box.state.withLock { state in
                defer { state.lastError = "\(service): \(error.why)" }
                return state.isSynchronised
            }
            guard isNews else { return }
            warn(error.why)
            // What it has is asked again as soon as it answers.
            box.state.withLock { $0.isSynchronised = false }
            box.wake.yield()
        }
    }

    private func warn(_ why: String) {
        guard configuration.logsLinks else { return }
        logger.warning("no answer from the server", metadata: ["lot": "\(lot.parkCode)", "why": "\(why)"])
    }

    private func sendHeartbeat() {
        let data: JSON = [
            "onlineGates": .int(max(1, lot.gates?.arrayValue?.count ?? 1)), "offlineGates": 0,
            "queueDepth": .int(box.backlog), "clockOffsetMs": .int(box.state.withLock { $0.clockOffset }),
            "softVersion": .string("berth-gateway 0.1"), "localTime": .int(box.now()),
        ]
        guard let mqtt, mqtt.isUp else {
            if configuration.carrier != .mqtt { Task { _ = try? await call("sys.heartbeat", data) } }
            return
        }
        let bytes = MessageWriter.request(
            service: "sys.heartbeat", data: data, appId: lot.appId, secret: lot.appSecret, parkCode: lot.parkCode,
            requestId: Ambient.uuid(), timestamp: box.now(), nonce: Ambient.nonce())
        mqtt.publish(topic: Topic.up(lot.parkCode, "sys.heartbeat"), payload: bytes, qos: 0)
    }

    // MARK: The gate

    /// The decision for a car at the barrier: the server's within 800 ms while the link is up, else the local list's.
    func decide(
        plate text: String, plateColor: Int, gateCode: String, confidence: Int? = nil, orderNo: String? = nil
    ) async throws -> JSON {
        guard let plate = Plate(text) else {
            throw LotBox.Refused(status: 422, name: "illegalPlate", description: "not a plate number")
        }
        let time = box.now()
        if isOnline {
            let asked: JSON = .compact([
                ("gateCode", .string(gateCode)), ("plateNo", .string(plate.revealed)), ("plateColor", .int(plateColor)),
                ("captureTime", .int(time)), ("confidence", .optional(confidence.map { Int64($0) })), ("orderNo", .optional(orderNo)),
            ])
            if let answer = try? await call("vehicle.preentry.check", asked, timeoutMillis: 780), answer.code == 0,
                let verdict = answer.data["decision"]?.intValue, case .object(var data) = answer.data
            {
                // 0: nobody's car, by everything that the server knows. What is left is the lot's own rule for those.
                let admits = verdict == 0 ? box.admitsUnknown() : verdict == 1
                box.note(plate, number: verdict == 1 ? data["orderNo"]?.stringValue : nil, at: time)
                if verdict == 0 { data["displayText"] = .string(admits ? "欢迎光临" : "非预约车辆") }
                data.append("admit", .bool(admits))
                data.append("by", "server")
                return .object(data)
            }
        }
        let (decision, admits) = box.decideLocally(
            plate: plate, gateCode: gateCode, confidence: confidence, orderNo: orderNo, at: time)
        box.note(plate, number: decision.verdict == .allow ? decision.entry?.orderNo ?? decision.subscription?.authNo : nil, at: time)
        guard case .object(var data) = Encode.gate(decision) else { return [:] }
        data["admit"] = .bool(admits)
        data["by"] = "local"
        if decision.verdict == .local { data["displayText"] = .string(admits ? "欢迎光临" : "非预约车辆") }
        return .object(data)
    }
}
