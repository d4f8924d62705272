import ArgumentParser
import BerthScene
import BerthWire
import Foundation

/// Plays a scene of annex B in the terminal.
struct SceneCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scene", abstract: "Play a scene: hospital, reservation or sharing.",
        discussion: """
            A scene is a text with tables that a domain expert can read and change; the real rules play it, and each step says what came of it.
            Exit code 1 when a step is not as it is told. --file plays your own.
            """)
    @Argument(help: "hospital, reservation or sharing; all when left out.") var name: String?
    @Option(help: "A scene of your own, in the same notation.") var file: String?
    @Option(help: "Seconds between two steps, to watch it.") var pace = 0.0

    func validate() throws {
        guard pace >= 0, pace <= 3_600 else { throw ValidationError("--pace \(pace): 0 to 3600 expected") }
    }

    func run() async throws {
        var isGood = true
        do {
            if let file {
                guard let text = try? String(contentsOfFile: file, encoding: .utf8) else { fail("\(file) cannot be read as UTF-8 text") }
                isGood = try await play(Scene(name: (file as NSString).lastPathComponent, text: text))
            } else {
                for name in name.map({ [$0] }) ?? Scene.names where isGood { isGood = try await play(Scene.load(name)) }
            }
        } catch let error as Scene.Unreadable {
            fail(error.description)
        } catch let error as Resources.Missing { fail(error.description) }
        if !isGood { throw ExitCode(1) }
    }

    private func play(_ scene: Scene) async throws -> Bool {
        let results = try SceneRunner.run(scene)
        let byLine = Dictionary(results.map { ($0.step.line, $0) }, uniquingKeysWith: { first, _ in first })
        for part in scene.parts {
            switch part {
            case .prose(let text): put(text + "\n")
            case .stage(let header, let rows):
                for row in rows { put("  " + zip(header, row.cells).map { "\($0) \($1)" }.joined(separator: ", ")) }
                put("")
            case .act(_, let steps):
                for step in steps {
                    guard let result = byLine[step.line] else { continue }
                    put("  \(result.isAsTold ? "✓" : "✗") \(step.cells.prefix(4).joined(separator: "  "))")
                    put("      \(result.fault ?? result.said)")
                    for line in Set(result.heard).sorted() { put("      → \(line)") }
                    if pace > 0 { try await Task.sleep(for: .milliseconds(Int64(pace * 1000))) }
                }
                put("")
            }
        }
        let good = results.filter(\.isAsTold).count
        put("\(scene.name): \(good)/\(results.count) 步如所述 steps are as told")
        return good == results.count
    }
}
