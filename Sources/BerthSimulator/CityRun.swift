import BerthCore
import BerthGateway
import BerthLink
import BerthWire
import CBerthPosix
import Foundation
public import Logging
import Synchronization

/// The demo city: a real server in a process of its own, a fleet of real gateways in this one, and drivers.
public struct CityRun: Sendable {
    public struct Options: Sendable {
        public var program: String
        public var data: String
        public var lotsFile: String?
        /// Whether the city opens without the rows of the file that cannot be lots; otherwise nothing starts.
        public var skipsBadRows: Bool
        public var lotCount: Int
        public var speed: Double
        public var httpsPort: Int
        public var mqttPort: Int
        public var pagePort: Int
        /// The hour of the day with which the demand begins; nil for the present one.
        public var hour: Int?
        /// Seconds to run; nil until Ctrl-C.
        public var seconds: Int?
        /// The verifier of a password, for the accounts of the demo's staff; nil makes none.
        public var verifier: (@Sendable (String) async throws -> String)?

        public init(
            program: String, data: String, lotsFile: String?, skipsBadRows: Bool, lotCount: Int, speed: Double, httpsPort: Int,
            mqttPort: Int, pagePort: Int, seconds: Int?
        ) {
            self.program = program
            self.data = data
            self.lotsFile = lotsFile
            self.skipsBadRows = skipsBadRows
            self.lotCount = lotCount
            self.speed = speed
            self.httpsPort = httpsPort
            self.mqttPort = mqttPort
            self.pagePort = pagePort
            self.seconds = seconds
        }
    }

    public struct Failed: Error, CustomStringConvertible { public let description: String }

    private let options: Options
    private let logger: Logger
    private var fleetFile: String { options.data + "/fleet.json" }

    public init(_ options: Options, logger: Logger) {
        self.options = options
        self.logger = logger
    }

