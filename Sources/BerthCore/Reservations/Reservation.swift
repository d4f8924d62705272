/// States of a reservation (interface.md, section 6). The raw values are the contract's codes.
public enum ReservationStatus: Int, Sendable, CaseIterable {
    case held = 0
    case booked = 1
    case inLot = 2
    case done = 3
    case cancelled = 4
    case cancelledBreach = 5
    case rejected = 6
    case noShow = 7
    case revoked = 8
    case waitlisted = 9
    case waitlistFailed = 10

    /// Whether the reservation still holds, or may hold, a place.
    public var isActive: Bool { self == .held || self == .booked || self == .inLot }
    /// Whether it is active or waits for a place.
    public var isOpen: Bool { isActive || self == .waitlisted }
}

/// The delivery state of a reservation's latest message to the lot (section 6).
public enum DeliverStatus: Int, Sendable {
    case new = 0
    case sent = 1
    case accepted = 2
    case refused = 3
    case expired = 4
    case notNeeded = 5
}

/// The fields of a reservation; read and changed through ``Reservation``.
public struct ReservationFields: Sendable, Equatable {
    public var serial: Int64
    public var orderNo: String
    public var orderVer: Int64 = 1
    /// The version that the lot was told last; the lot's own list has this one.
    public var pushedVer: Int64 = 1
    public var clientOrderNo: String
    /// canon(data) of the request that made it, hashed: tells a repeat from a reused key.
    public var requestHash: String
    public var appId: String
    public var userToken: String
    public var parkCode: String
    public var purpose: Purpose
    public var plate: Plate
    public var plateColor: Int
    public var mobile: String
    public var extNo: String?
    public var planTime: Millis
    public var enterStart: Millis
    public var enterEnd: Millis
    public var leaveDeadline: Millis?
    public var stayMin: Int
    public var entryLimit: Int
    public var status: ReservationStatus
    public var deliver: DeliverStatus = .new
    /// Position of the reservation's latest message in the lot's down log.
    public var downSeq: Int64 = 0
    public var holdDeadline: Millis?
    public var createdAt: Millis
    public var changedAt: Millis
    /// The one extension of its entry window has been used (A08).
    public var isDelayed = false
    public var plateChanges = 0
    public var entriesUsed = 0
    public var recordNo: String?
    public var enterTime: Millis?
    public var leaveTime: Millis?
    public var overstay = false
    /// The penalty of a no-show is in the user's counters; a late record can take it back.
    public var isPenalised = false
    /// The lot or the city took it back without the user's fault: compensation is due (state 8).
    public var isCompensated = false
    /// The pool whose quota it counts against.
    public var pool: Pool
    public var terms = Terms()
    /// Further plates that may come in its place; the first to enter takes it.
    public var otherPlates: [Plate] = []
    /// The individual space that it has, of an offer or of the lot.
    public var spaceNo: String?
    public var offerId: String?
    /// The reservation that it was re-homed from, and the one that it was re-homed to, because the place was still taken.
    public var rehomedFrom: String?
    public var rehomedTo: String?
    /// The extra cost of re-homing, borne by the account named.
    public var discountFen: Int64 = 0
    public var discountBy: String?
    /// The bill for the deposit that makes it certain, and the payment of it.
    public var billNo: String?
    public var prepayNo: String?
    /// The driver has been reminded that the time is nearly up.
    public var isWarned = false
    /// The driver's late departure has been counted.
    public var isLate = false
    /// Daily quotas (R5) that it is counted in.
    public var quotaKeys: [String] = []
    /// A record of its car in its window was refused: it is not known whether the driver came, and they get no penalty.
    public var isDisputed = false
    /// The payment state of the stay itself: 0 nothing due, 1 unpaid, 2 paid, 3 refunded, 4 in arrears (section 6, `payState`).
    public var stayPayState = 0
    /// The time at which it got a place from the waitlist.
    public var promotedAt: Millis?
    /// The time and the reason of an end without a stay, by the names of `EndReason`. A record that disproves the end leaves them.
    public var endedAt: Millis?
    public var endReason: String?

    public init(
        serial: Int64, orderNo: String, clientOrderNo: String, requestHash: String, appId: String, userToken: String,
        parkCode: String, purpose: Purpose, plate: Plate, plateColor: Int, mobile: String, extNo: String?,
        planTime: Millis, enterStart: Millis, enterEnd: Millis, leaveDeadline: Millis?, stayMin: Int, entryLimit: Int,
        status: ReservationStatus, createdAt: Millis
    ) {
        self.serial = serial
        self.orderNo = orderNo
        self.clientOrderNo = clientOrderNo
        self.requestHash = requestHash
        self.appId = appId
        self.userToken = userToken
        self.parkCode = parkCode
        self.purpose = purpose
        pool = purpose.pool
        self.plate = plate
        self.plateColor = plateColor
        self.mobile = mobile
        self.extNo = extNo
        self.planTime = planTime
        self.enterStart = enterStart
        self.enterEnd = enterEnd
        self.leaveDeadline = leaveDeadline
        self.stayMin = stayMin
        self.entryLimit = entryLimit
        self.status = status
        self.createdAt = createdAt
        changedAt = createdAt
    }
}

