import BerthCore
import BerthWire

/// One setting: its name, its value when nobody sets it, and its meaning.
public struct Setting: Sendable, Equatable {
    /// The name in `berth.json` and for `--set`.
    public var key: String
    /// The value when nothing sets it, as text.
    public var fallback: String
    /// The values that are accepted, for people.
    public var values: String
    public var zh: String
    public var en: String

    init(_ key: String, _ fallback: String, _ values: String, _ zh: String, _ en: String) {
        self.key = key
        self.fallback = fallback
        self.values = values
        self.zh = zh
        self.en = en
    }

    /// The variable of the environment.
    public var variable: String { SettingNames.variable(of: key) }
}

/// All settings of a server: a name that is not here is no setting, and each of them is read.
public enum SettingCatalogue {
    public static let all: [Setting] = own + policies

    static let keys = all.map(\.key)
    static let fallbacks = Dictionary(all.map { ($0.key, $0.fallback) }, uniquingKeysWith: { first, _ in first })

    private static let own: [Setting] = [
        Setting("https.port", "8443", "0…65535", "HTTPS 端口；0 为任一空闲端口", "HTTPS port; 0 chooses a free one"),
        Setting("mqtt.port", "8883", "0…65535", "MQTT（TLS）端口；0 为任一空闲端口", "MQTT over TLS port; 0 chooses a free one"),
        Setting("page.port", "0", "0…65535", "本机明文网页端口；0 为关闭", "plain HTTP port on loopback for the pages; 0 is off"),
        Setting("bind", "127.0.0.1", "address or host", "HTTPS 与 MQTT 的监听地址", "address that HTTPS and MQTT listen on"),
        Setting(
            "public.url", "", "https://host[:port]", "外部访问地址；留空为 https://127.0.0.1:端口",
            "what uploads and redirects are addressed by; empty is https://127.0.0.1:port"),
        Setting(
            "tls.names", "", "hosts and addresses, with commas", "本地证书包含的主机名与地址（另含 localhost、回环与 bind）",
            "host names and addresses in the local certificate, beside localhost, the loopback and bind"),
        Setting("tls.certificate", "", "file", "自有证书链（PEM）；留空使用本地证书", "own certificate with its chain, PEM; empty is the local one"),
        Setting("tls.key", "", "file", "自有证书的私钥（PEM）", "private key of the own certificate, PEM"),
        Setting(
            "tls.authority", "", "file", "签发自有证书的机构（PEM）；留空为系统信任的机构",
            "authority of the own certificate, PEM; empty is those that the system trusts"),
        Setting(
            "store", "sqlite", "sqlite, memory, postgres://…", "存储；memory 不保留任何数据；PostgreSQL 见 docs/cluster.zh-CN.md",
            "memory forgets everything; for PostgreSQL see docs/cluster.md"),
        Setting(
            "cluster.port", "0", "0…65535", "同城其他服务器连接本机的端口（PostgreSQL）；0 为任一空闲端口",
            "port at which the other servers of the city reach this one (PostgreSQL); 0 chooses a free one"),
        Setting(
            "cluster.host", "", "address or host", "同城其他服务器连接本机的主机名或地址；留空为 bind，bind 为全部地址时为本机名",
            "name or address at which the other servers of the city reach this one; empty is bind, or the machine's name where bind is all addresses"
        ),
        Setting("environment", "production", "production, test", "test 在 hint 中说明拒绝原因", "test explains refusals in hint"),
        Setting("log.level", "info", ServerSettings.logLevels.joined(separator: ", "), "日志级别", "least level of what is logged"),
        Setting("log.format", "text", "text, json", "日志格式", "a line of text or of JSON for each message"),
        Setting(
            "log.requests", "refused", "refused, all", "记录的请求；all 另含每次应答、提交、下发与通知，各行带同一 requestId",
            "requests that are logged; all also writes each answer, commit, push and notification, with one requestId"),
        Setting("ntp.servers", "", "hosts, with commas", "告知车场的 NTP 服务器", "NTP servers that lots are told"),
        Setting(
            "onboarding", "trust", "trust, review", "review：通过附录 A 核验后投入运行",
            "review: a lot is put into service when its checklist is passed"),
        Setting(
            "web.codes", "", "none, screen, program, https://…", "一次性验证码的发送方式；留空：测试环境为 screen，否则 none",
            "how one-time codes reach a telephone; empty: screen in the test environment, else none"),
        Setting("clock.maxOffsetMs", "5000", "100…300000", "触发事件 6010 的时钟偏差，毫秒", "offset of a lot's clock that raises event 6010, ms"),
        Setting(
            "secret.graceSeconds", "86400", "0…31536000", "启用新密钥后旧密钥的宽限，秒",
            "how long an old secret stays good after the first use of the new one, s"),
        Setting("callback.allowPrivate", "false", "true, false", "允许回调内网地址", "callbacks may go to private addresses"),
        Setting("callback.ca", "", "file", "回调另信任的机构（PEM）", "further authority that callbacks trust, PEM"),
        Setting("callback.timeoutSeconds", "5", "1…60", "回调等待时间，秒", "how long an answer to a callback is waited for, s"),
        Setting(
            "callback.retrySeconds", "10,20,30,40,50,80,120,160,200,300", "0…86400 each, with commas", "回调重试间隔，秒",
            "when a notification is tried again, s after the attempt before"),
        Setting("picture.maxBytes", "500000", "1000…20000000", "单张图片上限，字节", "size of one picture, bytes"),
        Setting("retention.recordsDays", "400", "365…36500", "订单与记录保存天数", "days for which orders and records are kept"),
        Setting("retention.auditDays", "400", "365…36500", "审计保存天数", "days for which the audit record is kept"),
        Setting("retention.picturesDays", "90", "30…36500", "图片保存天数", "days for which pictures are kept"),
        Setting(
            "internal.from", "127.0.0.1,::1", "addresses, with commas", "可访问 /metrics、/mqtt/auth、/mqtt/acl 的地址",
            "addresses that may ask /metrics, /mqtt/auth, /mqtt/acl"),
    ]

    private static let policies: [Setting] = {
        let meanings = Dictionary(
            Dialect.current.policies.map { ($0.name, (zh: $0.zh, en: $0.en)) }, uniquingKeysWith: { first, _ in first })
        let ranges = Dictionary(
            uniqueKeysWithValues: Policy.numbers.map { ($0.name, "\($0.range.lowerBound)…\($0.range.upperBound)") })
        return Policy().values.map { name, value in
            Setting(
                "policy." + name, value, ranges[name] ?? (name == "confirmMode" ? "trust, ask" : "text"), meanings[name]?.zh ?? "",
                meanings[name]?.en ?? "")
        }
    }()

    /// A `berth.json` with every setting and its default, each under a comment in both languages.
    public static var example: String {
        let lines = all.enumerated().map { index, setting in
            let isNumber = Int64(setting.fallback) != nil || ["true", "false"].contains(setting.fallback)
            let value = isNumber ? setting.fallback : JSON.string(setting.fallback).string
            return
                "  // \(setting.zh)\n  // \(setting.en) (\(setting.values))\n  \"\(setting.key)\": \(value)\(index < all.count - 1 ? "," : "")"
        }
        return """
            // 泊位服务器的全部设置及其默认值；存为数据目录中的 berth.json，只保留要改的行。
            // All settings of a server with their defaults. Saved as berth.json in the data folder; leave only the lines that you change.
            {
            \(lines.joined(separator: "\n"))
            }

            """
    }
}
