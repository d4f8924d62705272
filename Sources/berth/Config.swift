import ArgumentParser
import BerthLink
import BerthServer
import BerthWire
import Foundation

/// The settings of a city: those in force, and an example of the file.
struct Config: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the settings that are in force, and where each comes from.",
        discussion: """
            Asks a running server, and reads DIR/berth.json as the next start would: what the file says otherwise stands beside the value in force. Where no server runs it reads the file,
            the environment and --set as `serve` does. It changes nothing. Exit code 1 with the reason when a name does not exist or a value cannot be.
            """)
    @OptionGroup var folder: DataOption
    @OptionGroup var output: OutputOption
    @Option(name: .customLong("set"), help: "A setting as for serve: key=value.") var set: [String] = []
    @Flag(help: "Only those that something sets.") var changed = false
    @Flag(help: "Print a berth.json with every setting and its default.") var example = false

    func run() async throws {
        if example { return put(String(SettingCatalogue.example.dropLast())) }
        var flags: [String: String] = [:]
        for text in set {
            let (name, value) = try pair(text, "--set")
            flags[name] = value
        }
        do {
            let (given, isRunning) = try await given(flags)
            let next = isRunning ? try await nextStart(given) : given
            if !FileManager.default.fileExists(atPath: DataFolder(folder.data).path) {
                Output.error("berth: " + Speech.text("there is no folder \(folder.data); these are the settings without a file"))
            }
            let rows = SettingCatalogue.all.compactMap { setting -> JSON? in
                let own = given[setting.key]
                let later = isRunning ? Config.later(own, next[setting.key], fallback: setting.fallback) : nil
                guard own != nil || later != nil || !changed else { return nil }
                return .compact([
                    ("key", .string(setting.key)), ("value", .string(own?.value ?? setting.fallback)), ("next", .optional(later)),
                    ("source", .string(own?.source ?? Speech.say("默认", "default"))), ("default", .string(setting.fallback)),
                    ("variable", .string(setting.variable)), ("meaning", .string(Speech.say(setting.zh, setting.en))),
                ])
            }
            let hasNext = rows.contains { $0["next"] != nil }
            output.show(
                rows,
                [Column("key", "设置", "setting"), Column("value", "值", "value")]
                    + (hasNext ? [Column("next", "下次启动", "next start")] : [])
                    + [Column("source", "来源", "from"), Column("meaning", "说明", "meaning")])
        } catch { fail("\(error)") }
    }

    private static func isOfFile(_ setting: (value: String, source: String)) -> Bool { setting.source.hasSuffix("berth.json") }

    /// The settings with which the next start begins, where flags and environment of the running server stay as they are.
    private func nextStart(_ given: [String: (value: String, source: String)]) async throws -> [String: (value: String, source: String)] {
        let flags = given.filter { !Config.isOfFile($0.value) }.mapValues(\.value)
        return try await ServerSettings.read(dataDirectory: DataFolder(folder.data).path, flags: flags).given
    }

    /// The value of the next start where the file was changed after the last one; nil where it stays, or where a flag or the environment wins.
    private static func later(
        _ own: (value: String, source: String)?, _ next: (value: String, source: String)?, fallback: String
    ) -> String? {
        guard own.map(isOfFile) ?? true, next.map(isOfFile) ?? true else { return nil }
        let value = next?.value ?? fallback
        return value == own?.value ?? fallback ? nil : value
    }

    /// The settings that something sets, as a running server has them; where none runs, as one that starts would read them.
    private func given(
        _ flags: [String: String]
    ) async throws -> (given: [String: (value: String, source: String)], isRunning: Bool) {
        let data = DataFolder(folder.data)
        if flags.isEmpty, FileManager.default.fileExists(atPath: data.path + "/admin.sock") {
            do {
                let answer = try await SocketCall.post(["command": "config"], socketPath: data.socketPath())
                let members = answer["given"]?.objectValue?.members ?? []
                let given = Dictionary(
                    members.map { ($0.name, (value: $0.value["value"]?.stringValue ?? "", source: $0.value["source"]?.stringValue ?? "")) },
                    uniquingKeysWith: { first, _ in first })
                return (given, true)
            } catch is SocketCall.NobodyThere {}
        }
        return (try await ServerSettings.read(dataDirectory: data.path, flags: flags).given, false)
    }
}
