public import BerthLink
public import BerthWire

/// The parties for which the pages speak: the accounts, the drivers and owners, the city's staff.
public struct WebCredentials: Sendable {
    public struct Party: Sendable {
        public var appId: String
        public var secret: String

        public init(appId: String, secret: String) {
            self.appId = appId
            self.secret = secret
        }
    }

    /// Role web, provider and operator (of the whole city).
    public var accounts: Party
    public var provider: Party
    public var staff: Party

    public init(accounts: Party, provider: Party, staff: Party) {
        self.accounts = accounts
        self.provider = provider
        self.staff = staff
    }

    /// The form in which `berth keys web` writes them: `{"web":{"appId","appSecret"},"provider":…,"operator":…}`.
    public init?(_ json: JSON) {
        func party(_ name: String) -> Party? {
            guard let row = json[name], let appId = row["appId"]?.stringValue, let secret = row["appSecret"]?.stringValue else {
                return nil
            }
            return Party(appId: appId, secret: secret)
        }
        guard let accounts = party("web"), let provider = party("provider"), let staff = party("operator") else { return nil }
        self.init(accounts: accounts, provider: provider, staff: staff)
    }
}

/// The way to the city's signed interface. The pages have no other way to the city (pages.md, section 1).
public enum CityCarrier: Sendable {
    /// In the server's own process: signed bytes and the service in, signed bytes out.
    case inProcess(@Sendable ([UInt8], String) async -> [UInt8])
    case https(SignedClient)
}

/// The refusal of a service, or the lack of an answer.
struct CityError: Error, Sendable {
    var code: Int
    var hint: String
    var data: JSON
    /// No answer came: the outcome is not known.
    var isUnreachable = false

    init(code: Int, hint: String = "", data: JSON = [:], isUnreachable: Bool = false) {
        self.code = code
        self.hint = hint
        self.data = data
        self.isUnreachable = isUnreachable
    }

    static let unreachable = CityError(code: 501, hint: "", isUnreachable: true)

    /// The sentence of the dictionary in a language.
    func words(_ language: Language) -> String {
        guard let row = Dialect.current.codes[code] else { return String(code) }
        return language == .zh ? row.zh : row.en
    }
}

/// Calls services as one of the three parties. Each call is signed and each answer verified, in the process too.
struct CityClient: Sendable {
    enum Party { case accounts, provider, staff }

    let carrier: CityCarrier
    let credentials: WebCredentials

    /// Whether an appId is one of the pages' own parties: only these put persons on record as the pages write them.
    func isOwn(_ appId: String) -> Bool {
        [credentials.accounts, credentials.provider, credentials.staff].contains { $0.appId == appId }
    }

    /// Carries a message that somebody else has signed, and its answer, both as they are.
    func forward(_ bytes: [UInt8], service: String) async throws(CityError) -> [UInt8] {
        switch carrier {
        case .inProcess(let send): return await send(bytes, service)
        case .https(let client):
            guard let answer = await client.forward(bytes, service: service) else { throw .unreachable }
            return answer
        }
    }

    /// - Parameter requestId: of a call that may be repeated after a lost answer; a fresh one when left out.
    @discardableResult
    func call(
        _ service: String, _ data: [(String, JSON)], as party: Party, parkCode: String? = nil, requestId: String = SystemRandom.uuid()
    ) async throws(CityError) -> JSON {
        let who =
            switch party {
            case .accounts: credentials.accounts
            case .provider: credentials.provider
            case .staff: credentials.staff
            }
        let data = JSON.compact(data)
        let reply: Reply
        switch carrier {
        case .https(let client):
            do throws(CallError) {
                reply = try await client.call(
                    service, data: data, appId: who.appId, secret: who.secret, parkCode: parkCode, requestId: requestId)
            } catch { throw .unreachable }
        case .inProcess(let send):
            let bytes = MessageWriter.request(
                service: service, data: data, appId: who.appId, secret: who.secret, parkCode: parkCode, requestId: requestId,
                timestamp: SystemClock.now(), nonce: SystemRandom.nonce())
            guard let answer = ReplyEnvelope(await send(bytes, service), secret: who.secret) else { throw .unreachable }
            reply = answer.answer
        }
        guard reply.code == 0 else { throw CityError(code: reply.code, hint: reply.hint, data: reply.data) }
        return reply.data
    }
}
