// swift-tools-version: 6.2
import PackageDescription

// The rooms and the one direction of flow are drawn in docs/architecture.md; which target may import
// what is checked by Tests/tidy. Resource folders hold the profile (codes, events, services) and the page.
let package = Package(
    name: "berth",
    products: [
        .executable(name: "berth", targets: ["berth"]),
        .executable(name: "berth-gateway", targets: ["berth-gateway"]),
    ],
    dependencies: [
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/hummingbird-project/swift-mustache", from: "2.1.1"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/apple/swift-crypto", "3.12.3"..<"5.0.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.0"),
        .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
        .package(url: "https://github.com/apple/swift-asn1", from: "1.7.4"),
    ],
    targets: [
        // 1 values and rules; no I/O, no clock, no randomness
        .target(name: "BerthCore"),
        // 2 bytes and meaning
        .target(
            name: "BerthWire",
            dependencies: ["BerthCore", .product(name: "Crypto", package: "swift-crypto")],
            resources: [.copy("Profile")]),
        // 2 what integrators read, from the same catalogue
        .target(name: "BerthDocs", dependencies: ["BerthCore", "BerthWire"]),
        // 2 the scenes of annex B: executable stories
        .target(name: "BerthScene", dependencies: ["BerthCore", "BerthWire"], resources: [.copy("Scenes")]),
        // 2 durability
        .systemLibrary(name: "CPostgres", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .target(
            name: "BerthStore",
            dependencies: [
                "BerthCore", "BerthWire", "CPostgres", .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"), .product(name: "Crypto", package: "swift-crypto"),
            ]),
        // 2 carriers
        .systemLibrary(name: "CMosquitto", pkgConfig: "libmosquitto", providers: [.apt(["libmosquitto-dev"])]),
        .target(name: "CBerthPosix"),
        .target(
            name: "BerthLink",
            dependencies: [
                "BerthWire", "CMosquitto", "CBerthPosix",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        // 3 the city's server
        .target(
            name: "BerthServer",
            dependencies: [
                "BerthCore", "BerthWire", "BerthDocs", "BerthScene", "BerthStore", "BerthLink", "CBerthPosix",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "CryptoExtras", package: "swift-crypto"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "HummingbirdTLS", package: "hummingbird"),
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras"),
                .product(name: "NIOHTTPCompression", package: "swift-nio-extras"),
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "X509", package: "swift-certificates"),
                .product(name: "SwiftASN1", package: "swift-asn1"),
            ],
            resources: [.copy("Pages")]),
        // 3 the pages: a client of the interface
        .systemLibrary(name: "CQrencode", pkgConfig: "libqrencode", providers: [.apt(["libqrencode-dev"])]),
        .target(
            name: "BerthWeb",
            dependencies: [
                "BerthCore", "BerthWire", "BerthLink", "CQrencode",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "Mustache", package: "swift-mustache"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "CryptoExtras", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            resources: [.copy("Web")]),
        // 3 the box at a lot
        .target(
            name: "BerthGateway",
            dependencies: [
                "BerthCore", "BerthWire", "BerthLink",
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ]),
        // 3 the simulated city, and how we measure
        .target(
            name: "BerthSimulator",
            dependencies: [
                "BerthCore", "BerthWire", "BerthLink", "BerthGateway", "CBerthPosix",
                .product(name: "Logging", package: "swift-log"),
            ]),
        // 4 thin: arguments in, exit code out
        .executableTarget(
            name: "berth",
            dependencies: [
                "BerthServer", "BerthWeb", "BerthSimulator", "BerthLink", "BerthWire", "BerthDocs", "BerthScene",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        .executableTarget(
            name: "berth-gateway",
            dependencies: [
                "BerthGateway", "BerthLink", "BerthWire", "CBerthPosix",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        // Counts instructions; not a product.
        .executableTarget(
            name: "berth-count",
            dependencies: ["BerthServer", "BerthStore", "BerthCore", "BerthWire", .product(name: "Logging", package: "swift-log")],
            path: "Benchmarks/Count"),
        .testTarget(name: "BerthCoreTests", dependencies: ["BerthCore"]),
        .testTarget(name: "BerthWireTests", dependencies: ["BerthWire", "BerthCore"]),
        .testTarget(name: "BerthDocsTests", dependencies: ["BerthDocs", "BerthCore", "BerthWire"]),
        .testTarget(name: "BerthSceneTests", dependencies: ["BerthScene", "BerthCore", "BerthWire"]),
        .testTarget(name: "BerthGatewayTests", dependencies: ["BerthGateway"]),
        .testTarget(name: "BerthServerTests", dependencies: ["BerthServer", "BerthStore", "BerthCore", "BerthWire"]),
        .testTarget(
            name: "BerthStoreTests",
            dependencies: ["BerthStore", "BerthCore", "BerthWire", .product(name: "GRDB", package: "GRDB.swift")],
            exclude: ["Golden"]),
    ],
    swiftLanguageModes: [.v6]
)
