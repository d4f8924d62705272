import BerthCore

/// Why a message is not accepted: the name of a code of the dictionary, and what its sender is told about it.
public struct WireError: Error, Sendable, Equatable {
    public let name: String
    /// The members that are missing or wrong, and the rules they break: for every caller whose signature held (section 3).
    public let hint: String
    /// Values and the string to sign: for the test environment alone.
    public let detail: String
    public let data: JSON

    public init(_ name: String, _ hint: String = "", detail: String = "", data: JSON = [:]) {
        self.name = name
        self.hint = hint
        self.detail = detail
        self.data = data
    }

    public var code: ResultCode { Dialect.current.code(name) }
}

/// The members that a reply repeats of its request, as far as they could be read; "" where they could not (section 3).
public struct Echo: Sendable, Equatable {
    public var requestId = ""
    public var appId = ""
    public var service = ""
    public var parkCode: String?

    public init() {}
    public init(requestId: String, appId: String, service: String, parkCode: String?) {
        self.requestId = requestId
        self.appId = appId
        self.service = service
        self.parkCode = parkCode
    }
}

/// A message that has the shape of section 3. It proves nothing yet: only ``verify(credential:now:)`` does.
public struct Envelope: Sendable {
    public let members: JSONObject
    public let requestId: String
    public let appId: String
    public let parkCode: String?
    public let service: String
    public let timestamp: Int64
    public let nonce: String
    public let epoch: String?
    public let seq: Int64?
    public let sign: String
    /// A number in it that the wire does not allow is a text here.
    public let data: JSONObject
    /// Where the first number of the data stands that the wire does not allow (102).
    public let illegalNumber: String?
    /// canon(data) as it came; nil where the sender wrote it in another form.
    private var canonicalData: ArraySlice<UInt8>?

    public var echo: Echo { Echo(requestId: requestId, appId: appId, service: service, parkCode: parkCode) }

    /// Bytes → envelope: JSON (101), then shape (100, 102), then version (103). The echo is filled as far as the bytes allow.
    public static func read(_ bytes: [UInt8], echo: inout Echo) throws(WireError) -> Envelope {
        guard bytes.count <= WireLimits.bodyBytesMax else { throw WireError("tooLarge", "body over 1 MiB") }
        let value: JSON
        let canonicalData: Range<Int>?
        do { (value, canonicalData) = try JSON.parseMessage(bytes) } catch {
            switch error {
            case .malformed(let why): throw WireError("malformedBody", why)
            case .illegalNumber:
                guard let members = JSON.readKeepingNumbers(bytes)?.objectValue,
                    let envelope = try? Envelope(members, echo: &echo, hasIllegalNumbers: true), envelope.illegalNumber != nil
                else { throw WireError("illegalValue", "numbers are integers below 2^53") }
                return envelope
            }
        }
        guard let members = value.objectValue else { throw WireError("malformedBody", "the body is not an object") }
        var envelope = try Envelope(members, echo: &echo)
        // Data that is null or missing counts as `{}`, which no bytes of the message say.
        if case .object = members["data"], let canonicalData { envelope.canonicalData = bytes[canonicalData] }
        return envelope
    }

