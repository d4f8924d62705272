import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore

/// The commands of an operator to a running server, over a socket in its data folder that only its owner can open.
struct Admin: HTTPResponder {
    typealias Context = ConnectionContext

    let desk: AdminService

    @Sendable func respond(to request: Request, context: ConnectionContext) async throws -> Response {
        let body = try await request.body.collect(upTo: 32 << 20)
        let answer: JSON
        do {
            guard let json = try? JSON.parse(Array(buffer: body)) else { throw AdminService.Refused("not JSON") }
            answer = try await withTaskExecutorPreference(Blocking.desk) { try await desk.run(json) }
        } catch {
            return Response(
                status: .badRequest,
                body: .init(byteBuffer: ByteBuffer(string: JSON(dictionaryLiteral: ("error", .string("\(error)"))).string)))
        }
        return Response(status: .ok, body: .init(byteBuffer: ByteBuffer(string: answer.string)))
    }
}

/// The operator's desk: issuing credentials and setting a lot's policy. Works on a running server, or on a stopped one's store.
struct AdminService: Sendable {
    struct Refused: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    let sequencer: Sequencer
    let keys: CredentialService
    let onboarding: Onboarding
    let notifier: Notifier?
    let authority: LocalCA
    let settings: ServerSettings
    let status: @Sendable () -> JSON
    /// The last calls of a party; none of a server that is stopped.
    let calls: @Sendable (_ appId: String) -> [JSON]
    /// The links of the lots; none of a server that is stopped.
    let links: @Sendable () -> [String: Presence.Link]
    /// Hands the city to another server; nil where there is none.
    var stepDown: (@Sendable () -> Void)?
    let clock: @Sendable () -> Millis

    private typealias Work = @Sendable (AdminService, JSON) async throws -> JSON

    /// The commands of the admin socket, by name.
    private static let commands: [String: Work] = [
        "keys.issue": { admin, command in try await admin.keysIssue(command) },
        "keys.list": { admin, command in admin.keysList() },
        "keys.web": { admin, command in try await admin.keysWeb() },
        "people.save": { admin, command in try await admin.peopleSave(command) },
        "people.list": { admin, command in admin.peopleList() },
        "keys.rotate": { admin, command in try await admin.keysRotate(command) },
        "keys.revoke": { admin, command in try await admin.keysRevoke(command) },
        "keys.set": { admin, command in try await admin.change(command) },
        "keys.certificate": { admin, command in try await admin.keysCertificate(command) },
        "config": { admin, command in admin.config() },
        "addresses": { admin, command in admin.addresses() },
        "calls.list": { admin, command in ["calls": .array(admin.calls(try admin.known(command)))] },
        "lots.list": { admin, command in ["lots": .array(admin.lots(command["park"]?.stringValue))] },
        "lots.onboarding": { admin, command in try admin.lotsOnboarding(command) },
        "lots.attest": { admin, command in try await admin.attest(command) },
        "lots.approve": { admin, command in try await admin.stage(command) },
        "lots.suspend": { admin, command in try await admin.stage(command) },
        "lots.resume": { admin, command in try await admin.stage(command) },
        "tidings.list": { admin, command in admin.tidingsList() },
        "tidings.retry": { admin, command in try await admin.tidingsRetry(command) },
        "audit.list": { admin, command in try admin.auditList(command) },
        "audit.verify": { admin, command in try admin.verifyAudit() },
        "lots.set": { admin, command in try await admin.lotsSet(command) },
        "occupancy.import": { admin, command in try admin.occupancyImport(command) },
        "dead.list": { admin, command in try admin.deadList(command) },
        "verify": { admin, command in try await admin.verify() },
        "status": { admin, command in admin.status() },
        "cluster.stepDown": { admin, command in try await admin.clusterStepDown() },
    ]

    func run(_ command: JSON) async throws -> JSON {
        guard let work = command["command"]?.stringValue.flatMap({ AdminService.commands[$0] }) else { throw Refused("unknown command") }
        return try await work(self, command)
    }

