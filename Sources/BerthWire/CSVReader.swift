import Foundation

/// The bytes of a CSV file, as UTF-8 without a byte order mark.
///
/// Spreadsheets write UTF-8 with a mark, or GBK without one. A file that is not UTF-8 is read as GB18030, which contains GBK and GB 2312. A file
/// that is mostly UTF-8 was damaged, and is refused: as GB18030 its names would be other characters.
public struct CSVFile: Sendable {
    /// A file that cannot be read as a whole, and why.
    public struct Unreadable: Error, Equatable, CustomStringConvertible {
        public let description: String
    }

    /// The longest file, bytes. A lots file of 10,000 lots has about 1 MiB.
    public static let bytesMax = 64 << 20

    public let bytes: [UInt8]
    /// Whether the file was not UTF-8; the caller says so to people.
    public let isGB18030: Bool

    /// Reads a file, a pipe or a device, at most ``bytesMax`` bytes.
    public init(path: String) throws(Unreadable) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Unreadable(description: "\(path) cannot be read: \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = read(descriptor, &part, part.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Unreadable(description: "\(path) cannot be read: \(String(cString: strerror(errno)))") }
            if count == 0 { break }
            bytes.append(contentsOf: part[0..<count])
            guard bytes.count <= CSVFile.bytesMax else {
                throw Unreadable(description: "\(path) is longer than \(CSVFile.bytesMax >> 20) MiB")
            }
        }
        do { try self.init(bytes: bytes) } catch { throw Unreadable(description: "\(path): \(error.description)") }
    }

    public init(bytes: [UInt8]) throws(Unreadable) {
        guard bytes.count <= CSVFile.bytesMax else { throw Unreadable(description: "longer than \(CSVFile.bytesMax >> 20) MiB") }
        if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) {
            throw Unreadable(description: "the file is UTF-16; save it as UTF-8")
        }
        let hasMark = bytes.starts(with: [0xEF, 0xBB, 0xBF])
        let text = hasMark ? Array(bytes[3...]) : bytes
        if let zero = text.firstIndex(of: 0) {
            throw Unreadable(description: "line \(CSVFile.line(of: zero, in: text)): a zero byte; the file is not UTF-8 text")
        }
        let shape = CSVFile.shape(of: text)
        guard let fault = shape.fault else {
            self.bytes = text
            isGB18030 = false
            return
        }
        // Of the bytes of a GBK text, about a fifth look like UTF-8.
        guard !hasMark, shape.good < 4 * shape.bad else {
            throw Unreadable(description: "line \(CSVFile.line(of: fault, in: text)): damaged UTF-8; save the file as UTF-8 again")
        }
        self.bytes = try CSVFile.fromGB18030(text)
        isGB18030 = true
    }

    /// How many bytes belong to UTF-8 characters beyond ASCII, how many to none, and where the first of those is.
    private static func shape(of bytes: [UInt8]) -> (good: Int, bad: Int, fault: Int?) {
        var result: (good: Int, bad: Int, fault: Int?) = (0, 0, nil)
        bytes.withUnsafeBufferPointer { bytes in
            var index = 0
            while index < bytes.count {
                let lead = bytes[index]
                guard lead >= 0x80 else { index += 1; continue }
                // The second byte has its own range where the first would allow a longer form than needed, a surrogate, or more than U+10FFFF.
                let (length, second): (Int, ClosedRange<UInt8>) =
                    switch lead {
                    case 0xC2...0xDF: (2, 0x80...0xBF)
                    case 0xE0: (3, 0xA0...0xBF)
                    case 0xED: (3, 0x80...0x9F)
                    case 0xE1...0xEF: (3, 0x80...0xBF)
                    case 0xF0: (4, 0x90...0xBF)
                    case 0xF1...0xF3: (4, 0x80...0xBF)
                    case 0xF4: (4, 0x80...0x8F)
                    default: (0, 0x80...0xBF)
                    }
                let isWhole =
                    length > 0 && index + length <= bytes.count && second.contains(bytes[index + 1])
                    && (length < 3 || bytes[index + 2] & 0xC0 == 0x80) && (length < 4 || bytes[index + 3] & 0xC0 == 0x80)
                if isWhole {
                    result.good += length
                    index += length
                } else {
                    result.bad += 1
                    if result.fault == nil { result.fault = index }
                    index += 1
                }
            }
        }
        return result
    }

    /// The line on which a byte is, from 1.
    private static func line(of index: Int, in bytes: [UInt8]) -> Int { bytes[..<index].reduce(1) { $1 == 0x0A ? $0 + 1 : $0 } }

    private static func fromGB18030(_ bytes: [UInt8]) throws(Unreadable) -> [UInt8] {
        guard let converter = iconv_open("UTF-8", "GB18030"), converter != UnsafeMutableRawPointer(bitPattern: -1) else {
            throw Unreadable(description: "the file is not UTF-8, and this system cannot read GB18030; save it as UTF-8")
        }
        defer { iconv_close(converter) }
        var input = bytes.map { CChar(bitPattern: $0) }
        let total = input.count
        var result: [UInt8] = []
        result.reserveCapacity(total * 3 / 2)
        var part = [CChar](repeating: 0, count: 1 << 16)
        // The place at which the conversion stopped, when it did not reach the end.
        let fault: Int? = input.withUnsafeMutableBufferPointer { input in
            var next = input.baseAddress
            var left = total
            while left > 0 {
                let (made, reason): (Int, Int32) = part.withUnsafeMutableBufferPointer { part in
                    var out = part.baseAddress
                    var room = part.count
                    let status = iconv(converter, &next, &left, &out, &room)
                    let reason = status == -1 ? errno : 0
                    return (part.count - room, reason)
                }
                result.append(contentsOf: part[0..<made].map { UInt8(bitPattern: $0) })
                if reason != 0, reason != E2BIG { return total - left }
            }
            return nil
        }
        if let fault {
            throw Unreadable(description: "line \(line(of: fault, in: bytes)): neither UTF-8 nor GB18030; save the file as UTF-8")
        }
        return result
    }
}

