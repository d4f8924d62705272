import BerthCore
public import BerthWire
import Foundation

/// The configuration of a gateway (车场前置机), from its file; see docs/gateway.md.
public struct GatewayConfiguration: Sendable {
    /// The carriers that it may use: MQTT with HTTPS as fall-back, or one of them.
    public enum Carrier: String, Sendable { case auto, mqtt, https }

    public struct LotEntry: Sendable {
        public var parkCode: String
        public var appId: String
        public var appSecret: String
        /// Whether a plate without an order may enter while there is room.
        public var admitsUnknownPlates: Bool
        public var totalCount: Int
        /// The body of `lot.info.report`, if the gateway is to report it.
        public var info: JSON?
        public var gates: JSON?
        /// The codes in which the lot's PMS says colours of plates; nil for those of the contract.
        public var plateColors: PlateColorTable?

        public init(
            parkCode: String, appId: String, appSecret: String, admitsUnknownPlates: Bool = true, totalCount: Int,
            info: JSON? = nil, gates: JSON? = nil, plateColors: PlateColorTable? = nil
        ) {
            self.parkCode = parkCode
            self.appId = appId
            self.appSecret = appSecret
            self.admitsUnknownPlates = admitsUnknownPlates
            self.totalCount = totalCount
            self.info = info
            self.gates = gates
            self.plateColors = plateColors
        }
    }

    /// `https://host:port` of the city's servers, tried in turn; any of them answers.
    public var servers: [String]
    /// Their brokers, tried in turn; the leader's answers.
    public var brokers: [(host: String, port: Int)]
    public var caFile: String
    public var spoolFile: String
    /// host:port of the local API; loopback unless the lot's own network is meant.
    public var listen: (host: String, port: Int)?
    /// The token that every call of the local API carries (`Authorization: Bearer …`).
    public var token: String?
    /// Further names of the local API, as `Host` may say them; with a port, or for every port.
    public var hosts: [String] = []
    public var carrier = Carrier.auto
    public var heartbeatSeconds = 30
    /// The time between two reconciliations with the server, s.
    public var reconSeconds = 86_400
    /// Whether a link that breaks or comes back is a line in the log; a simulated city has too many of them.
    public var logsLinks = true
    public var lots: [LotEntry]

    public init(
        servers: [String], brokers: [(host: String, port: Int)], caFile: String, spoolFile: String, lots: [LotEntry]
    ) {
        self.servers = servers
        self.brokers = brokers
        self.caFile = caFile
        self.spoolFile = spoolFile
        self.lots = lots
    }

    /// A fault of the file, with the name of the member.
    public struct Invalid: Error, CustomStringConvertible {
        public let description: String
    }

    /// 16 to 128 of `A-Z a-z 0-9 . _ ~ + / = -`: it stands in a header.
    static func isToken(_ text: String) -> Bool {
        (16...128).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || "._~+/=-".utf8.contains(byte)
            }
    }

    public init(file: String) throws {
        guard let bytes = FileManager.default.contents(atPath: file) else {
            throw Invalid(description: "\(file) cannot be read")
        }
        let json: JSON
        do { json = try JSON.parse([UInt8](bytes)) } catch { throw Invalid(description: "\(file) is not JSON: \(error)") }
        do { try self.init(json: json) } catch let fault as Invalid { throw Invalid(description: "\(file): \(fault.description)") }
    }

    package init(json: JSON) throws {
        let reader = ConfigurationReader(json: json)
        try reader.knows([
            "server", "mqtt", "ca", "spool", "listen", "hosts", "token", "carrier", "heartbeatSeconds", "reconSeconds", "lots",
        ])
        var lots: [LotEntry] = []
        for (index, lot) in (json["lots"]?.arrayValue ?? []).enumerated() {
            let entry = try ConfigurationReader(json: lot, path: "lots[\(index)].").lot()
            guard !lots.contains(where: { $0.parkCode == entry.parkCode }) else {
                throw Invalid(description: "lots[\(index)].parkCode: \(entry.parkCode) stands there twice")
            }
            lots.append(entry)
        }
        guard !lots.isEmpty else { throw Invalid(description: "lots is missing or empty") }
        self.init(
            servers: try reader.oneOrMore("server"), brokers: try reader.oneOrMore("mqtt").map { try reader.address($0, of: "mqtt") },
            caFile: try reader.text("ca"),
            spoolFile: try reader.text("spool"), lots: lots)
        if json["listen"]?.stringValue != nil { listen = try reader.address("listen") }
        if let name = json["carrier"]?.stringValue {
            guard let carrier = Carrier(rawValue: name) else { throw Invalid(description: "carrier: auto, mqtt or https expected") }
            self.carrier = carrier
        }
        heartbeatSeconds = try reader.number("heartbeatSeconds", 1...3_600) ?? heartbeatSeconds
        reconSeconds = try reader.number("reconSeconds", 1...30 * 86_400) ?? reconSeconds
        hosts = try reader.texts("hosts")
        if let value = json["token"], value != .null {
            guard let text = value.stringValue, GatewayConfiguration.isToken(text) else {
                throw Invalid(description: "token: 16 to 128 of A-Z a-z 0-9 . _ ~ + / = - expected")
            }
            token = text
        }
    }
}

