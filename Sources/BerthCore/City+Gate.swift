// At the gate: the decision with everything that the city knows, almost-matches on record, the control room, lists of lots, groups and the city.
extension City {
    /// Whether a plate stands on a list of a lot at a moment.
    public func isListed(_ kind: String, _ parkCode: String, _ plate: Plate, at time: Millis) -> Bool {
        lists[ReportKind(parkCode: parkCode, kind: kind)]?[plate]?.holds(at: time) ?? false
    }

    /// What a kept list entry says, as the rules read it.
    public mutating func restore(list kind: String, _ parkCode: String, _ plate: Plate, _ entry: ListEntry) {
        lists[ReportKind(parkCode: parkCode, kind: kind), default: [:]][plate] = entry
    }

    mutating func check(_ parkCode: String, _ question: GateQuestion, at now: Millis) -> Decision {
        guard let lot = lots[parkCode] else { return Decision(.refused(.lotNotRegistered)) }
        let policy = lot.policy
        var book = GateBook()
        book.subscriptions = Array(lot.subscriptions.values)
        book.isInside = lot.inside[question.plate] != nil
        book.isBlacklisted = isListed(City.blackKind, parkCode, question.plate, at: question.time)
        book.isWhitelisted = isListed(City.whiteKind, parkCode, question.plate, at: question.time)
        book.isExempt = isExempt(question.plate, lot: lot, policy: policy, at: question.time)
        book.flow = flowMode(parkCode, at: now)
        if book.flow == .throttle {
            book.walkIns = lot.walkIns.filter { $0 > now - 5 * CivilTime.minute }.count
            book.walkInsMax = flows(of: parkCode).filter { $0.mode(at: now, calendar) == .throttle }.compactMap(\.maxEntriesPer5min).min()
        }
        book.calendar = calendar
        book.fuzzyCharsMax = policy.fuzzyCharsMax
        book.fuzzyConfidenceMax = policy.fuzzyConfidenceMax
        // The control room's word on this car stands for ten minutes.
        if let decided = gateCases.values.filter({
            $0.parkCode == parkCode && $0.plate == question.plate && $0.state == .admitted && $0.at > now - 10 * CivilTime.minute
        }).max(by: { $0.caseNo < $1.caseNo }) {
            var decision = GateDecision(verdict: .allow, refusal: nil, entry: nil)
            decision.entry = decided.orderNo.flatMap { lot.orders[$0] }.map(AuthorisedEntry.init(order:))
            decision.subscription = decided.orderNo.flatMap { lot.subscriptions[$0] }
            return Decision(.gate(decision, caseNo: decided.caseNo))
        }
        let orders = lot.orders.values.map(AuthorisedEntry.init(order:))
        var decision = GatePolicy.decide(question, orders: orders, book)
        // One space, one car: whoever stands in it keeps the next one out, whatever his right.
        if decision.verdict == .allow, let number = decision.entry?.orderNo ?? decision.subscription?.authNo,
            let space = lot.orders[number]?.spaceNo ?? decision.subscription?.spaceNo, lot.isTaken(space, except: number)
        {
            decision.verdict = .refuse
            decision.refusal = .sharedSpaceOccupied
            decision.candidates = []
        }
        guard !decision.candidates.isEmpty else { return Decision(.gate(decision, caseNo: nil)) }
        // The same car at the same gate is one case, however often it is asked about.
        if let open = gateCases.values.first(where: {
            $0.parkCode == parkCode && $0.gateCode == question.gateCode && $0.plate == question.plate
                && $0.candidates == decision.candidates
                && ($0.state == .open || $0.state == .admittedByRule) && $0.at > now - 10 * CivilTime.minute
        }) {
            return Decision(.gate(decision, caseNo: open.caseNo))
        }
        var events: [Event] = []
        let caseNo = openCase(parkCode, question, decision, at: now, &events)
        return Decision(.gate(decision, caseNo: caseNo), events)
    }