/// Reads CSV as RFC 4180 has it: fields in quotes may contain commas, doubled quotes and line breaks; lines end with LF, CRLF or CR. White space
/// around a quoted field is ignored, empty lines are skipped.
///
/// A record that cannot be read is reported with its line, and reading goes on with the next line. One forgotten quote therefore
/// does not take the rest of the file along. Outside of quotes a quote may only begin a field. Each byte of any file is therefore looked at
/// a fixed number of times.
public struct CSVReader: Sequence, IteratorProtocol {
    public struct Limits: Sendable {
        /// One field, bytes.
        public var fieldBytes = 1 << 16
        /// Fields of one record.
        public var fields = 1_000
        /// One record, bytes.
        public var recordBytes = 1 << 20

        public init() {}
    }

    public struct Record: Sendable, Equatable {
        /// The line on which it begins, from 1.
        public let line: Int
        public let fields: [String]
    }

    public struct Fault: Error, Sendable, Equatable, CustomStringConvertible {
        public let line: Int
        public let reason: String
        public var description: String { "line \(line): \(reason)" }

        public init(line: Int, reason: String) {
            self.line = line
            self.reason = reason
        }
    }

    private let bytes: [UInt8]
    private let limits: Limits
    private var position = 0
    private var line = 1

    /// - Parameter bytes: UTF-8, as ``CSVFile`` has it.
    public init(_ bytes: [UInt8], limits: Limits = Limits()) {
        self.bytes = bytes
        self.limits = limits
    }

    private static let quote = UInt8(ascii: "\"")
    private static let comma = UInt8(ascii: ",")
    private static func endsLine(_ byte: UInt8) -> Bool { byte == 0x0A || byte == 0x0D }
    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    public mutating func next() -> Result<Record, Fault>? {
        while position < bytes.count {
            let (start, first) = (position, line)
            do throws(Fault) {
                let fields = try record(from: first)
                let isEmpty = fields.count == 1 && fields[0].utf8.allSatisfy(CSVReader.isBlank)
                if !isEmpty { return .success(Record(line: first, fields: fields)) }
            } catch {
                (position, line) = (start, first)
                skipLine()
                return .failure(error)
            }
        }
        return nil
    }

    /// The rest of the present line, however it is quoted.
    private mutating func skipLine() {
        while position < bytes.count, !CSVReader.endsLine(bytes[position]) { position += 1 }
        endLine()
    }

    /// Steps over one line end, if one is here.
    private mutating func endLine() {
        guard position < bytes.count, CSVReader.endsLine(bytes[position]) else { return }
        if bytes[position] == 0x0D, position + 1 < bytes.count, bytes[position + 1] == 0x0A { position += 1 }
        position += 1
        line += 1
    }

