import BerthCore
import Crypto

/// Values of the core → business fields of the wire.
public enum Encode {
    /// The service and data of a down-log message (D01 to D03).
    public static func lotMessage(_ message: LotMessage) -> (service: String, data: JSON) {
        switch message {
        case .reserve(let order): return ("order.reserve.push", reserve(order))
        case .modify(let order):
            return (
                "order.reserve.modify",
                .compact([
                    ("orderNo", .string(order.orderNo)), ("orderVer", .int(order.pushedVer)),
                    ("plateNo", .string(order.plate.revealed)), ("plateColor", .int(order.plateColor)),
                    ("planTime", .int(order.planTime)), ("enterStart", .int(order.enterStart)),
                    ("enterEnd", .int(order.enterEnd)), ("leaveDeadline", .optional(order.leaveDeadline)),
                    // A later time to leave is for a car that is inside already.
                    ("validTo", .int(order.status == .inLot ? max(order.enterEnd, order.leaveDeadline ?? 0) : order.enterEnd)),
                    ("spaceNo", order.purpose == .shared ? .string(known(order.spaceNo) ?? "") : .null),
                    ("plateNos", order.otherPlates.isEmpty ? .null : .array(order.otherPlates.map { .string($0.revealed) })),
                ])
            )
        case .cancel(let orderNo, let orderVer, let type):
            return (
                "order.reserve.cancel",
                [
                    "orderNo": .string(orderNo), "orderVer": .int(orderVer), "cancelType": .int(type.rawValue),
                    "reason": .string("\(type)"),
                ]
            )
        case .authorise(let subscription): return ("share.auth.push", authorisation(subscription))
        case .revoke(let authNo, let authVer, let reason):
            return ("share.auth.revoke", ["authNo": .string(authNo), "authVer": .int(authVer), "reason": .string(reason)])
        case .flow(let policy, let mode): return ("flow.policy.push", flow(policy, mode))
        case .relay(let service, let body): return (service, (try? JSON.parse(Array(body.utf8))) ?? [:])
        }
    }

    /// D01; the same shape stands in a snapshot.
    public static func reserve(_ order: Order) -> JSON {
        .compact([
            ("orderNo", .string(order.orderNo)), ("orderVer", .int(order.pushedVer)),
            ("bizType", .int(order.purpose.rawValue)), ("plateNo", .string(order.plate.revealed)),
            ("plateColor", .int(order.plateColor)), ("enterStart", .int(order.enterStart)),
            ("enterEnd", .int(order.enterEnd)), ("planTime", .int(order.planTime)),
            ("leaveDeadline", .optional(order.leaveDeadline)), ("entryLimit", .int(order.entryLimit)),
            ("occupySpace", true), ("spaceNo", .optional(known(order.spaceNo))),
            ("gateCodes", order.terms.gateCodes.isEmpty ? .null : .array(order.terms.gateCodes.map { .string($0) })),
            ("billingParty", .int(order.purpose == .shared ? 2 : 1)), ("prepayNo", .optional(order.prepayNo)),
            ("prepayAmount", order.prepayNo == nil ? .null : .int(order.terms.prepayFen)),
            ("contactMobile", order.mobile.isEmpty ? .null : .string(mask(mobile: order.mobile))),
            ("displayText", "预约车辆 欢迎光临"), ("sourceCode", .string(order.appId)), ("extNo", .optional(order.extNo)),
            ("validTo", .int(order.enterEnd)),
            ("plateNos", order.otherPlates.isEmpty ? .null : .array(order.otherPlates.map { .string($0.revealed) })),
            ("lateGraceMin", order.purpose == .shared ? .int(order.terms.graceMin) : .null),
            ("overtimePct", order.terms.overtimePercent == 100 ? .null : .int(order.terms.overtimePercent)),
            ("freeMin", order.terms.freeMin == 0 ? .null : .int(order.terms.freeMin)),
            ("termsVer", order.terms.version == 0 ? .null : .int(order.terms.version)),
            ("poolType", order.pool == order.purpose.pool ? .null : .string(order.pool.rawValue)),
        ])
    }

