/// The picture of a plate whose first character a camera cannot read, as a PNG: for the demo's control room.
enum PlatePicture {
    private static let scale = 8
    private static let (width, height) = (46 * scale, 13 * scale)

    /// Five columns, seven rows: a row is five bits.
    private static let glyphs: [Character: [UInt8]] = [
        "0": [0x0E, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0E], "1": [0x04, 0x0C, 0x04, 0x04, 0x04, 0x04, 0x0E],
        "2": [0x0E, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1F], "3": [0x1F, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0E],
        "4": [0x02, 0x06, 0x0A, 0x12, 0x1F, 0x02, 0x02], "5": [0x1F, 0x10, 0x1E, 0x01, 0x01, 0x11, 0x0E],
        "6": [0x06, 0x08, 0x10, 0x1E, 0x11, 0x11, 0x0E], "7": [0x1F, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
        "8": [0x0E, 0x11, 0x11, 0x0E, 0x11, 0x11, 0x0E], "9": [0x0E, 0x11, 0x11, 0x0F, 0x01, 0x02, 0x0C],
        "B": [0x1E, 0x11, 0x11, 0x1E, 0x11, 0x11, 0x1E],
    ]

    /// - Parameter text: the readable rest of the plate: digits and B.
    static func png(_ text: String) -> [UInt8] {
        var pixels = [UInt8](repeating: 0, count: width * height)
        func fill(_ column: Int, _ row: Int, _ color: UInt8) {
            for y in row * scale..<(row + 1) * scale {
                for x in column * scale..<(column + 1) * scale where x < width && y < height { pixels[y * width + x] = color }
            }
        }
        // Dirt where the province should be.
        for (column, row) in [(2, 4), (3, 3), (3, 5), (4, 4), (4, 6), (5, 5), (3, 7), (5, 8), (2, 9), (6, 6), (6, 3)] {
            fill(column, row, 2)
        }
        for (index, character) in text.enumerated() {
            for (row, bits) in (glyphs[character] ?? []).enumerated() {
                for column in 0..<5 where bits & (0x10 >> UInt8(column)) != 0 { fill(9 + index * 6 + column, row + 3, 1) }
            }
        }
        var raw: [UInt8] = []
        for row in 0..<height { raw += [0] + pixels[row * width..<(row + 1) * width] }
        var out: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
        out += chunk("IHDR", big(UInt32(width)) + big(UInt32(height)) + [8, 3, 0, 0, 0])
        out += chunk("PLTE", [0x0B, 0x4E, 0xA2, 0xFF, 0xFF, 0xFF, 0x5A, 0x52, 0x40])
        out += chunk("IDAT", stored(raw))
        return out + chunk("IEND", [])
    }

    /// A zlib stream of stored blocks.
    private static func stored(_ bytes: [UInt8]) -> [UInt8] {
        var out: [UInt8] = [0x78, 0x01]
        for start in stride(from: 0, to: bytes.count, by: 65_535) {
            let part = bytes[start..<min(bytes.count, start + 65_535)]
            let count = UInt16(part.count)
            out.append(start + part.count == bytes.count ? 1 : 0)
            out += [UInt8(count & 0xFF), UInt8(count >> 8), UInt8(~count & 0xFF), UInt8(~count >> 8)]
            out += part
        }
        var (a, b): (UInt32, UInt32) = (1, 0)
        for byte in bytes {
            a = (a + UInt32(byte)) % 65_521
            b = (b + a) % 65_521
        }
        return out + big(b << 16 | a)
    }

    private static func chunk(_ name: String, _ data: [UInt8]) -> [UInt8] {
        let body = Array(name.utf8) + data
        var crc: UInt32 = 0xFFFF_FFFF
        for byte in body {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xEDB8_8320 : crc >> 1 }
        }
        return big(UInt32(data.count)) + body + big(~crc)
    }

    private static func big(_ value: UInt32) -> [UInt8] {
        [UInt8(value >> 24), UInt8(value >> 16 & 0xFF), UInt8(value >> 8 & 0xFF), UInt8(value & 0xFF)]
    }
}
