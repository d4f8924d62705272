import BerthCore
import BerthLink
import BerthWire
import CBerthPosix
import CryptoExtras
import Foundation
import Logging
import Synchronization

/// The embedded broker: a mosquitto child that we configure, supervise, and never trust with durability.
final class EmbeddedBroker: Sendable {
    static let serverUser = "berthserver"
    /// They look after what the broker holds: ``BrokerWatch``.
    static let watchUser = "berthwatch"
    static let sweepUser = "berthsweep"

    /// The bounds of mosquitto; docs/operating.md gives the reasons.
    enum Bounds {
        /// All of its memory, bytes.
        static let memoryBytes = 1 << 30
        /// The queue of one client, messages and bytes. The server's own queue is the longest: all lots write to it.
        static let queuedMessages = 200_000
        static let queuedBytes = 128 << 20
        /// Unacknowledged messages to one client.
        static let inFlight = 500
        /// One packet, bytes: above it the sender loses its connection before the packet is read. Between the longest message and this the
        /// message is dropped.
        static let packetBytes = 2 << 20
        static let messageBytes = WireLimits.bodyBytesMax + 1024
        /// Connections, as far as the descriptors suffice.
        static let connections = 20_000
        /// A session that nobody has used for so long is forgotten.
        static let sessionDays = 1
        /// Its log is put aside when it is longer, bytes; one older log is kept.
        static let logBytes: Int64 = 8 << 20
    }

    private struct State {
        var child: ChildProcess?
        var isStopped = false
        /// Ends in a row, each less than a minute after its start.
        var failures = 0
        var startedAt: Int64 = 0
        /// Starts so far, and the last of them whose end was taken note of.
        var launches = 0
        var lastEnded = 0
        /// Whether the broker has ever listened; from then on it is started again when it ends.
        var isSupervised = false
        var entries: [String: (password: String, topics: [String])] = [:]
        var hashes: [String: (password: String, line: String)] = [:]
    }

    let port: Int
    private let directory: String
    private let bindAddress: String
    private let authority: LocalCA
    private let logger: Logger
    private let state = Mutex(State())
    private let serverPassword = SystemRandom.token(40)
    private let watchPassword = SystemRandom.token(40)
    private let background = DispatchQueue(label: "berth.broker")
    private let watch = Mutex<(watch: BrokerWatch, client: MQTTClient)?>(nil)

    private var configurationFile: String { directory + "/mosquitto.conf" }
    private var pidFile: String { directory + "/mosquitto.pid" }
    var logFile: String { directory + "/mosquitto.log" }

    init(directory: String, port: Int, bindAddress: String, authority: LocalCA, logger: Logger) {
        self.directory = directory
        self.port = port
        self.bindAddress = bindAddress
        self.authority = authority
        self.logger = logger
    }

    struct Failed: Error, CustomStringConvertible { let description: String }

    // MARK: Rights

    /// Sets how a credential may connect, and its topics (section 4): it publishes to its own `up` and reads its own `down`.
    private func admit(_ credential: Credential, _ state: inout State) {
        guard credential.role.speaksForLots else { return }
        guard credential.isEnabled else { state.entries[credential.appId] = nil; return }
        let lots = credential.parkCodes.sorted()
        let clientId = MQTTIdentity.clientId(appId: credential.appId, role: credential.role, parkCode: lots.first)
        var topics = lots.flatMap { ["topic write rsp/v1/\($0)/up/+", "topic read rsp/v1/\($0)/down/#"] }
        if credential.role == .cloud { topics.append("topic write \(Topic.cloudPresence(credential.appId))") }
        state.entries[credential.appId] = (
            MQTTIdentity.staticPassword(secret: credential.secret, clientId: clientId), topics
        )
    }

