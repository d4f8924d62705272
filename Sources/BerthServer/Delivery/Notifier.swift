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
        var notification: ProviderNotification
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
    private let trail: RequestTrail
    private let clock: @Sendable () -> Millis
    private let logger: Logger
    /// Tidings of one provider that are under way at a time.
    private static let parallelMax = 8

    init(
        sequencer: Sequencer, credentials: CredentialBook, callbacks: CallbackClient, retrySeconds: [Int64],
        trail: RequestTrail, clock: @escaping @Sendable () -> Millis, logger: Logger
    ) {
        self.sequencer = sequencer
        self.credentials = credentials
        self.callbacks = callbacks
        self.retrySeconds = retrySeconds
        self.trail = trail
        self.clock = clock
        self.logger = logger
        // The notifications that were not confirmed when the server stopped, and the subscriptions.
        let (notifications, subscriptions) = sequencer.readUndurable { city in
            (
                city.allReports(kind: ProviderNotification.kind).compactMap(ProviderNotification.init(report:)),
                city.allReports(kind: City.subscriptionKind)
            )
        }
        state.withLock { state in
            for notification in notifications {
                state.sendings[notification.appId, default: [:]][notification.id] = Sending(notification: notification)
            }
            for report in subscriptions { Notifier.take(report, &state) }
        }
    }

    private static func take(_ report: KeptRecord, _ state: inout State) {
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
                case .report(let report) where report.kind == ProviderNotification.kind && !report.isGone:
                    guard let notification = ProviderNotification(report: report) else { continue }
                    state.sendings[notification.appId, default: [:]][notification.id] = Sending(notification: notification)
                    providers.insert(notification.appId)
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

    /// Runs every second: sends the notifications that are due again, and remaining spaces whose interval is over.
    func tick() {
        let now = SystemClock.monotonic()
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
        let data = sequencer.readUndurable { city -> JSON? in
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
                    requestId: SystemRandom.uuid(), timestamp: clock(), nonce: SystemRandom.nonce()))
        }
        state.withLock { $0.subscriptions[parkCode]?[appId]?.isUnderWay = false }
    }

    private func send(_ appId: String) {
        guard let credential = credentials.find(appId), credential.isEnabled, let url = credential.callback else { return }
        let now = SystemClock.monotonic()
        let ready = state.withLock { state -> [Sending] in
            guard let all = state.sendings[appId], !all.isEmpty else { return [] }
            let room = Notifier.parallelMax - all.values.reduce(0) { $0 + ($1.isUnderWay ? 1 : 0) }
            let ready = all.values.filter { !$0.isUnderWay && $0.nextAt <= now }.sorted { $0.notification.id < $1.notification.id }.prefix(
                max(0, room))
            for one in ready { state.sendings[appId]![one.notification.id]!.isUnderWay = true }
            return Array(ready)
        }
        for one in ready {
            Task { await attempt(one, credential, url) }
        }
    }

    private func attempt(_ sending: Sending, _ credential: Credential, _ url: String) async {
        let notification = sending.notification
        let (service, data) = Encode.notification(notification)
        let outcome = await callbacks.post(
            url,
            body: MessageWriter.request(
                service: service, data: data, appId: notification.appId, secret: credential.secret, parkCode: nil,
                requestId: Encode.tidingRequestId(notification), timestamp: clock(), nonce: SystemRandom.nonce()))
        var isConfirmed = false
        if case .answered(let status, let bytes) = outcome, (200..<300).contains(status) {
            isConfirmed = (try? JSON.parse(bytes))?["code"]?.intValue == 0
        }
        let attempts = sending.attempts + 1
        trail.notified(notification, service: service, attempt: attempts, isConfirmed: isConfirmed)
        let isOver = isConfirmed || attempts >= retrySeconds.count
        let now = SystemClock.monotonic()
        state.withLock { state in
            if isOver {
                state.sendings[notification.appId]?[notification.id] = nil
                if state.sendings[notification.appId]?.isEmpty == true { state.sendings[notification.appId] = nil }
            } else {
                state.sendings[notification.appId]?[notification.id] = Sending(
                    notification: notification, attempts: attempts, nextAt: now + retrySeconds[attempts] * 1000)
            }
        }
        if isOver {
            if !isConfirmed {
                logger.error(
                    "a provider did not confirm a notification", metadata: ["appId": "\(notification.appId)", "service": "\(service)"])
            }
            sequencer.perform(.settleNotification(notification, isDelivered: isConfirmed), now: clock())
        }
        send(notification.appId)
    }

    /// Tries the notifications again that were given up. An operator asks for this when the provider is well again.
    func retry(_ appId: String, now: Millis) -> Int {
        let failed = sequencer.readUndurable { $0.reports(appId, kind: ProviderNotification.failedKind) }
        for report in failed { sequencer.perform(.reviveNotification(appId: appId, key: report.key), now: now) }
        return failed.count
    }
}
