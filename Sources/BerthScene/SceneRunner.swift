import BerthCore
import BerthWire

/// Plays a scene: the messages of the interface go through the real decoding into the real rules, each lot keeps the list that a real box
/// keeps, and the clock jumps from step to step through everything that falls due on the way.
public struct SceneRunner {
    /// A lot and the box at it.
    struct Site {
        var list = LocalList()
        var inside: [Plate: (record: String, orderNo: String?, enterTime: Millis)] = [:]
        var isLinked = true
        var downRead: Int64 = 0
        var queue: [(service: String, data: JSONObject)] = []
        var upSeq: Int64 = 0
        var records = 0
        var capacity = 0
        var others = 0
    }

    struct Fault: Error { let why: String }

    var city: City
    var now: Millis
    let day: Int64
    var sites: [String: Site] = [:]
    var down: [String: [DownEntry]] = [:]
    var named: [String: JSON] = [:]
    var calls = 0
    var heard: [String] = []
    var lastOrders: [String: String] = [:]

    /// The Wednesday on which every scene begins.
    static let firstDay = CivilTime.day(year: 2026, month: 3, day: 4)!

    public init() {
        day = SceneRunner.firstDay
        now = CivilTime.start(ofDay: day) + 6 * 60 * CivilTime.minute
        var policy = Policy()
        // A story has one driver who does many things in a day.
        policy.dailyMaxPerUser = 1000
        policy.dailyMaxPerPlate = 1000
        // Its lots lend their own places all day.
        policy.shareWindow = "00:00-24:00"
        city = City(policy: policy, newEpoch: "s1", calendar: Dialect.current.calendar)
        city.listeners = ["app", "hospital"]
    }

    /// Everything that came of it, step by step; a stage that cannot be built throws.
    public static func run(_ scene: Scene) throws(Scene.Unreadable) -> [SceneResult] {
        var runner = SceneRunner()
        var results: [SceneResult] = []
        for part in scene.parts {
            switch part {
            case .prose: continue
            case .stage(let header, let rows):
                for row in rows {
                    do throws(Fault) { try runner.build(header, row.cells) } catch {
                        throw Scene.Unreadable(line: row.line, why: error.why)
                    }
                }
            case .act(_, let steps): for step in steps { results.append(runner.play(step)) }
            }
        }
        return results
    }

    // MARK: The stage

    mutating func build(_ header: [String], _ cells: [String]) throws(Fault) {
        func cell(_ names: String...) -> String? {
            for (index, title) in header.enumerated() where names.contains(where: { title.lowercased().contains($0) }) {
                return cells[index]
            }
            return nil
        }
        func number(_ names: String..., default value: Int = 0) throws(Fault) -> Int {
            for (index, title) in header.enumerated() where names.contains(where: { title.lowercased().contains($0) }) {
                if cells[index] == "–" { return 0 }
                guard let number = Int(cells[index]) else { throw Fault(why: "\(title): a number expected, not \(cells[index])") }
                return number
            }
            return value
        }
        guard let parkCode = cell("车场", "lot"), Envelope.isParkCode(parkCode) else { throw Fault(why: "a lot's code expected") }
        let total = try number("总数", "total", default: 100)
        let quotas = (try number("预约", "reserv"), try number("共享", "shar"), try number("公共", "public"))
        let data: JSON = [
            "parkCode": .string(parkCode), "parkName": .string(cell("名称", "name") ?? parkCode), "address": "深圳", "regionCode": "440304",
            "lng": .string(cell("经度", "lng") ?? "114.0500"), "lat": .string(cell("纬度", "lat") ?? "22.5400"), "coordType": 1, "lotType": 4,
            "lotClass": 1, "totalSpace": .int(total), "reserveSpace": .int(quotas.0), "shareSpace": .int(quotas.1),
            "publicBizSpace": .int(quotas.2), "reserveEnabled": .bool(quotas.0 > 0),
            // "–" is no sharing; 0 is sharing of offered spaces alone.
            "shareEnabled": .bool(cell("共享", "shar").map { $0 != "–" } ?? false),
            "publicBizEnabled": .bool(quotas.2 > 0), "freeMin": 15, "leaveBufferMin": 15,
            "openHours": [["days": [1, 2, 3, 4, 5, 6, 7], "start": "00:00", "end": "24:00"]],
        ]
        _ = decide(.register(parkCode: parkCode))
        let answer = call("lot.info.report", data.objectValue!, appId: "lot", parkCode: parkCode)
        guard answer.code == 0 else { throw Fault(why: "\(answer.resultCode.zh) \(answer.resultCode.en)") }
        var site = Site()
        site.capacity = total
        sites[parkCode] = site
    }

