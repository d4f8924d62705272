import ArgumentParser
import BerthDocs
import Foundation

struct Docs: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write OpenAPI, AsyncAPI, the reference in both languages and the signature vectors, all from the catalogue.")
    @Option(help: "The folder to write to.") var out: String

    func run() throws {
        try FileManager.default.createDirectory(atPath: out, withIntermediateDirectories: true)
        for (name, text) in Documents.all {
            try Data(text.utf8).write(to: URL(fileURLWithPath: out).appendingPathComponent(name))
            put("\(out)/\(name)")
        }
    }
}
