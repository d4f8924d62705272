import BerthCore
import BerthLink
import BerthWire
import Foundation
import Synchronization

/// Commands of the platform to the PMS: open a gate, name a fee, take a picture. They are kept in memory only, since none may be done late.
/// The PMS waits for a command by a long poll and answers it by its number, in the session that took it.
package final class PMSCommandQueue: Sendable {
    package struct Command: Sendable {
        package let id: String
        package let service: String
        package let data: JSON
        /// On the monotonic clock, ms.
        package let deadline: Int64
        let completion: @Sendable (Reply) -> Void
    }

    /// The fate of a PMS's answer.
    package enum Outcome: Sendable, Equatable {
        case taken
        /// The number is unknown, or its time is over.
        case unknown
        /// Another session took the command.
        case otherSession
    }

    private struct State {
        var commands: [Command] = []
        /// Handed out to a session, not yet answered.
        var open: [String: (command: Command, session: String)] = [:]
        var waiters: [(id: UInt64, continuation: CheckedContinuation<Void, Never>)] = []
        var lastWaiter: UInt64 = 0
        var lastPoll: Int64?
    }

    private let state = Mutex(State())
    /// A PMS that has not asked for so long is not there, ms.
    private static let absentMillis: Int64 = 60_000
    /// Commands that wait or are open at most; more are refused with 300.
    private static let commandsMax = 1_000
    /// The longest time that a command is good for, even if the command asks for more, ms.
    package static let commandMillisMax: Int64 = 60_000

    package init() {}

    /// Puts a command before the PMS. 601 at once where no PMS listens; 602 when nobody took it in time.
    package func post(_ service: String, _ data: JSON, milliseconds: Int64, completion: @escaping @Sendable (Reply) -> Void) {
        let now = SystemClock.monotonic()
        let time = min(max(0, milliseconds), PMSCommandQueue.commandMillisMax)
        let command = Command(id: SystemRandom.uuid(), service: service, data: data, deadline: now + time, completion: completion)
        let result: Result<[CheckedContinuation<Void, Never>], WireError> = state.withLock { state in
            guard let lastPoll = state.lastPoll, now - lastPoll < PMSCommandQueue.absentMillis else {
                return .failure(WireError("deviceOffline"))
            }
            guard state.commands.count + state.open.count < PMSCommandQueue.commandsMax else {
                return .failure(WireError("tooManyInFlight"))
            }
            state.commands.append(command)
            defer { state.waiters = [] }
            return .success(state.waiters.map(\.continuation))
        }
        switch result {
        case .failure(let error): completion(Reply(error))
        case .success(let waiters): for waiter in waiters { waiter.resume() }
        }
    }

    /// The next commands for a session, after at most `milliseconds` when there is none yet.
    package func take(session: String = "", milliseconds: Int64) async -> [Command] {
        let now = SystemClock.monotonic()
        let milliseconds = min(max(0, milliseconds), WireLimits.waitMillisMax)
        state.withLock { $0.lastPoll = now }
        if milliseconds > 0 {
            await withCheckedContinuation { continuation in
                // The look and the wait are one step: a command that is posted in between would wait as long as the PMS does.
                let id: UInt64? = state.withLock { state in
                    guard state.commands.isEmpty else { return nil }
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
        let later = SystemClock.monotonic()
        return state.withLock { state in
            state.lastPoll = later
            let taken = state.commands.filter { $0.deadline > later }
            // A command whose time is over stays for the sweep, which answers it.
            state.commands.removeAll { $0.deadline > later }
            for command in taken { state.open[command.id] = (command, session) }
            return taken
        }
    }

    /// Gives the PMS's answer to the platform, if it comes in time and from the session that took the command.
    package func answer(_ id: String, session: String = "", _ answer: Reply) -> Outcome {
        // Numbers are our own; nothing else is looked up.
        guard Envelope.isUUID(id) else { return .unknown }
        let (outcome, command): (Outcome, Command?) = state.withLock { state in
            guard let open = state.open[id] else { return (.unknown, nil) }
            guard open.session.utf8.elementsEqual(session.utf8) else { return (.otherSession, nil) }
            state.open[id] = nil
            return (.taken, open.command)
        }
        command?.completion(answer)
        return outcome
    }

    /// Gives up what is over: 602 where nobody took it, 502 where the PMS took it and did not answer.
    package func sweep() {
        let now = SystemClock.monotonic()
        let (late, unanswered) = state.withLock { state in
            let late = state.commands.filter { $0.deadline <= now }
            state.commands.removeAll { $0.deadline <= now }
            let unanswered = state.open.values.filter { $0.command.deadline <= now }
            for open in unanswered { state.open[open.command.id] = nil }
            return (late, unanswered)
        }
        for command in late { command.completion(Reply(WireError("expiredBeforeDelivery"))) }
        for open in unanswered { open.command.completion(Reply(WireError("timeOut"))) }
    }
}
