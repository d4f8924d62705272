/// The city's counters by key, in shards: a sweep of one shard is short even when a million users are counted.
struct CounterTable: Sendable {
    static let shardCount = 64
    private var shards = [[ByteKey: Int]](repeating: [:], count: shardCount)

    subscript(key: ByteKey) -> Int? {
        get { shards[key.shard(of: CounterTable.shardCount)][key] }
        _modify { yield &shards[key.shard(of: CounterTable.shardCount)][key] }
    }

    subscript(key: ByteKey, default fallback: Int) -> Int {
        get { shards[key.shard(of: CounterTable.shardCount)][key] ?? fallback }
        _modify { yield &shards[key.shard(of: CounterTable.shardCount)][key, default: fallback] }
    }

    /// Removes the counters of one shard whose period is over.
    mutating func forget(shard: Int, where isOver: (String) -> Bool) {
        for key in shards[shard].keys where isOver(key.text) { shards[shard][key] = nil }
    }

    /// All counters, in no order.
    var all: some Sequence<(key: ByteKey, value: Int)> { shards.lazy.joined() }
}
