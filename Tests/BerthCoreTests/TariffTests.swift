import BerthCore
import Testing

/// U06 as the city computes with it: a table of stays and what they cost.
@Suite struct TariffTests {
    /// 2026-11-23 is a Monday.
    private static func time(_ hour: Int64, _ minute: Int64 = 0, day: Int64 = 23) -> Millis {
        CivilTime.start(ofDay: CivilTime.day(year: 2026, month: 11, day: day)!) + (hour * 60 + minute) * CivilTime.minute
    }

    private static func rule(_ change: (inout Tariff.Rule) -> Void) -> Tariff.Rule {
        var rule = Tariff.Rule()
        rule.stepFen = 500
        change(&rule)
        return rule
    }

    @Test func startedStepsAndFreeMinutes() {
        let tariff = Tariff(tariffId: "T", rules: [TariffTests.rule { $0.freeMin = 15 }])
        let table: [(minutes: Int64, fen: Int64)] = [(0, 0), (15, 0), (16, 500), (60, 500), (61, 1000), (120, 1000), (121, 1500)]
        for (minutes, fen) in table {
            #expect(tariff.fee(from: TariffTests.time(8), to: TariffTests.time(8, minutes)) == fen, "\(minutes) minutes")
        }
        #expect(tariff.fee(from: TariffTests.time(8), to: TariffTests.time(8, 15) + 1) == 500, "a started minute counts whole")
        #expect(tariff.fee(from: TariffTests.time(9), to: TariffTests.time(8)) == 0)
    }

    @Test func periodsCapsAndNights() {
        let day = TariffTests.rule {
            $0.start = 8 * 60; $0.end = 20 * 60; $0.capFen = 2000
        }
        let night = TariffTests.rule {
            $0.start = 20 * 60; $0.end = 8 * 60; $0.stepFen = 100; $0.capFen = 300
        }
        let tariff = Tariff(tariffId: "T", rules: [day, night])
        #expect(tariff.fee(from: TariffTests.time(8), to: TariffTests.time(20)) == 2000, "12 hours are capped")
        #expect(tariff.fee(from: TariffTests.time(19), to: TariffTests.time(22)) == 700)
        #expect(tariff.fee(from: TariffTests.time(20), to: TariffTests.time(8, day: 24)) == 300, "one night is one period, over midnight")
        #expect(tariff.fee(from: TariffTests.time(20), to: TariffTests.time(8, day: 25)) == 300 + 2000 + 300)
        let capped = Tariff(tariffId: "T", rules: [day, night], dailyCapFen: 1200)
        #expect(capped.fee(from: TariffTests.time(8), to: TariffTests.time(23)) == 1200)
    }

    @Test func weekdaysLengthOfStayAndOvertime() {
        let weekend = TariffTests.rule {
            $0.days = [6, 7]; $0.stepFen = 100
        }
        let first = TariffTests.rule { $0.toMin = 120 }
        let later = TariffTests.rule {
            $0.fromMin = 120; $0.stepFen = 1000
        }
        let tariff = Tariff(tariffId: "T", rules: [weekend, first, later], overtimePercent: 200)
        #expect(tariff.fee(from: TariffTests.time(8), to: TariffTests.time(11)) == 2000, "the third hour costs more")
        #expect(tariff.fee(from: TariffTests.time(8, day: 22), to: TariffTests.time(11, day: 22)) == 300, "a Sunday")
        #expect(tariff.fee(from: TariffTests.time(8), to: TariffTests.time(10), deadline: TariffTests.time(9)) == 500 + 1000)
        #expect(Tariff(tariffId: "T", rules: []).fee(from: TariffTests.time(8), to: TariffTests.time(10)) == 0)
        #expect(tariff.fee(from: 0, to: TariffTests.time(8)) > 0, "a stay of decades ends")
    }
}
