import BerthCore
import BerthStore
import BerthWire
import Foundation
import GRDB
import Testing

/// One behaviour for all stores: the in-memory reference, SQLite and PostgreSQL.
@Suite struct StoreTests {
    enum Engine: String, CaseIterable { case memory, sqlite, postgres }

    static let vault = FieldCipher(masterKey: Array(repeating: 7, count: 32))

    static func make(_ engine: Engine) throws -> any Store {
        switch engine {
        case .memory: return MemoryStore()
        case .sqlite:
            let folder = NSTemporaryDirectory() + "berth-store-" + UUID().uuidString
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            return try SQLiteStore(path: folder + "/berth.sqlite", vault: vault)
        case .postgres: return try TestPostgres.open(TestPostgres.address())
        }
    }

    /// A city that runs on a store: each decision is committed before the next.
    struct Running {
        var city: City
        let store: any Store
        var now: Millis = 1_700_000_000_000
        var count = 0

        init(_ store: any Store) throws {
            self.store = store
            city = City(policy: Policy(), newEpoch: "d1")
            try run(.register(parkCode: "P1"))
            try run(
                .openLot(
                    LotProfile(
                        parkCode: "P1", name: "测试", address: "深圳", regionCode: "440305", longitude: "113.9", latitude: "22.5",
                        coordType: 1, lotType: 4, lotClass: 1, totalCount: 100, quotas: [.reservation: 20, .shared: 0, .publicService: 0],
                        enabled: [.reservation], openHours: [OpenHours(days: [1, 2, 3, 4, 5, 6, 7], start: 0, end: 1440)],
                        freeMin: 15, leaveBufferMin: 15)))
        }

        @discardableResult mutating func run(_ command: Command) throws -> Outcome {
            let decision = try city.decide(command, at: now, reading: store)
            if !decision.events.isEmpty { try store.commit([Commit(at: now, events: decision.events)]) }
            return decision.outcome
        }

        mutating func book(user: String? = nil) throws -> Reservation? {
            count += 1
            let outcome = try run(
                .create(
                    Booking(
                        appId: "app1", clientOrderNo: "c\(count)", requestHash: "h", userToken: user ?? "u\(count)",
                        plate: Plate("粤B\(10_000 + count)")!, plateColor: 0, parkCode: "P1", purpose: .reservation,
                        planTime: now + 50 * 60_000, mobile: "13800000000", extNo: nil)))
            if case .reservation(let reservation, _) = outcome { return reservation }
            return nil
        }

        /// Every kind of event once and more.
        mutating func live() throws {
            try run(.setPolicy(.lot("P1"), ["lateMin": "30"]))
            try run(.reportGates(parkCode: "P1", upsert: [Gate(gateCode: "G1", name: "北", direction: 1)], delete: []))
            try run(.reportRemaining(parkCode: "P1", Remaining(reportedAt: now, total: 100, occupied: 40, remain: 60)))
            let reservations = try (0..<6).compactMap { _ in try book() }
            try run(.modify(appId: "app1", orderNo: reservations[1].orderNo, planTime: now + 40 * 60_000, plate: nil, plateColor: nil))
            try run(.cancel(appId: "app1", orderNo: reservations[2].orderNo, confirmBreach: false))
            try run(.settle(parkCode: "P1", epoch: "d1", ackSeq: 4, [DownResult(seq: 4, isAccepted: false)], assumesRest: true))
            now += 30 * 60_000
            let passage = Passage(
                recordNo: "r1", plate: reservations[0].plate, gateCode: "G1", enterTime: now, carKind: 5, orderNo: reservations[0].orderNo)
            try run(.enter(parkCode: "P1", passage))
            var exit = passage
            exit.leaveTime = now + 60_000
            exit.exitGateCode = "G1"
            try run(.exit(parkCode: "P1", exit))
            for seq in Int64(1)...3 {
                try store.commit([Commit(at: now, events: [city.consume("P1", epoch: "e1", seq: seq)])])
            }
            try store.commit([Commit(at: now, events: [city.consume("P1", epoch: "e2", seq: 1)])])
            now += 3 * 3_600_000
            city.notePassed("P1", through: now)
            try run(.expire(parkCode: "P1"))
        }
    }

