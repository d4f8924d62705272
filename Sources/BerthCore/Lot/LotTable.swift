/// The lots by their codes. A lot is a large value: the subscript lends it to a reader of one thing, where a dictionary would copy it.
public struct LotTable: Sendable, Sequence {
    private var places: [String: Int] = [:]
    private var slots: [Lot?] = []

    public init() {}

    /// Nil for a lot that is not registered; setting a lot registers it.
    public subscript(parkCode: String) -> Lot? {
        _read {
            if let place = places[parkCode] { yield slots[place] } else { yield nil }
        }
        _modify {
            if let place = places[parkCode] {
                yield &slots[place]
            } else {
                // A change of an unknown lot leaves it nil and registers nothing.
                var fresh: Lot?
                yield &fresh
                if let fresh {
                    places[parkCode] = slots.count
                    slots.append(fresh)
                }
            }
        }
    }

    func contains(_ parkCode: String) -> Bool { places[parkCode] != nil }

    /// Lends a lot for a look at many things of it, copied once at most; one thing is read by the subscript without a copy. Nil for a lot
    /// that is not registered.
    public func withLot<Value>(_ parkCode: String, _ body: (Lot) -> Value) -> Value? {
        guard let place = places[parkCode], slots[place] != nil else { return nil }
        return slots.withUnsafeBufferPointer { slots in
            guard let base = slots.baseAddress else { return nil }
            // An optional value stores its payload at its own address. Unwrapping it would copy the lot: some forty retains and releases.
            return body(UnsafeRawPointer(base + place).assumingMemoryBound(to: Lot.self).pointee)
        }
    }

    public var count: Int { slots.count }
    public var keys: Dictionary<String, Int>.Keys { places.keys }
    /// In the order in which they were registered.
    public var values: some Sequence<Lot> { slots.lazy.compactMap { $0 } }

    public func makeIterator() -> AnyIterator<(key: String, value: Lot)> {
        var place = 0
        return AnyIterator { [slots] in
            guard place < slots.count, let lot = slots[place] else { return nil }
            place += 1
            return (lot.parkCode, lot)
        }
    }

    public func mapValues<Value>(_ transform: (Lot) -> Value) -> [String: Value] {
        Dictionary(uniqueKeysWithValues: map { ($0.key, transform($0.value)) })
    }
}
