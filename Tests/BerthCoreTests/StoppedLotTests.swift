import BerthCore
import Testing

/// A contradiction in the state of one lot stops that lot, and the city goes on.
@Suite struct StoppedLotTests {
    @Test func aPlaceThatWasNotHeldStopsItsLotAlone() throws {
        var world = World(quota: 5)
        world.add("P2", reserve: 5)
        let kept = try #require(world.book(in: 60).reservation)
        world.city.stop("P1", because: "a test")
        #expect(world.city.lots.faults.keys.sorted() == ["P1"])

        let refused = world.decide(.cancel(appId: "app1", orderNo: kept.orderNo, confirmBreach: false))
        #expect(refused.outcome == .refused(.maintenance) && refused.events.isEmpty)
        #expect(refused.note?.rule.hasPrefix("P1 is stopped") == true)
        #expect(world.book(in: 60).refusal == .maintenance)
        #expect(!world.city.isDue("P1", at: .max))
        let lot = try #require(world.city.lots["P1"])
        #expect(!world.city.isOpened(lot, for: .reservation), "nobody is promoted in it or re-homed to it")
        #expect(world.book(in: 60, lot: "P2").reservation != nil, "the other lots go on")
    }

    @Test func anUnknownLotIsNotStopped() {
        var world = World(quota: 5)
        world.city.stop("nobody", because: "a test")
        #expect(world.city.lots["nobody"] == nil && world.city.lots.faults.isEmpty)
    }

    @Test func aReleaseOfWhatWasNotHeldIsNoticed() {
        var calendar = CapacityCalendar(stepMin: 15)
        let isSound = [1, -1, -1].map { (delta: Int32) in calendar.add(delta, from: 0, to: 3_600_000) }
        #expect(isSound == [true, true, false])
    }

    @Test func anEntryThatIsNotTheNextMovesNoPosition() {
        var position = LogPosition(epoch: "e", ackSeq: 3)
        position.consume(epoch: "e", seq: 5)
        position.consume(epoch: "e", seq: 3)
        position.consume(epoch: "f", seq: 2)
        #expect(position == LogPosition(epoch: "e", ackSeq: 3))
        position.consume(epoch: "e", seq: 4)
        #expect(position == LogPosition(epoch: "e", ackSeq: 4))
    }
}
