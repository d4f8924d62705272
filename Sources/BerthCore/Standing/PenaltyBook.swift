/// Penalties and the appeals against them. A penalty counts for a year and can be undone for as long as records are taken.
struct PenaltyBook: Sendable {
    private(set) var penalties: TextTable<Penalty> = [:]
    private(set) var appeals: TextTable<Appeal> = [:]

    mutating func keep(_ penalty: Penalty) { penalties[penalty.penaltyId] = penalty }
    mutating func keep(_ appeal: Appeal) { appeals[appeal.appealId] = appeal }

    /// Removes what was decided in vain.
    mutating func remove(_ penalty: Penalty) { penalties[penalty.penaltyId] = nil }
    mutating func remove(_ appeal: Appeal) { appeals[appeal.appealId] = nil }

    mutating func forgetPenalties(madeBefore time: Millis) { penalties = penalties.filter { $0.value.at >= time } }
    mutating func forgetAppeals(madeBefore time: Millis) { appeals = appeals.filter { $0.value.createdAt >= time } }
}
