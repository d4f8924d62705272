import BerthCore
import BerthWire
import Synchronization

/// The last calls of each party with their codes and the fields that were wrong, for the party itself and for the operator. In memory: it
/// begins anew with the server.
final class CallLog: Sendable {
    struct Call: Sendable {
        var at: Int64
        var service: String
        var requestId: String
        var parkCode: String
        var code: Int
        var hint: String
        var isOverMQTT: Bool
    }

    private struct Ring: Sendable {
        var calls: [Call] = []
        var next = 0

        mutating func add(_ call: Call) {
            guard calls.count == CallLog.callsMax else { return calls.append(call) }
            calls[next] = call
            next = (next + 1) % CallLog.callsMax
        }
    }

    /// Calls that are kept for one party.
    static let callsMax = 50
    /// Parties with calls, over all shards: some 40 MB at most.
    private static let partiesMax = 5_000
    private static let shardCount = 16
    private let shards: [Mutex<[String: Ring]>.Box]

    init() { shards = (0..<CallLog.shardCount).map { _ in .init([:]) } }

    /// Notes a call whose signature held.
    func note(_ appId: String, _ call: Call) {
        shards[CallLog.shard(appId)].value.withLock { rings in
            if rings[appId] == nil, rings.count >= CallLog.partiesMax / CallLog.shardCount { return }
            rings[appId, default: Ring()].add(call)
        }
    }

    /// The newest first.
    func calls(of appId: String) -> [Call] {
        shards[CallLog.shard(appId)].value.withLock { rings in
            guard let ring = rings[appId] else { return [] }
            return (ring.calls[ring.next...] + ring.calls[..<ring.next]).reversed()
        }
    }

    private static func shard(_ appId: String) -> Int { Int(appId.utf8.reduce(UInt8(0)) { $0 &* 31 &+ $1 }) % shardCount }
}

extension Mutex where Value: Sendable {
    /// A mutex that an array can hold.
    final class Box: Sendable {
        let value: Mutex<Value>
        init(_ initial: Value) { value = Mutex(initial) }
    }
}
