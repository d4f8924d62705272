public import BerthCore

/// The colour codes of one family of lot systems or cameras, and what they are on the wire (interface.md, section 15.2). Read from `colors.json`.
public struct PlateColorTable: Sendable {
    public struct Row: Sendable {
        /// The code as the other side writes it, a number or a name, as text.
        public let theirs: String
        /// The wire codes that it may mean, the likeliest first.
        public let ours: [Int]
        public let zh: String
        public let en: String
    }

    /// The name by which a configuration chooses the table.
    public let name: String
    public let zh: String
    public let en: String
    public let source: String
    public let rows: [Row]

    /// The wire code of another system's code: where it may mean several, the first that fits the plate.
    ///
    /// - Parameters:
    ///   - theirs: The code, a number or a text; names of colours are compared by bytes.
    ///   - plate: The reading of the camera.
    /// - Returns: A member of ``Plate/colors``; nil where the table has no such code.
    public func wireCode(_ theirs: JSON, plate: Plate?) -> Int? {
        let text: String
        switch theirs {
        case .int(let number): text = String(number)
        // A number is not written as a text.
        case .string(let name) where Int64(name) == nil: text = name
        default: return nil
        }
        guard let row = rows.first(where: { $0.theirs == text }) else { return nil }
        return row.ours.first { plate?.fits(color: $0) ?? true } ?? row.ours.first
    }
}
