import BerthCore
import BerthWire

/// Ranges that a number from outside lies in before anything is computed with it: spool rows, the local API, replies of a server.
enum Bounds {
    /// `time` of section 2: ms since the epoch, 13 digits.
    static let times: ClosedRange<Int64> = 1_000_000_000_000...9_999_999_999_999
    /// `seq` and `ackSeq`; 0 before the first entry.
    static let seqs: ClosedRange<Int64> = 0...WireLimits.intMax
    /// Scalars of an epoch (section 5).
    static let epochMax = 16
    /// Places of one lot: the wire's own limit.
    static let places: ClosedRange<Int64> = 1...1_000_000
    /// Nesting of `detail` in an event that the local API takes.
    static let detailDepthMax = 28
    /// Nesting of the data of an entry that can stand in a batch: envelope, data, entries and entry are around it.
    static let batchDepthMax = WireLimits.depthMax - 4
    /// Nesting of the data of an entry that is sent alone.
    static let aloneDepthMax = WireLimits.depthMax - 1

    /// Whether a text can be an epoch: it stands in signed members.
    static func isEpoch(_ text: String) -> Bool {
        (1...epochMax).contains(text.unicodeScalars.count) && Envelope.isSafe(text)
    }
}

extension JSON {
    /// Levels of arrays and objects; 0 for a scalar. Bounded, since the reader is.
    var depth: Int {
        switch self {
        case .array(let values): 1 + (values.lazy.map(\.depth).max() ?? 0)
        case .object(let object): 1 + (object.members.lazy.map(\.value.depth).max() ?? 0)
        default: 0
        }
    }
}
