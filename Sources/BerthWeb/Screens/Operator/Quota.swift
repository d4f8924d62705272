import BerthCore
import BerthWire

// Lot operator: places by hour and channel, and the rules that change them, each with a preview.
extension Site {
    static var quotaRoutes: [Route] {
        [
            .get("/operator/lots/:lot/quota", .lots) { try await $0.quotaPage($1) },
            .post("/operator/lots/:lot/quota", .lots) { try await $0.setQuota($1) },
        ]
    }

    /// The channels that a rule can give places to: pools of the contract.
    private static let channels = ["PERSONAL", "MERCHANT", "CHARGING", "PUBLIC_BIZ", "SHARED", "WALK_IN"]
    private static let businesses: [Int64] = [1, 2, 3]
    /// The fields of the form that a preview is of.
    private static let quotaFields = ["channel", "count", "days", "start", "end", "fromDay", "toDay"]

    /// The businesses that the lot does not offer: an answer with one of these codes is no fault.
    private static let notOffered = [1001, 1200]
    /// A slot that is full has one of these; every other reason says why it cannot be booked at this moment.
    private static let full: [Int64] = [1101, 1110, 1201, 1205, 1304]

    /// The places left of each business in each hour of a day: the least of the hour, and the reason where nothing can be booked.
    private func hours(_ parkCode: String, day: Int64, _ web: WebRequest) async throws -> [JSON] {
        var found: [Int64: [Int64: [JSON]]] = [:]
        for business in Site.businesses {
            for slot in try await slots(parkCode, business: business, day: day) {
                guard let start = slot["start"]?.intValue else { continue }
                found[(start - CivilTime.start(ofDay: day)) / 3_600_000, default: [:]][business, default: []].append(slot)
            }
        }
        // Hours that are over are left out.
        let now = day == CivilTime.day(of: web.now) ? (web.now - CivilTime.start(ofDay: day)) / 3_600_000 : 0
        return found.keys.sorted().filter { $0 >= now }.map { hour in
            [
                "hour": .string("\(hour < 10 ? "0" : "")\(hour):00"),
                "cells": .array(Site.businesses.map { cell(found[hour]?[$0] ?? [], web) }),
            ]
        }
    }

    /// The slots of a business; none where the lot does not offer it.
    private func slots(_ parkCode: String, business: Int64, day: Int64) async throws -> [JSON] {
        let fields: [(String, JSON)] = [
            ("parkCode", .string(parkCode)), ("date", .string(CivilTime.text(ofDay: day))), ("bizType", .int(business)),
        ]
        do { return try await city.call("slot.query", fields, as: .staff)["slots"]?.arrayValue ?? [] } catch {
            if Site.notOffered.contains(error.code) { return [] }
            throw error
        }
    }

    private func cell(_ slots: [JSON], _ web: WebRequest) -> JSON {
        let quota = slots.compactMap { $0["quota"]?.intValue }.min() ?? 0
        guard !slots.isEmpty, quota > 0 || slots.contains(where: { ($0["quota"]?.intValue ?? 0) > 0 }) else { return [:] }
        // A slot that is over, or not open yet, says nothing about places.
        let open = slots.filter { slot in
            let reason = slot["reason"]?.intValue ?? 0
            return reason == 0 || Site.full.contains(reason)
        }
        guard !open.isEmpty else {
            let code = Dialect.current.codes[Int(slots[0]["reason"]?.intValue ?? 0)]
            return ["shown": true, "why": .string((web.language == .zh ? code?.zh : code?.en) ?? ""), "quota": .int(quota)]
        }
        let left = open.compactMap { $0["remain"]?.intValue }.min() ?? 0
        return ["shown": true, "isOpen": true, "left": .int(left), "quota": .int(quota), "isFull": .bool(left == 0)]
    }

