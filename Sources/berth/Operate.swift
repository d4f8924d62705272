import ArgumentParser
import BerthLink
import BerthWire
import Foundation

// An operator's commands for credentials, lots, the audit record and notifications, beside issuing keys.

/// Runs one command at the desk and prints its answer.
func ask(_ command: JSON, data: String) async -> JSON {
    do { return try await desk(command, data: data) } catch { fail("\(error)") }
}

extension Keys {
    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a second secret; the first stays good until the party has signed with the new one, and for its grace.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "The credential.") var appId: String

        func run() async throws { output.show(await ask(["command": "keys.rotate", "appId": .string(appId)], data: folder.data)) }
    }

    struct Web: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the three credentials of the city's pages, for `berth web` on another machine. They are secret.")
        @OptionGroup var folder: DataOption

        func run() async throws { put(await ask(["command": "keys.web"], data: folder.data).string) }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End a credential at once: its requests are refused and its open MQTT connections closed.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "The credential.") var appId: String

        func run() async throws { output.show(await ask(["command": "keys.revoke", "appId": .string(appId)], data: folder.data)) }
    }

    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "set", abstract: "Set what a credential has beside its secret: callback address, hosts of return, rate.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "The credential.") var appId: String
        @Option(help: "https://… to which pushes and notifications are posted; empty for none.") var callback: String?
        @Option(help: "Hosts to which a redirect may return, in place of those it had.") var returnHost: [String] = []
        @Option(help: "Plain calls a second.") var rate: Int?
        @Flag(help: "Ask for no client certificate any more.") var noCertificate = false

        func run() async throws {
            let command = JSON.compact([
                ("command", "keys.set"), ("appId", .string(appId)), ("callback", .optional(callback)),
                ("returnHosts", returnHost.isEmpty ? .null : .array(returnHost.map { .string($0) })),
                ("rate", rate.map { .int($0) } ?? .null), ("noCertificate", noCertificate ? true : .null),
            ])
            output.show(await ask(command, data: folder.data))
        }
    }

    struct Certificate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a client certificate, without which the credential's HTTPS requests are refused (207) from now on.")
        @OptionGroup var folder: DataOption
        @Option(help: "The credential.") var appId: String
        @Option(help: "Folder for appId.pem and appId.key.") var out: String

        func run() async throws {
            // Once it is made the credential needs it: first a place for it.
            let isThere = (try? FileManager.default.createDirectory(atPath: out, withIntermediateDirectories: true)) != nil
            guard isThere, FileManager.default.isWritableFile(atPath: out) else { fail("\(out) cannot be written") }
            let answer = await ask(["command": "keys.certificate", "appId": .string(appId)], data: folder.data)
            for (name, ext) in [("certificate", "pem"), ("key", "key")] {
                let file = "\(out)/\(appId).\(ext)"
                let isMade = FileManager.default.createFile(
                    atPath: file, contents: Data((answer[name]?.stringValue ?? "").utf8), attributes: [.posixPermissions: 0o600])
                guard isMade else { fail("\(file) cannot be written") }
                put(file)
            }
        }
    }
}

extension Lots {
    /// Shows how far a lot is: its stage, and each item of the checklist.
    fileprivate static func showOnboarding(_ park: String, _ answer: JSON, _ output: OutputOption, withItems: Bool) {
        guard output.isTable else { return put(answer.string) }
        let names: [Int64: (String, String)] = [1: ("预约", "reservation"), 2: ("共享", "sharing"), 3: ("公共服务", "public service")]
        let opened = (answer["opened"]?.arrayValue ?? []).compactMap { $0.intValue.flatMap { names[$0] } }.map { Speech.say($0.0, $0.1) }
            .joined(separator: Speech.say("、", ", "))
        put(
            Speech.say(
                "\(park)：\(answer["stage"]?.stringValue ?? "")（\(answer["onboarding"]?.stringValue ?? "")），已开放业务：\(opened.isEmpty ? "无" : opened)",
                "\(park): \(answer["stage"]?.stringValue ?? "") (\(answer["onboarding"]?.stringValue ?? "")), opened for: \(opened.isEmpty ? "nothing" : opened)"
            ))
        guard withItems else { return }
        let verdicts = ["passed": ("✓ 通过", "✓ passed"), "failed": ("✗ 不通过", "✗ failed"), "missing": ("· 未提供", "· missing")]
        let rows = (answer["items"]?.arrayValue ?? []).map { row -> JSON in
            var members = row.objectValue ?? JSONObject()
            let verdict = verdicts[row["verdict"]?.stringValue ?? ""]
            members["verdict"] = .string(verdict.map { Speech.say($0.0, $0.1) } ?? "?")
            return .object(members)
        }
        output.show(
            rows,
            [
                Column("verdict", "结果", "verdict"), Column("id", "条目", "item"), Column(Speech.isChinese ? "zh" : "en", "要求", "requirement"),
                Column(Speech.isChinese ? "whyZh" : "why", "说明", "why"),
            ])
    }

