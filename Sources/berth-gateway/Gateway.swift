import ArgumentParser
import BerthGateway
import BerthWire
import CBerthPosix
import Foundation
import Logging

@main
struct BerthGatewayCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "berth-gateway", abstract: "车场前置机: the box at a parking lot.", subcommands: [Run.self])

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
                let configuration = try GatewayConfiguration(file: config)
                let gateway = try Gateway(configuration, logger: logger)
                try await gateway.runService { port in
                    let line = JSON.compact([
                        ("event", "ready"),
                        ("local", port.map { .string("http://\(configuration.listen?.host ?? "127.0.0.1"):\($0)") } ?? .null),
                        ("lots", .int(configuration.lots.count)),
                    ])
                    FileHandle.standardOutput.write(Data((line.string + "\n").utf8))
                }
            } catch {
                FileHandle.standardError.write(Data("berth-gateway: \(error)\n".utf8))
                throw ExitCode(1)
            }
        }
    }
}
