import AsyncHTTPClient
public import BerthWire
import Foundation
import NIOCore
import NIOSSL

/// Why a call over HTTPS has no signed answer.
public enum CallError: Error, Sendable {
    case unreachable(String)
    /// An answer came, but not signed with our secret: not from our server, or it did not know us.
    case notAuthentic(status: Int, code: Int?, message: String)
}

/// Calls services over HTTPS: signs each sending anew, trusts one authority, checks the signature of the answer.
public final class SignedClient: Sendable {
    public let base: String
    private let http: HTTPClient

    /// - Parameters:
    ///   - base: `https://host:port`
    ///   - caFile: PEM of the authority that the server's certificate must come from; the system's when nil.
    public init(base: String, caFile: String?, connectionsMax: Int = 64) throws {
        self.base = base
        var tls = TLSConfiguration.makeClientConfiguration()
        if let caFile { tls.trustRoots = .file(caFile) }
        var configuration = HTTPClient.Configuration(tlsConfiguration: tls)
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = connectionsMax
        configuration.timeout = .init(connect: .seconds(5))
        configuration.httpVersion = .http1Only
        http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    public func close() async { try? await http.shutdown() }

    /// A snapshot of a large lot is the longest reply (section 5.7), bytes.
    private static let replyBytesMax = 64 << 20

    /// - Parameter now: the caller's clock, corrected by its known offset, in ms.
    public func call(
        _ service: String, data: JSON, appId: String, secret: String, parkCode: String? = nil,
        requestId: String = SystemRandom.uuid(), now: Int64 = SystemClock.now(), epoch: String? = nil, seq: Int64? = nil,
        timeoutSeconds: Int64 = 10
    ) async throws(CallError) -> Reply {
        try await call(
            service, data: data, appId: appId, secret: secret, parkCode: parkCode, requestId: requestId, now: now, epoch: epoch, seq: seq,
            timeoutMillis: timeoutSeconds * 1000)
    }

    /// - Parameters:
    ///   - now: the caller's clock, corrected by its known offset, in ms.
    ///   - timeoutMillis: from the connection to the last byte of the answer, ms.
    public func call(
        _ service: String, data: JSON, appId: String, secret: String, parkCode: String? = nil, requestId: String, now: Int64,
        epoch: String? = nil, seq: Int64? = nil, timeoutMillis: Int64
    ) async throws(CallError) -> Reply {
        let body = MessageWriter.request(
            service: service, data: data, appId: appId, secret: secret, parkCode: parkCode, requestId: requestId,
            timestamp: now, nonce: SystemRandom.nonce(), epoch: epoch, seq: seq)
        var request = HTTPClientRequest(url: base + "/api/v1/" + service.replacingOccurrences(of: ".", with: "/"))
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/json; charset=utf-8")
        request.body = .bytes(ByteBuffer(bytes: body))
        let status: Int
        let bytes: [UInt8]
        do {
            let response = try await http.execute(request, timeout: .milliseconds(max(1, timeoutMillis)))
            status = Int(response.status.code)
            bytes = Array(buffer: try await response.body.collect(upTo: SignedClient.replyBytesMax))
        } catch { throw .unreachable("\(error)") }
        if let reply = ReplyEnvelope(bytes, secret: secret), reply.requestId == requestId { return reply.answer }
        let reply = try? JSON.parse(bytes)
        throw .notAuthentic(
            status: status, code: (reply?["code"]?.intValue).map { Int($0) }, message: reply?["message"]?.stringValue ?? "")
    }

    /// Posts a message that somebody else has signed; nil where no answer comes.
    public func forward(_ bytes: [UInt8], service: String) async -> [UInt8]? {
        var request = HTTPClientRequest(url: base + "/api/v1/" + service.replacingOccurrences(of: ".", with: "/"))
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/json; charset=utf-8")
        request.body = .bytes(ByteBuffer(bytes: bytes))
        guard let response = try? await http.execute(request, timeout: .seconds(40)) else { return nil }
        return (try? await response.body.collect(upTo: SignedClient.replyBytesMax)).map { Array(buffer: $0) }
    }

    /// Puts a picture to the address of its upload ticket (U18).
    public func upload(_ url: String, _ bytes: [UInt8]) async -> Bool {
        var request = HTTPClientRequest(url: url)
        request.method = .PUT
        request.body = .bytes(ByteBuffer(bytes: bytes))
        guard let response = try? await http.execute(request, timeout: .seconds(60)) else { return false }
        _ = try? await response.body.collect(upTo: 1 << 16)
        return (200..<300).contains(Int(response.status.code))
    }

    /// Fetches a picture of at most 20 MB from the address that a look at it gave (U18); nil where none comes.
    public func download(_ url: String) async -> [UInt8]? {
        guard let response = try? await http.execute(HTTPClientRequest(url: url), timeout: .seconds(60)), response.status == .ok else {
            return nil
        }
        return (try? await response.body.collect(upTo: 20 << 20)).map { Array(buffer: $0) }
    }
}
