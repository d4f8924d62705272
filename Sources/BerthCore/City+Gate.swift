// At the gate: the decision with everything that the city knows, almost-matches on record, the control room, lists of lots, groups and the city.
extension City {
    /// Where the entries of a lot stand that concern it: its own, those of its group, those of the city.
    static func listPlaces(_ parkCode: String, group: String) -> [String] { [parkCode, "@\(group)", ""] }

    /// The lists of a kind that hold at a lot.
    private func lists(_ kind: String, at parkCode: String) -> [[Plate: ListEntry]] {
        guard !lists.isEmpty else { return [] }
        return City.listPlaces(parkCode, group: group(of: parkCode)).compactMap { lists[RecordKind(parkCode: $0, kind: kind)] }
    }

    /// Whether a plate stands on a list of a lot, its group or the city at a moment.
    public func isListed(_ kind: String, _ parkCode: String, _ plate: Plate, at time: Millis) -> Bool {
        !lists.isEmpty && lists(kind, at: parkCode).contains { $0[plate]?.holds(at: time) ?? false }
    }

    /// Until when a plate is on a black list that holds at a lot, the lot's own among them; nil when it is on none.
    public func blacklisted(_ parkCode: String, _ plate: Plate, at time: Millis) -> Millis? {
        guard !lists.isEmpty else { return nil }
        return (lists(City.blackKind, at: parkCode) + lists(City.localBlackKind, at: parkCode)).compactMap { list in
            list[plate].flatMap { $0.holds(at: time) ? $0.to : nil }
        }.max()
    }

    /// What a kept list entry says, as the rules read it.
    public mutating func restore(list kind: String, _ place: String, _ plate: Plate, _ entry: ListEntry) {
        lists[RecordKind(parkCode: place, kind: kind), default: [:]][plate] = entry
    }

