// The down log of a lot: messages about reservations.
extension City {
    /// Appends a message to the lot's down log and notes its position in the reservation.
    mutating func send(_ message: LotMessage, for reservation: inout Reservation, at now: Millis, _ events: inout [Event]) {
        send({ _ in message }, of: &reservation, at: now, &events)
    }

    /// The same for a message that carries the reservation with its new position in the log.
    mutating func send(_ message: (Reservation) -> LotMessage, of reservation: inout Reservation, at now: Millis, _ events: inout [Event]) {
        reservation.downSeq = lots[known: reservation.parkCode].downLast + 1
        reservation.deliver = .new
        reservation.pushedVer = reservation.orderVer
        append(message(reservation), to: reservation.parkCode, about: reservation.orderNo, at: now, &events)
    }

    mutating func append(
        _ message: LotMessage, to parkCode: String, about orderNo: String, at now: Millis, _ events: inout [Event]
    ) {
        let (epoch, seq) = next(parkCode, of: orderNo)
        events.append(.down(DownEntry(parkCode: parkCode, epoch: epoch, seq: seq, at: now, message: message)))
    }

    /// The next place of a lot's down log.
    mutating func next(_ parkCode: String, of orderNo: String) -> (epoch: String, seq: Int64) {
        let newEpoch = newEpoch
        func take(_ lot: inout Lot) -> (String, Int64) {
            if lot.downEpoch == nil { lot.downEpoch = newEpoch }
            lot.downLast += 1
            lot.awaiting[lot.downLast] = orderNo
            return (lot.downEpoch ?? newEpoch, lot.downLast)
        }
        return take(&lots[known: parkCode])
    }

    mutating func with(_ parkCode: String, _ body: (inout Lot) -> Void) { body(&lots[known: parkCode]) }
}
