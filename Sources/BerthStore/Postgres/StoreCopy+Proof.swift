import BerthCore
import BerthWire
import GRDB

// The tables that the journal does not make are compared row by row as well: what they hold is opened on both sides.
extension StoreCopy {
    /// A table and its columns, the same in both stores. A column in brackets is sealed.
    private static let kept: [(table: String, columns: [String])] = [
        ("journal", ["id", "at", "[body]"]),
        ("replies", ["app_id", "request_id", "nonce", "service", "data_hash", "code", "[data]", "at"]),
        ("up_log", ["lot", "epoch", "seq", "request_id", "service", "code", "reply", "[data]", "at", "record_no", "mended"]),
        ("audit", ["id", "at", "actor", "action", "target", "detail", "hash"]),
        ("credentials", ["app_id", "[body]"]),
        ("pictures", ["image_id", "at", "expire_at", "completed_at", "app_id", "lot", "type", "ext", "size", "sha256"]),
        ("occupancy", ["day", "lot", "counts"]),
        ("day_counts", ["day", "lot", "app_id", "name", "value"]),
    ]

    /// Rows of a table and the sum of their digests: the order of rows may differ.
    private struct Sum: Equatable {
        var rows = 0
        var digest: Int64 = 0

        mutating func add(_ cells: [String], _ table: String) {
            rows += 1
            digest &+= Signature.digest64(cells.joined(separator: "\u{1F}"), table)
        }
    }

    /// - Throws: ``StoreError/unavailable(_:)`` with the name of the first table that differs.
    func compareRows() throws(StoreError) {
        for (table, columns) in StoreCopy.kept {
            let (one, other) = (try sqliteSum(table, columns), try postgresSum(table, columns))
            guard one == other else { throw .unavailable("the copy differs from its source: \(table)") }
        }
        if let broken = try postgres.brokenAudit() {
            throw .unavailable("the audit record \(broken) does not follow from the one before")
        }
    }

    private func sqliteSum(_ table: String, _ columns: [String]) throws(StoreError) -> Sum {
        let list = columns.map { $0.hasPrefix("[") ? String($0.dropFirst().dropLast()) : "CAST(\($0) AS TEXT)" }.joined(separator: ", ")
        return try sqlite.read { db in
            var sum = Sum()
            let rows = try GRDB.Row.fetchCursor(db, sql: "SELECT \(list) FROM \(table)")
            while let row = try rows.next() {
                try sum.add(
                    zip(row, columns).map { cell, name in
                        cell.1.isNull
                            ? "NULL" : name.hasPrefix("[") ? try sqlite.codec.open(cell.1) : String.fromDatabaseValue(cell.1) ?? ""
                    }, table)
            }
            return sum
        }
    }

    private func postgresSum(_ table: String, _ columns: [String]) throws(StoreError) -> Sum {
        let isText = table == "credentials"
        let list = columns.map { column in
            guard column.hasPrefix("[") else { return column == "mended" ? "mended::int::text" : "\(column)::text" }
            return column == "[body]" && !isText ? "coalesce(body, ''::bytea)" : String(column.dropFirst().dropLast())
        }.joined(separator: ", ")
        return try postgres.snapshot { connection in
            var sum = Sum()
            try connection.each("SELECT \(list) FROM \(table)") { row in
                try sum.add(
                    columns.enumerated().map { index, name in
                        guard name.hasPrefix("[") else { return try row.optionalText(index) ?? "NULL" }
                        if isText { return try postgres.codec.open(row.text(index)) }
                        let bytes = try row.bytes(index)
                        // An entry of nothing has no body here.
                        return bytes.isEmpty && table == "journal" ? "[]" : try postgres.codec.open(bytes)
                    }, table)
            }
            return sum
        }
    }
}
