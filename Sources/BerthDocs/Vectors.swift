public import BerthWire

/// Signature vectors for writers in any language: good, bad, replayed and skewed messages, with what each step gives.
public enum Vectors {
    private static let secret = "k7Qd2vXw9ZtY4mNb8RsC1pLf6HjA3eUg"
    private static let now: Int64 = 1_677_628_500_000

    public static func document() -> JSON {
        let reservation: JSON = [
            "orderNo": "YY202303010000000001", "bizType": 1, "plateNo": "粤B12345", "plateColor": 0,
            "enterStart": 1_677_628_800_000, "enterEnd": 1_677_632_400_000,
        ]
        let push = message("order.reserve.push", reservation)
        var inLog = push
        inLog.append("epoch", "d1")
        inLog.append("seq", 1)
        var reply = JSONObject([
            ("version", "1.0"), ("requestId", "0f8fad5b-d9cb-469f-a165-70867728950e"), ("appId", "sz10000001"),
            ("service", "order.reserve.push"), ("parkCode", "440305000000001"), ("timestamp", 1_677_628_500_123),
            ("nonce", "0a1b2c3d4e5f6071"), ("code", 0), ("message", ""), ("duplicate", true), ("epoch", "d1"), ("ackSeq", 1),
        ])
        reply.append("data", ["accepted": true])
        let empty = message("sys.time.get", [:])
        var nothing = message("sys.time.get", [:])
        nothing["data"] = .null
        let hard: JSON = [
            "z": [3, 2, 1], "a": ["é": "\u{1F697}", "e": "line\nfeed \"quoted\" \\", "\u{FB33}": 1, "\u{1F600}": 2], "n": .null, "t": true,
            "s": "", "i": -1,
        ]
        var odd = message("event.report", hard)
        odd.append("unknown", "kept & signed".split(separator: "&").first.map { .string(String($0)) } ?? "")
        odd.append("flag", false)
        odd.append("zero", 0)
        odd.append("nothing", .null)
        odd.append("hint", "not signed")
        var changed = signed(push)
        changed["timestamp"] = .int(now + 1)
        var upper = signed(push)
        upper["sign"] = .string(signed(push)["sign"]!.stringValue!.uppercased())
        return [
            "description":
                "secret is a demonstration and opens nothing. accept: what a server says whose clock shows `now`, that has seen no nonce before and knows this appId with this secret.",
            "secret": .string(secret), "now": .int(now),
            "good": .array([
                vector("D01 of interface.md section 3", push), vector("the same as an entry of a log", inLog),
                vector("its reply", reply), vector("empty data", empty), vector("data null counts as {}", nothing),
                vector(
                    "order by UTF-16 code unit, escapes, null and empty inside data; unknown, false and 0 are signed, null and hint are not",
                    odd),
            ]),
            "bad": .array([
                bad("a timestamp changed after signing", changed, 201), bad("upper-case hexadecimal", upper, 201),
                bad("signed with another secret", signed(push, secret: "another"), 201),
                bad("sent 300001 ms ago", signed(message("order.reserve.push", reservation, timestamp: now - 300_001)), 202),
                bad("sent 300001 ms ahead", signed(message("order.reserve.push", reservation, timestamp: now + 300_001)), 202),
                bad("the first good message a second time: its nonce is known", signed(push), 203),
                bad("an ampersand in an envelope member", signed(with(push, "nonce", "9f86d081&884c7d65")), 102),
                bad("an object as an envelope member", signed(with(push, "extra", [:])), 102),
                bad("no nonce", signed(with(push, "nonce", .null)), 100),
            ]),
            "badText": badText, "mqttPassword": passwords,
            "redirect": .array([
                redirect("PAY", []), redirect("ORDER", [("returnUrl", "https://app.example/back?x=1&y=2")]),
            ]),
        ]
    }

    /// Texts that are no message, with the code of each.
    private static let badText: JSON = [
        ["what": "a number with a fraction", "text": "{\"data\":{\"a\":1.0}}", "code": 102],
        ["what": "minus zero", "text": "{\"data\":{\"a\":-0}}", "code": 102],
        ["what": "a duplicate key", "text": "{\"data\":{\"a\":1,\"a\":1}}", "code": 101],
        ["what": "a lone surrogate", "text": "{\"data\":{\"a\":\"\\ud800\"}}", "code": 101],
        ["what": "not JSON", "text": "version=1.0", "code": 101],
    ]

    /// The passwords of the three ways to sign in at the broker.
    private static var passwords: JSON {
        let clientId = "sz10000001_440305000000001"
        return .array([
            [
                "mode": "static", "clientId": .string(clientId), "key": .string(secret), "message": .string("mqtt\n" + clientId),
                "password": .string(MQTTIdentity.staticPassword(secret: secret, clientId: clientId)),
            ],
            [
                "mode": "hourly", "clientId": .string(clientId + "_" + stamp), "key": .string(secret),
                "message": .string("clientId=\(clientId)_\(stamp)&timestamp=\(stamp)&username=sz10000001"),
                "password": .string(
                    MQTTIdentity.hourlyPassword(secret: secret, clientId: clientId + "_" + stamp, username: "sz10000001", stamp: stamp)),
            ],
            [
                "mode": "huawei", "clientId": .string(clientId + "_" + stamp), "key": .string(stamp), "message": .string(secret),
                "password": .string(MQTTIdentity.huaweiPassword(secret: secret, stamp: stamp)),
            ],
        ])
    }

    private static func message(_ service: String, _ data: JSON, timestamp: Int64 = now) -> JSONObject {
        JSONObject([
            ("version", "1.0"), ("requestId", "0f8fad5b-d9cb-469f-a165-70867728950e"), ("appId", "sz10000001"),
            ("parkCode", "440305000000001"), ("service", .string(service)), ("timestamp", .int(timestamp)),
            ("nonce", "9f86d081884c7d65"), ("data", data),
        ])
    }

    private static let stamp = "2023030100"

    /// Section 12.
    private static func redirect(_ scene: String, _ more: [(String, String)]) -> JSON {
        let members =
            [
                ("appId", "sz10000001"), ("nonce", "9f86d081884c7d65"), ("orderNo", "YY202303010000000001"),
                ("parkCode", "440305000000001"),
                ("plateNo", "粤B12345"), ("scene", scene), ("timestamp", String(now)),
            ] + more
        return [
            "members": .object(JSONObject(members.map { ($0.0, .string($0.1)) })), "stringToSign": .string(Redirect.stringToSign(members)),
            "sign": .string(Redirect.sign(members, secret: secret)),
        ]
    }

    private static func with(_ message: JSONObject, _ name: String, _ value: JSON) -> JSONObject {
        var message = message
        message[name] = value
        return message
    }

    private static func signed(_ message: JSONObject, secret: String = secret) -> JSONObject {
        with(message, "sign", .string(Signature.sign(message, secret: secret)))
    }

    private static func vector(_ what: String, _ message: JSONObject) -> JSON {
        let data = message["data"] ?? .object(JSONObject())
        let hash = Signature.dataHash(data)
        return [
            "what": .string(what), "message": .object(signed(message)),
            "canonicalData": .string((data == .null ? .object(JSONObject()) : data).canonicalString), "dataHash": .string(hash),
            "stringToSign": .string(Signature.stringToSign(message, dataHash: hash)),
            "sign": .string(Signature.sign(message, secret: secret)),
        ]
    }

    private static func bad(_ what: String, _ message: JSONObject, _ code: Int) -> JSON {
        ["what": .string(what), "message": .object(message), "code": .int(code)]
    }
}
