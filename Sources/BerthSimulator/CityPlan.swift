public import BerthWire
import Foundation

/// One lot of the demo city, before it is registered.
public struct PlannedLot: Sendable, Equatable {
    public enum Kind: String, Sendable, CaseIterable { case hospital, school, scenic, venue, office, mall, residence }

    public var parkCode: String
    public var name: String
    public var address: String
    public var latitude: String
    public var longitude: String
    public var capacity: Int
    public var kind: Kind
    public var isShared: Bool

    /// `lotType` of U03.
    var lotType: Int {
        switch kind {
        case .hospital: 4
        case .school: 5
        case .scenic: 11
        case .venue: 10
        case .office: 2
        case .mall: 3
        case .residence: 1
        }
    }

    /// The body of `lot.info.report`.
    public var info: JSON {
        let open = max(1, capacity * (isShared ? 25 : 30) / 100)
        return [
            "parkCode": .string(parkCode), "parkName": .string(name), "address": .string(address),
            "regionCode": .string(regionCode), "lng": .string(longitude), "lat": .string(latitude), "coordType": 1,
            "lotType": .int(lotType), "lotClass": 2, "totalSpace": .int(capacity),
            "reserveSpace": .int(isShared ? 0 : open), "shareSpace": .int(isShared ? open : 0),
            // A hospital keeps a tenth of its places for those who have an appointment.
            "publicBizSpace": .int(kind == .hospital && !isShared ? max(1, capacity / 10) : 0),
            "reserveEnabled": .bool(!isShared), "shareEnabled": .bool(isShared),
            "publicBizEnabled": .bool(kind == .hospital && !isShared), "operatorName": .string("\(kind)"),
            "freeMin": 15, "leaveBufferMin": 15, "offlineCapable": true, "servicePhone": "0755-88880000",
            "vendor": .string(["捷停", "云泊", "安行"][capacity % 3]), "softVersion": "5.2",
            "limits": ["maxHeightMm": .int(2000 + capacity % 5 * 100)],
            "openHours": [["days": [1, 2, 3, 4, 5, 6, 7], "start": "00:00", "end": "24:00"]],
        ]
    }

    public var gates: JSON {
        [
            ["gateCode": "G1", "gateName": "1 号入口", "direction": 1, "cameraCount": 1, "remoteControl": true],
            ["gateCode": "G2", "gateName": "1 号出口", "direction": 2, "cameraCount": 1, "remoteControl": true],
        ]
    }

    /// The district that its address or name says; Nanshan where neither does.
    private var regionCode: String {
        let districts = [
            ("福田", "440304"), ("罗湖", "440303"), ("宝安", "440306"), ("龙岗", "440307"), ("龙华", "440309"), ("盐田", "440308"), ("坪山", "440310"),
            ("光明", "440311"), ("大鹏", "440343"),
        ]
        return districts.first { address.contains($0.0) || name.contains($0.0) }?.1 ?? "440305"
    }

    /// The body of `lot.tariff.report`: by the hour, with a cap for a day.
    var tariff: JSON {
        let step: Int64 = kind == .hospital ? 500 : kind == .scenic || kind == .venue ? 1000 : 600
        return [
            "tariffId": "T1", "effectiveFrom": 1_700_000_000_000, "bizType": 1, "vehicleClass": 1,
            "rules": [
                [
                    "days": [1, 2, 3, 4, 5, 6, 7], "start": "00:00", "end": "24:00", "freeMin": 15, "stepMin": 60, "stepFee": .int(step),
                    "durStartMin": 0, "durEndMin": -1,
                ]
            ], "dailyCap": .int(step * 10),
            "text": .string("前 15 分钟免费，每小时 \(step / 100) 元，每日最高 \(step / 10) 元"),
        ]
    }
}

/// A repeatable source of randomness (SplitMix64): the same seed makes the same city.
struct Seeded: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// The city that an empty data folder is filled with, in the proportions of Shenzhen in May 2022 (the seed document):
/// 653 lots, 496 for reservation and 157 for off-peak sharing; among them 17 hospitals, 12 schools, 3 scenic areas, 3 venues.
public enum CityPlan {
    public static let lotCount = 653
    public static let sharedCount = 157
    static let special: [(PlannedLot.Kind, Int)] = [(.hospital, 17), (.school, 12), (.scenic, 3), (.venue, 3)]

    private static let districts: [(name: String, latitude: Double, longitude: Double, weight: Int)] = [
        ("福田", 22.541, 114.055, 18), ("罗湖", 22.555, 114.125, 13), ("南山", 22.533, 113.935, 18), ("宝安", 22.575, 113.885, 16),
        ("龙岗", 22.720, 114.245, 14), ("龙华", 22.655, 114.030, 10), ("盐田", 22.560, 114.240, 4), ("坪山", 22.690, 114.345, 3),
        ("光明", 22.750, 113.935, 4),
    ]

    private static let words: [PlannedLot.Kind: String] = [
        .hospital: "医院", .school: "学校", .scenic: "公园", .venue: "体育馆", .office: "大厦", .mall: "商场", .residence: "花园",
    ]

