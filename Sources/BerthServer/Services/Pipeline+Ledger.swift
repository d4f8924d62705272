import BerthCore
import BerthStore
import BerthWire

// Settlement: statements of an account (O10), and a day of a lot reconciled (O11).
extension Pipeline {
    /// A row of the ledger as a statement shows it.
    static func ledgerRow(_ row: LedgerRow, sign: Int64 = 1) -> JSON {
        [
            "at": .int(row.at), "kind": .string(row.kind), "reference": .string(row.reference), "amount": .int(sign * row.fen),
        ]
    }

    /// O10. A lot sees itself, a provider what it owes and the owners and users of its own app, an operator everybody.
    func statement(
        _ request: VerifiedRequest, _ fields: FieldReader, _ parkCode: String, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let kind = try fields.string("account", max: 16)
        let credential = request.credential
        let isOperator = credential.role == .operator
        let appId = isOperator ? try fields.optionalString("appId", max: 32) ?? "" : credential.appId
        let lot = credential.role.speaksForLots ? parkCode : try fields.optionalString("parkCode", max: 32) ?? ""
        let token = try fields.optionalString("token", max: 64) ?? ""
        let mine: Bool
        let account: Account
        switch kind {
        case "lot": (account, mine) = (.lot(lot), credential.role.speaksForLots)
        case "till": (account, mine) = (.till(lot), credential.role.speaksForLots)
        case "provider": (account, mine) = (.provider(appId), credential.role == .provider)
        case "owner": (account, mine) = (.owner(appId, token), credential.role == .provider)
        case "user": (account, mine) = (.user(appId, token), credential.role == .provider)
        case "platform": (account, mine) = (.platform, false)
        case "compensation": (account, mine) = (.compensation, false)
        case "payout": (account, mine) = (.payout, false)
        default: throw WireError("illegalValue", "account")
        }
        guard isOperator || mine else { throw WireError("serviceNotAuthorised", "not your account") }
        let from = try fields.optionalTime("from") ?? 0
        let to = try fields.optionalTime("to") ?? WireLimits.intMax
        fromDisk(completion) { [store] () throws(StoreError) in
            let (before, rows) = try store.ledger(account, from: from, to: to, limit: Limits.ruleRowsMax + 1)
            let shown = rows.prefix(Limits.ruleRowsMax)
            return Reply(data: [
                "account": .string(account.text), "opening": .int(before), "closing": .int(before + shown.reduce(0) { $0 + $1.fen }),
                "rows": .array(shown.map { Pipeline.ledgerRow($0) }), "hasMore": .bool(rows.count > shown.count),
            ])
        }
    }

    /// O11: the fees of a day's exits by the lot's word, beside the payments that are known for the same records.
    func reconcile(
        _ request: VerifiedRequest, _ fields: FieldReader, _ parkCode: String, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let lot = request.credential.role.speaksForLots ? parkCode : try Decode.parkCode(fields)
        let day = try Decode.day(fields, "date")
        let from = CivilTime.start(ofDay: day)
        let to = CivilTime.start(ofDay: day + 1)
        guard sequencer.knows(lot) else { throw WireError("lotNotRegistered", "parkCode") }
        // A day of a large lot has tens of thousands of exits: nobody waits for it.
        fromDisk(completion) { [sequencer, store] () throws(StoreError) in
            let visits = try store.visits(parkCode: lot, leftFrom: from, to: to, limit: Limits.reconRowsMax).filter { !$0.isVoid }
            // A fee may be paid before the exit, or later: a week each way is looked at.
            let near = try store.payments(
                parkCode: lot, from: from - 7 * CivilTime.dayLength, to: to + 7 * CivilTime.dayLength, limit: Limits.reconRowsMax
            ).filter { $0.state != .failed && $0.state != .pending && !$0.recordNo.isEmpty }
            let paid = TextTable(
                Dictionary(grouping: near) { ByteKey($0.recordNo) }.map {
                    ($0.key.text, $0.value.reduce(0) { $0 + $1.amountFen - $1.refundedFen })
                })
            // The rules that bill belong to one lot: they are looked at without the city.
            guard let city = sequencer.readUndurable({ $0.alone(lot, day: day) }) else { return Reply(WireError("lotNotRegistered")) }
            let ledgerSum = sequencer.readUndurable { $0.ledgerSum }
            var differences: [JSON] = []
            func note(_ recordNo: String, fee: Int64, paid: Int64, _ why: String) {
                guard differences.count < Limits.ruleRowsMax else { return }
                differences.append([
                    "recordNo": .string(recordNo), "fee": .int(fee), "paid": .int(paid), "difference": .int(fee - paid),
                    "why": .string(why),
                ])
            }
            var (reported, known): (Int64, Int64) = (0, 0)
            for visit in visits {
                let key = Past.Key.visit(parkCode: ByteKey(lot), recordNo: ByteKey(visit.recordNo))
                let past = try store.gather { city.lacks([key], $0) }
                let isCity = city.sessionFee(lot, recordNo: visit.recordNo, at: to, past: past)
                // A discount of the lot was never due.
                let fee = isCity.map { $0.totalFen - $0.discountFen } ?? visit.feeFen
                // A deposit that became the lot's when the car came in is part of what was paid.
                let deposit = visit.orderNo.flatMap { city.reservation($0, past: past) }.flatMap { reservation in
                    reservation.prepayNo.flatMap { city.payment($0, appId: reservation.appId, past: past) }.flatMap {
                        $0.state == .paid ? $0.amountFen : nil
                    }
                }
                let sum = (paid[visit.recordNo] ?? 0) + (deposit ?? 0)
                reported += fee
                known += sum
                if fee != sum {
                    note(visit.recordNo, fee: fee, paid: sum, sum == 0 ? "no payment" : sum < fee ? "paid less" : "paid more")
                }
            }
            let records = Set(visits.map { ByteKey($0.recordNo) })
            for payment in near
            where payment.payTime.map({ from <= $0 && $0 < to }) == true && !records.contains(ByteKey(payment.recordNo)) {
                guard try store.visit(parkCode: lot, recordNo: payment.recordNo) == nil else { continue }
                known += payment.amountFen - payment.refundedFen
                note(payment.recordNo, fee: 0, paid: payment.amountFen - payment.refundedFen, "no such record")
            }
            let refunded = near.filter { $0.payTime.map { from <= $0 && $0 < to } ?? false }.reduce(0) { $0 + $1.refundedFen }
            return Reply(data: [
                "parkCode": .string(lot), "date": .string(CivilTime.text(ofDay: day)), "visits": .int(visits.count),
                "feesReported": .int(reported), "paymentsKnown": .int(known), "refunded": .int(refunded),
                "differences": .array(differences), "balanced": .bool(differences.isEmpty), "ledgerSum": .int(ledgerSum),
            ])
        }
    }
}
