public import BerthLink
public import BerthWire
public import Hummingbird
public import Logging

/// The pages of drivers, owners and staff, as the server runs them in its own process. They know the city through its signed interface
/// alone (``PageEntrance``).
public protocol PageHost: Sendable {
    /// - Parameters:
    ///   - source: the address of the browser.
    ///   - isPlain: the connection is plain HTTP on loopback.
    /// - Returns: nil where the path is none of its pages.
    func respond(to request: Request, source: String, isPlain: Bool) async -> Response?
    /// The page for an address at which there is nothing.
    func missing(_ request: Request, source: String, isPlain: Bool) async -> Response
    /// The page for somebody who followed a redirect address (section 12) that the server has checked.
    func address(of arrival: JSON) -> String
}

/// Everything that the pages get from the server.
public struct PageEntrance: Sendable {
    /// Signed bytes and the service in, signed bytes out: the same pipeline as over HTTPS.
    public let send: @Sendable ([UInt8], String) async -> [UInt8]
    /// `{"web":{"appId","appSecret"},"provider":…,"operator":…}`
    public let credentials: JSON
    /// Takes a picture to the address of its upload ticket.
    public let upload: @Sendable (String, [UInt8]) async -> Bool
    /// Fetches a picture from the address that a look at it gave.
    public let download: @Sendable (String) async -> [UInt8]?
    public let isTestEnvironment: Bool
    /// Setting `web.codes`: none, screen, the path of a program, or an https address.
    public let codes: String
    public let callbackRules: CallbackClient.Rules
    public let clock: @Sendable () -> Int64
    public let logger: Logger
}
