import BerthCore
import Foundation
import Synchronization

/// written is only counted.
final class RefusalLog: Sendable {
    private let queue = DispatchQueue(label: "berth.refusals")
    private let waiting = Atomic<Int>(0)
    private static let waitingMax = 2_000

    func note(_ write: @escaping @Sendable () -> Void) {
        guard waiting.load(ordering: .relaxed) < RefusalLog.waitingMax else { return }
        waiting.add(1, ordering: .relaxed)
        queue.async { [self] in
            write()
            waiting.subtract(1, ordering: .relaxed)
        }
    }
}