    // MARK: Steps

    mutating func play(_ step: SceneStep) -> SceneResult {
        heard = []
        do throws(Fault) {
            if !step.time.isEmpty {
                guard let time = time(step.time) else { throw Fault(why: "time: HH:mm expected, not \(step.time)") }
                guard time >= now else { throw Fault(why: "\(step.time) is before the step above it") }
                pass(to: time)
            }
            let (answer, said) = try perform(step)
            let fault = try judge(step, answer)
            return SceneResult(step: step, fault: fault, said: said, heard: heard)
        } catch {
            return SceneResult(step: step, fault: error.why, said: "", heard: heard)
        }
    }

    mutating func perform(_ step: SceneStep) throws(Fault) -> (Reply, String) {
        let pairs = SceneRunner.pairs(step.with)
        if let deed = SceneWords.deeds[step.does] {
            let result = try perform(deed, step, pairs)
            remember(pairs, result.0)
            return result
        }
        guard let service = SceneWords.service(step.does) else {
            throw Fault(why: "\(step.does): neither a service nor a deed of scenes")
        }
        var data = JSONObject()
        var site: String?
        for (word, text) in pairs where !["记", "as"].contains(word) {
            // Many messages name their lot in the envelope alone.
            if SceneWords.fields[word] == "parkCode", !service.request.fields.contains(where: { $0.name == "parkCode" }) {
                site = text
                continue
            }
            let (name, value) = try field(word, text, of: service)
            data[name] = value
        }
        complete(&data, service: service, who: step.who)
        let appId =
            service.roles == [.operator]
            ? "operator" : service.roles.contains(.lot) ? "lot" : service.name.hasPrefix("biz.") ? "hospital" : "app"
        let parkCode = site ?? data["parkCode"]?.stringValue ?? sites.keys.sorted().first ?? ""
        var answer: Reply
        if service.kind == .log, service.direction == "up" {
            answer = report(parkCode, service.name, data)
        } else {
            answer = call(service.name, data, appId: appId, parkCode: parkCode)
        }
        // The sandbox of the demo pays at once, as a bank would a moment later.
        if service.name == "pay.create", answer.code == 0, let payNo = data["payNo"]?.stringValue {
            answer = Encode.answer(decide(.conclude(appId: appId, payNo: payNo, isPaid: true, message: "{}")))
        }
        remember(pairs, answer)
        return (answer, told(answer))
    }

    mutating func remember(_ pairs: [(String, String)], _ answer: Reply) {
        guard let name = pairs.first(where: { $0.0 == "记" || $0.0 == "as" })?.1, answer.code == 0 else { return }
        named[name] = answer.data
        if let orderNo = answer.data["orderNo"]?.stringValue { lastOrders[name] = orderNo }
    }

