/// The way in which a reservation becomes certain (section 6, confirm mode).
public enum ConfirmMode: String, Sendable, CaseIterable { case trust, ask }

/// The values of the policy engine with the defaults of section 7. They are in force for one lot and product, after all scopes were laid
/// over each other (``PolicyScope``).
public struct Policy: Sendable, Equatable {
    public var advanceMaxMin = 60
    /// For places to charge (R2); 0: as `advanceMaxMin`.
    public var chargingAdvanceMaxMin = 0
    public var slotMin = 30
    public var earlyMin = 30
    public var lateMin = 30
    public var stayMin = 120
    public var delayMin = 30
    public var holdMin = 5
    public var entriesPerOrder = 1
    public var platesPerOrderMax = 5
    public var plateChangesMax = 1
    public var calendarStepMin = 15
    public var dailyMaxPerUser = 2
    public var dailyMaxPerPlate = 3
    public var cancelMaxPerDay = 3
    public var cancelMaxPerMonth = 5
    /// Minutes before the booked time until which a cancel is free; -1: until the entry window opens (R1).
    public var freeCancelMin = -1
    /// A deposit in fen that makes a reservation certain; 0 none. Until it is paid the place is held for `holdMin`.
    public var prepayFen = 0
    public var noShowMaxPerMonth = 3
    /// The same counted per plate (R3); 0 does not count.
    public var noShowMaxPerPlate = 0
    /// Yearly blacklist (R5): no-shows in a civil year; 0 does not count.
    public var noShowMaxPerYear = 0
    public var waitlistPerUser = 1
    public var waitlistCloseMin = 10
    /// Reservations that may wait at one lot at a time.
    public var waitlistMax = 100
    public var appealWorkdays = 2
    /// Days in which a penalty can be appealed against.
    public var appealDays = 30
    /// Public service (R6): entry from so many minutes before the appointment to so many after it; stay; how long ahead.
    public var bizBeforeMin = 60
    public var bizAfterMin = 30
    public var bizStayMin = 180
    public var bizAdvanceMaxMin = 43_200
    /// Fee relief of a public-service reservation, minutes free of charge.
    public var bizFreeMin = 0
    public var shareLateGraceMin = 15
    /// Minutes before the time to leave at which the driver is reminded.
    public var shareWarnMin = 15
    /// Late departures in a year after which a user no longer shares in the group (R10).
    public var shareLateStrikes = 2
    /// 1: an owner's offer is open when an operator has reviewed it; 0: at once.
    public var shareReview = 1
    /// 1: a subscription waits for an operator's review.
    public var subscriptionReview = 0
    /// Price of a month in the lot's own shared pool, fen.
    public var shareMonthlyFen = 0
    /// The distance within which a driver may be re-homed whose place is still taken, m. The minutes before the entry window at which that
    /// is decided.
    public var rehomeMetres = 2_000
    public var rehomeLeadMin = 15
    /// Per cent of a city-billed fee that the platform keeps, and that the lot gets where the space is an owner's; the owner has the rest.
    public var platformPercent = 10
    public var lotPercent = 20
    /// Per cent that a started step costs after the time to leave, where the tariff does not say it itself.
    public var overtimePercent = 100
    /// 1: only plates of the white list may book (1015).
    public var membersOnly = 0
    /// 1: police, fire, ambulance, rescue, military and filed vehicles need no booking (R5).
    public var exemptClasses = 1
    /// The number of confusable characters in which an almost-match at the gate may differ; 0 admits exact plates only. The highest
    /// confidence of the reading at which it counts, per cent.
    public var fuzzyCharsMax = 1
    public var fuzzyConfidenceMax = 100
    /// Alternatives in a "full" answer: how many, and how far, m; walking speed, m a minute.
    public var alternativesMax = 5
    public var alternativesMetres = 5_000
    public var walkMetresPerMin = 80
    public var confirmMode = ConfirmMode.trust
    /// The hours of the lot's shared pool (``RecurringWindow/parse(_:)``); "" is off-peak: workdays 18:00 to 08:00, days of rest all day.
    public var shareWindow = ""
    /// The hours in which no car may pass, `22:00-06:00` (R10); "" for none.
    public var quietHours = ""
    /// Gates that a reservation may use, separated by spaces; "" all.
    public var gateCodes = ""
    /// The sharing agreement that an owner must have accepted; "" any.
    public var agreementVersion = ""

    public init() {}

