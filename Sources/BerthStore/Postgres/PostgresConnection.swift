import CPostgres
import Foundation

/// Why PostgreSQL did not do what it was asked.
struct PostgresFailure: Error {
    /// Five characters of the SQL standard or of PostgreSQL; empty where the connection itself failed.
    var state = ""
    var message: String
    /// The connection is gone, or leads to a server that takes no writes any more.
    var isBroken = false

    /// The ending of a term: another server leads the city.
    static let fenced = "BF001"
    /// A counted claim was over its maximum.
    static let overMaximum = "BF002"

    var storeError: StoreError {
        switch state {
        case PostgresFailure.fenced: .fenced(message)
        case PostgresFailure.overMaximum, "23505", "23514": .claimRefused(message)
        case "53100": .full
        case "58030", "XX001", "XX002": .disk(message)
        default: .unavailable("PostgreSQL: \(message)")
        }
    }
}

/// A parameter of a statement, in PostgreSQL's binary form.
enum PostgresValue {
    /// Typed: a statement is prepared once, whatever its parameters are.
    case null(PostgresType.Element)
    case int(Int64)
    case text(String)
    case bytes([UInt8])
    case array(PostgresArray)

    fileprivate var type: Oid {
        switch self {
        case .null(let type): type.oid
        case .text: PostgresType.text
        case .int: PostgresType.int8
        case .bytes: PostgresType.bytea
        case .array(let array): array.type.array
        }
    }

    fileprivate var length: Int {
        switch self {
        case .null, .int: 8
        case .text(let text): text.utf8.count
        case .bytes(let bytes): bytes.count
        case .array(let array): array.length
        }
    }

    static func optional(_ value: String?) -> PostgresValue { value.map { .text($0) } ?? .null(.text) }
    static func optional(_ value: Int64?) -> PostgresValue { value.map { .int($0) } ?? .null(.int8) }
}

/// Numbers of PostgreSQL's own types (`pg_type.dat`).
enum PostgresType {
    static let int8: Oid = 20
    static let text: Oid = 25
    static let bytea: Oid = 17

    enum Element {
        case int8, text, bytea

        var oid: Oid {
            switch self {
            case .int8: PostgresType.int8
            case .text: PostgresType.text
            case .bytea: PostgresType.bytea
            }
        }
        var array: Oid {
            switch self {
            case .int8: 1016
            case .text: 1009
            case .bytea: 1001
            }
        }
    }
}

/// A column of many rows, as one parameter: `unnest` makes rows of it.
struct PostgresArray {
    let type: PostgresType.Element
    private(set) var count = 0
    private var body: [UInt8] = []

    /// Bytes on the wire, nearly.
    var length: Int { body.count + 20 }

    init(_ type: PostgresType.Element) { self.type = type }

    init(_ values: [String]) {
        self.init(.text)
        for value in values { append(value) }
    }

    init(_ values: [Int64]) {
        self.init(.int8)
        for value in values { append(value) }
    }

    mutating func append(_ value: Int64) {
        count += 1
        PostgresArray.add(8, to: &body)
        withUnsafeBytes(of: value.bigEndian) { body.append(contentsOf: $0) }
    }

    mutating func append(_ value: String) { append(text: Array(value.utf8)) }

    mutating func append(_ value: String?) { if let value { append(value) } else { appendNull() } }
    mutating func append(_ value: Int64?) { if let value { append(value) } else { appendNull() } }

    mutating func append(bytes: some Collection<UInt8>) {
        count += 1
        PostgresArray.add(Int32(clamping: bytes.count), to: &body)
        body.append(contentsOf: bytes)
    }

    /// PostgreSQL's texts have no NUL: the sign for a character that cannot be shown takes its place.
    mutating func append(text: some Collection<UInt8>) {
        append(bytes: text.contains(0) ? PostgresArray.withoutNul(text) : Array(text))
    }

    static func withoutNul(_ text: some Collection<UInt8>) -> [UInt8] { text.flatMap { $0 == 0 ? [0xEF, 0xBF, 0xBD] : [$0] } }

    mutating func append(_ value: PostgresValue) {
        switch value {
        case .null: appendNull()
        case .int(let number): append(number)
        case .text(let text): append(text)
        case .bytes(let bytes): append(bytes: bytes)
        case .array: preconditionFailure("an array is no element")
        }
    }

