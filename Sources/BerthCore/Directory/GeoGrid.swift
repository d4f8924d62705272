/// The positions of the lots, by cells of 0.01 degrees (some 1.1 km). The lots near a point are found without a look at all lots.
struct GeoGrid: Sendable {
    private struct Cell: Hashable {
        var x: Int64
        var y: Int64

        init(x: Int64, y: Int64) {
            self.x = x
            self.y = y
        }

        init(_ point: GeoPoint) {
            x = floorDiv(point.longitude, GeoGrid.cellUnits)
            y = floorDiv(point.latitude, GeoGrid.cellUnits)
        }
    }

    private var cells: [Cell: [String]] = [:]
    private var points: [String: GeoPoint] = [:]
    private static let cellUnits: Int64 = 100_000
    /// Units of 1e-7 degrees of latitude in a metre, rounded up.
    private static let unitsPerMetre: Int64 = 90
    /// Up to this latitude a degree of longitude is at least half as long as one of latitude.
    private static let latitudeMax: Int64 = 600_000_000

    /// Puts a lot where it is now.
    mutating func put(_ parkCode: String, at point: GeoPoint) {
        if let old = points[parkCode] {
            guard old != point else { return }
            remove(parkCode)
        }
        points[parkCode] = point
        cells[Cell(point), default: []].append(parkCode)
    }

    mutating func remove(_ parkCode: String) {
        guard let old = points.removeValue(forKey: parkCode) else { return }
        let cell = Cell(old)
        cells[cell]?.removeAll { $0 == parkCode }
        if cells[cell]?.isEmpty == true { cells[cell] = nil }
    }

    /// The lots within a distance of a point, the nearest first; of equally near ones the smaller code first.
    func nearest(to point: GeoPoint, within metres: Int) -> [(metres: Int, parkCode: String)] {
        var found: [(metres: Int, parkCode: String)] = []
        func look(_ parkCode: String) {
            guard let there = points[parkCode] else { return }
            let distance = point.metres(to: there)
            if distance <= metres { found.append((distance, parkCode)) }
        }
        let high = (Int64(clamping: metres).multipliedReportingOverflow(by: GeoGrid.unitsPerMetre).partialValue) / GeoGrid.cellUnits + 1
        let wide = 2 * high
        if metres < 0 { return [] }
        // All lots are looked at when the circle is very large, is near a pole, or has many more cells than the city has lots.
        if metres > 1_000_000 || abs(point.latitude) > GeoGrid.latitudeMax || (2 * high + 1) * (2 * wide + 1) > Int64(points.count) * 4 {
            for parkCode in points.keys { look(parkCode) }
        } else {
            let center = Cell(point)
            for y in center.y - high...center.y + high {
                for x in center.x - wide...center.x + wide { for parkCode in cells[Cell(x: x, y: y)] ?? [] { look(parkCode) } }
            }
        }
        return found.sorted { ($0.metres, $0.parkCode) < ($1.metres, $1.parkCode) }
    }
}
