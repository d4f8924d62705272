import BerthCore
import GRDB

// Columns as they must be. A row of another shape (a damaged file) is an error and does not end the process, as GRDB's own subscript
// does.
extension GRDB.Row {
    func int<Value: FixedWidthInteger>(_ column: String) throws -> Value {
        guard case .int64(let value) = (self[column] as DatabaseValue).storage, let value = Value(exactly: value) else {
            throw RowEncoding.Unreadable(what: column)
        }
        return value
    }

    func text(_ column: String) throws -> String {
        guard case .string(let value) = (self[column] as DatabaseValue).storage else { throw RowEncoding.Unreadable(what: column) }
        return value
    }

    func optionalInt(_ column: String) throws -> Int64? { (self[column] as DatabaseValue).isNull ? nil : try int(column) }
    func optionalText(_ column: String) throws -> String? { (self[column] as DatabaseValue).isNull ? nil : try text(column) }
}
