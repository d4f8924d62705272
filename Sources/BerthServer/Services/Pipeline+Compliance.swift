import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Synchronization

/// The compliance of each lot in short, for sums, search and order. It is made for all lots at most once a minute, each of them looked at by
/// itself. While one request renews it the others get the last one; only before the first one do several make it.
final class ComplianceDigest: Sendable {
    struct Lot: Sendable {
        var parkCode: String
        var name: String
        var vendor: String
        var passed: Int
        var required: Int
    }

    private struct State {
        var made: (at: Int64, lots: [Lot])?
        var isRenewed = false
    }

    private static let freshMillis: Int64 = 60_000
    private let state = Mutex(State())

    /// - Parameters:
    ///   - now: of a clock that never goes back, ms.
    ///   - count: how many lots there are; a digest of another number of lots is not used.
    ///   - make: called, without a lock, where the last digest is older than a minute.
    func lots(now: Int64, count: Int, make: () -> [Lot]) -> [Lot] {
        let known: [Lot]? = state.withLock { state in
            guard let made = state.made, made.lots.count == count else { return nil }
            if now - made.at < ComplianceDigest.freshMillis || state.isRenewed { return made.lots }
            state.isRenewed = true
            return nil
        }
        if let known { return known }
        let lots = make()
        state.withLock { $0 = State(made: (now, lots)) }
        return lots
    }
}

// An operator compares lots with annex A (O14).
extension Pipeline {
    /// The lots that a question wants: in the order of their codes, or the worst first.
    private struct ComplianceQuestion {
        var text: String
        var vendor: String?
        var isWorstFirst: Bool
        var page: Int
        var limit: Int

        func wants(_ lot: ComplianceDigest.Lot) -> Bool {
            (vendor == nil || lot.vendor == vendor)
                && (text.isEmpty || lot.name.lowercased().contains(text) || lot.parkCode.lowercased().contains(text))
        }
    }

    /// O14: each lot beside the requirements of annex A, and the quality of its link today.
    func compliance(
        _ request: VerifiedRequest, _ fields: FieldReader, now: Millis, completion: @escaping Sequencer.Completion
    ) throws(WireError) {
        let choose = try chosen(request, fields, limit: 200)
        let wantsVendors = try fields.optionalBool("vendors") ?? false
        let order = try fields.optionalString("sort", max: 8) ?? "code"
        guard ["code", "worst"].contains(order) else { throw fields.illegal("sort", "code, worst") }
        // Empty is a vendor too: that of the lots which name none.
        let vendor = try fields.optionalString("vendor", max: 64) ?? (fields.object["vendor"]?.stringValue == nil ? nil : "")
        let question = ComplianceQuestion(
            text: (try fields.optionalString("text", max: 64) ?? "").lowercased(), vendor: vendor,
            isWorstFirst: order == "worst", page: Int(try fields.optionalInt("page", in: 1...1_000_000) ?? 1),
            limit: Int(try fields.optionalInt("limit", in: 1...200) ?? 100))
        let isSearch = !question.text.isEmpty || question.vendor != nil || question.isWorstFirst || fields.has("page")
        let own = Pipeline.lots(of: request.credential)
        let links = presence.snapshot
        fromDisk(completion) { [self] () throws(StoreError) in
            let digest = isSearch || wantsVendors ? complianceDigest(now: now).filter { own?.contains($0.parkCode) ?? true } : []
            let (codes, hasMore) = isSearch ? Pipeline.found(question, in: digest) : sequencer.readUndurable { choose($0) }
            let today = CivilTime.day(of: now)
            var counts: [String: JSON] = [:]
            for row in try statistics.query(days: today...today, parkCode: nil, appId: nil, by: ["lot"]) {
                if let code = row["parkCode"]?.stringValue { counts[code] = row }
            }
            return Reply(
                data: .compact([
                    ("mode", .string(onboarding.isInReview ? "review" : "trust")),
                    ("lots", .array(codes.map { complianceRow($0, counts[$0], links[$0], now: now) })),
                    ("vendors", wantsVendors ? Pipeline.vendors(digest, links) : .null), ("asOf", .int(now)), ("hasMore", .bool(hasMore)),
                ]))
        }
    }

    private static func found(_ question: ComplianceQuestion, in digest: [ComplianceDigest.Lot]) -> (codes: [String], hasMore: Bool) {
        /// The share of requirements that a lot does not meet, per thousand.
        func lack(_ lot: ComplianceDigest.Lot) -> Int { lot.required == 0 ? 0 : (lot.required - lot.passed) * 1000 / lot.required }
        let wanted = digest.filter(question.wants).sorted {
            question.isWorstFirst && lack($0) != lack($1) ? lack($0) > lack($1) : $0.parkCode < $1.parkCode
        }
        let (start, overflow) = (question.page - 1).multipliedReportingOverflow(by: question.limit)
        guard !overflow, start < wanted.count else { return ([], false) }
        return (wanted.dropFirst(start).prefix(question.limit).map(\.parkCode), wanted.count > start + question.limit)
    }

