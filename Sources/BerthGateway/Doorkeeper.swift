import BerthCore
import BerthWire
import Foundation
import HTTPTypes
import Synchronization

/// The door of the local API: it lets its own callers in. The API is plain HTTP on a loopback or lot address, so a web page in a browser there can reach it: Host,
/// Origin and content type keep pages out, and a token keeps other programs out.
package final class Doorkeeper: Sendable {
    /// A refusal with its HTTP status.
    package struct Rejection: Error, Sendable, Equatable {
        package let status: Int
        package let name: String
        package let why: String
    }

    private let token: String
    private let cookieValue: String
    /// Named by the token, since two gateways on one machine share the browser's cookies.
    package let cookieName: String
    private let listenHost: String
    private let hosts: [String]
    private let port: Atomic<Int>

    package init(token: String, listen: (host: String, port: Int), hosts: [String]) {
        self.token = token
        cookieValue = Signature.hash(canonical: Array("berth gateway page\n\(token)".utf8))
        cookieName = "berth_" + Signature.hash(canonical: Array("berth gateway name\n\(token)".utf8)).prefix(8)
        listenHost = Doorkeeper.plain(listen.host)
        self.hosts = hosts.map(Doorkeeper.plain)
        port = Atomic(listen.port)
    }

    /// The port that the system gave, where the configuration said 0.
    func opened(port: Int?) { if let port { self.port.store(port, ordering: .releasing) } }

    // MARK: Host and Origin

    /// - Parameter local: the address of this machine on the connection.
    package func checkHost(_ authority: String?, local: String?) throws(Rejection) {
        guard let authority, !authority.isEmpty, authority.utf8.count <= 300, isOwn(authority, local: local) else {
            throw Rejection(
                status: 421, name: "hostNotAllowed", why: "Host: not the address of this API, and not in `hosts` of the configuration")
        }
    }

    package func checkOrigin(_ origin: String?, local: String?) throws(Rejection) {
        guard let origin else { return }
        for scheme in ["http://", "https://"] where origin.utf8.count <= 300 && origin.hasPrefix(scheme) {
            if isOwn(String(origin.dropFirst(scheme.count)), local: local) { return }
        }
        throw Rejection(status: 403, name: "originNotAllowed", why: "Origin: a page of another address may not call this API")
    }

    /// Whether `host` or `host:port` is this API: with its own port, or as a configured host says.
    private func isOwn(_ authority: String, local: String?) -> Bool {
        let text = Doorkeeper.plain(authority)
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return false }
        let (host, given) = Doorkeeper.split(text)
        if hosts.contains(where: { configured in
            let (name, port) = Doorkeeper.split(configured)
            return name == host && (port == nil || port == given)
        }) {
            return true
        }
        guard (given ?? 80) == port.load(ordering: .acquiring) else { return false }
        if [listenHost, "[\(listenHost)]", "localhost", "127.0.0.1", "[::1]"].contains(host) { return true }
        // An API that listens on all addresses is also at the one that the caller used. A name could be made to point anywhere.
        guard let local, ["0.0.0.0", "::"].contains(listenHost) else { return false }
        return host == Doorkeeper.plain(local) || host == "[\(Doorkeeper.plain(local))]"
    }

    private static func plain(_ text: String) -> String { text.lowercased() }

    private static func split(_ text: String) -> (host: String, port: Int?) {
        // A colon inside brackets is part of an address; so is one of many without them.
        guard let colon = text.lastIndex(of: ":"), text[colon...].contains("]") == false,
            text.hasPrefix("[") || text[..<colon].contains(":") == false
        else { return (text, nil) }
        let digits = text[text.index(after: colon)...]
        guard digits.utf8.count <= 5, let port = Int(digits), (0...65535).contains(port) else { return (text, nil) }
        return (String(text[..<colon]), port)
    }

    // MARK: The token

    /// `Authorization: Bearer …`, compared in constant time.
    package func checkToken(_ authorization: String?) throws(Rejection) {
        guard let authorization else {
            throw Rejection(status: 401, name: "tokenMissing", why: "Authorization: Bearer <token of the configuration>")
        }
        let parts = authorization.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
        guard parts.count == 2, parts[0].lowercased() == "bearer", isToken(parts[1].trimmingCharacters(in: .whitespaces)) else {
            throw Rejection(status: 401, name: "tokenWrong", why: "Authorization: not the token of the configuration")
        }
    }

    package func isToken(_ text: String) -> Bool { text.utf8.count <= 256 && Signature.equal(text, token) }

    /// The page is opened once with `?token=` and then knows its browser by a cookie that is no token.
    package func mayPage(query: String?, cookies: String?, authorization: String?) -> Bool {
        if let query { return isToken(query) }
        for part in (cookies ?? "").split(separator: ";").prefix(64) {
            let pair = part.trimmingCharacters(in: .whitespaces)
            if pair.hasPrefix(cookieName + "="), Signature.equal(String(pair.dropFirst(cookieName.count + 1)), cookieValue) { return true }
        }
        return (try? checkToken(authorization)) != nil
    }

    /// Not readable by scripts, and not sent from other sites.
    package var cookie: String { "\(cookieName)=\(cookieValue); Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000" }

    // MARK: The rest

    package static func checkContentType(_ header: String?) throws(Rejection) {
        let parts = (header ?? "").split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces).lowercased() }
        let isUTF8 = parts.dropFirst().allSatisfy {
            !$0.hasPrefix("charset=") || ["charset=utf-8", "charset=\"utf-8\"", "charset=utf8"].contains($0)
        }
        guard parts.first == "application/json", isUTF8 else {
            throw Rejection(status: 415, name: "malformedBody", why: "content-type: application/json expected")
        }
    }

    /// `X-PMS-Session`: 1 to 64 of A-Z a-z 0-9 . _ -; "" where the PMS names none.
    package static func session(_ header: String?) throws(Rejection) -> String {
        guard let header else { return "" }
        let isSafe = header.utf8.allSatisfy {
            (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
                || [UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-")].contains($0)
        }
        guard (1...64).contains(header.utf8.count), isSafe else {
            throw Rejection(status: 400, name: "illegalValue", why: "X-PMS-Session: 1 to 64 of A-Z a-z 0-9 . _ -")
        }
        return header
    }
}
