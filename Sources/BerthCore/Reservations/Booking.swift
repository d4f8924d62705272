/// The request of a driver, already decoded.
public struct Booking: Sendable {
    public var appId: String
    public var clientOrderNo: String
    public var requestHash: String
    public var userToken: String
    public var plate: Plate
    public var plateColor: Int
    public var parkCode: String
    public var purpose: Purpose
    public var planTime: Millis
    public var mobile: String
    public var extNo: String?
    /// Whether it waits when there is no place (候补).
    public var waits = false
    public var otherPlates: [Plate] = []
    public var pool: Pool?
    public var offerId: String?
    /// The length of stay in a shared place that the driver asks for, minutes.
    public var stayMin: Int?
    public var seats: Int?
    public var heightMm: Int?
    /// Plate category (section 15.3).
    public var plateType: String?

    public init(
        appId: String, clientOrderNo: String, requestHash: String, userToken: String, plate: Plate, plateColor: Int,
        parkCode: String, purpose: Purpose, planTime: Millis, mobile: String, extNo: String?
    ) {
        self.appId = appId
        self.clientOrderNo = clientOrderNo
        self.requestHash = requestHash
        self.userToken = userToken
        self.plate = plate
        self.plateColor = plateColor
        self.parkCode = parkCode
        self.purpose = purpose
        self.planTime = planTime
        self.mobile = mobile
        self.extNo = extNo
    }
}
