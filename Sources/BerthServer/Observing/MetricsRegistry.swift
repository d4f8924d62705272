import BerthCore
import Foundation
import Metrics
import Synchronization

/// A backend of swift-metrics that keeps what it is told, and tells it in Prometheus' text format.
final class MetricsRegistry: MetricsFactory {
    static let shared = MetricsRegistry()

    fileprivate struct Series: Hashable {
        let name: String
        let labels: String
    }

    fileprivate struct Histogram {
        var buckets: [Int64]
        var sum = 0.0
        var count: Int64 = 0
    }

    fileprivate struct State {
        var counters: [Series: Int64] = [:]
        var gauges: [Series: Double] = [:]
        var histograms: [Series: Histogram] = [:]
    }

    /// Upper ends of the buckets of a duration, s.
    private static let bounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
    fileprivate let state = Mutex(State())

    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler { Instrument(self, label, dimensions) }
    func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        Instrument(self, label, dimensions)
    }
    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler { Instrument(self, label, dimensions) }
    func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler { Instrument(self, label, dimensions) }
    func makeFloatingPointCounter(label: String, dimensions: [(String, String)]) -> any FloatingPointCounterHandler {
        Instrument(self, label, dimensions)
    }
    func destroyCounter(_ handler: any CounterHandler) {}
    func destroyRecorder(_ handler: any RecorderHandler) {}
    func destroyTimer(_ handler: any TimerHandler) {}
    func destroyMeter(_ handler: any MeterHandler) {}
    func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}

    private final class Instrument: CounterHandler, RecorderHandler, TimerHandler, MeterHandler, FloatingPointCounterHandler {
        private let registry: MetricsRegistry
        private let series: Series

        init(_ registry: MetricsRegistry, _ name: String, _ dimensions: [(String, String)]) {
            self.registry = registry
            series = Series(name: Exposition.name(name), labels: Exposition.labels(dimensions))
        }

        func increment(by amount: Int64) { registry.state.withLock { $0.counters[series, default: 0] += amount } }
        func increment(by amount: Double) { increment(by: Int64(amount)) }
        func decrement(by amount: Double) { registry.state.withLock { $0.gauges[series, default: 0] -= amount } }
        func reset() { registry.state.withLock { $0.counters[series] = 0 } }
        func set(_ value: Int64) { set(Double(value)) }
        func set(_ value: Double) { registry.state.withLock { $0.gauges[series] = value } }
        func record(_ value: Int64) { set(Double(value)) }
        func record(_ value: Double) { set(value) }
        func recordNanoseconds(_ duration: Int64) {
            let seconds = Double(duration) / 1e9
            registry.state.withLock { state in
                var histogram = state.histograms[series] ?? Histogram(buckets: Array(repeating: 0, count: MetricsRegistry.bounds.count))
                for (index, bound) in MetricsRegistry.bounds.enumerated() where seconds <= bound { histogram.buckets[index] += 1 }
                histogram.sum += seconds
                histogram.count += 1
                state.histograms[series] = histogram
            }
        }
    }

    /// Adds the values that swift-metrics was given, in families.
    func expose(into out: inout Exposition) {
        let state = state.withLock { $0 }
        for (series, value) in state.counters.sorted(by: { ($0.key.name, $0.key.labels) < ($1.key.name, $1.key.labels) }) {
            out.add(series.name + "_total", "counter", "", series.labels, Double(value))
        }
        for (series, value) in state.gauges.sorted(by: { ($0.key.name, $0.key.labels) < ($1.key.name, $1.key.labels) }) {
            out.add(series.name, "gauge", "", series.labels, value)
        }
        for (series, histogram) in state.histograms.sorted(by: { ($0.key.name, $0.key.labels) < ($1.key.name, $1.key.labels) }) {
            let name = series.name + "_seconds"
            func labels(_ bound: String) -> String { series.labels.isEmpty ? "le=\"\(bound)\"" : "\(series.labels),le=\"\(bound)\"" }
            for (bound, count) in zip(MetricsRegistry.bounds, histogram.buckets) {
                out.add(name, "histogram", "_bucket", labels("\(bound)"), Double(count))
            }
            out.add(name, "histogram", "_bucket", labels("+Inf"), Double(histogram.count))
            out.add(name, "histogram", "_sum", series.labels, histogram.sum)
            out.add(name, "histogram", "_count", series.labels, Double(histogram.count))
        }
    }
}

