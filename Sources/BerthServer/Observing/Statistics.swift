import BerthCore
import BerthStore
import BerthWire
import Foundation
import Logging
import Synchronization

/// Counts of every lot, provider and day (seed 6.1): reservations and their outcomes, refusals, saturation, timeliness. Follows the journal
/// from its last position, off the path of a reservation: a durable event is counted within seconds, and once.
final class Statistics: DurableListener {
    private struct State {
        var counts: [DayCount.Key: [String: Int64]] = [:]
        /// Since the server's start, for `/metrics`.
        var totals: [String: Int64] = [:]
        var refusals: [Int: Int64] = [:]
        /// Entries of down logs that are on their way: when they were made, and for whom.
        var onTheirWay: [String: [Int64: (at: Millis, appId: String)]] = [:]
        var waiting = 0
        var through: Int64 = 0
        var sampledMinute: Int64 = 0
        var latest: Reservation?
    }

    private let state = Mutex(State())
    private let store: any Store
    private let logger: Logger
    /// Down entries whose acknowledgement is waited for, at most; beyond it timeliness is not measured.
    private static let waitingMax = 200_000
    private static let batch = 2_000

    init(store: any Store, logger: Logger) throws(StoreError) {
        self.store = store
        self.logger = logger
        // Events that were committed and not counted when the server stopped are counted now.
        var through = try store.countedThrough()
        while true {
            let entries = try store.journal(after: through, limit: Statistics.batch)
            guard let last = entries.last else { break }
            state.withLock { state in
                for (_, commit) in entries { for event in commit.events { Statistics.count(event, at: commit.at, &state) } }
                state.through = last.id
            }
            flush()
            through = last.id
        }
        state.withLock { state in
            state.through = through
            state.totals = [:]
        }
    }

    func committed(_ durable: Durable) {
        state.withLock { state in
            for event in durable.events { Statistics.count(event, at: durable.at, &state) }
            if durable.journalId > 0 { state.through = durable.journalId }
        }
    }

    /// Counts a refused request. The journal does not contain it, so the count is lost when the server is killed before the next flush.
    /// - Parameter isAuthentic: the message is signed by the party that it names. Unknown senders must not fill the table with names.
    func refused(_ code: Int, echo: Echo, isAuthentic: Bool, at now: Millis) {
        guard code != 0, code != 611 else { return }
        state.withLock { state in
            state.refusals[code, default: 0] += 1
            guard isAuthentic else { return }
            let key = DayCount.Key(day: CivilTime.day(of: now), parkCode: echo.parkCode ?? "", appId: echo.appId)
            state.counts[key, default: [:]]["refused", default: 0] += 1
            state.counts[key]!["refused.\(code)", default: 0] += 1
        }
    }

    private static func add(_ name: String, _ value: Int64 = 1, _ parkCode: String, _ appId: String, at: Millis, _ state: inout State) {
        let key = DayCount.Key(day: CivilTime.day(of: at), parkCode: parkCode, appId: appId)
        state.counts[key, default: [:]][name, default: 0] += value
        state.totals[name, default: 0] += value
    }

    /// Each thing that happens has one event that tells it first; a later one of the same order tells of its delivery only.
    private static func count(_ event: Event, at: Millis, _ state: inout State) {
        switch event {
        case .reservation(let reservation):
            func add(_ name: String) { Statistics.add(name, 1, reservation.parkCode, reservation.appId, at: at, &state) }
            switch reservation.status {
            case .held, .booked: if reservation.createdAt == reservation.changedAt { add("orders") }
            case .inLot, .done: state.latest = reservation
            case .cancelled: if reservation.deliver == .new { add("cancelled") }
            case .cancelledBreach: if reservation.deliver == .new { add("breach") }
            case .noShow: if reservation.deliver == .new { add("noShows") }
            case .rejected: if reservation.deliver == .new || reservation.deliver == .refused { add("rejected") }
            case .revoked: add("revoked")
            case .waitlisted, .waitlistFailed: break
            }
        case .notice(let notice):
            // The rules tell an arrival and a departure right after the reservation's own event; other notices of a lot are not counted.
            guard let reservation = state.latest, reservation.orderNo == notice.orderNo else { return }
            switch notice.eventType {
            case 2003, 2004: Statistics.add("entered", 1, reservation.parkCode, reservation.appId, at: at, &state)
            case 2007: Statistics.add("left", 1, reservation.parkCode, reservation.appId, at: at, &state)
            default: break
            }
        case .upConsumed: state.latest = nil
        case .visit(let visit):
            guard visit.leaveTime == nil, !visit.isVoid else { return }
            add("entries", 1, visit.parkCode, "", at: at, &state)
            let late = max(0, at - visit.enterTime)
            add("entryMillis", late, visit.parkCode, "", at: at, &state)
            if late > entryLimitMillis { add("entriesLate", 1, visit.parkCode, "", at: at, &state) }
        case .down(let entry):
            guard state.waiting < waitingMax else { return }
            let appId: String =
                switch entry.message {
                case .reserve(let reservation), .modify(let reservation): reservation.appId
                default: ""
                }
            if state.onTheirWay[entry.parkCode, default: [:]].updateValue((entry.at, appId), forKey: entry.seq) == nil {
                state.waiting += 1
            }
        case .downSettled(let parkCode, _, _, let results):
            for result in results {
                guard let sent = state.onTheirWay[parkCode]?.removeValue(forKey: result.seq) else { continue }
                state.waiting -= 1
                let took = max(0, at - sent.at)
                add("deliveries", 1, parkCode, sent.appId, at: at, &state)
                add("deliveryMillis", took, parkCode, sent.appId, at: at, &state)
                if took > deliveryLimitMillis { add("deliveriesLate", 1, parkCode, sent.appId, at: at, &state) }
            }
        default: break
        }
    }