    init(_ members: JSONObject, echo: inout Echo, hasIllegalNumbers: Bool = false) throws(WireError) {
        try Envelope.check(members, echo: &echo)
        func optional(_ name: String, max: Int) throws(WireError) -> String? {
            switch members[name] {
            case nil, .null: return nil
            case .string(let value):
                guard value.utf8.count <= max || value.unicodeScalars.count <= max else {
                    throw WireError("illegalValue", "\(name): too long")
                }
                return value.isEmpty ? nil : value
            default: throw WireError("illegalValue", "\(name): not a string")
            }
        }
        func required(_ name: String, max: Int) throws(WireError) -> String {
            guard let value = try optional(name, max: max) else { throw WireError("missingParameter", name) }
            return value
        }
        func integer(_ name: String) throws(WireError) -> Int64? {
            switch members[name] {
            case nil, .null, .string(""): return nil
            case .int(let value): return value
            default: throw WireError("illegalValue", "\(name): not an integer")
            }
        }
        let version = try required("version", max: 8)
        requestId = try required("requestId", max: 36)
        appId = try required("appId", max: 32)
        service = try required("service", max: 48)
        guard let timestamp = try integer("timestamp") else { throw WireError("missingParameter", "timestamp") }
        nonce = try required("nonce", max: 32)
        sign = try required("sign", max: 1024)
        parkCode = try optional("parkCode", max: 32)
        epoch = try optional("epoch", max: 16)
        seq = try integer("seq")
        let signType = try optional("signType", max: 16)
        switch members["data"] {
        case nil, .null:
            data = JSONObject()
            illegalNumber = nil
        case .object(let object):
            var first: String?
            data = hasIllegalNumbers ? JSON.object(object).withoutIllegalNumbers(path: "data", first: &first).objectValue ?? object : object
            illegalNumber = first
        default: throw WireError("illegalValue", "data: not an object")
        }
        guard Envelope.isUUID(requestId) else { throw WireError("illegalValue", "requestId: not a UUID") }
        guard Envelope.isAppId(appId) else { throw WireError("illegalValue", "appId: 4 to 32 of A-Z a-z 0-9") }
        guard Envelope.isNonce(nonce) else { throw WireError("illegalValue", "nonce: 8 to 32 of A-Z a-z 0-9 _ -") }
        guard timestamp >= 1_000_000_000_000, timestamp <= 9_999_999_999_999 else {
            throw WireError("illegalValue", "timestamp: 13 digits")
        }
        if let parkCode, !Envelope.isParkCode(parkCode) { throw WireError("illegalValue", "parkCode") }
        if let seq, seq < 1 { throw WireError("illegalValue", "seq: from 1") }
        if let signType, signType != "HMACSHA256" { throw WireError("illegalValue", "signType: HMACSHA256") }
        guard version == "1.0" else { throw WireError("unknownService", "version: 1.0") }
        self.timestamp = timestamp
        self.members = members
    }

    /// Checks the form of the members, and notes for the reply what can stand in one.
    private static func check(_ members: JSONObject, echo: inout Echo) throws(WireError) {
        func text(_ name: String) -> String { members[name]?.stringValue ?? "" }
        // A member that could not stand in a signed reply is not echoed.
        if Envelope.isSafe(text("requestId")), text("requestId").utf8.count <= 36 { echo.requestId = text("requestId") }
        if Envelope.isAppId(text("appId")) { echo.appId = text("appId") }
        if Envelope.isSafe(text("service")), text("service").utf8.count <= 48 { echo.service = text("service") }
        if Envelope.isParkCode(text("parkCode")) { echo.parkCode = text("parkCode") }

        for (name, value) in members.members {
            guard Envelope.isSafe(name) else { throw WireError("illegalValue", "member name") }
            switch value {
            case .object, .array:
                guard name == "data" else { throw WireError("illegalValue", "\(name): envelope members are scalars") }
            case .string(let string):
                guard name == "message" || name == "hint" || Envelope.isSafe(string) else {
                    throw WireError("illegalValue", "\(name): holds '&', '=' or a control character")
                }
            default: break
            }
        }
    }

    // MARK: Forms of section 2 and 3

    public static func isSafe(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { bytes in
            for (index, byte) in bytes.enumerated() {
                if byte < 0x20 || byte == UInt8(ascii: "&") || byte == UInt8(ascii: "=") || byte == 0x7F { return false }
                // U+0080 to U+009F.
                if byte == 0xC2, bytes[index + 1] < 0xA0 { return false }
            }
            return true
        }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
    }

