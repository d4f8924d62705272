import BerthGateway
import BerthLink
import BerthWire
import Foundation
import Testing

/// The configuration file, and the token that is made at the first start.
@Suite struct ConfigurationTests {
    private static let sound = """
        {
          "server": "https://127.0.0.1:1", "mqtt": "127.0.0.1:2",
          "ca": "ca.pem", "spool": "SPOOL", "listen": "[::1]:9080",

          "lots": [{ "parkCode": "P1", "appId": "app1", "appSecret": "s", "totalSpace": 10, "gates": [{"gateCode": "G1"}] }]
        }
        """

    private func folder() throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("berth-\(SystemRandom.uuid())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return folder
    }

    private func mode(_ path: String) throws -> Int {
        try (FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? NSNumber)?.intValue ?? -1
    }

    @Test func aTokenIsMadeOnceAndKeptInTheFile() throws {
        let folder = try folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appendingPathComponent("gateway.json").path
        let text = ConfigurationTests.sound.replacingOccurrences(of: "SPOOL", with: folder.path + "/spool.sqlite")
        try text.write(toFile: file, atomically: false, encoding: .utf8)
        var configuration = try GatewayConfiguration(file: file)
        #expect(configuration.token == nil && configuration.listen?.host == "::1")
        let made = try GatewayToken.ensure(&configuration, file: file)
        #expect(made == (.configuration, true))
        let token = try #require(configuration.token)
        #expect(token.count >= 32)
        #expect(try mode(file) == 0o600)
        // The rest stays as it was laid out.
        let now = try String(contentsOfFile: file, encoding: .utf8)
        #expect(now.replacingOccurrences(of: "\n  \"token\": \"\(token)\",", with: "") == text)
        var again = try GatewayConfiguration(file: file)
        #expect(try GatewayToken.ensure(&again, file: file) == (.configuration, false) && again.token == token)
    }

    @Test func aFileThatCannotBeWrittenHasItsTokenBesideTheSpool() throws {
        let folder = try folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let spool = folder.appendingPathComponent("spool.sqlite").path
        var configuration = GatewayConfiguration(
            servers: [""], brokers: [("", 0)], caFile: "", spoolFile: spool,
            lots: [.init(parkCode: "P1", appId: "app1", appSecret: "s", totalCount: 1)])
        // A file in a folder that is none cannot be written, whoever asks.
        let file = "/proc/self/none/gateway.json"
        #expect(try GatewayToken.ensure(&configuration, file: file) == (.file(spool + ".token"), true))
        let token = configuration.token
        #expect(try mode(spool + ".token") == 0o600)
        configuration.token = nil
        #expect(try GatewayToken.ensure(&configuration, file: file) == (.file(spool + ".token"), false) && configuration.token == token)
    }

    @Test func aCityMayHaveSeveralServers() throws {
        guard case .object(var object) = try JSON.parse(Array(ConfigurationTests.sound.utf8)) else { return }
        object["server"] = ["https://a:1", "https://b:2"]
        object["mqtt"] = ["a:3", "mqtts://[::1]:4"]
        let configuration = try GatewayConfiguration(json: .object(object))
        #expect(configuration.servers == ["https://a:1", "https://b:2"])
        #expect(configuration.brokers.map(\.host) == ["a", "::1"] && configuration.brokers.map(\.port) == [3, 4])
    }

    static let wrong: [(member: String, value: JSON, says: String)] = [
        ("token", "short", "token"), ("token", 5, "token"), ("token", "0123456789 bcdef", "token"),
        ("heartbeatSeconds", .int(WireLimits.intMax), "heartbeatSeconds"), ("heartbeatSeconds", 0, "heartbeatSeconds"),
        ("heartbeatSeconds", -1, "heartbeatSeconds"), ("heartbeatSeconds", "30", "heartbeatSeconds"), ("reconSeconds", 0, "reconSeconds"),
        ("hosts", "a", "hosts"), ("hosts", [5], "hosts"), ("carrier", "pigeon", "carrier"), ("mqtt", "host", "mqtt"),
        ("mqtt", "host:99999999999999999999", "mqtt"), ("mqtt", "host:-1", "mqtt"), ("listen", "host:65536", "listen"),
        ("server", [], "server"), ("server", ["https://a", ""], "server"), ("server", [5], "server"), ("server", "", "server"),
        ("mqtt", [], "mqtt"), ("mqtt", ["a:1", "b"], "mqtt"), ("mqtt", .array(Array(repeating: "a:1", count: 17)), "mqtt"),
        ("lots", [], "lots"),
        ("lots", [5], "lots[0]"), ("spool", "", "spool"),
    ]

