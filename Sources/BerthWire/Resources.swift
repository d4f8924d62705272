import Foundation

/// The folders of files that come with the program: the profile, the scenes, the pages.
///
/// SwiftPM's `Bundle.module` ends the process when a bundle is missing, and looks in the folder in which it was built. Here a missing bundle is
/// an error with a sentence.
public enum Resources {
    public struct Missing: Error, CustomStringConvertible {
        public let description: String

        public init(description: String) { self.description = description }
    }

    /// The folders in which bundles are looked for, in this order: beside the program, then those in which packages install shared files.
    static let places: [String] = {
        guard let program = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe") else {
            return ["/usr/share/berth"]
        }
        let folder = (program as NSString).deletingLastPathComponent
        let shared = (folder as NSString).deletingLastPathComponent + "/share/"
        return [folder, shared + (program as NSString).lastPathComponent, shared + "berth", "/usr/share/berth"]
    }()

    /// - Returns: the path of a folder of a target's bundle, e.g. `Profile` of `BerthWire`.
    public static func folder(_ name: String, of target: String) throws(Missing) -> String {
        for place in places {
            let path = "\(place)/berth_\(target).resources/\(name)"
            var isFolder: ObjCBool = false
            if FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue { return path }
        }
        throw Missing(
            description:
                "the folder berth_\(target).resources/\(name) is missing; it belongs beside the program (looked in \(places.joined(separator: ", ")))"
        )
    }

    /// Ends the process with a sentence, where it cannot go on without its files.
    static func giveUp(_ reason: String) -> Never {
        let program = ((CommandLine.arguments.first ?? "berth") as NSString).lastPathComponent
        let line = Array("\(program): \(reason)\n".utf8)
        _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
        exit(1)
    }
}
