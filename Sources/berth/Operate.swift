import ArgumentParser
import BerthWire
import Foundation

// What an operator does with credentials, lots, the audit record and notifications, beside issuing keys.

/// Runs one command at the desk and prints its answer.
private func ask(_ command: JSON, data: String) async -> JSON {
    do { return try await desk(command, data: data) } catch { fail("\(error)") }
}

extension Keys {
    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a second secret; the first stays good until the party has signed with the new one, and for its grace.")
        @OptionGroup var folder: DataOption
        @Option(help: "The credential.") var appId: String

        func run() async throws { print(await ask(["command": "keys.rotate", "appId": .string(appId)], data: folder.data).string) }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End a credential at once: its requests are refused and its open MQTT connections closed.")
        @OptionGroup var folder: DataOption
        @Option(help: "The credential.") var appId: String

        func run() async throws { print(await ask(["command": "keys.revoke", "appId": .string(appId)], data: folder.data).string) }
    }

    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "set", abstract: "Set what a credential has beside its secret: callback address, hosts of return, rate.")
        @OptionGroup var folder: DataOption
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
            print(await ask(command, data: folder.data).string)
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
                print(file)
            }
        }
    }
}

extension Lots {
    struct Checklist: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "onboarding", abstract: "How far a lot is: its stage, and each item of the construction checklist (annex A).")
        @OptionGroup var folder: DataOption
        @Option(help: "The lot.") var park: String
        @Flag(help: "As JSON.") var json = false

        func run() async throws {
            let answer = await ask(["command": "lots.onboarding", "park": .string(park)], data: folder.data)
            if json { return print(answer.string) }
            print(
                "\(park): \(answer["stage"]?.stringValue ?? "") (\(answer["onboarding"]?.stringValue ?? "")), opened for \(answer["opened"]?.string ?? "[]")"
            )
            for row in answer["items"]?.arrayValue ?? [] {
                let mark = ["passed": "✓", "failed": "✗", "missing": "·"][row["verdict"]?.stringValue ?? ""] ?? "?"
                print("  \(mark) \(row["id"]?.stringValue ?? "") \(row["zh"]?.stringValue ?? "") — \(row["why"]?.stringValue ?? "")")
            }
        }
    }

    struct Attest: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Say that somebody has looked at what no message can prove.")
        @OptionGroup var folder: DataOption
        @Option(help: "The lot.") var park: String
        @Option(help: "The item, e.g. backupPower.") var item: String
        @Option(help: "Who has looked.") var by: String
        @Flag(help: "Take it back.") var withdraw = false

        func run() async throws {
            let command: JSON = [
                "command": "lots.attest", "park": .string(park), "item": .string(item), "by": .string(by), "withdraw": .bool(withdraw),
            ]
            print(await ask(command, data: folder.data)["stage"]?.string ?? "")
        }
    }

    struct Approve: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Put a lot into service for every business whose items pass.")
        @OptionGroup var folder: DataOption
        @Option(help: "The lot.") var park: String

        func run() async throws {
            let answer = await ask(["command": "lots.approve", "park": .string(park)], data: folder.data)
            print("\(answer["stage"]?.stringValue ?? "") \(answer["opened"]?.string ?? "")")
        }
    }

    struct Suspend: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Take a lot out of service: no new orders; what is in force stays.")
        @OptionGroup var folder: DataOption
        @Option(help: "The lot.") var park: String

        func run() async throws {
            print(await ask(["command": "lots.suspend", "park": .string(park)], data: folder.data)["stage"]?.string ?? "")
        }
    }

    struct Resume: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Put a suspended lot back into service.")
        @OptionGroup var folder: DataOption
        @Option(help: "The lot.") var park: String

        func run() async throws {
            print(await ask(["command": "lots.resume", "park": .string(park)], data: folder.data)["stage"]?.string ?? "")
        }
    }
}

struct Audit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "The audit record: every write by an operator, every look at a whole plate.", subcommands: [List.self, Verify.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Print records, one a line, oldest first.")
        @OptionGroup var folder: DataOption
        @Option(help: "Only after this record.") var after = 0

        func run() async throws {
            var after = Int64(after)
            while true {
                let rows = await ask(["command": "audit.list", "after": .int(after)], data: folder.data)["records"]?.arrayValue ?? []
                for row in rows { print(row.string) }
                guard let last = rows.last?["id"]?.intValue else { break }
                after = last
            }
        }
    }

    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Walk the chain of hashes; exit code 1 when a record was changed or taken out. Keep the last hash elsewhere to notice a cut end."
        )
        @OptionGroup var folder: DataOption

        func run() async throws {
            let answer = await ask(["command": "audit.verify"], data: folder.data)
            print(answer.string)
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

        func run() async throws { print(await ask(["command": "tidings.list"], data: folder.data).string) }
    }

    struct Retry: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Try again what was given up for one provider.")
        @OptionGroup var folder: DataOption
        @Option(help: "The provider's credential.") var appId: String

        func run() async throws { print(await ask(["command": "tidings.retry", "appId": .string(appId)], data: folder.data).string) }
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
            guard let text = try? String(contentsOfFile: file, encoding: .utf8) else { fail("\(file) cannot be read") }
            var rows: [JSON] = []
            var faults: [String] = []
            for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() where !line.isEmpty {
                let cells = line.split(separator: ",", omittingEmptySubsequences: false).map { $0.trimmingCharacters(in: .whitespaces) }
                guard cells.count == 50 else {
                    faults.append("line \(number + 1): \(cells.count) cells, 50 expected")
                    continue
                }
                let counts = cells.dropFirst(2).map { $0.isEmpty ? -1 : Int($0) ?? -2 }
                guard let day = try? Decode.day(Fields(JSONObject([("date", .string(cells[1]))])), "date"), !cells[0].isEmpty,
                    counts.allSatisfy({ $0 >= -1 && $0 <= 1_000_000 })
                else {
                    faults.append("line \(number + 1): parkCode, yyyy-MM-dd and counts expected")
                    continue
                }
                rows.append(["park": .string(cells[0]), "day": .int(day), "counts": .array(counts.map { .int($0) })])
            }
            guard faults.isEmpty else { fail(faults.prefix(20).joined(separator: "\n")) }
            for start in stride(from: 0, to: rows.count, by: 2_000) {
                let part = Array(rows[start..<min(rows.count, start + 2_000)])
                let isLast = start + 2_000 >= rows.count
                _ = await ask(["command": "occupancy.import", "rows": .array(part), "make": .bool(isLast)], data: folder.data)
            }
            print(JSON.object(JSONObject([("days", .int(rows.count))])).string)
        }
    }
}
