// Appointments for public services.
extension City {
    /// The lots of a place; a place without a description is the lot of that code.
    public func lots(ofPlace code: String) -> [String] {
        places[code]?.parkCodes ?? (lots[code] == nil ? [] : [code])
    }

    static func key(_ appId: String, _ extNo: String) -> String { "\(appId)|\(extNo)" }

    /// Appointments of one provider that are kept at a time, and how far ahead one may lie, days.
    static let appointmentsMax = 200_000

    static let appointmentDaysMax: Millis = 400

    mutating func make(_ draft: Appointment, at now: Millis) -> Decision {
        let key = City.key(draft.appId, draft.extNo)
        if let known = appointments[key] {
            guard known.state != .cancelled, known.appointTime == draft.appointTime, known.placeCode == draft.placeCode,
                known.personToken == draft.personToken
            else {
                return Decision(.refused(known.state == .cancelled ? .appointmentCancelled : .keyReused))
            }
            return Decision(.entity(.appointment(known)))
        }
        let parkCodes = lots(ofPlace: draft.placeCode)
        guard !parkCodes.isEmpty else { return Decision(.refused(.notFound)) }
        guard parkCodes.contains(where: { lots[$0]?.profile?.enabled.contains(.publicService) == true }) else {
            return Decision(.refused(.reservationNotEnabled))
        }
        guard draft.appointTime > now else { return Decision(.refused(.tooLate)) }
        // The number of a provider's coming appointments has a bound, so that endless pushes cannot fill the memory.
        let ahead = appointmentTable.count(of: draft.appId)
        guard ahead < City.appointmentsMax else {
            return Decision(.illegalValue, RuleNote("appointments", used: ahead, max: City.appointmentsMax))
        }
        guard draft.appointTime <= now + City.appointmentDaysMax * CivilTime.dayLength else {
            return Decision(.illegalValue, RuleNote("appointTime", max: Int(City.appointmentDaysMax)))
        }
        var events: [Event] = []
        let given = giveRight(key, draft, at: now, &events)
        return Decision(.entity(.appointment(given)), events)
    }

    /// The appointment that a booking names, when it may be used for it.
    func find(_ booking: Booking, at now: Millis) -> Result<Appointment, Rejection> {
        guard let extNo = booking.extNo, !extNo.isEmpty else { return .failure(.appointmentNotFound) }
        guard let appointment = named(extNo, by: booking) else { return .failure(.appointmentNotFound) }
        switch appointment.state {
        case .cancelled: return .failure(.appointmentCancelled)
        case .booked, .used: return .failure(.appointmentUsed)
        case .made: break
        }
        guard lots(ofPlace: appointment.placeCode).contains(booking.parkCode), lots[booking.parkCode] != nil else {
            return .failure(.appointmentNotFound)
        }
        if let plate = appointment.plate, plate != booking.plate { return .failure(.plateDiffers) }
        let window = City.window(of: appointment, terms(of: appointment, at: booking.parkCode))
        guard window.from <= booking.planTime, booking.planTime <= window.to, now <= window.to else { return .failure(.outsideAppointment) }
        return .success(appointment)
    }

    /// The app that the hall itself runs, or another one that knows the same pseudonym.
    func named(_ extNo: String, by booking: Booking) -> Appointment? {
        appointments[City.key(booking.appId, extNo)]
            ?? appointmentTable.numbered(extNo).map(\.appointment).filter { $0.personToken == booking.userToken }
            .min { $0.appId < $1.appId }
    }

    /// The entry window of the booking's appointment, as a refusal names it.
    func appointmentWindow(_ booking: Booking, policy: Policy, at now: Millis) -> RuleNote? {
        guard let appointment = booking.extNo.flatMap({ named($0, by: booking) }) else { return nil }
        let window = City.window(of: appointment, terms(of: appointment, at: booking.parkCode))
        return booking.planTime < window.from
            ? RuleNote("bizBeforeMin", max: policy.bizBeforeMin, until: window.from)
            : RuleNote("bizAfterMin", max: policy.bizAfterMin, until: window.to)
    }

