import BerthGateway
import BerthLink
import BerthWire
import Foundation
import Synchronization
import Testing

/// Who may speak to the local API.
@Suite struct DoorTests {
    private let door = Doorkeeper(token: "0123456789abcdef", listen: ("192.168.1.5", 9080), hosts: ["box.lan", "proxy.lan:443"])

    private func status(_ body: () throws(Doorkeeper.Rejection) -> Void) -> Int {
        do { try body() } catch { return error.status }
        return 200
    }

    @Test(arguments: [
        ("192.168.1.5:9080", 200), ("localhost:9080", 200), ("LOCALHOST:9080", 200), ("127.0.0.1:9080", 200), ("[::1]:9080", 200),
        ("box.lan", 200), ("box.lan:9080", 200), ("box.lan:1", 200), ("proxy.lan:443", 200), ("proxy.lan", 421), ("proxy.lan:9080", 421),
        ("localhost", 421), ("localhost:80", 421), ("127.0.0.1:9081", 421), ("evil.example:9080", 421), ("evil.example", 421),
        ("localhost.evil.example:9080", 421), ("localhost:9080@evil", 421), ("", 421), ("127.0.0.1:99999999999999999999", 421),
        ("[::1]", 421), ("[::1", 421), (":::", 421), ("192.168.1.5:9080:9080", 421), (String(repeating: "a\u{301}", count: 5_000), 421),
    ]) func hosts(_ host: String, _ expected: Int) {
        #expect(status { () throws(Doorkeeper.Rejection) in try door.checkHost(host, local: "192.168.1.5") } == expected)
    }

    @Test func aRequestWithoutHostIsRefused() {
        #expect(status { () throws(Doorkeeper.Rejection) in try door.checkHost(nil, local: nil) } == 421)
    }

    @Test func onAllAddressesTheOneThatWasCalledIsRight() {
        let open = Doorkeeper(token: "0123456789abcdef", listen: ("0.0.0.0", 9080), hosts: [])
        func check(_ host: String, _ local: String) -> Int {
            status { () throws(Doorkeeper.Rejection) in try open.checkHost(host, local: local) }
        }
        #expect(check("10.0.0.7:9080", "10.0.0.7") == 200 && check("10.0.0.8:9080", "10.0.0.7") == 421)
        #expect(check("box:9080", "10.0.0.7") == 421 && check("[fd00::1]:9080", "fd00::1") == 200)
        // Where one address is listened on, only that.
        #expect(status { () throws(Doorkeeper.Rejection) in try door.checkHost("10.0.0.7:9080", local: "10.0.0.7") } == 421)
    }

    @Test(
        arguments: [
            (nil, 200), ("http://localhost:9080", 200), ("http://192.168.1.5:9080", 200), ("https://proxy.lan:443", 200), ("null", 403),
            ("http://evil.example", 403), ("http://localhost", 403), ("file://", 403), ("http://localhost:9080.evil.example", 403),
            ("", 403),
        ] as [(String?, Int)]) func origins(_ origin: String?, _ expected: Int)
    {
        #expect(status { () throws(Doorkeeper.Rejection) in try door.checkOrigin(origin, local: nil) } == expected)
    }

    @Test(
        arguments: [
            (nil, 401), ("", 401), ("Bearer", 401), ("Bearer ", 401), ("Bearer 0123456789abcdef", 200), ("bearer  0123456789abcdef", 200),
            ("Bearer 0123456789abcdeF", 401), ("Basic 0123456789abcdef", 401), ("Bearer 0123456789abcdef0", 401), ("0123456789abcdef", 401),
            ("Bearer " + String(repeating: "a\u{301}", count: 5_000), 401),
        ] as [(String?, Int)]) func tokens(_ header: String?, _ expected: Int)
    {
        #expect(status { () throws(Doorkeeper.Rejection) in try door.checkToken(header) } == expected)
    }

