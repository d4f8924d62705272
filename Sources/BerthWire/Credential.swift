import BerthCore
import Crypto
import Foundation

/// The role of a caller (interface.md, section 9): a lot's PMS, a parking management platform (停车管理平台) for many lots,
/// a service provider (服务商), the city's operator, or the city's own pages (网页), which keep the accounts of people.
public enum Role: String, Sendable, CaseIterable {
    case lot, cloud, provider, `operator`, web

    public var speaksForLots: Bool { self == .lot || self == .cloud }
}

/// The secrets with which one party proves its messages, and the address where it is reached. Secrets are never printed.
public struct Credential: Sendable, Equatable, CustomStringConvertible {
    public let appId: String
    /// Signs what is sent to the party.
    public var secret: String
    public let role: Role
    public let name: String
    /// The lots it speaks for; empty for a provider, and for an operator of the whole city.
    public var parkCodes: Set<String>
    public var isEnabled: Bool
    /// Sustained plain calls a second, and how many at once (section 8); per lot for lots and clouds.
    public var ratePerSecond: Int
    public var burst: Int
    /// Made by a rotation; good at once, and the only one as soon as the party has signed with it (section 3).
    public var nextSecret: String?
    /// The one before; good until `previousUntil`, ms, and 208 afterwards.
    public var previousSecret: String?
    public var previousUntil: Int64 = 0
    /// Where pushes and notifications are posted when no MQTT client listens; its host is thereby registered.
    public var callback: String?
    /// Hosts to which a redirect may return (section 12).
    public var returnHosts: [String] = []
    /// SHA-256 of the client certificate without which its requests are refused (207); nil asks for none.
    public var certificate: String?

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

    /// A new secret beside the present one, which goes on signing pushes until the party uses the new one.
    public mutating func rotate(to secret: String) { nextSecret = secret }

    /// The party has signed with its new secret: from here on that is the one, and the old one ends.
    /// - Parameter until: when the old one stops being good, ms.
    public mutating func takeUpNextSecret(until: Int64) {
        guard let next = nextSecret else { return }
        previousSecret = secret
        previousUntil = until
        secret = next
        nextSecret = nil
    }

    /// The credential as it is kept; the store that keeps it seals it.
    public var record: JSON {
        .compact([
            ("appId", .string(appId)), ("secret", .string(secret)), ("role", .string(role.rawValue)), ("name", .string(name)),
            ("parks", .array(parkCodes.sorted().map { .string($0) })), ("enabled", .bool(isEnabled)),
            ("rate", .int(ratePerSecond)), ("burst", .int(burst)), ("next", .optional(nextSecret)),
            ("previous", .optional(previousSecret)), ("until", previousSecret == nil ? .null : .int(previousUntil)),
            ("callback", .optional(callback)), ("hosts", .array(returnHosts.map { .string($0) })),
            ("certificate", .optional(certificate)),
        ])
    }

    public init?(record: JSON) {
        guard let appId = record["appId"]?.stringValue, let secret = record["secret"]?.stringValue,
            let role = record["role"]?.stringValue.flatMap(Role.init)
        else { return nil }
        self.init(
            appId: appId, secret: secret, role: role, name: record["name"]?.stringValue ?? "",
            parkCodes: Set((record["parks"]?.arrayValue ?? []).compactMap(\.stringValue)),
            isEnabled: record["enabled"]?.boolValue ?? true, ratePerSecond: Int(record["rate"]?.intValue ?? 50),
            burst: Int(record["burst"]?.intValue ?? 100))
        nextSecret = record["next"]?.stringValue
        previousSecret = record["previous"]?.stringValue
        previousUntil = record["until"]?.intValue ?? 0
        callback = record["callback"]?.stringValue
        returnHosts = (record["hosts"]?.arrayValue ?? []).compactMap(\.stringValue)
        certificate = record["certificate"]?.stringValue
    }
}