    /// Minutes of fee relief for a visitor who parks near the hall because the hall's own lots were full (R6). The booking names an
    /// appointment of that day that has no place of its own.
    func relief(for booking: Booking) -> Int? {
        guard booking.purpose != .publicService, let extNo = booking.extNo, let appointment = named(extNo, by: booking),
            appointment.state == .made, CivilTime.day(of: appointment.appointTime) == CivilTime.day(of: booking.planTime),
            let here = lots[booking.parkCode]?.profile?.position
        else { return nil }
        for parkCode in lots(ofPlace: appointment.placeCode) {
            guard let lot = lots[parkCode], let position = lot.profile?.position else { continue }
            let policy = lot.policy(.publicService)
            if policy.bizFreeMin > 0, position.metres(to: here) <= policy.alternativesMetres { return policy.bizFreeMin }
        }
        return nil
    }

    func appointment(of reservation: Reservation) -> (key: String, Appointment)? {
        guard reservation.purpose == .publicService else { return nil }
        let key = City.key(reservation.appId, reservation.extNo ?? "")
        if let own = appointments[key], own.orderNo == reservation.orderNo { return (key, own) }
        // Another application may have booked for the same person.
        return appointmentTable.numbered(reservation.extNo ?? "").first { $0.appointment.orderNo == reservation.orderNo }
            .map { ($0.key, $0.appointment) }
    }

    /// Frees the appointment of a reservation that has ended: its right can be used again.
    mutating func giveBackAppointment(of reservation: Reservation, _ events: inout [Event]) {
        guard var (_, appointment) = appointment(of: reservation), appointment.state == .booked else { return }
        appointment.state = .made
        appointment.orderNo = nil
        appointment.parkCode = nil
        note(rightless: City.key(appointment.appId, appointment.extNo), appointment)
        set(.appointment(appointment), &events)
        noteFreed(reservation.parkCode)
    }

    /// Marks the appointment as used, because the driver's car is inside.
    mutating func useAppointment(of reservation: Reservation, _ events: inout [Event]) {
        guard var (_, appointment) = appointment(of: reservation), appointment.state == .booked else { return }
        appointment.state = .used
        set(.appointment(appointment), &events)
    }

    /// The appointment moves, and its place with it.
    mutating func moveAppointment(appId: String, _ extNo: String, to time: Millis, at now: Millis, past: Past) -> Decision {
        let key = City.key(appId, extNo)
        guard var appointment = appointments[key] else { return Decision(.refused(.appointmentNotFound)) }
        switch appointment.state {
        case .cancelled: return Decision(.refused(.appointmentCancelled))
        case .used: return Decision(.refused(.appointmentUsed))
        case .made, .booked: break
        }
        guard time > now else { return Decision(.refused(.tooLate)) }
        if time == appointment.appointTime { return Decision(.entity(.appointment(appointment))) }
        let shift = time - appointment.appointTime
        appointment.appointTime = time
        var events: [Event] = []
        guard appointment.state == .booked, let orderNo = appointment.orderNo, var reservation = reservation(orderNo, past: past),
            reservation.status == .booked || reservation.status == .held
        else {
            // No reservation can still come: the appointment gets a right at the new time. Penalties of its earlier reservations stay.
            appointment.state = .made
            appointment.orderNo = nil
            if let parkCode = appointment.parkCode {
                lots[parkCode]?.release(City.holder(key))
                noteFreed(parkCode)
            }
            return Decision(.entity(.appointment(giveRight(key, appointment, at: now, &events))), events)
        }
        let policy = lots[reservation.parkCode]?.policy(.publicService) ?? self.policy
        let window = City.window(of: appointment, terms(of: appointment, at: reservation.parkCode))
        let old = reservation
        reservation.planTime = min(max(reservation.planTime + shift, window.from), window.to)
        reservation.enterStart = window.from
        reservation.enterEnd = window.to
        reservation.leaveDeadline = reservation.planTime + Millis(reservation.stayMin) * CivilTime.minute
        reservation.terms.freeCancelUntil = window.from
        reservation.pool = .publicService
        lots[reservation.parkCode]?.advance(to: now)
        lots[reservation.parkCode]?.release(reservation)
        if reservation.plates.contains(where: { claims.overlap($0, with: reservation) != nil })
            || lacksRoom(&reservation, now: now) != nil
        {
            // There is no place at the new time: the reservation ends without a fault, and the appointment waits for the next place.
            lots[old.parkCode]?.rehold(old, now: now)
            var revoked = old
            appointment.state = .made
            appointment.orderNo = nil
            appointment.parkCode = nil
            note(rightless: key, appointment)
            set(.appointment(appointment), &events)
            end(&revoked, as: .appointmentMoved, detail: "appointment", now: now, &events)
            return Decision(.entity(.appointment(appointment)), events)
        }
        lots[reservation.parkCode]?.rehold(old, now: now)
        set(.appointment(appointment), &events)
        moveDay(from: old, to: &reservation, policy: policy, &events)
        reservation.orderVer += 1
        sendChange(&reservation, at: now, &events)
        update(reservation, at: now, &events)
        return Decision(.entity(.appointment(appointment)), events)
    }

