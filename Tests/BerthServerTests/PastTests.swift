import BerthCore
import BerthWire
import Synchronization
import Testing

/// Prefetch, then decide: the past is read off the city's lock; a read that fails is an error and changes nothing.
@Suite struct PastTests {
    /// An order that has ended and was dropped from memory.
    private func ended(_ city: RunningCity) async throws -> String {
        let made = try await city.book(1)
        try #require(made.code == 0)
        let cancelled = try await city.call(RunningCity.provider, "order.cancel", ["orderNo": .string(made.orderNo)])
        try #require(cancelled.code == 0)
        city.core.sweep(endedBefore: .max / 4)
        return made.orderNo
    }

    @Test func aFailedReadIsAnErrorAndChangesNothing() async throws {
        let city = try await RunningCity()
        let orderNo = try await ended(city)
        let repeated = RunningCity.booking(1, at: city.clock.now + 3_600_000)
        for (service, data) in [
            ("order.detail", ["orderNo": .string(orderNo)]), ("order.cancel", ["orderNo": .string(orderNo)]),
            ("order.delay", ["orderNo": .string(orderNo)]), ("order.create", repeated), ("pay.query", ["payNo": "p1"]),
        ] as [(String, JSON)] {
            city.store.failReads(true)
            let commits = city.store.commits
            let failed = try await city.call(RunningCity.provider, service, data)
            #expect(failed.code == 501, "\(service): \(failed.json.string)")
            #expect(city.core.haltReason == nil, "nothing was decided, so that nothing is to be undone")
            #expect(city.store.commits == commits)
            city.store.failReads(false)
        }
        // The disk works again: the same requests get the answers that they would have got.
        #expect(try await city.call(RunningCity.provider, "order.detail", ["orderNo": .string(orderNo)]).data["status"]?.intValue == 4)
        #expect(try await city.call(RunningCity.provider, "order.cancel", ["orderNo": .string(orderNo)]).code == 1121)
        let again = try await city.call(RunningCity.provider, "order.create", repeated)
        #expect(again.code == 0 && again.orderNo == orderNo, "the provider's number is that of the ended order: \(again.json.string)")
        await city.end()
    }

    @Test func anEndedStayIsReadOnceAndDecidedOn() async throws {
        let city = try await RunningCity()
        let enter = city.clock.now
        #expect(
            try await city.call(RunningCity.lot, "vehicle.entry.report", RunningCity.entry(7, at: enter), parkCode: "P1", log: ("g1", 1))
                .code == 0)
        city.clock.pass(minutes: 30)
        let exit = RunningCity.exit(7, entered: enter, at: city.clock.now)
        #expect(try await city.call(RunningCity.lot, "vehicle.exit.report", exit, parkCode: "P1", log: ("g1", 2)).code == 0)
        city.core.sweep(endedBefore: .max / 4)
        // The lot reports the exit once more, under a new number of its log.
        city.store.failRead(1)
        let failed = try await city.call(RunningCity.lot, "vehicle.exit.report", exit, parkCode: "P1", log: ("g1", 3))
        #expect(failed.code == 501 && failed.json["ackSeq"]?.intValue != 3, "an entry that could not be decided is not consumed")
        let again = try await city.call(RunningCity.lot, "vehicle.exit.report", exit, parkCode: "P1", log: ("g1", 3))
        #expect(again.code == 0 && again.data["recordNo"]?.stringValue == "R7", "\(again.json.string)")
        await city.end()
    }

    /// Each entry waits for a read of its own; they are sent without waiting for each other.
    @Test func entriesThatWaitForTheDiskKeepTheirOrder() async throws {
        let city = try await RunningCity()
        city.store.watch { _ in for _ in 0..<2_000 { _ = UInt64.random(in: 0...9) } }
        let (enter, count) = (city.clock.now, 40)
        // A carrier hands the bytes over in the order of arrival, one after the other.
        let replies = (1...count).map { number in
            let bytes = MessageWriter.request(
                service: "vehicle.entry.report", data: RunningCity.entry(number, at: enter), appId: RunningCity.lot.appId,
                secret: RunningCity.lot.secret, parkCode: "P1", requestId: "0f8fad5b-d9cb-469f-a165-7086772\(10_000 + number)",
                timestamp: enter, nonce: "nonce-\(1_000_000 + RunningCity.fresh())", epoch: "g1", seq: Int64(number))
            return city.core.send(bytes, service: "vehicle.entry.report")
        }
        var codes: [Int64?] = []
        for reply in replies { codes.append(try JSON.parse(await reply.value)["code"]?.intValue) }
        #expect(codes.allSatisfy { $0 == 0 }, "\(codes)")
        await city.end()
    }

    /// Memory is swept while the disk is read: what was read then is read again.
    @Test func aSweepDuringTheReadIsNoticed() async throws {
        let city = try await RunningCity()
        let orderNo = try await ended(city)
        let core = city.core
        let sweeps = Atomic<Int>(0)
        city.store.watch { kind in
            guard kind == "reservation", sweeps.wrappingAdd(1, ordering: .relaxed).newValue <= 2 else { return }
            core.sweep(endedBefore: .max / 4)
        }
        #expect(try await city.call(RunningCity.provider, "order.cancel", ["orderNo": .string(orderNo)]).code == 1121)
        #expect(sweeps.load(ordering: .relaxed) == 3, "twice in vain, and once for good")
        await city.end()
    }

    @Test func aRefusedCommitIsUndoneAndThePlaceIsSoldOnce() async throws {
        let city = try await RunningCity()
        city.store.failCommits(true)
        let request = "0f8fad5b-d9cb-469f-a165-70867728950e"
        #expect(try await city.book(1, requestId: request).code == 501)
        city.store.failCommits(false)
        let deadline = ContinuousClock.now + .seconds(60)
        while city.core.haltReason != nil, ContinuousClock.now < deadline { await Task.yield() }
        try #require(city.core.haltReason == nil)
        // The same request is executed now; four more places are left, and no fifth.
        #expect(try await city.book(1, requestId: request).code == 0)
        for number in 2...5 { #expect(try await city.book(number).code == 0) }
        #expect(try await city.book(6).code == 1101)
        let first = try await city.book(1, requestId: request)
        #expect(first.code == 0 && first.json["duplicate"]?.boolValue == true)
        await city.end()
    }

    @Test func aStoppedLotAnswers503AndItsLogWaits() async throws {
        let city = try await RunningCity()
        let made = try await city.book(1)
        city.core.stop("P1", because: "a test")
        #expect(try await city.book(2).code == 503)
        #expect(try await city.call(RunningCity.provider, "order.cancel", ["orderNo": .string(made.orderNo)]).code == 503)
        let entry = RunningCity.entry(7, at: city.clock.now)
        let waits = try await city.call(RunningCity.lot, "vehicle.entry.report", entry, parkCode: "P1", log: ("g1", 1))
        #expect(waits.code == 503 && waits.json["ackSeq"] == nil, "\(waits.json.string)")
        #expect(try await city.book(3, lot: "P2").code == 0, "the other lots go on")
        await city.end()
    }
}
