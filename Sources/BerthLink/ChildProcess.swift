import CBerthPosix
import Foundation
import Synchronization

/// Another program that this process starts and ends.
///
/// Each child has a thread of its own that starts it and waits for its end. The kernel ends a child when the thread that started it is gone, so
/// that no child outlives this process, however it ends. A child inherits its three streams and no other descriptor.
public final class ChildProcess: Sendable {
    public struct Failed: Error, CustomStringConvertible {
        public let description: String
    }

    private struct State {
        /// The process id as long as the number is the child's.
        var pid: pid_t?
        var status: Int32?
    }

    private let state = Mutex(State())
    private let end = DispatchGroup()

    private init() {}

    /// Starts a program; returns when it runs.
    /// - Parameters:
    ///   - program: The path of the file.
    ///   - output: The descriptor of its standard output; nil for none.
    ///   - errors: The descriptor of its standard error; nil for none.
    ///   - deathSignal: The signal that the kernel sends it when this process ends in any way.
    ///   - onEnd: Called once, on the child's thread, with its exit status (128 + signal when a signal ended it).
    /// - Throws: ``Failed`` when the program cannot be started.
    public static func start(
        _ program: String, _ arguments: [String], output: Int32? = nil, errors: Int32? = nil, deathSignal: Int32 = SIGKILL,
        onEnd: @escaping @Sendable (Int32) -> Void = { _ in }
    ) throws(Failed) -> ChildProcess {
        let child = ChildProcess()
        let started = DispatchGroup()
        let refusal = Mutex<Int32?>(nil)
        started.enter()
        child.end.enter()
        let thread = Thread {
            let reason = child.spawn(program, arguments, output: output ?? -1, errors: errors ?? -1, deathSignal: deathSignal)
            refusal.withLock { $0 = reason }
            started.leave()
            guard reason == nil else { return child.end.leave() }
            let status = child.awaitEnd()
            onEnd(status)
            child.end.leave()
        }
        thread.name = "child"
        thread.start()
        started.wait()
        if let reason = refusal.withLock({ $0 }) {
            throw Failed(description: "\(program) cannot be started: \(String(cString: strerror(reason)))")
        }
        return child
    }

    /// - Returns: the number of the error, or nil.
    private func spawn(_ program: String, _ arguments: [String], output: Int32, errors: Int32, deathSignal: Int32) -> Int32? {
        var words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) }
        words.append(nil)
        defer { for word in words { free(word) } }
        var reason: Int32 = 0
        let pid = berth_spawn(program, words, -1, output, errors, deathSignal, &reason)
        guard pid > 0 else { return reason == 0 ? ECHILD : reason }
        state.withLock { $0.pid = pid }
        return nil
    }

    private func awaitEnd() -> Int32 {
        guard let pid = state.withLock({ $0.pid }) else { return -1 }
        berth_await_end(pid)
        return state.withLock { state in
            let status = berth_reap(pid)
            state.pid = nil
            state.status = status
            return status
        }
    }

    /// nil when the child has ended.
    public var processIdentifier: Int32? { state.withLock { $0.pid } }
    public var isRunning: Bool { processIdentifier != nil }
    /// The exit status of a child that has ended.
    public var status: Int32? { state.withLock { $0.status } }

    /// Sends a signal to the child if it still runs; never to another process that got its number.
    public func send(_ signal: Int32) {
        state.withLock { state in
            if let pid = state.pid { kill(pid, signal) }
        }
    }

    /// Waits until the child has ended and `onEnd` has returned. Blocks the calling thread.
    /// - Returns: false when it still runs after so many milliseconds.
    @discardableResult public func wait(millis: Int) -> Bool { end.wait(timeout: .now() + .milliseconds(millis)) == .success }

    /// Asks the child to end (SIGTERM), and ends it (SIGKILL) when it has not done so in time. Blocks the calling thread.
    public func stop(graceMillis: Int) {
        send(SIGTERM)
        if wait(millis: graceMillis) { return }
        send(SIGKILL)
        wait(millis: 5_000)
    }

    /// Runs a program to its end. Blocks the calling thread: never called on a network thread.
    /// - Returns: its exit status, and what it wrote to its standard error, or to both streams.
    public static func run(_ program: String, _ arguments: [String], capturesOutput: Bool = false) throws(Failed) -> (
        status: Int32, text: [UInt8]
    ) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Failed(description: "no pipe for \(program): \(String(cString: strerror(errno)))") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(ends[0]) }
        let child: ChildProcess
        do {
            defer { close(ends[1]) }
            child = try start(program, arguments, output: capturesOutput ? ends[1] : nil, errors: ends[1])
        }
        var text: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(ends[0], &part, part.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            // People read the end of the output; the rest is not kept.
            text.append(contentsOf: part[0..<count])
            if text.count > 1 << 20 { text.removeFirst(text.count - (1 << 19)) }
        }
        child.end.wait()
        return (child.status ?? -1, text)
    }

    /// The path of an installed program: in the folders of `PATH`, then where Debian puts programs of the system; nil when there is none.
    public static func find(_ name: String) -> String? {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
        let folders = path.split(separator: ":").map(String.init) + ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        return folders.filter { $0.hasPrefix("/") }.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }
}
