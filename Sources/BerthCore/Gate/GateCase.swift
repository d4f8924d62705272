/// A car at a gate that the control room must look at, or that a rule admitted although its plate was read differently.
public struct GateCase: Sendable, Equatable, Codable {
    public enum State: String, Sendable, Codable {
        /// One candidate: admitted by the rule of almost-matches.
        case admittedByRule
        /// Several: the control room decides.
        case open
        case admitted
        case refused
    }

    public var caseNo: String
    public var parkCode: String
    public var gateCode: String
    public var plate: Plate
    public var at: Millis
    public var confidence: Int?
    /// Reservations or subscriptions whose plates a camera could have read like this.
    public var candidates: [String]
    public var state: State
    public var orderNo: String?
    public var decidedBy: String?
    /// The entry that it led to; afterwards it says nothing about the next car of that reading.
    public var recordNo: String?
    /// The picture of the car, where the lot has sent one (U18).
    public var imageId: String?

    public init(
        caseNo: String, parkCode: String, gateCode: String, plate: Plate, at: Millis, confidence: Int?, candidates: [String], state: State,
        orderNo: String?
    ) {
        self.caseNo = caseNo
        self.parkCode = parkCode
        self.gateCode = gateCode
        self.plate = plate
        self.at = at
        self.confidence = confidence
        self.candidates = candidates
        self.state = state
        self.orderNo = orderNo
    }
}
