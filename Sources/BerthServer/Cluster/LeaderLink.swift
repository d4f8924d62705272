import AsyncHTTPClient
import BerthWire
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// The way of a front to the server that leads: HTTP over mutual TLS (``LinkIdentity``), to the address that the database names. Any thread may
/// call it.
final class LeaderLink: Sendable {
    /// The address of a leader's link, and how many leaders this server has known.
    struct Leader: Sendable {
        var address: String
        var number: Int
    }

    enum Outcome: Sendable {
        case answered(HTTPClientResponse, ByteBuffer)
        /// The leader took nothing of it: it was not reached, or it does not lead.
        case notTaken
        /// It was sent, and there is no answer.
        case lost
    }

    private struct State {
        var leader: Leader?
        var number = 0
        var underWay: [Int: (number: Int, cancel: @Sendable () -> Void)] = [:]
        var last = 0
    }

    private let state = Mutex(State())
    private let client: HTTPClient
    private static let connectMillis: Int64 = 1_000
    private static let connectionsMax = 200
    private static let replyBytesMax = 32 << 20
    /// Status of an answer of a server that does not lead (421 Misdirected Request).
    static let misdirected = 421

    init(identity: LinkIdentity) {
        var configuration = HTTPClient.Configuration(tlsConfiguration: identity.client, redirectConfiguration: .disallow)
        configuration.timeout = .init(connect: .milliseconds(LeaderLink.connectMillis))
        configuration.httpVersion = .http1Only
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = LeaderLink.connectionsMax
        // The other end keeps an idle connection for longer: a request does not meet its end.
        configuration.connectionPool.idleTimeout = .seconds(Limits.idleSeconds / 3)
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// The leader as the database names it; nil while it names none.
    var leader: Leader? { state.withLock { $0.leader } }

    /// Takes note of who leads. Requests that wait for an answer of the leader before are given up.
    func note(_ address: String?) {
        let given = state.withLock { state -> [@Sendable () -> Void] in
            guard state.leader?.address != address else { return [] }
            state.number += 1
            state.leader = address.map { Leader(address: $0, number: state.number) }
            // While the database names nobody, the one before may still answer.
            guard address != nil else { return [] }
            return state.underWay.values.filter { $0.number < state.number }.map(\.cancel)
        }
        for cancel in given { cancel() }
    }

    /// Sends a request and takes the whole reply.
    /// - Parameter deadline: until when an answer is waited for.
    func ask(_ leader: Leader, _ request: HTTPClientRequest, deadline: NIODeadline) async -> Outcome {
        let task = Task { [client] in
            let response = try await client.execute(request, deadline: deadline)
            return (response, try await response.body.collect(upTo: LeaderLink.replyBytesMax))
        }
        let number = watch(leader) { task.cancel() }
        defer { state.withLock { $0.underWay[number] = nil } }
        do {
            let (response, body) = try await withTaskCancellationHandler {
                try await task.value
            } onCancel: {
                task.cancel()
            }
            return response.status.code == LeaderLink.misdirected ? .notTaken : .answered(response, body)
        } catch { return LeaderLink.outcome(of: error) }
    }

    /// Sends a request whose reply may be long, or never end.
    func stream(_ leader: Leader, _ request: HTTPClientRequest, deadline: NIODeadline) async -> Result<
        HTTPClientResponse, LeaderLink.Failed
    > {
        do {
            let response = try await client.execute(request, deadline: deadline)
            return response.status.code == LeaderLink.misdirected ? .failure(Failed(isTaken: false)) : .success(response)
        } catch {
            if case .notTaken = LeaderLink.outcome(of: error) { return .failure(Failed(isTaken: false)) }
            return .failure(Failed(isTaken: true))
        }
    }

    struct Failed: Error {
        var isTaken: Bool
    }

    private func watch(_ leader: Leader, _ cancel: @escaping @Sendable () -> Void) -> Int {
        let (number, isOver) = state.withLock { state in
            state.last += 1
            state.underWay[state.last] = (leader.number, cancel)
            return (state.last, state.leader != nil && state.leader?.number != leader.number)
        }
        if isOver { cancel() }
        return number
    }

    /// Whether a failed request can have been taken.
    private static func outcome(of error: any Error) -> Outcome {
        if error is NIOConnectionError { return .notTaken }
        let before: [HTTPClientError] = [
            .connectTimeout, .tlsHandshakeTimeout, .getConnectionFromPoolTimeout, .invalidURL, .emptyHost, .alreadyShutdown,
        ]
        if let error = error as? HTTPClientError, before.contains(error) { return .notTaken }
        return .lost
    }

    func close() async { try? await client.shutdown() }
}
