/// The orders of a lot by their serial numbers, each with the place that it holds. An order's number ends with its serial number: a number is
/// hashed and compared faster than a text, and what is compared lies in the table.
public struct ReservationTable: Sendable {
    fileprivate struct Slot: Sendable {
        var reservation: Reservation
        var hold: Lot.Hold?
    }

    private var slots: [Int64: Slot] = [:]

    /// How many orders there are.
    public var count: Int { slots.count }

    /// The order with this whole number; nil when there is none.
    public subscript(orderNo: String) -> Reservation? {
        guard let serial = Reservation.serial(in: orderNo), let reservation = slots[serial]?.reservation, reservation.orderNo == orderNo
        else { return nil }
        return reservation
    }

    subscript(serial serial: Int64) -> Reservation? { slots[serial]?.reservation }

    /// All orders, in no order of theirs.
    public var values: Values { Values(slots: slots) }

    /// The orders of a table as it was when it was asked for them.
    public struct Values: Sequence, Sendable {
        fileprivate let slots: [Int64: Slot]
        public var underestimatedCount: Int { slots.count }

        /// One order after the other.
        public struct Iterator: IteratorProtocol {
            fileprivate var slots: Dictionary<Int64, Slot>.Values.Iterator
            /// The next order; nil after the last one.
            public mutating func next() -> Reservation? { slots.next()?.reservation }
        }

        public func makeIterator() -> Iterator { Iterator(slots: slots.values.makeIterator()) }
    }

    /// - Returns: what the order was before; nil when it is new.
    mutating func put(_ reservation: Reservation) -> Reservation? {
        func exchange(_ slot: inout Slot?) -> Reservation? {
            guard let old = slot?.reservation else {
                slot = Slot(reservation: reservation)
                return nil
            }
            slot!.reservation = reservation
            return old
        }
        return exchange(&slots[reservation.serial])
    }

    mutating func change(_ orderNo: String, _ body: (inout Reservation) -> Void) {
        guard let serial = Reservation.serial(in: orderNo), slots[serial]?.reservation.orderNo == orderNo else { return }
        body(&slots[serial]!.reservation)
    }

    mutating func remove(_ reservation: Reservation) { slots[reservation.serial] = nil }

    // MARK: What they hold

    func hold(of serial: Int64) -> Lot.Hold? { slots[serial]?.hold }
    mutating func set(_ hold: Lot.Hold?, of serial: Int64) { slots[serial]?.hold = hold }

    /// Those who hold a place, and what.
    var holds: [(reservation: Reservation, hold: Lot.Hold)] { slots.values.compactMap { slot in slot.hold.map { (slot.reservation, $0) } } }
}
