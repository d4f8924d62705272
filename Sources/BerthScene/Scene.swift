import BerthCore
import BerthWire
import Foundation

/// One line of a scene's table: at a time somebody does something, and something should come of it.
public struct SceneStep: Sendable, Equatable {
    /// In the file, from 1.
    public var line: Int
    public var cells: [String]
    var time: String { cells[0] }
    var who: String { cells[1] }
    var does: String { cells[2] }
    var with: String { cells[3] }
    var then: String { cells[4] }
}

/// A story that a domain expert can read and change: text, and tables that are executed (annex B of the seed). The file is the test, the demo
/// and the page at once.
public struct Scene: Sendable {
    public enum Part: Sendable {
        /// Anything that is not a table: shown as it is.
        case prose(String)
        /// The lots of the scene.
        case stage(header: [String], rows: [(line: Int, cells: [String])])
        case act(header: [String], steps: [SceneStep])
    }

    public struct Unreadable: Error, CustomStringConvertible, Sendable {
        public let line: Int
        public let why: String
        public var description: String { "line \(line): \(why)" }
    }

    public let name: String
    public let title: String
    public let parts: [Part]

    /// The scenes of annex B, in its order: public-service parking, reservation, sharing.
    public static let names = ["hospital", "reservation", "sharing"]

    public static func load(_ name: String) throws -> Scene {
        guard names.contains(name) else {
            throw Unreadable(line: 0, why: "no scene is named \(name); there are \(names.joined(separator: ", "))")
        }
        let file = "\(try Resources.folder("Scenes", of: "BerthScene"))/\(name).md"
        guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
            throw Unreadable(line: 0, why: "\(file) cannot be read")
        }
        return try Scene(name: name, text: text)
    }

    public init(name: String, text: String) throws(Unreadable) {
        var parts: [Part] = []
        var prose: [String] = []
        var title = name
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        var index = 0
        func flush() {
            let text = prose.joined(separator: "\n").trimmingCharacters(in: .whitespacesAndNewlines)
            if !text.isEmpty { parts.append(.prose(text)) }
            prose = []
        }
        while index < lines.count {
            let line = lines[index]
            if line.hasPrefix("# ") { title = String(line.dropFirst(2)) }
            guard line.hasPrefix("|") else {
                prose.append(line)
                index += 1
                continue
            }
            flush()
            var rows: [(line: Int, cells: [String])] = []
            while index < lines.count, lines[index].hasPrefix("|") {
                rows.append((index + 1, Scene.cells(lines[index])))
                index += 1
            }
            guard rows.count >= 2, rows[1].cells.allSatisfy({ !$0.isEmpty && $0.allSatisfy { "-:".contains($0) } }) else {
                throw Unreadable(line: rows[0].line, why: "a table has a header, and a line of dashes under it")
            }
            let header = rows[0].cells
            let body = Array(rows.dropFirst(2))
            if let odd = body.first(where: { $0.cells.count != header.count }) {
                throw Unreadable(line: odd.line, why: "\(odd.cells.count) cells, but the header has \(header.count)")
            }
            if header.first.map({ $0.contains("车场") || $0.lowercased().contains("lot") }) == true {
                parts.append(.stage(header: header, rows: body))
            } else {
                guard header.count == 5 else {
                    throw Unreadable(line: rows[0].line, why: "a table of steps has five columns: time, who, does, with, then")
                }
                parts.append(.act(header: header, steps: body.map { SceneStep(line: $0.line, cells: $0.cells) }))
            }
        }
        flush()
        self.name = name
        self.title = title
        self.parts = parts
    }

    private static func cells(_ line: String) -> [String] {
        line.trimmingCharacters(in: .whitespaces).dropFirst().dropLast().split(separator: "|", omittingEmptySubsequences: false)
            .map { $0.trimmingCharacters(in: .whitespaces) }
    }

    public var steps: [SceneStep] {
        parts.flatMap { part -> [SceneStep] in if case .act(_, let steps) = part { steps } else { [] } }
    }
}

/// The result of one step.
public struct SceneResult: Sendable, Equatable {
    public var step: SceneStep
    /// Why it is not as it should be; nil when it is.
    public var fault: String?
    /// The answer, in short.
    public var said: String
    /// The messages that the lots received through their logs meanwhile.
    public var heard: [String]
    public var isAsTold: Bool { fault == nil }
}
