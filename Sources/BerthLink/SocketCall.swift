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
        guard let host = socketPath.addingPercentEncoding(withAllowedCharacters: .alphanumerics) else { throw NobodyThere() }
        var request = HTTPClientRequest(url: "http+unix://\(host)/")
        request.method = .POST
        request.body = .bytes(ByteBuffer(bytes: body.text()))
        let response: HTTPClientResponse
        do { response = try await HTTPClient.shared.execute(request, timeout: .seconds(120)) } catch {
            throw NobodyThere()
        }
        let bytes = Array(buffer: try await response.body.collect(upTo: 64 << 20))
        let answer = try JSON.parse(bytes)
        guard response.status == .ok else { throw Refused(description: answer["error"]?.stringValue ?? "refused") }
        return answer
    }
}
