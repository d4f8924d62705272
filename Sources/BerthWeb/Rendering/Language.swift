import BerthCore
import BerthLink
import BerthWire
import Foundation

enum Language: String, Sendable, CaseIterable {
    case zh, en

    var other: Language { self == .zh ? .en : .zh }
    var tag: String { self == .zh ? "zh-CN" : "en" }
}

/// All words of the pages, from two files with the same keys; a test compares them.
struct Words: Sendable {
    private let tables: [Language: [String: String]]
    /// The same as nested tables for the templates (`{{t.find.title}}`).
    private let trees: [Language: JSON]

    /// - Throws: ``Resources/Missing`` or a JSON error: the site does not start without its words.
    init(folder: String) throws {
        var tables: [Language: [String: String]] = [:]
        var trees: [Language: JSON] = [:]
        for language in Language.allCases {
            let path = "\(folder)/words.\(language.rawValue).json"
            guard let data = FileManager.default.contents(atPath: path) else { throw Resources.Missing(description: "\(path) is missing") }
            let tree = try JSON.parse([UInt8](data))
            trees[language] = tree
            var table: [String: String] = [:]
            Words.flatten(tree, "", into: &table)
            tables[language] = table
        }
        self.tables = tables
        self.trees = trees
    }

    private static func flatten(_ json: JSON, _ prefix: String, into table: inout [String: String]) {
        for (name, value) in json.objectValue?.members ?? [] {
            if let text = value.stringValue { table[prefix + name] = text } else { flatten(value, prefix + name + ".", into: &table) }
        }
    }

    func tree(_ language: Language) -> JSON { trees[language] ?? [:] }

    /// The sentence of a key with its places `{name}` filled; the key itself where there is none.
    func say(_ language: Language, _ key: String, _ values: [String: String] = [:]) -> String {
        var text = tables[language]?[key] ?? key
        for (name, value) in values { text = text.replacingOccurrences(of: "{\(name)}", with: value) }
        return text
    }
}

/// Values as a person writes them, in one language and at one moment.
struct Format: Sendable {
    let language: Language
    let now: Int64

    func clock(_ time: Int64) -> String {
        let minute = CivilTime.minuteOfDay(time)
        return String(format: "%02d:%02d", minute / 60, minute % 60)
    }

    /// "今天 08:00", "tomorrow 08:00", "11月30日 08:00", "30 Nov 08:00"; with the year where it is another.
    func time(_ time: Int64) -> String { "\(day(CivilTime.day(of: time))) \(clock(time))" }

    func day(_ day: Int64) -> String {
        let today = CivilTime.day(of: now)
        switch day - today {
        case 0: return language == .zh ? "今天" : "today"
        case 1: return language == .zh ? "明天" : "tomorrow"
        case -1: return language == .zh ? "昨天" : "yesterday"
        default:
            let date = CivilTime.date(ofDay: day)
            let isThisYear = date.year == CivilTime.date(ofDay: today).year
            if language == .zh { return (isThisYear ? "" : "\(date.year)年") + "\(date.month)月\(date.day)日" }
            let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][Int(date.month) - 1]
            return "\(date.day) \(month)" + (isThisYear ? "" : " \(date.year)")
        }
    }

    func weekday(_ day: Int) -> String {
        let names = language == .zh ? ["一", "二", "三", "四", "五", "六", "日"] : ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
        return (language == .zh ? "周" : "") + names[max(0, min(6, day - 1))]
    }

    /// "07:30–08:30"; with the day of the end where it is another day.
    func window(_ from: Int64, _ to: Int64) -> String {
        let start = "\(day(CivilTime.day(of: from))) \(clock(from))"
        return CivilTime.day(of: from) == CivilTime.day(of: to) ? "\(start)–\(clock(to))" : "\(start) – \(time(to))"
    }

    func money(_ fen: Int64) -> String {
        let sign = fen < 0 ? "−" : ""
        return "\(sign)¥\(fen.magnitude / 100)" + (fen % 100 == 0 ? "" : String(format: ".%02d", Int(fen.magnitude % 100)))
    }

    func distance(_ metres: Int64) -> String {
        if metres < 1000 { return language == .zh ? "\(metres) 米" : "\(metres) m" }
        let text = "\(metres / 1000).\(metres % 1000 / 100)"
        return language == .zh ? "\(text) 公里" : "\(text) km"
    }

    /// A length of time from minutes.
    func duration(_ minutes: Int64) -> String {
        let (hours, rest) = (minutes / 60, minutes % 60)
        let h = language == .zh ? "\(hours) 小时" : "\(hours) h"
        let m = language == .zh ? "\(rest) 分钟" : "\(rest) min"
        return hours == 0 ? m : rest == 0 ? h : "\(h) \(m)"
    }

    /// "3 秒前", "5 min ago", "昨天 20:10".
    func age(_ time: Int64) -> String {
        let seconds = max(0, now - time) / 1000
        if seconds < 60 { return language == .zh ? "\(seconds) 秒前" : "\(seconds) s ago" }
        if seconds < 3600 { return language == .zh ? "\(seconds / 60) 分钟前" : "\(seconds / 60) min ago" }
        return self.time(time)
    }

    func percent(perMille: Int64) -> String { perMille % 10 == 0 ? "\(perMille / 10)%" : "\(perMille / 10).\(perMille % 10)%" }

    /// 粤B·12345
    func plate(_ text: String) -> String {
        guard text.unicodeScalars.count >= 7, let second = text.unicodeScalars.dropFirst().first, second.isASCII else { return text }
        var scalars = Array(text.unicodeScalars)
        scalars.insert("·", at: 2)
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        return String(view)
    }
}
