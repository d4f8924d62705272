import BerthWire
import CBerthPosix
import CMosquitto
import Foundation
public import Logging
import Synchronization

/// How one client reaches the broker.
public struct MQTTConfiguration: Sendable {
    /// The brokers, tried in turn: of a city with several servers the leader's answers.
    public var places: [(host: String, port: Int)]
    public var caFile: String
    /// Whether the certificate has to name the host.
    public var checksHost = true
    public var clientId: String
    public var username: String
    public var password: String
    public var keepaliveSeconds = 60
    public var cleanSession = false
    /// Published by the broker when the client is lost: QoS 1, retained (section 4).
    public var will: (topic: String, payload: String)?
    public var filters: [String] = []
    /// Seconds between attempts; the last one stays.
    public var reconnectSeconds = WireLimits.reconnectSeconds

    public init(host: String, port: Int, caFile: String, clientId: String, username: String, password: String) {
        self.init(places: [(host, port)], caFile: caFile, clientId: clientId, username: username, password: password)
    }

    /// - Parameter places: not empty.
    public init(places: [(host: String, port: Int)], caFile: String, clientId: String, username: String, password: String) {
        self.places = places
        self.caFile = caFile
        self.clientId = clientId
        self.username = username
        self.password = password
    }
}

/// The events of a client. All of them are delivered on the reactor's thread, in the order of the network; a listener must not block.
public protocol MQTTListener: AnyObject, Sendable {
    /// Connected, and all filters are acknowledged.
    func mqttIsUp()
    /// Lost, refused, or never reached; another attempt follows by itself.
    func mqttIsDown(_ reason: String)
    func mqttReceived(topic: String, payload: [UInt8])
}

/// One thread that drives any number of libmosquitto clients over TLS with epoll.
///
/// The library keeps and repeats QoS 1 messages over a reconnect on its own. Here the logs do that, with the signed reply as
/// proof, so every attempt gets a fresh library client that knows nothing of the one before.
public final class MQTTReactor: Sendable {
    private let epoll: Int32
    private let wake: Int32
    private let mailbox = Mutex<[@Sendable (Loop) -> Void]>([])
    private let logger: Logger

    public init(logger: Logger) {
        self.logger = logger
        mosquitto_lib_init()
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        wake = berth_eventfd()
        precondition(epoll >= 0 && wake >= 0, "the kernel gave no descriptor for the MQTT reactor")
        _ = berth_epoll_control(epoll, EPOLL_CTL_ADD, wake, EPOLLIN.rawValue, 0)
        let thread = Thread { [self] in Loop(reactor: self).run() }
        thread.name = "mqtt"
        thread.start()
    }

    public func open(_ configuration: MQTTConfiguration, listener: any MQTTListener) -> MQTTClient {
        let client = MQTTClient(reactor: self, configuration: configuration, listener: listener)
        post { $0.add(client) }
        return client
    }

    fileprivate func post(_ work: @escaping @Sendable (Loop) -> Void) {
        let wasEmpty = mailbox.withLock { box in
            box.append(work)
            return box.count == 1
        }
        if wasEmpty {
            var one: UInt64 = 1
            _ = write(wake, &one, 8)
        }
    }

