import BerthWire
import Crypto
import Foundation

/// Files that are brought to the disk whole.
enum FileCopy {
    struct Failed: Error, CustomStringConvertible { let description: String }

    private static let pieceBytes = 1 << 20

    /// Copies a file, or only reads it, and computes its digest on the way.
    /// - Parameters:
    ///   - target: A new file, readable by its owner alone; nil: nothing is written.
    ///   - bytesMax: The most that the file may have; nil: any length.
    /// - Returns: SHA-256 in lower hex, and bytes.
    @discardableResult static func copy(_ source: String, to target: String?, bytesMax: Int64? = nil) throws(Failed) -> (
        sha256: String, bytes: Int64
    ) {
        func failed(_ file: String, _ what: String) -> Failed {
            Failed(description: "\(file) cannot be \(what): \(String(cString: strerror(errno)))")
        }
        // The source may be neither a link to something else nor a pipe whose other end never comes.
        let input = open(source, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard input >= 0 else { throw failed(source, "read") }
        defer { close(input) }
        var info = stat()
        guard fstat(input, &info) == 0, info.st_mode & S_IFMT == S_IFREG else { throw Failed(description: "\(source) is not a file") }
        if let bytesMax, info.st_size > bytesMax {
            throw Failed(description: "\(source) has \(info.st_size) bytes, which is more than \(bytesMax)")
        }
        var output: Int32 = -1
        if let target {
            output = open(target, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
            guard output >= 0 else { throw failed(target, "made") }
        }
        defer { if output >= 0 { close(output) } }
        var hash = SHA256()
        var bytes: Int64 = 0
        var piece = [UInt8](repeating: 0, count: pieceBytes)
        while true {
            let count = read(input, &piece, pieceBytes)
            guard count >= 0 else { throw failed(source, "read") }
            guard count > 0 else { break }
            hash.update(data: piece[0..<count])
            bytes += Int64(count)
            var done = 0
            while output >= 0, done < count {
                let written = piece.withUnsafeBytes { Glibc.write(output, $0.baseAddress! + done, count - done) }
                guard written > 0 else { throw failed(target ?? "", "written") }
                done += written
            }
        }
        if output >= 0, fsync(output) != 0 { throw failed(target ?? "", "kept") }
        return (Signature.hex(hash.finalize()), bytes)
    }

    /// Writes a new file whole.
    static func write(_ text: String, to target: String) throws(Failed) {
        let bytes = Array(text.utf8)
        let output = open(target, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        defer { if output >= 0 { close(output) } }
        guard output >= 0, Glibc.write(output, bytes, bytes.count) == bytes.count, fsync(output) == 0 else {
            throw Failed(description: "\(target) cannot be written: \(String(cString: strerror(errno)))")
        }
    }

    /// Brings the names in a folder to the disk.
    static func syncFolder(_ path: String) throws(Failed) {
        let folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        defer { if folder >= 0 { close(folder) } }
        guard folder >= 0, fsync(folder) == 0 else {
            throw Failed(description: "\(path) cannot be kept: \(String(cString: strerror(errno)))")
        }
    }

    static func size(_ path: String) -> Int64? {
        var info = stat()
        return lstat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFREG ? Int64(info.st_size) : nil
    }

    /// The size of a file, or of the file to which a link leads; nil where there is none.
    static func size(following path: String) -> Int64? {
        var info = stat()
        return stat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFREG ? Int64(info.st_size) : nil
    }
}
