import BerthCore

/// A group of commits that has just become durable.
struct Durable: Sendable {
    var events: [Event]
    var at: Millis
    /// Number of the last entry of the journal; 0 when none was made.
    var journalId: Int64
}

/// Hears what became durable, in order.
protocol DurableListener: AnyObject, Sendable {
    func committed(_ durable: Durable)
}
