/// A point on the ground, WGS84, in units of 1e-7 degrees.
public struct GeoPoint: Sendable, Equatable {
    public var longitude: Int64
    public var latitude: Int64

    public init(longitude: Int64, latitude: Int64) {
        self.longitude = longitude
        self.latitude = latitude
    }

    /// Decimal texts of at most 7 places, as they are; a text that is not a number is 0.
    public init(longitude: String, latitude: String) {
        self.init(longitude: GeoPoint.units(longitude), latitude: GeoPoint.units(latitude))
    }

    private static func units(_ text: String) -> Int64 {
        let isNegative = text.hasPrefix("-")
        let parts = (isNegative ? text.dropFirst() : text[...]).split(separator: ".", maxSplits: 1)
        // No position has more than 180 degrees: a text that is no such number is 0.
        guard let whole = parts.first.flatMap({ Int64($0) }), (0...180).contains(whole) else { return 0 }
        let fraction = parts.count > 1 ? String(parts[1].prefix(7)) : ""
        let units = whole * 10_000_000 + (Int64(fraction + String(repeating: "0", count: 7 - fraction.utf8.count)) ?? 0)
        return isNegative ? -units : units
    }

    /// Distance over ground, m: exact to a few parts in a thousand over the width of a city.
    public func metres(to other: GeoPoint) -> Int {
        let metresPerUnit = 6_371_000 * 3.141592653589793 / 180 / 1e7
        let angle = Double(latitude + other.latitude) / 2e7 * 3.141592653589793 / 180
        let square = angle * angle
        // cos by its series: exact to 1e-6 below 60 degrees.
        let cosine = 1 - square / 2 + square * square / 24 - square * square * square / 720 + square * square * square * square / 40_320
        let north = Double(other.latitude - latitude) * metresPerUnit
        let east = Double(other.longitude - longitude) * metresPerUnit * cosine
        let metres = (north * north + east * east).squareRoot()
        return metres.isFinite ? Int(min(metres, 40_100_000)) : 40_100_000
    }
}
