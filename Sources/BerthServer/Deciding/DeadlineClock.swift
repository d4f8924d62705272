import BerthCore

/// The clock of deadlines: the server's own, except that a step forward lets no time pass that did not pass. It catches up by a tenth, so that
/// a hold of five minutes lasts at least four and a half; after a step back it stands with the server's clock.
struct DeadlineClock {
    private var time: Millis
    private var tick: Int64

    init(wall: Millis, tick: Int64) { (time, self.tick) = (wall, tick) }

    /// - Parameters:
    ///   - wall: the server's clock, ms since 1970.
    ///   - tick: a clock that never goes back, ms.
    mutating func now(wall: Millis, tick: Int64) -> Millis {
        let passed = max(0, tick - self.tick)
        self.tick = tick
        time = min(wall, time + passed + passed / 10 + 1)
        return time
    }
}