    func told(_ answer: Reply) -> String {
        if answer.code != 0 {
            var text = "\(answer.code) \(answer.resultCode.zh)"
            if let rule = answer.data["rule"]?.stringValue {
                text += "（\(rule)"
                if let used = answer.data["used"]?.intValue, let max = answer.data["max"]?.intValue { text += " \(used)/\(max)" }
                if let until = answer.data["until"]?.intValue { text += "，至 \(SceneRunner.clock(until, day))" }
                text += "）"
            }
            if let others = answer.data["alternatives"]?.arrayValue, !others.isEmpty {
                text +=
                    " → "
                    + others.compactMap { row in row["name"]?.stringValue.map { "\($0) \(row["distance"]?.intValue ?? 0) m" } }.joined(
                        separator: "、")
            }
            return text
        }
        var parts: [String] = []
        if let status = answer.data["status"]?.intValue, answer.data["orderNo"] != nil {
            parts.append(Dialect.current.machines.first?.states.first { $0.code == Int(status) }?.zh ?? "\(status)")
        }
        if let from = answer.data["enterStart"]?.intValue, let to = answer.data["enterEnd"]?.intValue {
            parts.append("\(SceneRunner.clock(from, day))–\(SceneRunner.clock(to, day))")
        }
        for name in ["spaceNo", "displayText"] { if let text = answer.data[name]?.stringValue { parts.append(text) } }
        if let position = answer.data["waitPosition"]?.intValue { parts.append("候补第 \(position) 位") }
        if let isGranted = answer.data["granted"]?.boolValue { parts.append(isGranted ? "已获资格" : "尚无资格") }
        if let fen = answer.data["fee"]?.intValue { parts.append("应付 \(SceneRunner.yuan(fen)) 元") }
        return parts.isEmpty ? "成功" : parts.joined(separator: " ")
    }

    /// The facts of a step that several deeds use.
    private struct Stage {
        let parkCode: String
        let gateCode: String
        let pairs: [(String, String)]

        func value(_ names: String...) -> String? { pairs.first { names.contains($0.0) }?.1 }

        func plate() throws(Fault) -> Plate {
            guard let text = value("车牌", "plate", "plateNo"), let plate = Plate(text) else { throw Fault(why: "a plate expected") }
            return plate
        }
    }

    mutating func perform(_ deed: SceneWords.Deed, _ step: SceneStep, _ pairs: [(String, String)]) throws(Fault) -> (Reply, String) {
        func value(_ names: String...) -> String? { pairs.first { names.contains($0.0) }?.1 }
        let parkCode = value("车场", "lot", "parkCode") ?? sites.keys.sorted().first ?? ""
        guard sites[parkCode] != nil else { throw Fault(why: "\(parkCode): no such lot on the stage") }
        let stage = Stage(parkCode: parkCode, gateCode: value("通道", "gate", "gateCode") ?? "G1", pairs: pairs)
        switch deed {
        case .pass: return (Reply(), SceneRunner.clock(now, day))
        case .lineDown:
            sites[parkCode]!.isLinked = false
            return (Reply(), "断线 offline")
        case .lineUp: return lineUp(parkCode)
        case .arrive, .enter: return try arrive(stage, enters: deed == .enter)
        case .leave: return try leave(stage)
        case .fee: return try pay(stage)
        case .check: return try look(pairs)
        }
    }

    private mutating func lineUp(_ parkCode: String) -> (Reply, String) {
        sites[parkCode]!.isLinked = true
        let queue = sites[parkCode]!.queue
        sites[parkCode]!.queue = []
        var codes: [String] = []
        for entry in queue {
            let answer = report(parkCode, entry.service, entry.data)
            codes.append(answer.code == 0 ? "0" : "\(answer.code)")
        }
        settle()
        city.notePassed(parkCode, through: now)
        expireDue()
        return (Reply(data: ["resumed": .int(queue.count)]), "补传 \(queue.count) 条 resumed [\(codes.joined(separator: " "))]")
    }

