import ArgumentParser
import BerthLink
import BerthServer
import BerthWire
import Foundation

// Backups of a city, and putting them back.

struct BackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Make a backup: database, pictures, settings and TLS files. The server may run meanwhile.",
        discussion: """
            Makes a folder berth-TIME in the folder that --to names, and prints what is in it. It has its name when it is whole. The master key
            is not in it: keep a copy of DIR/master.key somewhere else. Without the key nobody can read a backup.
            """)
    @OptionGroup var folder: DataOption
    @OptionGroup var output: OutputOption
    @Option(help: "The folder that holds the backups.") var to: String
    @Option(help: "How many backups stay, this one included; all when left out.") var keep: Int?

    func validate() throws {
        if let keep, keep < 1 { throw ValidationError("--keep \(keep): 1 or more expected") }
    }

    func run() async throws {
        let progress = ProgressLine()
        do {
            umask(0o077)
            let done = try Backup(data: folder.data, target: to).make(keep: keep, now: SystemClock.now()) { progress.show($0, $1, $2) }
            progress.end()
            output.show(done)
        } catch {
            progress.end()
            fail("\(error)")
        }
    }
}

struct RestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Put a backup back into a folder that holds no data, and look through it.",
        discussion: """
            The backup is checked against its manifest and the key before, and looked through (as by `berth verify`) after. Order numbers are
            skipped and every lot's down log begins anew, because the city went on after the backup. Start the server as usual then.
            Exit code 1 when anything differs.
            """)
    @OptionGroup var folder: DataOption
    @OptionGroup var output: OutputOption
    @Option(help: "A backup, or the folder that holds them: then the newest.") var from: String
    @Option(
        help: "The file with the master key, which is copied into the data folder; when left out, BERTH_MASTER_KEY_FILE or DIR/master.key.")
    var key: String?
    @Flag(inversion: .prefixedNo, help: "Look through the whole database before it may be started.") var verify = true

    func run() async throws {
        let progress = ProgressLine()
        do {
            let done = try Restore(from: from, data: folder.data).run(keyFile: key, verifies: verify) { progress.show($0, $1, $2) }
            progress.end()
            output.show(done)
            if done["findings"]?.arrayValue?.isEmpty == false { throw ExitCode(1) }
        } catch let code as ExitCode { throw code } catch {
            progress.end()
            fail("\(error)")
        }
    }
}
