/// A plate number in its normal form (interface.md, section 15.1), or a camera's reading (section 2, `plateNo`). Prints masked.
public struct Plate: Hashable, Sendable, CustomStringConvertible {
    /// The whole number. Named so that a reader of the code sees where personal data leaves.
    public let revealed: String
    private let kind: Kind

    private enum Kind { case ordinary, police, newEnergySmall, newEnergyLarge, embassy, armedPolice, military, emergency, virtual, reading }

    /// 粤B***45: the form that logs, pages and queries outside the lot concerned may show (section 13).
    public var description: String { masked }
    public var masked: String {
        let characters = Array(revealed)
        guard characters.count > 4 else { return "***" }
        return String(characters.prefix(2)) + "***" + String(characters.suffix(2))
    }

    public static func == (left: Plate, right: Plate) -> Bool { left.revealed.utf8.elementsEqual(right.revealed.utf8) }
    public func hash(into hasher: inout Hasher) { ByteKey.feed(revealed, to: &hasher) }

    /// Spaces, `·`, `-`, `.` are dropped, full-width becomes half-width, letters upper-case; nil when no class of plate fits.
    public init?(_ text: String) {
        guard let (normal, isNormal) = Plate.normal(text), let kind = Plate.kind(of: normal) else { return nil }
        self.init(text, normal, isNormal, kind)
    }

    /// A camera's reading, in the same normal form; it need not be a legal plate. Nil when nothing is left of it, when it is longer
    /// than 16 scalars, or when it holds a control character.
    public init?(reading text: String) {
        guard let (normal, isNormal) = Plate.normal(text), !normal.isEmpty, normal.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
        else { return nil }
        self.init(text, normal, isNormal, Plate.kind(of: normal) ?? .reading)
    }

    private init(_ text: String, _ normal: [Unicode.Scalar], _ isNormal: Bool, _ kind: Kind) {
        self.kind = kind
        if isNormal {
            revealed = text
        } else {
            var revealed = String.UnicodeScalarView()
            revealed.append(contentsOf: normal)
            self.revealed = String(revealed)
        }
    }

    /// Whether a class of plate fits; a reading that is none is kept as read.
    public var isLegal: Bool { kind != .reading }

    /// The scalars of the normal form, and whether the text has it already; nil for a text that is too long.
    private static func normal(_ text: String) -> (scalars: [Unicode.Scalar], isNormal: Bool)? {
        var normal: [Unicode.Scalar] = []
        normal.reserveCapacity(16)
        var isNormal = true
        for var scalar in text.unicodeScalars {
            switch scalar {
            case " ", "·", "-", ".", "\u{3000}", "•", "．", "－":
                isNormal = false
                continue
            case "\u{FF01}"..."\u{FF5E}":
                isNormal = false
                scalar = Unicode.Scalar(scalar.value - 0xFEE0) ?? scalar
            default: break
            }
            if ("a"..."z").contains(scalar) {
                isNormal = false
                scalar = Unicode.Scalar(scalar.value - 32) ?? scalar
            }
            normal.append(scalar)
            // No reading is longer: the rest need not be read.
            if normal.count > Plate.lengthMax { return nil }
        }
        return (normal, isNormal)
    }

    /// Scalars of the longest reading (section 2).
    private static let lengthMax = 16
    private static let provinces = Set("京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼".unicodeScalars)

    private static func isDigit(_ c: Unicode.Scalar) -> Bool { ("0"..."9").contains(c) }
    private static func isUpper(_ c: Unicode.Scalar) -> Bool { ("A"..."Z").contains(c) }
    /// A–Z without I and O.
    private static func isLetter(_ c: Unicode.Scalar) -> Bool { isUpper(c) && c != "I" && c != "O" }
    private static func isSerial(_ c: Unicode.Scalar) -> Bool { isLetter(c) || isDigit(c) }
    /// Issuing letter: O is the provincial police's, I is not used.
    private static func isIssuer(_ c: Unicode.Scalar) -> Bool { isUpper(c) && c != "I" }
    private static func isOne(_ c: Unicode.Scalar, of characters: StaticString) -> Bool {
        c.isASCII && UnsafeBufferPointer(start: characters.utf8Start, count: characters.utf8CodeUnitCount).contains(UInt8(c.value))
    }

    private static func kind(of t: [Unicode.Scalar]) -> Kind? {
        if isOrdinary(t) { return t[6] == "警" ? .police : .ordinary }
        if let kind = newEnergy(t) { return kind }
        if isEmergency(t) { return .emergency }
        if isEmbassy(t) { return .embassy }
        if isArmedPolice(t) { return .armedPolice }
        if isMilitary(t) { return .military }
        return isVirtual(t) ? .virtual : nil
    }

    private static func isOrdinary(_ t: [Unicode.Scalar]) -> Bool {
        guard t.count == 7, isIssuer(t[1]), t[2..<6].allSatisfy(isSerial), provinces.contains(t[0]) else { return false }
        switch t[6] {
        case "挂", "学", "警", "港", "澳", "领": return true
        default: return isSerial(t[6])
        }
    }

    private static func isEnergy(_ c: Unicode.Scalar) -> Bool { isOne(c, of: "DABCEFGHJK") }

