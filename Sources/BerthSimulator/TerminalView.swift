import BerthGateway
import BerthLink
import Foundation

/// The view for a person at a terminal: one picture that is drawn over itself; without a terminal a line every five seconds.
struct TerminalView: Sendable {
    let gateway: Gateway
    let drivers: Drivers
    let people: SimulatedUsers?
    let lotCount: Int
    let speed: Double
    let demand: Demand
    let https: String
    let mqtt: String
    let page: String?
    let data: String
    let ca: String
    let sampleLot: String
    /// Login, password and home page of the demo's staff.
    let staff: [(login: String, password: String, page: String)]

    private var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

    func run() async {
        introduce()
        let started = SystemClock.monotonic()
        var drawn = 0
        var seconds = 0
        var before = drivers.tally
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            guard !Task.isCancelled else { break }
            seconds += 1
            let tally = drivers.tally
            if isTerminal {
                drawn = draw(
                    tally, perSecond: tally.reserved - before.reserved, seconds: (SystemClock.monotonic() - started) / 1000, over: drawn)
            } else if seconds % 5 == 0 {
                say(line(tally))
            }
            before = tally
        }
    }

    private func introduce() {
        let day = "$(TZ=Asia/Shanghai date +%F)"
        say(
            """

            泊位 Berth 已启动。The city is open: \(lotCount) lots, drivers at \(speed)× life, with the wishes of \(demand.hour()) o'clock.

              车主 drivers     \(page ?? https + "/")     任意手机号，验证码显示在页面上 any telephone number; the code is on the page
            \(staffLines)  地图 live map    \((page ?? https + "/") + "map")
              场景 scenes      \((page ?? https + "/") + "scenes")   ·   berth scene hospital
              接口 interface   \(https)/api/v1/…   ·   \(mqtt)
              证书 CA          \(ca)
              凭证 credential  \(data)/demo-key.json

            试一试 Try it, in another terminal:
              \(program) call slot.query --data \(data) --url \(https) \\
                --data-json "{\\"parkCode\\":\\"\(sampleLot)\\",\\"bizType\\":1,\\"date\\":\\"\(day)\\"}"
              curl --cacert \(ca) \(https)/live/city
              docs/examples/book.sh \(https) \(ca) \(data)/demo-key.json \(sampleLot)     # sign and book with curl and openssl

            Ctrl-C 结束 ends everything cleanly; the next start goes on where it was.

            """)
    }

    private var staffLines: String {
        let titles = ["city": "城市 city       ", "operator": "车场 operator   ", "developer": "开发 developer  "]
        return staff.map { person in
            "  \(titles[person.login] ?? person.login) \((page ?? https + "/") + person.page)     \(person.login) / \(person.password)\n"
        }.joined()
    }

    private var program: String { CommandLine.arguments.first ?? "berth" }

    private func line(_ t: Drivers.Tally) -> String {
        "links \(gateway.onlineCount)/\(lotCount)  reserved \(t.reserved)  entered \(t.entered)  left \(t.left)  "
            + "cancelled \(t.cancelled)  stayed away \(t.staysAway)  full \(t.full)  turned away \(t.turnedAway)  "
            + "waiting \(t.waiting)  appeals \(t.appealed)  " + townLine + "backlog \(gateway.backlog)"
            + (t.failures > 0 ? "  failures \(t.failures) (\(t.lastFailure.prefix(80)))" : "")
    }

    private var townLine: String {
        guard let town = people?.tally else { return "" }
        return "appointments \(town.appointments)  patients \(town.patients)  offers \(town.offers)  subscriptions \(town.subscriptions)  "
            + "misread \(town.misread)  control room \(town.cases)  plateless \(town.plateless)  banned \(town.banned)  re-homed \(town.rehomed)  revoked \(town.revoked)  "
            + "promoted \(town.promoted)/\(town.waited)  "
    }

    private func draw(_ t: Drivers.Tally, perSecond: Int, seconds: Int64, over lines: Int) -> Int {
        func bar(_ part: Int, _ whole: Int) -> String {
            let filled = whole > 0 ? min(30, max(0, part) * 30 / whole) : 0
            return String(repeating: "█", count: filled) + String(repeating: "░", count: 30 - filled)
        }
        let parked = max(0, t.entered - t.left)
        var picture = [
            "─── \(seconds / 60) min \(seconds % 60) s ───────────────────────────────────────────────",
            " 链路 links       \(bar(gateway.onlineCount, lotCount)) \(gateway.onlineCount)/\(lotCount)   待上报 backlog \(gateway.backlog)",
            " 预约 reserved    \(t.reserved)   (+\(perSecond)/s)     约满 full \(t.full)     其他拒绝 refused \(t.otherwiseRefused)",
            " 入场 entered     \(t.entered)     在场 parked \(parked)     离场 left \(t.left)",
            " 取消 cancelled   \(t.cancelled)     未到 stayed away \(t.staysAway)     未放行 turned away \(t.turnedAway)",
            " 候补 waiting     \(t.waiting)     申诉 appeals \(t.appealed)",
        ]
        if let town = people?.tally {
            picture.append(
                " 挂号 appointments \(town.appointments) (\(town.granted) 留位 kept)   就诊 patients \(town.patients)   共享 offers \(town.offers)   订阅 subscribed \(town.subscriptions)"
            )
            picture.append(
                " 误读 misread \(town.misread)   转人工 control room \(town.cases)   无牌 plateless \(town.plateless)   黑名单 banned \(town.banned)   改派 re-homed \(town.rehomed)   撤销 revoked \(town.revoked)   候补转正 promoted \(town.promoted)/\(town.waited)"
            )
        }
        picture.append("")
        picture += drivers.recent(6).map { "   " + $0 }
        picture += (people?.recent(4) ?? []).map { " ▸ " + $0 }
        if t.failures > 0 { picture.append(" ⚠ 失败 failures \(t.failures): \(t.lastFailure.prefix(100))") }
        var text = lines > 0 ? "\u{1B}[\(lines)A" : ""
        for row in picture { text += "\u{1B}[2K\(row)\n" }
        for _ in picture.count..<max(picture.count, lines) { text += "\u{1B}[2K\n" }
        Output.write(Array(text.utf8))
        return max(picture.count, lines)
    }
}
