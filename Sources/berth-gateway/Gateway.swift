import ArgumentParser
import BerthGateway
import BerthLink
import BerthWire
import CBerthPosix
import Foundation
import Logging

@main
enum Main {
    static func main() async {
        berth_open_standard_descriptors()
        berth_restart_without_crash_report(CommandLine.unsafeArgv)
        berth_ignore_closed_pipes()
        berth_keep_secrets()
        do {
            var command = try BerthGatewayCommand.parseAsRoot()
            if var command = command as? any AsyncParsableCommand { try await command.run() } else { try command.run() }
        } catch {
            guard Speech.isChinese, BerthGatewayCommand.exitCode(for: error) == .validationFailure else {
                BerthGatewayCommand.exit(withError: error)
            }
            put(Speech.usage(BerthGatewayCommand.fullMessage(for: error)), to: STDERR_FILENO)
            exit(64)
        }
    }

    /// Writes one line. A reader that has left, or a full disk, is no reason to end.
    static func put(_ text: String, to descriptor: Int32) {
        let bytes = Array((text + "\n").utf8)
        _ = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    }
}

struct BerthGatewayCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "berth-gateway", abstract: "车场前置机: the box at a parking lot.", version: Version.text,
        subcommands: [Run.self, Check.self])

    struct Run: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Run the gateway of one lot, or of many.",
            discussion: """
                Prints one line of JSON on standard output when its local API listens; logs go to standard error.
                The file is described in docs/gateway.md.
                """)
        @Option(help: "The configuration file.") var config: String
        @Option(help: "trace, debug, info, notice, warning, error.") var logLevel = "info"

        func run() async throws {
            LoggingSystem.bootstrap { label in StreamLogHandler.standardError(label: label) }
            var logger = Logger(label: "berth-gateway")
            logger.logLevel = Logger.Level(rawValue: logLevel) ?? .info
            _ = berth_raise_descriptor_limit()
            berth_survive_full_disk()
            do {
                var configuration = try GatewayConfiguration(file: config)
                let tokenFile = try token(&configuration, logger)
                let (host, lotCount) = (configuration.listen?.host ?? "127.0.0.1", configuration.lots.count)
                let gateway = try Gateway(configuration, logger: logger)
                try await gateway.runService { port in
                    let line = JSON.compact([
                        ("event", "ready"),
                        ("local", port.map { .string("http://\(host.contains(":") ? "[\(host)]" : host):\($0)") } ?? .null),
                        ("tokenFile", port == nil ? .null : .optional(tokenFile)), ("lots", .int(lotCount)),
                    ])
                    Main.put(line.string, to: STDOUT_FILENO)
                }
            } catch {
                Main.put("berth-gateway: \(Speech.text("\(error)"))", to: STDERR_FILENO)
                throw ExitCode(1)
            }
        }

        /// Gives the local API its token and says where it is kept; nil where there is no local API.
        private func token(_ configuration: inout GatewayConfiguration, _ logger: Logger) throws -> String? {
            guard configuration.listen != nil else { return nil }
            let (place, isNew) = try GatewayToken.ensure(&configuration, file: config)
            switch place {
            case .configuration:
                if isNew { logger.notice("a token for the local API was made", metadata: ["file": "\(config)", "member": "token"]) }
                return config
            case .file(let name):
                logger.notice(
                    isNew
                        ? "a token for the local API was made; the configuration cannot be written, so it is kept beside the spool"
                        : "the token of the local API is kept beside the spool", metadata: ["file": "\(name)"])
                return name
            }
        }
    }

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Try a configuration from the file to an answer over each carrier.",
            discussion: """
                Each line is ok, FAILED or unknown. The exit code is 1 when anything failed; unknown is not failed.
                No record is sent. Beside a gateway that runs (its local API answers) MQTT is left out; stop one without a local API before.
                """)
        @Option(help: "The configuration file.") var config: String

        func run() async throws {
            LoggingSystem.bootstrap { label in StreamLogHandler.standardError(label: label) }
            var logger = Logger(label: "berth-gateway")
            logger.logLevel = .error
            var failures = 0
            func show(_ finding: GatewayCheck.Finding) {
                let word = [.ok: "ok     ", .failed: "FAILED ", .unknown: "unknown"][finding.verdict] ?? ""
                if finding.verdict == .failed { failures += 1 }
                Main.put("\(word)  \(Speech.say(finding.zh, finding.en)): \(Speech.text(finding.detail))", to: STDOUT_FILENO)
            }
            do {
                let configuration = try GatewayConfiguration(file: config)
                show(.init(verdict: .ok, zh: "配置文件", en: "configuration", detail: "\(config), lots \(configuration.lots.count)"))
                await GatewayCheck(configuration, logger: logger).run(report: show)
            } catch { show(.init(verdict: .failed, zh: "配置文件", en: "configuration", detail: "\(error)")) }
            if failures > 0 { throw ExitCode(1) }
        }
    }
}
