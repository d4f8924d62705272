// The checks of a booking: vehicle, plate, user and time.
extension City {
    /// The refusal because of the vehicle itself; nil when there is none.
    func refuseVehicle(_ booking: Booking, lot: Lot, profile: LotProfile, policy: Policy, at now: Millis) -> Decision? {
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

    /// The refusal because of a plate, apart from its owner's standing; nil when there is none.
    func refusePlate(_ plate: Plate, lot: Lot, policy: Policy, at now: Millis) -> Decision? {
        if let until = blacklisted(lot.parkCode, plate, at: now) { return Decision(.plateBlacklisted, RuleNote("blackList", until: until)) }
        if isExempt(plate, lot: lot, policy: policy, at: now) { return Decision(.exemptVehicle, RuleNote("exemptClasses")) }
        if policy.membersOnly == 1, !isListed(City.whiteKind, lot.parkCode, plate, at: now) {
            return Decision(.notWhitelisted, RuleNote("membersOnly"))
        }
        return nil
    }

    /// The refusal because a plate has another reservation at the same time; nil when none has.
    func refuseOverlap(of reservation: Reservation) -> Decision? {
        for plate in reservation.plates {
            guard let other = claims.overlap(plate, with: reservation) else { continue }
            return Decision(.overlappingBooking, RuleNote("overlap", until: other.to))
        }
        return nil
    }

    /// The plate category that a colour stands for; nil where it says nothing.
    static func plateType(color: Int) -> String? { [0: "02", 1: "01", 4: "52", 5: "51"][color] }

    /// The refusal because of the number of bookings of the day, by user and plate; nil when there is none.
    func refuseDay(of reservation: Reservation, _ keys: [String], policy: Policy, except known: Set<String> = []) -> Decision? {
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
        lot.fault == nil && lot.stage != .suspended && (!reviewsLots || (lot.stage == .live && lot.opened.contains(purpose)))
    }

    /// How far a lot is. Where lots open without a review, one that has described itself is in service.
    public func stage(of lot: Lot) -> LotStage { reviewsLots || lot.stage == .suspended || lot.profile == nil ? lot.stage : .live }

    /// The moment from which a time can be booked.
    public func bookableFrom(_ lot: Lot, _ purpose: Purpose, planTime: Millis) -> Millis {
        let policy = lot.policy(purpose)
        return planTime - Millis(purpose == .publicService ? policy.bizAdvanceMaxMin : policy.advanceMaxMin) * CivilTime.minute
    }

    /// The refusal because of the time: the lot takes no arrivals then, or the time cannot be booked yet or any more.
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
}
