// Looking up reservations and visits.
extension City {
    /// A reservation by number, from memory or from the past.
    public func reservation(_ orderNo: String, past: Past) -> Reservation? {
        known(orderNo) ?? past.reservation(orderNo)
    }

    /// A reservation that is in memory.
    func known(_ orderNo: String) -> Reservation? {
        guard let serial = Reservation.serial(in: orderNo), let reservation = known(serial: serial), reservation.orderNo == orderNo else {
            return nil
        }
        return reservation
    }

    /// Stops a lot whose state is known to be wrong (``Lot/fault``): 503 for whatever would change it, until the city is read back.
    package mutating func stop(_ parkCode: String, because fault: String) { lots[parkCode]?.stop(fault) }

    /// The lot of a reservation that is in memory.
    public func parkCode(ofOrder orderNo: String) -> String? { Reservation.serial(in: orderNo).flatMap { lotIndex.lot(ofReservation: $0) } }

    func known(serial: Int64) -> Reservation? { lotIndex.lot(ofReservation: serial).flatMap { lots[$0]?.reservations[serial: serial] } }

    /// Removes a reservation that has left its lot's memory from the indexes.
    mutating func forget(_ reservation: Reservation) {
        lotIndex.remove(reservation)
    }

    /// Whether a provider's number is one of a reservation in memory.
    func hasReservation(appId: String, clientOrderNo: String) -> Bool {
        lotIndex.serial(ofClient: appId, clientOrderNo).flatMap(known(serial:)).map {
            $0.appId == appId && $0.clientOrderNo == clientOrderNo
        } ?? false
    }

    public func reservation(appId: String, clientOrderNo: String, past: Past) -> Reservation? {
        if let reservation = lotIndex.serial(ofClient: appId, clientOrderNo).flatMap(known(serial:)), reservation.appId == appId,
            reservation.clientOrderNo == clientOrderNo
        {
            return reservation
        }
        return past.reservation(appId: appId, clientOrderNo: clientOrderNo)
    }

    public func visit(_ parkCode: String, _ recordNo: String, past: Past) -> Visit? {
        lots[parkCode]?.visits[recordNo] ?? past.visit(parkCode: parkCode, recordNo: recordNo)
    }
}
