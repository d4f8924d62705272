import BerthCore
import BerthWire

// City: lots and vendors beside the requirements of annex A.
extension Site {
    func compliance(_ web: WebRequest) async throws -> WebResult {
        let page = web.number("page", in: 1...1_000_000) ?? 1
        let (text, sort) = (web.text("q", max: 64), web.text("sort", max: 8) == "code" ? "code" : "worst")
        // Empty is a choice too: the lots that name no vendor.
        let vendor = web.query["vendor"]
        let list = try await city.call(
            "lot.compliance.query",
            [
                ("limit", 50), ("page", .int(page)), ("text", text.isEmpty ? .null : .string(text)), ("sort", .string(sort)),
                ("vendor", .optional(vendor.map { $0.cut(to: 64) })), ("vendors", page == 1 ? true : .null),
            ], as: .staff)
        let lots = list["lots"]?.arrayValue ?? []
        let rows = lots.map { row -> JSON in
            let (passed, required) = (row["passed"]?.intValue ?? 0, row["required"]?.intValue ?? 0)
            let percent = required > 0 ? passed * 100 / required : 0
            let style = percent == 100 ? "l3" : percent >= 70 ? "l2" : "l1"
            let open = (row["open"]?.arrayValue ?? []).prefix(20).map { item -> JSON in
                let text = web.language == .zh ? item["zh"] : item["en"]
                return [
                    "text": text ?? "", "why": item[web.language == .zh ? "whyZh" : "why"] ?? "",
                    "isFailed": .bool(item["verdict"]?.stringValue == "failed"),
                ]
            }
            var view = JSONObject()
            for (name, field) in [
                ("name", "parkName"), ("code", "parkCode"), ("vendor", "vendor"), ("version", "softVersion"), ("online", "online"),
                ("clock", "clockOffsetMs"), ("queue", "queueDepth"), ("entries", "entries"), ("entriesLate", "entriesLate"),
                ("deliveries", "deliveries"), ("deliveriesLate", "deliveriesLate"), ("refused", "refused"), ("signatures", "badSignatures"),
                ("entryDelay", "entryMillisAverage"), ("pushDelay", "deliveryMillisAverage"),
            ] { view[name] = row[field] }
            view["passed"] = .int(passed)
            view["required"] = .int(required)
            view["gauge"] = .string(Chart.gauge(percent, style: style, label: "\(passed)/\(required)"))
            view["open"] = .array(Array(open))
            view["honour"] = row["honourPerMille"]?.intValue.map { .string(web.format.percent(perMille: $0)) }
            return .object(view)
        }
        let vendors = (list["vendors"]?.arrayValue ?? []).map { row -> JSON in
            let name = row["vendor"]?.stringValue ?? ""
            let (passed, required) = (row["passed"]?.intValue ?? 0, row["required"]?.intValue ?? 0)
            return [
                "name": .string(name.isEmpty ? words.say(web.language, "compliance.noVendor") : name), "lots": row["lots"] ?? 0,
                "link": .string("/city/compliance?vendor=\(WebRequest.escape(name))"), "online": row["online"] ?? 0,
                "percent": .int(required > 0 ? passed * 100 / required : 0),
            ]
        }
        return .page(
            Page(
                "city/compliance",
                [
                    ("lots", .array(rows)), ("vendors", .array(vendors)), ("isFirst", .bool(page == 1)), ("q", .string(text)),
                    ("isWorst", .bool(sort == "worst")),
                    ("chosenVendor", .optional(vendor.map { $0.isEmpty ? words.say(web.language, "compliance.noVendor") : $0 })),
                    ("none", .bool(lots.isEmpty)),
                    ("isTrusting", .bool(list["mode"]?.stringValue == "trust")),
                    (
                        "next",
                        list["hasMore"]?.boolValue == true
                            ? .string(
                                "/city/compliance?q=\(WebRequest.escape(text))&sort=\(sort)"
                                    + (vendor.map { "&vendor=\(WebRequest.escape($0))" } ?? "") + "&page=\(page + 1)") : .null
                    ),
                    ("tabCompliance", true),
                ]))
    }
}
