import ArgumentParser
import BerthLink
import BerthServer
import BerthSimulator
import BerthWeb
import BerthWire
import Foundation
import Logging

@main
enum Main {
    static func main() async {
        let command = CommandLine.arguments.dropFirst().first
        ServiceProcess.begin(isService: command == "serve" || command == "city")
        refuseUnknown(Array(CommandLine.arguments.dropFirst()), of: Berth.self, path: "berth")
        await run()
    }

    /// Runs the command line. The language of the locale says what is wrong with it.
    private static func run() async {
        do {
            var command = try Berth.parseAsRoot()
            if var command = command as? any AsyncParsableCommand { try await command.run() } else { try command.run() }
        } catch {
            if Berth.exitCode(for: error) == .validationFailure {
                refuseUnknownOption(Array(CommandLine.arguments.dropFirst()), of: Berth.self, path: "berth")
            }
            guard Speech.isChinese, Berth.exitCode(for: error) == .validationFailure else { Berth.exit(withError: error) }
            Output.error(Speech.usage(Berth.fullMessage(for: error)))
            exit(64)
        }
    }
}

extension Main {
    /// Ends with the nearest command where a word is none.
    private static func refuseUnknown(_ words: [String], of parent: any ParsableCommand.Type, path: String) {
        let commands = parent.configuration.subcommands.map { (name(of: $0), $0) }
        guard !commands.isEmpty, let word = words.first, !word.hasPrefix("-"), word != "help" else { return }
        guard let (_, found) = commands.first(where: { $0.0 == word }) else {
            let nearest = NearestName.nearest(to: word, among: commands.map(\.0)) ?? "help"
            Output.error(Speech.text("\(path): there is no command \(word); the nearest is \(nearest)"))
            exit(64)
        }
        refuseUnknown(Array(words.dropFirst()), of: found, path: "\(path) \(word)")
    }

    /// Ends with the nearest option where a command line that was refused has one that is none: the parser names what is missing first.
    private static func refuseUnknownOption(_ words: [String], of parent: any ParsableCommand.Type, path: String) {
        if let word = words.first, let found = parent.configuration.subcommands.first(where: { name(of: $0) == word }) {
            return refuseUnknownOption(Array(words.dropFirst()), of: found, path: "\(path) \(word)")
        }
        let known = parent.helpMessage(columns: 1000).split { !($0.isLetter || $0.isNumber || $0 == "-") }.map(String.init).filter {
            $0.hasPrefix("--")
        }
        for word in words.prefix(while: { $0 != "--" }) where word.hasPrefix("--") {
            let option = String(word.prefix { $0 != "=" })
            guard !known.contains(option), let nearest = NearestName.nearest(to: option, among: known) else { continue }
            Output.error(Speech.text("\(path): there is no option \(option); the nearest is \(nearest)"))
            exit(64)
        }
    }

    private static func name(of command: any ParsableCommand.Type) -> String {
        command.configuration.commandName ?? "\(command)".lowercased()
    }
}

struct Berth: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "berth",
        abstract: "泊位 Berth: reservation and sharing of parking spaces for a city.", version: Version.text,
        subcommands: [
            Serve.self, Config.self, City.self, Bench.self, Keys.self, Lots.self, Audit.self, Notices.self, Calls.self, Call.self,
            Sign.self,
            Doctor.self, Docs.self, Status.self, SceneCommand.self, Web.self, People.self, Occupancy.self, Verify.self, BackupCommand.self,
            RestoreCommand.self, Restored.self, Cluster.self, StoreCommand.self,
        ])
}

/// Where a server keeps everything.
struct DataOption: ParsableArguments {
    @Option(help: "The server's data folder.") var data = "./berth-data"
}

func makeLogger(_ level: String, json: Bool = false) -> Logger {
    LoggingSystem.bootstrap { label -> any LogHandler in json ? JSONLogHandler(label: label) : StreamLogHandler.standardError(label: label)
    }
    var logger = Logger(label: "berth")
    logger.logLevel = Logger.Level(rawValue: level) ?? .info
    return logger
}

func fail(_ message: String) -> Never {
    Output.error("berth: \(Speech.text(message))")
    exit(1)
}

/// Writes a line of an answer. An answer that is not written whole ends the command with its reason: a secret that nobody has seen is lost.
func put(_ text: String) {
    if let reason = Output.line(text) { fail("standard output cannot be written: \(reason)") }
}

