import BerthLink
import BerthWire
import Foundation
import Logging
import Synchronization

/// Tries a configuration from the file to an answer over each carrier. It sends no record and leaves the spool alone. A lot that is looked at over
/// MQTT counts as connected for up to 90 s, and a secret that waits for its first use is used. The broker knows one connection for each
/// credential: beside a gateway that runs, MQTT is left out.
public struct GatewayCheck: Sendable {
    public enum Verdict: String, Sendable { case ok, failed, unknown }

    /// One step: what was tried, and what came of it.
    public struct Finding: Sendable {
        public var verdict: Verdict
        public var zh: String
        public var en: String
        /// The facts, or the reason.
        public var detail: String

        public init(verdict: Verdict, zh: String, en: String, detail: String) {
            self.verdict = verdict
            self.zh = zh
            self.en = en
            self.detail = detail
        }
    }

    /// A machine's clock that is further off gets each of its messages refused (202), ms.
    private static let clockMillisMax: Int64 = 300_000
    private static let answerSeconds: Int64 = 10

    private let configuration: GatewayConfiguration
    private let logger: Logger

    public init(_ configuration: GatewayConfiguration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
    }

    /// Tries each step and reports it at once. Steps that need a failed one are left out.
    public func run(report: (Finding) -> Void) async {
        func say(_ verdict: Verdict, _ zh: String, _ en: String, _ detail: String) {
            report(Finding(verdict: verdict, zh: zh, en: en, detail: detail))
        }
        checkFolder(say)
        // The client reads it only when it connects.
        guard let bytes = FileManager.default.contents(atPath: configuration.caFile),
            String(decoding: bytes, as: UTF8.self).contains("-----BEGIN CERTIFICATE-----")
        else { return say(.failed, "CA 证书", "authority", "\(configuration.caFile) cannot be read, or holds no certificate (PEM)") }
        let servers: [SignedClient]
        do { servers = try configuration.servers.map { try SignedClient(base: $0, caFile: configuration.caFile) } } catch {
            return say(.failed, "CA 证书", "authority", "\(configuration.caFile): \(error)")
        }
        say(.ok, "CA 证书", "authority", configuration.caFile)
        let reactor = MQTTReactor(logger: logger)
        for lot in configuration.lots {
            var offset: Int64?
            for http in servers { offset = await checkHTTPS(lot, http, say) ?? offset }
            if configuration.carrier != .https { await checkMQTT(lot, reactor, offset: offset ?? 0, say) }
        }
        for http in servers { await http.close() }
    }

    private typealias Say = (_ verdict: Verdict, _ zh: String, _ en: String, _ detail: String) -> Void

    private func checkFolder(_ say: Say) {
        let files = FileManager.default
        let file = configuration.spoolFile
        let folder = (file as NSString).deletingLastPathComponent
        let isThere = files.fileExists(atPath: file)
        let place = isThere ? file : folder.isEmpty ? "." : folder
        let canWrite = files.isWritableFile(atPath: place)
        say(canWrite ? .ok : .failed, "本地队列文件", "spool", canWrite ? file : "\(place) cannot be written by this user")
    }

    /// The way over HTTPS: name and certificate, the clocks, and the credential.
    /// - Returns: the server's clock less ours, ms; nil where the server did not answer.
    private func checkHTTPS(_ lot: GatewayConfiguration.LotEntry, _ http: SignedClient, _ say: Say) async -> Int64? {
        let begun = SystemClock.now()
        let time: Reply
        do throws(CallError) {
            time = try await http.call(
                "sys.time.get", data: ["deviceSendTime": .int(begun)], appId: lot.appId, secret: lot.appSecret, parkCode: lot.parkCode,
                timeoutSeconds: GatewayCheck.answerSeconds)
        } catch {
            say(.failed, "\(lot.parkCode) HTTPS", "\(lot.parkCode) HTTPS", several(http) + GatewayCheck.why(error))
            return nil
        }
        let ended = SystemClock.now()
        guard time.code == 0, let received = time.data["serverRecvTime"]?.intValue, let sent = time.data["serverSendTime"]?.intValue else {
            say(.failed, "\(lot.parkCode) HTTPS", "\(lot.parkCode) HTTPS", GatewayCheck.why(time))
            return nil
        }
        say(.ok, "\(lot.parkCode) HTTPS", "\(lot.parkCode) HTTPS", "\(http.base), \(ended - begun) ms")
        let offset = (received &- begun &+ sent &- ended) / 2
        say(
            offset.magnitude < GatewayCheck.clockMillisMax.magnitude ? .ok : .unknown, "时钟", "clock",
            "the server is \(offset) ms ahead; the gateway corrects it by itself")
        do throws(CallError) {
            let answer = try await http.call(
                "recon.inlot.count", data: [:], appId: lot.appId, secret: lot.appSecret, parkCode: lot.parkCode,
                now: SystemClock.now() + offset, timeoutSeconds: GatewayCheck.answerSeconds)
            // 1001: the server knows the lot, which has not described itself yet.
            let isKnown = [0, 1001].contains(answer.code)
            say(isKnown ? .ok : .failed, "\(lot.parkCode) 凭据", "\(lot.parkCode) credential", isKnown ? lot.appId : GatewayCheck.why(answer))
        } catch { say(.failed, "\(lot.parkCode) 凭据", "\(lot.parkCode) credential", GatewayCheck.why(error)) }
        return offset
    }

