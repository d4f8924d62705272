public import BerthCore
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