    /// The rule as a form gives it; nil where it is none.
    private func quotaFields(_ web: WebRequest, _ parkCode: String) -> [(String, JSON)]? {
        let channel = web.text("channel", max: 16)
        guard Site.channels.contains(channel), let count = web.number("count", in: 0...1_000_000),
            let from = Plan.time(web.text("fromDay", max: 10), "00:00", now: web.now),
            let last = Plan.time(web.text("toDay", max: 10), "00:00", now: web.now), last >= from, last + CivilTime.dayLength > web.now,
            last - web.now <= 400 * CivilTime.dayLength
        else { return nil }
        let (start, end) = (web.text("start", max: 5), web.text("end", max: 5))
        guard start.isEmpty == end.isEmpty, start.isEmpty || start != end else { return nil }
        let choices: [String: (letter: String, days: [JSON]?)] = [
            "all": ("A", nil), "workdays": ("W", [1, 2, 3, 4, 5]), "weekend": ("E", [6, 7]),
        ]
        guard let (letter, days) = choices[web.text("days", max: 8)] else { return nil }
        let times: JSON =
            days == nil && start.isEmpty
            ? .null
            : [
                .compact([
                    ("repeatType", .string(days == nil ? "daily" : "weekly")), ("repeatData", days.map { .array($0) } ?? .null),
                    ("start", .string(start.isEmpty ? "00:00" : start)),
                    ("end", .string(end.isEmpty || end == "00:00" ? "24:00" : end)),
                ])
            ]
        // One rule for a channel, its days, its first hour and its first day: the same choice changes the rule.
        let digits = start.filter { $0 != ":" } + "-" + CivilTime.text(ofDay: CivilTime.day(of: from)).filter { $0 != "-" }.dropFirst(2)
        return [
            ("parkCode", .string(parkCode)), ("policyId", .string("q-\(channel)-\(letter)-\(digits)")), ("mode", 0),
            ("pools", [["pool": .string(channel), "count": .int(count)]]), ("validFrom", .int(max(from, web.now))),
            ("validTo", .int(last + 86_400_000)), ("segments", times),
        ]
    }

    private func quotaMembers(_ web: WebRequest, _ parkCode: String) async throws -> [(String, JSON)] {
        let today = CivilTime.day(of: web.now)
        // Days that are over, and those far ahead, have nothing to show.
        let day = min(today + 400, max(today, Plan.day(web.text("day", max: 10)) ?? today))
        let list = try await city.call("flow.policy.list", [("parkCode", .string(parkCode))], as: .staff)
        let rules = (list["policies"]?.arrayValue ?? []).filter {
            !($0["pools"]?.arrayValue ?? []).isEmpty && ($0["validTo"]?.intValue ?? 0) > web.now
        }.map { policy -> JSON in
            .compact([
                ("id", policy["policyId"] ?? .null),
                (
                    "pools",
                    .array(
                        (policy["pools"]?.arrayValue ?? []).map {
                            ["channel": .string(channelText($0["pool"]?.stringValue ?? "", web)), "count": $0["count"] ?? 0]
                        })
                ), ("times", .array(segments(policy["segments"], web).map { .string($0) })),
                ("from", .optional(policy["validFrom"]?.intValue.map(web.format.time))),
                ("to", .optional(policy["validTo"]?.intValue.map(web.format.time))),
                ("isOwn", .bool((policy["policyId"]?.stringValue ?? "").hasPrefix("q-") && policy["areaId"] == nil)),
            ])
        }
        func text(_ name: String, _ fallback: String) -> JSON {
            .string(web.text(name, max: 10).isEmpty ? fallback : web.text(name, max: 10))
        }
        let first = CivilTime.text(ofDay: today)
        let chosen = (channel: web.text("channel", max: 16), days: web.text("days", max: 8))
        return try await lotMembers(parkCode) + [
            ("action", .string("/operator/lots/\(WebRequest.escape(parkCode))/quota")), ("day", .string(CivilTime.text(ofDay: day))),
            ("hours", .array(try await hours(parkCode, day: day, web))), ("rules", .array(rules)),
            (
                "channels",
                .array(
                    Site.channels.map {
                        ["value": .string($0), "text": .string(channelText($0, web)), "isOn": .bool($0 == chosen.channel)]
                    })
            ),
            (
                "dayChoices",
                .array(
                    ["all", "workdays", "weekend"].map {
                        [
                            "value": .string($0), "text": .string(words.say(web.language, $0 == "all" ? "times.daily" : "times.\($0)")),
                            "isOn": .bool($0 == chosen.days),
                        ]
                    })
            ), ("count", text("count", "")), ("fromDay", text("fromDay", first)),
            ("toDay", text("toDay", CivilTime.text(ofDay: CivilTime.day(of: web.now) + 30))), ("start", text("start", "")),
            ("end", text("end", "")),
        ]
    }

