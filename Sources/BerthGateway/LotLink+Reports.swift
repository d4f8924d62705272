import BerthCore
import BerthLink
import BerthWire
import Foundation
import Logging
import Synchronization

// Regular reports, and the decision at the barrier.
extension LotLink {
    /// Called about once a second: heartbeat, remaining spaces, the clock, a silent MQTT, upkeep.
    /// - Parameter now: on the monotonic clock, ms.
    func beat(now: Int64) async {
        let isMQTTUp = isOnline
        let (heartbeat, remain, upkeep, prune, probe, recon) = state.withLock { state in
            func isDue(_ last: Int64?, _ millis: Int64) -> Bool { last.map { now - $0 >= millis } ?? true }
            let heartbeat = isDue(state.lastHeartbeat, Int64(configuration.heartbeatSeconds) * 1000)
            if heartbeat { state.lastHeartbeat = now }
            let isQuiet = !isDue(state.lastRemain, 5_000)
            let changed = box.state.withLock { box in
                defer { box.remainChanged = box.remainChanged && isQuiet }
                return box.remainChanged
            }
            let remain = (changed && !isQuiet) || isDue(state.lastRemain, 60_000)
            if remain { state.lastRemain = now }
            let upkeep = isDue(state.lastUpkeep, 60_000)
            if upkeep { state.lastUpkeep = now }
            // An unmeasured clock may be years off; then nothing is old.
            let prune = clock.isMeasured && isDue(state.lastPrune, 3_600_000)
            if prune { state.lastPrune = now }
            let recon = !state.isReconDue && isDue(state.lastRecon, Int64(configuration.reconSeconds) * 1000)
            if recon { state.isReconDue = true }
            return (heartbeat, remain, upkeep, prune, isMQTTUp && state.carrier.takesProbe(at: now), recon)
        }
        if probe { Task { _ = try? await call("sys.time.get", [:], timeoutMillis: 5_000, over: .mqtt) } }
        if recon { box.wake.yield() }
        if upkeep { box.forgetOldOrders() }
        if prune { box.prune() }
        guard box.state.withLock({ $0.isSynchronised }) else { return }
        if heartbeat { sendHeartbeat() }
        await reportClock()
        guard remain else { return }
        let inside = box.occupied
        await ask(
            "space.remain.report",
            [
                "reportTime": .int(box.now()), "total": .int(lot.totalCount), "occupied": .int(inside),
                "remain": .int(max(0, lot.totalCount - inside)),
                "saturationPct": .int(min(1_000, inside * 100 / max(1, lot.totalCount))),
            ])
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
            // The server is asked for its position again as soon as it answers.
            box.state.withLock { $0.isSynchronised = false }
            box.wake.yield()
        }
    }

    private func sendHeartbeat() {
        // The wire's own range of an offset.
        let offset = min(max(clock.offset, -1_000_000_000), 1_000_000_000)
        let data: JSON = [
            "onlineGates": .int(max(1, lot.gates?.arrayValue?.count ?? 1)), "offlineGates": 0,
            "queueDepth": .int(min(max(0, box.backlog), 1_000_000_000)), "clockOffsetMs": .int(offset),
            "softVersion": .string("berth-gateway 0.1"), "localTime": .int(box.now()),
        ]
        guard way == .mqtt, let mqtt else {
            if way == .https { Task { _ = try? await call("sys.heartbeat", data, over: .https) } }
            return
        }
        let bytes = MessageWriter.request(
            service: "sys.heartbeat", data: data, appId: lot.appId, secret: lot.appSecret, parkCode: lot.parkCode,
            requestId: SystemRandom.uuid(), timestamp: box.now(), nonce: SystemRandom.nonce())
        mqtt.publish(topic: Topic.up(lot.parkCode, "sys.heartbeat"), payload: bytes, qos: 0)
    }

    // MARK: The gate

    /// The wait for the server at the barrier, ms (section 14: the local list after 800 ms).
    private static let gateMillis: Int64 = 780

    /// Decides for a car at the barrier: by the server within 800 ms while it can be reached, else by the local list.
    func decide(
        plate text: String, plateColor: Int, gateCode: String, confidence: Int? = nil, orderNo: String? = nil, imageId: String? = nil
    ) async throws -> JSON {
        let plate = try LotBox.reading(text)
        try box.demandGate(gateCode)
        let time = box.now()
        if mayAskServer {
            let asked: JSON = .compact([
                ("gateCode", .string(gateCode)), ("plateNo", .string(plate.revealed)), ("plateColor", .int(plateColor)),
                ("captureTime", .int(time)), ("confidence", .optional(confidence.map { Int64($0) })), ("orderNo", .optional(orderNo)),
                ("imageId", .optional(imageId)),
            ])
            if let answer = try? await call("vehicle.preentry.check", asked, timeoutMillis: LotLink.gateMillis), answer.code == 0,
                let verdict = answer.data["decision"]?.intValue, (-1...1).contains(verdict), case .object(var data) = answer.data
            {
                // 0: the server knows nothing of this car. The lot's own rule for such cars decides.
                let admits = verdict == 0 ? box.admitsUnknown() : verdict == 1
                box.note(plate, number: verdict == 1 ? data["orderNo"]?.stringValue : nil, at: time)
                if verdict == 0 { data["displayText"] = .string(admits ? "欢迎光临" : "非预约车辆") }
                data["admit"] = .bool(admits)
                data["by"] = "server"
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

    /// Sends a picture in three steps: ticket, bytes, check (U18). Nothing of it is kept in the spool: a picture is dropped while the server cannot be reached.
    func sendPicture(_ bytes: [UInt8]) async throws -> String {
        let isJPEG = bytes.starts(with: [0xFF, 0xD8, 0xFF])
        guard isJPEG || bytes.starts(with: [0x89, 0x50, 0x4E, 0x47]) else {
            throw LotBox.Refused(status: 400, name: "illegalValue", description: "the body is neither a JPEG nor a PNG")
        }
        let away = LotBox.Refused(status: 503, name: "dependencyUnavailable", description: "the server cannot be reached now")
        func ask(_ service: String, _ data: JSON) async throws -> JSON {
            guard let answer = try? await call(service, data) else { throw away }
            guard answer.code == 0 else {
                let code = Dialect.current.codes[answer.code]
                throw LotBox.Refused(
                    status: code?.httpStatus ?? 500, name: code?.name ?? "internalError",
                    description: "the server answered \(answer.code) \(answer.hint)")
            }
            return answer.data
        }
        let ticket = try await ask(
            "image.ticket.apply",
            [
                "type": 2, "ext": isJPEG ? "jpg" : "png", "size": .int(bytes.count), "sha256": .string(Signature.hash(canonical: bytes)),
            ])
        guard let imageId = ticket["imageId"]?.stringValue, let url = ticket["uploadUrl"]?.stringValue, await http.upload(url, bytes) else {
            throw away
        }
        _ = try await ask("image.upload.complete", ["imageId": .string(imageId)])
        return imageId
    }

    /// A driver does not wait for a server that is known not to answer.
    private var mayAskServer: Bool {
        switch way {
        case .mqtt: true
        case .https: box.state.withLock { $0.isSynchronised } && isHTTPSWell
        case .none: false
        }
    }
}
