import BerthGateway
import Testing

/// The clock that is brought to the server's, and the choice of a carrier: both without a machine.
@Suite struct ClockTests {
    /// A measurement of a server whose clock is `ahead` of the real one, over a way of `trip` ms there and back.
    private func measure(_ clock: BoxClock, _ time: Bench.Time, ahead: Int64, trip: Int64 = 20) -> BoxClock.Outcome {
        let truth = time.monotonic + 2_000_000_000_000 + ahead
        let sent = clock.reading()
        time.pass(trip)
        return clock.take(sent: sent, serverReceived: truth + trip / 2, serverSent: truth + trip / 2, received: clock.reading())
    }

    private func clock(_ time: Bench.Time) -> BoxClock { BoxClock(realtime: { time.realtime }, monotonic: { time.monotonic }) }
    private func truth(_ time: Bench.Time) -> Int64 { time.monotonic + 2_000_000_000_000 }

    @Test func theFirstMeasurementIsTakenWhole() {
        let time = Bench.Time()
        let clock = clock(time)
        #expect(!clock.isMeasured && clock.now() == time.realtime)
        #expect(measure(clock, time, ahead: 0) == .stepped(by: clock.offset))
        #expect(clock.isMeasured && clock.now() == truth(time))
    }

    @Test func aSmallDifferenceMovesByHalfAndALargeOneAtOnce() {
        let time = Bench.Time()
        let clock = clock(time)
        _ = measure(clock, time, ahead: 0)
        #expect(measure(clock, time, ahead: 800) == .moved && clock.now() == truth(time) + 400)
        #expect(measure(clock, time, ahead: 600_000) == .stepped(by: 599_600) && clock.now() == truth(time) + 600_000)
        #expect(measure(clock, time, ahead: -600_000) == .stepped(by: -1_200_000) && clock.now() == truth(time) - 600_000)
    }

    @Test func aSlowAnswerDoesNotThrowTheClock() {
        let time = Bench.Time()
        let clock = clock(time)
        _ = measure(clock, time, ahead: 0)
        // 3 s off, known to 4 s only.
        #expect(measure(clock, time, ahead: 3_000, trip: 8_000) == .useless && clock.now() == truth(time))
        #expect(measure(clock, time, ahead: 600_000, trip: 8_000) == .stepped(by: 600_000))
    }

    @Test(arguments: [-600_000, 600_000, -86_400_000]) func aStepOfTheMachineIsTakenBack(_ step: Int64) {
        let time = Bench.Time()
        let clock = clock(time)
        _ = measure(clock, time, ahead: 0)
        time.pass(1_000)
        #expect(!clock.watch())
        time.step(step)
        #expect(clock.now() == truth(time), "what is recorded goes on without a jump")
        #expect(clock.watch() && clock.isSuspect, "and it is measured at once")
        #expect(measure(clock, time, ahead: 0) == .moved && !clock.watch())
    }

    @Test func beforeTheFirstMeasurementTheMachineIsBelieved() {
        let time = Bench.Time(realtime: 0)
        let clock = clock(time)
        #expect(clock.now() == 1_000_000_000_000, "an empty clock battery: still 13 digits")
        time.step(1_900_000_000_000)
        #expect(clock.now() == 1_900_000_000_000)
    }

