import BerthCore
import BerthDocs
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// The public page: the city live. No personal data, no third parties; libraries come from Debian packages at run time.
struct Pages: HTTPResponder {
    typealias Context = ConnectionContext

    let live: Live
    let clock: @Sendable () -> Millis
    /// Where Debian's package libjs-leaflet puts its files.
    static let leafletDirectory = "/usr/share/javascript/leaflet"
    private static let types = [
        "html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
        "png": "image/png", "svg": "image/svg+xml",
    ]

    @Sendable func respond(to request: Request, context: ConnectionContext) async throws -> Response {
        guard request.method == .get || request.method == .head else { return Response(status: .methodNotAllowed) }
        switch request.uri.path {
        case "/", "/index.html": return file(own: "index.html")
        case "/city.css": return file(own: "city.css")
        case "/city.js": return file(own: "city.js")
        case "/favicon.svg", "/favicon.ico": return file(own: "favicon.svg")
        case "/docs", "/docs/": return html(Pages.referenceZh)
        case "/docs/en", "/docs/en/": return html(Pages.referenceEn)
        case "/docs.css": return file(own: "docs.css")
        case "/openapi.json": return json(Pages.openAPI)
        case "/asyncapi.json": return json(Pages.asyncAPI)
        case "/live/city": return json(live.city(now: clock()))
        case "/live/events": return events()
        case "/healthz": return json("{\"status\":\"ok\"}")
        case let path where path.hasPrefix("/lib/leaflet/"):
            let name = String(path.dropFirst("/lib/leaflet/".utf8.count))
            guard !name.contains(".."), !name.hasPrefix("/") else { return Response(status: .notFound) }
            return file(path: "\(Pages.leafletDirectory)/\(name)")
        default: return Response(status: .notFound)
        }
    }

    // Made once, when first asked for.
    private static let referenceZh = Reference(.zh).page
    private static let referenceEn = Reference(.en).page
    private static let openAPI = OpenAPI.document().pretty
    private static let asyncAPI = AsyncAPI.document().pretty

    private func html(_ text: String) -> Response {
        var headers = Pages.security
        headers[.contentType] = "text/html; charset=utf-8"
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: ByteBuffer(string: text)))
    }

    private static let security: HTTPFields = {
        var fields: HTTPFields = [.xContentTypeOptions: "nosniff", .cacheControl: "no-cache"]
        fields[.contentSecurityPolicy] = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'"
        return fields
    }()

    private func file(own name: String) -> Response {
        file(path: Bundle.module.resourceURL?.appendingPathComponent("Pages/\(name)").path ?? name)
    }

    private func file(path: String) -> Response {
        guard let data = FileManager.default.contents(atPath: path) else { return Response(status: .notFound) }
        var headers = Pages.security
        headers[.contentType] = Pages.types[(path as NSString).pathExtension] ?? "application/octet-stream"
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: data)))
    }

    private func json(_ text: String) -> Response {
        var headers = Pages.security
        headers[.contentType] = "application/json; charset=utf-8"
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: ByteBuffer(string: text)))
    }

    /// Server-sent events: one stream per viewer.
    private func events() -> Response {
        guard let watch = live.watch() else { return Response(status: .serviceUnavailable) }
        var headers = Pages.security
        headers[.contentType] = "text/event-stream"
        return Response(
            status: .ok, headers: headers,
            body: .init { writer in
                try await writer.write(ByteBuffer(string: "retry: 2000\n\n"))
                for await update in watch.updates { try await writer.write(ByteBuffer(string: "data: \(update)\n\n")) }
                try await writer.finish(nil)
            })
    }
}
