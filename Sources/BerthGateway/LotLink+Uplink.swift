import BerthCore
import BerthLink
import BerthWire
import Foundation
import Logging
import Synchronization

// The up log on its way: where the server stands after a break, then batches (section 5).
extension LotLink {
    /// Sends the up log for as long as the process lives.
    func uplink() async {
        var (failures, skews) = (0, 0)
        var wakes = box.wakes.makeAsyncIterator()
        while !Task.isCancelled {
            do throws(NoAnswer) {
                if !box.state.withLock({ $0.isSynchronised }) { try await synchronise() }
                guard await box.beginSending() else { throw NoAnswer(why: "the spool cannot be written") }
                let limit = state.withLock { $0.isSingle } ? 1 : WireLimits.batchEntriesMax
                guard let (epoch, entries) = await box.nextEntries(limit: limit) else {
                    box.mendLog()
                    throw NoAnswer(why: "an entry of the up log cannot be read; the spool is mended")
                }
                if entries.isEmpty {
                    (failures, skews) = (0, 0)
                    state.withLock { $0.isSingle = false }
                    await box.reportResumeFinished()
                    if try await reconcileIfDue() { continue }
                    box.state.withLock { $0.lastError = "" }
                    _ = await wakes.next()
                    continue
                }
                try await send(epoch, entries)
                (failures, skews) = (0, 0)
                await box.reportResumeFinished()
            } catch {
                let isNews = box.state.withLock { state in
                    defer { state.lastError = error.why }
                    return state.lastError != error.why
                }
                if isNews { warn(error.why) }
                // A wrong clock is mended by a measurement, not by patience.
                if clock.isSuspect, skews < LotLink.skewsMax {
                    skews += 1
                    await pause(2_500) { [clock] in !clock.isSuspect }
                    continue
                }
                let schedule = WireLimits.reconnectSeconds
                let wait = schedule[min(failures, schedule.count - 1)] * 1000
                failures += 1
                await pause(wait + SystemRandom.jitter(wait)) { false }
            }
        }
    }

    /// Attempts in a row that wait for the clock only.
    private static let skewsMax = 5