    @Test(arguments: ConfigurationTests.wrong.indices) func aWrongMemberIsNamed(_ index: Int) throws {
        let (member, value, says) = ConfigurationTests.wrong[index]
        guard case .object(var object) = try JSON.parse(Array(ConfigurationTests.sound.utf8)) else { return }
        object[member] = value
        #expect {
            try GatewayConfiguration(json: .object(object))
        } throws: { "\($0)".contains(says) }
    }

    static let wrongLots: [(member: String, value: JSON)] = [
        ("totalSpace", 0), ("totalSpace", -1), ("totalSpace", .int(WireLimits.intMax)), ("totalSpace", 1_000_001), ("parkCode", "a/b"),
        ("parkCode", "_a"), ("parkCode", .string(String(repeating: "x", count: 33))), ("appId", "a&b="), ("appSecret", ""),
        ("unknownPlates", "maybe"),
        ("gates", [:]), ("gates", [5]), ("gates", [["gateCode": ""]]),
    ]

    @Test(arguments: ConfigurationTests.wrongLots.indices) func aWrongMemberOfALotIsNamed(_ index: Int) throws {
        let (member, value) = ConfigurationTests.wrongLots[index]
        guard case .object(var object) = try JSON.parse(Array(ConfigurationTests.sound.utf8)),
            case .object(var lot)? = object["lots"]?.arrayValue?.first
        else { return }
        lot[member] = value
        object["lots"] = .array([.object(lot)])
        #expect {
            try GatewayConfiguration(json: .object(object))
        } throws: { "\($0)".contains("lots[0].\(member)") }
    }

    @Test func aLotStandsThereOnce() throws {
        guard case .object(var object) = try JSON.parse(Array(ConfigurationTests.sound.utf8)), let lots = object["lots"]?.arrayValue else {
            return
        }
        object["lots"] = .array(lots + lots)
        #expect {
            try GatewayConfiguration(json: .object(object))
        } throws: { "\($0)".contains("lots[1].parkCode") }
    }

    @Test(arguments: [
        (#""heartbeatSecond": 5, "#, "heartbeatSecond does not exist; the nearest name is heartbeatSeconds"),
        (#""spol": "x", "#, "spol does not exist; the nearest name is spool"),
    ])
    func aMemberThatDoesNotExistIsRefusedWithTheNearest(member: String, message: String) throws {
        let text = ConfigurationTests.sound.replacingOccurrences(of: "\"lots\"", with: member + "\"lots\"")
        let fault = try #require(throws: GatewayConfiguration.Invalid.self) {
            try GatewayConfiguration(json: JSON.parse([UInt8](text.utf8)))
        }
        #expect(fault.description == message)
    }

    @Test func aMemberOfALotThatDoesNotExistIsRefused() throws {
        let text = ConfigurationTests.sound.replacingOccurrences(of: "\"totalSpace\"", with: "\"plateColor\": \"bl\", \"totalSpace\"")
        let fault = try #require(throws: GatewayConfiguration.Invalid.self) {
            try GatewayConfiguration(json: JSON.parse([UInt8](text.utf8)))
        }
        #expect(fault.description == "lots[0].plateColor does not exist; the nearest name is plateColors")
    }

    @Test(arguments: ["berth", "bl", "4p", "hikvision", "wp3"])
    func aTableOfColoursIsChosenByItsName(name: String) throws {
        let text = ConfigurationTests.sound.replacingOccurrences(of: "\"totalSpace\"", with: "\"plateColors\": \"\(name)\", \"totalSpace\"")
        let configuration = try GatewayConfiguration(json: JSON.parse([UInt8](text.utf8)))
        #expect(configuration.lots.first?.plateColors?.name == name)
        #expect(throws: GatewayConfiguration.Invalid.self) {
            try GatewayConfiguration(json: JSON.parse([UInt8](text.replacingOccurrences(of: "\"\(name)\"", with: "\"none\"").utf8)))
        }
    }
}
