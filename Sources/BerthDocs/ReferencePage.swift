import BerthWire

extension Reference {
    /// The same blocks as a page: readable at phone and desktop width, without a script.
    public var page: String {
        var contents = ""
        var body = ""
        var count = 0
        for block in blocks {
            switch block {
            case .heading(let level, let text):
                count += 1
                body += "<h\(level) id=\"h\(count)\">\(inline(text))</h\(level)>\n"
                if level == 2 { contents += "<li><a href=\"#h\(count)\">\(inline(text))</a></li>" }
            case .text(let text): body += "<p>\(inline(text))</p>\n"
            case .code(let text): body += "<pre>\(escape(text))</pre>\n"
            case .table(let header, let rows):
                body += "<div class=\"t\"><table><thead><tr>" + header.map { "<th>\(inline($0))</th>" }.joined() + "</tr></thead><tbody>"
                for row in rows { body += "<tr>" + row.map { "<td>\(inline($0))</td>" }.joined() + "</tr>" }
                body += "</tbody></table></div>\n"
            case .machine(let machine): body += "<div class=\"t\">\(svg(machine))</div>\n"
            }
        }
        let other = language == .zh ? "<a href=\"/docs/en\" lang=\"en\">English</a>" : "<a href=\"/docs\" lang=\"zh-CN\">中文</a>"
        return """
            <!doctype html>
            <html lang="\(language == .zh ? "zh-CN" : "en")"><head><meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>\(language == .zh ? "泊位 Berth 接口参考" : "Berth interface reference")</title>
            <link rel="icon" href="/favicon.svg"><link rel="stylesheet" href="/docs.css"></head>
            <body><nav>\(other) · <a href="/openapi.json">OpenAPI</a> · <a href="/asyncapi.json">AsyncAPI</a> · <a href="/">\(language == .zh ? "城市" : "city")</a>
            <ul>\(contents)</ul></nav><main>
            \(body)</main></body></html>

            """
    }

    private func escape(_ text: String) -> String {
        var out = ""
        for character in text {
            switch character {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            default: out.append(character)
            }
        }
        return out
    }

    /// Text with `code` in it.
    private func inline(_ text: String) -> String {
        var out = ""
        for (index, part) in text.split(separator: "`", omittingEmptySubsequences: false).enumerated() {
            out += index % 2 == 0 ? escape(String(part)) : "<code>\(escape(String(part)))</code>"
        }
        return out
    }

    private func svg(_ machine: StateMachine) -> String {
        let (width, height, stepX, stepY) = (140, 46, 230, 130)
        func center(_ code: Int) -> (x: Int, y: Int) {
            let state = machine.states.first { $0.code == code }!
            return (state.x * stepX + width / 2 + 20, state.y * stepY + height / 2 + 30)
        }
        let columns = (machine.states.map(\.x).max() ?? 0) + 1
        let rows = (machine.states.map(\.y).max() ?? 0) + 1
        let size = (columns * stepX - (stepX - width) + 40, rows * stepY - (stepY - height) + 60)
        var out =
            "<svg viewBox=\"0 0 \(size.0) \(size.1)\" width=\"\(size.0)\" height=\"\(size.1)\" role=\"img\" aria-label=\"\(escape(language == .zh ? machine.zh : machine.en))\">"
            + "<defs><marker id=\"a-\(machine.name)\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>"
        for arrow in machine.transitions {
            let (a, b) = (center(arrow.from), center(arrow.to))
            // From edge to edge: level arrows leave at the side, others at the top or bottom.
            let isLevel = a.y == b.y
            let sign = { (value: Int) in value > 0 ? 1 : value < 0 ? -1 : 0 }
            let start =
                isLevel ? (a.x + sign(b.x - a.x) * width / 2, a.y) : (a.x + sign(b.x - a.x) * 24, a.y + sign(b.y - a.y) * height / 2)
            let end = isLevel ? (b.x - sign(b.x - a.x) * width / 2, b.y) : (b.x - sign(b.x - a.x) * 24, b.y - sign(b.y - a.y) * height / 2)
            let isFar = isLevel && abs(a.x - b.x) > stepX
            let lift = isFar ? -40 : 0
            let middle = ((start.0 + end.0) / 2, (start.1 + end.1) / 2 + lift)
            out +=
                "<path class=\"arrow\" d=\"M\(start.0) \(start.1)Q\(middle.0) \(middle.1) \(end.0) \(end.1)\" marker-end=\"url(#a-\(machine.name))\"/>"
                + "<text class=\"label\" x=\"\(middle.0)\" y=\"\(middle.1 - (isLevel ? 6 : 0) - lift / 2)\">\(escape(language == .zh ? arrow.zh : arrow.en))</text>"
        }
        for state in machine.states {
            let at = center(state.code)
            out +=
                "<rect x=\"\(at.x - width / 2)\" y=\"\(at.y - height / 2)\" width=\"\(width)\" height=\"\(height)\" rx=\"8\"/>"
                + "<text x=\"\(at.x)\" y=\"\(at.y + 5)\">\(state.code) \(escape(language == .zh ? state.zh : state.en))</text>"
        }
        return out + "</svg>"
    }
}
