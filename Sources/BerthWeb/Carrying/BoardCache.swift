import BerthLink
import BerthWire

/// The boards of all lots, fetched once for all viewers: at most every two seconds. Where the city answers late, because its disk is slow, viewers get the
/// rows before with their own time: a page says how old it is and does not wait.
actor BoardCache {
    private var rows: [JSON] = []
    private var asOf: Int64 = 0
    private var fetchedAt: Int64 = .min
    /// Documents made of the rows, by name: made once for all who fetch them.
    private var documents: [String: (asOf: Int64, bytes: [UInt8])] = [:]
    private var running: Task<Result<(rows: [JSON], asOf: Int64), CityError>, Never>?
    /// When the running fetch began.
    private var beganAt: Int64 = 0
    private static let freshMillis: Int64 = 2_000
    /// Rows of this age are shown while new ones are on their way, ms.
    private static let staleMillis: Int64 = 30_000
    /// So long a viewer waits for new rows before the old ones are shown, ms.
    private static let patienceMillis: Int64 = 200

    /// The rows of `lot.board.query` for the whole city, and the time of which they are.
    func boards(_ city: CityClient) async throws(CityError) -> (rows: [JSON], asOf: Int64) {
        if fetchedAt != .min, SystemClock.monotonic() - fetchedAt < BoardCache.freshMillis { return (rows, asOf) }
        let task = running ?? begin(city)
        if fetchedAt != .min, SystemClock.monotonic() - fetchedAt < BoardCache.staleMillis {
            while running == task, SystemClock.monotonic() - beganAt < BoardCache.patienceMillis {
                try? await Task.sleep(for: .milliseconds(5))
            }
            if running == task { return (rows, asOf) }
        }
        return try await task.value.get()
    }

    /// A document of the rows as they are now.
    func document(_ name: String, _ city: CityClient, make: @Sendable ([JSON], Int64) -> [UInt8]) async throws(CityError) -> [UInt8] {
        let (rows, asOf) = try await boards(city)
        if let made = documents[name], made.asOf == asOf { return made.bytes }
        let bytes = make(rows, asOf)
        documents[name] = (asOf, bytes)
        return bytes
    }

    private func begin(_ city: CityClient) -> Task<Result<(rows: [JSON], asOf: Int64), CityError>, Never> {
        let task = Task { [self] in
            let result = await BoardCache.fetch(city)
            finish(result)
            return result
        }
        running = task
        beganAt = SystemClock.monotonic()
        return task
    }

    private func finish(_ result: Result<(rows: [JSON], asOf: Int64), CityError>) {
        running = nil
        if case .success(let boards) = result { (rows, asOf, fetchedAt) = (boards.rows, boards.asOf, SystemClock.monotonic()) }
    }

    private static func fetch(_ city: CityClient) async -> Result<(rows: [JSON], asOf: Int64), CityError> {
        do throws(CityError) {
            var rows: [JSON] = []
            var after: String?
            // A city has 10,000 lots; the bound is against a service that never ends.
            for _ in 0..<50 {
                let page = try await city.call("lot.board.query", [("limit", 1000), ("after", .optional(after))], as: .staff)
                let lots = page["lots"]?.arrayValue ?? []
                rows += lots
                guard page["hasMore"]?.boolValue == true, let last = lots.last?["parkCode"]?.stringValue else {
                    return .success((rows, page["asOf"]?.intValue ?? 0))
                }
                after = last
            }
            return .success((rows, 0))
        } catch { return .failure(error) }
    }
}
