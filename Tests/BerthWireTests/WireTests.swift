import BerthCore
import BerthWire
import Testing

@Suite struct SignatureTests {
    static let secret = "k7Qd2vXw9ZtY4mNb8RsC1pLf6HjA3eUg"
    static func push(_ extra: [(String, JSON)] = []) -> JSONObject {
        JSONObject(
            [
                ("appId", "sz10000001"), ("nonce", "9f86d081884c7d65"), ("parkCode", "440305000000001"),
                ("requestId", "0f8fad5b-d9cb-469f-a165-70867728950e"), ("service", "order.reserve.push"),
                ("timestamp", 1_677_628_500_000), ("version", "1.0"),
                (
                    "data",
                    [
                        "plateNo": "粤B12345", "plateColor": 0, "orderNo": "YY202303010000000001", "enterStart": 1_677_628_800_000,
                        "enterEnd": 1_677_632_400_000, "bizType": 1,
                    ]
                ),
            ] + extra)
    }

    /// The vectors of section 3, to the letter.
    @Test func vectors() {
        let envelope = SignatureTests.push()
        #expect(
            envelope["data"]!.canonicalString
                == #"{"bizType":1,"enterEnd":1677632400000,"enterStart":1677628800000,"orderNo":"YY202303010000000001","plateColor":0,"plateNo":"粤B12345"}"#
        )
        let hash = Signature.dataHash(envelope["data"])
        #expect(hash == "be1ab31c11fd4bdc2f59783bd6cf1249a95b68ec4e5c26287999d75c54cdab21")
        #expect(
            Signature.stringToSign(envelope, dataHash: hash)
                == "appId=sz10000001&data=be1ab31c11fd4bdc2f59783bd6cf1249a95b68ec4e5c26287999d75c54cdab21&nonce=9f86d081884c7d65&parkCode=440305000000001&requestId=0f8fad5b-d9cb-469f-a165-70867728950e&service=order.reserve.push&timestamp=1677628500000&version=1.0"
        )
        #expect(
            Signature.sign(envelope, secret: SignatureTests.secret) == "41d32f67885260af7e4168bcd75a6210327cff55f529168a39cbec502280358d")
        #expect(
            Signature.sign(SignatureTests.push([("epoch", "d1"), ("seq", 1)]), secret: SignatureTests.secret)
                == "9f1d81c60b22ff052ca829cf994f4653fb1627d1e5713bd56f0433ec59c5eea3")
        #expect(Signature.dataHash(nil) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
        let reply = JSONObject([
            ("appId", "sz10000001"), ("requestId", "0f8fad5b-d9cb-469f-a165-70867728950e"), ("parkCode", "440305000000001"),
            ("service", "order.reserve.push"), ("version", "1.0"), ("timestamp", 1_677_628_500_123),
            ("nonce", "0a1b2c3d4e5f6071"), ("code", 0), ("message", ""), ("duplicate", true), ("epoch", "d1"), ("ackSeq", 1),
            ("data", ["accepted": true]),
        ])
        #expect(Signature.sign(reply, secret: SignatureTests.secret) == "1d94e7b20c642d8a4c45ad6828054a619afc3ee4fabf0b22647862691b67b0e9")
    }

    @Test func passwordVector() {
        let id = MQTTIdentity.clientId(appId: "sz10000001", role: .lot, parkCode: "440305000000001")
        #expect(
            MQTTIdentity.staticPassword(secret: SignatureTests.secret, clientId: id)
                == "bdf9d649d93a2fc75cf07aaba77ee92fa9d705800952a810585f1aee9701efc1")
    }

    /// Any single change of what is signed breaks the signature.
    @Test func everyMemberIsSigned() {
        let good = Signature.sign(SignatureTests.push(), secret: SignatureTests.secret)
        for member in SignatureTests.push().members {
            var changed = SignatureTests.push()
            changed[member.name] = member.name == "data" ? ["x": 1] : "changed"
            #expect(Signature.sign(changed, secret: SignatureTests.secret) != good)
        }
        #expect(
            Signature.sign(SignatureTests.push([("message", "m"), ("hint", "h"), ("x", .null), ("y", "")]), secret: SignatureTests.secret)
                == good)
    }
}

@Suite struct JSONTests {
    private func parse(_ text: String) throws(JSONError) -> JSON { try JSON.parse(Array(text.utf8)) }

