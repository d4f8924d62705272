import BerthCore
import BerthWire

/// A car inside, by the lot's own record or, after a disk was lost, by the server's.
package struct InsideCar: Sendable, Equatable {
    package var recordNo: String
    /// As the camera read it; it need not be a legal plate (contract 5.5).
    package var plate: Plate
    package var plateColor: Int
    package var enterTime: Int64
    package var gateCode: String
    package var orderNo: String?
    package var carKind: Int
    /// The box learned of it by `recon.inlot.list`.
    package var isFromServer = false

    package init(
        recordNo: String, plate: Plate, plateColor: Int, enterTime: Int64, gateCode: String, orderNo: String?,
        carKind: Int
    ) {
        self.recordNo = recordNo
        self.plate = plate
        self.plateColor = plateColor
        self.enterTime = enterTime
        self.gateCode = gateCode
        self.orderNo = orderNo
        self.carKind = carKind
    }

    /// From a row of the spool, or from an item of `recon.inlot.list`; nil when it lacks a number, a reading or a time in range.
    package init?(json: JSON) {
        guard let recordNo = json["recordNo"]?.stringValue, (1...48).contains(recordNo.unicodeScalars.count),
            let plate = json["plateNo"]?.stringValue.flatMap({ Plate(reading: $0) }),
            let enterTime = json["enterTime"]?.intValue, Bounds.times.contains(enterTime)
        else { return nil }
        func small(_ name: String, _ range: ClosedRange<Int64>, _ fallback: Int) -> Int {
            json[name]?.intValue.flatMap { range.contains($0) ? Int($0) : nil } ?? fallback
        }
        self.init(
            recordNo: recordNo, plate: plate, plateColor: small("plateColor", 0...99, 9), enterTime: enterTime,
            gateCode: json["gateCode"]?.stringValue ?? "", orderNo: json["orderNo"]?.stringValue,
            carKind: small("carKind", 1...9, 1))
        isFromServer = json["fromServer"]?.boolValue ?? false
    }

    package var json: JSON {
        .compact([
            ("recordNo", .string(recordNo)), ("plateNo", .string(plate.revealed)), ("plateColor", .int(plateColor)),
            ("enterTime", .int(enterTime)), ("gateCode", .string(gateCode)), ("orderNo", .optional(orderNo)),
            ("carKind", .int(carKind)), ("fromServer", isFromServer ? true : .null),
        ])
    }
}
