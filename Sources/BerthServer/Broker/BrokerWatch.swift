import BerthLink
import BerthWire
import Foundation
import Logging
import Synchronization

/// Looks at the broker's own figures, so that no lot makes it hold without bound.
///
/// A lot retains one message, its presence. mosquitto's rights cannot tell a message that is retained from one that is not, so that a lot that
/// means harm could retain one under each of any number of names. They are counted here, and removed when there are too many.
final class BrokerWatch: MQTTListener {
    private static let retained = "$SYS/broker/retained messages/count"
    private static let memory = "$SYS/broker/heap/current"
    static let filters = [retained, memory]
    /// The topics to which lots may write.
    static let swept = "rsp/v1/+/up/+"
    /// Retained messages beyond the presences of lots and clouds: mosquitto's own figures are some 60 of them.
    static let retainedSpare = 1_000

    private let broker: EmbeddedBroker
    private let logger: Logger
    private let isSweeping = Atomic<Bool>(false)
    private let background = DispatchQueue(label: "berth.broker.watch")

    init(broker: EmbeddedBroker, logger: Logger) {
        self.broker = broker
        self.logger = logger
    }

    func mqttIsUp() {}
    func mqttIsDown(_ reason: String) {}

    func mqttReceived(topic: String, payload: [UInt8]) {
        guard payload.count <= 20, let figure = Int(String(decoding: payload, as: UTF8.self)) else { return }
        switch topic {
        case BrokerWatch.memory where figure > EmbeddedBroker.Bounds.memoryBytes / 10 * 9:
            // Near its limit it refuses the connections and messages of everybody.
            logger.error("mosquitto holds nearly all that it may; it is started again", metadata: ["bytes": "\(figure)"])
            broker.restart()
        case BrokerWatch.retained where figure > broker.presencesMax + BrokerWatch.retainedSpare: sweep(figure)
        default: break
        }
    }

    /// Removes what is retained under other names than the presence, and names the lot that has most of it.
    private func sweep(_ figure: Int) {
        guard isSweeping.compareExchange(expected: false, desired: true, ordering: .acquiringAndReleasing).exchanged else { return }
        let sweep = Sweep()
        let client = EmbeddedBroker.probes.open(broker.sweepConfiguration(), listener: sweep)
        background.asyncAfter(deadline: .now() + .seconds(3)) { [self] in
            let topics = sweep.topics
            var shares: [ArraySlice<UInt8>: Int] = [:]
            for topic in topics {
                client.publish(topic: String(decoding: topic, as: UTF8.self), payload: [], retain: true)
                let parts = topic.split(separator: UInt8(ascii: "/"), maxSplits: 3, omittingEmptySubsequences: false)
                if parts.count > 2 { shares[parts[2], default: 0] += 1 }
            }
            if let worst = shares.max(by: { $0.value < $1.value }) {
                let lot = String(decoding: worst.key, as: UTF8.self)
                logger.warning(
                    "messages that lots had the broker retain were removed; a lot may retain its presence only",
                    metadata: ["retained": "\(figure)", "removed": "\(topics.count)", "mostOf": "\(lot)", "itsShare": "\(worst.value)"])
            }
            background.asyncAfter(deadline: .now() + .seconds(2)) { [self] in
                // This use also keeps the client's listener alive until now, because the client's reference to it is weak.
                sweep.end()
                client.close()
                isSweeping.store(false, ordering: .releasing)
            }
        }
    }

    /// Hears what is retained, which the broker sends to each new subscriber first.
    private final class Sweep: MQTTListener {
        /// Names of one sweep, at most; the others are left for the next sweep.
        private static let most = 50_000
        /// As bytes: comparing texts of combining characters that somebody chose takes long.
        private let found = Mutex<Set<[UInt8]>>([])
        private static let presence = Array("/status".utf8)

        var topics: [[UInt8]] { found.withLock { Array($0) } }
        func end() { found.withLock { $0.removeAll() } }

        func mqttIsUp() {}
        func mqttIsDown(_ reason: String) {}
        func mqttReceived(topic: String, payload: [UInt8]) {
            let name = Array(topic.utf8)
            guard !payload.isEmpty, !name.suffix(Sweep.presence.count).elementsEqual(Sweep.presence) else { return }
            found.withLock { if $0.count < Sweep.most { $0.insert(name) } }
        }
    }
}
