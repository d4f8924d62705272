import BerthCore
import BerthWire

/// The short texts that the city keeps with penalties and events, as sentences of a language. The texts themselves are one and the same in
/// the journal, in the interface and for every reader; what has none of the known forms is shown as it is.
extension Words {
    /// The known forms, each with the key of its sentence. `{name:kind}` stands for a value; a value reaches up to the next words of the form.
    private static let forms: [(key: String, form: String)] = [
        ("cancelled", "cancelled at {at:time}; free until {until:time}; left {day:text}/{month:text}"),
        ("noShow", "window {from:time} to {to:time}, log passed {passed:time} without an entry, deliverStatus {delivery:delivery}"),
        ("notGone", "record {record:text}: to leave by {by:time}, log passed {passed:time} without an exit"),
        ("seenLater", "record {record:text}: to leave by {by:time}, seen inside later"),
        ("deadLetter", "seq {seq:text} code {code:code}"), ("backlog", "down {count:text}"),
        ("toNowhere", "re-homed to nowhere, paid by {payer:payer}"), ("toOrder", "re-homed to {order:text}, paid by {payer:payer}"),
        ("toSpace", "{from:text} to {to:text}, paid by {payer:payer}"), ("exitMissed", "exit missed, then {record:text}"),
        ("byServer", "server"), ("byAppointment", "appointment"),
    ]
    /// Names of fields in the text of a changed capacity (event 4006).
    private static let capacities = ["totalSpace", "reserveSpace", "shareSpace", "publicBizSpace"]

    /// The sentence for a text of the city.
    func remark(_ text: String, _ format: Format) -> String {
        for (key, form) in Words.forms {
            guard let values = Words.values(of: text, as: form) else { continue }
            return say(format.language, "remark." + key, values.mapValues { shown($0.text, $0.kind, format) })
        }
        let parts = text.split(separator: " ")
        if !parts.isEmpty,
            parts.allSatisfy({ part in Words.capacities.contains { part.hasPrefix($0 + " ") || part == $0 } || part.contains(">") })
        {
            return parts.map { part in
                Words.capacities.contains { part == $0 }
                    ? say(format.language, "remark.\(part)") : part.replacingOccurrences(of: ">", with: " → ")
            }.joined(separator: " ")
        }
        return text
    }

    /// The values of a text that has a form; nil where it has another one.
    static func values(of text: String, as form: String) -> [String: (text: String, kind: String)]? {
        var rest = Substring(text)
        var pieces = Substring(form)
        var values: [String: (text: String, kind: String)] = [:]
        while let open = pieces.firstIndex(of: "{"), let close = pieces[open...].firstIndex(of: "}") {
            let words = pieces[..<open]
            guard rest.hasPrefix(words) else { return nil }
            rest = rest.dropFirst(words.count)
            let place = pieces[pieces.index(after: open)..<close].split(separator: ":")
            pieces = pieces[pieces.index(after: close)...]
            let next = pieces.prefix { $0 != "{" }
            let end = next.isEmpty ? rest.endIndex : rest.firstRange(of: next)?.lowerBound
            guard let end, place.count == 2 else { return nil }
            let value = rest[..<end]
            if place[1] == "time", value.utf8.count != 13 || Int64(value) == nil { return nil }
            values[String(place[0])] = (String(value), String(place[1]))
            rest = rest[end...]
        }
        return rest == pieces ? values : nil
    }

    private func shown(_ text: String, _ kind: String, _ format: Format) -> String {
        switch kind {
        case "time": return Int64(text).map(format.time) ?? text
        case "delivery": return say(format.language, "delivery.\(text)")
        case "payer": return say(format.language, "payer.\(text.prefix { $0 != "|" })")
        case "code":
            guard let code = Int(text).flatMap({ Dialect.current.codes[$0] }) else { return text }
            return "\(format.language == .zh ? code.zh : code.en) (\(text))"
        default: return text
        }
    }
}
