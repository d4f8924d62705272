import ArgumentParser
import BerthLink
import BerthServer
import BerthWire
import Foundation
import Logging

// Whether the database still is what it was, and what to do when it is not.

struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look through the database: every entry of the journal, what it makes, ledger, kept answers and audit chain.",
        discussion:
            "Prints what differs, one finding a line; exit code 1 when there is any. Works while the server runs, and on a stopped one.")
    @OptionGroup var folder: DataOption

    func run() async throws {
        do {
            let progress = ProgressLine()
            progress.show(Speech.say("正在核对数据库", "looking through the database"), 0, 0)
            defer { progress.end() }
            let findings = try await findings()
            progress.end()
            for finding in findings { put(finding) }
            guard findings.isEmpty else { throw ExitCode(1) }
            put(Speech.text("the database is what its journal makes of it"))
        } catch let code as ExitCode { throw code } catch { fail("\(error)") }
    }

    private func findings() async throws -> [String] {
        let data = DataFolder(folder.data)
        try data.requireData()
        if FileManager.default.fileExists(atPath: data.path + "/admin.sock") {
            do {
                let answer = try await SocketCall.post(["command": "verify"], socketPath: data.socketPath())
                return (answer["findings"]?.arrayValue ?? []).compactMap(\.stringValue)
            } catch is SocketCall.NobodyThere {}
        }
        let settings = try await ServerSettings.read(dataDirectory: data.path, flags: [:])
        umask(0o077)
        return try Server.verify(settings: settings, logger: Logger(label: "berth"))
    }
}

struct Restored: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say that a backup was put back: order numbers are skipped, and every lot's down log begins anew with a snapshot.",
        discussion: "On the folder of a stopped server, before it is started. It stands on the audit record.")
    @OptionGroup var folder: DataOption

    func run() async throws {
        do {
            let data = DataFolder(folder.data)
            try data.requireData()
            if FileManager.default.fileExists(atPath: data.path + "/admin.sock") {
                do {
                    _ = try await SocketCall.post(["command": "status"], socketPath: data.socketPath())
                    fail("the server of this folder runs: stop it first")
                } catch is SocketCall.NobodyThere {}
            }
            let settings = try await ServerSettings.read(dataDirectory: data.path, flags: [:])
            umask(0o077)
            let lineage = try Server.restored(settings: settings, logger: Logger(label: "berth"))
            put(Speech.text("lineage \(lineage): the next start begins new down logs"))
        } catch { fail("\(error)") }
    }
}

extension Lots {
    struct Dead: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the dead letters: records of lots that were refused and that no correction has made good, newest first.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "Of this lot only.") var park: String?

        func run() async throws {
            let answer = await ask(JSON.compact([("command", "dead.list"), ("park", .optional(park))]), data: folder.data)
            output.show(
                answer["entries"]?.arrayValue ?? [],
                [
                    Column("at", "时间", "at", .time), Column("park", "车场", "lot"), Column("seq", "序号", "seq"),
                    Column("service", "服务", "service"),
                    Column("recordNo", "记录号", "record"), Column("code", "返回码", "code"), Column("reason", "原因", "reason"),
                ])
        }
    }
}
