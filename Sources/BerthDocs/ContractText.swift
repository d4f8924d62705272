import BerthWire

/// The parts of the contract that no table of the profile holds, in words: signing, logs, orders, redirects, security, plates. They are
/// Markdown files of the profile, `contract.zh.md` and `contract.en.md`, with the same headings in the same order.
enum ContractText {
    /// The blocks before the catalogue and those after it; the files part them by a line `---`.
    static func blocks(_ markdown: String) -> (before: [Reference.Block], after: [Reference.Block]) {
        let parts = markdown.split(separator: "\n---\n", maxSplits: 1, omittingEmptySubsequences: false)
        return (read(parts[0]), parts.count > 1 ? read(parts[1]) : [])
    }

    private static func read(_ text: Substring) -> [Reference.Block] {
        var blocks: [Reference.Block] = []
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)[...]
        func take(while holds: (Substring) -> Bool) -> [Substring] {
            let taken = lines.prefix(while: holds)
            lines = lines.dropFirst(taken.count)
            return Array(taken)
        }
        while let line = lines.first {
            if line.isEmpty {
                lines.removeFirst()
            } else if line.hasPrefix("## ") {
                lines.removeFirst()
                blocks.append(heading(line.dropFirst(3)))
            } else if line.hasPrefix("```") {
                lines.removeFirst()
                blocks.append(.code(take { !$0.hasPrefix("```") }.joined(separator: "\n")))
                lines = lines.dropFirst()
            } else if line.hasPrefix("|") {
                let rows = take { $0.hasPrefix("|") }.map(cells)
                blocks.append(.table(rows[0], Array(rows.dropFirst(2))))
            } else if line.hasPrefix("- ") {
                blocks.append(.list(take { $0.hasPrefix("- ") }.map { String($0.dropFirst(2)) }))
            } else if isStep(line) {
                blocks.append(.steps(take(while: isStep).map { $0.split(separator: ". ", maxSplits: 1).last.map(String.init) ?? "" }))
            } else {
                lines.removeFirst()
                blocks.append(.text(String(line)))
            }
        }
        return blocks
    }

    private static func isStep(_ line: Substring) -> Bool {
        let digits = line.prefix { ("0"..."9").contains($0) }
        return !digits.isEmpty && line.dropFirst(digits.count).hasPrefix(". ")
    }

    /// `Title {#anchor}`
    private static func heading(_ text: Substring) -> Reference.Block {
        let parts = text.split(separator: " {#", maxSplits: 1)
        return .heading(2, String(parts[0]), parts.count > 1 ? String(parts[1].dropLast()) : "")
    }

    /// The cells of a row; a `|` inside `code` stays.
    private static func cells(_ row: Substring) -> [String] {
        var cells: [String] = [""]
        var isCode = false
        for character in row.dropFirst().dropLast() {
            if character == "`" { isCode.toggle() }
            if character == "|", !isCode { cells.append("") } else { cells[cells.count - 1].append(character) }
        }
        return cells.map { cell in String(cell.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()) }
    }
}
