public import BerthCore
import Foundation

/// One row of the code dictionary (interface.md, section 10).
public struct ResultCode: Sendable, Equatable {
    public let code: Int
    public let name: String
    public let zh: String
    public let en: String
    /// The caller's next step, in the dictionary's words: "no", "yes", "new nonce" …
    public let retry: String

    /// The HTTP status by the rule of section 3.
    public var httpStatus: Int {
        switch code {
        case 0, 611: 200
        case 100...103, 105: 400
        case 104, 701: 413
        case 200...203, 206, 208: 401
        case 204, 205, 207: 403
        case 300...302: 429
        case 400: 404
        case 402...404, 602, 610, 612, 613, 700, 702: 409
        case 501...503, 600, 601: 503
        case 603, 1000...4999: 422
        default: 500
        }
    }

    /// Whether an entry of a log with this answer counts as consumed (section 5.3).
    public var isFinal: Bool {
        switch code {
        case 200...208, 300...302, 500...503, 610, 612, 613: false
        default: true
        }
    }

    /// Whether the answer to a plain request is kept and repeated (section 3).
    public var isKept: Bool { !(300...302).contains(code) && !(500...599).contains(code) }
}

/// One service of the catalogue (section 9): its name, the roles that may call it, and its guard against repetition.
public struct ServiceDefinition: Sendable {
    public enum Kind: String, Sendable {
        /// An entry of the up or down log: guarded by epoch and seq.
        case log
        /// Changes something; its final result is kept by requestId.
        case kept
        /// Changes nothing, answers afresh.
        case read
        /// Part of the resume mechanism; guarded by the log's own positions.
        case sync
        /// Asked of a lot and answered now or not at all; never queued.
        case live
        /// From the server to a provider's registered address, again until it is acknowledged (A17).
        case callback
    }
    public let id: String
    public let name: String
    public let direction: String
    public let roles: Set<Role>
    public let kind: Kind
    public let zh: String
    public let en: String
    /// Where the shape comes from, in the marks of interface.md.
    public let mark: String
    public let request: Schema
    public let reply: Schema

    /// The roles that may call it at the server. A message to lots is called by the other roles, and relayed or logged for the lot.
    public var callers: Set<Role> {
        switch direction {
        case "down": roles.filter { !$0.speaksForLots }
        case "callback": []
        default: roles
        }
    }

    /// Stands for the service of an up-log entry whose own service is not allowed there: the entry is consumed as a dead letter.
    public static let stray = ServiceDefinition(
        id: "", name: "", direction: "up", roles: [.lot, .cloud], kind: .log, zh: "", en: "", mark: "", request: Schema.nothing,
        reply: Schema.nothing)

    /// Whether a call with this role is about one lot, which the envelope must name.
    public func isAboutLot(_ role: Role) -> Bool {
        // The same question means its own lot to a lot, and the city to an operator.
        if name == "stat.daily.query" || name.hasPrefix("ledger.") { return role.speaksForLots }
        return direction != "app" && name != "sys.time.get" && role != .provider
    }
}

/// A requirement that a lot meets before it is put into service (annex A of the seed; figures of public siblings).
public struct ChecklistItem: Sendable {
    public enum Proof: String, Sendable {
        /// Proved by what the lot sends.
        case message
        /// Somebody has looked, and says so.
        case attested
    }
    public let id: String
    public let zh: String
    public let en: String
    public let ruleZh: String
    public let ruleEn: String
    public let proof: Proof
    /// The businesses that need it.
    public let purposes: Set<Purpose>
    public let service: String
    public let source: String
}

/// States of section 6 as the documents draw them.
public struct StateMachine: Sendable {
    public struct State: Sendable {
        public let code: Int
        public let name: String
        public let zh: String
        public let en: String
        /// Where the diagram puts it, in columns and rows.
        public let x: Int
        public let y: Int
    }

