// What a driver can do: create, modify, cancel (interface.md, section 6; defaults of section 7).
extension City {
    mutating func create(_ booking: Booking, at now: Millis, history: some History) -> Decision {
        // The provider's own key, before any state: an equal request gets its order in its present state.
        if let known = order(appId: booking.appId, clientOrderNo: booking.clientOrderNo, history: history) {
            return known.requestHash == booking.requestHash
                ? Decision(.order(known, isRepeat: true)) : Decision(.refused(.keyReused))
        }
        lots[booking.parkCode]?.advance(to: now)
        guard var look = lots.lend(booking.parkCode, { lot in examine(booking, in: lot, at: now) }) else {
            return Decision(.refused(.lotNotRegistered))
        }
        if let refused = look.refused { return refused }
        // Taken out, the order is held by nobody else and need not be copied when it changes.
        var order = look.order.take()!
        guard !look.waits else { return wait(&order, policy: look.policy, at: now) }
        lastSerial = order.serial
        var events: [Event] = []
        if let appointment = look.appointment { take(appointment, for: order, &events) }
        claim(&order, look.dayKeys, policy: look.policy, &events)
        certify(&order, policy: look.policy, at: now, &events)
        return Decision(.order(order, isRepeat: false), events)
    }

    /// What comes of a booking, before anything is changed: either a refusal or an order.
    private struct Look {
        var refused: Decision?
        var order: Order?
        /// There is no place for it, and its user waits for one.
        var waits = false
        var dayKeys: [String] = []
        var policy: Policy
        var appointment: Appointment?
    }

    private func examine(_ booking: Booking, in lot: Lot, at now: Millis) -> Look {
        let policy = lot.policy(booking.purpose)
        func refuse(_ decision: Decision) -> Look { Look(refused: decision, policy: policy) }
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

        var order = draft(booking, serial: lastSerial + 1, lot: lot, policy: policy, appointment: appointment, at: now)
        var place: SharedPlace?
        if booking.purpose == .shared {
            switch sharedPlace(for: &order, offerId: booking.offerId, stayMin: booking.stayMin, lot: lot, at: now) {
            case .success(let found): place = found
            case .failure(let refusal):
                order.offerId = booking.offerId
                guard booking.waits, refusal == .noBookableSpace || refusal == .poolEmpty else {
                    return refuse(full(refusal, order, policy: policy, at: now))
                }
            }
            order.spaceNo = place?.space
            order.offerId = place?.offer?.offerId ?? booking.offerId
        }
        if let refused = refuseOverlap(of: order) { return refuse(refused) }
        let dayKeys = City.dayKeys(order)
        if let refused = refuseDay(of: order, dayKeys, policy: policy) { return refuse(refused) }
        let hasRight = appointment != nil && appointment?.parkCode == order.parkCode
        let controls = flowDemands(on: order, at: now, hasRight: hasRight)
        if let refused = controls.refusal {
            return refuse(full(refused.outcome.refusal!, order, note: refused.note, policy: policy, at: now))
        }
        var shortage: Refusal?
        if hasRight {
            // Its right holds the place already, for the times under which it was given.
        } else if order.purpose == .shared {
            if place == nil { shortage = .noBookableSpace }
        } else {
            shortage = lacksRoom(&order, in: lot, now: now)
        }
        guard let shortage else { return Look(order: order, dayKeys: dayKeys, policy: policy, appointment: appointment) }
        guard booking.waits, shortage == .noBookableSpace || shortage == .poolEmpty else {
            return refuse(full(shortage, order, policy: policy, at: now))
        }
        return Look(order: order, waits: true, policy: policy)
    }