/// How a client is known to the broker (section 4).
public enum MQTTIdentity {
    public static func clientId(appId: String, role: Role, parkCode: String?) -> String {
        role == .cloud ? "\(appId)_cloud" : "\(appId)_\(parkCode ?? "")"
    }

    /// The `static` password mode: usable with any broker, derived, so that the secret itself never reaches it.
    public static func staticPassword(secret: String, clientId: String) -> String {
        hmac(key: secret, message: "mqtt\n\(clientId)")
    }

    /// The `hourly` mode, for brokers that ask the server: the client id ends with `_` and the hour.
    /// - Parameter stamp: `YYYYMMDDHH`, UTC.
    public static func hourlyPassword(secret: String, clientId: String, username: String, stamp: String) -> String {
        hmac(key: secret, message: "clientId=\(clientId)&timestamp=\(stamp)&username=\(username)")
    }

    /// The `huawei` mode: the hour is the key and the secret the message.
    public static func huaweiPassword(secret: String, stamp: String) -> String { hmac(key: stamp, message: secret) }

    private static func hmac(key: String, message: String) -> String {
        Signature.hex(
            HMAC<SHA256>.authenticationCode(for: Array(message.utf8), using: SymmetricKey(data: Array(key.utf8))))
    }

    /// ms of a stamp `YYYYMMDDHH` UTC; nil when it is none.
    static func time(ofStamp stamp: String) -> Int64? {
        guard stamp.utf8.count == 10, let number = Int64(stamp), stamp.utf8.allSatisfy({ (48...57).contains($0) }),
            let day = CivilTime.day(year: number / 1_000_000, month: number / 10_000 % 100, day: number / 100 % 100),
            number % 100 < 24
        else { return nil }
        return (day * 24 + number % 100) * 3_600_000
    }

    /// Whether a client that shows this name and password is the credential's own, in any of the three modes.
    /// - Parameter parkCode: the lot in the client id; a cloud has none.
    public static func admits(_ credential: Credential, clientId: String, password: String, now: Int64) -> Bool {
        guard credential.isEnabled, credential.role.speaksForLots else { return false }
        let plain = Self.clientId(
            appId: credential.appId, role: credential.role, parkCode: credential.parkCodes.sorted().first)
        let secrets = [credential.secret, credential.nextSecret].compactMap(\.self)
        func isOne(_ candidates: [String]) -> Bool {
            candidates.reduce(false) { Signature.equal($1, password) || $0 }
        }
        if clientId == plain { return isOne(secrets.map { staticPassword(secret: $0, clientId: plain) }) }
        guard clientId.hasPrefix(plain + "_") else { return false }
        let stamp = String(clientId.dropFirst(plain.count + 1))
        // The stamp names an hour; it is good within an hour of the server's.
        guard let hour = time(ofStamp: stamp), abs(now / 3_600_000 - hour / 3_600_000) <= 1 else { return false }
        return isOne(
            secrets.flatMap {
                [
                    hourlyPassword(secret: $0, clientId: clientId, username: credential.appId, stamp: stamp),
                    huaweiPassword(secret: $0, stamp: stamp),
                ]
            })
    }

    /// Whether the credential may use a topic (section 4): its own `up` to publish, its own `down` to subscribe to.
    public static func mayUse(_ credential: Credential, topic: String, isPublish: Bool) -> Bool {
        guard credential.isEnabled, credential.role.speaksForLots else { return false }
        if isPublish, credential.role == .cloud, topic == Topic.cloudPresence(credential.appId) { return true }
        let parts = topic.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count >= 5, parts[0] == "rsp", parts[1] == "v1", credential.parkCodes.contains(String(parts[2])) else { return false }
        if isPublish, topic.contains("#") || topic.contains("+") { return false }
        return parts[3] == (isPublish ? "up" : "down")
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

    /// The kind of a message on an uplink topic, by the topic's name alone.
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