    /// Writes both files anew and has the broker read them. A half-written ACL would fail open, so each file is moved into place.
    private func writeRights(_ state: inout State) throws {
        var passwords = ""
        var rights = "user \(EmbeddedBroker.serverUser)\ntopic readwrite rsp/v1/#\n"
        rights += "\nuser \(EmbeddedBroker.watchUser)\n" + BrokerWatch.filters.map { "topic read \($0)\n" }.joined()
        rights += "\nuser \(EmbeddedBroker.sweepUser)\ntopic readwrite \(BrokerWatch.swept)\n"
        for (user, entry) in state.entries.sorted(by: { $0.key < $1.key }) {
            rights += "\nuser \(user)\n" + entry.topics.joined(separator: "\n") + "\n"
        }
        var all = state.entries.mapValues(\.password)
        all[EmbeddedBroker.serverUser] = serverPassword
        for user in [EmbeddedBroker.watchUser, EmbeddedBroker.sweepUser] { all[user] = watchPassword }
        for (user, password) in all.sorted(by: { $0.key < $1.key }) {
            let known = state.hashes[user]
            let line = known?.password == password ? known?.line ?? "" : "\(user):\(try EmbeddedBroker.hash(password))"
            state.hashes[user] = (password, line)
            passwords += line + "\n"
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
        let salt = SystemRandom.bytes(12)
        let key = try KDF.Insecure.PBKDF2.deriveKey(
            from: Data(password.utf8), salt: Data(salt), using: .sha512, outputByteCount: 64, unsafeUncheckedRounds: 101)
        return "$7$101$\(Data(salt).base64EncodedString())$\(key.withUnsafeBytes { Data($0) }.base64EncodedString())"
    }

    /// Admits new or changed credentials and shuts out revoked ones; returns when the broker does so too. A change that does not concern
    /// the broker leaves its clients alone.
    func admit(_ credentials: [Credential]) async throws {
        let (child, admitted, shutOut) = try state.withLock { state -> (ChildProcess?, Credential?, Credential?) in
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
            return (state.child, admitted, shutOut)
        }
        guard let child, child.isRunning else { return }
        child.send(SIGHUP)
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
            if !isDone, isIn { throw Failed(description: "the broker does not admit \(credential.appId)") }
            if !isDone { throw Failed(description: "the broker still admits \(credential.appId)") }
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
            let client = EmbeddedBroker.probes.open(configuration(user, clientId: clientId, password, filters: []), listener: listener)
            listener.keep(client)
        }
    }

    /// Drives the clients that look at the broker from outside: probes and watch.
    static let probes = MQTTReactor(logger: Logger(label: "berth.probe"))

    private func configuration(_ user: String, clientId: String? = nil, _ password: String, filters: [String]) -> MQTTConfiguration {
        var configuration = MQTTConfiguration(
            host: "127.0.0.1", port: port, caFile: authority.brokerTrustFile, clientId: clientId ?? user, username: user,
            password: password)
        configuration.cleanSession = true
        // An own certificate has the names by which others come, not the loopback's address.
        configuration.checksHost = !authority.isOwn
        configuration.filters = filters
        return configuration
    }

    func serverConfiguration() -> MQTTConfiguration {
        var configuration = configuration(EmbeddedBroker.serverUser, serverPassword, filters: [Topic.allUp, Topic.allCloudPresence])
        configuration.reconnectSeconds = [0, 1, 1, 2]
        return configuration
    }

    // MARK: The child

    /// Has mosquitto read its certificate anew.
    func reload() { state.withLock { $0.child }?.send(SIGHUP) }

    /// Starts mosquitto; returns when it listens. Blocks the calling thread for some 100 ms.
    /// - Throws: ``Failed`` with mosquitto's own words when it ends instead. Nothing is left running then.
    func start(_ credentials: [Credential]) throws {
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        try state.withLock { state in
            for credential in credentials { admit(credential, &state) }
            try writeRights(&state)
        }
        try configurationText().write(toFile: configurationFile, atomically: true, encoding: .utf8)
        rotateLog()
        let logStart = logSize
        let child = try launch()
        guard listens(child, logStart: logStart) else {
            state.withLock { $0.isStopped = true }
            child.stop(graceMillis: 1_000)
            unlink(pidFile)
            throw Failed(description: "mosquitto does not start: \(lastWords(from: logStart)) (its log is \(logFile))")
        }
        state.withLock { $0.isSupervised = true }
        // Its end, if it came before this, was not taken note of.
        if let status = child.status { startLater(after: 1, status: status) }
        lookAfter()
    }

