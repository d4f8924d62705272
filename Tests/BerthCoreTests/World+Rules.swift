import BerthCore

extension World {
    static let minute: Millis = 60_000

    /// One more lot, so many metres to the east.
    mutating func add(
        _ parkCode: String, metres: Int64 = 300, reserve: Int = 0, share: Int? = nil, publicBiz: Int = 0, total: Int = 100,
        group: String = ""
    ) {
        _ = decide(.register(parkCode: parkCode))
        var profile = LotProfile(
            parkCode: parkCode, name: parkCode, address: "深圳", regionCode: "440305", longitude: "113.9", latitude: "22.5", coordType: 1,
            lotType: 4, lotClass: 1, totalCount: total,
            quotas: [.reservation: reserve, .shared: share ?? 0, .publicService: publicBiz],
            enabled: Set(
                [reserve > 0 ? .reservation : nil, share != nil ? .shared : nil, publicBiz > 0 ? .publicService : nil].compactMap { $0 }),
            openHours: [World.allDay], freeMin: 15, leaveBufferMin: 15)
        profile.group = group
        // A degree of longitude is some 102.8 km here.
        profile.position.longitude += metres * 10_000_000 / 102_800
        _ = decide(.openLot(profile))
    }

    func booking(
        _ user: String, lot: String? = nil, purpose: Purpose = .reservation, in minutes: Int, plate: Plate? = nil, key: String
    ) -> Booking {
        Booking(
            appId: "app1", clientOrderNo: key, requestHash: key, userToken: user, plate: plate ?? World.plate(abs(key.hashValue) % 80_000),
            plateColor: 0, parkCode: lot ?? self.lot, purpose: purpose, planTime: now + Millis(minutes) * World.minute, mobile: "",
            extNo: nil)
    }

    mutating func create(
        _ user: String, lot: String? = nil, purpose: Purpose = .reservation, in minutes: Int, plate: Int? = nil,
        _ change: (inout Booking) -> Void = { _ in }
    ) -> Decision {
        keys += 1
        var wish = booking(user, lot: lot, purpose: purpose, in: minutes, plate: World.plate(plate ?? keys), key: "k\(keys)")
        change(&wish)
        return decide(.create(wish))
    }

    /// Every lot's deadlines, and every lot says that its log has come so far.
    mutating func run(minutes: Int, isLinked: Bool = true) {
        for _ in 0..<minutes {
            now += World.minute
            for parkCode in city.lots.keys.sorted() {
                if isLinked { city.notePassed(parkCode, through: now) }
                acknowledge(parkCode)
                if city.isDue(parkCode, at: now) { _ = decide(.expire(parkCode: parkCode)) }
            }
        }
    }

    mutating func acknowledge(_ parkCode: String) {
        guard let lot = city.lots[parkCode], let epoch = lot.downEpoch, lot.downAck < lot.downLast else { return }
        _ = decide(.settle(parkCode: parkCode, epoch: epoch, ackSeq: lot.downLast, [], assumesRest: true))
    }

    mutating func come(_ number: String, plate: Plate, lot: String? = nil, record: String, gate: String = "G1") -> Outcome {
        decide(
            .enter(
                parkCode: lot ?? self.lot,
                Passage(recordNo: record, plate: plate, gateCode: gate, enterTime: now, carKind: 6, orderNo: number))
        ).outcome
    }

    mutating func go(plate: Plate, lot: String? = nil, record: String, entered: Millis) -> Outcome {
        var passage = Passage(recordNo: record, plate: plate, gateCode: "G1", enterTime: entered, carKind: 6, orderNo: nil)
        passage.leaveTime = now
        passage.exitGateCode = "G2"
        return decide(.exit(parkCode: lot ?? self.lot, passage)).outcome
    }

    mutating func offer(
        _ space: String?, lot: String? = nil, owner: String = "owner", segments: [RecurringWindow] = RecurringWindow.always,
        price: SharePrice? = nil,
        count: Int = 1
    ) -> SharedOffer {
        let outcome = decide(
            .publishOffer(
                SharedOffer(
                    offerId: "", appId: "app1", providerToken: owner, parkCode: lot ?? self.lot, spaceNo: space, count: count,
                    segments: segments, price: price, validFrom: now, validTo: now + 400 * 1440 * World.minute, status: .draft,
                    proofs: ["proof"], agreementVersion: "1.0", createdAt: now))
        ).outcome
        guard case .entity(.offer(let offer)) = outcome else { fatalErrorIn(outcome) }
        _ = decide(.reviewOffer(parkCode: offer.parkCode, offerId: offer.offerId, isPassed: true, remark: ""))
        return city.offer(offer.offerId)!
    }

    mutating func subscribe(
        _ user: String, lot: String? = nil, offerId: String? = nil, plates: [Plate], segments: [RecurringWindow] = [], days: Int = 30,
        from: Millis? = nil
    ) -> Outcome {
        decide(
            .subscribeShare(
                SharedSubscription(
                    authNo: "", appId: "app1", userToken: user, parkCode: lot ?? self.lot, offerId: offerId, spaceNo: nil, plates: plates,
                    segments: segments, quietHours: [], validFrom: from ?? now, validTo: (from ?? now) + Millis(days) * 1440 * World.minute,
                    graceMin: 0, price: nil, status: .pending, strikesMax: 1, createdAt: now), months: 1)
        ).outcome
    }

    /// The lot says how many cars are in it.
    mutating func fill(_ occupied: Int, lot: String = "P1", total: Int = 100) {
        now += 1000
        _ = decide(.reportRemaining(parkCode: lot, Remaining(reportedAt: now, total: total, occupied: occupied, remain: total - occupied)))
    }

    func reservation(_ outcome: Outcome) -> Reservation { outcome.reservation! }

    func evidence() -> [Penalty] { city.penalties.values.sorted { $0.penaltyId < $1.penaltyId } }
}

private func fatalErrorIn(_ outcome: Outcome) -> Never { preconditionFailure("\(outcome)") }

extension Outcome {
    var subscription: SharedSubscription? { if case .share(let subscription, _) = self { subscription } else { nil } }
}
