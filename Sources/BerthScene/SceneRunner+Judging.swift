import BerthCore
import BerthWire

// The expected result of a step, compared with the reply.
extension SceneRunner {
    mutating func judge(_ step: SceneStep, _ answer: Reply) throws(Fault) -> String? {
        for word in SceneRunner.joined(SceneRunner.words(step.then)) {
            guard let at = word.firstIndex(of: "=") else {
                if let fault = judge(plain: word, answer) { return fault }
                continue
            }
            let (left, right) = (String(word[..<at]), String(word[word.index(after: at)...]))
            if left == "车场收到" || left == "lot hears" {
                let service = SceneWords.service(right)?.name ?? right
                guard heard.contains(where: { $0.hasPrefix(service) }) else { return "no lot heard \(service); heard: \(heard)" }
                continue
            }
            if left == "备选" || left == "alternative" {
                let names = (answer.data["alternatives"]?.arrayValue ?? []).compactMap { $0["parkCode"]?.stringValue }
                guard names.contains(right) else { return "alternatives are \(names), not \(right)" }
                continue
            }
            let name = SceneWords.fields[left] ?? left
            let actual: JSON? = name == "code" ? .int(answer.code) : answer.data[name]
            let expected = try value(right, name, type: actual.map(SceneRunner.type(of:)) ?? .any)
            guard actual == expected || (actual == nil && (right == "无" || right == "none")) else {
                let shown = actual.map { json in
                    json.intValue.map { $0 > 1_000_000_000_000 ? SceneRunner.clock($0, day) : "\($0)" } ?? json.string
                }
                return "\(left) is \(shown ?? "absent"), not \(right)"
            }
        }
        if SceneRunner.words(step.then).isEmpty, answer.code != 0 { return "\(answer.code) \(answer.resultCode.zh)" }
        return nil
    }

    func judge(plain word: String, _ answer: Reply) -> String? {
        if let verdict = SceneWords.verdicts[word] {
            let actual = answer.data["decision"]?.intValue
            return actual == Int64(verdict) ? nil : "the gate says \(actual.map { "\($0)" } ?? "nothing") (\(told(answer)))"
        }
        if word == "转人工" || word == "to the desk" {
            return answer.data["caseNo"] != nil && answer.data["decision"]?.intValue == -1 ? nil : "it did not go to the control room"
        }
        if word == "成功" || word == "ok" { return answer.code == 0 ? nil : told(answer) }
        if let state = SceneWords.state(word, machine: 0) {
            let actual = answer.data["status"]?.intValue ?? answer.data["orderStatus"]?.intValue
            return actual == Int64(state) ? nil : "the state is \(actual.map { "\($0)" } ?? told(answer)), not \(word)"
        }
        return "\(word): what is that?"
    }

    static func type(of json: JSON) -> FieldType {
        switch json {
        case .int(let number): number > 1_000_000_000_000 ? .time : .int(-WireLimits.intMax...WireLimits.intMax)
        case .bool: .bool
        case .string: .string(max: 1024)
        default: .any
        }
    }
}
