// Bookings through the server's core, without a network: for counting instructions, not time.
//   berth-count make FILE COUNT     writes signed order.create requests, one a line
//   berth-count play FILE FOLDER    decides them on a new database in FOLDER, 64 under way at a time
import BerthCore
import BerthServer
import BerthStore
import BerthWire
import Foundation
import Logging
import Synchronization

let now: Millis = 1_700_000_100_000
let provider = Credential(
    appId: "sp10000001", secret: "a-secret-of-the-benchmark", role: .provider, name: "bench", ratePerSecond: 1_000_000, burst: 1_000_000)
let lots = 50

func pad(_ number: Int, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
}

/// Whether a reply has the code 0: a look at its bytes, which costs little beside a booking.
func succeeded(_ reply: [UInt8]) -> Bool {
    let mark = Array("\"code\":0,".utf8)
    guard reply.count >= mark.count else { return false }
    return (0...reply.count - mark.count).contains { start in
        reply[start] == mark[0] && reply[start..<start + mark.count].elementsEqual(mark)
    }
}

final class Counter: Sendable {
    let value = Atomic<Int>(0)
}

func make(_ file: String, _ count: Int) throws {
    var text: [UInt8] = []
    for number in 0..<count {
        let digits = pad(number, 12)
        let bytes = MessageWriter.request(
            service: "order.create",
            data: [
                "clientOrderNo": .string("c\(number)"), "userToken": .string("u\(number)"),
                "plateNo": .string("粤B\(pad(number % 100_000, 5))"), "plateColor": 0,
                "parkCode": .string("P\(number % lots)"), "bizType": 1, "planTime": .int(now + 3_600_000),
            ], appId: provider.appId, secret: provider.secret, parkCode: nil, requestId: "0f8fad5b-d9cb-469f-a165-\(digits)",
            timestamp: now,
            nonce: "nonce-\(digits)")
        text += bytes + [UInt8(ascii: "\n")]
    }
    try Data(text).write(to: URL(fileURLWithPath: file))
}

func play(_ file: String, _ folder: String) throws {
    let requests = [UInt8](try Data(contentsOf: URL(fileURLWithPath: file))).split(separator: UInt8(ascii: "\n")).map { Array($0) }
    var settings = ServerSettings(dataDirectory: folder)
    settings.policy.dailyMaxPerUser = 1_000
    settings.policy.dailyMaxPerPlate = 1_000
    let vault = FieldCipher(masterKey: [UInt8](repeating: 7, count: 32))
    let store = try SQLiteStore(path: folder + "/berth.sqlite", vault: vault)
    var logger = Logger(label: "count")
    logger.logLevel = .critical
    let core = try ServerCore(store: store, settings: settings, directory: folder, clock: { now }, logger: logger)
    let ready = DispatchSemaphore(value: 0)
    Task {
        try await core.admit(provider)
        for number in 0..<lots {
            await core.perform(.register(parkCode: "P\(number)"))
            await core.perform(
                .openLot(
                    LotProfile(
                        parkCode: "P\(number)", name: "x", address: "x", regionCode: "440305", longitude: "114", latitude: "22.5",
                        coordType: 1,
                        lotType: 4, lotClass: 1, totalCount: 1_000_000, quotas: [.reservation: 1_000_000, .shared: 0, .publicService: 0],
                        enabled: [.reservation], openHours: [OpenHours(days: [1, 2, 3, 4, 5, 6, 7], start: 0, end: 1440)], freeMin: 0,
                        leaveBufferMin: 0)))
        }
        ready.signal()
    }
    ready.wait()
    let room = DispatchSemaphore(value: 64)
    let refused = Counter()
    for request in requests {
        room.wait()
        core.receive(request, service: "order.create") { reply in
            if !succeeded(reply) { refused.value.add(1, ordering: .relaxed) }
            room.signal()
        }
    }
    for _ in 0..<64 { room.wait() }
    let count = refused.value.load(ordering: .relaxed)
    print("\(requests.count) requests, \(count) refused")
    exit(count == 0 ? 0 : 1)
}

let arguments = CommandLine.arguments
switch (arguments.dropFirst().first, arguments.count) {
case ("make", 4): try make(arguments[2], Int(arguments[3]) ?? 0)
case ("play", 4): try play(arguments[2], arguments[3])
default:
    print("berth-count make FILE COUNT | berth-count play FILE FOLDER")
    exit(2)
}
