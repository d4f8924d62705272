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
        /// The durable counts of the day, of the last seconds.
        var today: JSON = [:]
        var statuses: [String: ReservationStatus] = [:]
        /// Updates that have been made, for viewers or not.
        var updates: Int64 = 0
    }

    /// An order that began, moved or ended; words are found for it when somebody watches.
    private struct Activity: Sendable {
        var number: Int64
        var reservation: Reservation

        var json: JSON {
            [
                "i": .int(number), "t": .int(reservation.changedAt), "lot": .string(reservation.parkCode),
                "status": .int(reservation.status.rawValue), "plan": .int(reservation.planTime),
            ]
        }
    }

    private let state = Mutex(State())
    /// Changes with each start, so that an open page knows that its state is another server's.
    private let runId = SystemRandom.token(8)
    private let sequencer: Sequencer
    private let presence: Presence
    private let clock: @Sendable () -> Millis

    init(sequencer: Sequencer, presence: Presence, clock: @escaping @Sendable () -> Millis) {
        self.sequencer = sequencer
        self.presence = presence
        self.clock = clock
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

    /// Takes the durable counts of the day, which survive a restart.
    func note(today: JSON) { state.withLock { $0.today = today } }

    var totals: Totals { state.withLock { $0.totals } }

    // MARK: Data for viewers

    private static func brief(_ lot: Lot, _ link: Presence.Link?, now: Millis) -> JSON? {
        guard let profile = lot.profile else { return nil }
        let reservations = lot.reservations.values.reduce(0) { $0 + ($1.status.isActive ? 1 : 0) }
        let purpose: Purpose = profile.enabled.contains(.reservation) ? .reservation : .shared
        return LotView.with(
            LotView.standing(lot, link),
            [
                "c": .string(lot.parkCode), "r": .string(profile.regionCode), "n": .string(profile.name), "x": .string(profile.longitude),
                "y": .string(profile.latitude), "t": .int(profile.lotType), "total": .int(profile.totalCount),
                "occ": .int(lot.occupied), "sat": .int(lot.saturation.perMille), "lvl": .int(lot.saturation.level),
                "q": .int(lot.quota(purpose)), "free": .int(lot.free(purpose.pool, at: now)), "orders": .int(reservations),
                "share": .bool(profile.enabled.contains(.shared)), "on": .bool(link?.isOnline ?? false),
            ])
    }

    private struct Sums: Sendable {
        var active: Int
        var inside: Int
        var saturation: Int
        var inForce: Int
    }

    /// Sums of each lot with the number of the look, and the text of the whole city: made between two updates for all who ask, lot by lot, so
    /// that nobody who wants to book waits for them.
    private struct Picture: Sendable {
        var sums: [String: (number: UInt64, sums: Sums)] = [:]
        /// The last update before the text was made.
        var update: Int64 = -1
        var text = ""
    }

    private struct Building {
        var isRunning = false
        var waiting: [CheckedContinuation<String, Never>] = []
    }

    /// How full each lot is, for measurements: of the last second.
    struct Measure: Sendable {
        var parkCode: String
        var perMille: Int
        var inForce: Int
        var inside: Int
    }

    private let picture = Mutex(Picture())
    private let building = Mutex(Building())
    private let looks = Atomic<UInt64>(0)

    var measures: [Measure] {
        picture.withLock {
            $0.sums.map {
                Measure(
                    parkCode: $0.key, perMille: $0.value.sums.saturation, inForce: $0.value.sums.inForce, inside: $0.value.sums.inside)
            }
        }.sorted { $0.parkCode < $1.parkCode }
    }

    private func totalsJSON(_ links: [String: Presence.Link], _ totals: Totals) -> JSON {
        let (lots, active, inside) = picture.withLock { picture in
            (
                picture.sums.count, picture.sums.values.reduce(0) { $0 + $1.sums.active },
                picture.sums.values.reduce(0) { $0 + $1.sums.inside }
            )
        }
        return [
            "lots": .int(lots), "online": .int(links.values.reduce(0) { $0 + ($1.isOnline ? 1 : 0) }), "active": .int(active),
            "inside": .int(inside), "created": .int(totals.created), "cancelled": .int(totals.cancelled), "entered": .int(totals.entered),
            "left": .int(totals.left), "noShows": .int(totals.noShows), "refused": .int(totals.refused),
        ]
    }

    /// Looks at lots, each for itself: the lock of the city is free between two of them. A look that another one has overtaken is not kept.
    /// - Returns: the rows, in the order of the lots.
    private func look(
        at parkCodes: some Sequence<String>, _ links: [String: Presence.Link], now: Millis
    ) -> [JSON] {
        parkCodes.compactMap { parkCode in
            let found = sequencer.readUndurable { city -> (number: UInt64, row: JSON?, sums: Sums)? in
                city.lots[parkCode].map { lot in
                    // The number is taken under the city's lock: the greater one is the later look.
                    let number = looks.add(1, ordering: .relaxed).newValue
                    let sums = Sums(
                        active: lot.reservations.values.reduce(0) { $0 + ($1.status.isActive ? 1 : 0) }, inside: lot.inside.count,
                        saturation: lot.saturation.perMille, inForce: lot.inForce.count)
                    return (number, LiveFeed.brief(lot, links[parkCode], now: now), sums)
                }
            }
            guard let found else { return nil }
            picture.withLock { picture in
                if (picture.sums[parkCode]?.number ?? 0) < found.number { picture.sums[parkCode] = (found.number, found.sums) }
            }
            return found.row
        }
    }

    /// The whole city, for a page that has just opened its stream. No change is missing between the two: the text was made after the update
    /// whose number `n` it has, and the changes since then are in the next one. A crowd has two texts made for it at most: callers who come
    /// while one is made wait for the next one, on no thread.
    func city() async -> String {
        if let kept = keptText() { return kept }
        return await withCheckedContinuation { continuation in
            let isFirst = building.withLock { building in
                building.waiting.append(continuation)
                defer { building.isRunning = true }
                return !building.isRunning
            }
            if isFirst { Blocking.run { [self] in build() } }
        }
    }

    private func keptText() -> String? {
        let update = state.withLock { $0.updates }
        return picture.withLock { $0.update == update ? $0.text : nil }
    }

    /// Makes texts until nobody waits.
    private func build() {
        while true {
            let waiting = building.withLock { building in
                defer { building.waiting = [] }
                if building.waiting.isEmpty { building.isRunning = false }
                return building.waiting
            }
            guard !waiting.isEmpty else { return }
            let text = keptText() ?? makeText()
            for continuation in waiting { continuation.resume(returning: text) }
        }
    }

    private func makeText() -> String {
        let now = clock()
        let (update, totals, recent, today) = state.withLock { ($0.updates, $0.totals, $0.happenings, $0.today) }
        let links = presence.snapshot
        let rows = look(at: sequencer.readUndurable { $0.lots.keys.sorted() }, links, now: now)
        let text = JSON.object(
            JSONObject([
                ("lots", .array(rows)), ("totals", totalsJSON(links, totals)), ("orders", .array(recent.suffix(30).map(\.json))),
                ("today", today), ("run", .string(runId)), ("now", .int(now)), ("n", .int(update)),
            ])
        ).string
        picture.withLock {
            $0.text = text
            $0.update = update
        }
        return text
    }

    /// Sends the changes since the last call to all viewers.
    func tick(now: Millis) {
        let (changed, happenings, totals, today, viewers, number) = state.withLock { state in
            state.updates += 1
            defer {
                state.changed = []
                if !state.viewers.isEmpty { state.happenings = Array(state.happenings.suffix(30)) }
            }
            return (state.changed, state.happenings, state.totals, state.today, Array(state.viewers.values), state.updates)
        }
        let links = presence.snapshot
        // A lot's picture is made of all its orders: only for somebody who looks.
        guard !viewers.isEmpty else { return }
        let rows = look(at: changed, links, now: now)
        let text = JSON.object(
            JSONObject([
                ("lots", .array(rows)), ("totals", totalsJSON(links, totals)), ("orders", .array(happenings.suffix(12).map(\.json))),
                ("today", today), ("run", .string(runId)), ("now", .int(now)), ("n", .int(number)),
            ])
        ).string
        // A viewer that would miss an update opens its stream anew, and has the whole state.
        for viewer in viewers { if case .dropped = viewer.yield(text) { viewer.finish() } }
    }

    /// A stream of updates; nil when too many watch already. It ends for a viewer that reads too slowly.
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
