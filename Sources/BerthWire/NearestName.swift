/// The nearest existing name to one that does not exist, for messages to the person who typed it.
package enum NearestName {
    /// The name with the least edit distance to a wrong one. Case makes no difference, and a missing end makes little.
    package static func nearest(to wrong: String, among names: [String]) -> String? {
        let wrong = Array(wrong.lowercased().utf8.prefix(100))
        func distance(to name: String) -> Int {
            let name = Array(name.lowercased().utf8)
            let edits = NearestName.distance(wrong, name)
            return name.starts(with: wrong) ? min(edits, 2) : edits
        }
        return names.map { (name: $0, distance: distance(to: $0)) }.min { $0.distance < $1.distance }?.name
    }

    /// Insertions, deletions and replacements that turn one text into the other (Levenshtein).
    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var row = Array(0...right.count)
        for (index, byte) in left.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for (column, other) in right.enumerated() {
                let replaced = diagonal + (byte == other ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(replaced, row[column] + 1, diagonal + 1)
            }
        }
        return row[right.count]
    }
}
