/// An account of a person at the city's pages: a driver or owner who signs in with a telephone number and a one-time code, or a member of
/// staff with a name and a password. The rules check no role: the pages do (pages.md, section 1).
public struct Person: Sendable, Equatable, Codable {
    public enum Kind: String, Sendable, Codable { case user, staff }

    public enum State: String, Sendable, Codable { case active, disabled, deleted }

    /// A signed-in browser.
    public struct Session: Sendable, Equatable, Codable {
        /// SHA-256 of the cookie, lower hex; the cookie itself is nowhere.
        public var hash: String
        public var openedAt: Millis
        /// Kept to five minutes, so that a visit is not a write.
        public var seenAt: Millis
        /// The session ends after so long without a visit, ms.
        public var idleMillis: Millis
        /// The session ends then in any case.
        public var endsAt: Millis
        /// The browser in words, for the list that its owner sees.
        public var device: String

        public init(hash: String, openedAt: Millis, idleMillis: Millis, endsAt: Millis, device: String) {
            self.hash = hash
            self.openedAt = openedAt
            seenAt = openedAt
            self.idleMillis = idleMillis
            self.endsAt = endsAt
            self.device = device
        }

        /// Whether the session is good at a time.
        public func isOpen(at now: Millis) -> Bool { now < endsAt && now - seenAt < idleMillis }
    }

    public let personId: String
    public let kind: Kind
    /// A telephone number or a name; "" when the account is deleted. Unique among accounts that are not deleted.
    public var login: String
    public var name = ""
    /// driver, owner, operator, city, developer.
    public var roles: [String] = []
    /// The lots that a lot operator works for.
    public var parkCodes: [String] = []
    /// The pages that a member of the city's staff may use; empty for all.
    public var rights: [String] = []
    /// The pseudonym under which the pages book for this person.
    public var userToken: String
    /// A verifier that the pages made; "" for none.
    public var passwordHash = ""
    /// Base32 of the shared secret of RFC 6238; "" for none.
    public var totpSecret = ""
    /// The last time step that was used, so that a code is good once.
    public var totpStep: Int64 = 0
    public var language = ""
    public var state = State.active
    public let createdAt: Millis
    public var changedAt: Millis
    /// At most ``sessionsMax``, the oldest first.
    public var sessions: [Session] = []

    public static let sessionsMax = 10

    public init(personId: String, kind: Kind, login: String, userToken: String, createdAt: Millis) {
        self.personId = personId
        self.kind = kind
        self.login = login
        self.userToken = userToken
        self.createdAt = createdAt
        changedAt = createdAt
    }
}

/// A one-time code that was sent to a telephone number.
public struct SignInCode: Sendable, Equatable, Codable {
    public let login: String
    /// Digest of the code that the pages made; "" when it has been used.
    public var hash: String
    public var expiresAt: Millis
    /// Wrong answers so far.
    public var tries = 0
    /// When codes were sent within the last hour.
    public var sentAt: [Millis]

    public static let goodMillis: Millis = 300_000
    public static let triesMax = 5
    public static let perHourMax = 5
}

/// The fields of an account that a change names; nil leaves a field as it is.
public struct PersonChange: Sendable {
    /// nil makes a new account.
    public var personId: String?
    public var kind = Person.Kind.user
    public var login: String?
    public var name: String?
    public var roles: [String]?
    public var parkCodes: [String]?
    public var rights: [String]?
    public var userToken: String?
    public var passwordHash: String?
    public var totpSecret: String?
    public var totpStep: Int64?
    public var language: String?
    public var state: Person.State?

    public init() {}
}

/// A question or change of the pages about accounts.
public enum PeopleCommand: Sendable {
    case save(PersonChange)
    case issueCode(login: String, hash: String)
    /// Signs in with a code; an unknown number gets an account under `userToken`.
    case useCode(login: String, hash: String, userToken: String, language: String)
    case openSession(personId: String, Person.Session)
    case touchSession(hash: String)
    /// Ends the session whose hash begins with `sessionId`; nil ends all of the person's sessions.
    case endSession(personId: String, sessionId: String?)
}
