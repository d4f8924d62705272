import Foundation

/// How full the disk of a folder is.
struct DiskUsage {
    let percent: Int

    init?(path: String) {
        var figures = statvfs()
        guard statvfs(path, &figures) == 0, figures.f_blocks > 0 else { return nil }
        let used = Double(figures.f_blocks - figures.f_bavail)
        percent = Int(used * 100 / Double(figures.f_blocks))
    }
}
