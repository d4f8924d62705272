import BerthCore
import BerthLink
import BerthWire
import Synchronization

/// The time of the box, brought to the server's. One for all lots of a gateway, since they share the machine and the server.
///
/// The offset is the server's clock less the machine's. When the machine's clock jumps, the offset takes the jump back at the next reading,
/// so the times of signatures and records continue without a jump.
package final class BoxClock: Sendable {
    /// Both clocks of the machine at one moment, ms.
    package struct Reading: Sendable {
        package var realtime: Int64
        package var monotonic: Int64

        package init(realtime: Int64, monotonic: Int64) {
            self.realtime = realtime
            self.monotonic = monotonic
        }
    }

    /// The effect of a measurement on the estimate.
    package enum Outcome: Sendable, Equatable {
        /// The measurement proves nothing: a time out of range, or a clock that jumped meanwhile.
        case useless
        case moved
        /// The estimate was far off and has taken the new value whole.
        case stepped(by: Int64)
    }

    private struct State {
        var offset: Int64 = 0
        var isMeasured = false
        var last: Reading?
        /// Monotonic times of the last measurement that began, and of the last one that was taken.
        var begunAt: Int64?
        var takenAt: Int64?
        var isMeasuring = false
        /// Something contradicts the estimate.
        var isSuspect = false
    }

    private let realtime: @Sendable () -> Int64
    private let monotonic: @Sendable () -> Int64
    private let state = Mutex(State())

    /// An offset that moved by more than this is taken whole, ms; a smaller move by half, so that one slow answer does not throw it.
    package static let stepMillis: Int64 = 1_000
    /// Least time between two measurements, ms.
    package static let pauseMillis: Int64 = 2_000
    /// Longest time between two measurements, ms.
    package static let restMillis: Int64 = 600_000
    /// A clock that is further off than this is an event (section 13), ms.
    package static let offsetMax: Int64 = 5_000

    package init(
        realtime: @escaping @Sendable () -> Int64 = { SystemClock.now() },
        monotonic: @escaping @Sendable () -> Int64 = { SystemClock.monotonic() }
    ) {
        self.realtime = realtime
        self.monotonic = monotonic
    }

    /// The server's time as far as the box knows it, ms. Always 13 digits: with an empty clock battery a message is still well formed.
    package func now() -> Int64 {
        state.withLock { state in
            let reading = look(&state)
            return BoxClock.clamped(reading.realtime &+ state.offset, to: Bounds.times)
        }
    }

    package var offset: Int64 { state.withLock { $0.offset } }
    package var isMeasured: Bool { state.withLock { $0.isMeasured } }
    package var isSuspect: Bool { state.withLock { $0.isSuspect } }

    /// Both clocks now.
    package func reading() -> Reading { state.withLock { look(&$0) } }

    /// Reads both clocks and takes a jump of the realtime clock out of the offset.
    private func look(_ state: inout State) -> Reading {
        let reading = Reading(realtime: realtime(), monotonic: monotonic())
        defer { state.last = reading }
        // Before the first measurement the machine's clock is all there is: a person or NTP that sets it knows better.
        guard state.isMeasured, let last = state.last, let jump = BoxClock.jump(from: last, to: reading) else { return reading }
        state.offset = BoxClock.clamped(state.offset &- jump, to: BoxClock.offsets)
        state.isSuspect = true
        return reading
    }

    /// The jump of the realtime clock against the monotonic one, ms; nil when it is no more than a second.
    private static func jump(from last: Reading, to reading: Reading) -> Int64? {
        let jump = (reading.realtime &- last.realtime) &- (reading.monotonic &- last.monotonic)
        return abs(clamped(jump, to: offsets)) > stepMillis ? jump : nil
    }

    /// Something says that the estimate is wrong: a 202, or a push that is off. A measurement may begin at once.
    package func suspect() { state.withLock { $0.isSuspect = true } }

    /// Called each second: notices a jump of the machine's clock. True when a measurement is due.
    package func watch() -> Bool {
        state.withLock { state in
            let reading = look(&state)
            let isOld = state.takenAt.map { reading.monotonic &- $0 > BoxClock.restMillis } ?? false
            return state.isMeasured && (state.isSuspect || isOld)
        }
    }

    /// Begins a measurement. False while another one runs, and for 2 s after one began.
    package func beginMeasuring() -> Bool {
        state.withLock { state in
            let now = monotonic()
            guard !state.isMeasuring, state.begunAt.map({ now &- $0 >= BoxClock.pauseMillis }) ?? true else { return false }
            state.isMeasuring = true
            state.begunAt = now
            return true
        }
    }

    package func endMeasuring() { state.withLock { $0.isMeasuring = false } }

    /// The four-timestamp formula of `sys.time.get`.
    /// - Parameters:
    ///   - sent: the box's clocks when the question left.
    ///   - received: the box's clocks when the answer came.
    package func take(sent: Reading, serverReceived: Int64, serverSent: Int64, received: Reading) -> Outcome {
        guard BoxClock.serverTimes.contains(serverReceived), BoxClock.serverTimes.contains(serverSent), serverSent >= serverReceived,
            BoxClock.jump(from: sent, to: received) == nil
        else { return .useless }
        let limit = BoxClock.offsets
        let there = BoxClock.clamped(serverReceived &- sent.realtime, to: limit)
        let back = BoxClock.clamped(serverSent &- received.realtime, to: limit)
        let offset = (there + back) / 2
        // The offset is known to half of the way there and back.
        let doubt = max(0, received.monotonic &- sent.monotonic) / 2
        return state.withLock { state in
            let difference = abs(offset - state.offset)
            guard state.isMeasured else {
                defer { BoxClock.settle(&state, offset, received.monotonic) }
                return difference > BoxClock.stepMillis ? .stepped(by: offset - state.offset) : .moved
            }
            guard difference > BoxClock.stepMillis else {
                BoxClock.settle(&state, (state.offset + offset) / 2, received.monotonic)
                return .moved
            }
            guard difference > doubt else { return .useless }
            defer { BoxClock.settle(&state, offset, received.monotonic) }
            return .stepped(by: offset - state.offset)
        }
    }

    private static func settle(_ state: inout State, _ offset: Int64, _ monotonic: Int64) {
        state.offset = offset
        state.isMeasured = true
        state.isSuspect = false
        state.takenAt = monotonic
    }

    /// A server that says that it is earlier than 2023 has no clock: this interface is younger.
    private static let serverTimes: ClosedRange<Int64> = 1_672_531_200_000...Bounds.times.upperBound

    /// No sane pair of clocks is further apart; sums of two stay far from overflow.
    private static let offsets: ClosedRange<Int64> = -10_000_000_000_000...10_000_000_000_000

    private static func clamped(_ value: Int64, to range: ClosedRange<Int64>) -> Int64 {
        min(max(value, range.lowerBound), range.upperBound)
    }
}
