import BerthCore
import BerthLink
import BerthWire
import Foundation
import Synchronization

/// Questions and orders to a lot that are answered now or not at all (section 9.2: `gate.control`, `fee.query` …). Never queued:
/// neither here nor at the broker, so that no barrier moves for what somebody wanted a minute ago.
final class LotCalls: Sendable {
    private let waiting = Mutex<[String: @Sendable (Reply) -> Void]>([:])
    private let credentials: CredentialBook
    private let presence: Presence
    private let callbacks: CallbackClient
    private let clock: @Sendable () -> Millis
    private let mqtt = Mutex<MQTTClient?>(nil)

    init(
        credentials: CredentialBook, presence: Presence, callbacks: CallbackClient, clock: @escaping @Sendable () -> Millis
    ) {
        self.callbacks = callbacks
        self.credentials = credentials
        self.presence = presence
        self.clock = clock
    }

    func start(mqtt: MQTTClient) { self.mqtt.withLock { $0 = mqtt } }

    /// Answers with the lot's own code and data; 600 when it cannot be reached, 502 when it does not answer in time.
    func ask(
        _ parkCode: String, service: String, data: JSON, milliseconds: Int64, completion: @escaping @Sendable (Reply) -> Void
    ) {
        guard let credential = credentials.delivery(to: parkCode) else { return completion(Reply(WireError("lotOffline"))) }
        let client = presence.isReachable(parkCode) ? mqtt.withLock({ $0 }) : nil
        guard client != nil || credential.callback != nil else { return completion(Reply(WireError("lotOffline"))) }
        let requestId = SystemRandom.uuid()
        waiting.withLock { $0[requestId] = completion }
        let bytes = MessageWriter.request(
            service: service, data: data, appId: credential.appId, secret: credential.secret, parkCode: parkCode,
            requestId: requestId, timestamp: clock(), nonce: SystemRandom.nonce())
        if let client {
            client.publish(topic: Topic.down(parkCode, service), payload: bytes, qos: 0)
        } else if let url = credential.callback {
            Task {
                if case .answered(_, let body) = await callbacks.post(url, body: bytes),
                    let reply = ReplyEnvelope(body, secret: credential.secret)
                {
                    replied(reply)
                } else {
                    waiting.withLock { $0.removeValue(forKey: requestId) }?(Reply(WireError("lotOffline")))
                }
            }
        }
        DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(Int(milliseconds))) { [self] in
            waiting.withLock { $0.removeValue(forKey: requestId) }?(Reply(WireError("timeOut")))
        }
    }

    /// A verified reply that no log entry was waiting for.
    func replied(_ reply: ReplyEnvelope) {
        guard let completion = waiting.withLock({ $0.removeValue(forKey: reply.requestId) }) else { return }
        var answer = reply.answer
        answer.epoch = nil
        answer.ackSeq = nil
        answer.duplicate = false
        if Dialect.current.codes[answer.code] == nil { answer.code = Dialect.current.code("lotRefused").code }
        completion(answer)
    }
}
