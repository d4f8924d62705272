import BerthCore
import BerthWire
import Foundation

/// How a lot is shown to those who book and to those who watch.
enum LotView {
    static func detail(_ lot: Lot, _ profile: LotProfile, now: Millis) -> JSON {
        let policy = lot.policy
        return [
            "parkCode": .string(lot.parkCode), "parkName": .string(profile.name), "address": .string(profile.address),
            "regionCode": .string(profile.regionCode), "lng": .string(profile.longitude),
            "lat": .string(profile.latitude), "coordType": .int(profile.coordType), "lotType": .int(profile.lotType),
            "lotClass": .int(profile.lotClass), "totalSpace": .int(profile.totalCount),
            "reserveSpace": .int(lot.quota(.reservation)), "shareSpace": .int(lot.quota(.shared)),
            "publicBizSpace": .int(lot.quota(.publicService)),
            "reserveEnabled": .bool(profile.enabled.contains(.reservation)),
            "shareEnabled": .bool(profile.enabled.contains(.shared)),
            "publicBizEnabled": .bool(profile.enabled.contains(.publicService)),
            "remain": .int(max(0, profile.totalCount - lot.occupied)),
            "reserveRemain": .int(lot.free(.reservation, at: now)), "level": .int(lot.saturation.level),
            "saturationPct": .int(lot.saturation.perMille / 10), "freeMin": .int(profile.freeMin),
            "openHours": .array(
                profile.openHours.map {
                    [
                        "days": .array($0.days.sorted().map { .int($0) }), "start": .string(clock($0.start)),
                        "end": .string(clock($0.end)),
                    ]
                }),
            "policy": [
                "advanceMaxMin": .int(policy.advanceMaxMin), "slotMin": .int(policy.slotMin),
                "earlyMin": .int(policy.earlyMin), "lateMin": .int(policy.lateMin), "stayMin": .int(policy.stayMin),
                "dailyMaxPerUser": .int(policy.dailyMaxPerUser), "dailyMaxPerPlate": .int(policy.dailyMaxPerPlate),
                "cancelMaxPerDay": .int(policy.cancelMaxPerDay), "cancelMaxPerMonth": .int(policy.cancelMaxPerMonth),
                "confirmMode": .string(policy.confirmMode.rawValue),
            ],
            "rulesText": .string(
                "可提前 \(policy.advanceMaxMin) 分钟预约；请在预约时间前 \(policy.earlyMin) 分钟至后 \(policy.lateMin) 分钟内入场；入场时段开始前可免费取消。"),
        ]
    }

    private static func clock(_ minute: Int) -> String { String(format: "%02d:%02d", minute / 60, minute % 60) }

    static func slot(_ slot: Lot.Slot) -> JSON {
        let code = slot.reason.map { Profile.current.code($0.rawValue) }
        return .compact([
            ("start", .int(slot.start)), ("end", .int(slot.end)), ("quota", .int(slot.quota)),
            ("remain", .int(slot.remain)), ("excess", slot.excess > 0 ? .int(slot.excess) : .null), ("price", 0),
            ("full", .bool(slot.isFull)), ("reason", .int(code?.code ?? 0)),
            ("reasonText", code.map { .string($0.zh) } ?? .null),
        ])
    }
}

/// A point on the earth, brought to WGS84 for measuring.
struct Coordinate {
    private let longitude: Double
    private let latitude: Double

    /// - Parameter type: 1 WGS84, 2 GCJ02, 3 BD09 (section 2).
    init(longitude: String, latitude: String, type: Int) {
        var x = Double(longitude) ?? 0
        var y = Double(latitude) ?? 0
        if type == 3 {
            // BD09 → GCJ02, the published inverse.
            let dx = x - 0.0065
            let dy = y - 0.006
            let radius = (dx * dx + dy * dy).squareRoot() - 0.00002 * sin(dy * .pi * 3000 / 180)
            let angle = atan2(dy, dx) - 0.000003 * cos(dx * .pi * 3000 / 180)
            x = radius * cos(angle)
            y = radius * sin(angle)
        }
        if type >= 2 {
            // GCJ02 → WGS84 to a few metres: subtract the offset that the forward transform adds.
            let shift = Coordinate.offset(x, y)
            x -= shift.0
            y -= shift.1
        }
        self.longitude = x
        self.latitude = y
    }

    private static func offset(_ longitude: Double, _ latitude: Double) -> (Double, Double) {
        let x = longitude - 105
        let y = latitude - 35
        func wave(_ v: Double, _ a: Double, _ p: Double, _ b: Double, _ q: Double) -> Double {
            (a * sin(v * .pi / p) + b * sin(v * .pi / q)) * 2 / 3
        }
        let common = (20 * sin(6 * x * .pi) + 20 * sin(2 * x * .pi)) * 2 / 3
        let root = abs(x).squareRoot()
        let north =
            -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root + common + wave(y, 20, 1, 40, 3)
            + wave(y, 160, 12, 320, 30)
        let east =
            300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root + common + wave(x, 20, 1, 40, 3)
            + wave(x, 150, 12, 300, 30)
        let radians = latitude * .pi / 180
        let eccentricity = 0.00669342162296594323
        let magic = 1 - eccentricity * sin(radians) * sin(radians)
        let major = 6_378_245.0
        return (
            east * 180 / (major / magic.squareRoot() * cos(radians) * .pi),
            north * 180 / (major * (1 - eccentricity) / (magic * magic.squareRoot()) * .pi)
        )
    }

    /// Great-circle distance, m.
    func metres(to other: Coordinate) -> Int {
        let degree = Double.pi / 180
        let dLat = (other.latitude - latitude) * degree
        let dLon = (other.longitude - longitude) * degree
        let a =
            sin(dLat / 2) * sin(dLat / 2) + cos(latitude * degree) * cos(other.latitude * degree) * sin(dLon / 2)
            * sin(dLon / 2)
        return Int(6_371_000 * 2 * atan2(a.squareRoot(), (1 - a).squareRoot()))
    }
}
