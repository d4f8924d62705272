public import BerthCore

// The services whose final result is kept by requestId → commands of the core.
extension Decode {
    /// The caller, its lot, and the time of the call.
    public struct Caller: Sendable {
        public var appId: String
        /// Of the envelope; "" where it names none.
        public var parkCode: String
        public var requestId: String
        /// Hash of canon(data).
        public var dataHash: String
        public var now: Int64

        public init(appId: String, parkCode: String, requestId: String, dataHash: String, now: Int64) {
            self.appId = appId
            self.parkCode = parkCode
            self.requestId = requestId
            self.dataHash = dataHash
            self.now = now
        }
    }

    /// The data has passed its shape.
    public static func command(service: String, data: JSONObject, _ caller: Caller) throws(WireError) -> Command {
        if service == "lot.tariff.report" { try checkTariff(data) }
        if let command = filing(service: service, data: data, parkCode: caller.parkCode, now: caller.now) { return command }
        if let people = try people(service: service, data: data) { return .people(people) }
        let fields = FieldReader(data)
        switch service {
        case "order.create": return .create(try booking(data, appId: caller.appId, dataHash: caller.dataHash))
        case "order.modify": return try modification(data, appId: caller.appId)
        case "order.cancel": return try cancellation(data, appId: caller.appId)
        case "order.delay": return .delay(appId: caller.appId, orderNo: try fields.string("orderNo", max: 32))
        case "vehicle.bind", "vehicle.unbind": return try binding(service: service, data, appId: caller.appId)
        case "space.subscribe":
            return .subscribe(
                appId: caller.appId, parkCodes: (data["parkCodes"]?.arrayValue ?? []).compactMap(\.stringValue),
                minSeconds: Int(try fields.int("minInterval", in: 30...86_400)))
        case "pay.create":
            return .pay(
                appId: caller.appId, parkCode: caller.parkCode, billNo: try fields.string("billNo", max: 64),
                payNo: try fields.string("payNo", max: 64),
                amountFen: try fields.int("amount", in: 0...WireLimits.moneyMax), channel: try fields.string("channel", max: 32),
                requestHash: caller.dataHash)
        case "refund.apply": return try refund(fields, caller)
        case "lot.info.report":
            let known = Dialect.current.services[service]!.request.known(data)
            return .openLot(
                try lotInfo(data, parkCode: caller.parkCode),
                info: KeptRecord(
                    parkCode: caller.parkCode, kind: infoKind, key: infoKind, body: JSON.object(known).canonicalString, at: caller.now))
        case "lot.gate.report": return try gates(data, parkCode: caller.parkCode, kind: gateKind, now: caller.now)
        case "space.remain.report": return .reportRemaining(parkCode: caller.parkCode, try remaining(data, now: caller.now))
        case "waitlist.join":
            var booking = try booking(data, appId: caller.appId, dataHash: caller.dataHash)
            booking.waits = true
            return .create(booking)
        case "waitlist.leave": return .leaveWaitlist(appId: caller.appId, orderNo: try fields.string("orderNo", max: 32))
        case "credit.appeal":
            return .appeal(
                appId: caller.appId, penaltyId: try fields.string("penaltyId", max: 64), text: try fields.string("text", max: 1024),
                images: (data["images"]?.arrayValue ?? []).compactMap(\.stringValue))
        case "share.apply": return try subscription(data, appId: caller.appId, now: caller.now)
        case "share.cancel": return .endShare(appId: caller.appId, authNo: try fields.string("authNo", max: 32))
        case "share.renew":
            return .renewShare(appId: caller.appId, authNo: try fields.string("authNo", max: 32), validTo: try fields.time("periodTo"))
        case "share.offer.publish": return try offer(data, appId: caller.appId, now: caller.now)
        case "share.offer.update": return try offerUpdate(data, appId: caller.appId)
        case "share.offer.close":
            return .closeOffer(
                appId: caller.appId, offerId: try fields.string("offerId", max: 32),
                isConfirmed: try fields.optionalBool("confirm") ?? false, isPreview: try fields.optionalBool("preview") ?? false)
        case "share.withdraw.apply":
            return .withdrawIncome(
                appId: caller.appId, providerToken: try fields.string("providerToken", max: 64),
                fen: try fields.int("amount", in: 1...WireLimits.moneyMax),
                reference: "W" + caller.requestId)
        case "biz.appointment.push": return try appointment(data, appId: caller.appId, now: caller.now)
        case "biz.appointment.change":
            return .moveAppointment(appId: caller.appId, extNo: try fields.string("extNo", max: 64), to: try fields.time("appointTime"))
        case "biz.appointment.cancel": return .cancelAppointment(appId: caller.appId, extNo: try fields.string("extNo", max: 64))
        case "policy.set": return try policyValues(data)
        case "calendar.set": return try calendarDay(data)
        case "biz.place.set":
            return .setPlace(
                PublicPlace(
                    placeCode: try fields.string("placeCode", max: 32), name: try fields.optionalString("name", max: 64) ?? "",
                    parkCodes: try parkCodes(data)))
        case "flow.area.set":
            return .setArea(
                FlowArea(
                    areaId: try fields.string("areaId", max: 32), name: try fields.optionalString("name", max: 64) ?? "",
                    parkCodes: try parkCodes(data)))
        case "flow.policy.set": return .setFlow(try flow(data, parkCode: nil))
        case "share.review":
            let isPassed = try fields.bool("pass")
            let remark = try fields.optionalString("remark", max: 256) ?? ""
            let parkCode = try fields.optionalString("parkCode", max: 32) ?? ""
            if let offerId = try fields.optionalString("offerId", max: 32), !offerId.isEmpty {
                return .reviewOffer(parkCode: parkCode, offerId: offerId, isPassed: isPassed, remark: remark)
            }
            guard let authNo = try fields.optionalString("authNo", max: 32), !authNo.isEmpty else {
                throw fields.missing("offerId or authNo")
            }
            return .reviewShare(parkCode: parkCode, authNo: authNo, isPassed: isPassed, remark: remark)
        case "credit.appeal.answer":
            return .answerAppeal(
                appealId: try fields.string("appealId", max: 64), isGranted: try fields.bool("grant"),
                answer: try fields.string("answer", max: 1024))
        case "gate.case.decide":
            let orderNo = try fields.optionalString("orderNo", max: 32)
            return .decideCase(
                parkCode: try self.parkCode(fields), caseNo: try fields.string("caseNo", max: 32),
                orderNo: orderNo?.isEmpty == false ? orderNo : nil, by: try fields.optionalString("actor", max: 64) ?? caller.appId)
        default: throw WireError("maintenance", service)
        }
    }