    private mutating func arrive(_ stage: Stage, enters: Bool) throws(Fault) -> (Reply, String) {
        let (parkCode, gateCode) = (stage.parkCode, stage.gateCode)
        let plate = try stage.plate()
        let confidence = stage.value("置信度", "confidence").flatMap { Int($0) }
        let question = GateQuestion(plate: plate, time: now, gateCode: gateCode, confidence: confidence)
        let (decision, answer) = ask(parkCode, question)
        guard enters else { return (answer, told(answer)) }
        let admits = decision.verdict == .allow || (decision.verdict == .local && stage.value("强行", "anyway") != nil)
        guard admits else { return (answer, told(answer)) }
        sites[parkCode]!.records += 1
        let record = "R\(sites[parkCode]!.records)"
        let number = decision.entry?.orderNo ?? decision.subscription?.authNo
        sites[parkCode]!.inside[plate] = (record, number, now)
        sites[parkCode]!.list.enter(plate, orderNo: decision.entry?.orderNo, authNo: decision.subscription?.authNo, at: now)
        let kind =
            decision.entry.map { [Purpose.reservation: 5, .shared: 6, .publicService: 7][$0.purpose]! } ?? (number == nil ? 1 : 6)
        let data: JSON = .compact([
            ("recordNo", .string(record)), ("plateNo", .string(plate.revealed)), ("plateColor", 9), ("vehicleClass", 1),
            ("carKind", .int(kind)),
            ("enterTime", .int(now)), ("gateCode", .string(gateCode)), ("gateName", .string(gateCode)), ("orderNo", .optional(number)),
            ("enterMode", 1), ("remain", ["total": .int(sites[parkCode]!.capacity)]),
        ])
        send(parkCode, "vehicle.entry.report", data.objectValue!)
        return (answer, told(answer))
    }

    private mutating func leave(_ stage: Stage) throws(Fault) -> (Reply, String) {
        let (parkCode, gateCode) = (stage.parkCode, stage.gateCode)
        let plate = try stage.plate()
        guard let car = sites[parkCode]!.inside.removeValue(forKey: plate) else { throw Fault(why: "\(plate) is not inside") }
        sites[parkCode]!.list.leave(car.orderNo)
        let data: JSON = .compact([
            ("recordNo", .string(car.record)), ("plateNo", .string(plate.revealed)), ("plateColor", 9), ("vehicleClass", 1),
            ("carKind", 1),
            ("enterTime", .int(car.enterTime)), ("gateCode", .string(gateCode)), ("gateName", .string(gateCode)),
            ("orderNo", .optional(car.orderNo)), ("enterMode", 1), ("remain", ["total": .int(sites[parkCode]!.capacity)]),
            ("leaveTime", .int(now)), ("parkSeconds", .int((now - car.enterTime) / 1000)), ("exitGateCode", "G2"), ("exitMode", 1),
            ("leaveKind", 2), ("totalFee", 0), ("discountFee", 0), ("paidFee", 0), ("payableFee", 0), ("payments", []),
        ])
        let answer = send(parkCode, "vehicle.exit.report", data.objectValue!)
        return (answer, told(answer))
    }

    private mutating func pay(_ stage: Stage) throws(Fault) -> (Reply, String) {
        let parkCode = stage.parkCode
        let plate = try stage.plate()
        let record = sites[parkCode]!.inside[plate]?.record ?? stage.value("记录", "record") ?? "R\(sites[parkCode]!.records)"
        guard let fee = city.sessionFee(parkCode, recordNo: record, at: now, past: Past()) else {
            return (Reply(WireError("noBill")), "由车场计费 the lot bills")
        }
        if fee.payableFen > 0 {
            calls += 1
            var bill = Bill(
                billNo: "B\(calls)", parkCode: parkCode, recordNo: record, payableFen: fee.payableFen, expireAt: now + 300_000)
            bill.askedBy = ["app"]
            _ = decide(.bill(bill))
            _ = decide(
                .pay(
                    appId: "app", parkCode: parkCode, billNo: bill.billNo, payNo: "P\(calls)", amountFen: fee.payableFen,
                    channel: "sandbox",
                    requestHash: "h"))
            _ = decide(.conclude(appId: "app", payNo: "P\(calls)", isPaid: true, message: "{}"))
        }
        return (
            Reply(data: ["fee": .int(fee.totalFen), "paid": .int(fee.payableFen), "discount": .int(fee.discountFen)]),
            "停车费 \(SceneRunner.yuan(fee.totalFen)) 元，实付 \(SceneRunner.yuan(fee.payableFen)) 元"
        )
    }