    public struct Transition: Sendable {
        public let from: Int
        public let to: Int
        public let zh: String
        public let en: String
    }

    public let name: String
    public let zh: String
    public let en: String
    public let states: [State]
    public let transitions: [Transition]
}

/// The dictionary files of one dialect, `berth-1.0`: codes, events, services (section 1, decision 4).
public struct Dialect: Sendable {
    public let codes: [Int: ResultCode]
    public let codesByName: [String: ResultCode]
    public let events: [Int: (en: String, zh: String)]
    public let services: [String: ServiceDefinition]
    /// The services in the order of the catalogue.
    public let catalogue: [ServiceDefinition]

    public let checklist: [ChecklistItem]
    /// The meaning of each policy value, in the order of ``Policy``.
    public let policies: [(name: String, zh: String, en: String, mark: String)]
    /// Public holidays and make-up workdays.
    public let calendar: WorkCalendar
    public let machines: [StateMachine]
    /// Colour codes of other systems; the first is the wire's own.
    public let plateColors: [PlateColorTable]
    /// The seed's eleven terms, and their names in the code.
    public let terms: [(zh: String, en: String, code: String, note: String)]

    public static let current: Dialect = {
        do { return try Dialect(name: "berth-1.0") } catch { Resources.giveUp("the profile berth-1.0 cannot be read: \(error)") }
    }()

    /// The parts of the contract that are no tables, as Markdown.
    public let contract: (zh: String, en: String)

    /// The data of one executed request and its reply for each service, as the tests recorded them; empty where the file is not there.
    public static let examples: [String: (request: JSON, reply: JSON)] = {
        guard let folder = try? Resources.folder("Profile", of: "BerthWire"),
            let data = FileManager.default.contents(atPath: "\(folder)/berth-1.0/examples.json"),
            let rows = try? JSON.parse([UInt8](data)).arrayValue
        else { return [:] }
        var examples: [String: (request: JSON, reply: JSON)] = [:]
        for row in rows { examples[row["service"]?.stringValue ?? ""] = (row["request"] ?? [:], row["reply"] ?? [:]) }
        return examples
    }()

    struct Unreadable: Error, CustomStringConvertible {
        let file: String
        var description: String { "\(file) is missing or damaged" }
    }

