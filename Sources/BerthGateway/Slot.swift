import BerthCore
import Synchronization

/// A value that the spool's thread finds out in a write and its completion uses: the write may be run on another thread than it was made on.
final class Slot<Value: Sendable>: Sendable {
    private let stored: Mutex<Value>

    init(_ value: Value) { stored = Mutex(value) }

    var value: Value { stored.withLock { $0 } }
    func set(_ value: Value) { stored.withLock { $0 = value } }
}