    @Test func aMeasurementOverAStepIsUseless() {
        let time = Bench.Time()
        let clock = clock(time)
        let sent = clock.reading()
        time.step(50_000)
        #expect(
            clock.take(sent: sent, serverReceived: 1_800_000_000_000, serverSent: 1_800_000_000_000, received: clock.reading()) == .useless)
    }

    @Test(arguments: [Int64.min, -1, 0, 999, Int64.max]) func aServerThatLiesDoesNotEndTheBox(_ lie: Int64) {
        let time = Bench.Time()
        let clock = clock(time)
        let now = BoxClock.Reading(realtime: time.realtime, monotonic: time.monotonic)
        #expect(clock.take(sent: now, serverReceived: lie, serverSent: lie, received: now) == .useless)
        #expect(clock.take(sent: now, serverReceived: 1_800_000_000_000, serverSent: lie, received: now) == .useless)
        let odd = BoxClock.Reading(realtime: lie, monotonic: lie)
        _ = clock.take(sent: odd, serverReceived: 1_800_000_000_000, serverSent: 1_800_000_000_000, received: odd)
        _ = clock.take(sent: odd, serverReceived: 1_800_000_000_000, serverSent: 9_999_999_999_999, received: now)
        #expect((1_000_000_000_000...9_999_999_999_999).contains(clock.now()))
    }

    @Test(arguments: [Int64.min, 0, Int64.max]) func aMachineWithAnyClockHasATime(_ realtime: Int64) {
        let clock = BoxClock(realtime: { realtime }, monotonic: { 0 })
        let odd = BoxClock.Reading(realtime: realtime, monotonic: 0)
        _ = clock.take(sent: odd, serverReceived: 1_800_000_000_000, serverSent: 1_800_000_000_000, received: odd)
        #expect((1_000_000_000_000...9_999_999_999_999).contains(clock.now()))
        _ = clock.watch()
    }

    @Test func measurementsKeepTwoSecondsApart() {
        let time = Bench.Time()
        let clock = clock(time)
        #expect(clock.beginMeasuring() && !clock.beginMeasuring())
        clock.endMeasuring()
        time.pass(1_999)
        #expect(!clock.beginMeasuring())
        time.pass(1)
        #expect(clock.beginMeasuring())
    }

    @Test func anOldMeasurementIsMadeAgain() {
        let time = Bench.Time()
        let clock = clock(time)
        #expect(!clock.watch())
        _ = measure(clock, time, ahead: 0)
        time.pass(BoxClock.restMillis)
        #expect(!clock.watch())
        time.pass(1)
        #expect(clock.watch())
    }
}

/// `auto`: MQTT, HTTPS when nobody answers over it, and back.
@Suite struct CarrierTests {
    /// A choice after so many calls without an answer; and which of them was news.
    private func choice(_ allowed: GatewayConfiguration.Carrier = .auto, unanswered: Int, at time: Int64 = 0) -> (
        CarrierChoice, news: [Bool]
    ) {
        var choice = CarrierChoice(allowed)
        let news = (0..<unanswered).map { _ in choice.mqttUnanswered(at: time) }
        return (choice, news)
    }

    @Test func threeCallsWithoutAnAnswerGiveMQTTUp() {
        let fresh = CarrierChoice(.auto)
        #expect(fresh.way(isMQTTUp: true) == .mqtt && fresh.way(isMQTTUp: false) == .https && fresh.patience(10_000) == 10_000)
        let (doubted, _) = choice(unanswered: 2)
        #expect(
            doubted.way(isMQTTUp: true) == .mqtt && doubted.patience(10_000) == CarrierChoice.doubtMillis && doubted.patience(780) == 780)
        let (givenUp, news) = choice(unanswered: 5)
        #expect(givenUp.way(isMQTTUp: true) == .https && givenUp.isSilent && news == [false, false, true, false, false])
    }

    @Test func anAnswerBetweenThemCounts() {
        var choice = CarrierChoice(.auto)
        var wasBack = false
        for _ in 0..<10 {
            _ = choice.mqttUnanswered(at: 0)
            _ = choice.mqttUnanswered(at: 0)
            wasBack = choice.mqttAnswered() || wasBack
        }
        #expect(choice.way(isMQTTUp: true) == .mqtt && !wasBack)
    }

    @Test func aProbeEvery30SecondsBringsItBack() {
        var trusted = CarrierChoice(.auto)
        let needless = trusted.takesProbe(at: 0)
        #expect(!needless)
        var (silent, _) = choice(unanswered: 3, at: 1_000)
        let probes = [30_999, 31_000, 31_001].map { silent.takesProbe(at: $0) }
        #expect(probes == [false, true, false])
        let isBack = silent.mqttAnswered()
        let after = silent.takesProbe(at: 99_000)
        #expect(isBack && silent.way(isMQTTUp: true) == .mqtt && !after)
    }

    @Test func aNewConnectionBeginsWithTrust() {
        var (silent, _) = choice(unanswered: 3)
        silent.mqttCameUp()
        #expect(silent.way(isMQTTUp: true) == .mqtt)
    }

    @Test func whatIsNotAllowedIsNotTaken() {
        let (mqtt, news) = choice(.mqtt, unanswered: 9)
        #expect(mqtt.way(isMQTTUp: true) == .mqtt && mqtt.way(isMQTTUp: false) == .none && mqtt.patience(10_000) == 10_000)
        #expect(!news.contains(true) && CarrierChoice(.https).way(isMQTTUp: true) == .https)
    }
}
