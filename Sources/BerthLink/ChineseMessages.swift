/// The programs' messages to people, in English and in Chinese. `{}` is a place of the English message; `{1}`, `{2}` … are the same places in the Chinese one.
///
/// `scripts/tidy.py` reports a message of the sources that is not here.
enum ChineseMessages {
    /// Those that say most come first.
    static let messages: [Message] = {
        let lines = text.split(separator: "\n").map(String.init)
        let pairs = stride(from: 0, to: lines.count - 1, by: 2).map { Message(en: lines[$0], zh: lines[$0 + 1]) }
        return pairs.sorted { $0.weight > $1.weight }
    }()

    private static let text = """
        one of --to and --from expected
        --to 与 --from 应给出其一
        store = {}: a city on one machine has no cluster (docs/cluster.md)
        store = {1}：单机城市没有集群（见 docs/cluster.zh-CN.md）
        a city on one machine has no cluster (docs/cluster.md)
        单机城市没有集群（见 docs/cluster.zh-CN.md）
        cluster.host = {}: an address or the name of a host expected
        cluster.host = {1}：应为地址或主机名
        the server was stopped while it stood by
        服务器在待命时被停止
        the audit record {} does not follow from the one before
        审计记录 {1} 与前一条不衔接
        {}: postgres://… expected
        {1}：应为 postgres://…
        store = {}: sqlite, memory, or postgres://… with realm=name expected
        store = {1}：应为 sqlite、memory 或 postgres://…（realm=名称）
        PostgreSQL: {}
        PostgreSQL：{1}
        this city is led by {} at {}; do it there, or stop that server
        本城市由 {1}（{2}）主持；请在该服务器上执行，或先停止它
        another server leads this city
        另一台服务器正主持本城市
        this city was moved to {}: two copies would sell the same places twice
        本城市已迁移到 {1}：两份数据会把同一车位卖两次
        this city was moved to another store: two copies would sell the same places twice (`--again` goes on with this one)
        本城市已迁移到其他存储：两份数据会把同一车位卖两次（`--again` 可继续使用本存储）
        this city was moved already
        本城市已迁移
        the clocks of this server and of the database differ by {} ms; a server leads with at most {}
        本服务器与数据库的时钟相差 {1} 毫秒；主持城市时最多允许 {2} 毫秒
        the target holds a city already; a copy goes into an empty realm
        目标中已有城市；只能复制到空的 realm
        the target holds a city already; a copy goes into an empty database
        目标中已有城市；只能复制到空的数据库
        the copy differs from its source: {}
        副本与来源不一致：{1}
        the database runs with fsync = off: it can lose what it acknowledged
        数据库的 fsync = off：已确认的数据可能丢失
        PostgreSQL 15 or newer is needed; this server is {}
        需要 PostgreSQL 15 或更新版本；此服务器为 {1}
        the tables in schema {} were made by a later version (format {}); this one does not read them. Nothing was changed
        模式 {1} 中的表由更新的版本建立（格式 {2}），本版本无法读取。未作任何更改
        the pages have no credentials
        网页没有凭证
        --server and --keys are needed
        需要 --server 与 --keys
        --proxy {}: an IP address expected
        --proxy {1}：应为 IP 地址
        {}: the JSON of `berth keys web` expected
        {1}：应为 `berth keys web` 输出的 JSON
        {} {}: {} to {} expected
        {1} {2}：应在 {3} 到 {4} 之间
        {} holds no credential
        {1} 中没有凭证
        standard output cannot be written: {}
        无法写入标准输出：{1}
        --pace {}: 0 to 3600 expected
        --pace {1}：应在 0 到 3600 之间
        {} cannot be read as UTF-8 text
        {1} 不是可读的 UTF-8 文本
        {} {}: name=value expected
        {1} {2}：应为 名称=值
        the server answered {}
        服务器答复 {1}
        no server is running on {}
        {1} 上没有运行中的服务器
        {} cannot be read
        无法读取 {1}
        the message is not a JSON object
        报文不是 JSON 对象
        the message is not JSON of the wire: {}
        报文不是符合协议的 JSON：{1}
        --key {}: no file that can be read as {"appId":…,"appSecret":…}
        --key {1}：不是可读的 {"appId":…,"appSecret":…} 文件
        no credential: give --key FILE, or - for standard input
        没有凭证：请给出 --key 文件，或以 - 从标准输入读取
        --secret-file {}: one line with the appSecret expected
        --secret-file {1}：应为一行 appSecret
        --data-json: {}
        --data-json：{1}
        {} does not answer: {}
        {1} 没有应答：{2}
        HTTP {}, code {} {} (the answer is not signed with this secret)
        HTTP {1}，返回码 {2} {3}（答复不是用这个密钥签名的）
        --speed {}: 0.01 to 100000 expected
        --speed {1}：应在 0.01 到 100000 之间
        --count {}: 1 to 10000 expected
        --count {1}：应在 1 到 10000 之间
        --hour {}: 0 to 23 expected
        --hour {1}：应在 0 到 23 之间
        --seconds {}: 1 to 31536000 expected
        --seconds {1}：应在 1 到 31536000 之间
        {} {}: 0 to 65535 expected
        {1} {2}：应在 0 到 65535 之间
        {} {}: 1 to 10000000 expected
        {1} {2}：应在 1 到 10000000 之间
        --check needs --lots FILE
        --check 需要 --lots 文件
        the server of this folder runs: stop it first
        该目录的服务器正在运行，请先停止
        --keep {}: 1 or more expected
        --keep {1}：应为 1 或更大
        {} cannot be written
        无法写入 {1}
        --last {}: 1 to 100000 expected
        --last {1}：应在 1 到 100000 之间
        --park {}: there is no such lot
        --park {1}：没有这个车场
        the same lot and day as line {}
        与第 {1} 行是同一车场同一天
        {}: nothing was taken
        {1}：未导入任何内容
        {} has no row
        {1} 没有数据行
        {} cells, 50 expected: parkCode, yyyy-MM-dd and 48 counts
        {1} 个单元格，应为 50 个：parkCode、yyyy-MM-dd 和 48 个计数
        the first cell is no parkCode
        第一个单元格不是 parkCode
        the second cell is no date yyyy-MM-dd
        第二个单元格不是 yyyy-MM-dd 日期
        cell {} is no count from 0 to 1000000
        第 {1} 个单元格不是 0 到 1000000 的计数
        give --region, --street, --class and --serial, or --check alone
        请给出 --region、--street、--class 与 --serial，或只给出 --check
        {}: {}
        {1}：{2}
        --sheet {}: {}
        --sheet {1}：{2}
        --sheet {}: {}. The credential is issued and stands above.
        --sheet {1}：{2}。凭证已签发，见上文。
        is there already
        已存在
        {} and {} are no certificate with its key: {}
        {1} 与 {2} 不是证书及其私钥：{3}
        {} is longer than 1 MiB
        {1} 超过 1 MiB
        {} is not JSON of whole numbers and texts: {}
        {1} 不是由整数和文字组成的 JSON：{2}
        {}: a JSON object expected
        {1}：应为 JSON 对象
        {}: a name of more than 200 bytes
        {1}：名称超过 200 字节
        {}: {} = {}: a text, number or list expected
        {1}：{2} = {3}：应为文字、数字或列表
        {}: {} is there twice
        {1}：{2} 出现两次
        the path of the data folder holds a control character
        数据目录的路径含有控制字符
        the data folder {} cannot be made: {}
        无法建立数据目录 {1}：{2}
        {} is not a folder
        {1} 不是目录
        {} is shared by all users of this machine; give a data folder of its own
        {1} 是本机所有用户共用的目录；请使用单独的数据目录
        the data folder {} cannot be written: {}
        无法写入数据目录 {1}：{2}
        another server is running on {}
        {1} 上已有另一个服务器在运行
        there is no data folder {}; `berth serve` makes it
        没有数据目录 {1}；`berth serve` 会建立它
        {} holds no data of a server; `berth serve` makes them
        {1} 中没有服务器的数据；`berth serve` 会建立
        the master key {} is missing (BERTH_MASTER_KEY_FILE names it)
        缺少主密钥 {1}（由 BERTH_MASTER_KEY_FILE 指定）
        the master key {} is missing, and {} cannot be read without it; put the key back, or name it by BERTH_MASTER_KEY_FILE
        缺少主密钥 {1}，没有它就无法读取 {2}；请放回主密钥，或用 BERTH_MASTER_KEY_FILE 指定
        the master key {} is missing
        缺少主密钥 {1}
        the master key {} cannot be read: {}
        无法读取主密钥 {1}：{2}
        the master key {} is not a file
        主密钥 {1} 不是文件
        the master key {} has {} bytes; 64 hexadecimal digits expected
        主密钥 {1} 有 {2} 字节；应为 64 位十六进制数字
        the master key {} is not hexadecimal: {}
        主密钥 {1} 不是十六进制：{2}
        the master key {} is too short, {} digits: {}
        主密钥 {1} 太短，只有 {2} 位：{3}
        the master key {} has {} digits: {}
        主密钥 {1} 有 {2} 位：{3}
        the master key {} cannot be {}: {}
        主密钥 {1} 无法{2}：{3}
        made
        建立
        written
        写入
        kept
        保存
        open
        打开
        write
        写入
        fsync
        落盘
        rename
        改名
        the data folder {} is not there
        没有数据目录 {1}
        openssl made no certificate
        openssl 没有生成证书
        {} cannot be written: {}
        无法写入 {1}：{2}
        openssl is missing; apt-get install openssl
        缺少 openssl；请执行 apt-get install openssl
        openssl {} failed: {}
        openssl {1} 失败：{2}
        the server cannot connect to its broker; the broker's log is {}
        服务器连不上自己的消息代理；代理的日志是 {1}
        {} was sealed under another master key than the one given
        {1} 是用另一个主密钥加密的
        {}. Put the whole data folder back, or go on without it: `berth serve --accept-loss` begins new down logs and skips order numbers, and every lot takes a snapshot. After a backup was put back on purpose: `berth restored`.
        {1}。请放回整个数据目录，或放弃丢失的部分：`berth serve --accept-loss` 会开始新的下行日志、跳过一段订单号，各车场重新取快照。若是有意恢复备份，请执行 `berth restored`。
        no free port on 127.0.0.1
        127.0.0.1 上没有空闲端口
        {} cannot be read: {}
        无法读取 {1}：{2}
        {} = {}: a whole number from {} to {} expected
        {1} = {2}：应为 {3} 到 {4} 的整数
        {} = {}: {} expected
        {1} = {2}：应为 {3}
        bind = {}: an address or the name of a host expected
        bind = {1}：应为地址或主机名
        web.codes = {}: none, the path of a program, https://…, or (test environment) screen expected
        web.codes = {1}：应为 none、程序路径、https://…，或（测试环境）screen
        public.url = {}: https://host[:port] without a slash at its end expected
        public.url = {1}：应为 https://主机[:端口]，末尾没有斜杠
        {} = {}: a file that can be read expected
        {1} = {2}：应为可读的文件
        callback.retrySeconds = {}: seconds from 0 to 86400, separated by commas, expected, at most 100
        callback.retrySeconds = {1}：应为 0 到 86400 的秒数，以逗号分隔，最多 100 个
        tls.certificate, tls.key: both expected, or none of tls.certificate, tls.key and tls.authority
        tls.certificate、tls.key：须同时给出；或 tls.certificate、tls.key、tls.authority 都不给出
        tls.names = {}: an address or the name of a host expected
        tls.names = {1}：应为地址或主机名
        internal.from = {}: {} is no IP address
        internal.from = {1}：{2} 不是 IP 地址
        policy.{} = {}: it cannot be this
        policy.{1} = {2}：不能取这个值
        policy.calendarStepMin = {}: must divide 60
        policy.calendarStepMin = {1}：须能整除 60
        {}: the catalogue of settings and the settings that are read differ
        {1}：设置目录与所读取的设置不一致
        {}: there is no setting {}; the nearest is {}
        {1}：没有设置 {2}；最接近的是 {3}
        environment: there is no setting {}; the nearest is {}
        环境变量：没有设置 {1}；最接近的是 {2}
        {}: there is no command {}; the nearest is {}
        {1}：没有命令 {2}；最接近的是 {3}
        {}: there is no option {}; the nearest is {}
        {1}：没有选项 {2}；最接近的是 {3}
        {} = {}: {} (setting {}, flag {})
        {1} = {2}：{3}（设置 {4}，参数 {5}）
        already in use
        已被占用
        {} cannot be {}: {}
        {1} 无法{2}：{3}
        {} is not a file
        {1} 不是文件
        {} has {} bytes, which is more than {}
        {1} 有 {2} 字节，超过 {3}
        {} cannot be kept: {}
        无法保存 {1}：{2}
        {} is no backup and holds none
        {1} 不是备份，也不含备份
        {}/{} is not whole
        {1}/{2} 不完整
        the backup was sealed under another master key than the one given
        备份是用另一个主密钥加密的
        {} cannot be made: {}
        无法建立 {1}：{2}
        {}/{} cannot be named: {}
        无法命名 {1}/{2}：{3}
        {}/{}: {}
        {1}/{2}：{3}
        {} is no manifest of a backup
        {1} 不是备份清单
        {} was made by version {}, whose backups this one cannot read
        {1} 由版本 {2} 生成，本版本无法读取其备份
        {} holds a server's data ({}): give a folder that holds none, or move them away
        {1} 中已有服务器的数据（{2}）：请换一个没有数据的目录，或将其移走
        {} is there already: leave --key out to use it
        {1} 已存在：不写 --key 即可使用它
        the master key is missing: name its file by --key, or by BERTH_MASTER_KEY_FILE
        缺少主密钥：请用 --key 或 BERTH_MASTER_KEY_FILE 指定其文件
        {}/{} has changed since the backup: {} bytes, SHA-256 {}…; the manifest says {} bytes, {}…
        {1}/{2} 在备份之后被改动：{3} 字节，SHA-256 {4}…；清单为 {5} 字节，{6}…
        {}/pictures has {} pictures of {} bytes; the manifest says {} of {}
        {1}/pictures 有 {2} 张图片共 {3} 字节；清单为 {4} 张 {5} 字节
        {} is not there: a server with `store = memory` keeps nothing
        没有 {1}：`store = memory` 的服务器不保留数据
        --to {}: a folder outside of the data folder expected
        --to {1}：应为数据目录以外的目录
        {} cannot be named: {}
        无法命名 {1}：{2}
        the backup is made; {} cannot be removed: {}
        备份已完成；无法删除 {1}：{2}
        another backup goes into {}
        另一个备份正在写入 {1}
        the broker does not admit {}
        消息代理不接受 {1}
        the broker still admits {}
        消息代理仍然接受 {1}
        mosquitto does not start: {} (its log is {})
        mosquitto 无法启动：{1}（日志在 {2}）
        the server is stopping
        服务器正在停止
        {}; is the Debian package mosquitto installed?
        {1}；是否已安装 Debian 软件包 mosquitto？
        not JSON
        不是 JSON
        no such credential
        没有这个凭证
        no such lot
        没有这个车场
        {} cannot be {}
        {1} 不能取 {2}
        unknown command
        没有这个命令
        {}: park, day and 48 counts expected
        {1}：应为车场、日期和 48 个计数
        nothing was taken
        未导入任何内容
        {}: there is no lot {}
        {1}：没有车场 {2}
        {}: a count is outside 0 to 1000000
        {1}：有计数不在 0 到 1000000 之间
        line {}
        第 {1} 行
        row {}
        第 {1} 条
        … and {} more
        ……另有 {1} 行
        login: taken
        登录名已被使用
        callback: {}
        回调地址：{1}
        returnHosts: names of hosts expected
        returnHosts：应为主机名
        an operator has no callback
        运营方没有回调地址
        rate, burst: 1 to 10000000
        rate、burst：应在 1 到 10000000 之间
        item: one of {}
        item：应为 {1} 之一
        {} is proved by {}, and cannot be attested
        {1} 由 {2} 证明，不能人工确认
        by: who has looked
        by：请写明核验人
        the lot has not described itself yet (lot.info.report)
        车场尚未上报自身信息（lot.info.report）
        not passed yet: {}
        尚未通过：{1}
        role: lot, cloud, provider, operator or web
        role：应为 lot、cloud、provider、operator 或 web
        park: 1 to 32 of A-Z a-z 0-9 . _ -, not beginning with _
        park：1 到 32 个字符，A-Z a-z 0-9 . _ -，不以 _ 开头
        a lot's credential has exactly one --park; a cloud speaks for several
        车场凭证恰有一个 --park；代表多个车场用 cloud
        a cloud's credential needs at least one --park
        厂商云凭证至少需要一个 --park
        a web credential has no --park
        网页凭证没有 --park
        a provider's credential has no --park
        服务商凭证没有 --park
        rate: 1 to 10000000
        rate：应在 1 到 10000000 之间
        burst: 1 to 10000000
        burst：应在 1 到 10000000 之间
        {} cannot be started: {}
        无法启动 {1}：{2}
        no pipe for {}: {}
        无法为 {1} 建立管道：{2}
        {}: the server does not answer: {}
        {1}：服务器没有应答：{2}
        refused
        被拒绝
        {} is empty
        {1} 是空文件
        {} has more than {} lots
        {1} 超过 {2} 个车场
        id {} came before, on line {}
        编号 {1} 已在第 {2} 行出现
        {}: the first line has no column {}; expected are {}
        {1}：首行没有 {2} 列；应有 {3}
        {}: the first line has the column {} twice
        {1}：首行的 {2} 列出现两次
        {} columns, {} expected
        {1} 列，应为 {2} 列
        id '{}' cannot be a code
        编号 '{1}' 不能作为编码
        the name is empty
        名称为空
        latitude '{}': a plain decimal number expected
        纬度 '{1}'：应为普通小数
        longitude '{}': a plain decimal number expected
        经度 '{1}'：应为普通小数
        latitude {} and longitude {} are swapped
        纬度 {1} 与经度 {2} 颠倒了
        latitude '{}': -90 to 90 expected
        纬度 '{1}'：应在 -90 到 90 之间
        longitude '{}': -180 to 180 expected
        经度 '{1}'：应在 -180 到 180 之间
        latitude 0 and longitude 0: the place is not known
        经纬度均为 0：位置不明
        capacity '{}': a whole number from 1 to 1000000 expected
        车位数 '{1}'：应为 1 到 1000000 的整数
        the {} holds the control character U+{}
        {1} 含有控制字符 U+{2}
        the {} holds U+FFFD: the file was damaged when it was converted
        {1} 含有 U+FFFD：文件在转换编码时已损坏
        the {} has {} characters, at most {} are allowed
        {1} 有 {2} 个字符，最多 {3} 个
        the server said {}
        服务器输出 {1}
        {} gateways need more open files than the limit of {}; see ulimit -n
        {1} 个前置机需要打开的文件数超过上限 {2}；参见 ulimit -n
        the server ended by itself; its log is {}/server.log
        服务器自行结束；日志在 {1}/server.log
        {} cannot be read; without it the lots of {} have no credentials
        无法读取 {1}；没有它，{2} 的车场就没有凭证
        the server issued {} credentials
        服务器签发了 {1} 个凭证
        {} has {} bad rows, and --no-skip-bad-rows is given; nothing was started
        {1} 有 {2} 个错误行，且给出了 --no-skip-bad-rows；没有启动
        {} has no good row
        {1} 没有可用的行
        fleet.json is damaged: lot {}
        fleet.json 已损坏：第 {1} 个车场
        fleet.json is damaged
        fleet.json 已损坏
        no pipe for the server: {}
        无法为服务器建立管道：{1}
        the server did not start: {}
        服务器没有启动：{1}
        {} is not JSON: {}
        {1} 不是 JSON：{2}
        lots[{}].parkCode: {} stands there twice
        lots[{1}].parkCode：{2} 出现两次
        lots is missing or empty
        缺少 lots，或 lots 为空
        carrier: auto, mqtt or https expected
        carrier：应为 auto、mqtt 或 https
        token: 16 to 128 of A-Z a-z 0-9 . _ ~ + / = - expected
        token：应为 16 到 128 个字符，A-Z a-z 0-9 . _ ~ + / = -
        the token can be kept neither in {} nor in {}: {}
        令牌既不能保存在 {1}，也不能保存在 {2}：{3}
        {} has a member token already, and it is no token
        {1} 已有成员 token，但其值不是令牌
        the spool {} cannot be opened: {}
        无法打开本地队列文件 {1}：{2}
        {} is longer than {} MiB
        {1} 超过 {2} MiB
        longer than {} MiB
        超过 {1} MiB
        the file is UTF-16; save it as UTF-8
        文件是 UTF-16；请另存为 UTF-8
        line {}: a zero byte; the file is not UTF-8 text
        第 {1} 行：含有零字节；文件不是 UTF-8 文本
        line {}: damaged UTF-8; save the file as UTF-8 again
        第 {1} 行：UTF-8 已损坏；请重新另存为 UTF-8
        the file is not UTF-8, and this system cannot read GB18030; save it as UTF-8
        文件不是 UTF-8，本系统又不能读取 GB18030；请另存为 UTF-8
        line {}: neither UTF-8 nor GB18030; save the file as UTF-8
        第 {1} 行：既不是 UTF-8 也不是 GB18030；请另存为 UTF-8
        line {}: {}
        第 {1} 行：{2}
        more than {} fields
        超过 {1} 个字段
        a record of more than {} bytes, or a quote is not closed
        一条记录超过 {1} 字节，或引号没有闭合
        a quote inside a field that does not begin with one
        字段不以引号开头，其中却有引号
        a field of more than {} bytes
        一个字段超过 {1} 字节
        a quote is not closed, or a quote inside a field is not doubled
        引号没有闭合，或字段内的引号没有双写
        a field of more than {} bytes, or a quote is not closed
        一个字段超过 {1} 字节，或引号没有闭合
        a quote is not closed
        引号没有闭合
        serial {}: 0 to 9999 expected
        序号 {1}：应在 0 到 9999 之间
        {} '{}': {} digit{} expected
        {1} '{2}'：应为 {3} 位数字
        '{}': digits expected
        '{1}'：应为数字
        the folder berth_{}.resources/{} is missing; it belongs beside the program (looked in {})
        缺少目录 berth_{1}.resources/{2}；它应在程序旁边（已查找 {3}）
        {} is not UTF-8; it is read as GB18030
        {1} 不是 UTF-8；按 GB18030 读取
        there is no folder {}; these are the settings without a file
        没有目录 {1}；以下是没有文件时的设置
        messages to the lot go under the new credential from now on; a box that has {} hears nothing any more. Revoke one of them.
        从现在起，发往车场的报文使用新凭证；仍用 {1} 的前置机收不到任何报文。请停用其中一个。
        the database is what its journal makes of it
        数据库与日志表一致
        lineage {}: the next start begins new down logs
        第 {1} 代：下次启动时开始新的下行日志
        {}: valid
        {1}：有效
        installed
        已安装
        missing; apt-get install {}
        缺少；请执行 apt-get install {1}
        libjs-leaflet is installed
        已安装 libjs-leaflet
        {} does not exist yet; `berth serve` makes it
        {1} 尚不存在；`berth serve` 会建立它
        {} MiB free at {} ({} wanted)
        {2} 剩余 {1} MiB（至少 {3}）
        free space at {} cannot be read
        无法读取 {1} 的剩余空间
        not made yet
        尚未生成
        notAfter={}; ends within 30 days, or cannot be read
        到期 {1}；30 天内到期，或无法读取
        notAfter={}
        到期 {1}
        the server is connected to it
        服务器已连接
        the server itself is not connected to it; its log is {}/mosquitto.log
        服务器自己没有连上；日志在 {1}/mosquitto.log
        the server does not say whether it is connected
        服务器没有说明是否已连接
        none is running on {}
        {1} 上没有运行中的服务器
        listens
        正在监听
        nobody listens; the server may use another
        无人监听；服务器可能使用其他端口
        taken by another program
        被其他程序占用
        free
        空闲
        no NTP server to ask; give --ntp HOST
        没有可询问的 NTP 服务器；请给出 --ntp 主机
        {} ms (limit {})
        {1} 毫秒（上限 {2}）
        no answer
        没有应答
        {} cannot be read, or holds no certificate (PEM)
        无法读取 {1}，或其中没有证书（PEM）
        {} cannot be written by this user
        当前用户无法写入 {1}
        the server is {} ms ahead; the gateway corrects it by itself
        服务器时钟快 {1} 毫秒；前置机会自动校正
        {} answers: a gateway runs and has this connection; its status page says how it stands
        {1} 有应答：前置机正在运行并占用该连接；状况见其状态页
        no connection within {} s
        {1} 秒内没有连上
        connected, and no answer within {} s: topics or signature
        已连接，但 {1} 秒内没有应答：主题或签名有误
        HTTP {}, code {}: {}; the answer is not signed with this secret
        HTTP {1}，返回码 {2}：{3}；答复不是用这个密钥签名的
        code {}: {}
        返回码 {1}：{2}
        {}, {} ms
        {1}，{2} 毫秒
        {}, lots {}
        {1}，{2} 个车场
        the server cannot be reached
        无法连接服务器
        Missing expected argument '{}'
        缺少参数 '{1}'
        Unknown option '{}'
        没有选项 '{1}'
        Unknown option '{}'. Did you mean '{}'?
        没有选项 '{1}'。是否为 '{2}'？
        Missing value for '{}'
        '{1}' 缺少值
        The value '{}' is invalid for '{}'
        '{2}' 的值 '{1}' 无效
        The value '{}' is invalid for '{}': {}
        '{2}' 的值 '{1}' 无效：{3}
        The value '{}' is invalid for '{}'. {}
        '{2}' 的值 '{1}' 无效。{3}
        Unexpected argument '{}'
        多余的参数 '{1}'
        {} unexpected arguments: {}
        {1} 个多余的参数：{2}
        No such file or directory
        没有这个文件或目录
        Permission denied
        权限不够
        No space left on device
        磁盘已满
        File exists
        文件已存在
        Is a directory
        是目录
        Not a directory
        不是目录
        Read-only file system
        文件系统只读
        Input/output error
        输入输出错误
        Connection refused
        连接被拒绝
        """
}