    /// Ends the leadership of this server in order, once the answer is on its way.
    private func clusterStepDown() async throws -> JSON {
        guard let stepDown else { throw Refused("a city on one machine has no cluster (docs/cluster.md)") }
        await put("cluster.stepDown", "", "the city is handed to another server")
        Task {
            try? await Task.sleep(for: .milliseconds(100))
            stepDown()
        }
        return ["steppingDown": true]
    }

    private func keysIssue(_ command: JSON) async throws -> JSON {
        let issued = try await issue((command["keys"]?.arrayValue ?? []))
        return ["keys": .array(issued)]
    }

    private func keysList() -> JSON {
        return [
            "keys": .array(
                keys.book.all.map {
                    .compact([
                        ("appId", .string($0.appId)), ("role", .string($0.role.rawValue)), ("name", .string($0.name)),
                        ("parks", .array($0.parkCodes.sorted().map { .string($0) })), ("enabled", .bool($0.isEnabled)),
                        ("callback", .optional($0.callback)), ("returnHosts", .array($0.returnHosts.map { .string($0) })),
                        ("certificate", .optional($0.certificate)), ("rotating", .bool($0.nextSecret != nil)),
                    ])
                })
        ]
    }

    private func keysWeb() async throws -> JSON {
        await put("keys.web", "", "the credentials of the pages were shown")
        return try await keys.pages()
    }

    private func peopleSave(_ command: JSON) async throws -> JSON {
        let answer = await perform(
            try Decode.command(
                service: "person.save", data: command["data"]?.objectValue ?? JSONObject(),
                Decode.Caller(appId: "desk", parkCode: "", requestId: "", dataHash: "", now: clock())),
            Audit.desk("people.save", target: command["data"]?["login"]?.stringValue ?? "", detail: "", now: clock()))
        guard answer.code == 0 else { throw Refused(answer.code == 404 ? "login: taken" : answer.resultCode.en) }
        return answer.data
    }

    private func peopleList() -> JSON {
        return sequencer.readUndurable { city in
            [
                "people": .array(
                    city.people.values.filter { $0.kind == .staff && $0.state != .deleted }.sorted { $0.login < $1.login }.map(
                        Encode.person))
            ]
        }
    }

    private func keysRotate(_ command: JSON) async throws -> JSON {
        let appId = try known(command)
        guard let secret = try keys.rotate(appId)?.secret else { throw Refused("no such credential") }
        await put("keys.rotate", appId, "a second secret was made")
        return ["appId": .string(appId), "appSecret": .string(secret)]
    }

    private func keysRevoke(_ command: JSON) async throws -> JSON {
        let appId = try known(command)
        guard try await keys.revoke(appId) else { throw Refused("no such credential") }
        await put("keys.revoke", appId, "")
        return ["appId": .string(appId), "enabled": false]
    }

    private func keysCertificate(_ command: JSON) async throws -> JSON {
        let appId = try known(command)
        let made = try await authority.clientCertificate(appId: appId)
        _ = try await keys.change(appId) { $0.certificate = made.fingerprint }
        await put("keys.certificate", appId, made.fingerprint)
        return [
            "appId": .string(appId), "certificate": .string(made.certificate), "key": .string(made.key),
            "sha256": .string(made.fingerprint),
        ]
    }

    private func config() -> JSON {
        return [
            "given": .object(
                JSONObject(
                    settings.given.sorted { $0.key < $1.key }.map {
                        ($0.key, ["value": .string($0.value.value), "source": .string($0.value.source)])
                    }))
        ]
    }

    private func lotsOnboarding(_ command: JSON) throws -> JSON {
        guard let parkCode = command["park"]?.stringValue, let answer = onboarding.json(parkCode, now: clock()) else {
            throw Refused("no such lot")
        }
        return answer
    }

    private func tidingsList() -> JSON {
        let failed = sequencer.readUndurable { $0.allReports(kind: ProviderNotification.failedKind) }
        let open = sequencer.readUndurable { $0.allReports(kind: ProviderNotification.kind) }
        func rows(_ reports: [KeptRecord]) -> JSON {
            .array(
                reports.compactMap(ProviderNotification.init(report:)).map {
                    let (service, data) = Encode.notification($0)
                    return ["appId": .string($0.appId), "id": .int($0.id), "service": .string(service), "data": data]
                })
        }
        return ["open": rows(open), "failed": rows(failed)]
    }

