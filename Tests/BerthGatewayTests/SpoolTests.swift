import BerthGateway
import Foundation
import Testing

/// The gateway's file: what is asked of it after its end is refused; nobody waits for ever.
@Suite struct SpoolTests {
    @Test(.timeLimit(.minutes(1))) func nobodyWaitsForASpoolThatHasEnded() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let spool = try Spool(path: folder.appendingPathComponent("spool.sqlite").path)
        await spool.flush()
        spool.stop()
        // Some of these come before its thread has gone, some after it: each one comes back.
        for _ in 0..<200 {
            await spool.flush()
            try await Task.sleep(for: .milliseconds(1))
        }
    }
}
