import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Foundation

/// URL redirect (seed 7.4, interface.md section 12): addresses that lead a person from one party's page to another's, signed, good
/// once, for a short time.
final class Redirects: Sendable {
    private let sequencer: Sequencer
    private let credentials: CredentialBook
    private let settings: ServerSettings
    private let clock: @Sendable () -> Millis

    init(
        sequencer: Sequencer, credentials: CredentialBook, settings: ServerSettings, clock: @escaping @Sendable () -> Millis
    ) {
        self.sequencer = sequencer
        self.credentials = credentials
        self.settings = settings
        self.clock = clock
    }

    /// A19. The same request makes the same address.
    /// - Parameter past: of the order that the request names.
    func build(_ request: VerifiedRequest, _ past: Past, now: Millis) throws(WireError) -> Reply {
        let fields = FieldReader(request.envelope.data)
        let credential = request.credential
        guard let scene = RedirectScene(rawValue: try fields.string("scene", max: 16)) else {
            throw WireError("redirectSceneUnknown", "scene")
        }
        var members: [(String, String)] = [("appId", credential.appId), ("scene", scene.rawValue)]
        if let parkCode = try fields.optionalString("parkCode", max: 32), !parkCode.isEmpty {
            guard sequencer.readUndurable({ $0.lots[parkCode] != nil }) else { throw WireError("lotNotRegistered") }
            members.append(("parkCode", parkCode))
        }
        if let orderNo = try fields.optionalString("orderNo", max: 32), !orderNo.isEmpty {
            let reservation: Reservation? = sequencer.readUndurable { $0.reservation(orderNo, past: past) }
            guard let reservation, credential.role == .operator || reservation.appId == credential.appId else {
                throw WireError("orderNotFound", "orderNo")
            }
            guard credential.role != .operator || credential.mayActFor(reservation.parkCode) else {
                throw WireError("lotNotAuthorised", "orderNo")
            }
            members.append(("orderNo", reservation.orderNo))
        }
        if fields.has("plateNo") {
            members.append(("plateNo", try Decode.plate(fields).revealed))
        }
        for name in ["returnUrl", "cancelUrl"] {
            guard let url = try fields.optionalString(name, max: 512), !url.isEmpty else { continue }
            guard Redirect.isReturn(url, to: credential.returnHosts) else {
                throw WireError("redirectSceneUnknown", "\(name): its host is not registered")
            }
            members.append((name, url))
        }
        members.append(("timestamp", String(now)))
        members.append(
            (
                "nonce",
                String(Encode.downRequestId(parkCode: "redirect", epoch: request.envelope.requestId, seq: now, at: 0).filter { $0 != "-" })
            ))
        let query = Redirect.signed(members, secret: request.secret)
        return Reply(data: [
            "url": .string("\(settings.publicURL)/r/\(scene.rawValue)?\(query)"), "expireAt": .int(now + scene.validMillis),
        ])
    }

    /// The data that a person sees who follows an address.
    struct Arrival: Sendable {
        var scene: RedirectScene
        var lotName: String?
        var reservation: Reservation?
        var plate: Plate?
        var returnURL: String?
        var cancelURL: String?
        var partyName: String
        var parkCode: String?
        /// The link ends then, ms.
        var until: Millis

        /// The members that a page shows: the plate is masked.
        var json: JSON {
            .compact([
                ("scene", .string(scene.rawValue)), ("party", .string(partyName)), ("parkCode", .optional(parkCode)),
                ("lotName", .optional(lotName)), ("orderNo", .optional(reservation?.orderNo)), ("appId", .optional(reservation?.appId)),
                ("status", reservation.map { .int($0.status.rawValue) } ?? .null), ("enterStart", .optional(reservation?.enterStart)),
                ("enterEnd", .optional(reservation?.enterEnd)), ("plate", .optional((plate ?? reservation?.plate)?.masked)),
                ("returnUrl", .optional(returnURL)), ("cancelUrl", .optional(cancelURL)), ("until", .int(until)),
            ])
        }
    }

