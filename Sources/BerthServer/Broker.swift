import BerthLink
import BerthWire
import CryptoExtras
import Foundation
import Logging
import Synchronization

/// The embedded broker: a mosquitto child that we configure, supervise, and never trust with durability.
final class Broker: Sendable {
    static let serverUser = "berthserver"

    private struct State {
        var process: Process?
        var isStopped = false
        var failures = 0
        var entries: [String: (password: String, topics: [String])] = [:]
        var hashes: [String: (password: String, line: String)] = [:]
    }

    let port: Int
    private let directory: String
    private let bindAddress: String
    private let authority: Authority
    private let logger: Logger
    private let state = Mutex(State())
    private let serverPassword = Ambient.token(40)

    init(directory: String, port: Int, bindAddress: String, authority: Authority, logger: Logger) {
        self.directory = directory
        self.port = port
        self.bindAddress = bindAddress
        self.authority = authority
        self.logger = logger
    }

    struct Failed: Error, CustomStringConvertible { let description: String }

    // MARK: Rights

    /// Who may connect as what, and to which topics (section 4): its own `up` to publish, its own `down` to hear.
    private func admit(_ credential: Credential, _ state: inout State) {
        guard credential.role.speaksForLots else { return }
        guard credential.isEnabled else { state.entries[credential.appId] = nil; return }
        let lots = credential.parkCodes.sorted()
        let clientId = MQTTIdentity.clientId(appId: credential.appId, role: credential.role, parkCode: lots.first)
        var topics = lots.flatMap { ["topic write rsp/v1/\($0)/up/#", "topic read rsp/v1/\($0)/down/#"] }
        if credential.role == .cloud { topics.append("topic write \(Topic.cloudPresence(credential.appId))") }
        state.entries[credential.appId] = (
            MQTTIdentity.staticPassword(secret: credential.secret, clientId: clientId), topics
        )
    }

