import BerthCore
import BerthGateway
import BerthLink
import BerthWire
import Foundation
import Testing

/// The down log and snapshots, from a server that may say anything.
@Suite struct DownLogTests {
    private func consume(_ box: LotBox, _ epoch: String, _ seq: Int64, _ service: String, _ data: JSON) async -> Reply {
        await withCheckedContinuation { continuation in
            box.consume(epoch: epoch, seq: seq, service: service, data: data) { continuation.resume(returning: $0) }
        }
    }

    private func reservation(_ number: String, _ version: Int64 = 1, plate: String = "粤B10001", _ changes: [(String, JSON)] = []) -> JSON {
        var object = JSONObject([
            ("orderNo", .string(number)), ("orderVer", .int(version)), ("plateNo", .string(plate)), ("enterStart", 1_799_999_000_000),
            ("enterEnd", 1_800_003_600_000), ("bizType", 1),
        ])
        for (name, value) in changes { object[name] = value }
        return .object(object)
    }

    @Test(arguments: [Int64.min, -1, 0, WireLimits.intMax + 1, Int64.max]) func seqsOutOfRangeAreRefused(_ seq: Int64) async throws {
        let bench = try Bench()
        let box = try bench.box()
        #expect(await consume(box, "d1", seq, "order.reserve.push", reservation("YY1")).code == 102)
    }