    @discardableResult
    private mutating func openCase(
        _ parkCode: String, _ question: GateQuestion, _ decision: GateDecision, at now: Millis, _ events: inout [Event]
    ) -> String {
        let caseNo = "GC\(CivilTime.pad(now, 13))\(CivilTime.pad(Int64(gateCases.count % 10_000), 4))"
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

    /// Whether a car that was read as `plate` may stand for an order of `plates`: the plate itself, an almost-match that was admitted or that
    /// the rule admits, a car without a plate that showed the order's code.
    func mayStand(_ plate: Plate, for plates: [Plate], orderNo: String, passage: Passage, policy: Policy, parkCode: String) -> Bool {
        if plates.contains(plate) { return true }
        if plate.isVirtual, passage.enterMode == 4 { return true }
        if plates.contains(where: { plate.misreadings(as: $0).map { $0 <= policy.fuzzyCharsMax } ?? false }) { return true }
        return gateCases.values.contains {
            $0.parkCode == parkCode && $0.plate == plate && $0.orderNo == orderNo && $0.state == .admitted
        }
    }

    /// What an entry shows beside itself: tailgating, a car without a plate, the same plate in two lots.
    mutating func noteEntry(_ parkCode: String, _ passage: Passage, at now: Millis, _ events: inout [Event]) {
        func notice(_ type: Int, _ detail: String) {
            events.append(
                .notice(
                    Notice(parkCode: parkCode, eventType: type, occurredAt: passage.enterTime, recordNo: passage.recordNo, detail: detail)))
        }
        if passage.enterMode == 5 { notice(1006, passage.gateCode) }
        if passage.plate.isVirtual { return notice(1014, passage.plate.revealed) }
        if let other = insideLots[passage.plate]?.subtracting([parkCode]).min() {
            notice(7002, "\(lots[other]?.inside[passage.plate] ?? "") in \(other)")
        }
        if isListed(City.blackKind, parkCode, passage.plate, at: passage.enterTime) { notice(7001, passage.plate.masked) }
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

    /// A list entry at one lot, at the lots of its group, or at all of the city; each lot is told through its own log.
    mutating func list(
        _ scope: ListScope, service: String, body: String, kind: String, plate: Plate, _ entry: ListEntry?, kept: String, isExempt: Bool,
        at now: Millis
    ) -> Decision {
        let concerned: [String]
        var asked: String?
        switch scope {
        case .lot(let parkCode):
            guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            concerned = [parkCode]
            asked = parkCode
        case .group(let parkCode):
            guard lots[parkCode] != nil else { return Decision(.refused(.lotNotRegistered)) }
            let group = group(of: parkCode)
            concerned = lots.values.filter { ($0.profile?.group ?? "") == group }.map(\.parkCode).sorted()
            asked = parkCode
        case .city: concerned = lots.keys.sorted()
        }
        var events: [Event] = []
        if isExempt {
            // Filed with the city: it needs no booking anywhere, and every gate in the scope knows it.
            keep(Report(parkCode: "", kind: City.exemptKind, key: plate.revealed, body: entry == nil ? "" : kept, at: now), &events)
            lists[ReportKind(parkCode: "", kind: City.exemptKind), default: [:]][plate] = entry
        }
        var position: (String, Int64)?
        for parkCode in concerned {
            keep(Report(parkCode: parkCode, kind: kind, key: plate.revealed, body: entry == nil ? "" : kept, at: now), &events)
            lists[ReportKind(parkCode: parkCode, kind: kind), default: [:]][plate] = entry
            append(.relay(service: service, body: body), to: parkCode, about: "", at: now, &events)
            if asked == nil || parkCode == asked { position = (lots[parkCode]!.downEpoch!, lots[parkCode]!.downLast) }
        }
        return Decision(.posted(epoch: position?.0 ?? "", seq: position?.1 ?? 0), events)
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
