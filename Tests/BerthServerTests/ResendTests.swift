import BerthCore
import BerthWire
import Foundation
import Testing

/// A front sends a request again when the leader's answer was lost (distributed.md, section 5.1). From outside, the same bytes are refused.
@Suite struct ResendTests {
    private func message(_ city: RunningCity, _ service: String, _ data: JSON) -> [UInt8] {
        MessageWriter.request(
            service: service, data: data, appId: RunningCity.provider.appId, secret: RunningCity.provider.secret, parkCode: nil,
            requestId: UUID().uuidString.lowercased(), timestamp: city.clock.now, nonce: "resent-nonce-\(RunningCity.fresh())")
    }

    private func answer(_ bytes: [UInt8]) throws -> (code: Int64?, order: String?, isRepeat: Bool) {
        let json = try JSON.parse(bytes)
        return (json["code"]?.intValue, json["data"]?["orderNo"]?.stringValue, json["duplicate"]?.boolValue ?? false)
    }

    @Test func whatWasDoneIsAnsweredAndNotDoneAgain() async throws {
        let city = try await RunningCity()
        let bytes = message(city, "order.create", RunningCity.booking(1, at: city.clock.now + 3_600_000))
        let first = try answer(await city.core.reply(to: bytes, service: "order.create"))
        #expect(first.code == 0 && !first.isRepeat)
        let outside = try answer(await city.core.reply(to: bytes, service: "order.create"))
        #expect(outside.code == 203)
        let resent = try answer(await city.core.reply(to: bytes, service: "order.create", attempt: 2))
        #expect(resent.code == 0 && resent.isRepeat && resent.order == first.order)
        let again = try answer(await city.core.reply(to: bytes, service: "order.create"))
        #expect(again.code == 203, "a resend opens no door for others")
        let list = try await city.call(RunningCity.provider, "order.list", [:])
        #expect(list.data["orders"]?.arrayValue?.count == 1)
        await city.end()
    }

    @Test func aReadIsAnsweredAfresh() async throws {
        let city = try await RunningCity()
        let bytes = message(city, "order.list", [:])
        let codes = [
            try answer(await city.core.reply(to: bytes, service: "order.list")).code,
            try answer(await city.core.reply(to: bytes, service: "order.list", attempt: 2)).code,
            try answer(await city.core.reply(to: bytes, service: "order.list", attempt: 1)).code,
        ]
        #expect(codes == [0, 0, 203])
        await city.end()
    }

    /// A request that is first seen as a resend is new at this server, and its nonce is known from then on.
    @Test func aResendIsRememberedToo() async throws {
        let city = try await RunningCity()
        let bytes = message(city, "order.create", RunningCity.booking(2, at: city.clock.now + 3_600_000))
        let resent = try answer(await city.core.reply(to: bytes, service: "order.create", attempt: 3))
        #expect(resent.code == 0 && !resent.isRepeat)
        #expect(try answer(await city.core.reply(to: bytes, service: "order.create")).code == 203)
        await city.end()
    }
}
