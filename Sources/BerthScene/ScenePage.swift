import BerthWire

/// A scene as the page that shows it: its text, and each step with what came of it when it was played a moment ago.
public enum ScenePage {
    /// Paragraphs, headings and emphasis: as much of the notation as scenes use.
    private static func prose(_ text: String) -> String {
        text.split(separator: "\n\n").map { block -> String in
            let block = String(block)
            if block.hasPrefix("## ") { return "<h2>\(bilingual(String(block.dropFirst(3))))</h2>" }
            if block.hasPrefix("# ") { return "<h1>\(bilingual(String(block.dropFirst(2)), by: " · "))</h1>" }
            if block.hasPrefix("*"), block.hasSuffix("*") {
                return "<p lang=\"en\"><small>\(HTML.escape(String(block.dropFirst().dropLast())))</small></p>"
            }
            return "<p>\(HTML.escape(joined(block)))</p>"
        }.joined(separator: "\n")
    }

    /// Lines of one paragraph: between Chinese ones there is no space.
    private static func joined(_ block: String) -> String {
        block.split(separator: "\n").reduce(into: "") { text, line in
            if let last = text.unicodeScalars.last, last.value < 128 { text += " " }
            text += line
        }
    }

    /// Chinese first, the English after it smaller: it begins at the first Latin word.
    private static func bilingual(_ text: String, by separator: String? = nil) -> String {
        let parts = text.split(separator: " ", maxSplits: 64).map(String.init)
        let isLatin = { (word: String) in word.unicodeScalars.allSatisfy { $0.value < 128 } && word.contains { $0.isLetter } }
        guard let at = parts.firstIndex(where: isLatin), at > 0 else { return HTML.escape(text) }
        let zh = parts[..<at].filter { $0 != "·" }.joined(separator: " ")
        return "\(HTML.escape(zh)) <small lang=\"en\">\(HTML.escape(parts[at...].joined(separator: " ")))</small>"
    }

    private static func row(_ cells: [String], _ tag: String) -> String {
        "<tr>" + cells.map { "<\(tag)>\(tag == "th" ? bilingual($0) : HTML.escape($0))</\(tag)>" }.joined() + "</tr>"
    }

    public static func html(_ scene: Scene, _ results: [SceneResult]) -> String {
        let byLine = Dictionary(uniqueKeysWithValues: results.map { ($0.step.line, $0) })
        var body = ""
        for part in scene.parts {
            switch part {
            case .prose(let text): body += prose(text)
            case .stage(let header, let rows):
                body += "<div class=\"wide\"><table>\(row(header, "th"))\(rows.map { row($0.cells, "td") }.joined())</table></div>"
            case .act(let header, let steps):
                body += "<div class=\"wide\"><table class=\"steps\">\(row(header + ["结果 outcome"], "th"))"
                for step in steps {
                    let result = byLine[step.line]
                    let mark = result?.isAsTold == true ? "✓" : "✗"
                    let heard = Set(result?.heard ?? []).sorted().map { "<br><small>→ \(HTML.escape($0))</small>" }.joined()
                    body += "<tr>" + step.cells.map { "<td>\(HTML.escape($0))</td>" }.joined()
                    body +=
                        "<td class=\"\(result?.isAsTold == true ? "good" : "bad")\">\(mark) \(HTML.escape(result?.fault ?? result?.said ?? ""))\(heard)</td></tr>"
                }
                body += "</table></div>"
            }
        }
        let good = results.filter(\.isAsTold).count
        let links = Scene.names.map { "<a href=\"/scenes/\($0)\">\(title(of: $0))</a>" }.joined(separator: " · ")
        return """
            <!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
            <title>\(HTML.escape(scene.title)) · 泊位 Berth</title><link rel="icon" href="/favicon.svg"><link rel="stylesheet" href="/docs.css"></head>
            <body><nav class="scenes"><a href="/">泊位 Berth</a> · \(links)</nav><main class="scene">\(body)
            <p><strong>\(good)/\(results.count)</strong> 步如所述，刚刚用真实的规则执行。 <small lang="en">steps are as told; played just now by the real rules.
            The file is Sources/BerthScene/Scenes/\(scene.name).md.</small></p></main></body></html>
            """
    }

    public static func title(of name: String) -> String {
        switch name {
        case "hospital": "公共业务停车"
        case "reservation": "预约停车"
        default: "共享停车"
        }
    }
}