    @Test(arguments: Engine.allCases)
    func whatWasCommittedIsThere(_ engine: Engine) throws {
        let store = try StoreTests.make(engine)
        var running = try Running(store)
        try running.live()
        let image = try store.load(noncesSince: 0)
        let lot = try #require(image.lots.first)
        let state = try #require(running.city.lots["P1"])
        #expect(lot.profile == state.profile && lot.gates == [Gate(gateCode: "G1", name: "北", direction: 1)])
        #expect(lot.marks.up == state.up && lot.marks.up.closed == ["e1"])
        #expect((lot.marks.downEpoch, lot.marks.downLast, lot.marks.downAck) == (state.downEpoch, state.downLast, state.downAck))
        #expect(lot.marks.awaiting == state.awaiting)
        #expect(image.activeOrders == state.inForce)
        for reservation in state.reservations.values { #expect(try store.reservation(reservation.orderNo) == reservation) }
        #expect(try store.reservation("YY202311150000000099") == nil)
        #expect(try store.reservation("nonsense") == nil)
        #expect(try store.reservation(appId: "app1", clientOrderNo: "c1")?.clientOrderNo == "c1")
        #expect(try store.reservation(appId: "app2", clientOrderNo: "c1") == nil)
        #expect(try store.visit(parkCode: "P1", recordNo: "r1")?.leaveTime != nil)
        #expect(try store.down(parkCode: "P1", epoch: "d1", after: 2, limit: 3).map(\.seq) == [3, 4, 5])
        #expect(try store.reservations(ReservationFilter(appId: "app1", limit: 2)).map(\.serial) == [6, 5])
        #expect(
            try store.reservations(ReservationFilter(status: .rejected)).count
                == state.reservations.values.filter { $0.status == .rejected }.count)
    }

    /// State comes up from the store as it was in memory: the next decisions are the same.
    @Test(arguments: Engine.allCases)
    func aCityReadBackDecidesAsBefore(_ engine: Engine) throws {
        let store = try StoreTests.make(engine)
        var running = try Running(store)
        try running.live()
        let image = try store.load(noncesSince: 0)
        var city = image.city(policy: Policy(), newEpoch: "dX", now: running.now)
        for number in 0..<30 {
            let booking = Booking(
                appId: "app1", clientOrderNo: "again\(number)", requestHash: "h", userToken: "u\(number % 7)",
                plate: Plate("粤C\(10_000 + number)")!, plateColor: 0, parkCode: "P1", purpose: .reservation,
                planTime: running.now + Millis(number) * 60_000, mobile: "", extNo: nil)
            let one = try running.city.decide(.create(booking), at: running.now, reading: store)
            let two = try city.decide(.create(booking), at: running.now, reading: store)
            #expect(one.outcome == two.outcome && one.events == two.events)
        }
    }

    /// The journal alone makes all rows again, in either store, and both stores have the same rows.
    @Test func theJournalMakesAllRowsAgain() throws {
        let memory = MemoryStore()
        let (sqlite, postgres) = (try StoreTests.make(.sqlite), try StoreTests.make(.postgres))
        for store in [memory, sqlite, postgres] {
            var running = try Running(store)
            try running.live()
        }
        for durable in [sqlite, postgres] {
            let (one, other) = (memory.dump(), try durable.dump())
            #expect(one == other)
        }
        #expect(memory.dump().count > 20)
        for source in [memory, sqlite, postgres] {
            for engine in Engine.allCases {
                let again = try StoreTests.make(engine)
                for commit in try source.journal() { try again.commit([commit]) }
                do {
                    let (one, other) = (try again.dump(), try source.dump())
                    #expect(one == other)
                }
            }
        }
    }

