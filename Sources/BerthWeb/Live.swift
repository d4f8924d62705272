import BerthCore
import BerthLink
import BerthWire
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import Synchronization

/// The open streams, and their bounds.
final class Streams: Sendable {
    private let counts = Mutex<(all: Int, bySource: [String: Int])>((0, [:]))
    private static let most = 2_000
    private static let perSource = 200

    /// A stream's place, given back when nobody holds it any more: also where the head of the response could not be written.
    final class Place: Sendable {
        private let streams: Streams
        private let source: String

        init(_ streams: Streams, _ source: String) { (self.streams, self.source) = (streams, source) }

        deinit { streams.close(source) }
    }

    /// - Returns: nil when there is no room.
    func open(_ source: String) -> Place? {
        let isOpen = counts.withLock { counts in
            guard counts.all < Streams.most, counts.bySource[source, default: 0] < Streams.perSource else { return false }
            counts.all += 1
            counts.bySource[source, default: 0] += 1
            return true
        }
        return isOpen ? Place(self, source) : nil
    }

    private func close(_ source: String) {
        counts.withLock { counts in
            counts.all -= 1
            let left = counts.bySource[source, default: 1] - 1
            counts.bySource[source] = left > 0 ? left : nil
        }
    }
}

extension Site {
    /// How often a live part is made anew, and how often a stream says that it lives, ms.
    private static let lookMillis = 2_000
    private static let beatMillis: Int64 = 5_000

    /// `GET /stream?path=…`: server-sent events of one page. `part` is the live part of the page, sent at the start and when it has changed;
    /// `beat` every 5 s with the run and the time; `gone` when the page is no more.
    func stream(_ request: Request, source: String, isPlain: Bool) async -> Response {
        guard request.method == .get else { return Response(status: .methodNotAllowed) }
        let target = request.uri.queryParameters.get("path") ?? ""
        guard target.hasPrefix("/"), !target.hasPrefix("//"), target.utf8.count <= 2_000 else { return Response(status: .badRequest) }
        let parts = target.split(separator: "?", maxSplits: 1)
        let inner = Request(
            head: HTTPRequest(method: .get, scheme: nil, authority: nil, path: target, headerFields: request.headers),
            body: .init(buffer: ByteBuffer()))
        guard let (route, names) = liveRoute(String(parts[0])) else { return Response(status: .notFound) }
        guard let place = streams.open(source) else { return Response(status: .serviceUnavailable) }
        var headers = Site.security
        headers[.contentType] = "text/event-stream"
        headers[.cacheControl] = "no-store"
        return Response(
            status: .ok, headers: headers,
            body: .init { [self] writer in
                defer { withExtendedLifetime(place) {} }
                try await writer.write(ByteBuffer(string: "retry: 2000\n\n"))
                var sent = ""
                var beat: Int64 = 0
                while !Task.isCancelled {
                    let now = SystemClock.monotonic()
                    let part = await livePart(inner, route, names, source: source, isPlain: isPlain)
                    guard let part else {
                        try await writer.write(ByteBuffer(string: "event: gone\ndata: \(runId)\n\n"))
                        break
                    }
                    if !part.isEmpty, part != sent {
                        sent = part
                        let lines = part.split(separator: "\n", omittingEmptySubsequences: false).map { "data: \($0)" }.joined(
                            separator: "\n")
                        try await writer.write(ByteBuffer(string: "event: part\n\(lines)\n\n"))
                    }
                    if now - beat >= Site.beatMillis {
                        beat = now
                        // No beat without an answer of the city: an age that stops is an age that grows.
                        if !part.isEmpty {
                            try await writer.write(ByteBuffer(string: "event: beat\ndata: \(runId) \(clock())\n\n"))
                        } else {
                            try await writer.write(ByteBuffer(string: ": waiting\n\n"))
                        }
                    }
                    try await Task.sleep(for: .milliseconds(Site.lookMillis))
                }
                try await writer.finish(nil)
            })
    }

    /// The live part of a page; "" where the city does not answer now; nil when the page is not to be seen any more.
    private func livePart(
        _ request: Request, _ route: Route, _ names: TextTable<String>, source: String, isPlain: Bool
    ) async -> String? {
        guard var web = await readForStream(request, source: source, isPlain: isPlain), route.access.verdict(web.person) == .allowed,
            !needsSecondFactor(web, route)
        else {
            return nil
        }
        web.names = names
        do {
            guard case .page(let page) = try await route.handler(self, web), let live = page.live else { return nil }
            var view = page.view
            for (name, value) in liveCommon(web) { view[name] = value }
            return templates.render(live, view)
        } catch let error as CityError {
            return error.isUnreachable ? "" : nil
        } catch { return nil }
    }
}