    private func complianceDigest(now: Millis) -> [ComplianceDigest.Lot] {
        digest.lots(now: SystemClock.monotonic(), count: sequencer.readUndurable { $0.lots.count }) {
            sequencer.readUndurable { Array($0.lots.keys) }.map { parkCode in
                let items = onboarding.rows(parkCode, now: now)
                return ComplianceDigest.Lot(
                    parkCode: parkCode, name: sequencer.readUndurable { $0.lots[parkCode]?.profile?.name ?? "" },
                    vendor: (lotInfo(parkCode)?["vendor"]?.stringValue ?? "").cut(to: 64), passed: items.count { $0.verdict == .passed },
                    required: items.count)
            }
        }
    }

    private func complianceRow(_ parkCode: String, _ today: JSON?, _ link: Presence.Link?, now: Millis) -> JSON {
        let items = onboarding.rows(parkCode, now: now)
        let (name, stage) = sequencer.readUndurable { city in
            (city.lots[parkCode]?.profile?.name ?? "", city.lots[parkCode].map { city.stage(of: $0).rawValue } ?? "")
        }
        let kept = lotInfo(parkCode)
        let wrong = credentials.delivery(to: parkCode).map { badSignatures.total($0.appId) } ?? 0
        func count(_ field: String) -> JSON { today?[field] ?? .int(0) }
        return .compact([
            ("parkCode", .string(parkCode)), ("parkName", .string(name)), ("stage", .string(stage)),
            ("vendor", .string((kept?["vendor"]?.stringValue ?? "").cut(to: 64))),
            ("softVersion", .string((kept?["softVersion"]?.stringValue ?? "").cut(to: 32))),
            ("passed", .int(items.count { $0.verdict == .passed })), ("required", .int(items.count)),
            ("open", .array(items.filter { $0.verdict != .passed }.map(Pipeline.requirement))),
            ("met", .array(items.filter { $0.verdict == .passed }.map(Pipeline.requirement))),
            ("online", .bool(link?.isOnline ?? false)), ("queueDepth", .int(link?.queueDepth ?? 0)),
            ("clockOffsetMs", .int(link?.clockOffsetMillis ?? 0)), ("entries", count("entries")),
            ("entriesLate", count("entriesLate")),
            ("deliveries", count("deliveries")), ("deliveriesLate", count("deliveriesLate")), ("refused", count("refused")),
            ("honourPerMille", today?["honourPerMille"] ?? .null),
            ("entryMillisAverage", today?["entryMillisAverage"] ?? .null),
            ("deliveryMillisAverage", today?["deliveryMillisAverage"] ?? .null),
            ("badSignatures", .int(wrong)),
        ])
    }

    /// A requirement and its facts; one that is met has no verdict.
    private static func requirement(_ row: Onboarding.Row) -> JSON {
        .compact([
            ("id", .string(row.item.id)), ("zh", .string(row.item.zh)), ("en", .string(row.item.en)),
            ("verdict", row.verdict == .passed ? .null : .string(row.verdict.rawValue)), ("why", .string(row.why.cut(to: 256))),
            ("whyZh", .string(row.whyZh.cut(to: 256))),
        ])
    }

    /// The last `lot.info.report` of a lot; nil where there is none.
    private func lotInfo(_ parkCode: String) -> JSON? {
        let kept = sequencer.readUndurable { $0.report(parkCode, kind: Decode.infoKind, key: Decode.infoKind)?.body }
        return kept.flatMap { try? JSON.parse(Array($0.utf8)) }
    }

    /// The sums of O14 by vendor.
    private static func vendors(_ digest: [ComplianceDigest.Lot], _ links: [String: Presence.Link]) -> JSON {
        var sums: [String: (lots: Int, passed: Int, required: Int, online: Int)] = [:]
        for lot in digest {
            var sum = sums[lot.vendor] ?? (0, 0, 0, 0)
            sum.lots += 1
            sum.passed += lot.passed
            sum.required += lot.required
            sum.online += links[lot.parkCode]?.isOnline == true ? 1 : 0
            sums[lot.vendor] = sum
        }
        return .array(
            sums.sorted { $0.value.lots == $1.value.lots ? $0.key < $1.key : $0.value.lots > $1.value.lots }.prefix(200).map {
                vendor, sum in
                [
                    "vendor": .string(vendor), "lots": .int(sum.lots), "passed": .int(sum.passed), "required": .int(sum.required),
                    "online": .int(sum.online),
                ]
            })
    }
}