    /// U06: a cap of 0 would make parking free for ever, and is a mistake.
    private static func checkTariff(_ data: JSONObject) throws(WireError) {
        let fields = FieldReader(data)
        if data["dailyCap"]?.intValue == 0 { throw fields.illegal("dailyCap", "0 would make parking free; leave it out") }
        for row in try fields.objects("rules", max: 200) where row.object["capFee"]?.intValue == 0 {
            throw row.illegal("capFee", "0 would make parking free; leave it out")
        }
    }

    /// Under which a lot's own description and its gates are kept as they were reported.
    public static let infoKind = "info"
    public static let gateKind = "gate"

    private static func refund(_ fields: FieldReader, _ caller: Caller) throws(WireError) -> Command {
        let payNo = try fields.string("payNo", max: 64)
        let refundNo = try fields.string("refundNo", max: 64)
        let amount = try fields.int("amount", in: 0...WireLimits.moneyMax)
        let reason = try fields.optionalString("reason", max: 256)
        let message = JSON.compact([
            ("amount", .int(amount)), ("payNo", .string(payNo)), ("reason", .optional(reason)),
            ("refundNo", .string(refundNo)), ("time", .int(caller.now)),
        ])
        return .refund(appId: caller.appId, payNo: payNo, refundNo: refundNo, amountFen: amount, message: message.string)
    }
}