    struct Checklist: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "onboarding", abstract: "How far a lot is: its stage, and each item of the construction checklist (annex A).")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "The lot.") var park: String

        func run() async throws {
            let answer = await ask(["command": "lots.onboarding", "park": .string(park)], data: folder.data)
            Lots.showOnboarding(park, answer, output, withItems: true)
        }
    }

    struct Attest: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Say that somebody has looked at what no message can prove.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "The lot.") var park: String
        @Option(help: "The item, e.g. backupPower.") var item: String
        @Option(help: "The person that has looked.") var by: String
        @Flag(help: "Take it back.") var withdraw = false

        func run() async throws {
            let command: JSON = [
                "command": "lots.attest", "park": .string(park), "item": .string(item), "by": .string(by), "withdraw": .bool(withdraw),
            ]
            Lots.showOnboarding(park, await ask(command, data: folder.data), output, withItems: false)
        }
    }

    struct Approve: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Put a lot into service for every business whose items pass.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "The lot.") var park: String

        func run() async throws {
            let answer = await ask(["command": "lots.approve", "park": .string(park)], data: folder.data)
            Lots.showOnboarding(park, answer, output, withItems: false)
        }
    }

    struct Suspend: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Take a lot out of service: no new orders; what is in force stays.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "The lot.") var park: String

        func run() async throws {
            let answer = await ask(["command": "lots.suspend", "park": .string(park)], data: folder.data)
            Lots.showOnboarding(park, answer, output, withItems: false)
        }
    }

    struct Resume: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Put a suspended lot back into service.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "The lot.") var park: String

        func run() async throws {
            let answer = await ask(["command": "lots.resume", "park": .string(park)], data: folder.data)
            Lots.showOnboarding(park, answer, output, withItems: false)
        }
    }
}

struct Audit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "The audit record: every write by an operator, every look at a whole plate.", subcommands: [List.self, Verify.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Print records, oldest first.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "Only after this record.") var after = 0
        @Option(help: "Only the last so many.") var last: Int?

        func validate() throws {
            if let last, !(1...100_000).contains(last) { throw ValidationError("--last \(last): 1 to 100000 expected") }
        }

        func run() async throws {
            var after = Int64(after)
            let columns = [
                Column("id", "编号", "id"), Column("at", "时间", "at", .time), Column("actor", "操作方", "actor"),
                Column("action", "操作", "action"),
                Column("target", "对象", "target"), Column("detail", "内容", "detail"),
            ]
            if let last {
                let answer = await ask(["command": "audit.list", "last": .int(last), "after": .int(after)], data: folder.data)
                return output.show(answer["records"]?.arrayValue ?? [], columns)
            }
            var all: [JSON] = []
            while true {
                let rows = await ask(["command": "audit.list", "after": .int(after)], data: folder.data)["records"]?.arrayValue ?? []
                if output.isTable { all += rows } else { output.show(rows, columns) }
                guard let last = rows.last?["id"]?.intValue else { break }
                after = last
            }
            if output.isTable { output.show(all, columns) }
        }
    }

    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Walk the chain of hashes; exit code 1 when a record was changed or taken out. Keep the last hash elsewhere to notice a cut end."
        )
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption

        func run() async throws {
            let answer = await ask(["command": "audit.verify"], data: folder.data)
            output.show(answer)
            if answer["intact"]?.boolValue != true { throw ExitCode(1) }
        }
    }
}

struct Notices: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "callbacks", abstract: "Notifications that providers have not confirmed (A17).", subcommands: [List.self, Retry.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Those under way, and those that were given up.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption

        func run() async throws {
            let answer = await ask(["command": "tidings.list"], data: folder.data)
            guard output.isTable else { return put(answer.string) }
            let rows = [("open", Speech.say("进行中", "under way")), ("failed", Speech.say("已放弃", "given up"))].flatMap { name, state in
                (answer[name]?.arrayValue ?? []).map { row -> JSON in
                    var members = row.objectValue ?? JSONObject()
                    members.append("state", .string(state))
                    return .object(members)
                }
            }
            output.show(
                rows,
                [
                    Column("state", "状态", "state"), Column("appId", "应用编号", "appId"), Column("service", "服务", "service"),
                    Column("data", "内容", "data"),
                ])
        }
    }

    struct Retry: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Try again what was given up for one provider.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "The provider's credential.") var appId: String

        func run() async throws { output.show(await ask(["command": "tidings.retry", "appId": .string(appId)], data: folder.data)) }
    }
}

