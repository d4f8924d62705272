public import BerthCore
public import BerthLink
public import BerthStore
import BerthWire
import Configuration
import Foundation

/// The settings of a city. Flags win over the environment (`BERTH_…`), the environment over the file `berth.json` in the data folder,
/// the file over the defaults of the contract.
public struct ServerSettings: Sendable {
    public var dataDirectory: String
    public var httpsPort = 8443
    public var mqttPort = 8883
    /// Plain HTTP on loopback for the public page; 0 turns it off.
    public var pagePort = 0
    /// The address that HTTPS and MQTT listen on.
    public var bindAddress = "127.0.0.1"
    /// `sqlite`, `memory`, or the address of a PostgreSQL database.
    public var store = "sqlite"
    /// The port at which the other servers of the city reach this one, and its name or address there; of a city on PostgreSQL.
    public var clusterPort = 0
    public var clusterHost = ""
    /// In the test environment a reply explains signature and parameter failures (`hint`).
    public var isTestEnvironment = false
    public var ntpServers: [String] = []
    /// `review`: a lot is put into service when its checklist is passed; `trust`: by its first description.
    public var reviewsLots = false
    /// How one-time codes reach a telephone: `none`, `screen` (test environment only), the path of a program, or an https address.
    public var webCodes = "none"
    /// The address by which others reach this server; the HTTPS port on loopback when nothing is set.
    public var publicURL = ""
    /// Clock offset of a lot beyond which event 6010 is raised, ms (section 13).
    public var clockMaxOffsetMillis: Int64 = 5_000
    /// How long an old secret stays good after the party has used its new one, ms.
    public var secretGraceMillis: Int64 = 86_400_000
    public var callbackRules = CallbackClient.Rules()
    /// When a notification is tried again, seconds after the attempt before (A17; the schedule of public peers); the first is at once.
    public var callbackRetrySeconds: [Int64] = [0, 10, 20, 30, 40, 50, 80, 120, 160, 200, 300]
    public var pictureBytesMax: Int64 = 500_000
    public var retention = Retention()
    /// Addresses from which `/metrics` and the broker's questions are answered.
    public var internalAddresses: Set<String> = ["127.0.0.1", "::1"]
    public var policy = Policy()
    /// Goes on with a database that has lost what was acknowledged (`--accept-loss`).
    public var acceptsLoss = false
    /// Goes on with a store that was moved to another one (`--again`).
    public var startsAgain = false
    public var logLevel = "info"
    /// A line of JSON for each message of the log.
    public var logsJSON = false
    /// `log.requests` = all: the log follows every request, not only those that are refused.
    public var logsAllRequests = false
    /// Host names and addresses in the local certificate, beside the loopback's and `bindAddress`.
    public var tlsNames: [String] = []
    /// Own certificate, its key and its authority; nil: the local authority's.
    public var ownCertificate: (certificate: String, key: String, authority: String?)?
    /// The settings that something sets, with the place that does: `--set`, environment, or the file.
    public private(set) var given: [String: (value: String, source: String)] = [:]

    public init(dataDirectory: String) { self.dataDirectory = dataDirectory }

    /// A setting that cannot be what it is.
    public struct Invalid: Error, CustomStringConvertible {
        public let description: String
    }

