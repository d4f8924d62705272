import BerthCore
public import BerthWire

/// The readable reference, in Chinese or English: one list of blocks from the profile, written as Markdown or as a page.
public struct Reference: Sendable {
    public enum Language: String, Sendable, CaseIterable {
        case zh, en
    }

    enum Block {
        /// The last value is the anchor, which stays when the text changes.
        case heading(Int, String, String)
        case text(String)
        case code(String)
        /// Numbered steps.
        case steps([String])
        case list([String])
        /// Head, rows, and the anchors of rows that others point at.
        case table([String], [[String]], [String] = [])
        case machine(StateMachine)
        /// An executed request and its reply; on the page alone.
        case example(request: JSON, reply: JSON)
    }

    let language: Language
    let profile: Dialect

    public init(_ language: Language, profile: Dialect = .current) {
        self.language = language
        self.profile = profile
    }

    func say(_ zh: String, _ en: String) -> String { language == .zh ? zh : en }

    var blocks: [Block] {
        var blocks: [Block] = [
            .heading(1, say("泊位 Berth 接口参考", "Berth interface reference"), "top"),
            .text(
                say(
                    "本文由代码中的同一份目录生成，测试保证其不过期。机器可读的版本：`/openapi.json`（HTTPS）、`/asyncapi.json`（MQTT）；签名向量：`vectors.json`。",
                    "Generated from the one catalogue in the code; a test fails when it is stale. For machines: `/openapi.json` (HTTPS), `/asyncapi.json` (MQTT); signature vectors: `vectors.json`."
                )),
        ]
        let contract = ContractText.blocks(language == .zh ? profile.contract.zh : profile.contract.en)
        blocks += guide + types + envelope + replyEnvelope + topics + contract.before
        for (direction, zh, en) in [
            ("up", "上行：车场或停车管理平台 → 平台", "Uplink: lot or management platform → server"),
            ("down", "下行：平台 → 车场或停车管理平台", "Downlink: server → lot or management platform"),
            ("app", "服务商与应用 → 平台", "Service provider and app → server"),
            ("callback", "回调：平台 → 服务商", "Callbacks: server → service provider"),
        ] {
            blocks.append(.heading(2, say(zh, en), direction))
            for service in profile.catalogue where service.direction == direction { blocks += describe(service) }
        }
        blocks.append(.heading(2, say("结果码", "Result codes"), "codes"))
        blocks.append(
            .table(
                [say("码", "code"), say("名称", "name"), say("含义", "meaning"), say("可重试", "retry"), "HTTP"],
                profile.codes.values.sorted { $0.code < $1.code }.map {
                    [String($0.code), "`\($0.name)`", say($0.zh, $0.en), $0.retry, String($0.httpStatus)]
                }, profile.codes.values.sorted { $0.code < $1.code }.map { "code-\($0.code)" }))
        blocks.append(.heading(2, say("事件类型", "Event types"), "events"))
        blocks.append(
            .table(
                [say("类型", "type"), say("事件", "event")],
                profile.events.sorted { $0.key < $1.key }.map { [String($0.key), say($0.value.zh, $0.value.en)] },
                profile.events.keys.sorted().map { "event-\($0)" }))
        blocks.append(.heading(2, say("状态机", "State machines"), "states"))
        for machine in profile.machines {
            blocks.append(.heading(3, say(machine.zh, machine.en), "state-\(machine.name)"))
            blocks.append(.machine(machine))
            blocks.append(
                .table(
                    [say("码", "code"), say("名称", "name"), say("状态", "state")],
                    machine.states.map { [String($0.code), "`\($0.name)`", say($0.zh, $0.en)] }))
        }
        blocks += policies
        blocks.append(.heading(2, say("车场建设清单（附录 A）", "What a lot must have (annex A)"), "checklist"))
        blocks.append(
            .table(
                [say("编号", "item"), say("名称", "name"), say("要求", "rule"), say("证明方式", "proved by"), "bizType", say("来源", "source")],
                profile.checklist.map { item in
                    [
                        "`\(item.id)`", say(item.zh, item.en), say(item.ruleZh, item.ruleEn),
                        item.proof == .attested ? say("现场核验", "attestation") : "`\(item.service)`",
                        item.purposes.map(\.rawValue).sorted().map { String($0) }.joined(separator: ", "), item.source,
                    ]
                }))
        blocks += plateColors + contract.after
        blocks.append(.heading(2, say("术语", "Terms"), "terms"))
        blocks.append(
            .table(
                [say("术语", "term"), say("英文", "Chinese"), say("代码中", "in code"), say("说明", "note")],
                profile.terms.map { [say($0.zh, $0.en), say($0.en, $0.zh), "`\($0.code)`", half($0.note)] }))
        return blocks
    }