/// The last calls of a party, for the desk.
struct Calls: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "The last 50 calls of a party, newest first, with codes and the field that was wrong; since the server started.")
    @OptionGroup var folder: DataOption
    @OptionGroup var output: OutputOption
    @Option(help: "The credential.") var appId: String
    @Flag(help: "Only those that were refused.") var refused = false

    func run() async throws {
        let answer = await ask(["command": "calls.list", "appId": .string(appId)], data: folder.data)
        let rows = (answer["calls"]?.arrayValue ?? []).filter { !refused || $0["code"] != 0 }
        output.show(
            rows,
            [
                Column("at", "时间", "at", .time), Column("service", "服务", "service"), Column("parkCode", "车场", "lot"),
                Column("code", "返回码", "code"),
                Column(Speech.isChinese ? "reason" : "meaning", "说明", "meaning"), Column("hint", "字段", "field"),
                Column("requestId", "请求号", "requestId"), Column("mqtt", "经 MQTT", "over MQTT", .flag),
            ])
    }
}

extension Lots {
    private static let columns = [
        Column("parkCode", "车场编码", "lot"), Column("parkName", "名称", "name"), Column("stage", "阶段", "stage"),
        Column("online", "在线", "connected", .flag),
        Column("occupied", "在场", "inside"), Column("totalSpace", "车位", "places"), Column("booked", "已约", "booked"),
        Column("downBehind", "待收", "behind"), Column("queueDepth", "待发", "queue"), Column("clockOffsetMs", "时钟偏差 ms", "clock ms"),
        Column("openCases", "待核对", "cases"), Column("deadLetters", "死信", "dead letters"),
    ]

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "All lots and how they stand; those that are not connected with --offline.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Flag(help: "Only those that are not connected.") var offline = false

        func run() async throws {
            let rows = await ask(["command": "lots.list"], data: folder.data)["lots"]?.arrayValue ?? []
            output.show(rows.filter { !offline || $0["online"]?.boolValue != true }, columns)
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "One lot: how it stands, with its link and its rules.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "The lot.") var park: String

        func run() async throws {
            let answer = await ask(["command": "lots.list", "park": .string(park)], data: folder.data)
            guard let row = answer["lots"]?.arrayValue?.first else { fail("--park \(park): there is no such lot") }
            output.show(
                row,
                Lots.columns + [
                    Column("address", "地址", "address"), Column("asOf", "数据时间", "data of", .time),
                    Column("offlineSince", "离线自", "offline since", .time),
                    Column("saturationPct", "饱和度 %", "saturation %"), Column("reserveQuota", "预约配额", "places to reserve"),
                    Column("shareQuota", "共享配额", "places to share"), Column("waiting", "候补", "waiting"),
                    Column("overstays", "超时", "overstays"),
                    Column("policy", "单独设置", "own rules"),
                ])
        }
    }
}

