import Foundation

/// Where a city's database is: an address of libpq, and the schema that holds the city (its realm).
public struct PostgresAddress: Sendable, Equatable {
    /// The address without our own part.
    let connection: String
    /// The schema; a city, and nothing else, lies in it.
    public let schema: String

    /// The schema as SQL names it: a city may be called `user` or `order`.
    var quoted: String { "\"\(schema)\"" }

    static let schemes = ["postgres://", "postgresql://"]

    /// - Parameter text: `postgres://user@host1,host2/database?realm=name`; everything but `realm` is libpq's. Without it the schema is `berth`.
    /// - Returns: nil for another kind of text, or a realm that is no name: a letter, then at most 39 letters, digits or `_`, in lower case.
    public init?(_ text: String) {
        guard PostgresAddress.isOne(text), !text.utf8.contains(0) else { return nil }
        let parts = text.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var schema = "berth"
        var options: [Substring] = []
        for option in parts.count > 1 ? parts[1].split(separator: "&") : [] {
            if option.hasPrefix("realm=") { schema = String(option.dropFirst(6)) } else { options.append(option) }
        }
        let bytes = Array(schema.utf8)
        let isName = bytes.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 95 }
        guard let first = bytes.first, (97...122).contains(first), bytes.count <= 40, isName, !schema.hasPrefix("pg_"),
            schema != "public", schema != "information_schema"
        else { return nil }
        connection = parts[0] + (options.isEmpty ? "" : "?" + options.joined(separator: "&"))
        self.schema = schema
    }

    public static func isOne(_ text: String) -> Bool { schemes.contains { text.hasPrefix($0) } }

    /// The address without the password, for people and logs.
    public static func shown(_ text: String) -> String {
        guard let scheme = schemes.first(where: { text.hasPrefix($0) }) else { return text }
        let rest = text.dropFirst(scheme.count)
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        var shown = text
        if let at = authority.lastIndex(of: "@"), let colon = authority[..<at].firstIndex(of: ":") {
            shown = scheme + rest[..<colon] + ":…" + rest[at...]
        }
        // `sslpassword` too; each as often as it is there.
        var from = shown.startIndex
        while let start = shown.range(of: "password=", range: from..<shown.endIndex) {
            let end = shown[start.upperBound...].firstIndex(of: "&") ?? shown.endIndex
            let rest = shown.distance(from: end, to: shown.endIndex)
            shown = shown[..<start.upperBound] + "…" + shown[end...]
            from = shown.index(shown.endIndex, offsetBy: -rest)
        }
        return shown
    }
}
