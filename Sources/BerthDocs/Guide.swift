import BerthWire

// The part before the catalogue: the way to a first message, the types, and the reply.
extension Reference {
    var guide: [Block] {
        [
            .heading(2, say("上手", "Getting started"), "guide"),
            .text(
                say(
                    "本页面向两类工程师：车场系统厂商，以及服务商（小程序、地图、医院挂号系统等）。两者使用同一信封与同一签名。",
                    "This page is for two kinds of engineers: those of lot systems, and those of service providers (apps, maps, the appointment system of a hospital). Both use the same envelope and the same signature."
                )),
            .steps([
                say(
                    "取得凭据。城市运营方发放 `appId` 与 `appSecret`；在自己的测试服务器上执行 `berth keys issue --data DIR --role lot --name 名称 --park 车场编码`，服务商用 `--role provider`。",
                    "Get a credential. The city's operator issues `appId` and `appSecret`; on your own test server it is `berth keys issue --data DIR --role lot --name NAME --park CODE`, and `--role provider` for a provider."
                ),
                say(
                    "核对签名。把自己算出的待签名串与 `/developer/console` 显示的逐字比较；`berth sign --explain` 显示每一步，`vectors.json` 供自动测试使用。",
                    "Check your signature. Compare your string to sign with the one that `/developer/console` shows; `berth sign --explain` shows each step, and `vectors.json` is for automatic tests."
                ),
                say(
                    "发送第一条消息。服务商：`POST /api/v1/lot/search`。车场：`lot.info.report`，它登记车场。返回 `code` 为 0 即成功；出错时 `hint` 指出缺少或错误的字段，见 `code` 表。",
                    "Send the first message. A provider sends `POST /api/v1/lot/search`; a lot sends `lot.info.report`, which registers it. `code` 0 means success; otherwise `hint` names the fields that are missing or wrong, and the table of codes says what to do."
                ),
                say(
                    "服务商的主流程：`lot.search` → `slot.query`（可约时段与价格）→ `order.create` → `pay.create`（需要押金时）→ `order.detail`。状态变化由 `order.status.notify` 通知到登记的地址，答复 `{\"code\":0}` 之前会重发。",
                    "The main path of a provider: `lot.search` → `slot.query` (free times and prices) → `order.create` → `pay.create` (where a deposit is due) → `order.detail`. Changes come as `order.status.notify` to the registered address, again until it answers `{\"code\":0}`."
                ),
                say(
                    "车场的主流程：连接 MQTT，答复 `order.reserve.push`；入场前可用 `vehicle.preentry.check`，随后按顺序上报 `vehicle.entry.report` 与 `vehicle.exit.report`，带 `epoch` 与 `seq`。断线后先查 `sync.cursor.query`，再用 `sync.batch.report` 续传。",
                    "The main path of a lot: connect by MQTT and answer `order.reserve.push`; ask `vehicle.preentry.check` at the entry, then report `vehicle.entry.report` and `vehicle.exit.report` in order, with `epoch` and `seq`. After a break ask `sync.cursor.query`, then send the rest with `sync.batch.report`."
                ),
                say(
                    "重发同一请求：`requestId`、`service`、`data` 不变，换新的 `timestamp`、`nonce` 与 `sign`；得到第一次的结果，并带 `duplicate:true`。",
                    "Send a request again: keep `requestId`, `service` and `data`, and take a new `timestamp`, `nonce` and `sign`. The answer is the first result with `duplicate:true`."
                ),
                say(
                    "上线之前：对照附录 A 清单；在 `/developer` 查看测试车场的连接状态，以及最近 50 次调用的结果码与出错字段。",
                    "Before you go live: meet the checklist of annex A. `/developer` shows the connection of your test lot and your last 50 calls, each with its code and the field that was wrong."
                ),
            ]),
        ]
    }