/// Reads a file, or standard input for "-".
func input(_ file: String) -> [UInt8]? {
    if file == "-" { return [UInt8](FileHandle.standardInput.readDataToEndOfFile()) }
    return FileManager.default.contents(atPath: file).map { [UInt8]($0) }
}

/// Reads a `name=value` of the command line.
func pair(_ text: String, _ what: String) throws -> (name: String, value: String) {
    let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[0].isEmpty else { throw ValidationError("\(what) \(text): name=value expected") }
    return (String(parts[0]), String(parts[1]))
}

/// Checks a port of the command line.
func validatePort(_ port: Int?, _ flag: String) throws {
    guard let port else { return }
    guard (0...65_535).contains(port) else { throw ValidationError("\(flag) \(port): 0 to 65535 expected") }
}

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a city's server.",
        discussion: """
            Prints one line of JSON on standard output when it is ready; logs go to standard error.
            Settings: flags, then BERTH_… in the environment (BERTH_HTTPS_PORT, BERTH_POLICY_ADVANCE_MAX_MIN …), then
            berth.json in the data folder, then the defaults of the contract. See docs/operating.md.
            """)
    @OptionGroup var folder: DataOption
    @Option(help: "HTTPS port; 0 chooses a free one.") var httpsPort: Int?
    @Option(help: "MQTT over TLS port; 0 chooses a free one.") var mqttPort: Int?
    @Option(help: "Plain HTTP port on loopback for the public page; 0 for none.") var pagePort: Int?
    @Option(help: "The address to listen on.") var bind: String?
    @Option(help: "sqlite, postgres://… (docs/cluster.md), or memory (which forgets everything).") var store: String?
    @Option(help: "production or test; test explains refusals in `hint`.") var environment: String?
    @Option(help: "trace, debug, info, notice, warning, error.") var logLevel: String?
    @Option(help: "A host name or address in the local certificate, beside localhost and --bind; as often as needed.")
    var hostName: [String] = []
    @Option(name: .customLong("set"), help: "Any other setting, as key=value, e.g. policy.advanceMaxMin=120. `berth config` prints them.")
    var set: [String] = []
    @Flag(
        help:
            "Go on although the database has lost what was acknowledged: new down logs, skipped order numbers, a line in the audit record.")
    var acceptLoss = false
    @Flag(help: "Go on with a store that `berth store copy` has moved to another one.") var again = false

    func validate() throws {
        for (port, flag) in [(httpsPort, "--https-port"), (mqttPort, "--mqtt-port"), (pagePort, "--page-port")] {
            try validatePort(port, flag)
        }
    }

    func run() async throws {
        var flags: [String: String] = [:]
        flags["https.port"] = httpsPort.map(String.init)
        flags["mqtt.port"] = mqttPort.map(String.init)
        flags["page.port"] = pagePort.map(String.init)
        flags["bind"] = bind
        flags["store"] = store
        flags["environment"] = environment
        flags["log.level"] = logLevel
        if !hostName.isEmpty { flags["tls.names"] = hostName.joined(separator: ",") }
        for text in set {
            let (name, value) = try pair(text, "--set")
            flags[name] = value
        }
        do {
            var settings = try await ServerSettings.read(dataDirectory: DataFolder(folder.data).path, flags: flags)
            settings.acceptsLoss = acceptLoss
            settings.startsAgain = again
            let logger = makeLogger(settings.logLevel, json: settings.logsJSON)
            let descriptors = ServiceProcess.raiseDescriptorLimit()
            logger.info("descriptors: soft \(descriptors.soft) hard \(descriptors.hard)")
            // A missing file of the program is found now, not by the first visitor.
            _ = Dialect.current
            for (name, target) in [("Scenes", "BerthScene"), ("Pages", "BerthServer"), ("Web", "BerthWeb")] {
                _ = try Resources.folder(name, of: target)
            }
            Server.collectMetrics()
            let code = try await Server(settings: settings, logger: logger).run(makePages: WebHost.make) { ready in
                // The server serves without a reader of this line too.
                if let reason = Output.line(ready.json.string) {
                    logger.warning("the ready line cannot be written to standard output", metadata: ["reason": "\(reason)"])
                }
            }
            if code != 0 { throw ExitCode(code) }
        } catch let code as ExitCode { throw code } catch { fail("\(error)") }
    }
}

