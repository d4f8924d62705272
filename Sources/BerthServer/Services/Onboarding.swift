import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Foundation
import Synchronization

/// A lot on its way into service (annex A). Its messages prove the required items where they can; the other items are attested. In
/// `review` the server switches a business on only when its items pass; in `trust` the lot's first description opens it.
final class Onboarding: DurableListener {
    enum Verdict: String { case passed, failed, missing }

    struct Row: Sendable {
        let item: ChecklistItem
        let verdict: Verdict
        /// The facts, in both languages.
        let why: String
        let whyZh: String
    }

    static let attestedKind = "attested"
    static let evidenceKind = "evidence"
    static let infoKind = Decode.infoKind
    static let gateKind = Decode.gateKind

    private let sequencer: Sequencer
    private let presence: Presence
    private let credentials: CredentialBook
    private let settings: ServerSettings
    private let clock: @Sendable () -> Millis
    private let changed = Mutex<Set<String>>([])

    init(
        sequencer: Sequencer, presence: Presence, credentials: CredentialBook, settings: ServerSettings,
        clock: @escaping @Sendable () -> Millis
    ) {
        self.sequencer = sequencer
        self.presence = presence
        self.credentials = credentials
        self.settings = settings
        self.clock = clock
    }

    /// Whether businesses open only when their requirements are met.
    var isInReview: Bool { settings.reviewsLots }

    // MARK: Evidence

    func committed(_ durable: Durable) {
        guard settings.reviewsLots else { return }
        changed.withLock { changed in
            for event in durable.events {
                switch event {
                case .report(let report) where report.kind != City.onceKind && report.kind != ProviderNotification.kind:
                    changed.insert(report.parkCode)
                case .lot(let profile): changed.insert(profile.parkCode)
                case .gates(let parkCode, _): changed.insert(parkCode)
                default: break
                }
            }
        }
    }

    /// Something about a lot that a message has shown, kept once.
    func note(_ parkCode: String, _ item: String, _ what: String, now: Millis) {
        guard
            sequencer.readUndurable({
                $0.lots[parkCode] != nil && $0.report(parkCode, kind: Onboarding.evidenceKind, key: item)?.body != what
            })
        else { return }
        sequencer.perform(
            .file(
                parkCode: parkCode, [KeptRecord(parkCode: parkCode, kind: Onboarding.evidenceKind, key: item, body: what, at: now)],
                replaces: nil, knownBy: nil, notice: nil), now: now)
    }

    /// Runs every second, in review: the open businesses follow the proved items.
    func tick(now: Millis) {
        guard settings.reviewsLots else { return }
        let lots = changed.withLock { changed in
            defer { changed = [] }
            return changed.union(sequencer.readUndurable { $0.lots.values.filter { $0.stage == .live }.map(\.parkCode) })
        }
        for parkCode in lots {
            guard let (stage, opened) = sequencer.readUndurable({ city in city.lots[parkCode].map { ($0.stage, $0.opened) } }),
                stage == .live
            else {
                continue
            }
            let passed = passed(parkCode, now: now)
            // An open business stays open while the link is down for a while: a heartbeat may be late without closing a lot.
            let next = opened.filter { purpose in
                rows(parkCode, now: now).allSatisfy { $0.verdict != .failed || !$0.item.purposes.contains(purpose) }
            }
            .union(passed)
            if next != opened { sequencer.perform(.setStage(parkCode: parkCode, .live, opened: next), now: now) }
        }
    }

    // MARK: The checklist

    /// Businesses of which every item passes, among those that the lot offers.
    func passed(_ parkCode: String, now: Millis) -> Set<Purpose> {
        let rows = rows(parkCode, now: now)
        let offered = sequencer.readUndurable { $0.lots[parkCode]?.profile?.enabled ?? [] }
        return offered.filter { purpose in rows.allSatisfy { $0.verdict == .passed || !$0.item.purposes.contains(purpose) } }
    }

    func rows(_ parkCode: String, now: Millis) -> [Row] {
        let link = presence.snapshot[parkCode]
        let callback = credentials.delivery(to: parkCode)?.callback
        return sequencer.readUndurable { city in
            guard let lot = city.lots[parkCode] else { return [] }
            let facts = Facts(city: city, lot: lot, link: link, callback: callback, now: now, offsetMax: settings.clockMaxOffsetMillis)
            return Dialect.current.checklist.map { item in
                let (verdict, why) = item.proof == .attested ? facts.attested(item.id) : facts.proved(item.id)
                return Row(item: item, verdict: verdict, why: why.en, whyZh: why.zh)
            }
        }
    }

    func json(_ parkCode: String, now: Millis) -> JSON? {
        guard let lot = sequencer.readUndurable({ $0.lots[parkCode] }) else { return nil }
        // Without a review a lot is open for what it has described.
        let opened = settings.reviewsLots ? lot.opened : lot.stage == .suspended ? [] : lot.profile?.enabled ?? []
        return [
            "park": .string(parkCode), "stage": .string(sequencer.readUndurable { $0.stage(of: lot) }.rawValue),
            "opened": .array(opened.map(\.rawValue).sorted().map { .int($0) }),
            "onboarding": .string(settings.reviewsLots ? "review" : "trust"),
            "items": .array(
                rows(parkCode, now: now).map {
                    [
                        "id": .string($0.item.id), "zh": .string($0.item.zh), "en": .string($0.item.en),
                        "proof": .string($0.item.proof.rawValue),
                        "verdict": .string($0.verdict.rawValue), "why": .string($0.why),
                        "whyZh": .string($0.whyZh), "bizTypes": .array($0.item.purposes.map(\.rawValue).sorted().map { .int($0) }),
                    ]
                }),
        ]
    }
}

