import BerthCore
import BerthLink
import BerthWire
import Foundation
import Logging
import Synchronization

/// The signed interface over MQTT (interface.md, section 4). Called on the reactor's thread, so messages stay in order.
final class MQTTFront: MQTTListener {
    private let pipeline: Pipeline
    private let credentials: CredentialBook
    private let presence: Presence
    private let deliverer: Deliverer
    private let clock: @Sendable () -> Millis
    private let logger: Logger
    private let client = Mutex<MQTTClient?>(nil)
    /// Signs replies off the committer's thread, in order.
    private let replies = DispatchQueue(label: "berth.mqtt.replies")

    init(
        pipeline: Pipeline, credentials: CredentialBook, presence: Presence, deliverer: Deliverer,
        clock: @escaping @Sendable () -> Millis, logger: Logger
    ) {
        self.pipeline = pipeline
        self.credentials = credentials
        self.presence = presence
        self.deliverer = deliverer
        self.clock = clock
        self.logger = logger
    }

    func start(_ client: MQTTClient) { self.client.withLock { $0 = client } }
    var isUp: Bool { client.withLock { $0 }?.isUp ?? false }

    func mqttIsUp() { logger.info("connected to the broker") }

    func mqttIsDown(_ reason: String) {
        logger.warning("no connection to the broker", metadata: ["reason": "\(reason)"])
        presence.allOffline()
    }

    func mqttReceived(topic: String, payload: [UInt8]) {
        let now = clock()
        switch Topic.parseUplink(topic) {
        case .service(let parkCode, let service):
            pipeline.receive(payload, .init(service: service, parkCode: parkCode)) { [self] reply in
                if reply.isAuthentic { presence.online(parkCode) }
                // Every message but the heartbeat is answered.
                guard reply.echo.service != "sys.heartbeat" else { return }
                replies.async { [self] in
                    client.withLock { $0 }?.publish(topic: Topic.downReply(parkCode), payload: pipeline.render(reply))
                }
            }
        case .reply(let parkCode): deliverer.replied(parkCode, payload, now: now)
        case .presence(let parkCode): present([parkCode], payload, now: now)
        case .cloudPresence(let appId):
            present(credentials.find(appId)?.parkCodes.sorted() ?? [], payload, now: now)
        case nil: break
        }
    }

    /// Unsigned, guarded by the topic rights: a hint.
    private func present(_ parkCodes: [String], _ payload: [UInt8], now: Millis) {
        guard payload.count <= 1024, let online = (try? JSON.parse(payload))?["online"]?.boolValue else { return }
        for parkCode in parkCodes {
            if online { presence.online(parkCode) } else { presence.offline(parkCode) }
        }
    }
}
