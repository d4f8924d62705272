import BerthCore
import BerthStore
import Foundation
import Synchronization

/// A real PostgreSQL for the tests of this process: started when it is first asked for, ended with the process (scripts/postgres.sh). Each
/// test has a schema of its own. A machine without it fails these tests.
enum TestPostgres {
    private static let server = Result { try start() }
    private static let count = Atomic<Int>(0)

    struct Missing: Error, CustomStringConvertible { let description: String }

    private static func start() throws -> String {
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../scripts/postgres.sh").path
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = [script, "\(getpid())"]
        let (out, errors) = (Pipe(), Pipe())
        (process.standardOutput, process.standardError) = (out, errors)
        try process.run()
        let text = String(decoding: out.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0, let address = text.split(separator: "\n").last else {
            throw Missing(description: String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self))
        }
        return String(address)
    }

    /// The address of a new, empty city. Its connections bear its name.
    static func address() throws -> PostgresAddress {
        let number = count.add(1, ordering: .relaxed).newValue
        guard let address = PostgresAddress("\(try server.get())&realm=city\(number)&application_name=city\(number)") else {
            throw Missing(description: "no address")
        }
        return address
    }

    /// Runs statements as the database's owner.
    static func sql(_ text: String) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/psql")
        process.arguments = ["-q", "-v", "ON_ERROR_STOP=1", "-d", try server.get(), "-c", text]
        let errors = Pipe()
        process.standardError = errors
        try process.run()
        let said = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Missing(description: String(decoding: said, as: UTF8.self)) }
    }

    /// - Parameters:
    ///   - ahead: of the store's clock before the database's, ms.
    static func open(
        _ address: PostgresAddress, vault: FieldCipher? = StoreTests.vault, ahead: Int64 = 0,
        acceptsLoss: Bool = false, waits: Bool = true, onEnd: @escaping @Sendable (String) -> Void = { _ in }
    ) throws -> PostgresStore {
        var seat = PostgresStore.Seat(
            name: "test", address: "here", boot: { Int64(ProcessInfo.processInfo.systemUptime * 1000) },
            wall: { Int64(Date().timeIntervalSince1970 * 1000) + ahead }, onEnd: onEnd)
        (seat.acceptsLoss, seat.waits) = (acceptsLoss, waits)
        return try PostgresStore(address, vault: vault, seat: seat)
    }

    /// Breaks the connections of a city.
    static func breakConnections(of address: PostgresAddress) throws {
        try sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '\(address.schema)'")
    }

    /// A connection that keeps a transaction open, as a backup does, until the body is done.
    static func reading(_ text: String, _ body: () throws -> Void) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/psql")
        process.arguments = ["-qAt", "-v", "ON_ERROR_STOP=1", "-d", try server.get()]
        let (input, output) = (Pipe(), Pipe())
        (process.standardInput, process.standardOutput) = (input, output)
        try process.run()
        input.fileHandleForWriting.write(Data("BEGIN; \(text); SELECT 'open';\n".utf8))
        var said = ""
        while !said.contains("open") { said += String(decoding: output.fileHandleForReading.availableData, as: UTF8.self) }
        defer {
            try? input.fileHandleForWriting.close()
            process.waitUntilExit()
        }
        try body()
    }
}
