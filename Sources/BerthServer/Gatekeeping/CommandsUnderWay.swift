import BerthCore
import Synchronization

/// Commands to lots that are under way (D13 to D17, D22, D23): the same one does not go out twice at a time.
final class CommandsUnderWay: Sendable {
    private let underWay = Mutex<Set<ByteKey>>([])

    /// False when it is under way already.
    func begin(_ key: String) -> Bool { underWay.withLock { $0.insert(ByteKey(key)).inserted } }
    func end(_ key: String) { underWay.withLock { _ = $0.remove(ByteKey(key)) } }
}
