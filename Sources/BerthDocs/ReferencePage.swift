import BerthWire

extension Reference {
    /// The same blocks as a page with an index and a search: readable at phone and desktop width; without a script all but the search works.
    public var page: String {
        """
        <!doctype html>
        <html lang="\(language == .zh ? "zh-CN" : "en")"><head><meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>\(say("泊位 Berth 接口文档", "Berth interface documentation"))</title>
        <link rel="icon" href="/favicon.svg"><link rel="stylesheet" href="/docs.css"><script type="module" src="/docs.js"></script></head>
        <body class="docs"><a class="skip" href="#guide">\(say("跳到正文", "Skip to the text"))</a>
        <header><a class="home" href="/">泊位 Berth</a><nav aria-label="\(say("站点", "Site"))">\(other)<a href="/developer/console">\(say("签名控制台", "Console"))</a>\
        <a href="/scenes">\(say("场景", "Scenes"))</a><a href="/openapi.json">OpenAPI</a><a href="/asyncapi.json">AsyncAPI</a></nav></header>
        <aside><form role="search" id="search" hidden><label for="q">\(say("搜索服务、结果码、事件", "Search services, codes, events"))</label>\
        <input type="search" id="q" autocomplete="off"><p role="status" id="found" data-none="\(say("没有找到", "Nothing found"))"></p></form>
        <nav id="index" aria-label="\(say("目录", "Index"))">\(index)</nav></aside>
        <main>
        \(body)</main></body></html>

        """
    }

    private var other: String {
        language == .zh
            ? "<a href=\"/docs/en\" lang=\"en\" hreflang=\"en\">English</a>" : "<a href=\"/docs\" lang=\"zh-CN\" hreflang=\"zh-CN\">中文</a>"
    }

    /// Sections, each with its services or, for codes and events, with its rows.
    private var index: String {
        var out = ""
        var isOpen = false
        func entry(_ anchor: String, _ text: String) -> String { "<li><a href=\"#\(anchor)\">\(inline(text))</a></li>" }
        func close() { if isOpen { out += "</ul></details>" } }
        for block in blocks {
            switch block {
            case .heading(2, let text, let anchor):
                close()
                isOpen = true
                out += "<details\(anchor == "guide" ? " open" : "")><summary>\(inline(text))</summary><ul>\(entry(anchor, text))"
            case .heading(3, let text, let anchor): out += entry(anchor, text)
            case .table(_, let rows, let anchors):
                for (anchor, row) in zip(anchors, rows) { out += entry(anchor, row[0] + " " + row[row.count > 2 ? 2 : 1]) }
            default: break
            }
        }
        close()
        return out
    }

    private var body: String {
        var out = ""
        for block in blocks {
            switch block {
            case .heading(let level, let text, let anchor):
                out += "<h\(level) id=\"\(anchor)\">\(inline(text))\(level > 1 ? link(anchor) : "")</h\(level)>\n"
            case .text(let text): out += "<p>\(inline(text))</p>\n"
            case .code(let text): out += "<pre tabindex=\"0\">\(HTML.escape(text))</pre>\n"
            case .steps(let steps): out += "<ol>" + steps.map { "<li>\(inline($0))</li>" }.joined() + "</ol>\n"
            case .list(let items): out += "<ul>" + items.map { "<li>\(inline($0))</li>" }.joined() + "</ul>\n"
            case .table(let header, let rows, let anchors): out += table(header, rows, anchors)
            case .machine(let machine):
                let label = HTML.escape(say(machine.zh, machine.en))
                out +=
                    "<div class=\"t\" tabindex=\"0\" role=\"group\" aria-label=\"\(label)\">\(StateDiagram(machine, language).svg)</div>\n"
            case .example(let request, let reply):
                out +=
                    "<details class=\"example\"><summary>\(say("示例（测试中实际执行）", "Example, as executed by the tests"))</summary><p>\(say("请求的", "Request,")) <code>data</code></p>"
                    + "<pre tabindex=\"0\">\(HTML.escape(request.pretty))</pre><p>\(say("答复的", "Reply,")) <code>data</code></p><pre tabindex=\"0\">\(HTML.escape(reply.pretty))</pre></details>\n"
            }
        }
        return out
    }

    private func link(_ anchor: String) -> String {
        " <a class=\"anchor\" href=\"#\(anchor)\" aria-label=\"\(say("本节的链接", "Link to this section"))\">#</a>"
    }

    /// On a phone a row is a card: each cell carries the name of its column.
    private func table(_ header: [String], _ rows: [[String]], _ anchors: [String]) -> String {
        var out =
            "<div class=\"t\"><table><thead><tr>" + header.map { "<th scope=\"col\">\(inline($0))</th>" }.joined() + "</tr></thead><tbody>"
        for (number, row) in rows.enumerated() {
            out += number < anchors.count ? "<tr id=\"\(anchors[number])\">" : "<tr>"
            for (column, cell) in row.enumerated() {
                let name = column < header.count ? header[column].split(separator: "`").joined() : ""
                out += "<td data-c=\"\(HTML.escape(name))\">\(inline(cell))</td>"
            }
            out += "</tr>"
        }
        return out + "</tbody></table></div>\n"
    }

    /// Text with `code` in it.
    private func inline(_ text: String) -> String {
        var out = ""
        for (index, part) in text.split(separator: "`", omittingEmptySubsequences: false).enumerated() {
            out += index % 2 == 0 ? HTML.escape(part) : "<code>\(HTML.escape(part))</code>"
        }
        return out
    }
}
