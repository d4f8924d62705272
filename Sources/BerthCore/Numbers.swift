/// The serial numbers that the city gives. A number is given once, also where the decision that took it is undone.
struct Numbers: Sendable {
    enum Series: Int, CaseIterable {
        case reservation
        /// Of offers and subscriptions.
        case share
        case person
        case policyVersion
        case notification
    }

    private(set) var reservation: Int64 = 0
    private(set) var share: Int64 = 0
    private(set) var person: Int64 = 0
    private(set) var policyVersion: Int64 = 0
    private(set) var notification: Int64 = 0

    private static func path(_ series: Series) -> WritableKeyPath<Numbers, Int64> {
        switch series {
        case .reservation: \.reservation
        case .share: \.share
        case .person: \.person
        case .policyVersion: \.policyVersion
        case .notification: \.notification
        }
    }

    /// Gives the next number of a series.
    mutating func next(_ series: Series) -> Int64 {
        self[keyPath: Numbers.path(series)] += 1
        return self[keyPath: Numbers.path(series)]
    }

    /// Notes that a number was given, here or before a start; smaller ones are not given any more.
    mutating func given(_ series: Series, _ number: Int64) {
        self[keyPath: Numbers.path(series)] = max(self[keyPath: Numbers.path(series)], number)
    }
}
