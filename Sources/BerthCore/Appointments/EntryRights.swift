// Entry rights: the place that is kept for an appointment.
extension City {
    /// The window in which a driver with this appointment may enter.
    static func window(of appointment: Appointment, _ terms: RightTerms) -> Window {
        Window(
            appointment.appointTime - Millis(terms.beforeMin) * CivilTime.minute,
            appointment.appointTime + Millis(terms.afterMin) * CivilTime.minute)
    }

    /// The time for which a right keeps a place: a driver who enters at the end of the window still has the whole stay.
    static func right(of appointment: Appointment, _ terms: RightTerms) -> Window {
        let window = window(of: appointment, terms)
        return Window(window.from, window.to + Millis(terms.stayMin) * CivilTime.minute)
    }

    /// The times of an appointment at a lot: those of its right there, else those of now.
    public func terms(of appointment: Appointment, at parkCode: String) -> RightTerms {
        if appointment.parkCode == parkCode, let terms = appointment.terms { return terms }
        return RightTerms(lots[parkCode]?.policy(.publicService) ?? policy)
    }

    static func holder(_ key: String) -> String { "right|\(key)" }

    /// Keeps a place of the reserved quota for an appointment, at the first of its lots that has one.
    mutating func giveRight(_ key: String, _ draft: Appointment, at now: Millis, _ events: inout [Event]) -> Appointment {
        var appointment = draft
        appointment.parkCode = nil
        appointment.terms = nil
        for parkCode in lots(ofPlace: appointment.placeCode) {
            guard let lot = lots[parkCode], lot.profile?.enabled.contains(.publicService) == true, isOpened(lot, for: .publicService) else {
                continue
            }
            let terms = RightTerms(lot.policy(.publicService))
            let span = City.right(of: appointment, terms)
            lots[parkCode]?.advance(to: now)
            guard span.to > now, lots[parkCode]?.hasRoom(.publicService, from: span.from, to: span.to, now: now) == true else { continue }
            lots[parkCode]?.keep(City.holder(key), .publicService, span)
            lots[parkCode]?.noteDeadline(at: City.window(of: appointment, terms).to)
            appointment.parkCode = parkCode
            appointment.terms = terms
            break
        }
        note(rightless: key, appointment)
        set(.appointment(appointment), &events)
        return appointment
    }

    mutating func note(rightless key: String, _ appointment: Appointment) {
        appointmentTable.note(
            key, isWaiting: appointment.state == .made && appointment.parkCode == nil, in: lots(ofPlace: appointment.placeCode))
    }

    mutating func restoreRight(_ key: String, _ appointment: Appointment, now: Millis) {
        note(rightless: key, appointment)
        guard let parkCode = appointment.parkCode, lots[parkCode] != nil else { return }
        let terms = terms(of: appointment, at: parkCode)
        let end = City.window(of: appointment, terms).to
        guard end > now else { return }
        lots[parkCode]?.keep(City.holder(key), .publicService, City.right(of: appointment, terms))
        lots[parkCode]?.noteDeadline(at: end)
    }

    /// Gives a place of the quota that has become free to the earliest appointment without one.
    mutating func giveRights(_ parkCode: String, at now: Millis, _ events: inout [Event]) {
        for (key, appointment) in appointmentTable.waiting(in: parkCode) {
            guard appointment.state == .made, appointment.appointTime > now else {
                appointmentTable.note(key, isWaiting: false, in: [parkCode])
                continue
            }
            guard let policy = lots[parkCode]?.policy(.publicService) else { continue }
            let span = City.right(of: appointment, RightTerms(policy))
            guard lots[parkCode]?.hasRoom(.publicService, from: span.from, to: span.to, now: now) == true else { continue }
            _ = giveRight(key, appointment, at: now, &events)
        }
    }

    /// Turns the right of an appointment into the place of its reservation.
    mutating func take(_ appointment: Appointment, for reservation: Reservation, _ events: inout [Event]) {
        var appointment = appointment
        let key = City.key(appointment.appId, appointment.extNo)
        if let parkCode = appointment.parkCode {
            lots[parkCode]?.release(City.holder(key))
            noteFreed(parkCode)
        }
        appointment.state = .booked
        // The times of the right are those of the reservation now.
        appointment.terms = terms(of: appointment, at: reservation.parkCode)
        appointment.parkCode = reservation.parkCode
        appointment.orderNo = reservation.orderNo
        note(rightless: key, appointment)
        set(.appointment(appointment), &events)
    }

    /// Frees the places of rights that were not used in their window.
    mutating func dropRights(_ parkCode: String, at now: Millis, next: inout Millis) {
        for (key, appointment) in appointmentTable.withRight(in: parkCode) {
            guard appointment.parkCode == parkCode, appointment.state == .made else { continue }
            let end = City.window(of: appointment, terms(of: appointment, at: parkCode)).to
            if end <= now {
                lots[parkCode]?.release(City.holder(key))
                noteFreed(parkCode)
            } else {
                next = min(next, end)
            }
        }
    }
}
