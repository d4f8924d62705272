import BerthCore

/// A small city for the rules' own tests: one lot, a clock in the hand, no randomness but a seed.
struct World {
    /// A bill that the provider `app1` asked for.
    static func bill(_ billNo: String, _ parkCode: String, _ recordNo: String, _ fen: Int64, until: Millis) -> Bill {
        var bill = Bill(billNo: billNo, parkCode: parkCode, recordNo: recordNo, payableFen: fen, expireAt: until)
        bill.askedBy = ["app1"]
        return bill
    }

    var city: City
    var now: Millis
    let lot = "P1"
    private var bookings = 0
    var keys = 0

    static let start: Millis = 1_700_000_000_000 - 1_700_000_000_000 % 900_000

    init(quota: Int, policy: Policy = World.roomy, now: Millis = World.start) {
        self.now = now
        city = City(policy: policy, newEpoch: "d1")
        _ = decide(.register(parkCode: lot))
        _ = decide(.openLot(World.profile(quota: quota)))
    }

    /// The defaults, without the limits per user and plate: those have their own tests.
    static let roomy: Policy = {
        var policy = Policy()
        policy.dailyMaxPerUser = 1_000_000
        policy.dailyMaxPerPlate = 1_000_000
        policy.cancelMaxPerDay = 1_000_000
        policy.cancelMaxPerMonth = 1_000_000
        policy.shareWindow = "00:00-24:00"
        return policy
    }()

    static func profile(quota: Int, parkCode: String = "P1", openHours: [OpenHours] = [allDay]) -> LotProfile {
        LotProfile(
            parkCode: parkCode, name: "测试", address: "深圳", regionCode: "440305", longitude: "113.9", latitude: "22.5",
            coordType: 1, lotType: 4, lotClass: 1, totalCount: 100, quotas: [.reservation: quota, .shared: quota],
            enabled: [.reservation, .shared], openHours: openHours, freeMin: 15, leaveBufferMin: 15)
    }

    static let allDay = OpenHours(days: [1, 2, 3, 4, 5, 6, 7], start: 0, end: 1440)

    @discardableResult mutating func decide(_ command: Command) -> Decision { city.decide(command, at: now, past: Past()) }

    static func plate(_ number: Int) -> Plate { Plate("粤B\(10_000 + number % 90_000)")! }

    mutating func book(
        in minutes: Int, plate: Plate? = nil, user: String? = nil, purpose: Purpose = .reservation, lot: String? = nil
    ) -> Outcome {
        bookings += 1
        return decide(
            .create(
                Booking(
                    appId: "app1", clientOrderNo: "c\(bookings)", requestHash: "h\(bookings)", userToken: user ?? "u\(bookings)",
                    plate: plate ?? World.plate(bookings), plateColor: 0, parkCode: lot ?? self.lot, purpose: purpose,
                    planTime: now + Millis(minutes) * 60_000, mobile: "", extNo: nil))
        ).outcome
    }

    mutating func enter(_ reservation: Reservation, record: String, at time: Millis? = nil) -> Outcome {
        decide(
            .enter(
                parkCode: lot,
                Passage(
                    recordNo: record, plate: reservation.plate, gateCode: "G1", enterTime: time ?? now, carKind: 5,
                    orderNo: reservation.orderNo))
        ).outcome
    }

    mutating func leave(_ reservation: Reservation, record: String, entered: Millis) -> Outcome {
        decide(
            .exit(
                parkCode: lot,
                Passage(
                    recordNo: record, plate: reservation.plate, gateCode: "G1", enterTime: entered, carKind: 5,
                    orderNo: reservation.orderNo, leaveTime: now, exitGateCode: "G2"))
        ).outcome
    }

    func reservation(_ number: String) -> Reservation { city.reservation(number, past: Past())! }
    func status(_ number: String) -> ReservationStatus { reservation(number).status }

    /// The lot acknowledges everything it was sent.
    mutating func acknowledge() {
        let lot = city.lots[self.lot]!
        guard let epoch = lot.downEpoch else { return }
        _ = decide(.settle(parkCode: self.lot, epoch: epoch, ackSeq: lot.downLast, [], assumesRest: true))
    }

    /// Time passes; what falls due happens. `isLinked`: the lot says all the while that nothing is in its queue.
    mutating func pass(minutes: Int, isLinked: Bool = true) {
        now += Millis(minutes) * 60_000
        if isLinked { city.notePassed(lot, through: now) }
        _ = decide(.expire(parkCode: lot))
    }
}

extension Outcome {
    var reservation: Reservation? { if case .reservation(let reservation, _) = self { reservation } else { nil } }
}

/// SplitMix64: one number reproduces a whole run.
struct Seeded: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