    /// The way over MQTT: connection, password, topics, and an answer.
    private func checkMQTT(_ lot: GatewayConfiguration.LotEntry, _ reactor: MQTTReactor, offset: Int64, _ say: Say) async {
        let name = "\(lot.parkCode) MQTT"
        if let listen = configuration.listen, listen.port > 0, GatewayCheck.answers(listen.host, listen.port) {
            return say(
                .unknown, name, name,
                "\(listen.host):\(listen.port) answers: a gateway runs and has this connection; its status page says how it stands")
        }
        let clientId = MQTTIdentity.clientId(appId: lot.appId, role: .lot, parkCode: lot.parkCode)
        var mqtt = MQTTConfiguration(
            places: configuration.brokers, caFile: configuration.caFile, clientId: clientId,
            username: lot.appId, password: MQTTIdentity.staticPassword(secret: lot.appSecret, clientId: clientId))
        mqtt.filters = [Topic.downReply(lot.parkCode)]
        let requestId = SystemRandom.uuid()
        let ear = Ear(secret: lot.appSecret, requestId: requestId)
        let client = reactor.open(mqtt, listener: ear)
        defer { client.close() }
        // Of several servers the leader's broker answers.
        for left in (0..<configuration.brokers.count).reversed() {
            guard let word = await ear.next(seconds: GatewayCheck.answerSeconds) else {
                return say(.failed, name, name, "no connection within \(GatewayCheck.answerSeconds) s")
            }
            guard case .down(let reason) = word else { break }
            guard left > 0 else { return say(.failed, name, name, reason) }
        }
        let bytes = MessageWriter.request(
            service: "sys.time.get", data: ["deviceSendTime": .int(SystemClock.now())], appId: lot.appId, secret: lot.appSecret,
            parkCode: lot.parkCode, requestId: requestId, timestamp: SystemClock.now() + offset, nonce: SystemRandom.nonce(), epoch: nil,
            seq: nil)
        client.publish(topic: Topic.up(lot.parkCode, "sys.time.get"), payload: bytes)
        switch await ear.next(seconds: GatewayCheck.answerSeconds) {
        case .answer(let reply):
            say(
                reply.code == 0 ? .ok : .failed, name, name,
                reply.code == 0 ? configuration.brokers.map { "\($0.host):\($0.port)" }.joined(separator: ", ") : GatewayCheck.why(reply))
        case .down(let reason): say(.failed, name, name, reason)
        case .up, nil: say(.failed, name, name, "connected, and no answer within \(GatewayCheck.answerSeconds) s: topics or signature")
        }
    }

    /// Whether somebody listens at an IPv4 address of this machine.
    private static func answers(_ host: String, _ port: Int) -> Bool {
        guard let number = UInt16(exactly: port) else { return false }
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = number.bigEndian
        address.sin_addr.s_addr = inet_addr(host == "localhost" || host == "0.0.0.0" ? "127.0.0.1" : host)
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 }
        }
    }

    /// The server that is meant, where there are several.
    private func several(_ http: SignedClient) -> String { configuration.servers.count > 1 ? "\(http.base): " : "" }

    private static func why(_ reply: Reply) -> String {
        let code = Dialect.current.codes[reply.code]
        return "code \(reply.code): \(code?.zh ?? "") \(code?.en ?? "")"
    }

    private static func why(_ error: CallError) -> String {
        switch error {
        case .unreachable(let reason): reason
        case .notAuthentic(let status, let code, let message):
            "HTTP \(status), code \(code.map(String.init) ?? "none"): \(message); the answer is not signed with this secret"
        }
    }

    /// Hears one client, on the reactor's thread; what was heard is handed on in order.
    private final class Ear: MQTTListener {
        enum Word: Sendable {
            case up
            case down(String)
            case answer(Reply)
        }

        private let secret: String
        private let requestId: String
        private let heard = Mutex<[Word]>([])

        init(secret: String, requestId: String) {
            self.secret = secret
            self.requestId = requestId
        }

        func mqttIsUp() { heard.withLock { $0.append(.up) } }
        func mqttIsDown(_ reason: String) { heard.withLock { $0.append(.down(LotLink.NoAnswer(why: reason).why)) } }
        func mqttReceived(topic: String, payload: [UInt8]) {
            guard let reply = ReplyEnvelope(payload, secret: secret), reply.requestId == requestId else { return }
            heard.withLock { $0.append(.answer(reply.answer)) }
        }

        /// The next word; nil where there is none in time.
        func next(seconds: Int64) async -> Word? {
            let end = SystemClock.monotonic() + seconds * 1000
            while SystemClock.monotonic() < end {
                if let word = heard.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) { return word }
                try? await Task.sleep(for: .milliseconds(20))
            }
            return nil
        }
    }
}
