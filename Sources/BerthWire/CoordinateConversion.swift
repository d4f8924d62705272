public import BerthCore
import Foundation

/// Coordinates of the wire → points on the ground.
public enum CoordinateConversion {
    /// - Parameter type: 1 WGS84, 2 GCJ02, 3 BD09 (section 2).
    public static func point(longitude: String, latitude: String, type: Int) -> GeoPoint {
        if type == 1 { return GeoPoint(longitude: longitude, latitude: latitude) }
        var x = Double(longitude) ?? 0
        var y = Double(latitude) ?? 0
        if type == 3 {
            // BD09 → GCJ02, the published inverse.
            let dx = x - 0.0065
            let dy = y - 0.006
            let radius = (dx * dx + dy * dy).squareRoot() - 0.00002 * sin(dy * .pi * 3000 / 180)
            let angle = atan2(dy, dx) - 0.000003 * cos(dx * .pi * 3000 / 180)
            x = radius * cos(angle)
            y = radius * sin(angle)
        }
        // GCJ02 → WGS84 to a few metres: subtract the offset that the forward transform adds.
        let shift = offset(x, y)
        let (longitude, latitude) = ((x - shift.0) * 1e7, (y - shift.1) * 1e7)
        // The offset has no value at the poles, and is meant for China only: elsewhere the point is as it was given.
        guard longitude.isFinite, latitude.isFinite, abs(longitude) <= 1.8e9, abs(latitude) <= 0.9e9 else {
            return GeoPoint(longitude: Int64((clamp(x, 180) * 1e7).rounded()), latitude: Int64((clamp(y, 90) * 1e7).rounded()))
        }
        return GeoPoint(longitude: Int64(longitude.rounded()), latitude: Int64(latitude.rounded()))
    }

    private static func clamp(_ value: Double, _ limit: Double) -> Double { value.isFinite ? min(limit, max(-limit, value)) : 0 }

    private static func offset(_ longitude: Double, _ latitude: Double) -> (Double, Double) {
        let x = longitude - 105
        let y = latitude - 35
        func wave(_ v: Double, _ a: Double, _ p: Double, _ b: Double, _ q: Double) -> Double {
            (a * sin(v * .pi / p) + b * sin(v * .pi / q)) * 2 / 3
        }
        let common = (20 * sin(6 * x * .pi) + 20 * sin(2 * x * .pi)) * 2 / 3
        let root = abs(x).squareRoot()
        let north =
            -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root + common + wave(y, 20, 1, 40, 3)
            + wave(y, 160, 12, 320, 30)
        let east =
            300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root + common + wave(x, 20, 1, 40, 3)
            + wave(x, 150, 12, 300, 30)
        let radians = latitude * .pi / 180
        let eccentricity = 0.00669342162296594323
        let magic = 1 - eccentricity * sin(radians) * sin(radians)
        let major = 6_378_245.0
        return (
            east * 180 / (major / magic.squareRoot() * cos(radians) * .pi),
            north * 180 / (major * (1 - eccentricity) / (magic * magic.squareRoot()) * .pi)
        )
    }
}
