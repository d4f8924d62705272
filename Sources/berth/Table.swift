import ArgumentParser
import BerthLink
import BerthWire
import Foundation

/// The form of an answer: a table on a terminal, a line of JSON for each row elsewhere.
struct OutputOption: ParsableArguments {
    enum Form: String, ExpressibleByArgument, CaseIterable { case table, json }

    @Option(
        name: [.customShort("o"), .customLong("output")], help: "table or json; when left out a table on a terminal and JSON elsewhere.")
    var form: Form?

    var isTable: Bool { (form ?? (isatty(STDOUT_FILENO) == 1 ? .table : .json)) == .table }

    /// Writes rows; a table without rows is one sentence.
    func show(_ rows: [JSON], _ columns: [Column]) {
        guard isTable else {
            for row in rows { put(row.string) }
            return
        }
        for line in Table.lines(rows, columns) { put(line) }
    }

    /// Writes one thing with all of its members: their names and values under each other.
    func show(_ thing: JSON) {
        show(
            thing,
            (thing.objectValue?.members ?? []).map { name, value in Column.named(name, isTime: (value.intValue ?? 0) > 1_000_000_000_000) })
    }

    /// Writes one thing: its names and values under each other.
    func show(_ thing: JSON, _ columns: [Column]) {
        guard isTable else { return put(thing.string) }
        let shown = columns.filter { thing[$0.key] != nil && thing[$0.key] != .null }
        let width = shown.map { Table.width($0.title) }.max() ?? 0
        for column in shown { put(Table.pad(column.title, width + 2) + Table.printable(column.text(of: thing))) }
    }
}

/// A column of a table: the member of each row that it shows, and how.
struct Column {
    enum Kind { case text, time, flag, list }

    var key: String
    var zh: String
    var en: String
    var kind = Kind.text

    init(_ key: String, _ zh: String, _ en: String, _ kind: Kind = .text) {
        self.key = key
        self.zh = zh
        self.en = en
        self.kind = kind
    }

    var title: String { Speech.say(zh, en) }

    /// Names of what single answers hold.
    private static let titles: [String: (zh: String, en: String)] = [
        "appId": ("应用编号", "appId"), "appSecret": ("密钥", "appSecret"), "nextSecret": ("新密钥", "new secret"), "callback": ("回调", "callback"),
        "returnHosts": ("返回域名", "hosts of return"), "stage": ("阶段", "stage"), "onboarding": ("投入方式", "onboarding"),
        "opened": ("已开放业务", "opened for"),
        "personId": ("账户编号", "account"), "login": ("登录名", "login"), "password": ("口令", "password"), "state": ("状态", "state"),
        "backup": ("备份", "backup"), "entry": ("日志编号", "entry of the journal"), "pictures": ("图片", "pictures"), "bytes": ("字节", "bytes"),
        "findings": ("差异", "findings"), "lineage": ("世代", "lineage"), "records": ("记录数", "records"), "intact": ("完整", "intact"),
        "lastHash": ("最后一条哈希", "last hash"), "brokenAt": ("断于", "broken at"), "days": ("行数", "rows"), "counts": ("计数", "counts"),
        "retried": ("重试", "tried again"), "removed": ("已删除", "removed"),
    ]

    static func named(_ name: String, isTime: Bool) -> Column {
        let title = titles[name] ?? (name, name)
        return Column(name, title.zh, title.en, isTime ? .time : .text)
    }

    func text(of row: JSON) -> String {
        guard let value = row[key] else { return "" }
        switch kind {
        case .time: return value.intValue.map(Table.time) ?? ""
        case .flag: return value.boolValue.map { $0 ? Speech.say("是", "yes") : Speech.say("否", "no") } ?? ""
        case .list:
            let parts = (value.arrayValue ?? []).map { $0.stringValue ?? $0.string }
            return parts.prefix(3).joined(separator: ", ") + (parts.count > 3 ? " +\(parts.count - 3)" : "")
        case .text:
            return value == .null
                ? "" : value.boolValue.map { $0 ? Speech.say("是", "yes") : Speech.say("否", "no") } ?? value.stringValue ?? value.string
        }
    }
}

enum Table {
    static func lines(_ rows: [JSON], _ columns: [Column]) -> [String] {
        guard !rows.isEmpty else { return [Speech.say("没有记录。", "There are none.")] }
        let cells = [columns.map(\.title)] + rows.map { row in columns.map { printable($0.text(of: row)) } }
        let widths = columns.indices.map { index in cells.map { width($0[index]) }.max() ?? 0 }
        return cells.map { line in
            var text = zip(line, widths).map { pad($0, $1) }.joined(separator: "  ")
            while text.hasSuffix(" ") { text.removeLast() }
            return text
        }
    }

    /// A local date and time.
    static func time(_ millis: Int64) -> String {
        var seconds = time_t(millis / 1000)
        var parts = tm()
        localtime_r(&seconds, &parts)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return
            "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
    }

    /// Texts of others do not command a terminal.
    static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(text.unicodeScalars.prefix(200).map { $0.value < 0x20 || (0x7F..<0xA0).contains($0.value) ? " " : $0 })
        )
    }

    /// Columns of a terminal: Chinese characters take two.
    static func width(_ text: String) -> Int {
        text.unicodeScalars.reduce(0) { sum, scalar in
            switch scalar.value {
            case 0x300...0x36F: sum
            case 0x1100...0x115F, 0x2E80...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0x20000...0x3FFFD:
                sum + 2
            default: sum + 1
            }
        }
    }

    static func pad(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: max(0, width - Table.width(text))) }
}
