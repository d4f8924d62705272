import BerthCore
import BerthLink
import BerthWire
import Synchronization

/// The live data of the public page: aggregated twice a second, made once for all viewers, without personal data.
final class LiveFeed: DurableListener {
    /// Counts since the server started.
    struct Totals: Sendable {
        var created = 0
        var cancelled = 0
        var entered = 0
        var left = 0
        var noShows = 0
        var refused = 0
    }

    private struct State {
        var changed: Set<String> = []
        var happenings: [Activity] = []
        var totals = Totals()
        var viewers: [UInt64: AsyncStream<String>.Continuation] = [:]
        var lastViewer: UInt64 = 0
        var lastHappening: Int64 = 0
        var statuses: [String: ReservationStatus] = [:]
    }

    /// An order that began, moved or ended; words are found for it when somebody watches.
    private struct Activity: Sendable {
        var number: Int64
        var reservation: Reservation

        var json: JSON {
            [
                "i": .int(number), "t": .int(reservation.changedAt), "lot": .string(reservation.parkCode),
                "plate": .string(reservation.plate.masked),
                "status": .int(reservation.status.rawValue), "plan": .int(reservation.planTime),
            ]
        }
    }

    private let state = Mutex(State())
    private let sequencer: Sequencer
    private let presence: Presence

    init(sequencer: Sequencer, presence: Presence) {
        self.sequencer = sequencer
        self.presence = presence
        let active = sequencer.readUndurable { city in
            city.lots.values.flatMap(\.inForce).map { ($0.orderNo, $0.status) }
        }
        state.withLock { $0.statuses = Dictionary(uniqueKeysWithValues: active) }
    }

    func committed(_ durable: Durable) {
        state.withLock { state in
            for event in durable.events {
                switch event {
                case .reservation(let reservation):
                    state.changed.insert(reservation.parkCode)
                    let before = state.statuses[reservation.orderNo]
                    guard before != reservation.status else { continue }
                    if reservation.status.isActive {
                        state.statuses[reservation.orderNo] = reservation.status
                    } else {
                        // An ended order is told once; later changes are of its delivery only.
                        guard state.statuses.removeValue(forKey: reservation.orderNo) != nil else { continue }
                    }
                    count(reservation, &state.totals)
                    state.lastHappening += 1
                    state.happenings.append(Activity(number: state.lastHappening, reservation: reservation))
                case .visit(let visit): state.changed.insert(visit.parkCode)
                case .remaining(let lot, _): state.changed.insert(lot)
                case .lot(let profile): state.changed.insert(profile.parkCode)
                default: break
                }
            }
            if state.happenings.count > 400 { state.happenings.removeFirst(state.happenings.count - 200) }
        }
    }

    private func count(_ reservation: Reservation, _ totals: inout Totals) {
        switch reservation.status {
        case .held, .booked: totals.created += 1
        case .inLot: totals.entered += 1
        case .done: totals.left += 1
        case .cancelled, .cancelledBreach: totals.cancelled += 1
        case .noShow: totals.noShows += 1
        case .rejected, .revoked: totals.refused += 1
        default: break
        }
    }

    func linkChanged(_ parkCode: String) { state.withLock { _ = $0.changed.insert(parkCode) } }

    var totals: Totals { state.withLock { $0.totals } }

    // MARK: Data for viewers

    private static func brief(_ lot: Lot, _ link: Presence.Link?, now: Millis) -> JSON? {
        guard let profile = lot.profile else { return nil }
        let reservations = lot.reservations.values.reduce(0) { $0 + ($1.status.isActive ? 1 : 0) }
        let purpose: Purpose = profile.enabled.contains(.reservation) ? .reservation : .shared
        return LotView.with(
            LotView.standing(lot, link),
            [
                "c": .string(lot.parkCode), "n": .string(profile.name), "x": .string(profile.longitude),
                "y": .string(profile.latitude), "t": .int(profile.lotType), "total": .int(profile.totalCount),
                "occ": .int(lot.occupied), "sat": .int(lot.saturation.perMille), "lvl": .int(lot.saturation.level),
                "q": .int(lot.quota(purpose)), "free": .int(lot.free(purpose.pool, at: now)), "orders": .int(reservations),
                "share": .bool(profile.enabled.contains(.shared)), "on": .bool(link?.isOnline ?? false),
            ])
    }

    /// Sums over the city, and the rows of its lots as they were last: made once a second for all who ask, lot by lot, so that nobody who
    /// wants to book waits for them.
    private struct Picture: Sendable {
        var rows: [String: JSON] = [:]
        var sums: [String: (active: Int, inside: Int, saturation: Int, inForce: Int)] = [:]
        var madeAt: Int64 = .min
        var text = ""
    }

    /// How full each lot is, for measurements: of the last second.
    struct Measure: Sendable {
        var parkCode: String
        var perMille: Int
        var inForce: Int
        var inside: Int
    }