    /// Name, place and legal range of every number, for settings and messages; the ranges are the only place of these bounds.
    public static let numbers: [(name: String, path: WritableKeyPath<Policy, Int> & Sendable, range: ClosedRange<Int>)] = [
        ("advanceMaxMin", \.advanceMaxMin, 1...525_600), ("chargingAdvanceMaxMin", \.chargingAdvanceMaxMin, 0...525_600),
        ("slotMin", \.slotMin, 5...1440),
        ("earlyMin", \.earlyMin, 0...1440), ("lateMin", \.lateMin, 0...1440), ("stayMin", \.stayMin, 1...10_080),
        ("delayMin", \.delayMin, 0...1440), ("holdMin", \.holdMin, 1...60),
        ("entriesPerOrder", \.entriesPerOrder, -1...1000), ("platesPerOrderMax", \.platesPerOrderMax, 1...20),
        ("plateChangesMax", \.plateChangesMax, 0...10), ("calendarStepMin", \.calendarStepMin, 1...60),
        ("dailyMaxPerUser", \.dailyMaxPerUser, 1...1_000_000), ("dailyMaxPerPlate", \.dailyMaxPerPlate, 1...1_000_000),
        ("cancelMaxPerDay", \.cancelMaxPerDay, 0...1_000_000),
        ("cancelMaxPerMonth", \.cancelMaxPerMonth, 0...1_000_000), ("freeCancelMin", \.freeCancelMin, -1...10_080),
        ("prepayFen", \.prepayFen, 0...1_000_000), ("noShowMaxPerMonth", \.noShowMaxPerMonth, 1...1_000_000),
        ("noShowMaxPerPlate", \.noShowMaxPerPlate, 0...1_000_000), ("noShowMaxPerYear", \.noShowMaxPerYear, 0...1_000_000),
        ("waitlistPerUser", \.waitlistPerUser, 0...100), ("waitlistCloseMin", \.waitlistCloseMin, 0...1440),
        ("waitlistMax", \.waitlistMax, 0...100_000), ("appealWorkdays", \.appealWorkdays, 1...60),
        ("appealDays", \.appealDays, 1...366), ("bizBeforeMin", \.bizBeforeMin, 0...1440),
        ("bizAfterMin", \.bizAfterMin, 0...1440), ("bizStayMin", \.bizStayMin, 1...1440),
        ("bizAdvanceMaxMin", \.bizAdvanceMaxMin, 1...525_600), ("bizFreeMin", \.bizFreeMin, 0...1440),
        ("shareLateGraceMin", \.shareLateGraceMin, 0...1440), ("shareWarnMin", \.shareWarnMin, 0...1440),
        ("shareLateStrikes", \.shareLateStrikes, 1...1000), ("shareReview", \.shareReview, 0...1),
        ("subscriptionReview", \.subscriptionReview, 0...1), ("shareMonthlyFen", \.shareMonthlyFen, 0...100_000_000),
        ("rehomeMetres", \.rehomeMetres, 0...50_000), ("rehomeLeadMin", \.rehomeLeadMin, 0...1440),
        ("platformPercent", \.platformPercent, 0...100), ("lotPercent", \.lotPercent, 0...100),
        ("overtimePercent", \.overtimePercent, 100...1000), ("membersOnly", \.membersOnly, 0...1),
        ("exemptClasses", \.exemptClasses, 0...1), ("fuzzyCharsMax", \.fuzzyCharsMax, 0...2),
        ("fuzzyConfidenceMax", \.fuzzyConfidenceMax, 0...100), ("alternativesMax", \.alternativesMax, 0...20),
        ("alternativesMetres", \.alternativesMetres, 0...50_000), ("walkMetresPerMin", \.walkMetresPerMin, 20...200),
    ]

    /// The values that are words.
    public static let texts: [(name: String, path: WritableKeyPath<Policy, String> & Sendable)] = [
        ("shareWindow", \.shareWindow), ("quietHours", \.quietHours), ("gateCodes", \.gateCodes),
        ("agreementVersion", \.agreementVersion),
    ]

    /// Sets one value by its name.
    /// - Returns: false when no value has this name, or when this is no legal value for it.
    public mutating func set(_ name: String, _ value: String) -> Bool {
        if name == "confirmMode" {
            guard let mode = ConfirmMode(rawValue: value) else { return false }
            confirmMode = mode
            return true
        }
        if let entry = Policy.numbers.first(where: { $0.name == name }) {
            guard value.utf8.first != 43, let number = Int(value), entry.range.contains(number) else { return false }
            if name == "calendarStepMin", 60 % number != 0 { return false }
            self[keyPath: entry.path] = number
            return true
        }
        guard let entry = Policy.texts.first(where: { $0.name == name }), value.unicodeScalars.count <= 512 else { return false }
        if name == "shareWindow" || name == "quietHours", !value.isEmpty, RecurringWindow.parse(value) == nil { return false }
        self[keyPath: entry.path] = value
        return true
    }

