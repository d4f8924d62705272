import BerthCore
import BerthWire
import Foundation

/// A request of a browser, decoded: nothing of it is trusted.
struct WebRequest: Sendable {
    var method: String
    var path: String
    var query: TextTable<String>
    /// Fields of a form, the first of two with one name, and files.
    var form: TextTable<String>
    /// All values of fields that can be given several times.
    var lists: TextTable<[String]>
    var files: [UploadedFile]
    var cookies: TextTable<String>
    /// The browser's address.
    var source: String
    var userAgent: String
    /// The connection is plain HTTP on loopback.
    var isPlain: Bool
    var language: Language
    /// ms of the server's clock.
    var now: Int64
    var person: SignedIn?
    /// The live part of a page is made anew, and nobody asked for it.
    var isStream = false
    /// The values of the pattern's names in the path.
    var names: TextTable<String> = [:]

    /// A value of the query or, in a POST, of the form; white space at its ends does not count, and neither do control characters.
    func text(_ name: String, max: Int = 256) -> String {
        let text = (form[name] ?? query[name] ?? "").unicodeScalars.filter { $0.value >= 0x20 && $0.value != 0x7F || $0 == "\n" }
        var view = String.UnicodeScalarView()
        view.append(contentsOf: text.prefix(max))
        return String(view).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    func number(_ name: String, in range: ClosedRange<Int64>) -> Int64? {
        guard let value = Int64(text(name, max: 20)), range.contains(value) else { return nil }
        return value
    }

    func isOn(_ name: String) -> Bool { ["1", "on", "true"].contains(text(name, max: 8)) }

    /// The address of this page with its query, for links that come back to it.
    var address: String {
        let pairs = query.filter { $0.key != "lang" }.sorted { $0.key < $1.key }
        return pairs.isEmpty
            ? path : path + "?" + pairs.map { "\(WebRequest.escape($0.key))=\(WebRequest.escape($0.value))" }.joined(separator: "&")
    }

    /// Percent-encoding by RFC 3986.
    static func escape(_ text: String) -> String {
        var out = ""
        for byte in text.utf8 {
            switch byte {
            case 48...57, 65...90, 97...122, 45, 46, 95, 126: out.unicodeScalars.append(Unicode.Scalar(byte))
            default: out += String(format: "%%%02X", byte)
            }
        }
        return out
    }

    /// The pairs of a query or of a form; a part that is not valid percent-encoding is taken as it is.
    static func pairs(_ text: some StringProtocol) -> [(String, String)] {
        func decoded(_ part: Substring) -> String {
            let text = part.replacingOccurrences(of: "+", with: " ")
            return text.removingPercentEncoding ?? text
        }
        return Substring(text).split(separator: "&", maxSplits: 20_000).prefix(20_000).map { pair in
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (decoded(parts[0]), parts.count > 1 ? decoded(parts[1]) : "")
        }
    }

    static func cookies(_ header: String) -> TextTable<String> {
        TextTable(
            header.split(separator: ";").prefix(50).map { part in
                let pair = part.trimmingCharacters(in: .whitespaces).split(separator: "=", maxSplits: 1)
                return (pair.first.map(String.init) ?? "", pair.count > 1 ? String(pair[1]) : "")
            }.reversed())
    }
}

/// A file of a form.
struct UploadedFile: Sendable {
    var field: String
    var name: String
    var bytes: [UInt8]
}

/// Reads `multipart/form-data` (RFC 7578): fields and files, all of it in memory and bounded by the caller.
enum Multipart {
    /// - Returns: nil when the body is not what its content type says.
    static func read(_ body: [UInt8], contentType: String) -> (fields: [(String, String)], files: [UploadedFile])? {
        guard let boundary = parameter("boundary", of: contentType), (1...70).contains(boundary.utf8.count) else { return nil }
        let mark = Array("--\(boundary)".utf8)
        var fields: [(String, String)] = []
        var files: [UploadedFile] = []
        guard var start = find(mark, in: body, from: 0).map({ $0 + mark.count }) else { return nil }
        while start + 2 <= body.count, !(body[start] == 0x2D && body[start + 1] == 0x2D) {
            guard fields.count + files.count < 500, body[start] == 13, body[start + 1] == 10,
                let end = find([13, 10] + mark, in: body, from: start),
                let head = find([13, 10, 13, 10], in: body, from: start), head < end
            else { return nil }
            let disposition =
                String(decoding: body[start..<head], as: UTF8.self).split(separator: "\r\n")
                .first { $0.lowercased().hasPrefix("content-disposition:") }.map(String.init) ?? ""
            let content = Array(body[min(head + 4, end)..<end])
            guard let name = parameter("name", of: disposition) else { return nil }
            if let file = parameter("filename", of: disposition) {
                if !content.isEmpty { files.append(UploadedFile(field: name, name: file, bytes: content)) }
            } else {
                fields.append((name, String(decoding: content, as: UTF8.self)))
            }
            start = end + 2 + mark.count
        }
        return (fields, files)
    }

    private static func parameter(_ name: String, of header: String) -> String? {
        for part in header.split(separator: ";").dropFirst() {
            let pair = part.trimmingCharacters(in: .whitespaces).split(separator: "=", maxSplits: 1)
            guard pair.count == 2, pair[0].lowercased() == name else { continue }
            return pair[1].trimmingCharacters(in: CharacterSet(charactersIn: "\""))
        }
        return nil
    }

    private static func find(_ needle: [UInt8], in bytes: [UInt8], from start: Int) -> Int? {
        guard !needle.isEmpty, bytes.count >= needle.count, start >= 0 else { return nil }
        var at = start
        while at + needle.count <= bytes.count {
            guard let next = bytes[at...].firstIndex(of: needle[0]), next + needle.count <= bytes.count else { return nil }
            if bytes[next..<next + needle.count].elementsEqual(needle) { return next }
            at = next + 1
        }
        return nil
    }
}