    private mutating func appendNull() {
        count += 1
        PostgresArray.add(-1, to: &body)
    }

    private static func add(_ value: Int32, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }

    /// Dimensions, whether there are NULLs, type of the elements, length and lower bound, then the elements.
    fileprivate func write(to bytes: inout [UInt8]) {
        PostgresArray.add(count == 0 ? 0 : 1, to: &bytes)
        PostgresArray.add(1, to: &bytes)
        PostgresArray.add(Int32(type.oid), to: &bytes)
        guard count > 0 else { return }
        PostgresArray.add(Int32(clamping: count), to: &bytes)
        PostgresArray.add(1, to: &bytes)
        bytes.append(contentsOf: body)
    }
}

/// The rows of an answer, in binary form.
final class PostgresResult {
    private let pointer: OpaquePointer
    fileprivate init(_ pointer: OpaquePointer) { self.pointer = pointer }
    deinit { PQclear(pointer) }

    var count: Int { Int(PQntuples(pointer)) }
    /// Rows that a statement changed.
    var changed: Int { Int(String(cString: PQcmdTuples(pointer))) ?? 0 }
    var rows: [PostgresRow] { (0..<count).map { PostgresRow(result: self, index: Int32($0)) } }
    var first: PostgresRow? { count > 0 ? PostgresRow(result: self, index: 0) : nil }

    fileprivate var status: ExecStatusType { PQresultStatus(pointer) }

    fileprivate func bytes(_ row: Int32, _ column: Int32) -> UnsafeBufferPointer<UInt8>? {
        guard PQgetisnull(pointer, row, column) == 0, let start = PQgetvalue(pointer, row, column) else { return nil }
        return start.withMemoryRebound(to: UInt8.self, capacity: 1) {
            UnsafeBufferPointer(start: $0, count: Int(PQgetlength(pointer, row, column)))
        }
    }

    fileprivate func failure(_ connection: OpaquePointer) -> PostgresFailure {
        func field(_ name: Character) -> String? {
            PQresultErrorField(pointer, Int32(name.asciiValue ?? 0)).map { String(cString: $0) }
        }
        let state = field("C") ?? ""
        let message = field("M") ?? PostgresConnection.line(PQerrorMessage(connection))
        // No state: libpq itself says that the connection is gone. 57P01 to 57P03: the server ends or starts; 25006: it has become a standby.
        // A server that gives the connection up, or itself (FATAL, PANIC), does not say what became of a commit.
        let severity = field("V") ?? ""
        let isBroken =
            state.isEmpty || PQstatus(connection) != CONNECTION_OK || ["FATAL", "PANIC"].contains(severity) || state.hasPrefix("57P")
            || state.hasPrefix("08") || state == "25006"
        return PostgresFailure(state: state, message: message, isBroken: isBroken)
    }
}

/// One row. A column of another type than was asked for is an error: the schema is not what this release made.
struct PostgresRow {
    fileprivate let result: PostgresResult
    fileprivate let index: Int32

    func isNull(_ column: Int) -> Bool { result.bytes(index, Int32(column)) == nil }

    func int<Value: FixedWidthInteger>(_ column: Int) throws -> Value {
        guard let bytes = result.bytes(index, Int32(column)), [1, 2, 4, 8].contains(bytes.count) else { throw unreadable(column) }
        var number: Int64 = bytes.count == 1 ? 0 : Int64(Int8(bitPattern: bytes[0]) < 0 ? -1 : 0)
        for byte in bytes { number = number << 8 | Int64(byte) }
        guard let value = Value(exactly: number) else { throw unreadable(column) }
        return value
    }

    func flag(_ column: Int) throws -> Bool { try int(column) as Int64 != 0 }

    func bytes(_ column: Int) throws -> [UInt8] {
        guard let bytes = result.bytes(index, Int32(column)) else { throw unreadable(column) }
        return Array(bytes)
    }

    func text(_ column: Int) throws -> String {
        guard let bytes = result.bytes(index, Int32(column)) else { throw unreadable(column) }
        return String(decoding: bytes, as: UTF8.self)
    }

    func optionalInt(_ column: Int) throws -> Int64? { isNull(column) ? nil : try int(column) }
    func optionalText(_ column: Int) throws -> String? { isNull(column) ? nil : try text(column) }