    public static func isAppId(_ text: String) -> Bool {
        (4...32).contains(text.utf8.count) && text.utf8.allSatisfy(isAlphanumeric)
    }

    static func isNonce(_ text: String) -> Bool {
        (8...32).contains(text.utf8.count)
            && text.utf8.allSatisfy { isAlphanumeric($0) || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-") }
    }

    /// `[A-Za-z0-9.-][A-Za-z0-9._-]*`, 1 to 32: it stands in topics and rights, nothing else may pass (section 2).
    public static func isParkCode(_ text: String) -> Bool {
        guard (1...32).contains(text.utf8.count), text.utf8.first != UInt8(ascii: "_") else { return false }
        return text.utf8.allSatisfy {
            isAlphanumeric($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_")
        }
    }

    public static func isUUID(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard bytes.count == 36 else { return false }
        for (index, byte) in bytes.enumerated() {
            switch index {
            case 8, 13, 18, 23: guard byte == UInt8(ascii: "-") else { return false }
            default:
                let lower = byte | 0x20
                guard (48...57).contains(byte) || (97...102).contains(lower) else { return false }
            }
        }
        return true
    }
}

/// An envelope whose clock and signature held. Only ``Envelope/verify(credential:now:)`` makes one.
public final class VerifiedRequest: Sendable {
    public let envelope: Envelope
    public let credential: Credential
    /// Of canon(data): tells a repeat from other content under the same key.
    public let dataHash: String
    /// The secret that verified it; the reply is signed with the same.
    public let secret: String
    /// It came over the broker, whose messages hold 1 MiB.
    public let isOverMQTT: Bool
    /// It was signed with the secret that a rotation made: the party has changed over.
    public var usesNextSecret: Bool { secret == credential.nextSecret }
    fileprivate init(envelope: Envelope, credential: Credential, dataHash: String, secret: String, isOverMQTT: Bool) {
        self.isOverMQTT = isOverMQTT
        self.envelope = envelope
        self.credential = credential
        self.dataHash = dataHash
        self.secret = secret
    }
}

extension Envelope {
    /// appId known and enabled (200) → clock (202, `sys.time.get` alone skips it) → signature (201; 208 with a secret whose time is over).
    public func verify(credential: Credential?, isOverMQTT: Bool = false, now: Int64) throws(WireError) -> VerifiedRequest {
        guard let credential, credential.isEnabled, credential.appId == appId else { throw WireError("unknownApp") }
        if service != "sys.time.get" {
            guard abs(now - timestamp) <= WireLimits.clockSkewMillisMax else {
                throw WireError(
                    "clockSkew", "timestamp: more than 300 s off", detail: "the server's clock says \(now)", data: ["serverTime": .int(now)]
                )
            }
        }
        // Of the data as they were sent.
        let hash = canonicalData.map { Signature.hash(canonical: $0) } ?? Signature.dataHash(members["data"] ?? [:])
        let toSign = Signature.bytesToSign(members, dataHash: hash)
        func isSigned(with secret: String) -> Bool { Signature.equal(Signature.sign(toSign, secret: secret), sign) }
        func authentic(_ secret: String) -> VerifiedRequest {
            VerifiedRequest(envelope: self, credential: credential, dataHash: hash, secret: secret, isOverMQTT: isOverMQTT)
        }
        if isSigned(with: credential.secret) { return authentic(credential.secret) }
        if let next = credential.nextSecret, isSigned(with: next) { return authentic(next) }
        if let previous = credential.previousSecret, isSigned(with: previous) {
            guard now < credential.previousUntil else { throw WireError("secretExpired") }
            return authentic(previous)
        }
        throw WireError("signatureError", detail: "string to sign: \(String(decoding: toSign, as: UTF8.self))")
    }
}

/// The reply to a request; ``MessageWriter`` makes its bytes.
public struct Reply: Sendable, Equatable {
    /// The data as it was made: a tree, or already its canonical text.
    private enum Content: Sendable {
        case tree(JSON)
        case text([UInt8])
    }

    public var code: Int
    private var content: Content
    public var duplicate = false
    public var epoch: String?
    public var ackSeq: Int64?
    public var hint = ""
    /// Of a ``WireError``: for the test environment alone.
    public var detail = ""

    public init(code: Int = 0, data: JSON = [:], epoch: String? = nil, ackSeq: Int64? = nil) {
        self.code = code
        content = .tree(data)
        self.epoch = epoch
        self.ackSeq = ackSeq
    }

    /// - Parameter canonical: canon(data), as kept replies stand in the store.
    public init(code: Int = 0, canonical: [UInt8]) {
        self.code = code
        content = .text(canonical)
    }

    public var data: JSON {
        get {
            switch content {
            case .tree(let data): data
            case .text(let text): (try? JSON.parse(text)) ?? [:]
            }
        }
        set { content = .tree(newValue) }
    }

    /// canon(data); a tree is written once.
    public var canonical: [UInt8] {
        mutating get {
            let text = canonicalText
            content = .text(text)
            return text
        }
    }

    fileprivate var canonicalText: [UInt8] {
        switch content {
        case .tree(let data): data.text(canonical: true)
        case .text(let text): text
        }
    }

    public static func == (left: Reply, right: Reply) -> Bool {
        left.code == right.code && left.data == right.data && left.duplicate == right.duplicate && left.epoch == right.epoch
            && left.ackSeq == right.ackSeq && left.hint == right.hint
    }

    public init(_ error: WireError) {
        self.init(code: error.code.code, data: error.data)
        hint = error.hint
        detail = error.detail
    }

    public var resultCode: ResultCode { Dialect.current.codes[code] ?? Dialect.current.code("failure") }
}

/// Makes signed messages: requests, pushes and replies.
public enum MessageWriter {
    /// A request or push: signed by the party's secret, with its own timestamp and nonce for this sending.
    public static func request(
        service: String, data: JSON, appId: String, secret: String, parkCode: String?, requestId: String,
        timestamp: Int64, nonce: String, epoch: String? = nil, seq: Int64? = nil
    ) -> [UInt8] {
        var members = JSONObject([
            ("version", "1.0"), ("requestId", .string(requestId)), ("appId", .string(appId)),
            ("service", .string(service)), ("timestamp", .int(timestamp)), ("nonce", .string(nonce)),
        ])
        if let parkCode { members.append("parkCode", .string(parkCode)) }
        if let epoch { members.append("epoch", .string(epoch)) }
        if let seq { members.append("seq", .int(seq)) }
        return seal(members, canonical: data.text(canonical: true), secret: secret)
    }

    /// Adds data and signature. The data goes out in its canonical form, so that it is written once, for the hash and for the wire.
    private static func seal(_ members: JSONObject, canonical: [UInt8], secret: String?) -> [UInt8] {
        let sign = secret.map {
            Signature.sign(Signature.bytesToSign(members, dataHash: Signature.hash(canonical: canonical)), secret: $0)
        }
        var out: [UInt8] = []
        out.reserveCapacity(canonical.count + 512)
        JSON.object(members).write(into: &out)
        out.removeLast()
        out.append(utf8: ",\"data\":")
        out.append(contentsOf: canonical)
        out.append(utf8: ",\"sign\":\"")
        out.append(utf8: sign ?? "")
        out.append(utf8: "\"}")
        return out
    }

    /// A reply; without a secret its `sign` is "" (101, 104, 200, unreadable body).
    public static func reply(
        _ answer: Reply, echo: Echo, secret: String?, timestamp: Int64, nonce: String, showHints: Bool, showDetails: Bool = false
    ) -> [UInt8] {
        let canonical = answer.canonicalText
        let sign = secret.map { secret in
            Signature.sign(toSign(answer, echo, timestamp, nonce, dataHash: Signature.hash(canonical: canonical)), secret: secret)
        }
        var out: [UInt8] = []
        out.reserveCapacity(canonical.count + 512)
        func text(_ name: StaticString, _ value: String) {
            append(name, to: &out)
            JSON.write(string: value, into: &out)
        }
        func number(_ name: StaticString, _ value: Int64) {
            append(name, to: &out)
            out.append(decimal: value)
        }
        text("{\"version\":", "1.0")
        text(",\"requestId\":", echo.requestId)
        text(",\"appId\":", echo.appId)
        text(",\"service\":", echo.service)
        if let parkCode = echo.parkCode { text(",\"parkCode\":", parkCode) }
        number(",\"timestamp\":", timestamp)
        text(",\"nonce\":", nonce)
        number(",\"code\":", Int64(answer.code))
        text(",\"message\":", answer.code == 0 ? "" : answer.resultCode.zh)
        let hints = [showHints ? answer.hint : "", showDetails ? answer.detail : ""].filter { !$0.isEmpty }
        if !hints.isEmpty { text(",\"hint\":", hints.joined(separator: "; ")) }
        if answer.duplicate { append(",\"duplicate\":true", to: &out) }
        if let epoch = answer.epoch { text(",\"epoch\":", epoch) }
        if let ackSeq = answer.ackSeq { number(",\"ackSeq\":", ackSeq) }
        append(",\"data\":", to: &out)
        out.append(contentsOf: canonical)
        text(",\"sign\":", sign ?? "")
        out.append(UInt8(ascii: "}"))
        return out
    }

    /// The string to sign of a reply, its members in the order of their bytes (section 3). Members that are "" are left out.
    private static func toSign(_ answer: Reply, _ echo: Echo, _ timestamp: Int64, _ nonce: String, dataHash: String) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(384)
        func text(_ name: StaticString, _ value: String) {
            guard !value.isEmpty else { return }
            append(name, to: &out)
            out.append(utf8: value)
        }
        func number(_ name: StaticString, _ value: Int64) {
            append(name, to: &out)
            out.append(decimal: value)
        }
        if let ackSeq = answer.ackSeq { number("&ackSeq=", ackSeq) }
        text("&appId=", echo.appId)
        number("&code=", Int64(answer.code))
        text("&data=", dataHash)
        if answer.duplicate { append("&duplicate=true", to: &out) }
        text("&epoch=", answer.epoch ?? "")
        text("&nonce=", nonce)
        text("&parkCode=", echo.parkCode ?? "")
        text("&requestId=", echo.requestId)
        text("&service=", echo.service)
        number("&timestamp=", timestamp)
        append("&version=1.0", to: &out)
        // The first member has no separator.
        out.removeFirst()
        return out
    }

    private static func append(_ text: StaticString, to out: inout [UInt8]) {
        out.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }
}

/// A reply as the caller reads it, its signature checked.
public struct ReplyEnvelope: Sendable {
    public let requestId: String
    public let service: String
    public let timestamp: Int64
    public let answer: Reply

    /// Reads and verifies; nil when it is not a reply signed with this secret.
    public init?(_ bytes: [UInt8], secret: String) {
        guard let members = try? JSON.parse(bytes).objectValue, let code = members["code"]?.intValue,
            let sign = members["sign"]?.stringValue,
            Signature.equal(Signature.sign(members, secret: secret), sign)
        else { return nil }
        requestId = members["requestId"]?.stringValue ?? ""
        service = members["service"]?.stringValue ?? ""
        timestamp = members["timestamp"]?.intValue ?? 0
        var answer = Reply(code: Int(code), data: members["data"] ?? [:])
        answer.duplicate = members["duplicate"]?.boolValue ?? false
        answer.epoch = members["epoch"]?.stringValue
        answer.ackSeq = members["ackSeq"]?.intValue
        answer.hint = members["hint"]?.stringValue ?? ""
        self.answer = answer
    }
}