/// Reads members of the file; a fault names the member.
private struct ConfigurationReader {
    let json: JSON
    var path = ""

    private func fault(_ name: String, _ why: String) -> GatewayConfiguration.Invalid {
        GatewayConfiguration.Invalid(description: "\(path)\(name)\(why)")
    }

    /// Refuses a member that does not exist: a mistyped one would silently have no effect.
    func knows(_ names: [String]) throws {
        guard let object = json.objectValue else { throw fault("", path.isEmpty ? "a JSON object expected" : ": a JSON object expected") }
        for (name, _) in object.members where !names.contains(name) {
            let nearest = NearestName.nearest(to: name, among: names) ?? ""
            throw fault(String(name.prefix(60)), " does not exist; the nearest name is \(nearest)")
        }
    }

    func text(_ name: String) throws -> String {
        guard let value = json[name]?.stringValue, !value.isEmpty else { throw fault(name, " is missing or not a string") }
        return value
    }

    func texts(_ name: String) throws -> [String] {
        guard let value = json[name], value != .null else { return [] }
        let texts = (value.arrayValue ?? []).compactMap(\.stringValue)
        guard let count = value.arrayValue?.count, texts.count == count, texts.allSatisfy({ (1...300).contains($0.utf8.count) }) else {
            throw fault(name, ": an array of host names expected")
        }
        return texts
    }

    func number(_ name: String, _ range: ClosedRange<Int64>) throws -> Int? {
        guard let value = json[name], value != .null else { return nil }
        guard let number = value.intValue, range.contains(number) else {
            throw fault(name, ": \(range.lowerBound) to \(range.upperBound) expected")
        }
        return Int(number)
    }

    /// One text, or 1 to 16 of them.
    func oneOrMore(_ name: String) throws -> [String] {
        guard let list = json[name]?.arrayValue else { return [try text(name)] }
        let texts = list.compactMap(\.stringValue).filter { !$0.isEmpty }
        guard (1...16).contains(list.count), texts.count == list.count else {
            throw fault(name, ": a string, or 1 to 16 of them, expected")
        }
        return texts
    }

    func address(_ name: String) throws -> (host: String, port: Int) { try address(try text(name), of: name) }

    func address(_ text: String, of name: String) throws -> (host: String, port: Int) {
        let plain = text.replacingOccurrences(of: "mqtts://", with: "")
        guard let colon = plain.lastIndex(of: ":"), let port = Int(plain[plain.index(after: colon)...]), (0...65535).contains(port) else {
            throw fault(name, " = \(text): host:port expected")
        }
        // An IPv6 address stands in brackets, and without them everywhere else.
        return (plain[..<colon].trimmingCharacters(in: CharacterSet(charactersIn: "[]")), port)
    }

    func lot() throws -> GatewayConfiguration.LotEntry {
        try knows(["parkCode", "appId", "appSecret", "unknownPlates", "totalSpace", "info", "gates", "plateColors"])
        let rule = json["unknownPlates"]?.stringValue ?? "admit"
        guard rule == "admit" || rule == "refuse" else { throw fault("unknownPlates", ": admit or refuse expected") }
        guard let total = json["totalSpace"]?.intValue ?? json["info"]?["totalSpace"]?.intValue else {
            throw fault("totalSpace", " is missing")
        }
        guard Bounds.places.contains(total) else { throw fault("totalSpace", ": 1 to \(Bounds.places.upperBound) expected") }
        let (parkCode, appId) = (try text("parkCode"), try text("appId"))
        guard Envelope.isParkCode(parkCode) else { throw fault("parkCode", ": 1 to 32 of A-Z a-z 0-9 . _ - expected") }
        guard Envelope.isAppId(appId) else { throw fault("appId", ": 4 to 32 of A-Z a-z 0-9 expected") }
        let gates = json["gates"].flatMap { $0 == .null ? nil : $0 }
        if let gates {
            guard let rows = gates.arrayValue, rows.allSatisfy({ $0["gateCode"]?.stringValue?.isEmpty == false }) else {
                throw fault("gates", ": an array of gates, each with its gateCode, expected")
            }
        }
        var colors: PlateColorTable?
        if let name = json["plateColors"], name != .null {
            let tables = Dialect.current.plateColors
            colors = tables.first { $0.name == name.stringValue }
            guard colors != nil else { throw fault("plateColors", ": \(tables.map(\.name).joined(separator: ", ")) expected") }
        }
        return GatewayConfiguration.LotEntry(
            parkCode: parkCode, appId: appId, appSecret: try text("appSecret"), admitsUnknownPlates: rule == "admit",
            totalCount: Int(total), info: json["info"].flatMap { $0 == .null ? nil : $0 }, gates: gates, plateColors: colors)
    }
}