    private mutating func moveDay(from old: Reservation, to reservation: inout Reservation, policy: Policy, _ events: inout [Event]) {
        guard CivilTime.day(of: old.planTime) != CivilTime.day(of: reservation.planTime) else { return }
        giveBackDailyCount(of: old, &events)
        // The day that the hall chose is not held against the user: the claim has no maximum.
        reservation.quotaKeys = []
        claim(&reservation, policy: policy, isAsked: false, &events)
    }

    mutating func cancelAppointment(appId: String, _ extNo: String, at now: Millis, past: Past) -> Decision {
        let key = City.key(appId, extNo)
        guard var appointment = appointments[key] else { return Decision(.refused(.appointmentNotFound)) }
        guard appointment.state != .cancelled else { return Decision(.refused(.appointmentCancelled)) }
        guard appointment.state != .used else { return Decision(.refused(.appointmentUsed)) }
        var events: [Event] = []
        let (orderNo, parkCode) = (appointment.orderNo, appointment.parkCode)
        if let parkCode {
            lots[parkCode]?.release(City.holder(key))
            noteFreed(parkCode)
        }
        appointment.state = .cancelled
        appointment.parkCode = nil
        note(rightless: key, appointment)
        set(.appointment(appointment), &events)
        if let orderNo, var reservation = reservation(orderNo, past: past),
            reservation.status == .booked || reservation.status == .held
        {
            end(&reservation, as: .appointmentCancelled, now: now, &events)
        }
        return Decision(.entity(.appointment(appointment)), events)
    }

    /// The use of a place's quota on one day (`biz.quota.query`).
    public struct PlaceQuota: Sendable, Equatable {
        public var parkCode: String
        public var quota: Int
        /// Appointments of the day that have a place kept for them, those that are booked, and those that found none.
        public var kept: Int
        public var booked: Int
        public var without: Int
        /// By slot; the caller fills them in without the city's lock.
        public var windows: [Lot.Slot]
        /// Places that the gates would release now.
        public var rolling: Int
    }

    public mutating func quota(ofPlace code: String, day: Int64, at now: Millis) -> [PlaceQuota] {
        let ofDay = appointmentTable.of(code, day: day)
        return lots(ofPlace: code).compactMap { parkCode in
            guard lots[parkCode]?.profile != nil else { return nil }
            lots[parkCode]?.advance(to: now)
            guard let lot = lots[parkCode] else { return nil }
            return PlaceQuota(
                parkCode: parkCode, quota: lot.quota(.publicService, at: max(now, CivilTime.start(ofDay: day))),
                kept: ofDay.filter { $0.parkCode == parkCode && $0.state == .made }.count,
                booked: ofDay.filter { $0.parkCode == parkCode && ($0.state == .booked || $0.state == .used) }.count,
                without: ofDay.filter { $0.parkCode == nil && $0.state == .made }.count,
                windows: [],
                rolling: CivilTime.day(of: now) == day
                    ? max(
                        0, lot.rollingRoom(from: now, to: now + Millis(lot.policy(.publicService).bizStayMin) * CivilTime.minute, now: now))
                    : 0)
        }
    }
}
