/// Records that are reported and kept by name; the latest value of each one counts.
struct RecordBook: Sendable {
    private var kinds: [City.RecordKind: TextTable<KeptRecord>] = [:]

    subscript(kind: City.RecordKind) -> TextTable<KeptRecord> { kinds[kind] ?? [:] }

    /// The records of one name of a kind, over all lots and parties.
    func all(_ kind: String) -> [KeptRecord] { kinds.filter { $0.key.kind == kind }.flatMap { $0.value.values } }

    /// Puts the value of a record; a record that is no more is removed.
    /// - Returns: whether that changed anything.
    mutating func keep(_ record: KeptRecord) -> Bool {
        let kind = City.RecordKind(parkCode: record.parkCode, kind: record.kind)
        let old = kinds[kind]?[record.key]
        if record.isGone {
            guard old != nil else { return false }
            kinds[kind]?[record.key] = nil
        } else {
            guard old?.body != record.body else { return false }
            kinds[kind, default: [:]][record.key] = record
        }
        return true
    }

    /// Puts back what is durable under a name; nil removes what was decided in vain.
    mutating func putBack(_ record: KeptRecord?, _ kind: City.RecordKind, _ key: String) {
        if let record { kinds[kind, default: [:]][key] = record } else { kinds[kind]?[key] = nil }
    }

    mutating func forget(_ kind: City.RecordKind, before time: Millis) { kinds[kind] = kinds[kind]?.filter { $0.value.at >= time } }
}
