/// An entry or exit as the lot reports it. An exit carries its entry's time too.
public struct Passage: Sendable {
    public var recordNo: String
    public var plate: Plate
    public var gateCode: String
    public var enterTime: Millis
    public var carKind: Int
    public var orderNo: String?
    public var leaveTime: Millis?
    public var exitGateCode: String?
    public var feeFen: Int64
    /// U10 `enterMode`: 4 is a QR code, 5 tailgating.
    public var enterMode = 1
    public var vehicleClass = 0
    /// The payments that the lot took for it (U11 `payments[]`).
    public var payments: [Payment] = []
    /// The lot's count of places after the passage (U10 `remain`).
    public var remain: Remaining?
    /// U11 `leaveKind` 5: the driver left without paying.
    public var isInArrears = false

    public init(
        recordNo: String, plate: Plate, gateCode: String, enterTime: Millis, carKind: Int, orderNo: String?,
        leaveTime: Millis? = nil, exitGateCode: String? = nil, feeFen: Int64 = 0
    ) {
        self.recordNo = recordNo
        self.plate = plate
        self.gateCode = gateCode
        self.enterTime = enterTime
        self.carKind = carKind
        self.orderNo = orderNo
        self.leaveTime = leaveTime
        self.exitGateCode = exitGateCode
        self.feeFen = feeFen
    }
}
