import Foundation

/// The version of the programs, as the changelog names it.
public enum Version {
    /// Major, minor and patch, as in the changelog and in the packages.
    public static let number = "0.1.0"

    /// The build, from the file BUILD that a package puts beside the dictionary: a commit; nil for a build from a checkout.
    public static let build: String? = {
        guard let folder = try? Resources.folder("Profile", of: "BerthWire"),
            let text = try? String(contentsOfFile: (folder as NSString).deletingLastPathComponent + "/BUILD", encoding: .utf8)
        else { return nil }
        let line = text.prefix { !$0.isNewline }
        return line.isEmpty || line.utf8.count > 64 ? nil : String(line)
    }()

    /// `0.1.0`, or `0.1.0+1a2b3c4` of a package.
    public static let text = number + (build.map { "+\($0)" } ?? "")
}