    /// `查看`: an order, the room of a lot, an account, a user's standing, an offer or a subscription, saturation.
    mutating func look(_ pairs: [(String, String)]) throws(Fault) -> (Reply, String) {
        guard let (word, text) = pairs.first else { throw Fault(why: "what is to be looked at?") }
        let name = SceneWords.fields[word] ?? word
        switch name {
        case "orderNo":
            guard let reservation = city.reservation(try resolve(text, "orderNo"), past: Past()) else {
                throw Fault(why: "no such order")
            }
            let answer = Reply(data: Encode.reservation(reservation, revealsPlate: true, waitPosition: city.position(of: reservation)))
            return (answer, told(answer))
        case "authNo":
            guard let subscription = city.subscription(try resolve(text, "authNo")) else { throw Fault(why: "no such subscription") }
            return (Reply(data: Encode.share(subscription)), "授权 \(subscription.status)")
        case "offerId":
            guard let offer = city.offer(try resolve(text, "offerId")) else { throw Fault(why: "no such offer") }
            return (Reply(data: Encode.offer(offer)), "共享 \(offer.status)")
        case "extNo":
            guard let appointment = city.appointments["hospital|\(text)"] else { throw Fault(why: "no such appointment") }
            return (
                Reply(
                    data: .compact([
                        ("state", .string(appointment.state.rawValue)), ("granted", .bool(appointment.parkCode != nil)),
                        ("orderNo", .optional(appointment.orderNo)),
                    ])), appointment.state.rawValue
            )
        case "userToken":
            let standing = city.standing(appId: "app", userToken: text, at: now)
            let ban = standing.first {
                $0.used >= $0.max && $0.refusal != .dailyLimit && $0.refusal != .cancelLimit && $0.refusal != .waitlistFull
            }
            let shows = standing.filter { $0.name == "noShowMaxPerMonth" }.map(\.used).max() ?? 0
            let strikes = standing.filter { $0.name == "shareLateStrikes" }.map(\.used).max() ?? 0
            let penalty = city.penalties.values.filter { $0.userToken == text && $0.state == .inForce }.max { $0.at < $1.at }
            return (
                Reply(
                    data: .compact([
                        ("noShows", .int(shows)), ("strikes", .int(strikes)), ("banned", .bool(ban != nil)),
                        ("penaltyId", .optional(penalty?.penaltyId)), ("userToken", .string(text)),
                        ("evidence", .optional(penalty?.evidence)),
                    ])), "未到 \(shows) 次，晚离 \(strikes) 次\(ban == nil ? "" : "，停用至 \(SceneRunner.clock(ban!.until, day))")"
            )
        case "providerToken", "账户", "account":
            let account: Account? =
                name == "providerToken" ? .owner("app", text) : Account(text.split(separator: ":").joined(separator: "|"))
            guard let account else { throw Fault(why: "\(text): no such account") }
            let fen = -(city.balances[account] ?? 0)
            return (Reply(data: ["balance": .int(fen), "ledgerSum": .int(city.ledgerSum)]), "余额 \(SceneRunner.yuan(fen)) 元")
        case "parkCode":
            guard let lot = city.lots[text] else { throw Fault(why: "no such lot") }
            city.advance(text, to: now)
            return (
                Reply(data: [
                    "saturationPct": .int(lot.saturation.perMille / 10), "mode": .int(city.flowMode(text, at: now).rawValue),
                    "inside": .int(lot.inside.count), "free": .int(city.lots[text]!.free(.personal, at: now)),
                    "publicFree": .int(city.lots[text]!.free(.publicService, at: now)),
                ]), "饱和度 \(lot.saturation.perMille / 10) %"
            )
        default: throw Fault(why: "\(word): what is that?")
        }
    }

    // MARK: The city

    mutating func decide(_ command: Command) -> Decision {
        let decision = city.decide(command, at: now, past: Past())
        take(decision.events)
        return decision
    }

    mutating func take(_ events: [Event]) {
        for case .down(let entry) in events { down[entry.parkCode, default: []].append(entry) }
    }

