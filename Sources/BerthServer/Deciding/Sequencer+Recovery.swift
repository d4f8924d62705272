import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Foundation
import Synchronization

// After a failure of the store, nothing is decided on state that may be wrong. Work resumes by itself when the store works again.
extension Sequencer {
    /// Nothing of the batch was written, and the decisions on top of it are void too. All callers are told to try again, and the changes
    /// of their commands in the city are undone. Other readers wait for none of it.
    func recover(from error: StoreError, _ batch: [Pending]) {
        logger.error("the store refused a commit", metadata: ["why": "\(error.reason)", "messages": "\(batch.count)"])
        let void = state.withLockedValue { state in
            let void = batch + state.pending
            state.pending.removeAll()
            state.logBacklog.removeAll()
            state.freshReplies.removeAll()
            state.freshDead.removeAll()
            var halt = Halt(reason: error.reason, refusedCommit: true)
            // A look that failed meanwhile left something to undo, too.
            if let before = state.halt { halt.void = before.void }
            for commit in void.compactMap(\.commit) { halt.void.add(commit.events) }
            state.halt = halt
            return void
        }
        // Answers that only waited for others may rest on what is void now.
        let refused = Reply(WireError("dependencyUnavailable", error.reason))
        for pending in void { pending.completion(refused) }
    }

    /// Undoes what was decided in vain, as often as it takes; then waits until the store takes a commit. Runs on the committer's thread:
    /// there is nothing to commit meanwhile.
    func restore() {
        let (halt, isStopped) = state.withLockedValue { ($0.halt, $0.isStopped) }
        guard let halt, !isStopped else { return }
        if halt.isStale {
            do throws(StoreError) {
                let started = SystemClock.monotonic()
                if halt.void.isWholeCity { try exchange() } else { try undo(halt.void) }
                state.withLockedValue { state in
                    state.decided = state.durable
                    state.touched.removeAll()
                    // A batch whose later entry failed left its dead letters here.
                    state.freshDead.removeAll()
                    state.halt?.isStale = false
                    state.halt?.void = Touched()
                }
                let things =
                    halt.void.isWholeCity ? "the whole city" : "\(halt.void.reservations.count) orders, \(halt.void.visits.count) visits"
                logger.notice(
                    "what was decided in vain is undone", metadata: ["ms": "\(SystemClock.monotonic() - started)", "what": "\(things)"])
            } catch {
                state.withLockedValue { $0.halt?.reason = error.reason }
                logger.error("the store cannot be read; work is refused until it can", metadata: ["why": "\(error.reason)"])
                return pause(.seconds(1))
            }
        }
        if halt.refusedCommit {
            do throws(StoreError) { try store.commit([Commit(at: clock(), events: [])]) } catch {
                state.withLockedValue { $0.halt?.reason = error.reason }
                return pause(.milliseconds(30))
            }
        }
        state.withLockedValue { $0.halt = nil }
        logger.notice("the store works again")
    }

    /// Gives the touched parts their durable values, read without the lock; the lock is held for one part of them at a time.
    private func undo(_ void: Touched) throws(StoreError) {
        let durable = try store.values(of: void)
        let undoing = Undoing(void, durable)
        for part in undoing.parts { state.withLockedValue { $0.city.undo(undoing, part: part, at: clock()) } }
        state.withLockedValue { state in
            for (parkCode, marks) in durable.lots { state.deadCounts[parkCode] = marks.deadLetters > 0 ? marks.deadLetters : nil }
        }
    }

    /// Puts the city as the store has it in the place of the one in memory.
    private func exchange() throws(StoreError) {
        let loaded = try readBack()
        state.withLockedValue { state in
            // Exchanged and not copied: two owners of one city would copy its tables at the next decision.
            loaded.city.withLock { swap(&state.city, &$0) }
            state.deadCounts = loaded.dead
        }
        // The old city is given up on another thread, too: with 300,000 orders that takes half a second.
        let nobody = City(policy: policy, newEpoch: newEpoch)
        DispatchQueue.global().async { loaded.city.withLock { $0 = nobody } }
    }

    /// A city as the store has it, and how many dead letters its lots have. It is handed from one thread to the next, and used by one at a time.
    private final class Loaded: Sendable {
        let city: Mutex<City>
        let dead: [String: Int]

        init(city: City, dead: [String: Int]) {
            self.city = Mutex(city)
            self.dead = dead
        }
    }

    /// Reads the city back. The committer goes before other threads, so this is another thread's work: it takes seconds in a large city.
    private func readBack() throws(StoreError) -> Loaded {
        let done = DispatchSemaphore(value: 0)
        let result = Mutex<Result<Loaded, StoreError>?>(nil)
        DispatchQueue.global().async { [self] in
            result.withLock { $0 = load() }
            done.signal()
        }
        done.wait()
        return try (result.withLock { $0.take() } ?? .failure(.unavailable("nothing was read"))).get()
    }

    private func load() -> Result<Loaded, StoreError> {
        do throws(StoreError) {
            let image = try store.load(noncesSince: .max)
            // The evidence of the present, which no message carries, is carried over.
            let passed = state.withLockedValue { $0.city.lots.mapValues(\.passedThrough) }
            var city = image.city(policy: policy, newEpoch: newEpoch, reviewsLots: reviewsLots, now: clock())
            for (parkCode, time) in passed { city.notePassed(parkCode, through: time) }
            let dead = Dictionary(
                uniqueKeysWithValues: image.lots.filter { $0.marks.deadLetters > 0 }.map { ($0.parkCode, $0.marks.deadLetters) })
            return .success(Loaded(city: city, dead: dead))
        } catch { return .failure(error) }
    }

    /// Of the committer, which has nothing to commit meanwhile.
    private func pause(_ time: DispatchTimeInterval) { _ = DispatchSemaphore(value: 0).wait(timeout: .now() + time) }
}