    @Test(arguments: ["", "a&b", "a=b", "a\nb", String(repeating: "e", count: 17)]) func oddEpochsAreRefused(_ epoch: String) async throws {
        let bench = try Bench()
        let box = try bench.box()
        #expect(await consume(box, epoch, 1, "order.reserve.push", reservation("YY1")).code == 102)
        #expect(
            await box.restore(snapshot: ["downEpoch": .string(epoch), "downSeq": 3, "orders": []]) == (epoch.isEmpty ? .done : .unusable))
        #expect(box.member("down") == ["epoch": "", "ackSeq": 0])
    }

    @Test(arguments: [Int64.min, -1, WireLimits.intMax + 1, Int64.max]) func aSnapshotWithAPlaceOutOfRangeIsNotTaken(_ seq: Int64)
        async throws
    {
        let bench = try Bench()
        let box = try bench.box()
        #expect(
            await box.restore(snapshot: ["downEpoch": "d1", "downSeq": .int(seq), "orders": .array([reservation("YY1")])]) == .unusable)
        #expect(box.member("orders") == 0)
    }

    @Test func theLastPlaceOfALogIsNoEnd() async throws {
        let bench = try Bench()
        let box = try bench.box()
        #expect(await box.restore(snapshot: ["downEpoch": "d1", "downSeq": .int(WireLimits.intMax)]) == .done)
        #expect(await consume(box, "d1", WireLimits.intMax, "order.reserve.push", reservation("YY1")).duplicate)
        #expect(await consume(box, "d1", 5, "order.reserve.push", reservation("YY1")).duplicate)
        #expect(try bench.box().member("down") == ["epoch": "d1", "ackSeq": .int(WireLimits.intMax)])
    }

    @Test func aSnapshotWithTheSameOrderTwiceIsTaken() async throws {
        let bench = try Bench()
        let box = try bench.box()
        let rows: [JSON] = [reservation("YY1"), reservation("YY1", 2), 5, [:], reservation("YY2", plate: "粤B10002")]
        #expect(await box.restore(snapshot: ["downEpoch": "d1", "downSeq": 2, "orders": .array(rows)]) == .done)
        #expect(box.member("orders") == 2 && box.localList.arrayValue?.first?["orderVer"] == 2)
        #expect(try bench.box().member("orders") == 2)
    }

    @Test func aSnapshotOlderThanWhatIsHereIsAskedForAgain() async throws {
        let bench = try Bench()
        let box = try bench.box()
        for seq in 1...3 {
            #expect(await consume(box, "d1", Int64(seq), "order.reserve.push", reservation("YY\(seq)", plate: "粤B1000\(seq)")).code == 0)
        }
        let old: JSON = ["downEpoch": "d1", "downSeq": 2, "orders": .array([reservation("YY1")])]
        #expect(await box.restore(snapshot: old) == .older)
        #expect(box.member("orders") == 3 && box.member("down") == ["epoch": "d1", "ackSeq": 3])
        // A server that lost the entry is followed.
        #expect(await box.restore(snapshot: old, isBehind: true) == .done)
        #expect(box.member("orders") == 1 && box.member("down") == ["epoch": "d1", "ackSeq": 2])
        #expect(await consume(box, "d1", 3, "order.reserve.push", reservation("YY9", plate: "粤B10009")).code == 0)
    }

    @Test func aSnapshotKeepsWhatTheBoxKnowsBetter() async throws {
        let bench = try Bench()
        let box = try bench.box()
        #expect(await consume(box, "d1", 1, "order.reserve.push", reservation("YY1")).code == 0)
        #expect(try await box.enter(plate: "粤B10001", gateCode: "G1").orderNo == "YY1")
        // The server has not read the entry yet.
        #expect(await box.restore(snapshot: ["downEpoch": "d1", "downSeq": 1, "orders": .array([reservation("YY1")])]) == .done)
        #expect(box.localList.arrayValue?.first?["entriesUsed"] == 1 && box.localList.arrayValue?.first?["inside"] == true)
        try await box.exit(plate: "粤B10001", gateCode: "G2")
        #expect(
            await box.restore(snapshot: ["downEpoch": "d1", "downSeq": 1, "orders": .array([reservation("YY1", 1, [("status", 2)])])])
                == .done)
        #expect(box.localList.arrayValue?.first?["inside"] == nil, "the car has left")
        #expect(try bench.box().localList == box.localList)
    }

    @Test func numbersOfOrdersAreInRange() {
        for change: [(String, JSON)] in [
            [("enterStart", -1)], [("enterEnd", .int(WireLimits.intMax))], [("entryLimit", .int(WireLimits.intMax))],
            [("entriesUsed", -5)], [("orderVer", -1)], [("bizType", .int(WireLimits.intMax))],
            [("orderNo", .string(String(repeating: "\u{301}", count: 100_000)))],
        ] {
            #expect(LocalReservation(json: reservation("YY1", 1, change)) == nil, "\(change)")
        }
    }

    @Test func theDigestIsOverOrdersInForce() async throws {
        let bench = try Bench()
        let box = try bench.box()
        for (seq, number) in ["YY2", "YY10", "YY1"].enumerated() {
            #expect(await consume(box, "d1", Int64(seq) + 1, "order.reserve.push", reservation(number, plate: "粤B1000\(seq)")).code == 0)
        }
        #expect(await consume(box, "d1", 4, "order.reserve.cancel", ["orderNo": "YY2", "orderVer": 2]).code == 0)
        #expect(box.orderDigest() == Signature.hash(canonical: Array("YY10:1\nYY1:1".utf8)))
        let both: JSON = [
            "downEpoch": "d1", "downSeq": 4,
            "orders": .array([reservation("YY1", plate: "粤B10002"), reservation("YY10", plate: "粤B10001")]),
        ]
        #expect(box.matches(snapshot: both))
        #expect(!box.matches(snapshot: ["orders": .array([reservation("YY1")])]), "one too many here")
        #expect(
            !box.matches(snapshot: ["orders": .array([reservation("YY1"), reservation("YY10"), reservation("YY3")])]), "one missing here")
        #expect(!box.matches(snapshot: ["orders": .array([reservation("YY1", 3), reservation("YY10")])]), "an older version here")
    }

    /// A PMS that never asks does not fill the disk: the oldest messages go.
    @Test func anInboxThatNobodyReadsIsBounded() async throws {
        let bench = try Bench()
        let box = try bench.box()
        let count = Int64(LotBox.inboxMax + 150)
        for seq in 1..<count {
            box.consume(epoch: "d1", seq: seq, service: "config.push", data: ["imageMaxKB": 300]) { _ in }
        }
        let last = await consume(box, "d1", count, "config.push", ["imageMaxKB": 300])
        #expect(last.code == 0)
        let rows = try bench.rows("SELECT count(*) AS n, ifnull(max(id), 0) AS last, ifnull(min(id), 0) AS first FROM inbox")
        let (kept, newest, oldest) = (rows[0]["n"] as Int64, rows[0]["last"] as Int64, rows[0]["first"] as Int64)
        #expect((10_000...10_100).contains(kept) && newest == count && oldest == count - kept + 1)
    }
}
