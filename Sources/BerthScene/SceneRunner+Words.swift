import BerthCore
import BerthWire

// The meaning of the words of a step: fields, times, amounts, names of earlier steps, and fields that a client fills in by itself.
extension SceneRunner {
    static func words(_ text: String) -> [String] { text.split(whereSeparator: { $0 == " " || $0 == "；" || $0 == ";" }).map(String.init) }

    /// A day and its hour are one value: `可入场=次日 09:00`.
    static func joined(_ words: [String]) -> [String] {
        words.reduce(into: []) { result, word in
            if minute(word) != nil, word.contains(":"), let last = result.last, last.contains("="), last.last?.isNumber != true {
                result[result.count - 1] += " " + word
            } else {
                result.append(word)
            }
        }
    }

    /// `名=值 名=值`: a value may hold spaces up to the next name.
    static func pairs(_ text: String) -> [(String, String)] {
        var pairs: [(String, String)] = []
        for word in words(text) {
            if let at = word.firstIndex(of: "="), at != word.startIndex {
                pairs.append((String(word[..<at]), String(word[word.index(after: at)...])))
            } else if !pairs.isEmpty {
                pairs[pairs.count - 1].1 += " " + word
            }
        }
        return pairs
    }

    func field(_ word: String, _ text: String, of service: ServiceDefinition) throws(Fault) -> (String, JSON) {
        let shape = service.request.fields
        var name = SceneWords.fields[word] ?? word
        if word == "时间" || word == "at" { name = shape.first { $0.type == .time }?.name ?? name }
        if name == "extNo", shape.contains(where: { $0.name == "orderNo" }), !shape.contains(where: { $0.name == "extNo" }) {
            name = "orderNo"
        }
        guard
            let field = shape.first(where: { $0.name == name })
                ?? shape.first(where: { $0.zh.prefix { $0 != " " && $0 != "（" && $0 != "，" && $0 != "、" } == word })
        else { throw Fault(why: "\(word): not a field of \(service.name)") }
        if field.maxCount != nil, case .object = field.type { return (field.name, try structure(field.name, text)) }
        if field.maxCount != nil {
            var items: [JSON] = []
            for item in text.split(whereSeparator: { $0 == "、" || $0 == "," }) {
                items.append(try value(String(item).trimmed, field.name, type: field.type))
            }
            return (field.name, .array(items))
        }
        switch field.name {
        case "price", "values": return (field.name, try structure(field.name, text))
        default: return (field.name, try value(text, field.name, type: field.type))
        }
    }

    func structure(_ name: String, _ text: String) throws(Fault) -> JSON {
        switch name {
        case "segments":
            guard let segments = RecurringWindow.parse(text.split(whereSeparator: { $0 == "、" }).joined(separator: ";")) else {
                throw Fault(why: "segments: 1-5 08:00-18:00 expected, not \(text)")
            }
            return Encode.segments(segments)
        case "price":
            for (words, mode) in [(["每次", "once"], 1), (["每小时", "hourly"], 2), (["包月", "monthly"], 3)] {
                for word in words where text.hasPrefix(word) {
                    guard let fen = SceneRunner.fen(String(text.dropFirst(word.count)).trimmed) else { break }
                    return ["mode": .int(mode), "amount": .int(fen)]
                }
            }
            throw Fault(why: "price: 每小时5元, 每次10元 or 包月300元 expected, not \(text)")
        case "pools", "dailyQuotas":
            return .array(SceneRunner.table(text).map { ["pool": .string($0.0), "count": .int(Int64($0.1) ?? 0)] })
        case "values":
            return .object(JSONObject(SceneRunner.table(text).map { ($0.0, Int64($0.1).map { .int($0) } ?? .string($0.1)) }))
        case "rules":
            guard let fen = SceneRunner.fen(text) else { throw Fault(why: "rules: a price of an hour expected, not \(text)") }
            return [["stepMin": 60, "stepFee": .int(fen), "freeMin": 15]]
        default: throw Fault(why: "\(name) cannot be written in a scene")
        }
    }

    /// `名:值、名:值`.
    static func table(_ text: String) -> [(String, String)] {
        text.split(whereSeparator: { $0 == "、" || $0 == "," }).compactMap { part in
            let sides = part.split(separator: ":", maxSplits: 1).map { String($0).trimmed }
            return sides.count == 2 ? (sides[0], sides[1]) : nil
        }
    }

    func value(_ text: String, _ name: String, type: FieldType) throws(Fault) -> JSON {
        if text.hasPrefix("$") { return .string(try resolve(text, name)) }
        switch type {
        case .time:
            guard let time = time(text) else { throw Fault(why: "\(name): HH:mm expected, not \(text)") }
            return .int(time)
        case .bool:
            guard let flag = SceneWords.flags[text] else { throw Fault(why: "\(name): 是 or 否 expected, not \(text)") }
            return .bool(flag)
        case .money:
            guard let fen = SceneRunner.fen(text) else { throw Fault(why: "\(name): an amount expected, not \(text)") }
            return .int(fen)
        case .int, .code:
            if let number = Int64(text) { return .int(number) }
            if let number = SceneWords.businesses[text] ?? SceneWords.modes[text] { return .int(number) }
            if let fen = SceneRunner.fen(text) { return .int(fen) }
            for machine in 0..<Dialect.current.machines.count {
                if let state = SceneWords.state(text, machine: machine), machine == 0 || name != "status" { return .int(state) }
            }
            throw Fault(why: "\(name): a number expected, not \(text)")
        case .any:
            if let number = Int64(text) { return .int(number) }
            return SceneWords.flags[text].map { .bool($0) } ?? .string(text)
        default: return .string(text)
        }
    }

