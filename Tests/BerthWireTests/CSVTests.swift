import BerthWire
import Foundation
import Testing

@Suite struct CSVTests {
    private func rows(_ text: String) throws -> [String] { try rows(Array(text.utf8)) }

    /// Records as `line:field|field`, faults as `line!reason`.
    private func rows(_ bytes: [UInt8]) throws -> [String] {
        CSVReader(try CSVFile(bytes: bytes).bytes).map { next in
            switch next {
            case .success(let record): "\(record.line):\(record.fields.joined(separator: "|"))"
            case .failure(let fault): "\(fault.line)!\(fault.reason)"
            }
        }
    }

    @Test func theFormsThatProgramsWrite() throws {
        let expected = ["1:id|name", "2:1|甲"]
        #expect(try rows("id,name\n1,甲\n") == expected)
        #expect(try rows("id,name\r\n1,甲\r\n") == expected)
        #expect(try rows("id,name\r1,甲") == expected)
        #expect(try rows("\u{FEFF}\"id\",\"name\"\r\n\"1\",\"甲\"\r\n") == expected)
        #expect(try rows("\"id\" , \"name\"\n1,甲\n\n   \n") == expected)
        #expect(try rows("") == [] && rows("\n\r\n\r") == [])
        #expect(try rows(",\na,") == ["1:|", "2:a|"])
    }

    /// RFC 4180, section 2, points 5 to 7.
    @Test func quotedFields() throws {
        #expect(try rows("1,\"a, b\"\n2,\"say \"\"no\"\"\"\n") == ["1:1|a, b", "2:2|say \"no\""])
        #expect(try rows("\"一\r\n二\n三\",x\r\nafter,y") == ["1:一\r\n二\n三|x", "4:after|y"])
        #expect(try rows("\"\",\"\"\"\"\n") == ["1:|\""])
    }

    /// One forgotten quote does not take the good rows behind it along.
    @Test func aBadRecordEndsWithItsLine() throws {
        #expect(try rows("1,a\n2,\"open\n3,c\n4,d") == ["1:1|a", "2!a quote is not closed", "3:3|c", "4:4|d"])
        #expect(try rows("1,\"open\n2,\"b\"\n3,c").map { $0.prefix(2) } == ["1!", "2:", "3:"])
        #expect(try rows("1,5\" disk\n2,b") == ["1!a quote inside a field that does not begin with one", "2:2|b"])
        var limits = CSVReader.Limits()
        limits.fieldBytes = 10
        limits.fields = 3
        let long = CSVReader(Array("12345678901,x\na,b,c,d\n\"1\n2345678901\n5,ok".utf8), limits: limits).map { next in
            switch next {
            case .success(let record): record.line
            case .failure(let fault): -fault.line
            }
        }
        #expect(long == [-1, -2, -3, 4, 5])
    }

    @Test func gb18030IsReadAndSaid() throws {
        // 1,中文停车场 in GBK.
        let gbk: [UInt8] = [0x31, 0x2C, 0xD6, 0xD0, 0xCE, 0xC4, 0xCD, 0xA3, 0xB3, 0xB5, 0xB3, 0xA1, 0x0D, 0x0A]
        let file = try CSVFile(bytes: gbk)
        #expect(file.isGB18030 && String(decoding: file.bytes, as: UTF8.self) == "1,中文停车场\r\n")
        #expect(try !CSVFile(bytes: Array("1,中文停车场".utf8)).isGB18030)
        #expect(try rows(gbk) == ["1:1|中文停车场"])
        // Four bytes: 𠮷, U+20BB7.
        #expect(try rows([0x95, 0x34, 0xB2, 0x35]) == ["1:𠮷"])
    }

    /// A file that cannot be read right is refused: a name with U+FFFD, or in other characters, is worse than none.
    @Test(
        arguments: [
            [0xFF, 0xFE, 0x31, 0x00], [0xFE, 0xFF, 0x00, 0x31], [0x31, 0x00, 0x32], [0x41, 0x0A, 0x80, 0xFF, 0x0A],
            // UTF-8 with one byte missing, and with a mark.
            Array("停车场停车场\n停车场".utf8) + [0xE5, 0x81, 0x0A], [0xEF, 0xBB, 0xBF, 0xD6, 0xD0],
        ] as [[UInt8]])
    func whatIsNoTextIsRefused(_ bytes: [UInt8]) {
        #expect(throws: CSVFile.Unreadable.self) { try CSVFile(bytes: bytes) }
    }

