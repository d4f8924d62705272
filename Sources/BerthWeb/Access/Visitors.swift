import HTTPTypes
public import Hummingbird
import NIOCore

// The address of a visitor, behind proxies too.
extension Site {
    private static let forwardedFor = HTTPField.Name("X-Forwarded-For")!

    /// The visitor's address: of the connection, or the last one of `X-Forwarded-For` that is no known proxy. A visitor may write the first
    /// ones themselves.
    /// - Parameter proxies: addresses as ``address(_:)`` writes them.
    public static func source(of request: Request, connection: String, proxies: Set<String>) -> String {
        var source = plain(connection)
        var hops = request.headers[values: forwardedFor].flatMap { $0.split(separator: ",") }[...]
        while proxies.contains(source), let hop = hops.popLast(), let address = address(hop) { source = address }
        return source
    }

    /// An IPv4 address that a socket of both families shows as one of IPv6.
    private static func plain(_ address: String) -> String { address.hasPrefix("::ffff:") ? String(address.dropFirst(7)) : address }

    /// An address as sockets write it; some proxies add their port: `1.2.3.4:567`, `[::1]:567`.
    /// - Returns: nil for what is no IP address.
    public static func address(_ hop: some StringProtocol) -> String? {
        var text = Substring(hop).drop { $0 == " " }
        while text.last == " " { text.removeLast() }
        if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
            text = text[text.index(after: text.startIndex)..<end]
        } else if let colon = text.firstIndex(of: ":"), text[text.index(after: colon)...].contains(":") == false {
            text = text[..<colon]
        }
        return (try? SocketAddress(ipAddress: String(text), port: 0).ipAddress).map(plain)
    }
}
