/// A plate number that can exist, in its normal form (interface.md, section 15.1). Prints masked.
public struct Plate: Hashable, Sendable, CustomStringConvertible {
    /// The whole number. Named so that a reader of the code sees where personal data leaves.
    public let revealed: String

    /// 粤B***45: what logs, pages and queries outside the lot concerned may show (section 13).
    public var description: String { masked }
    public var masked: String {
        let characters = Array(revealed)
        guard characters.count > 4 else { return "***" }
        return String(characters.prefix(2)) + "***" + String(characters.suffix(2))
    }

    /// Spaces, `·`, `-`, `.` are dropped, full-width becomes half-width, letters upper-case; nil when no class of plate fits.
    public init?(_ text: String) {
        var normal: [Character] = []
        for scalar in text.unicodeScalars {
            switch scalar {
            case " ", "·", "-", ".", "\u{3000}", "•", "．", "－": continue
            case "\u{FF01}"..."\u{FF5E}":
                guard let half = Unicode.Scalar(scalar.value - 0xFEE0) else { return nil }
                normal.append(Character(String(half).uppercased()))
            default: normal.append(Character(String(scalar).uppercased()))
            }
        }
        guard Plate.isPlate(normal) else { return nil }
        revealed = String(normal)
    }

    private static let provinces = Set("京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼")
    private static let tails = Set("挂学警港澳领")
    private static let energy = Set("DABCEFGHJK")

    private static func isDigit(_ c: Character) -> Bool { ("0"..."9").contains(c) }
    private static func isUpper(_ c: Character) -> Bool { ("A"..."Z").contains(c) && c.utf8.count == 1 }
    /// A–Z without I and O.
    private static func isLetter(_ c: Character) -> Bool { isUpper(c) && c != "I" && c != "O" }
    private static func isSerial(_ c: Character) -> Bool { isLetter(c) || isDigit(c) }
    /// Issuing letter: O is the provincial police's, I is not used.
    private static func isIssuer(_ c: Character) -> Bool { isUpper(c) && c != "I" }

    static func isPlate(_ text: [Character]) -> Bool {
        isOrdinary(text) || isNewEnergy(text) || isEmbassy(text) || isArmedPolice(text) || isMilitary(text)
            || isVirtual(text)
    }

    private static func isOrdinary(_ t: [Character]) -> Bool {
        t.count == 7 && provinces.contains(t[0]) && isIssuer(t[1]) && t[2..<6].allSatisfy(isSerial)
            && (isSerial(t[6]) || tails.contains(t[6]))
    }

    static func isNewEnergy(_ t: [Character]) -> Bool {
        guard t.count == 8, provinces.contains(t[0]), isIssuer(t[1]) else { return false }
        let isSmall = energy.contains(t[2]) && isSerial(t[3]) && t[4...].allSatisfy(isDigit)
        let isLarge = t[2..<7].allSatisfy(isDigit) && energy.contains(t[7])
        return isSmall || isLarge
    }

    private static func isEmbassy(_ t: [Character]) -> Bool {
        t.count == 7 && t[..<6].allSatisfy(isDigit) && t[6] == "使"
    }

    private static func isArmedPolice(_ t: [Character]) -> Bool {
        guard t.count >= 7, t[0] == "W", t[1] == "J" else { return false }
        let rest = provinces.contains(t[2]) ? t[3...] : t[2...]
        return rest.count == 5 && rest.dropLast().allSatisfy(isDigit)
            && (isDigit(rest.last!) || "TDSHBXJ".contains(rest.last!))
    }

    private static func isMilitary(_ t: [Character]) -> Bool {
        // Second letter [A-DJ-PR-TVY], as the public sources have it.
        t.count == 7 && "VKHBSLJNGCE".contains(t[0]) && "ABCDJKLMNOPRSTVY".contains(t[1])
            && t[2...].allSatisfy(isDigit)
    }

    private static func isVirtual(_ t: [Character]) -> Bool {
        (2...13).contains(t.count) && t[0] == "无" && t[1...].allSatisfy { isUpper($0) || isDigit($0) }
    }

    /// Whether a colour code (section 15.2, ETC/JT) can stand on this plate: green belongs to new-energy numbers and to no others;
    /// 9 (undetermined) fits all.
    public func fits(color: Int) -> Bool {
        let isGreen = color == 4 || color == 5 || color == 11
        return color == 9 || isGreen == Plate.isNewEnergy(Array(revealed))
    }

    /// The wire's colour codes (section 15.2).
    public static let colors: Set<Int64> = [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12]
}