    /// A group is written several rows at a time; what stands there afterwards is what its commits make one by one.
    @Test(arguments: Engine.allCases, [1, 2, 3, 7, 19, 200])
    func aGroupIsItsCommitsOneByOne(_ engine: Engine, size: Int) throws {
        let source = MemoryStore()
        var running = try Running(source)
        try running.live()
        // Users who come again count in rows that were written just before.
        for number in 0..<40 { _ = try running.book(user: "often\(number % 9)") }
        let last = try #require(running.city.lots["P1"]?.downLast)
        try running.run(.settle(parkCode: "P1", epoch: "d1", ackSeq: last, [], assumesRest: true))
        let commits = try source.journal().enumerated().map { index, commit in
            Commit(
                at: commit.at, events: commit.events,
                reply: KeptReply(
                    appId: "app1", requestId: "r\(index)", nonce: "n\(index)", service: "s", dataHash: "h", code: 0,
                    data: Array("{\"index\":\(index)}".utf8), at: commit.at),
                up: [
                    UpResult(
                        parkCode: "P1", epoch: "up", seq: Int64(index), requestId: "q\(index)", service: "s", code: 0, reply: "{}",
                        data: "{}",
                        at: commit.at)
                ])
        }
        #expect(commits.count >= 40)
        let store = try StoreTests.make(engine)
        for start in stride(from: 0, to: commits.count, by: size) {
            try store.commit(Array(commits[start..<min(start + size, commits.count)]))
        }
        do {
            let (one, other) = (try store.dump(), source.dump())
            #expect(one == other)
        }
        do {
            let (one, other) = (try store.journal().map(\.events), try source.journal().map(\.events))
            #expect(one == other)
        }
        #expect(try store.down(parkCode: "P1", epoch: "d1", after: 0, limit: 1000).map(\.seq) == Array(1...last))
        for index in commits.indices {
            #expect(try store.reply(appId: "app1", requestId: "r\(index)") == commits[index].reply)
            #expect(try store.up(parkCode: "P1", epoch: "up", seq: Int64(index))?.requestId == "q\(index)")
        }
    }

