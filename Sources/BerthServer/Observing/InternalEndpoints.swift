import BerthCore
import BerthStore
import BerthWire
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// The endpoints that only neighbours may call (setting `internal.from`): `/metrics`, and the questions of a broker that authenticates
/// over HTTP. Their forms are those of RabbitMQ's HTTP backend (form fields, `allow` or `deny`) and of EMQX (JSON, `{"result":"allow"}`).
struct InternalEndpoints: Sendable {
    let settings: ServerSettings
    let credentials: CredentialBook
    let live: LiveFeed
    let presence: Presence
    let statistics: Statistics
    let pipeline: Pipeline
    let health: Health
    let door: Door
    let certificateEnds: @Sendable () -> Millis
    let startedAt: Millis
    let clock: @Sendable () -> Millis
    private static let bodyBytesMax = 16 << 10

    static func isMine(_ path: String) -> Bool { path == "/metrics" || path == "/mqtt/auth" || path == "/mqtt/acl" }

    func respond(to request: Request, context: ConnectionContext) async throws -> Response {
        guard let from = context.remoteAddress, settings.internalAddresses.contains(from) else { return Response(status: .forbidden) }
        if request.uri.path == "/metrics" {
            guard request.method == .get else { return Response(status: .methodNotAllowed) }
            // The sums are made with it.
            _ = await live.city()
            return Response(
                status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
                body: .init(byteBuffer: ByteBuffer(string: try await Blocking.value { metrics() })))
        }
        guard let question = try await question(request) else { return Response(status: .badRequest) }
        let isAllowed = request.uri.path == "/mqtt/auth" ? admits(question.fields) : mayUse(question.fields)
        return Response(
            status: .ok, headers: [.contentType: question.isJSON ? "application/json" : "text/plain"],
            body: .init(
                byteBuffer: ByteBuffer(
                    string: question.isJSON ? "{\"result\":\"\(isAllowed ? "allow" : "deny")\"}" : isAllowed ? "allow" : "deny")))
    }

    // MARK: The broker's questions

    /// Fields of a form (POST body or GET query), or the members of a JSON object; the first of two that have one name. Names are told apart by their
    /// bytes: anybody may ask.
    private func question(_ request: Request) async throws -> (fields: TextTable<String>, isJSON: Bool)? {
        if request.method == .get {
            return (InternalEndpoints.table(request.uri.queryParameters.map { (String($0.key), String($0.value)) }), false)
        }
        guard request.method == .post, let body = try? await request.body.collect(upTo: InternalEndpoints.bodyBytesMax) else { return nil }
        if request.headers[.contentType]?.lowercased().hasPrefix("application/json") == true {
            guard let object = (try? JSON.parse(Array(buffer: body)))?.objectValue else { return nil }
            return (InternalEndpoints.table(object.members.map { ($0.name, $0.value.stringValue ?? "") }), true)
        }
        return (InternalEndpoints.table(InternalEndpoints.form(String(buffer: body))), false)
    }

    private static func table(_ fields: [(String, String)]) -> TextTable<String> { TextTable(fields.reversed()) }

    /// The fields of a form; a part that is not valid percent-encoding is taken as it is.
    static func form(_ text: String) -> [(String, String)] {
        func decoded(_ part: Substring) -> String {
            let text = part.replacingOccurrences(of: "+", with: " ")
            return text.removingPercentEncoding ?? text
        }
        return text.split(separator: "&").map { pair in
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (decoded(parts[0]), parts.count > 1 ? decoded(parts[1]) : "")
        }
    }

    private func admits(_ fields: TextTable<String>) -> Bool {
        guard let credential = credentials.find(fields["username"] ?? ""), let password = fields["password"] else { return false }
        return MQTTIdentity.admits(
            credential, clientId: fields["client_id"] ?? fields["clientid"] ?? "", password: password, now: clock())
    }

    private func mayUse(_ fields: TextTable<String>) -> Bool {
        guard let credential = credentials.find(fields["username"] ?? ""), credential.isEnabled, credential.role.speaksForLots else {
            return false
        }
        // EMQX: topic and action. RabbitMQ: routing_key (the topic with . for /) and permission; virtual hosts, queues and exchanges are the
        // broker's own affair, and of use only with a topic.
        if let topic = fields["topic"] {
            return MQTTIdentity.mayUse(credential, topic: topic, isPublish: fields["action"] == "publish")
        }
        guard let key = fields["routing_key"] else {
            guard let resource = fields["resource"] else { return fields["vhost"] != nil }
            let name = fields["name"] ?? ""
            return resource == "queue"
                ? name.hasPrefix("mqtt-subscription-\(credential.appId)_") : name == "amq.topic" || name == "amq.default"
        }
        let isPublish = fields["permission"] == "write"
        if isPublish, credential.role == .cloud, key == "rsp.v1._cloud.\(credential.appId).status" { return true }
        // A parkCode may hold dots, so the key is compared with those of the credential's own lots.
        return credential.parkCodes.contains { key.hasPrefix("rsp.v1.\($0).\(isPublish ? "up" : "down").") }
    }

