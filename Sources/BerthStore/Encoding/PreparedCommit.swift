import BerthCore
import BerthWire
import Foundation
import Synchronization

/// The rows of a commit, made ready by the thread that decided it: the one thread that commits only binds and steps.
/// The first thread that needs them makes them, once.
///
/// The events are stored once, in the commit's entry of the journal. The rows of its reservations, of the messages about them and of the
/// reply only point at the entry, as long as it is short.
final class PreparedCommit: Sendable {
    /// A value of a row. Texts and blobs lie one after the other in the draft's bytes: one piece of memory for a commit.
    enum Value: Sendable {
        case int(Int64)
        case text(Range<UInt32>)
        case blob(Range<UInt32>)
        /// The number of the commit's entry in the journal.
        case entry
    }

    /// The use of the next values.
    enum Step: Sendable {
        case row(Statements.Name)
        case reservation(key: Int64, serial: Int64)
        case down(RowIndex.LogName, seq: Int64)
        case reply(key: Int64)
        /// A counter that has a row needs its key no more.
        case counted(ByteKey, delta: Int, max: Int)
        /// Depends on what stands in the tables.
        case event(Event)
    }

    struct Content: Sendable {
        fileprivate(set) var bytes: [UInt8] = []
        fileprivate(set) var values: [Value] = []
        fileprivate(set) var steps: [Step] = []

        /// The commit's entry of the journal, as it is written.
        var entryBytes: ArraySlice<UInt8> {
            guard case .row(.journal) = steps.first, values.count > 1 else { return [] }
            switch values[1] {
            case .text(let range), .blob(let range): return bytes[Int(range.lowerBound)..<Int(range.upperBound)]
            case .int, .entry: return []
            }
        }
    }

    /// An entry with more happenings than this is not read again for the sake of one of its orders.
    private static let shortMax = 12
    private let made = Mutex<Content?>(nil)

    func content(of commit: Commit, _ codec: RowEncoding) -> Content {
        made.withLock { made in
            if let made { return made }
            var maker = Maker(codec: codec, isShort: commit.events.count <= PreparedCommit.shortMax)
            maker.add(commit)
            made = maker.content
            return maker.content
        }
    }

    private struct Maker {
        let codec: RowEncoding
        let isShort: Bool
        var content = Content()

        mutating func add(_ commit: Commit) {
            content.bytes.reserveCapacity(2048)
            content.values.reserveCapacity(48)
            content.steps.reserveCapacity(commit.events.count + 2)
            if !commit.events.isEmpty {
                step(.row(.journal), .int(commit.at))
                column(codec.journal(commit.events))
            }
            for event in commit.events { add(event) }
            for result in commit.up { add(result) }
            for dead in commit.mended {
                step(.row(.mended))
                text(dead.parkCode)
                text(dead.epoch)
                int(dead.seq)
            }
            if let reply = commit.reply { add(reply, isEvident: isShort && reply.showsOrder) }
        }

        // MARK: Values

        private mutating func step(_ step: Step, _ values: Value...) {
            content.steps.append(step)
            content.values.append(contentsOf: values)
        }

        private mutating func int(_ value: Int64) { content.values.append(.int(value)) }

        private mutating func text(_ text: String) {
            let start = content.bytes.count
            var text = text
            text.withUTF8 { content.bytes.append(contentsOf: $0) }
            content.values.append(.text(UInt32(start)..<UInt32(content.bytes.count)))
        }

        /// A whole column: bytes when they are sealed, text as an older release wrote it.
        private mutating func column(_ text: [UInt8]) {
            let start = content.bytes.count
            if !text.isEmpty, let vault = codec.vault {
                vault.seal(text, into: &content.bytes)
                content.values.append(.blob(UInt32(start)..<UInt32(content.bytes.count)))
            } else {
                content.bytes.append(contentsOf: text)
                content.values.append(.text(UInt32(start)..<UInt32(content.bytes.count)))
            }
        }

        private mutating func column(_ text: String) { column(Array(text.utf8)) }

        // MARK: Rows