    mutating func check(_ parkCode: String, _ question: GateQuestion, at now: Millis) -> Decision {
        guard let lot = lots[parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        if !lot.gates.isEmpty, lot.gates[question.gateCode] == nil { return Decision(.refused(.unknownGate)) }
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
        // Who has a booking anywhere, is inside anywhere or is somebody's car is no misreading.
        book.isKnown =
            plateSpans[question.plate] != nil || insideLots[question.plate] != nil
            || report("", kind: "plateOwner", key: question.plate.revealed) != nil
        book.calendar = calendar
        book.fuzzyCharsMax = policy.fuzzyCharsMax
        book.fuzzyConfidenceMax = policy.fuzzyConfidenceMax
        let black = lists(City.blackKind, at: parkCode) + lists(City.localBlackKind, at: parkCode)
        let time = question.time
        book.isBlack = { plate in black.contains { $0[plate]?.holds(at: time) ?? false } }
        let reservations = lot.reservations.values.map(AuthorisedEntry.init(reservation:))
        // The control room's word on this car stands for ten minutes, or until the car is in: on whose right it stands, not whether that holds.
        let word = word(on: question.plate, parkCode, at: now)
        var decision: GateDecision
        if let word, word.state == .admitted, let number = word.orderNo {
            decision = GatePolicy.decide(question, named: number, reservations: reservations, book)
        } else {
            if word?.state == .refused { book.fuzzyCharsMax = 0 }
            decision = GatePolicy.decide(question, reservations: reservations, book)
        }
        // One space, one car: a car that stands in it keeps the next one out, whatever the right of the next one.
        if decision.verdict == .allow, let number = decision.entry?.orderNo ?? decision.subscription?.authNo,
            let space = lot.reservations[number]?.spaceNo ?? decision.subscription?.spaceNo,
            lot.isTaken(space, except: number, by: question.plate)
        {
            decision.verdict = .refuse
            decision.refusal = .sharedSpaceOccupied
            decision.candidates = []
        }
        // A place that was given back when the car left may be somebody else's by now.
        if decision.verdict == .allow, let reservation = decision.entry.flatMap({ lot.reservations[$0.orderNo] }), reservation.status == .done,
            let refusal = refuseReturn(of: reservation, at: now)
        {
            decision.verdict = .refuse
            decision.refusal = refusal
        }
        if decision.refusal == .plateBlacklisted, decision.note == nil {
            decision.note = RuleNote("blackList", until: blacklisted(parkCode, question.plate, at: question.time))
        }
        var events: [Event] = []
        if decision.refusal == .plateBlacklisted, blackSeen[question.plate].map({ now - $0 > CivilTime.minute }) ?? true {
            if blackSeen.count >= City.blackSeenMax { blackSeen.removeAll() }
            blackSeen[question.plate] = now
            events.append(.notice(LotEvent(parkCode: parkCode, eventType: 7001, occurredAt: now, detail: question.plate.masked)))
        }
        if let word { return Decision(.gate(decision, caseNo: word.caseNo), events) }
        guard !decision.candidates.isEmpty else { return Decision(.gate(decision, caseNo: nil), events) }
        // The same car at the same gate is one case, however often it is asked about.
        if let open = gateCases.values.first(where: {
            $0.parkCode == parkCode && $0.gateCode == question.gateCode && $0.plate == question.plate
                && $0.candidates == decision.candidates && $0.recordNo == nil
                && ($0.state == .open || $0.state == .admittedByRule) && $0.at > now - City.wordMillis
        }) {
            return Decision(.gate(decision, caseNo: open.caseNo), events)
        }
        // A lot that asks about ever new readings opens no more cases than a control room can look at.
        let young = gateCases.values.reduce(0) { $0 + ($1.parkCode == parkCode && $1.at > now - City.wordMillis ? 1 : 0) }
        guard young < City.youngCasesMax else { return Decision(.gate(decision, caseNo: nil), events) }
        let caseNo = openCase(parkCode, question, decision, at: now, &events)
        return Decision(.gate(decision, caseNo: caseNo), events)
    }

    /// Cases of one lot that may be younger than ``wordMillis``.
    static let youngCasesMax = 1_000
    /// Plates of which a refused check was told lately.
    static let blackSeenMax = 10_000

    /// How long the control room's word on a car stands.
    static let wordMillis: Millis = 600_000

    /// What the control room said of a car that is not in yet.
    private func word(on plate: Plate, _ parkCode: String, at now: Millis) -> GateCase? {
        gateCases.values.filter {
            $0.parkCode == parkCode && $0.plate == plate && ($0.state == .admitted || $0.state == .refused) && $0.recordNo == nil
                && $0.at > now - City.wordMillis
        }.max { ($0.at, $0.caseNo) < ($1.at, $1.caseNo) }
    }

    @discardableResult
    private mutating func openCase(
        _ parkCode: String, _ question: GateQuestion, _ decision: GateDecision, at now: Millis, _ events: inout [Event]
    ) -> String {
        let caseNo = freshCaseNo(at: now)
        let isAdmitted = decision.verdict == .allow
        set(
            .gateCase(
                GateCase(
                    caseNo: caseNo, parkCode: parkCode, gateCode: question.gateCode, plate: question.plate, at: now,
                    confidence: question.confidence, candidates: decision.candidates, state: isAdmitted ? .admittedByRule : .open,
                    orderNo: isAdmitted ? decision.candidates.first : nil)), &events)
        return caseNo
    }

    mutating func decideCase(_ parkCode: String, _ caseNo: String, orderNo: String?, by: String, at now: Millis) -> Decision {
        guard var gateCase = gateCases[caseNo], gateCase.parkCode == parkCode else { return Decision(.refused(.notFound)) }
        guard gateCase.state == .open else { return Decision(.refused(.wrongState)) }
        if let orderNo, !gateCase.candidates.contains(orderNo) { return Decision(.refused(.orderNotFound)) }
        gateCase.state = orderNo == nil ? .refused : .admitted
        gateCase.orderNo = orderNo
        gateCase.decidedBy = by
        gateCase.at = now
        var events: [Event] = []
        set(.gateCase(gateCase), &events)
        return Decision(.entity(.gateCase(gateCase)), events)
    }

    /// Whether a car that was read as `plate` may stand for an order of `plates`: the plate itself, a car without a plate that showed the order's
    /// code, an almost-match that was admitted, or one that the lot's own box admitted when nobody else was asked.
    func mayStand(_ plate: Plate, for plates: [Plate], orderNo: String, passage: Passage, policy: Policy, parkCode: String) -> Bool {
        if plates.contains(plate) { return true }
        if plate.isVirtual { return passage.enterMode == 4 }
        // The plate could not be read: the lot says whose car it is (section 5.5), unless the control room refused it.
        if !plate.isLegal {
            guard let known = gateCase(of: plate, parkCode, near: passage.enterTime) else { return true }
            return known.orderNo == orderNo && (known.state == .admitted || known.state == .admittedByRule)
        }
        if let known = gateCase(of: plate, parkCode, near: passage.enterTime) {
            return known.orderNo == orderNo && (known.state == .admitted || known.state == .admittedByRule)
        }
        return plates.contains { plate.misreadings(as: $0).map { $0 <= policy.fuzzyCharsMax } ?? false }
    }

    /// The newest case of a reading about the time of an entry, that no other entry has used up.
    private func gateCase(of plate: Plate, _ parkCode: String, near time: Millis) -> GateCase? {
        gateCases.values.filter {
            $0.parkCode == parkCode && $0.plate == plate && $0.recordNo == nil && $0.at > time - City.wordMillis
                && $0.at <= time + City.wordMillis
        }.max { ($0.at, $0.caseNo) < ($1.at, $1.caseNo) }
    }

    /// A car that was admitted under another reading than its order's plate: on record, and the case of it is used up.
    mutating func noteReading(
        _ plates: [Plate], _ orderNo: String, _ passage: Passage, _ parkCode: String, at now: Millis, _ events: inout [Event]
    ) {
        guard !plates.contains(passage.plate), !passage.plate.isVirtual else { return }
        if var known = gateCase(of: passage.plate, parkCode, near: passage.enterTime), known.orderNo == orderNo {
            known.recordNo = passage.recordNo
            set(.gateCase(known), &events)
            return
        }
        var gateCase = GateCase(
            caseNo: freshCaseNo(at: now), parkCode: parkCode, gateCode: passage.gateCode, plate: passage.plate, at: now, confidence: nil,
            candidates: [orderNo], state: .admittedByRule, orderNo: orderNo)
        gateCase.recordNo = passage.recordNo
        set(.gateCase(gateCase), &events)
    }

    private func freshCaseNo(at now: Millis) -> String {
        "GC\(CivilTime.pad(now, 13))\(CivilTime.pad(Int64(gateCases.count % 10_000), 4))"
    }

    /// What an entry shows beside itself: tailgating, a car without a plate, the same plate in two lots.
    mutating func noteEntry(_ parkCode: String, _ passage: Passage, at now: Millis, _ events: inout [Event]) {
        func notice(_ type: Int, _ detail: String) {
            events.append(
                .notice(
                    LotEvent(parkCode: parkCode, eventType: type, occurredAt: passage.enterTime, recordNo: passage.recordNo, detail: detail)))
        }
        if passage.enterMode == 5 { notice(1006, passage.gateCode) }
        if passage.plate.isVirtual { return notice(1014, passage.plate.revealed) }
        guard passage.plate.isLegal else { return }
        if let other = insideLots[passage.plate]?.subtracting([parkCode]).min() {
            notice(7002, "\(lots[other]?.inside[passage.plate] ?? "") in \(other)")
        }
        if blacklisted(parkCode, passage.plate, at: passage.enterTime) != nil { notice(7001, passage.plate.masked) }
    }

    mutating func noteInside(_ plate: Plate, _ parkCode: String, isInside: Bool) {
        if isInside {
            insideLots[plate, default: []].insert(parkCode)
        } else {
            insideLots[plate]?.remove(parkCode)
            if insideLots[plate]?.isEmpty == true { insideLots[plate] = nil }
        }
        noteRefilled(parkCode)
    }

    // MARK: Lists

    /// A list entry of one lot, of its group, or of the city. It is kept where it was made, so that it holds for lots that come later too; each lot
    /// that it concerns is told through its own log.
    mutating func list(
        _ scope: ListScope, service: String, body: String, kind: String, plate: Plate, _ entry: ListEntry?, kept: String, isExempt: Bool,
        at now: Millis
    ) -> Decision {
        let concerned: [String]
        let place: String
        var asked: String?
        switch scope {
        case .lot(let parkCode):
            guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            (concerned, place, asked) = ([parkCode], parkCode, parkCode)
        case .group(let parkCode):
            guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            let group = group(of: parkCode)
            concerned = lots.values.filter { ($0.profile?.group ?? "") == group }.map(\.parkCode).sorted()
            (place, asked) = ("@\(group)", parkCode)
        case .city: (concerned, place) = (lots.keys.sorted(), "")
        }
        var events: [Event] = []
        let kinds = isExempt || lists[RecordKind(parkCode: place, kind: City.exemptKind)]?[plate] != nil ? [kind, City.exemptKind] : [kind]
        for kind in kinds {
            // A filed vehicle is on the white list, and needs no booking.
            let isGone = entry == nil || (kind == City.exemptKind && !isExempt)
            keep(KeptRecord(parkCode: place, kind: kind, key: plate.revealed, body: isGone ? "" : kept, at: now), &events)
            lists[RecordKind(parkCode: place, kind: kind), default: [:]][plate] = isGone ? nil : entry
        }
        var position: (String, Int64)?
        for parkCode in concerned {
            append(.relay(service: service, body: body), to: parkCode, about: "", at: now, &events)
            // A lot keeps one entry a plate: what another scope says for longer is said again.
            let longest = City.listPlaces(parkCode, group: group(of: parkCode)).filter { $0 != place }.compactMap { other in
                lists[RecordKind(parkCode: other, kind: kind)]?[plate].map { (other, $0) }
            }.filter { $0.1.isInForce && now <= $0.1.to }.max { $0.1.to < $1.1.to }
            if let (other, wider) = longest, entry.map({ !$0.isInForce || $0.to < wider.to }) ?? true,
                let report = report(other, kind: kind, key: plate.revealed)
            {
                append(.relay(service: service, body: report.body), to: parkCode, about: "", at: now, &events)
            }
            if asked == nil || parkCode == asked { position = (lots[parkCode]!.downEpoch!, lots[parkCode]!.downLast) }
        }
        return Decision(.posted(epoch: position?.0 ?? "", seq: position?.1 ?? 0), events)
    }

    /// A lot that comes to the city or to a group is told what stands on its lists.
    mutating func tellLists(_ parkCode: String, at now: Millis, _ events: inout [Event]) {
        for kind in [City.blackKind, City.whiteKind] {
            for place in City.listPlaces(parkCode, group: group(of: parkCode)).dropFirst() {
                for report in reports(place, kind: kind) {
                    append(.relay(service: kind, body: report.body), to: parkCode, about: "", at: now, &events)
                }
            }
        }
    }

    /// The entries of a kind that hold at a lot, for its snapshot: the wider ones first, so that the lot's own come last.
    public func listReports(_ parkCode: String, kind: String) -> [KeptRecord] {
        City.listPlaces(parkCode, group: group(of: parkCode)).reversed().flatMap { reports($0, kind: kind) }
    }
}

/// From when to when a list entry holds.
public struct ListEntry: Sendable, Equatable {
    public var isInForce: Bool
    public var from: Millis
    public var to: Millis

    public init(isInForce: Bool, from: Millis, to: Millis) {
        self.isInForce = isInForce
        self.from = from
        self.to = to
    }

    public func holds(at time: Millis) -> Bool { isInForce && from <= time && time <= to }
}
