/// A group of places that are counted together (配额池; section 8).
public enum Pool: String, Sendable, CaseIterable, Codable {
    case personal = "PERSONAL"
    case merchant = "MERCHANT"
    case publicService = "PUBLIC_BIZ"
    case charging = "CHARGING"
    case shared = "SHARED"
    /// Places kept for cars without a reservation: the other pools together leave so many places free.
    case walkIn = "WALK_IN"
    /// Released on the day itself from what the gates count, when the public-service quota is used up (R6).
    case rolling = "ROLLING"
}

extension Purpose {
    /// The pool of a reservation that names none.
    public var pool: Pool {
        switch self {
        case .reservation: .personal
        case .shared: .shared
        case .publicService: .publicService
        }
    }
}

/// A quota that a policy gives a pool for a time, in place of what the lot opened.
struct PoolRule: Sendable, Equatable {
    var pool: Pool
    var count: Int
    var from: Millis
    var to: Millis
    /// Times of day in which it holds; empty: always.
    var segments: [RecurringWindow] = []
    var calendar = WorkCalendar()

    /// The times between two moments at which it holds.
    func spans(from: Millis, to: Millis) -> [Window] {
        let span = Window(max(from, self.from), min(to, self.to))
        guard span.from < span.to else { return [] }
        return segments.isEmpty ? [span] : RecurringWindow.spans(segments, from: span.from, to: span.to, calendar)
    }
}

/// The holder of each individual space at each time: an interval has one holder.
struct SpaceCalendar: Sendable {
    struct Entry: Sendable, Equatable {
        /// The reservation or subscription.
        var holder: String
        var span: Window
    }

    private(set) var entries: TextTable<[Entry]> = [:]
    /// The held places of offers of several places, by the prefix of their names.
    private var heldUnits: TextTable<Set<Int>> = [:]

    /// The place of an offer that a name stands for; nil for a space with a number of its own.
    private static func unit(_ space: String) -> (prefix: String, number: Int)? {
        guard let mark = space.utf8.lastIndex(of: UInt8(ascii: "#")), let number = Int(space[space.utf8.index(after: mark)...]) else {
            return nil
        }
        return (String(space[...mark]), number)
    }

    /// Places of an offer among which the best one is: those with a hold at some time, and the first one without any.
    func candidates(of offer: SharedOffer) -> [String] {
        if let space = offer.spaceNo { return [space] }
        let (prefix, count) = (offer.unitPrefix, offer.unitCount)
        let held = heldUnits[prefix] ?? []
        var names = held.filter { $0 <= count }.sorted().map { "\(prefix)\($0)" }
        if held.count < count, let fresh = (1...count).first(where: { !held.contains($0) }) { names.append("\(prefix)\(fresh)") }
        return names
    }

    /// The number of places of an offer that are free in an interval.
    /// - Parameter isTaken: whether a place cannot be given although it has no hold.
    func free(of offer: SharedOffer, from: Millis, to: Millis, except isTaken: (String) -> Bool) -> Int {
        if let space = offer.spaceNo { return isFree(space, from: from, to: to) && !isTaken(space) ? 1 : 0 }
        let (prefix, count) = (offer.unitPrefix, offer.unitCount)
        let busy = (heldUnits[prefix] ?? []).reduce(0) { sum, number in
            let name = "\(prefix)\(number)"
            return sum + (number <= count && (!isFree(name, from: from, to: to) || isTaken(name)) ? 1 : 0)
        }
        return count - busy
    }

    func isFree(_ space: String, from: Millis, to: Millis, except holder: String? = nil) -> Bool {
        entries[space]?.contains { $0.holder != holder && $0.span.meets(from, to) } != true
    }

    mutating func hold(_ space: String, _ span: Window, for holder: String) {
        entries[space, default: []].append(Entry(holder: holder, span: span))
        if let (prefix, number) = SpaceCalendar.unit(space) { heldUnits[prefix, default: []].insert(number) }
    }

    mutating func release(_ space: String, of holder: String) {
        entries[space]?.removeAll { $0.holder == holder }
        if entries[space]?.isEmpty == true { drop(space) }
    }

    private mutating func drop(_ space: String) {
        entries.removeValue(forKey: space)
        guard let (prefix, number) = SpaceCalendar.unit(space) else { return }
        heldUnits[prefix]?.remove(number)
        if heldUnits[prefix]?.isEmpty == true { heldUnits.removeValue(forKey: prefix) }
    }

    /// The free time that is left around the interval in its gap: the smaller it is, the less the calendar is cut up.
    func slack(_ space: String, from: Millis, to: Millis, within span: Window) -> Millis {
        var (start, end) = (span.from, span.to)
        for entry in entries[space] ?? [] {
            if entry.span.to <= from { start = max(start, entry.span.to) }
            if entry.span.from >= to { end = min(end, entry.span.from) }
        }
        return (from - start) + (end - to)
    }

    /// The next entry of another holder of a space after a moment.
    func next(_ space: String, after time: Millis, except holder: String) -> Entry? {
        entries[space]?.filter { $0.holder != holder && $0.span.from >= time }.min { $0.span.from < $1.span.from }
    }

    func holders(_ space: String, meeting span: Window) -> [String] {
        (entries[space] ?? []).filter { $0.span.meets(span.from, span.to) }.map(\.holder)
    }

    mutating func forget(before time: Millis) {
        for space in entries.keys {
            entries[space]?.removeAll { $0.span.to < time }
            if entries[space]?.isEmpty == true { drop(space) }
        }
    }
}
