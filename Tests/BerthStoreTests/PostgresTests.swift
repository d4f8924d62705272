import BerthCore
import BerthStore
import BerthWire
import Foundation
import Synchronization
import Testing

/// The parts of the PostgreSQL store that the other stores do not have: one writer among several servers, lost connections, a schema of its own.
@Suite struct PostgresTests {
    private static func counted(_ key: String, _ count: Int = 1) -> Commit {
        Commit(at: 1_700_000_000_000, events: [.counted(key: key, delta: count, max: 1_000_000)])
    }

    /// Whatever is committed under a term that has ended is refused, and the server is told to end.
    @Test func aServerWhoseTermHasEndedWritesNothing() throws {
        let address = try TestPostgres.address()
        let reasons = Mutex<[String]>([])
        let store = try TestPostgres.open(address) { reason in reasons.withLock { $0.append(reason) } }
        try store.commit([PostgresTests.counted("ud|19000|a")])
        #expect(store.mayAnswer && store.term == 1)
        try TestPostgres.sql("UPDATE \(address.schema).realm SET term = term + 1")
        let before = try store.dump()
        #expect(throws: StoreError.self) { try store.commit([PostgresTests.counted("ud|19000|b")]) }
        #expect(throws: StoreError.self) { try store.save(Credential(appId: "lt1", secret: "s", role: .lot, name: "x")) }
        let (after, credentials) = (try store.dump(), try store.load(noncesSince: 0).credentials)
        #expect(after == before && credentials.isEmpty)
        #expect(!store.mayAnswer, "nothing is answered from its memory")
        #expect(reasons.withLock { $0.count } == 1)
        store.close()
    }

    /// A second server waits while the first one leads, and goes on where that has ended.
    @Test func aStandbyFollowsTheLeader() throws {
        let address = try TestPostgres.address()
        let first = try TestPostgres.open(address)
        try first.commit([PostgresTests.counted("ud|19000|a"), PostgresTests.counted("ud|19000|a")])
        let opened = Mutex<PostgresStore?>(nil)
        let waits = DispatchSemaphore(value: 0)
        Thread {
            let store = try? TestPostgres.open(address)
            opened.withLock { $0 = store }
            waits.signal()
        }.start()
        // Longer than the lease: a leader that has nothing to write renews it.
        #expect(waits.wait(timeout: .now() + .seconds(6)) == .timedOut)
        #expect(first.mayAnswer)
        try first.commit([PostgresTests.counted("ud|19000|a")])
        first.close()
        #expect(waits.wait(timeout: .now() + .seconds(5)) == .success)
        let second = try #require(opened.withLock { $0 })
        let counters = try second.load(noncesSince: 0).counters
        #expect(second.term == 2 && counters == ["ud|19000|a": 3])
        try second.commit([PostgresTests.counted("ud|19000|a")])
        #expect(try second.journal(after: 0, limit: 99).map(\.id) == [1, 2, 3, 4])
        second.close()
    }

    /// Connections are broken without pause. Every commit is there once, in its order, and no number is left out.
    @Test func lostAnswersAreLookedFor() throws {
        let address = try TestPostgres.address()
        let store = try TestPostgres.open(address)
        let isOver = Atomic<Bool>(false)
        let ended = DispatchSemaphore(value: 0)
        Thread {
            while !isOver.load(ordering: .relaxed) {
                try? TestPostgres.sql(
                    """
                    DO $$ BEGIN FOR i IN 1..40 LOOP PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE application_name = 'berth' AND query NOT LIKE '%realm WHERE id = 1 FOR UPDATE%' AND random() < 0.7;
                        PERFORM pg_sleep(0.012); END LOOP; END $$
                    """)
            }
            ended.signal()
        }.start()
        for number in 0..<400 {
            try store.commit((0..<3).map { PostgresTests.counted("ud|19000|\(number)-\($0)") } + [PostgresTests.counted("ud|19000|all")])
        }
        isOver.store(true, ordering: .relaxed)
        ended.wait()
        #expect(try store.journal(after: 0, limit: 9_999).map(\.id) == Array(1...1600))
        let counters = try store.load(noncesSince: 0).counters
        #expect(counters.count == 1201 && counters["ud|19000|all"] == 400)
        #expect(!store.doubts.isEmpty && store.doubts["lost"] == nil, "\(store.doubts)")
        #expect(try store.verify(Retention(), now: 1_700_000_000_000, isWanted: { true }) == [])
        store.close()
    }

