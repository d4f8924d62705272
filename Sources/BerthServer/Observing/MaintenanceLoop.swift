import BerthCore
import BerthLink
import BerthStore
import Foundation
import Logging
import ServiceLifecycle

/// Time, once a second: deadlines, silence, sendings to repeat; twice a second the viewers; now and then the memory.
struct MaintenanceLoop: Service {
    let sequencer: Sequencer
    let presence: Presence
    let deliverer: Deliverer
    let live: LiveFeed
    let notifier: Notifier
    let onboarding: Onboarding
    let statistics: Statistics
    let pictures: PictureStore
    let store: any Store
    let retention: Retention
    let occupancy: OccupancyRecorder
    let logger: Logger
    let clock: @Sendable () -> Millis
    let links: LinkWatch
    let dataDirectory: String
    /// Looks through the database after the start.
    let verifies: Bool
    private let isUpkeeping = Flag()
    private let isCounting = Flag()
    private let isStopping = Flag()
    private let diskWasFull = Flag()

    /// Deletes what is over: on a thread of its own, since it looks at everything; one such job at a time.
    private func upkeep(isDaily: Bool, now: Millis) {
        guard !isUpkeeping.set(true) else { return }
        Blocking.write { [self] in
            defer { isUpkeeping.set(false) }
            pictures.retire(now: now)
            do throws(StoreError) {
                try store.prune(retention, now: now)
                if isDaily { try store.retire(retention, now: now) }
            } catch { logger.error("what is over could not be deleted", metadata: ["why": "\(error.reason)"]) }
        }
    }

    private func every(_ job: @escaping @Sendable () -> Void, _ isRunning: Flag) {
        guard !isRunning.set(true) else { return }
        Blocking.write {
            job()
            isRunning.set(false)
        }
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var beat = 0
            var deadlines = DeadlineClock(wall: clock(), tick: SystemClock.monotonic())
            upkeep(isDaily: true, now: clock())
            verifySoon()
            while !Task.isCancelled {
                try? await Task.sleep(for: .milliseconds(500))
                let now = clock()
                let deadline = deadlines.now(wall: now, tick: SystemClock.monotonic())
                live.tick(now: now)
                beat += 1
                guard beat % 2 == 0 else { continue }
                deliverer.tick()
                presence.sweep()
                links.tick(now: now)
                PaymentChannel.tick(sequencer, now: now)
                notifier.tick()
                onboarding.tick(now: now)
                if beat % 10 == 0 {
                    every(
                        { [self] in
                            statistics.sample(
                                sequencer.readUndurable { $0.lots.values.map { ($0.parkCode, $0.saturation.perMille) } }, now: now)
                            statistics.flush()
                            let today = CivilTime.day(of: now)
                            if let row = (try? statistics.query(days: today...today, parkCode: nil, appId: nil, by: []))?.first {
                                live.note(today: row)
                            }
                            let (links, tick) = (presence.snapshot, SystemClock.monotonic())
                            occupancy.tick(now: now) { links[$0].map { !$0.isSilent(tick) } ?? false }
                            watchDisk(now: now)
                        }, isCounting)
                }
                if beat % 20 == 0 { ServiceManager.alive() }
                let due = sequencer.readUndurable { city in city.lots.keys.filter { city.isDue($0, at: deadline) } }
                for parkCode in due { sequencer.perform(.expire(parkCode: parkCode), now: deadline) }
                if beat % 120 == 0 {
                    let ended = min(now, deadline) - Limits.keepEndedMillis
                    for parkCode in sequencer.readUndurable({ Array($0.lots.keys) }) {
                        sequencer.forget(parkCode, endedBefore: ended)
                    }
                    for part in City.sharedParts { sequencer.forgetShared(part, endedBefore: ended) }
                }
                if beat % 7200 == 0 { upkeep(isDaily: beat % 172_800 == 0, now: now) }
            }
            isStopping.set(true)
        }
        // A viewer's stream has no end of its own, and a long poll only a late one; the fronts wait for both.
        live.finish()
        deliverer.finish()
    }

    /// Event 6011 for a data disk that is nearly full; once for each time.
    private func watchDisk(now: Millis) {
        guard let usage = DiskUsage(path: dataDirectory) else { return }
        let isFull = usage.percent >= Limits.diskPercentMax
        guard diskWasFull.set(isFull) != isFull, isFull else { return }
        logger.warning("the data disk is nearly full", metadata: ["percent": "\(usage.percent)", "folder": "\(dataDirectory)"])
        sequencer.perform(.raise(LotEvent(parkCode: "", eventType: 6011, occurredAt: now, detail: "\(usage.percent)")), now: now)
    }

    /// After a start, the database is looked through beside the work; each difference is logged.
    private func verifySoon() {
        guard verifies, let store = store as? any HistoryStore else { return }
        let (retention, clock, logger, isStopping) = (retention, clock, logger, isStopping)
        DispatchQueue(label: "berth.verify", qos: .background).asyncAfter(deadline: .now() + .seconds(Limits.verifyAfterSeconds)) {
            guard !isStopping.isSet else { return }
            do throws(StoreError) {
                let findings = try store.verify(retention, now: clock(), isWanted: { !isStopping.isSet })
                for finding in findings {
                    logger.error("the database is not what its journal makes of it", metadata: ["finding": "\(finding)"])
                }
                if findings.isEmpty { logger.info("the database is what its journal makes of it") }
            } catch { logger.error("the database could not be looked through", metadata: ["why": "\(error.reason)"]) }
        }
    }
}
