import BerthLink
import BerthWire

/// The `traceparent` of W3C Trace Context, version 00: the number of a trace that goes through several systems.
struct TraceParent: Sendable, Equatable {
    /// 32 and 16 lower hexadecimal digits, not all of them 0, and two digits of flags.
    let trace: String
    let parent: String
    let flags: String

    /// - Returns: nil for a text that is none; then the request has no trace.
    init?(_ text: String) {
        let bytes = Array(text.utf8)
        // A later version may have more after the flags.
        guard bytes.count == 55 || bytes.count > 55 && bytes[55] == 45 && bytes.count <= 512, bytes[2] == 45, bytes[35] == 45,
            bytes[52] == 45,
            !bytes.starts(with: Array("ff".utf8)), bytes.count == 55 || !bytes.starts(with: Array("00".utf8))
        else { return nil }
        let parts = [bytes[0..<2], bytes[3..<35], bytes[36..<52], bytes[53..<55]]
        guard parts.allSatisfy({ $0.allSatisfy { (48...57).contains($0) || (97...102).contains($0) } }),
            parts[1].contains(where: { $0 != 48 }), parts[2].contains(where: { $0 != 48 })
        else { return nil }
        (trace, parent, flags) = (
            String(decoding: parts[1], as: UTF8.self), String(decoding: parts[2], as: UTF8.self), String(decoding: parts[3], as: UTF8.self)
        )
    }

    /// The same trace with a number of our own for what we did.
    func answer() -> String {
        "00-\(trace)-\(Signature.hex(SystemRandom.bytes(8)))-\(flags)"
    }
}
