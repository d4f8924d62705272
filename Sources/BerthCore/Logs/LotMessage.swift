/// A lot's statement about a reservation (`order.status.report`).
public enum LotStatement: Int, Sendable {
    case accepted = 2
    case refused = 3
    case arrived = 4
    case left = 5
    case overstay = 6
    case notArrived = 7
    case revoked = 8
}

/// The lot's answer to one entry of the down log.
public struct DownResult: Sendable, Equatable {
    public var seq: Int64
    public var isAccepted: Bool

    public init(seq: Int64, isAccepted: Bool) {
        self.seq = seq
        self.isAccepted = isAccepted
    }
}

/// A message to a lot, before the wire encodes it.
public indirect enum LotMessage: Sendable, Equatable {
    case reserve(Reservation)
    case modify(Reservation)
    case cancel(orderNo: String, orderVer: Int64, CancelType)
    /// D05, D06.
    case authorise(SharedSubscription)
    case revoke(authNo: String, authVer: Int64, reason: String)
    /// D18, with the mode that is demanded now.
    case flow(FlowPolicy, FlowMode)
    /// A message that the core only carries: its service, and its data in canonical JSON.
    case relay(service: String, body: String)

    /// The reservation that the message is about; "" where it is about none.
    public var orderNo: String {
        switch self {
        case .reserve(let reservation), .modify(let reservation): reservation.orderNo
        case .cancel(let orderNo, _, _): orderNo
        case .relay, .authorise, .revoke, .flow: ""
        }
    }
}

/// The reason for which a lot is told to drop a reservation (D03 `cancelType`).
public enum CancelType: Int, Sendable {
    case user = 1
    case breach = 2
    case noShow = 3
    case server = 4
    case appointment = 5
}

/// One entry of a lot's down log.
public struct DownEntry: Sendable, Equatable {
    public var parkCode: String
    public var epoch: String
    public var seq: Int64
    public var at: Millis
    public var message: LotMessage

    public init(parkCode: String, epoch: String, seq: Int64, at: Millis, message: LotMessage) {
        self.parkCode = parkCode
        self.epoch = epoch
        self.seq = seq
        self.at = at
        self.message = message
    }
}
