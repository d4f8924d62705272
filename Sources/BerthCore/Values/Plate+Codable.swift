extension Plate: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let plate = Plate(reading: text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a plate")
        }
        self = plate
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(revealed)
    }
}
