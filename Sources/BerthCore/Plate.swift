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

    /// Police, armed police and military: they need no booking (R5). Fire, ambulance and rescue vehicles are filed.
    public var isExemptClass: Bool {
        let text = Array(revealed)
        return text.last == "警" || Plate.isArmedPolice(text) || Plate.isMilitary(text)
    }

    /// Made up by a lot for a car without a plate.
    public var isVirtual: Bool { revealed.hasPrefix("无") }

    // MARK: Almost-matches

    private static let lookalikes: [Set<Character>] = [
        ["0", "O", "D", "Q"], ["8", "B"], ["1", "I", "L", "T"], ["2", "Z"], ["5", "S"], ["6", "G"],
    ]

    /// Provinces that border on each other: the cars that come, and the characters that are taken for one another.
    private static let neighbours: [Character: String] = [
        "京": "津冀", "津": "京冀", "冀": "京津晋蒙辽鲁豫", "晋": "冀蒙陕豫", "蒙": "黑吉辽冀晋陕宁甘", "辽": "吉蒙冀", "吉": "黑辽蒙", "黑": "吉蒙",
        "沪": "苏浙", "苏": "沪浙皖鲁", "浙": "沪苏皖赣闽", "皖": "苏浙赣鄂豫鲁", "闽": "浙赣粤", "赣": "浙皖鄂湘粤闽", "鲁": "冀豫皖苏", "豫": "冀晋陕鄂皖鲁",
        "鄂": "豫皖赣湘渝陕", "湘": "鄂赣粤桂贵渝", "粤": "闽赣湘桂琼", "桂": "粤湘贵云", "琼": "粤", "渝": "鄂湘贵川陕", "川": "渝贵云藏青甘陕", "贵": "渝湘桂云川",
        "云": "川贵桂藏", "藏": "云川青新", "陕": "晋蒙宁甘川渝鄂豫", "甘": "陕宁蒙新青川", "青": "甘新藏川", "宁": "陕蒙甘", "新": "甘青藏",
    ]

    /// In how many characters a reading differs from this plate, when every difference is one that cameras make; nil otherwise.
    public func misreadings(as other: Plate) -> Int? {
        let (left, right) = (Array(revealed), Array(other.revealed))
        guard left.count == right.count, !isVirtual, !other.isVirtual else { return nil }
        var count = 0
        for (a, b) in zip(left, right) where a != b {
            let isLikely = Plate.lookalikes.contains { $0.contains(a) && $0.contains(b) } || Plate.neighbours[a]?.contains(b) == true
            guard isLikely else { return nil }
            count += 1
        }
        return count
    }

    /// The wire's colour codes (section 15.2).
    public static let colors: Set<Int64> = [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12]
}