    /// Section 14: a push is acknowledged within 3 s (P95), an entry is visible within 5 s.
    private static let deliveryLimitMillis: Millis = 3_000
    private static let entryLimitMillis: Millis = 5_000

    /// Once a minute, how full each lot is.
    func sample(_ lots: [(parkCode: String, perMille: Int)], now: Millis) {
        state.withLock { state in
            guard now / 60_000 != state.sampledMinute else { return }
            state.sampledMinute = now / 60_000
            for lot in lots {
                let key = DayCount.Key(day: CivilTime.day(of: now), parkCode: lot.parkCode, appId: "")
                state.counts[key, default: [:]]["saturationSamples", default: 0] += 1
                state.counts[key]!["saturationSum", default: 0] += Int64(lot.perMille)
                state.counts[key]!["peakSaturation"] = max(state.counts[key]!["peakSaturation"] ?? 0, Int64(lot.perMille))
            }
        }
    }

    func flush() {
        let (counts, through) = state.withLock { state in
            defer { state.counts = [:] }
            return (state.counts, state.through)
        }
        guard !counts.isEmpty else { return }
        do { try store.add(counts.map { DayCount(key: $0, counts: $1) }, through: through) } catch {
            logger.error("statistics could not be written; they are kept and written later", metadata: ["error": "\(error)"])
            state.withLock { state in
                for (key, values) in counts {
                    // A peak is no sum.
                    let peak = [state.counts[key]?["peakSaturation"], values["peakSaturation"]].compactMap(\.self).max()
                    state.counts[key, default: [:]].merge(values) { ours, theirs in ours + theirs }
                    if let peak { state.counts[key]!["peakSaturation"] = peak }
                }
            }
        }
    }

    var totals: (counts: [String: Int64], refusals: [Int: Int64]) { state.withLock { ($0.totals, $0.refusals) } }

    // MARK: The service

    /// `stat.daily.query`: rows by day, lot and provider as asked for, added up over the others.
    func query(days: ClosedRange<Int64>, parkCode: String?, appId: String?, by: Set<String>) throws(StoreError) -> [JSON] {
        flush()
        var rows: [DayCount.Key: [String: Int64]] = [:]
        for count in try store.counts(days: days, parkCode: parkCode, appId: appId) {
            let key = DayCount.Key(
                day: by.contains("day") ? count.key.day : 0, parkCode: by.contains("lot") ? count.key.parkCode : "",
                appId: by.contains("provider") ? count.key.appId : "")
            rows[key, default: [:]].merge(count.counts) { $0 + $1 }
            if let peak = count.counts["peakSaturation"] {
                // The sum has just added two peaks.
                let before = (rows[key]!["peakSaturation"] ?? peak) - peak
                rows[key]!["peakSaturation"] = max(before, peak)
            }
        }
        return rows.sorted { ($0.key.day, $0.key.parkCode, $0.key.appId) < ($1.key.day, $1.key.parkCode, $1.key.appId) }
            .map { Statistics.row($0.key, $0.value, by) }
    }

    private static func row(_ key: DayCount.Key, _ counts: [String: Int64], _ by: Set<String>) -> JSON {
        func count(_ name: String) -> Int64 { counts[name] ?? 0 }
        func ratio(_ part: Int64, _ whole: Int64) -> JSON { whole == 0 ? .null : .int(part * 1000 / whole) }
        let kept = count("entered")
        let due = kept + count("noShows") + count("breach")
        return .compact([
            ("date", by.contains("day") ? .string(CivilTime.text(ofDay: key.day)) : .null),
            ("parkCode", by.contains("lot") ? .string(key.parkCode) : .null),
            ("appId", by.contains("provider") ? .string(key.appId) : .null), ("orders", .int(count("orders"))),
            ("entered", .int(kept)), ("left", .int(count("left"))), ("cancelled", .int(count("cancelled"))),
            ("breach", .int(count("breach"))), ("noShows", .int(count("noShows"))), ("rejected", .int(count("rejected"))),
            ("revoked", .int(count("revoked"))), ("honourPerMille", ratio(kept, due)), ("refused", .int(count("refused"))),
            (
                "refusals",
                .array(
                    counts.filter { $0.key.hasPrefix("refused.") }.sorted { $0.key < $1.key }.map {
                        ["code": .int(Int64($0.key.dropFirst("refused.".count)) ?? 0), "count": .int($0.value)]
                    })
            ),
            ("entries", .int(count("entries"))), ("entriesLate", .int(count("entriesLate"))),
            ("entryMillisAverage", count("entries") == 0 ? .null : .int(count("entryMillis") / count("entries"))),
            ("deliveries", .int(count("deliveries"))), ("deliveriesLate", .int(count("deliveriesLate"))),
            ("deliveryMillisAverage", count("deliveries") == 0 ? .null : .int(count("deliveryMillis") / count("deliveries"))),
            (
                "saturationPerMilleAverage",
                count("saturationSamples") == 0 ? .null : .int(count("saturationSum") / count("saturationSamples"))
            ),
            ("saturationPerMillePeak", counts["peakSaturation"].map { .int($0) } ?? .null),
        ])
    }
}