    /// Everything that lives on the reactor's thread.
    fileprivate final class Loop {
        let reactor: MQTTReactor
        var sessions: [ObjectIdentifier: Session] = [:]
        var byToken: [UInt64: Session] = [:]
        var lastToken: UInt64 = 0
        var lastMisc: Int64 = 0

        init(reactor: MQTTReactor) { self.reactor = reactor }

        func run() {
            var events = [epoll_event](repeating: epoll_event(), count: 256)
            while true {
                let count = epoll_wait(reactor.epoll, &events, Int32(events.count), 100)
                if count > 0 {
                    for index in 0..<Int(count) { handle(events[index]) }
                }
                // While we publish, replies may be waiting: a bounded share for the mailbox, then the sockets again.
                let work = reactor.mailbox.withLock { box in
                    let taken = box
                    box.removeAll(keepingCapacity: true)
                    return taken
                }
                for item in work { item(self) }
                let now = SystemClock.monotonic()
                for session in sessions.values where session.isBroken { session.drop("connection lost", loop: self) }
                for session in sessions.values where session.mosquitto == nil && now >= session.nextAttempt {
                    session.connect(loop: self)
                }
                if now - lastMisc >= 1000 {
                    lastMisc = now
                    for session in sessions.values {
                        guard let client = session.mosquitto else { continue }
                        if mosquitto_loop_misc(client) != MOSQ_ERR_SUCCESS.rawValue.int32 { session.isBroken = true }
                        if !session.isUp, now - session.startedAt > session.patienceMillis { session.isBroken = true }
                    }
                }
            }
        }

        private func handle(_ event: epoll_event) {
            if event.data.u64 == 0 {
                var count: UInt64 = 0
                _ = read(reactor.wake, &count, 8)
                return
            }
            guard let session = byToken[event.data.u64], let client = session.mosquitto else { return }
            // Before CONNACK the library takes a refused connection for success and would spin (2.0.11).
            if !session.isConnected, event.events & (EPOLLERR.rawValue | EPOLLHUP.rawValue) != 0 {
                session.drop("connection refused", loop: self)
                return
            }
            var result = mosquitto_loop_read(client, 1)
            if result == MOSQ_ERR_SUCCESS.rawValue.int32, mosquitto_want_write(client) {
                result = mosquitto_loop_write(client, 1)
            }
            guard result == MOSQ_ERR_SUCCESS.rawValue.int32, !session.isBroken else {
                session.drop(session.reason ?? String(cString: mosquitto_strerror(result)), loop: self)
                return
            }
            session.updateInterest(loop: self)
        }

        func add(_ client: MQTTClient) { sessions[ObjectIdentifier(client)] = Session(client: client) }

        func publish(_ client: MQTTClient, topic: String, payload: [UInt8], qos: Int32, retain: Bool) {
            guard let session = sessions[ObjectIdentifier(client)], session.isUp, let mosquitto = session.mosquitto else {
                return
            }
            let result = payload.withUnsafeBytes {
                mosquitto_publish(mosquitto, nil, topic, Int32(payload.count), $0.baseAddress, qos, retain)
            }
            if result != MOSQ_ERR_SUCCESS.rawValue.int32 { session.isBroken = true }
            session.updateInterest(loop: self)
        }

        func remove(_ client: MQTTClient) {
            guard let session = sessions.removeValue(forKey: ObjectIdentifier(client)) else { return }
            if let mosquitto = session.mosquitto, session.isUp { mosquitto_disconnect(mosquitto) }
            session.destroy(loop: self)
        }

        /// Takes the connection away without a word, as a dead network would.
        func sever(_ client: MQTTClient) {
            sessions[ObjectIdentifier(client)]?.isBroken = true
        }
    }

