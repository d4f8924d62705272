import BerthWire

/// The answers to probes: whether the process lives, and whether the server can do its work now.
struct Health: Sendable {
    let sequencer: Sequencer
    let isBrokerUp: @Sendable () -> Bool
    let dataDirectory: String

    /// `/livez` and `/healthz`: the process answers. Always 200.
    var alive: JSON { ["status": "ok", "version": .string(Version.text)] }

    /// A commit that takes longer makes callers wait longer than they do, ms.
    private static let commitMillisMax: Int64 = 3_000

    /// `/readyz`: each check by name, `ok` or a word that says what is wrong. A nearly full disk is shown and does not end the readiness, since
    /// the server still works; on a full one the store refuses. The page is public, so reasons are in the log and not here.
    /// - Returns: whether requests can be decided and lots can be reached.
    func ready() -> (isReady: Bool, JSON) {
        let disk = DiskUsage(path: dataDirectory)
        let checks: [(String, String)] = [
            ("store", sequencer.haltReason == nil ? "ok" : "refuses"),
            ("commit", sequencer.commitMillis > Health.commitMillisMax ? "slow" : "ok"),
            ("leader", sequencer.store.mayAnswer ? "ok" : "unsure"),
            ("broker", isBrokerUp() ? "ok" : "down"),
            ("disk", disk.map { $0.percent >= Limits.diskPercentMax ? "nearly full" : "ok" } ?? "unreadable"),
        ]
        let isReady = checks.allSatisfy { $0.1 == "ok" || $0.0 == "disk" }
        return (
            isReady,
            [
                "status": isReady ? "ready" : "not ready", "version": .string(Version.text),
                "checks": .compact(checks.map { ($0.0, .string($0.1)) }),
            ]
        )
    }
}