    /// A space that the lot knows by this number. Of an offer of a number of places each has a name of ours, which says nothing at the lot.
    static func known(_ space: String?) -> String? { space.flatMap { $0.contains("#") ? nil : $0 } }

    /// 138****0000: at least four characters are hidden in each number, and never fewer than a third of it is.
    public static func mask(mobile: String) -> String {
        let bare = Array(mobile.unicodeScalars.filter { !$0.properties.isWhitespace && $0 != "-" })
        let shown = min(7, max(0, bare.count - 4))
        guard shown > 0 else { return "****" }
        let tail = (shown + 1) / 2
        var text = String.UnicodeScalarView(bare.prefix(shown - tail))
        text.append(contentsOf: "****".unicodeScalars)
        text.append(contentsOf: bare.suffix(tail))
        return String(text)
    }

    /// A07 detail; with `alternatives` it is the answer to A04. The plate is shown whole to the provider whose user it belongs to, masked to everyone else.
    public static func order(_ order: Order, revealsPlate: Bool, alternatives: [Alternative]? = nil, waitPosition: Int? = nil) -> JSON {
        var writer = JSONWriter()
        write(order, revealsPlate: revealsPlate, alternatives: alternatives, waitPosition: waitPosition, to: &writer)
        return writer.json
    }

    /// The same as its canonical text.
    public static func orderText(_ order: Order, alternatives: [Alternative]? = nil, waitPosition: Int? = nil) -> [UInt8] {
        var writer = JSONWriter()
        write(order, revealsPlate: true, alternatives: alternatives, waitPosition: waitPosition, to: &writer)
        return writer.bytes
    }

    /// In canonical order.
    private static func write(
        _ order: Order, revealsPlate: Bool, alternatives: [Alternative]?, waitPosition: Int?, to writer: inout JSONWriter
    ) {
        func shown(_ plate: Plate) -> String { revealsPlate ? plate.revealed : plate.masked }
        writer.beginObject()
        if let alternatives {
            writer.beginArray("alternatives")
            for other in alternatives { writer.add(text: alternative(other).text(canonical: true)) }
            writer.endArray()
        }
        writer.add("bizType", order.purpose.rawValue)
        writer.add("clientOrderNo", order.clientOrderNo)
        writer.add("compensated", order.isCompensated)
        writer.add("createTime", order.createdAt)
        writer.add("deliverStatus", order.deliver.rawValue)
        writer.add("discount", order.discountFen == 0 ? nil : order.discountFen)
        writer.add("discountBy", order.discountBy)
        writer.add("enterEnd", order.enterEnd)
        writer.add("enterStart", order.enterStart)
        writer.add("enterTime", order.enterTime)
        writer.add("expectedLeave", order.expectedLeave)
        writer.add("extNo", order.extNo)
        writer.add("holdDeadline", order.holdDeadline)
        writer.add("leaveDeadline", order.leaveDeadline)
        writer.add("leaveTime", order.leaveTime)
        writer.add("offerId", order.offerId)
        writer.add("orderNo", order.orderNo)
        writer.add("orderVer", order.orderVer)
        writer.add("overstay", order.overstay)
        writer.add("parkCode", order.parkCode)
        if order.status == .held, order.prepayNo == nil, let billNo = order.billNo {
            writer.beginObject("payInfo")
            writer.add("amount", order.terms.prepayFen)
            writer.add("billNo", billNo)
            writer.add("payBy", order.holdDeadline ?? 0)
            writer.endObject()
        }
        let isGivenBack = order.isCompensated || order.status == .cancelled || order.deliver == .expired
        // The stay where something was due for it, else the deposit (section 6).
        let deposit = order.prepayNo != nil ? (isGivenBack ? 3 : 2) : order.billNo != nil ? 1 : 0
        writer.add("payState", order.stayPayState != 0 ? order.stayPayState : deposit)
        writer.add("planTime", order.planTime)
        writer.add("plateColor", order.plateColor)
        writer.add("plateNo", shown(order.plate))
        if !order.otherPlates.isEmpty {
            writer.beginArray("plateNos")
            for plate in order.plates { writer.add(shown(plate)) }
            writer.endArray()
        }
        writer.add("poolType", order.pool == order.purpose.pool ? nil : order.pool.rawValue)
        writer.add("recordNo", order.recordNo)
        writer.add("rehomedFrom", order.rehomedFrom)
        writer.add("rehomedTo", order.rehomedTo)
        writer.add("spaceNo", known(order.spaceNo))
        writer.add("status", order.status.rawValue)
        writer.beginObject("terms")
        write(
            order.terms, purpose: order.purpose, earlyMin: Int((order.planTime - order.enterStart) / CivilTime.minute),
            lateMin: Int((order.enterEnd - order.planTime) / CivilTime.minute), entryLimit: order.entryLimit, stayMin: order.stayMin,
            to: &writer)
        writer.endObject()
        writer.add("waitPosition", waitPosition.map { Int64($0) })
        writer.endObject()
    }

