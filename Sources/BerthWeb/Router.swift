import BerthCore
import BerthWire

/// The people who may use a page or an action.
enum Access: Sendable {
    case anyone
    /// A person with this role; staff sign in at another page.
    case role(String)
    /// Any of these roles.
    case roles([String])
    case signedIn
    /// The city's staff with the right to this page.
    case cityPage(String)
    /// Lot operators, and the city's staff with the right `lots`.
    case lots
    /// Lot operators, and those of the city's staff who have every right: they make accounts.
    case people

    enum Verdict { case allowed, signInFirst, forbidden }

    func verdict(_ person: SignedIn?) -> Verdict {
        if case .anyone = self { return .allowed }
        guard let person else { return .signInFirst }
        let isAllowed =
            switch self {
            case .anyone, .signedIn: true
            case .role(let role): person.may(role)
            case .roles(let roles): roles.contains { person.may($0) }
            case .cityPage(let page): person.mayInCity(page)
            case .lots: person.may("operator") || person.mayInCity("lots")
            case .people: person.may("city") ? person.rights.isEmpty : person.may("operator")
            }
        return isAllowed ? .allowed : .forbidden
    }

    /// The address of the page for signing in, for somebody who has to.
    var signIn: String {
        switch self {
        case .anyone, .signedIn, .role("driver"), .role("owner"): "/signin"
        default: "/staff"
        }
    }

    var name: String {
        switch self {
        case .anyone: "anyone"
        case .signedIn: "signed in"
        case .role(let role): role
        case .roles(let roles): roles.joined(separator: " or ")
        case .cityPage(let page): "city: \(page)"
        case .lots: "operator or city"
        case .people: "operator or city"
        }
    }
}

struct Route: Sendable {
    var method: String
    /// Parts of a path; one that begins with `:` stands for any one part.
    var pattern: String
    var access: Access
    var handler: @Sendable (Site, WebRequest) async throws -> WebResult

    static func get(_ pattern: String, _ access: Access, _ handler: @escaping @Sendable (Site, WebRequest) async throws -> WebResult)
        -> Route
    {
        Route(method: "GET", pattern: pattern, access: access, handler: handler)
    }

    static func post(_ pattern: String, _ access: Access, _ handler: @escaping @Sendable (Site, WebRequest) async throws -> WebResult)
        -> Route
    {
        Route(method: "POST", pattern: pattern, access: access, handler: handler)
    }
}

struct Router: Sendable {
    private let routes: [(parts: [Substring], route: Route)]

    init(_ routes: [Route]) { self.routes = routes.map { ($0.pattern.split(separator: "/"), $0) } }

    func find(_ method: String, _ path: String) -> (Route, TextTable<String>)? {
        let parts = path.split(separator: "/")
        for (pattern, route) in routes where route.method == method {
            if let names = Router.match(pattern, parts) { return (route, names) }
        }
        return nil
    }

    /// Whether a page of another method is there.
    func knows(_ path: String) -> Bool {
        let parts = path.split(separator: "/")
        return routes.contains { Router.match($0.parts, parts) != nil }
    }

    private static func match(_ pattern: [Substring], _ parts: [Substring]) -> TextTable<String>? {
        guard pattern.count == parts.count else { return nil }
        var names: TextTable<String> = [:]
        for (wanted, part) in zip(pattern, parts) {
            if wanted.hasPrefix(":") {
                guard part.utf8.count <= 6_000, let text = part.removingPercentEncoding else { return nil }
                names[String(wanted.dropFirst())] = text
            } else if wanted.utf8.elementsEqual(part.utf8) == false {
                return nil
            }
        }
        return names
    }
}
