import BerthCore
import BerthWire
import Foundation
import GRDB
import Synchronization

/// The file `mark` beside the database: number of the last transaction, number and digest of the last entry of the journal. A database
/// that ends before it has lost what was acknowledged (a write-ahead log cut off, a backup put back).
///
/// It is written after each transaction and not synced: after a power cut it may be behind the database, and is never ahead of it.
final class HighWaterMark: Sendable {
    struct Position: Sendable, Equatable {
        var transaction: Int64 = 0
        var entry: Int64 = 0
        var hash: String = ""
    }

    private static let length = 128
    private let last: Mutex<Position?>
    private let file: Int32
    let path: String

    init(beside database: String) throws(StoreError) {
        let path = (database as NSString).deletingLastPathComponent + "/mark"
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw .unavailable("\(path): \(String(cString: strerror(errno)))") }
        var bytes = [UInt8](repeating: 0, count: HighWaterMark.length)
        let count = bytes.withUnsafeMutableBytes { pread(file, $0.baseAddress, $0.count, 0) }
        guard count >= 0 else {
            let reason = String(cString: strerror(errno))
            close(file)
            throw .disk("\(path): \(reason)")
        }
        self.path = path
        self.file = file
        last = Mutex(HighWaterMark.read(bytes.prefix(count)))
    }

    deinit { close(file) }

    private static func read(_ bytes: ArraySlice<UInt8>) -> Position? {
        let words = String(decoding: bytes, as: UTF8.self).split(whereSeparator: { $0 == " " || $0 == "\n" })
        guard words.count >= 4, words[0] == "berth-mark", let transaction = Int64(words[1]), let entry = Int64(words[2]) else { return nil }
        return Position(transaction: transaction, entry: entry, hash: String(words[3]))
    }

    /// Describes the loss of the database since the mark was written; nil when there is none.
    func loss(in db: Database) throws -> String? {
        guard let last = last.withLock({ $0 }) else { return nil }
        let transaction = try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = 'commit'") ?? 0
        let entry = try Int64.fetchOne(db, sql: "SELECT max(id) FROM journal") ?? 0
        if transaction < last.transaction || entry < last.entry {
            return """
                the database ends at transaction \(transaction), entry \(entry); the mark beside it (\(path)) was at transaction \(last.transaction), \
                entry \(last.entry): what came between was acknowledged and is missing
                """
        }
        guard last.entry > 0,
            let body = try DatabaseValue.fetchOne(db, sql: "SELECT body FROM journal WHERE id = ?", arguments: [last.entry]),
            !body.isNull
        else { return nil }
        guard HighWaterMark.digest(body) == last.hash else {
            return
                "entry \(last.entry) of the journal is not the one that the mark beside the database (\(path)) knows: it is another database's, or damaged"
        }
        return nil
    }

    static func digest(_ value: DatabaseValue) -> String {
        switch value.storage {
        case .blob(let data): digest([UInt8](data)[...])
        case .string(let text): digest(Array(text.utf8)[...])
        default: "-"
        }
    }

    static func digest(_ bytes: some Sequence<UInt8>) -> String {
        String(bytes.reduce(UInt64(14_695_981_039_346_656_037)) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 }, radix: 16)
    }

    /// - Parameters:
    ///   - entry: 0 where the transaction made none; the last one stands.
    func raise(transaction: Int64, entry: Int64, hash: String) {
        last.withLock { last in
            var position = last ?? Position()
            position.transaction = transaction
            if entry > 0 { (position.entry, position.hash) = (entry, hash) }
            if position.hash.isEmpty { position.hash = "-" }
            last = position
            write(position)
        }
    }

    var position: Position { last.withLock { $0 ?? Position() } }

    /// After a loss was accepted, the present position of the database counts.
    func reset(to position: Position) {
        last.withLock { last in
            last = position
            write(position)
        }
    }

    private func write(_ position: Position) {
        var line = "berth-mark \(position.transaction) \(position.entry) \(position.hash.isEmpty ? "-" : position.hash)"
        line += String(repeating: " ", count: max(0, HighWaterMark.length - 1 - line.utf8.count)) + "\n"
        // The mark is a second word: where it cannot be written, the next start compares with an older one.
        _ = line.withCString { pwrite(file, $0, HighWaterMark.length, 0) }
    }
}
