import AsyncHTTPClient
import BerthWire
import Foundation
import NIOCore
import NIOSSL
import Synchronization

/// Posts to addresses that others registered with us, without letting them steer us anywhere else (section 9, HTTPS callback): only
/// the registered address itself, no redirects, and no private address unless the city allows it. The name is resolved once, judged,
/// and the connection goes to the address that was judged.
public final class CallbackClient: Sendable {
    public struct Rules: Sendable {
        /// Loopback and private networks may be called, and plain HTTP: for tests and for a city's own network.
        public var allowsPrivate = false
        /// PEM of an authority beyond the system's own.
        public var caFile: String?
        public var timeoutSeconds: Int64 = 5

        public init() {}
    }

    public enum Outcome: Sendable {
        case answered(status: Int, [UInt8])
        case unreachable(String)
        /// The address may not be called.
        case forbidden(String)
    }

    private struct Target: Hashable, Sendable {
        let host: String
        let address: String
    }

    private let rules: Rules
    private let clients = Mutex<[Target: HTTPClient]>([:])
    private static let replyBytesMax = 1 << 20

    public init(rules: Rules) { self.rules = rules }

    /// Why an address cannot be registered; nil when it can.
    public static func fault(of url: String, rules: Rules) -> String? {
        guard url.utf8.count <= 512, let parts = URLComponents(string: url), let host = parts.host, !host.isEmpty else {
            return "not an address"
        }
        guard parts.scheme == "https" || (rules.allowsPrivate && parts.scheme == "http") else { return "https:// is needed" }
        guard parts.user == nil, parts.password == nil, parts.fragment == nil else {
            return "no user, password or fragment may stand in it"
        }
        if !rules.allowsPrivate, isAddress(host), !isPublic(address: host) { return "\(host) is a private address" }
        return nil
    }

    public func post(_ url: String, body: [UInt8]) async -> Outcome {
        if let fault = CallbackClient.fault(of: url, rules: rules) { return .forbidden(fault) }
        let parts = URLComponents(string: url)!
        let host = parts.host!.trimmingCharacters(in: CharacterSet(charactersIn: "[]"))
        let addresses = await CallbackClient.resolve(host)
        guard let address = addresses.first else { return .unreachable("\(host) is not known") }
        if !rules.allowsPrivate, let bad = addresses.first(where: { !CallbackClient.isPublic(address: $0) }) {
            return .forbidden("\(host) is at \(bad), a private address")
        }
        var request = HTTPClientRequest(url: url)
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/json; charset=utf-8")
        request.body = .bytes(ByteBuffer(bytes: body))
        do {
            let response = try await client(for: Target(host: host, address: address))
                .execute(request, timeout: .seconds(rules.timeoutSeconds))
            let bytes = Array(buffer: try await response.body.collect(upTo: CallbackClient.replyBytesMax))
            return .answered(status: Int(response.status.code), bytes)
        } catch { return .unreachable("\(error)") }
    }

    public func close() async {
        let open = clients.withLock { clients in
            defer { clients = [:] }
            return Array(clients.values)
        }
        for client in open { try? await client.shutdown() }
    }

    private func client(for target: Target) throws -> HTTPClient {
        try clients.withLock { clients in
            if let known = clients[target] { return known }
            var tls = TLSConfiguration.makeClientConfiguration()
            if let caFile = rules.caFile {
                tls.additionalTrustRoots = [.certificates(try NIOSSLCertificate.fromPEMFile(caFile))]
            }
            var configuration = HTTPClient.Configuration(tlsConfiguration: tls, redirectConfiguration: .disallow)
            configuration.timeout = .init(connect: .seconds(rules.timeoutSeconds))
            configuration.httpVersion = .http1Only
            configuration.dnsOverride = [target.host: target.address]
            let made = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
            clients[target] = made
            return made
        }
    }

    // MARK: Addresses

    private static func resolve(_ host: String) async -> [String] {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(returning: addresses(of: host)) }
        }
    }

    private static func addresses(of host: String) -> [String] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, &hints, &found) == 0 else { return [] }
        defer { freeaddrinfo(found) }
        var result: [String] = []
        var next = found
        while let info = next {
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            if getnameinfo(info.pointee.ai_addr, info.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST) == 0 {
                result.append(String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
            }
            next = info.pointee.ai_next
        }
        return result
    }

    static func isAddress(_ host: String) -> Bool { bytes(of: host) != nil }

    /// The 4 or 16 bytes of a numeric address.
    private static func bytes(of host: String) -> [UInt8]? {
        let plain = host.trimmingCharacters(in: CharacterSet(charactersIn: "[]"))
        var four = in_addr()
        if inet_pton(AF_INET, plain, &four) == 1 { return withUnsafeBytes(of: four) { Array($0) } }
        var sixteen = in6_addr()
        if inet_pton(AF_INET6, plain.split(separator: "%").first.map(String.init) ?? plain, &sixteen) == 1 {
            return withUnsafeBytes(of: sixteen) { Array($0) }
        }
        return nil
    }

    /// Whether a numeric address belongs to the public internet (IANA's special-purpose registries do not).
    public static func isPublic(address: String) -> Bool {
        guard let bytes = bytes(of: address) else { return false }
        if bytes.count == 4 { return isPublic(four: bytes) }
        // Addresses that carry an IPv4 address are what that one is: mapped, NAT64, 6to4.
        if bytes[..<10].allSatisfy({ $0 == 0 }), bytes[10] == 0xFF, bytes[11] == 0xFF { return isPublic(four: Array(bytes[12...])) }
        if bytes[..<12] == [0, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0] { return isPublic(four: Array(bytes[12...])) }
        if bytes[0] == 0x20, bytes[1] == 0x02 { return isPublic(four: Array(bytes[2..<6])) }
        // Global unicast is 2000::/3, less documentation and Teredo.
        guard bytes[0] & 0xE0 == 0x20 else { return false }
        return !(bytes[0] == 0x20 && bytes[1] == 0x01 && (bytes[2] < 0x02 || (bytes[2] == 0x0D && bytes[3] == 0xB8)))
    }

    private static func isPublic(four: [UInt8]) -> Bool {
        switch (four[0], four[1], four[2]) {
        case (0, _, _), (10, _, _), (127, _, _), (224..., _, _): false
        case (100, 64...127, _), (169, 254, _), (172, 16...31, _), (192, 168, _), (198, 18...19, _): false
        case (192, 0, 0), (192, 0, 2), (192, 88, 99), (198, 51, 100), (203, 0, 113): false
        default: true
        }
    }
}
