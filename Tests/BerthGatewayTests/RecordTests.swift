import BerthCore
import BerthGateway
import BerthLink
import BerthWire
import Foundation
import Testing

/// A car that came in is a fact (contract 5.5), and what the server could not take is refused before it stands in the log.
@Suite struct RecordTests {
    private func refusal(_ body: () async throws -> Void) async -> (status: Int, name: String)? {
        do { try await body() } catch let error as LotBox.Refused { return (error.status, error.name) } catch { return nil }
        return nil
    }

    private func last(_ bench: Bench) throws -> JSON {
        let row = try bench.rows("SELECT data FROM up ORDER BY seq DESC LIMIT 1").first
        let text: String = row?["data"] ?? ""
        return try JSON.parse(Array(text.utf8))
    }

    @Test(arguments: ["粤B6O017", "粤BI2345", "B12345", "?", "未识别", "粤B1234", "ＡＢＣ"]) func aReadingIsRecordedAndFoundAgain(_ reading: String)
        async throws
    {
        let bench = try Bench()
        let box = try bench.box()
        let entered = try await box.enter(plate: reading, gateCode: "G1")
        let recorded = try last(bench)["plateNo"]?.stringValue
        #expect(recorded?.isEmpty == false)
        #expect(await refusal { try await box.enter(plate: reading, gateCode: "G1") }?.name == "repeatedEntry")
        // After a restart it is inside as it was read.
        let back = try bench.box()
        #expect(back.member("inside") == 1 && back.member("badRows") == 0)
        #expect(try await back.exit(plate: reading, gateCode: "G2") == entered.recordNo)
        #expect(try last(bench)["plateNo"]?.stringValue == recorded && back.member("inside") == 0)
    }

    @Test(arguments: ["", String(repeating: "X", count: 17), "粤B\u{7}1"]) func whatIsNoReadingIsRefused(_ text: String) async throws {
        let bench = try Bench()
        let box = try bench.box()
        #expect(await refusal { try await box.enter(plate: text, gateCode: "G1") }?.name == "illegalPlate")
        #expect(await refusal { _ = try await box.exit(plate: text, gateCode: "G1") }?.name == "illegalPlate")
        #expect(box.lastSeq == 0)
    }

    @Test func aSecondEntryWithinFiveMinutesIsTheCameraTwice() async throws {
        let bench = try Bench()
        let box = try bench.box()
        let first = try await box.enter(plate: "粤B10001", gateCode: "G1")
        bench.pass(LotBox.repeatMillis - 1)
        let again = await refusal { try await box.enter(plate: "粤B10001", gateCode: "G1") }
        #expect(again?.status == 409 && again?.name == "repeatedEntry" && box.lastSeq == 1)
        bench.pass(1)
        let second = try await box.enter(plate: "粤B10001", gateCode: "G1")
        #expect(second.missedExit == first.recordNo && box.member("inside") == 1 && box.lastSeq == 2)
        // The exit is the newer visit's, also after a restart.
        let back = try bench.box()
        #expect(try await back.exit(plate: "粤B10001", gateCode: "G2") == second.recordNo)
    }

    @Test func aLateRecordOfAnEarlierEntryLeavesTheCarInside() async throws {
        let bench = try Bench()
        let box = try bench.box()
        let now = try await box.enter(plate: "粤B10001", gateCode: "G1")
        let earlier = try await box.enter(plate: "粤B10001", gateCode: "G1", enterTime: box.now() - 3_600_000)
        #expect(earlier.missedExit == nil && box.lastSeq == 2)
        #expect(try await box.exit(plate: "粤B10001", gateCode: "G2") == now.recordNo)
    }

