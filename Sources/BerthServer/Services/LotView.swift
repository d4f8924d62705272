import BerthCore
import BerthWire
import Foundation

/// How a lot is shown to those who book and to those who watch.
enum LotView {
    /// Whether the lot is connected now, since when not, and of when what is said of its places is.
    static func standing(_ lot: Lot, _ link: Presence.Link?) -> [(String, JSON)] {
        let isOnline = link?.isOnline ?? false
        return [
            ("online", .bool(isOnline)), ("asOf", max(lot.passedThrough, lot.remaining?.reportedAt ?? 0, link?.heardAt ?? 0).shown),
            ("offlineSince", isOnline ? .null : link.map { $0.since > 0 ? .int($0.since) : .null } ?? .null),
        ]
    }

    static func with(_ standing: [(String, JSON)], _ row: JSON) -> JSON {
        guard case .object(var object) = row else { return row }
        for (name, value) in standing where value != .null { object.append(name, value) }
        return .object(object)
    }

    static func detail(_ lot: Lot, _ profile: LotProfile, _ city: City, planTime: Millis, stayMin: Int?, now: Millis) -> JSON {
        let policy = lot.policy
        let purposes = Purpose.allCases.filter { profile.enabled.contains($0) }
        return .compact([
            ("parkCode", .string(lot.parkCode)), ("parkName", .string(profile.name)), ("address", .string(profile.address)),
            ("regionCode", .string(profile.regionCode)), ("lng", .string(profile.longitude)),
            ("lat", .string(profile.latitude)), ("coordType", .int(profile.coordType)), ("lotType", .int(profile.lotType)),
            ("lotClass", .int(profile.lotClass)), ("totalSpace", .int(profile.totalCount)),
            ("reserveSpace", .int(lot.quota(.reservation))), ("shareSpace", .int(lot.quota(.shared))),
            ("publicBizSpace", .int(lot.quota(.publicService))),
            ("reserveEnabled", .bool(profile.enabled.contains(.reservation))),
            ("shareEnabled", .bool(profile.enabled.contains(.shared))),
            ("publicBizEnabled", .bool(profile.enabled.contains(.publicService))),
            ("remain", .int(max(0, profile.totalCount - lot.occupied))),
            ("reserveRemain", .int(lot.free(.personal, at: now))), ("level", .int(lot.saturation.level)),
            ("saturationPct", .int(lot.saturation.perMille / 10)), ("freeMin", .int(profile.freeMin)),
            (
                "openHours",
                .array(
                    profile.openHours.map {
                        [
                            "days": .array($0.days.sorted().map { .int($0) }), "start": .string(clock($0.start)),
                            "end": .string(clock($0.end)),
                        ]
                    })
            ),
            (
                "pools",
                .object(
                    JSONObject(
                        Pool.allCases.filter { lot.quota($0, at: now) > 0 && $0 != .rolling }.map { pool in
                            (pool.rawValue, ["quota": .int(lot.quota(pool, at: now)), "free": .int(lot.free(pool, at: now))])
                        }))
            ), ("flowMode", .int(city.flowMode(lot.parkCode, at: now).rawValue)),
            ("policy", Encode.values(policy)),
            ("policyVersion", .int(lot.policyVersion)),
            // The terms of a reservation if it were made now: the same terms are in the reservation and at the gate.
            ("terms", .object(JSONObject(purposes.map { (String($0.rawValue), terms(lot, $0, city, planTime: planTime)) }))),
            (
                "stay",
                .object(JSONObject(purposes.map { (String($0.rawValue), stay(lot, $0, city, planTime: planTime, stayMin: stayMin)) }))
            ),
            ("rulesText", .string(rules(lot, purposes))), ("rulesTextEn", .string(rulesEn(lot, purposes))),
            ("tariffText", .string(city.tariff(lot.parkCode, .reservation, at: now)?.text ?? "")),
            ("servicePhone", .optional(servicePhone(lot, city))),
            ("maxHeightMm", profile.maxHeightMm > 0 ? .int(profile.maxHeightMm) : .null),
            (
                "entrances",
                .array(
                    lot.gates.values.filter { $0.direction != 2 }.sorted { $0.gateCode < $1.gateCode }.map {
                        ["gateCode": .string($0.gateCode), "gateName": .string($0.name)]
                    })
            ),
        ])
    }

    private static func servicePhone(_ lot: Lot, _ city: City) -> String? {
        city.report(lot.parkCode, kind: Decode.infoKind, key: Decode.infoKind).flatMap { try? JSON.parse(Array($0.body.utf8)) }?[
            "servicePhone"]?
            .stringValue
    }

    private static func terms(_ lot: Lot, _ purpose: Purpose, _ city: City, planTime: Millis) -> JSON {
        let policy = lot.policy(purpose)
        let isPublic = purpose == .publicService
        return Encode.terms(
            city.terms(lot, purpose, planTime: planTime), purpose: purpose, earlyMin: isPublic ? policy.bizBeforeMin : policy.earlyMin,
            lateMin: isPublic ? policy.bizAfterMin : policy.lateMin, entryLimit: policy.entriesPerOrder,
            stayMin: isPublic ? policy.bizStayMin : policy.stayMin)
    }

