import BerthCore
import BerthWire
import Testing

/// Every service against every role, every scope and objects of others (sections 1.6 and 9).
@Suite struct AccessTests {
    /// A party calls each service of the catalogue: what is not for its role is 204, what names a lot that is not its own is 205.
    @Test(arguments: RunningCity.everybody.map(\.appId)) func eachServiceIsForItsRoles(_ appId: String) async throws {
        let city = try await RunningCity()
        let who = try #require(RunningCity.everybody.first { $0.appId == appId })
        let foreign = who.parkCodes.contains("P1") ? "P2" : "P1"
        for service in Dialect.current.services.values.sorted(by: { $0.name < $1.name }) where !service.callers.isEmpty {
            let log: (String, Int64)? = service.kind == .log && service.direction == "up" ? ("g1", 1) : nil
            let answer = try await city.call(who, service.name, [:], parkCode: foreign, log: log)
            if !service.callers.contains(who.role) {
                #expect(answer.code == 204, "\(service.name) by \(who.role): \(answer.json.string)")
            } else if service.isAboutLot(who.role), !who.parkCodes.isEmpty || who.role.speaksForLots {
                #expect(answer.code == 205, "\(service.name) by \(who.role) for \(foreign): \(answer.json.string)")
            } else {
                #expect(answer.code != 204, "\(service.name) by \(who.role): \(answer.json.string)")
                // A party of the whole city has no foreign lot.
                if who.parkCodes.isEmpty { #expect(answer.code != 205, "\(service.name) by \(who.role): \(answer.json.string)") }
            }
        }
        await city.end()
    }

    /// The objects of another provider are not there, and those of another lot are not to be touched.
    @Test func objectsOfOthersAreOutOfReach() async throws {
        let city = try await RunningCity()
        let made = try await city.book(1)
        let far = try await city.book(2, lot: "P2")
        let own: JSON = ["orderNo": .string(made.orderNo)]
        for service in ["order.detail", "order.cancel", "order.delay"] {
            #expect(try await city.call(RunningCity.other, service, own).code == 1120, "\(service)")
        }
        var change = try #require(own.objectValue)
        change["planTime"] = .int(city.clock.now + 7_200_000)
        #expect(try await city.call(RunningCity.other, "order.modify", .object(change)).code == 1120)
        #expect(try await city.call(RunningCity.lotOperator, "order.detail", own).code == 0)
        #expect(try await city.call(RunningCity.lotOperator, "order.detail", ["orderNo": .string(far.orderNo)]).code == 205)
        #expect(try await city.call(RunningCity.cityOperator, "order.detail", ["orderNo": .string(far.orderNo)]).code == 0)
        // The same clientOrderNo of two providers names two orders.
        let same = try await city.book(1, by: RunningCity.other)
        #expect(same.code != 0 || same.orderNo != made.orderNo)
        // A lot's record about a reservation of another lot finds none.
        let entry = RunningCity.entry(2, at: city.clock.now, orderNo: far.orderNo)
        let answer = try await city.call(RunningCity.lot, "vehicle.entry.report", entry, parkCode: "P1", log: ("g1", 1))
        #expect(answer.code == 1120, "\(answer.json.string)")
        #expect(try await city.call(RunningCity.provider, "order.detail", ["orderNo": .string(far.orderNo)]).data["status"]?.intValue == 1)
        await city.end()
    }

    /// A signature of another party, of nobody, or none.
    @Test func nobodySpeaksForAnother() async throws {
        let city = try await RunningCity()
        #expect(try await city.call(RunningCity.provider, "sys.time.get", [:], secret: RunningCity.other.secret).code == 201)
        let nobody = Credential(appId: "sp99999999", secret: "x", role: .provider, name: "n")
        #expect(try await city.call(nobody, "sys.time.get", [:]).code == 200)
        #expect(try await city.call(RunningCity.provider, "sys.time.get", [:]).code == 0)
        await city.end()
    }
}