    /// The order as it would be, by the lot's terms of now.
    private func draft(
        _ booking: Booking, serial: Int64, lot: Lot, policy: Policy, appointment: Appointment?, at now: Millis
    ) -> Order {
        let isPublic = booking.purpose == .publicService
        let early = Millis(policy.earlyMin) * CivilTime.minute
        let late = Millis(policy.lateMin) * CivilTime.minute
        // A right that was given here keeps the times under which it was given.
        let right = appointment.map { $0.parkCode == booking.parkCode ? $0.terms ?? RightTerms(policy) : RightTerms(policy) }
        let stayMin =
            isPublic
            ? right?.stayMin ?? policy.bizStayMin
            : booking.purpose == .shared ? booking.stayMin ?? policy.stayMin : policy.stayMin
        let window = appointment.map { City.window(of: $0, right!) } ?? Span(booking.planTime - early, booking.planTime + late)
        var order = Order(
            serial: serial,
            orderNo: "YY" + CivilTime.text(ofDay: CivilTime.day(of: now), separator: "") + CivilTime.pad(serial, 10),
            clientOrderNo: booking.clientOrderNo, requestHash: booking.requestHash, appId: booking.appId,
            userToken: booking.userToken, parkCode: booking.parkCode, purpose: booking.purpose, plate: booking.plate,
            plateColor: booking.plateColor, mobile: booking.mobile, extNo: booking.extNo, planTime: booking.planTime,
            enterStart: window.from, enterEnd: window.to,
            leaveDeadline: booking.purpose == .reservation ? nil : booking.planTime + Millis(stayMin) * CivilTime.minute,
            stayMin: stayMin, entryLimit: policy.entriesPerOrder, status: .booked, createdAt: now)
        order.terms = Terms(
            policy, version: lot.policyVersion, purpose: booking.purpose, planTime: booking.planTime, enterStart: window.from)
        if let relief = relief(for: booking) { order.terms.freeMin = relief }
        order.otherPlates = booking.otherPlates
        order.pool = booking.pool ?? booking.purpose.pool
        return order
    }

    /// Counts an accepted order against its user's and plates' day, and against daily quotas.
    /// - Parameter isAsked: the user wants it, so that his limits have been looked at; what is done for him is counted and has no limit.
    mutating func claim(
        _ order: inout Order, _ dayKeys: [String]? = nil, policy: Policy, isAsked: Bool = true, _ events: inout [Event]
    ) {
        let most = Int(Int32.max)
        for (index, key) in (dayKeys ?? City.dayKeys(order)).enumerated() {
            count(key, by: 1, max: !isAsked ? most : index == 0 ? policy.dailyMaxPerUser : policy.dailyMaxPerPlate, &events)
        }
        countQuotas(of: &order, &events)
    }

    /// Makes an accepted order certain, or holds its place until its deposit is paid or its lot has answered, and tells the lot.
    mutating func certify(_ order: inout Order, policy: Policy, at now: Millis, _ events: inout [Event]) {
        let owes = order.terms.prepayFen > 0 && order.prepayNo == nil
        order.status = owes || policy.confirmMode == .ask ? .held : .booked
        order.holdDeadline = order.status == .held ? now + Millis(policy.holdMin) * CivilTime.minute : nil
        if owes {
            var bill = Bill(
                billNo: "D" + order.orderNo, parkCode: order.parkCode, recordNo: "", payableFen: order.terms.prepayFen,
                expireAt: order.holdDeadline!, subject: order.orderNo)
            bill.askedBy = [order.appId]
            bills[bill.key] = bill
            events.append(.bill(bill))
            order.billNo = bill.billNo
            order.deliver = .notNeeded
        } else {
            send(LotMessage.reserve, of: &order, at: now, &events)
        }
        update(order, at: now, &events)
    }

    /// Whether the order's pool has no room; a public-service order may then be released from what the gates count (R6).
    func lacksRoom(_ order: inout Order, now: Millis) -> Refusal? { lacksRoom(&order, in: lots[order.parkCode]!, now: now) }

    private func lacksRoom(_ order: inout Order, in lot: Lot, now: Millis) -> Refusal? {
        let (from, to) = (order.enterStart, order.expectedLeave)
        if lot.hasRoom(order.pool, from: from, to: to, now: now) { return nil }
        guard order.purpose == .publicService else {
            return lot.isNamed(order.pool, from: from, to: to) ? .poolEmpty : .noBookableSpace
        }
        guard CivilTime.day(of: order.planTime) == CivilTime.day(of: now) else { return .publicQuotaUsedUp }
        guard lot.rollingRoom(from: from, to: to, now: now) > 0 else { return .saturated }
        order.pool = .rolling
        return nil
    }