    private func tidingsRetry(_ command: JSON) async throws -> JSON {
        let appId = try known(command)
        let count = notifier?.retry(appId, now: clock()) ?? 0
        await put("tidings.retry", appId, "\(count)")
        return ["retried": .int(count)]
    }

    private func auditList(_ command: JSON) throws -> JSON {
        let after = command["after"]?.intValue ?? 0
        if let last = command["last"]?.intValue {
            var filter = AuditFilter()
            filter.limit = Int(max(1, min(last, 100_000)))
            let records = try sequencer.store.audit(matching: filter).filter { $0.id > after }
            return ["records": .array(records.reversed().map(AdminService.row))]
        }
        return ["records": .array(try sequencer.store.audit(after: after, limit: 1000).map(AdminService.row))]
    }

    private func lotsSet(_ command: JSON) async throws -> JSON {
        guard let parkCode = command["park"]?.stringValue, sequencer.readUndurable({ $0.lots[parkCode] != nil }) else {
            throw Refused("no such lot")
        }
        var values: [String: String] = [:]
        for (name, value) in command["policy"]?.objectValue?.members ?? [] {
            let text = value.stringValue ?? value.intValue.map { String($0) } ?? ""
            var probe = Policy()
            guard probe.set(name, text) else { throw Refused("\(name) cannot be \(value.string)") }
            values[name] = text
        }
        let answer = await perform(
            .setPolicy(.lot(parkCode), values),
            Audit.desk("lots.set", target: parkCode, detail: command["policy"]?.string ?? "", now: clock()))
        guard answer.code == 0 else { throw Refused(answer.resultCode.en) }
        return ["park": .string(parkCode)]
    }

    private func occupancyImport(_ command: JSON) throws -> JSON {
        // The counts that a city made before it had this server: one row for each lot and day.
        let counts = try occupancy(command["rows"]?.arrayValue ?? [])
        let taken = counts.count { $0.count >= 0 }
        if command["check"]?.boolValue == true { return ["counts": .int(taken)] }
        try sequencer.store.count(occupancy: counts)
        if command["make"]?.boolValue != false {
            OccupancyRecorder(sequencer: sequencer, store: sequencer.store, logger: Logger(label: "berth")).make(
                upTo: CivilTime.day(of: clock()), now: clock())
        }
        return ["counts": .int(taken)]
    }

    private func deadList(_ command: JSON) throws -> JSON {
        let rows = try sequencer.store.deadLetters(
            parkCode: command["park"]?.stringValue, since: command["since"]?.intValue ?? 0, before: nil, limit: 1000)
        return [
            "entries": .array(
                rows.map { row in
                    let code = Dialect.current.codes[row.code]
                    return [
                        "park": .string(row.parkCode), "epoch": .string(row.epoch), "seq": .int(row.seq), "at": .int(row.at),
                        "service": .string(row.service), "recordNo": .string(row.recordNo), "code": .int(row.code),
                        "reason": .string(code.map { "\($0.zh) \($0.en)" } ?? ""),
                    ]
                })
        ]
    }

    private func verify() async throws -> JSON {
        guard let store = sequencer.store as? any HistoryStore else { return ["findings": []] }
        let (retention, now) = (settings.retention, clock())
        let findings = try await Blocking.value { try store.verify(retention, now: now, isWanted: { true }) }
        return ["findings": .array(findings.map { .string($0) })]
    }

    /// The facts for those who connect: names, ports, and the authority of the certificate (PEM; absent where the system's own trust it).
    private func addresses() -> JSON {
        let authority = authority.isOwn && settings.ownCertificate?.authority == nil ? nil : authority.trustFile
        return .compact([
            ("names", .array(settings.tlsNames.map { .string($0) })), ("httpsPort", .int(settings.httpsPort)),
            ("mqttPort", .int(settings.mqttPort)), ("environment", .string(settings.isTestEnvironment ? "test" : "production")),
            ("ca", .optional(authority.flatMap { try? String(contentsOfFile: $0, encoding: .utf8) })),
        ])
    }

