import BerthCore
import BerthStore
import BerthWire
import Foundation
import Synchronization

// The committing half of the one writer: groups of decisions become durable, then their answers are given and listeners are told.
extension Sequencer {
    private static var uptimeMillis: Int64 { Int64(DispatchTime.now().uptimeNanoseconds / 1_000_000) }

    /// Hands a group to the disk.
    private func write(_ commits: [Commit]) throws(StoreError) -> Int64 {
        guard !commits.isEmpty else { return 0 }
        committingSince.store(Sequencer.uptimeMillis, ordering: .relaxed)
        defer { committingSince.store(0, ordering: .relaxed) }
        return try store.commit(commits)
    }

    /// The age of the commit that the disk works on, ms; 0 where it works on none.
    var commitMillis: Int64 {
        let since = committingSince.load(ordering: .relaxed)
        return since == 0 ? 0 : max(0, Sequencer.uptimeMillis - since)
    }

    func answerNow(_ state: inout State, _ answer: Reply, _ completion: @escaping Completion) {
        state.immediate.append((completion, answer))
    }

    func enqueue(_ state: inout State, _ pending: consuming Pending) {
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

    func commitLoop() {
        while true {
            hasWork.wait()
            while true {
                let (batch, isStopped, isHalted) = state.withLockedValue { state in
                    var batch: [Pending] = []
                    let count = Sequencer.group(state.pending)
                    if count == state.pending.count {
                        swap(&batch, &state.pending)
                    } else {
                        batch = Array(state.pending.prefix(count))
                        state.pending.removeFirst(count)
                    }
                    return (batch, state.isStopped, state.halt != nil)
                }
                if batch.isEmpty {
                    if isHalted, !isStopped {
                        restore()
                        continue
                    }
                    if isStopped { return }
                    break
                }
                write(batch)
            }
        }
    }

    /// How many of those that wait are written in one transaction.
    private static func group(_ pending: [Pending]) -> Int {
        var bytes = 0
        for (index, one) in pending.enumerated() {
            if index >= Limits.batchMax || (index > 0 && bytes > Limits.batchBytesMax) { return index }
            bytes += one.commit?.weight ?? 0
        }
        return pending.count
    }

    private func write(_ batch: [Pending]) {
        let commits = batch.compactMap(\.commit)
        let start = DispatchTime.now().uptimeNanoseconds
        do {
            let journalId = try write(commits)
            commitTimer.recordNanoseconds(Int64(DispatchTime.now().uptimeNanoseconds - start))
            // Answers do not wait for the lock. But a lot whose log entry is taken may send the next one at once, and must find room.
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
                    for up in commit.up where up.code != 0 && !up.recordNo.isEmpty {
                        let key = Sequencer.deadKey(up.parkCode, up.recordNo)
                        if state.freshDead[key]?.seq == up.seq { state.freshDead[key] = nil }
                    }
                }
            }
            if hasLog { for pending in batch { pending.completion(pending.answer) } }
            if !commits.isEmpty {
                durableQueue.async { [self] in
                    let durable = Durable(commits: commits, at: clock(), journalId: journalId)
                    for listener in listeners.withLock({ $0 }) { listener.committed(durable) }
                }
            }
        } catch {
            recover(from: error, batch)
        }
    }
}