/// How full lots were, counted before the city had this server.
struct Occupancy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "How full lots usually are: what forecasts rest on.", subcommands: [Import.self])

    struct Import: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Bring in counts of earlier days.",
            discussion: """
                A CSV file without a header: parkCode, yyyy-MM-dd, and 48 numbers, the occupied places at each half hour from 00:00 on; empty
                where nobody counted. A bad row is reported with its line, and nothing of the file is taken.
                """)
        @OptionGroup var folder: DataOption
        @Argument(help: "The file.") var file: String

        func run() async throws {
            let csv: CSVFile
            do { csv = try CSVFile(path: file) } catch { fail(error.description) }
            if csv.isGB18030 { Output.error("berth: " + Speech.text("\(file) is not UTF-8; it is read as GB18030")) }
            var rows: [JSON] = []
            var lines: [String: Int] = [:]
            var faults: [CSVReader.Fault] = []
            var faultCount = 0
            for next in CSVReader(csv.bytes) {
                do throws(CSVReader.Fault) {
                    let record = try next.get()
                    if record.fields.allSatisfy({ $0.utf8.allSatisfy { $0 == 0x20 } }) { continue }
                    let (key, row) = try Import.row(record)
                    if let line = lines[key] { throw CSVReader.Fault(line: record.line, reason: "the same lot and day as line \(line)") }
                    lines[key] = record.line
                    rows.append(row)
                } catch {
                    faultCount += 1
                    if faults.count < 20 { faults.append(error) }
                }
            }
            guard faultCount == 0 else {
                let more = faultCount > faults.count ? "\n… and \(faultCount - faults.count) more bad rows" : ""
                fail("\(file): nothing was taken\n" + faults.map(\.description).joined(separator: "\n") + more)
            }
            guard !rows.isEmpty else { fail("\(file) has no row") }
            let parts = stride(from: 0, to: rows.count, by: 2_000).map { Array(rows[$0..<min(rows.count, $0 + 2_000)]) }
            // Nothing of the file is taken unless all of it can be: with several parts, all are looked at first.
            let progress = ProgressLine()
            if parts.count > 1 {
                for (index, part) in parts.enumerated() {
                    progress.show(Speech.say("核对", "looking"), Int64(index), Int64(parts.count))
                    _ = await ask(["command": "occupancy.import", "rows": .array(part), "check": true], data: folder.data)
                }
            }
            var counts: Int64 = 0
            for (index, part) in parts.enumerated() {
                progress.show(Speech.say("导入", "importing"), Int64(index), Int64(parts.count))
                let done = await ask(
                    ["command": "occupancy.import", "rows": .array(part), "make": .bool(index == parts.count - 1)], data: folder.data)
                counts += min(max(done["counts"]?.intValue ?? 0, 0), 48 * 2_000)
            }
            progress.end()
            put(JSON.object(JSONObject([("days", .int(rows.count)), ("counts", .int(counts))])).string)
        }

        /// One line of the file: its unique key, and the row as the server takes it.
        private static func row(_ record: CSVReader.Record) throws(CSVReader.Fault) -> (key: String, row: JSON) {
            func wrong(_ reason: String) -> CSVReader.Fault { CSVReader.Fault(line: record.line, reason: reason) }
            let cells = record.fields.map { $0.trimmingCharacters(in: .whitespacesAndNewlines) }
            guard cells.count == 50 else { throw wrong("\(cells.count) cells, 50 expected: parkCode, yyyy-MM-dd and 48 counts") }
            guard Envelope.isParkCode(cells[0]) else { throw wrong("the first cell is no parkCode") }
            let form = Array(cells[1].utf8)
            let isDate =
                form.count == 10
                && form.enumerated().allSatisfy { index, byte in
                    index == 4 || index == 7 ? byte == UInt8(ascii: "-") : (48...57).contains(byte)
                }
            guard isDate, let day = try? Decode.day(FieldReader(JSONObject([("date", .string(cells[1]))])), "date") else {
                throw wrong("the second cell is no date yyyy-MM-dd")
            }
            var counts: [JSON] = []
            for (index, cell) in cells.dropFirst(2).enumerated() {
                guard !cell.isEmpty else {
                    counts.append(-1)
                    continue
                }
                guard let count = CSVValue.whole(cell), count <= 1_000_000 else {
                    throw wrong("cell \(index + 3) is no count from 0 to 1000000")
                }
                counts.append(.int(count))
            }
            return (
                "\(cells[0]) \(day)",
                ["park": .string(cells[0]), "day": .int(day), "counts": .array(counts), "line": .int(record.line)]
            )
        }
    }
}

extension Lots {
    struct Code: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a lot's code, or check one.",
            discussion: """
                A code has 6 digits of the region, 3 of the street, 1 of the class, 4 of the serial number, and a check digit (ISO 7064 MOD 11,10).
                `berth lots code --region 440305 --street 001 --class 1 --serial 12` prints one; `--check CODE` ends with exit code 1 and the reason
                when the code is not of this form. A lot may have any other parkCode.
                """)
        @Option(help: "6 digits.") var region: String?
        @Option(help: "3 digits.") var street: String?
        @Option(name: .customLong("class"), help: "1 digit.") var lotClass: String?
        @Option(help: "0 to 9999.") var serial: Int?
        @Option(help: "A code to check.") var check: String?

        func validate() throws {
            let parts = [region, street, lotClass, serial.map { String($0) }]
            guard check == nil ? parts.allSatisfy({ $0 != nil }) : parts.allSatisfy({ $0 == nil }) else {
                throw ValidationError("give --region, --street, --class and --serial, or --check alone")
            }
        }

        func run() throws {
            if let check {
                if let fault = LotCode.fault(of: check) { fail("\(check): \(fault)") }
                return put(Speech.text("\(check): valid"))
            }
            do {
                put(try LotCode.make(region: region ?? "", street: street ?? "", lotClass: lotClass ?? "", serial: serial ?? 0))
            } catch { fail("\(error)") }
        }
    }
}
