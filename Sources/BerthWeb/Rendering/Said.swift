import BerthCore
import BerthLink
import BerthWire

/// The result of a form, in words, on its way over a redirect to the page that shows it once.
///
/// The words travel in a cookie and not in the address: nobody can send a person a link that says "the gate was opened". They are keyed and
/// belong to one person, one address and one minute.
struct Said: Sendable {
    static let cookie = "berth_said"
    private static let goodForMillis: Int64 = 60_000
    private static let bytesMax = 1_000

    let keyed: Keyed

    /// The cookie that carries the words to an address, a path with its query.
    func cookie(_ text: String, to address: String, _ web: WebRequest) -> Cookie {
        let words = Signature.hex(Array(text.utf8.prefix(Said.bytesMax)))
        let value = "\(web.now).\(words).\(code(words, at: web.now, path: Said.path(address), web))"
        return Cookie(name: Said.cookie, value: value, maxAge: Said.goodForMillis / 1000)
    }

    /// The words that this page is to show; nil where there are none, or where they are another person's, another page's or old.
    func text(_ web: WebRequest) -> String? {
        guard let parts = web.cookies[Said.cookie]?.split(separator: ".", omittingEmptySubsequences: false), parts.count == 3,
            let at = Int64(parts[0]), (0...Said.goodForMillis).contains(web.now.subtractingReportingOverflow(at).partialValue),
            parts[1].utf8.count <= 2 * Said.bytesMax,
            Signature.equal(code(String(parts[1]), at: at, path: web.path, web), String(parts[2])),
            let bytes = Password.bytes(String(parts[1]))
        else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func code(_ words: String, at: Int64, path: String, _ web: WebRequest) -> String {
        keyed.hex("said", web.person?.personId ?? "", path, String(at), words)
    }

    private static func path(_ address: String) -> String { String(address.prefix { $0 != "?" }) }
}
