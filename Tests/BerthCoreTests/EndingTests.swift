import BerthCore
import Foundation
import Testing

/// The table of endings, as integrators read it in both languages.
@Suite struct EndingTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// The rows of the table that follows a heading, without its first column.
    private static func rows(_ file: String, under heading: String) throws -> [[String]] {
        let text = try String(contentsOf: root.appending(path: "docs/\(file)"), encoding: .utf8)
        let section = text.components(separatedBy: "\n## ").first { $0.hasPrefix(heading) } ?? ""
        let lines = section.split(separator: "\n").filter { $0.hasPrefix("|") }.dropFirst(2)
        return lines.map { line in
            line.split(separator: "|", omittingEmptySubsequences: false).dropFirst(2).dropLast().map {
                $0.trimmingCharacters(in: .whitespaces)
            }
        }
    }

    /// A cell says yes, no, or nothing where the question does not arise.
    private static func agrees(_ cell: String, _ value: Bool, yes: String, no: String) -> Bool {
        cell.isEmpty || cell == (value ? yes : no)
    }

    @Test(arguments: [
        ("rules.md", "How a reservation ends", "yes", "no", ["returned", "kept"], ["breach", "no-show"]),
        ("rules.zh-CN.md", "预约的终止", "是", "否", ["退还", "不退"], ["违约", "爽约"]),
    ])
    func theDocumentsShowTheTable(file: String, heading: String, yes: String, no: String, deposits: [String], penalties: [String]) throws {
        let rows = try EndingTests.rows(file, under: heading)
        try #require(rows.count == EndReason.allCases.count)
        for (reason, row) in zip(EndReason.allCases, rows) {
            let effects = reason.effects
            #expect(row.count == 8 && row[0].hasSuffix(" \(effects.status.rawValue)"), "\(reason): state")
            #expect(row[1] == (effects.freesDay ? yes : no), "\(reason): day")
            #expect(EndingTests.agrees(row[2], effects.freesAppointment, yes: yes, no: no), "\(reason): appointment")
            let deposit =
                switch effects.deposit {
                case .returned: deposits[0]
                case .kept: deposits[1]
                case .none: ""
                }
            #expect(row[3] == deposit, "\(reason): deposit")
            let penalty =
                switch effects.penalty {
                case .breach: penalties[0]
                case .noShow: penalties[1]
                case .lateDeparture, nil: ""
                }
            #expect(row[4] == penalty, "\(reason): penalty")
            #expect(row[5] == (effects.message.map { String($0.rawValue) } ?? ""), "\(reason): message")
            #expect(row[6] == (effects.event.map(String.init) ?? ""), "\(reason): event")
            #expect(row[7].isEmpty == !effects.isCompensated, "\(reason): compensation")
        }
    }
}
