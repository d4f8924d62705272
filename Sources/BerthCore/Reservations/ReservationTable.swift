/// The reservations of a lot by their serial numbers, each with the place that it holds. An order number ends with the serial number. A
/// number is hashed and compared faster than a text, and it lies in the table itself.
public struct ReservationTable: Sendable {
    fileprivate struct Slot: Sendable {
        var reservation: Reservation
        var hold: Lot.Hold?
    }

    private var slots: [Int64: Slot] = [:]

    /// The number of reservations.
    public var count: Int { slots.count }

    /// The reservation with this whole number; nil when there is none.
    public subscript(orderNo: String) -> Reservation? {
        guard let serial = Reservation.serial(in: orderNo), let reservation = slots[serial]?.reservation, reservation.orderNo == orderNo
        else { return nil }
        return reservation
    }

    subscript(serial serial: Int64) -> Reservation? { slots[serial]?.reservation }

    /// All reservations, in no particular order.
    public var values: Values { Values(slots: slots) }

    /// The reservations that were in the table at the time of the request for them.
    public struct Values: Sequence, Sendable {
        fileprivate let slots: [Int64: Slot]
        public var underestimatedCount: Int { slots.count }

        /// One reservation after the other.
        public struct Iterator: IteratorProtocol {
            fileprivate var slots: Dictionary<Int64, Slot>.Values.Iterator
            /// The next reservation; nil after the last one.
            public mutating func next() -> Reservation? { slots.next()?.reservation }
        }

        public func makeIterator() -> Iterator { Iterator(slots: slots.values.makeIterator()) }
    }

    /// - Returns: the value before; nil when the reservation is new.
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

    // MARK: Holds

    func hold(of serial: Int64) -> Lot.Hold? { slots[serial]?.hold }
    mutating func set(_ hold: Lot.Hold?, of serial: Int64) { slots[serial]?.hold = hold }

    /// The reservations that hold a place, each with its hold.
    var holds: [(reservation: Reservation, hold: Lot.Hold)] { slots.values.compactMap { slot in slot.hold.map { (slot.reservation, $0) } } }
}
