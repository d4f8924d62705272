import BerthCore
import BerthWire
import Foundation
import Testing

/// JSON against an oracle: values that are made by chance are read back as they were, and texts that are damaged by chance are taken only where
/// Foundation's parser takes them too, with the same value.
@Suite struct JSONFuzzTests {
    /// The same numbers at each run.
    struct Chance {
        var state: UInt64

        mutating func number(_ bound: Int) -> Int {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Int(state % UInt64(bound))
        }

        mutating func text() -> String {
            let letters: [Unicode.Scalar] = [
                "a", "Z", "0", "\"", "\\", "/", "\n", "\u{1}", "é", "e", "\u{301}", "泊", "\u{1F697}", "\u{FFFF}", "\u{7F}", " ",
            ]
            var text = String.UnicodeScalarView()
            for _ in 0..<number(6) { text.append(letters[number(letters.count)]) }
            return String(text)
        }

        mutating func value(_ depth: Int) -> JSON {
            switch number(depth > 5 ? 4 : 6) {
            case 0: return .null
            case 1: return .bool(number(2) == 0)
            case 2: return .int([0, 1, -1, 42, -7, 9_007_199_254_740_991, -9_007_199_254_740_991][number(7)])
            case 3: return .string(text())
            case 4: return .array((0..<number(4)).map { _ in value(depth + 1) })
            default:
                var object = JSONObject()
                for _ in 0..<number(4) { object[text()] = value(depth + 1) }
                return .object(object)
            }
        }
    }

    /// The value as Foundation has it, or nil where the two differ.
    private func same(_ json: JSON, _ other: Any) -> Bool {
        switch json {
        case .null: return other is NSNull
        case .bool(let value): return (other as? NSNumber).map { CFBooleanLike($0) == value } ?? false
        case .int(let value): return (other as? NSNumber).map { CFBooleanLike($0) == nil && $0.int64Value == value } ?? false
        case .illegalNumber: return false
        case .string(let value): return (other as? String).map { Array($0.utf8) == Array(value.utf8) } ?? false
        case .array(let values):
            guard let others = other as? [Any], others.count == values.count else { return false }
            return zip(values, others).allSatisfy { same($0, $1) }
        case .object(let object):
            guard let others = other as? [String: Any] else { return false }
            // Foundation knows two spellings of one letter as one key.
            guard others.count == object.members.count else {
                return Set(object.members.map { $0.0.precomposedStringWithCanonicalMapping }).count == others.count
            }
            return object.members.allSatisfy { name, value in others[name].map { same(value, $0) } ?? false }
        }
    }

    /// The value of a boolean; nil for a number.
    private func CFBooleanLike(_ number: NSNumber) -> Bool? {
        String(cString: number.objCType) == "c" ? number.boolValue : nil
    }

    @Test func aValueIsReadBackAsItWas() throws {
        var chance = Chance(state: 20_261_130)
        for _ in 0..<5_000 {
            let value = chance.value(1)
            let bytes = value.text(canonical: chance.number(2) == 0)
            let read = try JSON.parse(bytes)
            #expect(read.text(canonical: true) == value.text(canonical: true))
            let oracle = try JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)
            #expect(same(read, oracle), "\(String(decoding: bytes, as: UTF8.self))")
        }
    }

    @Test func aDamagedTextIsTakenOnlyWhereTheOracleTakesIt() throws {
        var chance = Chance(state: 7)
        var (taken, refused, stricter) = (0, 0, 0)
        let pieces = [
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "\\ud800", "\\uDC00", "0", "-", "-0", "1e5", ".5", "00", "true", "nul", " ",
            "\t", "\u{1}", "é",
        ]
        for _ in 0..<30_000 {
            var bytes = chance.value(1).text(canonical: false)
            for _ in 0...chance.number(2) where !bytes.isEmpty {
                let place = chance.number(bytes.count)
                switch chance.number(4) {
                case 0: bytes.remove(at: place)
                case 1: bytes.insert(contentsOf: Array(pieces[chance.number(pieces.count)].utf8), at: place)
                case 2: bytes[place] = UInt8(chance.number(255) + 1)
                default: bytes.swapAt(place, chance.number(bytes.count))
                }
            }
            let text = String(decoding: bytes, as: UTF8.self)
            let oracle = try? JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)
            do throws(JSONError) {
                let read = try JSON.parse(bytes)
                taken += 1
                guard let oracle else {
                    Issue.record("taken, and no JSON: \(text)")
                    continue
                }
                #expect(same(read, oracle), "\(text)")
            } catch {
                refused += 1
                guard oracle != nil else { continue }
                // The wire is stricter in these things alone (section 3).
                stricter += 1
                let isNumber = text.contains { ".eE".contains($0) } || text.contains("-0") || error == .illegalNumber
                let isName = "\(error)".contains("twice") || "\(error)".contains("duplicate")
                let isSurrogate = text.contains("\\u") || text.contains("\\U")
                // This oracle takes a comma before a closing bracket, which RFC 8259 does not.
                let isComma = text.firstMatch(of: /,\s*[\]}]/) != nil
                #expect(isNumber || isName || isSurrogate || isComma, "refused (\(error)), and JSON: \(text)")
            }
        }
        #expect(taken > 3_000 && refused > 10_000, "\(taken) taken, \(refused) refused, \(stricter) of them by the wire alone")
    }
}