    @Test(arguments: Engine.allCases)
    func aRefusedClaimLeavesNothing(_ engine: Engine) throws {
        let store = try StoreTests.make(engine)
        try store.commit([Commit(at: 1, events: [.counted(key: "k", delta: 2, max: 2)])])
        let before = try store.dump()
        #expect(throws: StoreError.self) {
            try store.commit([
                Commit(at: 2, events: [.registered(parkCode: "P9")]),
                Commit(at: 2, events: [.counted(key: "k", delta: 1, max: 2)]),
            ])
        }
        #expect(try store.dump() == before)
        try store.commit([Commit(at: 3, events: [.counted(key: "k", delta: -1, max: 2), .counted(key: "k", delta: 1, max: 2)])])
    }

    @Test(arguments: Engine.allCases)
    func repliesAndResultsAreKept(_ engine: Engine) throws {
        let store = try StoreTests.make(engine)
        let reply = KeptReply(
            appId: "a", requestId: "r", nonce: "n", service: "s", dataHash: "h", code: 1101, data: Array("{}".utf8), at: 1000)
        let up = UpResult(
            parkCode: "P1", epoch: "e", seq: 1, requestId: "r", service: "s", code: 1010, reply: "{}", data: "{}", at: 1000)
        try store.commit([Commit(at: 1000, events: [], reply: reply, up: [up])])
        #expect(try store.reply(appId: "a", requestId: "r") == reply)
        #expect(try store.up(parkCode: "P1", epoch: "e", seq: 1) == up)
        #expect(try store.deadLetters(parkCode: "P1", since: 0, before: nil, limit: 9) == [up])
        let image = try store.load(noncesSince: 900)
        #expect(image.nonces.map(\.nonce) == ["n"])
        #expect(try store.reply(key: KeptReply.key("a", "r"), appId: "b", requestId: "r") == nil, "a key is not a name")
        try store.prune(Retention(), now: 1001 + WireLimits.replyMillis)
        #expect(try store.reply(appId: "a", requestId: "r") == nil)
    }

    /// What the reply says stands in the entry of its order: the store gives it back as it was.
    @Test(arguments: Engine.allCases)
    func aReplyIsReadFromItsOrder(_ engine: Engine) throws {
        let store = try StoreTests.make(engine)
        var running = try Running(store)
        let decision = try running.city.decide(
            .create(
                Booking(
                    appId: "app1", clientOrderNo: "c", requestHash: "h", userToken: "u", plate: Plate("粤B12345")!, plateColor: 0,
                    parkCode: "P1", purpose: .reservation, planTime: running.now + 3_000_000, mobile: "13800000000", extNo: nil)),
            at: running.now, reading: store)
        guard case .reservation(let reservation, _) = decision.outcome else { throw StoreError.unavailable("no order") }
        let reply = KeptReply(
            appId: "app1", requestId: "r", nonce: "n", service: "order.create", dataHash: "h", code: 0,
            data: Encode.orderText(reservation, alternatives: []), at: running.now, showsOrder: true)
        try store.commit([Commit(at: running.now, events: decision.events, reply: reply)])
        #expect(try store.reply(appId: "app1", requestId: "r") == reply)
        // The order goes on; what was answered stays.
        _ = try running.run(.cancel(appId: "app1", orderNo: reservation.orderNo, confirmBreach: false))
        #expect(try store.reservation(reservation.orderNo)?.status == .cancelled)
        #expect(try store.reservation(appId: "app1", clientOrderNo: "c")?.status == .cancelled)
        #expect(try store.reply(appId: "app1", requestId: "r") == reply)
        let sent = try store.down(parkCode: "P1", epoch: "d1", after: 0, limit: 9)
        #expect(sent.map(\.service) == ["order.reserve.push", "order.reserve.cancel"])
        var first = reservation
        first.downSeq = 1
        #expect(sent.first?.data == Encode.lotMessage(.reserve(first)).data.string)
    }

    /// A down log whose rows are settled and gone goes on behind them.
    @Test(arguments: Engine.allCases)
    func aPrunedLogGoesOn(_ engine: Engine) throws {
        let store = try StoreTests.make(engine)
        var running = try Running(store)
        for _ in 0..<3 { _ = try running.book() }
        try running.run(
            .settle(
                parkCode: "P1", epoch: "d1", ackSeq: 3, (1...3).map { DownResult(seq: Int64($0), isAccepted: true) }, assumesRest: false))
        try store.prune(Retention(), now: running.now + WireLimits.downKeepMillis + 1)
        #expect(try store.down(parkCode: "P1", epoch: "d1", after: 0, limit: 9).isEmpty)
        let lot = try #require(try store.load(noncesSince: 0).lots.first)
        #expect(lot.marks.downEpoch == "d1" && lot.marks.downLast == 3 && lot.marks.downAck == 3 && lot.marks.awaiting.isEmpty)
    }

    @Test(arguments: Engine.allCases)
    func credentials(_ engine: Engine) throws {
        let store = try StoreTests.make(engine)
        let credential = Credential(appId: "lt1", secret: "s", role: .lot, name: "x", parkCodes: ["P1"], ratePerSecond: 5)
        try store.save(credential)
        #expect(try store.load(noncesSince: 0).credentials == [credential])
        #expect("\(credential)" == "lot lt1", "a secret never prints")
    }

    /// A row carries its key in its body: whatever stands in the key, the next start reads both.
    @Test(arguments: Engine.allCases)
    func keysOfEveryKindComeBack(_ engine: Engine) throws {
        let store = try StoreTests.make(engine)
        let keys = ["a", "a\nb", "a\\nb", "\\", "\n", "a\\\n\\n", "车位 1", "{\"x\":1}\n"]
        try store.commit([
            Commit(
                at: 1,
                events: [.registered(parkCode: "P1")]
                    + keys.map { .report(KeptRecord(parkCode: "P1", kind: "k", key: $0, body: "{\n}", at: 1)) })
        ])
        let found = try store.load(noncesSince: 0).reports
        #expect(Set(found.map(\.key)) == Set(keys) && found.allSatisfy { $0.body == "{\n}" })
    }

    /// What is sealed cannot be read in the file, with or without SQLite, and not be opened under another key.
    @Test func platesAndPhonesAreSealed() throws {
        let folder = NSTemporaryDirectory() + "berth-store-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let path = folder + "/berth.sqlite"
        let store = try SQLiteStore(path: path, vault: StoreTests.vault)
        var running = try Running(store)
        try running.live()
        let plate = try #require(Plate("粤B77777"))
        try running.run(
            .post(
                parkCode: "P1", service: "list.black.push", body: "{\"plateNo\":\"\(plate.revealed)\"}",
                sets: KeptRecord(parkCode: "P1", kind: "list.black.push", key: plate.revealed, body: "{\"plateNo\":\"粤B77777\"}", at: 1)))
        let up = UpResult(
            parkCode: "P1", epoch: "e", seq: 1, requestId: "r", service: "s", code: 1010, reply: "{}", data: "粤B88888", at: 1000)
        let reply = KeptReply(
            appId: "a", requestId: "r", nonce: "n", service: "s", dataHash: "h", code: 0, data: Array("{\"plateNo\":\"粤B99999\"}".utf8),
            at: 1)
        try store.commit([Commit(at: 1, events: [], reply: reply, up: [up])])
        var secret = Credential(appId: "sp1", secret: "a-secret-that-must-not-show", role: .provider, name: "x")
        secret.rotate(to: "the-next-secret-neither")
        try store.save(secret)
        #expect(try store.up(parkCode: "P1", epoch: "e", seq: 1) == up)
        #expect(try store.reply(appId: "a", requestId: "r") == reply)
        #expect(try store.load(noncesSince: 0).credentials == [secret])
        #expect(try store.reservations(ReservationFilter(plate: Plate("粤B10001"))).map(\.clientOrderNo) == ["c1"], "by its keyed hash")
        #expect(try store.reservations(ReservationFilter(plate: plate)).isEmpty)
        store.close()
        for name in ["berth.sqlite", "berth.sqlite-wal"] {
            let bytes = FileManager.default.contents(atPath: folder + "/" + name) ?? Data()
            for text in ["粤B1000", "粤B77777", "粤B88888", "粤B99999", "13800000000", "must-not-show", "secret-neither"] {
                #expect(bytes.range(of: Data(text.utf8)) == nil, "\(text) stands in \(name)")
            }
        }
        #expect(throws: StoreError.wrongKey) {
            _ = try SQLiteStore(path: path, vault: FieldCipher(masterKey: Array(repeating: 8, count: 32))).load(noncesSince: 0)
        }
    }

    /// A record that is changed, or taken out of the middle, breaks the chain.
    @Test(arguments: Engine.allCases)
    func theAuditChainShowsWhatWasDoneToIt(_ engine: Engine) throws {
        let store = try StoreTests.make(engine)
        for number in 1...5 {
            let record = AuditRecord(at: Millis(number), actor: "op1", action: "gate.control", target: "P1", detail: "\(number)")
            try store.commit([Commit(at: 1, events: [], audit: record)])
        }
        var records = try store.audit(after: 0, limit: 9)
        #expect(records.map(\.id) == [1, 2, 3, 4, 5] && AuditRecord.firstBroken(records) == nil)
        #expect(try store.audit(after: 3, limit: 1).map(\.id) == [4])
        records[2].detail = "changed"
        #expect(AuditRecord.firstBroken(records)?.id == 3)
        records = try store.audit(after: 0, limit: 9)
        records.remove(at: 1)
        #expect(AuditRecord.firstBroken(records)?.id == 3)
    }

    /// Every class of data has its time: records and audit after a year, what is active never.
    @Test(arguments: Engine.allCases)
    func whatIsOverIsRetired(_ engine: Engine) throws {
        let store = try StoreTests.make(engine)
        var running = try Running(store)
        try running.live()
        let active = try #require(try running.book())
        try store.commit([
            Commit(at: running.now, events: [], audit: AuditRecord(at: running.now, actor: "a", action: "b", target: "c", detail: ""))
        ])
        var retention = Retention()
        retention.recordsMillis = 86_400_000
        try store.retire(retention, now: running.now + 500)
        #expect(try store.reservations(ReservationFilter()).count == 7)
        try store.retire(retention, now: running.now + 2 * 86_400_000)
        #expect(try store.reservations(ReservationFilter()).map(\.orderNo) == [active.orderNo])
        #expect(try store.visit(parkCode: "P1", recordNo: "r1") == nil)
        #expect(try store.notices(LotEventFilter(limit: 9)).isEmpty)
        #expect(try store.audit(after: 0, limit: 9).count == 1, "the audit record has a time of its own")
        retention.auditMillis = 1000
        try store.retire(retention, now: running.now + 2000)
        // The last one stays: the next one follows from it.
        #expect(try store.audit(after: 0, limit: 9).count <= 1)
    }

    /// A redirect's nonce is remembered for longer than its address is good, and not for ever.
    @Test(arguments: Engine.allCases)
    func whatIsGoodOnceIsForgottenLater(_ engine: Engine) throws {
        let store = try StoreTests.make(engine)
        var running = try Running(store)
        #expect(try running.run(.useOnce(key: "a|n")) == .done && running.run(.useOnce(key: "a|n")) == .refused(.nonceRepeated))
        func kept() throws -> Int { try store.load(noncesSince: 0).reports.filter { $0.kind == City.onceKind }.count }
        try store.prune(Retention(), now: running.now + City.onceMillis)
        #expect(try kept() == 1)
        try store.prune(Retention(), now: running.now + City.onceMillis + 1)
        #expect(try kept() == 0)
    }

    @Test(arguments: Engine.allCases)
    func picturesAndCounts(_ engine: Engine) throws {
        let store = try StoreTests.make(engine)
        var picture = Picture(
            imageId: "i1", appId: "lt1", parkCode: "P1", type: 1, ext: "jpg", size: 10, sha256: "00", createdAt: 100, expireAt: 200)
        try store.save(picture)
        try store.save(
            Picture(
                imageId: "i2", appId: "lt1", parkCode: "P1", type: 1, ext: "jpg", size: 10, sha256: "00", createdAt: 100, expireAt: 200))
        picture.completedAt = 150
        try store.save(picture)
        #expect(try store.picture("i1") == picture)
        #expect(try store.picture("i9") == nil)
        #expect(try store.removePictures(madeBefore: 50, ticketsBefore: 300) == ["i2"], "a ticket that was never used up")
        #expect(try store.removePictures(madeBefore: 101, ticketsBefore: 0) == ["i1"])
        let key = DayCount.Key(day: 20_000, parkCode: "P1", appId: "sp1")
        try store.add([DayCount(key: key, counts: ["orders": 2, "peakSaturation": 700])], through: 5)
        try store.add([DayCount(key: key, counts: ["orders": 3, "peakSaturation": 400])], through: 9)
        #expect(
            try store.counts(days: 20_000...20_000, parkCode: nil, appId: "sp1") == [
                DayCount(key: key, counts: ["orders": 5, "peakSaturation": 700])
            ])
        #expect(try store.counts(days: 20_000...20_000, parkCode: "P2", appId: nil).isEmpty)
        #expect(try store.countedThrough() == 9)
    }

    /// The database has the second word: a counter's limit holds, and a position of a down log is given once, with none left out.
    @Test(arguments: [Engine.sqlite, .postgres])
    func theDatabaseHasTheSecondWord(_ engine: Engine) throws {
        let store = try StoreTests.make(engine)
        func entry(_ seq: Int64) -> DownEntry {
            DownEntry(parkCode: "P1", epoch: "d1", seq: seq, at: 1, message: .cancel(orderNo: "O\(seq)", orderVer: 2, .user))
        }
        try store.commit([
            Commit(
                at: 1,
                events: [
                    .registered(parkCode: "P1"), .down(entry(1)), .down(entry(2)), .counted(key: "ud|19000|a|u", delta: 2, max: 2),
                    .downSettled(parkCode: "P1", epoch: "d1", ackSeq: 1, [DownResult(seq: 1, isAccepted: true)]),
                ])
        ])
        #expect(throws: StoreError.self) {
            try store.commit([Commit(at: 1, events: [.counted(key: "ud|19000|a|u", delta: 1, max: 2)])])
        }
        #expect(try store.load(noncesSince: 0).counters["ud|19000|a|u"] == 2)
        for seq in [2, 4] as [Int64] {
            #expect(throws: StoreError.self) { try store.commit([Commit(at: 1, events: [.down(entry(seq))])]) }
        }
        try store.prune(Retention(), now: 1_900_000_000_000)
        #expect(try store.down(parkCode: "P1", epoch: "d1", after: 0, limit: 9).map(\.seq) == [2], "the first one is settled and old")
        #expect(try store.load(noncesSince: 0).counters.isEmpty, "and the counter's day long over")
    }

    /// A database that a later version has changed is refused by name and left as it is.
    @Test func aLaterDatabaseIsRefused() throws {
        let folder = NSTemporaryDirectory() + "berth-store-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let path = folder + "/berth.sqlite"
        _ = try SQLiteStore(path: path, vault: StoreTests.vault)
        let queue = try DatabaseQueue(path: path)
        try queue.write { try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('9 of a later version')") }
        try queue.close()
        do {
            _ = try SQLiteStore(path: path, vault: StoreTests.vault)
            Issue.record("it was opened")
        } catch { #expect(error.reason.contains("later version")) }
    }

    /// A database of a development build, which no release made, is refused by name and left as it is.
    @Test func anUnreleasedDatabaseIsRefused() throws {
        let folder = NSTemporaryDirectory() + "berth-store-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let path = folder + "/berth.sqlite"
        let queue = try DatabaseQueue(path: path)
        try queue.write { try $0.execute(sql: "CREATE TABLE journal(id INTEGER PRIMARY KEY, body TEXT)") }
        try queue.close()
        do {
            _ = try SQLiteStore(path: path, vault: StoreTests.vault)
            Issue.record("it was opened")
        } catch { #expect(error.reason.contains("development build")) }
        let again = try DatabaseQueue(path: path)
        #expect(try again.read { try $0.tableExists("lots") } == false)
    }
}