/// The known facts of one lot when its checklist is looked at.
private struct Facts {
    let city: City
    let lot: Lot
    let link: Presence.Link?
    let callback: String?
    let now: Millis
    let offsetMax: Int64

    private func rows(_ kind: String) -> [JSON] {
        city.reports(lot.parkCode, kind: kind).compactMap { try? JSON.parse(Array($0.body.utf8)) }
    }

    private func evidence(_ item: String) -> String? { city.report(lot.parkCode, kind: Onboarding.evidenceKind, key: item)?.body }

    typealias Words = (zh: String, en: String)

    func attested(_ id: String) -> (Onboarding.Verdict, Words) {
        guard let report = city.report(lot.parkCode, kind: Onboarding.attestedKind, key: id) else {
            return (.missing, ("尚未登记", "not attested yet"))
        }
        return (.passed, ("\(report.body) 登记", "attested by \(report.body)"))
    }

    func proved(_ id: String) -> (Onboarding.Verdict, Words) {
        func verdict(_ isThere: Bool, _ isRight: Bool, _ zh: String, _ en: String) -> (Onboarding.Verdict, Words) {
            (isRight ? .passed : isThere ? .failed : .missing, (zh, en))
        }
        let gates = rows(Onboarding.gateKind)
        switch id {
        case "gates":
            let directions = Set(lot.gates.values.map(\.direction))
            let isWhole = directions.contains(3) || directions.isSuperset(of: [1, 2])
            return verdict(!lot.gates.isEmpty, isWhole, "\(lot.gates.count) 个出入口", "\(lot.gates.count) gates")
        case "plateRecognition":
            let blind = gates.filter { ($0["cameraCount"]?.intValue ?? 0) < 1 }.compactMap { $0["gateCode"]?.stringValue }
            return verdict(
                !gates.isEmpty, !gates.isEmpty && blind.isEmpty,
                blind.isEmpty ? "\(gates.count) 个出入口" : "无相机：\(blind.joined(separator: "、"))",
                blind.isEmpty ? "\(gates.count) gates" : "no camera at \(blind.joined(separator: ", "))")
        case "barrier":
            return verdict(!gates.isEmpty, gates.contains { $0["remoteControl"]?.boolValue == true }, "远程抬杆 remoteControl", "remoteControl")
        case "display":
            let displays = rows("device").filter { $0["type"]?.intValue == 5 }
            return verdict(
                !displays.isEmpty, displays.contains { $0["status"]?.intValue == 1 }, "\(displays.count) 块显示屏", "\(displays.count) displays"
            )
        case "capacity":
            guard let profile = lot.profile else { return (.missing, ("尚无 lot.info.report", "no lot.info.report yet")) }
            let isRight = profile.totalCount > 0 && profile.enabled.allSatisfy { lot.quota($0) > 0 }
            return verdict(true, isRight, "\(profile.totalCount) 个车位", "\(profile.totalCount) places")
        case "tariff":
            let count = city.reports(lot.parkCode, kind: "tariff").count
            return verdict(false, count > 0, "\(count) 个收费规则", "\(count) tariffs")
        case "spaces":
            let count = city.reports(lot.parkCode, kind: "space").count
            return verdict(false, count > 0, "\(count) 个车位编号", "\(count) spaces")
        case "mqtt":
            return verdict(
                link != nil, link?.isOnline == true || callback != nil, callback == nil ? "MQTT" : "回调",
                callback == nil ? "MQTT" : "callback")
        case "heartbeat":
            guard let at = link?.heartbeatAt, at > 0 else { return (.missing, ("尚无心跳", "none yet")) }
            return verdict(false, now - at <= WireLimits.silenceMillis, "\((now - at) / 1000) 秒前", "\((now - at) / 1000) s ago")
        case "clock":
            guard let link, link.heartbeatAt > 0 else { return (.missing, ("尚无心跳", "no heartbeat yet")) }
            return verdict(true, abs(link.clockOffsetMillis) <= offsetMax, "\(link.clockOffsetMillis) 毫秒", "\(link.clockOffsetMillis) ms")
        case "offline":
            let info = rows(Onboarding.infoKind).first
            return verdict(
                info?["offlineCapable"] != nil, info?["offlineCapable"]?.boolValue == true, "离线运行 offlineCapable", "offlineCapable")
        case "resume":
            let seen = evidence("resume")
            return verdict(false, seen != nil, seen ?? "尚无 sync.cursor.query", seen ?? "no sync.cursor.query yet")
        case "picture":
            guard let size = evidence("picture") else { return (.missing, ("尚无图片", "no picture yet")) }
            let sides = size.split(separator: "x").compactMap { Int($0) }
            return verdict(true, sides.count == 2 && sides[0] >= 1280 && sides[1] >= 720, size, size)
        default: return (.missing, ("未知", "not known"))
        }
    }
}