    @Test func whatCannotBeTheSameCityIsRefused() throws {
        let address = try TestPostgres.address()
        try TestPostgres.open(address).close()
        #expect(throws: StoreError.wrongKey) {
            try TestPostgres.open(address, vault: FieldCipher(masterKey: Array(repeating: 8, count: 32)))
        }
        for ahead in [20_000, -20_000] as [Int64] {
            do {
                _ = try TestPostgres.open(address, ahead: ahead)
                Issue.record("a server leads whose clock is wrong")
            } catch { #expect((error as? StoreError)?.reason.contains("clocks") == true) }
        }
        try TestPostgres.sql("UPDATE \(address.schema).realm SET format = 99")
        do {
            _ = try TestPostgres.open(address)
            Issue.record("it was opened")
        } catch { #expect((error as? StoreError)?.reason.contains("later version") == true) }
    }

    @Test func namesOfCitiesAreChecked() {
        #expect(PostgresAddress("postgres://u@h/db?realm=shenzhen_2&sslmode=require")?.schema == "shenzhen_2")
        #expect(PostgresAddress("postgresql://h/db")?.schema == "berth")
        for wrong in [
            "sqlite", "http://h/db", "postgres://h/db?realm=", "postgres://h/db?realm=A", "postgres://h/db?realm=a;b",
            "postgres://h/db?realm=public", "postgres://h/db?realm=pg_x", "postgres://h/db?realm=\(String(repeating: "a", count: 41))",
            "postgres://h\0/db",
        ] { #expect(PostgresAddress(wrong) == nil, "\(wrong)") }
        #expect(PostgresAddress.shown("postgres://u:secret@h/db") == "postgres://u:…@h/db")
        #expect(PostgresAddress.shown("postgres://h/db?user=u&password=secret&x=1") == "postgres://h/db?user=u&password=…&x=1")
        #expect(PostgresAddress.shown("postgres://u:p@ss@h/db") == "postgres://u:…@h/db")
    }

    /// PostgreSQL's texts have no NUL. A lot that sends one gets its own rows only, and the group is committed.
    @Test func aNulEndsNothing() throws {
        let store = try StoreTests.make(.postgres)
        let up = UpResult(
            parkCode: "P1", epoch: "e\0", seq: 1, requestId: "r\0", service: "s", code: 1010, reply: "{}", data: "a\0b", at: 1000,
            recordNo: "x\0")
        let reply = KeptReply(
            appId: "a", requestId: "r\0", nonce: "n\0", service: "s", dataHash: "h", code: 0, data: Array("{}".utf8), at: 1000)
        try store.commit([
            Commit(
                at: 1,
                events: [.registered(parkCode: "P1"), .report(KeptRecord(parkCode: "P1", kind: "k", key: "y\0", body: "\0", at: 1))],
                reply: reply, up: [up])
        ])
        #expect(try store.reply(appId: "a", requestId: "r\0")?.code == 0)
        #expect(try store.up(parkCode: "P1", epoch: "e\0", seq: 1)?.data == "a\0b")
        #expect(try store.load(noncesSince: 0).reports.map(\.key) == ["y\0"])
    }

    /// `berth verify` names a row that somebody changed beside the journal.
    @Test func aChangedRowIsFound() throws {
        let address = try TestPostgres.address()
        let store = try TestPostgres.open(address)
        var running = try StoreTests.Running(store)
        try running.live()
        #expect(try store.verify(Retention(), now: running.now, isWanted: { true }) == [])
        try TestPostgres.sql("UPDATE \(address.schema).lots SET remaining = NULL")
        try TestPostgres.sql("DELETE FROM \(address.schema).visits")
        let found = try store.verify(Retention(), now: running.now, isWanted: { true })
        #expect(found == ["lots: P1 is not what the journal makes of it", "visits: P1|r1 is missing"])
        store.close()
    }

    /// After a backup was put back: new down logs, and order numbers that nobody has been given.
    @Test func aRestoredCityGoesOnBehindWhatItDoesNotKnow() throws {
        let address = try TestPostgres.address()
        let store = try TestPostgres.open(address)
        var running = try StoreTests.Running(store)
        _ = try running.book()
        let (begun, lineage) = (try store.beginLineage(at: running.now, actor: "desk", reason: "a test"), try store.lineage())
        #expect(begun == 1 && lineage == 1)
        let image = try store.load(noncesSince: 0)
        #expect(image.lots.map(\.marks.downEpoch) == [nil] && image.lastSerial == 1 + PostgresStore.skippedSerials)
        #expect(try store.audit(after: 0, limit: 9).map(\.action) == ["store.lineage"])
        let entry = DownEntry(parkCode: "P1", epoch: "d9", seq: 1, at: 1, message: .cancel(orderNo: "O", orderVer: 2, .user))
        try store.commit([Commit(at: 1, events: [.down(entry)])])
        #expect(try store.load(noncesSince: 0).lots.first?.marks.downEpoch == "d9")
        store.close()
    }
}