        private mutating func add(_ event: Event) {
            switch event {
            case .registered(let lot):
                step(.row(.registered))
                text(lot)
            case .policy(let lot, let policy):
                step(.row(.policy))
                text(RowEncoding.encode(policy).string)
                text(lot)
            case .lot(let profile):
                step(.row(.profile))
                text(RowEncoding.encode(profile).string)
                text(profile.parkCode)
            case .gates(let lot, let gates):
                step(.row(.gates))
                text(RowEncoding.encode(gates).string)
                text(lot)
            case .remaining(let lot, let remaining):
                step(.row(.remaining))
                text(RowEncoding.encode(remaining).string)
                text(lot)
            case .reservation(let reservation): add(reservation)
            case .visit(let visit):
                step(.row(.visit))
                text(visit.parkCode)
                text(visit.recordNo)
                int(visit.leaveTime == nil ? 1 : 0)
                text(codec.encode(visit).string)
            case .notice(let notice):
                step(.row(.notice))
                text(notice.parkCode)
                int(Int64(notice.eventType))
                int(notice.occurredAt)
                text(RowEncoding.encode(notice).string)
            case .down(let entry): add(entry)
            case .report(let report):
                step(.row(report.isGone ? .reportGone : .report))
                text(report.parkCode)
                text(report.kind)
                text(codec.name(report.key))
                if !report.isGone {
                    int(report.at)
                    text(codec.body(of: report))
                }
            case .bill(let bill):
                step(.row(.bill))
                text(bill.key)
                int(bill.expireAt)
                text(RowEncoding.encode(bill).string)
            case .payment(let payment):
                step(.row(.payment))
                text(payment.key)
                int(Int64(payment.state.rawValue))
                text(RowEncoding.encode(payment).string)
            case .entity(let entity):
                let row = RowEncoding.row(entity)
                step(.row(.report))
                text(row.parkCode)
                text(row.kind)
                text(codec.name(row.key))
                int(row.at)
                text(codec.body(of: row))
            case .counted(let key, let delta, let max):
                step(.counted(ByteKey(key), delta: delta, max: max))
                if RowEncoding.namesPlate(counter: key) { column(key) } else { text(key) }
                int(Int64(delta))
                int(Int64(max))
            case .posting, .downSettled, .upConsumed: step(.event(event))
            }
        }

        private mutating func add(_ reservation: Reservation) {
            let key = Signature.digest64(reservation.appId, reservation.clientOrderNo)
            step(.reservation(key: key, serial: reservation.serial), .int(reservation.serial))
            text(reservation.parkCode)
            text(reservation.appId)
            int(key)
            int(Int64(reservation.status.rawValue))
            text(isShort ? "" : codec.text(reservation).string)
            int(codec.plateKey(reservation.plate))
            content.values.append(isShort ? .entry : .int(0))
            text(reservation.userToken)
            int(reservation.changedAt)
        }

        private mutating func add(_ entry: DownEntry) {
            step(.down(RowIndex.LogName(lot: entry.parkCode, epoch: entry.epoch), seq: entry.seq))
            text(entry.parkCode)
            text(entry.epoch)
            int(entry.seq)
            int(entry.at)
            text(entry.message.orderNo)
            switch entry.message {
            case .reserve where isShort, .modify where isShort:
                text("")
                text("")
                content.values.append(.entry)
            default:
                let (service, data) = Encode.lotMessage(entry.message)
                text(service)
                column(data.string)
                int(0)
            }
        }

        private mutating func add(_ result: UpResult) {
            step(.row(.upLog))
            text(result.parkCode)
            text(result.epoch)
            int(result.seq)
            text(result.requestId)
            text(result.service)
            int(Int64(result.code))
            text(result.reply)
            column(result.data)
            int(result.at)
            text(result.code == 0 ? "" : result.recordNo)
            int(result.isMended ? 1 : 0)
        }

        private mutating func add(_ reply: KeptReply, isEvident: Bool) {
            step(.reply(key: reply.key))
            text(reply.appId)
            text(reply.requestId)
            text(reply.nonce)
            text(reply.service)
            text(reply.dataHash)
            int(Int64(reply.code))
            if isEvident { text("") } else { column(reply.data) }
            int(reply.at)
            content.values.append(isEvident ? .entry : .int(0))
        }
    }
}
