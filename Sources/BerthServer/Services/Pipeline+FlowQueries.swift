import BerthCore
import BerthLink
import BerthStore
import BerthWire
import Synchronization

// Queries about policies, areas and flow control.
extension Pipeline {
    /// The values of all scopes, and those in force.
    func policyQuery(_ ask: RuleAsk) throws(WireError) {
        let fields = ask.fields
        let lot = try fields.optionalString("parkCode", max: 32)
        let purpose = Purpose(rawValue: Int(try fields.optionalInt("bizType", in: 1...3) ?? 1))!
        read(ask) { city in
            if let lot, city.lots[lot] == nil { return Reply(WireError("lotNotRegistered")) }
            let scopes = city.overrides.values.sorted { $0.scope < $1.scope }.prefix(10_000)
            return Reply(
                data: .compact([
                    (
                        "scopes",
                        .array(
                            scopes.map {
                                [
                                    "scope": .string($0.scope), "version": .int($0.version), "at": .int($0.at),
                                    "values": Encode.values($0.values),
                                ]
                            })
                    ),
                    (
                        "inForce",
                        Encode.values(lot.flatMap { city.lots[$0]?.policy(purpose) } ?? city.usualPolicy(purpose))
                    ),
                ]))
        }
    }

    /// The reservations that a policy would hit, and whether there is room for them elsewhere.
    func flowPolicyPreview(_ ask: RuleAsk) throws(WireError) {
        let (request, now) = (ask.request, ask.now)
        let policy = try Decode.flow(request.envelope.data, parkCode: nil)
        read(ask) { city in
            let parkCodes = policy.areaId.isEmpty ? [policy.parkCode] : city.areas[policy.areaId]?.parkCodes ?? []
            guard !parkCodes.isEmpty, parkCodes.allSatisfy({ city.lots[$0] != nil }) else { return Reply(WireError("notFound")) }
            let reservations = city.affected(by: policy, at: now)
            var without = 0
            let looked = reservations.prefix(Limits.previewLooksMax)
            let rows = looked.map { reservation -> JSON in
                let others = city.alternatives(
                    to: reservation,
                    policy: city.lots[reservation.parkCode]?.policy(reservation.purpose) ?? city.usualPolicy(reservation.purpose), at: now
                )
                .filter { !parkCodes.contains($0.parkCode) }
                if others.isEmpty { without += 1 }
                return [
                    "orderNo": .string(reservation.orderNo), "parkCode": .string(reservation.parkCode),
                    "planTime": .int(reservation.planTime),
                    "alternatives": .int(others.count),
                ]
            }
            let inWindow = max(reservations.count, city.countInWindow(of: policy, at: now))
            var probe = policy
            probe.isOn = policy.isOn(atPerMille: city.saturation(of: parkCodes))
            return Reply(data: [
                "affected": .int(reservations.count), "looked": .int(looked.count), "without": .int(without),
                "inWindow": .int(inWindow),
                "shortened": .int(policy.mode == .closed && !policy.isBySaturation ? inWindow - reservations.count : 0),
                "orders": .array(rows),
                // By saturation: those that it would hit if it switched on now.
                "inForce": .bool(probe.isInForce(at: now, city.calendar)),
                "saturationPct": .int(city.saturation(of: parkCodes) / 10),
                "pools": .array(
                    city.poolDemands(on: policy, at: now).map {
                        [
                            "pool": .string($0.pool.rawValue), "count": .int($0.count), "booked": .int($0.booked),
                            "excess": .int($0.excess), "parkCode": .string($0.parkCode),
                        ]
                    }),
            ])
        }
    }

    /// The areas with their lots.
    func flowAreaList(_ ask: RuleAsk) throws(WireError) {
        read(ask) { city in
            Reply(data: [
                "areas": .array(
                    city.areas.values.sorted { $0.areaId < $1.areaId }.prefix(Limits.ruleRowsMax).map {
                        [
                            "areaId": .string($0.areaId), "name": .string($0.name),
                            "parkCodes": .array($0.parkCodes.map { .string($0) }),
                        ]
                    })
            ])
        }
    }

    /// The flow policies of a lot, an area or the city.
    func flowPolicyList(_ ask: RuleAsk) throws(WireError) {
        let (fields, now) = (ask.fields, ask.now)
        let lot = try fields.optionalString("parkCode", max: 32)
        let area = try fields.optionalString("areaId", max: 32)
        read(ask) { city in
            let policies = lot.map { city.flows(of: $0) } ?? Array(city.flows.values)
            return Reply(data: [
                "policies": .array(
                    policies.filter { area == nil || $0.areaId == area }
                        .sorted { ($0.areaId, $0.parkCode, $0.policyId) < ($1.areaId, $1.parkCode, $1.policyId) }.prefix(
                            Limits.ruleRowsMax
                        )
                        .map { Encode.policy($0, at: now, city.calendar) })
            ])
        }
    }
}
