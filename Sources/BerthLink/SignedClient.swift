import AsyncHTTPClient
public import BerthWire
import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// Why a call over HTTPS has no signed answer.
public enum CallError: Error, Sendable {
    case unreachable(String)
    /// An answer came, but not signed with our secret: not from our server, or it did not know us.
    case notAuthentic(status: Int, code: Int?, message: String)
}

/// Calls services over HTTPS: signs each sending anew, trusts one authority, checks the signature of the answer. Of several servers of one city
/// it stays with one that answers, and goes on to the next where that one does not.
public final class SignedClient: Sendable {
    private let bases: [String]
    private let present = Atomic<Int>(0)
    /// The server that is asked now.
    public var base: String { bases[present.load(ordering: .relaxed)] }
    private let http: HTTPClient

    /// - Parameters:
    ///   - base: `https://host:port`
    ///   - caFile: PEM of the authority that the server's certificate must come from; the system's when nil.
    public convenience init(base: String, caFile: String?, connectionsMax: Int = 64) throws {
        try self.init(bases: [base], caFile: caFile, connectionsMax: connectionsMax)
    }

    /// - Parameters:
    ///   - bases: `https://host:port` of each server of the city; not empty.
    ///   - caFile: PEM of the authority that the server's certificate must come from; the system's when nil.
    public init(bases: [String], caFile: String?, connectionsMax: Int = 64) throws {
        self.bases = bases
        var tls = TLSConfiguration.makeClientConfiguration()
        if let caFile { tls.trustRoots = .file(caFile) }
        var configuration = HTTPClient.Configuration(tlsConfiguration: tls)
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = connectionsMax
        configuration.timeout = .init(connect: .seconds(bases.count > 1 ? 2 : 5))
        // With several servers the next one is tried, and not the same again.
        configuration.connectionPool.retryConnectionEstablishment = bases.count == 1
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
        let (status, bytes) = try await post(body, service, timeoutMillis: timeoutMillis)
        if let reply = ReplyEnvelope(bytes, secret: secret), reply.requestId == requestId { return reply.answer }
        let reply = try? JSON.parse(bytes)
        throw .notAuthentic(
            status: status, code: (reply?["code"]?.intValue).map { Int($0) }, message: reply?["message"]?.stringValue ?? "")
    }

    /// Posts signed bytes to the present server, and to the next one where nothing of them was sent.
    private func post(_ body: [UInt8], _ service: String, timeoutMillis: Int64) async throws(CallError) -> (status: Int, bytes: [UInt8]) {
        let end = NIODeadline.now() + .milliseconds(max(1, timeoutMillis))
        var left = bases.count
        while true {
            left -= 1
            let index = present.load(ordering: .relaxed)
            var request = HTTPClientRequest(url: bases[index] + "/api/v1/" + service.replacingOccurrences(of: ".", with: "/"))
            request.method = .POST
            request.headers.add(name: "content-type", value: "application/json; charset=utf-8")
            request.body = .bytes(ByteBuffer(bytes: body))
            do {
                let response = try await http.execute(request, deadline: end)
                let bytes = Array(buffer: try await response.body.collect(upTo: SignedClient.replyBytesMax))
                // A server that cannot reach the leader says so; another one may.
                if response.status.code >= 500 { moveOn(from: index) }
                return (Int(response.status.code), bytes)
            } catch {
                moveOn(from: index)
                guard left > 0, SignedClient.isUnsent(error), NIODeadline.now() < end else { throw .unreachable("\(error)") }
            }
        }
    }

    private func moveOn(from index: Int) {
        _ = present.compareExchange(expected: index, desired: (index + 1) % bases.count, ordering: .relaxed)
    }

    /// Whether the connection itself failed.
    private static func isUnsent(_ error: any Error) -> Bool {
        if error is NIOConnectionError { return true }
        return [.connectTimeout, .tlsHandshakeTimeout, .getConnectionFromPoolTimeout].contains(error as? HTTPClientError)
    }

    /// Posts a message that somebody else has signed; nil where no answer comes.
    public func forward(_ bytes: [UInt8], service: String) async -> [UInt8]? {
        try? await post(bytes, service, timeoutMillis: 40_000).bytes
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