    /// Waits, but not longer than until MQTT comes up anew, or `isOver`.
    private func pause(_ milliseconds: Int64, _ isOver: @Sendable () -> Bool) async {
        let until = SystemClock.monotonic() + milliseconds
        let connections = state.withLock { $0.connections }
        while SystemClock.monotonic() < until, !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(100))
            if isOver() || state.withLock({ $0.connections }) != connections { return }
        }
    }

    // MARK: After a break

    /// Finds the server's position in both logs and its clock; the first time, reports the lot.
    private func synchronise() async throws(NoAnswer) {
        if way == .none { throw NoAnswer(why: state.withLock { $0.reason }) }
        try await demandClock()
        try await reportLot()
        let (epoch, before) = box.state.withLock { ($0.upEpoch, $0.down) }
        let cursor = try await call("sync.cursor.query", ["epoch": .string(epoch)])
        guard cursor.code == 0, let ackSeq = cursor.data["up"]?["ackSeq"]?.intValue, Bounds.seqs.contains(ackSeq) else {
            throw NoAnswer(why: "sync.cursor.query: \(cursor.code) \(cursor.resultCode.en)")
        }
        try await judge(ackSeq, isClosed: cursor.data["up"]?["closed"]?.boolValue ?? false)
        try await meetFresh(cursor.data)
        try await followDown(cursor.data["down"] ?? [:], before)
        if configuration.logsLinks { logger.notice("in step with the server", metadata: ["lot": "\(lot.parkCode)"]) }
        box.state.withLock {
            $0.isSynchronised = true
            $0.lastError = ""
        }
        await box.reportResumeStarted()
        await reportClock()
    }

    /// Takes the server's word on our log, or begins a new epoch where the two do not fit together.
    private func judge(_ ackSeq: Int64, isClosed: Bool) async throws(NoAnswer) {
        switch box.acknowledged(ackSeq) {
        case .taken where !isClosed: return
        case .taken:
            tell("our epoch was closed at the server; a new one begins")
            try await startEpoch()
        case .behind: try await startEpoch(serverAt: ackSeq)
        case .beyond:
            // Nothing of the epoch was ever sent, and the server claims to have it: that is not believed.
            guard !box.isEpochUnknown else { throw NoAnswer(why: "the server claims \(ackSeq) entries of a log of which it was sent none") }
            let bound = box.sentBound
            logger.warning(
                "the spool is older than the server's position; a new epoch begins",
                metadata: ["lot": "\(lot.parkCode)", "server": "\(ackSeq)", "sent": "\(bound)"])
            _ = box.acknowledged(bound)
            try await startEpoch()
            box.note("the spool was older than the server's position (\(ackSeq), sent \(bound)): a new epoch began")
        }
    }

    /// Begins a new epoch. Entries that the server had acknowledged and lost are not in the log any more; the others go into the new one.
    private func startEpoch(serverAt ackSeq: Int64) async throws(NoAnswer) {
        logger.warning(
            "the server is behind what it had acknowledged; a new epoch begins",
            metadata: ["lot": "\(lot.parkCode)", "server": "\(ackSeq)", "acknowledged": "\(box.state.withLock { $0.upAck })"])
        try await startEpoch()
        box.note("the server stood at \(ackSeq) of our log, behind what it had acknowledged: a new epoch began")
    }

    private func startEpoch() async throws(NoAnswer) {
        guard await box.startEpoch() else { throw NoAnswer(why: "the spool cannot be written") }
    }

    /// A box without a past asks whether the server knows one of this lot.
    private func meetFresh(_ cursor: JSON) async throws(NoAnswer) {
        guard box.isFresh else { return }
        let open = try await call("sync.cursor.query", [:])
        let count = try await call("recon.inlot.count", [:])
        guard open.code == 0, count.code == 0 else {
            throw NoAnswer(
                why: "sync.cursor.query: \(open.code) \(open.resultCode.en), recon.inlot.count: \(count.code) \(count.resultCode.en)")
        }
        let isLost =
            open.data["up"]?["epoch"]?.stringValue?.isEmpty == false || (cursor["down"]?["lastSeq"]?.intValue ?? 0) > 0
            || (count.data["count"]?.intValue ?? 0) > 0
        await box.settleFresh(isLost: isLost)
    }

    /// Takes a snapshot where the down log cannot simply go on: nothing is known of it, the server lost what we have, or has acknowledged what
    /// we do not have.
    /// - Parameter before: our place when the server was asked.
    private func followDown(_ there: JSON, _ before: LogPosition) async throws(NoAnswer) {
        let epoch = there["epoch"]?.stringValue ?? ""
        let isOther = before.epoch == nil || before.epoch != epoch
        let isLost = !isOther && (there["lastSeq"]?.intValue ?? 0) < before.ackSeq
        let here = box.state.withLock { $0.down }
        let isBehind = here.epoch == epoch && (there["ackSeq"]?.intValue ?? 0) > here.ackSeq
        guard isOther || isLost || isBehind else { return }
        if isBehind { tell("the server knows as acknowledged what is not here; a snapshot is taken") }
        try await takeSnapshot(isBehind: isLost)
    }

    /// Asks for a snapshot and goes on from it. One that is too large for MQTT is asked for over HTTPS.
    /// - Parameter isBehind: the server is known to stand behind this box.
    /// - Returns: whether the orders here were those of the snapshot.
    @discardableResult
    func takeSnapshot(isBehind: Bool = false) async throws(NoAnswer) -> Bool {
        for _ in 0..<5 {
            let snapshot = try await askSnapshot()
            guard snapshot.code == 0 else { throw NoAnswer(why: "sync.snapshot.query: \(snapshot.code) \(snapshot.resultCode.en)") }
            let data = snapshot.data
            let isSame = box.matches(snapshot: data)
            switch await box.restore(snapshot: data, isBehind: isBehind) {
            case .done: return isSame
            case .older: continue
            case .unusable: throw NoAnswer(why: "the snapshot cannot be read, or the spool cannot be written")
            }
        }
        throw NoAnswer(why: "the snapshot is always older than what is here")
    }

    private func askSnapshot() async throws(NoAnswer) -> Reply {
        let isOverMQTT = way == .mqtt
        let mayTakeHTTPS = isOverMQTT && configuration.carrier == .auto
        do throws(NoAnswer) {
            let answer = try await call("sync.snapshot.query", [:])
            guard answer.code == LotLink.tooLarge, isOverMQTT else { return answer }
            guard mayTakeHTTPS else {
                throw NoAnswer(why: "the snapshot is too large for MQTT, and the configuration allows no HTTPS (carrier)")
            }
        } catch {
            guard mayTakeHTTPS else { throw error }
        }
        return try await call("sync.snapshot.query", [:], timeoutMillis: 60_000, over: .https)
    }

    private static let tooLarge = Dialect.current.code("tooLarge").code

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

    // MARK: Sending

    private static func row(_ entry: Spool.UpEntry) -> JSON {
        [
            "epoch": .string(entry.epoch), "seq": .int(entry.seq), "requestId": .string(entry.requestId),
            "service": .string(entry.service), "timestamp": .int(entry.at), "data": entry.data,
        ]
    }

    private func send(_ epoch: String, _ entries: [Spool.UpEntry]) async throws(NoAnswer) {
        let answer: Reply
        if entries.count == 1, let only = entries.first {
            answer = try await call(
                only.service, only.data, requestId: only.requestId, epoch: epoch, seq: only.seq)
        } else {
            answer = try await call("sync.batch.report", ["entries": .array(entries.map(LotLink.row))])
        }
        switch answer.code {
        case 610: try await goBack(epoch, entries, answer)
        case 613: try await beginAgain()
        default:
            guard let ackSeq = answer.ackSeq, answer.resultCode.isFinal, answer.epoch == epoch else {
                // One member that the server cannot read refuses a whole batch: alone, the others get through.
                if entries.count > 1, answer.resultCode.isFinal { state.withLock { $0.isSingle = true } }
                throw NoAnswer(why: "\(answer.code) \(answer.resultCode.en) \(answer.hint)")
            }
            var failed = LotLink.failures(answer)
            if entries.count == 1, answer.code != 0 { failed = [(entries[0].seq, answer.code)] }
            try await take(ackSeq, failed: answer.duplicate ? [] : failed)
        }
    }

    /// 610: the server names the entry to go on from; earlier ones are not sent again.
    private func goBack(_ epoch: String, _ entries: [Spool.UpEntry], _ answer: Reply) async throws(NoAnswer) {
        guard let expected = answer.data["expectedSeq"]?.intValue, expected >= 1, Bounds.seqs.contains(expected) else {
            throw NoAnswer(why: "610 without expectedSeq")
        }
        guard answer.data["epoch"]?.stringValue == epoch || expected == 1 else {
            throw NoAnswer(why: "610 about another epoch than ours")
        }
        guard expected != entries.first?.seq else { throw NoAnswer(why: "610 asks for what was just sent") }
        try await take(expected - 1, failed: LotLink.failures(answer))
    }

    /// 613: our epoch was closed.
    private func beginAgain() async throws(NoAnswer) {
        let count = state.withLock { state in
            state.fruitlessEpochs += 1
            return state.fruitlessEpochs
        }
        try await startEpoch()
        // Once is another box's doing; again and again is the server's, and is not answered at the speed of the line.
        if count > 1 { throw NoAnswer(why: "the server closes every epoch (613)") }
    }

    private func take(_ ackSeq: Int64, failed: [(seq: Int64, code: Int)]) async throws(NoAnswer) {
        switch box.acknowledged(ackSeq, failed: failed) {
        case .taken(isNew: true): state.withLock { $0.fruitlessEpochs = 0 }
        case .taken(isNew: false): throw NoAnswer(why: "the server acknowledges nothing of what it is sent")
        case .behind: try await startEpoch(serverAt: ackSeq)
        case .beyond:
            // Asked again where it stands; a server that insists is judged there.
            box.state.withLock { $0.isSynchronised = false }
            throw NoAnswer(why: "the server acknowledges \(ackSeq), which was never sent")
        }
    }

    private static func failures(_ answer: Reply) -> [(seq: Int64, code: Int)] {
        (answer.data["failed"]?.arrayValue ?? []).prefix(WireLimits.batchEntriesMax).compactMap { row in
            guard let seq = row["seq"]?.intValue, let code = row["code"]?.intValue, (0...9999).contains(code) else { return nil }
            return (seq, Int(code))
        }
    }

    // MARK: Records again (D20)

    /// Sends acknowledged entries again as they were, with epoch, seq and requestId; the server answers duplicates.
    /// - Returns: the answer to D20; the sending goes on after it.
    func resend(_ data: JSONObject) async -> Reply {
        guard data["stream"]?.stringValue == "up" else { return Reply(data: ["accepted": false, "count": 0]) }
        func bound(_ name: String, _ fallback: Int64) -> Int64 { data[name]?.intValue ?? fallback }
        let (from, to) = (bound("seqFrom", 1), bound("seqTo", WireLimits.intMax))
        let (since, until) = (bound("timeFrom", Bounds.times.lowerBound), bound("timeTo", Bounds.times.upperBound))
        guard from <= to, since <= until else { return Reply(WireError("illegalValue", "seqFrom to seqTo, timeFrom to timeTo")) }
        // A seq means one of the open epoch; a time means every epoch.
        let namesSeq = data["seqFrom"]?.intValue != nil || data["seqTo"]?.intValue != nil
        let range = Spool.Range(seqs: from...to, times: since...until, epoch: namesSeq ? box.state.withLock { $0.upEpoch } : nil)
        let isFree = box.state.withLock { state in
            defer { state.isResending = true }
            return !state.isResending
        }
        guard isFree else { return Reply(WireError("tooManyInFlight")) }
        guard let entries = await box.sent(range) else {
            box.state.withLock { $0.isResending = false }
            return Reply(WireError("dependencyUnavailable"))
        }
        Task { await resend(entries) }
        // Entries that are not acknowledged go by themselves.
        box.wake.yield()
        return Reply(data: ["accepted": true, "count": .int(entries.count)])
    }

    private func resend(_ entries: [Spool.UpEntry]) async {
        defer { box.state.withLock { $0.isResending = false } }
        var rest = entries[...]
        while let first = rest.first, !Task.isCancelled {
            // One epoch, and no more than a batch holds.
            var size = 0
            let batch = rest.prefix(WireLimits.batchEntriesMax).prefix { entry in
                size += entry.data.text().count + 200
                return entry.epoch == first.epoch && size <= WireLimits.batchBytesMax
            }
            let part = batch.isEmpty ? rest.prefix(1) : batch
            rest = rest.dropFirst(part.count)
            let sorted = part.sorted { $0.seq < $1.seq }
            do throws(NoAnswer) {
                let answer = try await call("sync.batch.report", ["entries": .array(sorted.map(LotLink.row))])
                if answer.code != 0 { tell("records sent again (D20) were answered \(answer.code) \(answer.resultCode.en)") }
            } catch { return warn("record.resend: \(error.why)") }
        }
    }
}
