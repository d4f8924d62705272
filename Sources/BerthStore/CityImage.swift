public import BerthCore
import BerthWire

extension CityImage {
    /// The city as the rules know it. What is kept as it came (tariffs, lists) is read for them here.
    public func city(policy: Policy, newEpoch: String, reviewsLots: Bool = false, now: Millis) -> City {
        var city = City(policy: policy, newEpoch: newEpoch, reviewsLots: reviewsLots, calendar: Profile.current.calendar)
        city.listeners = Set(credentials.filter { $0.isEnabled && $0.callback != nil }.map(\.appId))
        for lot in lots {
            city.restore(
                registered: lot.parkCode, policy: lot.policy, profile: lot.profile, gates: lot.gates,
                remaining: lot.remaining, up: lot.up, downEpoch: lot.downEpoch, downLast: lot.downLast,
                downAck: lot.downAck, awaiting: lot.awaiting)
        }
        for entity in entities { city.restore(entity: entity) }
        for (account, fen) in balances { city.restore(balance: fen, of: account) }
        for (key, count) in counters { city.restore(counter: key, count: count) }
        city.restore(lastSerial: lastSerial)
        city.restore(lastTiding: lastTiding)
        for order in activeOrders { city.restore(order: order, now: now) }
        for report in reports {
            city.restore(report: report)
            switch report.kind {
            case "tariff": if let tariff = Decode.lotTariff(report.body) { city.restore(tariff: tariff, of: report.parkCode) }
            case City.blackKind, City.whiteKind, City.exemptKind, City.localBlackKind, City.localWhiteKind, City.localMonthlyKind:
                if let plate = Plate(report.key), let entry = Decode.listEntry(report.body) {
                    city.restore(list: report.kind, report.parkCode, plate, entry)
                }
            case "share.auth.push":
                // What an operator pushed under an older release.
                if let object = (try? JSON.parse(Array(report.body.utf8)))?.objectValue,
                    let subscription = try? Decode.authorisation(object, parkCode: report.parkCode, now: report.at),
                    city.subscription(subscription.authNo) == nil
                {
                    city.restore(entity: .subscription(subscription))
                }
            default: break
            }
        }
        for bill in bills { city.restore(bill: bill) }
        for payment in pendingPayments { city.restore(payment: payment) }
        for visit in openVisits { city.restore(visit: visit) }
        city.finishRestoring(now: now)
        return city
    }
}