    private static func newEnergy(_ t: [Unicode.Scalar]) -> Kind? {
        guard t.count == 8, provinces.contains(t[0]), isIssuer(t[1]) else { return nil }
        if isEnergy(t[2]) && isSerial(t[3]) && t[4...].allSatisfy(isDigit) { return .newEnergySmall }
        return t[2..<7].allSatisfy(isDigit) && isEnergy(t[7]) ? .newEnergyLarge : nil
    }

    /// Fire and forest fire: `粤X0119应急`; other emergency services have letters of their own.
    private static func isEmergency(_ t: [Unicode.Scalar]) -> Bool {
        t.count == 8 && provinces.contains(t[0]) && isIssuer(t[1]) && t[2..<6].allSatisfy(isDigit) && t[6] == "应"
            && t[7] == "急"
    }

    private static func isEmbassy(_ t: [Unicode.Scalar]) -> Bool {
        t.count == 7 && t[..<6].allSatisfy(isDigit) && t[6] == "使"
    }

    private static func isArmedPolice(_ t: [Unicode.Scalar]) -> Bool {
        guard t.count >= 7, t[0] == "W", t[1] == "J" else { return false }
        let rest = provinces.contains(t[2]) ? t[3...] : t[2...]
        return rest.count == 5 && rest.dropLast().allSatisfy(isDigit) && (isDigit(rest.last!) || isOne(rest.last!, of: "TDSHBXJ"))
    }

    private static func isMilitary(_ t: [Unicode.Scalar]) -> Bool {
        // Second letter [A-DJ-PR-TVY], as the public sources have it.
        t.count == 7 && isOne(t[0], of: "VKHBSLJNGCE") && isOne(t[1], of: "ABCDJKLMNOPRSTVY") && t[2...].allSatisfy(isDigit)
    }

    private static func isVirtual(_ t: [Unicode.Scalar]) -> Bool {
        (2...13).contains(t.count) && t[0] == "无" && t[1...].allSatisfy { isUpper($0) || isDigit($0) }
    }

    /// Whether a colour code (section 15.2, ETC/JT) can stand on this plate; 9 (undetermined) fits all, and every colour fits a reading
    /// and a number that a lot made up. Small new-energy plates are gradient green, large ones yellow-green; police, armed police, military
    /// and emergency plates are white; embassy and consulate plates and those of Hong Kong and Macao are black; trailers and learners
    /// have yellow ones. All others are blue, yellow, black, blue-white or temporary.
    public func fits(color: Int) -> Bool {
        if color == 9 { return true }
        switch kind {
        case .newEnergySmall: return color == 4 || color == 11
        case .newEnergyLarge: return color == 5 || color == 11
        case .police, .armedPolice, .military, .emergency: return color == 3
        case .embassy: return color == 2
        case .virtual, .reading: return true
        case .ordinary:
            switch revealed.unicodeScalars.last {
            case "领", "港", "澳": return color == 2
            case "挂", "学": return color == 1
            default: return [0, 1, 2, 6, 7, 12].contains(color) || (color == 3 && revealed.unicodeScalars.dropFirst().first == "O")
            }
        }
    }

    /// Police, armed police, military and emergency vehicles: they need no booking (R5). Ambulance and rescue vehicles are filed.
    public var isExemptClass: Bool { kind == .police || kind == .armedPolice || kind == .military || kind == .emergency }

    /// Made up by a lot for a car without a plate.
    public var isVirtual: Bool { kind == .virtual }

    // MARK: Almost-matches

    private static let lookalikes: [Set<Character>] = [
        ["0", "O", "D", "Q"], ["8", "B"], ["1", "I", "L", "T"], ["2", "Z"], ["5", "S"], ["6", "G"],
    ]

    /// Provinces that border on each other: their cars come often, and their characters are taken for one another.
    private static let neighbours: [Character: String] = [
        "京": "津冀", "津": "京冀", "冀": "京津晋蒙辽鲁豫", "晋": "冀蒙陕豫", "蒙": "黑吉辽冀晋陕宁甘", "辽": "吉蒙冀", "吉": "黑辽蒙", "黑": "吉蒙",
        "沪": "苏浙", "苏": "沪浙皖鲁", "浙": "沪苏皖赣闽", "皖": "苏浙赣鄂豫鲁", "闽": "浙赣粤", "赣": "浙皖鄂湘粤闽", "鲁": "冀豫皖苏", "豫": "冀晋陕鄂皖鲁",
        "鄂": "豫皖赣湘渝陕", "湘": "鄂赣粤桂贵渝", "粤": "闽赣湘桂琼", "桂": "粤湘贵云", "琼": "粤", "渝": "鄂湘贵川陕", "川": "渝贵云藏青甘陕", "贵": "渝湘桂云川",
        "云": "川贵桂藏", "藏": "云川青新", "陕": "晋蒙宁甘川渝鄂豫", "甘": "陕宁蒙新青川", "青": "甘新藏川", "宁": "陕蒙甘", "新": "甘青藏",
    ]

    /// The number of characters in which a reading differs from this plate, when every difference is one that cameras make; nil otherwise.
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