    private let picture = Mutex(Picture())

    var measures: [Measure] {
        picture.withLock {
            $0.sums.map { Measure(parkCode: $0.key, perMille: $0.value.saturation, inForce: $0.value.inForce, inside: $0.value.inside) }
        }.sorted { $0.parkCode < $1.parkCode }
    }

    private func totalsJSON(_ links: [String: Presence.Link], _ totals: Totals) -> JSON {
        let (lots, active, inside) = picture.withLock { picture in
            (
                picture.sums.count, picture.sums.values.reduce(0) { $0 + $1.active }, picture.sums.values.reduce(0) { $0 + $1.inside }
            )
        }
        return [
            "lots": .int(lots), "online": .int(links.values.reduce(0) { $0 + ($1.isOnline ? 1 : 0) }), "active": .int(active),
            "inside": .int(inside), "created": .int(totals.created), "cancelled": .int(totals.cancelled), "entered": .int(totals.entered),
            "left": .int(totals.left), "noShows": .int(totals.noShows), "refused": .int(totals.refused),
        ]
    }

    /// Looks at lots, each for itself: the lock of the city is free between two of them.
    private func look(at parkCodes: some Sequence<String>, _ links: [String: Presence.Link], now: Millis) {
        for parkCode in parkCodes {
            let found = sequencer.readUndurable { city -> (JSON?, (active: Int, inside: Int, saturation: Int, inForce: Int))? in
                city.lots[parkCode].map { lot in
                    (
                        LiveFeed.brief(lot, links[parkCode], now: now),
                        (
                            lot.reservations.values.reduce(0) { $0 + ($1.status.isActive ? 1 : 0) }, lot.inside.count,
                            lot.saturation.perMille,
                            lot.inForce.count
                        )
                    )
                }
            }
            guard let (row, sums) = found else { continue }
            picture.withLock { picture in
                picture.rows[parkCode] = row
                picture.sums[parkCode] = sums
            }
        }
    }

    /// The whole city, for a page that has just been opened: of the last second.
    func city(now: Millis) -> String {
        let tick = SystemClock.monotonic()
        let kept = picture.withLock { picture -> String? in
            if picture.madeAt != .min, tick - picture.madeAt < 1000 { return picture.text }
            picture.madeAt = tick
            return picture.text.isEmpty ? nil : ""
        }
        // The first caller in a second makes the snapshot; the other callers get the one before it.
        if let kept, !kept.isEmpty { return kept }
        let links = presence.snapshot
        look(at: sequencer.readUndurable { Array($0.lots.keys) }, links, now: now)
        let (totals, recent) = state.withLock { ($0.totals, $0.happenings) }
        let rows = picture.withLock { picture in picture.rows.sorted { $0.key < $1.key }.map(\.value) }
        let text = JSON.object(
            JSONObject([
                ("lots", .array(rows)), ("totals", totalsJSON(links, totals)), ("orders", .array(recent.suffix(30).map(\.json))),
                ("now", .int(now)),
            ])
        ).string
        picture.withLock { $0.text = text }
        return text
    }

    /// Sends the changes since the last call to all viewers.
    func tick(now: Millis) {
        let (changed, happenings, totals, viewers) = state.withLock { state in
            defer {
                state.changed = []
                if !state.viewers.isEmpty { state.happenings = Array(state.happenings.suffix(30)) }
            }
            return (state.changed, state.happenings, state.totals, Array(state.viewers.values))
        }
        let links = presence.snapshot
        // A lot's picture is made of all its orders: only for somebody who looks.
        guard !viewers.isEmpty else { return }
        look(at: changed, links, now: now)
        let rows = picture.withLock { picture in changed.compactMap { picture.rows[$0] } }
        let text = JSON.object(
            JSONObject([
                ("lots", .array(rows)), ("totals", totalsJSON(links, totals)), ("orders", .array(happenings.suffix(12).map(\.json))),
                ("now", .int(now)),
            ])
        ).string
        for viewer in viewers { viewer.yield(text) }
    }

    /// A stream of updates; nil when too many watch already. A viewer that reads too slowly misses updates, no more.
    func watch() -> (id: UInt64, updates: AsyncStream<String>)? {
        state.withLock { state in
            guard state.viewers.count < Limits.viewersMax else { return nil }
            let (stream, continuation) = AsyncStream.makeStream(of: String.self, bufferingPolicy: .bufferingNewest(4))
            state.lastViewer += 1
            let id = state.lastViewer
            state.viewers[id] = continuation
            continuation.onTermination = { [weak self] _ in self?.leave(id) }
            return (id, stream)
        }
    }

    private func leave(_ id: UInt64) { state.withLock { $0.viewers[id] = nil } }

    func finish() { for viewer in state.withLock({ Array($0.viewers.values) }) { viewer.finish() } }
}