    var types: [Block] {
        [
            .heading(2, say("基础数据类型", "Types"), "types"),
            .text(
                say(
                    "`data` 中的可选字段为 null 或空串等于未给（仍按所发内容计算摘要）。字段名按码点比较。",
                    "An optional field of `data` that is null or empty counts as absent (it is hashed as it was sent). Names are compared by code points."
                )),
            .table(
                [say("类型", "type"), "JSON", say("规则", "rule")],
                [
                    ["`string(n)`", "string", say("至多 n 个 Unicode 标量值，去掉首尾空白", "at most n Unicode scalars, trimmed")],
                    ["`int`, `long`", "number", say("只能是整数，绝对值小于 2^53", "whole numbers only, |x| < 2^53")],
                    ["`bool`", "boolean", ""],
                    [
                        "`time`", "number",
                        say(
                            "自 1970 年起的毫秒数，13 位；日与月按 Asia/Shanghai 计",
                            "milliseconds since 1970, 13 digits; days and months are those of Asia/Shanghai"),
                    ],
                    ["`date`", "string", "`yyyy-MM-dd`"],
                    ["`hm`", "string", say("`HH:mm`，作为结束时可为 `24:00`", "`HH:mm`; `24:00` is allowed as an end")],
                    ["`money`", "number", say("分，不小于 0", "fen, 0 or more")],
                    [
                        "`plateNo`", "string(16)",
                        say(
                            "合法车牌；表示摄像机读数的字段（`reading`）不要求合法",
                            "a legal plate; a field that holds a camera's reading (`reading`) need not be one"),
                    ],
                    ["`plateColor`", "int", say("见下表", "see the table below")],
                    ["`plateType`", "string(2)", say("号牌种类（GA/T 16.7）", "kind of number plate (GA/T 16.7)")],
                    [
                        "`parkCode`", "string(32)",
                        say("`[A-Za-z0-9.-][A-Za-z0-9._-]*`，其余含义由发放者决定", "`[A-Za-z0-9.-][A-Za-z0-9._-]*`; its meaning is its issuer's"),
                    ],
                    ["`sha256`", "string(64)", say("十六进制，大小写均可", "hexadecimal, either case")],
                    [
                        "`lng`, `lat`", "string",
                        say(
                            "十进制，至多 7 位小数；`coordType` 1 WGS84、2 GCJ02、3 BD09",
                            "decimal, at most 7 places; `coordType` 1 WGS84, 2 GCJ02, 3 BD09"),
                    ],
                ]),
            .heading(3, "bizType", "bizType"),
            .table(
                [say("值", "value"), say("含义", "meaning")],
                [
                    ["0", say("普通停车", "ordinary parking")], ["1", say("预约停车", "reservation")], ["2", say("共享停车", "shared parking")],
                    ["3", say("公共业务停车（医院、政务等）", "parking for public business (hospitals, offices)")],
                ]),
            .heading(3, "plateColor", "plateColor"),
            .table(
                [say("值", "value"), say("颜色", "colour")],
                (profile.plateColors.first?.rows ?? []).map { ["\($0.theirs)", say($0.zh, $0.en)] }),
        ]
    }

    var replyEnvelope: [Block] {
        [
            .heading(2, say("答复的信封", "The reply envelope"), "reply"),
            .table(
                [say("字段", "field"), say("类型", "type"), say("必填", "mandatory"), say("含义", "meaning")],
                [
                    ["version", "string(8)", "M", "`1.0`"],
                    [
                        "requestId, appId, service, parkCode", "string", "M",
                        say("与请求相同；无法读出时为空串", "as in the request; empty where they could not be read"),
                    ],
                    ["timestamp, nonce", "time, string(32)", "M", say("答复的时间与随机串", "time and random string of the reply")],
                    ["code", "int", "M", say("0 成功，其余见结果码", "0 for success, otherwise see the result codes")],
                    [
                        "message", "string", "M",
                        say("结果码的含义，供人阅读；程序只依据 `code`", "the code in words, for people; programs go by `code` alone"),
                    ],
                    [
                        "hint", "string", "O",
                        say("缺少或错误的字段及其规则；不参与签名", "the fields that are missing or wrong, with the rule that they break; not signed"),
                    ],
                    ["duplicate", "bool", "O", say("该请求已处理过，这是第一次的结果", "the request was carried out before; this is its first result")],
                    [
                        "epoch, ackSeq", "string(16), long", "O",
                        say("对日志条目的答复：已按序消费到的位置", "answer to an entry of a log: how far the log is consumed, in order"),
                    ],
                    ["data", "object", "M", say("业务字段，无则为 `{}`", "business fields, `{}` for none")],
                    [
                        "sign", "string(64)", "M",
                        say("用请求的密钥签名；无法确定密钥时为空串", "signed with the secret of the request; empty where no secret can be chosen"),
                    ],
                ]),
            .text(
                say(
                    "车场对下行消息的答复使用同一信封：日志类消息存盘之后再答复，`data` 为该服务的答复字段，无则为 `{\"accepted\":true}`。",
                    "A lot answers downlink messages with the same envelope: entries of the log after they are on its disk, with the reply fields of the service as `data`, or `{\"accepted\":true}` where it has none."
                )),
        ]
    }
}