    private func configurationText() -> String {
        let descriptors = Int(min(ServiceProcess.raiseDescriptorLimit().soft, 1 << 20))
        let connections = max(64, min(Bounds.connections, descriptors - 256))
        var lines = [
            "allow_anonymous false", "password_file \(directory)/passwd", "acl_file \(directory)/acl", "persistence false",
            "memory_limit \(Bounds.memoryBytes)", "max_inflight_messages \(Bounds.inFlight)",
            "max_queued_messages \(Bounds.queuedMessages)",
            "max_queued_bytes \(Bounds.queuedBytes)", "max_packet_size \(Bounds.packetBytes)", "message_size_limit \(Bounds.messageBytes)",
            "persistent_client_expiration \(Bounds.sessionDays)d", "sys_interval 10", "set_tcp_nodelay true", "log_dest file \(logFile)",
            "log_type error", "log_type warning", "log_type information", "connection_messages false",
        ]
        if geteuid() == 0 { lines.append("user root") }
        for host in Ports.brokerHosts(bindAddress) {
            // Each listener has these of its own.
            lines += [
                "listener \(port) \(host)", "max_connections \(connections)", "use_username_as_clientid true", "cafile \(authority.caFile)",
                "certfile \(authority.certificateFile)", "keyfile \(authority.keyFile)",
            ]
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Ends a mosquitto that an earlier server left behind and that may still hold the port. The kernel ends mosquitto a moment after its server;
    /// an older release leaves it running. It is ours when its command line names our file. Blocks the calling thread.
    static func endLeftover(directory: String, logger: Logger) {
        guard let text = try? String(contentsOfFile: directory + "/mosquitto.pid", encoding: .utf8),
            let pid = pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)), pid > 1,
            let command = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline")
        else { return }
        // A process that is just ending has no command line any more, and may have its port still.
        guard !command.isEmpty else {
            _ = berth_end_process(pid, 0, 1_000)
            return
        }
        let words = command.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
        guard words.first?.hasSuffix("mosquitto") == true, words.contains(directory + "/mosquitto.conf") else { return }
        logger.notice("ending a mosquitto that an earlier server left behind", metadata: ["pid": "\(pid)"])
        if berth_end_process(pid, SIGKILL, 5_000) != 0 {
            logger.error("a mosquitto that an earlier server left behind does not end", metadata: ["pid": "\(pid)"])
        }
    }

    /// Starts the child and puts it on record, unless the broker is stopped.
    @discardableResult private func launch() throws -> ChildProcess {
        let errors = open(logFile, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        defer { if errors >= 0 { close(errors) } }
        return try state.withLock { state in
            guard !state.isStopped else { throw Failed(description: "the server is stopping") }
            state.launches += 1
            let number = state.launches
            let child: ChildProcess
            do {
                child = try ChildProcess.start(
                    EmbeddedBroker.executable(), ["-c", configurationFile], errors: errors >= 0 ? errors : nil,
                    onEnd: { [self] status in startLater(after: number, status: status) })
            } catch { throw Failed(description: "\(error); is the Debian package mosquitto installed?") }
            state.child = child
            state.startedAt = SystemClock.monotonic()
            // Only needed by an older release; a full disk must not keep the broker from running.
            try? "\(child.processIdentifier ?? 0)\n".write(toFile: pidFile, atomically: true, encoding: .utf8)
            return child
        }
    }

    /// Starts the broker again after a pause that doubles with each failure, up to 30 s, and begins anew when it has run for a minute.
    /// - Parameter launch: The number of the start that has ended; each has one successor.
    private func startLater(after launch: Int, status: Int32) {
        let wait = state.withLock { state -> Int? in
            guard state.isSupervised, !state.isStopped, launch > state.lastEnded else { return nil }
            state.lastEnded = launch
            if SystemClock.monotonic() - state.startedAt >= 60_000 { state.failures = 0 }
            state.failures += 1
            return min(30_000, 100 << min(state.failures - 1, 9))
        }
        guard let wait else { return }
        logger.error(
            "mosquitto ended; it is started again", metadata: ["status": "\(status)", "inMillis": "\(wait)", "log": "\(logFile)"])
        background.asyncAfter(deadline: .now() + .milliseconds(wait)) { [self] in
            rotateLog()
            do { try self.launch() } catch {
                let (isStopped, number) = state.withLock { ($0.isStopped, $0.launches) }
                guard !isStopped else { return }
                logger.error("mosquitto does not start", metadata: ["error": "\(error)"])
                startLater(after: number, status: -1)
            }
        }
    }

    /// Waits until the child listens.
    /// - Returns: false when it has ended, or does not listen within 10 s.
    private func listens(_ child: ChildProcess, logStart: Int64) -> Bool {
        let until = SystemClock.monotonic() + 10_000
        // mosquitto opens its port before it reads the key of its certificate, and ends when it cannot. It writes "running" when all is read; a broker
        // that does not write it is given a second.
        var openedAt: Int64?
        while SystemClock.monotonic() < until {
            // The wait is for the end of the child; each time that it has not ended, the port is tried.
            if child.wait(millis: 10) { return false }
            if openedAt == nil, isListening() { openedAt = SystemClock.monotonic() }
            guard let openedAt else { continue }
            if log(from: logStart).contains(" running") || SystemClock.monotonic() - openedAt > 1_000 { return child.isRunning }
        }
        return false
    }

    private func isListening() -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(clamping: port)).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    static func executable() -> String { ChildProcess.find("mosquitto") ?? "/usr/sbin/mosquitto" }

