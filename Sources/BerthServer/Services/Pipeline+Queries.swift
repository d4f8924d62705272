import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Synchronization

// Services that change nothing, and those of the resume mechanism, which carry their own guard.
extension Pipeline {
    func query(
        _ request: VerifiedRequest, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let envelope = request.envelope
        let fields = FieldReader(envelope.data)
        switch envelope.service {
        case "sys.time.get":
            _ = try fields.optionalTime("deviceSendTime")
            completion(
                Reply(
                    data: [
                        "serverRecvTime": .int(now), "serverSendTime": .int(clock()),
                        "ntpServers": .array(settings.ntpServers.map { .string($0) }),
                    ]))
        case "sys.heartbeat": try heartbeat(fields, parkCode, sentAt: envelope.timestamp, now: now, completion: completion)
        case "vehicle.preentry.check": try preentry(fields, parkCode, now: now, completion: completion)
        case "sync.cursor.query": try cursor(fields, parkCode, completion: completion)
        case "sync.batch.report": try batch(fields, parkCode, now: now, completion: completion)
        case "sync.down.pull": try pull(fields, parkCode, completion: completion)
        case "sync.down.ack": try acknowledge(fields, parkCode, now: now, completion: completion)
        case "sync.snapshot.query":
            let isShown = try reveals(request, fields)
            let isOverMQTT = request.isOverMQTT
            looked(request, now: now, completion) { [self] in
                snapshot(parkCode, reveals: isShown, isOverMQTT: isOverMQTT, now: now, completion: completion)
            }
        case "recon.inlot.count":
            sequencer.read(
                parkCode,
                { city in
                    let lot = city.lots[parkCode]
                    return Reply(data: ["count": .int(lot?.inside.count ?? 0), "asOfSeq": .int(lot?.up.ackSeq ?? 0)])
                }, completion: completion)
        case "recon.inlot.list":
            let work = try inlotList(fields, parkCode, reveals: reveals(request, fields), completion: completion)
            looked(request, now: now, completion, work)
        case "recon.order.digest": orderDigest(parkCode, completion: completion)
        case "vehicle.preexit.report": try preexit(fields, parkCode, now: now, completion: completion)
        case "image.upload.query":
            Blocking.run { [pictures] in
                completion(
                    Pipeline.answer { () throws(WireError) in try pictures.progress(request, now: now) })
            }
        case "stat.daily.query": try statistic(request, fields, parkCode, now: now, completion: completion)
        case "sync.dead.list": try deadLetters(request, fields, parkCode, completion: completion)
        case "event.list": try events(request, fields, completion: completion)
        case "payment.result.query", "pay.query": try paymentQuery(request, fields, parkCode, completion: completion)
        case "vehicle.list": try vehicles(request, fields, completion: completion)
        case "vehicle.verify": try verify(request, fields, completion: completion)
        case "user.credit.query": try credit(request, fields, now: now, completion: completion)
        case "lot.search": try search(request, fields, now: now, completion: completion)
        case "lot.detail": try detail(fields, now: now, completion: completion)
        case "slot.query":
            let (lot, purpose, day) = try Decode.slotQuery(envelope.data)
            slots(lot, purpose, day, now: now, completion: completion)
        case "order.detail": try orderDetail(request, fields, completion: completion)
        case "order.list": try orderList(request, fields, completion: completion)
        default:
            if try peopleQuery(request, fields, now: now, completion: completion) { return }
            if try boardQuery(request, fields, now: now, completion: completion) { return }
            guard try ruleQuery(request, fields, parkCode, now: now, completion: completion) else {
                throw WireError("maintenance", envelope.service)
            }
        }
    }

    /// Plates that are shown whole outside the lot concerned: on record before they are shown.
    /// - Parameter isNew: false for a question that is on record already (``RecentLooks``).
    func looked(
        _ request: VerifiedRequest, now: Millis, _ completion: @escaping Sequencer.Completion, isNew: Bool = true,
        _ work: @escaping @Sendable () -> Void
    ) {
        guard request.credential.role == .operator, isNew else { return work() }
        sequencer.record(Audit.look(request, reason: request.envelope.data["reason"]?.stringValue ?? "", now: now)) { recorded in
            recorded.code == 0 ? work() : completion(recorded)
        }
    }