    /// How lots stand, as their operators see it, with the rules that are their own.
    private func lots(_ parkCode: String?) -> [JSON] {
        let (links, now) = (links(), clock())
        let dead = sequencer.state.withLockedValue { $0.deadCounts }
        let (codes, open) = sequencer.readUndurable { city -> ([String], [String: Int]) in
            var open: [String: Int] = [:]
            for gateCase in city.gateCases.values where gateCase.state == .open { open[gateCase.parkCode, default: 0] += 1 }
            return (parkCode.map { [$0] } ?? city.lots.keys.sorted(), open)
        }
        // Each lot for itself: nobody who wants to book waits for all of them.
        return codes.compactMap { code in
            sequencer.readUndurable { city -> JSON? in
                guard let lot = city.lots[code] else { return nil }
                let board = Pipeline.boardRow(lot, links[code], openCases: open[code] ?? 0, dead: dead[code] ?? 0, city, now: now)
                var row = board.objectValue ?? JSONObject()
                let own = (city.overrides[.lot(code)]?.values ?? [:]).sorted { $0.key < $1.key }
                row.append("policy", .string(own.map { "\($0.key)=\($0.value)" }.joined(separator: " ")))
                return .object(row)
            }
        }
    }

    /// The counts of an import; -1 where nobody counted.
    /// - Throws: ``Refused`` with the line of each bad row, up to 20 of them; nothing is taken then.
    private func occupancy(_ rows: [JSON]) throws(Refused) -> [OccupancyCount] {
        var counts: [OccupancyCount] = []
        var faults: [String] = []
        let lots = sequencer.readUndurable { city in
            Set(rows.compactMap { $0["park"]?.stringValue }.filter { Envelope.isParkCode($0) && city.lots[$0] != nil })
        }
        for (index, row) in rows.enumerated() {
            let line = row["line"]?.intValue.map { "line \($0)" } ?? "row \(index + 1)"
            guard let parkCode = row["park"]?.stringValue, let day = row["day"]?.intValue, let values = row["counts"]?.arrayValue,
                values.count == 48, Envelope.isParkCode(parkCode), (0...100_000).contains(day)
            else { throw Refused("\(line): park, day and 48 counts expected") }
            guard lots.contains(parkCode) else {
                faults.append("\(line): there is no lot \(parkCode)")
                continue
            }
            let numbers = values.map { $0.intValue ?? -2 }
            guard numbers.allSatisfy({ (-1...1_000_000).contains($0) }) else {
                faults.append("\(line): a count is outside 0 to 1000000")
                continue
            }
            for (slot, number) in numbers.enumerated() {
                counts.append(OccupancyCount(parkCode: parkCode, day: day, slot: slot, count: Int(number)))
            }
        }
        guard faults.isEmpty else {
            throw Refused(
                "nothing was taken\n" + faults.prefix(20).joined(separator: "\n")
                    + (faults.count > 20 ? "\n… and \(faults.count - 20) more" : ""))
        }
        return counts
    }

    private func perform(_ command: Command, _ audit: AuditRecord? = nil) async -> Reply {
        await withCheckedContinuation { continuation in
            sequencer.perform(command, audit: audit, now: clock()) { continuation.resume(returning: $0) }
        }
    }

    /// Puts a deed of the desk on record.
    private func put(_ command: String, _ target: String, _ detail: String) async {
        _ = await perform(.nothing, Audit.desk(command, target: target, detail: detail, now: clock()))
    }

    private func known(_ command: JSON) throws -> String {
        guard let appId = command["appId"]?.stringValue, keys.book.find(appId) != nil else { throw Refused("no such credential") }
        return appId
    }

    private static func row(_ record: AuditRecord) -> JSON {
        [
            "id": .int(record.id), "at": .int(record.at), "actor": .string(record.actor), "action": .string(record.action),
            "target": .string(record.target), "detail": .string(record.detail), "hash": .string(record.hash),
        ]
    }