    @Test func thePageKnowsItsBrowserByACookieThatIsNoToken() {
        #expect(!door.mayPage(query: nil, cookies: nil, authorization: nil))
        #expect(door.mayPage(query: "0123456789abcdef", cookies: nil, authorization: nil))
        #expect(!door.mayPage(query: "wrong", cookies: door.cookie, authorization: nil))
        let pair = String(door.cookie.prefix { $0 != ";" })
        #expect(door.mayPage(query: nil, cookies: "a=b; \(pair); c=d", authorization: nil))
        #expect(!door.mayPage(query: nil, cookies: pair + "0", authorization: nil) && !pair.contains("0123456789abcdef"))
        #expect(door.cookie.contains("HttpOnly") && door.cookie.contains("SameSite=Strict"))
        #expect(door.mayPage(query: nil, cookies: nil, authorization: "Bearer 0123456789abcdef"))
        let other = Doorkeeper(token: "fedcba9876543210", listen: ("localhost", 1), hosts: [])
        #expect(!other.mayPage(query: nil, cookies: pair, authorization: nil) && other.cookieName != door.cookieName)
    }

    @Test(
        arguments: [
            ("application/json", 200), ("application/json; charset=utf-8", 200), ("APPLICATION/JSON;charset=UTF-8", 200), (nil, 415),
            ("", 415),
            ("text/plain", 415), ("application/x-www-form-urlencoded", 415), ("application/json; charset=gbk", 415),
            ("text/plain, application/json", 415),
        ] as [(String?, Int)]) func contentTypes(_ header: String?, _ expected: Int)
    {
        #expect(status { () throws(Doorkeeper.Rejection) in try Doorkeeper.checkContentType(header) } == expected)
    }

    @Test func sessionsAreShortSafeNames() throws {
        #expect(try Doorkeeper.session(nil).isEmpty)
        #expect(try Doorkeeper.session("lane-1.A_b") == "lane-1.A_b")
        for odd in ["", " ", "a b", "岗亭", "a;b", String(repeating: "x", count: 65), "a\u{301}"] {
            #expect(status { () throws(Doorkeeper.Rejection) in _ = try Doorkeeper.session(odd) } == 400)
        }
    }
}

/// Commands and the session that took them.
@Suite struct CommandTests {
    @Test func anAnswerIsTheSessionsThatTookTheCommand() async {
        let queue = PMSCommandQueue()
        let answered = Mutex<[Int]>([])
        queue.post("gate.control", [:], milliseconds: 5_000) { answer in answered.withLock { $0.append(answer.code) } }
        #expect(answered.withLock { $0 } == [601], "no PMS listens")
        _ = await queue.take(session: "a", milliseconds: 0)
        queue.post("gate.control", [:], milliseconds: 5_000) { answer in answered.withLock { $0.append(answer.code) } }
        let taken = await queue.take(session: "a", milliseconds: 0)
        #expect(taken.count == 1)
        let id = taken.first?.id ?? ""
        for other in ["", "b", "A", "a "] { #expect(queue.answer(id, session: other, Reply()) == .otherSession) }
        for unknown in ["", "x", SystemRandom.uuid(), String(repeating: "\u{301}", count: 60_000)] {
            #expect(queue.answer(unknown, session: "a", Reply()) == .unknown)
        }
        #expect(queue.answer(id, session: "a", Reply(code: 5)) == .taken && queue.answer(id, session: "a", Reply()) == .unknown)
        #expect(answered.withLock { $0 } == [601, 5])
    }

    @Test(arguments: [Int64.min, -1, 0]) func timesOutOfRangeEndAtOnce(_ time: Int64) async {
        let queue = PMSCommandQueue()
        #expect(await queue.take(milliseconds: time).isEmpty)
        let answered = Mutex<[Int]>([])
        queue.post("gate.control", [:], milliseconds: time) { answer in answered.withLock { $0.append(answer.code) } }
        queue.sweep()
        #expect(answered.withLock { $0 } == [602])
        queue.post("gate.control", [:], milliseconds: .max) { _ in }
        #expect(
            await queue.take(milliseconds: 0).first.map { $0.deadline - SystemClock.monotonic() <= PMSCommandQueue.commandMillisMax }
                == true)
    }

    @Test func noMoreCommandsThanAPMSCanTake() async {
        let queue = PMSCommandQueue()
        _ = await queue.take(milliseconds: 0)
        let refused = Mutex(0)
        for _ in 0..<1_100 {
            queue.post("gate.control", [:], milliseconds: 60_000) { answer in if answer.code == 300 { refused.withLock { $0 += 1 } } }
        }
        #expect(refused.withLock { $0 } == 100)
    }
}
