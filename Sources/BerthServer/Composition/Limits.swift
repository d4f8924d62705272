import BerthCore
import BerthWire
import Foundation

/// Bounds of the server's own making; those of the contract stand in `WireLimits` and `Policy`.
enum Limits {
    /// Messages decided but not yet durable, over all lots; beyond it the caller gets 300 at once. Some 50 ms of work.
    static let backlogMax = 20_000
    /// Single log entries of one lot decided but not yet durable (section 4).
    static let logBacklogPerLotMax = WireLimits.inFlightMax
    /// Messages in one transaction: keeps a commit, and with it everybody's wait, short.
    static let batchMax = 2_000
    /// Bytes of them, nearly: records that lots bring back after an outage are large.
    static let batchBytesMax = 16 << 20
    /// How long ended orders and visits stay in memory, ms: longer than any commit takes.
    static let keepEndedMillis: Int64 = 600_000
    /// A request's head and body must arrive within this time, s.
    static let requestSeconds: Int64 = 20
    /// A request's head: bytes of one field and of all, and the number of fields.
    static let headBytesMax = 80 << 10
    static let headFieldsMax = 1_000
    /// A connection on which nothing happens is closed, s. Longer than a long poll.
    static let idleSeconds: Int64 = 75
    /// Bytes of an over-long body that are read and thrown away so that the sender can read its answer.
    static let drainBytesMax = 64 << 20
    /// Nonces remembered at most per generation: 600 s at the rate of a large city.
    static let nonceMax = 4_000_000
    /// `lot.search`: page length and radius, m.
    static let searchPage = 50
    static let searchRadiusMax: Int64 = 5_000
    /// A question to a lot is answered within this time, ms, or not at all (section 4: 10 s).
    static let relayMillis: Int64 = 10_000
    /// A command to a gate or lock is never executed later than this, ms (D13).
    static let commandMillisMax: Int64 = 5_000
    /// How long a lot may think about a fee, ms.
    static let feeQueryMillis: Int64 = 5_000
    /// How long a bill can be paid, ms; afterwards the fee is asked again (1402).
    static let billMillis: Int64 = 300_000
    /// An upload ticket and a picture's address are good for so long, ms (U18, section 13: at most 10 minutes).
    static let ticketMillis: Int64 = 600_000
    static let downloadMillis: Int64 = 600_000
    /// A ticket that ended unused is forgotten after this time, ms.
    static let deadTicketMillis: Int64 = 86_400_000
    /// A good size of one piece of an upload, bytes.
    static let chunkBytes = 65_536
    /// Rows of one answer of `stat.daily.query`.
    static let statisticRowsMax = 1_000
    /// Reservations of a preview that are named, and for which other lots are looked for.
    static let previewLooksMax = 100
    /// Rows of one answer about the rules, and records that a reconciliation looks at.
    static let ruleRowsMax = 1_000
    static let reconRowsMax = 100_000
    /// Dead letters of one lot that nothing has made good; then its log is frozen (612).
    static let deadLettersMax = 10_000
    /// Long polls that wait for one lot at a time.
    static let pollsPerLotMax = 16
    /// Down entries that wait for a lot that comes back; more of them are told of as events 6012 and 6013.
    static let backlogMin: Int64 = 100
    /// From this on a data disk is nearly full (event 6011), per cent.
    static let diskPercentMax = 95
    /// How long after a start the database is looked through, s: when the rush of lots that come back is over. Tests ask for it sooner.
    static let verifyAfterSeconds = ProcessInfo.processInfo.environment["BERTH_TEST_VERIFY_AFTER"].flatMap { Int($0) } ?? 600
    /// Viewers of the live page.
    static let viewersMax = 200
    /// Lots that are named for one credential of a list.
    static let credentialLotsMax = 100

    static func check() {
        precondition(requestSeconds * 1000 < WireLimits.clockSkewMillisMax, "a slow request must not outlive its clock check")
        precondition(idleSeconds * 1000 > WireLimits.waitMillisMax, "a long poll must not look idle")
        precondition(WireLimits.nonceMillis >= 2 * WireLimits.clockSkewMillisMax, "a nonce must outlive its timestamp")
    }
}
