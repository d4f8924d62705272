import BerthCore
import Foundation

/// Scenes of section 12.
public enum RedirectScene: String, Sendable, CaseIterable {
    case reserve = "RESERVE"
    case reservation = "ORDER"
    case pay = "PAY"
    case entryQR = "ENTRY_QR"
    case exitQR = "EXIT_QR"
    case share = "SHARE"
    case publicBiz = "PUBLIC_BIZ"
    case navi = "NAVI"
    case invoice = "INVOICE"
    case credit = "CREDIT"

    /// How long an address is good, ms.
    public var validMillis: Int64 { self == .pay ? 60_000 : 300_000 }

    public var title: (zh: String, en: String) {
        switch self {
        case .reserve: ("预约停车", "Reserve a place")
        case .reservation: ("订单详情", "Your order")
        case .pay: ("停车缴费", "Pay")
        case .entryQR: ("扫码入场", "Enter by code")
        case .exitQR: ("扫码离场", "Leave by code")
        case .share: ("共享车位", "Shared places")
        case .publicBiz: ("公共业务停车", "Public services")
        case .navi: ("导航", "Navigate")
        case .invoice: ("发票", "Invoice")
        case .credit: ("信用", "Credit")
        }
    }
}

/// Addresses of section 12: their signature, and the way back.
public enum Redirect {
    /// RFC 3986: only unreserved characters stay.
    public static func encode(_ value: String) -> String {
        var out = ""
        for byte in value.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E: out.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = Array("0123456789ABCDEF")
                out += "%"
                out.append(digits[Int(byte >> 4)])
                out.append(digits[Int(byte & 15)])
            }
        }
        return out
    }

    /// The sorted pairs `name=value`, each value percent-encoded, empty ones and `sign` left out.
    public static func stringToSign(_ members: [(String, String)]) -> String {
        members.filter { !$0.1.isEmpty && $0.0 != "sign" }
            .sorted { $0.0.utf8.lexicographicallyPrecedes($1.0.utf8) }
            .map { "\($0.0)=\(encode($0.1))" }.joined(separator: "&")
    }

    public static func sign(_ members: [(String, String)], secret: String) -> String {
        Signature.sign(stringToSign(members), secret: secret)
    }

    /// The query of an address, with its signature.
    public static func signed(_ members: [(String, String)], secret: String) -> String {
        "\(stringToSign(members))&sign=\(sign(members, secret: secret))"
    }

    /// Whether an address leads to one of these hosts, by https, and to nobody who only looks like one.
    public static func isReturn(_ url: String, to hosts: [String]) -> Bool {
        guard url.utf8.count <= 512, url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x5C }), let parts = URLComponents(string: url),
            parts.scheme == "https", parts.user == nil, parts.password == nil, let host = parts.host?.lowercased()
        else { return false }
        return hosts.contains { $0.lowercased() == host }
    }

    /// The way back: the party's own address with the result. It is only a hint; the notification A17 is what counts.
    public static func back(
        _ url: String, orderNo: String?, result: String, now: Int64, nonce: String, secret: String
    ) -> String {
        let members = [("orderNo", orderNo ?? ""), ("result", result), ("timestamp", String(now)), ("nonce", nonce)]
        let (plain, fragment) = url.firstIndex(of: "#").map { (String(url[..<$0]), String(url[$0...])) } ?? (url, "")
        return plain + (plain.contains("?") ? "&" : "?") + signed(members, secret: secret) + fragment
    }
}