    /// A "full" answer, with the nearest lots that have room in the same window.
    func full(_ refusal: Refusal, _ order: Order, note: RuleNote? = nil, policy: Policy, at now: Millis) -> Decision {
        var decision = Decision(.refused(refusal))
        decision.note = note
        switch refusal {
        case .noBookableSpace, .poolEmpty, .saturated, .publicQuotaUsedUp, .flowControlActive, .outsideSegment, .waitlistClosed,
            .waitlistFull:
            decision.alternatives = alternatives(to: order, policy: policy, at: now)
        default: break
        }
        if note == nil {
            switch refusal {
            case .noBookableSpace where order.offerId.flatMap({ lots[order.parkCode]!.offers[$0] }) != nil:
                let lot = lots[order.parkCode]!
                let offer = lot.offers[order.offerId!]!
                let free = lot.spaces.free(of: offer, from: max(now, order.enterStart), to: order.expectedLeave) { _ in false }
                let taken = offer.unitCount - free
                decision.note = RuleNote("offer \(offer.offerId)", used: taken, max: offer.unitCount, until: order.expectedLeave)
            case .noBookableSpace, .poolEmpty:
                let lot = lots[order.parkCode]!
                let quota = lot.quota(order.pool, at: max(now, order.enterStart))
                decision.note = RuleNote(
                    order.pool.rawValue, used: lot.peak(order.pool, from: order.enterStart, to: order.expectedLeave, now: now), max: quota)
            case .publicQuotaUsedUp:
                // From the day itself on, places are released by what the gates count.
                decision.note = RuleNote(
                    Pool.publicService.rawValue, until: CivilTime.start(ofDay: CivilTime.day(of: order.planTime)))
            case .saturated:
                let lot = lots[order.parkCode]!
                let total = lot.profile?.totalCount ?? 0
                let room = lot.rollingRoom(from: order.enterStart, to: order.expectedLeave, now: now)
                decision.note = RuleNote("saturation", used: max(lot.occupied, total - room), max: total, until: order.expectedLeave)
            case .outsideSegment: decision.note = RuleNote("segments", until: opening(for: order, in: lots[order.parkCode]!))
            case .quietHours: decision.note = RuleNote("quietHours", until: quietEnd(for: order, in: lots[order.parkCode]!))
            default: break
            }
        }
        return decision
    }