    private func heartbeat(
        _ fields: FieldReader, _ parkCode: String, sentAt: Millis, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let count: ClosedRange<Int64> = 0...1_000_000_000
        let depth = try fields.optionalInt("queueDepth", in: count)
        _ = try fields.optionalInt("onlineGates", in: count)
        _ = try fields.optionalInt("offlineGates", in: count)
        let offset = try fields.optionalInt("clockOffsetMs", in: -count.upperBound...count.upperBound)
        _ = try fields.optionalString("softVersion", max: 32)
        let localTime = try fields.optionalTime("localTime") ?? now
        presence.heard(parkCode)
        let isOff = presence.noteHeartbeat(
            parkCode, queueDepth: depth ?? 0, clockOffset: offset ?? 0, offsetMax: settings.clockMaxOffsetMillis)
        if isOff {
            sequencer.perform(
                .raise(LotEvent(parkCode: parkCode, eventType: 6010, occurredAt: now, detail: "\(offset ?? 0) ms")), now: now)
        }
        // An empty queue says that everything up to the lot's own time has been told: the message's own time, never later than its sending.
        if depth == 0 { sequencer.readUndurable { $0.notePassed(parkCode, through: min(localTime, sentAt, now)) } }
        completion(Reply())
    }

    private func preentry(
        _ fields: FieldReader, _ parkCode: String, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let gateCode = try fields.string("gateCode", max: 32)
        let plate = try Decode.reading(fields)
        let color = Int(try fields.int("plateColor", among: Plate.colors))
        let confidence = try fields.optionalInt("confidence", in: 0...100).map { Int($0) }
        var question = GateQuestion(
            plate: plate, time: try fields.time("captureTime"), gateCode: gateCode, confidence: confidence,
            orderNo: try fields.optionalString("orderNo", max: 32))
        question.color = color
        question.imageId = try fields.optionalString("imageId", max: 64)
        // An almost-match goes on record with its answer, so this is asked of the rules like a command.
        sequencer.perform(.check(parkCode: parkCode, question), now: now, completion: completion)
    }

    // MARK: Queries of drivers

    private func detail(_ fields: FieldReader, now: Millis, completion: @escaping Sequencer.Completion) throws(WireError) {
        let parkCode = try Decode.parkCode(fields)
        let planTime = try fields.optionalTime("planTime") ?? now
        let stayMin = try fields.optionalInt("stayMin", in: 15...10_080).map { Int($0) }
        let link = presence.link(parkCode)
        sequencer.read(
            parkCode,
            { city in
                city.advance(parkCode, to: now)
                guard let lot = city.lots[parkCode] else { return Reply(WireError("lotNotRegistered")) }
                guard let profile = lot.profile else { return Reply(WireError("lotIncomplete")) }
                return Reply(
                    data: LotView.with(
                        LotView.standing(lot, link), LotView.detail(lot, profile, city, planTime: planTime, stayMin: stayMin, now: now)))
            }, completion: completion)
    }

    private func slots(
        _ parkCode: String, _ purpose: Purpose, _ day: Int64, now: Millis,
        completion: @escaping Sequencer.Completion
    ) {
        let link = presence.link(parkCode)
        let aside = Mutex<City?>(nil)
        sequencer.read(
            parkCode,
            { city in
                city.advance(parkCode, to: now)
                guard let lot = city.lots[parkCode] else { return Reply(WireError("lotNotRegistered", "parkCode")) }
                guard let profile = lot.profile else { return Reply(WireError("lotIncomplete")) }
                guard profile.enabled.contains(purpose), city.isOpened(lot, for: purpose) else {
                    return Reply(WireError(purpose == .shared ? "sharingNotEnabled" : "reservationNotEnabled"))
                }
                aside.withLock { $0 = city.alone(parkCode, day: day) }
                return Reply()
            }
        ) { answer in
            guard answer.code == 0, let city = aside.withLock({ $0 }), let lot = city.lots[parkCode] else { return completion(answer) }
            // A day has hundreds of moments to be looked at: nobody else waits for them.
            Blocking.run {
                let city = city
                let slots = city.slots(parkCode, purpose, day: day, now: now)
                completion(
                    Reply(
                        data: LotView.with(
                            LotView.standing(lot, link),
                            [
                                "parkCode": .string(parkCode), "bizType": .int(purpose.rawValue),
                                "slots": .array(slots.map { LotView.slot($0, price: city.slotPrice(parkCode, purpose, $0)) }),
                            ])))
            }
        }
    }

