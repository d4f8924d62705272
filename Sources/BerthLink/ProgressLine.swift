import Foundation
import Synchronization

/// One line on a terminal's standard error that says how far long work is and how long it still takes; nothing elsewhere. Any thread.
public final class ProgressLine: Sendable {
    private struct State {
        var what = ""
        var since: Int64 = 0
        var shownAt: Int64 = .min
        var isOpen = false
    }

    private let state = Mutex(State())
    private let isOnTerminal = isatty(STDERR_FILENO) == 1

    public init() {}

    /// Shows a step with how much of it is done; `all` 0 or 1 where that is not known.
    public func show(_ what: String, _ done: Int64, _ all: Int64) {
        guard isOnTerminal else { return }
        let now = SystemClock.monotonic()
        state.withLock { state in
            if state.what != what { state = State(what: what, since: now, isOpen: state.isOpen) }
            guard done >= all || now - max(state.shownAt, 0) > 200 || state.shownAt == .min else { return }
            state.shownAt = now
            state.isOpen = true
            var line = "\r\u{1B}[K\(what)"
            if all > 1 { line += " \(done * 100 / all) %" }
            let spent = now - state.since
            if done > 0, done < all, spent > 2_000 { line += ", \(ProgressLine.duration(spent * (all - done) / done)) left" }
            write(line)
        }
    }

    /// Takes the line away.
    public func end() {
        state.withLock { state in
            if state.isOpen { write("\r\u{1B}[K") }
            state.isOpen = false
        }
    }

    private func write(_ text: String) { text.utf8CString.withUnsafeBytes { _ = Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count - 1) } }

    private static func duration(_ millis: Int64) -> String {
        let seconds = millis / 1000
        return seconds < 90 ? "\(seconds) s" : "\((seconds + 30) / 60) min"
    }
}
