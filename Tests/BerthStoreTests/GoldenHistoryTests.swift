import BerthCore
import BerthStore
import BerthWire
import Foundation
import Testing

/// The decisions of fixed histories, as a file of the tests records them. A change of a rule shows as a difference of that file; a change of the
/// code alone must leave it as it is. `BERTH_WRITE_GOLDEN=1` writes it anew.
@Suite struct GoldenHistoryTests {
    static let historyCount: UInt64 = 100
    static let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden/histories.txt")

    /// One line a history: its seed, how many entries its journal has, and a hash of the city's summary after every entry.
    @Test func theHistoriesDecideAsRecorded() throws {
        let lines = try (0..<GoldenHistoryTests.historyCount).map { seed in
            var tally = RuleHistoryTests.Tally()
            let (fault, street) = try RuleHistoryTests().history(seed, MemoryStore(), &tally, isWatched: true, refuseEvery: .max)
            #expect(fault == nil, "seed \(seed)")
            var text: [UInt8] = []
            for summary in street.watched { for line in summary { GoldenHistoryTests.append(line, to: &text) } }
            return "\(seed) \(street.watched.count) \(Signature.hash(canonical: text).prefix(16))"
        }
        let now = lines.joined(separator: "\n") + "\n"
        if ProcessInfo.processInfo.environment["BERTH_WRITE_GOLDEN"] != nil {
            try now.write(to: GoldenHistoryTests.file, atomically: true, encoding: .utf8)
        }
        let recorded = try String(contentsOf: GoldenHistoryTests.file, encoding: .utf8)
        let rows = recorded.split(separator: "\n").map(String.init)
        #expect(rows.count == lines.count)
        let changed = zip(lines, rows).filter { $0 != $1 }.map(\.0)
        #expect(changed.isEmpty, "histories that decide otherwise than recorded: \(changed.prefix(5)) … \(changed.count)")
    }

    /// Appends a line without its names of types, which change with the code: words that begin with a capital letter.
    private static func append(_ line: String, to text: inout [UInt8]) {
        func isLetter(_ byte: UInt8) -> Bool { byte | 0x20 >= UInt8(ascii: "a") && byte | 0x20 <= UInt8(ascii: "z") }
        var (isWord, isName) = (false, false)
        for byte in line.utf8 {
            if isLetter(byte) {
                if !isWord { isName = byte < UInt8(ascii: "a") }
                isWord = true
                if isName { continue }
            } else {
                isWord = false
            }
            text.append(byte)
        }
        text.append(UInt8(ascii: "\n"))
    }
}
