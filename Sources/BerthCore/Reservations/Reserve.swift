// Making a reservation (interface.md, section 6; defaults of section 7).
extension City {
    mutating func create(_ booking: Booking, at now: Millis, past: Past) -> Decision {
        // The provider's own key is checked before any state: an equal request gets its reservation in the present state.
        if let known = reservation(appId: booking.appId, clientOrderNo: booking.clientOrderNo, past: past) {
            return known.requestHash == booking.requestHash
                ? Decision(.reservation(known, isRepeat: true)) : Decision(.refused(.keyReused))
        }
        lots[booking.parkCode]?.advance(to: now)
        guard var look = lots.withLot(booking.parkCode, { lot in assess(booking, in: lot, at: now) }) else {
            return Decision(.refused(.lotNotRegistered))
        }
        if let refused = look.refused { return refused }
        // The reservation is taken out, so that nothing else holds it and a change does not copy it.
        var reservation = look.reservation.take()!
        guard !look.waits else { return wait(&reservation, policy: look.policy, at: now) }
        numbers.given(.reservation, reservation.serial)
        var events: [Event] = []
        if let appointment = look.appointment { take(appointment, for: reservation, &events) }
        claim(&reservation, look.dayKeys, policy: look.policy, &events)
        certify(&reservation, policy: look.policy, at: now, &events)
        return Decision(.reservation(reservation, isRepeat: false), events)
    }

    /// The assessment of a booking, before anything is changed: either a refusal or a reservation.
    private struct BookingAssessment {
        var refused: Decision?
        var reservation: Reservation?
        /// There is no place for it, and its user waits for one.
        var waits = false
        var dayKeys: [String] = []
        var policy: Policy
        var appointment: Appointment?
    }

    private func assess(_ booking: Booking, in lot: Lot, at now: Millis) -> BookingAssessment {
        let policy = lot.policy(booking.purpose)
        func refuse(_ decision: Decision) -> BookingAssessment { BookingAssessment(refused: decision, policy: policy) }
        guard let profile = lot.profile else { return refuse(Decision(.refused(.lotIncomplete))) }
        if !profile.enabled.contains(booking.purpose) || !isOpened(lot, for: booking.purpose) {
            return refuse(Decision(.refused(booking.purpose == .shared ? .sharingNotEnabled : .reservationNotEnabled)))
        }
        if let refused = refuseVehicle(booking, lot: lot, profile: profile, policy: policy, at: now) { return refuse(refused) }
        var appointment: Appointment?
        if booking.purpose == .publicService {
            switch find(booking, at: now) {
            case .success(let found): appointment = found
            case .failure(let refusal):
                var refused = Decision(.refused(refusal))
                if refusal == .outsideAppointment { refused.note = appointmentWindow(booking, policy: policy, at: now) }
                return refuse(refused)
            }
        }
        if let refused = refuseTime(
            booking.planTime, lot: lot, profile: profile, purpose: booking.purpose, pool: booking.pool, at: now)
        {
            return refuse(refused)
        }
        if let refused = refuseStanding(of: booking, lot: lot, policy: policy, at: now) { return refuse(refused) }

        var reservation = draft(booking, serial: numbers.reservation + 1, lot: lot, policy: policy, appointment: appointment, at: now)
        var place: SharedPlace?
        if booking.purpose == .shared {
            switch sharedPlace(for: &reservation, offerId: booking.offerId, stayMin: booking.stayMin, lot: lot, at: now) {
            case .success(let found): place = found
            case .failure(let refusal):
                reservation.offerId = booking.offerId
                guard booking.waits, refusal == .noBookableSpace || refusal == .poolEmpty else {
                    return refuse(full(refusal, reservation, policy: policy, at: now))
                }
            }
            reservation.spaceNo = place?.space
            reservation.offerId = place?.offer?.offerId ?? booking.offerId
        }
        if let refused = refuseOverlap(of: reservation) { return refuse(refused) }
        let dayKeys = City.dayKeys(reservation)
        if let refused = refuseDay(of: reservation, dayKeys, policy: policy) { return refuse(refused) }
        let hasRight = appointment != nil && appointment?.parkCode == reservation.parkCode
        let controls = flowDemands(on: reservation, at: now, hasRight: hasRight)
        if let refused = controls.refusal {
            return refuse(full(refused.outcome.refusal!, reservation, note: refused.note, policy: policy, at: now))
        }
        var shortage: Rejection?
        if hasRight {
            // Its right holds the place already, for the times under which it was given.
        } else if reservation.purpose == .shared {
            if place == nil { shortage = .noBookableSpace }
        } else {
            shortage = lacksRoom(&reservation, in: lot, now: now)
        }
        guard let shortage else {
            return BookingAssessment(reservation: reservation, dayKeys: dayKeys, policy: policy, appointment: appointment)
        }
        guard booking.waits, shortage == .noBookableSpace || shortage == .poolEmpty else {
            return refuse(full(shortage, reservation, policy: policy, at: now))
        }
        return BookingAssessment(reservation: reservation, waits: true, policy: policy)
    }

