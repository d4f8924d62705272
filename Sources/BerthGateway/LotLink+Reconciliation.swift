import BerthCore
import BerthLink
import BerthWire
import Logging
import Synchronization

// Daily reconciliation (section 5.9): the cars inside, and the reservations in force.
extension LotLink {
    /// Compares both sides when that is due. Called where the whole log is acknowledged.
    /// - Returns: whether there may be something new to send.
    func reconcileIfDue() async throws(NoAnswer) -> Bool {
        guard state.withLock({ $0.isReconDue }) else { return false }
        let isFirst = state.withLock { $0.lastRecon == nil } && box.state.withLock { $0.lostAt == nil }
        // A city of gateways does not ask in one moment.
        if isFirst, configuration.lots.count > LotLink.fleetMin {
            let now = SystemClock.monotonic()
            let wait = SystemRandom.jitter(LotLink.fleetSpreadMillis)
            state.withLock { state in
                state.lastRecon = now + wait - Int64(configuration.reconSeconds) * 1000
                state.isReconDue = false
            }
            return false
        }
        try await reconcile()
        return true
    }

    private static let fleetMin = 50
    /// A reconciliation of a fleet's lot comes within about 30 % of this, ms.
    private static let fleetSpreadMillis: Int64 = 1_000_000
    /// Pages of one list at most: 200,000 cars.
    private static let pagesMax = 200
    private static let pageRows: Int64 = 1_000
    /// Rounds until a count of the server is as of an entry that is remembered.
    private static let roundsMax = 5

    private func reconcile() async throws(NoAnswer) {
        var compared: (here: Int, there: Int)?
        for _ in 0..<LotLink.roundsMax where compared == nil {
            let answer = try await call("recon.inlot.count", [:])
            guard answer.code == 0, let count = answer.data["count"]?.intValue, let seq = answer.data["asOfSeq"]?.intValue,
                (0...1_000_000_000).contains(count), Bounds.seqs.contains(seq)
            else { throw NoAnswer(why: "recon.inlot.count: \(answer.code) \(answer.resultCode.en)") }
            compared = box.insideCount(asOf: seq).map { ($0, Int(count)) }
        }
        // A lot that passes more cars than are remembered is compared the next time.
        guard let compared else { return settle(nil) }
        var result = ReconResult(at: box.now(), insideHere: compared.here, insideThere: compared.there, ordersMatch: true)
        let wasLost = box.state.withLock { $0.lostAt != nil && $0.recon == nil }
        if compared.here != compared.there || wasLost {
            (result.carsAdded, result.carsOnlyHere) = try await compareInside()
        }
        result.ordersMatch = try await compareOrders()
        settle(result)
    }

    private func settle(_ result: ReconResult?) {
        let now = SystemClock.monotonic()
        state.withLock { state in
            state.lastRecon = now
            state.isReconDue = false
        }
        guard let result else { return }
        box.state.withLock { $0.recon = result }
        guard result.insideHere != result.insideThere || !result.ordersMatch else { return }
        logger.warning(
            "the reconciliation found a difference",
            metadata: [
                "lot": "\(lot.parkCode)", "insideHere": "\(result.insideHere)", "insideThere": "\(result.insideThere)",
                "carsAdded": "\(result.carsAdded)", "carsOnlyHere": "\(result.carsOnlyHere)", "ordersMatch": "\(result.ordersMatch)",
            ])
    }

    /// Lists the cars that the server has inside and adds those that are not known here.
    private func compareInside() async throws(NoAnswer) -> (added: Int, onlyHere: Int) {
        let here = box.insideRecords()
        var there: Set<String> = []
        var (after, added) = ("", 0)
        for _ in 0..<LotLink.pagesMax {
            let asked: JSON = .compact([
                ("detailType", 2), ("afterRecordNo", after.isEmpty ? .null : .string(after)), ("limit", .int(LotLink.pageRows)),
            ])
            let answer = try await call("recon.inlot.list", asked, timeoutMillis: 30_000)
            guard answer.code == 0, let items = answer.data["items"]?.arrayValue else {
                throw NoAnswer(why: "recon.inlot.list: \(answer.code) \(answer.resultCode.en)")
            }
            let numbers = items.compactMap { $0["recordNo"]?.stringValue }.filter { $0.utf8.count <= 4 * 48 }
            there.formUnion(numbers)
            guard let count = await box.addInside(items.compactMap { InsideCar(json: $0) }) else {
                throw NoAnswer(why: "the spool cannot be written")
            }
            added += count
            // A list that does not move on would never end.
            guard answer.data["hasMore"]?.boolValue == true, let last = numbers.last, last != after else { break }
            after = last
        }
        return (added, here.subtracting(there).count)
    }

    /// Compares the orders in force by their digest; where it differs, a snapshot says what is right.
    /// - Returns: whether the orders were the same.
    private func compareOrders() async throws(NoAnswer) -> Bool {
        for _ in 0..<LotLink.roundsMax {
            let answer = try await call("recon.order.digest", [:])
            guard answer.code == 0, let digest = answer.data["digest"]?.stringValue, let seq = answer.data["downSeq"]?.intValue else {
                throw NoAnswer(why: "recon.order.digest: \(answer.code) \(answer.resultCode.en)")
            }
            // Entries under way would look like a difference.
            guard box.state.withLock({ $0.down.epoch == nil || $0.down.ackSeq == seq }) else {
                try? await Task.sleep(for: .milliseconds(500))
                continue
            }
            if digest == box.orderDigest() { return true }
            return try await takeSnapshot()
        }
        return try await takeSnapshot()
    }
}
