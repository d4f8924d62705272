import CBerthPosix
import Foundation

/// Tells systemd how the service is (sd_notify(3)): that it is ready, that it is alive, that it stops. Without a manager nothing is sent.
/// Any thread may call it; a message that cannot be sent is dropped.
public enum ServiceManager {
    /// Everything listens; systemd ends the start of a unit of `Type=notify`.
    public static func ready() { send("READY=1\nSTATUS=serving") }
    /// Everything listens, and requests are carried to the server that leads.
    public static func standingBy() { send("READY=1\nSTATUS=standing by: another server leads this city") }
    /// A sign of life; a unit with `WatchdogSec` is restarted without it.
    public static func alive() { send("WATCHDOG=1") }
    /// The service has stopped listening and ends.
    public static func stopping() { send("STOPPING=1") }

    private static let address = ProcessInfo.processInfo.environment["NOTIFY_SOCKET"].flatMap { $0.isEmpty ? nil : $0 }

    private static func send(_ message: String) {
        guard let address else { return }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        // A name that begins with @ is in the abstract space: its first byte is 0.
        var path = Array(address.utf8)
        if path[0] == UInt8(ascii: "@") { path[0] = 0 }
        guard path.count < MemoryLayout.size(ofValue: name.sun_path) else { return }
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + path.count + (path[0] == 0 ? 0 : 1))
        let bytes = Array(message.utf8)
        _ = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT), $0, length)
            }
        }
    }
}
