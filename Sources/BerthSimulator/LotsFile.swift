public import BerthWire
import Foundation

/// A file of real lots: CSV with the columns id, name, latitude, longitude, address and capacity, in any order; capacity may be empty, and other
/// columns are not looked at. A row that cannot be a lot is reported with its line and the reason.
public struct LotsFile: Sendable {
    public struct Row: Sendable, Equatable {
        public var id: String
        public var name: String
        public var latitude: String
        public var longitude: String
        public var address: String
        public var capacity: Int?
    }

    public struct Unreadable: Error, CustomStringConvertible { public let description: String }

    /// Longest name and address in Unicode scalars, as `lot.info.report` counts them (U03).
    static let nameMax = 64
    static let addressMax = 256
    /// Bad rows that are kept with their reason; later ones are only counted.
    static let badRowsKept = 100
    /// Good rows that a file may have.
    static let rowsMax = 200_000

    public private(set) var rows: [Row] = []
    /// The first bad rows, in the order of the file.
    public private(set) var badRows: [CSVReader.Fault] = []
    public private(set) var badRowCount = 0
    /// Whether the file was read as GB18030.
    public let isGB18030: Bool

    private static let columns = ["id", "name", "latitude", "longitude", "address", "capacity"]

    public init(file: String) throws {
        let csv: CSVFile
        do { csv = try CSVFile(path: file) } catch { throw Unreadable(description: error.description) }
        try self.init(csv, name: file)
    }

    public init(_ csv: CSVFile, name: String = "the file") throws {
        isGB18030 = csv.isGB18030
        var reader = CSVReader(csv.bytes)
        let header: CSVReader.Record
        switch reader.next() {
        case .success(let record): header = record
        case .failure(let fault): throw Unreadable(description: "\(name): \(fault)")
        case nil: throw Unreadable(description: "\(name) is empty")
        }
        let places = try LotsFile.places(header, name)
        var lines: [String: Int] = [:]
        while let next = reader.next() {
            guard rows.count < LotsFile.rowsMax else { throw Unreadable(description: "\(name) has more than \(LotsFile.rowsMax) lots") }
            do throws(CSVReader.Fault) {
                let record = try next.get()
                if record.fields.allSatisfy({ $0.allSatisfy(\.isWhitespace) }) { continue }
                let row = try LotsFile.row(record, places, count: header.fields.count)
                if let line = lines[row.id] {
                    throw CSVReader.Fault(line: record.line, reason: "id \(row.id) came before, on line \(line)")
                }
                lines[row.id] = record.line
                rows.append(row)
            } catch {
                badRowCount += 1
                if badRows.count < LotsFile.badRowsKept { badRows.append(error) }
            }
        }
    }

    /// The place of each column of ours in the file.
    private static func places(_ header: CSVReader.Record, _ name: String) throws -> [Int] {
        // Longer texts are names of none of ours; comparing them could take long.
        let names = header.fields.map { $0.utf8.count > 64 ? "" : $0.trimmingCharacters(in: .whitespacesAndNewlines).lowercased() }
        let missing = columns.filter { !names.contains($0) }
        guard missing.isEmpty else {
            throw Unreadable(
                description:
                    "\(name): the first line has no column \(missing.joined(separator: ", ")); expected are \(columns.joined(separator: ","))"
            )
        }
        if let twice = columns.first(where: { column in names.count(where: { $0 == column }) > 1 }) {
            throw Unreadable(description: "\(name): the first line has the column \(twice) twice")
        }
        return columns.compactMap { names.firstIndex(of: $0) }
    }

    private static func row(_ record: CSVReader.Record, _ places: [Int], count: Int) throws(CSVReader.Fault) -> Row {
        func wrong(_ reason: String) -> CSVReader.Fault { CSVReader.Fault(line: record.line, reason: reason) }
        guard record.fields.count == count else { throw wrong("\(record.fields.count) columns, \(count) expected") }
        let fields = places.map { record.fields[$0].trimmingCharacters(in: .whitespacesAndNewlines) }
        let id = fields[0]
        guard !id.isEmpty, Envelope.isParkCode("SZ" + id) else { throw wrong("id '\(excerpt(id))' cannot be a code") }
        let name = try text(fields[1], "name", max: nameMax, wrong)
        guard !name.isEmpty else { throw wrong("the name is empty") }
        let address = try text(fields[4], "address", max: addressMax, wrong)
        guard let latitude = CSVValue.decimal(fields[2]) else {
            throw wrong("latitude '\(excerpt(fields[2]))': a plain decimal number expected")
        }
        guard let longitude = CSVValue.decimal(fields[3]) else {
            throw wrong("longitude '\(excerpt(fields[3]))': a plain decimal number expected")
        }
        // China is between 3 and 54 degrees of latitude and 73 and 136 of longitude: the two ranges do not overlap.
        if (73...136).contains(latitude), (3...54).contains(longitude) {
            throw wrong("latitude \(fields[2]) and longitude \(fields[3]) are swapped")
        }
        guard abs(latitude) <= 90 else { throw wrong("latitude '\(fields[2])': -90 to 90 expected") }
        guard abs(longitude) <= 180 else { throw wrong("longitude '\(fields[3])': -180 to 180 expected") }
        guard latitude != 0 || longitude != 0 else { throw wrong("latitude 0 and longitude 0: the place is not known") }
        var capacity: Int?
        if !fields[5].isEmpty {
            guard let number = CSVValue.whole(fields[5]), (1...1_000_000).contains(number) else {
                throw wrong("capacity '\(excerpt(fields[5]))': a whole number from 1 to 1000000 expected")
            }
            capacity = number
        }
        return Row(
            id: id, name: name, latitude: String(format: "%.6f", latitude), longitude: String(format: "%.6f", longitude),
            address: address.isEmpty ? name : address, capacity: capacity)
    }

    /// A name or an address. A line break or a tab in it becomes a space; other control characters are refused, as the wire refuses them.
    private static func text(
        _ field: String, _ what: String, max: Int, _ wrong: (String) -> CSVReader.Fault
    ) throws(CSVReader.Fault) -> String {
        var scalars = String.UnicodeScalarView()
        for scalar in field.unicodeScalars {
            switch scalar.value {
            case 0x09, 0x0A, 0x0D, 0x85, 0x2028, 0x2029: if scalars.last != " " { scalars.append(" ") }
            case 0..<0x20, 0x7F..<0xA0:
                throw wrong("the \(what) holds the control character U+\(String(scalar.value, radix: 16, uppercase: true))")
            case 0xFFFD: throw wrong("the \(what) holds U+FFFD: the file was damaged when it was converted")
            default: scalars.append(scalar)
            }
        }
        guard scalars.count <= max else { throw wrong("the \(what) has \(scalars.count) characters, at most \(max) are allowed") }
        return String(scalars)
    }

    /// The part of a cell that is shown; a cell may be long or hold anything.
    private static func excerpt(_ field: String) -> String {
        let printable = field.unicodeScalars.prefix(40).map { $0.value < 0x20 || (0x7F..<0xA0).contains($0.value) ? " " : $0 }
        var text = String.UnicodeScalarView()
        text.append(contentsOf: printable)
        return String(text) + (field.unicodeScalars.count > 40 ? "…" : "")
    }
}
