import BerthCore
import BerthWire

// Callers that see a plate whole, and callers that see it masked (section 13).
extension Pipeline {
    /// A provider sees its users' plates; an operator sees them masked, or whole for a reason that goes on record.
    func reveals(_ request: VerifiedRequest, _ fields: FieldReader) throws(WireError) -> Bool {
        guard request.credential.role == .operator else { return true }
        guard try fields.optionalBool("reveal") == true else { return false }
        _ = try fields.string("reason", max: 256)
        return true
    }
}