    /// One client's present connection attempt. Lives on the reactor's thread only.
    fileprivate final class Session {
        unowned let client: MQTTClient
        private let keep: MQTTClient
        var mosquitto: OpaquePointer?
        var token: UInt64 = 0
        var isConnected = false
        var isUp = false
        var isBroken = false
        var reason: String?
        var attempts = 0
        /// The place that is tried, or that is connected.
        private var place = 0
        var nextAttempt: Int64 = 0
        /// The pause between two places of one round, ms.
        private static let placeMillis: Int64 = 200
        /// How long a connection may take, ms: a machine that is gone gives no answer, and the next place may be up.
        var patienceMillis: Int64 { client.configuration.places.count > 1 ? 5_000 : 15_000 }
        var startedAt: Int64 = 0
        private var wantsWrite = false
        private var unacknowledged = 0

        init(client: MQTTClient) {
            self.client = client
            keep = client
        }

        func connect(loop: Loop) {
            let configuration = client.configuration
            guard
                let mosquitto = mosquitto_new(
                    configuration.clientId, configuration.cleanSession, Unmanaged.passUnretained(self).toOpaque())
            else { return retry("out of memory") }
            self.mosquitto = mosquitto
            isBroken = false
            isConnected = false
            isUp = false
            reason = nil
            startedAt = SystemClock.monotonic()
            mosquitto_int_option(mosquitto, MOSQ_OPT_PROTOCOL_VERSION, Int32(MQTT_PROTOCOL_V311))
            mosquitto_int_option(mosquitto, MOSQ_OPT_TCP_NODELAY, 1)
            mosquitto_max_inflight_messages_set(mosquitto, 2000)
            mosquitto_username_pw_set(mosquitto, configuration.username, configuration.password)
            if mosquitto_tls_set(mosquitto, configuration.caFile, nil, nil, nil, nil)
                != MOSQ_ERR_SUCCESS.rawValue.int32
            {
                destroy(loop: loop)
                return retry("the CA certificate \(configuration.caFile) cannot be read")
            }
            if !configuration.checksHost { mosquitto_tls_insecure_set(mosquitto, true) }
            if let will = configuration.will {
                mosquitto_will_set(mosquitto, will.topic, Int32(will.payload.utf8.count), will.payload, 1, true)
            }
            mosquitto_connect_callback_set(mosquitto) { _, session, code in
                Session.from(session).connected(code)
            }
            mosquitto_disconnect_callback_set(mosquitto) { _, session, code in
                let session = Session.from(session)
                if session.reason == nil { session.reason = "disconnected (\(code))" }
                session.isBroken = true
            }
            mosquitto_subscribe_callback_set(mosquitto) { _, session, _, _, _ in Session.from(session).subscribed() }
            mosquitto_message_callback_set(mosquitto) { _, session, message in
                guard let message = message?.pointee else { return }
                let payload = UnsafeRawBufferPointer(start: message.payload, count: Int(message.payloadlen))
                Session.from(session).client.listener?.mqttReceived(
                    topic: String(cString: message.topic), payload: Array(payload))
            }
            let (host, port) = configuration.places[place % configuration.places.count]
            let result = mosquitto_connect_async(mosquitto, host, Int32(port), Int32(configuration.keepaliveSeconds))
            let descriptor = mosquitto_socket(mosquitto)
            guard result == MOSQ_ERR_SUCCESS.rawValue.int32, descriptor >= 0 else {
                destroy(loop: loop)
                return retry(String(cString: mosquitto_strerror(result)))
            }
            loop.lastToken += 1
            token = loop.lastToken
            loop.byToken[token] = self
            wantsWrite = false
            _ = berth_epoll_control(loop.reactor.epoll, EPOLL_CTL_ADD, descriptor, EPOLLIN.rawValue, token)
        }

        private static func from(_ pointer: UnsafeMutableRawPointer?) -> Session {
            Unmanaged<Session>.fromOpaque(pointer!).takeUnretainedValue()
        }

        private func connected(_ code: Int32) {
            guard code == 0 else {
                reason = code == 5 || code == 4 ? "the broker refuses the credential" : "refused (\(code))"
                isBroken = true
                return
            }
            isConnected = true
            let filters = client.configuration.filters
            unacknowledged = filters.count
            for filter in filters { mosquitto_subscribe(mosquitto, nil, filter, 1) }
            if filters.isEmpty { becomeUp() }
        }

        private func subscribed() {
            unacknowledged -= 1
            if unacknowledged == 0 { becomeUp() }
        }

        private func becomeUp() {
            isUp = true
            attempts = 0
            client.upFlag.store(true, ordering: .releasing)
            client.listener?.mqttIsUp()
        }

        func updateInterest(loop: Loop) {
            guard let mosquitto else { return }
            let descriptor = mosquitto_socket(mosquitto)
            guard descriptor >= 0 else { isBroken = true; return }
            let wants = mosquitto_want_write(mosquitto)
            guard wants != wantsWrite else { return }
            wantsWrite = wants
            let mask = EPOLLIN.rawValue | (wants ? EPOLLOUT.rawValue : 0)
            _ = berth_epoll_control(loop.reactor.epoll, EPOLL_CTL_MOD, descriptor, mask, token)
        }

        func destroy(loop: Loop) {
            loop.byToken[token] = nil
            if let mosquitto { mosquitto_destroy(mosquitto) }
            mosquitto = nil
            isUp = false
            isConnected = false
            isBroken = false
            client.upFlag.store(false, ordering: .releasing)
        }

        func drop(_ why: String, loop: Loop) {
            let why = reason ?? why
            destroy(loop: loop)
            retry(why)
        }

        private func retry(_ why: String) {
            let (schedule, places) = (client.configuration.reconnectSeconds, client.configuration.places.count)
            // All places are tried once before the schedule's next wait.
            let round = attempts / places
            attempts += 1
            place = (place + 1) % places
            let wait = attempts % places == 0 ? schedule[min(round, schedule.count - 1)] * 1000 : Session.placeMillis
            nextAttempt = SystemClock.monotonic() + wait + SystemRandom.jitter(wait)
            client.listener?.mqttIsDown(why)
        }
    }
}

/// A client of the reactor. Any thread may use it.
public final class MQTTClient: Sendable {
    let reactor: MQTTReactor
    let configuration: MQTTConfiguration
    private let weakListener: WeakListener
    fileprivate let upFlag = Atomic<Bool>(false)

    fileprivate var listener: (any MQTTListener)? { weakListener.value }
    public var isUp: Bool { upFlag.load(ordering: .acquiring) }

    fileprivate init(reactor: MQTTReactor, configuration: MQTTConfiguration, listener: any MQTTListener) {
        self.reactor = reactor
        self.configuration = configuration
        weakListener = WeakListener(value: listener)
    }

    /// Hands a message to the network if the client is up; a message handed to a broken connection is gone, and the logs know it.
    public func publish(topic: String, payload: [UInt8], qos: Int32 = 1, retain: Bool = false) {
        reactor.post { [self] in $0.publish(self, topic: topic, payload: payload, qos: qos, retain: retain) }
    }

    /// Says goodbye after everything published before has been handed over.
    public func close() { reactor.post { [self] in $0.remove(self) } }

    /// Breaks the connection as a network would; the client comes back by itself.
    public func sever() { reactor.post { [self] in $0.sever(self) } }
}

/// Weak references are safe to read from any thread, but the language cannot know it of a stored one.
private final class WeakListener: @unchecked Sendable {
    private(set) weak var value: (any MQTTListener)?
    init(value: any MQTTListener) { self.value = value }
}

extension UInt32 {
    fileprivate var int32: Int32 { Int32(bitPattern: self) }
}
extension Int32 {
    fileprivate var int32: Int32 { self }
}
