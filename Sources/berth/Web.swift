import ArgumentParser
import BerthLink
import BerthServer
import BerthWeb
import BerthWire
import Foundation
import Hummingbird
import Logging

extension Site: PageHost {}

/// The pages in the server's own process.
enum WebHost {
    static func make(_ entrance: PageEntrance) throws -> any PageHost {
        guard let credentials = WebCredentials(entrance.credentials) else {
            throw Resources.Missing(description: "the pages have no credentials")
        }
        var settings = WebSettings()
        settings.isTest = entrance.isTestEnvironment
        settings.codeSender = sender(entrance.codes, entrance.callbackRules)
        settings.upload = entrance.upload
        settings.download = entrance.download
        return try Site(
            carrier: .inProcess(entrance.send), credentials: credentials, settings: settings, clock: entrance.clock, logger: entrance.logger
        )
    }

    static func sender(_ codes: String, _ rules: CallbackClient.Rules) -> CodeSender {
        switch codes {
        case "none": .none
        case "screen": .screen
        case let url where url.hasPrefix("https://"): .hook(CallbackClient(rules: rules), url)
        default: .command(codes)
        }
    }
}

/// The facts of a connection that the pages need.
struct WebContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let source: String

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        self.source = source.channel.remoteAddress?.ipAddress ?? ""
    }
}

struct WebResponder: HTTPResponder {
    typealias Context = WebContext
    let site: Site
    let isPlain: Bool
    /// Addresses whose `X-Forwarded-For` is believed.
    let proxies: Set<String>

    @Sendable func respond(to request: Request, context: WebContext) async throws -> Response {
        let source = Site.source(of: request, connection: context.source, proxies: proxies)
        let found = await site.respond(to: request, source: source, isPlain: isPlain)
        var response = if let found { found } else { await site.missing(request, source: source, isPlain: isPlain) }
        response.headers[Site.compressed] = nil
        return response
    }
}

struct Web: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the pages in a process of their own, against a city's server.",
        discussion: """
            The keys file is what `berth keys web` prints at the server. Any number of these processes may serve one city. They speak plain
            HTTP and belong behind a proxy that ends TLS; with --plain they are for a browser on this machine.
            """)
    @Option(help: "The city's server, https://host:port.") var server = ""
    @Option(help: "A PEM file of the authority of the server's certificate.") var ca: String?
    @Option(help: "The file with the three credentials of the pages.") var keys = ""
    @Option(help: "The address to listen on.") var bind = "127.0.0.1"
    @Option(help: "The port; 0 chooses a free one.") var port = 8081
    @Option(help: "none, the path of a program, an https address, or screen (for tests).") var codes = "none"
    @Option(help: "The address of a proxy in front, whose X-Forwarded-For is believed; several are allowed.") var proxy: [String] = []
    @Flag(help: "Cookies for plain HTTP on loopback.") var plain = false
    @Flag(help: "Explains codes on the screen and pays by the sandbox.") var test = false
    @Flag(help: "Print the pages and actions with who may use them, as JSON, and end.") var routes = false

    func validate() throws {
        if !routes, server.isEmpty || keys.isEmpty { throw ValidationError("--server and --keys are needed") }
        if let wrong = proxy.first(where: { Site.address($0) == nil }) {
            throw ValidationError("--proxy \(wrong): an IP address expected")
        }
    }

    func run() async throws {
        if routes {
            return put(
                JSON.array(
                    Site.routeTable.map { ["method": .string($0.method), "pattern": .string($0.pattern), "access": .string($0.access)] }
                ).string)
        }
        do {
            guard let data = FileManager.default.contents(atPath: keys), let json = try? JSON.parse([UInt8](data)),
                let credentials = WebCredentials(json)
            else { throw Resources.Missing(description: "\(keys): the JSON of `berth keys web` expected") }
            let logger = makeLogger("info")
            let client = try SignedClient(base: server, caFile: ca)
            var settings = WebSettings()
            settings.isTest = test
            settings.codeSender = WebHost.sender(codes, CallbackClient.Rules())
            settings.upload = { url, bytes in await client.upload(url, bytes) }
            settings.download = { url in await client.download(url) }
            settings.documentsURL = server
            let site = try Site(carrier: .https(client), credentials: credentials, settings: settings, logger: logger)
            let application = Application(
                responder: WebResponder(
                    site: site, isPlain: plain, proxies: Set(proxy.compactMap { Site.address($0) })),
                configuration: .init(address: .hostname(bind, port: port), serverName: "berth"),
                onServerRunning: { channel in
                    _ = Output.line(
                        JSON.compact([("event", "ready"), ("page", .string("http://\(bind):\(channel.localAddress?.port ?? 0)/"))]).string)
                }, logger: logger)
            try await application.runService()
            await client.close()
        } catch { fail("\(error)") }
    }
}

