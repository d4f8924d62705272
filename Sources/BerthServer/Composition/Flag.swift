import Synchronization

/// A flag that several threads set.
final class Flag: Sendable {
    private let value: Atomic<Bool>
    init(_ value: Bool = false) { self.value = Atomic(value) }
    var isSet: Bool { value.load(ordering: .acquiring) }
    /// - Returns: the value before.
    @discardableResult func set(_ new: Bool) -> Bool { value.exchange(new, ordering: .acquiringAndReleasing) }
}
