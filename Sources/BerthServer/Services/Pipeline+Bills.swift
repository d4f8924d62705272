import BerthCore
import BerthLink
import BerthStore
import BerthWire

// Fees and bills: of the lot or of the city, asked by a provider, at the exit, or behind a PAY link.
extension Pipeline {
    /// D09 and U12 where the city bills: computed here by the lot's tariff for the business.
    func sessionFee(
        _ city: City, _ past: Past, _ parkCode: String, _ recordNo: String, now: Millis
    ) -> (fee: SessionFee, answer: JSONObject)? {
        guard let fee = city.sessionFee(parkCode, recordNo: recordNo, at: now, past: past) else { return nil }
        let left = fee.visit.leaveTime ?? now
        return (
            fee,
            JSONObject([
                ("recordNo", .string(recordNo)), ("enterTime", .int(fee.visit.enterTime)),
                ("parkSeconds", .int(max(0, left - fee.visit.enterTime) / 1000)), ("total", .int(fee.totalFen)),
                ("free", .int(fee.discountFen)),
                ("paid", .int(fee.paidFen)), ("payable", .int(fee.payableFen)), ("billingParty", 2),
                ("bufferSec", .int((city.lots[parkCode]?.profile?.leaveBufferMin ?? 0) * 60)),
            ])
        )
    }

    /// D09 relayed for a provider or operator: the lot computes, the server keeps the bill so that it can be paid.
    func feeQuery(
        _ request: VerifiedRequest, _ data: JSONObject, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let fields = FieldReader(data)
        var asked: [Past.Key] = []
        if let orderNo = try fields.optionalString("orderNo", max: 32) { asked.append(.reservation(ByteKey(orderNo))) }
        if let recordNo = try fields.optionalString("recordNo", max: 48), let parkCode = request.envelope.parkCode {
            asked.append(.visit(parkCode: ByteKey(parkCode), recordNo: ByteKey(recordNo)))
        }
        sequencer.prefetch(asked, completion: completion) { [self] past in
            do throws(WireError) { try feeQuery(request, data, past, now: now, completion: completion) } catch { completion(Reply(error)) }
        }
    }

    private func feeQuery(
        _ request: VerifiedRequest, _ data: JSONObject, _ past: Past, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let fields = FieldReader(data)
        let credential = request.credential
        let asker = request.envelope.appId
        var asked = data
        asked["orderNo"] = nil
        var parkCode = request.envelope.parkCode ?? ""
        var plate: Plate?
        if let orderNo = try fields.optionalString("orderNo", max: 32) {
            let known = sequencer.readUndurable { $0.reservation(orderNo, past: past) }
            guard let reservation = known, credential.role != .provider || reservation.appId == credential.appId else {
                throw WireError("orderNotFound", "orderNo")
            }
            guard credential.role != .operator || credential.mayActFor(reservation.parkCode) else {
                throw WireError("lotNotAuthorised", "orderNo: not in one of the caller's lots")
            }
            guard let recordNo = reservation.recordNo else { throw WireError("noEntryRecord", "orderNo: its car has not come in") }
            parkCode = reservation.parkCode
            asked["recordNo"] = .string(recordNo)
        } else if credential.role == .provider {
            // A provider learns of the plates that its own users have bound, and of no other (section 1.6).
            let own = try Decode.plate(fields)
            guard
                sequencer.readUndurable({ $0.report("", kind: "plateOwner", key: own.revealed) })?.body.hasPrefix("\(credential.appId)|")
                    == true
            else { throw WireError("noBill", "plateNo: not bound by a user of the caller") }
            guard !parkCode.isEmpty else { throw WireError("missingParameter", "parkCode") }
            plate = own
            asked["virtualPlate"] = nil
            if let recordNo = try fields.optionalString("recordNo", max: 48) {
                // The record has to be that plate's.
                let lot = parkCode
                let visit = sequencer.readUndurable { $0.visit(lot, recordNo, past: past) }
                guard visit?.plate == own else { throw WireError("noBill", "recordNo: not a record of this plate") }
            }
        } else if !fields.has("plateNo"), !fields.has("recordNo"), !fields.has("virtualPlate") {
            throw WireError("missingParameter", "plateNo, recordNo, virtualPlate or orderNo")
        }
        guard sequencer.knows(parkCode) else { throw WireError("lotNotRegistered", "parkCode") }
        try fee(parkCode, asked, past, of: plate, asker: asker, now: now, completion: completion)
    }

