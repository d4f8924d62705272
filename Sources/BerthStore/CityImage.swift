public import BerthCore
public import BerthWire

/// One lot as it comes up from the store.
public struct LotImage: Sendable, Equatable {
    public var parkCode: String
    public var policy: Policy?
    public var profile: LotProfile?
    public var gates: [Gate] = []
    public var marks = LotMarks()

    public init(parkCode: String) { self.parkCode = parkCode }
}

/// The state that a server needs in memory to continue where it was.
public struct CityImage: Sendable {
    public var lots: [LotImage] = []
    public var activeOrders: [Reservation] = []
    public var openVisits: [Visit] = []
    public var reports: [KeptRecord] = []
    public var entities: [Entity] = []
    public var balances: [Account: Int64] = [:]
    public var bills: [Bill] = []
    /// Those that are not concluded, and deposits of orders that are open.
    public var pendingPayments: [Payment] = []
    public var counters: [String: Int] = [:]
    public var lastSerial: Int64 = 0
    /// The highest number that a notification ever had.
    public var lastNotification: Int64 = 0
    public var credentials: [Credential] = []
    /// appId and nonce of writes since the time that was asked for.
    public var nonces: [(appId: String, nonce: String, at: Millis)] = []

    public init() {}
}

extension CityImage {
    /// The city as the rules know it. Records that are kept as they came (tariffs, lists) are read for the rules here.
    public func city(policy: Policy, newEpoch: String, reviewsLots: Bool = false, now: Millis) -> City {
        var city = City(policy: policy, newEpoch: newEpoch, reviewsLots: reviewsLots, calendar: Dialect.current.calendar)
        city.listeners = Set(credentials.filter { $0.isEnabled && $0.callback != nil }.map(\.appId))
        for lot in lots {
            city.restore(
                registered: lot.parkCode, policy: lot.policy, profile: lot.profile, gates: lot.gates,
                marks: lot.marks)
        }
        for entity in entities { city.restore(entity: entity) }
        for (account, fen) in balances { city.restore(balance: fen, of: account) }
        for (key, count) in counters { city.restore(counter: key, count: count) }
        city.restore(lastSerial: lastSerial)
        city.restore(lastNotification: lastNotification)
        for reservation in activeOrders { city.restore(reservation: reservation, now: now) }
        for report in reports {
            city.restore(report: report)
            switch CityImage.meaning(of: report) {
            case .none: break
            case .tariff(let tariff): city.restore(tariff: tariff, of: report.parkCode)
            case .listed(let plate, let entry): city.restore(list: report.kind, report.parkCode, plate, entry)
            }
        }
        for bill in bills { city.restore(bill: bill) }
        for payment in pendingPayments { city.restore(payment: payment) }
        for visit in openVisits { city.restore(visit: visit) }
        city.finishRestoring(now: now)
        return city
    }

    /// The part of a kept report that the rules use: tariffs and lists are kept as they came.
    public static func meaning(of report: KeptRecord) -> City.RecordMeaning {
        switch report.kind {
        case "tariff": Decode.lotTariff(report.body).map { .tariff($0) } ?? .none
        case City.blackKind, City.whiteKind, City.exemptKind, City.localBlackKind, City.localWhiteKind, City.localMonthlyKind:
            if let plate = Plate(report.key), let entry = Decode.listEntry(report.body) { .listed(plate, entry) } else { .none }
        default: .none
        }
    }
}
