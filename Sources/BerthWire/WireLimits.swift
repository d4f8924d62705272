import BerthCore

/// Every bound of the wire in one place, each with its reason (interface.md, sections 2 to 5).
public enum WireLimits {
    /// A body or MQTT payload, bytes: section 3, code 104.
    public static let bodyBytesMax = 1 << 20
    /// `int`, `long`: section 2.
    public static let intMax: Int64 = 1 << 53
    /// `money`, fen: ten million yuan, far above any parking fee.
    public static let moneyMax: Int64 = 1_000_000_000
    /// Longest name or number of something, scalars; a field that may be longer is a text and may have lines.
    public static let nameMax = 64
    /// Nesting of JSON: section 3, code 101. It also bounds the reader's recursion.
    public static let depthMax = 32
    /// How far a sender's clock may be off, ms: section 3, code 202.
    public static let clockSkewMillisMax: Int64 = 300_000
    /// How long a nonce is remembered, ms: twice the skew, so that no accepted timestamp outlives it.
    public static let nonceMillis: Int64 = 600_000
    /// How long a final result is repeated, ms: section 3, "at least 24 h".
    public static let replyMillis: Int64 = 24 * 3_600_000
    /// Entries of one batch: section 5.4, code 104.
    public static let batchEntriesMax = 500
    /// Bytes of one batch that a writer makes: section 5.4.
    public static let batchBytesMax = 512_000
    /// Entries in flight per lot and direction: section 4, code 300.
    public static let inFlightMax = 100
    /// Long poll, ms: section 5.4.
    public static let waitMillisMax: Int64 = 30_000
    /// When an unanswered entry is sent again, seconds after the sending: section 4.
    public static let resendSeconds: [Int64] = [5, 10, 20, 30, 60]
    /// How long a writer waits between attempts while the other side is unreachable, seconds: section 5.4.
    public static let reconnectSeconds: [Int64] = [1, 2, 5, 10, 20, 30, 60]
    /// Silence after which a lot counts as offline, ms: section 4 (heartbeat 30 s).
    public static let silenceMillis: Int64 = 90_000
    /// How long down entries are kept after their acknowledgement, ms: section 5.7.
    public static let downKeepMillis: Int64 = 30 * 86_400_000
}