    /// U23, A13.
    public static func payment(_ payment: Payment) -> JSON {
        .compact([
            ("amount", .int(payment.amountFen)), ("payNo", .string(payment.payNo)), ("payTime", .optional(payment.payTime)),
            ("recordNo", .string(payment.recordNo)), ("refunded", .int(payment.refundedFen)),
            ("state", .int(payment.state.rawValue)),
        ])
    }

    /// The answer to a decision of the core.
    public static func answer(_ decision: Decision, waitPosition: Int? = nil) -> Answer {
        switch decision.outcome {
        case .done: return Answer()
        case .order(let order, let isRepeat):
            var answer = Answer(canonical: orderText(order, alternatives: decision.alternatives, waitPosition: waitPosition))
            answer.duplicate = isRepeat
            return answer
        case .entity(let entity): return Answer(data: self.entity(entity))
        case .share(let subscription, let fee): return Answer(data: share(subscription, feeFen: fee))
        case .consequences(let offer, let orders, let subscriptions, let cost):
            return Answer(
                code: Profile.current.code("wrongState").code,
                data: [
                    "offerId": .string(offer.offerId), "needsConfirm": true, "cost": .int(cost),
                    "paidBy": .string(offer.providerToken.isEmpty ? "lot" : "owner"),
                    "orders": .array(
                        orders.map {
                            [
                                "orderNo": .string($0.orderNo), "enterStart": .int($0.enterStart), "until": .int($0.expectedLeave),
                                "status": .int($0.status.rawValue),
                            ]
                        }),
                    "subscriptions": .array(
                        subscriptions.map {
                            ["authNo": .string($0.authNo), "validTo": .int($0.validTo), "shareStatus": .int($0.status.rawValue)]
                        }),
                    "occupiedUntil": .optional(orders.filter { $0.status == .inLot }.map(\.expectedLeave).max()),
                ])
        case .gate(let gate, let caseNo): return Answer(data: self.gate(gate, caseNo: caseNo))
        case .withdrawn(let reference, let fen, let left):
            return Answer(data: ["withdrawNo": .string(reference), "amount": .int(fen), "balance": .int(left)])
        case .cancelled(let order, let isBreach, let leftToday, let leftThisMonth):
            return Answer(data: [
                "orderNo": .string(order.orderNo), "status": .int(order.status.rawValue),
                "orderVer": .int(order.orderVer), "cancelType": isBreach ? "breach" : "free",
                "cancelsLeftToday": .int(leftToday), "cancelsLeftThisMonth": .int(leftThisMonth),
            ])
        case .recorded(let recordNo, let status, let isRepeat):
            return Answer(
                data: .compact([
                    ("recordNo", recordNo.isEmpty ? .null : .string(recordNo)),
                    ("orderStatus", status.map { .int($0.rawValue) } ?? .null),
                    ("duplicate", recordNo.isEmpty && !isRepeat ? .null : .bool(isRepeat)), flags(decision),
                ]))
        case .recordedWith(let refusal, let recordNo):
            return Answer(
                code: Profile.current.code(refusal.rawValue).code, data: .compact([("recordNo", .string(recordNo)), flags(decision)]))
        case .subscribed(let count): return Answer(data: ["subscribed": .int(count)])
        case .filed(let count): return Answer(data: ["accepted": .int(count)])
        case .posted(let epoch, let seq):
            return Answer(data: ["accepted": true, "downEpoch": .string(epoch), "downSeq": .int(seq)])
        case .bound(let plate): return Answer(data: ["plateNo": .string(plate.revealed)])
        case .paid(let payment, let isRepeat):
            var answer = Answer(data: self.payment(payment))
            answer.duplicate = isRepeat
            return answer
        case .refunded(let payment, let refundNo, let amount, let isRepeat):
            var answer = Answer(data: [
                "payNo": .string(payment.payNo), "refundNo": .string(refundNo), "amount": .int(amount),
                "refunded": .int(payment.refundedFen),
            ])
            answer.duplicate = isRepeat
            return answer
        case .refused(let refusal):
            return Answer(code: Profile.current.code(refusal.rawValue).code, data: note(decision))
        }
    }