    /// `$甲` is what a step named 甲 gave: its number of this kind; `$甲.billNo` another field of it.
    func resolve(_ text: String, _ name: String) throws(Fault) -> String {
        guard text.hasPrefix("$") else { return text }
        let parts = text.dropFirst().split(separator: ".", maxSplits: 1).map(String.init)
        guard let data = parts.first.flatMap({ named[$0] }) else { throw Fault(why: "\(text): no step has that name") }
        let wanted = parts.count > 1 ? parts[1] : name
        if let value = data[wanted]?.stringValue ?? data["payInfo"]?[wanted]?.stringValue { return value }
        for key in ["orderNo", "authNo", "offerId", "penaltyId", "appealId", "billNo"] {
            if parts.count == 1, let value = data[key]?.stringValue { return value }
        }
        throw Fault(why: "\(text) has no \(wanted)")
    }

    /// `HH:mm` of the day on which the clock stands; `次日 HH:mm` and `+3天 HH:mm` counted from the scene's first day; or `yyyy-MM-dd HH:mm`.
    func time(_ text: String) -> Millis? {
        let words = text.split(separator: " ").map(String.init)
        guard let clock = words.last, let minute = SceneRunner.minute(clock) else { return nil }
        let today = CivilTime.day(of: now)
        guard words.count == 2 else { return CivilTime.start(ofDay: today) + Millis(minute) * CivilTime.minute }
        let base: Int64
        switch words[0] {
        case "次日", "tomorrow": base = day + 1
        case "今日", "today": base = today
        default:
            if words[0].hasPrefix("+"), let days = Int64(words[0].dropFirst().prefix { $0.isNumber }) {
                base = day + days
            } else {
                let parts = words[0].split(separator: "-").compactMap { Int64($0) }
                guard parts.count == 3, let date = CivilTime.day(year: parts[0], month: parts[1], day: parts[2]) else { return nil }
                base = date
            }
        }
        return CivilTime.start(ofDay: base) + Millis(minute) * CivilTime.minute
    }

    static func minute(_ text: String) -> Int? {
        let parts = text.split(separator: ":").compactMap { Int($0) }
        guard parts.count == 2, (0...24).contains(parts[0]), (0..<60).contains(parts[1]) else { return nil }
        return parts[0] * 60 + parts[1]
    }

    static func fen(_ text: String) -> Int64? {
        let number = text.hasSuffix("元") ? String(text.dropLast()) : text.hasSuffix("yuan") ? String(text.dropLast(4)).trimmed : nil
        if let number {
            let parts = number.split(separator: ".").map(String.init)
            guard let yuan = parts.first.flatMap({ Int64($0) }) else { return nil }
            let cents = parts.count > 1 ? Int64((parts[1] + "00").prefix(2)) ?? 0 : 0
            return yuan * 100 + cents
        }
        return Int64(text)
    }

    static func yuan(_ fen: Int64) -> String { "\(fen / 100).\(CivilTime.text(of: abs(fen % 100), 2))" }

    static func clock(_ time: Millis, _ day: Int64) -> String {
        let minute = CivilTime.minuteOfDay(time)
        let clock = RecurringWindow.text(minute: minute)
        let days = CivilTime.day(of: time) - day
        return days == 0 ? clock : days == 1 ? "次日 \(clock)" : CivilTime.text(ofDay: CivilTime.day(of: time)) + " " + clock
    }

    // MARK: Fields that a client fills in

    mutating func complete(_ data: inout JSONObject, service: ServiceDefinition, who: String) {
        calls += 1
        func fill(_ name: String, _ value: @autoclosure () -> JSON) {
            guard data[name] == nil, service.request.fields.contains(where: { $0.name == name }) else { return }
            data[name] = value()
        }
        fill("clientOrderNo", .string("c\(calls)"))
        fill("userToken", .string(who))
        fill("providerToken", .string(who))
        fill("personToken", .string(who))
        if service.name == "order.create" || service.name == "waitlist.join" { fill("bizType", 1) }
        fill("bizCode", "hospital")
        fill("proofImages", ["proof"])
        fill("agreementVersion", "1.0")
        fill("policyId", "F1")
        if service.name.hasPrefix("flow.") {
            fill("validFrom", .int(now))
            fill("validTo", .int(now + CivilTime.dayLength))
        }
        fill("channel", "sandbox")
        fill("payNo", .string("P\(calls)"))
        fill("tariffId", "T1")
        fill("effectiveFrom", .int(now))
        fill("remark", "")
        if service.name == "pay.create", let bill = data["billNo"]?.stringValue, data["amount"] == nil {
            let amount = named.values.first { $0["payInfo"]?["billNo"]?.stringValue == bill }?["payInfo"]?["amount"]
            data["amount"] = amount ?? 0
        }
        if service.name != "flow.policy.set", service.name != "share.review" { fill("parkCode", .string(sites.keys.sorted().first ?? "")) }
        if service.name == "flow.policy.set", data["areaId"] == nil { fill("parkCode", .string(sites.keys.sorted().first ?? "")) }
        fill("placeCode", .string(sites.keys.sorted().first ?? ""))
    }
}

extension String {
    var trimmed: String { split(separator: " ").joined(separator: " ") }
}

extension CivilTime {
    static func text(of number: Int64, _ width: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, width - text.count)) + text
    }
}