    @Test(arguments: [
        "", " ", "{", "[1,]", "{\"a\":1,}", "nul", "01", "+1", "1.", ".5", "1e", "\"\\x\"", "\"\\ud800\"", "\"\\udc00\"", "\"\u{1}\"",
        "{\"a\":1,\"a\":2}", "[1] 2", "{a:1}", "'a'", "\"\\u12\"",
    ])
    func malformed(_ text: String) { #expect(throws: JSONError.self) { try parse(text) } }

    @Test(arguments: ["1.5", "1e3", "-0", "9007199254740992", "-9007199254740992", "123456789012345678901234567890", "[1,{\"a\":2.0}]"])
    func illegalNumbers(_ text: String) { #expect(throws: JSONError.illegalNumber) { try parse(text) } }

    @Test func whatIsNoJSONIsWorseThanAFraction() {
        #expect(throws: JSONError.malformed("unexpected end")) { try parse("[1.5") }
    }

    @Test func depth() throws {
        _ = try parse(String(repeating: "[", count: 32) + String(repeating: "]", count: 32))
        #expect(throws: JSONError.self) { try parse(String(repeating: "[", count: 33) + String(repeating: "]", count: 33)) }
        #expect(throws: JSONError.self) { try parse(String(repeating: "[", count: 100_000)) }
    }

    @Test func manyKeysStayUnique() throws {
        let many = (0..<100).map { "\"k\($0)\":\($0)" }.joined(separator: ",")
        #expect(try parse("{\(many)}").objectValue?.members.count == 100)
        #expect(throws: JSONError.self) { try parse("{\(many),\"k7\":1}") }
    }

    @Test func canonicalForm() throws {
        // Sorted by UTF-16 code unit: U+1F600 (a surrogate pair, D83D…) comes before U+FB01, though not in UTF-8.
        #expect(
            try parse(#"{"ﬁ":1,"😀":2,"b":{"z":null,"a":[true,false]},"a":"x\"\\\n\u0001é"}"#).canonicalString
                == "{\"a\":\"x\\\"\\\\\\n\\u0001é\",\"b\":{\"a\":[true,false],\"z\":null},\"😀\":2,\"ﬁ\":1}")
    }

    @Test func aTextReadBackIsTheSame() throws {
        let text = #"{"a":[1,-2,"x\ty",null,true,{"中文":"泊位"}],"b":9007199254740991}"#
        #expect(try parse(text).string == text)
    }

    /// Bytes that are no text at all never crash the reader.
    @Test func noise() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0...40)).map { _ in "{}[]\",:\\u0123456789.eE-+ tfn\u{FF}".utf8.randomElement(using: &random)! }
            _ = try? JSON.parse(bytes)
        }
    }
}

