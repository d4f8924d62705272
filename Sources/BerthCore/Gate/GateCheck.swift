// The decision at the gate, with everything that the city knows.
extension City {
    mutating func check(_ parkCode: String, _ question: GateQuestion, at now: Millis) -> Decision {
        guard let lot = lots[parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        if !lot.gates.isEmpty, lot.gates[question.gateCode] == nil { return Decision(.refused(.unknownGate)) }
        var book = book(for: question, lot, at: now)
        let reservations = lot.reservations.values.map(AuthorisedEntry.init(reservation:))
        // The control room's decision on this car holds for ten minutes or until the car is in. It says which right the car uses, not
        // whether that right holds.
        let word = word(on: question.plate, parkCode, at: now)
        var decision: GateDecision
        if let word, word.state == .admitted, let number = word.orderNo {
            decision = GatePolicy.decide(question, named: number, reservations: reservations, book)
        } else {
            if word?.state == .refused { book.fuzzyCharsMax = 0 }
            decision = GatePolicy.decide(question, reservations: reservations, book)
        }
        refuseTakenPlace(&decision, question, lot, at: now)
        if decision.refusal == .plateBlacklisted, decision.note == nil {
            decision.note = RuleNote("blackList", until: blacklisted(parkCode, question.plate, at: question.time))
        }
        var events: [Event] = []
        if decision.refusal == .plateBlacklisted, caseBook.isNews(refused: question.plate, at: now) {
            events.append(.notice(LotEvent(parkCode: parkCode, eventType: 7001, occurredAt: now, detail: question.plate.masked)))
        }
        if let word { return Decision(.gate(decision, caseNo: word.caseNo), events) }
        guard !decision.candidates.isEmpty else { return Decision(.gate(decision, caseNo: nil), events) }
        let caseNo = caseNo(parkCode, question, decision, at: now, &events)
        return Decision(.gate(decision, caseNo: caseNo), events)
    }

    /// The things that the rule of the gate is told about the lot, the plate and the city.
    private func book(for question: GateQuestion, _ lot: Lot, at now: Millis) -> GateBook {
        let parkCode = lot.parkCode
        let policy = lot.policy
        var book = GateBook()
        book.subscriptions = Array(lot.subscriptions.values)
        // The barrier has seen the car come: an older visit of its plate has lost its exit (section 5.5).
        let standing = lot.inside[question.plate].flatMap { lot.visits[$0] }
        book.isInside = standing.map { abs(question.time - $0.enterTime) <= City.seenTwiceMillis } ?? false
        book.isBlacklisted = blacklisted(parkCode, question.plate, at: question.time) != nil
        book.isWhitelisted = [City.whiteKind, City.localWhiteKind, City.localMonthlyKind].contains {
            isListed($0, parkCode, question.plate, at: question.time)
        }
        book.isExempt =
            isExempt(question.plate, lot: lot, policy: policy, at: question.time)
            && (question.color.map { question.plate.fits(color: $0) } ?? true)
        let demanding = flows.isEmpty ? [] : flows(of: parkCode).filter { $0.mode(at: now, calendar) != .off }
        if let strictest = demanding.max(by: { $0.mode < $1.mode }) {
            book.flow = strictest.mode
            book.flowNote = RuleNote(strictest.policyId, until: strictest.validTo)
        }
        if book.flow == .throttle {
            book.walkIns = lot.walkIns.filter { $0 > now - 5 * CivilTime.minute && $0 <= now }.count
            book.walkInsMax = demanding.filter { $0.mode == .throttle }.compactMap(\.maxEntriesPer5min).min()
        }
        // A plate that has a booking anywhere, is inside anywhere or belongs to a user is no misreading.
        book.isKnown =
            claims.windows[question.plate] != nil || claims.insideLots[question.plate] != nil
            || report("", kind: "plateOwner", key: question.plate.revealed) != nil
        book.calendar = calendar
        book.fuzzyCharsMax = policy.fuzzyCharsMax
        book.fuzzyConfidenceMax = policy.fuzzyConfidenceMax
        let black = lists(City.blackKind, at: parkCode) + lists(City.localBlackKind, at: parkCode)
        let time = question.time
        book.isBlack = { plate in black.contains { $0[plate]?.holds(at: time) ?? false } }
        return book
    }

    /// Refuses a car whose place is taken, although it has a right.
    private func refuseTakenPlace(_ decision: inout GateDecision, _ question: GateQuestion, _ lot: Lot, at now: Millis) {
        // A space holds one car: while a car stands in it the next one is refused, even if the next one has a right.
        if decision.verdict == .allow, let number = decision.entry?.orderNo ?? decision.subscription?.authNo,
            let space = lot.reservations[number]?.spaceNo ?? decision.subscription?.spaceNo,
            lot.isTaken(space, except: number, by: question.plate)
        {
            decision.verdict = .refuse
            decision.refusal = .sharedSpaceOccupied
            decision.candidates = []
        }
        // A place that was given back when the car left may be taken by another reservation by now.
        if decision.verdict == .allow, let reservation = decision.entry.flatMap({ lot.reservations[$0.orderNo] }),
            reservation.status == .done,
            let refusal = refuseReturn(of: reservation, at: now)
        {
            decision.verdict = .refuse
            decision.refusal = refusal
        }
    }

    /// The case that people decide: the open one of the same car at the same gate, or a new one; nil where too many are open.
    private mutating func caseNo(
        _ parkCode: String, _ question: GateQuestion, _ decision: GateDecision, at now: Millis, _ events: inout [Event]
    ) -> String? {
        // The same car at the same gate is one case, however often it is asked about.
        if let open = gateCases.values.first(where: {
            $0.parkCode == parkCode && $0.gateCode == question.gateCode && $0.plate == question.plate
                && $0.candidates == decision.candidates && $0.recordNo == nil
                && ($0.state == .open || $0.state == .admittedByRule) && $0.at > now - City.wordMillis
        }) {
            // A picture may come later than the question, and the first one stays.
            if let imageId = question.imageId, open.imageId == nil {
                var open = open
                open.imageId = imageId
                set(.gateCase(open), &events)
            }
            return open.caseNo
        }
        // Young cases have a bound: a lot that asks about ever new readings opens no more cases than a control room can look at.
        let young = gateCases.values.reduce(0) { $0 + ($1.parkCode == parkCode && $1.at > now - City.wordMillis ? 1 : 0) }
        guard young < City.youngCasesMax else { return nil }
        return openCase(parkCode, question, decision, at: now, &events)
    }

    /// Raises the events that an entry shows: tailgating, a car without a plate, the same plate in two lots, a plate on a black list.
    mutating func noteEntry(_ parkCode: String, _ passage: Passage, at now: Millis, _ events: inout [Event]) {
        func notice(_ type: Int, _ detail: String) {
            events.append(
                .notice(
                    LotEvent(parkCode: parkCode, eventType: type, occurredAt: passage.enterTime, recordNo: passage.recordNo, detail: detail)
                ))
        }
        if passage.enterMode == 5 { notice(1006, passage.gateCode) }
        if passage.plate.isVirtual { return notice(1014, passage.plate.revealed) }
        guard passage.plate.isLegal else { return }
        if let other = claims.insideLots[passage.plate]?.subtracting([parkCode]).min() {
            notice(7002, "\(lots[other]?.inside[passage.plate] ?? "") in \(other)")
        }
        if blacklisted(parkCode, passage.plate, at: passage.enterTime) != nil { notice(7001, passage.plate.masked) }
    }

    mutating func noteInside(_ plate: Plate, _ parkCode: String, isInside: Bool) {
        claims.note(plate, inside: parkCode, isInside: isInside)
        noteRefilled(parkCode)
    }
}
