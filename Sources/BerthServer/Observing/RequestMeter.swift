import BerthCore
import BerthWire
import Synchronization

/// Counts requests by service and code, and how long their answers took; for `/metrics`. Any thread.
final class RequestMeter: Sendable {
    /// Upper ends of the buckets of a duration, ns. The last one holds long polls.
    static let bounds: [Int64] = [
        100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 100_000_000, 1_000_000_000, 10_000_000_000,
    ]

    struct Row: Sendable {
        var codes: [Int: Int64] = [:]
        /// Each duration is in one bucket, or in none when it is longer than all; the buckets are not added up.
        var buckets = [Int64](repeating: 0, count: RequestMeter.bounds.count)
        var count: Int64 = 0
        var sum: Int64 = 0
    }

    private let rows: [Mutex<Row>.Box]
    /// Place of each service of the catalogue; every other name has the last one, so that a sender makes no rows.
    private let places: TextTable<Int>
    private let names: [String]

    init() {
        names = Dialect.current.services.keys.sorted() + ["unknown"]
        places = TextTable(names.dropLast().enumerated().map { ($0.element, $0.offset) })
        rows = names.map { _ in .init(Row()) }
    }

    func note(_ service: String, code: Int, nanoseconds: Int64) {
        rows[places[service] ?? names.count - 1].value.withLock { row in
            row.codes[code, default: 0] += 1
            row.count += 1
            row.sum += nanoseconds
            if let place = RequestMeter.bounds.firstIndex(where: { nanoseconds <= $0 }) { row.buckets[place] += 1 }
        }
    }

    func expose(into out: inout Exposition) {
        let all = zip(names, rows).map { ($0, $1.value.withLock { $0 }) }.filter { $0.1.count > 0 }
        for (name, row) in all {
            for (code, count) in row.codes.sorted(by: { $0.key < $1.key }) {
                out.add(
                    "berth_requests_total", "counter", "", Exposition.labels([("service", name), ("code", String(code))]), Double(count))
            }
        }
        let family = "berth_request_duration_seconds"
        for (name, row) in all {
            let label = Exposition.labels([("service", name)])
            var below: Int64 = 0
            for (bound, count) in zip(RequestMeter.bounds, row.buckets) {
                below += count
                out.add(family, "histogram", "_bucket", "\(label),le=\"\(Double(bound) / 1e9)\"", Double(below))
            }
            out.add(family, "histogram", "_bucket", "\(label),le=\"+Inf\"", Double(row.count))
            out.add(family, "histogram", "_sum", label, Double(row.sum) / 1e9)
            out.add(family, "histogram", "_count", label, Double(row.count))
        }
    }
}
