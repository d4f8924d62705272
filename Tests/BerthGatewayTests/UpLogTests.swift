import BerthGateway
import BerthLink
import BerthWire
import Foundation
import Testing

/// The up log: numbers without a hole, epochs that are not mixed up, and servers that do not tell the truth.
@Suite struct UpLogTests {
    private func enter(_ box: LotBox, _ numbers: ClosedRange<Int>) async throws {
        for number in numbers { try await box.enter(plate: "粤B\(10_000 + number)", gateCode: "G1") }
    }

    @Test func numbersAreGivenWhereTheRowIsWritten() async throws {
        let bench = try Bench()
        let box = try bench.box(total: 1_000)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 1...200 {
                group.addTask { try await box.enter(plate: "粤B\(10_000 + number)", gateCode: "G1") }
            }
            for try await _ in group {}
        }
        #expect(try bench.seqs() == Array(1...200) && box.lastSeq == 200)
        #expect(try bench.box(total: 1_000).lastSeq == 200)
    }

    @Test(arguments: [2, 4]) func aHoleIsRenumberedIntoANewEpoch(_ missing: Int64) async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await enter(box, 1...4)
        let old = box.epoch
        try bench.write("DELETE FROM up WHERE seq = ?", [missing])
        let back = try bench.box()
        #expect(back.epoch != old && back.lastSeq == 3 && back.ackSeq == 0)
        #expect(back.note().contains("hole"))
        #expect(try bench.seqs() == [1, 2, 3])
        try await enter(back, 5...5)
        let entries = await back.handOut()
        #expect(entries.map(\.seq) == [1, 2, 3, 4] && Set(entries.map(\.epoch)) == [back.epoch])
        #expect(try bench.box().epoch == back.epoch, "once")
    }

    /// A row that rots while the box works: the spool goes back to what can be read.
    @Test(.timeLimit(.minutes(1))) func aLogThatCannotBeReadOnIsMended() async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await enter(box, 1...3)
        try bench.write("UPDATE up SET data = 'rot' WHERE seq = 1")
        let next = await box.nextEntries()
        #expect(next == nil)
        box.mendLog()
        while box.member("badRows") != 1 { try await Task.sleep(for: .milliseconds(20)) }
        #expect(await box.handOut().map(\.seq) == [1, 2] && box.member("inside") == 3)
        // It takes records again.
        while (try? await box.enter(plate: "粤B10009", gateCode: "G1")) == nil { try await Task.sleep(for: .milliseconds(20)) }
        #expect(await box.handOut().map(\.seq) == [1, 2, 3])
    }

    @Test func acknowledgedEntriesAreNoHole() async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await enter(box, 1...4)
        await box.handOut()
        #expect(box.acknowledged(3) == .taken(isNew: true))
        await bench.spool.flush()
        let back = try bench.box()
        #expect(back.epoch == box.epoch && back.ackSeq == 3 && back.lastSeq == 4 && back.note().isEmpty)
        #expect(await back.handOut().map(\.seq) == [4])
    }

    // MARK: What a server says

    @Test(arguments: [Int64.min, -1]) func anAcknowledgementBehindIsALoss(_ ackSeq: Int64) async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await enter(box, 1...2)
        await box.handOut()
        #expect(box.acknowledged(ackSeq) == .behind)
        #expect(box.acknowledged(2) == .taken(isNew: true) && box.acknowledged(1) == .behind)
    }

    @Test(arguments: [Int64.max, WireLimits.intMax, 3]) func anAcknowledgementBeyondWhatWasSentIsNotBelieved(_ ackSeq: Int64) async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await enter(box, 1...2)
        #expect(box.acknowledged(2) == .beyond, "nothing was sent yet")
        await box.handOut()
        #expect(box.acknowledged(ackSeq, failed: [(.max, 1), (.min, 2), (2, 0)]) == .beyond)
        await bench.spool.flush()
        #expect(try bench.seqs() == [1, 2] && box.ackSeq == 0)
        #expect(box.acknowledged(2, failed: [(.min, 1133), (1, 1133), (.max, 5)]) == .taken(isNew: true))
        await bench.spool.flush()
        #expect(box.up["deadLetters"]?.intValue == 1)
    }

    @Test func oneThatAcknowledgesNothingNewMovesNothing() async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await enter(box, 1...2)
        await box.handOut()
        #expect(box.acknowledged(0) == .taken(isNew: false))
        #expect(box.acknowledged(2) == .taken(isNew: true) && box.acknowledged(2) == .taken(isNew: false))
    }

    // MARK: Older spools

    /// A copy of the spool is put back; entries are recorded on it, even over a restart, before the server is asked.
    @Test(arguments: [false, true]) func anOldSpoolKnowsWhatItNeverSent(_ restarts: Bool) async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await enter(box, 1...3)
        await box.handOut()
        #expect(box.acknowledged(2) == .taken(isNew: true))
        await bench.spool.flush()
        // What follows happens on the old copy: the process starts anew on it.
        var old = try bench.box()
        try await enter(old, 4...8)
        if restarts { old = try bench.box() }
        // The server had more of the log than the copy ever sent, and less than it holds now.
        #expect(old.lastSeq == 8 && old.acknowledged(6) == .beyond)
        #expect(old.acknowledged(3) == .taken(isNew: true))
        let epoch = old.epoch
        #expect(await old.startEpoch())
        #expect(old.epoch != epoch)
        let entries = await old.handOut()
        #expect(entries.map(\.seq) == [1, 2, 3, 4, 5])
        #expect(entries.compactMap { $0.data["plateNo"]?.stringValue } == (4...8).map { "粤B\(10_000 + $0)" })
    }

    @Test func whatIsSentOnceMayBeKnownAfterARestart() async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await enter(box, 1...2)
        await box.handOut()
        try await enter(box, 3...4)
        let back = try bench.box()
        #expect(back.acknowledged(4) == .taken(isNew: true), "entries written while the uplink was open may have been sent")
        #expect(back.acknowledged(5) == .beyond)
    }

    @Test func aNewEpochTakesWhatIsNotAcknowledged() async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await enter(box, 1...5)
        await box.handOut()
        _ = box.acknowledged(2)
        // Entries that come while it begins stand behind the others.
        async let begun = box.startEpoch()
        async let entered: Void = enter(box, 6...9)
        #expect(await begun)
        try await entered
        let entries = await box.handOut()
        #expect(entries.map(\.seq) == Array(1...7) && box.lastSeq == 7 && box.ackSeq == 0)
        #expect(try bench.box().lastSeq == 7)
    }

    // MARK: After the acknowledgement

    @Test func acknowledgedRecordsAreKeptForD20() async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await enter(box, 1...5)
        let entries = await box.handOut()
        _ = box.acknowledged(4)
        await bench.spool.flush()
        let again = await box.sent(.init(seqs: 2...9, times: 0...Int64.max, epoch: box.epoch))
        #expect(again?.map(\.seq) == [2, 3, 4] && again?.map(\.requestId) == entries[1...3].map(\.requestId))
        #expect(await box.sent(.init(seqs: 1...9, times: 0...1, epoch: nil))?.isEmpty == true)
        _ = await box.startEpoch()
        #expect(await box.sent(.init(seqs: 1...9, times: 0...Int64.max, epoch: nil))?.count == 4, "over epochs by time")
    }

    @Test func deadLettersAreListed() async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await enter(box, 1...2)
        await box.handOut()
        _ = box.acknowledged(2, failed: [(2, 1503)])
        await bench.spool.flush()
        let letters = try await box.deadLetters(limit: 10).arrayValue ?? []
        #expect(letters.count == 1)
        #expect(letters.first?["code"] == 1503 && letters.first?["service"] == "vehicle.entry.report" && letters.first?["seq"] == 2)
        #expect(letters.first?["data"]?["plateNo"]?.stringValue == "粤B10002" && letters.first?["message"]?.stringValue?.isEmpty == false)
        #expect(try bench.box().up["deadLetters"] == 1)
    }

    @Test func countsAreAsOfAnEntry() {
        var counts = InsideCounts(count: 5, at: 10)
        counts.note(1, at: 11)
        counts.note(0, at: 12)
        counts.note(1, at: 13)
        counts.note(-1, at: 15)
        #expect(counts.count(asOf: 9) == nil && counts.count(asOf: 10) == 5 && counts.count(asOf: 12) == 6)
        #expect(counts.count(asOf: 14) == 7 && counts.count(asOf: .max) == 6 && counts.last == 6 && counts.count(asOf: .min) == nil)
        for seq in 16...5_000 { counts.note(1, at: Int64(seq)) }
        #expect(counts.count(asOf: 20) == nil && counts.count(asOf: 5_000) == counts.last)
    }
}
