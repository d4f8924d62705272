import BerthCore
import BerthStore
import BerthWire
import Foundation
import Logging
import Synchronization

/// The lines of the log about requests. A refusal is one line. With `log.requests` = all, further lines follow a request from its answer to its
/// commit and to everything that is sent because of it, and each of them carries the `requestId` of that request.
///
/// A queue of its own writes the lines and leaves out what comes faster than it can write.
final class RequestTrail: DurableListener {
    private struct Origins {
        /// The request behind a message, by the message's own `requestId`.
        var requests: [String: String] = [:]
        /// The messages in the order of their commits; those before `first` are forgotten.
        var order: [String] = []
        var first = 0
    }

    private let isComplete: Bool
    private let logger: Logger
    private let queue = DispatchQueue(label: "berth.trail")
    private let waiting = Atomic<Int>(0)
    private let origins = Mutex(Origins())
    private static let waitingMax = 2_000
    /// Messages whose request is known; an older one is logged without it.
    private static let originsMax = 100_000
    /// Values of one kind that a line names.
    private static let namesMax = 20

    /// - Parameter isComplete: `log.requests` = all.
    init(isComplete: Bool, logger: Logger) {
        self.isComplete = isComplete
        self.logger = logger
    }

    private func write(_ line: @escaping @Sendable () -> Void) {
        guard waiting.load(ordering: .relaxed) < RequestTrail.waitingMax else { return }
        waiting.add(1, ordering: .relaxed)
        queue.async { [self] in
            line()
            waiting.subtract(1, ordering: .relaxed)
        }
    }

    /// A request has its answer.
    /// - Parameter lot: the lot that it names; "" for none.
    func answered(_ answer: Reply, _ echo: Echo, lot: @autoclosure () -> String, trace: TraceParent?, nanoseconds: Int64) {
        let isRefusal = answer.code != 0
        guard logger.logLevel <= .info, isComplete || isRefusal && answer.code != 611 else { return }
        let lot = lot()
        write { [logger] in
            var metadata: Logger.Metadata = [
                "appId": "\(echo.appId)", "lot": "\(lot)", "service": "\(echo.service)", "code": "\(answer.code)", "hint": "\(answer.hint)",
                "requestId": "\(echo.requestId)", "us": "\(nanoseconds / 1000)",
            ]
            if let trace { metadata["trace"] = "\(trace.trace)" }
            if answer.duplicate { metadata["duplicate"] = "true" }
            logger.info(isRefusal ? "refused" : "answered", metadata: metadata)
        }
    }

    /// Commits are durable: each of them with the number of its entry in the journal, its orders, and the messages that it makes.
    func committed(_ durable: Durable) {
        guard isComplete, logger.logLevel <= .info else { return }
        var entry = durable.journalId - Int64(durable.commits.count { !$0.events.isEmpty })
        for commit in durable.commits where !commit.events.isEmpty {
            entry += 1
            let requests = commit.reply.map { [$0.requestId] } ?? commit.up.map(\.requestId)
            let requestId = RequestTrail.names(requests)
            var orders: [String] = []
            var messages: [String] = []
            for event in commit.events {
                switch event {
                case .reservation(let reservation): orders.append(reservation.orderNo)
                case .down(let down):
                    messages.append(Encode.downRequestId(parkCode: down.parkCode, epoch: down.epoch, seq: down.seq, at: down.at))
                case .report(let report) where report.kind == ProviderNotification.kind && !report.isGone:
                    if let notification = ProviderNotification(report: report) { messages.append(Encode.tidingRequestId(notification)) }
                default: break
                }
            }
            remember(messages, requestId)
            let metadata: Logger.Metadata = [
                "entry": "\(entry)", "requestId": "\(requestId)", "orders": "\(RequestTrail.names(orders))",
                "pushes": "\(RequestTrail.names(messages))",
            ]
            write { [logger] in logger.info("committed", metadata: metadata) }
        }
    }

    private func remember(_ messages: [String], _ requestId: String) {
        guard !requestId.isEmpty, !messages.isEmpty else { return }
        origins.withLock { origins in
            for message in messages where origins.requests.updateValue(requestId, forKey: message) == nil { origins.order.append(message) }
            while origins.order.count - origins.first > RequestTrail.originsMax {
                origins.requests[origins.order[origins.first]] = nil
                origins.first += 1
            }
            if origins.first > RequestTrail.originsMax {
                origins.order.removeFirst(origins.first)
                origins.first = 0
            }
        }
    }

    /// An entry of a down log is on its way to its lot.
    /// - Parameter carrier: mqtt, https (the callback) or pull.
    func sent(_ row: DownRow, to parkCode: String, over carrier: String) {
        guard isComplete else { return }
        message(
            "sent", Encode.downRequestId(parkCode: parkCode, epoch: row.epoch, seq: row.seq, at: row.at),
            ["lot": "\(parkCode)", "service": "\(row.service)", "epoch": "\(row.epoch)", "seq": "\(row.seq)", "over": "\(carrier)"])
    }

    /// A lot has answered an entry of its down log.
    func confirmed(_ row: DownRow, by parkCode: String, code: Int) {
        guard isComplete else { return }
        message(
            "confirmed", Encode.downRequestId(parkCode: parkCode, epoch: row.epoch, seq: row.seq, at: row.at),
            ["lot": "\(parkCode)", "service": "\(row.service)", "seq": "\(row.seq)", "code": "\(code)"])
    }

    /// A notification was posted to its provider.
    func notified(_ notification: ProviderNotification, service: String, attempt: Int, isConfirmed: Bool) {
        guard isComplete else { return }
        message(
            isConfirmed ? "confirmed" : "sent", Encode.tidingRequestId(notification),
            ["appId": "\(notification.appId)", "service": "\(service)", "attempt": "\(attempt)"])
    }

    private func message(_ what: Logger.Message, _ message: String, _ metadata: Logger.Metadata) {
        guard logger.logLevel <= .info else { return }
        write { [self] in
            var metadata = metadata
            metadata["push"] = "\(message)"
            metadata["requestId"] = "\(origins.withLock { $0.requests[message] } ?? "")"
            logger.info(what, metadata: metadata)
        }
    }

    private static func names(_ all: [String]) -> String {
        all.prefix(namesMax).joined(separator: ",") + (all.count > namesMax ? ",+\(all.count - namesMax)" : "")
    }
}