    func stop() {
        let child = state.withLock { state in
            state.isStopped = true
            return state.child
        }
        if let watch = watch.withLock({ $0 }) { watch.client.close() }
        child?.stop(graceMillis: 2_000)
        unlink(pidFile)
    }

    var processIdentifier: Int32? { state.withLock { $0.child?.processIdentifier } }

    // MARK: Its log and its contents

    private var logSize: Int64 {
        var info = stat()
        return stat(logFile, &info) == 0 ? Int64(info.st_size) : 0
    }

    /// The last errors that mosquitto has written into its log since the log had this length.
    private func lastWords(from start: Int64) -> String {
        let lines = log(from: start).split(separator: "\n").filter { $0.contains("Error") }
        return lines.isEmpty ? "it said nothing" : lines.suffix(3).joined(separator: "; ")
    }

    /// The log after it had this length, at most 64 KiB; "" where it cannot be read.
    private func log(from start: Int64) -> String {
        guard let file = FileHandle(forReadingAtPath: logFile) else { return "" }
        defer { try? file.close() }
        guard (try? file.seek(toOffset: UInt64(max(0, start)))) != nil, let data = try? file.read(upToCount: 1 << 16) else { return "" }
        return String(decoding: data, as: UTF8.self)
    }

    /// Puts a long log aside. mosquitto opens its log anew with its rights, at SIGHUP.
    private func rotateLog() {
        guard logSize > Bounds.logBytes, rename(logFile, logFile + ".1") == 0 else { return }
        state.withLock { $0.child }?.send(SIGHUP)
    }

    /// Looks at the log every 10 s, and has the broker's own figures told.
    private func lookAfter() {
        let watch = BrokerWatch(broker: self, logger: logger)
        let client = EmbeddedBroker.probes.open(
            configuration(EmbeddedBroker.watchUser, watchPassword, filters: BrokerWatch.filters), listener: watch)
        self.watch.withLock { $0 = (watch, client) }
        @Sendable func next() {
            background.asyncAfter(deadline: .now() + .seconds(10)) { [self] in
                guard !state.withLock({ $0.isStopped }) else { return }
                rotateLog()
                next()
            }
        }
        next()
    }

    /// Lots and clouds that may each have one retained message: whether they are there.
    var presencesMax: Int { state.withLock { $0.entries.values.reduce(0) { $0 + $1.topics.count } } }

    /// The configuration of a client that sees what the lots have retained.
    func sweepConfiguration() -> MQTTConfiguration { configuration(EmbeddedBroker.sweepUser, watchPassword, filters: [BrokerWatch.swept]) }

    /// Ends mosquitto, so that it is started again and holds nothing. The logs of both ends hold all messages.
    func restart() { state.withLock { $0.child }?.send(SIGKILL) }
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
