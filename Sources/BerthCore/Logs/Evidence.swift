// The evidence that a lot's message gives, and the time of which it is evidence (interface.md, section 5.5).
extension City {
    /// The lot's log has passed `time`: by an entry of the log that says when it happened, or by a heartbeat with an empty queue.
    /// A time that lies more than five minutes ahead is evidence of nothing; no message is evidence of a time after its sending.
    public mutating func notePassed(_ parkCode: String, through time: Millis, at now: Millis = .max) {
        if now < .max, time > now + City.aheadMillisMax { return }
        let time = min(time, now, sentAt)
        guard let before = lots[parkCode]?.passedThrough, time > before else { return }
        lots[known: parkCode].passedThrough = time
    }

    /// The most by which a reported time may lie ahead of the clock, ms (section 5.5).
    public static let aheadMillisMax: Millis = 300_000

    /// A reported time as the city takes it: a time too far ahead counts as now and raises event 6010.
    mutating func present(_ time: Millis, _ name: String, _ parkCode: String, at now: Millis, _ events: inout [Event]) -> Millis {
        guard time > now + City.aheadMillisMax else { return time }
        events.append(.notice(LotEvent(parkCode: parkCode, eventType: 6010, occurredAt: now, detail: "\(name) \(time)")))
        return now
    }

    /// A lot's count of cars; the latest statement counts (section 8).
    /// - Parameter now: an older statement of a later time than this is of a clock that has stepped since, and holds nothing up.
    mutating func note(_ remaining: Remaining, _ parkCode: String, at now: Millis, _ events: inout [Event]) {
        if let old = lots[parkCode]?.remaining, (old.reportedAt > remaining.reportedAt && old.reportedAt <= now) || old == remaining {
            return
        }
        lots[known: parkCode].remaining = remaining
        noteRefilled(parkCode)
        events.append(.remaining(parkCode: parkCode, remaining))
    }
}
