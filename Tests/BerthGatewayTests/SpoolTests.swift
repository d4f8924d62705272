import BerthGateway
import BerthWire
import Foundation
import Testing

/// The gateway's file: who may read it, what is asked of it after its end, and rows that nobody can read.
@Suite struct SpoolTests {
    @Test(.timeLimit(.minutes(1))) func nobodyWaitsForASpoolThatHasEnded() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let spool = try Spool(path: folder.appendingPathComponent("spool.sqlite").path)
        await spool.flush()
        spool.stop()
        // Some of these come before its thread has gone, some after it: each one comes back.
        for _ in 0..<200 {
            await spool.flush()
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    private func mode(_ path: String) throws -> Int {
        try (FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? NSNumber)?.intValue ?? -1
    }

    @Test func onlyTheOwnerReadsTheSpool() async throws {
        let bench = try Bench()
        let box = try bench.box()
        try await box.enter(plate: "粤B10001", gateCode: "G1")
        #expect(try mode(bench.folder.path) == 0o700, "the gateway made the folder")
        for suffix in ["", "-wal", "-shm"] { #expect(try mode(bench.path + suffix) == 0o600) }
    }

    @Test func aSpoolThatOthersCouldReadIsClosedToThem() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("berth-\(UUID().uuidString)")
        try FileManager.default.createDirectory(
            at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        let path = folder.appendingPathComponent("spool.sqlite").path
        for suffix in ["", "-wal"] {
            #expect(FileManager.default.createFile(atPath: path + suffix, contents: Data(), attributes: [.posixPermissions: 0o644]))
        }
        let bench = try Bench(folder: folder)
        for suffix in ["", "-wal", "-shm"] { #expect(try mode(bench.path + suffix) == 0o600) }
        #expect(try mode(folder.path) == 0o755, "a folder that was there is somebody else's")
    }

    /// A row of each table that nothing can be made of.
    static let rot: [(table: String, sql: String)] = [
        ("positions", "UPDATE positions SET up_last = 'x' WHERE lot = 'P1'"),
        ("positions", "UPDATE positions SET up_ack = -5 WHERE lot = 'P1'"),
        ("positions", "UPDATE positions SET down_ack = 9223372036854775807 WHERE lot = 'P1'"),
        ("positions", "UPDATE positions SET up_last = 9223372036854775807, up_ack = 9223372036854775806 WHERE lot = 'P1'"),
        ("positions", "UPDATE positions SET up_epoch = 'a&b' WHERE lot = 'P1'"),
        ("positions", "UPDATE positions SET up_epoch = x'ff00ff' WHERE lot = 'P1'"),
        ("up", "UPDATE up SET data = '{' WHERE lot = 'P1' AND seq = 2"),
        ("up", "UPDATE up SET data = x'00ff' WHERE lot = 'P1' AND seq = 2"),
        ("up", "UPDATE up SET request_id = '1' WHERE lot = 'P1' AND seq = 2"),
        ("up", "UPDATE up SET at = 'noon' WHERE lot = 'P1' AND seq = 2"),
        ("up", "UPDATE up SET at = 9223372036854775807 WHERE lot = 'P1' AND seq = 2"),
        ("up", "UPDATE up SET service = 'sys.time.get' WHERE lot = 'P1' AND seq = 2"),
        ("up", "UPDATE up SET seq = 'two' WHERE lot = 'P1' AND seq = 2"),
        ("up", "UPDATE up SET seq = 9223372036854775807 WHERE lot = 'P1' AND seq = 3"),
        ("inside", "UPDATE inside SET body = 'x' WHERE lot = 'P1' AND plate = '粤B10002'"),
        (
            "inside",
            "UPDATE inside SET body = '{\"recordNo\":\"R\",\"plateNo\":\"粤B10002\",\"enterTime\":-9007199254740991}' WHERE lot = 'P1' AND plate = '粤B10002'"
        ),
        ("inside", "UPDATE inside SET body = x'ff' WHERE lot = 'P1' AND plate = '粤B10002'"),
        ("orders", "INSERT INTO orders VALUES('P1', 'YY1', '{\"orderNo\":\"YY1\"}')"),
        ("orders", "INSERT INTO orders VALUES('P1', x'ff', 'null')"),
        (
            "orders",
            "INSERT INTO orders VALUES('P1', 'YY1', '{\"orderNo\":\"YY1\",\"orderVer\":1,\"plateNo\":\"粤B10001\",\"enterStart\":-9007199254740991,\"enterEnd\":9007199254740991,\"bizType\":1}')"
        ),
        ("standing", "INSERT INTO standing VALUES('P1', 'flow.policy.push', 'F', '[]')"),
        ("standing", "INSERT INTO standing VALUES('P1', 'share.auth.push', 'A', '{\"authNo\":\"A\"}')"),
        ("standing", "INSERT INTO standing VALUES('P1', x'00', 'A', x'00')"),
    ]

    @Test(arguments: SpoolTests.rot.indices) func oneBadRowKeepsNobodyFromStarting(_ index: Int) async throws {
        let (table, sql) = SpoolTests.rot[index]
        let bench = try Bench()
        let (one, two) = (try bench.box("P1"), try bench.box("P2"))
        for number in 1...4 {
            try await one.enter(plate: "粤B1000\(number)", gateCode: "G1")
            try await two.enter(plate: "粤B2000\(number)", gateCode: "G1")
        }
        try bench.write(sql)
        let (back, other) = (try bench.box("P1"), try bench.box("P2"))
        #expect(other.lastSeq == 4 && other.member("badRows")?.intValue == 0 && other.note().isEmpty)
        #expect(back.member("badRows")?.intValue == 1)
        let aside = try bench.rows("SELECT source, reason FROM bad_rows WHERE lot = 'P1'")
        #expect(aside.count == 1 && aside.first?["source"] == table)
        #expect(back.note().contains("put aside") || back.note().contains("hole"), "the status says it: \(back.note())")
        // Every entry that can be read stands in the log, without a gap, and the next one behind them.
        let kept = table == "up" ? 3 : 4
        #expect(try bench.seqs() == Array(1...Int64(kept)))
        try await back.enter(plate: "粤B10009", gateCode: "G1")
        #expect(await back.handOut().map(\.seq) == Array(1...Int64(kept + 1)))
        #expect(back.member("inside")?.intValue == (table == "inside" ? 4 : 5))
        // It is put aside once.
        #expect(try bench.box("P1").member("badRows")?.intValue == 1)
    }

    @Test func anEntryThatIsTooDeepForTheWireIsPutAside() async throws {
        let bench = try Bench()
        let box = try bench.box()
        for _ in 0..<3 { try await box.event(type: 1001) }
        let deep = String(repeating: "{\"a\":", count: 33) + "1" + String(repeating: "}", count: 33)
        try bench.write("UPDATE up SET data = ? WHERE seq = 2", [deep])
        let back = try bench.box()
        #expect(back.member("badRows")?.intValue == 1 && back.lastSeq == 2)
    }
}