    /// Walks the whole chain, so that a row that was changed or taken out is found.
    private func verifyAudit() throws -> JSON {
        var count = 0
        var last: AuditRecord?
        while true {
            let records = try sequencer.store.audit(after: last?.id ?? 0, limit: 1000)
            guard let newest = records.last else { break }
            if let broken = AuditRecord.firstBroken((last.map { [$0] } ?? []) + records) {
                return ["records": .int(count), "intact": false, "brokenAt": .int(broken.id)]
            }
            count += records.count
            last = newest
        }
        return .compact([("records", .int(count)), ("intact", true), ("lastHash", .optional(last?.hash))])
    }

    // MARK: Credentials and lots

    /// Changes the fields that a credential has beside its secret.
    private func change(_ command: JSON) async throws -> JSON {
        let appId = try known(command)
        if let url = command["callback"]?.stringValue, !url.isEmpty,
            let fault = CallbackClient.fault(of: url, rules: settings.callbackRules)
        {
            throw Refused("callback: \(fault)")
        }
        let hosts = command["returnHosts"]?.arrayValue?.compactMap(\.stringValue)
        if let hosts, !hosts.allSatisfy({ Redirect.isReturn("https://\($0)/", to: [$0]) }) {
            throw Refused("returnHosts: names of hosts expected")
        }
        if keys.book.find(appId)?.role == .operator, command["callback"]?.stringValue != nil {
            throw Refused("an operator has no callback")
        }
        let (rate, burst) = (command["rate"]?.intValue, command["burst"]?.intValue)
        for number in [rate, burst].compactMap({ $0 }) where !(1...10_000_000).contains(number) {
            throw Refused("rate, burst: 1 to 10000000")
        }
        let changed = try await keys.change(appId) { credential in
            if let url = command["callback"]?.stringValue { credential.callback = url.isEmpty ? nil : url }
            if let hosts { credential.returnHosts = hosts }
            if command["noCertificate"]?.boolValue == true { credential.certificate = nil }
            if let rate {
                credential.ratePerSecond = Int(rate)
                credential.burst = Int(burst ?? min(2 * rate, 10_000_000))
            }
        }
        await put("keys.set", appId, command.string)
        return [
            "appId": .string(appId), "callback": .optional(changed?.callback),
            "returnHosts": .array((changed?.returnHosts ?? []).map { .string($0) }),
        ]
    }

    private func attest(_ command: JSON) async throws -> JSON {
        guard let parkCode = command["park"]?.stringValue, sequencer.readUndurable({ $0.lots[parkCode] != nil }) else {
            throw Refused("no such lot")
        }
        guard let item = Dialect.current.checklist.first(where: { $0.id == command["item"]?.stringValue }) else {
            throw Refused("item: one of \(Dialect.current.checklist.filter { $0.proof == .attested }.map(\.id).joined(separator: ", "))")
        }
        guard item.proof == .attested else { throw Refused("\(item.id) is proved by \(item.service), and cannot be attested") }
        guard let by = command["by"]?.stringValue, !by.isEmpty else { throw Refused("by: who has looked") }
        let body = command["withdraw"]?.boolValue == true ? "" : by
        let report = KeptRecord(parkCode: parkCode, kind: Onboarding.attestedKind, key: item.id, body: body, at: clock())
        _ = await perform(
            .file(parkCode: parkCode, [report], replaces: nil, knownBy: nil, notice: nil),
            Audit.desk(body.isEmpty ? "lots.attest withdraw" : "lots.attest", target: parkCode, detail: "\(item.id) by \(by)", now: clock())
        )
        return onboarding.json(parkCode, now: clock()) ?? [:]
    }

    private func stage(_ command: JSON) async throws -> JSON {
        guard let parkCode = command["park"]?.stringValue, let lot = sequencer.readUndurable({ $0.lots[parkCode] }) else {
            throw Refused("no such lot")
        }
        let name = command["command"]?.stringValue ?? ""
        var stage = LotStage.suspended
        var opened = lot.opened
        if name != "lots.suspend" {
            guard lot.profile != nil else { throw Refused("the lot has not described itself yet (lot.info.report)") }
            stage = .live
            if settings.reviewsLots {
                opened = onboarding.passed(parkCode, now: clock())
                guard !opened.isEmpty else {
                    let open = onboarding.rows(parkCode, now: clock()).filter { $0.verdict != .passed }.map { "\($0.item.id): \($0.why)" }
                    throw Refused("not passed yet: \(open.joined(separator: "; "))")
                }
            }
        }
        let answer = await perform(
            .setStage(parkCode: parkCode, stage, opened: opened),
            Audit.desk(
                name, target: parkCode, detail: opened.map(\.rawValue).sorted().map { String($0) }.joined(separator: ","), now: clock()))
        guard answer.code == 0 else { throw Refused(answer.resultCode.en) }
        return onboarding.json(parkCode, now: clock()) ?? [:]
    }

