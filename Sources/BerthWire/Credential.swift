import Crypto
import Foundation

/// Who calls (interface.md, section 9): a lot's PMS, a parking management platform (停车管理平台) for many lots,
/// a service provider (服务商), or the city's operator.
public enum Role: String, Sendable, CaseIterable {
    case lot, cloud, provider, `operator`

    public var speaksForLots: Bool { self == .lot || self == .cloud }
}

/// What one party proves its messages with. The secret never prints.
public struct Credential: Sendable, Equatable, CustomStringConvertible {
    public let appId: String
    public let secret: String
    public let role: Role
    public let name: String
    /// The lots it speaks for; empty for a provider, and for an operator of the whole city.
    public var parkCodes: Set<String>
    public var isEnabled: Bool
    /// Sustained plain calls a second, and how many at once (section 8); per lot for lots and clouds.
    public var ratePerSecond: Int
    public var burst: Int

    public init(
        appId: String, secret: String, role: Role, name: String, parkCodes: Set<String> = [], isEnabled: Bool = true,
        ratePerSecond: Int = 50, burst: Int = 100
    ) {
        self.appId = appId
        self.secret = secret
        self.role = role
        self.name = name
        self.parkCodes = parkCodes
        self.isEnabled = isEnabled
        self.ratePerSecond = ratePerSecond
        self.burst = burst
    }

    public var description: String { "\(role.rawValue) \(appId)" }

    public func mayActFor(_ parkCode: String) -> Bool {
        parkCodes.contains(parkCode) || (role == .operator && parkCodes.isEmpty)
    }
}

/// How a client is known to the broker (section 4).
public enum MQTTIdentity {
    public static func clientId(appId: String, role: Role, parkCode: String?) -> String {
        role == .cloud ? "\(appId)_cloud" : "\(appId)_\(parkCode ?? "")"
    }

    /// The `static` password mode: usable with any broker, derived, so that the secret itself never reaches it.
    public static func staticPassword(secret: String, clientId: String) -> String {
        Signature.hex(
            HMAC<SHA256>.authenticationCode(
                for: Array("mqtt\n\(clientId)".utf8), using: SymmetricKey(data: Array(secret.utf8))))
    }
}

/// Topic names of section 4; nothing else in the code spells them.
public enum Topic {
    public static func up(_ parkCode: String, _ service: String) -> String { "rsp/v1/\(parkCode)/up/\(service)" }
    public static func down(_ parkCode: String, _ service: String) -> String { "rsp/v1/\(parkCode)/down/\(service)" }
    public static func upReply(_ parkCode: String) -> String { up(parkCode, "reply") }
    public static func downReply(_ parkCode: String) -> String { down(parkCode, "reply") }
    public static func presence(_ parkCode: String) -> String { up(parkCode, "status") }
    public static func cloudPresence(_ appId: String) -> String { "rsp/v1/_cloud/\(appId)/status" }
    public static func downFilter(_ parkCode: String) -> String { "rsp/v1/\(parkCode)/down/#" }
    public static let allUp = "rsp/v1/+/up/#"
    public static let allCloudPresence = "rsp/v1/_cloud/+/status"

    /// What arrived on an uplink topic, by its name alone.
    public enum Uplink: Equatable {
        case service(parkCode: String, service: String)
        case reply(parkCode: String)
        case presence(parkCode: String)
        case cloudPresence(appId: String)
    }

    public static func parseUplink(_ topic: String) -> Uplink? {
        let parts = topic.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 5, parts[0] == "rsp", parts[1] == "v1" else { return nil }
        if parts[2] == "_cloud" { return parts[4] == "status" ? .cloudPresence(appId: String(parts[3])) : nil }
        guard parts[3] == "up" else { return nil }
        let parkCode = String(parts[2])
        switch parts[4] {
        case "reply": return .reply(parkCode: parkCode)
        case "status": return .presence(parkCode: parkCode)
        default: return .service(parkCode: parkCode, service: String(parts[4]))
        }
    }
}
