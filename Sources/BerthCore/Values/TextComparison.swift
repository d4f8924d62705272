// Texts from outside are names, numbers and tokens. Two of them are the same when their bytes are (interface.md, section 2). The language
// compares by Unicode equivalence: `é` written in two ways would be one name, and a text of many combining marks costs quadratic time.
// These operators shadow the language's own in every module of the package that sees them.

extension String {
    /// Whether both texts have the same bytes; linear in their length.
    @inlinable package static func == (left: String, right: String) -> Bool {
        let (l, r) = (left.utf8, right.utf8)
        guard l.count == r.count else { return false }
        let isSame: Bool?? = l.withContiguousStorageIfAvailable { l in
            r.withContiguousStorageIfAvailable { r in
                for index in 0..<l.count where l[index] != r[index] { return false }
                return true
            }
        }
        if case .some(.some(let isSame)) = isSame { return isSame }
        return l.elementsEqual(r)
    }

    @inlinable package static func != (left: String, right: String) -> Bool { !(left == right) }

    /// The pattern of a `switch`.
    @inlinable package static func ~= (pattern: String, value: String) -> Bool { pattern == value }
}

extension Optional where Wrapped == String {
    @inlinable package static func == (left: String?, right: String?) -> Bool {
        switch (left, right) {
        case (let left?, let right?): left == right
        case (nil, nil): true
        default: false
        }
    }

    @inlinable package static func != (left: String?, right: String?) -> Bool { !(left == right) }
}

extension String {
    /// The beginning of a text, at most so many characters of the wire long: the wire counts Unicode scalars, of which the language may take a
    /// thousand for one character.
    package func cut(to max: Int) -> String { utf8.count <= max ? self : String(unicodeScalars.prefix(max)) }

    /// FNV-1a over the bytes: a short name for a long one where a collision is of no use to an attacker; never for authenticity.
    var fingerprint: UInt64 { utf8.reduce(14_695_981_039_346_656_037) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 } }
}
