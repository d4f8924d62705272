public import BerthCore
public import BerthLink
public import BerthStore
import Configuration
import Foundation

/// What a city sets. Flags win over the environment (`BERTH_…`), the environment over the file `berth.json` in the data folder,
/// the file over the defaults of the contract.
public struct ServerSettings: Sendable {
    public var dataDirectory: String
    public var httpsPort = 8443
    public var mqttPort = 8883
    /// Plain HTTP on loopback for the public page; 0 turns it off.
    public var pagePort = 0
    /// The address that HTTPS and MQTT listen on.
    public var bindAddress = "127.0.0.1"
    public var store = "sqlite"
    /// In the test environment a reply explains signature and parameter failures (`hint`).
    public var isTestEnvironment = false
    public var ntpServers: [String] = []
    /// `review`: a lot is put into service when its checklist is passed; `trust`: by its first description.
    public var reviewsLots = false
    /// What others reach this server by; the HTTPS port on loopback when nothing is set.
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
    public var logLevel = "info"

    public init(dataDirectory: String) { self.dataDirectory = dataDirectory }

    /// A setting that cannot be what it is.
    public struct Invalid: Error, CustomStringConvertible {
        public let description: String
    }

    /// - Parameter flags: what the command line said, by the same keys as in the file.
    public static func read(dataDirectory: String, flags: [String: String]) async throws -> ServerSettings {
        var providers: [any ConfigProvider] = [
            InMemoryProvider(
                values: Dictionary(
                    uniqueKeysWithValues: flags.map {
                        (AbsoluteConfigKey(ConfigKey($0.key).components), ConfigValue(.string($0.value), isSecret: false))
                    })),
            KeyMappingProvider(upstream: EnvironmentVariablesProvider()) { key in key.prepending(["berth"]) },
        ]
        let file = dataDirectory + "/berth.json"
        if FileManager.default.fileExists(atPath: file) {
            providers.append(try await FileProvider<JSONSnapshot>(filePath: .init(file)))
        }
        let reader = ConfigReader(providers: providers)
        var settings = ServerSettings(dataDirectory: dataDirectory)
        // Flags and the environment are text, the file has numbers: both are read.
        func text(_ key: String) throws -> String? {
            if let text = reader.string(forKey: ConfigKey(key)) { return text }
            return reader.int(forKey: ConfigKey(key)).map { String($0) }
        }
        func number(_ key: String, _ range: ClosedRange<Int>, _ fallback: Int) throws -> Int {
            guard let text = try text(key) else { return fallback }
            guard let value = Int(text), range.contains(value) else {
                throw Invalid(description: "\(key) = \(text): a whole number from \(range.lowerBound) to \(range.upperBound) expected")
            }
            return value
        }
        func flag(_ key: String) throws -> Bool {
            guard let text = try reader.bool(forKey: ConfigKey(key)).map({ $0 ? "true" : "false" }) ?? text(key) else { return false }
            guard text == "true" || text == "false" else { throw Invalid(description: "\(key) = \(text): true or false expected") }
            return text == "true"
        }
        settings.httpsPort = try number("https.port", 0...65535, settings.httpsPort)
        settings.mqttPort = try number("mqtt.port", 0...65535, settings.mqttPort)
        settings.pagePort = try number("page.port", 0...65535, settings.pagePort)
        settings.bindAddress = try text("bind") ?? settings.bindAddress
        settings.store = try text("store") ?? settings.store
        guard settings.store == "sqlite" || settings.store == "memory" else {
            throw Invalid(description: "store = \(settings.store): sqlite or memory expected")
        }
        let environment = try text("environment") ?? "production"
        guard environment == "production" || environment == "test" else {
            throw Invalid(description: "environment = \(environment): production or test expected")
        }
        settings.isTestEnvironment = environment == "test"
        settings.ntpServers = (try text("ntp.servers") ?? "").split(separator: ",").map(String.init)
        settings.logLevel = try text("log.level") ?? settings.logLevel
        let onboarding = try text("onboarding") ?? "trust"
        guard onboarding == "trust" || onboarding == "review" else {
            throw Invalid(description: "onboarding = \(onboarding): trust or review expected")
        }
        settings.reviewsLots = onboarding == "review"
        settings.publicURL = try text("public.url") ?? ""
        guard settings.publicURL.isEmpty || (settings.publicURL.hasPrefix("https://") && !settings.publicURL.hasSuffix("/")) else {
            throw Invalid(description: "public.url = \(settings.publicURL): https://host[:port] without a slash at its end expected")
        }
        settings.clockMaxOffsetMillis = Int64(try number("clock.maxOffsetMs", 100...300_000, 5_000))
        settings.secretGraceMillis = Int64(try number("secret.graceSeconds", 0...31_536_000, 86_400)) * 1000
        settings.callbackRules.allowsPrivate = try flag("callback.allowPrivate")
        settings.callbackRules.caFile = try text("callback.ca")
        settings.callbackRules.timeoutSeconds = Int64(try number("callback.timeoutSeconds", 1...60, 5))
        if let schedule = try text("callback.retrySeconds") {
            let seconds = schedule.split(separator: ",").map { Int64($0) ?? -1 }
            guard !seconds.isEmpty, seconds.allSatisfy({ (0...86_400).contains($0) }) else {
                throw Invalid(description: "callback.retrySeconds = \(schedule): seconds from 0 to 86400, separated by commas, expected")
            }
            settings.callbackRetrySeconds = [0] + seconds
        }
        settings.pictureBytesMax = Int64(try number("picture.maxBytes", 1000...20_000_000, 500_000))
        // Section 13 and U18: audit and records at least a year, pictures at least 30 days.
        let day: Int64 = 86_400_000
        settings.retention.recordsMillis = Int64(try number("retention.recordsDays", 365...36_500, 400)) * day
        settings.retention.auditMillis = Int64(try number("retention.auditDays", 365...36_500, 400)) * day
        settings.retention.picturesMillis = Int64(try number("retention.picturesDays", 30...36_500, 90)) * day
        if let list = try text("internal.from") { settings.internalAddresses = Set(list.split(separator: ",").map(String.init)) }
        for entry in Policy.numbers {
            settings.policy[keyPath: entry.path] = try number(
                "policy." + entry.name, entry.range, settings.policy[keyPath: entry.path])
        }
        if let mode = try text("policy.confirmMode") {
            guard let mode = ConfirmMode(rawValue: mode) else {
                throw Invalid(description: "policy.confirmMode = \(mode): trust or ask expected")
            }
            settings.policy.confirmMode = mode
        }
        guard 60 % settings.policy.calendarStepMin == 0 else {
            throw Invalid(description: "policy.calendarStepMin = \(settings.policy.calendarStepMin): must divide 60")
        }
        return settings
    }
}