    @Test func aPlateWhoseExitWasMissedMayComeAgain() async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await box.enter(plate: "粤B10001", gateCode: "G1")
        guard let plate = Plate("粤B10001") else { return }
        #expect(box.decideLocally(plate: plate, gateCode: "G1", at: box.now() + 1_000).0.refusal == .repeatedEntry)
        #expect(box.decideLocally(plate: plate, gateCode: "G1", at: box.now() + LotBox.repeatMillis).admits)
    }

    @Test func theExitOfAnUnknownCarIsRecorded() async throws {
        let bench = try Bench()
        let box = try bench.box()
        let number = try await box.exit(plate: "粤B10001", recordNo: "the PMS's", gateCode: "G2", feeFen: 500)
        var data = try last(bench)
        #expect(number != "the PMS's" && data["recordNo"]?.stringValue == number && data["enterTime"] == data["leaveTime"])
        #expect(data["gateCode"] == nil && data["totalFee"] == 500)
        // With its time the PMS's number stands.
        let leave = box.now()
        #expect(
            try await box.exit(plate: "粤B10002", recordNo: "R2", gateCode: "G2", enterTime: leave - 60_000, leaveTime: leave) == "R2")
        data = try last(bench)
        #expect(data["enterTime"]?.intValue == leave - 60_000 && data["parkSeconds"] == 60)
        // A time of entry after the exit is none.
        try await box.exit(plate: "粤B10003", gateCode: "G2", enterTime: leave + 60_000, leaveTime: leave)
        #expect(try last(bench)["enterTime"]?.intValue == leave)
        #expect(await refusal { _ = try await box.exit(plate: nil, recordNo: "nowhere", gateCode: "G2") }?.status == 404)
        #expect(await refusal { _ = try await box.exit(plate: nil, gateCode: "G2") }?.name == "missingParameter")
    }

    @Test func anUnknownGateIsRefusedWhereGatesAreListed() async throws {
        let bench = try Bench()
        let box = try bench.box(gates: [["gateCode": "G1"], ["gateCode": "Gé"]])
        #expect(await refusal { try await box.enter(plate: "粤B10001", gateCode: "G9") }?.name == "unknownGate")
        #expect(await refusal { _ = try await box.exit(plate: "粤B10001", gateCode: "g1") }?.name == "unknownGate")
        #expect(await refusal { try await box.enter(plate: "粤B10001", gateCode: "Ge\u{301}") }?.name == "unknownGate", "compared by bytes")
        #expect(box.lastSeq == 0)
        try await box.enter(plate: "粤B10001", gateCode: "G1")
        try await bench.box("P2").enter(plate: "粤B10001", gateCode: "anything")
    }

    private func nested(_ levels: Int) -> JSON { (1..<levels).reduce([:]) { inner, _ in ["a": inner] } }

    @Test func eventsThatTheServerWouldNotTakeAreRefused() async throws {
        let bench = try Bench()
        let box = try bench.box()
        for type in [1000, 1016, 4999, 6014, 8999, 10_000, -1, Int.max, Int.min] {
            #expect(await refusal { try await box.event(type: type) }?.name == "illegalValue", "\(type)")
        }
        for level in [0, 5, Int.min] { #expect(await refusal { try await box.event(type: 1001, level: level) }?.name == "illegalValue") }
        #expect(await refusal { try await box.event(type: 1001, detail: nested(29)) }?.name == "illegalValue")
        #expect(box.lastSeq == 0)
        for type in [1001, 7005, 9000, 9999] { try await box.event(type: type) }
        try await box.event(type: 1001, detail: nested(28))
    }

    @Test func theDeepestEventFitsTheWire() async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await box.event(type: 1001)
        try await box.event(type: 1001, detail: nested(28))
        try await box.event(type: 1001)
        // It goes alone: in a batch it would stand deeper.
        #expect(await box.handOut().map(\.seq) == [1])
        _ = box.acknowledged(1)
        let alone = await box.handOut()
        #expect(alone.map(\.seq) == [2])
        let sent = MessageWriter.request(
            service: "event.report", data: alone[0].data, appId: "app1", secret: "s", parkCode: "P1", requestId: alone[0].requestId,
            timestamp: box.now(), nonce: "12345678", epoch: box.epoch, seq: 2)
        #expect((try? JSON.parse(sent)) != nil)
        _ = box.acknowledged(2)
        #expect(await box.handOut().map(\.seq) == [3])
    }

    @Test(arguments: [Int64.min, -1, 0, 999_999_999_999, 10_000_000_000_000, Int64.max]) func timesOutOfRangeAreRefused(_ time: Int64)
        async throws
    {
        let bench = try Bench()
        let box = try bench.box()
        #expect(await refusal { try await box.enter(plate: "粤B10001", gateCode: "G1", enterTime: time) }?.status == 400)
        #expect(await refusal { _ = try await box.exit(plate: "粤B10001", gateCode: "G1", leaveTime: time) }?.status == 400)
        #expect(await refusal { _ = try await box.exit(plate: "粤B10001", gateCode: "G1", enterTime: time) }?.status == 400)
        box.reportOccupied(Int(time))
        #expect((0...100).contains(box.occupied) && box.lastSeq == 0)
    }

    @Test func carsOfTheServerAreAddedAndFound() async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await box.enter(plate: "粤B10001", gateCode: "G1")
        try await box.enter(plate: "粤B10002", gateCode: "G1")
        try await box.exit(plate: "粤B10002", gateCode: "G2")
        let enter = box.now() - 3_600_000
        let cars = ["粤B10001", "粤B10002", "粤B10003", "粤B6O017"].enumerated().compactMap {
            InsideCar(json: ["recordNo": .string("S\($0.offset)"), "plateNo": .string($0.element), "enterTime": .int(enter)])
        }
        #expect(cars.count == 4)
        // One is inside here already, one has just left.
        #expect(await box.addInside(cars) == 2)
        #expect(await box.addInside(cars) == 0 && box.member("inside") == 3)
        let back = try bench.box()
        #expect(try await back.exit(plate: "粤B10003", gateCode: "G2") == "S2")
        let data = try last(bench)
        #expect(data["enterTime"]?.intValue == enter && data["gateCode"] == nil)
    }
}