    /// Runs until SIGINT, SIGTERM, the end of its seconds, or until nobody reads its output any more, and ends what it started.
    public func run(socketPath: @Sendable () throws -> String) async throws {
        let limit = berth_raise_descriptor_limit()
        // The lots are read first: a file that cannot be read starts nothing.
        let founded = try savedFleet()
        let lots = founded == nil ? try plan() : []
        do {
            try FileManager.default.createDirectory(
                atPath: options.data, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch { throw Failed(description: "the data folder \(options.data) cannot be made: \(error.localizedDescription)") }
        let end = EndSignal(seconds: options.seconds)
        say("泊位 Berth: starting the server …")
        let server = try startServer()
        defer { server.stop() }
        let ready = try server.ready()
        guard let https = ready["https"]?.stringValue, let mqtt = ready["mqtt"]?.stringValue, let ca = ready["ca"]?.stringValue,
            let mqttPort = mqtt.split(separator: ":").last.flatMap({ Int($0) })
        else { throw Failed(description: "the server said \(ready.string)") }

        let fleet: Fleet
        if let founded { fleet = founded } else { fleet = try await found(lots, socketPath: try socketPath()) }
        if limit < UInt64(fleet.lots.count * 4 + 200) {
            throw Failed(description: "\(fleet.lots.count) gateways need more open files than the limit of \(limit); see ulimit -n")
        }
        var configuration = GatewayConfiguration(
            servers: [https], brokers: [("127.0.0.1", mqttPort)], caFile: ca,
            spoolFile: options.data + "/fleet-spool.sqlite", lots: fleet.entries)
        configuration.carrier = .mqtt
        configuration.logsLinks = false
        let gateway = try Gateway(configuration, logger: logger)
        let demand = Demand(hour: options.hour)
        CityRun.turnTide(fleet.lots, gateway, demand)
        let client = try SignedClient(base: https, caFile: ca)
        let drivers = Drivers(
            lots: fleet.lots, gateway: gateway, client: client, appId: fleet.drivers.0, secret: fleet.drivers.1,
            speed: options.speed, demand: demand)
        let people = fleet.desk.map {
            SimulatedUsers(lots: fleet.lots, gateway: gateway, client: client, app: fleet.drivers, desk: $0, speed: options.speed)
        }
        let view = TerminalView(
            gateway: gateway, drivers: drivers, people: people, lotCount: fleet.lots.count, speed: options.speed, demand: demand,
            https: https, mqtt: mqtt,
            page: ready["page"]?.stringValue, data: options.data, ca: ca, sampleLot: fleet.lots[0].parkCode, staff: fleet.staff)
        let running = Task {
            await withDiscardingTaskGroup { group in
                group.addTask { await gateway.run() }
                group.addTask {
                    // First the lots, then the drivers: nobody is turned away because the city is still waking up.
                    for _ in 0..<600 where gateway.onlineCount < fleet.lots.count && !Task.isCancelled {
                        try? await Task.sleep(for: .milliseconds(100))
                    }
                    if founded == nil { await CityRun.reportTariffs(fleet, client) }
                    await withDiscardingTaskGroup { town in
                        town.addTask { await drivers.run() }
                        if let people { town.addTask { await people.run() } }
                    }
                }
                group.addTask { await view.run() }
                group.addTask { await CityRun.followTide(fleet.lots, gateway, demand) }
            }
        }
        await end.wait(orWhile: { server.isRunning && !Output.isClosed })
        if Output.isClosed { Output.error("berth: nobody reads the output any more; closing the city") }
        say("\n泊位 Berth: closing the city …")
        running.cancel()
        await running.value
        await client.close()
        if !server.isRunning { throw Failed(description: "the server ended by itself; its log is \(options.data)/server.log") }
    }

    private static func followTide(_ lots: [PlannedLot], _ gateway: Gateway, _ demand: Demand) async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(60))
            turnTide(lots, gateway, demand)
        }
    }

    /// Cars that never reserved come and go with the hour; each lot is a little fuller or emptier than others of its kind.
    private static func turnTide(_ lots: [PlannedLot], _ gateway: Gateway, _ demand: Demand) {
        var random = Seeded(7)
        for lot in lots {
            let own = Int.random(in: -14...14, using: &random)
            gateway.box(lot.parkCode)?.reportOccupied(lot.capacity * min(97, max(3, demand.level(lot.kind) + own)) / 100)
        }
    }

    private func startServer() throws -> ServerProcess {
        try ServerProcess(
            program: options.program,
            arguments: [
                "serve", "--data", options.data, "--https-port", "\(options.httpsPort)", "--mqtt-port",
                "\(options.mqttPort)", "--page-port", "\(options.pagePort)", "--log-level", "notice",
                // A demo explains its refusals.
                "--environment", "test",
            ], log: options.data + "/server.log")
    }

    // MARK: The fleet

    private struct Fleet: Sendable {
        var lots: [PlannedLot]
        var entries: [GatewayConfiguration.LotEntry]
        var drivers: (String, String)
        /// The city's own console; a city that an older release founded has none.
        var desk: (String, String)?
        /// Login, password and home page of the demo's staff.
        var staff: [(login: String, password: String, page: String)] = []
    }

    /// The lots and credentials that an earlier start of this data folder made; nil on the first start.
    private func savedFleet() throws -> Fleet? {
        guard FileManager.default.fileExists(atPath: fleetFile) else { return nil }
        guard let bytes = FileManager.default.contents(atPath: fleetFile), let json = try? JSON.parse([UInt8](bytes)) else {
            throw Failed(description: "\(fleetFile) cannot be read; without it the lots of \(options.data) have no credentials")
        }
        if let file = options.lotsFile {
            say("泊位 Berth: \(options.data) holds a city already; \(file) is not read. Another --data takes it.")
        }
        return try CityRun.fleet(json)
    }

    /// Registers the lots of a new city, and keeps their credentials.
    private func found(_ lots: [PlannedLot], socketPath: String) async throws -> Fleet {
        say("泊位 Berth: registering \(lots.count) lots …")
        let wishes = lots.map { lot -> JSON in
            ["role": "lot", "name": .string(lot.name), "parks": [.string(lot.parkCode)]]
        }
        // The drivers' provider stands for every app of the city, so its limit is raised; the demo credential has the usual one.
        let providers: [JSON] = [
            ["role": "provider", "name": "simulated drivers", "rate": 100_000], ["role": "provider", "name": "demo"],
            ["role": "operator", "name": "the city's desk", "rate": 1_000],
        ]
        let answer = try await SocketCall.post(
            ["command": "keys.issue", "keys": .array(wishes + providers)], socketPath: socketPath)
        let keys = answer["keys"]?.arrayValue ?? []
        guard keys.count == lots.count + 3 else { throw Failed(description: "the server issued \(keys.count) credentials") }
        let rows = zip(lots, keys).map { lot, key -> JSON in
            [
                "parkCode": .string(lot.parkCode), "appId": key["appId"] ?? .null, "appSecret": key["appSecret"] ?? .null,
                "kind": .string(lot.kind.rawValue), "info": lot.info, "gates": lot.gates,
            ]
        }
        // Schools and venues keep a place for one minute only, so that a viewer sees no-shows without waiting half an hour.
        for lot in lots where lot.kind == .school || lot.kind == .venue {
            _ = try await SocketCall.post(
                ["command": "lots.set", "park": .string(lot.parkCode), "policy": ["lateMin": 1]], socketPath: socketPath)
        }
        // The owners of this city lend their places by day too: a viewer at noon sees sharing.
        for lot in lots where lot.isShared {
            _ = try await SocketCall.post(
                ["command": "lots.set", "park": .string(lot.parkCode), "policy": ["shareWindow": "00:00-24:00"]], socketPath: socketPath)
        }
        try await history(of: lots, socketPath: socketPath)
        let staff = try await staff(lots, demo: keys[lots.count + 1]["appId"] ?? "", socketPath: socketPath)
        let json: JSON = [
            "lots": .array(rows), "drivers": keys[lots.count], "demo": keys[lots.count + 1], "desk": keys[lots.count + 2],
            "staff": .array(staff),
        ]
        try CityRun.save(keys[lots.count + 1], options.data + "/demo-key.json")
        try CityRun.save(json, fleetFile)
        return try CityRun.fleet(json)
    }

    /// Accounts for a look at the pages of staff: one for the city, one for an operator of ten lots, one for a developer.
    private func staff(_ lots: [PlannedLot], demo: JSON, socketPath: String) async throws -> [JSON] {
        guard let verifier = options.verifier else { return [] }
        // Hospitals come first, and the mall at whose gate the plates are misread.
        let own = (lots.prefix(8) + (CityPlan.gateLot(of: lots).map { [$0] } ?? []) + lots.filter(\.isShared).prefix(3)).map {
            JSON.string($0.parkCode)
        }
        var rows: [JSON] = []
        for (role, page, parks, rights) in [
            ("city", "city", [], []), ("operator", "operator", own, []), ("developer", "developer", Array(own.prefix(1)), [demo]),
        ] as [(String, String, [JSON], [JSON])] {
            let password = SystemRandom.token(10)
            _ = try await SocketCall.post(
                [
                    "command": "people.save",
                    "data": [
                        "kind": "staff", "login": .string(role), "name": .string("demo \(role)"), "roles": [.string(role)],
                        "parkCodes": .array(parks),
                        "rights": .array(rights), "userToken": .string(SystemRandom.token(24)),
                        "passwordHash": .string(try await verifier(password)),
                    ],
                ], socketPath: socketPath)
            rows.append(["login": .string(role), "password": .string(password), "page": .string(page)])
        }
        return rows
    }

    /// Each lot says what a stay costs, so that a driver sees the price of their own.
    private static func reportTariffs(_ fleet: Fleet, _ client: SignedClient) async {
        for (lot, entry) in zip(fleet.lots, fleet.entries) {
            _ = try? await client.call(
                "lot.tariff.report", data: lot.tariff, appId: entry.appId, secret: entry.appSecret, parkCode: entry.parkCode)
        }
    }

    /// Four weeks in which nobody watched, so that forecasts have something to rest on: offices fill by day, homes by night.
    private func history(of lots: [PlannedLot], socketPath: String) async throws {
        var random = Seeded(11)
        let today = CivilTime.day(of: SystemClock.now())
        for start in stride(from: 0, to: lots.count, by: 80) {
            let part = lots[start..<min(lots.count, start + 80)]
            let rows = part.flatMap { lot -> [JSON] in
                let base = Int.random(in: 30...60, using: &random)
                return (1...28).map { back -> JSON in
                    let day = today - Int64(back)
                    let rests = CivilTime.weekday(ofDay: day) > 5
                    let counts = (0..<48).map { slot -> JSON in
                        let isDay = (16...36).contains(slot)
                        let swing = lot.kind == .residence ? (isDay ? -15 : 20) : isDay ? (rests ? 10 : 30) : -20
                        return .int(max(0, min(100, base + swing + Int.random(in: -4...4, using: &random))) * lot.capacity / 100)
                    }
                    return ["park": .string(lot.parkCode), "day": .int(day), "counts": .array(counts)]
                }
            }
            _ = try await SocketCall.post(
                ["command": "occupancy.import", "rows": .array(rows), "make": .bool(start + 80 >= lots.count)], socketPath: socketPath)
        }
    }

    private static func save(_ json: JSON, _ file: String) throws {
        try Data(json.text()).write(to: URL(fileURLWithPath: file), options: .atomic)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
    }

    private func plan() throws -> [PlannedLot] {
        guard let file = options.lotsFile else { return CityPlan.invented(count: options.lotCount) }
        let read = try CityRun.readLots(file)
        guard read.badRowCount == 0 || options.skipsBadRows else {
            throw Failed(description: "\(file) has \(read.badRowCount) bad rows, and --no-skip-bad-rows is given; nothing was started")
        }
        return CityPlan.chosen(from: read.rows, count: options.lotCount)
    }

    /// Reads a lots file and says what is in it: each bad row with its line and reason, up to 20 of them.
    /// - Throws: the fault that makes the whole file useless.
    @discardableResult public static func readLots(_ file: String) throws -> LotsFile {
        let read = try LotsFile(file: file)
        if read.isGB18030 { Output.error("berth: \(file) is not UTF-8; it is read as GB18030") }
        for bad in read.badRows.prefix(20) { say("  \(file) \(bad)") }
        if read.badRowCount > 20 { say("  … and \(read.badRowCount - 20) more bad rows") }
        say("泊位 Berth: \(read.rows.count) good rows, \(read.badRowCount) bad ones in \(file)")
        guard !read.rows.isEmpty else { throw Failed(description: "\(file) has no good row") }
        return read
    }

    private static func fleet(_ json: JSON) throws -> Fleet {
        var lots: [PlannedLot] = []
        var entries: [GatewayConfiguration.LotEntry] = []
        for row in json["lots"]?.arrayValue ?? [] {
            guard let parkCode = row["parkCode"]?.stringValue, let appId = row["appId"]?.stringValue,
                let secret = row["appSecret"]?.stringValue, let info = row["info"],
                let total = info["totalSpace"]?.intValue, (0...1_000_000).contains(total)
            else { throw Failed(description: "fleet.json is damaged: lot \(lots.count + 1)") }
            lots.append(
                PlannedLot(
                    parkCode: parkCode, name: info["parkName"]?.stringValue ?? "", address: "", latitude: "", longitude: "",
                    capacity: Int(total), kind: .init(rawValue: row["kind"]?.stringValue ?? "") ?? .office,
                    isShared: info["shareEnabled"]?.boolValue ?? false))
            entries.append(
                .init(
                    parkCode: parkCode, appId: appId, appSecret: secret, totalCount: Int(total), info: info,
                    gates: row["gates"]))
        }
        guard let drivers = json["drivers"], let appId = drivers["appId"]?.stringValue,
            let secret = drivers["appSecret"]?.stringValue, !lots.isEmpty
        else { throw Failed(description: "fleet.json is damaged") }
        let desk = json["desk"].flatMap { desk -> (String, String)? in
            guard let appId = desk["appId"]?.stringValue, let secret = desk["appSecret"]?.stringValue else { return nil }
            return (appId, secret)
        }
        let staff = (json["staff"]?.arrayValue ?? []).map {
            ($0["login"]?.stringValue ?? "", $0["password"]?.stringValue ?? "", $0["page"]?.stringValue ?? "")
        }
        return Fleet(lots: lots, entries: entries, drivers: (appId, secret), desk: desk, staff: staff)
    }
}