@Suite struct DictionaryTests {
    /// One row for each refusal of the rules, each code once, each with words in both languages.
    @Test func everyRefusalHasItsRow() {
        for refusal in Rejection.allCases { #expect(Dialect.current.codesByName[refusal.rawValue] != nil, "\(refusal)") }
        let codes = Dialect.current.codes.values
        #expect(codes.allSatisfy { !$0.zh.isEmpty && !$0.en.isEmpty && !$0.retry.isEmpty })
        #expect(Set(codes.map(\.name)).count == codes.count)
        #expect(codes.count >= 100 && Dialect.current.events.count >= 60)
    }

    @Test func httpStatusByRule() {
        func status(_ code: Int) -> Int { Dialect.current.codes[code]!.httpStatus }
        let table: [(Int, [Int])] = [
            (200, [0, 611]), (400, [100, 101, 102, 103, 105]), (413, [104, 701]), (401, [200, 201, 202, 203, 206, 208]),
            (403, [204, 205, 207]), (429, [300, 301, 302]), (404, [400]), (409, [402, 403, 404, 602, 610, 612, 613, 700, 702]),
            (500, [1, 500]), (503, [501, 502, 503, 600, 601]), (422, [603, 1000, 1101, 1504]),
        ]
        for (http, codes) in table { for code in codes { #expect(status(code) == http, "\(code)") } }
    }

    @Test func whatIsNotFinalIsNotConsumed() {
        let open = Dialect.current.codes.values.filter { !$0.isFinal }.map(\.code).sorted()
        #expect(open == [200, 201, 202, 203, 204, 205, 206, 207, 208, 300, 301, 302, 500, 501, 502, 503, 610, 612, 613])
    }

    /// Section 9 whole: U01 to U25, D01 to D23, A01 to A19, and nothing twice.
    @Test func theCatalogueIsWhole() {
        let catalogue = Dialect.current.catalogue
        let numbered = [("U", 25), ("D", 23), ("A", 19)].flatMap { letter, last in
            (1...last).map { letter + ($0 < 10 ? "0" : "") + String($0) }
        }
        #expect(Set(catalogue.map(\.id)).isSuperset(of: numbered))
        #expect(Set(catalogue.map(\.name)).count == catalogue.count)
        #expect(catalogue.allSatisfy { !$0.roles.isEmpty })
    }
}

@Suite struct TopicTests {
    @Test func uplinks() {
        #expect(Topic.parseUplink("rsp/v1/P1/up/vehicle.entry.report") == .service(parkCode: "P1", service: "vehicle.entry.report"))
        #expect(Topic.parseUplink("rsp/v1/P1/up/reply") == .reply(parkCode: "P1"))
        #expect(Topic.parseUplink("rsp/v1/P1/up/status") == .presence(parkCode: "P1"))
        #expect(Topic.parseUplink("rsp/v1/_cloud/app/status") == .cloudPresence(appId: "app"))
        for topic in ["rsp/v1/P1/down/x", "rsp/v1/P1/up", "x", "rsp/v1/P1/up/a/b"] { #expect(Topic.parseUplink(topic) == nil) }
    }
}

@Suite struct IdentityTests {
    static let secret = "k7Qd2vXw9ZtY4mNb8RsC1pLf6HjA3eUg"
    static let now: Int64 = 1_677_628_500_000  // 2023-03-01 in the hour 23 UTC of the day before

    /// Section 4: the three password modes, and the hour that the stamp must be near.
    @Test func passwordModes() {
        let plain = "sz10000001_440305000000001"
        let credential = Credential(appId: "sz10000001", secret: IdentityTests.secret, role: .lot, name: "", parkCodes: ["440305000000001"])
        #expect(
            MQTTIdentity.hourlyPassword(
                secret: credential.secret, clientId: plain + "_2023030100", username: "sz10000001", stamp: "2023030100")
                == "202b7fe01af0fef8f71819dd1b315c324110f4dfcd060faada54e9613b6aff24")
        #expect(
            MQTTIdentity.huaweiPassword(secret: credential.secret, stamp: "2023030100")
                == "9ba6478e44f61a319f125452ff2c3b8454081fa877040768c4af1e1e9f4cc9ff")
        let noon: Int64 = 1_677_672_000_000  // 2023-03-01 12:00 UTC
        func admits(_ stamp: String, _ password: String? = nil) -> Bool {
            MQTTIdentity.admits(
                credential, clientId: plain + "_" + stamp,
                password: password ?? MQTTIdentity.huaweiPassword(secret: credential.secret, stamp: stamp), now: noon)
        }
        #expect(admits("2023030112") && admits("2023030111") && admits("2023030113"))
        for stamp in ["2023030110", "2023030114", "2022030112", "2023130112", "2023030124", "20230301", "x023030112"] {
            #expect(!admits(stamp))
        }
        #expect(!admits("2023030112", "0"))
        #expect(
            MQTTIdentity.admits(
                credential, clientId: plain, password: MQTTIdentity.staticPassword(secret: credential.secret, clientId: plain), now: noon))
    }

    /// Section 3: two secrets during a rotation, 208 after the old one's time.
    @Test func rotation() throws {
        var credential = Credential(appId: "sz10000001", secret: "old", role: .lot, name: "", parkCodes: ["P1"])
        credential.rotate(to: "new")
        #expect(credential.secret == "old", "pushes keep the old one")
        credential.takeUpNextSecret(until: 1000)
        #expect(credential.secret == "new" && credential.previousSecret == "old" && credential.previousUntil == 1000)
        #expect(Credential(record: credential.record) == credential)
    }

    /// Section 12.
    @Test func redirectVectors() {
        var members = [
            ("appId", "sz10000001"), ("nonce", "9f86d081884c7d65"), ("orderNo", "YY202303010000000001"), ("parkCode", "440305000000001"),
            ("plateNo", "粤B12345"), ("scene", "PAY"), ("timestamp", "1677628500000"),
        ]
        #expect(Redirect.sign(members, secret: IdentityTests.secret) == "489e262119bb5a15aecd48e26e1fbcf821336978e4c03f98331a840a554a142b")
        members[5].1 = "ORDER"
        members.append(("returnUrl", "https://app.example/back?x=1&y=2"))
        #expect(Redirect.sign(members, secret: IdentityTests.secret) == "4c086859c4352b8f160a088c85a0eb81f70d2f40b6c1e43a653c763c151545e9")
        #expect(Redirect.isReturn("https://app.example/x", to: ["app.example"]))
        for url in [
            "http://app.example/", "https://app.example@evil.example/", "https://evil.example\\@app.example/", "//app.example/", "",
        ] {
            #expect(!Redirect.isReturn(url, to: ["app.example"]), "\(url)")
        }
    }

    @Test func topicRights() {
        let lot = Credential(appId: "lt1", secret: "s", role: .lot, name: "", parkCodes: ["P1"])
        #expect(
            MQTTIdentity.mayUse(lot, topic: "rsp/v1/P1/up/x", isPublish: true)
                && MQTTIdentity.mayUse(lot, topic: "rsp/v1/P1/down/#", isPublish: false))
        #expect(
            !MQTTIdentity.mayUse(lot, topic: "rsp/v1/P1/up/x", isPublish: false)
                && !MQTTIdentity.mayUse(lot, topic: "rsp/v1/P2/up/x", isPublish: true))
        #expect(
            !MQTTIdentity.mayUse(lot, topic: "rsp/v1/P1/up/#", isPublish: true) && !MQTTIdentity.mayUse(lot, topic: "#", isPublish: false))
    }

    /// Annex A is whole: every business has items, and what a message proves names its service.
    @Test func theChecklist() {
        let items = Dialect.current.checklist
        #expect(Set(items.map(\.id)).count == items.count)
        for purpose in Purpose.allCases { #expect(items.contains { $0.purposes.contains(purpose) }) }
        for item in items where item.proof == .message { #expect(Dialect.current.services[item.service] != nil, "\(item.id)") }
    }

    /// The tables name only colours of the wire, and the first is the wire's own.
    @Test func theTablesOfColours() {
        let tables = Dialect.current.plateColors
        #expect(Set(tables[0].rows.map(\.theirs)) == Set(Plate.colors.map { String($0) }))
        for table in tables {
            #expect(Set(table.rows.map(\.theirs)).count == table.rows.count)
            for row in table.rows { #expect(!row.ours.isEmpty && row.ours.allSatisfy { Plate.colors.contains(Int64($0)) }) }
        }
    }

    /// Rows of section 15.2; black and white change places between the tables, and a green of no kind is the green of its plate.
    @Test(arguments: [
        ("bl", "2", "粤B12345", 3), ("bl", "3", "粤B12345", 2), ("bl", "7", "粤B12345", 9), ("4p", "-1", "粤B12345", 9),
        ("4p", "1", "粤B12345", 0),
        ("4p", "4", "粤B12345", 2), ("4p", "5", "粤BD12345", 4), ("4p", "5", "粤B12345D", 5), ("hikvision", "3", "粤Z1234港", 2),
        ("hikvision", "5", "民航B1234", 2), ("hikvision", "255", "粤B12345", 9), ("wp3", "PLATE_COLOR_YELLOW_GREEN", "粤B12345D", 5),
        ("berth", "12", "粤B12345", 12),
    ])
    func aColourOfAnotherSystem(table: String, theirs: String, plate: String, wire: Int) throws {
        let table = try #require(Dialect.current.plateColors.first { $0.name == table })
        let code = Int64(theirs).map { JSON.int($0) } ?? .string(theirs)
        #expect(table.wireCode(code, plate: Plate(reading: plate)) == wire)
    }

    @Test(arguments: [JSON.int(Int64(8)), .string("blue"), .string(""), .null, .bool(true), [:], .int(Int64.min)])
    func aColourThatATableDoesNotHave(theirs: JSON) {
        for table in Dialect.current.plateColors { #expect(table.wireCode(theirs, plate: nil) == nil) }
    }
}
