import BerthCore
import BerthStore
import BerthWire

/// The part of the past that was read for one decision.
struct Prefetched: Sendable {
    var past: Past
    /// How often memory had been swept when it was read; nil where nothing was read. After a sweep it is read again: what it holds may have
    /// changed and been dropped from memory meanwhile.
    var sweeps: UInt64?
    /// Dead letters of the lot by record number; nil inside where there is none.
    var dead: [ByteKey: UpResult?] = [:]

    init(_ past: Past) { self.past = past }
}

// Prefetch, then decide: what memory lacks is read off the city's lock, on a thread that may wait for the disk.
extension Sequencer {
    /// The part of a command's past that is known without asking the disk: nearly every booking is new.
    func prefetched(for command: Result<Command, WireError>) -> Prefetched {
        var past = unknownPast
        if case .success(.create(let booking)) = command,
            !store.knowsReservation(appId: booking.appId, clientOrderNo: booking.clientOrderNo)
        {
            past.note(.clientOrder(appId: ByteKey(booking.appId), clientOrderNo: ByteKey(booking.clientOrderNo)), .nothing)
        }
        return Prefetched(past)
    }

    /// The same values, or none of them where memory was swept since they were read. Under the lock.
    func current(_ prefetched: Prefetched, _ state: State) -> Prefetched {
        prefetched.sweeps.map { $0 == state.sweeps } ?? true ? prefetched : Prefetched(unknownPast)
    }

    /// Reads things of the past and calls back when it is done, on a thread that may wait. Under the lock; the reading is done after it.
    /// - Parameter dead: records of this lot whose dead letter is wanted.
    func fetch(
        _ state: inout State, _ keys: [Past.Key], dead: (parkCode: String, records: [String]) = ("", []), into prefetched: Prefetched,
        then: @escaping @Sendable (Result<Prefetched, StoreError>) -> Void
    ) {
        var prefetched = prefetched
        prefetched.sweeps = state.sweeps
        let started = prefetched
        let read: @Sendable () -> Void = { [store, logger] in
            var read = started
            do throws(StoreError) {
                for key in keys { read.past.note(key, try store.past(key)) }
                for record in dead.records {
                    read.dead[ByteKey(record)] = .some(try store.deadLetter(parkCode: dead.parkCode, recordNo: record))
                }
                then(.success(read))
            } catch {
                logger.error("the past could not be read; the request is refused", metadata: ["why": "\(error.reason)"])
                then(.failure(error))
            }
        }
        // A thing that a sweep dropped is on the disk before it is looked for there.
        guard state.sweptAt > state.durable else { return state.lookups.append(read) }
        enqueue(&state, Pending(commit: nil, answer: Reply()) { _ in Blocking.run(read) })
    }

    /// Calls back with what these things are, on any thread and without the lock; at once where memory has all of them.
    /// - Parameter completion: gets 501 where the store cannot be read.
    func prefetch(
        _ keys: [Past.Key], _ prefetched: Prefetched? = nil, completion: @escaping Completion, then: @escaping @Sendable (Past) -> Void
    ) {
        let prefetched = prefetched ?? Prefetched(Past())
        guard !keys.isEmpty else { return then(prefetched.past) }
        var isComplete = false
        locked { state in
            let lacking = state.city.lacks(keys, prefetched.past)
            isComplete = lacking.isEmpty
            guard !isComplete else { return }
            fetch(&state, lacking, into: prefetched) { [self] result in
                switch result {
                case .success(let read): prefetch(keys, read, completion: completion, then: then)
                case .failure(let error): completion(Reply(WireError("dependencyUnavailable", error.reason)))
                }
            }
        }
        if isComplete { then(prefetched.past) }
    }

    /// As ``prefetch(_:_:completion:then:)``, for a task.
    func prefetched(_ keys: [Past.Key]) async throws(WireError) -> Past {
        let result: Result<Past, WireError> = await withCheckedContinuation { continuation in
            prefetch(
                keys, completion: { continuation.resume(returning: .failure(WireError("dependencyUnavailable", $0.hint))) },
                then: { continuation.resume(returning: .success($0)) })
        }
        return try result.get()
    }

    // MARK: Sweeping

    /// Drops ended things of one lot from memory.
    func forget(_ parkCode: String, endedBefore time: Millis) { sweep { $0.forget(parkCode, endedBefore: time) } }

    /// Drops ended things of one of ``City/sharedParts`` from memory.
    func forgetShared(_ part: Int, endedBefore time: Millis) { sweep { $0.forgetShared(part, endedBefore: time) } }

    private func sweep(_ body: (inout City) -> Void) {
        state.withLockedValue { state in
            // A city that is being undone is left alone.
            guard state.halt == nil else { return }
            body(&state.city)
            state.sweeps += 1
            state.sweptAt = state.decided
        }
    }
}
