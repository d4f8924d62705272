import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Logging

/// The one trace from bytes to bytes (interface.md, section 3, "Checks in order"), the same for HTTPS and MQTT.
final class Pipeline: Sendable {
    /// The facts about a message that the carrier knows beside its bytes.
    struct Arrival: Sendable {
        /// The service that the URL or topic names.
        var service: String
        /// The lot that the topic names.
        var parkCode: String?
        /// SHA-256 of the certificate that the client showed, lower hex.
        var certificate: String?
        /// The trace that the request belongs to.
        var trace: TraceParent?
        /// How often a front has sent the request, from 1: the leader before may have kept its nonce with its result (distributed.md, section 5.1).
        var attempt = 1
    }

    /// The reply to a request. The sender makes its bytes with ``render(_:)``, never on the committer's thread.
    struct SignedReply: Sendable {
        var answer: Reply
        var echo: Echo
        fileprivate var secret: String?
        /// The message was signed by the party that it names.
        var isAuthentic: Bool
    }

    let sequencer: Sequencer
    let store: any Store
    let credentials: CredentialBook
    let nonces = NonceCache()
    let rates = RateLimiter()
    let badSignatures = BadSignatures()
    let digest = ComplianceDigest()
    let calls = CallLog()
    let meter = RequestMeter()
    let looks = RecentLooks()
    let liveAnswers = CommandsUnderWay()
    let presence: Presence
    let deliverer: Deliverer
    let relay: LotCalls
    let keys: CredentialService
    let pictures: PictureStore
    let redirects: Redirects
    let trail: RequestTrail
    let statistics: Statistics
    let onboarding: Onboarding
    let settings: ServerSettings
    let clock: @Sendable () -> Millis
    let logger: Logger

    init(
        sequencer: Sequencer, keys: CredentialService, presence: Presence, deliverer: Deliverer, relay: LotCalls, pictures: PictureStore,
        redirects: Redirects, trail: RequestTrail, statistics: Statistics, onboarding: Onboarding, settings: ServerSettings,
        clock: @escaping @Sendable () -> Millis, logger: Logger
    ) {
        self.sequencer = sequencer
        store = sequencer.store
        self.keys = keys
        credentials = keys.book
        self.pictures = pictures
        self.redirects = redirects
        self.trail = trail
        self.statistics = statistics
        self.onboarding = onboarding
        self.presence = presence
        self.deliverer = deliverer
        self.relay = relay
        self.settings = settings
        self.clock = clock
        self.logger = logger
    }

    func receive(_ bytes: [UInt8], _ arrival: Arrival, completion: @escaping @Sendable (SignedReply) -> Void) {
        let received = clock()
        let began = SystemClock.nanoseconds()
        var echo = Echo()
        var credential: Credential?
        var isAuthentic = false
        var verified: VerifiedRequest?
        do throws(WireError) {
            let envelope: Envelope
            do throws(WireError) { envelope = try Envelope.read(bytes, echo: &echo) } catch {
                credential = credentials.find(echo.appId)
                throw error
            }
            credential = credentials.find(envelope.appId)
            let request: VerifiedRequest
            do throws(WireError) {
                request = try envelope.verify(credential: credential, isOverMQTT: arrival.parkCode != nil, now: received)
                isAuthentic = true
                verified = request
            } catch { throw illegalNumber(envelope) ?? error }
            // Another server may lead by now: nothing is answered from a memory that may be old.
            guard sequencer.store.mayAnswer else {
                throw WireError("dependencyUnavailable", "this server is not sure that it leads the city")
            }
            // An entry of a log is consumed with its refusal: the log would else stand at it for ever.
            if !Pipeline.isOfUpLog(envelope), let fault = illegalNumber(envelope) { throw fault }
            if request.usesNextSecret { keys.takeUp(envelope.appId, now: received) }
            let service = try admit(request, arrival, now: received)
            let finalEcho = echo
            dispatch(request, service, now: received) { [self] answer in
                let taken = SystemClock.nanoseconds() - began
                note(answer, finalEcho, request, trace: arrival.trace, nanoseconds: taken, at: received)
                meter.note(service.name, code: answer.code, nanoseconds: taken)
                noteCall(answer, request, arrival, at: received)
                completion(SignedReply(answer: answer, echo: finalEcho, secret: request.secret, isAuthentic: true))
            }
        } catch {
            let answer = Reply(error)
            let taken = SystemClock.nanoseconds() - began
            note(answer, echo, nil, isAuthentic: isAuthentic, trace: arrival.trace, nanoseconds: taken, at: received)
            meter.note(arrival.service, code: answer.code, nanoseconds: taken)
            if isAuthentic, let request = verified { noteCall(answer, request, arrival, at: received) }
            if answer.code == 201, let credential { noteBadSignature(credential, echo, now: received) }
            // Where no secret can be chosen the reply is not signed: 101, 104, 200, and what could not be read.
            let secret =
                [101, 104, 200].contains(answer.code)
                ? nil : error.name == "secretExpired" ? credential?.previousSecret : credential?.secret
            completion(SignedReply(answer: answer, echo: echo, secret: secret, isAuthentic: isAuthentic))
        }
    }

