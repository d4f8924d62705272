/// A notification to a service provider (A17): a reservation, a payment or a refund has changed, a penalty was given or undone.
/// It is kept until the provider has confirmed it.
public struct ProviderNotification: Sendable, Equatable {
    public enum Subject: Sendable, Equatable {
        /// `occurredAt`: the time of the change, which may be long before it became known.
        case reservation(
            orderNo: String, clientOrderNo: String, orderVer: Int64, ReservationStatus, deliver: DeliverStatus = .new,
            occurredAt: Millis = 0)
        case payment(payNo: String, PaymentState, amountFen: Int64, payTime: Millis?)
        case refund(payNo: String, refundNo: String, amountFen: Int64)
        /// `reason` is the code's name; undone when `isUndone`.
        case credit(userToken: String, Rejection, orderNo: String, isUndone: Bool)
        case share(authNo: String, ShareStatus)
    }

    public var id: Int64
    public var appId: String
    public var at: Millis
    public var subject: Subject

    /// Kinds of records under which notifications are kept: those to be sent, and those that were given up after the last attempt.
    public static let kind = "tiding"
    public static let failedKind = "tiding.failed"

    public init(id: Int64, appId: String, at: Millis, subject: Subject) {
        self.id = id
        self.appId = appId
        self.at = at
        self.subject = subject
    }

    private static let separator: Character = "\u{1F}"

    /// As it is kept.
    public var report: KeptRecord {
        let words: [String] =
            switch subject {
            case .reservation(let orderNo, let clientOrderNo, let orderVer, let status, let deliver, let occurredAt):
                ["order", orderNo, clientOrderNo, String(orderVer), String(status.rawValue), String(deliver.rawValue), String(occurredAt)]
            case .payment(let payNo, let state, let amount, let time):
                ["payment", payNo, String(state.rawValue), String(amount), time.map { String($0) } ?? ""]
            case .refund(let payNo, let refundNo, let amount): ["refund", payNo, refundNo, String(amount)]
            case .credit(let userToken, let reason, let orderNo, let isUndone):
                ["credit", userToken, reason.rawValue, orderNo, isUndone ? "1" : ""]
            case .share(let authNo, let status): ["share", authNo, String(status.rawValue)]
            }
        return KeptRecord(
            parkCode: appId, kind: ProviderNotification.kind, key: CivilTime.pad(id, 16),
            body: words.joined(separator: String(ProviderNotification.separator)), at: at)
    }

    public init?(report: KeptRecord) {
        guard let id = Int64(report.key) else { return nil }
        let words = report.body.split(separator: ProviderNotification.separator, omittingEmptySubsequences: false).map(String.init)
        func number(_ index: Int) -> Int64? { index < words.count ? Int64(words[index]) : nil }
        switch (words.first, words.count) {
        case ("order", 5), ("order", 7):
            guard let version = number(3), let status = number(4).flatMap({ ReservationStatus(rawValue: Int($0)) }) else { return nil }
            subject = .reservation(
                orderNo: words[1], clientOrderNo: words[2], orderVer: version, status,
                deliver: number(5).flatMap { DeliverStatus(rawValue: Int($0)) } ?? .new, occurredAt: number(6) ?? report.at)
        case ("payment", 5):
            guard let state = number(2).flatMap({ PaymentState(rawValue: Int($0)) }), let amount = number(3) else { return nil }
            subject = .payment(payNo: words[1], state, amountFen: amount, payTime: number(4))
        case ("refund", 4):
            guard let amount = number(3) else { return nil }
            subject = .refund(payNo: words[1], refundNo: words[2], amountFen: amount)
        case ("credit", 5):
            guard let reason = Rejection(rawValue: words[2]) else { return nil }
            subject = .credit(userToken: words[1], reason, orderNo: words[3], isUndone: words[4] == "1")
        case ("share", 3):
            guard let status = number(2).flatMap({ ShareStatus(rawValue: Int($0)) }) else { return nil }
            subject = .share(authNo: words[1], status)
        default: return nil
        }
        self.id = id
        appId = report.parkCode
        at = report.at
    }
}

/// The stage of a lot on its way into service (annex A).
public enum LotStage: String, Sendable, CaseIterable {
    /// Registered; nothing is known of it yet.
    case applied
    /// It reports; its checklist is being proved.
    case testing
    /// It may be booked for the purposes that are opened.
    case live
    /// It is out of service: it gets no new reservations, and everything in force stays.
    case suspended
}

extension City {
    /// Tells a provider, when it listens.
    mutating func tell(_ appId: String, _ subject: ProviderNotification.Subject, at now: Millis, _ events: inout [Event]) {
        guard listeners.contains(appId) else { return }
        keep(ProviderNotification(id: numbers.next(.notification), appId: appId, at: now, subject: subject).report, &events)
    }

