/// An appointment of a hospital or government hall (A16). Of the person only a pseudonym is kept.
public struct Appointment: Sendable, Equatable, Codable {
    public enum State: String, Sendable, Codable { case made, booked, used, cancelled }

    public var extNo: String
    public var appId: String
    public var bizCode: String
    public var placeCode: String
    public var appointTime: Millis
    public var personToken: String
    public var plate: Plate?
    public var state: State = .made
    /// The lot at which a place of the reserved quota is kept for it; nil when the quota was used up.
    public var parkCode: String?
    /// The times under which that place is kept; a later change of the policy does not change them.
    public var terms: RightTerms?
    public var orderNo: String?
    public var createdAt: Millis

    public init(
        extNo: String, appId: String, bizCode: String, placeCode: String, appointTime: Millis, personToken: String, plate: Plate?,
        createdAt: Millis
    ) {
        self.extNo = extNo
        self.appId = appId
        self.bizCode = bizCode
        self.placeCode = placeCode
        self.appointTime = appointTime
        self.personToken = personToken
        self.plate = plate
        self.createdAt = createdAt
    }
}

/// The entry window of an appointment and the length of its stay, minutes.
public struct RightTerms: Sendable, Equatable, Codable {
    /// Minutes before the appointment from which the driver may enter.
    public var beforeMin: Int
    /// Minutes after the appointment until which the driver may enter.
    public var afterMin: Int
    /// Minutes that the driver may stay, from the booked time.
    public var stayMin: Int

    public init(_ policy: Policy) {
        beforeMin = policy.bizBeforeMin
        afterMin = policy.bizAfterMin
        stayMin = policy.bizStayMin
    }
}

/// A hospital or hall, and the lots at which its visitors park, the nearest first.
public struct PublicPlace: Sendable, Equatable, Codable {
    public var placeCode: String
    public var name: String
    public var parkCodes: [String]

    public init(placeCode: String, name: String, parkCodes: [String]) {
        self.placeCode = placeCode
        self.name = name
        self.parkCodes = parkCodes
    }
}
