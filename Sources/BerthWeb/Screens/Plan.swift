import BerthCore
import BerthWire

/// A driver's plan: the business, the arrival, the length of the stay. The addresses of pages carry it.
struct Plan: Sendable {
    var purpose: Int64
    /// ms; not before now.
    var arrive: Int64
    var stayMin: Int64
    /// The arrival was chosen, and is not the default.
    var isChosen: Bool

    static let stays: [Int64] = [30, 60, 120, 180, 240, 480, 720]

    init(_ web: WebRequest) {
        purpose = web.number("biz", in: 1...3) ?? 1
        stayMin = web.number("stay", in: 15...10_080) ?? 120
        let step: Int64 = 5 * 60_000
        let fallback = (web.now + 15 * 60_000 + step - 1) / step * step
        if let time = Plan.time(web.text("day", max: 10), web.text("at", max: 5), now: web.now) {
            // A minute that has just passed is now.
            arrive = max(time, web.now)
            isChosen = true
        } else {
            arrive = fallback
            isChosen = false
        }
    }

    /// A day `yyyy-MM-dd` (today when it is empty) and a time `HH:mm` → ms; nil where they are none.
    static func time(_ day: String, _ clock: String, now: Int64) -> Int64? {
        let parts = clock.split(separator: ":")
        guard parts.count == 2, let hour = Int64(parts[0]), let minute = Int64(parts[1]), (0..<24).contains(hour), (0..<60).contains(minute)
        else { return nil }
        guard let number = day.isEmpty ? CivilTime.day(of: now) : Plan.day(day) else { return nil }
        return CivilTime.start(ofDay: number) + (hour * 60 + minute) * 60_000
    }

    static func day(_ text: String) -> Int64? {
        let parts = text.split(separator: "-").compactMap { Int64($0) }
        guard parts.count == 3 else { return nil }
        return CivilTime.day(year: parts[0], month: parts[1], day: parts[2])
    }

    /// The members of an address that keep the plan.
    func query(_ format: Format, purpose: Int64? = nil, at time: Int64? = nil) -> String {
        let time = time ?? arrive
        return
            "biz=\(purpose ?? self.purpose)&day=\(CivilTime.text(ofDay: CivilTime.day(of: time)))&at=\(format.clock(time))&stay=\(stayMin)"
    }

    func view(_ format: Format) -> JSON {
        [
            "biz": .int(purpose), "day": .string(CivilTime.text(ofDay: CivilTime.day(of: arrive))), "at": .string(format.clock(arrive)),
            "when": .string(format.time(arrive)), "stay": .int(stayMin), "stayText": .string(format.duration(stayMin)),
            "stays": .array(
                (Plan.stays.contains(stayMin) ? Plan.stays : (Plan.stays + [stayMin]).sorted()).map {
                    ["value": .int($0), "text": .string(format.duration($0)), "isOn": .bool($0 == stayMin)]
                }),
            "isReserve": .bool(purpose == 1), "isShare": .bool(purpose == 2), "isPublic": .bool(purpose == 3),
        ]
    }
}
