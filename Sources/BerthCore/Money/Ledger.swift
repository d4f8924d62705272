// Double entry: every movement of money is a posting whose legs sum to zero. A debt of the platform is negative, a claim of it positive.

/// The owner of an amount of money.
public enum Account: Hashable, Sendable, Comparable {
    /// Money that a service provider has collected from drivers and owes the platform.
    case provider(String)
    /// Money that is owed to a lot (`lot`), and money that the lot has collected itself (`till`).
    case lot(String)
    case till(String)
    /// The income of an owner who shares: app and pseudonym.
    case owner(String, String)
    /// Debt of a driver beyond their payments: the cost of re-homing the next driver, whose space they did not leave in time.
    case user(String, String)
    /// A deposit that nobody has earned yet.
    case deposit(String)
    case platform
    /// The extra cost of re-homing, from the time it is caused until the time it is used.
    case compensation
    /// Paid out to owners.
    case payout

    private static let separator: Character = "|"

    public var text: String {
        switch self {
        case .provider(let appId): "provider|\(appId)"
        case .lot(let code): "lot|\(code)"
        case .till(let code): "till|\(code)"
        case .owner(let appId, let token): "owner|\(appId)|\(token)"
        case .user(let appId, let token): "user|\(appId)|\(token)"
        case .deposit(let orderNo): "deposit|\(orderNo)"
        case .platform: "platform"
        case .compensation: "compensation"
        case .payout: "payout"
        }
    }

    public init?(_ text: String) {
        let parts = text.split(separator: Account.separator, maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
        switch (parts[0], parts.count) {
        case ("provider", 2): self = .provider(parts[1])
        case ("lot", 2): self = .lot(parts[1])
        case ("till", 2): self = .till(parts[1])
        case ("owner", 3): self = .owner(parts[1], parts[2])
        case ("user", 3): self = .user(parts[1], parts[2])
        case ("deposit", 2): self = .deposit(parts[1])
        case ("platform", 1): self = .platform
        case ("compensation", 1): self = .compensation
        case ("payout", 1): self = .payout
        default: return nil
        }
    }

    public static func < (left: Account, right: Account) -> Bool { left.text < right.text }
}

/// One movement of money.
public struct Posting: Sendable, Equatable {
    public enum Kind: String, Sendable { case payment, till, refund, deposit, earned, forfeited, rehoming, payout }

    public struct Leg: Sendable, Equatable {
        public var account: Account
        public var fen: Int64

        public init(account: Account, fen: Int64) {
            self.account = account
            self.fen = fen
        }
    }

    public var at: Millis
    public var kind: Kind
    /// The payment, refund, reservation or payout that it belongs to.
    public var reference: String
    public var legs: [Leg]

    public init(at: Millis, kind: Kind, reference: String, _ legs: [(Account, Int64)]) {
        self.at = at
        self.kind = kind
        self.reference = reference
        self.legs = legs.filter { $0.1 != 0 }.map { Leg(account: $0.0, fen: $0.1) }
        precondition(self.legs.reduce(0) { $0 + $1.fen } == 0, "the legs of a posting sum to zero")
    }
}

/// The shares of a fee that the city bills: platform, lot, owner. The remainder of rounding goes to the party that owns the space.
public struct FeeSplit: Sendable, Equatable {
    public var platform: Int64
    public var lot: Int64
    public var owner: Int64

    public init(fen: Int64, policy: Policy, hasOwner: Bool) {
        platform = fen * Int64(policy.platformPercent) / 100
        guard hasOwner else {
            lot = fen - platform
            owner = 0
            return
        }
        lot = min(fen - platform, fen * Int64(policy.lotPercent) / 100)
        owner = fen - platform - lot
    }
}
