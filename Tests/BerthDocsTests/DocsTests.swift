import BerthCore
import BerthDocs
import BerthWire
import Foundation
import Testing

@Suite struct DocsTests {
    /// Every value of the policy engine is explained, and nothing else is.
    @Test func everyPolicyValueIsExplained() {
        #expect(Dialect.current.policies.map(\.name).sorted() == Policy().values.map(\.name).sorted())
    }

    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    @Test(arguments: Documents.all.map(\.name))
    func keptDocumentsAreTheCodesOwn(_ name: String) throws {
        let kept = try String(contentsOf: DocsTests.root.appendingPathComponent("docs/reference/\(name)"), encoding: .utf8)
        let made = Documents.all.first { $0.name == name }!.text
        #expect(kept == made, "docs/reference/\(name) is stale: berth docs --out docs/reference")
    }

    /// The contract says the same in both languages: the same sections with as many paragraphs, rows and list items.
    @Test func theContractIsWholeInBothLanguages() {
        func shape(_ text: String) -> [String] {
            text.split(separator: "\n").map { line in
                if line.hasPrefix("## ") { return String(line.drop { $0 != "{" }) }
                if line.hasPrefix("|") { return "| \(line.split(separator: "|").count)" }
                return line.hasPrefix("- ")
                    ? "-" : line.first.map { ("0"..."9").contains($0) ? "\(line.prefix { $0.isNumber })." : "text" } ?? ""
            }
        }
        let contract = Dialect.current.contract
        #expect(shape(contract.zh) == shape(contract.en))
        #expect(shape(contract.en).count { $0.hasPrefix("{#") } == 13)
    }

    @Test func statesAreTheCores() {
        let machines = Dictionary(uniqueKeysWithValues: Dialect.current.machines.map { ($0.name, $0) })
        for state in machines["order"]!.states where state.code <= 8 {
            #expect("\(ReservationStatus(rawValue: state.code)!)" == state.name)
        }
        for state in machines["deliver"]!.states { #expect("\(DeliverStatus(rawValue: state.code)!)" == state.name) }
        for state in machines["payment"]!.states { #expect("\(PaymentState(rawValue: state.code)!)" == state.name) }
        for machine in machines.values {
            let codes = Set(machine.states.map(\.code))
            #expect(codes.count == machine.states.count)
            #expect(machine.transitions.allSatisfy { codes.contains($0.from) && codes.contains($0.to) })
            let places = Set(machine.states.map { "\($0.x),\($0.y)" })
            #expect(places.count == machine.states.count, "two states at one place of the diagram")
        }
    }

    /// The seed's eleven terms, each with a name that the code really uses.
    @Test func termsAreInTheCode() throws {
        #expect(Dialect.current.terms.count == 11)
        var sources = ""
        let folder = DocsTests.root.appendingPathComponent("Sources")
        for case let file as URL in FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)! {
            if file.path.hasSuffix("glossary.json") { continue }
            if ["swift", "json"].contains(file.pathExtension) { sources += (try? String(contentsOf: file, encoding: .utf8)) ?? "" }
        }
        sources += try String(contentsOf: DocsTests.root.appendingPathComponent("Package.swift"), encoding: .utf8)
        for term in Dialect.current.terms { #expect(sources.contains(term.code), "\(term.zh) is said to be \(term.code)") }
    }

    /// Every refusal of the rules, and every code that a message names, has its row.
    @Test func everyRefusalHasACode() {
        for refusal in Rejection.allCases { #expect(Dialect.current.codesByName[refusal.rawValue] != nil, "\(refusal)") }
    }

    @Test func everyServiceIsInItsDocuments() {
        let paths = OpenAPI.document()["paths"]!.objectValue!
        let channels = AsyncAPI.document()["channels"]!.objectValue!
        for service in Dialect.current.catalogue {
            if !service.callers.isEmpty {
                #expect(paths["/api/v1/" + service.name.replacingOccurrences(of: ".", with: "/")] != nil)
            }
            if service.roles.contains(.lot), service.direction != "app" {
                #expect(channels[service.name.replacingOccurrences(of: ".", with: "_")] != nil)
            }
            for language in Reference.Language.allCases {
                #expect(Reference(language).markdown.contains("`\(service.name)`"))
            }
        }
    }
}