/// Asks a running server, or does it on the folder of a stopped one. A folder that holds no server's data is left as it is.
func desk(_ command: JSON, data: String) async throws -> JSON {
    let folder = DataFolder(data)
    try folder.requireData()
    if FileManager.default.fileExists(atPath: folder.path + "/admin.sock") {
        do { return try await SocketCall.post(command, socketPath: folder.socketPath()) } catch is SocketCall.NobodyThere {}
    }
    let settings = try await ServerSettings.read(dataDirectory: folder.path, flags: [:])
    // New files in the folder are their owner's alone.
    umask(0o077)
    return try await Server.runOffline(command, settings: settings, logger: Logger(label: "berth"))
}

struct Keys: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Credentials of lots, vendor clouds, service providers and operators.",
        subcommands: [Issue.self, List.self, Rotate.self, Revoke.self, Change.self, Certificate.self, Web.self])

    struct Issue: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Issue a credential; works while the server runs, and returns when the broker admits it.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "lot, cloud, provider or operator.") var role: String
        @Option(help: "Who it is for.") var name: String
        @Option(help: "parkCode it speaks for: one for a lot, one or more for a cloud.") var park: [String] = []
        @Option(help: "Plain calls a second.") var rate = 50
        @Option(help: "Plain calls at once; twice the rate when left out.") var burst: Int?
        @Option(help: "https://… to which pushes and notifications are posted.") var callback: String?
        @Option(help: "A host to which a redirect may return.") var returnHost: [String] = []
        @Option(help: "Also write what the vendor needs, without the secret, to this new file (Markdown, Chinese and English).")
        var sheet: String?
        @Option(help: "The name in the sheet under which the server is reached; the first of tls.names when left out.") var host: String?

        func validate() throws {
            for (flag, value) in [("--rate", rate), ("--burst", burst ?? 1)] {
                guard (1...10_000_000).contains(value) else { throw ValidationError("\(flag) \(value): 1 to 10000000 expected") }
            }
        }

        func run() async throws {
            let wish = JSON.compact([
                ("callback", .optional(callback)), ("returnHosts", .array(returnHost.map { .string($0) })),
                ("role", .string(role)), ("name", .string(name)), ("parks", .array(park.map { .string($0) })),
                ("rate", .int(rate)), ("burst", burst.map { .int($0) } ?? .null),
            ])
            // A sheet that cannot be written is found before there is a secret that nobody has seen.
            let paper: SheetFile?
            do { paper = try sheet.map { try SheetFile($0) } } catch { fail("\(error)") }
            do {
                let server = paper == nil ? nil : try await desk(["command": "addresses"], data: folder.data)
                let made = try await desk(["command": "keys.issue", "keys": [wish]], data: folder.data)
                guard case .object(var key)? = made["keys"]?.arrayValue?.first else { fail("the server answered \(made.string)") }
                for old in key["replaces"]?.arrayValue?.compactMap(\.stringValue) ?? [] {
                    let warning =
                        "messages to the lot go under the new credential from now on; a box that has \(old) hears nothing any more. Revoke one of them."
                    Output.error(Speech.text(warning))
                }
                key["replaces"] = nil
                output.show(.object(key))
                if let paper, let server {
                    key["role"] = .string(role)
                    key["parks"] = .array(park.map { .string($0) })
                    let name = host ?? server["names"]?.arrayValue?.first?.stringValue ?? "localhost"
                    try paper.write(Sheet(key: .object(key), server: server, host: name).text)
                }
            } catch {
                if !(error is SheetFile.Failed) { paper?.remove() }
                fail("\(error)")
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List credentials, without their secrets.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption

        func run() async throws {
            let list = await ask(["command": "keys.list"], data: folder.data)
            output.show(
                list["keys"]?.arrayValue ?? [],
                [
                    Column("appId", "应用编号", "appId"), Column("role", "角色", "role"), Column("name", "名称", "name"),
                    Column("parks", "车场", "lots", .list), Column("enabled", "有效", "enabled", .flag),
                    Column("rotating", "待换密钥", "rotating", .flag), Column("callback", "回调", "callback"),
                ])
        }
    }
}

struct Lots: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lots: how they stand, their settings, their way into service, and their codes.",
        subcommands: [
            List.self, Show.self, SetPolicy.self, Checklist.self, Attest.self, Approve.self, Suspend.self, Resume.self, Code.self,
            Dead.self,
        ])

    struct SetPolicy: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "set", abstract: "Set policy values of one lot, e.g. `berth lots set --park P1 confirmMode=ask`.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "The lot.") var park: String
        @Argument(help: "name=value") var values: [String]

        func run() async throws {
            var policy = JSONObject()
            for text in values {
                let (name, value) = try pair(text, "")
                policy[name] = .string(value)
            }
            do {
                let done = try await desk(
                    ["command": "lots.set", "park": .string(park), "policy": .object(policy)], data: folder.data)
                output.show(done)
            } catch { fail("\(error)") }
        }
    }
}

struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "How a running server stands.")
    @OptionGroup var folder: DataOption
    @OptionGroup var output: OutputOption
    @Flag(help: "As JSON; the same as -o json.") var json = false

    func run() async throws {
        do {
            let status = try await SocketCall.post(["command": "status"], socketPath: DataFolder(folder.data).socketPath())
            if json { return put(status.string) }
            output.show(
                status,
                [
                    Column("version", "版本", "version"), Column("startedAt", "启动时间", "started", .time), Column("lots", "车场", "lots"),
                    Column("online", "在线车场", "connected lots"), Column("activeOrders", "有效订单", "orders in force"),
                    Column("queued", "车场待收条目", "entries that lots have not acknowledged"),
                    Column("created", "新建（启动以来）", "booked since the start"),
                    Column("entered", "入场", "entered"), Column("left", "离场", "left"), Column("cancelled", "取消", "cancelled"),
                    Column("noShows", "未到", "no-shows"), Column("refused", "拒绝", "refused"),
                    Column("mqtt", "消息代理已连接", "broker connected", .flag),
                    Column("brokerPid", "mosquitto 进程号", "pid of mosquitto"), Column("certificateEnds", "证书到期", "certificate ends", .time),
                ])
        } catch is SocketCall.NobodyThere { fail("no server is running on \(folder.data)") } catch { fail("\(error)") }
    }
}

struct Sign: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Sign a message, to compare with your own code.",
        discussion: "Prints the signature as the last word. The message is the whole envelope; its `sign` is ignored.")
    @Option(help: "A file with the appSecret in one line, or - for standard input.") var secretFile: String
    @Option(help: "A file with the message, or - for standard input.") var message: String
    @Flag(help: "Show the canonical form and the string to sign.") var explain = false

    func run() throws {
        let lines = input(secretFile).map { String(decoding: $0, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: true) }
        guard let secret = lines?.first.map(String.init), lines?.count == 1 else {
            fail("--secret-file \(secretFile): one line with the appSecret expected")
        }
        guard let data = input(message) else { fail("\(message) cannot be read") }
        let envelope: JSONObject
        do {
            guard let object = try JSON.parse(data).objectValue else { fail("the message is not a JSON object") }
            envelope = object
        } catch { fail("the message is not JSON of the wire: \(error)") }
        let payload = envelope["data"]
        let hash = Signature.dataHash(payload)
        let toSign = Signature.stringToSign(envelope, dataHash: hash)
        if explain {
            let signed: JSON = payload == nil || payload == .null ? .object(JSONObject()) : payload ?? .null
            put("canon(data) = \(signed.canonicalString)")
            put("dataHash    = \(hash)")
            put("S           = \(toSign)")
        }
        put(explain ? "sign        = \(Signature.sign(toSign, secret: secret))" : Signature.sign(toSign, secret: secret))
    }
}

