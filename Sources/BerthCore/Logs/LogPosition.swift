/// The position of the reader of a log: the open epoch, the highest contiguous `seq` consumed, and the epochs that were closed
/// (interface.md, section 5). The same value serves the server for the up log and the gateway for the down log.
public struct LogPosition: Sendable, Equatable {
    public private(set) var epoch: String?
    public private(set) var ackSeq: Int64
    public private(set) var closed: Set<String>

    public init(epoch: String? = nil, ackSeq: Int64 = 0, closed: Set<String> = []) {
        self.epoch = epoch
        self.ackSeq = ackSeq
        self.closed = closed
    }

    /// The treatment of an entry that has just arrived.
    public enum Admission: Sendable, Equatable {
        /// It is the next one.
        case next
        /// It was consumed before; its first result is repeated.
        case duplicate
        /// 610: the writer goes back to `expectedSeq`.
        case gap(expectedSeq: Int64)
        /// 613: its epoch was closed, and has no effect any more.
        case closed
    }

    public func admit(epoch: String, seq: Int64) -> Admission {
        if closed.contains(epoch) { return .closed }
        guard epoch == self.epoch else { return seq == 1 ? .next : .gap(expectedSeq: 1) }
        if seq <= ackSeq { return .duplicate }
        return seq == ackSeq + 1 ? .next : .gap(expectedSeq: ackSeq + 1)
    }

    /// Takes an entry that was admitted as `.next`; a new epoch closes the old one. Any other entry changes nothing.
    public mutating func consume(epoch: String, seq: Int64) {
        guard admit(epoch: epoch, seq: seq) == .next else { return }
        if let old = self.epoch, old != epoch { closed.insert(old) }
        self.epoch = epoch
        ackSeq = seq
    }

    /// Goes on from a snapshot: everything up to `seq` is known by other means.
    public mutating func jump(epoch: String, seq: Int64) {
        if let old = self.epoch, old != epoch { closed.insert(old) }
        closed.remove(epoch)
        self.epoch = epoch
        ackSeq = seq
    }
}
