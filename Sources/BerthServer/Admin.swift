import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// What an operator asks of a running server, over a socket in its data folder that only its owner can open.
struct Admin: HTTPResponder {
    typealias Context = ConnectionContext

    let desk: Desk

    @Sendable func respond(to request: Request, context: ConnectionContext) async throws -> Response {
        let body = try await request.body.collect(upTo: 32 << 20)
        let answer: JSON
        do {
            guard let json = try? JSON.parse(Array(buffer: body)) else { throw Desk.Refused("not JSON") }
            answer = try await desk.run(json)
        } catch {
            return Response(
                status: .badRequest,
                body: .init(byteBuffer: ByteBuffer(string: JSON(dictionaryLiteral: ("error", .string("\(error)"))).string)))
        }
        return Response(status: .ok, body: .init(byteBuffer: ByteBuffer(string: answer.string)))
    }
}

/// The operator's desk: issuing credentials and setting a lot's policy. Works on a running server, or on a stopped one's store.
struct Desk: Sendable {
    struct Refused: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    let sequencer: Sequencer
    let credentials: CredentialBook
    let broker: Broker?
    let status: @Sendable () -> JSON
    let clock: @Sendable () -> Millis

    func run(_ command: JSON) async throws -> JSON {
        switch command["command"]?.stringValue {
        case "keys.issue":
            let issued = try await issue((command["keys"]?.arrayValue ?? []))
            return ["keys": .array(issued)]
        case "keys.list":
            return [
                "keys": .array(
                    credentials.all.map {
                        [
                            "appId": .string($0.appId), "role": .string($0.role.rawValue), "name": .string($0.name),
                            "parks": .array($0.parkCodes.sorted().map { .string($0) }), "enabled": .bool($0.isEnabled),
                        ]
                    })
            ]
        case "lots.set":
            guard let parkCode = command["park"]?.stringValue,
                var policy = sequencer.peek({ $0.lots[parkCode]?.policy })
            else { throw Refused("no such lot") }
            for (name, value) in command["policy"]?.objectValue?.members ?? [] {
                if name == "confirmMode", let mode = ConfirmMode(rawValue: value.stringValue ?? "") {
                    policy.confirmMode = mode
                } else if let entry = Policy.numbers.first(where: { $0.name == name }),
                    let number = value.intValue ?? value.stringValue.flatMap({ Int64($0) }),
                    entry.range.contains(Int(number))
                {
                    policy[keyPath: entry.path] = Int(number)
                } else {
                    throw Refused("\(name) cannot be \(value.string)")
                }
            }
            let answer = await perform(.setPolicy(parkCode: parkCode, policy))
            guard answer.code == 0 else { throw Refused(answer.resultCode.en) }
            return ["park": .string(parkCode)]
        case "status": return status()
        default: throw Refused("unknown command")
        }
    }

    private func perform(_ command: Command) async -> Answer {
        await withCheckedContinuation { continuation in
            sequencer.perform(command, now: clock()) { continuation.resume(returning: $0) }
        }
    }

    /// Many at once, so that a city of lots costs one reload of the broker.
    private func issue(_ wishes: [JSON]) async throws -> [JSON] {
        var issued: [Credential] = []
        for wish in wishes {
            guard let role = Role(rawValue: wish["role"]?.stringValue ?? "") else {
                throw Refused("role: lot, cloud, provider or operator")
            }
            let parks = (wish["parks"]?.arrayValue ?? []).compactMap(\.stringValue)
            guard parks.allSatisfy(Envelope.isParkCode) else {
                throw Refused("park: 1 to 32 of A-Z a-z 0-9 . _ -, not beginning with _")
            }
            if role == .lot, parks.count != 1 { throw Refused("a lot's credential has exactly one --park; a cloud speaks for several") }
            if role == .cloud, parks.isEmpty { throw Refused("a cloud's credential needs at least one --park") }
            if role == .provider, !parks.isEmpty { throw Refused("a provider's credential has no --park") }
            let rate = Int(wish["rate"]?.intValue ?? 50)
            let burst = Int(wish["burst"]?.intValue ?? Int64(2 * rate))
            guard (1...10_000_000).contains(rate), (1...10_000_000).contains(burst) else { throw Refused("rate, burst: from 1") }
            let prefix = ["lot": "lt", "cloud": "cl", "provider": "sp", "operator": "op"][role.rawValue]!
            issued.append(
                Credential(
                    appId: prefix + Ambient.token(14), secret: Ambient.token(40), role: role,
                    name: wish["name"]?.stringValue ?? "", parkCodes: Set(parks), ratePerSecond: rate, burst: burst))
        }
        for credential in issued {
            try sequencer.store.save(credential)
            if credential.role.speaksForLots {
                for parkCode in credential.parkCodes.sorted() {
                    let answer = await perform(.register(parkCode: parkCode))
                    guard answer.code == 0 else { throw Refused(answer.resultCode.en) }
                }
            }
            credentials.insert(credential)
        }
        try await broker?.admit(issued)
        return issued.map { ["appId": .string($0.appId), "appSecret": .string($0.secret)] }
    }
}
