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
                    ("orderNo", .string(order.orderNo)), ("orderVer", .int(order.orderVer)),
                    ("plateNo", .string(order.plate.revealed)), ("plateColor", .int(order.plateColor)),
                    ("planTime", .int(order.planTime)), ("enterStart", .int(order.enterStart)),
                    ("enterEnd", .int(order.enterEnd)), ("leaveDeadline", .optional(order.leaveDeadline)),
                    ("validTo", .int(order.enterEnd)),
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
        case .relay(let service, let body): return (service, (try? JSON.parse(Array(body.utf8))) ?? [:])
        }
    }

    /// D01; the same shape stands in a snapshot.
    public static func reserve(_ order: Order) -> JSON {
        .compact([
            ("orderNo", .string(order.orderNo)), ("orderVer", .int(order.orderVer)),
            ("bizType", .int(order.purpose.rawValue)), ("plateNo", .string(order.plate.revealed)),
            ("plateColor", .int(order.plateColor)), ("enterStart", .int(order.enterStart)),
            ("enterEnd", .int(order.enterEnd)), ("planTime", .int(order.planTime)),
            ("leaveDeadline", .optional(order.leaveDeadline)), ("entryLimit", .int(order.entryLimit)),
            ("occupySpace", true), ("billingParty", .int(order.purpose == .shared ? 2 : 1)),
            ("contactMobile", order.mobile.isEmpty ? .null : .string(mask(mobile: order.mobile))),
            ("displayText", "预约车辆 欢迎光临"), ("sourceCode", .string(order.appId)), ("extNo", .optional(order.extNo)),
            ("validTo", .int(order.enterEnd)),
        ])
    }

    /// 138****0000.
    public static func mask(mobile: String) -> String {
        mobile.count >= 7 ? mobile.prefix(3) + "****" + mobile.suffix(4) : "****"
    }

    /// A07 detail; with `alternatives` it is the answer to A04. The plate is shown whole to the provider whose user it belongs to, masked to everyone else.
    public static func order(_ order: Order, revealsPlate: Bool, hasAlternatives: Bool = false) -> JSON {
        // In canonical order, which saves the sorting.
        .compact([
            ("alternatives", hasAlternatives ? [] : .null), ("bizType", .int(order.purpose.rawValue)),
            ("clientOrderNo", .string(order.clientOrderNo)), ("compensated", .bool(order.isCompensated)),
            ("createTime", .int(order.createdAt)), ("deliverStatus", .int(order.deliver.rawValue)),
            ("enterEnd", .int(order.enterEnd)), ("enterStart", .int(order.enterStart)),
            ("enterTime", .optional(order.enterTime)), ("expectedLeave", .int(order.expectedLeave)),
            ("holdDeadline", .optional(order.holdDeadline)), ("leaveDeadline", .optional(order.leaveDeadline)),
            ("leaveTime", .optional(order.leaveTime)), ("orderNo", .string(order.orderNo)),
            ("orderVer", .int(order.orderVer)), ("overstay", .bool(order.overstay)),
            ("parkCode", .string(order.parkCode)), ("payState", 0), ("planTime", .int(order.planTime)),
            ("plateColor", .int(order.plateColor)),
            ("plateNo", .string(revealsPlate ? order.plate.revealed : order.plate.masked)),
            ("recordNo", .optional(order.recordNo)), ("status", .int(order.status.rawValue)),
            (
                "terms",
                [
                    "entryLimit": .int(order.entryLimit), "freeCancelUntil": .int(order.enterStart),
                    "stayMin": .int(order.stayMin),
                ]
            ),
        ])
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
    public static func answer(_ outcome: Outcome) -> Answer {
        switch outcome {
        case .done: return Answer()
        case .order(let order, let isRepeat):
            var answer = Answer(data: self.order(order, revealsPlate: true, hasAlternatives: true))
            answer.duplicate = isRepeat
            return answer
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
                    ("duplicate", isRepeat ? true : .null),
                ]))
        case .recordedWith(let refusal, let recordNo):
            return Answer(
                code: Profile.current.code(refusal.rawValue).code, data: ["recordNo": .string(recordNo)])
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
        case .refused(let refusal): return Answer(code: Profile.current.code(refusal.rawValue).code)
        }
    }

    /// A17: what a provider is told, and under which service.
    public static func tiding(_ tiding: Tiding) -> (service: String, data: JSON) {
        switch tiding.subject {
        case .order(let orderNo, let clientOrderNo, let orderVer, let status):
            (
                "order.status.notify",
                [
                    "orderNo": .string(orderNo), "clientOrderNo": .string(clientOrderNo), "orderVer": .int(orderVer),
                    "status": .int(status.rawValue), "occurTime": .int(tiding.at),
                ]
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
        }
    }

    /// The same at every attempt.
    public static func tidingRequestId(_ tiding: Tiding) -> String {
        downRequestId(parkCode: "tiding", epoch: tiding.appId, seq: tiding.id)
    }

    /// The requestId of a down entry: the same at every sending, so derived from its position.
    public static func downRequestId(parkCode: String, epoch: String, seq: Int64) -> String {
        var bytes = Array(SHA256.hash(data: Array("\(parkCode)|\(epoch)|\(seq)".utf8)).prefix(16))
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
