import ArgumentParser
import BerthLink
import BerthServer
import BerthWire
import Foundation
import Logging

// A city on more than one machine (docs/cluster.md).

struct Cluster: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "A city on PostgreSQL: which server leads it.", subcommands: [ClusterStatus.self, ClusterStepDown.self],
        defaultSubcommand: ClusterStatus.self)
}

struct ClusterStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Ask the database who leads the city. Works on every server, and takes no part.",
        discussion: "Exit code 1 where nobody leads.")
    @OptionGroup var folder: DataOption
    @OptionGroup var output: OutputOption
    @Option(help: "postgres://…; when left out, the setting `store` of berth.json or BERTH_STORE.") var store: String?

    func run() async throws {
        do {
            let settings = try await ServerSettings.read(
                dataDirectory: DataFolder(folder.data).path, flags: store.map { ["store": $0] } ?? [:])
            let status = try Server.clusterStatus(settings: settings)
            output.show(status)
            if status["leads"]?.boolValue != true { throw ExitCode(1) }
        } catch let code as ExitCode { throw code } catch { fail("\(error)") }
    }
}

struct ClusterStepDown: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "step-down", abstract: "Hand the city from this server, which leads it, to another one that stands by.",
        discussion: """
            The server finishes what it has begun and ends with exit code 75; its supervisor starts it again, and it stands by. Without another server
            it leads again.
            """)
    @OptionGroup var folder: DataOption
    @OptionGroup var output: OutputOption

    func run() async throws { output.show(await ask(["command": "cluster.stepDown"], data: folder.data)) }
}

struct StoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store", abstract: "Move a city between one machine's database and PostgreSQL.", subcommands: [StoreCopyCommand.self])
}

struct StoreCopyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "copy", abstract: "Copy a stopped city into an empty store, and prove that both are the same.",
        discussion: """
            With --to the database of the data folder is copied into PostgreSQL, with --from the other way. Both sides are sealed under the master key
            of the data folder. At the end every row that the journal makes is compared, and the cities that would start from both. The source is
            marked as moved: `berth serve` refuses it, unless --again is given. Pictures stay where they are.
            """)
    @OptionGroup var folder: DataOption
    @OptionGroup var output: OutputOption
    @Option(help: "postgres://user@host/database?realm=name, an empty realm.") var to: String?
    @Option(help: "postgres://…: the city that is copied into the data folder, which holds no database.") var from: String?

    func validate() throws {
        if (to == nil) == (from == nil) { throw ValidationError("one of --to and --from expected") }
    }

    func run() async throws {
        let progress = ProgressLine()
        do {
            umask(0o077)
            let settings = try await ServerSettings.read(dataDirectory: DataFolder(folder.data).path, flags: ["store": "sqlite"])
            let done = try Server.copyStore(
                settings: settings, address: to ?? from ?? "", isBack: from != nil, logger: Logger(label: "berth")
            ) { progress.show($0, 0, 0) }
            progress.end()
            output.show(done)
        } catch {
            progress.end()
            fail("\(error)")
        }
    }
}