struct Call: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Call a service over HTTPS, signed, and print the answer.",
        discussion:
            "The credential is {\"appId\":…,\"appSecret\":…} in a file or on standard input: a secret is no argument, which every user of the machine can read."
    )
    @OptionGroup var folder: DataOption
    @Argument(help: "e.g. slot.query") var service: String
    @Option(help: "The business fields, as JSON.") var dataJson = "{}"
    @Option(help: "https://host:port") var url = "https://127.0.0.1:8443"
    @Option(help: "CA certificate; the data folder's own when left out.") var ca: String?
    @Option(help: "A file that holds the credential, or - for standard input; DIR/demo-key.json when left out.") var key: String?
    @Option(help: "parkCode of the envelope, for lot interfaces.") var park: String?

    func run() async throws {
        let bytes = input(key ?? DataFolder(folder.data).path + "/demo-key.json")
        if key == nil, bytes == nil { fail("no credential: give --key FILE, or - for standard input") }
        let json = bytes.flatMap { try? JSON.parse($0) }
        guard let appId = json?["appId"]?.stringValue, let secret = json?["appSecret"]?.stringValue else {
            fail("--key \(key ?? "demo-key.json"): no file that can be read as {\"appId\":…,\"appSecret\":…}")
        }
        let data: JSON
        do { data = try JSON.parse(Array(dataJson.utf8)) } catch { fail("--data-json: \(error)") }
        let client = try SignedClient(base: url, caFile: ca ?? DataFolder(folder.data).path + "/tls/ca.pem")
        do {
            let reply = try await client.call(
                service, data: data, appId: appId, secret: secret, parkCode: park, timeoutSeconds: 40)
            var line = JSONObject([("code", .int(reply.code))])
            if reply.code != 0 {
                line.append("message", .string(reply.resultCode.zh))
                line.append("meaning", .string(reply.resultCode.en))
            }
            if !reply.hint.isEmpty { line.append("hint", .string(reply.hint)) }
            if reply.duplicate { line.append("duplicate", true) }
            line.append("data", reply.data)
            put(JSON.object(line).string)
            await client.close()
            if reply.code != 0 { throw ExitCode(2) }
        } catch let error as CallError {
            await client.close()
            switch error {
            case .unreachable(let why): fail("\(url) does not answer: \(why)")
            case .notAuthentic(let status, let code, let message):
                fail("HTTP \(status), code \(code.map { String($0) } ?? "?") \(message) (the answer is not signed with this secret)")
            }
        }
    }
}

struct City: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "A whole city to look at: server, gateways at 653 lots, and drivers. This is what ./start runs.")
    @OptionGroup var folder: DataOption
    @Option(help: "CSV of real lots: id,name,latitude,longitude,address,capacity.") var lots: String?
    @Flag(inversion: .prefixedNo, help: "Open the city without the rows that cannot be lots; otherwise nothing starts.")
    var skipBadRows = true
    @Flag(help: "Read the file of --lots, say what is in it, and end: with exit code 1 when a row is bad.") var check = false
    @Option(help: "How many lots.") var count = CityPlan.lotCount
    @Option(help: "How much faster than life.") var speed = 60.0
    @Option(help: "The hour of the day, 0 to 23, whose demand is played; the present one when left out. 8 is the morning rush.") var hour:
        Int?
    @Option(help: "HTTPS port; 0 chooses a free one.") var httpsPort = 8443
    @Option(help: "MQTT over TLS port; 0 chooses a free one.") var mqttPort = 8883
    @Option(help: "Plain HTTP port on loopback for the live map; 0 for none.") var pagePort = 8080
    @Option(help: "End after so many seconds instead of at Ctrl-C.") var seconds: Int?

    func validate() throws {
        guard speed >= 0.01, speed <= 100_000 else { throw ValidationError("--speed \(speed): 0.01 to 100000 expected") }
        guard (1...10_000).contains(count) else { throw ValidationError("--count \(count): 1 to 10000 expected") }
        if let hour, !(0...23).contains(hour) { throw ValidationError("--hour \(hour): 0 to 23 expected") }
        if let seconds, !(1...31_536_000).contains(seconds) { throw ValidationError("--seconds \(seconds): 1 to 31536000 expected") }
        for (port, flag) in [(httpsPort, "--https-port"), (mqttPort, "--mqtt-port"), (pagePort, "--page-port")] {
            try validatePort(port, flag)
        }
        if check, lots == nil { throw ValidationError("--check needs --lots FILE") }
    }

    func run() async throws {
        do {
            if check, let lots {
                let bad = try CityRun.readLots(lots).badRowCount
                if bad > 0 { throw ExitCode(1) }
                return
            }
            let data = DataFolder(folder.data)
            var logger = makeLogger("error")
            logger.logLevel = .error
            // The server that is started reads the same settings; a fault in them is said here, where people look.
            let flags = [
                "https.port": String(httpsPort), "mqtt.port": String(mqttPort), "page.port": String(pagePort), "environment": "test",
            ]
            _ = try await ServerSettings.read(dataDirectory: data.path, flags: flags)
            let program = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
            var options = CityRun.Options(
                program: program, data: data.path, lotsFile: lots, skipsBadRows: skipBadRows, lotCount: count, speed: speed,
                httpsPort: httpsPort, mqttPort: mqttPort, pagePort: pagePort, seconds: seconds)
            options.hour = hour
            options.verifier = { try await StaffPassword.verifier($0) }
            try await CityRun(options, logger: logger).run(socketPath: { try data.socketPath() })
        } catch let code as ExitCode { throw code } catch { fail("\(error)") }
    }
}
