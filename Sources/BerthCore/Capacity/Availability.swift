// Room and price for one arrival, as a search shows them.
extension City {
    /// The number of further reservations that a lot takes for an arrival at `planTime`; where it is 0, also the reason. The same check as
    /// that of a slot.
    public func availability(_ parkCode: String, _ purpose: Purpose, at planTime: Millis, now: Millis) -> (left: Int, refusal: Rejection?) {
        lots.withLot(parkCode) { lot in
            guard let profile = lot.profile else { return (0, .lotIncomplete) }
            let found = bookable(lot, profile, purpose, at: planTime, now: now)
            return (found.left, found.refusal)
        } ?? (0, .lotNotRegistered)
    }

    /// The price of a stay, fen: of the cheapest open offer for shared parking, else of the lot's tariff; nil where nobody knows it.
    public func price(_ parkCode: String, _ purpose: Purpose, from: Millis, stayMin: Int) -> Int64? {
        guard let lot = lots[parkCode] else { return nil }
        if purpose == .shared {
            let offers = lot.offers.values.filter { $0.isBookable && $0.validFrom <= from && from < $0.validTo }
            let hours = Int64((stayMin + 59) / 60)
            let prices = offers.compactMap(\.price).compactMap { price -> Int64? in
                switch price.mode {
                case .once: price.fen
                case .hour: price.fen * hours
                case .month: nil
                }
            }
            if let least = prices.min() { return least }
        }
        return tariff(parkCode, purpose, at: from)?.fee(from: from, to: from + Millis(stayMin) * CivilTime.minute, calendar: calendar)
    }

    /// The lots within a distance of a point, the nearest first.
    public func lots(near point: GeoPoint, within metres: Int) -> [(metres: Int, parkCode: String)] {
        directory.grid.nearest(to: point, within: metres)
    }
}
