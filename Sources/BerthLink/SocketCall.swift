import AsyncHTTPClient
public import BerthWire
import Foundation
import NIOCore

/// One JSON question over a server's admin socket.
public enum SocketCall {
    public struct Refused: Error, CustomStringConvertible {
        public let description: String
    }

    /// Nobody listens on the socket: the server is not running.
    public struct NobodyThere: Error {}

    public static func post(_ body: JSON, socketPath: String) async throws -> JSON {
        switch knock(socketPath) {
        case 0, EAGAIN: break
        case ENOENT, ENOTDIR, ECONNREFUSED, ENAMETOOLONG: throw NobodyThere()
        case let number: throw Refused(description: "\(socketPath): \(String(cString: strerror(number)))")
        }
        guard let host = socketPath.addingPercentEncoding(withAllowedCharacters: .alphanumerics) else { throw NobodyThere() }
        var request = HTTPClientRequest(url: "http+unix://\(host)/")
        request.method = .POST
        request.body = .bytes(ByteBuffer(bytes: body.text()))
        let response: HTTPClientResponse
        // `verify` of a large database takes its time.
        do { response = try await HTTPClient.shared.execute(request, timeout: .hours(6)) } catch {
            // The server took the connection and is ending, or does not answer.
            guard knock(socketPath) == 0 else { throw NobodyThere() }
            throw Refused(description: "\(socketPath): the server does not answer: \(error)")
        }
        let bytes = Array(buffer: try await response.body.collect(upTo: 64 << 20))
        let answer = try JSON.parse(bytes)
        guard response.status == .ok else { throw Refused(description: answer["error"]?.stringValue ?? "refused") }
        return answer
    }

    /// Connects once: the HTTP client would try for two minutes to reach a server that is not there.
    /// - Returns: the number of the error, or 0.
    private static func knock(_ path: String) -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return errno }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return ENAMETOOLONG }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        return result == 0 ? 0 : errno
    }
}
