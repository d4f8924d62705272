import BerthCore
import BerthLink
import BerthWire
import Foundation
import Synchronization

// The down log without MQTT: a long poll.
extension LotLink {
    /// Polls while calls go over HTTPS.
    func downlink() async {
        guard configuration.carrier != .mqtt else { return }
        while !Task.isCancelled {
            guard way == .https, box.state.withLock({ $0.isSynchronised }) else {
                try? await Task.sleep(for: .milliseconds(300))
                continue
            }
            do throws(NoAnswer) { try await poll() } catch { try? await Task.sleep(for: .seconds(1)) }
        }
    }

    private func poll() async throws(NoAnswer) {
        let before = box.state.withLock { $0.down }
        let begun = SystemClock.monotonic()
        let answer = try await call(
            "sync.down.pull",
            .compact([("epoch", .optional(before.epoch)), ("afterSeq", .int(before.ackSeq)), ("limit", 100), ("waitMs", 20_000)]),
            timeoutMillis: 30_000, over: .https)
        if answer.code == 610 || answer.code == 613 {
            try await takeSnapshot()
            return
        }
        guard answer.code == 0, let open = answer.data["epoch"]?.stringValue else {
            throw NoAnswer(why: "sync.down.pull: \(answer.code)")
        }
        let entries = answer.data["entries"]?.arrayValue ?? []
        var results: [JSON] = []
        for entry in entries.prefix(WireLimits.batchEntriesMax) {
            guard let seq = entry["seq"]?.intValue, let service = entry["service"]?.stringValue, service.utf8.count <= 48 else { continue }
            let result = await withCheckedContinuation { continuation in
                box.consume(epoch: open, seq: seq, service: service, data: entry["data"] ?? [:]) {
                    continuation.resume(returning: $0)
                }
            }
            guard result.resultCode.isFinal else { break }
            results.append(["seq": .int(seq), "code": .int(result.code), "data": result.data])
        }
        let after = box.state.withLock { $0.down }
        // Entries that lead nowhere are not asked for at the speed of the line.
        guard !results.isEmpty else {
            if entries.isEmpty, SystemClock.monotonic() - begun > 1_000 { return }
            throw NoAnswer(why: "no entry of the down log could be taken")
        }
        let ackSeq = after.ackSeq
        let acknowledged = try await call(
            "sync.down.ack", ["epoch": .string(open), "ackSeq": .int(ackSeq), "results": .array(results)])
        if acknowledged.code != 0 || after == before { throw NoAnswer(why: "sync.down.ack: \(acknowledged.code)") }
    }
}
