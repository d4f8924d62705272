// Cases of the control room: plates that were almost matched.
extension City {
    /// Cases of one lot that may be younger than ``wordMillis``.
    static let youngCasesMax = 1_000

    /// How long the control room's word on a car stands.
    static let wordMillis: Millis = 600_000

    /// What the control room said of a car that is not in yet.
    func word(on plate: Plate, _ parkCode: String, at now: Millis) -> GateCase? {
        gateCases.values.filter {
            $0.parkCode == parkCode && $0.plate == plate && ($0.state == .admitted || $0.state == .refused) && $0.recordNo == nil
                && $0.at > now - City.wordMillis
        }.max { ($0.at, $0.caseNo) < ($1.at, $1.caseNo) }
    }

    @discardableResult
    mutating func openCase(
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
    func gateCase(of plate: Plate, _ parkCode: String, near time: Millis) -> GateCase? {
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
}
