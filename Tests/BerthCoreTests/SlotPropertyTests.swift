import BerthCore
import Testing

/// `slot.query` says exactly what `order.create` would say (A03): over random opening hours, windows, quotas, policies, offers, flow control and
/// bookings, a slot is full when and only when no time in it can be booked, and what remains is what can be booked.
@Suite struct SlotPropertyTests {
    private static let step = 5 * World.minute

    /// A lot as chance makes it, at some time of a day.
    private static func street(_ random: inout Seeded, _ purpose: Purpose) -> World {
        func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &random) }
        func one<Element>(_ elements: [Element]) -> Element { elements[number(0...elements.count - 1)] }
        var policy = World.roomy
        policy.advanceMaxMin = one([60, 300, 1_000, 20_000])
        policy.earlyMin = one([0, 10, 30, 60])
        policy.lateMin = one([0, 15, 30])
        policy.stayMin = one([30, 45, 120, 300])
        policy.slotMin = one([15, 30, 60])
        policy.calendarStepMin = one([5, 15, 30])
        policy.shareWindow = one(["00:00-24:00", "18:00-08:00", "08:10-12:35"])
        let start = CivilTime.start(ofDay: 20_000) + Millis(number(0...1_439)) * World.minute
        var world = World(quota: number(0...3), policy: policy, now: start)
        let hours: [OpenHours] = one([
            [World.allDay], [OpenHours(days: [1, 2, 3, 4, 5, 6, 7], start: 490, end: 1_335)],
            [OpenHours(days: [1, 2, 3, 4, 5, 6, 7], start: 1_320, end: 360)],
        ])
        world.decide(.openLot(World.profile(quota: purpose == .shared ? number(0...1) : number(1...3), openHours: hours)))
        if purpose == .shared {
            for index in 0..<number(0...3) {
                let segments = one([
                    RecurringWindow.always, RecurringWindow.offPeak,
                    [RecurringWindow(.daily, start: number(0...1_380), end: number(1...1_440))],
                ])
                _ = world.offer("S\(index)", segments: segments)
            }
        }
        if number(0...3) == 0 {
            var flow = FlowPolicy(
                policyId: "F", parkCode: world.lot, areaId: "", mode: one([.throttle, .bookingOnly]),
                validFrom: start + Millis(number(-600...600)) * World.minute, validTo: start + Millis(number(601...1_800)) * World.minute)
            flow.segments = one([[], [RecurringWindow(.daily, start: 420, end: 600)]])
            world.decide(.setFlow(flow))
        }
        for _ in 0..<number(0...6) { _ = world.create("x\(number(0...10_000_000))", purpose: purpose, in: number(0...1_500)) }
        return world
    }

    @Test(arguments: [Purpose.reservation, .shared]) func aSlotIsFullExactlyWhenNothingInItCanBeBooked(_ purpose: Purpose) {
        var random = Seeded(purpose.rawValue == 1 ? 11 : 12)
        var (open, full) = (0, 0)
        for round in 0..<200 {
            let world = SlotPropertyTests.street(&random, purpose)
            for day in CivilTime.day(of: world.now)...CivilTime.day(of: world.now) + 1 {
                let looking = world.city
                for slot in looking.slots(world.lot, purpose, day: day, now: world.now) {
                    // A slot that is past is full, though who is late may still book its last minutes (settled a).
                    guard slot.end > world.now else {
                        #expect(slot.isFull)
                        continue
                    }
                    var least = Int.max
                    var time = slot.start
                    while time < slot.end {
                        let room = SlotPropertyTests.room(world, purpose, at: time)
                        if room > 0 { least = min(least, room) }
                        time += SlotPropertyTests.step
                    }
                    let clock = CivilTime.text(ofDay: day) + " +\((slot.start - CivilTime.start(ofDay: day)) / World.minute)"
                    if slot.isFull {
                        full += 1
                        #expect(
                            least == .max,
                            "round \(round), \(clock): full (\(slot.reason.map { "\($0)" } ?? "")), and \(least) can be booked")
                    } else {
                        open += 1
                        // Between the steps something may open for some minutes; what is said to be free is never more than what a step has.
                        if least == .max {
                            var minutes = stride(from: slot.start, to: slot.end, by: Int(World.minute)).makeIterator()
                            var isFound = false
                            while !isFound, let minute = minutes.next() { isFound = SlotPropertyTests.room(world, purpose, at: minute) > 0 }
                            #expect(isFound, "round \(round), \(clock): not full, and nothing can be booked")
                        } else {
                            #expect(slot.remain <= least, "round \(round), \(clock): \(slot.remain) remain, \(least) can be booked")
                        }
                    }
                }
            }
        }
        #expect(open > 1_000 && full > 1_000, "\(open) open, \(full) full")
    }

    /// How many strangers in turn can book for a time.
    private static func room(_ world: World, _ purpose: Purpose, at time: Millis) -> Int {
        var world = world
        for count in 0..<50 {
            let wish = world.create("probe\(count)", purpose: purpose, in: 0, plate: 70_000 + count) { $0.planTime = time }
            guard wish.outcome.reservation != nil else { return count }
        }
        return 50
    }
}
