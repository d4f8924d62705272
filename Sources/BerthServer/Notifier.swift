import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Foundation
import Logging
import Synchronization

/// Tells service providers what changed (A17) at their registered addresses, each tiding until `{"code":0}` or the last attempt; and
/// how many places remain where they subscribed to it (A18), of which only the latest matters.
final class Notifier: DurableListener {
    private struct Sending {
        var tiding: Tiding
        var attempts = 0
        var nextAt: Millis = 0
        var isUnderWay = false
    }

    private struct Subscription {
        var appId: String
        var minMillis: Millis
        var lastAt: Millis = 0
        var isDue = false
        var isUnderWay = false
    }

    private struct State {
        var sendings: [String: [Int64: Sending]] = [:]
        /// By lot, then by provider.
        var subscriptions: [String: [String: Subscription]] = [:]
    }

    private let state = Mutex(State())
    private let sequencer: Sequencer
    private let credentials: CredentialBook
    private let callbacks: CallbackClient
    private let retrySeconds: [Int64]
    private let clock: @Sendable () -> Millis
    private let logger: Logger
    /// Tidings of one provider that are under way at a time.
    private static let parallelMax = 8

    init(
        sequencer: Sequencer, credentials: CredentialBook, callbacks: CallbackClient, retrySeconds: [Int64],
        clock: @escaping @Sendable () -> Millis, logger: Logger
    ) {
        self.sequencer = sequencer
        self.credentials = credentials
        self.callbacks = callbacks
        self.retrySeconds = retrySeconds
        self.clock = clock
        self.logger = logger
        // What was not confirmed when the server stopped, and what is subscribed.
        let (tidings, subscriptions) = sequencer.peek { city in
            (city.allReports(kind: Tiding.kind).compactMap(Tiding.init(report:)), city.allReports(kind: City.subscriptionKind))
        }
        state.withLock { state in
            for tiding in tidings { state.sendings[tiding.appId, default: [:]][tiding.id] = Sending(tiding: tiding) }
            for report in subscriptions { Notifier.take(report, &state) }
        }
    }

    private static func take(_ report: Report, _ state: inout State) {
        guard let seconds = Int64(report.body) else {
            state.subscriptions[report.key]?[report.parkCode] = nil
            return
        }
        state.subscriptions[report.key, default: [:]][report.parkCode] = Subscription(
            appId: report.parkCode, minMillis: seconds * 1000, isDue: true)
    }

    func committed(_ durable: Durable) {
        var providers: Set<String> = []
        state.withLock { state in
            for event in durable.events {
                switch event {
                case .report(let report) where report.kind == Tiding.kind && !report.isGone:
                    guard let tiding = Tiding(report: report) else { continue }
                    state.sendings[tiding.appId, default: [:]][tiding.id] = Sending(tiding: tiding)
                    providers.insert(tiding.appId)
                case .report(let report) where report.kind == City.subscriptionKind: Notifier.take(report, &state)
                case .remaining(let parkCode, _): Notifier.mark(parkCode, &state)
                case .visit(let visit): Notifier.mark(visit.parkCode, &state)
                default: break
                }
            }
        }
        for appId in providers { send(appId) }
    }

    private static func mark(_ parkCode: String, _ state: inout State) {
        guard !state.subscriptions.isEmpty, let subscribers = state.subscriptions[parkCode]?.keys else { return }
        for appId in subscribers { state.subscriptions[parkCode]![appId]!.isDue = true }
    }

    /// Every second: what is to be tried again, and remaining spaces whose interval is over.
    func tick() {
        let now = Ambient.monotonic()
        for appId in state.withLock({ Array($0.sendings.keys) }) { send(appId) }
        let due = state.withLock { state -> [(String, Subscription)] in
            var due: [(String, Subscription)] = []
            for (parkCode, subscribers) in state.subscriptions {
                for (appId, one) in subscribers where one.isDue && !one.isUnderWay && now - one.lastAt >= one.minMillis {
                    state.subscriptions[parkCode]![appId]!.isDue = false
                    state.subscriptions[parkCode]![appId]!.isUnderWay = true
                    state.subscriptions[parkCode]![appId]!.lastAt = now
                    due.append((parkCode, one))
                }
            }
            return due
        }
        for (parkCode, one) in due { Task { await push(parkCode, to: one.appId, now: clock()) } }
    }