    private func orderDetail(
        _ request: VerifiedRequest, _ fields: FieldReader, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let orderNo = try fields.optionalString("orderNo", max: 32)
        let clientOrderNo = try fields.optionalString("clientOrderNo", max: 64)
        guard orderNo != nil || clientOrderNo != nil else { throw WireError("missingParameter", "orderNo") }
        let appId = request.credential.appId
        let userToken = try fields.optionalString("userToken", max: 64)
        let isOperator = request.credential.role == .operator
        let reveals = try reveals(request, fields)
        let now = clock()
        let own = Pipeline.lots(of: request.credential)
        let work: @Sendable () -> Void = { [sequencer] in
            // The answer waits for decisions about the order's own lot alone, and not for those about other lots.
            sequencer.read(
                orderNo.flatMap { number in sequencer.readUndurable { $0.parkCode(ofOrder: number) } },
                asking: [
                    orderNo.map { .reservation(ByteKey($0)) }
                        ?? .clientOrder(appId: ByteKey(appId), clientOrderNo: ByteKey(clientOrderNo ?? ""))
                ],
                { city, past in
                    let reservation =
                        orderNo.map { city.reservation($0, past: past) }
                        ?? city.reservation(appId: appId, clientOrderNo: clientOrderNo ?? "", past: past)
                    // Another provider's order is not found, rather than forbidden.
                    guard let reservation, isOperator || reservation.appId == appId, userToken.map({ $0 == reservation.userToken }) ?? true
                    else { return Reply(WireError("orderNotFound")) }
                    guard own?.contains(reservation.parkCode) ?? true else {
                        return Reply(WireError("lotNotAuthorised", "orderNo: not in one of the caller's lots"))
                    }
                    return Reply(data: Pipeline.detail(reservation, city, past, revealsPlate: reveals, now: now))
                }, completion: completion)
        }
        isOperator && reveals ? looked(request, now: clock(), completion, work) : work()
    }

    /// An order as it stands; where it lost its place without its user's fault, with the lots that have room in its window.
    private static func detail(_ reservation: Reservation, _ city: City, _ past: Past, revealsPlate: Bool, now: Millis) -> JSON {
        let isLost = [.rejected, .revoked, .waitlisted, .waitlistFailed].contains(reservation.status) && reservation.enterEnd > now
        let policy = city.lots[reservation.parkCode]?.policy(reservation.purpose)
        // Inside the window itself, the driver may arrive at once.
        var wanted = reservation
        if reservation.planTime < now {
            wanted.planTime = now
            wanted.leaveDeadline = reservation.leaveDeadline.map { $0 + now - reservation.planTime }
        }
        let shown = Encode.reservation(
            reservation, revealsPlate: revealsPlate,
            alternatives: isLost ? policy.map { city.alternatives(to: wanted, policy: $0, at: now) } : nil,
            waitPosition: city.position(of: reservation))
        // The fees are added where the city bills the visit.
        guard case .object(var row) = shown, let recordNo = reservation.recordNo,
            let fee = city.sessionFee(reservation.parkCode, recordNo: recordNo, at: now, past: past)
        else { return shown }
        row.append(
            "fees",
            [
                "total": .int(fee.totalFen), "discount": .int(fee.discountFen), "paid": .int(fee.paidFen), "payable": .int(fee.payableFen),
            ])
        return .object(row)
    }

    private func orderList(
        _ request: VerifiedRequest, _ fields: FieldReader, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let isOperator = request.credential.role == .operator
        var filter = ReservationFilter()
        filter.appId = isOperator ? nil : request.credential.appId
        filter.parkCode = try fields.optionalString("parkCode", max: 32)
        filter.userToken = try fields.optionalString("userToken", max: 64)
        if let status = try fields.optionalInt("status", in: 0...10) { filter.status = ReservationStatus(rawValue: Int(status)) }
        if fields.has("plateNo") { filter.plate = try Decode.plate(fields) }
        let reveals = try reveals(request, fields)
        let pageSize = try fields.optionalInt("pageSize", in: 1...100)
        let limit = Int(try fields.optionalInt("limit", in: 1...100) ?? pageSize ?? 50)
        if let cursor = try fields.optionalString("cursor", max: 20) {
            guard let serial = Decode.cursor(cursor) else { throw WireError("illegalValue", "cursor") }
            filter.beforeSerial = serial
        }
        let page = try fields.optionalInt("page", in: 1...1_000_000) ?? 1
        filter.skip = limit * (Int(page) - 1)
        filter.limit = limit + 1
        let asked = filter
        let work: @Sendable () -> Void = { [self] in
            fromDisk(completion) { [store] () throws(StoreError) in
                let reservations = try store.reservations(asked)
                let shown = reservations.prefix(limit)
                return Reply(
                    data: .compact([
                        ("orders", .array(shown.map { Encode.reservation($0, revealsPlate: reveals) })),
                        ("nextCursor", reservations.count > limit ? .string(String(shown.last?.serial ?? 0)) : .null),
                        ("hasMore", .bool(reservations.count > limit)),
                    ]))
            }
        }
        // To ask for a plate is to know it: that goes on record too.
        isOperator && (reveals || filter.plate != nil) ? looked(request, now: clock(), completion, work) : work()
    }
}