    mutating func call(_ service: String, _ data: JSONObject, appId: String, parkCode: String) -> Reply {
        do throws(WireError) {
            guard let definition = Dialect.current.services[service] else { throw WireError("unknownService", service) }
            try definition.request.check(data)
            calls += 1
            let caller = Decode.Caller(
                appId: appId, parkCode: parkCode, requestId: "r\(calls)", dataHash: Signature.dataHash(.object(data)), now: now)
            let decision = decide(try Decode.command(service: service, data: data, caller))
            settle()
            var answer = Encode.answer(decision)
            if case .reservation(let reservation, _) = decision.outcome, reservation.status == .waitlisted {
                answer = Encode.answer(decision, waitPosition: city.position(of: reservation))
            }
            return answer
        } catch { return Reply(error) }
    }

    /// Sends a record of a lot: at once while the lot's line is up, else when it is up again.
    @discardableResult
    mutating func send(_ parkCode: String, _ service: String, _ data: JSONObject) -> Reply {
        guard sites[parkCode]!.isLinked else {
            sites[parkCode]!.queue.append((service, data))
            return Reply()
        }
        return report(parkCode, service, data)
    }

    mutating func report(_ parkCode: String, _ service: String, _ data: JSONObject) -> Reply {
        do throws(WireError) {
            let decision = decide(try Decode.logEntry(service: service, data: data, parkCode: parkCode, now: now))
            sites[parkCode]!.upSeq += 1
            take([city.consume(parkCode, epoch: "u1", seq: sites[parkCode]!.upSeq)])
            settle()
            return Encode.answer(decision)
        } catch { return Reply(error) }
    }

    /// The decision at the barrier: the server's while the line is up, else the lot's own.
    mutating func ask(_ parkCode: String, _ question: GateQuestion) -> (GateDecision, Reply) {
        if sites[parkCode]!.isLinked {
            let decision = decide(.check(parkCode: parkCode, question))
            if case .gate(let gate, _) = decision.outcome { return (gate, Encode.answer(decision)) }
        }
        let site = sites[parkCode]!
        let gate = sites[parkCode]!.list.decide(
            question, isInside: site.inside[question.plate] != nil, occupied: site.inside.count + site.others, capacity: site.capacity)
        return (gate, Reply(data: Encode.gate(gate)))
    }

    /// Lots whose line is up read their down logs, keep what they say, and answer.
    mutating func settle() {
        var hasNews = true
        while hasNews {
            hasNews = false
            for parkCode in sites.keys.sorted() where sites[parkCode]!.isLinked {
                let entries = (down[parkCode] ?? []).filter { $0.seq > sites[parkCode]!.downRead }
                guard !entries.isEmpty else { continue }
                hasNews = true
                var results: [DownResult] = []
                for entry in entries {
                    let (service, data) = Encode.lotMessage(entry.message)
                    let answer: Reply
                    if service.hasPrefix("order.reserve.") {
                        answer = sites[parkCode]!.list.apply(reservation: service, data, now: now).0
                    } else {
                        let inside = sites[parkCode]!.inside
                        answer =
                            sites[parkCode]!.list.apply(
                                standing: service, data, parkCode: parkCode, now: now,
                                inside: { authNo in inside.first { $0.value.orderNo == authNo }?.key })?.0 ?? Reply()
                    }
                    results.append(DownResult(seq: entry.seq, isAccepted: Decode.downAccepted(code: answer.code, data: answer.data)))
                    sites[parkCode]!.downRead = entry.seq
                    heard.append("\(service) @\(parkCode)")
                }
                _ = decide(
                    .settle(parkCode: parkCode, epoch: "s1", ackSeq: sites[parkCode]!.downRead, results, assumesRest: false))
            }
        }
    }

    // MARK: Time

    mutating func pass(to time: Millis) {
        while true {
            for parkCode in sites.keys where sites[parkCode]!.isLinked { city.notePassed(parkCode, through: now) }
            expireDue()
            settle()
            // To the next deadline, or a minute on where a deadline waits for a lot that is away.
            let next = city.lots.values.map(\.nextDeadline).min() ?? .max
            guard now < time else { return }
            now = min(time, max(next, now + 1000))
        }
    }

    mutating func expireDue() {
        for parkCode in sites.keys.sorted() where city.isDue(parkCode, at: now) { _ = decide(.expire(parkCode: parkCode)) }
    }
}