    /// The result of the way back: 1 as it should be, 0 pending, −1 failed.
    private static func result(of reservation: Reservation, _ scene: RedirectScene) -> String {
        let isDue = reservation.status == .inLot || [1, 4].contains(Encode.payState(reservation))
        switch reservation.status {
        case .held, .waitlisted: return "0"
        case .booked, .inLot, .done: return scene == .pay && isDue ? "0" : "1"
        default: return "-1"
        }
    }

    /// Checks an address that somebody followed and uses it up: scene and return hosts (1420), appId (200), signature (201), time (206),
    /// single use (203).
    func follow(_ path: String, _ query: [(String, String)]) async throws(WireError) -> Arrival {
        func value(_ name: String) -> String? { query.first { $0.0 == name }?.1 }
        guard Set(query.map(\.0)).count == query.count else { throw WireError("illegalValue", "a parameter stands twice") }
        guard let scene = RedirectScene(rawValue: String(path.dropFirst(3))), value("scene") == scene.rawValue else {
            throw WireError("redirectSceneUnknown")
        }
        guard let appId = value("appId"), let credential = credentials.find(appId), credential.isEnabled else {
            throw WireError("unknownApp")
        }
        guard let nonce = value("nonce"), (8...32).contains(nonce.utf8.count), let sign = value("sign"),
            let timestamp = value("timestamp").flatMap({ Int64($0) }), (0...WireLimits.intMax).contains(timestamp)
        else { throw WireError("missingParameter", "timestamp, nonce, sign") }
        let members = query.filter { $0.0 != "sign" }
        let secrets = [credential.secret, credential.nextSecret].compactMap(\.self)
        guard secrets.contains(where: { Signature.equal(Redirect.sign(members, secret: $0), sign) }) else {
            throw WireError("signatureError")
        }
        let now = clock()
        guard timestamp <= now + WireLimits.clockSkewMillisMax, now - timestamp <= scene.validMillis else {
            throw WireError("ticketInvalid")
        }
        for name in ["returnUrl", "cancelUrl"] {
            if let url = value(name), !Redirect.isReturn(url, to: credential.returnHosts) { throw WireError("redirectSceneUnknown", name) }
        }
        let used = await withCheckedContinuation { continuation in
            sequencer.perform(.useOnce(key: "\(appId)|\(nonce)"), now: now) { continuation.resume(returning: $0) }
        }
        guard used.code == 0 else { throw used.code == 203 ? WireError("nonceRepeated") : WireError("dependencyUnavailable") }
        let past = try await sequencer.prefetched(value("orderNo").map { [.reservation(ByteKey($0))] } ?? [])
        let (reservation, lotName) = sequencer.readUndurable { city -> (Reservation?, String?) in
            let reservation = value("orderNo").flatMap { city.reservation($0, past: past) }.flatMap {
                $0.appId == appId || (credential.role == .operator && credential.mayActFor($0.parkCode)) ? $0 : nil
            }
            // Lot and plate are the order's own, whatever the address says.
            return (reservation, (reservation?.parkCode ?? value("parkCode")).flatMap { city.lots[$0]?.profile?.name })
        }
        var arrival = Arrival(
            scene: scene, lotName: lotName, reservation: reservation, plate: reservation?.plate ?? value("plateNo").flatMap { Plate($0) },
            returnURL: nil, cancelURL: nil, partyName: credential.name, parkCode: reservation?.parkCode ?? value("parkCode"),
            until: timestamp + scene.validMillis)
        let result = reservation.map { Redirects.result(of: $0, scene) } ?? "0"
        arrival.returnURL = value("returnUrl").map {
            Redirect.back(
                $0, orderNo: reservation?.orderNo, result: result, now: now, nonce: SystemRandom.nonce(), secret: credential.secret)
        }
        arrival.cancelURL = value("cancelUrl").map {
            Redirect.back($0, orderNo: reservation?.orderNo, result: "0", now: now, nonce: SystemRandom.nonce(), secret: credential.secret)
        }
        return arrival
    }
}
