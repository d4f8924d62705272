// When a reservation is judged a no-show (interface.md, section 6).
extension City {
    /// Ends a reservation whose window is over and whose lot's log shows no entry. The driver gets no penalty if the car was on a black
    /// list or a refused record leaves open whether they came. They are owed compensation if the lot never had the reservation.
    mutating func judgeNoShow(_ reservation: inout Reservation, at now: Millis, _ events: inout [Event]) {
        let isBanned = reservation.plates.contains { blacklisted(reservation.parkCode, $0, at: reservation.enterEnd) != nil }
        let reason: EndReason =
            if reservation.isDisputed || isBanned {
                .noShowExcused
            } else if reservation.deliver == .expired || reservation.deliver == .refused {
                .neverDelivered
            } else { .noShow }
        let evidence =
            "window \(reservation.enterStart) to \(reservation.enterEnd), log passed \(lots[known: reservation.parkCode].passedThrough) without an entry, deliverStatus \(reservation.deliver.rawValue)"
        end(&reservation, as: reason, evidence: evidence, at: reservation.enterEnd, now: now, &events)
    }
}