    private func push(_ parkCode: String, to appId: String, now: Millis) async {
        let data = sequencer.peek { city -> JSON? in
            guard let lot = city.lots[parkCode], let profile = lot.profile else { return nil }
            return [
                "parkCode": .string(parkCode), "total": .int(profile.totalCount),
                "remain": .int(max(0, profile.totalCount - lot.occupied)),
                "reserveRemain": .int(lot.free(.personal, at: now)), "reportTime": .int(lot.remaining?.reportedAt ?? now),
            ]
        }
        if let data, let credential = credentials.find(appId), let url = credential.callback {
            _ = await callbacks.post(
                url,
                body: MessageWriter.request(
                    service: "space.remain.notify", data: data, appId: appId, secret: credential.secret, parkCode: nil,
                    requestId: Ambient.uuid(), timestamp: clock(), nonce: Ambient.nonce()))
        }
        state.withLock { $0.subscriptions[parkCode]?[appId]?.isUnderWay = false }
    }

    private func send(_ appId: String) {
        guard let credential = credentials.find(appId), credential.isEnabled, let url = credential.callback else { return }
        let now = Ambient.monotonic()
        let ready = state.withLock { state -> [Sending] in
            guard let all = state.sendings[appId], !all.isEmpty else { return [] }
            let room = Notifier.parallelMax - all.values.reduce(0) { $0 + ($1.isUnderWay ? 1 : 0) }
            let ready = all.values.filter { !$0.isUnderWay && $0.nextAt <= now }.sorted { $0.tiding.id < $1.tiding.id }.prefix(max(0, room))
            for one in ready { state.sendings[appId]![one.tiding.id]!.isUnderWay = true }
            return Array(ready)
        }
        for one in ready {
            Task { await attempt(one, credential, url) }
        }
    }

    private func attempt(_ sending: Sending, _ credential: Credential, _ url: String) async {
        let tiding = sending.tiding
        let (service, data) = Encode.tiding(tiding)
        let outcome = await callbacks.post(
            url,
            body: MessageWriter.request(
                service: service, data: data, appId: tiding.appId, secret: credential.secret, parkCode: nil,
                requestId: Encode.tidingRequestId(tiding), timestamp: clock(), nonce: Ambient.nonce()))
        var isConfirmed = false
        if case .answered(let status, let bytes) = outcome, (200..<300).contains(status) {
            isConfirmed = (try? JSON.parse(bytes))?["code"]?.intValue == 0
        }
        let attempts = sending.attempts + 1
        let isOver = isConfirmed || attempts >= retrySeconds.count
        let now = Ambient.monotonic()
        state.withLock { state in
            if isOver {
                state.sendings[tiding.appId]?[tiding.id] = nil
                if state.sendings[tiding.appId]?.isEmpty == true { state.sendings[tiding.appId] = nil }
            } else {
                state.sendings[tiding.appId]?[tiding.id] = Sending(
                    tiding: tiding, attempts: attempts, nextAt: now + retrySeconds[attempts] * 1000)
            }
        }
        if isOver {
            if !isConfirmed {
                logger.error(
                    "a provider did not confirm a notification", metadata: ["appId": "\(tiding.appId)", "service": "\(service)"])
            }
            sequencer.perform(.settleTiding(tiding, isDelivered: isConfirmed), now: clock())
        }
        send(tiding.appId)
    }

    /// Tries again what was given up; what an operator asks for when the provider is well again.
    func retry(_ appId: String, now: Millis) -> Int {
        let failed = sequencer.peek { $0.reports(appId, kind: Tiding.failedKind) }
        for report in failed { sequencer.perform(.reviveTiding(appId: appId, key: report.key), now: now) }
        return failed.count
    }
}