    /// The reservation as it would be made under the lot's present terms.
    func draft(
        _ booking: Booking, serial: Int64, lot: Lot, policy: Policy, appointment: Appointment?, at now: Millis
    ) -> Reservation {
        let isPublic = booking.purpose == .publicService
        let early = Millis(policy.earlyMin) * CivilTime.minute
        let late = Millis(policy.lateMin) * CivilTime.minute
        // A right that was given here keeps the times under which it was given.
        let right = appointment.map { $0.parkCode == booking.parkCode ? $0.terms ?? RightTerms(policy) : RightTerms(policy) }
        let stayMin =
            isPublic
            ? right?.stayMin ?? policy.bizStayMin
            : booking.purpose == .shared ? booking.stayMin ?? policy.stayMin : policy.stayMin
        let window = appointment.map { City.window(of: $0, right!) } ?? Window(booking.planTime - early, booking.planTime + late)
        var reservation = Reservation(
            serial: serial,
            orderNo: "YY" + CivilTime.text(ofDay: CivilTime.day(of: now), separator: "") + CivilTime.pad(serial, 10),
            clientOrderNo: booking.clientOrderNo, requestHash: booking.requestHash, appId: booking.appId,
            userToken: booking.userToken, parkCode: booking.parkCode, purpose: booking.purpose, plate: booking.plate,
            plateColor: booking.plateColor, mobile: booking.mobile, extNo: booking.extNo, planTime: booking.planTime,
            enterStart: window.from, enterEnd: window.to,
            leaveDeadline: booking.purpose == .reservation ? nil : booking.planTime + Millis(stayMin) * CivilTime.minute,
            stayMin: stayMin, entryLimit: policy.entriesPerOrder, status: .booked, createdAt: now)
        reservation.terms = Terms(
            policy, version: lot.policyVersion, purpose: booking.purpose, planTime: booking.planTime, enterStart: window.from)
        if let relief = relief(for: booking) { reservation.terms.freeMin = relief }
        reservation.otherPlates = booking.otherPlates
        reservation.pool = booking.pool ?? booking.purpose.pool
        return reservation
    }

    /// Counts an accepted reservation against the day of its user and plates, and against daily quotas.
    /// - Parameter isAsked: whether the user asked for it, so that their limits have been checked; otherwise it is counted without a limit.
    mutating func claim(
        _ reservation: inout Reservation, _ dayKeys: [String]? = nil, policy: Policy, isAsked: Bool = true, _ events: inout [Event]
    ) {
        let most = Int(Int32.max)
        for (index, key) in (dayKeys ?? City.dayKeys(reservation)).enumerated() {
            count(key, by: 1, max: !isAsked ? most : index == 0 ? policy.dailyMaxPerUser : policy.dailyMaxPerPlate, &events)
        }
        countQuotas(of: &reservation, &events)
    }

    /// Makes an accepted reservation certain, or holds its place until its deposit is paid or its lot has answered, and tells the lot.
    mutating func certify(_ reservation: inout Reservation, policy: Policy, at now: Millis, _ events: inout [Event]) {
        let owes = reservation.terms.prepayFen > 0 && reservation.prepayNo == nil
        reservation.status = owes || policy.confirmMode == .ask ? .held : .booked
        reservation.holdDeadline = reservation.status == .held ? now + Millis(policy.holdMin) * CivilTime.minute : nil
        if owes {
            var bill = Bill(
                billNo: "D" + reservation.orderNo, parkCode: reservation.parkCode, recordNo: "", payableFen: reservation.terms.prepayFen,
                expireAt: reservation.holdDeadline!, subject: reservation.orderNo)
            bill.askedBy = [reservation.appId]
            money.keep(bill)
            events.append(.bill(bill))
            reservation.billNo = bill.billNo
            reservation.deliver = .notNeeded
        } else {
            send(LotMessage.reserve, of: &reservation, at: now, &events)
        }
        update(reservation, at: now, &events)
    }

    /// The refusal when the reservation's pool has no room; nil otherwise. A public-service reservation may then get a place that the gates
    /// count as free (R6).
    func lacksRoom(_ reservation: inout Reservation, now: Millis) -> Rejection? {
        lacksRoom(&reservation, in: lots[known: reservation.parkCode], now: now)
    }

    func lacksRoom(_ reservation: inout Reservation, in lot: Lot, now: Millis) -> Rejection? {
        let (from, to) = (reservation.enterStart, reservation.expectedLeave)
        if lot.hasRoom(reservation.pool, from: from, to: to, now: now) { return nil }
        guard reservation.purpose == .publicService else {
            return lot.isNamed(reservation.pool, from: from, to: to) ? .poolEmpty : .noBookableSpace
        }
        guard CivilTime.day(of: reservation.planTime) == CivilTime.day(of: now) else { return .publicQuotaUsedUp }
        guard lot.rollingRoom(from: from, to: to, now: now) > 0 else { return .saturated }
        reservation.pool = .rolling
        return nil
    }
}
