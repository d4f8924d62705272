import Foundation

/// The language of the locale, for what the programs say to people: Chinese under `zh…`, else English.
///
/// Reasons are written in English where they arise, as in the log. The function ``text(_:)`` looks them up in ``ChineseMessages`` on their way to a person.
public enum Speech {
    /// Whether the locale is Chinese: the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that is not empty begins with `zh`.
    public static let isChinese: Bool = {
        let variables = ProcessInfo.processInfo.environment
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].lazy.compactMap { variables[$0] }.first { !$0.isEmpty } ?? ""
        return locale.hasPrefix("zh")
    }()

    /// One of two texts, by the locale.
    public static func say(_ zh: String, _ en: String) -> String { isChinese ? zh : en }

    /// The message of a wrong command line, whose first line says what is wrong.
    public static func usage(_ message: String) -> String {
        message.components(separatedBy: "\n").map { line in
            if line.hasPrefix("Error: ") { return "错误：" + text(String(line.dropFirst(7))) }
            if line.hasPrefix("Usage: ") { return "用法：" + line.dropFirst(7) }
            if line.hasPrefix("Help:  ") { return "说明：" + line.dropFirst(7) }
            return line
        }.joined(separator: "\n")
    }

    /// A reason in the language of the locale; as it is where no message fits.
    public static func text(_ reason: String) -> String { isChinese ? ChineseMessages.translate(reason) : reason }
}

extension ChineseMessages {
    /// A message with places for what it is about.
    struct Message: Sendable {
        /// The texts before, between and after the places.
        let parts: [[UInt8]]
        let zh: String

        init(en: String, zh: String) {
            parts = en.components(separatedBy: "{}").map { Array($0.utf8) }
            self.zh = zh
        }

        /// Whether the value of a place is a reason of its own, and not a name: it stands after a colon, or begins the message.
        func isReason(_ place: Int) -> Bool {
            let before = parts[place]
            return before.suffix(2) == Array(": ".utf8)[...]
                || before.isEmpty && [".", ";"].contains { parts[place + 1].starts(with: $0.utf8) }
        }

        /// The Chinese message with the values in its places, `{1}` and so on.
        func text(_ values: [String]) -> String {
            var text = ""
            for (index, part) in zh.components(separatedBy: "{").enumerated() {
                guard index > 0 else {
                    text = part
                    continue
                }
                if let end = part.firstIndex(of: "}"), let place = Int(part[..<end]), values.indices.contains(place - 1) {
                    text += values[place - 1] + part[part.index(after: end)...]
                } else {
                    text += "{" + part
                }
            }
            return text
        }

        /// How much of a reason the message itself says: the one that says most fits best.
        var weight: Int { parts.reduce(0) { $0 + $1.count } }

        /// The values in the places of a reason; nil where it is another message.
        func values(of reason: [UInt8]) -> [String]? {
            guard let first = parts.first, let last = parts.last else { return nil }
            guard parts.count > 1 else { return reason == first ? [] : nil }
            guard reason.count >= first.count + last.count, reason.starts(with: first), reason.suffix(last.count) == last[...] else {
                return nil
            }
            var values: [String] = []
            var rest = reason[first.count..<reason.count - last.count]
            for part in parts.dropFirst().dropLast() {
                guard let place = rest.firstRange(of: part) else { return nil }
                values.append(String(decoding: rest[..<place.lowerBound], as: UTF8.self))
                rest = rest[place.upperBound...]
            }
            return values + [String(decoding: rest, as: UTF8.self)]
        }
    }

    /// - Parameter depth: how many messages deep a reason within a reason is looked up.
    static func translate(_ reason: String, depth: Int = 4) -> String {
        guard depth > 0 else { return reason }
        // A reason of several lines is several reasons.
        if reason.contains("\n") {
            return reason.components(separatedBy: "\n").map { translate($0, depth: depth - 1) }.joined(separator: "\n")
        }
        let bytes = Array(reason.utf8)
        guard bytes.count <= 4096 else { return reason }
        for message in messages {
            guard let values = message.values(of: bytes) else { continue }
            return message.text(
                values.enumerated().map { message.isReason($0) ? translate($1, depth: depth - 1) : $1 })
        }
        return reason
    }
}
