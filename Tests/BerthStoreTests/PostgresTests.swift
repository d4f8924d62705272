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
                        WHERE application_name = '\(address.schema)' AND query NOT LIKE '%realm WHERE id = 1 FOR UPDATE%' AND random() < 0.7;
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
        #expect(!store.doubts.isEmpty, "no answer was lost: the test has shown nothing")
        #expect(try store.verify(Retention(), now: 1_700_000_000_000, isWanted: { true }) == [])
        store.close()
    }

    /// A reader of a table, a backup for example, makes no commit wait: neither where a day begins, nor where an old one goes.
    @Test func readersStopNobody() throws {
        let address = try TestPostgres.address()
        let store = try TestPostgres.open(address)
        func reply(_ day: Int64) -> Commit {
            let at = 1_700_000_000_000 + day * 86_400_000
            return Commit(
                at: at, events: [],
                reply: KeptReply(
                    appId: "a", requestId: "r\(day)", nonce: "n\(day)", service: "s", dataHash: "h", code: 0, data: Array("{}".utf8), at: at
                ))
        }
        try store.commit([reply(0)])
        try TestPostgres.reading("SELECT * FROM \(address.schema).replies, \(address.schema).ledger") {
            let start = ContinuousClock.now
            try store.commit([reply(1)])
            try store.commit([reply(40)])
            try store.prune(Retention(), now: 1_700_000_000_000 + 40 * 86_400_000)
            #expect(store.mayAnswer && ContinuousClock.now - start < .seconds(10))
        }
        try store.prune(Retention(), now: 1_700_000_000_000 + 40 * 86_400_000)
        #expect(try store.reply(appId: "a", requestId: "r0") == nil)
        #expect(try store.reply(appId: "a", requestId: "r40")?.code == 0)
        store.close()
    }

    /// The end of a leader's connection says that it is gone only where this run of the database has seen it, and where it can be seen at all.
    @Test(arguments: [
        "backend_pid = 1, postmaster_start = now() - interval '1 day'", "backend_start = NULL", "backend_pid = 1, backend_start = NULL",
    ])
    func whereNothingIsKnownOfALeaderItsLeaseCounts(_ change: String) throws {
        let address = try TestPostgres.address()
        let first = try TestPostgres.open(address)
        try first.commit([PostgresTests.counted("ud|19000|a")])
        try TestPostgres.sql("UPDATE \(address.schema).realm SET \(change), expires = clock_timestamp() + interval '30 s'")
        #expect(throws: StoreError.self) { try TestPostgres.open(address, waits: false) }
        first.close()
    }

    /// A database that ends before what this server has acknowledged: the server ends, and no other one leads what is left until somebody says so.
    @Test func aShorterHistoryIsLedByNobody() throws {
        let address = try TestPostgres.address()
        let reasons = Mutex<[String]>([])
        let store = try TestPostgres.open(address) { reason in reasons.withLock { $0.append(reason) } }
        for number in 1...3 { try store.commit([PostgresTests.counted("ud|19000|\(number)")]) }
        try TestPostgres.sql("DELETE FROM \(address.schema).journal WHERE id = 3; UPDATE \(address.schema).realm SET last = 2")
        try TestPostgres.breakConnections(of: address)
        #expect(throws: StoreError.self) { try store.commit([PostgresTests.counted("ud|19000|4")]) }
        #expect(reasons.withLock { $0.first?.contains("ends at entry 2") } == true, "\(reasons.withLock { $0 })")
        #expect(!store.mayAnswer)
        store.close()
        do {
            _ = try TestPostgres.open(address)
            Issue.record("a shorter history was led")
        } catch { #expect((error as? StoreError)?.reason.contains("ends at entry 2") == true, "\(error)") }
        let again = try TestPostgres.open(address, acceptsLoss: true)
        try again.beginLineage(at: 1_700_000_000_000, actor: "desk", reason: "a test")
        again.close()
        let next = try TestPostgres.open(address)
        #expect(try next.lineage() == 1)
        next.close()
    }

    /// A reservation that was moved to another lot bears a number of the server's making. Two of them may have the same one; a provider's own
    /// number is there once.
    @Test func numbersOfTheServersMakingMayComeTwice() throws {
        let address = try TestPostgres.address()
        let store = try TestPostgres.open(address)
        var running = try StoreTests.Running(store)
        let booked = try #require(try running.book())
        func copy(_ serial: Int64, _ number: String) -> Commit {
            var reservation = booked
            (reservation.serial, reservation.clientOrderNo) = (serial, number)
            reservation.orderNo = "YY20260101\(1_000_000_000 + serial)"
            return Commit(at: running.now, events: [.reservation(reservation)])
        }
        try store.commit([copy(101, "\(booked.clientOrderNo)~1"), copy(102, "\(booked.clientOrderNo)~1")])
        #expect(throws: StoreError.self) { try store.commit([copy(103, booked.clientOrderNo)]) }
        #expect(try store.load(noncesSince: 0).activeOrders.count == 3)
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
        #expect(PostgresAddress.shown("postgres://h/d?sslpassword=a&x=1&password=b") == "postgres://h/d?sslpassword=…&x=1&password=…")
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
