import BerthCore
import BerthStore

/// A group of commits that has just become durable.
struct Durable: Sendable {
    let commits: [Commit]
    /// The events of all commits, in order.
    let events: [Event]
    let at: Millis
    /// Number of the last entry of the journal; 0 when none was made.
    let journalId: Int64

    init(commits: [Commit], at: Millis, journalId: Int64) {
        self.commits = commits
        events = commits.flatMap(\.events)
        self.at = at
        self.journalId = journalId
    }
}

/// Hears what became durable, in order.
protocol DurableListener: AnyObject, Sendable {
    func committed(_ durable: Durable)
}
