import ArgumentParser
import BerthLink
import BerthWire
import Foundation

struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Signed requests for a load generator; see scripts/bench.sh and docs/benchmarks.md.", subcommands: [Requests.self])

    struct Requests: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print ready bodies, one a line: good for 300 seconds from now, each once.")
        @Option(help: "A file with the credential; its rate must be raised.") var key: String
        @Option(help: "sys.time.get or order.create") var service: String
        @Option(help: "How many.") var count: Int
        @Option(help: "Number of the first one: each number is a plate and a user of its own.") var first = 0
        @Option(help: "The lots to book, P1 to Pn.") var lots = 50

        func validate() throws {
            for (flag, value, range) in [
                ("--count", count, 0...100_000_000), ("--first", first, 0...1_000_000_000), ("--lots", lots, 1...1_000_000),
            ] {
                guard range.contains(value) else {
                    throw ValidationError("\(flag) \(value): \(range.lowerBound) to \(range.upperBound) expected")
                }
            }
        }

        func run() throws {
            guard let bytes = FileManager.default.contents(atPath: key), let json = try? JSON.parse([UInt8](bytes)),
                let appId = json["appId"]?.stringValue, let secret = json["appSecret"]?.stringValue
            else { fail("\(key) holds no credential") }
            let now = SystemClock.now()
            var out: [UInt8] = []
            let prefix = SystemRandom.token(8)
            let letters = Array("ABCDEFGHJKLMNPQRSTUVWXYZ")
            for index in first..<first + count {
                var data: JSON = ["deviceSendTime": .int(now)]
                if service == "order.create" {
                    // A plate of its own for each: 24 × 24 × 24 × 100 of them.
                    let plate =
                        "粤\(letters[index / 1_382_400 % 24])\(letters[index / 57_600 % 24])\(letters[index / 2_400 % 24])\(letters[index / 100 % 24])"
                        + String(format: "%02d", index % 100)
                    data = [
                        "clientOrderNo": .string("\(prefix)\(index)"), "userToken": .string("\(prefix)u\(index)"),
                        "plateNo": .string(plate),
                        "plateColor": 0, "parkCode": .string("P\(index % lots + 1)"), "bizType": 1, "planTime": .int(now + 3_000_000),
                        "mobile": "13800000000",
                    ]
                }
                out += MessageWriter.request(
                    service: service, data: data, appId: appId, secret: secret, parkCode: nil, requestId: SystemRandom.uuid(),
                    timestamp: now,
                    nonce: SystemRandom.nonce())
                out.append(UInt8(ascii: "\n"))
                if out.count > 1 << 20 {
                    if let reason = Output.write(out) { fail("standard output cannot be written: \(reason)") }
                    out.removeAll(keepingCapacity: true)
                }
            }
            if let reason = Output.write(out) { fail("standard output cannot be written: \(reason)") }
        }
    }
}