    @Test func wholeNumbersOfSpreadsheets() {
        let right = [("300", 300), ("300.0", 300), ("1,200", 1200), ("1,234,567.00", 1_234_567), ("３００", 300), (" 0 ", 0), ("１，２００", 1200)]
        for (text, number) in right {
            #expect(CSVValue.whole(text) == number, "\(text)")
        }
        let wrong = [
            "", "-5", "+5", "1e3", "nan", "inf", "0x10", "1,20", "1200,", ",200", "1.5", ".0", "5.", "1 200", "٣٠٠", "9999999999999999",
            "1,2000", "五", String(repeating: "9", count: 100_000),
        ]
        for text in wrong { #expect(CSVValue.whole(text) == nil, "\(text.prefix(20))") }
    }

    @Test func degrees() {
        for (text, number) in [("22.54", 22.54), ("-0.5", -0.5), ("114", 114.0), (" 22.5 ", 22.5)] {
            #expect(CSVValue.decimal(text) == number)
        }
        for text in ["", "nan", "-inf", "infinity", "0x16.8", "22.54N", "1e2", "1234", ".5", "5.", "+5", "22,5", "２２", "22.5.1", "--1"] {
            #expect(CSVValue.decimal(text) == nil, "\(text)")
        }
    }

    /// Each byte of a file is looked at a fixed number of times, for any content.
    @Test func adversarialFilesTakeAsLongAsOrdinaryOnes() throws {
        let size = 1 << 18
        func time(_ unit: String) throws -> Duration {
            let bytes = Array(String(repeating: unit, count: size / unit.utf8.count).utf8)
            // Of this thread alone: what else the machine does costs nothing here.
            func spent() -> Duration {
                var time = timespec()
                clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
                return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
            }
            let start = spent()
            var count = 0
            for _ in CSVReader(try CSVFile(bytes: bytes).bytes) { count += 1 }
            #expect(count <= size)
            return spent() - start
        }
        let ordinary = try time("1,停车场,22.5,114.0,地址,100\n")
        for unit in [
            "a\",\"b\n", "\",\"\n", "\"x\n", ",\",\"\n", "\"\"\"\"\n", "\",\n", "\"a\"\"b\n", "\n", "\"", ",",
            "x" + String(repeating: "\u{301}", count: 999) + "\n", "\"" + String(repeating: "\"\"", count: 500) + "\n",
        ] {
            let taken = try time(unit)
            #expect(taken < ordinary * 40 + .milliseconds(500), "\(unit.prefix(12).debugDescription): \(taken) beside \(ordinary)")
        }
    }
}

@Suite struct LotCodeTests {
    @Test func checkDigits() throws {
        // ISO 7064 MOD 11,10: the standard's example, and the vectors of public implementations.
        #expect(LotCode.checkDigit(of: "0794") == 5 && LotCode.checkDigit(of: "00200667308") == 5)
        #expect(LotCode.checkDigit(of: "") == nil && LotCode.checkDigit(of: "07a4") == nil && LotCode.checkDigit(of: "０") == nil)
    }

    @Test func codes() throws {
        let code = try LotCode.make(region: "440305", street: "001", lotClass: "1", serial: 12)
        #expect(code == "440305001100123" && LotCode.fault(of: code) == nil)
        for wrong in [
            "", "440305001100124", "44030500110012", "4403050011001233", "44030500110012x", "４４０３０５００１１００１２３", "440305 01100123",
        ] {
            #expect(LotCode.fault(of: wrong) != nil, "\(wrong)")
        }
        // MOD 11,10 finds every single wrong digit.
        for index in 0..<15 {
            for digit in "0123456789" {
                var changed = Array(code)
                guard changed[index] != digit else { continue }
                changed[index] = digit
                #expect(LotCode.fault(of: String(changed)) != nil)
            }
        }
        for (region, street, lotClass, serial) in [
            ("44030", "001", "1", 1), ("440305", "1", "1", 1), ("440305", "001", "11", 1), ("440305", "001", "1", -1),
            ("440305", "001", "1", 10_000), ("44030x", "001", "1", 1), ("440305", "０１", "1", 1),
        ] {
            #expect(throws: LotCode.Invalid.self) { try LotCode.make(region: region, street: street, lotClass: lotClass, serial: serial) }
        }
    }
}