    /// Reads all settings; reads files, and changes nothing.
    /// - Parameter flags: the values of the command line, by the same keys as in the file.
    /// - Throws: ``Invalid`` for a value that cannot be, and for a name that does not exist, with the nearest one that does.
    public static func read(dataDirectory: String, flags: [String: String]) async throws -> ServerSettings {
        let file = dataDirectory + "/berth.json"
        var info = stat()
        let isThere = stat(file, &info) == 0
        guard isThere || errno == ENOENT || errno == ENOTDIR else {
            throw Invalid(description: "\(file) cannot be read: \(String(cString: strerror(errno)))")
        }
        let inFile = isThere ? try SettingNames.file(file) : [:]
        let variables = ProcessInfo.processInfo.environment.keys.filter {
            $0.hasPrefix("BERTH_") && !$0.hasPrefix(SettingNames.testPrefix) && !SettingNames.otherVariables.contains($0)
        }
        func provider(_ values: [String: String]) -> InMemoryProvider {
            InMemoryProvider(
                values: Dictionary(
                    values.map { (AbsoluteConfigKey(ConfigKey($0.key).components), ConfigValue(.string($0.value), isSecret: false)) },
                    uniquingKeysWith: { first, _ in first }))
        }
        let reader = ConfigReader(providers: [
            provider(flags), KeyMappingProvider(upstream: EnvironmentVariablesProvider()) { key in key.prepending(["berth"]) },
            provider(inFile),
        ])
        var settings = ServerSettings(dataDirectory: dataDirectory)
        var asked: Set<String> = []
        func text(_ key: String) -> String? {
            asked.insert(key)
            guard let value = reader.string(forKey: ConfigKey(key)) else { return nil }
            let isInEnvironment = ProcessInfo.processInfo.environment[SettingNames.variable(of: key)] != nil
            settings.given[key] = (
                key == "store" ? PostgresAddress.shown(value) : value, flags[key] != nil ? "--set" : isInEnvironment ? "environment" : file
            )
            return value
        }
        /// The value in force: the default where nothing sets it.
        func value(_ key: String) -> String { text(key) ?? SettingCatalogue.fallbacks[key] ?? "" }
        func number(_ key: String, _ range: ClosedRange<Int>) throws -> Int {
            let text = value(key)
            guard let value = Int(text), range.contains(value) else {
                throw Invalid(description: "\(key) = \(text): a whole number from \(range.lowerBound) to \(range.upperBound) expected")
            }
            return value
        }
        func choice(_ key: String, _ choices: [String]) throws -> String {
            let text = value(key)
            guard choices.contains(text) else {
                let list = choices.count > 2 ? "one of " + choices.joined(separator: ", ") : choices.joined(separator: " or ")
                throw Invalid(description: "\(key) = \(text): \(list) expected")
            }
            return text
        }
        settings.httpsPort = try number("https.port", 0...65535)
        settings.mqttPort = try number("mqtt.port", 0...65535)
        settings.pagePort = try number("page.port", 0...65535)
        settings.bindAddress = value("bind")
        guard ServerSettings.isHost(settings.bindAddress) else {
            throw Invalid(description: "bind = \(settings.bindAddress): an address or the name of a host expected")
        }
        settings.store = value("store")
        guard ["sqlite", "memory"].contains(settings.store) || PostgresAddress(settings.store) != nil else {
            throw Invalid(
                description: "store = \(PostgresAddress.shown(settings.store)): sqlite, memory, or postgres://… with realm=name expected")
        }
        settings.clusterPort = try number("cluster.port", 0...65535)
        settings.clusterHost = value("cluster.host")
        guard settings.clusterHost.isEmpty || ServerSettings.isHost(settings.clusterHost) else {
            throw Invalid(description: "cluster.host = \(settings.clusterHost): an address or the name of a host expected")
        }
        settings.isTestEnvironment = try choice("environment", ["production", "test"]) == "test"
        settings.ntpServers = ServerSettings.list(value("ntp.servers"))
        settings.logLevel = try choice("log.level", ServerSettings.logLevels)
        settings.logsJSON = try choice("log.format", ["text", "json"]) == "json"
        settings.logsAllRequests = try choice("log.requests", ["refused", "all"]) == "all"
        settings.reviewsLots = try choice("onboarding", ["trust", "review"]) == "review"
        let codes = value("web.codes")
        settings.webCodes = codes.isEmpty ? settings.isTestEnvironment ? "screen" : "none" : codes
        guard
            ["none", "screen"].contains(settings.webCodes) || settings.webCodes.hasPrefix("/") || settings.webCodes.hasPrefix("https://"),
            settings.webCodes != "screen" || settings.isTestEnvironment
        else {
            throw Invalid(
                description:
                    "web.codes = \(settings.webCodes): none, the path of a program, https://…, or (test environment) screen expected")
        }
        settings.publicURL = value("public.url")
        guard settings.publicURL.isEmpty || (settings.publicURL.hasPrefix("https://") && !settings.publicURL.hasSuffix("/")) else {
            throw Invalid(description: "public.url = \(settings.publicURL): https://host[:port] without a slash at its end expected")
        }
        settings.clockMaxOffsetMillis = Int64(try number("clock.maxOffsetMs", 100...300_000))
        settings.secretGraceMillis = Int64(try number("secret.graceSeconds", 0...31_536_000)) * 1000
        settings.callbackRules.allowsPrivate = try choice("callback.allowPrivate", ["true", "false"]) == "true"
        func readable(_ key: String) throws -> String? {
            let file = value(key)
            guard file.isEmpty || FileManager.default.isReadableFile(atPath: file) else {
                throw Invalid(description: "\(key) = \(file): a file that can be read expected")
            }
            return file.isEmpty ? nil : file
        }
        settings.callbackRules.caFile = try readable("callback.ca")
        settings.callbackRules.timeoutSeconds = Int64(try number("callback.timeoutSeconds", 1...60))
        let schedule = value("callback.retrySeconds")
        let seconds = ServerSettings.list(schedule).map { Int64($0) ?? -1 }
        guard (1...100).contains(seconds.count), seconds.allSatisfy({ (0...86_400).contains($0) }) else {
            throw Invalid(
                description: "callback.retrySeconds = \(schedule): seconds from 0 to 86400, separated by commas, expected, at most 100")
        }
        settings.callbackRetrySeconds = [0] + seconds
        let (certificate, key, issuer) = (try readable("tls.certificate"), try readable("tls.key"), try readable("tls.authority"))
        guard (certificate == nil) == (key == nil), issuer == nil || certificate != nil else {
            throw Invalid(description: "tls.certificate, tls.key: both expected, or none of tls.certificate, tls.key and tls.authority")
        }
        if let certificate, let key { settings.ownCertificate = (certificate, key, issuer) }
        settings.tlsNames = ServerSettings.list(value("tls.names"))
        if let wrong = settings.tlsNames.first(where: { !ServerSettings.isHost($0) }) {
            throw Invalid(description: "tls.names = \(wrong): an address or the name of a host expected")
        }
        settings.pictureBytesMax = Int64(try number("picture.maxBytes", 1000...20_000_000))
        // Section 13 and U18: audit and records at least a year, pictures at least 30 days.
        let day: Int64 = 86_400_000
        settings.retention.recordsMillis = Int64(try number("retention.recordsDays", 365...36_500)) * day
        settings.retention.auditMillis = Int64(try number("retention.auditDays", 365...36_500)) * day
        settings.retention.picturesMillis = Int64(try number("retention.picturesDays", 30...36_500)) * day
        settings.internalAddresses = Set(ServerSettings.list(value("internal.from")))
        if let wrong = settings.internalAddresses.sorted().first(where: { !ServerSettings.isAddress($0) }) {
            throw Invalid(description: "internal.from = \(value("internal.from")): \(wrong) is no IP address")
        }
        for entry in Policy.numbers { settings.policy[keyPath: entry.path] = try number("policy." + entry.name, entry.range) }
        _ = settings.policy.set("confirmMode", try choice("policy.confirmMode", ["trust", "ask"]))
        for entry in Policy.texts {
            let value = value("policy." + entry.name)
            guard settings.policy.set(entry.name, value) else {
                throw Invalid(description: "policy.\(entry.name) = \(value): it cannot be this")
            }
        }
        guard 60 % settings.policy.calendarStepMin == 0 else {
            throw Invalid(description: "policy.calendarStepMin = \(settings.policy.calendarStepMin): must divide 60")
        }
        if let stray = asked.symmetricDifference(SettingCatalogue.keys).sorted().first {
            throw Invalid(description: "\(stray): the catalogue of settings and the settings that are read differ")
        }
        for (source, given) in [("--set", flags.keys), (file, inFile.keys)] {
            for key in given.sorted() where !asked.contains(key) {
                let nearest = NearestName.nearest(to: key, among: SettingCatalogue.keys) ?? ""
                throw Invalid(description: "\(source): there is no setting \(key); the nearest is \(nearest)")
            }
        }
        let known = SettingCatalogue.keys.map(SettingNames.variable)
        for variable in variables.sorted() where !known.contains(variable) {
            let nearest = NearestName.nearest(to: variable, among: known + ["BERTH_MASTER_KEY_FILE"]) ?? ""
            throw Invalid(description: "environment: there is no setting \(variable); the nearest is \(nearest)")
        }
        return settings
    }

    static let logLevels = ["trace", "debug", "info", "notice", "warning", "error", "critical"]

    /// The parts of a value with commas, without white space around them.
    private static func list(_ text: String) -> [String] {
        text.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
    }

    static func isAddress(_ text: String) -> Bool {
        var bytes = in6_addr()
        return inet_pton(AF_INET, text, &bytes) == 1 || inet_pton(AF_INET6, text, &bytes) == 1
    }

    /// Whether a text can be an address or the name of a host; it becomes part of the broker's configuration.
    private static func isHost(_ text: String) -> Bool {
        (1...253).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || "-.:".utf8.contains($0)
            }
    }
}
