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
            Asks a running server; where none runs it reads DIR/berth.json, the environment and --set as `serve` does. It changes nothing. Exit code 1 with the reason when a name does not
            exist or a value cannot be.
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
            let given = try await given(flags)
            if !FileManager.default.fileExists(atPath: DataFolder(folder.data).path) {
                Output.error("berth: " + Speech.text("there is no folder \(folder.data); these are the settings without a file"))
            }
            let rows = SettingCatalogue.all.compactMap { setting -> JSON? in
                let own = given[setting.key]
                guard own != nil || !changed else { return nil }
                return [
                    "key": .string(setting.key), "value": .string(own?.value ?? setting.fallback),
                    "source": .string(own?.source ?? Speech.say("默认", "default")), "default": .string(setting.fallback),
                    "variable": .string(setting.variable), "meaning": .string(Speech.say(setting.zh, setting.en)),
                ]
            }
            output.show(
                rows,
                [
                    Column("key", "设置", "setting"), Column("value", "值", "value"), Column("source", "来源", "from"),
                    Column("meaning", "说明", "meaning"),
                ])
        } catch { fail("\(error)") }
    }

    /// The settings that something sets, as a running server has them; where none runs, as one that starts would read them.
    private func given(_ flags: [String: String]) async throws -> [String: (value: String, source: String)] {
        let data = DataFolder(folder.data)
        if flags.isEmpty, FileManager.default.fileExists(atPath: data.path + "/admin.sock") {
            do {
                let answer = try await SocketCall.post(["command": "config"], socketPath: data.socketPath())
                let members = answer["given"]?.objectValue?.members ?? []
                return Dictionary(
                    members.map { ($0.name, (value: $0.value["value"]?.stringValue ?? "", source: $0.value["source"]?.stringValue ?? "")) },
                    uniquingKeysWith: { first, _ in first })
            } catch is SocketCall.NobodyThere {}
        }
        return try await ServerSettings.read(dataDirectory: data.path, flags: flags).given
    }
}
