import BerthCore
import BerthLink
import BerthWire
import Foundation
import GRDB
import Synchronization

// What the platform sets at the lot beside orders (D05 to D08, D11, D12, D18, D19, D21), and what it asks (D04, D16, D22).
extension LotBox {
    /// Takes a message of the log that is not about an order. What it sets is kept by name; the PMS finds the message in its inbox.
    func applyStanding(_ service: String, _ data: JSON, now: Int64, _ state: inout State) -> (Answer, Report?)? {
        guard let definition = Profile.current.services[service], definition.direction == "down", definition.kind == .log,
            let object = data.objectValue
        else { return nil }
        do { try definition.request.check(object) } catch { return (Answer(error), nil) }
        guard case .post(_, _, _, let report) = Decode.post(service: service, data: object, parkCode: entry.parkCode, now: now)
        else { return nil }
        if let report {
            state.standing[report.kind, default: [:]][report.key] = report.isGone ? nil : report.body
            if report.kind == "share.auth.push" || report.kind == "flow.policy.push" { state.readStanding(parkCode: entry.parkCode) }
        }
        return (Answer(data: ["accepted": true]), report)
    }

    static func write(_ report: Report, _ db: Database) throws {
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

    static func standing(of snapshot: JSON, parkCode: String, now: Int64) -> [Report] {
        standingNames.flatMap { name, service in
            (snapshot[name]?.arrayValue ?? []).compactMap { row -> Report? in
                guard let object = row.objectValue,
                    case .post(_, _, _, let report) = Decode.post(service: service, data: object, parkCode: parkCode, now: now)
                else { return nil }
                return report
            }
        }
    }

    static func isListed(_ kind: String, _ plate: Plate, at time: Int64, _ state: borrowing State) -> Bool {
        guard let body = state.standing[kind]?[plate.revealed] else { return false }
        return Decode.isInForce(body, at: time)
    }

    /// A question that the box answers itself; nil for what only the PMS can do.
    func answerLive(_ service: String, _ data: JSONObject, receivedAt: Int64) -> Answer? {
        switch service {
        case "order.query":
            let orderNo = data["orderNo"]?.stringValue ?? ""
            return state.withLock { state in
                guard let order = state.orders[orderNo] else { return Answer(data: ["orderNo": .string(orderNo), "known": false]) }
                let car = state.inside.values.first { $0.orderNo == orderNo }
                return Answer(
                    data: .compact([
                        ("orderNo", .string(orderNo)), ("known", true), ("orderVer", .int(order.orderVer)),
                        ("inForce", .bool(order.entry.isInForce)), ("recordNo", .optional(car?.recordNo)),
                        ("enterTime", .optional(car?.enterTime)),
                    ]))
            }
        case "space.realtime.query":
            let occupied = occupied
            return Answer(data: [
                "total": .int(entry.totalCount), "occupied": .int(occupied),
                "remain": .int(max(0, entry.totalCount - occupied)),
            ])
        case "time.sync":
            return Answer(data: [
                "deviceRecvTime": .int(receivedAt), "deviceSendTime": .int(now()),
                "clockOffsetMs": .int(state.withLock { $0.clockOffset }),
            ])
        case "record.resend":
            // What is acknowledged was given away, and what is not goes by itself: the log needs no asking.
            wake.yield()
            return Answer(data: ["accepted": true, "count": .int(backlog)])
        default: return nil
        }
    }

    // MARK: The inbox of the PMS

    /// Messages that the PMS has not taken yet, oldest first.
    func inbox(limit: Int) -> JSON {
        let rows =
            (try? spool.read { [lot = entry.parkCode] db in
                try Row.fetchAll(db, sql: "SELECT id, service, body FROM inbox WHERE lot = ? ORDER BY id LIMIT ?", arguments: [lot, limit])
                    .map { row -> JSON in
                        let body: String = row["body"]
                        return [
                            "id": .int(row["id"] as Int64), "service": .string(row["service"]),
                            "data": (try? JSON.parse(Array(body.utf8))) ?? [:],
                        ]
                    }
            }) ?? []
        return .array(rows)
    }

    /// The PMS has everything up to this number.
    func clearInbox(through id: Int64) async -> Bool {
        await withCheckedContinuation { continuation in
            spool.write({ [lot = entry.parkCode] db in
                try db.execute(sql: "DELETE FROM inbox WHERE lot = ? AND id <= ?", arguments: [lot, id])
            }) { continuation.resume(returning: $0) }
        }
    }
}

extension LotBox.State {
    /// Reads authorisations and flow control from what the platform set; whoever is inside, and how far a switch is, stays known.
    mutating func readStanding(parkCode: String) {
        let (oldAuthorisations, oldFlows) = (authorisations, flows)
        authorisations = [:]
        for (authNo, body) in standing["share.auth.push"] ?? [:] {
            guard let object = (try? JSON.parse(Array(body.utf8)))?.objectValue,
                var subscription = try? Decode.authorisation(object, parkCode: parkCode, now: 0)
            else { continue }
            subscription.insidePlate = oldAuthorisations[authNo]?.insidePlate ?? inside.values.first { $0.orderNo == authNo }?.plate
            authorisations[authNo] = subscription
        }
        flows = [:]
        for (policyId, body) in standing["flow.policy.push"] ?? [:] {
            guard let object = (try? JSON.parse(Array(body.utf8)))?.objectValue, var policy = try? Decode.flow(object, parkCode: parkCode)
            else { continue }
            policy.isOn = oldFlows[policyId]?.isOn ?? false
            flows[policyId] = policy
        }
    }

    /// What is in force at the gate for this car. A policy by saturation follows the cars that are counted here.
    mutating func book(for question: GateQuestion, occupied: Int, capacity: Int) -> GateBook {
        let perMille = Saturation(occupied: occupied, capacity: capacity).perMille
        for policyId in flows.keys where flows[policyId]!.isBySaturation {
            flows[policyId]!.isOn = flows[policyId]!.isOn(atPerMille: perMille)
        }
        var book = GateBook()
        book.calendar = Profile.current.calendar
        book.subscriptions = Array(authorisations.values)
        book.isInside = inside[question.plate] != nil
        book.isBlacklisted = LotBox.isListed("list.black.push", question.plate, at: question.time, self)
        book.isWhitelisted = LotBox.isListed("list.white.push", question.plate, at: question.time, self)
        book.isExempt = question.plate.isExemptClass
        let demanding = flows.values.filter { $0.mode(at: question.time, book.calendar) != .off }
        book.flow = demanding.map { $0.mode(at: question.time, book.calendar) }.max() ?? .off
        book.walkIns = walkIns.filter { $0 > question.time - 300_000 }.count
        book.walkInsMax = demanding.filter { $0.mode == .throttle }.compactMap(\.maxEntriesPer5min).min()
        book.fuzzyCharsMax = 1
        return book
    }
}