    /// The wire's colour codes beside those of other systems.
    private var plateColors: [Block] {
        let (own, others) = (profile.plateColors.first?.rows ?? [], profile.plateColors.dropFirst())
        return [
            .heading(2, say("车牌颜色对照", "Plate colours"), "plate-colours"),
            .text(
                say(
                    "报文中的 `plateColor` 用第一列；其他系统的代码互相冲突，前置机可按车场换算（`plateColors`，见 gateway.md）。一个代码可能对应多种颜色时，取与车牌相符的一种。",
                    "`plateColor` on the wire is the first column. The codes of other systems contradict each other; the gateway translates them for a lot (`plateColors`, see gateway.md). Where a code may mean several colours, the one that fits the plate is taken."
                )),
            .table(
                ["plateColor", say("颜色", "colour")] + others.map { "`\($0.name)` \(say($0.zh, $0.en))" },
                own.map { row in
                    ["`\(row.theirs)`", say(row.zh, row.en)]
                        + others.map { table in
                            table.rows.filter { $0.ours.contains { "\($0)" == row.theirs } }.map { "`\($0.theirs)`" }.joined(separator: " ")
                        }
                }),
        ]
    }

    /// Every value of the policy engine, and what a refusal says of it.
    private var policies: [Block] {
        let defaults = Dictionary(uniqueKeysWithValues: Policy().values.map { ($0.name, $0.value) })
        let ranges = Dictionary(uniqueKeysWithValues: Policy.numbers.map { ($0.name, "\($0.range.lowerBound)…\($0.range.upperBound)") })
        return [
            .heading(2, say("规则参数", "Policy values"), "policies"),
            .text(
                say(
                    "按范围设置（`policy.set`），窄者优先：`city` → `product:业务` → `group:经营单位` → `lot:车场` → `lot:车场/业务`；每次设置一个新版本，订单保留订立时的条款（`terms`）。",
                    "Set by scope (`policy.set`); the narrower lies over the wider: `city` → `product:N` → `group:NAME` → `lot:CODE` → `lot:CODE/N`. Each setting is a new version; an order keeps the terms under which it was made (`terms`)."
                )),
            .table(
                [say("参数", "value"), say("默认", "default"), say("范围", "range"), say("含义", "meaning"), say("出处", "source")],
                profile.policies.map { row in
                    ["`\(row.name)`", defaults[row.name] ?? "", ranges[row.name] ?? say("文字", "text"), say(row.zh, row.en), row.mark]
                }),
            .heading(3, say("拒绝时说明规则", "A refusal names its rule"), "refusals"),
            .text(
                say(
                    "被规则拒绝的应答在 `data` 中给出：`rule` 规则参数（或配额池、策略号）、`used` 已用、`max` 上限、`until` 何时解除；约满、饱和、管控时另有 `alternatives[]`：附近在同一时段有位的车场，由近及远，含距离与步行分钟。",
                    "The answer of a rule that refuses has in its `data`: `rule`, the policy value (or pool, or policy), `used` and `max`, its counter, and `until`, when it ends. Where it is full, saturated or under flow control there is also `alternatives[]`: lots with room in the same window, the nearest first, with distance and minutes on foot."
                )),
        ]
    }

    /// One half of a note that is written in both languages.
    private func half(_ text: String) -> String {
        guard let slash = text.range(of: " / ") else { return text }
        return String(language == .zh ? text[..<slash.lowerBound] : text[slash.upperBound...])
    }