    /// Many at once, so that a city of lots costs one reload of the broker.
    private func issue(_ wishes: [JSON]) async throws -> [JSON] {
        var issued: [Credential] = []
        for wish in wishes {
            guard let role = Role(rawValue: wish["role"]?.stringValue ?? "") else {
                throw Refused("role: lot, cloud, provider, operator or web")
            }
            let parks = (wish["parks"]?.arrayValue ?? []).compactMap(\.stringValue)
            guard parks.allSatisfy(Envelope.isParkCode) else {
                throw Refused("park: 1 to 32 of A-Z a-z 0-9 . _ -, not beginning with _")
            }
            if role == .lot, parks.count != 1 { throw Refused("a lot's credential has exactly one --park; a cloud speaks for several") }
            if role == .cloud, parks.isEmpty { throw Refused("a cloud's credential needs at least one --park") }
            let callback = wish["callback"]?.stringValue
            if let callback, let fault = CallbackClient.fault(of: callback, rules: settings.callbackRules) {
                throw Refused("callback: \(fault)")
            }
            let hosts = (wish["returnHosts"]?.arrayValue ?? []).compactMap(\.stringValue)
            guard hosts.allSatisfy({ Redirect.isReturn("https://\($0)/", to: [$0]) }) else {
                throw Refused("returnHosts: names of hosts expected")
            }
            if role == .operator || role == .web, callback != nil { throw Refused("an operator has no callback") }
            if role == .web, !parks.isEmpty { throw Refused("a web credential has no --park") }
            if role == .provider, !parks.isEmpty { throw Refused("a provider's credential has no --park") }
            let rate = Int(wish["rate"]?.intValue ?? 50)
            guard (1...10_000_000).contains(rate) else { throw Refused("rate: 1 to 10000000") }
            let burst = Int(wish["burst"]?.intValue ?? Int64(min(2 * rate, 10_000_000)))
            guard (1...10_000_000).contains(burst) else { throw Refused("burst: 1 to 10000000") }
            let prefix =
                switch role {
                case .lot: "lt"
                case .cloud: "cl"
                case .provider: "sp"
                case .operator: "op"
                case .web: "wb"
                }
            var credential = Credential(
                appId: prefix + SystemRandom.token(14), secret: SystemRandom.token(40), role: role,
                name: wish["name"]?.stringValue ?? "", parkCodes: Set(parks), ratePerSecond: rate, burst: burst)
            credential.callback = callback
            credential.returnHosts = hosts
            issued.append(credential)
        }
        for credential in issued {
            if credential.role.speaksForLots {
                for parkCode in credential.parkCodes.sorted() {
                    let answer = await perform(.register(parkCode: parkCode))
                    guard answer.code == 0 else { throw Refused(answer.resultCode.en) }
                }
            }
            await put(
                "keys.issue", credential.appId,
                "\(credential.role.rawValue) \(credential.name) \(credential.parkCodes.sorted().joined(separator: ","))")
        }
        // Messages to a lot are sent under one credential. The holder of the one before receives no more messages and must be told.
        let before = issued.map { credential in
            credential.role == .lot
                ? credential.parkCodes.compactMap { keys.book.delivery(to: $0) }.filter { $0.role == .lot && $0.isEnabled }.map(\.appId)
                : []
        }
        try await keys.save(issued)
        return zip(issued, before).map { credential, before in
            .compact([
                ("appId", .string(credential.appId)), ("appSecret", .string(credential.secret)),
                ("replaces", before.isEmpty ? .null : .array(Set(before).sorted().map { .string($0) })),
            ])
        }
    }
}
