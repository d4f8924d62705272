import BerthScene
import Testing

/// The scenes of annex B: the file that is shown is the file that is executed.
@Suite struct SceneTests {
    @Test(arguments: Scene.names)
    func everyStepIsAsTold(_ name: String) throws {
        let scene = try Scene.load(name)
        let results = try SceneRunner.run(scene)
        #expect(results.count > 20)
        for result in results {
            #expect(
                result.isAsTold,
                "\(name).md line \(result.step.line): \(result.fault ?? "") — \(result.step.cells.joined(separator: " | "))")
        }
    }

    /// A scene that tells what is not so fails: at its line, with a sentence.
    @Test func aWrongSceneFails() throws {
        let stage = "| 车场 lot | 总数 total | 预约 reserve |\n|---|---|---|\n| P1 | 10 | 1 |\n\n"
        let head = "| 时间 | 谁 | 做什么 | 内容 | 应当 |\n|---|---|---|---|---|\n"
        func run(_ row: String) throws -> SceneResult { try SceneRunner.run(Scene(name: "x", text: stage + head + row))[0] }
        #expect(try run("| 08:00 | 甲 | 预约 | 车牌=粤B10001 时间=08:30 | 已预约 |").isAsTold)
        #expect(try run("| 08:00 | 甲 | 预约 | 车牌=粤B10001 时间=08:30 | 已完成 |").fault?.contains("not 已完成") == true)
        #expect(try run("| 08:00 | 甲 | 预约 | 车牌=粤B10001 时间=08:30 | 返回=1101 |").fault?.contains("not 1101") == true)
        #expect(try run("| 08:00 | 甲 | 预约 | 车牌=粤B10001 时间=09:30 | |").fault?.contains("1100") == true)
        #expect(try run("| 08:00 | 甲 | 飞行 | | |").fault?.contains("飞行") == true)
        #expect(try run("| 08:00 | 甲 | 预约 | 颜料=红 | |").fault?.contains("颜料") == true)
        #expect(try run("| 八点 | 甲 | 预约 | | |").fault?.contains("HH:mm") == true)
        #expect(try run("| 08:00 | 甲 | 到达 | 车牌=粤B10001 | 放行 |").fault != nil)
        #expect(throws: Scene.Unreadable.self) { try Scene(name: "x", text: "| a | b |\n| c | d |") }
        #expect(throws: Scene.Unreadable.self) { try Scene(name: "x", text: "| 时间 | 谁 |\n|---|---|\n| 1 |") }
        #expect(throws: Scene.Unreadable.self) { try Scene.load("nothing") }
        #expect(throws: Scene.Unreadable.self) {
            _ = try SceneRunner.run(Scene(name: "x", text: "| 车场 lot | 总数 total |\n|---|---|\n| P1 | many |"))
        }
    }
}
