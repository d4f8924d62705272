// What a driver can do: create, modify, cancel (interface.md, section 6; defaults of section 7).
extension City {
    mutating func create(_ booking: Booking, at now: Millis, history: some History) -> Decision {
        // The provider's own key, before any state: an equal request gets its order in its present state.
        if let known = reservation(appId: booking.appId, clientOrderNo: booking.clientOrderNo, history: history) {
            return known.requestHash == booking.requestHash
                ? Decision(.reservation(known, isRepeat: true)) : Decision(.refused(.keyReused))
        }
        lots[booking.parkCode]?.advance(to: now)
        guard var look = lots.withLot(booking.parkCode, { lot in assess(booking, in: lot, at: now) }) else {
            return Decision(.refused(.lotNotRegistered))
        }
        if let refused = look.refused { return refused }
        // Taken out, the order is held by nobody else and need not be copied when it changes.
        var reservation = look.reservation.take()!
        guard !look.waits else { return wait(&reservation, policy: look.policy, at: now) }
        lastSerial = reservation.serial
        var events: [Event] = []
        if let appointment = look.appointment { take(appointment, for: reservation, &events) }
        claim(&reservation, look.dayKeys, policy: look.policy, &events)
        certify(&reservation, policy: look.policy, at: now, &events)
        return Decision(.reservation(reservation, isRepeat: false), events)
    }

    /// What comes of a booking, before anything is changed: either a refusal or an order.
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