    private func illegalNumber(_ envelope: Envelope) -> WireError? {
        envelope.illegalNumber.map { WireError("illegalValue", "\($0): numbers are integers below 2^53") }
    }

    private static func isOfUpLog(_ envelope: Envelope) -> Bool {
        envelope.epoch != nil && envelope.seq != nil || envelope.service == "sync.batch.report"
    }

    /// An answer that the carrier itself has to give: a wrong content type, a body over the limit.
    func refuse(_ name: String, _ hint: String) -> SignedReply {
        SignedReply(answer: Reply(WireError(name, hint)), echo: Echo(), secret: nil, isAuthentic: false)
    }

    /// The signed bytes of a reply.
    func render(_ reply: SignedReply) -> [UInt8] {
        MessageWriter.reply(
            reply.answer, echo: reply.echo, secret: reply.secret, timestamp: clock(), nonce: SystemRandom.nonce(),
            showHints: reply.isAuthentic || settings.isTestEnvironment, showDetails: settings.isTestEnvironment)
    }

    /// Counts a refusal, and logs the answer.
    private func note(
        _ answer: Reply, _ echo: Echo, _ request: VerifiedRequest?, isAuthentic: Bool = true, trace: TraceParent?, nanoseconds: Int64,
        at now: Millis
    ) {
        if answer.code != 0 { statistics.refused(answer.code, echo: echo, isAuthentic: isAuthentic, at: now) }
        trail.answered(
            answer, echo, lot: echo.parkCode ?? request?.envelope.data["parkCode"]?.stringValue?.cut(to: 32) ?? "", trace: trace,
            nanoseconds: nanoseconds)
    }

    /// Keeps a call for the party that made it (`sys.call.list`).
    private func noteCall(_ answer: Reply, _ request: VerifiedRequest, _ arrival: Arrival, at now: Millis) {
        let envelope = request.envelope
        calls.note(
            envelope.appId,
            CallLog.Call(
                at: now, service: envelope.service, requestId: envelope.requestId, parkCode: envelope.parkCode ?? "", code: answer.code,
                hint: answer.hint.cut(to: 256), isOverMQTT: arrival.parkCode != nil))
    }

    /// Event 7003: wrong signatures in the name of one party, more than a few in a minute; raised once an hour for each party.
    private func noteBadSignature(_ credential: Credential, _ echo: Echo, now: Millis) {
        guard let count = badSignatures.note(credential.appId, now: SystemClock.monotonic()) else { return }
        let parkCode = echo.parkCode.flatMap { credential.mayActFor($0) && sequencer.knows($0) ? $0 : nil } ?? ""
        sequencer.perform(
            .raise(LotEvent(parkCode: parkCode, eventType: 7003, occurredAt: now, detail: "\(credential.appId) \(count)")), now: now)
    }

