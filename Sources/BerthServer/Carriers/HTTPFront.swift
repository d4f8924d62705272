import Hummingbird
import NIOCore
import NIOSSL

/// The facts of a connection that a responder needs.
struct ConnectionContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    private let channel: any Channel

    /// The client's address, where another server carries its request.
    var carriedSource: String?
    /// The request came to the plain page on loopback.
    var isPlain = false

    /// The client's address, without its port.
    var remoteAddress: String? { carriedSource ?? channel.remoteAddress?.ipAddress }
    /// SHA-256 of the certificate that the client showed, lower hex; nil when it showed none.
    func certificate() async -> String? { SignedHandler.digest(try? await channel.nioSSL_peerCertificate().get()) }

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }
}

/// Serves the HTTPS port beside the signed interface (``SignedHandler``): pages, uploads, and the questions of neighbours.
struct HTTPFront: HTTPResponder {
    typealias Context = ConnectionContext

    let pages: PublicSite
    let tus: Tus
    let backstage: InternalEndpoints

    @Sendable func respond(to request: Request, context: ConnectionContext) async throws -> Response {
        let path = request.uri.path
        if Tus.isMine(path) { return try await tus.respond(to: request) }
        if InternalEndpoints.isMine(path) { return try await backstage.respond(to: request, context: context) }
        return try await pages.respond(to: request, context: context)
    }
}
