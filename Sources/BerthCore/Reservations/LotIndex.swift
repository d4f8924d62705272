/// The lot of each reservation, offer and subscription whose number the server gave, and reservations by their providers' numbers. Numbers
/// that a lot or an operator gives are looked up in the lot.
struct LotIndex: Sendable {
    private var lotOfSerial: [Int64: String] = [:]
    /// By the hash of the provider's own number; nobody outside knows the seed of the hash. The caller compares the number of the
    /// reservation that it finds.
    private var serialOfClientKey: [Int: Int64] = [:]
    private var lotOfShare: TextTable<String> = [:]

    func lot(ofReservation serial: Int64) -> String? { lotOfSerial[serial] }
    func serial(ofClient appId: String, _ clientOrderNo: String) -> Int64? { serialOfClientKey[LotIndex.key(appId, clientOrderNo)] }
    func lot(ofShare number: String) -> String? { lotOfShare[number] }

    mutating func add(_ reservation: Reservation) {
        lotOfSerial[reservation.serial] = reservation.parkCode
        serialOfClientKey[LotIndex.key(reservation.appId, reservation.clientOrderNo)] = reservation.serial
    }

    mutating func remove(_ reservation: Reservation) {
        lotOfSerial[reservation.serial] = nil
        serialOfClientKey[LotIndex.key(reservation.appId, reservation.clientOrderNo)] = nil
    }

    mutating func add(share number: String, in parkCode: String) { lotOfShare[number] = parkCode }
    mutating func remove(share number: String) { lotOfShare.removeValue(forKey: number) }

    private static func key(_ appId: String, _ clientOrderNo: String) -> Int {
        var hasher = Hasher()
        ByteKey.feed(clientOrderNo, to: &hasher)
        ByteKey.feed(appId, to: &hasher)
        return hasher.finalize()
    }
}
