import BerthWire

/// The result of a handler.
enum WebResult: Sendable {
    case page(Page)
    /// 303 to an address of this site, or of a registered host.
    /// - Parameter said: the result of what was done, which the page at the address shows once.
    case redirect(String, cookies: [Cookie] = [], said: String? = nil)
    /// `cache`: who may keep it, and how long (RFC 9111).
    case file([UInt8], type: String, name: String? = nil, cache: String = "no-store")
    /// 429 for a program: again after so many seconds.
    case later(Int)
}

/// A page: the template, what it shows, and the part of it that follows the data.
struct Page: Sendable {
    var template: String
    var view: JSONObject
    var status = 200
    /// The template of the part that is sent anew when it changes; nil for a page that stands still.
    var live: String?
    var cookies: [Cookie] = []
    /// The page may be kept by the browser for reading without a line.
    var isKept = false

    init(_ template: String, _ members: [(String, JSON)], live: String? = nil, status: Int = 200) {
        self.template = template
        self.live = live
        self.status = status
        view = JSONObject(members.filter { $0.1 != .null })
    }
}

struct Cookie: Sendable {
    var name: String
    var value: String
    /// Seconds; nil ends with the browser; 0 removes it.
    var maxAge: Int64?
    var isHTTPOnly = true
}

/// A request that cannot be served; shown as a page of its own.
struct WebError: Error, Sendable {
    var status: Int
    /// Key of the words that explain it.
    var word: String
    var detail = ""

    static let notFound = WebError(status: 404, word: "error.notFound")
    static let forbidden = WebError(status: 403, word: "error.forbidden")
    static let stale = WebError(status: 403, word: "error.stale")
    static let tooMany = WebError(status: 429, word: "error.tooMany")
    static let badRequest = WebError(status: 400, word: "error.badRequest")
}