    /// An invented city: no real names.
    public static func invented(count: Int = lotCount, seed: UInt64 = 2022) -> [PlannedLot] {
        let count = max(0, count)
        var random = Seeded(seed)
        var kinds: [PlannedLot.Kind] = special.flatMap { Array(repeating: $0.0, count: $0.1) }
        while kinds.count < count { kinds.append([.office, .mall, .residence].randomElement(using: &random)!) }
        kinds = Array(kinds.prefix(count))
        var numbers: [String: Int] = [:]
        return finish(
            kinds.enumerated().map { index, kind in
                var pick = Int.random(in: 0..<districts.reduce(0) { $0 + $1.weight }, using: &random)
                let district = districts.first {
                    pick -= $0.weight; return pick < 0
                }!
                func scatter(_ width: Double) -> Double {
                    (0..<4).reduce(0.0) { sum, _ in sum + Double.random(in: -width...width, using: &random) } / 2
                }
                let key = district.name + words[kind]!
                numbers[key, default: 0] += 1
                return PlannedLot(
                    parkCode: "SZ\(String(format: "%05d", index + 1))", name: "\(district.name)\(numbers[key]!)号\(words[kind]!)停车场",
                    address: "深圳市\(district.name)区（模拟）", latitude: String(format: "%.6f", district.latitude + scatter(0.028)),
                    longitude: String(format: "%.6f", district.longitude + scatter(0.04)),
                    capacity: capacity(kind, &random), kind: kind, isShared: false)
            })
    }

    /// The lot at whose gate plates are misread: the largest mall, which has room for the reservations of all incidents.
    static func gateLot(of lots: [PlannedLot]) -> PlannedLot? {
        let open = lots.filter { !$0.isShared }
        return (open.filter { $0.kind == .mall }.max { $0.capacity < $1.capacity }) ?? open.max { $0.capacity < $1.capacity }
    }

    private static func capacity(_ kind: PlannedLot.Kind, _ random: inout Seeded) -> Int {
        switch kind {
        case .hospital: Int.random(in: 300...1200, using: &random)
        case .scenic, .venue: Int.random(in: 400...1500, using: &random)
        case .school: Int.random(in: 60...200, using: &random)
        default: Int.random(in: 60...500, using: &random)
        }
    }

    /// Which lots share: ordinary ones, spread over the list, in Shenzhen's proportion.
    private static func finish(_ lots: [PlannedLot]) -> [PlannedLot] {
        var lots = lots
        let wanted = lots.count * sharedCount / lotCount
        let ordinary = lots.indices.filter { [.office, .residence, .mall].contains(lots[$0].kind) }
        guard wanted > 0, !ordinary.isEmpty else { return lots }
        for number in 0..<min(wanted, ordinary.count) { lots[ordinary[number * ordinary.count / wanted]].isShared = true }
        return lots
    }

    /// The kind of a lot by the words in its name.
    static func kind(of name: String) -> PlannedLot.Kind? {
        let signs: [(PlannedLot.Kind, [String])] = [
            (.hospital, ["医院", "妇幼", "门诊"]), (.school, ["学校", "小学", "中学", "大学", "学院"]),
            (.scenic, ["公园", "景区", "风景", "植物园", "海滨"]), (.venue, ["体育", "场馆", "剧院", "图书馆", "博物", "会展"]),
        ]
        return signs.first { $0.1.contains { name.contains($0) } }?.0
    }

    /// The city made of real lots: the special ones by what their names say, the rest spread evenly over the file.
    public static func chosen(from rows: [LotsFile.Row], count: Int = lotCount) -> [PlannedLot] {
        var random = Seeded(2022)
        var taken: Set<Int> = []
        var picks: [(row: Int, kind: PlannedLot.Kind)] = []
        func spread(_ candidates: [Int], _ wanted: Int, _ kind: (Int) -> PlannedLot.Kind) {
            let wanted = min(wanted, candidates.count)
            for number in 0..<wanted {
                let index = candidates[number * candidates.count / wanted]
                taken.insert(index)
                picks.append((index, kind(index)))
            }
        }
        for (wanted, number) in special {
            spread(rows.indices.filter { kind(of: rows[$0].name) == wanted }, number) { _ in wanted }
        }
        let ordinary = rows.indices.filter { !taken.contains($0) && kind(of: rows[$0].name) == nil }
        spread(ordinary, max(0, count - picks.count)) { index in
            let name = rows[index].name
            return name.contains("花园") || name.contains("村") || name.contains("苑")
                ? .residence : name.contains("广场") || name.contains("商") ? .mall : .office
        }
        return finish(
            picks.prefix(count).map { pick in
                let row = rows[pick.row]
                return PlannedLot(
                    parkCode: "SZ\(row.id)", name: row.name, address: row.address, latitude: row.latitude,
                    longitude: row.longitude, capacity: row.capacity ?? capacity(pick.kind, &random), kind: pick.kind,
                    isShared: false)
            })
    }
}