    /// Nonce (203) → certificate (207) → service (103) → role (204) → lot (100, 205) → rate (301).
    private func admit(_ request: VerifiedRequest, _ arrival: Arrival, now: Millis) throws(WireError) -> ServiceDefinition {
        let envelope = request.envelope
        let service = Dialect.current.services[envelope.service]
        // The seq of an entry of the up log is its own guard against replay.
        if service?.kind != .log || service?.direction == "down" {
            let isNew = nonces.insert(appId: envelope.appId, nonce: envelope.nonce, now: SystemClock.monotonic())
            // A request that was done once is found by its requestId; it is answered and not done again.
            guard isNew || arrival.attempt > 1 else {
                throw WireError("nonceRepeated", "nonce: seen before")
            }
        }
        // On every carrier: a broker shows no certificates, so such a credential calls over HTTPS alone.
        if let needed = request.credential.certificate, arrival.certificate != needed {
            throw WireError("sourceNotAllowed", "a client certificate is needed, which is shown over HTTPS")
        }
        if let entry = strayEntry(request, arrival, service) { return entry }
        guard let service, !service.callers.isEmpty, envelope.service == arrival.service else {
            throw WireError("unknownService", "service: not one of this address")
        }
        guard service.callers.contains(request.credential.role) else {
            throw WireError("serviceNotAuthorised", "not a service for a \(request.credential.role.rawValue)")
        }
        guard arrival.parkCode == nil || request.credential.role.speaksForLots else {
            throw WireError("serviceNotAuthorised", "providers and operators call over HTTPS")
        }
        if service.isAboutLot(request.credential.role) {
            guard let parkCode = envelope.parkCode else { throw WireError("missingParameter", "parkCode") }
            guard request.credential.mayActFor(parkCode) else {
                throw WireError("lotNotAuthorised", "parkCode: not one of the caller's lots")
            }
        }
        if let topicLot = arrival.parkCode, let parkCode = envelope.parkCode, topicLot != parkCode {
            throw WireError("lotNotAuthorised", "not the topic's parkCode")
        }
        try checkScope(request)
        if service.kind != .log || service.direction == "down", service.name != "sys.heartbeat" {
            let wait = rates.admit(request.credential, parkCode: envelope.parkCode, now: SystemClock.monotonic())
            if wait > 0 { throw WireError("rateLimited", data: ["retryAfterMs": .int(wait)]) }
        }
        if service.kind == .log, service.direction == "up" {
            guard envelope.epoch != nil, envelope.seq != nil else { throw WireError("missingParameter", "epoch, seq") }
        } else if envelope.epoch != nil || envelope.seq != nil {
            throw WireError("fieldNotAllowed", "epoch, seq")
        }
        return service
    }

    /// An entry of a lot's up log whose service cannot stand there. It is consumed as a dead letter, since its log would else stand for
    /// ever (section 6, "Settled" c).
    private func strayEntry(_ request: VerifiedRequest, _ arrival: Arrival, _ service: ServiceDefinition?) -> ServiceDefinition? {
        let envelope = request.envelope
        guard envelope.epoch != nil, envelope.seq != nil, let parkCode = envelope.parkCode, request.credential.role.speaksForLots,
            request.credential.mayActFor(parkCode), arrival.parkCode == nil || arrival.parkCode == parkCode,
            envelope.service == arrival.service, service?.kind != .log || service?.direction == "down"
        else { return nil }
        return ServiceDefinition.stray
    }

