/// The usual filling of a lot on one weekday (section 8): per half hour the change from the day's mean of cars without a reservation.
public struct OccupancyProfile: Sendable, Equatable, Codable {
    public var parkCode: String
    /// 1 Monday … 7 Sunday, as the work calendar sees the day.
    public var weekday: Int
    /// Occupied places expected in each half hour of the day.
    public var occupied: [Int]
    /// The number of days it rests on, at most four.
    public var dayCount: Int
    /// Mean absolute error on days that were held out, per mille of the capacity; nil while there are too few days.
    public var errorPerMille: Int?

    public init(parkCode: String, weekday: Int, occupied: [Int], dayCount: Int, errorPerMille: Int?) {
        self.parkCode = parkCode
        self.weekday = weekday
        self.occupied = occupied
        self.dayCount = dayCount
        self.errorPerMille = errorPerMille
    }
}