    /// The bill of a stay: the city's own, or the lot's answer, kept so that `asker` can pay it.
    /// - Parameters:
    ///   - asked: what the lot is asked; recordNo or a plate.
    ///   - plate: the plate that the lot's answer has to be about; nil for any.
    private func fee(
        _ lot: String, _ asked: JSONObject, _ past: Past, of plate: Plate?, asker: String, now: Millis,
        completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let recordNo =
            asked["recordNo"]?.stringValue
            ?? sequencer.readUndurable { city in
                asked["plateNo"]?.stringValue.flatMap { Plate($0) }.flatMap { city.lots[lot]?.inside[$0] }
            }
        if let recordNo, let (fee, data) = sequencer.readUndurable({ sessionFee($0, past, lot, recordNo, now: now) }) {
            return bill(lot, recordNo, asker, payable: fee.payableFen, data, now: now, completion: completion)
        }
        relay.ask(lot, service: "fee.query", data: .object(asked), milliseconds: Limits.feeQueryMillis) { [self] answer in
            guard answer.code == 0 else {
                // A fault inside the lot is no fault of the city's: the fee could not be asked.
                let isOwn = answer.code == Dialect.current.code("timeOut").code || (500...503).contains(answer.code) || answer.code == 1
                return completion(isOwn ? Reply(WireError("feeQueryFailed", "the lot answered \(answer.code)")) : answer)
            }
            let bill = FieldReader(answer.data.objectValue ?? JSONObject())
            // A member may be missing; a member that is there has to be what the document says.
            let faults = Dialect.current.services["fee.query"]!.reply.faults(in: bill.object).filter { $0.error.name != "missingParameter" }
            if let fault = faults.first { return completion(Reply(WireError("feeQueryFailed", "the lot's bill: \(fault.error.hint)"))) }
            guard let recordNo = try? bill.string("recordNo", max: 48), let billNo = try? bill.string("billNo", max: 64),
                let payable = try? bill.int("payable", in: 0...WireLimits.moneyMax)
            else { return completion(Reply(WireError("feeQueryFailed", "the lot's bill has no recordNo, billNo or payable"))) }
            if let wanted = asked["recordNo"]?.stringValue, wanted != recordNo {
                return completion(Reply(WireError("feeQueryFailed", "the lot's bill is for another record")))
            }
            if let plate,
                sequencer.readUndurable({ $0.lots[lot]?.visits[recordNo].map { $0.plate.isLegal && $0.plate != plate } ?? false })
            {
                return completion(Reply(WireError("feeQueryFailed", "the lot's bill is for another car")))
            }
            let kept = Dialect.current.services["fee.query"]!.reply.known(bill.object)
            keepBill(lot, recordNo, giver: lot, asker, billNo: billNo, payable: payable, kept, now: clock(), completion: completion)
        }
    }

    /// W08: the bill of an order to which a PAY link leads, as its provider would be shown it.
    func linkBill(_ fields: FieldReader, now: Millis, completion: @escaping Sequencer.Completion) throws(WireError) {
        let orderNo = try fields.string("orderNo", max: 32)
        sequencer.prefetch([.reservation(ByteKey(orderNo))], completion: completion) { [self] past in
            do throws(WireError) { try linkBill(fields, past, now: now, completion: completion) } catch { completion(Reply(error)) }
        }
    }

    private func linkBill(
        _ fields: FieldReader, _ past: Past, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let reservation = try linkOrder(fields, past)
        @Sendable func answer(_ payable: JSON, _ more: [(String, JSON)]) -> Reply {
            Reply(
                data: .compact(
                    [
                        ("orderNo", .string(reservation.orderNo)), ("status", .int(reservation.status.rawValue)),
                        ("payState", .int(Encode.payState(reservation))), ("payable", payable),
                    ] + more))
        }
        if reservation.status == .held, reservation.prepayNo == nil, let billNo = reservation.billNo {
            return completion(
                answer(
                    .int(reservation.terms.prepayFen),
                    [("billNo", .string(billNo)), ("kind", "deposit"), ("expireAt", .optional(reservation.holdDeadline))]))
        }
        guard let recordNo = reservation.recordNo else { return completion(answer(0, [])) }
        try fee(reservation.parkCode, JSONObject([("recordNo", .string(recordNo))]), past, of: nil, asker: reservation.appId, now: now) {
            bill in
            // No bill, no fee, or paid already.
            if [1400, 1401, 1404].contains(bill.code) { return completion(answer(0, [])) }
            guard bill.code == 0 else { return completion(bill) }
            completion(
                answer(
                    bill.data["payable"] ?? 0,
                    [("billNo", bill.data["billNo"] ?? .null), ("kind", "stay"), ("expireAt", bill.data["expireAt"] ?? .null)]))
        }
    }