    private func channelText(_ pool: String, _ web: WebRequest) -> String { words.say(web.language, "quota.pool.\(pool)") }

    func quotaPage(_ web: WebRequest) async throws -> WebResult {
        .page(Page("operator/quota", try await quotaMembers(web, try ownLot(web))))
    }

    /// Without `confirm` the preview; with it the rule is set. `end` ends a rule of this page at once.
    func setQuota(_ web: WebRequest) async throws -> WebResult {
        let parkCode = try ownLot(web)
        let back = "/operator/lots/\(WebRequest.escape(parkCode))/quota"
        let ended = web.text("end-rule", max: 32)
        guard let fields = ended.isEmpty ? quotaFields(web, parkCode) : try await ending(ended, parkCode, web) else {
            let members = try await quotaMembers(web, parkCode)
            return .page(
                Page("operator/quota", members + [("error", .string(words.say(web.language, "quota.bad")))], status: 422))
        }
        do {
            if web.isOn("confirm") && isAsPreviewed(web, Site.quotaFields) || !ended.isEmpty {
                try await city.call("flow.policy.set", fields + [("actor", .string(web.person?.actor ?? ""))], as: .staff)
                return .redirect(back)
            }
            let found = try await city.call("flow.policy.preview", fields, as: .staff)
            let demand = found["pools"]?.arrayValue?.first
            let (booked, excess) = (demand?["booked"]?.intValue ?? 0, demand?["excess"]?.intValue ?? 0)
            let values = ["booked": String(booked), "excess": String(excess), "count": String(demand?["count"]?.intValue ?? 0)]
            return .page(
                Page(
                    "operator/quota",
                    try await quotaMembers(web, parkCode) + [
                        ("previewed", true), ("replaces", .optional(try await replaced(fields, parkCode, web))),
                        ("excess", .bool(excess > 0)), ("seen", .string(seen(web, Site.quotaFields))),
                        ("sum", .string(words.say(web.language, excess > 0 ? "quota.over" : "quota.fits", values))),
                    ]))
        } catch let error as CityError {
            return .page(
                Page("operator/quota", try await quotaMembers(web, parkCode) + [("error", .string(refusal(error, web)))], status: 409))
        }
    }

    /// The rule that a new one takes the place of, in words; nil where there is none.
    private func replaced(_ fields: [(String, JSON)], _ parkCode: String, _ web: WebRequest) async throws -> String? {
        let id = fields.first { $0.0 == "policyId" }?.1.stringValue
        let list = try await city.call("flow.policy.list", [("parkCode", .string(parkCode))], as: .staff)
        let old = (list["policies"]?.arrayValue ?? []).first {
            $0["policyId"]?.stringValue == id && $0["areaId"] == nil && ($0["validTo"]?.intValue ?? 0) > web.now
        }
        guard let old, let pool = old["pools"]?.arrayValue?.first else { return nil }
        return words.say(
            web.language, "quota.replaces",
            ["channel": channelText(pool["pool"]?.stringValue ?? "", web), "count": String(pool["count"]?.intValue ?? 0)])
    }

    /// The fields that end a rule now.
    private func ending(_ policyId: String, _ parkCode: String, _ web: WebRequest) async throws -> [(String, JSON)]? {
        let list = try await city.call("flow.policy.list", [("parkCode", .string(parkCode))], as: .staff)
        let rule = (list["policies"]?.arrayValue ?? []).first {
            $0["policyId"]?.stringValue == policyId && $0["areaId"] == nil && policyId.hasPrefix("q-")
        }
        guard let rule, let from = rule["validFrom"]?.intValue else { throw WebError.notFound }
        return [
            ("parkCode", .string(parkCode)), ("policyId", .string(policyId)), ("mode", 0), ("pools", rule["pools"] ?? .null),
            ("validFrom", .int(min(from, web.now))), ("validTo", .int(web.now)), ("segments", rule["segments"] ?? .null),
        ]
    }
}
