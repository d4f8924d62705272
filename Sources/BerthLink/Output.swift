import Foundation
import Synchronization

/// Standard output and standard error. A reader that has left, a closed stream and a full disk are answers of a write here. `FileHandle` ends
/// the process at each of them.
public enum Output {
    private static let readerHasLeft = Atomic<Bool>(false)

    /// Whether a write to standard output found that nobody reads it any more (EPIPE). A program that exists to be watched then ends.
    public static var isClosed: Bool { readerHasLeft.load(ordering: .acquiring) }

    /// Writes all bytes to standard output, and waits where the other end is slow. Any thread may call it.
    /// - Returns: nil, or the reason why not everything is written.
    @discardableResult public static func write(_ bytes: [UInt8]) -> String? {
        guard let number = put(bytes, to: STDOUT_FILENO) else { return nil }
        if number == EPIPE { readerHasLeft.store(true, ordering: .releasing) }
        return String(cString: strerror(number))
    }

    /// Writes one line to standard output at once: it may be a file or a pipe.
    @discardableResult public static func line(_ text: String) -> String? { write(Array((text + "\n").utf8)) }

    /// Writes one line to standard error. Nothing can be said where that fails.
    public static func error(_ text: String) { _ = put(Array((text + "\n").utf8), to: STDERR_FILENO) }

    /// - Returns: the number of the error, or nil.
    private static func put(_ bytes: [UInt8], to descriptor: Int32) -> Int32? {
        bytes.withUnsafeBytes { buffer in
            var done = 0
            while done < buffer.count {
                let count = Glibc.write(descriptor, buffer.baseAddress! + done, buffer.count - done)
                if count >= 0 {
                    done += count
                    continue
                }
                switch errno {
                case EINTR: continue
                case EAGAIN:
                    var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    _ = poll(&wait, 1, 1_000)
                default: return errno
                }
            }
            return nil
        }
    }
}
