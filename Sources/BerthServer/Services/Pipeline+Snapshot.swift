import BerthCore
import BerthStore
import BerthWire

// The content of a lot's snapshot (section 5.4).
extension Pipeline {
    /// - Parameter reveals: plates whole, as the lot itself sees them.
    func snapshot(
        _ parkCode: String, reveals: Bool, isOverMQTT: Bool, now: Millis, completion answered: @escaping Sequencer.Completion
    ) {
        let completion: Sequencer.Completion = { answer in
            var answer = answer
            // A message of the broker's holds 1 MiB (section 4).
            if isOverMQTT, answer.code == 0, answer.data.string.utf8.count > WireLimits.bodyBytesMax - 4096 {
                answer = Reply(WireError("tooLarge", "the snapshot is over 1 MiB: ask for it over HTTPS"))
            }
            if !reveals { answer.data = Audit.mask(answer.data) }
            answered(answer)
        }
        func standing(_ city: inout City, _ kind: String) -> JSON {
            .array(
                (kind.hasPrefix("list.") ? city.listReports(parkCode, kind: kind) : city.reports(parkCode, kind: kind))
                    .compactMap { try? JSON.parse(Array($0.body.utf8)) })
        }
        sequencer.read(
            parkCode,
            { city in
                guard let lot = city.lots[parkCode] else { return Reply(WireError("lotNotRegistered")) }
                return Reply(data: [
                    "orders": .array(
                        lot.inForce.map { reservation in
                            guard case .object(var row) = Encode.reserve(reservation) else { return [:] }
                            row.append("status", .int(reservation.status.rawValue))
                            if let recordNo = reservation.recordNo { row.append("recordNo", .string(recordNo)) }
                            row.append("entriesUsed", .int(reservation.entriesUsed))
                            return .object(row)
                        }),
                    "shareAuths": .array(
                        lot.subscriptions.values.filter { $0.status.holds && $0.status != .pending }.sorted { $0.authNo < $1.authNo }
                            .map(Encode.authorisation)),
                    "blackList": standing(&city, "list.black.push"), "whiteList": standing(&city, "list.white.push"),
                    "flowPolicies": .array(
                        city.flows(of: parkCode).filter { now < $0.validTo }.map {
                            Encode.flow($0, $0.areaId.isEmpty ? $0.mode : $0.mode(at: now, city.calendar))
                        }),
                    "config": .array(
                        [standing(&city, "config.push"), standing(&city, City.gateRulesKind)].flatMap { $0.arrayValue ?? [] }),
                    "vehicleLocks": standing(&city, "vehicle.lock"),
                    "downEpoch": .string(lot.downEpoch ?? ""), "downSeq": .int(lot.downLast),
                ])
            }, completion: completion)
    }
}
