import BerthLink
import BerthWire
import Foundation
import Synchronization

/// What the platform wants of the PMS now: open a gate, say a fee, take a picture. Kept in memory only, since none of it may be done
/// late; the PMS waits for it by a long poll and answers it by its number.
final class Desk: Sendable {
    struct Order: Sendable {
        let id: String
        let service: String
        let data: JSON
        /// On the monotonic clock, ms.
        let deadline: Int64
        let completion: @Sendable (Answer) -> Void
    }

    private struct State {
        var orders: [Order] = []
        /// Handed out, not yet answered.
        var open: [String: Order] = [:]
        var waiters: [(id: UInt64, continuation: CheckedContinuation<Void, Never>)] = []
        var lastWaiter: UInt64 = 0
        var lastPoll: Int64 = .min
    }

    private let state = Mutex(State())
    /// A PMS that has not asked for so long is not there, ms.
    private static let absentMillis: Int64 = 60_000

    /// 601 at once where no PMS listens; 602 when nobody took it in time.
    func post(_ service: String, _ data: JSON, milliseconds: Int64, completion: @escaping @Sendable (Answer) -> Void) {
        let now = Ambient.monotonic()
        let order = Order(
            id: Ambient.uuid(), service: service, data: data, deadline: now + milliseconds, completion: completion)
        let waiters: [CheckedContinuation<Void, Never>]? = state.withLock { state in
            guard state.lastPoll != .min, now - state.lastPoll < Desk.absentMillis else { return nil }
            state.orders.append(order)
            defer { state.waiters = [] }
            return state.waiters.map(\.continuation)
        }
        guard let waiters else { return completion(Answer(WireError("deviceOffline"))) }
        for waiter in waiters { waiter.resume() }
    }

    /// The next orders, waiting up to so long for the first.
    func take(milliseconds: Int64) async -> [Order] {
        let now = Ambient.monotonic()
        state.withLock { $0.lastPoll = now }
        if milliseconds > 0 {
            await withCheckedContinuation { continuation in
                // Looked at and waited for in one step: what is posted in between would wait as long as we do.
                let id: UInt64? = state.withLock { state in
                    guard state.orders.isEmpty else { return nil }
                    state.lastWaiter += 1
                    state.waiters.append((state.lastWaiter, continuation))
                    return state.lastWaiter
                }
                guard let id else { return continuation.resume() }
                DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(Int(milliseconds))) { [self] in
                    let waiter = state.withLock { state in
                        state.waiters.firstIndex { $0.id == id }.map { state.waiters.remove(at: $0).continuation }
                    }
                    waiter?.resume()
                }
            }
        }
        let later = Ambient.monotonic()
        return state.withLock { state in
            state.lastPoll = later
            let taken = state.orders.filter { $0.deadline > later }
            state.orders = []
            for order in taken { state.open[order.id] = order }
            return taken
        }
    }

    /// False when the number is unknown or its time is over.
    func answer(_ id: String, _ answer: Answer) -> Bool {
        guard let order = state.withLock({ $0.open.removeValue(forKey: id) }) else { return false }
        order.completion(answer)
        return true
    }

    /// Gives up what is over: 602 where nobody took it, 502 where the PMS took it and did not answer.
    func sweep() {
        let now = Ambient.monotonic()
        let (late, unanswered) = state.withLock { state in
            let late = state.orders.filter { $0.deadline <= now }
            state.orders.removeAll { $0.deadline <= now }
            let unanswered = state.open.values.filter { $0.deadline <= now }
            for order in unanswered { state.open[order.id] = nil }
            return (late, unanswered)
        }
        for order in late { order.completion(Answer(WireError("expiredBeforeDelivery"))) }
        for order in unanswered { order.completion(Answer(WireError("timeOut"))) }
    }
}
