import BerthLink
import BerthWire
import HTTPTypes
import Hummingbird
import NIOCore
import Synchronization

/// The doors of a server: its HTTPS port, its page on loopback, and the link to the other servers of its city. They stay open while the city's
/// office comes to this server; until then the HTTPS port carries to the leader (``Carrier``), and the link says that it does not lead.
final class Door: Sendable {
    /// The part of an office that answers.
    struct Fronts: Sendable {
        var https: HTTPFront
        var signed: SignedFront
    }

    private let fronts = Mutex<Fronts?>(nil)
    /// nil on a machine that is alone with its city.
    let carrier: Carrier?
    private let settings: ServerSettings
    private let startedAt: Int64

    init(carrier: Carrier?, settings: ServerSettings, startedAt: Int64) {
        self.carrier = carrier
        self.settings = settings
        self.startedAt = startedAt
    }

    var present: Fronts? { fronts.withLock { $0 } }
    /// The signed interface for a connection that is opened now.
    @Sendable func signed() -> SignedFront? { present?.signed }

    /// This server leads from now on.
    func open(_ office: Fronts) { fronts.withLock { $0 = office } }

    /// The HTTPS port.
    struct Outside: HTTPResponder {
        let door: Door

        @Sendable func respond(to request: Request, context: ConnectionContext) async throws -> Response {
            guard let fronts = door.present else { return try await door.standby(request, context) }
            // The connection was opened while this server stood by, and has no signed interface of its own. The next one has.
            if request.uri.path.hasPrefix(SignedFront.prefix), let carrier = door.carrier {
                var response = await carrier.carry(request, context: context)
                response.headers[.connection] = "close"
                return response
            }
            return try await fronts.https.respond(to: request, context: context)
        }
    }

    /// The plain page on loopback.
    struct Page: HTTPResponder {
        let door: Door

        @Sendable func respond(to request: Request, context: ConnectionContext) async throws -> Response {
            guard let fronts = door.present else {
                var plain = context
                plain.isPlain = true
                return try await door.standby(request, plain)
            }
            return try await fronts.https.pages.plain.respond(to: request, context: context)
        }
    }

    /// The link: requests that other servers carry here.
    struct Inside: HTTPResponder {
        let door: Door

        @Sendable func respond(to request: Request, context: ConnectionContext) async throws -> Response {
            // A connection that was opened before the office has no signed interface: it takes no signed request.
            guard let fronts = door.present, fronts.signed.pipeline.store.mayAnswer, !request.uri.path.hasPrefix(SignedFront.prefix) else {
                // The front opens another connection for the next request.
                return Response(status: .init(code: LeaderLink.misdirected), headers: [.connection: "close"])
            }
            var carried = context
            func field(_ name: String) -> String? { HTTPField.Name(name).flatMap { request.headers[$0] } }
            carried.carriedSource = field(LinkField.source)
            if field(LinkField.plain) != nil { return try await fronts.https.pages.plain.respond(to: request, context: carried) }
            return try await fronts.https.respond(to: request, context: carried)
        }
    }

    /// Probes and metrics of a server that stands by; everything else is the leader's to answer.
    private func standby(_ request: Request, _ context: ConnectionContext) async throws -> Response {
        guard let carrier else { return Response(status: .serviceUnavailable) }
        let isReady = carrier.link.leader != nil
        switch request.uri.path {
        case "/livez", "/healthz": return Door.json(["status": "ok", "version": .string(Version.text)])
        case "/leader": return Response(status: .serviceUnavailable)
        case "/readyz":
            var response = Door.json([
                "status": isReady ? "ready" : "not ready", "version": .string(Version.text),
                "checks": ["leader": isReady ? "elsewhere" : "none"],
            ])
            if !isReady { response.status = .serviceUnavailable }
            return response
        case "/metrics":
            guard let from = context.remoteAddress, settings.internalAddresses.contains(from) else { return Response(status: .forbidden) }
            return Response(
                status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
                body: .init(byteBuffer: ByteBuffer(string: metrics())))
        default: return await carrier.carry(request, context: context)
        }
    }

    private func metrics() -> String {
        var out = Exposition()
        out.add("berth_build_info", "gauge", "", Exposition.labels([("version", Version.number), ("build", Version.build ?? "")]), 1)
        out.add("berth_leader", "gauge", "", "", 0)
        expose(into: &out)
        ProcessFacts.expose(into: &out, startedAt: startedAt)
        MetricsRegistry.shared.expose(into: &out)
        return out.text
    }

    /// The requests that this server carries.
    func expose(into out: inout Exposition) {
        guard let facts = carrier?.facts else { return }
        out.add("berth_link_asks_held", "gauge", "", "", Double(facts.held))
        out.add("berth_link_resends_total", "counter", "", "", Double(facts.resends))
    }

    private static func json(_ value: JSON) -> Response {
        Response(
            status: .ok,
            headers: [.contentType: "application/json; charset=utf-8", .xContentTypeOptions: "nosniff", .cacheControl: "no-cache"],
            body: .init(byteBuffer: ByteBuffer(string: value.string)))
    }
}