    /// Tells a reservation's provider its state, and the time of the change (section 6, "Settled" g).
    mutating func tellOf(_ reservation: Reservation, at now: Millis, _ events: inout [Event]) {
        let occurred: Millis? =
            switch reservation.status {
            case .inLot: reservation.enterTime
            case .done: reservation.leaveTime
            default: nil
            }
        tell(
            reservation.appId,
            .reservation(
                orderNo: reservation.orderNo, clientOrderNo: reservation.clientOrderNo, orderVer: reservation.orderVer, reservation.status,
                deliver: reservation.deliver == .sent ? .new : reservation.deliver, occurredAt: occurred ?? now), at: now, &events)
    }

    /// The notifications that a provider has not confirmed yet, oldest first.
    public func notifications(_ appId: String) -> [ProviderNotification] {
        reports(appId, kind: ProviderNotification.kind).compactMap(ProviderNotification.init(report:))
    }

    mutating func settle(_ notification: ProviderNotification, isDelivered: Bool) -> Decision {
        var report = notification.report
        guard self.report(report.parkCode, kind: report.kind, key: report.key) != nil else { return Decision(.done) }
        var events: [Event] = []
        if !isDelivered {
            var failed = report
            failed.kind = ProviderNotification.failedKind
            keep(failed, &events)
        }
        report.body = ""
        keep(report, &events)
        return Decision(.done, events)
    }

    /// Sends a notification again that was given up.
    mutating func revive(_ appId: String, key: String) -> Decision {
        guard var report = report(appId, kind: ProviderNotification.failedKind, key: key) else { return Decision(.done) }
        var events: [Event] = []
        var gone = report
        gone.body = ""
        keep(gone, &events)
        report.kind = ProviderNotification.kind
        keep(report, &events)
        return Decision(.done, events)
    }

    /// Everything of one kind, over all lots and parties.
    public func allReports(kind: String) -> [KeptRecord] {
        records.all(kind).sorted { ($0.parkCode, $0.key) < ($1.parkCode, $1.key) }
    }

    mutating func subscribe(_ appId: String, _ parkCodes: [String], minSeconds: Int, at now: Millis) -> Decision {
        guard listeners.contains(appId) else { return Decision(.refused(.wrongState)) }
        guard parkCodes.allSatisfy({ lots[$0]?.profile != nil }) else { return Decision(.refused(.lotNotRegistered)) }
        var events: [Event] = []
        let wanted = Set(parkCodes)
        for old in reports(appId, kind: City.subscriptionKind) where !wanted.contains(old.key) {
            keep(KeptRecord(parkCode: appId, kind: old.kind, key: old.key, body: "", at: now), &events)
        }
        for parkCode in wanted.sorted() {
            keep(KeptRecord(parkCode: appId, kind: City.subscriptionKind, key: parkCode, body: String(minSeconds), at: now), &events)
        }
        return Decision(.subscribed(wanted.count), events)
    }

    public static let subscriptionKind = "subscription"

    mutating func setStage(_ parkCode: String, _ stage: LotStage, opened: Set<Purpose>, at now: Millis) -> Decision {
        guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
        var events: [Event] = []
        let body = ([stage.rawValue] + opened.map(\.rawValue).sorted().map { String($0) }).joined(separator: " ")
        keep(KeptRecord(parkCode: parkCode, kind: City.stageKind, key: City.stageKind, body: body, at: now), &events)
        lots[known: parkCode].stage = stage
        lots[known: parkCode].opened = opened
        return Decision(.done, events)
    }

    static let stageKind = "stage"

    mutating func restoreStage(_ report: KeptRecord) {
        let words = report.body.split(separator: " ")
        guard let stage = words.first.flatMap({ LotStage(rawValue: String($0)) }) else { return }
        lots[report.parkCode]?.stage = stage
        lots[report.parkCode]?.opened = Set(words.dropFirst().compactMap { Int($0).flatMap(Purpose.init) })
    }

    mutating func useOnce(_ key: String, at now: Millis) -> Decision {
        guard report("", kind: City.onceKind, key: key) == nil else { return Decision(.refused(.nonceRepeated)) }
        var events: [Event] = []
        keep(KeptRecord(parkCode: "", kind: City.onceKind, key: key, body: "1", at: now), &events)
        return Decision(.done, events)
    }

    /// Keys that are good once are kept here for an hour; no request that could be repeated lives longer.
    public static let onceKind = "once"
    public static let onceMillis: Millis = 3_600_000
}