/// The server as a child process. It is ended in order when this process ends, however that happens.
final class ServerProcess: Sendable {
    /// A log that is longer than this when the city starts is put aside, bytes.
    private static let logBytesMax: Int64 = 16 << 20

    private let child: ChildProcess
    private let output: Int32
    private let log: String
    /// The offset in the log at which this server's lines begin.
    private let logStart: UInt64

    init(program: String, arguments: [String], log: String) throws {
        self.log = log
        var info = stat()
        if stat(log, &info) == 0, info.st_size > ServerProcess.logBytesMax { rename(log, log + ".1") }
        let errors = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        defer { if errors >= 0 { close(errors) } }
        logStart = errors >= 0 && fstat(errors, &info) == 0 ? UInt64(max(0, info.st_size)) : 0
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw CityRun.Failed(description: "no pipe for the server: \(String(cString: strerror(errno)))") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(ends[1]) }
        output = ends[0]
        child = try ChildProcess.start(
            program, arguments, output: ends[1], errors: errors >= 0 ? errors : nil, deathSignal: SIGTERM)
    }

    deinit { close(output) }

    var isRunning: Bool { child.isRunning }

    /// Blocks until the server's one line, or its end.
    func ready() throws -> JSON {
        var line: [UInt8] = []
        while true {
            var byte: UInt8 = 0
            let count = read(output, &byte, 1)
            if count < 0, errno == EINTR { continue }
            guard count == 1, line.count < 1 << 16 else {
                throw CityRun.Failed(description: "the server did not start: \(lastWords ?? "its log is \(log)")")
            }
            if byte == UInt8(ascii: "\n") { return try JSON.parse(line) }
            line.append(byte)
        }
    }

    /// Why the server ended, as it said itself.
    private var lastWords: String? {
        guard let file = FileHandle(forReadingAtPath: log) else { return nil }
        defer { try? file.close() }
        guard (try? file.seek(toOffset: logStart)) != nil, let data = try? file.read(upToCount: 1 << 20) else { return nil }
        let lines = String(decoding: data, as: UTF8.self).split(separator: "\n")
        guard let first = lines.lastIndex(where: { $0.hasPrefix("berth: ") }) else { return nil }
        return lines[first...].joined(separator: "\n").replacingOccurrences(of: "berth: ", with: "")
    }

    func stop() { child.stop(graceMillis: 14_000) }
}

/// Ctrl-C, SIGTERM, or the end of the time given.
final class EndSignal: Sendable {
    private let flag = Atomic<Bool>(false)
    private let until: Int64?
    /// Written in the initialiser only; kept so that the sources live.
    nonisolated(unsafe) private var sources: [any DispatchSourceSignal] = []

    init(seconds: Int?) {
        until = seconds.map { SystemClock.monotonic() + Int64(min(max($0, 0), 1_000_000_000)) * 1000 }
        for number in [SIGINT, SIGTERM] {
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { [weak self] in self?.flag.store(true, ordering: .releasing) }
            source.resume()
            sources.append(source)
        }
    }

    func wait(orWhile condition: @Sendable () -> Bool) async {
        while !flag.load(ordering: .acquiring), condition() {
            if let until, SystemClock.monotonic() >= until { return }
            try? await Task.sleep(for: .milliseconds(100))
        }
    }
}

/// One line for the person at the terminal, at once: standard output may be a file or a pipe.
func say(_ text: String) { Output.line(text) }
