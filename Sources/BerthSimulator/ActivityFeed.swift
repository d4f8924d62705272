import Synchronization

/// The latest happenings, a line each, for a viewer; bounded.
final class ActivityFeed: Sendable {
    private static let most = 100
    private let lines = Mutex<[String]>([])

    func add(_ text: String) {
        lines.withLock {
            $0.append(text)
            if $0.count > ActivityFeed.most { $0.removeFirst(ActivityFeed.most / 2) }
        }
    }

    /// The latest ones, oldest first.
    func recent(_ count: Int) -> [String] { lines.withLock { Array($0.suffix(count)) } }
}
