/// A charge against a user, and the evidence for it. It is undone with its evidence, or by an appeal.
public struct Penalty: Sendable, Equatable, Codable {
    public enum Kind: String, Sendable, Codable { case noShow, breach, lateDeparture }
    public enum State: String, Sendable, Codable { case inForce, undone }

    public var penaltyId: String
    public var kind: Kind
    public var appId: String
    public var userToken: String
    public var plate: Plate
    public var parkCode: String
    public var group: String
    /// The reservation or subscription.
    public var orderNo: String
    public var at: Millis
    /// The time that the counters charge it to.
    public var chargedAt: Millis
    /// The facts seen: the window and the position of the lot's log, the deadline and the exit.
    public var evidence: String
    public var state: State = .inForce
    public var undoneBy: String?

    public init(
        penaltyId: String, kind: Kind, appId: String, userToken: String, plate: Plate, parkCode: String, group: String, orderNo: String,
        at: Millis, chargedAt: Millis, evidence: String
    ) {
        self.penaltyId = penaltyId
        self.kind = kind
        self.appId = appId
        self.userToken = userToken
        self.plate = plate
        self.parkCode = parkCode
        self.group = group
        self.orderNo = orderNo
        self.at = at
        self.chargedAt = chargedAt
        self.evidence = evidence
    }
}

/// An objection to a penalty (R7): answered within two workdays.
public struct Appeal: Sendable, Equatable, Codable {
    public enum State: String, Sendable, Codable { case open, granted, rejected }

    public var appealId: String
    public var penaltyId: String
    public var appId: String
    public var userToken: String
    public var text: String
    public var images: [String]
    public var createdAt: Millis
    public var answerBy: Millis
    public var state: State = .open
    public var answer: String?
    public var answeredAt: Millis?

    public init(
        appealId: String, penaltyId: String, appId: String, userToken: String, text: String, images: [String], createdAt: Millis,
        answerBy: Millis
    ) {
        self.appealId = appealId
        self.penaltyId = penaltyId
        self.appId = appId
        self.userToken = userToken
        self.text = text
        self.images = images
        self.createdAt = createdAt
        self.answerBy = answerBy
    }
}
