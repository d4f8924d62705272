import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Logging
import Synchronization

/// A city whose store was restored has sold numbers and told lots things that it does not know of (section 6, "Settled" e). Here their down logs
/// begin anew: of every lot after the operator's word or a loss that was accepted, and of one lot when it turns out to know more than the city.
final class Lineage: Sendable {
    private let sequencer: Sequencer
    private let clock: @Sendable () -> Millis
    private let logger: Logger
    /// When a lot's log was begun anew for its own word, of a clock that never goes back: a lot that lies about it gets it once in a while.
    private let renewed = Mutex<[String: Int64]>([:])
    private static let pauseMillis: Int64 = 3_600_000

    init(sequencer: Sequencer, clock: @escaping @Sendable () -> Millis, logger: Logger) {
        self.sequencer = sequencer
        self.clock = clock
        self.logger = logger
    }

    private func epoch() -> String { "d" + String(clock(), radix: 36) + SystemRandom.token(2).lowercased() }

    /// After a start in a new lineage: the logs that have none yet.
    func begin() throws(StoreError) {
        guard let store = sequencer.store as? any HistoryStore, try store.lineage() > 0 else { return }
        for parkCode in sequencer.readUndurable({ city in
            city.lots.values.filter { $0.profile != nil && $0.downEpoch == nil }.map(\.parkCode)
        }) {
            sequencer.perform(.renewDown(parkCode: parkCode, epoch: epoch()), now: clock())
        }
    }

    /// A lot has taken entries of its open epoch that this city has not written: the store is older than what the lot has seen.
    /// - Parameter done: called when the lot's log has begun anew.
    func ahead(_ parkCode: String, has seq: Int64, of last: Int64, done: @escaping @Sendable () -> Void) {
        let tick = SystemClock.monotonic()
        let (mayRenew, isFirst) = renewed.withLock { renewed in
            if let at = renewed[parkCode], tick - at < Lineage.pauseMillis { return (false, false) }
            let isFirst = renewed.isEmpty
            renewed[parkCode] = tick
            return (true, isFirst)
        }
        guard mayRenew else { return }
        logger.error(
            "a lot knows more of its log than this city: was a backup put back? Its log begins anew; `berth restored` does it for all lots",
            metadata: ["lot": "\(parkCode)", "lotHas": "\(seq)", "cityHas": "\(last)"])
        let (now, epoch) = (clock(), epoch())
        Blocking.write { [self] in
            // Numbers that the lost time may have given are skipped, once.
            if isFirst, let store = sequencer.store as? any HistoryStore {
                let serial = sequencer.readUndurable { $0.lastOrderSerial } + type(of: store).skippedSerials
                do throws(StoreError) {
                    try store.skipSerials(through: serial)
                    sequencer.readUndurable { $0.restore(lastSerial: serial) }
                } catch { logger.error("order numbers could not be skipped", metadata: ["why": "\(error.reason)"]) }
            }
            sequencer.perform(
                .renewDown(parkCode: parkCode, epoch: epoch),
                audit: Audit.desk("down.renew", target: parkCode, detail: "the lot has \(seq), the city \(last)", now: now), now: now
            ) { answer in if answer.code == 0 { done() } }
        }
    }
}