    private mutating func record(from first: Int) throws(Fault) -> [String] {
        var fields: [String] = []
        let start = position
        while true {
            var begin = position
            while begin < bytes.count, CSVReader.isBlank(bytes[begin]) { begin += 1 }
            if begin < bytes.count, bytes[begin] == CSVReader.quote {
                position = begin + 1
                fields.append(try quoted(first))
            } else {
                fields.append(try plain(first))
            }
            guard fields.count <= limits.fields else { throw Fault(line: first, reason: "more than \(limits.fields) fields") }
            guard position - start <= limits.recordBytes else {
                throw Fault(line: first, reason: "a record of more than \(limits.recordBytes) bytes, or a quote is not closed")
            }
            guard position < bytes.count, bytes[position] == CSVReader.comma else {
                endLine()
                return fields
            }
            position += 1
        }
    }

    /// A field without quotes; stops at the comma, line end or end of file behind it.
    private mutating func plain(_ first: Int) throws(Fault) -> String {
        let start = position
        while position < bytes.count, bytes[position] != CSVReader.comma, !CSVReader.endsLine(bytes[position]) {
            guard bytes[position] != CSVReader.quote else {
                throw Fault(line: first, reason: "a quote inside a field that does not begin with one")
            }
            position += 1
            guard position - start <= limits.fieldBytes else {
                throw Fault(line: first, reason: "a field of more than \(limits.fieldBytes) bytes")
            }
        }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    /// A field whose first quote is behind us.
    private mutating func quoted(_ first: Int) throws(Fault) -> String {
        var field: [UInt8] = []
        while position < bytes.count {
            let byte = bytes[position]
            if byte == CSVReader.quote {
                position += 1
                guard position < bytes.count, bytes[position] == CSVReader.quote else {
                    while position < bytes.count, CSVReader.isBlank(bytes[position]) { position += 1 }
                    guard position == bytes.count || bytes[position] == CSVReader.comma || CSVReader.endsLine(bytes[position]) else {
                        throw Fault(line: first, reason: "a quote is not closed, or a quote inside a field is not doubled")
                    }
                    return String(decoding: field, as: UTF8.self)
                }
                field.append(CSVReader.quote)
                position += 1
            } else {
                field.append(byte)
                if byte == 0x0A || (byte == 0x0D && !(position + 1 < bytes.count && bytes[position + 1] == 0x0A)) { line += 1 }
                position += 1
            }
            guard field.count <= limits.fieldBytes else {
                throw Fault(line: first, reason: "a field of more than \(limits.fieldBytes) bytes, or a quote is not closed")
            }
        }
        throw Fault(line: first, reason: "a quote is not closed")
    }
}

/// The value of a cell of a spreadsheet, read strictly: exponents, hexadecimal, "nan" and "inf" are no numbers of places or degrees.
public enum CSVValue {
    /// A whole number ≥ 0 as spreadsheets write it: `300`, `300.0`, `1,200`, `３００`. nil for everything else.
    public static func whole(_ text: String) -> Int? {
        guard text.utf8.count <= 128 else { return nil }
        var ascii: [UInt8] = []
        for scalar in text.trimmed.unicodeScalars {
            switch scalar.value {
            case 0x30...0x39, 0x2C, 0x2E: ascii.append(UInt8(scalar.value))
            // Full-width digits, comma and point.
            case 0xFF10...0xFF19, 0xFF0C, 0xFF0E: ascii.append(UInt8(scalar.value - 0xFEE0))
            default: return nil
            }
        }
        let parts = ascii.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count <= 2, parts.count == 1 || (!parts[1].isEmpty && parts[1].allSatisfy { $0 == UInt8(ascii: "0") }) else {
            return nil
        }
        let groups = parts[0].split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
        guard groups.count == 1 || ((1...3).contains(groups[0].count) && groups.dropFirst().allSatisfy { $0.count == 3 }) else {
            return nil
        }
        let digits = groups.joined()
        guard (1...15).contains(Array(digits).count) else { return nil }
        return digits.reduce(0) { $0 * 10 + Int($1) - 48 }
    }

    /// A plain decimal of at most three digits before the point and 20 behind it: `22.54`, `-0.5`. nil for everything else.
    public static func decimal(_ text: String) -> Double? {
        let text = text.trimmed
        guard text.utf8.count <= 32 else { return nil }
        let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        let whole = parts[0].first == UInt8(ascii: "-") ? parts[0].dropFirst() : parts[0]
        func areDigits(_ part: Substring.UTF8View) -> Bool { !part.isEmpty && part.allSatisfy { (48...57).contains($0) } }
        guard parts.count <= 2, areDigits(whole), whole.count <= 3, parts.count == 1 || (areDigits(parts[1]) && parts[1].count <= 20) else {
            return nil
        }
        return Double(text)
    }
}
