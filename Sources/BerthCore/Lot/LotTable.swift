/// The lots by their codes. A lot is a large value: the subscript lends it to a reader of one thing, where a dictionary would copy it.
public struct LotTable: Sendable, Sequence {
    private var places: [String: Int] = [:]
    private var slots: [Lot?] = []
    /// Whether a lot was stopped (``Lot/fault``).
    private(set) var hasFaults = false

    public init() {}

    /// Nil for a lot that is not registered; setting a lot registers it.
    public subscript(parkCode: String) -> Lot? {
        _read {
            if let place = places[parkCode] { yield slots[place] } else { yield nil }
        }
        _modify {
            if let place = places[parkCode] {
                yield &slots[place]
                if slots[place]?.fault != nil { hasFaults = true }
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

    /// The lot of a code that a checked command or a thing in memory names: lots are never removed. For any other code it is an empty lot,
    /// in which nothing can be booked; changes of it are dropped.
    subscript(known parkCode: String) -> Lot {
        _read {
            // The buffer is not changed while the lot is lent, since the table is read for as long.
            let place = places[parkCode].flatMap { isTaken($0) ? $0 : nil }
            let lots = place.map { (slots, $0) } ?? (LotTable.nobody, 0)
            yield LotTable.address(lots.0, lots.1).pointee
        }
        _modify {
            if let place = places[parkCode], slots[place] != nil {
                yield &slots[place]!
                if slots[place]?.fault != nil { hasFaults = true }
            } else {
                var nobody = Lot(parkCode: parkCode, policy: Policy())
                yield &nobody
            }
        }
    }

    private func isTaken(_ place: Int) -> Bool { if case .none = slots[place] { false } else { true } }

    private static let nobody: [Lot?] = [Lot(parkCode: "", policy: Policy())]

    /// An optional value stores its payload at its own address. Unwrapping it would copy the lot: some forty retains and releases.
    private static func address(_ slots: [Lot?], _ place: Int) -> UnsafePointer<Lot> {
        slots.withUnsafeBufferPointer { UnsafeRawPointer($0.baseAddress! + place).assumingMemoryBound(to: Lot.self) }
    }

    func contains(_ parkCode: String) -> Bool { places[parkCode] != nil }

    /// Lends a lot for a look at many things of it, copied once at most; one thing is read by the subscript without a copy. Nil for a lot
    /// that is not registered.
    public func withLot<Value>(_ parkCode: String, _ body: (Lot) -> Value) -> Value? {
        guard let place = places[parkCode], slots[place] != nil else { return nil }
        return withExtendedLifetime(slots) { body(LotTable.address(slots, place).pointee) }
    }

    /// The contradictions for which lots are stopped, by lot; empty in a sound city.
    public var faults: [String: String] {
        guard hasFaults else { return [:] }
        var faults: [String: String] = [:]
        for case let lot? in slots { if let fault = lot.fault { faults[lot.parkCode] = fault } }
        return faults
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
