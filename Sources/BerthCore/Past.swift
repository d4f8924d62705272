/// The part of the past that a decision knows beyond the city's memory: ended reservations, visits and payments. The values are read from the store
/// before the city's lock is taken; the rules cannot reach the store.
///
/// Memory comes first: a value here is only looked at where memory has none.
public struct Past: Sendable {
    /// A thing that memory may lack. Names are compared by their bytes.
    public enum Key: Hashable, Sendable {
        /// By orderNo.
        case reservation(ByteKey)
        /// A reservation by its provider's number.
        case clientOrder(appId: ByteKey, clientOrderNo: ByteKey)
        /// A stay by the lot's record number.
        case visit(parkCode: ByteKey, recordNo: ByteKey)
        /// By ``Payment/key``.
        case payment(ByteKey)
    }

    /// The thing under a key, as the store has it.
    public enum Value: Sendable {
        /// The store was asked and has none.
        case nothing
        case reservation(Reservation)
        case visit(Visit)
        case payment(Payment)
    }

    private var values: [Key: Value] = [:]
    private let onUnread: (@Sendable () -> Void)?

    /// - Parameter onUnread: told of a look-up of something that nobody has read: a rule that ``City/lacks(_:_:)`` does not know of. The
    ///   decision is void then. Without it, such a look-up finds nothing.
    public init(onUnread: (@Sendable () -> Void)? = nil) { self.onUnread = onUnread }

    /// The same values; a look-up of what was not read is not counted.
    var quiet: Past {
        var past = Past()
        past.values = values
        return past
    }

    /// Whether the store was asked for a thing, also where it has none.
    public func has(_ key: Key) -> Bool { values[key] != nil }
    /// Notes what the store has under a key.
    public mutating func note(_ key: Key, _ value: Value) { values[key] = value }

    private func value(_ key: @autoclosure () -> Key) -> Value {
        if values.isEmpty, onUnread == nil { return .nothing }
        if let value = values[key()] { return value }
        onUnread?()
        return .nothing
    }

    /// A reservation by its number; nil where the store has none.
    public func reservation(_ orderNo: String) -> Reservation? {
        // A text that is no number of a reservation names none.
        guard Reservation.serial(in: orderNo) != nil else { return nil }
        guard case .reservation(let reservation) = value(.reservation(ByteKey(orderNo))) else { return nil }
        return reservation
    }

    /// A reservation by its provider's number; nil where the store has none.
    public func reservation(appId: String, clientOrderNo: String) -> Reservation? {
        guard
            case .reservation(let reservation) = value(
                .clientOrder(appId: ByteKey(appId), clientOrderNo: ByteKey(clientOrderNo)))
        else { return nil }
        return reservation
    }

    /// A stay by the lot's record number; nil where the store has none.
    public func visit(parkCode: String, recordNo: String) -> Visit? {
        guard case .visit(let visit) = value(.visit(parkCode: ByteKey(parkCode), recordNo: ByteKey(recordNo))) else { return nil }
        return visit
    }

    /// A payment; nil where the store has none.
    /// - Parameter key: ``Payment/key``.
    public func payment(key: String) -> Payment? {
        guard case .payment(let payment) = value(.payment(ByteKey(key))) else { return nil }
        return payment
    }
}
