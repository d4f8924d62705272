import BerthCore
import BerthStore
import Synchronization

/// Counts look-ups of things that nobody has read.
private final class UnreadLooks: Sendable {
    let count = Atomic<Int>(0)
    var past: Past { Past { [self] in count.wrappingAdd(1, ordering: .relaxed) } }
}

extension City {
    /// Reads what the decision needs of the past, and decides. A rule that asks for anything else is a fault of `City.lacks`.
    mutating func decide(_ command: Command, at now: Millis, reading store: any Store) throws -> Decision {
        let unread = UnreadLooks()
        let past = try store.gather(unread.past) { lacks(command, $0) }
        let decision = decide(command, at: now, past: past)
        guard unread.count.load(ordering: .relaxed) == 0 else {
            throw StoreError.unavailable("\(command) asked for what was not read")
        }
        return decision
    }

    func sessionFee(_ parkCode: String, recordNo: String, at now: Millis, reading store: any Store) throws -> SessionFee? {
        let key = Past.Key.visit(parkCode: ByteKey(parkCode), recordNo: ByteKey(recordNo))
        let past = try store.gather { lacks([key], $0) }
        return sessionFee(parkCode, recordNo: recordNo, at: now, past: past)
    }
}
