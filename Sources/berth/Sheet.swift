import BerthWire
import Foundation

/// The sheet that a city sends to the vendor of a lot's system, so that they can connect: addresses, ids, topics, the authority of the certificate, the
/// zone of civil times, a draft of the gateway's file. The secret is not in it: it goes another way.
struct Sheet {
    /// The answer of `keys.issue` for one credential.
    let key: JSON
    /// The answer of `addresses`.
    let server: JSON
    /// The name under which lots reach the server.
    let host: String

    private var appId: String { key["appId"]?.stringValue ?? "" }
    private var parks: [String] { (key["parks"]?.arrayValue ?? []).compactMap(\.stringValue) }
    private var https: String { "https://\(shownHost):\(server["httpsPort"]?.intValue ?? 0)" }
    private var mqttPort: Int64 { server["mqttPort"]?.intValue ?? 0 }
    /// An IPv6 address stands in brackets before a port.
    private var shownHost: String { host.contains(":") ? "[\(host)]" : host }
    private var isTest: Bool { server["environment"]?.stringValue == "test" }
    /// PEM; nil where the certificate is one that every system trusts.
    private var authority: String? { server["ca"]?.stringValue }

    /// The SHA-256 of the authority's certificate, as `openssl x509 -fingerprint -sha256` writes it.
    private var fingerprint: String? {
        let lines = (authority ?? "").split(separator: "\n").map(String.init)
        guard let begin = lines.firstIndex(where: { $0.hasPrefix("-----BEGIN CERTIFICATE") }),
            let end = lines[begin...].firstIndex(where: { $0.hasPrefix("-----END CERTIFICATE") }),
            let der = Data(base64Encoded: lines[(begin + 1)..<end].joined())
        else { return nil }
        let digest = Array(Signature.hash(canonical: Array(der)).uppercased())
        return stride(from: 0, to: digest.count, by: 2).map { String(digest[$0..<min($0 + 2, digest.count)]) }.joined(separator: ":")
    }

    private var clientIds: [String] {
        key["role"]?.stringValue == "cloud" ? ["\(appId)_cloud"] : parks.map { "\(appId)_\($0)" }
    }

    /// Markdown: Chinese first, then English.
    var text: String { chinese + "\n" + english + "\n" + draft + authorityText }

    private var chinese: String {
        """
        # 泊位接入信息单

        | 项目 | 值 |
        | --- | --- |
        | 环境 | \(isTest ? "测试" : "生产") |
        | HTTPS 接口 | `\(https)/api/v1/…` |
        | MQTT（TLS） | `\(shownHost):\(mqttPort)` |
        | 应用编号 appId | `\(appId)` |
        | 角色 | `\(key["role"]?.stringValue ?? "")` |
        | 车场编码 parkCode | \(list(parks)) |
        | MQTT clientId | \(list(clientIds)) |
        | 上行主题 | \(list(parks.map { "rsp/v1/\($0)/up/#" })) |
        | 下行主题 | \(list(parks.map { "rsp/v1/\($0)/down/#" })) |
        | 密钥 appSecret | 另行交付，不在本单中 |
        | 日历时区 | 北京时间（UTC+8）；报文中的时间为 UTC 毫秒 |
        | CA 证书 SHA-256 | \(fingerprint.map { "`\($0)`" } ?? "公共 CA，使用系统信任库") |
        | 接口文档 | \(https)/docs |
        | 前置机说明 | `berth-gateway check --config gateway.json` 逐项检查连接 |

        """
    }

    private var english: String {
        """
        # Berth: how to connect

        | what | value |
        | --- | --- |
        | environment | \(isTest ? "test" : "production") |
        | HTTPS interface | `\(https)/api/v1/…` |
        | MQTT (TLS) | `\(shownHost):\(mqttPort)` |
        | appId | `\(appId)` |
        | role | `\(key["role"]?.stringValue ?? "")` |
        | parkCode | \(list(parks)) |
        | MQTT client id | \(list(clientIds)) |
        | topics up | \(list(parks.map { "rsp/v1/\($0)/up/#" })) |
        | topics down | \(list(parks.map { "rsp/v1/\($0)/down/#" })) |
        | appSecret | handed over another way; it is not in this sheet |
        | civil times | Beijing time (UTC+8); times in messages are ms of UTC |
        | SHA-256 of the CA | \(fingerprint.map { "`\($0)`" } ?? "a public authority; the roots of the system do") |
        | documentation | \(https)/docs/en |
        | gateway | `berth-gateway check --config gateway.json` tries each step of the connection |

        """
    }

    /// The file of a gateway, to be completed with the secret.
    private var draft: String {
        // A cloud connects by itself, under one client id for all of its lots.
        guard key["role"]?.stringValue == "lot" else { return "" }
        let lots = parks.map { park -> JSON in ["parkCode": .string(park), "appId": .string(appId), "appSecret": "…", "totalSpace": 0] }
        let file: JSON = [
            "server": .string(https), "mqtt": .string("\(shownHost):\(mqttPort)"),
            "ca": .string(authority == nil ? "/etc/ssl/certs/ca-certificates.crt" : "/etc/berth/ca.pem"),
            "spool": "/var/lib/berth-gateway/spool.sqlite", "listen": "127.0.0.1:9080", "lots": .array(lots),
        ]
        return "## gateway.json\n\n```json\n\(file.string)\n```\n\n"
    }

    private var authorityText: String {
        guard let authority else { return "" }
        return "## ca.pem\n\n```\n\(authority.trimmingCharacters(in: .whitespacesAndNewlines))\n```\n"
    }

    private func list(_ texts: [String]) -> String { texts.isEmpty ? "–" : texts.map { "`\($0)`" }.joined(separator: "<br>") }
}

/// A new file, made before what it is for, so that a wrong path costs nothing.
struct SheetFile {
    private let path: String

    struct Failed: Error, CustomStringConvertible {
        let description: String
    }

    /// - Throws: ``Failed`` where the file is there already or cannot be made.
    init(_ path: String) throws {
        self.path = path
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw Failed(description: "--sheet \(path): \(errno == EEXIST ? "is there already" : String(cString: strerror(errno)))")
        }
        close(descriptor)
    }

    /// Takes the empty file back.
    func remove() { unlink(path) }

    func write(_ text: String) throws {
        do { try Data(text.utf8).write(to: URL(fileURLWithPath: path)) } catch {
            throw Failed(description: "--sheet \(path): \(error). The credential is issued and stands above.")
        }
    }
}
