/// The numbers of a lot that its operator watches, at one moment.
public struct LotBoard: Sendable, Equatable {
    /// Cars inside by the lot's own records.
    public var inside = 0
    /// Places taken: cars inside, or what the lot counts where that is more.
    public var occupied = 0
    /// Reservations whose cars have not come, and those due within 30 and 60 minutes.
    public var booked = 0
    public var due30 = 0
    public var due60 = 0
    public var waiting = 0
    /// Shared places in use, by reservations and subscribers.
    public var sharedInside = 0
    /// Reservations whose cars stay beyond their time, and those of them whose place is wanted within the hour.
    public var overstays = 0
    public var endangering = 0
    public var offersToReview = 0
    public var subscriptionsToReview = 0
    /// Places booked beyond the quota of the pools.
    public var excess = 0
}

extension Lot {
    /// The lot is advanced to `now` before.
    public func board(at now: Millis) -> LotBoard {
        var board = LotBoard()
        board.inside = inside.count
        board.occupied = occupied
        let hour = 60 * CivilTime.minute
        let wanted = Set(
            reservations.values.filter { $0.status == .booked && $0.enterStart <= now + hour }.compactMap(\.spaceNo))
        for reservation in reservations.values {
            switch reservation.status {
            case .booked, .held:
                board.booked += 1
                if reservation.planTime <= now + hour / 2 { board.due30 += 1 }
                if reservation.planTime <= now + hour { board.due60 += 1 }
            case .inLot:
                if reservation.purpose == .shared { board.sharedInside += 1 }
                if reservation.overstay {
                    board.overstays += 1
                    if let space = reservation.spaceNo, wanted.contains(space) { board.endangering += 1 }
                }
            case .waitlisted: board.waiting += 1
            default: break
            }
        }
        board.sharedInside += subscriptions.values.count { $0.insidePlate != nil }
        board.offersToReview = offers.values.count { $0.status == .underReview }
        board.subscriptionsToReview = subscriptions.values.count { $0.status == .pending && $0.billNo == nil }
        board.excess = Pool.allCases.reduce(0) { $0 + excess($1, at: now) }
        return board
    }
}