    /// W09: the payment of the bill of that order. The server gives its number, so that a browser cannot take one of the provider's.
    func linkPayment(_ request: VerifiedRequest, _ past: Past) throws(WireError) -> Command {
        let fields = FieldReader(request.envelope.data)
        let reservation = try linkOrder(fields, past)
        let billNo = try fields.string("billNo", max: 64)
        let amount = try fields.int("amount", in: 0...WireLimits.moneyMax)
        let channel = try fields.string("channel", max: 32)
        let attempt = try fields.optionalInt("attempt", in: 1...20) ?? 1
        let bill = sequencer.readUndurable { $0.bill(billNo, askedBy: reservation.appId) }
        let isDeposit = reservation.billNo == billNo
        guard let bill, bill.parkCode == reservation.parkCode,
            isDeposit || (bill.recordNo == reservation.recordNo && !bill.recordNo.isEmpty)
        else { throw WireError("noBill", "billNo: not a bill of this order") }
        func digest(_ text: String) -> String { Signature.hash(canonical: Array(text.utf8)) }
        let name = "\(reservation.appId)|\(reservation.orderNo)|\(billNo)|\(attempt)"
        return .pay(
            appId: reservation.appId, parkCode: reservation.parkCode, billNo: billNo, payNo: "L" + digest(name).prefix(24),
            amountFen: amount,
            channel: channel, requestHash: digest("\(name)|\(amount)|\(channel)"))
    }

    /// The order of a PAY link. It has to be one of the provider that is named.
    func linkOrder(_ fields: FieldReader, _ past: Past) throws(WireError) -> Reservation {
        let appId = try fields.string("appId", max: 32)
        let orderNo = try fields.string("orderNo", max: 32)
        guard let reservation = sequencer.readUndurable({ $0.reservation(orderNo, past: past) }), reservation.appId == appId else {
            throw WireError("orderNotFound", "orderNo")
        }
        return reservation
    }

    /// The city's own bill: the same amount of the same record at the same minute has the same number.
    private func bill(
        _ parkCode: String, _ recordNo: String, _ asker: String, payable: Int64, _ data: JSONObject, now: Millis,
        completion: @escaping Sequencer.Completion
    ) {
        let billNo = "B" + Signature.hash(canonical: Array("\(parkCode)|\(recordNo)|\(payable)|\(now / CivilTime.minute)".utf8)).prefix(24)
        var data = data
        data["billNo"] = .string(billNo)
        keepBill(
            parkCode, recordNo, giver: "", asker, billNo: billNo, payable: payable, data, now: now, completion: completion)
    }

    /// - Parameter giver: the lot that gave the number; "" for the city.
    private func keepBill(
        _ parkCode: String, _ recordNo: String, giver: String, _ asker: String, billNo: String, payable: Int64, _ data: JSONObject,
        now: Millis, completion: @escaping Sequencer.Completion
    ) {
        var data = data
        let expireAt = now + Limits.billMillis
        data["expireAt"] = .int(expireAt)
        let result = Reply(data: .object(data))
        var bill = Bill(billNo: billNo, parkCode: parkCode, recordNo: recordNo, payableFen: payable, expireAt: expireAt)
        bill.giver = giver
        bill.askedBy = [asker]
        sequencer.perform(.bill(bill), now: now) { stored in completion(stored.code == 0 ? result : stored) }
    }

    /// U12: a car at the exit. A fee that the lot bills is the lot's affair; a fee that the platform bills is returned here.
    func preexit(_ fields: FieldReader, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion) throws(WireError) {
        let recordNo = try fields.string("recordNo", max: 48)
        sequencer.read(
            parkCode, asking: [.visit(parkCode: ByteKey(parkCode), recordNo: ByteKey(recordNo))],
            { [self] city, past in
                guard city.lots[parkCode] != nil else { return Reply(WireError("lotNotRegistered", "parkCode")) }
                guard let visit = city.visit(parkCode, recordNo, past: past)
                else { return Reply(WireError("noEntryRecord", "recordNo")) }
                if let (fee, _) = sessionFee(city, past, parkCode, recordNo, now: now) {
                    return Reply(data: [
                        "recordNo": .string(recordNo), "billingParty": 2, "orderNo": .string(fee.orderNo),
                        "payable": .int(fee.payableFen), "release": .bool(fee.payableFen == 0),
                    ])
                }
                return Reply(
                    data: .compact([
                        ("recordNo", .string(recordNo)), ("billingParty", 1), ("orderNo", .optional(visit.orderNo)), ("release", true),
                    ]))
            }, completion: completion)
    }
}
