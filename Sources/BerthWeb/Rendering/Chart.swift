import BerthWire

/// Small charts as SVG: drawn by the server, so that they are there without a script. Colours come from the style sheet.
enum Chart {
    struct Bar {
        var label: String
        /// 0 to `most`.
        var value: Int64
        var title: String
        var style: String
    }

    /// Bars side by side, with the label of every `every`-th one below.
    static func bars(_ bars: [Bar], most: Int64, every: Int, label: String) -> String {
        guard !bars.isEmpty else { return "" }
        let (width, height) = (bars.count * 12, 80)
        var out =
            "<svg class=\"chart\" viewBox=\"0 0 \(width) \(height + 16)\" preserveAspectRatio=\"xMinYMid meet\" role=\"img\" aria-label=\"\(HTML.escape(label))\">"
        for (index, bar) in bars.enumerated() {
            let tall = most > 0 ? Int(max(0, min(bar.value, most)) * Int64(height) / most) : 0
            out += "<g class=\"bar \(bar.style)\"><title>\(HTML.escape(bar.title))</title>"
            out += "<rect class=\"rail\" x=\"\(index * 12)\" y=\"0\" width=\"10\" height=\"\(height)\"/>"
            out += "<rect x=\"\(index * 12)\" y=\"\(height - tall)\" width=\"10\" height=\"\(tall)\"/>"
            if index % every == 0 { out += "<text x=\"\(index * 12)\" y=\"\(height + 13)\">\(HTML.escape(bar.label))</text>" }
            out += "</g>"
        }
        return out + "</svg>"
    }

    /// One horizontal bar of per cents, with a mark where a threshold is.
    static func gauge(_ percent: Int64, style: String, label: String) -> String {
        let filled = max(0, min(100, percent))
        return """
            <svg class="gauge \(style)" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="\(HTML.escape(label))">\
            <rect class="rail" width="100" height="8"/><rect width="\(filled)" height="8"/></svg>
            """
    }
}