    private func unreadable(_ column: Int) -> RowEncoding.Unreadable { RowEncoding.Unreadable(what: "column \(column)") }
}

/// One connection to PostgreSQL over libpq.
///
/// It belongs to one thread at a time, and may change from one to the next: libpq asks for no more. The writer holds it under its lock, a
/// reader takes it out of the pool. The language cannot see that through the pool.
final class PostgresConnection: @unchecked Sendable {
    private let pointer: OpaquePointer
    private var prepared: [String: String] = [:]

    private static let parameterBytesMax = 500_000_000

    /// A statement and its parameters.
    struct Statement {
        var sql: String
        var values: [PostgresValue] = []
        /// Keeps the plan for the next time.
        var isPrepared = true
    }

    /// Connects to a server that takes writes, within 2 s an address. A machine that vanishes without a word is noticed within 5 s.
    /// - Parameter address: a connection string or an address of libpq (`postgres://…`); its options win over ours.
    init(_ address: PostgresAddress) throws(PostgresFailure) {
        let options = [
            ("connect_timeout", "2"), ("tcp_user_timeout", "3000"), ("keepalives", "1"), ("keepalives_idle", "2"),
            ("keepalives_interval", "1"),
            ("keepalives_count", "3"), ("target_session_attrs", "read-write"), ("application_name", "berth"),
            ("client_encoding", "UTF8"), ("dbname", address.connection),
        ]
        let names = options.map { strdup($0.0) }
        let values = options.map { strdup($0.1) }
        defer { for text in names + values { free(text) } }
        var keywords = names.map { UnsafePointer($0) } + [nil]
        var texts = values.map { UnsafePointer($0) } + [nil]
        guard let pointer = PQconnectdbParams(&keywords, &texts, 1) else { throw PostgresFailure(message: "no memory", isBroken: true) }
        self.pointer = pointer
        guard PQstatus(pointer) == CONNECTION_OK else { throw lost() }
        PQsetNoticeProcessor(pointer, { _, _ in }, nil)
        // Statements have no time limit: a commit that waits for its standby is never broken off (distributed.md, section 6.3).
        try run(
            """
            SET search_path TO \(address.quoted); SET statement_timeout = 0; SET lock_timeout = 0; SET jit = off;
            SET idle_in_transaction_session_timeout = 0
            """)
    }

    deinit { PQfinish(pointer) }

    /// The number of the server's process behind this connection.
    var backend: Int64 { Int64(PQbackendPID(pointer)) }
    /// 150020 is 15.20.
    var serverVersion: Int { Int(PQserverVersion(pointer)) }

    /// Whether the other end has closed an idle connection.
    var hasEnded: Bool { PQconsumeInput(pointer) == 0 || PQstatus(pointer) != CONNECTION_OK }

    private func lost() -> PostgresFailure {
        PostgresFailure(message: PostgresConnection.line(PQerrorMessage(pointer)), isBroken: true)
    }

    /// The first line of a message of libpq.
    fileprivate static func line(_ text: UnsafePointer<CChar>?) -> String {
        text.map { String(cString: $0).split(separator: "\n").first.map(String.init) ?? "" } ?? ""
    }

    /// Runs statements without parameters, one after the other; the last answer.
    @discardableResult func run(_ sql: String) throws(PostgresFailure) -> PostgresResult {
        guard let answer = PQexec(pointer, sql) else { throw lost() }
        return try checked(PostgresResult(answer))
    }

    private func checked(_ result: PostgresResult) throws(PostgresFailure) -> PostgresResult {
        switch result.status {
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY: return result
        default: throw result.failure(pointer)
        }
    }

    /// The rows of a question, some at a time, in a transaction that is open: no table is held in memory.
    func each(_ sql: String, _ body: (PostgresRow) throws -> Void) throws {
        try run("DECLARE rows BINARY NO SCROLL CURSOR FOR \(sql)")
        while true {
            let answer = try query("FETCH 5000 FROM rows")
            for row in answer.rows { try body(row) }
            if answer.count < 5_000 { break }
        }
        try run("CLOSE rows")
    }