    /// The nearest lots with room for the same window, by distance.
    public func alternatives(to order: Order, policy: Policy, at now: Millis) -> [Alternative] {
        guard policy.alternativesMax > 0, let here = lots[order.parkCode]?.profile?.position else { return [] }
        let near = points.lazy.filter { $0.parkCode != order.parkCode }
            .map { (metres: here.metres(to: $0.at), parkCode: $0.parkCode) }
            .filter { $0.metres <= policy.alternativesMetres }
            .sorted { ($0.metres, $0.parkCode) < ($1.metres, $1.parkCode) }
        // Visitors of a hospital are also offered shared places nearby (R6).
        let purposes: [Purpose] = order.purpose == .publicService ? [.reservation, .shared] : [order.purpose]
        var found: [Alternative] = []
        for candidate in near {
            guard found.count < policy.alternativesMax else { break }
            guard var lot = lots[candidate.parkCode], let profile = lot.profile else { continue }
            for purpose in purposes where profile.enabled.contains(purpose) && isOpened(lot, for: purpose) {
                guard refuseTime(order.planTime, lot: lot, profile: profile, purpose: purpose, at: now) == nil else { continue }
                lot.advance(to: now)
                var probe = order
                probe.parkCode = candidate.parkCode
                probe.purpose = purpose
                probe.pool = purpose.pool
                probe.spaceNo = nil
                if purpose == .shared {
                    guard case .success = sharedPlace(for: &probe, offerId: nil, stayMin: order.stayMin, lot: lot, at: now) else {
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
                        planTime: order.planTime, freeMin: order.purpose == .publicService ? policy.bizFreeMin : 0))
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
    private func refuseOverlap(of order: Order) -> Decision? {
        for plate in order.plates {
            guard let other = overlap(plate, with: order) else { continue }
            return Decision(.overlappingBooking, RuleNote("overlap", until: other.to))
        }
        return nil
    }

    /// The plate category that a colour stands for; nil where it says nothing.
    private static func plateType(color: Int) -> String? { [0: "02", 1: "01", 4: "52", 5: "51"][color] }

    /// Bookings of the day, by user and plate.
    private func refuseDay(of order: Order, _ keys: [String], policy: Policy, except known: Set<String> = []) -> Decision? {
        for (index, key) in keys.enumerated() where !known.contains(key) {
            let (rule, max) =
                index == 0 ? ("dailyMaxPerUser", policy.dailyMaxPerUser) : ("dailyMaxPerPlate", policy.dailyMaxPerPlate)
            let used = counted(key)
            if used >= max {
                let dayEnd = CivilTime.start(ofDay: CivilTime.day(of: order.planTime) + 1)
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
        guard var order = order(orderNo, history: history), order.appId == appId else {
            return Decision(.refused(.orderNotFound))
        }
        switch order.status {
        case .held, .booked: break
        case .inLot: return Decision(.refused(.modifyAfterEntry))
        case .done: return Decision(.refused(.orderFinished))
        case .cancelled, .cancelledBreach: return Decision(.refused(.orderCancelled))
        default: return Decision(.refused(.wrongState))
        }
        guard let lot = lots[order.parkCode], let profile = lot.profile else { return Decision(.refused(.lotIncomplete)) }
        if now > order.enterEnd { return Decision(.refused(.tooLate)) }
        // A place of an appointment moves with the appointment, a shared one is chosen anew.
        if order.purpose == .publicService, planTime != nil { return Decision(.refused(.wrongState)) }
        let policy = lot.policy(order.purpose)
        // The lot as it is now is not held on to: changing it would copy it.
        let policyVersion = lot.policyVersion
        let old = order
        if let plate { order.plate = plate }
        if let plateColor { order.plateColor = plateColor }
        if let planTime {
            // Early and late minutes as they were agreed, with a delay that was granted.
            order.planTime = planTime
            order.enterStart += planTime - old.planTime
            order.enterEnd += planTime - old.planTime
            // What could not be cancelled freely any more cannot be moved into being free again.
            if now < order.terms.freeCancelUntil { order.terms.freeCancelUntil += planTime - old.planTime }
            if order.leaveDeadline != nil { order.leaveDeadline = planTime + Millis(order.stayMin) * CivilTime.minute }
        }
        if order == old { return Decision(.order(old, isRepeat: false)) }
        guard order.plate.fits(color: order.plateColor) else { return Decision(.refused(.plateColorMismatch)) }
        if order.plate != old.plate {
            if order.plateChanges >= order.terms.plateChangesMax {
                return Decision(.wrongState, RuleNote("plateChangesMax", used: order.plateChanges, max: order.terms.plateChangesMax))
            }
            if let refused = refusePlate(order.plate, lot: lot, policy: policy, at: now) { return refused }
            // An appointment that names its car is for that car.
            if let named = appointment(of: order)?.1.plate, named != order.plate { return Decision(.plateDiffers, RuleNote("appointment")) }
            let standing = standing(
                of: appId, order.userToken, order.plate, lot: lot, purpose: order.purpose, policy: policy, at: now)
            if let standing, standing.1.rule == "noShowMaxPerPlate" { return Decision(standing.0, standing.1) }
            order.plateChanges += 1
        }
        if order.planTime != old.planTime {
            if let refused = refuseTime(
                order.planTime, lot: lot, profile: profile, purpose: order.purpose, pool: order.pool, at: now)
            {
                return refused
            }
            if let refused = flowDemands(on: order, at: now, except: [orderNo]).refusal {
                return full(refused.outcome.refusal!, order, note: refused.note, policy: policy, at: now)
            }
        }
        if let refused = refuseOverlap(of: order) { return refused }
        // Days that it counts in and did not before: of its user, and of each of its plates.
        let (gone, fresh) = (City.dayKeys(old), City.dayKeys(order))
        if let refused = refuseDay(of: order, fresh, policy: policy, except: Set(gone)) { return refused }
        if order.planTime != old.planTime {
            // Its own place does not stand in its way.
            lots[order.parkCode]!.advance(to: now)
            lots[order.parkCode]!.release(order)
            var shortage: Refusal?
            if order.purpose == .shared {
                let offerId = order.offerId
                order.leaveDeadline = order.planTime + Millis(order.stayMin) * CivilTime.minute
                switch sharedPlace(for: &order, offerId: offerId, stayMin: order.stayMin, lot: lots[order.parkCode]!, at: now) {
                case .success(let place):
                    order.spaceNo = place.space
                    order.offerId = place.offer?.offerId
                    // Moved within its offer it costs what was agreed.
                    if order.offerId == offerId { order.terms.price = old.terms.price }
                case .failure(let refusal): shortage = refusal
                }
            } else if !lots[order.parkCode]!.hasRoom(order.pool, from: order.enterStart, to: order.expectedLeave, now: now) {
                let isNamed = lots[order.parkCode]!.isNamed(order.pool, from: order.enterStart, to: order.expectedLeave)
                shortage = isNamed ? .poolEmpty : .noBookableSpace
            }
            if let shortage {
                lots[order.parkCode]!.rehold(old, now: now)
                return full(shortage, order, policy: policy, at: now)
            }
        }
        // What rests on the old terms keeps them; the version says under which the change was made.
        order.terms.version = max(order.terms.version, policyVersion)
        var events: [Event] = []
        for key in gone where !fresh.contains(key) { count(key, by: -1, &events) }
        for key in fresh where !gone.contains(key) {
            count(key, by: 1, max: key.hasPrefix("ud|") ? policy.dailyMaxPerUser : policy.dailyMaxPerPlate, &events)
        }
        countQuotas(of: &order, &events)
        order.orderVer += 1
        sendChange(&order, at: now, &events)
        update(order, at: now, &events)
        return Decision(.order(lots[order.parkCode]!.orders[orderNo]!, isRepeat: false), events)
    }

    /// Tells the lot of a change, when it has heard of the order at all.
    mutating func sendChange(_ order: inout Order, at now: Millis, _ events: inout [Event]) {
        guard order.downSeq > 0 else { return }
        send(LotMessage.modify, of: &order, at: now, &events)
    }

    /// A08: once, a later end of the entry window; for a car that is inside and has a time to leave, a later one. Where the place would not
    /// be his any more it is held for longer, when nobody follows.
    mutating func delay(appId: String, orderNo: String, at now: Millis, history: some History) -> Decision {
        guard var order = order(orderNo, history: history), order.appId == appId else {
            return Decision(.refused(.orderNotFound))
        }
        switch order.status {
        case .held, .booked: break
        case .inLot:
            guard order.leaveDeadline != nil else { return Decision(.refused(.modifyAfterEntry)) }
        case .done: return Decision(.refused(.orderFinished))
        case .cancelled, .cancelledBreach: return Decision(.refused(.orderCancelled))
        default: return Decision(.refused(.wrongState))
        }
        guard !order.isDelayed, order.terms.delayMin > 0 else {
            return Decision(.delayNotAllowed, RuleNote("delayMin", used: order.isDelayed ? 1 : 0, max: order.terms.delayMin > 0 ? 1 : 0))
        }
        let more = Millis(order.terms.delayMin) * CivilTime.minute
        lots[order.parkCode]?.advance(to: now)
        if order.status == .inLot {
            guard let deadline = order.leaveDeadline, now <= deadline, canStay(order, from: deadline, to: deadline + more, now: now) else {
                return Decision(.delayNotAllowed, RuleNote("delayMin", until: order.leaveDeadline))
            }
            order.leaveDeadline = deadline + more
            order.isWarned = false
        } else {
            if now > order.enterEnd { return Decision(.tooLate, RuleNote("enterEnd", until: order.enterEnd)) }
            var later = order.enterEnd + more
            if later > order.expectedLeave {
                // As much of a stay as he had.
                let added = later - order.enterEnd
                if canStay(order, from: order.expectedLeave, to: order.expectedLeave + added, now: now) {
                    if let deadline = order.leaveDeadline { order.leaveDeadline = deadline + added }
                    order.stayMin += Int(added / CivilTime.minute)
                } else {
                    later = order.expectedLeave
                }
            }
            guard later > order.enterEnd else { return Decision(.delayNotAllowed, RuleNote("delayMin", until: order.enterEnd)) }
            order.enterEnd = later
        }
        order.isDelayed = true
        order.orderVer += 1
        var events: [Event] = []
        sendChange(&order, at: now, &events)
        update(order, at: now, &events)
        return Decision(.order(lots[order.parkCode]!.orders[orderNo]!, isRepeat: false), events)
    }

    /// Whether nobody follows in the order's place in this time.
    private func canStay(_ order: Order, from: Millis, to: Millis, now: Millis) -> Bool {
        guard let lot = lots[order.parkCode] else { return false }
        guard let space = order.spaceNo else {
            if order.purpose == .shared {
                let policy = lot.policy(.shared)
                guard Segment.spans(policy.quiet, from: to, to: to + 1, calendar).isEmpty,
                    Segment.covers(poolWindow(policy), from: from, to: to, calendar)
                else { return false }
            }
            return lot.hasRoom(order.pool, from: from, to: to, now: now)
        }
        guard let offer = order.offerId.flatMap({ lot.offers[$0] }), offer.isBookable, to <= offer.validTo,
            Segment.spans(offer.quietHours + lot.policy(.shared).quiet, from: to, to: to + 1, calendar).isEmpty
        else { return false }
        return lot.spaces.isFree(space, from: from, to: to, except: order.orderNo)
            && Segment.covers(offer.segments, from: from, to: to, calendar)
    }

    mutating func cancel(
        appId: String, orderNo: String, confirmBreach: Bool, at now: Millis, history: some History
    ) -> Decision {
        guard var order = order(orderNo, history: history), order.appId == appId else {
            return Decision(.refused(.orderNotFound))
        }
        switch order.status {
        case .held, .booked: break
        case .waitlisted: return leaveWaitlist(appId: appId, orderNo: orderNo, at: now, history: history)
        case .cancelled, .cancelledBreach: return Decision(.refused(.orderCancelled))
        case .done: return Decision(.refused(.orderFinished))
        default: return Decision(.refused(.notCancellable))
        }
        // When his window is over he has come or he has not: the lot's log says which.
        if order.status == .booked, now > order.enterEnd {
            return Decision(.notCancellable, RuleNote("enterEnd", until: order.enterEnd))
        }
        let policy = lots[order.parkCode]?.policy(order.purpose) ?? self.policy
        let keys = City.cancelKeys(order, at: now)
        let (dayKey, monthKey) = (keys[0], keys[1])
        let leftToday = policy.cancelMaxPerDay - counted(dayKey)
        let leftThisMonth = policy.cancelMaxPerMonth - counted(monthKey)
        let isLate = now >= order.terms.freeCancelUntil && order.status == .booked
        if isLate, !confirmBreach {
            return Decision(.breachNeedsConfirm, RuleNote("freeCancelUntil", until: order.terms.freeCancelUntil))
        }
        // What was never certain is given back freely.
        let isOverLimit = order.status == .booked && (leftToday <= 0 || leftThisMonth <= 0)
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
        let wasHeld = order.terms.prepayFen > 0 && order.prepayNo == nil
        if !wasHeld {
            count(dayKey, by: 1, &events)
            count(monthKey, by: 1, &events)
        }
        end(
            &order, as: isBreach ? .cancelledLate : .cancelled,
            evidence: "cancelled at \(now); free until \(order.terms.freeCancelUntil); left \(leftToday)/\(leftThisMonth)", now: now, &events)
        return Decision(
            .cancelled(
                lots[order.parkCode]!.orders[orderNo]!, isBreach: isBreach, leftToday: max(0, leftToday - 1),
                leftThisMonth: max(0, leftThisMonth - 1)), events)
    }

    /// A booking that ended without the user's fault does not count against his day.
    mutating func giveBackDailyCount(of order: Order, _ events: inout [Event]) {
        for key in City.dayKeys(order) + order.quotaKeys { count(key, by: -1, &events) }
    }

    /// The counters of its day that an order is counted in: its user's, and those of its plates.
    static func dayKeys(_ order: Order) -> [String] {
        let day = CivilTime.day(of: order.planTime)
        return [userDayKey(order, day: day)] + order.plates.map { plateDayKey($0, day: day) }
    }

    /// The counters of a cancel: of its day, and of its month.
    static func cancelKeys(_ order: Order, at time: Millis) -> [String] {
        [
            counterKey("cd", CivilTime.day(of: time), order.appId, order.userToken),
            counterKey("cm", CivilTime.month(of: time), order.appId, order.userToken),
        ]
    }

    static func userDayKey(_ order: Order, day: Int64) -> String { counterKey("ud", day, order.appId, order.userToken) }
    static func plateDayKey(_ plate: Plate, day: Int64) -> String { counterKey("pd", day, plate.revealed) }
}
