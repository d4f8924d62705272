import BerthCore
import BerthLink
import BerthWire
import Foundation
import GRDB
import Synchronization

// Lists, tariffs and policies that the platform sets at the lot (D05 to D08, D11, D12, D18, D19, D21), and its questions (D04, D16, D22).
extension LotBox {
    static func write(_ report: KeptRecord, _ db: Database) throws {
        if report.isGone {
            try db.execute(
                sql: "DELETE FROM standing WHERE lot = ? AND kind = ? AND key = ?",
                arguments: [report.parkCode, report.kind, report.key])
        } else {
            try db.execute(
                sql: "INSERT OR REPLACE INTO standing VALUES(?,?,?,?)",
                arguments: [report.parkCode, report.kind, report.key, report.body])
        }
    }

    /// In the snapshot's names, the kinds of what stands.
    static let standingNames = [
        ("shareAuths", "share.auth.push"), ("blackList", "list.black.push"), ("whiteList", "list.white.push"),
        ("flowPolicies", "flow.policy.push"), ("config", "config.push"), ("vehicleLocks", "vehicle.lock"),
    ]

    static func standing(of snapshot: JSON, parkCode: String, now: Int64) -> [KeptRecord] {
        standingNames.flatMap { name, service in
            (snapshot[name]?.arrayValue ?? []).compactMap { row -> KeptRecord? in
                guard let object = row.objectValue,
                    case .post(_, _, _, let report) = Decode.post(service: service, data: object, parkCode: parkCode, now: now)
                else { return nil }
                return report
            }
        }
    }

    /// Answers a question that the box answers itself; nil for what only the PMS can do.
    func answerLive(_ service: String, _ data: JSONObject, receivedAt: Int64) -> Reply? {
        switch service {
        case "order.query":
            let orderNo = data["orderNo"]?.stringValue ?? ""
            return state.withLock { state in
                guard let reservation = state.list.reservations[orderNo] else {
                    return Reply(data: ["orderNo": .string(orderNo), "known": false])
                }
                let car = state.inside.values.first { $0.orderNo == orderNo }
                return Reply(
                    data: .compact([
                        ("orderNo", .string(orderNo)), ("known", true), ("orderVer", .int(reservation.orderVer)),
                        ("inForce", .bool(reservation.entry.isInForce)), ("recordNo", .optional(car?.recordNo)),
                        ("enterTime", .optional(car?.enterTime)),
                    ]))
            }
        case "space.realtime.query":
            let occupied = occupied
            return Reply(data: [
                "total": .int(entry.totalCount), "occupied": .int(occupied),
                "remain": .int(max(0, entry.totalCount - occupied)),
            ])
        case "time.sync":
            return Reply(data: [
                "deviceRecvTime": .int(receivedAt), "deviceSendTime": .int(now()), "clockOffsetMs": .int(clock.offset),
            ])
        default: return nil
        }
    }

    // MARK: The inbox of the PMS

    /// Messages that the inbox of one lot holds; beyond them the oldest go, since the PMS does not ask for them.
    package static let inboxMax = 10_000

    /// Deletes what is beyond the bound; looked at once for each hundred messages.
    static func boundInbox(_ lot: String, after id: Int64, _ db: Database) throws {
        guard id % 100 == 0 else { return }
        try db.execute(
            sql: """
                DELETE FROM inbox WHERE lot = ? AND id <= (SELECT id FROM inbox WHERE lot = ? ORDER BY id DESC LIMIT 1 OFFSET ?)
                """, arguments: [lot, lot, inboxMax])
    }

    /// Messages that the PMS has not taken yet, oldest first.
    func inbox(limit: Int) async throws -> JSON { .array(try await spool.inbox(entry.parkCode, limit: limit)) }

    /// Removes every message up to this number: the PMS has them. False when the disk takes nothing.
    func clearInbox(through id: Int64) async -> Bool {
        await withCheckedContinuation { continuation in
            spool.write({ [lot = entry.parkCode] db in
                try db.execute(sql: "DELETE FROM inbox WHERE lot = ? AND id <= ?", arguments: [lot, id])
            }) { continuation.resume(returning: $0) }
        }
    }

    /// Records that the server refused for good, the newest first.
    package func deadLetters(limit: Int) async throws -> JSON { .array(try await spool.dead(entry.parkCode, limit: limit)) }
}