        var reservation = draft(booking, serial: lastSerial + 1, lot: lot, policy: policy, appointment: appointment, at: now)
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
        guard let shortage else { return BookingAssessment(reservation: reservation, dayKeys: dayKeys, policy: policy, appointment: appointment) }
        guard booking.waits, shortage == .noBookableSpace || shortage == .poolEmpty else {
            return refuse(full(shortage, reservation, policy: policy, at: now))
        }
        return BookingAssessment(reservation: reservation, waits: true, policy: policy)
    }

    /// The order as it would be, by the lot's terms of now.
    private func draft(
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

    /// Counts an accepted order against its user's and plates' day, and against daily quotas.
    /// - Parameter isAsked: the user wants it, so that his limits have been looked at; what is done for him is counted and has no limit.
    mutating func claim(
        _ reservation: inout Reservation, _ dayKeys: [String]? = nil, policy: Policy, isAsked: Bool = true, _ events: inout [Event]
    ) {
        let most = Int(Int32.max)
        for (index, key) in (dayKeys ?? City.dayKeys(reservation)).enumerated() {
            count(key, by: 1, max: !isAsked ? most : index == 0 ? policy.dailyMaxPerUser : policy.dailyMaxPerPlate, &events)
        }
        countQuotas(of: &reservation, &events)
    }

    /// Makes an accepted order certain, or holds its place until its deposit is paid or its lot has answered, and tells the lot.
    mutating func certify(_ reservation: inout Reservation, policy: Policy, at now: Millis, _ events: inout [Event]) {
        let owes = reservation.terms.prepayFen > 0 && reservation.prepayNo == nil
        reservation.status = owes || policy.confirmMode == .ask ? .held : .booked
        reservation.holdDeadline = reservation.status == .held ? now + Millis(policy.holdMin) * CivilTime.minute : nil
        if owes {
            var bill = Bill(
                billNo: "D" + reservation.orderNo, parkCode: reservation.parkCode, recordNo: "", payableFen: reservation.terms.prepayFen,
                expireAt: reservation.holdDeadline!, subject: reservation.orderNo)
            bill.askedBy = [reservation.appId]
            bills[bill.key] = bill
            events.append(.bill(bill))
            reservation.billNo = bill.billNo
            reservation.deliver = .notNeeded
        } else {
            send(LotMessage.reserve, of: &reservation, at: now, &events)
        }
        update(reservation, at: now, &events)
    }

    /// Whether the order's pool has no room; a public-service order may then be released from what the gates count (R6).
    func lacksRoom(_ reservation: inout Reservation, now: Millis) -> Rejection? { lacksRoom(&reservation, in: lots[reservation.parkCode]!, now: now) }

    private func lacksRoom(_ reservation: inout Reservation, in lot: Lot, now: Millis) -> Rejection? {
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

    /// A "full" answer, with the nearest lots that have room in the same window.
    func full(_ refusal: Rejection, _ reservation: Reservation, note: RuleNote? = nil, policy: Policy, at now: Millis) -> Decision {
        var decision = Decision(.refused(refusal))
        decision.note = note
        switch refusal {
        case .noBookableSpace, .poolEmpty, .saturated, .publicQuotaUsedUp, .flowControlActive, .outsideSegment, .waitlistClosed,
            .waitlistFull:
            decision.alternatives = alternatives(to: reservation, policy: policy, at: now)
        default: break
        }
        if note == nil {
            switch refusal {
            case .noBookableSpace where reservation.offerId.flatMap({ lots[reservation.parkCode]!.offers[$0] }) != nil:
                let lot = lots[reservation.parkCode]!
                let offer = lot.offers[reservation.offerId!]!
                let free = lot.spaces.free(of: offer, from: max(now, reservation.enterStart), to: reservation.expectedLeave) { _ in false }
                let taken = offer.unitCount - free
                decision.note = RuleNote("offer \(offer.offerId)", used: taken, max: offer.unitCount, until: reservation.expectedLeave)
            case .noBookableSpace, .poolEmpty:
                let lot = lots[reservation.parkCode]!
                let quota = lot.quota(reservation.pool, at: max(now, reservation.enterStart))
                decision.note = RuleNote(
                    reservation.pool.rawValue, used: lot.peak(reservation.pool, from: reservation.enterStart, to: reservation.expectedLeave, now: now), max: quota)
            case .publicQuotaUsedUp:
                // From the day itself on, places are released by what the gates count.
                decision.note = RuleNote(
                    Pool.publicService.rawValue, until: CivilTime.start(ofDay: CivilTime.day(of: reservation.planTime)))
            case .saturated:
                let lot = lots[reservation.parkCode]!
                let total = lot.profile?.totalCount ?? 0
                let room = lot.rollingRoom(from: reservation.enterStart, to: reservation.expectedLeave, now: now)
                decision.note = RuleNote("saturation", used: max(lot.occupied, total - room), max: total, until: reservation.expectedLeave)
            case .outsideSegment: decision.note = RuleNote("segments", until: opening(for: reservation, in: lots[reservation.parkCode]!))
            case .quietHours: decision.note = RuleNote("quietHours", until: quietEnd(for: reservation, in: lots[reservation.parkCode]!))
            default: break
            }
        }
        return decision
    }

    /// The nearest lots with room for the same window, by distance.
    public func alternatives(to reservation: Reservation, policy: Policy, at now: Millis) -> [Alternative] {
        guard policy.alternativesMax > 0, let here = lots[reservation.parkCode]?.profile?.position else { return [] }
        let near = points.lazy.filter { $0.parkCode != reservation.parkCode }
            .map { (metres: here.metres(to: $0.at), parkCode: $0.parkCode) }
            .filter { $0.metres <= policy.alternativesMetres }
            .sorted { ($0.metres, $0.parkCode) < ($1.metres, $1.parkCode) }
        // Visitors of a hospital are also offered shared places nearby (R6).
        let purposes: [Purpose] = reservation.purpose == .publicService ? [.reservation, .shared] : [reservation.purpose]
        var found: [Alternative] = []
        for candidate in near {
            guard found.count < policy.alternativesMax else { break }
            guard var lot = lots[candidate.parkCode], let profile = lot.profile else { continue }
            for purpose in purposes where profile.enabled.contains(purpose) && isOpened(lot, for: purpose) {
                guard refuseTime(reservation.planTime, lot: lot, profile: profile, purpose: purpose, at: now) == nil else { continue }
                lot.advance(to: now)
                var probe = reservation
                probe.parkCode = candidate.parkCode
                probe.purpose = purpose
                probe.pool = purpose.pool
                probe.spaceNo = nil
                if purpose == .shared {
                    guard case .success = sharedPlace(for: &probe, offerId: nil, stayMin: reservation.stayMin, lot: lot, at: now) else {
                        continue
                    }
                } else {
                    guard lot.hasRoom(probe.pool, from: probe.enterStart, to: probe.expectedLeave, now: now) else { continue }
                }
                guard flowDemands(on: probe, at: now).refusal == nil else { continue }
                found.append(
                    Alternative(
                        parkCode: candidate.parkCode, name: profile.name, purpose: purpose, metres: candidate.metres,
                        walkMin: (candidate.metres * 13 / 10 + policy.walkMetresPerMin - 1) / policy.walkMetresPerMin,
                        planTime: reservation.planTime, freeMin: reservation.purpose == .publicService ? policy.bizFreeMin : 0))
                break
            }
        }
        return found
    }

    /// What speaks against the vehicle itself.
    private func refuseVehicle(_ booking: Booking, lot: Lot, profile: LotProfile, policy: Policy, at now: Millis) -> Decision? {
        guard booking.plate.fits(color: booking.plateColor) else { return Decision(.refused(.plateColorMismatch)) }
        if booking.otherPlates.count >= policy.platesPerOrderMax {
            return Decision(
                .illegalValue, RuleNote("platesPerOrderMax", used: booking.otherPlates.count + 1, max: policy.platesPerOrderMax))
        }
        for plate in [booking.plate] + booking.otherPlates {
            if let refused = refusePlate(plate, lot: lot, policy: policy, at: now) { return refused }
        }
        if let seats = booking.seats, profile.maxSeats > 0, seats > profile.maxSeats {
            return Decision(.vehicleNotAdmitted, RuleNote("maxSeats", used: seats, max: profile.maxSeats))
        }
        if let height = booking.heightMm, profile.maxHeightMm > 0, height > profile.maxHeightMm {
            return Decision(.vehicleNotAdmitted, RuleNote("maxHeightMm", used: height, max: profile.maxHeightMm))
        }
        if !profile.plateTypes.isEmpty, let type = booking.plateType ?? City.plateType(color: booking.plateColor),
            !profile.plateTypes.contains(type)
        {
            return Decision(.vehicleNotAdmitted, RuleNote("plateTypes"))
        }
        return nil
    }

    /// What speaks against a plate, beside its owner's standing.
    func refusePlate(_ plate: Plate, lot: Lot, policy: Policy, at now: Millis) -> Decision? {
        if let until = blacklisted(lot.parkCode, plate, at: now) { return Decision(.plateBlacklisted, RuleNote("blackList", until: until)) }
        if isExempt(plate, lot: lot, policy: policy, at: now) { return Decision(.exemptVehicle, RuleNote("exemptClasses")) }
        if policy.membersOnly == 1, !isListed(City.whiteKind, lot.parkCode, plate, at: now) {
            return Decision(.notWhitelisted, RuleNote("membersOnly"))
        }
        return nil
    }

    /// One car is in one place at a time.
    private func refuseOverlap(of reservation: Reservation) -> Decision? {
        for plate in reservation.plates {
            guard let other = overlap(plate, with: reservation) else { continue }
            return Decision(.overlappingBooking, RuleNote("overlap", until: other.to))
        }
        return nil
    }

    /// The plate category that a colour stands for; nil where it says nothing.
    private static func plateType(color: Int) -> String? { [0: "02", 1: "01", 4: "52", 5: "51"][color] }

    /// Bookings of the day, by user and plate.
    private func refuseDay(of reservation: Reservation, _ keys: [String], policy: Policy, except known: Set<String> = []) -> Decision? {
        for (index, key) in keys.enumerated() where !known.contains(key) {
            let (rule, max) =
                index == 0 ? ("dailyMaxPerUser", policy.dailyMaxPerUser) : ("dailyMaxPerPlate", policy.dailyMaxPerPlate)
            let used = counted(key)
            if used >= max {
                let dayEnd = CivilTime.start(ofDay: CivilTime.day(of: reservation.planTime) + 1)
                return Decision(.dailyLimit, RuleNote(rule, used: used, max: max, until: dayEnd))
            }
        }
        return nil
    }

    /// Whether the city lets the lot do this business: in review it is switched on when its checklist is passed.
    public func isOpened(_ lot: Lot, for purpose: Purpose) -> Bool {
        lot.stage != .suspended && (!reviewsLots || (lot.stage == .live && lot.opened.contains(purpose)))
    }

    /// Whether a lot takes arrivals at this time at all, and whether it can be booked yet and still.
    func refuseTime(
        _ planTime: Millis, lot: Lot, profile: LotProfile, purpose: Purpose, pool: Pool? = nil, at now: Millis
    ) -> Decision? {
        let policy = lot.policy(purpose)
        let isPublic = purpose == .publicService
        // A time can be booked as long as its window is open; a visitor with an appointment may come later than planned.
        if planTime < now - Millis(isPublic ? policy.bizBeforeMin : policy.lateMin) * CivilTime.minute {
            return Decision(.tooLate, RuleNote("planTime", until: now))
        }
        let (rule, ahead) =
            isPublic
            ? ("bizAdvanceMaxMin", policy.bizAdvanceMaxMin)
            : pool == .charging && policy.chargingAdvanceMaxMin > 0
                ? ("chargingAdvanceMaxMin", policy.chargingAdvanceMaxMin) : ("advanceMaxMin", policy.advanceMaxMin)
        if planTime > now + Millis(ahead) * CivilTime.minute {
            return Decision(.notOpenYet, RuleNote(rule, max: ahead, until: planTime - Millis(ahead) * CivilTime.minute))
        }
        if !profile.isOpen(at: planTime, calendar) {
            return Decision(.lotClosed, RuleNote("openHours", until: profile.opens(after: planTime, calendar)))
        }
        return nil
    }

    mutating func modify(
        appId: String, orderNo: String, planTime: Millis?, plate: Plate?, plateColor: Int?, at now: Millis,
        history: some History
    ) -> Decision {
        guard var reservation = reservation(orderNo, history: history), reservation.appId == appId else {
            return Decision(.refused(.orderNotFound))
        }
        switch reservation.status {
        case .held, .booked: break
        case .inLot: return Decision(.refused(.modifyAfterEntry))
        case .done: return Decision(.refused(.orderFinished))
        case .cancelled, .cancelledBreach: return Decision(.refused(.orderCancelled))
        default: return Decision(.refused(.wrongState))
        }
        guard let lot = lots[reservation.parkCode], let profile = lot.profile else { return Decision(.refused(.lotIncomplete)) }
        if now > reservation.enterEnd { return Decision(.refused(.tooLate)) }
        // A place of an appointment moves with the appointment, a shared one is chosen anew.
        if reservation.purpose == .publicService, planTime != nil { return Decision(.refused(.wrongState)) }
        let policy = lot.policy(reservation.purpose)
        // The lot as it is now is not held on to: changing it would copy it.
        let policyVersion = lot.policyVersion
        let old = reservation
        if let plate { reservation.plate = plate }
        if let plateColor { reservation.plateColor = plateColor }
        if let planTime {
            // Early and late minutes as they were agreed, with a delay that was granted.
            reservation.planTime = planTime
            reservation.enterStart += planTime - old.planTime
            reservation.enterEnd += planTime - old.planTime
            // What could not be cancelled freely any more cannot be moved into being free again.
            if now < reservation.terms.freeCancelUntil { reservation.terms.freeCancelUntil += planTime - old.planTime }
            if reservation.leaveDeadline != nil { reservation.leaveDeadline = planTime + Millis(reservation.stayMin) * CivilTime.minute }
        }
        if reservation == old { return Decision(.reservation(old, isRepeat: false)) }
        guard reservation.plate.fits(color: reservation.plateColor) else { return Decision(.refused(.plateColorMismatch)) }
        if reservation.plate != old.plate {
            if reservation.plateChanges >= reservation.terms.plateChangesMax {
                return Decision(.wrongState, RuleNote("plateChangesMax", used: reservation.plateChanges, max: reservation.terms.plateChangesMax))
            }
            if let refused = refusePlate(reservation.plate, lot: lot, policy: policy, at: now) { return refused }
            // An appointment that names its car is for that car.
            if let named = appointment(of: reservation)?.1.plate, named != reservation.plate { return Decision(.plateDiffers, RuleNote("appointment")) }
            let standing = standing(
                of: appId, reservation.userToken, reservation.plate, lot: lot, purpose: reservation.purpose, policy: policy, at: now)
            if let standing, standing.1.rule == "noShowMaxPerPlate" { return Decision(standing.0, standing.1) }
            reservation.plateChanges += 1
        }
        if reservation.planTime != old.planTime {
            if let refused = refuseTime(
                reservation.planTime, lot: lot, profile: profile, purpose: reservation.purpose, pool: reservation.pool, at: now)
            {
                return refused
            }
            if let refused = flowDemands(on: reservation, at: now, except: [orderNo]).refusal {
                return full(refused.outcome.refusal!, reservation, note: refused.note, policy: policy, at: now)
            }
        }
        if let refused = refuseOverlap(of: reservation) { return refused }
        // Days that it counts in and did not before: of its user, and of each of its plates.
        let (gone, fresh) = (City.dayKeys(old), City.dayKeys(reservation))
        if let refused = refuseDay(of: reservation, fresh, policy: policy, except: Set(gone)) { return refused }
        if reservation.planTime != old.planTime {
            // Its own place does not stand in its way.
            lots[reservation.parkCode]!.advance(to: now)
            lots[reservation.parkCode]!.release(reservation)
            var shortage: Rejection?
            if reservation.purpose == .shared {
                let offerId = reservation.offerId
                reservation.leaveDeadline = reservation.planTime + Millis(reservation.stayMin) * CivilTime.minute
                switch sharedPlace(for: &reservation, offerId: offerId, stayMin: reservation.stayMin, lot: lots[reservation.parkCode]!, at: now) {
                case .success(let place):
                    reservation.spaceNo = place.space
                    reservation.offerId = place.offer?.offerId
                    // Moved within its offer it costs what was agreed.
                    if reservation.offerId == offerId { reservation.terms.price = old.terms.price }
                case .failure(let refusal): shortage = refusal
                }
            } else if !lots[reservation.parkCode]!.hasRoom(reservation.pool, from: reservation.enterStart, to: reservation.expectedLeave, now: now) {
                let isNamed = lots[reservation.parkCode]!.isNamed(reservation.pool, from: reservation.enterStart, to: reservation.expectedLeave)
                shortage = isNamed ? .poolEmpty : .noBookableSpace
            }
            if let shortage {
                lots[reservation.parkCode]!.rehold(old, now: now)
                return full(shortage, reservation, policy: policy, at: now)
            }
        }
        // What rests on the old terms keeps them; the version says under which the change was made.
        reservation.terms.version = max(reservation.terms.version, policyVersion)
        var events: [Event] = []
        for key in gone where !fresh.contains(key) { count(key, by: -1, &events) }
        for key in fresh where !gone.contains(key) {
            count(key, by: 1, max: key.hasPrefix("ud|") ? policy.dailyMaxPerUser : policy.dailyMaxPerPlate, &events)
        }
        countQuotas(of: &reservation, &events)
        reservation.orderVer += 1
        sendChange(&reservation, at: now, &events)
        update(reservation, at: now, &events)
        return Decision(.reservation(lots[reservation.parkCode]!.reservations[orderNo]!, isRepeat: false), events)
    }

    /// Tells the lot of a change, when it has heard of the order at all.
    mutating func sendChange(_ reservation: inout Reservation, at now: Millis, _ events: inout [Event]) {
        guard reservation.downSeq > 0 else { return }
        send(LotMessage.modify, of: &reservation, at: now, &events)
    }

    /// A08: once, a later end of the entry window; for a car that is inside and has a time to leave, a later one. Where the place would not
    /// be his any more it is held for longer, when nobody follows.
    mutating func delay(appId: String, orderNo: String, at now: Millis, history: some History) -> Decision {
        guard var reservation = reservation(orderNo, history: history), reservation.appId == appId else {
            return Decision(.refused(.orderNotFound))
        }
        switch reservation.status {
        case .held, .booked: break
        case .inLot:
            guard reservation.leaveDeadline != nil else { return Decision(.refused(.modifyAfterEntry)) }
        case .done: return Decision(.refused(.orderFinished))
        case .cancelled, .cancelledBreach: return Decision(.refused(.orderCancelled))
        default: return Decision(.refused(.wrongState))
        }
        guard !reservation.isDelayed, reservation.terms.delayMin > 0 else {
            return Decision(.delayNotAllowed, RuleNote("delayMin", used: reservation.isDelayed ? 1 : 0, max: reservation.terms.delayMin > 0 ? 1 : 0))
        }
        let more = Millis(reservation.terms.delayMin) * CivilTime.minute
        lots[reservation.parkCode]?.advance(to: now)
        if reservation.status == .inLot {
            guard let deadline = reservation.leaveDeadline, now <= deadline, canStay(reservation, from: deadline, to: deadline + more, now: now) else {
                return Decision(.delayNotAllowed, RuleNote("delayMin", until: reservation.leaveDeadline))
            }
            reservation.leaveDeadline = deadline + more
            reservation.isWarned = false
        } else {
            if now > reservation.enterEnd { return Decision(.tooLate, RuleNote("enterEnd", until: reservation.enterEnd)) }
            var later = reservation.enterEnd + more
            if later > reservation.expectedLeave {
                // As much of a stay as he had.
                let added = later - reservation.enterEnd
                if canStay(reservation, from: reservation.expectedLeave, to: reservation.expectedLeave + added, now: now) {
                    if let deadline = reservation.leaveDeadline { reservation.leaveDeadline = deadline + added }
                    reservation.stayMin += Int(added / CivilTime.minute)
                } else {
                    later = reservation.expectedLeave
                }
            }
            guard later > reservation.enterEnd else { return Decision(.delayNotAllowed, RuleNote("delayMin", until: reservation.enterEnd)) }
            reservation.enterEnd = later
        }
        reservation.isDelayed = true
        reservation.orderVer += 1
        var events: [Event] = []
        sendChange(&reservation, at: now, &events)
        update(reservation, at: now, &events)
        return Decision(.reservation(lots[reservation.parkCode]!.reservations[orderNo]!, isRepeat: false), events)
    }

    /// Whether nobody follows in the order's place in this time.
    private func canStay(_ reservation: Reservation, from: Millis, to: Millis, now: Millis) -> Bool {
        guard let lot = lots[reservation.parkCode] else { return false }
        guard let space = reservation.spaceNo else {
            if reservation.purpose == .shared {
                let policy = lot.policy(.shared)
                guard RecurringWindow.spans(policy.quiet, from: to, to: to + 1, calendar).isEmpty,
                    RecurringWindow.covers(poolWindow(policy), from: from, to: to, calendar)
                else { return false }
            }
            return lot.hasRoom(reservation.pool, from: from, to: to, now: now)
        }
        guard let offer = reservation.offerId.flatMap({ lot.offers[$0] }), offer.isBookable, to <= offer.validTo,
            RecurringWindow.spans(offer.quietHours + lot.policy(.shared).quiet, from: to, to: to + 1, calendar).isEmpty
        else { return false }
        return lot.spaces.isFree(space, from: from, to: to, except: reservation.orderNo)
            && RecurringWindow.covers(offer.segments, from: from, to: to, calendar)
    }

    mutating func cancel(
        appId: String, orderNo: String, confirmBreach: Bool, at now: Millis, history: some History
    ) -> Decision {
        guard var reservation = reservation(orderNo, history: history), reservation.appId == appId else {
            return Decision(.refused(.orderNotFound))
        }
        switch reservation.status {
        case .held, .booked: break
        case .waitlisted: return leaveWaitlist(appId: appId, orderNo: orderNo, at: now, history: history)
        case .cancelled, .cancelledBreach: return Decision(.refused(.orderCancelled))
        case .done: return Decision(.refused(.orderFinished))
        default: return Decision(.refused(.notCancellable))
        }
        // When his window is over he has come or he has not: the lot's log says which.
        if reservation.status == .booked, now > reservation.enterEnd {
            return Decision(.notCancellable, RuleNote("enterEnd", until: reservation.enterEnd))
        }
        let policy = lots[reservation.parkCode]?.policy(reservation.purpose) ?? self.policy
        let keys = City.cancelKeys(reservation, at: now)
        let (dayKey, monthKey) = (keys[0], keys[1])
        let leftToday = policy.cancelMaxPerDay - counted(dayKey)
        let leftThisMonth = policy.cancelMaxPerMonth - counted(monthKey)
        let isLate = now >= reservation.terms.freeCancelUntil && reservation.status == .booked
        if isLate, !confirmBreach {
            return Decision(.breachNeedsConfirm, RuleNote("freeCancelUntil", until: reservation.terms.freeCancelUntil))
        }
        // What was never certain is given back freely.
        let isOverLimit = reservation.status == .booked && (leftToday <= 0 || leftThisMonth <= 0)
        if isOverLimit, !confirmBreach {
            return Decision(
                .cancelLimit,
                leftThisMonth <= 0
                    ? RuleNote(
                        "cancelMaxPerMonth", used: counted(monthKey), max: policy.cancelMaxPerMonth, until: CivilTime.endOfMonth(now))
                    : RuleNote(
                        "cancelMaxPerDay", used: counted(dayKey), max: policy.cancelMaxPerDay,
                        until: CivilTime.start(ofDay: CivilTime.day(of: now) + 1)))
        }
        let isBreach = isLate || isOverLimit

        var events: [Event] = []
        // What was never certain does not count as a cancel.
        let wasHeld = reservation.terms.prepayFen > 0 && reservation.prepayNo == nil
        if !wasHeld {
            count(dayKey, by: 1, &events)
            count(monthKey, by: 1, &events)
        }
        end(
            &reservation, as: isBreach ? .cancelledLate : .cancelled,
            evidence: "cancelled at \(now); free until \(reservation.terms.freeCancelUntil); left \(leftToday)/\(leftThisMonth)", now: now, &events)
        return Decision(
            .cancelled(
                lots[reservation.parkCode]!.reservations[orderNo]!, isBreach: isBreach, leftToday: max(0, leftToday - 1),
                leftThisMonth: max(0, leftThisMonth - 1)), events)
    }

    /// A booking that ended without the user's fault does not count against his day.
    mutating func giveBackDailyCount(of reservation: Reservation, _ events: inout [Event]) {
        for key in City.dayKeys(reservation) + reservation.quotaKeys { count(key, by: -1, &events) }
    }

    /// The counters of its day that an order is counted in: its user's, and those of its plates.
    static func dayKeys(_ reservation: Reservation) -> [String] {
        let day = CivilTime.day(of: reservation.planTime)
        return [userDayKey(reservation, day: day)] + reservation.plates.map { plateDayKey($0, day: day) }
    }

    /// The counters of a cancel: of its day, and of its month.
    static func cancelKeys(_ reservation: Reservation, at time: Millis) -> [String] {
        [
            counterKey("cd", CivilTime.day(of: time), reservation.appId, reservation.userToken),
            counterKey("cm", CivilTime.month(of: time), reservation.appId, reservation.userToken),
        ]
    }

    static func userDayKey(_ reservation: Reservation, day: Int64) -> String { counterKey("ud", day, reservation.appId, reservation.userToken) }
    static func plateDayKey(_ plate: Plate, day: Int64) -> String { counterKey("pd", day, plate.revealed) }
}
