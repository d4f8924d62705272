public import BerthCore

/// The end of a page of one lot's dead letters. They are ordered by time of arrival, place in the log and epoch, the newest first.
public struct DeadLetterPlace: Sendable, Equatable {
    public let at: Millis
    public let seq: Int64
    public let epoch: String

    public init(_ row: UpResult) { (at, seq, epoch) = (row.at, row.seq, row.epoch) }

    /// From a cursor; nil for a text that is none.
    public init?(_ text: String) {
        let parts = text.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, let at = Millis(parts[0]), let seq = Int64(parts[1]), !parts[2].isEmpty else { return nil }
        (self.at, self.seq, epoch) = (at, seq, String(parts[2]))
    }

    public var text: String { "\(at).\(seq).\(epoch)" }
}