    init(name: String) throws {
        let folder = try Resources.folder("Profile", of: "BerthWire")
        func rows(_ file: String) throws -> [JSON] {
            let path = "\(folder)/\(name)/\(file)"
            guard let data = FileManager.default.contents(atPath: path), let rows = try? JSON.parse([UInt8](data)).arrayValue
            else { throw Unreadable(file: path) }
            return rows
        }
        func words(_ file: String) throws -> String {
            let path = "\(folder)/\(name)/\(file)"
            guard let data = FileManager.default.contents(atPath: path), let text = String(bytes: data, encoding: .utf8) else {
                throw Unreadable(file: path)
            }
            return text
        }
        contract = (try words("contract.zh.md"), try words("contract.en.md"))
        var codes: [Int: ResultCode] = [:]
        for row in try rows("codes.json") {
            let code = Int(row["code"]?.intValue ?? -1)
            codes[code] = ResultCode(
                code: code, name: row["name"]?.stringValue ?? "", zh: row["zh"]?.stringValue ?? "",
                en: row["en"]?.stringValue ?? "", retry: row["retry"]?.stringValue ?? "")
        }
        self.codes = codes
        codesByName = Dictionary(uniqueKeysWithValues: codes.values.map { ($0.name, $0) })
        var events: [Int: (en: String, zh: String)] = [:]
        for row in try rows("events.json") {
            events[Int(row["code"]?.intValue ?? -1)] = (row["en"]?.stringValue ?? "", row["zh"]?.stringValue ?? "")
        }
        self.events = events
        func shape(_ row: JSON, _ name: String) throws -> Schema {
            try Schema(lines: (row[name]?.arrayValue ?? []).compactMap(\.stringValue))
        }
        func text(_ row: JSON, _ name: String) -> String { row[name]?.stringValue ?? "" }
        func number(_ row: JSON, _ name: String) -> Int { Int(row[name]?.intValue ?? 0) }
        terms = try rows("glossary.json").map { (text($0, "zh"), text($0, "en"), text($0, "code"), text($0, "note")) }
        checklist = try rows("checklist.json").map { row in
            guard let proof = ChecklistItem.Proof(rawValue: text(row, "proof")) else { throw Unreadable(file: "checklist.json") }
            return ChecklistItem(
                id: text(row, "id"), zh: text(row, "zh"), en: text(row, "en"), ruleZh: text(row, "ruleZh"), ruleEn: text(row, "ruleEn"),
                proof: proof,
                purposes: Set((row["bizTypes"]?.arrayValue ?? []).compactMap { Purpose(rawValue: Int($0.intValue ?? 0)) }),
                service: text(row, "service"), source: text(row, "source"))
        }
        policies = try rows("policies.json").map { (text($0, "name"), text($0, "zh"), text($0, "en"), text($0, "mark")) }
        var exceptions: [Int64: WorkCalendar.Kind] = [:]
        for row in try rows("holidays.json") {
            for (name, kind) in [("holidays", WorkCalendar.Kind.holiday), ("workdays", .workday)] {
                for date in row[name]?.arrayValue ?? [] {
                    exceptions[try Decode.day(FieldReader(JSONObject([("date", date)])), "date")] = kind
                }
            }
        }
        calendar = WorkCalendar(exceptions: exceptions)
        plateColors = try rows("colors.json").map { table in
            PlateColorTable(
                name: text(table, "name"), zh: text(table, "zh"), en: text(table, "en"), source: text(table, "source"),
                rows: (table["codes"]?.arrayValue ?? []).map { row in
                    PlateColorTable.Row(
                        theirs: text(row, "theirs"), ours: (row["ours"]?.arrayValue ?? []).compactMap { $0.intValue.map { Int($0) } },
                        zh: text(row, "zh"), en: text(row, "en"))
                })
        }
        machines = try rows("states.json").map { row in
            StateMachine(
                name: text(row, "name"), zh: text(row, "zh"), en: text(row, "en"),
                states: (row["states"]?.arrayValue ?? []).map {
                    StateMachine.State(
                        code: number($0, "code"), name: text($0, "name"), zh: text($0, "zh"), en: text($0, "en"),
                        x: number($0, "x"), y: number($0, "y"))
                },
                transitions: (row["transitions"]?.arrayValue ?? []).map {
                    StateMachine.Transition(
                        from: number($0, "from"), to: number($0, "to"), zh: text($0, "zh"), en: text($0, "en"))
                })
        }
        var services: [String: ServiceDefinition] = [:]
        var order: [String] = []
        for row in try rows("services.json") {
            guard let name = row["name"]?.stringValue, let kind = ServiceDefinition.Kind(rawValue: row["kind"]?.stringValue ?? "")
            else { throw Unreadable(file: "services.json") }
            services[name] = ServiceDefinition(
                id: row["id"]?.stringValue ?? "", name: name, direction: row["direction"]?.stringValue ?? "",
                roles: Set((row["roles"]?.arrayValue ?? []).compactMap { Role(rawValue: $0.stringValue ?? "") }),
                kind: kind, zh: row["zh"]?.stringValue ?? "", en: row["en"]?.stringValue ?? "",
                mark: row["mark"]?.stringValue ?? "", request: try shape(row, "request"), reply: try shape(row, "reply"))
            order.append(name)
        }
        self.services = services
        catalogue = order.compactMap { services[$0] }
    }

    /// The row of a named refusal; a test proves that every name has one.
    public func code(_ name: String) -> ResultCode {
        guard let row = codesByName[name] else { preconditionFailure("no code is named \(name)") }
        return row
    }
}
