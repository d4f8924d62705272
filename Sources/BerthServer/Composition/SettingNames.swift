import BerthWire
import Foundation

/// The names of settings, as files and variables spell them.
enum SettingNames {
    /// Variables that begin with `BERTH_` and are no settings. Those that begin with `BERTH_TEST_` are the tests' own.
    static let otherVariables: Set<String> = ["BERTH_MASTER_KEY_FILE", "BERTH_BIN", "BERTH_SCREENSHOTS", "BERTH_WRITE_CONFORMANCE"]
    static let testPrefix = "BERTH_TEST_"

    /// The variable of a setting: `policy.advanceMaxMin` is `BERTH_POLICY_ADVANCE_MAX_MIN`, as swift-configuration spells it.
    static func variable(of key: String) -> String {
        var name = "BERTH_"
        var wasLower = false
        for scalar in key.unicodeScalars {
            let isUpper = (65...90).contains(scalar.value)
            if isUpper, wasLower { name += "_" }
            name += scalar == "." ? "_" : String(Character(scalar)).uppercased()
            wasLower = (97...122).contains(scalar.value)
        }
        return name
    }

    /// Leaves out the lines that begin with `//`, white space before it or not; line numbers stay.
    private static func withoutComments(_ bytes: [UInt8]) -> [UInt8] {
        bytes.split(separator: 10, omittingEmptySubsequences: false).map { line -> ArraySlice<UInt8> in
            line.drop { $0 == 32 || $0 == 9 }.starts(with: [47, 47]) ? [] : line
        }.joined(separator: [10]).map { $0 }
    }

    /// Reads `berth.json`: names may be nested (`{"https":{"port":9443}}`) or written with points (`{"https.port":9443}`); a list is a value with
    /// commas.
    static func file(_ path: String) throws -> [String: String] {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw ServerSettings.Invalid(description: "\(path) cannot be read")
        }
        guard data.count <= 1 << 20 else { throw ServerSettings.Invalid(description: "\(path) is longer than 1 MiB") }
        let bytes = withoutComments(data.starts(with: [0xEF, 0xBB, 0xBF]) ? [UInt8](data.dropFirst(3)) : [UInt8](data))
        let json: JSON
        do { json = try JSON.parse(bytes) } catch {
            throw ServerSettings.Invalid(description: "\(path) is not JSON of whole numbers and texts: \(error)")
        }
        guard let object = json.objectValue else { throw ServerSettings.Invalid(description: "\(path): a JSON object expected") }
        var values: [String: String] = [:]
        func scalar(_ value: JSON) -> String? {
            switch value {
            case .string(let text): text
            case .int(let number): String(number)
            case .bool(let flag): flag ? "true" : "false"
            default: nil
            }
        }
        func read(_ object: JSONObject, _ prefix: String) throws {
            for (name, value) in object.members {
                let key = prefix + name
                guard key.utf8.count <= 200 else { throw ServerSettings.Invalid(description: "\(path): a name of more than 200 bytes") }
                if let inner = value.objectValue { try read(inner, key + "."); continue }
                let text: String?
                if let list = value.arrayValue {
                    let parts = list.compactMap(scalar)
                    text = parts.count == list.count ? parts.joined(separator: ",") : nil
                } else {
                    text = scalar(value)
                }
                guard let text else {
                    throw ServerSettings.Invalid(
                        description: "\(path): \(key) = \(value.string.prefix(60)): a text, number or list expected")
                }
                guard values.updateValue(text, forKey: key) == nil else {
                    throw ServerSettings.Invalid(description: "\(path): \(key) is there twice")
                }
            }
        }
        try read(object, "")
        return values
    }
}
