// Cases of the control room: plates that were almost matched.
extension City {
    /// Cases of one lot that may be younger than ``wordMillis``.
    static let youngCasesMax = 1_000

    /// The time for which the control room's decision on a car holds, ms.
    static let wordMillis: Millis = 600_000

    /// The control room's decision on a car that is not in yet; nil when there is none.
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
        var gateCase = GateCase(
            caseNo: caseNo, parkCode: parkCode, gateCode: question.gateCode, plate: question.plate, at: now,
            confidence: question.confidence, candidates: decision.candidates, state: isAdmitted ? .admittedByRule : .open,
            orderNo: isAdmitted ? decision.candidates.first : nil)
        gateCase.imageId = question.imageId
        set(.gateCase(gateCase), &events)
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

    /// Whether a car that was read as `plate` may use a reservation of `plates`. It may with the plate itself, or without a plate by the
    /// reservation's code. It also may as an almost-match that the control room, the rule or the lot's gateway alone admitted.
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

    /// Records that a car was admitted under another reading than its reservation's plate, and uses up its case.
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
