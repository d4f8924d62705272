import BerthWire
import Crypto
import Foundation

/// The site's own files, read once: styles, scripts, pictures. Their addresses carry a digest of their content, so that a browser keeps
/// them for ever and never an old one.
struct Assets: Sendable {
    struct File: Sendable {
        var bytes: [UInt8]
        var type: String
        var digest: String
    }

    private let files: [String: File]
    static let types = [
        "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml", "png": "image/png",
        "json": "application/json; charset=utf-8", "webmanifest": "application/manifest+json",
    ]

    /// - Throws: ``Resources/Missing``: the site does not start without its files.
    init(folder: String) throws {
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder), !names.isEmpty else {
            throw Resources.Missing(description: "\(folder) has no files")
        }
        var files: [String: File] = [:]
        for name in names {
            guard let data = FileManager.default.contents(atPath: "\(folder)/\(name)"),
                let type = Assets.types[(name as NSString).pathExtension]
            else { continue }
            let digest = SHA256.hash(data: data).prefix(6).map { String(format: "%02x", $0) }.joined()
            files[name] = File(bytes: [UInt8](data), type: type, digest: digest)
        }
        self.files = files
    }

    subscript(name: String) -> File? { files[name] }

    /// The addresses of all files, by the name without its points (`app_css`), for templates.
    var addresses: JSON {
        .object(
            JSONObject(
                files.sorted { $0.key < $1.key }.map { name, file in
                    (name.replacingOccurrences(of: ".", with: "_"), .string("/assets/\(name)?v=\(file.digest)"))
                }))
    }
}