/// Accounts of staff.
struct People: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Accounts of the people who use the pages of operators and of the city.", subcommands: [Add.self, List.self, Set.self])

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make an account for a member of staff.",
            discussion: "Prints the login and a password, once. The person changes it and adds a second factor on the account page.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "The name to sign in with.") var login: String
        @Option(help: "The name of the person.") var name: String?
        @Option(help: "operator, city or developer; several are allowed.") var role: [String]
        @Option(help: "A lot of an operator or developer; several are allowed.") var park: [String] = []
        @Option(help: "A page of the city's staff, or an appId of a developer; several are allowed, none is all.") var right: [String] = []

        func run() async throws {
            let password = SystemRandom.token(16)
            do {
                let made = await ask(
                    [
                        "command": "people.save",
                        "data": .compact([
                            ("kind", "staff"), ("login", .string(login)), ("name", .optional(name)),
                            ("roles", .array(role.map { .string($0) })),
                            ("parkCodes", .array(park.map { .string($0) })), ("rights", .array(right.map { .string($0) })),
                            ("userToken", .string(SystemRandom.token(24))),
                            ("passwordHash", .string(try await StaffPassword.verifier(password))),
                        ]),
                    ], data: folder.data)
                output.show(
                    JSON.compact([("personId", made["personId"] ?? .null), ("login", .string(login)), ("password", .string(password))]))
            } catch { fail("\(error)") }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the accounts of staff.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption

        func run() async throws {
            output.show(
                await ask(["command": "people.list"], data: folder.data)["people"]?.arrayValue ?? [],
                [
                    Column("personId", "账户编号", "account"), Column("login", "登录名", "login"), Column("name", "姓名", "name"),
                    Column("roles", "角色", "roles", .list), Column("parkCodes", "车场", "lots", .list), Column("rights", "页面", "pages", .list),
                    Column("state", "状态", "state"), Column("hasTotp", "动态口令", "second factor", .flag),
                ])
        }
    }

    struct Set: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Close or open an account, or give it a new password without a second factor.")
        @OptionGroup var folder: DataOption
        @OptionGroup var output: OutputOption
        @Option(help: "The number of the account.") var person: String
        @Option(help: "active, disabled or deleted.") var state: String?
        @Flag(help: "A new password; the second factor is removed.") var reset = false

        func run() async throws {
            do {
                let password = SystemRandom.token(16)
                var members: [(String, JSON)] = [("personId", .string(person)), ("state", .optional(state))]
                if reset { members += [("passwordHash", .string(try await StaffPassword.verifier(password))), ("clear", ["totpSecret"])] }
                let made = await ask(["command": "people.save", "data": .compact(members)], data: folder.data)
                output.show(
                    JSON.compact([
                        ("personId", made["personId"] ?? .null), ("state", made["state"] ?? .null),
                        ("password", reset ? .string(password) : .null),
                    ]))
            } catch { fail("\(error)") }
        }
    }
}
