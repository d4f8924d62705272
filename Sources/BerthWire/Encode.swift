import BerthCore
import Crypto

/// Values of the core → business fields of the wire.
public enum Encode {
    /// The service and data of a down-log message (D01 to D03).
    public static func lotMessage(_ message: LotMessage) -> (service: String, data: JSON) {
        switch message {
        case .reserve(let reservation): return ("order.reserve.push", reserve(reservation))
        case .modify(let reservation):
            return (
                "order.reserve.modify",
                .compact([
                    ("orderNo", .string(reservation.orderNo)), ("orderVer", .int(reservation.pushedVer)),
                    ("plateNo", .string(reservation.plate.revealed)), ("plateColor", .int(reservation.plateColor)),
                    ("planTime", .int(reservation.planTime)), ("enterStart", .int(reservation.enterStart)),
                    ("enterEnd", .int(reservation.enterEnd)), ("leaveDeadline", .optional(reservation.leaveDeadline)),
                    // A later time to leave is for a car that is inside already.
                    (
                        "validTo",
                        .int(
                            reservation.status == .inLot ? max(reservation.enterEnd, reservation.leaveDeadline ?? 0) : reservation.enterEnd)
                    ),
                    ("spaceNo", reservation.purpose == .shared ? .string(known(reservation.spaceNo) ?? "") : .null),
                    ("plateNos", reservation.otherPlates.isEmpty ? .null : .array(reservation.otherPlates.map { .string($0.revealed) })),
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
    public static func reserve(_ reservation: Reservation) -> JSON {
        .compact([
            ("orderNo", .string(reservation.orderNo)), ("orderVer", .int(reservation.pushedVer)),
            ("bizType", .int(reservation.purpose.rawValue)), ("plateNo", .string(reservation.plate.revealed)),
            ("plateColor", .int(reservation.plateColor)), ("enterStart", .int(reservation.enterStart)),
            ("enterEnd", .int(reservation.enterEnd)), ("planTime", .int(reservation.planTime)),
            ("leaveDeadline", .optional(reservation.leaveDeadline)), ("entryLimit", .int(reservation.entryLimit)),
            ("occupySpace", true), ("spaceNo", .optional(known(reservation.spaceNo))),
            ("gateCodes", reservation.terms.gateCodes.isEmpty ? .null : .array(reservation.terms.gateCodes.map { .string($0) })),
            ("billingParty", .int(reservation.purpose == .shared ? 2 : 1)), ("prepayNo", .optional(reservation.prepayNo)),
            ("prepayAmount", reservation.prepayNo == nil ? .null : .int(reservation.terms.prepayFen)),
            ("contactMobile", reservation.mobile.isEmpty ? .null : .string(mask(mobile: reservation.mobile))),
            ("displayText", "预约车辆 欢迎光临"), ("sourceCode", .string(reservation.appId)), ("extNo", .optional(reservation.extNo)),
            ("validTo", .int(reservation.enterEnd)),
            ("plateNos", reservation.otherPlates.isEmpty ? .null : .array(reservation.otherPlates.map { .string($0.revealed) })),
            ("lateGraceMin", reservation.purpose == .shared ? .int(reservation.terms.graceMin) : .null),
            ("overtimePct", reservation.terms.overtimePercent == 100 ? .null : .int(reservation.terms.overtimePercent)),
            ("freeMin", reservation.terms.freeMin == 0 ? .null : .int(reservation.terms.freeMin)),
            ("termsVer", reservation.terms.version == 0 ? .null : .int(reservation.terms.version)),
            ("poolType", reservation.pool == reservation.purpose.pool ? .null : .string(reservation.pool.rawValue)),
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
    public static func reservation(
        _ reservation: Reservation, revealsPlate: Bool, alternatives: [Alternative]? = nil, waitPosition: Int? = nil
    ) -> JSON {
        var writer = JSONWriter()
        write(reservation, revealsPlate: revealsPlate, alternatives: alternatives, waitPosition: waitPosition, to: &writer)
        return writer.json
    }

    /// The same as its canonical text.
    public static func orderText(_ reservation: Reservation, alternatives: [Alternative]? = nil, waitPosition: Int? = nil) -> [UInt8] {
        var writer = JSONWriter()
        write(reservation, revealsPlate: true, alternatives: alternatives, waitPosition: waitPosition, to: &writer)
        return writer.bytes
    }

    /// In canonical order.
    private static func write(
        _ reservation: Reservation, revealsPlate: Bool, alternatives: [Alternative]?, waitPosition: Int?, to writer: inout JSONWriter
    ) {
        func shown(_ plate: Plate) -> String { revealsPlate ? plate.revealed : plate.masked }
        writer.beginObject()
        if let alternatives {
            writer.beginArray("alternatives")
            for other in alternatives { writer.add(text: alternative(other).text(canonical: true)) }
            writer.endArray()
        }
        writer.add("bizType", reservation.purpose.rawValue)
        writer.add("clientOrderNo", reservation.clientOrderNo)
        writer.add("compensated", reservation.isCompensated)
        writer.add("createTime", reservation.createdAt)
        writer.add("delayed", isSet: reservation.isDelayed)
        writer.add("deliverStatus", reservation.deliver.rawValue)
        writer.add("discount", reservation.discountFen == 0 ? nil : reservation.discountFen)
        writer.add("discountBy", reservation.discountBy)
        let isOver = !reservation.status.isOpen && reservation.status != .done
        writer.add("endReason", isOver ? reservation.endReason : nil)
        writer.add("endTime", isOver ? reservation.endedAt : nil)
        writer.add("enterEnd", reservation.enterEnd)
        writer.add("enterStart", reservation.enterStart)
        writer.add("enterTime", reservation.enterTime)
        writer.add("expectedLeave", reservation.expectedLeave)
        writer.add("extNo", reservation.extNo)
        writer.add("holdDeadline", reservation.holdDeadline)
        writer.add("leaveDeadline", reservation.leaveDeadline)
        writer.add("leaveTime", reservation.leaveTime)
        writer.add("offerId", reservation.offerId)
        writer.add("orderNo", reservation.orderNo)
        writer.add("orderVer", reservation.orderVer)
        writer.add("overstay", reservation.overstay)
        writer.add("parkCode", reservation.parkCode)
        if reservation.status == .held, reservation.prepayNo == nil, let billNo = reservation.billNo {
            writer.beginObject("payInfo")
            writer.add("amount", reservation.terms.prepayFen)
            writer.add("billNo", billNo)
            writer.add("payBy", reservation.holdDeadline ?? 0)
            writer.endObject()
        }
        writer.add("payState", payState(reservation))
        writer.add("planTime", reservation.planTime)
        writer.add("plateChanges", reservation.plateChanges == 0 ? nil : Int64(reservation.plateChanges))
        writer.add("plateColor", reservation.plateColor)
        writer.add("plateNo", shown(reservation.plate))
        if !reservation.otherPlates.isEmpty {
            writer.beginArray("plateNos")
            for plate in reservation.plates { writer.add(shown(plate)) }
            writer.endArray()
        }
        writer.add("poolType", reservation.pool == reservation.purpose.pool ? nil : reservation.pool.rawValue)
        writer.add("promoteTime", reservation.promotedAt)
        writer.add("recordNo", reservation.recordNo)
        writer.add("rehomedFrom", reservation.rehomedFrom)
        writer.add("rehomedTo", reservation.rehomedTo)
        writer.add("spaceNo", known(reservation.spaceNo))
        writer.add("status", reservation.status.rawValue)
        writer.beginObject("terms")
        write(
            reservation.terms, purpose: reservation.purpose,
            earlyMin: Int((reservation.planTime - reservation.enterStart) / CivilTime.minute),
            lateMin: Int((reservation.enterEnd - reservation.planTime) / CivilTime.minute), entryLimit: reservation.entryLimit,
            stayMin: reservation.stayMin,
            to: &writer)
        writer.endObject()
        writer.add("waitPosition", waitPosition.map { Int64($0) })
        writer.endObject()
    }

    /// The state of the payment of the stay where something was due for it, else of the deposit (section 6, `payState`).
    public static func payState(_ reservation: Reservation) -> Int {
        if reservation.stayPayState != 0 { return reservation.stayPayState }
        let isGivenBack = reservation.isCompensated || reservation.status == .cancelled || reservation.deliver == .expired
        return reservation.prepayNo != nil ? (isGivenBack ? 3 : 2) : reservation.billNo != nil ? 1 : 0
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
    public static func answer(_ decision: Decision, waitPosition: Int? = nil) -> Reply {
        switch decision.outcome {
        case .done: return Reply()
        case .reservation(let reservation, let isRepeat):
            var answer = Reply(canonical: orderText(reservation, alternatives: decision.alternatives, waitPosition: waitPosition))
            answer.duplicate = isRepeat
            return answer
        case .entity(let entity): return Reply(data: self.entity(entity))
        case .share(let subscription, let fee): return Reply(data: share(subscription, feeFen: fee))
        case .consequences(let offer, let reservations, let subscriptions, let cost):
            return Reply(
                code: Dialect.current.code("wrongState").code,
                data: [
                    "offerId": .string(offer.offerId), "needsConfirm": true, "cost": .int(cost),
                    "paidBy": .string(offer.providerToken.isEmpty ? "lot" : "owner"),
                    "orders": .array(
                        reservations.map {
                            [
                                "orderNo": .string($0.orderNo), "enterStart": .int($0.enterStart), "until": .int($0.expectedLeave),
                                "status": .int($0.status.rawValue),
                            ]
                        }),
                    "subscriptions": .array(
                        subscriptions.map {
                            ["authNo": .string($0.authNo), "validTo": .int($0.validTo), "shareStatus": .int($0.status.rawValue)]
                        }),
                    "occupiedUntil": .optional(reservations.filter { $0.status == .inLot }.map(\.expectedLeave).max()),
                ])
        case .gate(let gate, let caseNo): return Reply(data: self.gate(gate, caseNo: caseNo))
        case .withdrawn(let reference, let fen, let left):
            return Reply(data: ["withdrawNo": .string(reference), "amount": .int(fen), "balance": .int(left)])
        case .cancelled(let reservation, let isBreach, let leftToday, let leftThisMonth):
            return Reply(data: [
                "orderNo": .string(reservation.orderNo), "status": .int(reservation.status.rawValue),
                "orderVer": .int(reservation.orderVer), "cancelType": isBreach ? "breach" : "free",
                "cancelsLeftToday": .int(leftToday), "cancelsLeftThisMonth": .int(leftThisMonth),
            ])
        case .recorded(let recordNo, let status, let isRepeat):
            return Reply(
                data: .compact([
                    ("recordNo", recordNo.isEmpty ? .null : .string(recordNo)),
                    ("orderStatus", status.map { .int($0.rawValue) } ?? .null),
                    ("duplicate", recordNo.isEmpty && !isRepeat ? .null : .bool(isRepeat)), flags(decision),
                ]))
        case .recordedWith(let refusal, let recordNo):
            return Reply(
                code: Dialect.current.code(refusal.rawValue).code, data: .compact([("recordNo", .string(recordNo)), flags(decision)]))
        case .subscribed(let count): return Reply(data: ["subscribed": .int(count)])
        case .filed(let count): return Reply(data: ["accepted": .int(count)])
        case .posted(let epoch, let seq):
            return Reply(data: ["accepted": true, "downEpoch": .string(epoch), "downSeq": .int(seq)])
        case .bound(let plate): return Reply(data: ["plateNo": .string(plate.revealed)])
        case .paid(let payment, let isRepeat):
            var answer = Reply(data: self.payment(payment))
            answer.duplicate = isRepeat
            return answer
        case .refunded(let payment, let refundNo, let amount, let isRepeat):
            var answer = Reply(data: [
                "payNo": .string(payment.payNo), "refundNo": .string(refundNo), "amount": .int(amount),
                "refunded": .int(payment.refundedFen),
            ])
            answer.duplicate = isRepeat
            return answer
        case .refused(let refusal):
            return Reply(code: Dialect.current.code(refusal.rawValue).code, data: note(decision))
        }
    }

    /// The unusual facts of a record that was taken.
    private static func flags(_ decision: Decision) -> (String, JSON) {
        ("flags", decision.flags.isEmpty ? .null : .array(decision.flags.map { .string($0) }))
    }

    /// A17: the content of a notification to a provider, and its service.
    public static func notification(_ notification: ProviderNotification) -> (service: String, data: JSON) {
        switch notification.subject {
        case .reservation(let orderNo, let clientOrderNo, let orderVer, let status, let deliver, let occurredAt):
            (
                "order.status.notify",
                .compact([
                    ("orderNo", .string(orderNo)), ("clientOrderNo", .string(clientOrderNo)), ("orderVer", .int(orderVer)),
                    ("status", .int(status.rawValue)), ("deliverStatus", .int(deliver.rawValue)),
                    ("occurTime", .int(occurredAt > 0 ? occurredAt : notification.at)),
                    // A change that is older than ten minutes is no news for a user (section 6, "Settled" g).
                    ("late", occurredAt > 0 && notification.at - occurredAt > 600_000 ? true : .null),
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
                    "userToken": .string(userToken), "reason": .int(Dialect.current.code(reason.rawValue).code),
                    "orderNo": .string(orderNo), "undone": .bool(isUndone), "occurTime": .int(notification.at),
                ]
            )
        case .share(let authNo, let status):
            (
                "share.status.notify",
                ["authNo": .string(authNo), "shareStatus": .int(status.rawValue), "occurTime": .int(notification.at)]
            )
        }
    }

    /// The same at every attempt.
    public static func tidingRequestId(_ notification: ProviderNotification) -> String {
        downRequestId(parkCode: "tiding", epoch: notification.appId, seq: notification.id, at: 0)
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