    /// Runs one statement and waits for its rows.
    @discardableResult func query(_ sql: String, _ values: [PostgresValue] = []) throws(PostgresFailure) -> PostgresResult {
        let name = try prepare(Statement(sql: sql, values: values))
        let answer = PostgresConnection.withParameters(values) { count, _, pointers, lengths, formats in
            PQexecPrepared(pointer, name, count, pointers, lengths, formats, 1)
        }
        guard let answer else { throw lost() }
        return try checked(PostgresResult(answer))
    }

    private func prepare(_ statement: Statement) throws(PostgresFailure) -> String {
        if let name = prepared[statement.sql] { return name }
        let name = "s\(prepared.count)"
        let types = statement.values.map(\.type)
        guard let answer = PQprepare(pointer, name, statement.sql, Int32(types.count), types) else { throw lost() }
        _ = try checked(PostgresResult(answer))
        prepared[statement.sql] = name
        return name
    }

    /// Sends all statements in one go and waits for their answers once. The first failure is thrown; what comes behind it is not done.
    func pipeline(_ statements: [Statement]) throws(PostgresFailure) -> [PostgresResult] {
        // The length of a parameter is an Int32, and a message of the protocol is at most 1 GB.
        guard statements.allSatisfy({ $0.values.allSatisfy { $0.length < PostgresConnection.parameterBytesMax } }) else {
            throw PostgresFailure(state: "54000", message: "a statement is too large", isBroken: false)
        }
        var names: [String?] = []
        for statement in statements { names.append(statement.isPrepared ? try prepare(statement) : nil) }
        guard PQenterPipelineMode(pointer) == 1 else { throw lost() }
        for (statement, name) in zip(statements, names) {
            let isSent = PostgresConnection.withParameters(statement.values) { count, types, pointers, lengths, formats in
                if let name { return PQsendQueryPrepared(pointer, name, count, pointers, lengths, formats, 1) }
                return PQsendQueryParams(pointer, statement.sql, count, types, pointers, lengths, formats, 1)
            }
            guard isSent == 1 else { throw lost() }
        }
        guard PQpipelineSync(pointer) == 1 else { throw lost() }
        var results: [PostgresResult] = []
        var failure: PostgresFailure?
        for _ in statements {
            guard let answer = PQgetResult(pointer) else { throw failure ?? lost() }
            let result = PostgresResult(answer)
            switch result.status {
            case PGRES_COMMAND_OK, PGRES_TUPLES_OK: results.append(result)
            case PGRES_PIPELINE_ABORTED: break
            default: if failure == nil { failure = result.failure(pointer) }
            }
            // Nothing comes behind an answer but its end.
            while let more = PQgetResult(pointer) { PQclear(more) }
            if PQstatus(pointer) != CONNECTION_OK { throw failure ?? lost() }
        }
        if let end = PQgetResult(pointer) { PQclear(end) }
        guard PQexitPipelineMode(pointer) == 1, PQstatus(pointer) == CONNECTION_OK else { throw failure ?? lost() }
        if let failure { throw failure }
        return results
    }

    /// The parameters lie one after the other in one piece of memory while `body` runs.
    private static func withParameters<Value>(
        _ values: [PostgresValue],
        _ body: (Int32, [Oid], [UnsafePointer<CChar>?], [Int32], [Int32]) -> Value
    ) -> Value {
        var bytes: [UInt8] = []
        var ranges: [Range<Int>?] = []
        for value in values {
            let start = bytes.count
            switch value {
            case .null:
                ranges.append(nil)
                continue
            case .int(let number): withUnsafeBytes(of: number.bigEndian) { bytes.append(contentsOf: $0) }
            case .text(let text): bytes.append(contentsOf: PostgresArray.withoutNul(Array(text.utf8)))
            case .bytes(let data): bytes.append(contentsOf: data)
            case .array(let array): array.write(to: &bytes)
            }
            ranges.append(start..<bytes.count)
        }
        // A pointer must not be nil where an empty text is meant.
        bytes.append(0)
        return bytes.withUnsafeBytes { buffer in
            let base = buffer.baseAddress?.assumingMemoryBound(to: CChar.self)
            let pointers = ranges.map { range in range.flatMap { range in base.map { UnsafePointer($0 + range.lowerBound) } } }
            return body(
                Int32(values.count), values.map(\.type), pointers, ranges.map { Int32(clamping: $0?.count ?? 0) }, values.map { _ in 1 })
        }
    }
}