    /// A stay that begins at a time: its price, when a car has to leave, and from when on the time can be booked.
    /// - Parameter stayMin: as long as this; as long as the lot's rules say when nil.
    private static func stay(_ lot: Lot, _ purpose: Purpose, _ city: City, planTime: Millis, stayMin: Int?) -> JSON {
        let policy = lot.policy(purpose)
        let minutes = purpose == .publicService ? policy.bizStayMin : stayMin ?? policy.stayMin
        return .compact([
            ("priceFen", .optional(city.price(lot.parkCode, purpose, from: planTime, stayMin: minutes))), ("stayMin", .int(minutes)),
            ("leaveBy", purpose == .reservation ? .null : .int(planTime + Millis(minutes) * CivilTime.minute)),
            ("bookableFrom", .int(city.bookableFrom(lot, purpose, planTime: planTime))),
        ])
    }

    /// The rules in words, from the values that are enforced.
    private static func rules(_ lot: Lot, _ purposes: [Purpose]) -> String {
        purposes.map { purpose in
            let p = lot.policy(purpose)
            switch purpose {
            case .reservation:
                let cancel = p.freeCancelMin < 0 ? "入场时段开始前" : "预约时间 \(p.freeCancelMin) 分钟前"
                let deposit = p.prepayFen > 0 ? "；须在 \(p.holdMin) 分钟内支付预付款 \(yuan(p.prepayFen)) 元" : ""
                return
                    "预约停车：可提前 \(p.advanceMaxMin) 分钟预约；预约时间前 \(p.earlyMin) 分钟至后 \(p.lateMin) 分钟内入场；\(cancel)可免费取消，每日最多取消 \(p.cancelMaxPerDay) 次、每月 \(p.cancelMaxPerMonth) 次；每人每日最多预约 \(p.dailyMaxPerUser) 次；当月未到 \(p.noShowMaxPerMonth) 次，停约至月底\(deposit)；约满可候补，预约时间前 \(p.waitlistCloseMin) 分钟截止。"
            case .shared:
                let quiet = p.quietHours.isEmpty ? "" : "；\(p.quietHours) 不得进出"
                return
                    "共享停车：按时离场，宽限 \(p.shareLateGraceMin) 分钟；一年内晚离 \(p.shareLateStrikes) 次，停用共享至年底；由平台计费\(quiet)。"
            case .publicService:
                let free = p.bizFreeMin > 0 ? "；减免 \(p.bizFreeMin) 分钟停车费" : ""
                return
                    "公共业务停车：凭业务预约号，于业务时间前 \(p.bizBeforeMin) 分钟至后 \(p.bizAfterMin) 分钟内入场，可停 \(p.bizStayMin) 分钟\(free)；预留车位按业务时间先后发放，用完后当日按出入口计数滚动释放。"
            }
        }.joined(separator: "\n")
    }

    private static func rulesEn(_ lot: Lot, _ purposes: [Purpose]) -> String {
        purposes.map { purpose in
            let p = lot.policy(purpose)
            switch purpose {
            case .reservation:
                let cancel = p.freeCancelMin < 0 ? "the entry window opens" : "\(p.freeCancelMin) minutes before the booked time"
                let deposit = p.prepayFen > 0 ? " A deposit of \(yuan(p.prepayFen)) yuan is to be paid within \(p.holdMin) minutes." : ""
                return
                    "Reservation: book up to \(p.advanceMaxMin) minutes ahead; enter from \(p.earlyMin) minutes before to \(p.lateMin) minutes after the booked time; cancel free until \(cancel), \(p.cancelMaxPerDay) a day and \(p.cancelMaxPerMonth) a month at most; \(p.dailyMaxPerUser) bookings a day; \(p.noShowMaxPerMonth) no-shows in a month end booking until its end.\(deposit) A waitlist closes \(p.waitlistCloseMin) minutes before."
            case .shared:
                let quiet = p.quietHours.isEmpty ? "" : " Nobody passes \(p.quietHours)."
                return
                    "Sharing: leave in time, with \(p.shareLateGraceMin) minutes of grace; \(p.shareLateStrikes) late departures end sharing for the year; the city bills.\(quiet)"
            case .publicService:
                let free = p.bizFreeMin > 0 ? " \(p.bizFreeMin) minutes are free of charge." : ""
                return
                    "Public service: with an appointment, from \(p.bizBeforeMin) minutes before to \(p.bizAfterMin) minutes after it, for \(p.bizStayMin) minutes.\(free) Reserved places go in the order of appointments; then places are released on the day by what the gates count."
            }
        }.joined(separator: "\n")
    }

    private static func yuan(_ fen: Int) -> String { String(format: "%d.%02d", fen / 100, fen % 100) }

    static func tags(_ lot: Lot, _ profile: LotProfile, flow: FlowMode) -> [String] {
        var tags: [String] = []
        if profile.enabled.contains(.publicService) { tags.append("publicService") }
        if profile.enabled.contains(.shared) { tags.append("sharing") }
        if flow != .off { tags.append("flowControl") }
        if lot.policy.prepayFen > 0 { tags.append("deposit") }
        return tags
    }

    private static func clock(_ minute: Int) -> String { String(format: "%02d:%02d", minute / 60, minute % 60) }

    static func slot(_ slot: Lot.Slot, price: Int64? = nil) -> JSON {
        let code = slot.reason.map { Dialect.current.code($0.rawValue) }
        return .compact([
            ("start", .int(slot.start)), ("end", .int(slot.end)), ("quota", .int(slot.quota)),
            ("remain", .int(slot.remain)), ("excess", slot.excess > 0 ? .int(slot.excess) : .null), ("price", .optional(price)),
            ("full", .bool(slot.isFull)), ("reason", .int(code?.code ?? 0)),
            ("reasonText", code.map { .string($0.zh) } ?? .null),
        ])
    }
}

extension Millis {
    /// nothing where nobody knows.
    fileprivate var shown: JSON { self > 0 ? .int(self) : .null }
}