    /// What was unusual in a record that was taken.
    private static func flags(_ decision: Decision) -> (String, JSON) {
        ("flags", decision.flags.isEmpty ? .null : .array(decision.flags.map { .string($0) }))
    }

    /// A17: what a provider is told, and under which service.
    public static func tiding(_ tiding: Tiding) -> (service: String, data: JSON) {
        switch tiding.subject {
        case .order(let orderNo, let clientOrderNo, let orderVer, let status, let deliver, let occurredAt):
            (
                "order.status.notify",
                .compact([
                    ("orderNo", .string(orderNo)), ("clientOrderNo", .string(clientOrderNo)), ("orderVer", .int(orderVer)),
                    ("status", .int(status.rawValue)), ("deliverStatus", .int(deliver.rawValue)),
                    ("occurTime", .int(occurredAt > 0 ? occurredAt : tiding.at)),
                    // What is older than ten minutes is no news for a user (section 6, "Settled" g).
                    ("late", occurredAt > 0 && tiding.at - occurredAt > 600_000 ? true : .null),
                ])
            )
        case .payment(let payNo, let state, let amount, let time):
            (
                "pay.notify",
                .compact([
                    ("payNo", .string(payNo)), ("state", .int(state.rawValue)), ("amount", .int(amount)), ("payTime", .optional(time)),
                ])
            )
        case .refund(let payNo, let refundNo, let amount):
            ("refund.notify", ["payNo": .string(payNo), "refundNo": .string(refundNo), "amount": .int(amount)])
        case .credit(let userToken, let reason, let orderNo, let isUndone):
            (
                "credit.notify",
                [
                    "userToken": .string(userToken), "reason": .int(Profile.current.code(reason.rawValue).code),
                    "orderNo": .string(orderNo), "undone": .bool(isUndone), "occurTime": .int(tiding.at),
                ]
            )
        case .share(let authNo, let status):
            (
                "share.status.notify",
                ["authNo": .string(authNo), "shareStatus": .int(status.rawValue), "occurTime": .int(tiding.at)]
            )
        }
    }

    /// The same at every attempt.
    public static func tidingRequestId(_ tiding: Tiding) -> String {
        downRequestId(parkCode: "tiding", epoch: tiding.appId, seq: tiding.id, at: 0)
    }

    /// The requestId of a down entry: the same at every sending, so derived from its position.
    /// - Parameter at: when the entry was made: the same place has another entry in a city that was restored.
    public static func downRequestId(parkCode: String, epoch: String, seq: Int64, at: Int64) -> String {
        var bytes = Array(SHA256.hash(data: Array("\(parkCode)|\(epoch)|\(seq)|\(at)".utf8)).prefix(16))
        bytes[6] = bytes[6] & 0x0F | 0x80  // version 8: custom
        bytes[8] = bytes[8] & 0x3F | 0x80
        return uuid(bytes)
    }

    /// 16 bytes → the text form of a UUID.
    public static func uuid(_ bytes: [UInt8]) -> String {
        let hex = Array(Signature.hex(bytes))
        return [hex[0..<8], hex[8..<12], hex[12..<16], hex[16..<20], hex[20..<32]].map { String($0) }.joined(separator: "-")
    }
}