    // MARK: Metrics

    private func metrics() -> String {
        var out = Exposition()
        let links = presence.snapshot
        let lots = live.measures.map { ($0.parkCode, $0.perMille, $0.inForce, $0.inside) }
        out.add("berth_build_info", "gauge", "", Exposition.labels([("version", Version.number), ("build", Version.build ?? "")]), 1)
        out.add("berth_lots", "gauge", "", "", Double(lots.count))
        out.add("berth_links_online", "gauge", "", "", Double(links.values.reduce(0) { $0 + ($1.isOnline ? 1 : 0) }))
        out.add("berth_orders_active", "gauge", "", "", Double(lots.reduce(0) { $0 + $1.2 }))
        out.add("berth_cars_inside", "gauge", "", "", Double(lots.reduce(0) { $0 + $1.3 }))
        for lot in lots { out.add("berth_lot_saturation_permille", "gauge", "", Exposition.labels([("lot", lot.0)]), Double(lot.1)) }
        for lot in lots {
            out.add("berth_lot_online", "gauge", "", Exposition.labels([("lot", lot.0)]), links[lot.0]?.isOnline == true ? 1 : 0)
        }
        addLots(to: &out, links)
        addParts(to: &out)
        pipeline.meter.expose(into: &out)
        ProcessFacts.expose(into: &out, startedAt: startedAt)
        let (counts, refusals) = statistics.totals
        for (kind, count) in counts.sorted(by: { $0.key < $1.key }) {
            out.add("berth_happenings_total", "counter", "", Exposition.labels([("kind", kind)]), Double(count))
        }
        for (code, count) in refusals.sorted(by: { $0.key < $1.key }) {
            out.add("berth_refusals_total", "counter", "", Exposition.labels([("code", String(code))]), Double(count))
        }
        MetricsRegistry.shared.expose(into: &out)
        return out.text
    }

    /// The logs and links of the lots.
    private func addLots(to out: inout Exposition, _ links: [String: Presence.Link]) {
        let now = clock()
        let logs = pipeline.sequencer.readUndurable { city in city.lots.values.map { ($0.parkCode, $0.downLast - $0.downAck) } }
            .sorted { $0.0 < $1.0 }
        for (lot, behind) in logs { out.add("berth_lot_unacknowledged", "gauge", "", Exposition.labels([("lot", lot)]), Double(behind)) }
        for (lot, link) in links.sorted(by: { $0.key < $1.key }) {
            let label = Exposition.labels([("lot", lot)])
            out.add("berth_lot_queue", "gauge", "", label, Double(link.queueDepth))
            if link.heardAt > 0 { out.add("berth_lot_silence_seconds", "gauge", "", label, Double(max(0, now - link.heardAt)) / 1000) }
            out.add("berth_lot_clock_offset_seconds", "gauge", "", label, Double(link.clockOffsetMillis) / 1000)
        }
    }

    /// The parts of the server: store, broker, disk, certificate, notifications, dead letters.
    private func addParts(to out: inout Exposition) {
        let sequencer = pipeline.sequencer
        let (open, failed) = sequencer.readUndurable {
            ($0.allReports(kind: ProviderNotification.kind).count, $0.allReports(kind: ProviderNotification.failedKind).count)
        }
        out.add("berth_callbacks_open", "gauge", "", "", Double(open))
        out.add("berth_callbacks_failed", "gauge", "", "", Double(failed))
        out.add("berth_dead_letters", "gauge", "", "", Double(sequencer.state.withLockedValue { $0.deadCounts }.values.reduce(0, +)))
        out.add("berth_lots_stopped", "gauge", "", "", Double(sequencer.readUndurable { $0.lots.faults.count }))
        out.add("berth_store_refuses", "gauge", "", "", sequencer.haltReason == nil ? 0 : 1)
        if let store = sequencer.store as? PostgresStore {
            out.add("berth_leader", "gauge", "", "", store.mayAnswer ? 1 : 0)
            out.add("berth_term", "gauge", "", "", Double(store.term))
            out.add("berth_lease_margin_seconds", "gauge", "", "", Double(store.sureMillis) / 1000)
            for outcome in ["committed", "again"] {
                out.add(
                    "berth_commit_in_doubt_total", "counter", "", Exposition.labels([("outcome", outcome)]),
                    Double(store.doubts[outcome] ?? 0))
            }
        }
        door.expose(into: &out)
        out.add("berth_broker_connected", "gauge", "", "", health.isBrokerUp() ? 1 : 0)
        if let disk = DiskUsage(path: health.dataDirectory) {
            out.add("berth_disk_used_ratio", "gauge", "", "", Double(disk.percent) / 100)
        }
        out.add("berth_certificate_end_seconds", "gauge", "", "", Double(certificateEnds()) / 1000)
    }
}
