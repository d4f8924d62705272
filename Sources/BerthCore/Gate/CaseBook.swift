/// Cases that people at the gates decide, and refused checks that were reported lately.
struct CaseBook: Sendable {
    private(set) var cases: TextTable<GateCase> = [:]
    /// The time of the last event 7001 for a refused check, by plate: a waiting car is reported once a minute.
    private var refusedAt: [Plate: Millis] = [:]
    /// The most plates for which the report of a refused check is remembered.
    private static let refusedMax = 10_000

    mutating func keep(_ gateCase: GateCase) { cases[gateCase.caseNo] = gateCase }
    /// Removes a case that was decided in vain.
    mutating func remove(_ gateCase: GateCase) { cases[gateCase.caseNo] = nil }
    mutating func forget(where isOver: (GateCase) -> Bool) { cases = cases.filter { !isOver($0.value) } }

    /// Whether a refused check of a plate is to be reported now; it is noted then.
    mutating func isNews(refused plate: Plate, at now: Millis) -> Bool {
        guard refusedAt[plate].map({ now - $0 > CivilTime.minute }) ?? true else { return false }
        if refusedAt.count >= CaseBook.refusedMax { refusedAt.removeAll() }
        refusedAt[plate] = now
        return true
    }
}