    private var envelope: [Block] {
        [
            .heading(2, say("信封与签名", "Envelope and signature"), "envelope"),
            .text(
                say(
                    "HTTPS 以 `POST /api/v1/{服务名，点换成斜杠}` 发送，MQTT 以消息体发送；两者的信封、签名与代码相同。金额为整数分，时间为自 1970 年起的整数毫秒，经纬度为十进制字符串，报文中没有浮点数。",
                    "Sent by `POST /api/v1/{service, dots as slashes}` over HTTPS, or as the payload over MQTT; envelope, signature and codes are the same. Money is integer fen, time integer milliseconds since 1970, coordinates are decimal strings; there is no floating-point number on the wire."
                )),
            .table(
                [say("字段", "field"), say("类型", "type"), say("必填", "mandatory"), say("含义", "meaning")],
                [
                    ["version", "string(8)", "M", "`1.0`"],
                    ["requestId", "string(36)", "M", say("UUID；幂等与关联", "a UUID; idempotency and correlation")],
                    ["appId", "string(4..32)", "M", say("平台发放", "issued by the server")],
                    ["parkCode", "string(32)", "C", say("车场接口必填", "mandatory on lot interfaces")],
                    ["service", "string(48)", "M", say("服务名", "the service")],
                    ["timestamp", "time", "M", say("发送时间，偏差不超过 300 秒", "time of sending, at most 300 s off")],
                    ["nonce", "string(8..32)", "M", say("随机串，`[A-Za-z0-9_-]`，600 秒内唯一", "random, `[A-Za-z0-9_-]`, unique for 600 s")],
                    ["epoch, seq", "string(16), long", "C", say("日志条目的位置", "place of a log entry")],
                    ["sign", "string(64)", "M", say("小写十六进制", "lower hex")],
                    ["data", "object", "M", say("业务字段", "business fields")],
                ]),
            .code(
                """
                canon(data) = JSON, names sorted by UTF-16 code unit at every level, no white space, UTF-8
                dataHash    = lower_hex(SHA256(canon(data)))
                params      = every member but sign, data, message, hint; null and "" left out; plus data=dataHash
                S           = join("&", sort_by_ascii_name(name=value))
                sign        = lower_hex(HMAC_SHA256(appSecret, S))
                """),
            .text(
                say(
                    "检查次序：大小 104 → 格式 101 → 信封 100、102 → 版本 103 → appId 200 → 时钟 202 → 签名 201 → 随机串 203 → 服务 103 → 角色 204 → 车场 205 → 频率 301 → 日志位置或幂等 → 业务字段 100、102、1010 → 状态。",
                    "Checks in order: size 104 → form 101 → envelope 100, 102 → version 103 → appId 200 → clock 202 → signature 201 → nonce 203 → service 103 → role 204 → lot 205 → rate 301 → log position or idempotency → business fields 100, 102, 1010 → state."
                )),
        ]
    }

    private var topics: [Block] {
        [
            .heading(2, say("MQTT 主题", "MQTT topics"), "mqtt"),
            .table(
                [say("主题", "topic"), say("用途", "for")],
                [
                    ["`rsp/v1/{parkCode}/up/{service}`", say("上行消息", "uplink messages")],
                    ["`rsp/v1/{parkCode}/down/{service}`", say("下行消息", "downlink messages")],
                    ["`rsp/v1/{parkCode}/down/reply`", say("对上行的答复", "replies to uplink messages")],
                    ["`rsp/v1/{parkCode}/up/reply`", say("对下行的答复", "replies to downlink messages")],
                    ["`rsp/v1/{parkCode}/up/status`", say("在线状态与遗嘱，QoS 1 保留", "presence and will, QoS 1 retained")],
                    ["`rsp/v1/_cloud/{appId}/status`", say("停车管理平台的在线状态", "presence of a management platform")],
                ]),
            .text(
                say(
                    "clientId 为 `{appId}_{parkCode}`，停车管理平台为 `{appId}_cloud`；用户名为 appId，密码为 `lower_hex(HMAC_SHA256(appSecret, \"mqtt\\n\" + clientId))`。",
                    "clientId is `{appId}_{parkCode}`, a management platform's `{appId}_cloud`; username is the appId, password `lower_hex(HMAC_SHA256(appSecret, \"mqtt\\n\" + clientId))`."
                )),
        ]
    }

