// Looking up reservations and visits.
extension City {
    /// A reservation by number, from memory or from the past.
    public func reservation(_ orderNo: String, history: some History) -> Reservation? {
        known(orderNo) ?? history.reservation(orderNo)
    }

    /// A reservation that is in memory.
    func known(_ orderNo: String) -> Reservation? {
        guard let serial = Reservation.serial(in: orderNo), let reservation = known(serial: serial), reservation.orderNo == orderNo else {
            return nil
        }
        return reservation
    }

    /// The lot of a reservation that is in memory.
    public func parkCode(ofOrder orderNo: String) -> String? { Reservation.serial(in: orderNo).flatMap { lotOfSerial[$0] } }

    func known(serial: Int64) -> Reservation? { lotOfSerial[serial].flatMap { lots[$0]!.reservations[serial: serial] } }

    /// Removes a reservation that has left its lot's memory from the indexes.
    mutating func forget(_ reservation: Reservation) {
        lotOfSerial[reservation.serial] = nil
        clientOrders[City.clientKey(reservation.appId, reservation.clientOrderNo)] = nil
    }

    static func clientKey(_ appId: String, _ clientOrderNo: String) -> Int {
        var hasher = Hasher()
        ByteKey.feed(clientOrderNo, to: &hasher)
        ByteKey.feed(appId, to: &hasher)
        return hasher.finalize()
    }

    public func reservation(appId: String, clientOrderNo: String, history: some History) -> Reservation? {
        if let reservation = clientOrders[City.clientKey(appId, clientOrderNo)].flatMap(known(serial:)), reservation.appId == appId,
            reservation.clientOrderNo == clientOrderNo
        {
            return reservation
        }
        return history.reservation(appId: appId, clientOrderNo: clientOrderNo)
    }

    func visit(_ parkCode: String, _ recordNo: String, history: some History) -> Visit? {
        lots[parkCode]?.visits[recordNo] ?? history.visit(parkCode: parkCode, recordNo: recordNo)
    }
}