    private func dispatch(
        _ request: VerifiedRequest, _ service: ServiceDefinition, now: Millis, completion: @escaping Sequencer.Completion
    ) {
        let envelope = request.envelope
        let parkCode = envelope.parkCode ?? ""
        switch service.kind {
        case .log where service.direction == "down":
            let command = Pipeline.attempt { () throws(WireError) in
                try service.request.check(envelope.data)
                return try Decode.operatorPost(service: service.name, data: envelope.data, parkCode: parkCode, now: now)
            }
            sequencer.kept(request, command: command, now: now, completion: completion)
        case .live:
            do throws(WireError) {
                try service.request.check(envelope.data)
                try live(request, parkCode, now: now, completion: completion)
            } catch { completion(Reply(error)) }
        case .callback: completion(Reply(WireError("unknownService")))
        case .log:
            presence.heard(parkCode)
            sequencer.entry(
                parkCode,
                Sequencer.LogEntry(
                    epoch: envelope.epoch!, seq: envelope.seq!, requestId: envelope.requestId,
                    service: envelope.service, data: envelope.data,
                    command: Pipeline.attempt { () throws(WireError) in
                        if service.name.isEmpty, Dialect.current.services[envelope.service] != nil {
                            throw WireError("fieldNotAllowed", "epoch, seq: not a service of the up log")
                        }
                        return try Decode.logEntry(service: envelope.service, data: envelope.data, parkCode: parkCode, now: now)
                    }, sentAt: envelope.timestamp), now: now, completion: completion)
        case .kept:
            if let work = beyondRules(service.name) { return work(request, parkCode, now, completion) }
            let asked = Pipeline.asked(by: request)
            guard asked.isEmpty else {
                return sequencer.prefetch(asked, completion: completion) { [self] past in
                    let command = Pipeline.attempt { () throws(WireError) in try keptCommand(request, parkCode, past, now: now) }
                    sequencer.kept(request, command: command, now: now, completion: completion)
                }
            }
            let command = Pipeline.attempt { () throws(WireError) in try keptCommand(request, parkCode, Past(), now: now) }
            if service.name.hasPrefix("biz.appointment.") || service.name == "flow.policy.set" {
                let name = service.name
                return sequencer.kept(
                    request, command: command, adapting: { [self] in enrich($0, to: envelope.data, service: name, city: $1, now: now) },
                    now: now,
                    completion: completion)
            }
            sequencer.kept(request, command: command, now: now, completion: completion)
        case .read, .sync:
            do throws(WireError) {
                // A batch over its limit is 104, which says more than 102.
                if service.name == "sync.batch.report",
                    (envelope.data["entries"]?.arrayValue?.count ?? 0) > WireLimits.batchEntriesMax
                {
                    throw WireError("tooLarge", "over \(WireLimits.batchEntriesMax) entries")
                }
                // A fault of one entry of a batch is that entry's own.
                if service.name != "sync.batch.report" { try service.request.check(envelope.data) }
                try query(request, parkCode, now: now, completion: completion)
            } catch { completion(Reply(error)) }
        }
    }

    static func attempt<Value>(_ body: () throws(WireError) -> Value) -> Result<Value, WireError> {
        do throws(WireError) { return .success(try body()) } catch { return .failure(error) }
    }

    private typealias Work = (VerifiedRequest, String, Millis, @escaping Sequencer.Completion) -> Void

    /// Services whose effect lies outside the rules: files, addresses, secrets.
    private func beyondRules(_ name: String) -> Work? {
        switch name {
        case "image.ticket.apply": applyTicket(_:_:now:completion:)
        case "image.upload.complete": completeUpload(_:_:now:completion:)
        case "url.redirect.build": buildRedirect(_:_:now:completion:)
        case "credential.rotate": rotateCredential(_:_:now:completion:)
        default: nil
        }
    }

    /// The things of the past that the decoding of a request looks up; a fault in a field is found by the decoding.
    private static func asked(by request: VerifiedRequest) -> [Past.Key] {
        let data = request.envelope.data
        switch request.envelope.service {
        case "link.pay": return data["orderNo"]?.stringValue.map { [.reservation(ByteKey($0))] } ?? []
        case "refund.apply":
            return data["payNo"]?.stringValue.map { [.payment(ByteKey(Payment.key(request.envelope.appId, "", $0)))] } ?? []
        default: return []
        }
    }

    /// - Parameter past: what ``asked(by:)`` names.
    private func keptCommand(
        _ request: VerifiedRequest, _ parkCode: String, _ past: Past, now: Millis
    ) throws(WireError) -> Command {
        let envelope = request.envelope
        try Dialect.current.services[envelope.service]?.request.check(envelope.data)
        if ["pay.create", "link.pay"].contains(envelope.service), let channel = envelope.data["channel"]?.stringValue,
            !PaymentChannel.isKnown(channel)
        {
            throw WireError("illegalValue", "channel")
        }
        if envelope.service == "link.pay" { return try linkPayment(request, past) }
        if envelope.service == "refund.apply", let payNo = envelope.data["payNo"]?.stringValue,
            let payment = sequencer.readUndurable({ $0.payment(payNo, appId: envelope.appId, past: past) }),
            !PaymentChannel.givesBack(payment.channel)
        {
            throw WireError("refundFailed", "channel: it gives nothing back")
        }
        if let own = Pipeline.lots(of: request.credential) { try checkObject(envelope, own) }
        let caller = Decode.Caller(
            appId: envelope.appId, parkCode: parkCode, requestId: envelope.requestId, dataHash: request.dataHash, now: now)
        return try Decode.command(service: envelope.service, data: envelope.data, caller)
    }
}