    private func describe(_ service: ServiceDefinition) -> [Block] {
        let kinds: [ServiceDefinition.Kind: (String, String)] = [
            .log: ("日志条目（epoch、seq 必填，QoS 1）", "an entry of the log (epoch and seq, QoS 1)"),
            .kept: ("按 requestId 幂等", "idempotent by requestId"), .read: ("只读", "changes nothing"),
            .sync: ("续传机制的一部分", "part of the resume"), .live: ("立即答复，从不排队（QoS 0）", "answered now, never queued (QoS 0)"),
            .callback: ("重试直到答复 code 0", "again until it is answered with code 0"),
        ]
        let kind = kinds[service.kind]!
        let roles = service.roles.map(\.rawValue).sorted().joined(separator: say("、", ", "))
        var blocks: [Block] = [
            .heading(3, "\(service.id) `\(service.name)` \(say(service.zh, ""))".trimmedEnd, service.name),
            .text(
                (language == .en ? service.en + ". " : "") + say(kind.0, kind.1) + say("；角色：", "; roles: ") + roles
                    + say("；来源：", "; source: ") + service.mark),
        ]
        for (title, shape) in [(say("请求", "Request"), service.request), (say("答复", "Reply"), service.reply)] where !shape.fields.isEmpty {
            blocks.append(
                .table([title, say("类型", "type"), say("必填", "mandatory"), say("含义", "meaning")], rows(shape.fields, "")))
        }
        if let example = Dialect.examples[service.name] { blocks.append(.example(request: example.request, reply: example.reply)) }
        return blocks
    }

    private func rows(_ fields: [Field], _ prefix: String) -> [[String]] {
        fields.flatMap { field -> [[String]] in
            let name = prefix + field.name + (field.maxCount == nil ? "" : "[]")
            var rows = [["`\(name)`", typeName(field), field.isRequired ? "M" : "O", say(field.zh, field.en)]]
            if case .object(let children) = field.type { rows += self.rows(children, name + ".") }
            return rows
        }
    }

    private func typeName(_ field: Field) -> String {
        let name: String
        switch field.type {
        case .string(let max): name = "string(\(max))"
        case .int(let range) where range.upperBound >= WireLimits.intMax && range.lowerBound <= -WireLimits.intMax: name = "int"
        case .int(let range): name = "int \(range.lowerBound)…\(range.upperBound)"
        case .code(let codes): name = "int " + codes.sorted().map(String.init).joined(separator: ",")
        case .bool: name = "bool"
        case .time: name = "time"
        case .date: name = "date"
        case .hm, .hmEnd: name = "hm"
        case .money: name = "money"
        case .plateNo: name = "plateNo"
        case .plateColor: name = "plateColor"
        case .parkCode: name = "parkCode"
        case .lng, .lat: name = "string"
        case .region: name = "string(6)"
        case .sha256: name = "sha256"
        case .reading: name = "reading(16)"
        case .plateType: name = "plateType"
        case .uuid: name = "string(36)"
        case .object: name = "object"
        case .any: name = say("任意", "any")
        }
        return field.maxCount.map { "\(name)[≤ \($0)]" } ?? name
    }

    // MARK: Markdown

    public var markdown: String {
        var out = ""
        for block in blocks {
            switch block {
            case .heading(let level, let text, _): out += String(repeating: "#", count: level) + " " + text + "\n\n"
            case .text(let text): out += text + "\n\n"
            case .code(let text): out += "```\n" + text + "\n```\n\n"
            case .steps(let steps):
                for (index, step) in steps.enumerated() { out += "\(index + 1). \(step)\n" }
                out += "\n"
            case .list(let items): out += items.map { "- \($0)\n" }.joined() + "\n"
            case .example: break
            case .table(let header, let rows, _):
                out += "| " + header.joined(separator: " | ") + " |\n|" + String(repeating: "---|", count: header.count) + "\n"
                for row in rows {
                    out += "| " + row.map { $0.split(separator: "|").joined(separator: "\\|") }.joined(separator: " | ") + " |\n"
                }
                out += "\n"
            case .machine(let machine):
                out += "```mermaid\nstateDiagram-v2\n"
                for state in machine.states { out += "  s\(state.code): \(state.code) \(say(state.zh, state.en))\n" }
                for arrow in machine.transitions { out += "  s\(arrow.from) --> s\(arrow.to): \(say(arrow.zh, arrow.en))\n" }
                out += "```\n\n"
            }
        }
        return out
    }
}

extension String {
    fileprivate var trimmedEnd: String {
        var text = Substring(self)
        while text.last == " " { text.removeLast() }
        return String(text)
    }
}