/// Prometheus' text format 0.0.4: each family once, with its help and type.
struct Exposition {
    private var families: [String: (type: String, help: String, lines: [String])] = [:]
    private var order: [String] = []
    /// The meaning of each family of ours.
    private static let help = [
        "berth_build_info": "Always 1; its labels are the version and the build.", "berth_lots": "Lots registered.",
        "berth_links_online": "Lots that can be reached over MQTT.",
        "berth_orders_active": "Orders held, booked or in a lot.", "berth_cars_inside": "Cars inside by the lots' own records.",
        "berth_lot_saturation_permille": "Occupied places per thousand, by lot.",
        "berth_lot_online": "Whether the lot can be reached over MQTT.",
        "berth_happenings_total": "What happened since the server's start, by kind.",
        "berth_refusals_total": "Requests refused since the server's start, by code.",
        "berth_commit_duration_seconds": "Time of one group commit.",
        "berth_requests_total": "Requests answered since the server's start, by service and code.",
        "berth_request_duration_seconds": "Time from the whole request to its answer, by service; a long poll waits on purpose.",
        "berth_lot_unacknowledged": "Entries of the down log that the lot has not acknowledged, by lot.",
        "berth_lot_queue": "Entries that wait in the lot's own log, as it last said, by lot.",
        "berth_lot_silence_seconds": "Time since the lot was last heard, by lot; none when it never was.",
        "berth_lot_clock_offset_seconds": "Offset of the lot's clock, as it last said, by lot.",
        "berth_callbacks_open": "Notifications to providers that are under way.",
        "berth_callbacks_failed": "Notifications that were given up and wait for `berth callbacks retry`.",
        "berth_store_refuses": "1 while the database takes nothing.",
        "berth_lots_stopped": "Lots that are stopped because their state contradicts itself; a restart reads them back.",
        "berth_leader": "1 while this server is sure that it leads the city (PostgreSQL).",
        "berth_term": "How often leadership of the city has changed.",
        "berth_lease_margin_seconds": "How long the server may answer without another word of the database; renewed each second.",
        "berth_commit_in_doubt_total": "Commits whose answer was lost, by what became of them.",
        "berth_link_asks_held": "Requests that this server carries to the leader now.",
        "berth_link_resends_total": "Requests that were sent to the leader again, because their answer was lost.",
        "berth_broker_connected": "1 while the server is connected to its broker.",
        "berth_disk_used_ratio": "Used part of the disk of the data folder.",
        "berth_dead_letters": "Records of lots that were refused and not mended.",
        "berth_certificate_end_seconds": "When the server's certificate ends, s since 1970.",
        "process_cpu_seconds_total": "Processor time of the server.", "process_resident_memory_bytes": "Resident memory of the server.",
        "process_open_fds": "Open descriptors.", "process_max_fds": "Limit of descriptors.",
        "process_start_time_seconds": "When the server started, s since 1970.",
    ]

    static func name(_ text: String) -> String {
        String(text.map { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || $0 == ":") ? $0 : "_" })
    }

    static func labels(_ pairs: [(String, String)]) -> String {
        pairs.map { pair in
            let value = pair.1.replacingOccurrences(of: "\\", with: "\\\\").replacingOccurrences(of: "\"", with: "\\\"")
                .replacingOccurrences(of: "\n", with: "\\n")
            return "\(name(pair.0))=\"\(value)\""
        }.joined(separator: ",")
    }

    mutating func add(_ family: String, _ type: String, _ suffix: String = "", _ labels: String = "", _ value: Double) {
        if families[family] == nil {
            families[family] = (type, Exposition.help[family] ?? family.replacingOccurrences(of: "_", with: " ") + ".", [])
            order.append(family)
        }
        let number = value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
        families[family]!.lines.append(family + suffix + (labels.isEmpty ? "" : "{\(labels)}") + " " + number)
    }

    var text: String {
        order.map { name in
            let family = families[name]!
            return "# HELP \(name) \(family.help)\n# TYPE \(name) \(family.type)\n" + family.lines.joined(separator: "\n") + "\n"
        }.joined()
    }
}
