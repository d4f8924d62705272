public import BerthCore
import BerthWire
import Foundation

/// The audit records that somebody looks for; nil for every value.
public struct AuditFilter: Sendable {
    public var actor: String?
    /// The action, or its beginning.
    public var action: String?
    public var target: String?
    /// Stands anywhere in the detail or the target.
    public var text: String?
    /// The person behind the pages of a party: stands anywhere in the detail.
    public var person: String?
    /// ms; `to` is exclusive.
    public var from: Millis = 0
    public var to: Millis = .max
    /// Only records with a smaller number.
    public var before: Int64 = .max
    public var limit = 50

    public init() {}

    func matches(_ record: AuditRecord) -> Bool {
        (actor.map { $0 == record.actor } ?? true) && (action.map { record.action.utf8.starts(with: $0.utf8) } ?? true)
            && (target.map { $0 == record.target } ?? true)
            && (person.map { record.detail.contains($0) } ?? true)
            && (text.map { record.detail.contains($0) || record.target.contains($0) } ?? true) && record.at >= from && record.at < to
            && record.id < before
    }
}

/// The reservations that a list asks for; newest first.
public struct ReservationFilter: Sendable {
    public var appId: String?
    public var parkCode: String?
    public var status: ReservationStatus?
    public var userToken: String?
    public var plate: Plate?
    /// Only orders made before this one.
    public var beforeSerial: Int64
    /// Orders that are passed over first, without being opened.
    public var skip = 0
    public var limit: Int

    public init(
        appId: String? = nil, parkCode: String? = nil, status: ReservationStatus? = nil, userToken: String? = nil, plate: Plate? = nil,
        beforeSerial: Int64 = .max, limit: Int = 50
    ) {
        self.appId = appId
        self.parkCode = parkCode
        self.status = status
        self.userToken = userToken
        self.plate = plate
        self.beforeSerial = beforeSerial
        self.limit = limit
    }

    func admits(_ reservation: Reservation) -> Bool {
        (appId == nil || reservation.appId == appId) && (parkCode == nil || reservation.parkCode == parkCode)
            && (status == nil || reservation.status == status) && (userToken == nil || reservation.userToken == userToken)
            && (plate == nil || reservation.plate == plate) && reservation.serial < beforeSerial
    }
}

/// The events that a list asks for; newest first.
public struct LotEventFilter: Sendable {
    /// nil: of all lots.
    public var parkCode: String?
    public var eventType: Int?
    /// ms since 1970, the end not included.
    public var from: Millis
    public var to: Millis
    /// Only those that were noted before this one.
    public var before: Int64
    public var limit: Int

    public init(
        parkCode: String? = nil, eventType: Int? = nil, from: Millis = 0, to: Millis = .max, before: Int64 = .max, limit: Int = 100
    ) {
        self.parkCode = parkCode
        self.eventType = eventType
        self.from = from
        self.to = to
        self.before = before
        self.limit = limit
    }

    func admits(_ notice: LotEvent) -> Bool {
        (parkCode == nil || notice.parkCode == parkCode) && (eventType == nil || notice.eventType == eventType) && from <= notice.occurredAt
            && notice.occurredAt < to
    }
}
