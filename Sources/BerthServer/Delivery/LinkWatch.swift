import BerthCore
import Synchronization

/// Passes on that a lot has come or gone, and raises the events of the server's own that tell of it: 6001 and 6002, and 6012 and 6013 around a long
/// backlog of a down log. Methods are called on any thread.
final class LinkWatch: PresenceListener {
    private let deliverer: Deliverer
    private let live: LiveFeed
    private let sequencer: Sequencer
    /// Backlogs that are on their way to lots that came back.
    private let resuming = Mutex<[String: Backlog]>([:])

    private struct Backlog {
        let epoch: String?
        let last: Int64
        let count: Int64
    }

    init(deliverer: Deliverer, live: LiveFeed, sequencer: Sequencer) {
        self.deliverer = deliverer
        self.live = live
        self.sequencer = sequencer
    }

    func linkChanged(_ parkCode: String, isOnline: Bool, isTold: Bool, now: Millis) {
        if isOnline { deliverer.reachable(parkCode) } else { deliverer.unreachable(parkCode) }
        live.linkChanged(parkCode)
        guard isTold else { return }
        raise(parkCode, isOnline ? 6001 : 6002, now: now)
        if isOnline { noteBacklog(parkCode, now: now) }
    }

    private func noteBacklog(_ parkCode: String, now: Millis) {
        let backlog: Backlog? = sequencer.readUndurable { city in
            guard let lot = city.lots[parkCode], lot.downLast - lot.downAck > Limits.backlogMin else { return nil }
            return Backlog(epoch: lot.downEpoch, last: lot.downLast, count: lot.downLast - lot.downAck)
        }
        guard let backlog else { return }
        let isNew = resuming.withLock { resuming in
            guard resuming[parkCode] == nil else { return false }
            resuming[parkCode] = backlog
            return true
        }
        if isNew { raise(parkCode, 6012, detail: "down \(backlog.count)", now: now) }
    }

    /// Looks which backlogs have arrived; once a second.
    func tick(now: Millis) {
        let open = resuming.withLock { $0 }
        guard !open.isEmpty else { return }
        let done = sequencer.readUndurable { city in
            open.filter { parkCode, backlog in
                guard let lot = city.lots[parkCode] else { return true }
                // A new epoch began with a snapshot, which ends the old one's backlog.
                return lot.downEpoch != backlog.epoch || lot.downAck >= backlog.last
            }
        }
        for (parkCode, backlog) in done {
            resuming.withLock { $0[parkCode] = nil }
            raise(parkCode, 6013, detail: "down \(backlog.count)", now: now)
        }
    }

    private func raise(_ parkCode: String, _ type: Int, detail: String = "", now: Millis) {
        sequencer.perform(.raise(LotEvent(parkCode: parkCode, eventType: type, occurredAt: now, detail: detail)), now: now)
    }
}
