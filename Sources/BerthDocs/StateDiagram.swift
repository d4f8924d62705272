public import BerthWire

/// A state machine as SVG. Boxes stand where the profile puts them; an arrow takes the shortest way that passes behind no other box.
public struct StateDiagram {
    public struct Point: Sendable, Equatable {
        public var x: Int
        public var y: Int
    }

    /// A curve from edge to edge, and where its label stands.
    public struct Arrow: Sendable {
        public let from: Int
        public let to: Int
        public let start: Point
        public let control: Point
        public let end: Point
        let label: String
        var at: Point

        /// Points along the curve, both ends included.
        public var points: [Point] {
            (0...24).map { step in
                let (t, u) = (Double(step) / 24, 1 - Double(step) / 24)
                let place = { (a: Int, b: Int, c: Int) in Int(u * u * Double(a) + 2 * u * t * Double(b) + t * t * Double(c)) }
                return Point(x: place(start.x, control.x, end.x), y: place(start.y, control.y, end.y))
            }
        }
    }

    static let width = 140
    static let height = 46
    static let stepX = 230
    static let stepY = 140
    static let margin = 60

    let machine: StateMachine
    let language: Reference.Language
    public private(set) var arrows: [Arrow] = []

    public init(_ machine: StateMachine, _ language: Reference.Language) {
        self.machine = machine
        self.language = language
        for transition in machine.transitions {
            guard let from = machine.states.first(where: { $0.code == transition.from }),
                let to = machine.states.first(where: { $0.code == transition.to })
            else { continue }
            arrows.append(route(from, to, language == .zh ? transition.zh : transition.en))
        }
    }

    static func center(_ state: StateMachine.State) -> Point {
        Point(x: state.x * stepX + width / 2 + margin, y: state.y * stepY + height / 2 + margin)
    }

    /// Whether a point is in the box of a state, with some room around it.
    public static func isInside(_ point: Point, _ state: StateMachine.State, room: Int = 0) -> Bool {
        let at = center(state)
        return abs(point.x - at.x) < width / 2 + room && abs(point.y - at.y) < height / 2 + room
    }

    private func route(_ from: StateMachine.State, _ to: StateMachine.State, _ label: String) -> Arrow {
        let (a, b) = (StateDiagram.center(from), StateDiagram.center(to))
        let (w, h) = (StateDiagram.width / 2, StateDiagram.height / 2)
        // An arrow may leave and arrive at the middle of a side, and at three places of the top and of the bottom.
        let doors = { (at: Point) in
            [Point(x: at.x - w, y: at.y), Point(x: at.x + w, y: at.y)]
                + [-36, 0, 36].flatMap { [Point(x: at.x + $0, y: at.y - h), Point(x: at.x + $0, y: at.y + h)] }
        }
        var best: (cost: Int, arrow: Arrow)?
        for start in doors(a) {
            for end in doors(b) {
                let middle = Point(x: (start.x + end.x) / 2, y: (start.y + end.y) / 2)
                for bend in [Point(x: 0, y: 0), Point(x: 0, y: -70), Point(x: 0, y: 70), Point(x: -110, y: 0), Point(x: 110, y: 0)] {
                    let control = Point(x: middle.x + bend.x, y: middle.y + bend.y)
                    var arrow = Arrow(from: from.code, to: to.code, start: start, control: control, end: end, label: label, at: middle)
                    let cost = self.cost(&arrow)
                    if cost < best?.cost ?? .max { best = (cost, arrow) }
                }
            }
        }
        return best!.arrow
    }

    /// The length of an arrow; what it crosses and what its label covers cost much more.
    private func cost(_ arrow: inout Arrow) -> Int {
        let points = arrow.points
        var cost = 0
        for (one, next) in zip(points, points.dropFirst()) { cost += abs(next.x - one.x) + abs(next.y - one.y) }
        cost += (abs(arrow.control.x - (arrow.start.x + arrow.end.x) / 2) + abs(arrow.control.y - (arrow.start.y + arrow.end.y) / 2)) / 2
        for point in points.dropFirst().dropLast() where machine.states.contains(where: { StateDiagram.isInside(point, $0, room: 2) }) {
            cost += 5_000
        }
        for other in arrows {
            if other.start == arrow.start || other.end == arrow.end || other.start == arrow.end || other.end == arrow.start { cost += 90 }
        }
        // The label stands at the quarter of the curve where it covers the least.
        let places = [12, 9, 15, 6, 18].map { (place: points[$0], cost: covered(points[$0], arrow.label)) }
        let place = places.min { $0.cost < $1.cost }!
        arrow.at = place.place
        return cost + place.cost
    }

    private func covered(_ at: Point, _ label: String) -> Int {
        let half = StateDiagram.half(label)
        var cost = 0
        for state in machine.states {
            let center = StateDiagram.center(state)
            if abs(at.x - center.x) < StateDiagram.width / 2 + half, abs(at.y - center.y) < StateDiagram.height / 2 + 9 { cost += 900 }
        }
        for other in arrows where abs(at.x - other.at.x) < half + StateDiagram.half(other.label) && abs(at.y - other.at.y) < 16 {
            cost += 900
        }
        return cost
    }

    /// Half the width of a label at 12 px: a Chinese character takes 12, a letter some 6.5.
    private static func half(_ label: String) -> Int {
        label.unicodeScalars.reduce(0) { $0 + ($1.value > 0x2E7F ? 12 : 7) } / 2 + 3
    }

    var svg: String {
        let columns = (machine.states.map(\.x).max() ?? 0) + 1
        let rows = (machine.states.map(\.y).max() ?? 0) + 1
        let size = (
            columns * StateDiagram.stepX - (StateDiagram.stepX - StateDiagram.width) + 2 * StateDiagram.margin,
            rows * StateDiagram.stepY - (StateDiagram.stepY - StateDiagram.height) + 2 * StateDiagram.margin
        )
        var out =
            "<svg viewBox=\"0 0 \(size.0) \(size.1)\" width=\"\(size.0)\" height=\"\(size.1)\" role=\"img\" aria-label=\"\(HTML.escape(language == .zh ? machine.zh : machine.en))\">"
            + "<defs><marker id=\"a-\(machine.name)\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>"
        for arrow in arrows {
            out +=
                "<path class=\"arrow\" d=\"M\(arrow.start.x) \(arrow.start.y)Q\(arrow.control.x) \(arrow.control.y) \(arrow.end.x) \(arrow.end.y)\" marker-end=\"url(#a-\(machine.name))\"/>"
        }
        for state in machine.states {
            let at = StateDiagram.center(state)
            out +=
                "<rect x=\"\(at.x - StateDiagram.width / 2)\" y=\"\(at.y - StateDiagram.height / 2)\" width=\"\(StateDiagram.width)\" height=\"\(StateDiagram.height)\" rx=\"8\"/>"
                + "<text x=\"\(at.x)\" y=\"\(at.y + 5)\">\(state.code) \(HTML.escape(language == .zh ? state.zh : state.en))</text>"
        }
        for arrow in arrows {
            out += "<text class=\"label\" x=\"\(arrow.at.x)\" y=\"\(arrow.at.y + 4)\">\(HTML.escape(arrow.label))</text>"
        }
        return out + "</svg>"
    }
}
