/// A lot's code as the city gives it (interface.md, section 15.4): 6 digits of the region, 3 of the street, 1 of the class, 4 of the serial number,
/// and a check digit by ISO 7064 MOD 11,10. A `parkCode` may be any other word; only codes of this form have a check digit.
public enum LotCode {
    public struct Invalid: Error, Equatable, CustomStringConvertible {
        public let description: String
    }

    /// The digits of each part, in their order; the check digit follows them.
    static let parts: [(name: String, digits: Int)] = [("region", 6), ("street", 3), ("class", 1), ("serial", 4)]
    static let length = 15

    /// Makes a code. `region`, `street` and `lotClass` have their full number of digits; `serial` is 0 to 9999.
    public static func make(region: String, street: String, lotClass: String, serial: Int) throws(Invalid) -> String {
        guard (0...9_999).contains(serial) else { throw Invalid(description: "serial \(serial): 0 to 9999 expected") }
        let number = String(serial)
        let values = [region, street, lotClass, String(repeating: "0", count: 4 - number.utf8.count) + number]
        for (part, value) in zip(parts, values) {
            guard value.utf8.count == part.digits, digits(of: value) != nil else {
                throw Invalid(description: "\(part.name) '\(value)': \(part.digits) digit\(part.digits == 1 ? "" : "s") expected")
            }
        }
        let body = values.joined()
        guard let check = checkDigit(of: body) else { throw Invalid(description: "'\(body)': digits expected") }
        return body + String(check)
    }

    /// Why a text is no code of this form; nil when it is one.
    public static func fault(of code: String) -> String? {
        guard digits(of: code) != nil else { return "only the digits 0 to 9 may occur" }
        guard code.utf8.count == length else { return "\(code.utf8.count) digits, \(length) expected" }
        guard let last = code.utf8.last, let check = checkDigit(of: String(code.dropLast())) else { return "\(length) digits expected" }
        let given = Int(last) - 48
        return given == check ? nil : "the check digit is \(given), and must be \(check)"
    }

    /// The check digit by ISO 7064 MOD 11,10; nil when there is no digit, or something else than digits.
    public static func checkDigit(of text: String) -> Int? {
        guard let digits = digits(of: text) else { return nil }
        var product = 10
        for digit in digits {
            let sum = (product + digit) % 10
            product = (sum == 0 ? 10 : sum) * 2 % 11
        }
        return (11 - product) % 10
    }

    private static func digits(of text: String) -> [Int]? {
        let digits = text.utf8.map { Int($0) - 48 }
        return !digits.isEmpty && digits.allSatisfy { (0...9).contains($0) } ? digits : nil
    }
}
