import BerthWire
import Foundation
import Mustache

/// The templates of the pages, read once.
struct Templates: Sendable {
    private let library: MustacheLibrary

    /// The library escapes characters, and a sign with a combining mark is another character; a browser sees the sign.
    private struct Page: MustacheContentType {
        func escapeText(_ text: String) -> String { HTML.escape(text) }
    }

    private static let type = "{{% CONTENT_TYPE:PAGE}}"

    /// - Throws: the fault of the first template that cannot be read: the site does not start with it.
    init(folder: String) throws {
        MustacheContentTypes.register(Page(), named: "PAGE")
        var templates: [String: MustacheTemplate] = [:]
        for case let path as String in FileManager.default.enumerator(atPath: folder) ?? .init() where path.hasSuffix(".mustache") {
            guard let data = FileManager.default.contents(atPath: "\(folder)/\(path)") else { continue }
            do {
                templates[String(path.dropLast(9))] = try MustacheTemplate(string: Templates.type + String(decoding: data, as: UTF8.self))
            } catch {
                throw Resources.Missing(description: "\(folder)/\(path): \(error)")
            }
        }
        guard !templates.isEmpty else { throw Resources.Missing(description: "\(folder) has no templates") }
        library = MustacheLibrary(templates: templates)
    }

    /// - Returns: nil where there is no template of that name.
    func render(_ template: String, _ view: JSONObject) -> String? {
        library.render(Templates.value(.object(view)), withTemplate: template)
    }

    /// A value as the library takes it. A null, an empty text and an empty list are absent, so that a section for them stays closed.
    private static func value(_ json: JSON) -> Any {
        switch json {
        case .null: return ""
        case .bool(let flag): return flag
        case .int(let number): return Int(number)
        case .illegalNumber(let text), .string(let text): return text
        case .array(let values): return values.map(value)
        case .object(let object):
            var table: [String: Any] = [:]
            for (name, member) in object.members {
                switch member {
                case .null, .string(""): continue
                case .array(let values) where values.isEmpty: continue
                default: table[name] = value(member)
                }
            }
            return table
        }
    }
}
