import BerthCore
import BerthWire
import Testing

/// Rules of time on both sides of their boundaries, with a clock that is set.
@Suite struct ClockTests {
    @Test(arguments: [(-300_000, 0), (-300_001, 202), (300_000, 0), (300_001, 202)])
    func aClockMayBeFiveMinutesOff(_ offset: Millis, _ code: Int) async throws {
        let city = try await RunningCity()
        let answer = try await city.call(RunningCity.provider, "order.list", [:], at: city.clock.now + offset)
        #expect(answer.code == code, "\(answer.json.string)")
        await city.end()
    }

    @Test(arguments: [(-1, 0), (0, 1124)]) func cancellingIsFreeUntilItsMoment(_ offset: Millis, _ code: Int) async throws {
        let city = try await RunningCity()
        let made = try await city.book(1)
        let detail = try await city.call(RunningCity.provider, "order.detail", ["orderNo": .string(made.orderNo)])
        let until = try #require(detail.data["terms"]?["freeCancelUntil"]?.intValue, "\(detail.json.string)")
        city.clock.set(until + offset)
        #expect(try await city.call(RunningCity.provider, "order.cancel", ["orderNo": .string(made.orderNo)]).code == code)
        await city.end()
    }

    /// A reservation whose car did not come is judged when the window is over and the lot's log has passed its end. This lot never had the
    /// reservation, so that nothing is held against its driver.
    @Test func theJudgementWaitsForTheLotsLog() async throws {
        let city = try await RunningCity()
        let made = try await city.book(1)
        func status() async throws -> Int64? {
            try await city.call(RunningCity.provider, "order.detail", ["orderNo": .string(made.orderNo)]).data["status"]?.intValue
        }
        city.clock.set((made.data["enterEnd"]?.intValue ?? 0) + 1)
        await city.core.expire()
        #expect(try await status() == 1, "the lot's log has not passed the end of the window")
        let proof: JSON = ["eventId": "e1", "eventType": 6001, "occurTime": .int(city.clock.now)]
        let passed = try await city.call(RunningCity.lot, "event.report", proof, parkCode: "P1", log: ("g1", 1))
        #expect(passed.code == 0, "\(passed.json.string)")
        city.clock.pass(minutes: 1)
        await city.core.expire()
        let judged = try await status()
        #expect(judged == 6)
        await city.end()
    }
}