    /// Every value by its name, as it would be set.
    public var values: [(name: String, value: String)] {
        Policy.numbers.map { ($0.name, String(self[keyPath: $0.path])) } + [("confirmMode", confirmMode.rawValue)]
            + Policy.texts.map { ($0.name, self[keyPath: $0.path]) }
    }

    /// The values that differ from another policy.
    public func differences(from other: Policy) -> [String: String] {
        let old = Dictionary(uniqueKeysWithValues: other.values)
        return Dictionary(uniqueKeysWithValues: values.filter { old[$0.name] != $0.value })
    }

    var quiet: [RecurringWindow] { quietHours.isEmpty ? [] : RecurringWindow.parse(quietHours) ?? [] }
}

/// The lots and products for which a policy value is set. A narrower scope lies over a wider one: city, product, operator group, lot,
/// product of a lot.
public enum PolicyScope: Hashable, Sendable {
    case city
    case product(Purpose)
    case group(String)
    case lot(String)
    case lotProduct(String, Purpose)

    /// `city`, `product:2`, `group:NAME`, `lot:CODE`, `lot:CODE/2`.
    public init?(_ text: String) {
        if text == "city" { self = .city; return }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, !parts[1].isEmpty else { return nil }
        switch parts[0] {
        case "product":
            guard let purpose = Int(parts[1]).flatMap(Purpose.init(rawValue:)) else { return nil }
            self = .product(purpose)
        case "group": self = .group(parts[1])
        case "lot":
            let words = parts[1].split(separator: "/", omittingEmptySubsequences: false).map(String.init)
            if words.count == 1 { self = .lot(words[0]); return }
            guard words.count == 2, let purpose = Int(words[1]).flatMap(Purpose.init(rawValue:)) else { return nil }
            self = .lotProduct(words[0], purpose)
        default: return nil
        }
    }

    public var text: String {
        switch self {
        case .city: "city"
        case .product(let purpose): "product:\(purpose.rawValue)"
        case .group(let name): "group:\(name)"
        case .lot(let code): "lot:\(code)"
        case .lotProduct(let code, let purpose): "lot:\(code)/\(purpose.rawValue)"
        }
    }

    var parkCode: String? {
        switch self {
        case .lot(let code), .lotProduct(let code, _): code
        default: nil
        }
    }
}

/// The values that one scope sets, in one version. Older versions stay on record: a reservation names the version under which it was made.
public struct PolicyOverride: Sendable, Equatable, Codable {
    public var scope: String
    /// Counted over the whole city.
    public var version: Int64
    public var at: Millis
    public var values: [String: String]

    public init(scope: String, version: Int64, at: Millis, values: [String: String]) {
        self.scope = scope
        self.version = version
        self.at = at
        self.values = values
    }
}

/// The terms under which a reservation is made: shown before booking, kept in the reservation, pushed to the lot and enforced at its gate.
public struct Terms: Sendable, Equatable {
    /// Version of the policy that they come from.
    public var version: Int64 = 0
    /// Free to cancel until then.
    public var freeCancelUntil: Millis = 0
    public var delayMin = 30
    public var plateChangesMax = 1
    /// Minutes after `leaveDeadline` before it counts as a late departure.
    public var graceMin = 0
    public var overtimePercent = 100
    /// Minutes free of charge (fee relief).
    public var freeMin = 0
    public var prepayFen: Int64 = 0
    public var gateCodes: [String] = []
    /// The price that the owner of the space asked at the time of booking; nil: the lot's tariff.
    public var price: SharePrice?
    /// Minutes before the time to leave at which the driver is reminded.
    public var warnMin = 15

    public init() {}

    var warnMillis: Millis { Millis(warnMin) * CivilTime.minute }

    init(_ policy: Policy, version: Int64, purpose: Purpose, planTime: Millis, enterStart: Millis) {
        self.version = version
        freeCancelUntil = policy.freeCancelMin < 0 ? enterStart : planTime - Millis(policy.freeCancelMin) * CivilTime.minute
        delayMin = policy.delayMin
        plateChangesMax = policy.plateChangesMax
        graceMin = purpose == .shared ? policy.shareLateGraceMin : 0
        overtimePercent = policy.overtimePercent
        warnMin = policy.shareWarnMin
        freeMin = purpose == .publicService ? policy.bizFreeMin : 0
        prepayFen = purpose == .shared ? 0 : Int64(policy.prepayFen)
        gateCodes = policy.gateCodes.isEmpty ? [] : policy.gateCodes.split(separator: " ").map(String.init)
    }
}