    /// Writes both files anew and has the broker read them. A half-written ACL would fail open, so each file is moved into place.
    private func writeRights(_ state: inout State) throws {
        var passwords = ""
        var rights = "user \(Broker.serverUser)\ntopic readwrite rsp/v1/#\n"
        for (user, entry) in state.entries.sorted(by: { $0.key < $1.key }) {
            rights += "\nuser \(user)\n" + entry.topics.joined(separator: "\n") + "\n"
        }
        var all = state.entries.mapValues(\.password)
        all[Broker.serverUser] = serverPassword
        for (user, password) in all.sorted(by: { $0.key < $1.key }) {
            if state.hashes[user]?.password != password {
                state.hashes[user] = (password, "\(user):\(try Broker.hash(password))")
            }
            passwords += state.hashes[user]!.line + "\n"
        }
        for (name, text) in [("acl", rights), ("passwd", passwords)] {
            let file = "\(directory)/\(name)"
            try Data(text.utf8).write(to: URL(fileURLWithPath: file + ".new"))
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file + ".new")
            guard rename(file + ".new", file) == 0 else { throw Failed(description: "\(file) cannot be written") }
        }
    }

    /// mosquitto's own format: PBKDF2-HMAC-SHA512. The password is 256 bits of HMAC, so few iterations do, and a reload of
    /// thousands stays short.
    private static func hash(_ password: String) throws -> String {
        let salt = Ambient.bytes(12)
        let key = try KDF.Insecure.PBKDF2.deriveKey(
            from: Data(password.utf8), salt: Data(salt), using: .sha512, outputByteCount: 64, unsafeUncheckedRounds: 101)
        return "$7$101$\(Data(salt).base64EncodedString())$\(key.withUnsafeBytes { Data($0) }.base64EncodedString())"
    }

    /// Admits new or changed credentials and shuts out revoked ones; returns when the broker does so too. What does not change what the
    /// broker knows leaves its clients alone.
    func admit(_ credentials: [Credential]) async throws {
        let (process, admitted, shutOut) = try state.withLock { state -> (Process?, Credential?, Credential?) in
            var admitted: Credential?
            var shutOut: Credential?
            for credential in credentials where credential.role.speaksForLots {
                let before = state.entries[credential.appId]
                admit(credential, &state)
                let after = state.entries[credential.appId]
                if let after, before == nil || before! != after { admitted = credential }
                if before != nil, after == nil { shutOut = credential }
            }
            guard admitted != nil || shutOut != nil else { return (nil, nil, nil) }
            try writeRights(&state)
            return (state.process, admitted, shutOut)
        }
        guard let process, process.isRunning else { return }
        kill(process.processIdentifier, SIGHUP)
        // SIGHUP is asynchronous: ask until the last one gets in, or does not any more.
        for (credential, isIn) in [(admitted, true), (shutOut, false)] {
            guard let credential else { continue }
            let clientId = MQTTIdentity.clientId(
                appId: credential.appId, role: credential.role, parkCode: credential.parkCodes.sorted().first)
            let password = MQTTIdentity.staticPassword(secret: credential.secret, clientId: clientId)
            var isDone = false
            for _ in 0..<100 {
                isDone = await probe(user: credential.appId, clientId: clientId, password: password) == isIn
                if isDone { break }
                try await Task.sleep(for: .milliseconds(50))
            }
            if !isDone { throw Failed(description: "the broker \(isIn ? "does not admit" : "still admits") \(credential.appId)") }
        }
    }

    private func probe(user: String, clientId: String, password: String) async -> Bool {
        await withCheckedContinuation { continuation in
            let once = Mutex(false)
            let listener = ProbeListener { isUp in
                let isFirst = once.withLock { done in
                    defer { done = true }
                    return !done
                }
                if isFirst { continuation.resume(returning: isUp) }
            }
            var configuration = MQTTConfiguration(
                host: "127.0.0.1", port: port, caFile: authority.caFile, clientId: clientId, username: user,
                password: password)
            configuration.cleanSession = true
            let client = Broker.probes.open(configuration, listener: listener)
            listener.keep(client)
        }
    }

    private static let probes = MQTTReactor(logger: Logger(label: "berth.probe"))

    func serverConfiguration() -> MQTTConfiguration {
        var configuration = MQTTConfiguration(
            host: "127.0.0.1", port: port, caFile: authority.caFile, clientId: Broker.serverUser,
            username: Broker.serverUser, password: serverPassword)
        configuration.cleanSession = true
        configuration.filters = [Topic.allUp, Topic.allCloudPresence]
        configuration.reconnectSeconds = [0, 1, 1, 2]
        return configuration
    }

    // MARK: The child

    func start(_ credentials: [Credential]) throws {
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        endLeftover()
        try state.withLock { state in
            for credential in credentials { admit(credential, &state) }
            try writeRights(&state)
        }
        var lines = [
            "listener \(port) \(bindAddress)", "cafile \(authority.caFile)", "certfile \(authority.certificateFile)",
            "keyfile \(authority.keyFile)", "allow_anonymous false", "password_file \(directory)/passwd",
            "acl_file \(directory)/acl", "use_username_as_clientid true", "persistence false",
            "max_inflight_messages 500", "max_queued_messages 200000", "set_tcp_nodelay true",
            "message_size_limit \(WireLimits.bodyBytesMax + 1024)", "log_dest file \(directory)/mosquitto.log",
            "log_type error", "log_type warning", "connection_messages false",
        ]
        if geteuid() == 0 { lines.append("user root") }
        // Everybody else who is allowed in connects over the loopback too when the server listens elsewhere.
        if bindAddress != "127.0.0.1", bindAddress != "0.0.0.0" { lines[0] = "listener \(port)" }
        try (lines.joined(separator: "\n") + "\n").write(
            toFile: directory + "/mosquitto.conf", atomically: true, encoding: .utf8)
        try launch()
    }

    /// A mosquitto that a killed server left behind still holds the port: it is ours when its command line names our file.
    private func endLeftover() {
        let pidFile = directory + "/mosquitto.pid"
        guard let text = try? String(contentsOfFile: pidFile, encoding: .utf8),
            let pid = pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)), pid > 1,
            let command = try? Data(contentsOf: URL(fileURLWithPath: "/proc/\(pid)/cmdline")),
            String(decoding: command, as: UTF8.self).contains(directory + "/mosquitto.conf")
        else { return }
        logger.notice("ending a mosquitto that an earlier server left behind", metadata: ["pid": "\(pid)"])
        kill(pid, SIGKILL)
        for _ in 0..<100 where kill(pid, 0) == 0 {
            // A killed child of init may be a zombie for a moment; its port is free as soon as it is dead.
            if let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8), stat.contains(") Z ") { break }
            usleep(20_000)
        }
    }

    private func launch() throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Broker.executable())
        process.arguments = ["-c", directory + "/mosquitto.conf"]
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        process.terminationHandler = { [self] ended in
            let wait = state.withLock { state -> Double? in
                guard !state.isStopped else { return nil }
                state.failures += 1
                return min(5, 0.1 * Double(state.failures))
            }
            guard let wait else { return }
            logger.error(
                "mosquitto ended; starting it again",
                metadata: ["status": "\(ended.terminationStatus)", "log": "\(directory)/mosquitto.log"])
            DispatchQueue.global().asyncAfter(deadline: .now() + wait) { [self] in
                if state.withLock({ $0.isStopped }) { return }
                do { try launch() } catch { logger.critical("mosquitto does not start", metadata: ["error": "\(error)"]) }
            }
        }
        // A child inherits the signal mask of the thread that makes it, and worker threads block SIGHUP, which reloads rights.
        var open = sigset_t()
        var before = sigset_t()
        sigemptyset(&open)
        pthread_sigmask(SIG_SETMASK, &open, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        do { try process.run() } catch {
            throw Failed(description: "mosquitto does not start (\(error)); is the Debian package mosquitto installed?")
        }
        try "\(process.processIdentifier)\n".write(
            toFile: directory + "/mosquitto.pid", atomically: true, encoding: .utf8)
        state.withLock { $0.process = process }
    }

    static func executable() -> String {
        ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"].first {
            FileManager.default.isExecutableFile(atPath: $0)
        } ?? "/usr/sbin/mosquitto"
    }

    func stop() {
        let process = state.withLock { state in
            state.isStopped = true
            return state.process
        }
        defer { try? FileManager.default.removeItem(atPath: directory + "/mosquitto.pid") }
        guard let process, process.isRunning else { return }
        // Not waitUntilExit: it spins the run loop of a thread that has none.
        let pid = process.processIdentifier
        kill(pid, SIGTERM)
        for attempt in 0..<300 where process.isRunning {
            if attempt == 200 { kill(pid, SIGKILL) }
            usleep(10_000)
        }
    }

    var processIdentifier: Int32? { state.withLock { $0.process?.processIdentifier } }
}

/// Listens for one thing: whether the broker lets a client in.
private final class ProbeListener: MQTTListener {
    private let report: @Sendable (Bool) -> Void
    private let kept = Mutex<(client: MQTTClient?, listener: ProbeListener?, isFinished: Bool)>((nil, nil, false))

    init(_ report: @escaping @Sendable (Bool) -> Void) { self.report = report }

    /// Held until the answer, since the client's own reference is weak; the answer may even have come already.
    func keep(_ client: MQTTClient) {
        let isFinished = kept.withLock { value in
            if !value.isFinished { value = (client, self, false) }
            return value.isFinished
        }
        if isFinished { client.close() }
    }

    private func finish(_ isUp: Bool) {
        let client = kept.withLock { value in
            defer { value = (nil, nil, true) }
            return value.client
        }
        client?.close()
        report(isUp)
    }

    func mqttIsUp() { finish(true) }
    func mqttIsDown(_ reason: String) { finish(false) }
    func mqttReceived(topic: String, payload: [UInt8]) {}
}
