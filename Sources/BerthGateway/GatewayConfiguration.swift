public import BerthWire
import Foundation

/// What a gateway (车场前置机) is told by its file; see docs/gateway.md.
public struct GatewayConfiguration: Sendable {
    /// Which carriers it may use: MQTT with HTTPS as fall-back, or one of them.
    public enum Carrier: String, Sendable { case auto, mqtt, https }

    public struct LotEntry: Sendable {
        public var parkCode: String
        public var appId: String
        public var appSecret: String
        /// Whether a plate without an order may enter while there is room.
        public var admitsUnknownPlates: Bool
        public var totalCount: Int
        /// What `lot.info.report` says, if the gateway is to report it.
        public var info: JSON?
        public var gates: JSON?

        public init(
            parkCode: String, appId: String, appSecret: String, admitsUnknownPlates: Bool = true, totalCount: Int,
            info: JSON? = nil, gates: JSON? = nil
        ) {
            self.parkCode = parkCode
            self.appId = appId
            self.appSecret = appSecret
            self.admitsUnknownPlates = admitsUnknownPlates
            self.totalCount = totalCount
            self.info = info
            self.gates = gates
        }
    }

    public var serverURL: String
    public var mqttHost: String
    public var mqttPort: Int
    public var caFile: String
    public var spoolFile: String
    /// host:port of the local API; loopback unless the lot's own network is meant.
    public var listen: (host: String, port: Int)?
    public var carrier = Carrier.auto
    public var heartbeatSeconds = 30
    /// Whether a link that breaks or comes back is a line in the log; a simulated city has too many of them.
    public var logsLinks = true
    public var lots: [LotEntry]

    public init(
        serverURL: String, mqttHost: String, mqttPort: Int, caFile: String, spoolFile: String, lots: [LotEntry]
    ) {
        self.serverURL = serverURL
        self.mqttHost = mqttHost
        self.mqttPort = mqttPort
        self.caFile = caFile
        self.spoolFile = spoolFile
        self.lots = lots
    }

    /// What is wrong with the file, by the name of the member.
    public struct Invalid: Error, CustomStringConvertible {
        public let description: String
    }

    public init(file: String) throws {
        guard let bytes = FileManager.default.contents(atPath: file) else {
            throw Invalid(description: "\(file) cannot be read")
        }
        let json: JSON
        do { json = try JSON.parse([UInt8](bytes)) } catch { throw Invalid(description: "\(file) is not JSON: \(error)") }
        func text(_ json: JSON, _ name: String, _ path: String = "") throws -> String {
            guard let value = json[name]?.stringValue, !value.isEmpty else {
                throw Invalid(description: "\(file): \(path)\(name) is missing or not a string")
            }
            return value
        }
        func address(_ text: String, _ name: String) throws -> (host: String, port: Int) {
            let plain = text.replacingOccurrences(of: "mqtts://", with: "")
            guard let colon = plain.lastIndex(of: ":"), let port = Int(plain[plain.index(after: colon)...]),
                (0...65535).contains(port)
            else { throw Invalid(description: "\(file): \(name) = \(text): host:port expected") }
            return (String(plain[..<colon]), port)
        }
        var lots: [LotEntry] = []
        for (index, lot) in (json["lots"]?.arrayValue ?? []).enumerated() {
            let path = "lots[\(index)]."
            let rule = lot["unknownPlates"]?.stringValue ?? "admit"
            guard rule == "admit" || rule == "refuse" else {
                throw Invalid(description: "\(file): \(path)unknownPlates: admit or refuse expected")
            }
            guard let total = lot["totalSpace"]?.intValue ?? lot["info"]?["totalSpace"]?.intValue, total > 0 else {
                throw Invalid(description: "\(file): \(path)totalSpace is missing")
            }
            lots.append(
                LotEntry(
                    parkCode: try text(lot, "parkCode", path), appId: try text(lot, "appId", path),
                    appSecret: try text(lot, "appSecret", path), admitsUnknownPlates: rule == "admit",
                    totalCount: Int(total), info: lot["info"], gates: lot["gates"]))
        }
        guard !lots.isEmpty else { throw Invalid(description: "\(file): lots is missing or empty") }
        let mqtt = try address(try text(json, "mqtt"), "mqtt")
        self.init(
            serverURL: try text(json, "server"), mqttHost: mqtt.host, mqttPort: mqtt.port, caFile: try text(json, "ca"),
            spoolFile: try text(json, "spool"), lots: lots)
        if let listen = json["listen"]?.stringValue { self.listen = try address(listen, "listen") }
        if let name = json["carrier"]?.stringValue {
            guard let carrier = Carrier(rawValue: name) else {
                throw Invalid(description: "\(file): carrier: auto, mqtt or https expected")
            }
            self.carrier = carrier
        }
        if let seconds = json["heartbeatSeconds"]?.intValue, (1...3600).contains(seconds) {
            heartbeatSeconds = Int(seconds)
        }
    }
}