/// A reservation (预约停车), with the terms under which it was made.
///
/// It is a large value that the lot, the events and the answer share. It is stored once, and copied when one of them changes its own.
@dynamicMemberLookup
public struct Reservation: Sendable, Equatable, CustomStringConvertible {
    @usableFromInline var box: Box

    /// Never changed while two hold it; therefore it may cross threads, and its accesses cannot overlap.
    @usableFromInline final class Box: @unchecked Sendable {
        @usableFromInline @exclusivity(unchecked) var fields: ReservationFields
        @usableFromInline init(_ fields: consuming ReservationFields) { self.fields = fields }
    }

    @inlinable public subscript<Value>(dynamicMember path: WritableKeyPath<ReservationFields, Value>) -> Value {
        get { box.fields[keyPath: path] }
        _modify {
            if !isKnownUniquelyReferenced(&box) { box = Box(box.fields) }
            yield &box.fields[keyPath: path]
        }
    }

    public static func == (left: Reservation, right: Reservation) -> Bool { left.box === right.box || left.box.fields == right.box.fields }
    public var description: String { "\(box.fields)" }

    /// The serial number with which an order number ends; nil when it is no order number of this system.
    public static func serial(in orderNo: String) -> Int64? {
        let bytes = orderNo.utf8
        guard bytes.count >= 12 else { return nil }
        var serial: Int64 = 0
        for byte in bytes.suffix(10) {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            serial = serial * 10 + Int64(byte - UInt8(ascii: "0"))
        }
        return serial
    }

    public var plates: [Plate] { self.otherPlates.isEmpty ? [self.plate] : [self.plate] + self.otherPlates }
    public func speaks(for plate: Plate) -> Bool { self.plate == plate || self.otherPlates.contains(plate) }

    /// The time until which a place is held for it, while the car is not yet in.
    public var expectedLeave: Millis { self.leaveDeadline ?? self.planTime + Millis(self.stayMin) * CivilTime.minute }

    public init(
        serial: Int64, orderNo: String, clientOrderNo: String, requestHash: String, appId: String, userToken: String,
        parkCode: String, purpose: Purpose, plate: Plate, plateColor: Int, mobile: String, extNo: String?,
        planTime: Millis, enterStart: Millis, enterEnd: Millis, leaveDeadline: Millis?, stayMin: Int, entryLimit: Int,
        status: ReservationStatus, createdAt: Millis
    ) {
        box = Box(
            ReservationFields(
                serial: serial, orderNo: orderNo, clientOrderNo: clientOrderNo, requestHash: requestHash, appId: appId,
                userToken: userToken, parkCode: parkCode, purpose: purpose, plate: plate, plateColor: plateColor, mobile: mobile,
                extNo: extNo, planTime: planTime, enterStart: enterStart, enterEnd: enterEnd, leaveDeadline: leaveDeadline,
                stayMin: stayMin, entryLimit: entryLimit, status: status, createdAt: createdAt))
    }
}

/// One stay of one car, from entry to exit, under the lot's `recordNo`.
public struct Visit: Sendable, Equatable {
    public var parkCode: String
    public var recordNo: String
    public var plate: Plate
    public var enterTime: Millis
    public var gateCode: String
    public var carKind: Int
    public var orderNo: String?
    public var leaveTime: Millis?
    public var exitGateCode: String?
    public var feeFen: Int64 = 0
    /// U10 `vehicleClass`; 0 where it is not known.
    public var vehicleClass = 0
    /// Corrected away (U13): it happened in another record, or not at all.
    public var isVoid = false
    /// The amount paid for it through the city, less refunds, fen.
    public var paidFen: Int64 = 0
    /// The time of the last payment.
    public var paidAt: Millis?
    /// The part of the fee that another party bore, fen: the compensation of a re-homed reservation, used once.
    public var compensatedFen: Int64 = 0
    /// The entry time as the lot reported it, where it lay too far ahead (section 5.5).
    public var reportedEnterTime: Millis?
    /// Its exit was never reported: a later entry of the plate closed it at its last proof.
    public var isExitMissed = false
    /// The car left without paying what the lot asked for (U11 `leaveKind` 5).
    public var isInArrears = false

    /// The key of its car in the list of cars inside. A reading that is no plate may be that of several cars, so it gets a key of its own.
    var insideKey: Plate { Visit.insideKey(plate, recordNo) }

    static func insideKey(_ plate: Plate, _ recordNo: String) -> Plate {
        plate.isLegal ? plate : Plate(reading: "?" + String(recordNo.fingerprint >> 4, radix: 36, uppercase: true)) ?? plate
    }

    public init(
        parkCode: String, recordNo: String, plate: Plate, enterTime: Millis, gateCode: String, carKind: Int,
        orderNo: String?
    ) {
        self.parkCode = parkCode
        self.recordNo = recordNo
        self.plate = plate
        self.enterTime = enterTime
        self.gateCode = gateCode
        self.carKind = carKind
        self.orderNo = orderNo
    }
}
